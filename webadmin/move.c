/* SPDX-License-Identifier: Apache-2.0 */
/* move.c: what a move does, one after the other, in a fiber of the control loop (move.h). A step
 * that fails leaves the row as it is and is tried again: by itself when something is only away,
 * else when somebody says so. */
#include "webadmin/move.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/heap.h"
#include "core/log.h"
#include "volumes/pool_wait.h"
#include "webadmin/admin.h"
#include "webadmin/api.h"

#define NAP_NS   (50 * 1000000ull)
#define AWAY_NS  (1000 * 1000000ull) /* until a pool that is away is asked for again */
#define CLAIM_NS (5 * 1000000ull)

/* ---- the model and the store */

struct model_move *model_move_add(struct model *model, const uint8_t volume[16])
{
	struct model_move *move = heap_zalloc(sizeof *move);

	if (!move)
		return NULL;
	memcpy(move->volume, volume, sizeof move->volume);
	list_push_back(&model->moves, &move->link);
	return move;
}

struct model_move *model_move_of(struct model *model, const uint8_t volume[16])
{
	list_for_each (it, &model->moves) {
		struct model_move *move = list_entry(it, struct model_move, link);

		if (memcmp(move->volume, volume, sizeof move->volume) == 0)
			return move;
	}
	return NULL;
}

void model_move_remove(struct model_move *move)
{
	if (!move)
		return;
	list_remove(&move->link);
	heap_free(move);
}

static bool lies_in(const struct volume *volume, const char *pool)
{
	return volume->pool && strcmp(pool_name(volume->pool), pool) == 0;
}

bool move_hides(struct model *model, const struct volume *volume)
{
	const struct model_move *move = model_move_of(model, volume->identity.uuid);

	return move &&
	       lies_in(volume, move->state == MOVE_SWITCHED ? move->source : move->destination);
}

const char *move_blocks(struct model *model, const struct volume *volume, struct err *err)
{
	const struct model_move *move = model_move_of(model, volume->identity.uuid);

	if (!move || move->state == MOVE_SWITCHED)
		return NULL;
	err_set(err, -EBUSY, "volume %s/%s is being moved to pool %s", move->source, move->name,
		move->destination);
	return "volume_moving";
}

const char *move_uses_pool(struct model *model, const char *pool)
{
	list_for_each (it, &model->moves) {
		const struct model_move *move = list_entry(it, struct model_move, link);

		if (strcmp(move->source, pool) == 0 || strcmp(move->destination, pool) == 0)
			return move->name;
	}
	return NULL;
}

/* volume, source, destination, name, state, drop_snapshots, rate, paused */
int store_load_move(struct config_statement *statement, struct model *model)
{
	struct model_move *move;
	int length;
	const void *volume = config_blob(statement, 0, &length);
	int64_t state = config_number(statement, 4), rate = config_number(statement, 6);

	if (!volume || length != 16 || state < 0 || state > MOVE_GIVEN_UP || rate < 0)
		return -EINVAL;
	move = model_move_add(model, volume);
	if (!move)
		return -ENOMEM;
	snprintf(move->source, sizeof move->source, "%s", config_text(statement, 1));
	snprintf(move->destination, sizeof move->destination, "%s", config_text(statement, 2));
	snprintf(move->name, sizeof move->name, "%s", config_text(statement, 3));
	move->state = (enum move_state)state;
	move->drop_snapshots = config_number(statement, 5) != 0;
	move->rate = (uint64_t)rate;
	move->paused = config_number(statement, 7) != 0;
	return volume_name_check(move->name, NULL);
}

static int run_with_volume(struct config *config, const char *sql, const struct model_move *move,
			   bool names, struct err *err)
{
	struct config_statement *statement;
	int result = config_prepare(config, sql, &statement, err);

	if (result < 0)
		return result;
	config_bind_blob(statement, 1, move->volume, sizeof move->volume);
	if (names)
		config_bind_text(statement, 2, move->destination);
	result = config_step(statement, err);
	config_finish(statement);
	return result < 0 ? result : 0;
}

int store_add_move(struct config *config, const struct model_move *move, struct err *err)
{
	struct config_statement *statement;
	int result = config_prepare(config,
				    "insert into volume_move(volume, source, destination, name,"
				    " state, drop_snapshots, rate, paused)"
				    " values(?, ?, ?, ?, ?, ?, ?, ?)",
				    &statement, err);

	if (result < 0)
		return result;
	config_bind_blob(statement, 1, move->volume, sizeof move->volume);
	config_bind_text(statement, 2, move->source);
	config_bind_text(statement, 3, move->destination);
	config_bind_text(statement, 4, move->name);
	config_bind_number(statement, 5, move->state);
	config_bind_number(statement, 6, move->drop_snapshots);
	config_bind_number(statement, 7, (int64_t)move->rate);
	config_bind_number(statement, 8, move->paused);
	result = config_step(statement, err);
	config_finish(statement);
	return result < 0 ? result : 0;
}

int store_set_move(struct config *config, const struct model_move *move, enum move_state state,
		   struct err *err)
{
	struct config_statement *statement;
	int result = config_prepare(
	    config, "update volume_move set state = ?, rate = ?, paused = ? where volume = ?",
	    &statement, err);

	if (result < 0)
		return result;
	config_bind_number(statement, 1, state);
	config_bind_number(statement, 2, (int64_t)move->rate);
	config_bind_number(statement, 3, move->paused);
	config_bind_blob(statement, 4, move->volume, sizeof move->volume);
	result = config_step(statement, err);
	config_finish(statement);
	return result < 0 ? result : 0;
}

/* ---- waiting */

static bool stopping(const struct model_move *move)
{
	return move->admin->moves_stopping;
}

static void nap(struct model_move *move, uint64_t least_ns)
{
	move->kicked = false;
	for (uint64_t slept = 0; slept < least_ns && !stopping(move) && !move->kicked;
	     slept += NAP_NS)
		fiber_sleep(NAP_NS);
}

/* No change of the administrator's runs until the turn is given back. */
static bool claim(struct model_move *move)
{
	while (!stopping(move) && !webadmin_turn_take(move->admin))
		fiber_sleep(CLAIM_NS);
	return !stopping(move);
}

/* ---- the halves */

static struct pool *pool_of(struct model_move *move, const char *name, struct err *err)
{
	struct model_pool *pool = model_pool_find(&move->admin->model, name);

	if (pool && pool->pool)
		return pool->pool;
	err_set(err, -EAGAIN, "pool %s is not available", name);
	return NULL;
}

/* A reference; NULL: there is none. */
static struct volume *half_in(struct pool *pool, const struct model_move *move)
{
	struct volume *volume = NULL;

	while ((volume = pool_volume_next(pool, volume)))
		if (memcmp(volume->identity.uuid, move->volume, sizeof move->volume) == 0)
			return volume;
	return NULL;
}

static struct volume *source_of(struct model_move *move, struct err *err)
{
	struct pool *pool = pool_of(move, move->source, err);
	struct volume *volume = pool ? half_in(pool, move) : NULL;

	if (pool && !volume)
		err_set(err, -ENOENT, "volume %s/%s is not there any more", move->source,
			move->name);
	if (volume && volume_standby(volume)) {
		err_set(err, -EAGAIN, "volume %s/%s is served by another gateway", move->source,
			move->name);
		volume_unref(volume);
		return NULL;
	}
	return volume;
}

static bool is_native(struct pool *pool)
{
	struct pool_info info;

	pool_get_info(pool, &info);
	return strcmp(info.kind, "native") == 0;
}

static void name_copy(const struct model_move *move, char ret_name[VOLUME_NAME_MAX + 1])
{
	snprintf(ret_name, VOLUME_NAME_MAX + 1, "%.*s%s", (int)MOVE_NAME_MAX, move->name,
		 MOVE_SUFFIX);
}

/* What a native volume has that Ceph sees to itself is not asked of an RBD pool. */
static struct volume *make_copy(struct model_move *move, struct pool *pool,
				const struct volume *source, struct err *err)
{
	struct pool_wait wait = POOL_WAIT;
	char name[VOLUME_NAME_MAX + 1];
	bool native = is_native(pool);
	struct volume_spec spec = {
	    .name = name,
	    .size_bytes = volume_size(source),
	    .checksum = native ? source->checksum : VOLUME_CHECKSUM_STANDARD,
	    .mirror = native && source->mirror,
	    .reserve_bytes = source->reserve_bytes,
	    .quota_bytes = source->quota_bytes,
	    .identity = &source->identity,
	    .pinned = true,
	};

	name_copy(move, name);
	volume_create(pool, &spec, &wait.call);
	return pool_wait(&wait, err) < 0 ? NULL : wait.call.volume;
}

static int pin(struct volume *volume, enum volume_pin how, struct err *err)
{
	struct pool_wait wait = POOL_WAIT;

	volume_pin(volume, how, &wait.call);
	return pool_wait(&wait, err);
}

/* ---- copying */

/* What a tap that is taken off still has to see stays in memory until the daemon stops: it is
 * small, and nobody can say which loop is just inside it. */
static void retire(struct model_move *move)
{
	struct webadmin *admin = move->admin;
	struct retired_move *retired;

	if (!move->engine)
		return;
	volume_move_get_progress(move->engine, &move->last);
	volume_move_retire(move->engine);
	while (!volume_move_quiet(move->engine))
		fiber_sleep(NAP_NS / 10);
	retired = heap_zalloc(sizeof *retired);
	if (retired) { /* else it is lost, not used */
		retired->engine = move->engine;
		list_push_back(&admin->retired_moves, &retired->link);
	}
	move->engine = NULL;
}

static void take_over_limits(const struct volume *from, struct volume *to)
{
	struct volume_limits limits;
	struct err err = {0};

	volume_get_limits(from, &limits);
	if (volume_set_limits(to, &limits, &err) < 0)
		log_error("volume %s: its limits: %s", to->name, err.text);
}

/* Names in the model and in the store are for people; the LUNs know it by its UUID. */
static void rename_luns(struct model_move *move, const char *pool, const char *name)
{
	struct model_target *target;
	struct model_lun *lun = NULL;

	while ((lun = model_lun_of_volume(&move->admin->model, move->volume, lun, &target))) {
		snprintf(lun->pool, sizeof lun->pool, "%s", pool);
		snprintf(lun->volume_name, sizeof lun->volume_name, "%s", name);
	}
}

static void way_clear(void *context)
{
	((struct model_move *)context)->clear_way = true;
}

/* A commit that failed may be found durable by the next life of the daemon. Until the old state is
 * stored over it guests stay held: what they wrote to the source would be lost with it. */
static void store_no_switch(struct model_move *move)
{
	bool said = false;
	struct err err = {0};

	while (store_set_move(move->admin->options.config, move, MOVE_COPYING, &err) < 0 &&
	       !stopping(move)) {
		if (!said)
			log_error("volume %s/%s: the store fails while it is moved, and its guests "
				  "wait for that: %s",
				  move->source, move->name, err.text);
		said = true;
		fiber_sleep(AWAY_NS);
	}
}

/* W1: durable on 0. */
static int store_switch(struct model_move *move, struct err *err)
{
	struct config *config = move->admin->options.config;
	int result = config_begin(config, err);

	if (result < 0)
		return result;
	result = store_set_move(config, move, MOVE_SWITCHED, err);
	if (result == 0)
		result = run_with_volume(config, "update lun set pool = ?2 where volume = ?1", move,
					 true, err);
	if (result < 0) {
		config_abort(config);
		return result;
	}
	result = config_commit(config, err);
	if (result < 0)
		store_no_switch(move);
	return result;
}

/* Nothing is waited for from the look at the hold to the end, but for a store that fails. */
static int switch_over(struct model_move *move, struct volume *source, struct volume *destination,
		       struct err *err)
{
	int result = volume_move_hold(move->engine, err);

	if (result < 0)
		return result;
	if (!volume_move_held(move->engine))
		return -EAGAIN;
	if (volume_standby(source) || volume_standby(destination))
		result = err_set(err, -EIO, "the cluster has taken the volume from this gateway");
	else if (volume_size(source) != volume_size(destination))
		result = err_set(err, -EIO, "the volume's size has changed meanwhile");
	else
		result = store_switch(move, err);
	if (result < 0) {
		volume_move_let_go(move->engine);
		return result;
	}
	move->state = MOVE_SWITCHED;
	take_over_limits(source, destination);
	rename_luns(move, move->destination, destination->name);
	if (scsi_volume_replace(source, destination, way_clear, move) < 0)
		log_error("volume %s: no memory; it is served through its old place until the "
			  "daemon is started again",
			  move->name);
	volume_move_forward(move->engine);
	log_notice("volume %s/%s is %s/%s now", move->source, move->name, move->destination,
		   destination->name);
	return 0;
}

static int copy_and_switch(struct model_move *move, struct volume *source,
			   struct volume *destination, struct err *err)
{
	int result;

	do {
		result = volume_move_copy(move->engine, err);
		if (result == 0 && !claim(move))
			result = -ECANCELED;
		else if (result == 0) {
			result = switch_over(move, source, destination, err);
			webadmin_turn_give(move->admin);
		}
	} while (result == -EAGAIN);
	return result;
}

static int copy_between(struct model_move *move, struct volume *source, struct pool *pool,
			struct err *err)
{
	struct volume *destination = half_in(pool, move);
	bool fresh = destination == NULL;
	int result = pin(source, VOLUME_PIN_HERE, err);

	if (result == 0 && fresh) {
		destination = make_copy(move, pool, source, err);
		result = destination ? 0 : err->code;
	}
	if (result == 0 && volume_standby(destination))
		result = err_set(err, -EAGAIN, "volume %s/%s is not served here yet",
				 move->destination, destination->name);
	if (result == 0)
		result = volume_move_create(source, destination, fresh, &move->engine, err);
	if (result == 0) {
		volume_move_rate(move->engine, move->rate);
		volume_move_pause(move->engine, move->paused);
		if (stopping(move) || move->state != MOVE_COPYING)
			volume_move_cancel(move->engine); /* it was not there to hear of it */
		move->reason[0] = '\0';
		result = copy_and_switch(move, source, destination, err);
	}
	if (result < 0)
		retire(move);
	volume_unref(destination);
	return result;
}

/* Guests are at the source until it returns 0; then at the destination. */
static int copy(struct model_move *move, struct err *err)
{
	struct volume *source = source_of(move, err);
	struct pool *pool = source ? pool_of(move, move->destination, err) : NULL;
	int result = pool ? copy_between(move, source, pool, err) : err->code;

	if (result == 0) /* until then a command may come by the old place, and is passed on */
		while (!move->clear_way && !move->admin->moves_stopped)
			fiber_sleep(NAP_NS / 10);
	if (result == 0)
		retire(move);
	volume_unref(source);
	return result;
}

/* ---- afterwards */

static int take_name(struct model_move *move, struct volume *volume, struct err *err)
{
	struct config *config = move->admin->options.config;
	struct pool_wait wait = POOL_WAIT;
	char name[VOLUME_NAME_MAX + 1];
	int result;

	name_copy(move, name);
	if (strcmp(volume->name, name) != 0)
		return 0; /* it has its name, or an administrator has given it another one */
	volume_rename(volume, move->name, &wait.call);
	result = pool_wait(&wait, err);
	if (result < 0)
		return result;
	rename_luns(move, move->destination, move->name);
	if (!claim(move))
		return -ECANCELED;
	result = store_rename_volume(config, move->volume, move->name, err);
	webadmin_turn_give(move->admin);
	return result;
}

static int delete_snapshots(struct volume *volume, struct err *err)
{
	struct volume *snapshot;
	int result = 0;

	while (result == 0 && (snapshot = snapshot_next(volume, NULL))) {
		struct pool_wait wait = POOL_WAIT;

		snapshot_delete(snapshot, &wait.call);
		result = pool_wait(&wait, err);
		if (result < 0)
			volume_unref(snapshot);
	}
	return result;
}

/* Takes over the reference, whatever comes of it. */
static int delete_half(struct volume *volume, struct err *err)
{
	struct pool_wait wait = POOL_WAIT;
	int result;

	volume_delete(volume, &wait.call);
	result = pool_wait(&wait, err);
	if (result < 0)
		volume_unref(volume);
	return result;
}

static int forget(struct model_move *move, struct err *err)
{
	int result;

	if (!claim(move))
		return -ECANCELED;
	result = run_with_volume(move->admin->options.config,
				 "delete from volume_move where volume = ?", move, false, err);
	webadmin_turn_give(move->admin);
	return result;
}

/* SWITCHED: whatever is left of the source goes. */
static int tidy_up(struct model_move *move, struct err *err)
{
	struct pool *from = pool_of(move, move->source, err);
	struct pool *to = from ? pool_of(move, move->destination, err) : NULL;
	struct volume *source, *destination = to ? half_in(to, move) : NULL;
	int result;

	if (!to)
		return err->code;
	if (!destination)
		return err_set(err, -ENOENT, "volume %s/%s is not there any more",
			       move->destination, move->name);
	result = take_name(move, destination, err);
	source = result == 0 ? half_in(from, move) : NULL;
	/* Once: the cluster tells all who watch the image, who look at it then, and have it in use.
	 */
	if (source && !move->let_go && !volume_standby(source))
		result = pin(source, VOLUME_PIN_NOBODY, err);
	move->let_go |= result == 0;
	/* Only then: before, the source could be taken for the volume. */
	if (result == 0)
		result = pin(destination, VOLUME_PIN_NONE, err);
	volume_unref(destination);
	if (result == 0 && source && move->drop_snapshots)
		result = delete_snapshots(source, err);
	if (result == 0 && source)
		result = delete_half(source, err);
	else
		volume_unref(source);
	return result == 0 ? forget(move, err) : result;
}

/* GIVEN_UP: whatever is there of the copy goes. */
static int give_up(struct model_move *move, struct err *err)
{
	struct pool *from = pool_of(move, move->source, err);
	struct pool *to = from ? pool_of(move, move->destination, err) : NULL;
	struct volume *source = to ? half_in(from, move) : NULL;
	struct volume *destination = to ? half_in(to, move) : NULL;
	int result = to ? 0 : err->code;

	if (destination)
		result = delete_half(destination, err);
	if (result == 0 && source && !volume_standby(source))
		result = pin(source, VOLUME_PIN_NONE, err);
	volume_unref(source);
	return result == 0 ? forget(move, err) : result;
}

/* ---- the fiber */

static int go_on(struct model_move *move, struct err *err)
{
	int result = move->state == MOVE_COPYING ? copy(move, err) : 0;

	if (result < 0 && move->state != MOVE_GIVEN_UP)
		return result;
	if (stopping(move))
		return -ECANCELED;
	err->code = 0;
	return move->state == MOVE_SWITCHED ? tidy_up(move, err) : give_up(move, err);
}

/* What was in the way is said once. What is only away, or in use, is asked for again. */
static void wait_for_better(struct model_move *move, int result, const struct err *err)
{
	const char *why = err->text[0] ? err->text : strerror(-result);

	if (strcmp(move->reason, why) != 0)
		log_warning("volume %s/%s, on its way to pool %s: %s", move->source, move->name,
			    move->destination, why);
	snprintf(move->reason, sizeof move->reason, "%s", why);
	move->stuck =
	    result != -EAGAIN && result != -EBUSY && result != -ETIMEDOUT && result != -EREMOTE;
	move->retrying = true;
	move->kicked = false;
	do
		nap(move, AWAY_NS);
	while (move->stuck && !move->kicked && !stopping(move) && move->state == MOVE_COPYING);
	move->retrying = move->stuck = false;
}

static void work(void *context)
{
	struct model_move *move = context;
	struct webadmin *admin = move->admin;
	int result = -EAGAIN;

	while (!stopping(move)) {
		struct err err = {0};

		result = go_on(move, &err);
		if (result == 0)
			break;
		if (!stopping(move) && result != -ECANCELED)
			wait_for_better(move, result, &err);
	}
	move->running = false;
	if (result == 0)
		model_move_remove(move);
	admin->moves_running--;
	if (admin->moves_running == 0 && admin->moves_stopped)
		admin->moves_stopped(admin);
}

void move_start(struct webadmin *admin, struct model_move *move)
{
	move->admin = admin;
	if (move->running)
		return;
	if (fiber_start(admin->options.control, work, move) < 0) {
		snprintf(move->reason, sizeof move->reason, "out of memory");
		return;
	}
	move->running = true;
	admin->moves_running++;
}

void moves_start(struct webadmin *admin)
{
	list_for_each (it, &admin->model.moves)
		move_start(admin, list_entry(it, struct model_move, link));
}

void moves_cancel(struct webadmin *admin)
{
	admin->moves_stopping = true;
	list_for_each (it, &admin->model.moves) {
		struct model_move *move = list_entry(it, struct model_move, link);

		if (move->engine)
			volume_move_cancel(move->engine);
	}
}

void moves_stop(struct webadmin *admin, void (*done)(struct webadmin *admin))
{
	moves_cancel(admin);
	admin->moves_stopped = done;
	if (admin->moves_running == 0)
		done(admin);
}

void moves_free(struct webadmin *admin)
{
	struct list *link;

	while ((link = list_pop_front(&admin->retired_moves))) {
		struct retired_move *retired = list_entry(link, struct retired_move, link);

		volume_move_free(retired->engine);
		heap_free(retired);
	}
}

/* ---- showing */

static const char *state_of(const struct model_move *move)
{
	if (move->state == MOVE_GIVEN_UP)
		return "stopping";
	if (move->stuck)
		return "stuck";
	if (move->retrying)
		return "waiting";
	if (move->state == MOVE_SWITCHED)
		return "tidying";
	return move->paused ? "paused" : "copying";
}

json_t *show_move(const struct model_move *move)
{
	struct volume_move_progress progress = move->last;
	double share = move->state == MOVE_SWITCHED ? 1.0 : 0.0;
	json_t *object;

	if (move->engine && move->state == MOVE_COPYING)
		volume_move_get_progress(move->engine, &progress);
	if (progress.size && move->state == MOVE_COPYING)
		share = (double)(progress.size - progress.left) / (double)progress.size;
	object = json_pack(
	    "{s:o,s:s,s:o,s:s,s:s,s:s,s:s,s:f,s:I,s:I,s:I,s:b,s:b,s:s}", "id",
	    json_sprintf("move-%s", move->name), "kind", "move", "object",
	    json_sprintf("%s/%s", move->source, move->name), "source", move->source, "name",
	    move->name, "destination", move->destination, "state", state_of(move), "progress",
	    share, "left_bytes", (json_int_t)(move->state == MOVE_COPYING ? progress.left : 0),
	    "written_bytes", (json_int_t)progress.written, "rate_bytes", (json_int_t)move->rate,
	    "slowing", progress.slowing, "switched", move->state == MOVE_SWITCHED, "reason",
	    move->retrying ? move->reason : "");
	return object;
}
