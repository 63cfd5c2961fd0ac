/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ISCSI_LOGIN_H
#define ISCSI_LOGIN_H

#include <stdbool.h>
#include <stdint.h>

#include "iscsi/chap.h"
#include "iscsi/iscsi.h"
#include "iscsi/keys.h"
#include "iscsi/pdu.h"

/* The login phase of one connection (RFC 7143 section 6 and 11.12, 11.13) as a state machine
 * without I/O: a request goes in, what to do next comes out. Questions that only the control
 * loop can answer (which rule applies; is there an older session) are asked through the
 * return value and answered with login_rule() and login_session(). */

#define LOGIN_TEXT_MAX     16384u /* one request over all its PDUs, bytes */
#define LOGIN_REQUESTS_MAX 48u    /* PDUs until we give up */

enum login_status { /* class << 8 | detail, RFC 7143 11.13.5 */
		    LOGIN_SUCCESS = 0x0000,
		    LOGIN_MOVED_TEMPORARILY = 0x0101,
		    LOGIN_INITIATOR_ERROR = 0x0200,
		    LOGIN_AUTHENTICATION_FAILED = 0x0201,
		    LOGIN_FORBIDDEN = 0x0202,
		    LOGIN_NOT_FOUND = 0x0203,
		    LOGIN_TARGET_REMOVED = 0x0204,
		    LOGIN_UNSUPPORTED_VERSION = 0x0205,
		    LOGIN_TOO_MANY_CONNECTIONS = 0x0206,
		    LOGIN_MISSING_PARAMETER = 0x0207,
		    LOGIN_CAN_NOT_INCLUDE = 0x0208,
		    LOGIN_UNSUPPORTED_SESSION_TYPE = 0x0209,
		    LOGIN_NO_SESSION = 0x020a,
		    LOGIN_INVALID_REQUEST = 0x020b,
		    LOGIN_TARGET_ERROR = 0x0300,
		    LOGIN_UNAVAILABLE = 0x0301,
		    LOGIN_OUT_OF_RESOURCES = 0x0302,
};

enum login_next {
	LOGIN_REPLY,       /* send the reply, wait for the next request */
	LOGIN_ASK_RULE,    /* look up the rule for params.initiator and params.target */
	LOGIN_ASK_SESSION, /* register the session; older ones end first */
	LOGIN_DONE,        /* send the reply: full feature phase */
	LOGIN_FAILED,      /* send the reply (its status says why), then close */
};

struct login {
	struct iscsi_params params;
	unsigned chap_algorithms; /* enum iscsi_chap bits; set by the caller */
	uint16_t group;           /* portal group tag; set by the caller with the rule */
	const char *target_alias; /* or NULL; set by the caller with the rule */
	const char *redirect;     /* set by the caller with LOGIN_MOVED_TEMPORARILY */
	/* Of the session it wants to join, or NULL; set by the caller with the rule. */
	const struct iscsi_params *session;
	void (*random)(void *context, void *buffer, size_t length);
	void *random_context;

	/* what the first request fixed */
	bool begun;
	uint8_t isid[6];
	uint16_t tsih; /* as asked; the assigned one after login_session() */
	uint16_t cid;
	uint32_t itt;
	uint32_t cmdsn;
	uint32_t expstatsn; /* of the first request: where StatSN starts */
	enum login_status status;

	/* private */
	unsigned requests;
	unsigned stage; /* 0 security, 1 operational */
	bool want_transit;
	unsigned want_stage;
	bool transit;
	uint8_t version_max;
	bool ruled, authenticated, receive_declared, group_declared;
	bool chap_started;
	bool method_agreed;
	struct iscsi_rule rule;
	struct chap chap;
	uint64_t seen;
	unsigned pair_count;
	struct text_pair pairs[TEXT_PAIRS_MAX];
	size_t text_length;
	char text[LOGIN_TEXT_MAX];
	struct text_writer reply;
	char reply_text[KEYS_LOGIN_MAX];
};

void login_init(struct login *login);
void login_finish(struct login *login); /* wipes secrets */

/* login_request: one login PDU, header @bhs and @length bytes of @data. */
enum login_next login_request(struct login *login, const uint8_t *bhs, const char *data,
			      size_t length);
/* Answer to LOGIN_ASK_RULE: @status LOGIN_SUCCESS with @rule (copied), or why not. */
enum login_next login_rule(struct login *login, enum login_status status,
			   const struct iscsi_rule *rule);
/* Answer to LOGIN_ASK_SESSION. */
enum login_next login_session(struct login *login, enum login_status status, uint16_t tsih);

/* Fill the reply's header but for StatSN, ExpCmdSN and MaxCmdSN; the text is login->reply. */
void login_reply_header(const struct login *login, uint8_t bhs[PDU_BHS_LENGTH]);

#endif
