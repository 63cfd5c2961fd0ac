/* SPDX-License-Identifier: Apache-2.0 */
#include "replication/channel.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/heap.h"

#define BUFFER_SIZE ((size_t)4 * WIRE_FRAME_MAX)
#define PACE_NS     (50 * 1000000ull) /* the limit is kept over this time */

void channel_wake(struct channel *channel)
{
	if (channel->fiber)
		fiber_wake(channel->fiber);
}

void channel_break(struct channel *channel, int error, const char *format, ...)
{
	va_list arguments;

	if (!channel->broken) {
		channel->broken = error;
		va_start(arguments, format);
		vsnprintf(channel->why, sizeof channel->why, format, arguments);
		va_end(arguments);
	}
	channel_wake(channel);
}

/* ---- the link's side ---- */
static void received(struct link *link, const void *data, size_t length)
{
	struct channel *channel = link->context;

	channel->received_ns = loop_now(channel->loop);
	if (channel->broken)
		return;
	if (BUFFER_SIZE - channel->end < length) {
		channel_break(channel, -EMSGSIZE, "the link brought more than was asked for");
		return;
	}
	memcpy(channel->buffer + channel->end, data, length);
	channel->end += length;
	if (!channel->paused && channel->end - channel->start >= WIRE_FRAME_MAX) {
		channel->paused = true;
		channel->link->ops->pause(channel->link, true);
	}
	channel_wake(channel);
}

static void ended(struct link *link, int error, const char *why)
{
	struct channel *channel = link->context;

	channel->ended = !channel->broken;
	channel_break(channel, error ? error : -ECONNRESET, "%s", why);
}

static void drained(struct link *link)
{
	channel_wake(link->context);
}

static const struct link_handlers handlers = {received, ended, drained};

/* ---- sending ---- */
static void send_now(struct channel *channel, struct wire_message *message)
{
	uint8_t head[WIRE_HEAD_MAX];
	struct iovec iov[2];

	message->sequence = channel->sequence_out++;
	iov[0] = (struct iovec){head, wire_encode(message, head)};
	iov[1] = (struct iovec){(void *)(uintptr_t)message->data, message->data_length};
	channel->link->ops->send(channel->link, iov, message->data_length ? 2 : 1);
	channel->sent_ns = loop_now(channel->loop);
	channel->bytes_out += iov[0].iov_len + message->data_length;
}

static void keep_pace(struct channel *channel, const struct wire_message *message)
{
	uint64_t now = loop_now(channel->loop);
	uint64_t bytes = WIRE_HEADER + 16 + message->data_length;

	if (!channel->limit_bytes)
		return;
	if (channel->free_ns < now)
		channel->free_ns = now;
	channel->free_ns += bytes * 1000000000ull / channel->limit_bytes;
	while (!channel->broken && channel->free_ns > loop_now(channel->loop) + PACE_NS) {
		timer_start(&channel->pace, channel->free_ns - loop_now(channel->loop) - PACE_NS);
		channel_wait(channel);
	}
	timer_stop(&channel->pace);
}

void channel_limit(struct channel *channel, uint64_t bytes)
{
	if (channel->limit_bytes == bytes)
		return;
	channel->limit_bytes = bytes;
	channel->free_ns = 0; /* what waits has waited by another measure */
	channel_wake(channel);
}

int channel_send(struct channel *channel, struct wire_message *message)
{
	while (!channel->broken && channel->link->ops->pending(channel->link) > CHANNEL_PENDING_MAX)
		channel_wait(channel);
	keep_pace(channel, message);
	if (!channel->broken)
		send_now(channel, message);
	return channel->broken;
}

bool channel_tell(struct channel *channel, struct wire_message *message)
{
	if (channel->broken || channel->link->ops->pending(channel->link) > CHANNEL_PENDING_MAX)
		return false;
	send_now(channel, message);
	return true;
}

int channel_refuse(struct channel *channel, enum wire_refusal refusal,
		   const struct wire_lineage *lineage, const char *format, ...)
{
	struct wire_message message = {.type = WIRE_REFUSE, .kind = (uint8_t)refusal};
	char text[200];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof text, format, arguments);
	va_end(arguments);
	if (lineage)
		message.lineage = *lineage;
	message.data = (const uint8_t *)text;
	message.data_length = strlen(text);
	if (!channel->broken)
		send_now(channel, &message);
	channel_break(channel, -EPROTO, "%s", text);
	return -EPROTO;
}

/* ---- receiving ---- */
void channel_wait(struct channel *channel)
{
	channel->fiber = fiber_current();
	fiber_wait();
}

static void take_ping(struct channel *channel, const struct wire_message *message)
{
	channel->peer_epoch = message->epoch;
	channel->peer_wall_ns = message->wall_ns;
}

/* Only between two messages: the last one was borrowed from here until now. A frame at most lies
 * in front of start after this, so that another and what one read of the network brings fit in
 * behind it. */
static void make_room(struct channel *channel)
{
	if (channel->start < channel->end && channel->start <= WIRE_FRAME_MAX)
		return;
	memmove(channel->buffer, channel->buffer + channel->start, channel->end - channel->start);
	channel->end -= channel->start;
	channel->start = 0;
}

static int take_frame(struct channel *channel, struct wire_message *message)
{
	int64_t length =
	    wire_decode(channel->buffer + channel->start, channel->end - channel->start, message);

	if (length < 0) {
		channel->ended = false;
		channel_break(channel, (int)length, "%s",
			      length == -EPROTONOSUPPORT
				  ? "the peer speaks another version of the protocol"
				  : "the peer sent what is no message");
		return (int)length;
	}
	if (length == 0)
		return channel->broken;
	if (message->sequence != channel->sequence_in) {
		channel_break(channel, -EBADMSG, "a message is missing, repeated or out of order");
		return -EBADMSG;
	}
	channel->sequence_in++;
	channel->bytes_in += (uint64_t)length;
	channel->start += (size_t)length;
	return 1;
}

int channel_poll(struct channel *channel, struct wire_message *ret_message)
{
	int result;

	do {
		if (channel->broken && !channel->ended)
			return channel->broken;
		make_room(channel);
		result = take_frame(channel, ret_message);
		if (result == 1 && ret_message->type == WIRE_PING)
			take_ping(channel, ret_message);
	} while (result == 1 && ret_message->type == WIRE_PING);
	if (channel->paused && channel->end - channel->start < WIRE_FRAME_MAX) {
		channel->paused = false;
		channel->received_ns = loop_now(channel->loop);
		channel->link->ops->pause(channel->link, false);
	}
	return result;
}

int channel_receive(struct channel *channel, struct wire_message *ret_message)
{
	int result;

	while ((result = channel_poll(channel, ret_message)) == 0)
		channel_wait(channel);
	return result < 0 ? result : 0;
}

/* ---- silence ---- */
static void look_at_silence(struct timer *timer)
{
	struct channel *channel = container_of(timer, struct channel, silence);
	uint64_t now = loop_now(channel->loop);
	struct wire_message ping = {
	    .type = WIRE_PING, .epoch = channel->ping_epoch, .wall_ns = channel->ping_wall_ns};

	if (channel->broken)
		return;
	/* What waits in our own buffer is no silence of the peer's. */
	if (!channel->paused && channel->start == channel->end &&
	    now - channel->received_ns > CHANNEL_DEAD_NS) {
		channel_break(channel, -ETIMEDOUT, "the peer does not answer");
		return;
	}
	if (now - channel->sent_ns >= CHANNEL_PING_NS &&
	    channel->link->ops->pending(channel->link) == 0)
		send_now(channel, &ping);
	timer_start(timer, CHANNEL_PING_NS / 2);
}

static void pace_over(struct timer *timer)
{
	channel_wake(container_of(timer, struct channel, pace));
}

int channel_open(struct channel *channel, struct loop *loop, struct link *link)
{
	*channel = (struct channel){.link = link, .loop = loop};
	channel->buffer = heap_alloc(BUFFER_SIZE);
	if (!channel->buffer) {
		link->ops->close(link);
		channel->link = NULL;
		return -ENOMEM;
	}
	channel->received_ns = channel->sent_ns = loop_now(loop);
	timer_init(&channel->silence, loop, look_at_silence);
	timer_init(&channel->pace, loop, pace_over);
	timer_start(&channel->silence, CHANNEL_PING_NS / 2);
	link->handlers = &handlers;
	link->context = channel;
	return 0;
}

void channel_close(struct channel *channel)
{
	if (!channel->link)
		return;
	timer_stop(&channel->silence);
	timer_stop(&channel->pace);
	channel->link->ops->close(channel->link);
	channel->link = NULL;
	heap_free(channel->buffer);
	channel->buffer = NULL;
	channel->fiber = NULL;
	if (!channel->broken)
		channel->broken = -ECANCELED;
}
