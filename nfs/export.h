/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NFS_EXPORT_H
#define NFS_EXPORT_H

#include <sys/socket.h>

#include "nfs/nfs.h"

/* The table of exports: immutable once made, shared by all loops, replaced as a whole. */

struct nfs_network {
	int family; /* AF_UNSPEC: "*" */
	uint8_t address[16];
	unsigned bits;
};

struct nfs_client_rule {
	struct nfs_rule rule;
	struct nfs_network network;
};

struct nfs_export {
	uint64_t id; /* handle_volume() */
	char path[NFS_PATH_MAX + 1];
	struct vfs *vfs;
	struct nfs_client_rule *rules;
	unsigned rule_count, versions;
};

struct nfs_table {
	uint32_t refs; /* atomic */
	uint64_t generation;
	/* When the last reference goes: told on @control, if somebody wants to know. Set before the
	 * owner lets go of its reference. */
	struct loop *control;
	void (*gone)(void *context);
	void *gone_context;
	struct message message;
	bool away; /* a share is with another node: handles that nobody knows may be its */
	unsigned count;
	struct nfs_export exports[]; /* by id */
};

int nfs_table_create(const struct nfs_share *shares, unsigned count, uint64_t generation,
		     struct nfs_table **ret_table, struct err *err)
    __attribute__((warn_unused_result));
struct nfs_table *nfs_table_ref(struct nfs_table *table);
void nfs_table_unref(struct nfs_table *table); /* NULL is fine; any thread */

const struct nfs_export *nfs_table_by_id(const struct nfs_table *table, uint64_t id);
const struct nfs_export *nfs_table_by_path(const struct nfs_table *table, const char *path,
					   size_t length);

/* An address as rules see it: IPv4-mapped IPv6 is IPv4. False: neither. */
struct nfs_address {
	int family;
	uint8_t bytes[16];
	uint16_t port;
};
bool nfs_address_from(const struct sockaddr *peer, struct nfs_address *ret_address);
bool nfs_network_parse(const char *text, struct nfs_network *ret_network);

/* The rule that decides, NULL: none lets @address in. */
const struct nfs_rule *nfs_export_rule(const struct nfs_export *export,
				       const struct nfs_address *address);

#endif
