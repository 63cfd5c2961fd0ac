/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/volumes/bench_snapshot.h"

#include <fcntl.h>

/* Pools that go on without a device: what works meanwhile and what is refused, that its copies are
 * good afterwards, opens without it. How it comes to that is the simulator's (tests/sim). */

#define PLAIN 4 /* volumes with one copy, some of them on the second device */

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

static void start(struct bench *bench)
{
	bench_setup(bench);
	assert_int_equal(bench_create(bench, 2, POOL_SIZE), 0);
	bench->volume = create(bench, "v", true);
	memset(images, 0, sizeof(images));
	change(bench, bench->volume, images[0], 150);
}

/* ---- the device ---- */
static void lose_now(void *context)
{
	struct native *native = native_of(((struct bench *)context)->pool);

	assert_int_equal(away_lost(lane_get(native), &native->pv[1], -EIO), 0);
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

	assert_true(pool_device_info(bench->pool, 1, &info));
	return info.state;
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
	const char *from = bench->path[hidden ? 1 : 2], *to = bench->path[hidden ? 2 : 1];

	assert_int_equal(rename(from, to), 0);
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
		where->there = pv == &native->pv[1];
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
	assert_int_equal(online(bench, bench->path[1]), 0);
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
	assert_int_equal(native_of(bench.pool)->sb.pv[1].flags, PV_AWAY | PV_STALE);
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
	assert_int_equal(online(&bench, bench.path[1]), 0);
	wait_whole(&bench);
	assert_int_equal(bench_close(&bench), 0);
	/* the first one has the journal */
	assert_int_equal(rename(bench.path[0], bench.path[2]), 0);
	assert_int_equal(open_degraded(&bench), -ENOENT);
	assert_int_equal(rename(bench.path[2], bench.path[0]), 0);
	assert_int_equal(bench_open(&bench, 2), 0);
	bench.volume = found(&bench, "v");
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
	assert_int_equal(replace(&bench, 1, 2, POOL_SIZE), -EINVAL);
	lose(&bench);
	assert_int_equal(replace(&bench, 0, 2, POOL_SIZE), -ENOENT);
	assert_non_null(strstr(bench.err.text, bench.path[1]));
	make_file(bench.path[2], POOL_SIZE - 4096, "");
	assert_int_equal(replace(&bench, 1, 2, 0), -EINVAL);
	make_file(bench.path[2], POOL_SIZE, "XFSB");
	assert_int_equal(replace(&bench, 1, 2, 0), -EEXIST);
	assert_int_equal(replace(&bench, 1, 0, 0), -EBUSY);
	/* the one that is away: it is the pool's, and to be taken back */
	assert_int_equal(replace(&bench, 1, 1, 0), -EEXIST);
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
	assert_int_equal(replace(&bench, 1, 2, POOL_SIZE), 0);
	change(&bench, bench.volume, images[0], 100);
	wait_whole(&bench);
	compare(&bench, bench.volume, images[0]);
	compare_named(&bench, "v@s", images[1]);
	assert_int_equal(bench_check(&bench, true), 0);
	assert_string_equal(pool_device_path(bench.pool, 1), bench.path[2]);

	change(&bench, bench.volume, images[0], 20);
	assert_int_equal(bench_flush(&bench), 0);
	bench_drop(&bench);
	assert_int_equal(bench_open(&bench, 2), -ENOENT);
	assert_int_equal(bench_open(&bench, 3), 0);
	bench.volume = found(&bench, "v");
	assert_false(info_of(&bench).degraded || info_of(&bench).resilvering);
	compare(&bench, bench.volume, images[0]);
	lose(&bench);
	assert_int_equal(online(&bench, bench.path[1]), -EPROTO);
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
	assert_int_equal(unlink(bench.path[1]), 0);
	assert_int_equal(replace(&bench, 1, 1, POOL_SIZE), 0);
	wait_whole(&bench);
	compare(&bench, bench.volume, images[0]);
	assert_int_equal(bench_check(&bench, true), 0);
	bench_drop(&bench);
	hide(&bench, true);
	assert_int_equal(bench_open(&bench, 1), -ENOENT);
	pool_open_degraded(bench.world, bench.loop, (const char *[]){bench.path[0]}, 1, &call.call);
	assert_int_equal(bench_ended(&bench, &call), 0);
	bench.pool = call.call.pool;
	bench.volume = found(&bench, "v");
	device = (struct pool_device){.path = bench.path[3], .size = POOL_SIZE};
	assert_int_equal(replace(&bench, 1, 3, POOL_SIZE), -ENOENT);
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
	assert_int_equal(replace(bench, 1, 2, POOL_SIZE), -EBUSY);
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
		result = replace(bench, 1, 2, POOL_SIZE);
	}
	assert_int_equal(result, 0);
	wait_whole(bench);
	compare(bench, bench->volume, images[0]);
	assert_int_equal(bench_check(bench, true), 0);
	bench_finish(bench);
}

/* A larger one, which is grown into; then all rows of it go together. */
static void test_replaced_by_larger(void **state)
{
	struct bench bench;
	struct bench_call call = {.call.done = bench_call_done};

	(void)state;
	start(&bench);
	lose(&bench);
	assert_int_equal(replace(&bench, 1, 2, POOL_SIZE + (64u << 20)), 0);
	wait_whole(&bench);
	pool_grow(bench.pool, &call.call);
	assert_int_equal(bench_ended(&bench, &call), 0);
	assert_int_equal(call.call.total, 64u << 20);
	change(&bench, bench.volume, images[0], 200);
	lose(&bench);
	assert_int_equal(replace(&bench, 2, 1, POOL_SIZE), -EINVAL);
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
	pool_label_replacement(bench.pool, bench.path[1], &device, false, &call.call);
	assert_int_equal(bench_ended(&bench, &call), 0);
	assert_int_equal(state_of(&bench), DEVICE_AWAY);
	for (unsigned round = 0; round < 12; round++) {
		call = (struct bench_call){.call.done = bench_call_done};
		pool_replace(bench.pool, pool_device_path(bench.pool, 1), &device, true,
			     &call.call);
		change(&bench, bench.volume, images[0], 3);
		assert_int_equal(bench_flush(&bench), 0);
		for (unsigned i = 0; i < round * 4; i++)
			loop_poll(bench.loop, 1000000);
		bench_drop(&bench);
		bench_wait(&bench, &call.done);
		/* without the old one, which would be taken back */
		assert_int_equal(rename(bench.path[1], bench.path[3]), 0);
		assert_int_equal(bench_open(&bench, 3), 0);
		assert_int_equal(rename(bench.path[3], bench.path[1]), 0);
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
	file = open(bench.path[0], O_RDONLY);
	assert_int_equal(
	    pread(file, block, BLOCK, (off_t)superblock_position(POOL_SIZE, generation & 1)),
	    BLOCK);
	assert_int_equal(close(file), 0);
	assert_int_equal(superblock_decode(block, &sb, NULL), 0);
	assert_int_equal(sb.generation, generation);
	assert_int_equal(sb.pv[1].flags & (PV_AWAY | PV_STALE), PV_AWAY | PV_STALE);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_goes_on),           cmocka_unit_test(test_killed),
	    cmocka_unit_test(test_missing),           cmocka_unit_test(test_refusals),
	    cmocka_unit_test(test_in_flight),         cmocka_unit_test(test_lost_in_flush),
	    cmocka_unit_test(test_two_flushes),       cmocka_unit_test(test_lost_in_add),
	    cmocka_unit_test(test_away_with_consent), cmocka_unit_test(test_replace_refused),
	    cmocka_unit_test(test_replaced),          cmocka_unit_test(test_replaced_in_place),
	    cmocka_unit_test(test_replace_plain),     cmocka_unit_test(test_replaced_by_larger),
	    cmocka_unit_test(test_replace_killed),    cmocka_unit_test(test_lost_in_root),
	    cmocka_unit_test(test_deleted_snapshot),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
