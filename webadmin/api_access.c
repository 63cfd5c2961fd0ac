/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <errno.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>

#include "core/heap.h"
#include "core/log.h"
#include "webadmin/access.h"
#include "webadmin/admin.h"

/* Signing in and out, accounts, tokens. What comes over the control socket is root's already. */

#define COST         15 /* scrypt: N = 2^15, 32 MiB */
#define DELAY_NAME   10 /* seconds at most, so that nobody can lock an administrator out */
#define DELAY_SOURCE 300

static struct access *access_of(struct api_request *request)
{
	return request->admin->access;
}

/* --- passwords ------------------------------------------------------------------------------ */

static bool password_good(struct api_request *request, const char *text)
{
	size_t length = strlen(text);

	if (length >= PASSWORD_LEAST && length <= PASSWORD_MOST)
		return true;
	api_reply_error(request, 400, "bad_password", "a password has %d to %d bytes",
			PASSWORD_LEAST, PASSWORD_MOST);
	return false;
}

static bool name_good(struct api_request *request, const char *name)
{
	size_t length = strlen(name);
	bool good = length >= 1 && length <= ACCOUNT_NAME_MAX;

	for (size_t i = 0; good && i < length; i++)
		good = isalnum((unsigned char)name[i]) || (i && strchr("._@-", name[i]));
	if (!good)
		api_reply_error(request, 400, "bad_name",
				"a name has 1 to %d letters, digits and . _ @ -, a letter or digit "
				"first",
				ACCOUNT_NAME_MAX);
	return good;
}

/* The slow step of @request: its state becomes the hashing. False = an error has been sent. */
static bool hash(struct api_request *request, const char *text, const struct password *like,
		 void (*done)(struct hashing *hashing, bool good))
{
	struct hashing *hashing = heap_zalloc(sizeof *hashing);

	if (!hashing) {
		api_reply_error(request, 503, "no_memory", "out of memory");
		return false;
	}
	request->state = hashing;
	snprintf(hashing->text, sizeof hashing->text, "%s", text);
	hashing->done = done;
	hashing->context = request;
	hashing->password.cost = COST;
	if (like)
		hashing->password = *like;
	else
		loop_random(access_of(request)->loop, hashing->password.salt,
			    sizeof hashing->password.salt);
	if (password_hash(access_of(request), hashing) == 0)
		return true;
	api_reply_error(request, 503, "busy", "too many people sign in just now");
	return false;
}

static bool hashing_good(struct api_request *request, bool good)
{
	if (!good)
		api_reply_error(request, 503, "no_memory", "the password could not be hashed");
	return good;
}

/* --- signing in ----------------------------------------------------------------------------- */

static void source_key(const struct api_request *request, char key[80])
{
	snprintf(key, 80, "@%s", request->who.address);
}

static void name_key(const char *name, char key[80])
{
	snprintf(key, 80, "%.64s", name);
}

/* False = told to come back later. */
static bool not_too_soon(struct api_request *request, const char *name)
{
	char source[80], named[80];
	unsigned wait, other;

	source_key(request, source);
	name_key(name, named);
	wait = access_delay(access_of(request), source, DELAY_SOURCE);
	other = access_delay(access_of(request), named, DELAY_NAME);
	if (other > wait)
		wait = other;
	if (!wait)
		return true;
	api_extra(request, "retry_after", json_integer(wait));
	api_reply_error(request, 429, "too_soon", "too many failed tries; wait %u s", wait);
	return false;
}

static void note_failure(struct api_request *request, const char *name)
{
	char key[80];

	source_key(request, key);
	access_failed(access_of(request), key);
	name_key(name, key);
	access_failed(access_of(request), key);
}

static json_t *show_me(struct access *access, const struct identity *who, const char *csrf)
{
	const struct account *account =
	    who->session ? access_find_account(access, who->name) : NULL;

	return json_pack("{s:s,s:s,s:s,s:b}", "name", who->name, "role", role_name(who->role),
			 "csrf", csrf, "totp", account && account->totp.on);
}

static void start_session(struct api_request *request, const struct account *account, int status)
{
	char secret[SECRET_TEXT];
	struct session *session = access_add_session(access_of(request), account, secret);

	if (!session) {
		api_reply_error(request, 503, "no_memory", "out of memory");
		return;
	}
	request->who.role = account->role;
	request->who.session = session->id;
	snprintf(request->who.name, sizeof request->who.name, "%s", account->name);
	api_extra(request, "session", json_string(secret));
	explicit_bzero(secret, sizeof secret);
	request->replay_key = NULL; /* a session is not given out twice */
	api_reply(request, status, show_me(access_of(request), &request->who, session->csrf));
}

/* The password is right; is there a code to give, and was it? False = an error has been sent. */
static bool second_step(struct api_request *request, struct account *account)
{
	const char *code = json_string_value(json_object_get(request->body, "code"));
	enum totp_answer answer = totp_answer(request, account, code);

	if (answer == TOTP_ANSWER_GOOD)
		return true;
	snprintf(request->who.name, sizeof request->who.name, "%s", account->name);
	if (answer == TOTP_ANSWER_NEEDED) {
		api_reply_error(request, 401, "totp_needed",
				"this account signs in with a code besides");
		return false;
	}
	note_failure(request, account->name);
	api_reply_error(request, 401, "bad_totp",
			"this is neither the code of now nor a "
			"recovery code");
	return false;
}

static void login_hashed(struct hashing *hashing, bool good)
{
	struct api_request *request = hashing->context;
	const char *name = json_string_value(json_object_get(request->body, "name"));
	struct account *account = access_find_account(access_of(request), name);
	char key[80];

	if (!hashing_good(request, good))
		return;
	if (!account || CRYPTO_memcmp(hashing->password.hash, account->password.hash,
				      sizeof account->password.hash) != 0) {
		snprintf(request->who.name, sizeof request->who.name, "%.64s", name);
		note_failure(request, name);
		api_reply_error(request, 401, "bad_login", "the name or the password is wrong");
		return;
	}
	if (!second_step(request, account))
		return;
	name_key(name, key);
	access_succeeded(access_of(request), key);
	source_key(request, key);
	access_succeeded(access_of(request), key);
	start_session(request, account, 200);
}

void api_login(struct api_request *request)
{
	static const struct password nobody = {.cost = COST}; /* takes as long for unknown names */
	const struct account *account;
	const char *name, *text, *code = NULL;

	if (!api_unpack(request, "{s:s,s:s,s?:s}", "name", &name, "password", &text, "code",
			&code) ||
	    !not_too_soon(request, name))
		return;
	if (strlen(text) > PASSWORD_MOST || strlen(name) > ACCOUNT_NAME_MAX) {
		note_failure(request, name);
		api_reply_error(request, 401, "bad_login", "the name or the password is wrong");
		return;
	}
	account = access_find_account(access_of(request), name);
	hash(request, text, account ? &account->password : &nobody, login_hashed);
}

void api_logout(struct api_request *request)
{
	list_for_each_safe (it, &access_of(request)->sessions) {
		struct session *session = list_entry(it, struct session, link);

		if (session->id == request->who.session)
			access_end_session(access_of(request), session);
	}
	api_extra(request, "session", json_string(""));
	api_reply(request, 200, json_pack("{s:b}", "signed_in", 0));
}

void api_me_show(struct api_request *request)
{
	const char *csrf = "";

	list_for_each (it, &access_of(request)->sessions) {
		const struct session *session = list_entry(it, struct session, link);

		if (session->id == request->who.session)
			csrf = session->csrf;
	}
	api_reply(request, 200, show_me(access_of(request), &request->who, csrf));
}

/* --- the first account ---------------------------------------------------------------------- */

void api_setup_show(struct api_request *request)
{
	struct access *access = access_of(request);
	json_t *body = json_pack("{s:b,s:b}", "needed", access->setup_code[0] != '\0', "signed_in",
				 request->who.role > ROLE_NOBODY);

	/* The code itself only to who could read the daemon's memory. */
	if (request->local && access->setup_code[0])
		json_object_set_new(body, "code", json_string(access->setup_code));
	api_reply(request, 200, body);
}

static bool codes_equal(const char *given, const char *code)
{
	char plain[SETUP_CODE_TEXT] = "", wanted[SETUP_CODE_TEXT] = "";
	size_t a = 0, b = 0;

	for (; *given && a + 1 < sizeof plain; given++) {
		if (isalnum((unsigned char)*given))
			plain[a++] = (char)toupper((unsigned char)*given);
	}
	for (; *code; code++) {
		if (isalnum((unsigned char)*code))
			wanted[b++] = *code;
	}
	return b > 0 && a == b && !*given && CRYPTO_memcmp(plain, wanted, b) == 0;
}

static bool may_be_added(struct api_request *request, const char *name, enum role role)
{
	struct access *access = access_of(request);

	if (access_find_account(access, name))
		api_reply_error(request, 409, "account_exists", "there is an account %s already",
				name);
	else if (access->account_count >= ACCOUNTS_MAX)
		api_reply_error(request, 409, "too_many_accounts", "there are %u accounts already",
				ACCOUNTS_MAX);
	else if (access->account_count == 0 && role != ROLE_ADMIN)
		api_reply_error(request, 409, "last_admin", "the first account has to be an admin");
	else
		return true;
	return false;
}

/* The account of the body with the password hashed; NULL = answered. While a thread hashed,
 * another request may have made the same account: it is asked again. */
static struct account *add_account(struct hashing *hashing, bool good, enum role role)
{
	struct api_request *request = hashing->context;
	struct access *access = access_of(request);
	const char *name = json_string_value(json_object_get(request->body, "name"));
	struct account *account;

	if (!hashing_good(request, good) || !may_be_added(request, name, role))
		return NULL;
	account = heap_zalloc(sizeof *account);
	if (!account) {
		api_reply_error(request, 503, "no_memory", "out of memory");
		return NULL;
	}
	snprintf(account->name, sizeof account->name, "%s", name);
	account->role = role;
	account->password = hashing->password;
	if (access_store_account(access, account, &request->err) < 0) {
		heap_free(account);
		api_reply_failure(request, NULL);
		return NULL;
	}
	list_push_back(&access->accounts, &account->link);
	access->account_count++;
	access_set_up(access);
	log_notice("account %s made, role %s", account->name, role_name(account->role));
	return account;
}

static bool not_set_up(struct api_request *request)
{
	if (access_of(request)->setup_code[0])
		return true;
	api_reply_error(request, 409, "set_up", "it is set up already; sign in");
	return false;
}

static void set_up_hashed(struct hashing *hashing, bool good)
{
	struct api_request *request = hashing->context;
	struct account *account;

	if (!not_set_up(request))
		return;
	account = add_account(hashing, good, ROLE_ADMIN);
	if (account)
		start_session(request, account, 201);
}

void api_set_up(struct api_request *request)
{
	struct access *access = access_of(request);
	const char *code, *name, *text;

	if (!api_unpack(request, "{s:s,s:s,s:s}", "code", &code, "name", &name, "password", &text))
		return;
	if (!not_set_up(request) || !not_too_soon(request, "set-up code"))
		return;
	if (!codes_equal(code, access->setup_code)) {
		note_failure(request, "set-up code");
		api_reply_error(request, 403, "bad_code", "this is not the set-up code");
		return;
	}
	if (name_good(request, name) && password_good(request, text))
		hash(request, text, NULL, set_up_hashed);
}

/* --- accounts ------------------------------------------------------------------------------- */

static json_t *show_account(struct access *access, const struct account *account)
{
	int sessions = 0;

	list_for_each (it, &access->sessions)
		sessions +=
		    strcmp(list_entry(it, struct session, link)->account, account->name) == 0;
	return json_pack("{s:s,s:s,s:i,s:b}", "name", account->name, "role",
			 role_name(account->role), "sessions", sessions, "totp", account->totp.on);
}

void api_account_list(struct api_request *request)
{
	json_t *list = json_array();

	list_for_each (it, &access_of(request)->accounts)
		json_array_append_new(
		    list, show_account(access_of(request), list_entry(it, struct account, link)));
	api_reply(request, 200, list);
}

static bool read_role(struct api_request *request, const char *text, enum role *ret_role)
{
	if (role_parse(text, ret_role))
		return true;
	api_reply_error(request, 400, "bad_role",
			"a role is viewer, provisioner, operator, admin or replication");
	return false;
}

static void account_hashed(struct hashing *hashing, bool good)
{
	struct api_request *request = hashing->context;
	struct account *account;
	enum role role = ROLE_VIEWER;

	role_parse(json_string_value(json_object_get(request->body, "role")), &role);
	account = add_account(hashing, good, role);
	if (account)
		api_reply(request, 201, show_account(access_of(request), account));
}

void api_account_create(struct api_request *request)
{
	const char *name, *role_text, *text;
	enum role role;

	if (!api_unpack(request, "{s:s,s:s,s:s}", "name", &name, "role", &role_text, "password",
			&text) ||
	    !name_good(request, name) || !read_role(request, role_text, &role) ||
	    !password_good(request, text))
		return;
	if (!may_be_added(request, name, role))
		return;
	if (api_is_dry(request))
		api_reply_dry(request, json_sprintf("account %s", name), json_object(),
			      json_pack("{s:s,s:s}", "name", name, "role", role_text));
	else
		hash(request, text, NULL, account_hashed);
}

static struct account *find_account(struct api_request *request)
{
	struct account *account = access_find_account(access_of(request), request->match.param[0]);

	if (!account)
		api_reply_error(request, 404, "account_not_found", "no account named %s",
				request->match.param[0]);
	return account;
}

/* Somebody has to be able to let others in. */
static bool not_the_last_admin(struct api_request *request, const struct account *account)
{
	unsigned admins = 0;

	list_for_each (it, &access_of(request)->accounts)
		admins += list_entry(it, struct account, link)->role == ROLE_ADMIN;
	if (account->role != ROLE_ADMIN || admins > 1)
		return true;
	api_reply_error(request, 409, "last_admin", "%s is the last admin", account->name);
	return false;
}

static void account_set(struct api_request *request, struct account *account,
			const struct account *changed)
{
	struct access *access = access_of(request);

	if (access_store_account(access, changed, &request->err) < 0) {
		api_reply_failure(request, NULL);
		return;
	}
	account->role = changed->role;
	account->password = changed->password;
	access_end_sessions(access, account->name, request->who.session);
	log_notice("account %s changed, role %s", account->name, role_name(account->role));
	api_reply(request, 200, show_account(access, account));
}

static void changed_hashed(struct hashing *hashing, bool good)
{
	struct api_request *request = hashing->context;
	const char *role_text = json_string_value(json_object_get(request->body, "role"));
	struct account *account, changed;

	if (!hashing_good(request, good) || !(account = find_account(request)))
		return;
	changed = *account;
	changed.password = hashing->password;
	if (role_text)
		role_parse(role_text, &changed.role);
	account_set(request, account, &changed);
}

/* Whatever is changed of it ends its sessions but the one that asks. */
static void reply_dry_change(struct api_request *request, const struct account *account,
			     const struct account *changed, bool no_totp, bool password)
{
	json_t *before = show_account(access_of(request), account), *after = json_copy(before);
	bool own = request->who.session && strcmp(request->who.name, account->name) == 0;

	json_object_set_new(after, "role", json_string(role_name(changed->role)));
	json_object_set_new(after, "sessions", json_integer(own));
	if (no_totp)
		json_object_set_new(after, "totp", json_false());
	if (password)
		json_object_set_new(after, "password", json_string("another one"));
	api_reply_dry(request, json_sprintf("account %s", account->name), before, after);
}

void api_account_change(struct api_request *request)
{
	const char *role_text = NULL, *text = NULL;
	struct account *account = find_account(request), changed;
	int totp = -1;

	if (!account || !api_unpack(request, "{s?:s,s?:s,s?:b}", "role", &role_text, "password",
				    &text, "totp", &totp))
		return;
	if (totp == 1) {
		api_reply_error(request, 400, "bad_request",
				"two-step sign-in can be turned on by its owner only");
		return;
	}
	changed = *account;
	if ((role_text && !read_role(request, role_text, &changed.role)) ||
	    (changed.role != ROLE_ADMIN && !not_the_last_admin(request, account)) ||
	    (text && !password_good(request, text)))
		return;
	if (api_is_dry(request)) {
		reply_dry_change(request, account, &changed, totp == 0, text != NULL);
		return;
	}
	if (totp == 0 && !totp_turn_off(request, account))
		return;
	changed.totp = account->totp;
	if (text)
		hash(request, text, NULL, changed_hashed);
	else
		account_set(request, account, &changed);
}

void api_account_delete(struct api_request *request)
{
	struct access *access = access_of(request);
	struct account *account = find_account(request);

	if (!account || !not_the_last_admin(request, account))
		return;
	if (api_is_dry(request)) {
		api_reply_dry(request, json_sprintf("account %s", account->name),
			      show_account(access, account), json_object());
		return;
	}
	if (access_remove_account(access, account->name, &request->err) < 0) {
		api_reply_failure(request, NULL);
		return;
	}
	access_end_sessions(access, account->name, 0);
	list_remove(&account->link);
	access->account_count--;
	explicit_bzero(account, sizeof *account);
	heap_free(account);
	log_notice("account %s deleted", request->match.param[0]);
	api_reply(request, 200, json_pack("{s:s}", "deleted", request->match.param[0]));
}

/* --- one's own password --------------------------------------------------------------------- */

static void new_hashed(struct hashing *hashing, bool good)
{
	struct api_request *request = hashing->context;
	struct account *account = access_find_account(access_of(request), request->who.name);
	struct account changed;

	if (!hashing_good(request, good))
		return;
	if (!account) {
		api_reply_error(request, 404, "account_not_found", "the account is gone");
		return;
	}
	changed = *account;
	changed.password = hashing->password;
	account_set(request, account, &changed);
}

static void old_hashed(struct hashing *hashing, bool good)
{
	struct api_request *request = hashing->context;
	const struct account *account = access_find_account(access_of(request), request->who.name);
	bool same;

	if (!hashing_good(request, good))
		return;
	same = account && CRYPTO_memcmp(hashing->password.hash, account->password.hash,
					sizeof account->password.hash) == 0;
	if (!same) {
		note_failure(request, request->who.name);
		api_reply_error(request, 403, "bad_login", "the old password is wrong");
		return;
	}
	if (api_is_dry(request)) {
		reply_dry_change(request, account, account, false, true);
		return;
	}
	heap_free(hashing);
	request->state = NULL;
	hash(request, json_string_value(json_object_get(request->body, "new")), NULL, new_hashed);
}

void api_me_password(struct api_request *request)
{
	const char *old, *new;
	const struct account *account = access_find_account(access_of(request), request->who.name);

	if (!api_unpack(request, "{s:s,s:s}", "old", &old, "new", &new) ||
	    !password_good(request, new) || !not_too_soon(request, request->who.name))
		return;
	if (!account || !request->who.session)
		api_reply_error(request, 409, "no_account", "this is for accounts that signed in");
	else if (strlen(old) > PASSWORD_MOST)
		api_reply_error(request, 403, "bad_login", "the old password is wrong");
	else
		hash(request, old, &account->password, old_hashed);
}

/* --- the password once more ------------------------------------------------------------------ */

static void again_hashed(struct hashing *hashing, bool good)
{
	struct api_request *request = hashing->context;
	struct access *access = access_of(request);
	const struct account *account = access_find_account(access, request->who.name);
	struct session *session = access_session(access, request->who.session);

	if (!hashing_good(request, good))
		return;
	if (!session || !account ||
	    CRYPTO_memcmp(hashing->password.hash, account->password.hash,
			  sizeof account->password.hash) != 0) {
		note_failure(request, request->who.name);
		api_reply_error(request, 403, "bad_login", "the password is wrong");
		return;
	}
	session->confirmed = loop_now(access->loop);
	api_reply(request, 200, show_me(access, &request->who, session->csrf));
}

void api_me_confirm(struct api_request *request)
{
	const struct account *account = access_find_account(access_of(request), request->who.name);
	const char *text;

	if (!api_unpack(request, "{s:s}", "password", &text) ||
	    !not_too_soon(request, request->who.name))
		return;
	if (!account || !request->who.session)
		api_reply_error(request, 409, "no_account", "this is for accounts that signed in");
	else if (strlen(text) > PASSWORD_MOST)
		api_reply_error(request, 403, "bad_login", "the password is wrong");
	else
		hash(request, text, &account->password, again_hashed);
}

/* --- tokens --------------------------------------------------------------------------------- */

static json_t *show_token(const struct token *token)
{
	return json_pack("{s:s,s:s,s:I,s:I,s:s}", "name", token->name, "role",
			 role_name(token->role), "created", (json_int_t)token->created, "expires",
			 (json_int_t)token->expires, "maker", token->maker);
}

void api_token_list(struct api_request *request)
{
	json_t *list = json_array();

	list_for_each (it, &access_of(request)->tokens)
		json_array_append_new(list, show_token(list_entry(it, struct token, link)));
	api_reply(request, 200, list);
}

static bool read_token(struct api_request *request, struct token *token)
{
	struct access *access = access_of(request);
	const char *name, *role_text;
	json_int_t days = 90;

	if (!api_unpack(request, "{s:s,s:s,s?:I}", "name", &name, "role", &role_text, "days",
			&days) ||
	    !name_good(request, name) || !read_role(request, role_text, &token->role))
		return false;
	if (days < 1 || days > TOKEN_DAYS_MAX) {
		api_reply_error(request, 400, "bad_days", "a token is good for 1 to %d days",
				TOKEN_DAYS_MAX);
		return false;
	}
	if (access_find_token(access, name)) {
		api_reply_error(request, 409, "token_exists", "there is a token %s already", name);
		return false;
	}
	if (access->token_count >= TOKENS_MAX) {
		api_reply_error(request, 409, "too_many_tokens", "there are %u tokens already",
				TOKENS_MAX);
		return false;
	}
	snprintf(token->name, sizeof token->name, "%s", name);
	snprintf(token->maker, sizeof token->maker, "%.78s", request->who.name);
	token->created = (int64_t)(loop_wall(access->loop) / 1000000000u);
	token->expires = token->created + days * 86400;
	return true;
}

void api_token_create(struct api_request *request)
{
	struct access *access = access_of(request);
	struct token *token = heap_zalloc(sizeof *token);
	char text[SECRET_TEXT], secret[SECRET_TEXT + 4];
	json_t *body;

	if (!token) {
		api_reply_error(request, 503, "no_memory", "out of memory");
		return;
	}
	if (!read_token(request, token)) {
		heap_free(token);
		return;
	}
	if (api_is_dry(request)) {
		json_t *made = json_sprintf("token %s", token->name), *after = show_token(token);

		heap_free(token);
		api_reply_dry(request, made, json_object(), after);
		return;
	}
	access_random_text(access, text);
	snprintf(secret, sizeof secret, "gry_%s", text);
	access_digest(secret, token->hash);
	if (access_store_token(access, token, &request->err) < 0) {
		heap_free(token);
		api_reply_failure(request, NULL);
		return;
	}
	list_push_back(&access->tokens, &token->link);
	access->token_count++;
	log_notice("token %s made by %s, role %s", token->name, token->maker,
		   role_name(token->role));
	body = show_token(token);
	if (body) /* shown this once */
		json_object_set_new(body, "token", json_string(secret));
	request->replay_key = NULL;
	api_reply(request, 201, body);
	explicit_bzero(secret, sizeof secret);
	explicit_bzero(text, sizeof text);
}

void api_token_delete(struct api_request *request)
{
	struct access *access = access_of(request);
	struct token *token = access_find_token(access, request->match.param[0]);

	if (!token) {
		api_reply_error(request, 404, "token_not_found", "no token named %s",
				request->match.param[0]);
		return;
	}
	if (api_is_dry(request)) {
		api_reply_dry(request, json_sprintf("token %s", token->name), show_token(token),
			      json_object());
		return;
	}
	if (access_remove_token(access, token->name, &request->err) < 0) {
		api_reply_failure(request, NULL);
		return;
	}
	list_remove(&token->link);
	access->token_count--;
	heap_free(token);
	log_notice("token %s deleted", request->match.param[0]);
	api_reply(request, 200, json_pack("{s:s}", "deleted", request->match.param[0]));
}
