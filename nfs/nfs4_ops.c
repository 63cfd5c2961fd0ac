/* SPDX-License-Identifier: Apache-2.0 */
/* nfs4_ops.c: operations on filehandles, names, attributes and data (RFC 8881 18). */
#include <errno.h>
#include <string.h>

#include "nfs/nfs4.h"

enum { OP_VERIFY = 37 };

/* ---- filehandles */

static int putrootfh(struct nfs_call *call)
{
	memset(&call->compound.current, 0, sizeof(call->compound.current));
	call->compound.current.set = call->compound.current.pseudo = true;
	return NFS4_OK;
}

static int putfh(struct nfs_call *call)
{
	struct nfs_handle_content content;
	uint32_t length;
	const uint8_t *handle = xdr_get_opaque(&call->in, 128, &length);
	int result;

	if (call->in.bad)
		return NFS4ERR_BADXDR;
	result = nfs_call_handle(call, handle, length, nfs4_version(call), &content);
	if (result < 0)
		return nfs4_status_of(result);
	if (content.kind == NFS_HANDLE_PSEUDO_ROOT)
		return putrootfh(call);
	nfs4_set_object(call, &content.object);
	return NFS4_OK;
}

static int getfh(struct nfs_call *call)
{
	const struct nfs4_place *current = &call->compound.current;
	struct handle handle;

	if (!current->set)
		return NFS4ERR_NOFILEHANDLE;
	if (current->pseudo) {
		xdr_put_opaque(&call->out, NFS_PSEUDO_ROOT_HANDLE, NFS_PSEUDO_ROOT_LENGTH);
		return NFS4_OK;
	}
	nfs_call_make_handle(call, &current->object, &handle);
	xdr_put_opaque(&call->out, handle.bytes, handle.length);
	return NFS4_OK;
}

static int savefh(struct nfs_call *call)
{
	if (!call->compound.current.set)
		return NFS4ERR_NOFILEHANDLE;
	call->compound.saved = call->compound.current;
	return NFS4_OK;
}

/* Back to who the client is on that export. */
static int restorefh(struct nfs_call *call)
{
	const struct nfs4_place *saved = &call->compound.saved;
	int result = 0;

	if (!saved->set)
		return NFS4ERR_RESTOREFH;
	if (!saved->pseudo)
		result = nfs_call_enter(call, saved->export, nfs4_version(call));
	if (result == 0)
		call->compound.current = *saved;
	return nfs4_status_of(result);
}

/* ---- names */

static void looked_up(struct nfs_call *call, int result)
{
	if (result == 0)
		nfs4_set_object(call, &call->vfs.result_object);
	else if (result == -ENOTDIR && call->vfs.after[0].type == VFS_SYMLINK) {
		nfs4_done(call, NFS4ERR_SYMLINK);
		return;
	}
	nfs4_done(call, nfs4_status_of(result));
}

/* What is no directory has no parent; v4.1 tells a symlink from the rest (RFC 8881 15.1.2.8). */
static void parent_found(struct nfs_call *call, int result)
{
	if (result == 0)
		nfs4_set_object(call, &call->vfs.result_object);
	else if (result == -ENOTDIR && call->compound.minor &&
		 call->vfs.after[0].type == VFS_SYMLINK) {
		nfs4_done(call, NFS4ERR_SYMLINK);
		return;
	}
	nfs4_done(call, nfs4_status_of(result));
}

/* From the root above into an export. */
static int enter_export(struct nfs_call *call, const char *name, unsigned length)
{
	for (unsigned i = 0; i < call->table->count; i++) {
		const struct nfs_export *export = &call->table->exports[i];
		int result;

		if (strlen(export->path + 1) != length ||
		    memcmp(export->path + 1, name, length) != 0)
			continue;
		result = nfs_call_enter(call, export, nfs4_version(call));
		if (result == 0)
			nfs4_set_object(call, &export->vfs->root);
		return nfs4_status_of(result);
	}
	return NFS4ERR_NOENT;
}

static int lookup(struct nfs_call *call)
{
	const char *name;
	unsigned length;
	int status = nfs4_get_name(call, &name, &length);

	if (status == NFS4_OK)
		status = nfs4_need_object(call, false);
	if (status != NFS4_OK)
		return status;
	if (call->compound.current.pseudo)
		return enter_export(call, name, length);
	call->vfs.name = name;
	call->vfs.name_length = length;
	return nfs4_submit(call, VFS_LOOKUP, looked_up);
}

static bool at_export_root(const struct nfs_call *call)
{
	return vfs_object_equal(&call->compound.current.object, &call->export->vfs->root);
}

static int lookupp(struct nfs_call *call)
{
	int status = nfs4_need_object(call, false);

	if (status != NFS4_OK)
		return status;
	if (call->compound.current.pseudo)
		return NFS4ERR_NOENT;
	if (at_export_root(call))
		return putrootfh(call);
	return nfs4_submit(call, VFS_LOOKUP_PARENT, parent_found);
}

/* Rules are all there is to say about security: AUTH_SYS, and the filehandle is consumed. */
static void put_secinfo(struct nfs_call *call)
{
	memset(&call->compound.current, 0, sizeof(call->compound.current));
	xdr_put_u32(&call->out, 1);
	xdr_put_u32(&call->out, RPC_AUTH_SYS);
}

static void secinfo_done(struct nfs_call *call, int result)
{
	if (result == 0)
		put_secinfo(call);
	nfs4_done(call, nfs4_status_of(result));
}

static int secinfo(struct nfs_call *call)
{
	const char *name;
	unsigned length;
	int status = nfs4_get_name(call, &name, &length);

	if (status == NFS4_OK)
		status = nfs4_need_object(call, false);
	if (status != NFS4_OK)
		return status;
	if (call->compound.current.pseudo) {
		status = enter_export(call, name, length);
		if (status == NFS4_OK)
			put_secinfo(call);
		/* No flavor would do in place of TLS. */
		return status == NFS4ERR_WRONGSEC ? NFS4ERR_ACCESS : status;
	}
	call->vfs.name = name;
	call->vfs.name_length = length;
	return nfs4_submit(call, VFS_LOOKUP, secinfo_done);
}

static int secinfo_no_name(struct nfs_call *call)
{
	uint32_t style = xdr_get_u32(&call->in);

	if (call->in.bad || style > 1)
		return NFS4ERR_BADXDR;
	if (!call->compound.current.set)
		return NFS4ERR_NOFILEHANDLE;
	if (style == 1 && call->compound.current.pseudo)
		return NFS4ERR_NOENT;
	put_secinfo(call);
	return NFS4_OK;
}

/* ---- attributes */

static void take_wanted(struct nfs_call *call, const struct nfs4_bitmap *wanted)
{
	memcpy(call->compound.wanted, wanted->words, sizeof(wanted->words));
}

static struct nfs4_bitmap wanted_of(const struct nfs_call *call)
{
	struct nfs4_bitmap wanted = {0};

	memcpy(wanted.words, call->compound.wanted, sizeof(wanted.words));
	return wanted;
}

/* The ACL comes first; is there more to ask for? Then it is under way. */
static bool goes_on(struct nfs_call *call, const struct nfs4_bitmap *wanted, int result,
		    void (*done)(struct nfs_call *call, int result))
{
	if (result < 0 || call->vfs.op != VFS_ACL_GET || !nfs4_bitmap_wants_fsstat(wanted))
		return false;
	nfs4_submit(call, VFS_FSSTAT, done);
	return true;
}

static int ask_attrs(struct nfs_call *call, const struct nfs4_bitmap *wanted,
		     void (*done)(struct nfs_call *call, int result))
{
	if (nfs4_bitmap_wants_acl(call, wanted))
		return nfs4_submit_acl(call, done);
	return nfs4_submit(call, nfs4_bitmap_wants_fsstat(wanted) ? VFS_FSSTAT : VFS_GETATTR, done);
}

static void getattr_done(struct nfs_call *call, int result)
{
	struct nfs4_bitmap wanted = wanted_of(call);
	bool fsstat = call->vfs.op == VFS_FSSTAT;

	if (goes_on(call, &wanted, result, getattr_done))
		return;
	if (result == 0)
		nfs4_put_attrs(call, &wanted, call->export, &call->compound.current.object,
			       &call->vfs.after[0], fsstat ? &call->vfs.fsstat : NULL);
	nfs4_done(call, nfs4_status_of(result));
}

static int getattr(struct nfs_call *call)
{
	struct nfs4_bitmap wanted;
	struct vfs_attr attr;
	int status;

	nfs4_get_bitmap(&call->in, &wanted);
	status = call->in.bad ? NFS4ERR_BADXDR : nfs4_need_object(call, false);
	if (status == NFS4_OK && nfs4_bitmap_unreadable(&wanted))
		status = NFS4ERR_INVAL;
	if (status != NFS4_OK)
		return status;
	if (call->compound.current.pseudo) {
		nfs4_root_attr(call, &attr);
		nfs4_put_attrs(call, &wanted, NULL, NULL, &attr, NULL);
		return NFS4_OK;
	}
	take_wanted(call, &wanted);
	return ask_attrs(call, &wanted, getattr_done);
}

static void setattr_done(struct nfs_call *call, int result)
{
	struct nfs4_bitmap set = wanted_of(call);

	if (result == 0)
		nfs4_put_bitmap(&call->out, &set);
	nfs4_done(call, call->vfs.set.mask & VFS_SET_SIZE ? nfs4_status_of_file(call, result)
							  : nfs4_status_of(result));
}

static int setattr(struct nfs_call *call)
{
	struct nfs4_stateid stateid = nfs4_get_stateid(&call->in);
	struct nfs4_bitmap bitmap;
	struct vfs_request made = {0};
	struct vfs_set set;
	bool opened = false;
	int status = nfs4_get_set(call, &made, &bitmap);

	if (status == NFS4_OK)
		status = nfs4_need_object(call, true);
	if (status != NFS4_OK)
		return status;
	set = made.set;
	nfs4_use_current(call, &stateid);
	if (set.mask & VFS_SET_SIZE)
		status = nfs4_open_check(call, &stateid, 2, &opened);
	if (status != NFS4_OK)
		return status;
	call->vfs.set = set;
	call->vfs.aces = made.aces;
	call->vfs.ace_count = made.ace_count;
	call->vfs.flags = opened && set.mask == VFS_SET_SIZE ? VFS_OPENED : 0;
	take_wanted(call, &bitmap);
	return nfs4_submit(call, VFS_SETATTR, setattr_done);
}

/* VERIFY, NVERIFY: what GETATTR would say, compared byte by byte. */
static int compare(struct nfs_call *call, const struct nfs_export *export,
		   const struct vfs_attr *attr, const struct vfs_fsstat *fsstat)
{
	struct nfs4_bitmap wanted = wanted_of(call);
	size_t before = xdr_length(&call->out);
	struct nfs4_bitmap answered;
	struct xdr_in ours;
	bool same, supported;

	nfs4_put_attrs(call, &wanted, export, &call->compound.current.object, attr, fsstat);
	xdr_in_init(&ours, call->out.base + before, xdr_length(&call->out) - before);
	nfs4_get_bitmap(&ours, &answered);
	supported = memcmp(answered.words, wanted.words, sizeof(wanted.words)) == 0;
	same = xdr_left(&ours) == call->compound.numbers[0] &&
	       memcmp(ours.at, call->compound.bytes, xdr_left(&ours)) == 0;
	xdr_truncate(&call->out, before);
	if (!supported)
		return NFS4ERR_ATTRNOTSUPP;
	if (call->compound.operation == OP_VERIFY)
		return same ? NFS4_OK : NFS4ERR_NOT_SAME;
	return same ? NFS4ERR_SAME : NFS4_OK;
}

static void verify_done(struct nfs_call *call, int result)
{
	const struct vfs_fsstat *fsstat = call->vfs.op == VFS_FSSTAT ? &call->vfs.fsstat : NULL;
	struct nfs4_bitmap wanted = wanted_of(call);

	if (goes_on(call, &wanted, result, verify_done))
		return;
	nfs4_done(call, result < 0 ? nfs4_status_of(result)
				   : compare(call, call->export, &call->vfs.after[0], fsstat));
}

static int verify(struct nfs_call *call)
{
	struct nfs4_bitmap wanted;
	struct vfs_attr attr;
	uint32_t length;
	int status;

	nfs4_get_bitmap(&call->in, &wanted);
	call->compound.bytes = call->in.at;
	xdr_get_opaque(&call->in, 65536, &length);
	call->compound.numbers[0] = (size_t)(call->in.at - call->compound.bytes);
	status = call->in.bad ? NFS4ERR_BADXDR : nfs4_need_object(call, false);
	if (status != NFS4_OK)
		return status;
	if ((wanted.words[0] & 1u << 11 /* rdattr_error */) || nfs4_bitmap_unreadable(&wanted))
		return NFS4ERR_INVAL;
	if (wanted.other)
		return NFS4ERR_ATTRNOTSUPP;
	take_wanted(call, &wanted);
	if (call->compound.current.pseudo) {
		nfs4_root_attr(call, &attr);
		return compare(call, NULL, &attr, NULL);
	}
	return ask_attrs(call, &wanted, verify_done);
}

static const struct {
	uint32_t wire, right, directory_right;
} accesses[] = {
    {0x01, VFS_READ_DATA, VFS_READ_DATA},
    {0x02, 0, VFS_EXECUTE},
    {0x04, VFS_WRITE_DATA, VFS_WRITE_DATA},
    {0x08, VFS_APPEND_DATA, VFS_APPEND_DATA},
    {0x10, 0, VFS_DELETE_CHILD},
    {0x20, VFS_EXECUTE, 0},
    {0x40, VFS_READ_NAMED, VFS_READ_NAMED}, /* v4.2: extended attributes */
    {0x80, VFS_WRITE_NAMED, VFS_WRITE_NAMED},
    {0x100, VFS_READ_NAMED, VFS_READ_NAMED},
};
#define ACCESS_COUNT   (sizeof(accesses) / sizeof(accesses[0]))
#define ACCESS_WRITES  0x9cu
#define ACCESS_NAMES   0x12u
#define ACCESS_EXECUTE 0x20u

static uint32_t access_all(const struct nfs_call *call)
{
	return call->compound.minor >= 2 ? 0x1ff : 0x3f;
}

/* Looking up and deleting names say nothing of what is no directory, executing nothing of what is
 * one: that is not among what was looked at (RFC 7530 16.1). */
static void put_access(struct nfs_call *call, bool directory, uint32_t granted)
{
	uint32_t asked = (uint32_t)call->compound.numbers[0] & access_all(call);
	uint32_t meaningful = directory ? ~(uint32_t)ACCESS_EXECUTE : ~(uint32_t)ACCESS_NAMES;

	xdr_put_u32(&call->out, asked & meaningful);
	xdr_put_u32(&call->out, granted & asked & meaningful);
}

static void access_done(struct nfs_call *call, int result)
{
	bool directory = call->vfs.after[0].type == VFS_DIRECTORY;
	uint32_t granted = 0;

	for (unsigned i = 0; i < ACCESS_COUNT; i++) {
		uint32_t right = directory ? accesses[i].directory_right : accesses[i].right;

		if (right && (call->vfs.rights & right) == right)
			granted |= accesses[i].wire;
	}
	if (call->rule->read_only)
		granted &= ~ACCESS_WRITES;
	if (result == 0)
		put_access(call, directory, granted);
	nfs4_done(call, nfs4_status_of(result));
}

static int access_check(struct nfs_call *call)
{
	int status;

	call->compound.numbers[0] = xdr_get_u32(&call->in);
	status = call->in.bad ? NFS4ERR_BADXDR : nfs4_need_object(call, false);
	if (status != NFS4_OK)
		return status;
	if (call->compound.numbers[0] & ~(uint64_t)access_all(call))
		return NFS4ERR_INVAL;
	if (call->compound.current.pseudo) {
		put_access(call, true, 0x03);
		return NFS4_OK;
	}
	for (unsigned i = 0; i < ACCESS_COUNT; i++)
		if (call->compound.numbers[0] & accesses[i].wire)
			call->vfs.rights |= accesses[i].right | accesses[i].directory_right;
	return nfs4_submit(call, VFS_ACCESS, access_done);
}

static int no_link(const struct nfs_call *call)
{
	return call->compound.minor ? NFS4ERR_WRONG_TYPE : NFS4ERR_INVAL;
}

static void readlink_done(struct nfs_call *call, int result)
{
	if (result == 0)
		xdr_put_opaque(&call->out, call->vfs.data, call->vfs.data_length);
	nfs4_done(call, result == -EINVAL ? no_link(call) : nfs4_status_of(result));
}

static int read_link(struct nfs_call *call)
{
	int status = nfs4_need_object(call, false);

	if (status != NFS4_OK)
		return status;
	if (call->compound.current.pseudo)
		return no_link(call);
	call->vfs.data = nfs_call_scratch(call, VFS_SYMLINK_MAX);
	call->vfs.data_room = VFS_SYMLINK_MAX;
	return call->vfs.data ? nfs4_submit(call, VFS_READLINK, readlink_done) : NFS4ERR_DELAY;
}

/* ---- making, removing, renaming */

void nfs4_put_change(struct nfs_call *call, unsigned which)
{
	xdr_put_bool(&call->out, true); /* atomic */
	xdr_put_u64(&call->out, call->vfs.before[which].change);
	xdr_put_u64(&call->out, call->vfs.after[which].change);
}

static void create_done(struct nfs_call *call, int result)
{
	struct nfs4_bitmap set = wanted_of(call);

	if (result == 0) {
		nfs4_put_change(call, 0);
		nfs4_put_bitmap(&call->out, &set);
		nfs4_set_object(call, &call->vfs.result_object);
	}
	nfs4_done(call, nfs4_status_of(result));
}

static int get_type(struct nfs_call *call, struct vfs_request *made)
{
	static const enum vfs_type types[] = {
	    [2] = VFS_DIRECTORY, [3] = VFS_BLOCK_DEVICE, [4] = VFS_CHARACTER_DEVICE,
	    [5] = VFS_SYMLINK,   [6] = VFS_SOCKET,       [7] = VFS_FIFO};
	uint32_t wire = xdr_get_u32(&call->in), length;

	made->type = wire < sizeof(types) / sizeof(types[0]) ? types[wire] : VFS_NONE;
	if (made->type == VFS_SYMLINK) {
		made->data = (void *)(uintptr_t)xdr_get_opaque(&call->in, 2 * 4096, &length);
		made->data_length = length;
	} else if (made->type == VFS_BLOCK_DEVICE || made->type == VFS_CHARACTER_DEVICE) {
		made->rdev_major = xdr_get_u32(&call->in);
		made->rdev_minor = xdr_get_u32(&call->in);
	}
	return call->in.bad ? NFS4ERR_BADXDR : made->type == VFS_NONE ? NFS4ERR_BADTYPE : NFS4_OK;
}

static int create(struct nfs_call *call)
{
	struct vfs_request made = {0};
	struct nfs4_bitmap bitmap;
	int status = get_type(call, &made);

	if (status == NFS4_OK)
		status = nfs4_get_name(call, &made.name, &made.name_length);
	if (status == NFS4_OK)
		status = nfs4_get_set(call, &made, &bitmap);
	if (status == NFS4_OK)
		status = nfs4_need_object(call, true);
	if (status != NFS4_OK)
		return status;
	if (!(made.set.mask & VFS_SET_MODE)) {
		made.set.mask |= VFS_SET_MODE;
		made.set.mode = made.type == VFS_DIRECTORY ? 0755 : 0644;
	}
	made.object = call->vfs.object;
	made.create_how = VFS_CREATE_GUARDED;
	call->vfs = made;
	take_wanted(call, &bitmap);
	return nfs4_submit(call, VFS_CREATE, create_done);
}

static void remove_done(struct nfs_call *call, int result)
{
	if (result == 0)
		nfs4_put_change(call, 0);
	nfs4_done(call, nfs4_status_of(result));
}

static int remove_name(struct nfs_call *call)
{
	const char *name;
	unsigned length;
	int status = nfs4_get_name(call, &name, &length);

	if (status == NFS4_OK)
		status = nfs4_need_object(call, true);
	if (status != NFS4_OK)
		return status;
	call->vfs.name = name;
	call->vfs.name_length = length;
	return nfs4_submit(call, VFS_REMOVE, remove_done);
}

/* Both filehandles must be of one export, whose rule is in force. */
static int need_both(struct nfs_call *call)
{
	int status = nfs4_need_object(call, true);

	if (status == NFS4_OK && !call->compound.saved.set)
		status = NFS4ERR_NOFILEHANDLE;
	if (status == NFS4_OK && (call->compound.saved.pseudo ||
				  call->compound.saved.export != call->compound.current.export))
		status = NFS4ERR_XDEV;
	return status;
}

static void rename_done(struct nfs_call *call, int result)
{
	if (result == 0) {
		nfs4_put_change(call, 0);
		nfs4_put_change(call, 1);
	}
	nfs4_done(call, nfs4_status_of(result));
}

static int rename_name(struct nfs_call *call)
{
	const char *from, *to;
	unsigned from_length, to_length;
	int status = nfs4_get_name(call, &from, &from_length);
	int second = nfs4_get_name(call, &to, &to_length);

	if (status == NFS4_OK)
		status = second;
	if (status == NFS4_OK)
		status = need_both(call);
	if (status != NFS4_OK)
		return status;
	call->vfs.object = call->compound.saved.object;
	call->vfs.object2 = call->compound.current.object;
	call->vfs.name = from;
	call->vfs.name_length = from_length;
	call->vfs.name2 = to;
	call->vfs.name2_length = to_length;
	return nfs4_submit(call, VFS_RENAME, rename_done);
}

static void link_done(struct nfs_call *call, int result)
{
	if (result == 0)
		nfs4_put_change(call, 1);
	nfs4_done(call, nfs4_status_of(result));
}

static int link_name(struct nfs_call *call)
{
	const char *name;
	unsigned length;
	int status = nfs4_get_name(call, &name, &length);

	if (status == NFS4_OK)
		status = need_both(call);
	if (status != NFS4_OK)
		return status;
	call->vfs.object = call->compound.saved.object;
	call->vfs.object2 = call->compound.current.object;
	call->vfs.name2 = name;
	call->vfs.name2_length = length;
	return nfs4_submit(call, VFS_LINK, link_done);
}

/* ---- data */

static void read_done(struct nfs_call *call, int result)
{
	struct buf *data = (struct buf *)(uintptr_t)call->compound.numbers[0];

	if (result == 0) {
		xdr_put_bool(&call->out, call->vfs.eof);
		nfs_call_put_data(call, data, call->vfs.count);
	} else {
		buf_unref(data);
	}
	nfs4_done(call, nfs4_status_of_file(call, result));
}

static int read_file(struct nfs_call *call)
{
	struct nfs4_stateid stateid = nfs4_get_stateid(&call->in);
	uint64_t offset = xdr_get_u64(&call->in);
	uint32_t count = xdr_get_u32(&call->in);
	struct buf *data;
	bool opened;
	int status = call->in.bad ? NFS4ERR_BADXDR : nfs4_need_object(call, false);

	if (status != NFS4_OK)
		return status;
	if (call->compound.current.pseudo)
		return NFS4ERR_ISDIR;
	nfs4_use_current(call, &stateid);
	status = nfs4_open_check(call, &stateid, 1, &opened);
	if (status != NFS4_OK)
		return status;
	count = count < NFS_TRANSFER_MAX ? count : NFS_TRANSFER_MAX;
	data = buf_get(loop_buffers(call->conn->io->loop), count ? count : 1);
	if (!data)
		return NFS4ERR_DELAY;
	nfs_conn_charge(call->conn, call, data->size);
	call->compound.numbers[0] = (uintptr_t)data;
	call->iov = (struct iovec){data->data, count};
	call->vfs.iov = &call->iov;
	call->vfs.iov_count = 1;
	call->vfs.offset = offset;
	call->vfs.length = count;
	call->vfs.flags = VFS_OWNER_OVERRIDE | (opened ? VFS_OPENED : 0);
	return nfs4_submit(call, VFS_READ, read_done);
}

static void write_done(struct nfs_call *call, int result)
{
	if (result == 0) {
		call->moved = call->vfs.count;
		xdr_put_u32(&call->out, call->vfs.count);
		xdr_put_u32(&call->out, call->vfs.stable);
		/* as it was before: see vfs_verifier() */
		xdr_put_u64(&call->out, call->compound.numbers[0]);
	}
	nfs4_done(call, nfs4_status_of_file(call, result));
}

static int write_file(struct nfs_call *call)
{
	struct nfs4_stateid stateid = nfs4_get_stateid(&call->in);
	uint64_t offset = xdr_get_u64(&call->in);
	uint32_t stable = xdr_get_u32(&call->in), length;
	const uint8_t *data = xdr_get_payload(&call->in, NFS_TRANSFER_MAX, &length);
	bool opened;
	int status = call->in.bad || stable > 2 ? NFS4ERR_BADXDR : nfs4_need_object(call, true);

	if (status != NFS4_OK)
		return status;
	nfs4_use_current(call, &stateid);
	status = nfs4_open_check(call, &stateid, 2, &opened);
	if (status != NFS4_OK)
		return status;
	call->iov = (struct iovec){(void *)(uintptr_t)data, length};
	call->vfs.iov = &call->iov;
	call->vfs.iov_count = 1;
	call->vfs.offset = offset;
	call->vfs.length = length;
	call->vfs.stable = stable;
	call->vfs.flags = VFS_OWNER_OVERRIDE | (opened ? VFS_OPENED : 0);
	call->compound.numbers[0] = vfs_verifier(call->export->vfs);
	return nfs4_submit(call, VFS_WRITE, write_done);
}

static void commit_done(struct nfs_call *call, int result)
{
	if (result == 0)
		xdr_put_u64(&call->out, vfs_verifier(call->export->vfs));
	nfs4_done(call, nfs4_status_of_file(call, result));
}

static int commit(struct nfs_call *call)
{
	uint64_t offset = xdr_get_u64(&call->in);
	uint32_t count = xdr_get_u32(&call->in);
	int status = call->in.bad ? NFS4ERR_BADXDR : nfs4_need_object(call, true);

	if (status != NFS4_OK)
		return status;
	if (count > UINT64_MAX - offset)
		return NFS4ERR_INVAL;
	call->vfs.offset = offset;
	call->vfs.length = count;
	return nfs4_submit(call, VFS_COMMIT, commit_done);
}

int (*const nfs4_file_ops[NFS4_FILE_OPS])(struct nfs_call *call) = {
    [3] = access_check, [5] = commit,      [6] = create,           [9] = getattr,
    [10] = getfh,       [11] = link_name,  [15] = lookup,          [16] = lookupp,
    [17] = verify,      [22] = putfh,      [23] = putrootfh,       [24] = putrootfh,
    [25] = read_file,   [27] = read_link,  [28] = remove_name,     [29] = rename_name,
    [31] = restorefh,   [32] = savefh,     [33] = secinfo,         [34] = setattr,
    [37] = verify,      [38] = write_file, [52] = secinfo_no_name,
};
