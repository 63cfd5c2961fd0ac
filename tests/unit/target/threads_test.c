/* SPDX-License-Identifier: Apache-2.0 */
/* Two nexuses on two threads over a volume that takes its time, task management from both
 * against both, and a control thread that maps and unmaps: every command ends exactly once,
 * every function is answered, nothing is left. Meant for the sanitizers, too. */
#include <stdatomic.h>

#include "tests/unit/target/rig.h"

#define WORKERS  2
#define DEPTH    16
#define COMMANDS 100000
#define TICK_NS  20000

/* ---- a volume that finishes requests at random, on the loop they came from */

struct delay_volume {
	struct volume volume;
	struct volume *below;
};

struct worker {
	struct loop *loop;
	struct scsi_nexus *nexus;
	struct list held; /* requests; this loop only */
	struct timer tick;
	struct message go;
	uint64_t random_state;
	unsigned started, ended, aborted, good;
	struct worker_io {
		struct scsi_task task;
		struct worker *worker;
		uint8_t *data;
		bool busy;
	} io[DEPTH];
	struct scsi_tmf_request tmf;
	bool tmf_busy, leaving;
	unsigned answered;
	atomic_bool finished;
};

static struct worker workers[WORKERS];
static _Thread_local struct worker *self;

static uint32_t rnd(uint32_t below)
{
	self->random_state ^= self->random_state << 13;
	self->random_state ^= self->random_state >> 7;
	self->random_state ^= self->random_state << 17;
	return (uint32_t)(self->random_state >> 11) % below;
}

static void delay_submit(struct volume *volume, struct volume_request *request)
{
	(void)volume;
	list_push_back(&self->held, &request->link);
}

static void delay_cancel(struct volume *volume, struct volume_request *request)
{
	(void)volume;
	if (rnd(2) || list_empty(&request->link))
		return;
	list_remove(&request->link);
	if (rnd(2)) /* at once, or soon: both are allowed */
		request->done(request, -ECANCELED);
	else
		test_finish_later(request, -ECANCELED);
}

static void delay_gone(struct volume *volume)
{
	struct delay_volume *delay = container_of(volume, struct delay_volume, volume);

	volume_unref(delay->below);
	free(delay);
}

static const struct volume_ops delay_ops = {
    .name = "delay", .submit = delay_submit, .cancel = delay_cancel, .release = delay_gone};

static struct volume *delay_volume_new(const char *name)
{
	struct delay_volume *delay = calloc(1, sizeof(*delay));

	assert_non_null(delay);
	assert_int_equal(memory_volume_create(name, RIG_SIZE, &delay->below, NULL), 0);
	delay->volume = *delay->below;
	delay->volume.ops = &delay_ops;
	delay->volume.refs = 1;
	list_init(&delay->volume.watchers);
	return &delay->volume;
}

static void release_some(void)
{
	list_for_each_safe (it, &self->held) {
		struct volume_request *request = list_entry(it, struct volume_request, link);
		struct delay_volume *delay =
		    container_of(request->volume, struct delay_volume, volume);

		if (rnd(3) == 0)
			continue;
		list_remove(&request->link);
		delay->below->ops->submit(delay->below, request);
	}
}

/* ---- a worker */

static void start_io(struct worker_io *io);

static void worker_done(struct scsi_task *task)
{
	struct worker_io *io = container_of(task, struct worker_io, task);

	if (!io->busy)
		abort();
	self->ended++;
	self->aborted += task->aborted;
	self->good += task->status == SCSI_GOOD;
	scsi_task_end(task);
	io->busy = false;
}

static void start_io(struct worker_io *io)
{
	static const uint8_t opcodes[] = {0x28, 0x2a, 0x28, 0x2a, 0x2f, 0x35,
					  0x00, 0x12, 0xa0, 0x17, 0x89, 0x8b};
	struct scsi_task *task = &io->task;

	memset(task, 0, sizeof(*task));
	task->nexus = self->nexus;
	task->lun[1] = rnd(4) == 0;
	task->cdb[0] = rnd(500) ? opcodes[rnd(sizeof(opcodes))] : 0x16;
	task->cdb_length = 16;
	if (task->cdb[0] == 0x28 || task->cdb[0] == 0x2a || task->cdb[0] == 0x2f) {
		task->cdb[4] = (uint8_t)rnd(32);
		task->cdb[8] = 8;
	}
	if (task->cdb[0] == 0x89 || task->cdb[0] == 0x8b) {
		task->cdb[9] = (uint8_t)rnd(32);
		task->cdb[13] = task->cdb[0] == 0x89 ? 4 : 8;
	}
	task->tag = (uint64_t)(io - self->io);
	task->attribute = rnd(10) == 0 ? SCSI_ORDERED : SCSI_SIMPLE;
	task->data_out_expected = 4096;
	task->done = worker_done;
	io->busy = true;
	self->started++;
	scsi_task_begin(task);
	if (task->finished) {
		worker_done(task);
		return;
	}
	if (task->data_out_length) {
		task->data_out[0] = (struct iovec){io->data, task->data_out_length};
		task->data_out_count = 1;
	}
	scsi_task_execute(task);
}

static void tmf_answered(struct scsi_tmf_request *request, enum scsi_tmf_response response)
{
	struct worker *worker = container_of(request, struct worker, tmf);

	(void)response;
	if (!worker->tmf_busy)
		abort();
	worker->tmf_busy = false;
	worker->answered++;
}

static void maybe_manage(void)
{
	static const enum scsi_tmf functions[] = {
	    SCSI_ABORT_TASK,        SCSI_ABORT_TASK,         SCSI_ABORT_TASK_SET,
	    SCSI_CLEAR_TASK_SET,    SCSI_LOGICAL_UNIT_RESET, SCSI_QUERY_TASK,
	    SCSI_TARGET_WARM_RESET, SCSI_NEXUS_RESET,        SCSI_QUERY_TASK_SET,
	};

	if (self->tmf_busy || rnd(20))
		return;
	self->tmf = (struct scsi_tmf_request){
	    .function = functions[rnd(sizeof(functions) / sizeof(functions[0]))],
	    .nexus = self->nexus,
	    .lun = {0, (uint8_t)rnd(2)},
	    .tag = rnd(DEPTH),
	    .answered = tmf_answered,
	};
	self->tmf_busy = true;
	scsi_tmf_submit(&self->tmf);
}

static void gone(void *context)
{
	(void)context;
	scsi_nexus_destroy(self->nexus);
	timer_stop(&self->tick);
	atomic_store(&self->finished, true);
}

static void tick(struct timer *timer)
{
	release_some();
	timer_start(timer, TICK_NS);
	if (self->leaving)
		return;
	if (self->started >= COMMANDS) {
		if (self->tmf_busy)
			return;
		self->leaving = true;
		scsi_nexus_abort_all(self->nexus, gone, NULL);
		return;
	}
	for (unsigned i = 0; i < DEPTH; i++)
		if (!self->io[i].busy)
			start_io(&self->io[i]);
	maybe_manage();
}

static void worker_go(struct message *message)
{
	struct worker *worker = container_of(message, struct worker, go);

	self = worker;
	if (scsi_nexus_create(rig.target, worker == workers ? "i0" : "i1", "t", 1, &worker->nexus,
			      NULL))
		abort();
	timer_init(&worker->tick, worker->loop, tick);
	timer_start(&worker->tick, TICK_NS);
}

static void worker_start(struct worker *worker, uint64_t seed)
{
	*worker = (struct worker){.random_state = seed};
	list_init(&worker->held);
	for (unsigned i = 0; i < DEPTH; i++) {
		worker->io[i].data = aligned_alloc(4096, 4096);
		memset(worker->io[i].data, (int)i, 4096);
	}
	assert_int_equal(loop_create(&world_aio, &worker->loop, NULL), 0);
	assert_int_equal(loop_start_thread(worker->loop, "worker", NULL), 0);
	loop_post(worker->loop, &worker->go, worker_go);
}

static void worker_check(struct worker *worker)
{
	loop_join(worker->loop);
	assert_int_equal(worker->started, worker->ended);
	print_message("%u commands, %u good, %u aborted, %u functions\n", worker->started,
		      worker->good, worker->aborted, worker->answered);
	assert_true(worker->good > worker->started / 4);
	assert_true(worker->aborted > 0);
	assert_true(worker->answered > 0);
	for (unsigned i = 0; i < DEPTH; i++) {
		assert_false(worker->io[i].busy);
		free(worker->io[i].data);
	}
	loop_destroy(worker->loop);
}

/* ---- the control thread */

static unsigned unmaps_done;

static void unmapped(void *context)
{
	(void)context;
	unmaps_done++;
}

static void map_or_unmap(void *context)
{
	struct volume *volume = context;
	struct scsi_lun_info info;
	unsigned lun;

	if (scsi_target_next_lun(rig.target, 0, &info))
		assert_int_equal(scsi_target_unmap(rig.target, 1, unmapped, NULL, NULL), 0);
	else
		assert_int_equal(scsi_target_map(rig.target, volume, 1, &lun, NULL), 0);
	volume_notify(volume, VOLUME_RESIZED);
}

static void two_threads(void **state)
{
	struct volume *volume = delay_volume_new("d0"), *second = delay_volume_new("d1");
	unsigned lun, changes = 0;

	(void)state;
	memset(&rig, 0, sizeof(rig));
	assert_int_equal(loop_create(&world_aio, &rig.loop, NULL), 0);
	assert_int_equal(scsi_target_create("iqn.2026-11.test:t", &rig.target, NULL), 0);
	assert_int_equal(scsi_target_map(rig.target, volume, 0, &lun, NULL), 0);
	for (unsigned i = 0; i < WORKERS; i++)
		worker_start(&workers[i], 0x1234567 + i);
	while (!(atomic_load(&workers[0].finished) && atomic_load(&workers[1].finished))) {
		on_loop(map_or_unmap, second);
		changes++;
		for (unsigned i = 0; i < 5; i++)
			loop_poll(rig.loop, 1000000);
	}
	for (unsigned i = 0; i < WORKERS; i++)
		worker_check(&workers[i]);
	settle();
	assert_true(changes > 1);
	assert_int_equal(unmaps_done, changes / 2);
	assert_int_equal(scsi_target_destroy(rig.target, NULL), 0);
	assert_int_equal(volume->refs, 1);
	assert_int_equal(second->refs, 1);
	volume_unref(volume);
	volume_unref(second);
	loop_destroy(rig.loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(two_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
