/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NFS_LOCK_H
#define NFS_LOCK_H

#include <stdbool.h>
#include <stdint.h>

#include "core/list.h"
#include "shares/vfs.h"

/* The one manager of byte-range locks and share reservations, for every protocol and version.
 * Ranges follow POSIX: an owner's own locks never conflict, a new lock replaces what the owner
 * had of its range, neighbours of one kind are one lock. Nothing waits in here but a struct
 * lock_waiter. Context: any thread; a mutex of its own is held for memory work only and is the
 * innermost one. */

struct lock_table;

#define LOCK_RANGES_MAX 65536u /* of all files and owners */
#define LOCK_FILES_MAX  16384u /* with a lock, a reservation or a waiter */
#define LOCK_NAME_MAX   1024u  /* bytes of an owner's name */
#define LOCK_TO_END     UINT64_MAX

/* Which file: the id of the share (handle_volume()) and the object. */
struct lock_key {
	uint64_t volume;
	struct vfs_object object;
};

/* Who holds locks: embedded in the protocol's own owner, whose address is its identity. It stays
 * until lock_owner_drop(). */
struct lock_owner {
	uint64_t client; /* as the protocol counts them; 0: NLM */
	int32_t process; /* NLM's svid */
	uint32_t name_length;
	const uint8_t *name; /* at most LOCK_NAME_MAX bytes */
	struct list ranges;  /* private */
};

/* Bytes @first to @last, both in; LOCK_TO_END: whatever comes. */
struct lock_range {
	uint64_t first, last;
	bool exclusive;
};

/* A copy of who is in the way. */
struct lock_conflict {
	struct lock_range range;
	uint64_t client;
	int32_t process;
	uint32_t name_length;
	uint8_t name[LOCK_NAME_MAX];
};

int lock_table_create(struct lock_table **ret_table);
void lock_table_destroy(struct lock_table *table); /* NULL is fine; nothing is locked any more */

void lock_owner_init(struct lock_owner *owner, uint64_t client, int32_t process, const void *name,
		     uint32_t length);
/* lock_set: 0; -EAGAIN: *ret_conflict; -ENOLCK: too many, nothing has changed.
 * lock_test: the same, but for taking it. */
int lock_set(struct lock_table *table, const struct lock_key *key, struct lock_owner *owner,
	     const struct lock_range *range, struct lock_conflict *ret_conflict);
int lock_test(struct lock_table *table, const struct lock_key *key, const struct lock_owner *owner,
	      const struct lock_range *range, struct lock_conflict *ret_conflict);
/* lock_clear: what @owner has of @first..@last. 0 also when that is nothing; -ENOLCK: one lock
 * would become two, and there are too many. */
int lock_clear(struct lock_table *table, const struct lock_key *key, struct lock_owner *owner,
	       uint64_t first, uint64_t last);
/* All of the owner's; on one file only with @key. */
void lock_owner_drop(struct lock_table *table, struct lock_owner *owner,
		     const struct lock_key *key);
/* lock_owner_keep: what it has on shares that do not stay goes. */
void lock_owner_keep(struct lock_table *table, struct lock_owner *owner,
		     bool (*stays)(const void *context, uint64_t volume), const void *context);
/* Does the owner hold a lock (on @key; NULL: on any file)? */
bool lock_owner_holds(struct lock_table *table, const struct lock_owner *owner,
		      const struct lock_key *key);
unsigned lock_count(struct lock_table *table);

/* A share reservation: embedded in what is open. Access and deny: 1 read, 2 write. */
struct lock_share {
	uint64_t client;
	uint32_t access, deny;
	struct list link; /* private */
	void *file;       /* private */
};
/* lock_share_set: from nothing, or to other modes. 0; -EAGAIN: *ret_client is in the way;
 * -ENOLCK. lock_share_test: would somebody else's reservation refuse @access and @deny? */
int lock_share_set(struct lock_table *table, const struct lock_key *key, struct lock_share *share,
		   uint32_t access, uint32_t deny, uint64_t *ret_client);
int lock_share_test(struct lock_table *table, const struct lock_key *key,
		    const struct lock_share *mine, uint32_t access, uint32_t deny,
		    uint64_t *ret_client);
void lock_share_drop(struct lock_table *table, struct lock_share *share);

/* One who waits for a range: granted() runs, with the lock taken for its owner, when what was in
 * the way has gone. It is called under the table's mutex: it hands the news on and returns.
 * Waiters are asked in the order they came. */
struct lock_waiter {
	struct lock_owner *owner;
	struct lock_range range;
	void (*granted)(struct lock_waiter *waiter);
	struct list link; /* private */
	void *file;       /* private; NULL: does not wait */
};
/* lock_wait: as lock_set, but with -EAGAIN @waiter stays behind. */
int lock_wait(struct lock_table *table, const struct lock_key *key, struct lock_waiter *waiter,
	      struct lock_conflict *ret_conflict);
/* False: it did not wait (any more). */
bool lock_wait_cancel(struct lock_table *table, struct lock_waiter *waiter);

#endif
