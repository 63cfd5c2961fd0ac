/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/share_life.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/crc32c.h"
#include "shares/shares.h"
#include "tests/sim/life.h"
#include "tests/sim/sim_world.h"
#include "volumes/pool.h"

#define STEPS_MAX    20000000ull
#define DEVICE_BYTES (128ull << 20)
#define VOLUME_BYTES (48ull << 20)
#define DIRECTORIES  3
#define NAMES        7
#define WRITE_MAX    (48u << 10)
#define FILE_MAX     (256u << 10)
#define NODES_MAX    64
#define STATES_KEPT  40

static const char *const device = "/sim/pv0";

/* ---- a server in a world ---- */
struct server {
	struct sim *sim;
	struct loop *loops[2]; /* control, I/O */
	struct pool *pool;
	struct volume *volume;
	struct vfs *vfs;
	struct pool_call pool_call;
	struct share_call share_call;
	struct pool_check_report report;
	struct share_check_report share_report;
	struct message message;
	void (*start)(struct server *server);
	struct vfs *target;
	struct vfs_request *request;
	int result;
	bool done;
};

static void pool_done(struct pool_call *call, int result)
{
	struct server *server = container_of(call, struct server, pool_call);

	server->result = result;
	server->done = true;
}

static void share_done(struct share_call *call, int result)
{
	struct server *server = container_of(call, struct server, share_call);

	server->result = result;
	server->done = true;
}

static void started(struct message *message)
{
	struct server *server = container_of(message, struct server, message);

	server->start(server);
}

static void call(struct server *server, unsigned loop, void (*start)(struct server *server))
{
	server->done = false;
	server->start = start;
	server->pool_call = (struct pool_call){.done = pool_done};
	server->share_call = (struct share_call){.done = share_done};
	loop_post(server->loops[loop], &server->message, started);
}

static int wait_done(struct server *server, const char *what)
{
	if (!sim_until(server->sim, &server->done, STEPS_MAX))
		violation("%s never ended", what);
	return server->result;
}

static void must(struct server *server, void (*start)(struct server *server), const char *what)
{
	call(server, 0, start);
	if (wait_done(server, what) != 0)
		violation("%s: %s %s (%s)", what, server->pool_call.err.text,
			  server->share_call.err.text, strerror(-server->result));
}

static void start_pool_create(struct server *server)
{
	static const struct pool_device devices[] = {{.path = "/sim/pv0", .size = DEVICE_BYTES}};
	static const struct pool_create_options options = {
	    .name = "tank", .devices = devices, .device_count = 1};

	pool_create(&world_sim, server->loops[0], &options, &server->pool_call);
}
static void start_volume(struct server *server)
{
	static const struct volume_spec spec = {.name = "files", .size_bytes = VOLUME_BYTES};

	volume_create(server->pool, &spec, &server->pool_call);
}
static void start_pool_open(struct server *server)
{
	pool_open(&world_sim, server->loops[0], &device, 1, &server->pool_call);
}
static void start_pool_close(struct server *server)
{
	pool_close(server->pool, &server->pool_call);
}
static void start_pool_check(struct server *server)
{
	server->report = (struct pool_check_report){0};
	pool_check(server->pool, false, &server->report, &server->pool_call);
}
static void start_checkpoint(struct server *server)
{
	pool_checkpoint(server->pool, &server->pool_call);
}
static void start_format(struct server *server)
{
	share_format(server->volume, server->loops[0], 0, &server->share_call);
}
static void start_share_open(struct server *server)
{
	share_open(server->volume, server->loops[0], false, &server->share_call);
}
static void start_share_close(struct server *server)
{
	share_close(server->vfs, &server->share_call);
}
static void start_share_checkpoint(struct server *server)
{
	share_set_quota(server->vfs, 0, &server->share_call);
}
/* Owners are counted from the first time on, which may be in the middle of all. */
static void start_share_user(struct server *server)
{
	const struct share_user user = {.uid = 1, .set = SHARE_USER_FILES};

	share_set_user(server->vfs, &user, &server->share_call);
}
static void finding(struct share_check_report *report, const char *sentence)
{
	(void)report;
	printf("# check: %s\n", sentence);
}
static void start_share_check(struct server *server)
{
	server->share_report = (struct share_check_report){.finding = finding};
	share_check(server->vfs, &server->share_report, &server->share_call);
}
static void start_request(struct server *server)
{
	vfs_submit(server->target, server->request);
}

static void server_init(struct server *server, struct sim *sim)
{
	*server = (struct server){.sim = sim};
	for (unsigned i = 0; i < 2; i++)
		server->loops[i] = sim_loop(sim);
}

static void check(struct server *server)
{
	must(server, start_share_check, "share_check");
	if (server->share_report.errors)
		violation("share_check: %llu errors",
			  (unsigned long long)server->share_report.errors);
	if (server->share_report.unbacked_bytes)
		violation("share_check: %llu bytes are set aside and have no space",
			  (unsigned long long)server->share_report.unbacked_bytes);
}

static void server_close(struct server *server)
{
	must(server, start_share_close, "share_close");
	volume_unref(server->volume);
	must(server, start_checkpoint, "pool_checkpoint");
	must(server, start_pool_check, "pool_check");
	if (server->report.errors || server->report.leaked_slots)
		violation("pool_check: %llu errors, %llu leaked",
			  (unsigned long long)server->report.errors,
			  (unsigned long long)server->report.leaked_slots);
	must(server, start_pool_close, "pool_close");
	for (unsigned i = 0; i < 2; i++)
		loop_destroy(server->loops[i]);
}

/* ---- requests ---- */
static const struct vfs_credentials superuser;
struct runner;
static void maybe_crash(struct runner *runner);

struct runner {
	struct share_run *run;
	struct rng rng;
	struct server server;
	struct vfs *memory;
	uint64_t next_crash;
	bool may_crash;
	unsigned depth;
	/* the last clone: where the same blocks are */
	struct {
		char directory[8], file[8];
		uint64_t offset;
	} twin[2];
	uint64_t twins_length, twins_in;
	unsigned twins_next;
};

static struct server *waiting; /* for its request: one at a time, worlds nest */

static void request_done(struct vfs_request *request, int result)
{
	(void)request;
	waiting->result = result;
	waiting->done = true;
}

/* Until server->done; now and then the power goes meanwhile. */
static int wait_with_crashes(struct runner *runner, const char *what)
{
	struct server *server = &runner->server;
	uint64_t steps = 0;

	while (!server->done) {
		if (!sim_step(server->sim) || ++steps > STEPS_MAX)
			violation("%s never ended", what);
		if (runner->may_crash && sim_io_count(server->sim) >= runner->next_crash) {
			maybe_crash(runner);
			waiting = server;
		}
	}
	return server->result;
}

static int submit(struct runner *runner, struct vfs *vfs, struct vfs_request *request)
{
	struct server *server = &runner->server;

	request->credentials = &superuser;
	request->done = request_done;
	waiting = server;
	server->target = vfs;
	server->request = request;
	call(server, 1, start_request);
	return wait_with_crashes(runner, "an operation");
}

/* ---- what a file system looks like ---- */
struct picture_node {
	uint64_t fileid;
	uint64_t size;
	uint8_t *data;
};
struct picture {
	uint64_t hash; /* of everything but contents, times, identities */
	struct picture_node nodes[NODES_MAX];
	unsigned count;
};

static uint64_t mix(uint64_t hash, const void *data, size_t length)
{
	hash ^= (uint64_t)crc32c((uint32_t)hash, data, length) << 32 | length;
	return rng_mix(hash + crc32c(0x1234567, data, length));
}

static void picture_free(struct picture *picture)
{
	for (unsigned i = 0; i < picture->count; i++)
		free(picture->nodes[i].data);
	picture->count = 0;
}

static void picture_contents(struct runner *runner, struct vfs *vfs,
			     const struct vfs_object *object, struct picture *picture,
			     const struct vfs_attr *attr)
{
	struct picture_node *node;

	for (unsigned i = 0; i < picture->count; i++)
		if (picture->nodes[i].fileid == attr->fileid)
			return;
	assert(picture->count < NODES_MAX);
	node = &picture->nodes[picture->count++];
	*node = (struct picture_node){.fileid = attr->fileid, .size = attr->size};
	node->data = calloc(1, FILE_MAX + 4096);
	assert(node->data && attr->size <= FILE_MAX);
	if (attr->size) {
		struct iovec iov = {.iov_base = node->data, .iov_len = FILE_MAX};
		struct vfs_request request = {.op = VFS_READ,
					      .object = *object,
					      .length = FILE_MAX,
					      .iov = &iov,
					      .iov_count = 1};
		int result = submit(runner, vfs, &request);

		if (result || request.count != attr->size || !request.eof)
			violation("reading %llu bytes gave %u (%d)", (unsigned long long)attr->size,
				  request.count, result);
		memset(node->data + attr->size, 0, FILE_MAX + 4096 - attr->size);
	}
}

static uint64_t picture_xattrs(struct runner *runner, struct vfs *vfs,
			       const struct vfs_object *object)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < 3; i++) {
		char name[2] = {(char)('a' + i), 0}, value[4096];
		struct vfs_request request = {.op = VFS_XATTR_GET,
					      .object = *object,
					      .name = name,
					      .name_length = 1,
					      .data = value,
					      .data_room = sizeof(value)};
		int result = submit(runner, vfs, &request);

		if (result && result != -ENODATA)
			violation("xattr %s: %d", name, result);
		if (result == 0)
			sum += mix(i, value, request.data_length);
	}
	return sum;
}

/* Listings come in any order: entries are summed. */
static void picture_directory(struct runner *runner, struct vfs *vfs,
			      const struct vfs_object *object, uint64_t path,
			      struct picture *picture)
{
	_Alignas(8) static uint8_t pages[4][16384];
	static unsigned level;
	uint8_t *page = pages[level++];
	struct vfs_request request = {.op = VFS_READDIR,
				      .object = *object,
				      .data = page,
				      .data_room = 16384,
				      .flags = VFS_WANT_ATTR};

	do {
		uint32_t at = 0;
		int result = submit(runner, vfs, &request);

		if (result)
			violation("listing a directory: %d", result);
		while (at < request.data_length) {
			struct vfs_dirent *entry = (void *)(page + at);
			const struct vfs_attr *attr = &entry->attr;
			uint64_t name = mix(path, entry->name, entry->name_length);
			uint64_t facts[] = {attr->type,
					    attr->mode,
					    attr->links,
					    attr->uid,
					    attr->gid,
					    attr->used,
					    attr->has_acl,
					    attr->rdev_major,
					    attr->type == VFS_SYMLINK ? 0 : attr->size};

			at += entry->next;
			request.cookie = entry->cookie;
			picture->hash += mix(name, facts, sizeof(facts)) +
					 picture_xattrs(runner, vfs, &entry->object);
			if (attr->type == VFS_REGULAR)
				picture_contents(runner, vfs, &entry->object, picture, attr);
			if (attr->type == VFS_DIRECTORY)
				picture_directory(runner, vfs, &entry->object, name, picture);
		}
	} while (!request.eof);
	level--;
}

static void picture_take(struct runner *runner, struct vfs *vfs, struct picture *picture)
{
	picture_free(picture);
	picture->hash = 0;
	picture_directory(runner, vfs, &vfs->root, 1, picture);
}

/* ---- what may be there after a crash ---- */
/* Pictures of the memory file system after each operation, oldest first. */
static struct picture kept[STATES_KEPT];
static unsigned kept_count;
static unsigned durable_names; /* no older picture may be what is found */
static unsigned durable_data;

static void keep_only_from(unsigned first)
{
	for (unsigned i = 0; i < first; i++)
		picture_free(&kept[i]);
	memmove(kept, kept + first, (kept_count - first) * sizeof(*kept));
	memset(kept + kept_count - first, 0, first * sizeof(*kept));
	kept_count -= first;
	durable_names -= first;
	durable_data -= first;
}

static const struct picture_node *node_in(const struct picture *picture, uint64_t fileid)
{
	for (unsigned i = 0; i < picture->count; i++)
		if (picture->nodes[i].fileid == fileid)
			return &picture->nodes[i];
	return NULL;
}

/* Contents made durable on their own: blocks of a file are no older than picture @index. */
static struct settled {
	uint64_t fileid, first, last;
	unsigned index;
} settled[STATES_KEPT];
static unsigned settled_count;

static unsigned oldest_of(uint64_t fileid, uint64_t block)
{
	unsigned oldest = durable_data;

	for (unsigned i = 0; i < settled_count; i++)
		if (settled[i].fileid == fileid && settled[i].first <= block &&
		    block <= settled[i].last && settled[i].index > oldest)
			oldest = settled[i].index;
	return oldest;
}

static bool block_possible(uint64_t fileid, uint64_t at, const uint8_t *block, uint64_t length)
{
	for (unsigned i = oldest_of(fileid, at / 4096); i < kept_count; i++) {
		const struct picture_node *node = node_in(&kept[i], fileid);
		static const uint8_t zeros[4096];

		if (node ? memcmp(node->data + at, block, length) == 0
			 : memcmp(zeros, block, length) == 0)
			return true;
	}
	return false;
}

static void compare_data(const struct picture *found)
{
	for (unsigned i = 0; i < found->count; i++) {
		const struct picture_node *node = &found->nodes[i];

		for (uint64_t at = 0; at < node->size; at += 512) {
			uint64_t length = node->size - at < 512 ? node->size - at : 512;

			if (!block_possible(node->fileid, at, node->data + at, length))
				violation("file %llu: contents at %llu were never there",
					  (unsigned long long)node->fileid, (unsigned long long)at);
		}
	}
}

/* ---- crashes ---- */
static void crash(struct runner *runner, struct sim *sim, unsigned states, unsigned depth);

static void recover(struct runner *runner, struct server *server, unsigned depth)
{
	uint64_t crash_at = 0, base = sim_io_count(server->sim), steps = 0;

	must(server, start_pool_open, "pool_open after a crash");
	server->pool = server->pool_call.pool;
	server->volume = pool_find_volume(server->pool, "files");
	if (!server->volume)
		violation("the volume is gone");
	if (depth < 3 && rng_one_in(sim_rng(server->sim), 5))
		crash_at =
		    rng_range(sim_rng(server->sim), 1, 40) + sim_io_count(server->sim) - base;
	call(server, 0, start_share_open);
	while (!server->done) {
		if (!sim_step(server->sim) || ++steps > STEPS_MAX)
			violation("share_open never ended");
		if (crash_at && sim_io_count(server->sim) - base >= crash_at) {
			crash_at = 0;
			crash(runner, server->sim, 2, depth + 1);
		}
	}
	if (server->result)
		violation("share_open after a crash: %s (%s)", server->share_call.err.text,
			  strerror(-server->result));
	server->vfs = server->share_call.vfs;
}

static void visit(struct runner *runner, struct sim *sim, const struct sim_plan *plan,
		  unsigned depth)
{
	struct sim *after = sim_crash(sim, plan);
	struct runner mine = {.run = runner->run, .depth = depth};
	struct picture found = {0};
	unsigned match;

	runner->run->states++;
	runner->run->deep_states += depth > 1;
	sim_enter(after);
	server_init(&mine.server, after);
	recover(runner, &mine.server, depth);
	picture_take(&mine, mine.server.vfs, &found);
	for (match = durable_names; match < kept_count; match++)
		if (kept[match].hash == found.hash)
			break;
	if (match == kept_count)
		violation("what is found is no state between %u and %u (depth %u)", durable_names,
			  kept_count - 1, depth);
	compare_data(&found);
	picture_free(&found);
	check(&mine.server);
	server_close(&mine.server);
	sim_leave(after);
	sim_destroy(after);
}

static void crash(struct runner *runner, struct sim *sim, unsigned states, unsigned depth)
{
	unsigned count = sim_outstanding(sim);
	struct rng rng = {.state = rng_next(sim_rng(sim))};
	uint8_t *fates = malloc(count + 1);

	assert(fates);
	runner->run->crashes++;
	for (unsigned state = 0; state < states; state++) {
		struct sim_plan plan = {.fates = fates, .count = count, .seed = rng_next(&rng)};
		unsigned kind = (unsigned)rng_below(&rng, 6);
		unsigned edge = (unsigned)rng_below(&rng, count + 1ull);

		for (unsigned i = 0; i < count; i++) {
			unsigned random = (unsigned)rng_below(&rng, 3);

			fates[i] = (uint8_t)(kind == 0   ? SIM_DROP
					     : kind == 1 ? SIM_KEEP
					     : kind == 2 ? (i < edge ? SIM_KEEP : SIM_DROP)
					     : kind == 3 ? (i == edge ? SIM_DROP : SIM_KEEP)
							 : random);
		}
		visit(runner, sim, &plan, depth);
	}
	free(fates);
}

/* The operation in flight may be there in whole: its picture is kept before it begins. */
static void maybe_crash(struct runner *runner)
{
	struct share_run *run = runner->run;

	runner->next_crash =
	    sim_io_count(runner->server.sim) + rng_range(&runner->rng, 1, run->ios_between * 2);
	if (run->states < run->states_max)
		crash(runner, runner->server.sim, run->states_per_crash, 1);
}

/* ---- the work ---- */
static uint8_t write_data[WRITE_MAX];
static uint64_t write_serial;

struct plan {
	struct vfs_request request;
	char name[8], name2[8], directory[8], directory2[8], file[8];
	bool on_file, twice, checkpoint;
	struct iovec iov;
	struct vfs_ace ace;
};

static void choose_directory(struct runner *runner, char *name)
{
	unsigned pick = (unsigned)rng_below(&runner->rng, DIRECTORIES + 2);

	if (pick >= DIRECTORIES)
		name[0] = 0; /* the root */
	else
		snprintf(name, 8, "d%u", pick);
}

static void choose_name(struct runner *runner, char *name)
{
	if (rng_one_in(&runner->rng, 5))
		snprintf(name, 8, "d%u", (unsigned)rng_below(&runner->rng, DIRECTORIES));
	else
		snprintf(name, 8, "f%u", (unsigned)rng_below(&runner->rng, NAMES));
}

static void plan_write(struct runner *runner, struct plan *plan)
{
	struct vfs_request *request = &plan->request;

	request->op = VFS_WRITE;
	request->offset = rng_below(&runner->rng, FILE_MAX - WRITE_MAX);
	request->length = rng_range(&runner->rng, 1, WRITE_MAX);
	if (rng_one_in(&runner->rng, 2)) {
		request->offset &= ~4095ull;
		request->length = (request->length & ~4095ull) + 4096;
		if (request->length > WRITE_MAX)
			request->length = WRITE_MAX;
	}
	write_serial++;
	for (unsigned i = 0; i < WRITE_MAX / 8; i++) {
		uint64_t word = rng_mix(write_serial << 20 | i);

		memcpy(write_data + (size_t)i * 8, &word, 8);
	}
	plan->iov = (struct iovec){.iov_base = write_data, .iov_len = request->length};
	request->iov = &plan->iov;
	request->iov_count = 1;
	request->stable = rng_one_in(&runner->rng, 2) ? VFS_FILE_SYNC : VFS_UNSTABLE;
}

/* Parts that end inside both files' bounds, and now and then all to the end. */
static void plan_clone(struct runner *runner, struct plan *plan)
{
	struct vfs_request *request = &plan->request;

	request->op = VFS_CLONE;
	plan->twice = true;
	choose_directory(runner, plan->directory2);
	snprintf(plan->name2, sizeof(plan->name2), "f%u", (unsigned)rng_below(&runner->rng, NAMES));
	request->offset = rng_below(&runner->rng, FILE_MAX / 2) & ~4095ull;
	request->offset2 = rng_below(&runner->rng, FILE_MAX / 2) & ~4095ull;
	request->length = rng_range(&runner->rng, 1, FILE_MAX / 8192) * 4096;
	if (rng_one_in(&runner->rng, 3))
		request->offset = request->offset2 = 0;
	if (rng_one_in(&runner->rng, 3)) {
		request->length = 0;
		request->offset2 = rng_below(&runner->rng, request->offset + 1) & ~4095ull;
	}
}

/* Blocks that two files have: the target of the clone first, then the source, one right behind the
 * other, while what was said of the first may not be durable yet. */
static void plan_twin(struct runner *runner, struct plan *plan)
{
	unsigned which = runner->twins_next++ % 2 ? 0 : 1;

	if (which == 1)
		runner->twins_in = rng_below(&runner->rng, runner->twins_length) & ~4095ull;
	plan_write(runner, plan);
	memcpy(plan->directory, runner->twin[which].directory, sizeof(plan->directory));
	memcpy(plan->file, runner->twin[which].file, sizeof(plan->file));
	plan->request.offset = runner->twin[which].offset + runner->twins_in;
	if (plan->request.offset > FILE_MAX - WRITE_MAX)
		plan->request.offset = FILE_MAX - WRITE_MAX;
	if (which == 1)
		plan->request.stable = VFS_UNSTABLE;
	plan->on_file = true;
}

static void plan_set(struct runner *runner, struct plan *plan)
{
	struct vfs_request *request = &plan->request;

	request->op = VFS_SETATTR;
	request->set.mask = VFS_SET_MODE;
	request->set.mode = (uint32_t)rng_below(&runner->rng, 01000);
	if (rng_one_in(&runner->rng, 2)) {
		request->set.mask = VFS_SET_SIZE;
		request->set.size = rng_below(&runner->rng, FILE_MAX);
		if (rng_one_in(&runner->rng, 3))
			request->set.size = 0;
	} else if (request->set.mode % 2) {
		request->set.mask = VFS_SET_UID;
		request->set.uid = request->set.mode / 2 % 3;
	}
}

static void plan_create(struct runner *runner, struct plan *plan)
{
	struct vfs_request *request = &plan->request;

	request->op = VFS_CREATE;
	request->create_how = VFS_CREATE_GUARDED;
	request->type = VFS_REGULAR;
	request->set.mask = VFS_SET_MODE;
	request->set.mode = 0755;
	choose_directory(runner, plan->directory);
	choose_name(runner, plan->name);
	if (plan->name[0] == 'd') {
		request->type = VFS_DIRECTORY;
		plan->directory[0] = 0; /* directories are in the root */
	} else if (rng_one_in(&runner->rng, 8)) {
		request->type = VFS_SYMLINK;
		request->data = write_data;
		write_data[0] |= 1;
		memset(write_data, 's', 3000);
		request->data_length = (uint32_t)rng_range(&runner->rng, 1, 3000);
	}
}

static void plan_names(struct runner *runner, struct plan *plan, enum vfs_op op)
{
	plan->request.op = op;
	choose_directory(runner, plan->directory);
	choose_name(runner, plan->name);
	choose_directory(runner, plan->directory2);
	snprintf(plan->name2, sizeof(plan->name2), "f%u", (unsigned)rng_below(&runner->rng, NAMES));
	if (op == VFS_RENAME && plan->name[0] == 'd') {
		plan->directory[0] = plan->directory2[0] = 0;
		snprintf(plan->name2, sizeof(plan->name2), "d%u",
			 (unsigned)rng_below(&runner->rng, DIRECTORIES));
	}
	if (op == VFS_LINK && plan->name[0] == 'd')
		plan->name[0] = 'f';
	plan->twice = op != VFS_REMOVE;
}

static void plan_xattr(struct runner *runner, struct plan *plan)
{
	struct vfs_request *request = &plan->request;

	request->op = rng_one_in(&runner->rng, 3) ? VFS_XATTR_REMOVE : VFS_XATTR_SET;
	snprintf(plan->name, sizeof(plan->name), "%c", (char)('a' + rng_below(&runner->rng, 3)));
	request->data = write_data;
	request->data_length = (uint32_t)rng_below(&runner->rng, 4096);
}

static void plan_on_file(struct runner *runner, struct plan *plan)
{
	unsigned pick = (unsigned)rng_below(&runner->rng, 100);
	struct vfs_request *request = &plan->request;

	plan->on_file = true;
	choose_directory(runner, plan->directory);
	snprintf(plan->file, sizeof(plan->file), "f%u", (unsigned)rng_below(&runner->rng, NAMES));
	if (pick < 50) {
		plan_write(runner, plan);
	} else if (pick < 60) {
		plan_set(runner, plan);
	} else if (pick < 68) {
		plan_xattr(runner, plan);
	} else if (pick < 80) {
		plan_clone(runner, plan);
	} else if (pick < 86) {
		request->op = VFS_COMMIT;
	} else if (pick < 89) {
		request->op = VFS_ACL_SET;
		request->aces = &plan->ace;
		plan->ace = (struct vfs_ace){.who = VFS_WHO_EVERYONE, .mask = VFS_READ_DATA};
		request->ace_count = (uint32_t)rng_below(&runner->rng, 2);
	} else {
		request->op = rng_one_in(&runner->rng, 3) ? VFS_ALLOCATE : VFS_DEALLOCATE;
		request->offset = rng_below(&runner->rng, FILE_MAX / 2);
		request->length = rng_range(&runner->rng, 1, FILE_MAX / 2);
	}
}

static void plan_draw(struct runner *runner, struct plan *plan)
{
	unsigned pick = (unsigned)rng_below(&runner->rng, 100);

	memset(plan, 0, sizeof(*plan));
	if (runner->twins_length && (runner->twins_next % 2 || rng_one_in(&runner->rng, 8)))
		plan_twin(runner, plan);
	else if (pick < 3)
		plan->checkpoint = true;
	else if (pick < 18)
		plan_create(runner, plan);
	else if (pick < 24)
		plan_names(runner, plan, VFS_REMOVE);
	else if (pick < 32)
		plan_names(runner, plan, VFS_RENAME);
	else if (pick < 36)
		plan_names(runner, plan, VFS_LINK);
	else
		plan_on_file(runner, plan);
}

/* "" is the root. */
static int resolve(struct runner *runner, struct vfs *vfs, const struct vfs_object *from,
		   const char *name, struct vfs_object *ret_object)
{
	struct vfs_request request = {
	    .op = VFS_LOOKUP, .object = *from, .name = name, .name_length = (unsigned)strlen(name)};
	bool may_crash = runner->may_crash;
	int result;

	*ret_object = *from;
	if (!name[0])
		return 0;
	runner->may_crash = false;
	result = submit(runner, vfs, &request);
	runner->may_crash = may_crash;
	*ret_object = request.result_object;
	return result;
}

/* Without its own objects the operation is not tried. *ret_fileid: of what it changed. */
static int execute(struct runner *runner, struct vfs *vfs, const struct plan *plan,
		   uint64_t *ret_fileid)
{
	struct vfs_request request = plan->request;
	struct vfs_object directory, directory2;
	int result = resolve(runner, vfs, &vfs->root, plan->directory, &directory);

	if (result == 0 && plan->twice)
		result = resolve(runner, vfs, &vfs->root, plan->directory2, &directory2);
	if (result)
		return result;
	request.object = directory;
	request.name = plan->name;
	request.name_length = (unsigned)strlen(plan->name);
	if (plan->on_file)
		result = resolve(runner, vfs, &directory, plan->file, &request.object);
	if (plan->request.op == VFS_LINK)
		result = resolve(runner, vfs, &directory, plan->name, &request.object);
	if (result)
		return result;
	request.object2 = directory2;
	if (!plan->twice)
		memset(&request.object2, 0, sizeof(request.object2));
	if (plan->request.op == VFS_CLONE)
		result = resolve(runner, vfs, &directory2, plan->name2, &request.object2);
	if (result)
		return result;
	request.name2 = plan->name2;
	request.name2_length = (unsigned)strlen(plan->name2);
	request.iov = &plan->iov;
	result = submit(runner, vfs, &request);
	*ret_fileid = request.after[request.op == VFS_CLONE].fileid;
	return result;
}

/* @plan is done: what of the contents is durable now? */
static void settle(const struct plan *plan, uint64_t fileid)
{
	const struct vfs_request *request = &plan->request;
	struct settled *made = &settled[settled_count];

	*made = (struct settled){fileid, request->offset / 4096,
				 (request->offset + request->length) / 4096, kept_count - 1};
	if (request->op == VFS_SETATTR && request->set.mask & VFS_SET_SIZE) {
		made->first = request->set.size / 4096;
		made->last = UINT64_MAX;
	} else if (request->op == VFS_CLONE && request->length) {
		made->first = request->offset2 / 4096;
		made->last = (request->offset2 + request->length - 1) / 4096;
	} else if (request->op == VFS_WRITE) {
		made->last = (request->offset + request->length - 1) / 4096;
	} else if (request->op != VFS_DEALLOCATE) {
		return;
	}
	settled_count++;
}

static void remember_twins(struct runner *runner, const struct plan *plan)
{
	memcpy(runner->twin[0].directory, plan->directory, sizeof(plan->directory));
	memcpy(runner->twin[0].file, plan->file, sizeof(plan->file));
	memcpy(runner->twin[1].directory, plan->directory2, sizeof(plan->directory2));
	memcpy(runner->twin[1].file, plan->name2, sizeof(plan->name2));
	runner->twin[0].offset = plan->request.offset;
	runner->twin[1].offset = plan->request.offset2;
	runner->twins_length = plan->request.length;
	runner->twins_next = 0;
}

/* First the model, so that its picture is there when the power goes; then the share. */
static void one_operation(struct runner *runner)
{
	struct plan plan;
	int expected, got;
	uint64_t fileid;

	plan_draw(runner, &plan);
	if (plan.checkpoint) {
		struct server *server = &runner->server;

		runner->may_crash = runner->run->ios_between > 0;
		/* while pages and superblock are on their way */
		if (rng_one_in(&runner->rng, 2))
			runner->next_crash =
			    sim_io_count(server->sim) + rng_range(&runner->rng, 1, 8);
		call(server, 0, start_share_checkpoint);
		if (wait_with_crashes(runner, "share_set_quota") != 0)
			violation("share_set_quota: %s", server->share_call.err.text);
		if (runner->run->done % 4)
			return;
		call(server, 0, start_share_user);
		if (wait_with_crashes(runner, "share_set_user") != 0)
			violation("share_set_user: %s", server->share_call.err.text);
		return;
	}
	runner->may_crash = false;
	expected = execute(runner, runner->memory, &plan, &fileid);
	assert(kept_count < STATES_KEPT);
	picture_take(runner, runner->memory, &kept[kept_count++]);
	runner->may_crash = runner->run->ios_between > 0;
	got = execute(runner, runner->server.vfs, &plan, &fileid);
	if (got != expected)
		violation("operation %d (%llu of the run): %s, the model says %s", plan.request.op,
			  (unsigned long long)runner->run->done, strerror(-got),
			  strerror(-expected));
	runner->run->done++;
	runner->run->failed_alike += got != 0;
	if (got == 0 && plan.request.op == VFS_CLONE && plan.request.length)
		remember_twins(runner, &plan);
	if (got || (plan.request.op == VFS_WRITE && plan.request.stable == VFS_UNSTABLE))
		return;
	durable_names = kept_count - 1;
	settle(&plan, fileid);
	if (plan.request.op == VFS_COMMIT)
		durable_data = kept_count - 1;
}

/* The kept pictures would be too many: make everything durable. */
static void commit_all(struct runner *runner)
{
	struct vfs_object file;
	struct vfs_request request = {.op = VFS_COMMIT};
	int result = resolve(runner, runner->server.vfs, &runner->server.vfs->root, "keep", &file);

	if (result)
		violation("the file to commit with is gone: %d", result);
	request.object = file;
	result = submit(runner, runner->server.vfs, &request);
	if (result)
		violation("commit: %d", result);
	durable_names = durable_data = kept_count - 1;
	keep_only_from(durable_data);
	settled_count = 0;
}

/* Both look the same now, to the byte. */
static void compare_now(struct runner *runner)
{
	struct picture found = {0};

	runner->may_crash = false;
	picture_take(runner, runner->server.vfs, &found);
	if (found.hash != kept[kept_count - 1].hash)
		violation("the share and the model differ after %llu operations",
			  (unsigned long long)runner->run->done);
	for (unsigned i = 0; i < found.count; i++) {
		const struct picture_node *node =
		    node_in(&kept[kept_count - 1], found.nodes[i].fileid);

		if (!node || memcmp(node->data, found.nodes[i].data, node->size) != 0)
			violation("file %llu differs after %llu operations",
				  (unsigned long long)found.nodes[i].fileid,
				  (unsigned long long)runner->run->done);
	}
	picture_free(&found);
}

static void begin(struct runner *runner)
{
	static const uint8_t uuid[16] = {7};
	struct server *server = &runner->server;
	struct plan plan = {
	    .request = {.op = VFS_CREATE, .type = VFS_REGULAR, .create_how = VFS_CREATE_GUARDED},
	    .name = "keep"};
	uint64_t fileid;

	must(server, start_pool_create, "pool_create");
	server->pool = server->pool_call.pool;
	must(server, start_volume, "volume_create");
	server->volume = server->pool_call.volume;
	must(server, start_format, "share_format");
	must(server, start_share_open, "share_open");
	server->vfs = server->share_call.vfs;
	if (memory_fs_create(uuid, &runner->memory, NULL) < 0)
		violation("no memory for the model");
	if (execute(runner, runner->memory, &plan, &fileid) ||
	    execute(runner, server->vfs, &plan, &fileid))
		violation("the first file can not be created");
	kept_count = durable_names = durable_data = settled_count = 0;
	picture_take(runner, runner->memory, &kept[kept_count++]);
}

void share_run(struct share_run *run)
{
	struct runner runner = {.run = run, .rng.state = run->seed};
	struct sim *sim = sim_create(run->seed);

	sim_enter(sim);
	sim_disk_create(sim, device, DEVICE_BYTES);
	server_init(&runner.server, sim);
	begin(&runner);
	runner.next_crash =
	    run->ios_between ? sim_io_count(sim) + rng_range(&runner.rng, 1, run->ios_between * 2)
			     : UINT64_MAX;
	for (unsigned i = 0;
	     i < run->operations && (!run->ios_between || run->states < run->states_max); i++) {
		one_operation(&runner);
		if (rng_one_in(&runner.rng, 40))
			compare_now(&runner);
		if (kept_count >= STATES_KEPT - 1)
			commit_all(&runner);
	}
	compare_now(&runner);
	check(&runner.server);
	vfs_unref(runner.memory);
	server_close(&runner.server);
	for (unsigned i = 0; i < kept_count; i++)
		picture_free(&kept[i]);
	kept_count = 0;
	sim_leave(sim);
	sim_destroy(sim);
}
