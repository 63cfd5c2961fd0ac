/* SPDX-License-Identifier: Apache-2.0 */
/* mode.c: MODE SENSE and MODE SELECT, 6 and 10 (SPC-4 6.9-6.14, 7.5; SBC-3 6.5). One row a page:
 * its default values and which bits may be changed. Values are shared by all nexuses. Current ones
 * last until a logical unit reset, saved ones (mode_store.c) as long as the volume. */
#include <errno.h>
#include <string.h>

#include "core/heap.h"
#include "target/internal.h"
#include "target/wire.h"
#include "volumes/pool.h"

#define WCE                  0x04 /* caching page, byte 2 */
#define D_SENSE              0x04 /* control page, byte 2 */
#define SWP                  0x08 /* control page, byte 4 */
#define ALL_PAGES            0x3f
#define ALL_SUBPAGES         0xff
#define PROVISIONING_PAGE    0x1c
#define PROVISIONING_SUBPAGE 0x02
#define THRESHOLDS_AT        16u
#define LIST_MAX             512 /* bytes of a MODE SELECT parameter list that can be of use */

enum page_index {
	PAGE_RECOVERY,
	PAGE_CACHING,
	PAGE_CONTROL,
	PAGE_EXCEPTIONS,
	PAGE_CD_RECOVERY,
	PAGE_CD_CAPABILITIES,
};

static const struct page {
	bool cdrom;
	uint8_t length; /* with the two bytes of the header */
	uint8_t defaults[MODE_PAGE_MAX], changeable[MODE_PAGE_MAX];
} pages[MODE_PAGE_COUNT] = {
    /* read-write error recovery (SBC-3 6.5.6): automatic reallocation is the engine's */
    [PAGE_RECOVERY] = {false, 12, {0x01, 0x0a, 0xc0}, {0}},
    /* caching (SBC-3 6.5.5) */
    [PAGE_CACHING] = {false, 20, {0x08, 0x12, WCE}, {[2] = WCE}},
    /* control (SPC-4 7.5.8): unrestricted reordering, TAS 0, no UA interlock; one task set for
     * all (TST 0), and an error aborts nothing else (QERR 0) */
    [PAGE_CONTROL] = {false, 12, {0x0a, 0x0a, 0, 0x10}, {[2] = D_SENSE, [4] = SWP}},
    /* informational exceptions (SPC-4 7.5.12): none are reported */
    [PAGE_EXCEPTIONS] = {false, 12, {0x1c, 0x0a, 0x08}, {0}},
    /* read error recovery (MMC-6 7.3) */
    [PAGE_CD_RECOVERY] = {true, 12, {0x01, 0x0a}, {0}},
    /* capabilities (MMC-6 E.3.3): reads CD-R, CD-RW, DVD-ROM; mode 2 form 1; tray, EJECT, LOCK */
    [PAGE_CD_CAPABILITIES] = {true,
			      20,
			      {0x2a, 0x12, 0x0b, 0, 0x10, 0, 0x29, 0, 0x22, 0x60, 0, 0, 0x02, 0,
			       0x22, 0x60},
			      {0}},
};

/* Copies for the I/O path. Caller holds lu->lock or owns the unit. */
static void publish(struct scsi_lu *lu)
{
	__atomic_store_n(&lu->write_cache, lu->mode[PAGE_CACHING][2] & WCE, __ATOMIC_RELAXED);
	__atomic_store_n(&lu->descriptor_sense, lu->mode[PAGE_CONTROL][2] & D_SENSE,
			 __ATOMIC_RELAXED);
	__atomic_store_n(&lu->software_write_protect, lu->mode[PAGE_CONTROL][4] & SWP,
			 __ATOMIC_RELAXED);
}

void mode_power_on(struct scsi_lu *lu)
{
	memcpy(lu->mode, lu->mode_saved, sizeof(lu->mode));
	publish(lu);
}

/* What a store says counts where it may be changed; the rest is the table's. */
void mode_init(struct scsi_lu *lu)
{
	uint8_t saved[MODE_PAGE_COUNT][MODE_PAGE_MAX];
	bool any = mode_store_get(lu->volume->identity.uuid, saved);

	for (unsigned i = 0; i < MODE_PAGE_COUNT; i++)
		for (unsigned at = 0; at < MODE_PAGE_MAX; at++) {
			uint8_t mask = any ? pages[i].changeable[at] : 0;

			lu->mode_saved[i][at] =
			    (uint8_t)((pages[i].defaults[at] & ~mask) | (saved[i][at] & mask));
		}
	mode_power_on(lu);
}

/* ---- MODE SENSE */

enum page_control { CURRENT, CHANGEABLE, DEFAULT, SAVED };

static bool savable(const struct page *page)
{
	static const uint8_t none[MODE_PAGE_MAX];

	return pr_store_ready() && memcmp(page->changeable, none, sizeof(none)) != 0;
}

static unsigned put_page(struct scsi_lu *lu, unsigned index, enum page_control control, uint8_t *p)
{
	const struct page *page = &pages[index];

	if (control == CHANGEABLE)
		memcpy(p, page->changeable, page->length);
	else if (control == DEFAULT)
		memcpy(p, page->defaults, page->length);
	else if (control == SAVED)
		memcpy(p, lu->mode_saved[index], page->length);
	else
		memcpy(p, lu->mode[index], page->length);
	memcpy(p, page->defaults, 2);
	if (savable(page))
		p[0] |= 0x80; /* PS */
	return page->length;
}

/* Logical block provisioning (SBC-3 6.5.8): a soft threshold for each watermark of the pool, armed
 * while what is available decreases. They are the pool administrator's; an initiator can read
 * them. SITUA 0: every initiator hears of it. */
static unsigned put_thresholds(const struct scsi_lu *lu, enum page_control control, uint8_t *p)
{
	struct pool_info info = {0};
	uint8_t *at = p + THRESHOLDS_AT;

	if (lu->volume->pool)
		pool_get_info(lu->volume->pool, &info);
	for (unsigned i = 0; i < WATERMARKS && info.watermark[i] > 0; i++, at += 8) {
		uint64_t left = info.size_bytes / 100 * (100 - info.watermark[i]);

		if (control == CHANGEABLE)
			continue;
		at[0] = 0x80; /* enabled, soft, armed decreasing */
		at[1] = 0x01; /* available LBA mapping resources */
		put_be32(at + 4, (uint32_t)(left >> (SCSI_THRESHOLD_EXPONENT + SCSI_BLOCK_SHIFT)));
	}
	p[0] = 0x40 | PROVISIONING_PAGE; /* SPF */
	p[1] = PROVISIONING_SUBPAGE;
	put_be16(p + 2, (uint16_t)(at - p - 4));
	return (unsigned)(at - p);
}

static bool wants_thresholds(const struct scsi_task *task)
{
	uint8_t code = task->cdb[2] & 0x3f, subpage = task->cdb[3];

	return !task->itl->lu->cdrom &&
	       (code == PROVISIONING_PAGE || (code == ALL_PAGES && subpage == ALL_SUBPAGES)) &&
	       (subpage == PROVISIONING_SUBPAGE || subpage == ALL_SUBPAGES);
}

static unsigned put_pages(struct scsi_task *task, uint8_t *p)
{
	struct scsi_lu *lu = task->itl->lu;
	uint8_t code = task->cdb[2] & 0x3f, subpage = task->cdb[3];
	enum page_control control = task->cdb[2] >> 6;
	uint8_t *start = p;

	pthread_mutex_lock(&lu->lock);
	for (unsigned i = 0; i < MODE_PAGE_COUNT; i++)
		if (subpage != PROVISIONING_SUBPAGE && pages[i].cdrom == lu->cdrom &&
		    (code == ALL_PAGES || code == pages[i].defaults[0]))
			p += put_page(lu, i, control, p);
	pthread_mutex_unlock(&lu->lock);
	if (wants_thresholds(task))
		p += put_thresholds(lu, control, p);
	return (unsigned)(p - start);
}

/* SBC-3 6.5.2: block descriptors, short or with 64-bit counts. */
static unsigned put_block_descriptor(const struct scsi_task *task, bool long_lba, uint8_t *p)
{
	uint64_t blocks = lu_blocks(task->itl->lu);

	if (long_lba) {
		put_be64(p, blocks);
		put_be32(p + 12, VOLUME_BLOCK);
		return 16;
	}
	put_be32(p, blocks > UINT32_MAX ? UINT32_MAX : (uint32_t)blocks);
	put_be32(p + 4, VOLUME_BLOCK);
	p[4] = 0;
	return 8;
}

static bool sense_request_ok(struct scsi_task *task)
{
	uint8_t subpage = task->cdb[3];

	if (task->cdb[2] >> 6 == SAVED && !pr_store_ready())
		return sense_set(task, SENSE_ILLEGAL_REQUEST, ASC_SAVING_NOT_SUPPORTED);
	if (subpage != 0 && subpage != ALL_SUBPAGES && !wants_thresholds(task))
		return sense_set_cdb_field(task, 3, -1);
	return true;
}

void mode_sense(struct scsi_task *task)
{
	bool ten = task->opcode->cdb_length == 10;
	bool long_lba = ten && task->cdb[1] & 0x10;
	const struct scsi_lu *lu = task->itl->lu;
	unsigned header = ten ? 8 : 4, descriptor = 0, length;
	uint8_t *p = task->buffer->data;
	bool protected = task_read_only(task->itl) ||
			 __atomic_load_n(&lu->software_write_protect, __ATOMIC_RELAXED);

	if (!sense_request_ok(task)) {
		task_finish(task);
		return;
	}
	if (!(task->cdb[1] & 0x08) && !lu->cdrom)
		descriptor = put_block_descriptor(task, long_lba, p + header);
	length = put_pages(task, p + header + descriptor);
	if (length == 0) {
		sense_set_cdb_field(task, 2, 5);
		task_finish(task);
		return;
	}
	length += header + descriptor;
	if (!lu->cdrom)
		p[ten ? 3 : 2] = (uint8_t)((protected ? 0x80 : 0) | 0x10); /* WP, DPOFUA */
	if (ten) {
		put_be16(p, (uint16_t)(length - 2));
		p[4] = descriptor == 16;
		put_be16(p + 6, (uint16_t)descriptor);
	} else {
		p[0] = (uint8_t)(length - 1);
		p[3] = (uint8_t)descriptor;
	}
	task_reply(task, length);
}

/* ---- MODE SELECT */

static bool decode_select(struct scsi_task *task, uint32_t length)
{
	task->data_out_wanted = length;
	task->direction = length ? SCSI_DATA_OUT : SCSI_NO_DATA;
	if (length > LIST_MAX)
		return sense_set(task, SENSE_ILLEGAL_REQUEST, ASC_PARAMETER_LIST_LENGTH);
	return true;
}

bool mode_decode_select6(struct scsi_task *task)
{
	return decode_select(task, task->cdb[4]);
}

bool mode_decode_select10(struct scsi_task *task)
{
	return decode_select(task, get_be16(task->cdb + 7));
}

struct select {
	struct scsi_task *task;
	uint8_t list[LIST_MAX];
	unsigned length, at;
	uint8_t mode[MODE_PAGE_COUNT][MODE_PAGE_MAX]; /* as it will be */
	unsigned touched;                             /* pages, a bit each */
};

static bool too_short(struct select *select)
{
	return sense_set(select->task, SENSE_ILLEGAL_REQUEST, ASC_PARAMETER_LIST_LENGTH);
}

/* A block descriptor may only say what is true anyway. */
static bool check_block_descriptor(struct select *select, unsigned length, bool long_lba)
{
	const uint8_t *p = select->list + select->at;
	uint64_t capacity = lu_blocks(select->task->itl->lu);
	uint64_t all = long_lba ? UINT64_MAX : UINT32_MAX;
	uint64_t blocks = long_lba ? get_be64(p) : get_be32(p);
	uint32_t size = long_lba ? get_be32(p + 12) : get_be24(p + 5);

	if (blocks != 0 && blocks != all && blocks != capacity)
		return sense_set_list_field(select->task, select->at, -1);
	if (size != VOLUME_BLOCK)
		return sense_set_list_field(select->task, select->at + length - 4, -1);
	return true;
}

static bool read_header(struct select *select)
{
	bool ten = select->task->opcode->cdb_length == 10;
	unsigned header = ten ? 8 : 4, descriptor;
	bool long_lba = ten && select->list[4] & 1;

	if (select->length < header)
		return too_short(select);
	descriptor = ten ? get_be16(select->list + 6) : select->list[3];
	select->at = header;
	if (descriptor == 0)
		return true;
	if (descriptor != (long_lba ? 16 : 8))
		return sense_set_list_field(select->task, ten ? 6 : 3, -1);
	if (select->length < header + descriptor)
		return too_short(select);
	if (!check_block_descriptor(select, descriptor, long_lba))
		return false;
	select->at += descriptor;
	return true;
}

static int find_page(const struct scsi_lu *lu, uint8_t first_byte)
{
	for (unsigned i = 0; i < MODE_PAGE_COUNT; i++)
		if (pages[i].cdrom == lu->cdrom &&
		    (first_byte & 0x7f) == pages[i].defaults[0]) /* PS is reserved here */
			return (int)i;
	return -1;
}

static bool take_page(struct select *select)
{
	const uint8_t *p = select->list + select->at;
	unsigned left = select->length - select->at;
	const struct page *page;
	int index;

	if (left < 2)
		return too_short(select);
	index = find_page(select->task->itl->lu, p[0]);
	if (index < 0)
		return sense_set_list_field(select->task, select->at, 5);
	page = &pages[index];
	select->touched |= 1u << index;
	if (p[1] != page->length - 2)
		return sense_set_list_field(select->task, select->at + 1, -1);
	if (left < page->length)
		return too_short(select);
	for (unsigned i = 2; i < page->length; i++) {
		unsigned differs = (p[i] ^ select->mode[index][i]) & ~(unsigned)page->changeable[i];

		if (differs)
			return sense_set_list_field(select->task, select->at + i,
						    31 - __builtin_clz(differs));
		select->mode[index][i] = p[i];
	}
	select->at += page->length;
	return true;
}

static bool take_list(struct select *select)
{
	if (!read_header(select))
		return false;
	while (select->at < select->length)
		if (!take_page(select))
			return false;
	return true;
}

/* The list against the values at present. */
static bool understand(struct select *select, bool save)
{
	struct scsi_task *task = select->task;
	struct scsi_lu *lu = task->itl->lu;
	bool good;

	task_copy_out(task, 0, select->list, select->length);
	pthread_mutex_lock(&lu->lock);
	memcpy(select->mode, lu->mode, sizeof(select->mode));
	good = take_list(select);
	if (good && save)
		select->touched = (1u << MODE_PAGE_COUNT) - 1;
	pthread_mutex_unlock(&lu->lock);
	return good;
}

/* All of the list or nothing of it; the others hear of it (SPC-4 6.9). */
static void put_in_force(struct select *select, bool save)
{
	struct scsi_lu *lu = select->task->itl->lu;
	bool changed = false;

	topology_lock();
	pthread_mutex_lock(&lu->lock);
	for (unsigned i = 0; i < MODE_PAGE_COUNT; i++) {
		if (!(select->touched & 1u << i))
			continue;
		changed |= memcmp(select->mode[i], lu->mode[i], MODE_PAGE_MAX) != 0;
		memcpy(lu->mode[i], select->mode[i], MODE_PAGE_MAX);
	}
	if (save)
		memcpy(lu->mode_saved, lu->mode, sizeof(lu->mode_saved));
	publish(lu);
	pthread_mutex_unlock(&lu->lock);
	if (changed)
		lu_attention(lu, ATTENTION_MODE_CHANGED, select->task->nexus);
	topology_unlock();
}

/* Once the write cache is off nothing may be left in it (SBC-3 6.5.5). */
static void select_finish(struct scsi_task *task)
{
	bool cache = __atomic_load_n(&task->itl->lu->write_cache, __ATOMIC_RELAXED);

	if (task->status == SCSI_GOOD && !cache && !task->itl->lu->cdrom &&
	    !task_read_only(task->itl))
		task_volume(task, VOLUME_FLUSH, 0, 0, 0, task_finish);
	else
		task_finish(task);
}

static void select_is_back(struct message *message)
{
	select_finish(container_of(message, struct scsi_task, message));
}

/* With SP: durable first, by the thread that waits for the store. */
static void select_on_thread(struct message *message)
{
	struct scsi_task *task = container_of(message, struct scsi_task, message);
	struct select select = {.task = task, .length = task->data_out_length};

	if (understand(&select, true)) {
		if (mode_store_save(task->itl->lu->volume->identity.uuid, select.mode) == 0)
			put_in_force(&select, true);
		else
			sense_set(task, SENSE_HARDWARE_ERROR, ASC_INTERNAL_FAILURE);
	}
	if (loop_current() == task->nexus->loop)
		select_finish(task);
	else
		loop_post(task->nexus->loop, &task->message, select_is_back);
}

void mode_select(struct scsi_task *task)
{
	struct select select = {.task = task, .length = task->data_out_length};

	if (task->cdb[1] & 0x01 && !pr_store_ready()) { /* SP */
		sense_set_cdb_field(task, 1, 0);
		task_finish(task);
	} else if (task->data_out_wanted == 0) {
		task_finish(task);
	} else if (task->cdb[1] & 0x01) {
		pr_store_post(&task->message, select_on_thread);
	} else {
		if (understand(&select, false))
			put_in_force(&select, false);
		select_finish(task);
	}
}

/* ---- the administrator's switch for the write cache */

struct cache_switch {
	struct message message;
	struct loop *home;
	uint8_t uuid[16];
	bool on, dry;
	int result;
	struct volume *volume; /* to be flushed */
	struct volume_request flush;
	void (*done)(void *context, int result);
	void *context;
};

static void set_wce(uint8_t (*mode)[MODE_PAGE_MAX], bool on)
{
	mode[PAGE_CACHING][2] = (uint8_t)((mode[PAGE_CACHING][2] & ~WCE) | (on ? WCE : 0));
}

/* What is to be saved, but for the one bit as it is; only this thread changes saved pages. */
static int saved_pages(const struct cache_switch *change, uint8_t (*ret_mode)[MODE_PAGE_MAX])
{
	const struct scsi_lu *lu;
	int result = -ENOENT;

	topology_lock();
	lu = lu_of(change->uuid);
	if (lu && lu->cdrom) {
		result = -EINVAL;
	} else if (lu) {
		memcpy(ret_mode, lu->mode_saved, sizeof(lu->mode_saved));
		result = 0;
	}
	topology_unlock();
	return result;
}

/* The unit may have gone while the store was written; then the saved value counts. */
static void switch_live(struct cache_switch *change)
{
	struct scsi_lu *lu;

	topology_lock();
	lu = lu_of(change->uuid);
	if (lu) {
		bool before;

		pthread_mutex_lock(&lu->lock);
		before = lu->mode[PAGE_CACHING][2] & WCE;
		set_wce(lu->mode, change->on);
		set_wce(lu->mode_saved, change->on);
		publish(lu);
		pthread_mutex_unlock(&lu->lock);
		if (before != change->on)
			lu_attention(lu, ATTENTION_MODE_CHANGED, NULL);
		if (!change->on && !lu->volume->read_only)
			change->volume = volume_ref(lu->volume);
	}
	topology_unlock();
}

static void switched(struct cache_switch *change)
{
	volume_unref(change->volume);
	change->done(change->context, change->result);
	heap_free(change);
}

static void cache_flushed(struct volume_request *request, int result)
{
	struct cache_switch *change = container_of(request, struct cache_switch, flush);

	change->result = result;
	switched(change);
}

static void switch_is_back(struct message *message)
{
	struct cache_switch *change = container_of(message, struct cache_switch, message);

	if (change->volume) {
		change->flush = (struct volume_request){.op = VOLUME_FLUSH, .done = cache_flushed};
		volume_submit(change->volume, &change->flush);
	} else {
		switched(change);
	}
}

static void switch_on_thread(struct message *message)
{
	struct cache_switch *change = container_of(message, struct cache_switch, message);
	uint8_t mode[MODE_PAGE_COUNT][MODE_PAGE_MAX];

	change->result = saved_pages(change, mode);
	if (change->result == 0 && change->dry)
		change->result = pr_store_config() ? 0 : -EROFS;
	if (change->result == 0 && !change->dry) {
		set_wce(mode, change->on);
		change->result = mode_store_save(change->uuid, mode);
	}
	if (change->result == 0 && !change->dry)
		switch_live(change);
	loop_post(change->home, message, switch_is_back);
}

void scsi_write_cache_set(const uint8_t uuid[16], bool on, bool dry,
			  void (*done)(void *context, int result), void *context)
{
	struct cache_switch *change = heap_zalloc(sizeof(*change));

	if (!change) {
		done(context, -ENOMEM);
		return;
	}
	memcpy(change->uuid, uuid, 16);
	change->on = on;
	change->dry = dry;
	change->home = loop_current();
	change->done = done;
	change->context = context;
	pr_store_post(&change->message, switch_on_thread);
}
