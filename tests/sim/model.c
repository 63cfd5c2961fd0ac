/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/model.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/rng.h"

#define SECTOR 512u
#define SLOT   4096u
#define NEVER  UINT64_MAX

struct model_op {
	uint64_t submitted, completed; /* NEVER = in flight */
	uint64_t offset, length;
	uint32_t uid; /* of the volume: its index may be another's by now */
	uint8_t volume, flags;
	bool durable, failed;
};

/* One write as one sector remembers it. */
struct model_node {
	uint32_t op, next;
	uint64_t seen; /* a read returned it at; NEVER. In an alternative: when it was complete */
	bool alternative, zero;
};

struct sector {
	uint64_t op_uid, lba, words[62];
};

static const char *complaint(const char *format, ...) __attribute__((format(printf, 1, 2)));

static const char *complaint(const char *format, ...)
{
	static char text[600];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	return text;
}

struct model *model_create(void)
{
	struct model *model = calloc(1, sizeof(*model));

	assert(model);
	model->clock = 1;
	model->first_op = 1;
	model->next_uid = 1;
	model->node_count = 1; /* index 0 means none */
	return model;
}

static void image_unref(struct model_image *image)
{
	if (image && --image->refs == 0)
		free(image);
}

void model_destroy(struct model *model)
{
	if (!model)
		return;
	for (unsigned i = 0; i < MODEL_VOLUMES; i++)
		free(model->volumes[i].heads);
	for (unsigned i = 0; i < MODEL_SNAPSHOTS; i++)
		image_unref(model->snapshots[i].image);
	free(model->ops);
	free(model->nodes);
	free(model->atomics);
	free(model);
}

static void *copy_of(const void *from, size_t size)
{
	void *to = malloc(size ? size : 1);

	assert(to);
	if (size)
		memcpy(to, from, size);
	return to;
}

static void copy_snapshots(struct model *to, const struct model *from)
{
	memcpy(to->snapshots, from->snapshots, sizeof(to->snapshots));
	for (unsigned i = 0; i < MODEL_SNAPSHOTS; i++)
		if (from->snapshots[i].image)
			to->snapshots[i].image->refs++;
}

struct model *model_copy(const struct model *model)
{
	struct model *copy = copy_of(model, sizeof(*model));

	assert(copy->op_count == 0);
	copy->ops = NULL;
	copy->op_room = 0;
	copy->nodes = NULL;
	copy->node_room = 0;
	if (model->nodes) {
		copy->nodes = copy_of(model->nodes, model->node_count * sizeof(*model->nodes));
		copy->node_room = model->node_count;
	}
	copy->atomics = NULL; /* the template's business */
	copy->atomic_count = 0;
	for (unsigned i = 0; i < MODEL_VOLUMES; i++) {
		struct model_volume *volume = &copy->volumes[i];

		if (volume->heads)
			volume->heads = copy_of(volume->heads, volume->sectors * sizeof(uint32_t));
	}
	copy_snapshots(copy, model);
	return copy;
}

/* Volumes */

static void volume_grow(struct model_volume *volume, uint64_t size)
{
	uint64_t sectors = size / SECTOR;

	if (sectors <= volume->sectors)
		return;
	volume->heads = realloc(volume->heads, sectors * sizeof(uint32_t));
	assert(volume->heads);
	memset(volume->heads + volume->sectors, 0, (sectors - volume->sectors) * sizeof(uint32_t));
	volume->sectors = sectors;
}

static void volume_gone(struct model_volume *volume)
{
	free(volume->heads);
	*volume = (struct model_volume){0};
}

int model_volume_create(struct model *model, const char *name, uint64_t size)
{
	for (unsigned i = 0; i < MODEL_VOLUMES; i++) {
		struct model_volume *volume = &model->volumes[i];

		if (volume->state != MODEL_GONE)
			continue;
		*volume = (struct model_volume){.state = MODEL_CREATING, .uid = model->next_uid++};
		snprintf(volume->name, sizeof(volume->name), "%s", name);
		volume->size = volume->new_size = size;
		volume_grow(volume, size);
		return (int)i;
	}
	return -1;
}

void model_volume_created(struct model *model, unsigned volume, const uint8_t uuid[16], int result)
{
	struct model_volume *created = &model->volumes[volume];

	if (result != 0) {
		volume_gone(created);
		return;
	}
	created->state = MODEL_HERE;
	memcpy(created->uuid, uuid, 16);
}

void model_volume_deleted(struct model *model, unsigned volume, int result)
{
	struct model_volume *deleted = &model->volumes[volume];

	if (result != 0)
		deleted->state = MODEL_HERE;
	else
		volume_gone(deleted);
}

void model_volume_resized(struct model *model, unsigned volume, int result)
{
	struct model_volume *resized = &model->volumes[volume];

	if (result == 0)
		resized->size = resized->new_size;
	else
		resized->new_size = resized->size;
	volume_grow(resized, resized->size);
}

void model_volume_renamed(struct model *model, unsigned volume, int result)
{
	struct model_volume *renamed = &model->volumes[volume];

	if (result == 0)
		memcpy(renamed->name, renamed->new_name, sizeof(renamed->name));
	renamed->new_name[0] = 0;
}

/* Histories */

static uint32_t node_new(struct model *model)
{
	uint32_t index = model->node_free;

	if (index) {
		model->node_free = model->nodes[index].next;
		return index;
	}
	if (model->node_count >= model->node_room) {
		model->node_room = model->node_room ? model->node_room * 2 : 4096;
		model->nodes = realloc(model->nodes, model->node_room * sizeof(*model->nodes));
		assert(model->nodes);
	}
	return model->node_count++;
}

static void node_free(struct model *model, uint32_t index)
{
	model->nodes[index].next = model->node_free;
	model->node_free = index;
}

static struct model_op *op_of(const struct model *model, uint32_t op)
{
	assert(op >= model->first_op && op < model->first_op + model->op_count);
	return &model->ops[op - model->first_op];
}

static uint64_t node_submitted(const struct model *model, const struct model_node *node)
{
	return node->alternative ? 0 : op_of(model, node->op)->submitted;
}

/* When the node's write had taken effect for sure. */
static uint64_t node_effective(const struct model *model, const struct model_node *node)
{
	const struct model_op *op;

	if (node->alternative)
		return 0;
	op = op_of(model, node->op);
	if (op->failed || op->completed > node->seen)
		return node->seen;
	return op->completed;
}

/* From when on no later write can come before this one: a failed write that was never seen has
 * ended all the same. */
static uint64_t node_ended(const struct model *model, const struct model_node *node)
{
	if (node->alternative)
		return 0;
	const struct model_op *op = op_of(model, node->op);

	return op->completed < node->seen ? op->completed : node->seen;
}

static bool node_durable(const struct model *model, const struct model_node *node)
{
	return node->alternative || op_of(model, node->op)->durable;
}

/* Is @node overwritten for sure, by a write in effect before @moment (and durable)? */
static bool node_overwritten(const struct model *model, uint32_t head,
			     const struct model_node *node, uint64_t moment, bool durably)
{
	uint64_t ended = node_ended(model, node);

	for (uint32_t at = head; at; at = model->nodes[at].next) {
		const struct model_node *other = &model->nodes[at];

		if (other != node && node_submitted(model, other) > ended &&
		    node_effective(model, other) < moment &&
		    (!durably || node_durable(model, other)))
			return true;
	}
	return false;
}

static uint64_t oldest_read(const struct model *model)
{
	uint64_t oldest = NEVER;

	for (unsigned i = 0; i < 64; i++) {
		if (model->reads[i] && model->reads[i] < oldest)
			oldest = model->reads[i];
	}
	return oldest;
}

/* Forget what neither a read in flight nor a crash can bring back. */
static void history_prune(struct model *model, uint32_t *head, uint64_t oldest)
{
	for (uint32_t *at = head; *at;) {
		uint32_t index = *at;

		if (node_overwritten(model, *head, &model->nodes[index], oldest, true)) {
			*at = model->nodes[index].next;
			node_free(model, index);
		} else {
			at = &model->nodes[index].next;
		}
	}
}

static void history_add(struct model *model, uint32_t *head, struct model_node node)
{
	uint32_t index = node_new(model);

	node.next = *head;
	model->nodes[index] = node;
	*head = index;
}

uint32_t model_write_begin(struct model *model, unsigned volume, uint64_t offset, uint64_t length,
			   unsigned flags)
{
	struct model_volume *written = &model->volumes[volume];
	uint64_t oldest = oldest_read(model);
	uint32_t number = model->first_op + model->op_count;

	if (model->op_count >= model->op_room) {
		model->op_room = model->op_room ? model->op_room * 2 : 256;
		model->ops = realloc(model->ops, model->op_room * sizeof(*model->ops));
		assert(model->ops);
	}
	model->ops[model->op_count++] = (struct model_op){
	    .submitted = ++model->clock,
	    .completed = NEVER,
	    .offset = offset,
	    .length = length,
	    .uid = written->uid,
	    .volume = (uint8_t)volume,
	    .flags = (uint8_t)flags,
	};
	assert(offset + length <= written->sectors * SECTOR);
	for (uint64_t i = offset / SECTOR; i < (offset + length) / SECTOR; i++) {
		uint32_t *head = &written->heads[i];

		if (*head == 0)
			history_add(model, head,
				    (struct model_node){.alternative = true, .zero = true});
		else
			history_prune(model, head, oldest);
		history_add(
		    model, head,
		    (struct model_node){.op = number, .seen = NEVER, .zero = flags & MODEL_ZERO});
	}
	return number;
}

void model_write_done(struct model *model, uint32_t op, int result)
{
	struct model_op *done = op_of(model, op);

	done->completed = ++model->clock;
	done->failed = result != 0;
	done->durable = result == 0 && (done->flags & MODEL_FUA);
}

uint64_t model_flush_begin(struct model *model)
{
	return ++model->clock;
}

static bool op_settled(const struct model_op *op)
{
	return op->durable || op->failed;
}

void model_flush_done(struct model *model, unsigned volume, uint64_t begun, int result)
{
	++model->clock;
	if (result != 0)
		return;
	for (uint32_t i = model->unsettled_from; i < model->op_count; i++) {
		struct model_op *op = &model->ops[i];

		if (op->volume == volume && op->completed < begun && !op->failed)
			op->durable = true;
	}
	while (model->unsettled_from < model->op_count &&
	       op_settled(&model->ops[model->unsettled_from]))
		model->unsettled_from++;
}

void model_settle(struct model *model)
{
	uint64_t begun = model_flush_begin(model);

	for (unsigned i = 0; i < MODEL_VOLUMES; i++)
		model_flush_done(model, i, begun, 0);
}

/* Contents */

static void sector_make(struct sector *sector, uint32_t uid, uint32_t op, uint64_t lba)
{
	uint64_t base;

	sector->op_uid = (uint64_t)uid << 32 | op;
	sector->lba = lba;
	base = rng_mix(sector->op_uid * 0x9e3779b97f4a7c15ull + lba);
	for (unsigned i = 0; i < 62; i++)
		sector->words[i] = base + i * 0xd1b54a32d192ed03ull;
}

void model_fill(const struct model *model, unsigned volume, uint32_t op, uint64_t offset,
		void *data, uint64_t length)
{
	struct sector *to = data;

	for (uint64_t i = 0; i < length / SECTOR; i++)
		sector_make(&to[i], model->volumes[volume].uid, op, offset / SECTOR + i);
}

static bool sector_zero(const struct sector *sector)
{
	const uint64_t *words = (const uint64_t *)sector;
	uint64_t any = 0;

	for (unsigned i = 0; i < 64; i++)
		any |= words[i];
	return any == 0;
}

static bool is_kin(const struct model_volume *volume, uint32_t uid)
{
	for (unsigned i = 0; i < volume->kin_count; i++)
		if (volume->kin[i] == uid)
			return true;
	return uid == volume->uid;
}

/* What is in @sector: ret_op 0 = zeros. NULL, or why no write of this volume made it. */
static const char *sector_identify(const struct model_volume *volume, const struct sector *sector,
				   uint64_t lba, uint32_t *ret_op)
{
	struct sector wanted;

	*ret_op = 0;
	if (sector_zero(sector))
		return NULL;
	sector_make(&wanted, (uint32_t)(sector->op_uid >> 32), (uint32_t)sector->op_uid,
		    sector->lba);
	if (memcmp(&wanted, sector, SECTOR) != 0)
		return complaint("sector %llu holds bytes nobody wrote (%016llx %016llx ...)",
				 (unsigned long long)lba, (unsigned long long)sector->op_uid,
				 (unsigned long long)sector->lba);
	if (!is_kin(volume, (uint32_t)(sector->op_uid >> 32)))
		return complaint("sector %llu holds another volume's data (uid %u lba %llu)",
				 (unsigned long long)lba, (unsigned)(sector->op_uid >> 32),
				 (unsigned long long)sector->lba);
	if (sector->lba != lba)
		return complaint("sector %llu holds what was written to sector %llu (write %u)",
				 (unsigned long long)lba, (unsigned long long)sector->lba,
				 (uint32_t)sector->op_uid);
	*ret_op = (uint32_t)sector->op_uid;
	return NULL;
}

/* Reads */

unsigned model_read_begin(struct model *model)
{
	for (unsigned i = 0; i < 64; i++) {
		if (model->reads[i] == 0) {
			model->reads[i] = ++model->clock;
			return i;
		}
	}
	assert(!"too many reads in flight");
	return 0;
}

void model_read_end(struct model *model, unsigned token)
{
	model->reads[token] = 0;
}

static bool node_is(const struct model_node *node, uint32_t op)
{
	return op ? node->op == op && !node->zero : node->zero;
}

static const char *history_describe(const struct model *model, uint32_t head)
{
	static char text[400];
	size_t length = 0;

	text[0] = 0;
	for (uint32_t at = head; at && length < sizeof(text) - 80; at = model->nodes[at].next) {
		const struct model_node *node = &model->nodes[at];
		uint64_t ended = node_ended(model, node);

		length +=
		    (size_t)snprintf(text + length, sizeof(text) - length, " %s%u[%llu..%lld%s]",
				     node->zero ? "zeros" : "write ", node->op,
				     (unsigned long long)node_submitted(model, node),
				     ended == NEVER ? -1LL : (long long)ended,
				     node->alternative           ? " before the crash"
				     : node_durable(model, node) ? " durable"
								 : "");
	}
	return text;
}

/* An alternative was read: the others are out of the question from now on. */
static void alternatives_drop(struct model *model, uint32_t *head, uint32_t chosen)
{
	for (uint32_t *at = head; *at;) {
		uint32_t index = *at;

		if (index != chosen && model->nodes[index].alternative) {
			*at = model->nodes[index].next;
			node_free(model, index);
		} else {
			at = &model->nodes[index].next;
		}
	}
}

static const char *history_check(struct model *model, uint32_t *head, uint64_t begun, uint32_t op)
{
	uint32_t found = 0, matches = 0;

	if (*head == 0)
		return op ? "nothing was ever written there" : NULL;
	for (uint32_t at = *head; at; at = model->nodes[at].next) {
		const struct model_node *node = &model->nodes[at];

		if (!node_is(node, op) || node_overwritten(model, *head, node, begun, false))
			continue;
		found = at;
		matches++;
	}
	if (!found)
		return history_describe(model, *head);
	if (matches > 1)
		return NULL; /* zeros from more than one source: no conclusion */
	if (model->nodes[found].alternative)
		alternatives_drop(model, head, found);
	else if (model->nodes[found].seen == NEVER)
		model->nodes[found].seen = model->clock;
	return NULL;
}

const char *model_read_check(struct model *model, unsigned volume, unsigned token, uint64_t offset,
			     const void *data, uint64_t length)
{
	struct model_volume *read = &model->volumes[volume];
	const struct sector *sectors = data;

	++model->clock;
	for (uint64_t i = 0; i < length / SECTOR; i++) {
		uint64_t lba = offset / SECTOR + i;
		uint32_t op;
		const char *wrong = sector_identify(read, &sectors[i], lba, &op);

		if (wrong)
			return wrong;
		wrong = history_check(model, &read->heads[lba], model->reads[token], op);
		if (wrong)
			return complaint("volume %s sector %llu: read at %llu..%llu gave %s %u; "
					 "possible:%s",
					 read->name, (unsigned long long)lba,
					 (unsigned long long)model->reads[token],
					 (unsigned long long)model->clock, op ? "write" : "zeros",
					 op, wrong);
	}
	return NULL;
}

const char *model_read_identify(const struct model *model, unsigned volume, uint64_t offset,
				const void *data, uint64_t length)
{
	const struct sector *sectors = data;
	uint32_t op;

	for (uint64_t i = 0; i < length / SECTOR; i++) {
		const char *wrong =
		    sector_identify(&model->volumes[volume], &sectors[i], offset / SECTOR + i, &op);

		if (wrong)
			return wrong;
	}
	return NULL;
}

/* Snapshots */

struct model_image *model_image_new(uint64_t size)
{
	uint64_t sectors = size / SECTOR;
	struct model_image *image = calloc(1, sizeof(*image) + sectors * sizeof(*image->op));

	assert(image);
	image->refs = 1;
	image->sectors = sectors;
	return image;
}

void model_snapshot_made(struct model *model, unsigned snapshot)
{
	struct model_snapshot *made = &model->snapshots[snapshot];
	struct model_volume *volume = &model->volumes[made->volume];

	made->state = MODEL_HERE;
	if (made->aside)
		return;
	made->parent = volume->parent;
	volume->parent = (int)snapshot + 1;
}

void model_snapshot_gone(struct model *model, unsigned snapshot)
{
	struct model_snapshot *gone = &model->snapshots[snapshot];

	for (unsigned i = 0; i < MODEL_VOLUMES; i++)
		if (model->volumes[i].parent == (int)snapshot + 1)
			model->volumes[i].parent = gone->parent;
	for (unsigned i = 0; i < MODEL_SNAPSHOTS; i++)
		if (model->snapshots[i].parent == (int)snapshot + 1)
			model->snapshots[i].parent = gone->parent;
	gone->state = MODEL_GONE;
	gone->parent = 0;
	if (!gone->captured)
		model_snapshot_forget(model, snapshot);
}

void model_snapshot_forget(struct model *model, unsigned snapshot)
{
	image_unref(model->snapshots[snapshot].image);
	model->snapshots[snapshot] = (struct model_snapshot){0};
}

bool model_snapshot_has_clones(const struct model *model, unsigned snapshot)
{
	const struct model_snapshot *of = &model->snapshots[snapshot];

	for (unsigned i = 0; i < MODEL_VOLUMES; i++)
		if (model->volumes[i].state != MODEL_GONE && i != of->volume &&
		    model->volumes[i].parent == (int)snapshot + 1)
			return true;
	for (unsigned i = 0; i < MODEL_SNAPSHOTS; i++)
		if (model->snapshots[i].state != MODEL_GONE &&
		    model->snapshots[i].volume != of->volume &&
		    model->snapshots[i].parent == (int)snapshot + 1)
			return true;
	return false;
}

const char *model_snapshot_check(const struct model *model, unsigned snapshot, uint64_t offset,
				 const void *data, uint64_t length)
{
	const struct model_snapshot *of = &model->snapshots[snapshot];
	const struct sector *sectors = data;

	for (uint64_t i = 0; i < length / SECTOR; i++) {
		uint64_t lba = offset / SECTOR + i;
		uint32_t op = of->image->op[lba];
		struct sector wanted;

		if (op && sectors[i].lba == lba && (uint32_t)sectors[i].op_uid == op) {
			sector_make(&wanted, (uint32_t)(sectors[i].op_uid >> 32), op, lba);
			if (memcmp(&wanted, &sectors[i], SECTOR) == 0)
				continue;
		} else if (!op && sector_zero(&sectors[i])) {
			continue;
		}
		return complaint("sector %llu of snapshot %s was write %u when it was made and is "
				 "%s (uid %u, write %u, sector %llu)",
				 (unsigned long long)lba, of->name, op,
				 sector_zero(&sectors[i]) ? "zeros" : "something else",
				 (unsigned)(sectors[i].op_uid >> 32), (uint32_t)sectors[i].op_uid,
				 (unsigned long long)sectors[i].lba);
	}
	return NULL;
}

bool model_snapshot_note(struct model *model, unsigned snapshot, uint64_t offset, const void *data,
			 uint64_t length)
{
	struct model_snapshot *of = &model->snapshots[snapshot];
	const struct sector *sectors = data;
	bool known = true;

	for (uint64_t i = 0; i < length / SECTOR; i++)
		known &=
		    sector_identify(&model->volumes[of->volume], &sectors[i], offset / SECTOR + i,
				    &of->image->op[offset / SECTOR + i]) == NULL;
	return known;
}

static void add_kin(struct model_volume *volume, uint32_t uid)
{
	if (is_kin(volume, uid))
		return;
	assert(volume->kin_count < MODEL_KIN);
	volume->kin[volume->kin_count++] = uid;
}

bool model_has_kin_room(const struct model *model, unsigned snapshot, int volume)
{
	const struct model_volume *of = &model->volumes[model->snapshots[snapshot].volume];
	unsigned count = of->kin_count + 1;

	if (volume >= 0)
		count += model->volumes[volume].kin_count + 1;
	return count < MODEL_KIN;
}

/* Every sector is what the snapshot says, and nothing else. */
static void take_image(struct model *model, struct model_volume *volume,
		       const struct model_image *image)
{
	for (uint64_t i = 0; i < volume->sectors; i++) {
		uint32_t op = i < image->sectors ? image->op[i] : 0;

		while (volume->heads[i]) {
			uint32_t index = volume->heads[i];

			volume->heads[i] = model->nodes[index].next;
			node_free(model, index);
		}
		if (op)
			history_add(model, &volume->heads[i],
				    (struct model_node){.op = op, .alternative = true});
	}
}

void model_volume_cloned(struct model *model, unsigned volume, unsigned snapshot)
{
	const struct model_snapshot *from = &model->snapshots[snapshot];
	const struct model_volume *of = &model->volumes[from->volume];
	struct model_volume *clone = &model->volumes[volume];

	add_kin(clone, of->uid);
	for (unsigned i = 0; i < of->kin_count; i++)
		add_kin(clone, of->kin[i]);
	clone->parent = (int)snapshot + 1;
	clone->shares = true;
	take_image(model, clone, from->image);
}

/* With a number of its own, so that writes of before are not its any more. */
void model_volume_rolled(struct model *model, unsigned volume)
{
	struct model_volume *rolled = &model->volumes[volume];
	const struct model_snapshot *to = &model->snapshots[rolled->rolling - 1];

	rolled->parent = rolled->rolling;
	rolled->rolling = 0;
	assert(rolled->kin_count < MODEL_KIN);
	rolled->kin[rolled->kin_count++] = rolled->uid;
	rolled->uid = model->next_uid++;
	rolled->size = rolled->new_size = to->size;
	volume_grow(rolled, rolled->size);
	take_image(model, rolled, to->image);
}

int model_origin(const struct model *model, unsigned volume)
{
	int at = model->volumes[volume].parent;

	while (at && model->snapshots[at - 1].volume == volume)
		at = model->snapshots[at - 1].parent;
	return at - 1;
}

void model_promoted(struct model *model, unsigned volume)
{
	int at = model_origin(model, volume) + 1;
	unsigned of = at ? model->snapshots[at - 1].volume : 0;

	for (; at; at = model->snapshots[at - 1].parent)
		if (model->snapshots[at - 1].volume == of)
			model->snapshots[at - 1].volume = volume;
	model->promoting = 0;
}

/* Crashes */

static void history_crash(const struct model *model, uint32_t head, struct model *after,
			  uint32_t *ret_head)
{
	bool zero = false;

	*ret_head = 0;
	for (uint32_t at = head; at; at = model->nodes[at].next) {
		const struct model_node *node = &model->nodes[at];

		if (node_overwritten(model, head, node, NEVER, true))
			continue;
		/* Of several zeros one is enough, the one that ended last. */
		if (node->zero && zero)
			continue;
		zero |= node->zero;
		history_add(after, ret_head,
			    (struct model_node){.op = node->op,
						.seen = node_ended(model, node),
						.alternative = true,
						.zero = node->zero});
	}
	/* Zeros alone: as if never written. */
	if (*ret_head && !after->nodes[*ret_head].next && after->nodes[*ret_head].zero) {
		node_free(after, *ret_head);
		*ret_head = 0;
	}
}

static void atomics_crash(const struct model *model, struct model *after)
{
	for (uint32_t i = model->unsettled_from; i < model->op_count; i++) {
		const struct model_op *op = &model->ops[i];

		if (!(op->flags & MODEL_ATOMIC) || op->durable ||
		    model->volumes[op->volume].state == MODEL_GONE ||
		    model->volumes[op->volume].uid != op->uid)
			continue;
		after->atomics =
		    realloc(after->atomics, (after->atomic_count + 1) * sizeof(*after->atomics));
		assert(after->atomics);
		after->atomics[after->atomic_count++] = (struct model_atomic){
		    op->volume, model->first_op + i, op->offset, op->length, op->submitted};
	}
}

struct model *model_crash(const struct model *model)
{
	struct model *after = model_create();

	after->victim = model->victim;
	after->pulled = model->pulled;
	after->forgiven = model->forgiven;
	after->clock = model->clock + 1;
	after->next_uid = model->next_uid;
	after->first_op = model->first_op + model->op_count;
	for (unsigned i = 0; i < MODEL_VOLUMES; i++) {
		const struct model_volume *before = &model->volumes[i];
		struct model_volume *volume = &after->volumes[i];

		*volume = *before;
		if (!before->heads)
			continue;
		volume->heads = calloc(before->sectors, sizeof(uint32_t));
		assert(volume->heads);
		for (uint64_t s = 0; s < before->sectors; s++) {
			if (before->heads[s])
				history_crash(model, before->heads[s], after, &volume->heads[s]);
		}
	}
	copy_snapshots(after, model);
	after->promoting = model->promoting;
	atomics_crash(model, after);
	return after;
}

struct model *model_kill(const struct model *model)
{
	struct model told = *model;
	struct model *after;

	told.ops = copy_of(model->ops, model->op_count * sizeof(*model->ops));
	for (uint32_t i = 0; i < told.op_count; i++)
		told.ops[i].durable |= told.ops[i].completed != NEVER && !told.ops[i].failed;
	after = model_crash(&told);
	free(told.ops);
	return after;
}

/* 1: @op itself, -1: something older for sure, 0: it can not be told. */
static int atomic_side(const struct model *crashed, uint32_t head,
		       const struct model_atomic *atomic, uint32_t op)
{
	if (op == atomic->op)
		return 1;
	if (head == 0)
		return 0;
	for (uint32_t at = head; at; at = crashed->nodes[at].next) {
		const struct model_node *node = &crashed->nodes[at];

		if (node_is(node, op))
			return node->seen < atomic->submitted ? -1 : 0;
	}
	return 0;
}

const char *model_atomic_check(const struct model *crashed, const struct model_atomic *atomic,
			       const void *data)
{
	const struct model_volume *volume = &crashed->volumes[atomic->volume];
	const struct sector *sectors = data;
	uint64_t is_new = NEVER, is_old = NEVER;

	for (uint64_t i = 0; i < atomic->length / SECTOR; i++) {
		uint64_t lba = atomic->offset / SECTOR + i;
		uint32_t op;
		int side;

		if (sector_identify(volume, &sectors[i], lba, &op))
			continue; /* the read's own check says so */
		side = atomic_side(crashed, volume->heads[lba], atomic, op);
		if (side > 0)
			is_new = lba;
		else if (side < 0)
			is_old = lba;
	}
	if (is_new == NEVER || is_old == NEVER)
		return NULL;
	return complaint("volume %s: atomic write %u (%llu + %llu bytes) survived in part: sector "
			 "%llu has it, sector %llu is older",
			 volume->name, atomic->op, (unsigned long long)atomic->offset,
			 (unsigned long long)atomic->length, (unsigned long long)is_new,
			 (unsigned long long)is_old);
}

uint64_t model_next_open_slot(const struct model *model, unsigned volume, uint64_t slot)
{
	const struct model_volume *of = &model->volumes[volume];

	for (uint64_t s = slot * 8; s < of->sectors; s++) {
		uint32_t head = of->heads[s];

		if (head && model->nodes[head].next)
			return s / 8;
	}
	return UINT64_MAX;
}

bool model_slot_used(const struct model *model, unsigned volume, uint64_t slot)
{
	const struct model_volume *of = &model->volumes[volume];

	for (uint64_t s = slot * 8; s < (slot + 1) * 8 && s < of->sectors; s++) {
		if (of->heads[s])
			return true;
	}
	return false;
}
