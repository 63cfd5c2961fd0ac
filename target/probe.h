/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TARGET_PROBE_H
#define TARGET_PROBE_H

#include "target/internal.h"

/* What profile.c and probe.c share: a check of one LUN under way. A probe is called with step 0,
 * then once for each command it has sent, with step one higher and the answer in the check. Each
 * time it sends another command or says what it has found, and nothing else. */

#define PROBE_IN_MAX 4096u

struct profile;
struct check {
	struct scsi_report report;
	const struct profile *profile;
	struct scsi_nexus *nexus;
	struct loop *loop;
	unsigned lun, at; /* need under way */
	unsigned step;    /* of it */
	bool settled;     /* it has said what it found */
	bool over;        /* nothing is sent any more */
	bool told;        /* done() was called */
	void (*done)(void *context, const struct scsi_report *report);
	void *context;
	struct timer limit;
	struct deferred again;
	struct buf *out; /* one page of data-out */
	/* the command under way, and what came of it */
	struct scsi_task task;
	uint8_t cdb[16];
	uint32_t out_length;
	uint64_t tag;
	unsigned attempts; /* unit attentions and BUSY are not for the probes */
	enum scsi_status status;
	uint8_t key;
	uint16_t asc;
	uint8_t in[PROBE_IN_MAX];
	uint32_t in_length;
	/* found so far */
	bool cdrom, read_only;
	uint64_t blocks; /* 0: not known */
	unsigned races;  /* of COMPARE AND WRITE with hosts */
	bool persistent; /* reservations survive power loss */
	uint64_t key_used;
	bool unregistered; /* the key is taken back */
	bool leaving;      /* over, but for taking it back */
};

/* Zeroed room for @length bytes of the next command's data-out. */
uint8_t *probe_out(struct check *check, uint32_t length);
/* The bytes after the last one given are zero. */
void probe_send(struct check *check, const uint8_t cdb[16]);
void probe_good(struct check *check, const char *format, ...) __attribute__((format(printf, 2, 3)));
void probe_bad(struct check *check, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Was the answer GOOD with at least @length bytes? If not, that is what was found. */
bool probe_answered(struct check *check, uint32_t length, const char *command);

/* probe.c */
void probe_disk(struct check *check);
void probe_identity(struct check *check);
void probe_number(struct check *check);
void probe_ready(struct check *check);
void probe_capacity(struct check *check);
void probe_read(struct check *check);
void probe_write(struct check *check);
void probe_ats(struct check *check);
void probe_flush(struct check *check);
void probe_stable(struct check *check);
void probe_reservations(struct check *check);
void probe_unmap(struct check *check);
void probe_write_same(struct check *check);
void probe_copy(struct check *check);
void probe_token(struct check *check);
void probe_paths(struct check *check);
void probe_thresholds(struct check *check);
void probe_unregister(struct check *check); /* the key that was used; changes nothing without it */
unsigned profile_lun_max(const struct check *check);

#endif
