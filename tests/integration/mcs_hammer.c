/* SPDX-License-Identifier: Apache-2.0 */
/* Two initiators with two sessions each of four connections, all at once: commands of every kind
 * take turns over the connections and overtake each other, task management races completions,
 * connections are logged out by themselves or by another, are cut, and come back under their CID.
 * Numbers that were lost with a connection are filled by ABORT TASK, as an initiator has to.
 * Nothing is compared; what has to hold is that nothing hangs, that no session ends by the server's
 * doing, and that the server lives. Whether one hangs is seen at its end: each connection is sent a
 * NOP in CmdSN order, which is answered when all before it had their turn.
 *
 *   mcs_hammer HOST PORT IQN LUNS SECONDS SEED [alone]
 *
 * prints what it did; exit 1 when something hung. alone: nobody else uses the target, and a session
 * aborts what is its own only, so that it knows of each command whether there is to be an answer;
 * all have to come, and no connection may be lost. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/integration/hammer.h"

#define SESSIONS    4u
#define CONNECTIONS 4u
#define TAGS        64u
#define FUNCTIONS   16u /* at once; the server takes 32 immediate requests */
#define DATA_MAX    65536u
#define BUFFER      (512u << 10)
#define LIMIT       25.0 /* seconds without an answer */
#define NO_TAG      0xffffffffu

struct tag {
	bool used, management, logout, probe;
	bool doubtful; /* perhaps it was aborted */
	bool fills;    /* by ABORT TASK a number that was lost */
	unsigned conn, closes, lun;
	uint32_t itt, cmdsn;
	uint32_t whose, number; /* ITT and CmdSN of what a function is about */
	uint8_t function;
	double sent;
};

struct conn {
	int fd; /* -1: none */
	bool leaving;
	uint32_t expstatsn;
	double silent_until; /* what is queued waits so long */
	uint8_t *out, *in;
	size_t out_length, in_length;
};

struct session {
	pthread_t thread;
	unsigned number;
	uint64_t random_state;
	uint16_t tsih;
	uint32_t cmdsn, expcmdsn, maxcmdsn, itt;
	struct conn conns[CONNECTIONS];
	struct tag tags[TAGS];
	uint32_t lost[TAGS], lost_itt[TAGS]; /* numbers to be filled */
	unsigned lost_count;
	bool broken, over;
	uint64_t commands, answered, functions, logins, cuts, logouts, settled, hung, dropped;
};

static const char *host, *port, *iqn;
static unsigned luns;
static bool alone;
static double until;
static uint8_t noise[DATA_MAX];

static uint32_t rnd(struct session *session, uint32_t below)
{
	return hammer_chance(&session->random_state, below);
}

static void put16(uint8_t *at, uint32_t value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

static void put32(uint8_t *at, uint32_t value)
{
	put16(at, value >> 16);
	put16(at + 2, value);
}

static uint32_t get16(const uint8_t *at)
{
	return (uint32_t)at[0] << 8 | at[1];
}

static uint32_t get32(const uint8_t *at)
{
	return get16(at) << 16 | get16(at + 2);
}

static bool after(uint32_t a, uint32_t b)
{
	return (int32_t)(a - b) > 0;
}

/* ---- PDUs */

static void head(const struct session *session, const struct conn *conn, uint8_t *bhs,
		 uint8_t opcode, uint8_t flags, uint32_t itt)
{
	memset(bhs, 0, 48);
	bhs[0] = opcode;
	bhs[1] = flags;
	put32(bhs + 16, itt);
	put32(bhs + 24, session->cmdsn);
	put32(bhs + 28, conn->expstatsn);
}

static bool room(const struct conn *conn, size_t length)
{
	return conn->fd >= 0 && conn->out_length + length + 64 <= BUFFER;
}

static void queue(struct conn *conn, uint8_t *bhs, const void *data, size_t length)
{
	put16(bhs + 6, (uint32_t)length);
	bhs[5] = (uint8_t)(length >> 16);
	memcpy(conn->out + conn->out_length, bhs, 48);
	conn->out_length += 48;
	if (length)
		memcpy(conn->out + conn->out_length, data, length);
	conn->out_length += length;
	while (conn->out_length & 3)
		conn->out[conn->out_length++] = 0;
}

static void breaks(struct session *session, const struct conn *conn, const char *why)
{
	fprintf(stderr, "session %u connection %u %s\n", session->number,
		(unsigned)(conn - session->conns), why);
	session->broken = true;
}

static void flush(struct session *session, struct conn *conn)
{
	ssize_t n;

	if (conn->fd < 0 || !conn->out_length)
		return;
	n = send(conn->fd, conn->out, conn->out_length, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (n > 0) {
		conn->out_length -= (size_t)n;
		memmove(conn->out, conn->out + n, conn->out_length);
	} else if (n < 0 && errno != EAGAIN && !conn->leaving) {
		breaks(session, conn, "can not be written to");
	}
}

/* ---- login */

static bool read_all(int fd, uint8_t *data, size_t length)
{
	while (length > 0) {
		ssize_t n = recv(fd, data, length, 0);

		if (n <= 0)
			return false;
		data += n;
		length -= (size_t)n;
	}
	return true;
}

static bool hello(struct session *session, unsigned cid, int fd)
{
	struct conn *conn = &session->conns[cid];
	uint8_t bhs[48], rest[8192];
	char text[512];
	int length = snprintf(text, sizeof(text),
			      "InitiatorName=iqn.2026-11.org.granary:hammer%u%cTargetName=%s%c"
			      "MaxConnections=4%cInitialR2T=%s%cMaxRecvDataSegmentLength=%u%c",
			      session->number % 2, 0, iqn, 0, 0, session->number < 2 ? "Yes" : "No",
			      0, 8192u << cid, 0);

	head(session, conn, bhs, 0x43, 0x87, 1);
	bhs[8] = 0x80;
	bhs[13] = (uint8_t)(0x40 + session->number);
	put16(bhs + 14, session->tsih);
	put16(bhs + 20, cid);
	conn->out_length = conn->in_length = 0;
	queue(conn, bhs, text, (size_t)length);
	if (send(fd, conn->out, conn->out_length, MSG_NOSIGNAL) != (ssize_t)conn->out_length ||
	    !read_all(fd, bhs, 48))
		return false;
	conn->out_length = 0;
	length = (int)(get16(bhs + 6) + 3) & ~3;
	if (length > (int)sizeof(rest) || !read_all(fd, rest, (size_t)length) || bhs[36])
		return false;
	session->tsih = (uint16_t)get16(bhs + 14);
	conn->expstatsn = get32(bhs + 24) + 1;
	session->expcmdsn = get32(bhs + 28);
	session->maxcmdsn = get32(bhs + 32);
	return true;
}

/* A LOGOUT of @cid that is under way may reach who comes under that CID meanwhile. */
static bool is_closed(const struct session *session, unsigned cid)
{
	for (unsigned i = 0; i < TAGS; i++) {
		const struct tag *tag = &session->tags[i];

		if (tag->used && tag->logout && tag->closes == cid)
			return true;
	}
	return false;
}

static bool login(struct session *session, unsigned cid)
{
	struct conn *conn = &session->conns[cid];
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_port = htons((uint16_t)strtoul(port, NULL, 10))};
	struct timeval patience = {.tv_sec = (time_t)LIMIT};
	int one = 1, fd = socket(AF_INET, SOCK_STREAM, 0);

	inet_pton(AF_INET, host, &address.sin_addr);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    !hello(session, cid, fd)) {
		close(fd);
		return false;
	}
	conn->fd = fd;
	conn->leaving = is_closed(session, cid);
	conn->silent_until = 0;
	session->logins++;
	return true;
}

/* ---- tags */

static struct tag *take(struct session *session, unsigned conn)
{
	for (unsigned i = 0; i < TAGS; i++) {
		struct tag *tag = &session->tags[i];

		if (tag->used)
			continue;
		session->itt += TAGS;
		*tag = (struct tag){.used = true,
				    .conn = conn,
				    .itt = session->itt + i,
				    .cmdsn = session->cmdsn,
				    .sent = hammer_now()};
		return tag;
	}
	return NULL;
}

static unsigned in_use(const struct session *session)
{
	unsigned count = 0;

	for (unsigned i = 0; i < TAGS; i++)
		count += session->tags[i].used;
	return count;
}

/* What it has aborted is not answered. Others' functions may end more; of that nothing is known.
 * @lost: so is the answer. */
static void aborted(struct session *session, const struct tag *function, bool lost)
{
	for (unsigned i = 0; i < TAGS; i++) {
		struct tag *tag = &session->tags[i];

		if (tag->management || tag->logout || tag->probe)
			continue;
		if (function->function == 1
			? tag->itt == function->whose
			: tag->lun == function->lun && after(function->cmdsn, tag->cmdsn))
			*(lost ? &tag->doubtful : &tag->used) = lost;
	}
}

static void lose(struct session *session, uint32_t itt, uint32_t cmdsn)
{
	if (session->lost_count == TAGS)
		return;
	session->lost[session->lost_count] = cmdsn;
	session->lost_itt[session->lost_count++] = itt;
}

/* The connection is gone, and its tasks with it; what was not acknowledged is missing. */
static void forget(struct session *session, unsigned cid)
{
	struct conn *conn = &session->conns[cid];

	if (conn->fd >= 0)
		close(conn->fd);
	conn->fd = -1;
	for (unsigned i = 0; i < TAGS; i++) {
		struct tag *tag = &session->tags[i];

		if (!tag->used || tag->conn != cid)
			continue;
		tag->used = false;
		if (tag->management && tag->function < 3)
			aborted(session, tag, true);
		if (tag->fills)
			lose(session, tag->whose, tag->number);
		else if (!tag->management && !tag->logout && !after(session->expcmdsn, tag->cmdsn))
			lose(session, tag->itt, tag->cmdsn);
	}
}

/* ---- what is sent */

/* Nothing that takes a LUN from others, or takes them long. */
static void make(struct session *session, uint8_t *cdb)
{
	static const uint8_t opcodes[] = {
	    0x00, 0x03, 0x08, 0x0a, 0x12, 0x1a, 0x1b, 0x25, 0x28, 0x28, 0x2a, 0x2a, 0x2e,
	    0x2f, 0x34, 0x35, 0x41, 0x42, 0x4d, 0x5e, 0x83, 0x84, 0x88, 0x89, 0x8a, 0x8b,
	    0x8e, 0x8f, 0x91, 0x93, 0x9c, 0x9e, 0xa0, 0xa3, 0xa8, 0xaa, 0xae, 0xaf};

	hammer_cdb(&session->random_state, opcodes, sizeof(opcodes), cdb);
}

static void command(struct session *session, unsigned cid)
{
	struct conn *conn = &session->conns[cid];
	uint8_t bhs[48], cdb[16];
	uint32_t bytes, now_bytes;
	struct tag *tag;
	bool out;

	make(session, cdb);
	out = hammer_moves_out(cdb[0]);
	bytes = 512 * (1 + rnd(session, 32));
	now_bytes = out && rnd(session, 2) ? (bytes < 8192 ? bytes : 8192) : 0;
	if (after(session->cmdsn, session->maxcmdsn) || !room(conn, now_bytes) ||
	    !(tag = take(session, cid)))
		return;
	head(session, conn, bhs, 1, (uint8_t)(0x81 | (out ? 0x20 : 0x40)), tag->itt);
	bhs[9] = (uint8_t)(tag->lun = rnd(session, luns));
	put32(bhs + 20, bytes);
	memcpy(bhs + 32, cdb, 16);
	queue(conn, bhs, noise, now_bytes);
	session->cmdsn++;
	session->commands++;
	if (rnd(session, 50) == 0) /* so that others overtake it */
		conn->silent_until = hammer_now() + rnd(session, 30) / 1000.0;
}

static bool manage(struct session *session, unsigned cid, uint8_t function, uint32_t itt,
		   uint32_t cmdsn, bool fills)
{
	struct conn *conn = &session->conns[cid];
	uint8_t bhs[48];
	struct tag *tag;

	if (!room(conn, 0) || !(tag = take(session, cid)))
		return false;
	tag->management = true;
	tag->fills = fills;
	tag->function = function;
	tag->whose = itt;
	tag->number = cmdsn;
	head(session, conn, bhs, 0x42, (uint8_t)(0x80 | function), tag->itt);
	bhs[9] = (uint8_t)(tag->lun = rnd(session, luns));
	put32(bhs + 20, itt);
	put32(bhs + 32, cmdsn);
	queue(conn, bhs, NULL, 0);
	session->functions++;
	return true;
}

static void any_management(struct session *session, unsigned cid)
{
	const struct tag *other = &session->tags[rnd(session, TAGS)];
	uint8_t function = (uint8_t)(1 + rnd(session, alone ? 2 : 6));

	if (function > 1 && rnd(session, 4))
		function = 1;
	/* What is immediate has the number of a command that is still to come: not to be aborted.
	 */
	if (other->used && !other->management && !other->logout)
		manage(session, cid, function, other->itt, other->cmdsn, false);
	else
		manage(session, cid, function, 0x12345678, session->expcmdsn - 1, false);
}

/* In its turn, unlike a ping. */
static bool probe(struct session *session, unsigned cid)
{
	struct conn *conn = &session->conns[cid];
	uint8_t bhs[48];
	struct tag *tag;

	if (after(session->cmdsn, session->maxcmdsn) || !room(conn, 0) ||
	    !(tag = take(session, cid)))
		return false;
	tag->probe = true;
	head(session, conn, bhs, 0x00, 0x80, tag->itt);
	put32(bhs + 20, NO_TAG);
	queue(conn, bhs, NULL, 0);
	session->cmdsn++;
	return true;
}

static void log_out(struct session *session, unsigned cid, unsigned closes)
{
	struct conn *conn = &session->conns[cid];
	uint8_t bhs[48];
	struct tag *tag;

	if (!room(conn, 0) || !(tag = take(session, cid)))
		return;
	tag->logout = true;
	tag->closes = closes;
	session->conns[closes].leaving = true;
	head(session, conn, bhs, 0x46, 0x81, tag->itt);
	put16(bhs + 20, closes);
	queue(conn, bhs, NULL, 0);
	session->logouts++;
}

/* ---- what comes */

static struct tag *find(struct session *session, uint32_t itt)
{
	struct tag *tag = &session->tags[itt % TAGS];

	return tag->used && tag->itt == itt ? tag : NULL;
}

static void data_out(struct session *session, unsigned cid, const uint8_t *r2t)
{
	struct conn *conn = &session->conns[cid];
	uint32_t offset = get32(r2t + 40), left = get32(r2t + 44), number = 0;

	while (left > 0) {
		uint32_t n = left < 4096 ? left : 4096;
		uint8_t bhs[48];

		if (!room(conn, n)) {
			session->broken = true;
			return;
		}
		head(session, conn, bhs, 5, n == left ? 0x80 : 0, get32(r2t + 16));
		put32(bhs + 20, get32(r2t + 20));
		put32(bhs + 24, 0);
		put32(bhs + 36, number++);
		put32(bhs + 40, offset);
		queue(conn, bhs, noise, n);
		offset += n;
		left -= n;
	}
}

static void numbers(struct session *session, struct conn *conn, const uint8_t *bhs, bool status)
{
	if (status)
		conn->expstatsn = get32(bhs + 24) + 1;
	if (after(get32(bhs + 28), session->expcmdsn))
		session->expcmdsn = get32(bhs + 28);
	if (after(get32(bhs + 32), session->maxcmdsn))
		session->maxcmdsn = get32(bhs + 32);
}

static void answered(struct session *session, uint32_t itt, uint8_t response)
{
	struct tag *tag = find(session, itt);

	if (!tag)
		return;
	tag->used = false;
	session->answered++;
	if (tag->management && tag->function < 3 && response == 0)
		aborted(session, tag, false);
	if (tag->logout) {
		unsigned closes = tag->closes;

		forget(session, closes);
	}
}

/* @header: of a request (too many immediate ones), or of data that came late. */
static void rejected(struct session *session, const uint8_t *header)
{
	struct tag *tag = find(session, get32(header + 16));

	if (!tag || (header[0] & 0x3f) == 5)
		return;
	tag->used = false;
	if (tag->fills)
		lose(session, tag->whose, tag->number);
}

static void heard(struct session *session, unsigned cid, const uint8_t *bhs)
{
	struct conn *conn = &session->conns[cid];
	uint8_t pong[48];

	switch (bhs[0] & 0x3f) {
	case 0x20:
		numbers(session, conn, bhs, get32(bhs + 16) != NO_TAG);
		if (get32(bhs + 16) != NO_TAG)
			answered(session, get32(bhs + 16), 0);
		if (get32(bhs + 16) != NO_TAG || get32(bhs + 20) == NO_TAG || !room(conn, 0))
			break;
		head(session, conn, pong, 0x40, 0x80, NO_TAG);
		memcpy(pong + 20, bhs + 20, 4);
		queue(conn, pong, NULL, 0);
		conn->silent_until = 0;
		break;
	case 0x31:
		numbers(session, conn, bhs, false);
		data_out(session, cid, bhs);
		break;
	case 0x25:
		numbers(session, conn, bhs, bhs[1] & 1);
		if (bhs[1] & 1)
			answered(session, get32(bhs + 16), 0);
		break;
	case 0x32:
		numbers(session, conn, bhs, true);
		session->dropped += bhs[36] == 2 || bhs[36] == 3;
		break;
	case 0x3f:
		numbers(session, conn, bhs, true);
		rejected(session, bhs + 48);
		break;
	default: /* responses */
		numbers(session, conn, bhs, true);
		answered(session, get32(bhs + 16), bhs[2]);
	}
}

static void receive(struct session *session, unsigned cid)
{
	struct conn *conn = &session->conns[cid];
	ssize_t n =
	    recv(conn->fd, conn->in + conn->in_length, BUFFER - conn->in_length, MSG_DONTWAIT);
	size_t at = 0;

	if (n == 0 || (n < 0 && errno != EAGAIN)) {
		if (!conn->leaving)
			breaks(session, conn, n == 0 ? "was closed" : "was reset");
		forget(session, cid);
		return;
	}
	conn->in_length += n > 0 ? (size_t)n : 0;
	while (conn->in_length - at >= 48 && conn->fd >= 0) {
		const uint8_t *bhs = conn->in + at;
		size_t length = (size_t)bhs[5] << 16 | get16(bhs + 6);

		length = 48 + ((length + 3) & ~(size_t)3);
		if (conn->in_length - at < length)
			break;
		heard(session, cid, bhs);
		at += length;
	}
	conn->in_length -= at;
	memmove(conn->in, conn->in + at, conn->in_length);
}

static void serve(struct session *session)
{
	struct pollfd fds[CONNECTIONS];
	double time = hammer_now();

	for (unsigned i = 0; i < CONNECTIONS; i++) {
		struct conn *conn = &session->conns[i];
		bool sends = conn->out_length && time >= conn->silent_until;

		if (sends)
			flush(session, conn);
		fds[i] = (struct pollfd){
		    .fd = conn->fd,
		    .events = (short)(POLLIN | (sends && conn->out_length ? POLLOUT : 0))};
	}
	if (poll(fds, CONNECTIONS, 2) < 0)
		return;
	for (unsigned i = 0; i < CONNECTIONS; i++)
		if (session->conns[i].fd >= 0 && fds[i].revents & (POLLIN | POLLHUP | POLLERR))
			receive(session, i);
}

/* ---- a session */

/* Has an answer to come? Others' functions may have ended a command. */
static bool is_owed(const struct tag *tag)
{
	return tag->used && !tag->doubtful &&
	       (alone || tag->management || tag->logout || tag->probe);
}

/* Something that was sent @patience seconds ago and has no answer hangs. */
static void watch(struct session *session, double patience)
{
	double time = hammer_now();

	for (unsigned i = 0; i < TAGS; i++) {
		const struct tag *tag = &session->tags[i];

		if (!is_owed(tag) || time - tag->sent < patience)
			continue;
		fprintf(stderr,
			"session %u connection %u: no answer to %s (%u, of CmdSN %u), CmdSN %u, "
			"%.1f s; ExpCmdSN %u, MaxCmdSN %u, next %u\n",
			session->number, tag->conn,
			tag->management ? "a function"
			: tag->logout   ? "a logout"
			: tag->probe    ? "a NOP"
					: "a command",
			tag->function, tag->number, tag->cmdsn, time - tag->sent, session->expcmdsn,
			session->maxcmdsn, session->cmdsn);
		session->hung++;
		session->broken = true;
		return;
	}
}

static unsigned functions_under_way(const struct session *session)
{
	unsigned count = 0;

	for (unsigned i = 0; i < TAGS; i++)
		count += session->tags[i].used && session->tags[i].management;
	return count;
}

static void fill(struct session *session, unsigned cid)
{
	while (session->lost_count > 0 && in_use(session) < TAGS - 4 &&
	       functions_under_way(session) < FUNCTIONS) {
		unsigned at = session->lost_count - 1;

		if (!manage(session, cid, 1, session->lost_itt[at], session->lost[at], true))
			return;
		session->lost_count--;
	}
}

/* Has it a connection that is not on its way out? */
static bool stands(const struct session *session)
{
	for (unsigned i = 0; i < CONNECTIONS; i++)
		if (session->conns[i].fd >= 0 && !session->conns[i].leaving)
			return true;
	return false;
}

static void step(struct session *session)
{
	unsigned cid = rnd(session, CONNECTIONS), other = rnd(session, CONNECTIONS);
	struct conn *conn = &session->conns[cid];

	if (conn->fd < 0) {
		session->over = !stands(session); /* a new one begins */
		if (!session->over && !login(session, cid))
			breaks(session, conn, "is not let in again");
		return;
	}
	if (conn->leaving)
		return;
	fill(session, cid);
	if (in_use(session) < TAGS / 2)
		command(session, cid);
	if (rnd(session, 150) == 0)
		any_management(session, cid);
	if (rnd(session, 1000) == 0 && !session->conns[other].leaving &&
	    session->conns[other].fd >= 0)
		log_out(session, cid, other);
	if (rnd(session, 1000) == 0) {
		session->cuts++;
		forget(session, cid);
	}
}

static bool is_through(const struct session *session)
{
	for (unsigned i = 0; i < TAGS; i++)
		if (is_owed(&session->tags[i]))
			return false;
	return session->lost_count == 0;
}

/* Nothing new is sent but what fills gaps, and a probe on each connection that stands. */
static void settle(struct session *session)
{
	bool probed[CONNECTIONS] = {false}, all = false;
	double limit = hammer_now() + LIMIT;

	while (!session->broken && stands(session) && !(all && is_through(session))) {
		all = true;
		for (unsigned i = 0; i < CONNECTIONS; i++) {
			if (session->conns[i].fd < 0 || session->conns[i].leaving)
				continue;
			fill(session, i);
			probed[i] = probed[i] || probe(session, i);
			all = all && probed[i];
		}
		serve(session);
		if (hammer_now() < limit)
			continue;
		fprintf(stderr, "session %u hangs: %u numbers lost, %s probed\n", session->number,
			session->lost_count, all ? "all" : "not all");
		watch(session, 0);
		session->hung += !session->broken;
		session->broken = true;
	}
	session->settled += !session->broken && stands(session);
}

static bool begin(struct session *session)
{
	session->tsih = 0;
	session->cmdsn = rnd(session, 4) ? 1 : 0xfffffff0u; /* over the wrap as well */
	session->lost_count = 0;
	session->broken = session->over = false;
	memset(session->tags, 0, sizeof(session->tags));
	for (unsigned i = 0; i < CONNECTIONS; i++)
		if (!login(session, i))
			return false;
	return true;
}

static void *run(void *context)
{
	struct session *session = context;
	unsigned failures = 0;

	while (hammer_now() < until) {
		double end = hammer_now() + 0.5 + rnd(session, 4000) / 1000.0;

		if (!begin(session)) {
			struct timespec wait = {.tv_nsec = 20000000};

			nanosleep(&wait, NULL);
			session->hung += ++failures == 500;
			if (failures >= 500)
				break;
		} else {
			failures = 0;
			while (!session->broken && !session->over && hammer_now() < end &&
			       hammer_now() < until) {
				for (unsigned i = 0; i < 6 && !session->broken && !session->over;
				     i++)
					step(session);
				serve(session);
				watch(session, LIMIT);
			}
			if (!session->over)
				settle(session);
			if (session->broken && !session->hung)
				session->dropped++;
		}
		for (unsigned i = 0; i < CONNECTIONS; i++)
			forget(session, i);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	static struct session sessions[SESSIONS];
	uint64_t commands = 0, answers = 0, functions = 0, logins = 0, cuts = 0, logouts = 0,
		 settled = 0, hung = 0, dropped = 0;

	if (argc < 7) {
		fprintf(stderr, "mcs_hammer HOST PORT IQN LUNS SECONDS SEED [alone]\n");
		return 2;
	}
	host = argv[1];
	port = argv[2];
	iqn = argv[3];
	luns = (unsigned)strtoul(argv[4], NULL, 10);
	until = hammer_now() + strtod(argv[5], NULL);
	alone = argc > 7;
	for (unsigned i = 0; i < SESSIONS; i++) {
		sessions[i].number = i;
		sessions[i].random_state = hammer_seed(argv[6], i);
		for (unsigned j = 0; j < CONNECTIONS; j++) {
			sessions[i].conns[j].fd = -1;
			sessions[i].conns[j].out = malloc(BUFFER);
			sessions[i].conns[j].in = malloc(BUFFER);
			if (!sessions[i].conns[j].out || !sessions[i].conns[j].in)
				return 2;
		}
		if (pthread_create(&sessions[i].thread, NULL, run, &sessions[i]) != 0)
			return 2;
	}
	for (unsigned i = 0; i < SESSIONS; i++) {
		pthread_join(sessions[i].thread, NULL);
		commands += sessions[i].commands;
		answers += sessions[i].answered;
		functions += sessions[i].functions;
		logins += sessions[i].logins;
		cuts += sessions[i].cuts;
		logouts += sessions[i].logouts;
		settled += sessions[i].settled;
		hung += sessions[i].hung;
		dropped += sessions[i].dropped;
	}
	printf("%" PRIu64 " commands, %" PRIu64 " answers, %" PRIu64
	       " task management functions, %" PRIu64 " logins, %" PRIu64
	       " connections cut, %" PRIu64 " logged out, %" PRIu64
	       " sessions to their end, %" PRIu64 " dropped, %" PRIu64 " hung\n",
	       commands, answers, functions, logins, cuts, logouts, settled, dropped, hung);
	return hung || (dropped && alone) || !answers || !settled ? 1 : 0;
}
