/* SPDX-License-Identifier: Apache-2.0 */
/* conn.c: one mount's connection: hello, its root, calls, and how it ends.
 *
 *   HELLO -> FINDING (control loop) -> ROOT -> READY -> CLOSING
 *
 * It is over when its stream is closed, nothing of it is on its way (busy), and what the mount held
 * open has been given back. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/heap.h"
#include "core/log.h"
#include "mounts/internal.h"

#define HELLO_LIMIT_NS (10 * 1000000000ull)
#define DRAIN_NS       (2 * 1000000000ull)

static const char snapshots_name[] = ".snapshot";

/* ---- the end ---- */
static void let_go(struct mount_conn *conn);

static void let_go_done(struct vfs_request *request, int result)
{
	(void)result; /* stale: it is gone already */
	let_go(container_of(request, struct mount_conn, own));
}

/* One after the other: a mount that went holds what its programs had open. */
static void let_go(struct mount_conn *conn)
{
	for (; conn->hold_hint < conn->hold_room; conn->hold_hint++) {
		struct mount_hold *hold = &conn->holds[conn->hold_hint];

		if (!hold->used)
			continue;
		hold->used = false;
		conn->own = (struct vfs_request){
		    .op = VFS_RELEASE,
		    .credentials = &conn->nobody,
		    .object = hold->object,
		    .done = let_go_done,
		};
		vfs_submit(conn->vfs, &conn->own);
		return;
	}
	vfs_unref(conn->vfs);
	conn->vfs = NULL;
	heap_free(conn->holds);
	loop_post(conn->mounts->options.control, &conn->message, mounts_gone);
}

void mount_conn_try_finish(struct mount_conn *conn)
{
	if (!conn->stream_closed || conn->busy)
		return;
	if (conn->mounted)
		log_notice("share %s/%s%s%s: no longer mounted on %s", conn->hello.pool,
			   conn->hello.share, *conn->hello.snapshot ? "@" : "",
			   conn->hello.snapshot, conn->hello.where);
	conn->busy = 1; /* this runs once */
	conn->hold_hint = 0;
	let_go(conn);
}

static void close_conn(struct mount_conn *conn)
{
	if (conn->state == MOUNT_CLOSING)
		return;
	conn->state = MOUNT_CLOSING;
	timer_stop(&conn->limit);
	stream_close(conn->stream);
}

void mount_conn_fail(struct mount_conn *conn, const char *why)
{
	if (conn->state == MOUNT_CLOSING)
		return;
	log_warning("mount on %.200s: %s; connection dropped", conn->hello.where, why);
	close_conn(conn);
}

static void out_of_time(struct timer *timer)
{
	mount_conn_fail(container_of(timer, struct mount_conn, limit), "it says nothing");
}

static void ended(struct stream *stream, int error)
{
	(void)error;
	close_conn(stream_context(stream));
}

static void closed(struct stream *stream)
{
	struct mount_conn *conn = stream_context(stream);
	struct mount_slot *slot = conn->receiving;

	conn->stream_closed = true;
	timer_stop(&conn->limit);
	conn->state = MOUNT_CLOSING;
	conn->receiving = NULL;
	/* Its data will not come; one that waits for a buffer hears of it by itself. */
	if (slot && slot->buf) {
		buf_unref(slot->buf);
		slot->buf = NULL;
		slot->busy = false;
		conn->busy--;
	}
	mount_conn_try_finish(conn);
}

/* ---- stop ---- */
static void leave_sent(struct stream_send *send, int result)
{
	struct mount_conn *conn = container_of(send, struct mount_conn, leave_send);

	(void)result;
	conn->busy--;
	mount_conn_try_finish(conn);
}

void mount_conn_leave(struct message *message)
{
	struct mount_conn *conn = container_of(message, struct mount_conn, leave_message);

	if (conn->state == MOUNT_CLOSING)
		return;
	if (conn->state != MOUNT_READY) {
		close_conn(conn);
		return;
	}
	conn->leave.slot = MOUNT_LEAVE;
	conn->leave_send = (struct stream_send){
	    .iov = {{&conn->leave, sizeof conn->leave}},
	    .done = leave_sent,
	};
	conn->busy++;
	stream_send(conn->stream, &conn->leave_send);
}

void mount_conn_end(struct message *message)
{
	struct mount_conn *conn = container_of(message, struct mount_conn, end_message);

	mount_conn_fail(conn, "it does not unmount");
}

/* ---- the beginning ---- */
static void welcome_sent(struct stream_send *send, int result)
{
	struct mount_conn *conn = container_of(send, struct mount_conn, welcome_send);

	(void)result;
	conn->busy--;
	mount_conn_try_finish(conn);
}

static void send_welcome(struct mount_conn *conn)
{
	struct mount_welcome *welcome = &conn->welcome;

	welcome->magic = MOUNT_MAGIC;
	welcome->read_only = conn->read_only;
	conn->welcome_send = (struct stream_send){
	    .iov = {{welcome, sizeof *welcome}},
	    .done = welcome_sent,
	};
	conn->busy++;
	stream_send(conn->stream, &conn->welcome_send);
}

static void refuse(struct mount_conn *conn, int result, const char *reason)
{
	conn->welcome.result = result;
	snprintf(conn->welcome.reason, sizeof conn->welcome.reason, "%s", reason);
	send_welcome(conn);
	conn->state = MOUNT_CLOSING;
	timer_stop(&conn->limit);
	stream_resume(conn->stream); /* its end has to be heard */
	stream_drain(conn->stream, DRAIN_NS);
}

static void ready(struct mount_conn *conn)
{
	conn->welcome.verifier = vfs_verifier(conn->vfs);
	conn->state = MOUNT_READY;
	conn->mounted = true;
	timer_stop(&conn->limit);
	log_notice("share %s/%s%s%s mounted on %s%s", conn->hello.pool, conn->hello.share,
		   *conn->hello.snapshot ? "@" : "", conn->hello.snapshot, conn->hello.where,
		   conn->read_only ? ", read-only" : "");
	send_welcome(conn);
	stream_resume(conn->stream);
}

static void root_done(struct vfs_request *request, int result);

static void ask_root(struct mount_conn *conn, const char *name)
{
	struct vfs_object object = conn->welcome.root.length ? conn->welcome.root : conn->vfs->root;

	conn->own = (struct vfs_request){
	    .op = name ? VFS_LOOKUP : VFS_GETATTR,
	    .flags = VFS_SNAPSHOTS,
	    .credentials = &conn->nobody, /* uid 0 */
	    .object = object,
	    .name = name,
	    .name_length = name ? (unsigned)strlen(name) : 0,
	    .done = root_done,
	};
	conn->busy++;
	vfs_submit(conn->vfs, &conn->own);
}

/* The share's root; or `.snapshot`, then the snapshot in it. */
static void root_done(struct vfs_request *request, int result)
{
	struct mount_conn *conn = container_of(request, struct mount_conn, own);

	conn->busy--;
	if (conn->state != MOUNT_ROOT) {
		mount_conn_try_finish(conn);
		return;
	}
	if (result < 0) {
		refuse(conn, result,
		       result == -ENOENT ? "there is no such snapshot" : strerror(-result));
		return;
	}
	if (request->op == VFS_GETATTR) {
		conn->welcome.root = request->object;
		conn->welcome.attr = request->after[0];
		ready(conn);
		return;
	}
	conn->welcome.root = request->result_object;
	conn->welcome.attr = request->result_attr;
	if (request->name == snapshots_name)
		ask_root(conn, conn->hello.snapshot);
	else
		ready(conn);
}

void mount_conn_found(struct message *message)
{
	struct mount_conn *conn = container_of(message, struct mount_conn, message);

	conn->busy--;
	if (conn->state != MOUNT_FINDING) {
		mount_conn_try_finish(conn);
		return;
	}
	if (!conn->vfs) {
		refuse(conn, conn->err.code ? conn->err.code : -ENOENT, conn->err.text);
		return;
	}
	conn->state = MOUNT_ROOT;
	conn->read_only = conn->hello.read_only || *conn->hello.snapshot;
	ask_root(conn, *conn->hello.snapshot ? snapshots_name : NULL);
}

static size_t take_hello(struct mount_conn *conn, const void *data, size_t length)
{
	const char *why;

	if (length < sizeof conn->hello)
		return 0;
	memcpy(&conn->hello, data, sizeof conn->hello);
	why = mount_hello_check(&conn->hello);
	if (why) {
		conn->hello = (struct mount_hello){.where = "?"};
		refuse(conn, -EPROTO, why);
		return sizeof conn->hello;
	}
	stream_pause(conn->stream);
	conn->state = MOUNT_FINDING;
	conn->busy++;
	loop_post(conn->mounts->options.control, &conn->message, mounts_find);
	return sizeof conn->hello;
}

void mount_conn_hold_up(struct mount_conn *conn, bool hold_up)
{
	if (conn->state != MOUNT_READY)
		return;
	if (hold_up)
		stream_pause(conn->stream);
	else
		stream_resume(conn->stream);
}

static size_t received(struct stream *stream, const void *data, size_t length)
{
	struct mount_conn *conn = stream_context(stream);
	const uint8_t *bytes = data;
	size_t used = 0;

	if (conn->state == MOUNT_HELLO)
		return take_hello(conn, data, length);
	while (conn->state == MOUNT_READY && !conn->receiving && used < length) {
		size_t taken = mount_call_take(conn, bytes + used, length - used);

		if (taken == SIZE_MAX)
			mount_conn_fail(conn, "a call is malformed");
		if (taken == 0 || taken == SIZE_MAX)
			break;
		used += taken;
	}
	return used;
}

static const struct stream_handlers handlers = {
    .received = received,
    .ended = ended,
    .closed = closed,
};

void mount_conn_attach(struct message *message)
{
	struct mount_conn *conn = container_of(message, struct mount_conn, message);
	struct err err = {0};

	for (unsigned i = 0; i < MOUNT_SLOTS; i++)
		conn->slots[i].conn = conn;
	timer_init(&conn->limit, conn->loop, out_of_time);
	if (stream_attach(conn->loop, conn->fd, &handlers, conn, &conn->stream, &err) < 0) {
		log_warning("a mount: %s", err.text);
		close(conn->fd);
		conn->state = MOUNT_CLOSING;
		conn->stream_closed = true;
		mount_conn_try_finish(conn);
		return;
	}
	timer_start(&conn->limit, HELLO_LIMIT_NS);
}
