/* SPDX-License-Identifier: Apache-2.0 */
/* inode.c: inodes, their ACLs, who holds them, which of their blocks are being changed. */
#include <errno.h>
#include <string.h>

#include "core/bytes.h"
#include "core/heap.h"
#include "shares/internal.h"

struct vfs_object object_make(const struct inode *inode)
{
	struct vfs_object object = {.length = OBJECT_BYTES};

	put64(object.bytes, inode->attr.fileid);
	put32(object.bytes + 8, inode->attr.generation);
	return object;
}

void give(struct vfs_request *request, const struct inode *inode)
{
	request->result_object = object_make(inode);
	request->result_attr = inode->attr;
}

int inode_load(struct share *share, uint64_t number, struct inode *ret_inode)
{
	struct key key = inode_key(number);
	const uint8_t *value;
	size_t length;
	int result = btree_get(share->store, &key, &value, &length);

	if (result == 0)
		result = inode_decode(value, length, ret_inode);
	if (result == 0)
		ret_inode->attr.fileid = number;
	return result;
}

int inode_store(struct share *share, struct inode *inode)
{
	struct key key = inode_key(inode->attr.fileid);
	uint8_t value[INODE_BYTES];

	inode->attr.used = inode->blocks * BLOCK_SIZE;
	inode->attr.has_acl = inode->ace_count > 0;
	inode_encode(inode, value);
	return store_put(share->store, &key, value, sizeof(value));
}

/* ---- values longer than one ---- */
int pieces_put(struct share *share, uint64_t object, uint8_t type, const uint8_t *data,
	       size_t length)
{
	int result = 0;

	for (size_t at = 0; at < length && result == 0; at += PIECE_MAX) {
		struct key key = {object, type, at / PIECE_MAX};
		size_t part = length - at < PIECE_MAX ? length - at : PIECE_MAX;

		result = store_put(share->store, &key, data + at, part);
	}
	return result;
}

int pieces_get(struct share *share, uint64_t object, uint8_t type, uint8_t *data, size_t length)
{
	for (size_t at = 0; at < length; at += PIECE_MAX) {
		struct key key = {object, type, at / PIECE_MAX};
		size_t part = length - at < PIECE_MAX ? length - at : PIECE_MAX, found;
		const uint8_t *value;
		int result = btree_get(share->store, &key, &value, &found);

		if (result == -ENOENT || (result == 0 && found != part))
			return -EUCLEAN;
		if (result)
			return result;
		memcpy(data + at, value, part);
	}
	return 0;
}

int pieces_delete(struct share *share, uint64_t object, uint8_t type, size_t length)
{
	int result = 0;

	for (size_t at = 0; at < length && result == 0; at += PIECE_MAX) {
		struct key key = {object, type, at / PIECE_MAX};

		result = store_delete(share->store, &key);
	}
	return result == -ENOENT ? -EUCLEAN : result;
}

/* ---- objects ---- */
static int aces_load(struct share *share, struct object *object)
{
	uint8_t bytes[sizeof(object->aces) / sizeof(object->aces[0]) * ACE_BYTES];
	unsigned count = object->inode.ace_count;
	int result;

	object->rules = (struct rules_object){.attr = &object->inode.attr};
	if (count == 0)
		return 0;
	if (count > sizeof(bytes) / ACE_BYTES)
		return -EUCLEAN;
	result = pieces_get(share, object->number, KEY_ACL, bytes, (size_t)count * ACE_BYTES);
	for (unsigned i = 0; i < count && result == 0; i++)
		result = ace_decode(bytes + (size_t)i * ACE_BYTES, &object->aces[i]);
	object->rules.aces = object->aces;
	object->rules.ace_count = count;
	return result;
}

int object_load_number(struct share *share, uint64_t number, struct object *ret_object)
{
	int result = inode_load(share, number, &ret_object->inode);

	ret_object->number = number;
	return result ? result : aces_load(share, ret_object);
}

int object_load(struct share *share, const struct vfs_object *identity, struct object *ret_object)
{
	uint64_t number;
	int result;

	if (identity->length != OBJECT_BYTES)
		return -ESTALE;
	number = get64(identity->bytes);
	if (number < ROOT_INODE)
		return -ESTALE;
	result = inode_load(share, number, &ret_object->inode);
	if (result == -ENOENT)
		return -ESTALE;
	if (result)
		return result;
	if (ret_object->inode.attr.generation != get32(identity->bytes + 8))
		return -ESTALE;
	if (ret_object->inode.attr.links == 0) {
		struct inode_state *state = state_find(share, number);

		if (!state || !state->holds)
			return -ESTALE;
	}
	ret_object->number = number;
	return aces_load(share, ret_object);
}

int aces_store(struct share *share, struct object *object, const struct vfs_ace *aces,
	       unsigned count)
{
	uint8_t bytes[sizeof(object->aces) / sizeof(object->aces[0]) * ACE_BYTES];
	int result;

	if (count > VFS_ACES_MAX + RULES_MODE_ACES)
		return -E2BIG;
	result = pieces_delete(share, object->number, KEY_ACL,
			       (size_t)object->inode.ace_count * ACE_BYTES);
	if (result)
		return result;
	for (unsigned i = 0; i < count; i++)
		ace_encode(&aces[i], bytes + (size_t)i * ACE_BYTES);
	object->inode.ace_count = (uint16_t)count;
	return pieces_put(share, object->number, KEY_ACL, bytes, (size_t)count * ACE_BYTES);
}

int aces_set(struct share *share, struct object *object, const struct vfs_request *request)
{
	struct vfs_attr *attr = &object->inode.attr;
	int result = rules_check_aces(request->aces, request->ace_count);

	if (result == 0)
		result = aces_store(share, object, request->aces, request->ace_count);
	if (result == 0 && request->ace_count)
		attr->mode = rules_mode_from_aces(request->aces, request->ace_count, attr->mode);
	return result;
}

int aces_chmod(struct share *share, struct object *object)
{
	unsigned count = object->rules.ace_count;

	if (count == 0)
		return 0;
	count = rules_chmod_aces(object->aces, count, object->inode.attr.mode,
				 object->inode.attr.type == VFS_DIRECTORY);
	return aces_store(share, object, object->aces, count);
}

/* ---- states ---- */
static struct list *state_bucket(struct share *share, uint64_t number)
{
	return &share->states[number % STATE_BUCKETS];
}

struct inode_state *state_find(struct share *share, uint64_t number)
{
	list_for_each (it, state_bucket(share, number)) {
		struct inode_state *state = list_entry(it, struct inode_state, link);

		if (state->inode == number)
			return state;
	}
	return NULL;
}

struct inode_state *state_take(struct share *share, uint64_t number)
{
	struct inode_state *state = state_find(share, number);

	if (!state) {
		state = heap_zalloc(sizeof(*state));
		if (!state)
			return NULL;
		state->inode = number;
		list_init(&state->ranges);
		list_init(&state->waiters);
		list_push_back(state_bucket(share, number), &state->link);
	}
	state->users++;
	return state;
}

void state_drop(struct share *share, struct inode_state *state)
{
	(void)share;
	if (--state->users)
		return;
	list_remove(&state->link);
	heap_free(state);
}

int hold(struct share *share, uint64_t number)
{
	struct inode_state *state = state_take(share, number);

	if (!state)
		return -ENOMEM;
	state->holds++;
	return 0;
}

int unhold(struct share *share, uint64_t number)
{
	struct inode_state *state = state_find(share, number);

	if (!state || !state->holds)
		return -EINVAL;
	state->holds--;
	state_drop(share, state);
	return 0;
}

static bool overlaps(const struct inode_state *state, const struct range *range)
{
	list_for_each (it, &state->ranges) {
		const struct range *other = list_entry(it, struct range, link);

		if (other->first <= range->last && range->first <= other->last)
			return true;
	}
	return false;
}

int range_lock(struct share *share, uint64_t number, uint64_t first, uint64_t last,
	       struct range *range)
{
	struct store *store = share->store;

	store_lock(store);
	range->state = state_take(share, number);
	range->first = first;
	range->last = last;
	while (range->state && overlaps(range->state, range)) {
		struct waiter waiter;

		waiter_wait(store, &waiter, &range->state->waiters);
	}
	if (range->state)
		list_push_back(&range->state->ranges, &range->link);
	store_unlock(store);
	return range->state ? 0 : -ENOMEM;
}

int range_try_lock(struct share *share, uint64_t number, struct range *range)
{
	struct inode_state *state;
	int result = 0;

	store_lock(share->store);
	state = state_take(share, number);
	*range = (struct range){.state = state, .last = UINT64_MAX};
	if (!state) {
		result = -ENOMEM;
	} else if (!list_empty(&state->ranges)) {
		share->reap_skipped = true;
		state_drop(share, state);
		result = -EAGAIN;
	} else {
		list_push_back(&state->ranges, &range->link);
	}
	store_unlock(share->store);
	return result;
}

void range_unlock(struct share *share, struct range *range)
{
	store_lock(share->store);
	if (share->reap_skipped) {
		share->reap_skipped = false;
		share->reap_wanted = true;
		share_keeper_kick(share);
	}
	list_remove(&range->link);
	waiters_resume(&range->state->waiters, 0);
	state_drop(share, range->state);
	store_unlock(share->store);
}

/* ---- orphans and the end of an inode ---- */
int orphan_put(struct share *share, uint64_t number, enum orphan_kind kind)
{
	struct key key = {ORPHAN_OBJECT, KEY_ORPHAN, number};
	uint8_t value = (uint8_t)kind;

	return store_put(share->store, &key, &value, 1);
}

int orphan_delete(struct share *share, uint64_t number)
{
	struct key key = {ORPHAN_OBJECT, KEY_ORPHAN, number};
	int result = store_delete(share->store, &key);

	return result == -ENOENT ? 0 : result;
}

int inode_destroy_step(struct share *share, struct inode *inode)
{
	uint64_t number = inode->attr.fileid;
	struct key key = inode_key(number);
	struct cut cut = {0};
	int result = extent_cut(share, number, KEY_EXTENT, 0, FILE_BLOCKS_MAX, &cut);

	if (result == 0)
		result = inode_count(share, inode, -(int64_t)cut.blocks);
	if (result == 0 && !cut.more)
		result = extent_cut(share, number, KEY_RESERVED, 0, FILE_BLOCKS_MAX, &cut);
	if (result == 0 && !cut.more) {
		result = xattrs_destroy_step(share, number);
		if (result == 1)
			cut.more = true;
	}
	if (result < 0)
		return result;
	if (cut.more) {
		result = inode_store(share, inode);
		return result ? result : 1;
	}
	result = pieces_delete(share, number, KEY_ACL, (size_t)inode->ace_count * ACE_BYTES);
	if (result == 0 && inode->attr.type == VFS_SYMLINK)
		result = pieces_delete(share, number, KEY_SYMLINK, inode->attr.size);
	if (result == 0)
		result = store_delete(share->store, &key);
	if (result)
		return result;
	share->store->counters[COUNT_INODES]--;
	return users_change(share, inode->attr.uid, 0, -1);
}
