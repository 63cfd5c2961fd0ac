/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/cli.h"
#include "core/size.h"

#define CELL_MAX    256
#define COLUMNS_MAX 16

static void join(const json_t *array, char *cell)
{
	size_t index;
	json_t *item;

	cell[0] = '\0';
	json_array_foreach(array, index, item)
	{
		size_t at = strlen(cell);

		snprintf(cell + at, CELL_MAX - at, "%s%s", index ? "," : "",
			 json_string_value(item) ? json_string_value(item) : "");
	}
}

static void format_duration(json_int_t seconds, char *cell)
{
	if (seconds >= 86400)
		snprintf(cell, CELL_MAX, "%lldd%lldh", (long long)(seconds / 86400),
			 (long long)(seconds / 3600 % 24));
	else if (seconds >= 3600)
		snprintf(cell, CELL_MAX, "%lldh%lldm", (long long)(seconds / 3600),
			 (long long)(seconds / 60 % 60));
	else
		snprintf(cell, CELL_MAX, "%llds", (long long)seconds);
}

static void format_time(json_int_t seconds, char *cell)
{
	time_t when = (time_t)seconds;
	struct tm parts;

	if (!gmtime_r(&when, &parts) || !strftime(cell, CELL_MAX, "%Y-%m-%d %H:%M:%SZ", &parts))
		snprintf(cell, CELL_MAX, "-");
}

static void format_cell(const json_t *value, enum column_kind kind, char *cell)
{
	snprintf(cell, CELL_MAX, "-");
	if (json_is_string(value)) {
		if (*json_string_value(value))
			snprintf(cell, CELL_MAX, "%s", json_string_value(value));
	} else if (json_is_boolean(value)) {
		snprintf(cell, CELL_MAX, "%s", json_is_true(value) ? "yes" : "no");
	} else if (json_is_array(value)) {
		if (kind == COUNT)
			snprintf(cell, CELL_MAX, "%zu", json_array_size(value));
		else
			join(value, cell);
	} else if (json_is_number(value)) {
		if (kind == SIZE)
			size_format((uint64_t)json_integer_value(value), cell, CELL_MAX);
		else if (kind == DURATION)
			format_duration(json_integer_value(value), cell);
		else if (kind == TIME)
			format_time(json_integer_value(value), cell);
		else if (kind == TIME_MS)
			format_time(json_integer_value(value) / 1000, cell);
		else if (kind == RATIO)
			snprintf(cell, CELL_MAX, "%.2f", json_number_value(value));
		else
			snprintf(cell, CELL_MAX, "%lld", (long long)json_integer_value(value));
	}
	for (char *at = cell; *at; at++) { /* names of initiators come from outside */
		if ((unsigned char)*at < 0x20 || *at == 0x7f)
			*at = '?';
	}
}

static bool right_aligned(enum column_kind kind)
{
	return kind == NUMBER || kind == SIZE || kind == RATIO || kind == COUNT;
}

static void print_cell(const char *text, size_t width, enum column_kind kind, bool last)
{
	if (right_aligned(kind))
		printf("%*s", (int)width, text);
	else
		printf("%-*s", last ? 0 : (int)width, text);
	fputs(last ? "\n" : "  ", stdout);
}

void table_rows(const json_t *array, const struct column *columns, unsigned count)
{
	size_t width[COLUMNS_MAX], index;
	char cell[CELL_MAX];
	json_t *row;

	for (unsigned i = 0; i < count; i++) {
		width[i] = strlen(columns[i].title);
		json_array_foreach(array, index, row)
		{
			format_cell(json_object_get(row, columns[i].key), columns[i].kind, cell);
			if (strlen(cell) > width[i])
				width[i] = strlen(cell);
		}
	}
	for (unsigned i = 0; i < count; i++)
		print_cell(columns[i].title, width[i], columns[i].kind, i + 1 == count);
	json_array_foreach(array, index, row)
	{
		for (unsigned i = 0; i < count; i++) {
			format_cell(json_object_get(row, columns[i].key), columns[i].kind, cell);
			print_cell(cell, width[i], columns[i].kind, i + 1 == count);
		}
	}
}

static int print_json(json_t *body)
{
	int failed = json_dumpf(body, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(6)) < 0 ||
		     fputc('\n', stdout) == EOF || fflush(stdout) == EOF;

	json_decref(body);
	return failed ? command_fail("the output can not be written") : EXIT_GOOD;
}

/* One object: a line per field. */
static void print_fields(const json_t *object, const struct column *columns, unsigned count)
{
	char cell[CELL_MAX];

	for (unsigned i = 0; i < count; i++) {
		format_cell(json_object_get(object, columns[i].key), columns[i].kind, cell);
		printf("%-16s %s\n", columns[i].title, cell);
	}
}

static char *value_text(const json_t *value)
{
	const char *text = json_string_value(value);

	return text ? strdup(text) : json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
}

static void print_member(const char *name, const json_t *before, const json_t *after)
{
	char *was = value_text(before), *is = value_text(after);

	printf("  %-16s %s%s%s\n", name, was ? was : "", was && is ? " -> " : "", is ? is : "");
	free(was);
	free(is);
}

/* The answer of a dry run: what would be different. False: it is none. */
static bool print_plan(json_t *body)
{
	const char *what = json_string_value(json_object_get(body, "what")), *name;
	json_t *before = json_object_get(body, "before"), *after = json_object_get(body, "after");
	bool there = json_object_size(before), stays = json_object_size(after);
	json_t *value;

	/* A volume that would be deleted is told in words: command_delete(). */
	if (!json_is_true(json_object_get(body, "dry_run")) ||
	    (!what && (!json_object_get(body, "deleted") || json_object_get(body, "kind")) &&
	     !json_is_array(json_object_get(body, "for_good"))))
		return false;
	if (!what) { /* what a deletion takes along */
		before = body;
		after = NULL;
		json_object_del(body, "dry_run");
		printf("would be gone:\n");
	} else {
		printf("would %s %s:%s\n",
		       !there && stays   ? "make"
		       : there && !stays ? "take away"
					 : "change",
		       what, there || stays ? "" : " nothing");
	}
	json_object_foreach(after, name, value)
	    print_member(name, json_object_get(before, name), value);
	json_object_foreach(before, name, value)
	{
		if (!json_object_get(after, name))
			print_member(name, value, NULL);
	}
	return true;
}

static int plan_printed(json_t *body)
{
	json_decref(body);
	return fflush(stdout) == EOF ? command_fail("the output can not be written") : EXIT_GOOD;
}

int table_print(struct command *command, json_t *body, const struct column *columns, unsigned count)
{
	if (command->json)
		return print_json(body);
	if (print_plan(body))
		return plan_printed(body);
	if (json_is_array(body))
		table_rows(body, columns, count);
	else
		print_fields(body, columns, count);
	json_decref(body);
	return fflush(stdout) == EOF ? command_fail("the output can not be written") : EXIT_GOOD;
}

int say(struct command *command, json_t *body, const char *format, ...)
{
	va_list values;

	if (command->json)
		return print_json(body);
	if (print_plan(body))
		return plan_printed(body);
	va_start(values, format);
	vprintf(format, values);
	va_end(values);
	putchar('\n');
	json_decref(body);
	return fflush(stdout) == EOF ? command_fail("the output can not be written") : EXIT_GOOD;
}
