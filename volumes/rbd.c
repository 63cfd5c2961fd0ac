/* SPDX-License-Identifier: Apache-2.0 */
/* rbd.c: RBD pools behind pool.h. Everything here runs on the pool's home loop; what blocks is in
 * rbd_image.c, the way of I/O in rbd_io.c. rbd.h has the rules. */
#include "volumes/rbd.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/heap.h"
#include "core/log.h"

#define SCHEME      "rbd:"
#define CLOSE_POLL  (20 * 1000000ull)
#define SPACE_TICKS 5
#define COUNT_REST  10 /* times as long as a count of used space took */
#define GONE_SCANS  2  /* which do not find an image: it was deleted */

/* Pools whose opening is under way or whose caller has given up: the next try finds them here
 * instead of leaving one more connection behind. Home loop. */
static struct list openings = {&openings, &openings};

/* ---- addresses */

bool rbd_address_is(const char *path)
{
	return strncmp(path, SCHEME, strlen(SCHEME)) == 0;
}

static bool value_is_fine(const char *text, size_t length)
{
	static const char fine[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
				   "._-";

	return length > 0 && length < RBD_TEXT_MAX && strspn(text, fine) >= length;
}

static int parse_parameter(const char *text, size_t length, struct rbd_address *address,
			   struct err *err)
{
	const struct {
		const char *name;
		char *to;
		size_t room;
	} known[] = {{"pool=", address->ceph_pool, sizeof address->ceph_pool},
		     {"id=", address->id, sizeof address->id},
		     {"namespace=", address->space, sizeof address->space},
		     {"gateway=", address->gateway, sizeof address->gateway}};

	for (unsigned i = 0; i < sizeof known / sizeof *known; i++) {
		size_t skip = strlen(known[i].name);

		if (length <= skip || strncmp(text, known[i].name, skip) != 0)
			continue;
		if (!value_is_fine(text + skip, length - skip) || length - skip >= known[i].room)
			break;
		memcpy(known[i].to, text + skip, length - skip);
		known[i].to[length - skip] = '\0';
		return 0;
	}
	return err_set(err, -EINVAL,
		       "\"%.*s\" is no part of an RBD address: names are made of letters, digits, "
		       "'.', '_' and '-'",
		       (int)(length < 100 ? length : 100), text);
}

int rbd_address_parse(const char *path, struct rbd_address *ret_address, struct err *err)
{
	struct rbd_address address = {.id = "admin"};
	const char *at = path + strlen(SCHEME), *end = strchr(at, '?');
	size_t conf = end ? (size_t)(end - at) : strlen(at);
	int result = 0;

	if (at[0] != '/' || conf >= sizeof address.conf)
		return err_set(err, -EINVAL,
			       "the path of Ceph's configuration file has to be absolute");
	if (strlen(path) >= sizeof address.text)
		return err_set(err, -EINVAL, "an RBD address has at most %zu bytes",
			       sizeof address.text - 1);
	snprintf(address.text, sizeof address.text, "%s", path);
	memcpy(address.conf, at, conf);
	while (end && result == 0) {
		at = end + 1;
		end = strchr(at, '&');
		result = parse_parameter(at, end ? (size_t)(end - at) : strlen(at), &address, err);
	}
	if (result == 0 && !address.ceph_pool[0])
		result = err_set(err, -EINVAL, "an RBD address needs the name of Ceph's pool");
	if (result == 0)
		*ret_address = address;
	return result;
}

/* ---- volumes */

struct rbd_volume *rbd_volume_of(struct rbd_pool *pool, const char *name)
{
	list_for_each (it, &pool->volumes) {
		struct rbd_volume *volume = list_entry(it, struct rbd_volume, link);

		if (!volume->gone && strcmp(volume->volume.name, name) == 0)
			return volume;
	}
	return NULL;
}

void rbd_sum_sizes(struct rbd_pool *pool)
{
	uint64_t sum = 0;

	list_for_each (it, &pool->volumes)
		sum += volume_size(&list_entry(it, struct rbd_volume, link)->volume);
	__atomic_store_n(&pool->provisioned_bytes, sum, __ATOMIC_RELAXED);
}

static void insert(struct rbd_pool *pool, struct rbd_volume *volume)
{
	struct list *before = &pool->volumes;

	for (struct list *it = pool->volumes.prev; it != &pool->volumes; it = it->prev)
		if (strcmp(list_entry(it, struct rbd_volume, link)->volume.name,
			   volume->volume.name) < 0) {
			before = it;
			break;
		}
	list_insert_after(before, &volume->link);
}

static void take_found(struct rbd_job *job)
{
	struct list *link;

	while ((link = list_pop_front(&job->found))) {
		struct rbd_volume *volume = list_entry(link, struct rbd_volume, link);

		volume->shown_standby = volume->volume.standby;
		insert(job->pool, volume);
		job->pool->volume_count++;
	}
	rbd_sum_sizes(job->pool);
}

static void used_known(struct rbd_job *job)
{
	struct rbd_volume *volume = job->volume;
	uint64_t now = loop_now(job->pool->home);

	volume->counting = false;
	volume->inside--;
	volume->count_at_ns = now + COUNT_REST * (now - job->started_ns);
	if (job->result == 0)
		__atomic_store_n(&job->volume->used_bytes, job->size, __ATOMIC_RELAXED);
	rbd_job_end(job, job->result);
}

static void count_used(struct rbd_volume *volume)
{
	struct rbd_job *job;

	if (volume->counting || volume->gone ||
	    loop_now(volume->pool->home) < volume->count_at_ns ||
	    !__atomic_exchange_n(&volume->used_stale, 0, __ATOMIC_RELAXED))
		return;
	job = rbd_job_new(volume->pool, volume, NULL);
	if (!job)
		return;
	volume->counting = true;
	volume->inside++;
	rbd_job_count(job, rbd_image_used, used_known);
}

/* ---- a pool */

static void tell_access(struct rbd_volume *volume)
{
	bool standby = __atomic_load_n(&volume->volume.standby, __ATOMIC_ACQUIRE);

	if (standby == volume->shown_standby)
		return;
	volume->shown_standby = standby;
	log_notice("volume %s/%s: %s", volume->pool->name, volume->volume.name,
		   standby ? "served by another gateway" : "served here");
	volume_notify(&volume->volume, VOLUME_ACCESS);
}

/* Who keeps it is asked; when nobody wants it any more, and it is still here, they may go on. */
static void tell_asked(struct rbd_volume *volume)
{
	bool asked = __atomic_load_n(&volume->asked, __ATOMIC_ACQUIRE);

	if (asked == volume->shown_asked)
		return;
	volume->shown_asked = asked;
	if (asked)
		volume_notify(&volume->volume, VOLUME_WANTED);
	else if (!volume_standby(&volume->volume))
		volume_notify(&volume->volume, VOLUME_ACCESS);
}

static void tell_note(struct rbd_volume *volume)
{
	uint64_t number = __atomic_load_n(&volume->note_heard, __ATOMIC_ACQUIRE);

	if (number == volume->note_shown)
		return;
	volume->note_shown = number;
	volume_notify(&volume->volume, VOLUME_NOTED);
}

static void closed_again(struct rbd_job *job)
{
	rbd_job_end(job, 0);
}

static int close_found(struct rbd_job *job)
{
	rbd_image_close(job->volume);
	return 0;
}

void rbd_let_go(struct rbd_volume *volume)
{
	struct rbd_job *job = rbd_job_new(volume->pool, volume, NULL);

	volume_unref(&volume->volume); /* the job's is left */
	if (job)
		rbd_job_run(job, close_found, closed_again);
}

static bool hold_all(struct rbd_job *job, bool snapshots);

/* Nobody reads them while their images are closed. */
static void snapshots_standby(struct rbd_pool *pool, bool standby)
{
	list_for_each (it, &pool->volumes)
		list_for_each (its, &list_entry(it, struct rbd_volume, link)->snapshots)
			__atomic_store_n(&list_entry(its, struct rbd_volume, link)->volume.standby,
					 standby, __ATOMIC_RELEASE);
}

static void rejoined(struct rbd_job *job)
{
	struct rbd_pool *pool = job->pool;

	pool->rejoining = job->result < 0; /* a close was tried meanwhile: once more */
	for (unsigned i = 0; i < job->volume_count; i++)
		job->volumes[i]->inside--;
	if (job->result == 0) {
		snapshots_standby(pool, false);
		__atomic_store_n(&pool->blocklisted, 0, __ATOMIC_RELAXED);
		log_notice("pool %s: back in the cluster", pool->name);
	}
	rbd_job_end(job, 0);
}

/* Shut out: another gateway has taken over what was ours. When all that is under way has failed,
 * everything is opened anew, as standby. */
static void rejoin(struct rbd_pool *pool)
{
	struct rbd_job *job;

	if (!rbd_io_idle(pool) || !list_empty(&pool->jobs) ||
	    !(job = rbd_job_new(pool, NULL, NULL)))
		return;
	if (hold_all(job, true))
		rbd_job_run(job, rbd_rejoin, rejoined);
	else
		rbd_job_end(job, 0);
}

static void shut_out(struct rbd_pool *pool)
{
	rbd_errno(pool, -ESHUTDOWN);
	pool->rejoining = true;
	snapshots_standby(pool, true);
	list_for_each (it, &pool->volumes) {
		struct rbd_volume *volume = list_entry(it, struct rbd_volume, link);

		__atomic_store_n(&volume->volume.standby, true, __ATOMIC_RELEASE);
		tell_access(volume);
	}
}

static void leave(struct rbd_volume *volume);

static void looked(struct rbd_job *job)
{
	struct rbd_pool *pool = job->pool;

	pool->gating = false;
	for (unsigned i = 0; i < job->volume_count; i++) {
		job->volumes[i]->inside--;
		if (job->volumes[i]->gone)
			continue;
		tell_access(job->volumes[i]);
		tell_asked(job->volumes[i]);
		tell_note(job->volumes[i]);
		if (__atomic_load_n(&job->volumes[i]->rolling, __ATOMIC_ACQUIRE))
			rbd_rollback_go_on(job->volumes[i]);
		if (__atomic_load_n(&job->volumes[i]->leaving, __ATOMIC_ACQUIRE))
			leave(job->volumes[i]);
	}
	if (job->result == -ESHUTDOWN && !pool->closing)
		shut_out(pool);
	rbd_job_end(job, 0);
}

static void take_name(struct rbd_volume *volume, const char *name)
{
	snprintf(volume->volume.name, sizeof volume->volume.name, "%s", name);
	list_remove(&volume->link);
	insert(volume->pool, volume);
	list_for_each (it, &volume->snapshots)
		rbd_snapshot_name(list_entry(it, struct rbd_volume, link), name);
	volume_notify(&volume->volume, VOLUME_RENAMED);
}

static struct rbd_volume *volume_of_serial(struct rbd_pool *pool, const char *serial)
{
	list_for_each (it, &pool->volumes) {
		struct rbd_volume *volume = list_entry(it, struct rbd_volume, link);

		if (strcmp(volume->volume.identity.serial, serial) == 0)
			return volume;
	}
	return NULL;
}

/* Made or renamed by another gateway; or by this one, which has not heard of its success yet. */
static void scanned(struct rbd_job *job)
{
	struct rbd_pool *pool = job->pool;
	struct list *link;

	pool->scanning = false;
	for (unsigned i = 0; i < job->volume_count; i++) {
		struct rbd_volume *volume = job->volumes[i];

		volume->inside--;
		volume->unlisted = job->result < 0 || volume->listed ? 0 : volume->unlisted + 1;
	}
	while ((link = list_pop_front(&job->found))) {
		struct rbd_volume *volume = list_entry(link, struct rbd_volume, link), *known;

		known = volume_of_serial(pool, volume->volume.identity.serial);
		if (known)
			known->unlisted = 0;
		if (known && !known->gone && !pool->closing &&
		    !rbd_volume_of(pool, volume->volume.name))
			take_name(known, volume->volume.name);
		if (known || pool->closing || rbd_volume_of(pool, volume->volume.name)) {
			rbd_let_go(volume); /* a change of our own made it known first */
			continue;
		}
		insert(pool, volume);
		pool->volume_count++;
		rbd_sum_sizes(pool);
	}
	for (unsigned i = 0; i < job->volume_count; i++)
		if (job->volumes[i]->unlisted >= GONE_SCANS && !job->volumes[i]->gone)
			leave(job->volumes[i]);
	rbd_job_end(job, 0);
}

static void hold(struct rbd_job *job, struct rbd_volume *volume)
{
	volume->inside++;
	volume_ref(&volume->volume);
	job->volumes[job->volume_count++] = volume;
}

/* References to all volumes, into the job, with @snapshots behind them; inside of each counts it.
 */
static bool hold_all(struct rbd_job *job, bool snapshots)
{
	struct rbd_pool *pool = job->pool;
	unsigned room = 0;

	list_for_each (it, &pool->volumes) {
		room++;
		list_for_each (its, &list_entry(it, struct rbd_volume, link)->snapshots)
			room++;
	}
	job->volumes = heap_zalloc_array(room + 1, sizeof(struct rbd_volume *));
	if (!job->volumes)
		return false;
	list_for_each (it, &pool->volumes)
		if (!list_entry(it, struct rbd_volume, link)->gone)
			hold(job, list_entry(it, struct rbd_volume, link));
	if (!snapshots)
		return true;
	list_for_each (it, &pool->volumes)
		list_for_each (its, &list_entry(it, struct rbd_volume, link)->snapshots)
			hold(job, list_entry(its, struct rbd_volume, link));
	return true;
}

/* Once a second: who serves what? */
static void look_at_gates(struct rbd_pool *pool)
{
	struct rbd_job *job;

	if (pool->gating || !pool->address.gateway[0] || pool->volume_count > RBD_VOLUMES_MAX)
		return;
	job = rbd_job_new(pool, NULL, NULL);
	if (!job)
		return;
	if (!hold_all(job, false)) {
		rbd_job_end(job, 0);
		return;
	}
	pool->gating = true;
	rbd_job_gate(job, rbd_gate_look, looked);
}

/* On a worker of its own: how many images of others there are must not keep this gateway from
 * saying that it lives. */
static void scan(struct rbd_pool *pool)
{
	struct rbd_job *job;

	list_for_each (it, &pool->volumes)
		if (list_entry(it, struct rbd_volume, link)->gone)
			return; /* an image that is open can not be deleted */
	if (pool->scanning || !pool->address.gateway[0] || pool->volume_count > RBD_VOLUMES_MAX)
		return;
	job = rbd_job_new(pool, NULL, NULL);
	if (!job)
		return;
	if (!hold_all(job, false)) {
		rbd_job_end(job, 0);
		return;
	}
	pool->scanning = true;
	rbd_job_count(job, rbd_image_open_new, scanned);
}

static void answer_taken(struct rbd_pool *pool);
static void try_to_take(struct timer *timer);

static void space_known(struct rbd_job *job)
{
	rbd_job_end(job, job->result);
}

static void tick(struct timer *timer)
{
	struct rbd_pool *pool = container_of(timer, struct rbd_pool, tick);

	rbd_jobs_expire(pool);
	answer_taken(pool);
	rbd_note_answer(pool);
	rbd_io_look_at_age(pool);
	if (pool->rejoining && !pool->closing && list_empty(&pool->jobs))
		rejoin(pool);
	else if (pool->is_open && !pool->closing && !pool->rejoining)
		look_at_gates(pool);
	if (pool->is_open && !pool->closing && !pool->rejoining &&
	    !__atomic_load_n(&pool->slow, __ATOMIC_RELAXED) &&
	    (list_empty(&pool->jobs) || pool->gating)) {
		struct rbd_job *job =
		    pool->ticks++ % SPACE_TICKS ? NULL : rbd_job_new(pool, NULL, NULL);

		list_for_each (it, &pool->volumes)
			count_used(list_entry(it, struct rbd_volume, link));
		if (job)
			rbd_job_count(job, rbd_space, space_known);
		if (pool->ticks % RBD_SCAN_TICKS == 0)
			scan(pool);
	}
	timer_start(timer, RBD_TICK_NS);
}

static void pool_free(struct rbd_pool *pool)
{
	timer_stop(&pool->tick);
	timer_stop(&pool->take_poll);
	rbd_worker_stop(&pool->change);
	rbd_worker_stop(&pool->look);
	rbd_worker_stop(&pool->count);
	rbd_worker_stop(&pool->gate);
	rbd_gate_finish(pool);
	rbd_image_forget_strangers(pool);
	rbd_io_finish(pool);
	list_remove(&pool->opening_link);
	pthread_mutex_destroy(&pool->lock);
	heap_free(pool);
}

static struct rbd_pool *pool_new(const struct world_ops *world, struct loop *loop,
				 const struct rbd_address *address, struct err *err)
{
	struct rbd_pool *pool = heap_zalloc(sizeof *pool);
	int result;

	if (!pool) {
		err_set(err, -ENOMEM, "out of memory");
		return NULL;
	}
	pool->pool.ops = &rbd_pool_ops;
	pool->address = *address;
	pool->world = world;
	pool->home = loop;
	list_init(&pool->volumes);
	list_init(&pool->jobs);
	list_init(&pool->in_flight);
	list_init(&pool->peers);
	list_init(&pool->strangers);
	list_init(&pool->opening_link);
	pthread_mutex_init(&pool->lock, NULL);
	timer_init(&pool->tick, loop, tick);
	timer_init(&pool->take_poll, loop, try_to_take);
	result = rbd_worker_start(&pool->change, world, "rbd", err);
	if (result == 0)
		result = rbd_worker_start(&pool->look, world, "rbd-look", err);
	if (result == 0)
		result = rbd_worker_start(&pool->count, world, "rbd-count", err);
	if (result == 0)
		result = rbd_worker_start(&pool->gate, world, "rbd-gate", err);
	if (result < 0) {
		pool_free(pool);
		return NULL;
	}
	timer_start(&pool->tick, RBD_TICK_NS);
	return pool;
}

/* ---- opening */

static int open_work(struct rbd_job *job)
{
	struct list *link;
	int result = rbd_connect(job);

	if (result == 0)
		result = rbd_image_open_all(job);
	if (result == 0)
		return 0;
	while ((link = list_pop_front(&job->found))) {
		struct rbd_volume *volume = list_entry(link, struct rbd_volume, link);

		rbd_image_close(volume);
		volume_unref(&volume->volume);
	}
	rbd_disconnect(job->pool);
	return result;
}

static void hand_over(struct rbd_pool *pool, struct pool_call *call)
{
	list_remove(&pool->opening_link);
	call->pool = &pool->pool;
}

static void open_ended(struct rbd_job *job)
{
	struct rbd_pool *pool = job->pool;
	int result = job->result;

	pool->opening = NULL;
	if (result == 0) {
		take_found(job);
		pool->is_open = true;
		if (job->call)
			hand_over(pool, job->call);
	}
	rbd_job_end(job, result);
	if (result < 0)
		pool_free(pool);
}

static void refuse(struct loop *loop, struct pool_call *call, const struct err *err)
{
	call->loop = loop;
	call->err = *err;
	pool_answer(call, err->code);
}

/* Is it being opened already, or open and nobody's? True: answered, or will be. */
static bool join_opening(struct loop *loop, const struct rbd_address *address, bool create,
			 struct pool_call *call)
{
	struct err err = {0};

	list_for_each (it, &openings) {
		struct rbd_pool *pool = list_entry(it, struct rbd_pool, opening_link);

		if (strcmp(pool->address.text, address->text) != 0)
			continue;
		call->loop = loop;
		if (create || (pool->opening && pool->opening->call)) {
			err_set(&err, -EBUSY, "%s is being opened", address->text);
			refuse(loop, call, &err);
		} else if (pool->opening) {
			pool->opening->call = call;
			pool->opening->limit_ns = loop_now(pool->home) + RBD_OPEN_LIMIT_NS;
		} else {
			hand_over(pool, call);
			pool_answer(call, 0);
		}
		return true;
	}
	return false;
}

static void start(const struct world_ops *world, struct loop *loop, const char *path,
		  const char *new_name, struct pool_call *call)
{
	struct rbd_address address;
	struct rbd_pool *pool;
	struct err err = {0};

	if (rbd_address_parse(path, &address, &err) < 0) {
		refuse(loop, call, &err);
		return;
	}
	if (join_opening(loop, &address, new_name != NULL, call))
		return;
	pool = pool_new(world, loop, &address, &err);
	if (!pool) {
		refuse(loop, call, &err);
		return;
	}
	pool->opening = rbd_job_new(pool, NULL, call);
	if (!pool->opening) {
		pool_free(pool);
		return;
	}
	if (new_name) {
		struct volume_identity identity;

		snprintf(pool->name, sizeof pool->name, "%s", new_name);
		loop_random(loop, pool->uuid, sizeof pool->uuid);
		volume_identity_make(pool->uuid, &identity);
		memcpy(pool->uuid, identity.uuid, sizeof pool->uuid);
	}
	list_push_back(&openings, &pool->opening_link);
	pool->opening->create = new_name != NULL;
	pool->opening->limit_ns = loop_now(loop) + RBD_OPEN_LIMIT_NS;
	rbd_job_run(pool->opening, open_work, open_ended);
}

static void rbd_pool_create(const struct world_ops *world, struct loop *loop,
			    const struct pool_create_options *options, struct pool_call *call)
{
	struct err err = {0};

	if (options->device_count != 1) {
		err_set(&err, -EINVAL, "an RBD pool has one address and nothing beside it");
		refuse(loop, call, &err);
		return;
	}
	start(world, loop, options->devices[0].path, options->name, call);
}

static void rbd_pool_open(const struct world_ops *world, struct loop *loop,
			  const char *const *paths, unsigned path_count, bool rewind,
			  struct pool_call *call)
{
	struct err err = {0};

	if (rewind)
		err_set(&err, -EOPNOTSUPP, "an RBD pool has no older root to go back to");
	else if (path_count != 1)
		err_set(&err, -EINVAL, "an RBD pool has one address and nothing beside it");
	if (err.code)
		refuse(loop, call, &err);
	else
		start(world, loop, paths[0], NULL, call);
}

/* ---- closing */

static int close_work(struct rbd_job *job)
{
	list_for_each (it, &job->pool->volumes) {
		struct rbd_volume *volume = list_entry(it, struct rbd_volume, link);

		list_for_each (its, &volume->snapshots)
			rbd_image_close(list_entry(its, struct rbd_volume, link));
		rbd_image_close(volume);
	}
	rbd_disconnect(job->pool);
	return 0;
}

static void close_ended(struct rbd_job *job)
{
	struct rbd_pool *pool = job->pool;
	struct list *link;

	while ((link = list_pop_front(&pool->volumes)))
		volume_unref(&list_entry(link, struct rbd_volume, link)->volume);
	rbd_job_end(job, 0);
	pool_free(pool);
}

static bool is_held(struct rbd_pool *pool)
{
	list_for_each (it, &pool->volumes) {
		struct rbd_volume *volume = list_entry(it, struct rbd_volume, link);

		if (__atomic_load_n(&volume->volume.refs, __ATOMIC_ACQUIRE) > 1 ||
		    rbd_snapshots_held(volume))
			return true;
	}
	return false;
}

/* Requests that were let go and jobs that nobody waits for are waited for, a while. */
static void try_close(struct timer *timer)
{
	struct rbd_pool *pool = container_of(timer, struct rbd_pool, close_poll);
	struct rbd_job *job = pool->closing;
	bool quiet =
	    rbd_io_idle(pool) && pool->jobs.next == &job->link && pool->jobs.prev == &job->link;

	if (quiet && !is_held(pool)) {
		rbd_job_run(job, close_work, close_ended);
	} else if (quiet || loop_now(pool->home) >= job->limit_ns) {
		pool->closing = NULL;
		__atomic_store_n(&pool->hurry, false, __ATOMIC_RELAXED);
		err_set(&job->err, quiet ? -EBUSY : -ETIMEDOUT,
			quiet ? "a volume of pool %s is in use"
			      : "the cluster of pool %s does not answer",
			pool->name);
		rbd_job_end(job, job->err.code);
	} else {
		timer_start(timer, CLOSE_POLL);
	}
}

static void rbd_pool_close(struct pool *base, struct pool_call *call)
{
	struct rbd_pool *pool = (struct rbd_pool *)base;
	struct err err = {0};

	if (pool->closing) {
		err_set(&err, -EBUSY, "pool %s is being closed", pool->name);
		refuse(pool->home, call, &err);
		return;
	}
	pool->closing = rbd_job_new(pool, NULL, call);
	if (!pool->closing)
		return;
	__atomic_store_n(&pool->hurry, true, __ATOMIC_RELAXED);
	pool->closing->limit_ns = loop_now(pool->home) + RBD_CLOSE_LIMIT_NS;
	timer_init(&pool->close_poll, pool->home, try_close);
	try_close(&pool->close_poll);
}

/* ---- changes of volumes */

void rbd_volume_created(struct rbd_job *job)
{
	if (job->result == 0) {
		struct rbd_volume *volume = list_entry(job->found.next, struct rbd_volume, link);
		struct rbd_volume *known = rbd_volume_of(job->pool, volume->volume.name);

		if (known) { /* a scan came upon it first */
			list_remove(&volume->link);
			rbd_let_go(volume); /* a change of our own made it known first */
			volume = known;
		}
		take_found(job);
		if (job->call)
			job->call->volume = volume_ref(&volume->volume);
	}
	rbd_job_end(job, job->result);
}

/* All else of it can be had again from what an image keeps. */
static bool is_made_of_uuid(const struct volume_identity *identity)
{
	struct volume_identity made = {0};

	volume_identity_make(identity->uuid, &made);
	return memcmp(made.uuid, identity->uuid, sizeof made.uuid) == 0 &&
	       memcmp(made.naa, identity->naa, sizeof made.naa) == 0 &&
	       strcmp(made.serial, identity->serial) == 0 && !identity->vendor[0] &&
	       !identity->product[0] && !identity->t10[0];
}

static bool spec_good(struct rbd_pool *pool, const struct volume_spec *spec, struct err *err)
{
	if (spec->checksum != VOLUME_CHECKSUM_STANDARD)
		err_set(err, -EOPNOTSUPP,
			"checksums of an RBD volume are BlueStore's own and can not be chosen");
	else if (spec->mirror)
		err_set(err, -EOPNOTSUPP,
			"how many copies an RBD volume has is for its Ceph pool to say");
	else if (spec->reserve_bytes)
		err_set(err, -EOPNOTSUPP, "Ceph can not reserve space for an RBD volume");
	else if (spec->quota_bytes)
		err_set(err, -EOPNOTSUPP, "Ceph has quotas of pools, none of RBD volumes");
	else if (spec->identity && !is_made_of_uuid(spec->identity))
		err_set(err, -EOPNOTSUPP,
			"the identity of an RBD volume is made of its UUID, and that of %s is not",
			spec->name);
	else if (rbd_volume_of(pool, spec->name))
		err_set(err, -EEXIST, "there is already a volume named %s in pool %s", spec->name,
			pool->name);
	return err->code == 0;
}

static void rbd_volume_create(struct pool *base, const struct volume_spec *spec,
			      struct pool_call *call)
{
	struct rbd_pool *pool = (struct rbd_pool *)base;
	struct volume_identity identity;
	struct err err = {0};
	struct rbd_job *job;
	uint8_t random[16];

	if (!spec_good(pool, spec, &err)) {
		refuse(pool->home, call, &err);
		return;
	}
	job = rbd_job_new(pool, NULL, call);
	if (!job)
		return;
	snprintf(job->name, sizeof job->name, "%s", spec->name);
	job->size = spec->size_bytes;
	job->pinned = spec->pinned;
	loop_random(pool->home, random, sizeof random);
	volume_identity_make(spec->identity ? spec->identity->uuid : random, &identity);
	memcpy(job->uuid, identity.uuid, sizeof job->uuid);
	rbd_job_run(job, rbd_image_make, rbd_volume_created);
}

static void erased(struct rbd_job *job)
{
	struct rbd_volume *volume = job->volume;

	if (job->result < 0) {
		volume->gone = false;
	} else {
		list_remove(&volume->link);
		job->pool->volume_count--;
		rbd_sum_sizes(job->pool);
		volume_unref(&volume->volume); /* the list's */
		if (job->call)
			volume_unref(&volume->volume); /* the caller's; one that has expired
							  dropped it */
	}
	rbd_job_end(job, job->result);
}

static int nothing(struct rbd_job *job)
{
	(void)job;
	return 0;
}

static void dropped(struct rbd_job *job)
{
	struct rbd_volume *volume = job->volume;

	log_notice("volume %s/%s: another gateway deletes it", job->pool->name,
		   volume->volume.name);
	list_remove(&volume->link);
	job->pool->volume_count--;
	rbd_sum_sizes(job->pool);
	volume_unref(&volume->volume); /* the list's */
	rbd_job_end(job, 0);
}

/* After whatever the other workers had to do with the image. */
static void counted_last(struct rbd_job *job)
{
	if (job->drop)
		rbd_job_run(job, close_found, dropped);
	else
		rbd_job_run(job, rbd_image_erase, erased);
}

static void gated_last(struct rbd_job *job)
{
	rbd_job_count(job, nothing, counted_last);
}

static void looked_last(struct rbd_job *job)
{
	rbd_job_gate(job, nothing, gated_last);
}

/* At the end of a look or a scan, which has a reference of it still: another gateway erases it, or
 * has. Whoever uses it here keeps it, and that gateway is refused. */
static void leave(struct rbd_volume *volume)
{
	uint32_t own = 2 + volume->inside; /* the list's, the job's */
	struct rbd_job *job;

	if (!volume_standby(&volume->volume) || !list_empty(&volume->snapshots) ||
	    volume->pool->closing)
		return;
	volume_notify(&volume->volume, VOLUME_LEAVING);
	if (__atomic_load_n(&volume->volume.refs, __ATOMIC_ACQUIRE) != own)
		return;
	job = rbd_job_new(volume->pool, volume, NULL);
	if (!job)
		return;
	volume->gone = job->drop = true;
	rbd_job_look(job, nothing, looked_last);
}

static void rbd_volume_delete(struct volume *base, struct pool_call *call)
{
	struct rbd_volume *volume = (struct rbd_volume *)base;
	uint32_t own = 2 + volume->inside; /* the list's, the caller's */
	struct err err = {0};
	struct rbd_job *job;

	if (!list_empty(&volume->snapshots)) {
		err_set(&err, -EBUSY, "volume %s has snapshots", volume->volume.name);
		refuse(volume->pool->home, call, &err);
		return;
	}
	if (__atomic_load_n(&volume->volume.refs, __ATOMIC_ACQUIRE) != own) {
		err_set(&err, -EBUSY, "volume %s is in use", volume->volume.name);
		refuse(volume->pool->home, call, &err);
		return;
	}
	job = rbd_job_new(volume->pool, volume, call);
	if (!job)
		return;
	volume->gone = true;
	job->limit_ns = loop_now(volume->pool->home) + RBD_LONG_LIMIT_NS;
	rbd_job_look(job, nothing, looked_last);
}

static void resized(struct rbd_job *job)
{
	struct rbd_volume *volume = job->volume;

	volume->resizing = false;
	if (job->result < 0 && job->shrink && job->size < job->size_before)
		__atomic_store_n(&volume->volume.size_bytes, job->size_before, __ATOMIC_RELEASE);
	if (job->result == 0 && job->size_before != job->size) {
		__atomic_store_n(&volume->volume.size_bytes, job->size, __ATOMIC_RELEASE);
		rbd_sum_sizes(job->pool);
		volume_notify(&volume->volume, VOLUME_RESIZED);
	}
	rbd_job_end(job, job->result);
}

static void resize(struct volume *base, uint64_t size, bool shrink, struct pool_call *call)
{
	struct rbd_volume *volume = (struct rbd_volume *)base;
	struct err err = {0};
	struct rbd_job *job;

	if (volume->resizing) {
		err_set(&err, -EBUSY, "volume %s is being resized", base->name);
		refuse(volume->pool->home, call, &err);
		return;
	}
	job = rbd_job_new(volume->pool, volume, call);
	if (!job)
		return;
	volume->resizing = true;
	job->size = size;
	job->size_before = volume_size(base);
	job->shrink = shrink;
	/* Smaller from here on: nothing is accepted any more that would be cut off. */
	if (shrink && size < job->size_before)
		__atomic_store_n(&volume->volume.size_bytes, size, __ATOMIC_RELEASE);
	if (shrink)
		job->limit_ns = loop_now(volume->pool->home) + RBD_LONG_LIMIT_NS;
	rbd_job_run(job, rbd_image_resize, resized);
}

static void rbd_volume_resize(struct volume *volume, uint64_t size_bytes, struct pool_call *call)
{
	resize(volume, size_bytes, false, call);
}

static void rbd_volume_shrink(struct volume *volume, uint64_t size_bytes, struct pool_call *call)
{
	resize(volume, size_bytes, true, call);
}

static void renamed(struct rbd_job *job)
{
	struct rbd_volume *volume = job->volume;

	if (job->result == 0 && strcmp(volume->volume.name, job->name) != 0)
		take_name(volume, job->name);
	rbd_job_end(job, job->result);
}

static void rbd_volume_rename(struct volume *base, const char *name, struct pool_call *call)
{
	struct rbd_volume *volume = (struct rbd_volume *)base;
	struct err err = {0};
	struct rbd_job *job;

	if (rbd_volume_of(volume->pool, name)) {
		err_set(&err, -EEXIST, "there is already a volume named %s in pool %s", name,
			volume->pool->name);
		refuse(volume->pool->home, call, &err);
		return;
	}
	job = rbd_job_new(volume->pool, volume, call);
	if (!job)
		return;
	snprintf(job->name, sizeof job->name, "%s", name);
	rbd_job_run(job, rbd_image_rename, renamed);
}

static void tried(struct rbd_job *job)
{
	struct rbd_pool *pool = job->pool;

	if (!job->volume->gone)
		tell_access(job->volume);
	rbd_job_end(job, 0);
	answer_taken(pool);
	if (pool->taking)
		timer_start(&pool->take_poll, RBD_TAKE_NS);
}

/* The first volume that somebody waits for; looks see to the others. */
static void try_to_take(struct timer *timer)
{
	struct rbd_pool *pool = container_of(timer, struct rbd_pool, take_poll);
	struct rbd_job *job;

	pool->taking = false;
	list_for_each (it, &pool->jobs) {
		struct rbd_job *waiting = list_entry(it, struct rbd_job, link);

		if (!waiting->waits_for_volume || waiting->volume->gone || pool->closing ||
		    pool->rejoining)
			continue;
		job = rbd_job_new(pool, waiting->volume, NULL);
		if (!job)
			return;
		pool->taking = true;
		rbd_job_gate(job, rbd_gate_try, tried);
		return;
	}
}

/* The owner sees what is wanted within a second; whoever takes it looks for that more often. */
static void wanted(struct rbd_job *job)
{
	struct rbd_pool *pool = job->pool;

	if (job->result < 0) {
		rbd_job_end(job, job->result);
	} else if (!volume_standby(&job->volume->volume)) {
		rbd_job_end(job, 0);
	} else {
		job->waits_for_volume = true;
		if (!pool->taking)
			timer_start(&pool->take_poll, RBD_TAKE_NS);
		pool->taking = true;
	}
}

static void answer_taken(struct rbd_pool *pool)
{
	list_for_each_safe (it, &pool->jobs) {
		struct rbd_job *job = list_entry(it, struct rbd_job, link);

		if (job->waits_for_volume &&
		    (!job->call || pool->closing || !volume_standby(&job->volume->volume)))
			rbd_job_end(job, 0);
	}
}

static void rbd_volume_take(struct volume *base, struct pool_call *call)
{
	struct rbd_volume *volume = (struct rbd_volume *)base;
	struct err err = {0};
	struct rbd_job *job;

	if (volume->pool->rejoining) {
		err_set(&err, -EAGAIN, "pool %s is joining the cluster again", volume->pool->name);
		refuse(volume->pool->home, call, &err);
		return;
	}
	job = rbd_job_new(volume->pool, volume, call);
	if (job)
		rbd_job_gate(job, rbd_gate_want, wanted);
}

static void pinned(struct rbd_job *job)
{
	rbd_job_end(job, job->result);
}

static void rbd_volume_pin(struct volume *base, enum volume_pin pin, struct pool_call *call)
{
	struct rbd_volume *volume = (struct rbd_volume *)base;
	struct err err = {0};
	struct rbd_job *job;

	if (volume->pool->rejoining) {
		err_set(&err, -EAGAIN, "pool %s is joining the cluster again", volume->pool->name);
		refuse(volume->pool->home, call, &err);
		return;
	}
	job = rbd_job_new(volume->pool, volume, call);
	if (!job)
		return;
	job->pin = pin;
	rbd_job_gate(job, rbd_gate_pin, pinned);
}

/* ---- questions */

static struct volume *rbd_find_volume(struct pool *base, const char *name)
{
	struct rbd_pool *pool = (struct rbd_pool *)base;
	struct rbd_volume *volume =
	    strchr(name, '@') ? rbd_snapshot_find(pool, name) : rbd_volume_of(pool, name);

	return volume ? volume_ref(&volume->volume) : NULL;
}

static struct volume *rbd_volume_next(struct pool *base, struct volume *previous)
{
	struct rbd_pool *pool = (struct rbd_pool *)base;
	struct list *it =
	    previous ? ((struct rbd_volume *)previous)->link.next : pool->volumes.next;
	struct volume *next = NULL;

	while (it != &pool->volumes && list_entry(it, struct rbd_volume, link)->gone)
		it = it->next;
	if (it != &pool->volumes)
		next = volume_ref(&list_entry(it, struct rbd_volume, link)->volume);
	volume_unref(previous);
	return next;
}

static void rbd_get_info(struct pool *base, struct pool_info *ret_info)
{
	struct rbd_pool *pool = (struct rbd_pool *)base;
	struct pool_info info = {
	    .device_count = 1,
	    .volume_count = pool->volume_count,
	    .size_bytes = __atomic_load_n(&pool->size_bytes, __ATOMIC_RELAXED),
	    .used_bytes = __atomic_load_n(&pool->used_bytes, __ATOMIC_RELAXED),
	    .free_bytes = __atomic_load_n(&pool->free_bytes, __ATOMIC_RELAXED),
	    .provisioned_bytes = __atomic_load_n(&pool->provisioned_bytes, __ATOMIC_RELAXED),
	    .full = __atomic_load_n(&pool->full, __ATOMIC_RELAXED),
	    .waiting = __atomic_load_n(&pool->slow, __ATOMIC_RELAXED),
	    .read_only = __atomic_load_n(&pool->blocklisted, __ATOMIC_RELAXED),
	};

	snprintf(info.name, sizeof info.name, "%s", pool->name);
	memcpy(info.uuid, pool->uuid, sizeof info.uuid);
	if (info.read_only)
		snprintf(info.read_only_reason, sizeof info.read_only_reason,
			 "the cluster has shut this gateway out; it is about to join again");
	*ret_info = info;
}

static const char *rbd_pool_name(const struct pool *pool)
{
	return ((const struct rbd_pool *)pool)->name;
}

static const char *rbd_device_path(const struct pool *pool, unsigned index)
{
	return index == 0 ? ((const struct rbd_pool *)pool)->address.text : NULL;
}

static uint64_t rbd_volume_used(struct volume *volume)
{
	return __atomic_load_n(&((struct rbd_volume *)volume)->used_bytes, __ATOMIC_RELAXED);
}

/* ---- what Ceph does by itself */

static void not_ours(struct loop *loop, struct pool_call *call)
{
	struct err err = {0};

	err_set(&err, -EOPNOTSUPP, "an RBD pool is checked and scrubbed by Ceph");
	refuse(loop, call, &err);
}

static void rbd_check(struct pool *pool, bool data, struct pool_check_report *report,
		      struct pool_call *call)
{
	(void)data, (void)report;
	not_ours(((struct rbd_pool *)pool)->home, call);
}

static void rbd_check_devices(const struct world_ops *world, struct loop *loop,
			      const char *const *paths, unsigned path_count, bool data,
			      struct pool_check_report *report, struct pool_call *call)
{
	(void)world, (void)paths, (void)path_count, (void)data, (void)report;
	not_ours(loop, call);
}

static void rbd_checkpoint(struct pool *pool, struct pool_call *call)
{
	call->loop = ((struct rbd_pool *)pool)->home;
	pool_answer(call, 0);
}

const struct pool_ops rbd_pool_ops = {
    .name = "rbd",
    .create = rbd_pool_create,
    .open = rbd_pool_open,
    .close = rbd_pool_close,
    .volume_create = rbd_volume_create,
    .volume_delete = rbd_volume_delete,
    .volume_resize = rbd_volume_resize,
    .volume_shrink = rbd_volume_shrink,
    .volume_rename = rbd_volume_rename,
    .volume_take = rbd_volume_take,
    .volume_pin = rbd_volume_pin,
    .volume_note = rbd_volume_note,
    .find_volume = rbd_find_volume,
    .volume_next = rbd_volume_next,
    .get_info = rbd_get_info,
    .pool_name = rbd_pool_name,
    .device_path = rbd_device_path,
    .volume_used_bytes = rbd_volume_used,
    .check = rbd_check,
    .checkpoint = rbd_checkpoint,
    .snapshot_create = rbd_snapshot_create,
    .snapshot_next = rbd_snapshot_next,
    .snapshot_get_info = rbd_snapshot_get_info,
    .snapshot_of = rbd_snapshot_of,
    .snapshot_delete = rbd_snapshot_delete,
    .snapshot_rename = rbd_snapshot_rename,
    .snapshot_hold = rbd_snapshot_hold,
    .snapshot_release = rbd_snapshot_release,
    .volume_clone = rbd_snapshot_clone,
    .volume_promote = rbd_clone_promote,
    .volume_rollback = rbd_volume_rollback,
    .volume_diff = rbd_volume_diff,
    .check_devices = rbd_check_devices,
};
