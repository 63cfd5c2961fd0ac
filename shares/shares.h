/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SHARES_SHARES_H
#define SHARES_SHARES_H

#include "core/err.h"
#include "core/loop.h"
#include "shares/vfs.h"
#include "volumes/pool.h"

/* A share: a small file system of our own on a thin volume. */

#define SHARE_VOLUME_BYTES VOLUME_SIZE_MAX /* addresses are free on a thin volume */

/* What a user's files take, and may take. Owners of files are counted from the first limit on,
 * which looks at all inodes once and holds changes up meanwhile; then each change counts, exactly
 * and through crashes. Whoever writes, a file's blocks count for its owner: a limit holds for
 * root's writes too. What is over a limit that is made smaller stays, and gets no more. */
enum share_user_set { SHARE_USER_BYTES = 1, SHARE_USER_FILES = 2 };
struct share_user {
	uint32_t uid;
	unsigned set;                     /* share_set_user: which limits */
	uint64_t limit_bytes, used_bytes; /* 0: no limit; whole blocks of 4096 */
	uint64_t limit_files, files;      /* files: of every type */
};

/* Asynchronous, like a pool_call: handed back on the loop that made the call. */
struct share_call {
	void (*done)(struct share_call *call, int result); /* 0 or -errno with err.text */
	bool dry; /* share_rollback, share_set_quota: only whether that would be done */
	struct err err;
	struct vfs *vfs;         /* share_open: a reference for the caller */
	uint64_t restored_bytes; /* share_restore: copied so far */
	/* private */
	struct loop *loop;
	struct volume *volume;
	struct share *share;
	uint8_t uuid[16], secret[16];
	uint64_t quota_bytes;
	bool read_only;
	struct share_user user, *users; /* users: the caller's */
	unsigned user_room, user_count;
	struct share_check_report *report;
	struct volume *snapshot;
	const char *keep, *snapshot_name, *path, *to;
	struct pool_call pool_call;
	struct fiber *fiber;
	int pool_result;
	bool pool_done;
};

/* share_format: an empty share on @volume, whatever was there. @quota_bytes: 0: none. Durable at
 * done(0). Context of all of these: one loop (the control loop), that also runs the share's
 * background work. The volume stays the caller's. */
void share_format(struct volume *volume, struct loop *loop, uint64_t quota_bytes,
		  struct share_call *call);
/* share_open: replay its log and serve it. @read_only: nothing is written, not even the log's
 * replay. -EPROTO: no share; -EUCLEAN: damaged; -ENOTSUP: a newer version. */
void share_open(struct volume *volume, struct loop *loop, bool read_only, struct share_call *call);
/* share_close: takes over the caller's reference. -EBUSY when somebody else has one, or requests
 * or calls are in flight. Everything is durable at done(0). */
void share_close(struct vfs *vfs, struct share_call *call);

/* Does @volume hold a share? call->done(call, 1), 0 or an error. */
void share_probe(struct volume *volume, struct loop *loop, struct share_call *call);

/* ---- snapshots ----
 * `.snapshot` in the root of a share has a directory for each snapshot of its volume: the share as
 * a crash at that instant would have left it and its log's replay would bring it back, so all that
 * had been answered as stable is in it, and of UNSTABLE writes what had been answered a second
 * before. It is read-only (-EROFS). What a snapshot shows is stale when it has been deleted. */
enum share_snapshots {
	SHARE_SNAPSHOTS_HIDDEN, /* there for who asks for it, and in no listing */
	SHARE_SNAPSHOTS_VISIBLE,
	SHARE_SNAPSHOTS_NONE, /* not there for clients */
};
void share_show_snapshots(struct vfs *vfs, enum share_snapshots how); /* any thread */
/* share_rollback: the share becomes what it was at @snapshot, one of its volume's, which the caller
 * keeps until done(); @keep as volume_rollback() has it. Requests wait meanwhile. Clients go on:
 * handles of objects that are in the snapshot are good, all others stale; no object that is made
 * later gets the identity of one that was. UNSTABLE writes that nobody committed have to be
 * written again (vfs_verifier()). Durable at done(0). When only the opening fails, the volume
 * has gone back and requests are answered -EIO. Other calls on the share end before it goes;
 * those that come meanwhile get -EIO, another rollback -EBUSY. */
void share_rollback(struct vfs *vfs, struct volume *snapshot, const char *keep,
		    struct share_call *call);

/* share_restore: the file or symbolic link @path (from the root, '/' between names) as it was in
 * snapshot @snapshot, back to its place, or (@to not NULL) to another where nothing is yet:
 * -EEXIST. The new one is a new object with the old one's contents, owner, mode, ACL, xattrs and
 * mtime; it takes the name in one step, durably, when it is whole. Texts stay the caller's until
 * done(). -ENOENT, -EINVAL (a folder), -EBUSY (too many at a time), -ECANCELED (the share is being
 * closed), and what WRITE has. */
#define RESTORES_MAX 4u
void share_restore(struct vfs *vfs, const char *snapshot, const char *path, const char *to,
		   struct share_call *call);

struct share_info {
	uint64_t quota_bytes, used_bytes, files;
	uint64_t commits, checkpoints; /* since it was opened */
	bool read_only, failed;
	bool no_space; /* failed until the pool has some for it */
	bool mirror;   /* its volume has two copies */
};
void share_get_info(struct vfs *vfs, struct share_info *ret_info); /* any thread */
void share_set_quota(struct vfs *vfs, uint64_t quota_bytes, struct share_call *call);

#define SHARE_USERS_MAX 10000u
/* share_set_user: durable at done(0). -E2BIG: files have more than 4,096 owners when counting
 * starts. @user is copied. */
void share_set_user(struct vfs *vfs, const struct share_user *user, struct share_call *call);
/* share_list_users: the first @room, by uid; call->user_count. Empty: they are not counted. */
void share_list_users(struct vfs *vfs, struct share_user *users, unsigned room,
		      struct share_call *call);

/* share_check: walk everything and compare. An open share is checked as it is at this moment, with
 * its changes held up; a closed one through its volume. Findings are sentences; changes nothing. */
struct share_check_report {
	uint64_t inodes, extents, pages, errors;
	/* Set aside by ALLOCATE (vfs.h) and without space of the pool: by an older version, or the
	 * volume is another one's copy. No error: ALLOCATE makes sure of it again. */
	uint64_t unbacked_bytes;
	void (*finding)(struct share_check_report *report, const char *sentence);
	void *context;
};
void share_check(struct vfs *vfs, struct share_check_report *report, struct share_call *call);
void share_check_volume(struct volume *volume, struct loop *loop, struct share_check_report *report,
			struct share_call *call);

#endif
