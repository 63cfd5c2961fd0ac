/* SPDX-License-Identifier: Apache-2.0 */
/* nfs_server [LOOPS [LEASE]]: the NFS server over file systems in memory, on a free port of
 * 127.0.0.1, for tests of the protocol. Says "READY PORT", and ends cleanly when its input does.
 *
 *   share N      export the Nth share no more, or again
 *   slow MS      removing attributes and changing sizes begins MS milliseconds later
 *   step BYTES   an ALLOCATE does no more at a time (0: all of it)
 *
 * Each is answered with "DONE" when it is in force. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/heap.h"
#include "core/log.h"
#include "core/world.h"
#include "nfs/nfs.h"

#define LOOPS_MAX 8u

static struct loop *control, *loops[LOOPS_MAX];
static struct nfs_server *server;
static struct message stop_message, set_message;
static struct vfs_ops slow_ops;
static void (*submit_fast)(struct vfs *vfs, struct vfs_request *request);
static atomic_uint slow_ms;
static atomic_ulong step_bytes;

static const struct {
	const char *path;
	struct nfs_rule rule;
} shares[] = {
    {"/files", {.client = "*", .insecure = true, .squash = NFS_NO_ROOT_SQUASH}},
    {"/ro",
     {.client = "127.0.0.0/8", .read_only = true, .insecure = true, .squash = NFS_NO_ROOT_SQUASH}},
    {"/squash", {.client = "127.0.0.1", .insecure = true, .anon_uid = 65534, .anon_gid = 65534}},
    {"/secure", {.client = "*", .squash = NFS_NO_ROOT_SQUASH}},
    {"/closed", {.client = "10.99.0.0/16", .insecure = true}},
};
#define SHARE_COUNT (sizeof(shares) / sizeof(shares[0]))

static struct vfs *systems[SHARE_COUNT];
static bool withdrawn[SHARE_COUNT];

static void must(int result, const struct err *err)
{
	if (result >= 0)
		return;
	fprintf(stderr, "nfs_server: %s\n", err->text);
	exit(1);
}

static void stopped(void *context)
{
	(void)context;
	loop_stop(control);
}

static void stop(struct message *message)
{
	(void)message;
	nfs_server_stop(server, stopped, NULL);
}

/* ---- slow requests */

struct delay {
	struct timer timer;
	struct vfs_request *request;
};

static void delay_over(struct timer *timer)
{
	struct delay *delay = container_of(timer, struct delay, timer);
	struct vfs_request *request = delay->request;

	heap_free(delay);
	submit_fast(request->vfs, request);
}

static void submit_slow(struct vfs *vfs, struct vfs_request *request)
{
	unsigned ms = atomic_load(&slow_ms);
	bool sizes = (request->op == VFS_SETATTR && (request->set.mask & VFS_SET_SIZE)) ||
		     request->op == VFS_ALLOCATE;
	unsigned long step = atomic_load(&step_bytes);
	struct delay *delay;

	if (request->op == VFS_ALLOCATE && step && request->length > step)
		request->length = step;
	if (!ms || (request->op != VFS_XATTR_REMOVE && !sizes) ||
	    !(delay = heap_zalloc(sizeof(*delay)))) {
		submit_fast(vfs, request);
		return;
	}
	delay->request = request;
	timer_init(&delay->timer, request->loop, delay_over);
	timer_start(&delay->timer, ms * 1000000ull);
}

static void make_systems(void)
{
	struct err err = {0};

	for (unsigned i = 0; i < SHARE_COUNT; i++) {
		uint8_t uuid[16] = {0x10, (uint8_t)i, 0x42};

		must(memory_fs_create(uuid, &systems[i], &err), &err);
		submit_fast = systems[i]->ops->submit;
		slow_ops = *systems[i]->ops;
		slow_ops.submit = submit_slow;
		systems[i]->ops = &slow_ops;
	}
}

/* ---- what is exported */

static void export_all(void)
{
	struct nfs_share list[SHARE_COUNT];
	struct err err = {0};
	unsigned count = 0;

	for (unsigned i = 0; i < SHARE_COUNT; i++)
		if (!withdrawn[i])
			list[count++] = (struct nfs_share){.path = shares[i].path,
							   .vfs = systems[i],
							   .rules = &shares[i].rule,
							   .rule_count = 1,
							   .versions = NFS_VERSIONS_ALL};
	must(nfs_shares_set(server, list, count, NULL, NULL, &err), &err);
}

static void done(void)
{
	printf("DONE\n");
	fflush(stdout);
}

static void set_shares(struct message *message)
{
	(void)message;
	export_all();
	done();
}

static void obey(const char *line)
{
	unsigned long number = strtoul(line + strcspn(line, " "), NULL, 10);

	if (strncmp(line, "share ", 6) == 0 && number < SHARE_COUNT) {
		withdrawn[number] = !withdrawn[number];
		loop_post(control, &set_message, set_shares);
	} else if (strncmp(line, "slow ", 5) == 0) {
		atomic_store(&slow_ms, (unsigned)number);
		done();
	} else if (strncmp(line, "step ", 5) == 0) {
		atomic_store(&step_bytes, number);
		done();
	}
}

static void *take_orders(void *context)
{
	char line[64];

	while (fgets(line, sizeof(line), stdin))
		obey(line);
	loop_post(control, &stop_message, stop);
	return context;
}

int main(int argc, char **argv)
{
	unsigned count = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 2;
	struct nfs_server_options options = {.io_loops = loops, .io_loop_count = count};
	const struct world_ops *world;
	struct err err = {0};
	pthread_t watcher;
	uint16_t port;

	if (count < 1 || count > LOOPS_MAX)
		return 2;
	must(world_select("auto", &world, &err), &err);
	must(loop_create(world, &control, &err), &err);
	for (unsigned i = 0; i < count; i++) {
		must(loop_create(world, &loops[i], &err), &err);
		must(loop_start_thread(loops[i], "io", &err), &err);
	}
	options.control = control;
	options.lease_seconds = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 0;
	must(nfs_server_create(&options, &server, &err), &err);
	make_systems();
	export_all();
	must(nfs_listen(server, "127.0.0.1", 0, NFS_PORT_NFS | NFS_PORT_MOUNT | NFS_PORT_PORTMAP,
			&port, &err),
	     &err);
	printf("READY %u\n", port);
	fflush(stdout);
	if (pthread_create(&watcher, NULL, take_orders, NULL) != 0)
		return 1;
	loop_run(control);
	pthread_join(watcher, NULL);
	for (unsigned i = 0; i < count; i++)
		loop_join(loops[i]);
	while (loop_poll(control, 10000000))
		;
	nfs_server_destroy(server);
	for (unsigned i = 0; i < SHARE_COUNT; i++)
		vfs_unref(systems[i]);
	for (unsigned i = 0; i < count; i++)
		loop_destroy(loops[i]);
	loop_destroy(control);
	return 0;
}
