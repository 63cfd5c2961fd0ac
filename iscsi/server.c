/* SPDX-License-Identifier: Apache-2.0 */
/* server.c: targets and their rules, the register of sessions, portals, start and stop. */
#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/heap.h"
#include "core/log.h"
#include "iscsi/internal.h"
#include "iscsi/rules.h"

#define LOGIN_LIMIT_NS  (15ull * 1000000000)
#define CONNECTIONS_MAX 1024u

/* --- start and end ------------------------------------------------------------------------ */

int iscsi_server_create(const struct iscsi_server_options *options,
			struct iscsi_server **ret_server, struct err *err)
{
	struct iscsi_server *server = heap_zalloc(sizeof(*server));

	if (!server)
		return err_set(err, -ENOMEM, "no memory for the iSCSI server");
	server->lanes = heap_zalloc_array(options->io_loop_count, sizeof(*server->lanes));
	if (!server->lanes) {
		heap_free(server);
		return err_set(err, -ENOMEM, "no memory for the iSCSI server");
	}
	server->control = options->control;
	server->lane_count = options->io_loop_count;
	server->login_limit_ns = options->login_limit_ns ? options->login_limit_ns : LOGIN_LIMIT_NS;
	server->connections_max =
	    options->connections_max ? options->connections_max : CONNECTIONS_MAX;
	server->chap = ISCSI_CHAP_MD5 | ISCSI_CHAP_SHA1 | ISCSI_CHAP_SHA256 | ISCSI_CHAP_SHA3_256;
	pthread_mutex_init(&server->lock, NULL);
	list_init(&server->portals);
	list_init(&server->targets);
	list_init(&server->sessions);
	for (unsigned i = 0; i < server->lane_count; i++) {
		struct iscsi_lane *lane = &server->lanes[i];

		lane->server = server;
		lane->loop = options->io_loops[i];
		list_init(&lane->conns);
		list_init(&lane->free_tasks);
		list_init(&lane->free_replies);
	}
	*ret_server = server;
	return 0;
}

static void target_free(struct iscsi_target *target)
{
	struct err err = {0};

	list_remove(&target->link);
	if (scsi_target_destroy(target->scsi, &err) < 0)
		log_warning("iscsi: %s: %s", target->iqn, err.text);
	heap_free(target->rules);
	heap_free(target);
}

void iscsi_server_destroy(struct iscsi_server *server)
{
	if (!server)
		return;
	assert(atomic_load(&server->connections) == 0);
	list_for_each_safe (link, &server->targets)
		target_free(list_entry(link, struct iscsi_target, link));
	for (unsigned i = 0; i < server->lane_count; i++) {
		struct list *link;

		while ((link = list_pop_front(&server->lanes[i].free_tasks)))
			heap_free(list_entry(link, struct iscsi_task, link));
		reply_free_all(&server->lanes[i]);
	}
	heap_free(server->discovery_rule);
	pthread_mutex_destroy(&server->lock);
	heap_free(server->lanes);
	heap_free(server);
}

struct stop_check {
	struct message message;
	struct iscsi_server *server;
};

static void stop_check(struct message *message)
{
	struct stop_check *check = container_of(message, struct stop_check, message);
	struct iscsi_server *server = check->server;

	heap_free(check);
	if (!server->stopped || atomic_load(&server->connections))
		return;
	timer_stop(&server->stop_timer);
	server->stopped(server->stopped_context);
	server->stopped = NULL;
}

void server_check_stopped(struct iscsi_server *server)
{
	struct stop_check *check;

	if (!__atomic_load_n(&server->stopping, __ATOMIC_ACQUIRE) ||
	    atomic_load(&server->connections))
		return;
	check = heap_zalloc(sizeof(*check));
	if (!check)
		return; /* the stop timer looks again */
	check->server = server;
	loop_post(server->control, &check->message, stop_check);
}

struct lane_order {
	struct message message;
	struct iscsi_lane *lane;
	bool now;
};

static void lane_stop(struct message *message)
{
	struct lane_order *order = container_of(message, struct lane_order, message);

	list_for_each_safe (link, &order->lane->conns) {
		struct iscsi_conn *conn = list_entry(link, struct iscsi_conn, link);

		if (conn->phase == CONN_FULL && !order->now) {
			reply_async(conn, 3, 0);
			conn_finish(conn);
		} else {
			conn_end(conn, NULL);
		}
	}
	heap_free(order);
}

static void order_stop(struct iscsi_server *server, bool now)
{
	for (unsigned i = 0; i < server->lane_count; i++) {
		struct lane_order *order = heap_zalloc(sizeof(*order));

		if (!order)
			continue;
		order->lane = &server->lanes[i];
		order->now = now;
		loop_post(server->lanes[i].loop, &order->message, lane_stop);
	}
}

static void stop_late(struct timer *timer)
{
	struct iscsi_server *server = container_of(timer, struct iscsi_server, stop_timer);

	order_stop(server, true);
	server_check_stopped(server);
	timer_start(timer, 100000000);
}

void iscsi_server_stop(struct iscsi_server *server, uint64_t grace_ns,
		       void (*stopped)(void *context), void *context)
{
	server->stopped = stopped;
	server->stopped_context = context;
	pthread_mutex_lock(&server->lock);
	__atomic_store_n(&server->stopping, true, __ATOMIC_RELEASE);
	pthread_mutex_unlock(&server->lock);
	list_for_each_safe (link, &server->portals) {
		struct iscsi_portal *portal = list_entry(link, struct iscsi_portal, link);

		listener_close(portal->listener);
		list_remove(&portal->link);
		heap_free(portal->address);
		heap_free(portal);
	}
	timer_init(&server->stop_timer, server->control, stop_late);
	timer_start(&server->stop_timer, grace_ns);
	order_stop(server, false);
	server_check_stopped(server);
}

/* --- portals ------------------------------------------------------------------------------ */

static void address_text(const struct sockaddr_storage *address, char *text, size_t room,
			 bool with_port)
{
	const struct sockaddr_in *in = (const struct sockaddr_in *)address;
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)address;
	char ip[INET6_ADDRSTRLEN] = "?";
	bool six = address->ss_family == AF_INET6;

	if (six)
		inet_ntop(AF_INET6, &in6->sin6_addr, ip, sizeof(ip));
	else
		inet_ntop(AF_INET, &in->sin_addr, ip, sizeof(ip));
	snprintf(text, room, six ? "[%s]" : "%s", ip);
	if (with_port)
		snprintf(text + strlen(text), room - strlen(text), ":%u",
			 ntohs(six ? in6->sin6_port : in->sin_port));
}

static struct iscsi_lane *lightest(struct iscsi_server *server)
{
	struct iscsi_lane *best = &server->lanes[0];

	for (unsigned i = 1; i < server->lane_count; i++)
		if (atomic_load(&server->lanes[i].load) < atomic_load(&best->load))
			best = &server->lanes[i];
	return best;
}

static void accepted(struct listener *listener, int fd, const struct sockaddr *peer,
		     socklen_t peer_length)
{
	struct iscsi_portal *portal = listener_context(listener);
	struct iscsi_server *server = portal->server;
	struct sockaddr_storage local = {0};
	socklen_t length = sizeof(local);
	struct iscsi_conn *conn = NULL;

	if (atomic_load(&server->connections) < server->connections_max)
		conn = heap_zalloc(sizeof(*conn));
	if (!conn || peer_length > sizeof(conn->peer) ||
	    getsockname(fd, (struct sockaddr *)&local, &length) < 0) {
		heap_free(conn);
		close(fd);
		return;
	}
	conn->fd = fd;
	conn->server = server;
	conn->lane = lightest(server);
	memcpy(&conn->peer, peer, peer_length);
	address_text(&conn->peer, conn->peer_text, sizeof(conn->peer_text), true);
	address_text(&local, conn->portal_text, sizeof(conn->portal_text), true);
	atomic_fetch_add(&server->connections, 1);
	atomic_fetch_add(&conn->lane->load, 1);
	loop_post(conn->lane->loop, &conn->arrive, conn_attach);
}

int iscsi_portal_open(struct iscsi_server *server, const char *address, uint16_t port,
		      uint16_t *ret_port, struct err *err)
{
	static const struct listener_handlers handlers = {accepted};
	struct iscsi_portal *portal = heap_zalloc(sizeof(*portal));
	int rc = -ENOMEM;

	if (!portal)
		return err_set(err, -ENOMEM, "no memory for a portal");
	portal->server = server;
	portal->address = heap_strdup(address);
	if (portal->address)
		rc = listener_open(server->control, address, port, &handlers, portal,
				   &portal->listener, err);
	if (rc < 0) {
		heap_free(portal->address);
		heap_free(portal);
		return rc;
	}
	portal->port = listener_port(portal->listener);
	list_push_back(&server->portals, &portal->link);
	if (ret_port)
		*ret_port = portal->port;
	return 0;
}

bool iscsi_portal_next(struct iscsi_server *server, unsigned index,
		       struct iscsi_portal_info *ret_info)
{
	list_for_each (link, &server->portals) {
		const struct iscsi_portal *portal = list_entry(link, struct iscsi_portal, link);

		if (index--)
			continue;
		*ret_info =
		    (struct iscsi_portal_info){portal->address, portal->port, ISCSI_PORTAL_GROUP};
		return true;
	}
	return false;
}

/* --- targets ------------------------------------------------------------------------------ */

int iscsi_target_create(struct iscsi_server *server, const char *iqn, const char *alias,
			struct iscsi_target **ret_target, struct err *err)
{
	struct iscsi_target *target;
	int rc = iscsi_name_check(iqn, err);

	if (rc < 0)
		return rc;
	if (iscsi_target_find(server, iqn))
		return err_set(err, -EEXIST, "target %s exists already", iqn);
	target = heap_zalloc(sizeof(*target));
	if (!target)
		return err_set(err, -ENOMEM, "no memory for target %s", iqn);
	rc = scsi_target_create(iqn, &target->scsi, err);
	if (rc < 0) {
		heap_free(target);
		return rc;
	}
	target->server = server;
	snprintf(target->iqn, sizeof(target->iqn), "%s", iqn);
	snprintf(target->alias, sizeof(target->alias), "%s", alias ? alias : "");
	pthread_mutex_lock(&server->lock);
	list_push_back(&server->targets, &target->link);
	pthread_mutex_unlock(&server->lock);
	*ret_target = target;
	return 0;
}

struct target_end {
	struct message message;
	struct iscsi_target *target;
};

static void target_ended(struct message *message)
{
	struct target_end *end = container_of(message, struct target_end, message);
	struct iscsi_target *target = end->target;
	void (*destroyed)(void *) = target->destroyed;
	void *context = target->destroyed_context;
	struct iscsi_server *server = target->server;

	heap_free(end);
	pthread_mutex_lock(&server->lock);
	target_free(target);
	pthread_mutex_unlock(&server->lock);
	destroyed(context);
}

/* Under the lock. */
static void target_maybe_end(struct iscsi_target *target)
{
	struct target_end *end;

	if (!target->dying || target->sessions)
		return;
	end = heap_zalloc(sizeof(*end));
	if (!end)
		return;
	end->target = target;
	loop_post(target->server->control, &end->message, target_ended);
}

void iscsi_target_destroy(struct iscsi_target *target, void (*destroyed)(void *context),
			  void *context)
{
	struct iscsi_server *server = target->server;

	pthread_mutex_lock(&server->lock);
	target->dying = true;
	target->destroyed = destroyed;
	target->destroyed_context = context;
	list_for_each (link, &server->sessions) {
		struct iscsi_conn *conn = list_entry(link, struct iscsi_conn, session_link);

		if (conn->target == target)
			conn_kick(conn);
	}
	target_maybe_end(target);
	pthread_mutex_unlock(&server->lock);
}

struct iscsi_target *iscsi_target_find(struct iscsi_server *server, const char *iqn)
{
	list_for_each (link, &server->targets) {
		struct iscsi_target *target = list_entry(link, struct iscsi_target, link);

		if (strcmp(target->iqn, iqn) == 0 && !target->dying)
			return target;
	}
	return NULL;
}

struct scsi_target *iscsi_target_scsi(struct iscsi_target *target)
{
	return target->scsi;
}

const char *iscsi_target_name(const struct iscsi_target *target)
{
	return target->iqn;
}

struct iscsi_target *iscsi_target_next(struct iscsi_server *server, struct iscsi_target *previous)
{
	struct list *next = previous ? previous->link.next : server->targets.next;

	return next == &server->targets ? NULL : list_entry(next, struct iscsi_target, link);
}

const struct iscsi_rule *rule_match(const struct iscsi_rule *rules, unsigned count,
				    const char *initiator, const struct sockaddr_storage *peer)
{
	return rules_find(rules, count, initiator, (const struct sockaddr *)peer);
}

int iscsi_target_set_rules(struct iscsi_target *target, const struct iscsi_rule *rules,
			   unsigned count, struct err *err)
{
	struct iscsi_server *server = target->server;
	struct iscsi_rule *copy, *old;

	for (unsigned i = 0; i < count; i++)
		if (iscsi_rule_check(&rules[i], err) < 0)
			return -EINVAL;
	copy = heap_zalloc_array(count, sizeof(*copy));
	if (!copy)
		return err_set(err, -ENOMEM, "no memory for the rules of %s", target->iqn);
	if (count)
		memcpy(copy, rules, count * sizeof(*copy));
	pthread_mutex_lock(&server->lock);
	old = target->rules;
	target->rules = copy;
	target->rule_count = count;
	list_for_each (link, &server->sessions) {
		struct iscsi_conn *conn = list_entry(link, struct iscsi_conn, session_link);

		if (conn->target == target &&
		    !rule_match(copy, count, conn->params.initiator, &conn->peer))
			conn_kick(conn);
	}
	pthread_mutex_unlock(&server->lock);
	heap_free(old);
	return 0;
}

int iscsi_server_set_discovery_rule(struct iscsi_server *server, const struct iscsi_rule *rule,
				    struct err *err)
{
	struct iscsi_rule *copy = NULL, *old;

	if (rule && iscsi_rule_check(rule, err) < 0)
		return -EINVAL;
	if (rule) {
		copy = heap_alloc(sizeof(*copy));
		if (!copy)
			return err_set(err, -ENOMEM, "no memory for the discovery rule");
		*copy = *rule;
	}
	pthread_mutex_lock(&server->lock);
	old = server->discovery_rule;
	server->discovery_rule = copy;
	pthread_mutex_unlock(&server->lock);
	heap_free(old);
	return 0;
}

void iscsi_server_set_chap(struct iscsi_server *server, unsigned algorithms)
{
	pthread_mutex_lock(&server->lock);
	server->chap = algorithms;
	pthread_mutex_unlock(&server->lock);
}

/* --- discovery ---------------------------------------------------------------------------- */

static bool wildcard(const char *address)
{
	return strcmp(address, "0.0.0.0") == 0 || strcmp(address, "::") == 0;
}

static void add_portal(const struct iscsi_conn *conn, const struct iscsi_portal *portal,
		       struct text_writer *writer)
{
	char text[96];

	if (wildcard(portal->address)) /* the address it was asked at is one that works */
		snprintf(text, sizeof(text), "%s,%u", conn->portal_text, ISCSI_PORTAL_GROUP);
	else
		snprintf(text, sizeof(text),
			 strchr(portal->address, ':') ? "[%s]:%u,%u" : "%s:%u,%u", portal->address,
			 portal->port, ISCSI_PORTAL_GROUP);
	text_add(writer, "TargetAddress", text);
}

void send_targets(struct iscsi_conn *conn, const char *which, struct text_writer *writer)
{
	struct iscsi_server *server = conn->server;
	bool all = strcmp(which, "All") == 0;

	if (all && !conn->params.discovery) {
		text_add(writer, "SendTargets", "Reject");
		return;
	}
	if (!which[0])
		which = conn->params.target;
	pthread_mutex_lock(&server->lock);
	list_for_each (link, &server->targets) {
		const struct iscsi_target *target = list_entry(link, struct iscsi_target, link);

		if (target->dying || (!all && strcmp(which, target->iqn) != 0) ||
		    !rule_match(target->rules, target->rule_count, conn->params.initiator,
				&conn->peer))
			continue;
		text_add(writer, "TargetName", target->iqn);
		list_for_each (place, &server->portals)
			add_portal(conn, list_entry(place, struct iscsi_portal, link), writer);
	}
	pthread_mutex_unlock(&server->lock);
}

/* --- sessions ----------------------------------------------------------------------------- */

void session_register(struct iscsi_conn *conn)
{
	struct iscsi_server *server = conn->server;

	pthread_mutex_lock(&server->lock);
	if (++server->next_tsih == 0)
		server->next_tsih = 1;
	conn->tsih = server->next_tsih;
	conn->id = ++server->next_id;
	conn->registered = true;
	list_push_back(&server->sessions, &conn->session_link);
	if (server->stopping || (conn->target && conn->target->dying))
		conn_kick(conn);
	pthread_mutex_unlock(&server->lock);
}

/* The connection is at its end: whoever waited for that goes on. */
void session_gone(struct iscsi_conn *conn)
{
	struct iscsi_server *server = conn->server;
	struct list *link;

	pthread_mutex_lock(&server->lock);
	list_remove(&conn->session_link);
	while ((link = list_pop_front(&conn->waiters))) {
		struct iscsi_conn *waiter = list_entry(link, struct iscsi_conn, session_link);

		loop_post(waiter->lane->loop, &waiter->reinstated, login_continue);
	}
	if (conn->target) {
		conn->target->sessions--;
		target_maybe_end(conn->target);
	}
	pthread_mutex_unlock(&server->lock);
}

static void describe(const struct iscsi_conn *conn, struct iscsi_session_info *info)
{
	memset(info, 0, sizeof(*info));
	info->id = conn->id;
	snprintf(info->initiator, sizeof(info->initiator), "%s", conn->params.initiator);
	snprintf(info->target, sizeof(info->target), "%s", conn->params.target);
	snprintf(info->initiator_alias, sizeof(info->initiator_alias), "%.223s",
		 conn->params.initiator_alias);
	snprintf(info->peer, sizeof(info->peer), "%s", conn->peer_text);
	snprintf(info->portal, sizeof(info->portal), "%s", conn->portal_text);
	memcpy(info->isid, conn->isid, 6);
	info->tsih = conn->tsih;
	info->header_digest = conn->params.header_digest;
	info->data_digest = conn->params.data_digest;
	info->chap = conn->need_chap;
	info->seconds = (loop_now(conn->server->control) - conn->since_ns) / 1000000000;
	info->commands = __atomic_load_n(&conn->commands, __ATOMIC_RELAXED);
	info->read_bytes = __atomic_load_n(&conn->read_bytes, __ATOMIC_RELAXED);
	info->write_bytes = __atomic_load_n(&conn->write_bytes, __ATOMIC_RELAXED);
}

void iscsi_session_list(struct iscsi_server *server,
			void (*listed)(void *context, const struct iscsi_session_info *sessions,
				       unsigned count),
			void *context)
{
	struct iscsi_session_info *sessions;
	unsigned count = 0;

	pthread_mutex_lock(&server->lock);
	list_for_each (link, &server->sessions)
		count++;
	sessions = heap_zalloc_array(count, sizeof(*sessions));
	count = 0;
	if (sessions)
		list_for_each (link, &server->sessions)
			describe(list_entry(link, struct iscsi_conn, session_link),
				 &sessions[count++]);
	pthread_mutex_unlock(&server->lock);
	listed(context, sessions, count);
	heap_free(sessions);
}

int iscsi_session_drop(struct iscsi_server *server, uint64_t id, struct err *err)
{
	int rc = -ENOENT;

	pthread_mutex_lock(&server->lock);
	list_for_each (link, &server->sessions) {
		struct iscsi_conn *conn = list_entry(link, struct iscsi_conn, session_link);

		if (conn->id == id) {
			conn_kick(conn);
			rc = 0;
		}
	}
	pthread_mutex_unlock(&server->lock);
	return rc < 0 ? err_set(err, rc, "there is no session %llu", (unsigned long long)id) : 0;
}
