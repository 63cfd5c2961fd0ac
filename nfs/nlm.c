/* SPDX-License-Identifier: Apache-2.0 */
/* nlm.c: hosts of NFSv3 and what they have locked; telling them that a lock is theirs now, and that
 * this server has started and they have to claim what they had. */
#include "nfs/nlm.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/heap.h"
#include "core/log.h"

#define TELL_AGAIN_NS (5ull * 1000000000)
#define TELL_ATTEMPTS 5u
#define SETTLE_NS     (20ull * 1000000)
#define NLM_GRANTED   5u /* procedure */
#define NSM_NOTIFY    6u

static void tell_granted(struct message *message);

int nlm_create(struct nfs_server *server, struct nlm **ret_nlm)
{
	struct nlm *nlm = heap_zalloc(sizeof(*nlm));

	if (!nlm)
		return -ENOMEM;
	pthread_mutex_init(&nlm->lock, NULL);
	list_init(&nlm->hosts);
	list_init(&nlm->waits);
	list_init(&nlm->notices);
	nlm->server = server;
	nlm->home = server->options.io_loops[0];
	*ret_nlm = nlm;
	return 0;
}

/* ---- hosts and owners */

static void address_text(const struct nfs_address *address, char text[64])
{
	text[0] = '\0';
	inet_ntop(address->family, address->bytes, text, 64);
}

static bool same_address(const struct nfs_address *a, const struct nfs_address *b)
{
	return a->family == b->family && memcmp(a->bytes, b->bytes, sizeof(a->bytes)) == 0;
}

static void set_host(struct nlm_host *host, const struct nfs_conn *conn)
{
	host->address = conn->address;
	if (!nfs_address_from((const struct sockaddr *)&conn->local, &host->local))
		host->local.family = AF_UNSPEC;
	address_text(&host->address, host->text);
	address_text(&host->local, host->local_text);
	nfs_record_name3(host->text, host->local_text, host->record);
}

struct nlm_host *nlm_host_get(struct nlm *nlm, const struct nfs_conn *conn, bool make)
{
	struct nlm_host *host;

	list_for_each (it, &nlm->hosts) {
		host = list_entry(it, struct nlm_host, link);
		if (same_address(&host->address, &conn->address))
			return host;
	}
	if (!make || nlm->host_count >= NLM_HOSTS_MAX || !(host = heap_zalloc(sizeof(*host))))
		return NULL;
	set_host(host, conn);
	list_init(&host->owners);
	list_init(&host->shares);
	list_push_back(&nlm->hosts, &host->link);
	nlm->host_count++;
	return host;
}

void nlm_record_name(struct nlm *nlm, const struct nfs_conn *conn, char name[NFS_RECORD_NAME])
{
	const struct nlm_host *host = nlm_host_get(nlm, conn, false);
	struct nlm_host fresh;

	if (!host)
		set_host(&fresh, conn);
	memcpy(name, host ? host->record : fresh.record, NFS_RECORD_NAME);
}

struct nlm_owner *nlm_owner_get(struct nlm *nlm, struct nlm_host *host, const struct nlm_lock *lock,
				bool make)
{
	struct nlm_owner *owner;

	list_for_each (it, &host->owners) {
		owner = list_entry(it, struct nlm_owner, link);
		if (owner->locks.process == lock->process && owner->length == lock->name_length &&
		    memcmp(owner->name, lock->name, owner->length) == 0)
			return owner;
	}
	if (!make || nlm->owner_count >= NLM_OWNERS_MAX ||
	    !(owner = heap_zalloc(sizeof(*owner) + lock->name_length)))
		return NULL;
	owner->host = host;
	owner->length = lock->name_length;
	memcpy(owner->name, lock->name, lock->name_length);
	lock_owner_init(&owner->locks, 0, lock->process, owner->name, owner->length);
	list_push_back(&host->owners, &owner->link);
	nlm->owner_count++;
	return owner;
}

/* The record on the shares stays: a host is known for longer than it has locks, as with statd. */
void nlm_host_tidy(struct nlm *nlm, struct nlm_host *host)
{
	if (!list_empty(&host->owners) || !list_empty(&host->shares))
		return;
	list_remove(&host->link);
	nlm->host_count--;
	heap_free(host);
}

void nlm_owner_tidy(struct nlm *nlm, struct nlm_owner *owner)
{
	struct nlm_host *host = owner->host;

	if (owner->waits || lock_owner_holds(nlm->server->locks, &owner->locks, NULL))
		return;
	list_remove(&owner->link);
	nlm->owner_count--;
	heap_free(owner);
	nlm_host_tidy(nlm, host);
}

/* ---- waiting */

static void forget_wait(struct nlm *nlm, struct nlm_wait *wait)
{
	list_remove(&wait->link);
	nlm->wait_count--;
	wait->owner->waits--;
	heap_free(wait);
}

/* Under the lock table's mutex. */
static void granted(struct lock_waiter *waiter)
{
	struct nlm_wait *wait = container_of(waiter, struct nlm_wait, waiter);

	loop_post(wait->nlm->home, &wait->message, tell_granted);
}

struct nlm_wait *nlm_wait_find(struct nlm *nlm, const struct nlm_owner *owner,
			       const struct lock_key *key, const struct lock_range *range)
{
	list_for_each (it, &nlm->waits) {
		struct nlm_wait *wait = list_entry(it, struct nlm_wait, link);

		if (wait->owner == owner && wait->key.volume == key->volume &&
		    vfs_object_equal(&wait->key.object, &key->object) &&
		    wait->waiter.range.first == range->first &&
		    wait->waiter.range.last == range->last)
			return wait;
	}
	return NULL;
}

int nlm_wait_start(struct nlm *nlm, struct nlm_owner *owner, const struct lock_key *key,
		   const struct nlm_lock *lock, struct lock_conflict *conflict)
{
	struct nlm_wait *wait;
	int result;

	if (nlm->wait_count >= NLM_WAITS_MAX || lock->caller_length > sizeof(wait->caller) ||
	    lock->handle_length > sizeof(wait->handle) || !(wait = heap_zalloc(sizeof(*wait))))
		return -ENOLCK;
	wait->nlm = nlm;
	wait->owner = owner;
	wait->key = *key;
	wait->waiter =
	    (struct lock_waiter){.owner = &owner->locks, .range = lock->range, .granted = granted};
	wait->caller_length = lock->caller_length;
	wait->handle_length = lock->handle_length;
	memcpy(wait->caller, lock->caller, lock->caller_length);
	memcpy(wait->handle, lock->handle, lock->handle_length);
	list_push_back(&nlm->waits, &wait->link);
	nlm->wait_count++;
	owner->waits++;
	result = lock_wait(nlm->server->locks, key, &wait->waiter, conflict);
	if (result != -EAGAIN)
		forget_wait(nlm, wait);
	return result;
}

bool nlm_wait_cancel(struct nlm *nlm, struct nlm_wait *wait)
{
	if (!lock_wait_cancel(nlm->server->locks, &wait->waiter))
		return false;
	forget_wait(nlm, wait);
	return true;
}

/* ---- telling that a lock is granted: the home loop */

static void start_callout(struct nlm *nlm, struct callout *callout)
{
	nlm->callouts++;
	callout_start(callout);
}

static void try_stopped(struct nlm *nlm);

static void put_grant(struct nlm_wait *wait)
{
	const struct lock_range *range = &wait->waiter.range;
	const struct nlm_owner *owner = wait->owner;
	uint64_t cookie = ++wait->nlm->next_cookie;
	struct xdr_out out;

	xdr_out_init(&out, wait->callout.arguments, sizeof(wait->callout.arguments));
	xdr_put_opaque(&out, &cookie, sizeof(cookie));
	xdr_put_bool(&out, range->exclusive);
	xdr_put_opaque(&out, wait->caller, wait->caller_length);
	xdr_put_opaque(&out, wait->handle, wait->handle_length);
	xdr_put_opaque(&out, owner->name, owner->length);
	xdr_put_u32(&out, (uint32_t)owner->locks.process);
	xdr_put_u64(&out, range->first);
	xdr_put_u64(&out, range->last == LOCK_TO_END ? 0 : range->last - range->first + 1);
	wait->callout.length = (uint32_t)xdr_length(&out);
}

/* The host has it, or does not want it (any more), or can not be told. */
static void end_wait(struct nlm_wait *wait, bool keep)
{
	struct nlm *nlm = wait->nlm;
	struct nlm_owner *owner = wait->owner;

	pthread_mutex_lock(&nlm->lock);
	if (!keep && !wait->claimed)
		lock_clear(nlm->server->locks, &wait->key, &owner->locks, wait->waiter.range.first,
			   wait->waiter.range.last);
	forget_wait(nlm, wait);
	nlm_owner_tidy(nlm, owner);
	pthread_mutex_unlock(&nlm->lock);
	try_stopped(nlm);
}

static void tell_later(struct nlm_wait *wait, uint64_t delay_ns)
{
	wait->pausing = true;
	timer_start(&wait->timer, delay_ns);
}

static void told(struct callout *callout, int result, const uint8_t *results, size_t length)
{
	struct nlm_wait *wait = container_of(callout, struct nlm_wait, callout);
	struct nlm *nlm = wait->nlm;
	uint32_t status = NLM4_DENIED, ignored;
	struct xdr_in in;

	nlm->callouts--;
	if (result == 0) {
		xdr_in_init(&in, results, length);
		xdr_get_opaque(&in, NLM_COOKIE_MAX, &ignored);
		status = xdr_get_u32(&in);
		end_wait(wait, !in.bad && status == NLM4_GRANTED);
	} else if (nlm->stopping || ++wait->attempts >= TELL_ATTEMPTS) {
		log_warning("NFS host %s can not be told of its lock: %s", wait->owner->host->text,
			    strerror(-result));
		end_wait(wait, false);
	} else {
		tell_later(wait, TELL_AGAIN_NS);
	}
}

/* What was taken from a client that is gone is nobody's until its record is gone too. */
static void tell(struct nlm_wait *wait)
{
	struct nlm *nlm = wait->nlm;

	if (nlm->stopping)
		end_wait(wait, false);
	else if (!nfs_record_settled(nlm->server->grace, wait->key.volume))
		tell_later(wait, SETTLE_NS);
	else
		start_callout(nlm, &wait->callout);
}

static void tell_again(struct timer *timer)
{
	struct nlm_wait *wait = container_of(timer, struct nlm_wait, timer);

	wait->pausing = false;
	tell(wait);
}

static void tell_granted(struct message *message)
{
	struct nlm_wait *wait = container_of(message, struct nlm_wait, message);
	struct nlm *nlm = wait->nlm;
	struct callout *callout = &wait->callout;

	pthread_mutex_lock(&nlm->lock);
	callout->loop = nlm->home;
	callout->peer = wait->owner->host->address;
	callout->local = wait->owner->host->local;
	callout->program = RPC_NLM;
	callout->version = 4;
	callout->procedure = NLM_GRANTED;
	callout->done = told;
	put_grant(wait);
	pthread_mutex_unlock(&nlm->lock);
	timer_init(&wait->timer, nlm->home, tell_again);
	tell(wait);
}

/* ---- a host that has restarted, a share that is exported no more */

static bool none_stays(const void *context, uint64_t volume)
{
	(void)context;
	(void)volume;
	return false;
}

static void keep_shares(struct nlm *nlm, struct nlm_host *host,
			bool (*stays)(const void *context, uint64_t volume), const void *context)
{
	list_for_each_safe (it, &host->shares) {
		struct nlm_share *share = list_entry(it, struct nlm_share, link);

		if (stays(context, share->key.volume))
			continue;
		lock_share_drop(nlm->server->locks, &share->share);
		share->owner->waits--;
		list_remove(&share->link);
		heap_free(share);
	}
}

void nlm_host_keep(struct nlm *nlm, struct nlm_host *host,
		   bool (*stays)(const void *context, uint64_t volume), const void *context)
{
	stays = stays ? stays : none_stays;
	keep_shares(nlm, host, stays, context);
	list_for_each_safe (it, &nlm->waits) {
		struct nlm_wait *wait = list_entry(it, struct nlm_wait, link);

		if (wait->owner->host == host && !stays(context, wait->key.volume))
			nlm_wait_cancel(nlm, wait);
	}
	list_for_each (it, &host->owners)
		lock_owner_keep(nlm->server->locks, &list_entry(it, struct nlm_owner, link)->locks,
				stays, context);
	if (list_empty(&host->owners)) {
		nlm_host_tidy(nlm, host);
		return;
	}
	/* Owners that are being told of a lock stay until that is over; with the last one the host
	 * goes. */
	list_for_each_safe (it, &host->owners) {
		bool last = it_next == &host->owners;

		nlm_owner_tidy(nlm, list_entry(it, struct nlm_owner, link));
		if (last)
			return;
	}
}

static bool is_exported(const void *context, uint64_t volume)
{
	return nfs_table_by_id(context, volume) != NULL;
}

void nlm_forget_shares(struct nlm *nlm, const struct nfs_table *table)
{
	pthread_mutex_lock(&nlm->lock);
	list_for_each_safe (it, &nlm->hosts)
		nlm_host_keep(nlm, list_entry(it, struct nlm_host, link), is_exported, table);
	nlm->table = table;
	pthread_mutex_unlock(&nlm->lock);
}

/* ---- telling hosts that we have started */

static void end_notice(struct nlm_notice *notice)
{
	struct nlm *nlm = notice->nlm;

	timer_stop(&notice->timer);
	list_remove(&notice->link);
	heap_free(notice);
	try_stopped(nlm);
}

static void noticed(struct callout *callout, int result, const uint8_t *results, size_t length)
{
	struct nlm_notice *notice = container_of(callout, struct nlm_notice, callout);
	struct nlm *nlm = notice->nlm;

	(void)results;
	(void)length;
	nlm->callouts--;
	if (result == 0 || nlm->stopping || ++notice->attempts >= TELL_ATTEMPTS) {
		if (result < 0)
			log_warning("an NFS host with locks can not be told of the restart: %s",
				    strerror(-result));
		end_notice(notice);
		return;
	}
	timer_start(&notice->timer, TELL_AGAIN_NS);
}

static void notice_again(struct timer *timer)
{
	struct nlm_notice *notice = container_of(timer, struct nlm_notice, timer);

	start_callout(notice->nlm, &notice->callout);
}

static bool text_address(const char *text, struct nfs_address *address)
{
	memset(address, 0, sizeof(*address));
	address->family = strchr(text, ':') ? AF_INET6 : AF_INET;
	return inet_pton(address->family, text, address->bytes) == 1;
}

/* stat_chge: our name and our state, which is odd while we are up, and another after each start:
 * the second we started in. */
static void put_notice(struct nlm_notice *notice)
{
	uint64_t second = notice->nlm->server->boot_ns / 1000000000u;
	struct xdr_out out;

	xdr_out_init(&out, notice->callout.arguments, sizeof(notice->callout.arguments));
	xdr_put_string(&out, notice->local_text);
	xdr_put_u32(&out, (uint32_t)(second | 1) & INT32_MAX);
	notice->callout.length = (uint32_t)xdr_length(&out);
}

void nlm_host_found(struct nfs_server *server, const char *record)
{
	struct nlm *nlm = server->nlm;
	char host[NFS_RECORD_NAME], local[NFS_RECORD_NAME];
	struct nlm_notice *notice;
	struct nfs_address peer, own;

	if (nlm->stopping || !nfs_record_host(record, host, local) || !text_address(host, &peer))
		return;
	notice = heap_zalloc(sizeof(*notice));
	if (!notice)
		return;
	if (!text_address(local, &own))
		own.family = AF_UNSPEC;
	notice->nlm = nlm;
	snprintf(notice->local_text, sizeof(notice->local_text), "%s", local);
	notice->callout.loop = nlm->home;
	notice->callout.peer = peer;
	notice->callout.local = own;
	notice->callout.program = RPC_NSM;
	notice->callout.version = 1;
	notice->callout.procedure = NSM_NOTIFY;
	notice->callout.done = noticed;
	put_notice(notice);
	timer_init(&notice->timer, nlm->home, notice_again);
	list_push_back(&nlm->notices, &notice->link);
	start_callout(nlm, &notice->callout);
}

/* ---- the end */

static void tell_stopped(struct message *message)
{
	struct nlm *nlm = container_of(message, struct nlm, stopped_message);

	nlm->stopped(nlm->server);
}

static void try_stopped(struct nlm *nlm)
{
	bool quiet;

	if (!nlm->stopping || nlm->said || nlm->callouts || !list_empty(&nlm->notices))
		return;
	pthread_mutex_lock(&nlm->lock);
	quiet = list_empty(&nlm->waits);
	pthread_mutex_unlock(&nlm->lock);
	if (!quiet)
		return;
	nlm->said = true;
	loop_post(nlm->server->options.control, &nlm->stopped_message, tell_stopped);
}

/* No connection is left, so nothing new comes, and lists change on this loop alone. Who waits is
 * let go; calls that are on their way end now. */
static void stop(struct message *message)
{
	struct nlm *nlm = container_of(message, struct nlm, stop_message);

	nlm->stopping = true;
	list_for_each_safe (it, &nlm->waits) {
		struct nlm_wait *wait = list_entry(it, struct nlm_wait, link);

		if (nlm_wait_cancel(nlm, wait))
			continue;
		if (wait->callout.active)
			callout_cancel(&wait->callout);
		else if (wait->pausing) /* otherwise its message is coming */
			timer_start(&wait->timer, 0);
	}
	list_for_each_safe (it, &nlm->notices) {
		struct nlm_notice *notice = list_entry(it, struct nlm_notice, link);

		if (notice->callout.active)
			callout_cancel(&notice->callout);
		else
			end_notice(notice);
	}
	try_stopped(nlm);
}

void nlm_stop(struct nlm *nlm, void (*stopped)(struct nfs_server *server))
{
	nlm->stopped = stopped;
	loop_post(nlm->home, &nlm->stop_message, stop);
}

void nlm_destroy(struct nlm *nlm)
{
	if (!nlm)
		return;
	list_for_each_safe (it, &nlm->hosts) {
		struct nlm_host *host = list_entry(it, struct nlm_host, link);

		nlm_host_keep(nlm, host, NULL, NULL);
	}
	pthread_mutex_destroy(&nlm->lock);
	heap_free(nlm);
}
