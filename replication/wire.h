/* SPDX-License-Identifier: Apache-2.0 */
#ifndef REPLICATION_WIRE_H
#define REPLICATION_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The messages of the replication protocol (docs/FORMAT.md, "Replication"). One table of fields
 * per message; integers little-endian. A frame is a header of WIRE_HEADER bytes and a payload:
 *
 *   0 magic  4 type  5 version  6 zero(2)  8 payload length  12 crc32c  16 sequence(8)
 *
 * The crc covers the header (with a zero in its own place) and the payload. The sequence counts
 * the frames of one direction of one connection from 0: a frame that is lost, repeated or out of
 * order ends the connection. Context of everything here: any; nothing allocates. */

#define WIRE_MAGIC       0x47524c31u /* "1LRG" */
#define WIRE_FRAME       1u          /* version of the header above */
#define WIRE_HEADER      24u
#define WIRE_DATA_MAX    (256u << 10) /* bytes of one WRITE */
#define WIRE_PAYLOAD_MAX (288u << 10) /* bytes of any frame */
#define WIRE_FRAME_MAX   (WIRE_HEADER + WIRE_PAYLOAD_MAX)
#define WIRE_WRITE_HEAD  (WIRE_HEADER + 10u) /* bytes in front of a WRITE's data */
#define WIRE_ZERO_HEAD   (WIRE_HEADER + 18u)
#define WIRE_PACKED_HEAD (WIRE_HEADER + 9u)
#define WIRE_HASH        16u   /* bytes of the hash of one slot */
#define WIRE_HASH_SLOTS  4096u /* slots of one HASH_ASK */
#define WIRE_DIGEST      32u   /* SHA-256 of an epoch's records */
#define WIRE_LINEAGE_MAX 32u
#define WIRE_TEXT_MAX    (256u << 10)
#define WIRE_MEMBERS_MAX 64u
#define WIRE_RAW_MAX     (272u << 10) /* bytes of the records of one PACKED, before it was packed */

/* What is said in the frames. A HELLO has the oldest version that the primary can speak, a WELCOME
 * the newest that the standby can: the session's is the newest that both can. Nodes that are one
 * version apart understand each other.
 *   1  as it began
 *   2  PACKED
 *   3  LEASE_ASK, in a connection of its own
 *   4  REKEY, the same
 *   5  ACCESS
 *   6  LAG */
#define WIRE_VERSION        6u
#define WIRE_VERSION_OLDEST 1u
#define WIRE_VERSION_PACKED 2u /* from here on there is PACKED */
#define WIRE_VERSION_LEASE  3u /* and leases */
#define WIRE_VERSION_ACCESS 5u /* and ACCESS */
#define WIRE_VERSION_LAG    6u /* and what is newer than the standby's image, in bytes */

enum wire_type {
	WIRE_HELLO = 1, /* P>S: who I am, which group, what my image descends from */
	WIRE_WELCOME,   /* S>P: what I hold of it */
	WIRE_REFUSE,    /* either: why not; the connection ends */
	WIRE_DEFINE,    /* P>S: the group's definition, JSON */
	WIRE_READY,     /* S>P: members are there, go on */
	WIRE_BEGIN,     /* P>S: an epoch begins; what was sent of one before it is dropped */
	WIRE_WRITE,     /* P>S: bytes */
	WIRE_ZERO,      /* P>S: a range that reads as zeros */
	WIRE_SEAL,      /* P>S: the epoch is complete; its number and digest */
	WIRE_ACK,       /* S>P: it is sealed, durably */
	WIRE_HASH_ASK,  /* P>S: what do you have there? */
	WIRE_HASHES,    /* S>P: a hash per slot of the sealed image */
	WIRE_PING,      /* either: still here; P: nothing newer than epoch at time */
	WIRE_SWITCH,    /* P>S: take over at this epoch, planned */
	WIRE_SWITCHED,  /* S>P: done; my lineage */
	WIRE_PAIR, /* either way, before anything is pinned: proof of the code; docs/FORMAT.md */
	WIRE_PAIRED,
	WIRE_PACKED,    /* P>S: WRITEs and ZEROs in a row, compressed (pack.h) */
	WIRE_LEASE_ASK, /* node of a group > its witness, primary > standby: enum lease_ask */
	WIRE_LEASE,     /* the answer: enum lease_verdict */
	WIRE_REKEY,   /* either way, in a connection of its own: the certificate I am to be known by
		       * from now on, too */
	WIRE_REKEYED, /* it is pinned, durably */
	WIRE_ACCESS,  /* P>S: a part of who is let in and what is reserved (access.h) */
	WIRE_LAG,     /* P>S: so many bytes are newer than the sealed epoch */
	WIRE_TYPE_END
};

enum wire_refusal {
	WIRE_REFUSED_VERSION = 1,
	WIRE_REFUSED_GROUP,   /* belongs to another peer, or the name is taken */
	WIRE_REFUSED_ROLE,    /* I am the primary */
	WIRE_REFUSED_LINEAGE, /* images that do not descend from each other */
	WIRE_REFUSED_SPACE,
	WIRE_REFUSED_STATE,
};

enum wire_begin {
	WIRE_BEGIN_DELTA = 1, /* the next epoch */
	WIRE_BEGIN_SYNC,      /* many epochs in one: everything that differs */
	WIRE_BEGIN_SEED,      /* the same, onto volumes without an image to keep */
};

/* A chain of lineages, oldest first; the last is the present one and has no end. */
struct wire_lineage {
	unsigned count;
	struct {
		uint8_t uuid[16];
		uint64_t fork; /* epoch at which the next one left it; 0 for the last */
	} link[WIRE_LINEAGE_MAX];
};

struct wire_message {
	enum wire_type type;
	uint64_t sequence;
	uint8_t node[16], group[16];
	uint16_t version;
	uint16_t member;
	/* BEGIN: enum wire_begin; REFUSE: enum wire_refusal; WELCOME: role; PACKED: enum pack_kind;
	 * LEASE_ASK: enum lease_ask; LEASE: enum lease_verdict */
	uint8_t kind;
	/* READY: nothing was ever written to the volumes; LEASE: I reach the witness; ACCESS: there
	 * is more of it to come */
	bool fresh;
	uint64_t epoch;          /* SEAL, ACK, PING, SWITCH; WELCOME: the sealed one, 0 = none;
				  * PAIR: my port; LEASE_ASK: sealed there; LEASE: as it was said last */
	uint64_t offset, length; /* bytes; WRITE: length of the data; PACKED: before it was packed;
				  * LEASE_ASK, LEASE: ns */
	uint64_t wall_ns;        /* SEAL: when the epoch was closed; PING: see there; as epoch */
	uint64_t
	    records; /* SEAL: of WRITE and ZERO; LEASE_ASK, LEASE, LAG: bytes newer than epoch */
	uint8_t digest[WIRE_DIGEST];
	struct wire_lineage lineage;
	const uint8_t *
	    data; /* WRITE, HASHES, PACKED: bytes; DEFINE, REFUSE: text, not terminated; borrowed */
	size_t data_length;
};

/* wire_encode: the frame but for its data, which follows it on the wire as it is: at most
 * WIRE_HEAD_MAX bytes into @head. Returns their number. */
#define WIRE_HEAD_MAX (WIRE_HEADER + 1024u)
size_t wire_encode(const struct wire_message *message, uint8_t head[WIRE_HEAD_MAX]);

/* wire_decode: the frame at the start of @bytes. Returns its length with *ret_message filled
 * (data borrowed from @bytes), 0 when more bytes are needed, -EBADMSG for what is no frame of
 * ours, -EPROTO for a message that can not be right, -EPROTONOSUPPORT for another version. */
int64_t wire_decode(const uint8_t *bytes, size_t length, struct wire_message *ret_message);

const char *wire_type_name(unsigned type); /* "?" for none */

#endif
