/* SPDX-License-Identifier: Apache-2.0 */
/* erase.c: may what a volume has be overwritten where it is (VOLUME_IN_PLACE), so that nothing of
 * it is left on the medium? The write itself is io_write.c's: it takes the slots that are mapped,
 * keeps them, and refuses when one is to be had by somebody else too.
 *
 * What is out of reach: slots that the volume gave back earlier (discarded, redirected by an atomic
 * write or beside a snapshot, moved by an evacuation). They are free space of the pool, or the
 * unmapped rest of a 64 KiB chunk that the volume still has. */
#include <errno.h>

#include "volumes/native.h"

int volume_erasable(struct volume *volume)
{
	if (!volume->ops->erasable)
		return -EOPNOTSUPP;
	if (__atomic_load_n(&volume->tap, __ATOMIC_ACQUIRE)) /* another node has it, too */
		return -EBUSY;
	return volume->ops->erasable(volume);
}

/* A strict volume's slots are never overwritten in place: one that is torn would be no slot any
 * more. A parent stays until everything that only it has is given back. */
int native_erasable(struct volume *public)
{
	struct nvolume *volume = nvolume_of(public);
	struct native *native = volume->native;
	int result = 0;

	if (public->checksum == VOLUME_CHECKSUM_STRICT)
		return -EOPNOTSUPP;
	native_lock(native);
	if (volume->parent || volume->taking || !list_empty(&volume->offspring) ||
	    !list_empty(&volume->snapshots))
		result = -EBUSY;
	if (public->mirror && away_any(native)) /* a copy would stay */
		result = -EBUSY;
	pthread_mutex_unlock(&native->lock); /* nothing became due */
	return result;
}
