/* SPDX-License-Identifier: Apache-2.0 */
/* pr_store.c: reservations that survive a power loss, and the thread that makes all changes.
 *
 * The store is a small database of its own beside the configuration: an open transaction of the
 * administrator's never holds up a cluster's fencing, nor the other way round. What it holds is
 * also in memory (@kept), for a logical unit that comes up. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/config.h"
#include "core/heap.h"
#include "core/log.h"
#include "core/world.h"
#include "target/internal.h"

#define SETTLE_NS    (10 * 1000000ull)
#define SETTLE_LOOKS 500

static const struct config_migration migrations[] = {
    {"the first schema",
     "create table reservation(volume blob primary key check(length(volume) = 16),"
     "  type integer not null) without rowid;"
     "create table registration(volume blob not null references reservation(volume)"
     "  on delete cascade, position integer not null, initiator_port text not null,"
     "  target text not null, relative_port integer not null, key integer not null,"
     "  holder integer not null, primary key(volume, position)) without rowid;",
     NULL},
    {"saved mode pages",
     "create table mode(volume blob primary key check(length(volume) = 16),"
     "  pages blob not null) without rowid;",
     NULL},
    {"sanitize operations",
     "create table sanitize(volume blob primary key check(length(volume) = 16),"
     "  failed integer not null, restricted integer not null, erase integer not null,"
     "  invert integer not null, passes integer not null, pattern blob not null)"
     " without rowid;",
     NULL},
};

struct kept {
	struct list link;
	uint8_t uuid[16];
	struct pr_state state;
};

static struct {
	struct config *config; /* NULL: no store */
	struct loop *loop;     /* the reservations' thread */
	pthread_mutex_t lock;  /* of the list; after every other lock */
	struct list kept;
} store = {.lock = PTHREAD_MUTEX_INITIALIZER, .kept = {&store.kept, &store.kept}};

bool pr_store_ready(void)
{
	return store.config != NULL;
}

struct config *pr_store_config(void)
{
	return store.config;
}

void pr_store_post(struct message *message, void (*run)(struct message *message))
{
	if (store.loop)
		loop_post(store.loop, message, run);
	else
		run(message);
}

/* ---- what is kept, in memory; lock held */

static struct kept *find_kept(const uint8_t uuid[16])
{
	list_for_each (it, &store.kept) {
		struct kept *kept = list_entry(it, struct kept, link);

		if (memcmp(kept->uuid, uuid, 16) == 0)
			return kept;
	}
	return NULL;
}

static void drop_kept(struct kept *kept)
{
	if (!kept)
		return;
	list_remove(&kept->link);
	pr_state_finish(&kept->state);
	heap_free(kept);
}

static struct kept *add_kept(const uint8_t uuid[16])
{
	struct kept *kept = heap_zalloc(sizeof(*kept));

	if (!kept)
		return NULL;
	memcpy(kept->uuid, uuid, 16);
	kept->state.aptpl = true;
	list_push_back(&store.kept, &kept->link);
	return kept;
}

void pr_store_peek(const uint8_t uuid[16], struct pr_state *ret_state)
{
	struct kept *kept;
	struct pr_state state = {0};

	pthread_mutex_lock(&store.lock);
	kept = find_kept(uuid);
	if (kept && pr_state_copy(&kept->state, &state) < 0)
		log_error("no memory for the reservations of a volume");
	pthread_mutex_unlock(&store.lock);
	*ret_state = state;
}

/* What does not survive a power loss goes with the unit from now on, and so does the count of
 * changes. */
void pr_store_brought(const uint8_t uuid[16])
{
	struct kept *kept;

	pthread_mutex_lock(&store.lock);
	kept = find_kept(uuid);
	if (kept && !kept->state.aptpl)
		drop_kept(kept);
	else if (kept)
		kept->state.generation = 0;
	pthread_mutex_unlock(&store.lock);
}

void pr_store_load(const uint8_t uuid[16], struct pr_state *ret_state)
{
	pr_store_peek(uuid, ret_state);
	pr_store_brought(uuid);
}

/* ---- rows */

static int remove_rows(const uint8_t uuid[16], struct err *err)
{
	struct config_statement *statement;
	int result = config_prepare(store.config, "delete from reservation where volume = ?",
				    &statement, err);

	if (result < 0)
		return result;
	config_bind_blob(statement, 1, uuid, 16);
	result = config_step(statement, err);
	config_finish(statement);
	return result < 0 ? result : 0;
}

static int add_row(const uint8_t uuid[16], const struct pr_state *state, struct err *err)
{
	struct config_statement *statement;
	int result = config_prepare(
	    store.config, "insert into reservation(volume, type) values(?, ?)", &statement, err);

	if (result < 0)
		return result;
	config_bind_blob(statement, 1, uuid, 16);
	config_bind_number(statement, 2, state->type);
	result = config_step(statement, err);
	config_finish(statement);
	return result < 0 ? result : 0;
}

static int add_registration(const uint8_t uuid[16], unsigned position,
			    const struct pr_registration *entry, struct err *err)
{
	struct config_statement *statement;
	int result = config_prepare(
	    store.config,
	    "insert into registration(volume, position, initiator_port, target, relative_port,"
	    " key, holder) values(?, ?, ?, ?, ?, ?, ?)",
	    &statement, err);

	if (result < 0)
		return result;
	config_bind_blob(statement, 1, uuid, 16);
	config_bind_number(statement, 2, position);
	config_bind_text(statement, 3, entry->identity.initiator_port);
	config_bind_text(statement, 4, entry->identity.target);
	config_bind_number(statement, 5, entry->identity.relative_port);
	config_bind_number(statement, 6, (int64_t)entry->key);
	config_bind_number(statement, 7, entry->holder);
	result = config_step(statement, err);
	config_finish(statement);
	return result < 0 ? result : 0;
}

/* Registrations that are marked as removed are not written. */
static int write_rows(const uint8_t uuid[16], const struct pr_state *state, struct err *err)
{
	int result = remove_rows(uuid, err);

	if (result == 0 && state->aptpl)
		result = add_row(uuid, state, err);
	for (unsigned i = 0; result == 0 && state->aptpl && i < state->count; i++)
		if (!state->list[i].removed)
			result = add_registration(uuid, i, &state->list[i], err);
	return result;
}

/* The copy in memory of what is about to be stored; NULL: nothing, or no memory. */
static struct kept *make_kept(const uint8_t uuid[16], const struct pr_state *state,
			      uint32_t generation)
{
	struct kept *kept = heap_zalloc(sizeof(*kept));

	if (!kept)
		return NULL;
	list_init(&kept->link);
	memcpy(kept->uuid, uuid, 16);
	if (pr_state_copy(state, &kept->state) < 0) {
		heap_free(kept);
		return NULL;
	}
	kept->state.generation = generation;
	pr_state_settle(&kept->state);
	return kept;
}

static int store_rows(const uint8_t uuid[16], const struct pr_state *state)
{
	struct err err = {0};
	int result = config_begin(store.config, &err);

	if (result == 0)
		result = write_rows(uuid, state, &err);
	if (result == 0)
		result = config_commit(store.config, &err);
	if (result < 0) {
		config_abort(store.config);
		log_error("reservations can not be stored: %s", err.text);
	}
	return result;
}

static int save(const uint8_t uuid[16], const struct pr_state *state, struct kept *fresh)
{
	int result = store.config ? store_rows(uuid, state) : 0;

	if (result < 0) {
		drop_kept(fresh);
		return result;
	}
	pthread_mutex_lock(&store.lock);
	drop_kept(find_kept(uuid));
	if (fresh)
		list_push_back(&store.kept, &fresh->link);
	pthread_mutex_unlock(&store.lock);
	return 0;
}

int pr_store_save(const uint8_t uuid[16], const struct pr_state *state)
{
	struct kept *fresh = NULL;

	if (!store.config)
		return state->aptpl ? -EROFS : 0;
	if (state->aptpl) {
		fresh = make_kept(uuid, state, 0); /* SPC-4 5.12.5: after a power loss it is 0 */
		if (!fresh)
			return -ENOMEM;
	}
	return save(uuid, state, fresh);
}

int pr_store_bring(const uint8_t uuid[16], const struct pr_state *state)
{
	struct kept *fresh = make_kept(uuid, state, state->generation);

	return fresh ? save(uuid, state, fresh) : -ENOMEM;
}

/* ---- reading at start; a row that makes no sense is left out and logged */

static bool load_reservation(struct config_statement *statement)
{
	int length;
	const void *uuid = config_blob(statement, 0, &length);
	int64_t type = config_number(statement, 1);
	struct kept *kept;

	if (length != 16 || (type != PR_NONE && (type < 0 || !pr_type_known((unsigned)type))))
		return false;
	kept = add_kept(uuid);
	if (kept)
		kept->state.type = (enum pr_type)type;
	return kept != NULL;
}

static bool load_registration(struct config_statement *statement)
{
	struct pr_identity identity = {0};
	int length;
	const void *uuid = config_blob(statement, 0, &length);
	const char *initiator_port = config_text(statement, 1), *target = config_text(statement, 2);
	int64_t key = config_number(statement, 4);
	struct kept *kept = length == 16 ? find_kept(uuid) : NULL;
	struct pr_registration *entry;

	if (!kept || !initiator_port || !target || key == 0 ||
	    kept->state.count >= SCSI_REGISTRATIONS_MAX ||
	    strlen(initiator_port) >= sizeof(identity.initiator_port) ||
	    strlen(target) >= sizeof(identity.target))
		return false;
	memcpy(identity.initiator_port, initiator_port, strlen(initiator_port));
	memcpy(identity.target, target, strlen(target));
	identity.relative_port = (uint16_t)config_number(statement, 3);
	entry = pr_state_add(&kept->state, &identity, (uint64_t)key);
	if (entry)
		entry->holder = config_number(statement, 5) != 0;
	return entry != NULL;
}

static int each_row(const char *sql, bool (*load)(struct config_statement *statement),
		    struct err *err)
{
	struct config_statement *statement;
	int result = config_prepare(store.config, sql, &statement, err);

	if (result < 0)
		return result;
	while ((result = config_step(statement, err)) > 0)
		if (!load(statement))
			log_error("a stored reservation makes no sense and is left out");
	config_finish(statement);
	return result;
}

static int load_all(struct err *err)
{
	int result = each_row("select volume, type from reservation", load_reservation, err);

	if (result == 0)
		result = each_row("select volume, initiator_port, target, relative_port, key,"
				  " holder from registration order by volume, position",
				  load_registration, err);
	if (result == 0)
		result = mode_store_load(store.config, err);
	if (result == 0)
		result = sanitize_store_load(store.config, err);
	return result;
}

unsigned scsi_reservations_schema(unsigned *ret_from)
{
	const unsigned count = sizeof(migrations) / sizeof(migrations[0]);

	if (ret_from)
		*ret_from = config_goes_back_to(migrations, count);
	return count;
}

int scsi_reservations_open(const struct world_ops *world, const char *path, struct err *err)
{
	int result = config_open(path, migrations, sizeof(migrations) / sizeof(migrations[0]),
				 &store.config, err);

	if (result == 0)
		result = load_all(err);
	if (result == 0)
		result = loop_create(world, &store.loop, err);
	if (result == 0)
		result = loop_start_thread(store.loop, "reservations", err);
	if (result < 0) {
		loop_destroy(store.loop);
		store.loop = NULL;
		scsi_reservations_close();
	}
	return result;
}

/* There and back, behind everything that was given to the thread before. */
struct round {
	struct message message;
	struct loop *home;
	bool over;
};

static void round_over(struct message *message)
{
	struct round *round = container_of(message, struct round, message);

	round->over = true;
}

static void round_there(struct message *message)
{
	struct round *round = container_of(message, struct round, message);

	loop_post(round->home, message, round_over);
}

void scsi_reservations_settle(struct loop *home)
{
	static struct round round; /* outlives a thread that hangs */

	if (!store.loop)
		return;
	round = (struct round){.home = home};
	loop_post(store.loop, &round.message, round_there);
	for (unsigned i = 0; i < SETTLE_LOOKS && !round.over; i++)
		loop_poll(home, SETTLE_NS);
}

void scsi_reservations_close(void)
{
	if (store.loop)
		loop_join(store.loop);
	loop_destroy(store.loop);
	store.loop = NULL;
	config_close(store.config);
	store.config = NULL;
	while (!list_empty(&store.kept))
		drop_kept(list_entry(store.kept.next, struct kept, link));
	mode_store_drop();
	sanitize_store_drop();
}
