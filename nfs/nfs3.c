/* SPDX-License-Identifier: Apache-2.0 */
/* nfs3.c: what the procedures of NFS version 3 have in common (RFC 1813 2.5, 2.6). */
#include "nfs/nfs3.h"

#include <errno.h>

static const struct {
	int error;
	enum nfs3_status status;
} statuses[] = {
    {0, NFS3_OK},
    {-EPERM, NFS3ERR_PERM},
    {-ENOENT, NFS3ERR_NOENT},
    {-EIO, NFS3ERR_IO},
    {-EILSEQ, NFS3ERR_IO},
    {-ENXIO, NFS3ERR_NXIO},
    {-EACCES, NFS3ERR_ACCES},
    {-EEXIST, NFS3ERR_EXIST},
    {-EXDEV, NFS3ERR_XDEV},
    {-ENOTDIR, NFS3ERR_NOTDIR},
    {-EISDIR, NFS3ERR_ISDIR},
    {-EINVAL, NFS3ERR_INVAL},
    {-EFBIG, NFS3ERR_FBIG},
    {-ENOSPC, NFS3ERR_NOSPC},
    {-EROFS, NFS3ERR_ROFS},
    {-EMLINK, NFS3ERR_MLINK},
    {-ENAMETOOLONG, NFS3ERR_NAMETOOLONG},
    {-ENOTEMPTY, NFS3ERR_NOTEMPTY},
    {-EDQUOT, NFS3ERR_DQUOT},
    {-ESTALE, NFS3ERR_STALE},
    {-EBADF, NFS3ERR_BADHANDLE},
    {-EAGAIN, NFS3ERR_NOT_SYNC},
    {-EBADE, NFS3ERR_BAD_COOKIE},
    {-EOPNOTSUPP, NFS3ERR_NOTSUPP},
    {-ERANGE, NFS3ERR_TOOSMALL},
    {-EBADRQC, NFS3ERR_BADTYPE},
    {-ENOMEM, NFS3ERR_JUKEBOX},
    {-ENOBUFS, NFS3ERR_JUKEBOX},
    {-ECANCELED, NFS3ERR_JUKEBOX},
    {-EINPROGRESS, NFS3ERR_JUKEBOX}, /* delegated, and being called back */
};

enum nfs3_status nfs3_status_of(int result)
{
	for (unsigned i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++)
		if (statuses[i].error == result)
			return statuses[i].status;
	return NFS3ERR_SERVERFAULT;
}

struct nfs3_handle nfs3_get_handle(struct xdr_in *in)
{
	struct nfs3_handle handle;

	handle.bytes = xdr_get_opaque(in, NFS3_HANDLE_MAX, &handle.length);
	return handle;
}

void nfs3_get_name(struct xdr_in *in, const char **ret_name, unsigned *ret_length)
{
	uint32_t length;

	*ret_name = (const char *)xdr_get_opaque(in, NFS3_NAME_ROOM, &length);
	*ret_length = length;
}

static int64_t get_time(struct xdr_in *in)
{
	int64_t seconds = xdr_get_u32(in), nanoseconds = xdr_get_u32(in);

	return seconds * 1000000000 + (nanoseconds < 1000000000 ? nanoseconds : 999999999);
}

static void get_set_time(struct xdr_in *in, struct vfs_set *set, unsigned given, unsigned now,
			 int64_t *time)
{
	switch (xdr_get_u32(in)) {
	case 0:
		break;
	case 1:
		set->mask |= now;
		break;
	case 2:
		set->mask |= given;
		*time = get_time(in);
		break;
	default:
		in->bad = true;
	}
}

void nfs3_get_set(struct xdr_in *in, struct vfs_set *ret_set)
{
	*ret_set = (struct vfs_set){0};
	if (xdr_get_bool(in)) {
		ret_set->mask |= VFS_SET_MODE;
		ret_set->mode = xdr_get_u32(in) & 07777;
	}
	if (xdr_get_bool(in)) {
		ret_set->mask |= VFS_SET_UID;
		ret_set->uid = xdr_get_u32(in);
	}
	if (xdr_get_bool(in)) {
		ret_set->mask |= VFS_SET_GID;
		ret_set->gid = xdr_get_u32(in);
	}
	if (xdr_get_bool(in)) {
		ret_set->mask |= VFS_SET_SIZE;
		ret_set->size = xdr_get_u64(in);
	}
	get_set_time(in, ret_set, VFS_SET_ATIME, VFS_SET_ATIME_NOW, &ret_set->atime);
	get_set_time(in, ret_set, VFS_SET_MTIME, VFS_SET_MTIME_NOW, &ret_set->mtime);
}

/* ---- attributes */

static void put_time(struct xdr_out *out, int64_t time)
{
	if (time < 0)
		time = 0;
	xdr_put_u32(out, (uint32_t)(time / 1000000000));
	xdr_put_u32(out, (uint32_t)(time % 1000000000));
}

void nfs3_put_attr(struct nfs_call *call, const struct vfs_attr *attr)
{
	static const uint8_t types[] = {
	    [VFS_REGULAR] = 1,      [VFS_DIRECTORY] = 2,
	    [VFS_BLOCK_DEVICE] = 3, [VFS_CHARACTER_DEVICE] = 4,
	    [VFS_SYMLINK] = 5,      [VFS_SOCKET] = 6,
	    [VFS_FIFO] = 7,
	};
	struct xdr_out *out = &call->out;

	xdr_put_u32(out, types[attr->type]);
	xdr_put_u32(out, attr->mode);
	xdr_put_u32(out, attr->links);
	xdr_put_u32(out, attr->uid);
	xdr_put_u32(out, attr->gid);
	xdr_put_u64(out, attr->size);
	xdr_put_u64(out, attr->used);
	xdr_put_u32(out, attr->rdev_major);
	xdr_put_u32(out, attr->rdev_minor);
	xdr_put_u64(out, call->export->id);
	xdr_put_u64(out, attr->fileid);
	put_time(out, attr->atime);
	put_time(out, attr->mtime);
	put_time(out, attr->ctime);
}

void nfs3_put_optional_attr(struct nfs_call *call, const struct vfs_attr *attr)
{
	xdr_put_bool(&call->out, attr->type != VFS_NONE);
	if (attr->type != VFS_NONE)
		nfs3_put_attr(call, attr);
}

void nfs3_put_optional_handle(struct nfs_call *call, const struct vfs_object *object)
{
	struct handle handle;

	xdr_put_bool(&call->out, object->length > 0);
	if (object->length == 0)
		return;
	nfs_call_make_handle(call, object, &handle);
	xdr_put_opaque(&call->out, handle.bytes, handle.length);
}

static void put_wcc(struct nfs_call *call, const struct vfs_attr *before,
		    const struct vfs_attr *after)
{
	xdr_put_bool(&call->out, before->type != VFS_NONE);
	if (before->type != VFS_NONE) {
		xdr_put_u64(&call->out, before->size);
		put_time(&call->out, before->mtime);
		put_time(&call->out, before->ctime);
	}
	nfs3_put_optional_attr(call, after);
}

/* a: post_op_attr of the first object; w, W: wcc_data of the first, the second. */
static const char about[][3] = {
    [NFS3_GETATTR] = "",   [NFS3_SETATTR] = "w",     [NFS3_LOOKUP] = "a", [NFS3_ACCESS] = "a",
    [NFS3_READLINK] = "a", [NFS3_READ] = "a",        [NFS3_WRITE] = "w",  [NFS3_CREATE] = "w",
    [NFS3_MKDIR] = "w",    [NFS3_SYMLINK] = "w",     [NFS3_MKNOD] = "w",  [NFS3_REMOVE] = "w",
    [NFS3_RMDIR] = "w",    [NFS3_RENAME] = "wW",     [NFS3_LINK] = "aW",  [NFS3_READDIR] = "a",
    [NFS3_FSSTAT] = "a",   [NFS3_READDIRPLUS] = "a", [NFS3_FSINFO] = "a", [NFS3_PATHCONF] = "a",
    [NFS3_COMMIT] = "w",
};

void nfs3_put_about(struct nfs_call *call)
{
	const struct vfs_request *vfs = &call->vfs;

	for (const char *what = about[call->rpc.procedure]; *what; what++) {
		if (*what == 'a')
			nfs3_put_optional_attr(call, &vfs->after[0]);
		else if (*what == 'w')
			put_wcc(call, &vfs->before[0], &vfs->after[0]);
		else
			put_wcc(call, &vfs->before[1], &vfs->after[1]);
	}
}

void nfs3_fail(struct nfs_call *call, int result)
{
	enum nfs3_status status = nfs3_status_of(result);

	if (result == -ENOKEY) {
		nfs_call_too_weak(call);
		return;
	}
	/* Nothing was done: when it is asked again, under the same number even, it is done. */
	if (status == NFS3ERR_JUKEBOX)
		nfs_call_forget(call);
	xdr_put_u32(&call->out, status);
	nfs3_put_about(call);
	nfs_call_reply(call);
}

bool nfs3_good(struct nfs_call *call, int result)
{
	if (result < 0) {
		nfs3_fail(call, result);
		return false;
	}
	xdr_put_u32(&call->out, NFS3_OK);
	return true;
}

bool nfs3_enter(struct nfs_call *call, struct nfs3_handle handle, bool changes,
		struct vfs_object *ret_object)
{
	struct nfs_handle_content content;
	int result;

	if (call->in.bad) {
		nfs_call_garbage(call);
		return false;
	}
	result = nfs_call_handle(call, handle.bytes, handle.length, NFS_VERSION_3, &content);
	if (result == 0 && content.kind != NFS_HANDLE_OBJECT)
		result = -EBADF;
	if (result == 0 && changes && call->rule->read_only)
		result = -EROFS;
	if (result < 0) {
		nfs3_fail(call, result);
		return false;
	}
	*ret_object = content.object;
	return true;
}
