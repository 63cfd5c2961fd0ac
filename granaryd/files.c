/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "granaryd/granaryd.h"

/* Clients ask port 111 where MOUNT is. When somebody else has it, they have to be told the port
 * (mount -o port=,mountport=), and every program answers there. */
static void listen_portmap(struct nfs_server *nfs, const char *address)
{
	struct err err = {0};

	if (nfs_listen(nfs, address, NFS_PORTMAP_PORT, NFS_PORT_PORTMAP, NULL, &err) < 0)
		log_info("no portmapper on %s: %s", address, err.text);
}

static int listen_one(struct nfs_server *nfs, const char *address, const struct options *options,
		      uint16_t *port, struct err *err)
{
	bool apart = options->mount_port && options->mount_port != options->nfs_port;
	unsigned roles = NFS_PORT_NFS | (apart ? 0 : NFS_PORT_MOUNT);
	int result = nfs_listen(nfs, address, *port, roles, port, err);

	if (result == 0 && apart)
		result = nfs_listen(nfs, address, options->mount_port, NFS_PORT_MOUNT, NULL, err);
	return result;
}

int files_listen(struct nfs_server *nfs, const struct options *options,
		 const char *const *addresses, unsigned count, struct err *err)
{
	uint16_t port = options->nfs_port;

	for (unsigned i = 0; i < count; i++) {
		int result = listen_one(nfs, addresses[i], options, &port, err);

		if (result < 0) {
			nfs_unlisten(nfs);
			return result;
		}
	}
	for (unsigned i = 0; options->nfs_port && i < count; i++)
		listen_portmap(nfs, addresses[i]);
	return 0;
}
