/* SPDX-License-Identifier: Apache-2.0 */
/* call.c: one call of a mount: its bytes in, to the file system, its reply out. */
#include <errno.h>
#include <string.h>

#include "core/heap.h"
#include "mounts/internal.h"

static void run(struct mount_slot *slot);

static void slot_free(struct mount_slot *slot)
{
	struct mount_conn *conn = slot->conn;

	buf_unref(slot->buf);
	slot->buf = NULL;
	slot->busy = false;
	conn->busy--;
	mount_conn_try_finish(conn);
}

/* ---- holds: an object that is open is named by its number, so nothing else can be released ----
 */
static bool hold_grow(struct mount_conn *conn)
{
	unsigned room = conn->hold_room ? 2 * conn->hold_room : 64;
	struct mount_hold *grown;

	if (room > MOUNT_HOLDS_MAX)
		return false;
	grown = heap_resize(conn->holds, room * sizeof *grown);
	if (!grown)
		return false;
	memset(grown + conn->hold_room, 0, (room - conn->hold_room) * sizeof *grown);
	conn->hold_hint = conn->hold_room;
	conn->holds = grown;
	conn->hold_room = room;
	return true;
}

static bool hold_take(struct mount_conn *conn, uint32_t *ret_hold)
{
	for (unsigned i = 0; i < conn->hold_room; i++) {
		unsigned at = (conn->hold_hint + i) % conn->hold_room;

		if (conn->holds[at].used)
			continue;
		conn->hold_hint = at + 1;
		conn->holds[at].used = true;
		*ret_hold = at;
		return true;
	}
	return hold_grow(conn) && hold_take(conn, ret_hold);
}

/* ---- out ---- */
static void sent(struct stream_send *send, int result)
{
	(void)result;
	slot_free(container_of(send, struct mount_slot, send));
}

static void reply(struct mount_slot *slot)
{
	struct mount_conn *conn = slot->conn;

	slot->reply.slot = slot->call.slot;
	slot->reply.verifier = vfs_verifier(conn->vfs);
	if (conn->state != MOUNT_READY) {
		slot_free(slot);
		return;
	}
	slot->send = (struct stream_send){
	    .iov = {{&slot->reply, sizeof slot->reply},
		    {slot->buf ? slot->buf->data : NULL, slot->reply.data_length}},
	    .done = sent,
	};
	stream_send(conn->stream, &slot->send);
}

static void refuse(struct mount_slot *slot, int result)
{
	slot->reply = (struct mount_reply){.result = result, .hold = MOUNT_LEAVE};
	reply(slot);
}

/* What comes back as bytes, and how many there are. */
static void fill_data(struct mount_slot *slot)
{
	const struct vfs_request *request = &slot->request;
	struct mount_reply *to = &slot->reply;

	switch (request->op) {
	case VFS_READ:
		to->count = to->data_length = request->count;
		break;
	case VFS_READDIR:
	case VFS_READLINK:
	case VFS_XATTR_GET:
	case VFS_XATTR_LIST:
		to->count = request->data_length;
		to->data_length = slot->call.data_room ? request->data_length : 0;
		break;
	default:
		to->count = request->count;
	}
}

static bool about_result(enum vfs_op op)
{
	return op == VFS_LOOKUP || op == VFS_LOOKUP_PARENT || op == VFS_CREATE ||
	       op == VFS_REMOVE || op == VFS_RENAME;
}

static void hold_settle(struct mount_slot *slot, int result)
{
	const struct vfs_request *request = &slot->request;
	struct mount_hold *hold;

	if (slot->hold == MOUNT_LEAVE)
		return;
	hold = &slot->conn->holds[slot->hold];
	if (result == 0)
		hold->object = request->op == VFS_HOLD ? request->object : request->result_object;
	else
		hold->used = false;
}

static void done(struct vfs_request *request, int result)
{
	struct mount_slot *slot = container_of(request, struct mount_slot, request);

	hold_settle(slot, result);
	slot->reply = (struct mount_reply){
	    .result = result,
	    .hold = result == 0 ? slot->hold : MOUNT_LEAVE,
	    .rights = request->rights,
	    .offset = request->op == VFS_READDIR || request->op == VFS_XATTR_LIST ? request->cookie
										  : request->offset,
	    .eof = request->eof,
	    .created = request->created,
	    .stable = (uint8_t)request->stable,
	    .object = request->result_object,
	    .attr = about_result(request->op) ? request->result_attr : request->after[0],
	    .fsstat = request->fsstat,
	};
	if (result == 0)
		fill_data(slot);
	reply(slot);
}

/* ---- to the file system ---- */
/* What the buffer has to have room for, 0: none is needed. */
static size_t room_needed(const struct mount_call *call)
{
	if (call->op == VFS_READ)
		return (size_t)call->length;
	return call->data_length ? call->data_length : call->data_room;
}

static void buffer_here(struct buf_waiter *waiter, struct buf *buf)
{
	struct mount_slot *slot = container_of(waiter, struct mount_slot, waiter);

	slot->buf = buf;
	run(slot);
}

static void wait_for_buffer(struct mount_slot *slot, size_t size,
			    void (*ready)(struct buf_waiter *waiter, struct buf *buf))
{
	slot->waiter = (struct buf_waiter){.size = size, .stage = BUF_FOR_INPUT, .ready = ready};
	buf_wait(loop_buffers(slot->conn->loop), &slot->waiter);
}

static bool has_buffer(struct mount_slot *slot)
{
	size_t room = room_needed(&slot->call);

	if (room == 0 || slot->buf)
		return true;
	slot->buf = buf_get(loop_buffers(slot->conn->loop), room);
	if (slot->buf)
		return true;
	wait_for_buffer(slot, room, buffer_here);
	return false;
}

/* False: it was refused. */
static bool take_hold(struct mount_slot *slot)
{
	struct mount_conn *conn = slot->conn;
	struct vfs_request *request = &slot->request;
	struct mount_hold *hold;

	slot->hold = MOUNT_LEAVE;
	if (request->op == VFS_RELEASE) {
		hold = slot->call.hold < conn->hold_room ? &conn->holds[slot->call.hold] : NULL;
		/* One whose HOLD is on its way has no object yet. */
		if (!hold || !hold->used || hold->object.length == 0) {
			refuse(slot, -EBADF);
			return false;
		}
		request->object = hold->object;
		*hold = (struct mount_hold){0};
		return true;
	}
	if (request->op != VFS_HOLD && !(request->flags & VFS_HOLD_RESULT))
		return true;
	if (!hold_take(conn, &slot->hold)) {
		refuse(slot, -ENFILE);
		return false;
	}
	conn->holds[slot->hold].object.length = 0;
	return true;
}

static void fill(struct mount_slot *slot)
{
	const struct mount_call *call = &slot->call;
	struct vfs_request *request = &slot->request;
	size_t groups = call->group_count * sizeof *slot->groups;

	*request = (struct vfs_request){.done = done, .credentials = &slot->credentials};
	mount_call_fill(call, request);
	if (*slot->conn->hello.snapshot)
		request->flags |= VFS_SNAPSHOTS;
	memcpy(slot->groups, slot->tail, groups);
	slot->credentials =
	    (struct vfs_credentials){call->uid, call->gid, slot->groups, call->group_count};
	request->name = (const char *)slot->tail + groups;
	request->name2 = request->name + call->name_length;
	if (call->op == VFS_READ || call->op == VFS_WRITE) {
		slot->iov = (struct iovec){slot->buf ? slot->buf->data : NULL, call->length};
		request->iov = &slot->iov;
		request->iov_count = 1;
		request->data_length = 0;
	} else {
		request->data = slot->buf ? slot->buf->data : NULL;
	}
}

/* Whole, with its data. Again after a wait for a buffer. */
static void run(struct mount_slot *slot)
{
	struct mount_conn *conn = slot->conn;

	if (conn->state != MOUNT_READY) {
		slot_free(slot);
		return;
	}
	if (!has_buffer(slot))
		return;
	fill(slot);
	if (conn->read_only && vfs_changes(slot->request.op))
		refuse(slot, -EROFS);
	else if (take_hold(slot))
		vfs_submit(conn->vfs, &slot->request);
}

/* ---- in ---- */
static void data_here(struct stream_receive *receive, int result)
{
	struct mount_conn *conn = container_of(receive, struct mount_conn, receive);
	struct mount_slot *slot = conn->receiving;

	if (result < 0 || !slot)
		return; /* closed() clears up */
	conn->receiving = NULL;
	mount_conn_hold_up(conn, false);
	run(slot);
}

static void receive_data(struct mount_slot *slot)
{
	struct mount_conn *conn = slot->conn;

	slot->iov = (struct iovec){slot->buf->data, slot->call.data_length};
	conn->receive = (struct stream_receive){
	    .iov = &slot->iov,
	    .iov_count = 1,
	    .length = slot->call.data_length,
	    .done = data_here,
	};
	stream_receive_into(conn->stream, &conn->receive);
}

static void data_buffer_here(struct buf_waiter *waiter, struct buf *buf)
{
	struct mount_slot *slot = container_of(waiter, struct mount_slot, waiter);

	slot->buf = buf;
	if (slot->conn->state == MOUNT_READY)
		receive_data(slot);
	else
		slot_free(slot);
}

static void begin_data(struct mount_slot *slot)
{
	struct mount_conn *conn = slot->conn;

	conn->receiving = slot;
	slot->buf = buf_get(loop_buffers(conn->loop), slot->call.data_length);
	if (slot->buf) {
		receive_data(slot);
		return;
	}
	mount_conn_hold_up(conn, true);
	wait_for_buffer(slot, slot->call.data_length, data_buffer_here);
}

size_t mount_call_take(struct mount_conn *conn, const uint8_t *data, size_t length)
{
	struct mount_call call;
	struct mount_slot *slot;
	size_t tail;

	if (length < sizeof call)
		return 0;
	memcpy(&call, data, sizeof call);
	if (!mount_call_check(&call))
		return SIZE_MAX;
	tail = mount_call_tail(&call);
	slot = &conn->slots[call.slot];
	if (slot->busy)
		return SIZE_MAX;
	if (length < sizeof call + tail)
		return 0;
	slot->busy = true;
	conn->busy++;
	slot->call = call;
	memcpy(slot->tail, data + sizeof call, tail);
	if (call.data_length)
		begin_data(slot);
	else
		run(slot);
	return sizeof call + tail;
}
