/* SPDX-License-Identifier: Apache-2.0 */
/* nfs3_ops.c: the procedures of NFS version 3 (RFC 1813 3.3), but for reading directories. Each
 * decodes all its arguments, enters the export, submits one request and encodes its results. */
#include <errno.h>
#include <string.h>

#include "nfs/nfs3.h"

#define ACCESS_READ    0x01u
#define ACCESS_LOOKUP  0x02u
#define ACCESS_MODIFY  0x04u
#define ACCESS_EXTEND  0x08u
#define ACCESS_DELETE  0x10u
#define ACCESS_EXECUTE 0x20u

static void null(struct nfs_call *call)
{
	nfs_call_reply(call);
}

static void submit(struct nfs_call *call, enum vfs_op op,
		   void (*done)(struct nfs_call *call, int result))
{
	call->vfs.op = op;
	nfs_call_vfs(call, call->export->vfs, done);
}

/* Results that are nothing but the status and what is known about the objects. */
static void plain_done(struct nfs_call *call, int result)
{
	if (nfs3_good(call, result)) {
		nfs3_put_about(call);
		nfs_call_reply(call);
	}
}

/* ---- attributes */

static void getattr_done(struct nfs_call *call, int result)
{
	if (nfs3_good(call, result)) {
		nfs3_put_attr(call, &call->vfs.after[0]);
		nfs_call_reply(call);
	}
}

static void getattr(struct nfs_call *call)
{
	struct nfs3_handle handle = nfs3_get_handle(&call->in);

	if (nfs3_enter(call, handle, false, &call->vfs.object))
		submit(call, VFS_GETATTR, getattr_done);
}

static void setattr(struct nfs_call *call)
{
	struct nfs3_handle handle = nfs3_get_handle(&call->in);
	int64_t seconds, nanoseconds;

	nfs3_get_set(&call->in, &call->vfs.set);
	if (xdr_get_bool(&call->in)) {
		seconds = xdr_get_u32(&call->in);
		nanoseconds = xdr_get_u32(&call->in);
		call->vfs.guard = seconds * 1000000000 + nanoseconds;
		call->vfs.flags |= VFS_GUARD_CTIME;
	}
	if (call->vfs.set.mask & VFS_SET_SIZE)
		call->vfs.flags |= VFS_OWNER_OVERRIDE;
	if (nfs3_enter(call, handle, true, &call->vfs.object))
		submit(call, VFS_SETATTR, plain_done);
}

static const struct {
	uint32_t wire, right, directory_right;
} accesses[] = {
    {ACCESS_READ, VFS_READ_DATA, VFS_READ_DATA},
    {ACCESS_LOOKUP, 0, VFS_EXECUTE},
    {ACCESS_MODIFY, VFS_WRITE_DATA, VFS_WRITE_DATA},
    {ACCESS_EXTEND, VFS_APPEND_DATA, VFS_APPEND_DATA},
    {ACCESS_DELETE, 0, VFS_DELETE_CHILD},
    {ACCESS_EXECUTE, VFS_EXECUTE, 0},
};
#define ACCESS_COUNT (sizeof(accesses) / sizeof(accesses[0]))
#define CHANGING     (ACCESS_MODIFY | ACCESS_EXTEND | ACCESS_DELETE)

static void access_done(struct nfs_call *call, int result)
{
	bool directory = call->vfs.after[0].type == VFS_DIRECTORY;
	uint32_t granted = 0;

	if (!nfs3_good(call, result))
		return;
	for (unsigned i = 0; i < ACCESS_COUNT; i++) {
		uint32_t right = directory ? accesses[i].directory_right : accesses[i].right;

		if (right && (call->vfs.rights & right) == right)
			granted |= accesses[i].wire;
	}
	if (call->rule->read_only)
		granted &= ~CHANGING;
	nfs3_put_about(call);
	xdr_put_u32(&call->out, granted & (uint32_t)call->argument[0]);
	nfs_call_reply(call);
}

static void access_check(struct nfs_call *call)
{
	struct nfs3_handle handle = nfs3_get_handle(&call->in);

	call->argument[0] = xdr_get_u32(&call->in);
	if (!nfs3_enter(call, handle, false, &call->vfs.object))
		return;
	for (unsigned i = 0; i < ACCESS_COUNT; i++)
		if (call->argument[0] & accesses[i].wire)
			call->vfs.rights |= accesses[i].right | accesses[i].directory_right;
	submit(call, VFS_ACCESS, access_done);
}

/* ---- names */

static void lookup_done(struct nfs_call *call, int result)
{
	struct handle handle;

	if (!nfs3_good(call, result))
		return;
	nfs_call_make_handle(call, &call->vfs.result_object, &handle);
	xdr_put_opaque(&call->out, handle.bytes, handle.length);
	nfs3_put_optional_attr(call, &call->vfs.result_attr);
	nfs3_put_about(call);
	nfs_call_reply(call);
}

static void lookup(struct nfs_call *call)
{
	struct nfs3_handle handle = nfs3_get_handle(&call->in);

	nfs3_get_name(&call->in, &call->vfs.name, &call->vfs.name_length);
	if (nfs3_enter(call, handle, false, &call->vfs.object))
		submit(call, VFS_LOOKUP, lookup_done);
}

static void readlink_done(struct nfs_call *call, int result)
{
	if (!nfs3_good(call, result))
		return;
	nfs3_put_about(call);
	xdr_put_opaque(&call->out, call->vfs.data, call->vfs.data_length);
	nfs_call_reply(call);
}

static void read_link(struct nfs_call *call)
{
	struct nfs3_handle handle = nfs3_get_handle(&call->in);

	if (!nfs3_enter(call, handle, false, &call->vfs.object))
		return;
	call->vfs.data = nfs_call_scratch(call, VFS_SYMLINK_MAX);
	call->vfs.data_room = VFS_SYMLINK_MAX;
	if (call->vfs.data)
		submit(call, VFS_READLINK, readlink_done);
	else
		nfs3_fail(call, -ENOBUFS);
}

/* ---- data */

static void read_done(struct nfs_call *call, int result)
{
	struct buf *data = (struct buf *)(uintptr_t)call->argument[2];

	if (!nfs3_good(call, result)) {
		buf_unref(data);
		return;
	}
	nfs3_put_about(call);
	xdr_put_u32(&call->out, call->vfs.count);
	xdr_put_bool(&call->out, call->vfs.eof);
	nfs_call_put_data(call, data, call->vfs.count);
	nfs_call_reply(call);
}

static void read_file(struct nfs_call *call)
{
	struct nfs3_handle handle = nfs3_get_handle(&call->in);
	struct iovec *iov = &call->iov;
	struct buf *data;
	uint32_t count;

	call->vfs.offset = xdr_get_u64(&call->in);
	count = xdr_get_u32(&call->in);
	if (!nfs3_enter(call, handle, false, &call->vfs.object))
		return;
	count = count < NFS_TRANSFER_MAX ? count : NFS_TRANSFER_MAX;
	data = buf_get(loop_buffers(call->conn->io->loop), count ? count : 1);
	if (!data) {
		nfs3_fail(call, -ENOBUFS);
		return;
	}
	nfs_conn_charge(call->conn, call, data->size);
	call->argument[2] = (uintptr_t)data;
	*iov = (struct iovec){data->data, count};
	call->vfs.iov = iov;
	call->vfs.iov_count = 1;
	call->vfs.length = count;
	call->vfs.flags = VFS_OWNER_OVERRIDE;
	submit(call, VFS_READ, read_done);
}

static void write_done(struct nfs_call *call, int result)
{
	if (!nfs3_good(call, result))
		return;
	nfs3_put_about(call);
	call->moved = call->vfs.count;
	xdr_put_u32(&call->out, call->vfs.count);
	xdr_put_u32(&call->out, call->vfs.stable);
	xdr_put_u64(&call->out, call->argument[2]); /* as it was before: see vfs_verifier() */
	nfs_call_reply(call);
}

static void write_file(struct nfs_call *call)
{
	struct nfs3_handle handle = nfs3_get_handle(&call->in);
	struct iovec *iov = &call->iov;
	const uint8_t *data;
	uint32_t count, stable, length;

	call->vfs.offset = xdr_get_u64(&call->in);
	count = xdr_get_u32(&call->in);
	stable = xdr_get_u32(&call->in);
	data = xdr_get_payload(&call->in, NFS_TRANSFER_MAX, &length);
	if (stable > VFS_FILE_SYNC)
		call->in.bad = true;
	if (!nfs3_enter(call, handle, true, &call->vfs.object))
		return;
	if (count != length) {
		nfs3_fail(call, -EINVAL);
		return;
	}
	*iov = (struct iovec){(void *)(uintptr_t)data, length};
	call->vfs.iov = iov;
	call->vfs.iov_count = 1;
	call->vfs.length = length;
	call->vfs.stable = stable;
	call->vfs.flags = VFS_OWNER_OVERRIDE;
	call->argument[2] = vfs_verifier(call->export->vfs);
	submit(call, VFS_WRITE, write_done);
}

static void commit_done(struct nfs_call *call, int result)
{
	if (!nfs3_good(call, result))
		return;
	nfs3_put_about(call);
	xdr_put_u64(&call->out, vfs_verifier(call->export->vfs));
	nfs_call_reply(call);
}

static void commit(struct nfs_call *call)
{
	struct nfs3_handle handle = nfs3_get_handle(&call->in);

	call->vfs.offset = xdr_get_u64(&call->in);
	call->vfs.length = xdr_get_u32(&call->in);
	call->vfs.flags = VFS_OWNER_OVERRIDE;
	if (nfs3_enter(call, handle, true, &call->vfs.object))
		submit(call, VFS_COMMIT, commit_done);
}

/* ---- making and removing */

static bool is_dots(const char *name, unsigned length)
{
	return length >= 1 && length <= 2 && name[0] == '.' && name[length - 1] == '.';
}

static void create_done(struct nfs_call *call, int result)
{
	if (!nfs3_good(call, result))
		return;
	nfs3_put_optional_handle(call, &call->vfs.result_object);
	nfs3_put_optional_attr(call, &call->vfs.result_attr);
	nfs3_put_about(call);
	nfs_call_reply(call);
}

static void create_object(struct nfs_call *call, struct nfs3_handle handle)
{
	struct vfs_set *set = &call->vfs.set;

	if (!nfs3_enter(call, handle, true, &call->vfs.object))
		return;
	if (is_dots(call->vfs.name, call->vfs.name_length)) {
		nfs3_fail(call, -EEXIST);
		return;
	}
	/* What the client does not set is the asker's. */
	if (!(set->mask & VFS_SET_MODE) && call->vfs.create_how != VFS_CREATE_EXCLUSIVE) {
		set->mask |= VFS_SET_MODE;
		set->mode = call->vfs.type == VFS_DIRECTORY ? 0755 : 0644;
	}
	submit(call, VFS_CREATE, create_done);
}

static void create(struct nfs_call *call)
{
	static const enum vfs_create_how hows[] = {VFS_CREATE_UNCHECKED, VFS_CREATE_GUARDED,
						   VFS_CREATE_EXCLUSIVE};
	struct nfs3_handle handle = nfs3_get_handle(&call->in);
	uint32_t how;

	nfs3_get_name(&call->in, &call->vfs.name, &call->vfs.name_length);
	how = xdr_get_u32(&call->in);
	if (how > 2) {
		nfs_call_garbage(call);
		return;
	}
	call->vfs.type = VFS_REGULAR;
	call->vfs.create_how = hows[how];
	if (hows[how] == VFS_CREATE_EXCLUSIVE)
		call->vfs.verifier = xdr_get_u64(&call->in);
	else
		nfs3_get_set(&call->in, &call->vfs.set);
	create_object(call, handle);
}

static void mkdir_object(struct nfs_call *call)
{
	struct nfs3_handle handle = nfs3_get_handle(&call->in);

	nfs3_get_name(&call->in, &call->vfs.name, &call->vfs.name_length);
	nfs3_get_set(&call->in, &call->vfs.set);
	call->vfs.type = VFS_DIRECTORY;
	call->vfs.create_how = VFS_CREATE_GUARDED;
	create_object(call, handle);
}

static void symlink_object(struct nfs_call *call)
{
	struct nfs3_handle handle = nfs3_get_handle(&call->in);

	nfs3_get_name(&call->in, &call->vfs.name, &call->vfs.name_length);
	nfs3_get_set(&call->in, &call->vfs.set);
	call->vfs.data =
	    (void *)(uintptr_t)xdr_get_opaque(&call->in, 2 * NFS3_PATH_MAX, &call->vfs.data_length);
	call->vfs.type = VFS_SYMLINK;
	call->vfs.create_how = VFS_CREATE_GUARDED;
	if (!(call->vfs.set.mask & VFS_SET_MODE)) {
		call->vfs.set.mask |= VFS_SET_MODE;
		call->vfs.set.mode = 0777;
	}
	create_object(call, handle);
}

static enum vfs_type node_type(uint32_t wire)
{
	static const enum vfs_type types[] = {
	    [3] = VFS_BLOCK_DEVICE, [4] = VFS_CHARACTER_DEVICE, [6] = VFS_SOCKET, [7] = VFS_FIFO};

	return wire < sizeof(types) / sizeof(types[0]) ? types[wire] : VFS_NONE;
}

static void mknod_object(struct nfs_call *call)
{
	struct nfs3_handle handle = nfs3_get_handle(&call->in);
	uint32_t wire;

	nfs3_get_name(&call->in, &call->vfs.name, &call->vfs.name_length);
	wire = xdr_get_u32(&call->in);
	call->vfs.type = node_type(wire);
	call->vfs.create_how = VFS_CREATE_GUARDED;
	if (wire < 1 || wire > 7) {
		nfs_call_garbage(call);
		return;
	}
	if (call->vfs.type != VFS_NONE)
		nfs3_get_set(&call->in, &call->vfs.set);
	if (call->vfs.type == VFS_BLOCK_DEVICE || call->vfs.type == VFS_CHARACTER_DEVICE) {
		call->vfs.rdev_major = xdr_get_u32(&call->in);
		call->vfs.rdev_minor = xdr_get_u32(&call->in);
	}
	if (call->vfs.type != VFS_NONE)
		create_object(call, handle);
	else if (nfs3_enter(call, handle, true, &call->vfs.object))
		nfs3_fail(call, -EBADRQC);
}

static void remove_file(struct nfs_call *call)
{
	struct nfs3_handle handle = nfs3_get_handle(&call->in);

	nfs3_get_name(&call->in, &call->vfs.name, &call->vfs.name_length);
	call->vfs.remove_kind = VFS_REMOVE_FILE;
	if (nfs3_enter(call, handle, true, &call->vfs.object))
		submit(call, VFS_REMOVE, plain_done);
}

static void rmdir_object(struct nfs_call *call)
{
	struct nfs3_handle handle = nfs3_get_handle(&call->in);

	nfs3_get_name(&call->in, &call->vfs.name, &call->vfs.name_length);
	call->vfs.remove_kind = VFS_REMOVE_DIRECTORY;
	if (!nfs3_enter(call, handle, true, &call->vfs.object))
		return;
	if (call->vfs.name_length == 2 && is_dots(call->vfs.name, 2))
		nfs3_fail(call, -EEXIST); /* RFC 1813 3.3.13 */
	else
		submit(call, VFS_REMOVE, plain_done);
}

/* The second object must be of the same export. */
static bool enter_second(struct nfs_call *call, struct nfs3_handle handle)
{
	const struct nfs_export *first = call->export;

	if (!nfs3_enter(call, handle, true, &call->vfs.object2))
		return false;
	if (call->export == first)
		return true;
	nfs3_fail(call, -EXDEV);
	return false;
}

static void rename_object(struct nfs_call *call)
{
	struct nfs3_handle from = nfs3_get_handle(&call->in), to;

	nfs3_get_name(&call->in, &call->vfs.name, &call->vfs.name_length);
	to = nfs3_get_handle(&call->in);
	nfs3_get_name(&call->in, &call->vfs.name2, &call->vfs.name2_length);
	if (nfs3_enter(call, from, true, &call->vfs.object) && enter_second(call, to))
		submit(call, VFS_RENAME, plain_done);
}

static void link_object(struct nfs_call *call)
{
	struct nfs3_handle file = nfs3_get_handle(&call->in);
	struct nfs3_handle directory = nfs3_get_handle(&call->in);

	nfs3_get_name(&call->in, &call->vfs.name2, &call->vfs.name2_length);
	if (nfs3_enter(call, file, true, &call->vfs.object) && enter_second(call, directory))
		submit(call, VFS_LINK, plain_done);
}

/* ---- the file system */

static void fsstat_done(struct nfs_call *call, int result)
{
	const struct vfs_fsstat *stat = &call->vfs.fsstat;

	if (!nfs3_good(call, result))
		return;
	nfs3_put_about(call);
	xdr_put_u64(&call->out, stat->total_bytes);
	xdr_put_u64(&call->out, stat->free_bytes);
	xdr_put_u64(&call->out, stat->available_bytes);
	xdr_put_u64(&call->out, stat->total_files);
	xdr_put_u64(&call->out, stat->free_files);
	xdr_put_u64(&call->out, stat->available_files);
	xdr_put_u32(&call->out, 0);
	nfs_call_reply(call);
}

static void fsstat(struct nfs_call *call)
{
	struct nfs3_handle handle = nfs3_get_handle(&call->in);

	if (nfs3_enter(call, handle, false, &call->vfs.object))
		submit(call, VFS_FSSTAT, fsstat_done);
}

#define FSF_LINK        0x01u
#define FSF_SYMLINK     0x02u
#define FSF_HOMOGENEOUS 0x08u
#define FSF_CANSETTIME  0x10u

static void fsinfo_done(struct nfs_call *call, int result)
{
	const struct vfs *vfs;

	if (!nfs3_good(call, result))
		return;
	vfs = call->export->vfs;
	nfs3_put_about(call);
	for (unsigned i = 0; i < 2; i++) { /* READ, WRITE: most, best, multiple */
		xdr_put_u32(&call->out, NFS_TRANSFER_MAX);
		xdr_put_u32(&call->out, NFS_TRANSFER_MAX);
		xdr_put_u32(&call->out, VFS_BLOCK);
	}
	xdr_put_u32(&call->out, 64u << 10); /* READDIR, best */
	xdr_put_u64(&call->out, vfs->file_max);
	xdr_put_u32(&call->out, 0); /* times are exact to 1 ns */
	xdr_put_u32(&call->out, 1);
	xdr_put_u32(&call->out, (vfs->can & VFS_CAN_LINK ? FSF_LINK : 0) |
				    (vfs->can & VFS_CAN_SYMLINK ? FSF_SYMLINK : 0) |
				    FSF_HOMOGENEOUS | FSF_CANSETTIME);
	nfs_call_reply(call);
}

static void fsinfo(struct nfs_call *call)
{
	struct nfs3_handle handle = nfs3_get_handle(&call->in);

	if (nfs3_enter(call, handle, false, &call->vfs.object))
		submit(call, VFS_GETATTR, fsinfo_done);
}

static void pathconf_done(struct nfs_call *call, int result)
{
	if (!nfs3_good(call, result))
		return;
	nfs3_put_about(call);
	xdr_put_u32(&call->out, call->export->vfs->link_max);
	xdr_put_u32(&call->out, VFS_NAME_MAX);
	xdr_put_bool(&call->out, true);  /* too long a name is refused */
	xdr_put_bool(&call->out, true);  /* only the superuser gives files away */
	xdr_put_bool(&call->out, false); /* case matters */
	xdr_put_bool(&call->out, true);  /* and is kept */
	nfs_call_reply(call);
}

static void pathconf_values(struct nfs_call *call)
{
	struct nfs3_handle handle = nfs3_get_handle(&call->in);

	if (nfs3_enter(call, handle, false, &call->vfs.object))
		submit(call, VFS_GETATTR, pathconf_done);
}

static const struct nfs_procedure procedures[] = {
    [NFS3_NULL] = {"NULL", null, 0},
    [NFS3_GETATTR] = {"GETATTR", getattr, 0},
    [NFS3_SETATTR] = {"SETATTR", setattr, NFS_CACHE_REPLY},
    [NFS3_LOOKUP] = {"LOOKUP", lookup, 0},
    [NFS3_ACCESS] = {"ACCESS", access_check, 0},
    [NFS3_READLINK] = {"READLINK", read_link, 0},
    [NFS3_READ] = {"READ", read_file, 0},
    [NFS3_WRITE] = {"WRITE", write_file, 0},
    [NFS3_CREATE] = {"CREATE", create, NFS_CACHE_REPLY},
    [NFS3_MKDIR] = {"MKDIR", mkdir_object, NFS_CACHE_REPLY},
    [NFS3_SYMLINK] = {"SYMLINK", symlink_object, NFS_CACHE_REPLY},
    [NFS3_MKNOD] = {"MKNOD", mknod_object, NFS_CACHE_REPLY},
    [NFS3_REMOVE] = {"REMOVE", remove_file, NFS_CACHE_REPLY},
    [NFS3_RMDIR] = {"RMDIR", rmdir_object, NFS_CACHE_REPLY},
    [NFS3_RENAME] = {"RENAME", rename_object, NFS_CACHE_REPLY},
    [NFS3_LINK] = {"LINK", link_object, NFS_CACHE_REPLY},
    [NFS3_READDIR] = {"READDIR", nfs3_readdir, 0},
    [NFS3_READDIRPLUS] = {"READDIRPLUS", nfs3_readdirplus, 0},
    [NFS3_FSSTAT] = {"FSSTAT", fsstat, 0},
    [NFS3_FSINFO] = {"FSINFO", fsinfo, 0},
    [NFS3_PATHCONF] = {"PATHCONF", pathconf_values, 0},
    [NFS3_COMMIT] = {"COMMIT", commit, 0},
};

const struct nfs_program nfs_nfs3 = {
    RPC_NFS, 3, procedures, sizeof(procedures) / sizeof(procedures[0]), "nfs", NFS_PORT_NFS,
};
