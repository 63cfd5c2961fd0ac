/* SPDX-License-Identifier: Apache-2.0 */
/* A piece of an upload as it comes on the sockets, base64. What is taken is within its bound, and
 * is the same text again when it is written; the first two bytes are the bound. */
#include <assert.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "core/heap.h"
#include "core/piece.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void same_again(const char *text, const uint8_t *piece, size_t length)
{
	char *again = malloc((length + 2) / 3 * 4 + 1);
	size_t last = strlen(text), kept;

	assert(again);
	EVP_EncodeBlock((unsigned char *)again, piece, (int)length);
	assert(strlen(again) == last);
	/* Bits of the last digit that are in no byte may be any. */
	kept = length % 3 ? last - 4 + length % 3 : last;
	assert(memcmp(again, text, kept) == 0 && strcspn(again, "=") == strcspn(text, "="));
	free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t most = size < 2 ? 0 : data[0] | (size_t)data[1] << 8, length = 0;
	uint8_t *piece = NULL;
	char *text;

	if (size < 2)
		return 0;
	text = malloc(size - 1);
	if (!text)
		return 0;
	memcpy(text, data + 2, size - 2);
	text[size - 2] = '\0';
	if (piece_decode(text, most, &piece, &length) == 0) {
		assert(piece && length > 0 && length <= most);
		same_again(text, piece, length);
	} else {
		assert(!piece && !length);
	}
	heap_free(piece);
	free(text);
	return 0;
}
