/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SHARES_HOST_H
#define SHARES_HOST_H

#include <pthread.h>
#include <sys/vfs.h>

#include "shares/vfs.h"

/* The host directory, inside: host_directory.c (opening, the threads), host_object.c (handles,
 * attributes, what is held), host_guard.c (what is never served), host_ops.c (the operations).
 *
 * Every system call here may wait for a disk, so none is made on a loop: a few threads of the
 * directory's own take requests from one queue, and a lane for each loop brings them back. One
 * directory that hangs keeps its own threads, and its own requests, and nothing else. */

#define HOST_THREADS 4u
/* Objects that are held: of all directories, or a quarter of the files the process may have open.
 */
#define HOST_HOLDS_MAX    4096u
#define HOST_HOLD_BUCKETS 256u
#define HOST_MAC_BYTES    8u
#define HOST_DEPTH_MAX    4096u
#define HOST_PATH_MAX     1023u

/* An object that is open somewhere above: its descriptor keeps it when its last name goes. */
struct host_hold {
	struct list link;
	struct vfs_object object;
	uint64_t count;
	int fd; /* O_RDONLY of a regular file, O_PATH of anything else */
};

/* Requests on their way back to one loop. */
struct host_lane {
	struct host_lane *next;
	struct host_fs *fs;
	struct loop *loop;
	struct message message;
	bool posted;
	struct list done;
};

struct host_fs {
	struct vfs vfs;
	int root_fd;
	uint32_t dev_major, dev_minor;
	fsid_t id;
	uint8_t key[16]; /* of the hashes in objects */

	pthread_mutex_t hold_lock;
	struct list holds[HOST_HOLD_BUCKETS];
	unsigned hold_max;

	pthread_mutex_t queue_lock; /* all below; never taken with hold_lock */
	pthread_cond_t more;
	struct list queue; /* requests; their backend is their lane, NULL once a thread has it */
	struct host_lane *lanes;
	bool stopping;
	pthread_t threads[HOST_THREADS];
	unsigned thread_count;
};

/* An object while a request is run. */
struct host_node {
	int fd;      /* O_PATH; of a regular file that is held O_RDONLY */
	int read_fd; /* O_RDONLY, -1: not yet; may be fd */
	struct vfs_object object;
	struct vfs_attr attr;
};
#define HOST_NODE_NONE ((struct host_node){.fd = -1, .read_fd = -1})

/* host_object.c. Most return 0 or what a request is answered with. */
uint64_t host_change(int64_t ctime, int64_t mtime, uint64_t size); /* vfs_attr.change */
int host_errno(int error); /* what a request is answered with, for errno */
int host_find(struct host_fs *fs, const struct vfs_object *object, struct host_node *ret_node);
/* What @name in @directory is: -ENOENT too where something else is mounted. */
int host_child(struct host_fs *fs, const struct host_node *directory, const char *name,
	       struct host_node *ret_node);
int host_parent(struct host_fs *fs, const struct host_node *directory, struct host_node *ret_node);
/* host_identify: @node->fd is there; the rest of it. */
int host_identify(struct host_fs *fs, struct host_node *node);
int host_refresh(struct host_node *node);                      /* its attributes, now */
int host_readable(struct host_fs *fs, struct host_node *node); /* read_fd */
void host_node_close(struct host_node *node);
int host_hold(struct host_fs *fs, struct host_node *node);
int host_release(struct host_fs *fs, const struct vfs_object *object);
void host_drop_holds(struct host_fs *fs);

/* host_guard.c. host_place_of: which directory @fd is; false: it can not be looked at.
 * host_check_guarded: may what is open as @root_fd be served? -EACCES with a sentence. */
struct host_place {
	uint64_t inode;
	uint32_t major, minor;
};
struct host_directory_options;
bool host_place_of(int fd, struct host_place *ret_place);
bool host_same_place(const struct host_place *a, const struct host_place *b);
int host_check_guarded(int root_fd, const struct host_directory_options *options, struct err *err);

/* host_ops.c: run @request, on a thread of @fs. */
int host_run(struct host_fs *fs, struct vfs_request *request);

#endif
