/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/replica_life.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/heap.h"
#include "replication/seed.h"

#define STEPS_MAX 400000u

const struct replica_shape replica_deep = {.member_size = 384u << 10,
					   .staging_size = 12u << 20,
					   .write_max = 48u << 10,
					   .period_ns = 20000000,
					   .writers = LIFE_WRITERS};

/* A life of a millisecond, of which there can be very many. */
const struct replica_shape replica_quick = {.member_size = 96u << 10,
					    .staging_size = 3u << 20,
					    .write_max = 8u << 10,
					    .period_ns = 1500000,
					    .writers = 4,
					    .pace = 24};

static uint32_t sectors_of_member(const struct replica_life *life)
{
	return (uint32_t)(life->shape->member_size / 512);
}

static uint32_t sectors(const struct replica_life *life)
{
	return LIFE_MEMBERS * sectors_of_member(life);
}

/* The write of @number; NULL: forgotten, or of nobody. */
static const struct written *write_of(const struct replica_life *life, uint32_t number)
{
	return number > life->forgotten ? &life->writes[number - 1 - life->forgotten] : NULL;
}

void replica_life_complain(struct replica_life *life, const char *format, ...)
{
	va_list arguments;

	if (life->complaint[0])
		return;
	va_start(arguments, format);
	vsnprintf(life->complaint, sizeof life->complaint, format, arguments);
	va_end(arguments);
}

/* ---- the nodes' world ---- */
static int host_save(struct group *group)
{
	struct boot *boot = group->host_context;
	struct node *node = boot->node;

	if (boot->dead)
		return -EIO;
	node->role = group->role;
	node->lineage = group->lineage;
	node->accept_any = group->accept_any;
	node->armed = group->armed;
	node->saved_set = node->set;
	node->lease = group->lease;
	return 0;
}

/* The members' size and which there are: all that there is to say of them. */
static const char *host_definition(struct group *group)
{
	struct node *node = ((struct boot *)group->host_context)->node;
	unsigned long long size = volume_size(&node->members[0]->volume);
	int length = snprintf(node->definition, sizeof node->definition,
			      "{\"size\":%llu,\"set\":%u,\"members\":[", size, node->set);

	for (unsigned i = 0; i < LIFE_MEMBERS; i++) {
		if (node->set >> i & 1)
			length += snprintf(node->definition + length,
					   sizeof node->definition - (size_t)length,
					   "%s{\"index\":%u,\"size\":%llu}",
					   node->set & ((1u << i) - 1) ? "," : "", i, size);
	}
	snprintf(node->definition + length, sizeof node->definition - (size_t)length, "]}");
	return node->definition;
}

static void grow(struct node *node, uint64_t size)
{
	for (unsigned i = 0; i < LIFE_MEMBERS; i++) {
		struct volume *volume = &node->members[i]->volume;

		if (volume_size(volume) >= size)
			continue;
		__atomic_store_n(&volume->size_bytes, size, __ATOMIC_RELEASE);
		volume_notify(volume, VOLUME_RESIZED);
	}
}

static void attach(struct boot *boot, bool marked)
{
	struct node *node = boot->node;
	struct err err = {0};

	for (unsigned i = 0; i < LIFE_MEMBERS; i++) {
		if (node->set >> i & 1)
			group_set_member(&boot->group, i, &node->members[i]->volume);
	}
	boot->group.staging_volume = volume_ref(&node->staging->volume);
	if (group_start(&boot->group, marked, &err) < 0)
		abort();
}

/* The group's members are those of @set from now on. */
static int change_set(struct boot *boot, unsigned set, bool marked, struct err *err)
{
	struct node *node = boot->node;
	int result = 0;

	for (unsigned i = 0; i < LIFE_MEMBERS && boot->group.role == GROUP_PRIMARY; i++)
		if (node->set & ~set & 1u << i)
			node->life->left_floor_ns[i] = node->life->floor_ns;
	for (unsigned i = 0; i < LIFE_MEMBERS && result == 0; i++) {
		bool in = set >> i & 1;

		if (in == (boot->group.members[i].volume != NULL))
			continue;
		if (!marked && boot->group.staging_good)
			result = staging_leave_out(&boot->group.staging, i);
		if (result == 0 && in) {
			group_set_member(&boot->group, i, &node->members[i]->volume);
			result = group_add_member(&boot->group, i, marked, err);
		} else if (result == 0) {
			group_drop_member(&boot->group, i);
		}
	}
	node->set = set;
	return result;
}

static void host_left_out(struct group *group, unsigned index)
{
	struct boot *boot = group->host_context;

	boot->node->set &= ~(1u << index);
}

static int host_define(struct group *group, const char *text, size_t length, struct err *err)
{
	struct boot *boot = group->host_context;
	char copy[200], *end;
	unsigned long long size;
	unsigned set;
	int result;

	if (boot->dead)
		return err_set(err, -EIO, "no power");
	snprintf(copy, sizeof copy, "%.*s", (int)length, text);
	if (strncmp(copy, "{\"size\":", 8) != 0)
		return err_set(err, -EINVAL, "no definition");
	size = strtoull(copy + 8, &end, 10);
	set = (unsigned)strtoul(end + strlen(",\"set\":"), NULL, 10);
	grow(boot->node, size);
	if (!group->staging_volume) {
		boot->node->set = set;
		group->role = GROUP_STANDBY;
		boot->node->defined = true;
		group->used = boot->node->used;
		attach(boot, false);
		for (unsigned i = 0; i < LIFE_MEMBERS; i++)
			group->members[i].size = size;
		return host_save(group);
	}
	result = change_set(boot, set, false, err);
	for (unsigned i = 0; i < LIFE_MEMBERS; i++)
		group->members[i].size = size;
	return result < 0 ? result : host_save(group);
}

/* ---- who is let in ---- */
static int host_access(struct group *group, uint8_t **ret_data, size_t *ret_length)
{
	const struct node *node = ((struct boot *)group->host_context)->node;

	if (rng_one_in(&node->life->rng, 64))
		return -EBUSY; /* it is just being changed */
	*ret_data = heap_alloc(sizeof node->access);
	if (!*ret_data)
		return -ENOMEM;
	memcpy(*ret_data, &node->access, sizeof node->access);
	*ret_length = sizeof node->access;
	return 0;
}

static int host_keep_access(struct group *group, const uint8_t *data, size_t length,
			    struct err *err)
{
	struct boot *boot = group->host_context;
	struct node *node = boot->node;
	const struct node *other = &node->life->nodes[!node->index];
	uint64_t told = 0;

	if (boot->dead)
		return err_set(err, -EIO, "no power");
	if (data && length != sizeof told)
		return err_set(err, -EPROTO, "no access");
	if (data)
		memcpy(&told, data, sizeof told);
	if (other->protocol < WIRE_VERSION_ACCESS && data)
		replica_life_complain(node->life, "an older node was told who is let in");
	node->told_access = told;
	return 0;
}

/* A guest's last change, when whoever serves it is about to leave. */
static void change_access(struct node *node)
{
	if (rng_one_in(&node->life->rng, 2))
		node->access++;
}

/* What is handed over is all of it; what a failover finds is what was told. */
static int host_guard(struct group *group, bool planned, struct err *err)
{
	struct boot *boot = group->host_context;
	struct node *node = boot->node;
	const struct node *other = &node->life->nodes[!node->index];
	bool told = node->protocol >= WIRE_VERSION_ACCESS && other->protocol >= WIRE_VERSION_ACCESS;

	if (boot->dead)
		return err_set(err, -EIO, "no power");
	if (planned && told && node->told_access != other->access)
		replica_life_complain(node->life, "handed over with access %llu and not %llu",
				      (unsigned long long)node->told_access,
				      (unsigned long long)other->access);
	if (!planned && node->told_access > other->access)
		replica_life_complain(node->life, "access %llu was never told",
				      (unsigned long long)node->told_access);
	if (node->told_access > node->access)
		node->access = node->told_access;
	return 0;
}

static int host_keep(struct group *group, struct err *err)
{
	const struct node *node = ((struct boot *)group->host_context)->node;

	return node->full ? err_set(err, -ENOSPC, "no room to keep the image") : 0;
}

static void host_serving_changed(struct group *group)
{
	struct boot *boot = group->host_context;

	boot->left_ns = group->leaving ? loop_now(group->loop) : 0;
}

/* A share that is closed writes until it is: none of it may be held by the protection. */
static bool host_settled(struct group *group)
{
	const struct boot *boot = group->host_context;
	struct recorder_lag lag;

	recorder_lag(group->recorder, &lag);
	if (loop_now(group->loop) < boot->left_ns + boot->node->life->leave_ns || lag.held_wall_ns)
		return false;
	change_access(boot->node);
	return true;
}

static uint64_t host_clock(const struct group *group)
{
	const struct node *node = ((const struct boot *)group->host_context)->node;

	return node->life->watch.clock ? node->life->watch.clock(node->life, node->index)
				       : loop_now(group->loop);
}

static int host_take_over(struct group *group, struct err *err)
{
	struct boot *boot = group->host_context;

	while (boot->session) {
		channel_break(&boot->channel, -ECANCELED, "promoted");
		fiber_sleep(100000);
	}
	return boot->dead ? -EIO : group_promote(group, false, err);
}

static const struct group_host host = {.save = host_save,
				       .definition = host_definition,
				       .define = host_define,
				       .left_out = host_left_out,
				       .access = host_access,
				       .keep_access = host_keep_access,
				       .guard = host_guard,
				       .keep = host_keep,
				       .serving_changed = host_serving_changed,
				       .settled = host_settled,
				       .mark_since = seed_mark_since,
				       .clock = host_clock,
				       .take_over = host_take_over};

/* ---- the oracle ---- */
static uint32_t sector_of(const struct replica_volume *volume, uint64_t sector)
{
	uint32_t number;

	memcpy(&number, volume->live + sector * 512, sizeof number);
	return number;
}

/* The image of a node by write numbers; false when a sector is torn or strange. */
static bool image_read(struct replica_life *life, const struct node *node, uint32_t *image)
{
	unsigned per = sectors_of_member(life);

	for (unsigned i = 0; i < sectors(life); i++) {
		const uint32_t *words =
		    (const void *)(node->members[i / per]->live + (size_t)(i % per) * 512);

		image[i] = sector_of(node->members[i / per], i % per);
		if (image[i] > life->write_count ||
		    (image[i] && (words[1] != i || words[127] != image[i])))
			return false;
	}
	return true;
}

static void era_begin(struct replica_life *life, const struct node *node)
{
	uint32_t *image;

	assert(life->era + 1 < LIFE_ERAS);
	image = calloc(sectors(life), sizeof *image);
	assert(image);
	if (!image_read(life, node, image))
		replica_life_complain(life, "the primary's own image has a strange sector");
	life->begun[++life->era] = image;
}

/* The last change that @image shows at sector @i, as a span of the clock of era @era. */
static void shown(const struct replica_life *life, uint32_t era, uint32_t number,
		  uint64_t *ret_submitted, uint64_t *ret_acked)
{
	const struct written *write = write_of(life, number);

	*ret_submitted = *ret_acked = 0; /* from before the era */
	if (write && write->era == era) {
		*ret_submitted = write->submitted;
		*ret_acked = write->acked ? write->acked : UINT64_MAX;
	}
}

/* May zeros be at sector @i when everything acknowledged before @must is there? */
static bool zeros_possible(const struct replica_life *life, uint32_t era, unsigned i,
			   const struct written *must)
{
	if (life->begun[era][i] == 0 && !must)
		return true;
	for (uint32_t n = life->forgotten + 1; n <= life->write_count; n++) {
		const struct written *write = write_of(life, n);

		if (write->era == era && write->zeros && i >= write->first &&
		    i < write->first + write->count &&
		    (!must || write->acked == 0 || write->acked > must->submitted))
			return true;
	}
	return false;
}

/* Why @image is no state that era @era has been in, at or after the floor, but for what is no
 * member in @set; NULL: it is one. One that left the primary's group, which a standby need not have
 * heard of, is not in @floor_set: its floor is what was acknowledged until then. */
static const char *era_refuses(struct replica_life *life, uint32_t era, const uint32_t *image,
			       unsigned set, unsigned floor_set)
{
	static char why[300];
	uint64_t newest = 0;

	for (unsigned i = 0; i < sectors(life); i++) {
		const struct written *write = write_of(life, image[i]);
		uint64_t submitted, acked;

		if (!(set >> i / sectors_of_member(life) & 1))
			continue;
		if (image[i] && !(write && write->era == era) && image[i] != life->begun[era][i]) {
			snprintf(why, sizeof why, "sector %u shows write %u of era %u", i, image[i],
				 write ? write->era : 0);
			return why;
		}
		shown(life, era, image[i], &submitted, &acked);
		newest = submitted > newest ? submitted : newest;
	}
	for (uint32_t n = life->forgotten + 1; n <= life->write_count; n++) {
		const struct written *write = write_of(life, n);
		uint64_t floor_ns = floor_set >> write->member & 1
					? life->floor_ns
					: life->left_floor_ns[write->member];
		bool must = write->era == era && write->acked && set >> write->member & 1 &&
			    (write->acked < newest ||
			     (era == life->floor_era && write->acked_ns < floor_ns));

		for (uint64_t i = write->first; must && i < write->first + write->count; i++) {
			uint64_t submitted, acked;
			bool good;

			shown(life, era, image[i], &submitted, &acked);
			good = image[i] ? acked > write->submitted
					: zeros_possible(life, era, (unsigned)i, write);
			if (good)
				continue;
			snprintf(
			    why, sizeof why,
			    "sector %u shows write %u, not write %u (%llu..%llu%s) nor a later one;"
			    " the newest shown began at %llu",
			    (unsigned)i, image[i], n, (unsigned long long)write->submitted,
			    (unsigned long long)write->acked,
			    write->acked < newest ? "" : ", acknowledged as sealed",
			    (unsigned long long)newest);
			return why;
		}
	}
	return NULL;
}

/* What the primary said last of what is newer than the promoted image, at the most. */
static void check_lag(struct replica_life *life, const uint32_t *image, unsigned set)
{
	bool *lost = calloc(sectors(life), sizeof *lost);
	uint64_t bytes = 0;

	assert(lost);
	for (uint32_t n = life->forgotten + 1; n <= life->write_count; n++) {
		const struct written *write = write_of(life, n);

		if (write->era != life->era || !write->acked ||
		    write->acked_ns >= life->lag.wall_ns || !(set >> write->member & 1))
			continue;
		for (uint64_t i = write->first; i < write->first + write->count; i++) {
			uint64_t submitted, acked;

			shown(life, life->era, image[i], &submitted, &acked);
			if (!(image[i] ? acked > write->submitted
				       : zeros_possible(life, life->era, (unsigned)i, write)))
				lost[i] = true;
		}
	}
	for (unsigned i = 0; i < sectors(life); i++)
		bytes += lost[i] ? 512 : 0;
	life->lag.checks++;
	life->lag.losses += bytes > 0;
	if (bytes > life->lag.bytes)
		replica_life_complain(life, "%llu bytes are lost of at most %llu",
				      (unsigned long long)bytes,
				      (unsigned long long)life->lag.bytes);
	free(lost);
}

void replica_life_check_promoted(struct replica_life *life, unsigned node)
{
	uint32_t *image = calloc(sectors(life), sizeof *image);
	const char *why = "no era has such an image";
	uint32_t era = life->era;

	assert(image);
	if (!image_read(life, &life->nodes[node], image))
		replica_life_complain(life, "the promoted image has a strange sector");
	while (era > 0 && era >= life->floor_era &&
	       (why = era_refuses(life, era, image, life->nodes[node].set,
				  life->nodes[node].set & life->nodes[1 - node].set)))
		era--;
	if (why)
		replica_life_complain(life, "promoted image of node %u: %s (eras %u to %u)", node,
				      why, life->floor_era, life->era);
	else if (life->lag.known && era == life->era)
		check_lag(life, image, life->nodes[node].set & life->nodes[1 - node].set);
	life->lag.known = false;
	free(image);
	era_begin(life, &life->nodes[node]);
	life->floor_era = life->era;
	life->floor_ns = 0;
	memset(life->left_floor_ns, 0, sizeof life->left_floor_ns);
}

void replica_life_forget(struct replica_life *life, unsigned node)
{
	for (unsigned i = 0; i < LIFE_ERAS; i++) {
		free(life->begun[i]);
		life->begun[i] = NULL;
	}
	life->era = 0;
	life->forgotten = life->write_count;
	era_begin(life, &life->nodes[node]);
	life->floor_era = life->era;
	life->floor_ns = 0;
	memset(life->left_floor_ns, 0, sizeof life->left_floor_ns);
}

/* A standby may be larger than its primary; never the primary's part of it. */
bool replica_life_same(struct replica_life *life)
{
	uint64_t size = volume_size(&life->nodes[0].members[0]->volume),
		 other = volume_size(&life->nodes[1].members[0]->volume);

	if (life->nodes[0].set != life->nodes[1].set)
		return false;
	size = size < other ? size : other;
	for (unsigned i = 0; i < LIFE_MEMBERS; i++) {
		if (!(life->nodes[0].set & life->nodes[1].set & 1u << i))
			continue;
		if (memcmp(life->nodes[0].members[i]->live, life->nodes[1].members[i]->live,
			   size) != 0)
			return false;
	}
	return true;
}

/* What the primary calls sealed is the floor under any promotion. */
static void raise_floor(struct replica_life *life)
{
	const struct boot *boot = life->nodes[life->writer_node].boot;

	if (!boot || boot->group.role != GROUP_PRIMARY || boot->group.acked == 0)
		return;
	if (boot->group.acked_wall_ns > life->floor_ns) {
		life->floor_ns = boot->group.acked_wall_ns;
		life->floor_era = life->era;
	}
}

/* ---- clients ---- */
static void write_next(struct writer *writer);

/* A change takes a millisecond at most, but for those it overlaps. */
#define CHANGE_NS 20000000ull

/* R5: nothing is acknowledged that is so much newer than the sealed image. */
static void look_at_protection(struct replica_life *life, const struct volume *volume)
{
	const struct node *node = &life->nodes[life->writer_node];
	const struct group *group = node->boot ? &node->boot->group : NULL;
	bool here = false;

	for (unsigned i = 0; i < LIFE_MEMBERS; i++)
		here |= volume == &node->members[i]->volume && node->set >> i & 1;
	if (here && group && group->role == GROUP_PRIMARY && group->armed && group->acked &&
	    loop_wall(life->loop) > group->acked_wall_ns + group->protect_ns + CHANGE_NS)
		replica_life_complain(
		    life, "a change was acknowledged %llu ns after what is sealed",
		    (unsigned long long)(loop_wall(life->loop) - group->acked_wall_ns));
}

static void written(struct volume_request *request, int result)
{
	struct writer *writer = container_of(request, struct writer, request);
	struct replica_life *life = writer->life;

	if (result == 0 && life->watch.acked)
		life->watch.acked(life, request->volume);
	if (result == 0 && !writer->flush)
		look_at_protection(life, request->volume);
	if (result == 0 && !writer->flush) {
		struct written *write = &life->writes[writer->number - 1 - life->forgotten];

		write->acked = ++life->clock;
		write->acked_ns = loop_wall(life->loop);
	}
	writer->number = 0;
	if (result == 0 && !life->shape->pace)
		write_next(writer);
}

static void place(struct replica_life *life, struct written *write)
{
	uint64_t per = sectors_of_member(life), room, most = life->shape->write_max / 512;

	write->member = (uint16_t)rng_below(&life->rng, LIFE_MEMBERS);
	write->first = rng_below(&life->rng, rng_one_in(&life->rng, 3) ? per : per / 12);
	write->count = 1 + rng_below(&life->rng, rng_one_in(&life->rng, 8) ? most : 12);
	if (rng_one_in(&life->rng, 2)) {
		write->first &= ~7ull;
		write->count = (write->count + 7) & ~7ull;
	}
	room = per - write->first;
	write->count = write->count < room ? write->count : room;
	write->first += write->member * per;
}

static void fill(struct writer *writer, const struct written *write)
{
	bool noise = writer->life->noisy && writer->number % 2;
	struct rng rng = {.state = writer->number};

	for (uint64_t i = 0; i < write->count; i++) {
		uint32_t *words = (void *)(writer->data + i * 512);

		memset(words, 0x5a, 512);
		for (unsigned w = 0; noise && w < 128; w++)
			words[w] = (uint32_t)rng_next(&rng);
		words[0] = words[127] = writer->number;
		words[1] = (uint32_t)(write->first + i);
	}
}

static void write_next(struct writer *writer)
{
	struct replica_life *life = writer->life;
	struct node *node = &life->nodes[life->writer_node];
	struct written *write;

	if (!life->writing || !node->boot || writer->number ||
	    life->write_count - life->forgotten == LIFE_WRITES ||
	    (life->write_limit && life->write_count >= life->write_limit))
		return;
	writer->flush = rng_one_in(&life->rng, 12);
	write = &life->writes[life->write_count - life->forgotten];
	*write =
	    (struct written){.era = life->era, .zeros = rng_one_in(&life->rng, life->zeros_one_in)};
	place(life, write);
	writer->number = life->write_count + 1;
	writer->request = (struct volume_request){
	    .op = writer->flush  ? VOLUME_FLUSH
		  : write->zeros ? VOLUME_DISCARD
				 : VOLUME_WRITE,
	    .flags = !writer->flush && rng_one_in(&life->rng, 9) ? VOLUME_FUA : 0,
	    .offset = writer->flush ? 0 : write->first * 512 % life->shape->member_size,
	    .length = writer->flush ? 0 : write->count * 512,
	    .iov = &writer->iov,
	    .iov_count = 1,
	    .done = written};
	writer->iov = (struct iovec){writer->data, write->count * 512};
	if (!writer->flush) {
		life->write_count++;
		fill(writer, write);
		write->submitted = ++life->clock;
	}
	volume_submit(&node->members[write->member]->volume, &writer->request);
}

static void protect(struct boot *boot, uint64_t protect_ns)
{
	if (!boot)
		return;
	boot->group.protect_ns = protect_ns;
	group_protect(&boot->group);
}

void replica_life_write(struct replica_life *life, unsigned node)
{
	life->writing = true;
	life->writer_node = node;
	for (unsigned n = 0; n < 2; n++)
		protect(life->nodes[n].boot, life->protect_ns);
	/* A request wants a loop; the simulator's has one in its rounds. */
}

static bool writers_idle(struct replica_life *life)
{
	for (unsigned i = 0; i < LIFE_WRITERS; i++) {
		if (life->writers[i].number)
			return false;
	}
	return true;
}

void replica_life_quiet(struct replica_life *life)
{
	life->writing = false;
	for (unsigned n = 0; n < 2; n++) /* a standby that is away is not waited for */
		protect(life->nodes[n].boot, 0);
	if (!replica_life_until(life, writers_idle, STEPS_MAX))
		replica_life_complain(life, "a client's request is not answered");
}

/* ---- sessions ---- */
static void primary_session(void *context)
{
	struct boot *boot = context;

	sender_run(&boot->group, &boot->channel);
	channel_close(&boot->channel);
	boot->session = false;
}

static void standby_session(void *context)
{
	struct boot *boot = context;
	struct wire_message hello;

	if (channel_receive(&boot->channel, &hello) == 0 && hello.type == WIRE_HELLO)
		receiver_run(&boot->group, &boot->channel, &hello);
	channel_close(&boot->channel);
	boot->session = false;
}

static bool dials(const struct boot *boot)
{
	return boot->group.role == GROUP_PRIMARY || boot->group.role == GROUP_HANDOVER;
}

static void connect_nodes(struct replica_life *life)
{
	struct boot *from = life->nodes[0].boot, *to = life->nodes[1].boot;
	struct link *ends[2];

	if (!life->connected || !from || !to || from->session || to->session || life->pipe)
		return;
	if (!dials(from) || (dials(to) && rng_one_in(&life->rng, 2))) {
		struct boot *other = from;

		from = to;
		to = other;
	}
	if (!dials(from))
		return;
	life->pipe = replica_pipe_create(life->loop, &life->rng, &life->faults, ends);
	life->faults = (struct replica_pipe_faults){.cut_after = UINT64_MAX};
	if (channel_open(&from->channel, life->loop, ends[0]) < 0 ||
	    channel_open(&to->channel, life->loop, ends[1]) < 0)
		abort();
	from->session = to->session = true;
	if (fiber_start(life->loop, primary_session, from) < 0 ||
	    fiber_start(life->loop, standby_session, to) < 0)
		abort();
}

/* Inside the loop: requests need one. */
struct starter {
	struct deferred deferred;
	struct replica_life *life;
};

static void start_writers(struct deferred *deferred)
{
	struct starter *starter = container_of(deferred, struct starter, deferred);

	for (unsigned i = 0; i < starter->life->shape->writers; i++) {
		unsigned pace = starter->life->shape->pace;

		if (!pace || rng_one_in(&starter->life->rng, pace))
			write_next(&starter->life->writers[i]);
	}
	connect_nodes(starter->life);
}

void replica_life_round(struct replica_life *life)
{
	struct starter starter = {.life = life};
	bool start = life->connected && !life->pipe;

	for (unsigned i = 0; i < life->shape->writers; i++)
		start |= life->writing && !life->writers[i].number;
	if (start) {
		deferred_init(&starter.deferred, start_writers);
		loop_defer(life->loop, &starter.deferred);
		loop_poll(life->loop, 0);
	}
	sim_step(life->sim);
	for (unsigned n = 0; n < 2; n++) {
		if (life->nodes[n].boot)
			group_protect(&life->nodes[n].boot->group);
	}
	raise_floor(life);
	for (unsigned n = 0; n < 2; n++) {
		if (life->nodes[n].power.lost && life->nodes[n].boot)
			node_crash(&life->nodes[n]);
	}
	if (life->pipe && replica_pipe_over(life->pipe)) {
		replica_pipe_destroy(life->pipe);
		life->pipe = NULL;
	}
	if (life->watch.round)
		life->watch.round(life);
}

void replica_life_run(struct replica_life *life, unsigned steps)
{
	while (steps-- > 0 && !life->complaint[0])
		replica_life_round(life);
}

bool replica_life_until(struct replica_life *life, bool (*reached)(struct replica_life *life),
			unsigned steps)
{
	while (!reached(life)) {
		if (steps-- == 0 || life->complaint[0])
			return false;
		replica_life_round(life);
	}
	return true;
}

void replica_life_cut(struct replica_life *life)
{
	if (life->pipe)
		replica_pipe_cut(life->pipe);
}

/* ---- power ---- */
static void set_up(struct boot *boot)
{
	struct node *node = boot->node;

	group_init(&boot->group, node->life->loop, &host);
	boot->group.host_context = boot;
	boot->group.period_ns = node->life->shape->period_ns;
	boot->group.log_bytes = node->life->log_bytes;
	boot->group.compression = node->life->compression;
	boot->group.ship = node->life->ship;
	boot->group.seed_epoch = node->seed_epoch;
	boot->group.protocol = node->protocol;
	memset(boot->group.uuid, node->life->group, 16);
	memset(boot->group.node, (int)node->index + 1, 16);
	boot->group.role = node->role;
	boot->group.lineage = node->lineage;
	boot->group.lease.on = node->life->watch.leases;
	boot->group.lease.length_ns = node->life->watch.length_ns;
	boot->group.lease.taking = node->lease.taking;
	memcpy(boot->group.lease.fork, node->lease.fork, 16);
	boot->group.lease.waits = node->lease.waits;
}

/* As the daemon does: what a standby holds is known before its primary comes. */
static void look_at_image(void *context)
{
	struct boot *boot = context;
	struct err err = {0};

	if (group_open_staging(&boot->group, &err) < 0 && !boot->dead)
		replica_life_complain(boot->node->life, "a standby can not see its image");
	boot->session = false;
}

void node_boot(struct node *node)
{
	struct boot *boot = calloc(1, sizeof *boot);

	assert(boot);
	boot->node = node;
	node->power = (struct replica_power){0};
	set_up(boot);
	boot->group.accept_any = node->accept_any;
	boot->group.armed = node->armed;
	boot->group.protect_ns = node->life->writing ? node->life->protect_ns : 0;
	boot->group.acked = node->clean;
	boot->group.used = true;
	node->set = node->saved_set;
	if (node->defined)
		attach(boot, node->clean == 0);
	node->clean = 0;
	node->boot = boot;
	lease_start(&boot->group);
	if (node->defined && node->role == GROUP_STANDBY && node->life->watch.leases) {
		boot->session = true;
		if (fiber_start(node->life->loop, look_at_image, boot) < 0)
			abort();
	}
	if (node->defined && node->role == GROUP_PRIMARY && node->life->writer_node == node->index)
		era_begin(node->life, node);
}

static bool no_session(const struct boot *boot)
{
	for (unsigned i = 0; boot->group.member_max && i < LIFE_MEMBERS; i++) {
		const struct volume *volume = boot->group.members[i].volume;

		if (volume &&
		    !list_empty(&container_of(volume, struct replica_volume, volume)->pending))
			return false;
	}
	return !boot->session && boot->calls == 0;
}

/* No client waits for one of @volumes. */
static bool left_alone(const struct replica_life *life, struct replica_volume **volumes)
{
	for (unsigned i = 0; i < LIFE_WRITERS; i++) {
		const struct writer *writer = &life->writers[i];

		for (unsigned m = 0; m < LIFE_MEMBERS && writer->number; m++) {
			if (writer->request.volume == &volumes[m]->volume)
				return false;
		}
	}
	return true;
}

void node_crash(struct node *node)
{
	struct replica_life *life = node->life;
	struct boot *boot = node->boot;
	struct replica_volume *before[LIFE_MEMBERS + 1];

	boot->dead = true;
	boot->group.stopping = boot->group.lease.on;
	protect(boot, 0);
	node->boot = NULL;
	for (unsigned i = 0; i < LIFE_MEMBERS; i++) {
		before[i] = node->members[i];
		node->members[i] = replica_volume_crash(before[i]);
	}
	before[LIFE_MEMBERS] = node->staging;
	node->staging = replica_volume_crash(node->staging);
	node->power = (struct replica_power){0};
	replica_life_cut(life);
	if (boot->session && boot->channel.link)
		channel_break(&boot->channel, -EIO, "no power");
	if (life->watch.crashing)
		life->watch.crashing(life, boot);
	/* What its clients wait for ends too. */
	for (unsigned i = 0; i < 20000 && !no_session(boot); i++)
		replica_life_round(life);
	for (unsigned i = 0; i < 20000 && !left_alone(life, before); i++)
		replica_life_round(life);
	if (!no_session(boot))
		replica_life_complain(life, "a session does not end");
	life->packed += boot->group.saved_bytes;
	group_finish(&boot->group);
	free(boot);
	for (unsigned i = 0; i <= LIFE_MEMBERS; i++)
		volume_unref(&before[i]->volume);
}

/* ---- the administrator ---- */
struct call {
	struct boot *boot;
	int (*run)(struct boot *boot, struct err *err);
	struct err err;
	int result;
	bool done;
};

static void call_main(void *context)
{
	struct call *call = context;

	call->result = call->run(call->boot, &call->err);
	call->boot->calls--;
	call->done = true;
}

void replica_life_disconnect(struct replica_life *life, unsigned node)
{
	const struct boot *boot = life->nodes[node].boot;
	unsigned steps = STEPS_MAX;

	if (boot && boot->session)
		channel_break(&life->nodes[node].boot->channel, -ECANCELED, "something is done");
	while (boot && boot == life->nodes[node].boot && boot->session && steps-- > 0)
		replica_life_round(life);
}

static int call(struct replica_life *life, unsigned node,
		int (*run)(struct boot *boot, struct err *err))
{
	struct call call = {.boot = life->nodes[node].boot, .run = run};
	unsigned steps = STEPS_MAX;

	/* Like the daemon: the session ends first. */
	if (call.boot->session)
		channel_break(&call.boot->channel, -ECANCELED, "the role changes");
	while (call.boot == life->nodes[node].boot && call.boot->session && steps-- > 0)
		replica_life_round(life);
	if (call.boot != life->nodes[node].boot)
		return -EIO; /* its power went meanwhile */
	call.boot->calls++;
	if (fiber_start(life->loop, call_main, &call) < 0)
		abort();
	while (!call.done && steps-- > 0)
		replica_life_round(life);
	if (!call.done) {
		replica_life_complain(life, "a call does not end");
		abort();
	}
	return call.result;
}

static int promote(struct boot *boot, struct err *err)
{
	struct replica_life *life = boot->node->life;

	life->lag.known = lag_known(&boot->group, &life->lag.bytes, &life->lag.wall_ns) == 0;
	return group_promote(&boot->group, false, err);
}

static int demote(struct boot *boot, struct err *err)
{
	return group_demote(&boot->group, err);
}

/* The first two of them are asked for at once, the third when they are over. */
static unsigned done_of_three(struct replica_life *life, unsigned node,
			      int (*run)(struct boot *boot, struct err *err))
{
	struct boot *boot = life->nodes[node].boot;
	struct call calls[2] = {{.boot = boot, .run = run}, {.boot = boot, .run = run}};
	bool connected = life->connected;
	unsigned steps = STEPS_MAX, done;

	life->connected = false;
	replica_life_disconnect(life, node);
	for (unsigned i = 0; i < 2; i++) {
		boot->calls++;
		if (fiber_start(life->loop, call_main, &calls[i]) < 0)
			abort();
	}
	while (!(calls[0].done && calls[1].done) && steps-- > 0)
		replica_life_round(life);
	if (!calls[0].done || !calls[1].done)
		abort();
	done = (calls[0].result == 0) + (calls[1].result == 0);
	done += call(life, node, run) == 0;
	life->connected = connected;
	return done;
}

unsigned replica_life_promote_thrice(struct replica_life *life, unsigned node)
{
	return done_of_three(life, node, promote);
}

unsigned replica_life_demote_thrice(struct replica_life *life, unsigned node)
{
	return done_of_three(life, node, demote);
}

int replica_life_promote(struct replica_life *life, unsigned node)
{
	bool connected = life->connected;
	int result;

	life->connected = false;
	result = call(life, node, promote);
	life->connected = connected;
	return result;
}

int replica_life_demote(struct replica_life *life, unsigned node)
{
	bool connected = life->connected;
	int result;

	life->connected = false;
	result = call(life, node, demote);
	life->connected = connected;
	return result;
}

void replica_life_demote_fails(struct replica_life *life, unsigned node)
{
	struct node *primary = &life->nodes[node];
	bool armed = primary->armed;

	primary->full = true;
	if (replica_life_demote(life, node) == 0)
		replica_life_complain(life, "a demotion keeps what there is no room for");
	primary->full = false;
	if (primary->role != GROUP_PRIMARY || primary->armed != armed)
		replica_life_complain(life, "a demotion that failed has changed what is saved");
}

static int stop(struct boot *boot, struct err *err)
{
	(void)err;
	boot->node->clean = group_stop(&boot->group);
	return 0;
}

void node_stop(struct node *node)
{
	bool connected = node->life->connected;

	node->life->connected = false;
	call(node->life, node->index, stop);
	node_crash(node);
	node->life->connected = connected;
}

/* ---- the administrator goes on ---- */
struct switchover {
	struct group *group;
	uint64_t limit_ns;
	int result;
	bool done;
};

static void switchover_main(void *context)
{
	struct switchover *switchover = context;
	struct err err = {0};

	switchover->result = group_switchover(switchover->group, switchover->limit_ns, &err);
	((struct boot *)switchover->group->host_context)->calls--;
	switchover->done = true;
}

int replica_life_switchover(struct replica_life *life, unsigned node, uint64_t limit_ns)
{
	struct switchover switchover = {.group = &life->nodes[node].boot->group,
					.limit_ns = limit_ns};
	unsigned steps = STEPS_MAX;

	life->nodes[node].boot->calls++;
	if (fiber_start(life->loop, switchover_main, &switchover) < 0)
		abort();
	while (!switchover.done && steps-- > 0)
		replica_life_round(life);
	if (!switchover.done) {
		replica_life_complain(life, "a switchover does not end");
		abort();
	}
	return switchover.result;
}

static int failback(struct boot *boot, struct err *err)
{
	return group_failback(&boot->group, 60000000000ull, err);
}

int replica_life_failback(struct replica_life *life, unsigned node)
{
	return call(life, node, failback);
}

void replica_life_spoil(struct replica_life *life, unsigned node)
{
	struct replica_volume *volume =
	    life->nodes[node].members[rng_below(&life->rng, LIFE_MEMBERS)];
	uint64_t slot = rng_below(&life->rng, volume_size(&volume->volume) / VOLUME_SLOT);

	volume->live[slot * VOLUME_SLOT + 99] ^= 1;
	volume->durable[slot * VOLUME_SLOT + 99] ^= 1;
	volume->mapped[slot] = true;
	replica_volume_touch(volume, slot);
}

static bool joining;

static int join(struct boot *boot, struct err *err)
{
	unsigned last = 1u << (LIFE_MEMBERS - 1);
	int result =
	    change_set(boot, joining ? boot->node->set | last : boot->node->set & ~last, true, err);

	return result < 0 ? result : host_save(&boot->group);
}

void replica_life_join(struct replica_life *life, unsigned primary, bool in)
{
	bool connected = life->connected;

	joining = in;
	life->connected = false;
	if (call(life, primary, join) < 0)
		replica_life_complain(life, "a member can not join");
	life->connected = connected;
}

void replica_life_grow(struct replica_life *life, unsigned primary, uint64_t size)
{
	grow(&life->nodes[primary], size);
}

static void end_session(struct boot *boot)
{
	unsigned steps = STEPS_MAX;

	if (boot->session)
		channel_break(&boot->channel, -ECANCELED, "the group is deleted");
	while (boot->session && steps-- > 0)
		replica_life_round(boot->node->life);
}

static void group_again(struct boot *boot)
{
	struct node *node = boot->node;
	struct replica_life *life = node->life;

	group_retire(&boot->group, &life->retired);
	volume_unref(&node->staging->volume);
	node->staging =
	    replica_volume_create(life->loop, &life->rng, "s", life->shape->staging_size);
	node->staging->power = &node->power;
	set_up(boot);
	if (node->defined)
		attach(boot, true);
}

void replica_life_regroup(struct replica_life *life, unsigned primary)
{
	bool connected = life->connected;

	life->connected = false;
	for (unsigned n = 0; n < 2; n++)
		end_session(life->nodes[n].boot);
	life->group++;
	for (unsigned n = 0; n < 2; n++) {
		struct node *node = &life->nodes[n];

		node->role = n == primary ? GROUP_PRIMARY : GROUP_NONE;
		node->lineage = (struct wire_lineage){.count = n == primary};
		node->lineage.link[0].uuid[0] = life->group;
		node->defined = n == primary;
		node->accept_any = node->armed = false;
		node->used = true;
		group_again(node->boot);
	}
	life->connected = connected;
}

/* ---- begin and end ---- */
static void make_volumes(struct replica_life *life, struct node *node)
{
	const struct replica_shape *shape = life->shape;

	for (unsigned i = 0; i < LIFE_MEMBERS; i++) {
		node->members[i] =
		    replica_volume_create(life->loop, &life->rng, "m", shape->member_size);
		node->members[i]->power = &node->power;
	}
	node->staging = replica_volume_create(life->loop, &life->rng, "s", shape->staging_size);
	node->staging->power = &node->power;
}

struct replica_life *replica_life_create(struct sim *sim, uint64_t seed,
					 const struct replica_shape *shape)
{
	struct replica_life *life = calloc(1, sizeof *life);
	static const uint8_t origin[16] = {1};

	assert(life);
	life->writes = malloc(LIFE_WRITES * sizeof *life->writes);
	assert(life->writes);
	life->shape = shape;
	life->sim = sim;
	life->rng.state = seed;
	life->loop = sim_loop(sim);
	life->faults.cut_after = UINT64_MAX;
	life->log_bytes = 4u << 20;
	life->group = 0x77;
	life->zeros_one_in = 10;
	for (unsigned n = 0; n < 2; n++) {
		struct node *node = &life->nodes[n];

		node->life = life;
		node->index = n;
		node->protocol = WIRE_VERSION;
		make_volumes(life, node);
	}
	for (unsigned i = 0; i < LIFE_WRITERS; i++) {
		life->writers[i].life = life;
		life->writers[i].data = aligned_alloc(4096, shape->write_max);
		assert(life->writers[i].data);
	}
	life->nodes[0].access = 1;
	life->nodes[0].saved_set = (1u << LIFE_MEMBERS) - 1;
	life->nodes[0].role = GROUP_PRIMARY;
	life->nodes[0].defined = true;
	life->nodes[0].lineage.count = 1;
	memcpy(life->nodes[0].lineage.link[0].uuid, origin, 16);
	return life;
}

void replica_life_destroy(struct replica_life *life)
{
	life->connected = life->writing = false;
	for (unsigned n = 0; n < 2; n++) {
		struct node *node = &life->nodes[n];

		if (node->boot)
			node_crash(node);
		for (unsigned i = 0; i < LIFE_MEMBERS; i++)
			volume_unref(&node->members[i]->volume);
		volume_unref(&node->staging->volume);
	}
	for (unsigned i = 0; i < 50 && life->pipe; i++)
		replica_life_round(life);
	if (life->pipe)
		replica_pipe_destroy(life->pipe);
	recorder_destroy_retired(life->retired);
	for (unsigned i = 0; i < LIFE_WRITERS; i++)
		free(life->writers[i].data);
	for (unsigned i = 0; i < LIFE_ERAS; i++)
		free(life->begun[i]);
	loop_destroy(life->loop);
	free(life->writes);
	free(life);
}
