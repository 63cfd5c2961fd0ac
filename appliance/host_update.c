/* SPDX-License-Identifier: Apache-2.0 */
#include "appliance/host_update.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "appliance/answer.h"
#include "appliance/files.h"
#include "appliance/report.h"
#include "core/heap.h"
#include "core/piece.h"

#define SYNC_BYTES (32u << 20) /* a crash costs no more than so much of an upload */
#define URL_MAX    2000u

void update_init(struct host_update *update, const char *settings, const char *folder,
		 int (*start)(struct err *err))
{
	*update = (struct host_update){.folder = folder, .start = start};
	snprintf(update->bundle, sizeof update->bundle, "%s.bundle", settings);
	snprintf(update->note, sizeof update->note, "%s.bundle.json", settings);
}

/* --- what is there of a bundle ---------------------------------------------------------------- */

/* A row of the note and the file beside it. */
struct bundle_there {
	char name[BUNDLE_NAME_MAX + 1];
	uint64_t size, received;
	bool complete, resumed;
};

static int note_write(const struct host_update *update, const struct bundle_there *there,
		      struct err *err)
{
	json_t *note =
	    json_pack("{s:s,s:I,s:b,s:b}", "name", there->name, "size", (json_int_t)there->size,
		      "complete", there->complete, "resumed", there->resumed);
	char *text = note ? json_dumps(note, JSON_COMPACT) : NULL;
	int result = text ? file_replace(update->note, text, strlen(text), 0600, err)
			  : err_set(err, -ENOMEM, "out of memory");

	free(text); /* jansson's */
	json_decref(note);
	return result;
}

/* False: there is none. */
static bool find_bundle(const struct host_update *update, struct bundle_there *there)
{
	json_t *note = json_load_file(update->note, 0, NULL);
	const char *name = json_string_value(json_object_get(note, "name"));
	json_int_t size = json_integer_value(json_object_get(note, "size"));
	struct stat file;
	bool good = name && strlen(name) <= BUNDLE_NAME_MAX && size > 0;

	*there = (struct bundle_there){.size = good ? (uint64_t)size : 0};
	if (good) {
		snprintf(there->name, sizeof there->name, "%s", name);
		there->complete = json_is_true(json_object_get(note, "complete"));
		there->resumed = json_is_true(json_object_get(note, "resumed"));
		if (stat(update->bundle, &file) == 0)
			there->received = (uint64_t)file.st_size;
		/* granary-update has taken it away, or it is none of this upload's. */
		if (there->received > there->size ||
		    (there->complete && there->received != there->size))
			good = false;
	}
	json_decref(note);
	return good;
}

static void drop(const struct host_update *update)
{
	unlink(update->note);
	unlink(update->bundle);
}

/* --- what granary-update says ------------------------------------------------------------------
 */

static json_t *read_report(const struct host_update *update, const char *name)
{
	char path[UPDATE_PATH_ROOM];

	snprintf(path, sizeof path, "%s/%s", update->folder, name);
	return json_load_file(path, 0, NULL);
}

static bool is_state(const json_t *report, const char *state)
{
	const char *now = json_string_value(json_object_get(report, "state"));

	return now && strcmp(now, state) == 0;
}

/* Asked for, and the unit has not begun. */
static bool is_starting(struct host_update *update, const json_t *report, uint64_t now)
{
	if (!is_state(report, "starting"))
		update->asked_ns = 0;
	return update->asked_ns && now - update->asked_ns < UPDATE_START_NS;
}

/* *ret_report: what is told of the last update, NULL: there was none since the start. The lock is
 * looked at first: when it is free, what the report says is the end. */
static bool is_under_way(struct host_update *update, uint64_t now, json_t **ret_report)
{
	int lock, result = report_lock(update->folder, &lock, NULL);
	json_t *report = read_report(update, REPORT_UPDATE);
	bool under_way = result == -EBUSY || is_starting(update, report, now);

	if (result == 0)
		close(lock);
	if (!under_way && (is_state(report, "starting") || is_state(report, "checking") ||
			   is_state(report, "writing"))) {
		json_object_set_new(report, "state", json_string("failed"));
		json_object_set_new(report, "code", json_string("update_stopped"));
		json_object_set_new(report, "detail",
				    json_string("granary-update ended before it was done; the "
						"release that runs is as it was"));
	}
	*ret_report = report;
	return under_way;
}

/* NULL: no update is under way, else why not. */
static json_t *refuse_second(struct host_update *update, uint64_t now)
{
	json_t *report;
	bool under_way = is_under_way(update, now, &report);

	json_decref(report);
	return under_way ? answer_problem(409, "update_under_way", "an update is under way") : NULL;
}

/* Seconds to go, as it has gone so far; told at the moment of asking, for what is silent takes its
 * time too. */
static void show_eta(json_t *report, bool under_way)
{
	double done = (double)json_integer_value(json_object_get(report, "done_bytes"));
	double size = (double)json_integer_value(json_object_get(report, "size_bytes"));
	json_int_t began = json_integer_value(json_object_get(report, "began"));
	double took = difftime(time(NULL), (time_t)began), eta = 0;

	if (under_way && began && done > 0 && size > done && took > 0)
		eta = took * (size - done) / done;
	json_object_set_new(report, "eta_seconds", json_integer((json_int_t)eta));
	json_object_del(report, "began");
}

static json_t *show(struct host_update *update, int status, uint64_t now)
{
	json_t *report, *boot = read_report(update, REPORT_BOOT), *body = json_object();
	bool under_way = is_under_way(update, now, &report);
	struct bundle_there there;

	json_object_update(body, boot);
	json_object_set_new(body, "under_way", json_boolean(under_way));
	if (report) {
		show_eta(report, under_way);
		json_object_set(body, "update", report);
	}
	if (find_bundle(update, &there))
		json_object_set_new(body, "bundle",
				    json_pack("{s:s,s:I,s:I,s:b}", "name", there.name, "size_bytes",
					      (json_int_t)there.size, "received_bytes",
					      (json_int_t)there.received, "complete",
					      there.complete));
	json_decref(report);
	json_decref(boot);
	return answer(status, body);
}

json_t *update_show(struct host_update *update, const json_t *body, uint64_t now)
{
	(void)body;
	return show(update, 200, now);
}

/* --- asking ----------------------------------------------------------------------------------- */

static json_t *failed(const struct err *err)
{
	return answer_problem(err->code == -ENOSPC ? 507 : 500,
			      err->code == -ENOSPC ? "no_room" : "host_failed", "%s", err->text);
}

/* @ask (stolen) is written down and the unit started. */
static json_t *start(struct host_update *update, json_t *ask, bool rollback, uint64_t now)
{
	struct report report = {
	    .state = REPORT_STARTING, .rollback = rollback, .started = time(NULL)};
	char path[UPDATE_PATH_ROOM], *text = json_dumps(ask, JSON_COMPACT);
	struct err err = {0};
	int result;

	json_decref(ask);
	snprintf(path, sizeof path, "%s/" REPORT_ASK, update->folder);
	report_go(update->folder);
	result = text ? file_replace(path, text, strlen(text), 0600, &err)
		      : err_set(&err, -ENOMEM, "out of memory");
	free(text); /* jansson's */
	if (result == 0)
		result = report_tell(update->folder, &report, &err);
	if (result == 0)
		result = update->start(&err);
	if (result < 0) {
		unlink(path);
		update->asked_ns = 0; /* what stands as starting has stopped */
		return failed(&err);
	}
	update->asked_ns = now;
	return show(update, 202, now);
}

json_t *update_ask(struct host_update *update, const json_t *body, uint64_t now)
{
	const char *url = json_string_value(json_object_get(body, "url"));
	json_t *refused = refuse_second(update, now);
	struct bundle_there there;

	if (refused)
		return refused;
	if (url && (strncasecmp(url, "https://", 8) != 0 || strlen(url) > URL_MAX))
		return answer_problem(400, "bad_url", "a bundle is fetched by https alone");
	if (!url && !find_bundle(update, &there))
		return answer_problem(409, "nothing_uploaded",
				      "there is no bundle: upload one first, or give a url");
	if (!url && !there.complete)
		return answer_problem(409, "not_all_there", "the upload of the bundle is not done");
	return start(update,
		     json_pack("{s:s,s:b,s:b,s:b,s:b}", "source", url ? url : update->bundle,
			       "upload", !url, "allow_older",
			       json_is_true(json_object_get(body, "allow_older")), "one_way",
			       json_is_true(json_object_get(body, "one_way")), "dry_run",
			       json_is_true(json_object_get(body, "dry_run"))),
		     false, now);
}

json_t *update_cancel(struct host_update *update, const json_t *body, uint64_t now)
{
	struct err err = {0};
	json_t *report;
	bool under_way = is_under_way(update, now, &report);
	const char *kind = json_string_value(json_object_get(report, "kind"));
	bool rollback = kind && strcmp(kind, "rollback") == 0;

	(void)body;
	json_decref(report);
	if (!under_way || rollback)
		return answer_problem(409, "no_update_under_way",
				      "no update is being installed; there is nothing to cancel");
	if (report_stop(update->folder, &err) < 0)
		return failed(&err);
	return show(update, 202, now);
}

json_t *update_rollback(struct host_update *update, const json_t *body, uint64_t now)
{
	json_t *refused = refuse_second(update, now);

	return refused ? refused
		       : start(update,
			       json_pack("{s:b,s:b}", "rollback", 1, "dry_run",
					 json_is_true(json_object_get(body, "dry_run"))),
			       true, now);
}

/* --- an upload -------------------------------------------------------------------------------- */

static json_t *show_upload(int status, const struct bundle_there *there)
{
	return answer(status,
		      json_pack("{s:s,s:I,s:I,s:i}", "name", there->name, "size_bytes",
				(json_int_t)there->size, "received_bytes",
				(json_int_t)there->received, "piece_bytes", (int)BUNDLE_PIECE_MAX));
}

/* Room for @size bytes, when what is there has gone. */
static bool has_room(const struct host_update *update, uint64_t size)
{
	char folder[UPDATE_PATH_ROOM];
	struct statvfs room;

	snprintf(folder, sizeof folder, "%.*s",
		 (int)(strrchr(update->bundle, '/') - update->bundle), update->bundle);
	return statvfs(folder, &room) == 0 &&
	       (uint64_t)room.f_bavail * room.f_frsize >= size + BUNDLE_ROOM;
}

static int hash_bundle(const struct host_update *update, char text[65], struct err *err);

/* Who goes on is told the checksum of what is there, and has to say the whole one at the end: two
 * files do not become one. */
static json_t *go_on(const struct host_update *update, struct bundle_there *there)
{
	struct err err = {0};
	char hash[65] = "";
	json_t *reply;

	if (hash_bundle(update, hash, &err) < 0)
		return failed(&err);
	if (there->received && !there->complete && !there->resumed) {
		there->resumed = true;
		if (note_write(update, there, &err) < 0)
			return failed(&err);
	}
	reply = show_upload(201, there);
	json_object_set_new(json_object_get(reply, "body"), "received_sha256", json_string(hash));
	return reply;
}

json_t *bundle_begin(struct host_update *update, const json_t *body, uint64_t now)
{
	const char *name = json_string_value(json_object_get(body, "name"));
	json_int_t size = json_integer_value(json_object_get(body, "size"));
	json_t *refused = refuse_second(update, now);
	struct bundle_there there;
	struct err err = {0};
	int fd;

	if (refused)
		return refused;
	if (!name || !*name || strlen(name) > BUNDLE_NAME_MAX)
		return answer_problem(400, "bad_name", "a bundle's name has 1 to %u bytes",
				      BUNDLE_NAME_MAX);
	if (size < 1 || (uint64_t)size > BUNDLE_SIZE_MAX)
		return answer_problem(400, "bad_size", "a bundle has 1 byte to %llu GiB",
				      BUNDLE_SIZE_MAX >> 30);
	if (find_bundle(update, &there) && strcmp(there.name, name) == 0 &&
	    there.size == (uint64_t)size && !json_is_true(json_object_get(body, "anew")))
		return go_on(update, &there);
	drop(update);
	if (!has_room(update, (uint64_t)size))
		return answer_problem(507, "no_room",
				      "the state partition has no room for the bundle");
	there = (struct bundle_there){.size = (uint64_t)size};
	snprintf(there.name, sizeof there.name, "%s", name);
	if (note_write(update, &there, &err) < 0)
		return failed(&err);
	fd = open(update->bundle, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return answer_problem(500, "host_failed", "%s: %s", update->bundle,
				      strerror(errno));
	close(fd);
	return go_on(update, &there);
}

/* Behind what is there; a piece is there whole or not at all. */
static int append(const struct host_update *update, struct bundle_there *there, const void *data,
		  size_t length, struct err *err)
{
	int fd = open(update->bundle, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
	uint64_t before = there->received;
	int result = 0;

	if (fd < 0)
		return err_set(err, -errno, "%s: %s", update->bundle, strerror(errno));
	errno = 0;
	if (pwrite(fd, data, length, (off_t)before) != (ssize_t)length) {
		result = err_set(err, errno ? -errno : -ENOSPC, "%s: %s", update->bundle,
				 strerror(errno ? errno : ENOSPC));
		if (ftruncate(fd, (off_t)before) < 0)
			drop(update);
	} else {
		there->received += length;
		if (there->received / SYNC_BYTES != before / SYNC_BYTES && fdatasync(fd) < 0)
			result = err_set(err, -errno, "%s: %s", update->bundle, strerror(errno));
	}
	close(fd);
	return result;
}

json_t *bundle_piece(struct host_update *update, const json_t *body, uint64_t now)
{
	const char *text = json_string_value(json_object_get(body, "data"));
	json_int_t offset = json_integer_value(json_object_get(body, "offset"));
	json_t *refused = refuse_second(update, now);
	struct bundle_there there;
	struct err err = {0};
	uint8_t *data;
	size_t length;
	int result;

	if (refused)
		return refused;
	if (!find_bundle(update, &there) || there.complete)
		return answer_problem(409, "upload_gone",
				      "this upload is not under way; begin it again");
	if (offset < 0 || (uint64_t)offset != there.received)
		return answer_problem(409, "wrong_offset",
				      "the next piece is the one at ?offset=%llu",
				      (unsigned long long)there.received);
	if (!text || piece_decode(text, BUNDLE_PIECE_MAX, &data, &length) < 0)
		return answer_problem(400, "bad_piece",
				      "a piece has 1 byte to %u KiB (on the socket as base64)",
				      BUNDLE_PIECE_MAX >> 10);
	if (length > there.size - there.received) {
		heap_free(data);
		return answer_problem(400, "too_long",
				      "this is more than the %llu bytes that were announced",
				      (unsigned long long)there.size);
	}
	result = append(update, &there, data, length, &err);
	heap_free(data);
	return result < 0 ? failed(&err) : show_upload(200, &there);
}

/* All of the file, durable and hashed. */
static int hash_bundle(const struct host_update *update, char text[65], struct err *err)
{
	static uint8_t block[1 << 20];
	int fd = open(update->bundle, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	EVP_MD_CTX *hash = EVP_MD_CTX_new();
	uint8_t digest[32];
	ssize_t got = -1;
	int result = 0;

	if (fd >= 0 && hash && EVP_DigestInit_ex(hash, EVP_sha256(), NULL) && fsync(fd) == 0) {
		while ((got = read(fd, block, sizeof block)) > 0)
			EVP_DigestUpdate(hash, block, (size_t)got);
	}
	if (got < 0 || !EVP_DigestFinal_ex(hash, digest, NULL))
		result = err_set(err, errno ? -errno : -EIO, "%s: %s", update->bundle,
				 strerror(errno ? errno : EIO));
	for (unsigned i = 0; result == 0 && i < sizeof digest; i++)
		snprintf(text + (size_t)2 * i, 3, "%02x", digest[i]);
	EVP_MD_CTX_free(hash);
	if (fd >= 0)
		close(fd);
	return result;
}

json_t *bundle_end(struct host_update *update, const json_t *body, uint64_t now)
{
	const char *wanted = json_string_value(json_object_get(body, "sha256"));
	json_t *refused = refuse_second(update, now);
	struct bundle_there there;
	struct err err = {0};
	char hash[65] = "";

	if (refused)
		return refused;
	if (!find_bundle(update, &there))
		return answer_problem(409, "upload_gone",
				      "this upload is not under way; begin it again");
	if (there.received < there.size)
		return answer_problem(409, "not_all_there", "%llu of %llu bytes are there",
				      (unsigned long long)there.received,
				      (unsigned long long)there.size);
	if (there.resumed && !wanted)
		return answer_problem(400, "checksum_needed",
				      "this upload was gone on with: its end needs the sha256 of "
				      "all of the file, so that two files do not become one");
	if (hash_bundle(update, hash, &err) < 0)
		return failed(&err);
	if (wanted && strcasecmp(wanted, hash) != 0) {
		drop(update);
		return answer_problem(
		    422, "checksum_differs",
		    "%s has SHA-256 %s, not the one that was given: it is not kept", there.name,
		    hash);
	}
	there.complete = true;
	if (note_write(update, &there, &err) < 0)
		return failed(&err);
	return answer(201,
		      json_pack("{s:s,s:I,s:s,s:b}", "name", there.name, "size_bytes",
				(json_int_t)there.size, "sha256", hash, "checked", wanted != NULL));
}

json_t *bundle_drop(struct host_update *update, const json_t *body, uint64_t now)
{
	json_t *refused = refuse_second(update, now);
	struct bundle_there there;

	(void)body;
	if (refused)
		return refused;
	if (!find_bundle(update, &there))
		return answer_problem(404, "nothing_uploaded", "there is no bundle");
	drop(update);
	return answer(200, json_pack("{s:s}", "deleted", there.name));
}
