/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/heap.h"
#include "replication/tls.h"

/* Connecting, on a thread: names take their time to be looked up, and a stream is attached to
 * sockets that are connected. */

#define LIMIT_MS 4000
#define SLICE_MS 50

struct tls_dial {
	struct loop *loop;
	struct message message;
	char host[256];
	char port[8];
	int fd;
	bool cancelled; /* atomic */
	void (*done)(void *context, int fd);
	void *context;
};

static void finished(struct message *message)
{
	struct tls_dial *dial = container_of(message, struct tls_dial, message);

	dial->done(dial->context, dial->fd);
	heap_free(dial);
}

/* 0, or -errno, of a connect under way. */
static int wait_connected(const struct tls_dial *dial, int fd)
{
	int error = 0;
	socklen_t length = sizeof error;

	for (unsigned waited = 0; waited < LIMIT_MS; waited += SLICE_MS) {
		struct pollfd wanted = {.fd = fd, .events = POLLOUT};

		if (__atomic_load_n(&dial->cancelled, __ATOMIC_RELAXED))
			return -ECANCELED;
		if (poll(&wanted, 1, SLICE_MS) > 0)
			return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) < 0 ? -errno
											 : -error;
	}
	return -ETIMEDOUT;
}

static int try_one(const struct tls_dial *dial, const struct addrinfo *address)
{
	int fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int result = 0, on = 1;

	if (fd < 0)
		return -errno;
	if (connect(fd, address->ai_addr, address->ai_addrlen) < 0)
		result = errno == EINPROGRESS ? wait_connected(dial, fd) : -errno;
	if (result < 0) {
		close(fd);
		return result;
	}
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	return fd;
}

static void *run(void *context)
{
	struct tls_dial *dial = context;
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found = NULL;

	dial->fd = -EHOSTUNREACH;
	if (getaddrinfo(dial->host, dial->port, &hints, &found) == 0) {
		for (const struct addrinfo *at = found; at && dial->fd < 0; at = at->ai_next)
			dial->fd = try_one(dial, at);
		freeaddrinfo(found);
	}
	loop_post(dial->loop, &dial->message, finished);
	return NULL;
}

int tls_dial(struct loop *loop, const char *host, uint16_t port,
	     void (*done)(void *context, int fd), void *context, struct tls_dial **ret_dial,
	     struct err *err)
{
	struct tls_dial *dial = heap_zalloc(sizeof *dial);
	pthread_attr_t attributes;
	pthread_t thread;
	int result;

	if (!dial)
		return err_set(err, -ENOMEM, "out of memory");
	dial->loop = loop;
	dial->done = done;
	dial->context = context;
	snprintf(dial->host, sizeof dial->host, "%s", host);
	snprintf(dial->port, sizeof dial->port, "%u", port);
	pthread_attr_init(&attributes);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	*ret_dial = dial;
	result = pthread_create(&thread, &attributes, run, dial);
	pthread_attr_destroy(&attributes);
	if (result != 0) {
		heap_free(dial);
		return err_set(err, -result, "no thread: %s", strerror(result));
	}
	return 0;
}

void tls_dial_cancel(struct tls_dial *dial)
{
	__atomic_store_n(&dial->cancelled, true, __ATOMIC_RELAXED);
}
