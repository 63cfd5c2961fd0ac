/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SHARES_PAGE_H
#define SHARES_PAGE_H

#include "shares/format.h"

/* A page: one node of the tree, in memory as on disk. Cells {key, length, value} sorted by key,
 * found through slots; an inner page's values are struct page_child. Pure functions.
 *
 *   0 crc32c  4 magic  8 own block  16 generation  24 first half of the uuid  32 level
 *   34 count  36 start of the cells  38 bytes of live cells  40 slots ... free ... cells */
#define PAGE_HEADER 40u
#define CHILD_BYTES 16u
#define PAGE_LEVELS 16u
#define CELL_BYTES  (KEY_BYTES + 2u)

struct page_child {
	uint64_t block, generation;
};

void page_init(uint8_t *page, uint8_t level);
/* Own block, generation, uuid; then the checksum, as it goes to disk. page_check: whatever a
 * disk may hold: 0, or -EUCLEAN. */
void page_set_place(uint8_t *page, uint64_t block, uint64_t generation, const uint8_t uuid[16]);
void page_sum(uint8_t *page);
int page_check(const uint8_t *page, uint64_t block, uint64_t generation, const uint8_t uuid[16],
	       uint8_t level);

uint8_t page_level(const uint8_t *page);
unsigned page_count(const uint8_t *page);
void page_key(const uint8_t *page, unsigned index, struct key *ret_key);
const uint8_t *page_value(const uint8_t *page, unsigned index, size_t *ret_length);
/* The first cell with a key not less than @key; *ret_equal: it is @key. */
unsigned page_find(const uint8_t *page, const struct key *key, bool *ret_equal);
/* Inner pages: the child that @key belongs to. */
unsigned page_find_child(const uint8_t *page, const struct key *key);
void page_child(const uint8_t *page, unsigned index, struct page_child *ret_child);
void page_child_encode(const struct page_child *child, uint8_t value[CHILD_BYTES]);
void page_set_child(uint8_t *page, unsigned index, const struct page_child *child);

bool page_fits(const uint8_t *page, size_t value_length); /* one more cell */
bool page_fits_replaced(const uint8_t *page, unsigned index, size_t value_length);
void page_insert(uint8_t *page, unsigned index, const struct key *key, const uint8_t *value,
		 size_t length);
void page_replace(uint8_t *page, unsigned index, const uint8_t *value, size_t length);
void page_remove(uint8_t *page, unsigned index);
/* Move the upper half of @page, by bytes, to the empty @right. @index is where the next cell is to
 * go: at the end of a leaf nothing moves, of an inner page the last cell: what comes in order fills
 * pages. */
void page_split(uint8_t *page, uint8_t *right, unsigned index);

#endif
