/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/heap.h"
#include "core/log.h"
#include "volumes/volume.h"
#include "webadmin/alert_channel.h"

/* Channels as rows, secrets sealed; and what a channel may be. */

#define KIND_URL    "alert channel URL"
#define KIND_SECRET "alert channel secret"

void alert_channel_settings_wipe(struct alert_channel_settings *settings)
{
	heap_free(settings->ca);
	explicit_bzero(settings, sizeof *settings);
}

/* ---- what may be ---- */
static bool one_of(const char *url, const char *const *schemes)
{
	for (; *schemes; schemes++)
		if (strncmp(url, *schemes, strlen(*schemes)) == 0)
			return true;
	return false;
}

/* Printable ASCII without quotes or blanks: nothing that a line of SMTP or HTTP could be ended
 * with. */
static bool plain_word(const char *text, const char *refused)
{
	for (; *text; text++)
		if ((unsigned char)*text <= 0x20 || (unsigned char)*text >= 0x7f ||
		    strchr(refused, *text))
			return false;
	return true;
}

static bool good_address(const char *text, size_t length)
{
	const char *at = memchr(text, '@', length);

	return at && at > text && at + 1 < text + length && length <= CHANNEL_MAIL_MAX &&
	       !memchr(at + 1, '@', length - (size_t)(at + 1 - text));
}

static int check_email(const struct alert_channel_settings *settings, struct err *err)
{
	const char *to = settings->to;

	if (!plain_word(settings->from, "<>,;:\"\\()[]") ||
	    !good_address(settings->from, strlen(settings->from)))
		return err_set(err, -EINVAL, "from is one mail address");
	if (!*to || !plain_word(to, "<>;:\"\\()[]"))
		return err_set(err, -EINVAL, "to is one mail address or more");
	while (*to) {
		size_t length = strcspn(to, ",");

		if (!good_address(to, length))
			return err_set(err, -EINVAL, "%.*s is no mail address", (int)length, to);
		to += length + (to[length] == ',');
	}
	if (settings->plain && settings->user[0])
		return err_set(err, -EINVAL, "a password is not sent without TLS");
	if (settings->plain && strncmp(settings->url, "smtps:", 6) == 0)
		return err_set(err, -EINVAL, "smtps is TLS");
	if (!settings->user[0] != !settings->secret[0])
		return err_set(err, -EINVAL, "user and secret belong together");
	return 0;
}

/* tcp://HOST:PORT, udp://[2001:db8::1]:514 */
static int check_server(const struct alert_channel_settings *settings, struct err *err)
{
	const char *host = strstr(settings->url, "://") + 3, *port = strrchr(host, ':');
	char *end;
	unsigned long number = port ? strtoul(port + 1, &end, 10) : 0;

	if (!port || port == host || port[1] < '0' || port[1] > '9' || *end || number < 1 ||
	    number > 65535 || (host[0] != '[' && strchr(host, ':') != port) || strchr(host, '/'))
		return err_set(err, -EINVAL,
			       settings->kind == CHANNEL_SNMP
				   ? "the URL of a receiver of traps is udp://HOST:162"
				   : "the URL of a syslog server is udp://HOST:514, "
				     "tcp://HOST:PORT or tls://HOST:6514");
	return 0;
}

static int check_snmp(const struct alert_channel_settings *settings, struct err *err)
{
	if (strlen(settings->secret) > CHANNEL_COMMUNITY_MAX || !plain_word(settings->secret, ""))
		return err_set(err, -EINVAL, "a community is a word of %u characters at most",
			       CHANNEL_COMMUNITY_MAX);
	return check_server(settings, err);
}

int alert_channel_check(const struct alert_channel_settings *settings, struct err *err)
{
	static const char *const schemes[CHANNEL_KINDS][4] = {
	    [CHANNEL_EMAIL] = {"smtp://", "smtps://"},
	    [CHANNEL_WEBHOOK] = {"https://", "http://"},
	    [CHANNEL_SYSLOG] = {"udp://", "tcp://", "tls://"},
	    [CHANNEL_SNMP] = {"udp://", "udp://"},
	};
	const char *const *allowed = schemes[settings->kind];

	if (volume_name_check(settings->name, err) < 0)
		return err->code;
	if (!plain_word(settings->url, "\"<>\\^`{|}") || !one_of(settings->url, allowed) ||
	    !*(strstr(settings->url, "://") + 3))
		return err_set(err, -EINVAL, "its URL begins with %s or %s", allowed[0],
			       allowed[1]);
	/* user:password@ would be shown and would not be asked for by name */
	if (strcspn(strstr(settings->url, "://") + 3, "@") <
	    strcspn(strstr(settings->url, "://") + 3, "/?#"))
		return err_set(err, -EINVAL, "a URL with a user or a password in it is refused");
	if (settings->audit && settings->kind != CHANNEL_SYSLOG)
		return err_set(err, -EINVAL, "the audit log is sent to syslog servers alone");
	if (settings->kind == CHANNEL_EMAIL)
		return check_email(settings, err);
	if (settings->kind == CHANNEL_SNMP)
		return check_snmp(settings, err);
	return settings->kind == CHANNEL_SYSLOG ? check_server(settings, err) : 0;
}

void alert_channel_place(const struct alert_channel_settings *settings,
			 char place[CHANNEL_URL_MAX + 1])
{
	const char *host = strstr(settings->url, "://");
	size_t length = host ? (size_t)(host + 3 - settings->url) + strcspn(host + 3, "/?#") : 0;

	snprintf(place, CHANNEL_URL_MAX + 1, "%.*s", (int)length, settings->url);
}

/* ---- rows ---- */
static bool bind_sealed(struct config_statement *statement, int column, const char *text,
			const char *owner, const char *kind)
{
	uint8_t sealed[SECRET_SEALED];
	int length =
	    secret_seal((const uint8_t *)text, (unsigned)strlen(text), owner, kind, sealed);

	if (length < 0)
		return false;
	config_bind_blob(statement, column, length ? sealed : (const uint8_t *)"", length);
	return true;
}

int alert_channel_store(struct config *config, const struct alert_channel_settings *settings,
			struct err *err)
{
	struct config_statement *statement;
	int result = config_prepare(
	    config,
	    "insert or replace into alert_channel(name, kind, preset, url, sender, recipients,"
	    " user, secret, ca, plain, language, severity, enabled, audit)"
	    " values(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
	    &statement, err);

	if (result < 0)
		return result;
	config_bind_text(statement, 1, settings->name);
	config_bind_text(statement, 2, alert_channel_kind_name(settings->kind));
	config_bind_text(statement, 3, alert_channel_preset_name(settings->preset));
	config_bind_text(statement, 5, settings->from);
	config_bind_text(statement, 6, settings->to);
	config_bind_text(statement, 7, settings->user);
	config_bind_text(statement, 9, settings->ca ? settings->ca : "");
	config_bind_number(statement, 10, settings->plain);
	config_bind_number(statement, 11, settings->language);
	config_bind_text(statement, 12, alert_severity_name(settings->least));
	config_bind_number(statement, 13, settings->enabled);
	config_bind_number(statement, 14, settings->audit);
	if (bind_sealed(statement, 4, settings->url, settings->name, KIND_URL) &&
	    bind_sealed(statement, 8, settings->secret, settings->name, KIND_SECRET))
		result = config_step(statement, err);
	else
		result = err_set(err, -EIO, "a secret can not be encrypted");
	config_finish(statement);
	return result < 0 ? result : 0;
}

static bool read_sealed(struct config_statement *statement, int column, const char *owner,
			const char *kind, char text[SECRET_MAX + 1])
{
	uint8_t plain[SECRET_MAX + 1];
	unsigned length;
	int sealed_length;
	const uint8_t *sealed = config_blob(statement, column, &sealed_length);
	bool good = secret_unseal(sealed, (unsigned)sealed_length, owner, kind, plain, &length) &&
		    length <= SECRET_MAX;

	if (good) {
		memcpy(text, plain, length);
		text[length] = '\0';
	}
	explicit_bzero(plain, sizeof plain);
	return good;
}

static bool read_row(struct config_statement *statement, struct alert_channel_settings *settings)
{
	const char *ca;
	int64_t language = config_number(statement, 10);

	*settings = (struct alert_channel_settings){0};
	snprintf(settings->name, sizeof settings->name, "%s", config_text(statement, 0));
	if (!alert_channel_kind_parse(config_text(statement, 1), &settings->kind) ||
	    !alert_channel_preset_parse(config_text(statement, 2), &settings->preset) ||
	    !alert_severity_parse(config_text(statement, 11), &settings->least) || language < 0 ||
	    language >= ALERT_LANGUAGES)
		return false;
	snprintf(settings->from, sizeof settings->from, "%s", config_text(statement, 4));
	snprintf(settings->to, sizeof settings->to, "%s", config_text(statement, 5));
	snprintf(settings->user, sizeof settings->user, "%s", config_text(statement, 6));
	ca = config_text(statement, 8);
	settings->ca = ca && *ca ? heap_strdup(ca) : NULL;
	settings->plain = config_number(statement, 9) != 0;
	settings->language = (enum alert_language)language;
	settings->enabled = config_number(statement, 12) != 0;
	settings->audit = config_number(statement, 13) != 0;
	return true;
}

/* One whose secrets do not open (another machine's key) stays, turned off, to be given anew. */
int alert_channels_load(struct config *config,
			int (*each)(void *context, struct alert_channel_settings *settings),
			void *context, struct err *err)
{
	struct config_statement *statement;
	int result = config_prepare(config,
				    "select name, kind, preset, url, sender, recipients, user,"
				    " secret, ca, plain, language, severity, enabled, audit"
				    " from alert_channel",
				    &statement, err);

	if (result < 0)
		return result;
	while ((result = config_step(statement, err)) > 0) {
		struct alert_channel_settings settings;

		if (!read_row(statement, &settings)) {
			result = err_set(err, -EINVAL, "alert channels: a row makes no sense");
			break;
		}
		if (!read_sealed(statement, 3, settings.name, KIND_URL, settings.url) ||
		    !read_sealed(statement, 7, settings.name, KIND_SECRET, settings.secret)) {
			log_warning(
			    "alert channel %s: its secrets can not be read; it is off until "
			    "they are given again",
			    settings.name);
			settings.enabled = false;
		}
		result = each(context, &settings);
		if (result < 0)
			break;
	}
	config_finish(statement);
	return result < 0 ? err_set(err, result, "alert channels can not be read") : 0;
}
