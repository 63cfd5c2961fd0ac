/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VOLUMES_PASSTHROUGH_H
#define VOLUMES_PASSTHROUGH_H

#include "volumes/pool.h"

/* Passthrough: a block device, an LVM logical volume or a file of the machine as a volume, bytes
 * for bytes, with an identity given by the administrator (of the target it was exported by before).
 * Such volumes are in a pool of their own kind, which has no devices and keeps nothing on disk: who
 * makes it tells it its volumes again at every start.
 * What the device does not do is not there: checksums, reservations, snapshots, atomic writes
 * of more than one block; growing and shrinking is the device's business (volume_rescan()). */

/* passthrough_create: an empty pool. Context: the control loop, which is @loop. -ENOMEM. */
int passthrough_create(const struct world_ops *world, struct loop *loop, const char *name,
		       const uint8_t uuid[16], struct pool **ret_pool, struct err *err)
    __attribute__((warn_unused_result));

struct passthrough_spec {
	const char *name; /* without the pool's */
	const char *path; /* absolute */
	struct volume_identity identity;
	bool read_only;
	/* Nonzero: the size last known, and a device that can not be opened now is no error: the
	 * volume is there, its requests fail with -EIO until volume_rescan() finds it. */
	uint64_t known_size;
};

/* passthrough_try: would passthrough_attach() do it? Opens the device and lets go of it. *ret_size:
 * bytes. Context and errors: as there. */
int passthrough_try(struct pool *pool, const struct passthrough_spec *spec, uint64_t *ret_size,
		    struct err *err) __attribute__((warn_unused_result));
/* passthrough_attach: open @spec->path for this process alone and make it a volume of @pool, a
 * reference for the caller. Context: the control loop; may block in open(2).
 * Errors: -EEXIST (the name), -EBUSY (somebody uses the device, or it is in @pool already),
 * -ENOENT .., -EOPNOTSUPP (blocks of more than 512 bytes); *ret_volume untouched. */
int passthrough_attach(struct pool *pool, const struct passthrough_spec *spec,
		       struct volume **ret_volume, struct err *err)
    __attribute__((warn_unused_result));

struct passthrough_info {
	const char *path;
	bool available;
	const char *reason; /* when it is not */
};
/* false: @volume is of another kind. Context: the control loop; valid until the volume goes. */
bool passthrough_get_info(const struct volume *volume, struct passthrough_info *ret_info);

#endif
