/* SPDX-License-Identifier: Apache-2.0 */
/* sanitize.c: SANITIZE (SBC-4 4.11, 5.30). What the volume's map holds is overwritten where it is
 * on the medium (VOLUME_IN_PLACE): with zeros, and then unmapped (BLOCK ERASE), or with a pattern,
 * and stays mapped (OVERWRITE). What is not mapped is nobody's, and stays so.
 *
 *   NONE --SANITIZE--> RUNS --all passes flushed, and stored--> NONE
 *                       |  \--error, and stored--> FAILED --SANITIZE--> RUNS
 *                       |                          FAILED --EXIT FAILURE MODE, AUSE--> NONE
 *                       \--the unit goes--> RUNS, from the start when it comes back
 *
 * 1. From claim() on commands that reach the medium are refused; those that were under way are
 *    ended, and whatever is at the volume is waited for, before anything is overwritten.
 * 2. An operation is stored before GOOD (IMMED) and before the first block is changed, and until
 *    its last one is durable. No write is taken meanwhile, so doing it again harms nobody.
 * 3. Only claim(), ended() and leave_failure() change lu->sanitize. Task management changes
 *    nothing: it ends the command that waits, not the operation. */
#include <errno.h>
#include <string.h>

#include "core/heap.h"
#include "core/log.h"
#include "core/loop.h"
#include "target/internal.h"
#include "target/wire.h"

#define CDB_IMMED    0x80
#define CDB_AUSE     0x20
#define LIST_HEADER  4u
#define LIST_INVERT  0x80
#define LIST_TEST    0x60
#define LIST_COUNT   0x1f
#define ERASE_PIECE  (128ull << 20) /* one discard */
#define EXTENTS_ONCE 64u

struct sanitize {
	struct scsi_lu *lu; /* topology lock; NULL: has gone */
	struct volume *volume;
	struct loop *loop;
	struct sanitize_order order;
	uint8_t before;         /* lu->sanitize when it was claimed */
	struct scsi_task *task; /* that asked for it and has no answer yet */
	struct scsi_range range;
	struct message message;
	int result;
	/* On its way: pass, and byte in it. */
	unsigned pass;
	uint64_t at, piece;
	struct volume_extent extents[EXTENTS_ONCE];
	unsigned extent, extent_count;
	bool flushed;
	uint8_t *pattern; /* VOLUME_TRANSFER_MAX */
	struct volume_request request;
	struct iovec iov;
	uint16_t progress; /* atomic */
	/* The unit goes: atomic; who wants to know, topology lock. */
	bool stop;
	struct loop *stop_loop;
	struct message *stop_message;
	void (*stopped)(struct message *message);
};

static void destroy(struct sanitize *job)
{
	volume_unref(job->volume);
	heap_free(job->pattern);
	heap_free(job);
}

static struct sanitize *create(struct volume *volume, const struct sanitize_order *order)
{
	struct sanitize *job = heap_zalloc(sizeof(*job));

	if (!job)
		return NULL;
	job->volume = volume_ref(volume);
	job->loop = loop_current();
	job->order = *order;
	job->pattern = heap_aligned(VOLUME_SLOT, VOLUME_TRANSFER_MAX);
	if (!job->pattern) {
		destroy(job);
		return NULL;
	}
	return job;
}

/* ---- the operation, on its loop */

static void step(struct sanitize *job);

/* The last pass writes the pattern as it is. */
static void fill(struct sanitize *job)
{
	const struct sanitize_order *order = &job->order;
	bool invert = order->invert && ((order->passes - 1u - job->pass) & 1);
	uint8_t *block = job->pattern;

	for (unsigned i = 0; i < SANITIZE_PATTERN_MAX; i++)
		block[i] = order->pattern[i % order->length] ^ (invert ? 0xff : 0);
	for (size_t at = SANITIZE_PATTERN_MAX; at < VOLUME_TRANSFER_MAX; at += SANITIZE_PATTERN_MAX)
		memcpy(block + at, block, SANITIZE_PATTERN_MAX);
}

static unsigned pass_count(const struct sanitize *job)
{
	return job->order.passes + (job->order.erase ? 1u : 0u);
}

static void note_progress(struct sanitize *job)
{
	uint64_t size = volume_size(job->volume), at = job->at < size ? job->at : size;
	uint64_t part = pass_count(job) * size / 65536 + 1;

	__atomic_store_n(&job->progress, (uint16_t)((job->pass * size + at) / part),
			 __ATOMIC_RELAXED);
}

/* The unit is what the operation left of it. */
static void ended(struct message *message)
{
	struct sanitize *job = container_of(message, struct sanitize, message);
	struct scsi_task *task = job->task;

	topology_lock();
	volume_unref(job->volume); /* whoever waits for it finds it free */
	job->volume = NULL;
	if (job->lu) {
		pthread_mutex_lock(&job->lu->lock);
		job->lu->sanitizer = NULL;
		job->lu->sanitize_restricted = job->order.restricted;
		__atomic_store_n(&job->lu->sanitize, job->result ? SANITIZE_FAILED : SANITIZE_NONE,
				 __ATOMIC_RELEASE);
		pthread_mutex_unlock(&job->lu->lock);
	}
	if (job->stop_message)
		loop_post(job->stop_loop, job->stop_message, job->stopped);
	topology_unlock();
	if (task) {
		task->private_flags &= ~(uint32_t)TASK_AT_SANITIZE;
		if (job->result)
			sense_set(task, SENSE_MEDIUM_ERROR, ASC_SANITIZE_FAILED);
		task_finish(task);
	}
	destroy(job);
}

/* An operation that can not be forgotten would begin again after a restart: it has failed. */
static void store_end(struct message *message)
{
	struct sanitize *job = container_of(message, struct sanitize, message);
	const uint8_t *uuid = job->volume->identity.uuid;
	int result;

	job->order.failed = job->result < 0;
	result = sanitize_store_save(uuid, job->result < 0 ? &job->order : NULL);
	if (result < 0 && job->result == 0)
		job->result = result;
	loop_post(job->loop, message, ended);
}

static void end(struct sanitize *job, int result)
{
	job->result = result;
	if (result < 0)
		log_error("volume %s: the sanitize operation has failed: %s", job->volume->name,
			  result == -EBUSY ? "it has a snapshot, a clone or a replica now"
					   : strerror(-result));
	else
		log_notice("volume %s: the sanitize operation is done", job->volume->name);
	pr_store_post(&job->message, store_end);
}

/* Topology lock. */
static void detach(struct sanitize *job)
{
	if (!job->lu)
		return;
	pthread_mutex_lock(&job->lu->lock);
	job->lu->sanitizer = NULL;
	pthread_mutex_unlock(&job->lu->lock);
}

/* True: the unit has gone, and so is the operation. It may have come back meanwhile. */
static bool halted(struct sanitize *job)
{
	struct message *message;
	bool back;

	topology_lock();
	back = job->lu && job->lu->refs > 1;
	message = job->stop_message;
	job->stop_message = NULL;
	if (back) {
		__atomic_store_n(&job->stop, false, __ATOMIC_RELAXED);
	} else {
		detach(job);
		volume_unref(job->volume);
		job->volume = NULL;
	}
	if (message)
		loop_post(job->stop_loop, message, job->stopped);
	topology_unlock();
	if (!back)
		destroy(job);
	return !back;
}

static void changed(struct volume_request *request, int result)
{
	struct sanitize *job = container_of(request, struct sanitize, request);

	if (result < 0) {
		end(job, result);
		return;
	}
	job->at += job->piece;
	step(job);
}

/* The next piece of an extent that is mapped. */
static bool change_some(struct sanitize *job)
{
	struct volume_request *request = &job->request;
	bool erases = job->pass == job->order.passes;
	uint64_t limit = erases ? ERASE_PIECE : VOLUME_TRANSFER_MAX;

	for (; job->extent < job->extent_count; job->extent++) {
		const struct volume_extent *extent = &job->extents[job->extent];
		uint64_t last = extent->offset + extent->length;

		if (!extent->mapped || job->at >= last) {
			job->at = last;
			continue;
		}
		job->piece = last - job->at < limit ? last - job->at : limit;
		job->iov = (struct iovec){job->pattern, job->piece};
		*request = (struct volume_request){
		    .op = erases ? VOLUME_DISCARD : VOLUME_WRITE,
		    .flags = erases ? 0 : VOLUME_IN_PLACE,
		    .offset = job->at,
		    .length = job->piece,
		    .iov = erases ? NULL : &job->iov,
		    .iov_count = erases ? 0 : 1,
		    .done = changed,
		};
		volume_submit(job->volume, request);
		return true;
	}
	return false;
}

static void looked(struct volume_request *request, int result)
{
	struct sanitize *job = container_of(request, struct sanitize, request);

	job->extent = 0;
	job->extent_count = request->extent_count;
	if (result == 0 && request->extent_count == 0)
		result = -EIO;
	if (result < 0)
		end(job, result);
	else
		step(job);
}

static bool look(struct sanitize *job)
{
	uint64_t size = volume_size(job->volume);

	if (job->at >= size)
		return false;
	job->request = (struct volume_request){
	    .op = VOLUME_EXTENTS,
	    .offset = job->at,
	    .length = size - job->at,
	    .extents = job->extents,
	    .extent_max = EXTENTS_ONCE,
	    .done = looked,
	};
	volume_submit(job->volume, &job->request);
	return true;
}

static void flushed(struct volume_request *request, int result)
{
	struct sanitize *job = container_of(request, struct sanitize, request);

	job->flushed = true;
	if (result < 0)
		end(job, result);
	else
		step(job);
}

/* Each pass is on the medium before the next one begins. */
static void finish_pass(struct sanitize *job)
{
	if (!job->flushed) {
		job->request = (struct volume_request){.op = VOLUME_FLUSH, .done = flushed};
		volume_submit(job->volume, &job->request);
		return;
	}
	job->flushed = false;
	job->at = 0;
	job->extent = job->extent_count = 0;
	if (++job->pass == pass_count(job)) {
		end(job, 0);
		return;
	}
	if (job->pass < job->order.passes)
		fill(job);
	look(job);
}

static void step(struct sanitize *job)
{
	if (__atomic_load_n(&job->stop, __ATOMIC_RELAXED) && halted(job))
		return;
	note_progress(job);
	if (!change_some(job) && !look(job))
		finish_pass(job);
}

static void start(struct sanitize *job)
{
	log_notice("volume %s: sanitize operation, %s", job->volume->name,
		   job->order.erase ? "block erase" : "overwrite");
	fill(job);
	step(job);
}

/* ---- its beginning, on the loop of the command */

/* False: another one runs already. */
static bool claim(struct scsi_lu *lu, struct sanitize *job)
{
	bool free;

	topology_lock();
	pthread_mutex_lock(&lu->lock);
	free = lu->sanitize != SANITIZE_RUNS;
	if (free) {
		job->lu = lu;
		job->before = lu->sanitize;
		lu->sanitizer = job;
		__atomic_store_n(&lu->sanitize, SANITIZE_RUNS, __ATOMIC_RELEASE);
	}
	pthread_mutex_unlock(&lu->lock);
	topology_unlock();
	return free;
}

/* Nothing has been done: the unit is what it was. */
static void give_back(struct sanitize *job)
{
	struct scsi_lu *lu = job->lu;

	topology_lock();
	pthread_mutex_lock(&lu->lock);
	lu->sanitizer = NULL;
	__atomic_store_n(&lu->sanitize, job->before, __ATOMIC_RELEASE);
	pthread_mutex_unlock(&lu->lock);
	topology_unlock();
	destroy(job);
}

static void stored(struct message *message)
{
	struct sanitize *job = container_of(message, struct sanitize, message);
	struct scsi_task *task = job->task;

	if (job->result < 0) {
		give_back(job);
		task_fail(task, SENSE_HARDWARE_ERROR, ASC_INTERNAL_FAILURE);
		return;
	}
	odx_source_changes(job->lu, 0, UINT64_MAX); /* what tokens stand for goes */
	if (task->cdb[1] & CDB_IMMED || task->private_flags & TASK_ABORTED) {
		job->task = NULL;
		task_finish(task);
	} else {
		task->private_flags |= TASK_AT_SANITIZE;
	}
	start(job);
}

static void store_on_thread(struct message *message)
{
	struct sanitize *job = container_of(message, struct sanitize, message);

	job->result = sanitize_store_save(job->volume->identity.uuid, &job->order);
	loop_post(job->loop, message, stored);
}

/* Nothing of anybody's is at the volume now, and nothing can get there. */
static void quiet(struct message *message)
{
	struct scsi_range *range = container_of(message, struct scsi_range, message);
	struct sanitize *job = container_of(range, struct sanitize, range);
	struct scsi_task *task = job->task;

	lock_release(range);
	if (task->private_flags & TASK_ABORTED) {
		give_back(job);
		task_finish(task);
		return;
	}
	pr_store_post(&job->message, store_on_thread);
}

/* All other commands are at their end; copies of other units may still have a request here. */
static void alone(struct scsi_task *task)
{
	struct scsi_lu *lu = task->itl->lu;
	struct sanitize *job = lu->sanitizer;

	job->range.lba = 0;
	job->range.blocks = UINT64_MAX;
	job->range.exclusive = true;
	job->range.loop = job->loop;
	job->range.granted = quiet;
	if (lock_acquire(&lu->ranges, &job->range))
		quiet(&job->range.message);
}

void sanitize_give_up(struct scsi_task *task)
{
	task->itl->lu->sanitizer->task = NULL;
	task->private_flags &= ~(uint32_t)TASK_AT_SANITIZE;
}

/* ---- the command */

bool sanitize_offered(const struct scsi_itl *itl)
{
	return itl && !itl->lu->cdrom && volume_erasable(itl->lu->volume) != -EOPNOTSUPP;
}

bool sanitize_sense(struct scsi_lu *lu, struct sense *ret_sense)
{
	uint8_t state;

	pthread_mutex_lock(&lu->lock);
	state = lu->sanitize;
	if (state == SANITIZE_RUNS)
		*ret_sense = (struct sense){
		    .key = SENSE_NOT_READY,
		    .asc = ASC_SANITIZE_IN_PROGRESS,
		    .has_progress = true,
		};
	if (state == SANITIZE_RUNS && lu->sanitizer)
		ret_sense->progress = __atomic_load_n(&lu->sanitizer->progress, __ATOMIC_RELAXED);
	else if (state == SANITIZE_FAILED)
		*ret_sense = (struct sense){.key = SENSE_MEDIUM_ERROR, .asc = ASC_SANITIZE_FAILED};
	pthread_mutex_unlock(&lu->lock);
	return state != SANITIZE_NONE;
}

bool sanitize_allows(struct scsi_task *task, const struct scsi_opcode *row)
{
	struct scsi_lu *lu = task->itl->lu;
	uint8_t state = __atomic_load_n(&lu->sanitize, __ATOMIC_ACQUIRE);
	struct sense sense;

	if (state == SANITIZE_NONE || row->flags & OPCODE_SANITIZE_OK ||
	    (state == SANITIZE_FAILED && row->flags & OPCODE_SANITIZES))
		return true;
	return !sanitize_sense(lu, &sense) || sense_set_all(task, &sense);
}

static bool failed_restricted(struct scsi_lu *lu)
{
	bool restricted;

	pthread_mutex_lock(&lu->lock);
	restricted = lu->sanitize == SANITIZE_FAILED && lu->sanitize_restricted;
	pthread_mutex_unlock(&lu->lock);
	return restricted;
}

/* What has failed without AUSE is not left by a way that AUSE opens. */
bool sanitize_decode(struct scsi_task *task)
{
	if (task->cdb[1] & CDB_AUSE && failed_restricted(task->itl->lu))
		return sense_set_cdb_field(task, 1, 5);
	return true;
}

bool sanitize_decode_overwrite(struct scsi_task *task)
{
	uint16_t length = get_be16(task->cdb + 7);

	if (length <= LIST_HEADER || length > LIST_HEADER + SANITIZE_PATTERN_MAX)
		return sense_set_cdb_field(task, 7, -1);
	task->direction = SCSI_DATA_OUT;
	task->data_out_wanted = length;
	return sanitize_decode(task);
}

bool sanitize_decode_exit(struct scsi_task *task)
{
	if (failed_restricted(task->itl->lu))
		return sense_set_cdb_field(task, 1, 4);
	return true;
}

static bool read_list(struct scsi_task *task, struct sanitize_order *order)
{
	uint8_t header[LIST_HEADER];

	if (task->data_out_length < task->data_out_wanted)
		return sense_set(task, SENSE_ILLEGAL_REQUEST, ASC_PARAMETER_LIST_LENGTH);
	task_copy_out(task, 0, header, sizeof(header));
	order->length = get_be16(header + 2);
	order->passes = header[0] & LIST_COUNT;
	order->invert = header[0] & LIST_INVERT;
	if (header[0] & LIST_TEST)
		return sense_set_list_field(task, 0, 6);
	if (order->passes == 0)
		return sense_set_list_field(task, 0, 4);
	if (header[1])
		return sense_set_list_field(task, 1, -1);
	if (order->length == 0 || order->length > SANITIZE_PATTERN_MAX)
		return sense_set_list_field(task, 2, -1);
	if (LIST_HEADER + order->length > task->data_out_length)
		return sense_set(task, SENSE_ILLEGAL_REQUEST, ASC_PARAMETER_LIST_LENGTH);
	task_copy_out(task, LIST_HEADER, order->pattern, order->length);
	return true;
}

static bool read_order(struct scsi_task *task, struct sanitize_order *order)
{
	order->restricted = !(task->cdb[1] & CDB_AUSE);
	if (task->data_out_wanted)
		return read_list(task, order);
	order->erase = true;
	order->passes = 1;
	order->length = 1;
	return true;
}

/* Without memory: the host tries again. */
static void busy(struct scsi_task *task)
{
	task->status = SCSI_BUSY;
	task_finish(task);
}

static void run(struct scsi_task *task, struct sanitize *job)
{
	struct tmf_order *others;

	job->task = task;
	topology_lock();
	others = tmf_sanitize_collect(task, alone);
	topology_unlock();
	if (others) {
		tmf_preempt_run(others);
		return;
	}
	give_back(job);
	busy(task);
}

void sanitize_execute(struct scsi_task *task)
{
	struct scsi_lu *lu = task->itl->lu;
	struct sanitize_order order = {0};
	struct sanitize *job;

	if (!read_order(task, &order)) {
		task_finish(task);
		return;
	}
	if (volume_erasable(lu->volume) < 0) {
		task_fail(task, SENSE_ILLEGAL_REQUEST, ASC_COMMAND_SEQUENCE);
		return;
	}
	job = create(lu->volume, &order);
	if (!job) {
		busy(task);
	} else if (claim(lu, job)) {
		run(task, job);
	} else {
		destroy(job);
		task_fail(task, SENSE_NOT_READY, ASC_SANITIZE_IN_PROGRESS);
	}
}

/* On the reservations' thread, where an operation that begins now is stored only later. */
static int leave_failure(struct scsi_lu *lu)
{
	int result;

	if (__atomic_load_n(&lu->sanitize, __ATOMIC_ACQUIRE) != SANITIZE_FAILED)
		return 0;
	result = sanitize_store_save(lu->volume->identity.uuid, NULL);
	if (result < 0)
		return result;
	pthread_mutex_lock(&lu->lock);
	if (lu->sanitize == SANITIZE_FAILED)
		__atomic_store_n(&lu->sanitize, SANITIZE_NONE, __ATOMIC_RELEASE);
	else if (lu->sanitizer)
		lu->sanitizer->before = SANITIZE_NONE;
	pthread_mutex_unlock(&lu->lock);
	return 0;
}

static void left(struct message *message)
{
	task_finish(container_of(message, struct scsi_task, message));
}

static void exit_on_thread(struct message *message)
{
	struct scsi_task *task = container_of(message, struct scsi_task, message);

	if (leave_failure(task->itl->lu) < 0)
		sense_set(task, SENSE_HARDWARE_ERROR, ASC_INTERNAL_FAILURE);
	loop_post(task->nexus->loop, message, left);
}

/* Where nothing has failed there is nothing to leave, and that is no error. */
void sanitize_exit(struct scsi_task *task)
{
	pr_store_post(&task->message, exit_on_thread);
}

/* ---- units come and go; topology lock */

static void go_on(struct message *message)
{
	start(container_of(message, struct sanitize, message));
}

static void resume(struct scsi_lu *lu, const struct sanitize_order *order)
{
	struct sanitize *job = loop_current() ? create(lu->volume, order) : NULL;

	if (!job) {
		log_error("volume %s: no memory to go on with a sanitize operation",
			  lu->volume->name);
		return;
	}
	job->lu = lu;
	lu->sanitizer = job;
	loop_post(job->loop, &job->message, go_on);
}

void sanitize_lu_init(struct scsi_lu *lu)
{
	struct sanitize_order order = {0};

	if (lu->sanitizer || !sanitize_store_get(lu->volume->identity.uuid, &order))
		return;
	pthread_mutex_lock(&lu->lock);
	lu->sanitize_restricted = order.restricted;
	__atomic_store_n(&lu->sanitize, order.failed ? SANITIZE_FAILED : SANITIZE_RUNS,
			 __ATOMIC_RELEASE);
	if (!order.failed)
		resume(lu, &order);
	pthread_mutex_unlock(&lu->lock);
}

void sanitize_lu_finish(struct scsi_lu *lu)
{
	struct sanitize *job = lu->sanitizer;

	if (!job)
		return;
	job->lu = NULL;
	__atomic_store_n(&job->stop, true, __ATOMIC_RELAXED);
}

bool sanitize_stop(struct scsi_lu *lu, struct loop *loop, struct message *message,
		   void (*run)(struct message *message))
{
	struct sanitize *job = lu->sanitizer;

	if (!job || job->stop_message)
		return false;
	job->stop_loop = loop;
	job->stop_message = message;
	job->stopped = run;
	__atomic_store_n(&job->stop, true, __ATOMIC_RELAXED);
	return true;
}
