/* SPDX-License-Identifier: Apache-2.0 */
#ifndef REPLICATION_DIGEST_H
#define REPLICATION_DIGEST_H

#include "replication/wire.h"

/* SHA-256 over the records of an epoch as both sides have them, and of slots. Context: any. */
struct digest {
	void *state; /* NULL: no memory; the result is then all zeros, which no digest is */
	uint64_t records;
};
void digest_begin(struct digest *digest);
/* @data NULL: @length zeros. */
void digest_add(struct digest *digest, uint32_t member, uint64_t offset, uint64_t length,
		const void *data);
/* digest_end: the digest; a new digest_begin() may follow. */
void digest_end(struct digest *digest, uint8_t ret_digest[WIRE_DIGEST]);
void digest_finish(struct digest *digest);

/* digest_slots: WIRE_HASH bytes for each 4 KiB slot of @data. */
void digest_slots(const uint8_t *data, uint64_t length, uint8_t *hashes);

#endif
