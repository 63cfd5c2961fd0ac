/* SPDX-License-Identifier: Apache-2.0 */
#ifndef APPLIANCE_PAYLOAD_H
#define APPLIANCE_PAYLOAD_H

#include <jansson.h>
#include <stdint.h>

#include "core/err.h"

/* What the installer writes: files of the medium, each cut into pieces that lie behind each other
 * in it and have their places on the disk. payload.json names them:
 *   {"format":1, "version":"0.1.0", "size":8589934592,
 *    "files":[{"name":"disk.img", "sha256":"hex", "pieces":[[0, 2097152], [134217728, ...]]}]}
 * size: bytes the disk has at least; a piece: its offset on the disk and its length, bytes. */
#define PAYLOAD_FILES  4
#define PAYLOAD_PIECES 1024

struct payload_piece {
	uint64_t offset, length; /* bytes, multiples of 512 */
};

struct payload_file {
	char name[64];
	uint8_t sha256[32];
	unsigned first, count; /* of the pieces */
};

struct payload {
	char version[32];
	uint64_t size;
	unsigned file_count, piece_count;
	struct payload_file files[PAYLOAD_FILES];
	struct payload_piece pieces[PAYLOAD_PIECES];
};

/* payload_parse: -EPROTO with a sentence; nothing of a payload lies beyond its size. */
int payload_parse(const json_t *object, struct payload *ret_payload, struct err *err)
    __attribute__((warn_unused_result));

/* payload_write: the files of the folder @medium to @disk, each hashed on its way, then made
 * durable, read back and hashed again. The first MiB of the disk, without which it is no disk to
 * start from, is written last. @progress gets percents. Blocking.
 * Errors: -EBADMSG the medium is damaged, -EIO the disk does not give back what was written. */
int payload_write(const struct payload *payload, int medium, int disk,
		  void (*progress)(unsigned percent), struct err *err)
    __attribute__((warn_unused_result));

#endif
