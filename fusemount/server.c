/* SPDX-License-Identifier: Apache-2.0 */
/* server.c: one thread, two descriptors. A request of the kernel takes a free slot and becomes a
 * call; the daemon's reply finds its slot and becomes the answer. Without a free slot the kernel
 * waits. Nothing here blocks but poll(). */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/heap.h"
#include "fusemount/fusemount.h"

/* ---- calls ---- */
/* What /proc says of a process, as text; "" when it says nothing. */
static void read_status(pid_t pid, char *text, size_t size)
{
	char path[64];
	size_t length = 0;
	ssize_t got = 1;
	int fd;

	snprintf(path, sizeof path, "/proc/%d/task/%d/status", (int)pid, (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	while (fd >= 0 && got > 0 && length < size - 1) {
		got = read(fd, text + length, size - 1 - length);
		length += got > 0 ? (size_t)got : 0;
	}
	text[length] = '\0';
	if (fd >= 0)
		close(fd);
}

/* Of the process that asks. Those that can not be told give no right. Not fuse_req_getgroups():
 * that of libfuse 3.14 looks for the end of a text that has none. */
static void fill_groups(struct slot *slot)
{
	static const char key[] = "\nGroups:";
	char text[4096], *at;

	if (slot->call.uid == 0)
		return;
	read_status(fuse_req_ctx(slot->request)->pid, text, sizeof text);
	at = strstr(text, key);
	for (at = at ? at + strlen(key) : NULL; at && slot->call.group_count < VFS_GROUPS_MAX;) {
		at += strspn(at, " \t");
		if (*at < '0' || *at > '9')
			break;
		slot->groups[slot->call.group_count++] = (uint32_t)strtoul(at, &at, 10);
	}
}

/* Which operations nobody's rights are looked at for. */
static bool needs_groups(const struct mount_call *call)
{
	return !(call->flags & VFS_OPENED) && call->op != VFS_GETATTR && call->op != VFS_FSSTAT &&
	       call->op != VFS_COMMIT && call->op != VFS_HOLD && call->op != VFS_RELEASE;
}

struct slot *server_call(fuse_req_t request, enum vfs_op op, const struct node *node,
			 void (*answered)(struct slot *slot, const struct mount_reply *reply,
					  char *data))
{
	struct server *server = fuse_req_userdata(request);
	const struct fuse_ctx *context = fuse_req_ctx(request);
	struct slot *slot = server->current;

	slot->request = request;
	slot->answered = answered;
	slot->name = slot->name2 = "";
	slot->data = NULL;
	slot->file = NULL;
	slot->gathered = NULL;
	slot->gathered_length = 0;
	slot->call = (struct mount_call){
	    .slot = (uint32_t)(slot - server->slots),
	    .op = (uint16_t)op,
	    .uid = context->uid,
	    .gid = context->gid,
	};
	if (node)
		slot->call.object = node->object;
	return slot;
}

void server_name(struct slot *slot, const char *name)
{
	slot->name = name;
	slot->call.name_length = (uint32_t)strlen(name);
}

static void add_iov(struct slot *slot, const void *base, size_t length)
{
	if (length)
		slot->iov[slot->iov_count++] = (struct iovec){(void *)(uintptr_t)base, length};
}

void server_send(struct slot *slot)
{
	struct mount_call *call = &slot->call;

	if (call->name_length > VFS_NAME_MAX || call->name2_length > VFS_NAME_MAX) {
		fuse_reply_err(slot->request, ENAMETOOLONG);
		heap_free(slot->file);
		return;
	}
	if (needs_groups(call))
		fill_groups(slot);
	slot->busy = true;
	slot->iov_at = slot->iov_count = 0;
	add_iov(slot, call, sizeof *call);
	add_iov(slot, slot->groups, call->group_count * sizeof *slot->groups);
	add_iov(slot, slot->name, call->name_length);
	add_iov(slot, slot->name2, call->name2_length);
	add_iov(slot, slot->data, call->data_length);
	list_push_back(&slot->server->outgoing, &slot->link);
}

void server_again(struct slot *slot, enum vfs_op op,
		  void (*answered)(struct slot *slot, const struct mount_reply *reply, char *data))
{
	struct mount_call next = {
	    .slot = slot->call.slot,
	    .op = (uint16_t)op,
	    .uid = slot->call.uid,
	    .gid = slot->call.gid,
	    .object = slot->call.object,
	};

	slot->call = next;
	slot->name = slot->name2 = "";
	slot->data = NULL;
	slot->answered = answered;
}

/* ---- to the daemon ---- */
static void advance(struct slot *slot, size_t bytes)
{
	while (bytes) {
		struct iovec *iov = &slot->iov[slot->iov_at];
		size_t part = bytes < iov->iov_len ? bytes : iov->iov_len;

		iov->iov_base = (char *)iov->iov_base + part;
		iov->iov_len -= part;
		bytes -= part;
		if (iov->iov_len == 0)
			slot->iov_at++;
	}
}

static void send_outgoing(struct server *server)
{
	while (!list_empty(&server->outgoing) && !server->failed) {
		struct slot *slot = list_entry(server->outgoing.next, struct slot, link);
		struct msghdr message = {
		    .msg_iov = slot->iov + slot->iov_at,
		    .msg_iovlen = slot->iov_count - slot->iov_at,
		};
		ssize_t sent = sendmsg(server->socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0 && errno == EAGAIN)
			return;
		if (sent < 0) {
			server->failed = true;
			return;
		}
		advance(slot, (size_t)sent);
		if (slot->iov_at == slot->iov_count)
			list_remove(&slot->link);
	}
}

/* ---- from the daemon ---- */
/* Without a keeper there is nobody to unmount, so nothing to serve. */
static void tell(struct server *server, enum mount_news what)
{
	char byte = (char)what;

	if (write(server->news, &byte, 1) != 1)
		server->failed = true;
}

/* The slot that a reply is for; NULL: the daemon says what makes no sense. */
static struct slot *slot_of(struct server *server)
{
	const struct mount_reply *reply = &server->reply;
	struct slot *slot = reply->slot < MOUNT_SLOTS ? &server->slots[reply->slot] : NULL;

	if (!slot || !slot->busy || slot->iov_at != slot->iov_count ||
	    reply->data_length >= slot->buf.size)
		return NULL;
	return slot;
}

static void answer(struct server *server, struct slot *slot)
{
	const struct mount_reply reply = server->reply;

	server->reply_fill = server->data_fill = 0;
	slot->busy = false;
	((char *)slot->buf.mem)[reply.data_length] = '\0';
	slot->answered(slot, &reply, slot->buf.mem);
}

/* Into @at; false: nothing more for now. */
static bool receive(struct server *server, void *at, size_t length, size_t *fill)
{
	ssize_t got = recv(server->socket, (char *)at + *fill, length - *fill, MSG_DONTWAIT);

	if (got < 0 && errno == EINTR)
		return true;
	if (got < 0 && errno == EAGAIN)
		return false;
	if (got <= 0) {
		server->failed = true;
		return false;
	}
	*fill += (size_t)got;
	return true;
}

static void receive_replies(struct server *server)
{
	struct mount_reply *reply = &server->reply;

	while (!server->failed) {
		struct slot *slot;

		if (server->reply_fill < sizeof *reply) {
			if (!receive(server, reply, sizeof *reply, &server->reply_fill))
				return;
			continue;
		}
		if (reply->slot == MOUNT_LEAVE) {
			server->reply_fill = 0;
			tell(server, NEWS_LEAVE);
			continue;
		}
		slot = slot_of(server);
		if (!slot) {
			server->failed = true;
			return;
		}
		if (server->data_fill == reply->data_length)
			answer(server, slot);
		else if (!receive(server, slot->buf.mem, reply->data_length, &server->data_fill))
			return;
	}
}

/* ---- from the kernel ---- */
static struct slot *slot_free(struct server *server)
{
	for (unsigned i = 0; i < MOUNT_SLOTS; i++) {
		if (!server->slots[i].busy)
			return &server->slots[i];
	}
	return NULL;
}

static void take_requests(struct server *server)
{
	while (!fuse_session_exited(server->session)) {
		struct slot *slot = slot_free(server);
		struct fuse_buf *buf;
		size_t room;
		int result;

		if (!slot)
			return;
		buf = &slot->buf;
		room = buf->size;
		result = fuse_session_receive_buf(server->session, buf);
		if (result <= 0) {
			buf->size = room;
			/* ENODEV: unmounted. */
			if (result != -EAGAIN && result != -EINTR)
				fuse_session_exit(server->session);
			return;
		}
		server->current = slot;
		fuse_session_process_buf(server->session, buf);
		buf->size = room;
	}
}

static bool round_of(struct server *server)
{
	struct pollfd descriptors[] = {
	    {.fd = fuse_session_fd(server->session), .events = slot_free(server) ? POLLIN : 0},
	    {.fd = server->socket,
	     .events = (short)(POLLIN | (list_empty(&server->outgoing) ? 0 : POLLOUT))},
	};

	if (poll(descriptors, 2, -1) < 0 && errno != EINTR)
		return false;
	if (descriptors[1].revents)
		receive_replies(server);
	if (descriptors[0].revents)
		take_requests(server);
	send_outgoing(server);
	return !server->failed && !fuse_session_exited(server->session);
}

/* ---- life ---- */
#define ROOM (MOUNT_DATA_MAX + (64u << 10)) /* of a request with its header */

static int create(struct server *server, int fuse, struct err *err)
{
	char name[] = "granary-mount", path[32];
	struct fuse_args args = {.argc = 1, .argv = (char *[]){name, NULL}};

	list_init(&server->outgoing);
	for (unsigned i = 0; i < MOUNT_SLOTS; i++) {
		struct slot *slot = &server->slots[i];

		slot->server = server;
		list_init(&slot->link);
		/* Pages come as they are touched. */
		slot->buf = (struct fuse_buf){.mem = heap_alloc(ROOM), .size = ROOM};
		if (!slot->buf.mem)
			return err_set(err, -ENOMEM, "out of memory");
	}
	if (nodes_start(&server->welcome.root) < 0)
		return err_set(err, -ENOMEM, "out of memory");
	server->session =
	    fuse_session_new(&args, &mount_operations, sizeof mount_operations, server);
	snprintf(path, sizeof path, "/dev/fd/%d", fuse);
	if (!server->session || fuse_session_mount(server->session, path) < 0)
		return err_set(err, -EIO, "libfuse does not take the mount");
	return 0;
}

int server_run(const struct mount_options *options, const struct mount_welcome *welcome, int fuse,
	       int socket, int news, struct err *err)
{
	static struct server server; /* one to a process */
	int result;

	server.socket = socket;
	server.news = news;
	server.welcome = *welcome;
	server.immutable = *options->hello.snapshot != '\0';
	result = create(&server, fuse, err);
	if (result == 0)
		result = mount_confine(err);
	if (result < 0)
		return result;
	tell(&server, NEWS_READY);
	while (!server.failed && round_of(&server))
		;
	return server.failed ? err_set(err, -ECONNRESET, "granaryd has gone") : 0;
}
