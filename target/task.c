/* SPDX-License-Identifier: Apache-2.0 */
/* task.c: the life of a command. scsi_task_begin() is the one place that checks access, unit
 * attentions, reservations, reserved bits and write protection, in the order of SAM-5 5.3.3 and
 * 5.14; what comes after may assume all that.
 *
 *   begin -> BEGUN -> execute -> (waits behind ORDERED) -> RUNNING -> handler ... -> finish
 *
 * A handler goes from step to step through task->next, called when a buffer is there or the
 * volume request is done; an aborted task stops at the next such point. done() is never called
 * under scsi_task_execute(): while the handler's first step is on the stack it is deferred. */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "target/internal.h"
#include "target/wire.h"

/* ---- begin */

static bool check_attention(struct scsi_task *task, const struct scsi_opcode *row)
{
	uint16_t asc;

	if (row && row->flags & OPCODE_NO_ATTENTION)
		return true;
	if (!attention_pending(task->itl))
		return true;
	asc = attention_take(task->itl);
	return asc == 0 || sense_set(task, SENSE_UNIT_ATTENTION, asc);
}

static bool check_reservation(struct scsi_task *task, const struct scsi_opcode *row)
{
	struct scsi_nexus *holder = __atomic_load_n(&task->itl->lu->holder, __ATOMIC_ACQUIRE);

	if ((!holder || holder == task->nexus || (row && row->flags & OPCODE_RESERVED_OK)) &&
	    pr_allows(task->itl, row))
		return true;
	task->status = SCSI_RESERVATION_CONFLICT;
	return false;
}

bool task_read_only(const struct scsi_itl *itl)
{
	return itl->lu->volume->read_only ||
	       __atomic_load_n(&itl->mapping->read_only, __ATOMIC_RELAXED);
}

static bool is_sanitized(const struct scsi_lu *lu)
{
	return __atomic_load_n(&lu->sanitize, __ATOMIC_ACQUIRE) != SANITIZE_NONE;
}

bool task_may(const struct scsi_itl *itl, const struct scsi_opcode *row)
{
	const struct scsi_nexus *holder = __atomic_load_n(&itl->lu->holder, __ATOMIC_ACQUIRE);

	if ((holder && holder != itl->nexus) || !pr_allows(itl, row) || is_sanitized(itl->lu))
		return false;
	return !itl->lu->cdrom &&
	       (!(row->flags & OPCODE_WRITES) ||
		(!task_read_only(itl) &&
		 !__atomic_load_n(&itl->lu->software_write_protect, __ATOMIC_RELAXED)));
}

/* This gateway has just begun to serve the unit: what is reserved is being looked up. */
static bool check_current(struct scsi_task *task, const struct scsi_opcode *row)
{
	if ((row && row->flags & OPCODE_PR_OK) || pr_share_current(task->itl->lu))
		return true;
	task->status = SCSI_BUSY;
	return false;
}

static bool check_cdb(struct scsi_task *task, const struct scsi_opcode *row, bool known_opcode)
{
	unsigned byte;
	int bit;

	if (!row && known_opcode)
		return sense_set_cdb_field(task, 1, 4);
	if (!row || task->cdb_length < row->cdb_length)
		return sense_set(task, SENSE_ILLEGAL_REQUEST, ASC_INVALID_OPCODE);
	if (row->flags & OPCODE_SANITIZES && !sanitize_offered(task->itl))
		return sense_set(task, SENSE_ILLEGAL_REQUEST, ASC_INVALID_OPCODE);
	if (opcode_reserved_bit(row, task->cdb, &byte, &bit))
		return sense_set_cdb_field(task, byte, bit);
	return true;
}

static bool check_write_protection(struct scsi_task *task, const struct scsi_opcode *row)
{
	const struct scsi_lu *lu = task->itl->lu;

	if (!(row->flags & OPCODE_WRITES))
		return true;
	if (task_read_only(task->itl))
		return sense_set(task, SENSE_DATA_PROTECT, ASC_WRITE_PROTECTED);
	if (__atomic_load_n(&lu->software_write_protect, __ATOMIC_RELAXED))
		return sense_set(task, SENSE_DATA_PROTECT, ASC_SOFTWARE_PROTECTED);
	return true;
}

static bool begin(struct scsi_task *task)
{
	bool known_opcode = false;
	const struct scsi_opcode *row =
	    opcode_find(opcode_table(task->itl), task->cdb, &known_opcode);

	if (!task->itl) {
		if (!row || !(row->flags & OPCODE_ANY_LUN))
			return sense_set(task, SENSE_ILLEGAL_REQUEST, ASC_LUN_NOT_SUPPORTED);
	} else if (!check_attention(task, row) || !alua_allows(task, row) ||
		   !check_current(task, row) || !check_reservation(task, row)) {
		return false;
	}
	if (!check_cdb(task, row, known_opcode))
		return false;
	if (task->itl && task->itl->lu->cdrom && !cdrom_medium_ok(task, row))
		return false;
	if (task->itl && !sanitize_allows(task, row))
		return false;
	task->opcode = row;
	if (row->decode && !row->decode(task))
		return false;
	return !task->itl || check_write_protection(task, row);
}

static void run_deferred(struct deferred *deferred);

void scsi_task_begin(struct scsi_task *task)
{
	task->finished = false;
	task->direction = SCSI_NO_DATA;
	task->data_out_length = task->data_out_wanted = 0;
	task->data_out_count = 0;
	task->status = SCSI_GOOD;
	task->sense_length = 0;
	task->data_in_count = 0;
	task->data_in_length = 0;
	task->aborted = false;
	task->opcode = NULL;
	task->buffer = task->buffer2 = NULL;
	task->private_flags = 0;
	task->step = 0;
	task->lba = task->blocks = task->progress = 0;
	task->allocation = 0;
	task->begun_ns = loop_now(task->nexus->loop);
	task->volume_ns = task->waited_ns = task->device_ns = 0;
	list_init(&task->nexus_link);
	list_init(&task->wait_link);
	list_init(&task->range.link);
	task->range.state = RANGE_FREE;
	task->range.exclusive = false;
	task->copy.from = task->copy.to = NULL;
	task->result = NULL;
	deferred_init(&task->deferred, run_deferred);

	task->itl = nexus_find(task->nexus, lun_decode(task->lun));
	if (!begin(task)) {
		task->finished = true;
		task->direction = SCSI_NO_DATA;
		task->private_flags = TASK_FINISHED;
		task->itl = NULL;
		return;
	}
	list_push_back(&task->nexus->tasks, &task->nexus_link);
	if (task->itl)
		itl_count_tasks(task->itl, 1);
	task->data_out_length = task->data_out_wanted < task->data_out_expected
				    ? task->data_out_wanted
				    : task->data_out_expected;
}

const void *scsi_buffers_owner(struct scsi_nexus *nexus, const uint8_t lun[8])
{
	struct scsi_itl *itl = nexus_find(nexus, lun_decode(lun));

	return itl ? itl->lu : NULL;
}

/* ---- execute */

/* Relaxed stores of a counter only this loop writes: the control loop may read it any time. */
static void count(uint64_t *counter, uint64_t by)
{
	__atomic_store_n(counter, *counter + by, __ATOMIC_RELAXED);
}

static void count_task(const struct scsi_task *task, struct scsi_counters *counters)
{
	if (task->status != SCSI_GOOD && task->status != SCSI_CONDITION_MET)
		count(&counters->errors, 1);
	else if (task->opcode->flags & OPCODE_WRITES) {
		count(&counters->write_ops, 1);
		count(&counters->write_bytes, task->data_out_length);
	} else if (task->direction == SCSI_DATA_IN && task->opcode->reply_size == 0) {
		count(&counters->read_ops, 1);
		count(&counters->read_bytes, task->data_in_length);
	}
}

static void start(struct scsi_task *task)
{
	struct scsi_itl *itl = task->itl;

	task->private_flags |= TASK_RUNNING | TASK_IN_START;
	if (itl) {
		itl->running++;
		if (task->attribute == SCSI_ORDERED)
			itl->ordered_running = true;
	}
	if (task->private_flags & TASK_ABORTED) {
		task_finish(task);
	} else if (itl && !pr_allows(itl, task->opcode)) {
		/* Preempted since it began: what was gathered goes nowhere. */
		task->status = SCSI_RESERVATION_CONFLICT;
		task_finish(task);
	} else if (task->opcode->reply_size) {
		task_get_buffer(task, task->opcode->reply_size, task->opcode->execute);
	} else {
		task->opcode->execute(task);
	}
	task->private_flags &= ~TASK_IN_START;
}

/* SAM-5 8.6: an ORDERED task runs after all older tasks and before all newer ones. Between
 * nexuses the order of commands nobody has an answer to yet can not be told, so it is kept for
 * each I_T_L nexus by itself. */
static bool must_wait(const struct scsi_task *task)
{
	const struct scsi_itl *itl = task->itl;

	if (!itl || task->attribute == SCSI_HEAD_OF_QUEUE)
		return false;
	return itl->ordered_running || (task->attribute == SCSI_ORDERED && itl->running > 0);
}

static void start_waiting(struct scsi_itl *itl)
{
	while (!list_empty(&itl->waiting)) {
		struct scsi_task *task = list_entry(itl->waiting.next, struct scsi_task, wait_link);

		if (must_wait(task))
			return;
		list_remove(&task->wait_link);
		start(task);
	}
}

void scsi_task_execute(struct scsi_task *task)
{
	assert(!task->finished && !(task->private_flags & TASK_STARTED));
	task->private_flags |= TASK_STARTED;
	task->executed_ns = loop_now(task->nexus->loop);
	task->sequence = task->nexus->sequence++;
	if (task->attribute == SCSI_ACA && !(task->private_flags & TASK_ABORTED)) {
		/* SAM-5 8.6.5: no ACA condition can exist here (NORMACA is 0). */
		task->private_flags |= TASK_IN_START;
		task_fail(task, SENSE_ILLEGAL_REQUEST, ASC_INVALID_MESSAGE);
		task->private_flags &= ~TASK_IN_START;
		return;
	}
	if (task->itl && task->attribute != SCSI_HEAD_OF_QUEUE &&
	    (!list_empty(&task->itl->waiting) || must_wait(task)))
		list_push_back(&task->itl->waiting, &task->wait_link);
	else
		start(task);
}

/* ---- finish */

/* Nobody may see the task any more. */
static void leave(struct scsi_task *task)
{
	struct scsi_itl *itl = task->itl;

	list_remove(&task->nexus_link);
	list_remove(&task->wait_link);
	copy_drop(task);
	if (itl)
		latency_task_ends(task);
	task->itl = NULL;
	if (!itl)
		return;
	itl_count_tasks(itl, -1);
	if (task->private_flags & TASK_RUNNING) {
		count_task(task, &itl->counters);
		itl->running--;
		if (task->attribute == SCSI_ORDERED)
			itl->ordered_running = false;
	}
	start_waiting(itl);
	nexus_retire_if_idle(itl);
}

static void complete(struct scsi_task *task)
{
	struct scsi_nexus *nexus = task->nexus;
	bool watched = !list_empty(&nexus->orders);

	task->aborted = (task->private_flags & (TASK_ABORTED | TASK_TERMINATED)) == TASK_ABORTED;
	if (task->private_flags & TASK_TERMINATED)
		sense_set(task, SENSE_NOT_READY, ASC_SANITIZE_IN_PROGRESS);
	if (task->aborted) {
		task->status = SCSI_TASK_ABORTED;
		task->sense_length = 0;
	}
	if (task->status != SCSI_GOOD) {
		task->data_in_length = 0;
		task->data_in_count = 0;
	}
	if (!watched) {
		leave(task);
		task->done(task);
		return;
	}
	/* Task management waits for this task: it is answered after the transport has heard. */
	nexus_ref(nexus);
	tmf_task_leaves(nexus, task);
	leave(task);
	task->done(task);
	tmf_answer_drained(nexus);
	nexus_unref(nexus);
}

static void run_deferred(struct deferred *deferred)
{
	complete(container_of(deferred, struct scsi_task, deferred));
}

static void let_go(struct scsi_task *task)
{
	if (task->range.state == RANGE_HELD)
		lock_release(&task->range);
}

void task_finish(struct scsi_task *task)
{
	assert(!(task->private_flags & TASK_FINISHED));
	task->private_flags |= TASK_FINISHED;
	let_go(task);
	if (task->private_flags & TASK_IN_START)
		loop_defer(task->nexus->loop, &task->deferred);
	else
		complete(task);
}

void task_fail(struct scsi_task *task, enum sense_key key, uint16_t asc)
{
	sense_set(task, key, asc);
	task_finish(task);
}

void scsi_task_end(struct scsi_task *task)
{
	struct scsi_itl *itl = task->itl;

	assert(!(task->private_flags & TASK_STARTED) || task->private_flags & TASK_FINISHED);
	buf_unref(task->buffer);
	buf_unref(task->buffer2);
	task->buffer = task->buffer2 = NULL;
	task->itl = NULL;
	if (list_empty(&task->nexus_link))
		return;
	/* begun, never executed */
	list_remove(&task->nexus_link);
	if (itl) {
		itl_count_tasks(itl, -1);
		nexus_retire_if_idle(itl);
	}
}

void task_cancel(struct scsi_task *task)
{
	task->private_flags |= TASK_CANCELLED;
	if (task->private_flags & TASK_FINISHED)
		return;
	if (!list_empty(&task->wait_link)) {
		list_remove(&task->wait_link);
		task->private_flags |= TASK_FINISHED;
		loop_defer(task->nexus->loop, &task->deferred);
	} else if (task->private_flags & TASK_AT_LOCK) {
		if (lock_give_up(&task->range)) {
			task->private_flags |= TASK_FINISHED;
			loop_defer(task->nexus->loop, &task->deferred);
		}
	} else if (task->private_flags & TASK_AT_SANITIZE) {
		sanitize_give_up(task);
		task->private_flags |= TASK_FINISHED;
		loop_defer(task->nexus->loop, &task->deferred);
	} else if (task->private_flags & TASK_AT_BUFFER) {
		(void)buf_wait_cancel(loop_buffers(task->nexus->loop), &task->buffer_waiter);
		task->private_flags |= TASK_FINISHED;
		loop_defer(task->nexus->loop, &task->deferred);
	} else if (task->private_flags & TASK_AT_VOLUME) {
		volume_cancel(&task->request);
	}
}

void scsi_task_abandon(struct scsi_task *task)
{
	if (task->private_flags & (TASK_FINISHED | TASK_CANCELLED))
		return;
	if (task->itl)
		attention_set(task->itl, ATTENTION_PROTOCOL_EVENT);
	task->private_flags &= ~(uint32_t)TASK_TERMINATED;
	task->private_flags |= TASK_ABORTED;
	if (task->private_flags & TASK_STARTED)
		task_cancel(task);
}

/* ---- what handlers use */

static void step(struct scsi_task *task)
{
	if (task->private_flags & TASK_ABORTED)
		task_finish(task);
	else
		task->next(task);
}

static void take_buffer(struct scsi_task *task, struct buf *buf)
{
	task->buffer = buf;
	if (task->opcode->reply_size)
		memset(buf->data, 0, task->buffer_size);
}

static void buffer_is_here(struct buf_waiter *waiter, struct buf *buf)
{
	struct scsi_task *task = container_of(waiter, struct scsi_task, buffer_waiter);

	task->private_flags &= ~(uint32_t)TASK_AT_BUFFER;
	take_buffer(task, buf);
	step(task);
}

void task_get_buffer(struct scsi_task *task, size_t size, void (*next)(struct scsi_task *task))
{
	struct buf_pool *pool = loop_buffers(task->nexus->loop);
	/* What a back end may keep counts for its unit; a reply from memory does not. Who has such
	 * a buffer waits for no other of them: locks are taken afterwards. */
	const char *lu = task->itl && !task->opcode->reply_size ? (char *)task->itl->lu : NULL;
	const void *owner = lu ? lu + BUF_FOR_COMMAND : NULL;
	struct buf *buf = buf_get_for(pool, owner, size);

	assert(!task->buffer); /* never wait for a buffer with one in hand */
	task->buffer_size = size;
	if (buf) {
		take_buffer(task, buf);
		next(task);
		return;
	}
	task->next = next;
	task->private_flags |= TASK_AT_BUFFER;
	task->buffer_waiter = (struct buf_waiter){
	    .size = size, .owner = owner, .stage = BUF_FOR_COMMAND, .ready = buffer_is_here};
	buf_wait(pool, &task->buffer_waiter);
}

void task_reply(struct scsi_task *task, uint32_t bytes)
{
	task->data_in_length = bytes < task->allocation ? bytes : task->allocation;
	task->data_in[0] = (struct iovec){task->buffer->data, task->data_in_length};
	task->data_in_count = task->data_in_length > 0;
	task_finish(task);
}

static void fail_with_errno(struct scsi_task *task, int result)
{
	bool write = task->request.op == VOLUME_WRITE || task->request.op == VOLUME_DISCARD;
	uint64_t where = task->request.error_offset >> lu_block_shift(task->at);

	if (task->copy.from && result != -ENOSPC) { /* SPC-4 5.17.7.4 */
		task_fail(task, SENSE_COPY_ABORTED, ASC_THIRD_PARTY_FAILURE);
		return;
	}
	switch (result) {
	case -EILSEQ:
	case -EIO:
		__atomic_fetch_add(task->request.op == VOLUME_READ ? &task->at->read_errors
								   : &task->at->write_errors,
				   1, __ATOMIC_RELAXED);
		if (task->request.op == VOLUME_FLUSH)
			sense_set(task, SENSE_MEDIUM_ERROR, ASC_WRITE_ERROR);
		else
			sense_set_information(task, SENSE_MEDIUM_ERROR,
					      write && result == -EIO ? ASC_WRITE_ERROR
								      : ASC_UNRECOVERED_READ,
					      where);
		break;
	case -ENOSPC:
		sense_set(task, SENSE_DATA_PROTECT, ASC_SPACE_ALLOCATION);
		break;
	case -EROFS:
		sense_set(task, SENSE_DATA_PROTECT, ASC_WRITE_PROTECTED);
		break;
	case -EREMOTE: /* another gateway serves it since a moment ago */
		sense_set(task, SENSE_NOT_READY, ASC_PORT_STANDBY);
		break;
	case -EINVAL: /* it got smaller than when the CDB was looked at */
		sense_set(task, SENSE_ILLEGAL_REQUEST, ASC_LBA_OUT_OF_RANGE);
		break;
	case -ECANCELED: /* by the back end, not by us: the initiator should try again */
		sense_set(task, SENSE_ABORTED_COMMAND, 0);
		break;
	case -ENOMEM:
		task->status = SCSI_BUSY;
		break;
	default:
		sense_set(task, SENSE_HARDWARE_ERROR, ASC_INTERNAL_FAILURE);
	}
	task_finish(task);
}

static void volume_done(struct volume_request *request, int result)
{
	struct scsi_task *task = container_of(request, struct scsi_task, request);

	task->private_flags &= ~TASK_AT_VOLUME;
	task->volume_ns += loop_now(task->nexus->loop) - task->submitted_ns;
	task->waited_ns += request->waited_ns;
	if (request->device_from_ns && request->device_to_ns > request->device_from_ns)
		task->device_ns += request->device_to_ns - request->device_from_ns;
	if (!task->range.exclusive)
		let_go(task);
	if (result && !(task->private_flags & TASK_ABORTED))
		fail_with_errno(task, result);
	else
		step(task);
}

static void submit(struct scsi_task *task)
{
	const struct volume_request *request = &task->request;

	/* A copy between other units, or a command that was between two requests when a sanitize
	 * operation began: that one had all ranges after it had said so. */
	if (request->op != VOLUME_FLUSH && request->op != VOLUME_EXTENTS &&
	    is_sanitized(task->at)) {
		task_fail(task, SENSE_NOT_READY, ASC_SANITIZE_IN_PROGRESS);
		return;
	}
	if ((request->op == VOLUME_WRITE || request->op == VOLUME_DISCARD) &&
	    __atomic_load_n(&task->at->token_count, __ATOMIC_ACQUIRE) > 0)
		odx_source_changes(task->at, request->offset >> SCSI_BLOCK_SHIFT,
				   request->length >> SCSI_BLOCK_SHIFT);
	task->private_flags |= TASK_AT_VOLUME;
	task->submitted_ns = loop_now(task->nexus->loop);
	volume_submit(task->at->volume, &task->request);
}

/* The range is ours; what it was wanted for comes next. */
static void range_granted(struct message *message)
{
	struct scsi_range *range = container_of(message, struct scsi_range, message);
	struct scsi_task *task = container_of(range, struct scsi_task, range);

	task->private_flags &= ~TASK_AT_LOCK;
	if (task->private_flags & TASK_ABORTED || range->exclusive)
		step(task);
	else
		submit(task);
}

static bool take_range(struct scsi_task *task, uint64_t lba, uint64_t blocks, bool exclusive)
{
	struct scsi_range *range = &task->range;

	range->lba = lba;
	range->blocks = blocks;
	range->exclusive = exclusive;
	range->loop = task->nexus->loop;
	range->granted = range_granted;
	if (lock_acquire(&task->at->ranges, range))
		return true;
	task->private_flags |= TASK_AT_LOCK;
	return false;
}

void task_lock(struct scsi_task *task, uint64_t lba, uint64_t blocks,
	       void (*next)(struct scsi_task *task))
{
	task->next = next;
	task->at = task->itl->lu;
	if (take_range(task, lba, blocks, true))
		step(task);
}

void task_unlock(struct scsi_task *task)
{
	let_go(task);
	task->range.exclusive = false;
}

void task_volume(struct scsi_task *task, enum volume_op op, uint64_t lba, uint64_t blocks,
		 unsigned flags, void (*next)(struct scsi_task *task))
{
	task_volume_on(task, task->itl->lu, op, lba, blocks, flags, next);
}

void task_volume_on(struct scsi_task *task, struct scsi_lu *lu, enum volume_op op, uint64_t lba,
		    uint64_t blocks, unsigned flags, void (*next)(struct scsi_task *task))
{
	struct volume_request *request = &task->request;
	bool moves = op == VOLUME_READ || op == VOLUME_WRITE || op == VOLUME_DISCARD;

	task->next = next;
	task->at = lu;
	request->op = op;
	request->flags = flags;
	request->offset = lba << SCSI_BLOCK_SHIFT;
	request->length = blocks << SCSI_BLOCK_SHIFT;
	request->done = volume_done;
	if (!moves || task->range.state == RANGE_HELD || take_range(task, lba, blocks, false))
		submit(task);
}

void task_copy_out(const struct scsi_task *task, size_t offset, void *bytes, size_t length)
{
	uint8_t *to = bytes;

	for (unsigned i = 0; i < task->data_out_count && length > 0; i++) {
		const struct iovec *iov = &task->data_out[i];
		size_t part;

		if (offset >= iov->iov_len) {
			offset -= iov->iov_len;
			continue;
		}
		part = iov->iov_len - offset < length ? iov->iov_len - offset : length;
		memcpy(to, (const uint8_t *)iov->iov_base + offset, part);
		to += part;
		length -= part;
		offset = 0;
	}
	memset(to, 0, length);
}

unsigned task_write_flags(const struct scsi_task *task, bool fua)
{
	bool cache = __atomic_load_n(&task->itl->lu->write_cache, __ATOMIC_RELAXED);

	return fua || !cache ? VOLUME_FUA : 0;
}
