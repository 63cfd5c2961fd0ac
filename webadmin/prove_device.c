/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "core/heap.h"
#include "core/log.h"
#include "volumes/prove_device.h"
#include "webadmin/admin.h"
#include "webadmin/api.h"
#include "webadmin/prove.h"

/* POST /api/v1/disks/prove: is a device or file, which is nobody's yet, fit for a pool
 * (volumes/prove_device.h)? One at a time, as it is a change. */

#define NS_PER_S 1000000000ull

struct proving {
	struct device_proof proof;
	struct api_request *request;
	struct pool_device device;
	uint64_t seconds;
};

static const char *promise_name(enum prove_promise promise)
{
	static const char *const names[] = {[PROVE_KEPT] = "kept",
					    [PROVE_NOT_NEEDED] = "not needed",
					    [PROVE_DOUBTFUL] = "doubtful",
					    [PROVE_BROKEN] = "broken"};

	return names[promise];
}

/* The verdict, with the sentence that goes with it. */
static const char *judge(const struct device_proof *proof, json_t **ret_reason)
{
	const char *verdict = "good";

	*ret_reason = NULL;
	if (proof->load.errors) {
		verdict = "bad";
		*ret_reason = json_string("a read, write or flush failed: see the kernel's log");
	} else if (proof->load.mismatches) {
		verdict = "bad";
		*ret_reason = json_sprintf("%llu of %llu blocks are not what was written",
					   (unsigned long long)proof->load.mismatches,
					   (unsigned long long)proof->load.verified);
	} else if (proof->crashes.failed) {
		verdict = "bad";
		*ret_reason =
		    json_sprintf("%llu of %llu crashes lost what was durable (%s)",
				 (unsigned long long)proof->crashes.failed,
				 (unsigned long long)proof->crashes.states, proof->crashes.finding);
	} else if (proof->flush == PROVE_BROKEN || proof->flush == PROVE_DOUBTFUL) {
		verdict = "suspicious";
		*ret_reason = json_string(proof->flush_why);
	} else if (proof->forced == PROVE_DOUBTFUL) {
		verdict = "suspicious";
		*ret_reason = json_string(proof->forced_why);
	}
	if (!*ret_reason)
		*ret_reason = json_string("");
	return verdict;
}

/* What the device promises to write whole or not at all; a sector of it is all that is sure where
 * it says nothing. */
static json_t *show_atomic(const struct disk *facts)
{
	uint32_t bytes = facts->atomic_write     ? facts->atomic_write
			 : facts->physical_block ? facts->physical_block
						 : facts->logical_block;
	const char *source = facts->atomic_write     ? "the device says so"
			     : facts->physical_block ? "its physical block"
						     : "the smallest block that can be written";

	return json_pack("{s:I,s:s}", "bytes", (json_int_t)bytes, "source", source);
}

static json_t *show_crashes(const struct prove_crashes *crashes)
{
	return json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:s}", "states", (json_int_t)crashes->states,
			 "failed", (json_int_t)crashes->failed, "writes_recorded",
			 (json_int_t)crashes->writes, "flushes_recorded",
			 (json_int_t)crashes->flushes, "torn_at_bytes",
			 (json_int_t)crashes->torn_at, "seed", (json_int_t)crashes->seed, "finding",
			 crashes->finding);
}

static json_t *show_flush(const struct device_proof *proof)
{
	return json_pack("{s:s,s:s,s:f,s:f,s:f}", "promise", promise_name(proof->flush), "why",
			 proof->flush_why, "idle_us", proof->flush_idle_us, "after_4k_us",
			 proof->flush_small_us, "after_32m_us", proof->flush_large_us);
}

static json_t *show(const struct device_proof *proof)
{
	const struct disk *facts = &proof->facts;
	json_t *reason;
	const char *verdict = judge(proof, &reason);
	json_t *object = json_pack(
	    "{s:s,s:s,s:s,s:o,s:I,s:I,s:I,s:I,s:b,s:b,s:I,s:I,s:I}", "path", proof->path, "kind",
	    facts->block_device ? "block device" : "file", "verdict", verdict, "reason", reason,
	    "size_bytes", (json_int_t)facts->size, "tested_bytes", (json_int_t)proof->tested_bytes,
	    "logical_block_bytes", (json_int_t)facts->logical_block, "physical_block_bytes",
	    (json_int_t)facts->physical_block, "volatile_cache", facts->volatile_cache,
	    "rotational", facts->rotational, "verified_blocks", (json_int_t)proof->load.verified,
	    "mismatches", (json_int_t)proof->load.mismatches, "errors",
	    (json_int_t)proof->load.errors);

	if (!object)
		return NULL;
	json_object_set_new(object, "atomic_write", show_atomic(facts));
	if (proof->flush_why) {
		json_object_set_new(object, "flush", show_flush(proof));
		json_object_set_new(object, "fua",
				    json_pack("{s:s,s:s}", "promise", promise_name(proof->forced),
					      "why", proof->forced_why));
	}
	json_object_set_new(object, "crashes", show_crashes(&proof->crashes));
	prove_show_phases(&proof->load, object);
	return object;
}

static void proved(struct device_proof *proof, int result)
{
	struct proving *proving = container_of(proof, struct proving, proof);
	struct api_request *request = proving->request;
	json_t *body;

	request->admin->proof = NULL;
	if (proof->created)
		unlink(proof->path);
	if (result < 0 && request->admin->phase) {
		api_reply_error(request, 503, "not_ready", "granaryd is stopping");
		return;
	}
	if (result < 0) {
		request->err = proof->err;
		request->err.code = result;
		api_reply_failure(request, result == -EBUSY ? "device_in_use" : NULL);
		return;
	}
	if (proof->dry) {
		api_reply_dry(request, json_sprintf("proof of %s", proof->path), json_object(),
			      json_pack("{s:s,s:I,s:I}", "path", proof->path, "written_over_bytes",
					(json_int_t)proof->tested_bytes, "seconds",
					(json_int_t)proving->seconds));
		return;
	}
	body = show(proof);
	log_notice("%s: a proof found it %s", proof->path,
		   json_string_value(json_object_get(body, "verdict")));
	api_reply(request, 200, body);
}

static void device_is_good(struct api_request *request)
{
	struct proving *proving = request->state;

	proving->proof.path = proving->device.path;
	proving->proof.budget_ns = proving->seconds * NS_PER_S;
	proving->proof.force = request->force;
	proving->proof.dry = api_is_dry(request);
	proving->proof.done = proved;
	request->admin->proof = &proving->proof;
	if (!proving->proof.dry)
		log_notice("%s: a proof of %llu s begins", proving->device.path,
			   (unsigned long long)proving->seconds);
	device_proof_start(request->admin->options.world, request->admin->options.control,
			   &proving->proof);
}

void api_disk_prove(struct api_request *request)
{
	bool force = json_is_true(json_object_get(request->body, "force")), absent;
	const json_t *asked = json_object_get(request->body, "seconds");
	json_int_t seconds = asked ? json_integer_value(asked) : PROVE_SECONDS_DEFAULT;
	struct proving *proving = heap_zalloc(sizeof *proving);

	request->state = proving;
	if (!proving) {
		api_reply_error(request, 503, "no_memory", "out of memory");
		return;
	}
	if (seconds < 1 || seconds > PROVE_SECONDS_MAX) {
		api_reply_error(request, 400, "bad_request", "a proof takes 1 to %u seconds",
				PROVE_SECONDS_MAX);
		return;
	}
	proving->request = request;
	proving->seconds = (uint64_t)seconds;
	if (!api_read_device(request, request->body, &proving->device, &absent))
		return;
	if (absent && !proving->device.size) {
		api_reply_error(request, 404, "path_not_found",
				"there is no file %s: with a size one is made for the proof, and "
				"removed",
				proving->device.path);
		return;
	}
	if (absent)
		proving->proof.create_bytes = proving->device.size;
	api_devices_check(request, (const char *[]){proving->device.path}, absent ? 0 : 1, force,
			  device_is_good);
}
