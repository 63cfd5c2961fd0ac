/* SPDX-License-Identifier: Apache-2.0 */
/* nfs4.c: COMPOUND (RFC 8881 16.2): operations one after the other until one fails. An operation
 * that waits for the file system comes back through nfs4_done(). */
#include <errno.h>
#include <string.h>

#include "nfs/nfs4.h"

enum { OP_FIRST = 3, OP_LAST = 58, OP_ILLEGAL = 10044 };

/* Operations without a SEQUENCE in front: each must be alone then (RFC 8881 2.10.6.1). */
static int (*const session_ops[])(struct nfs_call *call) = {
    [41] = nfs4_op_bind_conn,       [42] = nfs4_op_exchange_id,      [43] = nfs4_op_create_session,
    [44] = nfs4_op_destroy_session, [57] = nfs4_op_destroy_clientid,
};
static int (*const state_ops[])(struct nfs_call *call) = {
    [4] = nfs4_op_close,           [18] = nfs4_op_open,
    [21] = nfs4_op_open_downgrade, [26] = nfs4_op_readdir,
    [45] = nfs4_op_free_stateid,   [53] = nfs4_op_sequence,
    [55] = nfs4_op_test_stateid,   [58] = nfs4_op_reclaim_complete,
};
#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

static const struct {
	int error, status;
} statuses[] = {
    {-EPERM, NFS4ERR_PERM},
    {-ENOENT, NFS4ERR_NOENT},
    {-EIO, NFS4ERR_IO},
    {-EILSEQ, NFS4ERR_IO},
    {-ENXIO, NFS4ERR_NXIO},
    {-EACCES, NFS4ERR_ACCESS},
    {-EEXIST, NFS4ERR_EXIST},
    {-EXDEV, NFS4ERR_XDEV},
    {-ENOTDIR, NFS4ERR_NOTDIR},
    {-EISDIR, NFS4ERR_ISDIR},
    {-EINVAL, NFS4ERR_INVAL},
    {-EFBIG, NFS4ERR_FBIG},
    {-ENOSPC, NFS4ERR_NOSPC},
    {-EROFS, NFS4ERR_ROFS},
    {-EMLINK, NFS4ERR_MLINK},
    {-ENAMETOOLONG, NFS4ERR_NAMETOOLONG},
    {-ENOTEMPTY, NFS4ERR_NOTEMPTY},
    {-EDQUOT, NFS4ERR_DQUOT},
    {-ESTALE, NFS4ERR_STALE},
    {-EBADF, NFS4ERR_BADHANDLE},
    {-EOPNOTSUPP, NFS4ERR_NOTSUPP},
    {-ERANGE, NFS4ERR_TOOSMALL},
    {-ENOMEM, NFS4ERR_DELAY},
    {-ENOBUFS, NFS4ERR_DELAY},
    {-ECANCELED, NFS4ERR_DELAY},
};

int nfs4_status_of(int result)
{
	if (result >= 0)
		return NFS4_OK;
	for (unsigned i = 0; i < COUNT(statuses); i++)
		if (statuses[i].error == result)
			return statuses[i].status;
	return NFS4ERR_SERVERFAULT;
}

/* ---- what operations share */

int nfs4_submit(struct nfs_call *call, enum vfs_op op,
		void (*done)(struct nfs_call *call, int result))
{
	call->vfs.op = op;
	nfs_call_vfs(call, call->export->vfs, done);
	return NFS4_PENDING;
}

int nfs4_need_object(struct nfs_call *call, bool changes)
{
	const struct nfs4_place *current = &call->compound.current;

	if (!current->set)
		return NFS4ERR_NOFILEHANDLE;
	if (current->pseudo)
		return changes ? NFS4ERR_ROFS : NFS4_OK;
	if (changes && call->rule->read_only)
		return NFS4ERR_ROFS;
	memset(&call->vfs, 0, sizeof(call->vfs));
	call->vfs.object = current->object;
	return NFS4_OK;
}

void nfs4_set_object(struct nfs_call *call, const struct vfs_object *object)
{
	struct nfs4_place *current = &call->compound.current;

	memset(current, 0, sizeof(*current));
	current->set = true;
	current->export = call->export;
	current->object = *object;
}

int nfs4_get_name(struct nfs_call *call, const char **ret_name, unsigned *ret_length)
{
	uint32_t length;
	const char *name = (const char *)xdr_get_opaque(&call->in, 4096, &length);

	if (call->in.bad)
		return NFS4ERR_BADXDR;
	*ret_name = name;
	*ret_length = length;
	if (length == 0)
		return NFS4ERR_INVAL;
	if (length > VFS_NAME_MAX)
		return NFS4ERR_NAMETOOLONG;
	if (name[0] == '.' && (length == 1 || (length == 2 && name[1] == '.')))
		return NFS4ERR_BADNAME;
	return memchr(name, '/', length) || memchr(name, 0, length) ? NFS4ERR_BADNAME : NFS4_OK;
}

/* ---- the compound */

static void finish(struct nfs_call *call, int status)
{
	struct nfs4_compound *compound = &call->compound;

	xdr_patch_u32(&call->out, compound->status_at, (uint32_t)status);
	xdr_patch_u32(&call->out, compound->count_at, compound->index);
	nfs4_slot_release(call);
	nfs_call_reply(call);
}

static int run_one(struct nfs_call *call)
{
	struct nfs4_compound *compound = &call->compound;
	uint32_t op = compound->operation;

	if (compound->index == 1 && op != 53 && !(op < COUNT(session_ops) && session_ops[op]))
		return op < OP_FIRST || op > OP_LAST ? NFS4ERR_OP_ILLEGAL
						     : NFS4ERR_OP_NOT_IN_SESSION;
	if (compound->index > 1 && op == 53)
		return NFS4ERR_SEQUENCE_POS;
	if (op < COUNT(session_ops) && session_ops[op]) {
		if (compound->index == 1 && compound->count > 1)
			return NFS4ERR_NOT_ONLY_OP;
		return session_ops[op](call);
	}
	if (op < COUNT(state_ops) && state_ops[op])
		return state_ops[op](call);
	if (op < NFS4_FILE_OPS && nfs4_file_ops[op])
		return nfs4_file_ops[op](call);
	return op < OP_FIRST || op > OP_LAST ? NFS4ERR_OP_ILLEGAL : NFS4ERR_NOTSUPP;
}

/* An operation has ended: its status, and nothing behind it when it failed. */
static bool end_one(struct nfs_call *call, int status)
{
	struct nfs4_compound *compound = &call->compound;

	if (status == NFS4_OK && call->in.bad)
		status = NFS4ERR_BADXDR;
	if (status != NFS4_OK) {
		if (call->data && call->data_at >= compound->body_at) {
			buf_unref(call->data);
			call->data = NULL;
		}
		xdr_truncate(&call->out, compound->body_at);
		if (compound->operation == 34) /* SETATTR: which were set */
			xdr_put_u32(&call->out, 0);
	}
	xdr_patch_u32(&call->out, compound->body_at - 4, (uint32_t)status);
	if (status == NFS4_OK && compound->index < compound->count)
		return true;
	finish(call, status);
	return false;
}

static void loop(struct nfs_call *call)
{
	struct nfs4_compound *compound = &call->compound;
	int status;

	do {
		uint32_t op = xdr_get_u32(&call->in);
		bool known = op >= OP_FIRST && op <= OP_LAST;

		compound->index++;
		compound->operation = op;
		compound->operation_at = xdr_length(&call->out);
		xdr_put_u32(&call->out, known ? op : OP_ILLEGAL);
		xdr_put_u32(&call->out, 0);
		compound->body_at = xdr_length(&call->out);
		compound->in_loop = true;
		compound->ended = NFS4_PENDING;
		status = call->in.bad ? NFS4ERR_BADXDR : run_one(call);
		compound->in_loop = false;
		if (status == NFS4_PENDING)
			return;
	} while (end_one(call, status));
}

void nfs4_done(struct nfs_call *call, int status)
{
	if (end_one(call, status))
		loop(call);
}

static void null(struct nfs_call *call)
{
	nfs_call_reply(call);
}

static void compound(struct nfs_call *call)
{
	struct nfs4_compound *compound = &call->compound;
	uint32_t length, minor;
	const uint8_t *tag = xdr_get_opaque(&call->in, NFS4_TAG_MAX, &length);

	minor = xdr_get_u32(&call->in);
	compound->count = xdr_get_u32(&call->in);
	if (call->in.bad) {
		nfs_call_garbage(call);
		return;
	}
	compound->status_at = xdr_length(&call->out);
	xdr_put_u32(&call->out, 0);
	xdr_put_opaque(&call->out, tag, length);
	compound->count_at = xdr_length(&call->out);
	xdr_put_u32(&call->out, 0);
	if (minor != 1)
		finish(call, NFS4ERR_MINOR_VERS_MISMATCH);
	else if (compound->count > NFS4_OPS_MAX)
		finish(call, NFS4ERR_TOO_MANY_OPS);
	else if (compound->count == 0)
		finish(call, NFS4_OK);
	else
		loop(call);
}

static const struct nfs_procedure procedures[] = {{"NULL", null, 0}, {"COMPOUND", compound, 0}};

const struct nfs_program nfs_nfs4 = {RPC_NFS, 4, procedures, 2, "nfs", NFS_PORT_NFS};
