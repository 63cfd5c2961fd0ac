/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BENCH_PAYLOAD_H
#define BENCH_PAYLOAD_H

#include <stddef.h>
#include <stdint.h>

#include "core/err.h"

/* A 512-byte block that proves itself: where it belongs, which write put it there, and a crc over
 * the whole block. Found at another place, half old, or damaged, it is seen. */
#define PAYLOAD_BLOCK 512u

/* payload_fill: @length bytes (a multiple of 512) for the blocks from @lba on. */
void payload_fill(void *data, size_t length, uint64_t lba, uint64_t generation);

enum payload_state {
	PAYLOAD_OK = 0,    /* every block is of the wanted generation */
	PAYLOAD_UNWRITTEN, /* all zeros */
	PAYLOAD_BAD,       /* @err says what and where */
};
/* What payload_check takes for @generation when any is fine. */
#define PAYLOAD_ANY UINT64_MAX
enum payload_state payload_check(const void *data, size_t length, uint64_t lba, uint64_t generation,
				 struct err *err);

#endif
