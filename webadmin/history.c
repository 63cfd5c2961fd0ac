/* SPDX-License-Identifier: Apache-2.0 */
#include "webadmin/history.h"

#include <errno.h>
#include <stdlib.h>

#include "core/heap.h"
#include "core/log.h"
#include "webadmin/admin.h"
#include "webadmin/api.h"

#define RATES      4
#define MINUTE_S   60
#define HOUR_MIN   60
#define HOURS_MOST (HISTORY_HOUR_DAYS * 24)

struct history {
	struct webadmin *admin;
	struct config *config; /* NULL: nothing is kept */
	int64_t minute;        /* whose seconds are counted, since 1970; 0: none yet */
	uint64_t seconds, sum[RATES];
	struct scsi_latencies before; /* at the end of the minute before */
	bool known;                   /* ... which there was */
	bool failing;
};

static const struct config_migration migrations[] = {
    {"load of minutes and hours",
     "create table load_minute(minute integer primary key, read_bytes integer not null,"
     "  write_bytes integer not null, reads integer not null, writes integer not null,"
     "  read_us integer not null, write_us integer not null);"
     "create table load_hour(hour integer primary key, read_bytes integer not null,"
     "  write_bytes integer not null, reads integer not null, writes integer not null,"
     "  read_us integer not null, write_us integer not null);",
     NULL},
};

/* Hours that are over and have no row yet; then what is too old goes. */
static int fold(struct config *config, int64_t minute, struct err *err)
{
	int64_t hour = minute / HOUR_MIN;
	int result = config_begin(config, err);

	if (result == 0)
		result = config_run(
		    config, err,
		    "insert or ignore into load_hour(hour, read_bytes, write_bytes, reads, writes,"
		    " read_us, write_us) select minute / 60,"
		    " cast(avg(read_bytes) as integer), cast(avg(write_bytes) as integer),"
		    " cast(avg(reads) as integer), cast(avg(writes) as integer),"
		    " max(read_us), max(write_us) from load_minute where minute < ? group by 1",
		    "i", (int)(hour * HOUR_MIN));
	if (result == 0)
		result = config_run(config, err, "delete from load_minute where minute < ?", "i",
				    (int)(minute - HISTORY_MINUTE_DAYS * 24 * HOUR_MIN));
	if (result == 0)
		result = config_run(config, err, "delete from load_hour where hour < ?", "i",
				    (int)(hour - HOURS_MOST));
	if (result == 0)
		result = config_commit(config, err);
	config_abort(config);
	return result;
}

static int64_t minute_now(const struct history *history)
{
	return (int64_t)(loop_wall(history->admin->options.control) / 1000000000u / MINUTE_S);
}

struct history *history_open(struct webadmin *admin)
{
	struct history *history = heap_zalloc(sizeof *history);
	char *path = heap_printf("%s/history.db", admin->options.state_dir);
	struct err err = {0};
	int result = -ENOMEM;

	if (history) {
		history->admin = admin;
		if (path)
			result =
			    config_open(path, migrations, sizeof migrations / sizeof *migrations,
					&history->config, &err);
		if (result == 0)
			result = fold(history->config, minute_now(history), &err);
		if (result < 0)
			log_warning("no history of the load is kept: %s",
				    err.code ? err.text : "out of memory");
	}
	heap_free(path);
	return history;
}

void history_close(struct history *history)
{
	if (!history)
		return;
	config_close(history->config);
	heap_free(history);
}

/* ---- what a minute was like ---- */
static void add_initiator(void *context, const char *name, const struct scsi_latencies *latencies)
{
	struct scsi_latencies *sum = context;

	(void)name;
	latency_add(&latencies->read, &sum->read);
	latency_add(&latencies->write, &sum->write);
}

static void add_host(void *context, const char *address, const struct nfs_tally *tally)
{
	struct scsi_latencies *sum = context;

	(void)address;
	latency_add(&tally->latency[NFS_CLASS_READ], &sum->read);
	latency_add(&tally->latency[NFS_CLASS_WRITE], &sum->write);
}

static int store(const struct history *history, int64_t read_us, int64_t write_us, struct err *err)
{
	struct config_statement *statement;
	int result = config_prepare(
	    history->config,
	    "insert or replace into load_minute(minute, read_bytes, write_bytes, reads, writes,"
	    " read_us, write_us) values(?, ?, ?, ?, ?, ?, ?)",
	    &statement, err);

	if (result < 0)
		return result;
	config_bind_number(statement, 1, history->minute);
	for (int i = 0; i < RATES; i++)
		config_bind_number(statement, 2 + i, (int64_t)(history->sum[i] / history->seconds));
	config_bind_number(statement, 2 + RATES, read_us);
	config_bind_number(statement, 3 + RATES, write_us);
	result = config_step(statement, err);
	config_finish(statement);
	return result < 0 ? result : 0;
}

static void end_minute(struct history *history, int64_t now)
{
	const struct nfs_server *nfs = history->admin->options.nfs;
	struct scsi_latencies latencies = {0};
	int64_t read_us = 0, write_us = 0;
	struct err err = {0};
	int result;

	scsi_client_latency(NULL, add_initiator, &latencies);
	if (nfs)
		nfs_client_tallies(nfs, NULL, add_host, &latencies);
	if (history->known) { /* 0 where a client was forgotten meanwhile and its counts with it */
		read_us =
		    (int64_t)(latency_slowest_ns(&history->before.read, &latencies.read) / 1000);
		write_us =
		    (int64_t)(latency_slowest_ns(&history->before.write, &latencies.write) / 1000);
	}
	history->before = latencies;
	history->known = true;
	result = store(history, read_us, write_us, &err);
	if (result == 0 && now / HOUR_MIN != history->minute / HOUR_MIN)
		result = fold(history->config, now, &err);
	if (result < 0 && !history->failing)
		log_warning("the history of the load can not be stored: %s", err.text);
	history->failing = result < 0;
}

void history_second(struct history *history, const uint64_t rate[4])
{
	int64_t now;

	if (!history || !history->config)
		return;
	now = minute_now(history);
	if (history->seconds && now != history->minute) {
		end_minute(history, now);
		history->seconds = 0;
		for (unsigned i = 0; i < RATES; i++)
			history->sum[i] = 0;
	}
	history->minute = now;
	history->seconds++;
	for (unsigned i = 0; i < RATES; i++)
		history->sum[i] += rate[i];
}

/* ---- GET /history ---- */
static bool read_hours(struct api_request *request, unsigned long *ret_hours)
{
	char text[16] = "24", *end;

	(void)api_query(request, "hours", text, sizeof text);
	*ret_hours = strtoul(text, &end, 10);
	if (text[0] >= '0' && text[0] <= '9' && !*end && *ret_hours >= 1 &&
	    *ret_hours <= HOURS_MOST)
		return true;
	api_reply_error(request, 400, "bad_query", "hours is a number from 1 to %d", HOURS_MOST);
	return false;
}

/* @unit_s: seconds of a row; so many of them make a sample that there are not too many. */
static json_t *read_samples(struct config *config, const char *sql, int64_t unit_s, int64_t from,
			    int64_t step, struct err *err)
{
	struct config_statement *statement;
	json_t *list;

	if (config_prepare(config, sql, &statement, err) < 0)
		return NULL;
	list = json_array();
	config_bind_number(statement, 1, step);
	config_bind_number(statement, 2, step);
	config_bind_number(statement, 3, from);
	while (config_step(statement, err) > 0) {
		json_t *sample = json_array();

		json_array_append_new(sample,
				      json_integer(config_number(statement, 0) * unit_s * 1000));
		for (int i = 1; i <= RATES + 2; i++)
			json_array_append_new(sample, json_integer(config_number(statement, i)));
		json_array_append_new(list, sample);
	}
	config_finish(statement);
	return list;
}

#define COLUMNS                                                                                    \
	" avg(read_bytes), avg(write_bytes), avg(reads), avg(writes), max(read_us), max(write_us)"

void api_history_show(struct api_request *request)
{
	const struct history *history = request->admin->history;
	unsigned long hours;
	int64_t rows, unit_s, step;
	json_t *list;
	bool fine;

	if (!read_hours(request, &hours))
		return;
	if (!history || !history->config) {
		api_reply_error(request, 503, "unavailable", "no history is kept; see the log");
		return;
	}
	fine = hours <= HISTORY_MINUTE_DAYS * 24;
	unit_s = fine ? MINUTE_S : MINUTE_S * HOUR_MIN;
	rows = (int64_t)hours * (fine ? HOUR_MIN : 1);
	step = (rows + HISTORY_SAMPLES_MAX - 1) / HISTORY_SAMPLES_MAX;
	list = read_samples(history->config,
			    fine ? "select minute / ? * ?," COLUMNS
				   " from load_minute where minute >= ? group by 1 order by 1"
				 : "select hour / ? * ?," COLUMNS
				   " from load_hour where hour >= ? group by 1 order by 1",
			    unit_s, minute_now(history) * MINUTE_S / unit_s - rows, step,
			    &request->err);
	if (!list) {
		api_reply_failure(request, NULL);
		return;
	}
	api_reply(request, 200,
		  json_pack("{s:I,s:[sssssss],s:o}", "interval_seconds",
			    (json_int_t)(step * unit_s), "columns", "at_ms",
			    "read_bytes_per_second", "write_bytes_per_second", "reads_per_second",
			    "writes_per_second", "read_us_99", "write_us_99", "samples", list));
}
