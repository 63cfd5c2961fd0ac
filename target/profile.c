/* SPDX-License-Identifier: Apache-2.0 */
/* profile.c: host profiles, and the run of one of them against a LUN: probe after probe, each
 * command through the same door as a host's. One row of a profile is one need: what is tried, can
 * the host do without, and what it is for. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/heap.h"
#include "target/probe.h"
#include "target/wire.h"

#define LIMIT_NS     (10ull * 1000000000)
#define ATTEMPTS_MAX 16u

struct need {
	const char *name;
	void (*probe)(struct check *check);
	bool required;
	const char *purpose;
};

struct profile {
	const char *name;
	const struct need *needs;
	unsigned count;
	unsigned lun_max; /* the host scans no further */
};

/* probe_write goes before what asks whether the LUN is read only, probe_capacity before what asks
 * for its size. */
static const struct need esxi[] = {
    {"disk", probe_disk, true, "datastores and raw device mappings are disks"},
    {"identity", probe_identity, true, "a device is known by its NAA name on every host"},
    {"LUN number", probe_number, true, "numbers the host scans"},
    {"ready", probe_ready, true, "a device that is not ready is marked off"},
    {"capacity", probe_capacity, true, "blocks of 512 bytes"},
    {"reading", probe_read, true, "the partition table is read on every rescan"},
    {"writing", probe_write, true, "VMFS, and a mount of it even when virtual machines only read"},
    {"atomic test and set", probe_ats, true, "heartbeats and locks of VMFS (VAAI)"},
    {"flush", probe_flush, true, "guests that flush, on raw device mappings"},
    {"stable writes", probe_stable, false, "VMFS sends no flush for guests that have flushed"},
    {"persistent reservations", probe_reservations, true, "clusters of guests on shared disks"},
    {"unmap", probe_unmap, false, "space of deleted files comes back (VAAI)"},
    {"write same", probe_write_same, false, "eager zeroing without sending zeros (VAAI)"},
    {"extended copy", probe_copy, false, "cloning and Storage vMotion inside the array (VAAI)"},
    {"paths", probe_paths, false, "active and standby paths told apart (SATP_ALUA)"},
    {"thresholds", probe_thresholds, false, "a warning before the thin pool is full (VAAI)"},
};

static const struct need windows[] = {
    {"disk", probe_disk, true, "volumes and cluster disks are disks"},
    {"identity", probe_identity, true, "cluster validation asks for a unique name in VPD page 83h"},
    {"LUN number", probe_number, true, "numbers the host scans"},
    {"ready", probe_ready, true, "a disk that is not ready stays offline"},
    {"capacity", probe_capacity, true, "blocks of 512 bytes"},
    {"reading", probe_read, true, "every use"},
    {"writing", probe_write, true, "every use but that of a read-only disk"},
    {"flush", probe_flush, true, "NTFS and ReFS order their logs with it"},
    {"persistent reservations", probe_reservations, true, "failover clusters fence with them"},
    {"unmap", probe_unmap, false, "trim; space of deleted files comes back"},
    {"copy by token", probe_token, false, "ODX: copies that do not cross the network"},
    {"paths", probe_paths, false, "MPIO's own module (MSDSM) asks for ALUA"},
    {"thresholds", probe_thresholds, false, "an event before the thin pool is full"},
};

static const struct need xenserver[] = {
    {"disk", probe_disk, true, "a storage repository is a disk"},
    {"identity", probe_identity, true, "the repository is found again by its SCSI id"},
    {"LUN number", probe_number, true, "numbers the host scans"},
    {"ready", probe_ready, true, "the plug of the repository"},
    {"capacity", probe_capacity, true, "blocks of 512 bytes"},
    {"reading", probe_read, true, "LVM's metadata"},
    {"writing", probe_write, true, "LVM's metadata and the virtual disks"},
    {"flush", probe_flush, true, "guests that flush"},
    {"unmap", probe_unmap, false, "space reclaim; thin repositories"},
    {"paths", probe_paths, false, "dm-multipath with ALUA priorities"},
};

static const struct need ovirt[] = {
    {"disk", probe_disk, true, "a storage domain is made of disks"},
    {"identity", probe_identity, true, "a domain's disks are found again by their SCSI id"},
    {"LUN number", probe_number, true, "numbers the host scans"},
    {"ready", probe_ready, true, "the domain's monitoring"},
    {"capacity", probe_capacity, true, "sanlock's leases are in blocks of 512 bytes"},
    {"reading", probe_read, true, "LVM's metadata and sanlock's leases"},
    {"writing", probe_write, true, "LVM's metadata and sanlock's leases"},
    {"flush", probe_flush, true, "guests that flush"},
    {"unmap", probe_unmap, false, "discard after delete"},
    {"write same", probe_write_same, false, "disks are wiped after deletion"},
    {"paths", probe_paths, false, "dm-multipath with ALUA priorities"},
    {"thresholds", probe_thresholds, false, "an event before the thin pool is full"},
};

static const struct need proxmox[] = {
    {"disk", probe_disk, true, "LVM on iSCSI"},
    {"identity", probe_identity, true, "multipath.conf names a LUN by its SCSI id"},
    {"LUN number", probe_number, true, "numbers the host scans"},
    {"ready", probe_ready, true, "the storage's activation"},
    {"capacity", probe_capacity, true, "blocks of 512 bytes"},
    {"reading", probe_read, true, "LVM's metadata"},
    {"writing", probe_write, true, "LVM's metadata and the virtual disks"},
    {"flush", probe_flush, true, "guests that flush"},
    {"unmap", probe_unmap, false, "discard of virtual disks"},
    {"write same", probe_write_same, false, "a removed disk is wiped (saferemove)"},
    {"paths", probe_paths, false, "dm-multipath with ALUA priorities"},
};

static const struct need kvm[] = {
    {"disk", probe_disk, true, "a virtual disk with virtio-scsi or virtio-blk"},
    {"identity", probe_identity, true, "libvirt and multipath name a LUN by its SCSI id"},
    {"LUN number", probe_number, true, "numbers the host scans"},
    {"ready", probe_ready, true, "the disk's opening"},
    {"capacity", probe_capacity, true, "blocks of 512 bytes"},
    {"reading", probe_read, true, "every use"},
    {"writing", probe_write, true, "every use but that of a read-only disk"},
    {"flush", probe_flush, true, "guests that flush"},
    {"persistent reservations", probe_reservations, false,
     "clusters of guests, through qemu-pr-helper"},
    {"unmap", probe_unmap, false, "discard=unmap"},
    {"write same", probe_write_same, false, "detect-zeroes=unmap"},
    {"paths", probe_paths, false, "dm-multipath with ALUA priorities"},
};

#define NEEDS(table) (table), sizeof(table) / sizeof((table)[0])
static const struct profile profiles[] = {
    {"esxi", NEEDS(esxi), SCSI_LUN_MAX},       {"xenserver", NEEDS(xenserver), SCSI_LUN_MAX},
    {"windows", NEEDS(windows), 254},          {"ovirt", NEEDS(ovirt), SCSI_LUN_MAX},
    {"proxmox", NEEDS(proxmox), SCSI_LUN_MAX}, {"kvm", NEEDS(kvm), SCSI_LUN_MAX},
};
#define PROFILE_COUNT (sizeof(profiles) / sizeof(profiles[0]))

_Static_assert(sizeof(esxi) / sizeof(esxi[0]) <= SCSI_FINDINGS_MAX, "room for every need");

const char *scsi_profile_name(unsigned index)
{
	return index < PROFILE_COUNT ? profiles[index].name : NULL;
}

unsigned profile_lun_max(const struct check *check)
{
	return check->profile->lun_max;
}

/* ---- the end */

static void set_text(struct scsi_finding *finding, const char *format, va_list arguments)
{
	vsnprintf(finding->text, sizeof(finding->text), format, arguments);
}

static void tell(struct check *check)
{
	struct scsi_report *report = &check->report;

	check->told = true;
	report->fits = true;
	for (unsigned i = 0; i < report->count; i++)
		report->fits = report->fits && report->findings[i].verdict != SCSI_UNFIT;
	check->done(check->context, report);
}

static void finish(struct check *check)
{
	deferred_cancel(&check->again);
	scsi_nexus_destroy(check->nexus);
	buf_unref(check->out);
	if (!check->told)
		tell(check);
	heap_free(check);
}

/* A registration that was asked for and not taken back: its command may have been carried out
 * after it was aborted. */
static void drained(void *context)
{
	struct check *check = context;

	if (check->key_used && !check->unregistered) {
		check->leaving = true;
		probe_unregister(check);
	} else {
		finish(check);
	}
}

static void end(struct check *check)
{
	check->over = true;
	timer_stop(&check->limit);
	scsi_nexus_abort_all(check->nexus, drained, check);
}

/* The back end hangs: said now, cleaned up when it lets go. */
static void time_is_up(struct timer *timer)
{
	struct check *check = container_of(timer, struct check, limit);

	for (unsigned i = check->at; i < check->report.count; i++) {
		struct scsi_finding *finding = &check->report.findings[i];

		finding->verdict = SCSI_UNFIT;
		snprintf(finding->text, sizeof(finding->text), "%s",
			 i == check->at ? "no answer within 10 s" : "not tried any more");
	}
	tell(check);
	end(check);
}

/* ---- from need to need */

static void go_on(struct check *check)
{
	while (!check->over) {
		check->settled = false;
		check->profile->needs[check->at].probe(check);
		if (!check->settled)
			return; /* a command is under way */
		check->step = 0;
		if (++check->at == check->profile->count)
			end(check);
	}
}

static bool passes(const struct check *check)
{
	return (check->status == SCSI_CHECK_CONDITION && check->key == SENSE_UNIT_ATTENTION) ||
	       check->status == SCSI_BUSY || check->status == SCSI_TASK_SET_FULL;
}

static void send(struct check *check);

static void again(struct deferred *deferred)
{
	struct check *check = container_of(deferred, struct check, again);

	if (check->over && !check->leaving)
		return;
	if (passes(check) && check->attempts++ < ATTEMPTS_MAX) {
		send(check);
		return;
	}
	if (check->leaving) {
		finish(check);
		return;
	}
	check->out_length = 0;
	check->step++;
	go_on(check);
}

/* ---- commands */

static void read_sense(struct check *check)
{
	const uint8_t *sense = check->task.sense;
	bool descriptor = (sense[0] & 0x7f) == 0x72;

	check->key = 0;
	check->asc = 0;
	if (check->task.sense_length < 8)
		return;
	check->key = sense[descriptor ? 1 : 2] & 0x0f;
	check->asc = get_be16(sense + (descriptor ? 2 : 12));
}

static void take_data(struct check *check)
{
	const struct scsi_task *task = &check->task;
	uint32_t at = 0;

	memset(check->in, 0, sizeof(check->in));
	for (unsigned i = 0; i < task->data_in_count && at < sizeof(check->in); i++) {
		size_t part = task->data_in[i].iov_len;

		if (part > sizeof(check->in) - at)
			part = sizeof(check->in) - at;
		memcpy(check->in + at, task->data_in[i].iov_base, part);
		at += (uint32_t)part;
	}
	check->in_length = at;
}

static void collect(struct check *check)
{
	struct scsi_task *task = &check->task;

	check->status = task->status;
	read_sense(check);
	take_data(check);
	scsi_task_end(task);
	loop_defer(check->loop, &check->again);
}

static void command_done(struct scsi_task *task)
{
	collect(container_of(task, struct check, task));
}

static void send(struct check *check)
{
	struct scsi_task *task = &check->task;

	memset(task, 0, sizeof(*task));
	task->nexus = check->nexus;
	lun_encode(check->lun, task->lun);
	memcpy(task->cdb, check->cdb, sizeof(check->cdb));
	task->cdb_length = sizeof(check->cdb);
	task->attribute = SCSI_SIMPLE;
	task->tag = ++check->tag;
	task->data_out_expected = check->out_length;
	task->data_in_expected = PROBE_IN_MAX;
	task->done = command_done;
	scsi_task_begin(task);
	if (task->finished) {
		collect(check);
		return;
	}
	if (task->data_out_length) {
		task->data_out[0] = (struct iovec){check->out->data, task->data_out_length};
		task->data_out_count = 1;
	}
	scsi_task_execute(task);
}

uint8_t *probe_out(struct check *check, uint32_t length)
{
	check->out_length = length;
	memset(check->out->data, 0, check->out->size);
	return check->out->data;
}

void probe_send(struct check *check, const uint8_t cdb[16])
{
	memcpy(check->cdb, cdb, sizeof(check->cdb));
	check->attempts = 0;
	send(check);
}

/* ---- words */

static struct scsi_finding *settle(struct check *check)
{
	check->settled = true;
	return &check->report.findings[check->at];
}

void probe_good(struct check *check, const char *format, ...)
{
	struct scsi_finding *finding = settle(check);
	va_list arguments;

	finding->verdict = SCSI_FITS;
	va_start(arguments, format);
	set_text(finding, format, arguments);
	va_end(arguments);
}

void probe_bad(struct check *check, const char *format, ...)
{
	struct scsi_finding *finding = settle(check);
	va_list arguments;

	finding->verdict = check->profile->needs[check->at].required ? SCSI_UNFIT : SCSI_FITS_LESS;
	va_start(arguments, format);
	set_text(finding, format, arguments);
	va_end(arguments);
}

static const struct {
	uint8_t key;
	uint16_t asc;
	const char *text;
} meanings[] = {
    {SENSE_ILLEGAL_REQUEST, ASC_INVALID_OPCODE, "the LUN does not have this command"},
    {SENSE_ILLEGAL_REQUEST, ASC_INVALID_FIELD_IN_CDB, "the LUN does not have what it asks for"},
    {SENSE_ILLEGAL_REQUEST, ASC_INVALID_FIELD_IN_LIST, "its parameters are refused"},
    {SENSE_ILLEGAL_REQUEST, ASC_LBA_OUT_OF_RANGE, "the block does not exist"},
    {SENSE_ILLEGAL_REQUEST, ASC_LUN_NOT_SUPPORTED, "the LUN is gone"},
    {SENSE_ILLEGAL_REQUEST, ASC_INSUFFICIENT_REGISTRATION, "there is no room to register"},
    {SENSE_ILLEGAL_REQUEST, ASC_NO_ROD_TOKENS, "all tokens are in use"},
    {SENSE_DATA_PROTECT, ASC_WRITE_PROTECTED, "the LUN is read only"},
    {SENSE_DATA_PROTECT, ASC_SOFTWARE_PROTECTED, "a host has write-protected the LUN (SWP)"},
    {SENSE_DATA_PROTECT, ASC_SPACE_ALLOCATION, "the pool is full"},
    {SENSE_NOT_READY, ASC_PORT_STANDBY, "it is served by another gateway, or the path is standby"},
    {SENSE_NOT_READY, ASC_PORT_TRANSITION, "its replication group is being handed over"},
    {SENSE_NOT_READY, ASC_PORT_UNAVAILABLE, "the path is unavailable"},
    {SENSE_NOT_READY, ASC_SANITIZE_IN_PROGRESS, "it is being sanitized"},
    {SENSE_MEDIUM_ERROR, ASC_SANITIZE_FAILED, "its sanitize operation has failed"},
    {SENSE_NOT_READY, ASC_TRAY_OPEN, "the tray is open"},
    {SENSE_MEDIUM_ERROR, ASC_UNRECOVERED_READ, "a block can not be read"},
    {SENSE_MEDIUM_ERROR, ASC_WRITE_ERROR, "a block can not be written"},
};

static const char *meaning(const struct check *check)
{
	for (unsigned i = 0; i < sizeof(meanings) / sizeof(meanings[0]); i++)
		if (meanings[i].key == check->key && meanings[i].asc == check->asc)
			return meanings[i].text;
	return "it fails";
}

bool probe_answered(struct check *check, uint32_t length, const char *command)
{
	if (check->status == SCSI_GOOD && check->in_length >= length)
		return true;
	if (check->status == SCSI_GOOD)
		probe_bad(check, "%s: %u bytes came, %u at least should", command, check->in_length,
			  length);
	else if (check->status == SCSI_RESERVATION_CONFLICT)
		probe_bad(check, "%s: a host has reserved the LUN", command);
	else if (check->status == SCSI_CHECK_CONDITION)
		probe_bad(check, "%s: %s (%xh/%02xh/%02xh)", command, meaning(check), check->key,
			  check->asc >> 8, check->asc & 0xff);
	else
		probe_bad(check, "%s: status %02xh", command, check->status);
	return false;
}

/* ---- the beginning */

static const struct profile *find_profile(const char *name)
{
	for (unsigned i = 0; i < PROFILE_COUNT; i++)
		if (strcmp(profiles[i].name, name) == 0)
			return &profiles[i];
	return NULL;
}

static void prepare(struct check *check, const struct profile *profile)
{
	check->profile = profile;
	check->report.profile = profile->name;
	check->report.count = profile->count;
	for (unsigned i = 0; i < profile->count; i++) {
		check->report.findings[i].name = profile->needs[i].name;
		check->report.findings[i].purpose = profile->needs[i].purpose;
	}
	check->loop = loop_current();
	timer_init(&check->limit, check->loop, time_is_up);
	deferred_init(&check->again, again);
}

int scsi_profile_check(struct scsi_target *target, unsigned lun, const char *profile,
		       void (*done)(void *context, const struct scsi_report *report), void *context,
		       struct err *err)
{
	const struct profile *found = find_profile(profile);
	struct check *check;
	int result = -ENOMEM;

	if (!found)
		return err_set(err, -ENOENT, "there is no host profile %.40s", profile);
	check = heap_zalloc(sizeof(*check));
	if (!check)
		return err_set(err, -ENOMEM, "no memory for a check");
	prepare(check, found);
	check->lun = lun;
	check->done = done;
	check->context = context;
	check->out = buf_get(loop_buffers(check->loop), PROBE_IN_MAX);
	if (check->out)
		result = nexus_create_for(target, lun, &check->nexus, err);
	else
		err_set(err, -ENOMEM, "no buffer for a check");
	if (result < 0) {
		buf_unref(check->out);
		heap_free(check);
		return result;
	}
	timer_start(&check->limit, LIMIT_NS);
	go_on(check);
	return 0;
}
