/* SPDX-License-Identifier: Apache-2.0 */
#include "mounts/wire.h"

#include <string.h>

/* Which operations bring data, and how much of it comes back. */
static bool data_fits(const struct mount_call *call)
{
	switch (call->op) {
	case VFS_WRITE:
		return call->length == call->data_length && call->data_room == 0;
	case VFS_CREATE:
		return call->data_length <= VFS_SYMLINK_MAX + 1 && call->data_room == 0;
	case VFS_XATTR_SET:
		return call->data_length <= VFS_XATTR_MAX + 1 && call->data_room == 0;
	case VFS_READ:
		return call->data_length == 0 && call->length <= MOUNT_DATA_MAX;
	case VFS_READDIR:
	case VFS_READLINK:
		return call->data_length == 0 && call->data_room > 0;
	default:
		return call->data_length == 0;
	}
}

bool mount_call_check(const struct mount_call *call)
{
	if (call->slot >= MOUNT_SLOTS || call->op >= VFS_OP_COUNT || call->flags & ~MOUNT_FLAGS)
		return false;
	/* ACLs do not travel here. */
	if (call->op == VFS_ACL_GET || call->op == VFS_ACL_SET)
		return false;
	if (call->group_count > VFS_GROUPS_MAX || call->name_length > VFS_NAME_MAX ||
	    call->name2_length > VFS_NAME_MAX)
		return false;
	if (call->data_length > MOUNT_DATA_MAX || call->data_room > MOUNT_DATA_MAX)
		return false;
	if (call->object.length > VFS_OBJECT_MAX || call->object2.length > VFS_OBJECT_MAX)
		return false;
	if (call->create_how > VFS_CREATE_EXCLUSIVE || call->xattr_how > VFS_XATTR_REPLACE ||
	    call->remove_kind > VFS_REMOVE_DIRECTORY || call->seek > VFS_SEEK_HOLE ||
	    call->stable > VFS_FILE_SYNC || call->type > VFS_SOCKET)
		return false;
	if (call->op == VFS_RELEASE && call->hold >= MOUNT_HOLDS_MAX)
		return false;
	return data_fits(call);
}

static bool ends(const char *text, size_t size)
{
	return memchr(text, 0, size) != NULL;
}

const char *mount_hello_check(const struct mount_hello *hello)
{
	if (hello->magic != MOUNT_MAGIC)
		return "this is no mount";
	if (hello->version != MOUNT_VERSION || hello->call_size != sizeof(struct mount_call) ||
	    hello->reply_size != sizeof(struct mount_reply))
		return "granary-mount is of another version than granaryd";
	if (!ends(hello->pool, sizeof hello->pool) || !ends(hello->share, sizeof hello->share) ||
	    !ends(hello->snapshot, sizeof hello->snapshot) ||
	    !ends(hello->where, sizeof hello->where))
		return "a name is too long";
	return NULL;
}

void mount_call_fill(const struct mount_call *call, struct vfs_request *request)
{
	request->op = (enum vfs_op)call->op;
	request->flags = call->flags;
	request->object = call->object;
	request->object2 = call->object2;
	request->name_length = call->name_length;
	request->name2_length = call->name2_length;
	request->offset = call->offset;
	request->offset2 = call->offset2;
	request->length = call->length;
	request->data_room = call->data_room;
	request->data_length = call->data_length;
	request->set = call->set;
	request->cookie = call->cookie;
	request->rights = call->rights;
	request->rdev_major = call->rdev_major;
	request->rdev_minor = call->rdev_minor;
	request->type = (enum vfs_type)call->type;
	request->create_how = (enum vfs_create_how)call->create_how;
	request->xattr_how = (enum vfs_xattr_how)call->xattr_how;
	request->remove_kind = (enum vfs_remove_kind)call->remove_kind;
	request->seek = (enum vfs_seek)call->seek;
	request->stable = (enum vfs_stable)call->stable;
}
