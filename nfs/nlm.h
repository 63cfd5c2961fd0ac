/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NFS_NLM_H
#define NFS_NLM_H

#include <pthread.h>

#include "nfs/callout.h"
#include "nfs/internal.h"
#include "nfs/nfs4.h"

/* Locks of NFSv3, inside: NLM version 4 and NSM version 1 (X/Open XNFS; RFC 1813 6 for the wider
 * offsets).
 *
 *   nlm.c       hosts, their owners, waits and reservations; who is told what
 *   nlm_ops.c   procedures of NLM and NSM
 *
 * A host is an address. nlm->lock covers all of it and is taken before the mutexes of the lock
 * table and of the grace periods; what is called back (granted()) hands on to the first I/O loop,
 * where calls to hosts are made. */

#define NLM_HOSTS_MAX  512u
#define NLM_OWNERS_MAX 16384u
#define NLM_WAITS_MAX  1024u
#define NLM_NAME_MAX   1024u
#define NLM_COOKIE_MAX 1024u /* nlm4: netobj */

enum nlm_status {
	NLM4_GRANTED = 0,
	NLM4_DENIED = 1,
	NLM4_DENIED_NOLOCKS = 2,
	NLM4_BLOCKED = 3,
	NLM4_DENIED_GRACE_PERIOD = 4,
	NLM4_ROFS = 6,
	NLM4_STALE_FH = 7,
	NLM4_FBIG = 8,
	NLM4_FAILED = 9,
};

struct nlm_host {
	struct list link;
	struct nfs_address address, local;
	char text[64], local_text[64]; /* of the two addresses */
	char record[NFS_RECORD_NAME];
	uint32_t state; /* its NSM's, as LOCK brings it */
	struct list owners, shares;
};

struct nlm_owner {
	struct list link;
	struct nlm_host *host;
	struct lock_owner locks;
	unsigned waits;
	uint32_t length;
	uint8_t name[];
};

struct nlm_share {
	struct list link;
	struct lock_key key;
	struct nlm_owner *owner; /* pinned by waits */
	struct lock_share share;
};

/* Somebody who waits (waiter.file), has the lock, is told, and is gone. */
struct nlm_wait {
	struct list link;
	struct nlm *nlm;
	struct nlm_owner *owner;
	struct lock_key key;
	struct lock_waiter waiter;
	bool claimed; /* its host has heard of the lock in an answer to LOCK: what GRANTED is
		       * answered does not matter any more */
	unsigned attempts;
	bool pausing; /* the timer runs */
	struct message message;
	struct timer timer;
	struct callout callout;
	uint32_t caller_length, handle_length;
	uint8_t caller[256], handle[64];
};

/* One host that is to be told that we have started. */
struct nlm_notice {
	struct list link;
	struct nlm *nlm;
	unsigned attempts;
	struct timer timer;
	struct callout callout;
	char local_text[NFS_RECORD_NAME];
};

struct nlm {
	struct nfs_server *server;
	struct loop *home;
	pthread_mutex_t lock;
	struct list hosts, waits;
	unsigned host_count, owner_count, wait_count;
	uint64_t next_cookie;
	const struct nfs_table *table; /* the newest; the control loop holds it */
	/* home loop */
	struct list notices;
	unsigned callouts;
	bool stopping, said;
	void (*stopped)(struct nfs_server *server);
	struct message stop_message, stopped_message;
};

/* The arguments that all procedures on locks have (nlm4_lock). */
struct nlm_lock {
	const uint8_t *caller, *handle, *name; /* name: netobj oh */
	uint32_t caller_length, handle_length, name_length;
	int32_t process;
	struct lock_range range;
};

/* Under nlm->lock. @make: NULL only without memory or beyond the bounds. */
struct nlm_host *nlm_host_get(struct nlm *nlm, const struct nfs_conn *conn, bool make);
/* The record of a host, known or not. */
void nlm_record_name(struct nlm *nlm, const struct nfs_conn *conn, char name[NFS_RECORD_NAME]);
struct nlm_owner *nlm_owner_get(struct nlm *nlm, struct nlm_host *host, const struct nlm_lock *lock,
				bool make);
/* An owner with nothing goes, and a host without owners. */
void nlm_host_tidy(struct nlm *nlm, struct nlm_host *host);
void nlm_owner_tidy(struct nlm *nlm, struct nlm_owner *owner);
struct nlm_wait *nlm_wait_find(struct nlm *nlm, const struct nlm_owner *owner,
			       const struct lock_key *key, const struct lock_range *range);
/* nlm_wait_start: -EAGAIN: it waits; 0: the lock is there at once; -ENOLCK. */
int nlm_wait_start(struct nlm *nlm, struct nlm_owner *owner, const struct lock_key *key,
		   const struct nlm_lock *lock, struct lock_conflict *conflict);
/* False: it has been granted meanwhile. */
bool nlm_wait_cancel(struct nlm *nlm, struct nlm_wait *wait);
/* What a host has on shares that do not stay (@stays NULL: none does) goes: it has restarted, or
 * said so, or they are exported no more. With the last of it the host goes. */
void nlm_host_keep(struct nlm *nlm, struct nlm_host *host,
		   bool (*stays)(const void *context, uint64_t volume), const void *context);

#endif
