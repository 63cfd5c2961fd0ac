/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "tests/sim/life.h"

/* What a pool that began with one device has of that time: a volume with one copy, and maybe a
 * snapshot of it, whose nodes have both copies there. It is not in the model: nothing changes it.
 */

#define WRITE_STEPS_MAX 1000000u
#define BEFORE_SLOTS    40u /* far from each other, for nodes of each kind */
#define BEFORE_BYTES    ((uint64_t)BEFORE_SLOTS * 64 * 4 * VOLUME_SLOT)

bool life_is_before(const struct life *life, const struct volume *volume)
{
	return life->profile->before && strcmp(volume->name, LIFE_BEFORE) == 0;
}

/* With a reference. */
static struct volume *find_before(struct life *life)
{
	struct volume *volume = pool_volume_next(life->pool, NULL);

	while (volume && !life_is_before(life, volume))
		volume = pool_volume_next(life->pool, volume);
	if (!volume)
		violation("volume %s is lost", LIFE_BEFORE);
	return volume;
}

static struct volume *find_snapshot(struct life *life)
{
	struct volume *volume = find_before(life), *snapshot = snapshot_next(volume, NULL);

	volume_unref(volume);
	return snapshot;
}

static void start_before(struct life *life)
{
	struct volume_spec spec = {.name = LIFE_BEFORE, .size_bytes = BEFORE_BYTES};

	volume_create(life->pool, &spec, &life->call);
}

static void start_before_snapshot(struct life *life)
{
	struct snapshot_spec spec = {.volume = find_before(life), .name = "at"};

	snapshot_create(life->pool, &spec, 1, &life->call);
	volume_unref(spec.volume);
}

static void start_before_forget(struct life *life)
{
	snapshot_delete(find_snapshot(life), &life->call);
}

static void start_before_delete(struct life *life)
{
	volume_delete(find_before(life), &life->call);
}

struct before_write {
	struct volume_request request;
	struct iovec iov;
	struct life *life;
	struct volume *volume;
	struct message message;
	bool done;
};

static void before_written(struct volume_request *request, int result)
{
	struct before_write *write = container_of(request, struct before_write, request);

	if (result != 0)
		violation("a write to %s failed: %s", LIFE_BEFORE, strerror(-result));
	write->done = true;
}

static void before_send(struct message *message)
{
	struct before_write *write = container_of(message, struct before_write, message);

	volume_submit(write->volume, &write->request);
}

static void before_write(struct life *life, struct volume *volume, uint64_t offset)
{
	static uint8_t bytes[VOLUME_SLOT] __attribute__((aligned(VOLUME_SLOT)));
	struct before_write write = {.life = life, .volume = volume};

	memset(bytes, (int)(offset / VOLUME_SLOT) | 1, sizeof(bytes));
	write.iov = (struct iovec){.iov_base = bytes, .iov_len = sizeof(bytes)};
	write.request = (struct volume_request){.op = VOLUME_WRITE,
						.offset = offset,
						.length = sizeof(bytes),
						.iov = &write.iov,
						.iov_count = 1,
						.done = before_written};
	loop_post(life->loops[0], &write.message, before_send);
	if (!sim_until(life->sim, &write.done, WRITE_STEPS_MAX))
		violation("a write to %s never ended", LIFE_BEFORE);
}

static void before_call(struct life *life, void (*start)(struct life *life), const char *what)
{
	life_call(life, start);
	if (life_wait(life, what) != 0)
		violation("%s of %s: %s (depth %u)", what, LIFE_BEFORE, life->call.err.text,
			  life->depth);
}

void life_before_make(struct life *life)
{
	struct volume *volume;

	if (!life->profile->before)
		return;
	before_call(life, start_before, "volume_create");
	volume = life->call.volume;
	for (unsigned i = 0; i < BEFORE_SLOTS; i++)
		before_write(life, volume, BEFORE_BYTES / BEFORE_SLOTS * i);
	volume_unref(volume);
	if (life->profile->before_at)
		before_call(life, start_before_snapshot, "snapshot_create");
	before_call(life, life_start_checkpoint, "pool_checkpoint");
}

void life_before_forget(struct life *life)
{
	struct volume *snapshot = life->profile->before ? find_snapshot(life) : NULL;

	volume_unref(snapshot);
	if (snapshot)
		before_call(life, start_before_forget, "snapshot_delete");
}

void life_before_look(struct life *life)
{
	bool there = life->profile->before && !life->before_gone;
	struct volume *volume = there ? find_before(life) : NULL;

	if (volume && volume_used_bytes(volume) != (uint64_t)BEFORE_SLOTS * VOLUME_SLOT)
		violation("volume %s has %llu bytes (depth %u)", LIFE_BEFORE,
			  (unsigned long long)volume_used_bytes(volume), life->depth);
	volume_unref(volume);
}

void life_before_delete(struct life *life)
{
	life_before_forget(life);
	if (life->profile->before)
		before_call(life, start_before_delete, "volume_delete");
	life->before_gone = true;
}
