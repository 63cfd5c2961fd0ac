/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SIM_MODEL_H
#define TESTS_SIM_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The oracle: what every 512-byte sector of every volume may hold.
 *
 * Each write has a number that its sectors carry, with the volume and the address, so a sector
 * read back names the write it came from. Per sector the model keeps the writes that may still
 * matter, with the moments they were submitted and acknowledged. Two questions are answered:
 *
 * - May a read, submitted at s, return write V? Not if another write W was submitted after V
 *   was acknowledged (or seen by a read), and was itself acknowledged (or seen) before s.
 * - May V be there after a crash? Not if a durable W was submitted after V was acknowledged.
 *   Durable: acknowledged with FUA, or acknowledged before the submission of a flush that was
 *   acknowledged.
 *
 * After a crash every survivor is one of several alternatives; the first read settles which,
 * and from then on nothing else may be read. A failed write may have happened or not. */

#define MODEL_NAME_MAX 32
#define MODEL_VOLUMES  16

enum model_volume_state {
	MODEL_GONE,
	MODEL_CREATING, /* may be there after a crash, then empty */
	MODEL_HERE,
	MODEL_DELETING, /* may be there after a crash, then whole */
};

/* Whose sectors a volume may hold besides its own: what it was cloned from, or was before it was
 * rolled back. */
#define MODEL_KIN 12u

struct model_volume {
	enum model_volume_state state;
	uint32_t uid; /* carried by its sectors; never used again */
	uint32_t kin[MODEL_KIN];
	unsigned kin_count;
	int parent;  /* the snapshot it stands on, + 1 */
	int rolling; /* a rollback under way: to this snapshot, + 1 */
	bool shares; /* a snapshot holds, or has held, some of its slots */
	char name[MODEL_NAME_MAX], new_name[MODEL_NAME_MAX]; /* new_name: a rename under way */
	uint8_t uuid[16];
	uint64_t size, new_size; /* new_size != size: a resize under way */
	uint32_t *heads;         /* per sector: index of a node, 0 = never written */
	uint64_t sectors;        /* room in heads */
};

/* A snapshot: what it held when it was made, the number of each sector's write (0: zeros). Never
 * changed once it is captured, and shared by all copies of the model. */
struct model_image {
	unsigned refs;
	uint64_t sectors;
	uint32_t op[];
};

/* One that is gone keeps its image for a while: an older root may have it yet. */
#define MODEL_SNAPSHOTS 6
struct model_snapshot {
	enum model_volume_state state;
	unsigned volume; /* it is listed with */
	int parent;      /* the snapshot it stands on, + 1 */
	char name[16];
	uint64_t size;
	struct model_image *image;
	bool captured; /* image is known */
	bool aside;    /* what a rollback kept: its volume does not stand on it */
};

/* An atomic write that was not durable at the crash. */
struct model_atomic {
	unsigned volume;
	uint32_t op;
	uint64_t offset, length, submitted;
};

struct model {
	struct model_volume volumes[MODEL_VOLUMES];
	struct model_snapshot snapshots[MODEL_SNAPSHOTS];
	int promoting;     /* the clone that is being promoted, + 1 */
	unsigned victim;   /* row of the device that comes and goes */
	bool pulled;       /* it has, since all were whole */
	uint64_t forgiven; /* errors that the scrub had found by then, of labels */
	uint64_t clock;
	uint32_t next_uid;
	struct model_op *ops; /* numbers first_op .. first_op + op_count - 1 */
	uint32_t first_op, op_count, op_room;
	uint32_t unsettled_from; /* ops before it are durable, failed or reads: a scan's start */
	struct model_node *nodes;
	uint32_t node_count, node_room, node_free;
	uint64_t reads[64]; /* submission moments of reads in flight, 0 = free */
	struct model_atomic *atomics;
	unsigned atomic_count;
};

struct model *model_create(void);
void model_destroy(struct model *model);
/* What may be found after a crash now; @model itself is not changed. The result is a template:
 * model_copy() it for every state. */
struct model *model_crash(const struct model *model);
/* Likewise when the process alone has ended: what was acknowledged is there, durable or not. */
struct model *model_kill(const struct model *model);
struct model *model_copy(const struct model *model);

/* Volumes, by index. create: -1 when there is no room. */
int model_volume_create(struct model *model, const char *name, uint64_t size);
void model_volume_created(struct model *model, unsigned volume, const uint8_t uuid[16], int result);
void model_volume_deleted(struct model *model, unsigned volume, int result);
void model_volume_resized(struct model *model, unsigned volume, int result);
void model_volume_renamed(struct model *model, unsigned volume, int result);

/* Snapshots, by index. made: it stands where its volume stood, and the volume on it. gone: whoever
 * stood on it stands on what it stood on; the image stays (forget: it goes, too). */
struct model_image *model_image_new(uint64_t size);
void model_snapshot_made(struct model *model, unsigned snapshot);
void model_snapshot_gone(struct model *model, unsigned snapshot);
void model_snapshot_forget(struct model *model, unsigned snapshot);
bool model_snapshot_has_clones(const struct model *model, unsigned snapshot);
/* NULL, or what @data, read from the snapshot, should not be. */
const char *model_snapshot_check(const struct model *model, unsigned snapshot, uint64_t offset,
				 const void *data, uint64_t length);
/* Note what @data, read from a new snapshot, says. False: bytes that no write made. */
bool model_snapshot_note(struct model *model, unsigned snapshot, uint64_t offset, const void *data,
			 uint64_t length);
/* A new volume, or one that was rolled back, holds what the snapshot does. */
bool model_has_kin_room(const struct model *model, unsigned snapshot, int volume);
void model_volume_cloned(struct model *model, unsigned volume, unsigned snapshot);
void model_volume_rolled(struct model *model, unsigned volume);
/* The snapshot a clone stands on past its own, -1: it is none. promoted: that one and all it stands
 * on of the same volume are the clone's. */
int model_origin(const struct model *model, unsigned volume);
void model_promoted(struct model *model, unsigned volume);

/* Writes; @zero = a discard. begin() at submission, done() at acknowledgement. */
enum model_write_flags { MODEL_FUA = 1, MODEL_ATOMIC = 2, MODEL_ZERO = 4 };
uint32_t model_write_begin(struct model *model, unsigned volume, uint64_t offset, uint64_t length,
			   unsigned flags);
void model_write_done(struct model *model, uint32_t op, int result);
/* The bytes write @op has to carry. */
void model_fill(const struct model *model, unsigned volume, uint32_t op, uint64_t offset,
		void *data, uint64_t length);
/* Flush: begin returns the moment to hand to done. */
uint64_t model_flush_begin(struct model *model);
void model_flush_done(struct model *model, unsigned volume, uint64_t begun, int result);
/* Everything acknowledged is durable (the pool was closed). */
void model_settle(struct model *model);

/* Reads: begin returns a token; check gives NULL or what is wrong (static text). */
unsigned model_read_begin(struct model *model);
const char *model_read_check(struct model *model, unsigned volume, unsigned token, uint64_t offset,
			     const void *data, uint64_t length);
/* The weaker question: has this volume ever had these bytes there? */
const char *model_read_identify(const struct model *model, unsigned volume, uint64_t offset,
				const void *data, uint64_t length);
void model_read_end(struct model *model, unsigned token);

/* After a crash, with the whole range of @atomic as read, in the template. */
const char *model_atomic_check(const struct model *crashed, const struct model_atomic *atomic,
			       const void *data);
/* Slots of @volume with more than one alternative, from @slot on; UINT64_MAX = no more. */
uint64_t model_next_open_slot(const struct model *model, unsigned volume, uint64_t slot);
/* Has the slot ever been written (in any alternative)? */
bool model_slot_used(const struct model *model, unsigned volume, uint64_t slot);

#endif
