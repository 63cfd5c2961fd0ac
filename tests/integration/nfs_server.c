/* SPDX-License-Identifier: Apache-2.0 */
/* nfs_server [LOOPS [LEASE]]: the NFS server over file systems in memory, on a free port of
 * 127.0.0.1, for tests of the protocol. Says "READY PORT", and ends cleanly when its input does. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/log.h"
#include "core/world.h"
#include "nfs/nfs.h"

#define LOOPS_MAX 8u

static struct loop *control, *loops[LOOPS_MAX];
static struct nfs_server *server;
static struct message stop_message;

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

static void *wait_for_end(void *context)
{
	char sink[64];

	while (read(STDIN_FILENO, sink, sizeof(sink)) > 0)
		;
	loop_post(control, &stop_message, stop);
	return context;
}

static void export_all(void)
{
	struct nfs_share list[SHARE_COUNT];
	struct vfs *vfs[SHARE_COUNT];
	struct err err = {0};

	for (unsigned i = 0; i < SHARE_COUNT; i++) {
		uint8_t uuid[16] = {0x10, (uint8_t)i, 0x42};

		must(memory_fs_create(uuid, &vfs[i], &err), &err);
		list[i] = (struct nfs_share){.path = shares[i].path,
					     .vfs = vfs[i],
					     .rules = &shares[i].rule,
					     .rule_count = 1,
					     .versions = NFS_VERSIONS_ALL};
	}
	must(nfs_shares_set(server, list, SHARE_COUNT, NULL, NULL, &err), &err);
	for (unsigned i = 0; i < SHARE_COUNT; i++)
		vfs_unref(vfs[i]);
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
	export_all();
	must(nfs_listen(server, "127.0.0.1", 0, NFS_PORT_NFS | NFS_PORT_MOUNT | NFS_PORT_PORTMAP,
			&port, &err),
	     &err);
	printf("READY %u\n", port);
	fflush(stdout);
	if (pthread_create(&watcher, NULL, wait_for_end, NULL) != 0)
		return 1;
	loop_run(control);
	pthread_join(watcher, NULL);
	for (unsigned i = 0; i < count; i++)
		loop_join(loops[i]);
	while (loop_poll(control, 10000000))
		;
	nfs_server_destroy(server);
	for (unsigned i = 0; i < count; i++)
		loop_destroy(loops[i]);
	loop_destroy(control);
	return 0;
}
