/* SPDX-License-Identifier: Apache-2.0 */
/* host_ops.c: the operations on a host directory; those that change something never get here. */
#include <dirent.h>
#include <endian.h>
#include <errno.h>
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "shares/host.h"
#include "shares/rules.h"

#define ACL_BYTES   4096u /* what a POSIX ACL may take that is looked at: some 500 entries */
#define BATCH_BYTES 16384u
#define IOV_AT_ONCE 64u

struct call {
	struct host_fs *fs;
	struct vfs_request *request;
	struct host_node node;
};

/* ---- rights */

#define WRITING                                                                                    \
	(VFS_WRITE_DATA | VFS_APPEND_DATA | VFS_WRITE_NAMED | VFS_DELETE_CHILD |                   \
	 VFS_WRITE_ATTRIBUTES | VFS_DELETE | VFS_WRITE_ACL | VFS_WRITE_OWNER)

/* The three bits that a POSIX ACL gives @who (acl(5), ACCESS CHECK ALGORITHM). */
static int acl_bits(const uint8_t *acl, size_t length, const struct vfs_attr *attr,
		    const struct vfs_credentials *who)
{
	struct posix_acl_xattr_header head;
	unsigned owner = 0, named = 0, groups = 0, other = 0, mask = 7;
	bool is_named = false, in_group = false;

	if (length < sizeof(head) || (length - sizeof(head)) % sizeof(struct posix_acl_xattr_entry))
		return -EIO;
	memcpy(&head, acl, sizeof(head));
	if (le32toh(head.a_version) != POSIX_ACL_XATTR_VERSION)
		return -EIO;
	for (size_t at = sizeof(head); at < length; at += sizeof(struct posix_acl_xattr_entry)) {
		struct posix_acl_xattr_entry entry;
		unsigned bits, tag;
		uint32_t id;

		memcpy(&entry, acl + at, sizeof(entry));
		bits = le16toh(entry.e_perm) & 7u;
		tag = le16toh(entry.e_tag);
		id = tag == ACL_GROUP_OBJ ? attr->gid : le32toh(entry.e_id);
		if (tag == ACL_USER_OBJ) {
			owner = bits;
		} else if (tag == ACL_OTHER) {
			other = bits;
		} else if (tag == ACL_MASK) {
			mask = bits;
		} else if (tag == ACL_USER && id == who->uid) {
			named = bits;
			is_named = true;
		} else if ((tag == ACL_GROUP || tag == ACL_GROUP_OBJ) && rules_in_group(who, id)) {
			groups |= bits;
			in_group = true;
		}
	}
	if (who->uid == attr->uid)
		return (int)owner;
	if (is_named)
		return (int)(named & mask);
	return (int)(in_group ? groups & mask : other);
}

/* What the rules look at: with a POSIX ACL, a mode that says the same for whoever asks. The
 * superuser needs none, and what is neither read nor listed has none that matters. */
static int rules_attr(struct call *call, struct vfs_attr *attr)
{
	const struct vfs_credentials *who = call->request->credentials;
	uint8_t acl[ACL_BYTES];
	ssize_t length;
	int bits, result;

	*attr = call->node.attr;
	if (who->uid == VFS_ROOT_UID || (attr->type != VFS_REGULAR && attr->type != VFS_DIRECTORY))
		return 0;
	result = host_readable(call->fs, &call->node);
	if (result < 0)
		return result;
	length = fgetxattr(call->node.read_fd, "system.posix_acl_access", acl, sizeof(acl));
	if (length < 0)
		return errno == ENODATA || errno == EOPNOTSUPP ? 0 : -EIO;
	bits = acl_bits(acl, (size_t)length, attr, who);
	if (bits < 0)
		return bits;
	attr->mode = (attr->mode & 07000u) | (unsigned)bits * 0111u;
	return 0;
}

static int need(struct call *call, uint32_t rights, unsigned flags)
{
	struct vfs_attr attr;
	struct rules_object rules = {.attr = &attr};
	int result = flags & VFS_OPENED ? 0 : rules_attr(call, &attr);

	if (flags & VFS_OPENED)
		return 0;
	return result ? result : rules_need(&rules, call->request->credentials, rights, flags);
}

static int need_directory(struct call *call, uint32_t rights)
{
	return call->node.attr.type == VFS_DIRECTORY ? need(call, rights, 0) : -ENOTDIR;
}

static int need_file(struct call *call, uint32_t rights)
{
	if (call->node.attr.type == VFS_DIRECTORY)
		return -EISDIR;
	if (call->node.attr.type != VFS_REGULAR)
		return -EINVAL;
	return need(call, rights, call->request->flags);
}

/* Who may execute a file has to be able to read it (RFC 1813 4.4). */
static int need_contents(struct call *call)
{
	int result = need_file(call, VFS_READ_DATA);

	if (result == -EACCES && call->request->flags & VFS_OWNER_OVERRIDE)
		result = need_file(call, VFS_EXECUTE);
	return result ? result : host_readable(call->fs, &call->node);
}

/* ---- attributes */

static int op_getattr(struct call *call)
{
	(void)call;
	return 0;
}

static int op_access(struct call *call)
{
	struct vfs_attr attr;
	struct rules_object rules = {.attr = &attr};
	int result = rules_attr(call, &attr);

	if (result == 0)
		call->request->rights &=
		    rules_granted(&rules, call->request->credentials) & ~(uint32_t)WRITING;
	return result;
}

static int op_readlink(struct call *call)
{
	struct vfs_request *request = call->request;
	char target[VFS_SYMLINK_MAX + 1];
	ssize_t length;

	if (call->node.attr.type != VFS_SYMLINK)
		return -EINVAL;
	length = readlinkat(call->node.fd, "", target, sizeof(target));
	if (length < 0)
		return host_errno(errno);
	if ((size_t)length > request->data_room || (size_t)length > VFS_SYMLINK_MAX)
		return -ERANGE;
	memcpy(request->data, target, (size_t)length);
	request->data_length = (uint32_t)length;
	return 0;
}

static int op_fsstat(struct call *call)
{
	struct statvfs about;

	if (fstatvfs(call->fs->root_fd, &about) < 0)
		return host_errno(errno);
	call->request->fsstat = (struct vfs_fsstat){
	    .total_bytes = (uint64_t)about.f_blocks * about.f_frsize,
	    .free_bytes = (uint64_t)about.f_bfree * about.f_frsize,
	    .available_bytes = (uint64_t)about.f_bavail * about.f_frsize,
	    .total_files = about.f_files,
	    .free_files = about.f_ffree,
	    .available_files = about.f_favail,
	};
	return 0;
}

static int op_hold(struct call *call)
{
	return host_hold(call->fs, &call->node);
}

static int op_absent(struct call *call)
{
	(void)call;
	return -EOPNOTSUPP;
}

/* ---- contents */

/* Fills @part with what of @request is behind its first @done bytes. */
static unsigned rest_of(const struct vfs_request *request, uint64_t done,
			struct iovec part[IOV_AT_ONCE])
{
	unsigned count = 0;

	for (unsigned i = 0; i < request->iov_count && count < IOV_AT_ONCE; i++) {
		const struct iovec *iov = &request->iov[i];

		if (done >= iov->iov_len) {
			done -= iov->iov_len;
			continue;
		}
		part[count++] = (struct iovec){.iov_base = (char *)iov->iov_base + done,
					       .iov_len = iov->iov_len - done};
		done = 0;
	}
	return count;
}

static int op_read(struct call *call)
{
	struct vfs_request *request = call->request;
	int result = need_contents(call);
	uint64_t done = 0;
	bool end = request->offset > INT64_MAX - VFS_TRANSFER_MAX;

	while (result == 0 && done < request->length && !end) {
		struct iovec part[IOV_AT_ONCE];
		unsigned count = rest_of(request, done, part);
		ssize_t got =
		    preadv(call->node.read_fd, part, (int)count, (off_t)(request->offset + done));

		if (got < 0 && errno != EINTR)
			result = host_errno(errno);
		end = got == 0;
		done += got > 0 ? (uint64_t)got : 0;
	}
	if (result == 0)
		result = host_refresh(&call->node); /* the end as it is after the read */
	if (result)
		return result;
	request->count = (uint32_t)done;
	request->eof = end || request->offset + done >= call->node.attr.size;
	return 0;
}

/* Nothing was written that could be lost. */
static int op_commit(struct call *call)
{
	return need_file(call, 0);
}

static int op_seek(struct call *call)
{
	struct vfs_request *request = call->request;
	int result = need_contents(call);
	off_t at;

	if (result)
		return result;
	if (request->offset > INT64_MAX)
		return -ENXIO;
	at = lseek(call->node.read_fd, (off_t)request->offset,
		   request->seek == VFS_SEEK_DATA ? SEEK_DATA : SEEK_HOLE);
	if (at < 0)
		return host_errno(errno);
	request->offset = (uint64_t)at;
	result = host_refresh(&call->node);
	request->eof = request->seek == VFS_SEEK_HOLE && request->offset >= call->node.attr.size;
	return result;
}

/* ---- names */

static bool is_root(const struct call *call)
{
	return vfs_object_equal(&call->node.object, &call->fs->vfs.root);
}

static int give(struct call *call, struct host_node *found)
{
	struct vfs_request *request = call->request;
	int result = request->flags & VFS_HOLD_RESULT ? host_hold(call->fs, found) : 0;

	if (result == 0) {
		request->result_object = found->object;
		request->result_attr = found->attr;
	}
	return result;
}

static int op_lookup(struct call *call)
{
	struct vfs_request *request = call->request;
	char name[VFS_NAME_MAX + 1];
	struct host_node found;
	int result = need_directory(call, VFS_EXECUTE);

	if (result)
		return result;
	snprintf(name, sizeof(name), "%.*s", (int)request->name_length, request->name);
	if (strcmp(name, ".") == 0 || (strcmp(name, "..") == 0 && is_root(call)))
		return give(call, &call->node);
	if (strcmp(name, "..") == 0)
		result = host_parent(call->fs, &call->node, &found);
	else
		result = host_child(call->fs, &call->node, name, &found);
	if (result)
		return result;
	result = give(call, &found);
	host_node_close(&found);
	return result;
}

static int op_lookup_parent(struct call *call)
{
	struct host_node found;
	int result = need_directory(call, VFS_EXECUTE);

	if (result == 0 && is_root(call))
		result = -ENOENT;
	if (result == 0)
		result = host_parent(call->fs, &call->node, &found);
	if (result)
		return result;
	result = give(call, &found);
	host_node_close(&found);
	return result;
}

/* ---- listing */

/* 1: it is in the list. 0: it is not to be: it has gone, or something is mounted on it. */
static int list_one(struct call *call, const struct dirent64 *entry)
{
	struct vfs_request *request = call->request;
	size_t length = strlen(entry->d_name);
	size_t size = (sizeof(struct vfs_dirent) + length + 1 + 7) & ~(size_t)7;
	struct vfs_dirent *made = (void *)((char *)request->data + request->data_length);
	struct host_node child;
	int result;

	if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
		return 0;
	result = host_child(call->fs, &call->node, entry->d_name, &child);
	if (result < 0)
		return result == -ENOENT || result == -ESTALE ? 0 : result;
	host_node_close(&child);
	if (size > request->data_room - request->data_length)
		return -ERANGE;
	if (entry->d_off < 3)
		return -EIO; /* vfs.h has these for itself; no file system of disks uses them */
	memset(made, 0, size);
	made->next = (uint32_t)size;
	made->name_length = (uint16_t)length;
	made->type = (uint8_t)child.attr.type;
	made->cookie = (uint64_t)entry->d_off;
	made->fileid = child.attr.fileid;
	if (request->flags & VFS_WANT_ATTR) {
		made->object = child.object;
		made->attr = child.attr;
	}
	memcpy(made->name, entry->d_name, length);
	request->data_length += (uint32_t)size;
	request->entry_count++;
	return 1;
}

/* One batch of the kernel's. 1: go on. */
static int list_batch(struct call *call)
{
	_Alignas(struct dirent64) char batch[BATCH_BYTES];
	ssize_t length = getdents64(call->node.read_fd, batch, sizeof(batch));
	const struct dirent64 *entry;

	if (length < 0 && errno != ENOENT) /* ENOENT: it was removed, and is held */
		return host_errno(errno);
	if (length <= 0) {
		call->request->eof = true;
		return 0;
	}
	for (ssize_t at = 0; at < length; at += entry->d_reclen) {
		int result;

		entry = (const struct dirent64 *)(const void *)(batch + at);
		result = list_one(call, entry);
		if (result == -ERANGE && call->request->entry_count > 0)
			return 0;
		if (result < 0)
			return result;
	}
	return 1;
}

static int op_readdir(struct call *call)
{
	struct vfs_request *request = call->request;
	int result = need_directory(call, VFS_READ_DATA);

	if (result == 0)
		result = host_readable(call->fs, &call->node);
	if (result)
		return result;
	request->data_length = 0;
	if (request->cookie != VFS_COOKIE_START &&
	    (request->cookie > INT64_MAX ||
	     lseek(call->node.read_fd, (off_t)request->cookie, SEEK_SET) < 0))
		return -EINVAL;
	do
		result = list_batch(call);
	while (result > 0);
	return result;
}

/* ---- the table */

static int (*const table[VFS_OP_COUNT])(struct call *call) = {
    [VFS_GETATTR] = op_getattr,
    [VFS_LOOKUP] = op_lookup,
    [VFS_LOOKUP_PARENT] = op_lookup_parent,
    [VFS_ACCESS] = op_access,
    [VFS_READLINK] = op_readlink,
    [VFS_READ] = op_read,
    [VFS_COMMIT] = op_commit,
    [VFS_READDIR] = op_readdir,
    [VFS_FSSTAT] = op_fsstat,
    [VFS_SEEK] = op_seek,
    [VFS_XATTR_GET] = op_absent,
    [VFS_XATTR_LIST] = op_absent,
    [VFS_ACL_GET] = op_absent,
    [VFS_HOLD] = op_hold,
};

int host_run(struct host_fs *fs, struct vfs_request *request)
{
	struct call call = {.fs = fs, .request = request};
	int result;

	if (request->op == VFS_RELEASE) /* it may have gone meanwhile */
		return host_release(fs, &request->object);
	if (!table[request->op])
		return -EROFS;
	result = host_find(fs, &request->object, &call.node);
	if (result)
		return result;
	result = table[request->op](&call);
	request->after[0] = call.node.attr;
	host_node_close(&call.node);
	return result;
}
