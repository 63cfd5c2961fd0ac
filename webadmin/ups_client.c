/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "webadmin/ups.h"

/* NUT's network protocol (its developer guide, "Network protocol information"): lines of text.
 *   -> GET VAR su700 ups.status
 *   <- VAR su700 ups.status "OL CHRG"      or      ERR DATA-STALE */

bool ups_has(const char *status, const char *flag)
{
	size_t length = strlen(flag);

	while (*status) {
		size_t word = strcspn(status, " ");

		if (word == length && memcmp(status, flag, length) == 0)
			return true;
		status += word;
		status += strspn(status, " ");
	}
	return false;
}

/* What stands in quotes at @from, with its escapes (\" and \\) taken out. */
static int unquote(const char *from, char *value, size_t size)
{
	size_t length = 0;

	if (*from++ != '"')
		return -EPROTO;
	for (; *from && *from != '"'; from++) {
		if (*from == '\\' && from[1])
			from++;
		if ((unsigned char)*from < 0x20 || length + 1 >= size)
			return -EPROTO;
		value[length++] = *from;
	}
	value[length] = '\0';
	return from[0] == '"' && from[1] == '\0' ? 0 : -EPROTO;
}

int ups_line(const char *line, const char *name, const char *variable, char *value, size_t size,
	     struct err *err)
{
	char head[UPS_NAME_TEXT + 64];
	int length = snprintf(head, sizeof head, "VAR %s %s ", name, variable);

	if (strncmp(line, "ERR ", 4) == 0)
		return err_set(err, -ENOENT, "its server says %.60s", line + 4);
	if (strncmp(line, head, (size_t)length) != 0 || unquote(line + length, value, size) < 0)
		return err_set(err, -EPROTO, "its server does not speak as one of NUT");
	return 0;
}

/* --- the connection -------------------------------------------------------------------------- */

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static bool wait_for(int fd, short events, int64_t limit)
{
	struct pollfd pollfd = {.fd = fd, .events = events};
	int64_t left = limit - now_ms();

	return left > 0 && poll(&pollfd, 1, (int)left) > 0;
}

static int dial_one(const struct addrinfo *address)
{
	int fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int64_t limit = now_ms() + UPS_LIMIT_MS;
	socklen_t size = sizeof(int);
	int error = 0;

	if (fd < 0)
		return -errno;
	if (connect(fd, address->ai_addr, address->ai_addrlen) < 0) {
		error = errno;
		if (error == EINPROGRESS)
			error = !wait_for(fd, POLLOUT, limit) ? ETIMEDOUT
				: getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0 ? errno
											  : error;
	}
	if (!error)
		return fd;
	close(fd);
	return -error;
}

static int dial(const struct ups_settings *settings, struct err *err)
{
	const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
	struct addrinfo *list;
	int result = -ENOENT, failed;
	char port[8];

	snprintf(port, sizeof port, "%u", settings->port);
	failed = getaddrinfo(settings->host, port, &hints, &list);
	if (failed)
		return err_set(err, -ENOENT, "its server %.80s: %s", settings->host,
			       gai_strerror(failed));
	for (const struct addrinfo *at = list; at && result < 0; at = at->ai_next)
		result = dial_one(at);
	freeaddrinfo(list);
	return result < 0
		   ? err_set(err, result, "its server %.80s: %s", settings->host, strerror(-result))
		   : result;
}

/* One line without its end; what stands behind it is not expected: one question at a time. */
static int read_line(int fd, char line[UPS_LINE_MAX], struct err *err)
{
	int64_t limit = now_ms() + UPS_LIMIT_MS;
	size_t length = 0;

	while (length + 1 < UPS_LINE_MAX) {
		ssize_t n;

		if (!wait_for(fd, POLLIN, limit))
			return err_set(err, -ETIMEDOUT, "its server does not answer");
		n = recv(fd, line + length, UPS_LINE_MAX - 1 - length, 0);
		if (n <= 0)
			return err_set(err, -ECONNRESET, "its server has hung up");
		length += (size_t)n;
		line[length] = '\0';
		if (strlen(line) != length)
			break;
		if (line[length - 1] == '\n') {
			line[strcspn(line, "\r\n")] = '\0';
			return 0;
		}
	}
	return err_set(err, -EPROTO, "its server does not speak as one of NUT");
}

static int get(int fd, const char *name, const char *variable, char *value, size_t size,
	       struct err *err)
{
	char line[UPS_LINE_MAX];
	int length = snprintf(line, sizeof line, "GET VAR %s %s\n", name, variable), result;

	if (send(fd, line, (size_t)length, MSG_NOSIGNAL) != length)
		return err_set(err, -ECONNRESET, "its server has hung up");
	result = read_line(fd, line, err);
	return result < 0 ? result : ups_line(line, name, variable, value, size, err);
}

/* Not every UPS tells every number. */
static int get_number(int fd, const char *name, const char *variable, int *ret_number,
		      struct err *err)
{
	char value[64], *end;
	int result = get(fd, name, variable, value, sizeof value, err);
	double number;

	*ret_number = -1;
	if (result == -ENOENT)
		return 0;
	if (result < 0)
		return result;
	number = strtod(value, &end);
	if (end != value && number >= 0 && number < 1e9)
		*ret_number = (int)number;
	return 0;
}

void ups_ask(const struct ups_settings *settings, struct ups_reading *ret_reading)
{
	struct ups_reading reading = {.charge = -1, .load = -1, .runtime = -1};
	struct err err = {0};
	int fd = dial(settings, &err), result = fd < 0 ? fd : 0;

	if (result == 0)
		result = get(fd, settings->name, "ups.status", reading.status,
			     sizeof reading.status, &err);
	if (result == 0)
		result = get_number(fd, settings->name, "battery.charge", &reading.charge, &err);
	if (result == 0)
		result = get_number(fd, settings->name, "battery.runtime", &reading.runtime, &err);
	if (result == 0)
		result = get_number(fd, settings->name, "ups.load", &reading.load, &err);
	if (fd >= 0) {
		send(fd, "LOGOUT\n", 7, MSG_NOSIGNAL);
		close(fd);
	}
	reading.reached = result == 0;
	if (result < 0)
		snprintf(reading.error, sizeof reading.error, "%.199s", err.text);
	*ret_reading = reading;
}
