/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <errno.h>
#include <linux/fs.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "core/aio.h"
#include "core/disk_file.h"

/* Disk requests on libaio. Those of one round go into the kernel in one io_submit; completions
 * are read from the ring the kernel shares with us, and only its eventfd costs a system call,
 * when the loop sleeps.
 *
 * scratch[] of a request holds its control block while the kernel has it, the message while the
 * helper has it, and the result (scratch[0]) while it waits in engine->finished. */

#define SUBMIT_BATCH 128
#define RETRY_NS     1000000u

_Static_assert(sizeof(struct iocb) <= 9 * sizeof(uint64_t), "scratch[9] is file_disk's");
_Static_assert(sizeof(struct message) + sizeof(uint64_t) <= 9 * sizeof(uint64_t), "see above");

static struct iocb *control_block(struct disk_request *request)
{
	return (struct iocb *)(void *)request->scratch;
}

static void finish_later(struct aio_engine *engine, struct disk_request *request, int result)
{
	request->scratch[0] = (uint64_t)(int64_t)result;
	list_push_back(&engine->finished, &request->link);
}

static struct disk_gate *gate_of(const struct disk_request *request)
{
	return &container_of(request->disk, struct file_disk, base)->gate;
}

/* The helper */

static struct message *helper_message(struct disk_request *request)
{
	return (struct message *)(void *)&request->scratch[1];
}

static void helper_done(struct message *message)
{
	struct disk_request *request =
	    (struct disk_request *)(void *)((char *)message -
					    offsetof(struct disk_request, scratch[1]));
	struct aio_engine *engine = loop_engine(request->loop);

	engine->in_helper--;
	if (request->op != DISK_DISCARD)
		disk_gate_leave(gate_of(request), request);
	request->done(request, (int)(int64_t)request->scratch[0]);
}

static struct disk_request *helper_next(struct aio_helper *helper)
{
	struct list *link;

	pthread_mutex_lock(&helper->lock);
	while (!(link = list_pop_front(&helper->queue)) && !helper->stopping)
		pthread_cond_wait(&helper->more, &helper->lock);
	pthread_mutex_unlock(&helper->lock);
	return link ? list_entry(link, struct disk_request, link) : NULL;
}

static void *helper_main(void *argument)
{
	struct aio_helper *helper = argument;
	struct disk_request *request;

	while ((request = helper_next(helper))) {
		request->scratch[0] = (uint64_t)(int64_t)file_disk_block(request);
		loop_post(request->loop, helper_message(request), helper_done);
	}
	return NULL;
}

static int helper_start(struct aio_helper *helper)
{
	sigset_t all, before;
	int r;

	if (helper->running)
		return 0;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r = pthread_create(&helper->thread, NULL, helper_main, helper);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (r)
		return -r;
	pthread_setname_np(helper->thread, "aio-helper");
	helper->running = true;
	return 0;
}

static void helper_submit(struct aio_engine *engine, struct disk_request *request)
{
	struct aio_helper *helper = &engine->helper;
	int r = helper_start(helper);

	if (r < 0) {
		if (request->op != DISK_DISCARD)
			disk_gate_leave(gate_of(request), request);
		finish_later(engine, request, r);
		return;
	}
	engine->in_helper++;
	pthread_mutex_lock(&helper->lock);
	list_push_back(&helper->queue, &request->link);
	pthread_cond_signal(&helper->more);
	pthread_mutex_unlock(&helper->lock);
}

static void helper_stop(struct aio_helper *helper)
{
	if (!helper->running)
		return;
	pthread_mutex_lock(&helper->lock);
	helper->stopping = true;
	pthread_cond_signal(&helper->more);
	pthread_mutex_unlock(&helper->lock);
	pthread_join(helper->thread, NULL);
	helper->running = false;
}

/* The kernel. Its calls are made directly: libaio's names (io_submit ...) are too easily taken
 * by another room of the same program, and its own user-space shortcut is ring_is_empty(). */

static int kernel_setup(unsigned depth, io_context_t *context)
{
	return syscall(SYS_io_setup, depth, context) < 0 ? -errno : 0;
}

static int kernel_submit(io_context_t context, unsigned count, struct iocb **blocks)
{
	long r = syscall(SYS_io_submit, context, (long)count, blocks);

	return r < 0 ? -errno : (int)r;
}

static int kernel_events(io_context_t context, unsigned room, struct io_event *events)
{
	struct timespec at_once = {0};
	long r = syscall(SYS_io_getevents, context, 0L, (long)room, events, &at_once);

	return r < 0 ? -errno : (int)r;
}

static void prepare(struct aio_engine *engine, struct disk_request *request)
{
	struct file_disk *file = container_of(request->disk, struct file_disk, base);
	struct iocb *block = control_block(request);
	off_t at = (off_t)(request->offset + request->progress);
	struct iovec rest;

	if (request->op == DISK_FLUSH) {
		io_prep_fdsync(block, file->fd);
	} else if (request->progress || request->iov_count == 1) {
		rest = file_disk_rest(request);
		if (request->op == DISK_READ)
			io_prep_pread(block, file->fd, rest.iov_base, rest.iov_len, at);
		else
			io_prep_pwrite(block, file->fd, rest.iov_base, rest.iov_len, at);
	} else if (request->op == DISK_READ) {
		io_prep_preadv(block, file->fd, request->iov, (int)request->iov_count, at);
	} else {
		io_prep_pwritev(block, file->fd, request->iov, (int)request->iov_count, at);
	}
	if (request->op == DISK_WRITE && request->flags & DISK_FUA && request->disk->volatile_cache)
		block->aio_rw_flags = RWF_DSYNC;
	io_set_eventfd(block, engine->disk_fd);
	block->data = request;
}

static void submit_soon(struct disk_request *request)
{
	struct aio_engine *engine = loop_engine(request->loop);

	list_push_back(&engine->waiting, &request->link);
}

void aio_disk_submit(struct loop *loop, struct disk *disk, struct disk_request *request)
{
	struct aio_engine *engine = loop_engine(loop);
	int result = file_disk_check(disk, request);

	if (result < 0 || file_disk_now(request, &result))
		finish_later(engine, request, result);
	else if (request->op == DISK_DISCARD)
		helper_submit(engine, request);
	else if (disk_gate_enter(gate_of(request), request, submit_soon))
		submit_soon(request);
}

static void advance(struct aio_engine *engine, struct disk_request *request, int64_t count)
{
	int result;

	if (!file_disk_advance(request, count, &result)) {
		list_push_back(&engine->waiting, &request->link);
		return;
	}
	disk_gate_leave(gate_of(request), request);
	request->done(request, result);
}

/* io_submit stops at the first request it refuses: that one fails alone (a kernel that can not
 * flush this file asynchronously says EINVAL: the helper does it). */
static void refuse(struct aio_engine *engine, struct disk_request *request, int error)
{
	int result;

	if (request->op == DISK_FLUSH && error == -EINVAL) {
		helper_submit(engine, request);
	} else if (file_disk_advance(request, error, &result)) {
		disk_gate_leave(gate_of(request), request);
		finish_later(engine, request, result);
	} else {
		list_push_back(&engine->waiting, &request->link);
	}
}

static unsigned gather(struct aio_engine *engine, struct iocb **blocks)
{
	unsigned count = 0;

	while (count < SUBMIT_BATCH && engine->in_kernel + count < AIO_DEPTH) {
		struct list *link = list_pop_front(&engine->waiting);

		if (!link)
			break;
		prepare(engine, list_entry(link, struct disk_request, link));
		blocks[count++] = control_block(list_entry(link, struct disk_request, link));
	}
	return count;
}

static void put_back(struct aio_engine *engine, struct iocb **blocks, unsigned from, unsigned to)
{
	while (to-- > from) {
		struct disk_request *request = blocks[to]->data;

		list_push_front(&engine->waiting, &request->link);
	}
}

/* Returns false when the kernel takes no more for now. */
static bool submit_batch(struct aio_engine *engine)
{
	struct iocb *blocks[SUBMIT_BATCH];
	unsigned count = gather(engine, blocks), taken = 0;
	int r = count ? kernel_submit(engine->context, count, blocks) : 0;

	if (r > 0)
		taken = (unsigned)r;
	engine->in_kernel += taken;
	if (r < 0 && r != -EAGAIN && r != -EINTR) {
		refuse(engine, blocks[0]->data, r);
		taken = 1;
	}
	put_back(engine, blocks, taken, count);
	return taken > 0;
}

void aio_disks_flush(struct aio_engine *engine)
{
	while (!list_empty(&engine->waiting) && submit_batch(engine))
		;
}

/* The head of the completion ring that io_setup maps into the process (Linux fs/aio.c; the
 * layout is part of the kernel's interface, marked by its magic number). */
struct ring_head {
	unsigned id, count, head, tail, magic, compatible, incompatible, length;
};
#define RING_MAGIC 0xa10a10a1u

static bool ring_is_empty(const struct aio_engine *engine)
{
	const struct ring_head *ring = (const struct ring_head *)(const void *)engine->context;

	if (ring->magic != RING_MAGIC || ring->incompatible)
		return false;
	return __atomic_load_n(&ring->head, __ATOMIC_RELAXED) ==
	       __atomic_load_n(&ring->tail, __ATOMIC_ACQUIRE);
}

static bool deliver_kernel(struct aio_engine *engine)
{
	struct io_event events[SUBMIT_BATCH];
	bool any = false;

	while (engine->in_kernel > 0 && !ring_is_empty(engine)) {
		int count = kernel_events(engine->context, SUBMIT_BATCH, events);

		if (count <= 0)
			break;
		engine->in_kernel -= (unsigned)count;
		for (int i = 0; i < count; i++)
			advance(engine, events[i].data, (int64_t)(long)events[i].res);
		any = true;
		if (count < SUBMIT_BATCH)
			break;
	}
	return any;
}

static bool deliver_finished(struct aio_engine *engine)
{
	struct list batch, *link;

	if (list_empty(&engine->finished))
		return false;
	list_init(&batch);
	list_splice_back(&batch, &engine->finished);
	while ((link = list_pop_front(&batch))) {
		struct disk_request *request = list_entry(link, struct disk_request, link);

		request->done(request, (int)(int64_t)request->scratch[0]);
	}
	return true;
}

bool aio_disks_deliver(struct aio_engine *engine)
{
	bool any = deliver_finished(engine);

	any |= deliver_kernel(engine);
	return any;
}

/* A request the kernel had no room for, with none of ours in flight to wake us, is tried again
 * after a moment. */
uint64_t aio_disks_wait(const struct aio_engine *engine, uint64_t wait_ns)
{
	if (!list_empty(&engine->finished) || (engine->in_kernel > 0 && !ring_is_empty(engine)))
		return 0;
	if (!list_empty(&engine->waiting) && engine->in_kernel == 0 && wait_ns > RETRY_NS)
		return RETRY_NS;
	return wait_ns;
}

/* The eventfd is watched edge-triggered and never read: each completion is an edge. */
static void disk_ready(struct aio_watch *watch, uint32_t events)
{
	(void)watch;
	(void)events;
}

int aio_disks_open(struct aio_engine *engine, struct err *err)
{
	int r;

	list_init(&engine->waiting);
	list_init(&engine->finished);
	list_init(&engine->helper.queue);
	pthread_mutex_init(&engine->helper.lock, NULL);
	pthread_cond_init(&engine->helper.more, NULL);
	engine->disk_watch.ready = disk_ready;
	engine->disk_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (engine->disk_fd < 0)
		return err_set(err, -errno, "can not create an eventfd: %s", strerror(errno));
	r = aio_watch_add(engine, engine->disk_fd, EPOLLIN | EPOLLET, &engine->disk_watch);
	if (r == 0)
		r = kernel_setup(AIO_DEPTH, &engine->context);
	if (r == 0)
		return 0;
	close(engine->disk_fd);
	return err_set(err, r, "can not set up libaio (is fs.aio-max-nr too low?): %s",
		       strerror(-r));
}

void aio_disks_close(struct aio_engine *engine)
{
	assert(list_empty(&engine->finished) && list_empty(&engine->waiting));
	assert(engine->in_kernel == 0 && engine->in_helper == 0);
	helper_stop(&engine->helper);
	pthread_mutex_destroy(&engine->helper.lock);
	pthread_cond_destroy(&engine->helper.more);
	syscall(SYS_io_destroy, engine->context);
	close(engine->disk_fd);
}
