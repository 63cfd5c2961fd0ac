/* SPDX-License-Identifier: Apache-2.0 */
#include <linux/falloc.h>

#include "core/disk_file.h"
#include "core/uring.h"

/* Disk requests on io_uring. What can be answered at once (file_disk_now) waits in
 * engine->finished all the same, because done() never runs inside disk_submit(). It is carried
 * out only when its turn comes, so that the data is still in the processor's cache when done()
 * looks at it. scratch[0] holds the result of those that failed before they started.
 *
 * A round hands back no more than DELIVER_MAX. While one stream alone is heard, its peer waits for
 * our answers and we for its next requests: then a round's share is DELIVER_ALONE, so that the
 * first answers of a batch are on their way while the rest of it is worked on. Each portion costs
 * a send, which is a loss when other streams keep both sides busy, and where a commit is shared by
 * all that are answered together (DISK_GROUP). */

#define DELIVER_MAX   64
#define DELIVER_ALONE 12

static void finish_later(struct uring_engine *engine, struct disk_request *request, int result)
{
	request->scratch[0] = (uint64_t)(int64_t)result;
	list_push_back(&engine->finished, &request->link);
}

static void prepare_transfer(struct io_uring_sqe *sqe, int fd, struct disk_request *request)
{
	uint64_t at = request->offset + request->progress;
	bool write = request->op == DISK_WRITE;

	if (request->progress || request->iov_count == 1) {
		struct iovec rest = file_disk_rest(request);

		io_uring_prep_rw(write ? IORING_OP_WRITE : IORING_OP_READ, sqe, fd, rest.iov_base,
				 (unsigned)rest.iov_len, at);
	} else {
		io_uring_prep_rw(write ? IORING_OP_WRITEV : IORING_OP_READV, sqe, fd, request->iov,
				 request->iov_count, at);
	}
	if (write && request->flags & DISK_FUA && request->disk->volatile_cache)
		sqe->rw_flags = RWF_DSYNC;
}

static void start(struct uring_engine *engine, struct disk_request *request)
{
	struct file_disk *file = container_of(request->disk, struct file_disk, base);
	struct io_uring_sqe *sqe = uring_sqe(engine, URING_DISK, request);
	uint64_t user_data = sqe->user_data;

	if (request->op == DISK_FLUSH)
		io_uring_prep_fsync(sqe, file->fd, IORING_FSYNC_DATASYNC);
	else if (request->op == DISK_DISCARD)
		io_uring_prep_fallocate(sqe, file->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
					(off_t)request->offset, (off_t)request->length);
	else
		prepare_transfer(sqe, file->fd, request);
	sqe->user_data = user_data;
}

static void start_now(struct disk_request *request)
{
	start(loop_engine(request->loop), request);
}

static struct disk_gate *gate_of(const struct disk_request *request)
{
	return &container_of(request->disk, struct file_disk, base)->gate;
}

static void start_at_gate(struct disk_request *request)
{
	if (disk_gate_enter(gate_of(request), request, start_now))
		start_now(request);
}

void uring_disk_submit(struct loop *loop, struct disk *disk, struct disk_request *request)
{
	struct uring_engine *engine = loop_engine(loop);
	int result = file_disk_check(disk, request);

	if (result < 0 || file_disk_at_once(request))
		finish_later(engine, request, result);
	else
		start_at_gate(request);
}

void uring_disk_complete(struct disk_request *request, int result)
{
	if (!file_disk_advance(request, result, &result)) {
		start_now(request);
		return;
	}
	disk_gate_leave(gate_of(request), request);
	request->done(request, result);
}

static void deliver(struct disk_request *request)
{
	int result = (int)(int64_t)request->scratch[0];

	if (result == 0 && !file_disk_now(request, &result))
		start_at_gate(request); /* no longer at once: the usual way */
	else
		request->done(request, result);
}

bool uring_disk_deliver(struct uring_engine *engine)
{
	struct list *link;
	unsigned share = uring_one_stream(engine) ? DELIVER_ALONE : DELIVER_MAX;
	unsigned count = 0, counted = 0;

	while (count < DELIVER_MAX && counted < share &&
	       (link = list_pop_front(&engine->finished))) {
		struct disk_request *request = list_entry(link, struct disk_request, link);

		count++;
		counted += !(request->flags & DISK_GROUP);
		deliver(request);
	}
	return count > 0;
}
