/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/life.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LIFE_STEPS_MAX 2000000 /* rounds without an answer: it hangs */

char violation_command[400];

void violation(const char *format, ...)
{
	char text[1200];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	fflush(stdout);
	fprintf(stderr, "# VIOLATION: %s\n# again: %s\n", text, violation_command);
	_exit(1);
}

/* Profiles */

/* Now and then, or all the time: small pools, so that a device comes to be empty and goes. */
static void disks_draw(struct profile *profile, struct rng *rng)
{
	profile->disks = (unsigned)rng_range(rng, 4, 60);
	if (rng_one_in(rng, 3))
		return;
	profile->disks = 300;
	profile->devices = 2;
	profile->volumes = (unsigned)rng_range(rng, 1, 2);
	profile->volume_size = 2 << 20;
	profile->full = profile->turns = false;
	profile->manage = 2;
	profile->clients = (unsigned)rng_range(rng, 2, 6);
	profile->reads = 50;
	profile->rewinds = 4;
	profile->operations = 4000;
	profile->ios_between = 250;
}

/* Snapshots at the edges: with an older root, and beside writes that have no record. */
static void draw_snapshot_case(struct profile *profile, struct rng *rng)
{
	unsigned kind = (unsigned)rng_below(rng, 12);

	if (kind > 1)
		return;
	profile->volumes = 1;
	profile->volume_size = 2 << 20;
	profile->size_class = 0;
	profile->clients = (unsigned)rng_range(rng, 4, 8);
	profile->manage = profile->checkpoints = profile->scrubs = profile->discards = 0;
	profile->atomic = profile->reads = profile->slow_fua = profile->family = 0;
	profile->snapshots = 400;
	profile->hot = 950;
	profile->hot_bytes = 65536;
	profile->turns = false;
	profile->operations = 1500;
	profile->ios_between = 60;
	if (kind == 0) { /* what a deleted one had is overwritten before the next root */
		profile->checksum = VOLUME_CHECKSUM_STANDARD;
		profile->rewinds = 2;
		profile->after_deletions = true;
		profile->ios_between = 1 << 20; /* and only then */
		profile->volume_size = 1 << 20;
		profile->snapshots = 40;
		profile->hot = 0;
	} else { /* overwrites without records that take longer than a checkpoint */
		profile->checksum = VOLUME_CHECKSUM_OFF;
		profile->slow_writes = 40;
	}
}

/* Two devices; and without checksums there are no mirrors. Some are full, so that what is given up
 * is soon used again. */
static void mirror_draw(struct profile *profile, struct rng *rng)
{
	profile->mirror = true;
	profile->devices = 2;
	if (profile->checksum == VOLUME_CHECKSUM_OFF)
		profile->checksum = VOLUME_CHECKSUM_STANDARD;
	profile->slow_writes = 0;
	if (profile->calm || profile->turns || profile->after_deletions || !rng_one_in(rng, 3))
		return;
	profile->full = true;
	profile->discards = 200;
	profile->slow_fua = 0;
	profile->checkpoints = profile->manage = 2;
}

/* A third device and a fourth come, are evacuated and go, while pairs have chunks on them. */
static void moves_draw(struct profile *profile, struct rng *rng)
{
	profile->moves = true;
	disks_draw(profile, rng);
	profile->devices = 2;
	profile->slow_writes = 0;
}

/* One device comes and goes, the first or the second, and no request is to notice. */
static void pulls_draw(struct profile *profile, struct rng *rng)
{
	profile->pulls = (unsigned)rng_range(rng, 10, 80);
	profile->mirror_all = true;
	profile->full = false; /* while it is away space is taken on the first alone */
	if (profile->checksum == CHECKSUM_MIXED)
		profile->checksum = VOLUME_CHECKSUM_STANDARD;
	if (rng_one_in(rng, 2))
		profile->replaces = (unsigned)rng_range(rng, 1, 3);
	profile->victim = (unsigned)rng_below(rng, 2);
	profile->takes_turns = !profile->replaces; /* the spare one is in one place only */
}

void profile_draw(struct profile *profile, uint64_t seed, const struct subject *subject)
{
	struct rng rng = {rng_mix(seed ^ 0x70726f66)};

	*profile = (struct profile){
	    .seed = seed,
	    .subject = subject,
	    .devices = rng_one_in(&rng, 4) ? 2 : 1,
	    .io_loops = (unsigned)rng_range(&rng, 1, 3),
	    .clients = (unsigned)rng_range(&rng, 1, 12),
	    .volumes = (unsigned)rng_range(&rng, 1, 4),
	    .device_size = (64ull + 16 * rng_below(&rng, 3)) << 20,
	    .volume_size = 1ull << rng_range(&rng, 21, 24),
	    .volatile_cache = !rng_one_in(&rng, 12),
	    .overlaps = rng_one_in(&rng, 2),
	    .full = rng_one_in(&rng, 6),
	    .reads = (unsigned)rng_range(&rng, 50, 400),
	    .flushes = (unsigned)rng_range(&rng, 5, 120),
	    .discards = (unsigned)rng_range(&rng, 0, 120),
	    .manage = rng_one_in(&rng, 3) ? 40 : (unsigned)rng_below(&rng, 8),
	    .checkpoints = rng_one_in(&rng, 3) ? 30 : (unsigned)rng_below(&rng, 6),
	    .fua = (unsigned)rng_below(&rng, 300),
	    .atomic = (unsigned)rng_below(&rng, 250),
	    .size_class = (unsigned)rng_below(&rng, 4),
	    .hot = (unsigned)rng_range(&rng, 200, 950),
	    .hot_bytes = 4096ull << rng_below(&rng, 8),
	    .ios_between = 150,
	    .operations = 3000,
	    .rewinds = 12,
	};
	if (subject->only_data) {
		profile->manage = profile->checkpoints = profile->atomic = 0;
		profile->volumes = 1;
		profile->full = false;
	}
	profile->slow_fua = rng_one_in(&rng, 4) ? 8 : 0;
	profile->journal_bytes = rng_one_in(&rng, 3) ? 1 << 20 : 0;
	switch (rng_below(&rng, 8)) {
	case 0: /* many small commits: the journal wraps */
		profile->size_class = 0;
		profile->flushes = 200;
		profile->fua = 500;
		profile->operations = 9000;
		profile->checkpoints = profile->manage = 0;
		profile->clients = (unsigned)rng_range(&rng, 4, 12);
		profile->slow_fua = 1;
		profile->ios_between = 1500; /* late ones: it goes round during a checkpoint */
		profile->journal_bytes = 1 << 20;
		break;
	case 1: /* the same few slots come, go and come again */
		profile->size_class = (unsigned)rng_below(&rng, 2);
		profile->discards = 300;
		profile->flushes = 15;
		profile->fua = 20;
		profile->hot = 950;
		profile->hot_bytes = 16384ull << rng_below(&rng, 3);
		profile->clients = (unsigned)rng_range(&rng, 4, 12);
		break;
	case 2: /* slots come and go and are never overwritten: cold regions */
		if (subject->only_data)
			break;
		profile->turns = true;
		profile->full = false;
		profile->volumes = 1;
		profile->manage = profile->fua = profile->atomic = 0;
		profile->flushes = 40;
		profile->clients = (unsigned)rng_range(&rng, 2, 8);
		break;
	case 3: /* one step after the other, see profile->calm */
		if (subject->only_data)
			break;
		profile->calm = true;
		profile->volumes = profile->clients = 1;
		profile->manage = profile->checkpoints = 0;
		profile->full = false;
		profile->slow_fua = 0;
		profile->rewinds = 2;
		profile->operations = 400;
		profile->ios_between = 400;
		break;
	case 4: /* atomic writes over parts of each other */
		if (subject->only_data)
			break;
		profile->size_class = (unsigned)rng_range(&rng, 0, 1);
		profile->atomic = 700;
		profile->manage = 4;
		profile->volumes = 2;
		profile->flushes = 60;
		profile->discards = 0;
		profile->reads = 50;
		profile->fua = 40;
		profile->hot = 950;
		profile->hot_bytes = 16384ull << rng_below(&rng, 3);
		profile->clients = (unsigned)rng_range(&rng, 2, 8);
		profile->full = false;
		profile->ios_between = 60;
		break;
	default:
		break;
	}
	profile->scrubs = !subject->only_data && rng_one_in(&rng, 3) ? 20 : 0;
	profile->checksum = rng_one_in(&rng, 2) ? (unsigned)rng_range(&rng, 1, CHECKSUM_MIXED)
						: VOLUME_CHECKSUM_STANDARD;
	rng.state = rng_mix(seed ^ 0x736e6170); /* no other draw depends on it */
	if (!subject->only_data && !profile->calm && rng_one_in(&rng, 3))
		profile->snapshots = (unsigned)rng_range(&rng, 4, 60);
	rng.state = rng_mix(seed ^ 0x66616d69);
	if (profile->snapshots && rng_one_in(&rng, 2))
		profile->family = 500;
	if (!subject->only_data && !profile->calm && !profile->full)
		draw_snapshot_case(profile, &rng);
	rng.state = rng_mix(seed ^ 0x16000000);
	if (!subject->only_data && !profile->calm && !profile->after_deletions &&
	    !profile->slow_writes && rng_one_in(&rng, 4))
		disks_draw(profile, &rng);
	rng.state = rng_mix(seed ^ 0x6d697272);
	if (!subject->only_data && !profile->disks && rng_one_in(&rng, 4))
		mirror_draw(profile, &rng);
	rng.state = rng_mix(seed ^ 0x70756c6c);
	if (profile->mirror && rng_one_in(&rng, 2))
		pulls_draw(profile, &rng);
	rng.state = rng_mix(seed ^ 0x67726f77);
	profile->grows = profile->pulls && rng_one_in(&rng, 3);
	/* what has one copy there keeps a device from being replaced */
	profile->before = profile->grows && !profile->replaces;
	profile->before_at = profile->before && rng_one_in(&rng, 2);
	rng.state = rng_mix(seed ^ 0x6d6f7665);
	if (profile->mirror && !profile->full && !profile->grows && !profile->replaces &&
	    !profile->calm && !profile->after_deletions && rng_one_in(&rng, 3))
		moves_draw(profile, &rng);
	if (!profile->full)
		return;
	profile->volumes = 4;
	profile->volume_size = 64ull << 20;
	profile->size_class = 3;
	profile->hot = 100;
	profile->reads = 60;
}

/* Lives */

struct life *life_new(struct sim *sim, const struct profile *profile, struct model *model,
		      unsigned depth)
{
	struct life *life = calloc(1, sizeof(*life));

	assert(life);
	life->sim = sim;
	life->profile = profile;
	life->model = model;
	life->depth = depth;
	life->rng.state = rng_next(sim_rng(sim));
	life->loop_count = profile->io_loops + 1;
	life->manage_volume = -1;
	for (unsigned i = 0; i < life->loop_count; i++)
		life->loops[i] = sim_loop(sim);
	for (unsigned i = 0; i < LIFE_CLIENTS; i++)
		life->clients[i].life = life;
	return life;
}

void life_free(struct life *life)
{
	for (unsigned i = 0; i < life->loop_count; i++)
		loop_destroy(life->loops[i]);
	for (unsigned i = 0; i < LIFE_CLIENTS; i++)
		free(life->clients[i].data);
	model_destroy(life->model);
	free(life);
}

/* Calls */

static void call_done(struct pool_call *call, int result)
{
	struct life *life = container_of(call, struct life, call);

	life->call_result = result;
	life->call_done = true;
}

static void call_run(struct message *message)
{
	struct life *life = container_of(message, struct life, call_message);

	life->call_start(life);
}

void life_call(struct life *life, void (*start)(struct life *life))
{
	life->call = (struct pool_call){.done = call_done};
	life->call_done = false;
	life->call_start = start;
	loop_post(life->loops[0], &life->call_message, call_run);
}

int life_wait(struct life *life, const char *what)
{
	if (!sim_until(life->sim, &life->call_done, LIFE_STEPS_MAX))
		violation("%s never ended (depth %u)", what, life->depth);
	return life->call_result;
}

const char *const life_device_paths[LIFE_DEVICES] = {"/sim/pv0", "/sim/pv1", "/sim/pv2",
						     "/sim/pv3"};

void life_start_create(struct life *life)
{
	static struct pool_device devices[2];
	static struct pool_create_options options;

	for (unsigned i = 0; i < life->profile->devices; i++)
		devices[i] = (struct pool_device){life_device_paths[i], life->profile->device_size};
	options = (struct pool_create_options){
	    .name = "proof",
	    .devices = devices,
	    .device_count = life->profile->grows ? 1 : life->profile->devices,
	    .journal_bytes = life->profile->journal_bytes,
	};
	life->profile->subject->create(&world_sim, life->loops[0], &options, &life->call);
}

void life_start_grow(struct life *life)
{
	struct pool_device device = {.path = life_device_paths[1]};

	pool_add(life->pool, &device, 1, false, &life->call);
}

void life_start_open(struct life *life)
{
	life->profile->subject->open(&world_sim, life->loops[0], life_device_paths,
				     life_devices(life->profile), &life->call);
}

void life_start_rewind(struct life *life)
{
	life->profile->subject->rewind(&world_sim, life->loops[0], life_device_paths,
				       life_devices(life->profile), &life->call);
}

void life_start_degraded(struct life *life)
{
	pool_open_degraded(&world_sim, life->loops[0], life_device_paths,
			   life_devices(life->profile), &life->call);
}

/* The pool's device that comes and goes; before it is open, any that could be it. */
static unsigned victim_of(struct life *life)
{
	unsigned row = life->model->victim;
	const char *path = life->pool ? pool_device_path(life->pool, row) : NULL;

	if (path)
		return strcmp(path, life_device_paths[2]) == 0 ? 2 : row;
	return life->profile->replaces && rng_one_in(&life->rng, 2) ? 2 : row;
}

/* The other place it could be in. */
static unsigned other_place(const struct life *life, unsigned place)
{
	return place == 2 ? life->model->victim : 2;
}

void life_pull(struct life *life)
{
	life->pulled = victim_of(life) + 1;
	life->model->pulled = true;
	life->pulls++;
	life->gone = 0;
	life->cache_lost = life->pool && life->profile->volatile_cache;
	sim_disk_pull(life->sim, life_device_paths[life->pulled - 1]);
}

struct superblock life_newest_on(const struct profile *profile, struct sim *sim, unsigned row)
{
	struct superblock newest = {0};

	for (unsigned i = 0; i < life_devices(profile) * 4; i++) {
		const char *path = life_device_paths[i / 4];
		static uint8_t block[4096];
		struct superblock sb;

		sim_disk_peek(sim, path, superblock_position(sim_disk_size(sim, path), i % 4),
			      block, sizeof(block));
		if (superblock_decode(block, &sb, NULL) == 0 && sb.pv_index == row &&
		    sb.generation >= newest.generation)
			newest = sb;
	}
	return newest;
}

bool life_lost_unseen(struct life *life)
{
	unsigned victim = life->model->victim;

	if (life->cache_lost &&
	    life_newest_on(life->profile, life->sim, victim ^ 1).pv[victim].flags & PV_STALE)
		life->cache_lost = false;
	return life->cache_lost;
}

void life_plug(struct life *life)
{
	if (life->pulled)
		sim_disk_plug(life->sim, life_device_paths[life->pulled - 1]);
	life->pulled = 0;
}

/* Of two, the pool need not know where it was. */
static void start_online(struct life *life)
{
	bool many = life->profile->replaces || life->profile->moves;

	pool_online(life->pool, many ? life_device_paths[life->instead] : NULL, &life->call);
}

static void start_replace(struct life *life)
{
	struct pool_device device = {.path = life_device_paths[life->instead]};

	pool_replace(life->pool, pool_device_path(life->pool, life->model->victim), &device, true,
		     &life->call);
}

/* The device that was away last, wherever that is; where there is none any more, another. */
static void take_back(struct life *life)
{
	unsigned places = life->profile->replaces ? 2 : 1;

	life->gone = 0;
	for (unsigned i = 0; i < places; i++) {
		life->instead = i ? 2 : life->model->victim;
		life_call(life, start_online);
		if (life_wait(life, "pool_online") == 0)
			return;
	}
	if (!life->profile->replaces)
		violation("pool_online: %s (depth %u)", life->call.err.text, life->depth);
	life->instead = rng_one_in(&life->rng, 2) ? 2 : life->model->victim;
	life_call(life, start_replace);
	if (life_wait(life, "pool_replace") != 0)
		violation("pool_replace: %s (depth %u)", life->call.err.text, life->depth);
}

/* The other device is the one to go next: when no handle is dead without the pool's knowing. */
static void take_turns(struct life *life)
{
	if (life->profile->takes_turns && rng_one_in(&life->rng, 3))
		life->model->victim ^= 1;
}

/* A handle that is dead is not known to be before it is used: a checkpoint does that. */
void life_heal(struct life *life)
{
	struct pool_info info;

	life_plug(life);
	life_call(life, life_start_checkpoint);
	if (life_wait(life, "pool_checkpoint") != 0)
		violation("pool_checkpoint: %s (depth %u)", life->call.err.text, life->depth);
	pool_get_info(life->pool, &info);
	if (info.degraded)
		take_back(life);
	for (unsigned steps = 0; info.degraded || info.resilvering; steps++) {
		if (steps > LIFE_STEPS_MAX)
			violation("the device was never made good (depth %u)", life->depth);
		sim_step(life->sim);
		pool_get_info(life->pool, &info);
	}
	life->cache_lost = false;
	take_turns(life);
}

void life_start_close(struct life *life)
{
	pool_close(life->pool, &life->call);
}

void life_start_checkpoint(struct life *life)
{
	pool_checkpoint(life->pool, &life->call);
}

static void check_finding(struct pool_check_report *report, const char *sentence)
{
	struct life *life = report->context;

	fprintf(stderr, "# pool_check (depth %u): %s\n", life->depth, sentence);
}

void life_start_check(struct life *life)
{
	life->report = (struct pool_check_report){.finding = check_finding, .context = life};
	pool_check(life->pool, life->report_data, &life->report, &life->call);
}

/* Volumes */

static int volume_match(struct life *life, const struct volume *volume)
{
	for (unsigned i = 0; i < MODEL_VOLUMES; i++) {
		const struct model_volume *known = &life->model->volumes[i];

		if (known->state == MODEL_GONE)
			continue;
		if (known->state == MODEL_CREATING
			? strcmp(known->name, volume->name) == 0
			: memcmp(known->uuid, volume->identity.uuid, 16) == 0)
			return (int)i;
	}
	return -1;
}

static void volume_found(struct life *life, struct volume *volume)
{
	int index = volume_match(life, volume);
	struct model_volume *known;
	bool name_fits;

	if (index < 0)
		violation("volume %s should not exist", volume->name);
	known = &life->model->volumes[index];
	if (life->handles[index])
		violation("volume %s is there twice", volume->name);
	name_fits = strcmp(volume->name, known->name) == 0 ||
		    (known->new_name[0] && strcmp(volume->name, known->new_name) == 0);
	if (!name_fits)
		violation("volume %s is called %s", known->name, volume->name);
	if (volume_size(volume) != known->size && volume_size(volume) != known->new_size)
		violation("volume %s has %llu bytes, should have %llu", volume->name,
			  (unsigned long long)volume_size(volume), (unsigned long long)known->size);
	if (known->state == MODEL_CREATING)
		model_volume_created(life->model, (unsigned)index, volume->identity.uuid, 0);
	else if (known->state == MODEL_DELETING)
		model_volume_deleted(life->model, (unsigned)index, -EIO);
	if (known->new_size != known->size && !known->rolling)
		model_volume_resized(life->model, (unsigned)index,
				     volume_size(volume) == known->new_size ? 0 : -EIO);
	if (known->new_name[0])
		model_volume_renamed(life->model, (unsigned)index,
				     strcmp(volume->name, known->new_name) == 0 ? 0 : -EIO);
	life->handles[index] = volume_ref(volume);
}

bool life_volumes_fit(struct life *life)
{
	unsigned found = 0, missing = 0;
	bool fit = true;

	for (struct volume *volume = pool_volume_next(life->pool, NULL); volume;
	     volume = pool_volume_next(life->pool, volume)) {
		int index = volume_match(life, volume);
		const struct model_volume *known = &life->model->volumes[index < 0 ? 0 : index];

		if (life_is_before(life, volume))
			continue;
		fit &= index >= 0 && (strcmp(volume->name, known->name) == 0 ||
				      strcmp(volume->name, known->new_name) == 0);
		fit &= volume_size(volume) == known->size || volume_size(volume) == known->new_size;
		found += index >= 0 && known->state == MODEL_HERE;
	}
	for (unsigned i = 0; i < MODEL_VOLUMES; i++)
		missing += life->model->volumes[i].state == MODEL_HERE;
	return fit && found == missing && life_snapshots_fit(life);
}

void life_match_volumes(struct life *life)
{
	for (struct volume *volume = pool_volume_next(life->pool, NULL); volume;
	     volume = pool_volume_next(life->pool, volume))
		if (!life_is_before(life, volume))
			volume_found(life, volume);
	for (unsigned i = 0; i < MODEL_VOLUMES; i++) {
		struct model_volume *known = &life->model->volumes[i];

		if (life->handles[i] || known->state == MODEL_GONE)
			continue;
		if (known->state == MODEL_HERE)
			violation("volume %s is lost", known->name);
		else if (known->state == MODEL_CREATING)
			model_volume_created(life->model, i, NULL, -EIO);
		else
			model_volume_deleted(life->model, i, 0);
	}
	life_family_match(life);
	life_snapshots_match(life);
}

void life_drop_handles(struct life *life)
{
	for (unsigned i = 0; i < MODEL_VOLUMES; i++) {
		volume_unref(life->handles[i]);
		life->handles[i] = NULL;
	}
}

/* Requests */

static bool nearly_full(struct life *life)
{
	struct pool_info info;

	pool_get_info(life->pool, &info);
	return info.free_bytes < info.size_bytes / 8;
}

/* May want of space end it? A write; a discard only where it cuts a slot that a snapshot may
 * hold, or did: what a deleted one held is given back in the background. */
static bool takes_space(const struct life *life, const struct client *client)
{
	const struct volume_request *request = &client->request;
	uint64_t edges = request->offset | (request->offset + request->length);

	return request->op == VOLUME_WRITE ||
	       (request->op == VOLUME_DISCARD && edges % VOLUME_SLOT != 0 &&
		life->model->volumes[client->volume].shares);
}

/* With two copies of all data one fault fails no read; a device that was pulled is another one,
 * also when it is back: what was made good from a copy with a fault has it, too. (A write that has
 * failed may leave half of itself in one copy and all of it in the other, and neither is what
 * counts.) */
static bool one_copy_is_good(const struct life *life, const struct volume_request *request)
{
	return life->profile->mirror_all && request->op == VOLUME_READ && !life->write_failed &&
	       !life->device_lied && !life->model->pulled;
}

static void client_failed(struct client *client, int result)
{
	struct life *life = client->life;
	const struct volume_request *request = &client->request;

	if (result == -ENOSPC && takes_space(life, client) &&
	    (life->profile->full || nearly_full(life)))
		return;
	life->failures++;
	life->write_failed |= request->op == VOLUME_WRITE || request->op == VOLUME_DISCARD;
	if (life->tolerate_faults && !one_copy_is_good(life, request))
		return;
	violation("volume %s: %s of %llu + %llu failed: %s (error offset %llu, depth %u)",
		  life->model->volumes[client->volume].name,
		  (const char *[]){"read", "write", "flush", "discard", "extents"}[request->op],
		  (unsigned long long)request->offset, (unsigned long long)request->length,
		  strerror(-result), (unsigned long long)request->error_offset, life->depth);
}

/* After a crash a bent in-place write can not be told from a torn one inside a hot region: it is
 * summed again, and counted. */
static bool resummed(const struct life *life)
{
	struct pool_info info;

	pool_get_info(life->pool, &info);
	return info.hot_resummed > 0;
}

static void read_check(struct client *client, uint64_t offset, const void *data, uint64_t length)
{
	struct life *life = client->life;
	const char *wrong =
	    life->device_lied
		? model_read_identify(life->model, client->volume, offset, data, length)
		: model_read_check(life->model, client->volume, client->token, offset, data,
				   length);

	if (wrong && life->device_lied && resummed(life))
		return;
	if (wrong)
		violation("%s (depth %u)", wrong, life->depth);
}

/* Extents: adjacent from the start on; what is not mapped has to be allowed to be zeros. */
static void extents_check(struct client *client)
{
	static const uint8_t zeros[1 << 20];
	const struct volume_request *request = &client->request;
	uint64_t at = request->offset, end = request->offset + request->length;

	if (request->extent_count == 0 || request->extent_count > request->extent_max)
		violation("extents of %llu + %llu: %u of them", (unsigned long long)request->offset,
			  (unsigned long long)request->length, request->extent_count);
	for (unsigned i = 0; i < request->extent_count; i++) {
		const struct volume_extent *extent = &client->extents[i];

		if (extent->offset != at || extent->length == 0 || extent->length > end - at)
			violation("extents of %llu + %llu are not adjacent",
				  (unsigned long long)request->offset,
				  (unsigned long long)request->length);
		if (!extent->mapped)
			read_check(client, at, zeros, extent->length);
		at += extent->length;
	}
}

static void client_done(struct volume_request *request, int result)
{
	struct client *client = container_of(request, struct client, request);
	struct model *model = client->life->model;

	client->result = result;
	if (result != 0)
		client_failed(client, result);
	if (request->op == VOLUME_READ && result == 0)
		read_check(client, request->offset, client->data, request->length);
	else if (request->op == VOLUME_EXTENTS && result == 0)
		extents_check(client);
	else if (request->op == VOLUME_WRITE || request->op == VOLUME_DISCARD)
		model_write_done(model, client->op, result);
	else if (request->op == VOLUME_FLUSH)
		model_flush_done(model, client->volume, client->begun, result);
	if (request->op == VOLUME_READ || request->op == VOLUME_EXTENTS)
		model_read_end(model, client->token);
	if (!client->verify) {
		free(client->data);
		client->data = NULL;
	}
	client->busy = false;
}

static unsigned write_flags(const struct volume_request *request)
{
	return (request->flags & VOLUME_FUA ? MODEL_FUA : 0) |
	       (request->flags & VOLUME_ATOMIC ? MODEL_ATOMIC : 0) |
	       (request->op == VOLUME_DISCARD ? MODEL_ZERO : 0);
}

static void client_submit(struct message *message)
{
	struct client *client = container_of(message, struct client, message);
	struct volume_request *request = &client->request;
	struct life *life = client->life;

	if (request->op == VOLUME_WRITE || request->op == VOLUME_DISCARD)
		client->op = model_write_begin(life->model, client->volume, request->offset,
					       request->length, write_flags(request));
	else if (request->op == VOLUME_FLUSH)
		client->begun = model_flush_begin(life->model);
	else
		client->token = model_read_begin(life->model);
	if (request->op == VOLUME_WRITE)
		model_fill(life->model, client->volume, client->op, request->offset, client->data,
			   request->length);
	volume_submit(life->handles[client->volume], request);
}

/* Data in one to three pieces, at addresses that are only as aligned as the contract asks. */
static void client_lay_out(struct client *client)
{
	struct rng *rng = &client->life->rng;
	uint64_t left = client->request.length, at = 0;
	unsigned count = 0;
	uint8_t *base;

	base = aligned_alloc(4096, (left + 4095) / 4096 * 4096);
	assert(base);
	client->data = base;
	while (left > 0) {
		uint64_t piece = left;

		if (count < 2 && left > 512 && rng_one_in(rng, 4))
			piece = rng_range(rng, 1, left / 512) * 512;
		client->iov[count++] = (struct iovec){base + at, piece};
		at += piece;
		left -= piece;
	}
	client->request.iov = client->iov;
	client->request.iov_count = count;
}

static void client_start(struct client *client, unsigned volume, enum volume_op op, uint64_t offset,
			 uint64_t length, unsigned flags)
{
	struct life *life = client->life;
	unsigned loop = (unsigned)rng_range(&life->rng, 1, life->loop_count - 1);

	free(client->data);
	client->data = NULL;
	client->volume = volume;
	client->busy = true;
	client->request = (struct volume_request){
	    .op = op,
	    .flags = flags,
	    .offset = offset,
	    .length = length,
	    .extents = client->extents,
	    .extent_max = 8,
	    .done = client_done,
	};
	if (op == VOLUME_READ || op == VOLUME_WRITE)
		client_lay_out(client);
	loop_post(life->loops[loop], &client->message, client_submit);
}

const uint8_t *life_read(struct life *life, unsigned volume, uint64_t offset, uint64_t length)
{
	struct client *client = &life->clients[LIFE_CLIENTS - 1];

	assert(!client->busy);
	client->verify = true;
	client_start(client, volume, VOLUME_READ, offset, length, 0);
	for (uint64_t steps = 1; client->busy; steps++) {
		if (steps % 5000 == 0)
			sim_release_hung(life->sim);
		if (!sim_step(life->sim) || steps > LIFE_STEPS_MAX)
			violation("a read of %llu + %llu never ended (depth %u)",
				  (unsigned long long)offset, (unsigned long long)length,
				  life->depth);
	}
	return client->result == 0 ? client->data : NULL;
}

void life_flush(struct life *life, unsigned volume)
{
	struct client *client = &life->clients[LIFE_CLIENTS - 1];

	assert(!client->busy);
	client_start(client, volume, VOLUME_FLUSH, 0, 0, 0);
	for (uint64_t steps = 0; client->busy; steps++)
		if (!sim_step(life->sim) || steps > LIFE_STEPS_MAX)
			violation("a flush never ended (depth %u)", life->depth);
}

/* Choosing */

static uint64_t choose_length(struct life *life)
{
	static const uint64_t most[] = {4096, 16384, 131072, 1 << 20};
	struct rng *rng = &life->rng;
	uint64_t limit = most[rng_range(rng, 0, life->profile->size_class)];

	if (rng_one_in(rng, 2))
		return limit < 8192 ? 4096 : rng_range(rng, 1, limit / 4096) * 4096;
	return rng_range(rng, 1, limit / 512) * 512;
}

static void choose_range(struct life *life, uint64_t size, uint64_t *ret_offset,
			 uint64_t *ret_length)
{
	struct rng *rng = &life->rng;
	uint64_t length = choose_length(life), area = size, base = 0, unit = 512;

	if (rng_below(rng, 1000) < life->profile->hot && life->profile->hot_bytes < size) {
		area = life->profile->hot_bytes;
		base = size / 3 / 4096 * 4096;
		if (base + area > size)
			base = 0;
	}
	if (length > area)
		length = area;
	if (length % 4096 == 0 && !rng_one_in(rng, 4))
		unit = 4096;
	*ret_length = length;
	*ret_offset = base + rng_below(rng, (area - length) / unit + 1) * unit;
}

static bool range_busy(struct life *life, unsigned volume, uint64_t offset, uint64_t length)
{
	for (unsigned i = 0; i < LIFE_CLIENTS; i++) {
		const struct client *client = &life->clients[i];

		if (client->busy && client->volume == volume &&
		    offset < client->request.offset + client->request.length &&
		    client->request.offset < offset + length)
			return true;
	}
	return false;
}

static int choose_volume(struct life *life)
{
	unsigned start = (unsigned)rng_below(&life->rng, MODEL_VOLUMES);

	for (unsigned i = 0; i < MODEL_VOLUMES; i++) {
		unsigned index = (start + i) % MODEL_VOLUMES;

		if (life->handles[index] && (int)index != life->manage_volume)
			return (int)index;
	}
	return -1;
}

static void start_flush(struct client *client, unsigned volume)
{
	client_start(client, volume, VOLUME_FLUSH, 0, 0, 0);
}

static enum volume_op choose_op(struct life *life)
{
	const struct profile *profile = life->profile;
	unsigned roll = (unsigned)rng_below(&life->rng, 1000);

	if (roll < profile->flushes)
		return VOLUME_FLUSH;
	roll -= profile->flushes;
	if (roll < profile->discards)
		return VOLUME_DISCARD;
	roll -= profile->discards;
	if (roll < profile->reads)
		return rng_one_in(&life->rng, 12) ? VOLUME_EXTENTS : VOLUME_READ;
	return VOLUME_WRITE;
}

static unsigned choose_flags(struct life *life, enum volume_op op)
{
	unsigned flags = 0;

	if (op == VOLUME_WRITE && rng_below(&life->rng, 1000) < life->profile->atomic)
		flags |= VOLUME_ATOMIC;
	if ((op == VOLUME_WRITE || op == VOLUME_DISCARD) &&
	    rng_below(&life->rng, 1000) < life->profile->fua)
		flags |= VOLUME_FUA;
	return flags;
}

/* One of the first 64 slots: written when it is unmapped, discarded when it is mapped. */
static void take_turn(struct client *client, unsigned volume)
{
	struct life *life = client->life;
	unsigned slot = (unsigned)rng_below(&life->rng, 64);
	bool mapped = life->turned & 1ull << slot;

	if (range_busy(life, volume, slot * 4096ull, 4096))
		return;
	client_start(client, volume, mapped ? VOLUME_DISCARD : VOLUME_WRITE, slot * 4096ull, 4096,
		     0);
	life->turned ^= 1ull << slot;
}

static void calm_work(struct client *client, unsigned volume)
{
	struct life *life = client->life;
	uint64_t slots = life->model->volumes[volume].size / 4096;
	uint64_t offset = life->calm_slot % slots * 4096;

	if (life->calm_step == CALM_NEW) {
		client_start(client, volume, VOLUME_WRITE, offset, 4096, VOLUME_FUA);
		life->calm_step = CALM_CHECKPOINT;
	} else if (life->calm_step == CALM_AGAIN) {
		client_start(client, volume, VOLUME_WRITE, offset, 4096, 0);
		life->calm_step = CALM_REST;
	} else if (life->calm_step == CALM_REST && rng_one_in(&life->rng, 20)) {
		life->calm_slot++;
		life->calm_step = CALM_NEW;
	}
}

static void client_work(struct client *client)
{
	struct life *life = client->life;
	int volume = choose_volume(life);
	enum volume_op op = choose_op(life);
	uint64_t offset, length;

	if (volume < 0)
		return;
	client->verify = false;
	life->operations++;
	if (life->profile->calm && !life->single) {
		calm_work(client, (unsigned)volume);
		return;
	}
	if (life->single) {
		/* Where the others write too, so that it often overwrites what the crash left. */
		choose_range(life, life->model->volumes[volume].size, &offset, &length);
		offset -= offset % 4096;
		client_start(client, (unsigned)volume, VOLUME_WRITE, offset, 4096, VOLUME_FUA);
		return;
	}
	if (op == VOLUME_FLUSH) {
		start_flush(client, (unsigned)volume);
		return;
	}
	if (life->profile->turns) {
		take_turn(client, (unsigned)volume);
		return;
	}
	choose_range(life, life->model->volumes[volume].size, &offset, &length);
	if (!life->profile->overlaps && range_busy(life, (unsigned)volume, offset, length))
		return;
	client_start(client, (unsigned)volume, op, offset, length, choose_flags(life, op));
}

/* Management while requests run */

/* Devices come and go while requests run. */

static bool find_device(struct life *life, const char *path, struct pool_device_info *ret_info)
{
	for (unsigned i = 0; pool_device_info(life->pool, i, ret_info); i++)
		if (strcmp(ret_info->path, path) == 0)
			return true;
	return false;
}

/* False: let the one that is being evacuated get on with it. */
static bool disk_plan(struct life *life)
{
	unsigned count = life_devices(life->profile), least = life->profile->moves ? 2 : 0;
	unsigned index = least + (unsigned)rng_below(&life->rng, count - least);
	struct pool_device_info info;

	/* The one that is being evacuated is the one to go on with. */
	for (unsigned i = 0; pool_device_info(life->pool, i, &info); i++)
		for (unsigned j = 0; j < count && info.state != DEVICE_ACTIVE; j++)
			if (strcmp(info.path, life_device_paths[j]) == 0)
				index = j;
	life->manage_path = life_device_paths[index];
	life->manage = MANAGE_DISK;
	return !find_device(life, life->manage_path, &info) || info.state == DEVICE_ACTIVE ||
	       info.state == DEVICE_EMPTY || rng_one_in(&life->rng, 4000);
}

static void start_disk(struct life *life)
{
	struct pool_device device = {.path = life->manage_path};
	enum pool_evacuate_action action = POOL_EVACUATE_START;
	struct pool_device_info info;

	if (!find_device(life, life->manage_path, &info)) {
		pool_add(life->pool, &device, 1, false, &life->call);
		return;
	}
	if (info.state == DEVICE_EMPTY && !rng_one_in(&life->rng, 4)) {
		pool_remove(life->pool, life->manage_path, &life->call);
		return;
	}
	if (info.state != DEVICE_ACTIVE)
		action = rng_one_in(&life->rng, 6)   ? POOL_EVACUATE_STOP
			 : rng_one_in(&life->rng, 4) ? POOL_EVACUATE_PAUSE
						     : POOL_EVACUATE_RESUME;
	pool_evacuate(life->pool, life->manage_path, action, &life->call);
}

/* A pool that has none needs all its devices. */
static bool has_mirrored(const struct life *life)
{
	struct volume *volume = pool_volume_next(life->pool, NULL);

	while (volume && !volume->mirror)
		volume = pool_volume_next(life->pool, volume);
	volume_unref(volume);
	return volume != NULL;
}

/* The others have not enough room, or it is the first one, or there are no rows left; or a reader
 * still looks at what was given up. */
static bool disk_refused(const struct life *life, int result)
{
	if (life->manage == MANAGE_ONLINE) /* that it was gone is not known, or it is another */
		return result == -EINVAL || (life->profile->replaces && result == -EPROTO);
	if (life->manage ==
	    MANAGE_CREATE) /* the first mirrored one, and where its journal would be */
		return life->profile->moves && result == -EBUSY && !has_mirrored(life);
	return life->manage == MANAGE_DISK &&
	       (result == -ENOSPC || result == -EINVAL || result == -EBUSY);
}

static void start_manage(struct life *life)
{
	struct volume_spec spec = {.name = life->manage_name,
				   .size_bytes = life->manage_size,
				   .checksum = (enum volume_checksum)life->profile->checksum};
	struct volume *volume =
	    life->manage_volume >= 0 ? life->handles[life->manage_volume] : NULL;

	if (life->profile->checksum == CHECKSUM_MIXED)
		spec.checksum = (enum volume_checksum)rng_below(&life->rng, CHECKSUM_MIXED);
	if (life->profile->mirror && spec.checksum != VOLUME_CHECKSUM_OFF)
		spec.mirror = life->profile->mirror_all || !rng_one_in(&life->rng, 4);
	switch (life->manage) {
	case MANAGE_CREATE:
		volume_create(life->pool, &spec, &life->call);
		break;
	case MANAGE_DELETE:
		volume_delete(volume, &life->call);
		break;
	case MANAGE_RESIZE:
		volume_resize(volume, life->manage_size, &life->call);
		break;
	case MANAGE_RENAME:
		volume_rename(volume, life->manage_name, &life->call);
		break;
	case MANAGE_CHECKPOINT:
		pool_checkpoint(life->pool, &life->call);
		break;
	case MANAGE_DISK:
		start_disk(life);
		break;
	case MANAGE_ONLINE:
		start_online(life);
		break;
	case MANAGE_REPLACE:
		start_replace(life);
		break;
	case MANAGE_SCRUB: /* may run already, also since before the crash */
		pool_scrub(life->pool, POOL_SCRUB_START, 1 << 30, &life->call.err);
		call_done(&life->call, 0);
		break;
	default:
		life_snapshot_start(life);
	}
}

void life_manage_name(struct life *life)
{
	bool taken;

	do { /* few names, so that they come back */
		snprintf(
		    life->manage_name, sizeof(life->manage_name), "vol%u",
		    (unsigned)rng_below(&life->rng, life->profile->subject->only_data ? 1 : 8));
		taken = false;
		for (unsigned i = 0; i < MODEL_VOLUMES; i++)
			taken |= life->model->volumes[i].state != MODEL_GONE &&
				 strcmp(life->model->volumes[i].name, life->manage_name) == 0;
	} while (taken);
}

static uint64_t draw_size(struct life *life)
{
	uint64_t most = life->profile->volume_size;

	if (life->profile->subject->only_data)
		return 1 << 20;
	return rng_range(&life->rng, (1 << 20) / 4096, most / 4096) * 4096;
}

unsigned life_volumes_here(const struct life *life)
{
	unsigned count = 0;

	for (unsigned i = 0; i < MODEL_VOLUMES; i++)
		count += life->model->volumes[i].state != MODEL_GONE;
	return count;
}

static void manage_create(struct life *life)
{
	life_manage_name(life);
	life->manage_size = draw_size(life);
	life->manage_volume =
	    model_volume_create(life->model, life->manage_name, life->manage_size);
}

static void manage_resize(struct life *life, struct model_volume *volume)
{
	life->manage_size = volume->size + rng_range(&life->rng, 1, 256) * 4096;
	volume->new_size = life->manage_size;
}

static void manage_rename(struct life *life, struct model_volume *volume)
{
	life_manage_name(life);
	memcpy(volume->new_name, life->manage_name, sizeof(volume->new_name));
}

/* Decide on something to manage; it is sent when its volume is quiet. */
static void manage_plan(struct life *life)
{
	unsigned count = life_volumes_here(life);
	int volume = choose_volume(life);

	life->manage_sent = false;
	life->manage = (enum manage)rng_below(&life->rng, 4);
	if (count < life->profile->volumes || volume < 0)
		life->manage = MANAGE_CREATE;
	else if (life->manage == MANAGE_CREATE && count >= 6)
		life->manage = MANAGE_DELETE;
	if (life->manage == MANAGE_DELETE && life_has_snapshots(life, (unsigned)volume))
		life->manage = MANAGE_RENAME;
	if (life->manage == MANAGE_CREATE) {
		manage_create(life);
		return;
	}
	life->manage_volume = volume;
}

static bool volume_quiet(const struct life *life, int volume)
{
	for (unsigned i = 0; i < LIFE_CLIENTS; i++) {
		if (life->clients[i].busy && (int)life->clients[i].volume == volume)
			return false;
	}
	return true;
}

static void manage_send(struct life *life)
{
	struct model_volume *volume = &life->model->volumes[life->manage_volume];

	if (life->manage != MANAGE_CREATE && !volume_quiet(life, life->manage_volume))
		return;
	if (life->manage == MANAGE_DELETE)
		volume->state = MODEL_DELETING;
	else if (life->manage == MANAGE_RESIZE)
		manage_resize(life, volume);
	else if (life->manage == MANAGE_RENAME)
		manage_rename(life, volume);
	else if (life->manage == MANAGE_ROLLBACK)
		life_rollback_begin(life);
	life->manage_sent = true;
	life_call(life, start_manage);
}

static void manage_ended(struct life *life)
{
	unsigned volume = (unsigned)life->manage_volume;
	int result = life->call_result;

	if (result != 0 && !(result == -ENOSPC && life->profile->full) &&
	    !disk_refused(life, result)) {
		life->failures++;
		if (!life->tolerate_faults)
			violation("management operation %d failed: %s", (int)life->manage,
				  life->call.err.text);
	}
	if (life->manage >= MANAGE_SNAPSHOT) {
		life->manage_sent = false;
		life_snapshot_ended(life);
		return;
	}
	if (life->manage == MANAGE_CREATE) {
		model_volume_created(life->model, volume,
				     result ? NULL : life->call.volume->identity.uuid, result);
		life->handles[volume] = result ? NULL : life->call.volume;
	} else if (life->manage == MANAGE_DELETE) {
		model_volume_deleted(life->model, volume, result);
		if (result != 0) /* it is still ours, to be given up as always */
			volume_unref(life->handles[volume]);
		life->handles[volume] = NULL;
	} else if (life->manage == MANAGE_RESIZE) {
		model_volume_resized(life->model, volume, result);
	} else if (life->manage == MANAGE_RENAME) {
		model_volume_renamed(life->model, volume, result);
	}
	if (life->manage == MANAGE_CHECKPOINT && life->calm_step == CALM_CHECKPOINT)
		life->calm_step = CALM_AGAIN;
	life->manage_volume = -1;
	life->manage_sent = false;
}

/* Another in its place: the spare one, which may have been the pool's before; or one at the same
 * path, the old one as if it were new, or a new and empty one. That one is there before the pool is
 * told, so both roots have to know that the old one was away. */
static bool replace_plan(struct life *life)
{
	unsigned victim = victim_of(life);

	life->instead = rng_one_in(&life->rng, 3) ? other_place(life, victim) : victim;
	if (life->instead == victim && life->pulled == victim + 1 && rng_one_in(&life->rng, 2)) {
		if (life->gone < 2) {
			life->gone++;
			life->manage = MANAGE_CHECKPOINT;
			return true;
		}
		if (!sim_disk_renew(life->sim, life_device_paths[victim]))
			return false;
	}
	life_plug(life);
	life->gone = 0;
	life->manage = MANAGE_REPLACE;
	return true;
}

/* The other one is whole, and has all it takes to go on alone. */
static bool may_pull(const struct life *life)
{
	struct pool_device_info mine, other;

	return has_mirrored(life) &&
	       pool_device_info(life->pool, life->model->victim ^ 1, &other) &&
	       other.state == DEVICE_ACTIVE &&
	       pool_device_info(life->pool, life->model->victim, &mine) && !mine.vital;
}

static void pull_or_plug(struct life *life)
{
	struct pool_info info;

	pool_get_info(life->pool, &info);
	if (!life->pulled && !info.degraded) {
		if (life->pulls == 0 && !info.resilvering)
			take_turns(life);
		if (may_pull(life))
			life_pull(life);
		return;
	}
	life->manage_sent = true;
	if (info.degraded && life->profile->replaces &&
	    rng_one_in(&life->rng, life->profile->replaces) && replace_plan(life)) {
		life_call(life, start_manage);
		return;
	}
	life_plug(life);
	life->gone = 0;
	life->instead = life->model->victim;
	if (life->profile->replaces)
		life->instead = rng_one_in(&life->rng, 4) ? other_place(life, victim_of(life))
							  : victim_of(life);
	life->manage = MANAGE_ONLINE;
	life_call(life, start_manage);
}

static void manage_work(struct life *life, bool more)
{
	bool idle = life->manage_volume < 0 && !life->manage_sent;

	if (life->profile->calm && idle && more && life->calm_step == CALM_CHECKPOINT &&
	    !life->clients[0].busy) {
		life->manage = MANAGE_CHECKPOINT;
		life->manage_sent = true;
		life_call(life, start_manage);
	} else if (life->manage_sent && life->call_done)
		manage_ended(life);
	else if (!idle && !life->manage_sent)
		manage_send(life);
	else if (idle && more && rng_below(&life->rng, 4000) < life->profile->checkpoints) {
		life->manage = MANAGE_CHECKPOINT;
		life->manage_sent = true;
		life_call(life, start_manage);
	} else if (idle && more && rng_below(&life->rng, 4000) < life->profile->scrubs) {
		life->manage = MANAGE_SCRUB;
		life->manage_sent = true;
		life_call(life, start_manage);
	} else if (idle && more && life->profile->snapshots &&
		   rng_below(&life->rng, 4000) < life->profile->snapshots &&
		   life_snapshot_plan(life)) {
		life->manage_sent = life->manage != MANAGE_ROLLBACK; /* that one waits */
		if (life->manage_sent)
			life_call(life, start_manage);
	} else if (idle && more && life->profile->disks &&
		   rng_below(&life->rng, 4000) < life->profile->disks && disk_plan(life)) {
		life->manage_sent = true;
		life_call(life, start_manage);
	} else if (idle && more && life->profile->pulls &&
		   rng_below(&life->rng, 4000) < life->profile->pulls) {
		pull_or_plug(life);
	} else if (idle && more &&
		   (life_volumes_here(life) == 0 ||
		    rng_below(&life->rng, 4000) < life->profile->manage ||
		    (life_volumes_here(life) < life->profile->volumes &&
		     rng_one_in(&life->rng, 20))))
		manage_plan(life);
}

void life_work(struct life *life, bool more)
{
	manage_work(life, more && !(life->single && life_volumes_here(life)));
	for (unsigned i = 0; i < (life->single ? 1 : life->profile->clients) && more; i++) {
		if (!life->clients[i].busy && rng_one_in(&life->rng, 3))
			client_work(&life->clients[i]);
	}
	if (!sim_step(life->sim) && !life_quiet(life))
		violation("requests never ended: nothing is left to happen (depth %u)",
			  life->depth);
	(void)life_lost_unseen(life); /* said by a root that may itself be gone soon */
	if (sim_complaint(life->sim))
		violation("%s", sim_complaint(life->sim));
}

const char *life_busy(const struct life *life)
{
	static const char *const ops[] = {"read", "write", "flush", "discard", "extents"};
	static char text[200];

	snprintf(text, sizeof(text), "management %d", life->manage_sent ? (int)life->manage : -1);
	for (unsigned i = 0; i < LIFE_CLIENTS; i++) {
		const struct volume_request *request = &life->clients[i].request;

		if (life->clients[i].busy)
			snprintf(text, sizeof(text), "%s of %llu + %llu, flags %u",
				 ops[request->op], (unsigned long long)request->offset,
				 (unsigned long long)request->length, request->flags);
	}
	return text;
}

bool life_quiet(const struct life *life)
{
	for (unsigned i = 0; i < LIFE_CLIENTS; i++) {
		if (life->clients[i].busy)
			return false;
	}
	return life->manage_volume < 0 && !life->manage_sent;
}
