/* SPDX-License-Identifier: Apache-2.0 */
#include "core/uring.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/disk_file.h"
#include "core/heap.h"
#include "core/stream_base.h"

/* The io_uring world: one ring per loop. SINGLE_ISSUER and DEFER_TASKRUN (Linux 6.1) make the
 * kernel do its part only while this thread is inside io_uring_enter: no interruptions, no
 * locks, and nothing is received behind our back between two rounds. A ring starts disabled
 * and is enabled by the thread that first polls it, which so becomes its single issuer.
 *
 * One io_uring_enter per round submits all that was queued, waits, and runs the kernel's
 * deferred part. The entries it completes are read from the shared ring. */

#define SUBMISSIONS 1024u
/* Threads of the kernel for what waits in it: flushes, files. Each device has disk_gate.h before
 * it, so that several may hang and leave some. */
#define WORKERS     512u
#define COMPLETIONS 8192u /* more are kept by the kernel (NODROP) and arrive a round later */

static const unsigned setup_flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
				    IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_CQSIZE |
				    IORING_SETUP_SUBMIT_ALL | IORING_SETUP_R_DISABLED;

/* liburing 2.3 declares io_uring_enable_rings() and does not export it. */
static void enable(struct uring_engine *engine)
{
	if (engine->enabled)
		return;
	engine->enabled = true;
	syscall(SYS_io_uring_register, engine->ring.ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
}

struct io_uring_sqe *uring_sqe(struct uring_engine *engine, enum uring_tag tag, void *object)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&engine->ring);

	/* Only a full ring comes here; the kernel takes all of it (SUBMIT_ALL), or is short of
	 * memory for a moment. */
	while (!sqe) {
		enable(engine);
		io_uring_submit(&engine->ring);
		sqe = io_uring_get_sqe(&engine->ring);
	}
	memset(sqe, 0, sizeof *sqe);
	sqe->user_data = (uint64_t)(uintptr_t)object | tag;
	return sqe;
}

void uring_cancel(struct uring_engine *engine, enum uring_tag tag, void *object)
{
	struct io_uring_sqe *sqe = uring_sqe(engine, URING_IGNORE, NULL);
	uint64_t user_data = sqe->user_data;

	io_uring_prep_cancel64(sqe, (uint64_t)(uintptr_t)object | tag, 0);
	sqe->user_data = user_data;
}

static void arm_wake(struct uring_engine *engine)
{
	struct io_uring_sqe *sqe = uring_sqe(engine, URING_WAKE, NULL);
	uint64_t user_data = sqe->user_data;

	io_uring_prep_read(sqe, engine->wake_fd, &engine->wake_count, sizeof engine->wake_count, 0);
	sqe->user_data = user_data;
}

static const char *refusal(int r)
{
	switch (r) {
	case -EPERM:
	case -EACCES:
		return "io_uring is not allowed here (kernel.io_uring_disabled, or a seccomp "
		       "filter)";
	case -ENOSYS:
		return "this kernel has no io_uring";
	case -EINVAL:
		return "this kernel's io_uring is too old (Linux 6.1 is needed)";
	case -ENOMEM:
		return "no memory for io_uring (or RLIMIT_MEMLOCK is too low)";
	default:
		return "io_uring can not be set up";
	}
}

static int open_ring(struct io_uring *ring, unsigned entries, unsigned completions, struct err *err)
{
	struct io_uring_params params = {.flags = setup_flags, .cq_entries = completions};
	unsigned needed = IORING_FEAT_NODROP | IORING_FEAT_SUBMIT_STABLE | IORING_FEAT_EXT_ARG;
	int r = io_uring_queue_init_params(entries, ring, &params);

	if (r < 0)
		return err_set(err, r, "%s: %s", refusal(r), strerror(-r));
	if ((params.features & needed) != needed) {
		io_uring_queue_exit(ring);
		return err_set(err, -EOPNOTSUPP, "%s", refusal(-EINVAL));
	}
	return 0;
}

static int check_operations(struct io_uring *ring, struct err *err)
{
	static const int needed[] = {
	    IORING_OP_READ,    IORING_OP_WRITE,   IORING_OP_READV,        IORING_OP_WRITEV,
	    IORING_OP_FSYNC,   IORING_OP_ACCEPT,  IORING_OP_FALLOCATE,    IORING_OP_RECV,
	    IORING_OP_RECVMSG, IORING_OP_SENDMSG, IORING_OP_ASYNC_CANCEL,
	};
	struct io_uring_probe *probe = io_uring_get_probe_ring(ring);
	int r = 0;

	if (!probe)
		return err_set(err, -ENOMEM, "%s", refusal(-EINVAL));
	for (unsigned i = 0; i < sizeof needed / sizeof needed[0]; i++)
		if (!io_uring_opcode_supported(probe, needed[i]))
			r = err_set(err, -EOPNOTSUPP, "%s", refusal(-EINVAL));
	io_uring_free_probe(probe);
	return r;
}

static int uring_loop_open(struct loop *loop, struct err *err)
{
	struct uring_engine *engine = heap_zalloc(sizeof *engine);
	int r;

	if (!engine)
		return err_set(err, -ENOMEM, "no memory for an event loop");
	engine->loop = loop;
	list_init(&engine->finished);
	list_init(&engine->sending);
	engine->wake_fd = eventfd(0, EFD_CLOEXEC);
	if (engine->wake_fd < 0) {
		r = err_set(err, -errno, "can not create an eventfd: %s", strerror(errno));
		goto fail_engine;
	}
	r = open_ring(&engine->ring, SUBMISSIONS, COMPLETIONS, err);
	if (r < 0)
		goto fail_wake;
	/* The kernel's own bound is four for each processor, for all devices together. It is no
	 * harm when this one is refused. */
	(void)io_uring_register_iowq_max_workers(&engine->ring, (unsigned[]){WORKERS, 0});
	r = check_operations(&engine->ring, err);
	if (r == 0)
		r = uring_streams_open(engine, err);
	if (r < 0)
		goto fail_ring;
	arm_wake(engine);
	loop_set_engine(loop, engine);
	return 0;

fail_ring:
	io_uring_queue_exit(&engine->ring);
fail_wake:
	close(engine->wake_fd);
fail_engine:
	heap_free(engine);
	return r;
}

static void uring_loop_close(struct loop *loop)
{
	struct uring_engine *engine = loop_engine(loop);

	assert(list_empty(&engine->finished));
	io_uring_queue_exit(&engine->ring);
	uring_streams_close(engine);
	close(engine->wake_fd);
	heap_free(engine);
	loop_set_engine(loop, NULL);
}

static void uring_wake(struct loop *loop)
{
	struct uring_engine *engine = loop_engine(loop);
	uint64_t one = 1;

	/* It can only fail when the counter is full, and then the loop is awake anyway. */
	if (write(engine->wake_fd, &one, sizeof one) < 0)
		return;
}

static void enter(struct uring_engine *engine, uint64_t wait_ns)
{
	struct io_uring *ring = &engine->ring;
	struct __kernel_timespec ts = {.tv_sec = (long long)(wait_ns / 1000000000u),
				       .tv_nsec = (long long)(wait_ns % 1000000000u)};
	struct io_uring_cqe *cqe;
	int r = 0;

	if (wait_ns == UINT64_MAX && io_uring_cq_ready(ring) == 0)
		r = io_uring_submit_and_wait(ring, 1);
	else if (wait_ns && io_uring_cq_ready(ring) == 0)
		r = io_uring_submit_and_wait_timeout(ring, &cqe, 1, &ts, NULL);
	else if (io_uring_sq_ready(ring) ||
		 IO_URING_READ_ONCE(*ring->sq.kflags) & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW))
		r = io_uring_submit_and_get_events(ring);
	/* EINTR, ETIME and passing shortages: the next round tries again. EEXIST is a loop that
	 * was polled on one thread and is run on another. */
	assert(r != -EEXIST);
}

static void complete(struct uring_engine *engine, const struct io_uring_cqe *cqe)
{
	void *object = (void *)(uintptr_t)(cqe->user_data & ~URING_TAG_MASK);

	switch ((enum uring_tag)(cqe->user_data & URING_TAG_MASK)) {
	case URING_DISK:
		uring_disk_complete(object, cqe->res);
		break;
	case URING_RECEIVE:
		uring_complete_receive(engine, object, cqe);
		break;
	case URING_RECEIVE_INTO:
		uring_complete_receive_into(object, cqe->res);
		break;
	case URING_SEND:
		uring_complete_send(object, cqe->res);
		break;
	case URING_ACCEPT:
		uring_complete_accept(object, cqe);
		break;
	case URING_WAKE:
		arm_wake(engine);
		break;
	case URING_IGNORE:
		break;
	}
}

/* Only what is there now: completions that arrive meanwhile are the next round's. */
static bool reap(struct uring_engine *engine)
{
	unsigned count = io_uring_cq_ready(&engine->ring);
	bool any = count > 0;

	while (count-- > 0) {
		struct io_uring_cqe *entry, cqe;

		if (io_uring_peek_cqe(&engine->ring, &entry) < 0)
			break;
		cqe = *entry;
		io_uring_cqe_seen(&engine->ring, entry);
		complete(engine, &cqe);
	}
	return any;
}

/* Requests answered at once (file_disk_now) are handed back without a trip into the kernel, but
 * not twice in a row: a chain of them must not starve the network. */
static bool uring_poll(struct loop *loop, uint64_t wait_ns)
{
	struct uring_engine *engine = loop_engine(loop);
	bool any;

	enable(engine);
	if (!list_empty(&engine->finished) && !engine->skipped) {
		engine->skipped = true;
		loop_tick(loop);
		return uring_disk_deliver(engine);
	}
	engine->skipped = false;
	uring_streams_flush(engine);
	enter(engine, list_empty(&engine->finished) ? wait_ns : 0);
	loop_tick(loop);
	any = uring_disk_deliver(engine);
	any |= reap(engine);
	return any;
}

static int uring_disk_open(const char *path, unsigned flags, uint64_t size, struct disk **ret_disk,
			   struct err *err)
{
	return file_disk_open(&world_uring, path, flags, size, ret_disk, err);
}

const struct world_ops world_uring = {
    .name = "uring",
    .loop_open = uring_loop_open,
    .loop_close = uring_loop_close,
    .poll = uring_poll,
    .wake = uring_wake,
    .monotonic = clock_monotonic,
    .wall = clock_wall,
    .random = clock_random,
    .disk_open = uring_disk_open,
    .disk_close = file_disk_close,
    .disk_rescan = file_disk_rescan,
    .disk_submit = uring_disk_submit,
    .stream_attach = uring_stream_attach,
    .stream_send = stream_base_send,
    .stream_receive_into = stream_base_receive_into,
    .stream_pause = stream_base_pause,
    .stream_resume = stream_base_resume,
    .stream_close = stream_base_close,
    .stream_drain = stream_base_drain,
    .listener_open = uring_listener_open,
    .listener_close = uring_listener_close,
};
