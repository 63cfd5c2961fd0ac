/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/volumes/bench_snapshot.h"
#include "tests/unit/volumes/bench_worn.h"
#include "volumes/evacuate.h"

#include <fcntl.h>

/* A device of a pool with mirrored volumes is evacuated: each of the two copies that a slot has
 * stays on a device of its own, whatever else happens meanwhile. Crashes are the simulator's
 * (tests/sim). granary-test: timeout=300 */

static struct volume *create(struct bench *bench, const char *name, bool mirror, uint64_t reserve)
{
	struct volume_spec spec = {.name = name,
				   .size_bytes = reserve ? reserve : VOLUME_SIZE,
				   .mirror = mirror,
				   .reserve_bytes = reserve};
	struct bench_call call = {.call.done = bench_call_done};

	volume_create(bench->pool, &spec, &call.call);
	if (bench_ended(bench, &call) != 0)
		fail_msg("%s", bench->err.text);
	return call.call.volume;
}

static int add(struct bench *bench, unsigned index)
{
	struct pool_device device = {.path = bench->path[index], .size = POOL_SIZE};
	struct bench_call call = {.call.done = bench_call_done};

	pool_add(bench->pool, &device, 1, false, &call.call);
	return bench_ended(bench, &call);
}

static int evacuate(struct bench *bench, unsigned index, enum pool_evacuate_action action)
{
	struct bench_call call = {.call.done = bench_call_done};

	pool_evacuate(bench->pool, bench->path[index], action, &call.call);
	return bench_ended(bench, &call);
}

static int take_out(struct bench *bench, unsigned index)
{
	struct bench_call call = {.call.done = bench_call_done};

	pool_remove(bench->pool, bench->path[index], &call.call);
	return bench_ended(bench, &call);
}

static int online(struct bench *bench)
{
	struct bench_call call = {.call.done = bench_call_done};

	pool_online(bench->pool, NULL, &call.call);
	return bench_ended(bench, &call);
}

static struct pool_device_info device(struct bench *bench, unsigned index)
{
	struct pool_device_info info;

	for (unsigned i = 0; pool_device_info(bench->pool, i, &info); i++)
		if (strcmp(info.path, bench->path[index]) == 0)
			return info;
	fail_msg("%s is no device", bench->path[index]);
	return info;
}

static void wait_state(struct bench *bench, unsigned index, enum pool_device_state state)
{
	for (unsigned i = 0; i < 120000 && device(bench, index).state != state; i++)
		loop_poll(bench->loop, 1000000);
	assert_int_equal(device(bench, index).state, state);
}

static void wait_whole(struct bench *bench)
{
	struct pool_info info = {.degraded = true};

	for (unsigned i = 0; i < 60000 && (info.resilvering || info.degraded); i++) {
		loop_poll(bench->loop, 1000000);
		pool_get_info(bench->pool, &info);
	}
	assert_false(info.resilvering || info.degraded);
}

/* All nodes have been looked at: which devices it goes on without is known. */
static void wait_spread(struct bench *bench)
{
	const struct native *native = native_of(bench->pool);

	for (unsigned i = 0; i < 60000 && native->spread_wanted; i++)
		loop_poll(bench->loop, 1000000);
	assert_false(native->spread_wanted);
}

/* Two devices, one volume with two copies and one with one; then the others. */
static struct volume *plain;

static void start(struct bench *bench, unsigned devices)
{
	assert_int_equal(bench_create(bench, 2, POOL_SIZE), 0);
	bench->volume = create(bench, "v", true, 0);
	assert_int_equal(bench_checkpoint(bench), 0);
	for (unsigned i = 2; i < devices; i++)
		assert_int_equal(add(bench, i), 0);
	plain = create(bench, "p", false, 0);
	memset(images, 0, sizeof(images));
	change(bench, bench->volume, images[0], 150);
	change(bench, plain, images[1], 60);
	assert_int_equal(bench_checkpoint(bench), 0);
	wait_spread(bench);
}

static void finish(struct bench *bench)
{
	volume_unref(plain);
	bench_finish(bench);
}

static void discard_plain(struct bench *bench)
{
	struct volume *mirrored = bench->volume;

	bench->volume = plain;
	assert_int_equal(bench_discard(bench, 0, VOLUME_SIZE), 0);
	bench->volume = mirrored;
}

/* Pairs that there are, with a chunk on each device; and that both are never on one. */
struct pairs {
	struct native *native;
	unsigned count, on[POOL_DEVICES_MAX];
};

static void count_pairs(void *context)
{
	struct pairs *pairs = context;
	struct native *native = pairs->native;

	native_lock(native);
	for (unsigned row = 0; row < native->pv_count; row++) {
		const struct pv *pv = &native->pv[row];
		uint64_t end = pv->format.first_chunk + pv->format.chunks;
		uint64_t at = mirror_next(pv, pv->format.first_chunk);

		for (; at < end; at = mirror_next(pv, at + 1)) {
			uint64_t chunk[2] = {at, mirror_of(native, at)};
			const struct pv *device[2];

			for (unsigned i = 0; i < 2; i++) {
				device[i] = pv_of(native, pv_resolve(native, chunk[i]))->device;
				pairs->on[device[i] - native->pv]++;
			}
			assert_ptr_not_equal(device[0], device[1]);
			pairs->count++;
		}
	}
	native_unlock(lane_get(native));
}

static struct pairs pairs_of(struct bench *bench)
{
	struct pairs pairs = {.native = native_of(bench->pool)};

	bench_run(bench, count_pairs, &pairs);
	return pairs;
}

/* No device has both copies of a node, by a look at all of them. */
static void nodes_apart(struct bench *bench)
{
	struct native *native = native_of(bench->pool);

	native->spread_wanted = true;
	wait_spread(bench);
	assert_int_equal(native->unspread, 0);
	for (unsigned i = 0; i < native->pv_count; i++)
		assert_false(native->pv[i].pinned);
}

static void verify(struct bench *bench)
{
	compare(bench, bench->volume, images[0]);
	compare(bench, plain, images[1]);
	assert_int_equal(bench_check(bench, true), 0);
	pairs_of(bench);
}

static void again(struct bench *bench, unsigned devices, bool crash)
{
	volume_unref(plain);
	if (crash)
		bench_drop(bench);
	else
		assert_int_equal(bench_close(bench), 0);
	assert_int_equal(bench_open(bench, devices), 0);
	bench->volume = found(bench, "v");
	plain = found(bench, "p");
}

/* ---- tests ---- */
/* With writes all the time, over a crash; what has moved once moves again; snapshots, too. */
static void test_moves(void **state)
{
	struct bench bench;
	struct pairs pairs;
	uint64_t repairs;

	(void)state;
	bench_setup(&bench);
	start(&bench, 4);
	assert_int_equal(take(&bench, bench.volume, "a"), 0);
	memcpy(images[2], images[0], VOLUME_SIZE);
	change(&bench, bench.volume, images[0], 100);
	pairs = pairs_of(&bench);
	assert_true(pairs.on[2] > 20 && pairs.on[3] > 20);
	assert_int_equal(evacuate(&bench, 3, POOL_EVACUATE_START), 0);
	change(&bench, bench.volume, images[0], 60);
	change(&bench, plain, images[1], 20);
	again(&bench, 4, true);
	verify(&bench);
	change(&bench, bench.volume, images[0], 60);
	wait_state(&bench, 3, DEVICE_EMPTY);
	nodes_apart(&bench);
	assert_int_equal(take_out(&bench, 3), 0);
	assert_int_equal(unlink(bench.path[3]), 0);
	verify(&bench);
	assert_int_equal(evacuate(&bench, 2, POOL_EVACUATE_START), 0);
	change(&bench, bench.volume, images[0], 60);
	wait_state(&bench, 2, DEVICE_EMPTY);
	nodes_apart(&bench);
	assert_int_equal(take_out(&bench, 2), 0);
	verify(&bench);
	again(&bench, 2, false);
	verify(&bench);
	pairs = pairs_of(&bench);
	assert_int_equal(pairs.on[0], pairs.count);
	assert_int_equal(pairs.on[1], pairs.count);
	compare_named(&bench, "v@a", images[2]);
	repairs = native_of(bench.pool)->data_repairs;
	assert_int_equal(repairs, 0);
	finish(&bench);
}

/* What is given up gives both its places back, whatever has been moved. */
static void test_space_returns(void **state)
{
	struct bench bench;

	(void)state;
	bench_setup(&bench);
	start(&bench, 3);
	assert_int_equal(evacuate(&bench, 2, POOL_EVACUATE_START), 0);
	wait_state(&bench, 2, DEVICE_EMPTY);
	change(&bench, bench.volume, images[0], 40);
	assert_int_equal(evacuate(&bench, 2, POOL_EVACUATE_STOP), 0);
	change(&bench, bench.volume, images[0], 40); /* on the device again */
	verify(&bench);
	assert_int_equal(bench_discard(&bench, 0, VOLUME_SIZE), 0);
	discard_plain(&bench);
	for (unsigned i = 0; i < 12; i++) /* the pair, then where its chunks are, two roots each */
		assert_int_equal(bench_checkpoint(&bench), 0);
	settle(&bench);
	assert_int_equal(used(&bench), 0);
	assert_int_equal(native_of(bench.pool)->mirrors, 0);
	for (unsigned i = 0; i < native_of(bench.pool)->pv_count; i++)
		assert_int_equal(native_of(bench.pool)->pv[i].moved, 0);
	assert_int_equal(bench_check(&bench, true), 0);
	finish(&bench);
}

static void test_refusals(void **state)
{
	struct bench bench;
	struct volume *more;

	(void)state;
	bench_setup(&bench);
	start(&bench, 3);
	assert_int_equal(evacuate(&bench, 0, POOL_EVACUATE_START), -EINVAL);
	assert_int_equal(evacuate(&bench, 1, POOL_EVACUATE_START), -EBUSY);
	assert_non_null(strstr(bench.err.text, "journal"));
	more = create(&bench, "more", true, 88ull << 20); /* what is promised needs all three */
	assert_int_equal(evacuate(&bench, 2, POOL_EVACUATE_START), -ENOSPC);
	assert_int_equal(device(&bench, 2).state, DEVICE_ACTIVE);
	volume_unref(more);
	verify(&bench);
	finish(&bench);
}

/* What one copy can not give is taken from the other one; what neither can stays, and is told. */
static void test_unreadable(void **state)
{
	struct bench bench;
	struct native *native;
	struct pairs pairs;

	(void)state;
	worn_setup(&bench);
	start(&bench, 3);
	native = native_of(bench.pool);
	scratches.path = bench.path[2];
	for (uint64_t at = 0; at < native->pv[2].format.chunks && scratches.count < 4; at++) {
		uint64_t chunk = native->pv[2].format.first_chunk + at;

		if (!space_chunk_is_data(native, chunk) || !mirror_of(native, chunk))
			continue;
		scratches.offset[scratches.count] =
		    native->pv[2].format.data_offset + at * 65536 + 4096ull * scratches.count;
		scratches.count++;
	}
	assert_int_equal(scratches.count, 4);
	assert_int_equal(evacuate(&bench, 2, POOL_EVACUATE_START), 0);
	wait_state(&bench, 2, DEVICE_EMPTY);
	assert_int_equal(take_out(&bench, 2), 0);
	verify(&bench);
	pairs = pairs_of(&bench);
	assert_int_equal(pairs.on[2], 0);
	finish(&bench);
}

/* ---- a device goes meanwhile ---- */
static unsigned victim;

static void lose_now(void *context)
{
	struct native *native = native_of(((struct bench *)context)->pool);

	assert_int_equal(away_lost(lane_get(native), &native->pv[victim], -EIO), 0);
}

/* While the second chunk of a pair is being copied, or (@many) others are in both places: the
 * device that it goes to, the one with the other copy, or the one that it comes from. */
enum { ITS_TARGET, THE_OTHERS, ITS_OWN, ROLES };
static unsigned role;
static bool many;

static uint64_t chunk_of(const struct native *native, unsigned whose)
{
	const struct relocation *now = &native->evacuation->now;

	if (whose == THE_OTHERS)
		return pv_resolve(native, now->copy ? now->first : mirror_of(native, now->first));
	return whose == ITS_TARGET ? now->target : now->chunk;
}

static void lose_at_copy(void *context)
{
	struct native *native = native_of(((struct bench *)context)->pool);
	const struct evacuation *evacuation = native->evacuation;
	bool now;

	native_lock(native);
	now = native->busy && evacuation && evacuation->now.first != CHUNK_NONE &&
	      (many ? evacuation->count > 10 : evacuation->now.copy == 1);
	if (now)
		victim = pv_device_row(native, pv_of(native, chunk_of(native, role)));
	native_unlock(lane_get(native));
	if (now)
		lose_now(context);
}

/* A device goes, and what was on its way is met again, with a new start or without one. */
static void test_goes_meanwhile(void **state)
{
	(void)state;
	for (unsigned turn = 0; turn < 3 * ROLES + 9; turn++) {
		struct bench bench;
		unsigned looks = 0;

		role = turn < 3 * ROLES ? turn % ROLES : ITS_TARGET;
		many = turn >= ROLES && turn < 3 * ROLES;
		bench_setup(&bench);
		start(&bench, 3);
		assert_int_equal(bench_discard(&bench, 0, 4096), 0);
		memset(images[0], 0, 4096);
		discard_plain(&bench); /* what has one copy would keep a device from going */
		memset(images[1], 0, VOLUME_SIZE);
		settle(&bench);
		wait_spread(&bench);
		assert_int_equal(evacuate(&bench, 2, POOL_EVACUATE_START), 0);
		for (; looks < 100000 && !away_any(native_of(bench.pool)); looks++) {
			loop_poll(bench.loop, 1000);
			bench_run(&bench, lose_at_copy, &bench);
		}
		assert_non_null(away_any(native_of(bench.pool)));
		change(&bench, bench.volume, images[0], 60);
		verify(&bench);
		if (turn >= 2 * ROLES && turn < 3 * ROLES)
			again(&bench, 3, true);
		verify(&bench);
		change(&bench, bench.volume, images[0], 30);
		if (device(&bench, victim).state == DEVICE_AWAY)
			assert_int_equal(online(&bench), 0);
		wait_whole(&bench);
		wait_state(&bench, 2, DEVICE_EMPTY);
		verify(&bench);
		assert_int_equal(take_out(&bench, 2), 0);
		nodes_apart(&bench);
		again(&bench, 2, false);
		verify(&bench);
		finish(&bench);
	}
}

/* The second device has no room for the journal's other copy, but each node's: they go to where
 * that is not, those of a snapshot, which stay what they are, too. */
static void test_nodes(void **state)
{
	struct bench bench;
	struct bench_call call = {.call.done = bench_call_done};
	struct pool_device list[3];
	struct pool_create_options options = {
	    .name = "tank", .devices = list, .device_count = 3, .journal_bytes = 40ull << 20};

	(void)state;
	bench_setup(&bench);
	for (unsigned i = 0; i < 3; i++)
		list[i] = (struct pool_device){.path = bench.path[i],
					       .size = i == 1 ? 64ull << 20 : 2 * POOL_SIZE};
	pool_create(bench.world, bench.loop, &options, &call.call);
	assert_int_equal(bench_ended(&bench, &call), 0);
	bench.pool = call.call.pool;
	bench.volume = create(&bench, "v", true, 0);
	plain = create(&bench, "p", false, 0);
	memset(images, 0, sizeof(images));
	change(&bench, bench.volume, images[0], 150);
	change(&bench, plain, images[1], 60);
	for (unsigned i = 0; i < 20; i++) {
		assert_int_equal(take(&bench, bench.volume, (char[]){(char)('a' + i), 0}), 0);
		change(&bench, bench.volume, images[0], 20);
		assert_int_equal(bench_checkpoint(&bench), 0);
	}
	wait_spread(&bench);
	assert_int_equal(evacuate(&bench, 2, POOL_EVACUATE_START), -EBUSY); /* the journal */
	assert_int_equal(evacuate(&bench, 1, POOL_EVACUATE_START), 0);
	wait_state(&bench, 1, DEVICE_EMPTY);
	assert_true(native_of(bench.pool)->pv[1].meta_moved > 4);
	nodes_apart(&bench);
	verify(&bench);
	again(&bench, 3, true);
	nodes_apart(&bench);
	assert_int_equal(take_out(&bench, 1), 0);
	verify(&bench);
	finish(&bench);
}

/* One that is empty and goes is had back, or replaced, before it is taken out. */
static void test_goes_empty(void **state)
{
	struct bench bench;

	(void)state;
	bench_setup(&bench);
	start(&bench, 3);
	assert_int_equal(evacuate(&bench, 2, POOL_EVACUATE_START), 0);
	wait_state(&bench, 2, DEVICE_EMPTY);
	victim = 2;
	bench_run(&bench, lose_now, &bench);
	assert_int_equal(device(&bench, 2).state, DEVICE_AWAY);
	assert_int_equal(take_out(&bench, 2), -EBUSY);
	assert_non_null(strstr(bench.err.text, "is away"));
	assert_int_equal(online(&bench), 0);
	wait_whole(&bench);
	wait_state(&bench, 2, DEVICE_EMPTY);
	assert_int_equal(take_out(&bench, 2), 0);
	verify(&bench);
	again(&bench, 2, true);
	verify(&bench);
	finish(&bench);
}

/* ---- a write that takes its time ---- */
/* To the second copy of a slot, on the device that is evacuated meanwhile. */
static struct {
	struct native *native;
	struct volume *volume;
	uint64_t slot;                   /* of the volume */
	uint64_t address, chunk, offset; /* chunk: of the second copy */
	struct loop *loop;
	struct disk *disk, *copied;
	struct disk_request *request, *copy; /* held */
	bool holds;
	struct bench_io io;
} late;

/* The first copy that is made waits for the write to be on its way. */
static void hold_submit(struct loop *loop, struct disk *disk, struct disk_request *request)
{
	if (late.holds && request->op == DISK_READ && request->length == CHUNK_SLOTS * 4096) {
		assert_null(late.copy);
		late.copy = request;
		late.copied = disk;
	} else if (late.holds && request->op == DISK_WRITE && request->offset == late.offset &&
		   disk == late.native->pv[2].disk) {
		late.loop = loop;
		late.disk = disk;
		late.request = request;
		late.holds = false;
		if (late.copy)
			sound->disk_submit(loop, late.copied, late.copy);
	} else {
		sound->disk_submit(loop, disk, request);
	}
}

/* A slot of the volume that has its second copy there. */
static void find_late(void *context)
{
	struct tree *map = &nvolume_of(late.volume)->map;
	struct node *node = NULL;

	(void)context;
	native_lock(late.native);
	assert_int_equal(tree_find(map, 0, false, NULL, &node), 0);
	for (uint64_t slot = 0; slot < VOLUME_SIZE / 4096; slot++) {
		struct pv_place place;
		uint64_t address;

		if (!map_slot(&node->body->map.entry[slot / CHUNK_SLOTS], slot % CHUNK_SLOTS,
			      &address) ||
		    !mirror_place(late.native, address, &place) || place.pv != &late.native->pv[2])
			continue;
		if (mirror_of(late.native, address / CHUNK_SLOTS) < late.chunk)
			continue; /* the last that the evacuation comes to */
		late.slot = slot;
		late.address = address;
		late.chunk = mirror_of(late.native, address / CHUNK_SLOTS);
		late.offset = place.offset;
	}
	native_unlock(lane_get(late.native));
}

static void write_late(struct pool_call *call, int result)
{
	bench_call_done(call, result);
	volume_submit(late.volume, &late.io.request);
}

/* Both places of the slot, as the devices have it. */
static void both_hold(struct bench *bench, const char *data)
{
	struct pv_place place[2];

	assert_true(pv_locate(late.native, late.address, &place[0].pv, &place[0].offset));
	assert_true(mirror_place(late.native, late.address, &place[1]));
	for (unsigned i = 0; i < 2; i++) {
		int fd = open(bench->path[place[i].pv->device - late.native->pv], O_RDONLY);

		assert_true(fd >= 0);
		assert_int_equal(pread(fd, room, 4096, (off_t)place[i].offset), 4096);
		assert_memory_equal(room, data, 4096);
		close(fd);
	}
}

/* The copy comes to it, however slow the machine is; and is not made for as long as is waited. */
static void await_copy(struct bench *bench)
{
	const struct pv *pv = &late.native->pv[2];
	uint64_t until = loop_clock(bench->loop) + 60000000000ull;

	while (!pv_forward(pv, late.chunk) && loop_clock(bench->loop) < until)
		loop_poll(bench->loop, 1000000);
	assert_true(pv_forward(pv, late.chunk) != 0);
	until = loop_clock(bench->loop) + 2000000000ull;
	while (pv_forward(pv, late.chunk) & FORWARD_BUSY && loop_clock(bench->loop) < until)
		loop_poll(bench->loop, 1000000);
	assert_true(pv_forward(pv, late.chunk) & FORWARD_BUSY);
}

static void test_late_write(void **state)
{
	static char data[4096] __attribute__((aligned(4096)));
	struct bench bench;
	struct bench_call call = {.call.done = write_late};

	(void)state;
	worn_setup(&bench);
	worn.disk_submit = hold_submit;
	memset(&late, 0, sizeof(late));
	late.native = NULL;
	start(&bench, 3);
	late.native = native_of(bench.pool);
	late.volume = bench.volume;
	bench_run(&bench, find_late, NULL);
	assert_true(late.offset != 0);
	memset(data, 0x5a, sizeof(data));
	memcpy(images[0] + late.slot * 4096, data, sizeof(data));
	late.io.volume = bench.volume;
	late.io.iov = (struct iovec){.iov_base = data, .iov_len = sizeof(data)};
	late.io.request = (struct volume_request){.op = VOLUME_WRITE,
						  .flags = VOLUME_IN_PLACE,
						  .offset = late.slot * 4096,
						  .length = sizeof(data),
						  .iov = &late.io.iov,
						  .iov_count = 1,
						  .done = bench_io_done};
	late.holds = true;
	pool_evacuate(bench.pool, bench.path[2], POOL_EVACUATE_START, &call.call);
	assert_int_equal(bench_ended(&bench, &call), 0);
	await_copy(&bench);
	assert_non_null(late.request);
	assert_false(late.io.done);
	sound->disk_submit(late.loop, late.disk, late.request);
	bench_wait(&bench, &late.io.done);
	assert_int_equal(late.io.result, 0);
	wait_state(&bench, 2, DEVICE_EMPTY);
	both_hold(&bench, data);
	verify(&bench);
	finish(&bench);
}

/* What has its only copy on the way to a device keeps that from going: nothing says yet that it has
 * arrived. */
struct alone {
	struct native *native;
	unsigned row; /* where it is on the way to; 0: nothing is */
	int result;
};

static void lose_target(void *context)
{
	struct alone *alone = context;
	struct native *native = alone->native;
	const struct evacuation *evacuation = native->evacuation;

	native_lock(native);
	for (unsigned i = 0; evacuation && i < evacuation->count; i++)
		if (!evacuation->batch[i].spare &&
		    pv_of(native, evacuation->batch[i].target) == &native->pv[1])
			alone->row = 1;
	native_unlock(lane_get(native));
	if (alone->row)
		alone->result = away_lost(lane_get(native), &native->pv[1], -EIO);
}

/* A volume keeps to a device for a while: some are on the third. */
static void write_alone(struct bench *bench)
{
	struct volume *mirrored = bench->volume;

	memset(room, 5, sizeof(room));
	for (unsigned i = 0; i < 6; i++) {
		bench->volume = create(bench, (char[]){(char)('a' + i), 0}, false, 0);
		for (uint64_t at = 0; at < 4u << 20; at += sizeof(room))
			assert_int_equal(bench_write(bench, at, room, sizeof(room), 0), 0);
		volume_unref(bench->volume);
	}
	bench->volume = mirrored;
	assert_int_equal(bench_checkpoint(bench), 0);
}

static void test_alone_keeps_it(void **state)
{
	struct bench bench;
	struct alone alone;

	(void)state;
	bench_setup(&bench);
	start(&bench, 3);
	write_alone(&bench);
	alone = (struct alone){.native = native_of(bench.pool)};
	assert_int_equal(evacuate(&bench, 2, POOL_EVACUATE_START), 0);
	for (unsigned i = 0; i < 100000 && !alone.row; i++) {
		loop_poll(bench.loop, 1000);
		bench_run(&bench, lose_target, &alone);
	}
	assert_int_equal(alone.row, 1);
	assert_int_equal(alone.result, -EIO);
	assert_null(away_any(native_of(bench.pool)));
	wait_state(&bench, 2, DEVICE_EMPTY);
	victim = 1;
	bench_run(&bench, lose_now, &bench);
	assert_non_null(away_any(native_of(bench.pool)));
	finish(&bench);
}

/* Nodes for which there is no place beside their other copies: the pool says that it depends on the
 * device they go to, until it has looked at them. As if there were some in each chunk. */
static void hem_in(void *context)
{
	struct native *native = context;
	const struct format_pv *row = &native->pv[2].format;

	native_lock(native);
	assert_int_equal(native->evacuation->count, 0);
	for (uint64_t i = 0; i < row->chunks; i++)
		assert_int_equal(
		    chunkbits_add(&native->evacuation->nodes, row->first_chunk + i, UINT64_MAX), 0);
	native->evacuation->nodes_known = true;
	native_unlock(lane_get(native));
}

static void test_nodes_pin(void **state)
{
	struct bench bench;
	struct bench_call begin = {.call.done = bench_call_done};
	struct native *native;
	bool pinned = false;

	(void)state;
	bench_setup(&bench);
	start(&bench, 3);
	write_alone(&bench);
	native = native_of(bench.pool);
	assert_false(native->pv[0].pinned || native->pv[1].pinned);
	pool_evacuate(bench.pool, bench.path[2], POOL_EVACUATE_START, &begin.call);
	assert_int_equal(evacuate(&bench, 2, POOL_EVACUATE_PAUSE),
			 0); /* before anything is moved */
	assert_int_equal(bench_ended(&bench, &begin), 0);
	bench_run(&bench, hem_in, native);
	assert_int_equal(evacuate(&bench, 2, POOL_EVACUATE_RESUME), 0);
	for (unsigned i = 0; i < 120000 && device(&bench, 2).state != DEVICE_EMPTY; i++) {
		loop_poll(bench.loop, 100000);
		pinned |= native->pv[0].pinned || native->pv[1].pinned;
	}
	assert_true(pinned);
	wait_spread(&bench);
	wait_state(&bench, 2, DEVICE_EMPTY);
	nodes_apart(&bench);
	verify(&bench);
	finish(&bench);
}

/* What was moved to a device is one of two copies there, too: a crash with writes on their way to
 * it does not keep the pool from being opened without it. */
static void test_crash_without_target(void **state)
{
	char hidden[100];
	struct bench bench;

	(void)state;
	for (unsigned target = 0; target < 2; target++) {
		struct bench_call call = {.call.done = bench_call_done};

		bench_setup(&bench);
		start(&bench, 3);
		discard_plain(&bench);
		memset(images[1], 0, VOLUME_SIZE);
		assert_int_equal(evacuate(&bench, 2, POOL_EVACUATE_START), 0);
		wait_state(&bench, 2, DEVICE_EMPTY);
		assert_int_equal(take_out(&bench, 2), 0);
		for (unsigned i = 0; i < 4; i++)
			assert_int_equal(bench_checkpoint(&bench), 0);
		wait_spread(&bench);
		change(&bench, bench.volume, images[0], 150);
		volume_unref(plain);
		bench_drop(&bench);
		snprintf(hidden, sizeof(hidden), "%s.away", bench.path[target]);
		assert_int_equal(rename(bench.path[target], hidden), 0);
		pool_open_degraded(bench.world, bench.loop,
				   (const char *[]){bench.path[0], bench.path[1]}, 2, &call.call);
		if (bench_ended(&bench, &call) != 0)
			fail_msg("%s", bench.err.text);
		bench.pool = call.call.pool;
		assert_int_equal(rename(hidden, bench.path[target]), 0);
		bench.volume = found(&bench, "v");
		plain = found(&bench, "p");
		compare(&bench, bench.volume, images[0]);
		assert_int_equal(online(&bench), 0);
		wait_whole(&bench);
		verify(&bench);
		finish(&bench);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_moves),
	    cmocka_unit_test(test_space_returns),
	    cmocka_unit_test(test_refusals),
	    cmocka_unit_test(test_unreadable),
	    cmocka_unit_test(test_goes_meanwhile),
	    cmocka_unit_test(test_nodes),
	    cmocka_unit_test(test_late_write),
	    cmocka_unit_test(test_goes_empty),
	    cmocka_unit_test(test_alone_keeps_it),
	    cmocka_unit_test(test_nodes_pin),
	    cmocka_unit_test(test_crash_without_target),
	};

	cmocka_set_test_filter(getenv("GRANARY_TEST_FILTER"));
	return cmocka_run_group_tests(tests, NULL, NULL);
}
