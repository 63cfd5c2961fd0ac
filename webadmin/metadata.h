/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEBADMIN_METADATA_H
#define WEBADMIN_METADATA_H

#include <jansson.h>

#include "core/err.h"

/* Inside webadmin/: what programs and people note of objects (an owner, a ticket, the id another
 * system has for it), as texts by name. Every object that a GET shows can have some: PUT
 * /api/v1/metadata names it by its path, GETs show it as "metadata". It belongs to the object's
 * UUID where there is one, and so stays over renames; else to its path. Context: the control loop.
 */
struct webadmin;
struct api_request;

#define METADATA_OBJECTS_MAX 65536u
#define METADATA_NAMES_MAX   32u /* of one object */
#define METADATA_NAME_MAX    63u
#define METADATA_TEXT_MAX    1024u

/* metadata_load: at creation. metadata_free: at the end. */
int metadata_load(struct webadmin *admin, struct err *err) __attribute__((warn_unused_result));
void metadata_free(struct webadmin *admin);
/* metadata_dress: "metadata" into what a GET of @path shows, an object or a list of such.
 * metadata_gone: the object at @path has been deleted for good. */
void metadata_dress(struct webadmin *admin, const char *path, json_t *body);
void metadata_gone(struct webadmin *admin, const char *path);
void api_metadata_set(struct api_request *request);

#endif
