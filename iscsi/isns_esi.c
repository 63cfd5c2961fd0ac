/* SPDX-License-Identifier: Apache-2.0 */
/* isns_esi.c: entity status inquiries (RFC 4171 5.7.5.13): an iSNS server connects and asks whether
 * we are there. One question at a time on each of a few connections. */
#include <string.h>
#include <unistd.h>

#include "core/heap.h"
#include "iscsi/internal.h"
#include "iscsi/isns.h"

#define CONNS_MAX 8u
#define IDLE_NS   (300ull * 1000000000)

struct esi_conn {
	struct list link; /* esi->conns */
	struct isns_esi *esi;
	struct stream *stream;
	struct timer idle;
	struct stream_send send;
	bool sending;
	uint8_t answer[ISNS_ANSWER_MAX];
};

static void closed(struct stream *stream)
{
	struct esi_conn *conn = stream_context(stream);
	struct isns_esi *esi = conn->esi;

	timer_stop(&conn->idle);
	list_remove(&conn->link);
	esi->count--;
	heap_free(conn);
	esi->closed(esi);
}

static void ended(struct stream *stream, int error)
{
	(void)error;
	stream_close(stream);
}

static void idle(struct timer *timer)
{
	stream_close(container_of(timer, struct esi_conn, idle)->stream);
}

static void sent(struct stream_send *send, int result)
{
	struct esi_conn *conn = container_of(send, struct esi_conn, send);

	conn->sending = false;
	if (result == 0)
		stream_resume(conn->stream);
}

static size_t received(struct stream *stream, const void *data, size_t length)
{
	struct esi_conn *conn = stream_context(stream);
	size_t answer = 0;
	int used = conn->sending ? 0 : isns_answer(data, length, conn->answer, &answer);

	if (used < 0) {
		stream_close(stream);
		return length;
	}
	if (used == 0)
		return 0;
	timer_start(&conn->idle, IDLE_NS);
	conn->esi->answered++;
	conn->sending = true;
	memset(&conn->send, 0, sizeof(conn->send));
	conn->send.iov[0] = (struct iovec){conn->answer, answer};
	conn->send.done = sent;
	stream_send(stream, &conn->send);
	stream_pause(stream); /* one at a time */
	return (size_t)used;
}

static const struct stream_handlers handlers = {
    .received = received,
    .ended = ended,
    .closed = closed,
};

static void accepted(struct listener *listener, int fd, const struct sockaddr *peer,
		     socklen_t peer_length)
{
	struct isns_esi *esi = listener_context(listener);
	struct esi_conn *conn = esi->count < CONNS_MAX ? heap_zalloc(sizeof(*conn)) : NULL;
	struct err err = {0};

	(void)peer;
	(void)peer_length;
	if (!conn || stream_attach(esi->loop, fd, &handlers, conn, &conn->stream, &err) < 0) {
		heap_free(conn);
		close(fd);
		return;
	}
	conn->esi = esi;
	esi->count++;
	list_push_back(&esi->conns, &conn->link);
	timer_init(&conn->idle, esi->loop, idle);
	timer_start(&conn->idle, IDLE_NS);
}

static const struct listener_handlers listener_handlers = {.accepted = accepted};

void isns_esi_init(struct isns_esi *esi, void (*closed)(struct isns_esi *esi))
{
	*esi = (struct isns_esi){.closed = closed};
	list_init(&esi->conns);
}

int isns_esi_open(struct isns_esi *esi, struct loop *loop, const char *address, uint16_t port,
		  struct err *err)
{
	struct listener *opened;
	int result = listener_open(loop, address, port, &listener_handlers, esi, &opened, err);

	if (result < 0)
		return result;
	esi->loop = loop;
	esi->listener = opened;
	return 0;
}

void isns_esi_close(struct isns_esi *esi)
{
	if (esi->listener)
		listener_close(esi->listener);
	esi->listener = NULL;
	list_for_each_safe (it, &esi->conns)
		stream_close(list_entry(it, struct esi_conn, link)->stream);
}
