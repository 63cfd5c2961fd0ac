/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/control.h"
#include "core/heap.h"

/* The client's side of the control socket: plain blocking calls, each bounded by poll(). */
struct call {
	int fd;
	int timeout_ms;
	struct err *err;
};

static int await(struct call *call, short events)
{
	struct pollfd poll_fd = {.fd = call->fd, .events = events};
	int count;

	do {
		count = poll(&poll_fd, 1, call->timeout_ms);
	} while (count < 0 && errno == EINTR);
	if (count == 0)
		return err_set(call->err, -ETIMEDOUT, "no answer from granaryd within %d s",
			       call->timeout_ms / 1000);
	return count < 0 ? err_set(call->err, -errno, "poll: %s", strerror(errno)) : 0;
}

static int transfer(struct call *call, void *data, size_t length, bool out)
{
	char *at = data;

	while (length) {
		ssize_t moved;
		int result = await(call, out ? POLLOUT : POLLIN);

		if (result < 0)
			return result;
		moved = out ? send(call->fd, at, length, MSG_NOSIGNAL | MSG_DONTWAIT)
			    : recv(call->fd, at, length, MSG_DONTWAIT);
		if (moved < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (moved < 0 && errno != ECONNRESET && errno != EPIPE)
			return err_set(call->err, -errno, "control socket: %s", strerror(errno));
		if (moved <= 0)
			return err_set(call->err, -ECONNRESET,
				       "granaryd closed the control connection");
		at += moved;
		length -= (size_t)moved;
	}
	return 0;
}

static int connect_to(const char *path, struct call *call)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	size_t length = strlen(path);

	if (length >= sizeof address.sun_path)
		return err_set(call->err, -ENAMETOOLONG,
			       "%s is too long for a socket (at most %zu bytes)", path,
			       sizeof address.sun_path - 1);
	memcpy(address.sun_path, path, length);
	call->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (call->fd < 0)
		return err_set(call->err, -errno, "socket: %s", strerror(errno));
	if (connect(call->fd, (struct sockaddr *)&address, sizeof address) == 0)
		return 0;
	if (errno == ENOENT || errno == ECONNREFUSED)
		return err_set(call->err, -errno, "no granaryd answers on %s", path);
	return err_set(call->err, -errno, "%s: %s", path, strerror(errno));
}

static int send_request(struct call *call, const json_t *request)
{
	char *text = json_dumps(request, JSON_COMPACT);
	size_t length = text ? strlen(text) : 0;
	uint32_t header = htonl((uint32_t)length);
	int result;

	if (!text)
		return err_set(call->err, -ENOMEM, "request can not be written as JSON");
	if (length > CONTROL_MESSAGE_MAX)
		result = err_set(call->err, -EMSGSIZE, "request too large (%zu bytes)", length);
	else
		result = transfer(call, &header, sizeof header, true);
	if (result == 0)
		result = transfer(call, text, length, true);
	heap_wipe(text);
	return result;
}

static int receive_reply(struct call *call, json_t **ret_reply)
{
	uint32_t header;
	size_t length;
	char *text;
	json_t *reply;
	int result = transfer(call, &header, sizeof header, false);

	if (result < 0)
		return result;
	length = ntohl(header);
	if (length == 0 || length > CONTROL_MESSAGE_MAX)
		return err_set(call->err, -EBADMSG, "reply of %zu bytes: this is not granaryd",
			       length);
	text = heap_alloc(length);
	if (!text)
		return err_set(call->err, -ENOMEM, "out of memory");
	result = transfer(call, text, length, false);
	if (result == 0) {
		reply = control_parse(text, length, call->err);
		if (reply)
			*ret_reply = reply;
		else
			result = err_wrap(call->err, "reply");
	}
	heap_wipe(text);
	return result;
}

int control_call(const char *path, const json_t *request, int timeout_ms, json_t **ret_reply,
		 struct err *err)
{
	struct err own_err = {0};
	struct call call = {.fd = -1, .timeout_ms = timeout_ms, .err = err ? err : &own_err};
	int result = connect_to(path, &call);

	if (result == 0)
		result = send_request(&call, request);
	if (result == 0)
		result = receive_reply(&call, ret_reply);
	if (call.fd >= 0)
		close(call.fd);
	return result;
}
