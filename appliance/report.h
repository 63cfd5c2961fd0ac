/* SPDX-License-Identifier: Apache-2.0 */
#ifndef APPLIANCE_REPORT_H
#define APPLIANCE_REPORT_H

#include <stdbool.h>
#include <stdint.h>

#include "appliance/grubenv.h"

/* What granary-update and granary-hostd tell each other, in a folder that a restart empties:
 *
 *   update.ask   what hostd wants done (granary-update asked)
 *   update.json  how far it is, or how it ended
 *   boot.json    which release runs, and what the boot loader was told last
 *   update.stop  there while the one that is under way is to be given up (report_stop)
 *   update.lock  flock()ed as long as an update is under way, whoever has begun it */
#define REPORT_FOLDER "/run/granary"
#define REPORT_ASK    "update.ask"
#define REPORT_UPDATE "update.json"
#define REPORT_BOOT   "boot.json"
#define REPORT_STOP   "update.stop"
#define REPORT_LOCK   "update.lock"

enum report_state {
	REPORT_STARTING, /* asked for */
	REPORT_CHECKING, /* the bundle's head is read and its signature verified */
	REPORT_WRITING,  /* into the slot, and read back */
	REPORT_DONE,
	REPORT_WOULD, /* the end of a dry run */
	REPORT_FAILED
};

struct report {
	enum report_state state;
	bool rollback; /* else an install */
	char version[32], slot;
	uint64_t done, size;           /* bytes written and read back, of how many */
	int64_t started, began, ended; /* began: to write; seconds since 1970, 0: not yet */
	char code[24];                 /* stable, for programs; of a failure */
	struct err err;
};

/* report_tell: @folder/update.json is @report. report_boot: @folder/boot.json says that @release
 * runs from slot @running, and what @env says of the next start. */
int report_tell(const char *folder, const struct report *report, struct err *err);
int report_boot(const char *folder, const char *release, char running, const struct grubenv *env,
		struct err *err);

/* report_stop: the update that is under way is to be given up; report_stopped: has that been said?
 * report_go: it has not. */
int report_stop(const char *folder, struct err *err);
bool report_stopped(const char *folder);
void report_go(const char *folder);

/* report_lock: -EBUSY: an update is under way. *ret_lock is to be closed. */
int report_lock(const char *folder, int *ret_lock, struct err *err)
    __attribute__((warn_unused_result));

/* report_code: the code of an update that failed with @error (-errno). */
const char *report_code(int error);

#endif
