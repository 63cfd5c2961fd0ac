/* SPDX-License-Identifier: Apache-2.0 */
/* How long commands take: buckets, what is kept of LUNs and initiators, slow commands and what they
 * waited for. */
#include <time.h>

#include "tests/unit/target/rig.h"

#define MS 1000000ull

static void buckets(void **state)
{
	(void)state;
	assert_int_equal(latency_bucket(0), 0);
	assert_int_equal(latency_bucket(1), 0);
	for (unsigned i = 0; i + 1 < LATENCY_BUCKETS; i++) {
		uint64_t bound = latency_bound_ns(i);

		assert_int_equal(latency_bucket(bound), i);
		assert_int_equal(latency_bucket(bound + 1), i + 1);
	}
	assert_int_equal(latency_bucket(UINT64_MAX), LATENCY_BUCKETS - 1);
	assert_int_equal(latency_bound_ns(LATENCY_BUCKETS - 1), 0);
}

static uint64_t count_of(struct latency latency)
{
	uint64_t count = 0;

	for (unsigned i = 0; i < LATENCY_BUCKETS; i++)
		count += latency.bucket[i];
	return count;
}

static void read_one(struct scsi_nexus *nexus)
{
	assert_good(RUN(nexus, 0, 0x28, [8] = 1));
}

static void write_one(struct scsi_nexus *nexus)
{
	assert_good(RUN(nexus, 512, 0x2a, [8] = 1));
}

static struct scsi_latencies of_lun(void)
{
	struct scsi_latencies sum = {0};

	assert_true(scsi_target_latency(rig.target, 0, &sum));
	return sum;
}

static void take(void *context, const char *name, const struct scsi_latencies *latencies)
{
	(void)name;
	*(struct scsi_latencies *)context = *latencies;
}

static struct scsi_latencies of_client(const char *name)
{
	struct scsi_latencies sum = {0};

	scsi_client_latency(name, take, &sum);
	return sum;
}

/* Counts of a nexus that has gone stay, with the LUN and with the initiator. */
static void counted(void **state)
{
	uint64_t before = count_of(of_client("iqn.2026-11.test:a").read);
	struct scsi_latencies none = {0};

	(void)state;
	assert_int_equal(count_of(of_lun().read), 0);
	read_one(rig.a);
	read_one(rig.b);
	write_one(rig.b);
	assert_good(RUN(rig.a, 0, 0x00));       /* neither READ nor WRITE */
	assert_good(RUN(rig.a, 0, 0x48, 0x02)); /* SANITIZE: no WRITE either */
	assert_int_equal(count_of(of_lun().read), 2);
	assert_int_equal(count_of(of_lun().write), 1);
	assert_int_equal(count_of(of_client("iqn.2026-11.test:a").read), before + 1);
	on_loop(destroy_nexus, rig.a);
	rig.a = NULL;
	settle();
	assert_int_equal(count_of(of_lun().read), 2);
	assert_int_equal(count_of(of_client("iqn.2026-11.test:a").read), before + 1);
	on_loop(make_nexus_a, NULL);
	eat_attentions(rig.a);
	read_one(rig.a);
	assert_int_equal(count_of(of_lun().read), 3);
	assert_int_equal(count_of(of_client("iqn.2026-11.test:a").read), before + 2);
	assert_int_equal(count_of(of_client("iqn.2026-11.test:nobody").read), 0);
	assert_false(scsi_target_latency(rig.target, 7, &none));
	on_loop(destroy_nexus, rig.b); /* the second that goes */
	rig.b = NULL;
	settle();
	assert_int_equal(count_of(of_lun().read), 3);
	assert_int_equal(count_of(of_lun().write), 1);
}

/* A write that its back end holds for @ms, of which devices have it for @device_ms. */
static void slow_write(unsigned ms, unsigned device_ms)
{
	struct volume_request *request;

	rig.test->hold = true;
	io0.out_length = 512;
	io_start(&io0, rig.a, (const uint8_t[16]){0x2a, [5] = 9, [8] = 1}, 16);
	request = list_entry(rig.test->held.next, struct volume_request, link);
	nanosleep(&(struct timespec){0, (long)(ms * MS)}, NULL);
	request->device_from_ns = device_ms ? 1 : 0;
	request->device_to_ns = 1 + device_ms * MS;
	test_volume_release(rig.test);
	io_wait(&io0);
	assert_good(&io0);
}

static void what_it_waited_for(void **state)
{
	static struct scsi_slow slow[SCSI_SLOW_MAX];
	uint64_t sum = 0;

	(void)state;
	latency_set_slow_limit(20 * MS);
	slow_write(30, 10);
	assert_true(scsi_slow_list(slow, SCSI_SLOW_MAX) >= 1);
	assert_string_equal(slow[0].initiator, "iqn.2026-11.test:a");
	assert_string_equal(slow[0].target, "iqn.2026-11.test:t");
	assert_string_equal(slow[0].command, "WRITE(10)");
	assert_int_equal(slow[0].lba, 9);
	assert_int_equal(slow[0].blocks, 1);
	assert_true(slow[0].total_ns >= 30 * MS);
	assert_int_equal(slow[0].part_ns[SCSI_SLOW_DEVICE], 10 * MS);
	assert_true(slow[0].part_ns[SCSI_SLOW_ENGINE] >= 20 * MS);
	for (unsigned i = 0; i < SCSI_SLOW_PARTS; i++)
		sum += slow[0].part_ns[i];
	assert_int_equal(sum, slow[0].total_ns);
}

/* Behind an ORDERED command that hangs: the queue. */
static void queued(void **state)
{
	static struct scsi_slow slow[SCSI_SLOW_MAX];
	struct io first = {.out = io0.out, .in = io0.in, .attribute = SCSI_ORDERED};

	(void)state;
	latency_set_slow_limit(20 * MS);
	rig.test->hold = true;
	io_start(&first, rig.a, (const uint8_t[16]){0x28, [8] = 1}, 16);
	io_start(&io0, rig.a, (const uint8_t[16]){0x28, [5] = 77, [8] = 1}, 16);
	nanosleep(&(struct timespec){0, 30 * (long)MS}, NULL);
	test_volume_release(rig.test);
	io_wait(&first);
	io_wait(&io0);
	assert_true(scsi_slow_list(slow, SCSI_SLOW_MAX) >= 2);
	assert_int_equal(slow[0].lba, 77);
	assert_true(slow[0].part_ns[SCSI_SLOW_QUEUE] >= 30 * MS);
}

/* A tap that keeps writes. */
static struct volume_request *kept;

static bool keep(struct volume_tap *tap, struct volume_request *request)
{
	(void)tap;
	kept = request;
	return request->op != VOLUME_WRITE;
}

static bool passed(struct volume_tap *tap, struct volume_request *request, int result)
{
	(void)tap;
	(void)request;
	(void)result;
	return true;
}

static bool give_up(struct volume_tap *tap, struct volume_request *request)
{
	(void)tap;
	(void)request;
	return true;
}

static void let_pass(void *unused)
{
	(void)unused;
	volume_pass(kept);
}

static void refuse(void *unused)
{
	(void)unused;
	volume_refuse(kept, -ECANCELED);
}

/* What a tap holds waits before the engine, whether it goes on or is given up. */
static void tapped(void **state)
{
	static const struct volume_tap_ops ops = {keep, passed, give_up};
	static struct volume_tap tap = {&ops};
	static struct scsi_slow slow[SCSI_SLOW_MAX];

	(void)state;
	latency_set_slow_limit(20 * MS);
	volume_tap_set(rig.volume, &tap);
	for (unsigned given_up = 0; given_up < 2; given_up++) {
		io0.out_length = 512;
		io_start(&io0, rig.a, (const uint8_t[16]){0x2a, [5] = 5, [8] = 1}, 16);
		nanosleep(&(struct timespec){0, 30 * (long)MS}, NULL);
		on_loop(given_up ? refuse : let_pass, NULL);
		io_wait(&io0);
		assert_true(scsi_slow_list(slow, SCSI_SLOW_MAX) >= 1);
		assert_int_equal(slow[0].lba, 5);
		assert_true(slow[0].part_ns[SCSI_SLOW_QUEUE] >= 30 * MS);
	}
	volume_tap_set(rig.volume, NULL);
}

static void the_last_ones(void **state)
{
	static struct scsi_slow slow[SCSI_SLOW_MAX + 1];
	uint64_t number;

	(void)state;
	latency_set_slow_limit(1 * MS);
	slow_write(3, 0);
	assert_true(scsi_slow_list(slow, 1) == 1);
	number = slow[0].number;
	for (unsigned i = 0; i < SCSI_SLOW_MAX + 4; i++)
		slow_write(2, 0);
	assert_int_equal(scsi_slow_list(slow, SCSI_SLOW_MAX + 1), SCSI_SLOW_MAX);
	assert_int_equal(slow[0].number, number + SCSI_SLOW_MAX + 4);
	assert_int_equal(slow[SCSI_SLOW_MAX - 1].number, slow[0].number - SCSI_SLOW_MAX + 1);
	latency_set_slow_limit(0);
	slow_write(3, 0);
	assert_int_equal(scsi_slow_list(slow, 1), 1);
	assert_int_equal(slow[0].number, number + SCSI_SLOW_MAX + 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(buckets),
	    cmocka_unit_test_setup_teardown(counted, setup, teardown),
	    cmocka_unit_test_setup_teardown(what_it_waited_for, setup, teardown),
	    cmocka_unit_test_setup_teardown(queued, setup, teardown),
	    cmocka_unit_test_setup_teardown(tapped, setup, teardown),
	    cmocka_unit_test_setup_teardown(the_last_ones, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
