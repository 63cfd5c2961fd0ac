/* SPDX-License-Identifier: Apache-2.0 */
/* nfs4_open.c: OPEN, OPEN_DOWNGRADE, CLOSE and their stateids (RFC 8881 18.16, 18.18, 18.2).
 * Nothing is delegated. */
#include <errno.h>
#include <string.h>

#include "nfs/nfs4.h"

enum { CREATE_UNCHECKED, CREATE_GUARDED, CREATE_EXCLUSIVE, CREATE_EXCLUSIVE_1 };
enum { CLAIM_NULL = 0, CLAIM_PREVIOUS = 1, CLAIM_FH = 4 };
#define ACCESS_WANT   0xff00u /* delegation wishes */
#define SHARE_WISH    0x30000u
#define DELEGATE_NONE 0u

/* compound.numbers */
enum { ACCESS, DENY, OWNER_LENGTH };

static struct nfs4_stateid get_stateid(struct xdr_in *in)
{
	struct nfs4_stateid stateid = {.seqid = xdr_get_u32(in)};
	const uint8_t *other = xdr_get_fixed(in, sizeof(stateid.other));
	static const uint8_t zero[12];

	if (other && memcmp(other, zero, 12) != 0)
		memcpy(stateid.other, other, sizeof(stateid.other));
	return stateid;
}

static void use_current(const struct nfs_call *call, struct nfs4_stateid *stateid)
{
	static const uint8_t zero[12];

	if (stateid->seqid == 1 && memcmp(stateid->other, zero, 12) == 0) {
		stateid->seqid = call->compound.current.state_seqid;
		memcpy(stateid->other, call->compound.current.state_other, 12);
	}
}

static void put_stateid(struct nfs_call *call, const struct nfs4_stateid *stateid)
{
	xdr_put_u32(&call->out, stateid->seqid);
	xdr_put_fixed(&call->out, stateid->other, sizeof(stateid->other));
	call->compound.current.state_seqid = stateid->seqid;
	memcpy(call->compound.current.state_other, stateid->other, sizeof(stateid->other));
}

/* The HOLD that was too many has been given back. */
static void released(struct nfs_call *call, int result)
{
	(void)result;
	nfs4_done(call, (int)call->argument[0]);
}

static void release(struct nfs_call *call, int status)
{
	struct vfs_object object = call->saved_object;

	call->argument[0] = (uint64_t)status;
	memset(&call->vfs, 0, sizeof(call->vfs));
	call->vfs.object = object;
	nfs4_submit(call, VFS_RELEASE, released);
}

/* The file is held and the client may do what it asks for: make it state. */
static void make_state(struct nfs_call *call)
{
	const uint64_t *numbers = call->compound.numbers;
	struct nfs4_open_args args = {.access = (uint32_t)numbers[ACCESS],
				      .deny = (uint32_t)numbers[DENY],
				      .owner = call->compound.bytes,
				      .owner_length = (uint32_t)numbers[OWNER_LENGTH]};
	struct nfs4_stateid stateid;
	bool upgraded;
	int status = nfs4_open_add(call, &args, &call->saved_object, &stateid, &upgraded);

	if (status == NFS4_OK) {
		nfs4_set_object(call, &call->saved_object);
		put_stateid(call, &stateid);
		xdr_put_bool(&call->out, true);
		xdr_put_u64(&call->out, call->argument[1]);
		xdr_put_u64(&call->out, call->argument[2]);
		xdr_put_u32(&call->out, 4); /* OPEN4_RESULT_LOCKTYPE_POSIX */
		xdr_put_u32(&call->out, 0);
		xdr_put_u32(&call->out, DELEGATE_NONE);
	}
	if (status != NFS4_OK || upgraded)
		release(call, status);
	else
		nfs4_done(call, NFS4_OK);
}

static void rights_known(struct nfs_call *call, int result)
{
	uint32_t needed = 0;

	if (call->compound.numbers[ACCESS] & 1)
		needed |= VFS_READ_DATA;
	if (call->compound.numbers[ACCESS] & 2)
		needed |= VFS_WRITE_DATA;
	/* Who may execute a file may read it: the client's kernel does so to run it. */
	if (needed == VFS_READ_DATA && (call->vfs.rights & VFS_EXECUTE))
		needed = 0;
	if (result == 0 && (call->vfs.rights & needed) != needed)
		result = -EACCES;
	if (result < 0)
		release(call, nfs4_status_of(result));
	else
		make_state(call);
}

static int wrong_type(enum vfs_type type)
{
	return type == VFS_REGULAR     ? NFS4_OK
	       : type == VFS_DIRECTORY ? NFS4ERR_ISDIR
	       : type == VFS_SYMLINK   ? NFS4ERR_SYMLINK
				       : NFS4ERR_WRONG_TYPE;
}

/* A file that is there: its type, then the client's rights. One that was just made needs none. */
static void found(struct nfs_call *call, int result)
{
	struct vfs_request *vfs = &call->vfs;
	bool created = vfs->op == VFS_CREATE && vfs->created, by_handle = vfs->op == VFS_HOLD;
	const struct vfs_attr *attr = by_handle ? &vfs->after[0] : &vfs->result_attr;
	int status;

	if (result < 0) {
		nfs4_done(call, nfs4_status_of(result));
		return;
	}
	call->saved_object = by_handle ? call->compound.current.object : vfs->result_object;
	call->argument[1] = vfs->before[0].type ? vfs->before[0].change : vfs->after[0].change;
	call->argument[2] = vfs->after[0].change;
	status = wrong_type(attr->type);
	if (status != NFS4_OK) {
		release(call, status);
		return;
	}
	if (created) {
		make_state(call);
		return;
	}
	memset(vfs, 0, sizeof(*vfs));
	vfs->object = call->saved_object;
	vfs->rights = VFS_READ_DATA | VFS_WRITE_DATA | VFS_EXECUTE;
	nfs4_submit(call, VFS_ACCESS, rights_known);
}

static int get_how(struct nfs_call *call, struct vfs_request *made)
{
	static const enum vfs_create_how hows[] = {VFS_CREATE_UNCHECKED, VFS_CREATE_GUARDED,
						   VFS_CREATE_EXCLUSIVE, VFS_CREATE_EXCLUSIVE};
	struct nfs4_bitmap bitmap = {0};
	uint32_t how = xdr_get_u32(&call->in);
	int status = NFS4_OK;

	if (how > CREATE_EXCLUSIVE_1)
		return NFS4ERR_BADXDR;
	made->type = VFS_REGULAR;
	made->create_how = hows[how];
	if (how >= CREATE_EXCLUSIVE)
		made->verifier = xdr_get_u64(&call->in);
	if (how != CREATE_EXCLUSIVE)
		status = nfs4_get_set(&call->in, &made->set, &bitmap);
	memcpy(call->compound.wanted, bitmap.words, sizeof(bitmap.words));
	if (how <= CREATE_GUARDED && !(made->set.mask & VFS_SET_MODE)) {
		made->set.mask |= VFS_SET_MODE;
		made->set.mode = 0644;
	}
	return status;
}

static int get_share(struct nfs_call *call)
{
	uint64_t *numbers = call->compound.numbers;
	uint32_t access, length;

	xdr_get_u32(&call->in); /* seqid: of no meaning here */
	access = xdr_get_u32(&call->in);
	numbers[ACCESS] = access & ~(ACCESS_WANT | SHARE_WISH);
	numbers[DENY] = xdr_get_u32(&call->in);
	xdr_get_u64(&call->in); /* client id: the session's */
	call->compound.bytes = xdr_get_opaque(&call->in, NFS4_OWNER_MAX, &length);
	numbers[OWNER_LENGTH] = length;
	if (call->in.bad)
		return NFS4ERR_BADXDR;
	return numbers[ACCESS] == 0 || numbers[ACCESS] > 3 || numbers[DENY] > 3 ? NFS4ERR_INVAL
										: NFS4_OK;
}

static int open_by_handle(struct nfs_call *call, bool creating)
{
	int status = creating ? NFS4ERR_INVAL : nfs4_need_object(call, false);

	if (status != NFS4_OK)
		return status;
	if (call->compound.current.pseudo)
		return NFS4ERR_ISDIR;
	return nfs4_submit(call, VFS_HOLD, found);
}

static int open_by_name(struct nfs_call *call, struct vfs_request *made, bool creating)
{
	int status = nfs4_get_name(call, &made->name, &made->name_length);

	if (status == NFS4_OK)
		status = nfs4_need_object(call, creating);
	if (status != NFS4_OK)
		return status;
	if (call->compound.current.pseudo)
		return NFS4ERR_ISDIR;
	made->object = call->vfs.object;
	made->flags = VFS_HOLD_RESULT;
	call->vfs = *made;
	return nfs4_submit(call, creating ? VFS_CREATE : VFS_LOOKUP, found);
}

int nfs4_op_open(struct nfs_call *call)
{
	struct vfs_request made = {0};
	int share = get_share(call), status = share == NFS4ERR_BADXDR ? share : NFS4_OK;
	uint32_t creating = xdr_get_u32(&call->in), claim;

	if (status == NFS4_OK && creating > 1)
		status = NFS4ERR_BADXDR;
	if (status == NFS4_OK && creating)
		status = get_how(call, &made);
	claim = xdr_get_u32(&call->in);
	if (status == NFS4_OK)
		status = call->in.bad ? NFS4ERR_BADXDR : share;
	if (status == NFS4_OK && (call->compound.numbers[ACCESS] & 2) &&
	    call->compound.current.set && !call->compound.current.pseudo && call->rule->read_only)
		status = NFS4ERR_ROFS;
	if (status != NFS4_OK)
		return status;
	if (claim == CLAIM_NULL)
		return open_by_name(call, &made, creating);
	if (claim == CLAIM_FH)
		return open_by_handle(call, creating);
	return claim == CLAIM_PREVIOUS ? NFS4ERR_NO_GRACE
	       : claim > 6             ? NFS4ERR_BADXDR
				       : NFS4ERR_NOTSUPP;
}

int nfs4_op_open_downgrade(struct nfs_call *call)
{
	struct nfs4_stateid stateid = get_stateid(&call->in);
	uint32_t access, deny;
	int status;

	xdr_get_u32(&call->in);
	access = xdr_get_u32(&call->in) & ~ACCESS_WANT;
	deny = xdr_get_u32(&call->in);
	status = call->in.bad ? NFS4ERR_BADXDR : nfs4_need_object(call, false);
	use_current(call, &stateid);
	if (status == NFS4_OK)
		status = nfs4_open_downgrade(call, &stateid, access, deny);
	if (status == NFS4_OK)
		put_stateid(call, &stateid);
	return status;
}

int nfs4_op_close(struct nfs_call *call)
{
	struct nfs4_stateid stateid, closed = {.seqid = UINT32_MAX};
	int status;

	xdr_get_u32(&call->in); /* seqid */
	stateid = get_stateid(&call->in);
	status = call->in.bad ? NFS4ERR_BADXDR : nfs4_need_object(call, false);
	use_current(call, &stateid);
	if (status == NFS4_OK && call->compound.current.pseudo)
		status = NFS4ERR_BAD_STATEID;
	if (status == NFS4_OK)
		status = nfs4_open_close(call, &stateid);
	if (status != NFS4_OK)
		return status;
	put_stateid(call, &closed);
	call->saved_object = call->compound.current.object;
	release(call, NFS4_OK);
	return NFS4_PENDING;
}

int nfs4_op_test_stateid(struct nfs_call *call)
{
	uint32_t count = xdr_get_u32(&call->in);

	if (count > xdr_left(&call->in) / 16)
		return NFS4ERR_BADXDR;
	xdr_put_u32(&call->out, count);
	for (uint32_t i = 0; i < count; i++) {
		struct nfs4_stateid stateid = get_stateid(&call->in);

		xdr_put_u32(&call->out, (uint32_t)nfs4_stateid_test(call, &stateid));
	}
	return NFS4_OK;
}

/* What is open is closed, not freed. */
int nfs4_op_free_stateid(struct nfs_call *call)
{
	struct nfs4_stateid stateid = get_stateid(&call->in);

	if (call->in.bad)
		return NFS4ERR_BADXDR;
	return nfs4_stateid_test(call, &stateid) == NFS4_OK ? NFS4ERR_LOCKS_HELD
							    : NFS4ERR_BAD_STATEID;
}
