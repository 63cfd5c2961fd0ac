/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "core/log.h"
#include "replication/node.h"

/* The service addresses of a group are on this node while it serves the group, and at no other
 * time: taken away before guests' requests are held for a handing over, so that clients send again
 * until they are answered elsewhere; set when what is exported of the group is in place. A primary
 * that starts takes them when its standby has said that it is still one, or after a while without
 * an answer. */

#define CONFIRM_NS (5 * 1000000000ull)
#define ANNOUNCED  4u /* times, a tick apart */

static void trouble(struct seat *seat, const struct err *err)
{
	if (strcmp(seat->addresses_trouble, err->text) != 0)
		log_warning("group %s: %s", seat->group.name, err->text);
	snprintf(seat->addresses_trouble, sizeof seat->addresses_trouble, "%.199s", err->text);
}

/* False: it is here yet. */
static bool clear(const struct service_address *address, struct err *err)
{
	address_reset(address);
	return address_clear(address, err) == 0 || !address_is_here(address);
}

static void set_all(struct seat *seat)
{
	struct err err = {0};
	bool good = true;

	for (unsigned i = 0; i < seat->address_count; i++)
		good = address_set(&seat->addresses[i], &err) == 0 && good;
	if (good)
		seat->addresses_trouble[0] = '\0';
	else
		trouble(seat, &err);
	if (good || !seat->addresses_up) /* else it is one try of many */
		seat->announce_left = ANNOUNCED;
	seat->addresses_up = true;
	seat->addresses_again = !good;
}

static void announce(struct seat *seat)
{
	seat->announce_left--;
	for (unsigned i = 0; i < seat->address_count; i++) {
		struct err err = {0};

		if (address_announce(&seat->addresses[i], &err) < 0)
			trouble(seat, &err);
	}
}

static bool confirmed(const struct seat *seat)
{
	const struct group *group = &seat->group;

	return loop_now(seat->replication->options.loop) >= seat->addresses_from_ns ||
	       (group->channel && strcmp(group->phase, "greeting") != 0);
}

static bool settled(struct seat *seat)
{
	return seat->group.host->settled(&seat->group);
}

static bool is_served(const struct seat *seat)
{
	return seat->started && group_serves(&seat->group) && lease_holds(&seat->group);
}

void services_follow(struct seat *seat)
{
	bool serves = is_served(seat);

	if (seat->address_count == 0)
		return;
	if (seat->addresses_up && !serves)
		services_clear(seat);
	else if ((!seat->addresses_up || seat->addresses_again) && serves && confirmed(seat) &&
		 settled(seat))
		set_all(seat);
	if (seat->addresses_up && serves && seat->announce_left > 0)
		announce(seat);
}

void services_clear(struct seat *seat)
{
	struct err err = {0};
	bool good = true;

	for (unsigned i = 0; i < seat->address_count; i++)
		good = clear(&seat->addresses[i], &err) && good;
	if (err.text[0])
		trouble(seat, &err);
	else if (seat->addresses_again)
		seat->addresses_trouble[0] = '\0';
	seat->addresses_up = seat->addresses_again = !good; /* tried again with the next tick */
}

/* What a daemon that was killed has left on the interface, too. */
void services_start(struct seat *seat)
{
	if (seat->address_count == 0)
		return;
	services_clear(seat);
	seat->addresses_from_ns = loop_now(seat->replication->options.loop) + CONFIRM_NS;
}

/* ---- the definition ---- */
static bool same(const struct service_address *a, const struct service_address *b)
{
	return a->family == b->family && memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0 &&
	       a->prefix == b->prefix && strcmp(a->interface, b->interface) == 0;
}

static bool listed(const struct service_address *address, const struct service_address *list,
		   unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		if (same(address, &list[i]))
			return true;
	}
	return false;
}

static unsigned read_addresses(struct seat *seat, const json_t *definition,
			       struct service_address list[ADDRESSES_MAX])
{
	json_t *items = json_object_get(definition, "addresses"), *item;
	unsigned count = 0;
	size_t index;

	json_array_foreach(items, index, item)
	{
		const char *text = json_string_value(json_object_get(item, "address"));
		struct err err = {0};

		if (count == ADDRESSES_MAX)
			break;
		if (!text ||
		    address_parse(text, json_string_value(json_object_get(item, "interface")),
				  &list[count], &err) < 0)
			trouble(seat, &err);
		else
			count++;
	}
	return count;
}

void services_define(struct seat *seat, const json_t *definition)
{
	struct service_address list[ADDRESSES_MAX];
	unsigned count = read_addresses(seat, definition, list);
	struct err err = {0};

	for (unsigned i = 0; i < seat->address_count && seat->addresses_up; i++) {
		if (!listed(&seat->addresses[i], list, count))
			(void)clear(&seat->addresses[i], &err);
	}
	if (err.text[0])
		trouble(seat, &err);
	memcpy(seat->addresses, list, count * sizeof *list);
	seat->address_count = count;
	if (seat->addresses_up && is_served(seat))
		set_all(seat);
	else if (count > 0 && address_may(&err) < 0) /* before it is needed */
		trouble(seat, &err);
	if (count == 0)
		seat->addresses_up = seat->addresses_again = false;
}

json_t *services_show(const struct seat *seat)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < seat->address_count; i++) {
		char text[ADDRESS_TEXT];

		address_print(&seat->addresses[i], text);
		json_array_append_new(list, json_pack("{s:s,s:s,s:b}", "address", text, "interface",
						      seat->addresses[i].interface, "here",
						      (int)seat->addresses_up));
	}
	return list;
}
