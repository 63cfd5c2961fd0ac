/* SPDX-License-Identifier: Apache-2.0 */
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <systemd/sd-journal.h>
#include <time.h>

#include "core/heap.h"
#include "support/internal.h"

/* The journal from its newest message back, into two files: the kernel's messages, and those of
 * the services below. Of other programs nothing is taken: what they write is none of ours. */

#define LOG_ROOM    (1u << 20) /* bytes of each of the two */
#define ENTRIES_MAX 200000u
#define SECONDS_MAX 15
#define LINE_ROOM   2048u

static const char *const services[] = {
    "granary",          "systemd",          "chronyd",
    "systemd-networkd", "systemd-resolved", "systemd-timesyncd",
    "systemd-repart",   "systemd-fsck",     "nft",
    "systemd-journald", "systemd-shutdown", "systemd-udevd",
};

/* ---- libsystemd, which a machine without a journal need not have */
static struct {
	__typeof__(sd_journal_open) *open;
	__typeof__(sd_journal_open_directory) *open_directory;
	__typeof__(sd_journal_seek_tail) *seek_tail;
	__typeof__(sd_journal_previous) *previous;
	__typeof__(sd_journal_get_data) *get_data;
	__typeof__(sd_journal_get_realtime_usec) *get_realtime_usec;
	__typeof__(sd_journal_set_data_threshold) *set_data_threshold;
	__typeof__(sd_journal_close) *close;
} journal;

static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct err failure;

#define ROW(name)                                                                                  \
	{                                                                                          \
		"sd_journal_" #name, &journal.name, sizeof journal.name                            \
	}

static void load(void)
{
	static const struct {
		const char *name;
		void *place;
		size_t size;
	} rows[] = {ROW(open),     ROW(open_directory),    ROW(seek_tail),          ROW(previous),
		    ROW(get_data), ROW(get_realtime_usec), ROW(set_data_threshold), ROW(close)};
	void *library = dlopen("libsystemd.so.0", RTLD_NOW | RTLD_LOCAL);

	if (!library) {
		err_set(&failure, -ELIBACC, "%s", dlerror());
		return;
	}
	for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++) {
		void *symbol = dlsym(library, rows[i].name);

		if (!symbol) {
			err_set(&failure, -ELIBACC, "this libsystemd has no %s", rows[i].name);
			return;
		}
		memcpy(rows[i].place, &symbol, rows[i].size);
	}
}

/* ---- a file, filled from its end */
struct backwards {
	char *room; /* LOG_ROOM */
	size_t from;
	bool full;
};

static void put_before(struct backwards *file, const char *line, size_t length)
{
	if (length > file->from)
		file->full = true;
	if (file->full)
		return;
	file->from -= length;
	memcpy(file->room + file->from, line, length);
}

/* ---- an entry */
/* The field's text, "" when there is none; cut at @size. */
static void field(sd_journal *from, const char *name, char *text, size_t size)
{
	size_t length, skip = strlen(name) + 1;
	const void *data;

	text[0] = '\0';
	if (journal.get_data(from, name, &data, &length) < 0 || length < skip)
		return;
	length -= skip;
	if (length >= size)
		length = size - 1;
	memcpy(text, (const char *)data + skip, length);
	text[length] = '\0';
}

static bool is_ours(const char *identifier)
{
	for (unsigned i = 0; i < sizeof services / sizeof *services; i++) {
		size_t length = strlen(services[i]);

		if (strncmp(identifier, services[i], length) == 0 &&
		    (!identifier[length] || i == 0)) /* granaryd, granary-web, .. */
			return true;
	}
	return false;
}

static void add_entry(sd_journal *from, struct backwards *kernel, struct backwards *other)
{
	char who[64], transport[32], message[LINE_ROOM], line[LINE_ROOM + 160], stamp[32] = "";
	uint64_t usec = 0;
	struct tm parts;
	time_t seconds;
	size_t length;
	bool is_kernel;

	field(from, "_TRANSPORT", transport, sizeof transport);
	field(from, "SYSLOG_IDENTIFIER", who, sizeof who);
	is_kernel = strcmp(transport, "kernel") == 0;
	if (!is_kernel && !is_ours(who))
		return;
	field(from, "MESSAGE", message, sizeof message);
	if (journal.get_realtime_usec(from, &usec) < 0)
		usec = 0;
	seconds = (time_t)(usec / 1000000u);
	if (gmtime_r(&seconds, &parts))
		strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S", &parts);
	for (char *at = message; *at; at++) /* one line */
		if (*at == '\n')
			*at = ' ';
	length = (size_t)snprintf(line, sizeof line, "%s.%06uZ %s: %s\n", stamp,
				  (unsigned)(usec % 1000000u), is_kernel ? "kernel" : who, message);
	put_before(is_kernel ? kernel : other, line,
		   length < sizeof line ? length : sizeof line - 1);
}

static int64_t seconds_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec;
}

/* 0 or -errno. */
static int walk(sd_journal *from, struct backwards *kernel, struct backwards *other)
{
	int64_t limit = seconds_now() + SECONDS_MAX;
	int result = journal.seek_tail(from);

	journal.set_data_threshold(from, LINE_ROOM);
	for (unsigned i = 0; result >= 0 && i < ENTRIES_MAX; i++) {
		result = journal.previous(from);
		if (result <= 0 || (kernel->full && other->full) || seconds_now() > limit)
			break;
		add_entry(from, kernel, other);
	}
	return result < 0 ? result : 0;
}

static void add_log(struct support *support, const char *name, const struct backwards *file)
{
	if (file->from < LOG_ROOM)
		support_add(support, name, SUPPORT_LOG, file->room + file->from,
			    LOG_ROOM - file->from);
}

static void say(struct support *support, const char *why)
{
	char text[600];
	int length = snprintf(text, sizeof text, "the journal can not be read: %s\n", why);

	support_add(support, "logs/journal-not-read.txt", SUPPORT_FACT, text, (size_t)length);
}

void support_add_journal(struct support *support, const char *folder)
{
	struct backwards kernel = {.from = LOG_ROOM}, other = {.from = LOG_ROOM};
	sd_journal *from = NULL;
	int result;

	pthread_once(&once, load);
	if (failure.code) {
		say(support, failure.text);
		return;
	}
	kernel.room = heap_alloc(LOG_ROOM);
	other.room = heap_alloc(LOG_ROOM);
	result = !kernel.room || !other.room ? -ENOMEM
		 : folder                    ? journal.open_directory(&from, folder, 0)
			  : journal.open(&from, SD_JOURNAL_LOCAL_ONLY | SD_JOURNAL_SYSTEM);
	if (result >= 0)
		result = walk(from, &kernel, &other);
	if (result < 0)
		say(support, strerror(-result));
	else if (kernel.from == LOG_ROOM && other.from == LOG_ROOM)
		say(support, "there is none here, or nothing of ours is in it");
	else {
		add_log(support, "logs/kernel.txt", &kernel);
		add_log(support, "logs/services.txt", &other);
	}
	if (from)
		journal.close(from);
	heap_free(kernel.room);
	heap_free(other.room);
}
