/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NFS_NFS4_H
#define NFS_NFS4_H

#include <string.h>

#include "nfs/internal.h"

/* NFS version 4, minor versions 0 (RFC 7530), 1 (RFC 8881) and 2 (RFC 7862, 8276), inside.
 *
 *   nfs4.c          COMPOUND: operations one after the other, the table of them
 *   nfs4_client.c   clients, sessions, slots: exactly once
 *   nfs4_state.c    owners, what they have open and locked, v4.0's sequence numbers
 *   nfs4_back.c     calls to clients: the back channel of sessions, v4.0's callbacks
 *   nfs4_deleg.c    what is delegated to clients, and recalled
 *   nfs4_copy.c, nfs4_offload.c   copies on the server, and those that nobody waits for
 *   nfs4_list.c     clients for the administrator
 *   nfs4_attr.c     attribute bitmaps; nfs4_acl.c one of them
 *   nfs4_session.c, nfs4_ops.c, nfs4_open.c, nfs4_lock.c, nfs4_dir.c, nfs4_2.c  operations */

enum nfs4_status {
	NFS4_OK = 0,
	NFS4ERR_PERM = 1,
	NFS4ERR_NOENT = 2,
	NFS4ERR_IO = 5,
	NFS4ERR_NXIO = 6,
	NFS4ERR_ACCESS = 13,
	NFS4ERR_EXIST = 17,
	NFS4ERR_XDEV = 18,
	NFS4ERR_NOTDIR = 20,
	NFS4ERR_ISDIR = 21,
	NFS4ERR_INVAL = 22,
	NFS4ERR_FBIG = 27,
	NFS4ERR_NOSPC = 28,
	NFS4ERR_ROFS = 30,
	NFS4ERR_MLINK = 31,
	NFS4ERR_NAMETOOLONG = 63,
	NFS4ERR_NOTEMPTY = 66,
	NFS4ERR_DQUOT = 69,
	NFS4ERR_STALE = 70,
	NFS4ERR_BADHANDLE = 10001,
	NFS4ERR_BAD_COOKIE = 10003,
	NFS4ERR_NOTSUPP = 10004,
	NFS4ERR_TOOSMALL = 10005,
	NFS4ERR_SERVERFAULT = 10006,
	NFS4ERR_BADTYPE = 10007,
	NFS4ERR_DELAY = 10008,
	NFS4ERR_SAME = 10009,
	NFS4ERR_DENIED = 10010,
	NFS4ERR_EXPIRED = 10011,
	NFS4ERR_LOCKED = 10012,
	NFS4ERR_GRACE = 10013,
	NFS4ERR_SHARE_DENIED = 10015,
	NFS4ERR_WRONGSEC = 10016,
	NFS4ERR_CLID_INUSE = 10017,
	NFS4ERR_RESOURCE = 10018,
	NFS4ERR_NOFILEHANDLE = 10020,
	NFS4ERR_MINOR_VERS_MISMATCH = 10021,
	NFS4ERR_STALE_CLIENTID = 10022,
	NFS4ERR_STALE_STATEID = 10023,
	NFS4ERR_NOT_SAME = 10027,
	NFS4ERR_SYMLINK = 10029,
	NFS4ERR_RESTOREFH = 10030,
	NFS4ERR_ATTRNOTSUPP = 10032,
	NFS4ERR_NO_GRACE = 10033,
	NFS4ERR_OLD_STATEID = 10024,
	NFS4ERR_BAD_STATEID = 10025,
	NFS4ERR_BAD_SEQID = 10026,
	NFS4ERR_BADXDR = 10036,
	NFS4ERR_LOCKS_HELD = 10037,
	NFS4ERR_OPENMODE = 10038,
	NFS4ERR_BADOWNER = 10039,
	NFS4ERR_BADNAME = 10041,
	NFS4ERR_OP_ILLEGAL = 10044,
	NFS4ERR_CB_PATH_DOWN = 10048,
	NFS4ERR_BADSESSION = 10052,
	NFS4ERR_BADSLOT = 10053,
	NFS4ERR_COMPLETE_ALREADY = 10054,
	NFS4ERR_CONN_NOT_BOUND_TO_SESSION = 10055,
	NFS4ERR_SEQ_MISORDERED = 10063,
	NFS4ERR_SEQUENCE_POS = 10064,
	NFS4ERR_REQ_TOO_BIG = 10065,
	NFS4ERR_REP_TOO_BIG = 10066,
	NFS4ERR_REP_TOO_BIG_TO_CACHE = 10067,
	NFS4ERR_RETRY_UNCACHED_REP = 10068,
	NFS4ERR_TOO_MANY_OPS = 10070,
	NFS4ERR_OP_NOT_IN_SESSION = 10071,
	NFS4ERR_CLIENTID_BUSY = 10074,
	NFS4ERR_SEQ_FALSE_RETRY = 10076,
	NFS4ERR_ENCR_ALG_UNSUPP = 10079,
	NFS4ERR_NOT_ONLY_OP = 10081,
	NFS4ERR_WRONG_TYPE = 10083,
	NFS4ERR_DELEG_REVOKED = 10087,
	NFS4ERR_UNION_NOTSUPP = 10090,
	NFS4ERR_NOXATTR = 10095,
	NFS4ERR_XATTR2BIG = 10096,
};

/* Not a status: the operation goes on, nfs4_done() will be called. */
#define NFS4_PENDING (-1)

#define NFS4_OPS_MAX    64u
#define NFS4_TAG_MAX    1024u
#define NFS4_OWNER_MAX  1024u
#define NFS4_SLOTS      32u
#define NFS4_REPLY_MAX  ((1u << 20) + 4096)
#define NFS4_CACHED_MAX 2048u /* bytes of a reply kept for a retry */
#define NFS4_ATTR_WORDS 3u

struct nfs4_bitmap {
	uint32_t words[NFS4_ATTR_WORDS];
	bool other; /* a bit behind these */
};

struct nfs4_stateid {
	uint32_t seqid;
	uint8_t other[12];
};

int nfs4_status_of(int result); /* of a vfs error */
/* The same of an operation on the contents of call->vfs' object, which may not be a file. */
int nfs4_status_of_file(const struct nfs_call *call, int result);
/* What an object of @type that should be a file gives: OK, ISDIR, SYMLINK, WRONG_TYPE, INVAL. */
int nfs4_not_a_file(const struct nfs_call *call, enum vfs_type type);
/* Ends an operation that was pending. */
void nfs4_done(struct nfs_call *call, int status);
/* Submit call->vfs; @done gets the vfs result and ends with nfs4_done(). */
int nfs4_submit(struct nfs_call *call, enum vfs_op op,
		void (*done)(struct nfs_call *call, int result));
/* The current (saved) filehandle is an object: NFS4_OK, or NOFILEHANDLE. @changes: ROFS on a
 * read-only export, and on the root above the exports. */
int nfs4_need_object(struct nfs_call *call, bool changes);
void nfs4_set_object(struct nfs_call *call, const struct vfs_object *object);
/* change_info4 of call->vfs' directory. */
void nfs4_put_change(struct nfs_call *call, unsigned which);
/* A component of a path: BADNAME, INVAL, NAMETOOLONG. */
int nfs4_get_name(struct nfs_call *call, const char **ret_name, unsigned *ret_length);

/* nfs4_attr.c */
void nfs4_get_bitmap(struct xdr_in *in, struct nfs4_bitmap *ret_bitmap);
/* Of those that can only be set; nobody can ask for their value: INVAL. */
bool nfs4_bitmap_unreadable(const struct nfs4_bitmap *wanted);
void nfs4_put_bitmap(struct xdr_out *out, const struct nfs4_bitmap *bitmap);
bool nfs4_bitmap_wants_fsstat(const struct nfs4_bitmap *wanted);
/* fattr4 of an object: those of @wanted that are supported. @export NULL: the root above. The ACL
 * is call->vfs.aces, or, without them, what the mode says if that is all. */
void nfs4_put_attrs(struct nfs_call *call, const struct nfs4_bitmap *wanted,
		    const struct nfs_export *export, const struct vfs_object *object,
		    const struct vfs_attr *attr, const struct vfs_fsstat *fsstat);
/* fattr4 to set: set, aces and ace_count of *ret_request. NFS4_OK, ATTRNOTSUPP, INVAL, BADOWNER,
 * FBIG, BADXDR. An ACL is in memory of the call's own. */
int nfs4_get_set(struct nfs_call *call, struct vfs_request *ret_request,
		 struct nfs4_bitmap *ret_bitmap);

/* nfs4_acl.c (RFC 8881 6.2): acl of an object with these entries, and one to be set. */
void nfs4_put_acl(struct xdr_out *out, const struct vfs_ace *aces, unsigned count);
int nfs4_get_acl(struct nfs_call *call, struct xdr_in *in, struct vfs_request *ret_request);
bool nfs4_get_id(const uint8_t *text, uint32_t length, uint32_t *ret_id); /* decimal */
bool nfs4_bitmap_wants_acl(const struct nfs_call *call, const struct nfs4_bitmap *wanted);
/* VFS_ACL_GET of the current object, then @done; its ACL is in call->vfs, and stays there if that
 * is submitted again for something else. */
int nfs4_submit_acl(struct nfs_call *call, void (*done)(struct nfs_call *call, int result));
void nfs4_root_attr(struct nfs_call *call, struct vfs_attr *ret_attr);

/* nfs4_state.c: clients, sessions, opens; one mutex, shared by all loops, held for memory work
 * only. */
struct nfs4_client;
struct nfs4_session;
struct nfs4_open;

/* Who makes a client known, and is the only one to change that. */
struct nfs4_principal {
	uint32_t flavor, uid;
	uint8_t certificate[16]; /* whose it was that made it known; zeros: nobody's */
};
static inline struct nfs4_principal nfs4_principal_of(const struct nfs_call *call)
{
	struct nfs4_principal principal = {call->rpc.flavor, call->rpc.uid, {0}};

	if (call->conn->peer_tls)
		memcpy(principal.certificate, call->conn->peer_tls->id,
		       sizeof(principal.certificate));
	return principal;
}

struct nfs4_exchange {
	struct nfs4_principal principal;
	struct nfs_address peer; /* CLID_INUSE of v4.0: who is using it */
	uint8_t verifier[8];
	const uint8_t *owner;
	uint32_t owner_length;
	uint32_t minor; /* 0, or 1 for all that have sessions */
	bool update;
	uint64_t id; /* results */
	uint32_t sequence;
	bool confirmed;
};
int nfs4_exchange_id(struct nfs4_server *nfs4, struct nfs4_exchange *exchange, uint64_t now);
/* What a session's requests may be (RFC 8881 18.36.3): bytes of one and of its reply, from the RPC
 * header on, and of a reply that is kept; operations of one; slots. */
struct nfs4_channel {
	uint32_t request, reply, cached, operations, requests;
};
/* How a session's client is to be called: csa_cb_program and the first of csa_sec_parms that we can
 * do; usable: there is one, and it takes calls as large as ours. */
struct nfs4_back_how {
	bool usable;
	uint32_t program, flavor, uid, gid;
};
struct nfs4_session_args {
	uint64_t client;
	uint32_t sequence;
	struct nfs4_channel fore, back; /* made smaller where we have less */
	struct nfs4_back_how how;
	bool back_fits;      /* there is room for our calls */
	bool bind_back;      /* the connection is to carry calls to the client; result: it does */
	uint8_t session[16]; /* result */
};
/* The same request as the last one: the session is the one that was made then. */
int nfs4_create_session(struct nfs_call *call, struct nfs4_session_args *args);
/* BIND_CONN_TO_SESSION: *back: wanted, and got. */
int nfs4_bind_conn(struct nfs_call *call, const uint8_t id[16], bool *back);
void nfs4_backchannel_ctl(struct nfs_call *call, const struct nfs4_back_how *how);
/* The session of the call itself goes when that is answered, if it is the last operation of it. */
int nfs4_destroy_session(struct nfs_call *call, const uint8_t id[16]);
int nfs4_destroy_clientid(struct nfs4_server *nfs4, uint64_t client);
/* v4.0: SETCLIENTID (exchange->minor is 0), SETCLIENTID_CONFIRM, RENEW. */
struct nfs4_target;
int nfs4_set_clientid(struct nfs4_server *nfs4, struct nfs4_exchange *exchange,
		      const struct nfs4_target *target, uint8_t ret_confirm[8], uint64_t now);
int nfs4_confirm_clientid(struct nfs_call *call, uint64_t id, const uint8_t verifier[8]);
/* CB_PATH_DOWN: renewed, but it has delegations and can not be called. */
int nfs4_renew(struct nfs4_server *nfs4, uint64_t id, uint64_t now);
uint32_t nfs4_lease_seconds(const struct nfs_server *server);
/* For NLM: nfs4_gives_way() from outside. */
bool nfs4_client_gives_way(struct nfs_server *server, uint64_t id, uint64_t now);
/* Is there one with this id, and is it @session (NULL: whichever)? */
bool nfs4_session_is(struct nfs4_server *nfs4, const uint8_t id[16],
		     const struct nfs4_session *session);

struct nfs4_sequence {
	uint8_t session[16];
	uint32_t sequence, slot;
	bool cache_this;
	uint32_t highest_slot, flags; /* results; flags: SEQ4_STATUS_... */
};
/* NFS4_OK: the slot is the call's until nfs4_slot_release(). NFS4_PENDING: a retry, whose answer
 * has been put to call->out behind the RPC header. */
int nfs4_slot_take(struct nfs_call *call, struct nfs4_sequence *sequence, uint64_t now);
void nfs4_slot_release(struct nfs_call *call);
int nfs4_reclaim_complete(struct nfs_call *call, bool one_fs);

/* An open file. nfs4_open_add takes over one HOLD of @object; *ret_upgraded: it was open by this
 * owner already, and the HOLD is the caller's again. */
struct nfs4_open_args {
	uint32_t access, deny;
	bool cut; /* the file is to be made empty */
	const uint8_t *owner;
	uint32_t owner_length;
};
int nfs4_open_add(struct nfs_call *call, const struct nfs4_open_args *args,
		  const struct vfs_object *object, struct nfs4_stateid *ret_stateid,
		  bool *ret_upgraded);
int nfs4_open_downgrade(struct nfs_call *call, struct nfs4_stateid *stateid, uint32_t access,
			uint32_t deny);
/* The HOLD is the caller's. */
int nfs4_open_close(struct nfs_call *call, struct nfs4_stateid *stateid);
/* May the current file be read (1), written (2) with @stateid? *ret_opened: rights were checked
 * at OPEN. */
int nfs4_open_check(struct nfs_call *call, const struct nfs4_stateid *stateid, uint32_t access,
		    bool *ret_opened);
int nfs4_stateid_test(struct nfs_call *call, const struct nfs4_stateid *stateid);
int nfs4_stateid_free(struct nfs_call *call, const struct nfs4_stateid *stateid);
/* Forget what is open on shares that @table has not; @table is in force. */
void nfs4_forget_shares(struct nfs4_server *nfs4, struct nfs_table *table);
/* May the call's client have new state on the current share (@reclaim: claim old one) now?
 * NFS4_OK, GRACE, NO_GRACE. */
int nfs4_grace_check(struct nfs_call *call, bool reclaim);
/* The operation is looked at again soon: @again runs, at most @most times in all. False: that was
 * enough, or nobody will hear of it. */
#define NFS4_WAIT_NS (5ull * 1000000)
bool nfs4_wait(struct nfs_call *call, unsigned most, void (*again)(struct nfs_call *call));
/* An operation that met a client whose lease had run out, and that had to give way, goes on when
 * the loss is on disk: @again runs then, or soon to look once more. False: not so, or it takes too
 * long; the operation ends with NFS4ERR_DELAY. */
bool nfs4_wait_for_loss(struct nfs_call *call, void (*again)(struct nfs_call *call));
/* Make sure of the client's record on the share, then done(call, status). */
void nfs4_record(struct nfs_call *call, void (*done)(struct nfs_call *call, int status));

/* Byte-range locks on the current file. */
struct nfs4_lock_args {
	struct nfs4_stateid stateid; /* of the open (from_open) or the lock; the result's */
	bool from_open, reclaim;
	struct lock_range range;
	uint64_t client; /* v4.0 */
	const uint8_t *owner;
	uint32_t owner_length, lock_seqid;
	struct lock_conflict *conflict; /* filled with NFS4ERR_DENIED */
};
int nfs4_lock(struct nfs_call *call, struct nfs4_lock_args *args);
int nfs4_lock_test(struct nfs_call *call, struct nfs4_lock_args *args);
int nfs4_unlock(struct nfs_call *call, struct nfs4_stateid *stateid, uint64_t first, uint64_t last);
int nfs4_release_lock_owner(struct nfs_call *call, uint64_t client, const void *owner,
			    uint32_t length);

/* v4.0: an owner's operations come one after the other (RFC 7530 9.1.7). True: it is @seqid's turn,
 * until nfs4_turn_end(). False: *ret_status is what the operation returns: an error, what it
 * returned the first time (the results are there), or NFS4_PENDING: the first one is still at
 * work, and this call is through. */
bool nfs4_turn_of_owner(struct nfs_call *call, uint64_t client, const void *owner, uint32_t length,
			uint32_t seqid, int *ret_status);
bool nfs4_turn_of_stateid(struct nfs_call *call, const struct nfs4_stateid *stateid, uint32_t seqid,
			  int *ret_status);
void nfs4_turn_end(struct nfs_call *call, int status);
int nfs4_owner_confirm(struct nfs_call *call, struct nfs4_stateid *stateid);
void nfs4_owner_claimed(struct nfs_call *call); /* no confirmation is asked for (RFC 7530 9.1.11) */
bool nfs4_owner_confirmed(const struct nfs_call *call);

/* Stateids on the wire; the current stateid (RFC 8881 16.2.3.1.2) stands for the one that the
 * compound made. */
struct nfs4_stateid nfs4_get_stateid(struct xdr_in *in);
void nfs4_use_current(const struct nfs_call *call, struct nfs4_stateid *stateid);
void nfs4_put_stateid(struct nfs_call *call, const struct nfs4_stateid *stateid);
/* enum nfs_versions of the call's minor version. */
unsigned nfs4_version(const struct nfs_call *call);

/* Operations: arguments decoded from call->in, results to call->out. They return a status, or
 * NFS4_PENDING. */
int nfs4_op_exchange_id(struct nfs_call *call);
int nfs4_op_create_session(struct nfs_call *call);
int nfs4_op_destroy_session(struct nfs_call *call);
int nfs4_op_destroy_clientid(struct nfs_call *call);
int nfs4_op_bind_conn(struct nfs_call *call);
int nfs4_op_sequence(struct nfs_call *call);
int nfs4_op_reclaim_complete(struct nfs_call *call);
int nfs4_op_open(struct nfs_call *call);
int nfs4_op_open_downgrade(struct nfs_call *call);
int nfs4_op_close(struct nfs_call *call);
int nfs4_op_test_stateid(struct nfs_call *call);
int nfs4_op_free_stateid(struct nfs_call *call);
int nfs4_op_open_confirm(struct nfs_call *call);
int nfs4_op_delegreturn(struct nfs_call *call);
int nfs4_op_lock(struct nfs_call *call);
int nfs4_op_lockt(struct nfs_call *call);
int nfs4_op_locku(struct nfs_call *call);
int nfs4_op_release_lockowner(struct nfs_call *call);
int nfs4_op_setclientid(struct nfs_call *call);
int nfs4_op_setclientid_confirm(struct nfs_call *call);
int nfs4_op_renew(struct nfs_call *call);
int nfs4_op_backchannel_ctl(struct nfs_call *call);
int nfs4_op_readdir(struct nfs_call *call);
int nfs4_op_allocate(struct nfs_call *call);
int nfs4_op_copy(struct nfs_call *call);
int nfs4_op_offload_cancel(struct nfs_call *call);
int nfs4_op_offload_status(struct nfs_call *call);
int nfs4_op_deallocate(struct nfs_call *call);
int nfs4_op_io_advise(struct nfs_call *call);
int nfs4_op_read_plus(struct nfs_call *call);
int nfs4_op_seek(struct nfs_call *call);
int nfs4_op_clone(struct nfs_call *call);
int nfs4_op_getxattr(struct nfs_call *call);
int nfs4_op_setxattr(struct nfs_call *call);
int nfs4_op_listxattrs(struct nfs_call *call);
int nfs4_op_removexattr(struct nfs_call *call);
extern int (*const nfs4_file_ops[])(struct nfs_call *call); /* nfs4_ops.c, by number */
#define NFS4_FILE_OPS 54u

#endif
