/* SPDX-License-Identifier: Apache-2.0 */
/* A volume moves while guests write, discard and give up: what was acknowledged is in the
 * destination, and nothing is lost between the two. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/fiber.h"
#include "core/world.h"
#include "volumes/move.h"
#include "volumes/volume_io.h"

#define SIZE   ((uint64_t)24 << 20)
#define GUESTS 8u
#define PIECE  ((uint64_t)256 << 10)

static struct loop *loop;
static struct volume *source, *destination;
static struct volume_move *engine;
static uint8_t *model; /* what the guests were told is there */
static uint64_t random_state;

/* ---- the volumes: memory, behind a door of the test's own */

static struct volume door;
static const struct volume_ops *behind;
static int write_result;
static bool unflushed; /* the destination has changes that a power loss would take */

static uint64_t roll(uint64_t below)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state % below;
}

static void destination_submit(struct volume *volume, struct volume_request *request)
{
	if (request->op == VOLUME_FLUSH)
		unflushed = false;
	if (request->op == VOLUME_WRITE || request->op == VOLUME_DISCARD)
		unflushed = true;
	if (request->op == VOLUME_WRITE && write_result)
		volume_refuse(request, write_result);
	else
		behind->submit(volume, request);
}

static int set_up(void **state)
{
	static struct volume_ops ops;
	struct err err = {0};

	(void)state;
	random_state = 0x9e3779b97f4a7c15;
	write_result = 0;
	unflushed = false;
	assert_int_equal(loop_create(&world_aio, &loop, NULL), 0);
	assert_int_equal(memory_volume_create("v", SIZE, &source, &err), 0);
	assert_int_equal(memory_volume_create("w", SIZE, &destination, &err), 0);
	behind = destination->ops;
	ops = *behind;
	ops.submit = destination_submit;
	destination->ops = &ops;
	model = calloc(1, SIZE);
	assert_non_null(model);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	free(model);
	volume_move_free(engine);
	engine = NULL;
	volume_unref(source);
	destination->ops = behind;
	volume_unref(destination);
	loop_destroy(loop);
	return 0;
}

/* ---- fibers of the test */

static unsigned running;
static void (*body)(void);

static void run_body(void *context)
{
	(void)context;
	body();
	running--;
}

struct starter {
	struct deferred deferred;
};

static void start_body(struct deferred *deferred)
{
	(void)deferred;
	assert_int_equal(fiber_start(loop, run_body, NULL), 0);
}

/* @what in a fiber, and whatever it started, to the end. */
static void in_fiber(void (*what)(void))
{
	struct starter starter;

	body = what;
	running++;
	deferred_init(&starter.deferred, start_body);
	loop_defer(loop, &starter.deferred);
	for (unsigned i = 0; running > 0; i++) {
		assert_true(i < 10000000);
		loop_poll(loop, 1000000);
	}
}

/* ---- guests: each has a part of the volume for itself, so that the model is exact */

struct guest {
	unsigned number;
	uint64_t writes;
	uint8_t *data;
	bool refused;
};
static struct guest guests[GUESTS];
static bool guests_go;
static struct volume *where; /* that they submit to */

static int guest_io(enum volume_op op, uint64_t offset, uint8_t *data, uint64_t length)
{
	struct volume_io io;

	volume_io_prepare(&io, op, 0, offset, data, length);
	io.request.flags = 0; /* by the tap */
	volume_submit(where, &io.request);
	return volume_io_wait(&io);
}

static void guest_change(struct guest *guest)
{
	uint64_t part = SIZE / GUESTS, length = VOLUME_BLOCK * (1 + roll(128));
	uint64_t offset =
	    guest->number * part + VOLUME_BLOCK * roll((part - length) / VOLUME_BLOCK);
	bool discard = roll(8) == 0;

	memset(guest->data, (int)(1 + roll(255)), length);
	assert_int_equal(guest_io(discard ? VOLUME_DISCARD : VOLUME_WRITE, offset,
				  discard ? NULL : guest->data, length),
			 0);
	memset(model + offset, discard ? 0 : guest->data[0], length);
	guest->writes++;
}

static void guest_read(struct guest *guest)
{
	uint64_t part = SIZE / GUESTS, length = VOLUME_BLOCK * (1 + roll(128));
	uint64_t offset =
	    guest->number * part + VOLUME_BLOCK * roll((part - length) / VOLUME_BLOCK);

	assert_int_equal(guest_io(VOLUME_READ, offset, guest->data, length), 0);
	assert_memory_equal(guest->data, model + offset, length);
}

static void guest_main(void *context)
{
	struct guest *guest = context;

	guest->data = aligned_alloc(4096, PIECE);
	assert_non_null(guest->data);
	while (guests_go) {
		if (roll(4) == 0)
			guest_read(guest);
		else
			guest_change(guest);
	}
	free(guest->data);
	running--;
}

static void guests_start(void)
{
	guests_go = true;
	where = source;
	for (unsigned i = 0; i < GUESTS; i++) {
		guests[i] = (struct guest){.number = i};
		running++;
		assert_int_equal(fiber_start(loop, guest_main, &guests[i]), 0);
	}
}

static void fill(struct volume *volume, bool into_model)
{
	static _Alignas(4096) uint8_t data[PIECE];

	for (uint64_t at = 0; at < SIZE; at += PIECE) {
		if (roll(3) == 0)
			continue;
		memset(data, (int)roll(256), sizeof data);
		assert_int_equal(volume_io(volume, VOLUME_WRITE, 0, at, data, PIECE), 0);
		if (into_model)
			memcpy(model + at, data, PIECE);
	}
}

static void assert_holds_model(struct volume *volume)
{
	static _Alignas(4096) uint8_t data[PIECE];

	for (uint64_t at = 0; at < SIZE; at += PIECE) {
		assert_int_equal(volume_io(volume, VOLUME_READ, 0, at, data, PIECE), 0);
		assert_memory_equal(data, model + at, PIECE);
	}
}

static void create(bool fresh)
{
	struct err err = {0};

	assert_int_equal(volume_move_create(source, destination, fresh, &engine, &err), 0);
}

/* Until it is held; with @limit holds that took too long. */
static void copy_and_hold(void)
{
	struct err err = {0};
	int result;

	do {
		assert_int_equal(volume_move_copy(engine, &err), 0);
		result = volume_move_hold(engine, &err);
	} while (result == -EAGAIN);
	assert_int_equal(result, 0);
	assert_true(volume_move_held(engine));
	assert_false(unflushed);
}

static void retire(void)
{
	volume_move_retire(engine);
	while (!volume_move_quiet(engine))
		fiber_sleep(1000000);
	assert_null(source->tap);
	assert_true(volume_tap_quiet(source));
}

static void move_under_load(void)
{
	uint64_t before;

	guests_start();
	copy_and_hold();
	assert_holds_model(destination);
	before = guests[0].writes;
	volume_move_forward(engine);
	while (guests[0].writes < before + 50)
		fiber_sleep(1000000);
	where = destination;
	before = guests[0].writes;
	while (guests[0].writes < before + 50)
		fiber_sleep(1000000);
	guests_go = false;
	while (running > 1)
		fiber_sleep(1000000);
	retire();
	assert_false(destination->read_only);
	assert_holds_model(destination);
}

static void fresh_body(void)
{
	fill(source, true);
	create(true);
	assert_true(destination->read_only);
	move_under_load();
}

static void test_a_fresh_destination(void **state)
{
	(void)state;
	in_fiber(fresh_body);
}

static void stale_body(void)
{
	struct volume_move_progress progress;

	fill(source, true);
	fill(destination, false); /* a copy that was cut off, long ago */
	create(false);
	move_under_load();
	volume_move_get_progress(engine, &progress);
	assert_int_equal(progress.left, 0);
}

static void test_a_copy_that_was_cut_off(void **state)
{
	(void)state;
	in_fiber(stale_body);
}

static void same_body(void)
{
	struct volume_move_progress progress;

	fill(source, true);
	random_state = 0x9e3779b97f4a7c15;
	fill(destination, false);
	create(false);
	copy_and_hold();
	volume_move_get_progress(engine, &progress);
	assert_int_equal(progress.written, 0);
	volume_move_forward(engine);
	retire();
	assert_holds_model(destination);
}

static void test_what_is_the_same_is_not_written(void **state)
{
	(void)state;
	in_fiber(same_body);
}

/* Without an end, were they not slowed down: the memory of both is as fast. */
static void test_guests_that_write_faster(void **state)
{
	struct volume_move_progress progress;

	(void)state;
	in_fiber(fresh_body);
	assert_true(guests[0].writes > 0);
	volume_move_get_progress(engine, &progress);
	assert_true(progress.passes >= MOVE_PASSES);
}

static void failing_body(void)
{
	struct err err = {0};

	fill(source, true);
	create(true);
	guests_start();
	write_result = -ENOSPC;
	assert_int_equal(volume_move_copy(engine, &err), -ENOSPC);
	assert_non_null(strstr(err.text, "writing memory/w"));
	guests_go = false;
	while (running > 1)
		fiber_sleep(1000000);
	retire();
	assert_holds_model(source);
}

static void test_no_space(void **state)
{
	(void)state;
	in_fiber(failing_body);
}

/* The source goes on when the hold ends without a switch; so do those that were held. */
static void let_go_body(void)
{
	uint64_t before;

	fill(source, true);
	create(true);
	guests_start();
	copy_and_hold();
	before = guests[1].writes;
	fiber_sleep(20000000);
	assert_int_equal(guests[1].writes, before);
	volume_move_let_go(engine);
	while (guests[1].writes < before + 20)
		fiber_sleep(1000000);
	copy_and_hold();
	assert_holds_model(destination);
	volume_move_let_go(engine);
	guests_go = false;
	while (running > 1)
		fiber_sleep(1000000);
	retire();
	assert_holds_model(source);
}

static void test_a_hold_that_is_let_go(void **state)
{
	(void)state;
	in_fiber(let_go_body);
}

static void held_too_long_body(void)
{
	struct err err = {0};
	uint64_t before;

	create(true);
	guests_start();
	copy_and_hold();
	volume_move_let_go(engine);
	assert_int_equal(volume_move_copy(engine, &err), 0);
	assert_int_equal(volume_move_hold(engine, &err), 0);
	before = guests[2].writes;
	while (guests[2].writes == before) /* V3: by itself */
		fiber_sleep(100000000);
	assert_false(volume_move_held(engine));
	guests_go = false;
	while (running > 1)
		fiber_sleep(1000000);
	retire();
}

static void test_a_hold_ends_by_itself(void **state)
{
	(void)state;
	in_fiber(held_too_long_body);
}

static struct volume_io held_io;
static _Alignas(4096) uint8_t held_data[4096];

/* An abort reaches who is held, and it never was. */
static void cancel_body(void)
{
	create(true);
	copy_and_hold();
	memset(held_data, 7, sizeof held_data);
	volume_io_prepare(&held_io, VOLUME_WRITE, 0, 0, held_data, sizeof held_data);
	held_io.request.flags = 0;
	volume_submit(source, &held_io.request);
	fiber_sleep(1000000);
	assert_true(held_io.busy);
	volume_cancel(&held_io.request);
	assert_int_equal(volume_io_wait(&held_io), -ECANCELED);
	volume_move_forward(engine);
	retire();
	assert_holds_model(destination);
}

static void test_an_abort_while_it_is_held(void **state)
{
	(void)state;
	in_fiber(cancel_body);
}

static void cancelled_body(void)
{
	struct err err = {0};

	fill(source, true);
	create(true);
	volume_move_cancel(engine);
	assert_int_equal(volume_move_copy(engine, &err), -ECANCELED);
	retire();
}

static void test_given_up(void **state)
{
	struct err err = {0};

	(void)state;
	in_fiber(cancelled_body);
	/* One at a time: a tap is somebody's. */
	source->tap = (struct volume_tap *)&door;
	volume_move_free(engine);
	engine = NULL;
	assert_int_equal(volume_move_create(source, destination, true, &engine, &err), -EBUSY);
	source->tap = NULL;
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
	    TEST(test_a_fresh_destination),
	    TEST(test_a_copy_that_was_cut_off),
	    TEST(test_what_is_the_same_is_not_written),
	    TEST(test_guests_that_write_faster),
	    TEST(test_no_space),
	    TEST(test_a_hold_that_is_let_go),
	    TEST(test_a_hold_ends_by_itself),
	    TEST(test_an_abort_while_it_is_held),
	    TEST(test_given_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
