/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/heap.h"
#include "iscsi/internal.h"

static const struct listener_handlers handlers;

int iscsi_portal_open(struct iscsi_server *server, const char *address, uint16_t port,
		      uint16_t group, uint16_t *ret_port, struct err *err)
{
	struct iscsi_portal *portal;
	int result;

	if (group < 1 || group > ISCSI_GROUP_MAX)
		return err_set(err, -EINVAL, "a portal group is a number from 1 to %d",
			       ISCSI_GROUP_MAX);
	if (server->portal_count == ISCSI_PORTALS_MAX)
		return err_set(err, -ENOSPC, "more than %u portals", ISCSI_PORTALS_MAX);
	portal = heap_zalloc(sizeof(*portal));
	if (!portal)
		return err_set(err, -ENOMEM, "no memory for a portal");
	portal->server = server;
	portal->group = group;
	snprintf(portal->address, sizeof(portal->address), "%s", address);
	result = listener_open(server->options.control, address, port, &handlers, portal,
			       &portal->listener, err);
	if (result < 0) {
		heap_free(portal);
		return result;
	}
	portal->port = listener_port(portal->listener);
	server->portals[server->portal_count++] = portal;
	server_add_group(server, group);
	isns_changed(server);
	if (ret_port)
		*ret_port = portal->port;
	return 0;
}

bool iscsi_portal_next(struct iscsi_server *server, unsigned index,
		       struct iscsi_portal_info *ret_info)
{
	if (index >= server->portal_count)
		return false;
	*ret_info = (struct iscsi_portal_info){
	    .address = server->portals[index]->address,
	    .port = server->portals[index]->port,
	    .group = server->portals[index]->group,
	};
	return true;
}

void portal_close_all(struct iscsi_server *server)
{
	for (unsigned i = 0; i < server->portal_count; i++) {
		listener_close(server->portals[i]->listener);
		heap_free(server->portals[i]);
	}
	server->portal_count = 0;
}

static void accepted(struct listener *listener, int fd, const struct sockaddr *peer,
		     socklen_t peer_length)
{
	struct iscsi_portal *portal = listener_context(listener);

	server_accepted(portal->server, portal->group, fd, peer, peer_length);
}

static const struct listener_handlers handlers = {.accepted = accepted};

static void address_text(const struct sockaddr *address, char *text, size_t room)
{
	const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)address;
	char plain[INET6_ADDRSTRLEN] = "";

	if (address->sa_family == AF_INET6) {
		inet_ntop(AF_INET6, &six->sin6_addr, plain, sizeof(plain));
		snprintf(text, room, "[%s]", plain);
	} else if (address->sa_family == AF_INET) {
		inet_ntop(AF_INET, &((const struct sockaddr_in *)address)->sin_addr, plain,
			  sizeof(plain));
		snprintf(text, room, "%s", plain);
	} else {
		snprintf(text, room, "local");
	}
}

void portal_text(const struct sockaddr *address, char *text, size_t room)
{
	char plain[56];

	address_text(address, plain, sizeof(plain));
	snprintf(text, room, "%s:%u", plain,
		 ntohs(((const struct sockaddr_in *)address)->sin_port));
}

static bool is_wildcard(const struct iscsi_portal *portal)
{
	return !strcmp(portal->address, "0.0.0.0") || !strcmp(portal->address, "::") ||
	       !strcmp(portal->address, "*");
}

void portal_mapped(const struct sockaddr *address, struct in6_addr *ret_address)
{
	const struct sockaddr_in *four = (const struct sockaddr_in *)address;

	if (address->sa_family == AF_INET6) {
		*ret_address = ((const struct sockaddr_in6 *)address)->sin6_addr;
		return;
	}
	memset(ret_address, 0, sizeof(*ret_address));
	memset(ret_address->s6_addr + 10, 0xff, 2);
	memcpy(ret_address->s6_addr + 12, &four->sin_addr, 4);
}

bool portal_address(const struct iscsi_portal *portal, const struct sockaddr *local,
		    struct in6_addr *ret_address)
{
	bool six = strchr(portal->address, ':');
	struct sockaddr_in four = {.sin_family = AF_INET};

	if (is_wildcard(portal)) {
		if (local->sa_family != (six ? AF_INET6 : AF_INET))
			return false;
		portal_mapped(local, ret_address);
		return true;
	}
	if (six)
		return inet_pton(AF_INET6, portal->address, ret_address) == 1;
	if (inet_pton(AF_INET, portal->address, &four.sin_addr) != 1)
		return false;
	portal_mapped((struct sockaddr *)&four, ret_address);
	return true;
}

/* A wildcard is no address to connect to: the one the asker came in on stands for it. */
void portal_list(const struct iscsi_server *server, const struct sockaddr *local,
		 struct text_writer *writer)
{
	char line[128], plain[64];

	for (unsigned i = 0; i < server->portal_count; i++) {
		const struct iscsi_portal *portal = server->portals[i];
		bool six = strchr(portal->address, ':');

		if (!is_wildcard(portal))
			snprintf(plain, sizeof(plain), six ? "[%.60s]" : "%.60s", portal->address);
		else if (local->sa_family == (six ? AF_INET6 : AF_INET))
			address_text(local, plain, sizeof(plain));
		else
			continue;
		snprintf(line, sizeof(line), "%s:%u,%u", plain, portal->port, portal->group);
		text_add(writer, "TargetAddress", line);
	}
}

/* ---- login redirection */

/* Where the port of HOST:PORT or [IPv6]:PORT begins; NULL: there is none, or nothing good. */
static const char *port_of(const char *address, bool *ret_good)
{
	const char *host_end = address[0] == '[' ? strchr(address, ']') : strchr(address, ':');
	const char *colon = host_end;

	if (address[0] == '[')
		colon = host_end && host_end[1] == ':' ? host_end + 1 : NULL;
	*ret_good = address[0] != '[' || (host_end && (host_end[1] == '\0' || colon));
	return colon ? colon + 1 : NULL;
}

static bool host_good(const char *address, struct in6_addr *ret_six)
{
	static const char name[] =
	    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-";
	char plain[INET6_ADDRSTRLEN] = "";
	size_t length = strcspn(address, address[0] == '[' ? "]" : ":");

	if (address[0] != '[')
		return length > 0 && strspn(address, name) == length;
	if (length > sizeof(plain))
		return false;
	memcpy(plain, address + 1, length - 1);
	return inet_pton(AF_INET6, plain, ret_six) == 1;
}

int iscsi_redirect_check(const char *address, char ret_address[ISCSI_REDIRECT_MAX + 1],
			 struct err *err)
{
	char plain[INET6_ADDRSTRLEN] = "";
	struct in6_addr six;
	bool good;
	const char *port = port_of(address, &good);
	size_t digits = port ? strspn(port, "0123456789") : 0;
	unsigned long number = port ? strtoul(port, NULL, 10) : 3260;

	if (strlen(address) + 6 > ISCSI_REDIRECT_MAX || !good || !host_good(address, &six) ||
	    (port && (digits == 0 || digits > 5 || port[digits])) || number == 0 || number > 65535)
		return err_set(err, -EINVAL,
			       "%.60s is no place to send a login to: HOST:PORT or [IPv6]:PORT",
			       address);
	/* Written as portal_text() does: who comes in through it is told apart by that. */
	if (address[0] == '[') {
		inet_ntop(AF_INET6, &six, plain, sizeof(plain));
		snprintf(ret_address, ISCSI_REDIRECT_MAX + 1, "[%s]:%lu", plain, number);
	} else {
		snprintf(ret_address, ISCSI_REDIRECT_MAX + 1, "%.*s:%lu",
			 (int)strcspn(address, ":"), address, number);
	}
	return 0;
}
