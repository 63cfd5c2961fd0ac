/* SPDX-License-Identifier: Apache-2.0 */
/* dir.c: names. An entry's key is its cookie: 55 bits of a keyed hash of the name, and 8 bits that
 * tell names of the same hash apart. So a name is found with one look, a listing goes on from any
 * cookie, and an entry keeps its cookie as long as it is there. */
#include <errno.h>
#include <string.h>

#include "shares/internal.h"
#include "shares/siphash.h"

#define ENTRY_BYTES    24u /* what a name costs in a directory's size, beside its length */
#define SAME_HASH      256u
#define LISTING_ENOUGH 64u
#define LINK_MAX_HERE  1000000u

struct entry {
	uint64_t cookie, inode;
	uint8_t type;
	uint64_t free; /* a cookie for the name, when it is not there; 0: none */
};

static uint64_t cookie_of(struct share *share, const char *name, unsigned length)
{
	uint64_t hash = siphash(share->store->sb.secret, name, length) >> 9;

	return (hash ? hash : 1) * SAME_HASH;
}

/* -ENOENT: entry->free is where it may go. */
static int entry_find(struct share *share, uint64_t directory, const char *name, unsigned length,
		      struct entry *entry)
{
	uint64_t first = cookie_of(share, name, length), next = first;
	struct key key = {directory, KEY_DIRENT, first};

	*entry = (struct entry){0};
	for (;;) {
		struct dirent_value found;
		const uint8_t *value;
		size_t size;
		int result = btree_next(share->store, &key, &value, &size);

		if (result && result != -ENOENT)
			return result;
		if (result || key.object != directory || key.type != KEY_DIRENT ||
		    key.offset >= first + SAME_HASH)
			break;
		result = dirent_decode(value, size, &found);
		if (result)
			return result;
		if (found.name_length == length && memcmp(found.name, name, length) == 0) {
			*entry = (struct entry){key.offset, found.inode, found.type, 0};
			return 0;
		}
		if (key.offset == next)
			next++;
		key.offset++;
	}
	if (next < first + SAME_HASH)
		entry->free = next;
	return -ENOENT;
}

static int entry_add(struct share *share, struct inode *directory, uint64_t cookie,
		     const char *name, unsigned length, const struct inode *inode)
{
	struct key key = {directory->attr.fileid, KEY_DIRENT, cookie};
	struct dirent_value dirent = {.inode = inode->attr.fileid,
				      .type = (uint8_t)inode->attr.type,
				      .name_length = (uint8_t)length,
				      .name = (const uint8_t *)name};
	uint8_t value[DIRENT_BYTES + VFS_NAME_MAX];

	if (!cookie)
		return -ENOSPC;
	directory->entries++;
	directory->attr.size += ENTRY_BYTES + length;
	return store_put(share->store, &key, value, dirent_encode(&dirent, value));
}

static int entry_remove(struct share *share, struct inode *directory, uint64_t cookie,
			unsigned length)
{
	struct key key = {directory->attr.fileid, KEY_DIRENT, cookie};

	directory->entries--;
	directory->attr.size -= ENTRY_BYTES + length;
	return store_delete(share->store, &key);
}

static int need_directory(const struct object *object, const struct vfs_request *request,
			  uint32_t rights)
{
	if (object->inode.attr.type != VFS_DIRECTORY)
		return -ENOTDIR;
	return rules_need(&object->rules, request->credentials, rights, 0);
}

/* The directory of a request; after[0] is what it is, also when the rest fails. */
static int directory_load(struct op *op, const struct vfs_object *identity, unsigned index)
{
	struct vfs_request *request = op->request;
	struct object *directory = &op->object[index];
	int result = object_load(op->share, identity, directory);

	if (result)
		return result;
	request->before[index] = request->after[index] = directory->inode.attr;
	return need_directory(directory, request, VFS_EXECUTE);
}

/* An entry's inode has to be there. */
static int named_load(struct op *op, const struct entry *entry, struct object *ret_object)
{
	int result = object_load_number(op->share, entry->inode, ret_object);

	return result == -ENOENT ? -EUCLEAN : result;
}

/* ---- looking ---- */
int op_lookup(struct op *op)
{
	struct vfs_request *request = op->request;
	struct object *directory = &op->object[0], *found = &op->object[1];
	struct entry entry;
	int result = directory_load(op, &request->object, 0);

	if (result)
		return result;
	entry.inode = directory->number;
	if (request->name_length == 2 && memcmp(request->name, "..", 2) == 0)
		entry.inode = directory->inode.parent;
	else if (request->name_length != 1 || request->name[0] != '.')
		result = entry_find(op->share, directory->number, request->name,
				    request->name_length, &entry);
	if (result == 0 && entry.inode == 0)
		result = -ENOENT; /* a removed directory that is held */
	if (result == 0)
		result = named_load(op, &entry, found);
	if (result == 0 && request->flags & VFS_HOLD_RESULT)
		result = hold(op->share, found->number);
	if (result == 0)
		give(request, &found->inode);
	return result;
}

int op_lookup_parent(struct op *op)
{
	struct object *directory = &op->object[0], *found = &op->object[1];
	int result = directory_load(op, &op->request->object, 0);

	if (result)
		return result;
	if (directory->number == ROOT_INODE || directory->inode.parent == 0)
		return -ENOENT;
	result = object_load_number(op->share, directory->inode.parent, found);
	if (result)
		return result == -ENOENT ? -EUCLEAN : result;
	give(op->request, &found->inode);
	return 0;
}

/* ---- creating ---- */
static int create_existing(struct op *op, const struct entry *entry)
{
	struct vfs_request *request = op->request;
	struct object *file = &op->object[1];
	bool cut = request->set.mask & VFS_SET_SIZE && request->set.size == 0;
	int result = named_load(op, entry, file);

	if (result)
		return result;
	give(request, &file->inode);
	if (file->inode.attr.type != VFS_REGULAR)
		return -EEXIST;
	if (request->create_how == VFS_CREATE_EXCLUSIVE) {
		if (file->inode.verifier != request->verifier)
			return -EEXIST;
		request->created = true;
	} else if (request->create_how != VFS_CREATE_UNCHECKED) {
		return -EEXIST;
	} else if (cut) {
		result =
		    rules_need(&file->rules, request->credentials, VFS_WRITE_DATA, request->flags);
	}
	if (result == 0 && request->flags & VFS_HOLD_RESULT)
		result = hold(op->share, file->number);
	return result;
}

/* The ACL that is asked for, or what the directory's gives. */
static int inherit(struct op *op, struct object *file)
{
	const struct object *directory = &op->object[0];
	unsigned count;

	if (op->request->set.mask & VFS_SET_ACL && file->inode.attr.type != VFS_SYMLINK)
		return aces_set(op->share, file, op->request);
	if (!directory->rules.ace_count || file->inode.attr.type == VFS_SYMLINK)
		return 0;
	count = rules_inherit(directory->aces, directory->rules.ace_count,
			      file->inode.attr.type == VFS_DIRECTORY, file->aces);
	if (count == 0)
		return 0;
	count = rules_chmod_aces(file->aces, count, file->inode.attr.mode,
				 file->inode.attr.type == VFS_DIRECTORY);
	return aces_store(op->share, file, file->aces, count);
}

static int create_new(struct op *op, uint64_t cookie)
{
	struct vfs_request *request = op->request;
	struct share *share = op->share;
	uint64_t *counters = share->store->counters;
	struct inode *directory = &op->object[0].inode, *inode = &op->object[1].inode;
	int result;

	memset(inode, 0, sizeof(*inode));
	rules_new(&directory->attr, request, op->now, &inode->attr);
	inode->attr.fileid = op->object[1].number = counters[COUNT_NEXT_INODE]++;
	inode->attr.generation = (uint32_t)++counters[COUNT_GENERATION] + share->salt;
	counters[COUNT_INODES]++;
	if (request->create_how == VFS_CREATE_EXCLUSIVE)
		inode->verifier = request->verifier;
	if (request->type == VFS_DIRECTORY) {
		inode->parent = directory->attr.fileid;
		directory->attr.links++;
	}
	result = users_change(share, inode->attr.uid, 0, 1);
	if (result == 0)
		result = inherit(op, &op->object[1]);
	if (result == 0 && request->type == VFS_SYMLINK)
		result = pieces_put(share, inode->attr.fileid, KEY_SYMLINK, request->data,
				    request->data_length);
	if (result == 0)
		result = inode_store(share, inode);
	if (result == 0)
		result =
		    entry_add(share, directory, cookie, request->name, request->name_length, inode);
	rules_modified(&directory->attr, op->now);
	if (result == 0)
		result = inode_store(share, directory);
	if (result == 0 && request->flags & VFS_HOLD_RESULT)
		result = hold(share, inode->attr.fileid);
	if (result)
		return result;
	request->created = true;
	request->after[0] = directory->attr;
	give(request, inode);
	return 0;
}

int op_create(struct op *op)
{
	struct vfs_request *request = op->request;
	struct object *directory = &op->object[0];
	uint32_t right = request->type == VFS_DIRECTORY ? VFS_APPEND_DATA : VFS_WRITE_DATA;
	struct entry entry;
	int result = directory_load(op, &request->object, 0);

	request->created = false;
	if (result)
		return result;
	if (directory->inode.attr.links == 0)
		return -ENOENT;
	result =
	    entry_find(op->share, directory->number, request->name, request->name_length, &entry);
	if (result == 0)
		return create_existing(op, &entry);
	if (result != -ENOENT)
		return result;
	result = need_directory(directory, request, right);
	if (result == 0)
		result = rules_new_may_set(&directory->inode.attr, request);
	if (result == 0 && request->type == VFS_DIRECTORY &&
	    directory->inode.attr.links >= LINK_MAX_HERE)
		result = -EMLINK;
	if (result == 0 && op->share->full)
		result = -ENOSPC;
	return result ? result : create_new(op, entry.free);
}

/* ---- removing ---- */
/* One link less; the last one takes the inode along, at once when that is little work and nobody
 * is at it. */
static int drop_link(struct op *op, struct object *object)
{
	struct share *share = op->share;
	struct inode *inode = &object->inode;
	bool directory = inode->attr.type == VFS_DIRECTORY;
	int result;

	inode->attr.links = directory ? 0 : inode->attr.links - 1;
	rules_touch(&inode->attr, op->now);
	if (directory)
		inode->parent = 0;
	give(op->request, inode);
	if (inode->attr.links)
		return inode_store(share, inode);
	if (!state_find(share, object->number)) {
		result = inode_destroy_step(share, inode);
		if (result <= 0)
			return result;
	} else {
		result = inode_store(share, inode);
		if (result)
			return result;
	}
	share->reap_wanted = true;
	return orphan_put(share, object->number, ORPHAN_DELETED);
}

static int may_remove(struct op *op, const struct object *directory, const struct object *child)
{
	return rules_may_remove(&directory->rules, &child->rules, op->request->credentials);
}

int op_remove(struct op *op)
{
	struct vfs_request *request = op->request;
	struct object *directory = &op->object[0], *child = &op->object[1];
	struct entry entry;
	int result = directory_load(op, &request->object, 0);

	if (result == 0)
		result = entry_find(op->share, directory->number, request->name,
				    request->name_length, &entry);
	if (result == 0)
		result = named_load(op, &entry, child);
	if (result == 0)
		result = may_remove(op, directory, child);
	if (result)
		return result;
	if (child->inode.attr.type == VFS_DIRECTORY) {
		if (request->remove_kind == VFS_REMOVE_FILE)
			return -EISDIR;
		if (child->inode.entries)
			return -ENOTEMPTY;
		directory->inode.attr.links--;
	} else if (request->remove_kind == VFS_REMOVE_DIRECTORY) {
		return -ENOTDIR;
	}
	result = entry_remove(op->share, &directory->inode, entry.cookie, request->name_length);
	if (result == 0)
		result = drop_link(op, child);
	rules_modified(&directory->inode.attr, op->now);
	if (result == 0)
		result = inode_store(op->share, &directory->inode);
	if (result == 0)
		request->after[0] = directory->inode.attr;
	return result;
}

int op_link(struct op *op)
{
	struct vfs_request *request = op->request;
	struct object *file = &op->object[0], *directory = &op->object[1];
	struct entry entry;
	int result = object_load(op->share, &request->object, file);

	if (result)
		return result;
	request->before[0] = request->after[0] = file->inode.attr;
	result = directory_load(op, &request->object2, 1);
	if (result)
		return result;
	if (file->inode.attr.type == VFS_DIRECTORY)
		return -EISDIR;
	result =
	    entry_find(op->share, directory->number, request->name2, request->name2_length, &entry);
	if (result != -ENOENT)
		return result ? result : -EEXIST;
	result = need_directory(directory, request, VFS_WRITE_DATA);
	if (result)
		return result;
	if (file->inode.attr.links == 0 || directory->inode.attr.links == 0)
		return -ENOENT;
	if (file->inode.attr.links >= LINK_MAX_HERE)
		return -EMLINK;
	if (op->share->full)
		return -ENOSPC;
	file->inode.attr.links++;
	rules_touch(&file->inode.attr, op->now);
	rules_modified(&directory->inode.attr, op->now);
	result = entry_add(op->share, &directory->inode, entry.free, request->name2,
			   request->name2_length, &file->inode);
	if (result == 0)
		result = inode_store(op->share, &file->inode);
	if (result == 0)
		result = inode_store(op->share, &directory->inode);
	if (result)
		return result;
	request->after[0] = file->inode.attr;
	request->after[1] = directory->inode.attr;
	return 0;
}

/* ---- renaming ---- */
struct rename {
	struct object *from, *to; /* directories; the same one if it is one */
	struct object source, target;
	struct entry source_entry, target_entry;
	bool replaces;
};

/* Is @directory the inode @of, or below it? */
static int is_inside(struct share *share, uint64_t directory, uint64_t of)
{
	for (unsigned depth = 0; depth < 65536; depth++) {
		struct inode inode;
		int result;

		if (directory == of)
			return 1;
		if (directory == ROOT_INODE || directory == 0)
			return 0;
		result = inode_load(share, directory, &inode);
		if (result)
			return result == -ENOENT ? -EUCLEAN : result;
		directory = inode.parent;
	}
	return -EUCLEAN;
}

static int may_replace(const struct inode *source, const struct inode *target)
{
	if (source->attr.type == VFS_DIRECTORY && target->attr.type != VFS_DIRECTORY)
		return -ENOTDIR;
	if (source->attr.type != VFS_DIRECTORY && target->attr.type == VFS_DIRECTORY)
		return -EISDIR;
	return target->entries && target->attr.type == VFS_DIRECTORY ? -ENOTEMPTY : 0;
}

static int may_rename(struct op *op, struct rename *rename)
{
	bool directory = rename->source.inode.attr.type == VFS_DIRECTORY;
	int result = may_remove(op, rename->from, &rename->source);

	if (result == 0 && directory) {
		result = is_inside(op->share, rename->to->number, rename->source.number);
		if (result == 1)
			result = -EINVAL;
	}
	if (result)
		return result;
	if (rename->replaces && op->request->flags & VFS_NO_REPLACE)
		return -EEXIST;
	if (rename->replaces) {
		result = may_remove(op, rename->to, &rename->target);
		if (result == 0)
			result = may_replace(&rename->source.inode, &rename->target.inode);
	} else {
		result = need_directory(rename->to, op->request,
					directory ? VFS_APPEND_DATA : VFS_WRITE_DATA);
	}
	if (result == 0 && directory && rename->from != rename->to) /* its ".." changes */
		result = need_directory(&rename->source, op->request, VFS_WRITE_DATA);
	return result;
}

static int rename_target(struct op *op, struct rename *rename)
{
	struct vfs_request *request = op->request;
	int result;

	if (!rename->replaces)
		return 0;
	result = entry_remove(op->share, &rename->to->inode, rename->target_entry.cookie,
			      request->name2_length);
	rename->target_entry.free = rename->target_entry.cookie;
	if (rename->target.inode.attr.type == VFS_DIRECTORY)
		rename->to->inode.attr.links--;
	return result ? result : drop_link(op, &rename->target);
}

static int rename_apply(struct op *op, struct rename *rename)
{
	struct vfs_request *request = op->request;
	struct inode *source = &rename->source.inode;
	int result = entry_remove(op->share, &rename->from->inode, rename->source_entry.cookie,
				  request->name_length);

	if (result == 0)
		result = rename_target(op, rename);
	if (result == 0)
		result = entry_add(op->share, &rename->to->inode, rename->target_entry.free,
				   request->name2, request->name2_length, source);
	if (result)
		return result;
	if (source->attr.type == VFS_DIRECTORY && rename->from != rename->to) {
		rename->from->inode.attr.links--;
		rename->to->inode.attr.links++;
		source->parent = rename->to->number;
	}
	rules_touch(&source->attr, op->now);
	rules_modified(&rename->from->inode.attr, op->now);
	if (rename->to != rename->from)
		rules_modified(&rename->to->inode.attr, op->now);
	result = inode_store(op->share, source);
	if (result == 0)
		result = inode_store(op->share, &rename->from->inode);
	if (result == 0 && rename->to != rename->from)
		result = inode_store(op->share, &rename->to->inode);
	request->after[0] = rename->from->inode.attr;
	request->after[1] = rename->to->inode.attr;
	return result;
}

int op_rename(struct op *op)
{
	struct vfs_request *request = op->request;
	struct rename rename = {.from = &op->object[0], .to = &op->object[1]};
	int result = directory_load(op, &request->object, 0);

	request->result_object.length = 0;
	request->result_attr.type = VFS_NONE;
	if (result == 0)
		result = directory_load(op, &request->object2, 1);
	if (result)
		return result;
	if (rename.from->number == rename.to->number)
		rename.to = rename.from;
	result = entry_find(op->share, rename.from->number, request->name, request->name_length,
			    &rename.source_entry);
	if (result == 0)
		result = named_load(op, &rename.source_entry, &rename.source);
	if (result == 0 && rename.to->inode.attr.links == 0)
		result = -ENOENT;
	if (result)
		return result;
	request->moved_object = object_make(&rename.source.inode);
	result = entry_find(op->share, rename.to->number, request->name2, request->name2_length,
			    &rename.target_entry);
	rename.replaces = result == 0;
	if (result && result != -ENOENT)
		return result;
	if (rename.replaces && rename.target_entry.inode == rename.source_entry.inode)
		return request->flags & VFS_NO_REPLACE ? -EEXIST : 0;
	result = rename.replaces ? named_load(op, &rename.target_entry, &rename.target) : 0;
	if (result == 0)
		result = may_rename(op, &rename);
	return result ? result : rename_apply(op, &rename);
}

/* ---- listing ---- */
struct vfs_dirent *listing_room(struct vfs_request *request, const char *name, unsigned length)
{
	size_t size = (sizeof(struct vfs_dirent) + length + 1u + 7) & ~(size_t)7;
	struct vfs_dirent *made = (void *)((char *)request->data + request->data_length);

	if (size > request->data_room - request->data_length)
		return NULL;
	memset(made, 0, size);
	made->next = (uint32_t)size;
	made->name_length = (uint16_t)length;
	memcpy(made->name, name, length);
	return made;
}

void listing_keep(struct vfs_request *request, const struct vfs_dirent *made)
{
	request->data_length += made->next;
	request->entry_count++;
}

static int listing_add(struct op *op, uint64_t cookie, const struct dirent_value *found)
{
	struct vfs_request *request = op->request;
	struct vfs_dirent *made =
	    listing_room(request, (const char *)found->name, found->name_length);
	struct inode inode;

	if (!made)
		return -ERANGE;
	made->type = found->type;
	made->cookie = cookie;
	made->fileid = found->inode;
	if (request->flags & VFS_WANT_ATTR) {
		int result = inode_load(op->share, found->inode, &inode);

		if (result)
			return result == -ENOENT ? -EUCLEAN : result;
		made->object = object_make(&inode);
		made->attr = inode.attr;
	}
	listing_keep(request, made);
	return 0;
}

int op_readdir(struct op *op)
{
	struct vfs_request *request = op->request;
	struct object *directory = &op->object[0];
	struct key key = {0, KEY_DIRENT, request->cookie};
	int result = object_load(op->share, &request->object, directory);

	if (result)
		return result;
	request->after[0] = directory->inode.attr;
	result = need_directory(directory, request, VFS_READ_DATA);
	request->data_length = request->entry_count = 0;
	key.object = directory->number;
	while (result == 0) {
		struct dirent_value found;
		const uint8_t *value;
		size_t length;

		if (key.offset == UINT64_MAX)
			break;
		key.offset++;
		result = btree_next(op->share->store, &key, &value, &length);
		if (result == 0 && (key.object != directory->number || key.type != KEY_DIRENT))
			result = -ENOENT;
		if (result == 0)
			result = dirent_decode(value, length, &found);
		if (result == 0)
			result = listing_add(op, key.offset, &found);
	}
	if (result == -ENOENT) {
		request->eof = true;
		return 0;
	}
	if (result == -ERANGE && request->entry_count)
		return 0;
	/* enough is at hand: it goes out, and the rest is loaded for the next call */
	if (result == -EINPROGRESS && request->entry_count >= LISTING_ENOUGH)
		return 0;
	return result;
}
