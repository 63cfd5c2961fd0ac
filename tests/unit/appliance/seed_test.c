/* SPDX-License-Identifier: Apache-2.0 */
/* What a machine is told at its first start: NoCloud's files and the environment of an OVF package,
 * what is taken of them, what is refused and with which words, and which ports are meant. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "appliance/seed.h"
#include "core/heap.h"

static json_t *parse(const char *const texts[SEED_FILES], struct err *err)
{
	struct seed_texts given = {.text = {NULL}};
	json_t *seed;

	for (unsigned i = 0; i < SEED_FILES; i++) {
		if (texts[i]) {
			given.text[i] = heap_strdup(texts[i]);
			given.length[i] = strlen(texts[i]);
		}
	}
	seed = seed_parse(&given, err);
	seed_texts_free(&given);
	return seed;
}

/* @file with @text becomes @expected: the whole seed as JSON with its members sorted. */
static void becomes(enum seed_file file, const char *text, const char *expected)
{
	const char *texts[SEED_FILES] = {NULL};
	struct err err = {0};
	json_t *seed;
	char *shown;

	texts[file] = text;
	seed = parse(texts, &err);
	if (!seed)
		print_error("%s\n", err.text);
	assert_non_null(seed);
	shown = json_dumps(seed, JSON_COMPACT | JSON_SORT_KEYS);
	assert_string_equal(shown, expected);
	free(shown);
	json_decref(seed);
}

static void refused(enum seed_file file, const char *text, const char *words)
{
	const char *texts[SEED_FILES] = {NULL};
	struct err err = {0};

	texts[file] = text;
	assert_null(parse(texts, &err));
	if (!strstr(err.text, words) || strncmp(err.text, seed_names[file], 5) != 0)
		print_error("%s: %s\n", text, err.text);
	assert_non_null(strstr(err.text, words));
	assert_memory_equal(err.text, seed_names[file], strlen(seed_names[file]));
}

#define SEED(instance, settings)                                                                   \
	"{\"instance\":\"" instance "\",\"passed_over\":[],\"pools\":[],\"settings\":{" settings   \
	"}}"

static void meta_data(void **state)
{
	(void)state;
	becomes(SEED_META, "", SEED("", ""));
	becomes(SEED_META, "# nothing\n", SEED("", ""));
	becomes(SEED_META, "instance-id: i-17\nlocal-hostname: barn.example.org\n",
		SEED("i-17", "\"name\":\"barn\""));
	becomes(SEED_META, "{instance-id: 17, hostname: \"b\"}", SEED("17", "\"name\":\"b\""));
	refused(SEED_META, "- a\n- b\n", "no mapping");
	refused(SEED_META, "a: [1, 2\n", "line");
	refused(SEED_META, "a: &x 1\nb: *x\n", "anchors");
	refused(SEED_META, "a: !!python/object:os.system x\n", "tags");
	refused(SEED_META, "a: 1\na: 2\n", "twice");
	refused(SEED_META, "a: 1\n---\nb: 1\n", "more than one document");
	refused(SEED_META, "? {a: b}\n: c\n", "simple text");
	refused(SEED_META, "local-hostname: [a]\n", "text");
	refused(SEED_META, "a: \"\\0\"\n", "zero");
	refused(SEED_META, "\tx", "line");
}

static void too_much(void **state)
{
	char *text = malloc(20000);
	size_t at = 0;

	(void)state;
	assert_non_null(text);
	for (unsigned i = 0; i < 30; i++)
		text[at++] = '[';
	text[at] = '\0';
	refused(SEED_USER,
		"#cloud-config\na: {a: {a: {a: {a: {a: {a: {a: {a: {a: {a: {a: {a: {a: "
		"{a: {a: {a: {a: 1}}}}}}}}}}}}}}}}}}",
		"too deep");
	refused(SEED_META, text, "too deep");
	at = (size_t)snprintf(text, 20000, "a: [");
	for (unsigned i = 0; i < 5000; i++)
		at += (size_t)snprintf(text + at, 20000 - at, "1,");
	snprintf(text + at, 20000 - at, "1]");
	refused(SEED_META, text, "too much");
	free(text);
}

static void user_data(void **state)
{
	(void)state;
	becomes(SEED_USER, "#!/bin/sh\nrm -rf /\n",
		"{\"instance\":\"\",\"passed_over\":[\"user-data that is no #cloud-config\"],"
		"\"pools\":[],\"settings\":{}}");
	becomes(SEED_USER,
		"#cloud-config\nhostname: barn\ntimezone: Europe/Zurich\nntp:\n  servers: "
		"[192.0.2.1]\n  pools: [pool.example]\nssh_authorized_keys: [x]\n"
		"granary:\n  setup_code: AB12-CD34-EF56\n  pools:\n    - name: tank\n"
		"      devices: [/dev/vdb, /dev/disk/by-id/x]\n",
		"{\"instance\":\"\",\"passed_over\":[\"ssh_authorized_keys\"],\"pools\":"
		"[{\"devices\":[\"/dev/vdb\",\"/dev/disk/by-id/x\"],\"name\":\"tank\"}],"
		"\"settings\":{\"name\":\"barn\",\"time_servers\":[\"192.0.2.1\","
		"\"pool.example\"],\"timezone\":\"Europe/Zurich\"},"
		"\"setup_code\":\"AB12-CD34-EF56\"}");
	refused(SEED_USER, "#cloud-config\ngranary: {setup_code: short}\n", "XXXX-XXXX-XXXX");
	refused(SEED_USER, "#cloud-config\ngranary: {setup_code: ab12-cd34-ef56}\n", "XXXX");
	refused(SEED_USER, "#cloud-config\ngranary: {password: x}\n", "no member password");
	refused(SEED_USER, "#cloud-config\ngranary: {pools: [{name: t}]}\n", "devices");
	refused(SEED_USER, "#cloud-config\ngranary: {pools: [{name: t, devices: [/etc/x]}]}\n",
		"devices");
	refused(SEED_USER,
		"#cloud-config\ngranary: {pools: [{name: t, devices: [/dev/../etc/x]}]}\n",
		"devices");
	refused(SEED_USER, "#cloud-config\ntimezone: 5\n", "timezone");
	refused(SEED_USER, "#cloud-config\nntp: {servers: x}\n", "list");
}

#define LINKS(text) SEED("", text)

static void network_two(void **state)
{
	(void)state;
	becomes(SEED_NETWORK, "", SEED("", ""));
	becomes(SEED_NETWORK, "version: 2\nethernets:\n  eth0:\n    dhcp4: true\n",
		LINKS("\"links\":[{\"id\":\"eth0\",\"ipv4\":\"dhcp\",\"ipv6\":\"auto\","
		      "\"name\":\"eth0\"}]"));
	becomes(SEED_NETWORK,
		"network:\n  version: 2\n  ethernets:\n    id0:\n      match: {macaddress: "
		"'52:54:00:12:34:56'}\n      addresses: [192.0.2.7/24, '2001:db8::7/64']\n"
		"      gateway4: 192.0.2.1\n      routes: [{to: '::/0', via: '2001:db8::1'}]\n"
		"      nameservers: {addresses: [192.0.2.53]}\n      mtu: 9000\n",
		LINKS("\"dns\":[\"192.0.2.53\"],\"links\":[{\"addresses\":[\"192.0.2.7/24\","
		      "\"2001:db8::7/64\"],\"gateways\":[\"192.0.2.1\",\"2001:db8::1\"],"
		      "\"id\":\"id0\",\"ipv4\":\"static\",\"ipv6\":\"static\","
		      "\"mac\":\"52:54:00:12:34:56\",\"mtu\":9000,\"name\":\"id0\"}]"));
	becomes(SEED_NETWORK,
		"version: 2\nbonds:\n  bond0: {interfaces: [a, b], parameters: {mode: 802.3ad}}\n"
		"vlans:\n  v9: {id: 9, link: bond0, accept-ra: false}\n",
		LINKS("\"links\":[{\"id\":\"bond0\",\"ipv4\":\"off\",\"ipv6\":\"auto\","
		      "\"kind\":\"bond\",\"members\":[\"a\",\"b\"],\"mode\":\"lacp\","
		      "\"name\":\"bond0\"},{\"id\":\"v9\",\"ipv4\":\"off\",\"ipv6\":\"off\","
		      "\"kind\":\"vlan\",\"name\":\"v9\",\"parent\":\"bond0\",\"vlan\":9}]"));
	refused(SEED_NETWORK, "version: 3\n", "1 or 2");
	refused(SEED_NETWORK, "version: 2\nethernets: [a]\n", "named members");
	refused(SEED_NETWORK,
		"version: 2\nethernets: {e: {dhcp4: true, addresses: [192.0.2.7/24]}}\n", "both");
	refused(SEED_NETWORK,
		"version: 2\nethernets: {e: {routes: [{to: 10.0.0.0/8, via: 10.0.0.1}]}}\n",
		"default routes");
	refused(SEED_NETWORK, "version: 2\nvlans: {v: {id: x, link: e}}\n", "number");
	refused(SEED_NETWORK, "version: 2\nbonds: {b: {parameters: {mode: balance-rr}}}\n",
		"active-backup");
	refused(SEED_NETWORK, "version: 2\nethernets: {e: {mtu: big}}\n", "mtu");
}

static void network_one(void **state)
{
	(void)state;
	becomes(SEED_NETWORK,
		"version: 1\nconfig:\n- type: physical\n  name: eth0\n  mac_address: "
		"52:54:00:aa:bb:cc\n  subnets:\n  - {type: static, address: 192.0.2.7, netmask: "
		"255.255.255.0, gateway: 192.0.2.1}\n- {type: nameserver, address: [192.0.2.53]}\n",
		LINKS("\"dns\":[\"192.0.2.53\"],\"links\":[{\"addresses\":[\"192.0.2.7/24\"],"
		      "\"gateways\":[\"192.0.2.1\"],\"id\":\"eth0\",\"ipv4\":\"static\","
		      "\"ipv6\":\"off\",\"mac\":\"52:54:00:aa:bb:cc\",\"name\":\"eth0\"}]"));
	becomes(SEED_NETWORK,
		"version: 1\nconfig: [{type: physical, name: e, subnets: [{type: dhcp}]}]\n",
		LINKS("\"links\":[{\"id\":\"e\",\"ipv4\":\"dhcp\",\"ipv6\":\"auto\","
		      "\"name\":\"e\"}]"));
	refused(SEED_NETWORK,
		"version: 1\nconfig: [{type: physical, name: e, subnets: [{type: static, address: "
		"1.2.3.4, netmask: 255.0.255.0}]}]\n",
		"no netmask");
	refused(SEED_NETWORK, "version: 1\nconfig: [{type: bridge, name: e}]\n", "bridge");
	refused(SEED_NETWORK, "version: 1\n", "list");
}

#define OVF(inside)                                                                                \
	"<?xml version=\"1.0\"?>\n<Environment "                                                   \
	"xmlns=\"http://schemas.dmtf.org/ovf/environment/1\" "                                     \
	"xmlns:oe=\"http://schemas.dmtf.org/ovf/environment/1\" oe:id=\"\">" inside                \
	"</Environment>"
#define PROPERTY(key, value) "<Property oe:key=\"" key "\" oe:value=\"" value "\"/>"

/* clang-format off */
static const char full[] = OVF("<PropertySection>"
	PROPERTY("hostname", "barn")
	PROPERTY("address", "192.0.2.7/24")
	PROPERTY("gateway", "192.0.2.1")
	PROPERTY("dns", "192.0.2.53, 192.0.2.54")
	PROPERTY("ntp", "")
	PROPERTY("timezone", "Asia/Shanghai")
	PROPERTY("setup-code", "AAAA-BBBB-0001")
	PROPERTY("other", "x")
	PROPERTY("user-data", "I2Nsb3VkLWNvbmZpZwpob3N0bmFtZTogeAo=")
	"</PropertySection><Entity oe:id=\"b\"><PropertySection>"
	PROPERTY("hostname", "other")
	"</PropertySection></Entity>");
/* clang-format on */

static void ovf(void **state)
{
	(void)state;
	becomes(SEED_OVF, OVF("<PropertySection></PropertySection>"), SEED("", ""));
	becomes(SEED_OVF, full,
		"{\"instance\":\"\",\"passed_over\":[],\"pools\":[],\"settings\":{\"dns\":"
		"[\"192.0.2.53\",\"192.0.2.54\"],\"links\":[{\"addresses\":[\"192.0.2.7/24\"],"
		"\"gateways\":[\"192.0.2.1\"],\"id\":\"*\",\"ipv4\":\"static\",\"ipv6\":\"auto\","
		"\"name\":\"*\"}],\"name\":\"barn\",\"timezone\":\"Asia/Shanghai\"},"
		"\"setup_code\":\"AAAA-BBBB-0001\"}");
	refused(SEED_OVF, "<a/>", "no environment");
	refused(SEED_OVF, "<Environment", "line 1");
	refused(SEED_OVF, "", "line 1");
	refused(SEED_OVF, "<!DOCTYPE a [<!ENTITY b \"c\">]><a>&b;</a>", "entities");
	refused(SEED_OVF, OVF("<PropertySection><Property/></PropertySection>"), "without a key");
	refused(SEED_OVF, OVF(PROPERTY("setup-code", "x")), "XXXX");
	refused(SEED_OVF, OVF(PROPERTY("user-data", "%%%")), "base64");
	refused(SEED_OVF, OVF(PROPERTY("user-data", "!!!!")), "base64");
}

/* Settings with links of a network-config, on a machine with @count of these ports. */
static json_t *on_ports(const char *config, unsigned count, struct err *err)
{
	static const struct seed_port ports[] = {{"ens3", "52:54:00:00:00:01"},
						 {"ens4", "52:54:00:00:00:02"},
						 {"ens5", "52:54:00:00:00:03"}};
	const char *texts[SEED_FILES] = {[SEED_NETWORK] = config};
	json_t *seed = parse(texts, err), *settings;

	assert_non_null(seed);
	settings = json_incref(json_object_get(seed, "settings"));
	json_decref(seed);
	if (seed_ports(settings, ports, count, err) == 0) {
		static struct settings whole;

		settings_default(&whole);
		assert_int_equal(settings_parse(settings, &whole, err), 0);
		return settings;
	}
	json_decref(settings);
	return NULL;
}

static void named(const char *config, unsigned count, const char *expected)
{
	struct err err = {0};
	json_t *settings = on_ports(config, count, &err);
	char *shown;

	if (!settings)
		print_error("%s\n", err.text);
	assert_non_null(settings);
	shown = json_dumps(json_object_get(settings, "links"), JSON_COMPACT | JSON_SORT_KEYS);
	assert_string_equal(shown, expected);
	free(shown);
	json_decref(settings);
}

static void ports(void **state)
{
	struct err err = {0};

	(void)state;
	named("version: 2\nethernets: {eth0: {dhcp4: true}}\n", 1,
	      "[{\"ipv4\":\"dhcp\",\"ipv6\":\"auto\",\"name\":\"ens3\"}]");
	named("version: 2\nethernets: {x: {match: {macaddress: '52:54:00:00:00:02'}, dhcp4: "
	      "true}}\nvlans: {v: {id: 7, link: x}}\n",
	      3,
	      "[{\"ipv4\":\"dhcp\",\"ipv6\":\"auto\",\"name\":\"ens4\"},{\"ipv4\":\"off\","
	      "\"ipv6\":\"auto\",\"kind\":\"vlan\",\"name\":\"v\",\"parent\":\"ens4\","
	      "\"vlan\":7}]");
	/* Ports of a bond are described by it; names that another port has do not confuse. */
	named("version: 2\nethernets:\n  ens4: {match: {macaddress: '52:54:00:00:00:01'}}\n"
	      "  ens3: {match: {macaddress: '52:54:00:00:00:02'}}\n"
	      "bonds: {bond0: {interfaces: [ens4, ens3], dhcp4: true}}\n",
	      3,
	      "[{\"ipv4\":\"dhcp\",\"ipv6\":\"auto\",\"kind\":\"bond\",\"members\":[\"ens3\","
	      "\"ens4\"],\"mode\":\"active-backup\",\"name\":\"bond0\"}]");
	assert_null(on_ports("version: 2\nethernets: {eth0: {dhcp4: true}}\n", 2, &err));
	assert_int_equal(err.code, -ENODEV);
	assert_non_null(strstr(err.text, "no port eth0"));
	assert_non_null(strstr(err.text, "ens3 (52:54:00:00:00:01), ens4"));
	err = (struct err){0};
	assert_null(on_ports("version: 2\nethernets: {eth0: {dhcp4: true}}\n", 0, &err));
	assert_non_null(strstr(err.text, "none"));
}

/* What the parser's process can not say, but one that was taken over can. */
static void no_texts(void **state)
{
	static const struct seed_port port = {"ens3", "52:54:00:00:00:01"};
	json_t *settings = json_loads(
	    "{\"links\":[{\"id\":\"a\",\"name\":\"*\"},{\"kind\":\"bond\",\"name\":7,"
	    "\"parent\":[],\"members\":[7,null,{}]},{\"kind\":\"vlan\",\"members\":\"x\"}]}",
	    0, NULL);

	(void)state;
	assert_non_null(settings);
	assert_int_equal(seed_ports(settings, &port, 1, NULL), 0);
	json_decref(settings);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(meta_data),   cmocka_unit_test(too_much),
	    cmocka_unit_test(user_data),   cmocka_unit_test(network_two),
	    cmocka_unit_test(network_one), cmocka_unit_test(ovf),
	    cmocka_unit_test(ports),       cmocka_unit_test(no_texts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
