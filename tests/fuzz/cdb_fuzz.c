/* SPDX-License-Identifier: Apache-2.0 */
/* libFuzzer target: commands and parameter data against a memory volume
 * (LUN 0) and a CD-ROM (LUN 1), from two nexuses.
 * Input: any number of { flags, out length (2 bytes, big-endian), CDB (16 bytes), data-out }.
 * flags: bit 0 nexus, bits 1-2 attribute, bits 3-4 LUN, bit 5 task management after execute,
 * bit 6 end without execute. */
#include <stdlib.h>
#include <string.h>

#include "core/world.h"
#include "target/internal.h"
#include "target/wire.h"

#define HEADER    19u
#define OUT_LIMIT 65536u
#define TASKS     16u /* of one input */

struct fuzz_task {
	struct scsi_task task;
	struct scsi_tmf_request tmf;
	uint8_t *out;
	bool done, answered;
};

static struct loop *loop;
static struct scsi_target *target;
static struct volume *volume, *disc;
static struct scsi_nexus *nexuses[2];
static struct fuzz_task tasks[TASKS];
static const uint8_t *input;
static size_t input_left;

static void require(bool condition)
{
	if (!condition)
		abort();
}

static void task_done(struct scsi_task *task)
{
	struct fuzz_task *fuzz = container_of(task, struct fuzz_task, task);
	uint32_t total = 0;

	require(!fuzz->done);
	for (unsigned i = 0; i < task->data_in_count; i++)
		total += (uint32_t)task->data_in[i].iov_len;
	require(total == task->data_in_length);
	require(task->sense_length <= SCSI_SENSE_MAX);
	fuzz->done = true;
	scsi_task_end(task);
}

static void tmf_answered(struct scsi_tmf_request *request, enum scsi_tmf_response response)
{
	(void)response;
	container_of(request, struct fuzz_task, tmf)->answered = true;
}

static void start_one(struct fuzz_task *fuzz, uint8_t flags, uint32_t out_length)
{
	struct scsi_task *task = &fuzz->task;

	memset(fuzz, 0, sizeof(*fuzz));
	fuzz->answered = true;
	fuzz->out = aligned_alloc(4096, OUT_LIMIT);
	require(fuzz->out);
	memcpy(fuzz->out, input, out_length);
	task->nexus = nexuses[flags & 1];
	task->attribute = flags >> 1 & 3;
	task->lun[1] = flags >> 3 & 3;
	memcpy(task->cdb, input - 16, 16);
	task->cdb_length = 16;
	task->tag = (uint64_t)(fuzz - tasks);
	task->data_out_expected = out_length;
	task->data_in_expected = 1 << 20;
	task->done = task_done;
	scsi_task_begin(task);
	require(task->data_out_length <= out_length);
	if (task->finished || flags & 0x40) {
		fuzz->done = true;
		scsi_task_end(task);
		return;
	}
	if (task->data_out_length)
		task->data_out[task->data_out_count++] =
		    (struct iovec){fuzz->out, task->data_out_length};
	scsi_task_execute(task);
	if (flags & 0x20) {
		fuzz->answered = false;
		fuzz->tmf = (struct scsi_tmf_request){.function = task->cdb[15] % 11,
						      .nexus = task->nexus,
						      .tag = task->tag,
						      .answered = tmf_answered};
		scsi_tmf_submit(&fuzz->tmf);
	}
}

static unsigned task_count;

static void run_input(struct deferred *deferred)
{
	unsigned lun;

	(void)deferred;
	require(scsi_target_create("iqn.fuzz", &target, NULL) == 0);
	require(memory_volume_create("fuzz", 32 << 20, &volume, NULL) == 0);
	require(scsi_target_map(target, volume, 0, &lun, NULL) == 0);
	require(memory_volume_create("disc", 4 << 20, &disc, NULL) == 0);
	require(scsi_target_map_as(target, disc, 1, NULL, &(struct scsi_lun_mode){.cdrom = true},
				   &lun, NULL) == 0);
	require(scsi_nexus_create(target, "i0", "t0", 1, &nexuses[0], NULL) == 0);
	require(scsi_nexus_create(target, "i1", "t0", 1, &nexuses[1], NULL) == 0);
	for (task_count = 0; task_count < TASKS && input_left >= HEADER; task_count++) {
		uint8_t flags = input[0];
		uint32_t out_length = get_be16(input + 1);

		input += HEADER;
		input_left -= HEADER;
		if (out_length > input_left)
			out_length = (uint32_t)input_left;
		start_one(&tasks[task_count], flags, out_length);
		input += out_length;
		input_left -= out_length;
	}
}

static bool all_over(void)
{
	for (unsigned i = 0; i < task_count; i++)
		if (!tasks[i].done || !tasks[i].answered)
			return false;
	return true;
}

static void clean_up(struct deferred *deferred)
{
	(void)deferred;
	scsi_nexus_destroy(nexuses[0]);
	scsi_nexus_destroy(nexuses[1]);
	require(scsi_target_destroy(target, NULL) == 0);
	require(volume->refs == 1);
	volume_unref(volume);
	require(disc->refs == 1);
	volume_unref(disc);
	for (unsigned i = 0; i < task_count; i++)
		free(tasks[i].out);
	task_count = 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct deferred work;

	if (!loop)
		require(loop_create(&world_aio, &loop, NULL) == 0);
	input = data;
	input_left = size;
	deferred_init(&work, run_input);
	loop_defer(loop, &work);
	do
		loop_poll(loop, 0);
	while (!all_over() || volume->refs > 2); /* ours, the unit's; a sanitize operation's */
	deferred_init(&work, clean_up);
	loop_defer(loop, &work);
	loop_poll(loop, 0);
	require(buf_pool_used(loop_buffers(loop)) == 0);
	return 0;
}
