/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/crc32c.h"
#include "volumes/bytes.h"
#include "volumes/io.h"

/* The check: a checkpoint, so that disk and memory say the same, then a walk over the trees as
 * they are on disk: both copies of every node, what they refer to, twice referred, space counts.
 * It uses the codecs and the disk only, not the node cache it checks. Data may be written over
 * meanwhile: what does not fit is looked at again as it is by then, until no write is in between.
 */

#define LOOKS   1000u /* at a slot that is written all the time */
#define LOOK_NS 1000000ull

struct check {
	struct native *native;
	struct lane *lane;
	struct pool_check_report *report;
	bool data;
	enum volume_checksum checksum; /* of the volume at hand */
	bool mirror;                   /* likewise */
	uint16_t *meta, *mapped;       /* per chunk: what is referred to by its owner */
	uint16_t *borrowed;            /* ... and by those who stand on the owner */
	uint16_t *space;               /* per chunk: what the SPACE and META trees say */
	uint8_t *buffer;               /* two copies */
	uint8_t *slot;
	uint32_t *sums; /* a csum leaf's worth */
	uint64_t sums_index;
	const struct node_pointer *sums_root;
	const struct nvolume *volume; /* whose map is walked, NULL */
	uint64_t volume_slots, owned_slots, volume_id;
};

static void __attribute__((format(printf, 2, 3)))
finding(struct check *check, const char *format, ...)
{
	char sentence[300];
	va_list arguments;

	check->report->errors++;
	va_start(arguments, format);
	vsnprintf(sentence, sizeof(sentence), format, arguments);
	va_end(arguments);
	if (check->report->finding)
		check->report->finding(check->report, sentence);
}

static void refer(struct check *check, uint16_t *map, uint64_t address, const char *what)
{
	uint64_t chunk = address / CHUNK_SLOTS;
	uint16_t bit = (uint16_t)(1u << address % CHUNK_SLOTS);

	if (chunk >= check->native->chunks ||
	    space_chunk_is_data(check->native, chunk) != (map == check->mapped)) {
		finding(check, "%s refers to slot %llu, which is not of its kind", what,
			(unsigned long long)address);
		return;
	}
	if (map[chunk] & bit)
		finding(check, "slot %llu is referred to twice, the second time by %s",
			(unsigned long long)address, what);
	map[chunk] |= bit;
}

/* Does the node belong to the snapshot that the volume stands on? */
static bool is_shared(const struct check *check, const struct node_pointer *pointer, unsigned level,
		      uint64_t index)
{
	return check->volume &&
	       pointer->generation <= nvolume_limit(check->volume, (index + 1) << 6 * level);
}

/* A snapshot's map is walked as far as it is its own; a volume's all of it, for its counts. Of what
 * is being deleted only the part that is left. */
static bool is_passed_over(const struct check *check, const struct node_pointer *pointer,
			   unsigned level, uint64_t index)
{
	const struct nvolume *volume = check->volume;

	if (!volume)
		return false;
	if (volume->state == VOLUME_STATE_DELETING && (index + 1) << 6 * level <= volume->reaped)
		return true;
	return volume->state != VOLUME_STATE_LIVE && is_shared(check, pointer, level, index);
}

/* Both copies are read and compared with the pointer; the good one is in check->buffer. */
static int read_node(struct check *check, const struct node_pointer *pointer,
		     const struct node_header *expected, const char *what)
{
	bool shared = is_shared(check, pointer, expected->level, expected->index);
	unsigned good = 2;
	bool both = true;

	for (unsigned copy = 0; copy < 2; copy++) {
		uint8_t *buffer = check->buffer + copy * NODE_LENGTH_MAX;

		if (node_read_copy(check->native, pointer, copy, expected, buffer) == 0)
			good = copy;
		else if (!away_has_node(check->native, pointer->address[copy]))
			both = false; /* else it is known, and made good when the device is back */
		for (unsigned i = 0; i < blocks_of(pointer->length) && !shared; i++)
			refer(check, check->meta, pointer->address[copy] + i, what);
	}
	check->report->nodes++;
	if (!both || good == 2)
		finding(check, "%s node %llu of level %u (owner %llu): %s", what,
			(unsigned long long)expected->index, expected->level,
			(unsigned long long)expected->owner,
			good == 2 ? "both copies are bad" : "one copy is bad");
	if (good == 1)
		memcpy(check->buffer, check->buffer + NODE_LENGTH_MAX, NODE_LENGTH_MAX);
	return good == 2 ? -EBADMSG : 0;
}

typedef int (*leaf_visit)(struct check *check, uint64_t index, const uint8_t *payload,
			  size_t length);

static void walk(struct check *check, const struct node_pointer *pointer, enum node_kind kind,
		 uint64_t owner, unsigned level, uint64_t index, const char *what, leaf_visit visit)
{
	struct node_header expected = {.kind = (uint8_t)kind,
				       .level = (uint8_t)level,
				       .owner = owner,
				       .index = index,
				       .pool_hash = check->native->hash};
	uint8_t *payload;
	size_t length = pointer->length - NODE_HEADER;

	if (!pointer->generation || is_passed_over(check, pointer, level, index) ||
	    read_node(check, pointer, &expected, what) < 0)
		return;
	payload = heap_alloc(length ? length : 1);
	if (!payload) {
		finding(check, "out of memory");
		return;
	}
	memcpy(payload, check->buffer + NODE_HEADER, length);
	if (level == 0 && visit(check, index, payload, length) < 0)
		finding(check, "%s leaf %llu is malformed", what, (unsigned long long)index);
	for (unsigned i = 0; level && length >= 32 * NODE_FANOUT && i < NODE_FANOUT; i++) {
		struct node_pointer child;

		if (node_pointer_decode(payload + 32 * i, &child) < 0)
			finding(check, "%s node %llu has a malformed pointer", what,
				(unsigned long long)index);
		else
			walk(check, &child, kind, owner, level - 1, index * NODE_FANOUT + i, what,
			     visit);
	}
	heap_free(payload);
}

static int visit_space(struct check *check, uint64_t index, const uint8_t *payload, size_t length)
{
	if (length != 2 * SPACE_CHUNKS)
		return -EBADMSG;
	for (uint64_t i = 0; i < SPACE_CHUNKS; i++) {
		uint64_t chunk = index * SPACE_CHUNKS + i;
		uint16_t used = get16(payload + 2 * i);

		if (!used)
			continue;
		if (!space_chunk_is_data(check->native, chunk))
			finding(check, "chunk %llu is in use as data and is none",
				(unsigned long long)chunk);
		else
			check->space[chunk] = used;
	}
	return 0;
}

static int visit_meta(struct check *check, uint64_t index, const uint8_t *payload, size_t length)
{
	const struct ag *ag = &check->native->ag[index];

	if (length != 2 * SPACE_CHUNKS || index >= check->native->ag_count)
		return -EBADMSG;
	for (uint64_t i = 0; i < SPACE_CHUNKS; i++) {
		uint16_t used = get16(payload + 2 * i);

		if (used && i >= ag->meta)
			finding(check, "group %llu has metadata past its share",
				(unsigned long long)index);
		else if (used)
			check->space[ag->first + i] = used;
	}
	return 0;
}

/* What was moved is in chunks that are in use for nothing else. */
static int visit_forward(struct check *check, uint64_t index, const uint8_t *payload, size_t length)
{
	if (length != 8 * FORWARD_CHUNKS)
		return -EBADMSG;
	for (uint64_t i = 0; i < FORWARD_CHUNKS; i++) {
		uint64_t target = get64(payload + 8 * i);

		for (unsigned slot = 0; target && slot < CHUNK_SLOTS; slot++)
			refer(check, check->mapped, target * CHUNK_SLOTS + slot, "a moved chunk");
		if (target && index * FORWARD_CHUNKS + i >= check->native->chunks)
			finding(check, "a chunk that does not exist has moved to %llu",
				(unsigned long long)target);
	}
	return 0;
}

/* The second copies, likewise. */
static int visit_mirror(struct check *check, uint64_t index, const uint8_t *payload, size_t length)
{
	if (length != 8 * FORWARD_CHUNKS)
		return -EBADMSG;
	for (uint64_t i = 0; i < FORWARD_CHUNKS; i++) {
		uint64_t chunk = index * FORWARD_CHUNKS + i, second = get64(payload + 8 * i);

		if (second && !mirror_plausible(check->native, chunk, second))
			finding(check,
				"chunk %llu has its second copy where it can not be, in %llu",
				(unsigned long long)chunk, (unsigned long long)second);
		for (unsigned slot = 0; second && slot < CHUNK_SLOTS; slot++)
			refer(check, check->mapped, second * CHUNK_SLOTS + slot, "a second copy");
	}
	return 0;
}

static int visit_nothing(struct check *check, uint64_t index, const uint8_t *payload, size_t length)
{
	(void)check;
	(void)index;
	(void)payload;
	(void)length;
	return 0;
}

/* ---- data ---- */
static uint32_t *sums_of(struct check *check, uint64_t chunk)
{
	struct fiber_waiter wait;
	struct node *node;
	int result;

	if (check->sums_index == chunk / CSUM_CHUNKS)
		return check->sums + chunk % CSUM_CHUNKS * CHUNK_SLOTS;
	do {
		fiber_waiter_init(&wait, check->lane);
		native_lock(check->native);
		result = csum_find(check->native, chunk, false, &wait.waiter, &node);
		if (result == 0 && node)
			memcpy(check->sums, node->body->csum.crc, sizeof(node->body->csum.crc));
		native_unlock(check->lane);
		if (result == -EINPROGRESS && fiber_waiter_wait(&wait) < 0)
			return NULL;
	} while (result == -EINPROGRESS);
	if (result < 0 || !node)
		return NULL;
	check->sums_index = chunk / CSUM_CHUNKS;
	return check->sums + chunk % CSUM_CHUNKS * CHUNK_SLOTS;
}

struct sum {
	uint32_t value;
	bool known;
};

static bool fits(const struct copies *copies, unsigned copy, const struct sum *sum)
{
	return sum->known && copies->crc[copy] == sum->value;
}

static bool all_fits(const struct check *check, const struct copies *copies, const struct sum *sum)
{
	return copies->usable && (!check->mirror || copies->count == 2) &&
	       (!(copies->usable & 1) || fits(copies, 0, sum)) &&
	       (!(copies->usable & 2) || fits(copies, 1, sum));
}

static void tell(struct check *check, const struct copies *copies, const struct sum *sum,
		 uint64_t logical)
{
	unsigned long long volume = check->volume_id, byte = logical * VOLUME_SLOT;

	if (!copies->usable)
		finding(check, "volume %llu, byte %llu: the device it is on is away", volume, byte);
	else if (!sum->known || (copies->usable & 1 && !fits(copies, 0, sum)))
		finding(check, "volume %llu, byte %llu: the data does not fit its checksum", volume,
			byte);
	if (check->mirror && copies->count < 2)
		finding(check, "volume %llu, byte %llu: there is no second copy", volume, byte);
	if (copies->usable & 2 && sum->known && !fits(copies, 1, sum))
		finding(check, "volume %llu, byte %llu: the second copy does not fit its checksum",
			volume, byte);
}

/* A slot of the volume as it is now, while guests go on. */
struct look {
	bool moved; /* it is elsewhere by now, or nowhere */
	bool busy;  /* a write to it is under way: the checksum is the new data's already */
	struct sum sum;
};

/* Under the lock. -EINPROGRESS: wait, and look again. */
static int look(struct check *check, uint64_t address, uint64_t logical, struct waiter *waiter,
		struct look *ret_look)
{
	struct nvolume *volume = nvolume_by_id(check->native, check->volume_id);
	uint64_t chunk = logical / CHUNK_SLOTS, now = 0;
	unsigned slot = logical % CHUNK_SLOTS;
	struct node *node = NULL;
	int result;

	*ret_look = (struct look){.moved = true};
	if (!volume)
		return 0;
	result = tree_find(&volume->map, chunk / MAP_CHUNKS, false, waiter, &node);
	if (result < 0 || !node ||
	    !map_slot(&node->body->map.entry[chunk % MAP_CHUNKS], slot, &now) || now != address)
		return result;
	ret_look->moved = false;
	ret_look->busy = io_changes(volume, chunk, (uint16_t)(1u << slot));
	result = csum_find(check->native, address / CHUNK_SLOTS, false, waiter, &node);
	ret_look->sum.known = result == 0 && node;
	if (ret_look->sum.known)
		ret_look->sum.value = csum_at(node, address / CHUNK_SLOTS)[address % CHUNK_SLOTS];
	return result;
}

/* What can not be read of the trees is told by the walk over them. */
static void look_waiting(struct check *check, uint64_t address, uint64_t logical,
			 struct look *ret_look)
{
	struct fiber_waiter wait;
	int result;

	do {
		fiber_waiter_init(&wait, check->lane);
		native_lock(check->native);
		nodes_evict(check->native);
		result = look(check, address, logical, &wait.waiter, ret_look);
		native_unlock(check->lane);
		if (result == -EINPROGRESS && fiber_waiter_wait(&wait) < 0)
			return;
	} while (result == -EINPROGRESS);
}

/* The slot as it is while nobody changes it: what it holds, and what it must sum to. False: that
 * is of no account, for it has been written elsewhere since; or it is written all the time. */
static bool settle(struct check *check, uint64_t address, uint64_t logical, struct copies *copies,
		   struct sum *ret_sum)
{
	for (unsigned i = 0; i < LOOKS; i++) {
		struct look before, after;

		look_waiting(check, address, logical, &before);
		if (before.moved)
			return false;
		mirror_read(check->native, address, copies);
		look_waiting(check, address, logical, &after);
		*ret_sum = after.sum;
		if (!before.busy && !after.busy && !after.moved &&
		    before.sum.known == after.sum.known && before.sum.value == after.sum.value)
			return true;
		fiber_sleep(LOOK_NS);
	}
	return false;
}

static void check_slot(struct check *check, uint64_t address, uint64_t logical)
{
	const uint32_t *sums = sums_of(check, address / CHUNK_SLOTS);
	bool suspect = hot_suspect(check->native, address / CHUNK_SLOTS);
	struct copies copies = {.data = check->slot};
	struct sum sum = {.known = sums != NULL};

	check->report->slots++;
	if (suspect && check->checksum == VOLUME_CHECKSUM_STANDARD)
		return; /* may have been in flight at a crash: what is there counts, a read says so
			 */
	if (sums)
		sum.value = sums[address % CHUNK_SLOTS];
	mirror_read(check->native, address, &copies);
	if (!all_fits(check, &copies, &sum) && settle(check, address, logical, &copies, &sum))
		tell(check, &copies, &sum, logical);
}

struct entry_context {
	struct check *check;
	uint64_t leaf;
};

static int visit_entry(void *context, unsigned index, const struct map_entry *entry)
{
	struct entry_context *mine = context;
	struct check *check = mine->check;
	uint64_t chunk = mine->leaf * MAP_CHUNKS + index;
	uint64_t limit = nvolume_limit(check->volume, mine->leaf + 1);

	for (unsigned slot = 0; slot < CHUNK_SLOTS; slot++) {
		uint64_t address = 0;
		bool mapped = map_slot(entry, slot, &address);

		if (map_birth(entry, slot) <= limit) {
			check->volume_slots += mapped;
			if (mapped && address / CHUNK_SLOTS < check->native->chunks)
				check->borrowed[address / CHUNK_SLOTS] |=
				    (uint16_t)(1u << address % CHUNK_SLOTS);
			continue;
		}
		check->owned_slots += mapped;
		if (!entry->slots)
			refer(check, check->mapped, (uint64_t)entry->chunk * CHUNK_SLOTS + slot,
			      "a map");
		else if (mapped)
			refer(check, check->mapped, address, "a map");
		if (!mapped)
			continue;
		check->volume_slots++;
		if (check->data && check->checksum != VOLUME_CHECKSUM_OFF &&
		    address / CHUNK_SLOTS < check->native->chunks)
			check_slot(check, address, chunk * CHUNK_SLOTS + slot);
	}
	return 0;
}

static int visit_map(struct check *check, uint64_t index, const uint8_t *payload, size_t length)
{
	struct entry_context context = {.check = check, .leaf = index};

	return map_decode(payload, length, visit_entry, &context);
}

/* While a parent hands over to it, a volume's count of what it owns is behind. */
static void check_counts(struct check *check, const struct volume_record *record)
{
	const struct nvolume *volume = check->volume;

	if (volume->state == VOLUME_STATE_LIVE && check->volume_slots != record->used_slots)
		finding(check, "volume %s counts %llu slots and maps %llu", record->name,
			(unsigned long long)record->used_slots,
			(unsigned long long)check->volume_slots);
	if (volume->state != VOLUME_STATE_DELETING && volume->parent && !volume->parent->reaped &&
	    check->owned_slots != record->owned_slots)
		finding(check, "volume %s counts %llu slots of its own and has %llu", record->name,
			(unsigned long long)record->owned_slots,
			(unsigned long long)check->owned_slots);
}

static int visit_volumes(struct check *check, uint64_t index, const uint8_t *payload, size_t length)
{
	if (length != VOLUMES_PER_LEAF * VOLUME_RECORD)
		return -EBADMSG;
	for (unsigned i = 0; i < VOLUMES_PER_LEAF; i++) {
		struct volume_record record;

		if (volume_record_decode(payload + i * VOLUME_RECORD, &record) < 0)
			return -EBADMSG;
		if (!record.id)
			continue;
		if (record.id != index * VOLUMES_PER_LEAF + i + 1)
			return -EBADMSG;
		check->volume = nvolume_by_id(check->native, record.id);
		if (!check->volume) {
			finding(check, "volume %s is on disk only", record.name);
			continue;
		}
		check->volume_slots = check->owned_slots = 0;
		check->volume_id = record.id;
		check->checksum = (enum volume_checksum)record.checksum;
		check->mirror = record.mirror;
		walk(check, &record.root, NODE_MAP, check->volume->map.owner, record.levels, 0,
		     "map", visit_map);
		check_counts(check, &record);
		check->volume = NULL;
	}
	return 0;
}

static void compare(struct check *check)
{
	for (uint64_t chunk = 0; chunk < check->native->chunks; chunk++) {
		uint16_t refers = check->meta[chunk] | check->mapped[chunk];
		uint16_t lost = refers & (uint16_t)~check->space[chunk];
		uint16_t leaked = check->space[chunk] & (uint16_t)~refers;
		uint16_t orphan = check->borrowed[chunk] & (uint16_t)~check->mapped[chunk];

		if (orphan)
			finding(check,
				"chunk %llu: slots %04x are shared with a snapshot that does not "
				"have them",
				(unsigned long long)chunk, orphan);

		if (lost)
			finding(check, "chunk %llu: slots %04x are in use and count as free",
				(unsigned long long)chunk, lost);
		check->report->leaked_slots += (uint64_t)__builtin_popcount(leaked);
		if (leaked)
			finding(check,
				"chunk %llu: slots %04x count as used and nothing refers to "
				"them",
				(unsigned long long)chunk, leaked);
	}
}

static void check_trees(struct check *check)
{
	static const struct {
		enum node_kind kind;
		const char *what;
		leaf_visit visit;
	} trees[ROOT_COUNT] = {
	    [ROOT_VOLUMES] = {NODE_VOLUMES, "volume table", visit_volumes},
	    [ROOT_SPACE] = {NODE_SPACE, "space", visit_space},
	    [ROOT_META] = {NODE_META, "metadata space", visit_meta},
	    [ROOT_CSUM] = {NODE_CSUM, "checksum", visit_nothing},
	    [ROOT_HOT] = {NODE_HOT, "hot", visit_nothing},
	    [ROOT_FORWARD] = {NODE_FORWARD, "forward", visit_forward},
	    [ROOT_MIRROR] = {NODE_MIRROR, "mirror", visit_mirror},
	};
	struct superblock sb = check->native->sb;

	for (unsigned i = 0; i < ROOT_COUNT; i++)
		walk(check, &sb.root[i].pointer, trees[i].kind, 0, sb.root[i].levels, 0,
		     trees[i].what, trees[i].visit);
	compare(check);
}

int check_run(struct native *native, struct lane *lane, bool data, struct pool_check_report *report)
{
	struct check check = {.native = native,
			      .lane = lane,
			      .report = report,
			      .data = data,
			      .sums_index = UINT64_MAX,
			      .meta = heap_zalloc_array(native->chunks, 2),
			      .mapped = heap_zalloc_array(native->chunks, 2),
			      .borrowed = heap_zalloc_array(native->chunks, 2),
			      .space = heap_zalloc_array(native->chunks, 2),
			      .buffer = heap_aligned(BLOCK, 2 * NODE_LENGTH_MAX),
			      .slot = heap_aligned(BLOCK, 2 * VOLUME_SLOT),
			      .sums = heap_zalloc_array(CSUM_CHUNKS * CHUNK_SLOTS, 4)};
	int result = -ENOMEM;

	report->nodes = report->slots = report->errors = report->leaked_slots = 0;
	if (check.meta && check.mapped && check.borrowed && check.space && check.buffer &&
	    check.slot && check.sums)
		result = native->read_only ? 0 : checkpoint_run(native, lane, false);
	if (result == 0)
		check_trees(&check);
	heap_free(check.meta);
	heap_free(check.mapped);
	heap_free(check.borrowed);
	heap_free(check.space);
	heap_free(check.buffer);
	heap_free(check.slot);
	heap_free(check.sums);
	return result;
}
