/* SPDX-License-Identifier: Apache-2.0 */
/* The wire side of the load: what must cost as little as possible, so that the server is what is
 * measured. All commands that can go leave in one sendmsg(), all answers that are there come in
 * one recv(); data is kept only when somebody wants to look at it. */
#include "bench/connection.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/crc32c.h"

int connection_open(struct connection *connection, const struct session *session,
		    const struct connection_driver *driver, struct err *err)
{
	size_t stride = (driver->io_bytes + 4095u) & ~4095u;

	*connection = (struct connection){.session = *session, .driver = driver};
	connection->sending_end = &connection->sending;
	connection->in = malloc(CONNECTION_IN);
	connection->tasks = calloc(driver->depth, sizeof(*connection->tasks));
	connection->idle = calloc(driver->depth, sizeof(struct task *));
	uint8_t *data = aligned_alloc(4096, stride * driver->depth);
	if (!connection->in || !connection->tasks || !connection->idle || !data) {
		free(data);
		return err_set(err, -ENOMEM, "no memory for %u I/Os", driver->depth);
	}
	memset(data, 0x5a, stride * driver->depth);
	for (unsigned i = 0; i < driver->depth; i++) {
		connection->tasks[i].data = data + i * stride;
		connection->idle[connection->idle_count++] = &connection->tasks[i];
	}
	return 0;
}

unsigned connection_in_flight(const struct connection *connection)
{
	return connection->driver->depth - connection->idle_count;
}

void connection_close(struct connection *connection)
{
	if (connection->driver == NULL)
		return;
	if (connection_in_flight(connection) == 0)
		session_close(&connection->session);
	else
		close(connection->session.fd);
	if (connection->tasks != NULL)
		free(connection->tasks[0].data);
	free(connection->tasks);
	free(connection->idle);
	free(connection->in);
}

/* --- going out --- */

static void out_add(struct connection *connection, void *data, size_t length)
{
	struct iovec *last = &connection->iov[connection->out_count];

	if (connection->out_count > connection->out_first &&
	    (char *)last[-1].iov_base + last[-1].iov_len == data)
		last[-1].iov_len += length;
	else
		connection->iov[connection->out_count++] = (struct iovec){data, length};
}

static bool out_has_room(const struct connection *connection)
{
	return connection->out_count + 4 <= CONNECTION_IOVS &&
	       connection->heads_used + WIRE_HEADER + 2 * WIRE_DIGEST <= CONNECTION_HEADS;
}

/* Room for a header; it is added to what goes out by out_pdu(). */
static uint8_t *out_header(struct connection *connection)
{
	return connection->heads + connection->heads_used;
}

static void out_digest(struct connection *connection, uint32_t crc)
{
	uint8_t *at = connection->heads + connection->heads_used;

	wire_put_digest(at, crc);
	out_add(connection, at, WIRE_DIGEST);
	connection->heads_used += WIRE_DIGEST;
}

/* The header is written; data lengths are multiples of 512, so nothing is padded. */
static void out_pdu(struct connection *connection, uint8_t *data, uint32_t length)
{
	uint8_t *header = out_header(connection);

	wire_put24(header + 5, length);
	out_add(connection, header, WIRE_HEADER);
	connection->heads_used += WIRE_HEADER;
	if (connection->session.header_digest)
		out_digest(connection, crc32c(0, header, WIRE_HEADER));
	if (length == 0)
		return;
	out_add(connection, data, length);
	if (connection->session.data_digest)
		out_digest(connection, crc32c(0, data, length));
}

static uint32_t min32(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

static void queue_data(struct connection *connection, struct task *task)
{
	task->next = NULL;
	*connection->sending_end = task;
	connection->sending_end = &task->next;
}

static uint32_t task_tag(const struct connection *connection, const struct task *task)
{
	return (uint32_t)(task - connection->tasks);
}

/* The next Data-Out of the first task that has any. */
static void out_data(struct connection *connection)
{
	struct task *task = connection->sending;
	uint32_t length = min32(task->send_end - task->send_at, connection->session.segment_max);
	uint8_t *header = out_header(connection);
	bool final = task->send_at + length == task->send_end;

	memset(header, 0, WIRE_HEADER);
	header[0] = WIRE_DATA_OUT;
	header[1] = final ? WIRE_FINAL : 0;
	header[9] = (uint8_t)connection->driver->lun;
	wire_put32(header + 16, task_tag(connection, task));
	wire_put32(header + 20, task->transfer_tag);
	wire_put32(header + 28, connection->session.exp_statsn);
	wire_put32(header + 36, task->data_sn++);
	wire_put32(header + 40, task->send_at);
	out_pdu(connection, task->data + task->send_at, length);
	task->send_at += length;
	if (!final)
		return;
	connection->sending = task->next;
	if (connection->sending == NULL)
		connection->sending_end = &connection->sending;
}

/* Immediate data rides with the command, the rest of the first burst follows unasked where that
 * was agreed (RFC 7143 13.10, 13.11, 13.14). */
static uint32_t plan_write(struct connection *connection, struct task *task, uint8_t *header)
{
	const struct session *session = &connection->session;
	uint32_t first = min32(connection->driver->io_bytes, session->first_burst);
	uint32_t immediate = session->immediate_data ? min32(first, session->segment_max) : 0;

	task->send_at = immediate;
	task->send_end = session->initial_r2t ? immediate : first;
	task->transfer_tag = WIRE_NO_TAG;
	task->data_sn = 0;
	if (task->send_at < task->send_end) {
		header[1] &= (uint8_t)~WIRE_FINAL;
		queue_data(connection, task);
	}
	return immediate;
}

static void out_command(struct connection *connection, struct task *task)
{
	uint8_t *header = out_header(connection);
	uint32_t bytes = connection->driver->io_bytes, immediate = 0;
	uint32_t blocks = bytes / connection->session.block_bytes;

	task->busy = true;
	task->got = 0;
	session_build_command(header, &connection->session, connection->driver->lun,
			      task_tag(connection, task));
	wire_put32(header + 20, bytes);
	header[1] |= task->write ? WIRE_WRITE : WIRE_READ;
	header[32] = task->write ? 0x8a : 0x88;                         /* WRITE(16), READ(16) */
	header[33] = task->write && connection->driver->fua ? 0x08 : 0; /* SBC-3 5.33 */
	wire_put64(header + 34, task->block * blocks);
	wire_put32(header + 42, blocks);
	if (task->write)
		immediate = plan_write(connection, task, header);
	out_pdu(connection, task->data, immediate);
}

static bool window_open(const struct session *session)
{
	return (int32_t)(session->max_cmdsn - session->cmdsn) >= 0;
}

static bool start_one(struct connection *connection)
{
	if (connection->idle_count == 0 || !window_open(&connection->session))
		return false;
	struct task *task = connection->idle[connection->idle_count - 1];
	if (!connection->driver->next(connection->driver->context, task))
		return false;
	connection->idle_count--;
	out_command(connection, task);
	return true;
}

static void fill(struct connection *connection)
{
	while (out_has_room(connection)) {
		if (connection->sending != NULL)
			out_data(connection);
		else if (!start_one(connection))
			break;
	}
}

static void out_advance(struct connection *connection, size_t sent)
{
	struct iovec *iov = &connection->iov[connection->out_first];

	for (; sent > 0 && sent >= iov->iov_len; iov++, connection->out_first++)
		sent -= iov->iov_len;
	if (sent > 0) {
		iov->iov_base = (char *)iov->iov_base + sent;
		iov->iov_len -= sent;
	}
}

int connection_send(struct connection *connection, struct err *err)
{
	connection->blocked = false;
	for (;;) {
		if (connection->out_first == connection->out_count) {
			connection->out_first = connection->out_count = 0;
			connection->heads_used = 0;
			fill(connection);
			if (connection->out_count == 0)
				return 0;
		}
		struct msghdr message = {
		    .msg_iov = &connection->iov[connection->out_first],
		    .msg_iovlen = connection->out_count - connection->out_first,
		};
		ssize_t n = sendmsg(connection->session.fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0 && errno == EAGAIN) {
			connection->blocked = true;
			return 0;
		}
		if (n < 0)
			return err_set(err, -errno, "sending: %s", strerror(errno));
		out_advance(connection, (size_t)n);
	}
}

/* --- coming in --- */

/* Sense key, ASC, ASCQ of a response's data: two bytes of length, then fixed or descriptor format
 * (SPC-4 4.5). */
static void sense_text(const struct connection *connection, char text[32])
{
	const uint8_t *sense = connection->small + 2;

	if (connection->data_length < 16)
		snprintf(text, 32, "no sense");
	else if ((sense[0] & 0x7e) == 0x72)
		snprintf(text, 32, "sense %x/%02x/%02x", sense[1] & 15, sense[2], sense[3]);
	else
		snprintf(text, 32, "sense %x/%02x/%02x", sense[2] & 15, sense[12], sense[13]);
}

static int finish(struct connection *connection, struct task *task, struct err *err)
{
	uint8_t status = connection->header[3];
	char sense[32];

	if (status != 0 || connection->header[2] != 0) {
		sense_text(connection, sense);
		return err_set(err, -EIO, "%s of I/O block %ju: response %02x, status %02x, %s",
			       task->write ? "write" : "read", (uintmax_t)task->block,
			       connection->header[2], status, sense);
	}
	if (!task->write && task->got != connection->driver->io_bytes)
		return err_set(err, -EPROTO, "read of I/O block %ju brought %u bytes",
			       (uintmax_t)task->block, task->got);
	if (task->write && task->send_at != connection->driver->io_bytes)
		return err_set(err, -EPROTO, "write of I/O block %ju ended after %u bytes",
			       (uintmax_t)task->block, task->send_at);
	task->busy = false;
	connection->idle[connection->idle_count++] = task;
	return connection->driver->completed(connection->driver->context, task, err);
}

static int find_task(struct connection *connection, struct task **ret_task, struct err *err)
{
	uint32_t tag = wire_get32(connection->header + 16);

	if (tag >= connection->driver->depth || !connection->tasks[tag].busy)
		return err_set(err, -EPROTO, "opcode %02x for tag %08x, which is not in flight",
			       connection->header[0], tag);
	*ret_task = &connection->tasks[tag];
	return 0;
}

static int take_r2t(struct connection *connection, struct err *err)
{
	struct task *task;
	uint32_t offset = wire_get32(connection->header + 40);
	uint32_t length = wire_get32(connection->header + 44);
	int r = find_task(connection, &task, err);

	if (r < 0)
		return r;
	if (!task->write || offset != task->send_end || task->send_at != task->send_end ||
	    length == 0 || length > connection->driver->io_bytes - offset)
		return err_set(err, -EPROTO, "R2T for %u bytes at %u of a task at %u", length,
			       offset, task->send_at);
	task->send_end = offset + length;
	task->transfer_tag = wire_get32(connection->header + 20);
	task->data_sn = 0;
	queue_data(connection, task);
	return 0;
}

/* A ping must be answered, or the server ends the session. There is room: pings are rare, and the
 * answer is dropped when many wait already, which the server's next ping mends. */
static void take_ping(struct connection *connection)
{
	uint8_t *header = out_header(connection);

	if (wire_get32(connection->header + 20) == WIRE_NO_TAG || !out_has_room(connection))
		return;
	memset(header, 0, WIRE_HEADER);
	header[0] = WIRE_NOP_OUT | WIRE_IMMEDIATE;
	header[1] = WIRE_FINAL;
	memcpy(header + 8, connection->header + 8, 8);
	wire_put32(header + 16, WIRE_NO_TAG);
	memcpy(header + 20, connection->header + 20, 4);
	wire_put32(header + 24, connection->session.cmdsn);
	wire_put32(header + 28, connection->session.exp_statsn);
	out_pdu(connection, NULL, 0);
}

/* StatSN counts only where a status is carried. */
static void note_numbers(struct connection *connection, bool status)
{
	struct session *session = &connection->session;
	uint32_t max_cmdsn = wire_get32(connection->header + 32);

	if (status)
		session->exp_statsn = wire_get32(connection->header + 24) + 1;
	if ((int32_t)(max_cmdsn - session->max_cmdsn) > 0)
		session->max_cmdsn = max_cmdsn;
}

static int end_data_in(struct connection *connection, struct err *err)
{
	struct task *task = connection->task;
	bool status = connection->header[1] & WIRE_STATUS;

	note_numbers(connection, status);
	task->got += connection->data_length;
	connection->header[2] = 0; /* reserved in a Data-In; a response code in finish() */
	return status ? finish(connection, task, err) : 0;
}

/* The PDU is complete. */
static int end_pdu(struct connection *connection, struct err *err)
{
	struct task *task;
	int r;

	switch (connection->header[0] & WIRE_OPCODE_MASK) {
	case WIRE_DATA_IN:
		return end_data_in(connection, err);
	case WIRE_RESPONSE:
		note_numbers(connection, true);
		r = find_task(connection, &task, err);
		return r < 0 ? r : finish(connection, task, err);
	case WIRE_R2T:
		note_numbers(connection, false);
		return take_r2t(connection, err);
	case WIRE_NOP_IN:
		note_numbers(connection, false);
		take_ping(connection);
		return 0;
	case WIRE_ASYNC:
		return err_set(err, -ECONNRESET, "asynchronous message, event %u",
			       connection->header[36]);
	case WIRE_REJECT:
		return err_set(err, -EPROTO, "rejected, reason %02x", connection->header[2]);
	}
	return err_set(err, -EPROTO, "unexpected opcode %02x", connection->header[0]);
}

/* Where the data of a Data-In belongs. */
static int begin_data_in(struct connection *connection, struct err *err)
{
	uint32_t offset = wire_get32(connection->header + 40);
	int r = find_task(connection, &connection->task, err);

	if (r < 0)
		return r;
	if (connection->task->write || offset != connection->task->got ||
	    connection->data_length > connection->driver->io_bytes - offset)
		return err_set(err, -EPROTO, "Data-In of %u bytes at %u, %u bytes were there",
			       connection->data_length, offset, connection->task->got);
	return 0;
}

static int begin_pdu(struct connection *connection, struct err *err)
{
	uint32_t length = wire_get24(connection->header + 5), padded = wire_padded(length);

	if (connection->header[4] != 0 || length > WIRE_SEGMENT_MAX)
		return err_set(err, -EPROTO, "opcode %02x with %u bytes of data",
			       connection->header[0], length);
	connection->data_length = connection->data_left = length;
	connection->tail_length = padded - length;
	if (connection->session.data_digest && length > 0)
		connection->tail_length += WIRE_DIGEST;
	connection->crc = 0;
	connection->task = NULL;
	if ((connection->header[0] & WIRE_OPCODE_MASK) == WIRE_DATA_IN)
		return begin_data_in(connection, err);
	return 0;
}

static size_t available(const struct connection *connection)
{
	return connection->in_end - connection->in_start;
}

static int in_header(struct connection *connection, struct err *err)
{
	const uint8_t *at = connection->in + connection->in_start;
	bool digest = connection->session.header_digest;
	size_t wanted = WIRE_HEADER + (digest ? WIRE_DIGEST : 0);

	if (available(connection) < wanted)
		return -EAGAIN;
	if (digest && wire_get_digest(at + WIRE_HEADER) != crc32c(0, at, WIRE_HEADER))
		return err_set(err, -EILSEQ, "a header's digest is wrong");
	memcpy(connection->header, at, WIRE_HEADER);
	connection->in_start += wanted;
	int r = begin_pdu(connection, err);
	connection->state = connection->data_left > 0 ? IN_DATA : IN_TAIL;
	return r;
}

static void keep(struct connection *connection, const uint8_t *data, size_t length)
{
	uint32_t at = connection->data_length - connection->data_left;

	if (connection->task != NULL) {
		if (connection->driver->keep_data)
			memcpy(connection->task->data + connection->task->got + at, data, length);
	} else if (at < sizeof(connection->small)) {
		size_t room = sizeof(connection->small) - at;
		memcpy(connection->small + at, data, length < room ? length : room);
	}
}

static int in_data(struct connection *connection)
{
	const uint8_t *at = connection->in + connection->in_start;
	size_t length = available(connection);

	if (length > connection->data_left)
		length = connection->data_left;
	if (length == 0)
		return -EAGAIN;
	keep(connection, at, length);
	if (connection->session.data_digest)
		connection->crc = crc32c(connection->crc, at, length);
	connection->in_start += length;
	connection->data_left -= (uint32_t)length;
	if (connection->data_left == 0)
		connection->state = IN_TAIL;
	return 0;
}

/* Padding and digest. */
static int in_tail(struct connection *connection, struct err *err)
{
	const uint8_t *at = connection->in + connection->in_start;
	uint32_t length = connection->tail_length;

	if (available(connection) < length)
		return -EAGAIN;
	connection->in_start += length;
	connection->state = IN_HEADER;
	if (connection->session.data_digest && length > 0) {
		uint32_t padding = length - WIRE_DIGEST;
		if (wire_get_digest(at + padding) != crc32c(connection->crc, at, padding))
			return err_set(err, -EILSEQ, "a data digest is wrong");
	}
	return end_pdu(connection, err);
}

static int step(struct connection *connection, struct err *err)
{
	switch (connection->state) {
	case IN_HEADER:
		return in_header(connection, err);
	case IN_DATA:
		return in_data(connection);
	case IN_TAIL:
		break;
	}
	return in_tail(connection, err);
}

/* Less than a header and its digest can be left over: moving it is cheap. */
int connection_receive(struct connection *connection, int flags, struct err *err)
{
	size_t kept = available(connection);
	int r;

	memmove(connection->in, connection->in + connection->in_start, kept);
	connection->in_start = 0;
	ssize_t n =
	    recv(connection->session.fd, connection->in + kept, CONNECTION_IN - kept, flags);
	connection->in_end = kept + (n > 0 ? (size_t)n : 0);
	if (n == 0)
		return err_set(err, -ECONNRESET, "the server closed the connection");
	if (n < 0)
		return errno == EAGAIN || errno == EINTR
			   ? -EAGAIN
			   : err_set(err, -errno, "receiving: %s", strerror(errno));
	connection->driver->arrived(connection->driver->context);
	do
		r = step(connection, err);
	while (r == 0);
	return r == -EAGAIN ? 0 : r;
}
