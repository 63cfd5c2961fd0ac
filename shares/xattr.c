/* SPDX-License-Identifier: Apache-2.0 */
/* xattr.c: extended attributes and ACLs. An attribute is found like a name in a directory; a value
 * that does not fit beside its name is a blob of its own. */
#include <errno.h>
#include <string.h>

#include "shares/internal.h"
#include "shares/siphash.h"

#define SAME_HASH    256u
#define INLINE_MAX   (VALUE_MAX - XATTR_BYTES - VFS_NAME_MAX)
#define NAMES_BYTES  (64u << 10) /* of all attributes of an inode: so that LIST is bounded */
#define DESTROY_STEP 8u /* attributes deleted by one transaction; only one of them a blob */

static int load(struct op *op, uint32_t rights)
{
	struct vfs_request *request = op->request;
	int result = object_load(op->share, &request->object, &op->object[0]);

	if (result)
		return result;
	request->before[0] = request->after[0] = op->object[0].inode.attr;
	return rules_need(&op->object[0].rules, request->credentials, rights, request->flags);
}

/* The attribute at or behind key->offset. */
static int xattr_from(struct share *share, struct key *key, struct xattr_value *ret_xattr)
{
	uint64_t number = key->object;
	const uint8_t *value;
	size_t length;
	int result = btree_next(share->store, key, &value, &length);

	if (result)
		return result;
	if (key->object != number || key->type != KEY_XATTR)
		return -ENOENT;
	return xattr_decode(value, length, ret_xattr);
}

/* -ENODATA: ret_key is where it may go; offset 0: nowhere. */
static int xattr_find(struct op *op, struct key *ret_key, struct xattr_value *ret_xattr)
{
	struct vfs_request *request = op->request;
	struct share *share = op->share;
	uint64_t hash = siphash(share->store->sb.secret, request->name, request->name_length) >> 9;
	uint64_t first = (hash ? hash : 1) * SAME_HASH, next = first;
	struct key key = {op->object[0].number, KEY_XATTR, first};

	for (;;) {
		int result = xattr_from(share, &key, ret_xattr);

		if (result && result != -ENOENT)
			return result;
		if (result || key.offset >= first + SAME_HASH)
			break;
		if (ret_xattr->name_length == request->name_length &&
		    memcmp(ret_xattr->name, request->name, request->name_length) == 0) {
			*ret_key = key;
			return 0;
		}
		if (key.offset == next)
			next++;
		key.offset++;
	}
	*ret_key =
	    (struct key){op->object[0].number, KEY_XATTR, next < first + SAME_HASH ? next : 0};
	return -ENODATA;
}

int op_xattr_get(struct op *op)
{
	struct vfs_request *request = op->request;
	struct xattr_value xattr;
	struct key key;
	int result = load(op, VFS_READ_NAMED);

	if (result == 0)
		result = xattr_find(op, &key, &xattr);
	if (result)
		return result;
	request->data_length = xattr.length;
	if (request->data_room == 0)
		return 0;
	if (request->data_room < xattr.length)
		return -ERANGE;
	if (xattr.blob)
		return pieces_get(op->share, xattr.blob, KEY_BLOB, request->data, xattr.length);
	memcpy(request->data, xattr.data, xattr.length);
	return 0;
}

static int value_delete(struct share *share, const struct key *key, const struct xattr_value *xattr)
{
	uint64_t blob = xattr->blob;
	uint32_t length = xattr->length;
	int result = store_delete(share->store, key);

	return result || !blob ? result : pieces_delete(share, blob, KEY_BLOB, length);
}

static int value_put(struct op *op, const struct key *key)
{
	struct vfs_request *request = op->request;
	struct share *share = op->share;
	struct xattr_value xattr = {.length = request->data_length,
				    .name_length = (uint8_t)request->name_length,
				    .name = (const uint8_t *)request->name,
				    .data = request->data};
	uint8_t value[VALUE_MAX];
	int result = 0;

	if (request->data_length > INLINE_MAX) {
		xattr.blob = BLOB_OBJECT + ++share->store->counters[COUNT_NEXT_BLOB];
		result =
		    pieces_put(share, xattr.blob, KEY_BLOB, request->data, request->data_length);
	}
	return result ? result : store_put(share->store, key, value, xattr_encode(&xattr, value));
}

/* What the names of all attributes take. */
static int names_length(struct op *op, uint32_t *ret_length)
{
	struct key key = {op->object[0].number, KEY_XATTR, 0};

	*ret_length = 0;
	for (;;) {
		struct xattr_value xattr;
		int result = xattr_from(op->share, &key, &xattr);

		if (result)
			return result == -ENOENT ? 0 : result;
		*ret_length += xattr.name_length + 1u;
		key.offset++;
	}
}

static int touched(struct op *op)
{
	struct inode *inode = &op->object[0].inode;
	int result;

	rules_touch(&inode->attr, op->now);
	result = inode_store(op->share, inode);
	if (result == 0)
		op->request->after[0] = inode->attr;
	return result;
}

int op_xattr_set(struct op *op)
{
	struct vfs_request *request = op->request;
	struct xattr_value xattr;
	struct key key;
	uint32_t names;
	int result = load(op, VFS_WRITE_NAMED);

	if (result == 0)
		result = names_length(op, &names);
	if (result)
		return result;
	result = xattr_find(op, &key, &xattr);
	if (result && result != -ENODATA)
		return result;
	if (result == 0 && request->xattr_how == VFS_XATTR_CREATE)
		return -EEXIST;
	if (result && request->xattr_how == VFS_XATTR_REPLACE)
		return -ENODATA;
	if (result && (key.offset == 0 || names + request->name_length + 1 > NAMES_BYTES))
		return -ENOSPC;
	/* names below ' ' are the server's own: without its records nobody is served */
	if (op->share->full && (uint8_t)request->name[0] >= ' ')
		return -ENOSPC;
	result = result ? 0 : value_delete(op->share, &key, &xattr);
	if (result == 0)
		result = value_put(op, &key);
	return result ? result : touched(op);
}

int op_xattr_remove(struct op *op)
{
	struct xattr_value xattr;
	struct key key;
	int result = load(op, VFS_WRITE_NAMED);

	if (result == 0)
		result = xattr_find(op, &key, &xattr);
	if (result == 0)
		result = value_delete(op->share, &key, &xattr);
	return result ? result : touched(op);
}

int op_xattr_list(struct op *op)
{
	struct vfs_request *request = op->request;
	struct key key = {0, KEY_XATTR, request->cookie};
	uint64_t cookie = request->cookie;
	uint32_t used = 0;
	int result = load(op, VFS_READ_NAMED);

	key.object = op->object[0].number;
	while (result == 0) {
		struct xattr_value xattr;

		key.offset++;
		result = xattr_from(op->share, &key, &xattr);
		if (result)
			break;
		if (request->data_room && used + xattr.name_length + 1u > request->data_room) {
			result = used ? 0 : -ERANGE;
			goto out;
		}
		if (request->data_room) {
			memcpy((char *)request->data + used, xattr.name, xattr.name_length);
			((char *)request->data)[used + xattr.name_length] = 0;
			cookie = key.offset;
		}
		used += xattr.name_length + 1u;
	}
	if (result == -ENOENT) {
		request->eof = true;
		result = 0;
	}
out:
	if (result == 0) {
		request->cookie = cookie;
		request->data_length = used;
	}
	return result;
}

int xattrs_destroy_step(struct share *share, uint64_t number)
{
	for (unsigned i = 0; i < DESTROY_STEP; i++) {
		struct key key = {number, KEY_XATTR, 0};
		struct xattr_value xattr;
		int result = xattr_from(share, &key, &xattr);

		if (result)
			return result == -ENOENT ? 0 : result;
		if (i && xattr.blob)
			return 1;
		result = value_delete(share, &key, &xattr);
		if (result)
			return result;
	}
	return 1;
}

/* ---- ACLs ---- */
int op_acl_get(struct op *op)
{
	struct vfs_request *request = op->request;
	struct object *object = &op->object[0];
	int result = load(op, VFS_READ_ACL);
	unsigned count;

	if (result)
		return result;
	count = object->rules.ace_count;
	if (count == 0)
		count =
		    rules_aces_from_mode(object->inode.attr.mode,
					 object->inode.attr.type == VFS_DIRECTORY, object->aces);
	request->ace_count = count;
	if (count > request->ace_room)
		return -ERANGE;
	memcpy(request->aces, object->aces, count * sizeof(*request->aces));
	return 0;
}

int op_acl_set(struct op *op)
{
	struct vfs_request *request = op->request;
	int result = load(op, VFS_WRITE_ACL);

	if (result)
		return result == -EACCES ? -EPERM : result;
	result = aces_set(op->share, &op->object[0], request);
	return result ? result : touched(op);
}
