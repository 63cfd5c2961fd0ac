/* SPDX-License-Identifier: Apache-2.0 */
#include "shares/page.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "core/bytes.h"
#include "core/crc32c.h"

#define PAGE_MAGIC 0x4e535247u /* "GRSN" */

static unsigned cells_start(const uint8_t *page)
{
	return get16(page + 36);
}

static unsigned live(const uint8_t *page)
{
	return get16(page + 38);
}

static unsigned slot(const uint8_t *page, unsigned index)
{
	return get16(page + PAGE_HEADER + 2u * index);
}

static unsigned cell_size(const uint8_t *page, unsigned at)
{
	return CELL_BYTES + get16(page + at + KEY_BYTES);
}

unsigned page_count(const uint8_t *page)
{
	return get16(page + 34);
}

uint8_t page_level(const uint8_t *page)
{
	return page[32];
}

void page_init(uint8_t *page, uint8_t level)
{
	memset(page, 0, BLOCK_SIZE);
	put32(page + 4, PAGE_MAGIC);
	page[32] = level;
	put16(page + 36, BLOCK_SIZE);
}

void page_set_place(uint8_t *page, uint64_t block, uint64_t generation, const uint8_t uuid[16])
{
	put64(page + 8, block);
	put64(page + 16, generation);
	memcpy(page + 24, uuid, 8);
}

void page_sum(uint8_t *page)
{
	put32(page, crc32c(0, page + 4, BLOCK_SIZE - 4));
}

/* Slots and cells are where they may be, sorted, and add up. */
static bool cells_hold(const uint8_t *page)
{
	unsigned count = page_count(page), start = cells_start(page), total = 0;
	struct key key, previous = {0};

	if (count > (BLOCK_SIZE - PAGE_HEADER) / 2 || start > BLOCK_SIZE ||
	    start < PAGE_HEADER + 2 * count)
		return false;
	for (unsigned i = 0; i < count; i++) {
		unsigned at = slot(page, i);

		if (at < start || at + CELL_BYTES > BLOCK_SIZE)
			return false;
		if (get16(page + at + KEY_BYTES) > VALUE_MAX ||
		    at + cell_size(page, at) > BLOCK_SIZE)
			return false;
		if (page_level(page) && get16(page + at + KEY_BYTES) != CHILD_BYTES)
			return false;
		total += cell_size(page, at);
		key_decode(page + at, &key);
		if (i && key_compare(&previous, &key) >= 0)
			return false;
		previous = key;
	}
	return total == live(page) && total <= BLOCK_SIZE - start;
}

int page_check(const uint8_t *page, uint64_t block, uint64_t generation, const uint8_t uuid[16],
	       uint8_t level)
{
	if (get32(page) != crc32c(0, page + 4, BLOCK_SIZE - 4) || get32(page + 4) != PAGE_MAGIC ||
	    get64(page + 8) != block || get64(page + 16) != generation ||
	    memcmp(page + 24, uuid, 8) != 0 || page_level(page) != level || !cells_hold(page) ||
	    (level && page_count(page) == 0))
		return -EUCLEAN;
	return 0;
}

void page_key(const uint8_t *page, unsigned index, struct key *ret_key)
{
	key_decode(page + slot(page, index), ret_key);
}

const uint8_t *page_value(const uint8_t *page, unsigned index, size_t *ret_length)
{
	unsigned at = slot(page, index);

	if (ret_length)
		*ret_length = get16(page + at + KEY_BYTES);
	return page + at + CELL_BYTES;
}

unsigned page_find(const uint8_t *page, const struct key *key, bool *ret_equal)
{
	unsigned low = 0, high = page_count(page);

	*ret_equal = false;
	while (low < high) {
		unsigned middle = (low + high) / 2;
		struct key at;
		int order;

		page_key(page, middle, &at);
		order = key_compare(&at, key);
		if (order < 0) {
			low = middle + 1;
		} else {
			high = middle;
			*ret_equal |= order == 0;
		}
	}
	return low;
}

unsigned page_find_child(const uint8_t *page, const struct key *key)
{
	bool equal;
	unsigned index = page_find(page, key, &equal);

	return equal || index == 0 ? index : index - 1;
}

void page_child(const uint8_t *page, unsigned index, struct page_child *ret_child)
{
	const uint8_t *value = page_value(page, index, NULL);

	ret_child->block = get64(value);
	ret_child->generation = get64(value + 8);
}

void page_child_encode(const struct page_child *child, uint8_t value[CHILD_BYTES])
{
	put64(value, child->block);
	put64(value + 8, child->generation);
}

void page_set_child(uint8_t *page, unsigned index, const struct page_child *child)
{
	page_child_encode(child, page + slot(page, index) + CELL_BYTES);
}

/* ---- changes ---- */
static unsigned room(const uint8_t *page)
{
	return BLOCK_SIZE - PAGE_HEADER - 2 * page_count(page) - live(page);
}

bool page_fits(const uint8_t *page, size_t value_length)
{
	return room(page) >= CELL_BYTES + value_length + 2;
}

bool page_fits_replaced(const uint8_t *page, unsigned index, size_t value_length)
{
	return room(page) + cell_size(page, slot(page, index)) >= CELL_BYTES + value_length;
}

/* Push the cells together at the end. */
static void compact(uint8_t *page)
{
	uint8_t copy[BLOCK_SIZE];
	unsigned start = BLOCK_SIZE, count = page_count(page);

	memcpy(copy, page, BLOCK_SIZE);
	for (unsigned i = 0; i < count; i++) {
		unsigned at = slot(copy, i), size = cell_size(copy, at);

		start -= size;
		memcpy(page + start, copy + at, size);
		put16(page + PAGE_HEADER + 2u * i, (uint16_t)start);
	}
	put16(page + 36, (uint16_t)start);
}

/* Room for a cell of @size bytes when there are to be @count slots. */
static unsigned make_room(uint8_t *page, size_t size, unsigned count)
{
	unsigned start;

	if (cells_start(page) < PAGE_HEADER + 2 * count + size)
		compact(page);
	start = cells_start(page) - (unsigned)size;
	assert(start >= PAGE_HEADER + 2 * count);
	put16(page + 36, (uint16_t)start);
	put16(page + 38, (uint16_t)(live(page) + size));
	return start;
}

static void fill_cell(uint8_t *page, unsigned at, const struct key *key, const uint8_t *value,
		      size_t length)
{
	key_encode(key, page + at);
	put16(page + at + KEY_BYTES, (uint16_t)length);
	if (length)
		memcpy(page + at + CELL_BYTES, value, length);
}

void page_insert(uint8_t *page, unsigned index, const struct key *key, const uint8_t *value,
		 size_t length)
{
	unsigned count = page_count(page);
	unsigned at = make_room(page, CELL_BYTES + length, count + 1);
	uint8_t *slots = page + PAGE_HEADER;

	memmove(slots + 2u * (index + 1), slots + 2u * index, 2u * (count - index));
	put16(slots + 2u * index, (uint16_t)at);
	put16(page + 34, (uint16_t)(count + 1));
	fill_cell(page, at, key, value, length);
}

void page_remove(uint8_t *page, unsigned index)
{
	unsigned count = page_count(page), size = cell_size(page, slot(page, index));
	uint8_t *slots = page + PAGE_HEADER;

	memmove(slots + 2u * index, slots + 2u * (index + 1), 2u * (count - index - 1));
	put16(page + 34, (uint16_t)(count - 1));
	put16(page + 38, (uint16_t)(live(page) - size));
	if (count == 1)
		put16(page + 36, BLOCK_SIZE);
}

void page_replace(uint8_t *page, unsigned index, const uint8_t *value, size_t length)
{
	unsigned at = slot(page, index);
	struct key key;

	if (get16(page + at + KEY_BYTES) == length) {
		memcpy(page + at + CELL_BYTES, value, length);
		return;
	}
	key_decode(page + at, &key);
	page_remove(page, index);
	page_insert(page, index, &key, value, length);
}

static void move_cell(uint8_t *page, unsigned index, uint8_t *right)
{
	size_t length;
	const uint8_t *value = page_value(page, index, &length);
	struct key key;

	page_key(page, index, &key);
	page_insert(right, 0, &key, value, length);
	page_remove(page, index);
}

void page_split(uint8_t *page, uint8_t *right, unsigned index)
{
	unsigned count = page_count(page), half = live(page) / 2;

	if (index == count) {
		if (page_level(page)) /* an inner page is never empty */
			move_cell(page, count - 1, right);
		return;
	}
	while (page_count(page) > 1 && live(page) > half)
		move_cell(page, page_count(page) - 1, right);
}
