/* SPDX-License-Identifier: Apache-2.0 */
/* nfs4_deleg.c: read delegations, from OPEN to DELEGRETURN or what takes their place. A delegation
 * that is called back is looked at again whenever somebody runs into it: then it is called back
 * once more, or its time is over. */
#include "nfs/nfs4_deleg.h"

#include <errno.h>
#include <string.h>

#include "core/heap.h"
#include "core/log.h"

#define BUCKETS       1024u
#define IS_DELEGATION 0x80000000u          /* in a stateid's index */
#define AGAIN_NS      (250ull * 1000000)   /* from a call that failed to the next one */
#define REMIND_NS     (15ull * 1000000000) /* from one that was heard */
#define QUARREL_NS    (15ull * 1000000000) /* not delegated again after it was called back */
#define DOORS_MAX     128u
#define QUARRELS      64u
#define QUARREL_MAX   6u /* times the time doubles */

struct nfs4_delegation {
	struct list link, bucket; /* the client's; its file's, until it is revoked */
	struct nfs4_client *client;
	struct lock_key key;
	struct vfs *vfs;
	uint32_t index, number, mark;
	bool recalled, calling, revoked;
	uint64_t recalled_ns, next_ns; /* when it is called back again, at the earliest */
};

/* A file that somebody had delegated and another one changed: not again, for a while. */
struct quarrel {
	uint64_t hash, until_ns;
	unsigned times;
};

struct nfs4_delegations {
	struct nfs4_delegation *table[NFS4_DELEGATIONS_MAX];
	unsigned hint; /* nothing free below */
	struct list buckets[BUCKETS];
	uint64_t doors[DOORS_MAX]; /* shares that local mounts may change */
	unsigned door_count;
	bool doors_lost;
	struct quarrel quarrels[QUARRELS];
	unsigned next_quarrel;
	/* Atomic, by bucket: delegations, changes on their way; and how many there are at all. */
	uint32_t counts[BUCKETS], changing[BUCKETS], total;
};

int nfs4_delegations_create(struct nfs4_delegations **ret_delegations)
{
	struct nfs4_delegations *all = heap_zalloc(sizeof(*all));

	if (!all)
		return -ENOMEM;
	for (unsigned i = 0; i < BUCKETS; i++)
		list_init(&all->buckets[i]);
	*ret_delegations = all;
	return 0;
}

void nfs4_delegations_destroy(struct nfs4_delegations *delegations)
{
	heap_free(delegations);
}

static uint64_t hash_of(const struct lock_key *key)
{
	uint64_t hash = key->volume * 0x9e3779b97f4a7c15u;

	for (unsigned i = 0; i < key->object.length; i++)
		hash = (hash ^ key->object.bytes[i]) * 0x100000001b3u;
	return hash;
}

static uint32_t bucket_of(const struct lock_key *key)
{
	return (uint32_t)(hash_of(key) >> 24) % BUCKETS;
}

/* ---- marks; sequentially consistent, see nfs4_deleg.h */

bool nfs4_change_mark(struct nfs4_server *nfs4, const struct lock_key *key, uint32_t *ret_mark)
{
	struct nfs4_delegations *all = nfs4->delegations;
	uint32_t mark = bucket_of(key);

	*ret_mark = mark;
	__atomic_fetch_add(&all->changing[mark], 1, __ATOMIC_SEQ_CST);
	return __atomic_load_n(&all->counts[mark], __ATOMIC_SEQ_CST) == 0;
}

void nfs4_change_unmark(struct nfs4_server *nfs4, uint32_t mark)
{
	__atomic_fetch_sub(&nfs4->delegations->changing[mark], 1, __ATOMIC_SEQ_CST);
}

bool nfs4_any_delegation(const struct nfs4_server *nfs4)
{
	return __atomic_load_n(&nfs4->delegations->total, __ATOMIC_SEQ_CST) != 0;
}

static void count(struct nfs4_delegations *all, uint32_t mark)
{
	__atomic_fetch_add(&all->counts[mark], 1, __ATOMIC_SEQ_CST);
	__atomic_fetch_add(&all->total, 1, __ATOMIC_SEQ_CST);
}

static void uncount(struct nfs4_delegations *all, uint32_t mark)
{
	__atomic_fetch_sub(&all->counts[mark], 1, __ATOMIC_SEQ_CST);
	__atomic_fetch_sub(&all->total, 1, __ATOMIC_SEQ_CST);
}

/* ---- files that are not worth it */

static struct quarrel *quarrel_of(struct nfs4_delegations *all, uint64_t hash)
{
	for (unsigned i = 0; i < QUARRELS; i++)
		if (all->quarrels[i].times && all->quarrels[i].hash == hash)
			return &all->quarrels[i];
	return NULL;
}

static void note_quarrel(struct nfs4_delegations *all, const struct lock_key *key, uint64_t now)
{
	uint64_t hash = hash_of(key);
	struct quarrel *quarrel = quarrel_of(all, hash);

	if (!quarrel) {
		quarrel = &all->quarrels[all->next_quarrel++ % QUARRELS];
		*quarrel = (struct quarrel){.hash = hash};
	}
	quarrel->until_ns = now + (QUARREL_NS << quarrel->times);
	if (quarrel->times < QUARREL_MAX)
		quarrel->times++;
}

static bool is_quarrel(struct nfs4_delegations *all, const struct lock_key *key, uint64_t now)
{
	const struct quarrel *quarrel = quarrel_of(all, hash_of(key));

	return quarrel && now < quarrel->until_ns;
}

/* ---- the end of one */

static void leave_file(struct nfs4_delegations *all, struct nfs4_delegation *delegation)
{
	if (delegation->revoked)
		return;
	list_remove(&delegation->bucket);
	uncount(all, delegation->mark);
}

void nfs4_delegation_free(struct nfs4_server *nfs4, struct nfs4_delegation *delegation)
{
	struct nfs4_delegations *all = nfs4->delegations;
	struct nfs4_client *client = delegation->client;

	leave_file(all, delegation);
	if (delegation->revoked)
		client->revoked--;
	client->states--;
	list_remove(&delegation->link);
	all->table[delegation->index] = NULL;
	if (delegation->index < all->hint)
		all->hint = delegation->index;
	vfs_unref(delegation->vfs);
	heap_free(delegation);
}

/* v4.1 is told with every SEQUENCE until it says that it knows. */
static void take_back(struct nfs4_server *nfs4, struct nfs4_delegation *delegation)
{
	if (delegation->revoked)
		return;
	if (delegation->client->minor == 0) {
		nfs4_expire(nfs4, delegation->index | IS_DELEGATION, delegation->number);
		nfs4_delegation_free(nfs4, delegation);
		return;
	}
	leave_file(nfs4->delegations, delegation);
	delegation->revoked = true;
	delegation->client->revoked++;
}

/* It was not returned in time. */
static void revoke(struct nfs4_server *nfs4, struct nfs4_delegation *delegation)
{
	log_notice("NFS: a client has not returned a delegation that was called back: it is taken "
		   "from it");
	take_back(nfs4, delegation);
}

void nfs4_drop_delegations(struct nfs4_server *nfs4, struct nfs4_client *client)
{
	while (!list_empty(&client->delegations))
		nfs4_delegation_free(
		    nfs4, list_entry(client->delegations.next, struct nfs4_delegation, link));
}

unsigned nfs4_delegation_count(const struct nfs4_client *client, unsigned *ret_recalled)
{
	unsigned count = 0;

	*ret_recalled = 0;
	list_for_each (it, &client->delegations) {
		const struct nfs4_delegation *delegation =
		    list_entry(it, struct nfs4_delegation, link);

		count += !delegation->revoked;
		*ret_recalled += delegation->recalled && !delegation->revoked;
	}
	return count;
}

void nfs4_note_delegations_expired(struct nfs4_server *nfs4, const struct nfs4_client *client)
{
	list_for_each (it, &client->delegations) {
		const struct nfs4_delegation *delegation =
		    list_entry(it, struct nfs4_delegation, link);

		nfs4_expire(nfs4, delegation->index | IS_DELEGATION, delegation->number);
	}
}

void nfs4_forget_delegations(struct nfs4_server *nfs4, const struct nfs_table *table)
{
	for (unsigned i = 0; i < NFS4_DELEGATIONS_MAX; i++) {
		struct nfs4_delegation *delegation = nfs4->delegations->table[i];

		if (!delegation || nfs_table_by_id(table, delegation->key.volume))
			continue;
		vfs_unref(delegation->vfs);
		delegation->vfs = NULL;
		take_back(nfs4, delegation);
	}
}

/* ---- calling back */

static struct nfs4_stateid stateid_of(const struct nfs4_server *nfs4,
				      const struct nfs4_delegation *delegation)
{
	struct nfs4_stateid stateid = {.seqid = 1};
	uint32_t index = delegation->index | IS_DELEGATION;

	memcpy(stateid.other, &nfs4->boot, 4);
	memcpy(stateid.other + 4, &index, 4);
	memcpy(stateid.other + 8, &delegation->number, 4);
	return stateid;
}

static void call_back(struct nfs4_server *nfs4, struct nfs4_delegation *delegation, uint64_t now)
{
	struct handle_parts parts = {.volume = delegation->key.volume,
				     .object = delegation->key.object};
	struct nfs4_back_about about = {.kind = NFS4_BACK_RECALL,
					.index = delegation->index,
					.number = delegation->number,
					.stateid = stateid_of(nfs4, delegation)};

	if (delegation->calling || now < delegation->next_ns)
		return;
	handle_encode(delegation->vfs, &parts, &about.handle);
	delegation->calling = nfs4_back_call(nfs4, delegation->client, &about);
}

static void recall(struct nfs4_server *nfs4, struct nfs4_delegation *delegation, uint64_t now)
{
	if (!delegation->recalled) {
		delegation->recalled = true;
		delegation->recalled_ns = now;
		note_quarrel(nfs4->delegations, &delegation->key, now);
	}
	call_back(nfs4, delegation, now);
}

/* OK: it will be returned. Anything else (the reply to OPEN may not have been there yet): again,
 * when somebody asks. Not heard at all: as soon as there is another way. */
void nfs4_recall_answered(struct nfs4_server *nfs4, const struct nfs4_back_about *about, int result,
			  uint32_t status, uint64_t now)
{
	struct nfs4_delegation *delegation = nfs4->delegations->table[about->index];

	if (!delegation || delegation->number != about->number)
		return;
	delegation->calling = false;
	delegation->next_ns = result < 0          ? now
			      : status == NFS4_OK ? now + REMIND_NS
						  : now + AGAIN_NS;
}

void nfs4_recall_again(struct nfs4_server *nfs4, struct nfs4_client *client, uint64_t now)
{
	list_for_each (it, &client->delegations) {
		struct nfs4_delegation *delegation = list_entry(it, struct nfs4_delegation, link);

		if (delegation->recalled && !delegation->revoked)
			call_back(nfs4, delegation, now);
	}
}

static bool is_late(const struct nfs4_server *nfs4, const struct nfs4_delegation *delegation,
		    uint64_t now)
{
	return delegation->recalled && now > delegation->recalled_ns &&
	       now - delegation->recalled_ns > nfs4->lease_ns;
}

static struct nfs4_delegation *next_of(struct nfs4_server *nfs4, const struct lock_key *key,
				       uint64_t own, struct list *behind)
{
	const struct list *head = &nfs4->delegations->buckets[bucket_of(key)];

	for (struct list *it = behind->next; it != head; it = it->next) {
		struct nfs4_delegation *delegation = list_entry(it, struct nfs4_delegation, bucket);

		if (delegation->client->id != own && delegation->key.volume == key->volume &&
		    vfs_object_equal(&delegation->key.object, &key->object))
			return delegation;
	}
	return NULL;
}

bool nfs4_delegation_in_way(struct nfs4_server *nfs4, const struct lock_key *key, uint64_t own,
			    uint64_t now)
{
	struct list *head = &nfs4->delegations->buckets[bucket_of(key)], *behind = head;
	struct nfs4_delegation *delegation;
	bool any = false;

	while ((delegation = next_of(nfs4, key, own, behind))) {
		if (nfs4_gives_way(nfs4, delegation->client->id, now)) {
			any = true; /* until that is on disk */
			behind = head;
		} else if (is_late(nfs4, delegation, now)) {
			behind = delegation->bucket.prev;
			revoke(nfs4, delegation);
		} else {
			recall(nfs4, delegation, now);
			any = true;
			behind = &delegation->bucket;
		}
	}
	return any;
}

uint64_t nfs4_asker(const struct nfs_call *call)
{
	const struct nfs4_compound *compound = &call->compound;

	if (compound->minor == 0)
		return compound->asker;
	return compound->client ? compound->client->id : 0;
}

bool nfs4_delegated(struct nfs_server *server, const struct lock_key *key, uint64_t own,
		    uint64_t now)
{
	struct nfs4_server *nfs4 = server->nfs4;
	bool delegated;

	if (__atomic_load_n(&nfs4->delegations->counts[bucket_of(key)], __ATOMIC_SEQ_CST) == 0)
		return false;
	pthread_mutex_lock(&nfs4->lock);
	delegated = nfs4_delegation_in_way(nfs4, key, own, now);
	pthread_mutex_unlock(&nfs4->lock);
	return delegated;
}

/* Under the lock. */
static void recall_all(struct nfs4_server *nfs4, uint64_t volume, uint64_t now)
{
	for (unsigned i = 0; i < NFS4_DELEGATIONS_MAX; i++) {
		struct nfs4_delegation *delegation = nfs4->delegations->table[i];

		if (delegation && !delegation->revoked && delegation->key.volume == volume)
			recall(nfs4, delegation, now);
	}
}

void nfs_share_changed(struct nfs_server *server, const struct vfs *vfs)
{
	struct nfs4_server *nfs4 = server ? server->nfs4 : NULL;

	if (!nfs4 || !nfs4_any_delegation(nfs4))
		return;
	pthread_mutex_lock(&nfs4->lock);
	recall_all(nfs4, handle_volume(vfs), loop_now(server->options.control));
	pthread_mutex_unlock(&nfs4->lock);
}

static unsigned find_door(const struct nfs4_delegations *all, uint64_t volume)
{
	unsigned i = 0;

	while (i < all->door_count && all->doors[i] != volume)
		i++;
	return i;
}

/* One for each mount. Where there is no room for one more, nothing is delegated any more. */
void nfs_share_door(struct nfs_server *server, uint64_t volume, bool opens)
{
	struct nfs4_server *nfs4 = server->nfs4;
	struct nfs4_delegations *all = nfs4->delegations;
	unsigned door;

	pthread_mutex_lock(&nfs4->lock);
	door = find_door(all, volume);
	if (opens && all->door_count < DOORS_MAX)
		all->doors[all->door_count++] = volume;
	else if (opens)
		all->doors_lost = true;
	else if (door < all->door_count)
		all->doors[door] = all->doors[--all->door_count];
	if (opens)
		recall_all(nfs4, volume, loop_now(server->options.control));
	pthread_mutex_unlock(&nfs4->lock);
}

/* ---- giving */

/* One that was revoked does not count. */
static bool has_one(const struct nfs4_server *nfs4, const struct nfs4_client *client,
		    const struct lock_key *key)
{
	list_for_each (it, &nfs4->delegations->buckets[bucket_of(key)]) {
		const struct nfs4_delegation *delegation =
		    list_entry(it, struct nfs4_delegation, bucket);

		if (delegation->client == client && delegation->key.volume == key->volume &&
		    vfs_object_equal(&delegation->key.object, &key->object))
			return true;
	}
	return false;
}

/* Under the lock. The client can be called, the file is at peace, and there is room. @reclaim: it
 * had it when the server stopped, and grace is for that. */
static bool may_delegate(struct nfs_call *call, const struct lock_key *key, bool reclaim,
			 enum nfs4_no_delegation *ret_why)
{
	struct nfs4_server *nfs4 = nfs4_server_of(call);
	const struct nfs4_client *client = call->compound.client;
	struct lock_table *locks = nfs4->server->locks;
	struct lock_range all = {.last = LOCK_TO_END, .exclusive = true};
	uint64_t writer;

	*ret_why = NFS4_NO_RESOURCE;
	if (client->path != NFS4_PATH_UP || client->states >= NFS4_DELEGATIONS_CLIENT_MAX ||
	    has_one(nfs4, client, key) ||
	    (!reclaim && nfs_grace_running(nfs4->server->grace, key->volume)) ||
	    (nfs4->table && !nfs_table_by_id(nfs4->table, key->volume)))
		return false;
	*ret_why = NFS4_CONTENTION;
	return !call->export->vfs->others_change && !nfs4->delegations->doors_lost &&
	       find_door(nfs4->delegations, key->volume) == nfs4->delegations->door_count &&
	       !is_quarrel(nfs4->delegations, key, nfs_call_now(call)) &&
	       lock_share_test(locks, key, NULL, 0, 2, &writer) == 0 &&
	       lock_test(locks, key, NULL, &all, NULL) == 0;
}

static struct nfs4_delegation *new_delegation(struct nfs_call *call, const struct lock_key *key)
{
	struct nfs4_server *nfs4 = nfs4_server_of(call);
	struct nfs4_delegations *all = nfs4->delegations;
	struct nfs4_client *client = call->compound.client;
	struct nfs4_delegation *fresh;
	uint32_t index = all->hint;

	while (index < NFS4_DELEGATIONS_MAX && all->table[index])
		index++;
	all->hint = index;
	if (index == NFS4_DELEGATIONS_MAX || !(fresh = heap_zalloc(sizeof(*fresh))))
		return NULL;
	fresh->client = client;
	fresh->key = *key;
	fresh->vfs = vfs_ref(call->export->vfs);
	fresh->index = index;
	fresh->number = (uint32_t)++nfs4->next_number;
	fresh->mark = bucket_of(key);
	all->table[index] = fresh;
	list_push_back(&client->delegations, &fresh->link);
	list_push_back(&all->buckets[fresh->mark], &fresh->bucket);
	client->states++;
	count(all, fresh->mark);
	return fresh;
}

static bool delegate_locked(struct nfs_call *call, bool reclaim, struct nfs4_stateid *ret_stateid,
			    enum nfs4_no_delegation *ret_why)
{
	struct nfs4_server *nfs4 = nfs4_server_of(call);
	struct lock_key key = {call->export->id, call->compound.current.object};
	struct nfs4_delegation *fresh;

	if (!may_delegate(call, &key, reclaim, ret_why))
		return false;
	fresh = new_delegation(call, &key);
	if (!fresh) {
		*ret_why = NFS4_NO_RESOURCE;
		return false;
	}
	if (__atomic_load_n(&nfs4->delegations->changing[fresh->mark], __ATOMIC_SEQ_CST)) {
		nfs4_delegation_free(nfs4, fresh);
		return false;
	}
	*ret_stateid = stateid_of(nfs4, fresh);
	return true;
}

enum nfs4_no_delegation nfs4_why_none(uint32_t want)
{
	want &= NFS4_WANT_MASK;
	return want == NFS4_WANT_NONE     ? NFS4_NOT_WANTED
	       : want == NFS4_WANT_WRITE  ? NFS4_NOT_TO_WRITE
	       : want == NFS4_WANT_CANCEL ? NFS4_CANCELLED
					  : NFS4_NO_RESOURCE;
}

bool nfs4_delegate(struct nfs_call *call, uint32_t want, bool reclaim,
		   struct nfs4_stateid *ret_stateid, enum nfs4_no_delegation *ret_why)
{
	struct nfs4_server *nfs4 = nfs4_server_of(call);
	bool given;

	want &= NFS4_WANT_MASK;
	*ret_why = nfs4_why_none(want);
	if (want != 0 && want != NFS4_WANT_READ && want != NFS4_WANT_ANY)
		return false;
	pthread_mutex_lock(&nfs4->lock);
	given = delegate_locked(call, reclaim, ret_stateid, ret_why);
	pthread_mutex_unlock(&nfs4->lock);
	return given;
}

bool nfs4_delegate_soon(struct nfs_call *call, uint32_t want)
{
	struct nfs4_server *nfs4 = nfs4_server_of(call);
	bool soon;

	want &= NFS4_WANT_MASK;
	if (want != NFS4_WANT_READ && want != NFS4_WANT_ANY)
		return false;
	pthread_mutex_lock(&nfs4->lock);
	soon = call->compound.client->path == NFS4_PATH_ASKED;
	pthread_mutex_unlock(&nfs4->lock);
	return soon;
}

/* ---- stateids */

bool nfs4_is_delegation(const struct nfs4_stateid *stateid)
{
	uint32_t index;

	memcpy(&index, stateid->other + 4, 4);
	return (index & IS_DELEGATION) && (index & ~IS_DELEGATION) < NFS4_DELEGATIONS_MAX;
}

static int check_delegation(struct nfs_call *call, const struct nfs4_stateid *stateid,
			    const struct nfs4_delegation *delegation)
{
	struct nfs4_client *client = delegation->client;

	if (call->compound.minor ? client != call->compound.client : client->minor != 0)
		return NFS4ERR_BAD_STATEID;
	if (stateid->seqid > 1)
		return NFS4ERR_BAD_STATEID;
	if (stateid->seqid == 0 && call->compound.minor == 0)
		return NFS4ERR_OLD_STATEID;
	if (call->compound.minor == 0) {
		call->compound.client = client;
		client->renewed_ns = nfs_call_now(call);
	}
	return delegation->revoked ? NFS4ERR_DELEG_REVOKED : NFS4_OK;
}

int nfs4_delegation_find(struct nfs_call *call, const struct nfs4_stateid *stateid,
			 struct nfs4_delegation **ret_delegation)
{
	struct nfs4_server *nfs4 = nfs4_server_of(call);
	struct nfs4_delegation *delegation;
	uint32_t boot, index, number;

	if (!nfs4_is_delegation(stateid))
		return NFS4ERR_BAD_STATEID;
	memcpy(&boot, stateid->other, 4);
	memcpy(&index, stateid->other + 4, 4);
	memcpy(&number, stateid->other + 8, 4);
	if (boot != nfs4->boot)
		return call->compound.minor ? NFS4ERR_BAD_STATEID : NFS4ERR_STALE_STATEID;
	delegation = nfs4->delegations->table[index & ~IS_DELEGATION];
	if (!delegation || delegation->number != number)
		return call->compound.minor == 0 && nfs4_is_expired(nfs4, index, number)
			   ? NFS4ERR_EXPIRED
			   : NFS4ERR_BAD_STATEID;
	*ret_delegation = delegation;
	return check_delegation(call, stateid, delegation);
}

static bool is_of(const struct nfs_call *call, const struct nfs4_delegation *delegation,
		  const struct vfs_object *object)
{
	return delegation->key.volume == call->export->id &&
	       vfs_object_equal(&delegation->key.object, object);
}

bool nfs4_delegation_covers(const struct nfs_call *call, const struct nfs4_delegation *delegation)
{
	return !call->compound.current.pseudo &&
	       is_of(call, delegation, &call->compound.current.object);
}

int nfs4_delegation_claim(struct nfs_call *call, const struct nfs4_stateid *stateid,
			  const struct vfs_object *object, uint32_t access)
{
	struct nfs4_server *nfs4 = nfs4_server_of(call);
	struct nfs4_client *own = call->compound.client;
	struct nfs4_delegation *delegation;
	int status;

	pthread_mutex_lock(&nfs4->lock);
	status = nfs4_delegation_find(call, stateid, &delegation);
	if (status == NFS4_OK && (delegation->client != own || !is_of(call, delegation, object)))
		status = NFS4ERR_BAD_STATEID;
	if (status == NFS4_OK && access != 1)
		status = NFS4ERR_OPENMODE;
	call->compound.client = own; /* in v4.0 OPEN says who it is, not the delegation */
	pthread_mutex_unlock(&nfs4->lock);
	return status;
}

int nfs4_delegation_return(struct nfs_call *call, const struct nfs4_stateid *stateid)
{
	struct nfs4_server *nfs4 = nfs4_server_of(call);
	struct nfs4_delegation *delegation;
	int status;

	pthread_mutex_lock(&nfs4->lock);
	status = nfs4_delegation_find(call, stateid, &delegation);
	if (status == NFS4_OK && !nfs4_delegation_covers(call, delegation))
		status = NFS4ERR_BAD_STATEID;
	if (status == NFS4_OK)
		nfs4_delegation_free(nfs4, delegation);
	pthread_mutex_unlock(&nfs4->lock);
	return status;
}
