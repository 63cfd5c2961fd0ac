/* SPDX-License-Identifier: Apache-2.0 */
/* Frames of the replication protocol, the checksum put right so that the fields behind it are
 * reached: what decodes encodes to the same bytes. */
#include <stdlib.h>
#include <string.h>

#include "core/bytes.h"
#include "core/crc32c.h"
#include "replication/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t bytes[WIRE_FRAME_MAX], head[WIRE_HEAD_MAX];
	struct wire_message message;
	int64_t length;

	if (size > sizeof bytes)
		return 0;
	memcpy(bytes, data, size);
	wire_decode(bytes, size, &message);
	if (size >= WIRE_HEADER) {
		put32(bytes, WIRE_MAGIC);
		bytes[5] = WIRE_FRAME;
		put32(bytes + 8, (uint32_t)(size - WIRE_HEADER));
		put32(bytes + 12, 0);
		put32(bytes + 12, crc32c(0, bytes, size));
	}
	length = wire_decode(bytes, size, &message);
	if (length > 0) {
		size_t coded = wire_encode(&message, head);

		if (coded + message.data_length != (size_t)length ||
		    memcmp(head, bytes, coded) != 0)
			abort();
	}
	return 0;
}
