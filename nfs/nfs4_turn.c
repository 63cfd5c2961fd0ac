/* SPDX-License-Identifier: Apache-2.0 */
/* nfs4_turn.c: v4.0: the turn of an owner: its sequence numbers, and retries (RFC 7530 9.1.7). */
#include <string.h>

#include "nfs/nfs4_state.h"

/* These leave the sequence number where it was. */
static bool does_not_count(int status)
{
	return status == NFS4ERR_STALE_CLIENTID || status == NFS4ERR_STALE_STATEID ||
	       status == NFS4ERR_BAD_STATEID || status == NFS4ERR_BAD_SEQID ||
	       status == NFS4ERR_BADXDR || status == NFS4ERR_RESOURCE ||
	       status == NFS4ERR_NOFILEHANDLE;
}

/* A retry gets what it got. */
static int replay(struct nfs_call *call, const struct nfs4_owner *owner)
{
	if (owner->replay_op != call->compound.operation)
		return NFS4ERR_BAD_SEQID;
	if (owner->replay_length)
		xdr_put_fixed(&call->out, owner->replay_body, owner->replay_length);
	if (owner->replay_placed && call->export)
		nfs4_set_object(call, &owner->replay_object);
	call->compound.keep_body = true;
	return owner->replay_status;
}

static bool turn_locked(struct nfs_call *call, struct nfs4_owner *owner, uint32_t seqid,
			int *ret_status)
{
	if (owner->pins) { /* the same one is at work: it will answer */
		*ret_status = NFS4_PENDING;
		return false;
	}
	if (owner->heard && seqid == owner->seqid && owner->replay) {
		*ret_status = replay(call, owner);
		return false;
	}
	if (owner->heard && seqid != owner->seqid + 1) {
		*ret_status = NFS4ERR_BAD_SEQID;
		return false;
	}
	owner->pins++;
	list_remove(&owner->link); /* the last one that was heard of */
	list_push_back(&owner->client->owners, &owner->link);
	owner->client->renewed_ns = nfs_call_now(call);
	call->compound.owner = owner;
	call->compound.owner_seqid = seqid;
	call->compound.client = owner->client;
	call->compound.asker = owner->client->id;
	return true;
}

/* One that was never confirmed begins anew (RFC 7530 16.18.5). */
static struct nfs4_owner *turning_owner(struct nfs4_server *nfs4, struct nfs4_client *client,
					const void *bytes, uint32_t length, uint32_t seqid)
{
	struct nfs4_owner *owner = nfs4_owner_make(nfs4, client, false, bytes, length);

	if (!owner || owner->confirmed || owner->pins || !owner->heard ||
	    (seqid == owner->seqid && owner->replay))
		return owner;
	nfs4_drop_owner(nfs4, owner);
	return nfs4_owner_get(client, false, bytes, length, true);
}

bool nfs4_turn_of_owner(struct nfs_call *call, uint64_t id, const void *bytes, uint32_t length,
			uint32_t seqid, int *ret_status)
{
	struct nfs4_server *nfs4 = nfs4_server_of(call);
	struct nfs4_client *client;
	struct nfs4_owner *owner;
	bool turn = false;

	pthread_mutex_lock(&nfs4->lock);
	client = nfs4_client_by_id(nfs4, id);
	*ret_status = NFS4ERR_STALE_CLIENTID;
	if (client && client->minor == 0 && client->confirmed) {
		owner = turning_owner(nfs4, client, bytes, length, seqid);
		*ret_status = NFS4ERR_RESOURCE;
		turn = owner && turn_locked(call, owner, seqid, ret_status);
	}
	pthread_mutex_unlock(&nfs4->lock);
	if (!turn && *ret_status == NFS4_PENDING)
		nfs_call_drop(call);
	return turn;
}

bool nfs4_turn_of_stateid(struct nfs_call *call, const struct nfs4_stateid *stateid, uint32_t seqid,
			  int *ret_status)
{
	struct nfs4_server *nfs4 = nfs4_server_of(call);
	struct nfs4_stateid any = *stateid;
	struct nfs4_state *state;
	uint32_t index;
	bool turn;

	pthread_mutex_lock(&nfs4->lock);
	/* The seqid of a retry's stateid is an old one. */
	memcpy(&index, stateid->other + 4, 4);
	if (index < NFS4_STATES_MAX && nfs4->states[index])
		any.seqid = nfs4->states[index]->sequence;
	*ret_status = nfs4_find_state(call, &any, &state);
	turn = *ret_status == NFS4_OK && turn_locked(call, state->owner, seqid, ret_status);
	pthread_mutex_unlock(&nfs4->lock);
	if (!turn && *ret_status == NFS4_PENDING)
		nfs_call_drop(call);
	return turn;
}

/* The results lie in call->out from the operation's body on. */
static void keep_replay(struct nfs_call *call, struct nfs4_owner *owner, int status)
{
	size_t at = call->compound.body_at, length = xdr_length(&call->out) - at;

	owner->heard = true;
	owner->seqid = call->compound.owner_seqid;
	owner->replay = length <= sizeof(owner->replay_body) && !call->out.full;
	owner->replay_op = call->compound.operation;
	owner->replay_status = status;
	owner->replay_length = owner->replay ? (uint32_t)length : 0;
	if (owner->replay)
		memcpy(owner->replay_body, call->out.base + at, length);
	owner->replay_placed = status == NFS4_OK;
	owner->replay_object = call->compound.current.object;
}

void nfs4_turn_end(struct nfs_call *call, int status)
{
	struct nfs4_server *nfs4 = nfs4_server_of(call);
	struct nfs4_owner *owner = call->compound.owner;

	if (!owner)
		return;
	pthread_mutex_lock(&nfs4->lock);
	owner->pins--;
	if (!does_not_count(status))
		keep_replay(call, owner, status);
	else if (!owner->heard && list_empty(&owner->states))
		nfs4_drop_owner(nfs4, owner);
	call->compound.owner = NULL;
	pthread_mutex_unlock(&nfs4->lock);
}

int nfs4_owner_confirm(struct nfs_call *call, struct nfs4_stateid *stateid)
{
	struct nfs4_server *nfs4 = nfs4_server_of(call);
	struct nfs4_state *open;
	int status;

	pthread_mutex_lock(&nfs4->lock);
	status = nfs4_find_here(call, stateid, false, &open);
	if (status == NFS4_OK && open->owner->confirmed)
		status = NFS4ERR_BAD_STATEID;
	if (status == NFS4_OK) {
		open->owner->confirmed = true;
		nfs4_state_step(open);
		nfs4_state_fill(nfs4, open, stateid);
	}
	pthread_mutex_unlock(&nfs4->lock);
	return status;
}

void nfs4_owner_claimed(struct nfs_call *call)
{
	struct nfs4_server *nfs4 = nfs4_server_of(call);

	pthread_mutex_lock(&nfs4->lock);
	if (call->compound.owner)
		call->compound.owner->confirmed = true;
	pthread_mutex_unlock(&nfs4->lock);
}

bool nfs4_owner_confirmed(const struct nfs_call *call)
{
	return !call->compound.owner || call->compound.owner->confirmed;
}
