/* SPDX-License-Identifier: Apache-2.0 */
/* vfs.c: the half of vfs.h that is the same for every back end: what a request must look like,
 * how it is handed back, reference counts. */
#include "shares/vfs.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "shares/rules.h"

enum needs {
	NEEDS_NAME = 1,       /* one component, not "." or ".." */
	NEEDS_NAME2 = 2,      /* likewise */
	NEEDS_ANY_NAME = 4,   /* "." and ".." too */
	NEEDS_XATTR_NAME = 8, /* any bytes but NUL */
	NEEDS_IOV = 16,
	NEEDS_RANGE = 32, /* offset + length must not wrap */
	CHANGES = 64,
};

/* One row for each operation. */
static const uint8_t needs[VFS_OP_COUNT] = {
    [VFS_SETATTR] = CHANGES,
    [VFS_LOOKUP] = NEEDS_ANY_NAME,
    [VFS_READ] = NEEDS_IOV | NEEDS_RANGE,
    [VFS_WRITE] = NEEDS_IOV | NEEDS_RANGE | CHANGES,
    [VFS_CREATE] = NEEDS_NAME | CHANGES,
    [VFS_REMOVE] = NEEDS_NAME | CHANGES,
    [VFS_RENAME] = NEEDS_NAME | NEEDS_NAME2 | CHANGES,
    [VFS_LINK] = NEEDS_NAME2 | CHANGES,
    [VFS_ALLOCATE] = NEEDS_RANGE | CHANGES,
    [VFS_DEALLOCATE] = NEEDS_RANGE | CHANGES,
    [VFS_CLONE] = NEEDS_RANGE | CHANGES,
    [VFS_XATTR_GET] = NEEDS_XATTR_NAME,
    [VFS_XATTR_SET] = NEEDS_XATTR_NAME | CHANGES,
    [VFS_XATTR_REMOVE] = NEEDS_XATTR_NAME | CHANGES,
    [VFS_ACL_SET] = CHANGES,
};

bool vfs_changes(enum vfs_op op)
{
	return needs[op] & CHANGES;
}

static int check_name(const char *name, unsigned length, bool dots)
{
	if (!name || length == 0)
		return -EINVAL;
	if (length > VFS_NAME_MAX)
		return -ENAMETOOLONG;
	if (memchr(name, 0, length) || memchr(name, '/', length))
		return -EINVAL;
	if (!dots && name[0] == '.' && (length == 1 || (length == 2 && name[1] == '.')))
		return -EINVAL;
	return 0;
}

static int check_xattr_name(const char *name, unsigned length)
{
	if (!name || length == 0 || memchr(name, 0, length))
		return -EINVAL;
	return length > VFS_NAME_MAX ? -ENAMETOOLONG : 0;
}

static int check_iov(const struct vfs_request *request)
{
	uint64_t total = 0;

	for (unsigned i = 0; i < request->iov_count; i++) {
		if (request->iov[i].iov_len > VFS_TRANSFER_MAX)
			return -EINVAL;
		total += request->iov[i].iov_len;
	}
	return total == request->length && total <= VFS_TRANSFER_MAX ? 0 : -EINVAL;
}

/* A file keeps within file_max; a READ may ask for more, and gets the end of the file. */
static int check_range(const struct vfs *vfs, const struct vfs_request *request)
{
	bool wraps = request->length > UINT64_MAX - request->offset;

	if (request->op == VFS_READ)
		return 0;
	if (request->op == VFS_CLONE) {
		if (request->offset % VFS_BLOCK || request->offset2 % VFS_BLOCK || wraps)
			return -EINVAL;
		return request->offset2 > vfs->file_max ||
			       request->length > vfs->file_max - request->offset2
			   ? -EFBIG
			   : 0;
	}
	if (request->op != VFS_WRITE && (request->length == 0 || wraps))
		return -EINVAL;
	if (request->op == VFS_DEALLOCATE)
		return 0;
	return wraps || (request->length && request->offset + request->length > vfs->file_max)
		   ? -EFBIG
		   : 0;
}

int vfs_clone_check(const struct vfs_request *request, uint64_t size, uint64_t *ret_length)
{
	uint64_t offset = request->offset, offset2 = request->offset2, length = request->length;

	if (offset > size || length > size - offset)
		return -EINVAL;
	if (length == 0)
		length = size - offset;
	if (length % VFS_BLOCK && offset + length != size)
		return -EINVAL;
	if (length > VFS_FILE_MAX - offset2)
		return -EFBIG;
	if (vfs_object_equal(&request->object, &request->object2) && offset < offset2 + length &&
	    offset2 < offset + length)
		return -EINVAL;
	*ret_length = length;
	return 0;
}

static int check_create(const struct vfs_request *request)
{
	if (request->type == VFS_NONE || request->type > VFS_SOCKET)
		return -EINVAL;
	if (request->type != VFS_REGULAR && request->create_how != VFS_CREATE_GUARDED)
		return -EINVAL;
	if (request->type != VFS_SYMLINK)
		return 0;
	if (request->data_length == 0 || memchr(request->data, 0, request->data_length))
		return -EINVAL;
	return request->data_length > VFS_SYMLINK_MAX ? -ENAMETOOLONG : 0;
}

static bool has_long_acl(const struct vfs_request *request)
{
	return request->set.mask & VFS_SET_ACL && request->ace_count > VFS_ACES_MAX;
}

static bool is_too_large(const struct vfs *vfs, const struct vfs_request *request)
{
	return request->set.mask & VFS_SET_SIZE && request->set.size > vfs->file_max;
}

static int check_rest(const struct vfs *vfs, const struct vfs_request *request)
{
	switch (request->op) {
	case VFS_CREATE:
		if (is_too_large(vfs, request))
			return -EFBIG;
		return has_long_acl(request) ? -E2BIG : check_create(request);
	case VFS_SETATTR:
		if (is_too_large(vfs, request))
			return -EFBIG;
		return has_long_acl(request) ? -E2BIG : 0;
	case VFS_READDIR:
		return (uintptr_t)request->data % 8 ? -EINVAL : 0;
	case VFS_XATTR_SET:
		return request->data_length > VFS_XATTR_MAX ? -E2BIG : 0;
	case VFS_ACL_SET:
		return request->ace_count > VFS_ACES_MAX ? -E2BIG : 0;
	default:
		return 0;
	}
}

static int check(const struct vfs *vfs, const struct vfs_request *request)
{
	unsigned need;
	int result = 0;

	if ((unsigned)request->op >= VFS_OP_COUNT || !request->credentials)
		return -EINVAL;
	need = needs[request->op];
	if (need & (NEEDS_NAME | NEEDS_ANY_NAME))
		result = check_name(request->name, request->name_length, need & NEEDS_ANY_NAME);
	if (!result && need & NEEDS_NAME2)
		result = check_name(request->name2, request->name2_length, false);
	if (!result && need & NEEDS_XATTR_NAME)
		result = check_xattr_name(request->name, request->name_length);
	if (!result && need & NEEDS_IOV)
		result = check_iov(request);
	if (!result && need & NEEDS_RANGE)
		result = check_range(vfs, request);
	if (!result)
		result = check_rest(vfs, request);
	if (!result && need & CHANGES && vfs->read_only)
		result = -EROFS;
	return result;
}

static void finished(struct deferred *deferred)
{
	struct vfs_request *request = container_of(deferred, struct vfs_request, deferred);

	/* Before done(): what that lets go of may be the last thing that keeps the vfs from being
	 * closed, and whoever closes it does not know of this one. */
	vfs_unref(request->vfs);
	request->done(request, request->result);
}

void vfs_finish(struct vfs_request *request, int result)
{
	request->result = result;
	deferred_init(&request->deferred, finished);
	loop_defer(request->loop, &request->deferred);
}

void vfs_submit(struct vfs *vfs, struct vfs_request *request)
{
	int result;

	request->vfs = vfs_ref(vfs); /* a request keeps its vfs until done() */
	request->loop = loop_current();
	assert(request->loop);
	list_init(&request->link);
	request->backend = NULL;
	for (unsigned i = 0; i < 2; i++)
		request->before[i].type = request->after[i].type = VFS_NONE;
	request->result_attr.type = VFS_NONE;
	request->result_object.length = request->moved_object.length = 0;
	request->count = request->entry_count = 0;
	request->eof = request->created = false;
	result = check(vfs, request);
	if (result)
		vfs_finish(request, result);
	else
		vfs->ops->submit(vfs, request);
}

void vfs_cancel(struct vfs_request *request)
{
	if (request->vfs->ops->cancel)
		request->vfs->ops->cancel(request->vfs, request);
}

uint64_t vfs_verifier(const struct vfs *vfs)
{
	return __atomic_load_n(&vfs->verifier, __ATOMIC_ACQUIRE);
}

struct vfs *vfs_ref(struct vfs *vfs)
{
	__atomic_fetch_add(&vfs->refs, 1, __ATOMIC_RELAXED);
	return vfs;
}

void vfs_unref(struct vfs *vfs)
{
	if (vfs && __atomic_fetch_sub(&vfs->refs, 1, __ATOMIC_ACQ_REL) == 1)
		vfs->ops->release(vfs);
}

unsigned vfs_mode_aces(const struct vfs_attr *attr, struct vfs_ace *ret_aces)
{
	return rules_aces_from_mode(attr->mode, attr->type == VFS_DIRECTORY, ret_aces);
}
