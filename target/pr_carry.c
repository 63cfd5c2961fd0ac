/* SPDX-License-Identifier: Apache-2.0 */
/* pr_carry.c: persistent reservations that go with a volume to another node: told there while they
 * are in force here (export), and put in force there before anybody is let in (import). */
#include <errno.h>
#include <string.h>

#include "core/heap.h"
#include "target/internal.h"

int scsi_reservations_check(const uint8_t *data, size_t length)
{
	struct pr_state state = {0};
	int result = pr_note_decode(data, length, &state);

	pr_state_finish(&state);
	return result;
}

/* Topology lock held. What the unit has, or, when the volume is no LUN, what is kept for it. */
static int state_of(const uint8_t uuid[16], struct pr_state *ret_state)
{
	struct scsi_lu *lu = lu_of(uuid);
	int result;

	if (!lu) {
		pr_store_peek(uuid, ret_state);
		return 0;
	}
	pthread_mutex_lock(&lu->lock);
	result = lu->pr_busy ? -EBUSY : pr_state_copy(&lu->pr, ret_state);
	pthread_mutex_unlock(&lu->lock);
	return result;
}

int scsi_reservations_export(const uint8_t uuid[16], uint8_t **ret_data, size_t *ret_length)
{
	struct pr_state state = {0};
	int result;

	topology_lock();
	result = state_of(uuid, &state);
	topology_unlock();
	if (result == 0)
		result = pr_note_encode(&state, ret_data, ret_length);
	pr_state_finish(&state);
	return result;
}

struct import {
	struct message message;
	uint8_t uuid[16];
	struct pr_state state;
	struct loop *home;
	int result;
	void (*done)(void *context, int result);
	void *context;
};

static void imported(struct message *message)
{
	struct import *import = container_of(message, struct import, message);

	import->done(import->context, import->result);
	pr_state_finish(&import->state);
	heap_free(import);
}

/* Kept first, then in force, if it is a LUN here already. */
static int put_in_place(struct import *import)
{
	int result = pr_store_bring(import->uuid, &import->state);
	struct scsi_lu *lu;
	bool any;

	if (result < 0)
		return result;
	topology_lock();
	lu = lu_of(import->uuid);
	if (lu) {
		result = pr_share_mark_lost(&lu->pr, &import->state, &any);
		if (result == 0) {
			pr_put_in_force(lu, &import->state);
			pr_release_reserve6(lu);
			pr_store_brought(import->uuid);
		}
	}
	topology_unlock();
	return result;
}

static void import_on_thread(struct message *message)
{
	struct import *import = container_of(message, struct import, message);

	import->result = put_in_place(import);
	loop_post(import->home, &import->message, imported);
}

void scsi_reservations_import(const uint8_t uuid[16], const uint8_t *data, size_t length,
			      void (*done)(void *context, int result), void *context)
{
	struct import *import = heap_zalloc(sizeof(*import));
	int result = import ? pr_note_decode(data, length, &import->state) : -ENOMEM;

	if (result < 0) {
		heap_free(import);
		done(context, result);
		return;
	}
	memcpy(import->uuid, uuid, 16);
	import->home = loop_current();
	import->done = done;
	import->context = context;
	pr_store_post(&import->message, import_on_thread);
}
