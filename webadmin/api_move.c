/* SPDX-License-Identifier: Apache-2.0 */
/* api_move.c: moving volumes to other pools: what can not be, and what an administrator may say to
 * one that is on its way. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/heap.h"
#include "core/log.h"
#include "webadmin/admin.h"
#include "webadmin/api.h"
#include "webadmin/move.h"
#include "webadmin/passthrough.h"
#include "webadmin/replica.h"
#include "webadmin/schedule.h"
#include "webadmin/share.h"

void api_move_list(struct api_request *request)
{
	json_t *list = json_array();

	list_for_each (it, &request->model->moves)
		json_array_append_new(list, show_move(list_entry(it, struct model_move, link)));
	api_reply(request, 200, list);
}

/* By the source's name, as long as it is one. */
static struct model_move *move_named(struct api_request *request)
{
	list_for_each (it, &request->model->moves) {
		struct model_move *move = list_entry(it, struct model_move, link);

		if (strcmp(move->source, request->match.param[0]) == 0 &&
		    strcmp(move->name, request->match.param[1]) == 0)
			return move;
	}
	return NULL;
}

/* ---- refusals */

static bool refuse(struct api_request *request, const char *code, const char *why)
{
	api_reply_error(request, 409, code, "volume %s/%s can not be moved: %s",
			request->match.param[0], request->match.param[1], why);
	return false;
}

static bool not_scheduled(struct api_request *request, const struct volume *volume)
{
	list_for_each (it, &request->admin->schedules) {
		const struct schedule *schedule = list_entry(it, struct schedule, link);

		for (unsigned i = 0; i < schedule->volume_count; i++)
			if (memcmp(schedule->volumes[i].uuid, volume->identity.uuid, 16) == 0) {
				api_reply_error(request, 409, "volume_scheduled",
						"volume %s/%s can not be moved: snapshot schedule "
						"%s names it, which is for one pool; delete that "
						"first",
						request->match.param[0], request->match.param[1],
						schedule->name);
				return false;
			}
	}
	return true;
}

static bool snapshot_may_go(struct api_request *request, struct volume *snapshot)
{
	struct snapshot_info info = {0};
	struct model_target *target;

	snapshot_get_info(snapshot, &info);
	if (info.held || info.clones) {
		api_reply_error(request, 409, "snapshot_in_use",
				"volume %s/%s can not be moved: its snapshot %s %s",
				request->match.param[0], request->match.param[1], info.name,
				info.held ? "is held" : "has clones, which stand on it");
		return false;
	}
	if (model_lun_of_volume(request->model, snapshot->identity.uuid, NULL, &target)) {
		api_reply_error(request, 409, "snapshot_in_use",
				"volume %s/%s can not be moved: its snapshot %s is a LUN of "
				"target %s",
				request->match.param[0], request->match.param[1], info.name,
				target->iqn);
		return false;
	}
	return true;
}

static bool snapshots_good(struct api_request *request, struct volume *volume, bool drop)
{
	struct volume *snapshot = NULL;
	bool any = false;

	while ((snapshot = snapshot_next(volume, snapshot))) {
		any = true;
		if (drop && !snapshot_may_go(request, snapshot)) {
			volume_unref(snapshot);
			return false;
		}
	}
	if (!any || drop)
		return true;
	return refuse(request, "volume_has_snapshots",
		      "it has snapshots, and those do not go along: they are deleted with what is "
		      "left of it in its old pool. --without-snapshots says that this is wanted");
}

/* What else it is, beside a volume for guests. */
static bool free_to_go(struct api_request *request, struct volume *volume)
{
	if (model_share_of_volume(request->model, volume->identity.uuid))
		return refuse(request, "volume_is_share",
			      "it is a share, and those stay in their pool");
	if (replica_refuses(request, volume, REPLICA_DELETE))
		return false;
	if (__atomic_load_n(&volume->tap, __ATOMIC_ACQUIRE))
		return refuse(request, "volume_replicated", "it is replicated");
	if (volume_standby(volume))
		return refuse(request, "standby", "another gateway serves it; take it first");
	if (scsi_volume_sanitized(volume->identity.uuid))
		return refuse(request, "sanitize",
			      "a sanitize operation runs on it, or has failed there");
	if (strlen(volume->name) > MOVE_NAME_MAX)
		return refuse(request, "bad_name",
			      "its name is too long; while it moves another 7 bytes are needed");
	return not_scheduled(request, volume);
}

static bool destination_good(struct api_request *request, const char *name, struct volume *volume)
{
	const char *code = NULL;
	struct pool *pool = model_pool_usable(request->model, name, &code, &request->err);
	struct volume *there;

	if (!pool) {
		api_reply_failure(request, code);
		return false;
	}
	if (pool == volume->pool)
		return refuse(request, "same_pool", "it is in that pool already");
	if (model_pool_is_passthrough(model_pool_find(request->model, name)))
		return refuse(request, "not_supported",
			      "a passthrough pool has devices as they are, and takes no volumes");
	there = pool_find_volume(pool, volume->name);
	volume_unref(there);
	if (there) {
		api_reply_error(request, 409, "volume_exists",
				"there is already a volume named %s in pool %s", volume->name,
				name);
		return false;
	}
	return true;
}

/* ---- the beginning */

static unsigned move_count(const struct model *model)
{
	unsigned count = 0;

	list_for_each (it, &model->moves)
		count++;
	return count;
}

static void begin(struct api_request *request, const char *destination, uint64_t rate, bool drop)
{
	struct config *config = request->admin->options.config;
	struct model_move *move = model_move_add(request->model, request->volume->identity.uuid);
	int result;

	if (!move) {
		api_reply_error(request, 503, "no_memory", "out of memory");
		return;
	}
	snprintf(move->source, sizeof move->source, "%.*s", POOL_NAME_MAX, request->match.param[0]);
	snprintf(move->destination, sizeof move->destination, "%.*s", POOL_NAME_MAX, destination);
	snprintf(move->name, sizeof move->name, "%.*s", VOLUME_NAME_MAX, request->volume->name);
	move->rate = rate;
	move->drop_snapshots = drop;
	result = config_begin(config, &request->err);
	if (result == 0)
		result = store_add_move(config, move, &request->err);
	if (result == 0)
		result = config_commit(config, &request->err);
	if (result < 0) {
		model_move_remove(move);
		api_reply_failure(request, NULL);
		return;
	}
	log_notice("volume %s/%s moves to pool %s", move->source, move->name, move->destination);
	move_start(request->admin, move);
	api_reply(request, 200, show_move(move));
}

static void start(struct api_request *request, const char *destination, uint64_t rate, bool drop)
{
	const char *code = NULL;

	if (!destination) {
		api_reply_error(request, 400, "bad_request", "say which pool it is to move to");
		return;
	}
	request->volume = model_find_volume(request->model, request->match.param[0],
					    request->match.param[1], &code, &request->err);
	if (!request->volume) {
		api_reply_failure(request, code);
	} else if (snapshot_get_info(request->volume, &(struct snapshot_info){0})) {
		refuse(request, "not_supported", "it is a snapshot");
	} else if (model_pool_is_passthrough(
		       model_pool_find(request->model, request->match.param[0]))) {
		refuse(request, "not_supported", "it is a device of this machine");
	} else if (model_move_of(request->model, request->volume->identity.uuid)) {
		refuse(request, "volume_moving",
		       "it has just been moved, and what is left of it "
		       "in its old pool is not gone yet");
	} else if (move_count(request->model) >= MOVES_MAX) {
		refuse(request, "too_many", "16 volumes are on the move, which is the limit");
	} else if (free_to_go(request, request->volume) &&
		   destination_good(request, destination, request->volume) &&
		   snapshots_good(request, request->volume, drop)) {
		begin(request, destination, rate, drop);
	}
}

/* ---- what is said to one on its way */

static void act(struct api_request *request, struct model_move *move, const char *action,
		const uint64_t *rate)
{
	struct config *config = request->admin->options.config;
	enum move_state state = move->state;
	uint64_t rate_before = move->rate;
	bool paused_before = move->paused, stop = strcmp(action, "stop") == 0;

	if (move->state != MOVE_COPYING) {
		api_reply_error(request, 409, "too_late",
				move->state == MOVE_SWITCHED
				    ? "the volume is in pool %s already; what is left of it in "
				      "its old pool is being deleted"
				    : "the move to pool %s is being given up",
				move->destination);
		return;
	}
	if (stop)
		state = MOVE_GIVEN_UP;
	if (strcmp(action, "pause") == 0)
		move->paused = true;
	if (strcmp(action, "resume") == 0)
		move->paused = false;
	if (rate)
		move->rate = *rate;
	if (store_set_move(config, move, state, &request->err) < 0) {
		move->paused = paused_before;
		move->rate = rate_before;
		api_reply_failure(request, NULL);
		return;
	}
	move->state = state;
	move->kicked = true;
	move->stuck = move->retrying = false;
	if (move->engine) {
		volume_move_rate(move->engine, move->rate);
		volume_move_pause(move->engine, move->paused);
		if (stop)
			volume_move_cancel(move->engine);
	}
	log_notice("volume %s/%s, on its way to pool %s: %s", move->source, move->name,
		   move->destination, action);
	move_start(request->admin, move);
	api_reply(request, 200, show_move(move));
}

void api_volume_move(struct api_request *request)
{
	static const char *const actions[] = {"start", "pause", "resume", "stop", "rate"};
	const char *destination = NULL, *action = "start";
	struct model_move *move = move_named(request);
	uint64_t rate = 0;
	json_t *wanted = NULL;
	unsigned known = 0;
	int drop = 0;

	if (!api_unpack(request, "{s?:s,s?:s,s?:o,s?:b}", "pool", &destination, "action", &action,
			"rate", &wanted, "without_snapshots", &drop))
		return;
	if (wanted && !api_is_none(wanted) && !api_size(request, wanted, &rate))
		return;
	if (rate > INT64_MAX || (rate && rate < (64u << 10))) {
		api_reply_error(request, 400, "bad_request",
				"a rate is 64 KiB a second at least; none: as fast as it goes");
		return;
	}
	while (known < sizeof actions / sizeof *actions && strcmp(action, actions[known]) != 0)
		known++;
	if (known == sizeof actions / sizeof *actions)
		api_reply_error(request, 400, "bad_request",
				"action is one of start, pause, resume, rate and stop");
	else if (known == 0 && move)
		refuse(request, "volume_moving", "it is on its way already");
	else if (known == 0)
		start(request, destination, rate, drop != 0);
	else if (move)
		act(request, move, action, wanted ? &rate : NULL);
	else
		api_reply_error(request, 404, "move_not_found", "volume %s/%s is not on the move",
				request->match.param[0], request->match.param[1]);
}
