/* SPDX-License-Identifier: Apache-2.0 */
/* cdrom.c: a volume with a disc image as a CD or DVD drive (MMC-6): device type 05h, 2048-byte
 * blocks, one data track of one closed session, read only.
 *
 * The tray is each I_T nexus's own: many hosts boot from one image, and one that ejects it must
 * not take it from the others. PREVENT ALLOW MEDIUM REMOVAL and the events of the medium are kept
 * the same way. The fields for it in scsi_itl are touched on the nexus's loop only. */
#include <string.h>

#include "target/internal.h"
#include "target/wire.h"

#define CDROM_BLOCK      (1u << CDROM_BLOCK_SHIFT)
#define CD_MAX_BLOCKS    360000u /* 80 minutes; what is larger is a DVD */
#define CDROM_READ_MAX   (2u * (BUF_MAX >> CDROM_BLOCK_SHIFT))
#define PROFILE_CD_ROM   0x0008
#define PROFILE_DVD_ROM  0x0010
#define DATA_TRACK       0x14 /* ADR 1; CONTROL: data, no copy */
#define LEAD_OUT         0xaa
#define FRAMES           75u /* of a second */
#define PREGAP           150u
#define CDROM_REPLY_MAX  4096
#define DVD_LAYER_BLOCKS 2295104u

enum media_event { EVENT_NONE = 0, EVENT_NEW_MEDIA = 2, EVENT_REMOVAL = 3 };

static uint32_t disc_blocks(const struct scsi_task *task)
{
	uint64_t blocks = volume_size(task->itl->lu->volume) >> CDROM_BLOCK_SHIFT;

	return blocks > UINT32_MAX ? UINT32_MAX : (uint32_t)blocks;
}

static bool is_dvd(const struct scsi_task *task)
{
	return disc_blocks(task) > CD_MAX_BLOCKS;
}

bool cdrom_medium_ok(struct scsi_task *task, const struct scsi_opcode *row)
{
	if (!task->itl->tray_open || row->flags & OPCODE_NO_MEDIUM_OK)
		return true;
	return sense_set(task, SENSE_NOT_READY, ASC_TRAY_OPEN);
}

static bool takes(struct scsi_task *task, uint32_t allocation)
{
	task->allocation = allocation;
	task->direction = allocation ? SCSI_DATA_IN : SCSI_NO_DATA;
	return true;
}

static void refuse(struct scsi_task *task, unsigned byte, int bit)
{
	sense_set_cdb_field(task, byte, bit);
	task_finish(task);
}

/* ---- reading */

/* Checks the range, which the CDB gives in 2048-byte blocks; the task's is in 512-byte ones. */
static bool range(struct scsi_task *task, uint32_t lba, uint32_t blocks, unsigned length_byte)
{
	uint32_t capacity = disc_blocks(task);
	const unsigned shift = CDROM_BLOCK_SHIFT - SCSI_BLOCK_SHIFT;

	if (lba > capacity || blocks > capacity - lba || (lba == capacity && blocks > 0))
		return sense_set_information(task, SENSE_ILLEGAL_REQUEST, ASC_LBA_OUT_OF_RANGE,
					     lba < capacity ? capacity : lba);
	if (blocks > CDROM_READ_MAX)
		return sense_set_cdb_field(task, length_byte, -1);
	task->lba = (uint64_t)lba << shift;
	task->blocks = (uint64_t)blocks << shift;
	task->direction = blocks ? SCSI_DATA_IN : SCSI_NO_DATA;
	return true;
}

static bool decode_read10(struct scsi_task *task)
{
	return range(task, get_be32(task->cdb + 2), get_be16(task->cdb + 7), 7);
}

static bool decode_read12(struct scsi_task *task)
{
	return range(task, get_be32(task->cdb + 2), get_be32(task->cdb + 6), 6);
}

/* READ CD (MMC-6 6.15): the user data of a mode 1 sector; headers and error correction codes are
 * not in an image. */
static bool decode_read_cd(struct scsi_task *task)
{
	uint8_t type = task->cdb[1] >> 2 & 7;

	if (type != 0 && type != 2)
		return sense_set(task, SENSE_ILLEGAL_REQUEST, ASC_WRONG_TRACK_MODE);
	if (task->cdb[9] != 0 && task->cdb[9] != 0x10)
		return sense_set_cdb_field(task, 9, -1);
	if (!range(task, get_be32(task->cdb + 2), get_be24(task->cdb + 6), 6))
		return false;
	if (task->cdb[9] == 0) { /* nothing of it is wanted */
		task->blocks = 0;
		task->direction = SCSI_NO_DATA;
	}
	return true;
}

static void read_done(struct scsi_task *task)
{
	uint64_t first = task->buffer2 ? BUF_MAX : task->blocks << SCSI_BLOCK_SHIFT;

	task->data_in_length = (uint32_t)(task->blocks << SCSI_BLOCK_SHIFT);
	task->data_in[0] = (struct iovec){task->buffer->data, first};
	task->data_in_count = 1;
	if (task->buffer2)
		task->data_in[task->data_in_count++] =
		    (struct iovec){task->buffer2->data, task->data_in_length - first};
	task_finish(task);
}

static void read_into(struct scsi_task *task, struct buf *buffer, uint64_t lba, uint64_t blocks,
		      void (*next)(struct scsi_task *task))
{
	task->request_iov[0] = (struct iovec){buffer->data, blocks << SCSI_BLOCK_SHIFT};
	task->request.iov = task->request_iov;
	task->request.iov_count = 1;
	task_volume(task, VOLUME_READ, lba, blocks, 0, next);
}

static void read_second(struct scsi_task *task)
{
	const uint64_t first = BUF_MAX >> SCSI_BLOCK_SHIFT;

	read_into(task, task->buffer2, task->lba + first, task->blocks - first, read_done);
}

static void read_first(struct scsi_task *task)
{
	read_into(task, task->buffer, task->lba, BUF_MAX >> SCSI_BLOCK_SHIFT, read_second);
}

static void read_second_buffer(struct scsi_task *task)
{
	task->buffer2 = buf_get(loop_buffers(task->nexus->loop), BUF_MAX);
	if (task->buffer2) {
		read_first(task);
		return;
	}
	task->status = SCSI_BUSY; /* never wait for a buffer with one in hand */
	task_finish(task);
}

static void read_all(struct scsi_task *task)
{
	read_into(task, task->buffer, task->lba, task->blocks, read_done);
}

static void read_blocks(struct scsi_task *task)
{
	uint64_t bytes = task->blocks << SCSI_BLOCK_SHIFT;

	if (bytes == 0)
		task_finish(task);
	else if (bytes > BUF_MAX)
		task_get_buffer(task, BUF_MAX, read_second_buffer);
	else
		task_get_buffer(task, bytes, read_all);
}

static bool decode_capacity(struct scsi_task *task)
{
	return takes(task, 8);
}

static void read_capacity(struct scsi_task *task)
{
	uint8_t *p = task->buffer->data;

	put_be32(p, disc_blocks(task) - 1);
	put_be32(p + 4, CDROM_BLOCK);
	task_reply(task, 8);
}

/* ---- READ TOC/PMA/ATIP (MMC-6 6.25) */

static void put_address(uint8_t *p, uint32_t lba, bool msf)
{
	uint32_t frames = lba + PREGAP, seconds = frames / FRAMES;

	if (!msf) {
		put_be32(p, lba);
		return;
	}
	p[0] = 0;
	p[1] = (uint8_t)(seconds / 60 > 255 ? 255 : seconds / 60);
	p[2] = (uint8_t)(seconds % 60);
	p[3] = (uint8_t)(frames % FRAMES);
}

static uint8_t *put_track(uint8_t *p, uint8_t track, uint32_t lba, bool msf)
{
	p[1] = DATA_TRACK;
	p[2] = track;
	put_address(p + 4, lba, msf);
	return p + 8;
}

static uint8_t *toc_tracks(const struct scsi_task *task, uint8_t *p)
{
	bool msf = task->cdb[1] & 2;

	if (task->cdb[6] <= 1)
		p = put_track(p, 1, 0, msf);
	return put_track(p, LEAD_OUT, disc_blocks(task), msf);
}

static uint8_t *toc_sessions(const struct scsi_task *task, uint8_t *p)
{
	return put_track(p, 1, 0, task->cdb[1] & 2);
}

/* One row of the lead-in: where first track, last track, lead-out and track 1 are said to be. */
static uint8_t *toc_lead_in(const struct scsi_task *task, uint8_t *p)
{
	static const uint8_t points[] = {0xa0, 0xa1, 0xa2, 0x01};

	for (unsigned i = 0; i < sizeof(points); i++, p += 11) {
		p[0] = 1; /* session */
		p[1] = DATA_TRACK;
		p[3] = points[i];
		if (points[i] == 0xa0 || points[i] == 0xa1)
			p[8] = 1; /* PMIN: track number */
		else
			put_address(p + 7, points[i] == 0xa2 ? disc_blocks(task) : 0, true);
	}
	return p;
}

static bool decode_toc(struct scsi_task *task)
{
	return takes(task, get_be16(task->cdb + 7));
}

static void read_toc(struct scsi_task *task)
{
	uint8_t *data = task->buffer->data, *p = data + 4;
	uint8_t format = task->cdb[2] & 0xf;

	if (format == 0)
		format = task->cdb[9] >> 6; /* where SFF 8020i had it */
	if (format == 0 && task->cdb[6] > 1 && task->cdb[6] != LEAD_OUT) {
		refuse(task, 6, -1);
		return;
	}
	if (format > 2) {
		refuse(task, 2, 3);
		return;
	}
	data[2] = data[3] = 1; /* first and last track, or session */
	p = format == 0   ? toc_tracks(task, p)
	    : format == 1 ? toc_sessions(task, p)
			  : toc_lead_in(task, p);
	put_be16(data, (uint16_t)(p - data - 2));
	task_reply(task, (uint32_t)(p - data));
}

/* ---- GET CONFIGURATION (MMC-6 6.6, 5.3) */

#define FEATURE_PERSISTENT 2u
#define FEATURE_CURRENT    1u

struct feature {
	uint16_t code;
	uint8_t version, length;
	uint8_t data[8];
};

static const struct feature features[] = {
    /* profiles; which of them is the current one is filled in */
    {0x0000, 0, 8, {0, PROFILE_DVD_ROM, 0, 0, 0, PROFILE_CD_ROM}},
    {0x0001, 2, 8, {0, 0, 0, 1, 0x01}}, /* core: SCSI; DBE */
    {0x0002, 1, 4, {0x02}},             /* morphing: OCEVENT */
    {0x0003, 0, 4, {0x29}},             /* removable: tray, EJECT, LOCK */
    {0x0010, 0, 8, {0, 0, 8, 0, 0, 1}}, /* random readable: 2048 bytes, blocking 1 */
    {0x001d, 0, 0, {0}},                /* multi-read */
    {0x001e, 2, 4, {0}},                /* CD read: no subchannel, no C2 */
    {0x001f, 0, 0, {0}},                /* DVD read */
};

static unsigned feature_state(const struct scsi_task *task, const struct feature *feature)
{
	bool medium = !task->itl->tray_open, dvd = is_dvd(task);

	if (feature->code <= 0x0003)
		return FEATURE_PERSISTENT | FEATURE_CURRENT;
	if (feature->code == 0x0010)
		return medium ? FEATURE_CURRENT : 0;
	return medium && dvd == (feature->code == 0x001f) ? FEATURE_CURRENT : 0;
}

static uint8_t *put_feature(const struct scsi_task *task, const struct feature *feature, uint8_t *p)
{
	bool medium = !task->itl->tray_open;

	put_be16(p, feature->code);
	p[2] = (uint8_t)(feature->version << 2 | feature_state(task, feature));
	p[3] = feature->length;
	memcpy(p + 4, feature->data, feature->length);
	if (feature->code == 0) {
		p[4 + 2] = medium && is_dvd(task);
		p[8 + 2] = medium && !is_dvd(task);
	}
	return p + 4 + feature->length;
}

static bool decode_configuration(struct scsi_task *task)
{
	return takes(task, get_be16(task->cdb + 7));
}

static void get_configuration(struct scsi_task *task)
{
	uint8_t *data = task->buffer->data, *p = data + 8;
	uint8_t wanted = task->cdb[1] & 3; /* RT: all, current ones, one */
	uint16_t from = get_be16(task->cdb + 2);

	if (wanted == 3) {
		refuse(task, 1, 1);
		return;
	}
	for (unsigned i = 0; i < sizeof(features) / sizeof(features[0]); i++) {
		const struct feature *feature = &features[i];

		if (feature->code < from || (wanted == 2 && feature->code != from) ||
		    (wanted == 1 && !(feature_state(task, feature) & FEATURE_CURRENT)))
			continue;
		p = put_feature(task, feature, p);
	}
	put_be32(data, (uint32_t)(p - data - 4));
	if (!task->itl->tray_open)
		put_be16(data + 6, is_dvd(task) ? PROFILE_DVD_ROM : PROFILE_CD_ROM);
	task_reply(task, (uint32_t)(p - data));
}

/* ---- GET EVENT STATUS NOTIFICATION (MMC-6 6.7): polled; the operational change and the media
 * classes */

#define CLASS_OPERATIONAL 1
#define CLASS_MEDIA       4

static bool decode_event(struct scsi_task *task)
{
	if (!(task->cdb[1] & 1))
		return sense_set_cdb_field(task, 1, 0);
	return takes(task, get_be16(task->cdb + 7));
}

static void get_event(struct scsi_task *task)
{
	struct scsi_itl *itl = task->itl;
	uint8_t *p = task->buffer->data, wanted = task->cdb[4];

	p[3] = 1u << CLASS_OPERATIONAL | 1u << CLASS_MEDIA;
	if (wanted & 1u << CLASS_OPERATIONAL) {
		p[2] = CLASS_OPERATIONAL;
	} else if (wanted & 1u << CLASS_MEDIA) {
		p[2] = CLASS_MEDIA;
		p[4] = itl->media_event;
		p[5] = itl->tray_open ? 0x01 : 0x02; /* door open, or medium present */
		if (task->allocation > 4)
			itl->media_event = EVENT_NONE;
	} else {
		p[2] = 0x80; /* NEA */
		put_be16(p, 2);
		task_reply(task, 4);
		return;
	}
	put_be16(p, 6);
	task_reply(task, 8);
}

/* ---- what there is on the disc */

static bool decode_alloc16(struct scsi_task *task)
{
	return takes(task, get_be16(task->cdb + 7));
}

/* READ DISC INFORMATION (MMC-6 6.21): complete, one session with one track. */
static void read_disc_information(struct scsi_task *task)
{
	uint8_t *p = task->buffer->data;

	if (task->cdb[1] & 7) {
		refuse(task, 1, 2);
		return;
	}
	put_be16(p, 32);
	p[2] = 0x0e;                   /* last session and disc are complete */
	p[3] = p[4] = p[5] = p[6] = 1; /* first track; sessions; first, last track in it */
	p[7] = 0x20;                   /* URU */
	memset(p + 16, 0xff, 8);       /* no last session's lead-in, no lead-out to come */
	task_reply(task, 34);
}

/* READ TRACK INFORMATION (MMC-6 6.26). */
static void read_track_information(struct scsi_task *task)
{
	uint8_t *p = task->buffer->data, kind = task->cdb[1] & 3;
	uint32_t number = get_be32(task->cdb + 2);

	if (kind == 3 || (kind == 0 && number >= disc_blocks(task)) || (kind != 0 && number != 1)) {
		refuse(task, kind == 3 ? 1 : 2, -1);
		return;
	}
	put_be16(p, 34);
	p[2] = p[3] = 1;         /* track, session */
	p[5] = DATA_TRACK & 0xf; /* track mode */
	p[6] = 1;                /* data mode 1 */
	put_be32(p + 24, disc_blocks(task));
	task_reply(task, 36);
}

/* READ DISC STRUCTURE (MMC-6 6.22) of a DVD: physical format, copyright, and that there is no
 * more. */
static bool decode_structure(struct scsi_task *task)
{
	return takes(task, get_be16(task->cdb + 8));
}

static void read_structure(struct scsi_task *task)
{
	uint8_t *p = task->buffer->data, format = task->cdb[7], media = task->cdb[1] & 0xf;
	uint32_t length;

	if (media != 0 || !is_dvd(task)) {
		sense_set(task, SENSE_ILLEGAL_REQUEST, 0x3002); /* incompatible format */
		task_finish(task);
		return;
	}
	if (format == 0x00) {
		p[4] = 0x01; /* DVD-ROM, version 1 */
		p[5] = 0x0f; /* 120 mm, rate not specified */
		p[6] = disc_blocks(task) > DVD_LAYER_BLOCKS ? 0x21 : 0x01; /* layers, read-only */
		put_be32(p + 8, 0x30000);
		put_be32(p + 12, 0x30000 + disc_blocks(task) - 1);
		length = 4 + 2048;
	} else if (format == 0x01) {
		length = 4 + 4; /* neither copy protection nor regions */
	} else if (format == 0xff) {
		p[4] = 0x00;
		p[5] = 0x40; /* SDS: can be read */
		put_be16(p + 6, 4 + 2048);
		p[8] = 0x01;
		p[9] = 0x40;
		put_be16(p + 10, 8);
		length = 4 + 8;
	} else {
		refuse(task, 7, -1);
		return;
	}
	put_be16(p, (uint16_t)(length - 2));
	task_reply(task, length);
}

/* ---- the tray */

static bool decode_mechanism(struct scsi_task *task)
{
	return takes(task, get_be16(task->cdb + 8));
}

/* MECHANISM STATUS (MMC-6 6.9): no changer. */
static void mechanism_status(struct scsi_task *task)
{
	uint8_t *p = task->buffer->data;

	p[1] = task->itl->tray_open ? 0x10 : 0;
	task_reply(task, 8);
}

static void prevent_allow(struct scsi_task *task)
{
	__atomic_store_n(&task->itl->tray_locked, task->cdb[4] & 1, __ATOMIC_RELAXED);
	task_finish(task);
}

static bool decode_start_stop(struct scsi_task *task)
{
	if (task->cdb[4] >> 4)
		return sense_set_cdb_field(task, 4, 7); /* no power conditions */
	return true;
}

static void start_stop(struct scsi_task *task)
{
	struct scsi_itl *itl = task->itl;
	bool load_or_eject = task->cdb[4] & 2, start = task->cdb[4] & 1;

	if (load_or_eject && !start && __atomic_load_n(&itl->tray_locked, __ATOMIC_RELAXED)) {
		task_fail(task, SENSE_ILLEGAL_REQUEST, ASC_REMOVAL_PREVENTED);
		return;
	}
	if (load_or_eject && start == itl->tray_open) {
		itl->tray_open = !start;
		itl->media_event = start ? EVENT_NEW_MEDIA : EVENT_REMOVAL;
		if (start)
			attention_set(itl, ATTENTION_MEDIUM_CHANGED);
	}
	task_finish(task);
}

/* ---- the commands that only a drive has, or has in its own way; opcode.c has the others */

#define POLLED                                                                                     \
	(OPCODE_NO_ATTENTION | OPCODE_RESERVED_OK | OPCODE_PR_OK | OPCODE_ANY_ACCESS |             \
	 OPCODE_NO_MEDIUM_OK)
#define FREE  (OPCODE_RESERVED_OK | OPCODE_PR_OK | OPCODE_NO_MEDIUM_OK)
#define TRAY  (OPCODE_PR_OK | OPCODE_NO_MEDIUM_OK)
#define LBA32 [2] = 0xff, [3] = 0xff, [4] = 0xff, [5] = 0xff
#define LEN16 [7] = 0xff, [8] = 0xff
#define LEN12 [6] = 0xff, [7] = 0xff, [8] = 0xff, [9] = 0xff
#define REPLY CDROM_REPLY_MAX

static const struct scsi_opcode rows[] = {
    {"START STOP UNIT",
     0x1b,
     0,
     6,
     TRAY,
     {[1] = 0x01, [4] = 0xf3},
     0,
     decode_start_stop,
     start_stop},
    {"PREVENT ALLOW MEDIUM REMOVAL",
     0x1e,
     0,
     6,
     TRAY,
     {[4] = 0x01},
     0,
     spc_decode_none,
     prevent_allow},
    {"READ CAPACITY(10)",
     0x25,
     0,
     10,
     OPCODE_RESERVED_OK | OPCODE_PR_OK,
     {0},
     REPLY,
     decode_capacity,
     read_capacity},
    {"READ(10)",
     0x28,
     0,
     10,
     OPCODE_PR_READ,
     {[1] = 0x18, LBA32, LEN16},
     0,
     decode_read10,
     read_blocks},
    {"READ TOC/PMA/ATIP",
     0x43,
     0,
     10,
     OPCODE_PR_READ,
     {[1] = 0x02, [2] = 0x0f, [6] = 0xff, LEN16, [9] = 0xc0},
     REPLY,
     decode_toc,
     read_toc},
    {"GET CONFIGURATION",
     0x46,
     0,
     10,
     FREE,
     {[1] = 0x03, [2] = 0xff, [3] = 0xff, LEN16},
     REPLY,
     decode_configuration,
     get_configuration},
    {"GET EVENT STATUS NOTIFICATION",
     0x4a,
     0,
     10,
     POLLED,
     {[1] = 0x01, [4] = 0xff, LEN16},
     REPLY,
     decode_event,
     get_event},
    {"READ DISC INFORMATION",
     0x51,
     0,
     10,
     OPCODE_PR_READ,
     {[1] = 0x07, LEN16},
     REPLY,
     decode_alloc16,
     read_disc_information},
    {"READ TRACK INFORMATION",
     0x52,
     0,
     10,
     OPCODE_PR_READ,
     {[1] = 0x03, LBA32, LEN16},
     REPLY,
     decode_alloc16,
     read_track_information},
    {"READ(12)",
     0xa8,
     0,
     12,
     OPCODE_PR_READ,
     {[1] = 0x18, LBA32, LEN12},
     0,
     decode_read12,
     read_blocks},
    {"READ DISC STRUCTURE",
     0xad,
     0,
     12,
     OPCODE_PR_READ,
     {[1] = 0x0f, LBA32, [6] = 0xff, [7] = 0xff, [8] = 0xff, [9] = 0xff, [10] = 0xc0},
     REPLY,
     decode_structure,
     read_structure},
    {"MECHANISM STATUS",
     0xbd,
     0,
     12,
     TRAY,
     {[8] = 0xff, [9] = 0xff},
     REPLY,
     decode_mechanism,
     mechanism_status},
    {"READ CD",
     0xbe,
     0,
     12,
     OPCODE_PR_READ,
     {[1] = 0x1c, LBA32, [6] = 0xff, [7] = 0xff, [8] = 0xff, [9] = 0xff},
     0,
     decode_read_cd,
     read_blocks},
};

struct scsi_opcode_table opcode_cdrom = {.rows = rows, .count = sizeof(rows) / sizeof(rows[0])};

__attribute__((constructor)) static void index_rows(void)
{
	opcode_index(&opcode_cdrom);
}
