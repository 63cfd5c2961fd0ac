/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/heap.h"
#include "support/internal.h"

#define FACT_MAX (256u << 10) /* of one of these files */

/* What the kernel and the system say of themselves. Those that are not there are passed over. */
static const struct {
	const char *name, *path;
} facts[] = {
    {"machine/os-release", "/etc/os-release"},
    {"machine/granary-release", "/usr/share/granary/release"},
    {"machine/version", "/proc/version"},
    {"machine/cmdline", "/proc/cmdline"},
    {"machine/uptime", "/proc/uptime"},
    {"machine/loadavg", "/proc/loadavg"},
    {"machine/cpuinfo", "/proc/cpuinfo"},
    {"machine/meminfo", "/proc/meminfo"},
    {"machine/vmstat", "/proc/vmstat"},
    {"machine/pressure-cpu", "/proc/pressure/cpu"},
    {"machine/pressure-io", "/proc/pressure/io"},
    {"machine/pressure-memory", "/proc/pressure/memory"},
    {"machine/interrupts", "/proc/interrupts"},
    {"machine/modules", "/proc/modules"},
    {"machine/mounts", "/proc/self/mounts"},
    {"machine/partitions", "/proc/partitions"},
    {"machine/diskstats", "/proc/diskstats"},
    {"machine/net-dev", "/proc/net/dev"},
    {"machine/net-route", "/proc/net/route"},
    {"machine/net-if_inet6", "/proc/net/if_inet6"},
    {"machine/net-fib_trie", "/proc/net/fib_trie"},
    {"machine/net-sockstat", "/proc/net/sockstat"},
    {"machine/net-snmp", "/proc/net/snmp"},
    {"machine/resolv.conf", "/etc/resolv.conf"},
    {"process/status", "/proc/self/status"},
    {"process/limits", "/proc/self/limits"},
};

/* Files of /proc have no size: they are read until they end. */
static void add_file(struct support *support, const char *name, const char *path, char *room)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	size_t length = 0;
	ssize_t got = 1;

	if (fd < 0)
		return;
	while (got > 0 && length < FACT_MAX) {
		got = read(fd, room + length, FACT_MAX - length);
		if (got > 0)
			length += (size_t)got;
	}
	close(fd);
	if (length)
		support_add(support, name, SUPPORT_FACT, room, length);
}

void support_add_machine(struct support *support)
{
	char *room = heap_alloc(FACT_MAX);

	for (unsigned i = 0; room && i < sizeof facts / sizeof *facts; i++)
		add_file(support, facts[i].name, facts[i].path, room);
	heap_free(room);
}
