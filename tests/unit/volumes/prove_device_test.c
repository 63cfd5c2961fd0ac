/* SPDX-License-Identifier: Apache-2.0 */
/* The proof of a device, on files: one that is sound, ones that are not what they say, and what of
 * a recorded write a crash leaves. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/world.h"
#include "volumes/prove_device.h"
#include "volumes/prove_trace.h"

#define MIB (1ull << 20)

/* A world whose disks forget, or fail, each so many-th write. */
static struct world_ops wicked;
static const struct world_ops *plain;
static unsigned forget_each, fail_each, seen;

static void wicked_submit(struct loop *loop, struct disk *disk, struct disk_request *request)
{
	seen += request->op == DISK_WRITE;
	if (request->op == DISK_WRITE && forget_each && seen % forget_each == 0)
		request->op = DISK_FLUSH;
	if (request->op == DISK_WRITE && fail_each && seen % fail_each == 0)
		request->offset = 1ull << 50; /* past the end of any file here */
	plain->disk_submit(loop, disk, request);
}

struct proving {
	struct device_proof proof;
	struct loop *loop;
	struct timer timer;
	int result;
	bool over;
};

static void proved(struct device_proof *proof, int result)
{
	struct proving *proving = container_of(proof, struct proving, proof);

	proving->result = result;
	proving->over = true;
	loop_stop(proving->loop);
}

static void give_up(struct timer *timer)
{
	device_proof_stop(&container_of(timer, struct proving, timer)->proof);
}

static char folder[256], path[300];

static void prove(struct proving *proving, const struct world_ops *world, uint64_t create,
		  unsigned seconds, bool force, uint64_t stop_ns)
{
	struct err err;

	memset(proving, 0, sizeof *proving);
	assert_int_equal(loop_create(world, &proving->loop, &err), 0);
	proving->proof.path = path;
	proving->proof.create_bytes = create;
	proving->proof.budget_ns = seconds * 1000000000ull;
	proving->proof.force = force;
	proving->proof.done = proved;
	device_proof_start(world, proving->loop, &proving->proof);
	timer_init(&proving->timer, proving->loop, give_up);
	if (stop_ns)
		timer_start(&proving->timer, stop_ns);
	loop_run(proving->loop);
	assert_true(proving->over);
	timer_stop(&proving->timer);
	loop_destroy(proving->loop);
}

static void make_file(uint64_t size, uint64_t data_at)
{
	int file = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(file >= 0);
	assert_int_equal(ftruncate(file, (off_t)size), 0);
	if (data_at)
		assert_int_equal(pwrite(file, "data", 4, (off_t)data_at), 4);
	close(file);
}

static bool file_is_zeros(void)
{
	static char block[1 << 20];
	int file = open(path, O_RDONLY | O_CLOEXEC);
	bool zeros = file >= 0;
	ssize_t got;

	while (zeros && (got = read(file, block, sizeof block)) > 0)
		zeros = block[0] == 0 && memcmp(block, block + 1, (size_t)got - 1) == 0;
	close(file);
	return zeros;
}

static void test_sound(void **state)
{
	struct proving proving;
	const struct device_proof *proof = &proving.proof;

	(void)state;
	make_file(80 * MIB + 4096, 0);
	prove(&proving, plain, 0, 2, false, 0);
	assert_int_equal(proving.result, 0);
	assert_int_equal(proof->load.errors, 0);
	assert_int_equal(proof->load.mismatches, 0);
	assert_true(proof->load.verified > 1000);
	assert_int_equal(proof->tested_bytes, 80 * MIB);
	for (unsigned i = 0; i < PROVE_PHASES; i++)
		assert_true(proof->load.outcome[i].count > 0);
	assert_true(proof->load.outcome[PROVE_FLUSHED].flushes > 0);
	assert_true(proof->crashes.states > 0);
	assert_int_equal(proof->crashes.failed, 0);
	assert_true(proof->crashes.writes > 100 && proof->crashes.flushes > 10);
	assert_non_null(proof->flush_why);
	assert_non_null(proof->forced_why);
	assert_int_equal(proof->flush == PROVE_BROKEN, proof->facts.memory);
	assert_true(file_is_zeros());
}

static void test_small(void **state)
{
	struct proving proving;

	(void)state;
	make_file(20 * MIB, 0);
	prove(&proving, plain, 0, 1, false, 0);
	assert_int_equal(proving.result, 0);
	assert_int_equal(proving.proof.crashes.states, 0);
	assert_true(proving.proof.load.verified > 0);
	make_file(15 * MIB, 0);
	prove(&proving, plain, 0, 1, false, 0);
	assert_int_equal(proving.result, -EINVAL);
	assert_non_null(strstr(proving.proof.err.text, "16 MiB"));
}

static void test_data(void **state)
{
	struct proving proving;

	(void)state;
	make_file(20 * MIB, 17 * MIB + 9);
	prove(&proving, plain, 0, 1, false, 0);
	assert_int_equal(proving.result, -EEXIST);
	assert_non_null(strstr(proving.proof.err.text, "force"));
	assert_false(file_is_zeros());
	prove(&proving, plain, 0, 1, true, 0);
	assert_int_equal(proving.result, 0);
}

static void test_created(void **state)
{
	struct proving proving;

	(void)state;
	unlink(path);
	prove(&proving, plain, 0, 1, false, 0);
	assert_int_equal(proving.result, -ENOENT);
	assert_false(proving.proof.created);
	prove(&proving, plain, 20 * MIB, 1, false, 0);
	assert_int_equal(proving.result, 0);
	assert_true(proving.proof.created);
	prove(&proving, plain, 20 * MIB, 1, true, 0);
	assert_false(proving.proof.created);
}

static void test_busy(void **state)
{
	struct proving proving;
	struct disk *disk;
	struct err err;

	(void)state;
	make_file(20 * MIB, 0);
	assert_int_equal(disk_open(plain, path, DISK_EXCLUSIVE, 0, &disk, &err), 0);
	prove(&proving, plain, 0, 1, false, 0);
	disk_close(disk);
	assert_int_equal(proving.result, -EBUSY);
}

static void test_stopped(void **state)
{
	struct proving proving;

	(void)state;
	make_file(80 * MIB, 0);
	prove(&proving, plain, 0, 600, false, 300000000ull);
	assert_int_equal(proving.result, -ECANCELED);
}

static void test_forgetful(void **state)
{
	struct proving proving;

	(void)state;
	make_file(20 * MIB, 0);
	forget_each = 50;
	prove(&proving, &wicked, 0, 1, false, 0);
	forget_each = 0;
	assert_int_equal(proving.result, 0);
	assert_true(proving.proof.load.mismatches > 0);
}

static void test_failing(void **state)
{
	struct proving proving;

	(void)state;
	make_file(20 * MIB, 0);
	seen = 0;
	fail_each = 50;
	prove(&proving, &wicked, 0, 1, false, 0);
	fail_each = 0;
	assert_int_equal(proving.result, 0);
	assert_true(proving.proof.load.errors > 0);
}

/* ---- what a crash leaves ---- */
static struct prove_event event(char fill, uint64_t offset, uint64_t submitted, uint64_t completed,
				bool forced)
{
	uint8_t *data = malloc(4096);

	assert_non_null(data);
	memset(data, fill, 4096);
	return (struct prove_event){.offset = offset,
				    .length = 4096,
				    .submitted = submitted,
				    .completed = completed,
				    .forced = forced,
				    .data = data};
}

/* Of three writes the first is flushed, the second forced, the third neither; a fourth is later. */
static void test_crash(void **state)
{
	struct prove_event events[] = {
	    event('a', 0, 1, 2, false),
	    event('b', 4096, 3, 6, true),
	    {.flush = true, .submitted = 4, .completed = 7},
	    event('c', 8192, 5, 8, false),
	    event('d', 12288, 20, 21, true),
	};
	struct prove_trace trace = {.events = events, .count = 5};
	static uint8_t image[16384];
	unsigned whole = 0, none = 0, torn = 0;
	uint64_t random = 7;

	(void)state;
	for (unsigned i = 0; i < 400; i++) {
		unsigned parts = 0;

		prove_trace_crash(&trace, 10, 512, &random, image, sizeof image);
		assert_true(image[0] == 'a' && image[4095] == 'a');
		assert_true(image[4096] == 'b' && image[8191] == 'b');
		for (unsigned j = 0; j < 8; j++) {
			const uint8_t *part = image + 8192 + j * 512;

			assert_true(part[0] == 0 || part[0] == 'c');
			assert_memory_equal(part, part + 1, 511);
			parts += part[0] == 'c';
		}
		whole += parts == 8;
		none += parts == 0;
		torn += parts && parts < 8;
		assert_int_equal(image[12288], 0);
	}
	assert_true(whole > 40 && none > 100 && torn > 40);
	/* before the flush is through, and the forced write, both may be lost */
	whole = 0;
	for (unsigned i = 0; i < 100; i++) {
		prove_trace_crash(&trace, 5, 512, &random, image, sizeof image);
		whole += image[0] == 'a' && image[4096] == 'b';
	}
	assert_true(whole < 60);
	for (unsigned i = 0; i < 5; i++)
		free(events[i].data);
}

static int setup(void **state)
{
	const char *top = getenv("TMPDIR");
	struct err err;

	(void)state;
	snprintf(folder, sizeof folder, "%s/granary-prove-XXXXXX", top ? top : "/tmp");
	if (!mkdtemp(folder) || world_select("auto", &plain, &err) < 0)
		return -1;
	snprintf(path, sizeof path, "%s/device", folder);
	wicked = *plain;
	wicked.disk_submit = wicked_submit;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	unlink(path);
	return rmdir(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_crash),   cmocka_unit_test(test_sound),
	    cmocka_unit_test(test_small),   cmocka_unit_test(test_data),
	    cmocka_unit_test(test_created), cmocka_unit_test(test_busy),
	    cmocka_unit_test(test_stopped), cmocka_unit_test(test_forgetful),
	    cmocka_unit_test(test_failing),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
