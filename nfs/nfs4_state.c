/* SPDX-License-Identifier: Apache-2.0 */
/* nfs4_state.c: owners, what they have open, and the stateids that stand for it (RFC 8881 8, 9;
 * RFC 7530 9). nfs4_locks.c: what they have locked; nfs4_turn.c: v4.0's sequence numbers. Who may
 * open and lock what is decided by lock.c; here is who asks. */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "core/heap.h"
#include "core/log.h"
#include "nfs/nfs4_deleg.h"

/* ---- holds on objects that nobody waits for */

/* A HOLD is given back on the first I/O loop; the table keeps its vfs until then. */
struct give_back {
	struct message message;
	struct nfs_table *table;
	struct vfs *vfs;
	struct vfs_credentials credentials;
	struct vfs_request request;
};

static void given_back(struct vfs_request *request, int result)
{
	struct give_back *job = container_of(request, struct give_back, request);

	(void)result;
	nfs_table_unref(job->table);
	heap_free(job);
}

static void give_back(struct message *message)
{
	struct give_back *job = container_of(message, struct give_back, message);

	job->request.op = VFS_RELEASE;
	job->request.credentials = &job->credentials;
	job->request.done = given_back;
	vfs_submit(job->vfs, &job->request);
}

/* Without memory the hold lasts until the share is closed. */
static void release_later(struct nfs4_server *nfs4, const struct nfs4_state *state)
{
	struct give_back *job = nfs4->table ? heap_zalloc(sizeof(*job)) : NULL;

	if (!job)
		return;
	job->table = nfs_table_ref(nfs4->table);
	job->vfs = state->vfs;
	job->request.object = state->key.object;
	loop_post(nfs4->server->options.io_loops[0], &job->message, give_back);
}

/* ---- the end of things; under the lock */

/* What it holds goes; the entry stays for its stateid. */
static void empty_state(struct nfs4_server *nfs4, struct nfs4_state *state)
{
	if (state->owner->is_lock)
		lock_owner_drop(nfs4_locks_of(nfs4), &state->owner->locks, &state->key);
	else
		lock_share_drop(nfs4_locks_of(nfs4), &state->share);
}

void nfs4_state_free(struct nfs4_server *nfs4, struct nfs4_state *state)
{
	nfs4->states[state->index] = NULL;
	if (state->index < nfs4->free_hint)
		nfs4->free_hint = state->index;
	list_remove(&state->link);
	list_remove(&state->open_link);
	state->owner->client->states--;
	vfs_unref(state->vfs);
	heap_free(state);
}

void nfs4_drop_lock(struct nfs4_server *nfs4, struct nfs4_state *state)
{
	empty_state(nfs4, state);
	nfs4_state_free(nfs4, state);
}

static void free_owner(struct nfs4_owner *owner)
{
	list_remove(&owner->link);
	heap_free(owner);
}

/* An owner of v4.1 that has nothing is nobody; v4.0's stay for their sequence numbers, until there
 * are too many of them (bound_idle()). */
void nfs4_owner_tidy(struct nfs4_owner *owner)
{
	if (owner->client->minor && !owner->pins && list_empty(&owner->states) &&
	    list_empty(&owner->locks.ranges))
		free_owner(owner);
}

static void drop_locks_of(struct nfs4_server *nfs4, struct nfs4_state *open)
{
	while (!list_empty(&open->locks)) {
		struct nfs4_state *lock =
		    list_entry(open->locks.next, struct nfs4_state, open_link);
		struct nfs4_owner *owner = lock->owner;

		nfs4_drop_lock(nfs4, lock);
		nfs4_owner_tidy(owner);
	}
}

/* @hold: the open's HOLD on the object goes too. */
static void drop_open(struct nfs4_server *nfs4, struct nfs4_state *open, bool hold)
{
	drop_locks_of(nfs4, open);
	if (hold && !open->closed)
		release_later(nfs4, open);
	empty_state(nfs4, open);
	nfs4_state_free(nfs4, open);
}

static struct nfs4_state *first_state(const struct nfs4_owner *owner)
{
	return list_empty(&owner->states) ? NULL
					  : list_entry(owner->states.next, struct nfs4_state, link);
}

void nfs4_drop_owner(struct nfs4_server *nfs4, struct nfs4_owner *owner)
{
	struct nfs4_state *state;

	while ((state = first_state(owner))) {
		if (owner->is_lock)
			nfs4_drop_lock(nfs4, state);
		else
			drop_open(nfs4, state, true);
	}
	free_owner(owner);
}

void nfs4_expire(struct nfs4_server *nfs4, uint32_t index, uint32_t number)
{
	nfs4->expired[nfs4->expired_next++ % NFS4_EXPIRED_MAX] =
	    (struct nfs4_expired){index, number};
}

void nfs4_note_expired(struct nfs4_server *nfs4, const struct nfs4_client *client)
{
	if (client->minor) /* its sessions go, and with them all that could ask */
		return;
	list_for_each (it, &client->owners) {
		const struct nfs4_owner *owner = list_entry(it, struct nfs4_owner, link);

		list_for_each (at, &owner->states) {
			const struct nfs4_state *state = list_entry(at, struct nfs4_state, link);

			nfs4_expire(nfs4, state->index, state->number);
		}
	}
	nfs4_note_delegations_expired(nfs4, client);
}

bool nfs4_is_expired(const struct nfs4_server *nfs4, uint32_t index, uint32_t number)
{
	for (unsigned i = 0; i < NFS4_EXPIRED_MAX; i++)
		if (nfs4->expired[i].index == index && nfs4->expired[i].number == number)
			return number != 0;
	return false;
}

bool nfs4_client_in_use(const struct nfs4_client *client)
{
	list_for_each (it, &client->owners)
		if (list_entry(it, struct nfs4_owner, link)->pins)
			return true;
	return false;
}

void nfs4_drop_states(struct nfs4_server *nfs4, struct nfs4_client *client)
{
	while (!list_empty(&client->owners))
		nfs4_drop_owner(nfs4, list_entry(client->owners.next, struct nfs4_owner, link));
}

void nfs4_forget_shares(struct nfs4_server *nfs4, struct nfs_table *table)
{
	pthread_mutex_lock(&nfs4->lock);
	for (unsigned i = 0; i < nfs4->state_hint; i++) {
		struct nfs4_state *state = nfs4->states[i];
		struct nfs4_owner *owner;

		if (!state || nfs_table_by_id(table, state->key.volume))
			continue;
		owner = state->owner;
		if (owner->is_lock)
			nfs4_drop_lock(nfs4, state);
		else
			drop_open(nfs4, state, true);
		nfs4_owner_tidy(owner);
	}
	nfs4_forget_delegations(nfs4, table);
	nfs4->table = table;
	pthread_mutex_unlock(&nfs4->lock);
}

/* ---- owners */

struct nfs4_owner *nfs4_owner_get(struct nfs4_client *client, bool is_lock, const void *bytes,
				  uint32_t length, bool make)
{
	struct nfs4_owner *owner;

	list_for_each (it, &client->owners) {
		owner = list_entry(it, struct nfs4_owner, link);
		if (owner->is_lock == is_lock && owner->length == length &&
		    memcmp(owner->bytes, bytes, length) == 0)
			return owner;
	}
	if (!make || !(owner = heap_zalloc(sizeof(*owner) + length)))
		return NULL;
	owner->client = client;
	owner->is_lock = is_lock;
	owner->length = length;
	memcpy(owner->bytes, bytes, length);
	lock_owner_init(&owner->locks, client->id, 0, owner->bytes, length);
	list_init(&owner->states);
	list_push_back(&client->owners, &owner->link);
	return owner;
}

/* v4.0: kept for a retry of its last operation only. */
static bool is_idle(const struct nfs4_owner *owner)
{
	const struct nfs4_state *state = first_state(owner);

	return !owner->pins && list_empty(&owner->locks.ranges) &&
	       (!state || (state->closed && state->link.next == &owner->states));
}

/* Clients make new owners as time goes by (Linux: one for each user, each time): of those that have
 * nothing any more the oldest goes. */
static void bound_idle(struct nfs4_server *nfs4, struct nfs4_client *client)
{
	struct nfs4_owner *oldest = NULL;
	unsigned count = 0;

	list_for_each (it, &client->owners) {
		struct nfs4_owner *owner = list_entry(it, struct nfs4_owner, link);

		if (!is_idle(owner))
			continue;
		oldest = oldest ? oldest : owner;
		count++;
	}
	if (count >= NFS4_IDLE_OWNERS_MAX)
		nfs4_drop_owner(nfs4, oldest);
}

struct nfs4_owner *nfs4_owner_make(struct nfs4_server *nfs4, struct nfs4_client *client,
				   bool is_lock, const void *bytes, uint32_t length)
{
	struct nfs4_owner *owner = nfs4_owner_get(client, is_lock, bytes, length, false);

	if (owner)
		return owner;
	if (client->minor == 0)
		bound_idle(nfs4, client);
	return nfs4_owner_get(client, is_lock, bytes, length, true);
}

/* ---- stateids */

void nfs4_state_fill(const struct nfs4_server *nfs4, const struct nfs4_state *state,
		     struct nfs4_stateid *stateid)
{
	stateid->seqid = state->sequence;
	memcpy(stateid->other, &nfs4->boot, 4);
	memcpy(stateid->other + 4, &state->index, 4);
	memcpy(stateid->other + 8, &state->number, 4);
}

void nfs4_state_step(struct nfs4_state *state)
{
	if (++state->sequence == 0)
		state->sequence = 1;
}

static int check_seqid(const struct nfs_call *call, const struct nfs4_stateid *stateid,
		       const struct nfs4_state *state)
{
	if (stateid->seqid == state->sequence || (call->compound.minor && stateid->seqid == 0))
		return NFS4_OK;
	return (int32_t)(stateid->seqid - state->sequence) < 0 ? NFS4ERR_OLD_STATEID
							       : NFS4ERR_BAD_STATEID;
}

/* No state of anybody's: all zeros or all ones (RFC 8881 8.2.3). */
static bool is_special(const struct nfs4_stateid *stateid)
{
	uint8_t any = 0, all = 0xff;

	for (unsigned i = 0; i < sizeof(stateid->other); i++) {
		any |= stateid->other[i];
		all &= stateid->other[i];
	}
	return any == 0 || all == 0xff;
}

/* The client's own, seqid and all (RFC 8881 8.2.2, RFC 7530 9.1.4). */
int nfs4_find_state(struct nfs_call *call, const struct nfs4_stateid *stateid,
		    struct nfs4_state **ret_state)
{
	struct nfs4_server *nfs4 = nfs4_server_of(call);
	uint32_t boot, index, number;
	struct nfs4_state *state;
	int status;

	if (is_special(stateid))
		return NFS4ERR_BAD_STATEID;
	memcpy(&boot, stateid->other, 4);
	memcpy(&index, stateid->other + 4, 4);
	memcpy(&number, stateid->other + 8, 4);
	if (boot != nfs4->boot && call->compound.minor == 0)
		return NFS4ERR_STALE_STATEID;
	state = index < NFS4_STATES_MAX ? nfs4->states[index] : NULL;
	if (boot != nfs4->boot || !state || state->number != number)
		return call->compound.minor == 0 && nfs4_is_expired(nfs4, index, number)
			   ? NFS4ERR_EXPIRED
			   : NFS4ERR_BAD_STATEID;
	if (call->compound.minor ? state->owner->client != call->compound.client
				 : state->owner->client->minor != 0)
		return NFS4ERR_BAD_STATEID;
	status = check_seqid(call, stateid, state);
	if (status != NFS4_OK)
		return status;
	if (call->compound.minor == 0) {
		call->compound.client = state->owner->client;
		call->compound.asker = state->owner->client->id;
		state->owner->client->renewed_ns = nfs_call_now(call);
	}
	*ret_state = state;
	return NFS4_OK;
}

static bool is_here(const struct nfs_call *call, const struct nfs4_state *state)
{
	return !call->compound.current.pseudo && state->key.volume == call->export->id &&
	       vfs_object_equal(&state->key.object, &call->compound.current.object);
}

int nfs4_find_here(struct nfs_call *call, const struct nfs4_stateid *stateid, bool is_lock,
		   struct nfs4_state **ret_state)
{
	int status = nfs4_find_state(call, stateid, ret_state);

	if (status != NFS4_OK)
		return status;
	return (*ret_state)->closed || (*ret_state)->owner->is_lock != is_lock ||
		       !is_here(call, *ret_state)
		   ? NFS4ERR_BAD_STATEID
		   : NFS4_OK;
}

struct nfs4_state *nfs4_state_new(struct nfs_call *call, struct nfs4_owner *owner,
				  const struct vfs_object *object)
{
	struct nfs4_server *nfs4 = nfs4_server_of(call);
	uint32_t index = nfs4->free_hint;
	struct nfs4_state *state;

	while (index < nfs4->state_hint && nfs4->states[index])
		index++;
	if (index == NFS4_STATES_MAX || !(state = heap_zalloc(sizeof(*state))))
		return NULL;
	nfs4->free_hint = index + 1;
	if (index == nfs4->state_hint)
		nfs4->state_hint++;
	state->owner = owner;
	state->vfs = vfs_ref(call->export->vfs);
	state->key = (struct lock_key){.volume = call->export->id, .object = *object};
	state->index = index;
	state->number = (uint32_t)++nfs4->next_number;
	state->share.client = owner->client->id;
	list_init(&state->locks);
	list_init(&state->open_link);
	list_push_back(&owner->states, &state->link);
	owner->client->states++;
	nfs4->states[index] = state;
	return state;
}

struct nfs4_state *nfs4_state_of(const struct nfs4_owner *owner, uint64_t volume,
				 const struct vfs_object *object)
{
	list_for_each (it, &owner->states) {
		struct nfs4_state *state = list_entry(it, struct nfs4_state, link);

		if (!state->closed && state->key.volume == volume &&
		    vfs_object_equal(&state->key.object, object))
			return state;
	}
	return NULL;
}

/* ---- opens */

/* Somebody is in the way: @refused, or DELAY while what an expired client had is taken away. */
int nfs4_in_the_way(struct nfs_call *call, uint64_t client, int refused)
{
	if (client == call->compound.client->id)
		return refused;
	if (!nfs4_gives_way(nfs4_server_of(call), client, nfs_call_now(call)))
		return refused;
	call->compound.gave_way = true;
	return NFS4ERR_DELAY;
}

/* An OPEN that nobody else may have delegated the file for; in v4.0 nor who asks: as the public
 * servers do, and clients return what they have before they open to write. One that is refused
 * anyhow calls nothing back. */
static int check_delegated_open(struct nfs_call *call, const struct nfs4_open_args *args,
				const struct nfs4_state *open, const struct lock_key *key)
{
	struct nfs4_server *nfs4 = nfs4_server_of(call);
	uint64_t own = call->compound.minor ? call->compound.client->id : 0, who = 0;

	if ((!(args->access & 2) && !(args->deny & 1) && !args->cut) || !nfs4_any_delegation(nfs4))
		return NFS4_OK;
	if (lock_share_test(nfs4_locks_of(nfs4), key, open ? &open->share : NULL, args->access,
			    args->deny, &who) < 0)
		return nfs4_in_the_way(call, who, NFS4ERR_SHARE_DENIED);
	return nfs4_delegation_in_way(nfs4, key, own, nfs_call_now(call)) ? NFS4ERR_DELAY : NFS4_OK;
}

static int open_locked(struct nfs_call *call, const struct nfs4_open_args *args,
		       struct nfs4_owner *owner, const struct vfs_object *object,
		       struct nfs4_state **ret_open)
{
	struct nfs4_server *nfs4 = nfs4_server_of(call);
	struct lock_key key = {.volume = call->export->id, .object = *object};
	struct nfs4_state *open = nfs4_state_of(owner, call->export->id, object);
	bool fresh = !open;
	uint64_t who = 0;
	int result, status;

	/* One's own reservation is asked too (RFC 7530 16.16.5). */
	if (open && ((open->share.deny & args->access) || (open->share.access & args->deny)))
		return NFS4ERR_SHARE_DENIED;
	status = check_delegated_open(call, args, open, &key);
	if (status != NFS4_OK)
		return status;
	if (!open && !(open = nfs4_state_new(call, owner, object)))
		return NFS4ERR_DELAY;
	result =
	    lock_share_set(nfs4_locks_of(nfs4), &open->key, &open->share,
			   open->share.access | args->access, open->share.deny | args->deny, &who);
	if (result == 0) {
		open->modes |= 1u << (args->access - 1);
		open->uid = call->credentials.uid;
		nfs4_state_step(open);
		*ret_open = open;
		return NFS4_OK;
	}
	if (fresh)
		nfs4_state_free(nfs4, open);
	return result == -EAGAIN ? nfs4_in_the_way(call, who, NFS4ERR_SHARE_DENIED) : NFS4ERR_DELAY;
}

int nfs4_open_add(struct nfs_call *call, const struct nfs4_open_args *args,
		  const struct vfs_object *object, struct nfs4_stateid *ret_stateid,
		  bool *ret_upgraded)
{
	struct nfs4_server *nfs4 = nfs4_server_of(call);
	struct nfs4_owner *owner = call->compound.owner;
	struct nfs4_state *open = NULL;
	int status = NFS4_OK;

	*ret_upgraded = false;
	pthread_mutex_lock(&nfs4->lock);
	if (!owner)
		owner = nfs4_owner_make(nfs4, call->compound.client, false, args->owner,
					args->owner_length);
	/* A request on its way while its share was withdrawn leaves nothing behind. */
	if (nfs4->table && !nfs_table_by_id(nfs4->table, call->export->id))
		status = NFS4ERR_STALE;
	else if (!owner)
		status = NFS4ERR_DELAY;
	if (status == NFS4_OK) {
		*ret_upgraded = nfs4_state_of(owner, call->export->id, object) != NULL;
		status = open_locked(call, args, owner, object, &open);
		if (status == NFS4_OK)
			nfs4_state_fill(nfs4, open, ret_stateid);
		else
			nfs4_owner_tidy(owner);
	}
	if (status != NFS4_OK)
		*ret_upgraded = false;
	pthread_mutex_unlock(&nfs4->lock);
	return status;
}

/* Only to what some OPEN of it asked for (RFC 8881 18.18.3). */
static bool may_downgrade(const struct nfs4_state *open, uint32_t access, uint32_t deny)
{
	uint32_t reachable = 0;

	for (uint32_t one = 1; one <= 3; one++)
		if ((open->modes >> (one - 1) & 1) && (one & ~access) == 0)
			reachable |= one;
	return access >= 1 && access <= 3 && deny <= 3 && !(access & ~open->share.access) &&
	       !(deny & ~open->share.deny) && reachable == access;
}

int nfs4_open_downgrade(struct nfs_call *call, struct nfs4_stateid *stateid, uint32_t access,
			uint32_t deny)
{
	struct nfs4_server *nfs4 = nfs4_server_of(call);
	struct nfs4_state *open;
	uint64_t who;
	int status;

	pthread_mutex_lock(&nfs4->lock);
	status = nfs4_find_here(call, stateid, false, &open);
	if (status == NFS4_OK && !may_downgrade(open, access, deny))
		status = NFS4ERR_INVAL;
	if (status == NFS4_OK &&
	    lock_share_set(nfs4_locks_of(nfs4), &open->key, &open->share, access, deny, &who) < 0)
		status = NFS4ERR_DELAY;
	if (status == NFS4_OK) {
		for (uint32_t one = 1; one <= 3; one++)
			if (one & ~access)
				open->modes &= ~(1u << (one - 1));
		nfs4_state_step(open);
		nfs4_state_fill(nfs4, open, stateid);
	}
	pthread_mutex_unlock(&nfs4->lock);
	return status;
}

/* v4.0 keeps the last one that an owner closed, so that a retry of CLOSE finds its owner. */
static void close_locked(struct nfs4_server *nfs4, struct nfs4_state *open,
			 struct nfs4_stateid *stateid)
{
	struct nfs4_owner *owner = open->owner;

	nfs4_state_step(open);
	nfs4_state_fill(nfs4, open, stateid);
	if (owner->client->minor) {
		drop_open(nfs4, open, false);
		nfs4_owner_tidy(owner);
		return;
	}
	list_for_each_safe (it, &owner->states) {
		struct nfs4_state *other = list_entry(it, struct nfs4_state, link);

		if (other->closed)
			nfs4_state_free(nfs4, other);
	}
	drop_locks_of(nfs4, open);
	empty_state(nfs4, open);
	open->closed = true;
}

int nfs4_open_close(struct nfs_call *call, struct nfs4_stateid *stateid)
{
	struct nfs4_server *nfs4 = nfs4_server_of(call);
	struct nfs4_state *open;
	int status;

	pthread_mutex_lock(&nfs4->lock);
	status = nfs4_find_here(call, stateid, false, &open);
	if (status == NFS4_OK)
		close_locked(nfs4, open, stateid);
	pthread_mutex_unlock(&nfs4->lock);
	return status;
}

/* ---- what a READ, WRITE or SETATTR of the size may */

static bool is_all(const struct nfs4_stateid *stateid, uint8_t byte)
{
	for (unsigned i = 0; i < sizeof(stateid->other); i++)
		if (stateid->other[i] != byte)
			return false;
	return stateid->seqid == (byte ? UINT32_MAX : 0);
}

static int check_special(struct nfs_call *call, bool bypass, uint32_t access)
{
	struct nfs4_server *nfs4 = nfs4_server_of(call);
	struct lock_key key = {call->export->id, call->compound.current.object};
	uint64_t who = 0;

	if (bypass && access == 1)
		return NFS4_OK;
	if (nfs_grace_running(nfs4->server->grace, key.volume))
		return NFS4ERR_GRACE;
	if (lock_share_test(nfs4_locks_of(nfs4), &key, NULL, access, 0, &who) == 0)
		return NFS4_OK;
	return nfs4_gives_way(nfs4, who, nfs_call_now(call)) ? NFS4ERR_DELAY : NFS4ERR_LOCKED;
}

/* By a delegation, which is for reading. */
static int check_delegated(struct nfs_call *call, const struct nfs4_stateid *stateid,
			   uint32_t access)
{
	struct nfs4_delegation *delegation;
	int status = nfs4_delegation_find(call, stateid, &delegation);

	if (status == NFS4_OK && !nfs4_delegation_covers(call, delegation))
		status = NFS4ERR_BAD_STATEID;
	return status == NFS4_OK && access != 1 ? NFS4ERR_OPENMODE : status;
}

int nfs4_open_check(struct nfs_call *call, const struct nfs4_stateid *stateid, uint32_t access,
		    bool *ret_opened)
{
	struct nfs4_server *nfs4 = nfs4_server_of(call);
	struct nfs4_state *state;
	uint32_t has;
	int status;

	*ret_opened = false;
	pthread_mutex_lock(&nfs4->lock);
	if (is_all(stateid, 0) || is_all(stateid, 0xff)) {
		status = check_special(call, is_all(stateid, 0xff), access);
		pthread_mutex_unlock(&nfs4->lock);
		return status;
	}
	if (nfs4_is_delegation(stateid)) {
		status = check_delegated(call, stateid, access);
		*ret_opened = status == NFS4_OK;
		pthread_mutex_unlock(&nfs4->lock);
		return status;
	}
	status = nfs4_find_state(call, stateid, &state);
	if (status == NFS4_OK && (!is_here(call, state) || state->closed))
		status = NFS4ERR_BAD_STATEID;
	if (status == NFS4_OK) {
		has = state->open ? state->open->share.access : state->share.access;
		if ((access & ~has) && access == 2)
			status = NFS4ERR_OPENMODE;
		*ret_opened = status == NFS4_OK && !(access & ~has) &&
			      (state->open ? state->open : state)->uid == call->credentials.uid;
	}
	pthread_mutex_unlock(&nfs4->lock);
	return status;
}

int nfs4_stateid_test(struct nfs_call *call, const struct nfs4_stateid *stateid)
{
	struct nfs4_server *nfs4 = nfs4_server_of(call);
	struct nfs4_delegation *delegation;
	struct nfs4_state *state;
	int status;

	pthread_mutex_lock(&nfs4->lock);
	status = nfs4_is_delegation(stateid) ? nfs4_delegation_find(call, stateid, &delegation)
					     : nfs4_find_state(call, stateid, &state);
	pthread_mutex_unlock(&nfs4->lock);
	return status;
}

/* A lock stateid without locks goes (RFC 8881 18.38). */
static int free_locked(struct nfs_call *call, const struct nfs4_stateid *stateid)
{
	struct nfs4_server *nfs4 = nfs4_server_of(call);
	struct nfs4_owner *owner;
	struct nfs4_state *state;
	int status = nfs4_find_state(call, stateid, &state);

	if (status != NFS4_OK)
		return status;
	owner = state->owner;
	if (!owner->is_lock || lock_owner_holds(nfs4_locks_of(nfs4), &owner->locks, &state->key))
		return NFS4ERR_LOCKS_HELD;
	nfs4_drop_lock(nfs4, state);
	nfs4_owner_tidy(owner);
	return NFS4_OK;
}

/* So does a delegation that was revoked: its client knows now. */
static int free_revoked(struct nfs_call *call, const struct nfs4_stateid *stateid)
{
	struct nfs4_delegation *delegation;
	int status = nfs4_delegation_find(call, stateid, &delegation);

	if (status == NFS4ERR_DELEG_REVOKED) {
		nfs4_delegation_free(nfs4_server_of(call), delegation);
		return NFS4_OK;
	}
	return status == NFS4_OK ? NFS4ERR_LOCKS_HELD : status;
}

int nfs4_stateid_free(struct nfs_call *call, const struct nfs4_stateid *stateid)
{
	struct nfs4_server *nfs4 = nfs4_server_of(call);
	int status;

	pthread_mutex_lock(&nfs4->lock);
	status =
	    nfs4_is_delegation(stateid) ? free_revoked(call, stateid) : free_locked(call, stateid);
	pthread_mutex_unlock(&nfs4->lock);
	return status;
}

/* ---- the record on the share, before the first state on it */

static void recorded(struct nfs_call *call, int result)
{
	struct nfs4_server *nfs4 = nfs4_server_of(call);
	struct nfs4_client *client = call->compound.client;

	if (result < 0 && result != -EROFS)
		log_warning("NFS client %s: what it opens can not be claimed after a restart: %s",
			    call->conn->peer_text, strerror(-result));
	nfs_record_add(nfs4->server->grace, call->export->id, client->record);
	pthread_mutex_lock(&nfs4->lock);
	client->recorded = call->export->id;
	pthread_mutex_unlock(&nfs4->lock);
	call->record_done(call, NFS4_OK);
}

/* The client is pinned: by its session's slot, or by its owner. */
void nfs4_record(struct nfs_call *call, void (*done)(struct nfs_call *call, int status))
{
	struct nfs4_server *nfs4 = nfs4_server_of(call);
	struct nfs_grace *grace = nfs4->server->grace;
	struct nfs4_client *client = call->compound.client;
	uint64_t volume = call->export->id;
	bool known;

	pthread_mutex_lock(&nfs4->lock);
	known = client->recorded == volume;
	pthread_mutex_unlock(&nfs4->lock);
	if (!nfs_record_settled(grace, volume)) { /* somebody else's may be what is asked for */
		done(call, NFS4ERR_DELAY);
	} else if (known || nfs_record_has(grace, volume, client->record)) {
		done(call, NFS4_OK);
	} else {
		call->record_done = done;
		nfs_record_store(call, client->record, client->owner,
				 client->owner_length < NFS_RECORD_VALUE ? client->owner_length
									 : NFS_RECORD_VALUE,
				 recorded);
	}
}
