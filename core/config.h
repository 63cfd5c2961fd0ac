/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_CONFIG_H
#define CORE_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "core/err.h"

/* The configuration store: one sqlite3 file (WAL, synchronous=FULL, foreign keys on). Read at
 * start, changed through transactions: begin -> change the live object -> commit, or abort and
 * undo. It describes what is exported to whom; a pool describes itself on disk.
 * Context: one thread, the control loop for the configuration itself (calls may wait for an fsync
 * of a small file). */
struct config;
struct config_statement;

/* One row per schema version, in order; version = index + 1. A store newer than the table is
 * refused with -EPROTO and a sentence; an older one is migrated inside one transaction, after a
 * durable copy to "<path>.v<old>" (core/config_copy.h). */
struct config_migration {
	const char *summary;
	const char *sql;
};

int config_open(const char *path, const struct config_migration *migrations, unsigned count,
		struct config **ret_config, struct err *err) __attribute__((warn_unused_result));

/* config_open_or_back: as config_open(), but a store that is newer than @migrations gives way to
 * the highest copy of a schema that they know, if there is one that is whole: the newer one stays
 * as
 * "<path>.newer-v<its version>". For the configuration alone: what reservations or epochs say now
 * is not in any copy.
 * @settled: NULL, or a query that has to give 0 in both of them. back->from is 0 when it did not go
 * back.
 * Durable: on 0. Cut off anywhere, @path is either of the two, whole. */
struct config_back {
	const char *settled;
	int64_t from, to; /* schema versions */
	int64_t copied;   /* seconds since 1970: what was changed later is missing */
};
/* config_version: the schema version of the store @path; 0: there is none. Nothing is migrated. */
int config_version(const char *path, int64_t *ret_version, struct err *err)
    __attribute__((warn_unused_result));
int config_open_or_back(const char *path, const struct config_migration *migrations, unsigned count,
			struct config_back *back, struct config **ret_config, struct err *err)
    __attribute__((warn_unused_result));
void config_close(struct config *config);

int config_begin(struct config *config, struct err *err) __attribute__((warn_unused_result));
int config_commit(struct config *config, struct err *err) __attribute__((warn_unused_result));
void config_abort(struct config *config); /* harmless without a transaction */

/* config_prepare: @sql with ? parameters. config_bind_*: 1-based. config_step: 1 = a row,
 * 0 = done, negative = error (-EEXIST for a uniqueness violation, -ENOSPC, -EIO ...). */
int config_prepare(struct config *config, const char *sql, struct config_statement **ret_statement,
		   struct err *err) __attribute__((warn_unused_result));
void config_bind_text(struct config_statement *statement, int index,
		      const char *text); /* NULL = null */
void config_bind_number(struct config_statement *statement, int index, int64_t number);
void config_bind_blob(struct config_statement *statement, int index, const void *data, int length);
int config_step(struct config_statement *statement, struct err *err)
    __attribute__((warn_unused_result));
const char *config_text(struct config_statement *statement, int column); /* until next step */
int64_t config_number(struct config_statement *statement, int column);
const void *config_blob(struct config_statement *statement, int column, int *ret_length);
void config_finish(struct config_statement *statement);

/* config_run: a statement without results, parameters as texts ("s") or numbers ("i"):
 * config_run(c, err, "delete from lun where target = ? and lun = ?", "si", iqn, 3). */
int config_run(struct config *config, struct err *err, const char *sql, const char *types, ...)
    __attribute__((warn_unused_result));

#endif
