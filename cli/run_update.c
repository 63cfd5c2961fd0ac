/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cli/cli.h"
#include "core/heap.h"

/* Updates of the appliance, by way of the API. */

#define PATH  "/api/v1/appliance/update"
#define PIECE (1u << 20)

static const struct column columns[] = {
    {"RELEASE", "release", TEXT},
    {"SLOT", "slot", TEXT},
    {"NEXT", "next", TEXT},
    {"TRIAL", "on_trial", YES_NO},
    {"UNDER WAY", "under_way", YES_NO},
    {"FAILED", "failed", TEXT},
    {"INCOMPLETE", "incomplete", TEXT},
};
static const struct column update_columns[] = {
    {"LAST UPDATE", "kind", TEXT}, {"STATE", "state", TEXT},     {"VERSION", "version", TEXT},
    {"SLOT", "slot", TEXT},        {"DONE", "done_bytes", SIZE}, {"OF", "size_bytes", SIZE},
    {"WHY", "detail", TEXT},
};
static const struct column bundle_columns[] = {
    {"BUNDLE", "name", TEXT},
    {"SIZE", "size_bytes", SIZE},
    {"RECEIVED", "received_bytes", SIZE},
    {"COMPLETE", "complete", YES_NO},
};

static void one_row(json_t *object, const struct column *with, unsigned count)
{
	json_t *rows = object ? json_pack("[O]", object) : NULL;

	if (rows)
		table_rows(rows, with, count);
	json_decref(rows);
}

int run_appliance_release(struct command *command)
{
	json_t *reply, *update, *bundle;
	int status = command_call(command, "GET", NULL, &reply, PATH);

	if (status || command->json)
		return status ? status : table_print(command, reply, columns, 1);
	update = json_incref(json_object_get(reply, "update"));
	bundle = json_incref(json_object_get(reply, "bundle"));
	status = table_print(command, reply, columns, sizeof columns / sizeof *columns);
	one_row(update, update_columns, sizeof update_columns / sizeof *update_columns);
	one_row(bundle, bundle_columns, sizeof bundle_columns / sizeof *bundle_columns);
	json_decref(update);
	json_decref(bundle);
	return status;
}

/* --- upload ----------------------------------------------------------------------------------- */

struct sending {
	struct command *command;
	int fd;
	uint64_t size, at;
	uint8_t *data;
	char *text;       /* base64 of it */
	EVP_MD_CTX *hash; /* of all before at */
};

/* Hashed up to @to; 0 or what is told. */
static int hash_up_to(struct sending *sending, uint64_t to)
{
	if (EVP_DigestInit_ex(sending->hash, EVP_sha256(), NULL) != 1)
		return command_fail("out of memory");
	for (sending->at = 0; sending->at < to;) {
		uint64_t left = to - sending->at;
		ssize_t got = pread(sending->fd, sending->data, left < PIECE ? left : PIECE,
				    (off_t)sending->at);

		if (got <= 0)
			return command_fail("%s: %s", sending->command->position[0],
					    got < 0 ? strerror(errno) : "it has got shorter");
		EVP_DigestUpdate(sending->hash, sending->data, (size_t)got);
		sending->at += (uint64_t)got;
	}
	return 0;
}

/* What the hash is by now; it goes on. */
static void hash_text(const struct sending *sending, char text[65])
{
	EVP_MD_CTX *copy = EVP_MD_CTX_new();
	uint8_t digest[32];

	text[0] = '\0';
	if (copy && EVP_MD_CTX_copy_ex(copy, sending->hash) == 1 &&
	    EVP_DigestFinal_ex(copy, digest, NULL) == 1) {
		for (unsigned i = 0; i < sizeof digest; i++)
			snprintf(text + (size_t)2 * i, 3, "%02x", digest[i]);
	}
	EVP_MD_CTX_free(copy);
}

static int send_piece(struct sending *sending)
{
	ssize_t got = pread(sending->fd, sending->data, PIECE, (off_t)sending->at);
	char offset[24];
	json_t *reply;
	int status;

	if (got <= 0)
		return command_fail("%s: %s", sending->command->position[0],
				    got < 0 ? strerror(errno) : "it has got shorter");
	EVP_EncodeBlock((unsigned char *)sending->text, sending->data, (int)got);
	snprintf(offset, sizeof offset, "%llu", (unsigned long long)sending->at);
	status = command_call(sending->command, "PUT", json_pack("{s:s}", "data", sending->text),
			      &reply, PATH "/bundle?offset=%s", offset);
	if (status)
		return status;
	EVP_DigestUpdate(sending->hash, sending->data, (size_t)got);
	sending->at = (uint64_t)json_integer_value(json_object_get(reply, "received_bytes"));
	json_decref(reply);
	if (isatty(STDERR_FILENO))
		fprintf(stderr, "\r%3.0f %%", (double)sending->at * 100 / (double)sending->size);
	return 0;
}

static int begin(struct sending *sending, const char *name, bool anew, char there[65])
{
	json_t *reply;
	const char *hash;
	int status = command_call(sending->command, "POST",
				  json_pack("{s:s,s:I,s:b}", "name", name, "size",
					    (json_int_t)sending->size, "anew", anew),
				  &reply, PATH "/bundle");

	if (status)
		return status;
	hash = json_string_value(json_object_get(reply, "received_sha256"));
	snprintf(there, 65, "%s", hash ? hash : "");
	status = hash_up_to(sending,
			    (uint64_t)json_integer_value(json_object_get(reply, "received_bytes")));
	json_decref(reply);
	return status;
}

static int send_all(struct sending *sending, const char *name)
{
	char there[65], mine[65];
	json_t *reply;
	int status = begin(sending, name, false, there);

	if (status)
		return status;
	hash_text(sending, mine);
	if (sending->at && strcmp(there, mine) != 0) {
		fprintf(stderr, "what is there of %s is of another file; this one is sent whole\n",
			name);
		status = begin(sending, name, true, there);
	}
	while (status == 0 && sending->at < sending->size)
		status = send_piece(sending);
	if (isatty(STDERR_FILENO))
		fprintf(stderr, "\n");
	hash_text(sending, mine);
	if (status == 0)
		status = command_call(sending->command, "POST", json_pack("{s:s}", "sha256", mine),
				      &reply, PATH "/bundle/done");
	return status ? status
		      : say(sending->command, reply,
			    "%s is there; \"granary appliance update\" installs it", name);
}

int run_appliance_upload(struct command *command)
{
	const char *path = command->position[0], *slash = strrchr(path, '/');
	struct sending sending = {.command = command, .fd = open(path, O_RDONLY | O_CLOEXEC)};
	struct stat info;
	int status;

	if (sending.fd < 0 || fstat(sending.fd, &info) < 0) {
		status = command_fail("%s: %s", path, strerror(errno));
	} else {
		sending.size = (uint64_t)info.st_size;
		sending.data = heap_alloc(PIECE);
		sending.text = heap_alloc(PIECE / 3 * 4 + 8);
		sending.hash = EVP_MD_CTX_new();
		status = sending.data && sending.text && sending.hash
			     ? send_all(&sending, slash ? slash + 1 : path)
			     : command_fail("out of memory");
	}
	heap_free(sending.data);
	heap_free(sending.text);
	EVP_MD_CTX_free(sending.hash);
	if (sending.fd >= 0)
		close(sending.fd);
	return status;
}

/* --- update ----------------------------------------------------------------------------------- */

static const char *text_of(const json_t *object, const char *name)
{
	const char *text = json_string_value(json_object_get(object, name));

	return text ? text : "";
}

/* Until it is done; *ret_reply is the state then. */
static int wait_done(struct command *command, json_t **ret_reply)
{
	const struct timespec moment = {.tv_nsec = 500 * 1000000l};
	bool shows = isatty(STDERR_FILENO);

	while (json_is_true(json_object_get(*ret_reply, "under_way"))) {
		const json_t *update = json_object_get(*ret_reply, "update");
		double size = (double)json_integer_value(json_object_get(update, "size_bytes"));
		double done = (double)json_integer_value(json_object_get(update, "done_bytes"));
		json_t *now;
		int status;

		if (shows)
			fprintf(stderr, "\r%s %3.0f %%", text_of(update, "state"),
				size > 0 ? done * 100 / size : 0.0);
		nanosleep(&moment, NULL);
		status = command_call(command, "GET", NULL, &now, PATH);
		if (status)
			return status;
		json_decref(*ret_reply);
		*ret_reply = now;
	}
	if (shows)
		fprintf(stderr, "\n");
	return 0;
}

static int follow(struct command *command, json_t *reply)
{
	int status = wait_done(command, &reply);
	const json_t *update = json_object_get(reply, "update");

	if (!status && strcmp(text_of(update, "state"), "done") != 0)
		status = command_fail("%s", *text_of(update, "detail") ? text_of(update, "detail")
								       : "it was not done");
	if (status) {
		json_decref(reply);
		return status;
	}
	if (strcmp(text_of(update, "kind"), "rollback") == 0)
		return say(command, reply, "the next start is from slot %s",
			   text_of(update, "slot"));
	return say(command, reply,
		   "release %s is in slot %s; \"granary appliance restart\" runs it, on trial",
		   text_of(update, "version"), text_of(update, "slot"));
}

static int told(struct command *command, int status, json_t *reply)
{
	if (status)
		return status;
	/* The difference is what is told of a dry run. */
	return command_option(command, "dry-run") ? say(command, reply, "%s", "")
						  : follow(command, reply);
}

int run_appliance_update(struct command *command)
{
	json_t *body = json_object(), *reply = NULL;
	int status = command_confirm(
	    command, "Write it into the other slot? What is there of another release goes.");

	if (status >= 0) {
		json_decref(body);
		return status;
	}
	if (command->count)
		json_object_set_new(body, "url", json_string(command->position[0]));
	if (command_option(command, "allow-older"))
		json_object_set_new(body, "allow_older", json_true());
	if (command_option(command, "one-way"))
		json_object_set_new(body, "one_way", json_true());
	status = command_call(command, "POST", body, &reply, PATH);
	return told(command, status, reply);
}

int run_appliance_cancel(struct command *command)
{
	json_t *reply;
	int status = command_call(command, "DELETE", NULL, &reply, PATH);
	const char *detail;

	if (status)
		return status;
	detail = text_of(json_object_get(reply, "update"), "detail");
	return say(command, reply, "%s",
		   *detail ? detail : "the update ends; \"granary appliance release\" says when");
}

int run_appliance_rollback(struct command *command)
{
	json_t *reply = NULL;
	int status = command_confirm(command, "Start from the other slot next time?");

	if (status >= 0)
		return status;
	status = command_call(command, "POST", NULL, &reply, PATH "/rollback");
	return told(command, status, reply);
}
