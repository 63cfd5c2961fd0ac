/* SPDX-License-Identifier: Apache-2.0 */
/* The machine's settings: what is refused, what becomes of them in networkd's and chrony's files,
 * and that a network which nobody confirms goes back to what it was. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "appliance/firewall.h"
#include "appliance/host.h"
#include "appliance/render.h"
#include "core/world.h"

static struct {
	struct settings files, network; /* as they were last given */
	unsigned files_count, network_count, times, power, updates;
	int network_result, update_result;
	char name[HOST_NAME_TEXT];
} fake;

static int fake_files(const struct settings *settings, struct err *err)
{
	(void)err;
	fake.files = *settings;
	fake.files_count++;
	return 0;
}

static int fake_network(const struct settings *before, const struct settings *now, struct err *err)
{
	int result = fake.network_result;

	(void)before;
	fake.network = *now;
	fake.network_count++;
	fake.network_result = 0;
	return result < 0 ? err_set(err, result, "the bus says no") : 0;
}

static int fake_zone(const char *zone, struct err *err)
{
	if (strcmp(zone, "Mars/Olympus") == 0)
		return err_set(err, -EINVAL, "there is no such time zone");
	return 0;
}

static int fake_time(const struct settings *settings, struct err *err)
{
	(void)settings;
	(void)err;
	fake.times++;
	return 0;
}

static int fake_name(const char *name, struct err *err)
{
	(void)err;
	snprintf(fake.name, sizeof fake.name, "%s", name);
	return 0;
}

static int fake_power(struct err *err)
{
	(void)err;
	fake.power++;
	return 0;
}

static int fake_update(struct err *err)
{
	int result = fake.update_result;

	fake.updates++;
	return result < 0 ? err_set(err, result, "there is no such unit") : 0;
}

static const char *fake_swapped; /* a port whose card is another one; "none" */

static void fake_card(const char *port, char card[CARD_TEXT])
{
	bool other = fake_swapped && strcmp(port, fake_swapped) == 0;

	snprintf(card, CARD_TEXT, "52:54:00:00:00:%02x", (unsigned)port[strlen(port) - 1] + other);
	if (fake_swapped && strcmp(fake_swapped, "none") == 0)
		card[0] = '\0';
}

static const struct host_ops fakes = {fake_files, fake_network, fake_zone,   fake_time, fake_name,
				      fake_power, fake_power,   fake_update, fake_card};

static char folder[] = "/tmp/granary-host-XXXXXX";
static char path[64], cards[80];
static struct loop *loop;
static struct host host;

static int setup(void **state)
{
	struct err err = {0};

	(void)state;
	memset(&fake, 0, sizeof fake);
	unlink(path);
	snprintf(cards, sizeof cards, "%s.cards", path);
	unlink(cards);
	fake_swapped = NULL;
	return host_open(&host, loop, &fakes, path, &err);
}

static int teardown(void **state)
{
	(void)state;
	host_close(&host);
	return 0;
}

static json_t *ask(const char *method, const char *route, const char *body)
{
	char whole[128];
	json_t *message, *reply;

	snprintf(whole, sizeof whole, "/api/v1/appliance%s", route);
	message = json_pack("{s:s,s:s,s:o*}", "method", method, "path", whole, "body",
			    body ? json_loads(body, 0, NULL) : NULL);
	assert_non_null(message);
	reply = host_answer(&host, message);
	assert_non_null(reply);
	json_decref(message);
	return reply;
}

static int call(const char *method, const char *route, const char *body)
{
	json_t *reply = ask(method, route, body);
	int status = (int)json_integer_value(json_object_get(reply, "status"));

	json_decref(reply);
	return status;
}

#define STATIC                                                                                     \
	"{\"links\":[{\"name\":\"ens3\",\"ipv4\":\"static\",\"ipv6\":\"off\","                     \
	"\"addresses\":[\"192.0.2.7/24\"],\"gateways\":[\"192.0.2.1\"]}]}"

/* What a fresh process would read. */
static unsigned links_on_disk(void)
{
	struct settings settings;

	settings_default(&settings);
	if (settings_load(path, &settings, NULL) < 0)
		return 0;
	return settings.link_count;
}

static void confirmed_stays(void **state)
{
	(void)state;
	assert_int_equal(call("PUT", "/network", STATIC), 200);
	assert_string_equal(fake.network.links[0].addresses[0], "192.0.2.7/24");
	assert_int_equal(links_on_disk(), 0);
	assert_true(timer_active(&host.trial));
	assert_int_equal(call("POST", "/network/confirm", NULL), 200);
	assert_int_equal(links_on_disk(), 1);
	assert_false(timer_active(&host.trial));
	assert_int_equal(call("POST", "/network/confirm", NULL), 409);
}

static void unconfirmed_goes_back(void **state)
{
	(void)state;
	host.trial_ns = 20 * 1000000ull;
	assert_int_equal(call("PUT", "/network", STATIC), 200);
	for (unsigned i = 0; i < 500 && timer_active(&host.trial); i++)
		loop_poll(loop, 10 * 1000000ull);
	assert_int_equal(fake.network_count, 2);
	assert_int_equal(fake.network.link_count, 0);
	assert_int_equal(fake.files.link_count, 0);
	assert_int_equal(links_on_disk(), 0);
}

/* A second try while the first is not confirmed goes back to what was before both. */
static void two_tries(void **state)
{
	(void)state;
	assert_int_equal(call("PUT", "/network", STATIC), 200);
	assert_int_equal(call("PUT", "/network", "{\"links\":[{\"name\":\"eth9\"}]}"), 200);
	assert_string_equal(fake.network.links[0].name, "eth9");
	assert_int_equal(call("PUT", "/name", "{\"name\":\"barn\"}"), 200);
	assert_int_equal(links_on_disk(), 0);
	assert_int_equal(call("POST", "/network/revert", NULL), 200);
	assert_int_equal(fake.network.link_count, 0);
	assert_string_equal(host.now.name, "barn");
	assert_string_equal(fake.name, "barn");
}

static void what_fails_goes_back(void **state)
{
	(void)state;
	fake.network_result = -EIO;
	assert_int_equal(call("PUT", "/network", STATIC), 500);
	assert_int_equal(fake.network_count, 2);
	assert_int_equal(fake.network.link_count, 0);
	assert_false(timer_active(&host.trial));
}

/* How many ports have another card, and of the first what it is now. */
static size_t changed(char is[CARD_TEXT])
{
	json_t *list = host_cards(&host);
	size_t count = json_array_size(list);

	is[0] = '\0';
	if (count)
		snprintf(is, CARD_TEXT, "%s",
			 json_string_value(json_object_get(json_array_get(list, 0), "is")));
	json_decref(list);
	return count;
}

static void other_cards_are_told(void **state)
{
	char is[CARD_TEXT];

	(void)state;
	assert_int_equal(call("PUT", "/network",
			      "{\"links\":[{\"name\":\"eth3\"},{\"name\":\"bond0\",\"kind\":"
			      "\"bond\",\"members\":[\"eth4\",\"eth5\"]}]}"),
			 200);
	assert_null(host_cards(&host)); /* not before it has reached somebody */
	assert_int_equal(call("POST", "/network/confirm", NULL), 200);
	assert_int_equal(changed(is), 0);
	fake_swapped = "eth5";
	assert_int_equal(changed(is), 1);
	assert_string_equal(is, "52:54:00:00:00:36");
	fake_swapped = "none";
	assert_int_equal(changed(is), 3);
	assert_string_equal(is, "");
	/* A network on trial is no news; one without these ports wants nothing of them. */
	assert_int_equal(call("PUT", "/network", "{\"links\":[]}"), 200);
	assert_int_equal(changed(is), 3);
	assert_int_equal(call("POST", "/network/confirm", NULL), 200);
	assert_int_equal(changed(is), 0);
}

static void other_routes(void **state)
{
	(void)state;
	assert_int_equal(call("GET", "", NULL), 200);
	assert_int_equal(call("PUT", "/time",
			      "{\"timezone\":\"Europe/Zurich\","
			      "\"time_servers\":[\"192.0.2.5\",\"ntp.example\"]}"),
			 200);
	assert_int_equal(fake.files.time_count, 2);
	assert_int_equal(call("PUT", "/time", "{\"timezone\":\"Mars/Olympus\"}"), 400);
	assert_string_equal(host.now.zone, "Europe/Zurich");
	assert_int_equal(call("PUT", "/time", "{\"name\":\"x\"}"), 400);
	assert_int_equal(call("PUT", "/time", NULL), 400);
	assert_int_equal(call("DELETE", "", NULL), 404);
	assert_int_equal(call("POST", "/restart", NULL), 202);
	assert_int_equal(call("POST", "/poweroff", NULL), 202);
	assert_int_equal(fake.power, 2);
}

/* What a dry run says of @member, before and after, as JSON; its status. */
static int tried(const char *method, const char *route, const char *body, const char *member,
		 char said[256])
{
	json_t *reply = ask(method, route, body), *told = json_object_get(reply, "body");
	int status = (int)json_integer_value(json_object_get(reply, "status"));
	char *was = json_dumps(json_object_get(json_object_get(told, "before"), member),
			       JSON_COMPACT | JSON_ENCODE_ANY | JSON_SORT_KEYS);
	char *is = json_dumps(json_object_get(json_object_get(told, "after"), member),
			      JSON_COMPACT | JSON_ENCODE_ANY | JSON_SORT_KEYS);

	snprintf(said, 256, "%s -> %s", was ? was : "", is ? is : "");
	free(was); /* jansson's */
	free(is);
	json_decref(reply);
	return status;
}

#define IN_VAIN(body) "{\"dry_run\":true," body

static void tried_out_is_not_made(void **state)
{
	static struct settings before;
	char said[256];

	(void)state;
	before = host.now;
	assert_int_equal(tried("PUT", "/name", IN_VAIN("\"name\":\"barn\"}"), "name", said), 200);
	assert_string_equal(said, "\"granary\" -> \"barn\"");
	assert_int_equal(
	    tried("PUT", "/time", IN_VAIN("\"timezone\":\"Asia/Tokyo\"}"), "timezone", said), 200);
	assert_string_equal(said, "\"Etc/UTC\" -> \"Asia/Tokyo\"");
	assert_int_equal(tried("PUT", "/network",
			       IN_VAIN("\"links\":[{\"name\":\"ens3\",\"mtu\":9000}]}"),
			       "link ens3", said),
			 200);
	assert_string_equal(said, " -> {\"addresses\":[],\"gateways\":[],\"ipv4\":\"dhcp\","
				  "\"ipv6\":\"auto\",\"kind\":\"ethernet\",\"mtu\":9000}");
	/* What the change is refused, it is, too. */
	assert_int_equal(tried("PUT", "/name", IN_VAIN("\"name\":\"a b\"}"), "name", said), 400);
	assert_int_equal(
	    tried("PUT", "/time", IN_VAIN("\"timezone\":\"Mars/Olympus\"}"), "timezone", said),
	    400);
	assert_int_equal(tried("PUT", "/time", IN_VAIN("\"name\":\"x\"}"), "name", said), 400);
	assert_int_equal(tried("PUT", "/network", IN_VAIN("\"links\":7}"), "dns", said), 400);
	assert_int_equal(tried("POST", "/network/confirm", "{\"dry_run\":true}", "trial", said),
			 409);
	assert_int_equal(tried("POST", "/network/revert", "{\"dry_run\":true}", "trial", said),
			 409);
	assert_memory_equal(&host.now, &before, sizeof before);
	assert_int_equal(fake.files_count + fake.network_count + fake.times, 0);
	assert_string_equal(fake.name, "");
	assert_int_equal(access(path, F_OK), -1);
	/* A network on trial stays on trial. */
	assert_int_equal(call("PUT", "/network", STATIC), 200);
	assert_int_equal(tried("POST", "/network/confirm", "{\"dry_run\":true}", "trial", said),
			 200);
	assert_string_equal(said, "true -> false");
	assert_int_equal(tried("POST", "/network/revert", "{\"dry_run\":true}", "link ens3", said),
			 200);
	assert_non_null(strstr(said, "192.0.2.7/24"));
	assert_string_equal(said + strlen(said) - 4, " -> ");
	assert_true(timer_active(&host.trial));
	assert_int_equal(links_on_disk(), 0);
	assert_int_equal(fake.network_count, 1);
	assert_int_equal(host.now.link_count, 1);
}

static void a_bad_file_is_set_aside(void **state)
{
	struct err err = {0};
	char aside[80];
	FILE *file = fopen(path, "we");

	(void)state;
	fputs("{\"links\":7}", file);
	fclose(file);
	assert_int_equal(host_open(&host, loop, &fakes, path, &err), -EUCLEAN);
	assert_string_equal(host.now.name, "granary");
	snprintf(aside, sizeof aside, "%s.bad", path);
	assert_int_equal(unlink(aside), 0);
}

/* --- what is refused ------------------------------------------------------------------------- */

static void refusals(void **state)
{
	static const char *const bad[] = {
	    "{\"name\":\"\"}",
	    "{\"name\":\"a b\"}",
	    "{\"name\":\"a\\nPath=/x\"}",
	    "{\"name\":\"-a\"}",
	    "{\"name\":7}",
	    "{\"colour\":\"red\"}",
	    "{\"timezone\":\"../../etc/passwd\"}",
	    "{\"timezone\":\"Europe//X\"}",
	    "{\"time_servers\":[\"a b\"]}",
	    "{\"time_servers\":[\"1\",\"2\",\"3\",\"4\",\"5\"]}",
	    "{\"dns\":[\"resolver.example\"]}",
	    "{\"links\":{}}",
	    "{\"links\":[7]}",
	    "{\"links\":[{}]}",
	    "{\"links\":[{\"name\":\"lo\"}]}",
	    "{\"links\":[{\"name\":\"../x\"}]}",
	    "{\"links\":[{\"name\":\"a-name-that-is-too-long\"}]}",
	    "{\"links\":[{\"name\":\"a\"},{\"name\":\"a\"}]}",
	    "{\"links\":[{\"name\":\"a\",\"mtu\":100}]}",
	    "{\"links\":[{\"name\":\"a\",\"mtu\":65536}]}",
	    "{\"links\":[{\"name\":\"a\",\"ipv4\":\"maybe\"}]}",
	    "{\"links\":[{\"name\":\"a\",\"ipv4\":\"static\"}]}",
	    "{\"links\":[{\"name\":\"a\",\"addresses\":[\"192.0.2.1/24\"]}]}",
	    "{\"links\":[{\"name\":\"a\",\"ipv4\":\"static\",\"addresses\":[\"192.0.2.1\"]}]}",
	    "{\"links\":[{\"name\":\"a\",\"ipv4\":\"static\",\"addresses\":[\"192.0.2.1/33\"]}]}",
	    "{\"links\":[{\"name\":\"a\",\"gateways\":[\"192.0.2.1\"]}]}",
	    "{\"links\":[{\"name\":\"a\",\"kind\":\"vlan\",\"vlan\":5}]}",
	    "{\"links\":[{\"name\":\"a\",\"kind\":\"vlan\",\"vlan\":5,\"parent\":\"b\"}]}",
	    "{\"links\":[{\"name\":\"a\",\"kind\":\"vlan\",\"vlan\":4095,\"parent\":\"b\"}]}",
	    "{\"links\":[{\"name\":\"a\",\"vlan\":5,\"parent\":\"a\"}]}",
	    "{\"links\":[{\"name\":\"a\",\"kind\":\"bond\"}]}",
	    "{\"links\":[{\"name\":\"a\",\"kind\":\"bond\",\"members\":[\"x\",\"x\"]}]}",
	    "{\"links\":[{\"name\":\"x\"},{\"name\":\"a\",\"kind\":\"bond\",\"members\":[\"x\"]}]}",
	};
	static struct settings settings, before;

	(void)state;
	settings_default(&settings);
	before = settings;
	for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
		json_t *object = json_loads(bad[i], 0, NULL);
		struct err err = {0};

		assert_non_null(object);
		if (settings_parse(object, &settings, &err) != -EINVAL)
			fail_msg("taken: %s", bad[i]);
		assert_true(err.text[0]);
		assert_memory_equal(&settings, &before, sizeof settings);
		json_decref(object);
	}
}

/* --- files ----------------------------------------------------------------------------------- */

static char rendered[32768];

static int collect(void *context, const char *file, const char *text, struct err *err)
{
	size_t length = strlen(rendered);

	(void)context;
	(void)err;
	snprintf(rendered + length, sizeof rendered - length, "== %s\n%s", file, text);
	return 0;
}

static const char bonded[] =
    "{\"dns\":[\"192.0.2.53\"],\"links\":["
    "{\"name\":\"bond0\",\"kind\":\"bond\",\"mode\":\"lacp\",\"members\":[\"eth0\",\"eth1\"],"
    "\"mtu\":9000,\"ipv4\":\"off\",\"ipv6\":\"off\"},"
    "{\"name\":\"storage\",\"kind\":\"vlan\",\"vlan\":42,\"parent\":\"bond0\",\"ipv4\":\"static\","
    "\"ipv6\":\"static\",\"addresses\":[\"192.0.2.7/24\",\"2001:db8::7/64\"],"
    "\"gateways\":[\"192.0.2.1\"]}]}";

static void files_of_a_bond(void **state)
{
	static const char *const wanted[] = {
	    "== systemd/network/10-granary-bond0.netdev\n[NetDev]\nName=bond0\nKind=bond\n"
	    "[Bond]\nMode=802.3ad\n",
	    "== systemd/network/10-granary-bond0.network\n[Match]\nName=bond0\n"
	    "[Link]\nMTUBytes=9000\n[Network]\nDHCP=no\nIPv6AcceptRA=no\nLinkLocalAddressing=no\n",
	    "DNS=192.0.2.53\nVLAN=storage\n",
	    "== systemd/network/10-granary-eth1.network\n[Match]\nName=eth1\n"
	    "[Link]\nMTUBytes=9000\n[Network]\nBond=bond0\n",
	    "Kind=vlan\n[VLAN]\nId=42\n",
	    "Address=192.0.2.7/24\nAddress=2001:db8::7/64\nGateway=192.0.2.1\n",
	    "== granary/time.sources\npool 2.debian.pool.ntp.org iburst\n",
	};
	static struct settings settings, again;
	json_t *object = json_loads(bonded, 0, NULL), *shown;

	(void)state;
	settings_default(&settings);
	settings_default(&again);
	assert_int_equal(settings_parse(object, &settings, NULL), 0);
	assert_int_equal(render(&settings, collect, NULL, NULL), 0);
	for (unsigned i = 0; i < sizeof wanted / sizeof *wanted; i++)
		if (!strstr(rendered, wanted[i]))
			fail_msg("not in it: %s\n%s", wanted[i], rendered);
	shown = settings_show(&settings);
	assert_int_equal(settings_parse(shown, &again, NULL), 0);
	assert_memory_equal(&settings, &again, sizeof settings);
	json_decref(shown);
	json_decref(object);
}

/* Name servers are asked for when no link is described, too. */
static void servers_without_links(void **state)
{
	json_t *object = json_loads("{\"dns\":[\"192.0.2.53\"],\"links\":[]}", 0, NULL);
	static struct settings settings;

	(void)state;
	settings_default(&settings);
	rendered[0] = '\0';
	assert_int_equal(render(&settings, collect, NULL, NULL), 0);
	assert_null(strstr(rendered, ".network"));
	assert_int_equal(settings_parse(object, &settings, NULL), 0);
	assert_int_equal(render(&settings, collect, NULL, NULL), 0);
	assert_non_null(strstr(rendered, "== systemd/network/10-granary-~others.network\n[Match]\n"
					 "Type=ether\nKind=!*\n[Network]\nDHCP=yes\n"));
	assert_non_null(strstr(rendered, "\nDNS=192.0.2.53\n[DHCPv4]\n"));
	json_decref(object);
}

static void firewall_follows(void **state)
{
	json_t *status = json_loads("{\"endpoints\":[{\"port\":3270},{\"port\":443},{\"port\":0},"
				    "{\"port\":99999},{\"port\":3270},{\"port\":22}]}",
				    0, NULL);
	struct firewall firewall;
	char text[FIREWALL_TEXT];

	(void)state;
	firewall_of(status, &firewall);
	firewall_text(&firewall, text);
	assert_non_null(strstr(text, "tcp dport { 22, 111, 443, 2049, 3270, 7420 } accept\n"));
	assert_non_null(strstr(text, "tcp sport { 22, 111, 443, 2049, 3270, 7420 } notrack\n"));
	assert_non_null(strstr(text, "udp dport { 111, 2049 } accept\n"));
	assert_non_null(strstr(text, "policy drop;"));
	json_decref(status);
	firewall_of(NULL, &firewall);
	firewall_text(&firewall, text);
	assert_non_null(strstr(text, "{ 111, 443, 2049, 3260, 7420 } accept\n"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(confirmed_stays, setup, teardown),
	    cmocka_unit_test_setup_teardown(unconfirmed_goes_back, setup, teardown),
	    cmocka_unit_test_setup_teardown(two_tries, setup, teardown),
	    cmocka_unit_test_setup_teardown(what_fails_goes_back, setup, teardown),
	    cmocka_unit_test_setup_teardown(other_cards_are_told, setup, teardown),
	    cmocka_unit_test_setup_teardown(other_routes, setup, teardown),
	    cmocka_unit_test_setup_teardown(tried_out_is_not_made, setup, teardown),
	    cmocka_unit_test_setup_teardown(a_bad_file_is_set_aside, setup, teardown),
	    cmocka_unit_test(refusals),
	    cmocka_unit_test(files_of_a_bond),
	    cmocka_unit_test(servers_without_links),
	    cmocka_unit_test(firewall_follows),
	};
	int failed;

	if (!mkdtemp(folder) || loop_create(&world_aio, &loop, NULL) < 0)
		return 1;
	snprintf(path, sizeof path, "%s/settings.json", folder);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	loop_destroy(loop);
	unlink(path);
	unlink(cards);
	rmdir(folder);
	return failed;
}
