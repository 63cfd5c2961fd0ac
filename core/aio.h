/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_AIO_H
#define CORE_AIO_H

#include <libaio.h>
#include <pthread.h>

#include "core/disk.h"
#include "core/stream.h"
#include "core/world.h"

/* Private to the libaio + epoll world: aio.c (rounds), aio_disk.c, aio_stream.c. */

#define AIO_DEPTH 1024 /* requests in the kernel per loop; more wait in `waiting` */

/* What epoll watches: the object that gets the events. */
struct aio_watch {
	void (*ready)(struct aio_watch *watch, uint32_t events);
};

/* One thread for what libaio can not do without blocking the loop: discards. */
struct aio_helper {
	pthread_t thread;
	pthread_mutex_t lock; /* protects queue and stopping; never held over a system call */
	pthread_cond_t more;
	struct list queue;
	bool running, stopping;
};

struct aio_engine {
	struct loop *loop;
	bool skipped; /* see aio_poll() */
	int epoll_fd, wake_fd;
	struct aio_watch wake_watch;

	io_context_t context;
	int disk_fd; /* eventfd that libaio rings */
	struct aio_watch disk_watch;
	unsigned in_kernel, in_helper;
	struct list waiting;  /* to be submitted at the end of the round */
	struct list finished; /* with their result, not yet handed back */
	struct aio_helper helper;

	struct list sending; /* streams with something queued to send */
	struct list reading; /* streams that may have more to read than one round's share */
	struct iovec *send_iov;
	uint8_t *receive_memory; /* what comes without a receive_into passes through here */
};

int aio_watch_add(struct aio_engine *engine, int fd, uint32_t events, struct aio_watch *watch);

int aio_disks_open(struct aio_engine *engine, struct err *err);
void aio_disks_close(struct aio_engine *engine);
void aio_disk_submit(struct loop *loop, struct disk *disk, struct disk_request *request);
/* Give the kernel what waits. */
void aio_disks_flush(struct aio_engine *engine);
/* Hand back what libaio and file_disk_now() have finished. */
bool aio_disks_deliver(struct aio_engine *engine);
/* How long the loop may sleep as far as disks are concerned: at most @wait_ns. */
uint64_t aio_disks_wait(const struct aio_engine *engine, uint64_t wait_ns);

int aio_streams_open(struct aio_engine *engine, struct err *err);
void aio_streams_close(struct aio_engine *engine);
void aio_streams_flush(struct aio_engine *engine);
bool aio_streams_read(struct aio_engine *engine);

int aio_stream_attach(struct loop *loop, int fd, const struct stream_handlers *handlers,
		      void *context, struct stream **ret_stream, struct err *err);
int aio_listener_open(struct loop *loop, int fd, const struct listener_handlers *handlers,
		      void *context, struct listener **ret_listener, struct err *err);
void aio_listener_close(struct listener *listener);

#endif
