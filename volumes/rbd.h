/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VOLUMES_RBD_H
#define VOLUMES_RBD_H

#include <pthread.h>

#include "core/loop.h"
#include "core/world.h"
#include "volumes/backend.h"
#include "volumes/rbd_api.h"

/* A pool whose volumes are images of a Ceph pool (or of one namespace of it).
 *
 * Two kinds of threads besides librbd's own. I/O stays on the loop that brought it: submit hands it
 * to librbd, librbd's callback posts the request back to that loop, and nothing of ours is in
 * between. What librbd only offers blocking (open, create, list, diff) is a job: it runs on one of
 * the pool's workers and ends on the pool's home loop, the control loop.
 *
 * R1 A worker may hang as long as the cluster does; nobody waits for it. A job that takes longer
 *    than its limit is answered with -ETIMEDOUT and ends later, by itself.
 * R2 librbd never sees memory of a caller: data goes through the pool's own buffers. That is what
 *    lets a request be cancelled while the cluster hangs: it is let go, and its operation stays
 *    behind with the buffer. RADOS keeps the operations of a client on an object in order, so what
 *    stayed behind takes effect before anything that is submitted later, or never.
 * R3 librbd's cache is off: a write that is answered is on the OSDs' media, so that FUA costs
 *    nothing and FLUSH only waits for what is under way.
 * R4 What a volume is lives in its image's metadata (granary.*), what the pool is in the object
 *    granary.pool; every gateway shows the same LUN. Images without such metadata are not ours
 *    and are left alone.
 * R5 Lists and public fields change on the home loop only. A worker reads what its job carries.
 * R6 A snapshot is a volume of its own on its volume's list, by its Ceph name; its image is opened
 *    when it is read for the first time. While snapshots are made, changes of their volumes wait
 *    with us, so that several volumes have one point in time. */

#define RBD_JOB_LIMIT_NS   (10 * 1000000000ull)
#define RBD_LONG_LIMIT_NS  (600 * 1000000000ull) /* removing objects takes its time */
#define RBD_OPEN_LIMIT_NS  (8 * 1000000000ull)
#define RBD_CLOSE_LIMIT_NS (5 * 1000000000ull)
#define RBD_TICK_NS        (1 * 1000000000ull)
#define RBD_TAKE_NS        (50 * 1000000ull) /* a volume that is to be served here is tried */
#define RBD_SLOW_NS        (5 * 1000000000ull)
#define RBD_BUFFERS_MAX    (256ull << 20) /* bytes of data with librbd, of one pool */
#define RBD_CLASSES        5              /* sizes of buffers: 4 KiB, 16 KiB ... 1 MiB */
#define RBD_KEEP           32u            /* unused buffers kept of each size */
#define RBD_VOLUMES_MAX    65536u
#define RBD_TEXT_MAX       256
#define RBD_GATEWAY_MAX    64
#define RBD_SCAN_TICKS     5  /* a look for volumes that other gateways have made */
#define RBD_STRAY_LOOKS    30 /* a client that is no gateway's does not watch what it has locked */

/* Where it is: "rbd:CONF?pool=P[&id=USER][&namespace=N][&gateway=G]", which is what the
 * configuration keeps as the pool's only device. G is this daemon's alone, in all its lives: with
 * it, locks that an earlier life of it left behind are told from those of somebody who is alive. */
struct rbd_address {
	char text[3 * RBD_TEXT_MAX];
	char conf[RBD_TEXT_MAX], ceph_pool[RBD_TEXT_MAX], id[RBD_TEXT_MAX], space[RBD_TEXT_MAX];
	char gateway[RBD_GATEWAY_MAX];
};
bool rbd_address_is(const char *path);
int rbd_address_parse(const char *path, struct rbd_address *ret_address, struct err *err);

#define RBD_IDENTITY_OBJECT "granary.pool"

struct rbd_op;

/* Another gateway, or this one (rbd_gate.c). */
struct rbd_peer {
	struct list link;
	char gateway[RBD_GATEWAY_MAX], address[RBD_TEXT_MAX], alive[32];
	unsigned misses;
	bool fresh;
};

/* An image that is nobody's volume here (R4), by its id, which no other image ever has: it is not
 * opened at each scan. unreadable: it could not be opened, which has been said once. */
struct rbd_stranger {
	struct list link;
	char id[RBD_TEXT_MAX];
	bool unreadable, seen;
};

struct rbd_worker {
	struct loop *loop;
	bool started;
};

struct rbd_pool {
	struct pool pool; /* first: pool.h hands this around */
	struct rbd_address address;
	char name[POOL_NAME_MAX + 1];
	uint8_t uuid[16];
	const struct world_ops *world;
	struct loop *home;
	/* What changes something; what is mapped where; how much it is all together, at
	 * leisure; who serves it. */
	struct rbd_worker change, look, count, gate;
	rados_t cluster;
	rados_ioctx_t ioctx;
	char
	    former[RBD_TEXT_MAX]; /* the address our earlier life had, which may hold locks still */
	struct list volumes;      /* struct rbd_volume, by name */
	unsigned volume_count;
	struct list jobs; /* all that have not ended */
	struct timer tick, close_poll, take_poll;
	unsigned ticks;
	struct list opening_link; /* of pools that nobody has yet */
	struct rbd_job *opening, *closing;
	bool is_open;
	uint64_t last_group;   /* home: of snapshots */
	struct list peers;     /* gate worker */
	struct list strangers; /* struct rbd_stranger: whoever scans */
	uint64_t looked_ns;    /* gate worker: the end of the last look */
	unsigned looks;        /* gate worker: begun */
	bool gating;           /* home: a look is under way */
	bool taking;           /* home: take_poll is, for volumes that are waited for */
	bool scanning;         /* home: so is a scan */
	bool rejoining;        /* home: shut out, and to be connected anew */
	bool hurry;            /* atomic: about to be closed, long looks end */

	/* any thread */
	uint64_t size_bytes, free_bytes, used_bytes; /* atomic; 0: the cluster does not say */
	uint64_t provisioned_bytes;                  /* atomic */
	uint32_t full;                               /* atomic: the last write found no space */
	uint32_t slow;                               /* atomic: it does not answer at present */
	uint32_t blocklisted;                        /* atomic: this client was shut out */

	/* The I/O path. The mutex is held for a push or a pop; librbd takes a dozen of its own for
	 * each request. No other lock is taken under it. */
	pthread_mutex_t lock;
	struct rbd_op *unused[RBD_CLASSES];
	unsigned unused_count[RBD_CLASSES];
	uint64_t buffer_bytes;
	struct list in_flight; /* struct rbd_op, oldest first */
};

/* What a snapshot is beside its data (rbd_snap.c). */
struct rbd_snap {
	char name[SNAPSHOT_NAME_MAX + 1];
	uint64_t id; /* Ceph's: grows */
	uint64_t created_ns, group, hold_until_ns;
	unsigned of_count; /* snapshots of its group that may not be there yet; 1: all are */
	bool automatic, held;
};

struct rbd_volume {
	struct volume volume; /* first */
	struct list link;
	struct rbd_pool *pool;
	rbd_image_t image;
	uint64_t watch;
	struct message changed; /* librbd: somebody changed the image */
	uint32_t changed_posted;
	uint64_t object_bytes;
	uint64_t used_bytes;             /* atomic; whole objects */
	uint32_t used_stale;             /* atomic: written to or discarded from since */
	char wanted_by[RBD_GATEWAY_MAX]; /* gate worker */
	char erased_by[RBD_GATEWAY_MAX]; /* likewise: nobody else opens it meanwhile */
	bool leaving;                    /* atomic: another gateway erases it, and lives */
	bool listed;                     /* scans: its image is there */
	unsigned unlisted;               /* home: how many scans in a row have not found it */
	bool pinned;                     /* gate worker: to this gateway */
	unsigned stray_looks, stray_at; /* gate worker: in a row, at a lock of nobody's; the last */
	bool asked;                     /* atomic: wanted, but somebody here keeps it still */
	uint64_t note_heard, seen_heard; /* atomic: numbers, of the last look */
	uint64_t note_shown;             /* home: what watchers know */
	bool shown_standby, shown_asked; /* home: what watchers know */
	unsigned inside;                 /* home: references of our own jobs */
	bool counting;                   /* home: a job counts */
	bool resizing;                   /* home: a job changes the size, and nobody else */
	uint64_t count_at_ns;            /* home: not before */
	bool gone;   /* home: off the list; frees itself with its last reference */
	bool paused; /* home, and the pool's lock: changes wait in the pool's list of what is in
			flight */

	/* home; a snapshot has of and snap, a volume the list, a clone the UUID of what it stands
	 * on */
	struct rbd_volume *of;
	struct rbd_snap snap;
	struct list snapshots; /* struct rbd_volume, oldest first */
	bool seen, is_clone;
	bool changing; /* home: a job changes it, and nobody else: its snapshots are made, its name
			*/
	bool rolling;  /* atomic: on its way back to a snapshot, and served by nobody until it is
			  there */
	uint8_t parent[16];
};

/* A piece of work that may block: work() on a worker, then ended() on the home loop, which answers
 * and frees. call is NULL when nobody waits, or does so no more. */
struct rbd_job {
	struct message message;
	struct list link;
	struct rbd_pool *pool;
	struct rbd_volume *volume; /* referenced */
	struct pool_call *call;
	int (*work)(struct rbd_job *job);
	void (*ended)(struct rbd_job *job);
	uint64_t limit_ns;   /* loop_now() of the home loop */
	uint64_t started_ns; /* likewise */
	int result;
	struct err err;
	char name[VOLUME_NAME_MAX + 1];
	uint64_t size;
	uint64_t size_before; /* resize: what to go back to when it fails */
	uint8_t uuid[16];
	bool pinned; /* create: to this gateway */
	bool drop;   /* it is let go of, not erased */
	enum volume_pin pin;
	bool create, shrink;
	struct rbd_snap snap;
	char (*names)[SNAPSHOT_NAME_MAX + 1]; /* with volumes: of their new snapshots */
	uint8_t (*uuids)[16];
	struct volume_diff diff, *asked_diff; /* the job's own, and the caller's while he waits */
	bool waits_for_volume;                /* rbd_gate_want has been done */
	bool waits_for_seen;                  /* the note is written */
	uint64_t note_number;
	uint8_t *note;
	size_t note_length;
	struct list found;           /* struct rbd_volume */
	struct rbd_volume **volumes; /* referenced */
	unsigned volume_count;
};

/* rbd_job.c; home loop. rbd_job_new takes a reference of @volume (may be NULL); NULL: @call has
 * been answered with -ENOMEM. */
struct rbd_job *rbd_job_new(struct rbd_pool *pool, struct rbd_volume *volume,
			    struct pool_call *call);
void rbd_job_run(struct rbd_job *job, int (*work)(struct rbd_job *job),
		 void (*ended)(struct rbd_job *job));
void rbd_job_look(struct rbd_job *job, int (*work)(struct rbd_job *job),
		  void (*ended)(struct rbd_job *job));
void rbd_job_gate(struct rbd_job *job, int (*work)(struct rbd_job *job),
		  void (*ended)(struct rbd_job *job));
void rbd_job_count(struct rbd_job *job, int (*work)(struct rbd_job *job),
		   void (*ended)(struct rbd_job *job));
/* Answers the call, if there is one still, with @result and the job's sentence, and frees. */
void rbd_job_end(struct rbd_job *job, int result);
void rbd_jobs_expire(struct rbd_pool *pool);
int rbd_worker_start(struct rbd_worker *worker, const struct world_ops *world, const char *name,
		     struct err *err);
void rbd_worker_stop(struct rbd_worker *worker);

/* rbd_image.c; workers: they block. */
int rbd_connect(struct rbd_job *job); /* job->create: write the pool's identity */
void rbd_disconnect(struct rbd_pool *pool);
int rbd_rejoin(struct rbd_job *job); /* the change worker: all of volumes anew, until it works */
int rbd_image_open_all(struct rbd_job *job); /* fills found with what is not known */
int rbd_image_make(struct rbd_job *job);
int rbd_image_open(struct rbd_pool *pool, const char *name, struct rbd_volume **ret_volume,
		   struct err *err);
void rbd_image_close(struct rbd_volume *volume);
int rbd_image_erase(struct rbd_job *job);
int rbd_image_resize(struct rbd_job *job);
int rbd_image_rename(struct rbd_job *job);
int rbd_image_used(struct rbd_job *job);
/* Objects that exist in a range, as extents; at most @max, adjacent from @offset on. */
int rbd_image_extents(struct rbd_volume *volume, uint64_t offset, uint64_t length,
		      struct volume_extent *extents, unsigned max, unsigned *ret_count);
int rbd_image_size(struct rbd_job *job);
int rbd_space(struct rbd_job *job);

int rbd_image_open_new(struct rbd_job *job); /* fills found; what is in volumes is known */
void rbd_image_forget_strangers(struct rbd_pool *pool);
/* A text of the identity object; "" takes it away. */
int rbd_set_text(struct rbd_pool *pool, const char *key, const char *text);
bool rbd_same_address(const char *known, const char *address);

/* The rest of making an image whose draft is there: what it is, its name. Fills found. */
int rbd_image_finish(struct rbd_job *job, const char *draft);
void rbd_hex_of(const uint8_t uuid[16], char ret_text[33]);
bool rbd_parse_hex(const char *text, uint8_t ret_uuid[16]);
int rbd_get_text(struct rbd_pool *pool, const char *key, char *ret_text, size_t size);

/* rbd_snap.c; workers */
int rbd_snaps_read(struct rbd_volume *volume, struct list *found); /* all of ours */
int rbd_snap_open(struct rbd_volume *snapshot);
void rbd_clone_read(struct rbd_volume *volume);
int rbd_snap_is_rolling(struct rbd_volume *volume); /* 1: a rollback was cut off; 0, -errno */
int rbd_snap_finish_rollback(struct rbd_job *job);
int rbd_snaps_make(struct rbd_job *job); /* of volumes, which are paused */
int rbd_snap_erase(struct rbd_job *job);
int rbd_snap_rename_work(struct rbd_job *job);
int rbd_snap_hold_work(struct rbd_job *job);
int rbd_snap_clone(struct rbd_job *job);
int rbd_clone_flatten(struct rbd_job *job);
int rbd_snap_back(struct rbd_job *job);
int rbd_snap_differ(struct rbd_job *job);

/* rbd_snapshot.c; home. rbd_snapshots_merge: what a worker has read; @all: it is all there is. */
void rbd_snapshots_merge(struct rbd_volume *volume, struct list *found, bool all);
void rbd_snapshots_drop(struct rbd_volume *volume);
void rbd_snapshots_forget(struct list *found); /* what was read and is not wanted */
void rbd_rollback_go_on(struct rbd_volume *volume);
bool rbd_snapshots_held(struct rbd_volume *volume);
void rbd_snapshot_name(struct rbd_volume *snapshot, const char *of);
struct rbd_volume *rbd_snapshot_find(struct rbd_pool *pool, const char *path);
void rbd_snapshot_create(struct pool *pool, const struct snapshot_spec *specs, unsigned count,
			 struct pool_call *call);
struct volume *rbd_snapshot_next(struct volume *volume, struct volume *previous);
bool rbd_snapshot_get_info(struct volume *volume, struct snapshot_info *ret_info);
struct volume *rbd_snapshot_of(struct volume *volume);
void rbd_snapshot_delete(struct volume *snapshot, struct pool_call *call);
void rbd_snapshot_rename(struct volume *snapshot, const char *name, struct pool_call *call);
void rbd_snapshot_hold(struct volume *snapshot, uint64_t until_ns, struct pool_call *call);
void rbd_snapshot_release(struct volume *snapshot, struct pool_call *call);
void rbd_snapshot_clone(struct volume *snapshot, const char *name, struct pool_call *call);
void rbd_clone_promote(struct volume *clone, struct pool_call *call);
void rbd_volume_rollback(struct volume *volume, struct volume *snapshot, const char *keep,
			 struct pool_call *call);
void rbd_volume_diff(struct volume_diff *diff, struct pool_call *call);

/* rbd_gate.c; the gate worker */
int rbd_gate_look(struct rbd_job *job);
int rbd_gate_want(struct rbd_job *job);
int rbd_gate_try(struct rbd_job *job); /* the volume that is wanted: has its owner let go? */
int rbd_gate_pin(struct rbd_job *job);
int rbd_gate_set_pin(struct rbd_pool *pool, rbd_image_t image, enum volume_pin pin);
void rbd_gate_settle(struct rbd_volume *volume); /* also before the worker knows the volume */
int rbd_gate_erasing(struct rbd_volume *volume, bool begin); /* any worker */
void rbd_gate_finish(struct rbd_pool *pool);

/* rbd_note.c: rbd_note_heard: a value of granary.pool; gate worker. rbd_note_erase: with the image;
 * a worker. rbd_note_answer: those who wait for the gateway that serves; home, each second. */
void rbd_note_heard(struct rbd_volume *volume, const char *key, const char *value);
void rbd_note_erase(struct rbd_volume *volume);
void rbd_note_answer(struct rbd_pool *pool);
void rbd_volume_note(struct volume *volume, struct volume_note_call *call);

/* rbd_io.c */
extern const struct volume_ops rbd_volume_ops;
void rbd_io_look_at_age(struct rbd_pool *pool);
void rbd_io_finish(struct rbd_pool *pool);
bool rbd_io_idle(struct rbd_pool *pool);
/* Is nothing under way behind @end of @volume? Whatever comes later is held against the volume's
 * size as it is then. Context: any. */
bool rbd_io_clear(struct rbd_volume *volume, uint64_t end);
/* rbd_io_pause: changes that come from now on wait; rbd_io_is_quiet: those from before are done, so
 * are reads of a snapshot; rbd_io_resume: all go on. Context: any. */
void rbd_io_pause(struct rbd_volume *volume);
bool rbd_io_is_quiet(struct rbd_volume *volume);
void rbd_io_resume(struct rbd_volume *volume);
/* A negative result of librbd as volume.h has it. */
int rbd_errno(struct rbd_pool *pool, int result);

/* rbd.c */
void rbd_sum_sizes(struct rbd_pool *pool); /* home: after a volume came, went or grew */
struct rbd_volume *rbd_volume_of(struct rbd_pool *pool, const char *name); /* home; no reference */
void rbd_volume_created(struct rbd_job *job); /* the end of a job that made an image */
/* rbd_let_go: of what is on no list (any more): its image is closed on a worker, and the list's
 * reference goes. Home. */
void rbd_let_go(struct rbd_volume *volume);

#endif
