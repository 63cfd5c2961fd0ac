/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TARGET_TARGET_H
#define TARGET_TARGET_H

#include <stdbool.h>
#include <stdint.h>

#include "core/err.h"
#include "core/latency.h"
#include "core/list.h"
#include "core/loop.h"
#include "volumes/volume.h"

/* The SCSI target device (SAM-5): targets, their LUN maps, logical units and I_T nexuses,
 * independent of the transport. iscsi/ creates nexuses and submits tasks (task.h); the API
 * creates targets and maps volumes. */

struct scsi_target;
struct scsi_nexus;

#define SCSI_LUN_MAX           16383 /* flat space addressing, SAM-5 4.6.9 */
#define SCSI_LUNS_PER_TARGET   4096
#define SCSI_NAME_MAX          223 /* RFC 7143 4.2.7.1 */
#define SCSI_PORT_NAME_MAX     (SCSI_NAME_MAX + 32)
#define SCSI_REGISTRATIONS_MAX 1024 /* of one logical unit */

/* scsi_target_create: @name is the SCSI device name (an IQN). Context: control loop. */
int scsi_target_create(const char *name, struct scsi_target **ret_target, struct err *err)
    __attribute__((warn_unused_result));
/* All nexuses must be gone (-EBUSY). */
int scsi_target_destroy(struct scsi_target *target, struct err *err);

/* scsi_target_map: show @volume as LUN @lun; lun -1 picks the lowest free one. The same volume
 * may be mapped in several targets: it is one logical unit everywhere (shared reservations,
 * unit attentions and mode parameters). Takes its own reference. Other nexuses of the target
 * hear UNIT ATTENTION 3Fh/0Eh REPORTED LUNS DATA HAS CHANGED. Context: control loop.
 * Errors: -EEXIST (number taken), -ENOSPC (LIMITS). */
int scsi_target_map(struct scsi_target *target, struct volume *volume, int lun, unsigned *ret_lun,
		    struct err *err) __attribute__((warn_unused_result));
/* LUN masking: scsi_target_map_for shows the LUN only to initiators with one of @names (SCSI
 * device names; copied); NULL = to everybody who has a nexus. To others it is not there.
 * scsi_target_mask changes that while sessions run: those who lose the LUN finish what they
 * began, and they and those who gain it hear 3Fh/0Eh; nobody else notices anything. */
struct scsi_names {
	unsigned count;
	char (*names)[SCSI_NAME_MAX + 1];
};
int scsi_target_map_for(struct scsi_target *target, struct volume *volume, int lun,
			const struct scsi_names *names, unsigned *ret_lun, struct err *err)
    __attribute__((warn_unused_result));
/* How a LUN is shown. As a CD-ROM (MMC-6: device type 05h, 2048-byte blocks) it is read only for
 * everybody, and while it is one the volume can not be a disk elsewhere, nor the other way round
 * (-EBUSY). */
struct scsi_lun_mode {
	bool read_only, cdrom;
};
/* scsi_target_map_check: would scsi_target_map_as() do it, as far as that is known? */
int scsi_target_map_check(struct scsi_target *target, struct volume *volume, unsigned lun,
			  const struct scsi_lun_mode *mode, struct err *err)
    __attribute__((warn_unused_result));
int scsi_target_map_as(struct scsi_target *target, struct volume *volume, int lun,
		       const struct scsi_names *names, const struct scsi_lun_mode *mode,
		       unsigned *ret_lun, struct err *err) __attribute__((warn_unused_result));
/* scsi_target_set_read_only: while sessions run; who sees the LUN hears 2Ah/01h (WP in the mode
 * parameter header). Commands whose data is on its way are still carried out. */
int scsi_target_set_read_only(struct scsi_target *target, unsigned lun, bool read_only,
			      struct err *err) __attribute__((warn_unused_result));
int scsi_target_mask(struct scsi_target *target, unsigned lun, const struct scsi_names *names,
		     struct err *err) __attribute__((warn_unused_result));
/* scsi_target_unmap: later commands get 25h/00h; tasks in flight run to their end; done() is
 * called on the control loop when the volume is no longer used through this mapping. */
int scsi_target_unmap(struct scsi_target *target, unsigned lun, void (*done)(void *context),
		      void *context, struct err *err) __attribute__((warn_unused_result));

/* scsi_volume_replace: the logical unit of @from, if there is one, is @to from now on: the same
 * identity and data in another place, so nobody hears of it. Commands under way may still submit to
 * @from, which has to pass that on; done() is called on the calling loop when none can any more.
 * @from has lost the unit's reference then. Errors: -ENOMEM, and nothing is changed. Context:
 * control loop. */
int scsi_volume_replace(struct volume *from, struct volume *to, void (*done)(void *context),
			void *context) __attribute__((warn_unused_result));
/* scsi_volume_sanitized: does a sanitize operation run on it, or has one failed? Context: any. */
bool scsi_volume_sanitized(const uint8_t uuid[16]);

struct scsi_lun_info {
	unsigned lun;
	struct volume *volume; /* borrowed */
	struct scsi_lun_mode mode;
	uint64_t read_ops, read_bytes, write_ops, write_bytes, errors;
	bool write_cache;        /* WCE as it is now; never of a CD-ROM */
	unsigned tasks;          /* begun and not ended, about now; 0 while it is sanitized */
	const char *reservation; /* "none", "RESERVE(6) by <initiator port>" ...; borrowed */
};
/* scsi_target_next_lun: smallest mapped LUN > @previous (-1 first); false at the end. Control loop.
 */
bool scsi_target_next_lun(struct scsi_target *target, int previous, struct scsi_lun_info *ret_info);

/* Asymmetric access (SPC-4 5.15). Each portal group of a target is a target port group of one
 * port, whose relative port identifier and group number are the portal group's tag; one access
 * state holds for all LUNs of the target. scsi_target_add_group: the group is there, optimized.
 * scsi_target_set_access: an implicit transition; all nexuses of the target hear UNIT ATTENTION
 * 2Ah/06h. Errors: -ENOSPC. Context: any. */
enum scsi_access { SCSI_OPTIMIZED, SCSI_NON_OPTIMIZED, SCSI_STANDBY, SCSI_UNAVAILABLE };
const char *scsi_access_name(enum scsi_access access);
int scsi_target_add_group(struct scsi_target *target, uint16_t group, struct err *err)
    __attribute__((warn_unused_result));
int scsi_target_set_access(struct scsi_target *target, uint16_t group, enum scsi_access access,
			   bool preferred, struct err *err) __attribute__((warn_unused_result));
struct scsi_group_info {
	uint16_t group;
	enum scsi_access access;
	bool preferred;
};
/* scsi_target_next_group: the lowest group > @previous (0 first); false at the end. */
bool scsi_target_next_group(struct scsi_target *target, int previous,
			    struct scsi_group_info *ret_info);

/* scsi_nexus_create: an I_T nexus between initiator port @initiator_port (for iSCSI
 * "IQN,i,0xISID", SPC-4 7.6.4.5) and target port @target_port ("IQN,t,0xTPGT") with relative
 * port id @relative_port. Power-on unit attention 29h/00h pends on every LUN. Context: the
 * loop that will submit its tasks. */
int scsi_nexus_create(struct scsi_target *target, const char *initiator_port,
		      const char *target_port, uint16_t relative_port,
		      struct scsi_nexus **ret_nexus, struct err *err)
    __attribute__((warn_unused_result));
/* Persistent reservations (SPC-4 5.12) belong to a logical unit, whatever sessions there are.
 * All changes of all of them are made one after the other by a thread of their own, which also
 * waits for the store, so that no loop ever does.
 * scsi_reservations_open: read from the store @path what was to survive a power loss, and start
 * that thread on a loop over @world. Without it reservations work and are as volatile as their
 * logical unit (REPORT CAPABILITIES says so). Context: control loop, before the first
 * scsi_target_map(). scsi_reservations_settle: what the thread was given until now is done and told
 * to @home, or five seconds are over; at the end, by @home's thread when the loop does not run any
 * more. scsi_reservations_close: after the last target is gone. */
struct world_ops;
int scsi_reservations_open(const struct world_ops *world, const char *path, struct err *err)
    __attribute__((warn_unused_result));
/* The newest version of its schema. @ret_from: NULL, or the oldest whose programs can go on with it
 * (config.h). */
unsigned scsi_reservations_schema(unsigned *ret_from);
void scsi_reservations_settle(struct loop *home);
void scsi_reservations_close(void);
/* scsi_sanitize_interrupted: the volume @uuid comes from elsewhere, so what is on it may not be
 * what was to be sanitized: an operation that was to be taken up again counts as failed. Context:
 * control loop, while the volume is mapped nowhere. In force at once, durable soon. */
void scsi_sanitize_interrupted(const uint8_t uuid[16]);

struct scsi_registration {
	char initiator_port[SCSI_PORT_NAME_MAX];
	char target[SCSI_NAME_MAX + 1];
	uint16_t relative_port;
	uint64_t key;
	bool holder;    /* holds the reservation, or shares it */
	bool connected; /* has a session */
};
struct scsi_reservations {
	uint32_t generation;
	const char *type;                  /* "none", "write exclusive" ...; static */
	bool persistent;                   /* survives power loss (APTPL) */
	char reserve6[SCSI_PORT_NAME_MAX]; /* who holds RESERVE(6); "" = nobody */
	unsigned count;
	struct scsi_registration registrations[];
};
/* scsi_reservations_get: a snapshot (heap) of the unit of the volume with @uuid; NULL when it is
 * no LUN anywhere or memory is short. Context: any. */
struct scsi_reservations *scsi_reservations_get(const uint8_t uuid[16])
    __attribute__((warn_unused_result));
/* scsi_reservations_clear: an administrator's CLEAR: no reservation and no registration is left,
 * RESERVE(6) included; those concerned hear UNIT ATTENTION 2Ah/03h. done(0 or -errno) on the
 * calling loop. Durable: on 0 nothing comes back after power loss. Context: a loop. */
void scsi_reservations_clear(const uint8_t uuid[16], void (*done)(void *context, int result),
			     void *context);
/* Reservations that go with a volume to another node. scsi_reservations_export: those of the volume
 * @uuid as bytes (heap; pr_note.c has the format); -EBUSY: they are just being changed, -ENOMEM.
 * Where volume_guests() has others than VOLUME_GUESTS_HERE they change no more.
 * scsi_reservations_check: are @data such bytes? -EPROTO, -ENOMEM.
 * scsi_reservations_import: they are in force here in place of what there was, also what does not
 * survive a power loss; who was registered here and is not any more hears so, and nobody holds a
 * RESERVE(6). done(0 or -errno) on the calling loop; durable on 0 as far as APTPL asks for it.
 * Context: a loop; the first two: any. */
int scsi_reservations_export(const uint8_t uuid[16], uint8_t **ret_data, size_t *ret_length)
    __attribute__((warn_unused_result));
int scsi_reservations_check(const uint8_t *data, size_t length) __attribute__((warn_unused_result));
void scsi_reservations_import(const uint8_t uuid[16], const uint8_t *data, size_t length,
			      void (*done)(void *context, int result), void *context);
/* scsi_reservations_forget: the volume is deleted; nothing is kept for it. Context: a loop. */
void scsi_reservations_forget(const uint8_t uuid[16]);

/* scsi_write_cache_set: WCE of the caching mode page (SBC-3 6.5.5) of the unit of the volume with
 * @uuid, whatever LUNs it is: current and saved value, as MODE SELECT with SP would. Hosts hear
 * 2Ah/01h. Off: from then on every write is durable before its GOOD, and what was cached is flushed
 * before done(). @dry: only whether that would be done. done(0 or -errno) on the calling loop:
 * -ENOENT it is no LUN, -EINVAL a CD-ROM has none, -EROFS there is no store, or what a flush fails
 * with (then it is off all the same). Durable: on 0 it survives power loss. Context: control loop.
 */
void scsi_write_cache_set(const uint8_t uuid[16], bool on, bool dry,
			  void (*done)(void *context, int result), void *context);

/* Host profiles: what a kind of host asks of a LUN, tried out on the LUN itself through a nexus of
 * the check's own, which sees it whatever its mask. Nothing is changed: what writes puts back in
 * one atomic step what it has just read, has no blocks to work on, or names blocks that do not
 * exist and has to be refused for that. */
enum scsi_verdict {
	SCSI_FITS,
	SCSI_FITS_LESS, /* the host can do without */
	SCSI_UNFIT,
};
struct scsi_finding {
	const char *name, *purpose; /* what was asked for, and what the host needs it for; static */
	enum scsi_verdict verdict;
	char text[200]; /* what came, in words */
};
#define SCSI_FINDINGS_MAX 16u
struct scsi_report {
	const char *profile; /* static */
	bool fits;           /* no finding is SCSI_UNFIT */
	unsigned count;
	struct scsi_finding findings[SCSI_FINDINGS_MAX];
};
/* scsi_profile_name: of profile @index; NULL past the end. */
const char *scsi_profile_name(unsigned index);
/* scsi_profile_check: @done with the report on the calling loop, later, within 10 s and even when
 * the back end hangs; @report is gone afterwards. Context: control loop; @target must not be
 * destroyed before @done. Errors: -ENOENT (profile, LUN), -ENOMEM. */
int scsi_profile_check(struct scsi_target *target, unsigned lun, const char *profile,
		       void (*done)(void *context, const struct scsi_report *report), void *context,
		       struct err *err) __attribute__((warn_unused_result));

/* How long READs and WRITEs took, from the command to its status, as the loops' clocks have it. */
struct scsi_latencies {
	struct latency read, write;
};
/* scsi_target_latency: of LUN @lun since it was mapped, added to *sum; false: there is none.
 * scsi_client_latency: of the initiators called @name, all targets; with NULL as @name of each that
 * is known (SCSI_CLIENTS_MAX; those that have been away longest are forgotten first), by each().
 * Context: any; each() is called under a lock: it may not come back here. */
#define SCSI_CLIENTS_MAX 1024
bool scsi_target_latency(struct scsi_target *target, unsigned lun, struct scsi_latencies *sum);
void scsi_client_latency(const char *name,
			 void (*each)(void *context, const char *name,
				      const struct scsi_latencies *latencies),
			 void *context);

/* Slow commands: the last SCSI_SLOW_MAX that took longer than the limit (core/latency.h), and what
 * they waited for. */
#define SCSI_SLOW_MAX 256u
enum scsi_slow_part {
	SCSI_SLOW_INITIATOR, /* the data that it had to send */
	SCSI_SLOW_QUEUE,  /* ORDERED ones before it, buffers, ranges of blocks in use, limits, turns
			   */
	SCSI_SLOW_ENGINE, /* the volume's map, space and journal */
	SCSI_SLOW_DEVICE, /* from its first read or write of a device to its last */
	SCSI_SLOW_PARTS
};
struct scsi_slow {
	uint64_t number;  /* latency_slow_number() */
	uint64_t wall_ns; /* when it ended */
	char initiator[SCSI_NAME_MAX + 1], target[SCSI_NAME_MAX + 1];
	unsigned lun;
	const char *command; /* static */
	uint64_t lba, blocks;
	uint64_t total_ns, part_ns[SCSI_SLOW_PARTS];
	bool aborted;
};
/* scsi_slow_list: the newest first, SCSI_SLOW_MAX at most; returns how many. Context: any. */
unsigned scsi_slow_list(struct scsi_slow *slow, unsigned max);

/* For initiators that are idle: told() hears that unit attention @asc (ASC << 8 | ASCQ) pends for
 * @lun (as on the wire): 3Fh/0Eh, for one LUN instead of all, or 2Ah/09h. The unit attention is
 * reported all the same; told() may be left out when there is much at once.
 * scsi_target_set_events: whether the nexuses of @target are told (not, at first). Context: any.
 * scsi_nexus_listen: told() runs on the nexus's loop, never after scsi_nexus_destroy(). Same loop.
 */
typedef void (*scsi_told)(void *context, const uint8_t lun[8], uint16_t asc);
void scsi_target_set_events(struct scsi_target *target, bool on);
void scsi_nexus_listen(struct scsi_nexus *nexus, scsi_told told, void *context);

/* scsi_nexus_destroy: I_T nexus loss. Tasks must be finished or aborted by the caller first
 * (scsi_nexus_abort_all, task.h). Releases RESERVE(6) reservations. Same loop. */
void scsi_nexus_destroy(struct scsi_nexus *nexus);

#endif
