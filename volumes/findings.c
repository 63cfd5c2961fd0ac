/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/crc32c.h"
#include "volumes/bytes.h"
#include "volumes/guard.h"

/* The ledger: findings about the pool's data, and how far the scrub is, kept on the pool itself, in
 * two copies in the head area of PV 0, and of the other PV with a copy of the journal, that are
 * written in turn. It is a report, not a part of the pool's state: a ledger that can not be read is
 * an empty one.
 *
 * Block 0: magic, crc of all that is used (this field as zeros), pool hash, sequence number,
 * findings, findings dropped, state of the scrub. From block 1 on: findings of 64 bytes. */

#define LEDGER_MAGIC  0x4c525247u /* "GRRL" */
#define LEDGER_STRIDE (128u << 10)
#define FINDING_BYTES 64u
#define LEDGER_LENGTH (BLOCK + FINDINGS_MAX * FINDING_BYTES)
#define L_CRC         4
#define L_HASH        8
#define L_SEQUENCE    16
#define L_COUNT       24
#define L_DROPPED     32
#define L_SCRUB       64
#define SCRUB_NUMBERS 11u
_Static_assert(LEDGER_LENGTH <= LEDGER_STRIDE && LEDGER_LENGTH % BLOCK == 0, "a ledger fits");
_Static_assert(LEDGER_OFFSET + 2 * LEDGER_STRIDE <= PV_AREA, "two ledgers fit");

static size_t used_length(unsigned count)
{
	return BLOCK + (count * FINDING_BYTES + BLOCK - 1) / BLOCK * BLOCK;
}

/* ---- bytes ---- */
static void scrub_numbers(struct scrub_state *scrub, uint64_t *numbers[SCRUB_NUMBERS])
{
	uint64_t *all[SCRUB_NUMBERS] = {&scrub->started_ns, &scrub->ended_ns, &scrub->rate,
					&scrub->volume,     &scrub->offset,   &scrub->done,
					&scrub->total,      &scrub->nodes,    &scrub->slots,
					&scrub->errors,     &scrub->repaired};

	memcpy(numbers, all, sizeof(all));
}

static void finding_encode(const struct finding *finding, uint8_t *at)
{
	put64(at, finding->time_ns);
	put64(at + 8, finding->volume);
	put64(at + 16, finding->offset);
	put64(at + 24, finding->length);
	at[32] = finding->kind;
	at[33] = finding->tree;
	at[34] = finding->level;
}

static bool finding_decode(const uint8_t *at, struct finding *finding)
{
	*finding = (struct finding){.time_ns = get64(at),
				    .volume = get64(at + 8),
				    .offset = get64(at + 16),
				    .length = get64(at + 24),
				    .kind = at[32],
				    .tree = at[33],
				    .level = at[34]};
	return finding->kind >= FINDING_DATA && finding->kind <= FINDING_DATA_REPAIRED &&
	       finding->tree <= NODE_MIRROR;
}

static size_t ledger_encode(struct ledger *ledger, uint64_t hash, uint8_t *bytes)
{
	size_t length = used_length(ledger->count);
	uint64_t *numbers[SCRUB_NUMBERS];

	memset(bytes, 0, length);
	put32(bytes, LEDGER_MAGIC);
	put64(bytes + L_HASH, hash);
	put64(bytes + L_SEQUENCE, ledger->sequence);
	put32(bytes + L_COUNT, ledger->count);
	put64(bytes + L_DROPPED, ledger->dropped);
	bytes[L_SCRUB] = ledger->scrub.state;
	scrub_numbers(&ledger->scrub, numbers);
	for (unsigned i = 0; i < SCRUB_NUMBERS; i++)
		put64(bytes + L_SCRUB + 8 + 8 * i, *numbers[i]);
	for (unsigned i = 0; i < ledger->count; i++)
		finding_encode(&ledger->finding[i], bytes + BLOCK + i * FINDING_BYTES);
	put32(bytes + L_CRC, crc32c(0, bytes, length));
	return length;
}

static bool ledger_decode(uint8_t *bytes, uint64_t hash, struct ledger *ledger)
{
	uint64_t *numbers[SCRUB_NUMBERS];
	uint32_t crc = get32(bytes + L_CRC);

	ledger->count = get32(bytes + L_COUNT);
	if (get32(bytes) != LEDGER_MAGIC || get64(bytes + L_HASH) != hash ||
	    ledger->count > FINDINGS_MAX)
		return false;
	put32(bytes + L_CRC, 0);
	if (crc32c(0, bytes, used_length(ledger->count)) != crc)
		return false;
	ledger->sequence = get64(bytes + L_SEQUENCE);
	ledger->dropped = get64(bytes + L_DROPPED);
	ledger->scrub.state = bytes[L_SCRUB];
	scrub_numbers(&ledger->scrub, numbers);
	for (unsigned i = 0; i < SCRUB_NUMBERS; i++)
		*numbers[i] = get64(bytes + L_SCRUB + 8 + 8 * i);
	for (unsigned i = 0; i < ledger->count; i++)
		if (!finding_decode(bytes + BLOCK + i * FINDING_BYTES, &ledger->finding[i]))
			return false;
	return ledger->scrub.state <= SCRUB_STOPPED;
}

/* ---- reading and writing ---- */
int ledger_read(struct native *native)
{
	struct ledger *best = heap_zalloc(sizeof(*best)), *other = heap_zalloc(sizeof(*other));
	uint8_t *bytes = heap_aligned(BLOCK, LEDGER_LENGTH);
	struct pv *pv[2];
	unsigned rows;
	int result = best && other && bytes ? 0 : -ENOMEM;

	rows = journal_copies(native, pv);
	for (unsigned copy = 0; copy < 2 * rows && result == 0; copy++) {
		struct ledger *swap = best;

		if (pv_io(pv[copy / 2], DISK_READ, 0, LEDGER_OFFSET + copy % 2 * LEDGER_STRIDE,
			  bytes, LEDGER_LENGTH) < 0 ||
		    !ledger_decode(bytes, native->hash, other) || other->sequence <= best->sequence)
			continue;
		best = other;
		other = swap;
	}
	heap_free(bytes);
	heap_free(other);
	if (result < 0) {
		heap_free(best);
		return result;
	}
	native->ledger = best;
	return 0;
}

void ledger_write(struct native *native)
{
	struct ledger *ledger = native->ledger;
	uint8_t *bytes = heap_aligned(BLOCK, LEDGER_LENGTH);
	struct pv *pv[2];
	unsigned rows;
	size_t length;
	int result = 0, failed;

	native_lock(native);
	ledger->dirty = false;
	ledger->sequence++;
	length = bytes ? ledger_encode(ledger, native->hash, bytes) : 0;
	pthread_mutex_unlock(&native->lock);
	if (!bytes)
		return;
	rows = journal_copies(native, pv);
	for (unsigned i = 0; i < rows; i++) {
		if (rows > 1 && !pv_is_here(pv[i]))
			continue;
		failed =
		    pv_io(pv[i], DISK_WRITE, DISK_FUA,
			  LEDGER_OFFSET + (ledger->sequence & 1) * LEDGER_STRIDE, bytes, length);
		result = failed < 0 ? failed : result;
	}
	if (result < 0)
		log_warning("pool %s: the list of findings can not be written (error %d)",
			    native->sb.name, -result);
	heap_free(bytes);
}

void ledger_dirty(struct native *native)
{
	native->ledger->dirty = true;
	keeper_kick(native);
}

/* ---- noting ---- */
static bool same(const struct finding *a, const struct finding *b)
{
	return a->kind == b->kind && a->volume == b->volume && a->offset == b->offset &&
	       a->length == b->length && a->tree == b->tree && a->level == b->level;
}

void finding_note(struct native *native, const struct finding *finding)
{
	struct ledger *ledger = native->ledger;
	struct finding *row = NULL;

	if (!ledger)
		return; /* still opening */
	for (unsigned i = 0; i < ledger->count && !row; i++)
		if (same(&ledger->finding[i], finding))
			row = &ledger->finding[i];
	if (!row && ledger->count == FINDINGS_MAX) {
		ledger->dropped++;
		return;
	}
	if (!row)
		row = &ledger->finding[ledger->count++];
	*row = *finding;
	row->time_ns = loop_wall(loop_current());
	ledger_dirty(native);
}

/* ---- telling ---- */
static const char *tree_word(unsigned kind)
{
	static const char *const words[] = {"",         "volume table", "space", "metadata space",
					    "checksum", "hot region",   "map",   "forward",
					    "mirror"};

	return words[kind];
}

static void sentence(const struct native *native, const struct finding *finding,
		     struct pool_finding *told)
{
	size_t room = sizeof(told->text);
	char whose[VOLUME_PATH_MAX + 32] = "the pool";

	if (finding->volume && told->volume[0])
		snprintf(whose, sizeof(whose), "volume %s", told->volume);
	else if (finding->volume)
		snprintf(whose, sizeof(whose), "a volume that is deleted");
	switch (finding->kind) {
	case FINDING_DATA:
		snprintf(told->text, room, "%s: the data does not fit its checksum", whose);
		break;
	case FINDING_MEDIUM:
		snprintf(told->text, room, "%s: the data can not be read", whose);
		break;
	case FINDING_DATA_REPAIRED:
		snprintf(told->text, room,
			 "%s: one copy of the data was bad and has been written again from the "
			 "other",
			 whose);
		break;
	case FINDING_NODE_REPAIRED:
		snprintf(told->text, room,
			 "one copy of a %s node (level %u, index %llu) of %s was bad and has been "
			 "written again from the other",
			 tree_word(finding->tree), finding->level,
			 (unsigned long long)finding->offset, whose);
		break;
	case FINDING_NODE_LOST:
		snprintf(told->text, room,
			 "both copies of a %s node (level %u, index %llu) of %s are bad",
			 tree_word(finding->tree), finding->level,
			 (unsigned long long)finding->offset, whose);
		break;
	default:
		snprintf(told->text, room,
			 "superblock copy %llu of %s was bad and has been written again",
			 (unsigned long long)finding->length,
			 finding->offset < native->pv_count && native->pv[finding->offset].disk
			     ? native->pv[finding->offset].disk->path
			     : "a device that is gone");
	}
}

bool native_finding(struct pool *pool, unsigned index, struct pool_finding *ret_finding)
{
	struct native *native = native_of(pool);
	struct pool_finding told = {0};
	const struct finding *finding;
	const struct nvolume *volume;

	native_lock(native);
	if (index >= native->ledger->count) {
		pthread_mutex_unlock(&native->lock);
		return false;
	}
	finding = &native->ledger->finding[index];
	volume = nvolume_by_id(native, finding->volume);
	if (volume && volume->state != VOLUME_STATE_DELETING)
		memcpy(told.volume, volume->volume.name, sizeof(told.volume));
	told.kind = finding->kind;
	told.time_ns = finding->time_ns;
	told.repaired = finding_repaired(finding);
	if (finding->kind == FINDING_DATA || finding->kind == FINDING_MEDIUM ||
	    finding->kind == FINDING_DATA_REPAIRED) {
		told.offset = finding->offset;
		told.length = finding->length;
	}
	sentence(native, finding, &told);
	pthread_mutex_unlock(&native->lock);
	*ret_finding = told;
	return true;
}

void native_findings_clear(struct pool *pool)
{
	struct native *native = native_of(pool);

	native_lock(native);
	native->ledger->count = 0;
	native->ledger->dropped = 0;
	ledger_dirty(native);
	pthread_mutex_unlock(&native->lock);
}
