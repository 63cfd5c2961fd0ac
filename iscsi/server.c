/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/heap.h"
#include "core/log.h"
#include "iscsi/internal.h"

static void finish_stop(struct deferred *deferred);

int iscsi_server_create(const struct iscsi_server_options *options,
			struct iscsi_server **ret_server, struct err *err)
{
	struct iscsi_server *server = heap_zalloc(sizeof(*server));
	struct iscsi_io_loop *loops =
	    heap_zalloc_array(options->io_loop_count, sizeof(*server->loops));

	if (!server || !loops) {
		heap_free(server);
		heap_free(loops);
		return err_set(err, -ENOMEM, "no memory for the iSCSI server");
	}
	server->options = *options;
	if (!server->options.login_limit_ns)
		server->options.login_limit_ns = ISCSI_LOGIN_LIMIT_NS;
	if (!server->options.connections_max)
		server->options.connections_max = ISCSI_CONNECTIONS_MAX;
	server->loops = loops;
	limit_init(&server->login_limit);
	refusals_init(&server->refusals);
	for (unsigned i = 0; i < options->io_loop_count; i++) {
		loops[i] = (struct iscsi_io_loop){.loop = options->io_loops[i], .server = server};
		list_init(&loops[i].conns);
		list_init(&loops[i].sessions);
	}
	list_init(&server->targets);
	list_init(&server->conns);
	list_init(&server->sessions);
	list_init(&server->half_open);
	list_init(&server->isns_clients);
	deferred_init(&server->finish, finish_stop);
	server->chap = ISCSI_CHAP_MD5 | ISCSI_CHAP_SHA1 | ISCSI_CHAP_SHA256 | ISCSI_CHAP_SHA3_256;
	*ret_server = server;
	return 0;
}

void iscsi_server_destroy(struct iscsi_server *server)
{
	if (!server)
		return;
	assert(list_empty(&server->conns));
	deferred_cancel(&server->finish);
	portal_close_all(server);
	isns_destroy(server);
	while (!list_empty(&server->targets)) {
		struct iscsi_target *target =
		    list_entry(server->targets.next, struct iscsi_target, link);

		iscsi_target_destroy(target, NULL, NULL);
	}
	limit_finish(&server->login_limit);
	refusals_finish(&server->refusals);
	heap_free(server->discovery_rule);
	heap_free(server->loops);
	heap_free(server);
}

static void finish_stop(struct deferred *deferred)
{
	struct iscsi_server *server = container_of(deferred, struct iscsi_server, finish);
	void (*stopped)(void *) = server->stopped;

	server->stopped = NULL;
	if (stopped)
		stopped(server->stopped_context);
}

void server_try_stop(struct iscsi_server *server)
{
	if (server->stopping && list_empty(&server->conns) && list_empty(&server->isns_clients))
		loop_defer(server->options.control, &server->finish);
}

void server_post_drop(struct iscsi_conn *conn, enum conn_drop reason)
{
	if (conn->drop_posted || conn->gone)
		return;
	conn->drop_posted = true;
	conn->drop_reason = reason;
	loop_post(conn->io->loop, &conn->drop_message, conn_drop);
}

void iscsi_server_stop(struct iscsi_server *server, uint64_t grace_ns,
		       void (*stopped)(void *context), void *context)
{
	server->stopping = true;
	server->grace_ns = grace_ns;
	server->stopped = stopped;
	server->stopped_context = context;
	for (unsigned i = 0; i < server->portal_count; i++) {
		listener_close(server->portals[i]->listener);
		server->portals[i]->listener = NULL;
		heap_free(server->portals[i]);
	}
	server->portal_count = 0;
	list_for_each (it, &server->conns)
		server_post_drop(list_entry(it, struct iscsi_conn, all_link), DROP_SHUTDOWN);
	isns_stop(server);
	server_try_stop(server);
}

void iscsi_server_set_chap(struct iscsi_server *server, unsigned algorithms)
{
	server->chap = algorithms;
}

int iscsi_server_set_discovery_rule(struct iscsi_server *server, const struct iscsi_rule *rule,
				    struct err *err)
{
	struct iscsi_rule *copy = NULL;

	if (rule) {
		if (iscsi_rule_check(rule, err) < 0)
			return -EINVAL;
		copy = heap_alloc(sizeof(*copy));
		if (!copy)
			return err_set(err, -ENOMEM, "no memory for a rule");
		*copy = *rule;
	}
	heap_free(server->discovery_rule);
	server->discovery_rule = copy;
	return 0;
}

/* ---- connections */

static struct iscsi_io_loop *least_loaded(struct iscsi_server *server)
{
	struct iscsi_io_loop *best = &server->loops[0];

	for (unsigned i = 1; i < server->options.io_loop_count; i++)
		if (server->loops[i].load < best->load)
			best = &server->loops[i];
	return best;
}

void server_login_through(struct iscsi_conn *conn)
{
	if (list_empty(&conn->half_link))
		return;
	list_remove(&conn->half_link);
	conn->server->half_open_count--;
}

static struct iscsi_conn *conn_new(struct iscsi_server *server, uint16_t group, int fd,
				   const struct sockaddr *peer, socklen_t peer_length)
{
	struct iscsi_conn *conn = heap_zalloc(sizeof(*conn));
	socklen_t length = sizeof(conn->local);

	if (!conn)
		return NULL;
	conn->server = server;
	conn->fd = fd;
	conn->group = group;
	memcpy(&conn->peer, peer,
	       peer_length < sizeof(conn->peer) ? peer_length : sizeof(conn->peer));
	if (getsockname(fd, (struct sockaddr *)&conn->local, &length) < 0)
		conn->local.ss_family = AF_UNSPEC;
	portal_text((struct sockaddr *)&conn->peer, conn->peer_text, sizeof(conn->peer_text));
	portal_text((struct sockaddr *)&conn->local, conn->local_text, sizeof(conn->local_text));
	list_init(&conn->wait_link);
	list_init(&conn->member_link);
	list_init(&conn->link);
	conn->id = ++server->next_id;
	return conn;
}

/* The log has one line for a lot of them. */
static bool may_log_in(struct iscsi_server *server, const struct sockaddr *peer)
{
	struct login_limit *limit = &server->login_limit;
	char text[64];

	if (limit_allows(limit, peer, loop_now(server->options.control)))
		return true;
	if (limit->refused++ % 1000 == 0) {
		portal_text(peer, text, sizeof(text));
		log_notice("audit: %s fails to log in too often and is not listened to for a while",
			   text);
	}
	return false;
}

void server_accepted(struct iscsi_server *server, uint16_t group, int fd,
		     const struct sockaddr *peer, socklen_t peer_length)
{
	struct iscsi_conn *conn;

	if (!may_log_in(server, peer)) {
		close(fd);
		return;
	}
	if (server->stopping || server->conn_count >= server->options.connections_max ||
	    !(conn = conn_new(server, group, fd, peer, peer_length))) {
		close(fd);
		return;
	}
	conn->io = conn->destination = least_loaded(server);
	conn->io->load++;
	server->conn_count++;
	server->half_open_count++;
	list_push_back(&server->conns, &conn->all_link);
	list_push_back(&server->half_open, &conn->half_link);
	if (server->half_open_count > ISCSI_HALF_OPEN_MAX) {
		struct iscsi_conn *oldest =
		    list_entry(server->half_open.next, struct iscsi_conn, half_link);

		server_login_through(oldest);
		server_post_drop(oldest, DROP_HALF_OPEN);
	}
	loop_post(conn->io->loop, &conn->attach_message, conn_attach);
}

static void target_let_go(struct iscsi_target *target);

void server_answer(struct iscsi_conn *conn, enum login_status status)
{
	conn->answer = status;
	loop_post(conn->io->loop, &conn->message, conn_answered);
}

static void stuck(struct message *message)
{
	struct iscsi_conn *conn = container_of(message, struct iscsi_conn, stuck_message);

	registry_forget(conn);
}

void server_conn_stuck(struct iscsi_conn *conn)
{
	loop_post(conn->server->options.control, &conn->stuck_message, stuck);
}

static void gone(struct message *message)
{
	struct iscsi_conn *conn = container_of(message, struct iscsi_conn, message);
	struct iscsi_server *server = conn->server;
	struct iscsi_target *target = conn->target;

	conn->gone = true;
	list_remove(&conn->all_link);
	server_login_through(conn);
	server->conn_count--;
	conn->io->load--;
	registry_release(conn);
	loop_post(conn->io->loop, &conn->free_message, conn_free);
	if (target)
		target_let_go(target);
	server_try_stop(server);
}

void server_conn_gone(struct iscsi_conn *conn)
{
	loop_post(conn->server->options.control, &conn->message, gone);
}

/* It is on no loop now: nothing that was posted to it can be under way, but a drop. */
static void moves(struct message *message)
{
	struct iscsi_conn *conn = container_of(message, struct iscsi_conn, message);

	if (conn->drop_posted) {
		conn->destination = conn->io;
		server_answer(conn, LOGIN_UNAVAILABLE);
		return;
	}
	conn->io->load--;
	conn->io = conn->destination;
	conn->io->load++;
	loop_post(conn->io->loop, &conn->attach_message, conn_moved);
}

void server_conn_moves(struct iscsi_conn *conn)
{
	loop_post(conn->server->options.control, &conn->message, moves);
}

/* ---- questions */

static struct sockaddr *peer_of(struct iscsi_conn *conn)
{
	return (struct sockaddr *)&conn->peer;
}

/* Discovery needs no target; without a rule of its own it is open, and lists only what the
 * asker may log in to. */
static enum login_status discovery_rule(struct iscsi_conn *conn)
{
	const struct iscsi_rule *rule = conn->server->discovery_rule;

	memset(&conn->answer_rule, 0, sizeof(conn->answer_rule));
	if (!rule)
		return LOGIN_SUCCESS;
	if (!rules_find(rule, 1, conn->initiator, peer_of(conn)))
		return LOGIN_FORBIDDEN;
	conn->answer_rule = *rule;
	return LOGIN_SUCCESS;
}

static enum login_status target_rule(struct iscsi_conn *conn)
{
	struct iscsi_target *target = iscsi_target_find(conn->server, conn->login->params.target);
	const struct iscsi_rule *rule;

	if (!target)
		return LOGIN_NOT_FOUND;
	rule = rules_find(target->rules, target->rule_count, conn->initiator, peer_of(conn));
	if (!rule)
		return LOGIN_FORBIDDEN;
	if (target->redirect[0] && strcmp(target->redirect, conn->local_text) != 0) {
		memcpy(conn->answer_redirect, target->redirect, sizeof(conn->answer_redirect));
		return LOGIN_MOVED_TEMPORARILY;
	}
	conn->target = target;
	target->users++;
	conn->answer_rule = *rule;
	conn->answer_target = target->scsi;
	snprintf(conn->answer_alias, sizeof(conn->answer_alias), "%s", target->alias);
	return LOGIN_SUCCESS;
}

static void ask_rule(struct iscsi_conn *conn)
{
	const struct iscsi_params *params = &conn->login->params;
	enum login_status status;

	conn->discovery = params->discovery;
	memcpy(conn->initiator, params->initiator, sizeof(conn->initiator));
	conn->login->chap_algorithms = conn->server->chap;
	conn->login->group = conn->group;
	if (conn->server->stopping) {
		server_answer(conn, LOGIN_UNAVAILABLE);
		return;
	}
	status = conn->discovery ? discovery_rule(conn) : target_rule(conn);
	if (status == LOGIN_SUCCESS)
		registry_find(conn);
	server_answer(conn, status);
}

static bool may_see(struct iscsi_conn *conn, const struct iscsi_target *target)
{
	return !target->dying &&
	       rules_find(target->rules, target->rule_count, conn->initiator, peer_of(conn));
}

/* SendTargets (RFC 7143 appendix C): All and names in discovery; a normal session sees its own. */
static bool listed(struct iscsi_conn *conn, const struct iscsi_target *target)
{
	const char *asked = conn->asked_targets;

	if (!conn->discovery)
		return target == conn->target && (!asked[0] || !strcmp(asked, target->name));
	return may_see(conn, target) && (!strcmp(asked, "All") || !strcmp(asked, target->name));
}

static void ask_targets(struct iscsi_conn *conn)
{
	struct iscsi_server *server = conn->server;
	struct text_writer writer = {0};
	size_t per_target = SCSI_NAME_MAX + 16 + server->portal_count * 96;

	list_for_each (it, &server->targets)
		if (listed(conn, list_entry(it, struct iscsi_target, link)))
			writer.room += per_target;
	writer.data = heap_alloc(writer.room + 1);
	if (!writer.data) {
		server_answer(conn, LOGIN_OUT_OF_RESOURCES);
		return;
	}
	list_for_each (it, &server->targets) {
		const struct iscsi_target *target = list_entry(it, struct iscsi_target, link);

		if (!listed(conn, target))
			continue;
		text_add(&writer, "TargetName", target->name);
		portal_list(server, (struct sockaddr *)&conn->local, &writer);
	}
	if (conn->discovery && writer.length == 0)
		refusals_note(&server->refusals, conn->initiator, "", conn->peer_text,
			      ISCSI_SHOWN_NOTHING, loop_wall(server->options.control));
	conn->answer_text = writer.data;
	conn->answer_length = writer.length;
	server_answer(conn, LOGIN_SUCCESS);
}

static void asked(struct message *message)
{
	struct iscsi_conn *conn = container_of(message, struct iscsi_conn, message);

	switch (conn->question) {
	case ASK_RULE:
		ask_rule(conn);
		break;
	case ASK_SESSION:
		registry_ask(conn);
		break;
	case ASK_TARGETS:
		ask_targets(conn);
		break;
	case ASK_NOTHING:
		break;
	}
}

void server_ask(struct iscsi_conn *conn, enum conn_question question)
{
	conn->question = question;
	loop_post(conn->server->options.control, &conn->message, asked);
}

/* ---- targets */

static void add_group(struct iscsi_target *target, uint16_t group)
{
	struct err err = {0};

	if (scsi_target_add_group(target->scsi, group, &err) < 0)
		log_error("target %s: %s", target->name, err.text);
}

void server_add_group(struct iscsi_server *server, uint16_t group)
{
	list_for_each (it, &server->targets)
		add_group(list_entry(it, struct iscsi_target, link), group);
}

int iscsi_target_create(struct iscsi_server *server, const char *iqn, const char *alias,
			struct iscsi_target **ret_target, struct err *err)
{
	struct iscsi_target *target;
	int result = iscsi_name_check(iqn, err);

	if (result < 0)
		return result;
	if (iscsi_target_find(server, iqn))
		return err_set(err, -EEXIST, "target %s exists", iqn);
	target = heap_zalloc(sizeof(*target));
	if (!target)
		return err_set(err, -ENOMEM, "no memory for a target");
	result = scsi_target_create(iqn, &target->scsi, err);
	if (result < 0) {
		heap_free(target);
		return result;
	}
	target->server = server;
	snprintf(target->name, sizeof(target->name), "%s", iqn);
	snprintf(target->alias, sizeof(target->alias), "%s", alias ? alias : "");
	list_push_back(&server->targets, &target->link);
	for (unsigned i = 0; i < server->portal_count; i++)
		add_group(target, server->portals[i]->group);
	isns_changed(server);
	*ret_target = target;
	return 0;
}

static void target_free(struct iscsi_target *target)
{
	struct err err = {0};

	list_remove(&target->link);
	if (scsi_target_destroy(target->scsi, &err) < 0)
		log_error("target %s: %s", target->name, err.text);
	if (target->rules)
		memset(target->rules, 0, target->rule_count * sizeof(*target->rules));
	heap_free(target->rules);
	if (target->destroyed)
		target->destroyed(target->destroyed_context);
	heap_free(target);
}

static void target_let_go(struct iscsi_target *target)
{
	target->users--;
	if (target->dying && target->users == 0)
		target_free(target);
}

void iscsi_target_destroy(struct iscsi_target *target, void (*destroyed)(void *context),
			  void *context)
{
	target->dying = true;
	isns_changed(target->server);
	target->destroyed = destroyed;
	target->destroyed_context = context;
	if (target->users == 0) {
		target_free(target);
		return;
	}
	list_for_each (it, &target->server->conns) {
		struct iscsi_conn *conn = list_entry(it, struct iscsi_conn, all_link);

		if (conn->target == target)
			registry_drop(conn, DROP_TARGET);
	}
}

struct iscsi_target *iscsi_target_find(struct iscsi_server *server, const char *iqn)
{
	list_for_each (it, &server->targets) {
		struct iscsi_target *target = list_entry(it, struct iscsi_target, link);

		if (!target->dying && !strcmp(target->name, iqn))
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
	return target->name;
}

struct iscsi_target *iscsi_target_next(struct iscsi_server *server, struct iscsi_target *previous)
{
	struct list *next = previous ? previous->link.next : server->targets.next;

	return next == &server->targets ? NULL : list_entry(next, struct iscsi_target, link);
}

int iscsi_target_set_rules(struct iscsi_target *target, const struct iscsi_rule *rules,
			   unsigned count, struct err *err)
{
	struct iscsi_rule *copy;

	if (count > ISCSI_RULES_MAX)
		return err_set(err, -ENOSPC, "more than %u rules on a target", ISCSI_RULES_MAX);
	for (unsigned i = 0; i < count; i++)
		if (iscsi_rule_check(&rules[i], err) < 0)
			return -EINVAL;
	copy = heap_zalloc_array(count ? count : 1, sizeof(*copy));
	if (!copy)
		return err_set(err, -ENOMEM, "no memory for rules");
	if (count)
		memcpy(copy, rules, count * sizeof(*copy));
	heap_free(target->rules);
	target->rules = copy;
	target->rule_count = count;
	list_for_each (it, &target->server->conns) {
		struct iscsi_conn *conn = list_entry(it, struct iscsi_conn, all_link);

		if (conn->target == target &&
		    !rules_find(copy, count, conn->initiator, peer_of(conn)))
			registry_drop(conn, DROP_ADMIN);
	}
	return 0;
}

int iscsi_target_redirect(struct iscsi_target *target, const char *address, struct err *err)
{
	if (address[0])
		return iscsi_redirect_check(address, target->redirect, err);
	target->redirect[0] = '\0';
	return 0;
}

void iscsi_target_limit_sessions(struct iscsi_target *target,
				 const struct iscsi_session_limits *limits)
{
	target->limits = *limits;
}

/* TARGET COLD RESET ends every session of the target (RFC 7143 11.5.1). */
struct reset {
	struct message message;
	struct iscsi_server *server;
	char name[SCSI_NAME_MAX + 1];
};

static void reset_sessions(struct message *message)
{
	struct reset *reset = container_of(message, struct reset, message);

	list_for_each (it, &reset->server->conns) {
		struct iscsi_conn *conn = list_entry(it, struct iscsi_conn, all_link);

		if (conn->target && !strcmp(conn->target->name, reset->name))
			registry_drop(conn, DROP_TARGET);
	}
	heap_free(reset);
}

void server_reset_target(struct iscsi_conn *conn)
{
	struct reset *reset = heap_zalloc(sizeof(*reset));

	if (!reset)
		return;
	reset->server = conn->server;
	memcpy(reset->name, conn->params.target, sizeof(reset->name));
	loop_post(conn->server->options.control, &reset->message, reset_sessions);
}
