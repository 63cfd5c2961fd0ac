/* SPDX-License-Identifier: Apache-2.0 */
/* probe.c: what a host asks of a LUN, one function a question (probe.h has the rules). Hosts may
 * be at work on the LUN meanwhile, so nothing here changes what they could notice. */
#include <stdio.h>
#include <string.h>

#include "target/probe.h"
#include "target/wire.h"

#define CDB(...)      ((const uint8_t[16]){__VA_ARGS__})
#define RACES_MAX     3u
#define DISK          0x00
#define CDROM         0x05
#define WRITE_PROTECT 0x80
#define LIST_ID       0x47726368u /* of the copies */

static void inquiry(struct check *check, uint8_t page)
{
	probe_send(check, CDB(0x12, page ? 1 : 0, page, 2));
}

/* A command that names the LUN's size or its last block. */
static void put_lba(uint8_t cdb[16], uint64_t lba, uint32_t blocks)
{
	put_be64(cdb + 2, lba);
	put_be32(cdb + 10, blocks);
}

/* True: it was said that the LUN can not be written. */
static bool is_read_only(struct check *check)
{
	if (!check->cdrom && !check->read_only)
		return false;
	probe_bad(check, check->cdrom ? "a CD-ROM is never written" : "the LUN is read only");
	return true;
}

static bool has_no_size(struct check *check)
{
	if (check->blocks)
		return false;
	probe_bad(check, "not tried: the capacity is not known");
	return true;
}

/* ---- what it is */

void probe_disk(struct check *check)
{
	const uint8_t *in = check->in;

	if (check->step == 0) {
		inquiry(check, 0);
		return;
	}
	if (!probe_answered(check, 36, "INQUIRY"))
		return;
	check->cdrom = (in[0] & 0x1f) == CDROM;
	if ((in[0] & 0x1f) == DISK)
		probe_good(check, "%.8s %.16s, a disk", in + 8, in + 16);
	else
		probe_bad(check, check->cdrom ? "it is a CD-ROM; map the volume without --cdrom"
					      : "it is no disk");
}

/* The logical unit's NAA name among the designators of VPD page 83h (SPC-4 7.8.6). */
static const uint8_t *find_naa(const struct check *check)
{
	uint32_t end = 4u + get_be16(check->in + 2);

	if (end > check->in_length)
		end = check->in_length;
	for (uint32_t at = 4; at + 4 <= end && at + 4 + check->in[at + 3] <= end;
	     at += 4u + check->in[at + 3])
		if ((check->in[at + 1] & 0x3f) == 0x03 && check->in[at + 3] >= 8)
			return check->in + at;
	return NULL;
}

void probe_identity(struct check *check)
{
	const uint8_t *naa;
	char name[33] = "";

	if (check->step == 0) {
		inquiry(check, 0x83);
		return;
	}
	if (!probe_answered(check, 8, "INQUIRY, VPD page 83h"))
		return;
	naa = find_naa(check);
	if (!naa) {
		probe_bad(check, "VPD page 83h has no NAA name of the unit");
		return;
	}
	for (unsigned i = 0; i < naa[3] && i < 16; i++)
		snprintf(name + 2 * (size_t)i, 3, "%02x", naa[4 + i]);
	probe_good(check, "naa.%s", name);
}

void probe_number(struct check *check)
{
	unsigned most = profile_lun_max(check);

	if (check->lun <= most)
		probe_good(check, "%u, of at most %u", check->lun, most);
	else
		probe_bad(check, "%u, and the host looks no further than %u", check->lun, most);
}

void probe_ready(struct check *check)
{
	if (check->step == 0)
		probe_send(check, CDB(0x00));
	else if (check->step == 1 && probe_answered(check, 0, "TEST UNIT READY"))
		probe_send(check, CDB(0x1b, 0, 0, 0, 1)); /* START */
	else if (check->step == 2 && probe_answered(check, 0, "START STOP UNIT"))
		probe_good(check, "ready");
}

/* Of a CD-ROM only the first, with 2048-byte blocks. */
void probe_capacity(struct check *check)
{
	uint32_t size;

	if (check->step == 0) {
		probe_send(check, CDB(0x25));
	} else if (check->step == 1) {
		if (!probe_answered(check, 8, "READ CAPACITY(10)"))
			return;
		size = get_be32(check->in + 4);
		if (size != VOLUME_BLOCK)
			probe_bad(check, "blocks of %u bytes", size);
		else
			probe_send(check, CDB(0x9e, 0x10, [13] = 32));
	} else if (probe_answered(check, 32, "READ CAPACITY(16)")) {
		check->blocks = get_be64(check->in) + 1;
		probe_good(check, "%llu MiB in blocks of 512 bytes, physical ones of %u, %s",
			   (unsigned long long)(check->blocks >> 11),
			   VOLUME_BLOCK << (check->in[13] & 0x0f),
			   check->in[14] & 0x80 ? "thin" : "not thin");
	}
}

/* ---- data */

void probe_read(struct check *check)
{
	uint8_t cdb[16] = {0x88};

	if (has_no_size(check))
		return;
	if (check->step > 0 && !probe_answered(check, VOLUME_BLOCK, "READ(16)"))
		return;
	if (check->step == 2) {
		probe_good(check, "the first and the last block");
		return;
	}
	put_lba(cdb, check->step == 0 ? 0 : check->blocks - 1, 1);
	probe_send(check, cdb);
}

/* Block 0 becomes what it is, in one atomic step; a host that writes there at that moment makes it
 * a MISCOMPARE, and keeps what it wrote. */
static void write_to_itself(struct check *check)
{
	uint8_t *out;

	if (!probe_answered(check, VOLUME_BLOCK, "READ(16)"))
		return;
	out = probe_out(check, 2 * VOLUME_BLOCK);
	memcpy(out, check->in, VOLUME_BLOCK);
	memcpy(out + VOLUME_BLOCK, check->in, VOLUME_BLOCK);
	probe_send(check, CDB(0x89, [13] = 1));
}

/* True when it is worth another READ. */
static bool raced(struct check *check)
{
	return check->status == SCSI_CHECK_CONDITION && check->key == SENSE_MISCOMPARE &&
	       ++check->races <= RACES_MAX;
}

/* Steps @first (sends the READ) to @first + 2 (the answer to COMPARE AND WRITE). */
static bool compare_and_write(struct check *check, unsigned first)
{
	if (check->step == first + 2 && raced(check))
		check->step = first;
	if (check->step == first) {
		probe_send(check, CDB(0x88, [13] = 1));
		return false;
	}
	if (check->step == first + 1) {
		write_to_itself(check);
		return false;
	}
	return probe_answered(check, 0, "COMPARE AND WRITE");
}

void probe_write(struct check *check)
{
	if (check->step == 0) {
		check->races = 0;
		if (!check->cdrom)
			probe_send(check, CDB(0x5a, 0x08, 0x3f, [8] = 252));
		else
			is_read_only(check);
		return;
	}
	if (check->step == 1) {
		if (!probe_answered(check, 8, "MODE SENSE(10)"))
			return;
		check->read_only = check->in[3] & WRITE_PROTECT;
		if (is_read_only(check))
			return;
	}
	if (compare_and_write(check, 1))
		probe_good(check, "a block was written with what it holds");
}

void probe_ats(struct check *check)
{
	unsigned blocks;

	if (check->step == 0) {
		check->races = 0;
		if (!is_read_only(check))
			inquiry(check, 0xb0);
		return;
	}
	if (check->step == 1) {
		if (!probe_answered(check, 16, "INQUIRY, VPD page B0h"))
			return;
		blocks = check->in[5];
		if (blocks == 0) {
			probe_bad(check, "VPD page B0h says 0 blocks for COMPARE AND WRITE");
			return;
		}
	}
	if (compare_and_write(check, 1))
		probe_good(check, "COMPARE AND WRITE of a block with itself");
}

void probe_flush(struct check *check)
{
	if (check->step == 0)
		probe_send(check, CDB(0x35));
	else if (check->step == 1 && probe_answered(check, 0, "SYNCHRONIZE CACHE(10)"))
		probe_send(check, CDB(0x5a, 0x08, 0x08, [8] = 252));
	else if (check->step == 2 && probe_answered(check, 12, "MODE SENSE(10), caching page"))
		probe_good(check, "SYNCHRONIZE CACHE; the write cache is %s",
			   check->in[8 + 2] & 0x04 ? "on" : "off");
}

/* For hosts that send no flush of their own behind what their guests have flushed. */
void probe_stable(struct check *check)
{
	if (check->step == 0)
		probe_send(check, CDB(0x5a, 0x08, 0x08, [8] = 252));
	else if (!probe_answered(check, 12, "MODE SENSE(10), caching page"))
		return;
	else if (check->in[8 + 2] & 0x04)
		probe_bad(check,
			  "the write cache is on: a write is safe after a flush, and a power "
			  "loss before one loses it (lun set --write-cache off)");
	else
		probe_good(check, "the write cache is off: a write is safe with its GOOD");
}

/* ---- reservations */

static void register_key(struct check *check, uint64_t from, uint64_t to)
{
	uint8_t *out = probe_out(check, 24);

	put_be64(out, from);
	put_be64(out + 8, to);
	out[20] = check->persistent; /* APTPL */
	probe_send(check, CDB(0x5f, 0x00, [8] = 24));
}

void probe_unregister(struct check *check)
{
	register_key(check, check->key_used, 0);
}

/* Where hosts are registered nothing is tried: REGISTER would set APTPL for all of them. */
void probe_reservations(struct check *check)
{
	uint32_t length;

	switch (check->step) {
	case 0:
		probe_send(check, CDB(0x5e, 0x02, [8] = 8));
		break;
	case 1:
		if (!probe_answered(check, 8, "PERSISTENT RESERVE IN, REPORT CAPABILITIES"))
			break;
		check->persistent = check->in[2] & 1; /* PTPL_C */
		probe_send(check, CDB(0x5e, 0x00, [7] = 0x10));
		break;
	case 2:
		if (!probe_answered(check, 8, "PERSISTENT RESERVE IN, READ KEYS"))
			break;
		length = get_be32(check->in + 4);
		if (length > 0) {
			probe_good(check, "in use: %u registrations, nothing was tried",
				   length / 8);
			break;
		}
		loop_random(check->loop, &check->key_used, sizeof(check->key_used));
		check->key_used |= 1;
		register_key(check, 0, check->key_used);
		break;
	case 3:
		if (probe_answered(check, 0, "PERSISTENT RESERVE OUT, REGISTER"))
			probe_unregister(check);
		else
			check->unregistered = true; /* it never was */
		break;
	default:
		check->unregistered = check->status == SCSI_GOOD;
		if (probe_answered(check, 0, "PERSISTENT RESERVE OUT, REGISTER of key 0"))
			probe_good(check, "registered and left again; %s power loss",
				   check->persistent ? "survives" : "does not survive");
	}
}

/* ---- thin provisioning and offloads */

/* The commands that VPD page B2h promises: LBPU, LBPWS. */
static bool promises(struct check *check, uint8_t bit, const char *name)
{
	if (!probe_answered(check, 8, "INQUIRY, VPD page B2h"))
		return false;
	if (check->in[5] & bit)
		return true;
	probe_bad(check, "VPD page B2h says there is no %s", name);
	return false;
}

/* One descriptor of no blocks. */
void probe_unmap(struct check *check)
{
	uint8_t *out;

	if (is_read_only(check))
		return;
	if (check->step == 0) {
		inquiry(check, 0xb2);
	} else if (check->step == 1) {
		if (!promises(check, 0x80, "UNMAP"))
			return;
		out = probe_out(check, 24);
		put_be16(out, 22);
		put_be16(out + 2, 16);
		probe_send(check, CDB(0x42, [8] = 24));
	} else if (probe_answered(check, 0, "UNMAP")) {
		probe_good(check, "UNMAP");
	}
}

/* The first block past the end: only a LUN that has the command says so. */
void probe_write_same(struct check *check)
{
	uint8_t cdb[16] = {0x93, 0x08};

	if (is_read_only(check) || has_no_size(check))
		return;
	if (check->step == 0) {
		inquiry(check, 0xb2);
	} else if (check->step == 1) {
		if (!promises(check, 0x40, "WRITE SAME(16) with UNMAP"))
			return;
		probe_out(check, VOLUME_BLOCK);
		put_lba(cdb, check->blocks, 1);
		probe_send(check, cdb);
	} else if (check->status == SCSI_CHECK_CONDITION && check->key == SENSE_ILLEGAL_REQUEST &&
		   check->asc == ASC_LBA_OUT_OF_RANGE) {
		probe_good(check, "WRITE SAME(16), with and without UNMAP");
	} else if (probe_answered(check, 0, "WRITE SAME(16)")) {
		probe_bad(check, "WRITE SAME(16): a block past the end was taken");
	}
}

/* An empty parameter list is no error, and copies nothing. */
void probe_copy(struct check *check)
{
	if (check->step == 0)
		probe_send(check, CDB(0x84, 0x03, [12] = 2));
	else if (check->step == 1 && probe_answered(check, 44, "RECEIVE COPY OPERATING PARAMETERS"))
		probe_send(check, CDB(0x83));
	else if (check->step == 2 && probe_answered(check, 0, "EXTENDED COPY"))
		probe_good(check, "EXTENDED COPY");
}

/* A token for block 0, which is not used. */
void probe_token(struct check *check)
{
	uint8_t cdb[16] = {0x83, 0x10, [13] = 32}, *out;

	if (check->step == 0) {
		inquiry(check, 0x8f);
	} else if (check->step == 1) {
		if (!probe_answered(check, 8, "INQUIRY, VPD page 8Fh"))
			return;
		out = probe_out(check, 32);
		put_be16(out, 30);
		put_be16(out + 14, 16);
		put_be32(out + 24, 1);
		put_be32(cdb + 6, LIST_ID);
		probe_send(check, cdb);
	} else if (check->step == 2) {
		if (!probe_answered(check, 0, "POPULATE TOKEN"))
			return;
		cdb[0] = 0x84;
		cdb[1] = 0x07;
		put_be32(cdb + 2, LIST_ID);
		put_be32(cdb + 6, 0);
		put_be32(cdb + 10, 1024);
		probe_send(check, cdb);
	} else if (probe_answered(check, 512, "RECEIVE ROD TOKEN INFORMATION")) {
		probe_good(check, "a token was made");
	}
}

/* ---- paths, thresholds */

static const char *access_of(uint8_t state)
{
	static const char *const names[] = {"optimized", "non-optimized", "standby", "unavailable"};

	return state < sizeof(names) / sizeof(names[0]) ? names[state] : "unknown";
}

void probe_paths(struct check *check)
{
	unsigned groups = 0;
	uint32_t end;

	if (check->step == 0) {
		inquiry(check, 0);
		return;
	}
	if (check->step == 1) {
		if (!probe_answered(check, 36, "INQUIRY"))
			return;
		if (!(check->in[5] & 0x30))
			probe_bad(check, "INQUIRY says there are no target port groups");
		else
			probe_send(check, CDB(0xa3, 0x0a, [8] = 4));
		return;
	}
	if (!probe_answered(check, 8, "REPORT TARGET PORT GROUPS"))
		return;
	end = 4 + get_be32(check->in);
	for (uint32_t at = 4; at + 8 <= end && at + 8 <= check->in_length;
	     at += 8u + 4u * check->in[at + 7])
		groups++;
	probe_good(check, "%u portal group%s, the first %s", groups, groups == 1 ? "" : "s",
		   access_of(check->in[4] & 0x0f));
}

void probe_thresholds(struct check *check)
{
	unsigned count;

	if (check->step == 0) {
		probe_send(check, CDB(0x5a, 0x08, 0x1c, 0x02, [8] = 252));
		return;
	}
	if (!probe_answered(check, 8 + 4, "MODE SENSE(10), logical block provisioning page"))
		return;
	count = (get_be16(check->in + 8 + 2) - 12u) / 8;
	if (count == 0)
		probe_bad(check, "the pool has no watermarks that hosts could be told of");
	else
		probe_good(check, "%u, hosts hear of each when it is reached", count);
}
