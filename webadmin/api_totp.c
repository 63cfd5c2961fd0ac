/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "core/log.h"
#include "webadmin/access.h"
#include "webadmin/admin.h"
#include "webadmin/api.h"

/* The second factor of one's own account: offered, confirmed with a code of it, taken away.
 *
 *   POST /me/totp: a key is offered, nothing changes -> POST /me/totp/confirm with a code of that
 *   key: on, and the recovery codes are shown this once -> DELETE /me/totp: off */

static struct account *own_account(struct api_request *request)
{
	struct account *account = access_find_account(request->admin->access, request->who.name);

	if (account && request->who.session)
		return account;
	api_reply_error(request, 409, "no_account", "this is for accounts that signed in");
	return NULL;
}

void api_totp_offer(struct api_request *request)
{
	struct account *account = own_account(request);
	char key[TOTP_BASE32];

	if (!account)
		return;
	if (account->totp.on) {
		api_reply_error(request, 409, "totp_on", "two-step sign-in is on already");
		return;
	}
	loop_random(request->admin->access->loop, account->totp.key, sizeof account->totp.key);
	account->totp.last_step = 0;
	account->totp_offered = true;
	totp_base32(account->totp.key, key);
	api_reply(request, 200,
		  json_pack("{s:s,s:o}", "secret", key, "uri",
			    json_sprintf("otpauth://totp/Granary:%s?secret=%s&issuer=Granary",
					 account->name, key)));
	explicit_bzero(key, sizeof key);
}

/* Fresh recovery codes into @totp; the list that shows them. */
static json_t *make_recovery(struct access *access, struct totp *totp)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < TOTP_RECOVERY_CODES; i++) {
		char shown[SETUP_CODE_TEXT], plain[SETUP_CODE_TEXT];
		unsigned length = 0;

		access_new_code(access, shown);
		for (const char *at = shown; *at; at++) {
			if (*at != '-')
				plain[length++] = *at;
		}
		plain[length] = '\0';
		access_digest(plain, totp->recovery[i]);
		json_array_append_new(list, json_string(shown));
	}
	totp->recovery_count = TOTP_RECOVERY_CODES;
	return list;
}

static void totp_reply_dry(struct api_request *request, const struct account *account, bool on)
{
	unsigned codes = account->totp.on ? account->totp.recovery_count : 0;

	api_reply_dry(
	    request, json_sprintf("account %s", account->name),
	    json_pack("{s:b,s:i}", "totp", account->totp.on, "recovery_codes", (int)codes),
	    json_pack("{s:b,s:i}", "totp", on, "recovery_codes", on ? TOTP_RECOVERY_CODES : 0));
}

void api_totp_confirm(struct api_request *request)
{
	struct access *access = request->admin->access;
	struct account *account = own_account(request), changed;
	const char *code;
	json_t *codes;

	if (!account || !api_unpack(request, "{s:s}", "code", &code))
		return;
	if (!account->totp_offered || account->totp.on) {
		api_reply_error(request, 409, "totp_not_offered", "ask for a key first");
		return;
	}
	changed = *account;
	if (totp_check(&changed.totp, code, loop_wall(access->loop) / 1000000000u) != TOTP_GOOD) {
		api_reply_error(request, 403, "bad_totp", "this is not the code of now");
		return;
	}
	if (api_is_dry(request)) {
		totp_reply_dry(request, account, true);
		explicit_bzero(&changed, sizeof changed);
		return;
	}
	changed.totp.on = true;
	codes = make_recovery(access, &changed.totp);
	if (access_store_totp(access, &changed, &request->err) < 0) {
		json_decref(codes);
		api_reply_failure(request, NULL);
		return;
	}
	account->totp = changed.totp;
	account->totp_offered = false;
	log_notice("account %s: two-step sign-in turned on", account->name);
	api_reply(request, 200, json_pack("{s:o}", "recovery_codes", codes));
}

bool totp_turn_off(struct api_request *request, struct account *account)
{
	struct account changed = *account;

	changed.totp.on = false;
	if (account->totp.on &&
	    access_store_totp(request->admin->access, &changed, &request->err) < 0) {
		api_reply_failure(request, NULL);
		return false;
	}
	if (account->totp.on)
		log_notice("account %s: two-step sign-in turned off by %s", account->name,
			   request->who.name);
	memset(&account->totp, 0, sizeof account->totp);
	account->totp_offered = false;
	return true;
}

void api_totp_delete(struct api_request *request)
{
	struct account *account = own_account(request);

	if (account && api_is_dry(request))
		totp_reply_dry(request, account, false);
	else if (account && totp_turn_off(request, account))
		api_reply(request, 200, json_pack("{s:b}", "totp", 0));
}

enum totp_answer totp_answer(struct api_request *request, struct account *account, const char *code)
{
	struct access *access = request->admin->access;
	struct account changed = *account;
	enum totp_verdict verdict;

	if (!account->totp.on)
		return TOTP_ANSWER_GOOD;
	if (!code)
		return TOTP_ANSWER_NEEDED;
	verdict = totp_check(&changed.totp, code, loop_wall(access->loop) / 1000000000u);
	if (verdict == TOTP_WRONG)
		return TOTP_ANSWER_WRONG;
	/* A recovery code that could not be struck off for good would work again. */
	if (verdict == TOTP_RECOVERED && access_store_totp(access, &changed, &request->err) < 0)
		return TOTP_ANSWER_WRONG;
	account->totp = changed.totp;
	return TOTP_ANSWER_GOOD;
}
