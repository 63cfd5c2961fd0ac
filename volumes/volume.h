/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VOLUMES_VOLUME_H
#define VOLUMES_VOLUME_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "core/err.h"
#include "core/list.h"
#include "core/loop.h"

/* A volume: a block range of bytes 0 .. size-1 with thin space. The seam between what exports
 * storage (target/, shares/, replication/) and what holds it (the native engine, memory, later
 * passthrough and RBD). Nothing above knows extents, nothing below knows SCSI or NFS. */

struct pool;
struct volume;

#define VOLUME_SIZE_MAX     (64ull << 40)
#define VOLUME_QUOTA_MAX    (1ull << 60)
#define VOLUME_BLOCK        512u       /* unit of offset and length */
#define VOLUME_SLOT         4096u      /* unit of mapping and checksum; the physical block */
#define VOLUME_TRANSFER_MAX (1u << 20) /* bytes of one read, write or atomic write */
#define VOLUME_NAME_MAX     127        /* bytes, without the pool's name */
#define SNAPSHOT_NAME_MAX   63         /* bytes, what stands behind the '@' */
#define VOLUME_PATH_MAX     (VOLUME_NAME_MAX + 1 + SNAPSHOT_NAME_MAX) /* VOLUME@SNAPSHOT */

enum volume_op {
	VOLUME_READ,
	VOLUME_WRITE,   /* outlives the process at done(0), power cuts after a flush */
	VOLUME_FLUSH,   /* I5: every write completed before submission is durable at done(0) */
	VOLUME_DISCARD, /* the range reads as zeros from done(0) on; whole slots return their
			 * space, the rest of partial slots is kept. Any length. It needs no space,
			 * but for the rest of a partial slot that a snapshot holds too: the volume
			 * gets its own (-ENOSPC in a full pool). */
	VOLUME_EXTENTS, /* what is mapped: fills extents[], from offset on, at most length */
};

enum volume_request_flags {
	VOLUME_FUA = 1,      /* write, discard: durable at done(0) */
	VOLUME_ATOMIC = 2,   /* write: after a crash all of it or nothing of it */
	VOLUME_UNTAPPED = 4, /* of the tap's owner: past the volume's tap and its read_only */
	VOLUME_VITAL = 16,   /* write: without it what is there can not be served: a full pool takes
			      * it from what it keeps back (the last 3 %), as long as there is any */
	VOLUME_IN_PLACE = 8, /* write: only what is mapped, where it is on the medium; what is not
			      * mapped stays so. -EBUSY where a snapshot or a clone has it, too;
			      * -EOPNOTSUPP where volume_erasable() says so */
};

struct volume_extent {
	uint64_t offset, length; /* bytes, slot multiples (clipped to the request) */
	bool mapped;
};

/* Caller-allocated, handed back by done() on the loop that submitted it; never freed or changed
 * before. done() never runs inside volume_submit().
 * Results: 0; -EIO (medium error: error_offset says where), -EILSEQ (checksum mismatch, likewise:
 * the data is not delivered), -ENOSPC (space allocation failed; nothing was changed that a later
 * write will not repair), -EROFS (pool went read-only), -EREMOTE (standby), -EINVAL (beyond the
 * end), -ECANCELED. Ordering: overlapping requests in flight together may take effect in either
 * order, but whole slot by whole slot; a request submitted after another's done() sees its effect.
 */
struct volume_request {
	enum volume_op op;
	unsigned flags;
	uint64_t offset, length; /* bytes, multiples of VOLUME_BLOCK; 0 for FLUSH */
	const struct iovec *iov; /* read, write: total = length; pieces multiples of VOLUME_BLOCK,
				  * bases aligned to VOLUME_BLOCK */
	unsigned iov_count;
	struct volume_extent *extents; /* EXTENTS: room, and how much of it */
	unsigned extent_max;
	unsigned extent_count; /* EXTENTS: filled; they are adjacent and start at offset */
	uint64_t error_offset; /* set with -EIO and -EILSEQ */
	/* At done(), of loop_now(): how long it stood before the back end (limits, turns, taps),
	 * and from when to when devices had something of it; device_from_ns 0: none had, that is
	 * known. */
	uint64_t waited_ns, device_from_ns, device_to_ns;
	void (*done)(struct volume_request *request, int result);

	/* private to the back end, from volume_submit() to done() */
	struct volume *volume;
	struct loop *loop;
	struct list link;
	struct deferred deferred;
	int result;
	void *backend;

	/* private to volume_submit() and the volume's tap */
	struct volume_tap *tap;
	void (*tapped_done)(struct volume_request *request, int result);
	struct list tap_link;
	uint64_t tap_ticket;
	unsigned tap_state;
	struct message tap_message;

	/* private to qos.h's gates */
	void *gate, *turn;
	uint64_t gate_ns; /* since when it waits, for a tap too; 0: it does not */
	void (*turn_done)(struct volume_request *request, int result);
	bool queued;
};

/* Limits of a volume, all back ends alike; 0: none. A burst is what may be done at once after a
 * quiet time: so many milliseconds' worth of the limits (0: a second's). */
struct volume_limits {
	uint64_t iops, bandwidth; /* reads, writes, discards a second; bytes of reads and writes */
	unsigned burst_ms;
	uint64_t delayed,
	    delayed_ns; /* volume_get_limits: requests that had to wait, and how long */
};

/* A tap sees every request that may change a volume, before the back end does and after: what
 * records or refuses changes for replication. One per volume. */
struct volume_tap;
struct volume_tap_ops {
	/* Required. Inside volume_submit(), any I/O loop. True: the request goes on to the back
	 * end; false: the tap has it, and ends it with volume_refuse() or lets it go on with
	 * volume_pass(), either on the request's loop, later. Reads come by here too. */
	bool (*admit)(struct volume_tap *tap, struct volume_request *request);
	/* Required. On the request's loop, before its done(), for what was admitted or passed.
	 * True: done() comes now; false: the tap has it again, and ends it with volume_end(),
	 * later. */
	bool (*completed)(struct volume_tap *tap, struct volume_request *request, int result);
	/* Required. volume_cancel() of a request the tap has: refuse it, or do nothing when it is
	 * already on its way. True: it is (or was) the tap's; false: the back end has it. */
	bool (*cancel)(struct volume_tap *tap, struct volume_request *request);
};
struct volume_tap {
	const struct volume_tap_ops *ops;
};

/* What whoever has the tap says of guests: they use the volume here; it is about to be another
 * node's, nothing that outlives a command changes now; another node has it. */
enum volume_guests { VOLUME_GUESTS_HERE, VOLUME_GUESTS_LEAVE, VOLUME_GUESTS_AWAY };

struct volume_ops {
	const char *name; /* "native", "memory", ... */
	/* Required. On the submitting loop; see volume_submit(). */
	void (*submit)(struct volume *volume, struct volume_request *request);
	/* Optional; NULL = requests can not be cancelled early. */
	void (*cancel)(struct volume *volume, struct volume_request *request);
	/* Required. Last reference gone. */
	void (*release)(struct volume *volume);
	/* Optional; NULL = no VOLUME_IN_PLACE. See volume_erasable(). Any thread. */
	int (*erasable)(struct volume *volume);
};

/* Immutable identity. NAA-6 (SPC-4 7.8.6.6.6 IEEE Registered Extended): nibble 6, a 24-bit OUI,
 * the rest from the volume's random UUID; set at creation, never changed by rename, resize,
 * move or fail-over. */
struct volume_identity {
	uint8_t uuid[16];
	uint8_t naa[16];
	char serial[33]; /* VPD 80: the UUID's 32 hex digits */
	/* Of a passthrough volume that keeps the identity of the target it came from; "": our own.
	 * Then naa may be any name of SPC-4 7.8.6.6 (the unused bytes of an 8-byte one are zero)
	 * and serial any text. */
	char vendor[9], product[17]; /* standard INQUIRY; vendor also begins the T10 designator */
	char t10[65];                /* the rest of the T10 designator; "": the serial number */
};
/* Bytes of @identity's NAA name: 16 or 8 (SPC-4 table 587 ff.). */
unsigned volume_naa_length(const struct volume_identity *identity);

/* What is done about data that changes by itself; chosen when the volume is made.
 * STANDARD: every slot has a checksum, verified by every read; an overwrite may be in flight when
 * the power goes, and what is there afterwards counts (inside regions marked for that, counted).
 * STRICT: no slot is overwritten in place, so that it is the old or the new one, whole, and no
 * mismatch is ever accepted; costs space for a moment, and fragments.
 * OFF: no checksum; damage is not noticed. */
enum volume_checksum { VOLUME_CHECKSUM_STANDARD, VOLUME_CHECKSUM_OFF, VOLUME_CHECKSUM_STRICT };

/* The common head of every back end's volume. Public fields are read-only outside volumes/;
 * size may grow (acquire load with volume_size()). */
struct volume {
	const struct volume_ops *ops;
	struct pool *pool;              /* NULL for a memory volume without a pool */
	char name[VOLUME_PATH_MAX + 1]; /* of a snapshot: VOLUME@SNAPSHOT */
	struct volume_identity identity;
	uint64_t size_bytes;
	bool read_only;
	bool thin;
	bool standby;  /* atomic: another gateway serves it; requests are answered -EREMOTE */
	bool shared;   /* other gateways may serve it, and it has a note (pool.h) */
	uint32_t term; /* atomic: grows whenever this gateway begins to serve a shared one */
	uint32_t kept; /* atomic: who has to let go before another gateway serves a shared one */
	bool torn;     /* VOLUME_ATOMIC is for one VOLUME_BLOCK only; more is -EOPNOTSUPP */
	enum volume_checksum checksum;
	bool mirror;            /* every slot is on two devices */
	uint64_t reserve_bytes; /* promised to this volume alone */
	uint64_t quota_bytes;   /* what it may map together with its snapshots; 0: no quota */
	uint32_t refs;          /* atomic */
	struct list watchers;   /* struct volume_watcher; control loop only */
	struct volume_tap *tap; /* atomic; NULL: none */
	uint32_t untapped;      /* atomic: changes in flight that the tap has not seen */
	uint8_t guests;         /* atomic: enum volume_guests */
	void *private_data;     /* private to the back end */
	struct qos *qos;     /* atomic; NULL: never limited; the back end's qos_free() at its end */
	struct turns *turns; /* of the pool; NULL: no turns are taken */
};

/* volume_submit: validates (range, alignment: -EINVAL through done()), fills the private
 * fields and starts the request. Context: any I/O loop. */
void volume_submit(struct volume *volume, struct volume_request *request);
/* volume_cancel: if @request still waits for something (space, a lock, a hung disk), finish it
 * with -ECANCELED soon; otherwise nothing. done() is called exactly once either way. */
void volume_cancel(struct volume_request *request);
/* volume_erasable: can VOLUME_IN_PLACE overwrite everything that @volume has? 0; -EBUSY: not now, a
 * snapshot, a clone or another node shares it; -EOPNOTSUPP: never. Context: any thread. */
int volume_erasable(struct volume *volume);
/* volume_refuse: for back ends, inside submit: finish @request with @result, from the loop. */
void volume_refuse(struct volume_request *request, int result);

/* volume_tap_set: from now on changes go by @tap (NULL: by none). A tap that is taken off has to
 * live until the requests it admitted are done, reads too, and those that are inside admit()
 * meanwhile; it tells the volume how many changes of its own are in flight then and whenever that
 * number changes (volume_tap_left), so that the next tap knows.
 * volume_tap_quiet: true once no change is in flight that was submitted before the tap was set;
 * those are unknown to it. Context: any.
 * volume_pass: see volume_tap_ops.admit. Context: the request's loop, not inside admit().
 * volume_end: see volume_tap_ops.completed. Context: the request's loop, not inside completed(). */
void volume_tap_set(struct volume *volume, struct volume_tap *tap);
void volume_tap_left(struct volume *volume, int changes);
bool volume_tap_quiet(const struct volume *volume);
void volume_pass(struct volume_request *request);
void volume_end(struct volume_request *request, int result);

/* volume_check_limits: are they such as can be set? *@limits becomes what would be kept. Nothing
 * else changes; -EINVAL. Context: any. */
int volume_check_limits(struct volume_limits *limits, struct err *err)
    __attribute__((warn_unused_result));
/* volume_set_limits: at once, also for what waits. Context: the control loop. -EINVAL, -ENOMEM. */
int volume_set_limits(struct volume *volume, const struct volume_limits *limits, struct err *err)
    __attribute__((warn_unused_result));
void volume_get_limits(const struct volume *volume, struct volume_limits *ret_limits);

uint64_t volume_size(const struct volume *volume); /* bytes */
static inline bool volume_standby(const struct volume *volume)
{
	return __atomic_load_n(&volume->standby, __ATOMIC_ACQUIRE);
}
/* volume_set_guests: whoever changes what is not on the volume itself asks volume_guests() once it
 * can be seen to do so; whoever has set it looks for such a change afterwards. Any thread. */
static inline void volume_set_guests(struct volume *volume, enum volume_guests guests)
{
	__atomic_store_n(&volume->guests, (uint8_t)guests, __ATOMIC_SEQ_CST);
}
static inline enum volume_guests volume_guests(const struct volume *volume)
{
	return (enum volume_guests)__atomic_load_n(&volume->guests, __ATOMIC_SEQ_CST);
}
/* volume_keep: in a planned move another gateway gets the volume only after volume_unkeep();
 * VOLUME_WANTED says when. Nobody waits for a gateway that is dead or shut out. Any thread. */
static inline void volume_keep(struct volume *volume)
{
	__atomic_fetch_add(&volume->kept, 1, __ATOMIC_ACQ_REL);
}
static inline void volume_unkeep(struct volume *volume)
{
	__atomic_fetch_sub(&volume->kept, 1, __ATOMIC_ACQ_REL);
}
static inline bool volume_kept(const struct volume *volume)
{
	return __atomic_load_n(&volume->kept, __ATOMIC_ACQUIRE) > 0;
}
struct volume *volume_ref(struct volume *volume); /* any thread */
void volume_unref(struct volume *volume);         /* NULL is fine */

/* Watch for changes made by the administrator. Context: control loop. */
enum volume_change {
	VOLUME_RESIZED,
	VOLUME_RENAMED,
	VOLUME_THRESHOLD,
	VOLUME_ACCESS,      /* standby has changed; or it has not, and nobody wants it any more */
	VOLUME_WANTED,      /* by another gateway: whoever keeps it lets go of it soon */
	VOLUME_NOTED,       /* its note has been changed, by whomever */
	VOLUME_ROLLED_BACK, /* all data may be different; VOLUME_RESIZED follows when the size is */
	VOLUME_LEAVING      /* a snapshot, or another gateway's volume, is to be deleted: who can do
			     * without it lets go of it soon. It may stay all the same. */
};
struct volume_watcher {
	struct list link;
	void (*changed)(struct volume_watcher *watcher, struct volume *volume,
			enum volume_change change);
};
void volume_watch(struct volume *volume, struct volume_watcher *watcher);
void volume_unwatch(struct volume_watcher *watcher);
void volume_notify(struct volume *volume, enum volume_change change); /* back ends */

/* volume_name_check: 1..127 of [A-Za-z0-9._-], not starting with '.' or '-'. */
int volume_name_check(const char *name, struct err *err);
/* volume_identity_make: a fresh identity from @random_uuid (16 random bytes). */
void volume_identity_make(const uint8_t random_uuid[16], struct volume_identity *ret_identity);

/* memory.c: a RAM volume with the whole contract (sparse, discard, extents), for tests. */
int memory_volume_create(const char *name, uint64_t size_bytes, struct volume **ret_volume,
			 struct err *err) __attribute__((warn_unused_result));

#endif
