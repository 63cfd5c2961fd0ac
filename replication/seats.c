/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/heap.h"
#include "core/log.h"
#include "replication/lineage.h"
#include "replication/node.h"
#include "replication/volume_io.h"

/* Groups as the node keeps them: rows of replication.db, their volumes, their sessions, and what
 * the administrator does with them. */

#define RETRY_NS         (1000000000ull)
#define RPO_NS           (5 * 1000000000ull)
#define PERIOD_MIN       (200 * 1000000ull)
#define PERIOD_MAX       (5 * 1000000000ull)
#define STAGING_SIZE_MIN ((uint64_t)64 << 30)
#define SWITCH_NS        (30 * 1000000000ull)
#define FAILBACK_NS      (45 * 1000000000ull)
#define LINK_NS          (10 * 1000000000ull)

/* ---- rows ---- */
static void lineage_text(const struct wire_lineage *lineage, char *text, size_t size)
{
	size_t at = 0;

	text[0] = '\0';
	for (unsigned i = 0; i < lineage->count && at + 64 < size; i++) {
		char uuid[33];

		uuid_text(lineage->link[i].uuid, uuid);
		at += (size_t)snprintf(text + at, size - at, "%s:%llu ", uuid,
				       (unsigned long long)lineage->link[i].fork);
	}
}

static void lineage_parse(const char *text, struct wire_lineage *lineage)
{
	lineage->count = 0;
	while (lineage->count < WIRE_LINEAGE_MAX && strlen(text) > 33) {
		char uuid[33] = {0}, *end;

		memcpy(uuid, text, 32);
		if (text[32] != ':' || !uuid_parse(uuid, lineage->link[lineage->count].uuid))
			return;
		lineage->link[lineage->count++].fork = strtoull(text + 33, &end, 10);
		text = end + (*end == ' ');
	}
}

static int seat_store(struct seat *seat, struct err *err)
{
	struct group *group = &seat->group;
	char uuid[33], peer[33], lineage[WIRE_LINEAGE_MAX * 64];

	uuid_text(group->uuid, uuid);
	uuid_text(seat->peer, peer);
	lineage_text(&group->lineage, lineage, sizeof lineage);
	return config_run(
	    seat->replication->config, err,
	    "insert into grp(uuid, name, peer, role, lineage, accept_any, rpo_ns, limit_bytes,"
	    " paused, clean, definition) values(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
	    " on conflict(uuid) do update set role = excluded.role, lineage = excluded.lineage,"
	    " accept_any = excluded.accept_any, rpo_ns = excluded.rpo_ns,"
	    " limit_bytes = excluded.limit_bytes, paused = excluded.paused,"
	    " clean = excluded.clean, definition = excluded.definition",
	    "sssisiiiiis", uuid, group->name, peer, (int64_t)group->role, lineage,
	    (int64_t)group->accept_any, (int64_t)seat->rpo_ns, (int64_t)group->limit_bytes,
	    (int64_t)seat->paused, (int64_t)seat->clean,
	    seat->definition ? seat->definition : "{}");
}

static int host_save(struct group *group)
{
	struct seat *seat = group->host_context;
	struct err err = {0};
	int result = seat_store(seat, &err);

	if (result < 0)
		log_error("group %s: its state could not be saved: %s", group->name, err.text);
	return result;
}

/* ---- definitions ---- */
static unsigned member_uuids(const struct seat *seat, uint8_t (*uuids)[16])
{
	unsigned count = 0;

	for (unsigned i = 0; i < seat->group.member_max; i++) {
		if (seat->group.members[i].volume)
			memcpy(uuids[count++], seat->group.members[i].volume->identity.uuid, 16);
	}
	return count;
}

/* The sizes as they are now, and what is exported. */
static const char *host_definition(struct group *group)
{
	struct seat *seat = group->host_context;
	const struct replication_host *host = &seat->replication->options.host;
	json_t *definition = json_loads(seat->definition, 0, NULL);
	json_t *members = json_object_get(definition, "members"), *member;
	uint8_t uuids[WIRE_MEMBERS_MAX][16];
	size_t index;

	json_array_foreach(members, index, member)
	{
		json_int_t at = json_integer_value(json_object_get(member, "index"));

		if (at >= 0 && at < WIRE_MEMBERS_MAX && group->members[at].volume)
			json_object_set_new(
			    member, "size",
			    json_integer((json_int_t)volume_size(group->members[at].volume)));
	}
	json_object_set_new(
	    definition, "exports",
	    host->exports(host->context, (const uint8_t(*)[16])uuids, member_uuids(seat, uuids)));
	free(seat->sent_definition);
	seat->sent_definition = json_dumps(definition, JSON_COMPACT);
	json_decref(definition);
	return seat->sent_definition ? seat->sent_definition : "{}";
}

/* A call of the pool from a fiber. */
struct waiting_call {
	struct pool_call call;
	struct fiber *fiber;
	int result;
	bool over;
};

static void pool_answered(struct pool_call *call, int result)
{
	struct waiting_call *waiting = container_of(call, struct waiting_call, call);

	waiting->result = result;
	waiting->over = true;
	fiber_wake(waiting->fiber);
}

static int pool_wait(struct waiting_call *waiting, struct err *err)
{
	while (!waiting->over)
		fiber_wait();
	if (waiting->result < 0)
		*err = waiting->call.err;
	return waiting->result;
}

static int make_volume(struct pool *pool, const struct volume_spec *spec,
		       struct volume **ret_volume, struct err *err)
{
	struct waiting_call waiting = {.call = {.done = pool_answered}, .fiber = fiber_current()};
	int result;

	volume_create(pool, spec, &waiting.call);
	result = pool_wait(&waiting, err);
	if (result == 0)
		*ret_volume = waiting.call.volume;
	return result;
}

static int grow_volume(struct volume *volume, uint64_t size, struct err *err)
{
	struct waiting_call waiting = {.call = {.done = pool_answered}, .fiber = fiber_current()};

	if (volume_size(volume) >= size)
		return 0;
	volume_resize(volume, size, &waiting.call);
	return pool_wait(&waiting, err);
}

/* "GROUP-staging" in @pool: thin, so that its size is only a bound. */
static int open_staging_volume(struct seat *seat, struct pool *pool, struct err *err)
{
	char name[VOLUME_NAME_MAX + 1];
	struct volume_spec spec = {
	    .name = name, .size_bytes = STAGING_SIZE_MIN, .checksum = VOLUME_CHECKSUM_STANDARD};
	uint64_t total = 0;

	if (seat->group.staging_volume)
		return 0;
	for (unsigned i = 0; i < seat->group.member_max; i++) {
		if (seat->group.members[i].volume)
			total += volume_size(seat->group.members[i].volume);
	}
	if (total * 2 > spec.size_bytes)
		spec.size_bytes = total * 2 < VOLUME_SIZE_MAX ? total * 2 : VOLUME_SIZE_MAX;
	snprintf(name, sizeof name, "%s-staging", seat->group.name);
	seat->group.staging_volume = pool_find_volume(pool, name);
	if (seat->group.staging_volume)
		return 0;
	return make_volume(pool, &spec, &seat->group.staging_volume, err);
}

struct member_row {
	json_int_t index, size, checksum;
	const char *pool, *name, *uuid, *naa;
	struct volume_identity identity;
};

static bool member_read(json_t *json, struct member_row *row)
{
	if (json_unpack(json, "{s:I,s:s,s:s,s:s,s:s,s:I,s:I}", "index", &row->index, "pool",
			&row->pool, "name", &row->name, "uuid", &row->uuid, "naa", &row->naa,
			"size", &row->size, "checksum", &row->checksum) < 0)
		return false;
	if (row->index < 0 || row->index >= WIRE_MEMBERS_MAX || row->size <= 0 ||
	    row->checksum < 0 || row->checksum > VOLUME_CHECKSUM_STRICT ||
	    strlen(row->uuid) != 32 || !uuid_parse(row->uuid, row->identity.uuid) ||
	    !uuid_parse(row->naa, row->identity.naa))
		return false;
	snprintf(row->identity.serial, sizeof row->identity.serial, "%s", row->uuid);
	return true;
}

static struct pool *first_pool(const struct seat *seat)
{
	for (unsigned i = 0; i < seat->group.member_max; i++) {
		if (seat->group.members[i].volume)
			return seat->group.members[i].volume->pool;
	}
	return NULL;
}

/* Where a member is made: in the pool of its pool's name, else with the members that are there. */
static struct pool *pool_for(const struct seat *seat, const char *name)
{
	const struct replication_host *host = &seat->replication->options.host;
	struct pool *pool = host->pool(host->context, name), *first = first_pool(seat);

	return first && (!pool || strcmp(pool_name(pool), name) != 0) ? first : pool;
}

/* The member's volume; made when it is the standby's first time (@make). */
static int member_open(struct seat *seat, const struct member_row *row, bool make, struct err *err)
{
	const struct replication_host *host = &seat->replication->options.host;
	struct volume *volume = host->volume(host->context, row->identity.uuid);
	struct volume_spec spec = {.name = row->name,
				   .size_bytes = (uint64_t)row->size,
				   .checksum = (enum volume_checksum)row->checksum,
				   .identity = &row->identity};
	struct pool *pool;
	int result = 0;

	if (!volume && !make)
		return err_set(err, -ENXIO, "volume %s/%s is not available", row->pool, row->name);
	pool = volume ? volume->pool : pool_for(seat, row->pool);
	if (!pool)
		return err_set(err, -ENXIO, "there is no pool for volume %s", row->name);
	if (volume)
		seat->group.used = true; /* whatever is in it is older than the group */
	else
		result = make_volume(pool, &spec, &volume, err);
	if (result < 0)
		return result;
	group_set_member(&seat->group, (unsigned)row->index, volume);
	volume_unref(volume);
	return 0;
}

static int members_open(struct seat *seat, json_t *definition, bool make, struct err *err)
{
	json_t *members = json_object_get(definition, "members"), *member;
	size_t index;
	int result = 0;

	if (json_array_size(members) == 0)
		return err_set(err, -EINVAL, "a group without members");
	json_array_foreach(members, index, member)
	{
		struct member_row row;

		if (!member_read(member, &row))
			return err_set(err, -EINVAL, "a member that can not be");
		if (result == 0 && !seat->group.members[row.index].volume)
			result = member_open(seat, &row, make, err);
		else if (result == 0 && make)
			result = grow_volume(seat->group.members[row.index].volume,
					     (uint64_t)row.size, err);
	}
	if (result == 0)
		result = open_staging_volume(seat, first_pool(seat), err);
	return result;
}

/* A group that is new here has the name it has there. */
static int take_name(struct seat *seat, const json_t *definition, struct err *err)
{
	const char *name = json_string_value(json_object_get(definition, "name"));

	if (seat->group.name[0])
		return 0;
	if (!name || volume_name_check(name, err) < 0 || strlen(name) > GROUP_NAME_MAX)
		return err_set(err, -EINVAL, "a group without a proper name");
	if (seat_find(seat->replication, name))
		return err_set(err, -EEXIST, "there is another group named %s here", name);
	snprintf(seat->group.name, sizeof seat->group.name, "%s", name);
	return 0;
}

static int host_define(struct group *group, const char *text, size_t length, struct err *err)
{
	struct seat *seat = group->host_context;
	json_t *definition = json_loadb(text, length, 0, NULL);
	char *copy = heap_printf("%.*s", (int)length, text);
	int result;

	if (!json_is_object(definition) || !copy) {
		json_decref(definition);
		heap_free(copy);
		return err_set(err, -EINVAL, "a definition that is none");
	}
	heap_free(seat->definition);
	seat->definition = copy;
	result = take_name(seat, definition, err);
	if (result == 0)
		result = members_open(seat, definition, true, err);
	json_decref(definition);
	if (result == 0 && !seat->started) {
		group->role = GROUP_STANDBY;
		result = group_start(group, false, err);
		seat->started = result == 0;
		if (result < 0)
			group_retire(group, &seat->replication->retired);
	}
	if (result == 0 && host_save(group) < 0)
		result = err_set(err, -EIO, "the group could not be saved");
	return result;
}

/* Snapshots named @name of those members that are in @pool. */
static int snapshot_members(struct group *group, struct pool *pool, const char *name,
			    struct err *err)
{
	struct waiting_call waiting = {.call = {.done = pool_answered}, .fiber = fiber_current()};
	struct snapshot_spec specs[WIRE_MEMBERS_MAX] = {0};
	unsigned count = 0;

	for (unsigned i = 0; i < group->member_max; i++) {
		if (group->members[i].volume && group->members[i].volume->pool == pool)
			specs[count++] = (struct snapshot_spec){group->members[i].volume, name};
	}
	snapshot_create(pool, specs, count, &waiting.call);
	return pool_wait(&waiting, err);
}

/* Of all members, a pool after the other: nobody writes to them meanwhile. */
static int snapshot_group(struct group *group, const char *name, struct err *err)
{
	int result = 0;

	for (unsigned i = 0; i < group->member_max && result == 0; i++) {
		bool first = group->members[i].volume != NULL;

		for (unsigned j = 0; j < i && first; j++)
			first = !group->members[j].volume ||
				group->members[j].volume->pool != group->members[i].volume->pool;
		if (first)
			result = snapshot_members(group, group->members[i].volume->pool, name, err);
	}
	return result;
}

/* The loser's image, as snapshots: "conflict-" and the lineage it belongs to. */
static int host_keep(struct group *group, struct err *err)
{
	char name[64], head[33] = "none";
	int result;

	if (lineage_head(&group->lineage))
		uuid_text(lineage_head(&group->lineage), head);
	snprintf(name, sizeof name, "conflict-%.12s-%llu", head,
		 (unsigned long long)(loop_wall(group->loop) / 1000000000ull));
	result = snapshot_group(group, name, err);
	if (result < 0 && result != -EOPNOTSUPP)
		return result;
	if (result < 0) {
		log_warning("group %s: its image can not be kept: %s", group->name, err->text);
		return 0;
	}
	log_notice("group %s: its image is kept as snapshots %s", group->name, name);
	return 0;
}

static void host_role_changed(struct group *group)
{
	struct seat *seat = group->host_context;
	const struct replication_host *host = &seat->replication->options.host;

	log_notice("group %s: this node is %s now", group->name, group_role_name(group->role));
	if (group->role == GROUP_PRIMARY && seat->definition) {
		json_t *definition = json_loads(seat->definition, 0, NULL);

		host->exports_apply(host->context, json_object_get(definition, "exports"));
		json_decref(definition);
	}
}

static void host_serving_changed(struct group *group)
{
	const struct seat *seat = group->host_context;
	const struct replication_host *host = &seat->replication->options.host;

	host->serving_changed(host->context);
}

static bool host_settled(struct group *group)
{
	const struct seat *seat = group->host_context;
	const struct replication_host *host = &seat->replication->options.host;

	return host->settled(host->context);
}

static const struct group_host host_ops = {.save = host_save,
					   .definition = host_definition,
					   .define = host_define,
					   .keep = host_keep,
					   .role_changed = host_role_changed,
					   .serving_changed = host_serving_changed,
					   .settled = host_settled};

/* ---- seats ---- */
struct seat *seat_find(struct replication *replication, const char *name)
{
	list_for_each (it, &replication->seats) {
		struct seat *seat = list_entry(it, struct seat, link);

		if (strcmp(seat->group.name, name) == 0)
			return seat;
	}
	return NULL;
}

struct seat *seat_by_uuid(struct replication *replication, const uint8_t uuid[16])
{
	list_for_each (it, &replication->seats) {
		struct seat *seat = list_entry(it, struct seat, link);

		if (memcmp(seat->group.uuid, uuid, 16) == 0)
			return seat;
	}
	return NULL;
}

static void set_rpo(struct seat *seat, uint64_t rpo_ns)
{
	uint64_t period;

	seat->rpo_ns = rpo_ns ? rpo_ns : RPO_NS;
	period = seat->rpo_ns / 5;
	period = period < PERIOD_MIN ? PERIOD_MIN : period;
	seat->group.period_ns = period > PERIOD_MAX ? PERIOD_MAX : period;
}

struct seat *seat_new(struct replication *replication, const char *name, const uint8_t uuid[16],
		      const uint8_t peer[16])
{
	struct seat *seat = heap_zalloc(sizeof *seat);

	if (!seat)
		return NULL;
	seat->replication = replication;
	group_init(&seat->group, replication->options.loop, &host_ops);
	seat->group.host_context = seat;
	snprintf(seat->group.name, sizeof seat->group.name, "%s", name);
	memcpy(seat->group.uuid, uuid, 16);
	memcpy(seat->group.node, replication->node, 16);
	memcpy(seat->peer, peer, 16);
	set_rpo(seat, 0);
	list_push_back(&replication->seats, &seat->link);
	return seat;
}

static void seat_destroy(struct seat *seat)
{
	heap_free(seat->definition);
	free(seat->sent_definition);
	heap_free(seat);
}

void seat_free(struct seat *seat)
{
	list_remove(&seat->link);
	group_retire(&seat->group, &seat->replication->retired);
	seat->started = false;
	seat->gone = true;
	if (seat->users == 0)
		seat_destroy(seat);
}

void seat_enter(struct seat *seat)
{
	seat->users++;
}

void seat_leave(struct seat *seat)
{
	if (--seat->users == 0 && seat->gone)
		seat_destroy(seat);
}

static int load_one(struct replication *replication, struct config_statement *row, struct err *err)
{
	uint8_t uuid[16], peer[16];
	struct seat *seat;

	if (!uuid_parse(config_text(row, 0), uuid) || !uuid_parse(config_text(row, 2), peer))
		return err_set(err, -EINVAL, "group %s is damaged", config_text(row, 1));
	seat = seat_new(replication, config_text(row, 1), uuid, peer);
	if (!seat)
		return err_set(err, -ENOMEM, "out of memory");
	seat->group.role = (enum group_role)config_number(row, 3);
	lineage_parse(config_text(row, 4), &seat->group.lineage);
	seat->group.accept_any = config_number(row, 5) != 0;
	set_rpo(seat, (uint64_t)config_number(row, 6));
	seat->group.limit_bytes = (uint64_t)config_number(row, 7);
	seat->paused = config_number(row, 8) != 0;
	seat->clean = (uint64_t)config_number(row, 9);
	seat->definition = heap_strdup(config_text(row, 10));
	return seat->definition ? 0 : err_set(err, -ENOMEM, "out of memory");
}

int seats_load(struct replication *replication, struct err *err)
{
	struct config_statement *row;
	int result = config_prepare(replication->config,
				    "select uuid, name, peer, role, lineage, accept_any, rpo_ns,"
				    " limit_bytes, paused, clean, definition from grp",
				    &row, err);

	if (result < 0)
		return result;
	while ((result = config_step(row, err)) > 0) {
		result = load_one(replication, row, err);
		if (result < 0)
			break;
	}
	config_finish(row);
	return result;
}

/* What was sealed when the node stopped in order is known; else nothing is. */
static int seat_start(struct seat *seat, struct err *err)
{
	struct group *group = &seat->group;
	json_t *definition = json_loads(seat->definition, 0, NULL);
	bool clean = seat->clean != 0;
	int result;

	/* Once only, and first: a group that can not start is not watched, and guests may write. */
	group->acked = seat->clean;
	seat->clean = 0;
	if (clean && host_save(group) < 0) {
		group->acked = 0;
		clean = false;
	}
	result = members_open(seat, definition, false, err);
	json_decref(definition);
	if (result == 0)
		result = group_start(group, group->role == GROUP_PRIMARY && !clean, err);
	seat->started = result == 0;
	if (result < 0) {
		group->acked = 0;
		group_finish(group);
	}
	return result;
}

/* What a standby holds is known before its primary comes: it may never come. */
static void look_at_image(void *context)
{
	struct seat *seat = context;
	struct replication *replication = seat->replication;
	struct err err = {0};

	if (group_open_staging(&seat->group, &err) < 0)
		snprintf(seat->group.reason, sizeof seat->group.reason, "%.199s", err.text);
	seat->session = false;
	seat_leave(seat);
	node_release(replication);
}

static void standby_start(struct seat *seat)
{
	seat_enter(seat);
	node_hold(seat->replication);
	seat->session = true;
	if (fiber_start(seat->replication->options.loop, look_at_image, seat) == 0)
		return;
	seat->session = false;
	node_release(seat->replication);
	seat_leave(seat);
}

void seats_start(struct replication *replication)
{
	list_for_each (it, &replication->seats) {
		struct seat *seat = list_entry(it, struct seat, link);
		struct err err = {0};

		if (seat_start(seat, &err) < 0) {
			snprintf(seat->unavailable, sizeof seat->unavailable, "%.199s", err.text);
			log_error("group %s is not replicated: %s", seat->group.name, err.text);
		}
		if (seat->started && seat->group.role == GROUP_STANDBY)
			standby_start(seat);
	}
}

/* ---- sessions ---- */
void seat_send(struct visit *visit)
{
	struct seat *seat = visit->seat;

	seat->retries = 0;
	sender_run(&seat->group, &visit->channel);
	log_info("group %s: session over: %s", seat->group.name, visit->channel.why);
}

void seat_end_session(struct seat *seat, const char *why)
{
	if (seat->dial)
		tls_dial_cancel(seat->dial);
	while (seat->session) {
		if (seat->group.channel)
			channel_break(seat->group.channel, -ECANCELED, "%s", why);
		fiber_sleep(2000000);
	}
}

static struct seat *seat_welcome(struct visit *visit, const struct wire_message *hello)
{
	struct replication *replication = visit->replication;
	struct seat *seat = seat_by_uuid(replication, hello->group);

	if (!seat) /* the definition that follows names it */
		seat = seat_new(replication, "", hello->group, hello->node);
	if (!seat || memcmp(seat->peer, hello->node, 16) != 0) {
		channel_refuse(&visit->channel, WIRE_REFUSED_GROUP, NULL,
			       "that group is another node's");
		return NULL;
	}
	if (seat->paused) {
		channel_refuse(&visit->channel, WIRE_REFUSED_STATE, NULL,
			       "the group is paused there");
		return NULL;
	}
	if (seat->unavailable[0]) {
		channel_refuse(&visit->channel, WIRE_REFUSED_STATE, NULL, "%s", seat->unavailable);
		return NULL;
	}
	return seat;
}

void seat_receive(struct visit *visit, const struct wire_message *hello)
{
	struct wire_message first = *hello; /* nothing of it is borrowed */
	struct seat *seat = seat_welcome(visit, &first);

	if (!seat)
		return;
	seat_enter(seat);
	/* A new connection of the same primary: the old one is dead, whether it knows or not. */
	seat_end_session(seat, "the primary has connected again");
	if (!seat->gone && !visit->channel.broken && !visit->replication->stopping) {
		seat->session = true;
		receiver_run(&seat->group, &visit->channel, &first);
		log_info("group %s: session over: %s", seat->group.name, visit->channel.why);
		seat->session = false;
	}
	/* It was never defined, and nobody else waits for it. */
	if (!seat->gone && seat->group.role == GROUP_NONE && seat->users == 1)
		seat_free(seat);
	seat_leave(seat);
}

static void call_peer(struct seat *seat)
{
	struct replication *replication = seat->replication;
	struct peer *peer = peer_find(replication, seat->peer);
	struct visit *visit;
	struct err err = {0};

	if (!peer) {
		snprintf(seat->group.reason, sizeof seat->group.reason,
			 "its node is not paired any more");
		return;
	}
	visit = heap_zalloc(sizeof *visit);
	if (!visit)
		return;
	visit->replication = replication;
	visit->seat = seat;
	seat->session = true;
	if (node_dial(visit, peer->address, peer->port, &err) == 0)
		seat->dial = visit->dial;
}

static void measure(struct seat *seat, uint64_t now)
{
	const struct channel *channel = seat->group.channel;
	uint64_t bytes = channel ? channel->bytes_out + channel->bytes_in : 0;

	if (now - seat->rate_at_ns < 1000000000ull)
		return;
	seat->rate = bytes > seat->rate_bytes
			 ? (bytes - seat->rate_bytes) * 1000000000ull / (now - seat->rate_at_ns)
			 : 0;
	seat->rate_bytes = bytes;
	seat->rate_at_ns = now;
}

/* ---- alarms ---- */
static double seconds_since(uint64_t now, uint64_t then)
{
	return then && now > then ? (double)(now - then) / 1e9 : 0;
}

static const struct {
	const char *name, *text;
} alarms[SEAT_ALARMS] = {
    [SEAT_ALARM_RPO] = {"rpo", "the standby's image is older than the RPO"},
    [SEAT_ALARM_LINK] = {"link", "there is no connection to the other node"},
    [SEAT_ALARM_MISMATCH] = {"mismatch", "the standby's image was found to differ"},
};

static double primary_lag(const struct seat *seat)
{
	const struct group *group = &seat->group;
	struct recorder_lag lag = {0};

	if (!seat->started || (group->acked && group_level(group)))
		return 0;
	recorder_lag(group->recorder, &lag);
	return seconds_since(loop_wall(seat->replication->options.loop),
			     group->acked_wall_ns ? group->acked_wall_ns : lag.oldest_wall_ns);
}

static unsigned alarms_of(struct seat *seat, uint64_t now)
{
	const struct group *group = &seat->group;
	unsigned found = 0;

	if (group->channel || seat->paused || !seat->heard_ns)
		seat->heard_ns = now;
	if (group->role != GROUP_PRIMARY && group->role != GROUP_STANDBY)
		return 0;
	if (now - seat->heard_ns > LINK_NS)
		found |= 1u << SEAT_ALARM_LINK;
	if (group->role == GROUP_PRIMARY && primary_lag(seat) > (double)seat->rpo_ns / 1e9)
		found |= 1u << SEAT_ALARM_RPO;
	if (group->role == GROUP_PRIMARY && group->verify.mismatches)
		found |= 1u << SEAT_ALARM_MISMATCH;
	return found;
}

static void look_for_alarms(struct seat *seat, uint64_t now)
{
	unsigned found = seat->started ? alarms_of(seat, now) : 0, before = seat->alarms;

	seat->alarms = found;
	for (unsigned i = 0; i < SEAT_ALARMS; i++) {
		if ((found ^ before) >> i & 1 && found >> i & 1)
			log_warning("group %s: %s", seat->group.name, alarms[i].text);
		else if ((found ^ before) >> i & 1)
			log_notice("group %s: no more: %s", seat->group.name, alarms[i].text);
	}
}

static json_t *show_alarms(const struct seat *seat)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < SEAT_ALARMS; i++) {
		if (seat->alarms >> i & 1)
			json_array_append_new(list, json_string(alarms[i].name));
	}
	return list;
}

void seats_tick(struct replication *replication)
{
	uint64_t now = loop_now(replication->options.loop);

	list_for_each_safe (it, &replication->seats) {
		struct seat *seat = list_entry(it, struct seat, link);
		enum group_role role = seat->group.role;

		measure(seat, now);
		look_for_alarms(seat, now);
		if (replication->stopping || !seat->started || seat->session || seat->paused ||
		    now < seat->retry_ns || (role != GROUP_PRIMARY && role != GROUP_HANDOVER))
			continue;
		seat->retry_ns = now + RETRY_NS * (seat->retries < 5 ? 1 + seat->retries++ : 5);
		call_peer(seat);
	}
}

void seat_close(struct seat *seat)
{
	struct group *group = &seat->group;

	seat->clean = seat->started ? group_stop(group) : 0;
	if (seat->clean)
		(void)host_save(group);
	seat->started = false;
	group_finish(group);
}

/* ---- what is shown ---- */
static void show_primary(const struct seat *seat, json_t *json)
{
	struct recorder_lag lag = {0};
	uint64_t sealed = seat->group.acked;
	bool level = true;

	if (seat->started) {
		recorder_lag(seat->group.recorder, &lag);
		level = group_level(&seat->group);
	}
	json_object_set_new(json, "sealed_epoch", json_integer((json_int_t)sealed));
	json_object_set_new(json, "lag_seconds", json_real(primary_lag(seat)));
	json_object_set_new(json, "lag_bytes",
			    json_integer((json_int_t)(lag.marked_bytes + lag.log_bytes)));
	json_object_set_new(
	    json, "lag_epochs",
	    json_integer(seat->started && sealed && !level
			     ? (json_int_t)(recorder_open_epoch(seat->group.recorder) - sealed)
			     : 0));
}

static json_t *show_verify(const struct group *group)
{
	const struct group_verify *verify = &group->verify;
	uint64_t total = 0;

	for (unsigned i = 0; i < group->member_max; i++)
		total += group->members[i].volume ? volume_size(group->members[i].volume) : 0;
	return json_pack("{s:s,s:I,s:I,s:I,s:I,s:I,s:I}", "state",
			 verify->running         ? "running"
			 : verify->ended_wall_ns ? "done"
						 : "never",
			 "begun", (json_int_t)(verify->begun_wall_ns / 1000000000ull), "ended",
			 (json_int_t)(verify->ended_wall_ns / 1000000000ull), "done_bytes",
			 (json_int_t)verify->done_bytes, "total_bytes", (json_int_t)total,
			 "mismatches", (json_int_t)verify->mismatches, "repaired",
			 (json_int_t)verify->repaired);
}

static void show_standby(const struct seat *seat, json_t *json)
{
	const struct group *group = &seat->group;
	uint64_t now = loop_wall(seat->replication->options.loop);
	uint64_t sealed = group->staging_good ? group->staging.sealed : 0;
	uint64_t as_of = group->staging_good ? group->staging.sealed_wall_ns : 0;

	/* The primary has said since that nothing is newer. */
	if (group->channel && group->channel->peer_epoch == sealed &&
	    group->channel->peer_wall_ns > as_of)
		as_of = group->channel->peer_wall_ns;
	json_object_set_new(json, "sealed_epoch", json_integer((json_int_t)sealed));
	json_object_set_new(json, "lag_seconds", json_real(seconds_since(now, as_of)));
	json_object_set_new(json, "as_of_ms", json_integer((json_int_t)(as_of / 1000000)));
	json_object_set_new(json, "promotable", json_boolean(sealed && !group->staging.seeding));
}

static json_t *show_lineage(const struct group *group)
{
	const struct wire_lineage *lineage = group->role == GROUP_STANDBY && group->staging_good
						 ? &group->staging.lineage
						 : &group->lineage;
	json_t *chain = json_array();

	for (unsigned i = 0; i < lineage->count; i++) {
		char uuid[33];

		uuid_text(lineage->link[i].uuid, uuid);
		json_array_append_new(chain, json_pack("{s:s,s:I}", "uuid", uuid, "fork_epoch",
						       (json_int_t)lineage->link[i].fork));
	}
	return chain;
}

static const char *state_of(const struct seat *seat)
{
	if (!seat->started)
		return "unavailable";
	if (seat->paused)
		return "paused";
	if (seat->group.role == GROUP_FENCED)
		return "split-brain";
	return seat->group.channel ? seat->group.phase : "disconnected";
}

static json_t *show(const struct seat *seat)
{
	const struct group *group = &seat->group;
	struct peer *peer = peer_find(seat->replication, seat->peer);
	json_t *definition = json_loads(seat->definition ? seat->definition : "{}", 0, NULL);
	json_t *members = json_array(), *member;
	json_t *json = json_pack(
	    "{s:s,s:s,s:s,s:s,s:s,s:f,s:I,s:I,s:I}", "name", group->name, "role",
	    group_role_name(group->role), "state", state_of(seat), "peer", peer ? peer->name : "?",
	    "reason", seat->unavailable[0] ? seat->unavailable : group->reason, "rpo_seconds",
	    (double)seat->rpo_ns / 1e9, "limit_bytes", (json_int_t)group->limit_bytes,
	    "bytes_per_second", (json_int_t)seat->rate, "sent_bytes",
	    (json_int_t)(group->sent_bytes + (group->channel ? group->channel->bytes_out : 0)));
	size_t index;

	json_array_foreach(json_object_get(definition, "members"), index, member)
	    json_array_append_new(
		members, json_sprintf("%s/%s", json_string_value(json_object_get(member, "pool")),
				      json_string_value(json_object_get(member, "name"))));
	json_object_set_new(json, "members", members);
	json_object_set_new(json, "alarms", show_alarms(seat));
	json_object_set_new(json, "lineage", show_lineage(group));
	if (group->role == GROUP_STANDBY)
		show_standby(seat, json);
	else
		show_primary(seat, json);
	if (group->role == GROUP_PRIMARY)
		json_object_set_new(json, "verify", show_verify(group));
	json_decref(definition);
	return json;
}

json_t *replication_group_show(struct replication *replication, const char *name)
{
	struct seat *seat = seat_find(replication, name);

	return seat ? show(seat) : NULL;
}

json_t *replication_group_list(struct replication *replication)
{
	json_t *groups = json_array();

	list_for_each (it, &replication->seats)
		json_array_append_new(groups, show(list_entry(it, struct seat, link)));
	return groups;
}

static bool is_volume(const struct volume *volume, const uint8_t uuid[16])
{
	return volume && memcmp(volume->identity.uuid, uuid, 16) == 0;
}

bool replication_holds(struct replication *replication, const uint8_t uuid[16],
		       struct replication_hold *ret_hold)
{
	list_for_each (it, &replication->seats) {
		const struct group *group = &list_entry(it, struct seat, link)->group;
		bool staging = is_volume(group->staging_volume, uuid), held = staging;

		for (unsigned i = 0; i < group->member_max && !held; i++)
			held = is_volume(group->members[i].volume, uuid);
		if (held) {
			*ret_hold =
			    (struct replication_hold){group->name, staging, group_serves(group)};
			return true;
		}
	}
	return false;
}

/* ---- what the administrator does ---- */
struct action {
	struct seat *seat;
	enum replication_action action;
	struct replication_call *call;
	struct replication *replication;
};

static int set_paused(struct seat *seat, bool paused, struct err *err)
{
	seat->paused = paused;
	seat->retry_ns = 0;
	if (paused)
		seat_end_session(seat, "paused");
	return seat_store(seat, err);
}

/* The staging log goes with its group: one of the same name begins with its own. */
static void delete_staging(struct volume *staging)
{
	struct waiting_call waiting = {.call = {.done = pool_answered}, .fiber = fiber_current()};
	struct err err = {0};

	if (!staging)
		return;
	volume_delete(staging, &waiting.call);
	if (pool_wait(&waiting, &err) == 0)
		return;
	log_warning("volume %s could not be deleted: %s", staging->name, err.text);
	volume_unref(staging);
}

static int delete_seat(struct seat *seat, struct err *err)
{
	const struct replication_host *host = &seat->replication->options.host;
	struct group *group = &seat->group;
	bool paused = seat->paused;
	struct volume *staging;
	char uuid[33];
	int result;

	if (group->role == GROUP_STANDBY && group->channel)
		return err_set(err, -EBUSY,
			       "group %s: its primary is connected and would make it again; delete "
			       "it there first",
			       group->name);
	seat->paused = true;
	seat_end_session(seat, "the group is deleted");
	uuid_text(group->uuid, uuid);
	result =
	    config_run(seat->replication->config, err, "delete from grp where uuid = ?", "s", uuid);
	if (result < 0) {
		seat->paused = paused;
		return result;
	}
	staging = group->staging_volume;
	group->staging_volume = NULL;
	seat_free(seat);
	host->serving_changed(host->context); /* its volumes are this node's own again */
	delete_staging(staging);
	return 0;
}

static int fail_back(struct seat *seat, struct err *err)
{
	struct group *group = &seat->group;

	if (group->role == GROUP_PRIMARY || group->role == GROUP_NONE)
		return err_set(err, -EINVAL, "group %s is %s here", group->name,
			       group_role_name(group->role));
	if (group->role != GROUP_STANDBY) {
		seat->retry_ns = UINT64_MAX;
		seat_end_session(seat, "demoted");
		seat->retry_ns = 0;
	}
	return group_failback(group, FAILBACK_NS, err);
}

static int act(struct action *action, struct err *err)
{
	struct seat *seat = action->seat;
	struct group *group = &seat->group;

	switch (action->action) {
	case REPLICATION_PROMOTE:
		if (group->role != GROUP_STANDBY)
			return err_set(err, -EINVAL, "group %s is %s here", group->name,
				       group_role_name(group->role));
		seat_end_session(seat, "promoted");
		return group_promote(group, false, err);
	case REPLICATION_DEMOTE:
		if (group->role == GROUP_STANDBY || group->role == GROUP_NONE)
			return err_set(err, -EINVAL, "group %s is %s here", group->name,
				       group_role_name(group->role));
		seat->retry_ns = UINT64_MAX;
		seat_end_session(seat, "demoted");
		seat->retry_ns = 0;
		return group_demote(group, err);
	case REPLICATION_SWITCHOVER:
		if (group->role != GROUP_PRIMARY)
			return err_set(err, -EINVAL, "group %s is %s here", group->name,
				       group_role_name(group->role));
		return group_switchover(group, SWITCH_NS, err);
	case REPLICATION_FAILBACK:
		return fail_back(seat, err);
	case REPLICATION_VERIFY:
		if (group->role != GROUP_PRIMARY)
			return err_set(err, -EINVAL, "group %s is %s here", group->name,
				       group_role_name(group->role));
		return group_verify(group, err);
	case REPLICATION_PAUSE:
	case REPLICATION_RESUME:
		return set_paused(seat, action->action == REPLICATION_PAUSE, err);
	case REPLICATION_DELETE:
		return delete_seat(seat, err);
	}
	return -EINVAL;
}

static void act_main(void *context)
{
	struct action *action = context;
	struct replication *replication = action->replication;
	struct replication_call *call = action->call;
	bool gone = action->action == REPLICATION_DELETE;
	int result = action->seat->started || gone
			 ? act(action, &call->err)
			 : err_set(&call->err, -ENXIO, "group %s is not available: %s",
				   action->seat->group.name, action->seat->unavailable);

	if (result == 0 && !gone)
		call->reply = show(action->seat);
	action->seat->acting = false;
	seat_leave(action->seat);
	heap_free(action);
	call->done(call, result);
	node_release(replication);
}

static int act_refused(const struct seat *seat, const struct action *action, const char *name,
		       struct err *err)
{
	if (!seat)
		return err_set(err, -ENOENT, "no group named %s", name);
	if (seat->acting)
		return err_set(err, -EBUSY, "something else is being done to group %s", name);
	return action ? 0 : err_set(err, -ENOMEM, "out of memory");
}

void replication_group_act(struct replication *replication, const char *name,
			   enum replication_action kind, struct replication_call *call)
{
	struct seat *seat = seat_find(replication, name);
	struct action *action = heap_zalloc(sizeof *action);
	int result = act_refused(seat, action, name, &call->err);

	if (result == 0) {
		*action = (struct action){seat, kind, call, replication};
		node_hold(replication);
		seat_enter(seat);
		seat->acting = true;
		result = fiber_start(replication->options.loop, act_main, action);
		if (result == 0)
			return;
		seat->acting = false;
		seat_leave(seat);
		node_release(replication);
		err_set(&call->err, result, "out of memory");
	}
	heap_free(action);
	call->done(call, result);
}

/* ---- a new group ---- */
struct creation {
	struct replication *replication;
	struct seat *seat;
	struct replication_call *call;
};

static json_t *define(const struct replication_spec *spec)
{
	json_t *members = json_array();

	for (unsigned i = 0; i < spec->count; i++) {
		const struct volume *volume = spec->volumes[i];
		char uuid[33], naa[33];

		uuid_text(volume->identity.uuid, uuid);
		uuid_text(volume->identity.naa, naa);
		json_array_append_new(
		    members, json_pack("{s:i,s:s,s:s,s:s,s:s,s:I,s:i}", "index", (int)i, "pool",
				       pool_name(volume->pool), "name", volume->name, "uuid", uuid,
				       "naa", naa, "size", (json_int_t)volume_size(volume),
				       "checksum", (int)volume->checksum));
	}
	return json_pack("{s:s,s:o}", "name", spec->name, "members", members);
}

static int spec_check(struct replication *replication, const struct replication_spec *spec,
		      struct err *err)
{
	if (volume_name_check(spec->name, err) < 0 || strlen(spec->name) > GROUP_NAME_MAX)
		return err_set(err, -EINVAL, "that is no name for a group");
	if (seat_find(replication, spec->name))
		return err_set(err, -EEXIST, "there is already a group named %s", spec->name);
	if (!peer_by_name(replication, spec->peer))
		return err_set(err, -ENOENT, "no node %s is paired", spec->peer);
	if (spec->count == 0 || spec->count > WIRE_MEMBERS_MAX)
		return err_set(err, -EINVAL, "a group has 1 to %u members", WIRE_MEMBERS_MAX);
	for (unsigned i = 0; i < spec->count; i++) {
		struct replication_hold hold;

		if (replication_holds(replication, spec->volumes[i]->identity.uuid, &hold))
			return err_set(err, -EBUSY, "volume %s is in group %s",
				       spec->volumes[i]->name, hold.group);
		for (unsigned j = 0; j < i; j++) {
			if (spec->volumes[j] == spec->volumes[i])
				return err_set(err, -EINVAL, "volume %s is named twice",
					       spec->volumes[i]->name);
		}
	}
	return 0;
}

static struct seat *seat_of_spec(struct replication *replication,
				 const struct replication_spec *spec)
{
	json_t *definition = define(spec);
	uint8_t uuid[16];
	struct seat *seat;
	char *text = json_dumps(definition, JSON_COMPACT);

	json_decref(definition);
	loop_random(replication->options.loop, uuid, sizeof uuid);
	seat = seat_new(replication, spec->name, uuid, peer_by_name(replication, spec->peer)->uuid);
	if (!seat || !text) {
		free(text);
		return NULL;
	}
	seat->definition = heap_strdup(text);
	free(text);
	set_rpo(seat, spec->rpo_ns);
	seat->group.limit_bytes = spec->limit_bytes;
	seat->group.role = GROUP_PRIMARY;
	loop_random(replication->options.loop, uuid, sizeof uuid);
	lineage_start(&seat->group.lineage, uuid);
	for (unsigned i = 0; i < spec->count; i++)
		group_set_member(&seat->group, i, spec->volumes[i]);
	return seat;
}

static void create_main(void *context)
{
	struct creation *creation = context;
	struct replication *replication = creation->replication;
	struct replication_call *call = creation->call;
	struct seat *seat = creation->seat;
	int result = open_staging_volume(seat, first_pool(seat), &call->err);

	if (result == 0)
		result = group_start(&seat->group, true, &call->err);
	seat->started = result == 0;
	if (result == 0)
		result = seat_store(seat, &call->err);
	if (result == 0)
		call->reply = show(seat);
	else
		seat_free(seat);
	heap_free(creation);
	seat->acting = false;
	seat_leave(seat);
	call->done(call, result);
	node_release(replication);
}

void replication_group_create(struct replication *replication, const struct replication_spec *spec,
			      struct replication_call *call)
{
	struct creation *creation = heap_zalloc(sizeof *creation);
	int result = spec_check(replication, spec, &call->err);
	struct seat *seat = NULL;

	if (result == 0) {
		seat = creation ? seat_of_spec(replication, spec) : NULL;
		result = seat ? 0 : err_set(&call->err, -ENOMEM, "out of memory");
	}
	if (result == 0) {
		*creation = (struct creation){replication, seat, call};
		node_hold(replication);
		seat_enter(seat);
		seat->acting = true;
		result = fiber_start(replication->options.loop, create_main, creation);
		if (result == 0)
			return;
		node_release(replication);
		seat_free(seat);
		seat_leave(seat);
	}
	heap_free(creation);
	call->done(call, result);
}
