/* SPDX-License-Identifier: Apache-2.0 */
/* check.c: everything of a share against everything else. No transaction begins meanwhile.
 *
 *   pages     each is reached once, and the bitmap knows exactly those
 *   keys      each can be read, and belongs to something
 *   inodes    links are names, blocks are extents, entries are entries
 *   space     files, reservations, free and pending space tile the data area without gap or overlap
 *   shares    blocks with several owners have as many as is counted
 *   counters  are the sums of what is there
 *   users     have what their records say */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/heap.h"
#include "shares/check.h"

#define STEP_KEYS 256u /* looked at with the lock held */

struct seen_inode {
	uint64_t number, links, parent;
	bool directory, orphan;
};
struct seen_name {
	uint64_t inode, directory;
};
struct seen_owner { /* of an inode; of all of a user's; as a record has it */
	uint64_t uid, blocks, files;
};
struct seen_blob {
	uint64_t number, length; /* of the xattr */
};

void *check_array_add(struct checker *checker, struct array *array, size_t size)
{
	void *item;

	array->size = size;
	if (array->count == array->room) {
		size_t room = array->room ? array->room * 2 : 256;
		void *items = heap_resize(array->items, room * size);

		if (!items) {
			checker->result = -ENOMEM;
			return NULL;
		}
		array->items = items;
		array->room = room;
	}
	item = (char *)array->items + array->count++ * size;
	memset(item, 0, size);
	return item;
}

void check_found(struct checker *checker, const char *format, ...)
{
	char sentence[300];
	va_list values;

	checker->report->errors++;
	if (!checker->report->finding)
		return;
	va_start(values, format);
	vsnprintf(sentence, sizeof(sentence), format, values);
	va_end(values);
	checker->report->finding(checker->report, sentence);
}

static unsigned long long number(uint64_t value)
{
	return value;
}

/* ---- keys ---- */
static void inode_begin(struct checker *checker, const struct key *key, const uint8_t *value,
			size_t length)
{
	struct seen_inode *seen;

	checker->have_inode = true;
	checker->number = key->object;
	checker->entries = checker->name_bytes = checker->extent_blocks = 0;
	checker->pieces = checker->aces = checker->extent_end = checker->reserved_end = 0;
	checker->report->inodes++;
	if (inode_decode(value, length, &checker->inode) < 0) {
		check_found(checker, "inode %llu can not be read", number(key->object));
		checker->have_inode = false;
		return;
	}
	seen = check_array_add(checker, &checker->inodes, sizeof(*seen));
	if (seen)
		*seen = (struct seen_inode){.number = key->object,
					    .links = checker->inode.attr.links,
					    .parent = checker->inode.parent,
					    .directory = checker->inode.attr.type == VFS_DIRECTORY};
}

static void see_owner(struct checker *checker, const struct inode *inode)
{
	struct seen_owner *owner;

	if (!checker->users_counted)
		return;
	owner = check_array_add(checker, &checker->owners, sizeof(*owner));
	if (owner)
		*owner = (struct seen_owner){inode->attr.uid, inode->blocks, 1};
}

static void see_user(struct checker *checker, const struct key *key, const uint8_t *value,
		     size_t length)
{
	struct seen_owner *user;
	struct user record;

	if (!checker->users_counted || key->offset == USERS_COUNTED)
		return;
	if (key->offset > UINT32_MAX || user_decode(value, length, &record) < 0) {
		check_found(checker, "the record of user %llu can not be read",
			    number(key->offset));
		return;
	}
	user = check_array_add(checker, &checker->users, sizeof(*user));
	if (user)
		*user = (struct seen_owner){key->offset, record.blocks, record.files};
}

/* All keys of an inode were seen. */
static void inode_end(struct checker *checker)
{
	const struct inode *inode = &checker->inode;
	unsigned long long name = number(checker->number);

	if (!checker->have_inode)
		return;
	checker->have_inode = false;
	checker->used_blocks += inode->blocks;
	see_owner(checker, inode);
	if (inode->blocks != checker->extent_blocks)
		check_found(checker, "inode %llu: %llu blocks in extents, its record says %llu",
			    name, number(checker->extent_blocks), number(inode->blocks));
	if (inode->attr.type == VFS_DIRECTORY &&
	    (inode->entries != checker->entries || inode->attr.size != checker->name_bytes))
		check_found(checker, "directory %llu: %llu entries, its record says %u", name,
			    number(checker->entries), inode->entries);
	if (inode->attr.type == VFS_SYMLINK && inode->attr.size != checker->pieces)
		check_found(checker, "symlink %llu: %llu bytes, its record says %llu", name,
			    number(checker->pieces), number(inode->attr.size));
	if (inode->ace_count * ACE_BYTES != checker->aces)
		check_found(checker, "inode %llu: the ACL's length is not what its record says",
			    name);
}

static void see_extent(struct checker *checker, const struct key *key, const uint8_t *value,
		       size_t length)
{
	uint64_t *end = key->type == KEY_EXTENT ? &checker->extent_end : &checker->reserved_end;
	struct superblock *sb = &checker->store->sb;
	struct extent extent;

	checker->report->extents++;
	if (extent_decode(key->offset, value, length, sb->data_start, sb->volume_blocks, &extent) <
	    0) {
		check_found(checker, "inode %llu: the extent at block %llu can not be read",
			    number(key->object), number(key->offset));
		return;
	}
	if (extent.file_block < *end)
		check_found(checker, "inode %llu: extents overlap at block %llu",
			    number(key->object), number(extent.file_block));
	*end = extent.file_block + extent.count;
	if (key->type == KEY_EXTENT)
		checker->extent_blocks += extent.count;
	if (extent.flags & EXTENT_UNWRITTEN)
		check_space_aside(checker, extent.block, extent.count);
	if (extent.flags & EXTENT_SHARED)
		check_space_share(checker, extent.block, extent.count);
	else
		check_space_own(checker, extent.block, extent.count);
}

static void see_dirent(struct checker *checker, const struct key *key, const uint8_t *value,
		       size_t length)
{
	struct dirent_value dirent;
	struct seen_name *seen;

	checker->entries++;
	if (dirent_decode(value, length, &dirent) < 0) {
		check_found(checker, "directory %llu: entry %llu can not be read",
			    number(key->object), number(key->offset));
		return;
	}
	checker->name_bytes += 24u + dirent.name_length;
	seen = check_array_add(checker, &checker->names, sizeof(*seen));
	if (seen)
		*seen = (struct seen_name){dirent.inode, key->object};
}

static void see_xattr(struct checker *checker, const struct key *key, const uint8_t *value,
		      size_t length)
{
	struct xattr_value xattr;
	struct seen_blob *blob;

	if (xattr_decode(value, length, &xattr) < 0) {
		check_found(checker, "inode %llu: an extended attribute can not be read",
			    number(key->object));
		return;
	}
	if (!xattr.blob)
		return;
	blob = check_array_add(checker, &checker->blobs, sizeof(*blob));
	if (blob)
		*blob = (struct seen_blob){xattr.blob, xattr.length};
}

static int by_first(const void *a, const void *b)
{
	const uint64_t *one = a, *other = b; /* each item begins with what it is sorted by */

	return *one < *other ? -1 : *one > *other;
}

void check_array_sort(struct array *array)
{
	if (array->count)
		qsort(array->items, array->count, array->size, by_first);
}

static void blob_end(struct checker *checker)
{
	struct seen_blob *blobs = checker->blobs.items;

	if (!checker->blob)
		return;
	if (checker->blob_index >= checker->blobs.count ||
	    blobs[checker->blob_index].number != checker->blob)
		check_found(checker, "blob %llu belongs to nothing",
			    number(checker->blob - BLOB_OBJECT));
	else if (blobs[checker->blob_index++].length != checker->blob_bytes)
		check_found(checker, "blob %llu has a wrong length",
			    number(checker->blob - BLOB_OBJECT));
	checker->blob = 0;
}

/* Blobs come last, in order, when all that refer to them were seen. */
static void see_blob(struct checker *checker, const struct key *key, size_t length)
{
	if (checker->blob != key->object) {
		if (!checker->blob)
			check_array_sort(&checker->blobs);
		blob_end(checker);
		checker->blob = key->object;
		checker->blob_bytes = 0;
	}
	checker->blob_bytes += length;
}

static void see_of_inode(struct checker *checker, const struct key *key, const uint8_t *value,
			 size_t length)
{
	if (!checker->have_inode || checker->number != key->object) {
		check_found(checker, "a key of type %u belongs to inode %llu, which is not there",
			    key->type, number(key->object));
		return;
	}
	switch (key->type) {
	case KEY_DIRENT:
		see_dirent(checker, key, value, length);
		break;
	case KEY_XATTR:
		see_xattr(checker, key, value, length);
		break;
	case KEY_SYMLINK:
		checker->pieces += length;
		break;
	case KEY_ACL:
		checker->aces += length;
		break;
	case KEY_EXTENT:
	case KEY_RESERVED:
		see_extent(checker, key, value, length);
		break;
	default:
		check_found(checker, "inode %llu has a key of unknown type %u", number(key->object),
			    key->type);
	}
}

static void see(struct checker *checker, const struct key *key, const uint8_t *value, size_t length)
{
	if (checker->have_inode && key->object != checker->number)
		inode_end(checker);
	if (key->object == SPACE_OBJECT) {
		check_space_see(checker, key, value, length);
	} else if (key->object == ORPHAN_OBJECT && key->type == KEY_USER) {
		see_user(checker, key, value, length);
	} else if (key->object == ORPHAN_OBJECT) {
		uint64_t *orphan = check_array_add(checker, &checker->orphans, sizeof(*orphan));

		if (orphan)
			*orphan = key->offset;
	} else if (key->object >= BLOB_OBJECT) {
		see_blob(checker, key, length);
	} else if (key->type == KEY_INODE) {
		inode_begin(checker, key, value, length);
	} else {
		see_of_inode(checker, key, value, length);
	}
}

/* 1: more to see. */
static int see_some(void *context)
{
	struct checker *checker = context;

	for (unsigned i = 0; i < STEP_KEYS && checker->result == 0; i++) {
		struct key key = checker->key;
		const uint8_t *value;
		size_t length;
		int result = btree_next(checker->store, &key, &value, &length);

		if (result == -ENOENT)
			return 0;
		if (result)
			return result;
		see(checker, &key, value, length);
		checker->key = key;
		if (++checker->key.offset == 0 && ++checker->key.type == 0)
			checker->key.object++;
	}
	return checker->result ? checker->result : 1;
}

/* ---- pages ---- */
struct page_place {
	uint64_t block, generation;
	uint8_t level;
};

static int see_page(void *context)
{
	struct checker *checker = context;
	struct page_place *places = checker->pages.items, here = places[checker->report->pages];
	struct page_child child = {here.block, here.generation};
	const uint8_t *page;
	int result = btree_page(checker->store, &child, here.level, &page);

	if (result)
		return result;
	checker->report->pages++;
	for (unsigned i = 0; here.level && i < page_count(page); i++) {
		struct page_place *place =
		    check_array_add(checker, &checker->pages, sizeof(*place));

		page_child(page, i, &child);
		if (place)
			*place = (struct page_place){child.block, child.generation,
						     (uint8_t)(here.level - 1)};
	}
	return checker->result;
}

static bool bit_is_set(struct store *store, uint64_t block)
{
	uint64_t bit = block - store->sb.node_start;
	const struct bitmap *bitmap = store->bitmaps[bit / BITMAP_BITS];

	bit %= BITMAP_BITS;
	return bitmap && bitmap->current[bit / 8] >> bit % 8 & 1;
}

static uint64_t bits_set(struct store *store)
{
	uint64_t count = 0;

	for (uint64_t i = 0; i < store->sb.bitmap_blocks; i++)
		for (unsigned byte = 0; store->bitmaps[i] && byte < BITMAP_BYTES; byte++)
			count += (unsigned)__builtin_popcount(store->bitmaps[i]->current[byte]);
	return count;
}

static int see_pages(struct checker *checker)
{
	struct store *store = checker->store;
	struct page_place *places = check_array_add(checker, &checker->pages, sizeof(*places));
	int result = checker->result;

	if (places)
		*places = (struct page_place){store->root.block, store->root.generation,
					      store->root_level};
	while (result == 0 && checker->report->pages < checker->pages.count)
		result = store_look(store, see_page, checker);
	if (result)
		return result;
	check_array_sort(&checker->pages);
	places = checker->pages.items;
	for (size_t i = 0; i < checker->pages.count; i++) {
		if (i && places[i].block == places[i - 1].block)
			check_found(checker, "page %llu is in the tree twice",
				    number(places[i].block));
		if (!bit_is_set(store, places[i].block))
			check_found(checker, "page %llu is in use and its bitmap does not say so",
				    number(places[i].block));
	}
	if (bits_set(store) != checker->pages.count)
		check_found(checker, "%llu pages are marked as used, %llu are in use",
			    number(bits_set(store)), number(checker->pages.count));
	return 0;
}

/* ---- all of it together ---- */
static bool array_has(const struct array *array, uint64_t first)
{
	return array->count && bsearch(&first, array->items, array->count, array->size, by_first);
}

static void compare_names(struct checker *checker)
{
	struct seen_inode *inodes = checker->inodes.items;
	struct seen_name *names = checker->names.items;
	size_t at = 0;

	check_array_sort(&checker->names);
	check_array_sort(&checker->orphans);
	for (size_t i = 0; i < checker->inodes.count; i++) {
		struct seen_inode *inode = &inodes[i];
		size_t first = at;

		while (at < checker->names.count && names[at].inode < inode->number)
			check_found(checker,
				    "directory %llu has an entry for inode %llu, which is not "
				    "there",
				    number(names[at].directory), number(names[at].inode)),
			    at++, first = at;
		while (at < checker->names.count && names[at].inode == inode->number)
			at++;
		if (inode->number == ROOT_INODE)
			continue;
		if (inode->links == 0 && !array_has(&checker->orphans, inode->number))
			check_found(checker, "inode %llu has no name and is no orphan",
				    number(inode->number));
		if (inode->directory && inode->links &&
		    (at - first != 1 || names[first].directory != inode->parent))
			check_found(checker,
				    "directory %llu is not in its parent %llu, or elsewhere too",
				    number(inode->number), number(inode->parent));
		if (!inode->directory && at - first != inode->links)
			check_found(checker, "inode %llu has %llu names and %llu links",
				    number(inode->number), number(at - first),
				    number(inode->links));
	}
	for (; at < checker->names.count; at++)
		check_found(checker,
			    "directory %llu has an entry for inode %llu, which is not there",
			    number(names[at].directory), number(names[at].inode));
}

static void compare_user(struct checker *checker, uint64_t uid, const struct seen_owner *has,
			 const struct seen_owner *counted)
{
	if (has->blocks != counted->blocks || has->files != counted->files)
		check_found(
		    checker,
		    "user %llu has %llu blocks in %llu files, the share counts %llu in %llu",
		    number(uid), number(has->blocks), number(has->files), number(counted->blocks),
		    number(counted->files));
}

/* What each user's inodes come to is what the record says; one without a record has none. */
static void compare_users(struct checker *checker)
{
	const struct seen_owner *owners, *users;
	size_t at = 0, user = 0;

	check_array_sort(&checker->owners);
	check_array_sort(&checker->users);
	owners = checker->owners.items;
	users = checker->users.items;
	while (at < checker->owners.count || user < checker->users.count) {
		struct seen_owner has = {.uid = UINT64_MAX}, counted = {0};

		if (at < checker->owners.count)
			has.uid = owners[at].uid;
		if (user < checker->users.count && users[user].uid < has.uid)
			has.uid = users[user].uid;
		for (; at < checker->owners.count && owners[at].uid == has.uid; at++) {
			has.blocks += owners[at].blocks;
			has.files++;
		}
		if (user < checker->users.count && users[user].uid == has.uid)
			counted = users[user++];
		compare_user(checker, has.uid, &has, &counted);
	}
}

static void compare_counters(struct checker *checker)
{
	const uint64_t *counters = checker->store->counters;

	if (counters[COUNT_USED_BLOCKS] != checker->used_blocks)
		check_found(checker, "files have %llu blocks, the share counts %llu",
			    number(checker->used_blocks), number(counters[COUNT_USED_BLOCKS]));
	if (counters[COUNT_INODES] != checker->report->inodes)
		check_found(checker, "there are %llu inodes, the share counts %llu",
			    number(checker->report->inodes), number(counters[COUNT_INODES]));
	if (counters[COUNT_FREE_BLOCKS] != checker->free_blocks)
		check_found(checker, "%llu blocks are free, the share counts %llu",
			    number(checker->free_blocks), number(counters[COUNT_FREE_BLOCKS]));
}

static int check_all(struct checker *checker)
{
	int result = see_pages(checker);

	while (result == 0) {
		result = store_look(checker->store, see_some, checker);
		if (result != 1)
			break;
		result = 0;
	}
	if (result)
		return result;
	inode_end(checker);
	blob_end(checker);
	if (checker->blob_index != checker->blobs.count)
		check_found(checker, "%llu long extended attributes have no value",
			    number(checker->blobs.count - checker->blob_index));
	check_space_compare(checker);
	compare_names(checker);
	compare_counters(checker);
	compare_users(checker);
	return checker->result;
}

int store_check(struct store *store, struct share_check_report *report)
{
	struct checker checker = {.store = store, .report = report};
	struct array *arrays[] = {
	    &checker.spans, &checker.aside,   &checker.edges, &checker.inodes, &checker.names,
	    &checker.blobs, &checker.orphans, &checker.pages, &checker.owners, &checker.users};
	int result;

	store_lock(store);
	while (store->holder) { /* who changes in its walk: the first limit */
		struct waiter waiter;

		waiter_wait(store, &waiter, &store->room);
	}
	store->held++;
	checker.users_counted = store->counters[COUNT_USERS];
	store_unlock(store);
	result = check_all(&checker);
	if (result == 0) /* before what is set aside may be freed, and discarded */
		result = check_space_promised(&checker);
	store_lock(store);
	store->held--;
	waiters_resume(&store->room, 0);
	store_unlock(store);
	for (unsigned i = 0; i < sizeof(arrays) / sizeof(*arrays); i++)
		heap_free(arrays[i]->items);
	if (result == -EUCLEAN || result == -EILSEQ || result == -EIO) {
		check_found(&checker, "a page of the tree can not be read (error %d)", -result);
		result = 0;
	}
	return result;
}
