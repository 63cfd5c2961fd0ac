/* SPDX-License-Identifier: Apache-2.0 */
#include "iscsi/login.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>

#define STAGE_SECURITY    0u
#define STAGE_OPERATIONAL 1u
#define STAGE_FULL        3u

void login_init(struct login *login)
{
	memset(login, 0, sizeof(*login));
	keys_defaults(&login->params);
	login->reply =
	    (struct text_writer){.data = login->reply_text, .room = sizeof(login->reply_text)};
}

void login_finish(struct login *login)
{
	if (login)
		OPENSSL_cleanse(login, sizeof(*login));
}

static enum login_next fail(struct login *login, enum login_status status)
{
	login->status = status;
	login->transit = false;
	login->reply.length = 0;
	return LOGIN_FAILED;
}

void login_reply_header(const struct login *login, uint8_t bhs[PDU_BHS_LENGTH])
{
	memset(bhs, 0, PDU_BHS_LENGTH);
	bhs[PDU_AT_OPCODE] = PDU_LOGIN_RESPONSE;
	bhs[PDU_AT_FLAGS] = (uint8_t)(login->stage << 2);
	if (login->transit)
		bhs[PDU_AT_FLAGS] |= (uint8_t)(PDU_FINAL | login->want_stage);
	memcpy(bhs + PDU_AT_ISID, login->isid, sizeof(login->isid));
	pdu_put16(bhs + PDU_AT_TSIH, login->tsih);
	pdu_put32(bhs + PDU_AT_ITT, login->itt);
	pdu_put16(bhs + PDU_AT_STATUS_CLASS, (uint16_t)login->status);
	if (login->status != LOGIN_SUCCESS)
		bhs[PDU_AT_FLAGS] = 0;
}

static void begin(struct login *login, const uint8_t *bhs)
{
	login->begun = true;
	memcpy(login->isid, bhs + PDU_AT_ISID, sizeof(login->isid));
	login->tsih = pdu_get16(bhs + PDU_AT_TSIH);
	login->cid = pdu_get16(bhs + PDU_AT_CID);
	login->itt = pdu_get32(bhs + PDU_AT_ITT);
	login->cmdsn = pdu_get32(bhs + PDU_AT_CMDSN);
	login->expstatsn = pdu_get32(bhs + PDU_AT_EXPSTATSN);
	login->stage = bhs[PDU_AT_FLAGS] >> 2 & 3;
}

static bool same_login(const struct login *login, const uint8_t *bhs)
{
	return !memcmp(login->isid, bhs + PDU_AT_ISID, sizeof(login->isid)) &&
	       login->tsih == pdu_get16(bhs + PDU_AT_TSIH) &&
	       login->cid == pdu_get16(bhs + PDU_AT_CID) &&
	       login->itt == pdu_get32(bhs + PDU_AT_ITT);
}

/* Header fields alone: version, constancy, stages (RFC 7143 11.12). */
static enum login_status check_header(struct login *login, const uint8_t *bhs)
{
	unsigned flags = bhs[PDU_AT_FLAGS], current = flags >> 2 & 3, next = flags & 3;

	if (!login->begun)
		begin(login, bhs);
	else if (!same_login(login, bhs))
		return LOGIN_INVALID_REQUEST;
	if (bhs[3] > 0) /* Version-min; ours is 0 */
		return LOGIN_UNSUPPORTED_VERSION;
	if (++login->requests > LOGIN_REQUESTS_MAX)
		return LOGIN_INITIATOR_ERROR;
	if (pdu_opcode(bhs) != PDU_LOGIN || current != login->stage || current > 1)
		return LOGIN_INVALID_REQUEST;
	if (flags & PDU_CONTINUE)
		return flags & PDU_FINAL ? LOGIN_INITIATOR_ERROR : LOGIN_SUCCESS;
	login->want_transit = flags & PDU_FINAL;
	login->want_stage = next;
	if (login->want_transit && (next <= current || next == 2))
		return LOGIN_INVALID_REQUEST;
	return LOGIN_SUCCESS;
}

static enum login_status copy_name(const char *from, char to[SCSI_NAME_MAX + 1])
{
	size_t length = strlen(from);

	if (length == 0 || length > SCSI_NAME_MAX)
		return LOGIN_INITIATOR_ERROR;
	/* Names compare without case (RFC 3722 folds); ours are kept in lower case. */
	for (size_t i = 0; i <= length; i++)
		to[i] = (char)(from[i] >= 'A' && from[i] <= 'Z' ? from[i] | 0x20 : from[i]);
	return iscsi_name_check(to, NULL) < 0 ? LOGIN_INITIATOR_ERROR : LOGIN_SUCCESS;
}

/* The keys that must come first (RFC 7143 6.3). */
static enum login_status take_names(struct login *login)
{
	const char *initiator = text_find(login->pairs, login->pair_count, "InitiatorName");
	const char *target = text_find(login->pairs, login->pair_count, "TargetName");
	const char *type = text_find(login->pairs, login->pair_count, "SessionType");
	const char *alias = text_find(login->pairs, login->pair_count, "InitiatorAlias");
	enum login_status status;

	if (type && strcmp(type, "Normal") != 0 && strcmp(type, "Discovery") != 0)
		return LOGIN_UNSUPPORTED_SESSION_TYPE;
	login->params.discovery = type && !strcmp(type, "Discovery");
	if (!initiator || (!target && !login->params.discovery))
		return LOGIN_MISSING_PARAMETER;
	status = copy_name(initiator, login->params.initiator);
	if (status != LOGIN_SUCCESS)
		return status;
	if (target && copy_name(target, login->params.target) != LOGIN_SUCCESS)
		return LOGIN_NOT_FOUND;
	if (login->params.discovery)
		login->params.target[0] = '\0';
	if (alias)
		snprintf(login->params.initiator_alias, sizeof(login->params.initiator_alias), "%s",
			 alias);
	return LOGIN_SUCCESS;
}

static enum login_status agree_method(struct login *login)
{
	const char *offered = text_find(login->pairs, login->pair_count, "AuthMethod");
	bool chap = login->rule.chap_user[0];

	if (!offered)
		return LOGIN_SUCCESS;
	/* Some send AuthMethod=None in the operational stage: harmless where None is enough. */
	if (login->method_agreed || (chap && login->stage != STAGE_SECURITY))
		return LOGIN_INITIATOR_ERROR;
	if (!text_list_has(offered, chap ? "CHAP" : "None"))
		return LOGIN_AUTHENTICATION_FAILED;
	login->method_agreed = true;
	text_add(&login->reply, "AuthMethod", chap ? "CHAP" : "None");
	return LOGIN_SUCCESS;
}

static bool has_chap_key(const struct login *login)
{
	for (unsigned i = 0; i < login->pair_count; i++)
		if (!strncmp(login->pairs[i].key, "CHAP_", 5))
			return true;
	return false;
}

static enum login_status authenticate(struct login *login)
{
	uint8_t random[CHAP_CHALLENGE_LENGTH + 1];
	int result;

	if (!has_chap_key(login))
		return LOGIN_SUCCESS;
	if (!login->method_agreed || !login->rule.chap_user[0] || login->authenticated)
		return LOGIN_INITIATOR_ERROR;
	if (!login->chap_started) {
		login->random(login->random_context, random, sizeof(random));
		chap_begin(&login->chap, login->chap_algorithms, random);
		login->chap_started = true;
	}
	result =
	    chap_step(&login->chap, &login->rule, login->pairs, login->pair_count, &login->reply);
	if (result == -EPROTO)
		return LOGIN_INITIATOR_ERROR;
	if (result < 0)
		return LOGIN_AUTHENTICATION_FAILED;
	login->authenticated = login->chap.state == CHAP_PASSED;
	return LOGIN_SUCCESS;
}

static enum login_status answer_keys(struct login *login)
{
	for (unsigned i = 0; i < login->pair_count; i++) {
		const struct text_pair *pair = &login->pairs[i];

		if (keys_answer(&login->params, &login->seen, KEYS_LOGIN, pair, &login->reply) < 0)
			return LOGIN_INITIATOR_ERROR;
	}
	return LOGIN_SUCCESS;
}

/* What we say unasked. */
static void declare(struct login *login)
{
	if (!login->group_declared && !login->params.discovery) {
		if (login->target_alias && login->target_alias[0])
			text_add(&login->reply, "TargetAlias", login->target_alias);
		text_add_number(&login->reply, "TargetPortalGroupTag", login->group);
		login->group_declared = true;
	}
	if (!login->receive_declared && login->stage == STAGE_OPERATIONAL) {
		text_add_number(&login->reply, "MaxRecvDataSegmentLength", KEYS_RECEIVE_MAX);
		login->receive_declared = true;
	}
}

static enum login_next move_on(struct login *login)
{
	bool open = !login->rule.chap_user[0] || login->authenticated;

	if (login->stage == STAGE_OPERATIONAL && !open)
		return fail(login, LOGIN_AUTHENTICATION_FAILED);
	if (login->want_transit && !open) {
		/* In the middle of CHAP: stay; without even having begun: refuse. */
		if (!login->method_agreed)
			return fail(login, LOGIN_AUTHENTICATION_FAILED);
		login->want_transit = false;
	}
	if (!login->want_transit)
		return LOGIN_REPLY;
	if (login->want_stage == STAGE_FULL)
		return LOGIN_ASK_SESSION;
	login->transit = true;
	return LOGIN_REPLY;
}

static enum login_next process(struct login *login)
{
	enum login_status status = agree_method(login);

	if (status == LOGIN_SUCCESS)
		status = authenticate(login);
	if (status == LOGIN_SUCCESS)
		status = answer_keys(login);
	if (status == LOGIN_SUCCESS)
		declare(login);
	if (login->reply.overflow)
		status = LOGIN_INITIATOR_ERROR;
	return status == LOGIN_SUCCESS ? move_on(login) : fail(login, status);
}

static enum login_next whole_request(struct login *login)
{
	int count = text_parse(login->text, login->text_length, login->pairs);
	enum login_status status;

	login->text_length = 0;
	if (count < 0)
		return fail(login, LOGIN_INITIATOR_ERROR);
	login->pair_count = (unsigned)count;
	if (login->ruled)
		return process(login);
	status = take_names(login);
	return status == LOGIN_SUCCESS ? LOGIN_ASK_RULE : fail(login, status);
}

enum login_next login_request(struct login *login, const uint8_t *bhs, const char *data,
			      size_t length)
{
	enum login_status status;

	if (login->transit) { /* the stage agreed in the last reply begins */
		login->stage = login->want_stage;
		login->transit = false;
	}
	login->reply.length = 0;
	login->reply.overflow = false;
	status = check_header(login, bhs);
	if (status == LOGIN_SUCCESS && length > sizeof(login->text) - login->text_length)
		status = LOGIN_INITIATOR_ERROR;
	if (status != LOGIN_SUCCESS)
		return fail(login, status);
	memcpy(login->text + login->text_length, data, length);
	login->text_length += length;
	return bhs[PDU_AT_FLAGS] & PDU_CONTINUE ? LOGIN_REPLY : whole_request(login);
}

enum login_next login_rule(struct login *login, enum login_status status,
			   const struct iscsi_rule *rule)
{
	if (status != LOGIN_SUCCESS) {
		fail(login, status);
		if (status == LOGIN_MOVED_TEMPORARILY)
			text_add(&login->reply, "TargetAddress", login->redirect);
		return LOGIN_FAILED;
	}
	login->rule = *rule;
	login->ruled = true;
	if (login->session)
		keys_join(&login->params, login->session);
	return process(login);
}

enum login_next login_session(struct login *login, enum login_status status, uint16_t tsih)
{
	if (status != LOGIN_SUCCESS)
		return fail(login, status);
	keys_settle(&login->params);
	login->tsih = tsih;
	login->transit = true;
	return LOGIN_DONE;
}
