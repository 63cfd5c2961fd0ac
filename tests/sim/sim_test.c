/* SPDX-License-Identifier: Apache-2.0 */
/* sim_test: the proof of the proof. The simulated disk keeps the rules it promises; the oracle
 * passes an engine that is right and fails each that is wrong in one known way; a seed is a
 * run, twice the same. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/campaign.h"
#include "tests/sim/toy.h"

static unsigned points, failures;

static void point(bool right, const char *what)
{
	points++;
	failures += !right;
	printf("%s %u - %s\n", right ? "ok" : "not ok", points, what);
}

/* One disk, one loop */

static struct sim *sim;
static struct loop *loop;
static struct disk *disk;
static _Alignas(4096) uint8_t block[8192];

struct io {
	struct disk_request request;
	bool done;
	int result;
};

static void io_done(struct disk_request *request, int result)
{
	struct io *io = container_of(request, struct io, request);

	io->done = true;
	io->result = result;
}

static void begin(uint64_t seed)
{
	struct err err;

	sim = sim_create(seed);
	sim_enter(sim);
	loop = sim_loop(sim);
	if (disk_open(&world_sim, "/sim/disk", DISK_CREATE | DISK_EXCLUSIVE, 1 << 20, &disk,
		      &err) != 0)
		abort();
}

static void end(void)
{
	disk_close(disk);
	loop_destroy(loop);
	sim_leave(sim);
	sim_destroy(sim);
}

static void submit(struct io *io, enum disk_op op, unsigned flags, uint64_t offset, void *data,
		   uint64_t length)
{
	*io = (struct io){.request = {.op = op,
				      .flags = flags,
				      .offset = offset,
				      .length = length,
				      .iov = &io->request.own_iov,
				      .iov_count = data ? 1 : 0,
				      .own_iov = {data, length},
				      .done = io_done}};
	disk_submit(loop, disk, &io->request);
}

static int run(enum disk_op op, unsigned flags, uint64_t offset, void *data, uint64_t length)
{
	struct io io;

	submit(&io, op, flags, offset, data, length);
	if (!sim_until(sim, &io.done, 10000))
		abort();
	return io.result;
}

/* The byte at @offset in the crash state that keeps (or drops) everything outstanding. */
static uint8_t after_crash(enum sim_fate fate, uint64_t offset)
{
	unsigned count = sim_outstanding(sim);
	uint8_t *fates = malloc(count + 1), byte;
	struct sim *after;

	assert(fates);
	memset(fates, fate, count + 1);
	after = sim_crash(sim, &(struct sim_plan){.fates = fates, .count = count, .seed = 7});
	sim_disk_peek(after, "/sim/disk", offset, &byte, 1);
	sim_destroy(after);
	free(fates);
	return byte;
}

static void write_byte(uint8_t byte, uint64_t offset, unsigned flags)
{
	memset(block, byte, 4096);
	if (run(DISK_WRITE, flags, offset, block, 4096) != 0)
		abort();
}

static void test_cache(void)
{
	begin(1);
	write_byte('a', 0, 0);
	point(after_crash(SIM_DROP, 0) == 0 && after_crash(SIM_KEEP, 0) == 'a',
	      "a completed write is volatile");
	run(DISK_FLUSH, 0, 0, NULL, 0);
	point(sim_outstanding(sim) == 0 && after_crash(SIM_DROP, 0) == 'a',
	      "a flush makes it durable");
	write_byte('b', 0, DISK_FUA);
	point(after_crash(SIM_DROP, 0) == 'b', "FUA is durable when it completes");
	sim_disk_rot(sim, "/sim/disk", 0);
	sim_disk_peek(sim, "/sim/disk", 0, block, 1);
	point(block[0] != 'b' && after_crash(SIM_DROP, 0) == block[0],
	      "rot is seen, now and later");
	write_byte('c', 0, 0);
	write_byte('d', 0, DISK_FUA);
	point(after_crash(SIM_KEEP, 0) == 'd', "an older volatile write never covers a FUA one");
	end();
}

static void test_flush_order(void)
{
	struct io flush, write;

	begin(2);
	submit(&flush, DISK_FLUSH, 0, 0, NULL, 0);
	memset(block, 'x', 4096);
	submit(&write, DISK_WRITE, 0, 4096, block, 4096);
	sim_until(sim, &write.done, 10000);
	sim_until(sim, &flush.done, 10000);
	point(after_crash(SIM_DROP, 4096) == 0,
	      "a flush says nothing about writes submitted after it");
	end();
}

static void test_tear(void)
{
	uint8_t fates[1] = {SIM_TEAR};
	bool mixed = false, whole = true;

	begin(3);
	write_byte('t', 0, 0);
	for (uint64_t seed = 0; seed < 64; seed++) {
		struct sim *after =
		    sim_crash(sim, &(struct sim_plan){.fates = fates, .count = 1, .seed = seed});
		unsigned kept = 0;

		sim_disk_peek(after, "/sim/disk", 0, block, 4096);
		for (unsigned s = 0; s < 8; s++) {
			kept += block[s * 512] == 't';
			whole &= block[s * 512] == block[s * 512 + 511];
		}
		mixed |= kept > 0 && kept < 8;
		sim_destroy(after);
	}
	point(mixed && whole, "writes tear between sectors, never inside one");
	end();
}

static bool fault_is(enum sim_fault fault, enum disk_op op)
{
	bool as_told = false;
	int result;

	begin(4 + fault);
	write_byte('1', 8192, 0);
	run(DISK_FLUSH, 0, 0, NULL, 0);
	write_byte('2', 8192, 0);
	sim_fault_at(sim, sim_io_count(sim), fault);
	memset(block, '3', 4096);
	result = run(op, 0, 8192, block, 4096);
	if (op == DISK_WRITE)
		sim_disk_peek(sim, "/sim/disk", 8192, block, 4096);
	if (fault == SIM_FAULT_EIO || fault == SIM_FAULT_ENOSPC)
		as_told = result < 0 && (op == DISK_READ || block[0] == '2');
	else if (fault == SIM_FAULT_SHORT)
		as_told = result < 0;
	else if (fault == SIM_FAULT_STALE)
		as_told = result == 0 && block[0] == '1';
	else if (fault == SIM_FAULT_LOST || fault == SIM_FAULT_MISDIRECT)
		as_told = result == 0 && (op == DISK_READ ? block[0] != '2' : block[0] == '2');
	else if (fault == SIM_FAULT_FLIP)
		for (unsigned i = 0; i < 4096; i++)
			as_told |= result == 0 && block[i] != (op == DISK_READ ? '2' : '3');
	end();
	return as_told;
}

static void test_faults(void)
{
	static const struct {
		enum sim_fault fault;
		enum disk_op op;
	} rows[] = {{SIM_FAULT_EIO, DISK_READ},       {SIM_FAULT_EIO, DISK_WRITE},
		    {SIM_FAULT_ENOSPC, DISK_WRITE},   {SIM_FAULT_SHORT, DISK_WRITE},
		    {SIM_FAULT_STALE, DISK_READ},     {SIM_FAULT_LOST, DISK_WRITE},
		    {SIM_FAULT_MISDIRECT, DISK_READ}, {SIM_FAULT_MISDIRECT, DISK_WRITE},
		    {SIM_FAULT_FLIP, DISK_READ},      {SIM_FAULT_FLIP, DISK_WRITE}};
	char what[100];

	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		snprintf(what, sizeof(what), "fault %s on a %s", sim_fault_name(rows[i].fault),
			 rows[i].op == DISK_READ ? "read" : "write");
		point(fault_is(rows[i].fault, rows[i].op), what);
	}
}

static void test_hang(void)
{
	struct io io;
	bool hung;

	begin(20);
	sim_fault_at(sim, 0, SIM_FAULT_HANG);
	submit(&io, DISK_READ, 0, 0, block, 4096);
	hung = !sim_until(sim, &io.done, 10000);
	sim_release_hung(sim);
	point(hung && sim_until(sim, &io.done, 10000), "a hung request answers when released");
	end();
}

static void test_complaint(void)
{
	struct io io;

	begin(21);
	submit(&io, DISK_WRITE, 0, 0, block, 4096);
	block[100] ^= 1;
	sim_until(sim, &io.done, 10000);
	point(sim_complaint(sim) != NULL, "a buffer that changes in flight is noticed");
	end();
}

/* The oracle */

static struct campaign toy_campaign(enum toy_bug bug, uint64_t states)
{
	struct campaign campaign = {
	    .subject = toy_subject(bug),
	    .first_seed = 1,
	    .runs_max = 40,
	    .states = states,
	    .failures_max = 1,
	    .run_seconds = 60,
	    .limits = {.states_per_crash = 16, .exhaustive = 6, .states_max = 400},
	    .quiet = bug != TOY_RIGHT,
	};

	campaign_run(&campaign);
	return campaign;
}

static void test_toys(void)
{
	static const char *const bugs[TOY_BUGS] = {
	    [TOY_FLUSH_LIES] = "a flush that is not done",
	    [TOY_FUA_LIES] = "FUA that is not done",
	    [TOY_FLUSH_EARLY] = "a flush answered by one already under way",
	    [TOY_READ_STALE] = "a stale read",
	    [TOY_WRITE_ASTRAY] = "a write one sector astray",
	    [TOY_FORGETS_DISCARD] = "a discard that is not done",
	    [TOY_HANGS] = "a write that is never answered",
	};
	struct campaign campaign = toy_campaign(TOY_RIGHT, 2000);
	char what[160];

	snprintf(what, sizeof(what), "an engine that is right passes %llu crash states",
		 (unsigned long long)campaign.counts.states);
	point(campaign.failed == 0 && campaign.counts.states >= 2000, what);
	for (enum toy_bug bug = TOY_RIGHT + 1; bug < TOY_BUGS; bug++) {
		campaign = toy_campaign(bug, 4000);
		snprintf(what, sizeof(what), "caught by seed %llu: %s",
			 (unsigned long long)campaign.failed_seed, bugs[bug]);
		point(campaign.failed == 1, what);
	}
}

static void test_determinism(void)
{
	struct campaign once = toy_campaign(TOY_RIGHT, 600), again = toy_campaign(TOY_RIGHT, 600);

	point(memcmp(&once.counts, &again.counts, sizeof(once.counts)) == 0 &&
		  once.counts.states > 0,
	      "the same seeds make the same runs");
}

int main(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	test_cache();
	test_flush_order();
	test_tear();
	test_faults();
	test_hang();
	test_complaint();
	test_toys();
	test_determinism();
	printf("1..%u\n", points);
	return failures ? 1 : 0;
}
