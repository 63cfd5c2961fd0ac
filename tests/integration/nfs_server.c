/* SPDX-License-Identifier: Apache-2.0 */
/* nfs_server [LOOPS [LEASE [DIRECTORY]]]: the NFS server over file systems in memory, on a free
 * port of 127.0.0.1, for tests of the protocol; with DIRECTORY, that one of this machine too, as
 * /directory. Says "READY PORT", and ends cleanly when its input does.
 *
 *   share N      export the Nth share no more, or again
 *   slow MS      removing attributes and changing sizes begins MS milliseconds later
 *   writes MS    WRITEs begin MS milliseconds later
 *   step BYTES   an ALLOCATE does no more at a time (0: all of it)
 *   tls FOLDER   TLS with server.pem (key and certificate) and clients.pem of FOLDER (may be
 *                empty); from now on shares that ask for it are exported too
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
#include "shares/host_directory.h"

#define LOOPS_MAX 8u

static struct loop *control, *loops[LOOPS_MAX];
static struct nfs_server *server;
static struct message stop_message, set_message;
static struct vfs_ops slow_ops;
static void (*submit_fast)(struct vfs *vfs, struct vfs_request *request);
static atomic_uint slow_ms, write_ms;
static atomic_ulong step_bytes;

static const struct {
	const char *path;
	struct nfs_rule rule, other;
	bool tls, host;
} shares[] = {
    {.path = "/files", .rule = {.client = "*", .insecure = true, .squash = NFS_NO_ROOT_SQUASH}},
    {.path = "/ro",
     .rule = {.client = "127.0.0.0/8",
	      .read_only = true,
	      .insecure = true,
	      .squash = NFS_NO_ROOT_SQUASH}},
    {.path = "/squash",
     .rule = {.client = "127.0.0.1", .insecure = true, .anon_uid = 65534, .anon_gid = 65534}},
    {.path = "/secure", .rule = {.client = "*", .squash = NFS_NO_ROOT_SQUASH}},
    {.path = "/closed", .rule = {.client = "10.99.0.0/16", .insecure = true}},
    {.path = "/tls",
     .rule = {.client = "*",
	      .insecure = true,
	      .squash = NFS_NO_ROOT_SQUASH,
	      .security = NFS_SECURITY_TLS},
     .tls = true},
    {.path = "/mtls",
     .rule = {.client = "*",
	      .insecure = true,
	      .squash = NFS_NO_ROOT_SQUASH,
	      .security = NFS_SECURITY_MTLS},
     .tls = true},
    {.path = "/named",
     .rule = {.client = "cert:laptop.example",
	      .insecure = true,
	      .squash = NFS_ALL_SQUASH,
	      .anon_uid = 1007,
	      .anon_gid = 1008},
     .other =
	 {.client = "127.0.0.1", .insecure = true, .read_only = true, .squash = NFS_NO_ROOT_SQUASH},
     .tls = true},
    {.path = "/directory",
     .rule = {.client = "*", .insecure = true, .squash = NFS_NO_ROOT_SQUASH},
     .host = true},
};
#define SHARE_COUNT (sizeof(shares) / sizeof(shares[0]))

static struct vfs *systems[SHARE_COUNT];
static bool withdrawn[SHARE_COUNT], with_tls;
static char tls_folder[512];

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
	unsigned ms = atomic_load(request->op == VFS_WRITE ? &write_ms : &slow_ms);
	bool sizes = (request->op == VFS_SETATTR && (request->set.mask & VFS_SET_SIZE)) ||
		     request->op == VFS_ALLOCATE;
	unsigned long step = atomic_load(&step_bytes);
	struct delay *delay;

	if (request->op == VFS_ALLOCATE && step && request->length > step)
		request->length = step;
	if (!ms || (request->op != VFS_XATTR_REMOVE && request->op != VFS_WRITE && !sizes) ||
	    !(delay = heap_zalloc(sizeof(*delay)))) {
		submit_fast(vfs, request);
		return;
	}
	delay->request = request;
	timer_init(&delay->timer, request->loop, delay_over);
	timer_start(&delay->timer, ms * 1000000ull);
}

static void make_directory(const char *path, struct vfs **ret_vfs)
{
	static const uint8_t uuid[16] = {0x11, 1, 0x42}, secret[16] = {0x12, 3};
	const struct host_directory_options options = {
	    .allowed = &path, .allowed_count = 1, .path = path, .uuid = uuid, .secret = secret};
	struct err err = {0};

	must(host_directory_open(&options, ret_vfs, &err), &err);
}

static void make_systems(const char *directory)
{
	struct err err = {0};

	for (unsigned i = 0; i < SHARE_COUNT; i++) {
		uint8_t uuid[16] = {0x10, (uint8_t)i, 0x42};

		if (shares[i].host) {
			if (directory)
				make_directory(directory, &systems[i]);
			continue;
		}
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
	struct nfs_rule rules[SHARE_COUNT][2];
	struct err err = {0};
	unsigned count = 0;

	for (unsigned i = 0; i < SHARE_COUNT; i++) {
		if (withdrawn[i] || !systems[i] || (shares[i].tls && !with_tls))
			continue;
		rules[i][0] = shares[i].rule;
		rules[i][1] = shares[i].other;
		list[count++] = (struct nfs_share){.path = shares[i].path,
						   .vfs = systems[i],
						   .rules = rules[i],
						   .rule_count = shares[i].other.client[0] ? 2 : 1,
						   .versions = NFS_VERSIONS_ALL};
	}
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

static void read_file(const char *name, char *text, size_t room)
{
	char path[sizeof(tls_folder) + 32];
	FILE *file;
	size_t length = 0;

	snprintf(path, sizeof(path), "%s/%s", tls_folder, name);
	file = fopen(path, "re");
	if (file) {
		length = fread(text, 1, room - 1, file);
		fclose(file);
	}
	text[length] = '\0';
}

static void set_tls(struct message *message)
{
	static char pair[65536], clients[65536];
	struct err err = {0};

	(void)message;
	read_file("server.pem", pair, sizeof(pair));
	read_file("clients.pem", clients, sizeof(clients));
	must(nfs_tls_set(server, pair, pair, clients, &err), &err);
	with_tls = true;
	export_all();
	done();
}

static void obey(const char *line)
{
	unsigned long number = strtoul(line + strcspn(line, " "), NULL, 10);

	if (strncmp(line, "share ", 6) == 0 && number < SHARE_COUNT) {
		withdrawn[number] = !withdrawn[number];
		loop_post(control, &set_message, set_shares);
	} else if (strncmp(line, "tls ", 4) == 0) {
		snprintf(tls_folder, sizeof(tls_folder), "%.*s", (int)strcspn(line + 4, "\n"),
			 line + 4);
		loop_post(control, &set_message, set_tls);
	} else if (strncmp(line, "slow ", 5) == 0) {
		atomic_store(&slow_ms, (unsigned)number);
		done();
	} else if (strncmp(line, "writes ", 7) == 0) {
		atomic_store(&write_ms, (unsigned)number);
		done();
	} else if (strncmp(line, "step ", 5) == 0) {
		atomic_store(&step_bytes, number);
		done();
	}
}

static void *take_orders(void *context)
{
	char line[600];

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
		if (argc > 4)
			loop_set_buffer_budget(loops[i], strtoul(argv[4], NULL, 10));
		must(loop_start_thread(loops[i], "io", &err), &err);
	}
	options.control = control;
	options.lease_seconds = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 0;
	must(nfs_server_create(&options, &server, &err), &err);
	make_systems(argc > 3 && *argv[3] ? argv[3] : NULL);
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
