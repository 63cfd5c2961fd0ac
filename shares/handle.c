/* SPDX-License-Identifier: Apache-2.0 */
#include "shares/handle.h"

#include <errno.h>
#include <string.h>

#include "core/bytes.h"
#include "shares/siphash.h"

#define HEAD_BYTES 16u
#define MAC_BYTES  8u

uint64_t handle_volume(const struct vfs *vfs)
{
	return get64(vfs->uuid);
}

void handle_encode(const struct vfs *vfs, const struct handle_parts *parts, struct handle *handle)
{
	uint8_t *bytes = handle->bytes;
	unsigned length = parts->object.length;

	bytes[0] = HANDLE_VERSION;
	bytes[1] = (uint8_t)(parts->flags << 5 | ((length - 1) & 31));
	put16(bytes + 2, parts->export);
	put32(bytes + 4, parts->snapshot);
	put64(bytes + 8, parts->volume);
	memcpy(bytes + HEAD_BYTES, parts->object.bytes, length);
	length += HEAD_BYTES;
	put64(bytes + length, siphash(vfs->secret, bytes, length));
	handle->length = (uint8_t)(length + MAC_BYTES);
}

int handle_peek(const void *data, size_t length, struct handle_parts *ret_parts)
{
	const uint8_t *bytes = data;
	unsigned object;

	if (length <= HEAD_BYTES + MAC_BYTES || length > HANDLE_MAX || bytes[0] != HANDLE_VERSION)
		return -ESTALE;
	object = (bytes[1] & 31u) + 1;
	if (length != HEAD_BYTES + object + MAC_BYTES)
		return -ESTALE;
	*ret_parts = (struct handle_parts){.flags = bytes[1] >> 5,
					   .export = get16(bytes + 2),
					   .snapshot = get32(bytes + 4),
					   .volume = get64(bytes + 8),
					   .object.length = (uint8_t)object};
	memcpy(ret_parts->object.bytes, bytes + HEAD_BYTES, object);
	return 0;
}

int handle_check(const struct vfs *vfs, const void *data, size_t length)
{
	struct handle_parts parts;
	const uint8_t *bytes = data;
	uint64_t good;

	if (handle_peek(data, length, &parts) < 0 || parts.volume != handle_volume(vfs))
		return -ESTALE;
	good = siphash(vfs->secret, data, length - MAC_BYTES);
	return good == get64(bytes + length - MAC_BYTES) ? 0 : -ESTALE;
}
