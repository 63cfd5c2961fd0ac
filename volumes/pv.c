/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "volumes/native.h"

/* Physical volumes: where things are on them, and a fiber's way to read and write them. */

bool pv_locate(const struct native *native, uint64_t slot, struct pv **ret_pv, uint64_t *ret_offset)
{
	uint64_t chunk = slot / CHUNK_SLOTS;

	for (unsigned i = 0; i < native->pv_count; i++) {
		const struct format_pv *format = &native->pv[i].format;

		if (chunk - format->first_chunk < format->chunks) {
			*ret_pv = (struct pv *)&native->pv[i];
			*ret_offset = format->data_offset +
				      (slot - format->first_chunk * CHUNK_SLOTS) * BLOCK;
			return true;
		}
	}
	return false;
}

struct fiber_request {
	struct disk_request request;
	struct fiber *fiber;
	int result;
	bool done;
};

static void fiber_request_done(struct disk_request *request, int result)
{
	struct fiber_request *wait = container_of(request, struct fiber_request, request);

	wait->result = result;
	wait->done = true;
	fiber_wake(wait->fiber);
}

int disk_io(struct disk *disk, enum disk_op op, unsigned flags, uint64_t offset, void *buffer,
	    uint64_t length)
{
	struct fiber_request wait = {.request = {.op = op,
						 .flags = flags,
						 .offset = offset,
						 .length = length,
						 .done = fiber_request_done},
				     .fiber = fiber_current()};

	if (buffer) {
		wait.request.own_iov =
		    (struct iovec){.iov_base = buffer, .iov_len = (size_t)length};
		wait.request.iov = &wait.request.own_iov;
		wait.request.iov_count = 1;
	}
	disk_submit(fiber_loop(wait.fiber), disk, &wait.request);
	while (!wait.done)
		fiber_wait();
	return wait.result;
}

int pv_io(struct pv *pv, enum disk_op op, unsigned flags, uint64_t offset, void *buffer,
	  uint64_t length)
{
	int result = disk_io(pv->disk, op, flags, offset, buffer, length);

	if (op == DISK_WRITE)
		pv_wrote(pv);
	return result;
}

int pv_flush_all(struct native *native)
{
	int result = 0;

	for (unsigned i = 0; i < native->pv_count && result == 0; i++) {
		struct pv *pv = &native->pv[i];

		if (__atomic_exchange_n(&pv->dirty, false, __ATOMIC_ACQ_REL) && pv->needs_flush)
			result = pv_io(pv, DISK_FLUSH, 0, 0, NULL, 0);
	}
	return result;
}

#define JOURNAL_MIN (4ull << 20)
#define JOURNAL_MAX (1ull << 30)

int pv_layout(struct superblock *sb, struct err *err)
{
	uint64_t total = 0, journal, chunk = 0;

	for (unsigned i = 0; i < sb->pv_count; i++) {
		if (sb->pv[i].size < POOL_SIZE_MIN)
			return err_set(err, -EINVAL, "a pool's device has at least 64 MiB");
		total += sb->pv[i].size;
	}
	journal = total / 100;
	journal = journal < JOURNAL_MIN   ? JOURNAL_MIN
		  : journal > JOURNAL_MAX ? JOURNAL_MAX
					  : journal;
	if (sb->journal_blocks) /* asked for */
		journal = sb->journal_blocks * BLOCK;
	journal = journal >> 20 << 20;
	if (journal > sb->pv[0].size / 2)
		journal = sb->pv[0].size / 2 >> 20 << 20;
	if (journal == 0 || journal > JOURNAL_MAX)
		return err_set(err, -EINVAL, "a journal has 1 MiB to 1 GiB");
	sb->journal_offset = PV_AREA;
	sb->journal_blocks = journal / BLOCK;
	for (unsigned i = 0; i < sb->pv_count; i++) {
		struct format_pv *pv = &sb->pv[i];

		pv->data_offset = PV_AREA + (i == 0 ? journal : 0);
		pv->first_chunk = chunk;
		pv->chunks = (pv->size - pv->data_offset - PV_AREA) / CHUNK;
		chunk += pv->chunks;
	}
	return 0;
}

int pv_make_ags(struct native *native)
{
	uint64_t count = 0;

	for (unsigned i = 0; i < native->pv_count; i++)
		count += (native->pv[i].format.chunks + AG_CHUNKS - 1) / AG_CHUNKS;
	native->ag = heap_zalloc_array(count, sizeof(*native->ag));
	if (!native->ag)
		return -ENOMEM;
	native->ag_count = count;
	count = 0;
	for (unsigned i = 0; i < native->pv_count; i++) {
		const struct format_pv *pv = &native->pv[i].format;

		for (uint64_t at = 0; at < pv->chunks; at += AG_CHUNKS) {
			struct ag *ag = &native->ag[count++];

			ag->pv = i;
			ag->first = pv->first_chunk + at;
			ag->chunks = pv->chunks - at < AG_CHUNKS ? pv->chunks - at : AG_CHUNKS;
			ag->meta = format_meta_chunks(ag->chunks);
		}
		native->chunks += pv->chunks;
	}
	return 0;
}

/* AGs are in order of their chunks; all but the last of a PV have the same size. */
uint64_t ag_of(const struct native *native, uint64_t chunk)
{
	uint64_t low = 0, high = native->ag_count;

	while (high - low > 1) {
		uint64_t middle = (low + high) / 2;

		if (native->ag[middle].first <= chunk)
			low = middle;
		else
			high = middle;
	}
	return low;
}
