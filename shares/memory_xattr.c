/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "core/heap.h"
#include "shares/memory.h"

static struct memory_blob *find(struct memory_node *node, const struct vfs_request *request)
{
	list_for_each (it, &node->xattrs) {
		struct memory_blob *blob = list_entry(it, struct memory_blob, link);

		if (blob->name_length == request->name_length &&
		    memcmp(blob->name, request->name, blob->name_length) == 0)
			return blob;
	}
	return NULL;
}

static void blob_free(struct memory_blob *blob)
{
	if (!blob)
		return;
	list_remove(&blob->link);
	heap_free(blob->name);
	heap_free(blob->data);
	heap_free(blob);
}

static struct memory_blob *blob_new(const struct vfs_request *request)
{
	struct memory_blob *blob = heap_zalloc(sizeof(*blob));

	if (!blob)
		return NULL;
	list_init(&blob->link);
	blob->name = heap_zalloc(request->name_length + 1u);
	blob->data = heap_zalloc(request->data_length + 1u);
	if (!blob->name || !blob->data) {
		blob_free(blob);
		return NULL;
	}
	memcpy(blob->name, request->name, request->name_length);
	blob->name_length = request->name_length;
	if (request->data_length)
		memcpy(blob->data, request->data, request->data_length);
	blob->length = request->data_length;
	return blob;
}

static int get(struct memory_node *node, struct vfs_request *request)
{
	struct memory_blob *blob = find(node, request);

	if (!blob)
		return -ENODATA;
	request->data_length = blob->length;
	if (request->data_room == 0)
		return 0;
	if (request->data_room < blob->length)
		return -ERANGE;
	memcpy(request->data, blob->data, blob->length);
	return 0;
}

static int set(struct memory_fs *fs, struct memory_node *node, struct vfs_request *request)
{
	struct memory_blob *old = find(node, request), *blob;

	if (old && request->xattr_how == VFS_XATTR_CREATE)
		return -EEXIST;
	if (!old && request->xattr_how == VFS_XATTR_REPLACE)
		return -ENODATA;
	blob = blob_new(request);
	if (!blob)
		return -ENOMEM;
	blob->cookie = old ? old->cookie : fs->next_cookie++;
	if (old)
		list_insert_after(&old->link, &blob->link);
	else
		list_push_back(&node->xattrs, &blob->link);
	blob_free(old);
	return 0;
}

static int list(struct memory_node *node, struct vfs_request *request)
{
	uint32_t used = 0;

	list_for_each (it, &node->xattrs) {
		struct memory_blob *blob = list_entry(it, struct memory_blob, link);
		uint32_t need = blob->name_length + 1;

		if (blob->cookie <= request->cookie)
			continue;
		if (request->data_room && used + need > request->data_room) {
			request->data_length = used;
			return used ? 0 : -ERANGE;
		}
		if (request->data_room) {
			memcpy((char *)request->data + used, blob->name, need);
			request->cookie = blob->cookie;
		}
		used += need;
	}
	request->data_length = used;
	request->eof = true;
	return 0;
}

int memory_xattr(struct memory_fs *fs, struct memory_node *node, struct vfs_request *request,
		 int64_t now)
{
	struct rules_object rules = memory_rules(node);
	bool changes = request->op == VFS_XATTR_SET || request->op == VFS_XATTR_REMOVE;
	int result = rules_need(&rules, request->credentials,
				changes ? VFS_WRITE_NAMED : VFS_READ_NAMED, request->flags);

	if (result)
		return result;
	if (request->op == VFS_XATTR_GET)
		return get(node, request);
	if (request->op == VFS_XATTR_LIST)
		return list(node, request);
	if (request->op == VFS_XATTR_SET)
		result = set(fs, node, request);
	else if (find(node, request))
		blob_free(find(node, request));
	else
		result = -ENODATA;
	if (result == 0)
		rules_touch(&node->attr, now);
	return result;
}

void memory_xattr_free(struct memory_node *node)
{
	while (!list_empty(&node->xattrs))
		blob_free(list_entry(node->xattrs.next, struct memory_blob, link));
	heap_free(node->aces);
	node->aces = NULL;
}

/* ---- ACLs ---- */
static int acl_replace(struct memory_node *node, const struct vfs_ace *aces, unsigned count)
{
	/* room for what a change of mode adds */
	struct vfs_ace *copy =
	    count ? heap_zalloc_array(count + RULES_MODE_ACES, sizeof(*copy)) : NULL;

	if (count && !copy)
		return -ENOMEM;
	if (count)
		memcpy(copy, aces, count * sizeof(*copy));
	heap_free(node->aces);
	node->aces = copy;
	node->ace_count = count;
	node->attr.has_acl = count > 0;
	return 0;
}

static int acl_get(struct memory_node *node, struct vfs_request *request)
{
	struct vfs_ace made[RULES_MODE_ACES];
	const struct vfs_ace *aces = node->aces;
	unsigned count = node->ace_count;

	if (!aces) {
		aces = made;
		count =
		    rules_aces_from_mode(node->attr.mode, node->attr.type == VFS_DIRECTORY, made);
	}
	request->ace_count = count;
	if (count > request->ace_room)
		return -ERANGE;
	memcpy(request->aces, aces, count * sizeof(*aces));
	return 0;
}

int memory_acl_set(struct memory_node *node, const struct vfs_request *request)
{
	int result = rules_check_aces(request->aces, request->ace_count);

	if (result == 0)
		result = acl_replace(node, request->aces, request->ace_count);
	if (result == 0 && node->aces)
		node->attr.mode =
		    rules_mode_from_aces(node->aces, node->ace_count, node->attr.mode);
	return result;
}

int memory_acl(struct memory_node *node, struct vfs_request *request, int64_t now)
{
	struct rules_object rules = memory_rules(node);
	uint32_t right = request->op == VFS_ACL_GET ? VFS_READ_ACL : VFS_WRITE_ACL;
	int result = rules_need(&rules, request->credentials, right, 0);

	if (result)
		return request->op == VFS_ACL_GET ? result : -EPERM;
	if (request->op == VFS_ACL_GET)
		return acl_get(node, request);
	result = memory_acl_set(node, request);
	if (result == 0)
		rules_touch(&node->attr, now);
	return result;
}

int memory_acl_chmod(struct memory_node *node)
{
	struct vfs_ace aces[VFS_ACES_MAX + 2 * RULES_MODE_ACES];
	unsigned count;

	if (!node->aces)
		return 0;
	memcpy(aces, node->aces, node->ace_count * sizeof(*aces));
	count = rules_chmod_aces(aces, node->ace_count, node->attr.mode,
				 node->attr.type == VFS_DIRECTORY);
	return count > VFS_ACES_MAX + RULES_MODE_ACES ? -E2BIG : acl_replace(node, aces, count);
}

int memory_acl_inherit(struct memory_node *node, const struct memory_node *directory)
{
	struct vfs_ace aces[VFS_ACES_MAX + RULES_MODE_ACES];
	unsigned count;
	int result;

	if (!directory->aces || node->attr.type == VFS_SYMLINK)
		return 0;
	count = rules_inherit(directory->aces, directory->ace_count,
			      node->attr.type == VFS_DIRECTORY, aces);
	result = acl_replace(node, aces, count);
	return result ? result : memory_acl_chmod(node);
}
