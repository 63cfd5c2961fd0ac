/* SPDX-License-Identifier: Apache-2.0 */
/* replace.c: another volume takes the place of a logical unit's, while commands come and go. A
 * callback that has read lu->volume may use what it has read until it ends. So when each thread
 * that could be inside one has taken a message since, nobody uses the old volume: the loops of the
 * unit's nexuses, and the reservations' thread; that thread's fibers, which wait in between, hold
 * a reference of their own. */
#include <errno.h>

#include "core/heap.h"
#include "target/internal.h"

struct hop {
	struct message message;
	struct replacement *of;
};

struct replacement {
	struct loop *control;
	unsigned under_way;
	void (*done)(void *context);
	void *context;
	unsigned count;
	struct hop hops[]; /* the reservations' thread's first */
};

static void back(struct message *message)
{
	struct replacement *replacement = container_of(message, struct hop, message)->of;

	if (--replacement->under_way > 0)
		return;
	replacement->done(replacement->context);
	heap_free(replacement);
}

static void there(struct message *message)
{
	loop_post(container_of(message, struct hop, message)->of->control, message, back);
}

static unsigned count_itls(const struct scsi_lu *lu)
{
	unsigned count = 0;

	list_for_each (it, &lu->mappings) {
		const struct scsi_lun_mapping *mapping =
		    list_entry(it, struct scsi_lun_mapping, lu_link);

		list_for_each (it2, &mapping->itls)
			count++;
	}
	return count;
}

/* To each I_T_L nexus's loop, several times where they share one. */
static void send_to_all(struct replacement *replacement, const struct scsi_lu *lu)
{
	list_for_each (it, &lu->mappings) {
		const struct scsi_lun_mapping *mapping =
		    list_entry(it, struct scsi_lun_mapping, lu_link);

		list_for_each (it2, &mapping->itls) {
			struct hop *hop = &replacement->hops[replacement->count++];

			hop->of = replacement;
			loop_post(list_entry(it2, struct scsi_itl, mapping_link)->nexus->loop,
				  &hop->message, there);
		}
	}
}

int scsi_volume_replace(struct volume *from, struct volume *to, void (*done)(void *context),
			void *context)
{
	struct replacement *replacement;
	struct scsi_lu *lu;
	unsigned count;

	topology_lock();
	lu = lu_of(from->identity.uuid);
	if (lu && lu->volume != from)
		lu = NULL;
	count = lu ? count_itls(lu) : 0;
	replacement = heap_zalloc(sizeof(*replacement) + (count + 1) * sizeof(struct hop));
	if (!replacement) {
		topology_unlock();
		return -ENOMEM;
	}
	*replacement = (struct replacement){
	    .control = loop_current(), .under_way = count + 1, .done = done, .context = context};
	replacement->count = 1;
	replacement->hops[0].of = replacement;
	if (lu) {
		lu_replace(lu, to);
		send_to_all(replacement, lu);
	}
	topology_unlock();
	pr_store_post(&replacement->hops[0].message, there);
	return 0;
}

bool scsi_volume_sanitized(const uint8_t uuid[16])
{
	const struct scsi_lu *lu;
	bool any;

	topology_lock();
	lu = lu_of(uuid);
	any = lu && __atomic_load_n(&lu->sanitize, __ATOMIC_ACQUIRE) != SANITIZE_NONE;
	topology_unlock();
	return any;
}
