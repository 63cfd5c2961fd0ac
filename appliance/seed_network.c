/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "appliance/seed.h"

/* network-config, versions 1 and 2, into links as settings_parse() takes them. What is an address
 * and what goes together is checked there; here shapes are translated. */

const char *seed_text(const json_t *value, char room[32])
{
	if (json_is_string(value))
		return json_string_value(value);
	if (!json_is_integer(value))
		return NULL;
	snprintf(room, 32, "%lld", (long long)json_integer_value(value));
	return room;
}

static const char *member_text(const json_t *object, const char *name, char room[32])
{
	return seed_text(json_object_get(object, name), room);
}

static void add_text(json_t *object, const char *list, const char *text)
{
	json_t *array = json_object_get(object, list);

	if (!array) {
		array = json_array();
		json_object_set_new(object, list, array);
	}
	json_array_append_new(array, json_string(text));
}

/* One text, or a list of them, or words in one text. */
static int add_texts(json_t *object, const char *list, const json_t *value, struct err *err)
{
	char room[32];
	size_t index;
	json_t *item;

	if (!value || json_is_null(value))
		return 0;
	if (!json_is_array(value)) {
		const char *text = seed_text(value, room);

		if (!text)
			return err_set(err, -EINVAL, "%s: a text, or a list of texts", list);
		while (*text) {
			size_t length = strcspn(text, " ,\t");
			char word[256];

			snprintf(word, sizeof word, "%.*s", (int)length, text);
			if (length)
				add_text(object, list, word);
			text += length + (text[length] != '\0');
		}
		return 0;
	}
	json_array_foreach((json_t *)value, index, item)
	{
		if (!seed_text(item, room))
			return err_set(err, -EINVAL, "%s: a list of texts", list);
		add_text(object, list, seed_text(item, room));
	}
	return 0;
}

/* What the addresses make of a link: fixed, asked for, or none. */
static void set_methods(json_t *link, bool dhcp4, bool auto6)
{
	const json_t *list = json_object_get(link, "addresses");
	bool four = false, six = false;
	size_t index;
	json_t *address;

	json_array_foreach(list, index, address)
	{
		bool is_six = strchr(json_string_value(address), ':') != NULL;

		six |= is_six;
		four |= !is_six;
	}
	json_object_set_new(link, "ipv4", json_string(four ? "static" : dhcp4 ? "dhcp" : "off"));
	json_object_set_new(link, "ipv6", json_string(six ? "static" : auto6 ? "auto" : "off"));
}

static int both_ways(const json_t *link, bool dhcp4, struct err *err)
{
	const char *method = json_string_value(json_object_get(link, "ipv4"));

	if (dhcp4 && method && strcmp(method, "static") == 0)
		return err_set(err, -EINVAL,
			       "an IPv4 address comes from DHCP or is a fixed one, not both");
	return 0;
}

static int set_mtu(json_t *link, const json_t *mtu, struct err *err)
{
	if (!mtu || json_is_null(mtu))
		return 0;
	if (!json_is_integer(mtu))
		return err_set(err, -EINVAL, "mtu: a number");
	return json_object_set(link, "mtu", (json_t *)mtu);
}

static int set_bond(json_t *link, const char *mode, struct err *err)
{
	bool lacp = mode && (strcmp(mode, "802.3ad") == 0 || strcmp(mode, "4") == 0);

	if (mode && !lacp && strcmp(mode, "active-backup") != 0 && strcmp(mode, "1") != 0)
		return err_set(err, -EINVAL, "a bond's mode is active-backup or 802.3ad");
	json_object_set_new(link, "kind", json_string("bond"));
	json_object_set_new(link, "mode", json_string(lacp ? "lacp" : "active-backup"));
	return 0;
}

static int set_vlan(json_t *link, const char *parent, const json_t *number, struct err *err)
{
	if (!parent || !json_is_integer(number))
		return err_set(err, -EINVAL, "a VLAN needs a link and a number");
	json_object_set_new(link, "kind", json_string("vlan"));
	json_object_set_new(link, "parent", json_string(parent));
	return json_object_set(link, "vlan", (json_t *)number);
}

/* --- version 2 ------------------------------------------------------------------------------- */

static int take_routes(json_t *link, const json_t *routes, struct err *err)
{
	static const char *const everywhere[] = {"default", "0.0.0.0/0", "::/0", "0/0"};
	char room[32];
	size_t index;
	json_t *route;

	json_array_foreach((json_t *)routes, index, route)
	{
		const char *to = member_text(route, "to", room);
		const char *via = json_string_value(json_object_get(route, "via"));
		bool is_default = false;

		for (unsigned i = 0; to && i < sizeof everywhere / sizeof *everywhere; i++)
			is_default |= strcmp(to, everywhere[i]) == 0;
		if (!is_default || !via)
			return err_set(err, -EINVAL,
				       "routes: only default routes with \"via\" are taken");
		add_text(link, "gateways", via);
	}
	return 0;
}

static bool truth(const json_t *object, const char *name, bool otherwise)
{
	const json_t *value = json_object_get(object, name);

	return json_is_boolean(value) ? json_is_true(value) : otherwise;
}

/* Members of all kinds of links. */
static int take_common(json_t *link, const json_t *from, json_t *settings, struct err *err)
{
	bool dhcp4 = truth(from, "dhcp4", false);
	int result = add_texts(link, "addresses", json_object_get(from, "addresses"), err);

	if (result == 0)
		result = add_texts(link, "gateways", json_object_get(from, "gateway4"), err);
	if (result == 0)
		result = add_texts(link, "gateways", json_object_get(from, "gateway6"), err);
	if (result == 0)
		result = take_routes(link, json_object_get(from, "routes"), err);
	if (result == 0)
		result = set_mtu(link, json_object_get(from, "mtu"), err);
	if (result == 0)
		result = add_texts(
		    settings, "dns",
		    json_object_get(json_object_get(from, "nameservers"), "addresses"), err);
	set_methods(link, dhcp4, truth(from, "accept-ra", true) || truth(from, "dhcp6", false));
	return result == 0 ? both_ways(link, dhcp4, err) : result;
}

static int take_port(json_t *link, const json_t *from, struct err *err)
{
	const json_t *match = json_object_get(from, "match");
	const char *mac = json_string_value(json_object_get(match, "macaddress"));
	const char *name = json_string_value(json_object_get(match, "name"));

	if (match && !mac && !name)
		return err_set(err, -EINVAL, "match: by macaddress or name");
	if (name && strpbrk(name, "*?["))
		json_object_set_new(link, "name", json_string("*"));
	else if (name)
		json_object_set_new(link, "name", json_string(name));
	if (mac)
		json_object_set_new(link, "mac", json_string(mac));
	return 0;
}

static int take_bond(json_t *link, const json_t *from, struct err *err)
{
	char room[32];
	int result = add_texts(link, "members", json_object_get(from, "interfaces"), err);

	return result == 0
		   ? set_bond(link, member_text(json_object_get(from, "parameters"), "mode", room),
			      err)
		   : result;
}

static int take_vlan(json_t *link, const json_t *from, struct err *err)
{
	return set_vlan(link, json_string_value(json_object_get(from, "link")),
			json_object_get(from, "id"), err);
}

static int take_group(const json_t *group,
		      int (*take)(json_t *link, const json_t *from, struct err *err),
		      json_t *settings, struct err *err)
{
	const char *name;
	json_t *from;

	if (group && !json_is_object(group))
		return err_set(err, -EINVAL, "ethernets, bonds and vlans have named members");
	json_object_foreach((json_t *)group, name, from)
	{
		json_t *link = json_pack("{s:s,s:s}", "id", name, "name", name);
		int result = link ? take(link, from, err) : -ENOMEM;

		if (result == 0)
			result = take_common(link, from, settings, err);
		if (result < 0) {
			json_decref(link);
			err_wrap(err, "%s", name);
			return result;
		}
		json_array_append_new(json_object_get(settings, "links"), link);
	}
	return 0;
}

static int version_two(const json_t *config, json_t *settings, struct err *err)
{
	int result = take_group(json_object_get(config, "ethernets"), take_port, settings, err);

	if (result == 0)
		result = take_group(json_object_get(config, "bonds"), take_bond, settings, err);
	return result == 0 ? take_group(json_object_get(config, "vlans"), take_vlan, settings, err)
			   : result;
}

/* --- version 1 ------------------------------------------------------------------------------- */

/* "192.0.2.7" and "255.255.255.0", or "192.0.2.7/24". */
static int join_prefix(const char *address, const char *mask, char text[96], struct err *err)
{
	struct in_addr four;
	unsigned length = 0;
	uint32_t bits;

	if (!address)
		return err_set(err, -EINVAL, "a fixed address is missing");
	if (strchr(address, '/')) {
		snprintf(text, 96, "%.95s", address);
		return 0;
	}
	if (!mask || inet_pton(AF_INET, mask, &four) != 1)
		return err_set(err, -EINVAL, "%.60s: no prefix length and no netmask", address);
	bits = ntohl(four.s_addr);
	while (length < 32 && bits & (1u << (31 - length)))
		length++;
	if (length < 32 && bits << length)
		return err_set(err, -EINVAL, "%.60s is no netmask", mask);
	snprintf(text, 96, "%.80s/%u", address, length);
	return 0;
}

static int take_subnet(json_t *link, const json_t *subnet, json_t *settings, bool *dhcp4,
		       bool *auto6, struct err *err)
{
	const char *type = json_string_value(json_object_get(subnet, "type"));
	char text[96];
	int result;

	if (!type)
		return err_set(err, -EINVAL, "a subnet has a type");
	if (strncmp(type, "dhcp", 4) == 0 || strncmp(type, "ipv6_", 5) == 0) {
		*dhcp4 |= strcmp(type, "dhcp") == 0 || strcmp(type, "dhcp4") == 0;
		*auto6 |= strcmp(type, "dhcp4") != 0;
		return 0;
	}
	if (strcmp(type, "static") != 0 && strcmp(type, "static6") != 0)
		return err_set(err, -EINVAL, "a subnet's type %.40s is not known here", type);
	result = join_prefix(json_string_value(json_object_get(subnet, "address")),
			     json_string_value(json_object_get(subnet, "netmask")), text, err);
	if (result < 0)
		return result;
	add_text(link, "addresses", text);
	result = add_texts(link, "gateways", json_object_get(subnet, "gateway"), err);
	return result == 0
		   ? add_texts(settings, "dns", json_object_get(subnet, "dns_nameservers"), err)
		   : result;
}

static int take_subnets(json_t *link, const json_t *subnets, json_t *settings, struct err *err)
{
	bool dhcp4 = false, auto6 = false;
	size_t index;
	json_t *subnet;

	json_array_foreach((json_t *)subnets, index, subnet)
	{
		int result = take_subnet(link, subnet, settings, &dhcp4, &auto6, err);

		if (result < 0)
			return result;
	}
	set_methods(link, dhcp4, auto6 || !subnets);
	return both_ways(link, dhcp4, err);
}

static int take_kind(json_t *link, const char *type, const json_t *item, struct err *err)
{
	const char *mac = json_string_value(json_object_get(item, "mac_address"));
	const json_t *params = json_object_get(item, "params");
	char room[32];
	int result;

	if (strcmp(type, "physical") == 0) {
		if (mac)
			json_object_set_new(link, "mac", json_string(mac));
		return 0;
	}
	if (strcmp(type, "vlan") == 0)
		return set_vlan(link, json_string_value(json_object_get(item, "vlan_link")),
				json_object_get(item, "vlan_id"), err);
	if (strcmp(type, "bond") != 0)
		return err_set(err, -EINVAL, "a link of type %.40s is not known here", type);
	result = add_texts(link, "members", json_object_get(item, "bond_interfaces"), err);
	if (result < 0)
		return result;
	return set_bond(
	    link,
	    member_text(params, json_object_get(params, "bond-mode") ? "bond-mode" : "mode", room),
	    err);
}

static int take_item(const json_t *item, json_t *settings, struct err *err)
{
	const char *type = json_string_value(json_object_get(item, "type"));
	const char *name = json_string_value(json_object_get(item, "name"));
	json_t *link;
	int result;

	if (type && strcmp(type, "nameserver") == 0)
		return add_texts(settings, "dns", json_object_get(item, "address"), err);
	if (!type || !name)
		return err_set(err, -EINVAL, "each item of config has a type and a name");
	link = json_pack("{s:s,s:s}", "id", name, "name", name);
	result = link ? take_kind(link, type, item, err) : -ENOMEM;
	if (result == 0)
		result = set_mtu(link, json_object_get(item, "mtu"), err);
	if (result == 0)
		result = take_subnets(link, json_object_get(item, "subnets"), settings, err);
	if (result < 0) {
		json_decref(link);
		err_wrap(err, "%.40s", name);
		return result;
	}
	return json_array_append_new(json_object_get(settings, "links"), link);
}

static int version_one(const json_t *config, json_t *settings, struct err *err)
{
	const json_t *items = json_object_get(config, "config");
	size_t index;
	json_t *item;

	if (!json_is_array(items))
		return err_set(err, -EINVAL, "config: a list");
	json_array_foreach((json_t *)items, index, item)
	{
		int result = take_item(item, settings, err);

		if (result < 0)
			return result;
	}
	return 0;
}

int seed_network(const json_t *config, json_t *settings, struct err *err)
{
	const json_t *inner = json_object_get(config, "network");
	json_int_t version;

	if (inner)
		config = inner;
	if (!json_is_object(config) || json_object_size(config) == 0)
		return 0;
	version = json_integer_value(json_object_get(config, "version"));
	json_object_set_new(settings, "links", json_array());
	if (version == 1)
		return version_one(config, settings, err);
	if (version == 2)
		return version_two(config, settings, err);
	return err_set(err, -EINVAL, "version is 1 or 2");
}
