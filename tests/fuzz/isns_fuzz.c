/* SPDX-License-Identifier: Apache-2.0 */
/* iSNS: what a server sends, through the header, the attributes and the answer to its questions. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "iscsi/isns.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void walk(const uint8_t *data, size_t size)
{
	struct isns_attribute attribute;
	size_t at = 0;

	while (isns_attribute_next(data, size, &at, &attribute) > 0) {
		assert(at <= size && attribute.value + attribute.length <= data + size);
		(void)isns_attribute_is(&attribute, "granary-0123456789abcdef");
		if (attribute.length >= 4)
			(void)isns_attribute_number(&attribute);
	}
	(void)isns_attribute_find(data, size, ISNS_PERIOD, 4, &attribute);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t answer[ISNS_ANSWER_MAX];
	struct isns_header header;
	size_t length = 0;
	uint8_t *copy = malloc(size + 1); /* its end is where a reader must stop */
	int used;

	if (!copy)
		return 0;
	memcpy(copy, data, size);
	walk(copy, size);
	used = isns_answer(copy, size, answer, &length);
	assert(used <= (int)size && length <= sizeof(answer));
	if (used > 0) {
		assert(isns_header_get(answer, &header) == 0);
		assert(header.function & ISNS_RESPONSE && header.length + ISNS_HEADER == length);
		walk(copy + ISNS_HEADER, (size_t)used - ISNS_HEADER);
	}
	free(copy);
	return 0;
}
