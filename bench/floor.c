/* SPDX-License-Identifier: Apache-2.0 */
/* The floor: what sockets and a file cost when a server does nothing else. It knows just enough
 * iSCSI for our own client, so that the same load meets it. */
#include "bench/floor.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench/wire.h"

#define ROOM (4u << 20) /* bytes of each buffer */

struct peer {
	int fd;
	uint32_t statsn;
	size_t in_length, out_length;
	uint8_t *in, *out;
};

struct floor {
	int file, epoll, listener;
	uint64_t blocks;
};

static int flush(struct peer *peer)
{
	for (size_t at = 0; at < peer->out_length;) {
		ssize_t n = send(peer->fd, peer->out + at, peer->out_length - at, MSG_NOSIGNAL);
		if (n < 0)
			return -errno;
		at += (size_t)n;
	}
	peer->out_length = 0;
	return 0;
}

/* A response to @request with room for @length bytes of data behind it, which is returned. */
static uint8_t *respond(struct peer *peer, const uint8_t *request, uint8_t opcode, uint8_t flags,
			uint32_t length)
{
	if (peer->out_length + WIRE_HEADER + wire_padded(length) > ROOM && flush(peer) < 0)
		peer->out_length = 0; /* the next recv() tells */
	uint8_t *header = peer->out + peer->out_length;
	memset(header, 0, WIRE_HEADER);
	header[0] = opcode;
	header[1] = flags;
	wire_put24(header + 5, length);
	memcpy(header + 16, request + 16, 4);
	wire_put32(header + 20, opcode == WIRE_DATA_IN ? WIRE_NO_TAG : 0);
	wire_put32(header + 24, peer->statsn++);
	wire_put32(header + 28, wire_get32(request + 24) + 1);
	wire_put32(header + 32, wire_get32(request + 24) + OPTIONS_DEPTH_MAX);
	peer->out_length += WIRE_HEADER + wire_padded(length);
	return header + WIRE_HEADER;
}

static void login(struct peer *peer, const uint8_t *request)
{
	static const char keys[] = "MaxRecvDataSegmentLength=1048576\0FirstBurstLength=262144\0"
				   "MaxBurstLength=1048576\0ImmediateData=Yes\0InitialR2T=Yes";
	uint8_t *data = respond(peer, request, WIRE_LOGIN_RESPONSE, 0x87, sizeof(keys));

	memcpy(data, keys, sizeof(keys));
	memcpy(data - WIRE_HEADER + 8, request + 8, 6);
	wire_put16(data - WIRE_HEADER + 14, 1);
	wire_put32(data - WIRE_HEADER + 28, wire_get32(request + 24));
}

static void capacity(const struct floor *floor, struct peer *peer, const uint8_t *request)
{
	uint8_t *data = respond(peer, request, WIRE_DATA_IN, WIRE_FINAL | WIRE_STATUS, 32);

	memset(data, 0, 32);
	wire_put64(data, floor->blocks - 1);
	wire_put32(data + 8, 512);
}

static int io(const struct floor *floor, struct peer *peer, const uint8_t *request)
{
	off_t offset = (off_t)(wire_get64(request + 34) * 512);
	uint32_t length = wire_get32(request + 42) * 512;
	ssize_t n;

	if (length > ROOM / 4)
		return -EINVAL;
	if (request[32] == 0x8a) {
		n = pwrite(floor->file, request + WIRE_HEADER, length, offset);
		respond(peer, request, WIRE_RESPONSE, WIRE_FINAL, 0);
	} else {
		n = pread(floor->file,
			  respond(peer, request, WIRE_DATA_IN, WIRE_FINAL | WIRE_STATUS, length),
			  length, offset);
	}
	return n == (ssize_t)length ? 0 : -EIO;
}

static int command(const struct floor *floor, struct peer *peer, const uint8_t *request)
{
	switch (request[32]) {
	case 0x88:
	case 0x8a:
		return io(floor, peer, request);
	case 0x9e:
		capacity(floor, peer, request);
		return 0;
	default:
		respond(peer, request, WIRE_RESPONSE, WIRE_FINAL, 0);
		return 0;
	}
}

static int handle(const struct floor *floor, struct peer *peer, const uint8_t *request)
{
	switch (request[0] & WIRE_OPCODE_MASK) {
	case WIRE_LOGIN:
		login(peer, request);
		return 0;
	case WIRE_COMMAND:
		return command(floor, peer, request);
	case WIRE_LOGOUT:
		respond(peer, request, WIRE_LOGOUT_RESPONSE, WIRE_FINAL, 0);
		return 0;
	}
	return -EPROTO;
}

static int serve(const struct floor *floor, struct peer *peer)
{
	ssize_t n = recv(peer->fd, peer->in + peer->in_length, ROOM - peer->in_length, 0);
	size_t at = 0;
	int r = n <= 0 ? -ECONNRESET : 0;

	peer->in_length += n > 0 ? (size_t)n : 0;
	while (r == 0 && peer->in_length - at >= WIRE_HEADER) {
		size_t total = WIRE_HEADER + wire_padded(wire_get24(peer->in + at + 5));
		if (peer->in_length - at < total)
			break;
		r = handle(floor, peer, peer->in + at);
		at += total;
	}
	memmove(peer->in, peer->in + at, peer->in_length - at);
	peer->in_length -= at;
	return r == 0 ? flush(peer) : r;
}

static void drop(struct peer *peer)
{
	close(peer->fd);
	free(peer->in);
	free(peer->out);
	free(peer);
}

static void greet(const struct floor *floor)
{
	int fd = accept4(floor->listener, NULL, NULL, SOCK_CLOEXEC), one = 1;
	struct peer *peer = calloc(1, sizeof(*peer));
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = peer};

	if (fd < 0 || peer == NULL) {
		free(peer);
		return;
	}
	*peer = (struct peer){.fd = fd, .in = malloc(ROOM), .out = malloc(ROOM)};
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (!peer->in || !peer->out || epoll_ctl(floor->epoll, EPOLL_CTL_ADD, fd, &event) < 0)
		drop(peer);
	/* The epoll set holds the peer from here on. */
} // NOLINT(clang-analyzer-unix.Malloc)

static int open_all(struct floor *floor, const struct options *options)
{
	struct sockaddr_in address = {.sin_family = AF_INET};
	struct epoll_event event = {.events = EPOLLIN};
	struct stat status;
	int one = 1;

	if (inet_pton(AF_INET, options->host, &address.sin_addr) != 1)
		return -EINVAL;
	address.sin_port = htons((uint16_t)strtoul(options->port, NULL, 10));
	floor->file = open(options->floor_file, O_RDWR | O_CLOEXEC);
	if (floor->file < 0 || fstat(floor->file, &status) < 0)
		return -errno;
	floor->blocks = (uint64_t)status.st_size / 512;
	floor->epoll = epoll_create1(EPOLL_CLOEXEC);
	floor->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (setsockopt(floor->listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 ||
	    bind(floor->listener, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    listen(floor->listener, 64) < 0 ||
	    epoll_ctl(floor->epoll, EPOLL_CTL_ADD, floor->listener, &event) < 0)
		return -errno;
	return 0;
}

int floor_serve(const struct options *options, struct err *err)
{
	struct floor floor = {.file = -1};
	struct epoll_event events[16];
	int count, r = open_all(&floor, options);

	if (r < 0)
		return err_set(err, r, "%s on %s port %s: %s", options->floor_file, options->host,
			       options->port, strerror(-r));
	for (;;) {
		count = epoll_wait(floor.epoll, events, 16, -1);
		for (int i = 0; i < count; i++) {
			if (events[i].data.ptr == NULL)
				greet(&floor);
			else if (serve(&floor, events[i].data.ptr) < 0)
				drop(events[i].data.ptr);
		}
	}
}
