/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "appliance/seed.h"

/* Which of this machine's ports a seed means: by hardware address, by name, or the only one. */

static const struct seed_port *by_mac(const struct seed_port *ports, unsigned count,
				      const char *mac)
{
	for (unsigned i = 0; i < count; i++)
		if (strcasecmp(ports[i].mac, mac) == 0)
			return &ports[i];
	return NULL;
}

static const struct seed_port *by_name(const struct seed_port *ports, unsigned count,
				       const char *name)
{
	for (unsigned i = 0; i < count; i++)
		if (strcmp(ports[i].name, name) == 0)
			return &ports[i];
	return NULL;
}

static bool is_port(const json_t *link)
{
	return json_object_get(link, "kind") == NULL;
}

static unsigned count_ports(const json_t *links)
{
	unsigned count = 0;
	size_t index;
	json_t *link;

	json_array_foreach((json_t *)links, index, link) count += is_port(link);
	return count;
}

/* A name that nobody has, when there is one port here and one there, means that one: who writes
 * "eth0" does not know how the kernel will call it. */
static const struct seed_port *find(const json_t *link, const struct seed_port *ports,
				    unsigned count, bool only_one)
{
	const char *mac = json_string_value(json_object_get(link, "mac"));
	const char *name = json_string_value(json_object_get(link, "name"));
	const struct seed_port *port;

	if (mac)
		return by_mac(ports, count, mac);
	if (!name)
		return NULL;
	if (strcmp(name, "*") == 0)
		return count ? ports : NULL;
	port = by_name(ports, count, name);
	return !port && only_one && count == 1 ? ports : port;
}

static int not_there(const json_t *link, const struct seed_port *ports, unsigned count,
		     struct err *err)
{
	const char *mac = json_string_value(json_object_get(link, "mac"));
	const char *name = json_string_value(json_object_get(link, "name"));
	char list[300] = "";
	size_t at = 0;

	for (unsigned i = 0; i < count && at < sizeof list; i++)
		at += (size_t)snprintf(list + at, sizeof list - at, "%s%s (%s)", i ? ", " : "",
				       ports[i].name, ports[i].mac);
	return err_set(err, -ENODEV, "there is no port %.40s here; there is %s",
		       mac    ? mac
		       : name ? name
			      : "without a name",
		       count ? list : "none");
}

#define RENAMED '=' /* before a name that is this machine's already: no port's begins so */

static json_t *renamed(const char *name)
{
	return json_sprintf("%c%s", RENAMED, name);
}

/* Where another link names it. */
static void rename_in(json_t *link, const char *id, const char *name)
{
	const char *parent = json_string_value(json_object_get(link, "parent"));
	json_t *members = json_object_get(link, "members"), *member;
	size_t index;

	if (parent && strcmp(parent, id) == 0)
		json_object_set_new(link, "parent", renamed(name));
	json_array_foreach(members, index, member)
	{
		const char *text = json_string_value(member);

		if (text && strcmp(text, id) == 0)
			json_array_set_new(members, index, renamed(name));
	}
}

static void take_mark_off(json_t *link)
{
	const char *parent = json_string_value(json_object_get(link, "parent"));
	json_t *members = json_object_get(link, "members");

	if (parent && parent[0] == RENAMED)
		json_object_set_new(link, "parent", json_string(parent + 1));
	for (size_t i = 0; i < json_array_size(members); i++) {
		const char *name = json_string_value(json_array_get(members, i));

		if (name && name[0] == RENAMED)
			json_array_set_new(members, i, json_string(name + 1));
	}
}

/* A bond's members are described with the bond alone. */
static bool is_member(const json_t *links, const char *name)
{
	size_t index, inner;
	json_t *link, *member;

	json_array_foreach((json_t *)links, index, link)
	{
		json_array_foreach(json_object_get(link, "members"), inner, member)
		{
			const char *text = json_string_value(member);

			if (text && name && strcmp(text, name) == 0)
				return true;
		}
	}
	return false;
}

int seed_ports(json_t *settings, const struct seed_port *ports, unsigned count, struct err *err)
{
	json_t *links = json_object_get(settings, "links"), *link, *other;
	bool only_one = count_ports(links) == 1;
	size_t index, inner;

	json_array_foreach(links, index, link)
	{
		const char *id = json_string_value(json_object_get(link, "id"));
		const struct seed_port *port =
		    is_port(link) ? find(link, ports, count, only_one) : NULL;

		if (is_port(link) && !port)
			return not_there(link, ports, count, err);
		if (port)
			json_object_set_new(link, "name", json_string(port->name));
		if (port && id)
			json_array_foreach(links, inner, other) rename_in(other, id, port->name);
	}
	json_array_foreach(links, index, link) take_mark_off(link);
	for (index = json_array_size(links); index-- > 0;) {
		link = json_array_get(links, index);
		json_object_del(link, "id");
		json_object_del(link, "mac");
		if (is_port(link) &&
		    is_member(links, json_string_value(json_object_get(link, "name"))))
			json_array_remove(links, index);
	}
	return 0;
}
