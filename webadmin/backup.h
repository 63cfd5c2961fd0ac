/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEBADMIN_BACKUP_H
#define WEBADMIN_BACKUP_H

#include <jansson.h>

#include "core/backup.h"

struct webadmin;

/* Inside webadmin/: a backup of the configuration (core/backup.h) by way of the API. It goes out
 * and comes in by pieces, since it may be larger than a message; while it is here it is sealed.
 *
 *   POST /backup (made) -> GET /backup/{id}?offset= .. (bytes)
 *   PUT /backup/upload?offset= .. -> POST /backup/restore?dry_run=1 (what would change)
 *     -> POST /backup/restore (staged) -> the next start of the daemon puts it in place
 *
 * A passphrase's key takes a moment and 64 MiB: a thread does it, one at a time. */
#define BACKUP_UPLOAD_MAX (64u << 20)
#define BACKUP_PIECE_MAX  (1u << 20)
#define BACKUP_KEPT_NS    (600 * 1000000000ull) /* what was made or uploaded, since it was used */

/* backups_stop: the daemon stops: the thread is waited for. backups_free: at the end. */
void backups_stop(struct webadmin *admin);
void backups_free(struct webadmin *admin);

/* backup_changes.c: what is different in @then from @now, [{"what", "name", "change"}] with comes,
 * goes or changes, BACKUP_CHANGES_MAX at most; NULL with @err: @then is not what it has to be, or
 * a newer version's. No secrets. Context: any thread. */
#define BACKUP_CHANGES_MAX 1000u
json_t *backup_changes(const struct backup *now, const struct backup *then, struct err *err);

#endif
