/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_URING_H
#define CORE_URING_H

#include <liburing.h>

#include "core/disk.h"
#include "core/stream.h"
#include "core/world.h"

/* Private to the io_uring world: uring.c (ring, rounds), uring_disk.c, uring_stream.c. */

/* What a completion is for: the low bits of user_data, the rest is the object's address. */
enum uring_tag {
	URING_DISK,         /* struct disk_request */
	URING_RECEIVE,      /* struct uring_stream: provided buffers, one or many completions */
	URING_RECEIVE_INTO, /* struct uring_stream: straight into the owner's buffers */
	URING_SEND,         /* struct uring_stream */
	URING_ACCEPT,       /* struct uring_listener */
	URING_WAKE,         /* the engine's eventfd */
	URING_IGNORE,       /* the answer of a cancellation */
};
#define URING_TAG_MASK 7ull

#define URING_RECEIVE_BUFFERS 256u /* per loop; a power of two */
#define URING_RECEIVE_HOT     32u  /* of them in use, unless they ran out a moment ago */
#define URING_RECEIVE_SIZE    (16u << 10)
#define URING_SEND_IOVECS     4096u /* of all sends that go into one submission */

struct uring_engine {
	struct loop *loop;
	struct io_uring ring;
	bool enabled;
	bool skipped; /* the last round delivered `finished` only and did not enter the kernel */
	int wake_fd;
	uint64_t wake_count; /* what the read of wake_fd fills */

	struct list finished; /* disk requests with their result, not yet handed back */

	struct io_uring_buf_ring *receive_ring;
	char *receive_memory;
	uint16_t receive_spare[URING_RECEIVE_BUFFERS]; /* buffers that are not in the ring */
	unsigned receive_spares, receive_wanted;       /* of these; how many shall be in the ring */
	uint64_t receive_short;                        /* when the ring was found empty */

	const void *heard;      /* the stream that received last; to compare, it may be gone */
	uint64_t several_until; /* until then more than one stream counts as heard */

	struct list sending; /* streams with something queued to send */
	struct iovec *send_iov;
	unsigned send_iov_used;
};

/* uring_sqe: a cleared submission entry, tagged. Submits what is queued when the ring is full. */
struct io_uring_sqe *uring_sqe(struct uring_engine *engine, enum uring_tag tag, void *object);
void uring_cancel(struct uring_engine *engine, enum uring_tag tag, void *object);

void uring_disk_submit(struct loop *loop, struct disk *disk, struct disk_request *request);
void uring_disk_complete(struct disk_request *request, int result);
bool uring_disk_deliver(struct uring_engine *engine);

int uring_streams_open(struct uring_engine *engine, struct err *err);
void uring_streams_close(struct uring_engine *engine);
void uring_streams_flush(struct uring_engine *engine);
bool uring_one_stream(const struct uring_engine *engine);
void uring_complete_receive(struct uring_engine *engine, void *object,
			    const struct io_uring_cqe *cqe);
void uring_complete_receive_into(void *object, int result);
void uring_complete_send(void *object, int result);
void uring_complete_accept(void *object, const struct io_uring_cqe *cqe);

int uring_stream_attach(struct loop *loop, int fd, const struct stream_handlers *handlers,
			void *context, struct stream **ret_stream, struct err *err);
int uring_listener_open(struct loop *loop, int fd, const struct listener_handlers *handlers,
			void *context, struct listener **ret_listener, struct err *err);
void uring_listener_close(struct listener *listener);

#endif
