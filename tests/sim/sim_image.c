/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/sim_image.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/rng.h"

struct sim_page {
	uint64_t index;
	uint8_t *data;
};

/* Pages come and go by the thousand: a free list in front of malloc. */
static uint8_t *free_pages;

static uint8_t *page_take(void)
{
	uint8_t *page = free_pages;

	if (page)
		memcpy(&free_pages, page, sizeof(free_pages));
	else
		page = malloc(SIM_PAGE);
	assert(page);
	return page;
}

static void page_give(uint8_t *page)
{
	memcpy(page, &free_pages, sizeof(free_pages));
	free_pages = page;
}

void sim_image_init(struct sim_image *image, const struct sim_image *parent)
{
	*image = (struct sim_image){.parent = parent};
}

void sim_image_finish(struct sim_image *image)
{
	for (size_t i = 0; i < image->size; i++) {
		if (image->table[i].data)
			page_give(image->table[i].data);
	}
	free(image->table);
	*image = (struct sim_image){0};
}

/* The entry of @index, or the free one where it belongs. The table is never full. */
static struct sim_page *table_find(struct sim_page *table, size_t size, uint64_t index)
{
	size_t at = rng_mix(index) & (size - 1);

	while (table[at].data && table[at].index != index)
		at = (at + 1) & (size - 1);
	return &table[at];
}

static void table_grow(struct sim_image *image)
{
	size_t size = image->size ? image->size * 2 : 64;
	struct sim_page *table = calloc(size, sizeof(*table));

	assert(table);
	for (size_t i = 0; i < image->size; i++) {
		if (image->table[i].data)
			*table_find(table, size, image->table[i].index) = image->table[i];
	}
	free(image->table);
	image->table = table;
	image->size = size;
}

static const uint8_t *page_lookup(const struct sim_image *image, uint64_t index)
{
	for (; image; image = image->parent) {
		if (!image->size)
			continue;
		const uint8_t *data = table_find(image->table, image->size, index)->data;
		if (data)
			return data;
	}
	return NULL;
}

/* The page of @index that belongs to @image itself, copied from below at the first touch. */
static uint8_t *page_own(struct sim_image *image, uint64_t index)
{
	struct sim_page *page;
	const uint8_t *below;

	if (image->used * 2 >= image->size)
		table_grow(image);
	page = table_find(image->table, image->size, index);
	if (page->data)
		return page->data;
	below = page_lookup(image->parent, index);
	page->index = index;
	page->data = page_take();
	image->used++;
	if (below)
		memcpy(page->data, below, SIM_PAGE);
	else
		memset(page->data, 0, SIM_PAGE);
	return page->data;
}

static size_t piece_at(uint64_t offset, size_t length)
{
	size_t room = SIM_PAGE - offset % SIM_PAGE;

	return length < room ? length : room;
}

void sim_image_read(const struct sim_image *image, uint64_t offset, void *data, size_t length)
{
	uint8_t *to = data;

	while (length) {
		size_t piece = piece_at(offset, length);
		const uint8_t *page = page_lookup(image, offset / SIM_PAGE);

		if (page)
			memcpy(to, page + offset % SIM_PAGE, piece);
		else
			memset(to, 0, piece);
		to += piece;
		offset += piece;
		length -= piece;
	}
}

void sim_image_write(struct sim_image *image, uint64_t offset, const void *data, size_t length)
{
	const uint8_t *from = data;

	while (length) {
		size_t piece = piece_at(offset, length);

		memcpy(page_own(image, offset / SIM_PAGE) + offset % SIM_PAGE, from, piece);
		from += piece;
		offset += piece;
		length -= piece;
	}
}

void sim_image_zero(struct sim_image *image, uint64_t offset, size_t length)
{
	while (length) {
		size_t piece = piece_at(offset, length);

		if (page_lookup(image, offset / SIM_PAGE))
			memset(page_own(image, offset / SIM_PAGE) + offset % SIM_PAGE, 0, piece);
		offset += piece;
		length -= piece;
	}
}
