/* SPDX-License-Identifier: Apache-2.0 */
/* slow.c: requests that took longer than the limit that slow SCSI commands have too
 * (core/latency.h). On the way of a request a few words of its own call are written, by the clock
 * that its loop has read at its wake-up anyway; the rest is done for those that were slow. */
#include <arpa/inet.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "nfs/internal.h"
#include "nfs/nfs4.h"
#include "nfs/slow.h"
#include "nfs/stats.h"

static struct {
	pthread_mutex_t lock; /* over what follows; taken for slow requests only */
	uint64_t count;
	struct nfs_slow ring[NFS_SLOW_MAX];
} slow = {.lock = PTHREAD_MUTEX_INITIALIZER};

static const char *name_of(const struct nfs_call *call, unsigned version, uint8_t operation)
{
	const char *name = NULL;

	if (version != NFS_STATS_3 && call->compound.count == 0)
		return "NULL";
	if (operation != NFS_SLOW_UNKNOWN)
		name = nfs_stats_name(version, operation);
	return name ? name : "ILLEGAL";
}

/* The procedure, or what the COMPOUND had done when it ended. */
static void describe(const struct nfs_call *call, unsigned version, struct nfs_slow *entry)
{
	const struct nfs_slow_notes *notes = &call->slow;
	unsigned kept = notes->count < NFS_SLOW_OPERATIONS ? notes->count : NFS_SLOW_OPERATIONS;
	size_t length = 0;

	entry->operation = name_of(call, version, notes->longest);
	for (unsigned i = 0; i < kept && length < sizeof(entry->command); i++)
		length += (size_t)snprintf(entry->command + length, sizeof(entry->command) - length,
					   "%s%s", i ? " " : "",
					   name_of(call, version, notes->operations[i]));
	if (kept == 0)
		snprintf(entry->command, sizeof(entry->command), "%s", entry->operation);
	else if (notes->count > kept && length < sizeof(entry->command))
		snprintf(entry->command + length, sizeof(entry->command) - length, " ... (%u)",
			 notes->count);
}

static void keep(const struct nfs_call *call, unsigned version, uint64_t ns)
{
	const struct nfs_slow_notes *notes = &call->slow;
	struct nfs_slow made = {
	    .wall_ns = loop_wall(call->conn->io->loop),
	    .version = nfs_stats_version(version),
	    .bytes = notes->bytes,
	    .total_ns = ns,
	    .share_ns = notes->share_ns < ns ? notes->share_ns : ns,
	};

	inet_ntop(call->conn->address.family, call->conn->address.bytes, made.client,
		  sizeof(made.client));
	if (call->export)
		snprintf(made.path, sizeof(made.path), "%s", call->export->path);
	describe(call, version, &made);
	pthread_mutex_lock(&slow.lock);
	made.number = latency_slow_number();
	slow.ring[slow.count++ % NFS_SLOW_MAX] = made;
	pthread_mutex_unlock(&slow.lock);
}

void nfs_slow_operation(struct nfs_call *call, unsigned operation, uint64_t ns, uint32_t bytes)
{
	struct nfs_slow_notes *notes = &call->slow;
	uint8_t which = operation < NFS_SLOW_UNKNOWN ? (uint8_t)operation : NFS_SLOW_UNKNOWN;

	if (notes->count < NFS_SLOW_OPERATIONS)
		notes->operations[notes->count] = which;
	if (notes->count++ == 0 || ns > notes->longest_ns) {
		notes->longest = which;
		notes->longest_ns = ns;
	}
	notes->bytes += bytes;
}

void nfs_slow_ends(const struct nfs_call *call)
{
	uint64_t now = nfs_call_now(call), arrived = call->slow.arrived_ns;
	uint64_t ns = now > arrived ? now - arrived : 0, limit = latency_slow_limit();

	if (!limit || ns <= limit || call->rpc.program != RPC_NFS)
		return;
	keep(call, call->rpc.version == 3 ? NFS_STATS_3 : NFS_STATS_4 + call->compound.minor, ns);
}

unsigned nfs_slow_list(struct nfs_slow *list, unsigned max)
{
	unsigned count = 0;

	pthread_mutex_lock(&slow.lock);
	while (count < max && count < NFS_SLOW_MAX && count < slow.count) {
		list[count] = slow.ring[(slow.count - 1 - count) % NFS_SLOW_MAX];
		count++;
	}
	pthread_mutex_unlock(&slow.lock);
	return count;
}
