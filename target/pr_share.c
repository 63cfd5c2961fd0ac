/* SPDX-License-Identifier: Apache-2.0 */
/* pr_share.c: persistent reservations of a unit that several gateways have. What is true stands in
 * the volume's note (volumes/pool.h), which is changed by whoever knows its number; here is a copy,
 * in force.
 *
 * 1. Whoever carries out a PERSISTENT RESERVE command reads the note first; a change that finds
 *    the number taken reads and decides again. So of two that contend, one wins.
 * 2. A gateway that begins to serve the volume lets no command at its data before it has read the
 *    note: pr_share_current(). Until then its commands are answered BUSY.
 * 3. Whoever changes the note without serving the volume waits until the gateway that does goes by
 *    it (VOLUME_NOTE_SEEN): when PREEMPT is GOOD, what the preempted had under way there is over.
 * 4. A note that was never written: what this gateway keeps (APTPL) counts.
 *
 * Fibers of the reservations' thread; one at a time for each unit (pr_turn). */
#include <errno.h>
#include <string.h>

#include "core/fiber.h"
#include "core/heap.h"
#include "core/log.h"
#include "target/internal.h"
#include "volumes/pool.h"

#define TURN_NS  1000000ull
#define DRAIN_NS 10000000ull
#define AGAIN_NS 1000000000ull
#define DRAINS   400u /* 4 s, as task management has */

struct note_wait {
	struct volume_note_call call;
	struct fiber *fiber;
	int result;
	bool over;
};

static void note_done(struct volume_note_call *call, int result)
{
	struct note_wait *wait = container_of(call, struct note_wait, call);

	wait->result = result;
	wait->over = true;
	fiber_wake(wait->fiber);
}

static int note(struct volume *volume, enum volume_note_kind kind, struct note_wait *wait)
{
	wait->call.kind = kind;
	wait->call.done = note_done;
	wait->fiber = fiber_current();
	wait->over = false;
	volume_note(volume, &wait->call);
	while (!wait->over)
		fiber_wait();
	return wait->result;
}

void pr_share_begin(struct scsi_lu *lu)
{
	while (lu->pr_turn)
		fiber_sleep(TURN_NS);
	lu->pr_turn = true;
}

void pr_share_end(struct scsi_lu *lu)
{
	lu->pr_turn = false;
}

/* ---- from the note into force */

int pr_share_mark_lost(const struct pr_state *now, struct pr_state *next, bool *ret_any)
{
	unsigned count = next->count;

	*ret_any = false;
	for (unsigned i = 0; i < now->count; i++) {
		const struct pr_registration *entry = &now->list[i];
		struct pr_registration *gone;

		if (pr_state_find(next, &entry->identity))
			continue;
		gone = pr_state_add(next, &entry->identity, entry->key);
		if (!gone)
			return -ENOMEM;
		gone->removed = true;
		gone->attentions = 1u << ATTENTION_REGISTRATIONS_PREEMPTED;
		*ret_any = true;
	}
	for (unsigned i = 0; i < count; i++)
		if (now->type && !next->type && pr_type_for_registrants(now->type) &&
		    pr_state_find(now, &next->list[i].identity))
			next->list[i].attentions |= 1u << ATTENTION_RESERVATIONS_RELEASED;
	return 0;
}

static bool has_tasks(const struct scsi_lu *lu, const struct pr_state *lost)
{
	list_for_each (it, &lu->mappings) {
		const struct scsi_lun_mapping *mapping =
		    list_entry(it, struct scsi_lun_mapping, lu_link);

		list_for_each (it2, &mapping->itls) {
			const struct scsi_itl *itl = list_entry(it2, struct scsi_itl, mapping_link);

			for (unsigned i = 0; i < lost->count; i++)
				if (lost->list[i].removed &&
				    pr_is_nexus(&lost->list[i].identity, itl->nexus) &&
				    __atomic_load_n(&itl->work_count, __ATOMIC_RELAXED))
					return true;
		}
	}
	return false;
}

/* What those who lost their registration had begun is at its end, or 4 s are over. Not their
 * PERSISTENT RESERVE commands: those wait for this. */
static void drain(const uint8_t uuid[16], const struct pr_state *lost)
{
	bool busy = true;

	for (unsigned i = 0; busy && i < DRAINS; i++) {
		struct scsi_lu *lu;

		topology_lock();
		lu = lu_of(uuid);
		busy = lu && has_tasks(lu, lost);
		topology_unlock();
		if (busy)
			fiber_sleep(DRAIN_NS);
	}
}

/* What the note says, as a state; number 0: nothing yet. */
static int read_note(struct volume *volume, struct pr_state *ret_state, uint64_t *ret_number)
{
	struct note_wait wait = {0};
	int result = note(volume, VOLUME_NOTE_GET, &wait);

	*ret_number = wait.call.number;
	if (result == 0 && wait.call.number)
		result = pr_note_decode(wait.call.data, wait.call.length, ret_state);
	if (result == -EPROTO)
		log_error("volume %s: its reservations in the cluster make no sense", volume->name);
	heap_free(wait.call.data);
	return result;
}

/* Looked up again: the unit may have gone meanwhile. */
static int take(const uint8_t uuid[16], struct pr_state *next, uint64_t number)
{
	struct pr_state lost = {0};
	struct scsi_lu *lu;
	bool any = false, keep;
	int result = 0;

	topology_lock();
	lu = lu_of(uuid);
	keep = lu && number && number != lu->pr_number && (lu->pr.aptpl || next->aptpl);
	topology_unlock();
	if (keep && pr_store_save(uuid, next) < 0)
		return -EIO;
	topology_lock();
	lu = lu_of(uuid);
	if (lu && !number)
		lu->pr_number = 0; /* of a volume that it had before */
	if (lu && number && number != lu->pr_number) {
		result = pr_share_mark_lost(&lu->pr, next, &any);
		if (result == 0 && any)
			result = pr_state_copy(next, &lost);
		if (result == 0) {
			pr_put_in_force(lu, next);
			lu->pr_number = number;
		}
	}
	topology_unlock();
	if (any && result == 0)
		drain(uuid, &lost);
	pr_state_finish(&lost);
	return result;
}

int pr_share_fetch(const uint8_t uuid[16], struct volume *volume, uint64_t *ret_number)
{
	struct pr_state next = {0};
	int result = read_note(volume, &next, ret_number);

	if (result == 0)
		result = take(uuid, &next, *ret_number);
	pr_state_finish(&next);
	return result;
}

int pr_share_store(struct scsi_lu *lu, struct volume *volume, const struct pr_state *state)
{
	struct note_wait wait = {.call = {.number = lu->pr_number}};
	int result = pr_note_encode(state, &wait.call.data, &wait.call.length);
	uint8_t *data = wait.call.data;

	if (result == 0)
		result = note(volume, VOLUME_NOTE_SET, &wait);
	heap_free(data);
	if (result == 0)
		lu->pr_number = wait.call.number;
	return result;
}

/* ---- when the gateway begins to serve, and when it hears of a change */

struct refresh {
	struct message message;
	uint8_t uuid[16];
	bool wait; /* the last round failed */
	bool said; /* that others do not hear of it */
};

/* What one look at the note goes by: a volume may take another's place between two. */
struct round {
	struct volume *volume; /* referenced */
	uint32_t term, asked;
	bool ours; /* what is in force here is what the note is to say, when it says nothing */
};

/* A turn of a unit that may go: true when it is gone, or ours. */
static bool take_turn(const uint8_t uuid[16])
{
	struct scsi_lu *lu;
	bool got = true;

	topology_lock();
	lu = lu_of(uuid);
	if (lu) {
		got = !lu->pr_turn;
		lu->pr_turn = true;
	}
	topology_unlock();
	return got;
}

static void give_turn(const uint8_t uuid[16])
{
	struct scsi_lu *lu;

	topology_lock();
	lu = lu_of(uuid);
	if (lu)
		lu->pr_turn = false;
	topology_unlock();
}

/* The first to write the note of a volume that has just come here, with its reservations. */
static int hand_over(struct refresh *refresh, struct volume *volume)
{
	struct note_wait wait = {0};
	struct scsi_lu *lu;
	int result = 0;

	topology_lock();
	lu = lu_of(refresh->uuid);
	if (lu && (lu->pr.count || lu->pr.generation))
		result = pr_note_encode(&lu->pr, &wait.call.data, &wait.call.length);
	topology_unlock();
	if (wait.call.data) {
		uint8_t *data = wait.call.data;

		result = note(volume, VOLUME_NOTE_SET, &wait);
		heap_free(data);
	}
	if (result < 0 && !refresh->said)
		log_error("volume %s: other gateways do not hear of its reservations yet: %s",
			  volume->name, strerror(-result));
	refresh->said |= result < 0;
	return result;
}

int pr_share_clear(const uint8_t uuid[16], struct volume *volume, int (*clear)(const uint8_t *uuid))
{
	struct pr_state state = {0};
	struct note_wait wait;
	struct scsi_lu *lu;
	uint8_t *data;
	int result;

	while (!take_turn(uuid))
		fiber_sleep(TURN_NS);
	do {
		wait = (struct note_wait){0};
		data = NULL;
		result = read_note(volume, &state, &wait.call.number);
		if (result == 0) {
			pr_state_clear(&state);
			result = pr_note_encode(&state, &data, &wait.call.length);
		}
		pr_state_finish(&state);
		wait.call.data = data;
		if (result == 0)
			result = note(volume, VOLUME_NOTE_SET, &wait);
		heap_free(data);
	} while (result == -ESTALE);
	if (result == 0)
		result = clear(uuid);
	topology_lock();
	lu = lu_of(uuid);
	if (lu && result == 0)
		lu->pr_number = wait.call.number;
	topology_unlock();
	give_turn(uuid);
	return result;
}

/* Before the note is read. False: the unit is gone. */
static bool round_begin(const uint8_t uuid[16], struct round *ret_round)
{
	const struct scsi_lu *lu;

	topology_lock();
	lu = lu_of(uuid);
	if (lu)
		*ret_round = (struct round){
		    .volume = volume_ref(lu->volume),
		    .term = __atomic_load_n(&lu->volume->term, __ATOMIC_ACQUIRE),
		    .asked = __atomic_load_n(&lu->pr_wanted, __ATOMIC_ACQUIRE),
		    .ours = lu->pr_ours,
		};
	topology_unlock();
	return lu != NULL;
}

/* True: it is over; false: it was asked for again meanwhile, or is not done. */
static bool settle(const uint8_t uuid[16], const struct round *round, int result)
{
	struct scsi_lu *lu;
	bool over = true;

	topology_lock();
	lu = lu_of(uuid);
	if (lu) {
		bool same = lu->volume == round->volume;

		/* What could not be read may fence somebody: nothing is current then, and the next
		 * command has it read again. */
		if (same && (result == 0 || !volume_standby(lu->volume)))
			__atomic_store_n(&lu->pr_term, result == 0 ? round->term : round->term - 1,
					 __ATOMIC_RELEASE);
		if (same && !round->ours)
			lu->pr_ours = false;
		__atomic_store_n(&lu->pr_refreshing, false, __ATOMIC_SEQ_CST);
		over = (__atomic_load_n(&lu->pr_wanted, __ATOMIC_SEQ_CST) == round->asked &&
			!lu->pr_ours) ||
		       __atomic_exchange_n(&lu->pr_refreshing, true, __ATOMIC_SEQ_CST);
	}
	topology_unlock();
	return over;
}

/* There was no memory for it: the next command has it tried again. */
static void not_read(struct scsi_lu *lu)
{
	if (!volume_standby(lu->volume))
		__atomic_store_n(&lu->pr_term,
				 __atomic_load_n(&lu->volume->term, __ATOMIC_ACQUIRE) - 1,
				 __ATOMIC_RELEASE);
	__atomic_store_n(&lu->pr_refreshing, false, __ATOMIC_RELEASE);
}

static bool is_in_force(const uint8_t uuid[16], const struct volume *volume, uint64_t number)
{
	const struct scsi_lu *lu;
	bool is;

	topology_lock();
	lu = lu_of(uuid);
	is = lu && lu->volume == volume && lu->pr_number == number;
	topology_unlock();
	return is;
}

/* Whoever changed the note waits for that. Not @last: it is said again soon. */
static void say_seen(const uint8_t uuid[16], struct volume *volume, struct note_wait *seen,
		     bool last)
{
	while (!volume_standby(volume) && is_in_force(uuid, volume, seen->call.number) &&
	       note(volume, VOLUME_NOTE_SEEN, seen) < 0 && last)
		fiber_sleep(AGAIN_NS);
}

/* True: once is enough. */
static bool refresh_once(struct refresh *refresh)
{
	struct round round;
	struct note_wait seen = {0};
	bool over;
	int result = 0;

	while (!take_turn(refresh->uuid))
		fiber_sleep(TURN_NS);
	if (!round_begin(refresh->uuid, &round))
		return true;
	if (round.volume->shared)
		result = pr_share_fetch(refresh->uuid, round.volume, &seen.call.number);
	if (result == 0 && round.ours &&
	    (seen.call.number || hand_over(refresh, round.volume) == 0))
		round.ours = false;
	give_turn(refresh->uuid);
	over = settle(refresh->uuid, &round, result);
	if (result == 0 && seen.call.number)
		say_seen(refresh->uuid, round.volume, &seen, over);
	refresh->wait = result < 0 || round.ours;
	volume_unref(round.volume);
	return over;
}

static void refresh_main(void *context)
{
	struct refresh *refresh = context;

	while (!refresh_once(refresh))
		if (refresh->wait)
			fiber_sleep(AGAIN_NS);
	heap_free(refresh);
}

static void refresh_on_thread(struct message *message)
{
	struct refresh *refresh = container_of(message, struct refresh, message);
	struct scsi_lu *lu;

	if (fiber_start(loop_current(), refresh_main, refresh) == 0)
		return;
	topology_lock();
	lu = lu_of(refresh->uuid);
	if (lu)
		not_read(lu);
	topology_unlock();
	heap_free(refresh);
}

void pr_share_refresh(struct scsi_lu *lu)
{
	struct refresh *refresh;

	if (!lu->volume->shared || !pr_store_ready())
		return;
	__atomic_fetch_add(&lu->pr_wanted, 1, __ATOMIC_SEQ_CST);
	if (__atomic_exchange_n(&lu->pr_refreshing, true, __ATOMIC_SEQ_CST))
		return;
	refresh = heap_zalloc(sizeof(*refresh));
	if (!refresh) {
		not_read(lu);
		return;
	}
	memcpy(refresh->uuid, lu->volume->identity.uuid, sizeof(refresh->uuid));
	pr_store_post(&refresh->message, refresh_on_thread);
}

void pr_share_moved(struct scsi_lu *lu)
{
	__atomic_store_n(&lu->pr_term, __atomic_load_n(&lu->volume->term, __ATOMIC_ACQUIRE),
			 __ATOMIC_RELEASE);
	lu->pr_number = 0;
	lu->pr_ours = lu->volume->shared && pr_store_ready();
	pr_share_refresh(lu);
}

bool pr_share_current(struct scsi_lu *lu)
{
	const struct volume *volume = lu->volume;

	if (!volume->shared || !pr_store_ready() ||
	    __atomic_load_n(&volume->term, __ATOMIC_ACQUIRE) ==
		__atomic_load_n(&lu->pr_term, __ATOMIC_ACQUIRE))
		return true;
	if (!__atomic_load_n(&lu->pr_refreshing, __ATOMIC_ACQUIRE))
		pr_share_refresh(lu);
	return false;
}

/* ---- PERSISTENT RESERVE IN */

enum { STEP_NEW, STEP_FRESH, STEP_FAILED };

static void in_again(struct message *message)
{
	struct scsi_task *task = container_of(message, struct scsi_task, message);

	itl_count_work(task->itl, 1);
	if (task->step == STEP_FRESH) {
		task->opcode->execute(task);
		return;
	}
	task->status = SCSI_BUSY;
	task_finish(task);
}

static void in_main(void *context)
{
	struct scsi_task *task = context;
	struct scsi_lu *lu = task->itl->lu;
	struct volume *volume = volume_ref(lu->volume);
	uint64_t number;
	int result;

	pr_share_begin(lu);
	result = pr_share_fetch(volume->identity.uuid, volume, &number);
	pr_share_end(lu);
	volume_unref(volume);
	task->step = result == 0 ? STEP_FRESH : STEP_FAILED;
	loop_post(task->nexus->loop, &task->message, in_again);
}

static void in_on_thread(struct message *message)
{
	struct scsi_task *task = container_of(message, struct scsi_task, message);

	if (fiber_start(loop_current(), in_main, task) == 0)
		return;
	task->step = STEP_FAILED;
	loop_post(task->nexus->loop, &task->message, in_again);
}

bool pr_share_reads_first(struct scsi_task *task)
{
	const struct volume *volume = task->itl->lu->volume;

	if (!volume->shared || !pr_store_ready() || task->step == STEP_FRESH)
		return false;
	itl_count_work(task->itl, -1);
	pr_store_post(&task->message, in_on_thread);
	return true;
}
