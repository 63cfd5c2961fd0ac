/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEBADMIN_ALERT_CHANNEL_H
#define WEBADMIN_ALERT_CHANNEL_H

#include "core/err.h"
#include "core/list.h"
#include "webadmin/alert.h"
#include "webadmin/secret.h"

/* Inside webadmin/: where alerts are sent. The control loop keeps a queue per channel; one thread
 * sends, one message at a time, so that no loop ever waits for a mail server.
 *
 *   queued -> with the thread -> delivered
 *     ^            | failed: after 2 s, 10 s, 30 s, ... an hour (CHANNEL_TRIES), then given up
 *     +------------+
 *
 * What goes out goes where an administrator said and nowhere else: fixed protocols, no redirects,
 * no proxies of the environment, never a link-local, multicast or unspecified address (checked on
 * the address that is connected to, so that a name can not be pointed elsewhere meanwhile), answers
 * kept up to a bound and not shown. Addresses of the own network and of this machine are allowed:
 * that is where mail relays and chat bridges are. */

enum alert_channel_kind {
	CHANNEL_EMAIL,
	CHANNEL_WEBHOOK,
	CHANNEL_SYSLOG,
	CHANNEL_SNMP,
	CHANNEL_KINDS
};
enum alert_channel_preset {
	PRESET_GENERIC,
	PRESET_DINGTALK,
	PRESET_WECOM,
	PRESET_FEISHU,
	PRESET_SLACK,
	CHANNEL_PRESETS
};
const char *alert_channel_kind_name(enum alert_channel_kind kind);
bool alert_channel_kind_parse(const char *name, enum alert_channel_kind *ret_kind);
const char *alert_channel_preset_name(enum alert_channel_preset preset);
bool alert_channel_preset_parse(const char *name, enum alert_channel_preset *ret_preset);

#define CHANNELS_MAX          16u
#define CHANNEL_NAME_MAX      63u
#define CHANNEL_URL_MAX       SECRET_MAX
#define CHANNEL_MAIL_MAX      254u
#define CHANNEL_TO_MAX        1024u
#define CHANNEL_USER_MAX      128u
#define CHANNEL_CA_MAX        16384u
#define CHANNEL_QUEUE_MAX     64u /* beyond it the oldest is dropped and counted */
#define CHANNEL_TRIES         10u
#define CHANNEL_TIMEOUT_MS    15000
#define CHANNEL_ANSWER_MAX    16384u
#define CHANNEL_COMMUNITY_MAX 64u
#define CHANNEL_TRAP_MAX      1400u /* one datagram that is not cut on its way */

/* What was said of a channel. A webhook's URL often is its password: it is kept like one. */
struct alert_channel_settings {
	char name[CHANNEL_NAME_MAX + 1];
	enum alert_channel_kind kind;
	enum alert_channel_preset preset;
	char url[CHANNEL_URL_MAX + 1];
	char from[CHANNEL_MAIL_MAX + 1];
	char to[CHANNEL_TO_MAX]; /* addresses with commas between them */
	char user[CHANNEL_USER_MAX + 1];
	char secret[SECRET_MAX + 1]; /* password, community ("": public), or what a webhook's
				      * messages are signed with */
	char *ca;                    /* PEM, heap; NULL: the system's */
	bool plain;                  /* e-mail: without TLS */
	enum alert_language language;
	enum alert_severity least;
	bool enabled;
	bool audit; /* syslog: every entry of the audit log is sent too */
};
/* alert_channel_check: can it be sent to at all? -EINVAL with a sentence. */
int alert_channel_check(const struct alert_channel_settings *settings, struct err *err);
/* The scheme and the host of its URL, which is all of it that is shown. */
void alert_channel_place(const struct alert_channel_settings *settings,
			 char place[CHANNEL_URL_MAX + 1]);
void alert_channel_settings_wipe(struct alert_channel_settings *settings); /* frees the CA too */

/* alert_channel_store.c: rows. alert_channels_load: @each takes what a settings own.
 * alert_channel_store: inside a transaction of the caller's. */
int alert_channels_load(struct config *config,
			int (*each)(void *context, struct alert_channel_settings *settings),
			void *context, struct err *err);
int alert_channel_store(struct config *config, const struct alert_channel_settings *settings,
			struct err *err);

/* ---- what is said (alert_channel_text.c, pure) */
enum alert_channel_event { CHANNEL_FIRED, CHANNEL_CLEARED, CHANNEL_TEST, CHANNEL_AUDIT };
struct alert_channel_message {
	enum alert_channel_event event;
	struct alert alert; /* a copy; not linked. Of a test and the audit log: nothing */
	char *audit;        /* entries of the audit log, a line each; heap, the job's */
	char host[65];      /* this machine's name */
	int64_t wall;       /* now, seconds since 1970 */
};
/* All return heap text, NULL: out of memory. alert_channel_subject: one line. alert_channel_text:
 * some lines. alert_channel_mail: RFC 5322, lines ended by CR LF. alert_channel_body: JSON of a
 * webhook's preset. alert_channel_url: where it goes (some presets sign in the query).
 * alert_channel_syslog: RFC 5424, without a frame. alert_channel_signature: X-Granary-Signature of
 * @body, hex of HMAC-SHA256. */
char *alert_channel_subject(const struct alert_channel_settings *settings,
			    const struct alert_channel_message *message);
char *alert_channel_text(const struct alert_channel_settings *settings,
			 const struct alert_channel_message *message);
char *alert_channel_mail(const struct alert_channel_settings *settings,
			 const struct alert_channel_message *message);
char *alert_channel_body(const struct alert_channel_settings *settings,
			 const struct alert_channel_message *message);
char *alert_channel_url(const struct alert_channel_settings *settings,
			const struct alert_channel_message *message);
char *alert_channel_syslog(const struct alert_channel_settings *settings,
			   const struct alert_channel_message *message);
void alert_channel_signature(const char *secret, const char *body, char hex[65]);
/* alert_channel_what: the sentence itself. alert_channel_trap: a trap of SNMPv2c (alert_trap.c);
 * its length, 0: it does not fit. @ticks: hundredths of a second that the machine is up. */
void alert_channel_what(const struct alert_channel_settings *settings,
			const struct alert_channel_message *message, char *out, size_t size);
size_t alert_channel_trap(const struct alert_channel_settings *settings,
			  const struct alert_channel_message *message, uint32_t ticks,
			  uint8_t trap[CHANNEL_TRAP_MAX]);
/* Did the service take it? Some say no with status 200. */
bool alert_channel_accepted(enum alert_channel_preset preset, const char *answer);

/* alert_channel_send.c: send @message, within CHANNEL_TIMEOUT_MS; *stopping: give up soon. Blocks.
 * Context: the sending thread. 0 or -errno with a sentence without secrets. */
int alert_channel_send(const struct alert_channel_settings *settings,
		       const struct alert_channel_message *message, const bool *stopping,
		       struct err *err);

/* ---- the daemon's channels (alert_channel.c). Context: the control loop */
struct channel;
int alert_channels_create(struct webadmin *admin, struct err *err);
/* alert_channels_stop: nothing is sent any more; waits a second at most for what is. */
void alert_channels_stop(struct webadmin *admin);
void alert_channels_destroy(struct webadmin *admin);

/* alert_channels_tell: queue it; returns for how many channels. alert_delivered() is called once
 * when none of them has it any more. */
unsigned alert_channels_tell(struct webadmin *admin, const struct alert *alert,
			     enum alert_channel_event event);
/* alert_channels_audit: the audit log may have grown; once a second. */
void alert_channels_audit(struct webadmin *admin);
void alert_delivered(struct webadmin *admin, int64_t id, enum alert_channel_event event);

/* alert_channels_each_failing: those whose last try failed. */
void alert_channels_each_failing(struct webadmin *admin,
				 void (*each)(void *context, const char *name, unsigned failures,
					      const char *why),
				 void *context);

struct alert_channel_info {
	const struct alert_channel_settings *settings;
	unsigned queued, failures; /* in a row */
	uint64_t delivered, given_up, dropped;
	int64_t last;      /* delivery, seconds since 1970; 0: none yet */
	const char *error; /* of the last try, "" */
};
/* By number, in the order of names; false past the end. */
bool alert_channel_info(struct webadmin *admin, unsigned index,
			struct alert_channel_info *ret_info);
bool alert_channel_find(struct webadmin *admin, const char *name,
			struct alert_channel_info *ret_info);
/* alert_channel_put: a new channel, or other settings for one; stored and durable. @dry: only
 * whether that would be done. Takes what @settings owns in any case. alert_channel_remove: -ENOENT.
 */
int alert_channel_put(struct webadmin *admin, struct alert_channel_settings *settings, bool dry,
		      struct err *err);
int alert_channel_remove(struct webadmin *admin, const char *name, struct err *err);
/* alert_channel_test: send a test message now; done() later on the control loop. */
int alert_channel_test(struct webadmin *admin, const char *name,
		       void (*done)(void *context, int result, const struct err *err),
		       void *context);

#endif
