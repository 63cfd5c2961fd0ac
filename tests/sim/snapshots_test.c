/* SPDX-License-Identifier: Apache-2.0 */
/* snapshots_test: ten thousand snapshots of one volume, each with its own data. What making one
 * costs (bytes and requests on the disk, time of the processor) stays what it was; each is found,
 * holds what it held, differs from the others in what was written between; they go in any order;
 * and the books agree with a walk over all structures, before, in between and after.
 *
 * --snapshots N: another number of them. granary-test: timeout=300 */
#include <assert.h>
#include <getopt.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/log.h"
#include "tests/sim/sim_world.h"
#include "volumes/bytes.h"
#include "volumes/native.h"
#include "volumes/pool.h"

#define DEVICE       "/sim/pv0"
#define SIZE         (48ull << 30)
#define OTHER_DEVICE "/sim/pv1"
#define OTHER_SIZE   (4ull << 30)
#define SLOTS        4096u /* of the volume: 16 MiB */
#define WRITES       2u    /* before each snapshot */
#define BLOCK_OF     50u   /* snapshots whose cost is one sample */
#define SAMPLES      10u
#define BATCH        64u /* deletions that share a checkpoint */
#define LOOKS        24u /* snapshots that are read in full */
#define STEPS        40000000u
#define COUNT_MAX    100000u

static unsigned count = 10000;
static uint16_t (*written)[WRITES]; /* by snapshot: which slots were, since the one before */
static bool *gone;
static uint32_t stamps[SLOTS]; /* 1 + the snapshot a slot was last written before; 0: never */

static struct pool_device device = {DEVICE, SIZE};
static struct sim *sim;
static struct world_ops world; /* the simulator's, counted */
static struct loop *loop;
static struct pool *pool;
static unsigned points, bad_points;
static uint64_t disk_bytes;

static bool point(bool good, const char *text)
{
	points++;
	bad_points += !good;
	printf("%s %u - %s\n", good ? "ok" : "not ok", points, text);
	return good;
}

/* ---- the world ---- */
static int counted_open(const char *path, unsigned flags, uint64_t size, struct disk **ret_disk,
			struct err *err)
{
	int result = world_sim.disk_open(path, flags, size, ret_disk, err);

	if (result == 0)
		(*ret_disk)->world = &world;
	return result;
}

static void counted_submit(struct loop *on, struct disk *disk, struct disk_request *request)
{
	disk_bytes += request->length;
	world_sim.disk_submit(on, disk, request);
}

/* ---- calls and requests, on the loop ---- */
static struct {
	void (*start)(void);
	struct message message;
	struct pool_call call[BATCH];
	struct volume_request request;
	struct volume *volume, *dropped[BATCH];
	struct snapshot_spec spec;
	struct volume_diff diff;
	struct pool_check_report report;
	unsigned batch;
	unsigned left;
	bool done;
	int result;
} now;

static void call_done(struct pool_call *call, int result)
{
	if (result < 0) {
		printf("# %s\n", call->err.text);
		now.result = result;
	}
	now.done = --now.left == 0;
}

static void run_message(struct message *message)
{
	(void)message;
	now.start();
}

static int on_loop(void (*start)(void), unsigned calls)
{
	now.start = start;
	now.done = false;
	now.result = 0;
	now.left = calls;
	for (unsigned i = 0; i < calls; i++)
		now.call[i] = (struct pool_call){.done = call_done};
	loop_post(loop, &now.message, run_message);
	if (!sim_until(sim, &now.done, STEPS)) {
		printf("Bail out! a call never ended\n");
		exit(1);
	}
	return now.result;
}

static void start_create(void)
{
	static const struct pool_create_options options = {
	    .name = "many", .devices = &device, .device_count = 1};

	pool_create(&world, loop, &options, &now.call[0]);
}

static void start_open(void)
{
	static const char *const paths[] = {DEVICE};

	pool_open(&world, loop, paths, 1, &now.call[0]);
}

static void start_close(void)
{
	pool_close(pool, &now.call[0]);
}

static void start_volume(void)
{
	struct volume_spec spec = {.name = "v", .size_bytes = SLOTS * 4096ull};

	volume_create(pool, &spec, &now.call[0]);
}

static void start_check(void)
{
	now.report = (struct pool_check_report){0};
	pool_check(pool, false, &now.report, &now.call[0]);
}

static void start_checkpoint(void)
{
	pool_checkpoint(pool, &now.call[0]);
}

static void start_snapshot(void)
{
	snapshot_create(now.spec.volume->pool, &now.spec, 1, &now.call[0]);
}

static void start_deletions(void)
{
	for (unsigned i = 0; i < now.batch; i++)
		snapshot_delete(now.dropped[i], &now.call[i]);
}

static void start_diff(void)
{
	volume_diff(&now.diff, &now.call[0]);
}

static void request_done(struct volume_request *request, int result)
{
	(void)request;
	now.result = result;
	now.done = true;
}

static void start_request(void)
{
	volume_submit(now.volume, &now.request);
}

static void io(struct volume *volume, enum volume_op op, uint64_t slot, unsigned slots, void *data)
{
	struct iovec iov = {data, (size_t)slots * 4096};
	int result;

	now.volume = volume;
	now.request = (struct volume_request){.op = op,
					      .offset = slot * 4096,
					      .length = slots * 4096ull,
					      .iov = &iov,
					      .iov_count = 1,
					      .done = request_done};
	result = on_loop(start_request, 0);
	if (result < 0) {
		printf("Bail out! slot %llu: %s\n", (unsigned long long)slot, strerror(-result));
		exit(1);
	}
}

static struct volume *find(unsigned number)
{
	char name[32];

	snprintf(name, sizeof(name), "v@s%u", number);
	return pool_find_volume(pool, name);
}

/* ---- making ---- */
struct cost {
	uint64_t bytes, requests, nanoseconds;
};

static uint64_t processor_time(void)
{
	struct timespec time;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
	return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

static void write_some(struct volume *volume, unsigned number)
{
	static _Alignas(4096) uint8_t data[4096];

	for (unsigned i = 0; i < WRITES; i++) {
		unsigned chunk =
		    (unsigned)(rng_mix((uint64_t)number * WRITES + i) % (SLOTS / CHUNK_SLOTS));
		unsigned slot = chunk * CHUNK_SLOTS + chunk % CHUNK_SLOTS;

		written[number][i] = (uint16_t)slot;
		for (unsigned at = 0; at < 4096; at += 8)
			put64(data + at, (uint64_t)(number + 1) << 32 | slot << 12 | at);
		io(volume, VOLUME_WRITE, slot, 1, data);
	}
}

/* What making one costs, without the writes before it. */
static void make(struct volume *volume, unsigned number, struct cost *cost)
{
	char name[16];
	uint64_t bytes, requests, time;
	int result;

	write_some(volume, number);
	snprintf(name, sizeof(name), "s%u", number);
	now.spec = (struct snapshot_spec){.volume = volume, .name = name};
	bytes = disk_bytes;
	requests = sim_io_count(sim);
	time = processor_time();
	result = on_loop(start_snapshot, 1);
	assert(result == 0);
	(void)result;
	cost->bytes += disk_bytes - bytes;
	cost->requests += sim_io_count(sim) - requests;
	cost->nanoseconds += processor_time() - time;
}

static struct cost sum(const struct cost *costs)
{
	struct cost all = {0};

	for (unsigned i = 0; i < SAMPLES; i++) {
		all.bytes += costs[i].bytes;
		all.requests += costs[i].requests;
	}
	return all;
}

static void make_block(struct volume *volume, unsigned from, struct cost *cost)
{
	for (unsigned i = 0; i < BLOCK_OF; i++)
		make(volume, from + i, cost);
}

/* The last ones, each block beside one of a pool that is new: whatever else the machine is busy
 * with concerns both. The least time of each counts. */
static void compare_times(struct volume *volume, unsigned from)
{
	struct pool *here = pool;
	struct volume *fresh;
	uint64_t first = UINT64_MAX, last = UINT64_MAX;
	int result;

	device.path = OTHER_DEVICE;
	device.size = OTHER_SIZE;
	result = on_loop(start_create, 1);
	assert(result == 0);
	pool = now.call[0].pool;
	result = on_loop(start_volume, 1);
	assert(result == 0);
	fresh = now.call[0].volume;
	for (unsigned i = 0; i < SAMPLES; i++) {
		struct cost one = {0}, other = {0};

		make_block(fresh, count + i * BLOCK_OF, &one);
		make_block(volume, from + i * BLOCK_OF, &other);
		if (i && one.nanoseconds < first)
			first = one.nanoseconds;
		if (i && other.nanoseconds < last)
			last = other.nanoseconds;
	}
	printf("# the processor takes %llu us for one of the first, %llu for one of the last\n",
	       (unsigned long long)first / BLOCK_OF / 1000,
	       (unsigned long long)last / BLOCK_OF / 1000);
	point(last <= 2 * first, "and takes at most twice the time");
	volume_unref(fresh);
	result = on_loop(start_close, 1);
	assert(result == 0);
	(void)result;
	pool = here;
}

static void make_all(void)
{
	unsigned blocks = count / BLOCK_OF;
	struct cost *costs = calloc(blocks, sizeof(*costs)), first, last;
	struct volume *volume = pool_find_volume(pool, "v");

	assert(costs && volume && blocks > 2 * SAMPLES);
	for (unsigned i = 0; i < blocks - SAMPLES; i++)
		make_block(volume, i * BLOCK_OF, &costs[i]);
	first = sum(costs + 1); /* in the first one the map grows to its size */
	last = sum(costs + blocks - 2 * SAMPLES);
	printf("# one costs %llu bytes, %llu requests at first; %llu, %llu at the end\n",
	       (unsigned long long)first.bytes / SAMPLES / BLOCK_OF,
	       (unsigned long long)first.requests / SAMPLES / BLOCK_OF,
	       (unsigned long long)last.bytes / SAMPLES / BLOCK_OF,
	       (unsigned long long)last.requests / SAMPLES / BLOCK_OF);
	point(last.bytes <= 2 * first.bytes && last.requests <= 2 * first.requests,
	      "the last one writes at most twice of what the first ones did");
	compare_times(volume, (blocks - SAMPLES) * BLOCK_OF);
	volume_unref(volume);
	free(costs);
}

/* ---- looking ---- */
static void stamps_of(unsigned number)
{
	memset(stamps, 0, sizeof(stamps));
	for (unsigned i = 0; i <= number; i++)
		for (unsigned j = 0; j < WRITES; j++)
			stamps[written[i][j]] = i + 1;
}

static bool slot_is_right(const uint8_t *data, unsigned slot)
{
	for (unsigned at = 0; at < 4096; at += 8)
		if (get64(data + at) !=
		    (stamps[slot] ? (uint64_t)stamps[slot] << 32 | slot << 12 | at : 0))
			return false;
	return true;
}

static bool holds(unsigned number)
{
	static _Alignas(4096) uint8_t data[256 * 4096];
	struct volume *volume = find(number);
	bool right = volume != NULL;

	stamps_of(number);
	for (unsigned slot = 0; right && slot < SLOTS; slot++) {
		if (slot % 256 == 0)
			io(volume, VOLUME_READ, slot, 256, data);
		right = slot_is_right(data + (size_t)(slot % 256) * 4096, slot);
	}
	volume_unref(volume);
	return right;
}

/* The first and last, and some between, of those that are there. */
static bool look(void)
{
	for (unsigned i = 0; i <= LOOKS; i++) {
		unsigned number = (unsigned)((uint64_t)(count - 1) * i / LOOKS);

		while (number < count && gone[number])
			number++;
		if (number < count && !holds(number)) {
			printf("# s%u is not what it was\n", number);
			return false;
		}
	}
	return true;
}

/* Every slot written in (from, to], and no other. */
static bool differs(unsigned from, unsigned to)
{
	static struct volume_extent extents[SLOTS];
	static bool changed[SLOTS];
	bool right = true;

	memset(changed, 0, sizeof(changed));
	for (unsigned i = from + 1; i <= to; i++)
		for (unsigned j = 0; j < WRITES; j++)
			changed[written[i][j]] = true;
	now.diff = (struct volume_diff){
	    .from = find(from), .to = find(to), .extents = extents, .extent_max = SLOTS};
	while (!now.diff.finished && right) {
		right = on_loop(start_diff, 1) == 0;
		for (unsigned i = 0; i < now.diff.extent_count; i++)
			for (uint64_t at = 0; at < extents[i].length; at += 4096) {
				bool *mine = &changed[(extents[i].offset + at) / 4096];

				right &= *mine && extents[i].mapped;
				*mine = false;
			}
	}
	for (unsigned i = 0; i < SLOTS; i++)
		right &= !changed[i];
	volume_unref(now.diff.from);
	volume_unref(now.diff.to);
	return right;
}

static bool check(void)
{
	int result = on_loop(start_check, 1);

	printf("# %llu nodes, %llu errors, %llu slots leaked\n",
	       (unsigned long long)now.report.nodes, (unsigned long long)now.report.errors,
	       (unsigned long long)now.report.leaked_slots);
	return result == 0 && !now.report.errors && !now.report.leaked_slots;
}

/* All that are there, the oldest first. */
static bool listed(void)
{
	struct volume *volume = pool_find_volume(pool, "v"), *at = NULL;
	struct snapshot_info info, before = {0};
	unsigned number = 0;
	bool right = true;

	while ((at = snapshot_next(volume, at))) {
		char name[16];

		while (number < count && gone[number])
			number++;
		snprintf(name, sizeof(name), "s%u", number++);
		right &= snapshot_get_info(at, &info) && strcmp(info.name, name) == 0 &&
			 info.group > before.group && info.clones == 0;
		before = info;
	}
	while (number < count && gone[number])
		number++;
	volume_unref(volume);
	return right && number == count;
}

/* ---- deleting ---- */
static void settle(void)
{
	struct native *native = native_of(pool);

	for (unsigned i = 0; i < STEPS && !list_empty(&native->deleting); i++)
		sim_step(sim);
	for (unsigned i = 0; i < 3; i++)
		on_loop(start_checkpoint, 1);
}

static bool delete_some(unsigned step)
{
	bool right = true;

	for (unsigned at = 0; at < count && right;) {
		for (now.batch = 0; at < count && now.batch < BATCH; at++) {
			unsigned number = (unsigned)((uint64_t)at * 7919 % count);

			if (gone[number] || (step > 1 && rng_mix(number) % step))
				continue;
			gone[number] = true;
			now.dropped[now.batch++] = find(number);
		}
		if (now.batch)
			right = on_loop(start_deletions, now.batch) == 0;
	}
	return right;
}

static bool reopen(void)
{
	if (on_loop(start_close, 1) != 0)
		return false;
	if (on_loop(start_open, 1) != 0)
		return false;
	pool = now.call[0].pool;
	return true;
}

static uint64_t used(void)
{
	struct pool_info info;

	pool_get_info(pool, &info);
	return info.used_bytes;
}

static void tell(const char *what)
{
	static uint64_t before;
	uint64_t time = processor_time();

	printf("# %s: %llu ms\n", what, (unsigned long long)(time - before) / 1000000);
	before = time;
}

static void run(void)
{
	int result = on_loop(start_create, 1);

	assert(result == 0);
	pool = now.call[0].pool;
	result = on_loop(start_volume, 1);
	assert(result == 0);
	(void)result;
	volume_unref(now.call[0].volume);
	make_all();
	tell("made");
	point(listed(), "all are listed, in order");
	point(look(), "each holds what it held");
	point(differs(0, 1) && differs(count / 2, count / 2 + 3) && differs(0, count - 1) &&
		  differs(count / 3, count / 2),
	      "differences are what was written between");
	point(check(), "what is counted is what a walk finds");
	tell("looked at");
	point(reopen() && listed() && look(), "and so it is after a restart");
	tell("opened");
	point(delete_some(2), "half of them are deleted, in any order");
	tell("deleted");
	settle();
	tell("reaped");
	point(listed() && look() && check(), "the others are what they were");
	tell("looked at");
	point(delete_some(1), "the others, too");
	settle();
	tell("deleted");
	point(listed() && check(), "nothing is left of them");
	stamps_of(count - 1);
	for (unsigned i = 0, slots = 0; i <= SLOTS; i++) {
		slots += i < SLOTS && stamps[i];
		if (i == SLOTS)
			point(used() >= slots * 4096ull && used() <= SLOTS * 4096ull,
			      "their space is back");
	}
	result = on_loop(start_close, 1);
	assert(result == 0);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"snapshots", required_argument, NULL, 'n'}, {0}};
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		count = option == 'n' ? (unsigned)strtoul(optarg, NULL, 10) : 0;
		if (count % BLOCK_OF || count < 3 * SAMPLES * BLOCK_OF || count > COUNT_MAX)
			return 2;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	mallopt(M_MMAP_THRESHOLD, 1 << 30); /* what is given back is wanted again at once */
	mallopt(M_TRIM_THRESHOLD, 1 << 30);
	log_set_level(LOG_LEVEL_ERROR);
	written = calloc(count + SAMPLES * BLOCK_OF, sizeof(*written));
	gone = calloc(count, sizeof(*gone));
	assert(written && gone);
	sim = sim_create(1);
	sim_enter(sim);
	world = world_sim;
	world.disk_open = counted_open;
	world.disk_submit = counted_submit;
	sim_disk_create(sim, DEVICE, SIZE);
	sim_disk_create(sim, OTHER_DEVICE, OTHER_SIZE);
	if (loop_create(&world, &loop, &(struct err){0}) < 0)
		return 1;
	run();
	loop_destroy(loop);
	sim_leave(sim);
	sim_destroy(sim);
	free(written);
	free(gone);
	printf("1..%u\n", points);
	return bad_points ? 1 : 0;
}
