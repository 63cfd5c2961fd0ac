/* SPDX-License-Identifier: Apache-2.0 */
/* nfs4.c: COMPOUND (RFC 8881 16.2): operations one after the other until one fails. An operation
 * that waits for the file system comes back through nfs4_done(). */
#include <errno.h>
#include <string.h>

#include "core/utf8.h"
#include "nfs/nfs4.h"

enum { OP_FIRST = 3, OP_SETATTR = 34, OP_SEQUENCE = 53, OP_ILLEGAL = 10044 };

#define LOSS_WAITS 400u /* for a record that is on its way out */

#define CHANGE_ROOM 256u /* what changes something is not begun without room for its results */
#define RESULT_MIN  12u  /* operation, status, and SETATTR's empty bitmap */

/* The last operation that each minor version knows. */
static const uint32_t last_ops[] = {39, 58, 75};

#define MINOR_0    1u
#define MINOR_1    2u /* and later ones */
#define MINOR_2    4u
#define CHANGES    16u
#define NO_SESSION 8u /* may come without SEQUENCE, and must be alone then (RFC 8881 2.10.6.1) */

/* Those that are not in nfs4_file_ops, which are for all minor versions but for secinfo_no_name. */
static const struct {
	int (*run)(struct nfs_call *call);
	unsigned flags;
} state_ops[] = {
    [4] = {nfs4_op_close, MINOR_0 | MINOR_1 | CHANGES},
    [8] = {nfs4_op_delegreturn, MINOR_0 | MINOR_1 | CHANGES},
    [12] = {nfs4_op_lock, MINOR_0 | MINOR_1 | CHANGES},
    [13] = {nfs4_op_lockt, MINOR_0 | MINOR_1},
    [14] = {nfs4_op_locku, MINOR_0 | MINOR_1 | CHANGES},
    [18] = {nfs4_op_open, MINOR_0 | MINOR_1 | CHANGES},
    [20] = {nfs4_op_open_confirm, MINOR_0 | CHANGES},
    [21] = {nfs4_op_open_downgrade, MINOR_0 | MINOR_1 | CHANGES},
    [26] = {nfs4_op_readdir, MINOR_0 | MINOR_1},
    [30] = {nfs4_op_renew, MINOR_0},
    [35] = {nfs4_op_setclientid, MINOR_0},
    [36] = {nfs4_op_setclientid_confirm, MINOR_0},
    [39] = {nfs4_op_release_lockowner, MINOR_0},
    [40] = {nfs4_op_backchannel_ctl, MINOR_1},
    [41] = {nfs4_op_bind_conn, MINOR_1 | NO_SESSION},
    [42] = {nfs4_op_exchange_id, MINOR_1 | NO_SESSION},
    [43] = {nfs4_op_create_session, MINOR_1 | NO_SESSION},
    [44] = {nfs4_op_destroy_session, MINOR_1 | NO_SESSION},
    [45] = {nfs4_op_free_stateid, MINOR_1 | CHANGES},
    [53] = {nfs4_op_sequence, MINOR_1},
    [55] = {nfs4_op_test_stateid, MINOR_1},
    [57] = {nfs4_op_destroy_clientid, MINOR_1 | NO_SESSION},
    [58] = {nfs4_op_reclaim_complete, MINOR_1},
    [59] = {nfs4_op_allocate, MINOR_2 | CHANGES},
    [60] = {nfs4_op_copy, MINOR_2 | CHANGES},
    [62] = {nfs4_op_deallocate, MINOR_2 | CHANGES},
    [63] = {nfs4_op_io_advise, MINOR_2},
    [66] = {nfs4_op_offload_cancel, MINOR_2 | CHANGES},
    [67] = {nfs4_op_offload_status, MINOR_2},
    [68] = {nfs4_op_read_plus, MINOR_2},
    [69] = {nfs4_op_seek, MINOR_2},
    [71] = {nfs4_op_clone, MINOR_2 | CHANGES},
    [72] = {nfs4_op_getxattr, MINOR_2},
    [73] = {nfs4_op_setxattr, MINOR_2 | CHANGES},
    [74] = {nfs4_op_listxattrs, MINOR_2},
    [75] = {nfs4_op_removexattr, MINOR_2 | CHANGES},
};
/* Those of nfs4_file_ops that change something: COMMIT, CREATE, LINK, REMOVE, RENAME, SETATTR,
 * WRITE. */
static const uint64_t file_changes =
    1ull << 5 | 1ull << 6 | 1ull << 11 | 1ull << 28 | 1ull << 29 | 1ull << 34 | 1ull << 38;
/* Of them, those that fail when they are done again: CREATE, LINK, REMOVE, RENAME. */
static const uint64_t once_only = 1ull << 6 | 1ull << 11 | 1ull << 28 | 1ull << 29;
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
    {-ENOKEY, NFS4ERR_WRONGSEC},
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
    {-E2BIG, NFS4ERR_FBIG},
    {-ENOMEM, NFS4ERR_DELAY},
    {-ENOBUFS, NFS4ERR_DELAY},
    {-ECANCELED, NFS4ERR_DELAY},
    {-EINPROGRESS, NFS4ERR_DELAY}, /* delegated, and being called back */
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

/* v4.0 has one error for all that is neither file nor directory (RFC 7530 16.23.4). */
int nfs4_not_a_file(const struct nfs_call *call, enum vfs_type type)
{
	if (type == VFS_REGULAR)
		return NFS4_OK;
	if (type == VFS_DIRECTORY)
		return NFS4ERR_ISDIR;
	if (call->compound.minor == 0)
		return NFS4ERR_INVAL;
	return type == VFS_SYMLINK ? NFS4ERR_SYMLINK : NFS4ERR_WRONG_TYPE;
}

int nfs4_status_of_file(const struct nfs_call *call, int result)
{
	enum vfs_type type = call->vfs.after[0].type;

	return result == -EINVAL && type != VFS_NONE && type != VFS_REGULAR
		   ? nfs4_not_a_file(call, type)
		   : nfs4_status_of(result);
}

/* ---- what operations share */

unsigned nfs4_version(const struct nfs_call *call)
{
	static const unsigned versions[] = {NFS_VERSION_4_0, NFS_VERSION_4_1, NFS_VERSION_4_2};

	return versions[call->compound.minor];
}

struct nfs4_stateid nfs4_get_stateid(struct xdr_in *in)
{
	struct nfs4_stateid stateid = {.seqid = xdr_get_u32(in)};
	const uint8_t *other = xdr_get_fixed(in, sizeof(stateid.other));

	if (other)
		memcpy(stateid.other, other, sizeof(stateid.other));
	return stateid;
}

void nfs4_use_current(const struct nfs_call *call, struct nfs4_stateid *stateid)
{
	static const uint8_t zero[12];

	if (call->compound.minor == 0 || stateid->seqid != 1 ||
	    memcmp(stateid->other, zero, sizeof(zero)) != 0)
		return;
	/* Where there is none it stays what it is, which is nobody's. */
	if (memcmp(call->compound.current.state_other, zero, sizeof(zero)) == 0)
		return;
	stateid->seqid = call->compound.current.state_seqid;
	memcpy(stateid->other, call->compound.current.state_other, 12);
}

void nfs4_put_stateid(struct nfs_call *call, const struct nfs4_stateid *stateid)
{
	xdr_put_u32(&call->out, stateid->seqid);
	xdr_put_fixed(&call->out, stateid->other, sizeof(stateid->other));
	call->compound.current.state_seqid = stateid->seqid;
	memcpy(call->compound.current.state_other, stateid->other, sizeof(stateid->other));
}

int nfs4_submit(struct nfs_call *call, enum vfs_op op,
		void (*done)(struct nfs_call *call, int result))
{
	call->vfs.op = op;
	nfs_call_vfs(call, call->export->vfs, done);
	return NFS4_PENDING;
}

static void look_again(struct timer *timer)
{
	struct nfs_call *call = container_of(timer, struct nfs_call, timer);

	call->again(call);
}

bool nfs4_wait(struct nfs_call *call, unsigned most, void (*again)(struct nfs_call *call))
{
	if (call->compound.waits++ >= most || call->conn->state != NFS_CONN_OPEN)
		return false;
	call->again = again;
	timer_init(&call->timer, call->conn->io->loop, look_again);
	timer_start(&call->timer, NFS4_WAIT_NS);
	return true;
}

bool nfs4_wait_for_loss(struct nfs_call *call, void (*again)(struct nfs_call *call))
{
	struct nfs4_compound *compound = &call->compound;

	if (!compound->gave_way && nfs_record_settled(call->conn->server->grace, call->export->id))
		return false;
	compound->gave_way = false;
	return nfs4_wait(call, LOSS_WAITS, again);
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
	if (!compound->changed)
		nfs_call_forget(call);
	nfs4_slot_release(call);
	nfs_call_reply(call);
}

static bool is_known(const struct nfs4_compound *compound, uint32_t op)
{
	return op >= OP_FIRST && op <= last_ops[compound->minor];
}

/* May it be where it is in the compound? */
static int check_place(const struct nfs4_compound *compound, bool alone)
{
	if (compound->minor == 0)
		return NFS4_OK;
	if (compound->operation == OP_SEQUENCE)
		return compound->index > 1 ? NFS4ERR_SEQUENCE_POS : NFS4_OK;
	if (compound->index > 1)
		return NFS4_OK;
	if (!alone)
		return NFS4ERR_OP_NOT_IN_SESSION;
	return compound->count > 1 ? NFS4ERR_NOT_ONLY_OP : NFS4_OK;
}

/* Is there no room for @more bytes of results, in our memory or in what the session was made for
 * (RFC 8881 2.10.6.1.3, 2.10.6.4)? The status that says so, or NFS4_OK. */
static int check_room(struct nfs_call *call, size_t more)
{
	const struct nfs4_compound *compound = &call->compound;
	size_t length = xdr_length(&call->out), whole = nfs_call_reply_length(call) + more;

	xdr_put_room(&call->out, more);
	if (call->out.full)
		return compound->minor ? NFS4ERR_REP_TOO_BIG : NFS4ERR_RESOURCE;
	xdr_truncate(&call->out, length);
	if (compound->session && whole > compound->reply_max)
		return NFS4ERR_REP_TOO_BIG;
	return compound->session && whole > compound->cached_max ? NFS4ERR_REP_TOO_BIG_TO_CACHE
								 : NFS4_OK;
}

static int run_one(struct nfs_call *call)
{
	struct nfs4_compound *compound = &call->compound;
	uint32_t op = compound->operation;
	unsigned flags = op < COUNT(state_ops) ? state_ops[op].flags : 0;
	unsigned minor = compound->minor == 0 ? MINOR_0 : MINOR_1;
	int status;

	if (!is_known(compound, op))
		return NFS4ERR_OP_ILLEGAL;
	status = check_place(compound, flags & NO_SESSION);
	if (status == NFS4_OK &&
	    (flags & CHANGES || (op < NFS4_FILE_OPS && file_changes >> op & 1)))
		status = check_room(call, CHANGE_ROOM);
	if (status != NFS4_OK)
		return status;
	if (flags & (minor | (compound->minor == 2 ? MINOR_2 : 0)))
		return state_ops[op].run(call);
	if (op < NFS4_FILE_OPS && nfs4_file_ops[op])
		return nfs4_file_ops[op](call);
	return NFS4ERR_NOTSUPP;
}

/* The same behind an operation. The next one is begun only where its failure can be said. */
static int check_result(struct nfs_call *call)
{
	const struct nfs4_compound *compound = &call->compound;

	return check_room(call, compound->index < compound->count ? RESULT_MIN : 0);
}

/* An operation has ended: its status, and nothing behind it when it failed. */
static bool end_one(struct nfs_call *call, int status)
{
	struct nfs4_compound *compound = &call->compound;
	const struct nfs4_place *place = &compound->current;

	if (status == NFS4_OK && call->in.bad)
		status = NFS4ERR_BADXDR;
	if (status == NFS4_OK || compound->keep_body) {
		int room = check_result(call);

		compound->keep_body = compound->keep_body && room == NFS4_OK;
		status = room == NFS4_OK ? status : room;
	}
	if (status != NFS4_OK && !compound->keep_body) {
		if (call->data && call->data_at >= compound->body_at) {
			buf_unref(call->data);
			call->data = NULL;
		}
		xdr_truncate(&call->out, compound->body_at);
		if (compound->operation == OP_SETATTR) /* which were set */
			xdr_put_u32(&call->out, 0);
	}
	compound->keep_body = false;
	if (status == NFS4_OK && compound->operation < 64 && once_only >> compound->operation & 1)
		compound->changed = true;
	nfs4_turn_end(call, status);
	nfs_stats_end(call, NFS_STATS_4 + compound->minor, compound->operation,
		      place->set ? place->export : NULL, status != NFS4_OK);
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
		bool known = is_known(compound, op);

		compound->index++;
		compound->operation = op;
		compound->gave_way = false;
		compound->waits = 0;
		compound->asker = 0;
		call->begun_ns = nfs_call_now(call);
		compound->operation_at = xdr_length(&call->out);
		xdr_put_u32(&call->out, known ? op : OP_ILLEGAL);
		xdr_put_u32(&call->out, 0);
		compound->body_at = xdr_length(&call->out);
		status = call->in.bad ? NFS4ERR_BADXDR : run_one(call);
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

/* v4.0 has nothing but the transaction id to know a retry by, where no owner counts (RFC 7530
 * 3.1.1). */
static bool is_retry(struct nfs_call *call)
{
	xdr_truncate(&call->out, RPC_MARK_LENGTH);
	if (nfs_call_is_duplicate(call))
		return true;
	rpc_put_accepted(&call->out, call->rpc.xid, RPC_SUCCESS);
	return false;
}

/* And no noncharacter that ends a plane: U+nFFFE, U+nFFFF. */
static bool is_utf8(const uint8_t *text, size_t left)
{
	while (left) {
		size_t length = utf8_length(text, left);

		if (length == 0 || (length > 2 && (text[length - 3] & 0x0f) == 0x0f &&
				    text[length - 2] == 0xbf && text[length - 1] >= 0xbe))
			return false;
		text += length;
		left -= length;
	}
	return true;
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
	if (minor == 0 && is_retry(call))
		return;
	compound->status_at = xdr_length(&call->out);
	xdr_put_u32(&call->out, 0);
	xdr_put_opaque(&call->out, tag, length);
	compound->count_at = xdr_length(&call->out);
	xdr_put_u32(&call->out, 0);
	compound->minor = minor;
	if (minor >= COUNT(last_ops))
		finish(call, NFS4ERR_MINOR_VERS_MISMATCH);
	else if (!is_utf8(tag, length)) /* RFC 8881 14.4 */
		finish(call, NFS4ERR_INVAL);
	else if (compound->count > NFS4_OPS_MAX)
		finish(call, minor ? NFS4ERR_TOO_MANY_OPS : NFS4ERR_RESOURCE);
	else if (compound->count == 0)
		finish(call, NFS4_OK);
	else
		loop(call);
}

static const struct nfs_procedure procedures[] = {{"NULL", null, 0}, {"COMPOUND", compound, 0}};

const struct nfs_program nfs_nfs4 = {RPC_NFS, 4, procedures, 2, "nfs", NFS_PORT_NFS};
