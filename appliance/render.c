/* SPDX-License-Identifier: Apache-2.0 */
#include "appliance/render.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define FILE_TEXT 8192 /* a link's worst: 32 VLANs, 8 addresses, 4 servers */

struct output {
	const struct settings *settings;
	int (*write)(void *context, const char *path, const char *text, struct err *err);
	void *context;
	struct err *err;
	char text[FILE_TEXT];
	size_t length;
};

static void line(struct output *output, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static void line(struct output *output, const char *format, ...)
{
	size_t room = sizeof output->text - output->length;
	va_list values;
	int length;

	va_start(values, format);
	length = vsnprintf(output->text + output->length, room, format, values);
	va_end(values);
	if (length > 0)
		output->length += (size_t)length < room ? (size_t)length : room - 1;
}

static int finish(struct output *output, const char *name, const char *suffix)
{
	char path[128];

	snprintf(path, sizeof path, "%s%s%s%s", suffix ? RENDER_NETWORK "/" RENDER_PREFIX : "",
		 name, suffix ? "." : "", suffix ? suffix : "");
	output->length = 0;
	return output->write(output->context, path, output->text, output->err);
}

static void put_servers(struct output *output)
{
	for (unsigned i = 0; i < output->settings->dns_count; i++)
		line(output, "DNS=%s\n", output->settings->dns[i]);
}

static void put_addresses(struct output *output, const struct link_settings *link)
{
	line(output, "[Network]\nDHCP=%s\nIPv6AcceptRA=%s\nLinkLocalAddressing=%s\n",
	     link->ipv4 == IPV4_DHCP ? "ipv4" : "no", link->ipv6 == IPV6_AUTO ? "yes" : "no",
	     link->ipv6 == IPV6_OFF ? "no" : "ipv6");
	line(output, "LLMNR=no\nMulticastDNS=no\n");
	for (unsigned i = 0; i < link->address_count; i++)
		line(output, "Address=%s\n", link->addresses[i]);
	for (unsigned i = 0; i < link->gateway_count; i++)
		line(output, "Gateway=%s\n", link->gateways[i]);
	put_servers(output);
}

/* Ports that nobody has described, when there is something to say about them: behind the others by
 * its name, and otherwise what 80-wired.network has. */
static int render_others(struct output *output)
{
	if (output->settings->dns_count == 0)
		return 0;
	line(output, "[Match]\nType=ether\nKind=!*\n");
	line(output, "[Network]\nDHCP=yes\nLinkLocalAddressing=ipv6\nLLMNR=no\nMulticastDNS=no\n");
	put_servers(output);
	line(output, "[DHCPv4]\nClientIdentifier=mac\nUseHostname=no\n");
	return finish(output, "~others", "network");
}

static int render_network(struct output *output, const struct link_settings *link)
{
	const struct settings *settings = output->settings;

	line(output, "[Match]\nName=%s\n", link->name);
	if (link->mtu)
		line(output, "[Link]\nMTUBytes=%u\n", link->mtu);
	put_addresses(output, link);
	for (unsigned i = 0; i < settings->link_count; i++)
		if (settings->links[i].kind == LINK_VLAN &&
		    strcmp(settings->links[i].parent, link->name) == 0)
			line(output, "VLAN=%s\n", settings->links[i].name);
	line(output, "[DHCPv4]\nClientIdentifier=mac\nUseHostname=no\n");
	return finish(output, link->name, "network");
}

static int render_device(struct output *output, const struct link_settings *link)
{
	if (link->kind == LINK_ETHERNET)
		return 0;
	line(output, "[NetDev]\nName=%s\nKind=%s\n", link->name,
	     link->kind == LINK_VLAN ? "vlan" : "bond");
	if (link->kind == LINK_VLAN)
		line(output, "[VLAN]\nId=%u\n", link->vlan);
	else if (link->mode == BOND_LACP)
		line(output, "[Bond]\nMode=802.3ad\nMIIMonitorSec=100ms\nLACPTransmitRate=fast\n"
			     "TransmitHashPolicy=layer3+4\n");
	else
		line(output, "[Bond]\nMode=active-backup\nMIIMonitorSec=100ms\n");
	return finish(output, link->name, "netdev");
}

static int render_members(struct output *output, const struct link_settings *link)
{
	int result = 0;

	for (unsigned i = 0; result == 0 && i < link->member_count; i++) {
		line(output, "[Match]\nName=%s\n", link->members[i]);
		if (link->mtu)
			line(output, "[Link]\nMTUBytes=%u\n", link->mtu);
		line(output, "[Network]\nBond=%s\nLinkLocalAddressing=no\n", link->name);
		result = finish(output, link->members[i], "network");
	}
	return result;
}

static int render_time(struct output *output)
{
	for (unsigned i = 0; i < output->settings->time_count; i++)
		line(output, "server %s iburst\n", output->settings->time[i]);
	if (output->settings->time_count == 0)
		line(output, "pool 2.debian.pool.ntp.org iburst\n");
	return finish(output, "granary/time.sources", NULL);
}

int render(const struct settings *settings,
	   int (*write)(void *context, const char *path, const char *text, struct err *err),
	   void *context, struct err *err)
{
	struct output output = {
	    .settings = settings, .write = write, .context = context, .err = err};
	int result = 0;

	for (unsigned i = 0; result == 0 && i < settings->link_count; i++) {
		result = render_device(&output, &settings->links[i]);
		if (result == 0)
			result = render_network(&output, &settings->links[i]);
		if (result == 0)
			result = render_members(&output, &settings->links[i]);
	}
	if (result == 0)
		result = render_others(&output);
	return result == 0 ? render_time(&output) : result;
}
