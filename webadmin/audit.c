/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/heap.h"
#include "core/log.h"
#include "webadmin/access.h"
#include "webadmin/admin.h"

/* An entry's hash is SHA-256 over the hash of the entry before it and this entry's members, one a
 * line: who changes, removes or slips in one has to make all later ones anew, and the hash of
 * the newest, written down elsewhere (an export, the journal of a syslog server), tells. */

struct entry {
	int64_t id, at; /* milliseconds since 1970 */
	const char *who, *address, *method, *path, *code;
	int status;
};

static bool entry_hash(const char *before, const struct entry *entry, char hash[65])
{
	unsigned char digest[SHA256_DIGEST_LENGTH];
	char *text = heap_printf("%s\n%" PRId64 "\n%" PRId64 "\n%s\n%s\n%s\n%s\n%d\n%s\n", before,
				 entry->id, entry->at, entry->who, entry->address, entry->method,
				 entry->path, entry->status, entry->code);

	if (!text)
		return false;
	SHA256((const unsigned char *)text, strlen(text), digest);
	heap_free(text);
	for (unsigned i = 0; i < sizeof digest; i++)
		snprintf(hash + 2 * i, 3, "%02x", digest[i]);
	return true;
}

int audit_load(struct access *access, struct err *err)
{
	struct config_statement *statement;
	int result = config_prepare(
	    access->store, "select id, hash from audit order by id desc limit 1", &statement, err);

	if (result < 0)
		return result;
	result = config_step(statement, err);
	if (result > 0) {
		access->audit_last = config_number(statement, 0);
		snprintf(access->audit_hash, sizeof access->audit_hash, "%s",
			 config_text(statement, 1));
	}
	config_finish(statement);
	return result < 0 ? result : 0;
}

static int insert(struct access *access, const struct entry *entry, const char *hash,
		  struct err *err)
{
	struct config_statement *statement;
	int result = config_prepare(access->store,
				    "insert into audit(id, at, who, address, method, path, status,"
				    " code, hash) values(?, ?, ?, ?, ?, ?, ?, ?, ?)",
				    &statement, err);

	if (result < 0)
		return result;
	config_bind_number(statement, 1, entry->id);
	config_bind_number(statement, 2, entry->at);
	config_bind_text(statement, 3, entry->who);
	config_bind_text(statement, 4, entry->address);
	config_bind_text(statement, 5, entry->method);
	config_bind_text(statement, 6, entry->path);
	config_bind_number(statement, 7, entry->status);
	config_bind_text(statement, 8, entry->code);
	config_bind_text(statement, 9, hash);
	result = config_step(statement, err);
	config_finish(statement);
	return result < 0 ? result : 0;
}

static void trim(struct access *access)
{
	struct err err = {0};

	if (access->audit_last % 1000 == 0 &&
	    config_run(access->store, &err,
		       "delete from audit where id <= (select max(id) from audit) - 500000",
		       "") < 0)
		log_warning("audit log: %s", err.text);
}

void audit_add(struct access *access, const struct identity *who, const char *method,
	       const char *path, int status, const char *code)
{
	struct entry entry = {
	    .id = access->audit_last + 1,
	    .at = (int64_t)(loop_wall(access->loop) / 1000000u),
	    .who = who->name,
	    .address = who->address,
	    .method = method,
	    .path = path,
	    .code = code ? code : "",
	    .status = status,
	};
	struct err err = {0};
	char hash[65];

	if (access->store && entry_hash(access->audit_hash, &entry, hash) &&
	    insert(access, &entry, hash, &err) == 0) {
		access->audit_last = entry.id;
		memcpy(access->audit_hash, hash, sizeof hash);
		trim(access);
		return;
	}
	access->audit_lost++;
	log_error("audit log: not written (%s): %s %s %s by %s from %s: %d",
		  err.code ? err.text : "it is not open", method, path, entry.code, entry.who,
		  entry.address[0] ? entry.address : "this machine", status);
}

static json_t *show_entry(struct config_statement *statement)
{
	return json_pack(
	    "{s:I,s:I,s:s,s:s,s:s,s:s,s:I,s:s,s:s}", "id", (json_int_t)config_number(statement, 0),
	    "at_ms", (json_int_t)config_number(statement, 1), "who", config_text(statement, 2),
	    "address", config_text(statement, 3), "method", config_text(statement, 4), "path",
	    config_text(statement, 5), "status", (json_int_t)config_number(statement, 6), "code",
	    config_text(statement, 7), "hash", config_text(statement, 8));
}

/* ---- to syslog servers: nothing is left out, over failures and restarts ---- */

void audit_told(struct access *access, const char *channel, int64_t last)
{
	struct config_statement *statement;
	struct err err = {0};
	int result = config_prepare(access->store,
				    "insert or replace into audit_told(channel, last) values(?, ?)",
				    &statement, &err);

	if (result == 0) {
		config_bind_text(statement, 1, channel);
		config_bind_number(statement, 2, last);
		result = config_step(statement, &err);
		config_finish(statement);
	}
	if (result < 0) /* then some are sent once more */
		log_warning("audit log: what %s has can not be kept: %s", channel, err.text);
}

void audit_forget(struct access *access, const char *channel)
{
	struct err err = {0};

	if (access->store &&
	    config_run(access->store, &err, "delete from audit_told where channel = ?", "s",
		       channel) < 0)
		log_warning("audit log: %s", err.text);
}

/* Where a channel stands; one that is new has nothing of before. -1: that can not be read now. */
static int64_t stands_at(struct access *access, const char *channel)
{
	struct config_statement *statement;
	struct err err = {0};
	int64_t last = -1;
	int result;

	if (config_prepare(access->store, "select last from audit_told where channel = ?",
			   &statement, &err) < 0)
		return -1;
	config_bind_text(statement, 1, channel);
	result = config_step(statement, &err);
	if (result > 0)
		last = config_number(statement, 0);
	config_finish(statement);
	if (result == 0) {
		last = access->audit_last;
		audit_told(access, channel, last);
	}
	return last;
}

/* One line; control characters, which would end it, are not in JSON. NULL: no memory. */
static char *syslog_line(struct config_statement *statement, const char *host)
{
	json_t *entry = show_entry(statement);
	char *text = entry ? json_dumps(entry, JSON_COMPACT | JSON_ENSURE_ASCII) : NULL;
	time_t seconds = (time_t)(config_number(statement, 1) / 1000);
	char at[32] = "-", *line = NULL;
	struct tm parts;

	if (gmtime_r(&seconds, &parts))
		strftime(at, sizeof at, "%Y-%m-%dT%H:%M:%SZ", &parts);
	if (text)
		line = heap_printf("<110>1 %s %s granary - audit - %s\n", at, host[0] ? host : "-",
				   text);
	free(text);
	json_decref(entry);
	return line;
}

/* Steals @line, which may be NULL. False: no memory. */
static bool append(char **lines, char *line)
{
	size_t before = *lines ? strlen(*lines) : 0;
	char *longer = line ? heap_resize(*lines, before + strlen(line) + 1) : NULL;

	if (longer) {
		memcpy(longer + before, line, strlen(line) + 1);
		*lines = longer;
	}
	heap_free(line);
	return longer != NULL;
}

char *audit_untold(struct access *access, const char *channel, const char *host, int64_t *last)
{
	struct config_statement *statement;
	struct err err = {0};
	char *lines = NULL;

	if (!access->store)
		return NULL;
	if (*last == 0 && (*last = stands_at(access, channel)) < 0) {
		*last = 0;
		return NULL;
	}
	if (*last >= access->audit_last ||
	    config_prepare(access->store,
			   "select id, at, who, address, method, path, status, code, hash"
			   " from audit where id > ? order by id limit ?",
			   &statement, &err) < 0)
		return NULL;
	config_bind_number(statement, 1, *last);
	config_bind_number(statement, 2, AUDIT_BATCH);
	while (config_step(statement, &err) > 0) {
		if (!append(&lines, syslog_line(statement, host)))
			break;
		*last = config_number(statement, 0);
	}
	config_finish(statement);
	return lines;
}

static bool read_number(const struct api_request *request, const char *name, int64_t *number)
{
	char text[24], *end;

	if (!api_query(request, name, text, sizeof text))
		return true;
	*number = strtoll(text, &end, 10);
	return end != text && !*end && *number >= 0;
}

/* Newest first: ?before=ID goes back in time; ?after=ID goes forward, oldest first. */
void api_audit_list(struct api_request *request)
{
	struct access *access = request->admin->access;
	int64_t limit = 100, before = 0, after = -1;
	struct config_statement *statement;
	json_t *list = json_array();
	const char *sql = "select id, at, who, address, method, path, status, code, hash from audit"
			  " where id < ? order by id desc limit ?";

	if (!read_number(request, "limit", &limit) || !read_number(request, "before", &before) ||
	    !read_number(request, "after", &after) || limit < 1 || limit > 1000) {
		json_decref(list);
		api_reply_error(request, 400, "bad_query",
				"limit (1 to 1000), before and after are numbers");
		return;
	}
	if (after >= 0)
		sql = "select id, at, who, address, method, path, status, code, hash from audit"
		      " where id > ? order by id limit ?";
	if (!access->store || config_prepare(access->store, sql, &statement, &request->err) < 0) {
		json_decref(list);
		api_reply_error(request, 503, "audit_unavailable", "the audit log is not open");
		return;
	}
	config_bind_number(statement, 1, after >= 0 ? after : before > 0 ? before : INT64_MAX);
	config_bind_number(statement, 2, limit);
	while (config_step(statement, &request->err) > 0)
		json_array_append_new(list, show_entry(statement));
	config_finish(statement);
	api_reply(request, 200, list);
}

/* Is @first an oldest entry that trim() may have left? */
static bool is_trimmed(const struct access *access, int64_t first)
{
	return access->audit_last - first >= AUDIT_MAX - 1;
}

/* The chain from the oldest entry that is kept. */
void api_audit_check(struct api_request *request)
{
	struct access *access = request->admin->access;
	struct config_statement *statement;
	char before[65] = "", hash[65];
	int64_t count = 0, broken = 0, next = 0;

	if (!access->store ||
	    config_prepare(access->store,
			   "select id, at, who, address, method, path, status, code, hash"
			   " from audit order by id",
			   &statement, &request->err) < 0) {
		api_reply_error(request, 503, "audit_unavailable", "the audit log is not open");
		return;
	}
	while (!broken && config_step(statement, &request->err) > 0) {
		struct entry entry = {
		    config_number(statement, 0), config_number(statement, 1),
		    config_text(statement, 2),   config_text(statement, 3),
		    config_text(statement, 4),   config_text(statement, 5),
		    config_text(statement, 7),   (int)config_number(statement, 6),
		};
		bool first = count++ == 0;

		if (first && entry.id > 1)
			broken = is_trimmed(access, entry.id) ? 0 : entry.id;
		else if ((!first && entry.id != next) || !entry_hash(before, &entry, hash) ||
			 strcmp(hash, config_text(statement, 8)) != 0)
			broken = entry.id;
		next = entry.id + 1;
		snprintf(before, sizeof before, "%s", config_text(statement, 8));
	}
	config_finish(statement);
	if (!broken && strcmp(before, access->audit_hash) != 0)
		broken = next ? next : 1; /* entries at the end are gone, or all of them */
	api_reply(request, 200,
		  json_pack("{s:b,s:I,s:I,s:s,s:I}", "whole", broken == 0, "entries",
			    (json_int_t)count, "broken_at", (json_int_t)broken, "newest_hash",
			    access->audit_hash, "lost", (json_int_t)access->audit_lost));
}
