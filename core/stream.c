/* SPDX-License-Identifier: Apache-2.0 */
#include "core/stream.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/world.h"

#define LISTEN_BACKLOG 1024

static const struct world_ops *world_of(const struct stream *stream)
{
	return loop_world(stream->loop);
}

int stream_attach(struct loop *loop, int fd, const struct stream_handlers *handlers, void *context,
		  struct stream **ret_stream, struct err *err)
{
	const struct world_ops *world = loop_world(loop);
	int one = 1, flags = fcntl(fd, F_GETFL);

	if (!world->stream_attach)
		return err_set(err, -EOPNOTSUPP, "this world has no network");
	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return err_set(err, -errno, "not a usable connection: %s", strerror(errno));
	/* Responses are batched by hand; a UNIX socket refuses this, and needs it not. */
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	return world->stream_attach(loop, fd, handlers, context, ret_stream, err);
}

void *stream_context(const struct stream *stream)
{
	return stream->context;
}

struct loop *stream_loop(const struct stream *stream)
{
	return stream->loop;
}

int stream_fd(const struct stream *stream)
{
	return stream->fd;
}

size_t stream_send_pending(const struct stream *stream)
{
	return stream->send_pending;
}

void stream_send(struct stream *stream, struct stream_send *send)
{
	world_of(stream)->stream_send(stream, send);
}

void stream_receive_into(struct stream *stream, struct stream_receive *receive)
{
	world_of(stream)->stream_receive_into(stream, receive);
}

void stream_pause(struct stream *stream)
{
	world_of(stream)->stream_pause(stream);
}

void stream_resume(struct stream *stream)
{
	world_of(stream)->stream_resume(stream);
}

void stream_close(struct stream *stream)
{
	world_of(stream)->stream_close(stream);
}

void stream_drain(struct stream *stream, uint64_t limit_ns)
{
	world_of(stream)->stream_drain(stream, limit_ns);
}

/* Listeners */

union address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
	struct sockaddr_un local;
};

static int parse_address(const char *text, uint16_t port, union address *ret, socklen_t *ret_length,
			 struct err *err)
{
	memset(ret, 0, sizeof *ret);
	if (inet_pton(AF_INET, text, &ret->v4.sin_addr) == 1) {
		ret->v4.sin_family = AF_INET;
		ret->v4.sin_port = htons(port);
		*ret_length = sizeof ret->v4;
		return 0;
	}
	if (inet_pton(AF_INET6, text, &ret->v6.sin6_addr) == 1) {
		ret->v6.sin6_family = AF_INET6;
		ret->v6.sin6_port = htons(port);
		*ret_length = sizeof ret->v6;
		return 0;
	}
	return err_set(err, -EINVAL, "\"%s\" is not an IPv4 or IPv6 address", text);
}

static int listener_socket(int family, struct err *err)
{
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int one = 1;

	if (fd < 0)
		return err_set(err, -errno, "can not create a socket: %s", strerror(errno));
	if (family != AF_UNIX)
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one);
	return fd;
}

static uint16_t bound_port(int fd)
{
	union address bound = {0};
	socklen_t length = sizeof bound;

	if (getsockname(fd, &bound.any, &length) < 0)
		return 0;
	if (bound.any.sa_family == AF_INET)
		return ntohs(bound.v4.sin_port);
	return bound.any.sa_family == AF_INET6 ? ntohs(bound.v6.sin6_port) : 0;
}

static int start_listener(struct loop *loop, int fd, const struct listener_handlers *handlers,
			  void *context, struct listener **ret_listener, struct err *err)
{
	const struct world_ops *world = loop_world(loop);
	struct listener *listener;
	int r;

	if (listen(fd, LISTEN_BACKLOG) < 0)
		return err_set(err, -errno, "can not listen: %s", strerror(errno));
	r = world->listener_open(loop, fd, handlers, context, &listener, err);
	if (r < 0)
		return r;
	listener->port = bound_port(fd);
	*ret_listener = listener;
	return 0;
}

int listener_open(struct loop *loop, const char *address, uint16_t port,
		  const struct listener_handlers *handlers, void *context,
		  struct listener **ret_listener, struct err *err)
{
	union address bound;
	socklen_t length = 0;
	int fd, r;

	if (!loop_world(loop)->listener_open)
		return err_set(err, -EOPNOTSUPP, "this world has no network");
	r = parse_address(address, port, &bound, &length, err);
	if (r < 0)
		return r;
	fd = listener_socket(bound.any.sa_family, err);
	if (fd < 0)
		return fd;
	if (bind(fd, &bound.any, length) < 0)
		r = err_set(err, -errno, "can not bind: %s", strerror(errno));
	if (r == 0)
		r = start_listener(loop, fd, handlers, context, ret_listener, err);
	if (r < 0) {
		close(fd);
		err_wrap(err, "%s port %u", address, port);
	}
	return r;
}

/* A socket file that refuses connections is left over from a process that died. */
static bool is_stale(const union address *address)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	bool stale;

	if (fd < 0)
		return false;
	stale = connect(fd, &address->any, sizeof address->local) < 0 && errno == ECONNREFUSED;
	close(fd);
	return stale;
}

static int bind_unix(int fd, const union address *address, unsigned mode)
{
	const char *path = address->local.sun_path;

	if (is_stale(address))
		unlink(path);
	/* On Linux a socket file is created with the socket's own mode: closed from the start. */
	if (fchmod(fd, mode) < 0 || bind(fd, &address->any, sizeof address->local) < 0)
		return -errno;
	if (chmod(path, mode) < 0)
		return -errno;
	return 0;
}

int listener_open_unix(struct loop *loop, const char *path, unsigned mode,
		       const struct listener_handlers *handlers, void *context,
		       struct listener **ret_listener, struct err *err)
{
	union address address = {.local = {.sun_family = AF_UNIX}};
	size_t length = strlen(path);
	int fd, r;

	if (!loop_world(loop)->listener_open)
		return err_set(err, -EOPNOTSUPP, "this world has no network");
	if (length >= sizeof address.local.sun_path)
		return err_set(err, -ENAMETOOLONG, "socket path %s is longer than 107 bytes", path);
	memcpy(address.local.sun_path, path, length);
	fd = listener_socket(AF_UNIX, err);
	if (fd < 0)
		return fd;
	r = bind_unix(fd, &address, mode);
	if (r < 0)
		err_set(err, r, "can not bind: %s", strerror(-r));
	else
		r = start_listener(loop, fd, handlers, context, ret_listener, err);
	if (r < 0) {
		close(fd);
		err_wrap(err, "%s", path);
	}
	return r;
}

void *listener_context(const struct listener *listener)
{
	return listener->context;
}

uint16_t listener_port(const struct listener *listener)
{
	return listener->port;
}

void listener_close(struct listener *listener)
{
	if (listener)
		loop_world(listener->loop)->listener_close(listener);
}
