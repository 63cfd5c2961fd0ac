/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/cli.h"
#include "core/control.h"
#include "core/heap.h"
#include "support/support.h"

/* The daemon makes the bundle; where none answers, which is when one is needed most, what can be
 * said without it is gathered here. */

#define ANSWER_LIMIT_MS (600 * 1000)
#define NAMES_MAX       1000u

/* --- without a daemon ------------------------------------------------------------------------ */

/* Names and sizes of what is in the state directory. */
static json_t *list_state(const char *state)
{
	json_t *list = json_array();
	DIR *folder = opendir(state);
	const struct dirent *entry;
	struct stat info;

	while (folder && (entry = readdir(folder)) && json_array_size(list) < NAMES_MAX) {
		if (fstatat(dirfd(folder), entry->d_name, &info, AT_SYMLINK_NOFOLLOW) == 0)
			json_array_append_new(list,
					      json_pack("{s:s,s:I,s:I,s:I}", "name", entry->d_name,
							"bytes", (json_int_t)info.st_size, "mode",
							(json_int_t)info.st_mode, "changed",
							(json_int_t)info.st_mtime));
	}
	if (folder)
		closedir(folder);
	return list;
}

static int gather_alone(struct command *command, const char *why, uint8_t **ret_data,
			size_t *ret_length)
{
	json_t *said =
	    json_pack("{s:s,s:o}", "no_daemon", why, "state", list_state(command->state));
	struct support *support;
	struct err err = {0};
	int result = support_create(&support, &err);

	if (result == 0) {
		support_add_json(support, "daemon.json", said);
		support_add_machine(support);
		support_add_journal(support, NULL);
		result = support_finish(support, ret_data, ret_length, &err);
		support_free(support);
	}
	json_decref(said);
	return result < 0 ? command_fail("%s", err.text) : 0;
}

/* --- the daemon's ---------------------------------------------------------------------------- */

static int decode(const char *text, uint8_t **ret_data, size_t *ret_length)
{
	size_t length = strlen(text), padding = 0;
	uint8_t *data = length && length % 4 == 0 ? heap_alloc(length) : NULL;

	if (!data || EVP_DecodeBlock(data, (const unsigned char *)text, (int)length) < 0) {
		heap_free(data);
		return command_fail("granaryd gave no answer we know");
	}
	while (padding < 2 && text[length - 1 - padding] == '=')
		padding++;
	*ret_data = data;
	*ret_length = length / 4 * 3 - padding;
	return 0;
}

static int take(const json_t *reply, uint8_t **ret_data, size_t *ret_length)
{
	const json_t *body = json_object_get(reply, "body");
	const char *detail = json_string_value(json_object_get(body, "detail"));

	if (json_integer_value(json_object_get(reply, "status")) == 200 && json_is_string(body))
		return decode(json_string_value(body), ret_data, ret_length);
	return command_fail("%s", detail ? detail : "granaryd gave no answer we know");
}

static int gather(struct command *command, bool *ret_alone, uint8_t **ret_data, size_t *ret_length)
{
	char *socket = heap_printf("%s/control.sock", command->state);
	json_t *request = json_pack("{s:s,s:s}", "method", "GET", "path", "/api/v1/support/bundle");
	json_t *reply = NULL;
	struct err err = {0};
	int status;

	if (!socket || !request)
		status = command_fail("out of memory");
	else if (control_call(socket, request, ANSWER_LIMIT_MS, &reply, &err) == 0)
		status = take(reply, ret_data, ret_length);
	else
		status = gather_alone(command, err.text, ret_data, ret_length);
	*ret_alone = !reply;
	json_decref(reply);
	json_decref(request);
	heap_free(socket);
	return status;
}

/* --- the file -------------------------------------------------------------------------------- */

static int write_bundle(const char *path, const uint8_t *data, size_t length)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	bool good;

	if (fd < 0)
		return command_fail("%s: %s", path, strerror(errno));
	errno = ENOSPC;
	good = write(fd, data, length) == (ssize_t)length && fsync(fd) == 0;
	close(fd);
	if (good)
		return 0;
	unlink(path);
	return command_fail("%s: %s", path, strerror(errno));
}

int run_support_bundle(struct command *command)
{
	const char *path = command->position[0];
	uint8_t *data = NULL;
	size_t length = 0;
	bool alone = false;
	int status = gather(command, &alone, &data, &length);

	if (status == 0)
		status = write_bundle(path, data, length);
	heap_free(data);
	if (status)
		return status;
	return say(command,
		   json_pack("{s:s,s:I,s:b}", "file", path, "bytes", (json_int_t)length,
			     "without_daemon", (int)alone),
		   alone ? "%s: %zu bytes, without granaryd, which does not answer"
			 : "%s: %zu bytes; look through it before you give it away",
		   path, length);
}
