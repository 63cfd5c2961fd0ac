/* SPDX-License-Identifier: Apache-2.0 */
#include "core/piece.h"

#include <errno.h>
#include <openssl/evp.h>
#include <string.h>

#include "core/heap.h"

int piece_decode(const char *text, size_t most, uint8_t **ret_data, size_t *ret_length)
{
	static const char digits[] =
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	size_t length = strlen(text), used = strspn(text, digits), padding = length - used;
	uint8_t *data;

	if (!length || length % 4 != 0 || padding > 2 || strspn(text + used, "=") != padding ||
	    length / 4 * 3 - padding > most)
		return -EINVAL;
	data = heap_alloc(length / 4 * 3); /* what is decoded ends at a multiple of three bytes */
	if (!data)
		return -ENOMEM;
	EVP_DecodeBlock(data, (const unsigned char *)text, (int)length);
	*ret_data = data;
	*ret_length = length / 4 * 3 - padding;
	return 0;
}
