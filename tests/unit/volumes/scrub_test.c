/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>

#include "tests/unit/volumes/bench_snapshot.h"

/* The scrub of what only snapshots and clones hold: damaged in turn, found, mended where it can be,
 * and told with the name of whom it belongs to. */

static struct nvolume *named(struct bench *bench, const char *name)
{
	struct volume *volume = found(bench, name);

	volume_unref(volume);
	return nvolume_of(volume);
}

/* Where a slot of the first leaf is on the device, and where copies of the map's nodes are. */
struct where {
	struct bench *bench;
	const char *name;
	uint64_t slot;
	unsigned level;
	uint64_t address;
	struct node_pointer pointer;
	int result;
};

static void look_up(void *context)
{
	struct where *where = context;
	struct native *native = native_of(where->bench->pool);
	struct lane *lane = lane_get(native);
	struct tree *map = &named(where->bench, where->name)->map;
	struct node *node = NULL;

	native_lock(native);
	where->result =
	    tree_find(map, where->slot / (MAP_CHUNKS * CHUNK_SLOTS), false, NULL, &node);
	if (where->result == 0 && node &&
	    !map_slot(&node->body->map.entry[where->slot / CHUNK_SLOTS % MAP_CHUNKS],
		      where->slot % CHUNK_SLOTS, &where->address))
		where->result = -ENODATA;
	if (where->result == 0)
		where->result = tree_pointer(map, where->level, 0, NULL, &where->pointer);
	native_unlock(lane);
}

static struct where find_place(struct bench *bench, const char *name, uint64_t slot)
{
	struct where where = {.bench = bench, .name = name, .slot = slot};
	struct volume *volume = found(bench, name), *before = bench->volume;

	bench->volume = volume; /* so that the leaf is in memory */
	assert_int_equal(bench_read(bench, slot * 4096, room, 4096), 0);
	bench->volume = before;
	volume_unref(volume);
	bench_run(bench, look_up, &where);
	assert_int_equal(where.result, 0);
	return where;
}

static void rot(struct bench *bench, uint64_t address)
{
	struct native *native = native_of(bench->pool);
	struct pv *pv;
	uint64_t offset;
	int fd = open(bench->path[0], O_RDWR);
	char byte;

	assert_true(fd >= 0 && pv_locate(native, address, &pv, &offset));
	assert_int_equal(pread(fd, &byte, 1, (off_t)offset + 99), 1);
	byte = (char)~byte;
	assert_int_equal(pwrite(fd, &byte, 1, (off_t)offset + 99), 1);
	close(fd);
}

static unsigned scrub(struct bench *bench, struct pool_finding *findings, unsigned room_for)
{
	struct pool_scrub_info info = {.state = SCRUB_RUNNING};
	unsigned count = 0;

	assert_int_equal(pool_scrub(bench->pool, POOL_SCRUB_START, 1u << 30, &bench->err), 0);
	for (unsigned i = 0; i < 120000 && info.state == SCRUB_RUNNING; i++) {
		loop_poll(bench->loop, 1000000);
		pool_get_scrub(bench->pool, &info);
	}
	assert_int_equal(info.state, SCRUB_DONE);
	while (count < room_for && pool_finding(bench->pool, count, &findings[count]))
		count++;
	return count;
}

/* A volume, a snapshot of all of it, one of a few slots more, and a clone of the first. */
static void furnish(struct bench *bench)
{
	struct volume *clone;

	begin(bench);
	memset(room, 1, sizeof(room));
	for (uint64_t at = 0; at < VOLUME_SIZE; at += sizeof(room))
		assert_int_equal(bench_write(bench, at, room, sizeof(room), 0), 0);
	assert_int_equal(take(bench, bench->volume, "a"), 0);
	memset(room, 2, sizeof(room));
	assert_int_equal(bench_write(bench, 40 * 4096, room, 8 * 4096, 0), 0);
	assert_int_equal(take(bench, bench->volume, "b"), 0);
	assert_int_equal(bench_write(bench, 0, room, 64 * 4096, 0), 0);
	assert_int_equal(make_clone(bench, "v@a", "c", &clone), 0);
	memset(room, 3, sizeof(room));
	bench->volume = (volume_unref(bench->volume), clone);
	assert_int_equal(bench_write(bench, 7 * 4096, room, 4096, 0), 0);
	assert_int_equal(bench_checkpoint(bench), 0);
}

static void test_nothing_wrong(void **state)
{
	struct bench bench;
	struct pool_finding findings[4];
	struct pool_scrub_info info;

	(void)state;
	furnish(&bench);
	assert_int_equal(scrub(&bench, findings, 4), 0);
	pool_get_scrub(bench.pool, &info);
	/* v and c whole; a whole, of b the 8 slots that a has not */
	assert_int_equal(info.slots, 3 * VOLUME_SIZE / 4096 + 8);
	assert_int_equal(info.errors, 0);
	bench_finish(&bench);
}

/* Slots that a snapshot alone holds, the oldest and a later one. */
static void test_rotten_slot(void **state)
{
	static const struct {
		const char *name;
		uint64_t slot;
	} places[] = {{"v@b", 43}, {"v@a", 41}};

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		struct bench bench;
		struct pool_finding findings[4];
		bool clone = i == 1; /* which stands on a, and has it, too */

		furnish(&bench);
		rot(&bench, find_place(&bench, places[i].name, places[i].slot).address);
		assert_int_equal(scrub(&bench, findings, 4), 1 + clone);
		assert_int_equal(findings[0].kind, FINDING_DATA);
		assert_string_equal(findings[0].volume, places[i].name);
		assert_int_equal(findings[0].offset, places[i].slot * 4096);
		assert_non_null(strstr(findings[0].text, places[i].name));
		if (clone)
			assert_string_equal(findings[1].volume, "c");
		/* It is met again, so it stays. */
		assert_int_equal(scrub(&bench, findings, 4), 1 + clone);
		assert_string_equal(findings[0].volume, places[i].name);
		bench_finish(&bench);
	}
}

/* A node of the map that only a snapshot, or only a clone, has. */
static void test_rotten_node(void **state)
{
	static const char *const names[] = {"v@b", "v@a", "c"};

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		struct bench bench;
		struct pool_finding findings[4];
		struct where where;

		furnish(&bench);
		where = find_place(&bench, names[i], 43);
		rot(&bench, where.pointer.address[i % 2]);
		assert_int_equal(scrub(&bench, findings, 4), 1);
		assert_int_equal(findings[0].kind, FINDING_NODE_REPAIRED);
		assert_string_equal(findings[0].volume, names[i]);
		assert_int_equal(bench_check(&bench, true), 0);
		bench_finish(&bench);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_nothing_wrong),
	    cmocka_unit_test(test_rotten_slot),
	    cmocka_unit_test(test_rotten_node),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
