/* SPDX-License-Identifier: Apache-2.0 */
/* The host helper's hands: files below /run, messages on the system bus, links that go. */
#include <dirent.h>
#include <errno.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <systemd/sd-bus.h>
#include <time.h>
#include <unistd.h>

#include "appliance/files.h"
#include "appliance/host.h"
#include "appliance/render.h"

#define RUN  "/run"
#define ZONE "/usr/share/zoneinfo/"

/* --- files ----------------------------------------------------------------------------------- */

static int write_file(void *context, const char *path, const char *text, struct err *err)
{
	char whole[256];

	(void)context;
	snprintf(whole, sizeof whole, RUN "/%s", path);
	return file_replace(whole, text, strlen(text), 0644, err);
}

static int write_files(const struct settings *settings, struct err *err)
{
	static const char folder[] = RUN "/" RENDER_NETWORK;
	const struct dirent *entry;
	DIR *list;

	mkdir(RUN "/systemd", 0755);
	mkdir(folder, 0755);
	list = opendir(folder);
	if (!list)
		return err_set(err, -errno, "%s: %s", folder, strerror(errno));
	while ((entry = readdir(list)) != NULL)
		if (strncmp(entry->d_name, RENDER_PREFIX, sizeof RENDER_PREFIX - 1) == 0)
			unlinkat(dirfd(list), entry->d_name, 0);
	closedir(list);
	return render(settings, write_file, NULL, err);
}

/* --- the bus --------------------------------------------------------------------------------- */

struct call {
	const char *service, *object, *interface, *method;
};
static const struct call reload_network = {"org.freedesktop.network1", "/org/freedesktop/network1",
					   "org.freedesktop.network1.Manager", "Reload"};
static const struct call restart_unit = {"org.freedesktop.systemd1", "/org/freedesktop/systemd1",
					 "org.freedesktop.systemd1.Manager", "RestartUnit"};
static const struct call start_unit = {"org.freedesktop.systemd1", "/org/freedesktop/systemd1",
				       "org.freedesktop.systemd1.Manager", "StartUnit"};
static const struct call set_zone = {"org.freedesktop.timedate1", "/org/freedesktop/timedate1",
				     "org.freedesktop.timedate1", "SetTimezone"};
static const struct call set_host_name = {"org.freedesktop.hostname1", "/org/freedesktop/hostname1",
					  "org.freedesktop.hostname1", "SetStaticHostname"};

/* @types: of the arguments behind it, "" for none. */
static int ask_bus(const struct call *call, struct err *err, const char *types, ...)
{
	sd_bus_error why = SD_BUS_ERROR_NULL;
	sd_bus_message *message = NULL;
	sd_bus *bus = NULL;
	va_list values;
	int result = sd_bus_open_system(&bus);

	if (result >= 0)
		result = sd_bus_message_new_method_call(bus, &message, call->service, call->object,
							call->interface, call->method);
	va_start(values, types);
	if (result >= 0 && *types)
		result = sd_bus_message_appendv(message, types, values);
	va_end(values);
	if (result >= 0)
		result = sd_bus_call(bus, message, 0, &why, NULL);
	if (result < 0)
		err_set(err, result, "%s: %s", call->method,
			why.message ? why.message : strerror(-result));
	sd_bus_error_free(&why);
	sd_bus_message_unref(message);
	sd_bus_flush_close_unref(bus);
	return result < 0 ? result : 0;
}

/* --- links ----------------------------------------------------------------------------------- */

static int drop_link(const char *name, struct err *err)
{
	struct {
		struct nlmsghdr head;
		struct ifinfomsg link;
	} request = {.head = {.nlmsg_len = sizeof request,
			      .nlmsg_type = RTM_DELLINK,
			      .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK},
		     .link = {.ifi_index = (int)if_nametoindex(name)}};
	struct {
		struct nlmsghdr head;
		struct nlmsgerr result;
		char more[512];
	} reply = {.result.error = -EIO};
	int fd = request.link.ifi_index ? socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE)
					: -1;

	if (!request.link.ifi_index)
		return 0; /* gone already */
	if (fd < 0 || send(fd, &request, sizeof request, 0) < 0 ||
	    recv(fd, &reply, sizeof reply, 0) < (ssize_t)sizeof reply.head)
		reply.result.error = -errno;
	if (fd >= 0)
		close(fd);
	if (reply.result.error && reply.result.error != -ENODEV)
		return err_set(err, reply.result.error, "link %s can not be removed: %s", name,
			       strerror(-reply.result.error));
	return 0;
}

static bool same_device(const struct link_settings *one, const struct link_settings *other)
{
	return strcmp(one->name, other->name) == 0 && one->kind == other->kind &&
	       one->vlan == other->vlan && one->mode == other->mode &&
	       strcmp(one->parent, other->parent) == 0 &&
	       memcmp(one->members, other->members, sizeof one->members) == 0;
}

/* What is made from another description has to be made anew: networkd changes neither a VLAN's
 * number nor a bond's mode under way. VLANs stand on bonds, so they go first. How many went. */
static int drop_old_links(const struct settings *before, const struct settings *now,
			  enum link_kind kind, struct err *err)
{
	int result = 0, dropped = 0;

	for (unsigned i = 0; result == 0 && i < before->link_count; i++) {
		const struct link_settings *link = &before->links[i];
		bool stays = false;

		for (unsigned j = 0; j < now->link_count; j++)
			stays |= same_device(link, &now->links[j]);
		if (link->kind != kind || stays)
			continue;
		result = drop_link(link->name, err);
		dropped++;
	}
	return result < 0 ? result : dropped;
}

/* A link that goes while networkd's memory still has it would be made again at once; and one that
 * is to be made anew is made when networkd has seen the old one go. */
static int change_network(const struct settings *before, const struct settings *now,
			  struct err *err)
{
	const struct timespec moment = {.tv_nsec = 500 * 1000000};
	int vlans, bonds, result = ask_bus(&reload_network, err, "");

	if (result < 0)
		return result;
	vlans = drop_old_links(before, now, LINK_VLAN, err);
	if (vlans < 0)
		return vlans;
	bonds = drop_old_links(before, now, LINK_BOND, err);
	if (bonds < 0 || vlans + bonds == 0)
		return bonds < 0 ? bonds : 0;
	nanosleep(&moment, NULL);
	return ask_bus(&reload_network, err, "");
}

/* --- the rest -------------------------------------------------------------------------------- */

static int check_zone(const char *zone, struct err *err)
{
	char path[sizeof ZONE + ZONE_TEXT];

	snprintf(path, sizeof path, ZONE "%s", zone);
	return access(path, R_OK) < 0 ? err_set(err, -EINVAL, "there is no time zone %s", zone) : 0;
}

static int change_time(const struct settings *settings, struct err *err)
{
	int result = ask_bus(&set_zone, err, "sb", settings->zone, 0);

	return result == 0 ? ask_bus(&restart_unit, err, "ss", "chrony.service", "replace")
			   : result;
}

static int change_name(const char *name, struct err *err)
{
	return ask_bus(&set_host_name, err, "sb", name, 0);
}

int host_firewall(const char *text, bool early, struct err *err)
{
	int result = file_replace(RUN "/granary/firewall.nft", text, strlen(text), 0644, err);

	if (result < 0 || early)
		return result;
	return ask_bus(&restart_unit, err, "ss", "granary-firewall.service", "replace");
}

static int restart(struct err *err)
{
	return ask_bus(&start_unit, err, "ss", "reboot.target", "replace-irreversibly");
}

static int power_off(struct err *err)
{
	return ask_bus(&start_unit, err, "ss", "poweroff.target", "replace-irreversibly");
}

/* Its unit is a oneshot: while it runs, starting it again would change nothing. */
static int update(struct err *err)
{
	return ask_bus(&start_unit, err, "ss", "granary-update.service", "replace");
}

/* A bond gives its members one address; the driver's own is kept beside. */
static void card_of(const char *port, char card[CARD_TEXT])
{
	static const char *const places[] = {"bonding_slave/perm_hwaddr", "address"};
	char path[96];

	card[0] = '\0';
	for (unsigned i = 0; i < sizeof places / sizeof *places && !card[0]; i++) {
		FILE *file;

		snprintf(path, sizeof path, "/sys/class/net/%s/%s", port, places[i]);
		file = fopen(path, "re");
		if (!file)
			continue;
		if (!fgets(card, CARD_TEXT, file))
			card[0] = '\0';
		fclose(file);
	}
}

const struct host_ops host_system = {
    .files = write_files,
    .network = change_network,
    .zone = check_zone,
    .time = change_time,
    .name = change_name,
    .restart = restart,
    .power_off = power_off,
    .update = update,
    .card = card_of,
};
