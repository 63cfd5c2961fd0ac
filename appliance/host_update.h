/* SPDX-License-Identifier: Apache-2.0 */
#ifndef APPLIANCE_HOST_UPDATE_H
#define APPLIANCE_HOST_UPDATE_H

#include <jansson.h>
#include <stdint.h>

#include "core/err.h"

/* Inside the helper: updates of the appliance, asked for through the API. A bundle may be uploaded,
 * in pieces, each at the offset that is told; it lies beside the settings' file:
 *
 *   SETTINGS.bundle       what has arrived of it
 *   SETTINGS.bundle.json  {"name", "size", "complete", "resumed"}, durable before the first piece;
 *                         resumed: gone on with, its end needs a checksum
 *
 * The helper looks at no byte of it: granary-update does, in a unit of its own that start() starts,
 * and says in report.h's files how far it is. */
#define BUNDLE_PIECE_MAX (1u << 20)
#define BUNDLE_SIZE_MAX  (4ull << 30)
#define BUNDLE_NAME_MAX  200u
#define BUNDLE_ROOM      (256ull << 20)       /* stays free on the state partition */
#define UPDATE_START_NS  (30 * 1000000000ull) /* for the unit to begin */
#define UPDATE_PATH_ROOM 256

struct host_update {
	char bundle[UPDATE_PATH_ROOM], note[UPDATE_PATH_ROOM]; /* paths */
	const char *folder;                                    /* report.h's */
	uint64_t asked_ns; /* when start() was called; 0: never, or it has begun since */
	int (*start)(struct err *err);
};

/* update_init: @settings: path of the settings' file, @folder: report.h's (borrowed). */
void update_init(struct host_update *update, const char *settings, const char *folder,
		 int (*start)(struct err *err));

/* What comes: a request's body and its query. What goes: {"status", "body"}. @now: of the loop. */
json_t *update_show(struct host_update *update, const json_t *body, uint64_t now);
json_t *update_ask(struct host_update *update, const json_t *body, uint64_t now);
/* An install that is under way is given up, between two blocks; update_show() says when. */
json_t *update_cancel(struct host_update *update, const json_t *body, uint64_t now);
json_t *update_rollback(struct host_update *update, const json_t *body, uint64_t now);
json_t *bundle_begin(struct host_update *update, const json_t *body, uint64_t now);
json_t *bundle_piece(struct host_update *update, const json_t *body, uint64_t now);
json_t *bundle_end(struct host_update *update, const json_t *body, uint64_t now);
json_t *bundle_drop(struct host_update *update, const json_t *body, uint64_t now);

#endif
