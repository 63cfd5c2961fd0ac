/* SPDX-License-Identifier: Apache-2.0 */
/* memory_file.c: contents of files as a sorted array of blocks. */
#include <errno.h>
#include <string.h>

#include "core/heap.h"
#include "shares/memory.h"

/* The first page at or behind @block. */
static size_t page_index(const struct memory_node *node, uint64_t block)
{
	size_t low = 0, high = node->page_count;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (node->pages[middle].block < block)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static struct memory_page *page_find(const struct memory_node *node, uint64_t block)
{
	size_t index = page_index(node, block);

	return index < node->page_count && node->pages[index].block == block ? &node->pages[index]
									     : NULL;
}

static void account(struct memory_fs *fs, struct memory_node *node, int64_t blocks)
{
	fs->used += (uint64_t)blocks * VFS_BLOCK;
	node->attr.used += (uint64_t)blocks * VFS_BLOCK;
}

/* Space for @blocks more? */
static int may_grow(const struct memory_fs *fs, uint64_t blocks)
{
	uint64_t used = fs->used + blocks * VFS_BLOCK;

	if (fs->quota && used > fs->quota)
		return -EDQUOT;
	return used > fs->limit ? -ENOSPC : 0;
}

static int page_insert(struct memory_fs *fs, struct memory_node *node, uint64_t block,
		       struct memory_page **ret_page)
{
	size_t index = page_index(node, block);
	int result = may_grow(fs, 1);

	if (result)
		return result;
	if (node->page_count == node->page_room) {
		size_t room = node->page_room ? node->page_room * 2 : 8;
		struct memory_page *pages = heap_resize(node->pages, room * sizeof(*pages));

		if (!pages)
			return -ENOMEM;
		node->pages = pages;
		node->page_room = room;
	}
	memmove(&node->pages[index + 1], &node->pages[index],
		(node->page_count - index) * sizeof(*node->pages));
	node->page_count++;
	node->pages[index] = (struct memory_page){.block = block};
	account(fs, node, 1);
	*ret_page = &node->pages[index];
	return 0;
}

static int page_make(struct memory_fs *fs, struct memory_node *node, uint64_t block,
		     uint8_t **ret_data)
{
	struct memory_page *page = page_find(node, block);
	int result = page ? 0 : page_insert(fs, node, block, &page);

	if (result)
		return result;
	if (!page->data)
		page->data = heap_zalloc(VFS_BLOCK);
	*ret_data = page->data;
	return page->data ? 0 : -ENOMEM;
}

static void pages_remove(struct memory_fs *fs, struct memory_node *node, size_t first, size_t last)
{
	if (first == last)
		return;
	for (size_t i = first; i < last; i++)
		heap_free(node->pages[i].data);
	memmove(&node->pages[first], &node->pages[last],
		(node->page_count - last) * sizeof(*node->pages));
	node->page_count -= last - first;
	account(fs, node, -(int64_t)(last - first));
}

/* Zero the bytes [from, to) of @block. */
static void zero_part(struct memory_node *node, uint64_t block, uint32_t from, uint32_t to)
{
	struct memory_page *page = page_find(node, block);

	if (page && page->data && from < to)
		memset(page->data + from, 0, to - from);
}

static uint64_t count_missing(const struct memory_node *node, uint64_t first, uint64_t end)
{
	size_t from = page_index(node, first), to = page_index(node, end);

	return end - first - (to - from);
}

/* Copy between a file and the request's memory, piece by piece. */
struct cursor {
	const struct iovec *iov;
	size_t done; /* in the current piece */
};

static void cursor_move(struct cursor *cursor, uint8_t *data, size_t length, bool write)
{
	while (length > 0) {
		size_t room = cursor->iov->iov_len - cursor->done;
		size_t part = length < room ? length : room;
		uint8_t *memory = (uint8_t *)cursor->iov->iov_base + cursor->done;

		if (part == 0) {
			cursor->iov++;
			cursor->done = 0;
			continue;
		}
		if (write)
			memcpy(data, memory, part);
		else if (data)
			memcpy(memory, data, part);
		else
			memset(memory, 0, part);
		data = data ? data + part : NULL;
		cursor->done += part;
		length -= part;
	}
}

int memory_read(struct memory_fs *fs, struct memory_node *node, struct vfs_request *request)
{
	struct cursor cursor = {.iov = request->iov};
	uint64_t offset = request->offset, size = node->attr.size;
	uint64_t left = offset < size ? size - offset : 0;

	(void)fs;
	if (left > request->length)
		left = request->length;
	request->count = (uint32_t)left;
	request->eof = offset >= size || offset + left == size;
	while (left > 0) {
		struct memory_page *page = page_find(node, offset / VFS_BLOCK);
		uint64_t in = offset % VFS_BLOCK;
		uint64_t part = left < VFS_BLOCK - in ? left : VFS_BLOCK - in;

		cursor_move(&cursor, page && page->data ? page->data + in : NULL, part, false);
		offset += part;
		left -= part;
	}
	return 0;
}

int memory_write(struct memory_fs *fs, struct memory_node *node, struct vfs_request *request)
{
	struct cursor cursor = {.iov = request->iov};
	uint64_t offset = request->offset, left = request->length;
	int result = may_grow(fs, count_missing(node, offset / VFS_BLOCK,
						(offset + left + VFS_BLOCK - 1) / VFS_BLOCK));

	if (result && left > 0)
		return result;
	while (left > 0) {
		uint64_t in = offset % VFS_BLOCK;
		uint64_t part = left < VFS_BLOCK - in ? left : VFS_BLOCK - in;
		uint8_t *data;

		result = page_make(fs, node, offset / VFS_BLOCK, &data);
		if (result)
			return result;
		cursor_move(&cursor, data + in, part, true);
		offset += part;
		left -= part;
	}
	request->count = (uint32_t)request->length;
	if (request->length > 0 && offset > node->attr.size)
		node->attr.size = offset;
	return 0;
}

void memory_truncate(struct memory_fs *fs, struct memory_node *node, uint64_t size)
{
	uint64_t end = (size + VFS_BLOCK - 1) / VFS_BLOCK;

	if (size < node->attr.size) {
		pages_remove(fs, node, page_index(node, end), node->page_count);
		if (size % VFS_BLOCK)
			zero_part(node, size / VFS_BLOCK, size % VFS_BLOCK, VFS_BLOCK);
	}
	node->attr.size = size;
}

int memory_allocate(struct memory_fs *fs, struct memory_node *node, uint64_t offset, uint64_t end)
{
	uint64_t first = offset / VFS_BLOCK, last = (end + VFS_BLOCK - 1) / VFS_BLOCK;
	int result = may_grow(fs, count_missing(node, first, last));

	for (uint64_t block = first; block < last && result == 0; block++) {
		struct memory_page *page = page_find(node, block);

		if (!page)
			result = page_insert(fs, node, block, &page);
	}
	if (result == 0 && end > node->attr.size)
		node->attr.size = end;
	return result;
}

void memory_deallocate(struct memory_fs *fs, struct memory_node *node, uint64_t offset,
		       uint64_t end)
{
	uint64_t first = (offset + VFS_BLOCK - 1) / VFS_BLOCK, last = end / VFS_BLOCK;

	if (end >= node->attr.size) /* the last block is whole when its contents are */
		last = (end > UINT64_MAX - VFS_BLOCK) ? end / VFS_BLOCK
						      : (end + VFS_BLOCK - 1) / VFS_BLOCK;
	if (first > last) { /* inside one block */
		zero_part(node, last, offset % VFS_BLOCK, end % VFS_BLOCK);
		return;
	}
	if (offset % VFS_BLOCK)
		zero_part(node, offset / VFS_BLOCK, offset % VFS_BLOCK, VFS_BLOCK);
	if (last * VFS_BLOCK < end)
		zero_part(node, last, 0, end % VFS_BLOCK);
	pages_remove(fs, node, page_index(node, first), page_index(node, last));
}

/* A range reads as zeros and takes no space where @from has a hole. */
int memory_clone(struct memory_fs *fs, struct memory_node *from, struct memory_node *to,
		 uint64_t offset, uint64_t offset2, uint64_t length)
{
	uint64_t blocks = (length + VFS_BLOCK - 1) / VFS_BLOCK;
	int result =
	    may_grow(fs, count_missing(to, offset2 / VFS_BLOCK, offset2 / VFS_BLOCK + blocks));

	for (uint64_t i = 0; i < blocks && result == 0; i++) {
		struct memory_page *page = page_find(from, offset / VFS_BLOCK + i);
		uint64_t block = offset2 / VFS_BLOCK + i;
		uint8_t *data;

		if (page && page->data) {
			uint8_t *source = page->data;

			result = page_make(fs, to, block, &data);
			if (result == 0)
				memcpy(data, source, VFS_BLOCK);
		} else if (page_find(to, block)) {
			pages_remove(fs, to, page_index(to, block), page_index(to, block + 1));
		}
	}
	if (result == 0 && offset2 + length > to->attr.size)
		to->attr.size = offset2 + length;
	return result;
}

int memory_seek(struct memory_node *node, struct vfs_request *request)
{
	uint64_t size = node->attr.size, block = request->offset / VFS_BLOCK;
	bool want_data = request->seek == VFS_SEEK_DATA;
	size_t index = page_index(node, block);

	if (request->offset >= size)
		return -ENXIO;
	if (want_data) {
		while (index < node->page_count && !node->pages[index].data)
			index++;
		if (index == node->page_count || node->pages[index].block * VFS_BLOCK >= size)
			return -ENXIO;
		block = node->pages[index].block;
	} else {
		while (index < node->page_count && node->pages[index].block == block &&
		       node->pages[index].data) {
			index++;
			block++;
		}
	}
	if (block * VFS_BLOCK > request->offset)
		request->offset = block * VFS_BLOCK;
	if (request->offset > size)
		request->offset = size;
	request->eof = request->offset == size;
	return 0;
}
