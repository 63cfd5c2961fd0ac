/* SPDX-License-Identifier: Apache-2.0 */
/* nfs4_attr.c: attributes (RFC 8881 5): one row each, in the order of their numbers. */
#include <stdio.h>
#include <string.h>

#include "nfs/nfs4.h"

void nfs4_get_bitmap(struct xdr_in *in, struct nfs4_bitmap *ret_bitmap)
{
	uint32_t count = xdr_get_u32(in);

	*ret_bitmap = (struct nfs4_bitmap){0};
	if (count > 64)
		in->bad = true;
	for (uint32_t i = 0; i < count && !in->bad; i++) {
		uint32_t word = xdr_get_u32(in);

		if (i < NFS4_ATTR_WORDS)
			ret_bitmap->words[i] = word;
		else if (word)
			ret_bitmap->other = true;
	}
}

void nfs4_put_bitmap(struct xdr_out *out, const struct nfs4_bitmap *bitmap)
{
	unsigned count = NFS4_ATTR_WORDS;

	while (count && bitmap->words[count - 1] == 0)
		count--;
	xdr_put_u32(out, count);
	for (unsigned i = 0; i < count; i++)
		xdr_put_u32(out, bitmap->words[i]);
}

static bool has(const struct nfs4_bitmap *bitmap, unsigned number)
{
	return bitmap->words[number / 32] >> (number % 32) & 1;
}

static void set(struct nfs4_bitmap *bitmap, unsigned number)
{
	bitmap->words[number / 32] |= 1u << (number % 32);
}

struct source {
	struct nfs_call *call;
	const struct nfs_export *export;
	const struct vfs_object *object;
	const struct vfs_attr *attr;
	const struct vfs_fsstat *fsstat;
};

static void put_supported(struct xdr_out *out, const struct source *source);

static void put_type(struct xdr_out *out, const struct source *source)
{
	static const uint8_t types[] = {
	    [VFS_REGULAR] = 1,      [VFS_DIRECTORY] = 2,
	    [VFS_BLOCK_DEVICE] = 3, [VFS_CHARACTER_DEVICE] = 4,
	    [VFS_SYMLINK] = 5,      [VFS_SOCKET] = 6,
	    [VFS_FIFO] = 7,
	};

	xdr_put_u32(out, types[source->attr->type]);
}

static void put_zero(struct xdr_out *out, const struct source *source)
{
	(void)source;
	xdr_put_u32(out, 0);
}

static void put_one(struct xdr_out *out, const struct source *source)
{
	(void)source;
	xdr_put_u32(out, 1);
}

static void put_change(struct xdr_out *out, const struct source *source)
{
	xdr_put_u64(out, source->attr->change);
}

static void put_size(struct xdr_out *out, const struct source *source)
{
	xdr_put_u64(out, source->attr->size);
}

static void put_fsid(struct xdr_out *out, const struct source *source)
{
	xdr_put_u64(out, source->export ? source->export->id : 0);
	xdr_put_u64(out, 0);
}

static void put_lease(struct xdr_out *out, const struct source *source)
{
	xdr_put_u32(out, nfs4_lease_seconds(source->call->conn->server));
}

static void put_handle(struct xdr_out *out, const struct source *source)
{
	struct handle_parts parts = {0};
	struct handle handle;

	if (!source->export) {
		xdr_put_opaque(out, NFS_PSEUDO_ROOT_HANDLE, NFS_PSEUDO_ROOT_LENGTH);
		return;
	}
	parts.volume = source->export->id;
	parts.object = *source->object;
	handle_encode(source->export->vfs, &parts, &handle);
	xdr_put_opaque(out, handle.bytes, handle.length);
}

static void put_fileid(struct xdr_out *out, const struct source *source)
{
	xdr_put_u64(out, source->attr->fileid);
}

static const struct vfs_fsstat *stat_of(const struct source *source)
{
	static const struct vfs_fsstat nothing;

	return source->fsstat ? source->fsstat : &nothing;
}

#define PUT_FSSTAT(field)                                                                          \
	static void put_##field(struct xdr_out *out, const struct source *source)                  \
	{                                                                                          \
		xdr_put_u64(out, stat_of(source)->field);                                          \
	}
PUT_FSSTAT(available_files)
PUT_FSSTAT(free_files)
PUT_FSSTAT(total_files)
PUT_FSSTAT(available_bytes)
PUT_FSSTAT(free_bytes)
PUT_FSSTAT(total_bytes)

static void put_max_size(struct xdr_out *out, const struct source *source)
{
	xdr_put_u64(out, source->export ? source->export->vfs->file_max : 0);
}

static void put_max_link(struct xdr_out *out, const struct source *source)
{
	xdr_put_u32(out, source->export ? source->export->vfs->link_max : 1);
}

static void put_max_name(struct xdr_out *out, const struct source *source)
{
	(void)source;
	xdr_put_u32(out, VFS_NAME_MAX);
}

static void put_max_transfer(struct xdr_out *out, const struct source *source)
{
	(void)source;
	xdr_put_u64(out, NFS_TRANSFER_MAX);
}

static void put_mode(struct xdr_out *out, const struct source *source)
{
	xdr_put_u32(out, source->attr->mode);
}

static void put_links(struct xdr_out *out, const struct source *source)
{
	xdr_put_u32(out, source->attr->links);
}

static void put_id(struct xdr_out *out, uint32_t id)
{
	char text[16];

	snprintf(text, sizeof(text), "%u", id);
	xdr_put_string(out, text);
}

static void put_owner(struct xdr_out *out, const struct source *source)
{
	put_id(out, source->attr->uid);
}

static void put_group(struct xdr_out *out, const struct source *source)
{
	put_id(out, source->attr->gid);
}

static void put_rdev(struct xdr_out *out, const struct source *source)
{
	xdr_put_u32(out, source->attr->rdev_major);
	xdr_put_u32(out, source->attr->rdev_minor);
}

static void put_used(struct xdr_out *out, const struct source *source)
{
	xdr_put_u64(out, source->attr->used);
}

static void put_time(struct xdr_out *out, int64_t time)
{
	int64_t seconds = time / 1000000000, rest = time % 1000000000;

	if (rest < 0) {
		seconds--;
		rest += 1000000000;
	}
	xdr_put_u64(out, (uint64_t)seconds);
	xdr_put_u32(out, (uint32_t)rest);
}

static void put_atime(struct xdr_out *out, const struct source *source)
{
	put_time(out, source->attr->atime);
}

static void put_delta(struct xdr_out *out, const struct source *source)
{
	(void)source;
	put_time(out, 1);
}

static void put_ctime(struct xdr_out *out, const struct source *source)
{
	put_time(out, source->attr->ctime);
}

static void put_mtime(struct xdr_out *out, const struct source *source)
{
	put_time(out, source->attr->mtime);
}

static void put_exclusive(struct xdr_out *out, const struct source *source);

/* The root above has none, but answers for them: clients ask there what the server can do. */
static void put_xattrs(struct xdr_out *out, const struct source *source)
{
	xdr_put_bool(out, !source->export || (source->export->vfs->can & VFS_CAN_XATTR));
}

static void put_clone_size(struct xdr_out *out, const struct source *source)
{
	(void)source;
	xdr_put_u32(out, VFS_BLOCK);
}

static void put_aclsupport(struct xdr_out *out, const struct source *source)
{
	(void)source;
	xdr_put_u32(out, 3); /* ALLOW, DENY */
}

/* Was the ACL of this object asked for? Of a listing's entry only what its attributes say is known.
 */
static bool has_aces(const struct source *source)
{
	return source->export && source->object == &source->call->compound.current.object &&
	       source->call->vfs.aces;
}

static void put_acl(struct xdr_out *out, const struct source *source)
{
	const struct vfs_request *vfs = &source->call->vfs;
	struct vfs_ace made[VFS_MODE_ACES];

	if (has_aces(source))
		nfs4_put_acl(out, vfs->aces, vfs->ace_count);
	else
		nfs4_put_acl(out, made, vfs_mode_aces(source->attr, made));
}

enum {
	ATTR_SIZE = 4,
	ATTR_ACL = 12,
	ATTR_ACLSUPPORT = 13,
	ATTR_MODE = 33,
	ATTR_OWNER = 36,
	ATTR_GROUP = 37,
	ATTR_ATIME_SET = 48,
	ATTR_MTIME_SET = 54,
	ATTR_EXCLUSIVE = 75,
	ATTR_CLONE_SIZE = 77,
};

/* By number; without a function: not there, or only to be set. */
static void (*const putters[])(struct xdr_out *out, const struct source *source) = {
    [0] = put_supported,
    [1] = put_type,
    [2] = put_zero,
    [3] = put_change,
    [4] = put_size,
    [5] = put_one,
    [6] = put_one,
    [7] = put_zero,
    [8] = put_fsid,
    [9] = put_one,
    [10] = put_lease,
    [11] = put_zero,
    [ATTR_ACL] = put_acl,
    [ATTR_ACLSUPPORT] = put_aclsupport,
    [15] = put_one,
    [16] = put_zero,
    [17] = put_one,
    [18] = put_one,
    [19] = put_handle,
    [20] = put_fileid,
    [21] = put_available_files,
    [22] = put_free_files,
    [23] = put_total_files,
    [26] = put_one,
    [27] = put_max_size,
    [28] = put_max_link,
    [29] = put_max_name,
    [30] = put_max_transfer,
    [31] = put_max_transfer,
    [33] = put_mode,
    [34] = put_one,
    [35] = put_links,
    [36] = put_owner,
    [37] = put_group,
    [41] = put_rdev,
    [42] = put_available_bytes,
    [43] = put_free_bytes,
    [44] = put_total_bytes,
    [45] = put_used,
    [47] = put_atime,
    [51] = put_delta,
    [52] = put_ctime,
    [53] = put_mtime,
    [55] = put_fileid,
    [75] = put_exclusive,
    [ATTR_CLONE_SIZE] = put_clone_size,
    [82] = put_xattrs,
};
#define PUTTER_COUNT (sizeof(putters) / sizeof(putters[0]))

/* The ACL of the root above is what its mode says. */
static bool has_acl(const struct source *source)
{
	return !source->export || (source->export->vfs->can & VFS_CAN_ACL);
}

/* Attributes by minor version: suppattr_exclcreat came with 1, everything behind it with 2. */
static bool is_there(const struct source *source, unsigned number)
{
	uint32_t needs = number > ATTR_EXCLUSIVE ? 2 : number == ATTR_EXCLUSIVE ? 1 : 0;

	if (number == ATTR_CLONE_SIZE &&
	    !(source->export && (source->export->vfs->can & VFS_CAN_CLONE)))
		return false;
	if ((number == ATTR_ACL || number == ATTR_ACLSUPPORT) && !has_acl(source))
		return false;
	return putters[number] && source->call->compound.minor >= needs;
}

static bool is_known(const struct source *source, unsigned number)
{
	return number != ATTR_ACL || has_aces(source) || !source->attr->has_acl;
}

static void put_supported(struct xdr_out *out, const struct source *source)
{
	struct nfs4_bitmap all = {0};

	for (unsigned i = 0; i < PUTTER_COUNT; i++)
		if (is_there(source, i))
			set(&all, i);
	set(&all, ATTR_ATIME_SET);
	set(&all, ATTR_MTIME_SET);
	nfs4_put_bitmap(out, &all);
}

static void put_exclusive(struct xdr_out *out, const struct source *source)
{
	struct nfs4_bitmap settable = {0};

	set(&settable, ATTR_SIZE);
	if (has_acl(source))
		set(&settable, ATTR_ACL);
	set(&settable, ATTR_MODE);
	set(&settable, ATTR_OWNER);
	set(&settable, ATTR_GROUP);
	set(&settable, ATTR_ATIME_SET);
	set(&settable, ATTR_MTIME_SET);
	nfs4_put_bitmap(out, &settable);
}

bool nfs4_bitmap_unreadable(const struct nfs4_bitmap *wanted)
{
	return has(wanted, ATTR_ATIME_SET) || has(wanted, ATTR_MTIME_SET);
}

bool nfs4_bitmap_wants_acl(const struct nfs_call *call, const struct nfs4_bitmap *wanted)
{
	return has(wanted, ATTR_ACL) && call->export->vfs->can & VFS_CAN_ACL;
}

bool nfs4_bitmap_wants_fsstat(const struct nfs4_bitmap *wanted)
{
	return has(wanted, 21) || has(wanted, 22) || has(wanted, 23) || has(wanted, 42) ||
	       has(wanted, 43) || has(wanted, 44);
}

void nfs4_put_attrs(struct nfs_call *call, const struct nfs4_bitmap *wanted,
		    const struct nfs_export *export, const struct vfs_object *object,
		    const struct vfs_attr *attr, const struct vfs_fsstat *fsstat)
{
	struct source source = {call, export, object, attr, fsstat};
	struct nfs4_bitmap answered = {0};
	size_t length_at;

	for (unsigned i = 0; i < PUTTER_COUNT; i++)
		if (has(wanted, i) && is_there(&source, i) && is_known(&source, i))
			set(&answered, i);
	nfs4_put_bitmap(&call->out, &answered);
	length_at = xdr_length(&call->out);
	xdr_put_u32(&call->out, 0);
	for (unsigned i = 0; i < PUTTER_COUNT; i++)
		if (has(&answered, i))
			putters[i](&call->out, &source);
	xdr_patch_u32(&call->out, length_at, (uint32_t)(xdr_length(&call->out) - length_at - 4));
}

void nfs4_root_attr(struct nfs_call *call, struct vfs_attr *ret_attr)
{
	int64_t boot = (int64_t)call->conn->server->boot_ns;

	*ret_attr = (struct vfs_attr){
	    .type = VFS_DIRECTORY,
	    .mode = 0555,
	    .links = 2 + call->table->count,
	    .fileid = 1,
	    .size = VFS_BLOCK,
	    .change = call->table->generation + (uint64_t)boot,
	    .atime = boot,
	    .mtime = boot,
	    .ctime = boot,
	};
}

/* ---- setting */

bool nfs4_get_id(const uint8_t *text, uint32_t length, uint32_t *ret_id)
{
	uint64_t id = 0;

	if (length == 0 || length > 10)
		return false;
	for (uint32_t i = 0; i < length; i++) {
		if (text[i] < '0' || text[i] > '9')
			return false;
		id = id * 10 + (text[i] - '0');
	}
	*ret_id = (uint32_t)id;
	return id <= UINT32_MAX;
}

/* No name at all is a mistake; one that we do not know is somebody's. */
static int get_id(struct xdr_in *in, uint32_t *ret_id)
{
	uint32_t length;
	const uint8_t *text = xdr_get_opaque(in, 256, &length);

	if (in->bad)
		return NFS4ERR_BADXDR;
	if (length == 0)
		return NFS4ERR_INVAL;
	return nfs4_get_id(text, length, ret_id) ? NFS4_OK : NFS4ERR_BADOWNER;
}

static int get_time(struct xdr_in *in, struct vfs_set *set_, unsigned given, unsigned now,
		    int64_t *time)
{
	uint32_t how = xdr_get_u32(in), nanoseconds;
	int64_t seconds;

	if (how > 1)
		in->bad = true;
	if (how == 0) {
		set_->mask |= now;
		return NFS4_OK;
	}
	seconds = (int64_t)xdr_get_u64(in);
	if (seconds > INT64_MAX / 1000000000 - 1 || seconds < INT64_MIN / 1000000000 + 1)
		seconds = 0;
	nanoseconds = xdr_get_u32(in);
	if (nanoseconds >= 1000000000)
		return NFS4ERR_INVAL;
	*time = seconds * 1000000000 + nanoseconds;
	set_->mask |= given;
	return NFS4_OK;
}

static int get_one(struct nfs_call *call, struct xdr_in *in, unsigned number,
		   struct vfs_request *request)
{
	struct vfs_set *set_ = &request->set;

	switch (number) {
	case ATTR_ACL:
		return nfs4_get_acl(call, in, request);
	case ATTR_SIZE:
		set_->mask |= VFS_SET_SIZE;
		set_->size = xdr_get_u64(in);
		return NFS4_OK;
	case ATTR_MODE:
		set_->mask |= VFS_SET_MODE;
		set_->mode = xdr_get_u32(in);
		return set_->mode & ~07777u ? NFS4ERR_INVAL : NFS4_OK;
	case ATTR_OWNER:
		set_->mask |= VFS_SET_UID;
		return get_id(in, &set_->uid);
	case ATTR_GROUP:
		set_->mask |= VFS_SET_GID;
		return get_id(in, &set_->gid);
	case ATTR_ATIME_SET:
		return get_time(in, set_, VFS_SET_ATIME, VFS_SET_ATIME_NOW, &set_->atime);
	case ATTR_MTIME_SET:
		return get_time(in, set_, VFS_SET_MTIME, VFS_SET_MTIME_NOW, &set_->mtime);
	default:
		return number < PUTTER_COUNT && putters[number] ? NFS4ERR_INVAL
								: NFS4ERR_ATTRNOTSUPP;
	}
}

int nfs4_get_set(struct nfs_call *call, struct vfs_request *ret_request,
		 struct nfs4_bitmap *ret_bitmap)
{
	struct xdr_in *in = &call->in;
	uint32_t length;
	const uint8_t *bytes;
	struct xdr_in values;
	int status = NFS4_OK;

	ret_request->set = (struct vfs_set){0};
	nfs4_get_bitmap(in, ret_bitmap);
	bytes = xdr_get_opaque(in, 65536, &length);
	if (in->bad)
		return NFS4ERR_BADXDR;
	if (ret_bitmap->other)
		return NFS4ERR_ATTRNOTSUPP;
	xdr_in_init(&values, bytes, length);
	for (unsigned i = 0; i < NFS4_ATTR_WORDS * 32 && status == NFS4_OK; i++)
		if (has(ret_bitmap, i))
			status = get_one(call, &values, i, ret_request);
	if (status == NFS4_OK && (values.bad || xdr_left(&values)))
		status = NFS4ERR_BADXDR;
	return status;
}
