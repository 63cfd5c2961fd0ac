/* SPDX-License-Identifier: Apache-2.0 */
/* pr_state.c: what each service action of PERSISTENT RESERVE OUT does (SPC-4 5.12, 6.16), on a
 * value. One function a service action; table at the end. */
#include "target/pr_state.h"

#include <errno.h>
#include <string.h>

#include "core/heap.h"
#include "target/internal.h"

#define FIELD_CDB_TYPE   2
#define FIELD_ACTION_KEY 8
#define FIELD_PORT       18
#define FIELD_FLAGS      20
#define FIELD_IDS        24

/* ---- the list */

bool pr_identity_equal(const struct pr_identity *a, const struct pr_identity *b)
{
	return a->relative_port == b->relative_port &&
	       strcmp(a->initiator_port, b->initiator_port) == 0 &&
	       strcmp(a->target, b->target) == 0;
}

struct pr_registration *pr_state_find(const struct pr_state *state,
				      const struct pr_identity *identity)
{
	for (unsigned i = 0; i < state->count; i++)
		if (!state->list[i].removed &&
		    pr_identity_equal(&state->list[i].identity, identity))
			return &state->list[i];
	return NULL;
}

struct pr_registration *pr_state_add(struct pr_state *state, const struct pr_identity *identity,
				     uint64_t key)
{
	struct pr_registration *grown, *added;

	if (state->count == state->room) {
		unsigned room = state->room ? state->room * 2 : 4;

		grown = heap_resize(state->list, room * sizeof(*grown));
		if (!grown)
			return NULL;
		state->list = grown;
		state->room = room;
	}
	added = &state->list[state->count++];
	*added = (struct pr_registration){.identity = *identity, .key = key};
	return added;
}

int pr_state_copy(const struct pr_state *from, struct pr_state *ret_to)
{
	struct pr_state copy = *from;

	copy.room = from->count;
	copy.list = NULL;
	if (from->count) {
		copy.list = heap_zalloc_array(from->count, sizeof(*copy.list));
		if (!copy.list)
			return -ENOMEM;
		memcpy(copy.list, from->list, from->count * sizeof(*copy.list));
	}
	*ret_to = copy;
	return 0;
}

void pr_state_settle(struct pr_state *state)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < state->count; i++) {
		struct pr_registration *entry = &state->list[i];

		if (entry->removed)
			continue;
		entry->attentions = 0;
		entry->preempted = false;
		if (kept != i)
			state->list[kept] = *entry;
		kept++;
	}
	state->count = kept;
}

void pr_state_finish(struct pr_state *state)
{
	heap_free(state->list);
	*state = (struct pr_state){0};
}

/* ---- types */

static const struct {
	const char *name;
	bool shares_reads, registrants, all;
} types[] = {
    [PR_WRITE_EXCLUSIVE] = {"write exclusive", true, false, false},
    [PR_EXCLUSIVE_ACCESS] = {"exclusive access", false, false, false},
    [PR_WRITE_EXCLUSIVE_REGISTRANTS] = {"write exclusive, registrants only", true, true, false},
    [PR_EXCLUSIVE_ACCESS_REGISTRANTS] = {"exclusive access, registrants only", false, true, false},
    [PR_WRITE_EXCLUSIVE_ALL] = {"write exclusive, all registrants", true, true, true},
    [PR_EXCLUSIVE_ACCESS_ALL] = {"exclusive access, all registrants", false, true, true},
};

bool pr_type_known(unsigned type)
{
	return type < sizeof(types) / sizeof(types[0]) && types[type].name;
}

bool pr_type_shares_reads(enum pr_type type)
{
	return types[type].shares_reads;
}

bool pr_type_for_registrants(enum pr_type type)
{
	return types[type].registrants;
}

const char *pr_type_name(enum pr_type type)
{
	return types[type].name ? types[type].name : "none";
}

bool pr_state_holds(const struct pr_state *state, const struct pr_registration *registration)
{
	return registration && !registration->removed &&
	       (types[state->type].all || registration->holder);
}

/* ---- what the service actions are made of */

static int list_error(struct pr_command *command, uint16_t field)
{
	command->field = field;
	return ASC_INVALID_FIELD_IN_LIST;
}

/* LU_SCOPE and a type that there is. */
static int check_type(struct pr_command *command)
{
	if (command->scope_type >> 4 == 0 && pr_type_known(command->scope_type & 0xf))
		return PR_GOOD;
	command->field = FIELD_CDB_TYPE;
	command->field_in_cdb = true;
	return ASC_INVALID_FIELD_IN_CDB;
}

static void tell_others(struct pr_state *state, const struct pr_registration *self,
			enum attention kind)
{
	for (unsigned i = 0; i < state->count; i++)
		if (&state->list[i] != self && !state->list[i].removed)
			state->list[i].attentions |= 1u << kind;
}

static bool anyone_left(const struct pr_state *state)
{
	for (unsigned i = 0; i < state->count; i++)
		if (!state->list[i].removed)
			return true;
	return false;
}

/* SPC-4 5.12.11.2.2: registrants of a shared reservation hear that it is gone. */
static void release(struct pr_state *state, const struct pr_registration *self)
{
	if (pr_type_for_registrants(state->type))
		tell_others(state, self, ATTENTION_RESERVATIONS_RELEASED);
	for (unsigned i = 0; i < state->count; i++)
		state->list[i].holder = false;
	state->type = PR_NONE;
}

/* SPC-4 5.12.11.3: with the holder goes what it holds; an all-registrants reservation stays as
 * long as anybody is registered. */
static void unregister(struct pr_state *state, struct pr_registration *entry)
{
	bool held = entry->holder;

	entry->removed = true;
	entry->holder = false;
	if (held || (state->type && !anyone_left(state)))
		release(state, entry);
}

static int add(struct pr_state *state, const struct pr_identity *identity, uint64_t key)
{
	if (state->count >= SCSI_REGISTRATIONS_MAX)
		return ASC_INSUFFICIENT_REGISTRATION;
	return pr_state_add(state, identity, key) ? PR_GOOD : PR_NO_MEMORY;
}

/* ---- REGISTER, REGISTER AND IGNORE EXISTING KEY (SPC-4 5.12.7) */

/* As if the command had come through the port of @identity. */
static int register_one(struct pr_state *state, const struct pr_command *command,
			const struct pr_identity *identity)
{
	struct pr_registration *entry = pr_state_find(state, identity);
	bool ignore = command->action == PR_REGISTER_AND_IGNORE;

	if (!entry)
		return command->action_key && (ignore || command->key == 0)
			   ? add(state, identity, command->action_key)
			   : PR_GOOD;
	if (!ignore && entry->key != command->key)
		return PR_GOOD;
	if (command->action_key)
		entry->key = command->action_key;
	else
		unregister(state, entry);
	return PR_GOOD;
}

static int register_port(struct pr_state *state, struct pr_command *command, uint16_t port)
{
	struct pr_identity identity = *command->self;
	int result;

	identity.relative_port = port;
	result = register_one(state, command, &identity);
	for (unsigned i = 0; result == PR_GOOD && i < command->other_count; i++) {
		identity = command->others[i];
		identity.relative_port = port;
		if (strcmp(identity.initiator_port, command->self->initiator_port) == 0)
			continue;
		/* Nobody's key is changed behind its back. */
		if (pr_state_find(state, &identity))
			return list_error(command, FIELD_IDS);
		result = command->action_key ? add(state, &identity, command->action_key) : PR_GOOD;
	}
	return result;
}

static int do_register(struct pr_state *state, struct pr_command *command)
{
	struct pr_registration *self = pr_state_find(state, command->self);
	int result;

	if (command->action == PR_REGISTER && command->key != (self ? self->key : 0))
		return PR_CONFLICT;
	if (command->spec_i_pt && (self || command->action != PR_REGISTER))
		return list_error(command, FIELD_FLAGS);
	result = register_port(state, command, command->self->relative_port);
	for (unsigned i = 0; result == PR_GOOD && i < command->port_count; i++)
		if (command->ports[i] != command->self->relative_port)
			result = register_port(state, command, command->ports[i]);
	state->aptpl = command->aptpl;
	state->generation++;
	return result;
}

/* ---- the others; all of them ask for the key that the nexus is registered with */

static int do_reserve(struct pr_state *state, struct pr_command *command)
{
	struct pr_registration *self = pr_state_find(state, command->self);
	int result = check_type(command);

	if (result)
		return result;
	if (state->type) {
		command->changed = false;
		return pr_state_holds(state, self) &&
			       (uint8_t)state->type == (command->scope_type & 0xf)
			   ? PR_GOOD
			   : PR_CONFLICT;
	}
	state->type = (enum pr_type)(command->scope_type & 0xf);
	self->holder = !types[state->type].all;
	return PR_GOOD;
}

static int do_release(struct pr_state *state, struct pr_command *command)
{
	struct pr_registration *self = pr_state_find(state, command->self);
	int result = check_type(command);

	if (result)
		return result;
	if (!state->type || !pr_state_holds(state, self)) {
		command->changed = false;
		return PR_GOOD;
	}
	if ((uint8_t)state->type != (command->scope_type & 0xf))
		return ASC_INVALID_RELEASE;
	release(state, self);
	return PR_GOOD;
}

static int do_clear(struct pr_state *state, struct pr_command *command)
{
	struct pr_registration *self = pr_state_find(state, command->self);

	pr_state_clear(state);
	self->attentions = 0;
	return PR_GOOD;
}

void pr_state_clear(struct pr_state *state)
{
	tell_others(state, NULL, ATTENTION_RESERVATIONS_PREEMPTED);
	for (unsigned i = 0; i < state->count; i++) {
		state->list[i].removed = true;
		state->list[i].holder = false;
	}
	state->type = PR_NONE;
	state->generation++;
}

/* SPC-4 5.12.11.2.4: take the reservation over. */
static int take_over(struct pr_state *state, struct pr_registration *self,
		     struct pr_command *command)
{
	int result = check_type(command);
	enum pr_type type = (enum pr_type)(command->scope_type & 0xf);

	if (result)
		return result;
	for (unsigned i = 0; i < state->count; i++) {
		struct pr_registration *entry = &state->list[i];

		entry->holder = false;
		if (command->action_key && entry->key != command->action_key)
			continue;
		entry->preempted = true;
		if (entry == self)
			continue;
		entry->removed = true;
		entry->attentions |= 1u << ATTENTION_REGISTRATIONS_PREEMPTED;
	}
	if (type != state->type)
		tell_others(state, self, ATTENTION_RESERVATIONS_RELEASED);
	state->type = type;
	self->holder = !types[type].all;
	return PR_GOOD;
}

/* SPC-4 5.12.11.2.5: only registrations go. The asker's own may be among them. */
static int remove_registrations(struct pr_state *state, const struct pr_registration *self,
				struct pr_command *command)
{
	bool any = false;

	for (unsigned i = 0; i < state->count; i++) {
		struct pr_registration *entry = &state->list[i];

		if (entry->key != command->action_key)
			continue;
		any = true;
		entry->removed = entry->preempted = true;
		if (entry != self)
			entry->attentions |= 1u << ATTENTION_REGISTRATIONS_PREEMPTED;
	}
	if (!any)
		return PR_CONFLICT;
	if (state->type && !anyone_left(state))
		release(state, NULL);
	return PR_GOOD;
}

static uint64_t holder_key(const struct pr_state *state)
{
	for (unsigned i = 0; i < state->count; i++)
		if (state->list[i].holder)
			return state->list[i].key;
	return 0; /* of an all-registrants reservation: what PREEMPT names it by */
}

static int do_preempt(struct pr_state *state, struct pr_command *command)
{
	struct pr_registration *self = pr_state_find(state, command->self);
	int result;

	if (state->type && command->action_key == holder_key(state))
		result = take_over(state, self, command);
	else if (command->action_key == 0)
		result = list_error(command, FIELD_ACTION_KEY);
	else
		result = remove_registrations(state, self, command);
	state->generation++;
	return result;
}

/* SPC-4 5.12.8. */
static int do_move(struct pr_state *state, struct pr_command *command)
{
	struct pr_registration *self = pr_state_find(state, command->self);
	struct pr_registration *to;
	int result = PR_GOOD;

	if (!self->holder)
		return PR_CONFLICT;
	if (command->action_key == 0)
		return list_error(command, FIELD_ACTION_KEY);
	if (pr_identity_equal(command->self, command->others))
		return list_error(command, FIELD_IDS);
	to = pr_state_find(state, command->others);
	if (to)
		to->key = command->action_key;
	else
		result = add(state, command->others, command->action_key);
	if (result)
		return result;
	self = pr_state_find(state, command->self); /* the list may have moved */
	pr_state_find(state, command->others)->holder = true;
	self->holder = false;
	self->removed = command->unregister;
	state->aptpl = command->aptpl;
	state->generation++;
	return PR_GOOD;
}

static int (*const actions[])(struct pr_state *state, struct pr_command *command) = {
    [PR_REGISTER] = do_register,
    [PR_RESERVE] = do_reserve,
    [PR_RELEASE] = do_release,
    [PR_CLEAR] = do_clear,
    [PR_PREEMPT] = do_preempt,
    [PR_PREEMPT_AND_ABORT] = do_preempt,
    [PR_REGISTER_AND_IGNORE] = do_register,
    [PR_REGISTER_AND_MOVE] = do_move,
};

int pr_state_execute(struct pr_state *state, struct pr_command *command)
{
	bool registers =
	    command->action == PR_REGISTER || command->action == PR_REGISTER_AND_IGNORE;
	const struct pr_registration *self = pr_state_find(state, command->self);

	command->changed = true;
	command->field_in_cdb = false;
	if (!registers && (!self || self->key != command->key))
		return PR_CONFLICT;
	return actions[command->action](state, command);
}
