/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_TARGET_RIG_H
#define TESTS_UNIT_TARGET_RIG_H

/* A rig for tests of target/: a loop, a target with one LUN, two nexuses, and commands that are
 * begun and executed on the loop as a transport would. Under the LUN lies a test volume that can
 * hold requests back, fail them, or pass them to a memory volume. */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/heap.h"
#include "core/world.h"
#include "target/internal.h"
#include "target/wire.h"

#define UNUSED   __attribute__((unused))
#define RIG_SIZE (8ull << 20)
#define RIG_LAST (RIG_SIZE / 512 - 1)
#define OUT_MAX  (2u << 20)
#define IN_MAX   (2u << 20)

/* ---- the test volume */

struct test_volume {
	struct volume volume;
	struct volume *below;
	bool hold;   /* keep requests until test_volume_release() */
	bool deaf;   /* ignore cancel, as a hung disk would */
	int fail_op; /* -1: none */
	int fail_with;
	uint64_t fail_offset;
	int erasable;      /* what volume_erasable() says */
	unsigned in_place; /* writes with VOLUME_IN_PLACE */
	unsigned writes, flushes, fua, atomic, reads, discards, cancels;
	struct list held;
};

static void test_fail(struct deferred *deferred)
{
	struct volume_request *request = container_of(deferred, struct volume_request, deferred);

	request->done(request, request->result);
}

static void test_finish_later(struct volume_request *request, int result)
{
	request->result = result;
	deferred_init(&request->deferred, test_fail);
	loop_defer(request->loop, &request->deferred);
}

static void test_pass(struct test_volume *test, struct volume_request *request)
{
	if (test->fail_op == (int)request->op) {
		request->error_offset = test->fail_offset;
		test_finish_later(request, test->fail_with);
		return;
	}
	test->below->ops->submit(test->below, request);
}

static void test_submit(struct volume *volume, struct volume_request *request)
{
	struct test_volume *test = container_of(volume, struct test_volume, volume);

	test->reads += request->op == VOLUME_READ;
	test->writes += request->op == VOLUME_WRITE;
	test->flushes += request->op == VOLUME_FLUSH;
	test->discards += request->op == VOLUME_DISCARD;
	test->fua += (request->flags & VOLUME_FUA) != 0;
	test->atomic += (request->flags & VOLUME_ATOMIC) != 0;
	test->in_place += (request->flags & VOLUME_IN_PLACE) != 0;
	if (test->hold)
		list_push_back(&test->held, &request->link);
	else
		test_pass(test, request);
}

static void test_cancel(struct volume *volume, struct volume_request *request)
{
	struct test_volume *test = container_of(volume, struct test_volume, volume);

	test->cancels++;
	if (test->deaf || list_empty(&request->link))
		return;
	list_remove(&request->link);
	test_finish_later(request, -ECANCELED);
}

static UNUSED void test_volume_release(struct test_volume *test)
{
	struct list *link;

	test->hold = false;
	while ((link = list_pop_front(&test->held)))
		test_pass(test, list_entry(link, struct volume_request, link));
}

static void test_gone(struct volume *volume)
{
	struct test_volume *test = container_of(volume, struct test_volume, volume);

	volume_unref(test->below);
	free(test);
}

static int test_erasable(struct volume *volume)
{
	return container_of(volume, struct test_volume, volume)->erasable;
}

static UNUSED const struct volume_ops test_ops = {.name = "test",
						  .submit = test_submit,
						  .cancel = test_cancel,
						  .release = test_gone,
						  .erasable = test_erasable};

static UNUSED struct test_volume *test_volume_new(const char *name, uint64_t size)
{
	struct test_volume *test = calloc(1, sizeof(*test));

	assert_non_null(test);
	assert_int_equal(memory_volume_create(name, size, &test->below, NULL), 0);
	test->volume = *test->below;
	test->volume.ops = &test_ops;
	test->volume.refs = 1;
	test->fail_op = -1;
	list_init(&test->volume.watchers);
	list_init(&test->held);
	return test;
}

/* ---- the rig */

struct rig {
	struct loop *loop;
	struct test_volume *test;
	struct volume *volume;
	struct scsi_target *target;
	struct scsi_nexus *a, *b;
};

static struct rig rig;
static UNUSED const struct volume_identity *rig_identity; /* of the volume; NULL: a new one */

/* Run @body on the loop and wait for it. */
struct rig_call {
	struct deferred deferred;
	void (*body)(void *context);
	void *context;
	bool done;
};

static void rig_call_run(struct deferred *deferred)
{
	struct rig_call *call = container_of(deferred, struct rig_call, deferred);

	call->body(call->context);
	call->done = true;
}

static void on_loop(void (*body)(void *context), void *context)
{
	struct rig_call call = {.body = body, .context = context};

	deferred_init(&call.deferred, rig_call_run);
	loop_defer(rig.loop, &call.deferred);
	while (!call.done)
		loop_poll(rig.loop, 0);
}

static UNUSED void settle(void)
{
	for (int i = 0; i < 20; i++)
		loop_poll(rig.loop, 0);
}

static UNUSED void make_nexus_a(void *context)
{
	(void)context;
	assert_int_equal(scsi_nexus_create(rig.target, "iqn.2026-11.test:a,i,0x000000000001",
					   "iqn.2026-11.test:t,t,0x0001", 1, &rig.a, NULL),
			 0);
}

static UNUSED void make_nexus_b(void *context)
{
	(void)context;
	assert_int_equal(scsi_nexus_create(rig.target, "iqn.2026-11.test:b,i,0x000000000002",
					   "iqn.2026-11.test:t,t,0x0001", 1, &rig.b, NULL),
			 0);
}

static UNUSED void destroy_nexus(void *context)
{
	scsi_nexus_destroy(context);
}

/* ---- commands */

struct io {
	struct scsi_task task;
	struct scsi_nexus *nexus;
	bool done, executed;
	enum scsi_status status;
	uint8_t key;
	uint16_t asc;
	bool has_information, has_field;
	uint64_t information;
	uint16_t field;
	bool aborted;
	uint8_t *out;
	uint32_t out_length;
	uint8_t *in;
	uint32_t in_length;
	const uint8_t *cdb;
	unsigned cdb_length, lun;
	enum scsi_attribute attribute;
};

static void io_read_sense(struct io *io)
{
	const uint8_t *s = io->task.sense;

	if (io->task.sense_length == 0)
		return;
	if (s[0] == 0x72) {
		io->key = s[1];
		io->asc = get_be16(s + 2);
		for (unsigned at = 8; at < 8u + s[7]; at += 2u + s[at + 1]) {
			if (s[at] == 0) {
				io->has_information = true;
				io->information = get_be64(s + at + 4);
			} else if (s[at] == 2) {
				io->has_field = true;
				io->field = get_be16(s + at + 5);
			}
		}
		return;
	}
	assert_int_equal(s[0] & 0x7f, 0x70);
	io->key = s[2];
	io->asc = get_be16(s + 12);
	io->has_information = s[0] & 0x80;
	io->information = get_be32(s + 3);
	io->has_field = s[15] & 0x80;
	io->field = get_be16(s + 16);
}

static void io_collect(struct io *io)
{
	struct scsi_task *task = &io->task;
	uint32_t at = 0;

	assert_false(io->done);
	io->done = true;
	io->status = task->status;
	io->aborted = task->aborted;
	assert_int_equal(task->sense_length > 0, task->status == SCSI_CHECK_CONDITION);
	io_read_sense(io);
	for (unsigned i = 0; i < task->data_in_count; i++) {
		memcpy(io->in + at, task->data_in[i].iov_base, task->data_in[i].iov_len);
		at += (uint32_t)task->data_in[i].iov_len;
	}
	assert_int_equal(at, task->data_in_length);
	io->in_length = at;
	scsi_task_end(task);
}

static void io_done(struct scsi_task *task)
{
	io_collect(container_of(task, struct io, task));
}

static void io_execute(struct io *io)
{
	struct scsi_task *task = &io->task;
	uint32_t left = task->data_out_length, at = 0;

	/* Two pieces, so that handlers see data-out that does not lie together. */
	while (left > 0) {
		uint32_t piece = left > 4096 && task->data_out_count == 0 ? 4096 : left;

		task->data_out[task->data_out_count++] = (struct iovec){io->out + at, piece};
		at += piece;
		left -= piece;
	}
	io->executed = true;
	scsi_task_execute(task);
	assert_false(io->done); /* never inside */
}

static void io_begin(struct io *io)
{
	struct scsi_task *task = &io->task;
	static uint64_t tag;

	memset(task, 0xa5, sizeof(*task));
	task->nexus = io->nexus;
	lun_encode(io->lun, task->lun);
	memset(task->cdb, 0, sizeof(task->cdb));
	memcpy(task->cdb, io->cdb, io->cdb_length);
	task->cdb_length = 16;
	task->attribute = io->attribute;
	task->tag = ++tag;
	task->data_out_expected = io->out_length;
	task->data_in_expected = IN_MAX;
	task->done = io_done;
	scsi_task_begin(task);
	assert_true(task->data_out_length <= io->out_length);
}

static UNUSED void io_go(void *context)
{
	struct io *io = context;

	io_begin(io);
	if (io->task.finished)
		io_collect(io);
	else
		io_execute(io);
}

static UNUSED void io_start(struct io *io, struct scsi_nexus *nexus, const void *cdb,
			    unsigned cdb_length)
{
	uint8_t *out = io->out, *in = io->in;
	uint32_t out_length = io->out_length;
	enum scsi_attribute attribute = io->attribute;
	unsigned lun = io->lun;

	*io = (struct io){.nexus = nexus,
			  .cdb = cdb,
			  .cdb_length = cdb_length,
			  .out = out,
			  .in = in,
			  .out_length = out_length,
			  .attribute = attribute,
			  .lun = lun};
	on_loop(io_go, io);
}

static UNUSED void io_wait(struct io *io)
{
	/* A while without a pause; what a disk or a thread has to say to it may take longer. */
	for (int i = 0; i < 100000 && !io->done; i++)
		loop_poll(rig.loop, i < 1000 ? 0 : 1000000);
	assert_true(io->done);
}

/* The usual way: one command at a time, results in io0. */
static UNUSED struct io io0;

static UNUSED struct io *run_on(struct scsi_nexus *nexus, const void *cdb, unsigned cdb_length,
				uint32_t out_length)
{
	io0.out_length = out_length;
	io_start(&io0, nexus, cdb, cdb_length);
	io_wait(&io0);
	return &io0;
}

#define RUN(nexus, out_length, ...) run_on(nexus, (const uint8_t[16]){__VA_ARGS__}, 16, out_length)

static UNUSED void assert_good(const struct io *io)
{
	if (io->status == SCSI_CHECK_CONDITION)
		print_error("sense %x/%04x\n", io->key, io->asc);
	assert_int_equal(io->status, SCSI_GOOD);
}

static UNUSED void assert_sense(const struct io *io, uint8_t key, uint16_t asc)
{
	assert_int_equal(io->status, SCSI_CHECK_CONDITION);
	assert_int_equal(io->key, key);
	assert_int_equal(io->asc, asc);
	assert_int_equal(io->in_length, 0);
}

static UNUSED void assert_cdb_field(const struct io *io, uint16_t byte)
{
	assert_sense(io, 5, 0x2400);
	assert_true(io->has_field);
	assert_int_equal(io->field, byte);
}

static UNUSED void eat_attentions(struct scsi_nexus *nexus)
{
	for (int i = 0; i < ATTENTION_COUNT + 1; i++)
		if (RUN(nexus, 0, 0x00)->status == SCSI_GOOD)
			return;
	fail_msg("unit attentions without end");
}

static UNUSED void map_volume(void *context)
{
	unsigned lun;

	(void)context;
	assert_int_equal(scsi_target_map(rig.target, rig.volume, 0, &lun, NULL), 0);
}

/* @attentions: leave power-on unit attentions pending. */
static UNUSED void rig_up(uint64_t size, bool attentions)
{
	const struct world_ops *world;

	memset(&rig, 0, sizeof(rig));
	assert_int_equal(world_select("aio", &world, NULL), 0);
	assert_int_equal(loop_create(world, &rig.loop, NULL), 0);
	rig.test = test_volume_new("v0", size);
	rig.volume = &rig.test->volume;
	if (rig_identity)
		rig.volume->identity = *rig_identity;
	assert_int_equal(scsi_target_create("iqn.2026-11.test:t", &rig.target, NULL), 0);
	on_loop(map_volume, NULL);
	on_loop(make_nexus_a, NULL);
	on_loop(make_nexus_b, NULL);
	memset(&io0, 0, sizeof(io0));
	io0.out = aligned_alloc(4096, OUT_MAX);
	io0.in = aligned_alloc(4096, IN_MAX);
	if (!attentions) {
		eat_attentions(rig.a);
		eat_attentions(rig.b);
	}
}

static UNUSED void rig_down(void)
{
	if (rig.a)
		on_loop(destroy_nexus, rig.a);
	if (rig.b)
		on_loop(destroy_nexus, rig.b);
	settle();
	assert_int_equal(scsi_target_destroy(rig.target, NULL), 0);
	assert_int_equal(rig.volume->refs, 1);
	volume_unref(rig.volume);
	scsi_reservations_close(); /* its thread may still be about to wake the loop */
	loop_destroy(rig.loop);
	free(io0.out);
	free(io0.in);
}

static UNUSED int setup(void **state)
{
	(void)state;
	rig_up(RIG_SIZE, false);
	return 0;
}

static UNUSED int setup_with_attentions(void **state)
{
	(void)state;
	rig_up(RIG_SIZE, true);
	return 0;
}

static UNUSED int teardown(void **state)
{
	(void)state;
	rig_down();
	return 0;
}

#endif
