/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MOUNTS_MOUNTS_H
#define MOUNTS_MOUNTS_H

#include "core/err.h"
#include "core/loop.h"
#include "shares/vfs.h"

/* The daemon's end of local mounts: a UNIX socket on which the processes that have a share mounted
 * (fusemount/) pass file system calls on. Nothing of FUSE is here: a mount that hangs hangs its own
 * process, the daemon sees a connection that says nothing.
 * Context of everything here: the control loop; calls run on the I/O loops. */
struct mounts;

#define MOUNTS_MAX 64u

struct mounts_options {
	struct loop *control;
	struct loop *const *io_loops;
	unsigned io_loop_count;
	/* find: a reference to the open share @pool/@name; NULL with a sentence. */
	struct vfs *(*find)(void *context, const char *pool, const char *name, struct err *err);
	/* writes: a mount may change the share handle_volume() @volume from now on, or may no
	 * longer
	 * (@begins). NULL: nobody asks. */
	void (*writes)(void *context, uint64_t volume, bool begins);
	void *context;
};
int mounts_create(const struct mounts_options *options, struct mounts **ret_mounts, struct err *err)
    __attribute__((warn_unused_result));
/* mounts_listen: take mounts on @path (mode 0600; only root and the process's own user are let
 * in). */
int mounts_listen(struct mounts *mounts, const char *path, struct err *err)
    __attribute__((warn_unused_result));
/* mounts_stop: no new ones; ask each to unmount, and after @grace_ns end those that did not; then
 * stopped(): no share is referenced any more. */
void mounts_stop(struct mounts *mounts, uint64_t grace_ns, void (*stopped)(void *context),
		 void *context);
/* mounts_end: ask the mounts of @vfs to unmount; when this is called again and @grace_ns have
 * passed since, end those that did not. */
void mounts_end(struct mounts *mounts, const struct vfs *vfs, uint64_t grace_ns);
void mounts_destroy(struct mounts *mounts); /* stopped first, or never listened; NULL is fine */

#endif
