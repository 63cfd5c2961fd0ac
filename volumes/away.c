/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/crc32c.h"
#include "volumes/alone.h"
#include "volumes/guard.h"
#include "volumes/keeper.h"

/* A pool with mirrored volumes goes on without one of its devices, and makes it good again when it
 * is back. One device at a time; the first, which has the journal, and the one with the journal's
 * second copy once that is complete (journal.c).
 *
 *                a write or flush of it fails,
 *                or an open without it
 *   whole ------------------------------------> away (AWAY, STALE)
 *     ^  ^                                        |  ^
 *     |  +-- all pairs and nodes are looked at,   |  | it fails again
 *     |      a flush, a root ----- stale (STALE) <+--+
 *     |                             back, or there at the next open
 *
 * A1 While it is away nothing is sent to it. Its copies of mirrored data do not count from then on,
 *    until all of them have been held against the others: they are neither read nor taken for what
 *    a crash has left. So there is always one device at most whose copies do not count, and every
 *    pair has one that does.
 * A2 That it is away is a record in the journal, durable before a write or a flush that it has no
 *    part in is answered. The next root says so, too, and one that is being written, of which it
 * has not all nodes. Every change of that state is a record, so that replay from either root ends
 *    with the last one.
 * A3 Data with one copy there can neither be read nor written meanwhile (-EIO). What was written
 *    and not flushed when it went may be lost with its cache: the next flush of that volume fails.
 * A4 Space is taken there for second copies only: what they are to hold is written when it is back.
 *    Copies of nodes have their place there as ever; what they are shows by itself (node.c).
 * A5 A pair is made good with no write to it under way (io_write.c, busy), the good copy over the
 *    other one where they differ. Writes since go to both. The flush behind the last is of the
 *    device, too, before its copies count again.
 * A6 The journal on a device that is back is written from then on, before the root that says that
 *    it is back; so from the tail of that root, and of each later one, on it is complete. While it
 *    is stale the pool does not go on without the other one. By the first root that calls it whole
 *    both roots are on it, so that it may be opened alone.
 * A7 Both roots are on it before it counts as whole, and another device may go: what has labels of
 *    one root only can not tell whether the other was the newer one (rewind.c).
 *
 * A copy that is good by its checksum is never overwritten by one that is not. */

#define STEP_CHUNKS 16u
#define LOOKS_MAX   20000u /* for writes to end: then it is tried again later */
#define REST_NS     1000000ull
#define DRAIN_NS    (20 * 1000000000ull) /* for requests on a device that is to be opened anew */

struct resilver {
	struct native *native;
	unsigned device;
	unsigned row;   /* of the pair that is next .. */
	uint64_t chunk; /* .. and where to look for it */
	uint64_t done, total, copied,
	    skipped; /* chunks; slots that were copied; that could not be */
	uint8_t *buffer;
	enum { PAIRS, NODES, NODES_RUN, NODES_DONE, NODES_FAILED } phase;
	unsigned aways; /* native->aways when it began: has it gone since, all begins anew */
	bool halt;
};

/* ---- state ---- */
bool away_has(const struct native *native, uint64_t chunk)
{
	const struct pv *pv = pv_of(native, pv_resolve(native, chunk));

	return pv && !pv_is_here(pv);
}

bool away_has_node(const struct native *native, uint64_t address)
{
	const struct pv *pv = pv_of(native, pv_resolve(native, address / CHUNK_SLOTS));

	return pv && (!pv_is_here(pv) || pv_is_stale(pv));
}

const struct pv *away_any(const struct native *native)
{
	unsigned rows = pv_rows(native);

	for (unsigned i = 0; i < rows; i++)
		if (native->pv[i].device == &native->pv[i] && pv_is_stale(&native->pv[i]))
			return &native->pv[i];
	return NULL;
}

const char *away_path(const struct pv *pv)
{
	return pv->disk ? pv->disk->path : pv->path ? pv->path : "(missing)";
}

int away_refuse(struct native *native, struct err *err)
{
	const struct pv *pv = away_any(native);

	if (!pv)
		return 0;
	return err_set(err, -EBUSY, "device %s of pool %s is %s", away_path(pv), native->sb.name,
		       pv_is_here(pv) ? "being made good" : "away");
}

void away_set(struct native *native, unsigned row, uint8_t flags)
{
	struct pv *pv = &native->pv[row];

	if (!pv->disk)
		flags |= PV_AWAY | PV_STALE;
	else if (flags & PV_AWAY && !native->opened)
		flags &= (uint8_t)~PV_AWAY; /* it is back */
	flags |= native->sb.pv[row].flags & PV_PAUSED;
	native->sb.pv[row].flags = pv->format.flags = flags;
	if (flags & PV_STALE && native->sb.version < FORMAT_AWAY)
		native->sb.version = FORMAT_AWAY;
	if (flags & PV_STALE && !(flags & PV_AWAY))
		pv->since = native->sb.generation + 2;
	__atomic_store_n(&pv->stale, (flags & PV_STALE) != 0, __ATOMIC_SEQ_CST);
	__atomic_store_n(&pv->away, (flags & PV_AWAY) != 0, __ATOMIC_SEQ_CST);
}

int away_record(struct native *native, const struct record *record)
{
	uint64_t row = record->where;
	const struct pv *pv = &native->pv[row < native->pv_count ? row : 0];

	if ((row == 0 && !native->sb.journal_row) || row >= native->pv_count || pv->device != pv ||
	    record->chunk & ~(uint64_t)(PV_AWAY | PV_STALE))
		return -EUCLEAN;
	if (pv->format.state == PV_STATE_REMOVED)
		return 0;
	if (record->chunk & PV_AWAY && native->doubted & 1ull << row &&
	    ORDER(away_doubts_an_older_root))
		return -ESTALE; /* it had no part in a newer root, which is lost if there was one */
	if (!pv->disk && !(record->chunk & PV_AWAY)) { /* it was back */
		if (!native->newly_missing && !native->consent)
			return -ENOENT;
		native->newly_missing = (unsigned)row + 1;
	}
	away_set(native, (unsigned)row, (uint8_t)record->chunk);
	return 0;
}

/* Under the lock: the state changes, for the next life, too. */
static int change(struct native *native, unsigned row, uint8_t flags)
{
	struct record record = {.type = RECORD_DEVICE, .where = row, .chunk = flags};
	int result = journal_reserve_now(native);

	if (result < 0)
		return result;
	if (ORDER(away_is_recorded) || !(flags & PV_AWAY))
		native->away_lsn = journal_append(native, &record, 1);
	away_set(native, row, flags);
	return 0;
}

/* ---- a device goes ---- */
bool away_may_go(const struct native *native, const struct pv *device)
{
	const struct pv *other = away_any(native);

	if (!ORDER(stale_needs_the_other))
		other = NULL;
	return native->opened && !native->read_only && mirror_any(native) &&
	       evacuate_spares(native, device) &&
	       (!device->pinned || !ORDER(pinned_is_not_spared)) && !journal_twin_due(native) &&
	       journal_spares(native, device) && (!other || other == device);
}

/* What volumes with one copy have in its cache may be lost. */
static void note_losses(struct native *native, unsigned row)
{
	list_for_each (it, &native->volumes) {
		struct nvolume *volume = list_entry(it, struct nvolume, link);

		if (__atomic_load_n(&volume->plain_rows, __ATOMIC_SEQ_CST) & 1ull << row)
			__atomic_store_n(&volume->lost, true, __ATOMIC_SEQ_CST);
	}
}

static int go(struct native *native, struct pv *device)
{
	unsigned row = pv_device_row(native, device);
	int result = change(native, row, PV_AWAY | PV_STALE);

	if (result < 0)
		return result;
	native->away_pending = true;
	native->journal.commit_due = true;
	__atomic_add_fetch(&native->aways, 1, __ATOMIC_SEQ_CST);
	checkpoint_want(native);
	return 0;
}

static int has_failed(struct native *native, struct pv *device)
{
	int result = go(native, device);

	if (result < 0) {
		native_fail(native, "%s has failed, and that can not be recorded (error %d)",
			    away_path(device), -result);
		return result;
	}
	note_losses(native, pv_device_row(native, device));
	log_error("pool %s goes on without %s, which has failed: mirrored volumes have one copy, "
		  "others can not be read or written there",
		  native->sb.name, away_path(device));
	return 0;
}

int away_send(struct native *native, struct pv *device)
{
	return away_may_go(native, device) ? go(native, device) : -EBUSY;
}

int away_lost(struct lane *lane, struct pv *pv, int result)
{
	struct native *native = lane->native;
	struct pv *device = pv->device;

	native_lock(native);
	if (!pv_is_here(device))
		result = 0;
	else if (result == -EIO && away_may_go(native, device))
		result = has_failed(native, device);
	native_unlock(lane);
	return result;
}

int away_plain_written(struct nvolume *volume, const struct pv *pv)
{
	uint64_t bit = 1ull << pv_device_row(volume->native, pv);

	/* Without a second copy of the journal the first never goes. Before it may, two checkpoints
	 * flush what was written until now (journal.c, J2). */
	if (bit == 1 && !__atomic_load_n(&volume->native->journal.twin, __ATOMIC_ACQUIRE))
		return 0;
	if (!(__atomic_load_n(&volume->plain_rows, __ATOMIC_SEQ_CST) & bit)) {
		__atomic_or_fetch(&volume->plain_ever, bit, __ATOMIC_SEQ_CST);
		__atomic_or_fetch(&volume->plain_rows, bit, __ATOMIC_SEQ_CST);
	}
	return pv_is_here(pv) ? 0 : -EIO;
}

uint64_t away_flush_begin(struct nvolume *volume, bool *ret_lost)
{
	uint64_t rows = 0;

	if (__atomic_load_n(&volume->plain_rows, __ATOMIC_SEQ_CST))
		rows = __atomic_exchange_n(&volume->plain_rows, 0, __ATOMIC_SEQ_CST);
	*ret_lost = __atomic_load_n(&volume->lost, __ATOMIC_SEQ_CST) &&
		    __atomic_exchange_n(&volume->lost, false, __ATOMIC_SEQ_CST);
	return rows;
}

bool away_flush_failed(struct nvolume *volume, uint64_t rows, unsigned aways)
{
	const struct native *native = volume->native;
	const struct pv *pv;

	if (__atomic_load_n(&native->aways, __ATOMIC_SEQ_CST) == aways)
		return false;
	pv = away_any(native);
	/* what another flush has taken, which is under way, is to be durable with this one, too */
	rows |= __atomic_load_n(&volume->plain_ever, __ATOMIC_SEQ_CST);
	return pv && rows & 1ull << pv_device_row(native, pv);
}

/* ---- it is back ---- */
/* The newest label of row @row on @disk. */
static int read_label(const struct native *native, unsigned row, struct disk *disk,
		      struct superblock *ret_sb, struct err *err)
{
	uint8_t *block = heap_aligned(BLOCK, BLOCK);
	const struct format_pv *format = &native->sb.pv[row];
	bool found = false;

	if (!block)
		return -ENOMEM;
	for (unsigned copy = 0; copy < 4 && disk->size >= format->size; copy++) {
		struct superblock sb;

		if (disk_io(disk, DISK_READ, 0, superblock_position(format->size, copy), block,
			    BLOCK) < 0 ||
		    superblock_decode(block, &sb, NULL) < 0 || sb.pv_index != row ||
		    memcmp(&sb.pool_uuid, &native->sb.pool_uuid, sizeof(sb.pool_uuid)) != 0 ||
		    memcmp(&sb.pv[row].uuid, &format->uuid, sizeof(format->uuid)) != 0 ||
		    (found && sb.generation <= ret_sb->generation))
			continue;
		*ret_sb = sb;
		found = true;
	}
	heap_free(block);
	return found ? 0
		     : err_set(err, -EPROTO, "%s is not the device that pool %s goes on without",
			       disk->path, native->sb.name);
}

/* Has it missed something, and nothing else? */
static int check_label(struct native *native, struct lane *lane, unsigned row, struct disk *disk,
		       struct err *err)
{
	struct superblock *sb = heap_alloc(sizeof(*sb));
	uint64_t alone = 0;
	int result = sb ? read_label(native, row, disk, sb, err) : -ENOMEM;

	if (result == 0)
		result = alone_rows(disk, sb, native, lane, &alone);
	if (result == -EIO && !native->read_only)
		err_set(err, result, "the journal on %s can not be read", disk->path);
	if (result == 0 && (alone || !superblock_succeeds(&native->sb, sb)))
		result = err_set(
		    err, -EUCLEAN,
		    "pool %s has also gone on from %s, without the devices that are here: what was "
		    "written to it since would be lost. To give it up, have it replaced by itself "
		    "(pool replace --force)",
		    native->sb.name, disk->path);
	heap_free(sb);
	return result;
}

/* Rows of the device @row get @disk, or none. */
static void give_disk(struct native *native, unsigned row, struct disk *disk)
{
	for (unsigned i = 0; i < native->pv_count; i++) {
		if (native->pv[i].device != &native->pv[row])
			continue;
		if (disk)
			pv_attach(native, i, disk);
		else
			native->pv[i].disk = NULL;
	}
}

unsigned away_open_flags(const struct pv *device, const char *path)
{
	return device->disk && strcmp(device->disk->path, path) == 0 ? DISK_READ_ONLY
								     : DISK_EXCLUSIVE;
}

int away_let_go(struct native *native, struct pv *device, struct err *err)
{
	uint64_t since = loop_now(native->home);
	char *path;

	while (__atomic_load_n(&device->in_flight, __ATOMIC_ACQUIRE)) {
		if (loop_now(native->home) - since > DRAIN_NS)
			return err_set(err, -EBUSY, "requests are still under way on %s",
				       away_path(device));
		fiber_sleep(POLL_NS);
	}
	if (!device->disk)
		return 0;
	path = heap_strdup(device->disk->path);
	if (!path)
		return -ENOMEM;
	heap_free(device->path);
	device->path = path;
	disk_close(device->disk);
	give_disk(native, pv_device_row(native, device), NULL);
	return 0;
}

int away_take(struct native *native, struct lane *lane, struct pv *device, struct disk *disk)
{
	int result;

	native_lock(native);
	give_disk(native, pv_device_row(native, device), disk);
	result = change(native, pv_device_row(native, device), PV_STALE);
	native_unlock(lane);
	return result < 0 ? result : checkpoint_run(native, lane, false);
}

int away_online(struct native_call *mine, struct lane *lane)
{
	struct native *native = mine->native;
	struct err *err = &mine->call->err;
	struct pv *device = (struct pv *)away_any(native);
	const char *path = mine->devices ? mine->devices[0].path : NULL;
	bool dry = mine->call->dry;
	struct disk *disk = NULL;
	int result;

	if (native->read_only)
		return -EROFS;
	if (!device || pv_is_here(device))
		return err_set(err, -EINVAL, "no device of pool %s is away", native->sb.name);
	result = dry ? 0 : evacuate_settle(native, lane);
	if (result == 0 && !dry)
		result = away_let_go(native, device, err);
	if (result < 0)
		return result;
	if (!path && !device->path && !device->disk)
		return err_set(err, -EINVAL, "where the device of pool %s is has to be said",
			       native->sb.name);
	path = path ? path : device->disk ? device->disk->path : device->path;
	result = disk_open(native->world, path, away_open_flags(device, path), 0, &disk, err);
	if (result == 0)
		result = check_label(native, lane, pv_device_row(native, device), disk, err);
	if (result < 0 || dry) {
		disk_close(disk);
		return result;
	}
	log_notice("pool %s: %s is back and is being made good", native->sb.name, disk->path);
	return away_take(native, lane, device, disk);
}

void native_online(struct pool *pool, const char *path, struct pool_call *call)
{
	struct native_call *mine = call_new(native_of(pool), call, CALL_ONLINE);

	if (!mine)
		return;
	mine->devices = path ? heap_zalloc(sizeof(*mine->devices)) : NULL;
	if (path && !mine->devices)
		call_refuse(mine, err_set(&call->err, -ENOMEM, "out of memory"));
	else if (path && (size_t)snprintf(mine->devices->path, sizeof(mine->devices->path), "%s",
					  path) >= sizeof(mine->devices->path))
		call_refuse(mine,
			    err_set(&call->err, -ENAMETOOLONG, "the path of a device is too long"));
	else
		call_queue(mine);
}

/* ---- making it good: pairs ---- */
bool resilver_due(const struct native *native)
{
	const struct pv *pv = away_any(native);

	return pv && pv_is_here(pv) && native->opened && !native->read_only && !native->closing;
}

unsigned away_copy_on(const struct native *native, uint64_t chunk, const struct pv *device)
{
	const struct pv *first = pv_of(native, pv_resolve(native, chunk));
	const struct pv *second = pv_of(native, pv_resolve(native, mirror_of(native, chunk)));

	return first && first->device == device ? 0 : second && second->device == device ? 1 : 2;
}

/* The next pair of the device from (*row, *chunk) on; CHUNK_NONE. The leaves stay in memory. */
static uint64_t next_of(const struct native *native, const struct pv *device, unsigned *row,
			uint64_t *chunk)
{
	for (; *row < native->pv_count; ++*row, *chunk = 0) {
		const struct pv *pv = &native->pv[*row];
		uint64_t end = pv->format.first_chunk + pv->format.chunks;
		uint64_t at = *chunk < pv->format.first_chunk ? pv->format.first_chunk : *chunk;

		for (at = mirror_next(pv, at); at < end; at = mirror_next(pv, at + 1))
			if (away_copy_on(native, at, device) < 2) {
				*chunk = at + 1;
				return at;
			}
	}
	return CHUNK_NONE;
}

static struct resilver *resilver_new(struct native *native, const struct pv *device)
{
	struct resilver *resilver = heap_zalloc(sizeof(*resilver));
	unsigned row = 0;
	uint64_t chunk = 0;

	if (!resilver)
		return NULL;
	resilver->native = native;
	resilver->device = pv_device_row(native, device);
	resilver->aways = native->aways;
	resilver->buffer = heap_aligned(BLOCK, 2 * CHUNK);
	if (!resilver->buffer) {
		heap_free(resilver);
		return NULL;
	}
	while (next_of(native, device, &row, &chunk) != CHUNK_NONE)
		resilver->total++;
	return resilver;
}

void resilver_free(struct native *native)
{
	if (native->resilver)
		heap_free(native->resilver->buffer);
	heap_free(native->resilver);
	native->resilver = NULL;
}

/* All slots of one copy; a bit for each of @wanted that could be read. */
static uint16_t read_copy(const struct pv_place *place, uint8_t *data, uint16_t wanted)
{
	uint16_t good = 0;

	if (pv_io(place->pv, DISK_READ, 0, place->offset, data, CHUNK) == 0)
		return wanted;
	for (unsigned slot = 0; slot < CHUNK_SLOTS; slot++) {
		uint64_t at = (uint64_t)slot * VOLUME_SLOT;

		if (wanted & 1u << slot &&
		    pv_io(place->pv, DISK_READ, 0, place->offset + at, data + at, VOLUME_SLOT) == 0)
			good |= (uint16_t)(1u << slot);
	}
	return good;
}

/* The slots of the stale copy that are to become what the other one is. */
static uint16_t differing(struct resilver *resilver, uint64_t chunk, const uint32_t *expected,
			  uint16_t good, uint16_t stale)
{
	bool suspect = hot_suspect(resilver->native, chunk);
	uint16_t mask = 0;

	for (unsigned slot = 0; slot < CHUNK_SLOTS; slot++) {
		const uint8_t *a = resilver->buffer + (size_t)slot * VOLUME_SLOT, *b = a + CHUNK;
		uint16_t bit = (uint16_t)(1u << slot);

		if (!(good & bit) || (stale & bit && memcmp(a, b, VOLUME_SLOT) == 0))
			continue;
		if (stale & bit && !suspect && expected[slot] &&
		    csum_of(crc32c(0, a, VOLUME_SLOT)) != expected[slot] &&
		    csum_of(crc32c(0, b, VOLUME_SLOT)) == expected[slot])
			continue; /* rot in the one that counts: a read mends it from this one */
		mask |= bit;
	}
	return mask;
}

static int write_slots(struct resilver *resilver, const struct pv_place *place, uint16_t mask)
{
	int result = 0;

	for (unsigned slot = 0; slot < CHUNK_SLOTS && result == 0;) {
		unsigned count = 0;
		uint64_t at = (uint64_t)slot * VOLUME_SLOT;

		while (slot + count < CHUNK_SLOTS && mask & 1u << (slot + count))
			count++;
		if (count)
			result = pv_io(place->pv, DISK_WRITE, 0, place->offset + at,
				       resilver->buffer + at, (uint64_t)count * VOLUME_SLOT);
		if (result == 0)
			resilver->copied += count;
		slot += count ? count : 1;
	}
	return result;
}

/* With no write to the chunk under way. Its pair may have been given up meanwhile; both chunks stay
 * what they are until checkpoints that are yet to come (M3). */
static int level(struct resilver *resilver, struct lane *lane, uint64_t chunk)
{
	struct native *native = resilver->native;
	struct pv *device = &native->pv[resilver->device];
	uint64_t slot = chunk * CHUNK_SLOTS;
	uint32_t expected[CHUNK_SLOTS];
	struct pv_place place[2];
	uint16_t wanted = 0, good, stale;
	unsigned bad = away_copy_on(native, chunk, device);
	int result = 0;

	if (bad == 2 || !pv_locate(native, slot, &place[0].pv, &place[0].offset) ||
	    !mirror_place(native, slot, &place[1]))
		return 0;
	result = csum_look_up(native, lane, chunk, expected, &wanted);
	if (result == -ENOMEM || !wanted) /* checksums that are lost: what differs is copied */
		return result == -ENOMEM ? result : 0;
	good = read_copy(&place[bad ^ 1], resilver->buffer, wanted);
	stale = read_copy(&place[bad], resilver->buffer + CHUNK, wanted);
	resilver->skipped += (unsigned)__builtin_popcount(wanted & ~good);
	result =
	    write_slots(resilver, &place[bad], differing(resilver, chunk, expected, good, stale));
	return result < 0 ? away_lost(lane, device, result) : 0;
}

static int level_alone(struct resilver *resilver, struct lane *lane, uint64_t chunk)
{
	struct native *native = resilver->native;
	uint32_t *writes = &native->writes[native_bucket(pv_resolve(native, chunk))];
	int result = 0;

	native_lock(native);
	native->busy_bucket = native_bucket(pv_resolve(native, chunk));
	native->busy = true;
	native_unlock(lane);
	for (unsigned looks = 0; result == 0 && __atomic_load_n(writes, __ATOMIC_ACQUIRE);
	     looks++) {
		fiber_sleep(POLL_NS / 10);
		result = looks < LOOKS_MAX ? 0 : -EAGAIN;
	}
	if (result == 0)
		result = level(resilver, lane, chunk);
	native_lock(native);
	native->busy = false;
	waiters_wake(&native->busy_waiters, 0);
	native_unlock(lane);
	return result;
}

/* ---- nodes, and the end ---- */
static void nodes_main(void *context)
{
	struct resilver *resilver = context;
	struct native *native = resilver->native;
	int result = scrub_nodes(native, lane_get(native), &resilver->halt);

	resilver->phase = result == 0 ? NODES_DONE : NODES_FAILED;
	native_lock(native);
	keeper_kick(native);
	pthread_mutex_unlock(&native->lock);
}

static int flush_fiber(struct native *native, struct lane *lane)
{
	struct fiber_waiter wait;

	fiber_waiter_init(&wait, lane);
	native_lock(native);
	flush_join(native, &wait.waiter);
	native_unlock(lane);
	return fiber_waiter_wait(&wait);
}

/* Its copies count again, behind a flush of what was written to them. */
static void end(struct resilver *resilver, struct lane *lane)
{
	struct native *native = resilver->native;
	struct pv *device = &native->pv[resilver->device];
	int result = 0;

	while (result == 0 && native->sb.generation < device->since && ORDER(whole_in_both_roots))
		result = checkpoint_run(native, lane, false);
	if (result == 0)
		result = flush_fiber(native, lane);

	native_lock(native);
	if (result == 0 && native->aways == resilver->aways)
		result = change(native, resilver->device, 0);
	else
		result = -EIO;
	native_unlock(lane);
	if (result < 0)
		return; /* away again, or read-only */
	log_notice("pool %s: %s is good again: %llu of %llu MiB that have a copy there differed%s",
		   native->sb.name, away_path(device),
		   (unsigned long long)((resilver->copied * VOLUME_SLOT + (1u << 20) - 1) >> 20),
		   (unsigned long long)(resilver->total * CHUNK >> 20),
		   resilver->skipped ? "; what can not be read in the other copy stays as it was"
				     : "");
	(void)checkpoint_run(native, lane, false);
}

static bool begun(struct native *native, const struct pv *device)
{
	if (!native->resilver)
		native->resilver = resilver_new(native, device);
	return native->resilver != NULL;
}

static bool nodes_some(struct resilver *resilver, struct lane *lane)
{
	struct native *native = resilver->native;

	if (resilver->phase == NODES_RUN)
		return false; /* it kicks the keeper at its end */
	if (resilver->phase == NODES) {
		resilver->phase = NODES_RUN;
		if (fiber_start(native->home, nodes_main, resilver) < 0)
			resilver->phase = NODES;
		return false;
	}
	if (resilver->phase == NODES_DONE)
		end(resilver, lane);
	resilver_free(native);
	return true;
}

bool resilver_some(struct native *native, struct lane *lane)
{
	const struct pv *device = away_any(native);
	struct resilver *resilver;

	if (!device || evacuate_settle(native, lane) < 0 || !begun(native, device))
		return false;
	resilver = native->resilver;
	if (resilver->aways != native->aways) {
		resilver->halt = true;
		if (resilver->phase == NODES_RUN)
			return false;
		resilver_free(native);
		return true;
	}
	if (resilver->phase != PAIRS)
		return nodes_some(resilver, lane);
	for (unsigned i = 0; i < STEP_CHUNKS; i++) {
		uint64_t chunk = next_of(native, device, &resilver->row, &resilver->chunk);

		if (chunk == CHUNK_NONE || !ORDER(resilver_before_whole)) {
			resilver->phase = NODES;
			return true;
		}
		if (level_alone(resilver, lane, chunk) < 0) {
			resilver->chunk = chunk; /* again, later */
			return false;
		}
		if (!pv_is_here(device))
			return false;
		resilver->done++;
	}
	if (__atomic_load_n(&native->requests, __ATOMIC_ACQUIRE))
		fiber_sleep(REST_NS);
	return true;
}

void resilver_halt(struct native *native)
{
	if (!native->resilver)
		return;
	native->resilver->halt = true;
	while (native->resilver->phase == NODES_RUN)
		fiber_sleep(POLL_NS);
	resilver_free(native);
}

/* ---- telling ---- */
void away_info(const struct native *native, unsigned row, struct pool_device_info *info)
{
	const struct pv *pv = &native->pv[row];
	const struct resilver *resilver = native->resilver;

	info->path = away_path(pv);
	if (!pv_is_stale(pv))
		return;
	info->state = pv_is_here(pv) ? DEVICE_RESILVERING : DEVICE_AWAY;
	if (!resilver || resilver->device != row)
		return;
	info->moved_bytes = resilver->done * CHUNK;
	info->left_bytes =
	    resilver->total > resilver->done ? (resilver->total - resilver->done) * CHUNK : 0;
	info->copied_bytes = resilver->copied * VOLUME_SLOT;
}
