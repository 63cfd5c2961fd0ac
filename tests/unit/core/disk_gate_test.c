/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "core/disk_gate.h"
#include "core/world.h"

/* Requests that no kernel sees: who may go, who waits, and whose turn it is. */

#define PIECE 65536u

static struct loop *loop;
static struct disk_gate gate;
static unsigned started;
static struct disk_request *last;

static int open_gate(void **state)
{
	(void)state;
	disk_gate_init(&gate, makedev(0, 0));
	gate.depth = 4;
	gate.piece = PIECE;
	started = 0;
	last = NULL;
	return loop_create(&world_aio, &loop, NULL);
}

static int close_gate(void **state)
{
	(void)state;
	disk_gate_destroy(&gate);
	loop_destroy(loop);
	return 0;
}

static void start(struct disk_request *request)
{
	started++;
	last = request;
}

static bool enter(struct disk_request *request, enum disk_op op, uint64_t length)
{
	*request = (struct disk_request){.op = op, .length = length, .loop = loop};
	list_init(&request->link);
	return disk_gate_enter(&gate, request, start);
}

static void leave(const struct disk_request *request)
{
	disk_gate_leave(&gate, request);
	loop_poll(loop, 0);
}

static void so_many_and_no_more(void **state)
{
	struct disk_request r[6];

	(void)state;
	for (unsigned i = 0; i < 4; i++)
		assert_true(enter(&r[i], i % 2 ? DISK_WRITE : DISK_FLUSH, 4096));
	assert_false(enter(&r[4], DISK_READ, 4096));
	assert_false(enter(&r[5], DISK_FLUSH, 0));
	loop_poll(loop, 0);
	assert_int_equal(started, 0);
	disk_gate_leave(&gate, &r[1]);
	assert_int_equal(started, 0); /* not inside */
	loop_poll(loop, 0);
	assert_ptr_equal(last, &r[4]);
	leave(&r[0]);
	assert_ptr_equal(last, &r[5]);
	assert_int_equal(started, 2);
	for (unsigned i = 2; i < 6; i++)
		leave(&r[i]);
	assert_int_equal(gate.used, 0);
	assert_int_equal(gate.waits, 0);
}

/* A large one takes several places, and has its turn before small ones that came later. */
static void large_ones_count_for_several(void **state)
{
	struct disk_request small[3], large, late, huge;

	(void)state;
	assert_true(enter(&small[0], DISK_READ, PIECE));
	assert_true(enter(&small[1], DISK_READ, 1));
	assert_false(enter(&large, DISK_WRITE, 2 * PIECE + 1));
	assert_false(enter(&late, DISK_READ, 4096));
	leave(&small[0]);
	assert_ptr_equal(last, &large);
	assert_int_equal(started, 1);
	leave(&small[1]);
	assert_ptr_equal(last, &late);
	leave(&late);
	/* more than there are: alone, and only then */
	assert_false(enter(&huge, DISK_WRITE, 100 * PIECE));
	assert_false(enter(&small[2], DISK_READ, 1));
	leave(&large);
	assert_ptr_equal(last, &huge);
	leave(&huge);
	assert_ptr_equal(last, &small[2]);
	leave(&small[2]);
	assert_int_equal(gate.used, 0);
}

/* Of the disk this file is on, and of what tells nothing. */
static void depths(void **state)
{
	struct disk_gate found;
	struct stat st;

	(void)state;
	disk_gate_init(&found, makedev(0, 0));
	assert_int_equal(found.depth, 48);
	assert_int_equal(found.piece, 1 << 20);
	disk_gate_destroy(&found);
	assert_int_equal(stat("/proc/self/exe", &st), 0);
	disk_gate_init(&found, st.st_dev);
	assert_in_range(found.depth, 1, UINT16_MAX);
	assert_in_range(found.piece, 4096, 1 << 20);
	disk_gate_destroy(&found);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(so_many_and_no_more, open_gate, close_gate),
	    cmocka_unit_test_setup_teardown(large_ones_count_for_several, open_gate, close_gate),
	    cmocka_unit_test(depths),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
