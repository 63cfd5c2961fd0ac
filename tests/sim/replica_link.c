/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/replica_link.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PIECE_MAX (48u << 10)

struct end {
	struct link link;
	struct replica_pipe *pipe;
	struct end *peer;
	uint8_t *queue; /* sent by the peer, not yet received here */
	size_t length, room;
	struct timer timer;
	bool paused, closed, told;
	uint8_t *late; /* a frame that waits for the next one */
	size_t late_length;
};

struct replica_pipe {
	struct end ends[2];
	struct loop *loop;
	struct rng *rng;
	struct replica_pipe_faults faults;
	uint64_t carried;
	unsigned frames;
	bool cut;
};

static void schedule(struct end *end)
{
	if (!end->closed && !timer_active(&end->timer))
		timer_start(&end->timer, rng_range(end->pipe->rng, 20000, 600000));
}

static void queue_add(struct end *end, const void *data, size_t length)
{
	if (end->length + length > end->room) {
		end->room = (end->length + length) * 2;
		end->queue = realloc(end->queue, end->room);
		assert(end->queue);
	}
	memcpy(end->queue + end->length, data, length);
	end->length += length;
}

static void fired(struct replica_pipe *pipe)
{
	if (pipe->faults.fired)
		++*pipe->faults.fired;
}

static void carry(struct end *end, const void *data, size_t whole)
{
	uint64_t left = end->pipe->faults.cut_after - end->pipe->carried;
	size_t length = whole > left ? left : whole;

	if (end->pipe->cut)
		return;
	queue_add(end->peer, data, length);
	end->pipe->carried += length;
	if (length < whole) {
		fired(end->pipe);
		replica_pipe_cut(end->pipe);
	}
}

/* A frame, as it is sent at a time. */
static uint8_t *frame_copy(const struct iovec *iov, unsigned count, size_t *ret_length)
{
	size_t length = 0;
	uint8_t *frame;

	for (unsigned i = 0; i < count; i++)
		length += iov[i].iov_len;
	frame = malloc(length);
	assert(frame);
	*ret_length = 0;
	for (unsigned i = 0; i < count; i++) {
		memcpy(frame + *ret_length, iov[i].iov_base, iov[i].iov_len);
		*ret_length += iov[i].iov_len;
	}
	return frame;
}

static void spoil_frame(struct end *end, const struct iovec *iov, unsigned count)
{
	struct rng *rng = end->pipe->rng;
	size_t length;
	uint8_t *frame = frame_copy(iov, count, &length);

	fired(end->pipe);
	switch (end->pipe->faults.frame_fault) {
	case REPLICA_FRAME_FLIPPED:
		frame[rng_below(rng, length)] ^= (uint8_t)(1u << rng_below(rng, 8));
		carry(end, frame, length);
		break;
	case REPLICA_FRAME_TWICE:
		carry(end, frame, length);
		carry(end, frame, length);
		break;
	case REPLICA_FRAME_LATE:
		end->late = frame;
		end->late_length = length;
		return;
	case REPLICA_FRAME_LOST:
	case REPLICA_FRAME_FAULTS:
		break;
	}
	free(frame);
}

static void send(struct link *link, const struct iovec *iov, unsigned count)
{
	struct end *end = container_of(link, struct end, link);

	if (++end->pipe->frames == end->pipe->faults.frame) {
		spoil_frame(end, iov, count);
	} else {
		for (unsigned i = 0; i < count; i++)
			carry(end, iov[i].iov_base, iov[i].iov_len);
		if (end->late)
			carry(end, end->late, end->late_length);
		free(end->late);
		end->late = NULL;
	}
	schedule(end->peer);
}

static size_t pending(const struct link *link)
{
	const struct end *end = container_of(link, const struct end, link);

	return end->peer->length;
}

static void pause_end(struct link *link, bool paused)
{
	struct end *end = container_of(link, struct end, link);

	end->paused = paused;
	if (!paused)
		schedule(end);
}

static void close_end(struct link *link)
{
	struct end *end = container_of(link, struct end, link);

	end->closed = true;
	timer_stop(&end->timer);
	schedule(end->peer);
}

static const struct link_ops ops = {send, pending, pause_end, close_end};

/* What a broken network may do to a piece; returns how much of the queue it was. */
static size_t damage(struct end *end, uint8_t *piece, size_t *length)
{
	struct rng *rng = end->pipe->rng;
	size_t taken = *length;

	switch (rng_below(rng, 4)) {
	case 0:
		piece[rng_below(rng, *length)] ^= (uint8_t)(1u << rng_below(rng, 8));
		return taken;
	case 1: /* again */
		return 0;
	case 2: /* lost */
		*length = 0;
		return taken;
	default: /* the second half first */
		if (*length > 1) {
			size_t half = *length / 2;
			uint8_t first[PIECE_MAX];

			memcpy(first, piece, half);
			memmove(piece, piece + half, *length - half);
			memcpy(piece + *length - half, first, half);
		}
		return taken;
	}
}

static void deliver(struct end *end)
{
	uint8_t piece[PIECE_MAX];
	size_t length = end->length < PIECE_MAX ? end->length : PIECE_MAX, taken;

	if (rng_one_in(end->pipe->rng, 3))
		length = 1 + rng_below(end->pipe->rng, length);
	memcpy(piece, end->queue, length);
	taken = length;
	if (end->pipe->faults.damage_one_in &&
	    rng_one_in(end->pipe->rng, end->pipe->faults.damage_one_in))
		taken = damage(end, piece, &length);
	memmove(end->queue, end->queue + taken, end->length - taken);
	end->length -= taken;
	if (length)
		end->link.handlers->received(&end->link, piece, length);
	if (!end->peer->closed && end->peer->link.handlers && end->length < PIECE_MAX)
		end->peer->link.handlers->drained(&end->peer->link);
}

static void due(struct timer *timer)
{
	struct end *end = container_of(timer, struct end, timer);

	if (end->closed || !end->link.handlers)
		return;
	if (end->length && !end->paused)
		deliver(end);
	else if (end->length == 0 && (end->pipe->cut || end->peer->closed) && !end->told) {
		end->told = true;
		end->link.handlers->ended(&end->link, -ECONNRESET, "the connection was cut");
	}
	if (!end->closed && !end->told && !end->paused &&
	    (end->length || end->pipe->cut || end->peer->closed))
		schedule(end);
}

struct replica_pipe *replica_pipe_create(struct loop *loop, struct rng *rng,
					 const struct replica_pipe_faults *faults,
					 struct link *ret_ends[2])
{
	struct replica_pipe *pipe = calloc(1, sizeof *pipe);

	assert(pipe);
	pipe->loop = loop;
	pipe->rng = rng;
	pipe->faults = *faults;
	for (unsigned i = 0; i < 2; i++) {
		pipe->ends[i].link.ops = &ops;
		pipe->ends[i].pipe = pipe;
		pipe->ends[i].peer = &pipe->ends[1 - i];
		timer_init(&pipe->ends[i].timer, loop, due);
		ret_ends[i] = &pipe->ends[i].link;
	}
	return pipe;
}

void replica_pipe_cut(struct replica_pipe *pipe)
{
	pipe->cut = true;
	for (unsigned i = 0; i < 2; i++) {
		/* Some of what was on its way does not arrive. */
		if (pipe->ends[i].length)
			pipe->ends[i].length = rng_below(pipe->rng, pipe->ends[i].length + 1);
		schedule(&pipe->ends[i]);
	}
}

void replica_pipe_cut_after(struct replica_pipe *pipe, uint64_t bytes)
{
	pipe->faults.cut_after = pipe->carried + bytes;
}

bool replica_pipe_over(const struct replica_pipe *pipe)
{
	return pipe->ends[0].closed && pipe->ends[1].closed;
}

void replica_pipe_destroy(struct replica_pipe *pipe)
{
	for (unsigned i = 0; i < 2; i++) {
		timer_stop(&pipe->ends[i].timer);
		free(pipe->ends[i].queue);
		free(pipe->ends[i].late);
	}
	free(pipe);
}
