/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BENCH_CONNECTION_H
#define BENCH_CONNECTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "bench/session.h"
#include "bench/wire.h"
#include "core/err.h"

/* A session in full feature phase with its I/Os in flight. It asks its driver for work whenever
 * a task is idle and the command window is open, and hands each finished one back. */

struct connection;

/* One I/O. The tag on the wire is its index. */
struct task {
	uint64_t block;      /* set by next(), in units of the I/O size from LUN block 0 */
	uint64_t generation; /* the driver's */
	uint64_t started;    /* the driver's */
	uint8_t *data;       /* room for one I/O */
	bool write, busy;
	uint32_t got;               /* bytes read so far */
	uint32_t send_at, send_end; /* bytes of data still to go out in this burst */
	uint32_t transfer_tag, data_sn;
	struct task *next; /* with data to send */
};

struct connection_driver {
	/* Fill block, write, and data for a write. False: nothing to do now. */
	bool (*next)(void *context, struct task *task);
	/* Bytes have come; what is in them comes next. For reading the clock once. */
	void (*arrived)(void *context);
	/* It went well; a read's data is in the task if keep_data was set. 0 or -errno + text. */
	int (*completed)(void *context, struct task *task, struct err *err);
	void *context;
	bool keep_data;
	bool fua;
	uint32_t io_bytes;
	uint64_t lun;
	unsigned depth;
};

#define CONNECTION_IOVS  256u
#define CONNECTION_HEADS (16u << 10)
#define CONNECTION_IN    (256u << 10)

struct connection {
	struct session session;
	const struct connection_driver *driver;
	struct task *tasks, **idle;
	unsigned idle_count;
	struct task *sending, **sending_end;
	bool blocked; /* the socket takes no more: send again when it does */

	/* going out: iov[out_first .. out_count), headers and digests in heads */
	struct iovec iov[CONNECTION_IOVS];
	unsigned out_first, out_count;
	size_t heads_used;
	uint8_t heads[CONNECTION_HEADS];

	/* coming in: buffer[in_start .. in_end) is not looked at yet */
	enum { IN_HEADER, IN_DATA, IN_TAIL } state;
	size_t in_start, in_end;
	uint8_t header[WIRE_HEADER]; /* of the PDU under way */
	uint32_t data_length, data_left, tail_length, crc;
	struct task *task;  /* whose Data-In it is */
	uint8_t small[256]; /* the front of other data: sense */
	uint8_t *in;
};

int connection_open(struct connection *connection, const struct session *session,
		    const struct connection_driver *driver, struct err *err)
    __attribute__((warn_unused_result));
/* Logs out when nothing is in flight, else just closes. */
void connection_close(struct connection *connection);
unsigned connection_in_flight(const struct connection *connection);
/* connection_send: start what may start and send until done or blocked. */
int connection_send(struct connection *connection, struct err *err)
    __attribute__((warn_unused_result));
/* connection_receive: one receive call and all that came with it. @flags as for recv().
 * -EAGAIN without text: nothing was there. */
int connection_receive(struct connection *connection, int flags, struct err *err)
    __attribute__((warn_unused_result));

#endif
