/* SPDX-License-Identifier: Apache-2.0 */
#include "appliance/firewall.h"

#include <stdio.h>
#include <string.h>

#define HTTPS       443
#define NFS         2049
#define RPC         111 /* its portmapper */
#define ISCSI       3260
#define REPLICATION 7420

static void add_port(struct firewall *firewall, json_int_t port)
{
	unsigned at = 0;

	if (port < 1 || port > 65535 || firewall->count == FIREWALL_PORTS)
		return;
	while (at < firewall->count && firewall->ports[at] < port)
		at++;
	if (at < firewall->count && firewall->ports[at] == port)
		return;
	memmove(&firewall->ports[at + 1], &firewall->ports[at],
		(firewall->count - at) * sizeof *firewall->ports);
	firewall->ports[at] = (uint16_t)port;
	firewall->count++;
}

void firewall_of(const json_t *status, struct firewall *ret_firewall)
{
	const json_t *endpoints = json_object_get(status, "endpoints");
	struct firewall firewall = {.count = 0};
	size_t index;
	json_t *endpoint;

	add_port(&firewall, HTTPS);
	add_port(&firewall, NFS);
	add_port(&firewall, RPC);
	add_port(&firewall, REPLICATION);
	if (json_array_size(endpoints) == 0) /* it is on its way up */
		add_port(&firewall, ISCSI);
	json_array_foreach((json_t *)endpoints, index, endpoint)
	{
		add_port(&firewall, json_integer_value(json_object_get(endpoint, "port")));
	}
	*ret_firewall = firewall;
}

/* Protocols by number, ICMP and ICMPv6: the image has no list of their names. */
void firewall_text(const struct firewall *firewall, char *text)
{
	char ports[FIREWALL_PORTS * 8] = "";
	size_t length = 0;

	for (unsigned i = 0; i < firewall->count; i++)
		length += (size_t)snprintf(ports + length, sizeof ports - length, "%s%u",
					   i ? ", " : "", firewall->ports[i]);
	snprintf(text, FIREWALL_TEXT,
		 "table inet granary {}\n"
		 "delete table inet granary\n"
		 "table inet granary {\n"
		 "\tchain raw_in {\n"
		 "\t\ttype filter hook prerouting priority raw; policy accept;\n"
		 "\t\ttcp dport { %s } notrack\n"
		 "\t}\n"
		 "\tchain raw_out {\n"
		 "\t\ttype filter hook output priority raw; policy accept;\n"
		 "\t\ttcp sport { %s } notrack\n"
		 "\t}\n"
		 "\tchain input {\n"
		 "\t\ttype filter hook input priority filter; policy drop;\n"
		 "\t\ttcp dport { %s } accept\n"
		 "\t\tudp dport { %d, %d } accept\n"
		 "\t\tiif lo accept\n"
		 "\t\tct state { established, related } accept\n"
		 "\t\tmeta l4proto { 1, 58 } accept\n"
		 "\t\tudp dport { 68, 546 } accept\n"
		 "\t}\n"
		 "\tchain forward {\n"
		 "\t\ttype filter hook forward priority filter; policy drop;\n"
		 "\t}\n"
		 "}\n",
		 ports, ports, ports, RPC, NFS);
}
