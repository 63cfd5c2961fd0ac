/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SHARES_HANDLE_H
#define SHARES_HANDLE_H

#include "shares/vfs.h"

/* File handles as clients keep them: opaque, at most 56 bytes (RFC 1813 2.4 allows 64, some clients
 * 56), good as long as the object is, on whatever machine the share is served.
 *
 *   0 version  1 flags (3 bits) and object length (5 bits, less one)  2 export  4 snapshot
 *   8 volume   16 object   then 8 bytes SipHash of all before, with the vfs's secret
 *
 * A handle nobody gave out is -ESTALE, as is a damaged one: who guesses learns nothing. */
#define HANDLE_MAX     56u
#define HANDLE_VERSION 1u

struct handle {
	uint8_t length;
	uint8_t bytes[HANDLE_MAX];
};

struct handle_parts {
	uint8_t flags;     /* 0..7, the server's */
	uint16_t export;   /* the server's number for it */
	uint32_t snapshot; /* 0: none */
	uint64_t volume;   /* handle_volume() of the vfs */
	struct vfs_object object;
};

/* The part of a vfs's uuid that handles carry. */
uint64_t handle_volume(const struct vfs *vfs);
void handle_encode(const struct vfs *vfs, const struct handle_parts *parts,
		   struct handle *ret_handle);
/* handle_peek: what @bytes claims, to find its vfs by; nothing of it may be believed before
 * handle_check(). Both 0 or -ESTALE; for any length. */
int handle_peek(const void *bytes, size_t length, struct handle_parts *ret_parts);
int handle_check(const struct vfs *vfs, const void *bytes, size_t length);

#endif
