/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEBADMIN_MOVE_H
#define WEBADMIN_MOVE_H

#include "volumes/move.h"
#include "webadmin/model.h"

/* Inside webadmin/: volumes on their way to another pool. volumes/move.h copies; here is which of
 * the two is the volume, in a row of the store that is there from before the copy is made until the
 * old one is gone:
 *
 *   (no row) --intent--> COPYING --switch--> SWITCHED --all tidied up--> (no row)
 *                           \--stop--> GIVEN_UP --the copy is deleted--> (no row)
 *
 * W1 COPYING and GIVEN_UP: the source is the volume; the destination, named NAME.moving, is
 * nobody's. SWITCHED: the destination is, and nobody uses the source any more. The switch is one
 *    transaction with the rows of the volume's LUNs, while no change of a guest is under way, and
 *    everything that was acknowledged is durable in the destination.
 * W2 The half that is not the volume is not shown, found or served: move_hides().
 * W3 Where other gateways see the volume (RBD), both halves are pinned to this one from before the
 *    first copy until the switch is over, so that none of them takes the wrong one for the volume.
 * W4 Whatever ends the daemon, the next one goes on where the row says. Of a copy that was cut off
 *    both halves are read, and what differs is written. */

struct webadmin;
struct api_request;

enum move_state { MOVE_COPYING, MOVE_SWITCHED, MOVE_GIVEN_UP };

struct model_move {
	struct list link;
	uint8_t volume[16];
	char source[POOL_NAME_MAX + 1], destination[POOL_NAME_MAX + 1];
	char name[VOLUME_NAME_MAX + 1];
	enum move_state state; /* as it is stored */
	bool paused;
	bool drop_snapshots;
	uint64_t rate; /* bytes a second; 0: as fast as it goes */

	struct webadmin *admin;
	struct volume_move *engine;
	bool running;   /* a fiber has it */
	bool retrying;  /* the fiber waits, for time or for somebody */
	bool stuck;     /* for somebody */
	bool kicked;    /* who came */
	bool let_go;    /* the source is pinned to nobody */
	bool clear_way; /* no command can reach the source any more */
	struct volume_move_progress last;
	char reason[MODEL_REASON_MAX];
};

/* The tap of one that is over. */
struct retired_move {
	struct list link;
	struct volume_move *engine;
};

#define MOVES_MAX     16u
#define MOVE_SUFFIX   ".moving"
#define MOVE_NAME_MAX (VOLUME_NAME_MAX - (sizeof MOVE_SUFFIX - 1))

/* Rows; store_load_move inside store_load(). */
int store_load_move(struct config_statement *statement, struct model *model);
int store_add_move(struct config *config, const struct model_move *move, struct err *err);
int store_set_move(struct config *config, const struct model_move *move, enum move_state state,
		   struct err *err);

struct model_move *model_move_add(struct model *model, const uint8_t volume[16]);
struct model_move *model_move_of(struct model *model, const uint8_t volume[16]);
void model_move_remove(struct model_move *move);
/* move_hides: is @volume the half that is not the volume? */
bool move_hides(struct model *model, const struct volume *volume);
/* move_blocks: @volume is being copied, so nothing else may be done to it: a code, and @err; NULL:
 * it is not. */
const char *move_blocks(struct model *model, const struct volume *volume, struct err *err);
/* move_uses_pool: the name of a volume that moves there or from there; NULL: none. */
const char *move_uses_pool(struct model *model, const char *pool);

/* move_start: go on with it, in the background. moves_start: with all; after the pools are open.
 * moves_cancel: none goes on from now on. moves_stop: done() when nothing of them is under way;
 * their volumes are free then. */
void move_start(struct webadmin *admin, struct model_move *move);
void moves_start(struct webadmin *admin);
void moves_cancel(struct webadmin *admin);
void moves_stop(struct webadmin *admin, void (*done)(struct webadmin *admin));
void moves_free(struct webadmin *admin);

json_t *show_move(const struct model_move *move);

#endif
