/* SPDX-License-Identifier: Apache-2.0 */
/* nfs4_client.c: who the clients are, their sessions and slots (RFC 8881 2.4, 2.10; RFC 7530 9.1
 * for v4.0). In memory, but for the records on the shares (grace.h): after a restart clients make
 * themselves known anew and reclaim what they had.
 *
 * A client whose lease has run out keeps its state until somebody is in need of it (courteous). */
#include <errno.h>
#include <string.h>

#include "core/heap.h"
#include "core/log.h"
#include "nfs/nfs4_deleg.h"
#include "nfs/nfs4_offload.h"

#define ASK_PART      4u                          /* of a lease */
#define SESSIONS_ONE  64u                         /* of a client */
#define SESSIONS_HOST (NFS4_SESSIONS_MAX * 3 / 4) /* of all clients at one address */

int nfs4_server_create(struct nfs_server *server, unsigned lease_seconds,
		       struct nfs4_server **ret_nfs4)
{
	struct nfs4_server *nfs4 = heap_zalloc(sizeof(*nfs4));

	if (!nfs4)
		return -ENOMEM;
	if (nfs4_delegations_create(&nfs4->delegations) < 0) {
		heap_free(nfs4);
		return -ENOMEM;
	}
	pthread_mutex_init(&nfs4->lock, NULL);
	list_init(&nfs4->clients);
	list_init(&nfs4->callouts);
	loop_random(server->options.control, &nfs4->back_xid, sizeof(nfs4->back_xid));
	nfs4->server = server;
	nfs4->boot = (uint32_t)(server->boot_ns / 1000000);
	nfs4->lease_ns = lease_seconds * 1000000000ull;
	*ret_nfs4 = nfs4;
	return 0;
}

uint32_t nfs4_lease_seconds(const struct nfs_server *server)
{
	return (uint32_t)(server->nfs4->lease_ns / 1000000000u);
}

/* ---- the end of things; under the lock */

static void drop_session(struct nfs4_server *nfs4, struct nfs4_session *session)
{
	struct nfs4_client *client = session->client;

	client->sessions--;
	nfs4->sessions[session->index] = NULL;
	heap_free(session);
	nfs4_back_judge(nfs4, client);
}

static unsigned slots_running(const struct nfs4_session *session)
{
	unsigned count = 0;

	for (unsigned i = 0; i < NFS4_SLOTS; i++)
		count += session->slots[i].running;
	return count;
}

static bool session_busy(const struct nfs4_session *session)
{
	return slots_running(session) > 0;
}

static bool client_busy(const struct nfs4_server *nfs4, const struct nfs4_client *client)
{
	if (nfs4_client_in_use(client))
		return true;
	for (unsigned i = 0; i < NFS4_SESSIONS_MAX; i++)
		if (nfs4->sessions[i] && nfs4->sessions[i]->client == client &&
		    session_busy(nfs4->sessions[i]))
			return true;
	return false;
}

bool nfs4_drop_client(struct nfs4_server *nfs4, struct nfs4_client *client)
{
	if (client_busy(nfs4, client))
		return false;
	for (unsigned i = 0; i < NFS4_SESSIONS_MAX; i++)
		if (nfs4->sessions[i] && nfs4->sessions[i]->client == client)
			drop_session(nfs4, nfs4->sessions[i]);
	nfs4_drop_states(nfs4, client);
	nfs4_drop_delegations(nfs4, client);
	nfs4_drop_copies(nfs4, client);
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
		if (!nfs4_drop_client(nfs4,
				      list_entry(nfs4->clients.next, struct nfs4_client, link)))
			break;
	nfs4_delegations_destroy(nfs4->delegations);
	pthread_mutex_destroy(&nfs4->lock);
	heap_free(nfs4);
}

/* One that was never confirmed has none: it is another's of the same name. */
static void drop_record(struct nfs4_server *nfs4, const struct nfs4_client *client)
{
	if (client->confirmed)
		nfs_record_drop(nfs4->server->grace, client->record);
}

/* The record first: who waits for a lock of its looks whether it is gone. */
bool nfs4_take_all(struct nfs4_server *nfs4, struct nfs4_client *client)
{
	if (client_busy(nfs4, client))
		return false;
	drop_record(nfs4, client);
	nfs4_note_expired(nfs4, client);
	if (client->minor == 0)
		nfs4->lost[nfs4->lost_next++ % NFS4_LOST_MAX] = client->id;
	return nfs4_drop_client(nfs4, client);
}

bool nfs4_gives_way(struct nfs4_server *nfs4, uint64_t id, uint64_t now)
{
	struct nfs4_client *client = id ? nfs4_client_by_id(nfs4, id) : NULL;
	uint64_t silent;

	if (!client || now < client->renewed_ns || now - client->renewed_ns <= nfs4->lease_ns)
		return false;
	silent = now - client->renewed_ns;
	if (!nfs4_take_all(nfs4, client))
		return false;
	log_notice("NFS: a client that has not renewed its lease for %u s is in another one's way: "
		   "what it had open and locked is taken from it",
		   (unsigned)(silent / 1000000000u));
	return true;
}

bool nfs4_client_gives_way(struct nfs_server *server, uint64_t id, uint64_t now)
{
	struct nfs4_server *nfs4 = server->nfs4;
	bool gave;

	pthread_mutex_lock(&nfs4->lock);
	gave = nfs4_gives_way(nfs4, id, now);
	pthread_mutex_unlock(&nfs4->lock);
	return gave;
}

bool nfs4_record_is_alive(struct nfs_server *server, const char *record)
{
	struct nfs4_server *nfs4 = server->nfs4;
	bool alive = false;

	pthread_mutex_lock(&nfs4->lock);
	list_for_each (it, &nfs4->clients) {
		const struct nfs4_client *client = list_entry(it, struct nfs4_client, link);

		if ((client->complete || client->minor == 0) && strcmp(client->record, record) == 0)
			alive = true;
	}
	pthread_mutex_unlock(&nfs4->lock);
	return alive;
}

/* ---- clients (RFC 8881 18.35) */

struct nfs4_client *nfs4_client_by_id(struct nfs4_server *nfs4, uint64_t id)
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

		if (client->confirmed == confirmed && client->minor == exchange->minor &&
		    client->owner_length == exchange->owner_length &&
		    memcmp(client->owner, exchange->owner, client->owner_length) == 0)
			return client;
	}
	return NULL;
}

/* One that has not been heard of, the longest first. */
static bool oldest_gives_way(struct nfs4_server *nfs4, uint64_t now)
{
	struct nfs4_client *oldest = NULL;

	list_for_each (it, &nfs4->clients) {
		struct nfs4_client *client = list_entry(it, struct nfs4_client, link);

		if (!oldest || client->renewed_ns < oldest->renewed_ns)
			oldest = client;
	}
	return oldest && nfs4_gives_way(nfs4, oldest->id, now);
}

static struct nfs4_client *new_client(struct nfs4_server *nfs4,
				      const struct nfs4_exchange *exchange, uint64_t now)
{
	struct nfs4_client *client;

	if (nfs4->client_count >= NFS4_CLIENTS_MAX && !oldest_gives_way(nfs4, now))
		return NULL;
	client = heap_zalloc(sizeof(*client));
	if (!client)
		return NULL;
	client->id = (uint64_t)nfs4->boot << 32 | (++nfs4->next_number & UINT32_MAX);
	client->renewed_ns = now;
	client->next_sequence = 1;
	client->minor = exchange->minor;
	client->principal = exchange->principal;
	client->peer = exchange->peer;
	client->owner_length = exchange->owner_length;
	memcpy(client->owner, exchange->owner, exchange->owner_length);
	memcpy(client->verifier, exchange->verifier, sizeof(client->verifier));
	nfs_record_name4(client->owner, client->owner_length, client->record);
	client->target.peer.family = client->next.peer.family = AF_UNSPEC;
	list_init(&client->owners);
	list_init(&client->delegations);
	list_push_back(&nfs4->clients, &client->link);
	nfs4->client_count++;
	return client;
}

static bool same_principal(const struct nfs4_client *client, const struct nfs4_principal *principal)
{
	return client->principal.flavor == principal->flavor &&
	       client->principal.uid == principal->uid &&
	       memcmp(client->principal.certificate, principal->certificate,
		      sizeof(principal->certificate)) == 0;
}

/* Somebody else comes with the name of a client that is alive and has something (RFC 8881 18.35.5,
 * case 3; RFC 7530 9.1.2). One that has nothing, or is silent, makes room. */
static bool is_inuse(const struct nfs4_server *nfs4, const struct nfs4_client *known,
		     const struct nfs4_exchange *exchange, uint64_t now)
{
	return known && !same_principal(known, &exchange->principal) &&
	       (known->states || known->sessions) &&
	       (now < known->renewed_ns || now - known->renewed_ns <= nfs4->lease_ns);
}

/* One that has not been confirmed for a lease is not any more. */
static struct nfs4_client *fresh_client(struct nfs4_server *nfs4, uint64_t id, uint64_t now)
{
	struct nfs4_client *client = nfs4_client_by_id(nfs4, id);

	if (!client || client->confirmed || now < client->renewed_ns ||
	    now - client->renewed_ns <= nfs4->lease_ns)
		return client;
	nfs4_drop_client(nfs4, client);
	return NULL;
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
	if (exchange->update && !same_principal(known, &exchange->principal))
		return NFS4ERR_PERM;
	if (is_inuse(nfs4, known, exchange, now))
		return NFS4ERR_CLID_INUSE;
	if (known && !same_principal(known, &exchange->principal)) {
		if (client_busy(nfs4, known))
			return NFS4ERR_DELAY;
		drop_record(nfs4, known);
		nfs4_drop_client(nfs4, known);
		same = false;
	}
	if (!same) {
		if (unknown)
			nfs4_drop_client(nfs4, unknown);
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
	client = nfs4_client_by_id(nfs4, id);
	if (!client || client->minor == 0) {
		status = NFS4ERR_STALE_CLIENTID;
	} else if (client->sessions || client->states || client_busy(nfs4, client)) {
		status = NFS4ERR_CLIENTID_BUSY;
	} else {
		drop_record(nfs4, client);
		nfs4_drop_client(nfs4, client);
	}
	pthread_mutex_unlock(&nfs4->lock);
	return status;
}

/* A client that comes back under its name with another verifier has restarted: what it had is
 * let go when the new one is confirmed. False: not now. */
static bool confirm(struct nfs4_server *nfs4, struct nfs4_client *client)
{
	struct nfs4_exchange same = {
	    .owner = client->owner, .owner_length = client->owner_length, .minor = client->minor};
	struct nfs4_client *older;

	if (client->confirmed)
		return true;
	older = client_by_owner(nfs4, &same, true);
	if (older && client_busy(nfs4, older))
		return false;
	if (older) {
		nfs4_note_expired(nfs4, older);
		nfs4_drop_client(nfs4, older);
	}
	client->confirmed = true;
	return true;
}

/* ---- v4.0: SETCLIENTID (RFC 7530 16.33, 16.34), RENEW */

static int set_locked(struct nfs4_server *nfs4, struct nfs4_exchange *exchange,
		      const struct nfs4_target *target, uint8_t ret_confirm[8], uint64_t now)
{
	struct nfs4_client *known = client_by_owner(nfs4, exchange, true);
	struct nfs4_client *unknown = client_by_owner(nfs4, exchange, false), *client;
	uint64_t number;

	if (is_inuse(nfs4, known, exchange, now)) {
		exchange->peer = known->peer;
		return NFS4ERR_CLID_INUSE;
	}
	if (unknown)
		nfs4_drop_client(nfs4, unknown);
	if (known && memcmp(known->verifier, exchange->verifier, 8) == 0 &&
	    same_principal(known, &exchange->principal)) {
		client = known; /* the same client: another callback */
	} else {
		client = new_client(nfs4, exchange, now);
		if (!client)
			return NFS4ERR_DELAY;
	}
	number = (uint64_t)nfs4->boot << 32 | (++nfs4->next_number & UINT32_MAX);
	client->next = *target;
	memcpy(client->confirm, &number, 8);
	memcpy(ret_confirm, client->confirm, 8);
	exchange->id = client->id;
	return NFS4_OK;
}

int nfs4_set_clientid(struct nfs4_server *nfs4, struct nfs4_exchange *exchange,
		      const struct nfs4_target *target, uint8_t ret_confirm[8], uint64_t now)
{
	int status;

	pthread_mutex_lock(&nfs4->lock);
	status = set_locked(nfs4, exchange, target, ret_confirm, now);
	pthread_mutex_unlock(&nfs4->lock);
	return status;
}

/* From now on it is called as it said; whether it can be is found out. */
static void confirmed(struct nfs4_server *nfs4, struct nfs4_client *client, uint64_t now)
{
	client->renewed_ns = now;
	client->target = client->next;
	client->path = NFS4_PATH_NONE;
	memcpy(client->was_confirm, client->confirm, sizeof(client->confirm));
	nfs4_back_probe(nfs4, client, now);
}

/* Confirmed already, and another SETCLIENTID came in between (RFC 7530 16.34.5). */
static bool is_late_confirm(const struct nfs4_client *client, const uint8_t verifier[8])
{
	return client->confirmed && memcmp(client->confirm, verifier, 8) != 0 &&
	       memcmp(client->was_confirm, verifier, 8) == 0;
}

int nfs4_confirm_clientid(struct nfs_call *call, uint64_t id, const uint8_t verifier[8])
{
	const struct nfs4_principal principal = nfs4_principal_of(call);
	struct nfs4_server *nfs4 = nfs4_server_of(call);
	uint64_t now = nfs_call_now(call);
	struct nfs4_client *client;
	int status = NFS4_OK;
	bool late;

	pthread_mutex_lock(&nfs4->lock);
	client = fresh_client(nfs4, id, now);
	late = client && client->minor == 0 && is_late_confirm(client, verifier);
	if (!client || client->minor || (!late && memcmp(client->confirm, verifier, 8) != 0))
		status = NFS4ERR_STALE_CLIENTID;
	else if (!same_principal(client, &principal))
		status = NFS4ERR_CLID_INUSE;
	else if (late)
		client->renewed_ns = now;
	else if (!confirm(nfs4, client))
		status = NFS4ERR_DELAY;
	else
		confirmed(nfs4, client, now);
	pthread_mutex_unlock(&nfs4->lock);
	return status;
}

/* One that has delegations is asked now and then whether it can still be called. */
static int renew(struct nfs4_server *nfs4, struct nfs4_client *client, uint64_t now)
{
	client->renewed_ns = now;
	if (list_empty(&client->delegations))
		return NFS4_OK;
	if (now - client->asked_ns > nfs4->lease_ns / ASK_PART)
		nfs4_back_probe(nfs4, client, now);
	return client->path == NFS4_PATH_DOWN ? NFS4ERR_CB_PATH_DOWN : NFS4_OK;
}

static bool has_lost(const struct nfs4_server *nfs4, uint64_t id)
{
	for (unsigned i = 0; i < NFS4_LOST_MAX; i++)
		if (id && nfs4->lost[i] == id)
			return true;
	return false;
}

int nfs4_renew(struct nfs4_server *nfs4, uint64_t id, uint64_t now)
{
	struct nfs4_client *client;
	int status = NFS4_OK;

	pthread_mutex_lock(&nfs4->lock);
	client = nfs4_client_by_id(nfs4, id);
	if (!client || !client->confirmed || client->minor)
		status = has_lost(nfs4, id) ? NFS4ERR_EXPIRED : NFS4ERR_STALE_CLIENTID;
	else
		status = renew(nfs4, client, now);
	pthread_mutex_unlock(&nfs4->lock);
	return status;
}

/* ---- sessions (RFC 8881 18.36) */

void nfs4_session_id(const struct nfs4_session *session, uint8_t id[16])
{
	memcpy(id, &session->client->id, 8);
	memcpy(id + 8, &session->index, 4);
	memcpy(id + 12, &session->number, 4);
}

struct nfs4_session *nfs4_session_by_id(struct nfs4_server *nfs4, const uint8_t id[16])
{
	struct nfs4_session *session;
	uint8_t real[16];
	uint32_t index;

	memcpy(&index, id + 8, 4);
	session = index < NFS4_SESSIONS_MAX ? nfs4->sessions[index] : NULL;
	if (!session)
		return NULL;
	nfs4_session_id(session, real);
	return memcmp(real, id, 16) == 0 ? session : NULL;
}

/* ---- which connections carry a session's requests (RFC 8881 2.10.3.1) */

static unsigned carrier_of(const struct nfs4_session *session, const struct nfs_conn *conn)
{
	unsigned i = 0;

	while (i < NFS4_FORE_CONNS && session->carriers[i] != conn)
		i++;
	return i;
}

static void carry(struct nfs4_session *session, struct nfs_conn *conn)
{
	unsigned place;

	if (carrier_of(session, conn) < NFS4_FORE_CONNS)
		return;
	place = carrier_of(session, NULL);
	if (place == NFS4_FORE_CONNS) {
		session->more_carriers = true;
		return;
	}
	session->carriers[place] = conn;
	conn->fore_bound = true;
}

void nfs4_session_leave(struct nfs4_session *session, const struct nfs_conn *conn)
{
	unsigned place = carrier_of(session, conn);

	if (place < NFS4_FORE_CONNS)
		session->carriers[place] = NULL;
}

/* Is the session in use, but not over @conn? A client that has lost its connections may go on with
 * another one. */
static bool is_elsewhere(const struct nfs4_session *session, const struct nfs_conn *conn)
{
	bool any = false;

	if (session->more_carriers || carrier_of(session, conn) < NFS4_FORE_CONNS)
		return false;
	for (unsigned i = 0; i < NFS4_FORE_CONNS; i++)
		any = any || session->carriers[i];
	return any;
}

static struct nfs4_session *new_session(struct nfs4_server *nfs4, struct nfs4_client *client)
{
	struct nfs4_session *session;
	uint32_t index = 0;

	while (index < NFS4_SESSIONS_MAX && nfs4->sessions[index])
		index++;
	if (index == NFS4_SESSIONS_MAX || !(session = heap_zalloc(sizeof(*session))))
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

static bool same_host(const struct nfs_address *a, const struct nfs_address *b)
{
	return a->family == b->family && memcmp(a->bytes, b->bytes, sizeof(a->bytes)) == 0;
}

/* Nobody takes what all need, under however many names. */
static bool host_has_enough(const struct nfs4_server *nfs4, const struct nfs_address *peer)
{
	unsigned count = 0;

	for (unsigned i = 0; i < NFS4_SESSIONS_MAX; i++)
		count += nfs4->sessions[i] && same_host(&nfs4->sessions[i]->peer, peer);
	return count >= SESSIONS_HOST;
}

static void set_up_back(struct nfs4_session *session, struct nfs4_session_args *args,
			struct nfs_conn *conn)
{
	session->back.how = args->how;
	session->back.fits = args->back_fits;
	session->back.slot_count = args->back.requests;
	if (args->bind_back)
		args->bind_back = nfs4_back_bind(session, conn);
}

static int create_session_locked(struct nfs_call *call, struct nfs4_session_args *args)
{
	const struct nfs4_principal principal = nfs4_principal_of(call);
	struct nfs4_server *nfs4 = nfs4_server_of(call);
	uint64_t now = nfs_call_now(call);
	struct nfs4_client *client = fresh_client(nfs4, args->client, now);
	struct nfs4_session *session;

	if (!client || client->minor == 0)
		return NFS4ERR_STALE_CLIENTID;
	if (args->sequence == client->next_sequence - 1 && client->confirmed) {
		memcpy(args->session, client->last_session, 16);
		args->bind_back = client->last_bound;
		return NFS4_OK;
	}
	if (args->sequence != client->next_sequence)
		return NFS4ERR_SEQ_MISORDERED;
	if (!client->confirmed && !same_principal(client, &principal))
		return NFS4ERR_CLID_INUSE;
	client->renewed_ns = now; /* so that it is not the one that gives way */
	if (client->sessions >= SESSIONS_ONE)
		return NFS4ERR_NOSPC;
	if (host_has_enough(nfs4, &call->conn->address) && !oldest_gives_way(nfs4, now))
		return NFS4ERR_DELAY;
	if (!confirm(nfs4, client))
		return NFS4ERR_DELAY;
	session = new_session(nfs4, client);
	if (!session && oldest_gives_way(nfs4, now))
		session = new_session(nfs4, client);
	if (!session)
		return NFS4ERR_DELAY;
	session->fore = args->fore;
	session->minor = call->compound.minor;
	session->peer = call->conn->address;
	carry(session, call->conn);
	set_up_back(session, args, call->conn);
	client->next_sequence++;
	client->last_bound = args->bind_back;
	nfs4_session_id(session, client->last_session);
	memcpy(args->session, client->last_session, 16);
	return NFS4_OK;
}

static void bound(uint32_t *value, uint32_t most)
{
	*value = *value < most ? *value : most;
}

int nfs4_create_session(struct nfs_call *call, struct nfs4_session_args *args)
{
	struct nfs4_server *nfs4 = nfs4_server_of(call);
	struct nfs4_channel *fore = &args->fore;
	int status;

	bound(&fore->request, NFS_RECORD_MAX);
	bound(&fore->reply, NFS4_REPLY_MAX);
	bound(&fore->cached, NFS4_CACHED_MAX);
	bound(&fore->operations, NFS4_OPS_MAX);
	bound(&fore->requests, NFS4_SLOTS);
	bound(&args->back.requests, NFS4_BACK_SLOTS);
	pthread_mutex_lock(&nfs4->lock);
	status = create_session_locked(call, args);
	pthread_mutex_unlock(&nfs4->lock);
	return status;
}

int nfs4_bind_conn(struct nfs_call *call, const uint8_t id[16], bool *back)
{
	struct nfs4_server *nfs4 = nfs4_server_of(call);
	struct nfs4_session *session;
	int status = NFS4_OK;

	pthread_mutex_lock(&nfs4->lock);
	session = nfs4_session_by_id(nfs4, id);
	if (!session)
		status = NFS4ERR_BADSESSION;
	else
		carry(session, call->conn);
	if (session && *back)
		*back = nfs4_back_bind(session, call->conn);
	pthread_mutex_unlock(&nfs4->lock);
	return status;
}

void nfs4_backchannel_ctl(struct nfs_call *call, const struct nfs4_back_how *how)
{
	struct nfs4_server *nfs4 = nfs4_server_of(call);
	struct nfs4_back *back = &call->compound.session->back;

	pthread_mutex_lock(&nfs4->lock);
	back->how = *how;
	back->how.usable = how->usable && back->fits;
	pthread_mutex_unlock(&nfs4->lock);
}

int nfs4_destroy_session(struct nfs_call *call, const uint8_t id[16])
{
	struct nfs4_server *nfs4 = nfs4_server_of(call);
	const struct nfs4_session *own = call->compound.session;
	struct nfs4_session *session;
	int status = NFS4_OK;

	pthread_mutex_lock(&nfs4->lock);
	session = nfs4_session_by_id(nfs4, id);
	if (!session)
		status = NFS4ERR_BADSESSION;
	else if (is_elsewhere(session, call->conn))
		status = NFS4ERR_CONN_NOT_BOUND_TO_SESSION;
	else if (slots_running(session) > (session == own))
		status = NFS4ERR_DELAY;
	else if (session == own)
		session->doomed = true;
	else
		drop_session(nfs4, session);
	pthread_mutex_unlock(&nfs4->lock);
	return status;
}

bool nfs4_session_is(struct nfs4_server *nfs4, const uint8_t id[16],
		     const struct nfs4_session *session)
{
	const struct nfs4_session *found;

	pthread_mutex_lock(&nfs4->lock);
	found = nfs4_session_by_id(nfs4, id);
	pthread_mutex_unlock(&nfs4->lock);
	return found && (!session || found == session);
}

/* ---- slots (RFC 8881 2.10.6) */

/* What the request and its slot may be. */
static int check_bounds(const struct nfs_call *call, const struct nfs4_session *session,
			uint32_t slot)
{
	size_t length = call->record_length;

	if (call->payload) /* received apart, with its padding */
		length += call->payload_length + xdr_padding(call->payload_length);
	if (slot >= session->fore.requests)
		return NFS4ERR_BADSLOT;
	if (length > session->fore.request)
		return NFS4ERR_REQ_TOO_BIG;
	return call->compound.count > session->fore.operations ? NFS4ERR_TOO_MANY_OPS : NFS4_OK;
}

static int take_locked(struct nfs_call *call, struct nfs4_sequence *sequence, uint64_t now)
{
	struct nfs4_session *session = nfs4_session_by_id(nfs4_server_of(call), sequence->session);
	struct nfs4_slot *slot;
	int status;

	if (!session || session->doomed)
		return NFS4ERR_BADSESSION;
	status = check_bounds(call, session, sequence->slot);
	if (status != NFS4_OK)
		return status;
	sequence->highest_slot = session->fore.requests - 1;
	sequence->flags = nfs4_back_flags(session);
	slot = &session->slots[sequence->slot];
	session->client->renewed_ns = now;
	carry(session, call->conn);
	if (sequence->sequence == slot->sequence + 1 && !slot->running) {
		slot->sequence++;
		slot->running = true;
		slot->kept = false;
		call->compound.session = session;
		call->compound.client = session->client;
		call->compound.slot = sequence->slot;
		call->compound.reply_max = session->fore.reply;
		call->compound.cached_max =
		    sequence->cache_this ? session->fore.cached : UINT32_MAX;
		return NFS4_OK;
	}
	if (slot->running)
		return sequence->sequence == slot->sequence ? NFS4ERR_DELAY
							    : NFS4ERR_SEQ_MISORDERED;
	if (sequence->sequence != slot->sequence || slot->sequence == 0)
		return NFS4ERR_SEQ_MISORDERED;
	if (!slot->kept)
		return NFS4ERR_RETRY_UNCACHED_REP;
	xdr_truncate(&call->out, RPC_MARK_LENGTH + RPC_REPLY_LENGTH);
	xdr_put_fixed(&call->out, slot->reply, slot->length);
	return NFS4_PENDING;
}

int nfs4_slot_take(struct nfs_call *call, struct nfs4_sequence *sequence, uint64_t now)
{
	struct nfs4_server *nfs4 = nfs4_server_of(call);
	int status;

	pthread_mutex_lock(&nfs4->lock);
	status = take_locked(call, sequence, now);
	pthread_mutex_unlock(&nfs4->lock);
	return status;
}

/* The reply behind its RPC header, in one piece. */
static void keep_reply(const struct nfs_call *call, struct nfs4_slot *slot)
{
	const uint8_t *from = call->out.base + RPC_MARK_LENGTH + RPC_REPLY_LENGTH;
	const uint8_t *end = call->out.base + xdr_length(&call->out);
	const uint8_t *middle = call->data ? call->out.base + call->data_at : end;
	struct xdr_out to;

	xdr_out_init(&to, slot->reply, NFS4_CACHED_MAX);
	memcpy(xdr_put_room(&to, (size_t)(middle - from)), from, (size_t)(middle - from));
	if (call->data)
		xdr_put_fixed(&to, call->data->data, call->data_length);
	if (end > middle)
		memcpy(xdr_put_room(&to, (size_t)(end - middle)), middle, (size_t)(end - middle));
	slot->length = (uint32_t)xdr_length(&to);
	slot->kept = true;
}

/* A reply is kept if the client asked for it (RFC 8881 2.10.6.1.3), and that of SEQUENCE alone. A
 * client that did not is told so on a retry, and asks anew. */
static bool is_to_keep(const struct nfs_call *call, size_t length)
{
	const struct nfs4_compound *compound = &call->compound;
	bool wanted = compound->cached_max != UINT32_MAX || compound->count == 1;

	return wanted && !call->out.full && length >= RPC_REPLY_LENGTH && length <= NFS4_CACHED_MAX;
}

void nfs4_slot_release(struct nfs_call *call)
{
	struct nfs4_server *nfs4 = nfs4_server_of(call);
	struct nfs4_session *session = call->compound.session;
	size_t length = nfs_call_reply_length(call);
	struct nfs4_slot *slot;

	if (!session)
		return;
	pthread_mutex_lock(&nfs4->lock);
	slot = &session->slots[call->compound.slot];
	slot->running = false;
	if (is_to_keep(call, length))
		keep_reply(call, slot);
	if (session->doomed && !session_busy(session))
		drop_session(nfs4, session);
	call->compound.session = NULL;
	call->compound.client = NULL;
	pthread_mutex_unlock(&nfs4->lock);
}

int nfs4_reclaim_complete(struct nfs_call *call, bool one_fs)
{
	struct nfs4_server *nfs4 = nfs4_server_of(call);
	struct nfs4_client *client = call->compound.client;
	int status = NFS4_OK;

	if (one_fs && !call->compound.current.set)
		return NFS4ERR_NOFILEHANDLE;
	pthread_mutex_lock(&nfs4->lock);
	if (!one_fs && client->complete)
		status = NFS4ERR_COMPLETE_ALREADY;
	else if (!one_fs)
		client->complete = true;
	pthread_mutex_unlock(&nfs4->lock);
	if (status == NFS4_OK && !(one_fs && call->compound.current.pseudo))
		nfs_grace_complete(nfs4->server->grace, one_fs ? call->export->id : 0,
				   client->record);
	return status;
}
