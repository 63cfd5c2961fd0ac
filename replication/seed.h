/* SPDX-License-Identifier: Apache-2.0 */
#ifndef REPLICATION_SEED_H
#define REPLICATION_SEED_H

#include "replication/group.h"
#include "replication/seed_stream.h"
#include "volumes/pool.h"

/* Inside replication/: the first image on a disk (seed.c), but for the files it is in and the
 * administrator who asks for it, so that the simulator runs all of this. Context: a fiber of the
 * group's loop. */

#define SEED_PIECE WIRE_DATA_MAX

struct seed_work;
struct seed_host {
	/* Exporting: no later export has the number @epoch, durably on 0. */
	int (*number)(struct seed_work *work, uint64_t epoch, struct err *err);
	/* Exporting: of every member, named @name, a pool after the other. */
	int (*snapshot)(struct seed_work *work, const char *name, struct err *err);
	/* Exporting: the snapshots of the members that the seed has, a reference each; -ENOENT: not
	 * all are there, and some references are. */
	int (*sources)(struct seed_work *work, struct volume *sources[WIRE_MEMBERS_MAX]);
	/* Importing, optional: it is whole; from here on the members are changed. */
	void (*taken)(struct seed_work *work);
};

struct seed_work {
	const struct seed_host *host;
	struct group *group;
	struct seed_bytes *bytes;
	struct seed seed;            /* what it says of itself, and how far it was gone through */
	struct seed_reading reading; /* its stop() is looked at in an export, too */
	const char *name;            /* of where it is, for sentences */
	uint8_t *data;               /* SEED_PIECE, as volumes want it */
	uint64_t *done_bytes, *total_bytes; /* for whoever looks on */
};
/* seed_work_open: -ENOMEM. seed_work_close: also of one that is zeroed. */
int seed_work_open(struct seed_work *work) __attribute__((warn_unused_result));
void seed_work_close(struct seed_work *work);

/* ---- seed_since.c: the snapshots of exports ---- */
/* seed_snapshot_name: of the export @epoch. seed_snapshot_find: the snapshot @name of @volume, a
 * reference; NULL: there is none. */
void seed_snapshot_name(const struct group *group, uint64_t epoch,
			char name[SNAPSHOT_NAME_MAX + 1]);
struct volume *seed_snapshot_find(struct volume *volume, const char *name);
/* seed_snapshots_drop: those of all exports but @epoch's. What can not be deleted is tried again at
 * the next start. */
void seed_snapshots_drop(struct group *group, uint64_t epoch);
/* seed_mark_since: as a group's host. */
int seed_mark_since(struct group *group, uint64_t epoch);

/* ---- seed_export.c ---- */
/* seed_export_moment: work->seed is one moment of all members from now on, with a number of its
 * own; what was kept for the export before it goes. Guests wait meanwhile. -EAGAIN: the link was
 * lost in it. seed_export_look: is what is at work->bytes of the last export, which can go on?
 * -EEXIST: no. seed_export_again: it goes on where it ended, or has all there is
 * (work->seed.sealed). seed_export_stream: from where it is to its end. */
int seed_export_moment(struct seed_work *work, struct err *err) __attribute__((warn_unused_result));
int seed_export_look(struct seed_work *work, struct err *err) __attribute__((warn_unused_result));
int seed_export_again(struct seed_work *work, struct err *err) __attribute__((warn_unused_result));
int seed_export_stream(struct seed_work *work, struct err *err) __attribute__((warn_unused_result));

/* ---- seed_import.c ---- */
/* seed_import_allowed: may @seed, of which the head was read, be this standby's first image, whose
 * primary is @peer? -EINVAL, -EEXIST. seed_import: make it that. No session. -EBADMSG and what else
 * seed_read() says: nothing was touched, if it was damaged before that. */
int seed_import_allowed(const struct group *group, const struct seed *seed, const uint8_t peer[16],
			struct err *err) __attribute__((warn_unused_result));
int seed_import(struct seed_work *work, const uint8_t peer[16], struct err *err)
    __attribute__((warn_unused_result));

#endif
