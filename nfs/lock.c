/* SPDX-License-Identifier: Apache-2.0 */
/* lock.c: byte-range locks and share reservations of all protocols, by file.
 *
 * Invariants, between calls:
 *  1. ranges of a file are ordered by their first byte;
 *  2. two ranges of one owner on a file neither overlap, nor touch when they are of one kind;
 *  3. two ranges of different owners that overlap are both shared;
 *  4. a file that has no range, reservation or waiter is not in the table. */
#include "nfs/lock.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "core/heap.h"

#define BUCKETS 1024u

struct lock_file {
	struct list hash;
	struct lock_key key;
	struct list ranges, shares, waiters;
};

struct held {
	struct list link;       /* the file's, by first */
	struct list owner_link; /* the owner's */
	struct lock_file *file;
	struct lock_owner *owner;
	struct lock_range range;
};

struct lock_table {
	pthread_mutex_t lock;
	unsigned ranges, files;
	struct list buckets[BUCKETS];
};

int lock_table_create(struct lock_table **ret_table)
{
	struct lock_table *table = heap_zalloc(sizeof(*table));

	if (!table)
		return -ENOMEM;
	pthread_mutex_init(&table->lock, NULL);
	for (unsigned i = 0; i < BUCKETS; i++)
		list_init(&table->buckets[i]);
	*ret_table = table;
	return 0;
}

void lock_table_destroy(struct lock_table *table)
{
	if (!table)
		return;
	pthread_mutex_destroy(&table->lock);
	heap_free(table);
}

void lock_owner_init(struct lock_owner *owner, uint64_t client, int32_t process, const void *name,
		     uint32_t length)
{
	*owner = (struct lock_owner){
	    .client = client, .process = process, .name = name, .name_length = length};
	list_init(&owner->ranges);
}

/* ---- files */

static struct list *bucket_of(struct lock_table *table, const struct lock_key *key)
{
	uint64_t hash = key->volume * 0x9e3779b97f4a7c15u;

	for (unsigned i = 0; i < key->object.length; i++)
		hash = (hash ^ key->object.bytes[i]) * 0x100000001b3u;
	return &table->buckets[(hash >> 24) % BUCKETS];
}

static struct lock_file *find_file(struct lock_table *table, const struct lock_key *key)
{
	list_for_each (it, bucket_of(table, key)) {
		struct lock_file *file = list_entry(it, struct lock_file, hash);

		if (file->key.volume == key->volume &&
		    vfs_object_equal(&file->key.object, &key->object))
			return file;
	}
	return NULL;
}

static struct lock_file *get_file(struct lock_table *table, const struct lock_key *key)
{
	struct lock_file *file = find_file(table, key);

	if (file || table->files >= LOCK_FILES_MAX)
		return file;
	file = heap_zalloc(sizeof(*file));
	if (!file)
		return NULL;
	file->key = *key;
	list_init(&file->ranges);
	list_init(&file->shares);
	list_init(&file->waiters);
	list_push_front(bucket_of(table, key), &file->hash);
	table->files++;
	return file;
}

static void put_file(struct lock_table *table, struct lock_file *file)
{
	if (!file || !list_empty(&file->ranges) || !list_empty(&file->shares) ||
	    !list_empty(&file->waiters))
		return;
	list_remove(&file->hash);
	table->files--;
	heap_free(file);
}

/* ---- ranges */

static struct held *held_of(struct list *link)
{
	return list_entry(link, struct held, link);
}

static bool overlap(const struct lock_range *a, const struct lock_range *b)
{
	return a->first <= b->last && b->first <= a->last;
}

static const struct held *in_the_way(const struct lock_file *file, const struct lock_owner *owner,
				     const struct lock_range *range)
{
	list_for_each (it, &file->ranges) {
		const struct held *held = held_of(it);

		if (held->range.first > range->last)
			break;
		if (held->owner != owner && overlap(&held->range, range) &&
		    (held->range.exclusive || range->exclusive))
			return held;
	}
	return NULL;
}

static void tell_conflict(const struct held *held, struct lock_conflict *conflict)
{
	const struct lock_owner *owner = held->owner;

	if (!conflict)
		return;
	conflict->range = held->range;
	conflict->client = owner->client;
	conflict->process = owner->process;
	conflict->name_length =
	    owner->name_length < LOCK_NAME_MAX ? owner->name_length : LOCK_NAME_MAX;
	memcpy(conflict->name, owner->name, conflict->name_length);
}

static void insert(struct lock_table *table, struct lock_file *file, struct lock_owner *owner,
		   struct held *held)
{
	struct list *before = file->ranges.prev;

	while (before != &file->ranges && held_of(before)->range.first > held->range.first)
		before = before->prev;
	held->file = file;
	held->owner = owner;
	list_insert_after(before, &held->link);
	list_push_back(&owner->ranges, &held->owner_link);
	table->ranges++;
}

static void drop_held(struct lock_table *table, struct held *held)
{
	list_remove(&held->link);
	list_remove(&held->owner_link);
	table->ranges--;
	heap_free(held);
}

/* Cut @first..@last out of what the owner has. *spare is taken when one becomes two. */
static void cut(struct lock_table *table, struct lock_file *file, struct lock_owner *owner,
		uint64_t first, uint64_t last, struct held **spare)
{
	list_for_each_safe (it, &file->ranges) {
		struct held *held = held_of(it);
		struct lock_range old = held->range;

		if (held->owner != owner || old.last < first || old.first > last)
			continue;
		if (old.first < first) {
			held->range.last = first - 1;
			if (old.last > last) {
				(*spare)->range =
				    (struct lock_range){last + 1, old.last, old.exclusive};
				insert(table, file, owner, *spare);
				*spare = NULL;
				return; /* nothing else of this owner is inside it */
			}
		} else if (old.last > last) {
			/* Its order among the others may change with its first byte. */
			list_remove(&held->link);
			list_remove(&held->owner_link);
			table->ranges--;
			held->range.first = last + 1;
			insert(table, file, owner, held);
		} else {
			drop_held(table, held);
		}
	}
}

/* The new lock swallows the owner's neighbours of its kind. */
static void widen(struct lock_table *table, struct lock_file *file, struct lock_owner *owner,
		  struct lock_range *range)
{
	list_for_each_safe (it, &file->ranges) {
		struct held *held = held_of(it);
		const struct lock_range *old = &held->range;
		bool before = range->first > 0 && old->last == range->first - 1;
		bool behind = range->last < LOCK_TO_END && old->first == range->last + 1;

		if (held->owner != owner || old->exclusive != range->exclusive ||
		    (!before && !behind))
			continue;
		if (before)
			range->first = old->first;
		else
			range->last = old->last;
		drop_held(table, held);
	}
}

/* Would cutting the range out make two of one? */
static bool splits(const struct lock_file *file, const struct lock_owner *owner, uint64_t first,
		   uint64_t last)
{
	list_for_each (it, &file->ranges) {
		const struct held *held = held_of(it);

		if (held->owner == owner && held->range.first < first && held->range.last > last)
			return true;
	}
	return false;
}

/* Under the mutex, nobody is in the way. All memory is there before anything changes. */
static int take(struct lock_table *table, struct lock_file *file, struct lock_owner *owner,
		const struct lock_range *range)
{
	bool split = splits(file, owner, range->first, range->last);
	struct held *fresh, *spare = NULL;

	if (table->ranges + 1 + split > LOCK_RANGES_MAX)
		return -ENOLCK;
	fresh = heap_zalloc(sizeof(*fresh));
	if (fresh && split)
		spare = heap_zalloc(sizeof(*spare));
	if (!fresh || (split && !spare)) {
		heap_free(fresh);
		return -ENOLCK;
	}
	fresh->range = *range;
	cut(table, file, owner, range->first, range->last, &spare);
	widen(table, file, owner, &fresh->range);
	insert(table, file, owner, fresh);
	return 0;
}

/* ---- waiters */

static void ask_waiters(struct lock_table *table, struct lock_file *file)
{
	list_for_each_safe (it, &file->waiters) {
		struct lock_waiter *waiter = list_entry(it, struct lock_waiter, link);

		if (in_the_way(file, waiter->owner, &waiter->range) ||
		    take(table, file, waiter->owner, &waiter->range) < 0)
			continue;
		list_remove(&waiter->link);
		waiter->file = NULL;
		waiter->granted(waiter);
	}
}

int lock_wait(struct lock_table *table, const struct lock_key *key, struct lock_waiter *waiter,
	      struct lock_conflict *ret_conflict)
{
	const struct held *other;
	struct lock_file *file;
	int result = -ENOLCK;

	pthread_mutex_lock(&table->lock);
	file = get_file(table, key);
	other = file ? in_the_way(file, waiter->owner, &waiter->range) : NULL;
	if (other) {
		tell_conflict(other, ret_conflict);
		waiter->file = file;
		list_push_back(&file->waiters, &waiter->link);
		result = -EAGAIN;
	} else if (file) {
		result = take(table, file, waiter->owner, &waiter->range);
		ask_waiters(table, file);
		put_file(table, file);
	}
	pthread_mutex_unlock(&table->lock);
	return result;
}

bool lock_wait_cancel(struct lock_table *table, struct lock_waiter *waiter)
{
	struct lock_file *file;

	pthread_mutex_lock(&table->lock);
	file = waiter->file;
	if (file) {
		list_remove(&waiter->link);
		waiter->file = NULL;
		put_file(table, file);
	}
	pthread_mutex_unlock(&table->lock);
	return file != NULL;
}

/* ---- taking, testing, giving back */

int lock_set(struct lock_table *table, const struct lock_key *key, struct lock_owner *owner,
	     const struct lock_range *range, struct lock_conflict *ret_conflict)
{
	const struct held *other;
	struct lock_file *file;
	int result = -ENOLCK;

	pthread_mutex_lock(&table->lock);
	file = get_file(table, key);
	other = file ? in_the_way(file, owner, range) : NULL;
	if (other) {
		tell_conflict(other, ret_conflict);
		result = -EAGAIN;
	} else if (file) {
		result = take(table, file, owner, range);
		ask_waiters(table, file); /* a lock made shared may let others in */
		put_file(table, file);
	}
	pthread_mutex_unlock(&table->lock);
	return result;
}

int lock_test(struct lock_table *table, const struct lock_key *key, const struct lock_owner *owner,
	      const struct lock_range *range, struct lock_conflict *ret_conflict)
{
	const struct held *other = NULL;
	struct lock_file *file;

	pthread_mutex_lock(&table->lock);
	file = find_file(table, key);
	if (file)
		other = in_the_way(file, owner, range);
	if (other)
		tell_conflict(other, ret_conflict);
	pthread_mutex_unlock(&table->lock);
	return other ? -EAGAIN : 0;
}

static int clear_locked(struct lock_table *table, struct lock_file *file, struct lock_owner *owner,
			uint64_t first, uint64_t last)
{
	struct held *spare = NULL;

	if (splits(file, owner, first, last)) {
		if (table->ranges < LOCK_RANGES_MAX)
			spare = heap_zalloc(sizeof(*spare));
		if (!spare)
			return -ENOLCK;
	}
	cut(table, file, owner, first, last, &spare);
	ask_waiters(table, file);
	put_file(table, file);
	return 0;
}

int lock_clear(struct lock_table *table, const struct lock_key *key, struct lock_owner *owner,
	       uint64_t first, uint64_t last)
{
	struct lock_file *file;
	int result = 0;

	pthread_mutex_lock(&table->lock);
	file = find_file(table, key);
	if (file)
		result = clear_locked(table, file, owner, first, last);
	pthread_mutex_unlock(&table->lock);
	return result;
}

static bool is_of(const struct held *held, const struct lock_key *key)
{
	return !key || (held->file->key.volume == key->volume &&
			vfs_object_equal(&held->file->key.object, &key->object));
}

static struct held *first_of(const struct lock_owner *owner, const struct lock_key *key)
{
	list_for_each (it, &owner->ranges) {
		struct held *held = list_entry(it, struct held, owner_link);

		if (is_of(held, key))
			return held;
	}
	return NULL;
}

void lock_owner_drop(struct lock_table *table, struct lock_owner *owner, const struct lock_key *key)
{
	struct held *held;

	pthread_mutex_lock(&table->lock);
	while ((held = first_of(owner, key))) {
		struct lock_file *file = held->file;

		clear_locked(table, file, owner, 0, LOCK_TO_END);
	}
	pthread_mutex_unlock(&table->lock);
}

static struct held *first_gone(const struct lock_owner *owner,
			       bool (*stays)(const void *context, uint64_t volume),
			       const void *context)
{
	list_for_each (it, &owner->ranges) {
		struct held *held = list_entry(it, struct held, owner_link);

		if (!stays(context, held->file->key.volume))
			return held;
	}
	return NULL;
}

void lock_owner_keep(struct lock_table *table, struct lock_owner *owner,
		     bool (*stays)(const void *context, uint64_t volume), const void *context)
{
	struct held *held;

	pthread_mutex_lock(&table->lock);
	while ((held = first_gone(owner, stays, context))) {
		struct lock_file *file = held->file;

		clear_locked(table, file, owner, 0, LOCK_TO_END);
	}
	pthread_mutex_unlock(&table->lock);
}

bool lock_owner_holds(struct lock_table *table, const struct lock_owner *owner,
		      const struct lock_key *key)
{
	bool holds;

	pthread_mutex_lock(&table->lock);
	holds = first_of(owner, key) != NULL;
	pthread_mutex_unlock(&table->lock);
	return holds;
}

unsigned lock_count(struct lock_table *table)
{
	unsigned count;

	pthread_mutex_lock(&table->lock);
	count = table->ranges;
	pthread_mutex_unlock(&table->lock);
	return count;
}

/* ---- share reservations */

static const struct lock_share *denied_by(const struct lock_file *file,
					  const struct lock_share *mine, uint32_t access,
					  uint32_t deny)
{
	list_for_each (it, &file->shares) {
		const struct lock_share *other = list_entry(it, struct lock_share, link);

		if (other != mine && ((other->deny & access) || (other->access & deny)))
			return other;
	}
	return NULL;
}

int lock_share_set(struct lock_table *table, const struct lock_key *key, struct lock_share *share,
		   uint32_t access, uint32_t deny, uint64_t *ret_client)
{
	const struct lock_share *other;
	struct lock_file *file;
	int result = 0;

	pthread_mutex_lock(&table->lock);
	file = share->file ? share->file : get_file(table, key);
	other = file ? denied_by(file, share, access, deny) : NULL;
	if (!file) {
		result = -ENOLCK;
	} else if (other) {
		*ret_client = other->client;
		result = -EAGAIN;
	} else {
		share->access = access;
		share->deny = deny;
		if (!share->file)
			list_push_back(&file->shares, &share->link);
		share->file = file;
	}
	put_file(table, file);
	pthread_mutex_unlock(&table->lock);
	return result;
}

int lock_share_test(struct lock_table *table, const struct lock_key *key,
		    const struct lock_share *mine, uint32_t access, uint32_t deny,
		    uint64_t *ret_client)
{
	const struct lock_share *other = NULL;
	struct lock_file *file;

	pthread_mutex_lock(&table->lock);
	file = find_file(table, key);
	if (file)
		other = denied_by(file, mine, access, deny);
	if (other)
		*ret_client = other->client;
	pthread_mutex_unlock(&table->lock);
	return other ? -EAGAIN : 0;
}

void lock_share_drop(struct lock_table *table, struct lock_share *share)
{
	struct lock_file *file = share->file;

	if (!file)
		return;
	pthread_mutex_lock(&table->lock);
	list_remove(&share->link);
	share->file = NULL;
	put_file(table, file);
	pthread_mutex_unlock(&table->lock);
}
