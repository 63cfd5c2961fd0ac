/* SPDX-License-Identifier: Apache-2.0 */
#ifndef REPLICATION_REPLICATION_H
#define REPLICATION_REPLICATION_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/err.h"
#include "core/loop.h"
#include "volumes/pool.h"

/* Asynchronous replication: this node, the nodes it is paired with, and groups of volumes whose
 * standby on another node always holds a sealed, promotable image. Context of all of it: the
 * control loop. */

struct replication;

struct replication_host {
	/* Required. The open pool @name, or, when there is none, the open one with the most free
	 * space; NULL: none is open. */
	struct pool *(*pool)(void *context, const char *name);
	/* Required. A reference to the volume with @uuid, in any open pool; NULL: there is none. */
	struct volume *(*volume)(void *context, const uint8_t uuid[16]);
	/* Required. What is exported of the volumes @uuids, as a JSON object that exports_apply()
	 * of another node understands. The caller's. */
	json_t *(*exports)(void *context, const uint8_t (*uuids)[16], unsigned count);
	/* Required. Who is let in there and what is reserved, secrets and all, likewise. -EBUSY: it
	 * is just being changed; -ENOMEM. access_check: is that what another node's access() said?
	 * -EPROTO, with @err. */
	int (*access)(void *context, const uint8_t (*uuids)[16], unsigned count,
		      json_t **ret_access);
	int (*access_check)(void *context, const json_t *access, struct err *err);
	/* Required. Bytes that may be kept, for @owner alone, and back; heap. -EIO, -ENOMEM. */
	int (*seal)(void *context, const char *owner, const uint8_t *data, size_t length,
		    uint8_t **ret_sealed, size_t *ret_length);
	int (*unseal)(void *context, const char *owner, const uint8_t *sealed, size_t length,
		      uint8_t **ret_data, size_t *ret_length);
	/* Required. What @access has reserved of the volumes @uuids is in force, then done(0 or
	 * -errno). */
	void (*reserve)(void *context, const json_t *access, const uint8_t (*uuids)[16],
			unsigned count, void (*done)(void *waiting, int result), void *waiting);
	/* Required. This node has been promoted: export what @exports says, to whom @access says
	 * (NULL: not known), as far as it is not so here, and of the volumes @uuids no LUN that is
	 * not in it, then done(0): durably, but for what can not be and is said. -EAGAIN: some of
	 * it was not tried. done() may come at once, and comes before replication_stop(). */
	void (*exports_apply)(void *context, const json_t *exports, const json_t *access,
			      const uint8_t (*uuids)[16], unsigned count,
			      void (*done)(void *waiting, int result), void *waiting);
	/* Required. replication_holds() has another answer for the volumes of a group: what is open
	 * on those that are not served here is closed, and opened again where they are. settled():
	 * all of it is done for the volumes @uuids, those of a group. */
	void (*serving_changed)(void *context);
	bool (*settled)(void *context, const uint8_t (*uuids)[16], unsigned count);
	/* Optional. This node has promoted itself for @group. */
	void (*promoted)(void *context, const char *group);
	void *context;
};

struct replication_options {
	struct loop *loop;
	const char *state_dir;
	struct replication_host host;
};

/* replication_create: keys and groups from STATE/replication.db, made when there is none.
 * replication_listen: take connections of peers there too; may be called for each address. */
int replication_create(const struct replication_options *options, struct replication **ret,
		       struct err *err) __attribute__((warn_unused_result));
/* The newest version of the schema of replication.db. @ret_from: NULL, or the oldest whose programs
 * can go on with it (config.h). */
unsigned replication_schema(unsigned *ret_from);
int replication_listen(struct replication *replication, const char *address, uint16_t port,
		       uint16_t *ret_port, struct err *err) __attribute__((warn_unused_result));
/* replication_serve: after replication_start, when what is on the volumes is open, and guests come
 * now: from here on writes are held where a group asks for that.
 * replication_quiet: the node is about to stop: a failback under way ends without the image. */
void replication_serve(struct replication *replication);
void replication_quiet(struct replication *replication);
/* replication_start: pools are open and nobody writes to volumes yet: put groups in place.
 * replication_stop: nobody writes any more; end sessions and let go of volumes, then stopped().
 * replication_destroy: after that, or before any start. NULL is fine. */
void replication_start(struct replication *replication);
void replication_stop(struct replication *replication, void (*stopped)(void *context),
		      void *context);
void replication_destroy(struct replication *replication);

/* ---- pairing ---- */
#define REPLICATION_CODE 20u /* bytes of a code with its dashes and end */
/* replication_code: a code for one pairing in the next ten minutes; the one before it is void. */
void replication_code(struct replication *replication, char ret_code[REPLICATION_CODE]);

/* The end of something that takes its time: result 0 or -errno with @err. */
struct replication_call {
	void (*done)(struct replication_call *call, int result);
	struct err err;
	json_t *reply; /* pairing: the peer; else the group. The caller's; may be NULL */
	/* Nothing is done, only refused what the real one is refused before it begins: the reply is
	 * {"before", "after"} of what would be different. Of changes of groups and points,
	 * and of seeds, with the group's "name". */
	bool dry;
};
/* replication_pair: with the node at @address ("HOST" or "HOST:PORT") that shows @code. */
void replication_pair(struct replication *replication, const char *address, const char *code,
		      struct replication_call *call);
json_t *replication_peers(struct replication *replication);
/* replication_peer_set: @peer is at @address ("HOST" or "HOST:PORT"; its port stays) from now on,
 * durably; what calls it calls it there. Its certificate stays the pinned one. *ret_peer: the
 * caller's; @dry: {"before", "after"} of it, and nothing is done. */
int replication_peer_set(struct replication *replication, const char *peer, const char *address,
			 bool dry, json_t **ret_peer, struct err *err);
/* replication_rekey: a new key pair for this node. Paired nodes are told over connections that they
 * know it by; it is shown when each of them has said that it takes it. Until then, also across
 * restarts, the old one is. -EBUSY: one is under way. replication_rekey_cancel: -ENOENT.
 * replication_key: which one, and who has not confirmed the next; the caller's. */
int replication_rekey(struct replication *replication, struct err *err);
int replication_rekey_cancel(struct replication *replication, struct err *err);
json_t *replication_key(struct replication *replication);
/* replication_unpair: @dry: only looks whether it may be. @ret_peer: the peer as it is listed; the
 * caller's. -ENOENT, -EBUSY. */
int replication_unpair(struct replication *replication, const char *peer, bool dry,
		       json_t **ret_peer, struct err *err);

/* ---- groups ---- */
struct replication_spec {
	const char *name;
	struct volume **volumes; /* borrowed */
	unsigned count;
	const char *peer;     /* its name, address or UUID */
	uint64_t rpo_ns;      /* 0: 5 s */
	uint64_t limit_bytes; /* a second; 0: none */
	const char *points;   /* which sealed epochs the standby keeps: "10", "last=10,hourly=24";
			       * NULL: none */
	const char *compression; /* of the link: "lz4", "zstd", "off"; NULL: off */
	const char *limit_at;    /* other limits at some times, by local time: "mon-fri 08:00-18:00
				  * 20M; ..."; NULL: none */
	/* Guests' changes wait while the standby's image is older than the RPO; unless the group is
	 * paused, or the standby never was as new yet. */
	bool protect;
	const char *seed; /* how the first image gets there: "wire", "ship"; NULL: wire */
};
void replication_group_create(struct replication *replication, const struct replication_spec *spec,
			      struct replication_call *call);
/* NULL: there is none named so. */
json_t *replication_group_show(struct replication *replication, const char *name);
json_t *replication_group_list(struct replication *replication);
/* Is a snapshot with this name (behind the '@') one that replication made for itself? */
bool replication_owns_snapshot(const char *name);

enum replication_action {
	REPLICATION_PROMOTE,
	REPLICATION_DEMOTE,
	REPLICATION_SWITCHOVER,
	REPLICATION_FAILBACK, /* a former primary, or a standby: become the primary again */
	REPLICATION_VERIFY,   /* begin to compare; the group shows how far it is */
	REPLICATION_PAUSE,
	REPLICATION_RESUME,
	REPLICATION_DELETE
};
/* -ENOENT, -EINVAL (not in this role), -ENODATA (no sealed image), -ETIMEDOUT, ... */
void replication_group_act(struct replication *replication, const char *name,
			   enum replication_action action, struct replication_call *call);
/* What is changed of a group, on its primary; NULL: as it is. The standby follows. */
struct replication_change {
	const uint64_t *rpo_ns, *limit_bytes;
	const char *points, *compression, *limit_at, *seed;
	const bool *protect;
	/* Borrowed. A new member is in the standby's image from the first epoch on that has all of
	 * it; the others are not sent again. What is removed stays a volume, on both nodes. */
	struct volume **add, **remove;
	unsigned add_count, remove_count;
	/* "ADDR/PREFIX": a service address that is where the group is served, on @interface (NULL:
	 * the one that has an address of the same network). -EPERM. */
	const char *add_address, *interface, *remove_address;
};
void replication_group_change(struct replication *replication, const char *name,
			      const struct replication_change *change,
			      struct replication_call *call);
/* replication_group_witness: the paired @node grants leases of the group, of @lease_ns (0: 15 s):
 * its primary serves guests only while it has one, or the standby's promise not to take it, and the
 * standby is promoted without an administrator when it has got it. Nothing else is asked for: the
 * primary goes on, or waits. "": no more; @force: without the witness's word that nobody has it.
 * -ENOENT, -EINVAL, -EBUSY, -ENOTCONN, -EOPNOTSUPP (a version without leases), -ETIMEDOUT.
 * replication_leases: those that this node grants. */
void replication_group_witness(struct replication *replication, const char *name, const char *node,
			       uint64_t lease_ns, bool force, struct replication_call *call);
json_t *replication_leases(struct replication *replication);
/* The points that this node keeps of a group, the newest first; NULL: no group is named so. */
json_t *replication_group_points(struct replication *replication, const char *name);
/* replication_point_clone: a writable volume of each of a point's snapshots, called @names (texts
 * NAME or POOL/NAME, in the point's order; empty: MEMBER-EPOCH), all or none; the reply lists them.
 * The group goes on. -ENOENT, -EINVAL, -EEXIST, -ENOSPC. */
void replication_point_clone(struct replication *replication, const char *name, uint64_t epoch,
			     const json_t *names, struct replication_call *call);
/* The first image on a disk. replication_seed_export: of the group @name, whose seed is shipped, to
 * the file @path, or to one in the directory @path; one that was begun there is gone on with.
 * Guests wait for the moment that snapshots take. replication_seed_import: @path to the standby
 * that it is for. Both only begin it: the group's "seed" says how far it is.
 * replication_seed_cancel: what is under way ends. -ENOENT, -EINVAL, -EEXIST, -EBUSY, -EBADMSG, ...
 */
void replication_seed_export(struct replication *replication, const char *name, const char *path,
			     struct replication_call *call);
void replication_seed_import(struct replication *replication, const char *path,
			     struct replication_call *call);
void replication_seed_cancel(struct replication *replication, const char *name,
			     struct replication_call *call);

/* replication_holds: what a volume is to a group; false: nothing. */
struct replication_hold {
	const char *group; /* its name, until something changes */
	bool staging;      /* its staging log; else a member */
	bool primary;      /* guests write to its members here */
};
bool replication_holds(struct replication *replication, const uint8_t uuid[16],
		       struct replication_hold *ret_hold);

#endif
