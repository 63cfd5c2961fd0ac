/* SPDX-License-Identifier: Apache-2.0 */
/* Unit attentions, reservations, LUN maps and task management, with two nexuses. */
#include "tests/unit/target/rig.h"

/* ---- unit attentions */

static void power_on(void **state)
{
	(void)state;
	/* commands that neither report nor clear */
	assert_good(RUN(rig.a, 0, 0x12, 0, 0, 0, 96));
	assert_good(RUN(rig.a, 0, 0xa0, 0, 0, 0, 0, 0, 0, 0, 1, 0));
	assert_sense(RUN(rig.a, 0, 0x28, [8] = 1), 6, 0x2900);
	assert_good(RUN(rig.a, 0, 0x28, [8] = 1));
	/* the other nexus has its own, and REQUEST SENSE takes it */
	assert_good(RUN(rig.b, 0, 0x03, 0, 0, 0, 18));
	assert_int_equal(io0.in[2], 6);
	assert_int_equal(get_be16(io0.in + 12), 0x2900);
	assert_good(RUN(rig.b, 0, 0x00));
}

static void unknown_opcode_reports_attention_first(void **state)
{
	(void)state;
	assert_sense(RUN(rig.a, 0, 0xee), 6, 0x2900);
	assert_sense(RUN(rig.a, 0, 0xee), 5, 0x2000);
}

static void resize(void **state)
{
	(void)state;
	volume_notify(rig.volume, VOLUME_RENAMED);
	assert_good(RUN(rig.a, 0, 0x00));
	volume_notify(rig.volume, VOLUME_RESIZED);
	volume_notify(rig.volume, VOLUME_RESIZED); /* a kind pends once */
	assert_sense(RUN(rig.a, 0, 0x00), 6, 0x2a09);
	assert_good(RUN(rig.a, 0, 0x00));
	assert_sense(RUN(rig.b, 0, 0x00), 6, 0x2a09); /* not eaten by the first */
}

/* Each nexus hears that the data is another, and then of the size if that is too. */
static void rolled_back(void **state)
{
	(void)state;
	volume_notify(rig.volume, VOLUME_ROLLED_BACK);
	volume_notify(rig.volume, VOLUME_RESIZED);
	assert_sense(RUN(rig.a, 0, 0x28, [8] = 1), 6, 0x2800);
	assert_sense(RUN(rig.a, 0, 0x28, [8] = 1), 6, 0x2a09);
	assert_good(RUN(rig.a, 0, 0x28, [8] = 1));
	assert_sense(RUN(rig.b, 0, 0x00), 6, 0x2800);
	assert_sense(RUN(rig.b, 0, 0x00), 6, 0x2a09);
	assert_good(RUN(rig.b, 0, 0x00));
}

static void attention_set_rules(void **state)
{
	struct scsi_itl itl = {0};

	(void)state;
	attention_set(&itl, ATTENTION_MODE_CHANGED);
	attention_set(&itl, ATTENTION_CAPACITY_CHANGED);
	attention_set(&itl, ATTENTION_LU_RESET); /* wipes what was before */
	attention_set(&itl, ATTENTION_COMMANDS_CLEARED);
	assert_int_equal(attention_take(&itl), 0x2903);
	assert_int_equal(attention_take(&itl), 0x2f00);
	assert_int_equal(attention_take(&itl), 0);
	attention_set(&itl, ATTENTION_POWER_ON);
	attention_set(&itl, ATTENTION_LU_RESET); /* a lesser reset adds nothing */
	assert_int_equal(attention_take(&itl), 0x2900);
	assert_int_equal(attention_take(&itl), 0);
}

/* ---- LUN maps */

static bool unmap_done;

static void unmapped(void *context)
{
	(void)context;
	unmap_done = true;
}

static void unmap_lun(void *context)
{
	unmap_done = false;
	assert_int_equal(scsi_target_unmap(rig.target, *(unsigned *)context, unmapped, NULL, NULL),
			 0);
}

static void map_changes(void **state)
{
	unsigned lun;

	(void)state;
	assert_int_equal(scsi_target_map(rig.target, rig.volume, 7, &lun, NULL), 0);
	assert_int_equal(scsi_target_map(rig.target, rig.volume, 7, &lun, NULL), -EEXIST);
	assert_int_equal(scsi_target_map(rig.target, rig.volume, SCSI_LUN_MAX + 1, &lun, NULL),
			 -EINVAL);
	assert_sense(RUN(rig.a, 0, 0x00), 6, 0x3f0e);
	assert_good(RUN(rig.a, 0, 0x00));
	/* REPORT LUNS clears it */
	assert_good(RUN(rig.b, 0, 0xa0, 0, 0, 0, 0, 0, 0, 0, 1, 0));
	assert_good(RUN(rig.b, 0, 0x00));
	io0.lun = 7;
	assert_sense(RUN(rig.a, 0, 0x00), 6, 0x2900);
	eat_attentions(rig.a);
	io0.lun = 0;
	lun = 7;
	on_loop(unmap_lun, &lun);
	settle();
	assert_true(unmap_done);
	assert_sense(RUN(rig.a, 0, 0x00), 6, 0x3f0e);
	io0.lun = 7;
	assert_sense(RUN(rig.a, 0, 0x00), 5, 0x2500);
	assert_int_equal(scsi_target_unmap(rig.target, 7, NULL, NULL, NULL), -ENOENT);
}

/* ---- what idle initiators are told */

static unsigned told_count;
static uint16_t told_asc[8];
static unsigned told_lun[8];

static void hear(void *context, const uint8_t lun[8], uint16_t asc)
{
	assert_ptr_equal(context, &told_count);
	if (told_count < 8) {
		told_asc[told_count] = asc;
		told_lun[told_count] = get_be16(lun);
	}
	told_count++;
}

static void listen_to_a(void *context)
{
	scsi_nexus_listen(rig.a, context ? hear : NULL, context);
}

static void grow(void *context)
{
	(void)context;
	volume_notify(rig.volume, VOLUME_RESIZED);
	volume_notify(rig.volume, VOLUME_RESIZED);
}

static void news(void **state)
{
	unsigned lun = 300;

	(void)state;
	told_count = 0;
	on_loop(listen_to_a, &told_count);
	on_loop(grow, NULL);
	settle();
	assert_int_equal(told_count, 0); /* not unless it is wished for */
	eat_attentions(rig.a);
	scsi_target_set_events(rig.target, true);
	on_loop(grow, NULL);
	settle();
	assert_int_equal(told_count, 1);
	assert_int_equal(told_asc[0], 0x2a09);
	assert_int_equal(told_lun[0], 0);
	assert_sense(RUN(rig.a, 0, 0x00), 6, 0x2a09);
	assert_int_equal(scsi_target_map(rig.target, rig.volume, 300, &lun, NULL), 0);
	settle();
	assert_int_equal(told_count, 2); /* one says it of all LUNs */
	assert_int_equal(told_asc[1], 0x3f0e);
	on_loop(grow, NULL);
	settle();
	assert_int_equal(told_count, 4); /* both, and nothing again of LUNs */
	assert_int_equal(told_lun[3], 0x4000 | 300);
	on_loop(unmap_lun, &lun);
	settle();
	assert_int_equal(told_count, 5);
	lun = 0;
	on_loop(unmap_lun, &lun);
	settle();
	assert_int_equal(told_count, 6); /* none is left, and that is said too */
	assert_int_equal(told_asc[5], 0x3f0e);
	on_loop(listen_to_a, NULL);
	assert_int_equal(scsi_target_map(rig.target, rig.volume, 0, &lun, NULL), 0);
	settle();
	assert_int_equal(told_count, 6);
	scsi_target_set_events(rig.target, false);
}

static const char name_a[] = "iqn.2026-11.test:a", name_b[] = "iqn.2026-11.test:b";

static void mask(const char *name)
{
	char text[1][SCSI_NAME_MAX + 1] = {""};
	struct scsi_names names = {name ? 1 : 0, text};

	snprintf(text[0], sizeof(text[0]), "%s", name ? name : "");
	assert_int_equal(scsi_target_mask(rig.target, 0, &names, NULL), 0);
	settle();
}

static unsigned luns_of(struct scsi_nexus *nexus)
{
	assert_good(RUN(nexus, 0, 0xa0, [8] = 1, [9] = 0));
	return get_be32(io0.in) / 8;
}

static void masked(void **state)
{
	(void)state;
	mask(name_a);
	assert_good(RUN(rig.a, 0, 0x28, [8] = 1)); /* has noticed nothing */
	assert_int_equal(luns_of(rig.a), 1);
	assert_sense(RUN(rig.b, 0, 0x28, [8] = 1), 5, 0x2500);
	assert_int_equal(luns_of(rig.b), 0);
	on_loop(destroy_nexus, rig.b);
	on_loop(make_nexus_b, NULL); /* nor after another login */
	assert_sense(RUN(rig.b, 0, 0x28, [8] = 1), 5, 0x2500);
	mask(name_b);
	assert_sense(RUN(rig.a, 0, 0x28, [8] = 1), 5, 0x2500);
	assert_sense(RUN(rig.b, 0, 0x00), 6, 0x2900);
	assert_sense(RUN(rig.b, 0, 0x00), 6, 0x3f0e);
	assert_good(RUN(rig.b, 0, 0x28, [8] = 1));
	mask(NULL); /* nobody */
	assert_int_equal(luns_of(rig.a) + luns_of(rig.b), 0);
	assert_int_equal(scsi_target_mask(rig.target, 0, NULL, NULL), 0);
	assert_int_equal(luns_of(rig.a) + luns_of(rig.b), 2);
	assert_int_equal(scsi_target_mask(rig.target, 7, NULL, NULL), -ENOENT);
	settle();
}

static void unmap_waits_for_tasks(void **state)
{
	struct io slow = {.in = io0.in};
	unsigned lun = 0;

	(void)state;
	rig.test->hold = true;
	io_start(&slow, rig.a, (uint8_t[16]){0x28, [8] = 1}, 16);
	on_loop(unmap_lun, &lun);
	settle();
	assert_false(unmap_done);
	assert_sense(RUN(rig.a, 0, 0x00), 5, 0x2500);
	test_volume_release(rig.test);
	io_wait(&slow);
	assert_good(&slow);
	settle();
	assert_true(unmap_done);
}

static void one_volume_is_one_unit(void **state)
{
	struct scsi_target *other;
	struct scsi_lun_info info;
	unsigned lun;

	(void)state;
	assert_int_equal(scsi_target_create("iqn.2026-11.test:u", &other, NULL), 0);
	assert_int_equal(scsi_target_map(other, rig.volume, -1, &lun, NULL), 0);
	assert_good(RUN(rig.a, 0, 0x16));
	assert_true(scsi_target_next_lun(other, -1, &info));
	assert_non_null(strstr(info.reservation, "iqn.2026-11.test:a"));
	assert_false(scsi_target_next_lun(other, 0, &info));
	assert_int_equal(scsi_target_destroy(other, NULL), 0);
	assert_int_equal(scsi_target_destroy(rig.target, NULL), -EBUSY);
}

static void statistics(void **state)
{
	struct scsi_lun_info info;

	(void)state;
	assert_good(RUN(rig.a, 1024, 0x2a, [8] = 2));
	assert_good(RUN(rig.b, 0, 0x28, [8] = 4));
	RUN(rig.a, 0, 0x28, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 1);
	on_loop(destroy_nexus, rig.b);
	rig.b = NULL;
	assert_true(scsi_target_next_lun(rig.target, -1, &info));
	assert_int_equal(info.write_ops, 1);
	assert_int_equal(info.write_bytes, 1024);
	assert_int_equal(info.read_ops, 1);
	assert_int_equal(info.read_bytes, 2048);
	assert_string_equal(info.reservation, "none");
}

/* ---- RESERVE(6) */

static void reservation(void **state)
{
	(void)state;
	assert_good(RUN(rig.a, 0, 0x16));
	assert_good(RUN(rig.a, 0, 0x16)); /* again is fine */
	assert_int_equal(RUN(rig.b, 0, 0x16)->status, SCSI_RESERVATION_CONFLICT);
	assert_int_equal(RUN(rig.b, 0, 0x00)->status, SCSI_RESERVATION_CONFLICT);
	assert_int_equal(RUN(rig.b, 0, 0x28, [8] = 1)->status, SCSI_RESERVATION_CONFLICT);
	assert_int_equal(RUN(rig.b, 512, 0x2a, [8] = 1)->status, SCSI_RESERVATION_CONFLICT);
	assert_int_equal(RUN(rig.b, 0, 0x1a, 0, 0x3f, 0, 255)->status, SCSI_RESERVATION_CONFLICT);
	assert_good(RUN(rig.b, 0, 0x12, 0, 0, 0, 96));
	assert_good(RUN(rig.b, 0, 0xa0, 0, 0, 0, 0, 0, 0, 0, 1, 0));
	assert_good(RUN(rig.b, 0, 0x03, 0, 0, 0, 18));
	assert_good(RUN(rig.b, 0, 0x17)); /* not his to release */
	assert_int_equal(RUN(rig.b, 0, 0x00)->status, SCSI_RESERVATION_CONFLICT);
	assert_good(RUN(rig.a, 512, 0x2a, [8] = 1));
	assert_good(RUN(rig.a, 0, 0x17));
	assert_good(RUN(rig.b, 0, 0x16));
	/* nexus loss releases */
	on_loop(destroy_nexus, rig.b);
	rig.b = NULL;
	assert_good(RUN(rig.a, 0, 0x28, [8] = 1));
}

/* ---- task management */

struct tmf {
	struct scsi_tmf_request request;
	bool answered;
	enum scsi_tmf_response response;
};

static void tmf_answered(struct scsi_tmf_request *request, enum scsi_tmf_response response)
{
	struct tmf *tmf = container_of(request, struct tmf, request);

	assert_false(tmf->answered);
	tmf->answered = true;
	tmf->response = response;
}

static void tmf_submit(void *context)
{
	struct tmf *tmf = context;

	scsi_tmf_submit(&tmf->request);
	assert_false(tmf->answered);
}

static void tmf_start(struct tmf *tmf, struct scsi_nexus *nexus, enum scsi_tmf function,
		      uint64_t tag)
{
	*tmf = (struct tmf){
	    .request = {
		.function = function, .nexus = nexus, .tag = tag, .answered = tmf_answered}};
	on_loop(tmf_submit, tmf);
}

static enum scsi_tmf_response tmf_run(struct scsi_nexus *nexus, enum scsi_tmf function,
				      uint64_t tag)
{
	struct tmf tmf;

	tmf_start(&tmf, nexus, function, tag);
	settle();
	assert_true(tmf.answered);
	return tmf.response;
}

static const uint8_t write_one[16] = {0x2a, [8] = 1};

static void abort_one(void **state)
{
	struct io one = {.out = io0.out, .out_length = 512, .in = io0.in}, two = one;

	(void)state;
	rig.test->hold = true;
	io_start(&one, rig.a, write_one, 16);
	io_start(&two, rig.a, write_one, 16);
	assert_int_equal(tmf_run(rig.a, SCSI_ABORT_TASK, 999999), SCSI_TMF_NO_SUCH_TASK);
	assert_int_equal(tmf_run(rig.b, SCSI_ABORT_TASK, one.task.tag), SCSI_TMF_NO_SUCH_TASK);
	assert_int_equal(tmf_run(rig.a, SCSI_QUERY_TASK, one.task.tag), SCSI_TMF_SUCCEEDED);
	assert_int_equal(tmf_run(rig.a, SCSI_ABORT_TASK, one.task.tag), SCSI_TMF_COMPLETE);
	assert_true(one.done);
	assert_true(one.aborted);
	assert_false(two.done);
	assert_int_equal(tmf_run(rig.a, SCSI_QUERY_TASK, one.task.tag), SCSI_TMF_COMPLETE);
	test_volume_release(rig.test);
	io_wait(&two);
	assert_good(&two);
	assert_int_equal(tmf_run(rig.a, SCSI_ABORT_TASK, two.task.tag), SCSI_TMF_NO_SUCH_TASK);
}

static void abort_set_spares_others(void **state)
{
	struct io mine = {.out = io0.out, .out_length = 512, .in = io0.in}, theirs = mine;

	(void)state;
	rig.test->hold = true;
	io_start(&mine, rig.a, write_one, 16);
	io_start(&theirs, rig.b, write_one, 16);
	assert_int_equal(tmf_run(rig.a, SCSI_QUERY_TASK_SET, 0), SCSI_TMF_SUCCEEDED);
	assert_int_equal(tmf_run(rig.a, SCSI_ABORT_TASK_SET, 0), SCSI_TMF_COMPLETE);
	assert_int_equal(tmf_run(rig.a, SCSI_QUERY_TASK_SET, 0), SCSI_TMF_COMPLETE);
	assert_true(mine.aborted);
	assert_false(theirs.done);
	assert_int_equal(tmf_run(rig.a, SCSI_CLEAR_TASK_SET, 0), SCSI_TMF_COMPLETE);
	assert_true(theirs.aborted);
	rig.test->hold = false;
	assert_good(RUN(rig.a, 0, 0x00));
	assert_sense(RUN(rig.b, 0, 0x00), 6, 0x2f00);
}

static void resets(void **state)
{
	struct io mine = {.out = io0.out, .out_length = 512, .in = io0.in}, theirs = mine;

	(void)state;
	assert_good(RUN(rig.a, 0, 0x16));
	rig.test->hold = true;
	io_start(&mine, rig.a, write_one, 16);
	assert_int_equal(tmf_run(rig.b, SCSI_LOGICAL_UNIT_RESET, 0), SCSI_TMF_COMPLETE);
	assert_true(mine.aborted);
	assert_sense(RUN(rig.a, 0, 0x00), 6, 0x2903);
	assert_sense(RUN(rig.b, 0, 0x00), 6, 0x2903); /* the reservation is gone */
	io_start(&mine, rig.a, write_one, 16);
	io_start(&theirs, rig.b, write_one, 16);
	assert_int_equal(tmf_run(rig.b, SCSI_TARGET_WARM_RESET, 0), SCSI_TMF_COMPLETE);
	assert_true(mine.aborted && theirs.aborted);
	assert_sense(RUN(rig.a, 0, 0x00), 6, 0x2902);
	assert_sense(RUN(rig.b, 0, 0x00), 6, 0x2902);
	assert_good(RUN(rig.b, 0, 0x16));
	assert_int_equal(tmf_run(rig.b, SCSI_NEXUS_RESET, 0), SCSI_TMF_COMPLETE);
	assert_good(RUN(rig.a, 0, 0x00));
	assert_int_equal(tmf_run(rig.b, SCSI_QUERY_ASYNC_EVENT, 0), SCSI_TMF_SUCCEEDED);
	assert_sense(RUN(rig.b, 0, 0x00), 6, 0x2907);
	assert_int_equal(tmf_run(rig.b, SCSI_QUERY_ASYNC_EVENT, 0), SCSI_TMF_COMPLETE);
	assert_int_equal(tmf_run(rig.a, SCSI_CLEAR_ACA, 0), SCSI_TMF_NOT_SUPPORTED);
}

static void no_such_lun(void **state)
{
	struct tmf tmf = {.request = {.function = SCSI_LOGICAL_UNIT_RESET,
				      .nexus = rig.a,
				      .lun = {0, 9},
				      .answered = tmf_answered}};

	(void)state;
	on_loop(tmf_submit, &tmf);
	settle();
	assert_int_equal(tmf.response, SCSI_TMF_NO_SUCH_LUN);
}

/* The back end neither answers nor hears: the answer comes by the clock, done() once, later. */
static void hung_back_end(void **state)
{
	struct io io = {.out = io0.out, .out_length = 512, .in = io0.in};
	struct tmf abort, reset;
	uint64_t before;

	(void)state;
	rig.test->hold = rig.test->deaf = true;
	io_start(&io, rig.a, write_one, 16);
	before = loop_now(rig.loop);
	tmf_start(&abort, rig.a, SCSI_ABORT_TASK, io.task.tag);
	tmf_start(&reset, rig.b, SCSI_LOGICAL_UNIT_RESET, 0);
	settle();
	assert_false(abort.answered || reset.answered || io.done);
	while (!(abort.answered && reset.answered)) {
		loop_poll(rig.loop, 100000000);
		assert_true(loop_now(rig.loop) - before < 60ull * 1000000000);
	}
	assert_int_equal(abort.response, SCSI_TMF_COMPLETE);
	assert_false(io.done);
	assert_int_equal(rig.test->cancels, 1);
	test_volume_release(rig.test);
	io_wait(&io);
	assert_true(io.aborted);
	settle();
}

static void begin_only(void *context)
{
	io_begin(context);
}

static void end_only(void *context)
{
	scsi_task_end(context);
}

static void execute_only(void *context)
{
	io_execute(context);
}

/* A reset while the transport still gathers data. */
static void reset_before_execute(void **state)
{
	struct io io = {.nexus = rig.a,
			.cdb = write_one,
			.cdb_length = 16,
			.out = io0.out,
			.out_length = 512,
			.in = io0.in},
		  dropped = io;
	unsigned writes = rig.test->writes;

	(void)state;
	on_loop(begin_only, &io);
	on_loop(begin_only, &dropped);
	assert_int_equal(io.task.data_out_length, 512);
	assert_int_equal(tmf_run(rig.b, SCSI_LOGICAL_UNIT_RESET, 0), SCSI_TMF_COMPLETE);
	on_loop(execute_only, &io);
	io_wait(&io);
	assert_true(io.aborted);
	on_loop(end_only, &dropped.task);
	assert_int_equal(rig.test->writes, writes);
}

static unsigned drained_count;

static void drained(void *context)
{
	(void)context;
	drained_count++;
}

static void abort_all(void *context)
{
	scsi_nexus_abort_all(context, drained, NULL);
}

static void nexus_goes_away(void **state)
{
	struct io io[4];

	(void)state;
	drained_count = 0;
	rig.test->hold = rig.test->deaf = true;
	for (unsigned i = 0; i < 4; i++) {
		io[i] = (struct io){.out = io0.out, .out_length = 512, .in = io0.in};
		io_start(&io[i], i < 2 ? rig.a : rig.b, write_one, 16);
	}
	on_loop(abort_all, rig.a);
	settle();
	assert_int_equal(drained_count, 0);
	test_volume_release(rig.test);
	settle();
	assert_int_equal(drained_count, 1);
	for (unsigned i = 0; i < 4; i++) {
		assert_true(io[i].done);
		assert_int_equal(io[i].aborted, i < 2);
	}
	on_loop(abort_all, rig.a); /* nothing there: at once, but not inside */
	settle();
	assert_int_equal(drained_count, 2);
}

/* ---- task attributes */

static void ordered(void **state)
{
	struct io io[5];
	static const enum scsi_attribute attributes[] = {SCSI_SIMPLE, SCSI_ORDERED, SCSI_SIMPLE,
							 SCSI_HEAD_OF_QUEUE, SCSI_SIMPLE};

	(void)state;
	rig.test->hold = true;
	for (unsigned i = 0; i < 5; i++) {
		io[i] = (struct io){
		    .out = io0.out, .out_length = 512, .in = io0.in, .attribute = attributes[i]};
		io_start(&io[i], rig.a, write_one, 16);
	}
	assert_int_equal(rig.test->writes, 2); /* the first and the head of queue */
	assert_int_equal(tmf_run(rig.a, SCSI_ABORT_TASK, io[2].task.tag), SCSI_TMF_COMPLETE);
	assert_true(io[2].aborted);
	test_volume_release(rig.test);
	rig.test->hold = true;
	settle();
	assert_true(io[0].done && io[3].done && !io[1].done && !io[4].done);
	assert_int_equal(rig.test->writes, 3);
	test_volume_release(rig.test);
	for (unsigned i = 0; i < 5; i++)
		io_wait(&io[i]);
	assert_good(&io[4]);
	io[0].attribute = SCSI_ACA;
	io_start(&io[0], rig.a, write_one, 16);
	io_wait(&io[0]);
	assert_sense(&io[0], 5, 0x4900);
}

/* ---- buffers run out */

static void buffers_run_out(void **state)
{
	enum { COUNT = 200 };
	struct io *io = calloc(COUNT, sizeof(*io));
	struct buf *taken[4096], *last;
	unsigned count = 0;

	(void)state;
	while (count < 4096 && (last = buf_get(loop_buffers(rig.loop), BUF_MAX)))
		taken[count++] = last;
	assert_true(count < 4096);
	while (count < 4096 && (last = buf_get(loop_buffers(rig.loop), 4096)))
		taken[count++] = last;
	rig.test->hold = true;
	for (unsigned i = 0; i < COUNT; i++) {
		io[i].in = io0.in;
		io_start(&io[i], rig.a, (uint8_t[16]){0x28, [8] = (uint8_t)(i % 200 + 1)}, 16);
	}
	settle();
	assert_in_range(rig.test->reads, 1, COUNT / 2);
	assert_int_equal(tmf_run(rig.a, SCSI_QUERY_TASK, io[COUNT - 1].task.tag),
			 SCSI_TMF_SUCCEEDED);
	test_volume_release(rig.test);
	/* With nothing given back: what is kept for commands goes from one to the next. */
	for (unsigned i = 0; i < COUNT; i++) {
		io_wait(&io[i]);
		assert_good(&io[i]);
	}
	while (count > 0)
		buf_unref(taken[--count]);
	free(io);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(power_on, setup_with_attentions, teardown),
	    cmocka_unit_test_setup_teardown(unknown_opcode_reports_attention_first,
					    setup_with_attentions, teardown),
	    cmocka_unit_test_setup_teardown(resize, setup, teardown),
	    cmocka_unit_test_setup_teardown(rolled_back, setup, teardown),
	    cmocka_unit_test(attention_set_rules),
	    cmocka_unit_test_setup_teardown(map_changes, setup, teardown),
	    cmocka_unit_test_setup_teardown(news, setup, teardown),
	    cmocka_unit_test_setup_teardown(masked, setup, teardown),
	    cmocka_unit_test_setup_teardown(unmap_waits_for_tasks, setup, teardown),
	    cmocka_unit_test_setup_teardown(one_volume_is_one_unit, setup, teardown),
	    cmocka_unit_test_setup_teardown(statistics, setup, teardown),
	    cmocka_unit_test_setup_teardown(reservation, setup, teardown),
	    cmocka_unit_test_setup_teardown(abort_one, setup, teardown),
	    cmocka_unit_test_setup_teardown(abort_set_spares_others, setup, teardown),
	    cmocka_unit_test_setup_teardown(resets, setup, teardown),
	    cmocka_unit_test_setup_teardown(no_such_lun, setup, teardown),
	    cmocka_unit_test_setup_teardown(hung_back_end, setup, teardown),
	    cmocka_unit_test_setup_teardown(reset_before_execute, setup, teardown),
	    cmocka_unit_test_setup_teardown(nexus_goes_away, setup, teardown),
	    cmocka_unit_test_setup_teardown(ordered, setup, teardown),
	    cmocka_unit_test_setup_teardown(buffers_run_out, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
