/* SPDX-License-Identifier: Apache-2.0 */
/* What a PACKED message carries, by both methods: its first bytes say which and how much is said to
 * be in it. Whatever comes out is walked as records; what was packed of it unpacks to the same. */
#include <stdlib.h>
#include <string.h>

#include "core/bytes.h"
#include "replication/pack.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void walk(const uint8_t *raw, size_t length)
{
	struct pack_record record;
	size_t at = 0;
	uint8_t seen = 0;

	while (pack_next(raw, length, &at, &record) == 1) {
		if (at > length || record.member >= WIRE_MEMBERS_MAX)
			abort();
		for (size_t i = 0; record.data && i < record.length; i++)
			seen ^= record.data[i];
	}
	(void)seen;
}

static struct unpacker unpacker;

static void there_and_back(struct packer *packer, enum pack_kind kind, const uint8_t *data,
			   size_t size)
{
	struct wire_message message = {.type = WIRE_PACKED, .kind = (uint8_t)kind, .length = size};

	if (size > WIRE_RAW_MAX || (packer->kind == PACK_OFF && packer_open(packer, kind) < 0))
		return;
	memcpy(packer->raw, data, size);
	packer->used = size;
	packer->skip = 0;
	message.data_length = packer_squeeze(packer);
	message.data = packer->packed;
	if (message.data_length &&
	    (unpack(&unpacker, &message) < 0 || memcmp(unpacker.raw, data, size) != 0))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct packer packers[PACK_KINDS];
	struct wire_message message = {.type = WIRE_PACKED};
	enum pack_kind kind = size && data[0] & 1 ? PACK_LZ4 : PACK_ZSTD;

	if (size < 5)
		return 0;
	message.kind = data[0];
	message.length = get32(data + 1);
	message.data = data + 5;
	message.data_length = size - 5;
	if (unpack(&unpacker, &message) == 0)
		walk(unpacker.raw, message.length);
	walk(data + 5, size - 5);
	there_and_back(&packers[kind], kind, data + 5, size - 5);
	return 0;
}
