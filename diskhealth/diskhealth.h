/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DISKHEALTH_DISKHEALTH_H
#define DISKHEALTH_DISKHEALTH_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "core/err.h"

/* granary-smart: asks the machine's disks how they are, by smartmontools' smartctl, and tells the
 * daemon (POST /api/v1/disks/health). It alone has the rights that asking needs; the daemon has
 * none of them and starts no program. */

#define SMART_DISKS_MAX  1024u
#define SMART_NAME       64u
#define SMART_OUTPUT_MAX (512u << 10) /* bytes that smartctl may say of a disk */
#define SMART_SECONDS    60           /* for one disk: a broken one may keep its asker for long */
#define SMART_PROGRAM    "/usr/sbin/smartctl"

struct smart_options {
	const char *state_dir, *program;
	unsigned every; /* seconds between two rounds; 0: one round */
	const char *disks[SMART_DISKS_MAX];
	unsigned disk_count; /* 0: those that the machine has */
};
/* options.c: -1 to go on, else the exit status. */
int smart_options_read(int argc, char **argv, struct smart_options *ret_options);

/* report.c: what smartctl's JSON (its output format 1.0) says of disk @name, as one report:
 * {"name", "status", "detail", "temperature_c", "power_on_hours", "wear_percent", "sectors"};
 * status: good     it says so itself, and nothing below is the case failing  it says that it is
 * about to fail, or an NVMe disk has lost spare blocks, reliability, its write mode or its backup
 * of memory warning  sectors that can not be read or wait to be written again, wear of 90 % and
 * more, self-tests that failed, a temperature beyond its limit unknown  it has no such thing, or
 * did not answer: detail says why Never NULL but without memory. @said: NULL, it said nothing that
 * is JSON. Pure. */
json_t *smart_report(const char *name, const json_t *said);

/* ask.c: the JSON that @program says of /dev/@name; NULL with a sentence. Blocks for SMART_SECONDS
 * at most; a program that takes longer is ended. */
json_t *smart_ask(const char *program, const char *name, struct err *err);

/* disks.c: the machine's disks, by the kernel's names. */
unsigned smart_find_disks(char names[][SMART_NAME], unsigned most);

#endif
