/* SPDX-License-Identifier: Apache-2.0 */
/* Text keys: any bytes through the parser, the negotiation table and the binary decoders. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "iscsi/keys.h"
#include "iscsi/text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void negotiate(struct text_pair *pairs, int count, enum keys_phase phase, bool discovery)
{
	char room[8192];
	struct text_writer reply = {.data = room, .room = sizeof(room)};
	struct iscsi_params params;
	uint64_t seen = 0;

	keys_defaults(&params);
	params.discovery = discovery;
	for (int i = 0; i < count; i++)
		(void)keys_answer(&params, &seen, phase, &pairs[i], &reply);
	keys_settle(&params);
	assert(reply.length <= reply.room);
	assert(params.send_max >= 512 && params.first_burst <= params.max_burst);
	assert(params.max_outstanding_r2t >= 1 && params.max_outstanding_r2t <= KEYS_R2T_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct text_pair pairs[TEXT_PAIRS_MAX];
	uint8_t bytes[1024];
	char *copy = malloc(size + 1);
	size_t length;
	int count;

	if (!copy)
		return 0;
	memcpy(copy, data, size);
	count = text_parse(copy, size, pairs);
	for (int i = 0; i < count; i++) {
		uint32_t number;

		(void)text_number(pairs[i].value, &number);
		if (text_decode(pairs[i].value, bytes, sizeof(bytes), &length) == 0)
			assert(length <= sizeof(bytes));
	}
	for (unsigned i = 0; i < 4; i++)
		negotiate(pairs, count, i & 1 ? KEYS_LOGIN : KEYS_FULL_FEATURE, i & 2);
	free(copy);
	return 0;
}
