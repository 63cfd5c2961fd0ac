/* SPDX-License-Identifier: Apache-2.0 */
#ifndef REPLICATION_GROUP_H
#define REPLICATION_GROUP_H

#include "replication/channel.h"
#include "replication/digest.h"
#include "replication/lag.h"
#include "replication/lease.h"
#include "replication/pack.h"
#include "replication/recorder.h"
#include "replication/staging.h"
#include "replication/wire.h"
#include "volumes/marks.h"

/* Inside replication/: one replication group on one node. All of it on one loop; what waits does
 * so in the fiber of the group's session. The simulator runs two of them against each other. */

#define GROUP_NAME_MAX 63

enum group_role {
	GROUP_NONE,     /* not defined here yet */
	GROUP_PRIMARY,  /* guests write here */
	GROUP_STANDBY,  /* holds the sealed image; refuses guests */
	GROUP_HANDOVER, /* was asked to hand over; refuses guests until it knows who has it */
	GROUP_FENCED,   /* the peer was promoted; refuses guests until it is demoted */
	GROUP_ROLES
};
const char *group_role_name(enum group_role role);

struct group;
struct group_host {
	/* Required. Make role, lineage and definition durable. Context: the session's fiber, or
	 * the loop; does not wait for the loop. 0 or -errno. */
	int (*save)(struct group *group);
	/* Required. The definition as JSON text, to send (borrowed until the next call). */
	const char *(*definition)(struct group *group);
	/* Required. Standby: make members and staging volume as @text says, or check that they
	 * are so; fills members[] and staging_volume. Fiber. 0 or -errno with @err. */
	int (*define)(struct group *group, const char *text, size_t length, struct err *err);
	/* Optional. Primary: who is let in to what is on the members and what is reserved there, as
	 * bytes that are for the standby alone: the caller's, heap_wipe(). -EBUSY: it is just being
	 * changed; -EFBIG: more than ACCESS_MAX. Any context on the loop. */
	int (*access)(struct group *group, uint8_t **ret_data, size_t *ret_length);
	/* Required with access(). Standby: keep that, durably, and not as it is; NULL: what was
	 * kept is nothing any more. Fiber. -EPROTO: it makes no sense, or -errno, with @err. */
	int (*keep_access)(struct group *group, const uint8_t *data, size_t length,
			   struct err *err);
	/* Optional. A promotion: what was kept is in force from now on as far as guests could not
	 * be let in without. Before save(). Fiber. 0 or -errno with @err. */
	int (*guard)(struct group *group, bool planned, struct err *err);
	/* Optional. A promotion leaves this member out, for the sealed image has not got it: before
	 * save(). Fiber. */
	void (*left_out)(struct group *group, unsigned index);
	/* Optional. Demoting: keep the members' images, which a sync is going to replace. Fiber. */
	int (*keep)(struct group *group, struct err *err);
	/* Optional. Standby: the sealed epoch is in the members, and nothing of the next one is.
	 * The session's fiber; the next epoch waits for it. */
	void (*sealed)(struct group *group);
	/* Optional. The group's role has changed. Any context on the loop. */
	void (*role_changed)(struct group *group);
	/* Optional. group_serves() has another answer: who keeps something open on the members lets
	 * go of it, or takes it again. settled(): he has. Any context on the loop. */
	void (*serving_changed)(struct group *group);
	bool (*settled)(struct group *group);
	/* Optional. Primary: the standby holds the image that was exported as @epoch: mark what has
	 * changed since, in place of what is marked. -ENOENT: nothing is known of that one. The
	 * session's fiber, before anything is sent. */
	int (*mark_since)(struct group *group, uint64_t epoch);
	/* Optional. Monotonic ns; any thread. NULL: loop_clock(). */
	uint64_t (*clock)(const struct group *group);
	/* Required with a lease. The group's lease is this node's: end the session, and
	 * group_promote() unplanned. Fiber. 0 or -errno. */
	int (*take_over)(struct group *group, struct err *err);
};

/* The members compared with the standby's, slot by slot, beside everything else. */
struct group_verify {
	bool running;
	unsigned member; /* and where in it: next */
	uint64_t offset, done_bytes;
	uint64_t begun_wall_ns, ended_wall_ns; /* 0: not yet */
	uint64_t mismatches, repaired;         /* slots */
	/* Slots that differed while a guest was at them: looked at once more when all is. */
	struct group_doubt *doubts; /* VERIFY_DOUBTS of them, while it runs */
	unsigned doubt_count;
};
struct group_doubt {
	uint64_t offset;
	unsigned member;
};
#define VERIFY_DOUBTS 4096u

struct group_member {
	struct volume *volume; /* a reference */
	struct marks sent;     /* primary: carried by the sync that is not acknowledged yet */
	uint64_t size;         /* standby: bytes that the primary has of it; 0: it has not said */
};

struct group {
	struct loop *loop;
	const struct group_host *host;
	void *host_context;
	char name[GROUP_NAME_MAX + 1];
	uint8_t uuid[16], node[16];
	enum group_role role;
	struct wire_lineage lineage; /* standby: the sealed image's is staging.lineage */
	bool accept_any;             /* demoted: a sync of any lineage may replace the image */
	struct group_member members[WIRE_MEMBERS_MAX];
	struct volume *views[WIRE_MEMBERS_MAX]; /* the members' volumes, for the staging log */
	unsigned member_max;                    /* highest index + 1 */
	struct recorder *recorder;
	struct volume *staging_volume;
	struct staging staging; /* standby, valid when staging_good */
	bool staging_good;

	/* primary: E5. Log and marks hold everything that the standby lacks over acked. */
	uint64_t acked;   /* 0: unknown */
	uint64_t sealing; /* number of the last SEAL sent and not answered; 0: none */
	uint64_t period_ns, epoch_bytes, limit_bytes;
	bool ship;           /* the first image comes on a disk: none is sent */
	uint64_t seed_epoch; /* of the last export of one: no session's epoch has that number */
	enum pack_kind compression; /* of the link, when the peer can */
	unsigned protocol;  /* the newest that this node speaks: WIRE_VERSION, but for tests */
	unsigned spoken;    /* in the session; 0: none */
	uint64_t log_bytes; /* budget of the recorder */
	/* primary: guests' changes wait when the standby's image is older than that; 0: they never
	 * do. Armed, durably, once the image was that new, so that a start after a crash, when
	 * nothing is known of it, does not let them go by. */
	uint64_t protect_ns;
	bool armed;
	bool starting; /* the node is: what it writes itself, mending what is there, passes */
	struct channel *channel;    /* of the session, NULL: none */
	bool switching;             /* hand over as soon as all is sealed */
	bool leaving;               /* and who has something open on the members lets go first */
	uint64_t switch_until_ns;   /* guests wait no longer than that */
	bool wanted;                /* standby: it asks to be handed the image */
	struct group_verify verify; /* primary */
	struct lag_heard heard;     /* standby */
	bool used;                  /* standby: the members were there before the group was */
	bool stopping;              /* the node is about to stop: a failback waits no longer */
	bool changing;              /* a promotion or demotion is under way: no session begins */
	struct lease lease;

	/* seen by the administrator */
	uint64_t acked_wall_ns; /* close time of the acked epoch, or when nothing was behind */
	uint64_t sent_bytes;    /* in sessions that are over */
	uint64_t saved_bytes;   /* by compression: so many more would have been sent */
	const char *phase;      /* what the session does */
	char reason[200]; /* why there is no session; "" when there is one that is past its greeting
			   */
};

/* group_init: zeroed but for the defaults. group_finish: references and memory; no session. */
void group_init(struct group *group, struct loop *loop, const struct group_host *host);
void group_finish(struct group *group);
/* group_set_member: takes a reference. */
void group_set_member(struct group *group, unsigned index, struct volume *volume);
/* group_add_member: a member (group_set_member) of a group that has started; @marked: the standby
 * lacks all of it, so that the next epoch has it whole; no member after an error.
 * group_drop_member: it is no member any more; the volume stays. No session, or the session's own
 * fiber between epochs. -ENOMEM, -EBUSY. */
int group_add_member(struct group *group, unsigned index, bool marked, struct err *err)
    __attribute__((warn_unused_result));
void group_drop_member(struct group *group, unsigned index);
/* group_start: put the taps on as the role wants them; @marked: the standby may lack anything.
 * 0, -ENOMEM, -EBUSY. */
int group_start(struct group *group, bool marked, struct err *err)
    __attribute__((warn_unused_result));
void group_set_role(struct group *group, enum group_role role);
/* group_protect: until when changes may pass, as protect_ns and what is sealed have it now; also
 * what a standby that lacks nothing is as new as. Whenever either has changed, and often. */
void group_protect(struct group *group);
/* group_serves: guests use the members here. group_leave: not any more, for the group is about to
 * be handed over; group_stay: that was called off. */
bool group_serves(const struct group *group);
void group_leave(struct group *group);
void group_stay(struct group *group);

/* In a session's fiber. group_open_staging: read the log again. group_promote: the sealed image
 * becomes this node's to change: redo what is sealed, fork the lineage, let guests in; @planned:
 * the peer's image is the same. -ENODATA: there is no sealed image. Of promotions, demotions and
 * switchovers one at a time: -EBUSY; -EINVAL: not from the role that the group has. */
int group_open_staging(struct group *group, struct err *err) __attribute__((warn_unused_result));
int group_promote(struct group *group, bool planned, struct err *err)
    __attribute__((warn_unused_result));
/* group_may_promote: what group_promote() is refused as the staging log was read last: -ENODATA,
 * -ENXIO. group_has_member: the group has it, and, @promoted, will have it when it is promoted: the
 * sealed image has it. */
int group_may_promote(const struct group *group, struct err *err)
    __attribute__((warn_unused_result));
bool group_has_member(const struct group *group, unsigned index, bool promoted);
/* group_demote: the image as it is becomes a standby's; what a primary sends may replace it. */
int group_demote(struct group *group, struct err *err) __attribute__((warn_unused_result));

/* group_retire: as group_finish(), with requests still on their way (recorder_retire). */
void group_retire(struct group *group, struct recorder **retired);

/* group_drain: wait until no change is in flight. group_flush: make the members durable; 0 or
 * -errno. Fiber. */
void group_drain(struct group *group);
int group_flush(struct group *group) __attribute__((warn_unused_result));
/* group_level: does the standby's sealed image lack nothing that this primary knows of? */
bool group_level(const struct group *group);
/* group_stop: the node stops in order: sessions are over and nobody writes. The epoch that a
 * later start may take for acked, with nothing marked; 0: none. Fiber. */
uint64_t group_stop(struct group *group);
/* group_switchover: hand over to the standby that is connected; guests wait, at most @limit_ns.
 * -ENOTCONN, -ETIMEDOUT (guests go on here, or it is open who has it: see @err). Fiber. */
int group_switchover(struct group *group, uint64_t limit_ns, struct err *err)
    __attribute__((warn_unused_result));
/* group_may_ask: can the standby be asked to take over, or for its image's hashes? -ENOTCONN. */
int group_may_ask(const struct group *group, struct err *err) __attribute__((warn_unused_result));
/* group_hand_over: the peer has taken over our image at @epoch, as @lineage. Fiber. */
int group_hand_over(struct group *group, uint64_t epoch, const struct wire_lineage *lineage,
		    struct err *err) __attribute__((warn_unused_result));

/* group_failback: become the primary again, where a former primary was left behind: demote, let
 * the present primary send what differs, and have it hand over. Starts without a session. 0,
 * -ETIMEDOUT after @limit_ns (the catch-up goes on). Fiber. */
int group_failback(struct group *group, uint64_t limit_ns, struct err *err)
    __attribute__((warn_unused_result));
/* group_verify: begin to compare (again); one that runs goes on. Every slot of the standby's sealed
 * image is looked at once; what differs and was not changed since is a mismatch, and is sent again.
 */
int group_verify(struct group *group, struct err *err) __attribute__((warn_unused_result));

/* sender.c, receiver.c: a session on an open channel, until it breaks (the reason is the
 * channel's). The receiver's first message is the HELLO in @hello. Context: a fiber. */
void sender_run(struct group *group, struct channel *channel);
void receiver_run(struct group *group, struct channel *channel, const struct wire_message *hello);

#endif
