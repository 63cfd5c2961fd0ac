/* SPDX-License-Identifier: Apache-2.0 */
/* format_value.c: the values of the tree. */
#include <errno.h>
#include <string.h>

#include "core/bytes.h"
#include "shares/format.h"

void inode_encode(const struct inode *inode, uint8_t bytes[INODE_BYTES])
{
	const struct vfs_attr *attr = &inode->attr;

	memset(bytes, 0, INODE_BYTES);
	bytes[0] = (uint8_t)attr->type;
	put16(bytes + 2, (uint16_t)attr->mode);
	put32(bytes + 4, attr->links);
	put32(bytes + 8, attr->uid);
	put32(bytes + 12, attr->gid);
	put32(bytes + 16, attr->rdev_major);
	put32(bytes + 20, attr->rdev_minor);
	put32(bytes + 24, attr->generation);
	put16(bytes + 28, inode->ace_count);
	put64(bytes + 32, attr->size);
	put64(bytes + 40, inode->blocks);
	put64(bytes + 48, attr->change);
	put64(bytes + 56, (uint64_t)attr->atime);
	put64(bytes + 64, (uint64_t)attr->mtime);
	put64(bytes + 72, (uint64_t)attr->ctime);
	put64(bytes + 80, (uint64_t)attr->btime);
	put64(bytes + 88, inode->verifier);
	put64(bytes + 96, inode->parent);
	put32(bytes + 104, inode->entries);
}

int inode_decode(const uint8_t *bytes, size_t length, struct inode *inode)
{
	struct vfs_attr *attr = &inode->attr;

	if (length != INODE_BYTES || bytes[0] == VFS_NONE || bytes[0] > VFS_SOCKET)
		return -EUCLEAN;
	memset(inode, 0, sizeof(*inode));
	attr->type = bytes[0];
	attr->mode = get16(bytes + 2) & 07777;
	attr->links = get32(bytes + 4);
	attr->uid = get32(bytes + 8);
	attr->gid = get32(bytes + 12);
	attr->rdev_major = get32(bytes + 16);
	attr->rdev_minor = get32(bytes + 20);
	attr->generation = get32(bytes + 24);
	inode->ace_count = get16(bytes + 28);
	attr->has_acl = inode->ace_count > 0;
	attr->size = get64(bytes + 32);
	inode->blocks = get64(bytes + 40);
	attr->used = inode->blocks * BLOCK_SIZE;
	attr->change = get64(bytes + 48);
	attr->atime = (int64_t)get64(bytes + 56);
	attr->mtime = (int64_t)get64(bytes + 64);
	attr->ctime = (int64_t)get64(bytes + 72);
	attr->btime = (int64_t)get64(bytes + 80);
	inode->verifier = get64(bytes + 88);
	inode->parent = get64(bytes + 96);
	inode->entries = get32(bytes + 104);
	if (inode->ace_count > VFS_ACES_MAX + 64u || inode->blocks > FILE_BLOCKS_MAX ||
	    (attr->type == VFS_REGULAR && attr->size > VFS_FILE_MAX) ||
	    (attr->type == VFS_SYMLINK && (attr->size == 0 || attr->size > VFS_SYMLINK_MAX)))
		return -EUCLEAN;
	return 0;
}

size_t dirent_encode(const struct dirent_value *dirent, uint8_t *bytes)
{
	put64(bytes, dirent->inode);
	bytes[8] = dirent->type;
	bytes[9] = dirent->name_length;
	bytes[10] = bytes[11] = 0;
	memcpy(bytes + DIRENT_BYTES, dirent->name, dirent->name_length);
	return DIRENT_BYTES + dirent->name_length;
}

int dirent_decode(const uint8_t *bytes, size_t length, struct dirent_value *dirent)
{
	if (length < DIRENT_BYTES + 1 || length != DIRENT_BYTES + bytes[9] ||
	    bytes[8] == VFS_NONE || bytes[8] > VFS_SOCKET ||
	    memchr(bytes + DIRENT_BYTES, 0, bytes[9]) ||
	    memchr(bytes + DIRENT_BYTES, '/', bytes[9]))
		return -EUCLEAN;
	dirent->inode = get64(bytes);
	dirent->type = bytes[8];
	dirent->name_length = bytes[9];
	dirent->name = bytes + DIRENT_BYTES;
	return 0;
}

void extent_encode(const struct extent *extent, uint8_t bytes[EXTENT_BYTES])
{
	put64(bytes, extent->block);
	put32(bytes + 8, extent->count);
	put32(bytes + 12, extent->flags);
}

int extent_decode(uint64_t file_block, const uint8_t *bytes, size_t length, uint64_t data_start,
		  uint64_t data_end, struct extent *extent)
{
	if (length != EXTENT_BYTES)
		return -EUCLEAN;
	extent->file_block = file_block;
	extent->block = get64(bytes);
	extent->count = get32(bytes + 8);
	extent->flags = get32(bytes + 12);
	if (extent->count == 0 || extent->count > EXTENT_BLOCKS_MAX ||
	    extent->flags & ~(uint32_t)(EXTENT_UNWRITTEN | EXTENT_SHARED) ||
	    extent->block < data_start || extent->block >= data_end ||
	    extent->count > data_end - extent->block || file_block >= FILE_BLOCKS_MAX ||
	    extent->count > FILE_BLOCKS_MAX - file_block)
		return -EUCLEAN;
	return 0;
}

void shared_encode(const struct shared *shared, uint8_t bytes[SHARED_BYTES])
{
	put64(bytes, shared->count);
	put32(bytes + 8, shared->owners);
}

int shared_decode(uint64_t block, const uint8_t *bytes, size_t length, uint64_t data_start,
		  uint64_t data_end, struct shared *shared)
{
	if (length != SHARED_BYTES)
		return -EUCLEAN;
	shared->block = block;
	shared->count = get64(bytes);
	shared->owners = get32(bytes + 8);
	if (shared->owners < 2 || shared->count == 0 || block < data_start || block >= data_end ||
	    shared->count > data_end - block)
		return -EUCLEAN;
	return 0;
}

void user_encode(const struct user *user, uint8_t bytes[USER_BYTES])
{
	put64(bytes, user->blocks);
	put64(bytes + 8, user->files);
	put64(bytes + 16, user->limit_blocks);
	put64(bytes + 24, user->limit_files);
}

int user_decode(const uint8_t *bytes, size_t length, struct user *user)
{
	if (length != USER_BYTES)
		return -EUCLEAN;
	*user = (struct user){.blocks = get64(bytes),
			      .files = get64(bytes + 8),
			      .limit_blocks = get64(bytes + 16),
			      .limit_files = get64(bytes + 24)};
	return user->blocks > INT64_MAX / BLOCK_SIZE || user->files > INT64_MAX ||
		       user->limit_blocks > INT64_MAX / BLOCK_SIZE || user->limit_files > INT64_MAX
		   ? -EUCLEAN
		   : 0;
}

size_t xattr_encode(const struct xattr_value *xattr, uint8_t *bytes)
{
	size_t data = xattr->blob ? 0 : xattr->length;

	put64(bytes, xattr->blob);
	put32(bytes + 8, xattr->length);
	bytes[12] = xattr->name_length;
	bytes[13] = 0;
	memcpy(bytes + XATTR_BYTES, xattr->name, xattr->name_length);
	if (data)
		memcpy(bytes + XATTR_BYTES + xattr->name_length, xattr->data, data);
	return XATTR_BYTES + xattr->name_length + data;
}

int xattr_decode(const uint8_t *bytes, size_t length, struct xattr_value *xattr)
{
	if (length < XATTR_BYTES + 1)
		return -EUCLEAN;
	xattr->blob = get64(bytes);
	xattr->length = get32(bytes + 8);
	xattr->name_length = bytes[12];
	xattr->name = bytes + XATTR_BYTES;
	xattr->data = xattr->name + xattr->name_length;
	if (xattr->length > VFS_XATTR_MAX || xattr->name_length == 0 ||
	    length != XATTR_BYTES + (size_t)xattr->name_length + (xattr->blob ? 0 : xattr->length))
		return -EUCLEAN;
	return 0;
}

void ace_encode(const struct vfs_ace *ace, uint8_t bytes[ACE_BYTES])
{
	bytes[0] = (uint8_t)ace->type;
	bytes[1] = (uint8_t)ace->who;
	bytes[2] = bytes[3] = 0;
	put32(bytes + 4, ace->id);
	put32(bytes + 8, ace->flags);
	put32(bytes + 12, ace->mask);
}

int ace_decode(const uint8_t bytes[ACE_BYTES], struct vfs_ace *ace)
{
	if (bytes[0] > VFS_ACE_DENY || bytes[1] > VFS_WHO_GID)
		return -EUCLEAN;
	ace->type = bytes[0];
	ace->who = bytes[1];
	ace->id = get32(bytes + 4);
	ace->flags = get32(bytes + 8);
	ace->mask = get32(bytes + 12);
	return 0;
}
