/* SPDX-License-Identifier: Apache-2.0 */
/* What a cluster file system does with COMPARE AND WRITE: 64 hosts on four threads want the same
 * heartbeat block. Each round every host tries to put its name there; one wins, all others hear
 * MISCOMPARE. Hosts are lost in the middle of it: what they asked for has happened or has not.
 * ATS_ROUNDS=1000000 takes minutes. */
#include <stdatomic.h>

#include "tests/unit/target/rig.h"

#define THREADS 4
#define HOSTS   16 /* a thread */
#define ROUNDS  4000
#define BLOCK   512
#define REGION  37 /* the block */
#define LUN     1

struct host {
	struct scsi_task task;
	struct thread *thread;
	struct scsi_nexus *nexus;
	unsigned id;
	uint8_t *data; /* what is there, what shall be */
	bool lost;
};

struct thread {
	struct loop *loop;
	struct message go, back;
	struct host hosts[HOSTS];
	unsigned left; /* hosts that are not through */
	int winner;    /* of this round; -1 */
	unsigned winners, losers, lost;
	bool last;
};

static struct thread threads[THREADS];
static uint8_t block[BLOCK]; /* what is in the region; between rounds */
static unsigned current_round, arrived;

static void require(bool condition)
{
	if (!condition)
		abort();
}

static void thread_arrives(struct message *message)
{
	(void)message;
	arrived++;
}

static void through(struct thread *thread)
{
	if (--thread->left == 0)
		loop_post(rig.loop, &thread->back, thread_arrives);
}

static void join_target(struct host *host)
{
	char name[64];

	snprintf(name, sizeof(name), "iqn.2026-11.test:h%u,i,0x000000000001", host->id);
	require(scsi_nexus_create(rig.target, name, "t", 1, &host->nexus, NULL) == 0);
}

static void host_gone(void *context)
{
	struct host *host = context;

	scsi_nexus_destroy(host->nexus);
	join_target(host);
	through(host->thread);
}

static void host_done(struct scsi_task *task)
{
	struct host *host = container_of(task, struct host, task);
	struct thread *thread = host->thread;
	uint16_t asc = task->sense_length ? get_be16(task->sense + 12) : 0;

	if (task->status == SCSI_GOOD) {
		thread->winner = (int)host->id;
		thread->winners++;
	} else if (task->status == SCSI_CHECK_CONDITION) {
		require(task->sense[2] == SENSE_MISCOMPARE && asc == ASC_MISCOMPARE);
		require(get_be32(task->sense + 3) == 0);
		thread->losers++;
	} else {
		require(task->aborted && host->lost);
		thread->lost++;
	}
	scsi_task_end(task);
	if (!host->lost)
		through(thread);
}

static void begin(struct host *host)
{
	struct scsi_task *task = &host->task;

	memset(task, 0, sizeof(*task));
	task->nexus = host->nexus;
	task->lun[1] = LUN;
	task->cdb[0] = 0x89;
	task->cdb[9] = REGION;
	task->cdb[13] = 1;
	task->cdb_length = 16;
	task->data_out_expected = 2 * BLOCK;
	task->done = host_done;
	scsi_task_begin(task);
}

/* The first command of a nexus hears the unit attention. */
static void try(struct host *host)
{
	uint32_t stamp[2] = {current_round, host->id};

	memcpy(host->data, block, BLOCK);
	memset(host->data + BLOCK, (int)host->id, BLOCK);
	memcpy(host->data + BLOCK, stamp, sizeof(stamp));
	host->data[BLOCK] = (uint8_t)~block[0]; /* a loser's first byte always differs */
	begin(host);
	while (host->task.finished) {
		scsi_task_end(&host->task);
		begin(host);
	}
	host->task.data_out[0] = (struct iovec){host->data, 2 * BLOCK};
	host->task.data_out_count = 1;
	scsi_task_execute(&host->task);
	if (host->lost)
		scsi_nexus_abort_all(host->nexus, host_gone, host);
}

static void play(struct message *message)
{
	struct thread *thread = container_of(message, struct thread, go);
	unsigned lost_one = (current_round * 2654435761u) >> 16;

	thread->left = HOSTS;
	thread->winner = -1;
	thread->winners = thread->losers = thread->lost = 0;
	for (unsigned i = 0; i < HOSTS; i++) {
		struct host *host = &thread->hosts[(i + current_round) % HOSTS];

		host->lost = current_round % 5 == 0 && host->id % 16 == lost_one % 16;
		try(host);
	}
}

static void enter(struct message *message)
{
	struct thread *thread = container_of(message, struct thread, go);

	for (unsigned i = 0; i < HOSTS; i++)
		join_target(&thread->hosts[i]);
	loop_post(rig.loop, &thread->back, thread_arrives);
}

static void leave(struct message *message)
{
	struct thread *thread = container_of(message, struct thread, go);

	for (unsigned i = 0; i < HOSTS; i++)
		scsi_nexus_destroy(thread->hosts[i].nexus);
	loop_post(rig.loop, &thread->back, thread_arrives);
}

static void everybody(void (*what)(struct message *message))
{
	arrived = 0;
	for (unsigned i = 0; i < THREADS; i++)
		loop_post(threads[i].loop, &threads[i].go, what);
	while (arrived < THREADS)
		loop_poll(rig.loop, 100000000);
}

/* Exactly one: it says so, or it is lost and its name is there. */
static void check_round(void)
{
	unsigned winners = 0, losers = 0, lost = 0;
	uint32_t stamp[2];
	int winner = -1;

	for (unsigned i = 0; i < THREADS; i++) {
		winners += threads[i].winners;
		losers += threads[i].losers;
		lost += threads[i].lost;
		if (threads[i].winner >= 0)
			winner = threads[i].winner;
	}
	assert_int_equal(winners + losers + lost, THREADS * HOSTS);
	assert_true(winners <= 1);
	assert_good(RUN(rig.a, 0, 0x88, [9] = REGION, [13] = 1));
	if (memcmp(io0.in, block, BLOCK) == 0)
		fail_msg("round %u: nobody won", current_round);
	memcpy(stamp, io0.in, sizeof(stamp));
	if (winners == 1)
		assert_int_equal(stamp[1], winner);
	else
		assert_true(threads[stamp[1] / HOSTS].hosts[stamp[1] % HOSTS].lost);
	memcpy(block, io0.in, BLOCK);
}

static void one_winner(void **state)
{
	const char *wanted = getenv("ATS_ROUNDS");
	unsigned rounds = wanted ? (unsigned)strtoul(wanted, NULL, 0) : ROUNDS;

	(void)state;
	for (unsigned i = 0; i < THREADS; i++) {
		assert_int_equal(loop_create(&world_aio, &threads[i].loop, NULL), 0);
		for (unsigned j = 0; j < HOSTS; j++) {
			struct host *host = &threads[i].hosts[j];

			host->id = i * HOSTS + j;
			host->thread = &threads[i];
			host->data = aligned_alloc(4096, 4096);
		}
		assert_int_equal(loop_start_thread(threads[i].loop, "hosts", NULL), 0);
	}
	memset(block, 0, sizeof(block));
	everybody(enter);
	for (current_round = 1; current_round <= rounds; current_round++) {
		everybody(play);
		check_round();
	}
	everybody(leave);
	for (unsigned i = 0; i < THREADS; i++) {
		loop_join(threads[i].loop);
		loop_destroy(threads[i].loop);
		for (unsigned j = 0; j < HOSTS; j++)
			free(threads[i].hosts[j].data);
	}
}

static struct volume *volume;

static void map_second(void *context)
{
	unsigned lun;

	(void)context;
	assert_int_equal(scsi_target_map(rig.target, volume, LUN, &lun, NULL), 0);
}

/* The rig's own volume counts, and is for one thread. */
static int setup_shared(void **state)
{
	setup(state);
	assert_int_equal(memory_volume_create("heartbeat", RIG_SIZE, &volume, NULL), 0);
	on_loop(map_second, NULL);
	io0.lun = LUN;
	eat_attentions(rig.a);
	return 0;
}

static int teardown_shared(void **state)
{
	teardown(state);
	volume_unref(volume);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(one_winner, setup_shared, teardown_shared),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
