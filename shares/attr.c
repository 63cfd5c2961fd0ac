/* SPDX-License-Identifier: Apache-2.0 */
/* attr.c: attributes, access, symlinks, holders. */
#include <errno.h>
#include <string.h>

#include "core/bytes.h"
#include "shares/internal.h"

/* object[0] is the request's object; before and after are what it is. */
static int load(struct op *op)
{
	int result = object_load(op->share, &op->request->object, &op->object[0]);

	if (result == 0)
		op->request->before[0] = op->request->after[0] = op->object[0].inode.attr;
	return result;
}

int op_getattr(struct op *op)
{
	return load(op);
}

int op_setattr(struct op *op)
{
	struct vfs_request *request = op->request;
	struct object *object = &op->object[0];
	const struct vfs_set *set = &request->set;
	int result = load(op);
	uint32_t owner;

	if (result)
		return result;
	owner = object->inode.attr.uid;
	if (request->flags & VFS_GUARD_CTIME && object->inode.attr.ctime != request->guard)
		return -EAGAIN;
	result = rules_may_set(&object->rules, request->credentials, set, request->flags);
	if (result || set->mask == 0)
		return result;
	rules_set(&object->inode.attr, request->credentials, set, op->now);
	result = users_move(op->share, &object->inode, owner);
	if (result == 0 && set->mask & VFS_SET_MODE)
		result = aces_chmod(op->share, object);
	if (result == 0 && set->mask & VFS_SET_ACL)
		result = aces_set(op->share, object, request);
	if (result == 0)
		result = inode_store(op->share, &object->inode);
	if (result == 0)
		request->after[0] = object->inode.attr;
	return result;
}

int op_access(struct op *op)
{
	int result = load(op);

	if (result == 0)
		op->request->rights &=
		    rules_granted(&op->object[0].rules, op->request->credentials);
	return result;
}

int op_readlink(struct op *op)
{
	struct vfs_request *request = op->request;
	int result = load(op);

	if (result)
		return result;
	if (op->object[0].inode.attr.type != VFS_SYMLINK)
		return -EINVAL;
	request->data_length = (uint32_t)op->object[0].inode.attr.size;
	if (request->data_room < request->data_length)
		return -ERANGE;
	return pieces_get(op->share, op->object[0].number, KEY_SYMLINK, request->data,
			  request->data_length);
}

int op_fsstat(struct op *op)
{
	int result = load(op);

	if (result)
		return result;
	share_fsstat(op->share, &op->request->fsstat);
	return users_fsstat(op->share, op->request->credentials->uid, &op->request->fsstat);
}

int op_hold(struct op *op)
{
	int result = load(op);

	return result ? result : hold(op->share, op->object[0].number);
}

/* What a rollback took away is stale, but still held, by its number, which another inode may have
 * by now. */
int op_release(struct op *op)
{
	const struct vfs_object *object = &op->request->object;
	int result = load(op);

	if (result == -ESTALE && object->length == OBJECT_BYTES) {
		result = unhold(op->share, get64(object->bytes));
		op->object[0].inode.attr.links = 0; /* the other one may be waiting for its end */
	} else if (result == 0) {
		result = unhold(op->share, op->object[0].number);
	}
	if (result == 0 && op->object[0].inode.attr.links == 0) {
		op->share->reap_wanted = true;
		share_keeper_kick(op->share);
	}
	return result;
}
