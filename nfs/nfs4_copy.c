/* SPDX-License-Identifier: Apache-2.0 */
/* nfs4_copy.c: copies on the server (RFC 7862 4, 15.2, 15.13). What can be cloned is, whatever its
 * length. Of what has to be read and written a little is copied at once; more goes on in the
 * background, in a call of its own (nfs4_offload.h), or, if it can not, is done in part, and the
 * client goes on. */
#include <errno.h>
#include <string.h>

#include "nfs/nfs4.h"
#include "nfs/nfs4_offload.h"

#define COPY_MAX   (64ull << 20) /* bytes of one COPY that the client waits for */
#define COPY_QUICK (16ull << 20) /* .. although it would not have to */

/* ---- from the saved file to the current one */

struct copy_stateids {
	struct nfs4_stateid from, to;
};

/* Both files, of one share, as the stateids allow. */
static int need_copy(struct nfs_call *call, struct copy_stateids *ids, uint64_t *ret_flags)
{
	struct nfs4_place current = call->compound.current;
	const struct nfs4_place *saved = &call->compound.saved;
	bool source, target;
	int status = call->in.bad ? NFS4ERR_BADXDR : nfs4_need_object(call, true);

	if (status != NFS4_OK)
		return status;
	if (!saved->set)
		return NFS4ERR_NOFILEHANDLE;
	if (saved->pseudo || saved->export != current.export)
		return NFS4ERR_XDEV;
	nfs4_use_current(call, &ids->to);
	status = nfs4_open_check(call, &ids->to, 2, &target);
	if (status != NFS4_OK)
		return status;
	call->compound.current = *saved;
	nfs4_use_current(call, &ids->from);
	status = nfs4_open_check(call, &ids->from, 1, &source);
	call->compound.current = current;
	*ret_flags = (source ? 1 : 0) | (target ? 2 : 0);
	return status;
}

static void cloned(struct nfs_call *call, int result)
{
	nfs4_done(call, nfs4_status_of_file(call, result));
}

int nfs4_op_clone(struct nfs_call *call)
{
	struct copy_stateids ids;
	uint64_t from, to, count, flags;
	int status;

	ids.from = nfs4_get_stateid(&call->in);
	ids.to = nfs4_get_stateid(&call->in);
	from = xdr_get_u64(&call->in);
	to = xdr_get_u64(&call->in);
	count = xdr_get_u64(&call->in);
	if (!call->in.bad && call->export && !(call->export->vfs->can & VFS_CAN_CLONE))
		return NFS4ERR_NOTSUPP;
	status = need_copy(call, &ids, &flags);
	if (status != NFS4_OK)
		return status;
	call->vfs.object = call->compound.saved.object;
	call->vfs.object2 = call->compound.current.object;
	call->vfs.offset = from;
	call->vfs.offset2 = to;
	call->vfs.length = count;
	call->vfs.flags = VFS_OWNER_OVERRIDE | (flags == 3 ? VFS_OPENED : 0);
	return nfs4_submit(call, VFS_CLONE, cloned);
}

static void copy_step(struct nfs_call *call);

static void aim(struct nfs_call *call, bool target)
{
	const uint64_t *numbers = call->compound.numbers;
	const struct nfs4_place *place = target ? &call->compound.current : &call->compound.saved;

	memset(&call->vfs, 0, sizeof(call->vfs));
	call->vfs.object = place->object;
	call->vfs.offset = target ? numbers[COPY_TO] : numbers[COPY_FROM];
	call->vfs.flags =
	    VFS_OWNER_OVERRIDE | (numbers[COPY_FLAGS] & (target ? 2 : 1) ? VFS_OPENED : 0);
}

/* The results but for what stands in front: no call-back id, or one. */
static void put_copied(struct nfs_call *call, uint64_t done, bool synchronous)
{
	xdr_put_u64(&call->out, done);
	xdr_put_u32(&call->out, VFS_UNSTABLE);
	xdr_put_u64(&call->out, call->argument[COPY_VERIFIER]);
	xdr_put_bool(&call->out, true); /* consecutive */
	xdr_put_bool(&call->out, synchronous);
}

static void copied(struct nfs_call *call, int result)
{
	uint64_t done = call->argument[COPY_ASKED] - call->compound.numbers[COPY_LEFT];

	if (call->copy) {
		nfs4_copy_ended(call, result, copy_step);
		return;
	}
	if (result < 0 && done == 0) {
		nfs4_done(call, nfs4_status_of(result));
		return;
	}
	xdr_put_u32(&call->out, 0); /* no call-back id: it is done */
	put_copied(call, done, true);
	nfs4_done(call, NFS4_OK);
}

static void advance(struct nfs_call *call, uint64_t bytes)
{
	uint64_t *numbers = call->compound.numbers;

	numbers[COPY_FROM] += bytes;
	numbers[COPY_TO] += bytes;
	numbers[COPY_LEFT] -= bytes;
	if (call->copy)
		nfs4_copy_next(call, copy_step);
	else
		copy_step(call);
}

static void copy_written(struct nfs_call *call, int result)
{
	if (result < 0)
		copied(call, result);
	else
		advance(call, call->vfs.count);
}

static void copy_read(struct nfs_call *call, int result)
{
	uint32_t count = call->vfs.count;

	if (result < 0 || count == 0) {
		copied(call, result);
		return;
	}
	aim(call, true);
	call->iov = (struct iovec){call->scratch->data, count};
	call->vfs.iov = &call->iov;
	call->vfs.iov_count = 1;
	call->vfs.length = count;
	call->vfs.stable = VFS_UNSTABLE;
	nfs4_submit(call, VFS_WRITE, copy_written);
}

static void copy_data(struct nfs_call *call)
{
	uint64_t left = call->compound.numbers[COPY_LEFT];
	uint64_t count = left < NFS_TRANSFER_MAX ? left : NFS_TRANSFER_MAX;

	/* There may be less, of an operation before this one. */
	if ((!call->scratch || call->scratch->size < NFS_TRANSFER_MAX) &&
	    !nfs_call_scratch(call, NFS_TRANSFER_MAX)) {
		copied(call, -ENOBUFS);
		return;
	}
	aim(call, false);
	call->iov = (struct iovec){call->scratch->data, count};
	call->vfs.iov = &call->iov;
	call->vfs.iov_count = 1;
	call->vfs.length = count;
	nfs4_submit(call, VFS_READ, copy_read);
}

/* A hole becomes one. Behind it comes data, or it ends what is copied:
 * then it gives the file its size, unless that is larger by now. */
static void copy_sized(struct nfs_call *call, int result)
{
	if (result < 0)
		copied(call, result);
	else
		advance(call, call->argument[COPY_HOLE]);
}

static void copy_punched(struct nfs_call *call, int result)
{
	uint64_t end = call->compound.numbers[COPY_TO] + call->argument[COPY_HOLE];
	uint64_t size = call->vfs.after[0].size;

	if (result < 0 || size >= end ||
	    call->argument[COPY_HOLE] < call->compound.numbers[COPY_LEFT]) {
		copy_sized(call, result);
		return;
	}
	aim(call, true);
	call->vfs.offset = end - 1;
	call->vfs.length = 1;
	nfs4_submit(call, VFS_ALLOCATE, copy_sized); /* grows, and never shrinks */
}

static void copy_sought(struct nfs_call *call, int result)
{
	const uint64_t *numbers = call->compound.numbers;
	uint64_t hole =
	    result == -ENXIO ? numbers[COPY_LEFT] : call->vfs.offset - numbers[COPY_FROM];

	if (result < 0 && result != -ENXIO) {
		copied(call, result);
		return;
	}
	if (hole == 0) {
		copy_data(call);
		return;
	}
	call->argument[COPY_HOLE] = hole < numbers[COPY_LEFT] ? hole : numbers[COPY_LEFT];
	aim(call, true);
	call->vfs.length = call->argument[COPY_HOLE];
	nfs4_submit(call, VFS_DEALLOCATE, copy_punched);
}

static void copy_step(struct nfs_call *call)
{
	if (call->compound.numbers[COPY_LEFT] == 0) {
		copied(call, 0);
		return;
	}
	aim(call, false);
	call->vfs.seek = VFS_SEEK_DATA;
	nfs4_submit(call, VFS_SEEK, copy_sought);
}

static bool ranges_meet(uint64_t a, uint64_t b, uint64_t length)
{
	return a < b ? b - a < length : a - b < length;
}

/* In the background, if the client lets it be: it is called when all is done. */
static bool copy_apart(struct nfs_call *call)
{
	struct nfs4_stateid stateid;

	call->argument[COPY_ASKED] = call->compound.numbers[COPY_LEFT];
	if (!call->argument[COPY_APART] || call->compound.numbers[COPY_LEFT] <= COPY_QUICK ||
	    !nfs4_copy_begin(call, copy_step, &stateid))
		return false;
	xdr_put_u32(&call->out, 1);
	xdr_put_u32(&call->out, stateid.seqid);
	xdr_put_fixed(&call->out, stateid.other, sizeof(stateid.other));
	put_copied(call, 0, false);
	nfs4_done(call, NFS4_OK);
	return true;
}

static void copy_bounded(struct nfs_call *call)
{
	uint64_t *numbers = call->compound.numbers;

	if (copy_apart(call))
		return;
	if (numbers[COPY_LEFT] > COPY_MAX)
		numbers[COPY_LEFT] = COPY_MAX;
	call->argument[COPY_ASKED] = numbers[COPY_LEFT];
	copy_step(call);
}

/* What is less than a block is left; a refusal is no error: then all of it is copied. */
static void copy_cloned(struct nfs_call *call, int result)
{
	if (result < 0)
		copy_bounded(call);
	else
		advance(call, call->argument[COPY_HOLE]);
}

/* Whole blocks take no time, however many, where they can be shared. */
static bool copy_clone(struct nfs_call *call)
{
	const uint64_t *numbers = call->compound.numbers;
	uint64_t length = numbers[COPY_LEFT] - numbers[COPY_LEFT] % VFS_BLOCK;

	if (!(call->export->vfs->can & VFS_CAN_CLONE) || length == 0 ||
	    numbers[COPY_FROM] % VFS_BLOCK || numbers[COPY_TO] % VFS_BLOCK)
		return false;
	call->argument[COPY_ASKED] = numbers[COPY_LEFT];
	call->argument[COPY_HOLE] = length;
	aim(call, false);
	call->vfs.object2 = call->compound.current.object;
	call->vfs.offset2 = numbers[COPY_TO];
	call->vfs.length = length;
	call->vfs.flags = VFS_OWNER_OVERRIDE | (numbers[COPY_FLAGS] == 3 ? VFS_OPENED : 0);
	nfs4_submit(call, VFS_CLONE, copy_cloned);
	return true;
}

/* The source's size is known: is what is asked for inside it? */
static void copy_begin(struct nfs_call *call, int result)
{
	uint64_t *numbers = call->compound.numbers;
	uint64_t size = call->vfs.after[0].size;
	int status = nfs4_status_of(result);

	if (status == NFS4_OK && call->vfs.after[0].type != VFS_REGULAR)
		status =
		    call->vfs.after[0].type == VFS_DIRECTORY ? NFS4ERR_ISDIR : NFS4ERR_WRONG_TYPE;
	if (status == NFS4_OK &&
	    (numbers[COPY_FROM] > size || numbers[COPY_LEFT] > size - numbers[COPY_FROM]))
		status = NFS4ERR_INVAL;
	if (status == NFS4_OK && numbers[COPY_LEFT] == 0)
		numbers[COPY_LEFT] = size - numbers[COPY_FROM];
	if (status == NFS4_OK && numbers[COPY_LEFT] > UINT64_MAX - numbers[COPY_TO])
		status = NFS4ERR_INVAL;
	if (status == NFS4_OK &&
	    vfs_object_equal(&call->compound.saved.object, &call->compound.current.object) &&
	    ranges_meet(numbers[COPY_FROM], numbers[COPY_TO], numbers[COPY_LEFT]))
		status = NFS4ERR_INVAL;
	if (status != NFS4_OK) {
		nfs4_done(call, status);
		return;
	}
	if (!copy_clone(call))
		copy_bounded(call);
}

int nfs4_op_copy(struct nfs_call *call)
{
	uint64_t *numbers = call->compound.numbers;
	struct copy_stateids ids;
	uint32_t servers;
	int status;

	ids.from = nfs4_get_stateid(&call->in);
	ids.to = nfs4_get_stateid(&call->in);
	numbers[COPY_FROM] = xdr_get_u64(&call->in);
	numbers[COPY_TO] = xdr_get_u64(&call->in);
	numbers[COPY_LEFT] = xdr_get_u64(&call->in);
	xdr_get_bool(&call->in); /* consecutive */
	call->argument[COPY_APART] = !xdr_get_bool(&call->in);
	servers = xdr_get_u32(&call->in);
	if (!call->in.bad && servers) /* from another server */
		return NFS4ERR_NOTSUPP;
	status = need_copy(call, &ids, &numbers[COPY_FLAGS]);
	if (status != NFS4_OK)
		return status;
	call->argument[COPY_VERIFIER] = vfs_verifier(call->export->vfs);
	aim(call, false);
	return nfs4_submit(call, VFS_GETATTR, copy_begin);
}
