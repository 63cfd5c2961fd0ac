/* SPDX-License-Identifier: Apache-2.0 */
/* rbd_gate.c: which of several gateways serves a volume.
 *
 * The owner of an image's exclusive lock does, alone: the lock is taken explicitly, so that librbd
 * gives it to nobody who asks, and every other gateway shows the volume as standby. In the object
 * granary.pool stand for each gateway G
 *   gateway.G  the address it has in the cluster now
 *   alive.G    a number that it changes once a second
 *   want.UUID  a gateway that asks for the volume: its owner lets go of it (planned move), when
 *              who keeps it there (volume_keep) has; gone again when it has it, of no account
 *              when it is dead
 *   gone.UUID  the gateway that serves the volume and is about to erase its image: the others
 *              close theirs, unless the volume is a LUN there; of no account when it
 *              is dead, and taken back by it when it is not so
 * An image's metadata may pin it (granary.pin): to one gateway, from which nobody takes it while
 * its data is on the way to another pool or from there, not even when that gateway is dead; or to
 * none. A gateway whose number has not changed in DEAD_LOOKS looks at our own pace is dead: whoever
 * wants its volumes breaks their locks, which has the cluster shut the old owner out first
 * (blocklist). Whatever it still sends is refused, so that being wrong about its death costs it its
 * connection and nobody any data.
 *
 * Context: the gate worker, but for what says home. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/heap.h"
#include "core/log.h"
#include "volumes/rbd.h"

#define DEAD_LOOKS   5
#define SLOW_LOOK_NS (1500 * 1000000ull) /* the cluster was slow: nobody is blamed for that */
#define KEYS_MAX     4096
#define WATCHERS_MAX 64
#define PIN_KEY      "granary.pin"
#define PIN_NOBODY   "no gateway"   /* never a gateway's name: those have no blanks */
#define PIN_UNNAMED  "this gateway" /* of a pool without a name for it */

static uint64_t clock_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void copy_text(char *to, size_t size, const char *from, size_t length)
{
	if (length >= size)
		length = size - 1;
	memcpy(to, from, length);
	to[length] = '\0';
}

static struct rbd_peer *peer_of(struct rbd_pool *pool, const char *gateway)
{
	struct rbd_peer *peer;

	list_for_each (it, &pool->peers) {
		peer = list_entry(it, struct rbd_peer, link);
		if (strcmp(peer->gateway, gateway) == 0)
			return peer;
	}
	peer = heap_zalloc(sizeof *peer);
	if (!peer)
		return NULL;
	copy_text(peer->gateway, sizeof peer->gateway, gateway, strlen(gateway));
	list_push_back(&pool->peers, &peer->link);
	return peer;
}

void rbd_gate_finish(struct rbd_pool *pool)
{
	struct list *link;

	while ((link = list_pop_front(&pool->peers)))
		heap_free(list_entry(link, struct rbd_peer, link));
}

/* ---- what the others say */

static const char *serial_of(const struct rbd_volume *volume)
{
	return volume->volume.identity.serial;
}

static int by_serial(const void *a, const void *b)
{
	return strcmp(serial_of(*(struct rbd_volume *const *)a),
		      serial_of(*(struct rbd_volume *const *)b));
}

/* The first that is not before it; the job's are sorted. */
static unsigned find_serial(const struct rbd_job *job, const char *serial)
{
	unsigned low = 0, high = job->volume_count;

	while (low < high) {
		unsigned middle = low + (high - low) / 2;

		if (strcmp(serial_of(job->volumes[middle]), serial) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static void take_of_volume(struct rbd_job *job, const char *key, const char *value)
{
	const char *serial = key + 5;

	for (unsigned i = find_serial(job, serial);
	     i < job->volume_count && strcmp(serial_of(job->volumes[i]), serial) == 0; i++) {
		struct rbd_volume *volume = job->volumes[i];

		if (strncmp(key, "want.", 5) == 0)
			copy_text(volume->wanted_by, sizeof volume->wanted_by, value,
				  strlen(value));
		else if (strncmp(key, "gone.", 5) == 0)
			copy_text(volume->erased_by, sizeof volume->erased_by, value,
				  strlen(value));
		else
			rbd_note_heard(volume, key, value);
	}
}

static void take_value(struct rbd_pool *pool, struct rbd_job *job, const char *key,
		       const char *value)
{
	struct rbd_peer *peer;

	if (strncmp(key, "gateway.", 8) == 0) {
		peer = peer_of(pool, key + 8);
		if (!peer)
			return;
		if (strcmp(peer->address, value) != 0)
			peer->fresh = true; /* it has begun anew, and counts from its first look */
		snprintf(peer->address, sizeof peer->address, "%s", value);
	} else if (strncmp(key, "alive.", 6) == 0) {
		peer = peer_of(pool, key + 6);
		if (peer && strcmp(peer->alive, value) != 0) {
			copy_text(peer->alive, sizeof peer->alive, value, strlen(value));
			peer->misses = 0;
			peer->fresh = true;
		}
	} else if (strncmp(key, "note.", 5) == 0 || strncmp(key, "seen.", 5) == 0 ||
		   strncmp(key, "want.", 5) == 0 || strncmp(key, "gone.", 5) == 0) {
		take_of_volume(job, key, value);
	}
}

/* Up to KEYS_MAX values behind the key @last, which becomes the last of them. */
static int look_further(struct rbd_job *job, char last[RBD_TEXT_MAX], unsigned char *ret_more)
{
	struct rbd_pool *pool = job->pool;
	rados_read_op_t op = ceph.rados_create_read_op();
	rados_omap_iter_t values = NULL;
	char *found_key, *found;
	size_t key_length, length;
	int result, inner = 0;

	if (!op)
		return -ENOMEM;
	ceph.rados_read_op_omap_get_vals2(op, last, "", KEYS_MAX, &values, ret_more, &inner);
	result = ceph.rados_read_op_operate(op, pool->ioctx, RBD_IDENTITY_OBJECT, 0);
	while (result >= 0 && inner >= 0 &&
	       ceph.rados_omap_get_next2(values, &found_key, &found, &key_length, &length) == 0 &&
	       found_key) {
		char value[RBD_TEXT_MAX];

		copy_text(last, RBD_TEXT_MAX, found_key, key_length);
		copy_text(value, sizeof value, found, length);
		take_value(pool, job, last, value);
	}
	if (values)
		ceph.rados_omap_get_end(values);
	ceph.rados_release_read_op(op);
	return result < 0 ? result : inner;
}

static int look_around(struct rbd_job *job)
{
	char last[RBD_TEXT_MAX] = "", before[RBD_TEXT_MAX];
	unsigned char more;
	int result;

	if (job->volume_count)
		qsort(job->volumes, job->volume_count, sizeof *job->volumes, by_serial);
	for (unsigned i = 0; i < job->volume_count; i++)
		job->volumes[i]->wanted_by[0] = job->volumes[i]->erased_by[0] = '\0';
	do {
		more = 0;
		memcpy(before, last, sizeof before);
		result = look_further(job, last, &more);
	} while (result == 0 && more && strcmp(before, last) != 0);
	return result;
}

static int say_alive(struct rbd_pool *pool)
{
	char key[RBD_TEXT_MAX + 16], value[32];

	snprintf(key, sizeof key, "alive.%s", pool->address.gateway);
	snprintf(value, sizeof value, "%llu", (unsigned long long)clock_ns());
	return rbd_set_text(pool, key, value);
}

static void count_misses(struct rbd_pool *pool, bool slow)
{
	list_for_each (it, &pool->peers) {
		struct rbd_peer *peer = list_entry(it, struct rbd_peer, link);

		if (slow || peer->fresh)
			peer->misses = 0;
		else
			peer->misses++;
		peer->fresh = false;
	}
}

/* Is it an address of a gateway, and of which? */
static struct rbd_peer *peer_at(struct rbd_pool *pool, const char *address)
{
	list_for_each (it, &pool->peers) {
		struct rbd_peer *peer = list_entry(it, struct rbd_peer, link);

		if (rbd_same_address(peer->address, address))
			return peer;
	}
	return NULL;
}

static bool is_dead(const struct rbd_pool *pool, const struct rbd_peer *peer)
{
	return peer->misses >= DEAD_LOOKS && strcmp(peer->gateway, pool->address.gateway) != 0;
}

/* ---- one volume */

static const char *own_pin(const struct rbd_pool *pool)
{
	return pool->address.gateway[0] ? pool->address.gateway : PIN_UNNAMED;
}

int rbd_gate_set_pin(struct rbd_pool *pool, rbd_image_t image, enum volume_pin pin)
{
	int result;

	if (pin != VOLUME_PIN_NONE)
		return ceph.rbd_metadata_set(image, PIN_KEY,
					     pin == VOLUME_PIN_HERE ? own_pin(pool) : PIN_NOBODY);
	result = ceph.rbd_metadata_remove(image, PIN_KEY);
	return result == -ENOENT ? 0 : result;
}

/* 0: this gateway may serve it; -EBUSY: another one alone may, or none; or the cluster's error. */
static int read_pin(struct rbd_volume *volume)
{
	char text[RBD_TEXT_MAX];
	size_t length = sizeof text;
	int result = ceph.rbd_metadata_get(volume->image, PIN_KEY, text, &length);

	volume->pinned = false;
	if (result == -ENOENT)
		return 0;
	if (result < 0)
		return result == -ERANGE ? -EBUSY : result;
	volume->pinned = strncmp(text, own_pin(volume->pool), sizeof text) == 0;
	return volume->pinned ? 0 : -EBUSY;
}

static bool wanted_elsewhere(const struct rbd_volume *volume)
{
	const struct rbd_peer *peer;

	if (volume->pinned)
		return false;
	if (!volume->wanted_by[0] || strcmp(volume->wanted_by, volume->pool->address.gateway) == 0)
		return false;
	peer = peer_of(volume->pool, volume->wanted_by);
	return !peer || !is_dead(volume->pool, peer);
}

int rbd_gate_erasing(struct rbd_volume *volume, bool begin)
{
	char key[64];

	snprintf(key, sizeof key, "gone.%s", volume->volume.identity.serial);
	return rbd_set_text(volume->pool, key, begin ? volume->pool->address.gateway : "");
}

/* A look finds no volume that this gateway erases: a key of our own is one of an earlier life. */
static bool is_leaving(struct rbd_volume *volume)
{
	bool own = strcmp(volume->erased_by, volume->pool->address.gateway) == 0;
	bool leaving = false;

	if (volume->erased_by[0] && own) {
		rbd_gate_erasing(volume, false);
	} else if (volume->erased_by[0]) {
		const struct rbd_peer *peer = peer_of(volume->pool, volume->erased_by);

		leaving = peer && !is_dead(volume->pool, peer);
	}
	__atomic_store_n(&volume->leaving, leaving, __ATOMIC_RELEASE);
	return leaving;
}

static bool is_owner(struct rbd_volume *volume)
{
	int owner = 0;

	return ceph.rbd_is_exclusive_lock_owner(volume->image, &owner) == 0 && owner;
}

static void set_standby(struct rbd_volume *volume, bool standby)
{
	__atomic_store_n(&volume->volume.standby, standby, __ATOMIC_RELEASE);
}

static int acquire(struct rbd_volume *volume)
{
	char key[64];
	int result = read_pin(volume);

	if (result == 0)
		result = ceph.rbd_lock_acquire(volume->image, RBD_LOCK_MODE_EXCLUSIVE);
	if (result == 0 && !is_owner(volume))
		result = -EBUSY;
	if (result < 0)
		return result;
	result = read_pin(volume); /* whoever had it meanwhile may have pinned it */
	if (result < 0) {
		ceph.rbd_lock_release(volume->image);
		return result;
	}
	result = rbd_snap_is_rolling(volume);
	__atomic_store_n(&volume->rolling, result > 0, __ATOMIC_RELEASE);
	if (result != 0)
		return result < 0 ? result : -EBUSY; /* served when it is there */
	if (volume->wanted_by[0]) {
		snprintf(key, sizeof key, "want.%s", volume->volume.identity.serial);
		rbd_set_text(volume->pool, key, "");
		volume->wanted_by[0] = '\0';
	}
	__atomic_fetch_add(&volume->volume.term, 1, __ATOMIC_RELEASE);
	set_standby(volume, false);
	return 0;
}

/* The owner is nobody's present address: the lock was left by a life of a gateway that ended before
 * it had said its address, say. As long as such a client watches the image, it lives; anything but
 * a list without it counts for that. */
static bool is_stray(struct rbd_volume *volume, const char *owner)
{
	rbd_image_watcher_t watchers[WATCHERS_MAX];
	size_t count = WATCHERS_MAX;
	bool watches = false;

	if (ceph.rbd_watchers_list(volume->image, watchers, &count) < 0) {
		volume->stray_looks = 0;
		return false;
	}
	for (size_t i = 0; i < count; i++)
		watches |= rbd_same_address(watchers[i].addr, owner);
	ceph.rbd_watchers_list_cleanup(watchers, count);
	if (watches)
		volume->stray_looks = 0;
	else if (volume->stray_at != volume->pool->looks) /* a look counts once: rbd_gate_try() */
		volume->stray_looks++;
	volume->stray_at = volume->pool->looks;
	return volume->stray_looks >= RBD_STRAY_LOOKS;
}

static bool owner_is_dead(struct rbd_volume *volume, const struct rbd_peer *peer, const char *owner)
{
	if (peer)
		volume->stray_looks = 0;
	if (rbd_same_address(volume->pool->former, owner))
		return true;
	return peer ? is_dead(volume->pool, peer) : is_stray(volume, owner);
}

/* False: somebody else has it, and may keep it. */
static bool may_take(struct rbd_volume *volume)
{
	struct rbd_pool *pool = volume->pool;
	rbd_lock_mode_t mode;
	char *owner = NULL;
	size_t count = 1;
	struct rbd_peer *peer;
	bool take = false;
	int result = ceph.rbd_lock_get_owners(volume->image, &mode, &owner, &count);

	if (result == -ENOENT || (result == 0 && count == 0)) {
		volume->stray_looks = 0;
		return !wanted_elsewhere(volume);
	}
	if (result < 0)
		return false;
	peer = peer_at(pool, owner);
	if (owner_is_dead(volume, peer, owner) && read_pin(volume) == 0) {
		uint64_t begin = clock_ns();
		bool broken;

		result = ceph.rbd_lock_break(volume->image, mode, owner);
		broken = result == 0 || result == -ENOENT;
		volume->stray_looks = 0;
		take = broken && !wanted_elsewhere(volume);
		if (peer)
			log_warning("volume %s/%s: gateway %s is gone, its lock is %s (%llu ms)",
				    pool->name, volume->volume.name, peer->gateway,
				    broken ? "broken" : strerror(-result),
				    (unsigned long long)((clock_ns() - begin) / 1000000));
		else if (!rbd_same_address(pool->former, owner))
			log_warning("volume %s/%s: the lock of a client that is gone, %s, is %s",
				    pool->name, volume->volume.name, owner,
				    broken ? "broken" : strerror(-result));
	}
	ceph.rbd_lock_get_owners_cleanup(&owner, count);
	return take;
}

/* Requests that are with librbd are over when the lock is; from standby on no more come. */
static void let_go(struct rbd_volume *volume)
{
	set_standby(volume, true);
	ceph.rbd_flush(volume->image);
	if (ceph.rbd_lock_release(volume->image) < 0)
		log_warning("volume %s/%s: its lock can not be given back", volume->pool->name,
			    volume->volume.name);
}

static void settle_own(struct rbd_volume *volume)
{
	bool wanted = wanted_elsewhere(volume), kept = volume_kept(&volume->volume);

	__atomic_store_n(&volume->asked, wanted && kept, __ATOMIC_RELEASE);
	if (wanted && !kept)
		let_go(volume);
	else if (!wanted && volume->volume.standby)
		acquire(volume);
}

void rbd_gate_settle(struct rbd_volume *volume)
{
	bool leaving = is_leaving(volume), owner;

	if (!volume->image)
		return;
	owner = is_owner(volume);
	if (owner && leaving) { /* taken while it was being erased */
		let_go(volume);
		return;
	}
	if (owner) {
		volume->stray_looks = 0;
		settle_own(volume);
		return;
	}
	__atomic_store_n(&volume->asked, false, __ATOMIC_RELEASE);
	set_standby(volume, true);
	/* a share that is still open is of an earlier term, and is closed first */
	if (!leaving && !volume_kept(&volume->volume) && may_take(volume))
		acquire(volume);
}

/* ---- a look */

int rbd_gate_look(struct rbd_job *job)
{
	struct rbd_pool *pool = job->pool;
	uint64_t begin = clock_ns(), said;
	int result = say_alive(pool);

	if (result == 0)
		result = look_around(job);
	if (result < 0)
		return result;
	count_misses(pool, clock_ns() - begin > SLOW_LOOK_NS ||
			       begin - pool->looked_ns > SLOW_LOOK_NS + RBD_TICK_NS);
	said = begin;
	pool->looks++;
	for (unsigned i = 0; i < job->volume_count; i++) {
		rbd_gate_settle(job->volumes[i]);
		if (clock_ns() - said < RBD_TICK_NS)
			continue;
		said = clock_ns(); /* however many volumes there are: this gateway lives */
		say_alive(pool);
	}
	pool->looked_ns = clock_ns();
	return 0;
}

int rbd_gate_pin(struct rbd_job *job)
{
	struct rbd_volume *volume = job->volume;
	int result;

	if (!volume->image)
		return -ENXIO;
	if (volume_standby(&volume->volume) || !is_owner(volume))
		return err_set(&job->err, -EREMOTE, "volume %s is served by another gateway",
			       volume->volume.name);
	result = rbd_gate_set_pin(volume->pool, volume->image, job->pin);
	if (result == 0)
		volume->pinned = job->pin == VOLUME_PIN_HERE;
	return result;
}

int rbd_gate_want(struct rbd_job *job)
{
	struct rbd_volume *volume = job->volume;
	char key[64];
	int result;

	snprintf(key, sizeof key, "want.%s", volume->volume.identity.serial);
	result = rbd_set_text(job->pool, key, job->pool->address.gateway);
	if (result == 0) /* acquire() takes the key away, also before a look has seen it */
		snprintf(volume->wanted_by, sizeof volume->wanted_by, "%s",
			 job->pool->address.gateway);
	return result;
}

/* Between two looks, so that guests do not wait for the next one. */
int rbd_gate_try(struct rbd_job *job)
{
	if (volume_standby(&job->volume->volume))
		rbd_gate_settle(job->volume);
	return 0;
}
