/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FUSEMOUNT_FUSEMOUNT_H
#define FUSEMOUNT_FUSEMOUNT_H

#define FUSE_USE_VERSION 314
#include <fuse3/fuse_lowlevel.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/err.h"
#include "core/list.h"
#include "mounts/dial.h"

/* granary-mount: a share or a snapshot of one in a directory of this machine. Two processes: the
 * keeper mounts, waits and unmounts; the server, without any right, passes what the kernel asks on
 * to the daemon and its answers back. Neither can hold the daemon up, and the daemon can be hung or
 * killed: the keeper unmounts. */

struct mount_options {
	const char *state_dir;
	struct mount_hello hello; /* which share */
	char *dir;                /* absolute; heap */
	bool foreground;
};

/* options.c: -1 to go on, else the exit status. */
int mount_options_read(int argc, char **argv, struct mount_options *ret_options);

/* confine.c: the server's rights and system calls go. */
int mount_confine(struct err *err) __attribute__((warn_unused_result));

/* What the server tells the keeper, one byte each. */
enum mount_news {
	NEWS_READY = 'r',  /* the kernel and the daemon are answered */
	NEWS_FAILED = 'e', /* and why, as the last thing it says */
	NEWS_LEAVE = 'l',  /* the daemon asks for it: unmount, calls still go through */
};

/* ---- server.c: the server's loop ---- */
struct node;
struct server;

/* A file that a program has open. */
struct open_file {
	uint32_t hold;     /* keeps the object at the daemon */
	uint64_t verifier; /* of the daemon when it was opened, or since the last fsync */
};

/* One request of the kernel on its way to the daemon. */
struct slot {
	struct server *server;
	struct fuse_buf buf; /* the kernel's request, later the reply's data */
	bool busy;           /* a call was made of it */
	fuse_req_t request;  /* NULL: nobody waits for the answer */
	struct mount_call call;
	uint32_t groups[VFS_GROUPS_MAX];
	const char *name, *name2;
	const void *data;
	struct iovec iov[5];
	unsigned iov_at, iov_count;
	struct list link; /* of what is to be sent */
	/* result 0 or -errno; @data: reply->data_length bytes, with room for a NUL behind them */
	void (*answered)(struct slot *slot, const struct mount_reply *reply, char *data);
	/* for the operation */
	struct fuse_file_info file_info;
	struct open_file *file;
	uint64_t offset;
	size_t size;
	bool plus;
	char *gathered;
	size_t gathered_length;
};

struct server {
	struct fuse_session *session;
	int socket, news;
	struct slot slots[MOUNT_SLOTS];
	struct slot *current; /* the request being looked at */
	struct list outgoing;
	struct mount_reply reply;
	size_t reply_fill, data_fill;
	struct mount_welcome welcome;
	bool immutable; /* a snapshot: what is known of it stays true */
	bool failed;    /* the daemon is gone */
};

/* server_run: until the mount ends, or the daemon. @fuse: /dev/fuse of the mount. */
int server_run(const struct mount_options *options, const struct mount_welcome *welcome, int fuse,
	       int socket, int news, struct err *err);

/* server_call: the slot of the request @request: fill call and the rest, then server_send() it. */
struct slot *server_call(fuse_req_t request, enum vfs_op op, const struct node *node,
			 void (*answered)(struct slot *slot, const struct mount_reply *reply,
					  char *data));
void server_name(struct slot *slot, const char *name);
void server_send(struct slot *slot);
/* Again with the same slot, in answered(). */
void server_again(struct slot *slot, enum vfs_op op,
		  void (*answered)(struct slot *slot, const struct mount_reply *reply, char *data));

/* ---- operations.c ---- */
extern const struct fuse_lowlevel_ops mount_operations;

/* ---- node.c: what the kernel knows objects by ---- */
struct node {
	struct vfs_object object;
	uint64_t lookups; /* of the kernel that it has not forgotten */
	struct node *next;
};
int nodes_start(const struct vfs_object *root);
struct node *node_of(fuse_ino_t number);
fuse_ino_t node_number(const struct node *node);
/* node_look_up: with one lookup more; NULL: no memory. */
struct node *node_look_up(const struct vfs_object *object);
void node_forget(struct node *node, uint64_t lookups);

#endif
