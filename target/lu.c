/* SPDX-License-Identifier: Apache-2.0 */
/* lu.c: logical units. A volume is one logical unit however often it is mapped; the registry
 * finds it by the volume's UUID. Also LUN numbers on the wire. */
#include <string.h>

#include "core/heap.h"
#include "target/internal.h"
#include "target/wire.h"
#include "volumes/pool.h"

static pthread_mutex_t topology = PTHREAD_MUTEX_INITIALIZER;
static struct list registry = {&registry, &registry}; /* topology lock */

void topology_lock(void)
{
	pthread_mutex_lock(&topology);
}

void topology_unlock(void)
{
	pthread_mutex_unlock(&topology);
}

/* SAM-5 4.6.6.2 peripheral device addressing (bus 0) and 4.6.6.3 flat space addressing. */
int lun_decode(const uint8_t lun[8])
{
	for (unsigned i = 2; i < 8; i++)
		if (lun[i])
			return LUN_NONE;
	switch (lun[0] >> 6) {
	case 0:
		return lun[0] ? LUN_NONE : lun[1];
	case 1:
		return get_be16(lun) & 0x3fff;
	default:
		return LUN_NONE;
	}
}

void lun_encode(unsigned lun, uint8_t ret_lun[8])
{
	memset(ret_lun, 0, 8);
	put_be16(ret_lun, (uint16_t)(lun < 256 ? lun : 0x4000 | lun));
}

void lu_attention(struct scsi_lu *lu, enum attention kind, const struct scsi_nexus *except)
{
	list_for_each (it, &lu->mappings) {
		struct scsi_lun_mapping *mapping = list_entry(it, struct scsi_lun_mapping, lu_link);

		list_for_each (it2, &mapping->itls) {
			struct scsi_itl *itl = list_entry(it2, struct scsi_itl, mapping_link);

			if (itl->nexus == except)
				continue;
			attention_set(itl, kind);
			nexus_news(itl->nexus, kind);
		}
	}
}

/* How many of the pool's watermarks are reached. */
static unsigned fullness(const struct volume *volume)
{
	struct pool_info info = {0};

	if (volume->pool)
		pool_get_info(volume->pool, &info);
	return info.watermark_level;
}

/* Is it a threshold that was reached, and not one the pool has come below again? */
static bool threshold_reached(struct scsi_lu *lu)
{
	unsigned before = lu->threshold_level;

	lu->threshold_level = fullness(lu->volume);
	return lu->threshold_level > before || !lu->volume->pool;
}

/* Control loop: the volume has been changed, or its pool fills up. */
static void volume_changed(struct volume_watcher *watcher, struct volume *volume,
			   enum volume_change change)
{
	struct scsi_lu *lu = container_of(watcher, struct scsi_lu, watcher);
	enum attention kind = ATTENTION_CAPACITY_CHANGED;

	(void)volume;
	if (change == VOLUME_ACCESS || change == VOLUME_NOTED)
		pr_share_refresh(lu);
	if (change == VOLUME_THRESHOLD && threshold_reached(lu))
		kind = ATTENTION_THRESHOLD;
	else if (change == VOLUME_ACCESS)
		kind = ATTENTION_ACCESS_CHANGED;
	else if (change == VOLUME_ROLLED_BACK)
		kind = ATTENTION_MEDIUM_CHANGED;
	else if (change != VOLUME_RESIZED)
		return;
	if (change == VOLUME_ROLLED_BACK) /* what the tokens stand for is no longer there */
		odx_source_changes(lu, 0, UINT64_MAX);
	topology_lock();
	lu_attention(lu, kind, NULL);
	topology_unlock();
}

struct scsi_lu *lu_of(const uint8_t uuid[16])
{
	list_for_each (it, &registry) {
		struct scsi_lu *lu = list_entry(it, struct scsi_lu, link);

		if (memcmp(lu->volume->identity.uuid, uuid, 16) == 0)
			return lu;
	}
	return NULL;
}

struct scsi_lu *lu_get(struct volume *volume, bool cdrom)
{
	struct scsi_lu *lu = lu_of(volume->identity.uuid);

	if (lu) {
		lu->refs++;
		sanitize_lu_init(lu); /* it may just have stopped because the unit was to go */
		return lu;
	}
	lu = heap_zalloc(sizeof(*lu));
	if (!lu)
		return NULL;
	lu->refs = 1;
	lu->cdrom = cdrom;
	lu->volume = volume_ref(volume);
	list_init(&lu->mappings);
	pthread_mutex_init(&lu->lock, NULL);
	lock_table_init(&lu->ranges);
	mode_init(lu);
	pr_lu_init(lu);
	sanitize_lu_init(lu);
	lu->threshold_level = fullness(volume);
	lu->watcher.changed = volume_changed;
	list_init(&lu->watcher.link);
	volume_watch(volume, &lu->watcher);
	list_push_back(&registry, &lu->link);
	pr_share_refresh(lu);
	return lu;
}

void lu_put(struct scsi_lu *lu)
{
	if (--lu->refs > 0)
		return;
	list_remove(&lu->link);
	volume_unwatch(&lu->watcher);
	sanitize_lu_finish(lu);
	pr_lu_finish(lu);
	volume_unref(lu->volume);
	pthread_mutex_destroy(&lu->lock);
	lock_table_finish(&lu->ranges);
	odx_lu_gone(lu);
	heap_free(lu);
}

void lu_replace(struct scsi_lu *lu, struct volume *volume)
{
	struct volume *before = lu->volume;

	volume_unwatch(&lu->watcher);
	lu->volume = volume_ref(volume);
	volume_watch(volume, &lu->watcher);
	lu->threshold_level = fullness(volume);
	pr_share_moved(lu);
	volume_unref(before);
}

void lu_release_reservation(struct scsi_lu *lu, const struct scsi_nexus *nexus)
{
	if (__atomic_load_n(&lu->holder, __ATOMIC_ACQUIRE) != nexus)
		return;
	pthread_mutex_lock(&lu->lock);
	if (lu->holder == nexus)
		__atomic_store_n(&lu->holder, NULL, __ATOMIC_RELEASE);
	pthread_mutex_unlock(&lu->lock);
}

void lu_reset(struct scsi_lu *lu)
{
	pthread_mutex_lock(&lu->lock);
	__atomic_store_n(&lu->holder, NULL, __ATOMIC_RELEASE);
	mode_power_on(lu);
	pthread_mutex_unlock(&lu->lock);
	list_for_each (it, &lu->mappings) {
		struct scsi_lun_mapping *mapping = list_entry(it, struct scsi_lun_mapping, lu_link);

		list_for_each (it2, &mapping->itls)
			__atomic_store_n(
			    &list_entry(it2, struct scsi_itl, mapping_link)->tray_locked, false,
			    __ATOMIC_RELAXED);
	}
}
