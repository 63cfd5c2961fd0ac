/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/replica_seed.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "replication/seed.h"
#include "volumes/volume_io.h"

#define STEP       8192u /* of the disk at a time */
#define ROUNDS_MAX 400000u

/* ---- the disk ---- */
void replica_disk_finish(struct replica_disk *disk)
{
	free(disk->bytes);
	*disk = (struct replica_disk){0};
}

static void resize(struct replica_disk *disk, size_t length)
{
	if (length > disk->room) {
		disk->room = length * 2;
		disk->bytes = realloc(disk->bytes, disk->room);
		assert(disk->bytes);
	}
	if (length > disk->length)
		memset(disk->bytes + disk->length, 0, length - disk->length);
	disk->length = length;
}

void replica_disk_spoil(struct replica_disk *disk, struct rng *rng)
{
	size_t at = rng_below(rng, disk->length);

	switch (rng_below(rng, 4)) {
	case 0:
		disk->bytes[at] ^= (uint8_t)(1u << rng_below(rng, 8));
		break;
	case 1:
		disk->length = at;
		break;
	case 2:
		resize(disk, disk->length + 1 + rng_below(rng, 600));
		break;
	default: /* in the midst: something else than was there */
		for (size_t i = at; i < disk->length && i < at + 512; i++)
			disk->bytes[i] = (uint8_t)~disk->bytes[i];
		break;
	}
}

/* What was not flushed of a part when the power went. */
static void lose_part(struct replica_disk *disk, struct rng *rng)
{
	size_t at = disk->length ? rng_below(rng, disk->length) : 0;

	switch (disk->length ? rng_below(rng, 3) : 2) {
	case 0:
		disk->length = at;
		break;
	case 1:
		for (size_t i = at; i < disk->length && i < at + 4096; i++)
			disk->bytes[i] = 0;
		break;
	default:
		break;
	}
}

/* ---- what a node does with it ---- */
struct task {
	struct seed_work work;
	struct seed_bytes bytes;
	struct boot *boot;
	struct replica_disk *disk;
	int (*run)(struct task *task, struct err *err);
	const uint8_t *peer;
	uint64_t done_bytes, total_bytes;
	struct err err;
	int result;
	bool done;
};

static struct task *task_of(struct seed_work *work)
{
	return container_of(work, struct task, work);
}

/* One more I/O of the node's, that takes its time. */
static int spend(struct boot *boot)
{
	struct replica_power *power = &boot->node->power;

	if (!boot->dead && power->left && --power->left == 0)
		power->lost = true;
	fiber_sleep(rng_range(&boot->node->life->rng, 5000, 200000));
	return boot->dead || power->lost ? -EIO : 0;
}

static int64_t disk_read(struct seed_bytes *bytes, void *data, size_t length, uint64_t offset)
{
	struct task *task = bytes->context;
	struct replica_disk *disk = task->disk;
	int result = spend(task->boot);
	size_t left;

	if (result == 0 && disk->reads && --disk->reads == 0)
		result = -EIO;
	if (result < 0)
		return result;
	left = offset < disk->length ? disk->length - offset : 0;
	length = length < left ? length : left;
	memcpy(data, disk->bytes + offset, length);
	return (int64_t)length;
}

static int disk_write(struct seed_bytes *bytes, const void *data, size_t length, uint64_t offset)
{
	struct task *task = bytes->context;
	int result = spend(task->boot);

	if (task->boot->dead) /* the disk is the next one's */
		return -EIO;
	if (result < 0) /* some of it, or all */
		length = rng_below(&task->boot->node->life->rng, length + 1);
	if (offset + length > task->disk->length)
		resize(task->disk, offset + length);
	memcpy(task->disk->bytes + offset, data, length);
	return result;
}

static int disk_cut(struct seed_bytes *bytes, uint64_t length)
{
	struct task *task = bytes->context;
	int result = spend(task->boot);

	if (result == 0)
		resize(task->disk, length);
	return result;
}

static int keep_number(struct seed_work *work, uint64_t epoch, struct err *err)
{
	struct boot *boot = task_of(work)->boot;

	if (spend(boot) < 0)
		return err_set(err, -EIO, "no power");
	boot->node->seed_epoch = epoch;
	return 0;
}

/* Each member is in a pool of its own. */
static int snapshots(struct seed_work *work, const char *name, struct err *err)
{
	struct boot *boot = task_of(work)->boot;
	int result = 0;

	for (unsigned i = 0; i < LIFE_MEMBERS && result == 0; i++) {
		if (!(boot->node->set >> i & 1))
			continue;
		result = spend(boot);
		if (result == 0)
			result = replica_volume_snapshot(boot->node->members[i], name);
		if (result == 0)
			result = spend(boot);
	}
	return result < 0 ? err_set(err, result, "no snapshot %s: %d", name, result) : 0;
}

static int sources(struct seed_work *work, struct volume *ret_sources[WIRE_MEMBERS_MAX])
{
	struct node *node = task_of(work)->boot->node;
	char name[SNAPSHOT_NAME_MAX + 1];
	bool read = false;
	int result = 0;

	for (unsigned i = 0; i < LIFE_MEMBERS; i++)
		read |= work->seed.size[i] > 0;
	seed_snapshot_name(work->group, work->seed.epoch, name);
	for (unsigned i = 0; i < LIFE_MEMBERS; i++) {
		if (read && !work->seed.size[i]) /* by its own definition */
			continue;
		if (node->set >> i & 1)
			ret_sources[i] = seed_snapshot_find(&node->members[i]->volume, name);
		if (!ret_sources[i])
			result = -ENOENT;
	}
	return result;
}

static const struct seed_host host = {
    .number = keep_number, .snapshot = snapshots, .sources = sources};

static int export(struct task *task, struct err *err)
{
	struct seed_work *work = &task->work;
	struct replica_disk *disk = task->disk;
	uint32_t era = task->boot->node->life->era;
	bool again = disk->length && !disk->whole && seed_export_look(work, err) == 0;
	int result;

	if (again) {
		result = seed_export_again(work, err);
		era = disk->era;
	} else {
		seed_finish(&work->seed);
		work->seed = (struct seed){0};
		disk->length = 0;
		disk->whole = false;
		result = seed_export_moment(work, err);
		disk->wall_ns = work->seed.wall_ns;
	}
	disk->era = era;
	if (result == 0 && !work->seed.sealed)
		result = seed_export_stream(work, err);
	if (result == 0) /* flushed, and called by its name */
		result = spend(task->boot);
	disk->epoch = work->seed.epoch;
	disk->whole = result == 0;
	return result;
}

static int import(struct task *task, struct err *err)
{
	struct seed_work *work = &task->work;
	int result = seed_peek(&task->bytes, &work->seed, err);

	if (result == 0)
		result = seed_import_allowed(work->group, &work->seed, task->peer, err);
	return result == 0 ? seed_import(work, task->peer, err) : result;
}

static void task_main(void *context)
{
	struct task *task = context;

	task->result = seed_work_open(&task->work);
	if (task->result == 0)
		task->result = task->run(task, &task->err);
	seed_work_close(&task->work);
	task->boot->calls--;
	task->done = true;
}

static int perform(struct replica_life *life, unsigned node, struct task *task)
{
	unsigned rounds = ROUNDS_MAX;

	task->boot = life->nodes[node].boot;
	task->bytes = (struct seed_bytes){
	    .read = disk_read, .write = disk_write, .cut = disk_cut, .context = task, .step = STEP};
	task->work = (struct seed_work){.host = &host,
					.group = &task->boot->group,
					.bytes = &task->bytes,
					.name = "the disk",
					.done_bytes = &task->done_bytes,
					.total_bytes = &task->total_bytes};
	task->boot->calls++;
	if (fiber_start(life->loop, task_main, task) < 0)
		abort();
	while (!task->done && rounds-- > 0)
		replica_life_round(life);
	if (!task->done) {
		replica_life_complain(life, "a seed does not end");
		abort();
	}
	return task->result;
}

int replica_seed_export(struct replica_life *life, unsigned node, struct replica_disk *disk)
{
	struct task task = {.run = export, .disk = disk};
	struct boot *boot = life->nodes[node].boot;
	int result = perform(life, node, &task);

	if (life->nodes[node].boot != boot && !disk->whole)
		lose_part(disk, &life->rng);
	return result;
}

int replica_seed_import(struct replica_life *life, unsigned node, struct replica_disk *disk,
			unsigned peer)
{
	uint8_t uuid[16];
	struct task task = {.run = import, .disk = disk, .peer = uuid};
	bool connected = life->connected;
	int result;

	memset(uuid, (int)peer + 1, sizeof uuid);
	life->connected = false;
	replica_life_disconnect(life, node);
	result = life->nodes[node].boot ? perform(life, node, &task) : -EIO;
	life->connected = connected;
	return result;
}

void replica_seed_wire(struct replica_life *life, unsigned node)
{
	struct boot *boot = life->nodes[node].boot;

	life->ship = false;
	if (!boot)
		return;
	boot->group.ship = false;
	if (boot->group.channel)
		channel_wake(boot->group.channel);
}
