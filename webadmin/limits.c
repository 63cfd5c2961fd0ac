/* SPDX-License-Identifier: Apache-2.0 */
#include "webadmin/limits.h"

#include <errno.h>
#include <string.h>

#include "core/log.h"
#include "core/size.h"

#define NS_PER_MS 1000000u

static void apply_row(struct config_statement *statement,
		      struct volume *(*find)(void *context, const uint8_t uuid[16]), void *context)
{
	struct volume_limits limits = {.iops = (uint64_t)config_number(statement, 1),
				       .bandwidth = (uint64_t)config_number(statement, 2),
				       .burst_ms = (unsigned)config_number(statement, 3)};
	int length;
	const void *uuid = config_blob(statement, 0, &length);
	struct volume *volume = length == 16 ? find(context, uuid) : NULL;
	struct err err = {0};

	if (volume && volume_set_limits(volume, &limits, &err) < 0)
		log_error("volume %s: its limits: %s", volume->name, err.text);
}

void limits_apply(struct webadmin *admin,
		  struct volume *(*find)(void *context, const uint8_t uuid[16]), void *context)
{
	struct config_statement *statement;
	struct err err = {0};

	if (config_prepare(admin->options.config,
			   "select volume, iops, bandwidth, burst_ms from volume_limit", &statement,
			   &err) < 0) {
		log_error("limits of volumes: %s", err.text);
		return;
	}
	while (config_step(statement, &err) > 0)
		apply_row(statement, find, context);
	config_finish(statement);
}

static int write_row(struct config *config, const uint8_t uuid[16],
		     const struct volume_limits *limits, struct err *err)
{
	struct config_statement *statement;
	int result = config_prepare(
	    config,
	    "insert into volume_limit(volume, iops, bandwidth, burst_ms) values(?, ?, ?, ?)"
	    " on conflict(volume) do update set iops = excluded.iops,"
	    " bandwidth = excluded.bandwidth, burst_ms = excluded.burst_ms",
	    &statement, err);

	if (result < 0)
		return result;
	config_bind_blob(statement, 1, uuid, 16);
	config_bind_number(statement, 2, (int64_t)limits->iops);
	config_bind_number(statement, 3, (int64_t)limits->bandwidth);
	config_bind_number(statement, 4, limits->burst_ms);
	result = config_step(statement, err);
	config_finish(statement);
	return result < 0 ? result : 0;
}

static int delete_row(struct config *config, const uint8_t uuid[16], struct err *err)
{
	struct config_statement *statement;
	int result =
	    config_prepare(config, "delete from volume_limit where volume = ?", &statement, err);

	if (result < 0)
		return result;
	config_bind_blob(statement, 1, uuid, 16);
	result = config_step(statement, err);
	config_finish(statement);
	return result < 0 ? result : 0;
}

int limits_forget(struct config *config, const uint8_t uuid[16], struct err *err)
{
	int result = config_begin(config, err);

	if (result == 0)
		result = delete_row(config, uuid, err);
	return result == 0 ? config_commit(config, err) : result;
}

bool limits_asked(const struct api_request *request)
{
	return json_object_get(request->body, "iops") ||
	       json_object_get(request->body, "bandwidth") ||
	       json_object_get(request->body, "burst");
}

static bool read_limits(struct api_request *request, struct volume_limits *limits)
{
	const json_t *iops = json_object_get(request->body, "iops");
	const json_t *bandwidth = json_object_get(request->body, "bandwidth");
	const char *burst = json_string_value(json_object_get(request->body, "burst"));
	uint64_t burst_ns;

	if (iops)
		limits->iops = (uint64_t)json_integer_value(iops);
	if (bandwidth && api_is_none(bandwidth))
		limits->bandwidth = 0;
	else if (bandwidth && !api_size(request, bandwidth, &limits->bandwidth))
		return false;
	if (limits->bandwidth > INT64_MAX || limits->iops > INT64_MAX) {
		api_reply_error(request, 400, "bad_request", "that limit is too large");
		return false;
	}
	if (!burst)
		return true;
	if (duration_parse(burst, &burst_ns, &request->err) < 0) {
		api_reply_failure(request, NULL);
		return false;
	}
	limits->burst_ms =
	    burst_ns / NS_PER_MS > 1000000 ? 1000000 : (unsigned)(burst_ns / NS_PER_MS);
	return true;
}

static int store(struct config *config, const uint8_t uuid[16], const struct volume_limits *limits,
		 struct err *err)
{
	int result = config_begin(config, err);

	if (result == 0)
		result = limits->iops || limits->bandwidth ? write_row(config, uuid, limits, err)
							   : delete_row(config, uuid, err);
	return result;
}

/* Nothing live is touched: a tighter limit would take of what may come at once. */
static void try_out(struct api_request *request, struct volume_limits *limits)
{
	json_t *before = show_volume(request->model, request->volume), *after = json_copy(before);
	int result = volume_check_limits(limits, &request->err);

	if (result == 0)
		result = store(request->admin->options.config, request->volume->identity.uuid,
			       limits, &request->err);
	if (result < 0) {
		json_decref(before);
		json_decref(after);
		api_reply_failure(request, NULL);
		return;
	}
	show_volume_limits(after, limits);
	api_reply_dry(
	    request, json_sprintf("volume %s/%s", request->match.param[0], request->match.param[1]),
	    before, after);
}

/* The store first: what is live can be put back. */
void limits_change(struct api_request *request)
{
	struct config *config = request->admin->options.config;
	struct volume *volume = request->volume;
	struct volume_limits before, limits;
	int result;

	volume_get_limits(volume, &before);
	limits = before;
	if (!read_limits(request, &limits))
		return;
	if (api_is_dry(request)) {
		try_out(request, &limits);
		return;
	}
	result = volume_set_limits(volume, &limits, &request->err);
	if (result == 0)
		result = store(config, volume->identity.uuid, &limits, &request->err);
	if (result == 0)
		result = config_commit(config, &request->err);
	if (result < 0) {
		struct err ignored = {0};

		if (volume_set_limits(volume, &before, &ignored) < 0)
			log_error("volume %s: its limits: %s", volume->name, ignored.text);
		api_reply_failure(request, NULL);
		return;
	}
	log_notice("volume %s/%s: %llu operations and %llu bytes a second at most (0: no limit)",
		   request->match.param[0], request->match.param[1],
		   (unsigned long long)limits.iops, (unsigned long long)limits.bandwidth);
	api_reply(request, 200, show_volume(request->model, volume));
}
