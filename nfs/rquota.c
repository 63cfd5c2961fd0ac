/* SPDX-License-Identifier: Apache-2.0 */
/* rquota.c: RQUOTA versions 1 and 2, as rpc.rquotad speaks them: what a user has of a share, and
 * may have. A limit here is hard; soft ones, and times to get below them, are not known. Limits are
 * set by the administrator alone: there is no SETQUOTA. */
#include <errno.h>
#include <string.h>

#include "nfs/internal.h"

#define PATH_MAX_WIRE 1024u
#define BLOCK_LEAST   4096u
#define TYPE_USER     0u

enum quota_status { QUOTA_OK = 1, QUOTA_NONE = 2, QUOTA_PERM = 3 };

static void null(struct nfs_call *call)
{
	nfs_call_reply(call);
}

static void answer(struct nfs_call *call, enum quota_status status)
{
	xdr_put_u32(&call->out, status);
	nfs_call_reply(call);
}

/* The numbers have 32 bits: blocks become larger until the largest one fits. */
static uint32_t block_of(const struct vfs_fsstat *stat)
{
	uint64_t largest = stat->user_limit_bytes > stat->user_used_bytes ? stat->user_limit_bytes
									  : stat->user_used_bytes;
	uint32_t block = BLOCK_LEAST;

	while (block < 1u << 30 && largest / block >= UINT32_MAX)
		block *= 2;
	return block;
}

static uint32_t in_blocks(uint64_t bytes, uint32_t block)
{
	uint64_t count = bytes / block + (bytes % block != 0);

	return count > UINT32_MAX ? UINT32_MAX : (uint32_t)count;
}

static uint32_t capped(uint64_t count)
{
	return count > UINT32_MAX ? UINT32_MAX : (uint32_t)count;
}

static void put_quota(struct nfs_call *call, const struct vfs_fsstat *stat)
{
	uint32_t block = block_of(stat);
	const uint32_t words[] = {
	    QUOTA_OK,
	    block,
	    1, /* it is enforced */
	    in_blocks(stat->user_limit_bytes, block),
	    in_blocks(stat->user_limit_bytes, block), /* soft: the same */
	    in_blocks(stat->user_used_bytes, block),
	    capped(stat->user_limit_files),
	    capped(stat->user_limit_files),
	    capped(stat->user_files),
	    0, /* times left over soft limits */
	    0,
	};

	for (unsigned i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		xdr_put_u32(&call->out, words[i]);
	nfs_call_reply(call);
}

static void looked(struct nfs_call *call, int result)
{
	const struct vfs_fsstat *stat = &call->vfs.fsstat;

	if (result < 0 || !stat->user_counted)
		answer(call, QUOTA_NONE);
	else
		put_quota(call, stat);
}

static const struct nfs_export *find(const struct nfs_table *table, const char *name, size_t length)
{
	for (unsigned i = 0; i < table->count; i++)
		if (strlen(table->exports[i].path + 1) == length &&
		    memcmp(table->exports[i].path + 1, name, length) == 0)
			return &table->exports[i];
	return NULL;
}

/* @path: of an export, or of a folder in one; of a mount of NFSv4 Linux's quota(1) takes the '/' in
 * front away. Everybody may ask for what is his own, root for all. */
static void look(struct nfs_call *call, const char *path, uint32_t length, uint32_t uid)
{
	const struct nfs_export *export;
	uint32_t first = length && path[0] == '/', last;

	last = first;
	while (last < length && path[last] != '/')
		last++;
	export = find(call->table, path + first, last - first);
	if (!export) {
		answer(call, QUOTA_NONE);
		return;
	}
	if (nfs_call_enter(call, export, NFS_VERSIONS_ALL) < 0 ||
	    (call->credentials.uid != 0 && call->credentials.uid != uid)) {
		answer(call, QUOTA_PERM);
		return;
	}
	call->credentials = (struct vfs_credentials){.uid = uid, .gid = RPC_NOBODY};
	call->vfs.op = VFS_FSSTAT;
	call->vfs.object = export->vfs->root;
	nfs_call_vfs(call, export->vfs, looked);
}

static void get1(struct nfs_call *call)
{
	uint32_t length, uid;
	const char *path = (const char *)xdr_get_opaque(&call->in, PATH_MAX_WIRE, &length);

	uid = xdr_get_u32(&call->in);
	if (call->in.bad)
		nfs_call_garbage(call);
	else
		look(call, path, length, uid);
}

static void get2(struct nfs_call *call)
{
	uint32_t length, type, id;
	const char *path = (const char *)xdr_get_opaque(&call->in, PATH_MAX_WIRE, &length);

	type = xdr_get_u32(&call->in);
	id = xdr_get_u32(&call->in);
	if (call->in.bad)
		nfs_call_garbage(call);
	else if (type != TYPE_USER)
		answer(call, QUOTA_NONE);
	else
		look(call, path, length, id);
}

static const struct nfs_procedure procedures1[] = {{"NULL", null, NFS_DATAGRAM},
						   {"GETQUOTA", get1, NFS_DATAGRAM},
						   {"GETACTIVEQUOTA", get1, NFS_DATAGRAM}};
static const struct nfs_procedure procedures2[] = {{"NULL", null, NFS_DATAGRAM},
						   {"GETQUOTA", get2, NFS_DATAGRAM},
						   {"GETACTIVEQUOTA", get2, NFS_DATAGRAM}};

const struct nfs_program nfs_rquota1 = {RPC_RQUOTA, 1, procedures1, 3, "rquotad", NFS_PORT_NFS};
const struct nfs_program nfs_rquota2 = {RPC_RQUOTA, 2, procedures2, 3, "rquotad", NFS_PORT_NFS};
