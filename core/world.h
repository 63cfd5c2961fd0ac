/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_WORLD_H
#define CORE_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/disk.h"
#include "core/err.h"
#include "core/loop.h"
#include "core/stream.h"

/* The seam between the program and everything outside it. Three worlds: io_uring, libaio +
 * epoll, and the seeded simulator of tests/sim. Whatever reaches outside in any other way can
 * not be tested by the simulator, so nothing in volumes/, target/, iscsi/ or above does.
 *
 * A world keeps its per-loop state behind loop_engine(). Timers, deferred work and messages
 * are common code (loop.c); the world only waits, wakes, tells the time and does I/O. */
struct world_ops {
	const char *name; /* "uring", "aio", "sim" */

	/* Required. Create and free the per-loop state; on the creating thread. */
	int (*loop_open)(struct loop *loop, struct err *err);
	void (*loop_close)(struct loop *loop);
	/* Required; on the loop's thread. Submit what is queued, wait until something completes,
	 * wake() is called or @wait_ns (UINT64_MAX = for ever) have passed, then deliver all
	 * completions. Returns true when anything was delivered. */
	bool (*poll)(struct loop *loop, uint64_t wait_ns);
	/* Required; any thread. Make the current or next poll() return. */
	void (*wake)(struct loop *loop);
	/* Required; the loop's thread. */
	uint64_t (*monotonic)(struct loop *loop); /* ns */
	uint64_t (*wall)(struct loop *loop);      /* ns since 1970 */
	void (*random)(struct loop *loop, void *buffer, size_t length);

	/* Required. See disk.h. */
	int (*disk_open)(const char *path, unsigned flags, uint64_t size, struct disk **ret_disk,
			 struct err *err);
	void (*disk_close)(struct disk *disk);
	int (*disk_rescan)(struct disk *disk); /* Optional; NULL: sizes never change */
	void (*disk_submit)(struct loop *loop, struct disk *disk, struct disk_request *request);

	/* Optional as a group: NULL in a world without a network. See stream.h. */
	int (*stream_attach)(struct loop *loop, int fd, const struct stream_handlers *handlers,
			     void *context, struct stream **ret_stream, struct err *err);
	void (*stream_send)(struct stream *stream, struct stream_send *send);
	void (*stream_receive_into)(struct stream *stream, struct stream_receive *receive);
	void (*stream_pause)(struct stream *stream);
	void (*stream_resume)(struct stream *stream);
	void (*stream_close)(struct stream *stream);
	void (*stream_drain)(struct stream *stream, uint64_t limit_ns);
	int (*listener_open)(struct loop *loop, int fd, const struct listener_handlers *handlers,
			     void *context, struct listener **ret_listener, struct err *err);
	void (*listener_close)(struct listener *listener);
};

/* The real worlds. world_select("auto"|"uring"|"aio"): auto takes io_uring when the kernel
 * allows it with every feature we use, else libaio; "uring" on a kernel that refuses is an
 * error that names the reason (kernel.io_uring_disabled, seccomp, too old). */
extern const struct world_ops world_uring, world_aio;
int world_select(const char *name, const struct world_ops **ret_world, struct err *err)
    __attribute__((warn_unused_result));

/* For worlds: the head of every world's stream and listener; the rest is the world's own.
 * stream_context(), stream_fd() and their like read these. */
struct stream {
	struct loop *loop;
	const struct stream_handlers *handlers;
	void *context;
	int fd;
	size_t send_pending; /* bytes queued, not yet taken */
};
struct listener {
	struct loop *loop;
	const struct listener_handlers *handlers;
	void *context;
	int fd;
	uint16_t port;
};

/* For worlds: read the clock anew; poll() calls it after the wait, before the first delivery. */
void loop_tick(struct loop *loop);
/* For worlds: the private pointer a world hangs its per-loop state on. */
void *loop_engine(const struct loop *loop);
void loop_set_engine(struct loop *loop, void *engine);

#endif
