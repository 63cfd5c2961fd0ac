/* SPDX-License-Identifier: Apache-2.0 */
#include "appliance/settings.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/heap.h"

static const char *const kinds[] = {"ethernet", "vlan", "bond", NULL};
static const char *const modes[] = {"active-backup", "lacp", NULL};
static const char *const ipv4_methods[] = {"dhcp", "static", "off", NULL};
static const char *const ipv6_methods[] = {"auto", "static", "off", NULL};

void settings_default(struct settings *settings)
{
	*settings = (struct settings){.name = "granary", .zone = "Etc/UTC"};
}

/* --- single values --------------------------------------------------------------------------- */

/* Letters, digits and @others, 1 .. @room - 1 of them, a letter or digit first. */
static bool plain(const char *text, size_t room, const char *others)
{
	size_t length = strlen(text);

	if (length == 0 || length >= room || !isalnum((unsigned char)text[0]))
		return false;
	for (const char *at = text; *at; at++)
		if (!isalnum((unsigned char)*at) && !strchr(others, *at))
			return false;
	return true;
}

static int family_of(const char *address)
{
	unsigned char bytes[16];

	if (inet_pton(AF_INET, address, bytes) == 1)
		return AF_INET;
	return inet_pton(AF_INET6, address, bytes) == 1 ? AF_INET6 : AF_UNSPEC;
}

/* "ADDRESS/LENGTH"; its family, AF_UNSPEC for anything else. */
static int family_with_prefix(const char *text)
{
	const char *slash = strchr(text, '/');
	char address[ADDRESS_TEXT];
	unsigned long length;
	char *end;
	int family;

	if (!slash || (size_t)(slash - text) >= sizeof address || !isdigit((unsigned char)slash[1]))
		return AF_UNSPEC;
	memcpy(address, text, (size_t)(slash - text));
	address[slash - text] = '\0';
	family = family_of(address);
	length = strtoul(slash + 1, &end, 10);
	if (*end || length == 0 || length > (family == AF_INET ? 32 : 128))
		return AF_UNSPEC;
	return family;
}

static bool link_name_good(const char *text)
{
	return plain(text, LINK_NAME, "-_.") && strcmp(text, "lo") != 0;
}

static bool address_good(const char *text)
{
	return strlen(text) < ADDRESS_TEXT && family_of(text) != AF_UNSPEC;
}

static bool prefix_good(const char *text)
{
	return strlen(text) < ADDRESS_TEXT && family_with_prefix(text) != AF_UNSPEC;
}

static bool server_good(const char *text)
{
	return plain(text, SERVER_TEXT, "-.") || address_good(text);
}

static bool host_name_good(const char *text)
{
	return plain(text, HOST_NAME_TEXT - 1, "-") && text[strlen(text) - 1] != '-';
}

static bool zone_good(const char *text)
{
	return plain(text, ZONE_TEXT, "/_+-") && !strstr(text, "//");
}

/* --- reading an object ----------------------------------------------------------------------- */

static int take_text(const json_t *object, const char *member, bool (*good)(const char *text),
		     char *to, size_t room, struct err *err)
{
	const json_t *value = json_object_get(object, member);
	const char *text = json_string_value(value);

	if (!value)
		return 0;
	if (!text || strlen(text) != json_string_length(value) || !good(text))
		return err_set(err, -EINVAL, "%s: %s is none", member, text ? text : "this");
	snprintf(to, room, "%s", text);
	return 0;
}

/* @room: bytes of one of the texts behind each other at @to. */
static int take_texts(const json_t *object, const char *member, bool (*good)(const char *text),
		      char *to, size_t room, unsigned most, unsigned *count, struct err *err)
{
	const json_t *list = json_object_get(object, member);
	size_t index;
	json_t *value;

	if (!list)
		return 0;
	if (!json_is_array(list) || json_array_size(list) > most)
		return err_set(err, -EINVAL, "%s is a list of at most %u", member, most);
	json_array_foreach(list, index, value)
	{
		const char *text = json_string_value(value);

		if (!text || strlen(text) != json_string_length(value) || !good(text))
			return err_set(err, -EINVAL, "%s: %s is none", member,
				       text ? text : "this");
		snprintf(to + index * room, room, "%s", text);
	}
	*count = (unsigned)json_array_size(list);
	return 0;
}

static int take_choice(const json_t *object, const char *member, const char *const *names,
		       unsigned *choice, struct err *err)
{
	const json_t *value = json_object_get(object, member);
	const char *text = json_string_value(value);

	if (!value)
		return 0;
	for (unsigned i = 0; text && names[i]; i++) {
		if (strcmp(names[i], text) == 0) {
			*choice = i;
			return 0;
		}
	}
	return err_set(err, -EINVAL, "%s is %s%s%s%s%s", member, names[0], names[2] ? ", " : " or ",
		       names[1], names[2] ? " or " : "", names[2] ? names[2] : "");
}

static int take_number(const json_t *object, const char *member, unsigned least, unsigned most,
		       unsigned *number, struct err *err)
{
	const json_t *value = json_object_get(object, member);

	if (!value)
		return 0;
	if (!json_is_integer(value) || json_integer_value(value) < least ||
	    json_integer_value(value) > most)
		return err_set(err, -EINVAL, "%s is a number from %u to %u", member, least, most);
	*number = (unsigned)json_integer_value(value);
	return 0;
}

static int check_members(const json_t *object, const char *const *known, struct err *err)
{
	const char *name;
	json_t *value;

	if (!json_is_object(object))
		return err_set(err, -EINVAL, "no object");
	json_object_foreach((json_t *)object, name, value)
	{
		const char *const *at = known;

		while (*at && strcmp(*at, name) != 0)
			at++;
		if (!*at)
			return err_set(err, -EINVAL, "there is no member %s", name);
	}
	return 0;
}

static int check_addresses(const struct link_settings *link, struct err *err)
{
	unsigned four = 0, six = 0;

	for (unsigned i = 0; i < link->address_count; i++) {
		int family = family_with_prefix(link->addresses[i]);

		four += family == AF_INET;
		six += family == AF_INET6;
	}
	if ((four > 0) != (link->ipv4 == IPV4_STATIC))
		return err_set(err, -EINVAL, "IPv4 addresses are given when ipv4 is static");
	if ((six > 0) != (link->ipv6 == IPV6_STATIC))
		return err_set(err, -EINVAL, "IPv6 addresses are given when ipv6 is static");
	for (unsigned i = 0; i < link->gateway_count; i++) {
		int family = family_of(link->gateways[i]);

		if ((family == AF_INET && !four) || (family == AF_INET6 && !six) ||
		    (i && family == family_of(link->gateways[0])))
			return err_set(err, -EINVAL,
				       "a gateway belongs to an address of its family");
	}
	return 0;
}

static int check_kind(const struct link_settings *link, struct err *err)
{
	if ((link->kind == LINK_VLAN) != (link->vlan && *link->parent))
		return err_set(err, -EINVAL, "a VLAN, and it alone, has a parent and a number");
	if ((link->kind == LINK_BOND) != (link->member_count > 0))
		return err_set(err, -EINVAL, "a bond, and it alone, has members");
	return 0;
}

static int parse_link(const json_t *object, struct link_settings *link, struct err *err)
{
	static const char *const known[] = {"name", "kind",      "parent",   "vlan",
					    "mode", "members",   "mtu",      "ipv4",
					    "ipv6", "addresses", "gateways", NULL};
	unsigned kind = LINK_ETHERNET, mode = 0, ipv4 = IPV4_DHCP, ipv6 = IPV6_AUTO;

	if (check_members(object, known, err) ||
	    take_text(object, "name", link_name_good, link->name, sizeof link->name, err) ||
	    take_choice(object, "kind", kinds, &kind, err) ||
	    take_text(object, "parent", link_name_good, link->parent, sizeof link->parent, err) ||
	    take_number(object, "vlan", 1, 4094, &link->vlan, err) ||
	    take_choice(object, "mode", modes, &mode, err) ||
	    take_texts(object, "members", link_name_good, link->members[0], LINK_NAME, MEMBERS_MAX,
		       &link->member_count, err) ||
	    take_number(object, "mtu", MTU_LEAST, MTU_MOST, &link->mtu, err) ||
	    take_choice(object, "ipv4", ipv4_methods, &ipv4, err) ||
	    take_choice(object, "ipv6", ipv6_methods, &ipv6, err) ||
	    take_texts(object, "addresses", prefix_good, link->addresses[0], ADDRESS_TEXT,
		       ADDRESSES_MAX, &link->address_count, err) ||
	    take_texts(object, "gateways", address_good, link->gateways[0], ADDRESS_TEXT, 2,
		       &link->gateway_count, err))
		return -EINVAL;
	link->kind = (enum link_kind)kind;
	link->mode = (enum bond_mode)mode;
	link->ipv4 = (enum ipv4_method)ipv4;
	link->ipv6 = (enum ipv6_method)ipv6;
	if (!link->name[0])
		return err_set(err, -EINVAL, "a link has a name");
	return check_kind(link, err) || check_addresses(link, err) ? -EINVAL : 0;
}

/* --- links among each other ------------------------------------------------------------------ */

static const struct link_settings *find_link(const struct settings *settings, const char *name)
{
	for (unsigned i = 0; i < settings->link_count; i++)
		if (strcmp(settings->links[i].name, name) == 0)
			return &settings->links[i];
	return NULL;
}

static unsigned count_member(const struct settings *settings, const char *name)
{
	unsigned count = 0;

	for (unsigned i = 0; i < settings->link_count; i++)
		for (unsigned j = 0; j < settings->links[i].member_count; j++)
			count += strcmp(settings->links[i].members[j], name) == 0;
	return count;
}

static int check_together(const struct settings *settings, const struct link_settings *link,
			  struct err *err)
{
	const struct link_settings *parent = find_link(settings, link->parent);

	if (find_link(settings, link->name) != link)
		return err_set(err, -EINVAL, "%s is there twice", link->name);
	if (link->kind == LINK_VLAN && (!parent || parent->kind == LINK_VLAN))
		return err_set(err, -EINVAL, "%s: %s is no port or bond of the list", link->name,
			       link->parent);
	for (unsigned i = 0; i < link->member_count; i++)
		if (find_link(settings, link->members[i]) ||
		    count_member(settings, link->members[i]) > 1)
			return err_set(err, -EINVAL, "%s: its member %s is in use by another link",
				       link->name, link->members[i]);
	return 0;
}

static int parse_links(const json_t *list, struct settings *settings, struct err *err)
{
	size_t index;
	json_t *object;

	if (!list)
		return 0;
	if (!json_is_array(list) || json_array_size(list) > LINKS_MAX)
		return err_set(err, -EINVAL, "links is a list of at most %d", LINKS_MAX);
	memset(settings->links, 0, sizeof settings->links);
	json_array_foreach(list, index, object)
	{
		struct link_settings *link = &settings->links[index];
		int result = parse_link(object, link, err);

		if (result < 0) {
			err_wrap(err, "link %s", link->name[0] ? link->name : "without a name");
			return result;
		}
	}
	settings->link_count = (unsigned)json_array_size(list);
	for (unsigned i = 0; i < settings->link_count; i++)
		if (check_together(settings, &settings->links[i], err))
			return -EINVAL;
	return 0;
}

int settings_parse(const json_t *object, struct settings *settings, struct err *err)
{
	static const char *const known[] = {"name", "timezone", "time_servers",
					    "dns",  "links",    NULL};
	struct settings *next = heap_alloc(sizeof *next);
	struct err mine = {0};

	if (!next)
		return err_set(err, -ENOMEM, "out of memory");
	*next = *settings;
	if (check_members(object, known, &mine) == 0 &&
	    take_text(object, "name", host_name_good, next->name, sizeof next->name, &mine) == 0 &&
	    take_text(object, "timezone", zone_good, next->zone, sizeof next->zone, &mine) == 0 &&
	    take_texts(object, "time_servers", server_good, next->time[0], SERVER_TEXT, SERVERS_MAX,
		       &next->time_count, &mine) == 0 &&
	    take_texts(object, "dns", address_good, next->dns[0], ADDRESS_TEXT, SERVERS_MAX,
		       &next->dns_count, &mine) == 0 &&
	    parse_links(json_object_get(object, "links"), next, &mine) == 0)
		*settings = *next;
	heap_free(next);
	return mine.code ? err_set(err, mine.code, "%s", mine.text) : 0;
}

/* --- showing --------------------------------------------------------------------------------- */

static json_t *show_texts(const char *from, size_t room, unsigned count)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < count; i++)
		json_array_append_new(list, json_string(from + i * room));
	return list;
}

static json_t *show_link(const struct link_settings *link)
{
	json_t *object = json_pack(
	    "{s:s,s:s,s:s,s:s,s:o,s:o}", "name", link->name, "kind", kinds[link->kind], "ipv4",
	    ipv4_methods[link->ipv4], "ipv6", ipv6_methods[link->ipv6], "addresses",
	    show_texts(link->addresses[0], ADDRESS_TEXT, link->address_count), "gateways",
	    show_texts(link->gateways[0], ADDRESS_TEXT, link->gateway_count));

	if (link->kind == LINK_VLAN) {
		json_object_set_new(object, "parent", json_string(link->parent));
		json_object_set_new(object, "vlan", json_integer(link->vlan));
	}
	if (link->kind == LINK_BOND) {
		json_object_set_new(object, "mode", json_string(modes[link->mode]));
		json_object_set_new(object, "members",
				    show_texts(link->members[0], LINK_NAME, link->member_count));
	}
	if (link->mtu)
		json_object_set_new(object, "mtu", json_integer(link->mtu));
	return object;
}

json_t *settings_show(const struct settings *settings)
{
	json_t *links = json_array();

	for (unsigned i = 0; i < settings->link_count; i++)
		json_array_append_new(links, show_link(&settings->links[i]));
	return json_pack(
	    "{s:s,s:s,s:o,s:o,s:o}", "name", settings->name, "timezone", settings->zone,
	    "time_servers", show_texts(settings->time[0], SERVER_TEXT, settings->time_count), "dns",
	    show_texts(settings->dns[0], ADDRESS_TEXT, settings->dns_count), "links", links);
}
