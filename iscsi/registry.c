/* SPDX-License-Identifier: Apache-2.0 */
/* registry.c: the sessions, on the control loop: who is one, who joins which (RFC 7143 6.3), who
 * replaces whom, and the list of them. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/heap.h"
#include "core/log.h"
#include "iscsi/internal.h"

static struct iscsi_conn *member(struct list *link)
{
	return list_entry(link, struct iscsi_conn, member_link);
}

/* ---- beginning and end of a session */

static struct iscsi_session *by_tsih(const struct iscsi_server *server, uint16_t tsih)
{
	list_for_each (it, &server->sessions) {
		struct iscsi_session *session = list_entry(it, struct iscsi_session, all_link);

		if (session->tsih == tsih)
			return session;
	}
	return NULL;
}

static void refer(struct iscsi_conn *conn, struct iscsi_session *session)
{
	conn->session = session;
	session->refs++;
}

static void free_session(struct message *message)
{
	heap_free(container_of(message, struct iscsi_session, free_message));
}

static void register_session(struct iscsi_conn *conn)
{
	struct iscsi_server *server = conn->server;
	struct iscsi_session *session = heap_zalloc(sizeof(*session));

	if (!session) {
		server_answer(conn, LOGIN_OUT_OF_RESOURCES);
		return;
	}
	session_init(session);
	list_init(&session->members);
	list_init(&session->waiters);
	do
		server->next_tsih++;
	while (server->next_tsih == 0 || by_tsih(server, server->next_tsih));
	session->tsih = server->next_tsih;
	session->io = conn->io;
	session->id = conn->id;
	session->group = conn->group;
	session->target = conn->target;
	session->params = conn->login->params;
	keys_settle(&session->params);
	memcpy(session->isid, conn->login->isid, sizeof(session->isid));
	memcpy(session->chap_user, conn->login->rule.chap_user, sizeof(session->chap_user));
	list_push_back(&server->sessions, &session->all_link);
	refer(conn, session);
	list_push_back(&session->members, &conn->member_link);
	server_login_through(conn);
	server_answer(conn, LOGIN_SUCCESS);
}

/* Its initiator port is free; who waits for it asks again. */
static void give_way(struct iscsi_session *session)
{
	struct list waiters;

	list_remove(&session->all_link);
	list_init(&waiters);
	list_splice_back(&waiters, &session->waiters);
	for (struct list *it; (it = list_pop_front(&waiters));)
		registry_ask(list_entry(it, struct iscsi_conn, wait_link));
}

void registry_forget(struct iscsi_conn *conn)
{
	struct iscsi_session *session = conn->session;

	if (list_empty(&conn->member_link))
		return;
	list_remove(&conn->member_link);
	if (!list_empty(&session->members))
		return;
	if (!list_empty(&session->waiters) && !conn->gone)
		log_warning("%s from %s: commands of its last session hang in the back end; "
			    "it logs in beside them",
			    conn->initiator, conn->peer_text);
	give_way(session);
}

void registry_release(struct iscsi_conn *conn)
{
	struct iscsi_session *session = conn->session;

	list_remove(&conn->wait_link);
	if (!session)
		return;
	registry_forget(conn);
	/* Its loop may be on its way out of a function that looks at it. */
	if (--session->refs == 0)
		loop_post(session->io->loop, &session->free_message, free_session);
}

static void drop_session(struct iscsi_session *session, enum conn_drop reason)
{
	session->dropped = true;
	list_for_each (it, &session->members)
		server_post_drop(member(it), reason);
}

void registry_drop(struct iscsi_conn *conn, enum conn_drop reason)
{
	if (list_empty(&conn->member_link))
		server_post_drop(conn, reason);
	else
		drop_session(conn->session, reason);
}

/* ---- who joins */

static bool is_of(const struct iscsi_session *session, const struct iscsi_conn *conn)
{
	return !conn->discovery && session->target && session->target == conn->target &&
	       !memcmp(session->isid, conn->login->isid, sizeof(session->isid)) &&
	       !strcmp(session->params.initiator, conn->initiator);
}

void registry_find(struct iscsi_conn *conn)
{
	struct iscsi_session *session = by_tsih(conn->server, conn->login->tsih);

	if (!conn->login->tsih || !session || !is_of(session, conn) ||
	    session->group != conn->group)
		return;
	refer(conn, session);
	conn->destination = session->io;
}

static unsigned others(const struct iscsi_session *session, uint16_t cid)
{
	unsigned count = 0;

	list_for_each (it, &session->members)
		count += member(it)->login_cid != cid;
	return count;
}

/* Who proved to be another than the leading connection did is another. */
static enum login_status may_join(const struct iscsi_conn *conn)
{
	const struct iscsi_session *session = by_tsih(conn->server, conn->login->tsih);

	if (!session || !is_of(session, conn) || session->dropped)
		return LOGIN_NO_SESSION;
	if (session->group != conn->group)
		return LOGIN_CAN_NOT_INCLUDE;
	if (session != conn->session)
		return LOGIN_NO_SESSION; /* it was not there when the login began */
	if (strcmp(session->chap_user, conn->login->rule.chap_user) != 0)
		return LOGIN_AUTHENTICATION_FAILED;
	if (others(session, conn->login->cid) >= session->params.max_connections)
		return LOGIN_TOO_MANY_CONNECTIONS;
	return LOGIN_SUCCESS;
}

static void join(struct iscsi_conn *conn)
{
	enum login_status status = may_join(conn);

	if (status == LOGIN_SUCCESS) {
		list_push_back(&conn->session->members, &conn->member_link);
		server_login_through(conn);
	}
	server_answer(conn, status);
}

static struct iscsi_session *same_port(const struct iscsi_conn *conn)
{
	list_for_each (it, &conn->server->sessions) {
		struct iscsi_session *session = list_entry(it, struct iscsi_session, all_link);

		if (is_of(session, conn) && session->group == conn->group)
			return session;
	}
	return NULL;
}

/* Is there a place for one more session of @conn's? */
static enum rules_full is_full(const struct iscsi_conn *conn)
{
	unsigned all = 0, own = 0;

	if (conn->discovery || conn->replaces)
		return RULES_NOT_FULL;
	list_for_each (it, &conn->server->sessions) {
		const struct iscsi_session *session =
		    list_entry(it, struct iscsi_session, all_link);

		if (session->target != conn->target)
			continue;
		all++;
		own += !strcmp(session->params.initiator, conn->initiator);
	}
	return rules_full(&conn->target->limits, all, own);
}

static void begin(struct iscsi_conn *conn)
{
	conn->answer_full = is_full(conn);
	if (conn->answer_full == RULES_NOT_FULL)
		register_session(conn);
	else
		server_answer(conn, LOGIN_OUT_OF_RESOURCES);
}

/* RFC 7143 6.3.5: TSIH 0 with the ISID of a live session of the same initiator and portal group
 * reinstates it: the old one ends first. TSIH not 0 adds a connection, or replaces one. */
void registry_ask(struct iscsi_conn *conn)
{
	struct iscsi_session *older;

	conn->login_cid = conn->login->cid;
	if (conn->drop_posted || conn->server->stopping || (conn->target && conn->target->dying)) {
		server_answer(conn, LOGIN_UNAVAILABLE);
		return;
	}
	if (conn->login->tsih != 0) {
		join(conn);
		return;
	}
	older = same_port(conn);
	if (!older) {
		begin(conn);
		return;
	}
	conn->replaces = true;
	list_push_back(&older->waiters, &conn->wait_link);
	drop_session(older, DROP_REINSTATED);
}

int iscsi_session_drop(struct iscsi_server *server, uint64_t id, struct err *err)
{
	list_for_each (it, &server->sessions) {
		struct iscsi_session *session = list_entry(it, struct iscsi_session, all_link);

		if (session->id == id) {
			drop_session(session, DROP_ADMIN);
			return 0;
		}
	}
	return err_set(err, -ENOENT, "no session %llu", (unsigned long long)id);
}

/* ---- the list of sessions: each loop fills its part */

struct gather_part {
	struct message message;
	struct gather *gather;
	struct iscsi_io_loop *io;
	struct iscsi_session_info *infos;
	unsigned count;
};

struct gather {
	struct iscsi_server *server;
	void (*listed)(void *, const struct iscsi_session_info *, unsigned);
	void *context;
	unsigned waiting;
	struct gather_part parts[];
};

static void describe_conn(const struct iscsi_conn *conn, struct iscsi_connection_info *info)
{
	*info = (struct iscsi_connection_info){
	    .cid = conn->cid,
	    .header_digest = conn->header_digest,
	    .data_digest = conn->data_digest,
	    .seconds = (loop_now(conn->io->loop) - conn->started_ns) / 1000000000u,
	};
	memcpy(info->peer, conn->peer_text, sizeof(info->peer));
	memcpy(info->portal, conn->local_text, sizeof(info->portal));
}

/* What is said of the session as a whole is its oldest connection's. False: it has none. */
static bool describe(const struct iscsi_session *session, struct iscsi_session_info *info)
{
	const struct iscsi_conn *first = NULL;

	*info = (struct iscsi_session_info){
	    .id = session->id,
	    .tsih = session->tsih,
	    .seconds = (loop_now(session->io->loop) - session->started_ns) / 1000000000u,
	    .commands = session->commands,
	    .read_bytes = session->read_bytes,
	    .write_bytes = session->write_bytes,
	    .max_connections = session->params.max_connections,
	};
	list_for_each (it, &session->conns) {
		const struct iscsi_conn *conn = list_entry(it, struct iscsi_conn, session_link);

		if (conn->state != CONN_FULL_FEATURE ||
		    info->connection_count == ISCSI_SESSION_CONNECTIONS_MAX)
			continue;
		first = first ? first : conn;
		describe_conn(conn, &info->connections[info->connection_count++]);
	}
	if (!first)
		return false;
	info->header_digest = first->header_digest;
	info->data_digest = first->data_digest;
	info->chap = first->chap;
	memcpy(info->isid, session->isid, sizeof(info->isid));
	memcpy(info->initiator, first->params.initiator, sizeof(info->initiator));
	memcpy(info->target, first->params.target, sizeof(info->target));
	snprintf(info->initiator_alias, sizeof(info->initiator_alias), "%.223s",
		 first->params.initiator_alias);
	memcpy(info->peer, first->peer_text, sizeof(info->peer));
	memcpy(info->portal, first->local_text, sizeof(info->portal));
	return true;
}

static void gather_end(struct gather *gather)
{
	struct iscsi_session_info *all = NULL;
	unsigned count = 0, at = 0;

	for (unsigned i = 0; i < gather->server->options.io_loop_count; i++)
		count += gather->parts[i].count;
	if (count)
		all = heap_zalloc_array(count, sizeof(*all));
	for (unsigned i = 0; i < gather->server->options.io_loop_count; i++) {
		struct gather_part *part = &gather->parts[i];

		if (all && part->count)
			memcpy(all + at, part->infos, part->count * sizeof(*all));
		at += part->count;
		heap_free(part->infos);
	}
	gather->listed(gather->context, all, all ? count : 0);
	heap_free(all);
	heap_free(gather);
}

static void gather_back(struct message *message)
{
	struct gather_part *part = container_of(message, struct gather_part, message);

	if (--part->gather->waiting == 0)
		gather_end(part->gather);
}

static void gather_on_loop(struct message *message)
{
	struct gather_part *part = container_of(message, struct gather_part, message);
	unsigned count = 0;

	list_for_each (it, &part->io->sessions)
		count++;
	if (count)
		part->infos = heap_zalloc_array(count, sizeof(*part->infos));
	list_for_each (it, &part->io->sessions) {
		struct iscsi_session *session = list_entry(it, struct iscsi_session, link);

		if (part->infos && describe(session, &part->infos[part->count]))
			part->count++;
	}
	loop_post(part->gather->server->options.control, message, gather_back);
}

void iscsi_session_list(struct iscsi_server *server,
			void (*listed)(void *context, const struct iscsi_session_info *sessions,
				       unsigned count),
			void *context)
{
	unsigned loops = server->options.io_loop_count;
	struct gather *gather = heap_zalloc(sizeof(*gather) + loops * sizeof(struct gather_part));

	if (!gather) {
		listed(context, NULL, 0);
		return;
	}
	gather->server = server;
	gather->listed = listed;
	gather->context = context;
	gather->waiting = loops;
	for (unsigned i = 0; i < loops; i++) {
		gather->parts[i].gather = gather;
		gather->parts[i].io = &server->loops[i];
		loop_post(server->loops[i].loop, &gather->parts[i].message, gather_on_loop);
	}
}
