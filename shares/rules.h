/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SHARES_RULES_H
#define SHARES_RULES_H

#include "shares/vfs.h"

/* Who may do what, and what a change of attributes means: POSIX modes and NFSv4 ACLs, the same
 * for every back end. Pure functions; nothing here is kept. */

/* An object as the rules see it: its attributes, and its ACL (NULL: the mode alone). */
struct rules_object {
	const struct vfs_attr *attr;
	const struct vfs_ace *aces;
	unsigned ace_count;
};

/* All rights @who has (enum vfs_right). The superuser has all of them, but for the execution of
 * a file that nobody may execute. */
uint32_t rules_granted(const struct rules_object *object, const struct vfs_credentials *who);
/* 0 when @who has all of @rights, or -EACCES. @flags: VFS_OPENED, VFS_OWNER_OVERRIDE. */
int rules_need(const struct rules_object *object, const struct vfs_credentials *who,
	       uint32_t rights, unsigned flags);
bool rules_in_group(const struct vfs_credentials *who, uint32_t gid);

/* rules_may_set: 0, -EPERM, -EACCES, or for a size -EISDIR, -EINVAL by type. */
int rules_may_set(const struct rules_object *object, const struct vfs_credentials *who,
		  const struct vfs_set *set, unsigned flags);
/* rules_set: what @set makes of @attr, size apart: times, set-id bits, ctime and change. */
void rules_set(struct vfs_attr *attr, const struct vfs_credentials *who, const struct vfs_set *set,
	       int64_t now);
/* rules_may_remove: a name of @child out of @directory (sticky bit, DELETE, DELETE_CHILD). */
int rules_may_remove(const struct rules_object *directory, const struct rules_object *child,
		     const struct vfs_credentials *who);
/* rules_new: attributes of an object created by @request in @directory; fileid and generation
 * are the caller's. */
void rules_new(const struct vfs_attr *directory, const struct vfs_request *request, int64_t now,
	       struct vfs_attr *ret_attr);
/* rules_new_may_set: may its creator ask for these attributes? 0, -EPERM, -EINVAL. */
int rules_new_may_set(const struct vfs_attr *directory, const struct vfs_request *request);
/* Contents changed: mtime, ctime, change. rules_touch: attributes only. */
void rules_modified(struct vfs_attr *attr, int64_t now);
void rules_touch(struct vfs_attr *attr, int64_t now);
/* rules_written: by WRITE and its like: as modified, and the set-id bits go. */
void rules_written(struct vfs_attr *attr, const struct vfs_credentials *who, int64_t now);

/* ACLs. rules_check_aces: -EINVAL for what no ACL may hold. rules_aces_from_mode: at most
 * RULES_MODE_ACES. rules_mode_from_aces: RFC 8881 6.3.2. rules_chmod_aces: what a change of mode
 * makes of an ACL (6.4.1): OWNER@, GROUP@, EVERYONE@ follow the mode, named entries keep at most
 * the group's rights; in place, returns the new count, room for RULES_MODE_ACES more.
 * rules_inherit: the ACL of a new child, 0: none (6.4.3). */
#define RULES_MODE_ACES VFS_MODE_ACES
int rules_check_aces(const struct vfs_ace *aces, unsigned count);
unsigned rules_aces_from_mode(uint32_t mode, bool directory, struct vfs_ace *ret_aces);
uint32_t rules_mode_from_aces(const struct vfs_ace *aces, unsigned count, uint32_t mode);
unsigned rules_chmod_aces(struct vfs_ace *aces, unsigned count, uint32_t mode, bool directory);
unsigned rules_inherit(const struct vfs_ace *aces, unsigned count, bool directory,
		       struct vfs_ace *ret_aces);

#endif
