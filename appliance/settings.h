/* SPDX-License-Identifier: Apache-2.0 */
#ifndef APPLIANCE_SETTINGS_H
#define APPLIANCE_SETTINGS_H

#include <jansson.h>
#include <stdbool.h>

#include "core/err.h"

/* What an administrator sets of the machine itself. Everything is text that was checked by
 * settings_parse(): a struct settings can be written into configuration files as it is. */
#define LINK_NAME      16 /* IFNAMSIZ */
#define ADDRESS_TEXT   50 /* an IPv6 address with its prefix length */
#define HOST_NAME_TEXT 65
#define SERVER_TEXT    254
#define ZONE_TEXT      64
#define LINKS_MAX      32
#define MEMBERS_MAX    8
#define ADDRESSES_MAX  8
#define SERVERS_MAX    4
#define MTU_LEAST      1280 /* IPv6 wants it */
#define MTU_MOST       9216

enum link_kind { LINK_ETHERNET, LINK_VLAN, LINK_BOND };
enum bond_mode { BOND_ACTIVE_BACKUP, BOND_LACP };
/* Off also means: no addresses of @addresses of that family. */
enum ipv4_method { IPV4_DHCP, IPV4_STATIC, IPV4_OFF };
enum ipv6_method { IPV6_AUTO, IPV6_STATIC, IPV6_OFF };

struct link_settings {
	char name[LINK_NAME];
	enum link_kind kind;
	char parent[LINK_NAME]; /* of a VLAN: another link of the list */
	unsigned vlan;          /* 1 .. 4094 */
	enum bond_mode mode;
	unsigned member_count; /* of a bond: ports that are not in the list themselves */
	char members[MEMBERS_MAX][LINK_NAME];
	unsigned mtu; /* 0: the driver's */
	enum ipv4_method ipv4;
	enum ipv6_method ipv6;
	unsigned address_count, gateway_count;
	char addresses[ADDRESSES_MAX][ADDRESS_TEXT]; /* "192.0.2.7/24" */
	char gateways[2][ADDRESS_TEXT];              /* one of a family */
};

struct settings {
	char name[HOST_NAME_TEXT];
	char zone[ZONE_TEXT];
	unsigned time_count, dns_count, link_count;
	char time[SERVERS_MAX][SERVER_TEXT]; /* none: Debian's pool */
	char dns[SERVERS_MAX][ADDRESS_TEXT];
	struct link_settings links[LINKS_MAX]; /* a port that is not here asks DHCP */
};

void settings_default(struct settings *settings);

/* settings_parse: a whole object, {"name", "timezone", "time_servers", "dns", "links"}; what is
 * left out stays as it is in @settings. Unknown members are refused. -EINVAL with a sentence, then
 * @settings is untouched. Context: any. */
int settings_parse(const json_t *object, struct settings *settings, struct err *err)
    __attribute__((warn_unused_result));
/* settings_show: the same object. NULL: out of memory. */
json_t *settings_show(const struct settings *settings);

/* settings_load, settings_save: the file @path; durable at 0. No file: -ENOENT. */
int settings_load(const char *path, struct settings *settings, struct err *err)
    __attribute__((warn_unused_result));
int settings_save(const char *path, const struct settings *settings, struct err *err)
    __attribute__((warn_unused_result));

#endif
