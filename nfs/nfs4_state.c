/* SPDX-License-Identifier: Apache-2.0 */
/* nfs4_state.c: who the clients are, their sessions and slots, and what they have open. In memory:
 * after a restart clients make themselves known anew (there is no grace period; RECLAIM is
 * answered NO_GRACE, and clients open again).
 *
 * A client whose lease has run out keeps its state until somebody is in need of it (courteous). */
#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "core/heap.h"
#include "nfs/nfs4.h"

#define CLIENTS_MAX  512u
#define SESSIONS_MAX 1024u
#define OPENS_MAX    16384u
#define LEASE_NS     (NFS4_LEASE_SECONDS * 1000000000ull)

struct slot {
	uint32_t sequence;
	bool running, kept;
	uint32_t length;
	uint8_t *reply; /* NFS4_CACHED_MAX */
};

struct nfs4_session {
	struct nfs4_client *client;
	uint32_t index;
	uint64_t number;
	struct slot slots[NFS4_SLOTS];
	uint8_t replies[NFS4_SLOTS][NFS4_CACHED_MAX];
};

struct nfs4_client {
	struct list link;
	uint64_t id, renewed_ns;
	uint8_t verifier[8];
	bool confirmed, reclaimed;
	uint32_t next_sequence; /* of CREATE_SESSION */
	uint8_t last_session[16];
	struct list opens;
	unsigned sessions;
	uint32_t owner_length;
	uint8_t owner[NFS4_OWNER_MAX];
};

struct nfs4_open {
	struct list link; /* the client's */
	struct nfs4_client *client;
	struct vfs *vfs; /* a reference */
	struct vfs_object object;
	uint32_t index, sequence, access, deny;
	uint64_t number;
	uint32_t owner_length;
	uint8_t owner[];
};

struct nfs4_server {
	pthread_mutex_t lock; /* all below; memory work only */
	uint64_t boot, next_number;
	struct list clients;
	unsigned client_count;
	struct nfs4_session *sessions[SESSIONS_MAX];
	struct nfs4_open *opens[OPENS_MAX];
	unsigned open_hint;
	const struct nfs_table *table; /* the newest; the control loop holds it */
};

int nfs4_server_create(struct nfs_server *server, struct nfs4_server **ret_nfs4)
{
	struct nfs4_server *nfs4 = heap_zalloc(sizeof(*nfs4));

	if (!nfs4)
		return -ENOMEM;
	pthread_mutex_init(&nfs4->lock, NULL);
	list_init(&nfs4->clients);
	nfs4->boot = server->boot_ns;
	*ret_nfs4 = nfs4;
	return 0;
}

static struct nfs4_server *server_of(const struct nfs_call *call)
{
	return call->conn->server->nfs4;
}

/* ---- the end of things; under the lock */

static void drop_open(struct nfs4_server *nfs4, struct nfs4_open *open)
{
	nfs4->opens[open->index] = NULL;
	list_remove(&open->link);
	vfs_unref(open->vfs);
	heap_free(open);
}

static void drop_session(struct nfs4_server *nfs4, struct nfs4_session *session)
{
	session->client->sessions--;
	nfs4->sessions[session->index] = NULL;
	heap_free(session);
}

static bool session_busy(const struct nfs4_session *session)
{
	for (unsigned i = 0; i < NFS4_SLOTS; i++)
		if (session->slots[i].running)
			return true;
	return false;
}

/* False: a request of its is running. */
static bool drop_client(struct nfs4_server *nfs4, struct nfs4_client *client)
{
	for (unsigned i = 0; i < SESSIONS_MAX; i++)
		if (nfs4->sessions[i] && nfs4->sessions[i]->client == client &&
		    session_busy(nfs4->sessions[i]))
			return false;
	for (unsigned i = 0; i < SESSIONS_MAX; i++)
		if (nfs4->sessions[i] && nfs4->sessions[i]->client == client)
			drop_session(nfs4, nfs4->sessions[i]);
	while (!list_empty(&client->opens))
		drop_open(nfs4, list_entry(client->opens.next, struct nfs4_open, link));
	list_remove(&client->link);
	nfs4->client_count--;
	heap_free(client);
	return true;
}

void nfs4_server_destroy(struct nfs4_server *nfs4)
{
	if (!nfs4)
		return;
	while (!list_empty(&nfs4->clients))
		if (!drop_client(nfs4, list_entry(nfs4->clients.next, struct nfs4_client, link)))
			break;
	pthread_mutex_destroy(&nfs4->lock);
	heap_free(nfs4);
}

void nfs4_forget_shares(struct nfs4_server *nfs4, const struct nfs_table *table)
{
	pthread_mutex_lock(&nfs4->lock);
	nfs4->table = table;
	for (unsigned i = 0; i < OPENS_MAX; i++)
		if (nfs4->opens[i] && !nfs_table_by_id(table, handle_volume(nfs4->opens[i]->vfs)))
			drop_open(nfs4, nfs4->opens[i]);
	pthread_mutex_unlock(&nfs4->lock);
}

/* ---- clients (RFC 8881 18.35) */

static struct nfs4_client *client_by_id(struct nfs4_server *nfs4, uint64_t id)
{
	list_for_each (it, &nfs4->clients) {
		struct nfs4_client *client = list_entry(it, struct nfs4_client, link);

		if (client->id == id)
			return client;
	}
	return NULL;
}

static struct nfs4_client *client_by_owner(struct nfs4_server *nfs4,
					   const struct nfs4_exchange *exchange, bool confirmed)
{
	list_for_each (it, &nfs4->clients) {
		struct nfs4_client *client = list_entry(it, struct nfs4_client, link);

		if (client->confirmed == confirmed &&
		    client->owner_length == exchange->owner_length &&
		    memcmp(client->owner, exchange->owner, client->owner_length) == 0)
			return client;
	}
	return NULL;
}

/* One that has not been heard of, the longest first. */
static bool make_room(struct nfs4_server *nfs4, uint64_t now)
{
	struct nfs4_client *oldest = NULL;

	if (nfs4->client_count < CLIENTS_MAX)
		return true;
	list_for_each (it, &nfs4->clients) {
		struct nfs4_client *client = list_entry(it, struct nfs4_client, link);

		if (!oldest || client->renewed_ns < oldest->renewed_ns)
			oldest = client;
	}
	return oldest && now - oldest->renewed_ns > LEASE_NS && drop_client(nfs4, oldest);
}

static struct nfs4_client *new_client(struct nfs4_server *nfs4,
				      const struct nfs4_exchange *exchange, uint64_t now)
{
	struct nfs4_client *client;

	if (!make_room(nfs4, now) || !(client = heap_zalloc(sizeof(*client))))
		return NULL;
	client->id = (nfs4->boot / 1000000) << 24 | (++nfs4->next_number & 0xffffff);
	client->renewed_ns = now;
	client->next_sequence = 1;
	client->owner_length = exchange->owner_length;
	memcpy(client->owner, exchange->owner, exchange->owner_length);
	memcpy(client->verifier, exchange->verifier, sizeof(client->verifier));
	list_init(&client->opens);
	list_push_back(&nfs4->clients, &client->link);
	nfs4->client_count++;
	return client;
}

static int exchange_locked(struct nfs4_server *nfs4, struct nfs4_exchange *exchange, uint64_t now)
{
	struct nfs4_client *known = client_by_owner(nfs4, exchange, true);
	struct nfs4_client *unknown = client_by_owner(nfs4, exchange, false);
	bool same =
	    known && memcmp(known->verifier, exchange->verifier, sizeof(known->verifier)) == 0;

	if (exchange->update && !known)
		return NFS4ERR_NOENT;
	if (exchange->update && !same)
		return NFS4ERR_NOT_SAME;
	if (!same) {
		if (unknown)
			drop_client(nfs4, unknown);
		known = new_client(nfs4, exchange, now);
		if (!known)
			return NFS4ERR_DELAY;
	}
	known->renewed_ns = now;
	exchange->id = known->id;
	exchange->sequence = known->next_sequence;
	exchange->confirmed = known->confirmed;
	return NFS4_OK;
}

int nfs4_exchange_id(struct nfs4_server *nfs4, struct nfs4_exchange *exchange, uint64_t now)
{
	int status;

	pthread_mutex_lock(&nfs4->lock);
	status = exchange_locked(nfs4, exchange, now);
	pthread_mutex_unlock(&nfs4->lock);
	return status;
}

int nfs4_destroy_clientid(struct nfs4_server *nfs4, uint64_t id)
{
	struct nfs4_client *client;
	int status = NFS4_OK;

	pthread_mutex_lock(&nfs4->lock);
	client = client_by_id(nfs4, id);
	if (!client)
		status = NFS4ERR_STALE_CLIENTID;
	else if (client->sessions || !list_empty(&client->opens))
		status = NFS4ERR_CLIENTID_BUSY;
	else
		drop_client(nfs4, client);
	pthread_mutex_unlock(&nfs4->lock);
	return status;
}

/* ---- sessions (RFC 8881 18.36) */

static void session_id(const struct nfs4_session *session, uint8_t id[16])
{
	memcpy(id, &session->client->id, 8);
	memcpy(id + 8, &session->index, 4);
	memcpy(id + 12, &session->number, 4);
}

static struct nfs4_session *find_session(struct nfs4_server *nfs4, const uint8_t id[16])
{
	struct nfs4_session *session;
	uint8_t real[16];
	uint32_t index;

	memcpy(&index, id + 8, 4);
	session = index < SESSIONS_MAX ? nfs4->sessions[index] : NULL;
	if (!session)
		return NULL;
	session_id(session, real);
	return memcmp(real, id, 16) == 0 ? session : NULL;
}

static struct nfs4_session *new_session(struct nfs4_server *nfs4, struct nfs4_client *client)
{
	struct nfs4_session *session;
	uint32_t index = 0;

	while (index < SESSIONS_MAX && nfs4->sessions[index])
		index++;
	if (index == SESSIONS_MAX || !(session = heap_zalloc(sizeof(*session))))
		return NULL;
	session->client = client;
	session->index = index;
	session->number = ++nfs4->next_number;
	for (unsigned i = 0; i < NFS4_SLOTS; i++)
		session->slots[i].reply = session->replies[i];
	nfs4->sessions[index] = session;
	client->sessions++;
	return session;
}

/* A client that comes back under its name with another verifier has restarted: what it had is
 * let go when the new one is confirmed. */
static void confirm(struct nfs4_server *nfs4, struct nfs4_client *client)
{
	struct nfs4_exchange same = {.owner = client->owner, .owner_length = client->owner_length};
	struct nfs4_client *older;

	if (client->confirmed)
		return;
	older = client_by_owner(nfs4, &same, true);
	if (older)
		drop_client(nfs4, older);
	client->confirmed = true;
}

static int create_session_locked(struct nfs4_server *nfs4, uint64_t id, uint32_t sequence,
				 uint8_t ret_id[16], uint64_t now)
{
	struct nfs4_client *client = client_by_id(nfs4, id);
	struct nfs4_session *session;

	if (!client)
		return NFS4ERR_STALE_CLIENTID;
	if (sequence == client->next_sequence - 1 && client->confirmed) {
		memcpy(ret_id, client->last_session, 16);
		return NFS4_OK;
	}
	if (sequence != client->next_sequence)
		return NFS4ERR_SEQ_MISORDERED;
	session = new_session(nfs4, client);
	if (!session)
		return NFS4ERR_DELAY;
	client->next_sequence++;
	client->renewed_ns = now;
	session_id(session, client->last_session);
	memcpy(ret_id, client->last_session, 16);
	confirm(nfs4, client);
	return NFS4_OK;
}

int nfs4_create_session(struct nfs4_server *nfs4, uint64_t client, uint32_t sequence,
			uint8_t ret_id[16], uint64_t now)
{
	int status;

	pthread_mutex_lock(&nfs4->lock);
	status = create_session_locked(nfs4, client, sequence, ret_id, now);
	pthread_mutex_unlock(&nfs4->lock);
	return status;
}

int nfs4_destroy_session(struct nfs4_server *nfs4, const uint8_t id[16])
{
	struct nfs4_session *session;
	int status = NFS4_OK;

	pthread_mutex_lock(&nfs4->lock);
	session = find_session(nfs4, id);
	if (!session)
		status = NFS4ERR_BADSESSION;
	else if (session_busy(session))
		status = NFS4ERR_DELAY;
	else
		drop_session(nfs4, session);
	pthread_mutex_unlock(&nfs4->lock);
	return status;
}

bool nfs4_session_exists(struct nfs4_server *nfs4, const uint8_t id[16])
{
	bool there;

	pthread_mutex_lock(&nfs4->lock);
	there = find_session(nfs4, id) != NULL;
	pthread_mutex_unlock(&nfs4->lock);
	return there;
}

/* ---- slots (RFC 8881 2.10.6) */

static int take_locked(struct nfs_call *call, const struct nfs4_sequence *sequence, uint64_t now)
{
	struct nfs4_session *session = find_session(server_of(call), sequence->session);
	struct slot *slot;

	if (!session)
		return NFS4ERR_BADSESSION;
	if (sequence->slot >= NFS4_SLOTS)
		return NFS4ERR_BADSLOT;
	slot = &session->slots[sequence->slot];
	session->client->renewed_ns = now;
	if (sequence->sequence == slot->sequence + 1 && !slot->running) {
		slot->sequence++;
		slot->running = true;
		slot->kept = false;
		call->compound.session = session;
		call->compound.slot = sequence->slot;
		call->compound.cache_this = sequence->cache_this;
		return NFS4_OK;
	}
	if (slot->running)
		return NFS4ERR_DELAY;
	if (sequence->sequence != slot->sequence || slot->sequence == 0)
		return NFS4ERR_SEQ_MISORDERED;
	if (!slot->kept)
		return NFS4ERR_RETRY_UNCACHED_REP;
	xdr_truncate(&call->out, RPC_MARK_LENGTH + RPC_REPLY_LENGTH);
	xdr_put_fixed(&call->out, slot->reply, slot->length);
	return NFS4_PENDING;
}

int nfs4_slot_take(struct nfs_call *call, const struct nfs4_sequence *sequence, uint64_t now)
{
	struct nfs4_server *nfs4 = server_of(call);
	int status;

	pthread_mutex_lock(&nfs4->lock);
	status = take_locked(call, sequence, now);
	pthread_mutex_unlock(&nfs4->lock);
	return status;
}

/* Small replies are kept, asked for or not. */
void nfs4_slot_release(struct nfs_call *call)
{
	struct nfs4_server *nfs4 = server_of(call);
	struct nfs4_session *session = call->compound.session;
	size_t head = RPC_MARK_LENGTH + RPC_REPLY_LENGTH, length = xdr_length(&call->out);
	struct slot *slot;

	if (!session)
		return;
	pthread_mutex_lock(&nfs4->lock);
	slot = &session->slots[call->compound.slot];
	slot->running = false;
	if (!call->data && !call->out.full && length >= head && length - head <= NFS4_CACHED_MAX) {
		slot->kept = true;
		slot->length = (uint32_t)(length - head);
		memcpy(slot->reply, call->out.base + head, slot->length);
	}
	call->compound.session = NULL;
	pthread_mutex_unlock(&nfs4->lock);
}

int nfs4_reclaim_complete(struct nfs_call *call, bool one_fs)
{
	struct nfs4_server *nfs4 = server_of(call);
	struct nfs4_client *client = call->compound.session->client;
	int status = NFS4_OK;

	pthread_mutex_lock(&nfs4->lock);
	if (!one_fs && client->reclaimed)
		status = NFS4ERR_COMPLETE_ALREADY;
	else if (!one_fs)
		client->reclaimed = true;
	pthread_mutex_unlock(&nfs4->lock);
	return status;
}

/* ---- opens */

static void fill_stateid(const struct nfs4_open *open, struct nfs4_stateid *stateid)
{
	stateid->seqid = open->sequence;
	memcpy(stateid->other, &open->index, 4);
	memcpy(stateid->other + 4, &open->number, 8);
}

/* Under the lock. The client's own, seqid and all (RFC 8881 8.2.2). */
static int find_open(struct nfs_call *call, const struct nfs4_stateid *stateid,
		     struct nfs4_open **ret_open)
{
	struct nfs4_server *nfs4 = server_of(call);
	struct nfs4_open *open;
	uint64_t number;
	uint32_t index;

	memcpy(&index, stateid->other, 4);
	memcpy(&number, stateid->other + 4, 8);
	open = index < OPENS_MAX ? nfs4->opens[index] : NULL;
	if (!open || open->number != number || open->client != call->compound.session->client ||
	    stateid->seqid > open->sequence)
		return NFS4ERR_BAD_STATEID;
	if (stateid->seqid && stateid->seqid < open->sequence)
		return NFS4ERR_OLD_STATEID;
	*ret_open = open;
	return NFS4_OK;
}

static bool same_file(const struct nfs4_open *open, const struct vfs *vfs,
		      const struct vfs_object *object)
{
	return open->vfs == vfs && vfs_object_equal(&open->object, object);
}

/* Somebody else's reservation is in the way; one whose lease has run out gives way. */
static bool is_denied(struct nfs4_server *nfs4, const struct nfs4_open *mine, const struct vfs *vfs,
		      const struct vfs_object *object, uint32_t access, uint32_t deny, uint64_t now)
{
	for (unsigned i = 0; i < nfs4->open_hint; i++) {
		struct nfs4_open *other = nfs4->opens[i];

		if (!other || other == mine || !same_file(other, vfs, object) ||
		    !((other->deny & access) | (other->access & deny)))
			continue;
		if (now - other->client->renewed_ns <= LEASE_NS)
			return true;
		drop_open(nfs4, other);
	}
	return false;
}

static struct nfs4_open *open_of_owner(struct nfs_call *call, const struct nfs4_open_args *args,
				       const struct vfs_object *object)
{
	list_for_each (it, &call->compound.session->client->opens) {
		struct nfs4_open *open = list_entry(it, struct nfs4_open, link);

		if (same_file(open, call->export->vfs, object) &&
		    open->owner_length == args->owner_length &&
		    memcmp(open->owner, args->owner, args->owner_length) == 0)
			return open;
	}
	return NULL;
}

static struct nfs4_open *new_open(struct nfs_call *call, const struct nfs4_open_args *args,
				  const struct vfs_object *object)
{
	struct nfs4_server *nfs4 = server_of(call);
	struct nfs4_client *client = call->compound.session->client;
	struct nfs4_open *open;
	uint32_t index = 0;

	while (index < nfs4->open_hint && nfs4->opens[index])
		index++;
	if (index == OPENS_MAX || !(open = heap_zalloc(sizeof(*open) + args->owner_length)))
		return NULL;
	if (index == nfs4->open_hint)
		nfs4->open_hint++;
	open->client = client;
	open->vfs = vfs_ref(call->export->vfs);
	open->object = *object;
	open->index = index;
	open->number = ++nfs4->next_number;
	open->owner_length = args->owner_length;
	memcpy(open->owner, args->owner, args->owner_length);
	list_push_back(&client->opens, &open->link);
	nfs4->opens[index] = open;
	return open;
}

int nfs4_open_add(struct nfs_call *call, const struct nfs4_open_args *args,
		  const struct vfs_object *object, struct nfs4_stateid *ret_stateid,
		  bool *ret_upgraded)
{
	struct nfs4_server *nfs4 = server_of(call);
	uint64_t now = loop_now(call->conn->io->loop);
	struct nfs4_open *open;
	int status = NFS4_OK;

	pthread_mutex_lock(&nfs4->lock);
	open = open_of_owner(call, args, object);
	*ret_upgraded = open != NULL;
	/* A request on its way while its share was withdrawn leaves nothing behind. */
	if (nfs4->table && !nfs_table_by_id(nfs4->table, call->export->id))
		status = NFS4ERR_STALE;
	else if (is_denied(nfs4, open, call->export->vfs, object, args->access, args->deny, now))
		status = NFS4ERR_SHARE_DENIED;
	else if (!open && !(open = new_open(call, args, object)))
		status = NFS4ERR_DELAY;
	if (status == NFS4_OK) {
		open->access |= args->access;
		open->deny |= args->deny;
		open->sequence++;
		fill_stateid(open, ret_stateid);
	}
	pthread_mutex_unlock(&nfs4->lock);
	return status;
}

int nfs4_open_downgrade(struct nfs_call *call, struct nfs4_stateid *stateid, uint32_t access,
			uint32_t deny)
{
	struct nfs4_server *nfs4 = server_of(call);
	struct nfs4_open *open;
	int status;

	pthread_mutex_lock(&nfs4->lock);
	status = find_open(call, stateid, &open);
	if (status == NFS4_OK && (access == 0 || (access & ~open->access) || (deny & ~open->deny)))
		status = NFS4ERR_INVAL;
	if (status == NFS4_OK) {
		open->access = access;
		open->deny = deny;
		open->sequence++;
		fill_stateid(open, stateid);
	}
	pthread_mutex_unlock(&nfs4->lock);
	return status;
}

int nfs4_open_close(struct nfs_call *call, struct nfs4_stateid *stateid)
{
	struct nfs4_server *nfs4 = server_of(call);
	struct nfs4_open *open;
	int status;

	pthread_mutex_lock(&nfs4->lock);
	status = find_open(call, stateid, &open);
	if (status == NFS4_OK &&
	    !same_file(open, call->export->vfs, &call->compound.current.object))
		status = NFS4ERR_BAD_STATEID;
	if (status == NFS4_OK)
		drop_open(nfs4, open);
	pthread_mutex_unlock(&nfs4->lock);
	return status;
}

static bool is_all(const struct nfs4_stateid *stateid, uint8_t byte)
{
	for (unsigned i = 0; i < sizeof(stateid->other); i++)
		if (stateid->other[i] != byte)
			return false;
	return stateid->seqid == (byte ? UINT32_MAX : 0);
}

int nfs4_open_check(struct nfs_call *call, const struct nfs4_stateid *stateid, uint32_t access,
		    bool *ret_opened)
{
	struct nfs4_server *nfs4 = server_of(call);
	struct nfs4_open *open;
	int status;

	*ret_opened = false;
	pthread_mutex_lock(&nfs4->lock);
	if (is_all(stateid, 0) || is_all(stateid, 0xff)) {
		bool bypass = is_all(stateid, 0xff) && access == 1;

		status = !bypass && is_denied(nfs4, NULL, call->export->vfs,
					      &call->compound.current.object, access, 0,
					      loop_now(call->conn->io->loop))
			     ? NFS4ERR_LOCKED
			     : NFS4_OK;
	} else {
		status = find_open(call, stateid, &open);
		if (status == NFS4_OK &&
		    !same_file(open, call->export->vfs, &call->compound.current.object))
			status = NFS4ERR_BAD_STATEID;
		if (status == NFS4_OK && (access & ~open->access) && access == 2)
			status = NFS4ERR_OPENMODE;
		*ret_opened = status == NFS4_OK && !(access & ~open->access);
	}
	pthread_mutex_unlock(&nfs4->lock);
	return status;
}

int nfs4_stateid_test(struct nfs_call *call, const struct nfs4_stateid *stateid)
{
	struct nfs4_server *nfs4 = server_of(call);
	struct nfs4_open *open;
	int status;

	pthread_mutex_lock(&nfs4->lock);
	status = find_open(call, stateid, &open);
	pthread_mutex_unlock(&nfs4->lock);
	return status;
}
