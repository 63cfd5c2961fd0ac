/* SPDX-License-Identifier: Apache-2.0 */
#include "volumes/prove_load.h"

#include <errno.h>
#include <string.h>

#include "core/heap.h"

const char *const prove_phase_names[PROVE_PHASES] = {
    "sequential_write", "random_write", "write_and_flush", "forced_write", "verify",
};

struct phase {
	enum prove_op op;
	unsigned block, depth;
	bool random;
	bool flush;     /* one after each write */
	unsigned share; /* percent of the time; 0: to the end */
};
static const struct phase phases[PROVE_PHASES] = {
    [PROVE_SEQUENTIAL] = {PROVE_WRITE, 1u << 20, 8, false, false, 30},
    [PROVE_RANDOM] = {PROVE_WRITE, 4096, PROVE_DEPTH_MAX, true, false, 25},
    [PROVE_FLUSHED] = {PROVE_WRITE, 4096, 1, true, true, 25},
    [PROVE_FORCED] = {PROVE_FORCED_WRITE, 4096, 1, true, false, 20},
    [PROVE_VERIFY] = {PROVE_READ, 1u << 20, 8, false, false, 0},
};

/* ---- what is written ---- */
uint64_t prove_mix(uint64_t x)
{
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ x >> 27) * 0x94d049bb133111ebull;
	return x ^ x >> 31;
}

void prove_fill(uint64_t seed, uint64_t block, uint32_t version, uint8_t to[VOLUME_SLOT])
{
	uint64_t word = prove_mix(seed ^ block * 0x9e3779b97f4a7c15ull ^ version);

	for (unsigned i = 0; i < VOLUME_SLOT / 8; i++, word = word * 6364136223846793005ull + 1)
		memcpy(to + 8 * (size_t)i, &word, 8);
}

static void compare(struct prove_load *load, const struct prove_slot *slot)
{
	const uint8_t *data = slot->iov.iov_base;
	uint8_t expected[VOLUME_SLOT];

	for (uint64_t at = 0; at < slot->length; at += VOLUME_SLOT) {
		uint64_t block = (slot->offset + at) / VOLUME_SLOT;

		if (load->version[block])
			prove_fill(load->seed, block, load->version[block], expected);
		else if (load->zeros)
			memset(expected, 0, sizeof expected);
		else
			continue;
		load->verified++;
		load->mismatches += memcmp(expected, data + at, VOLUME_SLOT) != 0;
	}
}

/* ---- histograms ---- */
/* A bucket is named by the place of the highest bit of 4 ns units and the two bits behind it. */
static void note(uint64_t histogram[PROVE_BUCKETS], uint64_t ns)
{
	uint64_t units = ns / 4 + 4;
	unsigned high = 63u - (unsigned)__builtin_clzll(units);
	unsigned bucket = 4 * (high - 2) + (unsigned)(units >> (high - 2) & 3);

	histogram[bucket < PROVE_BUCKETS ? bucket : PROVE_BUCKETS - 1]++;
}

static double bucket_us(unsigned bucket)
{
	uint64_t units = (uint64_t)(4 + bucket % 4) << bucket / 4;

	return (double)(units - 4) * 4 / 1000;
}

double prove_quantile_us(const uint64_t histogram[PROVE_BUCKETS], double part)
{
	uint64_t all = 0, seen = 0;

	for (unsigned i = 0; i < PROVE_BUCKETS; i++)
		all += histogram[i];
	for (unsigned i = 0; i < PROVE_BUCKETS; i++) {
		seen += histogram[i];
		if (all && (double)seen >= (double)all * part)
			return bucket_us(i + 1);
	}
	return 0;
}

/* ---- phases ---- */
static void phase_begin(struct prove_load *load);

static bool ends(const struct prove_load *load)
{
	return load->errors || load->stopped((struct prove_load *)load);
}

static bool phase_over(const struct prove_load *load)
{
	const struct phase *phase = &phases[load->phase];
	bool time_is_up = phase->share && loop_now(load->loop) - load->begun_ns >=
					      load->budget_ns / 100 * phase->share;

	return time_is_up || ends(load) || (!phase->random && load->cursor >= load->size);
}

static void submit(struct prove_slot *slot)
{
	slot->started_ns = loop_now(slot->load->loop);
	slot->load->in_flight++;
	slot->load->submit(slot);
}

static void idle(struct prove_load *load)
{
	if (load->in_flight)
		return;
	load->outcome[load->phase].ns = loop_now(load->loop) - load->begun_ns;
	if (++load->phase == PROVE_PHASES || ends(load))
		load->finished(load);
	else
		phase_begin(load);
}

/* Slots of a random phase keep to blocks of their own, so that two writes never meet. */
static uint64_t place(struct prove_load *load, const struct prove_slot *slot)
{
	const struct phase *phase = &phases[load->phase];
	uint64_t at = load->cursor, stripes = load->size / VOLUME_SLOT / PROVE_DEPTH_MAX;

	if (!phase->random) {
		load->cursor += phase->block;
		return at;
	}
	load->cursor++;
	return (prove_mix(load->seed + load->cursor) % stripes * PROVE_DEPTH_MAX +
		(uint64_t)(slot - load->slots)) *
	       VOLUME_SLOT;
}

static void next(struct prove_slot *slot, bool wrote)
{
	struct prove_load *load = slot->load;
	const struct phase *phase = &phases[load->phase];

	if (phase->flush && wrote && !load->errors) {
		slot->op = PROVE_FLUSH;
		submit(slot);
		return;
	}
	if (phase_over(load)) {
		idle(load);
		return;
	}
	slot->op = phase->op;
	slot->offset = place(load, slot);
	slot->length = slot->iov.iov_len = phase->block;
	for (uint64_t at = 0; phase->op != PROVE_READ && at < phase->block; at += VOLUME_SLOT) {
		uint64_t block = (slot->offset + at) / VOLUME_SLOT;

		prove_fill(load->seed, block, ++load->version[block],
			   (uint8_t *)slot->iov.iov_base + at);
	}
	submit(slot);
}

void prove_slot_done(struct prove_slot *slot, int result)
{
	struct prove_load *load = slot->load;
	struct prove_outcome *outcome = &load->outcome[load->phase];
	uint64_t took = loop_now(load->loop) - slot->started_ns;
	bool flushed = slot->op == PROVE_FLUSH;

	load->in_flight--;
	load->errors += result < 0;
	if (flushed) {
		outcome->flushes++;
	} else {
		outcome->count++;
		outcome->bytes += slot->length;
	}
	note(flushed ? outcome->flush : outcome->io, took);
	if (slot->op == PROVE_READ && result == 0)
		compare(load, slot);
	next(slot, !flushed);
}

static void phase_begin(struct prove_load *load)
{
	load->begun_ns = loop_now(load->loop);
	load->cursor = 0;
	load->in_flight = 1; /* ours, until all have begun */
	for (unsigned i = 0; i < phases[load->phase].depth; i++)
		next(&load->slots[i], false);
	load->in_flight--;
	idle(load);
}

void prove_load_start(struct prove_load *load)
{
	phase_begin(load);
}

int prove_load_setup(struct prove_load *load)
{
	bool good;

	loop_random(load->loop, &load->seed, sizeof load->seed);
	load->version = heap_zalloc_array(load->size / VOLUME_SLOT, sizeof *load->version);
	good = load->version != NULL;
	for (unsigned i = 0; i < PROVE_DEPTH_MAX; i++) {
		load->slots[i].load = load;
		load->slots[i].iov.iov_base = heap_aligned(VOLUME_SLOT, 1u << 20);
		good &= load->slots[i].iov.iov_base != NULL;
	}
	if (good)
		return 0;
	prove_load_free(load);
	return -ENOMEM;
}

void prove_load_free(struct prove_load *load)
{
	for (unsigned i = 0; i < PROVE_DEPTH_MAX; i++) {
		heap_free(load->slots[i].iov.iov_base);
		load->slots[i].iov.iov_base = NULL;
	}
	heap_free(load->version);
	load->version = NULL;
}
