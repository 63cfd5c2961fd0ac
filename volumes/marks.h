/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VOLUMES_MARKS_H
#define VOLUMES_MARKS_H

#include <stdbool.h>
#include <stdint.h>

/* Which chunks of a volume are still to be sent: a sparse bitmap, one bit per MARKS_CHUNK bytes.
 * It may say more than is true, never less: when there is no memory for a part of it, that part
 * is marked as a whole. Not locked: the owner's lock covers it. */
#define MARKS_CHUNK (64u << 10)

struct marks {
	uint64_t size; /* bytes of the volume */
	uint64_t leaf_count;
	uint64_t **leaves; /* NULL: none marked; &marks_all: all of them */
	uint64_t count;    /* chunks marked */
};

int marks_init(struct marks *marks, uint64_t size_bytes) __attribute__((warn_unused_result));
void marks_finish(struct marks *marks);
/* marks_grow: the volume has @size_bytes now; what is new is not marked. -ENOMEM: as before. */
int marks_grow(struct marks *marks, uint64_t size_bytes) __attribute__((warn_unused_result));

/* Every chunk that the range touches. marks_clear() clears chunks that lie in the range whole
 * (the volume's last one may be short); -ENOMEM: some stay marked. */
void marks_set(struct marks *marks, uint64_t offset, uint64_t length);
int marks_clear(struct marks *marks, uint64_t offset, uint64_t length);
void marks_set_all(struct marks *marks);
void marks_clear_all(struct marks *marks);
bool marks_any(const struct marks *marks, uint64_t offset, uint64_t length);

/* marks_next: the first run of marked chunks at or behind byte @from, at most @most bytes of it;
 * false: there is none. */
bool marks_next(const struct marks *marks, uint64_t from, uint64_t most, uint64_t *ret_offset,
		uint64_t *ret_length);
uint64_t marks_bytes(const struct marks *marks); /* marked, at most the volume's size */

#endif
