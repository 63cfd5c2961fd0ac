/* SPDX-License-Identifier: Apache-2.0 */
#include "replication/digest.h"

#include <openssl/evp.h>
#include <openssl/sha.h>
#include <pthread.h>
#include <string.h>

#include "core/bytes.h"
#include "volumes/volume_io.h"

void digest_begin(struct digest *digest)
{
	digest->records = 0;
	if (!digest->state)
		digest->state = EVP_MD_CTX_new();
	if (digest->state && EVP_DigestInit_ex(digest->state, EVP_sha256(), NULL) != 1)
		digest_finish(digest);
}

void digest_add(struct digest *digest, uint32_t member, uint64_t offset, uint64_t length,
		const void *data)
{
	uint8_t head[24];

	put32(head, member);
	put32(head + 4, data != NULL);
	put64(head + 8, offset);
	put64(head + 16, length);
	digest->records++;
	if (!digest->state)
		return;
	if (EVP_DigestUpdate(digest->state, head, sizeof head) != 1 ||
	    (data && EVP_DigestUpdate(digest->state, data, length) != 1))
		digest_finish(digest);
}

void digest_end(struct digest *digest, uint8_t ret_digest[WIRE_DIGEST])
{
	unsigned length = 0;

	memset(ret_digest, 0, WIRE_DIGEST);
	if (digest->state && EVP_DigestFinal_ex(digest->state, ret_digest, &length) != 1)
		memset(ret_digest, 0, WIRE_DIGEST);
}

void digest_finish(struct digest *digest)
{
	EVP_MD_CTX_free(digest->state);
	digest->state = NULL;
}

static uint8_t zero_hash[WIRE_HASH];

static void slot_hash(const uint8_t *slot, uint8_t hash[WIRE_HASH])
{
	uint8_t whole[SHA256_DIGEST_LENGTH];

	SHA256(slot, VOLUME_SLOT, whole);
	memcpy(hash, whole, WIRE_HASH);
}

static void hash_zeros(void)
{
	static const uint8_t zeros[VOLUME_SLOT];

	slot_hash(zeros, zero_hash);
}

/* A thin volume is zeros for the most part, and their hash is known. */
void digest_slots(const uint8_t *data, uint64_t length, uint8_t *hashes)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, hash_zeros);
	for (uint64_t at = 0; at < length; at += VOLUME_SLOT, hashes += WIRE_HASH) {
		if (all_zero(data + at, VOLUME_SLOT))
			memcpy(hashes, zero_hash, WIRE_HASH);
		else
			slot_hash(data + at, hashes);
	}
}
