/* SPDX-License-Identifier: Apache-2.0 */
#include "shares/rules.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#define READS  (VFS_READ_DATA | VFS_READ_NAMED)
#define WRITES (VFS_WRITE_DATA | VFS_APPEND_DATA | VFS_WRITE_NAMED | VFS_DELETE_CHILD)
/* What everyone may, and what the owner always may. */
#define ANYONES (VFS_READ_ATTRIBUTES | VFS_READ_ACL | VFS_SYNCHRONIZE)
#define OWNERS  (ANYONES | VFS_WRITE_ATTRIBUTES | VFS_WRITE_ACL)

bool rules_in_group(const struct vfs_credentials *who, uint32_t gid)
{
	unsigned count = who->group_count < VFS_GROUPS_MAX ? who->group_count : VFS_GROUPS_MAX;

	if (who->gid == gid)
		return true;
	for (unsigned i = 0; i < count; i++)
		if (who->groups[i] == gid)
			return true;
	return false;
}

static uint32_t rights_of_bits(uint32_t bits)
{
	return (bits & 4 ? READS : 0) | (bits & 2 ? WRITES : 0) | (bits & 1 ? VFS_EXECUTE : 0);
}

static uint32_t granted_by_mode(const struct vfs_attr *attr, const struct vfs_credentials *who)
{
	if (who->uid == attr->uid)
		return rights_of_bits(attr->mode >> 6) | OWNERS;
	if (rules_in_group(who, attr->gid))
		return rights_of_bits(attr->mode >> 3) | ANYONES;
	return rights_of_bits(attr->mode) | ANYONES;
}

static bool ace_concerns(const struct vfs_ace *ace, const struct vfs_attr *attr,
			 const struct vfs_credentials *who)
{
	switch (ace->who) {
	case VFS_WHO_OWNER:
		return who->uid == attr->uid;
	case VFS_WHO_GROUP:
		return rules_in_group(who, attr->gid);
	case VFS_WHO_EVERYONE:
		return true;
	case VFS_WHO_UID:
		return who->uid == ace->id;
	case VFS_WHO_GID:
		return rules_in_group(who, ace->id);
	}
	return false;
}

/* RFC 8881 6.2.1: in order, until every right is decided. */
static uint32_t granted_by_aces(const struct rules_object *object,
				const struct vfs_credentials *who)
{
	uint32_t granted = 0, decided = 0;

	for (unsigned i = 0; i < object->ace_count; i++) {
		const struct vfs_ace *ace = &object->aces[i];

		if (ace->flags & VFS_ACE_INHERIT_ONLY || !ace_concerns(ace, object->attr, who))
			continue;
		if (ace->type == VFS_ACE_ALLOW)
			granted |= ace->mask & ~decided;
		decided |= ace->mask;
	}
	return granted | (who->uid == object->attr->uid ? OWNERS : ANYONES);
}

uint32_t rules_granted(const struct rules_object *object, const struct vfs_credentials *who)
{
	const struct vfs_attr *attr = object->attr;
	bool executable = attr->type == VFS_DIRECTORY || attr->mode & 0111;

	if (who->uid == VFS_ROOT_UID)
		return VFS_RIGHTS_ALL & ~(executable ? 0u : (uint32_t)VFS_EXECUTE);
	return object->aces ? granted_by_aces(object, who) : granted_by_mode(attr, who);
}

int rules_need(const struct rules_object *object, const struct vfs_credentials *who,
	       uint32_t rights, unsigned flags)
{
	if (flags & VFS_OPENED)
		return 0;
	if (flags & VFS_OWNER_OVERRIDE && who->uid == object->attr->uid)
		return 0;
	return rights & ~rules_granted(object, who) ? -EACCES : 0;
}

/* ---- changing attributes ---- */
static int may_set_size(const struct rules_object *object, const struct vfs_credentials *who,
			unsigned flags)
{
	if (object->attr->type == VFS_DIRECTORY)
		return -EISDIR;
	if (object->attr->type != VFS_REGULAR)
		return -EINVAL;
	return rules_need(object, who, VFS_WRITE_DATA, flags);
}

static int may_set_owner(const struct vfs_attr *attr, const struct vfs_credentials *who,
			 const struct vfs_set *set)
{
	if (set->mask & VFS_SET_UID && (who->uid != attr->uid || set->uid != attr->uid))
		return -EPERM;
	if (set->mask & VFS_SET_GID &&
	    (who->uid != attr->uid || (set->gid != attr->gid && !rules_in_group(who, set->gid))))
		return -EPERM;
	return 0;
}

static int may_set_times(const struct rules_object *object, const struct vfs_credentials *who,
			 const struct vfs_set *set)
{
	if (who->uid == object->attr->uid)
		return 0;
	if (set->mask & (VFS_SET_ATIME | VFS_SET_MTIME))
		return rules_granted(object, who) & VFS_WRITE_ATTRIBUTES ? 0 : -EPERM;
	if (set->mask & (VFS_SET_ATIME_NOW | VFS_SET_MTIME_NOW))
		return rules_need(object, who, VFS_WRITE_DATA, 0);
	return 0;
}

int rules_may_set(const struct rules_object *object, const struct vfs_credentials *who,
		  const struct vfs_set *set, unsigned flags)
{
	int result;

	if (set->mask & VFS_SET_SIZE) {
		result = may_set_size(object, who, flags);
		if (result)
			return result;
	}
	if (who->uid == VFS_ROOT_UID)
		return 0;
	if (set->mask & (VFS_SET_MODE | VFS_SET_ACL) && who->uid != object->attr->uid &&
	    !(rules_granted(object, who) & VFS_WRITE_ACL))
		return -EPERM;
	result = may_set_owner(object->attr, who, set);
	return result ? result : may_set_times(object, who, set);
}

void rules_touch(struct vfs_attr *attr, int64_t now)
{
	attr->ctime = now;
	/* by the clock, so that a number that was seen does not come again after a rollback */
	if (now > 0 && (uint64_t)now > attr->change)
		attr->change = (uint64_t)now;
	else
		attr->change++;
}

void rules_modified(struct vfs_attr *attr, int64_t now)
{
	attr->mtime = now;
	rules_touch(attr, now);
}

static void drop_set_id(struct vfs_attr *attr)
{
	if (attr->type != VFS_REGULAR)
		return;
	attr->mode &= ~(uint32_t)S_ISUID;
	if (attr->mode & S_IXGRP)
		attr->mode &= ~(uint32_t)S_ISGID;
}

void rules_written(struct vfs_attr *attr, const struct vfs_credentials *who, int64_t now)
{
	if (who->uid != VFS_ROOT_UID)
		drop_set_id(attr);
	rules_modified(attr, now);
}

void rules_set(struct vfs_attr *attr, const struct vfs_credentials *who, const struct vfs_set *set,
	       int64_t now)
{
	if (set->mask & VFS_SET_UID)
		attr->uid = set->uid;
	if (set->mask & VFS_SET_GID)
		attr->gid = set->gid;
	if (set->mask & (VFS_SET_UID | VFS_SET_GID))
		drop_set_id(attr);
	if (set->mask & VFS_SET_MODE) {
		attr->mode = set->mode & 07777;
		if (who->uid != VFS_ROOT_UID && attr->type != VFS_DIRECTORY &&
		    !rules_in_group(who, attr->gid))
			attr->mode &= ~(uint32_t)S_ISGID;
	}
	if (set->mask & VFS_SET_ATIME)
		attr->atime = set->atime;
	if (set->mask & VFS_SET_ATIME_NOW)
		attr->atime = now;
	if (set->mask & VFS_SET_MTIME)
		attr->mtime = set->mtime;
	if (set->mask & VFS_SET_MTIME_NOW)
		attr->mtime = now;
	rules_touch(attr, now);
}

/* ---- names ---- */
int rules_may_remove(const struct rules_object *directory, const struct rules_object *child,
		     const struct vfs_credentials *who)
{
	uint32_t granted = rules_granted(directory, who);

	if (!(granted & VFS_EXECUTE))
		return -EACCES;
	if (!(granted & VFS_WRITE_DATA) && !(granted & VFS_DELETE_CHILD) &&
	    !(child->aces && rules_granted(child, who) & VFS_DELETE))
		return -EACCES;
	if (directory->attr->mode & S_ISVTX && who->uid != VFS_ROOT_UID &&
	    who->uid != directory->attr->uid && who->uid != child->attr->uid)
		return -EPERM;
	return 0;
}

/* What a new object has before the request's set: as if its creator were alone. */
static void born(const struct vfs_attr *directory, const struct vfs_request *request, int64_t now,
		 struct vfs_attr *attr)
{
	*attr = (struct vfs_attr){.type = request->type,
				  .mode = request->type == VFS_SYMLINK ? 0777 : 0,
				  .links = request->type == VFS_DIRECTORY ? 2 : 1,
				  .uid = request->credentials->uid,
				  .gid = request->credentials->gid,
				  .change = 1,
				  .atime = now,
				  .mtime = now,
				  .ctime = now,
				  .btime = now};
	if (directory->mode & S_ISGID)
		attr->gid = directory->gid;
	if (request->type == VFS_BLOCK_DEVICE || request->type == VFS_CHARACTER_DEVICE) {
		attr->rdev_major = request->rdev_major;
		attr->rdev_minor = request->rdev_minor;
	}
	if (request->type == VFS_SYMLINK)
		attr->size = request->data_length;
}

int rules_new_may_set(const struct vfs_attr *directory, const struct vfs_request *request)
{
	struct vfs_attr attr;
	struct rules_object object = {.attr = &attr};
	struct vfs_set set = request->set;

	if ((request->type == VFS_BLOCK_DEVICE || request->type == VFS_CHARACTER_DEVICE) &&
	    request->credentials->uid != VFS_ROOT_UID)
		return -EPERM;
	born(directory, request, 0, &attr);
	if (set.mask & VFS_SET_SIZE && request->type != VFS_REGULAR)
		return -EINVAL;
	set.mask &= ~(unsigned)VFS_SET_SIZE;
	return rules_may_set(&object, request->credentials, &set, 0);
}

void rules_new(const struct vfs_attr *directory, const struct vfs_request *request, int64_t now,
	       struct vfs_attr *ret_attr)
{
	struct vfs_set set = request->set;

	born(directory, request, now, ret_attr);
	if (request->type == VFS_SYMLINK)
		set.mask &= ~(unsigned)VFS_SET_MODE;
	rules_set(ret_attr, request->credentials, &set, now);
	ret_attr->change = 1;
	if (request->type == VFS_REGULAR && set.mask & VFS_SET_SIZE)
		ret_attr->size = set.size;
	if (request->type == VFS_DIRECTORY && directory->mode & S_ISGID)
		ret_attr->mode |= S_ISGID;
}
