/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/stream.h"
#include "core/world.h"

/* Streams and listeners in both real worlds, against plain blocking sockets on the other end. */

#define MS  1000000ull
#define KIB (1u << 10)
#define MIB (1u << 20)

static struct loop *loop;

static int open_loop(void **state)
{
	return loop_create(*state, &loop, NULL);
}

static int close_loop(void **state)
{
	(void)state;
	loop_destroy(loop);
	return 0;
}

static void wait_for(const bool *flag)
{
	uint64_t limit = loop_now(loop) + 60000 * MS;

	while (!*flag) {
		loop_poll(loop, 1000 * MS);
		if (loop_now(loop) > limit)
			fail_msg("timed out");
	}
}

static void turn(unsigned rounds)
{
	while (rounds-- > 0)
		loop_poll(loop, 1 * MS);
}

static uint32_t next_random(uint32_t *seed)
{
	*seed = *seed * 1664525u + 1013904223u;
	return *seed >> 8;
}

/* Byte @position of the endless test pattern. */
static uint8_t pattern(uint64_t position)
{
	return (uint8_t)((position * 2654435761u) >> 13);
}

static void fill(uint8_t *data, uint64_t position, size_t length)
{
	for (size_t i = 0; i < length; i++)
		data[i] = pattern(position + i);
}

static void check(const uint8_t *data, uint64_t position, size_t length)
{
	for (size_t i = 0; i < length; i++)
		if (data[i] != pattern(position + i))
			fail_msg("byte %llu is wrong", (unsigned long long)(position + i));
}

static void tcp_pair(int *ret_ours, int *ret_theirs)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof address;
	int listener = socket(AF_INET, SOCK_STREAM, 0);

	assert_int_equal(bind(listener, (struct sockaddr *)&address, length), 0);
	assert_int_equal(listen(listener, 1), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &length), 0);
	*ret_theirs = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(connect(*ret_theirs, (struct sockaddr *)&address, length), 0);
	*ret_ours = accept(listener, NULL, NULL);
	assert_true(*ret_ours >= 0);
	close(listener);
}

static void pair(bool tcp, int *ret_ours, int *ret_theirs)
{
	int fds[2];

	if (tcp) {
		tcp_pair(ret_ours, ret_theirs);
		return;
	}
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	*ret_ours = fds[0];
	*ret_theirs = fds[1];
}

/* The randomised receiver: frames of {length}, payload; small payloads are consumed from
 * received(), larger ones by stream_receive_into() with scattered iovecs, with pauses between. */

#define PAYLOAD_MAX (600 * KIB)

struct reader {
	struct stream *stream;
	struct stream_receive into;
	struct iovec iov[8];
	struct timer resume, later;
	uint8_t *payload;
	uint32_t seed, length; /* payload under way; 0 = a header is next */
	uint64_t position, frames, calls;
	bool ended, closed, asked;
	int end_error, into_result;
};

static void count_payload(struct reader *r)
{
	r->position += r->length;
	r->length = 0;
	r->frames++;
}

static void maybe_pause(struct reader *r)
{
	if (next_random(&r->seed) % 16 == 0) {
		stream_pause(r->stream);
		timer_start(&r->resume, next_random(&r->seed) % 2 * MS / 2);
	}
}

static void payload_done(struct stream_receive *into, int result)
{
	struct reader *r = container_of(into, struct reader, into);

	r->asked = false;
	r->into_result = result;
	if (result < 0)
		return;
	assert_int_equal(into->length, 0);
	check(r->payload, r->position, r->length);
	count_payload(r);
	maybe_pause(r);
}

static void ask_payload(struct reader *r)
{
	size_t left = r->length, at = 0;
	unsigned count = 1 + next_random(&r->seed) % 8;

	for (unsigned i = 0; i < count; i++) {
		size_t piece = i + 1 == count ? left : next_random(&r->seed) % (left + 1);

		r->iov[i] = (struct iovec){r->payload + at, piece};
		at += piece;
		left -= piece;
	}
	if (next_random(&r->seed) % 2)
		r->iov[count - 1].iov_len += 100; /* room that is not asked for */
	r->into = (struct stream_receive){
	    .iov = r->iov, .iov_count = count, .length = r->length, .done = payload_done};
	r->asked = true;
	stream_receive_into(r->stream, &r->into);
}

static void ask_later(struct timer *timer)
{
	struct reader *r = container_of(timer, struct reader, later);

	ask_payload(r);
	stream_resume(r->stream);
}

/* How a payload is taken is decided once, by its length. */
static bool goes_into(const struct reader *r)
{
	return r->length > 2000 || r->length % 3 == 0;
}

static size_t read_header(struct reader *r, const uint8_t *data, size_t length)
{
	if (length < 4)
		return 0;
	memcpy(&r->length, data, 4);
	assert_true(r->length <= PAYLOAD_MAX);
	if (r->length == 0)
		r->frames++;
	else if (goes_into(r) && r->length % 7 == 0) {
		timer_start(&r->later, 0);
		stream_pause(r->stream);
	} else if (goes_into(r))
		ask_payload(r);
	return 4;
}

static size_t read_some(struct reader *r, const uint8_t *data, size_t length)
{
	if (r->length == 0)
		return read_header(r, data, length);
	if (length < r->length)
		return 0;
	check(data, r->position, r->length);
	length = r->length;
	count_payload(r);
	return length;
}

static size_t reader_received(struct stream *stream, const void *data, size_t length)
{
	struct reader *r = stream_context(stream);
	size_t used = 0, step;

	assert_false(r->asked);
	assert_true(length > 0 && length <= STREAM_UNCONSUMED_MAX);
	r->calls++;
	assert_false(timer_active(&r->later));
	do {
		step = read_some(r, (const uint8_t *)data + used, length - used);
		used += step;
	} while (step && used < length && !r->asked && !timer_active(&r->later));
	maybe_pause(r);
	return used;
}

static void reader_ended(struct stream *stream, int error)
{
	struct reader *r = stream_context(stream);

	assert_false(r->ended);
	r->ended = true;
	r->end_error = error;
}

static void reader_closed(struct stream *stream)
{
	struct reader *r = stream_context(stream);

	assert_false(r->asked);
	r->closed = true;
}

static void resume(struct timer *timer)
{
	struct reader *r = container_of(timer, struct reader, resume);

	if (!r->closed && !timer_active(&r->later))
		stream_resume(r->stream);
}

static const struct stream_handlers reader_handlers = {reader_received, reader_ended,
						       reader_closed};

static void reader_open(struct reader *r, int fd)
{
	memset(r, 0, sizeof *r);
	r->payload = malloc(PAYLOAD_MAX + 100);
	timer_init(&r->resume, loop, resume);
	timer_init(&r->later, loop, ask_later);
	assert_int_equal(stream_attach(loop, fd, &reader_handlers, r, &r->stream, NULL), 0);
}

static void reader_close(struct reader *r)
{
	timer_stop(&r->resume);
	timer_stop(&r->later);
	stream_close(r->stream);
	stream_close(r->stream);
	wait_for(&r->closed);
	free(r->payload);
}

struct writer {
	int fd;
	uint32_t seed;
	uint64_t bytes, frames; /* to send; sent */
	uint32_t largest;
};

static void write_all(int fd, const uint8_t *data, size_t length, uint32_t *seed)
{
	while (length > 0) {
		size_t piece = 1 + next_random(seed) % (next_random(seed) % 8 ? 300 * KIB : 50);
		ssize_t n = send(fd, data, piece < length ? piece : length, MSG_NOSIGNAL);

		if (n < 0)
			return;
		data += n;
		length -= (size_t)n;
	}
}

static void *write_frames(void *argument)
{
	struct writer *w = argument;
	uint8_t *frame = malloc(PAYLOAD_MAX + 4);
	uint64_t position = 0;

	while (position < w->bytes) {
		uint32_t length = next_random(&w->seed) % 4 ? next_random(&w->seed) % 3000
							    : next_random(&w->seed) % w->largest;

		memcpy(frame, &length, 4);
		fill(frame + 4, position, length);
		write_all(w->fd, frame, length + 4, &w->seed);
		position += length;
		w->frames++;
	}
	w->bytes = position;
	free(frame);
	close(w->fd);
	return NULL;
}

static void receive_random(bool tcp, uint32_t seed, uint64_t bytes, uint32_t largest)
{
	struct writer w = {.seed = seed, .bytes = bytes, .largest = largest};
	struct reader r;
	pthread_t thread;
	int fd;

	pair(tcp, &fd, &w.fd);
	reader_open(&r, fd);
	r.seed = seed + 1;
	assert_int_equal(pthread_create(&thread, NULL, write_frames, &w), 0);
	wait_for(&r.ended);
	pthread_join(thread, NULL);
	assert_int_equal(r.end_error, 0);
	assert_int_equal(r.frames, w.frames);
	assert_int_equal(r.position, w.bytes);
	reader_close(&r);
}

static void receives_every_byte_in_order(void **state)
{
	(void)state;
	for (uint32_t seed = 1; seed <= 3; seed++) {
		receive_random(true, seed, 24 * MIB, PAYLOAD_MAX);
		receive_random(false, seed, 24 * MIB, PAYLOAD_MAX);
		receive_random(true, seed + 10, 2 * MIB, 3000);
	}
}

/* Echo: everything that comes is copied and sent back, in sends of one to four pieces. */

#define ECHO_SENDS 64

struct echo_send {
	struct stream_send send;
	uint8_t data[16 * KIB];
	bool busy;
};

struct echo {
	struct stream *stream;
	struct echo_send sends[ECHO_SENDS];
	uint32_t seed;
	bool ended, closed, paused;
	int failed;
};

static void echo_sent(struct stream_send *send, int result)
{
	struct echo_send *s = container_of(send, struct echo_send, send);
	struct echo *e = s->send.iov[3].iov_base;

	s->busy = false;
	if (result < 0)
		e->failed++;
	if (e->paused && !e->ended) {
		e->paused = false;
		stream_resume(e->stream);
	}
}

static size_t echo_one(struct echo *e, const uint8_t *data, size_t length)
{
	struct echo_send *s = e->sends;

	while (s < e->sends + ECHO_SENDS && s->busy)
		s++;
	if (s == e->sends + ECHO_SENDS) {
		e->paused = true;
		stream_pause(e->stream);
		return 0;
	}
	if (length > sizeof s->data)
		length = sizeof s->data;
	length = 1 + next_random(&e->seed) % length;
	memcpy(s->data, data, length);
	s->busy = true;
	s->send.done = echo_sent;
	s->send.iov[0] = (struct iovec){s->data, length / 3};
	s->send.iov[1] = (struct iovec){NULL, 0};
	s->send.iov[2] = (struct iovec){s->data + length / 3, length - length / 3};
	s->send.iov[3] = (struct iovec){e, 0};
	stream_send(e->stream, &s->send);
	return length;
}

static size_t echo_received(struct stream *stream, const void *data, size_t length)
{
	struct echo *e = stream_context(stream);
	size_t used = 0;

	while (used < length && !e->paused)
		used += echo_one(e, (const uint8_t *)data + used, length - used);
	return used;
}

static void echo_ended(struct stream *stream, int error)
{
	struct echo *e = stream_context(stream);

	(void)error;
	e->ended = true;
}

static void echo_closed(struct stream *stream)
{
	struct echo *e = stream_context(stream);

	assert_int_equal(stream_send_pending(stream), 0);
	e->closed = true;
}

static const struct stream_handlers echo_handlers = {echo_received, echo_ended, echo_closed};

struct pinger {
	int fd;
	uint64_t bytes;
	bool ok;
};

static void *write_pattern(void *argument)
{
	struct pinger *p = argument;
	uint8_t *data = malloc(64 * KIB);
	uint32_t seed = 5;

	for (uint64_t at = 0; at < p->bytes;) {
		size_t n = 1 + next_random(&seed) % (64 * KIB);

		if (n > p->bytes - at)
			n = p->bytes - at;
		fill(data, at, n);
		write_all(p->fd, data, n, &seed);
		at += n;
	}
	free(data);
	return NULL;
}

static void *read_pattern(void *argument)
{
	struct pinger *p = argument;
	uint8_t *data = malloc(64 * KIB);
	uint64_t at = 0;

	p->ok = true;
	while (at < p->bytes) {
		ssize_t n = recv(p->fd, data, 64 * KIB, 0);

		if (n <= 0)
			break;
		for (ssize_t i = 0; i < n; i++)
			p->ok &= data[i] == pattern(at + (uint64_t)i);
		at += (uint64_t)n;
	}
	p->ok &= at == p->bytes;
	shutdown(p->fd, SHUT_RDWR);
	free(data);
	return NULL;
}

static void echo_returns_every_byte(void **state)
{
	static struct echo e;
	struct pinger p = {.bytes = 16 * MIB};
	pthread_t writer, reader;
	int fd;

	(void)state;
	memset(&e, 0, sizeof e);
	pair(true, &fd, &p.fd);
	assert_int_equal(stream_attach(loop, fd, &echo_handlers, &e, &e.stream, NULL), 0);
	assert_int_equal(stream_fd(e.stream), fd);
	assert_ptr_equal(stream_loop(e.stream), loop);
	assert_int_equal(pthread_create(&writer, NULL, write_pattern, &p), 0);
	assert_int_equal(pthread_create(&reader, NULL, read_pattern, &p), 0);
	wait_for(&e.ended);
	pthread_join(writer, NULL);
	pthread_join(reader, NULL);
	assert_true(p.ok);
	stream_close(e.stream);
	wait_for(&e.closed);
	assert_int_equal(e.failed, 0);
	close(p.fd);
}

/* Ends */

static void peer_close_in_a_payload(void **state)
{
	uint32_t length = 100000;
	struct reader r;
	int fd, theirs;

	(void)state;
	pair(true, &fd, &theirs);
	reader_open(&r, fd);
	assert_int_equal(send(theirs, &length, 4, 0), 4);
	turn(3);
	assert_true(r.asked);
	assert_int_equal(send(theirs, r.payload + 1000, 5000, 0), 5000);
	turn(3);
	close(theirs);
	wait_for(&r.ended);
	assert_int_equal(r.into_result, -ECONNRESET);
	assert_int_equal(r.end_error, 0);
	reader_close(&r);
}

static void unread_data_comes_before_the_end(void **state)
{
	uint8_t frame[104];
	uint32_t length = 100;
	struct reader r;
	int fd, theirs;

	(void)state;
	pair(true, &fd, &theirs);
	reader_open(&r, fd);
	memcpy(frame, &length, 4);
	fill(frame + 4, 0, 100);
	stream_pause(r.stream);
	assert_int_equal(send(theirs, frame, 104, 0), 104);
	close(theirs);
	turn(5);
	assert_int_equal(r.frames, 0);
	assert_false(r.ended);
	r.seed = 1;
	stream_resume(r.stream);
	wait_for(&r.ended);
	assert_int_equal(r.frames, 1);
	reader_close(&r);
}

static void reset_is_an_error(void **state)
{
	struct linger hard = {.l_onoff = 1};
	struct reader r;
	int fd, theirs;

	(void)state;
	pair(true, &fd, &theirs);
	reader_open(&r, fd);
	turn(2);
	setsockopt(theirs, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
	close(theirs);
	wait_for(&r.ended);
	assert_int_equal(r.end_error, -ECONNRESET);
	reader_close(&r);
}

/* A handler that never consumes is cut off at the bound. */
static size_t consume_nothing(struct stream *stream, const void *data, size_t length)
{
	(void)stream;
	(void)data;
	assert_true(length <= STREAM_UNCONSUMED_MAX);
	return 0;
}

static void unconsumed_bytes_are_bounded(void **state)
{
	static const struct stream_handlers handlers = {consume_nothing, reader_ended,
							reader_closed};
	static uint8_t zeros[STREAM_UNCONSUMED_MAX + 100];
	struct reader r = {0};
	uint32_t seed = 1;
	int fd, theirs;

	(void)state;
	pair(true, &fd, &theirs);
	assert_int_equal(stream_attach(loop, fd, &handlers, &r, &r.stream, NULL), 0);
	write_all(theirs, zeros, sizeof zeros, &seed);
	wait_for(&r.ended);
	assert_int_equal(r.end_error, -EMSGSIZE);
	reader_close(&r);
	close(theirs);
}

struct big_send {
	struct stream_send send;
	int result;
};

static void big_sent(struct stream_send *send, int result)
{
	container_of(send, struct big_send, send)->result = result;
}

static void queue_big(struct reader *r, struct big_send *sends, unsigned count, uint8_t *data,
		      size_t each)
{
	for (unsigned i = 0; i < count; i++) {
		sends[i] = (struct big_send){.send = {.done = big_sent}, .result = 1};
		sends[i].send.iov[1] = (struct iovec){data + i * each, each};
		stream_send(r->stream, &sends[i].send);
	}
	assert_int_equal(stream_send_pending(r->stream), count * each);
}

static void drain_sends_everything(void **state)
{
	struct pinger p = {.bytes = 8 * MIB};
	uint8_t *data = malloc(8 * MIB);
	struct big_send sends[8];
	struct reader r;
	pthread_t thread;
	int fd;

	(void)state;
	fill(data, 0, 8 * MIB);
	pair(true, &fd, &p.fd);
	reader_open(&r, fd);
	/* Bytes nobody reads: closing over them must not reset the connection. */
	assert_int_equal(send(p.fd, data, 3, 0), 3);
	queue_big(&r, sends, 8, data, MIB);
	stream_drain(r.stream, 30000 * MS);
	assert_int_equal(pthread_create(&thread, NULL, read_pattern, &p), 0);
	wait_for(&r.closed);
	pthread_join(thread, NULL);
	assert_true(p.ok);
	assert_false(r.ended);
	for (int i = 0; i < 8; i++)
		assert_int_equal(sends[i].result, 0);
	close(p.fd);
	free(r.payload);
	free(data);
}

static void drain_gives_up_at_its_limit(void **state)
{
	uint8_t *data = calloc(16, MIB);
	struct big_send sends[16];
	struct reader r;
	int fd, theirs;

	(void)state;
	pair(true, &fd, &theirs);
	reader_open(&r, fd);
	queue_big(&r, sends, 16, data, MIB);
	stream_drain(r.stream, 50 * MS);
	wait_for(&r.closed);
	assert_int_equal(sends[15].result, -ECANCELED);
	close(theirs);
	free(r.payload);
	free(data);
}

static void close_with_everything_in_flight(void **state)
{
	uint8_t *data = calloc(16, MIB);
	uint32_t length = 200000;
	struct big_send sends[16];

	(void)state;
	for (unsigned rounds = 0; rounds < 6; rounds++) {
		struct reader r;
		int fd, theirs;

		pair(rounds % 2, &fd, &theirs);
		reader_open(&r, fd);
		assert_int_equal(send(theirs, &length, 4, 0), 4);
		turn(rounds);
		queue_big(&r, sends, 16, data, MIB);
		turn(rounds);
		stream_close(r.stream);
		assert_false(r.closed);
		wait_for(&r.closed);
		assert_int_equal(sends[15].result, -ECANCELED);
		if (rounds > 2)
			assert_int_equal(r.into_result, -ECANCELED);
		close(theirs);
		free(r.payload);
	}
	free(data);
}

static void send_to_a_gone_peer_fails(void **state)
{
	static uint8_t data[MIB];
	struct big_send sends[1];
	struct reader r;
	int fd, theirs;

	(void)state;
	pair(false, &fd, &theirs);
	reader_open(&r, fd);
	stream_pause(r.stream);
	turn(3);
	close(theirs);
	queue_big(&r, sends, 1, data, MIB);
	wait_for(&r.ended);
	assert_int_equal(sends[0].result, -EPIPE);
	assert_int_equal(r.end_error, -EPIPE);
	reader_close(&r);
}

/* More bytes for more streams than all the buffers a loop has to receive into can hold: nobody
 * waits for ever, and twice, for buffers that came back late would be missing then. */

#define CROWD       300
#define CROWD_BYTES (64 * KIB)

struct one_of_many {
	struct stream *stream;
	uint64_t position;
	bool closed;
};

static size_t crowd_received(struct stream *stream, const void *data, size_t length)
{
	struct one_of_many *one = stream_context(stream);

	check(data, one->position, length);
	one->position += length;
	return length;
}

static void crowd_ended(struct stream *stream, int error)
{
	(void)stream;
	fail_msg("ended: %d", error);
}

static void crowd_closed(struct stream *stream)
{
	struct one_of_many *one = stream_context(stream);

	one->closed = true;
}

static void many_streams_at_once(void **state)
{
	static const struct stream_handlers crowd_handlers = {crowd_received, crowd_ended,
							      crowd_closed};
	static struct one_of_many crowd[CROWD];
	static uint8_t data[CROWD_BYTES];
	int ours, theirs[CROWD];
	uint32_t seed = 1;

	(void)state;
	memset(crowd, 0, sizeof crowd);
	for (unsigned i = 0; i < CROWD; i++) {
		pair(false, &ours, &theirs[i]);
		assert_int_equal(
		    stream_attach(loop, ours, &crowd_handlers, &crowd[i], &crowd[i].stream, NULL),
		    0);
	}
	turn(3);
	for (unsigned round = 0; round < 2; round++) {
		fill(data, round * CROWD_BYTES, CROWD_BYTES);
		for (unsigned i = 0; i < CROWD; i++)
			write_all(theirs[i], data, CROWD_BYTES, &seed);
		for (unsigned i = 0; i < CROWD; i++)
			while (crowd[i].position < (round + 1) * CROWD_BYTES)
				assert_true(loop_poll(loop, 10000 * MS));
	}
	for (unsigned i = 0; i < CROWD; i++) {
		stream_close(crowd[i].stream);
		wait_for(&crowd[i].closed);
		close(theirs[i]);
	}
}

/* Listeners */

#define CONNECTIONS 500

static int accepted_fds[CONNECTIONS + 100], accepted_count;

static void note_accepted(struct listener *listener, int fd, const struct sockaddr *peer,
			  socklen_t peer_length)
{
	assert_ptr_equal(listener_context(listener), accepted_fds);
	assert_true(peer_length >= sizeof(sa_family_t) && peer->sa_family != 0);
	assert_true(accepted_count < CONNECTIONS + 100);
	accepted_fds[accepted_count++] = fd;
}

static const struct listener_handlers accept_handlers = {note_accepted};

static void wait_accepted(int count)
{
	for (int i = 0; i < 10000 && accepted_count < count; i++)
		loop_poll(loop, 10 * MS);
	assert_int_equal(accepted_count, count);
}

static void close_accepted(void)
{
	while (accepted_count > 0)
		close(accepted_fds[--accepted_count]);
}

static int connect_to(int family, uint16_t port)
{
	struct sockaddr_in v4 = {.sin_family = AF_INET,
				 .sin_port = htons(port),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct sockaddr_in6 v6 = {
	    .sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	int fd = socket(family, SOCK_STREAM, 0);
	int r = family == AF_INET ? connect(fd, (struct sockaddr *)&v4, sizeof v4)
				  : connect(fd, (struct sockaddr *)&v6, sizeof v6);

	if (r == 0)
		return fd;
	r = -errno;
	close(fd);
	return r;
}

static void listener_takes_many(void **state)
{
	static int clients[CONNECTIONS];
	struct listener *listener;

	(void)state;
	assert_int_equal(
	    listener_open(loop, "127.0.0.1", 0, &accept_handlers, accepted_fds, &listener, NULL),
	    0);
	assert_true(listener_port(listener) > 0);
	for (int i = 0; i < CONNECTIONS; i++) {
		clients[i] = connect_to(AF_INET, listener_port(listener));
		assert_true(clients[i] >= 0);
	}
	wait_accepted(CONNECTIONS);
	for (int i = 0; i < CONNECTIONS; i++)
		close(clients[i]);
	close_accepted();
	listener_close(listener);
	turn(3);
}

static void listener_speaks_ipv6_and_refuses_a_taken_port(void **state)
{
	struct listener *listener, *second = NULL;
	struct err err = {0};
	uint16_t port;
	int fd;

	(void)state;
	if (listener_open(loop, "::1", 0, &accept_handlers, accepted_fds, &listener, &err) < 0)
		skip(); /* a machine without IPv6 */
	port = listener_port(listener);
	fd = connect_to(AF_INET6, port);
	assert_true(fd >= 0);
	wait_accepted(1);
	close_accepted();
	close(fd);
	assert_int_equal(listener_open(loop, "::1", port, &accept_handlers, NULL, &second, &err),
			 -EADDRINUSE);
	assert_non_null(strstr(err.text, "::1"));
	listener_close(listener);
	turn(3);
	assert_int_equal(connect_to(AF_INET6, port), -ECONNREFUSED);
	/* The port is free at once. */
	assert_int_equal(
	    listener_open(loop, "::1", port, &accept_handlers, accepted_fds, &listener, &err), 0);
	listener_close(listener);
	turn(3);
	assert_int_equal(listener_open(loop, "localhost", 0, &accept_handlers, NULL, &second, &err),
			 -EINVAL);
	assert_int_equal(
	    listener_open(loop, "192.0.2.77", 0, &accept_handlers, NULL, &second, &err),
	    -EADDRNOTAVAIL);
	assert_null(second);
}

static int connect_unix(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
	if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
		return fd;
	close(fd);
	return -1;
}

static void listener_replaces_a_stale_socket_file(void **state)
{
	char path[64];
	struct listener *listener, *second = NULL;
	struct stat st;
	int fd;

	(void)state;
	snprintf(path, sizeof path, "/tmp/granary-stream-test.%d", (int)getpid());
	for (int i = 0; i < 2; i++) {
		assert_int_equal(listener_open_unix(loop, path, 0600, &accept_handlers,
						    accepted_fds, &listener, NULL),
				 0);
		assert_int_equal(stat(path, &st), 0);
		assert_int_equal(st.st_mode & 0777, 0600);
		fd = connect_unix(path);
		assert_true(fd >= 0);
		wait_accepted(1);
		assert_int_equal(
		    listener_open_unix(loop, path, 0600, &accept_handlers, NULL, &second, NULL),
		    -EADDRINUSE);
		turn(3);
		close_accepted();
		close(fd);
		listener_close(listener); /* leaves its file behind, like a process that died */
		turn(3);
	}
	unlink(path);
}

/* Without free descriptors accepting waits and goes on; it neither spins nor dies. */
static void accept_survives_a_full_table(void **state)
{
	struct rlimit before, tight;
	struct listener *listener;
	int client, blocker;

	(void)state;
	assert_int_equal(
	    listener_open(loop, "127.0.0.1", 0, &accept_handlers, accepted_fds, &listener, NULL),
	    0);
	client = connect_to(AF_INET, listener_port(listener));
	assert_true(client >= 0);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	blocker = dup(client);
	close(blocker);
	tight = before;
	tight.rlim_cur = (rlim_t)blocker; /* the lowest free number and all above are forbidden */
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
	turn(20);
	assert_int_equal(accepted_count, 0);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	wait_accepted(1);
	close_accepted();
	close(client);
	listener_close(listener);
	turn(3);
}

#define IN(world, test)                                                                            \
	{                                                                                          \
#test " (" #world ")", test, open_loop, close_loop, (void *)&world_##world         \
	}
#define BOTH(test) IN(uring, test), IN(aio, test)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    BOTH(receives_every_byte_in_order),
	    BOTH(echo_returns_every_byte),
	    BOTH(peer_close_in_a_payload),
	    BOTH(unread_data_comes_before_the_end),
	    BOTH(reset_is_an_error),
	    BOTH(unconsumed_bytes_are_bounded),
	    BOTH(drain_sends_everything),
	    BOTH(drain_gives_up_at_its_limit),
	    BOTH(close_with_everything_in_flight),
	    BOTH(send_to_a_gone_peer_fails),
	    BOTH(many_streams_at_once),
	    BOTH(listener_takes_many),
	    BOTH(listener_speaks_ipv6_and_refuses_a_taken_port),
	    BOTH(listener_replaces_a_stale_socket_file),
	    BOTH(accept_survives_a_full_table),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
