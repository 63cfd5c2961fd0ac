/* SPDX-License-Identifier: Apache-2.0 */
/* nlm_ops.c: the procedures of NLM version 4 (X/Open XNFS 10; RFC 1813 6.1) and NSM version 1. The
 * asynchronous variants (..._MSG) are not there: clients of TCP use the others. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/heap.h"
#include "core/log.h"
#include "nfs/nfs4_deleg.h"
#include "nfs/nlm.h"

enum kind { TEST, LOCK, CANCEL, UNLOCK, SHARE };

struct nlm_args {
	const uint8_t *cookie;
	uint32_t cookie_length, state, mode, access;
	bool block, reclaim;
	struct nlm_lock lock;
};

static struct nlm *nlm_of(const struct nfs_call *call)
{
	return call->conn->server->nlm;
}

/* ---- arguments: decoded again in each step, from where they begin */

static void get_range(struct xdr_in *in, struct lock_range *range)
{
	uint64_t length;

	range->first = xdr_get_u64(in);
	length = xdr_get_u64(in);
	/* 0: to the end; what would pass it too. */
	range->last = length == 0 || length - 1 > UINT64_MAX - range->first
			  ? LOCK_TO_END
			  : range->first + length - 1;
}

static void get_lock(struct xdr_in *in, enum kind kind, struct nlm_lock *lock)
{
	lock->caller = xdr_get_opaque(in, NLM_NAME_MAX, &lock->caller_length);
	lock->handle = xdr_get_opaque(in, HANDLE_MAX + 8, &lock->handle_length);
	lock->name = xdr_get_opaque(in, LOCK_NAME_MAX, &lock->name_length);
	if (kind == SHARE)
		return;
	lock->process = (int32_t)xdr_get_u32(in);
	get_range(in, &lock->range);
}

static bool get_args(const struct nfs_call *call, enum kind kind, struct nlm_args *args)
{
	struct xdr_in in;

	*args = (struct nlm_args){0};
	xdr_in_init(&in, call->compound.bytes, call->compound.numbers[0]);
	args->cookie = xdr_get_opaque(&in, NLM_COOKIE_MAX, &args->cookie_length);
	if (kind == LOCK || kind == CANCEL)
		args->block = xdr_get_bool(&in);
	if (kind == LOCK || kind == CANCEL || kind == TEST)
		args->lock.range.exclusive = xdr_get_bool(&in);
	get_lock(&in, kind, &args->lock);
	if (kind == SHARE) {
		args->mode = xdr_get_u32(&in);
		args->access = xdr_get_u32(&in);
		if (args->mode > 3 || args->access > 3)
			in.bad = true;
	}
	if (kind == LOCK || kind == SHARE)
		args->reclaim = xdr_get_bool(&in);
	if (kind == LOCK)
		args->state = xdr_get_u32(&in);
	return !in.bad;
}

/* ---- answers */

static void answer(struct nfs_call *call, const struct nlm_args *args, enum nlm_status status)
{
	xdr_put_opaque(&call->out, args->cookie, args->cookie_length);
	xdr_put_u32(&call->out, status);
	nfs_call_reply(call);
}

static void answer_share(struct nfs_call *call, const struct nlm_args *args, enum nlm_status status)
{
	xdr_put_opaque(&call->out, args->cookie, args->cookie_length);
	xdr_put_u32(&call->out, status);
	xdr_put_u32(&call->out, 0); /* sequence */
	nfs_call_reply(call);
}

static void answer_test(struct nfs_call *call, const struct nlm_args *args,
			const struct lock_conflict *conflict)
{
	const struct lock_range *range = &conflict->range;

	xdr_put_opaque(&call->out, args->cookie, args->cookie_length);
	xdr_put_u32(&call->out, NLM4_DENIED);
	xdr_put_bool(&call->out, range->exclusive);
	xdr_put_u32(&call->out, (uint32_t)conflict->process);
	xdr_put_opaque(&call->out, conflict->name, conflict->name_length);
	xdr_put_u64(&call->out, range->first);
	xdr_put_u64(&call->out, range->last == LOCK_TO_END ? 0 : range->last - range->first + 1);
	nfs_call_reply(call);
}

/* Arguments and file handle. False: the call is answered. */
static bool begin(struct nfs_call *call, enum kind kind, struct nlm_args *args)
{
	struct nfs_handle_content content;
	enum nlm_status status;
	int result;

	call->compound.bytes = call->in.at;
	call->compound.numbers[0] = xdr_left(&call->in);
	if (!get_args(call, kind, args)) {
		nfs_call_garbage(call);
		return false;
	}
	result = nfs_call_handle(call, args->lock.handle, args->lock.handle_length, NFS_VERSION_3,
				 &content);
	if (result == 0 && content.kind == NFS_HANDLE_OBJECT) {
		call->saved_object = content.object;
		return true;
	}
	if (result == -ENOKEY) {
		nfs_call_too_weak(call);
		return false;
	}
	status = result == -ECANCELED                    ? NLM4_DENIED_GRACE_PERIOD
		 : result == -EACCES || result == -EPERM ? NLM4_DENIED_NOLOCKS
							 : NLM4_STALE_FH;
	if (kind == SHARE)
		answer_share(call, args, status);
	else
		answer(call, args, status);
	return false;
}

static struct lock_key key_of(const struct nfs_call *call)
{
	return (struct lock_key){.volume = call->export->id, .object = call->saved_object};
}

static bool in_grace(const struct nfs_call *call)
{
	return nfs_grace_running(call->conn->server->grace, call->export->id);
}

/* An expired client of NFSv4 goes when it is in the way. What it had is free when its record is
 * gone: until then others are told to come back, as in a grace period. */
static bool gives_way(const struct nfs_call *call, const struct lock_conflict *conflict)
{
	return nfs4_client_gives_way(call->conn->server, conflict->client, nfs_call_now(call));
}

/* ---- before a host gets its first lock on a share */

/* The file is there, and may be read or written by who asks (others could lock everybody out). */
static void check_file(struct nfs_call *call, void (*done)(struct nfs_call *call, int result))
{
	memset(&call->vfs, 0, sizeof(call->vfs));
	call->vfs.op = VFS_ACCESS;
	call->vfs.object = call->saved_object;
	call->vfs.rights = VFS_READ_DATA | VFS_WRITE_DATA;
	nfs_call_vfs(call, call->export->vfs, done);
}

static enum nlm_status may_use(const struct nfs_call *call, int result)
{
	if (result == -ESTALE)
		return NLM4_STALE_FH;
	if (result < 0 || call->vfs.after[0].type != VFS_REGULAR)
		return NLM4_FAILED;
	return call->vfs.rights || call->vfs.after[0].uid == call->credentials.uid
		   ? NLM4_GRANTED
		   : NLM4_DENIED_NOLOCKS;
}

/* The host's record on the share; NULL: no memory. */
static char *record_name(struct nfs_call *call)
{
	struct nlm *nlm = nlm_of(call);
	char *name = nfs_call_scratch(call, NFS_RECORD_NAME);

	if (!name)
		return NULL;
	pthread_mutex_lock(&nlm->lock);
	nlm_record_name(nlm, call->conn, name);
	pthread_mutex_unlock(&nlm->lock);
	return name;
}

static void recorded(struct nfs_call *call, int result)
{
	if (result < 0 && result != -EROFS)
		log_warning("NFS host %s: its locks can not be claimed after a restart: %s",
			    call->conn->peer_text, strerror(-result));
	nfs_record_add(call->conn->server->grace, call->export->id, call->scratch->data);
	call->record_done(call, 0);
}

static void record(struct nfs_call *call, void (*done)(struct nfs_call *call, int result))
{
	char *name = record_name(call);

	if (!name) {
		done(call, -ENOLCK);
	} else if (nfs_record_has(call->conn->server->grace, call->export->id, name)) {
		done(call, 0);
	} else {
		call->record_done = done;
		nfs_record_store(call, name, name + 1, (uint32_t)strlen(name + 1), recorded);
	}
}

/* New locks and claims each have their time; *ret_status when it is not now. */
static bool is_time(struct nfs_call *call, bool reclaim, enum nlm_status *ret_status)
{
	const char *name;

	*ret_status = NLM4_DENIED_GRACE_PERIOD;
	if (!reclaim)
		return !in_grace(call) &&
		       nfs_record_settled(call->conn->server->grace, call->export->id);
	name = record_name(call);
	if (!name)
		*ret_status = NLM4_DENIED_NOLOCKS;
	return name && nfs_grace_may_reclaim(call->conn->server->grace, call->export->id, name);
}

/* ---- LOCK */

static enum nlm_status status_of(int result, bool blocked)
{
	return result == 0              ? NLM4_GRANTED
	       : result == -ESTALE      ? NLM4_STALE_FH
	       : result == -EINPROGRESS ? NLM4_DENIED_GRACE_PERIOD
	       : result != -EAGAIN      ? NLM4_DENIED_NOLOCKS
	       : blocked                ? NLM4_BLOCKED
					: NLM4_DENIED;
}

/* A client of NFSv4 that has the file delegated may have locked it for itself: it is called back,
 * and who waits for that asks again, as in a grace period. Under nfs4->lock, and what follows too:
 * nobody is given a delegation in between. */
static bool is_delegated(struct nfs_call *call)
{
	struct lock_key key = key_of(call);

	return nfs4_delegation_in_way(nfs4_server_of(call), &key, 0, nfs_call_now(call));
}

/* A state of its NSM that is not the one we know: the host has restarted. */
static void note_state(struct nlm *nlm, const struct nfs_conn *conn, uint32_t state)
{
	struct nlm_host *host = nlm_host_get(nlm, conn, false);

	if (host && state && host->state && host->state != state) {
		log_info("NFS host %s has restarted: its locks are given back", host->text);
		nlm_host_keep(nlm, host, NULL, NULL);
	}
	host = nlm_host_get(nlm, conn, true);
	if (host && state)
		host->state = state;
}

/* There was no room for an owner. */
static void tidy(struct nlm *nlm, struct nlm_host *host)
{
	if (host)
		nlm_host_tidy(nlm, host);
}

/* A request on its way while its share was withdrawn leaves nothing behind. */
static bool is_withdrawn(const struct nlm *nlm, const struct lock_key *key)
{
	return nlm->table && !nfs_table_by_id(nlm->table, key->volume);
}

static int lock_once(struct nfs_call *call, const struct nlm_args *args,
		     struct lock_conflict *conflict)
{
	struct nlm *nlm = nlm_of(call);
	struct lock_key key = key_of(call);
	struct nlm_host *host = nlm_host_get(nlm, call->conn, true);
	struct nlm_owner *owner = host ? nlm_owner_get(nlm, host, &args->lock, true) : NULL;
	struct nlm_wait *wait;
	int result;

	if (!owner) {
		tidy(nlm, host);
		return -ENOLCK;
	}
	if (is_withdrawn(nlm, &key)) {
		nlm_owner_tidy(nlm, owner);
		return -ESTALE;
	}
	wait = nlm_wait_find(nlm, owner, &key, &args->lock.range);
	if (args->block && !wait)
		result = nlm_wait_start(nlm, owner, &key, &args->lock, conflict);
	else
		result =
		    lock_set(nlm->server->locks, &key, &owner->locks, &args->lock.range, conflict);
	if (wait && result == 0 && !nlm_wait_cancel(nlm, wait))
		wait->claimed = true;
	nlm_owner_tidy(nlm, owner);
	return result;
}

/* Against all others, those of NFSv4 too. */
static int lock_now(struct nfs_call *call, const struct nlm_args *args,
		    struct lock_conflict *conflict)
{
	struct nfs4_server *nfs4 = nfs4_server_of(call);
	struct nlm *nlm = nlm_of(call);
	int result = -EINPROGRESS;

	pthread_mutex_lock(&nfs4->lock);
	if (!args->lock.range.exclusive || !is_delegated(call)) {
		pthread_mutex_lock(&nlm->lock);
		note_state(nlm, call->conn, args->state);
		result = lock_once(call, args, conflict);
		pthread_mutex_unlock(&nlm->lock);
	}
	pthread_mutex_unlock(&nfs4->lock);
	return result;
}

static void lock_recorded(struct nfs_call *call, int result)
{
	struct lock_conflict conflict = {0};
	enum nlm_status status;
	struct nlm_args args;

	get_args(call, LOCK, &args);
	if (result == 0)
		result = lock_now(call, &args, &conflict);
	status = status_of(result, args.block);
	/* One that waits gets its lock when the client in its way goes. */
	if (result == -EAGAIN && gives_way(call, &conflict) && !args.block)
		status = NLM4_DENIED_GRACE_PERIOD;
	answer(call, &args, status);
}

static void lock_seen(struct nfs_call *call, int result)
{
	enum nlm_status status = may_use(call, result);
	struct nlm_args args;

	get_args(call, LOCK, &args);
	if (status != NLM4_GRANTED || !is_time(call, args.reclaim, &status))
		answer(call, &args, status);
	else
		record(call, lock_recorded);
}

static void lock(struct nfs_call *call)
{
	struct nlm_args args;

	if (begin(call, LOCK, &args))
		check_file(call, lock_seen);
}

static void nm_lock(struct nfs_call *call)
{
	lock(call); /* without monitoring, but the record does no harm */
}

/* ---- TEST, CANCEL, UNLOCK */

static struct nlm_owner *find_owner(struct nfs_call *call, const struct nlm_args *args)
{
	struct nlm_host *host = nlm_host_get(nlm_of(call), call->conn, false);

	return host ? nlm_owner_get(nlm_of(call), host, &args->lock, false) : NULL;
}

static int test_once(struct nfs_call *call, const struct nlm_args *args,
		     struct lock_conflict *conflict)
{
	struct nlm *nlm = nlm_of(call);
	struct lock_key key = key_of(call);
	const struct nlm_owner *owner;
	int result;

	pthread_mutex_lock(&nlm->lock);
	owner = find_owner(call, args);
	result = lock_test(nlm->server->locks, &key, owner ? &owner->locks : NULL,
			   &args->lock.range, conflict);
	pthread_mutex_unlock(&nlm->lock);
	return result;
}

static void test_seen(struct nfs_call *call, int result)
{
	enum nlm_status status = may_use(call, result);
	struct lock_conflict conflict;
	struct nlm_args args;

	get_args(call, TEST, &args);
	if (status == NLM4_GRANTED && in_grace(call))
		status = NLM4_DENIED_GRACE_PERIOD;
	if (status != NLM4_GRANTED) {
		answer(call, &args, status);
		return;
	}
	result = test_once(call, &args, &conflict);
	if (result < 0 && gives_way(call, &conflict))
		result = test_once(call, &args, &conflict);
	if (result < 0)
		answer_test(call, &args, &conflict);
	else
		answer(call, &args, NLM4_GRANTED);
}

static void test(struct nfs_call *call)
{
	struct nlm_args args;

	if (begin(call, TEST, &args))
		check_file(call, test_seen);
}

static void cancel(struct nfs_call *call)
{
	struct nlm *nlm = nlm_of(call);
	struct nlm_owner *owner;
	struct nlm_wait *wait = NULL;
	enum nlm_status status = NLM4_DENIED;
	struct lock_key key;
	struct nlm_args args;

	if (!begin(call, CANCEL, &args))
		return;
	key = key_of(call);
	pthread_mutex_lock(&nlm->lock);
	owner = find_owner(call, &args);
	if (owner)
		wait = nlm_wait_find(nlm, owner, &key, &args.lock.range);
	if (wait && nlm_wait_cancel(nlm, wait)) {
		status = NLM4_GRANTED;
		nlm_owner_tidy(nlm, owner);
	}
	pthread_mutex_unlock(&nlm->lock);
	answer(call, &args, status);
}

static void unlock(struct nfs_call *call)
{
	struct nlm *nlm = nlm_of(call);
	struct nlm_owner *owner;
	struct lock_key key;
	struct nlm_args args;
	int result = 0;

	if (!begin(call, UNLOCK, &args))
		return;
	key = key_of(call);
	pthread_mutex_lock(&nlm->lock);
	owner = find_owner(call, &args);
	if (owner) {
		result = lock_clear(nlm->server->locks, &key, &owner->locks, args.lock.range.first,
				    args.lock.range.last);
		nlm_owner_tidy(nlm, owner);
	}
	pthread_mutex_unlock(&nlm->lock);
	answer(call, &args, status_of(result, false));
}

/* ---- SHARE, UNSHARE */

static struct nlm_share *find_share(struct nlm_host *host, const struct nlm_owner *owner,
				    const struct lock_key *key)
{
	list_for_each (it, &host->shares) {
		struct nlm_share *share = list_entry(it, struct nlm_share, link);

		if (share->owner == owner && share->key.volume == key->volume &&
		    vfs_object_equal(&share->key.object, &key->object))
			return share;
	}
	return NULL;
}

static int share_once(struct nfs_call *call, const struct nlm_args *args, uint64_t *who)
{
	struct nlm *nlm = nlm_of(call);
	struct lock_key key = key_of(call);
	struct nlm_host *host = nlm_host_get(nlm, call->conn, true);
	struct nlm_owner *owner = host ? nlm_owner_get(nlm, host, &args->lock, true) : NULL;
	struct nlm_share *share = owner ? find_share(host, owner, &key) : NULL;
	int result = -ENOLCK;

	if (owner && is_withdrawn(nlm, &key)) {
		nlm_owner_tidy(nlm, owner);
		return -ESTALE;
	}
	if (owner && !share && (share = heap_zalloc(sizeof(*share)))) {
		share->owner = owner;
		share->key = key;
		owner->waits++;
		list_push_back(&host->shares, &share->link);
	}
	if (share)
		result = lock_share_set(nlm->server->locks, &key, &share->share, args->access,
					args->mode, who);
	if (share && !share->share.file) {
		list_remove(&share->link);
		owner->waits--;
		heap_free(share);
	}
	if (owner)
		nlm_owner_tidy(nlm, owner);
	else
		tidy(nlm, host);
	return result;
}

static int share_now(struct nfs_call *call, const struct nlm_args *args, uint64_t *who)
{
	struct nfs4_server *nfs4 = nfs4_server_of(call);
	bool conflicts = (args->mode & 1) || (args->access & 2);
	struct nlm *nlm = nlm_of(call);
	int result = -EINPROGRESS;

	pthread_mutex_lock(&nfs4->lock);
	if (!conflicts || !is_delegated(call)) {
		pthread_mutex_lock(&nlm->lock);
		result = share_once(call, args, who);
		pthread_mutex_unlock(&nlm->lock);
	}
	pthread_mutex_unlock(&nfs4->lock);
	return result;
}

static void share_recorded(struct nfs_call *call, int result)
{
	struct nlm_args args;
	struct lock_conflict conflict = {0};
	enum nlm_status status;

	get_args(call, SHARE, &args);
	if (result == 0)
		result = share_now(call, &args, &conflict.client);
	status = status_of(result, false);
	if (result == -EAGAIN && gives_way(call, &conflict))
		status = NLM4_DENIED_GRACE_PERIOD;
	answer_share(call, &args, status);
}

static void share_seen(struct nfs_call *call, int result)
{
	enum nlm_status status = may_use(call, result);
	struct nlm_args args;

	get_args(call, SHARE, &args);
	if (status != NLM4_GRANTED || !is_time(call, args.reclaim, &status))
		answer_share(call, &args, status);
	else
		record(call, share_recorded);
}

static void share_file(struct nfs_call *call)
{
	struct nlm_args args;

	if (begin(call, SHARE, &args))
		check_file(call, share_seen);
}

static void unshare_file(struct nfs_call *call)
{
	struct nlm *nlm = nlm_of(call);
	struct nlm_owner *owner;
	struct nlm_share *found;
	struct lock_key key;
	struct nlm_args args;

	if (!begin(call, SHARE, &args))
		return;
	key = key_of(call);
	pthread_mutex_lock(&nlm->lock);
	owner = find_owner(call, &args);
	found = owner ? find_share(owner->host, owner, &key) : NULL;
	if (found) {
		lock_share_drop(nlm->server->locks, &found->share);
		list_remove(&found->link);
		heap_free(found);
		owner->waits--;
		nlm_owner_tidy(nlm, owner);
	}
	pthread_mutex_unlock(&nlm->lock);
	answer_share(call, &args, NLM4_GRANTED);
}

/* ---- a host speaks for itself: its address is who it is, whatever name it gives */

/* From ports above 1023 any user of the host could say that it has restarted: what it has where
 * such ports are not let in stays. */
static bool is_secure(const void *context, uint64_t volume)
{
	const struct nfs_call *call = context;
	const struct nfs_export *export = nfs_table_by_id(call->table, volume);
	const struct nfs_rule *rule =
	    export ? nfs_export_rule(export, &call->conn->address, call->conn->peer_tls, NULL)
		   : NULL;

	return call->conn->address.port >= 1024 && !(rule && rule->insecure);
}

static void free_host(struct nfs_call *call)
{
	struct nlm *nlm = nlm_of(call);
	struct nlm_host *host;
	uint32_t length, state;

	xdr_get_opaque(&call->in, NLM_NAME_MAX, &length);
	state = xdr_get_u32(&call->in);
	if (call->in.bad) {
		nfs_call_garbage(call);
		return;
	}
	pthread_mutex_lock(&nlm->lock);
	host = nlm_host_get(nlm, call->conn, false);
	if (host && (!state || host->state != state))
		nlm_host_keep(nlm, host, is_secure, call);
	pthread_mutex_unlock(&nlm->lock);
	nfs_call_reply(call);
}

static void null(struct nfs_call *call)
{
	nfs_call_reply(call);
}

static const struct nfs_procedure nlm_procedures[] = {
    [0] = {"NULL", null, 0},
    [1] = {"TEST", test, 0},
    [2] = {"LOCK", lock, NFS_CACHE_REPLY},
    [3] = {"CANCEL", cancel, NFS_CACHE_REPLY},
    [4] = {"UNLOCK", unlock, NFS_CACHE_REPLY},
    [20] = {"SHARE", share_file, NFS_CACHE_REPLY},
    [21] = {"UNSHARE", unshare_file, NFS_CACHE_REPLY},
    [22] = {"NM_LOCK", nm_lock, NFS_CACHE_REPLY},
    [23] = {"FREE_ALL", free_host, 0},
};
static const struct nfs_procedure nsm_procedures[] = {
    [0] = {"NULL", null, 0},
    [6] = {"NOTIFY", free_host, 0},
};

const struct nfs_program nfs_nlm4 = {
    RPC_NLM,    4,           nlm_procedures, sizeof(nlm_procedures) / sizeof(nlm_procedures[0]),
    "nlockmgr", NFS_PORT_NFS};
const struct nfs_program nfs_nsm1 = {
    RPC_NSM,  1,           nsm_procedures, sizeof(nsm_procedures) / sizeof(nsm_procedures[0]),
    "status", NFS_PORT_NFS};
