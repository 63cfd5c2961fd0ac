/* SPDX-License-Identifier: Apache-2.0 */
/* rot_test: every kind of metadata node, in each copy and in both, and every slot of data is
 * damaged in turn in a closed pool. What lives in another copy is served and mended; what does not
 * is an error and a finding that names the place; nothing bad is ever returned as good.
 *
 * granary-test: timeout=120 asan */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/log.h"
#include "tests/sim/sim_world.h"
#include "volumes/bytes.h"
#include "volumes/format.h"
#include "volumes/pool.h"

#define DEVICE  "/sim/pv0"
#define SIZE    (64ull << 20)
#define VOLUMES 2u
#define SLOTS   4096u /* of a volume: 16 MiB */
#define STEPS   4000000u

static const char *const volume_names[VOLUMES] = {"plain", "strict"};
static uint8_t version[VOLUMES][SLOTS]; /* 0: never written */

static struct sim *sim;
static struct loop *loop;
static struct pool *pool;
static unsigned points, bad_points;

static void point(bool good, const char *text, unsigned long long count)
{
	points++;
	bad_points += !good;
	printf("%s %u - %s (%llu)\n", good ? "ok" : "not ok", points, text, count);
}

/* ---- calls and requests, on the loop ---- */
static struct {
	void (*start)(void);
	struct message message;
	struct pool_call call;
	struct volume_request request;
	struct volume *volume;
	const char *name;
	unsigned which;
	struct pool_check_report report;
	bool done;
	int result;
} now;

static void call_done(struct pool_call *call, int result)
{
	(void)call;
	now.result = result;
	now.done = true;
}

static void run_message(struct message *message)
{
	(void)message;
	now.start();
}

static int on_loop(void (*start)(void))
{
	now.start = start;
	now.done = false;
	now.call = (struct pool_call){.done = call_done};
	loop_post(loop, &now.message, run_message);
	if (!sim_until(sim, &now.done, STEPS)) {
		printf("Bail out! a call never ended\n");
		exit(1);
	}
	return now.result;
}

static void start_create(void)
{
	static const struct pool_device device = {DEVICE, SIZE};
	static const struct pool_create_options options = {
	    .name = "rot", .devices = &device, .device_count = 1};

	pool_create(&world_sim, loop, &options, &now.call);
}

static void start_open(void)
{
	static const char *const paths[] = {DEVICE};

	pool_open(&world_sim, loop, paths, 1, &now.call);
}

static void start_close(void)
{
	pool_close(pool, &now.call);
}

static void start_volume(void)
{
	struct volume_spec spec = {.name = volume_names[now.which],
				   .size_bytes = SLOTS * 4096ull,
				   .checksum = now.which ? VOLUME_CHECKSUM_STRICT
							 : VOLUME_CHECKSUM_STANDARD};

	volume_create(pool, &spec, &now.call);
}

static void start_check(void)
{
	now.report = (struct pool_check_report){0};
	pool_check(pool, true, &now.report, &now.call);
}

static void start_scrub(void)
{
	struct err err = {0};

	call_done(NULL, pool_scrub(pool, POOL_SCRUB_START, 0, &err));
}

static void request_done(struct volume_request *request, int result)
{
	(void)request;
	now.result = result;
	now.done = true;
}

static void start_request(void)
{
	volume_submit(now.volume, &now.request);
}

static int io(unsigned which, enum volume_op op, unsigned flags, unsigned slot, unsigned count,
	      void *data)
{
	struct iovec iov = {data, (size_t)count * 4096};
	int result;

	now.volume = pool_find_volume(pool, volume_names[which]);
	if (!now.volume)
		return -ENOENT;
	now.request = (struct volume_request){.op = op,
					      .flags = flags,
					      .offset = slot * 4096ull,
					      .length = op == VOLUME_FLUSH ? 0 : count * 4096ull,
					      .iov = &iov,
					      .iov_count = op == VOLUME_FLUSH ? 0 : 1,
					      .done = request_done};
	result = on_loop(start_request);
	volume_unref(now.volume);
	return result;
}

/* ---- contents ---- */
static void fill(uint8_t *data, unsigned which, unsigned slot)
{
	for (unsigned i = 0; i < 4096; i += 8)
		put64(data + i, (uint64_t)version[which][slot] << 56 | (uint64_t)which << 48 |
				    (uint64_t)slot << 16 | i);
}

static void write_slots(unsigned which, unsigned flags, unsigned slot, unsigned count)
{
	static _Alignas(4096) uint8_t data[64 * 4096];
	int result;

	for (unsigned i = 0; i < count; i++) {
		version[which][slot + i]++;
		fill(data + (size_t)i * 4096, which, slot + i);
	}
	result = io(which, VOLUME_WRITE, flags, slot, count, data);
	assert(result == 0);
	(void)result;
}

static void build(void)
{
	int result = on_loop(start_create);

	assert(result == 0);
	pool = now.call.pool;
	for (now.which = 0; now.which < VOLUMES; now.which++) {
		result = on_loop(start_volume);
		assert(result == 0);
		volume_unref(now.call.volume);
	}
	for (unsigned which = 0; which < VOLUMES; which++) {
		write_slots(which, 0, 0, 24);
		write_slots(which, 0, 2300, 5); /* another leaf of the map */
		io(which, VOLUME_FLUSH, 0, 0, 0, NULL);
		write_slots(which, 0, 3, 4);             /* in place, or elsewhere when strict */
		write_slots(which, VOLUME_ATOMIC, 9, 3); /* takes the chunk apart */
	}
	result = on_loop(start_close);
	assert(result == 0);
	(void)result;
}

/* ---- where things are, from the bytes on the device ---- */
struct place {
	struct node_pointer pointer;
	uint8_t kind, level;
};
struct slot_place {
	uint64_t address;
	unsigned which, slot;
};
static struct place places[64];
static struct slot_place slot_places[256];
static unsigned place_count, slot_count;
static struct superblock sb;

static uint64_t offset_of(uint64_t address)
{
	return sb.pv[0].data_offset + address * 4096;
}

static void find_root(void)
{
	sb.generation = 0;
	for (unsigned copy = 0; copy < 4; copy++) {
		static uint8_t block[4096];
		struct superblock found;

		sim_disk_peek(sim, DEVICE, superblock_position(SIZE, copy), block, sizeof(block));
		if (superblock_decode(block, &found, NULL) == 0 && found.generation > sb.generation)
			sb = found;
	}
}

struct leaf {
	unsigned which;
	uint64_t index;
};

static int visit_entry(void *context, unsigned index, const struct map_entry *entry)
{
	const struct leaf *leaf = context;

	for (unsigned slot = 0; slot < CHUNK_SLOTS; slot++) {
		struct slot_place *place = &slot_places[slot_count];

		if (!(entry->mask & 1u << slot))
			continue;
		assert(slot_count < 256);
		slot_count++;
		place->which = leaf->which;
		place->slot = (unsigned)(leaf->index * MAP_CHUNKS + index) * CHUNK_SLOTS + slot;
		place->address =
		    entry->slots ? entry->slots[slot] : entry->chunk * CHUNK_SLOTS + slot;
	}
	return 0;
}

static void walk(const struct node_pointer *pointer, uint8_t kind, unsigned level, uint64_t index,
		 unsigned which)
{
	uint8_t *bytes;

	if (!pointer->generation)
		return;
	assert(place_count < 64);
	places[place_count++] = (struct place){*pointer, kind, (uint8_t)level};
	bytes = malloc(pointer->length);
	assert(bytes);
	sim_disk_peek(sim, DEVICE, offset_of(pointer->address[0]), bytes, pointer->length);
	for (unsigned i = 0; level && i < NODE_FANOUT; i++) {
		struct node_pointer child;

		if (node_pointer_decode(bytes + NODE_HEADER + 32 * i, &child) == 0)
			walk(&child, kind, level - 1, index * NODE_FANOUT + i, which);
	}
	if (level == 0 && kind == NODE_MAP) {
		struct leaf leaf = {which, index};

		map_decode(bytes + NODE_HEADER, pointer->length - NODE_HEADER, visit_entry, &leaf);
	}
	for (unsigned i = 0; level == 0 && kind == NODE_VOLUMES && i < VOLUMES_PER_LEAF; i++) {
		struct volume_record record;

		if (volume_record_decode(bytes + NODE_HEADER + i * VOLUME_RECORD, &record) == 0 &&
		    record.id)
			walk(&record.root, NODE_MAP, record.levels, 0,
			     strcmp(record.name, volume_names[0]) != 0);
	}
	free(bytes);
}

static void collect(void)
{
	static const uint8_t kinds[ROOT_COUNT] = {
	    [ROOT_VOLUMES] = NODE_VOLUMES, [ROOT_SPACE] = NODE_SPACE, [ROOT_META] = NODE_META,
	    [ROOT_CSUM] = NODE_CSUM,       [ROOT_HOT] = NODE_HOT,     [ROOT_FORWARD] = NODE_FORWARD,
	    [ROOT_MIRROR] = NODE_MIRROR};

	find_root();
	for (unsigned i = 0; i < ROOT_COUNT; i++)
		walk(&sb.root[i].pointer, kinds[i], sb.root[i].levels, 0, 0);
}

/* ---- one world per damage ---- */
struct outcome {
	int open;
	unsigned errors, wrong; /* of reads */
	uint64_t error_slot;    /* of the last read that failed */
	unsigned repaired, lost, data;
	struct pool_finding finding; /* the last one */
	uint64_t check_errors, repairs;
};

static void read_all(struct outcome *outcome)
{
	static _Alignas(4096) uint8_t data[4096], wanted[4096];

	for (unsigned which = 0; which < VOLUMES; which++)
		for (unsigned slot = 0; slot < SLOTS; slot++) {
			if (!version[which][slot])
				continue;
			if (io(which, VOLUME_READ, 0, slot, 1, data) != 0) {
				outcome->errors++;
				outcome->error_slot = now.request.error_offset / 4096;
				continue;
			}
			fill(wanted, which, slot);
			outcome->wrong += memcmp(data, wanted, 4096) != 0;
		}
}

static void scrub(struct outcome *outcome)
{
	struct pool_scrub_info info = {.state = SCRUB_RUNNING};

	on_loop(start_scrub);
	for (unsigned steps = 0; info.state == SCRUB_RUNNING && steps < STEPS; steps++) {
		sim_step(sim);
		pool_get_scrub(pool, &info);
	}
	if (info.state != SCRUB_DONE)
		outcome->wrong++;
	for (unsigned i = 0; pool_finding(pool, i, &outcome->finding); i++) {
		outcome->repaired += outcome->finding.kind == FINDING_NODE_REPAIRED;
		outcome->lost += outcome->finding.kind == FINDING_NODE_LOST;
		outcome->data += outcome->finding.kind == FINDING_DATA;
	}
	if (outcome->data + outcome->lost + outcome->repaired)
		pool_finding(pool, outcome->data + outcome->lost + outcome->repaired - 1,
			     &outcome->finding);
}

static void look(struct outcome *outcome, bool read_first)
{
	struct pool_info info;

	if (read_first)
		read_all(outcome);
	scrub(outcome);
	if (!read_first)
		read_all(outcome);
	pool_get_info(pool, &info);
	outcome->repairs = info.metadata_repairs;
	if (on_loop(start_check) == 0)
		outcome->check_errors = now.report.errors;
	on_loop(start_close);
}

/* Damage @count places of the device in a world of its own, open it and look. */
static struct outcome trial(const uint64_t *at, unsigned count, bool read_first)
{
	struct sim *base = sim;
	struct loop *base_loop = loop;
	struct outcome outcome = {0};

	sim = sim_crash(base, &(struct sim_plan){.seed = at[0] + count});
	sim_enter(sim);
	for (unsigned i = 0; i < count; i++)
		sim_disk_rot(sim, DEVICE, at[i]);
	loop = sim_loop(sim);
	outcome.open = on_loop(start_open);
	pool = now.call.pool;
	if (outcome.open == 0)
		look(&outcome, read_first);
	loop_destroy(loop);
	sim_leave(sim);
	sim_destroy(sim);
	sim = base;
	loop = base_loop;
	return outcome;
}

/* ---- the points ---- */
static void one_copy(bool read_first)
{
	unsigned good = 0, kinds = 0, noted = 0;

	for (unsigned i = 0; i < place_count; i++)
		for (unsigned copy = 0; copy < 2; copy++) {
			const struct place *place = &places[i];
			uint64_t at = offset_of(place->pointer.address[copy]) +
				      (i * 37) % place->pointer.length;
			struct outcome outcome = trial(&at, 1, read_first);
			bool moved = place->kind == NODE_META || place->kind == NODE_HOT;
			bool right = outcome.open == 0 && !outcome.errors && !outcome.wrong &&
				     !outcome.lost && !outcome.data && !outcome.check_errors &&
				     (outcome.repaired == 1 || (moved && !outcome.repaired)) &&
				     outcome.repairs == outcome.repaired;

			if (!right)
				printf("# kind %u level %u copy %u: open %d, %u errors, %u wrong, "
				       "%u repaired, %u lost, check %llu\n",
				       place->kind, place->level, copy, outcome.open,
				       outcome.errors, outcome.wrong, outcome.repaired,
				       outcome.lost, (unsigned long long)outcome.check_errors);
			good += right;
			noted += outcome.repaired;
			kinds |= 1u << place->kind;
		}
	point(good == 2 * place_count,
	      read_first ? "one bad copy of a node: served, found and mended, read first"
			 : "one bad copy of a node: found and mended by the scrub first",
	      good);
	point(noted >= good * 3 / 4 && kinds == 0x7e, "of every kind; noted", noted);
}

static void both_copies(void)
{
	unsigned good = 0, refused = 0, lost = 0;

	for (unsigned i = 0; i < place_count; i++) {
		const struct place *place = &places[i];
		uint64_t at[2] = {offset_of(place->pointer.address[0]) + 70,
				  offset_of(place->pointer.address[1]) + 90};
		struct outcome outcome = trial(at, 2, i % 2);
		bool right = !outcome.wrong &&
			     (outcome.open == -EUCLEAN || (outcome.open == 0 && outcome.lost == 1));

		if (!right)
			printf("# kind %u level %u: open %d, %u errors, %u wrong, %u lost\n",
			       place->kind, place->level, outcome.open, outcome.errors,
			       outcome.wrong, outcome.lost);
		good += right;
		refused += outcome.open == -EUCLEAN;
		lost += outcome.lost;
	}
	point(good == place_count && refused && lost,
	      "both copies of a node: refused, or errors and a finding; nothing wrong is read",
	      good);
}

static void data_slots(void)
{
	unsigned good = 0;

	for (unsigned i = 0; i < slot_count; i++) {
		const struct slot_place *place = &slot_places[i];
		uint64_t at = offset_of(place->address) + (i * 331) % 4096;
		struct outcome outcome = trial(&at, 1, i % 2);
		bool right = outcome.open == 0 && outcome.errors == 1 && !outcome.wrong &&
			     outcome.error_slot == place->slot && outcome.data == 1 &&
			     outcome.finding.offset == place->slot * 4096ull &&
			     strcmp(outcome.finding.volume, volume_names[place->which]) == 0;

		if (!right)
			printf("# volume %u slot %u: open %d, %u errors, %u wrong, %u findings\n",
			       place->which, place->slot, outcome.open, outcome.errors,
			       outcome.wrong, outcome.data);
		good += right;
	}
	point(good == slot_count, "a bad slot: an error to its reader, found with volume and LBA",
	      good);
}

int main(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	log_set_level(LOG_LEVEL_ERROR);
	sim = sim_create(1);
	sim_enter(sim);
	sim_disk_create(sim, DEVICE, SIZE);
	loop = sim_loop(sim);
	build();
	collect();
	one_copy(true);
	one_copy(false);
	both_copies();
	data_slots();
	loop_destroy(loop);
	sim_leave(sim);
	sim_destroy(sim);
	printf("1..%u\n", points);
	return bad_points ? 1 : 0;
}
