/* SPDX-License-Identifier: Apache-2.0 */
/* nfs4_open.c: OPEN, OPEN_CONFIRM, OPEN_DOWNGRADE, CLOSE (RFC 8881 18.16, 18.18, 18.2; RFC 7530
 * 16.16 to 16.19, 16.2), DELEGRETURN (RFC 8881 18.6, RFC 7530 16.6). */
#include <errno.h>
#include <string.h>

#include "nfs/nfs4_deleg.h"

enum { CREATE_UNCHECKED, CREATE_GUARDED, CREATE_EXCLUSIVE, CREATE_EXCLUSIVE_1 };
enum {
	CLAIM_NULL = 0,
	CLAIM_PREVIOUS = 1,
	CLAIM_DELEGATE_CUR = 2,
	CLAIM_DELEGATE_PREV = 3,
	CLAIM_FH = 4,
	CLAIM_DELEG_CUR_FH = 5,
	CLAIM_DELEG_PREV_FH = 6
};
enum { DELEGATE_NONE = 0, DELEGATE_READ = 1, DELEGATE_NONE_EXT = 3 };
#define SHARE_WISH     0x30000u /* to be told, or given, later: never */
#define PROBE_WAITS    100u
#define RESULT_CONFIRM 2u
#define RESULT_POSIX   4u

/* compound.numbers */
enum { ACCESS, DENY, OWNER_LENGTH, CLAIM };

/* argument[3]: the file is to be cut to nothing once it is open (a size of 0
 * with UNCHECKED4); it was there before; its owner had it open before; what it had delegated to
 * read before the server stopped it wants to have again */
enum { CUT = 1, FOUND = 2, UPGRADED = 4, RECLAIMS = 8 };

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

static bool by_delegation(const struct nfs_call *call)
{
	return call->compound.numbers[CLAIM] == CLAIM_DELEGATE_CUR ||
	       call->compound.numbers[CLAIM] == CLAIM_DELEG_CUR_FH;
}

/* Who asks is told why it gets none, if it wished for something (RFC 8881 18.16.3). */
static void put_no_delegation(struct nfs_call *call, enum nfs4_no_delegation why)
{
	if (call->compound.minor == 0 || !(call->compound.want & NFS4_WANT_MASK)) {
		xdr_put_u32(&call->out, DELEGATE_NONE);
		return;
	}
	xdr_put_u32(&call->out, DELEGATE_NONE_EXT);
	xdr_put_u32(&call->out, why);
	if (why == NFS4_CONTENTION || why == NFS4_NO_RESOURCE)
		xdr_put_bool(&call->out, false); /* nor will it come later */
}

/* Only of what is open for reading and nothing else. One that asks by a delegation has it already;
 * a claim gets one that it had. */
static void put_delegation(struct nfs_call *call)
{
	const uint64_t *numbers = call->compound.numbers;
	enum nfs4_no_delegation why = nfs4_why_none(call->compound.want);
	bool reclaims = call->argument[3] & RECLAIMS;
	struct nfs4_stateid stateid;

	if (by_delegation(call) || (numbers[CLAIM] == CLAIM_PREVIOUS && !reclaims) ||
	    numbers[ACCESS] != 1 || (call->argument[3] & CUT) || !nfs4_owner_confirmed(call) ||
	    !nfs4_delegate(call, call->compound.want, reclaims, &stateid, &why)) {
		put_no_delegation(call, why);
		return;
	}
	xdr_put_u32(&call->out, DELEGATE_READ);
	xdr_put_u32(&call->out, stateid.seqid);
	xdr_put_fixed(&call->out, stateid.other, sizeof(stateid.other));
	xdr_put_bool(&call->out, false); /* not called back yet */
	xdr_put_u32(&call->out, 0);      /* nfsace4: nobody is let in without asking */
	xdr_put_u32(&call->out, 0);
	xdr_put_u32(&call->out, 0);
	xdr_put_u32(&call->out, 0);
}

static void put_result(struct nfs_call *call, const struct nfs4_stateid *stateid)
{
	struct nfs4_bitmap set = {0};

	memcpy(set.words, call->compound.wanted, sizeof(set.words));
	if (call->argument[3] & FOUND) {
		memset(set.words, 0, sizeof(set.words));
		if (call->argument[3] & CUT)
			set.words[0] = 1u << 4 /* size */;
	}
	nfs4_put_stateid(call, stateid);
	xdr_put_bool(&call->out, true);
	xdr_put_u64(&call->out, call->argument[1]);
	xdr_put_u64(&call->out, call->argument[2]);
	xdr_put_u32(&call->out, RESULT_POSIX | (nfs4_owner_confirmed(call) ? 0 : RESULT_CONFIRM));
	nfs4_put_bitmap(&call->out, &set);
	put_delegation(call);
}

/* An upgrade has one HOLD too many. */
static void opened(struct nfs_call *call)
{
	if (call->argument[3] & UPGRADED)
		release(call, NFS4_OK);
	else
		nfs4_done(call, NFS4_OK);
}

/* What can not be cut was not opened. */
static void cut(struct nfs_call *call, int result)
{
	struct nfs4_stateid stateid = {.seqid = call->compound.current.state_seqid};

	if (result == 0) {
		opened(call);
		return;
	}
	memcpy(stateid.other, call->compound.current.state_other, sizeof(stateid.other));
	if (!(call->argument[3] & UPGRADED))
		nfs4_open_close(call, &stateid);
	release(call, nfs4_status_of(result));
}

/* Only now: before, a reservation of somebody else's could have refused it. */
static void cut_file(struct nfs_call *call)
{
	memset(&call->vfs, 0, sizeof(call->vfs));
	call->vfs.object = call->saved_object;
	call->vfs.set.mask = VFS_SET_SIZE;
	call->vfs.flags = VFS_OPENED;
	nfs4_submit(call, VFS_SETATTR, cut);
}

static int check_claim(struct nfs_call *call)
{
	struct nfs4_stateid stateid = {.seqid = call->compound.claim_seqid};

	if (!by_delegation(call))
		return NFS4_OK;
	memcpy(stateid.other, call->compound.claim_other, sizeof(stateid.other));
	return nfs4_delegation_claim(call, &stateid, &call->saved_object,
				     (uint32_t)call->compound.numbers[ACCESS]);
}

static void make_state(struct nfs_call *call);

/* The file is held and the client may do what it asks for, and has its record: make it state. */
static void make_recorded(struct nfs_call *call, int recorded)
{
	const uint64_t *numbers = call->compound.numbers;
	struct nfs4_open_args args = {.access = (uint32_t)numbers[ACCESS],
				      .deny = (uint32_t)numbers[DENY],
				      .cut = call->argument[3] & CUT,
				      .owner = call->compound.bytes,
				      .owner_length = (uint32_t)numbers[OWNER_LENGTH]};
	struct nfs4_stateid stateid;
	bool upgraded;
	int status;

	status = recorded == NFS4_OK ? check_claim(call) : recorded;
	if (status == NFS4_OK)
		status = nfs4_open_add(call, &args, &call->saved_object, &stateid, &upgraded);
	if (status == NFS4ERR_DELAY && nfs4_wait_for_loss(call, make_state))
		return;
	if (status != NFS4_OK) {
		release(call, status);
		return;
	}
	nfs4_set_object(call, &call->saved_object);
	if (numbers[CLAIM] == CLAIM_PREVIOUS)
		nfs4_owner_claimed(call);
	put_result(call, &stateid);
	call->argument[3] |= upgraded ? UPGRADED : 0;
	if ((call->argument[3] & (CUT | FOUND)) == (CUT | FOUND))
		cut_file(call);
	else
		opened(call);
}

/* A client that wants a delegation first thing is given the time to answer that it needs for it. */
static void make_state(struct nfs_call *call)
{
	uint32_t want = call->argument[3] & RECLAIMS ? NFS4_WANT_READ : call->compound.want;

	if (call->compound.numbers[ACCESS] == 1 && nfs4_delegate_soon(call, want) &&
	    nfs4_wait(call, PROBE_WAITS, make_state))
		return;
	nfs4_record(call, make_recorded);
}

static void rights_known(struct nfs_call *call, int result)
{
	uint32_t needed = 0;

	if (call->compound.numbers[ACCESS] & 1)
		needed |= VFS_READ_DATA;
	if ((call->compound.numbers[ACCESS] & 2) || (call->argument[3] & CUT))
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

static int wrong_type(enum vfs_type type, uint32_t minor)
{
	return type == VFS_REGULAR     ? NFS4_OK
	       : type == VFS_DIRECTORY ? NFS4ERR_ISDIR
	       : minor == 0 || type == VFS_SYMLINK
		   ? NFS4ERR_SYMLINK /* v4.0: of all that is no file (RFC 7530 16.16.6) */
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
	call->argument[3] |= created ? 0 : FOUND;
	status = wrong_type(attr->type, call->compound.minor);
	if (status != NFS4_OK) {
		release(call, status);
		return;
	}
	if (created || call->compound.numbers[CLAIM] == CLAIM_PREVIOUS) {
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

	if (how > (call->compound.minor ? CREATE_EXCLUSIVE_1 : CREATE_EXCLUSIVE))
		return NFS4ERR_BADXDR;
	made->type = VFS_REGULAR;
	made->create_how = hows[how];
	if (how >= CREATE_EXCLUSIVE)
		made->verifier = xdr_get_u64(&call->in);
	if (how != CREATE_EXCLUSIVE)
		status = nfs4_get_set(call, made, &bitmap);
	memcpy(call->compound.wanted, bitmap.words, sizeof(bitmap.words));
	if (how == CREATE_UNCHECKED && (made->set.mask & VFS_SET_SIZE) && made->set.size == 0) {
		made->set.mask &= ~(unsigned)VFS_SET_SIZE;
		call->argument[3] = CUT;
	}
	if (how <= CREATE_GUARDED && !(made->set.mask & VFS_SET_MODE)) {
		made->set.mask |= VFS_SET_MODE;
		made->set.mode = 0644;
	}
	return status;
}

/* What comes in front of the claim; *ret_seqid and *ret_client are v4.0's. */
static int get_share(struct nfs_call *call, uint32_t *ret_seqid, uint64_t *ret_client)
{
	uint64_t *numbers = call->compound.numbers;
	uint32_t access, length;

	*ret_seqid = xdr_get_u32(&call->in);
	access = xdr_get_u32(&call->in);
	call->compound.want = call->compound.minor ? access & NFS4_WANT_MASK : 0;
	numbers[ACCESS] = call->compound.minor ? access & ~(NFS4_WANT_MASK | SHARE_WISH) : access;
	numbers[DENY] = xdr_get_u32(&call->in);
	*ret_client = xdr_get_u64(&call->in);
	call->compound.bytes = xdr_get_opaque(&call->in, NFS4_OWNER_MAX, &length);
	numbers[OWNER_LENGTH] = length;
	if (call->in.bad)
		return NFS4ERR_BADXDR;
	return numbers[ACCESS] == 0 || numbers[ACCESS] > 3 || numbers[DENY] > 3 ||
		       call->compound.want > NFS4_WANT_CANCEL
		   ? NFS4ERR_INVAL
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

/* A claim is for what this client had open when the server stopped. */
static int open_reclaim(struct nfs_call *call, bool creating)
{
	uint32_t delegation = xdr_get_u32(&call->in);

	if (call->in.bad || delegation > 3)
		return NFS4ERR_BADXDR;
	call->argument[3] |= delegation == DELEGATE_READ ? RECLAIMS : 0;
	return open_by_handle(call, creating);
}

/* What a client opened on its own, by a delegation, and tells us now. */
static int open_delegated(struct nfs_call *call, struct vfs_request *made, bool creating)
{
	struct nfs4_stateid stateid = nfs4_get_stateid(&call->in);

	if (call->in.bad)
		return NFS4ERR_BADXDR;
	call->compound.claim_seqid = stateid.seqid;
	memcpy(call->compound.claim_other, stateid.other, sizeof(stateid.other));
	if (creating)
		return NFS4ERR_INVAL;
	return call->compound.numbers[CLAIM] == CLAIM_DELEGATE_CUR ? open_by_name(call, made, false)
								   : open_by_handle(call, false);
}

static int open_claim(struct nfs_call *call, struct vfs_request *made, bool creating)
{
	switch (call->compound.numbers[CLAIM]) {
	case CLAIM_NULL:
		return open_by_name(call, made, creating);
	case CLAIM_PREVIOUS:
		return open_reclaim(call, creating);
	case CLAIM_DELEGATE_CUR:
	case CLAIM_DELEG_CUR_FH:
		return open_delegated(call, made, creating);
	case CLAIM_FH:
		return open_by_handle(call, creating);
	default:
		return NFS4ERR_NOTSUPP;
	}
}

/* v4.0 */
static void pass_claim(struct nfs_call *call)
{
	uint64_t claim = call->compound.numbers[CLAIM];
	uint32_t length;

	if (claim == CLAIM_PREVIOUS) {
		xdr_get_u32(&call->in);
		return;
	}
	if (claim == CLAIM_DELEGATE_CUR)
		nfs4_get_stateid(&call->in);
	xdr_get_opaque(&call->in, 4096, &length);
}

/* May it be opened now, and as asked? */
static int check_open(struct nfs_call *call)
{
	const struct nfs4_place *current = &call->compound.current;

	if (!current->set)
		return NFS4ERR_NOFILEHANDLE;
	if (current->pseudo)
		return NFS4_OK;
	if ((call->compound.numbers[ACCESS] & 2) && call->rule->read_only)
		return NFS4ERR_ROFS;
	return nfs4_grace_check(call, call->compound.numbers[CLAIM] == CLAIM_PREVIOUS);
}

int nfs4_op_open(struct nfs_call *call)
{
	struct vfs_request made = {0};
	uint32_t last_claim = call->compound.minor ? CLAIM_DELEG_PREV_FH : CLAIM_DELEGATE_PREV;
	uint32_t seqid, creating;
	uint64_t client;
	int share = get_share(call, &seqid, &client), how = NFS4_OK, status;

	if (share == NFS4ERR_BADXDR)
		return share;
	call->argument[3] = 0;
	memset(call->compound.wanted, 0, sizeof(call->compound.wanted));
	creating = xdr_get_u32(&call->in);
	if (creating > 1)
		return NFS4ERR_BADXDR;
	if (creating)
		how = get_how(call, &made);
	call->compound.numbers[CLAIM] = xdr_get_u32(&call->in);
	if (how == NFS4ERR_BADXDR || call->in.bad || call->compound.numbers[CLAIM] > last_claim)
		return NFS4ERR_BADXDR;
	if (call->compound.minor == 0 &&
	    !nfs4_turn_of_owner(call, client, call->compound.bytes,
				(uint32_t)call->compound.numbers[OWNER_LENGTH], seqid, &status)) {
		if (status == NFS4_OK) /* a retry: what follows is behind the claim */
			pass_claim(call);
		return status;
	}
	if (share != NFS4_OK)
		return share;
	if (how != NFS4_OK)
		return how;
	status = check_open(call);
	return status == NFS4_OK ? open_claim(call, &made, creating) : status;
}

int nfs4_op_open_confirm(struct nfs_call *call)
{
	struct nfs4_stateid stateid = nfs4_get_stateid(&call->in);
	uint32_t seqid = xdr_get_u32(&call->in);
	int status = call->in.bad ? NFS4ERR_BADXDR : nfs4_need_object(call, false);

	if (status == NFS4_OK && !nfs4_turn_of_stateid(call, &stateid, seqid, &status))
		return status;
	if (status == NFS4_OK)
		status = nfs4_owner_confirm(call, &stateid);
	if (status == NFS4_OK)
		nfs4_put_stateid(call, &stateid);
	return status;
}

int nfs4_op_open_downgrade(struct nfs_call *call)
{
	struct nfs4_stateid stateid = nfs4_get_stateid(&call->in);
	uint32_t seqid = xdr_get_u32(&call->in), access = xdr_get_u32(&call->in);
	uint32_t deny = xdr_get_u32(&call->in);
	int status = call->in.bad ? NFS4ERR_BADXDR : nfs4_need_object(call, false);

	if (status == NFS4_OK && call->compound.minor == 0 &&
	    !nfs4_turn_of_stateid(call, &stateid, seqid, &status))
		return status;
	nfs4_use_current(call, &stateid);
	if (status == NFS4_OK)
		status = nfs4_open_downgrade(
		    call, &stateid, call->compound.minor ? access & ~NFS4_WANT_MASK : access, deny);
	if (status == NFS4_OK)
		nfs4_put_stateid(call, &stateid);
	return status;
}

int nfs4_op_close(struct nfs_call *call)
{
	uint32_t seqid = xdr_get_u32(&call->in);
	struct nfs4_stateid stateid = nfs4_get_stateid(&call->in);
	static const struct nfs4_stateid closed = {.seqid = UINT32_MAX};
	int status = call->in.bad ? NFS4ERR_BADXDR : nfs4_need_object(call, false);

	if (status == NFS4_OK && call->compound.minor == 0 &&
	    !nfs4_turn_of_stateid(call, &stateid, seqid, &status))
		return status;
	nfs4_use_current(call, &stateid);
	if (status == NFS4_OK)
		status = nfs4_open_close(call, &stateid);
	if (status != NFS4_OK)
		return status;
	nfs4_put_stateid(call, call->compound.minor ? &closed : &stateid);
	call->saved_object = call->compound.current.object;
	release(call, NFS4_OK);
	return NFS4_PENDING;
}

int nfs4_op_delegreturn(struct nfs_call *call)
{
	struct nfs4_stateid stateid = nfs4_get_stateid(&call->in);
	int status = call->in.bad ? NFS4ERR_BADXDR : nfs4_need_object(call, false);

	nfs4_use_current(call, &stateid);
	return status == NFS4_OK ? nfs4_delegation_return(call, &stateid) : status;
}

int nfs4_op_test_stateid(struct nfs_call *call)
{
	uint32_t count = xdr_get_u32(&call->in);

	if (count > xdr_left(&call->in) / 16)
		return NFS4ERR_BADXDR;
	xdr_put_u32(&call->out, count);
	for (uint32_t i = 0; i < count; i++) {
		struct nfs4_stateid stateid = nfs4_get_stateid(&call->in);

		xdr_put_u32(&call->out, (uint32_t)nfs4_stateid_test(call, &stateid));
	}
	return NFS4_OK;
}

int nfs4_op_free_stateid(struct nfs_call *call)
{
	struct nfs4_stateid stateid = nfs4_get_stateid(&call->in);

	nfs4_use_current(call, &stateid);
	return call->in.bad ? NFS4ERR_BADXDR : nfs4_stateid_free(call, &stateid);
}
