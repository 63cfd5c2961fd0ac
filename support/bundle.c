/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/heap.h"
#include "support/internal.h"

/*~ A bundle is gathered in memory, scrubbed on the way in, and written out at the end: files in
 * the order in which they came, contents.json first. Logs give way until it is small enough. */

#define LOG_LEAST    (16u << 10) /* of a log there stays so much, whatever the bundle's size */
#define SECRET_LEAST 4u

int support_create(struct support **ret_support, struct err *err)
{
	struct support *support = heap_zalloc(sizeof *support);

	if (support) {
		support->files = heap_zalloc_array(SUPPORT_FILES, sizeof *support->files);
		support->secrets = heap_zalloc_array(SUPPORT_SECRETS, sizeof *support->secrets);
	}
	if (!support || !support->files || !support->secrets) {
		support_free(support);
		return err_set(err, -ENOMEM, "out of memory");
	}
	support->now = (int64_t)time(NULL);
	support->count = 1; /* contents.json */
	*ret_support = support;
	return 0;
}

void support_free(struct support *support)
{
	if (!support)
		return;
	for (unsigned i = 0; support->files && i < support->count; i++)
		heap_free(support->files[i].text);
	for (unsigned i = 0; support->secrets && i < support->secret_count; i++) {
		explicit_bzero(support->secrets[i].bytes, support->secrets[i].length);
		heap_free(support->secrets[i].bytes);
	}
	heap_free(support->files);
	heap_free(support->secrets);
	heap_free(support);
}

void support_secret(struct support *support, const void *secret, size_t length)
{
	void *copy;

	if (length < SECRET_LEAST)
		return;
	copy = support->secret_count < SUPPORT_SECRETS ? heap_alloc(length) : NULL;
	if (!copy) {
		support->secrets_lost = true;
		return;
	}
	memcpy(copy, secret, length);
	support->secrets[support->secret_count++] =
	    (struct support_secret){.bytes = copy, .length = length};
}

static void set_name(char to[SUPPORT_NAME], const char *name)
{
	size_t length = 0;

	for (; *name && length + 1 < SUPPORT_NAME; name++, length++)
		to[length] = isalnum((unsigned char)*name) || strchr("._-/", *name) ? *name : '_';
	to[length] = '\0';
	if (strstr(to, "..")) /* nobody's unpacking leaves its folder */
		for (size_t i = 0; i < length; i++)
			if (to[i] == '.')
				to[i] = '_';
}

/* @text (heap, NULL: no memory for it) becomes the bundle's. */
static void take(struct support *support, const char *name, enum support_kind kind, char *text,
		 size_t length)
{
	struct support_file *file;

	if (!text || support->secrets_lost || support->count == SUPPORT_FILES) {
		heap_free(text);
		support->left_out++;
		return;
	}
	file = &support->files[support->count++];
	*file = (struct support_file){.kind = kind, .text = text, .length = length};
	set_name(file->name, name);
	if (length > SUPPORT_FILE_MAX) {
		file->cut = true;
		if (kind == SUPPORT_LOG)
			file->from = length - SUPPORT_FILE_MAX;
		else
			file->length = SUPPORT_FILE_MAX;
	}
}

void support_add(struct support *support, const char *name, enum support_kind kind,
		 const char *text, size_t length)
{
	size_t shown = 0;
	char *scrubbed = scrub_text(support, text, length, &shown);

	take(support, name, kind, scrubbed, shown);
}

void support_add_json(struct support *support, const char *name, const json_t *value)
{
	json_t *shown = scrub_json(support, value);
	char *text = shown ? json_dumps(shown, JSON_INDENT(1) | JSON_ENCODE_ANY) : NULL;
	char *copy = text ? heap_printf("%s\n", text) : NULL;

	take(support, name, SUPPORT_FACT, copy, copy ? strlen(copy) : 0);
	free(text);
	json_decref(shown);
}

/* --- writing --------------------------------------------------------------------------------- */

static int write_contents(struct support *support)
{
	json_t *list = json_array(), *contents;
	struct support_file *first = &support->files[0];
	char *text;

	for (unsigned i = 1; i < support->count; i++) {
		const struct support_file *file = &support->files[i];

		json_array_append_new(list, json_pack("{s:s,s:I,s:b}", "name", file->name, "bytes",
						      (json_int_t)(file->length - file->from),
						      "cut", file->cut));
	}
	contents = json_pack("{s:s,s:i,s:I,s:i,s:o}", "what", "a support bundle of Granary",
			     "version", 1, "taken", (json_int_t)support->now, "left_out",
			     (int)support->left_out, "files", list);
	text = contents ? json_dumps(contents, JSON_INDENT(1)) : NULL;
	json_decref(contents);
	heap_free(first->text);
	*first = (struct support_file){.name = "contents.json", .kind = SUPPORT_FACT};
	first->text = text ? heap_printf("%s\n", text) : NULL;
	free(text);
	if (!first->text)
		return -ENOMEM;
	first->length = strlen(first->text);
	return 0;
}

/* The older half of each log goes, up to a line's end; false: there is nothing left to cut. */
static bool cut_logs(struct support *support)
{
	bool any = false;

	for (unsigned i = 1; i < support->count; i++) {
		struct support_file *file = &support->files[i];
		size_t left = file->length - file->from;
		const char *end;

		if (file->kind != SUPPORT_LOG || left <= LOG_LEAST)
			continue;
		file->from += left / 2;
		end = memchr(file->text + file->from, '\n', file->length - file->from);
		if (end)
			file->from = (size_t)(end + 1 - file->text);
		file->cut = any = true;
	}
	return any;
}

int support_finish(struct support *support, uint8_t **ret_data, size_t *ret_length, struct err *err)
{
	uint8_t *data = heap_alloc(SUPPORT_BUNDLE_MAX);
	int64_t length = -ENOMEM;

	if (!data)
		return err_set(err, -ENOMEM, "out of memory");
	if (support->secrets_lost) {
		heap_free(data);
		return err_set(err, -ENOMEM,
			       "there are more secrets than can be looked for: no bundle is made");
	}
	do {
		if (write_contents(support) < 0)
			break;
		length = tar_write(support->files, support->count, support->now, data,
				   SUPPORT_BUNDLE_MAX);
	} while (length == 0 && cut_logs(support));
	if (length > 0) {
		*ret_data = data;
		*ret_length = (size_t)length;
		return 0;
	}
	heap_free(data);
	return length == 0 ? err_set(err, -EFBIG, "what is to be said is too much for a bundle")
			   : err_set(err, (int)length, "out of memory");
}
