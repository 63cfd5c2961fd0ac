/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/life.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/crc32c.h"

/* Snapshots in a life. One is made while its volume is written to. It is a read of the whole volume
 * that was submitted with the call: what that may return, the snapshot may hold; and from then on
 * it may hold nothing else, over every crash, until it is deleted. */

#define PIECE     (1u << 20)
#define SLOT      4096u
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

static struct volume *open_snapshot(struct life *life, const struct model_snapshot *known)
{
	const struct model_volume *of = &life->model->volumes[known->volume];
	char path[2 * MODEL_NAME_MAX];

	snprintf(path, sizeof(path), "%s@%s", of->name, known->name);
	return pool_find_volume(life->pool, path);
}

/* ---- what it holds ---- */
static void capture(struct life *life, struct model_snapshot *known, struct volume *volume,
		    int token)
{
	uint8_t *room = room_new();

	known->size = volume_size(volume);
	known->crc = calloc(known->size / SLOT, sizeof(uint32_t));
	assert(known->crc);
	known->captured = true;
	for (uint64_t at = 0; at < known->size; at += PIECE) {
		uint64_t length = known->size - at < PIECE ? known->size - at : PIECE;
		const char *wrong;

		if (read_piece(life, volume, at, room, length) < 0) {
			if (!life->tolerate_faults)
				violation("a snapshot can not be read at %llu",
					  (unsigned long long)at);
			known->captured = false;
			break;
		}
		wrong = token >= 0
			    ? model_read_check(life->model, known->volume, (unsigned)token, at,
					       room, length)
			    : model_read_identify(life->model, known->volume, at, room, length);
		if (wrong && !life->device_lied)
			violation("a new snapshot: %s", wrong);
		for (uint64_t slot = 0; slot < length / SLOT; slot++)
			known->crc[at / SLOT + slot] = crc32c(0, room + slot * SLOT, SLOT);
	}
	free(room);
}

static void compare(struct life *life, const struct model_snapshot *known, struct volume *volume,
		    uint64_t at, uint64_t length)
{
	uint8_t *room = room_new();

	if (read_piece(life, volume, at, room, length) < 0) {
		if (!life->tolerate_faults)
			violation("snapshot %s can not be read at %llu", volume->name,
				  (unsigned long long)at);
		free(room);
		return;
	}
	for (uint64_t slot = 0; slot < length / SLOT; slot++)
		if (crc32c(0, room + slot * SLOT, SLOT) != known->crc[at / SLOT + slot] &&
		    !life->device_lied)
			violation("snapshot %s holds something else at %llu than when it was made",
				  volume->name, (unsigned long long)(at + slot * SLOT));
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
		volume = open_snapshot(life, known);
		if (!volume)
			violation("snapshot %s is lost", known->name);
		for (uint64_t piece = 0; piece < pieces; piece++) {
			uint64_t at = piece * PIECE, left = known->size - at;

			if (all || rng_below(&life->rng, pieces) == 0)
				compare(life, known, volume, at, left < PIECE ? left : PIECE);
		}
		volume_unref(volume);
	}
}

/* ---- after an open ---- */
bool life_snapshots_fit(struct life *life)
{
	unsigned count = 0, known = 0;

	for (unsigned i = 0; i < MODEL_SNAPSHOTS; i++) {
		struct volume *volume;

		if (life->model->snapshots[i].state == MODEL_GONE)
			continue;
		volume = open_snapshot(life, &life->model->snapshots[i]);
		if (!volume && life->model->snapshots[i].state == MODEL_HERE)
			return false;
		known += volume != NULL;
		volume_unref(volume);
	}
	for (struct volume *volume = pool_volume_next(life->pool, NULL); volume;
	     volume = pool_volume_next(life->pool, volume))
		for (struct volume *it = snapshot_next(volume, NULL); it;
		     it = snapshot_next(volume, it))
			count++;
	return count == known;
}

void life_snapshots_match(struct life *life)
{
	for (unsigned i = 0; i < MODEL_SNAPSHOTS; i++) {
		struct model_snapshot *known = &life->model->snapshots[i];
		struct volume *volume;

		if (known->state == MODEL_GONE)
			continue;
		volume = open_snapshot(life, known);
		if (!volume && known->state == MODEL_HERE)
			violation("snapshot %s of %s is lost", known->name,
				  life->model->volumes[known->volume].name);
		if (!volume)
			model_snapshot_gone(known);
		else if (known->state == MODEL_CREATING)
			capture(life, known, volume, -1);
		if (volume)
			known->state = MODEL_HERE;
		volume_unref(volume);
	}
	if (!life_snapshots_fit(life))
		violation("there is a snapshot that should not exist");
}

/* ---- making and deleting ---- */
bool life_has_snapshots(const struct life *life, unsigned volume)
{
	for (unsigned i = 0; i < MODEL_SNAPSHOTS; i++)
		if (life->model->snapshots[i].state != MODEL_GONE &&
		    life->model->snapshots[i].volume == volume)
			return true;
	return false;
}

bool life_had_snapshots(const struct life *life, unsigned volume)
{
	for (unsigned i = 0; i < MODEL_SNAPSHOTS; i++)
		if (life->model->snapshots[i].name[0] && life->model->snapshots[i].volume == volume)
			return true;
	return false;
}

void life_snapshot_start(struct life *life)
{
	struct model_snapshot *known = &life->model->snapshots[life->snapshot];

	if (life->manage == MANAGE_SNAPSHOT) {
		struct snapshot_spec spec = {.volume = life->handles[known->volume],
					     .name = known->name};

		life->snapshot_token = (int)model_read_begin(life->model);
		snapshot_create(life->pool, &spec, 1, &life->call);
	} else {
		life->snapshot_handle = open_snapshot(life, known);
		snapshot_delete(life->snapshot_handle, &life->call);
	}
}

bool life_snapshot_plan(struct life *life)
{
	unsigned i = (unsigned)rng_below(&life->rng, MODEL_SNAPSHOTS);
	unsigned volume = (unsigned)rng_below(&life->rng, MODEL_VOLUMES);
	struct model_snapshot *known = &life->model->snapshots[i];

	life->snapshot = i;
	if (known->state == MODEL_HERE) {
		life->manage = MANAGE_SNAPSHOT_DELETE;
		known->state = MODEL_DELETING;
		return true;
	}
	while (life->model->volumes[volume].state != MODEL_HERE || !life->handles[volume]) {
		if (volume == 0)
			return false;
		volume--;
	}
	if (known->state != MODEL_GONE)
		return false;
	*known = (struct model_snapshot){.state = MODEL_CREATING, .volume = volume};
	snprintf(known->name, sizeof(known->name), "s%u", i);
	life->manage = MANAGE_SNAPSHOT;
	return true;
}

void life_snapshot_ended(struct life *life)
{
	struct model_snapshot *known = &life->model->snapshots[life->snapshot];
	struct volume *volume;

	if (life->manage == MANAGE_SNAPSHOT_DELETE) {
		if (life->call_result == 0)
			model_snapshot_gone(known);
		else
			volume_unref(life->snapshot_handle);
		return;
	}
	if (life->call_result == 0) {
		known->state = MODEL_HERE;
		volume = open_snapshot(life, known);
		if (!volume)
			violation("snapshot %s was made and is not there", known->name);
		capture(life, known, volume, life->snapshot_token);
		volume_unref(volume);
	} else if (life->call_result == -ENOSPC) {
		model_snapshot_gone(known);
	}
	model_read_end(life->model, (unsigned)life->snapshot_token);
}

void life_snapshots_delete(struct life *life)
{
	for (unsigned i = 0; i < MODEL_SNAPSHOTS; i++) {
		if (life->model->snapshots[i].state != MODEL_HERE)
			continue;
		life->snapshot = i;
		life->manage = MANAGE_SNAPSHOT_DELETE;
		life_call(life, life_snapshot_start);
		if (life_wait(life, "snapshot_delete") != 0)
			violation("snapshot_delete: %s", life->call.err.text);
		model_snapshot_gone(&life->model->snapshots[i]);
	}
}
