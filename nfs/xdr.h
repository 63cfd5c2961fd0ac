/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NFS_XDR_H
#define NFS_XDR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* XDR (RFC 4506), bounds-checked. Both directions remember the first failure: a decoder that has
 * gone bad returns zeros, an encoder that is full writes nothing, and the caller looks once at
 * the end. Pure functions. */

/* A record to decode. Its bulk payload may have been received apart (aligned, where it will be
 * written from): then the record's bytes lack it, and reading stops at @limit until
 * xdr_get_payload() has passed over it. */
struct xdr_in {
	const uint8_t *at, *limit, *end;
	const uint8_t *payload; /* NULL: none apart, or already taken */
	uint32_t payload_length;
	bool bad;
};

void xdr_in_init(struct xdr_in *in, const void *data, size_t length);
/* xdr_in_set_payload: @payload belongs behind its length word, which ends @at bytes into the
 * record; its padding is left out of the record too. */
void xdr_in_set_payload(struct xdr_in *in, size_t at, const void *payload, uint32_t length);

uint32_t xdr_get_u32(struct xdr_in *in);
uint64_t xdr_get_u64(struct xdr_in *in);
bool xdr_get_bool(struct xdr_in *in); /* bad unless 0 or 1 */
/* Fixed opaque; NULL when bad. xdr_get_opaque: variable, bad when longer than @max. What is
 * returned points into the record. */
const uint8_t *xdr_get_fixed(struct xdr_in *in, size_t length);
const uint8_t *xdr_get_opaque(struct xdr_in *in, uint32_t max, uint32_t *ret_length);
/* The same for the bulk data of a WRITE, wherever it was received. */
const uint8_t *xdr_get_payload(struct xdr_in *in, uint32_t max, uint32_t *ret_length);
static inline size_t xdr_left(const struct xdr_in *in)
{
	return (size_t)(in->limit - in->at);
}

/* An encoder into @base .. @end. @grow: makes room for @need more bytes by moving what is there
 * (it changes base, at and end); NULL or false: the encoder is full. */
struct xdr_out {
	uint8_t *base, *at, *end;
	bool (*grow)(struct xdr_out *out, size_t need);
	bool full;
};

void xdr_out_init(struct xdr_out *out, void *data, size_t room);
/* Room for @length bytes at the cursor, which moves; NULL when full. */
uint8_t *xdr_put_room(struct xdr_out *out, size_t length);
void xdr_put_u32(struct xdr_out *out, uint32_t value);
void xdr_put_u64(struct xdr_out *out, uint64_t value);
void xdr_put_bool(struct xdr_out *out, bool value);
void xdr_put_fixed(struct xdr_out *out, const void *data, size_t length); /* padded */
void xdr_put_opaque(struct xdr_out *out, const void *data, uint32_t length);
void xdr_put_string(struct xdr_out *out, const char *text);
static inline size_t xdr_length(const struct xdr_out *out)
{
	return (size_t)(out->at - out->base);
}
/* Overwrite the word at @offset; take back everything from @offset on. */
void xdr_patch_u32(struct xdr_out *out, size_t offset, uint32_t value);
void xdr_truncate(struct xdr_out *out, size_t offset);

static inline uint32_t xdr_padding(uint32_t length)
{
	return -length & 3u;
}

#endif
