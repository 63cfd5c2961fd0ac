/* SPDX-License-Identifier: Apache-2.0 */
/* memory.c: a volume in RAM with the whole contract of volume.h. Slots live in leaves of a
 * two-level table; a slot that was never written or was discarded is NULL and reads as zeros.
 * A request takes effect inside submit(), under one mutex (any loop may submit), and is
 * finished from the loop's deferred work. Nothing is lost by a flush that does nothing. */
#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "core/heap.h"
#include "volumes/qos.h"

#define LEAF_SLOTS 4096u

struct leaf {
	uint8_t *slots[LEAF_SLOTS];
};

struct memory {
	struct volume volume;
	pthread_mutex_t lock; /* leaves and what hangs off them */
	uint64_t leaf_count;
	struct leaf **leaves;
};

/* A run of bytes inside one slot. */
struct piece {
	uint64_t slot;
	uint32_t start, length;
};

static struct piece piece_at(uint64_t offset, uint64_t length)
{
	struct piece piece = {.slot = offset / VOLUME_SLOT, .start = offset % VOLUME_SLOT};
	uint64_t room = VOLUME_SLOT - piece.start;

	piece.length = (uint32_t)(length < room ? length : room);
	return piece;
}

static uint8_t **slot_find(struct memory *memory, uint64_t slot)
{
	struct leaf *leaf = memory->leaves[slot / LEAF_SLOTS];

	return leaf ? &leaf->slots[slot % LEAF_SLOTS] : NULL;
}

static uint8_t *slot_make(struct memory *memory, uint64_t slot)
{
	struct leaf **leaf = &memory->leaves[slot / LEAF_SLOTS];
	uint8_t **data;

	if (!*leaf)
		*leaf = heap_zalloc(sizeof(**leaf));
	if (!*leaf)
		return NULL;
	data = &(*leaf)->slots[slot % LEAF_SLOTS];
	if (!*data)
		*data = heap_zalloc(VOLUME_SLOT);
	return *data;
}

static int move_piece(struct memory *memory, const struct volume_request *request,
		      struct piece piece, uint8_t *bytes)
{
	bool in_place = request->flags & VOLUME_IN_PLACE;

	if (request->op == VOLUME_WRITE) {
		uint8_t **have = slot_find(memory, piece.slot), *data;

		if (in_place && !(have && *have))
			return 0;
		data = slot_make(memory, piece.slot);
		if (!data)
			return -ENOSPC;
		memcpy(data + piece.start, bytes, piece.length);
	} else {
		uint8_t **data = slot_find(memory, piece.slot);

		if (data && *data)
			memcpy(bytes, *data + piece.start, piece.length);
		else
			memset(bytes, 0, piece.length);
	}
	return 0;
}

static int transfer(struct memory *memory, const struct volume_request *request)
{
	uint64_t offset = request->offset;

	for (unsigned i = 0; i < request->iov_count; i++) {
		uint8_t *bytes = request->iov[i].iov_base;
		uint64_t left = request->iov[i].iov_len;

		while (left > 0) {
			struct piece piece = piece_at(offset, left);
			int error = move_piece(memory, request, piece, bytes);

			if (error)
				return error;
			bytes += piece.length;
			offset += piece.length;
			left -= piece.length;
		}
	}
	return 0;
}

static void discard(struct memory *memory, uint64_t offset, uint64_t length)
{
	while (length > 0) {
		struct piece piece = piece_at(offset, length);
		uint8_t **data = slot_find(memory, piece.slot);
		uint64_t step = piece.length;

		if (!data) { /* a whole leaf of nothing */
			uint64_t in_leaf = LEAF_SLOTS - piece.slot % LEAF_SLOTS;

			step = in_leaf * VOLUME_SLOT - piece.start;
			if (step > length)
				step = length;
		} else if (*data && piece.length == VOLUME_SLOT) {
			heap_free(*data);
			*data = NULL;
		} else if (*data) {
			memset(*data + piece.start, 0, piece.length);
		}
		offset += step;
		length -= step;
	}
}

static void extents(struct memory *memory, struct volume_request *request)
{
	uint64_t offset = request->offset, left = request->length;
	unsigned count = 0;

	while (left > 0) {
		struct piece piece = piece_at(offset, left);
		uint8_t **data = slot_find(memory, piece.slot);
		bool mapped = data && *data;
		uint64_t step = piece.length;

		if (!data) {
			step = (LEAF_SLOTS - piece.slot % LEAF_SLOTS) * (uint64_t)VOLUME_SLOT -
			       piece.start;
			if (step > left)
				step = left;
		}
		if (count > 0 && request->extents[count - 1].mapped == mapped) {
			request->extents[count - 1].length += step;
		} else {
			if (count == request->extent_max)
				break;
			request->extents[count++] = (struct volume_extent){offset, step, mapped};
		}
		offset += step;
		left -= step;
	}
	request->extent_count = count;
}

static int perform(struct memory *memory, struct volume_request *request)
{
	switch (request->op) {
	case VOLUME_READ:
	case VOLUME_WRITE:
		return transfer(memory, request);
	case VOLUME_DISCARD:
		discard(memory, request->offset, request->length);
		return 0;
	case VOLUME_EXTENTS:
		extents(memory, request);
		return 0;
	case VOLUME_FLUSH:
		return 0;
	}
	return -EINVAL;
}

static void finish(struct deferred *deferred)
{
	struct volume_request *request = container_of(deferred, struct volume_request, deferred);

	request->done(request, request->result);
}

static void submit(struct volume *volume, struct volume_request *request)
{
	struct memory *memory = container_of(volume, struct memory, volume);

	pthread_mutex_lock(&memory->lock);
	request->result = perform(memory, request);
	pthread_mutex_unlock(&memory->lock);
	deferred_init(&request->deferred, finish);
	loop_defer(request->loop, &request->deferred);
}

static void release(struct volume *volume)
{
	struct memory *memory = container_of(volume, struct memory, volume);

	for (uint64_t i = 0; i < memory->leaf_count; i++) {
		struct leaf *leaf = memory->leaves[i];

		for (unsigned k = 0; leaf && k < LEAF_SLOTS; k++)
			heap_free(leaf->slots[k]);
		heap_free(leaf);
	}
	qos_free(volume->qos);
	pthread_mutex_destroy(&memory->lock);
	heap_free(memory->leaves);
	heap_free(memory);
}

static int erasable(struct volume *volume)
{
	(void)volume;
	return 0;
}

static const struct volume_ops memory_ops = {
    .name = "memory",
    .submit = submit,
    .release = release,
    .erasable = erasable,
};

/* An identity nobody else in this process has; the same in every run, so that tests repeat. */
static void make_identity(const char *name, struct volume_identity *ret_identity)
{
	static uint64_t counter;
	uint64_t hash = 0xcbf29ce484222325ull;
	uint64_t serial = __atomic_add_fetch(&counter, 1, __ATOMIC_RELAXED);
	uint8_t uuid[16];

	for (const char *byte = name; *byte; byte++)
		hash = (hash ^ (uint8_t)*byte) * 0x100000001b3ull;
	memcpy(uuid, &hash, 8);
	memcpy(uuid + 8, &serial, 8);
	volume_identity_make(uuid, ret_identity);
}

int memory_volume_create(const char *name, uint64_t size_bytes, struct volume **ret_volume,
			 struct err *err)
{
	struct memory *memory;
	int error = volume_name_check(name, err);

	if (error)
		return error;
	if (size_bytes == 0 || size_bytes > VOLUME_SIZE_MAX || size_bytes % VOLUME_SLOT)
		return err_set(err, -EINVAL,
			       "a volume size is a multiple of 4096 bytes, up to "
			       "64 TiB");
	memory = heap_zalloc(sizeof(*memory));
	if (!memory)
		return err_set(err, -ENOMEM, "no memory for a volume");
	memory->leaf_count = (size_bytes / VOLUME_SLOT + LEAF_SLOTS - 1) / LEAF_SLOTS;
	memory->leaves = heap_zalloc_array(memory->leaf_count, sizeof(struct leaf *));
	if (!memory->leaves) {
		heap_free(memory);
		return err_set(err, -ENOMEM, "no memory for a volume");
	}
	pthread_mutex_init(&memory->lock, NULL);
	memory->volume.ops = &memory_ops;
	memory->volume.size_bytes = size_bytes;
	memory->volume.thin = true;
	memory->volume.refs = 1;
	list_init(&memory->volume.watchers);
	memcpy(memory->volume.name, name, strlen(name) + 1);
	make_identity(name, &memory->volume.identity);
	*ret_volume = &memory->volume;
	return 0;
}
