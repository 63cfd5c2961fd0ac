/* SPDX-License-Identifier: Apache-2.0 */
/* The login state machine with CHAP: a run of login PDUs, each a header of 48 bytes, two bytes of
 * length and that much text. The first byte chooses the rule. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "iscsi/login.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void no_random(void *context, void *buffer, size_t length)
{
	(void)context;
	memset(buffer, 0x5a, length);
}

static struct iscsi_rule rule_of(uint8_t choice)
{
	struct iscsi_rule rule = {0};

	if (choice & 1) {
		memcpy(rule.chap_user, "user", 5);
		memcpy(rule.chap_secret, "secretsecret", 12);
		rule.chap_secret_length = 12;
	}
	if (choice & 2) {
		memcpy(rule.mutual_user, "target", 7);
		memcpy(rule.mutual_secret, "secretterces", 12);
		rule.mutual_secret_length = 12;
	}
	return rule;
}

/* True while the login goes on. */
static bool run(struct login *login, enum login_next next, const struct iscsi_rule *rule)
{
	uint8_t bhs[PDU_BHS_LENGTH];

	if (next == LOGIN_ASK_RULE)
		next = login_rule(login, LOGIN_SUCCESS, rule);
	assert(next != LOGIN_ASK_RULE);
	if (next == LOGIN_ASK_SESSION) {
		/* never without the secret: that takes a hash the fuzzer can not guess */
		assert(!rule->chap_user[0] || login->authenticated);
		next = login_session(login, LOGIN_SUCCESS, 1);
	}
	login_reply_header(login, bhs);
	assert(login->reply.length <= sizeof(login->reply_text));
	assert((next == LOGIN_FAILED) == (login->status != LOGIN_SUCCESS));
	return next == LOGIN_REPLY;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct login *login = malloc(sizeof(*login));
	struct iscsi_rule rule;
	bool more = true;

	if (!login || size == 0) {
		free(login);
		return 0;
	}
	rule = rule_of(*data++);
	size--;
	login_init(login);
	login->random = no_random;
	login->chap_algorithms = 15;
	while (more && size >= PDU_BHS_LENGTH + 2) {
		const uint8_t *bhs = data;
		size_t length = (size_t)(data[PDU_BHS_LENGTH] << 8 | data[PDU_BHS_LENGTH + 1]);

		data += PDU_BHS_LENGTH + 2;
		size -= PDU_BHS_LENGTH + 2;
		length = length < size ? length : size;
		more = run(login, login_request(login, bhs, (const char *)data, length), &rule);
		data += length;
		size -= length;
	}
	login_finish(login);
	free(login);
	return 0;
}
