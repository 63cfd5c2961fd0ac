/* SPDX-License-Identifier: Apache-2.0 */
/* The daemon's end of a mount on one loop: the input is what a mount's process sends. Behind a
 * first byte that is even comes a good hello, and every 12 bytes become the head of one call on the
 * root or on what the last call found; names and data are the bytes that follow. Every connection
 * must come to its end. */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/log.h"
#include "core/world.h"
#include "mounts/internal.h"

#define INPUT_MAX 65536u
#define HEAD      12u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct loop *loop;
static struct mounts *mounts;
static struct vfs *vfs;

static void must(bool good)
{
	if (!good)
		abort();
}

static struct vfs *find(void *context, const char *pool, const char *name, struct err *err)
{
	(void)context;
	(void)pool;
	(void)name;
	(void)err;
	return vfs_ref(vfs);
}

static void set_up(void)
{
	struct mounts_options options = {.io_loops = &loop, .io_loop_count = 1, .find = find};
	static const uint8_t uuid[16] = {1};

	log_set_level(LOG_LEVEL_ERROR);
	must(loop_create(&world_aio, &loop, NULL) == 0);
	options.control = loop;
	must(memory_fs_create(uuid, &vfs, NULL) == 0);
	memory_fs_limit(vfs, 8 << 20, 0);
	must(mounts_create(&options, &mounts, NULL) == 0);
}

/* The last reply's object, so that the calls get somewhere. */
static struct vfs_object poll_a_while(int fd, unsigned rounds)
{
	static uint8_t sink[65536];
	struct vfs_object object = vfs->root;
	struct mount_reply reply;
	ssize_t got;

	while (rounds-- > 0 && mounts->count) {
		loop_poll(loop, 0);
		while ((got = recv(fd, sink, sizeof sink, MSG_DONTWAIT)) > 0) {
			if ((size_t)got < sizeof reply)
				continue;
			memcpy(&reply, sink, sizeof reply);
			if (reply.result == 0 && reply.object.length)
				object = reply.object;
		}
	}
	return object;
}

static struct vfs_object send_all(int fd, const void *data, size_t size)
{
	struct vfs_object object = vfs->root;

	for (size_t at = 0; at < size;) {
		ssize_t sent =
		    send(fd, (const uint8_t *)data + at, size - at, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (sent < 0)
			break;
		at += (size_t)sent;
		object = poll_a_while(fd, 6);
	}
	return object;
}

static void send_calls(int fd, const uint8_t *data, size_t size)
{
	struct mount_hello hello = {
	    .magic = MOUNT_MAGIC,
	    .version = MOUNT_VERSION,
	    .call_size = sizeof(struct mount_call),
	    .reply_size = sizeof(struct mount_reply),
	};
	struct vfs_object found = send_all(fd, &hello, sizeof hello);

	for (size_t at = 0; at + HEAD <= size;) {
		const uint8_t *head = data + at;
		size_t rest = size - at - HEAD, tail;
		struct mount_call call = {
		    .slot = head[0],
		    .op = head[1],
		    .flags = head[2],
		    .name_length = head[3],
		    .name2_length = head[4] & 15,
		    .data_length = head[5],
		    .length = head[5],
		    .offset = (uint64_t)head[6] << (head[7] & 63),
		    .data_room = (uint32_t)head[8] << 6,
		    .type = head[9] & 15,
		    .create_how = head[9] >> 6,
		    .hold = head[10],
		    .group_count = head[10] & 3,
		    .uid = head[11] & 1 ? 1000 : 0,
		    .object = head[11] & 2 ? found : vfs->root,
		    .object2 = head[11] & 4 ? found : vfs->root,
		    .set = {.mask = head[9], .size = head[6]},
		};

		send_all(fd, &call, sizeof call);
		tail = mount_call_tail(&call) + call.data_length;
		tail = tail < rest ? tail : rest;
		found = send_all(fd, head + HEAD, tail);
		at += HEAD + tail;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int fds[2];

	if (!mounts)
		set_up();
	if (size == 0 || size > INPUT_MAX)
		return 0;
	must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds) == 0);
	mounts_accepted(mounts, fds[0]);
	if (data[0] & 1)
		send_all(fds[1], data + 1, size - 1);
	else
		send_calls(fds[1], data + 1, size - 1);
	poll_a_while(fds[1], 16);
	close(fds[1]);
	for (unsigned rounds = 0; mounts->count; rounds++) {
		must(rounds < 100000); /* a connection that never ends */
		loop_poll(loop, 1000000);
	}
	must(vfs->refs == 1);
	return 0;
}
