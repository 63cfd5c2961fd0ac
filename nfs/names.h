/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NFS_NAMES_H
#define NFS_NAMES_H

#include "core/loop.h"
#include "nfs/export.h"

/* Names of hosts in rules, and the addresses they have. A client is the host when its address is
 * one the name resolves to: what it says of itself, and what its address's owner says (reverse
 * DNS), is not asked. Resolving is done in a thread, one name after the other: when the rules are
 * set, and every minute. The resolver tells no times to live.
 *
 * The answer "there is no such name" holds at once. While there is no answer, the addresses of the
 * last one are good for ten minutes. */

#define NFS_NAMES_MAX       256u
#define NFS_NAME_REFRESH_NS (60ull * 1000000000)
#define NFS_NAME_KEEP_NS    (600ull * 1000000000)

struct nfs_names;

struct nfs_name {
	bool answered; /* once, whatever the answer was */
	unsigned count;
	struct nfs_network addresses[NFS_NAME_ADDRESSES];
	char trouble[128]; /* why there is none, or why they are old; "" */
};

struct nfs_names_options {
	struct loop *control;
	/* At least one of the names has other addresses now. False: it could not be seen to, and is
	 * told again after the next round. Context: control loop. */
	bool (*changed)(void *context);
	void *context;
	/* How a name is resolved: 0 or an EAI_ number. In a thread. NULL: getaddrinfo(). */
	int (*resolve)(const char *name, struct nfs_network *addresses, unsigned *ret_count);
	uint64_t refresh_ns, keep_ns; /* 0: NFS_NAME_REFRESH_NS, NFS_NAME_KEEP_NS */
};

/* Context of all: control loop. -ENOMEM. */
int nfs_names_create(const struct nfs_names_options *options, struct nfs_names **ret_names);
void nfs_names_destroy(struct nfs_names *names); /* NULL is fine; a resolver may still be at work */
/* nfs_names_want: those that the rules of @shares name are known beside those of before; -ENOSPC,
 * -ENOMEM. nfs_names_settle, when the rules are in force: no others are, and all are looked up. */
int nfs_names_want(struct nfs_names *names, const struct nfs_share *shares, unsigned count,
		   struct err *err) __attribute__((warn_unused_result));
void nfs_names_settle(struct nfs_names *names);
/* nfs_names_find: what is known of @text, until the next call of anything here; NULL: nothing, or
 * @names is NULL. */
const struct nfs_name *nfs_names_find(const struct nfs_names *names, const char *text);
/* A round of looking them up is under way. */
bool nfs_names_busy(const struct nfs_names *names);
/* nfs_name_valid: may @text be the name of a host (RFC 1123 2.1)? Something that looks like an
 * address, a pattern or a netgroup is none. Pure. */
bool nfs_name_valid(const char *text);

#endif
