/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "appliance/console.h"

#define LINE       256
#define CONFIRM_MS 60000
#define BASE       "/api/v1/appliance"

/* --- questions ------------------------------------------------------------------------------- */

static void tell(const char *line)
{
	console_say("\n");
	console_say(line);
	console_say("\n");
}

/* False at the end of the line's life; "" is an answer. */
static bool question(enum text which, char answer[LINE])
{
	size_t length = 0;
	char c;

	console_say(text(which));
	while (read(STDIN_FILENO, &c, 1) == 1) {
		if (c == '\n') {
			answer[length] = '\0';
			return true;
		}
		if (length + 1 < LINE)
			answer[length++] = c;
	}
	answer[0] = '\0';
	return false;
}

static bool secret_question(enum text which, char answer[LINE])
{
	struct termios shown, hidden;
	bool good;

	if (tcgetattr(STDIN_FILENO, &shown) < 0)
		return false;
	hidden = shown;
	hidden.c_lflag &= ~(tcflag_t)ECHO;
	tcsetattr(STDIN_FILENO, TCSANOW, &hidden);
	good = question(which, answer);
	tcsetattr(STDIN_FILENO, TCSANOW, &shown);
	printf("\n");
	return good;
}

static bool yes(enum text which)
{
	char answer[LINE];

	return question(which, answer) && (answer[0] == 'y' || answer[0] == 'Y');
}

/* So that what was said can be read before the screen comes back. */
static void pause_for_enter(void)
{
	char answer[LINE];

	question(TEXT_ENTER, answer);
}

static json_t *words_of(const char *line)
{
	json_t *list = json_array();

	while (*line) {
		size_t length = strcspn(line, " ,\t");

		if (length)
			json_array_append_new(list, json_stringn(line, length));
		line += length + (line[length] != '\0');
	}
	return list;
}

/* What is no number is sent as none, and refused with a sentence. */
static json_t *number_of(const char *text)
{
	char *end;
	unsigned long long number = strtoull(text, &end, 10);

	return *text && !*end && number <= INT32_MAX ? json_integer((json_int_t)number)
						     : json_string(text);
}

static bool change(const char *method, const char *path, json_t *body)
{
	char why[WHY_TEXT];
	json_t *reply = ask(HELPER, method, path, body, why);

	if (!reply)
		tell(why[0] ? why : text(TEXT_NO_HELPER));
	json_decref(reply);
	return reply != NULL;
}

/* --- network --------------------------------------------------------------------------------- */

static void show_links(const json_t *links)
{
	size_t index;
	json_t *link;

	json_array_foreach(links, index, link)
	{
		char *words = json_dumps(link, JSON_COMPACT);

		printf("  %s\n", words ? words : "");
		free(words);
	}
}

/* The link of that name goes out of the list: it is described anew. */
static void forget(json_t *links, const char *name)
{
	for (size_t i = json_array_size(links); i-- > 0;) {
		const char *known =
		    json_string_value(json_object_get(json_array_get(links, i), "name"));

		if (known && strcmp(known, name) == 0)
			json_array_remove(links, i);
	}
}

static bool known_link(const json_t *links, const char *name)
{
	size_t index;
	json_t *link;

	json_array_foreach(links, index, link)
	{
		const char *known = json_string_value(json_object_get(link, "name"));

		if (known && strcmp(known, name) == 0)
			return true;
	}
	return false;
}

/* Address, gateway and MTU, which every link has. */
static bool ask_address(json_t *link)
{
	char address[LINE], gateway[LINE], mtu[LINE];

	if (!question(TEXT_ASK_ADDRESS, address))
		return false;
	if (address[0]) {
		bool six = strchr(address, ':') != NULL;

		json_object_set_new(link, "ipv4", json_string(six ? "off" : "static"));
		json_object_set_new(link, "ipv6", json_string(six ? "static" : "auto"));
		json_object_set_new(link, "addresses", words_of(address));
		if (!question(TEXT_ASK_GATEWAY, gateway))
			return false;
		json_object_set_new(link, "gateways", words_of(gateway));
	}
	if (!question(TEXT_ASK_MTU, mtu))
		return false;
	if (mtu[0])
		json_object_set_new(link, "mtu", number_of(mtu));
	return true;
}

static json_t *describe_port(json_t *links)
{
	char name[LINE];

	(void)links;
	if (!question(TEXT_ASK_PORT, name) || !name[0])
		return NULL;
	return json_pack("{s:s}", "name", name);
}

static json_t *describe_vlan(json_t *links)
{
	char parent[LINE], number[LINE], name[LINE + 8];

	if (!question(TEXT_ASK_PORT, parent) || !parent[0] || !question(TEXT_ASK_VLAN, number))
		return NULL;
	if (!known_link(links, parent))
		json_array_append_new(links, json_pack("{s:s}", "name", parent));
	snprintf(name, sizeof name, "vlan%s", number);
	return json_pack("{s:s,s:s,s:s,s:o}", "name", name, "kind", "vlan", "parent", parent,
			 "vlan", number_of(number));
}

static json_t *describe_bond(json_t *links)
{
	char name[LINE], members[LINE], mode[LINE];
	json_t *ports;
	size_t index;
	json_t *port;

	if (!question(TEXT_ASK_BOND, name) || !question(TEXT_ASK_PORTS, members) ||
	    !question(TEXT_ASK_MODE, mode))
		return NULL;
	ports = words_of(members);
	json_array_foreach(ports, index, port)
	{
		forget(links, json_string_value(port));
	}
	return json_pack("{s:s,s:s,s:s,s:o}", "name", name[0] ? name : "bond0", "kind", "bond",
			 "mode", mode[0] == '2' ? "lacp" : "active-backup", "members", ports);
}

/* Whoever lost the line to here does not confirm. */
static void confirm_network(void)
{
	struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
	char answer[LINE];

	console_say(text(TEXT_CONFIRM));
	if (poll(&input, 1, CONFIRM_MS) > 0 && read(STDIN_FILENO, answer, sizeof answer) > 0 &&
	    tolower(answer[0]) == 'y') {
		if (change("POST", BASE "/network/confirm", NULL))
			tell(text(TEXT_KEPT));
		return;
	}
	change("POST", BASE "/network/revert", NULL);
	tell(text(TEXT_WENT_BACK));
}

static void apply_network(json_t *links)
{
	char servers[LINE];

	if (!question(TEXT_ASK_DNS, servers)) {
		json_decref(links);
		return;
	}
	if (change("PUT", BASE "/network",
		   json_pack("{s:o,s:o}", "links", links, "dns", words_of(servers))))
		confirm_network();
}

static void edit_network(json_t *links, char choice)
{
	json_t *(*const describe[])(json_t *) = {describe_port, describe_vlan, describe_bond};
	json_t *link;

	if (choice == '1') {
		json_array_clear(links);
		apply_network(links);
		return;
	}
	link = describe[choice - '2'](links);
	if (!link || !ask_address(link)) {
		json_decref(link);
		json_decref(links);
		tell(text(TEXT_CANCEL));
		return;
	}
	forget(links, json_string_value(json_object_get(link, "name")));
	json_array_append_new(links, link);
	apply_network(links);
}

void menu_network(void)
{
	char why[WHY_TEXT], choice[LINE];
	json_t *now = ask(HELPER, "GET", BASE, NULL, why);
	json_t *links = json_object_get(json_object_get(now, "settings"), "links");

	if (!links) {
		tell(text(TEXT_NO_HELPER));
	} else {
		static const char *const words[] = {"/usr/sbin/ip", "-brief", "address", NULL};

		console_say(text(TEXT_NETWORK));
		console_say("\n");
		show_links(links);
		printf("\n");
		fflush(stdout);
		console_run(words);
		printf("\n");
		if (!question(TEXT_NETWORK_CHOICE, choice) || choice[0] < '1' || choice[0] > '4') {
			json_decref(now);
			return;
		}
		edit_network(json_incref(links), choice[0]);
	}
	json_decref(now);
	pause_for_enter();
}

/* --- time, name ------------------------------------------------------------------------------ */

void menu_time(void)
{
	char servers[LINE], zone[LINE];
	json_t *body;

	if (!question(TEXT_ASK_SERVERS, servers) || !question(TEXT_ASK_ZONE, zone))
		return;
	body = json_pack("{s:o}", "time_servers", words_of(servers));
	if (zone[0])
		json_object_set_new(body, "timezone", json_string(zone));
	if (change("PUT", BASE "/time", body))
		tell(text(TEXT_DONE));
	pause_for_enter();
}

void menu_name(void)
{
	char name[LINE];

	if (!question(TEXT_ASK_NAME, name) || !name[0])
		return;
	if (change("PUT", BASE "/name", json_pack("{s:s}", "name", name)))
		tell(text(TEXT_DONE));
	pause_for_enter();
}

/* --- accounts of the web admin --------------------------------------------------------------- */

static void show_accounts(void)
{
	json_t *reply = ask(DAEMON, "GET", "/api/v1/accounts", NULL, NULL), *account;
	const json_t *list = json_is_array(reply) ? reply : json_object_get(reply, "items");
	size_t index;

	json_array_foreach(list, index, account)
	{
		printf("  %s (%s)\n", json_string_value(json_object_get(account, "name")),
		       json_string_value(json_object_get(account, "role")));
	}
	json_decref(reply);
}

static void set_password(const char *name, const char *password)
{
	char path[LINE + 32], why[WHY_TEXT];
	json_t *reply;

	snprintf(path, sizeof path, "/api/v1/accounts/%s", name);
	reply = ask(DAEMON, "PATCH", path, json_pack("{s:s}", "password", password), why);
	tell(reply ? text(TEXT_DONE) : why);
	json_decref(reply);
}

void menu_password(void)
{
	char name[LINE], password[LINE], again[LINE];

	show_accounts();
	if (!question(TEXT_ASK_ACCOUNT, name) || !name[0] ||
	    !secret_question(TEXT_ASK_PASSWORD, password) || !password[0] ||
	    !secret_question(TEXT_ASK_AGAIN, again))
		return;
	if (strcmp(password, again) == 0)
		set_password(name, password);
	else
		tell(text(TEXT_NOT_SAME));
	explicit_bzero(password, sizeof password);
	explicit_bzero(again, sizeof again);
	pause_for_enter();
}

/* --- updates --------------------------------------------------------------------------------- */

void menu_updates(void)
{
	static const char *const status[] = {"/usr/sbin/granary-update", "status", NULL};
	static const char *const rollback[] = {"/usr/sbin/granary-update", "rollback", NULL};

	console_run(status);
	printf("\n");
	if (yes(TEXT_ROLLBACK))
		console_run(rollback);
	console_run(status);
	pause_for_enter();
}

/* --- a support bundle ------------------------------------------------------------------------ */

#define SUPPORT_FOLDER STATE_DIR "/support"
#define SUPPORT_FILE   SUPPORT_FOLDER "/granary-support.tar.gz"

/* The one before is replaced: the state partition is not to fill up with them. */
void menu_support(void)
{
	static const char file[] = SUPPORT_FILE;
	static const char *const words[] = {"/usr/bin/granary", "support", "bundle", file, NULL};

	mkdir(SUPPORT_FOLDER, 0700);
	unlink(file);
	console_run(words);
	if (access(file, F_OK) == 0)
		tell(text(TEXT_SUPPORT));
	pause_for_enter();
}
