/* SPDX-License-Identifier: Apache-2.0 */
#include "core/aio.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/disk_file.h"
#include "core/heap.h"
#include "core/stream_base.h"

/* The libaio + epoll world, for kernels and sites without io_uring. One round: io_submit what
 * waits, send what is queued, epoll_wait, then read sockets and libaio's completion ring. */

#define EVENTS 128

int aio_watch_add(struct aio_engine *engine, int fd, uint32_t events, struct aio_watch *watch)
{
	struct epoll_event event = {.events = events, .data.ptr = watch};

	return epoll_ctl(engine->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

/* Edge-triggered and never read, like the disks' eventfd. */
static void wake_ready(struct aio_watch *watch, uint32_t events)
{
	(void)watch;
	(void)events;
}

static int open_epoll(struct aio_engine *engine, struct err *err)
{
	engine->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	engine->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	engine->wake_watch.ready = wake_ready;
	if (engine->epoll_fd < 0 || engine->wake_fd < 0 ||
	    aio_watch_add(engine, engine->wake_fd, EPOLLIN | EPOLLET, &engine->wake_watch) < 0)
		return err_set(err, -errno, "can not set up epoll: %s", strerror(errno));
	return 0;
}

static void close_epoll(struct aio_engine *engine)
{
	if (engine->wake_fd >= 0)
		close(engine->wake_fd);
	if (engine->epoll_fd >= 0)
		close(engine->epoll_fd);
}

static int aio_loop_open(struct loop *loop, struct err *err)
{
	struct aio_engine *engine = heap_zalloc(sizeof *engine);
	int r;

	if (!engine)
		return err_set(err, -ENOMEM, "no memory for an event loop");
	engine->loop = loop;
	r = open_epoll(engine, err);
	if (r < 0)
		goto fail_epoll;
	r = aio_streams_open(engine, err);
	if (r < 0)
		goto fail_epoll;
	r = aio_disks_open(engine, err);
	if (r < 0)
		goto fail_streams;
	loop_set_engine(loop, engine);
	return 0;

fail_streams:
	aio_streams_close(engine);
fail_epoll:
	close_epoll(engine);
	heap_free(engine);
	return r;
}

static void aio_loop_close(struct loop *loop)
{
	struct aio_engine *engine = loop_engine(loop);

	aio_disks_close(engine);
	aio_streams_close(engine);
	close_epoll(engine);
	heap_free(engine);
	loop_set_engine(loop, NULL);
}

static void aio_wake(struct loop *loop)
{
	struct aio_engine *engine = loop_engine(loop);
	uint64_t one = 1;

	/* Full after 2^64 - 2 wake-ups, and full is awake. */
	if (write(engine->wake_fd, &one, sizeof one) < 0)
		return;
}

static int wait_events(struct aio_engine *engine, struct epoll_event *events, uint64_t wait_ns)
{
	struct timespec ts = {.tv_sec = (time_t)(wait_ns / 1000000000u),
			      .tv_nsec = (long)(wait_ns % 1000000000u)};
	int count = epoll_pwait2(engine->epoll_fd, events, EVENTS,
				 wait_ns == UINT64_MAX ? NULL : &ts, NULL);

	/* Some container filters know only the older call; it counts in milliseconds. */
	if (count < 0 && (errno == ENOSYS || errno == EPERM))
		count = epoll_wait(
		    engine->epoll_fd, events, EVENTS,
		    wait_ns > UINT64_C(1000000000) ? 1000 : (int)((wait_ns + 999999) / 1000000));
	return count < 0 ? 0 : count; /* EINTR: the next round waits again */
}

/* As in uring_poll(): what was answered at once is handed back without a system call, but not
 * twice in a row. */
static bool aio_poll(struct loop *loop, uint64_t wait_ns)
{
	struct aio_engine *engine = loop_engine(loop);
	struct epoll_event events[EVENTS];
	bool any;
	int count;

	if (!engine->skipped && !list_empty(&engine->finished)) {
		engine->skipped = true;
		loop_tick(loop);
		return aio_disks_deliver(engine);
	}
	engine->skipped = false;
	aio_disks_flush(engine);
	aio_streams_flush(engine);
	if (!list_empty(&engine->reading))
		wait_ns = 0;
	count = wait_events(engine, events, aio_disks_wait(engine, wait_ns));
	loop_tick(loop);
	for (int i = 0; i < count; i++) {
		struct aio_watch *watch = events[i].data.ptr;

		watch->ready(watch, events[i].events);
	}
	any = count > 0;
	any |= aio_disks_deliver(engine);
	any |= aio_streams_read(engine);
	return any;
}

static int aio_disk_open(const char *path, unsigned flags, uint64_t size, struct disk **ret_disk,
			 struct err *err)
{
	return file_disk_open(&world_aio, path, flags, size, ret_disk, err);
}

const struct world_ops world_aio = {
    .name = "aio",
    .loop_open = aio_loop_open,
    .loop_close = aio_loop_close,
    .poll = aio_poll,
    .wake = aio_wake,
    .monotonic = clock_monotonic,
    .wall = clock_wall,
    .random = clock_random,
    .disk_open = aio_disk_open,
    .disk_close = file_disk_close,
    .disk_rescan = file_disk_rescan,
    .disk_submit = aio_disk_submit,
    .stream_attach = aio_stream_attach,
    .stream_send = stream_base_send,
    .stream_receive_into = stream_base_receive_into,
    .stream_pause = stream_base_pause,
    .stream_resume = stream_base_resume,
    .stream_close = stream_base_close,
    .stream_drain = stream_base_drain,
    .listener_open = aio_listener_open,
    .listener_close = aio_listener_close,
};
