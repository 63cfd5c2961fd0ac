/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VOLUMES_FORMAT_H
#define VOLUMES_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"
#include "volumes/pool.h"

/* On-disk format of the native engine: docs/FORMAT.md, in code. Everything is little endian.
 * The codecs check every length and count before they use it: hostile bytes end in an error.
 * Nothing here allocates, logs or does I/O. Context: any. */

#define FORMAT_VERSION   6u    /* of one that has, or had, its journal twice, or was opened alone */
#define FORMAT_AWAY      5u    /* of one that goes on, or went on, without a device */
#define FORMAT_MIRRORS   4u    /* of one that has, or had, mirrored volumes */
#define FORMAT_DEVICES   3u    /* of one whose PVs have grown, are evacuated or removed */
#define FORMAT_SNAPSHOTS 2u    /* of one that has, or had, snapshots */
#define FORMAT_PLAIN     1u    /* of all others; what is in all of them is the same */
#define BLOCK            4096u /* bytes of a journal block and of a node's unit */
#define CHUNK            65536u
#define CHUNK_SLOTS      16u
#define AG_CHUNKS        16384u /* 1 GiB */
#define CHUNK_NONE       0xffffffffffffull
#define SLOT_NONE        UINT64_MAX

/* Layout of a PV: head area, (journal on PV 0, and on one more that has room), chunks, tail area.
 */
#define PV_AREA        (1u << 20) /* bytes of the head and of the tail area */
#define PV_COPY_OFFSET 65536u     /* superblock copy i of an area is at (i + 1) * this */

struct uuid {
	uint8_t bytes[16];
};

struct format_pv {
	struct uuid uuid;
	uint64_t size;        /* bytes used of the device */
	uint64_t data_offset; /* bytes */
	uint64_t first_chunk; /* pool-wide number of its first chunk */
	uint64_t chunks;
	uint8_t state;  /* enum pv_state */
	uint8_t flags;  /* PV_PAUSED and so on; of the row that is a device */
	uint8_t device; /* 0: a device of its own; n + 1: what the device of row n has grown by */
};
/* REMOVED: a row without a device. Its chunks are numbers only: those in use are elsewhere
 * (NODE_FORWARD). Rows are never taken out, so that chunks and groups keep their numbers. */
enum pv_state { PV_STATE_ACTIVE, PV_STATE_EVACUATING, PV_STATE_REMOVED };
#define PV_PAUSED 1u
#define PV_AWAY   2u /* the pool goes on without it; STALE, too */
#define PV_STALE  4u /* its copies of mirrored data may be old: they do not count */
#define PV_PINNED 8u /* both copies of a metadata node may be there (spread.c) */

/* Pointer to a metadata node: both copies, and what they must be. */
struct node_pointer {
	uint64_t address[2]; /* pool-wide slot numbers */
	uint64_t generation; /* 0: no node */
	uint32_t crc;
	uint32_t length; /* bytes, header included */
};

enum {
	ROOT_VOLUMES,
	ROOT_SPACE,
	ROOT_META,
	ROOT_CSUM,
	ROOT_HOT,
	ROOT_FORWARD,
	ROOT_MIRROR,
	ROOT_COUNT
};

#define LINEAGES 4u

struct superblock {
	struct uuid pool_uuid;
	char name[POOL_NAME_MAX + 1];
	uint64_t generation;
	uint64_t epoch;          /* of the journal */
	uint64_t journal_tail;   /* sequence number of the first block to replay */
	uint64_t next_lsn;       /* of the first record not in the trees */
	uint64_t journal_offset; /* bytes, on PV 0, and on the row below */
	uint64_t journal_blocks;
	uint32_t journal_row; /* whose device has the journal, too; 0: none has */
	uint64_t next_volume_id;
	uint32_t version;            /* at least; the rows of pv[] may ask for more */
	uint64_t host_id, heartbeat; /* reserved */
	/* Who the pool has been: a new number, never 0, with each open without a device by an
	 * administrator's word, for then the device may go on elsewhere, too. [0]: now; [i]:
	 * before, until the root of generation left[i]; 0: none. */
	uint32_t lineage[LINEAGES];
	uint64_t left[LINEAGES];
	uint32_t clean; /* closed in an orderly way */
	uint32_t pv_index, pv_count;
	uint8_t watermark[WATERMARKS]; /* percent; 0: the defaults */
	struct format_pv pv[POOL_DEVICES_MAX];
	struct {
		struct node_pointer pointer;
		uint32_t levels;
	} root[ROOT_COUNT];
};

/* superblock_encode: fill the 4 KiB @block.
 * superblock_decode: -ENODATA (no label of ours), -EPROTO (ours but newer), -EBADMSG (damaged),
 * with a sentence. */
void superblock_encode(const struct superblock *sb, uint8_t block[BLOCK]);
int superblock_decode(const uint8_t block[BLOCK], struct superblock *ret_sb, struct err *err);
uint64_t superblock_position(uint64_t device_size, unsigned copy); /* copy 0,1 head; 2,3 tail */
/* The pool goes on as another from @sb's root on. */
void superblock_fork(struct superblock *sb, uint32_t lineage);
/* Is @older, of the same pool, a state that the pool as of @sb has gone through? One root more it
 * may be: that one was cut off. */
bool superblock_succeeds(const struct superblock *sb, const struct superblock *older);
/* The first row but 0 of a device in use with room for a second copy of the journal, which is where
 * PV 0 has the first one; 0: none. */
unsigned superblock_journal_room(const struct superblock *sb);
/* A hash of the pool's UUID, the seal on journal blocks and nodes. */
uint64_t format_pool_hash(const struct uuid *uuid);

/* ---- nodes ---- */
enum node_kind {
	NODE_VOLUMES = 1,
	NODE_SPACE,
	NODE_META,
	NODE_CSUM,
	NODE_HOT,
	NODE_MAP,
	NODE_FORWARD,
	NODE_MIRROR
};

#define NODE_HEADER     64u
#define NODE_FANOUT     64u
#define NODE_LENGTH_MAX (7u * BLOCK)
#define NODE_LEVELS_MAX 7u

#define VOLUMES_PER_LEAF 7u
#define SPACE_CHUNKS     1024u /* per leaf */
#define CSUM_CHUNKS      63u   /* per leaf; also the hot region */
#define HOT_REGIONS      32256u
#define MAP_CHUNKS       128u
#define FORWARD_CHUNKS   504u /* also of NODE_MIRROR */

struct node_header {
	uint8_t kind, level;
	uint32_t length; /* bytes, header included */
	uint64_t owner, index, generation, pool_hash;
};

/* node_seal: write the header of the @header->length bytes at @node, leave the address open;
 * returns the crc for the parent. node_set_address: for one copy.
 * node_verify: bytes read from @address against the parent's @pointer. 0 or -EBADMSG. */
uint32_t node_seal(uint8_t *node, const struct node_header *header);
void node_set_address(uint8_t *node, uint64_t address);
int node_verify(const uint8_t *node, size_t available, const struct node_pointer *pointer,
		uint64_t address, const struct node_header *expected);

void node_pointer_encode(const struct node_pointer *pointer, uint8_t bytes[32]);
/* An implausible pointer (length, alignment of nothing) is -EBADMSG. */
int node_pointer_decode(const uint8_t bytes[32], struct node_pointer *ret_pointer);

/* One chunk of a volume. mask: which slots are mapped. */
struct map_entry {
	uint64_t birth;  /* checkpoint generation that first held it; no slot is older */
	uint64_t *slots; /* exploded: CHUNK_SLOTS addresses, SLOT_NONE = unmapped, and behind them
			  * the slots' ages: map_ages(). Else NULL */
	uint64_t chunk : 48, mask : 16; /* compact: the physical chunk; which slots are mapped */
};
#define MAP_SLOTS_SIZE (CHUNK_SLOTS * (sizeof(uint64_t) + sizeof(uint32_t)))

/* Of an exploded entry: by how many generations each slot is younger than the entry. (UINT32_MAX
 * stands for more, too: such a slot may one day be taken for shared and leak.) */
static inline uint32_t *map_ages(const struct map_entry *entry)
{
	return (uint32_t *)(entry->slots + CHUNK_SLOTS);
}

/* The generation that first held a slot. */
static inline uint64_t map_birth(const struct map_entry *entry, unsigned slot)
{
	return entry->birth + (entry->slots ? map_ages(entry)[slot] : 0);
}

/* map_encode: payload into @bytes (NODE_LENGTH_MAX - NODE_HEADER); returns its length.
 * map_decode: calls @set for each entry; @slots of the entry is the codec's own array, valid
 * during the call. -EBADMSG when malformed, or what @set returned. */
size_t map_encode(const struct map_entry entries[MAP_CHUNKS], uint8_t *bytes);
int map_decode(const uint8_t *bytes, size_t length,
	       int (*set)(void *context, unsigned index, const struct map_entry *entry),
	       void *context);

#define VOLUME_RECORD 512u
enum volume_state { VOLUME_STATE_LIVE = 1, VOLUME_STATE_DELETING, VOLUME_STATE_SNAPSHOT };
#define VOLUME_AUTOMATIC  1u /* flags: a snapshot made by a rollback */
#define VOLUME_HELD       2u
#define VOLUME_EXPENDABLE 4u
struct volume_record {
	uint64_t id; /* 0: none */
	uint32_t state;
	char name[VOLUME_NAME_MAX + 1]; /* of a snapshot: what is behind the '@' */
	struct volume_identity identity;
	uint64_t size_bytes, used_slots;
	uint32_t levels;
	uint8_t checksum; /* enum volume_checksum */
	uint8_t mirror;   /* 1: two copies */
	uint64_t reserve_bytes;
	uint64_t quota_bytes; /* 0: none */
	struct node_pointer root;
	/* family: owner of the map's nodes; 0: the id. parent: the snapshot it stands on. of: the
	 * volume a snapshot is listed with. generation: of a snapshot, the checkpoint that made it.
	 */
	uint64_t parent, family, of, generation;
	uint64_t created_ns, hold_until_ns; /* wall clock */
	uint64_t owned_slots;               /* younger than the parent */
	uint64_t reaped, reaped_slots;      /* DELETING: leaves done, slots found in them */
	uint32_t flags;
};
void volume_record_encode(const struct volume_record *record, uint8_t bytes[VOLUME_RECORD]);
int volume_record_decode(const uint8_t bytes[VOLUME_RECORD], struct volume_record *ret_record);

/* ---- journal ---- */
#define JOURNAL_HEADER 64u
#define JOURNAL_BODY   (BLOCK - JOURNAL_HEADER)

struct journal_header {
	uint64_t pool_hash, epoch, seq, confirmed, first_lsn;
	uint32_t previous_hash; /* crc32c of the block before */
	uint16_t count, used;   /* records, bytes of the body */
};

enum record_type {
	RECORD_MAP = 1,   /* slots of one physical chunk, crcs: new mappings */
	RECORD_MAP_RUN,   /* slots of consecutive addresses from @where, crcs: new mappings */
	RECORD_OVERWRITE, /* crcs of slots written in place */
	RECORD_UNMAP,     /* slots unmapped */
	RECORD_REMAP,     /* undo: slots point (back) at where[]; no data belongs to it */
	RECORD_HOT,       /* where = region */
	RECORD_RESTORE,   /* REMAP with the slots' births */
	RECORD_MIRROR,    /* chunk has its second copy in chunk where */
	RECORD_DEVICE,    /* the device of row where has flags chunk: PV_AWAY, PV_STALE */
	RECORD_TYPES
};
#define RECORD_GROUP_MAX 40u

struct record {
	uint8_t type;
	uint8_t group; /* on the first of an atomic group: how many records are in it, else 0 */
	uint16_t mask;
	uint64_t volume, chunk, where;
	uint32_t crc[CHUNK_SLOTS];   /* by slot number; MAP, MAP_RUN, OVERWRITE */
	uint64_t slot[CHUNK_SLOTS];  /* REMAP, RESTORE, by slot number */
	uint32_t birth[CHUNK_SLOTS]; /* RESTORE: the generations' low 32 bits */
};

size_t record_length(const struct record *record);
/* record_encode: @bytes has record_length() of room. */
void record_encode(const struct record *record, uint8_t *bytes);
/* record_decode: *ret_length bytes were used. -EBADMSG. */
int record_decode(const uint8_t *bytes, size_t available, struct record *ret_record,
		  size_t *ret_length);

/* journal_block_seal: header and crc over the body that is there; returns the block's hash.
 * journal_block_open: 0, or -EBADMSG when it is no valid block. *ret_hash as of seal. */
uint32_t journal_block_seal(uint8_t block[BLOCK], const struct journal_header *header);
int journal_block_open(const uint8_t block[BLOCK], struct journal_header *ret_header,
		       uint32_t *ret_hash);

/* ---- geometry ---- */
/* Chunks at the start of an allocation group of @chunks that hold metadata (I9). */
uint64_t format_meta_chunks(uint64_t chunks);

#endif
