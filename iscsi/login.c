/* SPDX-License-Identifier: Apache-2.0 */
/* login.c: the login phase (RFC 7143 6.3, 11.12, 11.13). A login is let in by a rule of its
 * target; what the rule demands (CHAP) is demanded before anything else is agreed on. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/heap.h"
#include "core/log.h"
#include "iscsi/internal.h"

enum { SECURITY = 0, OPERATIONAL = 1, FULL = 3 };

#define STATUS(class, detail)   ((class) << 8 | (detail))
#define STATUS_INITIATOR_ERROR  STATUS(2, 0)
#define STATUS_AUTHENTICATION   STATUS(2, 1)
#define STATUS_FORBIDDEN        STATUS(2, 2)
#define STATUS_NOT_FOUND        STATUS(2, 3)
#define STATUS_VERSION          STATUS(2, 5)
#define STATUS_MISSING          STATUS(2, 7)
#define STATUS_SESSION_TYPE     STATUS(2, 9)
#define STATUS_NO_SESSION       STATUS(2, 10)
#define STATUS_TARGET_ERROR     STATUS(3, 0)
#define STATUS_OUT_OF_RESOURCES STATUS(3, 2)

static void answer(struct iscsi_conn *conn, uint8_t flags, unsigned status, const char *text,
		   uint32_t length)
{
	struct iscsi_reply *reply =
	    reply_new(conn, PDU_LOGIN_RESPONSE, flags, pdu_get32(conn->header + PDU_AT_ITT));
	struct iovec data = {0};

	if (!reply)
		return;
	memcpy(reply->header + PDU_AT_ISID, conn->header + PDU_AT_ISID, 6);
	pdu_put16(reply->header + PDU_AT_TSIH, conn->tsih);
	pdu_put32(reply->header + PDU_AT_TTT, 0);
	reply->header[PDU_AT_STATUS_CLASS] = (uint8_t)(status >> 8);
	reply->header[PDU_AT_STATUS_CLASS + 1] = (uint8_t)status;
	if (length) {
		reply->buf = buf_get(loop_buffers(conn->lane->loop), length);
		if (!reply->buf) {
			list_push_front(&conn->lane->free_replies, &reply->link);
			conn_end(conn, "out of buffers for a login response");
			return;
		}
		memcpy(reply->buf->data, text, length);
		data = (struct iovec){reply->buf->data, length};
	}
	reply_send(reply, &data, length ? 1 : 0, length, status < STATUS(2, 0));
}

static void refuse(struct iscsi_conn *conn, unsigned status, const char *why)
{
	log_info("iscsi: %s (%s) on %s: login refused: %s", conn->peer_text,
		 conn->params.initiator[0] ? conn->params.initiator : "no name", conn->portal_text,
		 why);
	answer(conn, 0, status, NULL, 0);
	conn_finish(conn);
}

/* --- who and where to --------------------------------------------------------------------- */

static bool copy_name(char *to, size_t room, const char *from)
{
	size_t length = strlen(from);

	if (length >= room)
		return false;
	memcpy(to, from, length + 1);
	return true;
}

/* The first request's names. 0 or a status. */
static unsigned read_names(struct iscsi_conn *conn, const struct text_pair *pairs, unsigned count)
{
	const char *initiator = text_find(pairs, count, "InitiatorName");
	const char *target = text_find(pairs, count, "TargetName");
	const char *type = text_find(pairs, count, "SessionType");
	const char *alias = text_find(pairs, count, "InitiatorAlias");
	struct iscsi_params *params = &conn->params;

	if (!initiator)
		return STATUS_MISSING;
	if (iscsi_name_check(initiator, NULL) < 0 ||
	    !copy_name(params->initiator, sizeof(params->initiator), initiator))
		return STATUS_INITIATOR_ERROR;
	if (alias && !copy_name(params->initiator_alias, sizeof(params->initiator_alias), alias))
		return STATUS_INITIATOR_ERROR;
	params->discovery = type && strcmp(type, "Discovery") == 0;
	if (type && !params->discovery && strcmp(type, "Normal") != 0)
		return STATUS_SESSION_TYPE;
	if (params->discovery)
		return 0;
	if (!target)
		return STATUS_MISSING;
	return copy_name(params->target, sizeof(params->target), target) ? 0 : STATUS_NOT_FOUND;
}

/* Find the target and the rule that lets this initiator in; counts us in the target. */
static unsigned admit_to_target(struct iscsi_conn *conn)
{
	struct iscsi_target *target = iscsi_target_find(conn->server, conn->params.target);
	const struct iscsi_rule *rule;

	if (!target || target->dying)
		return STATUS_NOT_FOUND;
	rule = rule_match(target->rules, target->rule_count, conn->params.initiator, &conn->peer);
	if (!rule)
		return STATUS_FORBIDDEN;
	*conn->rule = *rule;
	conn->target = target;
	target->sessions++;
	return 0;
}

static unsigned admit(struct iscsi_conn *conn)
{
	struct iscsi_server *server = conn->server;
	unsigned status = 0;

	conn->rule = heap_zalloc(sizeof(*conn->rule));
	if (!conn->rule)
		return STATUS_OUT_OF_RESOURCES;
	pthread_mutex_lock(&server->lock);
	if (server->stopping)
		status = STATUS(3, 1);
	else if (!conn->params.discovery)
		status = admit_to_target(conn);
	else if (server->discovery_rule)
		*conn->rule = *server->discovery_rule;
	conn->chap.algorithms = server->chap;
	pthread_mutex_unlock(&server->lock);
	conn->need_chap = conn->rule->chap_user[0] != '\0';
	conn->authenticated = !conn->need_chap;
	return status;
}

/* --- stages ------------------------------------------------------------------------------- */

/* AuthMethod and CHAP of the security stage. 0 or a status. */
static unsigned security(struct iscsi_conn *conn, const struct text_pair *pairs, unsigned count,
			 struct text_writer *reply)
{
	const char *methods = text_find(pairs, count, "AuthMethod");
	uint8_t random[CHAP_CHALLENGE_LENGTH + 1];
	int rc;

	if (methods) {
		const char *wanted = conn->need_chap ? "CHAP" : "None";

		if (!text_list_has(methods, wanted))
			return STATUS_AUTHENTICATION;
		text_add(reply, "AuthMethod", wanted);
		if (conn->need_chap) {
			loop_random(conn->lane->loop, random, sizeof(random));
			chap_begin(&conn->chap, conn->chap.algorithms, random);
			conn->chap.state = CHAP_EXPECT_ALGORITHM;
		}
		if (!text_find(pairs, count, "CHAP_A"))
			return 0;
	}
	if (!conn->need_chap || conn->authenticated)
		return 0;
	if (!text_find(pairs, count, "CHAP_A") && !text_find(pairs, count, "CHAP_R"))
		return 0;
	rc = chap_step(&conn->chap, conn->rule, pairs, count, reply);
	if (rc == -EACCES)
		return STATUS_AUTHENTICATION;
	if (rc < 0)
		return STATUS_INITIATOR_ERROR;
	conn->authenticated = conn->chap.state == CHAP_PASSED;
	return 0;
}

static void say_ours(struct iscsi_conn *conn, struct text_writer *reply)
{
	/* RFC 7143 13.9: with the first response of the target. */
	if (!conn->params.discovery) {
		text_add_number(reply, "TargetPortalGroupTag", ISCSI_PORTAL_GROUP);
		if (conn->target && conn->target->alias[0])
			text_add(reply, "TargetAlias", conn->target->alias);
	}
}

static const char *handled[] = {"InitiatorName", "TargetName", "SessionType", "InitiatorAlias",
				"AuthMethod",    "CHAP_A",     "CHAP_I",      "CHAP_C",
				"CHAP_N",        "CHAP_R",     NULL};

static bool is_handled(const char *key)
{
	for (unsigned i = 0; handled[i]; i++)
		if (strcmp(handled[i], key) == 0)
			return true;
	return false;
}

static unsigned operational(struct iscsi_conn *conn, const struct text_pair *pairs, unsigned count,
			    struct text_writer *reply)
{
	for (unsigned i = 0; i < count; i++)
		if (!is_handled(pairs[i].key) &&
		    keys_answer(&conn->params, &conn->keys_seen, KEYS_LOGIN, &pairs[i], reply) < 0)
			return STATUS_INITIATOR_ERROR;
	return 0;
}

/* --- into the full feature phase ---------------------------------------------------------- */

static int make_nexus(struct iscsi_conn *conn)
{
	char initiator[SCSI_NAME_MAX + 32], target[SCSI_NAME_MAX + 32];
	const uint8_t *isid = conn->isid;
	struct err err = {0};

	if (conn->params.discovery)
		return 0;
	snprintf(initiator, sizeof(initiator), "%s,i,0x%02x%02x%02x%02x%02x%02x",
		 conn->params.initiator, isid[0], isid[1], isid[2], isid[3], isid[4], isid[5]);
	snprintf(target, sizeof(target), "%s,t,0x%04x", conn->params.target, ISCSI_PORTAL_GROUP);
	if (scsi_nexus_create(conn->target->scsi, initiator, target, ISCSI_PORTAL_GROUP,
			      &conn->nexus, &err) == 0)
		return 0;
	log_warning("iscsi: %s: %s", conn->params.initiator, err.text);
	return -ENOMEM;
}

static void enter(struct iscsi_conn *conn, const char *text, uint32_t length)
{
	keys_settle(&conn->params);
	if (make_nexus(conn) < 0) {
		refuse(conn, STATUS_OUT_OF_RESOURCES, "no memory for a session");
		return;
	}
	session_register(conn);
	answer(conn, PDU_FINAL | (uint8_t)(conn->login_stage << 2) | FULL, 0, text, length);
	if (conn->phase == CONN_CLOSING)
		return;
	conn->phase = CONN_FULL;
	conn->since_ns = loop_now(conn->lane->loop);
	timer_start(&conn->timer, 1000000000);
	if (!conn->params.discovery)
		log_info("iscsi: %s (%s) logged in to %s on %s", conn->params.initiator,
			 conn->peer_text, conn->params.target, conn->portal_text);
}

/* An older session of the same initiator port (name and ISID) with this target ends first:
 * RFC 7143 6.3.5, session reinstatement. True: we wait for it. */
static bool reinstates(struct iscsi_conn *conn)
{
	struct iscsi_server *server = conn->server;
	bool waits = false;

	if (conn->params.discovery)
		return false;
	pthread_mutex_lock(&server->lock);
	list_for_each (link, &server->sessions) {
		struct iscsi_conn *other = list_entry(link, struct iscsi_conn, session_link);

		if (other->target != conn->target || memcmp(other->isid, conn->isid, 6) != 0 ||
		    strcmp(other->params.initiator, conn->params.initiator) != 0)
			continue;
		conn->waiting_reinstatement = waits = true;
		list_push_back(&other->waiters, &conn->session_link);
		conn_kick(other);
		break;
	}
	pthread_mutex_unlock(&server->lock);
	return waits;
}

void login_continue(struct message *message)
{
	struct iscsi_conn *conn = container_of(message, struct iscsi_conn, reinstated);

	conn->waiting_reinstatement = false;
	if (conn->phase == CONN_CLOSING) {
		conn_maybe_free(conn);
		return;
	}
	if (reinstates(conn))
		return;
	enter(conn, conn->text, (uint32_t)conn->text_length);
	heap_free(conn->text);
	conn->text = NULL;
	conn->text_length = 0;
	conn->receiving = CONN_HEADER;
	if (conn->phase != CONN_CLOSING)
		stream_resume(conn->stream);
}

/* The last request is through. @text is our answer to it. */
static void finish_login(struct iscsi_conn *conn, const char *text, uint32_t length)
{
	if (!reinstates(conn)) {
		enter(conn, text, length);
		return;
	}
	conn->text = heap_alloc(length + 1);
	if (conn->text)
		memcpy(conn->text, text, length);
	conn->text_length = conn->text ? length : 0;
	conn->receiving = CONN_DATA; /* nothing is read until then */
	stream_pause(conn->stream);
}

/* --- one request -------------------------------------------------------------------------- */

static unsigned check_header(struct iscsi_conn *conn)
{
	const uint8_t *header = conn->header;
	uint8_t flags = header[PDU_AT_FLAGS], csg = flags >> 2 & 3, nsg = flags & 3;
	bool transit = flags & PDU_FINAL;

	if (!pdu_immediate(header) || header[PDU_AT_AHS_LENGTH])
		return STATUS_INITIATOR_ERROR;
	if (header[3] > 0)
		return STATUS_VERSION; /* Version-min */
	if (csg > OPERATIONAL || (transit && (nsg <= csg || nsg == 2)) ||
	    (transit && flags & PDU_CONTINUE))
		return STATUS_INITIATOR_ERROR;
	if (conn->first_login) {
		conn->login_stage = csg;
		conn->cid = pdu_get16(header + PDU_AT_CID);
		memcpy(conn->isid, header + PDU_AT_ISID, 6);
		conn->statsn = pdu_get32(header + PDU_AT_EXPSTATSN);
		pdu_window_init(&conn->window, pdu_get32(header + PDU_AT_CMDSN), ISCSI_DEPTH);
		/* one connection a session: a TSIH asks to join one, and there is none to join */
		return pdu_get16(header + PDU_AT_TSIH) ? STATUS_NO_SESSION : 0;
	}
	if (csg != conn->login_stage || memcmp(conn->isid, header + PDU_AT_ISID, 6) != 0 ||
	    pdu_get16(header + PDU_AT_CID) != conn->cid)
		return STATUS_INITIATOR_ERROR;
	return 0;
}

static unsigned negotiate(struct iscsi_conn *conn, const struct text_pair *pairs, unsigned count,
			  struct text_writer *reply)
{
	unsigned status = 0;

	if (conn->first_login) {
		status = read_names(conn, pairs, count);
		if (!status)
			status = admit(conn);
		if (status)
			return status;
		say_ours(conn, reply);
	}
	conn->first_login = false;
	if (conn->login_stage == SECURITY)
		status = security(conn, pairs, count, reply);
	else if (conn->need_chap && !conn->authenticated)
		return STATUS_AUTHENTICATION;
	else if (text_find(pairs, count, "AuthMethod"))
		status = security(conn, pairs, count, reply);
	if (!status && conn->login_stage == OPERATIONAL && !conn->declared) {
		conn->declared = true;
		text_add_number(reply, "MaxRecvDataSegmentLength", KEYS_RECEIVE_MAX);
	}
	return status ? status : operational(conn, pairs, count, reply);
}

static void step(struct iscsi_conn *conn, char *text, size_t length)
{
	uint8_t flags = conn->header[PDU_AT_FLAGS], nsg = flags & 3;
	struct text_pair pairs[TEXT_PAIRS_MAX];
	char data[KEYS_LOGIN_MAX];
	struct text_writer reply = {.data = data, .room = sizeof(data)};
	int count = text_parse(text, length, pairs);
	unsigned status;
	bool transit;

	if (count < 0) {
		refuse(conn, STATUS_INITIATOR_ERROR, "its text keys are malformed");
		return;
	}
	status = negotiate(conn, pairs, (unsigned)count, &reply);
	if (status || reply.overflow) {
		refuse(conn, status ? status : STATUS_OUT_OF_RESOURCES,
		       status == STATUS_AUTHENTICATION ? "authentication failed"
		       : status == STATUS_FORBIDDEN    ? "no rule of the target lets it in"
		       : status == STATUS_NOT_FOUND    ? "no such target"
						       : "it asks for what is not possible");
		return;
	}
	transit = flags & PDU_FINAL && (conn->login_stage != SECURITY || conn->authenticated);
	if (transit && nsg == FULL) {
		finish_login(conn, data, (uint32_t)reply.length);
		return;
	}
	answer(conn, (uint8_t)(conn->login_stage << 2) | (transit ? PDU_FINAL | nsg : 0), 0, data,
	       (uint32_t)reply.length);
	if (transit)
		conn->login_stage = nsg;
}

/* Collect a text that goes on over several requests (the C bit). */
static int collect(struct iscsi_conn *conn, const uint8_t *data, uint32_t length)
{
	char *grown;

	if (conn->text_length + length > ISCSI_TEXT_TOTAL_MAX)
		return -E2BIG;
	grown = heap_resize(conn->text, conn->text_length + length + 1);
	if (!grown)
		return -ENOMEM;
	if (length)
		memcpy(grown + conn->text_length, data, length);
	conn->text = grown;
	conn->text_length += length;
	return 0;
}

void login_pdu(struct iscsi_conn *conn, const uint8_t *data, uint32_t length)
{
	unsigned status = check_header(conn);
	size_t total;
	char *text;

	if (!status && ++conn->login_steps > ISCSI_LOGIN_STEPS_MAX)
		status = STATUS_INITIATOR_ERROR;
	if (!status && collect(conn, data, length) < 0)
		status = STATUS_OUT_OF_RESOURCES;
	if (status) {
		refuse(conn, status,
		       status == STATUS_VERSION ? "its protocol version is unknown"
		       : status == STATUS_NO_SESSION
			   ? "it wants to join a session that does not exist"
			   : "its login requests do not follow the protocol");
		return;
	}
	if (conn->header[PDU_AT_FLAGS] & PDU_CONTINUE) {
		answer(conn, (uint8_t)(conn->login_stage << 2), 0, NULL, 0);
		return;
	}
	text = conn->text;
	total = conn->text_length;
	conn->text = NULL;
	conn->text_length = 0;
	step(conn, text, total);
	heap_free(text);
}
