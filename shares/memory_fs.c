/* SPDX-License-Identifier: Apache-2.0 */
/* memory_fs.c: the file system in RAM: objects, names, and the table of operations. */
#include <errno.h>
#include <string.h>

#include "core/heap.h"
#include "shares/memory.h"

#define LINK_MAX_HERE 1000000u
#define ENTRY_BYTES   24u /* what a name costs in a directory's size, beside its length */

static uint64_t hash_bytes(uint64_t hash, const void *data, size_t length)
{
	const uint8_t *bytes = data;

	for (size_t i = 0; i < length; i++)
		hash = (hash ^ bytes[i]) * 0x100000001b3ull;
	return hash ^ hash >> 29;
}

/* ---- objects ---- */
static struct vfs_object object_of(const struct memory_node *node)
{
	struct vfs_object object = {.length = 12};

	memcpy(object.bytes, &node->attr.fileid, 8);
	memcpy(object.bytes + 8, &node->attr.generation, 4);
	return object;
}

static struct memory_node *node_find(struct memory_fs *fs, const struct vfs_object *object)
{
	uint64_t fileid;

	if (object->length != 12)
		return NULL;
	memcpy(&fileid, object->bytes, 8);
	list_for_each (it, &fs->by_fileid[fileid % MEMORY_BUCKETS]) {
		struct memory_node *node = list_entry(it, struct memory_node, link);

		if (node->attr.fileid == fileid &&
		    memcmp(object->bytes + 8, &node->attr.generation, 4) == 0)
			return node;
	}
	return NULL;
}

static struct memory_node *node_new(struct memory_fs *fs)
{
	struct memory_node *node = heap_zalloc(sizeof(*node));

	if (!node)
		return NULL;
	list_init(&node->names);
	list_init(&node->xattrs);
	node->next_cookie = 3;
	node->attr.fileid = fs->next_fileid++;
	node->attr.generation = (uint32_t)(node->attr.fileid * 2654435761u) | 1;
	list_push_back(&fs->by_fileid[node->attr.fileid % MEMORY_BUCKETS], &node->link);
	fs->nodes++;
	return node;
}

static void node_free(struct memory_fs *fs, struct memory_node *node)
{
	memory_truncate(fs, node, 0);
	memory_deallocate(fs, node, 0, UINT64_MAX);
	memory_xattr_free(node);
	heap_free(node->pages);
	heap_free(node->target);
	list_remove(&node->link);
	heap_free(node);
	fs->nodes--;
}

/* Its last name or holder went. */
static void node_maybe_free(struct memory_fs *fs, struct memory_node *node)
{
	if (node->attr.links == 0 && node->holds == 0)
		node_free(fs, node);
}

/* ---- names ---- */
static struct list *name_bucket(struct memory_fs *fs, const struct memory_node *directory,
				const char *name, unsigned length)
{
	uint64_t hash = hash_bytes(directory->attr.fileid * 0x9e3779b97f4a7c15ull, name, length);

	return &fs->by_name[hash % MEMORY_BUCKETS];
}

static struct memory_name *name_find(struct memory_fs *fs, const struct memory_node *directory,
				     const char *name, unsigned length)
{
	list_for_each (it, name_bucket(fs, directory, name, length)) {
		struct memory_name *entry = list_entry(it, struct memory_name, hash);

		if (entry->directory == directory && entry->length == length &&
		    memcmp(entry->name, name, length) == 0)
			return entry;
	}
	return NULL;
}

static void directory_resize(struct memory_node *directory, int64_t bytes)
{
	directory->attr.size += (uint64_t)bytes;
}

static int name_add(struct memory_fs *fs, struct memory_node *directory, const char *name,
		    unsigned length, struct memory_node *node)
{
	struct memory_name *entry = heap_zalloc(sizeof(*entry) + length + 1);

	if (!entry)
		return -ENOMEM;
	entry->directory = directory;
	entry->node = node;
	entry->cookie = directory->next_cookie++;
	entry->length = length;
	memcpy(entry->name, name, length);
	list_push_back(&directory->names, &entry->link);
	list_push_back(name_bucket(fs, directory, name, length), &entry->hash);
	directory_resize(directory, ENTRY_BYTES + length);
	return 0;
}

static void name_remove(struct memory_name *entry)
{
	directory_resize(entry->directory, -(int64_t)(ENTRY_BYTES + entry->length));
	list_remove(&entry->link);
	list_remove(&entry->hash);
	heap_free(entry);
}

static int need(const struct memory_node *node, const struct vfs_request *request, uint32_t rights)
{
	struct rules_object rules = memory_rules(node);

	return rules_need(&rules, request->credentials, rights, request->flags);
}

/* Names are looked up and changed with rights of the directory alone. */
static int need_directory(const struct memory_node *node, const struct vfs_request *request,
			  uint32_t rights)
{
	struct rules_object rules = memory_rules(node);

	if (node->attr.type != VFS_DIRECTORY)
		return -ENOTDIR;
	return rules_need(&rules, request->credentials, rights, 0);
}

static void give(struct vfs_request *request, const struct memory_node *node)
{
	request->result_object = object_of(node);
	request->result_attr = node->attr;
}

/* What an operation gets: its objects, found, and the time. */
struct call {
	struct memory_fs *fs;
	struct vfs_request *request;
	struct memory_node *node, *node2;
	int64_t now;
};

/* ---- attributes ---- */
static int op_getattr(struct call *call)
{
	(void)call;
	return 0;
}

static int op_setattr(struct call *call)
{
	struct vfs_request *request = call->request;
	struct memory_node *node = call->node;
	const struct vfs_set *set = &request->set;
	struct rules_object rules = memory_rules(node);
	int result;

	if (request->flags & VFS_GUARD_CTIME && node->attr.ctime != request->guard)
		return -EAGAIN;
	result = rules_may_set(&rules, request->credentials, set, request->flags);
	if (result == 0 && set->mask & VFS_SET_ACL)
		result = rules_check_aces(request->aces, request->ace_count);
	if (result || set->mask == 0)
		return result;
	if (set->mask & VFS_SET_SIZE) {
		memory_truncate(call->fs, node, set->size);
		rules_written(&node->attr, request->credentials, call->now);
	}
	if (set->mask & ~(unsigned)VFS_SET_SIZE)
		rules_set(&node->attr, request->credentials, set, call->now);
	if (set->mask & VFS_SET_MODE)
		result = memory_acl_chmod(node);
	return result || !(set->mask & VFS_SET_ACL) ? result : memory_acl_set(node, request);
}

static int op_access(struct call *call)
{
	struct rules_object rules = memory_rules(call->node);

	call->request->rights &= rules_granted(&rules, call->request->credentials);
	return 0;
}

static int op_readlink(struct call *call)
{
	struct vfs_request *request = call->request;
	struct memory_node *node = call->node;

	if (node->attr.type != VFS_SYMLINK)
		return -EINVAL;
	request->data_length = (uint32_t)node->attr.size;
	if (request->data_room < request->data_length)
		return -ERANGE;
	memcpy(request->data, node->target, request->data_length);
	return 0;
}

static int op_fsstat(struct call *call)
{
	struct memory_fs *fs = call->fs;
	uint64_t total = fs->quota && fs->quota < fs->limit ? fs->quota : fs->limit;
	uint64_t free = total > fs->used ? total - fs->used : 0;

	call->request->fsstat = (struct vfs_fsstat){.total_bytes = total,
						    .free_bytes = free,
						    .available_bytes = free,
						    .total_files = fs->nodes + (1u << 20),
						    .free_files = 1u << 20,
						    .available_files = 1u << 20};
	return 0;
}

static int op_hold(struct call *call)
{
	call->node->holds++;
	return 0;
}

static int op_release(struct call *call)
{
	if (call->node->holds == 0)
		return -EINVAL;
	call->node->holds--;
	return 0;
}

static int op_xattr(struct call *call)
{
	return memory_xattr(call->fs, call->node, call->request, call->now);
}

static int op_acl(struct call *call)
{
	return memory_acl(call->node, call->request, call->now);
}

/* ---- contents ---- */
static int need_file(const struct memory_node *node, const struct vfs_request *request,
		     uint32_t rights)
{
	if (node->attr.type == VFS_DIRECTORY)
		return -EISDIR;
	if (node->attr.type != VFS_REGULAR)
		return -EINVAL;
	return need(node, request, rights);
}

static int op_read(struct call *call)
{
	int result = need_file(call->node, call->request, VFS_READ_DATA);

	/* who may execute a file has to be able to read it (RFC 1813 4.4) */
	if (result == -EACCES && call->request->flags & VFS_OWNER_OVERRIDE)
		result = need_file(call->node, call->request, VFS_EXECUTE);
	return result ? result : memory_read(call->fs, call->node, call->request);
}

static int op_write(struct call *call)
{
	int result = need_file(call->node, call->request, VFS_WRITE_DATA);

	if (result == 0)
		result = memory_write(call->fs, call->node, call->request);
	if (result == 0 && call->request->length > 0)
		rules_written(&call->node->attr, call->request->credentials, call->now);
	call->request->stable = VFS_FILE_SYNC;
	return result;
}

static int op_commit(struct call *call)
{
	return need_file(call->node, call->request, 0);
}

static int op_seek(struct call *call)
{
	int result = need_file(call->node, call->request, VFS_READ_DATA);

	return result ? result : memory_seek(call->node, call->request);
}

static int op_allocate(struct call *call)
{
	struct vfs_request *request = call->request;
	struct memory_node *node = call->node;
	int result = need_file(node, request, VFS_WRITE_DATA);
	uint64_t end = request->offset + request->length;

	if (result)
		return result;
	if (request->op == VFS_ALLOCATE)
		result = memory_allocate(call->fs, node, request->offset, end);
	else
		memory_deallocate(call->fs, node, request->offset, end);
	if (result == 0)
		rules_written(&node->attr, request->credentials, call->now);
	if (result == 0 && request->op == VFS_ALLOCATE)
		request->offset = end;
	return result;
}

static int op_clone(struct call *call)
{
	struct vfs_request *request = call->request;
	struct memory_node *from = call->node, *to = call->node2;
	uint64_t length;
	int result = need_file(from, request, VFS_READ_DATA);

	if (result == 0)
		result = need_file(to, request, VFS_WRITE_DATA);
	if (result)
		return result;
	result = vfs_clone_check(request, from->attr.size, &length);
	if (result || length == 0)
		return result;
	result = memory_clone(call->fs, from, to, request->offset, request->offset2, length);
	if (result == 0)
		rules_written(&to->attr, request->credentials, call->now);
	return result;
}

/* ---- names ---- */
static int op_lookup(struct call *call)
{
	struct vfs_request *request = call->request;
	struct memory_node *directory = call->node, *found;
	int result = need_directory(directory, request, VFS_EXECUTE);

	if (result)
		return result;
	if (request->name[0] == '.' && request->name_length == 1) {
		found = directory;
	} else if (request->name_length == 2 && memcmp(request->name, "..", 2) == 0) {
		found = directory->parent;
	} else {
		struct memory_name *entry =
		    name_find(call->fs, directory, request->name, request->name_length);

		found = entry ? entry->node : NULL;
	}
	if (!found)
		return -ENOENT;
	if (request->flags & VFS_HOLD_RESULT)
		found->holds++;
	give(request, found);
	return 0;
}

static int op_lookup_parent(struct call *call)
{
	int result = need_directory(call->node, call->request, VFS_EXECUTE);

	if (result)
		return result;
	if (call->node == call->fs->root || !call->node->parent)
		return -ENOENT;
	give(call->request, call->node->parent);
	return 0;
}

/* A name that is there already. */
static int create_existing(struct call *call, struct memory_node *node)
{
	struct vfs_request *request = call->request;
	int result = -EEXIST;

	if (node->attr.type == VFS_REGULAR && request->create_how == VFS_CREATE_EXCLUSIVE &&
	    node->verifier == request->verifier) {
		request->created = true;
		result = 0;
	} else if (node->attr.type == VFS_REGULAR && request->create_how == VFS_CREATE_UNCHECKED) {
		result = 0;
		if (request->set.mask & VFS_SET_SIZE && request->set.size == 0)
			result = need(node, request, VFS_WRITE_DATA);
		if (result == 0 && request->set.mask & VFS_SET_SIZE && request->set.size == 0) {
			memory_truncate(call->fs, node, 0);
			rules_written(&node->attr, request->credentials, call->now);
		}
	}
	if (result == 0 && request->flags & VFS_HOLD_RESULT)
		node->holds++;
	give(request, node);
	return result;
}

static int node_dress(struct call *call, struct memory_node *node)
{
	struct vfs_request *request = call->request;
	uint64_t fileid = node->attr.fileid;
	uint32_t generation = node->attr.generation;

	rules_new(&call->node->attr, request, call->now, &node->attr);
	node->attr.fileid = fileid;
	node->attr.generation = generation;
	node->parent = call->node;
	if (request->create_how == VFS_CREATE_EXCLUSIVE)
		node->verifier = request->verifier;
	if (request->type == VFS_SYMLINK) {
		node->target = heap_zalloc(request->data_length + 1u);
		if (!node->target)
			return -ENOMEM;
		memcpy(node->target, request->data, request->data_length);
	}
	if (request->set.mask & VFS_SET_ACL && request->type != VFS_SYMLINK)
		return memory_acl_set(node, request);
	return memory_acl_inherit(node, call->node);
}

static int create_new(struct call *call)
{
	struct vfs_request *request = call->request;
	struct memory_node *directory = call->node, *node = node_new(call->fs);
	int result;

	if (!node)
		return -ENOMEM;
	result = node_dress(call, node);
	if (result == 0)
		result = name_add(call->fs, directory, request->name, request->name_length, node);
	if (result) {
		node_free(call->fs, node);
		return result;
	}
	if (request->type == VFS_DIRECTORY)
		directory->attr.links++;
	if (request->flags & VFS_HOLD_RESULT)
		node->holds++;
	rules_modified(&directory->attr, call->now);
	request->created = true;
	give(request, node);
	return 0;
}

static int op_create(struct call *call)
{
	struct vfs_request *request = call->request;
	struct memory_node *directory = call->node;
	uint32_t right = request->type == VFS_DIRECTORY ? VFS_APPEND_DATA : VFS_WRITE_DATA;
	struct memory_name *entry;
	int result = need_directory(directory, request, VFS_EXECUTE);

	if (result)
		return result;
	if (directory->attr.links == 0)
		return -ENOENT;
	entry = name_find(call->fs, directory, request->name, request->name_length);
	if (entry)
		return create_existing(call, entry->node);
	result = need_directory(directory, request, right);
	if (result == 0)
		result = rules_new_may_set(&directory->attr, request);
	if (result == 0 && request->type == VFS_DIRECTORY && directory->attr.links >= LINK_MAX_HERE)
		result = -EMLINK;
	return result ? result : create_new(call);
}

static int may_remove(const struct memory_node *directory, const struct memory_node *child,
		      const struct vfs_request *request)
{
	struct rules_object above = memory_rules(directory), below = memory_rules(child);

	return rules_may_remove(&above, &below, request->credentials);
}

/* @entry goes, and with it a link of what it names. */
static void unlink_entry(struct call *call, struct memory_name *entry)
{
	struct memory_node *node = entry->node, *directory = entry->directory;

	name_remove(entry);
	if (node->attr.type == VFS_DIRECTORY) {
		node->attr.links = 0;
		node->parent = NULL;
		directory->attr.links--;
	} else {
		node->attr.links--;
	}
	rules_touch(&node->attr, call->now);
}

static int op_remove(struct call *call)
{
	struct vfs_request *request = call->request;
	struct memory_node *directory = call->node, *node;
	struct memory_name *entry;
	int result = need_directory(directory, request, VFS_EXECUTE);

	if (result)
		return result;
	entry = name_find(call->fs, directory, request->name, request->name_length);
	if (!entry)
		return -ENOENT;
	node = entry->node;
	result = may_remove(directory, node, request);
	if (result)
		return result;
	if (node->attr.type == VFS_DIRECTORY && request->remove_kind == VFS_REMOVE_FILE)
		return -EISDIR;
	if (node->attr.type != VFS_DIRECTORY && request->remove_kind == VFS_REMOVE_DIRECTORY)
		return -ENOTDIR;
	if (!list_empty(&node->names))
		return -ENOTEMPTY;
	unlink_entry(call, entry);
	rules_modified(&directory->attr, call->now);
	give(request, node);
	node_maybe_free(call->fs, node);
	return 0;
}

static int op_link(struct call *call)
{
	struct vfs_request *request = call->request;
	struct memory_node *node = call->node, *directory = call->node2;
	int result = need_directory(directory, request, VFS_EXECUTE);

	if (result)
		return result;
	if (node->attr.type == VFS_DIRECTORY)
		return -EISDIR;
	if (name_find(call->fs, directory, request->name2, request->name2_length))
		return -EEXIST;
	result = need_directory(directory, request, VFS_WRITE_DATA);
	if (result)
		return result;
	if (node->attr.links == 0 || directory->attr.links == 0)
		return -ENOENT;
	if (node->attr.links >= LINK_MAX_HERE)
		return -EMLINK;
	result = name_add(call->fs, directory, request->name2, request->name2_length, node);
	if (result)
		return result;
	node->attr.links++;
	rules_touch(&node->attr, call->now);
	rules_modified(&directory->attr, call->now);
	return 0;
}

static bool is_inside(const struct memory_node *directory, const struct memory_node *of)
{
	for (; directory; directory = directory->parent) {
		if (directory == of)
			return true;
		if (directory->parent == directory)
			break;
	}
	return false;
}

/* May @source replace @target, whatever the rights are? */
static int may_replace(const struct memory_node *source, const struct memory_node *target)
{
	if (source->attr.type == VFS_DIRECTORY && target->attr.type != VFS_DIRECTORY)
		return -ENOTDIR;
	if (source->attr.type != VFS_DIRECTORY && target->attr.type == VFS_DIRECTORY)
		return -EISDIR;
	return list_empty(&target->names) ? 0 : -ENOTEMPTY;
}

static int may_rename(struct call *call, const struct memory_name *source,
		      const struct memory_name *target)
{
	struct vfs_request *request = call->request;
	bool directory = source->node->attr.type == VFS_DIRECTORY;
	int result = may_remove(call->node, source->node, request);

	if (result)
		return result;
	if (directory && is_inside(call->node2, source->node))
		return -EINVAL;
	if (target) {
		if (request->flags & VFS_NO_REPLACE)
			return -EEXIST;
		result = may_remove(call->node2, target->node, request);
		if (result == 0)
			result = may_replace(source->node, target->node);
	} else {
		result = need_directory(call->node2, request,
					directory ? VFS_APPEND_DATA : VFS_WRITE_DATA);
	}
	/* its ".." changes */
	if (result == 0 && directory && call->node != call->node2)
		result = need_directory(source->node, request, VFS_WRITE_DATA);
	return result;
}

static void move_entry(struct call *call, struct memory_name *source)
{
	struct memory_node *node = source->node;

	name_remove(source);
	if (node->attr.type == VFS_DIRECTORY && call->node != call->node2) {
		call->node->attr.links--;
		call->node2->attr.links++;
		node->parent = call->node2;
	}
	rules_touch(&node->attr, call->now);
	rules_modified(&call->node->attr, call->now);
	if (call->node2 != call->node)
		rules_modified(&call->node2->attr, call->now);
}

static int op_rename(struct call *call)
{
	struct vfs_request *request = call->request;
	struct memory_name *source, *target;
	int result = need_directory(call->node, request, VFS_EXECUTE);

	if (result == 0)
		result = need_directory(call->node2, request, VFS_EXECUTE);
	if (result)
		return result;
	source = name_find(call->fs, call->node, request->name, request->name_length);
	if (!source)
		return -ENOENT;
	if (call->node2->attr.links == 0)
		return -ENOENT;
	request->moved_object = object_of(source->node);
	target = name_find(call->fs, call->node2, request->name2, request->name2_length);
	if (target && target->node == source->node)
		return request->flags & VFS_NO_REPLACE ? -EEXIST : 0;
	result = may_rename(call, source, target);
	if (result == 0)
		result = name_add(call->fs, call->node2, request->name2, request->name2_length,
				  source->node);
	if (result)
		return result;
	if (target) {
		struct memory_node *node = target->node;

		unlink_entry(call, target);
		give(request, node);
		node_maybe_free(call->fs, node);
	}
	move_entry(call, source);
	return 0;
}

/* ---- listing ---- */
static bool list_entry_fits(struct call *call, const struct memory_name *entry)
{
	struct vfs_request *request = call->request;
	size_t size = (sizeof(struct vfs_dirent) + entry->length + 1 + 7) & ~(size_t)7;
	struct vfs_dirent *made = (void *)((char *)request->data + request->data_length);

	if (size > request->data_room - request->data_length)
		return false;
	memset(made, 0, size);
	made->next = (uint32_t)size;
	made->name_length = (uint16_t)entry->length;
	made->type = (uint8_t)entry->node->attr.type;
	made->cookie = entry->cookie;
	made->fileid = entry->node->attr.fileid;
	if (request->flags & VFS_WANT_ATTR) {
		made->object = object_of(entry->node);
		made->attr = entry->node->attr;
	}
	memcpy(made->name, entry->name, entry->length);
	request->data_length += (uint32_t)size;
	request->entry_count++;
	return true;
}

static int op_readdir(struct call *call)
{
	struct vfs_request *request = call->request;
	int result = need_directory(call->node, request, VFS_READ_DATA);

	if (result)
		return result;
	request->data_length = 0;
	request->eof = true;
	list_for_each (it, &call->node->names) {
		struct memory_name *entry = list_entry(it, struct memory_name, link);

		if (entry->cookie <= request->cookie)
			continue;
		if (!list_entry_fits(call, entry)) {
			request->eof = false;
			return request->entry_count ? 0 : -ERANGE;
		}
	}
	return 0;
}

/* ---- the table ---- */
static const struct {
	int (*run)(struct call *call);
	bool second; /* object2 is looked up */
} table[VFS_OP_COUNT] = {
    [VFS_GETATTR] = {op_getattr},   [VFS_SETATTR] = {op_setattr},
    [VFS_LOOKUP] = {op_lookup},     [VFS_LOOKUP_PARENT] = {op_lookup_parent},
    [VFS_ACCESS] = {op_access},     [VFS_READLINK] = {op_readlink},
    [VFS_READ] = {op_read},         [VFS_WRITE] = {op_write},
    [VFS_COMMIT] = {op_commit},     [VFS_CREATE] = {op_create},
    [VFS_REMOVE] = {op_remove},     [VFS_RENAME] = {op_rename, true},
    [VFS_LINK] = {op_link, true},   [VFS_READDIR] = {op_readdir},
    [VFS_FSSTAT] = {op_fsstat},     [VFS_SEEK] = {op_seek},
    [VFS_ALLOCATE] = {op_allocate}, [VFS_DEALLOCATE] = {op_allocate},
    [VFS_CLONE] = {op_clone, true}, [VFS_XATTR_GET] = {op_xattr},
    [VFS_XATTR_SET] = {op_xattr},   [VFS_XATTR_REMOVE] = {op_xattr},
    [VFS_XATTR_LIST] = {op_xattr},  [VFS_ACL_GET] = {op_acl},
    [VFS_ACL_SET] = {op_acl},       [VFS_HOLD] = {op_hold},
    [VFS_RELEASE] = {op_release},
};

static int perform(struct memory_fs *fs, struct vfs_request *request)
{
	struct call call = {.fs = fs,
			    .request = request,
			    .node = node_find(fs, &request->object),
			    .now = (int64_t)loop_wall(request->loop)};
	bool second = table[request->op].second;
	int result;

	if (second)
		call.node2 = node_find(fs, &request->object2);
	if (call.node)
		request->before[0] = call.node->attr;
	if (call.node2)
		request->before[1] = call.node2->attr;
	result = call.node && (call.node2 || !second) ? table[request->op].run(&call) : -ESTALE;
	if (call.node)
		request->after[0] = call.node->attr;
	if (call.node2)
		request->after[1] = call.node2->attr;
	if (call.node && request->op == VFS_RELEASE)
		node_maybe_free(fs, call.node);
	return result;
}

static void submit(struct vfs *vfs, struct vfs_request *request)
{
	struct memory_fs *fs = container_of(vfs, struct memory_fs, vfs);
	int result;

	pthread_mutex_lock(&fs->lock);
	result = perform(fs, request);
	pthread_mutex_unlock(&fs->lock);
	vfs_finish(request, result);
}

static void release(struct vfs *vfs)
{
	struct memory_fs *fs = container_of(vfs, struct memory_fs, vfs);

	for (unsigned i = 0; i < MEMORY_BUCKETS; i++) {
		while (!list_empty(&fs->by_name[i]))
			name_remove(list_entry(fs->by_name[i].next, struct memory_name, hash));
	}
	for (unsigned i = 0; i < MEMORY_BUCKETS; i++)
		while (!list_empty(&fs->by_fileid[i]))
			node_free(fs, list_entry(fs->by_fileid[i].next, struct memory_node, link));
	pthread_mutex_destroy(&fs->lock);
	heap_free(fs);
}

static const struct vfs_ops memory_ops = {
    .name = "memory",
    .submit = submit,
    .release = release,
};

int memory_fs_create(const uint8_t *uuid, struct vfs **ret_vfs, struct err *err)
{
	struct memory_fs *fs = heap_zalloc(sizeof(*fs));

	if (!fs)
		return err_set(err, -ENOMEM, "no memory for a file system");
	for (unsigned i = 0; i < MEMORY_BUCKETS; i++) {
		list_init(&fs->by_fileid[i]);
		list_init(&fs->by_name[i]);
	}
	pthread_mutex_init(&fs->lock, NULL);
	fs->next_fileid = 2;
	fs->next_cookie = 1;
	fs->limit = 1ull << 30;
	fs->root = node_new(fs);
	if (!fs->root) {
		pthread_mutex_destroy(&fs->lock);
		heap_free(fs);
		return err_set(err, -ENOMEM, "no memory for a file system");
	}
	fs->root->parent = fs->root;
	fs->root->attr.type = VFS_DIRECTORY;
	fs->root->attr.mode = 0755;
	fs->root->attr.links = 2;
	fs->root->attr.change = 1;
	fs->vfs = (struct vfs){.ops = &memory_ops,
			       .root = object_of(fs->root),
			       .root_fileid = fs->root->attr.fileid,
			       .file_max = VFS_FILE_MAX,
			       .link_max = LINK_MAX_HERE,
			       .can = VFS_CAN_LINK | VFS_CAN_SYMLINK | VFS_CAN_XATTR | VFS_CAN_ACL |
				      VFS_CAN_CLONE | VFS_CAN_ALLOCATE | VFS_CAN_SEEK,
			       .verifier = 1,
			       .refs = 1};
	memcpy(fs->vfs.uuid, uuid, sizeof(fs->vfs.uuid));
	memcpy(fs->vfs.secret, uuid, sizeof(fs->vfs.secret));
	*ret_vfs = &fs->vfs;
	return 0;
}

void memory_fs_limit(struct vfs *vfs, uint64_t bytes, uint64_t quota)
{
	struct memory_fs *fs = container_of(vfs, struct memory_fs, vfs);

	fs->limit = bytes;
	fs->quota = quota;
}
