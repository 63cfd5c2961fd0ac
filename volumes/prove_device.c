/* SPDX-License-Identifier: Apache-2.0 */
#include "volumes/prove_device.h"

#include <errno.h>
#include <string.h>

#include "core/heap.h"
#include "volumes/pool.h"
#include "volumes/prove_trace.h"

#define MIB           (1ull << 20)
#define LOAD_PERCENT  55u /* of the time; crashes have the rest */
#define FLUSHES       7u  /* of which the median counts */
#define LARGE_BYTES   (32 * MIB)
#define SUSPICIOUS_US 25.0
#define FORCED_MIN_US 25.0

/* ---- one request at a time ---- */
struct prove_wait {
	struct disk_request request;
	struct fiber *fiber;
	int result;
	bool done;
};

static void wait_over(struct disk_request *request, int result)
{
	struct prove_wait *wait = container_of(request, struct prove_wait, request);

	wait->result = result;
	wait->done = true;
	fiber_wake(wait->fiber);
}

int prove_disk(struct disk *disk, enum disk_op op, unsigned flags, uint64_t offset, void *buffer,
	       uint64_t length)
{
	struct prove_wait wait = {.request = {.op = op,
					      .flags = flags,
					      .offset = offset,
					      .length = length,
					      .done = wait_over},
				  .fiber = fiber_current()};

	if (buffer) {
		wait.request.own_iov = (struct iovec){buffer, length};
		wait.request.iov = &wait.request.own_iov;
		wait.request.iov_count = 1;
	}
	disk_submit(fiber_loop(wait.fiber), disk, &wait.request);
	while (!wait.done)
		fiber_wait();
	return wait.result;
}

int prove_zero(struct device_proof *proof, uint64_t size)
{
	uint8_t *zeros = heap_aligned(VOLUME_SLOT, MIB);
	int result = zeros ? 0 : -ENOMEM;

	if (zeros)
		memset(zeros, 0, MIB);
	for (uint64_t at = 0; at < size && result == 0; at += MIB)
		result = prove_disk(proof->disk, DISK_WRITE, 0, at, zeros, MIB);
	if (result == 0)
		result = prove_disk(proof->disk, DISK_FLUSH, 0, 0, NULL, 0);
	heap_free(zeros);
	return result;
}

static int stopped(struct device_proof *proof)
{
	return proof_stopped(proof) ? err_set(&proof->err, -ECANCELED, "the proof was given up")
				    : 0;
}

/* ---- what is there ---- */
static int measure(struct device_proof *proof, uint64_t size)
{
	proof->tested_bytes = size < PROVE_SIZE_MAX ? size / MIB * MIB : PROVE_SIZE_MAX;
	if (proof->tested_bytes >= PROVE_SIZE_MIN)
		return 0;
	return err_set(&proof->err, -EINVAL, "%s has %llu bytes: a proof needs %llu MiB at least",
		       proof->path, (unsigned long long)size,
		       (unsigned long long)(PROVE_SIZE_MIN / MIB));
}

static int open_device(struct device_proof *proof)
{
	unsigned create = proof->create_bytes ? DISK_CREATE : 0;
	struct disk *real = NULL;
	int result = 0;

	if (create) {
		result = disk_open(proof->outer, proof->path, DISK_EXCLUSIVE | DISK_WOULD_CREATE,
				   proof->create_bytes, &real, &proof->err);
		proof->created = result == 0 && !real && !proof->dry;
	}
	if (result == 0 && proof->dry && !real && create)
		return measure(proof, proof->create_bytes);
	if (result == 0 && !real)
		result = disk_open(proof->outer, proof->path, DISK_EXCLUSIVE | create,
				   proof->create_bytes, &real, &proof->err);
	if (result < 0) {
		proof->created = false;
		return result;
	}
	proof->trace->real = real;
	proof->facts = *real;
	proof->facts.path = NULL;
	result = measure(proof, real->size);
	return result < 0 ? result
			  : disk_open(&proof->world, proof->path, 0, 0, &proof->disk, &proof->err);
}

static bool is_zero(const uint8_t *data, uint64_t length)
{
	return data[0] == 0 && memcmp(data, data + 1, length - 1) == 0;
}

static int look_for_data(struct device_proof *proof)
{
	uint8_t *data = heap_aligned(VOLUME_SLOT, MIB);
	int result = data ? 0 : -ENOMEM;

	for (uint64_t at = 0; at < proof->tested_bytes && result == 0; at += MIB) {
		result = prove_disk(proof->disk, DISK_READ, 0, at, data, MIB);
		if (result < 0)
			err_set(&proof->err, result, "%s can not be read at byte %llu", proof->path,
				(unsigned long long)at);
		else if (!is_zero(data, MIB))
			result = err_set(
			    &proof->err, -EEXIST,
			    "%s holds data (in the MiB at byte %llu), and a proof writes over its "
			    "first %llu MiB: say so with force if none of it is needed",
			    proof->path, (unsigned long long)at,
			    (unsigned long long)(proof->tested_bytes / MIB));
		if (result == 0)
			result = stopped(proof);
	}
	heap_free(data);
	return result;
}

/* ---- the load ---- */
static void disk_done(struct disk_request *request, int result)
{
	prove_slot_done(container_of(request, struct prove_slot, request.disk), result);
}

static void load_submit(struct prove_slot *slot)
{
	static const struct {
		enum disk_op op;
		unsigned flags;
	} as[] = {[PROVE_READ] = {DISK_READ, 0},
		  [PROVE_WRITE] = {DISK_WRITE, 0},
		  [PROVE_FORCED_WRITE] = {DISK_WRITE, DISK_FUA},
		  [PROVE_FLUSH] = {DISK_FLUSH, 0}};
	struct device_proof *proof = container_of(slot->load, struct device_proof, load);
	struct disk_request *request = &slot->request.disk;

	*request = (struct disk_request){
	    .op = as[slot->op].op, .flags = as[slot->op].flags, .done = disk_done};
	if (slot->op != PROVE_FLUSH) {
		request->offset = slot->offset;
		request->length = slot->length;
		request->iov = &slot->iov;
		request->iov_count = 1;
	}
	disk_submit(proof->loop, proof->disk, request);
}

static bool load_stopped(struct prove_load *load)
{
	return proof_stopped(container_of(load, struct device_proof, load));
}

static void load_finished(struct prove_load *load)
{
	struct device_proof *proof = container_of(load, struct device_proof, load);

	proof->idle = true;
	fiber_wake(proof->fiber);
}

static int run_load(struct device_proof *proof, uint64_t budget_ns)
{
	int result;

	proof->load = (struct prove_load){.loop = proof->loop,
					  .size = proof->tested_bytes,
					  .budget_ns = budget_ns,
					  .submit = load_submit,
					  .stopped = load_stopped,
					  .finished = load_finished};
	result = prove_load_setup(&proof->load);
	if (result < 0)
		return result;
	prove_load_start(&proof->load);
	while (!proof->idle)
		fiber_wait();
	prove_load_free(&proof->load);
	return stopped(proof);
}

/* ---- flushes ---- */
static int time_flush(struct device_proof *proof, double *ret_us)
{
	uint64_t begun = loop_clock(proof->loop);
	int result = prove_disk(proof->disk, DISK_FLUSH, 0, 0, NULL, 0);

	*ret_us = (double)(loop_clock(proof->loop) - begun) / 1000;
	return result;
}

static double median(double *values, unsigned count)
{
	for (unsigned i = 1; i < count; i++)
		for (unsigned j = i; j > 0 && values[j - 1] > values[j]; j--) {
			double other = values[j];

			values[j] = values[j - 1];
			values[j - 1] = other;
		}
	return values[count / 2];
}

/* The time of a flush behind @bytes of writes. */
static int flush_behind(struct device_proof *proof, uint8_t *data, uint64_t bytes, double *ret_us)
{
	double took[FLUSHES];
	int result = 0;

	for (unsigned i = 0; i < FLUSHES && result == 0; i++) {
		for (uint64_t at = 0; at < bytes && result == 0; at += MIB)
			result = prove_disk(proof->disk, DISK_WRITE, 0, at % proof->tested_bytes,
					    data, bytes - at < MIB ? bytes - at : MIB);
		if (result == 0)
			result = time_flush(proof, &took[i]);
	}
	if (result == 0)
		*ret_us = median(took, FLUSHES);
	return result;
}

static void judge_flush(struct device_proof *proof)
{
	double small = proof->flush_small_us, large = proof->flush_large_us;

	proof->flush = PROVE_KEPT;
	if (proof->facts.memory) {
		proof->flush = PROVE_BROKEN;
		proof->flush_why = "it is memory: nothing of it is there after a power cut";
	} else if (!proof->facts.volatile_cache) {
		proof->flush = PROVE_NOT_NEEDED;
		proof->flush_why = "the device says that it has no volatile cache";
	} else if (small >= SUSPICIOUS_US || large >= 2 * SUSPICIOUS_US) {
		proof->flush_why = "flushes take time, as those do that reach the medium";
	} else {
		proof->flush = PROVE_DOUBTFUL;
		proof->flush_why =
		    "flushes take no time: either a cache is protected against power cuts, or "
		    "something below says that it has flushed and has not; only a power cut tells";
	}
}

static void judge_forced(struct device_proof *proof)
{
	double forced = prove_quantile_us(proof->load.outcome[PROVE_FORCED].io, 0.5);

	proof->forced = proof->flush;
	if (proof->flush != PROVE_KEPT)
		proof->forced_why = proof->flush_why;
	else if (forced >= FORCED_MIN_US)
		proof->forced_why = "forced writes take time, as those do that reach the medium";
	else {
		proof->forced = PROVE_DOUBTFUL;
		proof->forced_why = "forced writes take less time than a flush does";
	}
}

static int time_flushes(struct device_proof *proof)
{
	uint8_t *data = heap_aligned(VOLUME_SLOT, MIB);
	int result = data ? flush_behind(proof, data, 0, &proof->flush_idle_us) : -ENOMEM;

	for (uint64_t i = 0; data && i < MIB / VOLUME_SLOT; i++)
		prove_fill(proof->load.seed, i, 0, data + i * VOLUME_SLOT);
	if (result == 0)
		result = flush_behind(proof, data, VOLUME_SLOT, &proof->flush_small_us);
	if (result == 0)
		result = flush_behind(proof, data, LARGE_BYTES, &proof->flush_large_us);
	heap_free(data);
	if (result == 0) {
		judge_flush(proof);
		judge_forced(proof);
	}
	return result;
}

/* ---- the whole ---- */
static int steps(struct device_proof *proof)
{
	bool crashes = proof->facts.size >= PROVE_CRASH_BYTES;
	uint64_t load_ns = crashes ? proof->budget_ns / 100 * LOAD_PERCENT : proof->budget_ns;
	int result = proof->force || proof->created || !proof->disk ? 0 : look_for_data(proof);

	if (result < 0 || proof->dry)
		return result;
	result = run_load(proof, load_ns);
	/* a device that fails is proved: it is no error of the proof's */
	if (result == 0 && proof->load.errors == 0)
		result = time_flushes(proof);
	if (result == 0 && proof->load.errors == 0 && crashes)
		result = prove_crash_run(proof, proof->budget_ns - load_ns);
	if (result == 0)
		result = stopped(proof);
	if (!proof->created && proof->load.errors == 0)
		(void)prove_zero(proof, proof->tested_bytes);
	return result;
}

static void ended(struct message *message)
{
	struct device_proof *proof = container_of(message, struct device_proof, message);

	if (proof->loop)
		loop_join(proof->loop);
	loop_destroy(proof->loop);
	heap_free(proof->trace);
	proof->trace = NULL;
	if (proof->result < 0 && !proof->err.text[0])
		err_set(&proof->err, proof->result, "%s: %s", proof->path,
			strerror(-proof->result));
	proof->done(proof, proof->result);
}

static void run(void *context)
{
	struct device_proof *proof = context;

	proof->fiber = fiber_current();
	prove_trace_use(proof->trace);
	proof->result = open_device(proof);
	if (proof->result == 0)
		proof->result = steps(proof);
	disk_close(proof->disk);
	disk_close(proof->trace->real);
	loop_post(proof->home, &proof->message, ended);
}

static void begin(struct message *message)
{
	struct device_proof *proof = container_of(message, struct device_proof, message);

	proof->result = fiber_start(proof->loop, run, proof);
	if (proof->result < 0)
		loop_post(proof->home, &proof->message, ended);
}

void device_proof_start(const struct world_ops *world, struct loop *loop,
			struct device_proof *proof)
{
	int result;

	proof->outer = world;
	proof->home = loop;
	prove_trace_world(world, &proof->world);
	proof->trace = heap_zalloc(sizeof *proof->trace);
	if (proof->trace)
		proof->trace->outer = world;
	result = proof->trace ? loop_create(&proof->world, &proof->loop, &proof->err) : -ENOMEM;
	if (result == 0) {
		loop_post(proof->loop, &proof->message, begin);
		result = loop_start_thread(proof->loop, "granary-proof", &proof->err);
	}
	if (result == 0)
		return;
	proof->result = result;
	loop_post(loop, &proof->message, ended);
}

void device_proof_stop(struct device_proof *proof)
{
	__atomic_store_n(&proof->stop, true, __ATOMIC_RELEASE);
}
