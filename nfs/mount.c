/* SPDX-License-Identifier: Apache-2.0 */
/* mount.c: MOUNT versions 1 and 3 (RFC 1813 5; RFC 1094 appendix A). Version 1 lists; its 32-byte
 * handles are for NFSv2, which is not spoken, so its MNT refuses. */
#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "core/heap.h"
#include "core/log.h"
#include "nfs/internal.h"

#define PATH_MAX_WIRE 1024u
#define MOUNTS_MAX    256u

enum mount_status {
	MNT_OK = 0,
	MNT_PERM = 1,
	MNT_NOENT = 2,
	MNT_IO = 5,
	MNT_ACCES = 13,
	MNT_NOTDIR = 20,
	MNT_INVAL = 22,
	MNT_NAMETOOLONG = 63,
	MNT_SERVERFAULT = 10006
};

/* ---- the list of mounts: what clients said, for people only */

struct mount_entry {
	struct nfs_address address;
	char host[64], path[128];
};

struct nfs_mounts {
	pthread_mutex_t lock; /* loops share it; taken by MOUNT calls only */
	unsigned count, next;
	struct mount_entry entries[MOUNTS_MAX];
};

int nfs_mounts_create(struct nfs_mounts **ret_mounts)
{
	struct nfs_mounts *mounts = heap_zalloc(sizeof(*mounts));

	if (!mounts)
		return -ENOMEM;
	pthread_mutex_init(&mounts->lock, NULL);
	*ret_mounts = mounts;
	return 0;
}

void nfs_mounts_destroy(struct nfs_mounts *mounts)
{
	if (!mounts)
		return;
	pthread_mutex_destroy(&mounts->lock);
	heap_free(mounts);
}

static bool same_client(const struct mount_entry *entry, const struct nfs_conn *conn)
{
	return entry->address.family == conn->address.family &&
	       memcmp(entry->address.bytes, conn->address.bytes, sizeof(entry->address.bytes)) == 0;
}

/* @path NULL: all of this client's. */
static void forget_mounts(struct nfs_conn *conn, const char *path, uint32_t length)
{
	struct nfs_mounts *mounts = conn->server->mounts;

	pthread_mutex_lock(&mounts->lock);
	for (unsigned i = 0; i < mounts->count;) {
		struct mount_entry *entry = &mounts->entries[i];

		if (same_client(entry, conn) && (!path || (strlen(entry->path) == length &&
							   memcmp(entry->path, path, length) == 0)))
			*entry = mounts->entries[--mounts->count];
		else
			i++;
	}
	pthread_mutex_unlock(&mounts->lock);
}

static void note_mount(struct nfs_conn *conn, const char *path, uint32_t length)
{
	struct nfs_mounts *mounts = conn->server->mounts;
	struct mount_entry *entry;

	if (length >= sizeof(entry->path))
		return;
	forget_mounts(conn, path, length);
	pthread_mutex_lock(&mounts->lock);
	if (mounts->count < MOUNTS_MAX)
		entry = &mounts->entries[mounts->count++];
	else
		entry = &mounts->entries[mounts->next++ % MOUNTS_MAX];
	entry->address = conn->address;
	memcpy(entry->host, conn->peer_text, sizeof(entry->host));
	if (strrchr(entry->host, ':'))
		*strrchr(entry->host, ':') = '\0';
	memcpy(entry->path, path, length);
	entry->path[length] = '\0';
	pthread_mutex_unlock(&mounts->lock);
}

/* ---- MNT */

static void null(struct nfs_call *call)
{
	nfs_call_reply(call);
}

static enum mount_status status_of(int result)
{
	switch (result) {
	case 0:
		return MNT_OK;
	case -EPERM:
		return MNT_PERM;
	case -ENOENT:
		return MNT_NOENT;
	case -EACCES:
	case -ENOKEY: /* not over such a connection */
		return MNT_ACCES;
	case -ENOTDIR:
		return MNT_NOTDIR;
	case -EINVAL:
		return MNT_INVAL;
	case -ENAMETOOLONG:
		return MNT_NAMETOOLONG;
	case -EIO:
	case -EILSEQ:
		return MNT_IO;
	default:
		return MNT_SERVERFAULT;
	}
}

static const char *path_of(const struct nfs_call *call, uint32_t *ret_length)
{
	*ret_length = (uint32_t)call->argument[1];
	return (const char *)(uintptr_t)call->argument[0];
}

static void refuse(struct nfs_call *call, int result)
{
	uint32_t length;
	const char *path = path_of(call, &length);

	log_info("NFS client %s: mount of %.*s refused: %s", call->conn->peer_text, (int)length,
		 path, result == -ENOKEY ? "it asks for TLS" : strerror(-result));
	xdr_put_u32(&call->out, status_of(result));
	nfs_call_reply(call);
}

static void mounted(struct nfs_call *call)
{
	uint32_t length;
	const char *path = path_of(call, &length);
	struct handle handle;

	nfs_call_make_handle(call, &call->vfs.object, &handle);
	note_mount(call->conn, path, length);
	xdr_put_u32(&call->out, MNT_OK);
	xdr_put_opaque(&call->out, handle.bytes, handle.length);
	xdr_put_u32(&call->out, 1);
	xdr_put_u32(&call->out, RPC_AUTH_SYS);
	nfs_call_reply(call);
}

static void walk(struct nfs_call *call);

static void walked(struct nfs_call *call, int result)
{
	if (result < 0) {
		refuse(call, result);
		return;
	}
	if (call->vfs.result_attr.type != VFS_DIRECTORY) {
		refuse(call, -ENOTDIR);
		return;
	}
	call->vfs.object = call->vfs.result_object;
	walk(call);
}

/* The next component of the path; a mount may be of a folder inside a share. */
static void walk(struct nfs_call *call)
{
	uint32_t length, at = (uint32_t)call->argument[2], end;
	const char *path = path_of(call, &length);

	while (at < length && path[at] == '/')
		at++;
	end = at;
	while (end < length && path[end] != '/')
		end++;
	call->argument[2] = end;
	if (at == end) {
		mounted(call);
		return;
	}
	if (path[at] == '.' && (end - at == 1 || (end - at == 2 && path[at + 1] == '.'))) {
		refuse(call, -EINVAL);
		return;
	}
	call->vfs.op = VFS_LOOKUP;
	call->vfs.name = path + at;
	call->vfs.name_length = end - at;
	nfs_call_vfs(call, call->export->vfs, walked);
}

static void mnt(struct nfs_call *call)
{
	const struct nfs_export *export;
	uint32_t length, first = 1;
	const char *path = (const char *)xdr_get_opaque(&call->in, PATH_MAX_WIRE, &length);
	int result;

	if (call->in.bad) {
		nfs_call_garbage(call);
		return;
	}
	call->argument[0] = (uintptr_t)path;
	call->argument[1] = length;
	if (call->rpc.version == 1) {
		refuse(call, -EACCES);
		return;
	}
	while (first < length && path[first] != '/')
		first++;
	export = length ? nfs_table_by_path(call->table, path, first) : NULL;
	result = export ? nfs_call_enter(call, export, NFS_VERSION_3) : -ENOENT;
	if (result < 0) {
		refuse(call, result);
		return;
	}
	call->vfs.object = export->vfs->root;
	call->argument[2] = first;
	walk(call);
}

/* ---- the others */

static void dump(struct nfs_call *call)
{
	struct nfs_mounts *mounts = call->conn->server->mounts;

	pthread_mutex_lock(&mounts->lock);
	for (unsigned i = 0; i < mounts->count; i++) {
		xdr_put_bool(&call->out, true);
		xdr_put_string(&call->out, mounts->entries[i].host);
		xdr_put_string(&call->out, mounts->entries[i].path);
	}
	pthread_mutex_unlock(&mounts->lock);
	xdr_put_bool(&call->out, false);
	nfs_call_reply(call);
}

static void umnt(struct nfs_call *call)
{
	uint32_t length;
	const char *path = (const char *)xdr_get_opaque(&call->in, PATH_MAX_WIRE, &length);

	if (call->in.bad) {
		nfs_call_garbage(call);
		return;
	}
	forget_mounts(call->conn, path, length);
	nfs_call_reply(call);
}

static void umntall(struct nfs_call *call)
{
	forget_mounts(call->conn, NULL, 0);
	nfs_call_reply(call);
}

static void export_list(struct nfs_call *call)
{
	for (unsigned i = 0; i < call->table->count; i++) {
		const struct nfs_export *export = &call->table->exports[i];

		if (export->rule_count == 0)
			continue; /* nobody may mount it */
		xdr_put_bool(&call->out, true);
		xdr_put_string(&call->out, export->path);
		for (unsigned j = 0; j < export->rule_count; j++) {
			xdr_put_bool(&call->out, true);
			xdr_put_string(&call->out, export->rules[j].rule.client);
		}
		xdr_put_bool(&call->out, false);
	}
	xdr_put_bool(&call->out, false);
	nfs_call_reply(call);
}

static const struct nfs_procedure procedures[] = {
    {"NULL", null, NFS_DATAGRAM}, {"MNT", mnt, NFS_DATAGRAM},         {"DUMP", dump, 0},
    {"UMNT", umnt, NFS_DATAGRAM}, {"UMNTALL", umntall, NFS_DATAGRAM}, {"EXPORT", export_list, 0},
};
#define PROCEDURE_COUNT (sizeof(procedures) / sizeof(procedures[0]))

const struct nfs_program nfs_mount1 = {RPC_MOUNT,       1,       procedures,
				       PROCEDURE_COUNT, "mount", NFS_PORT_MOUNT};
const struct nfs_program nfs_mount3 = {RPC_MOUNT,       3,       procedures,
				       PROCEDURE_COUNT, "mount", NFS_PORT_MOUNT};
