/* SPDX-License-Identifier: Apache-2.0 */
#include "replication/pack.h"

#include <errno.h>
#include <lz4.h>
#include <string.h>
#include <zstd.h>

#include "core/bytes.h"
#include "core/heap.h"

#define ZSTD_LEVEL 1
#define RAW_LEAST  256u /* less is not worth a try */
#define SKIP_MAX   31u

static const char *const names[PACK_KINDS] = {"off", "lz4", "zstd"};

const char *pack_kind_name(enum pack_kind kind)
{
	return kind < PACK_KINDS ? names[kind] : "?";
}

int pack_kind_parse(const char *text, enum pack_kind *ret_kind, struct err *err)
{
	for (unsigned i = 0; i < PACK_KINDS; i++) {
		if (strcmp(text, names[i]) != 0)
			continue;
		*ret_kind = (enum pack_kind)i;
		return 0;
	}
	return err_set(err, -EINVAL, "compression is lz4, zstd or off, not %s", text);
}

struct wire_message pack_message(const struct pack_record *record)
{
	return (struct wire_message){.type = record->data ? WIRE_WRITE : WIRE_ZERO,
				     .member = (uint16_t)record->member,
				     .offset = record->offset,
				     .length = record->length,
				     .data = record->data,
				     .data_length = record->data ? record->length : 0};
}

/* ---- records ---- */
int pack_next(const uint8_t *raw, size_t length, size_t *at, struct pack_record *ret_record)
{
	const uint8_t *head = raw + *at;
	struct pack_record record;
	size_t data;

	if (*at == length)
		return 0;
	if (length - *at < PACK_HEAD)
		return -EPROTO;
	record.member = get16(head);
	record.length = get64(head + 4);
	record.offset = get64(head + 12);
	if (head[2] > 1 || head[3] != 0 || record.member >= WIRE_MEMBERS_MAX ||
	    record.length == 0 || record.length % 512 || record.offset % 512 ||
	    record.length > UINT64_MAX / 4 || record.offset > UINT64_MAX / 2)
		return -EPROTO;
	if (!head[2] && record.length > WIRE_DATA_MAX)
		return -EPROTO;
	data = head[2] ? 0 : record.length;
	if (length - *at - PACK_HEAD < data)
		return -EPROTO;
	record.data = head[2] ? NULL : head + PACK_HEAD;
	*at += PACK_HEAD + data;
	*ret_record = record;
	return 1;
}

/* ---- packing ---- */
int packer_open(struct packer *packer, enum pack_kind kind)
{
	*packer = (struct packer){.kind = kind};
	if (kind == PACK_OFF)
		return 0;
	packer->raw = heap_alloc(WIRE_RAW_MAX);
	packer->packed = heap_alloc(WIRE_RAW_MAX);
	packer->state =
	    kind == PACK_LZ4 ? heap_alloc((size_t)LZ4_sizeofState()) : (void *)ZSTD_createCCtx();
	if (packer->raw && packer->packed && packer->state)
		return 0;
	packer_close(packer);
	return -ENOMEM;
}

void packer_close(struct packer *packer)
{
	heap_free(packer->raw);
	heap_free(packer->packed);
	if (packer->kind == PACK_ZSTD)
		ZSTD_freeCCtx(packer->state);
	else
		heap_free(packer->state);
	*packer = (struct packer){0};
}

bool packer_add(struct packer *packer, const struct pack_record *record)
{
	size_t data = record->data ? record->length : 0;
	uint8_t *head = packer->raw + packer->used;

	if (WIRE_RAW_MAX - packer->used < PACK_HEAD + data)
		return false;
	put16(head, (uint16_t)record->member);
	head[2] = record->data == NULL;
	head[3] = 0;
	put64(head + 4, record->length);
	put64(head + 12, record->offset);
	if (data)
		memcpy(head + PACK_HEAD, record->data, data);
	packer->used += PACK_HEAD + data;
	packer->plain += data ? WIRE_WRITE_HEAD + data : WIRE_ZERO_HEAD;
	return true;
}

void packer_clear(struct packer *packer)
{
	packer->used = packer->plain = 0;
}

/* At most @room bytes; 0: it does not fit. */
static size_t compress(struct packer *packer, size_t room)
{
	size_t size;

	if (packer->kind == PACK_LZ4) {
		int result = LZ4_compress_fast_extState(packer->state, (const char *)packer->raw,
							(char *)packer->packed, (int)packer->used,
							(int)room, 1);

		return result > 0 ? (size_t)result : 0;
	}
	size = ZSTD_compressCCtx(packer->state, packer->packed, room, packer->raw, packer->used,
				 ZSTD_LEVEL);
	return ZSTD_isError(size) ? 0 : size;
}

/* Data that does not get smaller comes in long runs: after a miss fewer are tried. */
size_t packer_squeeze(struct packer *packer)
{
	size_t size;

	if (packer->used < RAW_LEAST)
		return 0;
	if (packer->skip > 0) {
		packer->skip--;
		return 0;
	}
	size = compress(packer, packer->used - packer->used / 16);
	if (size == 0) {
		packer->misses = packer->misses * 2 + 1;
		packer->misses = packer->misses < SKIP_MAX ? packer->misses : SKIP_MAX;
		packer->skip = packer->misses;
	} else {
		packer->misses = 0;
	}
	return size;
}

/* ---- unpacking ---- */
static int prepare(struct unpacker *unpacker, uint8_t kind)
{
	if (!unpacker->raw)
		unpacker->raw = heap_alloc(WIRE_RAW_MAX);
	if (kind == PACK_ZSTD && !unpacker->zstd)
		unpacker->zstd = ZSTD_createDCtx();
	return unpacker->raw && (kind != PACK_ZSTD || unpacker->zstd) ? 0 : -ENOMEM;
}

/* Both write into raw alone, as much as there was said to be and no more. */
int unpack(struct unpacker *unpacker, const struct wire_message *message)
{
	size_t size = 0;
	int result;

	if (message->length == 0 || message->length > WIRE_RAW_MAX ||
	    (message->kind != PACK_LZ4 && message->kind != PACK_ZSTD))
		return -EPROTO;
	result = prepare(unpacker, message->kind);
	if (result < 0)
		return result;
	if (message->kind == PACK_LZ4) {
		result = LZ4_decompress_safe((const char *)message->data, (char *)unpacker->raw,
					     (int)message->data_length, (int)message->length);
		size = result > 0 ? (size_t)result : 0;
	} else {
		size = ZSTD_decompressDCtx(unpacker->zstd, unpacker->raw, message->length,
					   message->data, message->data_length);
	}
	return size == message->length ? 0 : -EPROTO;
}

void unpacker_close(struct unpacker *unpacker)
{
	ZSTD_freeDCtx(unpacker->zstd);
	heap_free(unpacker->raw);
	*unpacker = (struct unpacker){0};
}
