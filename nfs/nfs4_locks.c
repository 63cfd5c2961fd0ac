/* SPDX-License-Identifier: Apache-2.0 */
/* nfs4_locks.c: byte-range locks: lock owners, their states and when they may be asked for
 * (RFC 8881 9, RFC 7530 9). */
#include <errno.h>

#include "nfs/nfs4_deleg.h"

/* The lock state of an owner on an open file, made when it is not there. */
static int lock_state(struct nfs_call *call, const struct nfs4_lock_args *args,
		      struct nfs4_state **ret_state, bool *ret_fresh)
{
	struct nfs4_server *nfs4 = nfs4_server_of(call);
	struct nfs4_owner *owner;
	struct nfs4_state *open, *state;
	int status;

	*ret_fresh = false;
	if (!args->from_open)
		return nfs4_find_here(call, &args->stateid, true, ret_state);
	status = nfs4_find_here(call, &args->stateid, false, &open);
	if (status == NFS4_OK && call->compound.minor == 0 &&
	    args->client != call->compound.client->id)
		status = NFS4ERR_STALE_CLIENTID;
	if (status != NFS4_OK)
		return status;
	owner = nfs4_owner_make(nfs4, call->compound.client, true, args->owner, args->owner_length);
	if (!owner)
		return NFS4ERR_DELAY;
	state = nfs4_state_of(owner, open->key.volume, &open->key.object);
	if (state && call->compound.minor == 0) {
		if (owner->pins || lock_owner_holds(nfs4_locks_of(nfs4), &owner->locks, NULL))
			return NFS4ERR_BAD_SEQID; /* RFC 7530 16.10.5 */
		/* It has no locks any more, and may begin anew (RFC 7530 9.1.10). */
		nfs4_drop_lock(nfs4, state);
		state = NULL;
	}
	if (!state) {
		state = nfs4_state_new(call, owner, &open->key.object);
		if (!state) {
			nfs4_owner_tidy(owner);
			return NFS4ERR_DELAY;
		}
		state->open = open;
		list_push_back(&open->locks, &state->open_link);
		*ret_fresh = true;
	}
	*ret_state = state;
	return NFS4_OK;
}

static int lock_locked(struct nfs_call *call, struct nfs4_lock_args *args)
{
	struct nfs4_server *nfs4 = nfs4_server_of(call);
	struct nfs4_state *state;
	bool fresh;
	int status = lock_state(call, args, &state, &fresh), result;

	if (status != NFS4_OK)
		return status;
	if (!(state->open->share.access & (args->range.exclusive ? 2 : 1))) {
		status = NFS4ERR_OPENMODE;
	} else {
		result = lock_set(nfs4_locks_of(nfs4), &state->key, &state->owner->locks,
				  &args->range, args->conflict);
		status = result == 0 ? NFS4_OK
			 : result == -EAGAIN
			     ? nfs4_in_the_way(call, args->conflict->client, NFS4ERR_DENIED)
			     : NFS4ERR_DELAY;
	}
	if (status == NFS4_OK) {
		if (args->from_open) { /* the turns of a v4.0 lock owner begin here */
			state->owner->heard = true;
			state->owner->seqid = args->lock_seqid;
			state->owner->replay = false;
		}
		nfs4_state_step(state);
		nfs4_state_fill(nfs4, state, &args->stateid);
	} else if (fresh) {
		struct nfs4_owner *owner = state->owner;

		nfs4_state_free(nfs4, state);
		nfs4_owner_tidy(owner);
	}
	return status;
}

/* Claims and new state each have their time (RFC 8881 8.4.2.1, RFC 7530 9.6.2). */
int nfs4_grace_check(struct nfs_call *call, bool reclaim)
{
	struct nfs_grace *grace = call->conn->server->grace;
	const struct nfs4_client *client = call->compound.client;
	uint64_t volume = call->export->id;

	if (reclaim)
		return !client->complete && nfs_grace_may_reclaim(grace, volume, client->record)
			   ? NFS4_OK
			   : NFS4ERR_NO_GRACE;
	if (call->compound.minor && !client->complete)
		return NFS4ERR_GRACE;
	return nfs_grace_running(grace, volume) ? NFS4ERR_GRACE : NFS4_OK;
}

int nfs4_lock(struct nfs_call *call, struct nfs4_lock_args *args)
{
	struct nfs4_server *nfs4 = nfs4_server_of(call);
	struct nfs4_state *state;
	int status;

	pthread_mutex_lock(&nfs4->lock);
	status = nfs4_find_here(call, &args->stateid, !args->from_open, &state);
	if (status == NFS4_OK)
		status = nfs4_grace_check(call, args->reclaim);
	if (status == NFS4_OK && !args->reclaim &&
	    !nfs_record_settled(nfs4->server->grace, call->export->id))
		status = NFS4ERR_DELAY;
	if (status == NFS4_OK)
		status = lock_locked(call, args);
	pthread_mutex_unlock(&nfs4->lock);
	return status;
}

int nfs4_lock_test(struct nfs_call *call, struct nfs4_lock_args *args)
{
	struct nfs4_server *nfs4 = nfs4_server_of(call);
	struct lock_key key = {call->export->id, call->compound.current.object};
	struct nfs4_client *client = call->compound.client;
	struct nfs4_owner *owner;
	int status = NFS4_OK;

	pthread_mutex_lock(&nfs4->lock);
	if (call->compound.minor == 0) {
		client = nfs4_client_by_id(nfs4, args->client);
		if (!client || client->minor || !client->confirmed)
			status = NFS4ERR_STALE_CLIENTID;
		else
			client->renewed_ns = nfs_call_now(call);
		call->compound.client = client;
	}
	if (status == NFS4_OK && nfs_grace_running(nfs4->server->grace, key.volume))
		status = NFS4ERR_GRACE;
	if (status == NFS4_OK) {
		owner = nfs4_owner_get(client, true, args->owner, args->owner_length, false);
		if (lock_test(nfs4_locks_of(nfs4), &key, owner ? &owner->locks : NULL, &args->range,
			      args->conflict) < 0)
			status = nfs4_in_the_way(call, args->conflict->client, NFS4ERR_DENIED);
	}
	pthread_mutex_unlock(&nfs4->lock);
	return status;
}

int nfs4_unlock(struct nfs_call *call, struct nfs4_stateid *stateid, uint64_t first, uint64_t last)
{
	struct nfs4_server *nfs4 = nfs4_server_of(call);
	struct nfs4_state *state;
	int status;

	pthread_mutex_lock(&nfs4->lock);
	status = nfs4_find_here(call, stateid, true, &state);
	if (status == NFS4_OK &&
	    lock_clear(nfs4_locks_of(nfs4), &state->key, &state->owner->locks, first, last) < 0)
		status = NFS4ERR_DELAY;
	if (status == NFS4_OK) {
		nfs4_state_step(state);
		nfs4_state_fill(nfs4, state, stateid);
	}
	pthread_mutex_unlock(&nfs4->lock);
	return status;
}

/* RFC 7530 16.37. */
int nfs4_release_lock_owner(struct nfs_call *call, uint64_t id, const void *bytes, uint32_t length)
{
	struct nfs4_server *nfs4 = nfs4_server_of(call);
	struct nfs4_client *client;
	struct nfs4_owner *owner = NULL;
	int status = NFS4_OK;

	pthread_mutex_lock(&nfs4->lock);
	client = nfs4_client_by_id(nfs4, id);
	if (!client || client->minor || !client->confirmed)
		status = NFS4ERR_STALE_CLIENTID;
	else
		owner = nfs4_owner_get(client, true, bytes, length, false);
	if (owner && (owner->pins || lock_owner_holds(nfs4_locks_of(nfs4), &owner->locks, NULL)))
		status = NFS4ERR_LOCKS_HELD;
	else if (owner)
		nfs4_drop_owner(nfs4, owner);
	pthread_mutex_unlock(&nfs4->lock);
	return status;
}
