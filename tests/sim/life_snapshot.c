/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/life.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Snapshots in a life. One is made while its volume is written to. It is a read of the whole volume
 * that was submitted with the call: what that may return, the snapshot may hold; and from then on
 * it may hold nothing else, over every crash, until it is deleted.
 *
 * A clone starts with what its snapshot was seen to hold, and so does a volume that was rolled
 * back: from then on both are held to that like to their own writes. When a crash came in between,
 * the pool's own words tell which way it went: is there a clone of that name, is the snapshot
 * called after the clone, is there no difference to the snapshot any more? */

#define PIECE     (1u << 20)
#define STEPS_MAX 2000000u

struct request {
	struct volume_request request;
	struct message message;
	struct volume *volume;
	struct iovec iov;
	bool done;
	int result;
};

static void request_done(struct volume_request *request, int result)
{
	struct request *mine = (struct request *)request;

	mine->result = result;
	mine->done = true;
}

static void request_submit(struct message *message)
{
	struct request *mine = container_of(message, struct request, message);

	volume_submit(mine->volume, &mine->request);
}

static int read_piece(struct life *life, struct volume *volume, uint64_t offset, void *data,
		      uint64_t length)
{
	struct request mine = {.volume = volume,
			       .iov = {.iov_base = data, .iov_len = length},
			       .request = {.op = VOLUME_READ,
					   .offset = offset,
					   .length = length,
					   .iov_count = 1,
					   .done = request_done}};

	mine.request.iov = &mine.iov;
	loop_post(life->loops[0], &mine.message, request_submit);
	for (uint64_t steps = 1; !mine.done; steps++) {
		if (steps % 5000 == 0)
			sim_release_hung(life->sim);
		if (!sim_step(life->sim) || steps > STEPS_MAX)
			violation("a read of a snapshot never ended (depth %u)", life->depth);
	}
	return mine.result;
}

static void *room_new(void)
{
	void *room = aligned_alloc(4096, PIECE);

	assert(room);
	return room;
}

/* Under either name of a volume that was being renamed in a crash. */
static struct volume *find_path(struct life *life, unsigned volume, const char *snapshot)
{
	const struct model_volume *known = &life->model->volumes[volume];
	char path[2 * MODEL_NAME_MAX];
	struct volume *found;

	snprintf(path, sizeof(path), "%s@%s", known->name, snapshot);
	found = pool_find_volume(life->pool, path);
	if (found || !known->new_name[0])
		return found;
	snprintf(path, sizeof(path), "%s@%s", known->new_name, snapshot);
	return pool_find_volume(life->pool, path);
}

static struct volume *open_snapshot(struct life *life, unsigned index)
{
	const struct model_snapshot *known = &life->model->snapshots[index];

	return find_path(life, known->volume, known->name);
}

/* ---- what it holds ---- */
static void capture(struct life *life, unsigned index, struct volume *volume, int token)
{
	struct model_snapshot *known = &life->model->snapshots[index];
	uint8_t *room = room_new();

	known->size = volume_size(volume);
	known->image = model_image_new(known->size);
	known->captured = true;
	for (uint64_t at = 0; at < known->size && known->captured; at += PIECE) {
		uint64_t length = known->size - at < PIECE ? known->size - at : PIECE;
		const char *wrong = NULL;

		if (read_piece(life, volume, at, room, length) < 0) {
			if (!life->tolerate_faults)
				violation("a snapshot can not be read at %llu",
					  (unsigned long long)at);
			known->captured = false;
			break;
		}
		if (token >= 0)
			wrong = model_read_check(life->model, known->volume, (unsigned)token, at,
						 room, length);
		if (!wrong && !model_snapshot_note(life->model, index, at, room, length))
			wrong = model_read_identify(life->model, known->volume, at, room, length);
		if (wrong && !life->device_lied)
			violation("a new snapshot: %s (depth %u)", wrong, life->depth);
		known->captured = !wrong;
	}
	free(room);
}

static void compare(struct life *life, unsigned index, struct volume *volume, uint64_t at,
		    uint64_t length)
{
	uint8_t *room = room_new();
	const char *wrong;

	if (read_piece(life, volume, at, room, length) < 0) {
		if (!life->tolerate_faults)
			violation("snapshot %s can not be read at %llu", volume->name,
				  (unsigned long long)at);
		free(room);
		return;
	}
	wrong = model_snapshot_check(life->model, index, at, room, length);
	if (wrong && !life->device_lied)
		violation("%s (depth %u)", wrong, life->depth);
	free(room);
}

void life_snapshots_look(struct life *life, bool all)
{
	for (unsigned i = 0; i < MODEL_SNAPSHOTS; i++) {
		const struct model_snapshot *known = &life->model->snapshots[i];
		struct volume *volume;
		uint64_t pieces = (known->size + PIECE - 1) / PIECE;

		if (known->state != MODEL_HERE || !known->captured)
			continue;
		volume = open_snapshot(life, i);
		if (!volume)
			violation("snapshot %s is lost", known->name);
		for (uint64_t piece = 0; piece < pieces; piece++) {
			uint64_t at = piece * PIECE, left = known->size - at;

			if (all || rng_below(&life->rng, pieces) == 0)
				compare(life, i, volume, at, left < PIECE ? left : PIECE);
		}
		volume_unref(volume);
	}
}

/* ---- after an open ---- */
/* A deleted one that an older root still has. */
static bool is_ghost(const struct life *life, const struct model_snapshot *known)
{
	return life->rewound && known->state == MODEL_GONE && known->captured;
}

bool life_snapshots_fit(struct life *life)
{
	unsigned count = 0, known = 0;

	for (unsigned i = 0; i < MODEL_SNAPSHOTS; i++) {
		const struct model_snapshot *snapshot = &life->model->snapshots[i];
		struct volume *volume;

		if (snapshot->state == MODEL_GONE && !is_ghost(life, snapshot))
			continue;
		volume = open_snapshot(life, i);
		if (!volume && snapshot->state == MODEL_HERE)
			return false;
		known += volume != NULL;
		volume_unref(volume);
	}
	for (struct volume *volume = pool_volume_next(life->pool, NULL); volume;
	     volume = pool_volume_next(life->pool, volume))
		for (struct volume *it = snapshot_next(volume, NULL); it;
		     it = snapshot_next(volume, it))
			count += !life_is_before(life, volume);
	return count == known;
}

static void match_one(struct life *life, unsigned index)
{
	struct model_snapshot *known = &life->model->snapshots[index];
	struct volume *volume = open_snapshot(life, index);

	if (!volume && known->state == MODEL_HERE)
		violation("snapshot %s of %s is lost", known->name,
			  life->model->volumes[known->volume].name);
	if (!volume && known->state != MODEL_GONE) {
		model_snapshot_gone(life->model, index);
	} else if (volume && known->state == MODEL_CREATING) {
		capture(life, index, volume, -1);
		model_snapshot_made(life->model, index);
	} else if (volume) {
		known->state = MODEL_HERE;
	}
	volume_unref(volume);
}

void life_snapshots_match(struct life *life)
{
	for (unsigned i = 0; i < MODEL_SNAPSHOTS; i++)
		if (life->model->snapshots[i].state != MODEL_GONE ||
		    is_ghost(life, &life->model->snapshots[i]))
			match_one(life, i);
	if (!life_snapshots_fit(life))
		violation("there is a snapshot that should not exist");
}

/* ---- clones and going back: which way did it go? ---- */
static int kept_of(const struct life *life, unsigned volume)
{
	for (unsigned i = 0; i < MODEL_SNAPSHOTS; i++)
		if (life->model->snapshots[i].state == MODEL_CREATING &&
		    life->model->snapshots[i].volume == volume)
			return (int)i;
	return -1;
}

static void start_diff(struct life *life)
{
	volume_diff(&life->diff, &life->call);
}

/* Is there no difference? */
static bool is_as(struct life *life, unsigned snapshot, struct volume *volume)
{
	struct volume_extent extent;

	life->diff = (struct volume_diff){.from = open_snapshot(life, snapshot),
					  .to = volume,
					  .extents = &extent,
					  .extent_max = 1};
	if (!life->diff.from)
		violation("the snapshot that is rolled back to is lost (depth %u)", life->depth);
	do {
		life_call(life, start_diff);
		if (life_wait(life, "volume_diff") != 0)
			violation("volume_diff: %s (depth %u)", life->call.err.text, life->depth);
	} while (!life->diff.finished && !life->diff.extent_count);
	volume_unref(life->diff.from);
	return !life->diff.extent_count;
}

/* What was kept stands where the volume stood, and the volume on what it went back to. */
static void set_rolled(struct life *life, unsigned volume, unsigned kept)
{
	life->model->snapshots[kept].aside = true;
	life->model->snapshots[kept].parent = life->model->volumes[volume].parent;
	model_volume_rolled(life->model, volume);
}

static void match_rolling(struct life *life, unsigned index)
{
	struct model_volume *volume = &life->model->volumes[index];
	unsigned to = (unsigned)volume->rolling - 1;
	int kept = kept_of(life, index);
	struct volume *found = kept >= 0 ? open_snapshot(life, (unsigned)kept) : NULL;
	uint64_t size = volume_size(life->handles[index]);

	if (found && size == life->model->snapshots[to].size &&
	    is_as(life, to, life->handles[index])) {
		set_rolled(life, index, (unsigned)kept);
	} else {
		volume->rolling = 0;
		volume->new_size = volume->size;
		if (size != volume->size)
			violation("volume %s has %llu bytes and was not rolled back (depth %u)",
				  volume->name, (unsigned long long)size, life->depth);
	}
	volume_unref(found);
}

void life_family_match(struct life *life)
{
	struct model *model = life->model;

	for (unsigned i = 0; i < MODEL_VOLUMES; i++)
		if (model->volumes[i].state == MODEL_HERE && model->volumes[i].rolling &&
		    life->handles[i])
			match_rolling(life, i);
	if (model->promoting) {
		unsigned clone = (unsigned)model->promoting - 1;
		int origin = model_origin(model, clone);
		struct volume *found =
		    origin >= 0 ? find_path(life, clone, model->snapshots[origin].name) : NULL;

		if (found)
			model_promoted(model, clone);
		model->promoting = 0;
		volume_unref(found);
	}
}

/* ---- planning ---- */
bool life_has_snapshots(const struct life *life, unsigned volume)
{
	for (unsigned i = 0; i < MODEL_SNAPSHOTS; i++)
		if (life->model->snapshots[i].state != MODEL_GONE &&
		    life->model->snapshots[i].volume == volume)
			return true;
	return false;
}

static bool plan_clone(struct life *life, unsigned from)
{
	struct model_snapshot *known = &life->model->snapshots[from];
	int clone;

	if (!model_has_kin_room(life->model, from, -1) || life_volumes_here(life) >= 6)
		return false;
	life_manage_name(life);
	clone = model_volume_create(life->model, life->manage_name, known->size);
	if (clone < 0)
		return false;
	model_volume_cloned(life->model, (unsigned)clone, from);
	life->manage_volume = clone;
	life->manage = MANAGE_CLONE;
	return true;
}

/* To be begun when the volume is quiet. */
static bool plan_rollback(struct life *life, unsigned to)
{
	unsigned volume = life->model->snapshots[to].volume;

	if (!life->handles[volume] || !model_has_kin_room(life->model, to, (int)volume))
		return false;
	for (unsigned i = 0; i < MODEL_SNAPSHOTS; i++) {
		struct model_snapshot *kept = &life->model->snapshots[i];

		if (kept->state != MODEL_GONE)
			continue;
		model_snapshot_forget(life->model, i);
		kept->volume = volume;
		snprintf(kept->name, sizeof(kept->name), "s%u", i);
		life->snapshot = i;
		life->rollback_to = to;
		life->manage_volume = (int)volume;
		life->manage = MANAGE_ROLLBACK;
		return true;
	}
	return false;
}

void life_rollback_begin(struct life *life)
{
	struct model_volume *volume = &life->model->volumes[life->manage_volume];

	life->model->snapshots[life->snapshot].state = MODEL_CREATING;
	volume->rolling = (int)life->rollback_to + 1;
	volume->new_size = life->model->snapshots[life->rollback_to].size;
}

static bool plan_promote(struct life *life)
{
	for (unsigned i = 0; i < MODEL_VOLUMES; i++) {
		if (life->model->volumes[i].state != MODEL_HERE || !life->handles[i] ||
		    model_origin(life->model, i) < 0)
			continue;
		life->model->promoting = (int)i + 1;
		life->manage = MANAGE_PROMOTE;
		return true;
	}
	return false;
}

static bool plan_family(struct life *life, unsigned from)
{
	const struct model_snapshot *known = &life->model->snapshots[from];
	unsigned kind = (unsigned)rng_below(&life->rng, 5);

	if (kind == 0)
		return plan_promote(life);
	if (known->state != MODEL_HERE || !known->captured)
		return false;
	return kind < 3 ? plan_rollback(life, from) : plan_clone(life, from);
}

static bool plan_create(struct life *life, unsigned index)
{
	unsigned volume = (unsigned)rng_below(&life->rng, MODEL_VOLUMES);
	struct model_snapshot *known = &life->model->snapshots[index];

	while (life->model->volumes[volume].state != MODEL_HERE || !life->handles[volume]) {
		if (volume == 0)
			return false;
		volume--;
	}
	if (known->state != MODEL_GONE)
		return false;
	model_snapshot_forget(life->model, index);
	*known = (struct model_snapshot){.state = MODEL_CREATING, .volume = volume};
	snprintf(known->name, sizeof(known->name), "s%u", index);
	life->model->volumes[volume].shares = true;
	life->manage = MANAGE_SNAPSHOT;
	return true;
}

bool life_snapshot_plan(struct life *life)
{
	unsigned i = life->profile->after_deletions
			 ? 0 /* one at a time: its volume stands on it and takes it over */
			 : (unsigned)rng_below(&life->rng, MODEL_SNAPSHOTS);
	struct model_snapshot *known = &life->model->snapshots[i];

	if (life->unsettled)
		return false;
	if (life->profile->family && rng_below(&life->rng, 1000) < life->profile->family)
		return plan_family(life, i);
	life->snapshot = i;
	if (known->state != MODEL_HERE)
		return plan_create(life, i);
	if (model_snapshot_has_clones(life->model, i))
		return false;
	life->manage = MANAGE_SNAPSHOT_DELETE;
	known->state = MODEL_DELETING;
	return true;
}

/* ---- carrying it out ---- */
void life_snapshot_start(struct life *life)
{
	struct model_snapshot *known = &life->model->snapshots[life->snapshot];
	struct snapshot_spec spec = {.volume = life->handles[known->volume], .name = known->name};

	life->snapshot_handle = NULL;
	switch (life->manage) {
	case MANAGE_SNAPSHOT:
		life->snapshot_token = (int)model_read_begin(life->model);
		snapshot_create(life->pool, &spec, 1, &life->call);
		break;
	case MANAGE_ROLLBACK:
		life->snapshot_token = (int)model_read_begin(life->model);
		life->snapshot_handle = open_snapshot(life, life->rollback_to);
		volume_rollback(spec.volume, life->snapshot_handle, known->name, &life->call);
		break;
	case MANAGE_CLONE:
		life->snapshot_handle = open_snapshot(
		    life, (unsigned)life->model->volumes[life->manage_volume].parent - 1);
		volume_clone(life->snapshot_handle, life->manage_name, &life->call);
		break;
	case MANAGE_PROMOTE:
		volume_promote(life->handles[life->model->promoting - 1], &life->call);
		break;
	default:
		life->snapshot_handle = open_snapshot(life, life->snapshot);
		snapshot_delete(life->snapshot_handle, &life->call);
	}
}

static void capture_new(struct life *life)
{
	struct volume *volume = open_snapshot(life, life->snapshot);

	if (!volume)
		violation("snapshot %s was made and is not there",
			  life->model->snapshots[life->snapshot].name);
	capture(life, life->snapshot, volume, life->snapshot_token);
	volume_unref(volume);
}

static void snapshot_ended(struct life *life)
{
	if (life->call_result == 0) {
		capture_new(life);
		model_snapshot_made(life->model, life->snapshot);
	} else if (life->call_result == -ENOSPC) {
		model_snapshot_forget(life->model, life->snapshot);
	}
	model_read_end(life->model, (unsigned)life->snapshot_token);
}

static void rollback_ended(struct life *life)
{
	unsigned index = (unsigned)life->manage_volume;
	struct model_volume *volume = &life->model->volumes[index];

	volume_unref(life->snapshot_handle);
	if (life->call_result == 0) {
		capture_new(life);
		set_rolled(life, index, life->snapshot);
		model_snapshot_made(life->model, life->snapshot);
		if (volume_size(life->handles[index]) != volume->size)
			violation("volume %s was rolled back and has %llu bytes", volume->name,
				  (unsigned long long)volume_size(life->handles[index]));
	} else if (life->call_result == -ENOSPC) {
		volume->rolling = 0;
		volume->new_size = volume->size;
		model_snapshot_forget(life->model, life->snapshot);
	} else { /* what it holds now is not known; after the next open it will be */
		volume_unref(life->handles[index]);
		life->handles[index] = NULL;
	}
	model_read_end(life->model, (unsigned)life->snapshot_token);
	life->manage_volume = -1;
}

static void clone_ended(struct life *life)
{
	unsigned index = (unsigned)life->manage_volume;

	volume_unref(life->snapshot_handle);
	if (life->call_result == 0) {
		model_volume_created(life->model, index, life->call.volume->identity.uuid, 0);
		life->handles[index] = life->call.volume;
	} else if (life->call_result == -ENOSPC) {
		model_volume_created(life->model, index, NULL, life->call_result);
	}
	life->manage_volume = -1;
}

static void snapshot_deleted(struct life *life)
{
	model_snapshot_gone(life->model, life->snapshot);
	life->deletions++;
}

void life_snapshot_ended(struct life *life)
{
	life->unsettled |= life->call_result != 0 && life->call_result != -ENOSPC;
	if (life->manage == MANAGE_SNAPSHOT)
		snapshot_ended(life);
	else if (life->manage == MANAGE_ROLLBACK)
		rollback_ended(life);
	else if (life->manage == MANAGE_CLONE)
		clone_ended(life);
	else if (life->manage == MANAGE_PROMOTE && life->call_result == 0)
		model_promoted(life->model, (unsigned)life->model->promoting - 1);
	else if (life->manage == MANAGE_SNAPSHOT_DELETE && life->call_result == 0)
		snapshot_deleted(life);
	else
		volume_unref(life->snapshot_handle);
}

void life_snapshots_delete(struct life *life)
{
	for (unsigned i = 0; i < MODEL_SNAPSHOTS; i++) {
		if (life->model->snapshots[i].state != MODEL_HERE ||
		    model_snapshot_has_clones(life->model, i))
			continue;
		life->snapshot = i;
		life->manage = MANAGE_SNAPSHOT_DELETE;
		life_call(life, life_snapshot_start);
		if (life_wait(life, "snapshot_delete") != 0)
			violation("snapshot_delete: %s", life->call.err.text);
		model_snapshot_gone(life->model, i);
	}
}
