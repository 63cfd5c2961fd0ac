/* SPDX-License-Identifier: Apache-2.0 */
/* grace.c: records of clients on the shares, and grace periods.
 *
 *   LOADING --no records--> NORMAL
 *   LOADING --records--> GRACE --all heard of, or time is over--> ENDING --stale ones gone-->
 * NORMAL
 *
 * All requests to file systems are made on the first I/O loop, one at a time for each share. What
 * other loops see is behind the mutex. */
#include "nfs/grace.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "core/heap.h"
#include "core/log.h"
#include "nfs/internal.h"

#define TICK_NS    250000000ull
#define CLAIM_NS   2000000000ull /* grace goes on for this long behind a claim */
#define NAMES_ROOM (8u << 10)

enum phase { LOADING, GRACE, ENDING, NORMAL };

struct record {
	struct list link;
	/* Heard of; has claimed something (and may do so to the end of the grace period); to be
	 * removed. */
	bool done, claimed, going;
	char name[NFS_RECORD_NAME];
};

struct share {
	struct list link;
	struct nfs_grace *grace;
	struct nfs_table *table; /* a reference; home loop */
	struct vfs *vfs;         /* of that table */
	uint64_t volume;
	enum phase phase;
	uint64_t deadline;
	uint64_t claims, claims_seen, claimed_ns; /* their number; when the clock saw a new one */
	struct list records;
	unsigned count, going; /* going: those of them that are to be removed */
	/* home loop */
	bool busy, unexported;
	struct vfs_request request;
	uint8_t *names;
	uint64_t cookie;
	char removing[NFS_RECORD_NAME];
};

struct nfs_grace {
	struct nfs_server *server;
	struct loop *home;
	uint64_t grace_ns;
	pthread_mutex_t lock;
	struct list shares; /* changed on the home loop, under the mutex */
	bool kicked;
	struct message kick;
	struct timer timer;
	bool timer_ready;
};

static const struct vfs_credentials superuser;

int nfs_grace_create(struct nfs_server *server, unsigned grace_seconds,
		     struct nfs_grace **ret_grace)
{
	struct nfs_grace *grace = heap_zalloc(sizeof(*grace));

	if (!grace)
		return -ENOMEM;
	pthread_mutex_init(&grace->lock, NULL);
	list_init(&grace->shares);
	grace->server = server;
	grace->home = server->options.io_loops[0];
	grace->grace_ns = grace_seconds * 1000000000ull;
	*ret_grace = grace;
	return 0;
}

void nfs_grace_destroy(struct nfs_grace *grace)
{
	if (!grace)
		return;
	pthread_mutex_destroy(&grace->lock);
	heap_free(grace);
}

/* ---- names */

/* Two different 64-bit FNV-1a sums: names have to be short, not secret. A client that finds
 * another one's sum gets no more than leave to claim what is not locked. */
void nfs_record_name4(const void *owner, uint32_t length, char name[NFS_RECORD_NAME])
{
	const uint8_t *bytes = owner;
	uint64_t a = 0xcbf29ce484222325u, b = 0x6c62272e07bb0142u;

	for (uint32_t i = 0; i < length; i++) {
		a = (a ^ bytes[i]) * 0x100000001b3u;
		b = (b + bytes[i] + 1) * 0x9e3779b97f4a7c15u;
		b ^= b >> 29;
	}
	snprintf(name, NFS_RECORD_NAME, "%cnfs.4.%016llx%016llx", NFS_RECORD_MARK,
		 (unsigned long long)a, (unsigned long long)b);
}

void nfs_record_name3(const char *host, const char *local, char name[NFS_RECORD_NAME])
{
	snprintf(name, NFS_RECORD_NAME, "%cnfs.3.%s@%s", NFS_RECORD_MARK, host, local);
}

bool nfs_record_host(const char *name, char host[NFS_RECORD_NAME], char local[NFS_RECORD_NAME])
{
	const char *at = strchr(name, '@');

	if (strncmp(name + 1, "nfs.3.", 6) != 0 || !at || strlen(name) >= NFS_RECORD_NAME)
		return false;
	snprintf(host, NFS_RECORD_NAME, "%.*s", (int)(at - name - 7), name + 7);
	snprintf(local, NFS_RECORD_NAME, "%s", at + 1);
	return true;
}

/* ---- under the mutex */

static struct share *find(struct nfs_grace *grace, uint64_t volume)
{
	list_for_each (it, &grace->shares) {
		struct share *share = list_entry(it, struct share, link);

		if (share->volume == volume && !share->unexported)
			return share;
	}
	return NULL;
}

static struct record *find_record(const struct share *share, const char *name)
{
	list_for_each (it, &share->records) {
		struct record *record = list_entry(it, struct record, link);

		if (strcmp(record->name, name) == 0)
			return record;
	}
	return NULL;
}

static void drop_record(struct share *share, struct record *record)
{
	list_remove(&record->link);
	share->count--;
	share->going -= record->going;
	heap_free(record);
}

static void let_go(struct share *share, struct record *record)
{
	share->going += !record->going;
	record->going = true;
}

static struct record *add_record(struct share *share, const char *name)
{
	struct record *record;

	if (share->count >= NFS_RECORDS_MAX || !(record = heap_zalloc(sizeof(*record))))
		return NULL;
	snprintf(record->name, sizeof(record->name), "%s", name);
	list_push_back(&share->records, &record->link);
	share->count++;
	return record;
}

/* ---- the home loop */

static void work(struct share *share);
static void kick(struct nfs_grace *grace);

static void free_share(struct share *share)
{
	struct nfs_table *table = share->table;

	pthread_mutex_lock(&share->grace->lock);
	list_remove(&share->link);
	pthread_mutex_unlock(&share->grace->lock);
	while (!list_empty(&share->records))
		drop_record(share, list_entry(share->records.next, struct record, link));
	heap_free(share->names);
	heap_free(share);
	nfs_table_unref(table);
}

static void submit(struct share *share, enum vfs_op op,
		   void (*done)(struct vfs_request *request, int result))
{
	share->busy = true;
	share->request.op = op;
	share->request.object = share->vfs->root;
	share->request.credentials = &superuser;
	share->request.done = done;
	vfs_submit(share->vfs, &share->request);
}

/* Clients of this life that have said they claim nothing more: the share was only away. Records
 * change on this loop alone but for being added, which is at the end. */
static void mark_alive(struct share *share)
{
	list_for_each (it, &share->records) {
		struct record *record = list_entry(it, struct record, link);

		if (!nfs4_record_is_alive(share->grace->server, record->name))
			continue;
		pthread_mutex_lock(&share->grace->lock);
		record->done = true;
		pthread_mutex_unlock(&share->grace->lock);
	}
}

static void loaded(struct share *share, int result)
{
	struct nfs_grace *grace = share->grace;
	unsigned count;

	if (result < 0 && result != -EOPNOTSUPP)
		log_error("NFS: who had state on a share can not be read: %s", strerror(-result));
	heap_free(share->names);
	share->names = NULL;
	mark_alive(share);
	pthread_mutex_lock(&grace->lock);
	count = share->count;
	share->phase = count ? GRACE : NORMAL;
	share->deadline = loop_now(grace->home) + grace->grace_ns;
	pthread_mutex_unlock(&grace->lock);
	if (!count)
		return;
	log_notice("NFS: %u clients had state on a share: grace period of %u s at most, twice that "
		   "while they reclaim",
		   count, (unsigned)(grace->grace_ns / 1000000000u));
	list_for_each (it, &share->records)
		nlm_host_found(grace->server, list_entry(it, struct record, link)->name);
}

/* Behind a request. What else its done() does is the share's, too: one that is exported no more
 * goes later. */
static void go_on(struct share *share)
{
	struct nfs_grace *grace = share->grace;

	if (!share->unexported) {
		work(share);
		return;
	}
	pthread_mutex_lock(&grace->lock);
	kick(grace);
	pthread_mutex_unlock(&grace->lock);
}

static void listed(struct vfs_request *request, int result)
{
	struct share *share = container_of(request, struct share, request);
	const char *at = request->data, *end = at + (result < 0 ? 0 : request->data_length);

	share->busy = false;
	share->cookie = request->cookie;
	pthread_mutex_lock(&share->grace->lock);
	for (; at < end; at += strlen(at) + 1)
		if (*at == NFS_RECORD_MARK && strlen(at) < NFS_RECORD_NAME &&
		    !find_record(share, at))
			add_record(share, at);
	pthread_mutex_unlock(&share->grace->lock);
	if (result < 0 || request->eof)
		loaded(share, result);
	go_on(share);
}

static void removed(struct vfs_request *request, int result)
{
	struct share *share = container_of(request, struct share, request);
	struct record *record;

	share->busy = false;
	if (result < 0 && result != -ENODATA && result != -EROFS)
		log_error("NFS: a client's record can not be removed: %s", strerror(-result));
	pthread_mutex_lock(&share->grace->lock);
	record = find_record(share, share->removing);
	if (record)
		drop_record(share, record);
	pthread_mutex_unlock(&share->grace->lock);
	go_on(share);
}

static bool next_to_go(struct share *share)
{
	bool found = false;

	pthread_mutex_lock(&share->grace->lock);
	list_for_each (it, &share->records) {
		const struct record *record = list_entry(it, struct record, link);

		if (!record->going)
			continue;
		memcpy(share->removing, record->name, sizeof(share->removing));
		found = true;
		break;
	}
	if (!found && share->phase == ENDING)
		share->phase = NORMAL;
	pthread_mutex_unlock(&share->grace->lock);
	return found;
}

/* One step further. */
static void work(struct share *share)
{
	if (share->busy)
		return;
	if (share->unexported) {
		free_share(share);
		return;
	}
	memset(&share->request, 0, sizeof(share->request));
	if (share->phase == LOADING) {
		if (!share->names && !(share->names = heap_alloc(NAMES_ROOM))) {
			loaded(share, -ENOMEM);
			return;
		}
		share->request.data = share->names;
		share->request.data_room = NAMES_ROOM;
		share->request.cookie = share->cookie;
		submit(share, VFS_XATTR_LIST, listed);
	} else if (next_to_go(share)) {
		share->request.name = share->removing;
		share->request.name_length = (unsigned)strlen(share->removing);
		submit(share, VFS_XATTR_REMOVE, removed);
	}
}

/* Somebody is in the middle of it: what is not claimed yet is not lost, for one more grace period
 * (RFC 8881 8.4.2). */
static bool is_claiming(const struct share *share, uint64_t now)
{
	return share->claims && now - share->claimed_ns < CLAIM_NS &&
	       now < share->deadline + share->grace->grace_ns;
}

/* Is its grace over? Those who were not heard of have no claim any more. Who has claimed keeps the
 * record, for the next restart: v4.0 and NFSv3 have no way to say that they are through. */
static void look_at_clock(struct share *share, uint64_t now)
{
	bool all = true;

	if (share->phase != GRACE)
		return;
	if (share->claims != share->claims_seen)
		share->claimed_ns = now;
	share->claims_seen = share->claims;
	list_for_each (it, &share->records)
		if (!list_entry(it, struct record, link)->done)
			all = false;
	if (!all && (now < share->deadline || is_claiming(share, now)))
		return;
	log_notice("NFS: the grace period of a share is over%s", all ? ", all have reclaimed" : "");
	list_for_each (it, &share->records) {
		struct record *record = list_entry(it, struct record, link);

		if (!record->done && !record->claimed)
			let_go(share, record);
	}
	share->phase = ENDING;
}

static void tick(struct timer *timer)
{
	struct nfs_grace *grace = container_of(timer, struct nfs_grace, timer);
	bool again = false;

	pthread_mutex_lock(&grace->lock);
	list_for_each (it, &grace->shares)
		look_at_clock(list_entry(it, struct share, link), loop_now(grace->home));
	pthread_mutex_unlock(&grace->lock);
	list_for_each_safe (it, &grace->shares) {
		struct share *share = list_entry(it, struct share, link);

		again |= share->phase != NORMAL;
		work(share);
	}
	if (again && !list_empty(&grace->shares))
		timer_start(timer, TICK_NS);
}

static void kicked(struct message *message)
{
	struct nfs_grace *grace = container_of(message, struct nfs_grace, kick);

	pthread_mutex_lock(&grace->lock);
	grace->kicked = false;
	pthread_mutex_unlock(&grace->lock);
	tick(&grace->timer);
}

/* Under the mutex. */
static void kick(struct nfs_grace *grace)
{
	if (!grace->kicked)
		loop_post(grace->home, &grace->kick, kicked);
	grace->kicked = true;
}

/* ---- shares that come and go */

struct change {
	struct message message;
	struct nfs_grace *grace;
	struct nfs_table *table;
};

static void add_share(struct nfs_grace *grace, struct nfs_table *table,
		      const struct nfs_export *export)
{
	struct share *share = heap_zalloc(sizeof(*share));

	if (!share) {
		log_error("NFS: no memory for a share's clients");
		return;
	}
	share->grace = grace;
	share->volume = export->id;
	share->vfs = export->vfs;
	share->table = nfs_table_ref(table);
	list_init(&share->records);
	pthread_mutex_lock(&grace->lock);
	list_push_back(&grace->shares, &share->link);
	pthread_mutex_unlock(&grace->lock);
}

/* The same share in another table: what was exported before can go. */
static void move_share(struct share *share, struct nfs_table *table)
{
	struct nfs_table *before = share->table;

	share->table = nfs_table_ref(table);
	nfs_table_unref(before);
}

static void changed(struct message *message)
{
	struct change *change = container_of(message, struct change, message);
	struct nfs_grace *grace = change->grace;
	struct nfs_table *table = change->table;

	if (!grace->timer_ready)
		timer_init(&grace->timer, grace->home, tick);
	grace->timer_ready = true;
	list_for_each (it, &grace->shares) {
		struct share *share = list_entry(it, struct share, link);
		const struct nfs_export *export = nfs_table_by_id(table, share->volume);

		if (!share->unexported && export && export->vfs == share->vfs)
			move_share(share, table);
		else
			share->unexported = true;
	}
	for (unsigned i = 0; i < table->count; i++)
		if (!find(grace, table->exports[i].id))
			add_share(grace, table, &table->exports[i]);
	nfs_table_unref(table);
	heap_free(change);
	timer_stop(&grace->timer);
	tick(&grace->timer);
}

void nfs_grace_set_table(struct nfs_grace *grace, struct nfs_table *table)
{
	struct change *change = heap_zalloc(sizeof(*change));

	if (!change) {
		log_error("NFS: no memory to look for clients' records");
		return;
	}
	change->grace = grace;
	change->table = nfs_table_ref(table);
	loop_post(grace->home, &change->message, changed);
}

/* ---- what others ask */

bool nfs_grace_running(struct nfs_grace *grace, uint64_t volume)
{
	const struct share *share;
	bool running;

	pthread_mutex_lock(&grace->lock);
	share = find(grace, volume);
	running = !share || share->phase != NORMAL;
	pthread_mutex_unlock(&grace->lock);
	return running;
}

bool nfs_grace_may_reclaim(struct nfs_grace *grace, uint64_t volume, const char *name)
{
	struct share *share;
	struct record *record;
	bool may = false;

	pthread_mutex_lock(&grace->lock);
	share = find(grace, volume);
	if (share && share->phase == GRACE) {
		record = find_record(share, name);
		may = record && !record->going;
		if (may) {
			record->claimed = true;
			share->claims++;
		}
	}
	pthread_mutex_unlock(&grace->lock);
	return may;
}

void nfs_grace_complete(struct nfs_grace *grace, uint64_t volume, const char *name)
{
	pthread_mutex_lock(&grace->lock);
	list_for_each (it, &grace->shares) {
		struct share *share = list_entry(it, struct share, link);
		struct record *record = find_record(share, name);

		if (record && (!volume || share->volume == volume))
			record->done = true;
	}
	kick(grace);
	pthread_mutex_unlock(&grace->lock);
}

bool nfs_record_has(struct nfs_grace *grace, uint64_t volume, const char *name)
{
	const struct share *share;
	const struct record *record;
	bool has = false;

	pthread_mutex_lock(&grace->lock);
	share = find(grace, volume);
	record = share ? find_record(share, name) : NULL;
	has = record && !record->going;
	pthread_mutex_unlock(&grace->lock);
	return has;
}

void nfs_record_add(struct nfs_grace *grace, uint64_t volume, const char *name)
{
	struct share *share;
	struct record *record;

	pthread_mutex_lock(&grace->lock);
	share = find(grace, volume);
	if (share && !find_record(share, name)) {
		record = add_record(share, name);
		if (record)
			record->done = true;
	}
	pthread_mutex_unlock(&grace->lock);
}

void nfs_record_drop(struct nfs_grace *grace, const char *name)
{
	bool any = false;

	pthread_mutex_lock(&grace->lock);
	list_for_each (it, &grace->shares) {
		struct share *share = list_entry(it, struct share, link);
		struct record *record = find_record(share, name);

		if (!record)
			continue;
		let_go(share, record);
		any = true;
	}
	if (any)
		kick(grace);
	pthread_mutex_unlock(&grace->lock);
}

bool nfs_record_settled(struct nfs_grace *grace, uint64_t volume)
{
	const struct share *share;
	bool settled;

	pthread_mutex_lock(&grace->lock);
	share = find(grace, volume);
	settled = !share || share->going == 0;
	pthread_mutex_unlock(&grace->lock);
	return settled;
}

void nfs_record_store(struct nfs_call *call, const char *name, const void *value, uint32_t length,
		      void (*done)(struct nfs_call *call, int result))
{
	struct vfs_request *request = &call->vfs;

	memset(request, 0, sizeof(*request));
	request->op = VFS_XATTR_SET;
	request->object = call->export->vfs->root;
	request->name = name;
	request->name_length = (unsigned)strlen(name);
	request->data = (void *)(uintptr_t)value;
	request->data_length = length;
	request->xattr_how = VFS_XATTR_EITHER;
	nfs_call_vfs_as(call, call->export->vfs, &superuser, done);
}
