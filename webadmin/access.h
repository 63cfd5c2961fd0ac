/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEBADMIN_ACCESS_H
#define WEBADMIN_ACCESS_H

#include <jansson.h>
#include <pthread.h>

#include "core/config.h"
#include "core/list.h"
#include "core/loop.h"
#include "webadmin/api.h"
#include "webadmin/totp.h"

/* Inside webadmin/: who may use the API from the network, and what was done.
 *
 * A1 Accounts, tokens and the audit log are rows of STATE/access.db and, but for the log, all in
 *    memory: a login reads no disk and writes none that it needs, so it works when the disk is
 *    full.
 * A2 Passwords are kept as scrypt, tokens, recovery codes and session cookies as SHA-256 only,
 *    keys of two-step sign-in sealed (secret.h).
 * A3 Each audit entry holds the hash of itself and the one before it; the database refuses to
 *    change or remove an entry (but the oldest, past AUDIT_MAX).
 * A4 While there is no account there is a set-up code; the first account is made with it.
 * Context: the control loop; scrypt alone runs on a thread of its own. */

#define ACCOUNT_NAME_MAX 64
#define ACCOUNTS_MAX     256u
#define TOKENS_MAX       1024u
#define TOKEN_DAYS_MAX   3650
#define SESSIONS_MAX     512u
#define ACCOUNT_SESSIONS 16u
#define SESSION_IDLE_NS  (30 * 60 * 1000000000ull)
#define CONFIRMED_NS     (5 * 60 * 1000000000ull) /* a password given again holds this long */
#define SESSION_LIFE_NS  (12 * 3600 * 1000000000ull)
#define PASSWORD_LEAST   10
#define PASSWORD_MOST    256
#define SECRET_TEXT      44 /* 32 random bytes as base64url, with its end */
#define SETUP_CODE_TEXT  15 /* XXXX-XXXX-XXXX */
#define AUDIT_MAX        500000
#define HASHINGS_MAX     8u
#define FAILURES_MAX     512u

struct password { /* scrypt */
	uint8_t salt[16], hash[32];
	unsigned cost; /* log2 N; r = 8, p = 1 */
};

struct account {
	struct list link;
	char name[ACCOUNT_NAME_MAX + 1];
	enum role role;
	struct password password;
	struct totp totp;
	bool totp_offered; /* totp.key waits for a code that confirms it */
};

struct token {
	struct list link;
	char name[ACCOUNT_NAME_MAX + 1];
	enum role role;
	uint8_t hash[32];
	int64_t created, expires; /* seconds since 1970 */
	char maker[ACCOUNT_NAME_MAX + 16];
};

struct session {
	struct list link; /* latest use last */
	uint64_t id;
	uint8_t hash[32];
	char account[ACCOUNT_NAME_MAX + 1];
	char csrf[SECRET_TEXT];
	uint64_t created, used; /* loop_now() */
	uint64_t confirmed;     /* when the password was given again; 0 = never */
};

/* Failed sign-ins of one name or one address. */
struct failure {
	struct list link; /* oldest first */
	char key[80];
	unsigned count;
	uint64_t last; /* loop_now() */
};

struct access {
	struct config *store; /* NULL: it could not be opened, see why */
	char why[300];
	struct loop *loop;
	struct list accounts, tokens, sessions, failures, hashings;
	unsigned account_count, token_count, session_count, failure_count, hashing_count;
	uint64_t last_session;
	char setup_code[SETUP_CODE_TEXT]; /* "" once there is an account */
	char given_code[300];             /* the file it was given in; "": there is none */
	int64_t audit_last;               /* id and hash of the newest entry */
	char audit_hash[65];
	uint64_t audit_lost; /* entries that could not be written */
	pthread_t worker;
	bool worker_runs;
};

/* access_open: never fails for what is on disk: then nobody signs in, and why tells it. */
int access_open(struct loop *loop, const char *state_dir, struct access **ret_access,
		struct err *err) __attribute__((warn_unused_result));
/* access_quiet: wait for the scrypt under way (a tenth of a second); its answer is still to be
 * delivered by the loop, those that wait are answered now. */
void access_quiet(struct access *access);
/* access_set_up: the first account is there: the code is forgotten, also the file of a given one.
 */
void access_set_up(struct access *access);
void access_close(struct access *access);

/* password.c: @done runs on the loop with @password's hash filled in from @text (copied). A salt
 * is the caller's. -EBUSY when too many wait. */
struct hashing {
	struct message message;
	struct list link;
	struct access *access;
	char text[PASSWORD_MOST + 1];
	struct password password;
	void (*done)(struct hashing *hashing, bool good);
	void *context;
	bool good;
};
int password_hash(struct access *access, struct hashing *hashing);

struct account *access_find_account(struct access *access, const char *name);
struct token *access_find_token(struct access *access, const char *name);
void access_random_text(struct access *access, char text[SECRET_TEXT]);
void access_new_code(struct access *access, char code[SETUP_CODE_TEXT]);
/* Has the session @id given its password again lately? */
bool access_is_confirmed(struct access *access, uint64_t id);
struct session *access_session(struct access *access, uint64_t id);
/* What @hash is of: a session or a token that is good now; NULL else. */
struct session *access_find_session(struct access *access, const char *secret);
struct token *access_find_secret(struct access *access, const char *secret);
void access_digest(const char *secret, uint8_t hash[32]);
/* A session for @account; its cookie in @secret. NULL: no memory. */
struct session *access_add_session(struct access *access, const struct account *account,
				   char secret[SECRET_TEXT]);
void access_end_session(struct access *access, struct session *session);
/* All sessions of @account but @but. */
void access_end_sessions(struct access *access, const char *account, uint64_t but);

/* Failed tries: seconds to wait before the next one, 0 = now. */
unsigned access_delay(struct access *access, const char *key, unsigned longest);
void access_failed(struct access *access, const char *key);
void access_succeeded(struct access *access, const char *key);

/* Rows. */
int access_store_account(struct access *access, const struct account *account, struct err *err);
/* The second factor of @account, or that it has none any more. */
int access_store_totp(struct access *access, const struct account *account, struct err *err);
int access_remove_account(struct access *access, const char *name, struct err *err);
int access_store_token(struct access *access, const struct token *token, struct err *err);
int access_remove_token(struct access *access, const char *name, struct err *err);

/* api_totp.c. totp_answer: @code (NULL: none came) for @account, at sign-in after the password.
 * totp_turn_off: false = an error has been sent. */
enum totp_answer { TOTP_ANSWER_GOOD, TOTP_ANSWER_NEEDED, TOTP_ANSWER_WRONG };
enum totp_answer totp_answer(struct api_request *request, struct account *account,
			     const char *code);
bool totp_turn_off(struct api_request *request, struct account *account);

/* audit.c: one entry; a failure is logged, counted and stops nothing. */
void audit_add(struct access *access, const struct identity *who, const char *method,
	       const char *path, int status, const char *code);
int audit_load(struct access *access, struct err *err);
/* audit_untold: the entries after *@last that @channel has not had, AUDIT_BATCH at most, as lines
 * for syslog (RFC 5424; facility "log audit", the entry as JSON), in heap text; *@last: the last of
 * them. *@last 0: where it stands is looked up; a channel that is new stands at the end. NULL:
 * none. audit_told: @channel has them up to @last, also after a restart. audit_forget: it is gone.
 */
#define AUDIT_BATCH 64u
char *audit_untold(struct access *access, const char *channel, const char *host, int64_t *last);
void audit_told(struct access *access, const char *channel, int64_t last);
void audit_forget(struct access *access, const char *channel);

/* Identity of a request that came through the web front; false = an error has been sent. */
bool access_identify(struct access *access, struct api_request *request, const char *session,
		     const char *csrf, const char *token, bool changing);

#endif
