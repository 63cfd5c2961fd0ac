/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>

#include "core/heap.h"
#include "core/log.h"
#include "webadmin/admin.h"
#include "webadmin/api.h"
#include "webadmin/prove.h"

/* POST /api/v1/pools/{pool}/prove: does the storage below a pool do what it promises? A volume of
 * its own in free space is written in several ways, then read back and compared with what was
 * written (volumes/prove_load.h); how long writes and flushes take is told, and a flush that takes
 * no time is not believed. Nothing else is touched, and the volume goes at the end. */

#define PROVE_NAME    "granary-prove"
#define SUSPICIOUS_NS 25000u
#define NS_PER_S      1000000000ull

struct prove {
	struct prove_load load;
	struct api_request *request;
	struct volume *volume;
	uint64_t checksums_before;
};

static void finished(struct prove_load *load);

static void request_done(struct volume_request *request, int result)
{
	prove_slot_done(container_of(request, struct prove_slot, request.volume), result);
}

static void submit(struct prove_slot *slot)
{
	static const struct {
		enum volume_op op;
		unsigned flags;
	} as[] = {[PROVE_READ] = {VOLUME_READ, 0},
		  [PROVE_WRITE] = {VOLUME_WRITE, 0},
		  [PROVE_FORCED_WRITE] = {VOLUME_WRITE, VOLUME_FUA},
		  [PROVE_FLUSH] = {VOLUME_FLUSH, 0}};
	struct prove *prove = container_of(slot->load, struct prove, load);
	struct volume_request *request = &slot->request.volume;

	*request = (struct volume_request){
	    .op = as[slot->op].op, .flags = as[slot->op].flags, .done = request_done};
	if (slot->op != PROVE_FLUSH) {
		request->offset = slot->offset;
		request->length = slot->length;
		request->iov = &slot->iov;
		request->iov_count = 1;
	}
	volume_submit(prove->volume, request);
}

static bool stopped(struct prove_load *load)
{
	return container_of(load, struct prove, load)->request->admin->phase != NULL;
}

/* ---- the answer ---- */
static void prove_free(struct prove *prove)
{
	prove_load_free(&prove->load);
	heap_free(prove);
}

static json_t *show_phase(const struct prove_outcome *outcome)
{
	double seconds = outcome->ns ? (double)outcome->ns / NS_PER_S : 1;
	json_t *object = json_pack(
	    "{s:f,s:f,s:f,s:f}", "operations_per_second", (double)outcome->count / seconds,
	    "bytes_per_second", (double)outcome->bytes / seconds, "p50_us",
	    prove_quantile_us(outcome->io, 0.5), "p99_us", prove_quantile_us(outcome->io, 0.99));

	if (object && outcome->flushes) {
		json_object_set_new(object, "flush_p50_us",
				    json_real(prove_quantile_us(outcome->flush, 0.5)));
		json_object_set_new(object, "flush_p99_us",
				    json_real(prove_quantile_us(outcome->flush, 0.99)));
	}
	return object;
}

void prove_show_phases(const struct prove_load *load, json_t *object)
{
	for (unsigned i = 0; object && i < PROVE_PHASES; i++)
		json_object_set_new(object, prove_phase_names[i], show_phase(&load->outcome[i]));
}

static const char *judge(const struct prove *prove, uint64_t checksum_errors, char *reason,
			 size_t size)
{
	const struct prove_outcome *sync = &prove->load.outcome[PROVE_FLUSHED];
	double flush_us = prove_quantile_us(sync->flush, 0.5);

	reason[0] = '\0';
	if (prove->load.errors)
		snprintf(reason, size, "a read or write failed: see the daemon's log");
	else if (prove->load.mismatches || checksum_errors)
		snprintf(reason, size, "%llu of %llu blocks are not what was written",
			 (unsigned long long)prove->load.mismatches,
			 (unsigned long long)prove->load.verified);
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
			   "reason", reason, "verified_blocks", (json_int_t)prove->load.verified,
			   "mismatches", (json_int_t)prove->load.mismatches, "errors",
			   (json_int_t)prove->load.errors, "checksum_errors",
			   (json_int_t)info.checksum_errors);
	prove_show_phases(&prove->load, object);
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

static void finished(struct prove_load *load)
{
	struct prove *prove = container_of(load, struct prove, load);
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
	json_int_t seconds = PROVE_SECONDS_DEFAULT;

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
	prove_load_start(&prove->load);
}

static struct prove *prove_new(struct api_request *request, uint64_t size, uint64_t seconds)
{
	struct prove *prove = heap_zalloc(sizeof *prove);

	if (!prove)
		return NULL;
	prove->request = request;
	prove->load = (struct prove_load){.loop = request->admin->options.control,
					  .size = size,
					  .budget_ns = seconds * NS_PER_S,
					  .zeros = true,
					  .submit = submit,
					  .stopped = stopped,
					  .finished = finished};
	if (prove_load_setup(&prove->load) == 0)
		return prove;
	heap_free(prove);
	return NULL;
}

void api_pool_prove(struct api_request *request)
{
	json_int_t seconds = PROVE_SECONDS_DEFAULT;
	const char *code = NULL;
	struct volume_spec spec = {.name = PROVE_NAME};
	struct pool_info info;
	struct prove *prove;
	struct pool *pool;

	if (!api_unpack(request, "{s?:I}", "seconds", &seconds))
		return;
	if (seconds < 1 || seconds > PROVE_SECONDS_MAX) {
		api_reply_error(request, 400, "bad_request", "a proof takes 1 to %u seconds",
				PROVE_SECONDS_MAX);
		return;
	}
	pool = model_pool_usable(request->model, request->match.param[0], &code, &request->err);
	if (!pool) {
		api_reply_failure(request, code);
		return;
	}
	pool_get_info(pool, &info);
	spec.size_bytes =
	    info.free_bytes / 4 < PROVE_SIZE_MAX ? info.free_bytes / 4 >> 20 << 20 : PROVE_SIZE_MAX;
	if (spec.size_bytes < PROVE_SIZE_MIN) {
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
