/* SPDX-License-Identifier: Apache-2.0 */
/* copy.c: what the third-party copies have in common: blocks that go from one logical unit to
 * another, piece by piece, and the memory of what became of it. A piece holds its range in the
 * source while it is read and in the destination while it is written, one at a time; between two
 * pieces the loop does everybody else's work, and an abort is heard. */
#include <errno.h>
#include <string.h>

#include "core/heap.h"
#include "target/internal.h"

static uint64_t smaller(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* ---- what became of it */

struct copy_result *copy_result_find(const struct scsi_itl *itl, bool lid1, uint32_t list)
{
	for (unsigned i = 0; itl->results && i < COPY_RESULTS; i++) {
		struct copy_result *result = &itl->results[i];

		if (result->used && (result->action == 0) == lid1 && result->list == list)
			return result;
	}
	return NULL;
}

/* The oldest that is no longer running. */
static struct copy_result *oldest(struct copy_result *results)
{
	struct copy_result *best = NULL;

	for (unsigned i = 0; i < COPY_RESULTS; i++) {
		struct copy_result *result = &results[i];

		if (!result->used)
			return result;
		if (!result->running && (!best || result->age < best->age))
			best = result;
	}
	return best;
}

bool copy_result_start(struct scsi_task *task, uint8_t action, uint32_t list, bool discard)
{
	struct scsi_itl *itl = task->itl;
	struct copy_result *result = copy_result_find(itl, action == 0, list);

	if (result && result->running)
		return action == 0 ? sense_set_list_field(task, 0, -1)
				   : sense_set_cdb_field(task, 6, -1);
	if (!itl->results)
		itl->results = heap_zalloc_array(COPY_RESULTS, sizeof(*itl->results));
	if (!result && itl->results)
		result = oldest(itl->results);
	if (!result)
		return sense_set(task, SENSE_ILLEGAL_REQUEST, ASC_NO_RESOURCES);
	*result = (struct copy_result){
	    .used = true,
	    .running = true,
	    .discard = discard,
	    .action = action,
	    .list = list,
	    .age = task->nexus->sequence,
	};
	task->result = result;
	return true;
}

static void settle(struct scsi_task *task)
{
	struct copy_result *result = task->result;

	task->result = NULL;
	if (!result)
		return;
	result->running = false;
	result->used = !result->discard;
	result->status = task->status;
	if (!task->sense_length)
		return;
	result->sense_length = (uint8_t)smaller(task->sense_length, sizeof(result->sense));
	memcpy(result->sense, task->sense, result->sense_length);
}

/* ---- the copy */

static void let_go(struct scsi_itl *itl)
{
	itl_count_tasks(itl, -1);
	nexus_retire_if_idle(itl);
}

static void release(struct scsi_copy *copy)
{
	struct scsi_itl *from = copy->from, *to = copy->to;

	copy->from = copy->to = NULL;
	if (from)
		let_go(from);
	if (to)
		let_go(to);
}

void copy_drop(struct scsi_task *task)
{
	settle(task);
	release(&task->copy);
}

static void next_piece(struct scsi_task *task);

static void piece_done(struct scsi_task *task)
{
	struct scsi_copy *copy = &task->copy;

	copy->done += copy->piece;
	if (task->result)
		task->result->blocks += copy->piece;
	next_piece(task);
}

static unsigned write_flags(const struct scsi_itl *itl)
{
	return __atomic_load_n(&itl->lu->write_cache, __ATOMIC_RELAXED) ? 0 : VOLUME_FUA;
}

static void write_piece(struct scsi_task *task)
{
	struct scsi_copy *copy = &task->copy;

	if (copy->intact && !copy->intact(task)) {
		task_finish(task);
		return;
	}
	task_volume_on(task, copy->to->lu, VOLUME_WRITE, copy->to_lba + copy->at, copy->piece,
		       write_flags(copy->to), piece_done);
}

static void read_piece(struct scsi_task *task)
{
	struct scsi_copy *copy = &task->copy;

	task->request_iov[0] = (struct iovec){task->buffer->data, copy->piece << SCSI_BLOCK_SHIFT};
	task->request.iov = task->request_iov;
	task->request.iov_count = 1;
	task_volume_on(task, copy->from->lu, VOLUME_READ, copy->from_lba + copy->at, copy->piece, 0,
		       write_piece);
}

/* A hole stays a hole; a piece that begins mapped ends where the first hole does begin. */
static void extent_known(struct scsi_task *task)
{
	struct scsi_copy *copy = &task->copy;
	uint64_t length = copy->extent.length >> SCSI_BLOCK_SHIFT;
	bool mapped = task->request.extent_count == 0 || copy->extent.mapped;

	if (copy->backwards && length < copy->piece)
		mapped = true;
	else if (task->request.extent_count > 0)
		copy->piece = smaller(length, copy->piece);
	if (mapped) {
		copy->piece = smaller(copy->piece, task->buffer_size >> SCSI_BLOCK_SHIFT);
		read_piece(task);
		return;
	}
	if (copy->intact && !copy->intact(task)) {
		task_finish(task);
		return;
	}
	task_volume_on(task, copy->to->lu, VOLUME_DISCARD, copy->to_lba + copy->at, copy->piece,
		       write_flags(copy->to), piece_done);
}

static const struct scsi_opcode *row_of(uint8_t opcode)
{
	bool known;

	return opcode_find(&opcode_disk, (const uint8_t[16]){opcode}, &known);
}

/* Looked at for every piece: a reservation taken meanwhile ends the copy. */
static bool allowed(const struct scsi_copy *copy)
{
	return task_may(copy->from, row_of(0x88)) && task_may(copy->to, row_of(0x8a));
}

static void next_piece(struct scsi_task *task)
{
	struct scsi_copy *copy = &task->copy;
	uint64_t left = copy->blocks - copy->done;
	uint64_t buffer = task->buffer_size >> SCSI_BLOCK_SHIFT;

	if (left == 0) {
		release(copy);
		copy->next(task);
		return;
	}
	if (!allowed(copy)) {
		task_fail(task, SENSE_COPY_ABORTED, ASC_THIRD_PARTY_FAILURE);
		return;
	}
	copy->piece = smaller(left, copy->backwards ? buffer : SCSI_PIECE_BLOCKS);
	copy->at = copy->backwards ? left - copy->piece : copy->done;
	task->request.extents = &copy->extent;
	task->request.extent_max = 1;
	task->request.extent_count = 0;
	task_volume_on(task, copy->from->lu, VOLUME_EXTENTS, copy->from_lba + copy->at, copy->piece,
		       0, extent_known);
}

void copy_run(struct scsi_task *task, struct scsi_itl *from, uint64_t from_lba, struct scsi_itl *to,
	      uint64_t to_lba, uint64_t blocks, bool (*intact)(struct scsi_task *task),
	      void (*next)(struct scsi_task *task))
{
	struct scsi_copy *copy = &task->copy;

	*copy = (struct scsi_copy){
	    .from = from,
	    .to = to,
	    .from_lba = from_lba,
	    .to_lba = to_lba,
	    .blocks = blocks,
	    /* Ranges that overlap: from the end, so that nothing is overwritten unread. */
	    .backwards = from->lu == to->lu && to_lba > from_lba && to_lba - from_lba < blocks,
	    .intact = intact,
	    .next = next,
	};
	itl_count_tasks(from, 1);
	itl_count_tasks(to, 1);
	next_piece(task);
}
