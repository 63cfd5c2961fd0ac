/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEBADMIN_BIN_H
#define WEBADMIN_BIN_H

#include "webadmin/model.h"

/* Inside webadmin/: what was deleted is kept for a while. A volume in the bin of its pool has
 * another name there (so its own is free) and a row in the store; it keeps its identity, its data,
 * its snapshots and its limits, and a share its rules.
 *
 *   delete: row -> rename -> gone for everybody
 *   restore: rename -> the row goes -> as it was
 *   purge: snapshots, then the volume, are deleted -> the row goes
 *
 * B1 It is in the bin when there is a row and the pool has it by the name of that row. Whatever
 *    ends the daemon in between, or an older configuration that is restored, the pool decides: a
 *    row without such a volume is dropped by bin_settle().
 * B2 What is in the bin is not shown, found or served: model_hides().
 * B3 It gives way: the oldest first when its time is over, when there are more than BIN_MAX, and,
 *    before any snapshot is given up, when the pool is at its end (pool_spends()).
 * B4 A share's rows stay while it is in the bin; they are not loaded. */

#define BIN_MAX           256u /* of a pool */
#define BIN_HOURS_MAX     8760u
#define BIN_HOURS_DEFAULT 72u

struct api_request;
struct webadmin;

#define BIN_ID 33

struct bin_entry {
	struct list link; /* of the pool's, the oldest first */
	uint8_t uuid[16];
	char name[VOLUME_NAME_MAX + 1], kept_as[VOLUME_NAME_MAX + 1];
	char who[80];
	int64_t deleted, until; /* seconds since 1970 */
	bool share;
	uint64_t rest_ns; /* loop_now(): it could not be deleted, and is not tried before */
	char reason[512]; /* why */
};

/* bin_offered: this kind of pool has one. */
bool bin_offered(const struct model_pool *pool);
/* model_hides: is @volume, or the volume it is a snapshot of, in the bin, or the half of a move
 * that is not the volume? */
bool model_hides(struct model *model, const struct volume *volume);
unsigned bin_count(const struct model_pool *pool);
/* An entry by its UUID's 32 digits, or the one of this name that was deleted last; NULL: none. */
struct bin_entry *bin_find(struct model_pool *pool, const char *text);
const char *bin_id(const struct bin_entry *entry, char text[BIN_ID]);
/* A reference; NULL: the pool is away. */
struct volume *bin_volume(struct model_pool *pool, const struct bin_entry *entry);
json_t *bin_show(struct model_pool *pool, const struct bin_entry *entry);
void bin_show_pool(json_t *object, const struct model_pool *pool);
void bin_drop(struct bin_entry *entry);   /* from the model */
void bin_finish(struct model_pool *pool); /* all of them */
/* The next one that is to go: its time is over, there are too many; @spends: any. NULL: none. */
struct bin_entry *bin_next(struct webadmin *admin, struct model_pool *pool, bool spends);

/* bin_load: rows, into pools that are in the model. bin_settle: a pool is open: what B1 says. */
int bin_add_row(struct config *config, const char *pool, const struct bin_entry *entry,
		struct err *err);
int bin_remove_row(struct config *config, const uint8_t uuid[16], struct err *err);
int bin_load(struct config *config, struct model *model, struct err *err);
void bin_settle(struct webadmin *admin, struct model_pool *pool);
int bin_set_hours(struct webadmin *admin, struct model_pool *pool, unsigned hours, struct err *err);

/* api_bin.c. bin_refuses: @request->volume has snapshots, which ?snapshots=1 does not let go with
 * it or which have to stay, and 409 has been sent. bin_put: request->volume goes into the bin;
 * done() with the entry, or NULL and request->err. bin_purge: request->volume and its snapshots are
 * deleted; done() with 0 and request->volume gone, or -errno and request->err. bin_forget: nothing
 * in the store knows a volume that was deleted any more. */
bool bin_refuses(struct api_request *request, bool share);
void bin_put(struct api_request *request, bool share,
	     void (*done)(struct api_request *request, struct bin_entry *entry));
void bin_purge(struct api_request *request, void (*done)(struct api_request *request, int result));
int bin_forget(struct config *config, const uint8_t uuid[16], struct err *err);
/* What a DELETE says; @entry NULL: it is gone for good. */
json_t *bin_answer(const char *pool, const char *name, const struct bin_entry *entry);
/* The answer to a dry DELETE of a volume or a share, @volume NULL: it is gone already. */
void bin_reply_dry(struct api_request *request, const char *kind, struct volume *volume);
/* bin_wanted: by the request's ?to_bin=1 and the pool: does what is deleted go there? bin_missing:
 * it is asked for where there is none, and the request is answered. */
bool bin_wanted(struct api_request *request, const char *pool);
bool bin_missing(struct api_request *request, const char *pool);

#endif
