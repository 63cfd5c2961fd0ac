/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEBADMIN_PASSTHROUGH_H
#define WEBADMIN_PASSTHROUGH_H

#include "volumes/passthrough.h"
#include "webadmin/admin.h"
#include "webadmin/api.h"

/* Inside webadmin/: devices of the machine as volumes. They are in one pool of this name, which is
 * there from the first of them on; the store remembers device and identity. */
#define PASSTHROUGH_POOL "passthrough"

bool model_pool_is_passthrough(const struct model_pool *pool);

/* passthrough_start: make the pool of @pool and attach what the store knows and is not attached
 * yet. -EBUSY when a device is in use and not @last: the kernel may still hold it for a process
 * that was killed. Devices that are not there are logged, and volumes without a device. */
int passthrough_start(struct webadmin *admin, struct model_pool *pool, bool last);

/* POST /api/v1/volumes with a "device". */
void passthrough_volume_create(struct api_request *request);

/* Rows. store_rename_device and store_size_device: inside a transaction of the caller. */
int store_remove_device(struct config *config, const uint8_t uuid[16], struct err *err);
int store_rename_device(struct config *config, const uint8_t uuid[16], const char *name,
			struct err *err);
int store_size_device(struct config *config, const uint8_t uuid[16], uint64_t size,
		      struct err *err);

#endif
