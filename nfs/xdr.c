/* SPDX-License-Identifier: Apache-2.0 */
#include "nfs/xdr.h"

#include <endian.h>
#include <string.h>

void xdr_in_init(struct xdr_in *in, const void *data, size_t length)
{
	const uint8_t *bytes = data;

	*in = (struct xdr_in){.at = bytes, .limit = bytes + length, .end = bytes + length};
}

void xdr_in_set_payload(struct xdr_in *in, size_t at, const void *payload, uint32_t length)
{
	if (at > xdr_left(in)) {
		in->bad = true;
		return;
	}
	in->limit = in->at + at;
	in->payload = payload;
	in->payload_length = length;
}

static const uint8_t *take(struct xdr_in *in, size_t length)
{
	const uint8_t *data = in->at;

	if (in->bad || xdr_left(in) < length) {
		in->bad = true;
		return NULL;
	}
	in->at += length;
	return data;
}

uint32_t xdr_get_u32(struct xdr_in *in)
{
	const uint8_t *data = take(in, sizeof(uint32_t));
	uint32_t value = 0;

	if (data)
		memcpy(&value, data, sizeof(value));
	return be32toh(value);
}

uint64_t xdr_get_u64(struct xdr_in *in)
{
	const uint8_t *data = take(in, sizeof(uint64_t));
	uint64_t value = 0;

	if (data)
		memcpy(&value, data, sizeof(value));
	return be64toh(value);
}

bool xdr_get_bool(struct xdr_in *in)
{
	uint32_t value = xdr_get_u32(in);

	if (value > 1)
		in->bad = true;
	return value == 1;
}

const uint8_t *xdr_get_fixed(struct xdr_in *in, size_t length)
{
	if (length > SIZE_MAX - 3) {
		in->bad = true;
		return NULL;
	}
	return take(in, (length + 3) & ~(size_t)3);
}

const uint8_t *xdr_get_opaque(struct xdr_in *in, uint32_t max, uint32_t *ret_length)
{
	uint32_t length = xdr_get_u32(in);
	const uint8_t *data = NULL;

	if (length > max)
		in->bad = true;
	else
		data = xdr_get_fixed(in, length);
	*ret_length = in->bad ? 0 : length;
	return data;
}

const uint8_t *xdr_get_payload(struct xdr_in *in, uint32_t max, uint32_t *ret_length)
{
	const uint8_t *payload = in->payload;
	uint32_t length;

	if (!payload || xdr_left(in) != sizeof(uint32_t))
		return xdr_get_opaque(in, max, ret_length);
	length = xdr_get_u32(in);
	*ret_length = 0;
	if (in->bad || length != in->payload_length || length > max) {
		in->bad = true;
		return NULL;
	}
	in->limit = in->end;
	in->payload = NULL;
	*ret_length = length;
	return payload;
}

void xdr_out_init(struct xdr_out *out, void *data, size_t room)
{
	uint8_t *bytes = data;

	*out = (struct xdr_out){.base = bytes, .at = bytes, .end = bytes + room};
}

uint8_t *xdr_put_room(struct xdr_out *out, size_t length)
{
	uint8_t *room;

	if (out->full)
		return NULL;
	if ((size_t)(out->end - out->at) < length && (!out->grow || !out->grow(out, length))) {
		out->full = true;
		return NULL;
	}
	room = out->at;
	out->at += length;
	return room;
}

void xdr_put_u32(struct xdr_out *out, uint32_t value)
{
	uint8_t *room = xdr_put_room(out, sizeof(value));

	value = htobe32(value);
	if (room)
		memcpy(room, &value, sizeof(value));
}

void xdr_put_u64(struct xdr_out *out, uint64_t value)
{
	uint8_t *room = xdr_put_room(out, sizeof(value));

	value = htobe64(value);
	if (room)
		memcpy(room, &value, sizeof(value));
}

void xdr_put_bool(struct xdr_out *out, bool value)
{
	xdr_put_u32(out, value);
}

void xdr_put_fixed(struct xdr_out *out, const void *data, size_t length)
{
	size_t padding = -length & 3u;
	uint8_t *room = xdr_put_room(out, length + padding);

	if (!room)
		return;
	if (length)
		memcpy(room, data, length);
	memset(room + length, 0, padding);
}

void xdr_put_opaque(struct xdr_out *out, const void *data, uint32_t length)
{
	xdr_put_u32(out, length);
	xdr_put_fixed(out, data, length);
}

void xdr_put_string(struct xdr_out *out, const char *text)
{
	xdr_put_opaque(out, text, (uint32_t)strlen(text));
}

void xdr_patch_u32(struct xdr_out *out, size_t offset, uint32_t value)
{
	value = htobe32(value);
	if (!out->full && offset + sizeof(value) <= xdr_length(out))
		memcpy(out->base + offset, &value, sizeof(value));
}

void xdr_truncate(struct xdr_out *out, size_t offset)
{
	if (offset > xdr_length(out))
		return;
	out->at = out->base + offset;
	out->full = false;
}
