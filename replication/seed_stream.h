/* SPDX-License-Identifier: Apache-2.0 */
#ifndef REPLICATION_SEED_STREAM_H
#define REPLICATION_SEED_STREAM_H

#include "core/err.h"
#include "replication/digest.h"
#include "replication/pack.h"
#include "replication/wire.h"

/* A seed as a stream of bytes: the frames that a primary would send, in a file (docs/FORMAT.md,
 * "Seed file"):
 *
 *	HELLO  DEFINE  BEGIN (seed)  WRITE, ZERO, PACKED ...  SEAL
 *
 * Context: a fiber. Where the bytes are is the caller's. */

struct seed_bytes {
	/* Reading: as seed_file_read(). Writing: all of it, or -errno. Either may be NULL. */
	int64_t (*read)(struct seed_bytes *bytes, void *data, size_t length, uint64_t offset);
	int (*write)(struct seed_bytes *bytes, const void *data, size_t length, uint64_t offset);
	void *context;
	int fd;
};

/* What a seed says of itself, and how far it has been gone through. */
struct seed {
	uint8_t node[16], group[16];
	uint64_t epoch, wall_ns;
	struct wire_lineage lineage;
	char *definition;                /* JSON, heap_free */
	uint64_t size[WIRE_MEMBERS_MAX]; /* of the members by index; 0: there is none */
	struct digest digest;
	uint64_t records, data_bytes;
	unsigned member; /* of the last record; and where it ends */
	uint64_t end;
	uint64_t at, frames; /* behind the last whole frame: bytes, and how many there were */
	bool sealed;
};
void seed_finish(struct seed *seed);

/* seed_read: goes through it from its beginning, with @record (or NULL) for each record in order,
 * and checks everything: frames, order, records against the members' sizes, digest, and that it
 * ends there. -EBADMSG (damaged), -ENODATA (it ends too early), -EPROTO (no seed),
 * -EPROTONOSUPPORT, with a sentence; or what @record said (@err is its). @seed holds what was read
 * up to there, for seed_finish(), in any case. @stop is looked at: -ECANCELED. */
struct seed_reading {
	int (*record)(struct seed_reading *reading, const struct pack_record *record,
		      struct err *err);
	bool (*stop)(struct seed_reading *reading);
	uint64_t *progress; /* bytes of the stream; or NULL */
};
int seed_read(struct seed_bytes *bytes, struct seed_reading *reading, struct seed *seed,
	      struct err *err) __attribute__((warn_unused_result));

/* seed_peek: what it says of itself; nothing behind that is looked at. */
int seed_peek(struct seed_bytes *bytes, struct seed *seed, struct err *err)
    __attribute__((warn_unused_result));

/* Writing: seed_begin, or what seed_read() has left of one that ended too early; then records in
 * ascending order, by member and offset; seed_seal. */
struct seed_writer {
	struct seed_bytes *bytes;
	struct seed *seed;
	struct packer packer;
	uint8_t *out;
	size_t used;
	uint64_t at;
};
/* seed_writer_open: at the end of @seed, which is borrowed. -ENOMEM. seed_writer_close: also of one
 * that is zeroed. */
int seed_writer_open(struct seed_writer *writer, struct seed_bytes *bytes, struct seed *seed,
		     enum pack_kind kind) __attribute__((warn_unused_result));
void seed_writer_close(struct seed_writer *writer);
int seed_begin(struct seed_writer *writer) __attribute__((warn_unused_result));
int seed_record(struct seed_writer *writer, const struct pack_record *record)
    __attribute__((warn_unused_result));
/* seed_seal: with it all is written. */
int seed_seal(struct seed_writer *writer) __attribute__((warn_unused_result));

#endif
