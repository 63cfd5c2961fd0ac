/* SPDX-License-Identifier: Apache-2.0 */
/* pr.c: persistent reservations (SPC-4 5.12, 6.15, 6.16) of live logical units: the conflict
 * check, PERSISTENT RESERVE IN, and the way of PERSISTENT RESERVE OUT:
 *
 *   its nexus's loop            the reservations' thread (pr_store.c)
 *   pr_out ---------------->  copy the state, execute on the copy [pr_state.c], store it if it
 *                             is to survive a power loss, put it in force: roles and unit
 *                             attentions of the I_T_L nexuses
 *   out_is_back <-----------  the commands of the preempted are aborted [tmf.c], then status
 *
 * One thread makes all changes, so a change that can not be stored never was in force, and two
 * clusters never mix. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/fiber.h"
#include "core/heap.h"
#include "core/log.h"
#include "target/internal.h"
#include "target/wire.h"

#define OUT_LIST_MIN  24u
#define OUT_LIST_MAX  8192u
#define FLAGS_BYTE    20
#define SPEC_I_PT     0x08
#define ALL_TG_PT     0x04
#define APTPL         0x01
#define UNREG         0x02
#define LIST_OVERFLOW ASC_PARAMETER_LIST_LENGTH
#define PR_STALE      (-3) /* beside those of pr_state_execute() */
#define PR_LEAVES     (-4) /* the unit is about to be another node's */
#define PR_AWAY       (-5) /* it is */

/* ---- the check of every command */

bool pr_allows(const struct scsi_itl *itl, const struct scsi_opcode *row)
{
	enum pr_type type = __atomic_load_n(&itl->lu->pr_type, __ATOMIC_ACQUIRE);
	uint32_t role;

	if (type == PR_NONE)
		return true;
	/* Type and role change one after the other; what a nexus may do under any mix of old
	 * and new is what it may do before or after. */
	role = __atomic_load_n(&itl->pr_role, __ATOMIC_ACQUIRE);
	if (role & PR_ROLE_HOLDER || (role && pr_type_for_registrants(type)))
		return true;
	if (!row)
		return false;
	return row->flags & OPCODE_PR_OK ||
	       (row->flags & OPCODE_PR_READ && pr_type_shares_reads(type));
}

/* ---- nexuses and registrations */

bool pr_is_nexus(const struct pr_identity *identity, const struct scsi_nexus *nexus)
{
	return identity->relative_port == nexus->relative_port &&
	       strcmp(identity->initiator_port, nexus->initiator_port) == 0 &&
	       strcmp(identity->target, nexus->target->name) == 0;
}

static void identify(const struct scsi_nexus *nexus, struct pr_identity *ret_identity)
{
	snprintf(ret_identity->initiator_port, sizeof(ret_identity->initiator_port), "%s",
		 nexus->initiator_port);
	snprintf(ret_identity->target, sizeof(ret_identity->target), "%s", nexus->target->name);
	ret_identity->relative_port = nexus->relative_port;
}

static const struct pr_registration *registration_of(const struct pr_state *state,
						     const struct scsi_nexus *nexus)
{
	for (unsigned i = 0; i < state->count; i++)
		if (!state->list[i].removed && pr_is_nexus(&state->list[i].identity, nexus))
			return &state->list[i];
	return NULL;
}

static void set_role(struct scsi_itl *itl, const struct pr_state *state)
{
	const struct pr_registration *entry = registration_of(state, itl->nexus);
	uint32_t role = entry ? PR_ROLE_REGISTERED : 0;

	if (state->type && pr_state_holds(state, entry))
		role |= PR_ROLE_HOLDER;
	__atomic_store_n(&itl->pr_role, role, __ATOMIC_RELEASE);
}

void pr_attach(struct scsi_itl *itl)
{
	pthread_mutex_lock(&itl->lu->lock);
	set_role(itl, &itl->lu->pr);
	pthread_mutex_unlock(&itl->lu->lock);
}

void pr_lu_init(struct scsi_lu *lu)
{
	pr_store_load(lu->volume->identity.uuid, &lu->pr);
	lu->pr_type = (uint8_t)lu->pr.type;
}

void pr_lu_finish(struct scsi_lu *lu)
{
	pr_state_finish(&lu->pr);
}

/* Topology lock and lu->lock held. */
static void each_itl(struct scsi_lu *lu, const struct pr_state *state,
		     void (*apply)(struct scsi_itl *itl, const struct pr_state *state))
{
	list_for_each (it, &lu->mappings) {
		struct scsi_lun_mapping *mapping = list_entry(it, struct scsi_lun_mapping, lu_link);

		list_for_each (it2, &mapping->itls)
			apply(list_entry(it2, struct scsi_itl, mapping_link), state);
	}
}

/* Those who lost their registration are told as well. */
static void tell(struct scsi_itl *itl, const struct pr_state *state)
{
	for (unsigned i = 0; i < state->count; i++) {
		const struct pr_registration *entry = &state->list[i];

		if (!entry->attentions || !pr_is_nexus(&entry->identity, itl->nexus))
			continue;
		for (unsigned kind = 0; kind < ATTENTION_COUNT; kind++)
			if (entry->attentions & 1u << kind)
				attention_set(itl, (enum attention)kind);
	}
}

void pr_put_in_force(struct scsi_lu *lu, struct pr_state *state)
{
	struct pr_state old;

	pthread_mutex_lock(&lu->lock);
	each_itl(lu, state, tell);
	each_itl(lu, state, set_role);
	__atomic_store_n(&lu->pr_type, (uint8_t)state->type, __ATOMIC_RELEASE);
	pr_state_settle(state);
	old = lu->pr;
	lu->pr = *state;
	lu->pr_busy = false;
	pthread_mutex_unlock(&lu->lock);
	*state = (struct pr_state){0};
	pr_state_finish(&old);
}

static void not_busy(struct scsi_lu *lu)
{
	pthread_mutex_lock(&lu->lock);
	lu->pr_busy = false;
	pthread_mutex_unlock(&lu->lock);
}

/* ---- RESERVE(6) and RELEASE(6) beside it */

bool pr_settles_reserve6(struct scsi_task *task)
{
	struct scsi_lu *lu = task->itl->lu;
	const struct pr_registration *self = registration_of(&lu->pr, task->nexus);

	if (lu->pr.type &&
	    (pr_state_holds(&lu->pr, self) || (self && pr_type_for_registrants(lu->pr.type))))
		return true;
	if (lu->pr.count > 0)
		task->status = SCSI_RESERVATION_CONFLICT;
	else if (lu->pr_busy)
		task->status = SCSI_BUSY;
	else
		return false;
	return true;
}

/* ---- PERSISTENT RESERVE OUT: the parameter list */

/* One command on the reservations' thread. */
struct out {
	struct scsi_task *task;
	struct pr_command command;
	struct pr_identity self;
	struct pr_identity *others; /* heap */
	unsigned other_count, other_room;
	uint16_t ports[SCSI_PORTS_MAX];
	uint8_t *list; /* heap */
	uint32_t length;
};

bool pr_decode_out(struct scsi_task *task)
{
	uint32_t length = get_be32(task->cdb + 5);
	enum pr_action action = (enum pr_action)(task->cdb[1] & 0x1f);
	bool more = action == PR_REGISTER || action == PR_REGISTER_AND_MOVE;

	if (length < OUT_LIST_MIN || length > (more ? OUT_LIST_MAX : OUT_LIST_MIN))
		return sense_set(task, SENSE_ILLEGAL_REQUEST, LIST_OVERFLOW);
	task->direction = SCSI_DATA_OUT;
	task->data_out_wanted = length;
	return true;
}

static int bad_list(struct out *out, uint16_t field)
{
	out->command.field = field;
	return ASC_INVALID_FIELD_IN_LIST;
}

static int add_other(struct out *out, const char *initiator_port)
{
	struct pr_identity *other;

	for (unsigned i = 0; i < out->other_count; i++)
		if (strcmp(out->others[i].initiator_port, initiator_port) == 0)
			return PR_GOOD;
	if (out->other_count == out->other_room) {
		unsigned room = out->other_room ? out->other_room * 2 : 8;
		struct pr_identity *grown = heap_resize(out->others, room * sizeof(*grown));

		if (!grown)
			return PR_NO_MEMORY;
		out->others = grown;
		out->other_room = room;
	}
	other = &out->others[out->other_count++];
	*other = out->self;
	snprintf(other->initiator_port, sizeof(other->initiator_port), "%s", initiator_port);
	return PR_GOOD;
}

static bool is_port_of(const char *initiator_port, const char *node)
{
	size_t length = strlen(node);

	return strncmp(initiator_port, node, length) == 0 && initiator_port[length] == ',';
}

/* A node's name alone means all its ports that are known here: those with a session. */
static int add_node(struct out *out, const char *node, uint16_t field)
{
	unsigned before = out->other_count;
	int result = PR_GOOD;

	topology_lock();
	list_for_each (it, &out->task->nexus->target->nexuses) {
		const struct scsi_nexus *nexus = list_entry(it, struct scsi_nexus, target_link);

		if (result == PR_GOOD && is_port_of(nexus->initiator_port, node))
			result = add_other(out, nexus->initiator_port);
	}
	topology_unlock();
	return result == PR_GOOD && out->other_count == before ? bad_list(out, field) : result;
}

static int read_ids(struct out *out)
{
	uint32_t at = OUT_LIST_MIN + 4;
	char name[SCSI_PORT_NAME_MAX];
	int result = PR_GOOD;

	if (out->length < at || get_be32(out->list + OUT_LIST_MIN) != out->length - at)
		return LIST_OVERFLOW;
	while (result == PR_GOOD && at < out->length) {
		bool port;
		size_t used = transport_id_parse(out->list + at, out->length - at, name, &port);

		if (used == 0)
			return bad_list(out, (uint16_t)at);
		result = port ? add_other(out, name) : add_node(out, name, (uint16_t)at);
		at += (uint32_t)used;
	}
	return result;
}

/* SPC-4 6.16.4: the list of REGISTER AND MOVE. */
static int read_move(struct out *out)
{
	uint32_t length = get_be32(out->list + 20);
	uint16_t port = get_be16(out->list + 18);
	char name[SCSI_PORT_NAME_MAX];
	bool known, whole = false;
	int result;

	out->command.aptpl = out->list[17] & APTPL;
	out->command.unregister = out->list[17] & UNREG;
	if (length != out->length - OUT_LIST_MIN)
		return LIST_OVERFLOW;
	topology_lock();
	known = alua_port(out->task->nexus->target, port) != NULL;
	topology_unlock();
	if (!known)
		return bad_list(out, 18);
	if (transport_id_parse(out->list + OUT_LIST_MIN, length, name, &whole) != length || !whole)
		return bad_list(out, OUT_LIST_MIN);
	result = add_other(out, name);
	if (result == PR_GOOD)
		out->others[0].relative_port = port;
	return result;
}

static int read_register(struct out *out)
{
	uint8_t flags = out->list[FLAGS_BYTE];

	out->command.aptpl = flags & APTPL;
	out->command.spec_i_pt = flags & SPEC_I_PT;
	if (flags & ALL_TG_PT) {
		const struct scsi_target *target = out->task->nexus->target;

		topology_lock();
		for (unsigned i = 0; i < target->port_count; i++)
			if (target->ports[i].open)
				out->ports[out->command.port_count++] = target->ports[i].group;
		topology_unlock();
	}
	if (flags & SPEC_I_PT && out->command.action == PR_REGISTER)
		return read_ids(out);
	return out->length == OUT_LIST_MIN ? PR_GOOD : LIST_OVERFLOW;
}

static int read_list(struct out *out)
{
	struct scsi_task *task = out->task;
	struct pr_command *command = &out->command;
	int result = PR_GOOD;

	out->length = task->data_out_wanted;
	if (task->data_out_length < out->length)
		return LIST_OVERFLOW;
	out->list = heap_zalloc(out->length);
	if (!out->list)
		return PR_NO_MEMORY;
	task_copy_out(task, 0, out->list, out->length);
	identify(task->nexus, &out->self);
	command->action = (enum pr_action)(task->cdb[1] & 0x1f);
	command->scope_type = task->cdb[2];
	command->key = get_be64(out->list);
	command->action_key = get_be64(out->list + 8);
	if (command->action == PR_REGISTER_AND_MOVE)
		result = read_move(out);
	else if (command->action == PR_REGISTER || command->action == PR_REGISTER_AND_IGNORE)
		result = read_register(out);
	else if (out->list[FLAGS_BYTE] & SPEC_I_PT)
		result = bad_list(out, FLAGS_BYTE);
	if (result == PR_GOOD && command->aptpl && !pr_store_ready())
		result = bad_list(out, command->action == PR_REGISTER_AND_MOVE ? 17 : FLAGS_BYTE);
	command->self = &out->self;
	command->ports = out->ports;
	command->others = out->others;
	command->other_count = out->other_count;
	return result;
}

/* ---- PERSISTENT RESERVE OUT: on the reservations' thread */

static bool is_preempted(const struct scsi_itl *itl, void *context)
{
	const struct pr_state *state = context;

	for (unsigned i = 0; i < state->count; i++)
		if (state->list[i].preempted && pr_is_nexus(&state->list[i].identity, itl->nexus))
			return true;
	return false;
}

/* Store @state (taken over) and put it in force. */
static int make_true(struct out *out, struct pr_state *state)
{
	struct scsi_task *task = out->task;
	struct scsi_lu *lu = task->itl->lu;
	bool aborts = out->command.action == PR_PREEMPT_AND_ABORT;
	int result = PR_GOOD;

	if (task->itl->lu->volume->shared && pr_store_ready()) {
		result = pr_share_store(lu, lu->volume, state);
		if (result < 0)
			return result == -ESTALE ? PR_STALE : PR_NO_MEMORY;
	}
	if ((lu->pr.aptpl || state->aptpl) && pr_store_save(lu->volume->identity.uuid, state) < 0)
		return PR_NO_MEMORY;
	topology_lock();
	if (aborts) {
		task->order = tmf_preempt_collect(task, is_preempted, state);
		if (!task->order)
			result = PR_NO_MEMORY; /* the preemption holds; BUSY: try again */
	}
	pr_put_in_force(lu, state);
	topology_unlock();
	return result;
}

/* SPC-2 5.5.1: while anybody holds RESERVE(6), persistent reservations are not to be had. From
 * here to pr_put_in_force() or not_busy() nobody gets a RESERVE(6) either. */
static bool claim(struct scsi_lu *lu)
{
	bool free;

	pthread_mutex_lock(&lu->lock);
	free = lu->holder == NULL;
	if (free)
		lu->pr_busy = true;
	pthread_mutex_unlock(&lu->lock);
	return free;
}

/* What would change here would be nowhere when the unit is another node's. Asked once it is
 * claimed: pr_carry.c has either seen that, or what is changed. */
static int check_here(const struct scsi_lu *lu)
{
	switch (volume_guests(lu->volume)) {
	case VOLUME_GUESTS_LEAVE:
		return PR_LEAVES;
	case VOLUME_GUESTS_AWAY:
		return PR_AWAY;
	default:
		return PR_GOOD;
	}
}

static int execute(struct out *out)
{
	struct scsi_lu *lu = out->task->itl->lu;
	struct pr_state state = {0};
	int result;

	if (!claim(lu))
		return PR_CONFLICT;
	result = check_here(lu);
	if (result == PR_GOOD)
		result = read_list(out);
	if (result == PR_GOOD && pr_state_copy(&lu->pr, &state) < 0)
		result = PR_NO_MEMORY;
	if (result == PR_GOOD)
		result = pr_state_execute(&state, &out->command);
	if (result == PR_GOOD && out->command.changed)
		result = make_true(out, &state);
	not_busy(lu);
	pr_state_finish(&state);
	return result;
}

/* On what is true now; again when somebody else was faster. */
static int execute_shared(struct out *out)
{
	struct scsi_lu *lu = out->task->itl->lu;
	uint64_t number;
	int result;

	pr_share_begin(lu);
	do {
		struct volume *volume = volume_ref(lu->volume);

		heap_free(out->list);
		heap_free(out->others);
		*out = (struct out){.task = out->task};
		result = pr_share_fetch(volume->identity.uuid, volume, &number) < 0 ? PR_NO_MEMORY
										    : execute(out);
		volume_unref(volume);
	} while (result == PR_STALE);
	pr_share_end(lu);
	return result;
}

static void set_status(const struct out *out, int result)
{
	struct scsi_task *task = out->task;

	if (result == PR_CONFLICT)
		task->status = SCSI_RESERVATION_CONFLICT;
	else if (result == PR_NO_MEMORY)
		task->status = SCSI_BUSY;
	else if (result == PR_LEAVES)
		sense_set(task, SENSE_NOT_READY, ASC_PORT_TRANSITION);
	else if (result == PR_AWAY)
		sense_set(task, SENSE_NOT_READY, ASC_PORT_STANDBY);
	else if (result == ASC_INVALID_FIELD_IN_CDB)
		sense_set_cdb_field(task, out->command.field, -1);
	else if (result == ASC_INVALID_FIELD_IN_LIST)
		sense_set_list_field(task, out->command.field, -1);
	else if (result)
		sense_set(task, SENSE_ILLEGAL_REQUEST, (uint16_t)result);
}

static void out_finish(struct scsi_task *task)
{
	struct tmf_order *order = task->order;

	itl_count_work(task->itl, 1);
	task->order = NULL;
	if (order)
		tmf_preempt_run(order);
	else
		task_finish(task);
}

static void out_is_back(struct message *message)
{
	out_finish(container_of(message, struct scsi_task, message));
}

static void out_run(struct scsi_task *task, int (*run)(struct out *out))
{
	struct out *out = heap_zalloc(sizeof(*out));

	task->order = NULL;
	if (out) {
		out->task = task;
		set_status(out, run(out));
		heap_free(out->list);
		heap_free(out->others);
		heap_free(out);
	} else {
		task->status = SCSI_BUSY;
	}
	if (loop_current() == task->nexus->loop)
		out_finish(task);
	else
		loop_post(task->nexus->loop, &task->message, out_is_back);
}

static void out_in_fiber(void *context)
{
	out_run(context, execute_shared);
}

static void out_on_thread(struct message *message)
{
	struct scsi_task *task = container_of(message, struct scsi_task, message);

	if (!task->itl->lu->volume->shared || !pr_store_ready()) {
		out_run(task, execute);
	} else if (fiber_start(loop_current(), out_in_fiber, task) < 0) {
		task->order = NULL;
		task->status = SCSI_BUSY;
		loop_post(task->nexus->loop, &task->message, out_is_back);
	}
}

void pr_out(struct scsi_task *task)
{
	itl_count_work(task->itl, -1);
	pr_store_post(&task->message, out_on_thread);
}

/* ---- PERSISTENT RESERVE IN (SPC-4 6.15) */

/* Parameter data of any length; what does not fit in the buffer is only counted. */
struct reply {
	uint8_t *at, *end;
	uint32_t length;
};

static uint8_t *reply_room(struct reply *reply, uint32_t bytes)
{
	uint8_t *at = reply->at;

	reply->length += bytes;
	if ((size_t)(reply->end - at) < bytes) {
		reply->end = at; /* nothing after a gap */
		return NULL;
	}
	reply->at += bytes;
	return at;
}

static struct reply reply_begin(struct scsi_task *task)
{
	uint8_t *data = task->buffer->data;
	struct reply reply = {data + 8, data + task->buffer_size, 8};

	return reply;
}

static void reply_send(struct scsi_task *task, const struct reply *reply)
{
	uint8_t *data = task->buffer->data;

	put_be32(data, task->itl->lu->pr.generation);
	put_be32(data + 4, reply->length - 8);
	pthread_mutex_unlock(&task->itl->lu->lock);
	task_reply(task, (uint32_t)(reply->at - data));
}

static bool in_begin(struct scsi_task *task)
{
	struct scsi_lu *lu = task->itl->lu;

	pthread_mutex_lock(&lu->lock);
	if (!lu->holder)
		return true;
	pthread_mutex_unlock(&lu->lock);
	task->status = SCSI_RESERVATION_CONFLICT;
	task_finish(task);
	return false;
}

void pr_in_read_keys(struct scsi_task *task)
{
	const struct pr_state *state = &task->itl->lu->pr;
	struct reply reply = reply_begin(task);

	if (pr_share_reads_first(task))
		return;
	if (!in_begin(task))
		return;
	for (unsigned i = 0; i < state->count; i++) {
		uint8_t *p = reply_room(&reply, 8);

		if (p)
			put_be64(p, state->list[i].key);
	}
	reply_send(task, &reply);
}

void pr_in_read_reservation(struct scsi_task *task)
{
	const struct pr_state *state = &task->itl->lu->pr;
	struct reply reply = reply_begin(task);

	if (pr_share_reads_first(task))
		return;
	if (!in_begin(task))
		return;
	if (state->type) {
		uint8_t *p = reply_room(&reply, 16);

		for (unsigned i = 0; i < state->count; i++)
			if (state->list[i].holder) /* key 0 if all hold it */
				put_be64(p, state->list[i].key);
		p[13] = (uint8_t)state->type;
	}
	reply_send(task, &reply);
}

void pr_in_report_capabilities(struct scsi_task *task)
{
	uint8_t *data = task->buffer->data;

	if (!in_begin(task))
		return;
	put_be16(data, 8);
	data[2] = 0x10 | 0x08 | 0x04; /* CRH SIP_C ATP_C */
	if (pr_store_ready())
		data[2] |= 0x01; /* PTPL_C */
	data[3] = 0x80;          /* TMV */
	if (task->itl->lu->pr.aptpl)
		data[3] |= 0x01;                    /* PTPL_A */
	data[4] = 0x80 | 0x40 | 0x20 | 0x08 | 0x02; /* WR_EX_AR EX_AC_RO WR_EX_RO EX_AC WR_EX */
	data[5] = 0x01;                             /* EX_AC_AR */
	pthread_mutex_unlock(&task->itl->lu->lock);
	task_reply(task, 8);
}

void pr_in_read_full_status(struct scsi_task *task)
{
	const struct pr_state *state = &task->itl->lu->pr;
	struct reply reply = reply_begin(task);

	if (pr_share_reads_first(task))
		return;
	if (!in_begin(task))
		return;
	for (unsigned i = 0; i < state->count; i++) {
		const struct pr_registration *entry = &state->list[i];
		uint8_t id[TRANSPORT_ID_MAX];
		unsigned length = transport_id_write(entry->identity.initiator_port, id);
		uint8_t *p = reply_room(&reply, 24 + length);

		if (!p)
			continue;
		put_be64(p, entry->key);
		if (state->type && pr_state_holds(state, entry)) {
			p[12] = 0x01; /* R_HOLDER */
			p[13] = (uint8_t)state->type;
		}
		put_be16(p + 18, entry->identity.relative_port);
		put_be32(p + 20, length);
		memcpy(p + 24, id, length);
	}
	reply_send(task, &reply);
}

/* ---- the administrator */

static bool connected(const struct scsi_lu *lu, const struct pr_identity *identity)
{
	list_for_each (it, &lu->mappings) {
		struct scsi_lun_mapping *mapping = list_entry(it, struct scsi_lun_mapping, lu_link);

		list_for_each (it2, &mapping->itls)
			if (pr_is_nexus(identity,
					list_entry(it2, struct scsi_itl, mapping_link)->nexus))
				return true;
	}
	return false;
}

/* Topology lock and lu->lock held. */
static struct scsi_reservations *describe(const struct scsi_lu *lu)
{
	const struct pr_state *state = &lu->pr;
	struct scsi_reservations *all =
	    heap_zalloc(sizeof(*all) + state->count * sizeof(all->registrations[0]));

	if (!all)
		return NULL;
	all->generation = state->generation;
	all->type = pr_type_name(state->type);
	all->persistent = state->aptpl;
	all->count = state->count;
	if (lu->holder)
		snprintf(all->reserve6, sizeof(all->reserve6), "%s", lu->holder->initiator_port);
	for (unsigned i = 0; i < state->count; i++) {
		const struct pr_registration *entry = &state->list[i];
		struct scsi_registration *to = &all->registrations[i];

		memcpy(to->initiator_port, entry->identity.initiator_port,
		       sizeof(to->initiator_port));
		memcpy(to->target, entry->identity.target, sizeof(to->target));
		to->relative_port = entry->identity.relative_port;
		to->key = entry->key;
		to->holder = state->type && pr_state_holds(state, entry);
		to->connected = connected(lu, &entry->identity);
	}
	return all;
}

struct scsi_reservations *scsi_reservations_get(const uint8_t uuid[16])
{
	struct scsi_reservations *all = NULL;
	struct scsi_lu *lu;

	topology_lock();
	lu = lu_of(uuid);
	if (lu) {
		pthread_mutex_lock(&lu->lock);
		all = describe(lu);
		pthread_mutex_unlock(&lu->lock);
	}
	topology_unlock();
	return all;
}

struct clear {
	struct message message;
	uint8_t uuid[16];
	bool forget;
	struct volume *shared; /* referenced */
	struct loop *home;
	int result;
	void (*done)(void *context, int result);
	void *context;
};

static void cleared(struct message *message)
{
	struct clear *clear = container_of(message, struct clear, message);

	clear->done(clear->context, clear->result);
	heap_free(clear);
}

void pr_release_reserve6(struct scsi_lu *lu)
{
	struct scsi_nexus *holder;

	pthread_mutex_lock(&lu->lock);
	holder = lu->holder;
	__atomic_store_n(&lu->holder, NULL, __ATOMIC_RELEASE);
	pthread_mutex_unlock(&lu->lock);
	if (!holder)
		return;
	list_for_each (it, &lu->mappings) {
		struct scsi_lun_mapping *mapping = list_entry(it, struct scsi_lun_mapping, lu_link);

		list_for_each (it2, &mapping->itls) {
			struct scsi_itl *itl = list_entry(it2, struct scsi_itl, mapping_link);

			if (itl->nexus == holder)
				attention_set(itl, ATTENTION_RESERVATIONS_PREEMPTED);
		}
	}
}

/* The store first, with nothing locked; then what is live, if it is still there. */
static int clear_all(const uint8_t *uuid)
{
	struct pr_state state = {0};
	struct scsi_lu *lu;
	bool here;
	int result;

	topology_lock();
	lu = lu_of(uuid);
	here = !lu || volume_guests(lu->volume) == VOLUME_GUESTS_HERE;
	topology_unlock();
	result = here ? pr_store_save(uuid, &state) : -EREMOTE;
	if (result < 0)
		return result;
	topology_lock();
	lu = lu_of(uuid);
	if (lu) {
		result = pr_state_copy(&lu->pr, &state);
		if (result == 0) {
			pr_state_clear(&state);
			pr_put_in_force(lu, &state);
			pr_release_reserve6(lu);
		}
	}
	topology_unlock();
	return result;
}

static void clear_end(struct clear *clear)
{
	if (clear->forget &&
	    (mode_store_save(clear->uuid, NULL) < 0 ||
	     sanitize_store_save(clear->uuid, NULL) < 0) &&
	    clear->result == 0)
		clear->result = -EIO;
	loop_post(clear->home, &clear->message, cleared);
}

static void clear_in_fiber(void *context)
{
	struct clear *clear = context;

	clear->result = pr_share_clear(clear->uuid, clear->shared, clear_all);
	volume_unref(clear->shared);
	clear_end(clear);
}

/* The volume of a unit that several gateways have, a reference; what is deleted has no note. */
static struct volume *shared_volume(const struct clear *clear)
{
	struct volume *volume = NULL;
	struct scsi_lu *lu;

	topology_lock();
	lu = clear->forget || !pr_store_ready() ? NULL : lu_of(clear->uuid);
	if (lu && lu->volume->shared)
		volume = volume_ref(lu->volume);
	topology_unlock();
	return volume;
}

static void clear_on_thread(struct message *message)
{
	struct clear *clear = container_of(message, struct clear, message);

	clear->shared = shared_volume(clear);
	if (clear->shared && fiber_start(loop_current(), clear_in_fiber, clear) == 0)
		return;
	volume_unref(clear->shared);
	clear->result = clear->shared ? -ENOMEM : clear_all(clear->uuid);
	clear_end(clear);
}

static void clear_later(const uint8_t uuid[16], bool forget,
			void (*done)(void *context, int result), void *context)
{
	struct clear *clear = heap_zalloc(sizeof(*clear));

	if (!clear) {
		done(context, -ENOMEM);
		return;
	}
	memcpy(clear->uuid, uuid, 16);
	clear->forget = forget;
	clear->home = loop_current();
	clear->done = done;
	clear->context = context;
	pr_store_post(&clear->message, clear_on_thread);
}

void scsi_reservations_clear(const uint8_t uuid[16], void (*done)(void *context, int result),
			     void *context)
{
	clear_later(uuid, false, done, context);
}

static void forgotten(void *context, int result)
{
	(void)context;
	if (result < 0)
		log_error("reservations of a deleted volume: %s", strerror(-result));
}

void scsi_reservations_forget(const uint8_t uuid[16])
{
	clear_later(uuid, true, forgotten, NULL);
}
