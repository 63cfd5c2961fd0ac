/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SHARES_CHECK_H
#define SHARES_CHECK_H

#include "shares/internal.h"

/* The check of a share, inside: check.c walks, check_space.c adds up whose the blocks are. */

/* A growing array. */
struct array {
	void *items;
	size_t size, count, room; /* bytes of one item; items */
};

struct checker {
	struct store *store;
	struct share_check_report *report;
	struct array spans, aside, edges, inodes, names, blobs, orphans, pages, owners, users;
	struct key key; /* where to go on */
	/* the inode whose keys are being looked at */
	struct inode inode;
	bool have_inode;
	uint64_t number, entries, name_bytes, extent_blocks, pieces, aces;
	uint64_t extent_end, reserved_end;
	uint64_t used_blocks, free_blocks;
	uint64_t shared_blocks,
	    shared_counted; /* owners beside the first; as the tree counts them */
	uint64_t blob, blob_bytes;
	size_t blob_index;
	bool users_counted;
	int result;
};

void *check_array_add(struct checker *checker, struct array *array, size_t size);
void check_array_sort(struct array *array); /* by the number each item begins with */
void check_found(struct checker *checker, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* ---- check_space.c ---- */
/* Blocks with one owner; those of an extent that may share them; a key of SPACE_OBJECT. */
void check_space_own(struct checker *checker, uint64_t block, uint64_t count);
void check_space_share(struct checker *checker, uint64_t block, uint64_t count);
void check_space_see(struct checker *checker, const struct key *key, const uint8_t *value,
		     size_t length);
void check_space_compare(struct checker *checker);
/* Blocks that are set aside; and how many of them the volume has no space for, to the report.
 * Context: a fiber, without the lock. */
void check_space_aside(struct checker *checker, uint64_t block, uint64_t count);
int check_space_promised(struct checker *checker);

#endif
