/* SPDX-License-Identifier: Apache-2.0 */
/* nfs4_lock.c: LOCK, LOCKT, LOCKU (RFC 8881 18.10 to 18.12; RFC 7530 16.10 to 16.12),
 * RELEASE_LOCKOWNER. Locks are advisory. */
#include <string.h>

#include "nfs/nfs4.h"

enum { READ_LT = 1, WRITE_LT = 2, READW_LT = 3, WRITEW_LT = 4 };

/* compound.numbers of LOCKT, over the look at the file */
enum { FIRST, LAST, KIND, OWNER_LENGTH };

/* Both bytes are in the range; a length of all ones reaches to the end (RFC 8881 18.10.3). */
static int make_range(uint32_t type, uint64_t offset, uint64_t length, struct lock_range *range)
{
	if (type < READ_LT || type > WRITEW_LT)
		return NFS4ERR_BADXDR;
	if (length == 0 || (length != UINT64_MAX && length - 1 > UINT64_MAX - offset))
		return NFS4ERR_INVAL;
	range->exclusive = type == WRITE_LT || type == WRITEW_LT;
	range->first = offset;
	range->last = length == UINT64_MAX ? LOCK_TO_END : offset + length - 1;
	return NFS4_OK;
}

/* LOCK4denied: a failure with results. */
static int denied(struct nfs_call *call, const struct lock_conflict *conflict)
{
	const struct lock_range *range = &conflict->range;

	xdr_put_u64(&call->out, range->first);
	xdr_put_u64(&call->out,
		    range->last == LOCK_TO_END ? UINT64_MAX : range->last - range->first + 1);
	xdr_put_u32(&call->out, range->exclusive ? WRITE_LT : READ_LT);
	xdr_put_u64(&call->out, conflict->client);
	xdr_put_opaque(&call->out, conflict->name, conflict->name_length);
	call->compound.keep_body = true;
	return NFS4ERR_DENIED;
}

static void get_owner(struct nfs_call *call, struct nfs4_lock_args *args)
{
	args->client = xdr_get_u64(&call->in);
	args->owner = xdr_get_opaque(&call->in, NFS4_OWNER_MAX, &args->owner_length);
}

/* v4.0: whose turn it is: the open owner's for a new lock owner, else the lock owner's. */
static bool take_turn(struct nfs_call *call, const struct nfs4_stateid *stateid, uint32_t seqid,
		      int *status)
{
	return call->compound.minor || nfs4_turn_of_stateid(call, stateid, seqid, status);
}

/* LOCK4args; *ret_range: what make_range() says, *ret_turn the sequence number of v4.0. */
static void get_lock(struct nfs_call *call, struct nfs4_lock_args *args, int *ret_range,
		     uint32_t *ret_turn)
{
	uint32_t type = xdr_get_u32(&call->in);
	uint64_t offset, length;

	*args = (struct nfs4_lock_args){.reclaim = xdr_get_bool(&call->in)};
	offset = xdr_get_u64(&call->in);
	length = xdr_get_u64(&call->in);
	args->from_open = xdr_get_bool(&call->in);
	if (args->from_open) {
		*ret_turn = xdr_get_u32(&call->in);
		args->stateid = nfs4_get_stateid(&call->in);
		args->lock_seqid = xdr_get_u32(&call->in);
		get_owner(call, args);
	} else {
		args->stateid = nfs4_get_stateid(&call->in);
		*ret_turn = xdr_get_u32(&call->in);
	}
	*ret_range = make_range(type, offset, length, &args->range);
}

static void lock_again(struct nfs_call *call);

static int lock(struct nfs_call *call, struct nfs4_lock_args *args)
{
	struct lock_conflict conflict;
	int status;

	args->conflict = &conflict;
	status = nfs4_lock(call, args);
	if (status == NFS4ERR_DENIED)
		return denied(call, &conflict);
	if (status == NFS4ERR_DELAY && nfs4_wait_for_loss(call, lock_again))
		return NFS4_PENDING;
	if (status == NFS4_OK)
		nfs4_put_stateid(call, &args->stateid);
	return status;
}

/* It still is its turn; the arguments are read anew. */
static void lock_again(struct nfs_call *call)
{
	struct nfs4_lock_args args;
	uint32_t turn;
	int range, status;

	call->in.at = call->compound.bytes;
	get_lock(call, &args, &range, &turn);
	nfs4_use_current(call, &args.stateid);
	status = lock(call, &args);
	if (status != NFS4_PENDING)
		nfs4_done(call, status);
}

int nfs4_op_lock(struct nfs_call *call)
{
	struct nfs4_lock_args args;
	uint32_t turn;
	int range, status;

	call->compound.bytes = call->in.at;
	get_lock(call, &args, &range, &turn);
	status = call->in.bad || range == NFS4ERR_BADXDR ? NFS4ERR_BADXDR
							 : nfs4_need_object(call, false);
	if (status != NFS4_OK)
		return status;
	if (call->compound.current.pseudo)
		return NFS4ERR_ISDIR;
	nfs4_use_current(call, &args.stateid);
	if (!take_turn(call, &args.stateid, turn, &status))
		return status;
	return range == NFS4_OK ? lock(call, &args) : range;
}

static void seen(struct nfs_call *call, int result)
{
	const uint64_t *numbers = call->compound.numbers;
	struct lock_conflict conflict;
	struct nfs4_lock_args args = {
	    .range = {numbers[FIRST], numbers[LAST], numbers[KIND]},
	    .client = call->argument[0],
	    .owner = call->compound.bytes,
	    .owner_length = (uint32_t)numbers[OWNER_LENGTH],
	    .conflict = &conflict,
	};
	int status =
	    result < 0 ? nfs4_status_of(result) : nfs4_not_a_file(call, call->vfs.after[0].type);

	if (status == NFS4_OK)
		status = nfs4_lock_test(call, &args);
	if (status == NFS4ERR_DENIED)
		denied(call, &conflict);
	nfs4_done(call, status);
}

int nfs4_op_lockt(struct nfs_call *call)
{
	uint64_t *numbers = call->compound.numbers;
	uint32_t type = xdr_get_u32(&call->in);
	uint64_t offset = xdr_get_u64(&call->in), length = xdr_get_u64(&call->in);
	struct nfs4_lock_args args = {0};
	int status = make_range(type, offset, length, &args.range);

	get_owner(call, &args);
	if (call->in.bad)
		status = NFS4ERR_BADXDR;
	if (status == NFS4_OK)
		status = nfs4_need_object(call, false);
	if (status != NFS4_OK)
		return status;
	if (call->compound.current.pseudo)
		return NFS4ERR_ISDIR;
	numbers[FIRST] = args.range.first;
	numbers[LAST] = args.range.last;
	numbers[KIND] = args.range.exclusive;
	numbers[OWNER_LENGTH] = args.owner_length;
	call->compound.bytes = args.owner;
	call->argument[0] = args.client;
	return nfs4_submit(call, VFS_GETATTR, seen);
}

int nfs4_op_locku(struct nfs_call *call)
{
	uint32_t type = xdr_get_u32(&call->in), turn = xdr_get_u32(&call->in);
	struct nfs4_stateid stateid = nfs4_get_stateid(&call->in);
	uint64_t offset = xdr_get_u64(&call->in), length = xdr_get_u64(&call->in);
	struct lock_range range;
	int bad = make_range(type, offset, length, &range), status;

	status =
	    call->in.bad || bad == NFS4ERR_BADXDR ? NFS4ERR_BADXDR : nfs4_need_object(call, false);
	if (status != NFS4_OK)
		return status;
	nfs4_use_current(call, &stateid);
	if (!take_turn(call, &stateid, turn, &status))
		return status;
	status = bad == NFS4_OK ? nfs4_unlock(call, &stateid, range.first, range.last) : bad;
	if (status == NFS4_OK)
		nfs4_put_stateid(call, &stateid);
	return status;
}

int nfs4_op_release_lockowner(struct nfs_call *call)
{
	struct nfs4_lock_args args = {0};

	get_owner(call, &args);
	return call->in.bad
		   ? NFS4ERR_BADXDR
		   : nfs4_release_lock_owner(call, args.client, args.owner, args.owner_length);
}
