/* SPDX-License-Identifier: Apache-2.0 */
/* A host profile's check whose time is up while its registration is under way: it is told in time,
 * and leaves nothing behind. */
#include <time.h>
#include <unistd.h>

#include "tests/unit/target/rig.h"

static char store_path[64];
static bool told, fits;
static unsigned unfit;

static int setup_stored(void **state)
{
	const struct world_ops *world;

	snprintf(store_path, sizeof(store_path), "/tmp/granary-profile-%d", (int)getpid());
	unlink(store_path);
	assert_int_equal(world_select("aio", &world, NULL), 0);
	assert_int_equal(scsi_reservations_open(world, store_path, NULL), 0);
	return setup(state);
}

static int teardown_stored(void **state)
{
	scsi_reservations_close(); /* its thread may be about to wake the loop */
	unlink(store_path);
	return teardown(state);
}

static void done(void *context, const struct scsi_report *report)
{
	(void)context;
	fits = report->fits;
	unfit = 0;
	for (unsigned i = 0; i < report->count; i++)
		unfit += report->findings[i].verdict == SCSI_UNFIT;
	__atomic_store_n(&told, true, __ATOMIC_RELEASE);
}

static void check(void *context)
{
	(void)context;
	__atomic_store_n(&told, false, __ATOMIC_RELEASE);
	assert_int_equal(scsi_profile_check(rig.target, 0, "windows", done, NULL, NULL), 0);
}

static unsigned nexus_count(void)
{
	unsigned count = 0;

	topology_lock();
	list_for_each (it, &rig.target->nexuses)
		count++;
	topology_unlock();
	return count;
}

/* Until the check has gone, however long it takes to say something. */
static void wait_for_end(void)
{
	for (int i = 0; i < 20000 && (!told || nexus_count() > 2); i++)
		loop_poll(rig.loop, 1000000);
	assert_true(told);
	assert_int_equal(nexus_count(), 2);
}

static unsigned registrations(void)
{
	struct io *io = RUN(rig.a, 0, 0x5e, 0, [8] = 64);

	assert_good(io);
	return get_be32(io->in + 4) / 8;
}

static void in_time(void **state)
{
	(void)state;
	on_loop(check, NULL);
	wait_for_end();
	assert_true(fits);
	assert_int_equal(registrations(), 0);
}

static void busy_disk(struct message *message)
{
	(void)message;
	while (!__atomic_load_n(&told, __ATOMIC_ACQUIRE))
		nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
}

/* The reservations' thread waits for its disk until the check has said something. */
static void time_is_up(void **state)
{
	static struct message hang;

	(void)state;
	__atomic_store_n(&told, false, __ATOMIC_RELEASE);
	pr_store_post(&hang, busy_disk);
	on_loop(check, NULL);
	wait_for_end();
	assert_false(fits);
	assert_true(unfit > 0);
	assert_int_equal(registrations(), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(in_time, setup_stored, teardown_stored),
	    cmocka_unit_test_setup_teardown(time_is_up, setup_stored, teardown_stored),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
