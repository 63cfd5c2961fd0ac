/* SPDX-License-Identifier: Apache-2.0 */
/* nfs4_2.c: what NFSv4.2 adds (RFC 7862 15; RFC 8276 for extended attributes): sparse files,
 * advice, attributes by name. Copies: nfs4_copy.c. */
#include <errno.h>
#include <string.h>

#include "nfs/nfs4.h"

#define ALLOCATE_NS (10ull * 1000000000) /* one ALLOCATE, or a quarter of the lease if less */
#define LIST_MIN    256u
#define LIST_HEAD   16u /* cookie, count, eof */
#define SETTABLE_US ' ' /* names that begin below are the server's own */

/* ---- one range of the current file */

static int need_range(struct nfs_call *call, bool changes, struct nfs4_stateid *stateid,
		      bool *ret_opened)
{
	int status = call->in.bad ? NFS4ERR_BADXDR : nfs4_need_object(call, changes);

	if (status != NFS4_OK)
		return status;
	if (call->compound.current.pseudo)
		return NFS4ERR_ISDIR;
	nfs4_use_current(call, stateid);
	return nfs4_open_check(call, stateid, changes ? 2 : 1, ret_opened);
}

static void changed(struct nfs_call *call, int result)
{
	nfs4_done(call, nfs4_status_of_file(call, result));
}

static int space(struct nfs_call *call, uint64_t *ret_offset, uint64_t *ret_length,
		 bool *ret_opened)
{
	struct nfs4_stateid stateid = nfs4_get_stateid(&call->in);
	uint64_t offset = xdr_get_u64(&call->in), length = xdr_get_u64(&call->in);
	int status = need_range(call, true, &stateid, ret_opened);

	if (status != NFS4_OK)
		return status;
	*ret_offset = offset;
	*ret_length = length;
	return length == 0 || length > UINT64_MAX - offset ? NFS4ERR_INVAL : NFS4_OK;
}

/* compound.numbers */
enum { SPACE_AT, SPACE_END, SPACE_OPENED, SPACE_UNTIL };

static int allocate_on(struct nfs_call *call);

/* Then the client is to come again, long before it asks itself what became of its request. */
static uint64_t allocate_until(const struct nfs_call *call)
{
	uint64_t quarter = nfs4_lease_seconds(call->conn->server) * 250000000ull;

	return nfs_call_now(call) + (quarter < ALLOCATE_NS ? quarter : ALLOCATE_NS);
}

/* Is somebody still there to wait for it, and is what is asked for still served as it was? */
static bool goes_on(const struct nfs_call *call)
{
	return call->conn->state == NFS_CONN_OPEN && call->table == call->conn->io->table;
}

/* A large range takes several requests of the file system. What is done stays, so a client that is
 * sent away, or its connection's successor, goes on where it was. */
static void allocated(struct nfs_call *call, int result)
{
	uint64_t *numbers = call->compound.numbers;

	if (result == 0 && call->vfs.offset < numbers[SPACE_END]) {
		numbers[SPACE_AT] = call->vfs.offset;
		if (goes_on(call) && nfs_call_now(call) < numbers[SPACE_UNTIL])
			allocate_on(call);
		else
			nfs4_done(call, NFS4ERR_DELAY);
		return;
	}
	changed(call, result);
}

static int allocate_on(struct nfs_call *call)
{
	const uint64_t *numbers = call->compound.numbers;

	memset(&call->vfs, 0, sizeof(call->vfs));
	call->vfs.object = call->compound.current.object;
	call->vfs.offset = numbers[SPACE_AT];
	call->vfs.length = numbers[SPACE_END] - numbers[SPACE_AT];
	call->vfs.flags = VFS_OWNER_OVERRIDE | (numbers[SPACE_OPENED] ? VFS_OPENED : 0);
	return nfs4_submit(call, VFS_ALLOCATE, allocated);
}

int nfs4_op_allocate(struct nfs_call *call)
{
	uint64_t *numbers = call->compound.numbers;
	uint64_t offset, length;
	bool opened;
	int status;

	if (call->compound.current.set && !call->compound.current.pseudo &&
	    !(call->export->vfs->can & VFS_CAN_ALLOCATE))
		return NFS4ERR_NOTSUPP;
	status = space(call, &offset, &length, &opened);
	if (status != NFS4_OK)
		return status;
	numbers[SPACE_AT] = offset;
	numbers[SPACE_END] = offset + length;
	numbers[SPACE_OPENED] = opened;
	numbers[SPACE_UNTIL] = allocate_until(call);
	return allocate_on(call);
}

int nfs4_op_deallocate(struct nfs_call *call)
{
	uint64_t offset, length;
	bool opened;
	int status = space(call, &offset, &length, &opened);

	if (status != NFS4_OK)
		return status;
	call->vfs.offset = offset;
	call->vfs.length = length;
	call->vfs.flags = VFS_OWNER_OVERRIDE | (opened ? VFS_OPENED : 0);
	return nfs4_submit(call, VFS_DEALLOCATE, changed);
}

static void sought(struct nfs_call *call, int result)
{
	if (result == 0) {
		xdr_put_bool(&call->out, call->vfs.eof);
		xdr_put_u64(&call->out, call->vfs.offset);
	}
	nfs4_done(call, nfs4_status_of_file(call, result));
}

int nfs4_op_seek(struct nfs_call *call)
{
	struct nfs4_stateid stateid = nfs4_get_stateid(&call->in);
	uint64_t offset = xdr_get_u64(&call->in);
	uint32_t what = xdr_get_u32(&call->in);
	bool opened;
	int status = need_range(call, false, &stateid, &opened);

	if (status != NFS4_OK)
		return status;
	if (what > 1)
		return NFS4ERR_UNION_NOTSUPP;
	call->vfs.offset = offset;
	call->vfs.seek = what == 0 ? VFS_SEEK_DATA : VFS_SEEK_HOLE;
	call->vfs.flags = VFS_OWNER_OVERRIDE | (opened ? VFS_OPENED : 0);
	return nfs4_submit(call, VFS_SEEK, sought);
}

/* None of the hints changes what is done. */
int nfs4_op_io_advise(struct nfs_call *call)
{
	struct nfs4_stateid stateid = nfs4_get_stateid(&call->in);
	struct nfs4_bitmap hints;
	bool opened;
	int status;

	xdr_get_u64(&call->in);
	xdr_get_u64(&call->in);
	nfs4_get_bitmap(&call->in, &hints);
	status = need_range(call, false, &stateid, &opened);
	if (status == NFS4_OK)
		xdr_put_u32(&call->out, 0);
	return status;
}

/* ---- READ_PLUS: at most a hole and what follows it */

/* compound.numbers */
enum { PLUS_OFFSET, PLUS_COUNT, PLUS_OPENED, PLUS_DATA_AT };

static void put_hole(struct nfs_call *call, uint64_t offset, uint64_t length)
{
	xdr_put_u32(&call->out, 1); /* NFS4_CONTENT_HOLE */
	xdr_put_u64(&call->out, offset);
	xdr_put_u64(&call->out, length);
}

static void plus_read(struct nfs_call *call, int result)
{
	const uint64_t *numbers = call->compound.numbers;
	struct buf *data = (struct buf *)(uintptr_t)call->argument[0];
	bool hole = numbers[PLUS_DATA_AT] > numbers[PLUS_OFFSET];

	if (result < 0) {
		buf_unref(data);
		nfs4_done(call, nfs4_status_of_file(call, result));
		return;
	}
	xdr_put_bool(&call->out, call->vfs.eof);
	xdr_put_u32(&call->out, 1 + hole);
	if (hole)
		put_hole(call, numbers[PLUS_OFFSET], numbers[PLUS_DATA_AT] - numbers[PLUS_OFFSET]);
	xdr_put_u32(&call->out, 0); /* NFS4_CONTENT_DATA */
	xdr_put_u64(&call->out, numbers[PLUS_DATA_AT]);
	nfs_call_put_data(call, data, call->vfs.count);
	nfs4_done(call, NFS4_OK);
}

/* Nothing but a hole up to @end; @size ends the file. */
static void plus_hole(struct nfs_call *call, uint64_t end, uint64_t size)
{
	uint64_t offset = call->compound.numbers[PLUS_OFFSET];

	end = end < size ? end : size;
	xdr_put_bool(&call->out, end >= size || offset >= size);
	xdr_put_u32(&call->out, end > offset);
	if (end > offset)
		put_hole(call, offset, end - offset);
	nfs4_done(call, NFS4_OK);
}

static void plus_sought(struct nfs_call *call, int result)
{
	uint64_t *numbers = call->compound.numbers;
	uint64_t end = numbers[PLUS_OFFSET] + numbers[PLUS_COUNT];
	uint64_t size = call->vfs.after[0].size, data_at = call->vfs.offset;
	struct vfs_object object = call->vfs.object;
	struct buf *data;

	if (result < 0 && (result != -ENXIO || call->vfs.after[0].type == VFS_NONE)) {
		nfs4_done(call, nfs4_status_of_file(call, result));
		return;
	}
	if (result == -ENXIO || data_at >= end) {
		plus_hole(call, end, size);
		return;
	}
	data = buf_get(loop_buffers(call->conn->io->loop), end - data_at);
	if (!data) {
		nfs4_done(call, NFS4ERR_DELAY);
		return;
	}
	nfs_conn_charge(call->conn, call, data->size);
	numbers[PLUS_DATA_AT] = data_at;
	call->argument[0] = (uintptr_t)data;
	call->iov = (struct iovec){data->data, end - data_at};
	memset(&call->vfs, 0, sizeof(call->vfs));
	call->vfs.object = object;
	call->vfs.iov = &call->iov;
	call->vfs.iov_count = 1;
	call->vfs.offset = data_at;
	call->vfs.length = end - data_at;
	call->vfs.flags = VFS_OWNER_OVERRIDE | (numbers[PLUS_OPENED] ? VFS_OPENED : 0);
	nfs4_submit(call, VFS_READ, plus_read);
}

int nfs4_op_read_plus(struct nfs_call *call)
{
	uint64_t *numbers = call->compound.numbers;
	struct nfs4_stateid stateid = nfs4_get_stateid(&call->in);
	uint64_t offset = xdr_get_u64(&call->in);
	uint32_t count = xdr_get_u32(&call->in);
	bool opened;
	int status = need_range(call, false, &stateid, &opened);

	if (status != NFS4_OK)
		return status;
	count = count < NFS_TRANSFER_MAX ? count : NFS_TRANSFER_MAX;
	if (count > UINT64_MAX - offset)
		return NFS4ERR_INVAL;
	numbers[PLUS_OFFSET] = offset;
	numbers[PLUS_COUNT] = count;
	numbers[PLUS_OPENED] = opened;
	call->vfs.offset = offset;
	call->vfs.seek = VFS_SEEK_DATA;
	call->vfs.flags = VFS_OWNER_OVERRIDE | (opened ? VFS_OPENED : 0);
	return nfs4_submit(call, VFS_SEEK, plus_sought);
}

/* ---- extended attributes (RFC 8276 8.4) */

static int xattr_status(int result)
{
	return result == -ENODATA                      ? NFS4ERR_NOXATTR
	       : result == -E2BIG || result == -ERANGE ? NFS4ERR_XATTR2BIG
						       : nfs4_status_of(result);
}

/* Name and filehandle. */
static int need_name(struct nfs_call *call, const char *name, uint32_t length, bool changes)
{
	int status = call->in.bad ? NFS4ERR_BADXDR : nfs4_need_object(call, changes);

	if (status != NFS4_OK)
		return status;
	if (length == 0 || (uint8_t)name[0] < SETTABLE_US)
		return changes || length == 0 ? NFS4ERR_INVAL : NFS4ERR_NOXATTR;
	if (length > VFS_NAME_MAX)
		return NFS4ERR_NAMETOOLONG;
	if (call->compound.current.pseudo)
		return NFS4ERR_NOXATTR; /* there are none, and none can be set */
	call->vfs.name = name;
	call->vfs.name_length = length;
	return NFS4_OK;
}

static void xattr_got(struct nfs_call *call, int result)
{
	if (result == 0)
		xdr_put_opaque(&call->out, call->vfs.data, call->vfs.data_length);
	nfs4_done(call, xattr_status(result));
}

int nfs4_op_getxattr(struct nfs_call *call)
{
	uint32_t length;
	const char *name = (const char *)xdr_get_opaque(&call->in, 4096, &length);
	int status = need_name(call, name, length, false);

	if (status != NFS4_OK)
		return status;
	call->vfs.data = nfs_call_scratch(call, VFS_XATTR_MAX);
	call->vfs.data_room = VFS_XATTR_MAX;
	return call->vfs.data ? nfs4_submit(call, VFS_XATTR_GET, xattr_got) : NFS4ERR_DELAY;
}

static void xattr_changed(struct nfs_call *call, int result)
{
	if (result == 0)
		nfs4_put_change(call, 0);
	nfs4_done(call, xattr_status(result));
}

int nfs4_op_setxattr(struct nfs_call *call)
{
	static const enum vfs_xattr_how hows[] = {VFS_XATTR_EITHER, VFS_XATTR_CREATE,
						  VFS_XATTR_REPLACE};
	uint32_t how = xdr_get_u32(&call->in), length, size;
	const char *name = (const char *)xdr_get_opaque(&call->in, 4096, &length);
	const uint8_t *value = xdr_get_opaque(&call->in, NFS_TRANSFER_MAX, &size);
	int status = how > 2 ? NFS4ERR_BADXDR : need_name(call, name, length, true);

	if (status != NFS4_OK)
		return status;
	if (size > VFS_XATTR_MAX)
		return NFS4ERR_XATTR2BIG;
	call->vfs.data = (void *)(uintptr_t)value;
	call->vfs.data_length = size;
	call->vfs.xattr_how = hows[how];
	return nfs4_submit(call, VFS_XATTR_SET, xattr_changed);
}

int nfs4_op_removexattr(struct nfs_call *call)
{
	uint32_t length;
	const char *name = (const char *)xdr_get_opaque(&call->in, 4096, &length);
	int status = need_name(call, name, length, true);

	return status == NFS4_OK ? nfs4_submit(call, VFS_XATTR_REMOVE, xattr_changed) : status;
}

/* compound.numbers[0]: bytes there is room for. */
static void xattr_listed(struct nfs_call *call, int result)
{
	const char *at = call->vfs.data, *end = at + call->vfs.data_length;
	size_t start = xdr_length(&call->out), count_at;
	uint32_t count = 0;

	if (result < 0) {
		nfs4_done(call, result == -ERANGE ? NFS4ERR_TOOSMALL : nfs4_status_of(result));
		return;
	}
	xdr_put_u64(&call->out, call->vfs.cookie);
	count_at = xdr_length(&call->out);
	xdr_put_u32(&call->out, 0);
	for (; at < end; at += strlen(at) + 1) {
		if ((uint8_t)*at < SETTABLE_US)
			continue;
		xdr_put_string(&call->out, at);
		count++;
	}
	xdr_patch_u32(&call->out, count_at, count);
	xdr_put_bool(&call->out, call->vfs.eof);
	nfs4_done(call, xdr_length(&call->out) - start > call->compound.numbers[0]
			    ? NFS4ERR_TOOSMALL
			    : NFS4_OK);
}

/* A name takes at most four times on the wire what it takes in the list. */
int nfs4_op_listxattrs(struct nfs_call *call)
{
	uint64_t cookie = xdr_get_u64(&call->in);
	uint32_t most = xdr_get_u32(&call->in), room;
	int status = call->in.bad ? NFS4ERR_BADXDR : nfs4_need_object(call, false);

	if (status != NFS4_OK)
		return status;
	if (most < LIST_HEAD)
		return NFS4ERR_TOOSMALL;
	if (call->compound.current.pseudo) {
		xdr_put_u64(&call->out, 0);
		xdr_put_u32(&call->out, 0);
		xdr_put_bool(&call->out, true);
		return NFS4_OK;
	}
	room = (most - LIST_HEAD) / 4;
	room = room < LIST_MIN ? LIST_MIN : room > VFS_XATTR_MAX ? VFS_XATTR_MAX : room;
	call->compound.numbers[0] = most;
	call->vfs.cookie = cookie;
	call->vfs.data = nfs_call_scratch(call, room);
	call->vfs.data_room = room;
	return call->vfs.data ? nfs4_submit(call, VFS_XATTR_LIST, xattr_listed) : NFS4ERR_DELAY;
}
