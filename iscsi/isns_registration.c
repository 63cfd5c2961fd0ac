/* SPDX-License-Identifier: Apache-2.0 */
/* isns_registration.c: what an iSNS server is told (DevAttrReg, RFC 4171 5.6.5.1): who speaks, the
 * entity as key, then the entity, its portals and its targets, each with its portal groups. */
#include <string.h>

#include "iscsi/internal.h"
#include "iscsi/isns.h"

#define ESI_INTERVAL 60 /* seconds; asked for */

static void put_portals(struct iscsi_server *server, struct isns_registration *registration,
			struct isns_writer *writer)
{
	struct in6_addr address, here;

	portal_mapped(registration->local, &here);
	for (unsigned i = 0; i < server->portal_count; i++) {
		const struct iscsi_portal *portal = server->portals[i];

		if (!portal_address(portal, registration->local, &address))
			continue;
		isns_put_address(writer, ISNS_PORTAL_ADDRESS, &address);
		isns_put_number(writer, ISNS_PORTAL_PORT, portal->port);
		registration->portals++;
		if (!registration->esi_port || memcmp(&address, &here, sizeof(here)) != 0)
			continue;
		isns_put_number(writer, ISNS_ESI_INTERVAL, ESI_INTERVAL);
		isns_put_number(writer, ISNS_ESI_PORT, registration->esi_port);
	}
}

/* Each portal is in one group, and every target has all of them (RFC 4171 5.6.5.1: the tag, then
 * its portals). */
static void put_groups(struct iscsi_server *server, struct isns_registration *registration,
		       struct isns_writer *writer)
{
	struct in6_addr address;

	for (unsigned i = 0; i < server->portal_count; i++) {
		const struct iscsi_portal *portal = server->portals[i];

		if (!portal_address(portal, registration->local, &address))
			continue;
		isns_put_number(writer, ISNS_GROUP_TAG, portal->group);
		isns_put_address(writer, ISNS_GROUP_ADDRESS, &address);
		isns_put_number(writer, ISNS_GROUP_PORT, portal->port);
	}
}

static void put_targets(struct iscsi_server *server, struct isns_registration *registration,
			struct isns_writer *writer)
{
	list_for_each (it, &server->targets) {
		const struct iscsi_target *target = list_entry(it, struct iscsi_target, link);

		if (target->dying)
			continue;
		isns_put_text(writer, ISNS_NAME, target->name);
		isns_put_number(writer, ISNS_NODE_TYPE, ISNS_NODE_TARGET);
		if (target->alias[0])
			isns_put_text(writer, ISNS_ALIAS, target->alias);
		put_groups(server, registration, writer);
		registration->targets++;
	}
}

void isns_put_registration(struct iscsi_server *server, struct isns_registration *registration,
			   struct isns_writer *writer)
{
	registration->targets = registration->portals = 0;
	isns_put_text(writer, ISNS_NAME, registration->source);
	isns_put_text(writer, ISNS_ENTITY, registration->entity);
	isns_put_empty(writer, ISNS_DELIMITER);
	isns_put_text(writer, ISNS_ENTITY, registration->entity);
	isns_put_number(writer, ISNS_ENTITY_PROTOCOL, ISNS_PROTOCOL_ISCSI);
	isns_put_number(writer, ISNS_PERIOD, registration->period);
	put_portals(server, registration, writer);
	put_targets(server, registration, writer);
}
