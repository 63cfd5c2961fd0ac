/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/heap.h"
#include "volumes/pool.h"
#include "volumes/prove_trace.h"

/* Crashes of a pool on the device that is to be proved (prove_device.h).
 *
 * One volume is written by some writers at once, each in blocks of its own, so that of two writes
 * of a block it is known which one is newer; a flush comes now and then, some writes are forced,
 * and checkpoints come as the journal is short. Each block tells by what is in it which write it is
 * of. After a crash at a moment it has to be of a write that was begun by then, and not of an older
 * one than the newest that was durable. */

#define POOL_NAME    "granary-proof"
#define VOLUME_BYTES (24ull << 20)
#define BLOCKS       (VOLUME_BYTES / VOLUME_SLOT)
#define WRITERS      8u
#define WRITE_BLOCKS 16u /* at most, of one */
#define WRITES_MAX   2000u
#define RECORD_MAX   (40ull << 20) /* bytes */
#define FLUSH_EVERY  24u
#define STATES_MAX   1000u
#define NO_WRITE     UINT32_MAX

struct written {
	uint32_t block, count;
	uint64_t submitted, completed;
	bool forced;
};

struct crash;
struct writer {
	struct crash *crash;
	struct volume_request request;
	struct iovec iov;
	uint32_t write; /* index of the one under way */
	bool busy;
};

struct crash {
	struct device_proof *proof;
	struct prove_trace *trace;
	struct fiber *fiber;
	struct pool *pool;
	struct volume *volume;
	uint64_t seed, random, until_ns;
	struct written *writes;
	uint32_t count;
	struct {
		uint64_t submitted, completed;
	} flushes[WRITES_MAX / FLUSH_EVERY + 2];
	unsigned flush_count, writing, since_flush;
	bool flushing;
	int result;
	struct writer writers[WRITERS];
	struct volume_request flush;
	uint64_t begin, end; /* the trace's clock: there is a volume; it is closed */
	uint32_t *last;      /* per block: its newest write, NO_WRITE */
	uint32_t *older;     /* per write and block of it: the write before */
	uint8_t *image, *data;
};

/* ---- calls of a pool, in the fiber ---- */
struct waiting {
	struct pool_call call;
	struct fiber *fiber;
	int result;
	bool done;
};

static void called(struct pool_call *call, int result)
{
	struct waiting *waiting = container_of(call, struct waiting, call);

	waiting->result = result;
	waiting->done = true;
	fiber_wake(waiting->fiber);
}

static struct pool_call *call_of(struct waiting *waiting)
{
	*waiting = (struct waiting){.call = {.done = called}, .fiber = fiber_current()};
	return &waiting->call;
}

static int wait_for(struct waiting *waiting)
{
	while (!waiting->done)
		fiber_wait();
	return waiting->result;
}

static int close_pool(struct crash *crash)
{
	struct waiting waiting;
	int result;

	volume_unref(crash->volume);
	crash->volume = NULL;
	pool_close(crash->pool, call_of(&waiting));
	result = wait_for(&waiting);
	crash->pool = NULL;
	return result;
}

/* ---- the writers ---- */
static uint64_t draw(struct crash *crash)
{
	return prove_mix(crash->random += 0x9e3779b97f4a7c15ull);
}

static bool enough(const struct crash *crash)
{
	return crash->count == WRITES_MAX || crash->trace->bytes >= RECORD_MAX ||
	       crash->result < 0 || crash->trace->result < 0 || proof_stopped(crash->proof);
}

static void over(struct crash *crash)
{
	if (!crash->writing && !crash->flushing)
		fiber_wake(crash->fiber);
}

static void flush_done(struct volume_request *request, int result)
{
	struct crash *crash = container_of(request, struct crash, flush);

	if (result < 0)
		crash->result = result;
	else
		crash->flushes[crash->flush_count++].completed = ++crash->trace->clock;
	crash->flushing = false;
	over(crash);
}

static void flush_begin(struct crash *crash)
{
	if (crash->flushing || ++crash->since_flush < FLUSH_EVERY ||
	    crash->flush_count == sizeof crash->flushes / sizeof crash->flushes[0])
		return;
	crash->since_flush = 0;
	crash->flushing = true;
	crash->flushes[crash->flush_count].submitted = ++crash->trace->clock;
	crash->flush = (struct volume_request){.op = VOLUME_FLUSH, .done = flush_done};
	volume_submit(crash->volume, &crash->flush);
}

static void write_next(struct writer *writer);

static void write_done(struct volume_request *request, int result)
{
	struct writer *writer = container_of(request, struct writer, request);
	struct crash *crash = writer->crash;

	crash->writing--;
	if (result < 0)
		crash->result = result;
	else
		crash->writes[writer->write].completed = ++crash->trace->clock;
	if (!enough(crash)) {
		flush_begin(crash);
		write_next(writer);
	}
	over(crash);
}

static void write_next(struct writer *writer)
{
	struct crash *crash = writer->crash;
	uint32_t share = BLOCKS / WRITERS, index = crash->count++;
	struct written *write = &crash->writes[index];

	write->count = 1 + (uint32_t)(draw(crash) % 2 ? 0 : draw(crash) % WRITE_BLOCKS);
	write->block = (uint32_t)(writer - crash->writers) * share +
		       (uint32_t)(draw(crash) % (share - write->count + 1));
	write->forced = draw(crash) % 8 == 0;
	write->completed = UINT64_MAX;
	for (uint32_t i = 0; i < write->count; i++) {
		crash->older[index * WRITE_BLOCKS + i] = crash->last[write->block + i];
		crash->last[write->block + i] = index;
		prove_fill(crash->seed, write->block + i, index,
			   (uint8_t *)writer->iov.iov_base + (size_t)i * VOLUME_SLOT);
	}
	writer->write = index;
	writer->iov.iov_len = (size_t)write->count * VOLUME_SLOT;
	writer->request = (struct volume_request){.op = VOLUME_WRITE,
						  .flags = write->forced ? VOLUME_FUA : 0,
						  .offset = (uint64_t)write->block * VOLUME_SLOT,
						  .length = writer->iov.iov_len,
						  .iov = &writer->iov,
						  .iov_count = 1,
						  .done = write_done};
	crash->writing++;
	write->submitted = ++crash->trace->clock;
	volume_submit(crash->volume, &writer->request);
}

static int make_pool(struct crash *crash)
{
	const struct pool_device device = {.path = crash->proof->path};
	const struct pool_create_options options = {.name = POOL_NAME,
						    .devices = &device,
						    .device_count = 1,
						    .journal_bytes = 1u << 20,
						    .force = true};
	const struct volume_spec spec = {.name = "written", .size_bytes = VOLUME_BYTES};
	struct waiting waiting;
	int result;

	pool_create(&crash->proof->world, crash->proof->loop, &options, call_of(&waiting));
	result = wait_for(&waiting);
	if (result < 0)
		return result;
	crash->pool = waiting.call.pool;
	volume_create(crash->pool, &spec, call_of(&waiting));
	result = wait_for(&waiting);
	crash->volume = result < 0 ? NULL : waiting.call.volume;
	return result;
}

static int write_all(struct crash *crash)
{
	for (unsigned i = 0; i < WRITERS; i++) {
		crash->writers[i].crash = crash;
		if (!enough(crash))
			write_next(&crash->writers[i]);
	}
	while (crash->writing || crash->flushing)
		fiber_wait();
	return crash->result < 0 ? crash->result : crash->trace->result;
}

static int record_all(struct crash *crash)
{
	struct prove_trace *trace = crash->trace;
	int result, closed = 0;

	trace->records = true;
	result = make_pool(crash);
	crash->begin = trace->clock;
	if (result == 0)
		result = write_all(crash);
	if (crash->pool)
		closed = close_pool(crash);
	crash->end = trace->clock;
	trace->records = false;
	return result < 0 ? result : closed;
}

/* ---- a state, and what is found in it ---- */
static int transfer(struct crash *crash, enum disk_op op, uint64_t offset, void *data,
		    uint64_t length)
{
	return prove_disk(crash->proof->disk, op, 0, offset, data, length);
}

/* What differs from what the device has. */
static int put_state(struct crash *crash)
{
	uint8_t *now = crash->trace->image;
	int result = 0;

	for (uint64_t at = 0; at < PROVE_CRASH_BYTES && result == 0; at += VOLUME_SLOT) {
		uint64_t end = at;

		while (end < PROVE_CRASH_BYTES && end - at < (1u << 20) &&
		       memcmp(now + end, crash->image + end, VOLUME_SLOT) != 0)
			end += VOLUME_SLOT;
		if (end == at)
			continue;
		memcpy(crash->data, crash->image + at, end - at);
		result = transfer(crash, DISK_WRITE, at, crash->data, end - at);
		at = end - VOLUME_SLOT;
	}
	return result < 0 ? result : transfer(crash, DISK_FLUSH, 0, NULL, 0);
}

static bool is_durable(const struct crash *crash, const struct written *write, uint64_t at)
{
	if (write->forced && write->completed <= at)
		return true;
	for (unsigned i = crash->flush_count; i-- > 0;)
		if (crash->flushes[i].completed <= at)
			return write->completed < crash->flushes[i].submitted;
	return false;
}

static uint32_t write_before(const struct crash *crash, uint32_t write, uint32_t block)
{
	return crash->older[write * WRITE_BLOCKS + (block - crash->writes[write].block)];
}

/* The parts of @data that are what @expected has, of those in @left: those that are not. */
static unsigned without(const struct crash *crash, unsigned left, const uint8_t *data,
			const uint8_t *expected)
{
	uint32_t part = crash->proof->crashes.torn_at;

	for (unsigned i = 0; i < VOLUME_SLOT / part; i++)
		if (memcmp(data + (size_t)i * part, expected + (size_t)i * part, part) == 0)
			left &= ~(1u << i);
	return left;
}

/* Is @data what block @block may hold after a crash at @at? Of writes that were in flight each part
 * that is written whole may be there or not (enum volume_checksum). */
static bool may_be(const struct crash *crash, uint32_t block, uint64_t at, const uint8_t *data)
{
	static const uint8_t zeros[VOLUME_SLOT];
	unsigned left = (1u << VOLUME_SLOT / crash->proof->crashes.torn_at) - 1;
	uint8_t expected[VOLUME_SLOT];

	for (uint32_t i = crash->last[block]; i != NO_WRITE; i = write_before(crash, i, block)) {
		if (crash->writes[i].submitted > at)
			continue;
		prove_fill(crash->seed, block, i, expected);
		left = without(crash, left, data, expected);
		if (!left || is_durable(crash, &crash->writes[i], at))
			return !left;
	}
	return !without(crash, left, data, zeros);
}

static void failed(struct crash *crash, uint64_t at, const char *what)
{
	struct prove_crashes *crashes = &crash->proof->crashes;

	if (crashes->failed++ == 0)
		snprintf(crashes->finding, sizeof crashes->finding,
			 "seed %llu, moment %llu of %llu: %.120s", (unsigned long long)crash->seed,
			 (unsigned long long)at, (unsigned long long)crash->end, what);
}

struct reading {
	struct volume_request request;
	struct fiber *fiber;
	int result;
	bool done;
};

static void read_done(struct volume_request *request, int result)
{
	struct reading *reading = container_of(request, struct reading, request);

	reading->result = result;
	reading->done = true;
	fiber_wake(reading->fiber);
}

static int read_volume(struct crash *crash, uint64_t offset)
{
	struct iovec iov = {crash->data, 1u << 20};
	struct reading reading = {.request = {.op = VOLUME_READ,
					      .offset = offset,
					      .length = iov.iov_len,
					      .iov = &iov,
					      .iov_count = 1,
					      .done = read_done},
				  .fiber = fiber_current()};

	volume_submit(crash->volume, &reading.request);
	while (!reading.done)
		fiber_wait();
	return reading.result;
}

/* NULL: all is well. */
static const char *look_at_blocks(struct crash *crash, uint64_t at, char *text, size_t size)
{
	for (uint64_t offset = 0; offset < VOLUME_BYTES; offset += 1u << 20) {
		int result = read_volume(crash, offset);

		for (unsigned i = 0; result == 0 && i < (1u << 20) / VOLUME_SLOT; i++)
			if (!may_be(crash, (uint32_t)(offset / VOLUME_SLOT) + i, at,
				    crash->data + (size_t)i * VOLUME_SLOT))
				result = -ESTALE;
		if (result == 0)
			continue;
		snprintf(text, size,
			 result == -ESTALE ? "a block of MiB %llu is not what it may be"
					   : "MiB %llu can not be read",
			 (unsigned long long)(offset >> 20));
		return text;
	}
	return NULL;
}

static const char *look_at_pool(struct crash *crash, uint64_t at, char *text, size_t size)
{
	struct pool_check_report report = {0};
	struct waiting waiting;
	const char *wrong;

	crash->volume = pool_find_volume(crash->pool, "written");
	if (!crash->volume)
		return "the volume is not there";
	wrong = look_at_blocks(crash, at, text, size);
	if (wrong)
		return wrong;
	pool_check(crash->pool, true, &report, call_of(&waiting));
	if (wait_for(&waiting) < 0 || report.errors)
		return "the check of the pool has findings";
	return NULL;
}

/* Opens the pool from what is there. 0, whatever is found in it; an error is the device's. */
static int look(struct crash *crash, uint64_t at)
{
	struct waiting waiting;
	char text[160];
	const char *wrong;

	pool_open(&crash->proof->world, crash->proof->loop, &crash->proof->path, 1,
		  call_of(&waiting));
	if (wait_for(&waiting) < 0) {
		failed(crash, at, waiting.call.err.text);
		return 0;
	}
	crash->pool = waiting.call.pool;
	wrong = look_at_pool(crash, at, text, sizeof text);
	if (wrong)
		failed(crash, at, wrong);
	return close_pool(crash);
}

/* When the power is cut: at any moment, or in every second case just after the engine forced a
 * write, which is when an order that is not kept shows. */
static uint64_t moment(struct crash *crash)
{
	const struct prove_trace *trace = crash->trace;
	uint64_t any = crash->begin + draw(crash) % (crash->end - crash->begin + 1);

	if (draw(crash) % 2)
		return any;
	for (size_t i = 0; i < trace->count; i++) {
		const struct prove_event *event = &trace->events[i];

		if (event->forced && event->submitted >= any && event->completed <= crash->end)
			return event->completed;
	}
	return any;
}

static int try_states(struct crash *crash)
{
	struct prove_crashes *crashes = &crash->proof->crashes;
	int result = crash->trace->result;

	while (result == 0 && !proof_stopped(crash->proof) && crashes->states < STATES_MAX &&
	       (crashes->states == 0 || loop_now(crash->proof->loop) < crash->until_ns)) {
		uint64_t at = moment(crash);

		prove_trace_crash(crash->trace, at, crashes->torn_at, &crash->random, crash->image,
				  PROVE_CRASH_BYTES);
		result = put_state(crash);
		if (result == 0)
			result = look(crash, at);
		crashes->states += result == 0;
	}
	return result;
}

/* ---- the whole ---- */
static int setup(struct crash *crash)
{
	struct prove_trace *trace = crash->trace;
	bool good;

	loop_random(crash->proof->loop, &crash->seed, sizeof crash->seed);
	crash->seed &= INT64_MAX;
	crash->random = crash->proof->crashes.seed = crash->seed;
	crash->writes = heap_zalloc_array(WRITES_MAX, sizeof *crash->writes);
	crash->older = heap_zalloc_array((size_t)WRITES_MAX * WRITE_BLOCKS, sizeof *crash->older);
	crash->last = heap_zalloc_array(BLOCKS, sizeof *crash->last);
	crash->image = heap_alloc(PROVE_CRASH_BYTES);
	trace->image = heap_zalloc(PROVE_CRASH_BYTES);
	crash->data = heap_aligned(VOLUME_SLOT, 1u << 20);
	good = crash->writes && crash->older && crash->last && crash->image && trace->image &&
	       crash->data;
	for (unsigned i = 0; i < WRITERS; i++) {
		crash->writers[i].iov.iov_base =
		    heap_aligned(VOLUME_SLOT, (size_t)WRITE_BLOCKS * VOLUME_SLOT);
		good &= crash->writers[i].iov.iov_base != NULL;
	}
	for (uint32_t i = 0; good && i < BLOCKS; i++)
		crash->last[i] = NO_WRITE;
	return good ? 0 : -ENOMEM;
}

static void teardown(struct crash *crash)
{
	for (unsigned i = 0; i < WRITERS; i++)
		heap_free(crash->writers[i].iov.iov_base);
	heap_free(crash->writes);
	heap_free(crash->older);
	heap_free(crash->last);
	heap_free(crash->image);
	heap_free(crash->data);
	heap_free(crash->trace->image);
	crash->trace->image = NULL;
	heap_free(crash);
}

int prove_crash_run(struct device_proof *proof, uint64_t budget_ns)
{
	struct crash *crash = heap_zalloc(sizeof *crash);
	struct prove_trace *trace = proof->trace;
	int result;

	if (!crash)
		return -ENOMEM;
	crash->proof = proof;
	crash->trace = trace;
	crash->fiber = fiber_current();
	crash->until_ns = loop_now(proof->loop) + budget_ns;
	proof->crashes.torn_at = proof->facts.logical_block;
	result = setup(crash);
	/* what the image says is there */
	if (result == 0)
		result = prove_zero(proof, PROVE_CRASH_BYTES);
	trace->limit = PROVE_CRASH_BYTES;
	if (result == 0)
		result = record_all(crash);
	for (size_t i = 0; i < trace->count; i++) {
		proof->crashes.flushes += trace->events[i].flush;
		proof->crashes.writes += !trace->events[i].flush;
	}
	if (result == 0)
		result = try_states(crash);
	trace->limit = 0;
	prove_trace_forget(trace);
	teardown(crash);
	return result;
}
