/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/volumes/bench_snapshot.h"
#include "volumes/guard.h"

#include <fcntl.h>

/* Pools that go on without a device: what works meanwhile and what is refused, that its copies are
 * good afterwards, opens without it. How it comes to that is the simulator's (tests/sim). All of it
 * is for the second device, and for the first, which has the journal.
 * granary-test: timeout=300 */

#define PLAIN 4 /* volumes with one copy, some of them on the device */

static unsigned victim, other; /* rows of the device that goes, and of the one that stays */

static int the_second(void **state)
{
	(void)state;
	victim = 1;
	other = 0;
	return 0;
}

static int the_first(void **state)
{
	(void)state;
	victim = 0;
	other = 1;
	return 0;
}

struct bench_away {
	struct bench bench;
	struct volume *plain[PLAIN];
	bool there[PLAIN]; /* on the second device, all of it */
};

static struct volume *create(struct bench *bench, const char *name, bool mirror)
{
	struct volume_spec spec = {.name = name, .size_bytes = VOLUME_SIZE, .mirror = mirror};
	struct bench_call call = {.call.done = bench_call_done};

	volume_create(bench->pool, &spec, &call.call);
	assert_int_equal(bench_ended(bench, &call), 0);
	return call.call.volume;
}

/* All nodes have been looked at: which devices it goes on without is known. */
static void wait_spread(struct bench *bench)
{
	const struct native *native = native_of(bench->pool);

	for (unsigned i = 0; i < 60000 && native->spread_wanted; i++)
		loop_poll(bench->loop, 1000000);
	assert_false(native->spread_wanted);
}

static void make_mirrored(struct bench *bench)
{
	assert_int_equal(bench_create(bench, 2, POOL_SIZE), 0);
	bench->volume = create(bench, "v", true);
	assert_int_equal(bench_checkpoint(bench),
			 0); /* both roots have both copies of the journal */
	wait_spread(bench);
	memset(images, 0, sizeof(images));
	change(bench, bench->volume, images[0], 150);
}

static void start(struct bench *bench)
{
	bench_setup(bench);
	make_mirrored(bench);
}

/* ---- the device ---- */
static void lose_now(void *context)
{
	struct native *native = native_of(((struct bench *)context)->pool);

	assert_int_equal(away_lost(lane_get(native), &native->pv[victim], -EIO), 0);
}

static void lose(struct bench *bench)
{
	bench_run(bench, lose_now, bench);
}

static int online(struct bench *bench, const char *path)
{
	struct bench_call call = {.call.done = bench_call_done};

	pool_online(bench->pool, path, &call.call);
	return bench_ended(bench, &call);
}

static int replace(struct bench *bench, unsigned old, unsigned with, uint64_t size)
{
	struct pool_device device = {.path = bench->path[with], .size = size};
	struct bench_call call = {.call.done = bench_call_done};

	pool_replace(bench->pool, bench->path[old], &device, false, &call.call);
	return bench_ended(bench, &call);
}

static int open_degraded(struct bench *bench)
{
	const char *paths[2] = {bench->path[0], bench->path[1]};
	struct bench_call call = {.call.done = bench_call_done};
	int result;

	pool_open_degraded(bench->world, bench->loop, paths, 2, &call.call);
	result = bench_ended(bench, &call);
	bench->pool = call.call.pool;
	return result;
}

static struct pool_info info_of(struct bench *bench)
{
	struct pool_info info;

	pool_get_info(bench->pool, &info);
	return info;
}

static enum pool_device_state state_of(struct bench *bench)
{
	struct pool_device_info info;

	assert_true(pool_device_info(bench->pool, victim, &info));
	return info.state;
}

static bool is_vital(struct bench *bench, unsigned row)
{
	struct pool_device_info info;

	assert_true(pool_device_info(bench->pool, row, &info));
	return info.vital;
}

static void wait_whole(struct bench *bench)
{
	for (unsigned i = 0; i < 60000 && info_of(bench).resilvering; i++)
		loop_poll(bench->loop, 1000000);
	assert_false(info_of(bench).resilvering || info_of(bench).degraded);
	assert_int_equal(state_of(bench), DEVICE_ACTIVE);
}

static void hide(struct bench *bench, bool hidden)
{
	const char *from = bench->path[hidden ? victim : 2], *to = bench->path[hidden ? 2 : victim];

	assert_int_equal(rename(from, to), 0);
}

static unsigned lose_try;
static int lose_try_result;

static void lose_try_now(void *context)
{
	struct native *native = native_of(((struct bench *)context)->pool);

	lose_try_result = away_lost(lane_get(native), &native->pv[lose_try], -EIO);
}

/* It is not let go of. */
static void refuse_to_lose(struct bench *bench, unsigned row)
{
	lose_try = row;
	bench_run(bench, lose_try_now, bench);
	assert_int_equal(lose_try_result, -EIO);
	assert_false(info_of(bench).degraded);
}

/* ---- volumes with one copy ---- */
struct where {
	struct bench *bench;
	struct volume *volume;
	bool there;
};

static void look_where(void *context)
{
	struct where *where = context;
	struct native *native = native_of(where->bench->pool);
	struct node *node = NULL;
	uint64_t address;
	struct pv *pv;

	native_lock(native);
	if (tree_find(&nvolume_of(where->volume)->map, 0, false, NULL, &node) == 0 && node &&
	    map_slot(&node->body->map.entry[0], 0, &address) &&
	    pv_locate(native, address, &pv, &(uint64_t){0}))
		where->there = pv == &native->pv[victim];
	native_unlock(lane_get(native));
}

static void add_plain(struct bench_away *away)
{
	struct bench *bench = &away->bench;
	struct volume *mirrored = bench->volume;

	memset(room, 0x77, 65536);
	for (unsigned i = 0; i < PLAIN; i++) {
		struct where where = {.bench = bench};

		where.volume = away->plain[i] = create(bench, (char[]){(char)('a' + i), 0}, false);
		bench->volume = where.volume;
		assert_int_equal(bench_write(bench, 0, room, 65536, 0), 0);
		bench_run(bench, look_where, &where);
		away->there[i] = where.there;
	}
	bench->volume = mirrored;
}

/* What a volume with one copy answers: a read, a write over what is there, a flush. */
static void check_plain(struct bench_away *away, unsigned i, int expected, int flushed)
{
	struct bench *bench = &away->bench;
	struct volume *mirrored = bench->volume;

	bench->volume = away->plain[i];
	assert_int_equal(bench_flush(bench), flushed);
	assert_int_equal(bench_flush(bench), 0);
	assert_int_equal(bench_read(bench, 0, room, 4096), expected);
	assert_int_equal(bench_write(bench, 4096, room, 4096, 0), expected);
	assert_int_equal(bench_write(bench, 8192 + 512, room, 512, 0), expected);
	/* what is new goes to the others */
	assert_int_equal(bench_write(bench, 1 << 20, room, 4096, VOLUME_FUA), 0);
	bench->volume = mirrored;
}

static void drop_plain(struct bench_away *away)
{
	for (unsigned i = 0; i < PLAIN; i++)
		volume_unref(away->plain[i]);
}

/* ---- tests ---- */
static void test_goes_on(void **state)
{
	struct bench_away away = {0};
	struct bench *bench = &away.bench;
	unsigned there = 0;

	(void)state;
	start(bench);
	add_plain(&away);
	lose(bench);
	assert_true(info_of(bench).degraded);
	assert_int_equal(state_of(bench), DEVICE_AWAY);
	for (unsigned i = 0; i < PLAIN; i++) {
		there += away.there[i];
		/* what was not flushed when it went may be lost, and that is said once */
		check_plain(&away, i, away.there[i] ? -EIO : 0, away.there[i] ? -EIO : 0);
	}
	assert_true(there > 0 && there < PLAIN);
	compare(bench, bench->volume, images[0]);
	change(bench, bench->volume, images[0], 150);
	assert_int_equal(bench_flush(bench), 0);
	assert_int_equal(take(bench, bench->volume, "s"), 0);
	memcpy(images[1], images[0], VOLUME_SIZE);
	change(bench, bench->volume, images[0], 100);
	compare(bench, bench->volume, images[0]);
	assert_int_equal(bench_check(bench, true), 16 * there);

	assert_int_equal(online(bench, NULL), 0);
	change(bench, bench->volume, images[0], 50);
	wait_whole(bench);
	compare(bench, bench->volume, images[0]);
	compare_named(bench, "v@s", images[1]);
	for (unsigned i = 0; i < PLAIN; i++)
		check_plain(&away, i, 0, 0);
	assert_int_equal(bench_check(bench, true), 0);
	drop_plain(&away);
	bench_finish(bench);
}

/* Killed while a device is away, or just back: the next life goes on from there. */
static void test_killed(void **state)
{
	struct bench bench;

	(void)state;
	start(&bench);
	for (unsigned round = 0; round < 6; round++) {
		lose(&bench);
		change(&bench, bench.volume, images[0], 60);
		if (round & 1)
			assert_int_equal(bench_checkpoint(&bench), 0);
		if (round & 2)
			assert_int_equal(online(&bench, NULL), 0);
		change(&bench, bench.volume, images[0], 20);
		assert_int_equal(bench_flush(&bench), 0);
		bench_drop(&bench);
		assert_int_equal(bench_open(&bench, 2), 0);
		bench.volume = found(&bench, "v");
		assert_true(round & 2 || info_of(&bench).resilvering);
		compare(&bench, bench.volume, images[0]);
		change(&bench, bench.volume, images[0], 20);
		wait_whole(&bench);
		compare(&bench, bench.volume, images[0]);
		assert_int_equal(bench_check(&bench, true), 0);
	}
	assert_int_equal(bench_close(&bench), 0);
	assert_int_equal(bench_open(&bench, 2), 0);
	assert_false(info_of(&bench).resilvering);
	bench_finish(&bench);
}

/* Opened without the device: with consent first, then because it is known to be away. */
static void test_missing(void **state)
{
	struct bench bench;

	(void)state;
	start(&bench);
	assert_int_equal(bench_flush(&bench), 0);
	bench_drop(&bench);
	hide(&bench, true);
	assert_int_equal(bench_open(&bench, 2), -ENOENT);
	assert_int_equal(open_degraded(&bench), 0);
	bench.volume = found(&bench, "v");
	assert_true(info_of(&bench).degraded);
	compare(&bench, bench.volume, images[0]);
	change(&bench, bench.volume, images[0], 100);
	assert_int_equal(online(&bench, NULL), -ENOENT);
	assert_int_equal(bench_flush(&bench), 0);
	bench_drop(&bench);
	assert_int_equal(bench_open(&bench, 2), 0);
	bench.volume = found(&bench, "v");
	compare(&bench, bench.volume, images[0]);
	assert_int_equal(bench_check(&bench, true), 0);
	hide(&bench, false);
	assert_int_equal(online(&bench, NULL), 0);
	wait_whole(&bench);
	compare(&bench, bench.volume, images[0]);
	assert_int_equal(bench_check(&bench, true), 0);
	bench_finish(&bench);
}

/* Consent changes nothing where the pool knows that the device is away. */
static void test_away_with_consent(void **state)
{
	struct bench_away away = {0};
	struct bench *bench = &away.bench;
	struct volume *mirrored;

	(void)state;
	start(bench);
	add_plain(&away);
	mirrored = bench->volume;
	for (unsigned i = 0; i < PLAIN; i++) {
		bench->volume = away.plain[i];
		assert_int_equal(bench_write(bench, 0, room, 4096, 0), 0);
		assert_int_equal(bench_flush(bench), 0);
	}
	bench->volume = mirrored;
	lose(bench);
	assert_int_equal(bench_checkpoint(bench), 0);
	bench_drop(bench);
	hide(bench, true);
	assert_int_equal(open_degraded(bench), 0);
	bench->volume = found(bench, "v");
	compare(bench, bench->volume, images[0]);
	hide(bench, false);
	assert_int_equal(online(bench, bench->path[victim]), 0);
	wait_whole(bench);
	bench_finish(bench);
}

/* A device that fails while a flush is on its way to it. */
struct late {
	struct bench *bench;
	struct bench_io io[2];
	unsigned flushes;
	enum cycle_state state; /* when the device went */
};

static void late_done(struct volume_request *request, int result)
{
	struct bench_io *io = container_of(request, struct bench_io, request);
	const struct native *native = native_of(io->volume->pool);

	bench_io_done(request, native->away_pending ? -EBUSY : result);
}

static void flush_and_lose(void *context)
{
	struct late *late = context;
	struct native *native = native_of(late->bench->pool);

	for (unsigned i = 0; i < late->flushes; i++) {
		struct bench_io *io = &late->io[i];

		io->volume = late->bench->volume;
		io->request = (struct volume_request){.op = VOLUME_FLUSH, .done = late_done};
		volume_submit(io->volume, &io->request);
	}
	late->state = native->cycle.state;
	lose_now(late->bench);
}

/* The second write is over the first: its record is for the flush to write. */
static void flush_late(struct late *late)
{
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(bench_write(late->bench, 0, images[0], 4096, 0), 0);
	bench_run(late->bench, flush_and_lose, late);
	assert_int_equal(late->state, CYCLE_COMMIT);
	for (unsigned i = 0; i < late->flushes; i++)
		bench_wait(late->bench, &late->io[i].done);
}

/* A flush is answered when the next life will know that the device was away. */
static void test_lost_in_flush(void **state)
{
	struct bench bench;
	struct late late = {.bench = &bench, .flushes = 1};

	(void)state;
	start(&bench);
	flush_late(&late);
	assert_int_equal(late.io[0].result, 0);
	assert_int_equal(online(&bench, NULL), 0);
	wait_whole(&bench);
	compare(&bench, bench.volume, images[0]);
	bench_finish(&bench);
}

/* Of two flushes at once, both were to make durable what the device had. */
static void test_two_flushes(void **state)
{
	struct bench_away away = {0};
	struct bench *bench = &away.bench;
	struct volume *mirrored;

	(void)state;
	start(bench);
	add_plain(&away);
	mirrored = bench->volume;
	for (unsigned i = 0; i < PLAIN; i++) {
		struct late late = {.bench = bench, .flushes = 2};

		if (!away.there[i])
			continue;
		bench->volume = away.plain[i];
		flush_late(&late);
		assert_int_equal(late.io[0].result, -EIO);
		assert_int_equal(late.io[1].result, -EIO);
		break;
	}
	bench->volume = mirrored;
	assert_int_equal(online(bench, NULL), 0);
	wait_whole(bench);
	drop_plain(&away);
	bench_finish(bench);
}

/* One that fails while others are added stays away. */
static void test_lost_in_add(void **state)
{
	struct bench bench;
	struct pool_device device;
	struct bench_call call = {.call.done = bench_call_done};

	(void)state;
	start(&bench);
	device = (struct pool_device){.path = bench.path[3], .size = POOL_SIZE};
	pool_add(bench.pool, &device, 1, false, &call.call);
	for (unsigned i = 0; i < 1000000 && access(bench.path[3], F_OK) < 0; i++)
		loop_poll(bench.loop, 0);
	assert_int_equal(native_of(bench.pool)->pv_count, 2);
	lose(&bench);
	assert_int_equal(bench_ended(&bench, &call), 0);
	assert_int_equal(native_of(bench.pool)->sb.pv[victim].flags, PV_AWAY | PV_STALE);
	bench_drop(&bench);
	bench_finish(&bench);
}

static void test_refusals(void **state)
{
	struct bench bench;
	struct pool_device device;
	struct bench_call call = {.call.done = bench_call_done};

	(void)state;
	start(&bench);
	assert_int_equal(online(&bench, NULL), -EINVAL);
	lose(&bench);
	device = (struct pool_device){.path = bench.path[3], .size = POOL_SIZE};
	pool_add(bench.pool, &device, 1, false, &call.call);
	assert_int_equal(bench_ended(&bench, &call), -EBUSY);
	assert_int_equal(close(open(bench.path[3], O_CREAT | O_RDWR, 0600)), 0);
	assert_int_equal(truncate(bench.path[3], POOL_SIZE), 0);
	assert_int_equal(online(&bench, bench.path[3]), -EPROTO);
	assert_int_equal(state_of(&bench), DEVICE_AWAY);
	assert_int_equal(online(&bench, bench.path[victim]), 0);
	wait_whole(&bench);
	compare(&bench, bench.volume, images[0]);
	bench_finish(&bench);
}

/* A pool that went down while data with one copy was written on the device: its state is not known
 * without it. */
static void test_in_flight(void **state)
{
	struct bench_away away = {0};
	struct bench *bench = &away.bench;
	struct volume *mirrored;

	(void)state;
	start(bench);
	add_plain(&away);
	mirrored = bench->volume;
	for (unsigned i = 0; i < PLAIN; i++) {
		bench->volume = away.plain[i];
		assert_int_equal(bench_write(bench, 0, room, 4096, 0), 0);
		assert_int_equal(bench_flush(bench), 0);
	}
	bench->volume = mirrored;
	bench_drop(bench);
	hide(bench, true);
	assert_int_equal(open_degraded(bench), -EUCLEAN);
	hide(bench, false);
	assert_int_equal(bench_open(bench, 2), 0);
	bench->volume = found(bench, "v");
	compare(bench, bench->volume, images[0]);
	assert_int_equal(bench_check(bench, true), 0);
	bench_finish(bench);
}

/* ---- another in its place ---- */
static void make_file(const char *path, uint64_t size, const char *head)
{
	int file = open(path, O_CREAT | O_TRUNC | O_RDWR, 0600);

	assert_true(file >= 0);
	assert_int_equal(ftruncate(file, (off_t)size), 0);
	assert_int_equal(write(file, head, strlen(head)), strlen(head));
	assert_int_equal(close(file), 0);
}

static void test_replace_refused(void **state)
{
	struct bench bench;

	(void)state;
	start(&bench);
	assert_int_equal(replace(&bench, victim, 2, POOL_SIZE), -EINVAL);
	lose(&bench);
	assert_int_equal(replace(&bench, other, 2, POOL_SIZE), -ENOENT);
	assert_non_null(strstr(bench.err.text, bench.path[victim]));
	make_file(bench.path[2], POOL_SIZE - 4096, "");
	assert_int_equal(replace(&bench, victim, 2, 0), -EINVAL);
	make_file(bench.path[2], POOL_SIZE, "XFSB");
	assert_int_equal(replace(&bench, victim, 2, 0), -EEXIST);
	assert_int_equal(replace(&bench, victim, other, 0), -EBUSY);
	/* the one that is away: it is the pool's, and to be taken back */
	assert_int_equal(replace(&bench, victim, victim, 0), -EEXIST);
	assert_int_equal(state_of(&bench), DEVICE_AWAY);
	assert_int_equal(online(&bench, NULL), 0);
	wait_whole(&bench);
	compare(&bench, bench.volume, images[0]);
	bench_finish(&bench);
}

/* The old one is the pool's no more, wherever it turns up. */
static void test_replaced(void **state)
{
	struct bench bench;

	(void)state;
	start(&bench);
	lose(&bench);
	change(&bench, bench.volume, images[0], 50);
	assert_int_equal(take(&bench, bench.volume, "s"), 0);
	memcpy(images[1], images[0], VOLUME_SIZE);
	assert_int_equal(replace(&bench, victim, 2, POOL_SIZE), 0);
	change(&bench, bench.volume, images[0], 100);
	wait_whole(&bench);
	compare(&bench, bench.volume, images[0]);
	compare_named(&bench, "v@s", images[1]);
	assert_int_equal(bench_check(&bench, true), 0);
	assert_string_equal(pool_device_path(bench.pool, victim), bench.path[2]);

	change(&bench, bench.volume, images[0], 20);
	assert_int_equal(bench_flush(&bench), 0);
	bench_drop(&bench);
	assert_int_equal(bench_open(&bench, 2), -ENOENT);
	assert_int_equal(bench_open(&bench, 3), 0);
	bench.volume = found(&bench, "v");
	assert_false(info_of(&bench).degraded || info_of(&bench).resilvering);
	compare(&bench, bench.volume, images[0]);
	lose(&bench);
	assert_int_equal(online(&bench, bench.path[victim]), -EPROTO);
	change(&bench, bench.volume, images[0], 20);
	assert_int_equal(bench_flush(&bench), 0);
	bench_drop(&bench);
	assert_int_equal(bench_open(&bench, 3), 0);
	bench.volume = found(&bench, "v");
	wait_whole(&bench);
	compare(&bench, bench.volume, images[0]);
	assert_int_equal(bench_check(&bench, true), 0);
	bench_finish(&bench);
}

/* At its own path, where there is nothing of it any more; and where that is not known. */
static void test_replaced_in_place(void **state)
{
	struct bench bench;
	struct pool_device device;
	struct bench_call call = {.call.done = bench_call_done};

	(void)state;
	start(&bench);
	lose(&bench);
	assert_int_equal(bench_flush(&bench), 0);
	assert_int_equal(unlink(bench.path[victim]), 0);
	assert_int_equal(replace(&bench, victim, victim, POOL_SIZE), 0);
	wait_whole(&bench);
	compare(&bench, bench.volume, images[0]);
	assert_int_equal(bench_check(&bench, true), 0);
	bench_drop(&bench);
	hide(&bench, true);
	pool_open(bench.world, bench.loop, (const char *[]){bench.path[other]}, 1, &call.call);
	assert_int_equal(bench_ended(&bench, &call), -ENOENT);
	call = (struct bench_call){.call.done = bench_call_done};
	pool_open_degraded(bench.world, bench.loop, (const char *[]){bench.path[other]}, 1,
			   &call.call);
	assert_int_equal(bench_ended(&bench, &call), 0);
	bench.pool = call.call.pool;
	bench.volume = found(&bench, "v");
	device = (struct pool_device){.path = bench.path[3], .size = POOL_SIZE};
	assert_int_equal(replace(&bench, victim, 3, POOL_SIZE), -ENOENT);
	call = (struct bench_call){.call.done = bench_call_done};
	pool_replace(bench.pool, "missing", &device, false, &call.call);
	assert_int_equal(bench_ended(&bench, &call), 0);
	wait_whole(&bench);
	compare(&bench, bench.volume, images[0]);
	assert_int_equal(bench_check(&bench, true), 0);
	bench_finish(&bench);
}

/* What has its only copy on the dead one is not given up unasked. */
static void test_replace_plain(void **state)
{
	struct bench_away away = {0};
	struct bench *bench = &away.bench;
	char said[40];
	unsigned there = 0;
	int result = -EBUSY;

	(void)state;
	start(bench);
	add_plain(&away);
	lose(bench);
	for (unsigned i = 0; i < PLAIN; i++)
		there += away.there[i];
	assert_int_equal(replace(bench, victim, 2, POOL_SIZE), -EBUSY);
	snprintf(said, sizeof(said), "%u volume", there);
	assert_non_null(strstr(bench->err.text, said));
	assert_int_equal(access(bench->path[2], F_OK), -1);
	drop_plain(&away);
	for (unsigned i = 0; i < PLAIN; i++)
		if (away.there[i])
			assert_int_equal(remove_volume(bench, (char[]){(char)('a' + i), 0}), 0);
	for (unsigned i = 0; i < 60000 && result == -EBUSY;
	     i++) { /* it is given up after a while */
		loop_poll(bench->loop, 1000000);
		result = replace(bench, victim, 2, POOL_SIZE);
	}
	assert_int_equal(result, 0);
	wait_whole(bench);
	compare(bench, bench->volume, images[0]);
	assert_int_equal(bench_check(bench, true), 0);
	bench_finish(bench);
}

/* The highest generation on each side of a device's labels. */
static void read_sides(const char *path, uint64_t generation[2])
{
	uint8_t block[BLOCK];
	struct superblock sb;
	int file = open(path, O_RDONLY);

	assert_true(file >= 0);
	generation[0] = generation[1] = 0;
	for (unsigned copy = 0; copy < 4; copy++) {
		assert_int_equal(
		    pread(file, block, BLOCK, (off_t)superblock_position(POOL_SIZE, copy)), BLOCK);
		if (superblock_decode(block, &sb, NULL) == 0 &&
		    sb.generation > generation[sb.generation & 1])
			generation[sb.generation & 1] = sb.generation;
	}
	assert_int_equal(close(file), 0);
}

/* One that is whole again, so that the other may go, has both roots. */
static void test_whole_in_both_roots(void **state)
{
	struct bench bench;
	uint64_t generation[2], newest;

	(void)state;
	start(&bench);
	for (unsigned round = 0; round < 2; round++) {
		lose(&bench);
		for (unsigned i = 0; i < 3; i++)
			assert_int_equal(bench_checkpoint(&bench), 0);
		if (round) {
			bench_drop(&bench);
			assert_int_equal(bench_open(&bench, 2), 0);
			bench.volume = found(&bench, "v");
		} else {
			assert_int_equal(online(&bench, NULL), 0);
		}
		while (info_of(&bench).resilvering)
			loop_poll(bench.loop, 0);
		newest = info_of(&bench).generation;
		read_sides(bench.path[victim], generation);
		assert_true(generation[newest & 1] >= newest);
		assert_true(generation[~newest & 1] + 1 >= newest);
		wait_whole(&bench);
	}
	bench_finish(&bench);
}

static bool has_ring(const struct bench *bench, const char *path)
{
	const struct journal *journal = &native_of(bench->pool)->journal;
	uint8_t block[BLOCK];
	int file = open(path, O_RDONLY);
	bool some = false;

	assert_true(file >= 0);
	for (uint64_t i = 0; i < 16; i++) {
		assert_int_equal(pread(file, block, BLOCK, (off_t)(journal->offset + i * BLOCK)),
				 BLOCK);
		some |= block[0] != 0;
	}
	assert_int_equal(close(file), 0);
	return some;
}

/* In the place of itself: it is never the pool's, by its labels, with a journal that is gone. And
 * one that was the pool's is not added unasked, as one whose addition was interrupted is. */
static void test_replaced_by_itself(void **state)
{
	struct bench bench;
	struct pool_device device;
	struct bench_call call = {.call.done = bench_call_done};
	uint64_t generation[2];
	bool cleared = false;

	(void)state;
	start(&bench);
	lose(&bench);
	assert_int_equal(bench_flush(&bench), 0);
	assert_true(has_ring(&bench, bench.path[victim]));
	device = (struct pool_device){.path = bench.path[victim]};
	pool_replace(bench.pool, bench.path[victim], &device, true, &call.call);
	while (!call.done && !cleared) {
		loop_poll(bench.loop, 0);
		if (has_ring(&bench, bench.path[victim]))
			continue;
		read_sides(bench.path[victim], generation);
		cleared = true;
		assert_true(generation[0] <= 1 && generation[1] <= 1);
	}
	assert_true(cleared);
	assert_int_equal(bench_ended(&bench, &call), 0);
	wait_whole(&bench);
	compare(&bench, bench.volume, images[0]);
	lose(&bench);
	assert_int_equal(replace(&bench, victim, 2, POOL_SIZE), 0);
	wait_whole(&bench);
	call = (struct bench_call){.call.done = bench_call_done};
	pool_add(bench.pool, &device, 1, false, &call.call);
	assert_int_equal(bench_ended(&bench, &call), -EEXIST);
	assert_int_equal(bench_check(&bench, true), 0);
	bench_finish(&bench);
}

/* A larger one, which is grown into; then all rows of it go together. */
static void test_replaced_by_larger(void **state)
{
	struct bench bench;
	struct bench_call call = {.call.done = bench_call_done};

	(void)state;
	start(&bench);
	lose(&bench);
	assert_int_equal(replace(&bench, victim, 2, POOL_SIZE + (64u << 20)), 0);
	wait_whole(&bench);
	pool_grow(bench.pool, &call.call);
	assert_int_equal(bench_ended(&bench, &call), 0);
	assert_int_equal(call.call.total, 64u << 20);
	change(&bench, bench.volume, images[0], 200);
	lose(&bench);
	assert_int_equal(replace(&bench, 2, victim, POOL_SIZE), -EINVAL);
	assert_int_equal(replace(&bench, 2, 3, POOL_SIZE + (65u << 20)), 0);
	change(&bench, bench.volume, images[0], 50);
	wait_whole(&bench);
	compare(&bench, bench.volume, images[0]);
	assert_int_equal(bench_check(&bench, true), 0);
	assert_int_equal(bench_close(&bench), 0);
	assert_int_equal(bench_open(&bench, 4), 0);
	bench.volume = found(&bench, "v");
	compare(&bench, bench.volume, images[0]);
	bench_finish(&bench);
}

/* Killed anywhere in it: it goes on without the old one, or with the new one. */
static void test_replace_killed(void **state)
{
	struct bench bench;
	struct pool_device device;
	struct bench_call call = {.call.done = bench_call_done};
	unsigned taken = 0;

	(void)state;
	start(&bench);
	lose(&bench);
	assert_int_equal(bench_flush(&bench), 0);
	device = (struct pool_device){.path = bench.path[2], .size = POOL_SIZE};
	pool_label_replacement(bench.pool, bench.path[victim], &device, false, &call.call);
	assert_int_equal(bench_ended(&bench, &call), 0);
	assert_int_equal(state_of(&bench), DEVICE_AWAY);
	for (unsigned round = 0; round < 12; round++) {
		call = (struct bench_call){.call.done = bench_call_done};
		pool_replace(bench.pool, pool_device_path(bench.pool, victim), &device, true,
			     &call.call);
		change(&bench, bench.volume, images[0], 3);
		assert_int_equal(bench_flush(&bench), 0);
		for (unsigned i = 0; i < round * 16; i++)
			loop_poll(bench.loop, 1000000);
		bench_drop(&bench);
		bench_wait(&bench, &call.done);
		/* without the old one, which would be taken back */
		assert_int_equal(rename(bench.path[victim], bench.path[3]), 0);
		assert_int_equal(bench_open(&bench, 3), 0);
		assert_int_equal(rename(bench.path[3], bench.path[victim]), 0);
		bench.volume = found(&bench, "v");
		compare(&bench, bench.volume, images[0]);
		taken += !info_of(&bench).degraded;
		if (info_of(&bench).degraded)
			continue;
		wait_whole(&bench);
		assert_int_equal(bench_check(&bench, true), 0);
		lose(&bench);
		assert_int_equal(bench_flush(&bench), 0);
	}
	assert_true(taken > 0);
	bench_finish(&bench);
}

/* ---- the journal, twice ---- */
static void fill(const char *path, uint64_t from, uint64_t length, uint8_t with)
{
	int file = open(path, O_RDWR);
	uint8_t bytes[65536];

	assert_true(file >= 0);
	memset(bytes, with, sizeof(bytes));
	for (uint64_t at = 0; at < length; at += sizeof(bytes))
		assert_int_equal(pwrite(file, bytes, sizeof(bytes), (off_t)(from + at)),
				 sizeof(bytes));
	assert_int_equal(close(file), 0);
}

static void read_block(const char *path, uint64_t at, void *block)
{
	int file = open(path, O_RDONLY);

	assert_true(file >= 0);
	assert_int_equal(pread(file, block, BLOCK, (off_t)at), BLOCK);
	assert_int_equal(close(file), 0);
}

static void write_block(const char *path, uint64_t at, const void *block)
{
	int file = open(path, O_RDWR);

	assert_true(file >= 0);
	assert_int_equal(pwrite(file, block, BLOCK, (off_t)at), BLOCK);
	assert_int_equal(close(file), 0);
}

/* It rots. */
static void rot_block(const char *path, uint64_t at)
{
	uint8_t block[BLOCK];

	memset(block, 0xa5, sizeof(block));
	write_block(path, at, block);
}

/* What is in neither tree nor root is in both journals: one may be unreadable, of either device. */
static void test_journal_rotten(void **state)
{
	struct bench bench;
	uint64_t from, length;

	(void)state;
	start(&bench);
	for (unsigned round = 0; round < 4; round++) {
		change(&bench, bench.volume, images[0], 40);
		assert_int_equal(bench_flush(&bench), 0);
		from = native_of(bench.pool)->journal.offset;
		length = native_of(bench.pool)->journal.blocks * BLOCK;
		bench_drop(&bench);
		fill(bench.path[round & 1 ? victim : other], from, length, round & 2 ? 0 : 0xa5);
		assert_int_equal(bench_open(&bench, 2), 0);
		assert_true(info_of(&bench).replayed_records > 0);
		bench.volume = found(&bench, "v");
		compare(&bench, bench.volume, images[0]);
	}
	assert_int_equal(bench_check(&bench, true), 0);
	bench_finish(&bench);
}

static int open_one(struct bench *bench, unsigned path, bool degraded)
{
	struct bench_call call = {.call.done = bench_call_done};
	const char *paths[] = {bench->path[path]};
	int result;

	if (degraded)
		pool_open_degraded(bench->world, bench->loop, paths, 1, &call.call);
	else
		pool_open(bench->world, bench->loop, paths, 1, &call.call);
	result = bench_ended(bench, &call);
	bench->pool = call.call.pool;
	return result;
}

/* Each has gone on without the other, by an administrator's word: they are not put together. */
static void test_split(void **state)
{
	struct bench bench;
	struct pool_device device;
	struct bench_call call = {.call.done = bench_call_done};

	(void)state;
	start(&bench);
	assert_int_equal(bench_close(&bench), 0);
	memcpy(images[1], images[0], VOLUME_SIZE);
	for (unsigned i = 0; i < 2; i++) {
		unsigned path = i ? victim : other;

		assert_int_equal(open_one(&bench, path, false), -ENOENT);
		assert_int_equal(open_one(&bench, path, true), 0);
		bench.volume = found(&bench, "v");
		compare(&bench, bench.volume, images[1]);
		memcpy(images[0], images[1], VOLUME_SIZE);
		change(&bench, bench.volume, images[0], 30);
		if (i == 0)
			memcpy(images[2], images[0], VOLUME_SIZE);
		assert_int_equal(bench_flush(&bench), 0);
		if (i == 0)
			assert_int_equal(bench_close(&bench), 0);
		else
			bench_drop(&bench);
	}
	assert_int_equal(bench_open(&bench, 2), -EUCLEAN);
	assert_non_null(strstr(bench.err.text, "without each other"));
	assert_int_equal(open_degraded(&bench), -EUCLEAN);

	/* by itself either is what it became; the other one is not taken back, but as a new one */
	assert_int_equal(open_one(&bench, victim, false), 0);
	bench.volume = found(&bench, "v");
	compare(&bench, bench.volume, images[0]);
	bench_drop(&bench);
	assert_int_equal(open_one(&bench, other, false), 0);
	bench.volume = found(&bench, "v");
	compare(&bench, bench.volume, images[2]);
	assert_int_equal(online(&bench, bench.path[victim]), -EUCLEAN);
	device = (struct pool_device){.path = bench.path[victim]};
	pool_replace(bench.pool, "missing", &device, true, &call.call);
	assert_int_equal(bench_ended(&bench, &call), 0);
	wait_whole(&bench);
	change(&bench, bench.volume, images[2], 30);
	assert_int_equal(bench_flush(&bench), 0);
	bench_drop(&bench);
	assert_int_equal(bench_open(&bench, 2), 0);
	bench.volume = found(&bench, "v");
	compare(&bench, bench.volume, images[2]);
	assert_int_equal(bench_check(&bench, true), 0);
	bench_finish(&bench);
}

static void note_now(void *context)
{
	struct native *native = native_of(((struct bench *)context)->pool);
	struct finding finding = {.kind = FINDING_LABEL, .offset = native->ledger->count};

	native_lock(native);
	finding_note(native, &finding);
	native_unlock(lane_get(native));
}

static unsigned findings(struct bench *bench)
{
	struct pool_finding finding;
	unsigned count = 0;

	while (pool_finding(bench->pool, count, &finding))
		count++;
	return count;
}

/* What was found is known without either device; what one has found that went on elsewhere does not
 * come back with it. */
static void test_findings(void **state)
{
	struct bench bench;
	struct pool_device device;
	struct bench_call call = {.call.done = bench_call_done};

	(void)state;
	start(&bench);
	bench_run(&bench, note_now, &bench);
	assert_int_equal(bench_close(&bench), 0);
	for (unsigned i = 0; i < 6; i++) {
		assert_int_equal(open_one(&bench, victim, i == 0), 0);
		assert_int_equal(findings(&bench), 1 + i);
		bench_run(&bench, note_now, &bench);
		assert_int_equal(bench_close(&bench), 0);
	}
	assert_int_equal(open_one(&bench, other, true), 0);
	assert_int_equal(findings(&bench), 1);
	device = (struct pool_device){.path = bench.path[victim]};
	pool_replace(bench.pool, "missing", &device, true, &call.call);
	assert_int_equal(bench_ended(&bench, &call), 0);
	wait_whole(&bench);
	assert_int_equal(bench_close(&bench), 0);
	assert_int_equal(bench_open(&bench, 2), 0);
	assert_int_equal(findings(&bench), 1);
	bench_finish(&bench);
}

static int open_paths(struct bench *bench, const unsigned *path, unsigned count)
{
	struct bench_call call = {.call.done = bench_call_done};
	const char *paths[4];
	int result;

	for (unsigned i = 0; i < count; i++)
		paths[i] = bench->path[path[i]];
	pool_open(bench->world, bench->loop, paths, count, &call.call);
	result = bench_ended(bench, &call);
	bench->pool = call.call.pool;
	return result;
}

/* The device at @path has gone on alone, for @roots roots. */
static void go_on_alone(struct bench *bench, unsigned path, char *image, unsigned roots)
{
	assert_int_equal(open_one(bench, path, true), 0);
	bench->volume = found(bench, "v");
	for (unsigned i = 0; i < roots; i++) {
		change(bench, bench->volume, image, 5);
		assert_int_equal(bench_checkpoint(bench), 0);
	}
	assert_int_equal(bench_close(bench), 0);
}

/* ... with another in the place of the one that is missing, and then (@both) in its own. */
static void go_on_with_others(struct bench *bench, unsigned path, char *image, bool both,
			      unsigned roots)
{
	struct pool_device device = {.path = bench->path[2], .size = POOL_SIZE};
	struct bench_call call = {.call.done = bench_call_done};
	unsigned before = victim;

	assert_int_equal(open_one(bench, path, true), 0);
	bench->volume = found(bench, "v");
	change(bench, bench->volume, image, 30);
	pool_replace(bench->pool, "missing", &device, false, &call.call);
	assert_int_equal(bench_ended(bench, &call), 0);
	victim = !path;
	wait_whole(bench);
	if (both) {
		victim = path;
		lose(bench);
		assert_int_equal(replace(bench, path, 3, POOL_SIZE), 0);
		wait_whole(bench);
	}
	victim = before;
	for (unsigned i = 0; i < roots; i++) {
		change(bench, bench->volume, image, 5);
		assert_int_equal(bench_checkpoint(bench), 0);
	}
	assert_int_equal(bench_close(bench), 0);
}

/* Each has gone on without the other, and one has another device in its place since, or none of
 * those that it had: whichever is ahead, they are not put together, and neither gets lost. */
static void split_replaced(bool both, unsigned alone, unsigned others)
{
	const unsigned all[4] = {0, 1, 2, 3}, turned[4] = {3, 2, 1, 0};
	unsigned count = both ? 4 : 3;
	unsigned mine[2] = {both ? 3 : other, 2}, without[3] = {3, victim, 2};
	struct bench bench;

	start(&bench);
	assert_int_equal(bench_close(&bench), 0);
	memcpy(images[1], images[0], VOLUME_SIZE);
	go_on_alone(&bench, victim, images[0], alone);
	go_on_with_others(&bench, other, images[1], both, others);
	assert_int_equal(open_paths(&bench, all, count), -EUCLEAN);
	assert_non_null(strstr(bench.err.text, "without each other"));
	assert_int_equal(open_paths(&bench, turned + 4 - count, count), -EUCLEAN);
	if (both)
		assert_int_equal(open_paths(&bench, without, 3), -EUCLEAN);

	assert_int_equal(open_one(&bench, victim, false), 0);
	bench.volume = found(&bench, "v");
	compare(&bench, bench.volume, images[0]);
	assert_int_equal(bench_close(&bench), 0);
	assert_int_equal(open_paths(&bench, mine, 2), 0);
	bench.volume = found(&bench, "v");
	assert_false(info_of(&bench).degraded || info_of(&bench).resilvering);
	compare(&bench, bench.volume, images[1]);
	lose(&bench); /* nor while the pool is there */
	assert_int_equal(online(&bench, bench.path[victim]), -EPROTO);
	assert_int_equal(bench_check(&bench, true), 0);
	bench_drop(&bench);
	bench_finish(&bench);
}

static void test_split_replaced(void **state)
{
	(void)state;
	split_replaced(false, 60, 0);
}

static void test_split_replaced_ahead(void **state)
{
	(void)state;
	split_replaced(false, 0, 60);
}

static void test_split_both_replaced(void **state)
{
	(void)state;
	split_replaced(true, 80, 0);
}

/* One that failed while the pool went on, is opened alone: it does not know that it is away. */
static void test_split_lost(void **state)
{
	const unsigned pair[2] = {0, 1};
	struct bench bench;

	(void)state;
	for (unsigned ahead = 0; ahead < 2; ahead++) {
		start(&bench);
		lose(&bench);
		memcpy(images[1], images[0], VOLUME_SIZE);
		assert_int_equal(bench_flush(&bench), 0);
		for (unsigned i = 0; i < (ahead ? 40 : 4); i++) {
			change(&bench, bench.volume, images[0], 5);
			assert_int_equal(bench_checkpoint(&bench), 0);
		}
		assert_int_equal(bench_close(&bench), 0);
		go_on_alone(&bench, victim, images[1], ahead ? 0 : 40);
		assert_int_equal(open_paths(&bench, pair, 2), -EUCLEAN);
		assert_int_equal(open_one(&bench, other, false), 0);
		assert_int_equal(online(&bench, bench.path[victim]), -EUCLEAN);
		bench.volume = found(&bench, "v");
		compare(&bench, bench.volume, images[0]);
		bench_finish(&bench);
	}
}

/* As of a pool that went down before the root that says that a device has failed: the labels of
 * @path are what they were before. */
static uint8_t *keep_labels(const char *path)
{
	uint8_t *kept = malloc(2 * PV_AREA);
	int file = open(path, O_RDWR);

	assert_true(kept && file >= 0);
	assert_int_equal(pread(file, kept, PV_AREA, 0), PV_AREA);
	assert_int_equal(pread(file, kept + PV_AREA, PV_AREA, (off_t)(POOL_SIZE - PV_AREA)),
			 PV_AREA);
	assert_int_equal(close(file), 0);
	return kept;
}

static void put_labels(const char *path, uint8_t *kept)
{
	int file = open(path, O_RDWR);

	assert_true(file >= 0);
	assert_int_equal(pwrite(file, kept, PV_AREA, 0), PV_AREA);
	assert_int_equal(pwrite(file, kept + PV_AREA, PV_AREA, (off_t)(POOL_SIZE - PV_AREA)),
			 PV_AREA);
	assert_int_equal(close(file), 0);
	free(kept);
}

/* What was acknowledged without a device is not taken for what is old when that has been opened
 * alone, though nothing but a record in the journal says that it was away. */
static void test_split_unwritten(void **state)
{
	struct bench bench;
	uint8_t *kept;

	(void)state;
	start(&bench);
	assert_int_equal(bench_flush(&bench), 0);
	memcpy(images[1], images[0], VOLUME_SIZE);
	kept = keep_labels(bench.path[other]);
	lose(&bench);
	change(&bench, bench.volume, images[0], 30);
	assert_int_equal(bench_flush(&bench), 0);
	bench_drop(&bench);
	put_labels(bench.path[other], kept);
	assert_int_equal(open_one(&bench, victim, true), 0);
	bench.volume = found(&bench, "v");
	compare(&bench, bench.volume, images[1]);
	assert_int_equal(online(&bench, bench.path[other]), -EUCLEAN);
	assert_int_equal(bench_close(&bench), 0);
	assert_int_equal(bench_open(&bench, 2), -EUCLEAN);
	assert_non_null(strstr(bench.err.text, "without each other"));
	assert_int_equal(open_one(&bench, other, true), 0);
	bench.volume = found(&bench, "v");
	compare(&bench, bench.volume, images[0]);
	bench_finish(&bench);
}

/* A root that a crash has cut off comes to all of its copies before it gets old: when the next but
 * one is cut off as well, each device has a copy of either side, and is opened alone. */
static void test_root_cut_off(void **state)
{
	uint64_t generation, first;
	struct bench bench;
	uint8_t *kept[2];

	(void)state;
	start(&bench);
	generation = native_of(bench.pool)->sb.generation + 1;
	first = superblock_position(POOL_SIZE, generation & 1);
	for (unsigned i = 0; i < 2; i++)
		kept[i] = keep_labels(bench.path[i]);
	change(&bench, bench.volume, images[0], 30);
	assert_int_equal(bench_checkpoint(&bench), 0);
	assert_int_equal(native_of(bench.pool)->sb.generation, generation);
	bench_drop(&bench);
	/* the first copy of it, on one device, was written, and nothing else */
	read_block(bench.path[other], first, room);
	for (unsigned i = 0; i < 2; i++)
		put_labels(bench.path[i], kept[i]);
	write_block(bench.path[other], first, room);

	assert_int_equal(bench_open(&bench, 2), 0);
	assert_int_equal(native_of(bench.pool)->sb.generation, generation + 1);
	bench_drop(&bench);
	for (unsigned i = 0; i < 2; i++)
		rot_block(bench.path[i], first);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(open_one(&bench, i ? victim : other, true), 0);
		bench.volume = found(&bench, "v");
		compare(&bench, bench.volume, images[0]);
		assert_int_equal(bench_close(&bench), 0);
	}
	bench_finish(&bench);
}

/* One that fails while the last root is under way is away by the next label, too. */
static void test_lost_in_close(void **state)
{
	struct bench bench;
	struct bench_call call = {.call.done = bench_call_done};
	struct superblock sb, newest = {0};
	struct native *native;
	uint8_t block[BLOCK];
	int file;

	(void)state;
	start(&bench);
	native = native_of(bench.pool);
	volume_unref(bench.volume);
	bench.volume = NULL;
	pool_close(bench.pool, &call.call);
	while (!native->checkpointing && !call.done)
		loop_poll(bench.loop, 0);
	assert_false(call.done);
	lose(&bench);
	assert_int_equal(bench_ended(&bench, &call), 0);
	file = open(bench.path[other], O_RDONLY);
	for (unsigned copy = 0; copy < 4; copy++) {
		assert_int_equal(
		    pread(file, block, BLOCK, (off_t)superblock_position(POOL_SIZE, copy)), BLOCK);
		assert_int_equal(superblock_decode(block, &sb, NULL), 0);
		newest = sb.generation > newest.generation ? sb : newest;
	}
	assert_int_equal(close(file), 0);
	assert_int_equal(newest.clean, 1);
	assert_int_equal(newest.pv[victim].flags, PV_AWAY | PV_STALE);
	bench.pool = NULL;
	bench_finish(&bench);
}

/* Killed with nothing but the labels written that say so: it is not mistaken for the device that
 * knows nothing, and takes that one back. */
static void test_fork_killed(void **state)
{
	const unsigned pair[2] = {0, 1};
	struct bench bench;
	struct superblock sb, root;
	uint8_t block[BLOCK];
	int file;

	(void)state;
	start(&bench);
	assert_int_equal(bench_flush(&bench), 0);
	bench_drop(&bench);
	file = open(bench.path[other], O_RDWR);
	root.generation = 0;
	for (unsigned copy = 0; copy < 4; copy++) {
		assert_int_equal(
		    pread(file, block, BLOCK, (off_t)superblock_position(POOL_SIZE, copy)), BLOCK);
		assert_int_equal(superblock_decode(block, &sb, NULL), 0);
		root = sb.generation > root.generation ? sb : root;
	}
	superblock_fork(&root, 77);
	root.pv[victim].flags = PV_AWAY | PV_STALE;
	superblock_encode(&root, block);
	for (unsigned copy = root.generation & 1; copy < 4; copy += 2)
		assert_int_equal(
		    pwrite(file, block, BLOCK, (off_t)superblock_position(POOL_SIZE, copy)), BLOCK);
	assert_int_equal(close(file), 0);
	assert_int_equal(open_paths(&bench, pair, 2), 0);
	bench.volume = found(&bench, "v");
	assert_int_equal(native_of(bench.pool)->sb.lineage[0], 77);
	assert_true(info_of(&bench).resilvering);
	wait_whole(&bench);
	compare(&bench, bench.volume, images[0]);
	bench_finish(&bench);
}

/* What the one that stayed has written over is not found with the one that was away, whose copy
 * would still have it. */
static void moved_on(bool a_little)
{
	struct bench bench;
	const struct superblock *sb;
	uint64_t generation, end;
	uint8_t *side[2];
	int file;

	start(&bench);
	for (unsigned i = 0; i < 20; i++) { /* blocks of the chain that is written over */
		change(&bench, bench.volume, images[0], 3);
		assert_int_equal(bench_flush(&bench), 0);
	}
	sb = &native_of(bench.pool)->sb;
	end = a_little ? sb->journal_tail + sb->journal_blocks + 4 : 2 * sb->journal_blocks;
	lose(&bench);
	generation = sb->generation;
	/* its ring goes round, while the older root's labels are kept aside */
	side[0] = malloc(PV_AREA);
	side[1] = malloc(PV_AREA);
	assert_true(side[0] && side[1]);
	file = open(bench.path[other], O_RDWR);
	assert_int_equal(pread(file, side[0], PV_AREA, 0), PV_AREA);
	assert_int_equal(pread(file, side[1], PV_AREA, (off_t)(POOL_SIZE - PV_AREA)), PV_AREA);
	while (native_of(bench.pool)->journal.next_seq < end) {
		bool near = native_of(bench.pool)->journal.next_seq + 100 > end;

		change(&bench, bench.volume, images[0], a_little && near ? 1 : 200);
		assert_int_equal(bench_flush(&bench), 0);
	}
	assert_true(sb->generation > generation + 1);
	bench_drop(&bench);
	assert_int_equal(pwrite(file, side[0], PV_AREA, 0), PV_AREA);
	assert_int_equal(pwrite(file, side[1], PV_AREA, (off_t)(POOL_SIZE - PV_AREA)), PV_AREA);
	assert_int_equal(close(file), 0);
	free(side[0]);
	free(side[1]);
	assert_int_equal(bench_open(&bench, 2), -EUCLEAN);
	assert_non_null(strstr(bench.err.text, "moved on"));
	bench.volume = NULL;
	bench.pool = NULL;
	bench_finish(&bench);
}

static void test_journal_moved_on(void **state)
{
	(void)state;
	moved_on(false);
}

/* Of what the other has, nothing but the beginning is written over. */
static void test_journal_moved_a_little(void **state)
{
	(void)state;
	moved_on(true);
}

static int rewind_pool(struct bench *bench)
{
	const char *paths[2] = {bench->path[0], bench->path[1]};
	struct bench_call call = {.call.done = bench_call_done};
	int result;

	pool_rewind(bench->world, bench->loop, paths, 2, &call.call);
	result = bench_ended(bench, &call);
	bench->pool = call.call.pool;
	return result;
}

/* As of a root of @generation that says @flags of the device at @row, and one before it that says
 * @before: on all copies at @path. */
static void set_flags(const char *path, uint64_t generation, unsigned row, uint8_t flags,
		      uint8_t before)
{
	int file = open(path, O_RDWR);
	uint8_t block[BLOCK];

	assert_true(file >= 0);
	for (unsigned copy = 0; copy < 4; copy++) {
		off_t at = (off_t)superblock_position(POOL_SIZE, copy);
		struct superblock sb;

		assert_int_equal(pread(file, block, BLOCK, at), BLOCK);
		assert_int_equal(superblock_decode(block, &sb, NULL), 0);
		sb.pv[row].flags = sb.generation == generation ? flags : before;
		superblock_encode(&sb, block);
		assert_int_equal(pwrite(file, block, BLOCK, at), BLOCK);
	}
	assert_int_equal(close(file), 0);
}

/* What the pool would lose with the end of its journal. */
struct tail {
	uint64_t generation, first; /* of the root, and of the end */
	uint64_t at[2];             /* of the end, on a device: from, to */
};

/* Down with a discard that nobody waited for at the end of both journals. */
static struct tail discard_at_end(struct bench *bench)
{
	const struct native *native = native_of(bench->pool);
	struct tail tail = {.generation = native->sb.generation};
	const struct journal *journal = &native->journal;
	uint64_t end, ring = journal->offset;

	memset(room, 0x5a, sizeof(room));
	assert_int_equal(bench_write(bench, 0, room, 65536, 0), 0);
	memcpy(images[0], room, 65536);
	assert_int_equal(bench_flush(bench), 0);
	tail.first = journal->next_seq;
	assert_int_equal(bench_discard(bench, 0, 65536), 0);
	assert_int_equal(bench_flush(bench), 0);
	end = journal->next_seq;
	assert_int_equal(native->sb.generation, tail.generation);
	assert_true(tail.first < end && end < journal->blocks);
	tail.at[0] = ring + tail.first * BLOCK;
	tail.at[1] = ring + end * BLOCK;
	bench_drop(bench);
	return tail;
}

/* ... and only of the victim's, of which the root says @flags. */
static struct tail discard_at_one_end(struct bench *bench, uint8_t flags)
{
	struct tail tail = discard_at_end(bench);

	for (uint64_t at = tail.at[0]; at < tail.at[1]; at += BLOCK)
		rot_block(bench->path[other], at);
	for (unsigned i = 0; i < 2; i++)
		set_flags(bench->path[i], tail.generation, victim, flags, flags);
	return tail;
}

/* A discard that nobody waited for is in the journal of one device only after a crash, and the pool
 * is opened without that one: it did not happen, and what is there has been read. It is not to
 * happen after all when the root of that open is lost and the device is back. */
static void left_behind(uint8_t flags)
{
	struct bench bench;
	struct tail tail;

	start(&bench);
	tail = discard_at_one_end(&bench, flags);
	hide(&bench, true);
	assert_int_equal(open_degraded(&bench), 0);
	bench.volume = found(&bench, "v");
	compare(&bench, bench.volume, images[0]);
	assert_int_equal(native_of(bench.pool)->sb.generation, tail.generation + 1);
	assert_int_equal(native_of(bench.pool)->journal.next_seq, tail.first);
	bench_drop(&bench);
	for (unsigned copy = (tail.generation + 1) & 1; copy < 4; copy += 2)
		rot_block(bench.path[other], superblock_position(POOL_SIZE, copy));
	hide(&bench, false);
	assert_int_equal(bench_open(&bench, 2), -EUCLEAN);
	assert_non_null(strstr(bench.err.text, "rewind"));
	assert_int_equal(rewind_pool(&bench), 0);
	bench.volume = found(&bench, "v");
	compare(&bench, bench.volume, images[0]);
	wait_whole(&bench);
	compare(&bench, bench.volume, images[0]);
	assert_int_equal(bench_check(&bench, true), 0);
	bench_finish(&bench);
}

static void test_journal_left_behind(void **state)
{
	(void)state;
	left_behind(0);
}

/* The same while it is being made good. */
static void test_journal_left_behind_stale(void **state)
{
	(void)state;
	left_behind(PV_STALE);
}

/* ---- a place that can not be read, for now ---- */
static const struct world_ops *sound;
static struct world_ops worn;
static struct {
	const char *path[2];
	unsigned count;
	uint64_t from, to;
} scratch;
static const char *watched; /* a device, .. */
static unsigned flushes;    /* .. and how often it was flushed */

struct failing {
	struct message message;
	struct disk_request *request;
};

static void fail_now(struct message *message)
{
	struct failing *failing = container_of(message, struct failing, message);
	struct disk_request *request = failing->request;

	heap_free(failing);
	request->done(request, -EIO);
}

static bool is_scratched(const struct disk *disk)
{
	for (unsigned i = 0; i < scratch.count; i++)
		if (strcmp(disk->path, scratch.path[i]) == 0)
			return true;
	return false;
}

static void worn_submit(struct loop *loop, struct disk *disk, struct disk_request *request)
{
	struct failing *failing;

	flushes += request->op == DISK_FLUSH && watched && strcmp(disk->path, watched) == 0;
	if (request->op != DISK_READ || !is_scratched(disk) || request->offset >= scratch.to ||
	    request->offset + request->length <= scratch.from) {
		sound->disk_submit(loop, disk, request);
		return;
	}
	failing = heap_zalloc(sizeof(*failing));
	assert_non_null(failing);
	failing->request = request;
	loop_post(loop, &failing->message, fail_now);
}

static int worn_open(const char *path, unsigned flags, uint64_t size, struct disk **ret_disk,
		     struct err *err)
{
	int result = sound->disk_open(path, flags, size, ret_disk, err);

	if (result == 0) {
		(*ret_disk)->world = &worn;
		(*ret_disk)->volatile_cache = true; /* which a file in memory has not */
	}
	return result;
}

static void start_worn(struct bench *bench)
{
	bench_setup(bench);
	loop_destroy(bench->loop);
	memset(&scratch, 0, sizeof(scratch));
	sound = bench->world;
	worn = *sound;
	worn.disk_open = worn_open;
	worn.disk_submit = worn_submit;
	bench->world = &worn;
	assert_int_equal(loop_create(bench->world, &bench->loop, &bench->err), 0);
	make_mirrored(bench);
}

/* What a process that ended has left in a device's cache is flushed before a root takes it for
 * written, on a device that this open writes nothing to as well. */
static void test_left_in_cache(void **state)
{
	struct bench bench;
	struct pool_device device;
	struct bench_call call = {.call.done = bench_call_done};

	(void)state;
	start_worn(&bench);
	device = (struct pool_device){.path = bench.path[2], .size = POOL_SIZE};
	pool_add(bench.pool, &device, 1, false, &call.call);
	assert_int_equal(bench_ended(&bench, &call), 0);
	assert_int_equal(bench_checkpoint(&bench), 0);
	bench_drop(&bench);
	for (unsigned i = 0; i < 3; i++) {
		watched = bench.path[i];
		flushes = 0;
		assert_int_equal(bench_open(&bench, 3), 0);
		assert_true(flushes > 0);
		bench_drop(&bench);
	}
	watched = NULL;
	bench_finish(&bench);
}

/* Only one device has the end of the journal, and it can not be read there, for now. Without it the
 * pool would be what it is not when that is over: it is not opened, whether the device counts in
 * full or is being made good. One that the root calls away is not asked. */
static void unreadable(uint8_t flags)
{
	struct bench bench;
	struct tail tail;

	start_worn(&bench);
	tail = discard_at_one_end(&bench, flags);
	scratch.path[scratch.count++] = bench.path[victim];
	scratch.from = tail.at[0];
	scratch.to = tail.at[1];
	if (!(flags & PV_AWAY)) {
		assert_int_equal(bench_open(&bench, 2), -EIO);
		assert_non_null(strstr(bench.err.text, "the journal can not be read"));
		assert_non_null(strstr(bench.err.text, bench.path[victim]));
		assert_non_null(strstr(bench.err.text, "--degraded"));
		scratch.count = 0;
		memset(images[0], 0, 65536); /* as it was said by what is there again */
	}
	assert_int_equal(bench_open(&bench, 2), 0);
	bench.volume = found(&bench, "v");
	assert_int_equal(info_of(&bench).degraded, flags & PV_AWAY ? true : false);
	compare(&bench, bench.volume, images[0]);
	if (flags & PV_AWAY) {
		scratch.count = 0;
		assert_int_equal(online(&bench, bench.path[victim]), 0);
	}
	wait_whole(&bench);
	compare(&bench, bench.volume, images[0]);
	assert_int_equal(bench_check(&bench, true), 0);
	bench_finish(&bench);
}

static void test_journal_unreadable(void **state)
{
	(void)state;
	unreadable(0);
}

static void test_journal_unreadable_stale(void **state)
{
	(void)state;
	unreadable(PV_STALE);
}

static void test_journal_unreadable_away(void **state)
{
	(void)state;
	unreadable(PV_AWAY | PV_STALE);
}

/* ---- which copy counts ---- */
/* After a crash with both devices there: the newest root is on both or on one only (the other has
 * the two before), and says of the victim that it is whole, being made good, or away, the one
 * before what it was before that; the end of the journal is in either copy, or not, or can not be
 * read there. What all of that makes of the pool is one of three: the end has happened, it has not,
 * or it is not opened. */
enum end { END_THERE, END_CUT, END_UNREADABLE, ENDS };
enum root_on { ROOT_BOTH, ROOT_OTHER, ROOT_VICTIM };

static void copy_sparse(const char *from, const char *to)
{
	int in = open(from, O_RDONLY), out = open(to, O_CREAT | O_TRUNC | O_RDWR, 0600);
	off_t at = 0, hole;

	assert_true(in >= 0 && out >= 0);
	assert_int_equal(ftruncate(out, (off_t)POOL_SIZE), 0);
	while ((at = lseek(in, at, SEEK_DATA)) >= 0) {
		hole = lseek(in, at, SEEK_HOLE);
		for (; at < hole; at += (off_t)BLOCK) {
			uint8_t block[BLOCK];

			assert_int_equal(pread(in, block, BLOCK, at), BLOCK);
			assert_int_equal(pwrite(out, block, BLOCK, at), BLOCK);
		}
	}
	assert_int_equal(close(in), 0);
	assert_int_equal(close(out), 0);
}

/* The root of @generation has not come to @path: there is the one two before it. */
static void set_back(const char *path, uint64_t generation)
{
	int file = open(path, O_RDWR);
	uint8_t block[BLOCK];
	struct superblock sb;

	assert_true(file >= 0);
	for (unsigned copy = 0; copy < 4; copy++) {
		off_t at = (off_t)superblock_position(POOL_SIZE, copy);
		off_t before = (off_t)superblock_position(POOL_SIZE, copy ^ 1);

		if ((copy & 1) != (generation & 1))
			continue;
		assert_int_equal(pread(file, block, BLOCK, before), BLOCK);
		assert_int_equal(superblock_decode(block, &sb, NULL), 0);
		assert_int_equal(sb.generation, generation - 1);
		sb.generation--;
		superblock_encode(&sb, block);
		assert_int_equal(pwrite(file, block, BLOCK, at), BLOCK);
	}
	assert_int_equal(close(file), 0);
}

static void make_end(const char *path, const struct tail *tail, enum end end)
{
	for (uint64_t at = tail->at[0]; at < tail->at[1] && end == END_CUT; at += BLOCK)
		rot_block(path, at);
	if (end == END_UNREADABLE)
		scratch.path[scratch.count++] = path;
	scratch.from = tail->at[0];
	scratch.to = tail->at[1];
}

struct crash {
	uint8_t flags, before; /* of the victim, as the newest root and the one before say */
	enum root_on root;
	enum end end[2]; /* by row */
};

static void make_crash(struct bench *bench, const struct tail *tail, const struct crash *crash)
{
	scratch.count = 0;
	for (unsigned i = 0; i < 2; i++) {
		copy_sparse(bench->path[2 + i], bench->path[i]);
		set_flags(bench->path[i], tail->generation, victim, crash->flags, crash->before);
		if (crash->root != ROOT_BOTH && (i == victim) == (crash->root == ROOT_OTHER))
			set_back(bench->path[i], tail->generation);
		make_end(bench->path[i], tail, crash->end[i]);
	}
}

static void try_crash(struct bench *bench, const struct tail *tail, const struct crash *crash)
{
	const enum end *end = crash->end;
	/* that it is back is said by itself alone: it is away as ever */
	bool cut_off = crash->root == ROOT_VICTIM && crash->before & PV_AWAY;
	bool away = crash->flags & PV_AWAY || cut_off;
	bool happened = end[other] == END_THERE || (!away && end[victim] == END_THERE);
	bool unknown = end[other] == END_UNREADABLE || (!away && end[victim] == END_UNREADABLE);

	make_crash(bench, tail, crash);
	if (!happened && unknown) {
		assert_int_equal(bench_open(bench, 2), -EIO);
		return;
	}
	assert_int_equal(bench_open(bench, 2), 0);
	assert_int_equal(info_of(bench).degraded, away && end[victim] == END_UNREADABLE);
	assert_int_equal(info_of(bench).resilvering, away ? end[victim] != END_UNREADABLE
						     : crash->flags & PV_STALE ? 1
									       : 0);
	bench->volume = found(bench, "v");
	memset(room, 0xee, 65536);
	assert_int_equal(bench_read(bench, 0, room, 65536), 0);
	for (unsigned i = 0; i < 65536; i++)
		assert_int_equal((uint8_t)room[i], happened ? 0 : 0x5a);
	bench_drop(bench);
}

static void test_which_counts(void **state)
{
	static const struct crash crashes[] = {
	    {.root = ROOT_BOTH},
	    {.flags = 0, .before = PV_STALE, .root = ROOT_OTHER},
	    {.flags = 0, .before = PV_STALE, .root = ROOT_VICTIM},
	    {.flags = PV_STALE, .before = PV_STALE, .root = ROOT_BOTH},
	    {.flags = PV_STALE, .before = PV_AWAY | PV_STALE, .root = ROOT_OTHER},
	    {.flags = PV_STALE, .before = PV_AWAY | PV_STALE, .root = ROOT_VICTIM},
	    {.flags = PV_AWAY | PV_STALE, .before = PV_AWAY | PV_STALE, .root = ROOT_BOTH},
	    {.flags = PV_AWAY | PV_STALE, .before = 0, .root = ROOT_OTHER},
	};
	struct bench bench;
	struct tail tail;

	(void)state;
	start_worn(&bench);
	tail = discard_at_end(&bench);
	for (unsigned i = 0; i < 2; i++)
		copy_sparse(bench.path[i], bench.path[2 + i]);
	for (unsigned i = 0; i < sizeof(crashes) / sizeof(crashes[0]) * ENDS * ENDS; i++) {
		struct crash crash = crashes[i / ENDS / ENDS];

		crash.end[0] = i / ENDS % ENDS;
		crash.end[1] = i % ENDS;
		try_crash(&bench, &tail, &crash);
	}
	bench_finish(&bench);
}

/* As of a device that was the pool's, and went on elsewhere for long. */
static void make_journal(const char *path, uint64_t hash, uint64_t blocks)
{
	int file = open(path, O_CREAT | O_RDWR, 0600);
	uint8_t block[BLOCK];

	assert_true(file >= 0);
	assert_int_equal(ftruncate(file, 2 * POOL_SIZE), 0);
	for (uint64_t i = 0; i < blocks; i++) {
		struct journal_header header = {
		    .pool_hash = hash, .epoch = 1000, .seq = 100 * blocks + i};

		journal_block_seal(block, &header);
		assert_int_equal(pwrite(file, block, BLOCK, (off_t)(PV_AREA + i * BLOCK)), BLOCK);
	}
	assert_int_equal(close(file), 0);
}

/* A pool of before, whose second device has no room: it goes on as it did, until another device has
 * some. */
static void test_one_journal(void **state)
{
	struct pool_device list[2];
	struct pool_create_options options = {.name = "tank",
					      .devices = list,
					      .device_count = 2,
					      .journal_bytes = POOL_SIZE / 2 + (1u << 20)};
	struct bench_call call = {.call.done = bench_call_done};
	struct bench bench;
	struct native *native;

	(void)state;
	bench_setup(&bench);
	for (unsigned i = 0; i < 2; i++)
		list[i] = (struct pool_device){bench.path[i], i ? POOL_SIZE : 2 * POOL_SIZE};
	pool_create(bench.world, bench.loop, &options, &call.call);
	assert_int_equal(bench_ended(&bench, &call), 0);
	bench.pool = call.call.pool;
	bench.volume = create(&bench, "v", true);
	memset(images, 0, sizeof(images));
	change(&bench, bench.volume, images[0], 100);
	assert_int_equal(bench_checkpoint(&bench), 0);
	native = native_of(bench.pool);
	assert_int_equal(info_of(&bench).journal_copies, 1);
	assert_true(is_vital(&bench, 0));
	assert_false(is_vital(&bench, 1));
	assert_int_equal(native->sb.version, FORMAT_MIRRORS);
	assert_false(journal_spares(native, &native->pv[0]));
	assert_int_equal(bench_close(&bench), 0);
	assert_int_equal(open_one(&bench, 1, true), -ENOENT);

	assert_int_equal(bench_open(&bench, 2), 0);
	bench.volume = found(&bench, "v");
	native = native_of(bench.pool);
	make_journal(bench.path[2], native->hash, native->journal.blocks);
	list[0] = (struct pool_device){.path = bench.path[2]};
	call = (struct bench_call){.call.done = bench_call_done};
	pool_add(bench.pool, list, 1, false, &call.call);
	assert_int_equal(bench_ended(&bench, &call), 0);
	assert_int_equal(bench_checkpoint(&bench), 0);
	assert_int_equal(info_of(&bench).journal_copies, 2);
	assert_int_equal(native_of(bench.pool)->sb.version, FORMAT_VERSION);
	wait_spread(&bench);
	for (unsigned i = 0; i < 3; i++)
		assert_false(is_vital(&bench, i));
	lose(&bench);
	change(&bench, bench.volume, images[0], 50);
	compare(&bench, bench.volume, images[0]);
	assert_int_equal(bench_checkpoint(&bench), 0);
	bench_drop(&bench);
	assert_int_equal(rename(bench.path[0], bench.path[3]), 0);
	assert_int_equal(bench_open(&bench, 3), 0);
	bench.volume = found(&bench, "v");
	compare(&bench, bench.volume, images[0]);
	assert_int_equal(rename(bench.path[3], bench.path[0]), 0);
	assert_int_equal(online(&bench, bench.path[0]), 0);
	wait_whole(&bench);
	assert_int_equal(bench_check(&bench, true), 0);
	bench_finish(&bench);
}

/* Its nodes go with it, and what is left is looked at again. */
static void without_snapshot(struct bench *bench)
{
	assert_int_equal(drop(bench, "p@s"), 0);
	for (unsigned i = 0; i < 60000 && is_vital(bench, 0); i++)
		loop_poll(bench->loop, 1000000);
	assert_false(is_vital(bench, 0));
}

/* A pool that began with one device has all nodes of that time there, both copies. Then it gets
 * another, and a mirrored volume: it goes on without the first when they are spread, and no node of
 * a snapshot's is left; not before. */
static void began_with_one(bool reopened, bool snapshot)
{
	struct pool_device device = {.size = POOL_SIZE};
	struct bench_call call = {.call.done = bench_call_done};
	struct bench bench;

	bench_setup(&bench);
	assert_int_equal(bench_create(&bench, 1, POOL_SIZE), 0);
	bench.volume = create(&bench, "p", false);
	memset(room, 0x55, 65536);
	for (uint64_t at = 0; at < VOLUME_SIZE; at += 65536)
		assert_int_equal(bench_write(&bench, at, room, 4096, 0), 0);
	assert_int_equal(bench_checkpoint(&bench), 0);
	if (snapshot)
		assert_int_equal(take(&bench, bench.volume, "s"), 0);
	assert_int_equal(bench_close(&bench), 0);
	assert_int_equal(bench_open(&bench, 1), 0);
	device.path = bench.path[1];
	pool_add(bench.pool, &device, 1, false, &call.call);
	assert_int_equal(bench_ended(&bench, &call), 0);
	bench.volume = create(&bench, "v", true);
	assert_true(native_of(bench.pool)->pv[0].pinned || !native_of(bench.pool)->spread_wanted);
	memset(images, 0, sizeof(images));
	change(&bench, bench.volume, images[0], 150);
	assert_int_equal(bench_checkpoint(&bench), 0);
	if (reopened) {
		assert_int_equal(bench_checkpoint(&bench), 0);
		wait_spread(&bench);
		assert_int_equal(bench_checkpoint(&bench), 0);
		assert_int_equal(bench_close(&bench), 0);
		assert_int_equal(bench_open(&bench, 2), 0);
		assert_int_equal(is_vital(&bench, 0), snapshot);
		bench.volume = found(&bench, "v");
		change(&bench, bench.volume, images[0], 50);
	}
	wait_spread(&bench);
	assert_int_equal(info_of(&bench).journal_copies, 2);
	assert_int_equal(is_vital(&bench, 0), snapshot);
	assert_false(is_vital(&bench, 1));
	if (snapshot) {
		refuse_to_lose(&bench, 0);
		without_snapshot(&bench);
	}
	/* what is known stays known: nothing is looked at again */
	assert_int_equal(bench_checkpoint(&bench), 0);
	assert_int_equal(bench_close(&bench), 0);
	assert_int_equal(bench_open(&bench, 2), 0);
	assert_false(native_of(bench.pool)->spread_wanted);
	assert_false(is_vital(&bench, 0));
	bench.volume = found(&bench, "v");
	lose(&bench);
	change(&bench, bench.volume, images[0], 50);
	compare(&bench, bench.volume, images[0]);
	assert_int_equal(bench_checkpoint(&bench), 0);
	bench_drop(&bench);
	hide(&bench, true);
	assert_int_equal(bench_open(&bench, 2), 0);
	bench.volume = found(&bench, "v");
	compare(&bench, bench.volume, images[0]);
	change(&bench, bench.volume, images[0], 50);
	assert_int_equal(bench_checkpoint(&bench), 0);
	assert_false(info_of(&bench).read_only);
	hide(&bench, false);
	assert_int_equal(online(&bench, bench.path[victim]), 0);
	wait_whole(&bench);
	compare(&bench, bench.volume, images[0]);
	assert_int_equal(bench_check(&bench, true), 0);
	bench_finish(&bench);
}

static void test_began_with_one(void **state)
{
	(void)state;
	began_with_one(false, false);
	began_with_one(true, false);
}

static void test_began_with_snapshot(void **state)
{
	(void)state;
	began_with_one(false, true);
	began_with_one(true, true);
}

/* A mirrored volume without any data is one, too; and nothing is begun of what would be nowhere,
 * which the next open would take for a write that was under way on the device. */
static void test_empty(void **state)
{
	struct bench_away away = {0};
	struct bench *bench = &away.bench;
	static uint8_t data[65536];
	unsigned there = 0;

	(void)state;
	bench_setup(bench);
	assert_int_equal(bench_create(bench, 2, POOL_SIZE), 0);
	bench->volume = create(bench, "v", true);
	add_plain(&away);
	assert_int_equal(bench_checkpoint(bench), 0);
	wait_spread(bench);
	assert_int_equal(native_of(bench->pool)->mirrors, 0);
	assert_false(is_vital(bench, victim));
	lose(bench);
	for (unsigned i = 0; i < PLAIN; i++) {
		there += away.there[i];
		check_plain(&away, i, away.there[i] ? -EIO : 0, away.there[i] ? -EIO : 0);
	}
	assert_true(there > 0 && there < PLAIN);
	drop_plain(&away);
	bench_drop(bench);
	hide(bench, true);
	assert_int_equal(bench_open(bench, 2), 0);
	assert_false(info_of(bench).read_only);
	hide(bench, false);
	assert_int_equal(online(bench, bench->path[victim]), 0);
	wait_whole(bench);
	memset(data, 0x77, sizeof(data));
	for (unsigned i = 0; i < PLAIN; i++) {
		bench->volume = found(bench, (char[]){(char)('a' + i), 0});
		assert_int_equal(bench_read(bench, 0, room, sizeof(data)), 0);
		if (away.there[i])
			assert_memory_equal(room, data, sizeof(data));
		volume_unref(bench->volume);
	}
	bench->volume = found(bench, "v");
	assert_int_equal(bench_check(bench, true), 0);
	bench_finish(bench);
}

/* From the first thing on that is written, what is here says that it went on without the other. */
static void test_consent_said(void **state)
{
	struct bench bench;
	struct superblock sb;
	uint64_t generation;
	uint8_t block[BLOCK];
	int file;

	(void)state;
	start(&bench);
	generation = native_of(bench.pool)->sb.generation;
	bench_drop(&bench);
	hide(&bench, true);
	assert_int_equal(open_degraded(&bench), 0);
	file = open(bench.path[other], O_RDONLY);
	assert_int_equal(
	    pread(file, block, BLOCK, (off_t)superblock_position(POOL_SIZE, generation & 1)),
	    BLOCK);
	assert_int_equal(close(file), 0);
	assert_int_equal(superblock_decode(block, &sb, NULL), 0);
	assert_int_equal(sb.generation, generation);
	assert_int_equal(sb.pv[victim].flags & PV_AWAY, PV_AWAY);
	assert_int_not_equal(sb.lineage[0], 0);
	hide(&bench, false);
	bench_finish(&bench);
}

/* One that goes while a root is being written has not all of its nodes: the root says so, or the
 * next open takes copies that were never written for damage. */
static void test_lost_in_root(void **state)
{
	struct bench_call call = {.call.done = bench_call_done};
	struct bench bench;
	struct native *native;
	struct superblock sb;
	uint64_t generation;
	uint8_t block[BLOCK];
	int file;

	(void)state;
	start(&bench);
	change(&bench, bench.volume, images[0], 50);
	native = native_of(bench.pool);
	generation = native->sb.generation + 1;
	pool_checkpoint(bench.pool, &call.call);
	while (native->generation <= generation)
		loop_poll(bench.loop, 1000000);
	assert_int_equal(native->sb.generation, generation - 1);
	lose(&bench);
	assert_int_equal(native->sb.generation, generation - 1);
	assert_int_equal(bench_ended(&bench, &call), 0);
	file = open(bench.path[other], O_RDONLY);
	assert_int_equal(
	    pread(file, block, BLOCK, (off_t)superblock_position(POOL_SIZE, generation & 1)),
	    BLOCK);
	assert_int_equal(close(file), 0);
	assert_int_equal(superblock_decode(block, &sb, NULL), 0);
	assert_int_equal(sb.generation, generation);
	assert_int_equal(sb.pv[victim].flags & (PV_AWAY | PV_STALE), PV_AWAY | PV_STALE);
	bench_finish(&bench);
}

/* A snapshot that two others stand on has nodes of its own when it is deleted: they are made good,
 * too. */
static void test_deleted_snapshot(void **state)
{
	struct bench bench;

	(void)state;
	start(&bench);
	lose(&bench);
	change(&bench, bench.volume, images[0], 150);
	assert_int_equal(take(&bench, bench.volume, "s1"), 0);
	memcpy(images[1], images[0], VOLUME_SIZE);
	change(&bench, bench.volume, images[1], 150);
	assert_int_equal(take(&bench, bench.volume, "s2"), 0);
	assert_int_equal(roll_back(&bench, bench.volume, "v@s1", NULL), 0);
	change(&bench, bench.volume, images[0], 150);
	assert_int_equal(bench_checkpoint(&bench), 0);
	assert_int_equal(drop(&bench, "v@s1"), 0);
	assert_int_equal(online(&bench, NULL), 0);
	wait_whole(&bench);
	assert_false(list_empty(&native_of(bench.pool)->deleting));
	assert_int_equal(bench_check(&bench, true), 0);
	compare(&bench, bench.volume, images[0]);
	compare_named(&bench, "v@s2", images[1]);
	bench_finish(&bench);
}

/* With the older root, which does not name the second copy, nobody would look there. */
static void unname_now(void *context)
{
	struct native *native = native_of(((struct bench *)context)->pool);

	native->journal.twin_since = native->sb.generation;
	lose_try_now(context);
}

static void test_journal_named(void **state)
{
	struct bench bench;

	(void)state;
	start(&bench);
	assert_false(is_vital(&bench, 0));
	lose_try = 0;
	bench_run(&bench, unname_now, &bench);
	assert_int_equal(lose_try_result, -EIO);
	assert_false(info_of(&bench).degraded);
	assert_true(is_vital(&bench, 0));
	assert_int_equal(info_of(&bench).journal_copies, 1);
	bench_finish(&bench);
}

/* Before a root names it, nothing is known of where both copies of a node are. */
static void undo_now(void *context)
{
	struct native *native = native_of(((struct bench *)context)->pool);

	native->sb.journal_row = 0;
	lose_try_now(context);
}

static void test_journal_due(void **state)
{
	struct bench bench;

	(void)state;
	start(&bench);
	for (lose_try = 0; lose_try < 2; lose_try++) {
		assert_false(is_vital(&bench, lose_try));
		bench_run(&bench, undo_now, &bench);
		assert_int_equal(lose_try_result, -EIO);
		assert_true(is_vital(&bench, 0));
		assert_true(is_vital(&bench, 1));
		assert_int_equal(bench_checkpoint(&bench), 0);
		assert_int_equal(bench_checkpoint(&bench), 0);
		assert_int_equal(info_of(&bench).journal_copies, 2);
		wait_spread(&bench);
	}
	bench_finish(&bench);
}

/* One that is back does not count before it is whole: the other one is not done without, neither
 * when it fails nor when the pool is opened. */
static void test_one_at_a_time(void **state)
{
	struct bench bench;

	(void)state;
	start(&bench);
	lose(&bench);
	change(&bench, bench.volume, images[0], 50);
	assert_int_equal(bench_checkpoint(&bench), 0);
	assert_int_equal(online(&bench, NULL), 0);
	assert_true(info_of(&bench).resilvering);
	refuse_to_lose(&bench, other);
	bench_drop(&bench);
	assert_int_equal(rename(bench.path[other], bench.path[3]), 0);
	assert_true(open_degraded(&bench) < 0);
	assert_int_equal(rename(bench.path[3], bench.path[other]), 0);
	assert_int_equal(bench_open(&bench, 2), 0);
	bench.volume = found(&bench, "v");
	wait_whole(&bench);
	compare(&bench, bench.volume, images[0]);
	assert_int_equal(bench_check(&bench, true), 0);
	bench_finish(&bench);
}

/* Without mirrored volumes it is there once; its device may be evacuated then. */
static void test_journal_leaves(void **state)
{
	struct bench bench;
	struct bench_call call = {.call.done = bench_call_done};
	const struct native *native;
	int result = -EBUSY;

	(void)state;
	start(&bench);
	native = native_of(bench.pool);
	assert_int_equal(native->journal.twin, 1);
	volume_unref(bench.volume);
	bench.volume = NULL;
	assert_int_equal(remove_volume(&bench, "v"), 0);
	for (unsigned i = 0; i < 60000 && result == -EBUSY; i++) {
		loop_poll(bench.loop, 1000000); /* its space is given up after a while */
		call = (struct bench_call){.call.done = bench_call_done};
		pool_evacuate(bench.pool, bench.path[1], POOL_EVACUATE_START, &call.call);
		for (unsigned k = 0; k < 60000 && !call.done; k++) {
			loop_poll(bench.loop, 1000000);
			assert_true(native->journal.twin == 1 ||
				    native->sb.generation > native->journal.twin_since);
		}
		result = bench_ended(&bench, &call);
	}
	assert_int_equal(result, 0);
	assert_int_equal(native_of(bench.pool)->journal.twin, 0);
	assert_int_equal(native_of(bench.pool)->sb.journal_row, 0);
	bench_drop(&bench);
	assert_int_equal(bench_open(&bench, 2), 0);
	assert_int_equal(bench_check(&bench, true), 0);
	bench_finish(&bench);
}

/* A pool of format 5: made by a program that left no room for a second copy, with its second device
 * away. It is what it was, and stays so that an older program can open it. */
static void test_format_before(void **state)
{
	struct pool_device list[2];
	struct pool_create_options options = {.name = "tank",
					      .devices = list,
					      .device_count = 2,
					      .journal_bytes = POOL_SIZE / 2 + (1u << 20)};
	struct bench_call call = {.call.done = bench_call_done};
	struct bench bench;

	(void)state;
	bench_setup(&bench);
	for (unsigned i = 0; i < 2; i++)
		list[i] = (struct pool_device){bench.path[i], i ? POOL_SIZE : 2 * POOL_SIZE};
	pool_create(bench.world, bench.loop, &options, &call.call);
	assert_int_equal(bench_ended(&bench, &call), 0);
	bench.pool = call.call.pool;
	bench.volume = create(&bench, "v", true);
	memset(images, 0, sizeof(images));
	change(&bench, bench.volume, images[0], 100);
	lose(&bench);
	change(&bench, bench.volume, images[0], 50);
	assert_int_equal(bench_checkpoint(&bench), 0);
	assert_int_equal(native_of(bench.pool)->sb.version, FORMAT_AWAY);
	bench_drop(&bench);

	assert_int_equal(bench_open(&bench, 2), 0);
	assert_int_equal(native_of(bench.pool)->sb.version, FORMAT_AWAY);
	assert_int_equal(info_of(&bench).journal_copies, 1);
	assert_false(journal_spares(native_of(bench.pool), &native_of(bench.pool)->pv[0]));
	bench.volume = found(&bench, "v");
	compare(&bench, bench.volume, images[0]);
	wait_whole(&bench);
	change(&bench, bench.volume, images[0], 50);
	assert_int_equal(bench_close(&bench), 0);

	assert_int_equal(bench_open(&bench, 2), 0);
	assert_int_equal(native_of(bench.pool)->sb.version, FORMAT_AWAY);
	assert_int_equal(native_of(bench.pool)->sb.journal_row, 0);
	assert_true(is_vital(&bench, 0));
	bench.volume = found(&bench, "v");
	compare(&bench, bench.volume, images[0]);
	assert_int_equal(bench_check(&bench, true), 0);
	bench_finish(&bench);
}

#define BOTH(test)                                                                                 \
	{"test_" #test ", the second", test_##test, the_second, NULL, NULL},                       \
	{                                                                                          \
		"test_" #test ", the first", test_##test, the_first, NULL, NULL                    \
	}
#define FIRST(test)                                                                                \
	{                                                                                          \
		"test_" #test, test_##test, the_first, NULL, NULL                                  \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    BOTH(goes_on),
	    BOTH(empty),
	    BOTH(killed),
	    BOTH(missing),
	    BOTH(refusals),
	    BOTH(in_flight),
	    BOTH(lost_in_flush),
	    BOTH(two_flushes),
	    BOTH(lost_in_add),
	    BOTH(away_with_consent),
	    BOTH(replace_refused),
	    BOTH(replaced),
	    BOTH(replaced_in_place),
	    BOTH(replace_plain),
	    BOTH(replaced_by_larger),
	    BOTH(replaced_by_itself),
	    BOTH(whole_in_both_roots),
	    BOTH(replace_killed),
	    BOTH(journal_rotten),
	    BOTH(split),
	    BOTH(findings),
	    BOTH(split_replaced),
	    BOTH(split_replaced_ahead),
	    BOTH(split_both_replaced),
	    BOTH(split_lost),
	    BOTH(fork_killed),
	    BOTH(split_unwritten),
	    BOTH(root_cut_off),
	    BOTH(lost_in_close),
	    BOTH(journal_moved_on),
	    BOTH(journal_moved_a_little),
	    BOTH(journal_left_behind),
	    BOTH(journal_left_behind_stale),
	    FIRST(left_in_cache),
	    BOTH(journal_unreadable),
	    BOTH(journal_unreadable_stale),
	    BOTH(journal_unreadable_away),
	    BOTH(which_counts),
	    FIRST(one_journal),
	    {"test_format_before", test_format_before, the_second, NULL, NULL},
	    BOTH(consent_said),
	    BOTH(lost_in_root),
	    BOTH(deleted_snapshot),
	    FIRST(journal_named),
	    FIRST(journal_due),
	    BOTH(one_at_a_time),
	    FIRST(journal_leaves),
	    FIRST(began_with_one),
	    FIRST(began_with_snapshot),
	};

	cmocka_set_test_filter(getenv("GRANARY_TEST_FILTER")); /* NULL: all */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
