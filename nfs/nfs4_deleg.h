/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NFS_NFS4_DELEG_H
#define NFS_NFS4_DELEG_H

#include "nfs/nfs4_back.h"

/* Read delegations (RFC 8881 10.2 to 10.5, RFC 7530 10.2 to 10.5): a client may open and read a
 * file and keep what it has read without asking, until it is called back. Nothing else is
 * delegated.
 *
 * A delegation is given to a client that can be called, of a file that nobody has open for writing
 * and nobody is changing, and that was not called back a short while ago. Whoever wants to change
 * the file, to open it for writing or to keep readers out waits (NFS4ERR_DELAY, NFS3ERR_JUKEBOX)
 * until it has been returned; one that is not returned within a lease is revoked.
 *
 * Writers of any version mark what they change before they look for delegations, and delegations
 * are counted before marks are looked for: one of the two sees the other. */

#define NFS4_DELEGATIONS_MAX        8192u
#define NFS4_DELEGATIONS_CLIENT_MAX 2048u

struct nfs4_delegation;
struct nfs4_delegations;
int nfs4_delegations_create(struct nfs4_delegations **ret_delegations);
void nfs4_delegations_destroy(struct nfs4_delegations *delegations); /* empty; NULL is fine */

/* OPEN's delegation of the current file: @want are its OPEN4_SHARE_ACCESS_WANT flags. *ret_why: of
 * an open_none_delegation4, where there is none. */
enum nfs4_no_delegation {
	NFS4_NOT_WANTED = 0,
	NFS4_CONTENTION = 1,
	NFS4_NO_RESOURCE = 2,
	NFS4_NOT_TO_WRITE = 4,
	NFS4_CANCELLED = 7,
};
#define NFS4_WANT_MASK   0xff00u
#define NFS4_WANT_READ   0x0100u
#define NFS4_WANT_WRITE  0x0200u
#define NFS4_WANT_ANY    0x0300u
#define NFS4_WANT_NONE   0x0400u
#define NFS4_WANT_CANCEL 0x0500u
bool nfs4_delegate(struct nfs_call *call, uint32_t want, bool reclaim,
		   struct nfs4_stateid *ret_stateid, enum nfs4_no_delegation *ret_why);
/* Why one that wishes for this gets none, whatever the file. */
enum nfs4_no_delegation nfs4_why_none(uint32_t want);
/* Does the call's client wish for a delegation, while it is just being tried out whether it can be
 * called? */
bool nfs4_delegate_soon(struct nfs_call *call, uint32_t want);
int nfs4_delegation_return(struct nfs_call *call, const struct nfs4_stateid *stateid);
/* An OPEN goes by a delegation: is it the call's client's, of @object, and is @access in it? */
int nfs4_delegation_claim(struct nfs_call *call, const struct nfs4_stateid *stateid,
			  const struct vfs_object *object, uint32_t access);

/* Under nfs4->lock: the rest.
 * nfs4_is_delegation: the stateid is one's by its looks. nfs4_delegation_find: with any version's
 * errors; DELEG_REVOKED with the delegation. nfs4_delegation_covers: it is of the current file. */
bool nfs4_is_delegation(const struct nfs4_stateid *stateid);
int nfs4_delegation_find(struct nfs_call *call, const struct nfs4_stateid *stateid,
			 struct nfs4_delegation **ret_delegation);
bool nfs4_delegation_covers(const struct nfs_call *call, const struct nfs4_delegation *delegation);
/* One that was revoked is acknowledged. */
void nfs4_delegation_free(struct nfs4_server *nfs4, struct nfs4_delegation *delegation);
/* nfs4_delegation_in_way: has another client than @own (an id; 0: nobody) the file delegated? Then
 * it is being called back. */
bool nfs4_delegation_in_way(struct nfs4_server *nfs4, const struct lock_key *key, uint64_t own,
			    uint64_t now);
unsigned nfs4_delegation_count(const struct nfs4_client *client, unsigned *ret_recalled);
void nfs4_drop_delegations(struct nfs4_server *nfs4, struct nfs4_client *client);
void nfs4_note_delegations_expired(struct nfs4_server *nfs4, const struct nfs4_client *client);
/* Those of shares that the table has not are taken from their clients. */
void nfs4_forget_delegations(struct nfs4_server *nfs4, const struct nfs_table *table);
void nfs4_recall_answered(struct nfs4_server *nfs4, const struct nfs4_back_about *about, int result,
			  uint32_t status, uint64_t now);
/* The client can be called (again): what it has not been told yet. */
void nfs4_recall_again(struct nfs4_server *nfs4, struct nfs4_client *client, uint64_t now);

/* Any thread, no lock: for change.c. A mark on an object that is about to change: which one, and
 * false where it may be delegated to somebody. */
bool nfs4_change_mark(struct nfs4_server *nfs4, const struct lock_key *key, uint32_t *ret_mark);
void nfs4_change_unmark(struct nfs4_server *nfs4, uint32_t mark);
bool nfs4_any_delegation(const struct nfs4_server *nfs4);
/* nfs4_delegation_in_way(), from outside. nfs4_asker: whose operation it is, 0 where it does not
 * say. */
bool nfs4_delegated(struct nfs_server *server, const struct lock_key *key, uint64_t own,
		    uint64_t now);
uint64_t nfs4_asker(const struct nfs_call *call);

#endif
