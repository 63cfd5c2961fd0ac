/* SPDX-License-Identifier: Apache-2.0 */
/* rules_acl.c: NFSv4 ACLs and what the mode has to do with them (RFC 8881 6.3, 6.4). */
#include <errno.h>
#include <string.h>

#include "shares/rules.h"

#define FLAGS_ALL                                                                                  \
	(VFS_ACE_FILE_INHERIT | VFS_ACE_DIRECTORY_INHERIT | VFS_ACE_NO_PROPAGATE |                 \
	 VFS_ACE_INHERIT_ONLY)
#define INHERITS (VFS_ACE_FILE_INHERIT | VFS_ACE_DIRECTORY_INHERIT)

int rules_check_aces(const struct vfs_ace *aces, unsigned count)
{
	if (count > VFS_ACES_MAX)
		return -E2BIG;
	for (unsigned i = 0; i < count; i++)
		if (aces[i].type > VFS_ACE_DENY || aces[i].who > VFS_WHO_GID ||
		    aces[i].flags & ~(unsigned)FLAGS_ALL ||
		    aces[i].mask & ~(uint32_t)VFS_RIGHTS_ALL)
			return -EINVAL;
	return 0;
}

static uint32_t mask_of_bits(uint32_t bits, bool directory)
{
	uint32_t mask = 0;

	if (bits & 4)
		mask |= VFS_READ_DATA | VFS_READ_NAMED;
	if (bits & 2)
		mask |= VFS_WRITE_DATA | VFS_APPEND_DATA | VFS_WRITE_NAMED |
			(directory ? (uint32_t)VFS_DELETE_CHILD : 0);
	if (bits & 1)
		mask |= VFS_EXECUTE;
	return mask;
}

/* What a class has is allowed; what a later one would give it beyond that is denied first. */
unsigned rules_aces_from_mode(uint32_t mode, bool directory, struct vfs_ace *ret_aces)
{
	static const enum vfs_ace_who classes[] = {VFS_WHO_OWNER, VFS_WHO_GROUP, VFS_WHO_EVERYONE};
	unsigned count = 0;

	for (unsigned i = 0; i < 3; i++) {
		uint32_t bits = mode >> (6 - 3 * i) & 7, later = 0, base;

		for (unsigned k = i + 1; k < 3; k++)
			later |= mode >> (6 - 3 * k) & 7;
		base = VFS_READ_ATTRIBUTES | VFS_READ_ACL | VFS_SYNCHRONIZE;
		if (i == 0)
			base |= VFS_WRITE_ATTRIBUTES | VFS_WRITE_ACL | VFS_WRITE_OWNER;
		if (later & ~bits)
			ret_aces[count++] =
			    (struct vfs_ace){.type = VFS_ACE_DENY,
					     .who = classes[i],
					     .mask = mask_of_bits(later & ~bits, directory)};
		ret_aces[count++] = (struct vfs_ace){.type = VFS_ACE_ALLOW,
						     .who = classes[i],
						     .mask = base | mask_of_bits(bits, directory)};
	}
	return count;
}

/* The rights of a class, by its own entries and EVERYONE@'s. */
static uint32_t class_bits(const struct vfs_ace *aces, unsigned count, enum vfs_ace_who who)
{
	uint32_t granted = 0, decided = 0;

	for (unsigned i = 0; i < count; i++) {
		if (aces[i].flags & VFS_ACE_INHERIT_ONLY ||
		    (aces[i].who != who && aces[i].who != VFS_WHO_EVERYONE))
			continue;
		if (aces[i].type == VFS_ACE_ALLOW)
			granted |= aces[i].mask & ~decided;
		decided |= aces[i].mask;
	}
	return (granted & VFS_READ_DATA ? 4u : 0) |
	       ((granted & (VFS_WRITE_DATA | VFS_APPEND_DATA)) == (VFS_WRITE_DATA | VFS_APPEND_DATA)
		    ? 2u
		    : 0) |
	       (granted & VFS_EXECUTE ? 1u : 0);
}

uint32_t rules_mode_from_aces(const struct vfs_ace *aces, unsigned count, uint32_t mode)
{
	return (mode & 07000) | class_bits(aces, count, VFS_WHO_OWNER) << 6 |
	       class_bits(aces, count, VFS_WHO_GROUP) << 3 |
	       class_bits(aces, count, VFS_WHO_EVERYONE);
}

unsigned rules_chmod_aces(struct vfs_ace *aces, unsigned count, uint32_t mode, bool directory)
{
	uint32_t all = mask_of_bits(7, true), group = mask_of_bits(mode >> 3 & 7, directory);
	struct vfs_ace classes[RULES_MODE_ACES];
	unsigned kept = 0, made;

	for (unsigned i = 0; i < count; i++) {
		bool named = aces[i].who == VFS_WHO_UID || aces[i].who == VFS_WHO_GID;
		struct vfs_ace ace = aces[i];

		if (ace.flags & INHERITS) { /* what children get stays; what is here now goes */
			if (!named)
				ace.flags |= VFS_ACE_INHERIT_ONLY;
		} else if (!named) {
			continue;
		}
		if (ace.type == VFS_ACE_ALLOW && !(ace.flags & VFS_ACE_INHERIT_ONLY))
			ace.mask &= ~all | group;
		aces[kept++] = ace;
	}
	made = rules_aces_from_mode(mode, directory, classes);
	memcpy(aces + kept, classes, made * sizeof(*aces));
	return kept + made;
}

unsigned rules_inherit(const struct vfs_ace *aces, unsigned count, bool directory,
		       struct vfs_ace *ret_aces)
{
	unsigned made = 0;

	for (unsigned i = 0; i < count; i++) {
		struct vfs_ace ace = aces[i];
		bool here = ace.flags & (directory ? VFS_ACE_DIRECTORY_INHERIT
						   : (unsigned)VFS_ACE_FILE_INHERIT);

		if (!here && !(directory && ace.flags & VFS_ACE_FILE_INHERIT))
			continue;
		if (!here && ace.flags & VFS_ACE_NO_PROPAGATE)
			continue;
		if (!directory || ace.flags & VFS_ACE_NO_PROPAGATE)
			ace.flags = 0;
		else if (here)
			ace.flags &= ~(uint32_t)VFS_ACE_INHERIT_ONLY;
		else
			ace.flags |= VFS_ACE_INHERIT_ONLY;
		ret_aces[made++] = ace;
	}
	return made;
}
