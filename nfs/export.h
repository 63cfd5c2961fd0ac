/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NFS_EXPORT_H
#define NFS_EXPORT_H

#include <sys/socket.h>

#include "nfs/nfs.h"
#include "nfs/tls.h"

/* The table of exports: immutable once made, shared by all loops, replaced as a whole. */

struct nfs_share_stats;

struct nfs_network {
	int family; /* AF_UNSPEC: "*" */
	uint8_t address[16];
	unsigned bits;
};

struct nfs_names;

/* A rule, and whom it is for: one network, the addresses of a host, which may be none, or whoever
 * proves a name by a certificate. */
struct nfs_client_rule {
	struct nfs_rule rule;
	const char *certificate; /* into rule.client; NULL: by address */
	unsigned network_count;
	struct nfs_network networks[NFS_NAME_ADDRESSES];
};

struct nfs_export {
	uint64_t id; /* handle_volume() */
	char path[NFS_PATH_MAX + 1];
	struct vfs *vfs;
	struct nfs_client_rule *rules;
	unsigned rule_count, versions;
	struct nfs_share_stats *stats; /* NULL: not counted; a reference, by nfs_stats_follow() */
	bool unsettled; /* the name of a host in a rule is being looked up for the first time */
};

struct nfs_table {
	uint32_t refs; /* atomic */
	uint64_t generation;
	/* The one that took its place, if any: it does not go before this one, so whoever waits for
	 * the end of a table waits for all that were before it. */
	struct nfs_table *next;
	/* When the last reference goes: told on @control, if somebody wants to know. Set before the
	 * owner lets go of its reference. */
	struct loop *control;
	void (*gone)(void *context);
	void *gone_context;
	struct message message;
	struct nfs_tls *tls; /* NULL: none is spoken */
	bool away;          /* a share is with another node: handles that nobody knows may be its */
	uint64_t *away_ids; /* of those that are away and known */
	unsigned away_count;
	unsigned count;
	struct nfs_export exports[]; /* by id */
};

/* @names: who knows the addresses of hosts; NULL: nobody. nfs_table_renew: the same shares as in
 * @old, with the addresses that hosts have now. Both without TLS: table->tls is the caller's to
 * set, a reference. */
int nfs_table_create(const struct nfs_share *shares, unsigned count, uint64_t generation,
		     const struct nfs_names *names, struct nfs_table **ret_table, struct err *err)
    __attribute__((warn_unused_result));
int nfs_table_renew(const struct nfs_table *old, uint64_t generation, const struct nfs_names *names,
		    struct nfs_table **ret_table, struct err *err)
    __attribute__((warn_unused_result));
struct nfs_table *nfs_table_ref(struct nfs_table *table);
void nfs_table_unref(struct nfs_table *table); /* NULL is fine; any thread */

const struct nfs_export *nfs_table_by_id(const struct nfs_table *table, uint64_t id);
/* May handles of @id, which is not in the table, be good another time? */
bool nfs_table_is_away(const struct nfs_table *table, uint64_t id);
const struct nfs_export *nfs_table_by_path(const struct nfs_table *table, const char *path,
					   size_t length);

/* An address as rules see it: IPv4-mapped IPv6 is IPv4. False: neither. */
struct nfs_address {
	int family;
	uint8_t bytes[16];
	uint16_t port;
};
bool nfs_address_from(const struct sockaddr *peer, struct nfs_address *ret_address);
/* Of a network or an address, "*"; not of a name. */
bool nfs_network_parse(const char *text, struct nfs_network *ret_network);
/* The addresses of a host as text. False: @client is no name of one. */
bool nfs_host_show(const struct nfs_names *names, const char *client, struct nfs_host *ret_host);
int nfs_rules_explain(const struct nfs_names *names, const struct nfs_rule *rules, unsigned count,
		      const char *client, int *ret_index, struct err *err)
    __attribute__((warn_unused_result));

/* The rule that decides, NULL: none lets @address in; @peer: who it is in TLS, may be NULL.
 * *ret_whole (may be NULL): it is for this very address or certificate, so no rule is closer. */
const struct nfs_rule *nfs_export_rule(const struct nfs_export *export,
				       const struct nfs_address *address,
				       const struct nfs_peer *peer, bool *ret_whole);
/* The NAME of "cert:NAME"; NULL: @client is none. */
const char *nfs_certificate_name(const char *client);

#endif
