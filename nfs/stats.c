/* SPDX-License-Identifier: Apache-2.0 */
/* stats.c: what clients ask for, and how long it takes. What is counted on the way of a request is
 * its loop's own, without a lock; the clock is the one the loop has read at its wake-up anyway.
 * Sums over loops are made by who asks, on the control loop, where connections and shares come and
 * go. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/heap.h"
#include "nfs/internal.h"
#include "nfs/nfs4.h"
#include "nfs/slow.h"
#include "nfs/stats.h"

#define VERSIONS   4u  /* 3, 4.0, 4.1, 4.2 */
#define OPERATIONS 76u /* of the version that has most */

struct operation_tally {
	struct latency latency;
	uint64_t errors;
};

struct nfs_loop_stats {
	struct operation_tally operation[VERSIONS][OPERATIONS];
};

/* A share as long as it is exported; its tallies are the loops' own, made when there is something
 * to count. */
struct nfs_share_stats {
	uint32_t refs; /* atomic: the list's, and one of each table that exports it */
	struct list link;
	char path[NFS_PATH_MAX + 1];
	unsigned loops;
	struct nfs_tally *of_loop[];
};

/* A client by its address, which has connections (conn->tally) or had some. */
struct nfs_client_stats {
	struct list link, conns;
	char address[INET6_ADDRSTRLEN];
	struct nfs_tally retired; /* of connections that went */
};

struct nfs_stats {
	struct list shares;
	struct list clients; /* who came or went last is last */
	unsigned client_count;
};

static const char *const versions[VERSIONS] = {"3", "4.0", "4.1", "4.2"};

static const char *const names4[OPERATIONS] = {
    [3] = "ACCESS",
    [4] = "CLOSE",
    [5] = "COMMIT",
    [6] = "CREATE",
    [7] = "DELEGPURGE",
    [8] = "DELEGRETURN",
    [9] = "GETATTR",
    [10] = "GETFH",
    [11] = "LINK",
    [12] = "LOCK",
    [13] = "LOCKT",
    [14] = "LOCKU",
    [15] = "LOOKUP",
    [16] = "LOOKUPP",
    [17] = "NVERIFY",
    [18] = "OPEN",
    [19] = "OPENATTR",
    [20] = "OPEN_CONFIRM",
    [21] = "OPEN_DOWNGRADE",
    [22] = "PUTFH",
    [23] = "PUTPUBFH",
    [24] = "PUTROOTFH",
    [25] = "READ",
    [26] = "READDIR",
    [27] = "READLINK",
    [28] = "REMOVE",
    [29] = "RENAME",
    [30] = "RENEW",
    [31] = "RESTOREFH",
    [32] = "SAVEFH",
    [33] = "SECINFO",
    [34] = "SETATTR",
    [35] = "SETCLIENTID",
    [36] = "SETCLIENTID_CONFIRM",
    [37] = "VERIFY",
    [38] = "WRITE",
    [39] = "RELEASE_LOCKOWNER",
    [40] = "BACKCHANNEL_CTL",
    [41] = "BIND_CONN_TO_SESSION",
    [42] = "EXCHANGE_ID",
    [43] = "CREATE_SESSION",
    [44] = "DESTROY_SESSION",
    [45] = "FREE_STATEID",
    [46] = "GET_DIR_DELEGATION",
    [47] = "GETDEVICEINFO",
    [48] = "GETDEVICELIST",
    [49] = "LAYOUTCOMMIT",
    [50] = "LAYOUTGET",
    [51] = "LAYOUTRETURN",
    [52] = "SECINFO_NO_NAME",
    [53] = "SEQUENCE",
    [54] = "SET_SSV",
    [55] = "TEST_STATEID",
    [56] = "WANT_DELEGATION",
    [57] = "DESTROY_CLIENTID",
    [58] = "RECLAIM_COMPLETE",
    [59] = "ALLOCATE",
    [60] = "COPY",
    [61] = "COPY_NOTIFY",
    [62] = "DEALLOCATE",
    [63] = "IO_ADVISE",
    [64] = "LAYOUTERROR",
    [65] = "LAYOUTSTATS",
    [66] = "OFFLOAD_CANCEL",
    [67] = "OFFLOAD_STATUS",
    [68] = "READ_PLUS",
    [69] = "SEEK",
    [70] = "WRITE_SAME",
    [71] = "CLONE",
    [72] = "GETXATTR",
    [73] = "SETXATTR",
    [74] = "LISTXATTRS",
    [75] = "REMOVEXATTR",
};

const char *nfs_stats_version(unsigned version)
{
	return version < VERSIONS ? versions[version] : "4";
}

const char *nfs_stats_name(unsigned version, unsigned operation)
{
	if (version > 0)
		return operation < OPERATIONS ? names4[operation] : NULL;
	return operation < nfs_nfs3.count ? nfs_nfs3.procedures[operation].name : NULL;
}

/* ---- on the way of a request: its loop */

#define NOT_COUNTED NFS_CLASSES /* for a share or a client: the frame of a compound */

static enum nfs_class class3(unsigned operation)
{
	switch (operation) {
	case 0:
		return NOT_COUNTED;
	case 6:
		return NFS_CLASS_READ;
	case 7:
		return NFS_CLASS_WRITE;
	case 21:
		return NFS_CLASS_COMMIT;
	default:
		return NFS_CLASS_OTHER;
	}
}

static enum nfs_class class4(unsigned operation)
{
	switch (operation) {
	case 25: /* READ */
	case 68: /* READ_PLUS */
		return NFS_CLASS_READ;
	case 38:
		return NFS_CLASS_WRITE;
	case 5:
		return NFS_CLASS_COMMIT;
	case 10: /* GETFH */
	case 22: /* PUTFH, PUTPUBFH, PUTROOTFH */
	case 23:
	case 24:
	case 31: /* RESTOREFH, SAVEFH */
	case 32:
	case 53: /* SEQUENCE */
		return NOT_COUNTED;
	default:
		return NFS_CLASS_OTHER;
	}
}

static void raise_tally(struct nfs_tally *tally, enum nfs_class class, unsigned bucket, uint64_t ns,
			uint32_t bytes)
{
	latency_count(&tally->latency[class], bucket, ns);
	if (class == NFS_CLASS_READ)
		latency_raise(&tally->read_bytes, bytes);
	else if (class == NFS_CLASS_WRITE)
		latency_raise(&tally->write_bytes, bytes);
}

/* This loop's; NULL: no memory, and it is not counted. */
static struct nfs_tally *tally_of(struct nfs_share_stats *share, unsigned loop)
{
	if (!share->of_loop[loop])
		__atomic_store_n(&share->of_loop[loop], heap_zalloc(sizeof(struct nfs_tally)),
				 __ATOMIC_RELEASE);
	return share->of_loop[loop];
}

void nfs_stats_end(struct nfs_call *call, enum nfs_stats_version version, unsigned operation,
		   const struct nfs_export *export, bool failed)
{
	struct nfs_conn *conn = call->conn;
	uint64_t now = loop_now(conn->io->loop), begun = call->begun_ns;
	uint64_t ns = now > begun ? now - begun : 0;
	unsigned bucket = latency_bucket(ns);
	struct operation_tally *tally;
	enum nfs_class class;
	uint32_t bytes = call->moved;

	call->moved = 0;
	nfs_slow_operation(call, operation, ns, bytes);
	if (operation >= OPERATIONS)
		return;
	class = version == NFS_STATS_3 ? class3(operation) : class4(operation);
	tally = &conn->io->stats->operation[version][operation];
	latency_count(&tally->latency, bucket, ns);
	if (failed)
		latency_raise(&tally->errors, 1);
	if (class == NOT_COUNTED)
		return;
	raise_tally(&conn->tally, class, bucket, ns, bytes);
	if (export && export->stats) {
		struct nfs_tally *own =
		    tally_of(export->stats, (unsigned)(conn->io - conn->server->loops));

		if (own)
			raise_tally(own, class, bucket, ns, bytes);
	}
}

/* ---- who comes and goes: control loop */

int nfs_stats_create(struct nfs_stats **ret_stats)
{
	struct nfs_stats *stats = heap_zalloc(sizeof(*stats));

	if (!stats)
		return -ENOMEM;
	list_init(&stats->shares);
	list_init(&stats->clients);
	*ret_stats = stats;
	return 0;
}

struct nfs_loop_stats *nfs_stats_of_loop(void)
{
	return heap_zalloc(sizeof(struct nfs_loop_stats));
}

void nfs_share_stats_unref(struct nfs_share_stats *share)
{
	if (!share || __atomic_fetch_sub(&share->refs, 1, __ATOMIC_ACQ_REL) != 1)
		return;
	for (unsigned i = 0; i < share->loops; i++)
		heap_free(share->of_loop[i]);
	heap_free(share);
}

static void forget_share(struct nfs_share_stats *share)
{
	list_remove(&share->link);
	nfs_share_stats_unref(share);
}

static void forget_client(struct nfs_stats *stats, struct nfs_client_stats *client)
{
	list_remove(&client->link);
	heap_free(client);
	stats->client_count--;
}

void nfs_stats_destroy(struct nfs_stats *stats)
{
	if (!stats)
		return;
	while (!list_empty(&stats->shares))
		forget_share(list_entry(stats->shares.next, struct nfs_share_stats, link));
	while (!list_empty(&stats->clients))
		forget_client(stats,
			      list_entry(stats->clients.next, struct nfs_client_stats, link));
	heap_free(stats);
}

static struct nfs_share_stats *find_share(const struct nfs_stats *stats, const char *path)
{
	list_for_each (it, &stats->shares) {
		struct nfs_share_stats *share = list_entry(it, struct nfs_share_stats, link);

		if (strcmp(share->path, path) == 0)
			return share;
	}
	return NULL;
}

/* NULL: no memory, and it is not counted. */
static struct nfs_share_stats *new_share(struct nfs_server *server, const char *path)
{
	unsigned loops = server->options.io_loop_count;
	struct nfs_share_stats *share =
	    heap_zalloc(sizeof(*share) + loops * sizeof(share->of_loop[0]));

	if (!share)
		return NULL;
	share->refs = 1;
	share->loops = loops;
	snprintf(share->path, sizeof(share->path), "%s", path);
	list_push_back(&server->stats->shares, &share->link);
	return share;
}

void nfs_stats_follow(struct nfs_server *server, struct nfs_table *table)
{
	for (unsigned i = 0; i < table->count; i++) {
		struct nfs_export *export = &table->exports[i];

		export->stats = find_share(server->stats, export->path);
		if (!export->stats)
			export->stats = new_share(server, export->path);
		if (export->stats)
			__atomic_fetch_add(&export->stats->refs, 1, __ATOMIC_RELAXED);
	}
	for (struct list *it = server->stats->shares.next, *next; it != &server->stats->shares;
	     it = next) {
		struct nfs_share_stats *share = list_entry(it, struct nfs_share_stats, link);

		next = it->next;
		if (!nfs_table_by_path(table, share->path, strlen(share->path)))
			forget_share(share);
	}
}

static struct nfs_client_stats *find_client(const struct nfs_stats *stats, const char *address)
{
	list_for_each (it, &stats->clients) {
		struct nfs_client_stats *client = list_entry(it, struct nfs_client_stats, link);

		if (strcmp(client->address, address) == 0)
			return client;
	}
	return NULL;
}

/* Room for one more: who has been away longest is forgotten. */
static bool make_room(struct nfs_stats *stats)
{
	if (stats->client_count < NFS_STATS_CLIENTS_MAX)
		return true;
	list_for_each (it, &stats->clients) {
		struct nfs_client_stats *client = list_entry(it, struct nfs_client_stats, link);

		if (!list_empty(&client->conns))
			continue;
		forget_client(stats, client);
		return true;
	}
	return false;
}

static struct nfs_client_stats *new_client(struct nfs_stats *stats, const char *address)
{
	struct nfs_client_stats *client = make_room(stats) ? heap_zalloc(sizeof(*client)) : NULL;

	if (!client)
		return NULL;
	snprintf(client->address, sizeof(client->address), "%s", address);
	list_init(&client->conns);
	list_init(&client->link);
	stats->client_count++;
	return client;
}

static void put_last(struct nfs_stats *stats, struct nfs_client_stats *client)
{
	list_remove(&client->link);
	list_push_back(&stats->clients, &client->link);
}

void nfs_stats_conn_comes(struct nfs_conn *conn)
{
	struct nfs_stats *stats = conn->server->stats;
	char address[INET6_ADDRSTRLEN] = "local";

	if (conn->address.family == AF_INET || conn->address.family == AF_INET6)
		inet_ntop(conn->address.family, conn->address.bytes, address, sizeof(address));
	conn->client_stats = find_client(stats, address);
	if (!conn->client_stats)
		conn->client_stats = new_client(stats, address);
	if (!conn->client_stats)
		return;
	list_push_back(&conn->client_stats->conns, &conn->client_link);
	put_last(stats, conn->client_stats);
}

static void add(const struct nfs_tally *from, struct nfs_tally *sum)
{
	for (unsigned i = 0; i < NFS_CLASSES; i++)
		latency_add(&from->latency[i], &sum->latency[i]);
	sum->read_bytes += __atomic_load_n(&from->read_bytes, __ATOMIC_RELAXED);
	sum->write_bytes += __atomic_load_n(&from->write_bytes, __ATOMIC_RELAXED);
}

void nfs_stats_conn_goes(struct nfs_conn *conn)
{
	struct nfs_client_stats *client = conn->client_stats;

	if (!client)
		return;
	add(&conn->tally, &client->retired);
	list_remove(&conn->client_link);
	put_last(conn->server->stats, client);
	conn->client_stats = NULL;
}

/* ---- who asks: control loop */

static void add_share(const struct nfs_share_stats *share, struct nfs_tally *sum)
{
	for (unsigned i = 0; i < share->loops; i++) {
		const struct nfs_tally *tally =
		    __atomic_load_n(&share->of_loop[i], __ATOMIC_ACQUIRE);

		if (tally)
			add(tally, sum);
	}
}

bool nfs_share_tally(const struct nfs_server *server, const char *path, struct nfs_tally *sum)
{
	const struct nfs_share_stats *share = find_share(server->stats, path);

	if (share)
		add_share(share, sum);
	return share != NULL;
}

void nfs_share_tallies(const struct nfs_server *server, nfs_tally_fn each, void *context)
{
	list_for_each (it, &server->stats->shares) {
		const struct nfs_share_stats *share = list_entry(it, struct nfs_share_stats, link);
		struct nfs_tally sum = {0};

		add_share(share, &sum);
		each(context, share->path, &sum);
	}
}

void nfs_client_tallies(const struct nfs_server *server, const char *address, nfs_tally_fn each,
			void *context)
{
	list_for_each (it, &server->stats->clients) {
		const struct nfs_client_stats *client =
		    list_entry(it, struct nfs_client_stats, link);
		struct nfs_tally sum = client->retired;

		if (address && strcmp(client->address, address) != 0)
			continue;
		list_for_each (other, &client->conns)
			add(&list_entry(other, struct nfs_conn, client_link)->tally, &sum);
		each(context, client->address, &sum);
	}
}

static bool sum_operation(const struct nfs_server *server, unsigned version, unsigned operation,
			  struct nfs_operation_info *ret_info)
{
	*ret_info = (struct nfs_operation_info){.version = versions[version],
						.name = nfs_stats_name(version, operation)};
	for (unsigned i = 0; i < server->options.io_loop_count; i++) {
		const struct operation_tally *tally =
		    &server->loops[i].stats->operation[version][operation];

		latency_add(&tally->latency, &ret_info->latency);
		ret_info->errors += __atomic_load_n(&tally->errors, __ATOMIC_RELAXED);
	}
	return ret_info->name && latency_total(&ret_info->latency) > 0;
}

void nfs_operation_tallies(const struct nfs_server *server,
			   void (*each)(void *context, const struct nfs_operation_info *info),
			   void *context)
{
	for (unsigned version = 0; version < VERSIONS; version++) {
		for (unsigned operation = 0; operation < OPERATIONS; operation++) {
			struct nfs_operation_info info;

			if (sum_operation(server, version, operation, &info))
				each(context, &info);
		}
	}
}
