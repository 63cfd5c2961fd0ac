/* SPDX-License-Identifier: Apache-2.0 */
#include "webadmin/access.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/heap.h"
#include "core/log.h"
#include "webadmin/secret.h"
#include "webadmin/webadmin.h"

static const struct config_migration migrations[] = {
    {"the first schema",
     "create table account(name text primary key, role text not null, cost integer not null,"
     "  salt blob not null check(length(salt) = 16), hash blob not null check(length(hash) = 32))"
     "  without rowid;"
     "create table token(name text primary key, role text not null,"
     "  hash blob not null unique check(length(hash) = 32), created integer not null,"
     "  expires integer not null, maker text not null) without rowid;"
     "create table audit(id integer primary key autoincrement, at integer not null,"
     "  who text not null, address text not null, method text not null, path text not null,"
     "  status integer not null, code text not null, hash text not null);"
     "create trigger audit_stays before update on audit begin"
     "  select raise(abort, 'the audit log is append only'); end;"
     "create trigger audit_keeps before delete on audit"
     "  when old.id > (select max(id) from audit) - 400000 begin"
     "  select raise(abort, 'the audit log is append only'); end;",
     NULL},
    {"two-step sign-in",
     "create table totp(name text primary key references account(name) on delete cascade,"
     "  key blob not null, recovery blob not null) without rowid;",
     NULL},
    {"what syslog servers have of the audit log",
     "create table audit_told(channel text primary key, last integer not null) without rowid;",
     NULL},
};

/* --- in memory ------------------------------------------------------------------------------ */

struct account *access_find_account(struct access *access, const char *name)
{
	list_for_each (it, &access->accounts) {
		struct account *account = list_entry(it, struct account, link);

		if (strcmp(account->name, name) == 0)
			return account;
	}
	return NULL;
}

struct token *access_find_token(struct access *access, const char *name)
{
	list_for_each (it, &access->tokens) {
		struct token *token = list_entry(it, struct token, link);

		if (strcmp(token->name, name) == 0)
			return token;
	}
	return NULL;
}

void access_random_text(struct access *access, char text[SECRET_TEXT])
{
	static const char digits[] =
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	uint8_t bytes[SECRET_TEXT - 1];

	/* 43 digits of 6 bits each: 258 random bits */
	loop_random(access->loop, bytes, sizeof bytes);
	for (unsigned i = 0; i < sizeof bytes; i++)
		text[i] = digits[bytes[i] & 63];
	text[SECRET_TEXT - 1] = '\0';
	explicit_bzero(bytes, sizeof bytes);
}

void access_new_code(struct access *access, char code[SETUP_CODE_TEXT])
{
	static const char digits[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"; /* Crockford's 32 */
	uint8_t bytes[12];
	unsigned out = 0;

	loop_random(access->loop, bytes, sizeof bytes);
	for (unsigned i = 0; i < sizeof bytes; i++) {
		if (i && i % 4 == 0)
			code[out++] = '-';
		code[out++] = digits[bytes[i] & 31];
	}
	code[out] = '\0';
	explicit_bzero(bytes, sizeof bytes);
}

void access_digest(const char *secret, uint8_t hash[32])
{
	SHA256((const unsigned char *)secret, strlen(secret), hash);
}

static bool session_is_over(struct access *access, const struct session *session)
{
	uint64_t now = loop_now(access->loop);

	return now - session->used > SESSION_IDLE_NS || now - session->created > SESSION_LIFE_NS;
}

void access_end_session(struct access *access, struct session *session)
{
	list_remove(&session->link);
	access->session_count--;
	explicit_bzero(session, sizeof *session);
	heap_free(session);
}

void access_end_sessions(struct access *access, const char *account, uint64_t but)
{
	list_for_each_safe (it, &access->sessions) {
		struct session *session = list_entry(it, struct session, link);

		if (session->id != but && strcmp(session->account, account) == 0)
			access_end_session(access, session);
	}
}

struct session *access_session(struct access *access, uint64_t id)
{
	list_for_each (it, &access->sessions) {
		struct session *session = list_entry(it, struct session, link);

		if (session->id == id)
			return session;
	}
	return NULL;
}

bool access_is_confirmed(struct access *access, uint64_t id)
{
	const struct session *session = access_session(access, id);

	return session && session->confirmed &&
	       loop_now(access->loop) - session->confirmed <= CONFIRMED_NS;
}

struct session *access_find_session(struct access *access, const char *secret)
{
	uint8_t hash[32];

	access_digest(secret, hash);
	list_for_each_safe (it, &access->sessions) {
		struct session *session = list_entry(it, struct session, link);

		if (CRYPTO_memcmp(session->hash, hash, sizeof hash) != 0)
			continue;
		if (session_is_over(access, session)) {
			access_end_session(access, session);
			return NULL;
		}
		session->used = loop_now(access->loop);
		list_remove(&session->link);
		list_push_back(&access->sessions, &session->link);
		return session;
	}
	return NULL;
}

struct token *access_find_secret(struct access *access, const char *secret)
{
	int64_t now = (int64_t)(loop_wall(access->loop) / 1000000000u);
	uint8_t hash[32];

	access_digest(secret, hash);
	list_for_each (it, &access->tokens) {
		struct token *token = list_entry(it, struct token, link);

		if (CRYPTO_memcmp(token->hash, hash, sizeof hash) == 0)
			return token->expires > now ? token : NULL;
	}
	return NULL;
}

/* Room for one more: the account's longest unused goes, then anybody's. */
static void make_room(struct access *access, const char *account)
{
	struct session *oldest = NULL;
	unsigned own = 0;

	list_for_each (it, &access->sessions) {
		struct session *session = list_entry(it, struct session, link);

		if (strcmp(session->account, account) != 0)
			continue;
		own++;
		if (!oldest)
			oldest = session;
	}
	if (own >= ACCOUNT_SESSIONS)
		access_end_session(access, oldest);
	else if (access->session_count >= SESSIONS_MAX)
		access_end_session(access, list_entry(access->sessions.next, struct session, link));
}

struct session *access_add_session(struct access *access, const struct account *account,
				   char secret[SECRET_TEXT])
{
	struct session *session = heap_zalloc(sizeof *session);

	if (!session)
		return NULL;
	make_room(access, account->name);
	access_random_text(access, secret);
	access_random_text(access, session->csrf);
	access_digest(secret, session->hash);
	snprintf(session->account, sizeof session->account, "%s", account->name);
	session->id = ++access->last_session;
	session->created = session->used = loop_now(access->loop);
	list_push_back(&access->sessions, &session->link);
	access->session_count++;
	return session;
}

/* --- failed tries --------------------------------------------------------------------------- */

static struct failure *find_failure(struct access *access, const char *key)
{
	list_for_each (it, &access->failures) {
		struct failure *failure = list_entry(it, struct failure, link);

		if (strcmp(failure->key, key) == 0)
			return failure;
	}
	return NULL;
}

static void drop_failure(struct access *access, struct failure *failure)
{
	list_remove(&failure->link);
	access->failure_count--;
	heap_free(failure);
}

/* Three tries are free; then 1, 2, 4 ... seconds up to @longest. */
unsigned access_delay(struct access *access, const char *key, unsigned longest)
{
	const struct failure *failure = find_failure(access, key);
	uint64_t passed, wait;

	if (!failure || failure->count < 3)
		return 0;
	wait = failure->count > 12 ? 512 : 1ull << (failure->count - 3);
	if (wait > longest)
		wait = longest;
	passed = (loop_now(access->loop) - failure->last) / 1000000000u;
	return passed >= wait ? 0 : (unsigned)(wait - passed);
}

void access_failed(struct access *access, const char *key)
{
	struct failure *failure = find_failure(access, key);

	if (failure) {
		list_remove(&failure->link);
	} else {
		failure = heap_zalloc(sizeof *failure);
		if (!failure)
			return;
		if (access->failure_count >= FAILURES_MAX)
			drop_failure(access,
				     list_entry(access->failures.next, struct failure, link));
		snprintf(failure->key, sizeof failure->key, "%s", key);
		access->failure_count++;
	}
	failure->count++;
	failure->last = loop_now(access->loop);
	list_push_back(&access->failures, &failure->link);
}

void access_succeeded(struct access *access, const char *key)
{
	struct failure *failure = find_failure(access, key);

	if (failure)
		drop_failure(access, failure);
}

/* --- rows ----------------------------------------------------------------------------------- */

static int finish(struct config_statement *statement, struct err *err)
{
	int result = config_step(statement, err);

	config_finish(statement);
	return result < 0 ? result : 0;
}

static int closed(struct access *access, struct err *err)
{
	return err_set(err, -ENXIO, "accounts are not available: %s", access->why);
}

int access_store_account(struct access *access, const struct account *account, struct err *err)
{
	struct config_statement *statement;
	int result;

	if (!access->store)
		return closed(access, err);
	result =
	    config_prepare(access->store,
			   "insert into account(name, role, cost, salt, hash) values(?, ?, ?, ?, ?)"
			   " on conflict(name) do update set role = excluded.role,"
			   " cost = excluded.cost, salt = excluded.salt, hash = excluded.hash",
			   &statement, err);
	if (result < 0)
		return result;
	config_bind_text(statement, 1, account->name);
	config_bind_text(statement, 2, role_name(account->role));
	config_bind_number(statement, 3, account->password.cost);
	config_bind_blob(statement, 4, account->password.salt, sizeof account->password.salt);
	config_bind_blob(statement, 5, account->password.hash, sizeof account->password.hash);
	return finish(statement, err);
}

int access_store_totp(struct access *access, const struct account *account, struct err *err)
{
	const struct totp *totp = &account->totp;
	uint8_t sealed[SECRET_SEALED];
	struct config_statement *statement;
	int length, result;

	if (!access->store)
		return closed(access, err);
	if (!totp->on)
		return config_run(access->store, err, "delete from totp where name = ?", "s",
				  account->name);
	length = secret_seal(totp->key, TOTP_KEY, account->name, "totp", sealed);
	if (length <= 0)
		return err_set(err, -EIO, "the key could not be sealed");
	result = config_prepare(access->store,
				"insert or replace into totp(name, key, recovery) values(?, ?, ?)",
				&statement, err);
	if (result < 0)
		return result;
	config_bind_text(statement, 1, account->name);
	config_bind_blob(statement, 2, sealed, (size_t)length);
	config_bind_blob(statement, 3, totp->recovery,
			 totp->recovery_count * sizeof totp->recovery[0]);
	return finish(statement, err);
}

int access_remove_account(struct access *access, const char *name, struct err *err)
{
	if (!access->store)
		return closed(access, err);
	return config_run(access->store, err, "delete from account where name = ?", "s", name);
}

int access_store_token(struct access *access, const struct token *token, struct err *err)
{
	struct config_statement *statement;
	int result;

	if (!access->store)
		return closed(access, err);
	result = config_prepare(access->store,
				"insert into token(name, role, hash, created, expires, maker)"
				" values(?, ?, ?, ?, ?, ?)",
				&statement, err);
	if (result < 0)
		return result;
	config_bind_text(statement, 1, token->name);
	config_bind_text(statement, 2, role_name(token->role));
	config_bind_blob(statement, 3, token->hash, sizeof token->hash);
	config_bind_number(statement, 4, token->created);
	config_bind_number(statement, 5, token->expires);
	config_bind_text(statement, 6, token->maker);
	return finish(statement, err);
}

int access_remove_token(struct access *access, const char *name, struct err *err)
{
	if (!access->store)
		return closed(access, err);
	return config_run(access->store, err, "delete from token where name = ?", "s", name);
}

static void copy_blob(struct config_statement *statement, int column, uint8_t *to, int size)
{
	int length;
	const void *data = config_blob(statement, column, &length);

	if (length == size)
		memcpy(to, data, (size_t)size);
}

/* A row that makes no sense is left out, and said so: it lets nobody in. */
static void load_account(struct access *access, struct config_statement *statement)
{
	struct account *account = heap_zalloc(sizeof *account);
	const char *name = config_text(statement, 0);

	if (!account || strlen(name) > ACCOUNT_NAME_MAX ||
	    !role_parse(config_text(statement, 1), &account->role)) {
		log_error("account %.64s can not be used", name);
		heap_free(account);
		return;
	}
	snprintf(account->name, sizeof account->name, "%s", name);
	account->password.cost = (unsigned)config_number(statement, 2);
	copy_blob(statement, 3, account->password.salt, sizeof account->password.salt);
	copy_blob(statement, 4, account->password.hash, sizeof account->password.hash);
	list_push_back(&access->accounts, &account->link);
	access->account_count++;
}

/* A key that can not be opened (another machine's secret.key) lets nobody in; recovery codes do. */
static void load_totp(struct access *access, struct config_statement *statement)
{
	struct account *account = access_find_account(access, config_text(statement, 0));
	uint8_t plain[SECRET_MAX + 1];
	unsigned opened = 0;
	int length;
	const void *data = config_blob(statement, 1, &length);

	if (!account)
		return;
	if (length > 0 &&
	    secret_unseal(data, (unsigned)length, account->name, "totp", plain, &opened) &&
	    opened == TOTP_KEY) {
		memcpy(account->totp.key, plain, TOTP_KEY);
	} else {
		log_error("account %s: the key of its second step can not be opened",
			  account->name);
		loop_random(access->loop, account->totp.key, TOTP_KEY);
	}
	explicit_bzero(plain, sizeof plain);
	data = config_blob(statement, 2, &length);
	account->totp.recovery_count = (unsigned)length / 32u;
	if (account->totp.recovery_count > TOTP_RECOVERY_CODES)
		account->totp.recovery_count = TOTP_RECOVERY_CODES;
	if (account->totp.recovery_count)
		memcpy(account->totp.recovery, data, account->totp.recovery_count * 32u);
	account->totp.on = true;
}

static void load_token(struct access *access, struct config_statement *statement)
{
	struct token *token = heap_zalloc(sizeof *token);
	const char *name = config_text(statement, 0);

	if (!token || strlen(name) > ACCOUNT_NAME_MAX ||
	    !role_parse(config_text(statement, 1), &token->role)) {
		log_error("token %.64s can not be used", name);
		heap_free(token);
		return;
	}
	snprintf(token->name, sizeof token->name, "%s", name);
	copy_blob(statement, 2, token->hash, sizeof token->hash);
	token->created = config_number(statement, 3);
	token->expires = config_number(statement, 4);
	snprintf(token->maker, sizeof token->maker, "%s", config_text(statement, 5));
	list_push_back(&access->tokens, &token->link);
	access->token_count++;
}

static int load_rows(struct access *access, const char *sql,
		     void (*load)(struct access *access, struct config_statement *statement),
		     struct err *err)
{
	struct config_statement *statement;
	int result = config_prepare(access->store, sql, &statement, err);

	if (result < 0)
		return result;
	while ((result = config_step(statement, err)) > 0)
		load(access, statement);
	config_finish(statement);
	return result;
}

unsigned webadmin_access_schema(unsigned *ret_from)
{
	const unsigned count = sizeof migrations / sizeof *migrations;

	if (ret_from)
		*ret_from = config_goes_back_to(migrations, count);
	return count;
}

static int open_store(struct access *access, const char *state_dir, struct err *err)
{
	char *path = heap_printf("%s/access.db", state_dir);
	int result = path ? config_open(path, migrations, sizeof migrations / sizeof *migrations,
					&access->store, err)
			  : err_set(err, -ENOMEM, "out of memory");

	heap_free(path);
	if (result == 0)
		result = load_rows(access,
				   "select name, role, cost, salt, hash from account order by name",
				   load_account, err);
	if (result == 0)
		result = load_rows(access, "select name, key, recovery from totp", load_totp, err);
	if (result == 0)
		result = load_rows(access,
				   "select name, role, hash, created, expires, maker from token"
				   " order by name",
				   load_token, err);
	if (result == 0)
		result = audit_load(access, err);
	return result;
}

/* Whoever made the machine may have said the code beforehand (STATE/host/setup-code, root's). */
static bool take_given_code(struct access *access, const char *state_dir)
{
	char code[SETUP_CODE_TEXT + 1] = "";
	bool good = true;
	ssize_t length;
	int fd;

	snprintf(access->given_code, sizeof access->given_code, "%s/host/setup-code", state_dir);
	fd = open(access->given_code, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	length = fd < 0 ? 0 : read(fd, code, sizeof code);
	if (fd >= 0)
		close(fd);
	for (unsigned i = 0; i < SETUP_CODE_TEXT - 1; i++) {
		unsigned char c = (unsigned char)code[i];

		good = good && (i % 5 == 4 ? c == '-' : isdigit(c) || isupper(c));
	}
	good = good && (length == SETUP_CODE_TEXT - 1 || code[SETUP_CODE_TEXT - 1] == '\n');
	if (good)
		memcpy(access->setup_code, code, SETUP_CODE_TEXT - 1);
	else
		access->given_code[0] = '\0';
	explicit_bzero(code, sizeof code);
	return good;
}

void access_set_up(struct access *access)
{
	explicit_bzero(access->setup_code, sizeof access->setup_code);
	if (access->given_code[0] && unlink(access->given_code) < 0 && errno != ENOENT)
		log_warning("%s: %s", access->given_code, strerror(errno));
	access->given_code[0] = '\0';
}

int access_open(struct loop *loop, const char *state_dir, struct access **ret_access,
		struct err *err)
{
	struct access *access = heap_zalloc(sizeof *access);
	struct err why = {0};

	if (!access)
		return err_set(err, -ENOMEM, "out of memory");
	access->loop = loop;
	list_init(&access->accounts);
	list_init(&access->tokens);
	list_init(&access->sessions);
	list_init(&access->failures);
	list_init(&access->hashings);
	if (open_store(access, state_dir, &why) < 0) {
		log_error("nobody can sign in: %s", why.text);
		snprintf(access->why, sizeof access->why, "%.290s", why.text);
		config_close(access->store);
		access->store = NULL;
	} else if (access->account_count > 0) { /* the power went before a given code was removed */
		snprintf(access->given_code, sizeof access->given_code, "%s/host/setup-code",
			 state_dir);
		access_set_up(access);
	} else if (!take_given_code(access, state_dir)) {
		access_new_code(access, access->setup_code);
	}
	*ret_access = access;
	return 0;
}

void access_close(struct access *access)
{
	if (!access)
		return;
	while (!list_empty(&access->sessions))
		access_end_session(access, list_entry(access->sessions.next, struct session, link));
	while (!list_empty(&access->failures))
		drop_failure(access, list_entry(access->failures.next, struct failure, link));
	while (!list_empty(&access->tokens))
		heap_free(list_entry(list_pop_front(&access->tokens), struct token, link));
	while (!list_empty(&access->accounts))
		heap_free(list_entry(list_pop_front(&access->accounts), struct account, link));
	config_close(access->store);
	explicit_bzero(access, sizeof *access);
	heap_free(access);
}

bool access_identify(struct access *access, struct api_request *request, const char *session_secret,
		     const char *csrf, const char *token_secret, bool changing)
{
	struct session *session =
	    session_secret ? access_find_session(access, session_secret) : NULL;
	struct token *token = token_secret ? access_find_secret(access, token_secret) : NULL;
	const struct account *account =
	    session ? access_find_account(access, session->account) : NULL;

	if (token_secret && !token) {
		api_reply_error(request, 401, "bad_token", "this token is unknown or has expired");
		return false;
	}
	if (token) {
		request->who.role = token->role;
		snprintf(request->who.name, sizeof request->who.name, "token:%s", token->name);
		return true;
	}
	if (!account)
		return true; /* nobody: the route says whether that is enough */
	if (changing && (!csrf || strlen(csrf) != strlen(session->csrf) ||
			 CRYPTO_memcmp(csrf, session->csrf, strlen(session->csrf)) != 0)) {
		api_reply_error(request, 403, "csrf",
				"the X-CSRF-Token header is missing or not this session's");
		return false;
	}
	request->who.role = account->role;
	request->who.session = session->id;
	snprintf(request->who.name, sizeof request->who.name, "%s", account->name);
	return true;
}
