/* SPDX-License-Identifier: Apache-2.0 */
/* users.c: what the files of each user take, and may take. KEY_USER has a record for each owner of
 * files and each limit, from the first limit on (COUNT_USERS says so): before, nothing is counted,
 * and no change pays for it. A change of an inode's owner, blocks or existence changes the record
 * in the same transaction; a limit that it would pass is -EDQUOT, and nothing has changed. */
#include <errno.h>

#include "core/heap.h"
#include "shares/internal.h"

#define START_STEP 256u  /* inodes looked at with the lock held */
#define START_MOST 4096u /* owners at the start: all their records are one transaction */

static struct key user_key(uint32_t uid)
{
	return (struct key){ORPHAN_OBJECT, KEY_USER, uid};
}

static int user_load(struct share *share, uint32_t uid, struct user *ret_user)
{
	struct key key = user_key(uid);
	const uint8_t *value;
	size_t length;
	int result = btree_get(share->store, &key, &value, &length);

	*ret_user = (struct user){0};
	if (result == -ENOENT)
		return 0;
	return result ? result : user_decode(value, length, ret_user);
}

/* One that says nothing is not kept. */
static int user_store(struct share *share, uint32_t uid, const struct user *user)
{
	struct key key = user_key(uid);
	uint8_t value[USER_BYTES];

	if (!user->blocks && !user->files && !user->limit_blocks && !user->limit_files) {
		int result = store_delete(share->store, &key);

		return result == -ENOENT ? 0 : result;
	}
	user_encode(user, value);
	return store_put(share->store, &key, value, sizeof(value));
}

static bool is_over(uint64_t have, int64_t more, uint64_t limit)
{
	return more > 0 && limit && (have >= limit || (uint64_t)more > limit - have);
}

static uint64_t added(uint64_t have, int64_t more)
{
	if (more >= 0)
		return have + (uint64_t)more;
	return have > (uint64_t)-more ? have - (uint64_t)-more : 0;
}

int users_change(struct share *share, uint32_t uid, int64_t blocks, int64_t files)
{
	struct user user;
	int result;

	if (!share->store->counters[COUNT_USERS] || (!blocks && !files))
		return 0;
	result = user_load(share, uid, &user);
	if (result)
		return result;
	if (is_over(user.blocks, blocks, user.limit_blocks) ||
	    is_over(user.files, files, user.limit_files))
		return -EDQUOT;
	user.blocks = added(user.blocks, blocks);
	user.files = added(user.files, files);
	return user_store(share, uid, &user);
}

int users_check(struct share *share, uint32_t uid, uint64_t blocks)
{
	struct user user;
	int result;

	if (!share->store->counters[COUNT_USERS] || !blocks)
		return 0;
	result = user_load(share, uid, &user);
	if (result)
		return result;
	return is_over(user.blocks, (int64_t)blocks, user.limit_blocks) ? -EDQUOT : 0;
}

int users_move(struct share *share, const struct inode *inode, uint32_t from)
{
	int64_t blocks = (int64_t)inode->blocks;
	int result;

	if (from == inode->attr.uid)
		return 0;
	result = users_change(share, from, -blocks, -1);
	return result ? result : users_change(share, inode->attr.uid, blocks, 1);
}

int inode_count(struct share *share, struct inode *inode, int64_t blocks)
{
	inode->blocks = added(inode->blocks, blocks);
	share->store->counters[COUNT_USED_BLOCKS] += (uint64_t)blocks;
	return users_change(share, inode->attr.uid, blocks, 0);
}

int users_fsstat(struct share *share, uint32_t uid, struct vfs_fsstat *fsstat)
{
	struct user user;
	int result;

	if (!share->store->counters[COUNT_USERS])
		return 0;
	result = user_load(share, uid, &user);
	if (result)
		return result;
	fsstat->user_counted = true;
	fsstat->user_used_bytes = user.blocks * BLOCK_SIZE;
	fsstat->user_limit_bytes = user.limit_blocks * BLOCK_SIZE;
	fsstat->user_files = user.files;
	fsstat->user_limit_files = user.limit_files;
	if (user.limit_blocks) {
		uint64_t left = user.limit_blocks > user.blocks
				    ? (user.limit_blocks - user.blocks) * BLOCK_SIZE
				    : 0;

		if (fsstat->available_bytes > left)
			fsstat->available_bytes = left;
	}
	if (user.limit_files) {
		uint64_t left = user.limit_files > user.files ? user.limit_files - user.files : 0;

		if (fsstat->available_files > left)
			fsstat->available_files = left;
	}
	return 0;
}

/* ---- the start of counting: everything is looked at once, with changes held up ---- */

struct owner {
	uint32_t uid;
	struct user user;
};

struct start {
	struct share *share;
	uint64_t next; /* object */
	struct owner *owners;
	unsigned count;
};

static int owner_find(struct start *start, uint32_t uid, struct owner **ret_owner)
{
	for (unsigned i = start->count; i > 0; i--) /* files of one owner lie together */
		if (start->owners[i - 1].uid == uid) {
			*ret_owner = &start->owners[i - 1];
			return 0;
		}
	if (start->count == START_MOST)
		return -E2BIG;
	*ret_owner = &start->owners[start->count++];
	(*ret_owner)->uid = uid;
	return 0;
}

static int see_inode(struct start *start, const uint8_t *value, size_t length)
{
	struct inode inode;
	struct owner *owner;
	int result = inode_decode(value, length, &inode);

	if (result == 0)
		result = owner_find(start, inode.attr.uid, &owner);
	if (result == 0) {
		owner->user.blocks += inode.blocks;
		owner->user.files++;
	}
	return result;
}

/* An inode's record is the first of its keys. 1: more to see. */
static int see_some(void *context)
{
	struct start *start = context;

	for (unsigned i = 0; i < START_STEP; i++) {
		struct key key = inode_key(start->next);
		const uint8_t *value;
		size_t length;
		int result = btree_next(start->share->store, &key, &value, &length);

		if (result == -ENOENT || (result == 0 && key.object >= BLOB_OBJECT))
			return 0;
		if (result == 0)
			result = key.type == KEY_INODE ? see_inode(start, value, length) : -EUCLEAN;
		if (result)
			return result;
		start->next = key.object + 1;
	}
	return 1;
}

static int record_all(void *context)
{
	struct start *start = context;
	struct key key = {ORPHAN_OBJECT, KEY_USER, USERS_COUNTED};
	uint8_t value[8] = {1};
	int result = 0;

	for (unsigned i = 0; i < start->count && result == 0; i++)
		result = user_store(start->share, start->owners[i].uid, &start->owners[i].user);
	if (result == 0)
		result = store_put(start->share->store, &key, value, sizeof(value));
	if (result == 0)
		start->share->store->counters[COUNT_USERS] = 1;
	return result;
}

/* Nobody else changes anything from here on; false: they are counted already. */
static bool hold_changes(struct store *store)
{
	bool counted;

	store_lock(store);
	while (store->held) {
		struct waiter waiter;

		waiter_wait(store, &waiter, &store->room);
	}
	counted = store->counters[COUNT_USERS];
	if (!counted) {
		store->held++;
		store->holder = fiber_current();
	}
	store_unlock(store);
	return !counted;
}

static int count_all(struct start *start)
{
	struct store *store = start->share->store;
	int result;

	do
		result = store_look(store, see_some, start);
	while (result == 1);
	if (result == 0)
		result = store_transact(store, record_all, start, NULL);
	store_lock(store);
	store->holder = NULL;
	store->held--;
	waiters_resume(&store->room, 0);
	store_unlock(store);
	return result;
}

int users_start(struct share *share)
{
	struct start start = {.share = share, .next = ROOT_INODE};
	struct store *store = share->store;
	bool counted;
	int result = 0;

	store_lock(store);
	counted = store->counters[COUNT_USERS];
	store_unlock(store);
	if (counted)
		return 0;
	start.owners = heap_zalloc_array(START_MOST, sizeof(*start.owners));
	if (!start.owners)
		return -ENOMEM;
	result = store_need_version(store, FORMAT_USERS);
	if (result == 0 && hold_changes(store))
		result = count_all(&start);
	heap_free(start.owners);
	return result;
}

static void show(uint32_t uid, const struct user *user, struct share_user *ret_user)
{
	ret_user->uid = uid;
	ret_user->limit_bytes = user->limit_blocks * BLOCK_SIZE;
	ret_user->used_bytes = user->blocks * BLOCK_SIZE;
	ret_user->limit_files = user->limit_files;
	ret_user->files = user->files;
}

int users_limit(struct share *share, struct share_user *wanted)
{
	struct user user;
	int result = user_load(share, wanted->uid, &user);

	if (result)
		return result;
	if (wanted->set & SHARE_USER_BYTES)
		user.limit_blocks = wanted->limit_bytes / BLOCK_SIZE;
	if (wanted->set & SHARE_USER_FILES)
		user.limit_files = wanted->limit_files;
	show(wanted->uid, &user, wanted);
	return user_store(share, wanted->uid, &user);
}

/* ---- the list ---- */

int users_next(struct share *share, uint64_t from, struct share_user *ret_user)
{
	struct key key = {ORPHAN_OBJECT, KEY_USER, from};
	const uint8_t *value;
	size_t length;
	struct user user;
	int result = btree_next(share->store, &key, &value, &length);

	if (result)
		return result;
	if (key.object != ORPHAN_OBJECT || key.type != KEY_USER || key.offset >= USERS_COUNTED)
		return -ENOENT;
	*ret_user = (struct share_user){0};
	result = user_decode(value, length, &user);
	if (result == 0)
		show((uint32_t)key.offset, &user, ret_user);
	return result;
}
