/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SHARES_FORMAT_H
#define SHARES_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/bytes.h"
#include "shares/vfs.h"

/* What a share looks like on its volume (docs/FORMAT.md, "Shares"). Everything is little-endian;
 * whatever is read is distrusted: each decoder answers 0 or -EUCLEAN. Pure functions.
 *
 *   block 0, block 16   superblock, A and B: the newer valid one counts
 *   log                 ring of commits
 *   bitmaps             which node blocks are in use, each block in two copies (A, B)
 *   nodes               blocks of the tree
 *   data                what extents point to
 * A block is 4096 bytes and counted from the start of the volume. */

#define FORMAT_VERSION    3u /* the newest that is known */
#define FORMAT_PLAIN      1u /* no block has two owners */
#define FORMAT_CLONES     2u /* since the first CLONE: KEY_SHARED */
#define FORMAT_USERS      3u /* since the first limit of a user: KEY_USER; clones or not */
#define BLOCK_SIZE        4096u
#define SUPERBLOCK_B      16u                      /* block of the second copy */
#define LOG_START         256u                     /* block */
#define BITMAP_BITS       (BLOCK_SIZE * 8u - 512u) /* node blocks of one bitmap block */
#define BITMAP_BLOCKS_MAX 8192u
#define SHARE_SIZE_MIN    (16ull << 20)
#define VALUE_MAX         1200u /* bytes of a value: three cells always fit a page */
#define PIECE_MAX         1024u /* bytes of a symlink, ACL or xattr in one value */
#define EXTENT_BLOCKS_MAX (1u << 30)
#define FILE_BLOCKS_MAX   (VFS_FILE_MAX / BLOCK_SIZE)
#define LOG_BLOCKS_MIN    704u /* so that a transaction with the longest xattr fits */
#define LOG_BLOCKS_MAX    8192u
#define LOG_COMMIT_MAX    (1u << 20)

/* ---- keys ---- */
enum key_type {
	KEY_INODE = 1,    /* inode, 0 -> struct inode */
	KEY_DIRENT = 2,   /* directory, cookie -> struct dirent */
	KEY_XATTR = 3,    /* inode, cookie -> struct xattr, and the value when it is short */
	KEY_SYMLINK = 4,  /* inode, piece -> bytes */
	KEY_ACL = 5,      /* inode, piece -> entries */
	KEY_EXTENT = 6,   /* inode, file block -> struct extent */
	KEY_RESERVED = 7, /* inode, file block -> struct extent: blocks for writes to come; not
			   * contents, not counted */
	KEY_BLOB = 8,     /* blob, piece -> bytes of a long xattr */
	/* of SPACE_OBJECT */
	KEY_FREE = 9,     /* block -> u64 count */
	KEY_PENDING = 10, /* block -> u64 count: freed, not yet discarded */
	KEY_SHARED = 11,  /* block -> struct shared; 0 -> u64 COUNT_SHARED_BLOCKS */
	/* of ORPHAN_OBJECT */
	KEY_ORPHAN = 12, /* inode -> u8 enum orphan_kind */
	KEY_USER = 13,   /* uid -> struct user; USERS_COUNTED -> u64 1: each owner has one */
};
#define SPACE_OBJECT  0ull
#define ORPHAN_OBJECT 1ull
#define ROOT_INODE    2ull
#define BLOB_OBJECT   (1ull << 63) /* blobs have numbers of their own, from here on */

struct key {
	uint64_t object;
	uint8_t type;
	uint64_t offset;
};
#define KEY_BYTES 17u
void key_encode(const struct key *key, uint8_t bytes[KEY_BYTES]);
/* Inline: a dozen for each page on the way to a key. */
static inline void key_decode(const uint8_t bytes[KEY_BYTES], struct key *ret_key)
{
	ret_key->object = get64(bytes);
	ret_key->type = bytes[8];
	ret_key->offset = get64(bytes + 9);
}

static inline int key_compare(const struct key *a, const struct key *b)
{
	if (a->object != b->object)
		return a->object < b->object ? -1 : 1;
	if (a->type != b->type)
		return a->type < b->type ? -1 : 1;
	if (a->offset != b->offset)
		return a->offset < b->offset ? -1 : 1;
	return 0;
}

/* ---- superblock ---- */
enum counter {
	COUNT_NEXT_INODE,
	COUNT_INODES,      /* names may be gone, space not yet */
	COUNT_USED_BLOCKS, /* of files: what the quota bounds */
	COUNT_GENERATION,  /* of inodes */
	COUNT_FREE_BLOCKS, /* FREE and PENDING */
	COUNT_NEXT_BLOB,
	COUNTERS_LOGGED, /* those above are in superblock and commits */
	/* owners of blocks beside the first of each; in the tree, and kept here while it is open */
	COUNT_SHARED_BLOCKS = COUNTERS_LOGGED,
	COUNT_USERS, /* 1: what each user has is counted; likewise */
	COUNTERS,
};

struct superblock {
	uint32_t version; /* FORMAT_PLAIN, FORMAT_CLONES, FORMAT_USERS */
	uint8_t uuid[16];
	uint8_t secret[16]; /* keys name hashes and file handles */
	uint64_t generation;
	uint64_t volume_blocks;
	uint64_t log_blocks;
	uint64_t bitmap_start, bitmap_blocks; /* twice as many blocks: A and B side by side */
	uint64_t node_start, node_blocks;
	uint64_t data_start;
	uint64_t root, root_generation;
	uint8_t root_level;
	bool clean;         /* nothing to replay */
	uint64_t log_block; /* in the ring: the first commit after this checkpoint */
	uint64_t log_sequence;
	uint64_t quota_blocks; /* 0: none */
	uint64_t counters[COUNTERS_LOGGED];
	uint64_t mounts;                            /* makes the write verifier, with the uuid */
	uint8_t bitmap_copy[BITMAP_BLOCKS_MAX / 8]; /* bit set: copy B is the newer */
	uint32_t bitmap_used; /* bitmap blocks ever written; the rest is all free */
};
void share_superblock_encode(const struct superblock *superblock, uint8_t block[BLOCK_SIZE]);
/* @volume_blocks: of the volume it was read from; it may have grown. -EPROTO: not a share;
 * -EUCLEAN: damaged; -ENOTSUP: a newer version. */
int share_superblock_decode(const uint8_t block[BLOCK_SIZE], uint64_t volume_blocks,
			    struct superblock *ret_superblock);
/* share_superblock_layout: places everything on a volume of @volume_blocks with a log of
 * @log_blocks (0: by size). -EINVAL: too small. */
int share_superblock_layout(uint64_t volume_blocks, uint64_t log_blocks,
			    struct superblock *superblock);

/* ---- bitmap blocks: header, then bits ---- */
void bitmap_encode(const uint8_t uuid[16], uint64_t index, uint64_t generation, const uint8_t *bits,
		   uint8_t block[BLOCK_SIZE]);
int bitmap_decode(const uint8_t block[BLOCK_SIZE], const uint8_t uuid[16], uint64_t index,
		  uint64_t max_generation, uint8_t *ret_bits);
#define BITMAP_BYTES (BITMAP_BITS / 8u)

/* ---- log ---- */
#define LOG_HEADER_BYTES (40u + 8u * COUNTERS_LOGGED)
struct log_header {
	uint64_t sequence;
	uint32_t length; /* bytes, header included */
	uint64_t counters[COUNTERS_LOGGED];
};
/* Writes the header into the first LOG_HEADER_BYTES of @commit and sums it all. */
void log_encode(const uint8_t uuid[16], const struct log_header *header, uint8_t *commit);
/* @room bytes at @commit; -EUCLEAN unless all of the commit is there and sums up. */
int log_decode(const uint8_t *commit, size_t room, const uint8_t uuid[16],
	       struct log_header *ret_header);
/* The length a header claims, 0: no header. */
uint32_t log_peek(const uint8_t *commit, const uint8_t uuid[16], uint64_t *ret_sequence);
enum log_record_type { LOG_PUT = 1, LOG_DELETE = 2 };
struct log_record {
	enum log_record_type type;
	struct key key;
	const uint8_t *value;
	uint16_t length;
};
#define LOG_RECORD_BYTES (1u + KEY_BYTES + 2u)
size_t log_record_encode(const struct log_record *record, uint8_t *bytes);
/* Takes one record off [*cursor, end). 1: taken, 0: at the end, -EUCLEAN. */
int log_record_decode(const uint8_t **cursor, const uint8_t *end, struct log_record *ret_record);

/* ---- values ---- */
#define INODE_BYTES 144u
struct inode {
	struct vfs_attr attr; /* fileid is the key's object; used is blocks * BLOCK_SIZE */
	uint64_t verifier;    /* of an exclusive create */
	uint64_t parent;      /* directory */
	uint64_t blocks;      /* with contents or set aside */
	uint32_t entries;     /* directory */
	uint16_t ace_count;
};
void inode_encode(const struct inode *inode, uint8_t bytes[INODE_BYTES]);
int inode_decode(const uint8_t *bytes, size_t length, struct inode *ret_inode);

#define DIRENT_BYTES 12u
struct dirent_value {
	uint64_t inode;
	uint8_t type;
	uint8_t name_length;
	const uint8_t *name; /* in the value */
};
size_t dirent_encode(const struct dirent_value *dirent, uint8_t *bytes);
int dirent_decode(const uint8_t *bytes, size_t length, struct dirent_value *ret_dirent);

enum extent_flags {
	EXTENT_UNWRITTEN = 1, /* set aside by ALLOCATE: reads as zeros */
	EXTENT_SHARED = 2,    /* may have other owners: KEY_SHARED says */
};
#define EXTENT_BYTES 16u
struct extent {
	uint64_t file_block; /* the key's offset */
	uint64_t block;
	uint32_t count;
	uint32_t flags;
};
void extent_encode(const struct extent *extent, uint8_t bytes[EXTENT_BYTES]);
/* @data_start, @data_end: where extents may point. */
int extent_decode(uint64_t file_block, const uint8_t *bytes, size_t length, uint64_t data_start,
		  uint64_t data_end, struct extent *ret_extent);

/* A run of blocks that @owners extents of files point to, 2 at least. A block that is in no run has
 * one owner, or none. */
#define SHARED_BYTES 12u
struct shared {
	uint64_t block; /* the key's offset */
	uint64_t count;
	uint32_t owners;
};
void shared_encode(const struct shared *shared, uint8_t bytes[SHARED_BYTES]);
int shared_decode(uint64_t block, const uint8_t *bytes, size_t length, uint64_t data_start,
		  uint64_t data_end, struct shared *ret_shared);

/* What a user's files take, and may take (0: no limit). */
#define USER_BYTES    32u
#define USERS_COUNTED (1ull << 32) /* no uid */
struct user {
	uint64_t blocks, files, limit_blocks, limit_files;
};
void user_encode(const struct user *user, uint8_t bytes[USER_BYTES]);
int user_decode(const uint8_t *bytes, size_t length, struct user *ret_user);

#define XATTR_BYTES 14u
struct xattr_value {
	uint64_t blob; /* 0: the value is here */
	uint32_t length;
	uint8_t name_length;
	const uint8_t *name, *data; /* in the value */
};
size_t xattr_encode(const struct xattr_value *xattr, uint8_t *bytes);
int xattr_decode(const uint8_t *bytes, size_t length, struct xattr_value *ret_xattr);

#define ACE_BYTES      16u
#define ACES_PER_PIECE (PIECE_MAX / ACE_BYTES)
void ace_encode(const struct vfs_ace *ace, uint8_t bytes[ACE_BYTES]);
int ace_decode(const uint8_t bytes[ACE_BYTES], struct vfs_ace *ret_ace);

enum orphan_kind {
	ORPHAN_DELETED = 1,   /* no name: goes with its last holder, or at the next mount */
	ORPHAN_TRUNCATED = 2, /* extents behind the size are being freed */
};

/* A volume that carries a share, without opening it: @block is its first block. */
bool format_is_share(const uint8_t block[BLOCK_SIZE]);

#endif
