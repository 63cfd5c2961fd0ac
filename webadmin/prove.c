/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/heap.h"
#include "core/log.h"
#include "webadmin/admin.h"
#include "webadmin/api.h"

/* POST /api/v1/pools/{pool}/prove: does the storage below a pool do what it promises? A volume of
 * its own in free space is written in several ways, one phase after the other, then read back and
 * compared with what was written; how long writes and flushes take is told, and a flush that takes
 * no time is not believed. Nothing else is touched, and the volume goes at the end. */

#define PROVE_NAME      "granary-prove"
#define SECONDS_DEFAULT 20u
#define SECONDS_MAX     600u
#define SIZE_MAX_BYTES  (1ull << 30)
#define SIZE_MIN_BYTES  (16ull << 20)
#define DEPTH_MAX       16u
#define BUCKETS         160u /* four to a power of two */
#define SUSPICIOUS_NS   25000u
#define NS_PER_S        1000000000ull

struct phase {
	const char *name;
	enum volume_op op;
	unsigned block, depth, flags;
	bool random;
	bool flush;     /* one after each write */
	unsigned share; /* percent of the time; 0: to the end of the volume */
};
static const struct phase phases[] = {
    {"sequential_write", VOLUME_WRITE, 1u << 20, 8, 0, false, false, 30},
    {"random_write", VOLUME_WRITE, 4096, DEPTH_MAX, 0, true, false, 25},
    {"write_and_flush", VOLUME_WRITE, 4096, 1, 0, true, true, 25},
    {"forced_write", VOLUME_WRITE, 4096, 1, VOLUME_FUA, true, false, 20},
    {"verify", VOLUME_READ, 1u << 20, 8, 0, false, false, 0},
};
#define PHASES (sizeof phases / sizeof *phases)

struct outcome {
	uint64_t count, bytes, ns; /* of reads or writes; the phase's time */
	uint64_t io[BUCKETS], flush[BUCKETS];
	uint64_t flushes;
};

struct prove;
struct slot {
	struct prove *prove;
	struct volume_request request;
	struct iovec iov;
	uint64_t started_ns;
	bool flushing;
	uint8_t *data;
};

struct prove {
	struct api_request *request;
	struct loop *loop;
	struct volume *volume;
	uint64_t size, seed, cursor, budget_ns;
	unsigned phase, in_flight;
	uint64_t begun_ns;
	uint32_t *version; /* of each block: how often it was written; 0: never */
	struct outcome outcome[PHASES];
	uint64_t verified, mismatches, errors, checksums_before;
	struct slot slots[DEPTH_MAX];
};

/* ---- what is written ---- */
static uint64_t mix(uint64_t x)
{
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ x >> 27) * 0x94d049bb133111ebull;
	return x ^ x >> 31;
}

static void fill(const struct prove *prove, uint64_t block, uint8_t *to)
{
	uint64_t word = mix(prove->seed ^ block * 0x9e3779b97f4a7c15ull ^ prove->version[block]);

	for (unsigned i = 0; i < VOLUME_SLOT / 8; i++, word = word * 6364136223846793005ull + 1)
		memcpy(to + 8 * (size_t)i, &word, 8);
}

static void compare(struct prove *prove, const struct slot *slot)
{
	uint8_t expected[VOLUME_SLOT];

	for (uint64_t at = 0; at < slot->request.length; at += VOLUME_SLOT) {
		uint64_t block = (slot->request.offset + at) / VOLUME_SLOT;

		if (prove->version[block])
			fill(prove, block, expected);
		else
			memset(expected, 0, sizeof expected);
		prove->verified++;
		if (memcmp(expected, slot->data + at, VOLUME_SLOT) != 0)
			prove->mismatches++;
	}
}

/* ---- histograms ---- */
/* A bucket is named by the place of the highest bit of 4 ns units and the two bits behind it. */
static void note(uint64_t histogram[BUCKETS], uint64_t ns)
{
	uint64_t units = ns / 4 + 4;
	unsigned high = 63u - (unsigned)__builtin_clzll(units);
	unsigned bucket = 4 * (high - 2) + (unsigned)(units >> (high - 2) & 3);

	histogram[bucket < BUCKETS ? bucket : BUCKETS - 1]++;
}

static double bucket_us(unsigned bucket)
{
	uint64_t units = (uint64_t)(4 + bucket % 4) << bucket / 4;

	return (double)(units - 4) * 4 / 1000;
}

static double quantile_us(const uint64_t histogram[BUCKETS], double part)
{
	uint64_t all = 0, seen = 0;

	for (unsigned i = 0; i < BUCKETS; i++)
		all += histogram[i];
	for (unsigned i = 0; i < BUCKETS; i++) {
		seen += histogram[i];
		if (all && (double)seen >= (double)all * part)
			return bucket_us(i + 1);
	}
	return 0;
}

/* ---- phases ---- */
static void phase_begin(struct prove *prove);
static void next(struct slot *slot);

static bool phase_over(const struct prove *prove)
{
	const struct phase *phase = &phases[prove->phase];
	bool time_is_up = phase->share && loop_now(prove->loop) - prove->begun_ns >=
					      prove->budget_ns / 100 * phase->share;

	return time_is_up || prove->errors || prove->request->admin->phase ||
	       (!phase->random && prove->cursor >= prove->size);
}

static void submit(struct slot *slot)
{
	slot->started_ns = loop_now(slot->prove->loop);
	slot->prove->in_flight++;
	volume_submit(slot->prove->volume, &slot->request);
}

static void finished(struct prove *prove);

static void idle(struct prove *prove)
{
	if (prove->in_flight)
		return;
	prove->outcome[prove->phase].ns = loop_now(prove->loop) - prove->begun_ns;
	if (++prove->phase == PHASES || prove->errors || prove->request->admin->phase)
		finished(prove);
	else
		phase_begin(prove);
}

static void slot_done(struct volume_request *request, int result)
{
	struct slot *slot = container_of(request, struct slot, request);
	struct prove *prove = slot->prove;
	struct outcome *outcome = &prove->outcome[prove->phase];
	uint64_t took = loop_now(prove->loop) - slot->started_ns;

	prove->in_flight--;
	if (result < 0)
		prove->errors++;
	if (slot->flushing) {
		outcome->flushes++;
		note(outcome->flush, took);
	} else {
		outcome->count++;
		outcome->bytes += request->length;
		note(outcome->io, took);
		if (request->op == VOLUME_READ && result == 0)
			compare(prove, slot);
	}
	next(slot);
}

static void flush(struct slot *slot)
{
	slot->flushing = true;
	slot->request = (struct volume_request){.op = VOLUME_FLUSH, .done = slot_done};
	submit(slot);
}

/* Slots of a random phase keep to blocks of their own, so that two writes never meet. */
static uint64_t place(struct prove *prove, const struct slot *slot)
{
	const struct phase *phase = &phases[prove->phase];
	uint64_t at = prove->cursor, stripes = prove->size / VOLUME_SLOT / DEPTH_MAX;

	if (!phase->random) {
		prove->cursor += phase->block;
		return at;
	}
	prove->cursor++;
	return (mix(prove->seed + prove->cursor) % stripes * DEPTH_MAX +
		(uint64_t)(slot - prove->slots)) *
	       VOLUME_SLOT;
}

static void next(struct slot *slot)
{
	struct prove *prove = slot->prove;
	const struct phase *phase = &phases[prove->phase];
	bool flushed = slot->flushing;

	slot->flushing = false;
	if (phase->flush && !flushed && slot->request.op == VOLUME_WRITE && !prove->errors) {
		flush(slot);
		return;
	}
	if (phase_over(prove)) {
		idle(prove);
		return;
	}
	slot->iov = (struct iovec){slot->data, phase->block};
	slot->request = (struct volume_request){.op = phase->op,
						.flags = phase->flags,
						.offset = place(prove, slot),
						.length = phase->block,
						.iov = &slot->iov,
						.iov_count = 1,
						.done = slot_done};
	for (uint64_t at = 0; phase->op == VOLUME_WRITE && at < phase->block; at += VOLUME_SLOT) {
		uint64_t block = (slot->request.offset + at) / VOLUME_SLOT;

		prove->version[block]++;
		fill(prove, block, slot->data + at);
	}
	submit(slot);
}

static void phase_begin(struct prove *prove)
{
	prove->begun_ns = loop_now(prove->loop);
	prove->cursor = 0;
	prove->in_flight = 1; /* ours, until all have begun */
	for (unsigned i = 0; i < phases[prove->phase].depth; i++) {
		prove->slots[i].request.op = VOLUME_EXTENTS; /* nothing to flush yet */
		next(&prove->slots[i]);
	}
	prove->in_flight--;
	idle(prove);
}

/* ---- the answer ---- */
static void prove_free(struct prove *prove)
{
	for (unsigned i = 0; i < DEPTH_MAX; i++)
		heap_free(prove->slots[i].data);
	heap_free(prove->version);
	heap_free(prove);
}

static json_t *show_phase(const struct outcome *outcome)
{
	double seconds = outcome->ns ? (double)outcome->ns / NS_PER_S : 1;
	json_t *object = json_pack(
	    "{s:f,s:f,s:f,s:f}", "operations_per_second", (double)outcome->count / seconds,
	    "bytes_per_second", (double)outcome->bytes / seconds, "p50_us",
	    quantile_us(outcome->io, 0.5), "p99_us", quantile_us(outcome->io, 0.99));

	if (object && outcome->flushes) {
		json_object_set_new(object, "flush_p50_us",
				    json_real(quantile_us(outcome->flush, 0.5)));
		json_object_set_new(object, "flush_p99_us",
				    json_real(quantile_us(outcome->flush, 0.99)));
	}
	return object;
}

static const char *judge(const struct prove *prove, uint64_t checksum_errors, char *reason,
			 size_t size)
{
	const struct outcome *sync = &prove->outcome[2];
	double flush_us = quantile_us(sync->flush, 0.5);

	reason[0] = '\0';
	if (prove->errors)
		snprintf(reason, size, "a read or write failed: see the daemon's log");
	else if (prove->mismatches || checksum_errors)
		snprintf(reason, size, "%llu of %llu blocks are not what was written",
			 (unsigned long long)prove->mismatches,
			 (unsigned long long)prove->verified);
	if (reason[0])
		return "bad";
	if (sync->flushes && flush_us * 1000 < SUSPICIOUS_NS) {
		snprintf(reason, size,
			 "a flush takes %.0f us: storage that keeps data needs longer; either the "
			 "pool is in memory or below a cache without power protection that does "
			 "not honour flushes, or its cache is protected",
			 flush_us);
		return "suspicious";
	}
	return "good";
}

static json_t *show(struct prove *prove)
{
	struct pool_info info;
	char reason[300];
	const char *verdict;
	json_t *object;

	pool_get_info(prove->volume->pool, &info);
	info.checksum_errors -= prove->checksums_before;
	verdict = judge(prove, info.checksum_errors, reason, sizeof reason);
	object = json_pack("{s:s,s:s,s:s,s:I,s:I,s:I,s:I}", "pool", info.name, "verdict", verdict,
			   "reason", reason, "verified_blocks", (json_int_t)prove->verified,
			   "mismatches", (json_int_t)prove->mismatches, "errors",
			   (json_int_t)prove->errors, "checksum_errors",
			   (json_int_t)info.checksum_errors);
	for (unsigned i = 0; object && i < PHASES; i++)
		json_object_set_new(object, phases[i].name, show_phase(&prove->outcome[i]));
	return object;
}

static void deleted(struct pool_call *call, int result)
{
	struct api_request *request = api_request_of(call);
	struct prove *prove = request->state;
	json_t *body = json_incref(json_object_get(request->body, "outcome"));

	json_object_del(request->body, "outcome"); /* which is what was asked, once more */
	if (result == 0)                           /* the reference went with it */
		request->volume = NULL;
	request->state = NULL;
	prove_free(prove);
	if (result < 0)
		log_error("volume %s of the proof is still there: %s", PROVE_NAME, call->err.text);
	if (result < 0 && body) { /* a pool that fails so is proved already */
		json_object_set_new(body, "verdict", json_string("bad"));
		json_object_set_new(body, "reason", json_string(call->err.text));
	}
	if (result < 0 && !body) {
		request->err = call->err;
		api_reply_failure(request, NULL);
	} else if (!body) {
		api_reply_error(request, 503, "not_ready", "granaryd is stopping");
	} else {
		api_reply(request, 200, body);
	}
}

static void finished(struct prove *prove)
{
	struct api_request *request = prove->request;

	if (!request->admin->phase)
		json_object_set_new(request->body, "outcome", show(prove));
	request->call = (struct pool_call){.done = deleted};
	volume_delete(request->volume, &request->call);
}

/* ---- the start ---- */
/* No volume of its own. */
static void refused(struct api_request *request, int result)
{
	request->err = request->call.err;
	if (result == -EEXIST)
		api_reply_error(request, 409, "volume_exists",
				"there is a volume named %s, of a proof that was cut off: "
				"delete it first",
				PROVE_NAME);
	else
		api_reply_failure(request, NULL);
}

/* The volume would be there for that long, and is gone at the end. */
static void tried(struct pool_call *call, int result)
{
	struct api_request *request = api_request_of(call);
	json_int_t seconds = SECONDS_DEFAULT;

	if (result < 0) {
		refused(request, result);
		return;
	}
	if (!api_unpack(request, "{s?:I}", "seconds", &seconds))
		return;
	api_reply_dry(request, json_sprintf("proof of pool %s", request->match.param[0]),
		      json_object(),
		      json_pack("{s:s,s:I}", "volume", PROVE_NAME, "seconds", seconds));
}

static void created(struct pool_call *call, int result)
{
	struct api_request *request = api_request_of(call);
	struct prove *prove = request->state;

	if (result < 0) {
		request->state = NULL;
		prove_free(prove);
		refused(request, result);
		return;
	}
	request->volume = prove->volume = call->volume;
	phase_begin(prove);
}

static struct prove *prove_new(struct api_request *request, uint64_t size, uint64_t seconds)
{
	struct prove *prove = heap_zalloc(sizeof *prove);
	bool good = prove != NULL;

	if (!prove)
		return NULL;
	prove->request = request;
	prove->loop = request->admin->options.control;
	prove->size = size;
	prove->budget_ns = seconds * NS_PER_S;
	loop_random(prove->loop, &prove->seed, sizeof prove->seed);
	prove->version = heap_zalloc_array(size / VOLUME_SLOT, sizeof *prove->version);
	good = prove->version != NULL;
	for (unsigned i = 0; i < DEPTH_MAX; i++) {
		prove->slots[i].prove = prove;
		prove->slots[i].data = heap_aligned(VOLUME_SLOT, 1u << 20);
		good &= prove->slots[i].data != NULL;
	}
	if (good)
		return prove;
	prove_free(prove);
	return NULL;
}

void api_pool_prove(struct api_request *request)
{
	json_int_t seconds = SECONDS_DEFAULT;
	const char *code = NULL;
	struct volume_spec spec = {.name = PROVE_NAME};
	struct pool_info info;
	struct prove *prove;
	struct pool *pool;

	if (!api_unpack(request, "{s?:I}", "seconds", &seconds))
		return;
	if (seconds < 1 || seconds > SECONDS_MAX) {
		api_reply_error(request, 400, "bad_request", "a proof takes 1 to %u seconds",
				SECONDS_MAX);
		return;
	}
	pool = model_pool_usable(request->model, request->match.param[0], &code, &request->err);
	if (!pool) {
		api_reply_failure(request, code);
		return;
	}
	pool_get_info(pool, &info);
	spec.size_bytes =
	    info.free_bytes / 4 < SIZE_MAX_BYTES ? info.free_bytes / 4 >> 20 << 20 : SIZE_MAX_BYTES;
	if (spec.size_bytes < SIZE_MIN_BYTES) {
		api_reply_error(request, 507, "no_space", "a proof needs 64 MiB of free space");
		return;
	}
	if (api_is_dry(request)) {
		volume_create(pool, &spec, api_pool_call(request, tried));
		return;
	}
	request->state = prove = prove_new(request, spec.size_bytes, (uint64_t)seconds);
	if (!prove) {
		api_reply_error(request, 503, "no_memory", "out of memory");
		return;
	}
	prove->checksums_before = info.checksum_errors;
	log_notice("pool %s: a proof of %llu s begins", info.name, (unsigned long long)seconds);
	request->call = (struct pool_call){.done = created};
	volume_create(pool, &spec, &request->call);
}
