/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <linux/capability.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "granaryd/granaryd.h"

/* What may still be asked of a daemon that runs as root: pool files and devices that belong to
 * others, memory pinned for I/O, portals on low ports, a certificate handed to the web front's
 * user, and service addresses that move with a replication group and are told to the neighbours.
 * Only with --directories-in: files of its directories by their handles. Everything else goes, also
 * from the bounding set, so that no later exec could bring it back (and none happens). */
#define KEPT                                                                                       \
	((1ull << CAP_DAC_OVERRIDE) | (1ull << CAP_IPC_LOCK) | (1ull << CAP_NET_BIND_SERVICE) |    \
	 (1ull << CAP_CHOWN) | (1ull << CAP_NET_ADMIN) | (1ull << CAP_NET_RAW))

static int limit_capabilities(uint64_t kept, struct err *err)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2];

	if (syscall(SYS_capget, &header, data) < 0)
		return err_set(err, -errno, "capget: %s", strerror(errno));
	for (int i = 0; i < 2; i++) {
		data[i].permitted &= (uint32_t)(kept >> (32 * i));
		data[i].effective = data[i].permitted;
		data[i].inheritable = 0;
	}
	for (int i = 0; i <= CAP_LAST_CAP; i++) {
		/* Fails without CAP_SETPCAP (not root) and for what this kernel does not know. */
		if (!(kept >> i & 1))
			prctl(PR_CAPBSET_DROP, i, 0, 0, 0);
	}
	if (syscall(SYS_capset, &header, data) < 0)
		return err_set(err, -errno, "capset: %s", strerror(errno));
	return 0;
}

int confine(bool by_handle, struct err *err)
{
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return err_set(err, -errno, "no_new_privs: %s", strerror(errno));
	return limit_capabilities(KEPT | (by_handle ? 1ull << CAP_DAC_READ_SEARCH : 0), err);
}
