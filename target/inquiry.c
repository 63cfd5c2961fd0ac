/* SPDX-License-Identifier: Apache-2.0 */
/* inquiry.c: standard INQUIRY data and the vital product data pages (SPC-4 6.6, 7.8; SBC-3 6.6).
 * One row a page; VPD page 00h is printed from the rows. */
#include <stdio.h>
#include <string.h>

#include "target/internal.h"
#include "target/wire.h"

#define VENDOR        "GRANARY "
#define PRODUCT       "VOLUME          "
#define PRODUCT_CDROM "DVD-ROM         "
#define DEVICE_CDROM  0x05
#define REVISION      "0001"

#define CODE_BINARY        1
#define CODE_ASCII         2
#define CODE_UTF8          3
#define ASSOCIATION_LU     0x00
#define ASSOCIATION_PORT   0x10
#define ASSOCIATION_TARGET 0x20
#define PROTOCOL_ISCSI     5

/* Version descriptors (SPC-4 6.6.2): no claim beyond what the opcode table carries. */
static const uint16_t versions[] = {
    0x00a0, /* SAM-5 */
    0x0960, /* iSCSI */
    0x0460, /* SPC-4 */
    0x04c0, /* SBC-3; last: not of CD-ROMs */
};
#define VERSION_COUNT (sizeof(versions) / sizeof(versions[0]))

/* A field of INQUIRY data: left-aligned ASCII, padded with spaces (SPC-4 4.3.1). */
static void put_text(void *field, size_t width, const char *text)
{
	size_t length = strnlen(text, width);

	memset(field, ' ', width);
	memcpy(field, text, length);
}

static void put_names(uint8_t *vendor, uint8_t *product, const struct scsi_task *task)
{
	const struct volume_identity *id = task->itl ? &task->itl->lu->volume->identity : NULL;

	put_text(vendor, 8, id && id->vendor[0] ? id->vendor : VENDOR);
	if (product)
		put_text(product, 16,
			 task->itl && task->itl->lu->cdrom ? PRODUCT_CDROM
			 : id && id->product[0]            ? id->product
							   : PRODUCT);
}

static void reply_standard(struct scsi_task *task)
{
	uint8_t *p = task->buffer->data;
	bool cdrom = task->itl && task->itl->lu->cdrom;

	p[0] = task->itl ? 0 : 0x7f; /* nothing here, and nothing could be */
	if (cdrom) {
		p[0] = DEVICE_CDROM;
		p[1] = 0x80; /* RMB */
	}
	p[2] = 0x06;        /* SPC-4 */
	p[3] = 0x10 | 0x02; /* HISUP, response data format 2 */
	p[4] = 96 - 5;
	p[5] = 0x30; /* TPGS: implicit and explicit */
	if (!cdrom)
		p[5] |= 0x08; /* 3PC */
	p[6] = 0x10;          /* MULTIP */
	p[7] = 0x02;          /* CMDQUE */
	put_names(p + 8, p + 16, task);
	memcpy(p + 32, REVISION, 4);
	for (unsigned i = 0; i < VERSION_COUNT - cdrom; i++)
		put_be16(p + 58 + 2 * i, versions[i]);
	task_reply(task, 96);
}

/* ---- VPD pages: each writes after the 4-byte header and returns how many bytes. */

static unsigned page_supported(const struct scsi_task *task, uint8_t *p);

/* Unit serial number (SPC-4 7.8.15). */
static unsigned page_serial(const struct scsi_task *task, uint8_t *p)
{
	const char *serial = task->itl->lu->volume->identity.serial;
	size_t length = strnlen(serial, 32);

	memcpy(p, serial, length);
	return (unsigned)length;
}

static unsigned designator(uint8_t *p, uint8_t code_set, uint8_t kind, const void *bytes,
			   unsigned length)
{
	bool port = (kind & 0x30) != ASSOCIATION_LU;

	p[0] = (uint8_t)((port ? PROTOCOL_ISCSI << 4 : 0) | code_set);
	p[1] = (uint8_t)(kind | (port ? 0x80 : 0)); /* PIV */
	p[3] = (uint8_t)length;
	memcpy(p + 4, bytes, length);
	return 4 + length;
}

/* SPC-4 7.8.6.11: UTF-8, NUL terminated and padded to a multiple of four. */
static unsigned name_designator(uint8_t *p, uint8_t association, const char *name)
{
	size_t length = strnlen(name, 251);
	uint8_t padded[256] = {0};

	memcpy(padded, name, length);
	return designator(p, CODE_UTF8, (uint8_t)(association | 8), padded,
			  (unsigned)((length + 4) & ~3u));
}

/* Device identification (SPC-4 7.8.6). */
static unsigned page_identification(const struct scsi_task *task, uint8_t *p)
{
	const struct volume_identity *id = &task->itl->lu->volume->identity;
	const struct scsi_nexus *nexus = task->nexus;
	uint8_t *start = p, word[4] = {0};
	const char *own = id->t10[0] ? id->t10 : id->serial;
	size_t own_length = strnlen(own, sizeof(id->t10) - 1);
	uint8_t vendor_id[8 + sizeof(id->t10)];

	p += designator(p, CODE_BINARY, ASSOCIATION_LU | 3, id->naa, volume_naa_length(id));
	put_names(vendor_id, NULL, task);
	memcpy(vendor_id + 8, own, own_length);
	p += designator(p, CODE_ASCII, ASSOCIATION_LU | 1, vendor_id, 8 + (unsigned)own_length);
	put_be16(word + 2, nexus->relative_port);
	p += designator(p, CODE_BINARY, ASSOCIATION_PORT | 4, word, 4);
	/* each port is a target port group of its own, with the same number */
	p += designator(p, CODE_BINARY, ASSOCIATION_PORT | 5, word, 4);
	p += name_designator(p, ASSOCIATION_PORT, nexus->target_port);
	p += name_designator(p, ASSOCIATION_TARGET, nexus->target->name);
	return (unsigned)(p - start);
}

/* Extended INQUIRY data (SPC-4 7.8.7). Offsets are those of the standard, less the header. */
static unsigned page_extended(const struct scsi_task *task, uint8_t *p)
{
	(void)task;
	p[5 - 4] = 0x07;            /* HEADSUP ORDSUP SIMPSUP */
	p[6 - 4] = 0x01;            /* V_SUP: there is a volatile cache */
	p[13 - 4] = SCSI_SENSE_MAX; /* maximum supported sense data length */
	return 0x3c;
}

/* Block limits (SBC-4 6.6.4). A WRITE ATOMIC of any alignment, without atomic boundaries. */
static unsigned page_limits(const struct scsi_task *task, uint8_t *p)
{
	bool torn = task->itl->lu->volume->torn;

	p[4 - 4] = 0x01; /* WSNZ: WRITE SAME of 0 blocks is refused */
	p[5 - 4] = torn ? 1 : SCSI_COMPARE_BLOCKS;
	put_be16(p + 6 - 4, VOLUME_SLOT >> SCSI_BLOCK_SHIFT);
	put_be32(p + 8 - 4, SCSI_TRANSFER_BLOCKS);
	put_be32(p + 12 - 4, SCSI_TRANSFER_BLOCKS);
	put_be32(p + 20 - 4, SCSI_UNMAP_BLOCKS);
	put_be32(p + 24 - 4, SCSI_UNMAP_RANGES);
	put_be32(p + 28 - 4, VOLUME_SLOT >> SCSI_BLOCK_SHIFT);
	put_be32(p + 32 - 4, 0x80000000u); /* UGAVALID, alignment 0 */
	put_be64(p + 36 - 4, SCSI_SAME_BLOCKS);
	put_be32(p + 44 - 4, torn ? 0 : SCSI_TRANSFER_BLOCKS);
	return 0x3c;
}

/* Block device characteristics (SBC-3 6.6.3): does not rotate; can be read after a block erase. */
static unsigned page_characteristics(const struct scsi_task *task, uint8_t *p)
{
	put_be16(p + 4 - 4, 1);
	p[7 - 4] = sanitize_offered(task->itl) ? 0x40 : 0; /* WABEREQ */
	return 0x3c;
}

/* Logical block provisioning (SBC-3 6.6.5). */
static unsigned page_provisioning(const struct scsi_task *task, uint8_t *p)
{
	(void)task;
	p[4 - 4] = SCSI_THRESHOLD_EXPONENT;
	p[5 - 4] = 0x80 | 0x40 | 0x20 | 0x04; /* LBPU LBPWS LBPWS10 LBPRZ */
	p[6 - 4] = 0x02;                      /* thin */
	return 4;
}

static const struct {
	uint8_t code;
	bool disks_only;
	unsigned (*build)(const struct scsi_task *task, uint8_t *p);
} pages[] = {
    {0x00, false, page_supported},
    {0x80, false, page_serial},
    {0x83, false, page_identification},
    {0x86, false, page_extended},
    {0x8f, true, odx_page},
    {0xb0, true, page_limits},
    {0xb1, true, page_characteristics},
    {0xb2, true, page_provisioning},
};
#define PAGE_COUNT (sizeof(pages) / sizeof(pages[0]))

static bool has_page(const struct scsi_task *task, unsigned index)
{
	return !task->itl->lu->cdrom || !pages[index].disks_only;
}

static unsigned page_supported(const struct scsi_task *task, uint8_t *p)
{
	unsigned count = 0;

	for (unsigned i = 0; i < PAGE_COUNT; i++)
		if (has_page(task, i))
			p[count++] = pages[i].code;
	return count;
}

static void reply_page(struct scsi_task *task, uint8_t code)
{
	uint8_t *p = task->buffer->data;

	for (unsigned i = 0; i < PAGE_COUNT; i++) {
		unsigned length;

		if (pages[i].code != code || !has_page(task, i))
			continue;
		length = pages[i].build(task, p + 4);
		p[1] = code;
		put_be16(p + 2, (uint16_t)length);
		task_reply(task, 4 + length);
		return;
	}
	sense_set_cdb_field(task, 2, -1);
	task_finish(task);
}

void inquiry_execute(struct scsi_task *task)
{
	bool vital = task->cdb[1] & 1;

	if (vital && task->itl) {
		reply_page(task, task->cdb[2]);
	} else if (vital) {
		task_fail(task, SENSE_ILLEGAL_REQUEST, ASC_LUN_NOT_SUPPORTED);
	} else if (task->cdb[2] != 0) {
		sense_set_cdb_field(task, 2, -1);
		task_finish(task);
	} else {
		reply_standard(task);
	}
}
