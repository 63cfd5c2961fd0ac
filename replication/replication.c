/* SPDX-License-Identifier: Apache-2.0 */
#include "replication/replication.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/heap.h"
#include "core/log.h"
#include "replication/node.h"

/*~ The node: keys, peers, connections. A connection that comes in is a visit until its first
 * message says what it is for: pairing, or a group of a peer whose certificate is pinned. The
 * primary of a group calls the standby, again and again until it answers.
 * Reading order of the room: wire.h, recorder.h, staging.h, sender.c, receiver.c, group.h,
 * then node.h and seats.c. */

#define TICK_NS      (250 * 1000000ull)
#define DEFAULT_PORT 7420

static const struct config_migration schema[] = {
    {"nodes and groups",
     "create table self(uuid text not null, key text not null, certificate text not null);"
     "create table peer(uuid text primary key, fingerprint text not null, name text not null,"
     " address text not null, port integer not null);"
     "create table grp(uuid text primary key, name text not null unique, peer text not null,"
     " role integer not null, lineage text not null, accept_any integer not null,"
     " rpo_ns integer not null, limit_bytes integer not null, paused integer not null,"
     " clean integer not null, definition text not null);",
     NULL},
    {"protection", "alter table grp add column armed integer not null default 0;", NULL},
    {"leases",
     "alter table grp add column taking text not null default '';"
     "alter table grp add column waits integer not null default 0;"
     "create table lease(grp text primary key, holder text not null, head text not null,"
     " lease_ns integer not null, retired integer not null);",
     NULL},
    {"new keys",
     "alter table self add column next_key text not null default '';"
     "alter table self add column next_certificate text not null default '';"
     "alter table peer add column next_fingerprint text not null default '';",
     NULL},
    {"who is let in", "alter table grp add column access blob;", NULL},
    /* What they were promoted with stood there for good before, made long ago. 2: standby. */
    {"exports of primaries",
     "update grp set definition = json_remove(definition, '$.exports')"
     " where role <> 2 and json_valid(definition);",
     NULL},
};

_Static_assert(GROUP_STANDBY == 2, "as the schema has it");

void uuid_text(const uint8_t uuid[16], char text[33])
{
	for (unsigned i = 0; i < 16; i++)
		snprintf(text + 2 * i, 3, "%02x", uuid[i]);
}

void fingerprint_text(const uint8_t fingerprint[TLS_FINGERPRINT],
		      char text[2 * TLS_FINGERPRINT + 1])
{
	for (unsigned i = 0; i < TLS_FINGERPRINT; i++)
		snprintf(text + 2 * i, 3, "%02x", fingerprint[i]);
}

static int hex_parse(const char *text, uint8_t *bytes, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		char pair[3] = {text[2 * i], text[2 * i] ? text[2 * i + 1] : '\0', '\0'};
		char *end;

		bytes[i] = (uint8_t)strtoul(pair, &end, 16);
		if (end != pair + 2)
			return -EINVAL;
	}
	return text[2 * count] ? -EINVAL : 0;
}

bool uuid_parse(const char *text, uint8_t uuid[16])
{
	return hex_parse(text, uuid, 16) == 0;
}

/* ---- what ends last ---- */
void node_hold(struct replication *replication)
{
	replication->busy++;
}

void node_release(struct replication *replication)
{
	if (--replication->busy == 0 && replication->stopping && replication->stopped) {
		void (*stopped)(void *context) = replication->stopped;

		replication->stopped = NULL;
		stopped(replication->stopped_context);
	}
}

/* ---- peers ---- */
struct peer *peer_find(struct replication *replication, const uint8_t uuid[16])
{
	list_for_each (it, &replication->peers) {
		struct peer *peer = list_entry(it, struct peer, link);

		if (memcmp(peer->uuid, uuid, 16) == 0)
			return peer;
	}
	return NULL;
}

struct peer *peer_by_fingerprint(struct replication *replication, const uint8_t *fingerprint)
{
	list_for_each (it, &replication->peers) {
		struct peer *peer = list_entry(it, struct peer, link);

		if (peer_is(peer, fingerprint))
			return peer;
	}
	return NULL;
}

/* By name, UUID, address or ADDRESS:PORT. */
struct peer *peer_by_name(struct replication *replication, const char *text)
{
	list_for_each (it, &replication->peers) {
		struct peer *peer = list_entry(it, struct peer, link);
		char uuid[33], full[300];

		uuid_text(peer->uuid, uuid);
		snprintf(full, sizeof full, "%s:%u", peer->address, peer->port);
		if (strcmp(text, peer->name) == 0 || strcmp(text, uuid) == 0 ||
		    strcmp(text, peer->address) == 0 || strcmp(text, full) == 0)
			return peer;
	}
	return NULL;
}

static json_t *peer_show(const struct peer *peer)
{
	char uuid[33];

	uuid_text(peer->uuid, uuid);
	return json_pack("{s:s,s:s,s:s,s:i}", "uuid", uuid, "name", peer->name, "address",
			 peer->address, "port", (int)peer->port);
}

json_t *replication_peers(struct replication *replication)
{
	json_t *peers = json_array();

	list_for_each (it, &replication->peers)
		json_array_append_new(peers, peer_show(list_entry(it, struct peer, link)));
	return peers;
}

/* HOST, HOST:PORT, [HOST]:PORT; without a port that stays what it is. */
static int split_address(const char *text, char *host, size_t size, uint16_t *port_inout)
{
	const char *colon = strrchr(text, ':');
	size_t length = strlen(text);
	unsigned long port = *port_inout;

	if (colon && (strchr(text, ':') == colon || (colon > text && colon[-1] == ']'))) {
		char *end;

		port = strtoul(colon + 1, &end, 10);
		if (*end || port == 0 || port > 65535)
			return -EINVAL;
		length = (size_t)(colon - text);
	}
	if (length > 1 && text[0] == '[' && text[length - 1] == ']') {
		text++;
		length -= 2;
	}
	if (length == 0 || length >= size)
		return -EINVAL;
	memcpy(host, text, length);
	host[length] = '\0';
	*port_inout = (uint16_t)port;
	return 0;
}

/* What calls it at its old address begins anew, soon: a call under way, a session that goes out, a
 * conversation about a lease. What the peer has begun itself goes on. */
static void call_anew(struct seat *seat, const struct peer *peer)
{
	static const char why[] = "the other node's address has changed";
	bool calls = seat->group.role == GROUP_PRIMARY || seat->group.role == GROUP_HANDOVER;

	if (calls && memcmp(seat->peer, peer->uuid, 16) == 0) {
		if (seat->dial)
			tls_dial_cancel(seat->dial);
		if (seat->group.channel)
			channel_break(seat->group.channel, -ECANCELED, "%s", why);
		seat->retry_ns = 0;
		seat->retries = 0;
	}
	for (unsigned other = 0; other < LEASE_OTHERS; other++) {
		if (memcmp(lease_node(seat, other), peer->uuid, 16) != 0)
			continue;
		if (seat->group.lease.talk[other])
			channel_break(seat->group.lease.talk[other], -ECANCELED, "%s", why);
		seat->lease_retry_ns[other] = 0;
	}
}

int replication_peer_set(struct replication *replication, const char *text, const char *address,
			 bool dry, json_t **ret_peer, struct err *err)
{
	struct peer *peer = peer_by_name(replication, text);
	char host[sizeof peer->address], uuid[33];
	uint16_t port = peer ? peer->port : DEFAULT_PORT;
	int result;

	if (!peer)
		return err_set(err, -ENOENT, "no node %s is paired", text);
	if (split_address(address, host, sizeof host, &port) < 0)
		return err_set(err, -EINVAL, "an address is HOST or HOST:PORT");
	if (dry) {
		struct peer moved = *peer;

		snprintf(moved.address, sizeof moved.address, "%s", host);
		moved.port = port;
		*ret_peer = dry_reply(peer_show(peer), peer_show(&moved));
		return 0;
	}
	uuid_text(peer->uuid, uuid);
	result = config_run(replication->config, err,
			    "update peer set address = ?, port = ? where uuid = ?", "sis", host,
			    (int64_t)port, uuid);
	if (result < 0)
		return result;
	if (strcmp(peer->address, host) != 0 || peer->port != port) {
		log_notice("node %s is at %s port %u from now on, not at %s port %u", peer->name,
			   host, port, peer->address, peer->port);
		snprintf(peer->address, sizeof peer->address, "%s", host);
		peer->port = port;
		list_for_each (it, &replication->seats)
			call_anew(list_entry(it, struct seat, link), peer);
	}
	*ret_peer = peer_show(peer);
	return 0;
}

int replication_unpair(struct replication *replication, const char *text, bool dry,
		       json_t **ret_peer, struct err *err)
{
	struct peer *peer = peer_by_name(replication, text);
	char uuid[33];
	int result;

	if (!peer)
		return err_set(err, -ENOENT, "no node %s is paired", text);
	list_for_each (it, &replication->seats) {
		struct seat *seat = list_entry(it, struct seat, link);

		if (memcmp(seat->peer, peer->uuid, 16) == 0)
			return err_set(err, -EBUSY, "group %s is replicated with it",
				       seat->group.name);
		if (seat->group.lease.on && memcmp(seat->witness, peer->uuid, 16) == 0)
			return err_set(err, -EBUSY, "it is the witness of group %s",
				       seat->group.name);
	}
	uuid_text(peer->uuid, uuid);
	result = dry ? 0
		     : config_run(replication->config, err, "delete from peer where uuid = ?", "s",
				  uuid);
	if (result < 0)
		return result;
	*ret_peer = peer_show(peer);
	if (dry)
		return 0;
	list_remove(&peer->link);
	heap_free(peer);
	return 0;
}

/* ---- visits ---- */
static void visit_free(struct visit *visit)
{
	struct replication *replication = visit->replication;

	if (visit->seat)
		visit->seat->session = false;
	if (visit->lease_seat)
		leases_hung_up(visit);
	if (visit->rekeys)
		rekey_hung_up(visit, NULL);
	if (visit->pairs)
		replication->pairing--;
	if (visit->call) {
		struct replication_call *call = visit->call;

		visit->call = NULL;
		call->done(call, call->err.code ? call->err.code : -ECONNREFUSED);
	}
	heap_free(visit);
	node_release(replication);
}

static void greet(struct visit *visit)
{
	struct replication *replication = visit->replication;
	struct wire_message message;
	struct peer *peer;

	if (channel_receive(&visit->channel, &message) < 0)
		return;
	peer = peer_by_fingerprint(replication, visit->tls.fingerprint);
	if (message.type == WIRE_PAIR)
		pair_answer(visit, &message);
	else if (!peer)
		channel_refuse(&visit->channel, WIRE_REFUSED_GROUP, NULL,
			       "this node is not paired with yours");
	else if ((message.type != WIRE_HELLO && message.type != WIRE_LEASE_ASK &&
		  message.type != WIRE_REKEY) ||
		 memcmp(message.node, peer->uuid, 16) != 0)
		channel_refuse(&visit->channel, WIRE_REFUSED_STATE, NULL, "say hello first");
	else if (message.type == WIRE_LEASE_ASK)
		leases_receive(visit, &message);
	else if (message.type == WIRE_REKEY)
		rekey_answer(visit, peer, &message);
	else
		seat_receive(visit, &message);
}

static void visit_main(void *context)
{
	struct visit *visit = context;

	if (visit->call)
		pair_ask(visit);
	else if (visit->seat)
		seat_send(visit);
	else if (visit->lease_seat)
		leases_ask(visit);
	else if (visit->rekeys)
		rekey_ask(visit);
	else
		greet(visit);
	channel_close(&visit->channel);
	visit_free(visit);
}

/* The certificate of who was called for a group has to be the pinned one. */
static const char *stranger(const struct visit *visit)
{
	const uint8_t *node = visit->seat ? visit->seat->peer
			      : visit->lease_seat
				  ? lease_node(visit->lease_seat, visit->lease_other)
			      : visit->rekeys ? visit->rekey
					      : NULL;
	const struct peer *peer = node ? peer_find(visit->replication, node) : NULL;

	if (node && (!peer || !peer_is(peer, visit->tls.fingerprint)))
		return "the certificate there is not the one of the paired node";
	if (node && (strcmp(peer->address, visit->address) != 0 || peer->port != visit->port))
		return "the other node's address has changed";
	return visit->replication->stopping ? "stopping" : NULL;
}

/* Who is paired with us has come, or was found where he was called. */
static void met(struct visit *visit)
{
	struct replication *replication = visit->replication;
	struct peer *peer = peer_by_fingerprint(replication, visit->tls.fingerprint);

	if (peer)
		peer_shows(replication, peer, visit->tls.fingerprint);
}

static void visit_failed(struct visit *visit, const char *why)
{
	if (visit->rekeys)
		rekey_hung_up(visit, why);
	if (visit->call)
		err_set(&visit->call->err, -ECONNREFUSED, "%s: %s", visit->address, why);
	if (visit->seat)
		snprintf(visit->seat->group.reason, sizeof visit->seat->group.reason, "%s", why);
	if (visit->lease_seat)
		snprintf(visit->lease_seat->group.lease.reason[visit->lease_other],
			 sizeof visit->lease_seat->group.lease.reason[0], "%.150s", why);
	visit_free(visit);
}

static void connected(void *context, struct link *link, const struct tls_peer *peer,
		      const char *why)
{
	struct visit *visit = context;

	if (link) {
		visit->tls = *peer;
		why = stranger(visit);
		met(visit);
		if (why)
			link->ops->close(link);
		else if (channel_open(&visit->channel, visit->replication->options.loop, link) < 0)
			why = "out of memory";
		else if (fiber_start(visit->replication->options.loop, visit_main, visit) < 0) {
			channel_close(&visit->channel);
			why = "out of memory";
		}
	}
	if (why)
		visit_failed(visit, why);
}

static void shake_hands(struct visit *visit, int fd, bool server)
{
	struct err err = {0};

	if (tls_link_start(visit->replication->identity, visit->replication->options.loop, fd,
			   server, connected, visit, &err) < 0)
		visit_failed(visit, err.text);
}

static void dialed(void *context, int fd)
{
	struct visit *visit = context;

	visit->dial = NULL;
	if (visit->seat)
		visit->seat->dial = NULL;
	if (fd < 0)
		visit_failed(visit, strerror(-fd));
	else
		shake_hands(visit, fd, false);
}

int node_dial(struct visit *visit, const char *address, uint16_t port, struct err *err)
{
	int result;

	snprintf(visit->address, sizeof visit->address, "%s", address);
	visit->port = port;
	node_hold(visit->replication);
	result = tls_dial(visit->replication->options.loop, address, port, dialed, visit,
			  &visit->dial, err);
	if (result < 0)
		visit_failed(visit, err->text);
	return result;
}

static void accepted(struct listener *listener, int fd, const struct sockaddr *from,
		     socklen_t length)
{
	struct replication *replication = listener_context(listener);
	struct visit *visit = heap_zalloc(sizeof *visit);

	(void)length;
	if (!visit || replication->stopping || replication->busy > 64 + replication->lease_talks) {
		heap_free(visit);
		close(fd);
		return;
	}
	visit->replication = replication;
	if (from->sa_family == AF_INET)
		inet_ntop(AF_INET, &((const struct sockaddr_in *)(const void *)from)->sin_addr,
			  visit->address, sizeof visit->address);
	else
		inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)(const void *)from)->sin6_addr,
			  visit->address, sizeof visit->address);
	node_hold(replication);
	shake_hands(visit, fd, true);
}

/* ---- pairing, going out ---- */
void replication_pair(struct replication *replication, const char *address, const char *code,
		      struct replication_call *call)
{
	struct visit *visit = heap_zalloc(sizeof *visit);
	char host[256];
	uint16_t port = DEFAULT_PORT;

	if (!visit) {
		call->done(call, err_set(&call->err, -ENOMEM, "out of memory"));
		return;
	}
	visit->replication = replication;
	if (code_normalize(code, visit->code) < 0 ||
	    split_address(address, host, sizeof host, &port) < 0) {
		heap_free(visit);
		call->done(call, err_set(&call->err, -EINVAL,
					 "a code has 12 letters and digits, an address is HOST or "
					 "HOST:PORT"));
		return;
	}
	visit->call = call;
	visit->pairs = true;
	replication->pairing++;
	(void)node_dial(visit, host, port, &call->err);
}

/* ---- begin and end ---- */
static int load_self(struct replication *replication, struct err *err)
{
	struct config_statement *statement;
	int result = config_prepare(
	    replication->config,
	    "select uuid, key, certificate, next_key, next_certificate from self", &statement, err);

	if (result < 0)
		return result;
	result = config_step(statement, err);
	if (result > 0)
		result =
		    uuid_parse(config_text(statement, 0), replication->node)
			? tls_identity_load(config_text(statement, 1), config_text(statement, 2),
					    &replication->identity, err)
			: err_set(err, -EINVAL, "this node's UUID is damaged");
	if (result == 0 && replication->identity)
		rekey_load(replication, config_text(statement, 3), config_text(statement, 4));
	config_finish(statement);
	return result;
}

static int make_self(struct replication *replication, struct err *err)
{
	char *key, *certificate, text[33];
	int result = tls_identity_make(&key, &certificate, err);

	if (result < 0)
		return result;
	loop_random(replication->options.loop, replication->node, 16);
	uuid_text(replication->node, text);
	result = config_run(replication->config, err,
			    "insert into self(uuid, key, certificate) values(?, ?, ?)", "sss", text,
			    key, certificate);
	if (result == 0)
		result = tls_identity_load(key, certificate, &replication->identity, err);
	explicit_bzero(key, strlen(key));
	heap_free(key);
	heap_free(certificate);
	return result;
}

static int load_peers(struct replication *replication, struct err *err)
{
	struct config_statement *statement;
	int result =
	    config_prepare(replication->config,
			   "select uuid, fingerprint, name, address, port, next_fingerprint"
			   " from peer",
			   &statement, err);

	if (result < 0)
		return result;
	while ((result = config_step(statement, err)) > 0) {
		struct peer *peer = heap_zalloc(sizeof *peer);

		if (!peer) {
			result = err_set(err, -ENOMEM, "out of memory");
			break;
		}
		snprintf(peer->name, sizeof peer->name, "%s", config_text(statement, 2));
		snprintf(peer->address, sizeof peer->address, "%s", config_text(statement, 3));
		peer->port = (uint16_t)config_number(statement, 4);
		list_push_back(&replication->peers, &peer->link);
		if (!uuid_parse(config_text(statement, 0), peer->uuid) ||
		    hex_parse(config_text(statement, 1), peer->fingerprint, TLS_FINGERPRINT) < 0)
			memset(peer->fingerprint, 0, TLS_FINGERPRINT); /* nobody's */
		peer->has_next =
		    config_text(statement, 5)[0] &&
		    hex_parse(config_text(statement, 5), peer->next, TLS_FINGERPRINT) == 0;
	}
	config_finish(statement);
	return result;
}

static void tick(struct timer *clock)
{
	struct replication *replication = container_of(clock, struct replication, clock);

	seats_tick(replication);
	rekey_follow(replication, loop_now(replication->options.loop));
	if (!replication->stopping)
		timer_start(clock, TICK_NS);
}

unsigned replication_schema(unsigned *ret_from)
{
	const unsigned count = sizeof schema / sizeof *schema;

	if (ret_from)
		*ret_from = config_goes_back_to(schema, count);
	return count;
}

int replication_create(const struct replication_options *options, struct replication **ret,
		       struct err *err)
{
	struct replication *replication = heap_zalloc(sizeof *replication);
	char *path = heap_printf("%s/replication.db", options->state_dir);
	int result = -ENOMEM;

	if (replication && path) {
		replication->options = *options;
		list_init(&replication->peers);
		list_init(&replication->seats);
		timer_init(&replication->clock, options->loop, tick);
		replication->port = DEFAULT_PORT;
		if (gethostname(replication->name, sizeof replication->name - 1) < 0)
			snprintf(replication->name, sizeof replication->name, "granary");
		result = config_open(path, schema, sizeof schema / sizeof *schema,
				     &replication->config, err);
	} else {
		err_set(err, result, "out of memory");
	}
	if (result == 0)
		result = load_self(replication, err);
	if (result == 0 && !replication->identity)
		result = make_self(replication, err);
	if (result == 0)
		result = load_peers(replication, err);
	if (result == 0)
		result = leases_load(replication, err);
	if (result == 0)
		result = seats_load(replication, err);
	heap_free(path);
	if (result < 0) {
		replication_destroy(replication);
		return err_wrap(err, "replication"), result;
	}
	*ret = replication;
	return 0;
}

int replication_listen(struct replication *replication, const char *address, uint16_t port,
		       uint16_t *ret_port, struct err *err)
{
	static const struct listener_handlers handlers = {.accepted = accepted};
	struct listener **slot = &replication->listeners[replication->listener_count];
	int result;

	if (replication->listener_count == LISTENERS_MAX)
		return err_set(err, -ENOSPC, "too many addresses for replication");
	result = listener_open(replication->options.loop, address, port, &handlers, replication,
			       slot, err);
	if (result < 0)
		return result;
	replication->listener_count++;
	replication->port = *ret_port = listener_port(*slot);
	return 0;
}

void replication_start(struct replication *replication)
{
	seats_start(replication);
	timer_start(&replication->clock, TICK_NS);
}

static void stop_main(void *context)
{
	struct replication *replication = context;

	/* A seat stays on the list while somebody waits for its session. */
	list_for_each (it, &replication->seats) {
		struct seat *seat = list_entry(it, struct seat, link);

		seat_enter(seat);
		seed_stop(seat);
		seat_end_session(seat, "stopping");
		leases_close(seat);
		seat_close(seat);
	}
	list_for_each_safe (it, &replication->seats)
		seat_leave(list_entry(it, struct seat, link));
	leases_end(replication);
	/* Who has only just called, or says nothing, does not keep this node from stopping. */
	while (!tls_identity_hang_up(replication->identity) || replication->busy > 1)
		fiber_sleep(1000000);
	node_release(replication);
}

void replication_serve(struct replication *replication)
{
	list_for_each (it, &replication->seats) {
		struct group *group = &list_entry(it, struct seat, link)->group;

		group->starting = false;
		group_protect(group);
	}
}

void replication_quiet(struct replication *replication)
{
	list_for_each (it, &replication->seats) {
		struct group *group = &list_entry(it, struct seat, link)->group;

		group->stopping = true;
		group_protect(group); /* what waits ends before this does */
	}
}

void replication_stop(struct replication *replication, void (*stopped)(void *context),
		      void *context)
{
	replication->stopping = true;
	replication->stopped = stopped;
	replication->stopped_context = context;
	timer_stop(&replication->clock);
	for (unsigned i = 0; i < replication->listener_count; i++)
		listener_close(replication->listeners[i]);
	replication->listener_count = 0;
	node_hold(replication);
	if (fiber_start(replication->options.loop, stop_main, replication) < 0)
		node_release(replication);
}

void replication_destroy(struct replication *replication)
{
	if (!replication)
		return;
	while (!list_empty(&replication->seats))
		seat_free(list_entry(replication->seats.next, struct seat, link));
	recorder_destroy_retired(replication->retired);
	if (replication->leases.save)
		lease_book_finish(&replication->leases);
	while (!list_empty(&replication->peers)) {
		struct peer *peer = list_entry(replication->peers.next, struct peer, link);

		list_remove(&peer->link);
		heap_free(peer);
	}
	tls_identity_free(replication->identity);
	tls_identity_free(replication->next);
	config_close(replication->config);
	heap_free(replication);
}
