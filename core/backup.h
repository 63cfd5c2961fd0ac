/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_BACKUP_H
#define CORE_BACKUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"

/* A backup of the configuration, in one file that is worth nothing without its passphrase:
 *
 *   0   8  "GRANARYB"
 *   8   1  format, 1
 *   9   1  scrypt's cost, as a power of two (RFC 7914; r = 8, p = 1)
 *   10  6  0
 *   16  16 salt
 *   32  12 nonce
 *   44  n  AES-256-GCM (NIST SP 800-38D) of the parts, the 44 bytes before it authenticated
 *   ..  16 its tag
 *
 * A part: its name's length (2 bytes, big-endian), the name, its data's length (4), the data. */
#define BACKUP_PARTS  16
#define BACKUP_NAME   64
#define BACKUP_MOST   (256u << 20) /* bytes of a file */
#define BACKUP_SECRET 256          /* bytes of a passphrase at most */
#define BACKUP_COST   16           /* 64 MiB of memory, a fifth of a second */

struct backup {
	unsigned count;
	struct backup_part {
		char name[BACKUP_NAME];
		uint8_t *data; /* heap_free()d by backup_free() */
		size_t length;
	} parts[BACKUP_PARTS];
};
void backup_free(struct backup *backup);

/* backup_seal: the file's bytes in *ret_data (the caller heap_free()s them). */
int backup_seal(const struct backup *backup, const char *secret, uint8_t **ret_data,
		size_t *ret_length, struct err *err) __attribute__((warn_unused_result));
/* backup_open: -EPROTO no backup, -EBADMSG the passphrase is wrong or the file damaged. */
int backup_open(const uint8_t *data, size_t length, const char *secret, struct backup *ret_backup,
		struct err *err) __attribute__((warn_unused_result));

/* The parts alone, as they are inside. *ret_plain is the caller's to heap_free(). */
int backup_pack(const struct backup *backup, uint8_t **ret_plain, size_t *ret_length,
		struct err *err) __attribute__((warn_unused_result));
int backup_unpack(const uint8_t *plain, size_t length, struct backup *ret_backup, struct err *err)
    __attribute__((warn_unused_result));

/* backup_state.c. backup_collect: what belongs into a backup of the state directory @dir, the
 * daemon running or not: databases as of one moment each. backup_put: into @dir, replacing what is
 * there; backup_reset: takes it away instead. Both with the daemon stopped (-EBUSY), and what is
 * staged does not count any more. Either way, and when what is staged is put in place, the
 * databases' copies (core/config_copy.h) go before the first of them does. Pools are never touched.
 *
 * Cut off or failed anywhere, there is all of what was, or all of what comes, or a mark: then no
 * backup is collected (-EUCLEAN), and backup_take_staged() finishes it or refuses. Either function
 * takes a mark that was left, once it is through. */
int backup_collect(const char *dir, struct backup *ret_backup, struct err *err)
    __attribute__((warn_unused_result));
int backup_put(const char *dir, const struct backup *backup, struct err *err)
    __attribute__((warn_unused_result));
/* backup_stage: beside what is there, while the daemon runs; its next start puts it in place with
 * backup_take_staged() before it opens anything. Until then backup_unstage() takes it away again.
 * Cut off anywhere, all of it or nothing of it counts.
 *
 * One whose list of parts is damaged before anything of it was in place is put aside: the
 * configuration is the one from before, and @err says so. A restore or reset by hand that was cut
 * off is finished. Negative when that can not be: no daemon is to run on parts of two, and @err
 * says what to do. -EUCLEAN: some of it is in place and the rest can not be known. */
enum backup_taken { BACKUP_NONE, BACKUP_IN_PLACE, BACKUP_PUT_ASIDE, BACKUP_WAS_RESET };
int backup_stage(const char *dir, const struct backup *backup, struct err *err)
    __attribute__((warn_unused_result));
bool backup_is_staged(const char *dir);
int backup_unstage(const char *dir, struct err *err);
int backup_take_staged(const char *dir, enum backup_taken *ret_taken, struct err *err)
    __attribute__((warn_unused_result));
/* One was put aside; until another is staged, or it is taken away by backup_unstage(). */
bool backup_is_aside(const char *dir);
int backup_reset(const char *dir, struct err *err) __attribute__((warn_unused_result));

#endif
