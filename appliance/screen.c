/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "appliance/console.h"
#include "core/control.h"
#include "core/size.h"

#define ANSWER_MS    5000
#define HELPER_MS    30000 /* its own services take their time */
#define CERTIFICATE  STATE_DIR "/web/cert.pem"
#define FAILURE      STATE_DIR "/failure"
#define SEED         "/run/granary/seed.json"
#define CARDS_FILE   "/run/granary/cards.json"
#define ROWS         25
#define LINE_COLUMNS 73 /* and what stands before and behind */
#define QR_ROW       2
#define QR_RIGHT     80 /* its last column */
#define QR_WIDTH     31 /* modules with their border; two of them above each other are a line */

/* Lines that the screen has for what a machine may have more of. Where the rows do not suffice for
 * all of them, they are taken from what has the most, in this order (screen_draw()). */
enum part { SPARE, POOLS, ADDRESSES, CARDS, SEEDS, FAILURES, ALERTS, COUNTS, PARTS };
static const unsigned lines_most[PARTS] = {
    [SPARE] = 2, /* second lines of alerts */
    [POOLS] = 4,    [ADDRESSES] = SCREEN_ADDRESSES,
    [CARDS] = 3,    [SEEDS] = 2,
    [FAILURES] = 4, [ALERTS] = 2,
    [COUNTS] = 1 /* targets and sessions: the last to go */
};

void put(struct screen *screen, const char *format, ...)
{
	size_t room = sizeof screen->text - screen->length;
	va_list values;
	int length;

	va_start(values, format);
	length = vsnprintf(screen->text + screen->length, room, format, values);
	va_end(values);
	if (length > 0)
		screen->length += (size_t)length < room ? (size_t)length : room - 1;
}

static bool printable(const struct ifaddrs *entry, char name[INET6_ADDRSTRLEN])
{
	const void *address;

	if (!entry->ifa_addr || entry->ifa_flags & IFF_LOOPBACK || !(entry->ifa_flags & IFF_UP))
		return false;
	if (entry->ifa_addr->sa_family == AF_INET) {
		address = &((const struct sockaddr_in *)(const void *)entry->ifa_addr)->sin_addr;
	} else if (entry->ifa_addr->sa_family == AF_INET6) {
		const struct in6_addr *six =
		    &((const struct sockaddr_in6 *)(const void *)entry->ifa_addr)->sin6_addr;

		if (IN6_IS_ADDR_LINKLOCAL(six))
			return false;
		address = six;
	} else {
		return false;
	}
	return inet_ntop(entry->ifa_addr->sa_family, address, name, INET6_ADDRSTRLEN) != NULL;
}

static void find_addresses(struct screen_facts *facts)
{
	struct ifaddrs *all = NULL;
	char name[INET6_ADDRSTRLEN];

	if (getifaddrs(&all) < 0)
		return;
	for (const struct ifaddrs *at = all; at; at = at->ifa_next) {
		if (!printable(at, name))
			continue;
		if (facts->addresses < SCREEN_ADDRESSES) {
			struct screen_address *one = &facts->address[facts->addresses];

			snprintf(one->ip, sizeof one->ip, "%s", name);
			snprintf(one->port, sizeof one->port, "%s", at->ifa_name);
		}
		facts->addresses++;
	}
	freeifaddrs(all);
}

/* Of @all things, how many are on @lines lines: when not all are, the last line says so. */
static unsigned shown_of(size_t all, unsigned lines)
{
	return all <= lines ? (unsigned)all : lines - 1;
}

static void put_more(struct screen *screen, size_t all, unsigned lines)
{
	unsigned shown = shown_of(all, lines);

	if (shown < all)
		put(screen, "    ... %zu %s\r\n", all - shown, text(TEXT_MORE));
}

static void put_addresses(struct screen *screen, const struct screen_facts *facts, unsigned lines)
{
	put(screen, "  %s\r\n", text(TEXT_ADDRESSES));
	for (unsigned i = 0; i < shown_of(facts->addresses, lines); i++)
		put(screen, "    %s  (%s)\r\n", facts->address[i].ip, facts->address[i].port);
	put_more(screen, facts->addresses, lines);
	if (facts->addresses == 0)
		put(screen, "    %s\r\n", text(TEXT_NO_ADDRESS));
}

/* The first address, as one writes it into a browser; "" without one. */
static void find_url(const struct screen_facts *facts, char url[80])
{
	const char *ip = facts->address[0].ip;

	url[0] = '\0';
	if (facts->addresses)
		snprintf(url, 80, strchr(ip, ':') ? "https://[%s]/" : "https://%s/", ip);
}

static bool read_digest(unsigned char digest[32])
{
	FILE *file = fopen(CERTIFICATE, "re");
	X509 *first = file ? PEM_read_X509(file, NULL, NULL, NULL) : NULL;
	unsigned char found[EVP_MAX_MD_SIZE];
	unsigned length = 0;
	bool good = first && X509_digest(first, EVP_sha256(), found, &length) && length == 32;

	if (good)
		memcpy(digest, found, 32);
	X509_free(first);
	if (file)
		fclose(file);
	return good;
}

/* Where the web front is, and what a browser has to show of its certificate. */
static void put_web(struct screen *screen, const struct screen_facts *facts, const char *url)
{
	if (!*url || !facts->certificate)
		return;
	put(screen, "\r\n  %s  %s\r\n  %s\r\n", text(TEXT_WEB), url, text(TEXT_FINGERPRINT));
	/* So far to the left that the widest QR code has room beside it. */
	for (unsigned i = 0; i < 32; i++)
		put(screen, "%s%02X%s", i % 16 ? ":" : "  ", facts->digest[i],
		    i % 16 == 15 ? "\r\n" : "");
}

static void put_pools(struct screen *screen, const json_t *pools, unsigned lines)
{
	size_t index;
	json_t *pool;

	put(screen, "\r\n  %s\r\n", text(TEXT_POOLS));
	if (json_array_size(pools) == 0)
		put(screen, "    %s\r\n", text(TEXT_NO_POOL));
	json_array_foreach(pools, index, pool)
	{
		json_int_t size = json_integer_value(json_object_get(pool, "size_bytes"));
		json_int_t used = json_integer_value(json_object_get(pool, "used_bytes"));
		char of[32], full[32];

		if (index == shown_of(json_array_size(pools), lines))
			break;
		put(screen, "    %s  %s", json_string_value(json_object_get(pool, "name")),
		    json_string_value(json_object_get(pool, "state")));
		if (size > 0) /* which of one that is not there is not known */
			put(screen, "  %s / %s", size_format((uint64_t)used, full, sizeof full),
			    size_format((uint64_t)size, of, sizeof of));
		put(screen, "\r\n");
	}
	put_more(screen, json_array_size(pools), lines);
}

json_t *ask(const char *socket, const char *method, const char *path, json_t *body,
	    char why[WHY_TEXT])
{
	json_t *request = json_pack("{s:s,s:s,s:o*}", "method", method, "path", path, "body", body);
	json_t *reply = NULL, *answer = NULL;
	struct err err = {0};
	int wait = strcmp(socket, HELPER) == 0 ? HELPER_MS : ANSWER_MS;
	int result = request ? control_call(socket, request, wait, &reply, &err) : -1;

	if (result == 0)
		answer = json_incref(json_object_get(reply, "body"));
	if (why)
		snprintf(why, WHY_TEXT, "%s", err.text);
	if (result == 0 && json_integer_value(json_object_get(reply, "status")) >= 400) {
		const char *detail = json_string_value(json_object_get(answer, "detail"));

		if (why)
			snprintf(why, WHY_TEXT, "%s", detail ? detail : "");
		json_decref(answer);
		answer = NULL;
	}
	json_decref(reply);
	json_decref(request);
	return answer;
}

static void put_setup_code(struct screen *screen, const json_t *setup)
{
	const char *code = json_string_value(json_object_get(setup, "code"));

	if (code)
		put(screen, "  %s  %s\r\n", text(TEXT_SETUP_CODE), code);
}

/* Otherwise nothing that needs it was started: the machine is in systemd's emergency mode. */
static bool state_mounted(void)
{
	struct stat here, above;

	return stat(STATE_DIR, &here) == 0 && stat(STATE_DIR "/..", &above) == 0 &&
	       here.st_dev != above.st_dev;
}

static void read_failure(char line[SCREEN_FAILURE])
{
	FILE *file = fopen(FAILURE, "re");

	if (file && fgets(line, SCREEN_FAILURE, file))
		line[strcspn(line, "\n")] = '\0';
	if (file)
		fclose(file);
}

/* What a terminal would obey: C0, DEL, and C1, which are two bytes of UTF-8. */
static bool obeyed(const char *at)
{
	unsigned char byte = (unsigned char)at[0], next = (unsigned char)at[1];

	return byte < ' ' || byte == 0x7f || (byte == 0xc2 && next >= 0x80 && next < 0xa0);
}

static unsigned columns_of(const char *at)
{
	unsigned char byte = (unsigned char)*at;

	if ((byte & 0xc0) == 0x80) /* belongs to the one before it */
		return 0;
	return byte < 0x80 ? 1 : 2;
}

/* How many bytes of @sentence a line takes: up to a space in its second half, or (in Chinese) to
 * its end. What is not ASCII is two columns wide. */
static size_t line_of(const char *sentence)
{
	size_t length = 0, words = 0;

	for (unsigned columns = 0; sentence[length]; length++) {
		columns += columns_of(sentence + length);
		if (sentence[length] == ' ')
			words = length;
		if (columns > LINE_COLUMNS)
			return words > length / 2 ? words : length;
	}
	return length;
}

static void put_part(struct screen *screen, const char *before, const char *sentence, size_t length,
		     const char *behind)
{
	char line[3 * LINE_COLUMNS];
	size_t at = 0;

	for (size_t i = 0; i < length && at < sizeof line - 1; i++) {
		if (obeyed(sentence + i)) {
			line[at++] = '?';
			i += (unsigned char)sentence[i] == 0xc2;
		} else {
			line[at++] = sentence[i];
		}
	}
	line[at] = '\0';
	put(screen, "  %s %s%s\r\n", before, line, behind);
}

/* On @most lines; the last of them says whether that was not enough. How many it took. */
static unsigned put_sentence(struct screen *screen, const char *sentence, unsigned most)
{
	unsigned lines = 0;

	while (lines < most && *sentence) {
		size_t length = line_of(sentence);
		const char *rest = sentence + length;

		rest += strspn(rest, " ");
		put_part(screen, lines ? " " : "!", sentence, length,
			 *rest && lines + 1 == most ? ".." : "");
		sentence = rest;
		lines++;
	}
	return lines;
}

/* Why the daemon does not start, in its own words, and what can be done about it here. */
static void put_failure(struct screen *screen, const char *failure, unsigned lines)
{
	if (!*failure)
		return;
	put(screen, "\r\n");
	put_sentence(screen, failure, lines);
	put(screen, "  %s\r\n", text(TEXT_MEND));
}

/* What granary-seed could not take: it is for who stands here to mend. */
static void put_seed(struct screen *screen, const json_t *seed, unsigned lines)
{
	const char *why = json_string_value(json_object_get(seed, "error"));

	if (!why)
		return;
	put(screen, "\r\n  %s\r\n", text(TEXT_SEED));
	put_sentence(screen, why, lines);
}

struct alerts_shown {
	unsigned count, most;
	unsigned spare; /* lines beyond one for each */
};

static void put_alerts_of(struct screen *screen, const json_t *alerts, const char *severity,
			  struct alerts_shown *shown)
{
	const char *key = text_is_chinese() ? "text_zh" : "text";
	size_t index;
	json_t *alert;

	json_array_foreach(alerts, index, alert)
	{
		const char *said = json_string_value(json_object_get(alert, key));
		const char *level = json_string_value(json_object_get(alert, "severity"));
		const char *state = json_string_value(json_object_get(alert, "state"));
		unsigned lines;

		if (!said || !*said || !level || strcmp(level, severity) != 0 || !state ||
		    strcmp(state, "firing") != 0 || shown->count == shown->most)
			continue;
		if (shown->count++ == 0)
			put(screen, "\r\n");
		lines = put_sentence(screen, said, shown->spare ? 2 : 1);
		shown->spare -= lines - 1;
	}
}

/* What is wrong, in the daemon's words: the worst first. What somebody sees to is left out. */
static bool put_alerts(struct screen *screen, const json_t *alerts, unsigned most, unsigned spare)
{
	struct alerts_shown shown = {.most = most, .spare = spare};

	put_alerts_of(screen, alerts, "critical", &shown);
	put_alerts_of(screen, alerts, "warning", &shown);
	return shown.count > 0;
}

/* What granary-hostd found: a port's address may belong to another network by now. */
static void put_cards(struct screen *screen, const json_t *changed, bool follows, unsigned lines)
{
	json_t *one;
	size_t index;

	if (json_array_size(changed))
		put(screen, "%s  %s\r\n", follows ? "" : "\r\n", text(TEXT_CARDS));
	json_array_foreach(changed, index, one)
	{
		const char *port = json_string_value(json_object_get(one, "port"));
		const char *was = json_string_value(json_object_get(one, "was"));
		const char *is = json_string_value(json_object_get(one, "is"));

		if (index < shown_of(json_array_size(changed), lines) && port && was && is)
			put(screen, "    %s  %s -> %s\r\n", port, was, *is ? is : "-");
	}
	put_more(screen, json_array_size(changed), lines);
}

static void put_verdict(struct screen *screen, const struct screen_facts *facts)
{
	if (facts->status)
		put(screen, "\r\n  %s\r\n", text(TEXT_READY));
	else if (facts->state_mounted)
		put(screen, "\r\n  %s\r\n", text(TEXT_DOWN));
	else
		put(screen, "\r\n  %s\r\n  %s\r\n", text(TEXT_NO_STATE), text(TEXT_MEND_STATE));
}

static void draw(struct screen *screen, const struct screen_facts *facts,
		 const unsigned lines[PARTS], bool language)
{
	const json_t *status = facts->status, *daemon = json_object_get(status, "daemon");
	const char *version = json_string_value(json_object_get(daemon, "version"));
	bool any;
	char url[80];

	find_url(facts, url);
	put(screen, "  Granary %s%s%s\r\n\r\n", version ? version : "", version ? "   " : "  ",
	    facts->host);
	put_addresses(screen, facts, lines[ADDRESSES]);
	put_web(screen, facts, url);
	if (status) {
		put_setup_code(screen, facts->setup);
		put_pools(screen, json_object_get(status, "pools"), lines[POOLS]);
		if (lines[COUNTS])
			put(screen, "\r\n  %s %zu   %s %zu\r\n", text(TEXT_TARGETS),
			    json_array_size(json_object_get(status, "targets")),
			    text(TEXT_SESSIONS),
			    json_array_size(json_object_get(status, "sessions")));
	}
	if (status && *url) {
		put(screen, "\0337");
		qr_put(screen, url, QR_ROW, QR_RIGHT, QR_WIDTH);
		put(screen, "\0338");
	}
	put_seed(screen, facts->seed, lines[SEEDS]);
	any = put_alerts(screen, facts->alerts, lines[ALERTS], lines[SPARE]);
	put_cards(screen, facts->cards, any, lines[CARDS]);
	if (!status)
		put_failure(screen, facts->failure, lines[FAILURES]);
	put_verdict(screen, facts);
	/* No line end: a screen has 25, and what scrolls off at its top takes a part of the QR code
	 * along. */
	put(screen, "  %s%s", text(TEXT_KEYS), language ? text(TEXT_LANGUAGE) : "");
}

static unsigned rows_of(const char *drawn)
{
	unsigned rows = 1;

	for (; *drawn; drawn++)
		rows += *drawn == '\n';
	return rows;
}

/* One line less; false: there is none to spare. */
static bool shrink(unsigned lines[PARTS])
{
	enum part most = SPARE;

	if (lines[SPARE]) {
		lines[SPARE]--;
		return true;
	}
	for (enum part part = POOLS; part < COUNTS; part++)
		if (lines[part] > lines[most])
			most = part;
	if (lines[most] < 2)
		most = COUNTS;
	if (lines[most] == 0)
		return false;
	lines[most]--;
	return true;
}

void screen_draw(struct screen *screen, const struct screen_facts *facts, bool language)
{
	unsigned lines[PARTS];

	memcpy(lines, lines_most, sizeof lines);
	do {
		screen->length = 0;
		screen->text[0] = '\0';
		draw(screen, facts, lines, language);
	} while (rows_of(screen->text) > ROWS && shrink(lines));
}

void screen_compose(struct screen *screen, bool language)
{
	struct screen_facts facts = {.host = "granary"};

	facts.status = ask(DAEMON, "GET", "/api/v1/status", NULL, NULL);
	if (facts.status) {
		facts.setup = ask(DAEMON, "GET", "/api/v1/setup", NULL, NULL);
		facts.alerts = ask(DAEMON, "GET", "/api/v1/alerts", NULL, NULL);
	} else {
		read_failure(facts.failure);
		facts.state_mounted = state_mounted();
	}
	gethostname(facts.host, sizeof facts.host - 1);
	find_addresses(&facts);
	facts.certificate = read_digest(facts.digest);
	facts.seed = json_load_file(SEED, 0, NULL);
	facts.cards = json_load_file(CARDS_FILE, 0, NULL);
	screen_draw(screen, &facts, language);
	json_decref(facts.status);
	json_decref(facts.setup);
	json_decref(facts.alerts);
	json_decref(facts.seed);
	json_decref(facts.cards);
}
