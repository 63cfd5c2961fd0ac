/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "fusemount/fusemount.h"

#define ANSWER_SECONDS 30

static int connect_to(const char *state_dir, struct err *err)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	const struct timeval limit = {.tv_sec = ANSWER_SECONDS};
	int length =
	    snprintf(address.sun_path, sizeof address.sun_path, "%s/%s", state_dir, MOUNT_SOCKET);
	int fd;

	if (length < 0 || (size_t)length >= sizeof address.sun_path)
		return err_set(err, -ENAMETOOLONG, "%s is too long for a socket", state_dir);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_set(err, -errno, "socket: %s", strerror(errno));
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
	if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
		return fd;
	if (errno == ENOENT || errno == ECONNREFUSED)
		err_set(err, -errno, "no granaryd answers on %s", address.sun_path);
	else
		err_set(err, -errno, "%s: %s", address.sun_path, strerror(errno));
	close(fd);
	return err->code;
}

static int exchange(int fd, const struct mount_options *options, struct mount_welcome *welcome,
		    struct err *err)
{
	struct mount_hello hello = {
	    .magic = MOUNT_MAGIC,
	    .version = MOUNT_VERSION,
	    .call_size = sizeof(struct mount_call),
	    .reply_size = sizeof(struct mount_reply),
	    .read_only = options->read_only,
	};
	ssize_t got;

	snprintf(hello.pool, sizeof hello.pool, "%s", options->pool);
	snprintf(hello.share, sizeof hello.share, "%s", options->share);
	snprintf(hello.snapshot, sizeof hello.snapshot, "%s", options->snapshot);
	snprintf(hello.where, sizeof hello.where, "%.1023s", options->dir);
	if (send(fd, &hello, sizeof hello, MSG_NOSIGNAL) != (ssize_t)sizeof hello)
		return err_set(err, -EIO, "granaryd does not listen");
	got = recv(fd, welcome, sizeof *welcome, MSG_WAITALL);
	if (got != (ssize_t)sizeof *welcome || welcome->magic != MOUNT_MAGIC)
		return err_set(err, -EIO, "granaryd does not answer");
	welcome->reason[MOUNT_REASON_MAX] = '\0';
	if (welcome->result < 0)
		return err_set(err, welcome->result, "%s", welcome->reason);
	return 0;
}

int daemon_connect(const struct mount_options *options, struct mount_welcome *ret_welcome,
		   int *ret_fd, struct err *err)
{
	int fd = connect_to(options->state_dir, err), result;

	if (fd < 0)
		return fd;
	result = exchange(fd, options, ret_welcome, err);
	if (result < 0)
		close(fd);
	else
		*ret_fd = fd;
	return result;
}
