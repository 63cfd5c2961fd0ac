/* SPDX-License-Identifier: Apache-2.0 */
/* drc.c: replies to calls that must not be done twice, for clients that ask again over a new
 * connection (RFC 1813 4.6). In memory, bounded, the longest unused goes first. */
#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "core/crc32c.h"
#include "core/heap.h"
#include "nfs/internal.h"

#define ENTRIES    1024u
#define BUCKETS    1024u
#define REPLY_MAX  512u
#define SUMMED_MAX 256u

struct key {
	uint8_t address[16];
	uint32_t family, port, xid, program, version, procedure, sum, length; /* no padding */
};

struct nfs_drc_entry {
	struct list hash, age; /* age: not while running */
	struct key key;
	bool used, running;
	uint32_t length;
	uint8_t reply[REPLY_MAX];
};

struct nfs_drc {
	pthread_mutex_t lock; /* loops share it; a look-up and a copy of 512 bytes at most */
	struct list buckets[BUCKETS], ages;
	struct nfs_drc_entry entries[ENTRIES];
};

int nfs_drc_create(struct nfs_drc **ret_drc)
{
	struct nfs_drc *drc = heap_zalloc(sizeof(*drc));

	if (!drc)
		return -ENOMEM;
	pthread_mutex_init(&drc->lock, NULL);
	list_init(&drc->ages);
	for (unsigned i = 0; i < BUCKETS; i++)
		list_init(&drc->buckets[i]);
	for (unsigned i = 0; i < ENTRIES; i++) {
		list_init(&drc->entries[i].hash);
		list_push_back(&drc->ages, &drc->entries[i].age);
	}
	*ret_drc = drc;
	return 0;
}

void nfs_drc_destroy(struct nfs_drc *drc)
{
	if (!drc)
		return;
	pthread_mutex_destroy(&drc->lock);
	heap_free(drc);
}

/* The port is part of it: a client keeps its port over a reconnect, and another one behind the
 * same address has another. */
static void make_key(const struct nfs_call *call, struct key *key)
{
	size_t length = call->record_length < SUMMED_MAX ? call->record_length : SUMMED_MAX;

	memset(key, 0, sizeof(*key));
	key->family = (uint32_t)call->conn->address.family;
	key->port = call->conn->address.port;
	memcpy(key->address, call->conn->address.bytes, sizeof(key->address));
	key->xid = call->rpc.xid;
	key->program = call->rpc.program;
	key->version = call->rpc.version;
	key->procedure = call->rpc.procedure;
	key->sum = crc32c(0, call->record, length);
	key->length = (uint32_t)call->record_length;
}

/* The sum is of the record from its xid on, so it spreads whatever xids a client takes. */
static struct list *bucket_of(struct nfs_drc *drc, const struct key *key)
{
	return &drc->buckets[key->sum % BUCKETS];
}

static struct nfs_drc_entry *take_oldest(struct nfs_drc *drc, const struct key *key)
{
	struct list *oldest = list_pop_front(&drc->ages);
	struct nfs_drc_entry *entry;

	if (!oldest)
		return NULL;
	entry = list_entry(oldest, struct nfs_drc_entry, age);
	list_remove(&entry->hash);
	entry->key = *key;
	entry->used = entry->running = true;
	list_push_front(bucket_of(drc, key), &entry->hash);
	return entry;
}

static struct nfs_drc_entry *find(struct nfs_drc *drc, const struct key *key)
{
	list_for_each (it, bucket_of(drc, key)) {
		struct nfs_drc_entry *entry = list_entry(it, struct nfs_drc_entry, hash);

		if (entry->used && memcmp(&entry->key, key, sizeof(*key)) == 0)
			return entry;
	}
	return NULL;
}

enum nfs_drc_found nfs_drc_look(struct nfs_drc *drc, const struct nfs_call *call,
				struct xdr_out *out, struct nfs_drc_entry **ret_entry)
{
	enum nfs_drc_found found = NFS_DRC_NEW;
	struct nfs_drc_entry *entry;
	struct key key;

	make_key(call, &key);
	pthread_mutex_lock(&drc->lock);
	entry = find(drc, &key);
	if (!entry) {
		*ret_entry = take_oldest(drc, &key);
	} else if (entry->running) {
		found = NFS_DRC_RUNNING;
	} else {
		found = NFS_DRC_ANSWERED;
		xdr_put_fixed(out, entry->reply, entry->length);
		list_remove(&entry->age);
		list_push_back(&drc->ages, &entry->age);
	}
	pthread_mutex_unlock(&drc->lock);
	return found;
}

static void retire(struct nfs_drc *drc, struct nfs_drc_entry *entry, bool keep)
{
	entry->running = false;
	entry->used = keep;
	if (keep) {
		list_push_back(&drc->ages, &entry->age);
	} else {
		list_remove(&entry->hash);
		list_push_front(&drc->ages, &entry->age);
	}
}

void nfs_drc_answer(struct nfs_drc *drc, struct nfs_drc_entry *entry, const void *reply,
		    size_t length)
{
	pthread_mutex_lock(&drc->lock);
	if (length <= REPLY_MAX) {
		memcpy(entry->reply, reply, length);
		entry->length = (uint32_t)length;
	}
	retire(drc, entry, length <= REPLY_MAX);
	pthread_mutex_unlock(&drc->lock);
}

void nfs_drc_forget(struct nfs_drc *drc, struct nfs_drc_entry *entry)
{
	pthread_mutex_lock(&drc->lock);
	retire(drc, entry, false);
	pthread_mutex_unlock(&drc->lock);
}
