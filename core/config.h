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

/* One row per schema version, in order; version = index + 1. An older store is migrated inside one
 * transaction, after a durable copy to "<path>.v<old>" (core/config_copy.h).
 *
 * A system that starts from its other slot again finds a store that a newer release has migrated.
 * So a row says what a program that does not know it would get wrong: @beyond, one select that
 * counts what of it is in use ("select count(*) from lun where read_only"). It is kept in the
 * store. An older program goes on with a newer store while each of these counts is 0, and the row
 * leaves alone all that older programs read and write: new tables, new columns with a default,
 * nothing renamed, nothing dropped, no reference to old tables without "on delete cascade". Where
 * that can not be, @beyond is NULL and older programs refuse the store with -EPROTO and a sentence
 * that names what stands in the way. */
struct config_migration {
	const char *summary; /* what is new, as an administrator calls it */
	const char *sql;
	const char *beyond;
};

int config_open(const char *path, const struct config_migration *migrations, unsigned count,
		struct config **ret_config, struct err *err) __attribute__((warn_unused_result));

/* config_open_or_back: as config_open(), but a newer store that can not be gone on with gives way
 * to the highest copy of a schema that @migrations know, if there is one that is whole: the newer
 * one stays as "<path>.newer-v<its version>". For the configuration alone: what reservations or
 * epochs say now is not in any copy.
 * @settled: NULL, or a query that has to give 0 in both of them. back->from is 0 when it did not go
 * back.
 * Durable: on 0. Cut off anywhere, @path is either of the two, whole. */
struct config_back {
	const char *settled;
	int64_t from, to; /* schema versions */
	int64_t copied;   /* seconds since 1970: what was changed later is missing */
};
/* config_check: would config_open() go on with the store @path, as far as its schema goes, or is
 * there none? Nothing is migrated. config_goes_back_to: the oldest version whose programs can go on
 * with what @migrations make of a store, as long as nothing new is used. */
int config_check(const char *path, unsigned known, struct err *err)
    __attribute__((warn_unused_result));
unsigned config_goes_back_to(const struct config_migration *migrations, unsigned count);
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
