/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "isotool/isotool.h"

static int send_all(int fd, const void *data, size_t length)
{
	for (size_t at = 0; at < length;) {
		ssize_t sent = send(fd, (const char *)data + at, length - at, MSG_NOSIGNAL);

		if (sent < 0 && errno == EINTR)
			continue;
		if (sent <= 0)
			return -ENOTCONN;
		at += (size_t)sent;
	}
	return 0;
}

static int receive_all(int fd, void *data, size_t length)
{
	for (size_t at = 0; at < length;) {
		ssize_t got = recv(fd, (char *)data + at, length - at, 0);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return got < 0 && errno == EAGAIN ? -ETIMEDOUT : -ENOTCONN;
		at += (size_t)got;
	}
	return 0;
}

int remote_call(struct remote *remote, struct mount_call *call, const char *name, const char *name2,
		const void *data)
{
	int result;

	call->name_length = name ? (uint32_t)strlen(name) : 0;
	call->name2_length = name2 ? (uint32_t)strlen(name2) : 0;
	if (call->name_length > VFS_NAME_MAX || call->name2_length > VFS_NAME_MAX)
		return -ENAMETOOLONG;
	result = send_all(remote->fd, call, sizeof *call);
	if (result == 0 && name)
		result = send_all(remote->fd, name, call->name_length);
	if (result == 0 && name2)
		result = send_all(remote->fd, name2, call->name2_length);
	if (result == 0 && data)
		result = send_all(remote->fd, data, call->data_length);
	if (result == 0)
		result = receive_all(remote->fd, &remote->reply, sizeof remote->reply);
	/* The daemon stops: what is half done is not waited for. */
	if (result == 0 && remote->reply.slot == MOUNT_LEAVE)
		return -ENOTCONN;
	if (result == 0 && remote->reply.data_length > MOUNT_DATA_MAX)
		return -EPROTO;
	if (result == 0)
		result = receive_all(remote->fd, remote->data, remote->reply.data_length);
	if (result < 0)
		return result;
	remote->data[remote->reply.data_length] = '\0';
	return remote->reply.result;
}

int remote_look_up(struct remote *remote, const struct vfs_object *directory, const char *name,
		   struct vfs_object *ret_object)
{
	struct mount_call call = {.op = VFS_LOOKUP, .object = *directory};
	int result = remote_call(remote, &call, name, NULL, NULL);

	if (result == 0)
		*ret_object = remote->reply.object;
	return result;
}

int remote_remove(struct remote *remote, const struct vfs_object *directory, const char *name)
{
	struct mount_call call = {
	    .op = VFS_REMOVE, .object = *directory, .remove_kind = VFS_REMOVE_FILE};

	return remote_call(remote, &call, name, NULL, NULL);
}
