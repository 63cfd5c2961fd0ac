/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/heap.h"
#include "webadmin/alert_channel.h"

/* What is said of an alert, in the words and the shape of each kind of channel. */

static const char *const kinds[] = {
    [CHANNEL_EMAIL] = "email",
    [CHANNEL_WEBHOOK] = "webhook",
    [CHANNEL_SYSLOG] = "syslog",
    [CHANNEL_SNMP] = "snmp",
};
static const char *const presets[] = {
    [PRESET_GENERIC] = "generic", [PRESET_DINGTALK] = "dingtalk", [PRESET_WECOM] = "wecom",
    [PRESET_FEISHU] = "feishu",   [PRESET_SLACK] = "slack",
};

static int find(const char *const *names, unsigned count, const char *name)
{
	for (unsigned i = 0; i < count; i++)
		if (strcmp(names[i], name) == 0)
			return (int)i;
	return -1;
}

const char *alert_channel_kind_name(enum alert_channel_kind kind)
{
	return kinds[kind];
}

bool alert_channel_kind_parse(const char *name, enum alert_channel_kind *ret_kind)
{
	int found = find(kinds, CHANNEL_KINDS, name);

	if (found >= 0)
		*ret_kind = (enum alert_channel_kind)found;
	return found >= 0;
}

const char *alert_channel_preset_name(enum alert_channel_preset preset)
{
	return presets[preset];
}

bool alert_channel_preset_parse(const char *name, enum alert_channel_preset *ret_preset)
{
	int found = find(presets, CHANNEL_PRESETS, name);

	if (found >= 0)
		*ret_preset = (enum alert_channel_preset)found;
	return found >= 0;
}

/* ---- words ---- */
static const char *const severity_words[ALERT_LANGUAGES][ALERT_SEVERITIES] = {
    {"info", "warning", "CRITICAL"}, {"提示", "警告", "严重"}};
static const char *const cleared_word[ALERT_LANGUAGES] = {"cleared", "已解除"};
static const char *const test_text[ALERT_LANGUAGES] = {
    "This is a test: alerts of this machine arrive here.",
    "这是一条测试消息：本机的告警会发送到这里。"};
static const char *const since_word[ALERT_LANGUAGES] = {"Since", "开始于"};
static const char *const until_word[ALERT_LANGUAGES] = {"Cleared", "解除于"};
static const char *const todo_word[ALERT_LANGUAGES] = {"What to do", "处理方法"};

static const struct alert_rule *rule_of(const struct alert_channel_message *message)
{
	unsigned count;

	return &alert_rules(&count)[message->alert.rule];
}

void alert_channel_what(const struct alert_channel_settings *settings,
			const struct alert_channel_message *message, char *out, size_t size)
{
	if (message->event == CHANNEL_TEST)
		snprintf(out, size, "%s", test_text[settings->language]);
	else
		alert_expand(&message->alert, rule_of(message)->text[settings->language], out,
			     size);
}

char *alert_channel_subject(const struct alert_channel_settings *settings,
			    const struct alert_channel_message *message)
{
	const char *word = message->event == CHANNEL_CLEARED
			       ? cleared_word[settings->language]
			       : severity_words[settings->language][message->alert.severity];
	char text[1024];

	alert_channel_what(settings, message, text, sizeof text);
	if (message->event == CHANNEL_TEST)
		return heap_printf("[Granary %s] %s", message->host, text);
	return heap_printf("[Granary %s] %s: %s", message->host, word, text);
}

static const char *time_text(int64_t seconds, char text[32])
{
	time_t time = (time_t)seconds;
	struct tm parts;

	text[0] = '\0';
	if (seconds && gmtime_r(&time, &parts))
		strftime(text, 32, "%Y-%m-%dT%H:%M:%SZ", &parts);
	return text;
}

char *alert_channel_text(const struct alert_channel_settings *settings,
			 const struct alert_channel_message *message)
{
	enum alert_language language = settings->language;
	char *subject = alert_channel_subject(settings, message), *text;
	char todo[1024], fired[32], cleared[32];

	if (!subject || message->event == CHANNEL_TEST)
		return subject;
	time_text(message->alert.fired, fired);
	time_text(message->alert.cleared, cleared);
	alert_expand(&message->alert, rule_of(message)->todo[language], todo, sizeof todo);
	if (message->event == CHANNEL_CLEARED)
		text = heap_printf("%s\n%s: %s\n%s: %s", subject, since_word[language], fired,
				   until_word[language], cleared);
	else
		text = heap_printf("%s\n%s: %s\n%s: %s", subject, todo_word[language], todo,
				   since_word[language], fired);
	heap_free(subject);
	return text;
}

/* ---- codes ---- */
/* Base64 (RFC 4648) of @data in lines of @line characters, each ended by CR LF; 0: one line. */
static char *base64(const void *data, size_t length, size_t line)
{
	size_t plain = (length + 2) / 3 * 4, lines = line ? (plain + line - 1) / line : 0;
	char *all = heap_zalloc(plain + 1), *out;
	size_t at = 0;

	if (!all)
		return NULL;
	EVP_EncodeBlock((unsigned char *)all, data, (int)length);
	if (!line)
		return all;
	out = heap_zalloc(plain + 2 * lines + 1);
	for (size_t i = 0; out && i < plain; i += line) {
		size_t part = plain - i < line ? plain - i : line;

		memcpy(out + at, all + i, part);
		memcpy(out + at + part, "\r\n", 2);
		at += part + 2;
	}
	heap_free(all);
	return out;
}

static bool hmac(const void *key, size_t key_length, const void *data, size_t length,
		 unsigned char out[32])
{
	unsigned got = 0;

	return HMAC(EVP_sha256(), key, (int)key_length, data, length, out, &got) && got == 32;
}

void alert_channel_signature(const char *secret, const char *body, char hex[65])
{
	unsigned char digest[32] = {0};

	hmac(secret, strlen(secret), body, strlen(body), digest);
	for (unsigned i = 0; i < sizeof digest; i++)
		snprintf(hex + 2 * (size_t)i, 3, "%02x", digest[i]);
}

/* ---- mail: RFC 5322, RFC 2045, RFC 2047 ---- */
/* An encoded word holds 75 characters: a long subject is cut into several, between characters. */
#define WORD_BYTES 42u

static char *encoded_subject(const char *subject)
{
	char *out = heap_strdup("");
	size_t length = strlen(subject);

	for (size_t at = 0; out && at < length;) {
		size_t part = length - at < WORD_BYTES ? length - at : WORD_BYTES;
		char *word, *more;

		while (part > 1 && at + part < length &&
		       ((unsigned char)subject[at + part] & 0xc0) == 0x80)
			part--;
		word = base64(subject + at, part, 0);
		more =
		    word ? heap_printf("%s%s=?UTF-8?B?%s?=", out, at ? "\r\n " : "", word) : NULL;
		heap_free(word);
		heap_free(out);
		out = more;
		at += part;
	}
	return out;
}

static void mail_date(int64_t wall, char text[64])
{
	static const char *const days[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
	static const char *const months[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
					     "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
	time_t time = (time_t)wall;
	struct tm tm = {0};

	gmtime_r(&time, &tm);
	snprintf(text, 64, "%s, %02d %s %d %02d:%02d:%02d +0000", days[tm.tm_wday], tm.tm_mday,
		 months[tm.tm_mon], tm.tm_year + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec);
}

/* Recipients on lines of their own: each address is short, all of them need not be. */
static char *folded(const char *to)
{
	char *out = heap_zalloc(3 * strlen(to) + 1);
	size_t at = 0;

	for (; out && *to; to++) {
		out[at++] = *to;
		if (*to == ',') {
			memcpy(out + at, "\r\n ", 3);
			at += 3;
		}
	}
	return out;
}

char *alert_channel_mail(const struct alert_channel_settings *settings,
			 const struct alert_channel_message *message)
{
	char *line = alert_channel_subject(settings, message),
	     *text = alert_channel_text(settings, message);
	char *subject = line ? encoded_subject(line) : NULL, *to = folded(settings->to);
	char *body = text ? base64(text, strlen(text), 76) : NULL, *mail = NULL, date[64];

	mail_date(message->wall, date);
	if (subject && body && to)
		mail = heap_printf(
		    "Date: %s\r\nFrom: Granary <%s>\r\nTo: %s\r\nSubject: %s\r\n"
		    "Message-ID: <%lld.%lld.%d@%s.granary>\r\nAuto-Submitted: auto-generated\r\n"
		    "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"
		    "Content-Transfer-Encoding: base64\r\n\r\n%s",
		    date, settings->from, to, subject, (long long)message->wall,
		    (long long)message->alert.id, (int)message->event, message->host, body);
	heap_free(line);
	heap_free(text);
	heap_free(subject);
	heap_free(to);
	heap_free(body);
	return mail;
}

/* ---- webhooks ---- */
static json_t *stamp(int64_t seconds)
{
	char text[32];

	return seconds ? json_string(time_text(seconds, text)) : json_null();
}

static json_t *generic_body(const struct alert_channel_settings *settings,
			    const struct alert_channel_message *message)
{
	static const char *const events[] = {[CHANNEL_FIRED] = "alert.fired",
					     [CHANNEL_CLEARED] = "alert.cleared",
					     [CHANNEL_TEST] = "test"};
	const struct alert *alert = &message->alert;
	char text[1024], todo[1024] = "";
	json_t *body;

	alert_channel_what(settings, message, text, sizeof text);
	body = json_pack("{s:s,s:s,s:s,s:o}", "event", events[message->event], "host",
			 message->host, "text", text, "sent", stamp(message->wall));
	if (!body || message->event == CHANNEL_TEST)
		return body;
	alert_expand(alert, rule_of(message)->todo[settings->language], todo, sizeof todo);
	json_object_set_new(body, "id", json_integer((json_int_t)alert->id));
	json_object_set_new(body, "rule", json_string(rule_of(message)->code));
	json_object_set_new(body, "severity", json_string(alert_severity_name(alert->severity)));
	json_object_set_new(body, "object", json_string(alert->object));
	json_object_set_new(body, "value", json_integer((json_int_t)alert->value));
	json_object_set_new(body, "detail", json_string(alert->detail));
	json_object_set_new(body, "todo", json_string(todo));
	json_object_set_new(body, "fired", stamp(alert->fired));
	json_object_set_new(body, "cleared", stamp(alert->cleared));
	return body;
}

/* Feishu: the key is time and secret, and what is signed is empty. */
static void sign_feishu(const struct alert_channel_settings *settings,
			const struct alert_channel_message *message, json_t *body)
{
	char *key = heap_printf("%lld\n%s", (long long)message->wall, settings->secret);
	unsigned char digest[32];
	char *sign = key && hmac(key, strlen(key), "", 0, digest) ? base64(digest, 32, 0) : NULL;

	if (sign) {
		json_object_set_new(body, "timestamp",
				    json_sprintf("%lld", (long long)message->wall));
		json_object_set_new(body, "sign", json_string(sign));
	}
	if (key)
		explicit_bzero(key, strlen(key));
	heap_free(key);
	heap_free(sign);
}

char *alert_channel_body(const struct alert_channel_settings *settings,
			 const struct alert_channel_message *message)
{
	char *text = alert_channel_text(settings, message), *dump, *copy;
	json_t *body = NULL;

	if (!text)
		return NULL;
	switch (settings->preset) {
	case PRESET_DINGTALK:
	case PRESET_WECOM:
		body = json_pack("{s:s,s:{s:s}}", "msgtype", "text", "text", "content", text);
		break;
	case PRESET_FEISHU:
		body = json_pack("{s:s,s:{s:s}}", "msg_type", "text", "content", "text", text);
		if (body && settings->secret[0])
			sign_feishu(settings, message, body);
		break;
	case PRESET_SLACK:
		body = json_pack("{s:s}", "text", text);
		break;
	default:
		body = generic_body(settings, message);
	}
	heap_free(text);
	dump = body ? json_dumps(body, JSON_COMPACT) : NULL;
	json_decref(body);
	copy = dump ? heap_strdup(dump) : NULL;
	free(dump);
	return copy;
}

/* Base64 in a query: its three characters that are none of a query's own. */
static char *query_escaped(const char *text)
{
	char *out = heap_zalloc(3 * strlen(text) + 1);
	size_t at = 0;

	for (; out && *text; text++) {
		if (isalnum((unsigned char)*text))
			out[at++] = *text;
		else
			at += (size_t)snprintf(out + at, 4, "%%%02X", (unsigned char)*text);
	}
	return out;
}

/* DingTalk: the secret signs the time, in milliseconds, and itself; both go into the query. */
char *alert_channel_url(const struct alert_channel_settings *settings,
			const struct alert_channel_message *message)
{
	char *signed_text, *sign, *escaped, *url = NULL;
	unsigned char digest[32];

	if (settings->preset != PRESET_DINGTALK || !settings->secret[0])
		return heap_strdup(settings->url);
	signed_text = heap_printf("%lld000\n%s", (long long)message->wall, settings->secret);
	sign = signed_text && hmac(settings->secret, strlen(settings->secret), signed_text,
				   strlen(signed_text), digest)
		   ? base64(digest, sizeof digest, 0)
		   : NULL;
	escaped = sign ? query_escaped(sign) : NULL;
	if (escaped)
		url = heap_printf("%s%ctimestamp=%lld000&sign=%s", settings->url,
				  strchr(settings->url, '?') ? '&' : '?', (long long)message->wall,
				  escaped);
	if (signed_text)
		explicit_bzero(signed_text, strlen(signed_text));
	heap_free(signed_text);
	heap_free(sign);
	heap_free(escaped);
	return url;
}

bool alert_channel_accepted(enum alert_channel_preset preset, const char *answer)
{
	const char *member = preset == PRESET_FEISHU ? "code" : "errcode";
	json_t *body, *code;
	bool good;

	if (preset != PRESET_DINGTALK && preset != PRESET_WECOM && preset != PRESET_FEISHU)
		return true;
	body = json_loads(answer, JSON_REJECT_DUPLICATES, NULL);
	code = json_object_get(body, member);
	if (!code && preset == PRESET_FEISHU)
		code = json_object_get(body, "StatusCode"); /* of its older robots */
	good = json_is_integer(code) && json_integer_value(code) == 0;
	json_decref(body);
	return good;
}

/* ---- syslog: RFC 5424 6, facility daemon ---- */
char *alert_channel_syslog(const struct alert_channel_settings *settings,
			   const struct alert_channel_message *message)
{
	static const int priorities[] = {
	    [ALERT_INFO] = 6, [ALERT_WARNING] = 4, [ALERT_CRITICAL] = 2};
	int severity = message->event == CHANNEL_FIRED ? priorities[message->alert.severity] : 5;
	const char *id = message->event == CHANNEL_TEST ? "test" : rule_of(message)->code;
	char *subject = alert_channel_subject(settings, message), *line = NULL, at[32];

	if (subject)
		line = heap_printf("<%d>1 %s %s granary - %s - \xef\xbb\xbf%s", 3 * 8 + severity,
				   time_text(message->wall, at),
				   message->host[0] ? message->host : "-", id, subject);
	heap_free(subject);
	return line;
}
