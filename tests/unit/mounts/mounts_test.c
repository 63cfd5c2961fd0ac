/* SPDX-License-Identifier: Apache-2.0 */
/* The daemon's end of a mount, over a socket pair and a file system in memory: what it lets
 * through, what it answers itself, what ends a connection, and that nothing stays behind. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/log.h"
#include "core/world.h"
#include "mounts/internal.h"

static struct loop *loop;
static struct mounts *mounts;
static struct vfs *vfs;
static int fd = -1;
static bool stopped;

static struct vfs *find(void *context, const char *pool, const char *name, struct err *err)
{
	(void)context;
	(void)pool;
	if (strcmp(name, "files") == 0)
		return vfs_ref(vfs);
	err_set(err, -ENOENT, "no share named %s", name);
	return NULL;
}

static void now_stopped(void *context)
{
	(void)context;
	stopped = true;
}

static int set_up(void **state)
{
	struct mounts_options options = {.io_loops = &loop, .io_loop_count = 1, .find = find};
	static const uint8_t uuid[16] = {7};

	(void)state;
	log_set_level(LOG_LEVEL_ERROR);
	assert_int_equal(loop_create(&world_aio, &loop, NULL), 0);
	options.control = loop;
	assert_int_equal(memory_fs_create(uuid, &vfs, NULL), 0);
	assert_int_equal(mounts_create(&options, &mounts, NULL), 0);
	stopped = false;
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	if (fd >= 0)
		close(fd);
	mounts_stop(mounts, 1000000, now_stopped, NULL);
	for (unsigned i = 0; i < 60000 && !stopped; i++)
		loop_poll(loop, 1000000);
	assert_true(stopped);
	mounts_destroy(mounts);
	assert_int_equal(vfs->refs, 1); /* every reference was given back */
	vfs_unref(vfs);
	loop_poll(loop, 0);
	loop_destroy(loop);
	return 0;
}

/* ---- the mount's side */
static void connect_pair(void)
{
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
	fd = pair[1];
	mounts_accepted(mounts, pair[0]);
}

/* False: the daemon has closed. */
static bool receive(void *data, size_t length)
{
	size_t have = 0;

	for (unsigned i = 0; i < 600000 && have < length; i++) {
		ssize_t got = recv(fd, (char *)data + have, length - have, MSG_DONTWAIT);

		if (got == 0 || (got < 0 && errno != EAGAIN))
			return false;
		if (got > 0)
			have += (size_t)got;
		else
			loop_poll(loop, 100000);
	}
	assert_int_equal(have, length);
	return true;
}

static void transmit(const void *data, size_t length)
{
	for (size_t at = 0; at < length;) {
		ssize_t sent =
		    send(fd, (const char *)data + at, length - at, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (sent < 0 && errno != EAGAIN)
			return;
		at += sent > 0 ? (size_t)sent : 0;
		loop_poll(loop, 0);
	}
}

static struct mount_hello good_hello(void)
{
	return (struct mount_hello){
	    .magic = MOUNT_MAGIC,
	    .version = MOUNT_VERSION,
	    .call_size = sizeof(struct mount_call),
	    .reply_size = sizeof(struct mount_reply),
	    .pool = "tank",
	    .share = "files",
	    .where = "/mnt",
	};
}

static struct mount_welcome greet(const struct mount_hello *hello)
{
	struct mount_welcome welcome;

	connect_pair();
	transmit(hello, sizeof *hello);
	assert_true(receive(&welcome, sizeof welcome));
	assert_int_equal(welcome.magic, MOUNT_MAGIC);
	return welcome;
}

static struct mount_welcome begin(void)
{
	struct mount_hello hello = good_hello();
	struct mount_welcome welcome = greet(&hello);

	assert_int_equal(welcome.result, 0);
	assert_int_equal(welcome.attr.type, VFS_DIRECTORY);
	assert_true(vfs_object_equal(&welcome.root, &vfs->root));
	return welcome;
}

static struct mount_call call_of(enum vfs_op op, const struct vfs_object *object, const char *name)
{
	return (struct mount_call){
	    .op = (uint16_t)op,
	    .object = *object,
	    .name_length = name ? (uint32_t)strlen(name) : 0,
	};
}

static void send_call(const struct mount_call *call, const char *name, const void *data)
{
	transmit(call, sizeof *call);
	transmit(name, call->name_length);
	transmit(data, call->data_length);
}

static struct mount_reply run_call(const struct mount_call *call, const char *name,
				   const void *data, void *into)
{
	struct mount_reply reply;

	send_call(call, name, data);
	assert_true(receive(&reply, sizeof reply));
	assert_int_equal(reply.slot, call->slot);
	assert_true(reply.data_length <= MOUNT_DATA_MAX);
	if (reply.data_length)
		assert_true(receive(into, reply.data_length));
	return reply;
}

static struct mount_reply make_file(const char *name)
{
	struct mount_call call = call_of(VFS_CREATE, &vfs->root, name);

	call.flags = VFS_HOLD_RESULT;
	call.type = VFS_REGULAR;
	call.create_how = VFS_CREATE_GUARDED;
	call.set = (struct vfs_set){.mask = VFS_SET_MODE, .mode = 0644};
	return run_call(&call, name, NULL, NULL);
}

/* ---- tests */
static void calls_go_through(void **state)
{
	static char written[300000], read[sizeof written];
	struct mount_reply file, reply;
	struct mount_call call;

	(void)state;
	begin();
	file = make_file("f");
	assert_int_equal(file.result, 0);
	assert_int_equal(file.attr.type, VFS_REGULAR);
	memset(written, 'w', sizeof written);
	call = call_of(VFS_WRITE, &file.object, NULL);
	call.slot = 5;
	call.flags = VFS_OPENED;
	call.offset = 100;
	call.length = call.data_length = sizeof written;
	reply = run_call(&call, NULL, written, NULL);
	assert_int_equal(reply.result, 0);
	assert_int_equal(reply.count, sizeof written);
	assert_int_equal(reply.attr.size, sizeof written + 100);
	call = call_of(VFS_READ, &file.object, NULL);
	call.flags = VFS_OPENED;
	call.offset = 100;
	call.length = sizeof read;
	reply = run_call(&call, NULL, NULL, read);
	assert_int_equal(reply.data_length, sizeof read);
	assert_memory_equal(read, written, sizeof read);
	assert_true(reply.eof);
}

static void ids_decide(void **state)
{
	struct mount_reply reply;
	struct mount_call call;

	(void)state;
	begin();
	call = call_of(VFS_CREATE, &vfs->root, "d");
	call.type = VFS_DIRECTORY;
	call.create_how = VFS_CREATE_GUARDED;
	call.uid = call.gid = 1000;
	reply = run_call(&call, "d", NULL, NULL);
	assert_int_equal(reply.result, -EACCES);
	call.uid = call.gid = 0;
	assert_int_equal(run_call(&call, "d", NULL, NULL).result, 0);
}

static void read_only_is_kept(void **state)
{
	struct mount_hello hello = good_hello();

	(void)state;
	hello.read_only = true;
	assert_true(greet(&hello).read_only);
	assert_int_equal(make_file("f").result, -EROFS);
}

static void refuse(const struct mount_hello *hello, int result, const char *reason)
{
	struct mount_welcome welcome = greet(hello);
	char byte;

	assert_int_equal(welcome.result, result);
	assert_non_null(strstr(welcome.reason, reason));
	assert_false(receive(&byte, 1));
	close(fd);
	fd = -1;
}

static void hellos_are_refused(void **state)
{
	struct mount_hello hello = good_hello();

	(void)state;
	hello.version++;
	refuse(&hello, -EPROTO, "another version");
	hello = good_hello();
	hello.reply_size++;
	refuse(&hello, -EPROTO, "another version");
	hello = good_hello();
	memset(hello.share, 'x', sizeof hello.share);
	refuse(&hello, -EPROTO, "too long");
	hello = good_hello();
	snprintf(hello.share, sizeof hello.share, "other");
	refuse(&hello, -ENOENT, "no share named other");
	hello = good_hello();
	snprintf(hello.snapshot, sizeof hello.snapshot, "never");
	refuse(&hello, -ENOENT, "no such snapshot");
}

static void holds(void **state)
{
	struct mount_reply file, reply;
	struct mount_call call;

	(void)state;
	begin();
	file = make_file("f");
	call = call_of(VFS_REMOVE, &vfs->root, "f");
	assert_int_equal(run_call(&call, "f", NULL, NULL).result, 0);
	call = call_of(VFS_GETATTR, &file.object, NULL);
	assert_int_equal(run_call(&call, NULL, NULL, NULL).result, 0); /* held */
	call = call_of(VFS_RELEASE, &file.object, NULL);
	call.hold = file.hold + 1;
	assert_int_equal(run_call(&call, NULL, NULL, NULL).result, -EBADF);
	call.hold = file.hold;
	assert_int_equal(run_call(&call, NULL, NULL, NULL).result, 0);
	assert_int_equal(run_call(&call, NULL, NULL, NULL).result, -EBADF);
	call = call_of(VFS_GETATTR, &file.object, NULL);
	reply = run_call(&call, NULL, NULL, NULL);
	assert_int_equal(reply.result, -ESTALE);
}

/* What a mount held when it ended abruptly is given back. */
static void holds_end_with_their_mount(void **state)
{
	struct mount_reply files[100];
	struct mount_call call;

	(void)state;
	begin();
	for (unsigned i = 0; i < 100; i++) {
		char name[16];

		snprintf(name, sizeof name, "f%u", i);
		files[i] = make_file(name);
		assert_int_equal(files[i].result, 0);
		call = call_of(VFS_REMOVE, &vfs->root, name);
		assert_int_equal(run_call(&call, name, NULL, NULL).result, 0);
	}
	close(fd);
	for (unsigned i = 0; i < 60000 && mounts->count; i++)
		loop_poll(loop, 100000);
	assert_int_equal(mounts->count, 0);
	begin();
	for (unsigned i = 0; i < 100; i++) {
		call = call_of(VFS_GETATTR, &files[i].object, NULL);
		assert_int_equal(run_call(&call, NULL, NULL, NULL).result, -ESTALE);
	}
}

static void expect_end(const struct mount_call *call)
{
	struct mount_reply reply;

	begin();
	transmit(call, sizeof *call);
	assert_false(receive(&reply, sizeof reply));
	close(fd);
	fd = -1;
}

static void malformed_calls_end_it(void **state)
{
	struct mount_call good = call_of(VFS_GETATTR, &vfs->root, NULL), bad;

	(void)state;
	assert_true(mount_call_check(&good));
#define BAD(change)                                                                                \
	do {                                                                                       \
		bad = good;                                                                        \
		change;                                                                            \
		assert_false(mount_call_check(&bad));                                              \
		expect_end(&bad);                                                                  \
	} while (0)
	BAD(bad.slot = MOUNT_SLOTS);
	BAD(bad.op = VFS_OP_COUNT);
	BAD(bad.op = VFS_ACL_SET);
	BAD(bad.flags = VFS_SNAPSHOTS);
	BAD(bad.group_count = VFS_GROUPS_MAX + 1);
	BAD(bad.name_length = VFS_NAME_MAX + 1);
	BAD(bad.name2_length = UINT32_MAX);
	BAD(bad.data_length = 1);
	BAD(bad.data_room = MOUNT_DATA_MAX + 1);
	BAD(bad.op = VFS_READDIR);
	BAD(bad.object.length = VFS_OBJECT_MAX + 1);
	BAD(bad.object2.length = 255);
	BAD(bad.type = VFS_SOCKET + 1);
	BAD((bad.op = VFS_WRITE, bad.length = 5, bad.data_length = 4));
	BAD((bad.op = VFS_READ, bad.length = MOUNT_DATA_MAX + 1));
	BAD((bad.op = VFS_RELEASE, bad.hold = MOUNT_HOLDS_MAX));
}

/* The second call of a slot comes while the first one's data is awaited. */
static void a_slot_has_one_call(void **state)
{
	struct mount_call call = call_of(VFS_GETATTR, &vfs->root, NULL);
	struct mount_reply reply;
	char both[2 * sizeof call];

	(void)state;
	begin();
	memcpy(both, &call, sizeof call);
	memcpy(both + sizeof call, &call, sizeof call);
	assert_int_equal(send(fd, both, sizeof both, MSG_NOSIGNAL), sizeof both);
	while (receive(&reply, sizeof reply))
		assert_int_equal(reply.slot, 0);
	for (unsigned i = 0; i < 60000 && mounts->count; i++)
		loop_poll(loop, 100000);
	assert_int_equal(mounts->count, 0);
}

static void stop_asks_first(void **state)
{
	struct mount_call call = call_of(VFS_GETATTR, &vfs->root, NULL);
	struct mount_reply reply;

	(void)state;
	begin();
	mounts_stop(mounts, 50000000, now_stopped, NULL);
	assert_true(receive(&reply, sizeof reply));
	assert_int_equal(reply.slot, MOUNT_LEAVE);
	assert_int_equal(run_call(&call, NULL, NULL, NULL).result, 0); /* what it writes back */
	assert_false(stopped);
	for (unsigned i = 0; i < 60000 && !stopped; i++)
		loop_poll(loop, 1000000);
	assert_true(stopped); /* it did not go by itself */
	assert_int_equal(mounts->count, 0);
	stopped = false;
}

/* One share's mounts: asked first, ended when they do not go. */
static void a_share_loses_its_mounts(void **state)
{
	struct mount_reply reply;

	(void)state;
	begin();
	mounts_end(mounts, (const struct vfs *)&reply, 0); /* somebody else's */
	mounts_end(mounts, vfs, 1000000000);
	assert_true(receive(&reply, sizeof reply));
	assert_int_equal(reply.slot, MOUNT_LEAVE);
	mounts_end(mounts, vfs, 1000000000); /* asked once, and there is time */
	for (unsigned i = 0; i < 20; i++)
		loop_poll(loop, 1000000);
	assert_int_equal(mounts->count, 1);
	mounts_end(mounts, vfs, 0);
	for (unsigned i = 0; i < 60000 && mounts->count; i++)
		loop_poll(loop, 1000000);
	assert_int_equal(mounts->count, 0);
	assert_false(receive(&reply, 1));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(calls_go_through, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(ids_decide, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(read_only_is_kept, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(hellos_are_refused, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(holds, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(holds_end_with_their_mount, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(malformed_calls_end_it, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(a_slot_has_one_call, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(a_share_loses_its_mounts, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(stop_asks_first, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
