/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/heap.h"
#include "core/log.h"
#include "webadmin/admin.h"
#include "webadmin/api.h"
#include "webadmin/backup.h"

enum job_kind { JOB_MAKE, JOB_LOOK, JOB_STAGE };

/* What the thread does. */
struct backup_job {
	enum job_kind kind;
	struct api_request *request;
	struct backups *backups;
	const char *dir; /* the state directory */
	char secret[BACKUP_SECRET + 1];
	uint8_t *data; /* what it made */
	size_t length;
	json_t *changes;
	int result;
	struct err err;
	struct message message;
	struct loop *loop;
	pthread_t thread;
	bool joined;
};

struct backups {
	struct backup_job *job; /* under way; NULL: none */
	uint8_t *made, *upload; /* heap, sealed */
	size_t made_length, upload_length, upload_room;
	char id[17]; /* of what was made */
	struct timer forget;
};

static void forget(struct backups *backups)
{
	heap_free(backups->made);
	heap_free(backups->upload);
	backups->made = backups->upload = NULL;
	backups->made_length = backups->upload_length = backups->upload_room = 0;
}

static void time_is_over(struct timer *timer)
{
	struct backups *backups = container_of(timer, struct backups, forget);

	if (backups->job)
		timer_start(timer, BACKUP_KEPT_NS);
	else
		forget(backups);
}

/* NULL: it was answered. */
static struct backups *backups_of(struct api_request *request)
{
	struct webadmin *admin = request->admin;

	if (!admin->backups) {
		admin->backups = heap_zalloc(sizeof *admin->backups);
		if (admin->backups)
			timer_init(&admin->backups->forget, admin->options.control, time_is_over);
	}
	if (!admin->backups) {
		api_reply_error(request, 503, "no_memory", "out of memory");
	} else if (admin->backups->job) {
		api_reply_error(request, 409, "busy", "another backup is being made or read");
	} else {
		timer_start(&admin->backups->forget, BACKUP_KEPT_NS);
		return admin->backups;
	}
	return NULL;
}

/* ---- the thread ---- */
static void make(struct backup_job *job)
{
	struct backup backup = {.count = 0};

	job->result = backup_collect(job->dir, &backup, &job->err);
	if (job->result == 0)
		job->result =
		    backup_seal(&backup, job->secret, &job->data, &job->length, &job->err);
	backup_free(&backup);
}

static void take_in(struct backup_job *job)
{
	struct backup now = {.count = 0}, then = {.count = 0};

	job->result = backup_open(job->backups->upload, job->backups->upload_length, job->secret,
				  &then, &job->err);
	if (job->result == 0)
		job->result = backup_collect(job->dir, &now, &job->err);
	if (job->result == 0) {
		job->changes = backup_changes(&now, &then, &job->err);
		if (!job->changes)
			job->result = job->err.code;
	}
	if (job->result == 0 && job->kind == JOB_STAGE)
		job->result = backup_stage(job->dir, &then, &job->err);
	backup_free(&now);
	backup_free(&then);
}

/* ---- answers ---- */
static void reply_made(struct backup_job *job)
{
	struct api_request *request = job->request;
	struct backups *backups = job->backups;
	time_t now = (time_t)(loop_wall(request->admin->options.control) / 1000000000u);
	char stamp[32] = "";
	uint8_t random[8];
	struct tm parts;

	heap_free(backups->made);
	backups->made = job->data;
	backups->made_length = job->length;
	job->data = NULL;
	loop_random(request->admin->options.control, random, sizeof random);
	for (unsigned i = 0; i < sizeof random; i++)
		snprintf(backups->id + (size_t)2 * i, 3, "%02x", random[i]);
	if (gmtime_r(&now, &parts))
		strftime(stamp, sizeof stamp, "-%Y%m%d-%H%M%S", &parts);
	log_notice("a backup of the configuration was made for %s", request->who.name);
	api_reply(request, 201,
		  json_pack("{s:s,s:I,s:I,s:o}", "id", backups->id, "size_bytes",
			    (json_int_t)backups->made_length, "piece_bytes",
			    (json_int_t)BACKUP_PIECE_MAX, "filename",
			    json_sprintf("granary%s.backup", stamp)));
}

static void reply_taken(struct backup_job *job)
{
	struct api_request *request = job->request;
	json_t *changes = job->changes;

	job->changes = NULL;
	if (job->kind == JOB_STAGE) {
		log_warning("%s has had a backup of the configuration restored; the next start "
			    "puts it in place",
			    request->who.name);
		forget(job->backups);
	}
	api_reply(request, 200,
		  json_pack("{s:b,s:b,s:o}", "dry_run", job->kind == JOB_LOOK, "staged",
			    job->kind == JOB_STAGE, "changes", changes));
}

static void job_free(struct backup_job *job)
{
	explicit_bzero(job->secret, sizeof job->secret);
	json_decref(job->changes);
	heap_free(job->data);
	heap_free(job);
}

static void job_done(struct message *message)
{
	struct backup_job *job = container_of(message, struct backup_job, message);
	struct api_request *request = job->request;

	if (!job->joined)
		pthread_join(job->thread, NULL);
	job->backups->job = NULL;
	if (job->result < 0) {
		request->err = job->err;
		request->err.code = job->result;
		api_reply_failure(request, job->result == -EBADMSG  ? "wrong_passphrase"
					   : job->result == -EPROTO ? "bad_backup"
								    : NULL);
	} else if (job->kind == JOB_MAKE) {
		reply_made(job);
	} else {
		reply_taken(job);
	}
	job_free(job);
}

static void *job_main(void *argument)
{
	struct backup_job *job = argument;

	if (job->kind == JOB_MAKE)
		make(job);
	else
		take_in(job);
	explicit_bzero(job->secret, sizeof job->secret);
	loop_post(job->loop, &job->message, job_done);
	return NULL;
}

static void start_job(struct api_request *request, struct backups *backups, enum job_kind kind,
		      const char *secret)
{
	struct backup_job *job = heap_zalloc(sizeof *job);
	sigset_t all, before;
	int result;

	if (!job) {
		api_reply_error(request, 503, "no_memory", "out of memory");
		return;
	}
	job->kind = kind;
	job->request = request;
	job->backups = backups;
	job->dir = request->admin->options.state_dir;
	job->loop = request->admin->options.control;
	snprintf(job->secret, sizeof job->secret, "%s", secret);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	result = pthread_create(&job->thread, NULL, job_main, job);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (result == 0) {
		backups->job = job;
		return;
	}
	job_free(job);
	api_reply_error(request, 503, "no_memory", "out of memory");
}

/* NULL: it was answered. */
static const char *read_secret(struct api_request *request)
{
	const char *secret = json_string_value(json_object_get(request->body, "passphrase"));
	size_t length = secret ? strlen(secret) : 0;

	if (length >= 10 && length <= BACKUP_SECRET)
		return secret;
	api_reply_error(request, 400, "bad_passphrase", "a passphrase has 10 to %u bytes",
			BACKUP_SECRET);
	return NULL;
}

/* ---- the routes ---- */
static json_t *show(const struct api_request *request)
{
	const struct backups *backups = request->admin->backups;

	return json_pack("{s:b,s:b,s:I}", "staged",
			 backup_is_staged(request->admin->options.state_dir), "damaged",
			 backup_is_aside(request->admin->options.state_dir), "uploaded_bytes",
			 (json_int_t)(backups ? backups->upload_length : 0));
}

void api_backup_show(struct api_request *request)
{
	api_reply(request, 200, show(request));
}

void api_backup_make(struct api_request *request)
{
	const char *secret = read_secret(request);
	struct backups *backups = secret ? backups_of(request) : NULL;

	if (backups)
		start_job(request, backups, JOB_MAKE, secret);
}

/* ?offset= of a query; 0 without one. False: a 400 has been sent. */
static bool read_offset(struct api_request *request, size_t *ret_offset)
{
	char text[24], *end = text;

	*ret_offset = 0;
	if (!api_query(request, "offset", text, sizeof text))
		return true;
	*ret_offset = strtoull(text, &end, 10);
	if (end != text && !*end && *ret_offset <= BACKUP_MOST)
		return true;
	api_reply_error(request, 400, "bad_request", "offset is a number of bytes");
	return false;
}

void api_backup_piece(struct api_request *request)
{
	const struct backups *backups = request->admin->backups;
	size_t offset, length;
	char *text;

	if (!read_offset(request, &offset))
		return;
	if (!backups || !backups->made || strcmp(backups->id, request->match.param[0]) != 0 ||
	    offset >= backups->made_length) {
		api_reply_error(request, 404, "backup_not_found", "there is no such backup");
		return;
	}
	length = backups->made_length - offset;
	if (length > BACKUP_PIECE_MAX)
		length = BACKUP_PIECE_MAX;
	text = heap_alloc(length / 3 * 4 + 8);
	if (!text) {
		api_reply_error(request, 503, "no_memory", "out of memory");
		return;
	}
	EVP_EncodeBlock((unsigned char *)text, backups->made + offset, (int)length);
	api_extra(request, "type", json_string("application/octet-stream"));
	api_extra(request, "encoding", json_string("base64"));
	api_reply(request, 200, json_string(text));
	heap_free(text);
}

/* Room for @length bytes behind what is there. False: it was answered. */
static bool make_room(struct api_request *request, struct backups *backups, size_t length)
{
	size_t wanted = backups->upload_length + length;
	size_t room = backups->upload_room ? backups->upload_room : BACKUP_PIECE_MAX;
	uint8_t *grown;

	if (wanted > BACKUP_UPLOAD_MAX) {
		api_reply_error(request, 400, "too_long", "no backup is that large");
		return false;
	}
	while (room < wanted)
		room *= 2;
	grown = room == backups->upload_room ? backups->upload : heap_resize(backups->upload, room);
	if (!grown) {
		api_reply_error(request, 503, "no_memory", "out of memory");
		return false;
	}
	backups->upload = grown;
	backups->upload_room = room;
	return true;
}

void api_backup_upload(struct api_request *request)
{
	const char *text;
	struct backups *backups;
	size_t offset, digits, padding = 0;
	int length;

	if (!api_unpack(request, "{s:s}", "data", &text) || !read_offset(request, &offset) ||
	    !(backups = backups_of(request)))
		return;
	if (offset == 0)
		backups->upload_length = 0;
	if (offset != backups->upload_length) {
		api_reply_error(request, 409, "bad_offset", "the next piece goes to byte %zu",
				backups->upload_length);
		return;
	}
	digits = strlen(text);
	if (digits / 4 * 3 > BACKUP_PIECE_MAX + 3) {
		api_reply_error(request, 400, "too_long", "a piece has 1 MiB at most");
		return;
	}
	if (!make_room(request, backups, digits / 4 * 3 + 3))
		return;
	while (padding < 2 && padding < digits && text[digits - 1 - padding] == '=')
		padding++;
	length = digits % 4 ? -1
			    : EVP_DecodeBlock(backups->upload + offset, (const unsigned char *)text,
					      (int)digits);
	if (length < 0 || (size_t)length < padding) {
		api_reply_error(request, 400, "bad_request", "data is base64");
		return;
	}
	backups->upload_length = offset + (size_t)length - padding;
	api_reply(request, 200,
		  json_pack("{s:I}", "uploaded_bytes", (json_int_t)backups->upload_length));
}

void api_backup_restore(struct api_request *request)
{
	const char *secret = read_secret(request);
	struct backups *backups = secret ? backups_of(request) : NULL;

	if (!backups)
		return;
	if (!backups->upload_length)
		api_reply_error(request, 409, "nothing_uploaded",
				"upload a backup first (PUT /api/v1/backup/upload)");
	else
		start_job(request, backups, api_is_dry(request) ? JOB_LOOK : JOB_STAGE, secret);
}

void api_backup_cancel(struct api_request *request)
{
	struct backups *backups = backups_of(request);

	if (!backups)
		return;
	if (api_is_dry(request)) {
		api_reply_dry(
		    request, json_string("backup"), show(request),
		    json_pack("{s:b,s:b,s:i}", "staged", 0, "damaged", 0, "uploaded_bytes", 0));
		return;
	}
	forget(backups);
	if (backup_unstage(request->admin->options.state_dir, &request->err) < 0)
		api_reply_failure(request, NULL);
	else
		api_backup_show(request);
}

void backups_stop(struct webadmin *admin)
{
	struct backup_job *job = admin->backups ? admin->backups->job : NULL;

	if (admin->backups)
		timer_stop(&admin->backups->forget);
	if (job && !job->joined) {
		pthread_join(job->thread, NULL);
		job->joined = true; /* its message is still to be delivered by the loop */
	}
}

void backups_free(struct webadmin *admin)
{
	if (!admin->backups)
		return;
	forget(admin->backups);
	heap_free(admin->backups);
}
