/* SPDX-License-Identifier: Apache-2.0 */
#include "mounts/dial.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define ANSWER_SECONDS 30

bool mount_hello_init(struct mount_hello *hello, const char *what)
{
	const char *slash = strchr(what, '/'), *at = strchr(what, '@');
	size_t pool = slash ? (size_t)(slash - what) : 0;
	size_t share = slash ? (at ? (size_t)(at - slash) : strlen(slash)) - 1 : 0;

	*hello = (struct mount_hello){
	    .magic = MOUNT_MAGIC,
	    .version = MOUNT_VERSION,
	    .call_size = sizeof(struct mount_call),
	    .reply_size = sizeof(struct mount_reply),
	};
	if (!pool || pool > MOUNT_NAME_MAX || (at && at < slash) || !share ||
	    share > MOUNT_NAME_MAX || (at && (!at[1] || strlen(at + 1) > VFS_NAME_MAX)))
		return false;
	memcpy(hello->pool, what, pool);
	memcpy(hello->share, slash + 1, share);
	if (at)
		snprintf(hello->snapshot, sizeof hello->snapshot, "%s", at + 1);
	return true;
}

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

static int exchange(int fd, const struct mount_hello *hello, struct mount_welcome *welcome,
		    struct err *err)
{
	ssize_t got;

	if (send(fd, hello, sizeof *hello, MSG_NOSIGNAL) != (ssize_t)sizeof *hello)
		return err_set(err, -EIO, "granaryd does not listen");
	got = recv(fd, welcome, sizeof *welcome, MSG_WAITALL);
	if (got != (ssize_t)sizeof *welcome || welcome->magic != MOUNT_MAGIC)
		return err_set(err, -EIO, "granaryd does not answer");
	welcome->reason[MOUNT_REASON_MAX] = '\0';
	if (welcome->result < 0)
		return err_set(err, welcome->result, "%s", welcome->reason);
	return 0;
}

int mount_dial(const char *state_dir, const struct mount_hello *hello,
	       struct mount_welcome *ret_welcome, int *ret_fd, struct err *err)
{
	int fd = connect_to(state_dir, err), result;

	if (fd < 0)
		return fd;
	result = exchange(fd, hello, ret_welcome, err);
	if (result < 0)
		close(fd);
	else
		*ret_fd = fd;
	return result;
}
