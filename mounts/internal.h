/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MOUNTS_INTERNAL_H
#define MOUNTS_INTERNAL_H

#include "core/buf.h"
#include "core/list.h"
#include "core/stream.h"
#include "mounts/mounts.h"
#include "mounts/wire.h"

/* Inside mounts/. A connection is made and ended on the control loop and lives on one I/O loop. */

struct mounts {
	struct mounts_options options;
	struct listener *listener;
	char *path;
	struct list connections; /* mount_conn.link, control loop's */
	unsigned count, next_loop;
	struct timer grace;
	void (*stopped)(void *context); /* NULL: it is running */
	void *stopped_context;
};

/* One call. It is free, or: its data comes -> (it waits for a buffer) -> at the file system -> its
 * reply is being sent -> free. */
struct mount_slot {
	struct mount_conn *conn;
	bool busy;
	struct mount_call call;
	uint8_t tail[MOUNT_TAIL_MAX + 2];
	uint32_t groups[VFS_GROUPS_MAX];
	struct vfs_credentials credentials;
	struct vfs_request request;
	struct iovec iov;
	struct buf *buf;
	struct buf_waiter waiter;
	struct mount_reply reply;
	struct stream_send send;
	uint32_t hold; /* set aside for what HOLD returns; MOUNT_LEAVE: none */
};

struct mount_hold {
	struct vfs_object object;
	bool used;
};

enum mount_state { MOUNT_HELLO, MOUNT_FINDING, MOUNT_ROOT, MOUNT_READY, MOUNT_CLOSING };

struct mount_conn {
	struct list link;
	struct mounts *mounts;
	struct loop *loop;
	int fd;
	struct stream *stream;
	enum mount_state state;
	bool stream_closed, read_only, mounted;
	bool writes; /* control loop: that has been said of volume */
	uint64_t volume;
	struct mount_hello hello;
	struct mount_welcome welcome;
	struct stream_send welcome_send, leave_send;
	struct mount_reply leave;
	struct vfs *vfs;
	struct message message; /* attach, find, found, gone, bounce: one after the other */
	/* The control loop's; the bounce comes after these messages. */
	struct message leave_message, end_message;
	const struct vfs *share; /* for comparison alone */
	uint64_t asked_ns;       /* to leave; 0: not yet */
	bool ended;
	struct err err;
	struct timer limit;
	unsigned busy; /* slots, sends and messages that keep this */
	struct mount_slot *receiving;
	struct stream_receive receive;
	struct vfs_request own; /* finding the root; letting go at the end */
	struct vfs_credentials nobody;
	struct mount_hold *holds;
	unsigned hold_room, hold_hint;
	struct mount_slot slots[MOUNT_SLOTS];
};

/* conn.c, on the connection's loop. */
void mount_conn_attach(struct message *message);
void mount_conn_found(struct message *message);
void mount_conn_leave(struct message *message); /* ask it to unmount */
void mount_conn_end(struct message *message);   /* now */
void mount_conn_try_finish(struct mount_conn *conn);
void mount_conn_fail(struct mount_conn *conn, const char *why);
/* Nothing can be read until this is called with false again. */
void mount_conn_hold_up(struct mount_conn *conn, bool hold_up);

/* mounts.c, on the control loop: a mount's process has connected; @fd is taken over. */
void mounts_accepted(struct mounts *mounts, int fd);
/* conn->vfs or conn->err for conn->hello, then mount_conn_found();
 * the connection is over. */
void mounts_find(struct message *message);
void mounts_gone(struct message *message);

/* call.c. mount_call_take: the bytes of one call, 0: there are too few yet; SIZE_MAX: malformed. */
size_t mount_call_take(struct mount_conn *conn, const uint8_t *data, size_t length);

#endif
