/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEBADMIN_LIMITS_H
#define WEBADMIN_LIMITS_H

#include "webadmin/admin.h"
#include "webadmin/api.h"

/* Inside webadmin/: limits of volumes (volume.h) as the administrator set them. They stay with this
 * machine: what a volume may take of it says nothing about another one. */

/* limits_apply: every limit of the store to its volume, as far as find() knows it (a borrowed
 * reference, or NULL). */
void limits_apply(struct webadmin *admin,
		  struct volume *(*find)(void *context, const uint8_t uuid[16]), void *context);

/* PATCH of request->volume with "iops", "bandwidth" or "burst"; what is not given stays. */
bool limits_asked(const struct api_request *request);
void limits_change(struct api_request *request);

int limits_forget(struct config *config, const uint8_t uuid[16], struct err *err);

#endif
