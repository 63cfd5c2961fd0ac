/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshots/zone.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/heap.h"

/* A time zone beside the machine's own. The C library knows one at a time, that of the environment,
 * which a program with threads does not change; so the file of the zone is read here. It lists
 * changes of the clock up to a year, and ends in a rule (POSIX TZ) for all years after that.
 *
 * Z1 times[] ascends strictly, and each of its kinds is one of offsets[].
 * Z2 Every offset is less than OFFSET_MAX from UTC, every time of a rule less than RULE_TIME_MAX
 *    from midnight: no sum here overflows for a moment between the years 1 and 9999. */

#define FOLDER        "/usr/share/zoneinfo/"
#define HEADER        44u
#define KINDS_MAX     256u
#define OFFSET_MAX    (26 * 3600)
#define RULE_TIME_MAX (168 * 3600)
#define DAY           86400

/* A day of each year as POSIX TZ names it. */
enum day_kind { DAY_JULIAN, DAY_COUNTED, DAY_WEEKDAY };
struct rule_day {
	enum day_kind kind;
	int day;         /* DAY_JULIAN: 1-365, never 29 February. DAY_COUNTED: 0-365 */
	int month, week; /* DAY_WEEKDAY: 1-12; 1-5, 5 is the last; day is 0-6 from Sunday on */
	long time;       /* of the clock before the change; seconds from midnight */
};

struct zone {
	unsigned count;
	int64_t *times;
	uint8_t *kinds; /* times[i] begins offsets[kinds[i]] */
	int32_t offsets[KINDS_MAX];
	bool has_rule, has_summer;
	long standard, summer;
	struct rule_day start, end; /* of summer time */
};

/* ---- the rule ---- */

/* The name of a kind of time, which nothing is done with. */
static bool pass_name(const char **at)
{
	const char *start = *at;
	bool quoted = *start == '<';
	size_t length;

	if (quoted) {
		length = strcspn(start, ">");
		if (start[length] != '>')
			return false;
		*at = start + length + 1;
		return length > 1;
	}
	while ((**at >= 'a' && **at <= 'z') || (**at >= 'A' && **at <= 'Z'))
		(*at)++;
	return *at - start >= 3;
}

static bool read_digits(const char **at, int most, int *ret_number)
{
	int number = 0;

	if (**at < '0' || **at > '9')
		return false;
	while (**at >= '0' && **at <= '9' && number <= most)
		number = number * 10 + *(*at)++ - '0';
	*ret_number = number;
	return number <= most;
}

/* [+-]hh[:mm[:ss]] */
static bool read_time(const char **at, int hours_most, long *ret_seconds)
{
	int part[3] = {0}, most[3] = {hours_most, 59, 59};
	bool back = **at == '-';

	if (**at == '-' || **at == '+')
		(*at)++;
	for (unsigned i = 0; i < 3; i++) {
		if (i && **at != ':')
			break;
		*at += i != 0;
		if (!read_digits(at, most[i], &part[i]))
			return false;
	}
	*ret_seconds = (back ? -1L : 1L) * (part[0] * 3600L + part[1] * 60L + part[2]);
	return true;
}

static bool read_day(const char **at, struct rule_day *day)
{
	bool good;

	*day = (struct rule_day){.kind = DAY_COUNTED, .time = 2 * 3600L};
	if (**at == 'M') {
		day->kind = DAY_WEEKDAY;
		(*at)++;
		good = read_digits(at, 12, &day->month) && *(*at)++ == '.' &&
		       read_digits(at, 5, &day->week) && *(*at)++ == '.' &&
		       read_digits(at, 6, &day->day) && day->month && day->week;
	} else if (**at == 'J') {
		day->kind = DAY_JULIAN;
		(*at)++;
		good = read_digits(at, 365, &day->day) && day->day;
	} else {
		good = read_digits(at, 365, &day->day);
	}
	if (!good || **at != '/')
		return good;
	(*at)++;
	return read_time(at, RULE_TIME_MAX / 3600 - 1, &day->time);
}

/* "CET-1CEST,M3.5.0,M10.5.0/3"; what is west of Greenwich is written as more than nothing. */
static bool read_rule(struct zone *zone, const char *text)
{
	if (!pass_name(&text) || !read_time(&text, 24, &zone->standard))
		return false;
	zone->standard = -zone->standard;
	zone->has_rule = true;
	if (!*text)
		return true;
	zone->has_summer = true;
	zone->summer = zone->standard + 3600;
	if (!pass_name(&text))
		return false;
	if (*text != ',') {
		if (!read_time(&text, 24, &zone->summer))
			return false;
		zone->summer = -zone->summer;
	}
	return *text++ == ',' && read_day(&text, &zone->start) && *text++ == ',' &&
	       read_day(&text, &zone->end) && !*text;
}

static bool is_leap(int year)
{
	return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

/* Local time as if it were UTC. */
static int64_t day_of(const struct rule_day *day, int year)
{
	struct tm tm = {.tm_year = year - 1900, .tm_mday = 1};
	int64_t first;

	if (day->kind == DAY_WEEKDAY) {
		int before;

		tm.tm_mon = day->month - 1;
		first = (int64_t)timegm(&tm);
		before = (day->day - tm.tm_wday + 7) % 7 + 7 * (day->week - 1);
		if (before >= 28) { /* the fifth, which not every month has */
			struct tm after = {.tm_year = year - 1900,
					   .tm_mon = day->month - 1,
					   .tm_mday = before + 1};

			timegm(&after);
			before -= after.tm_mon != day->month - 1 ? 7 : 0;
		}
		return first + (int64_t)before * DAY + day->time;
	}
	first = (int64_t)timegm(&tm);
	if (day->kind == DAY_COUNTED)
		return first + (int64_t)day->day * DAY + day->time;
	return first + (int64_t)(day->day - 1 + (is_leap(year) && day->day > 59)) * DAY + day->time;
}

/* The last change before @moment says what is. Where one summer ends as the next begins (a zone
 * that has it all year) it goes on. */
static long rule_offset(const struct zone *zone, int64_t moment)
{
	time_t time = (time_t)moment;
	int64_t last = INT64_MIN;
	long offset = zone->standard;
	struct tm tm;

	if (!zone->has_summer || !gmtime_r(&time, &tm))
		return offset;
	for (int year = tm.tm_year + 1899; year <= tm.tm_year + 1901; year++) {
		int64_t end = day_of(&zone->end, year) - zone->summer;
		int64_t start = day_of(&zone->start, year) - zone->standard;

		if (end <= moment && end > last) {
			last = end;
			offset = zone->standard;
		}
		if (start <= moment && start >= last) {
			last = start;
			offset = zone->summer;
		}
	}
	return offset;
}

/* ---- asking ---- */

long zone_offset(const struct zone *zone, int64_t moment)
{
	unsigned low = 0, high;

	if (!zone) {
		time_t time = (time_t)moment;
		struct tm tm;

		return localtime_r(&time, &tm) ? tm.tm_gmtoff : 0;
	}
	high = zone->count; /* times[] before low are not after @moment, those from high on are */
	while (low < high) {
		unsigned middle = low + (high - low) / 2;

		if (zone->times[middle] <= moment)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == zone->count && zone->has_rule)
		return rule_offset(zone, moment);
	return zone->offsets[low ? zone->kinds[low - 1] : 0];
}

bool zone_local(const struct zone *zone, int64_t moment, struct tm *ret_tm)
{
	time_t time = (time_t)moment;

	if (!zone)
		return localtime_r(&time, ret_tm);
	time += zone_offset(zone, moment);
	return gmtime_r(&time, ret_tm);
}

/* ---- the file: its numbers have the most significant byte first ---- */

static uint32_t big32(const uint8_t *bytes)
{
	uint32_t value;

	memcpy(&value, bytes, sizeof value);
	return be32toh(value);
}

static uint64_t big64(const uint8_t *bytes)
{
	uint64_t value;

	memcpy(&value, bytes, sizeof value);
	return be64toh(value);
}

struct counts {
	uint32_t utc, standard, leap, time, kind, chars;
};

static struct counts read_counts(const uint8_t *header)
{
	return (struct counts){.utc = big32(header + 20),
			       .standard = big32(header + 24),
			       .leap = big32(header + 28),
			       .time = big32(header + 32),
			       .kind = big32(header + 36),
			       .chars = big32(header + 40)};
}

/* Bytes behind the header; times have @wide bytes. No overflow: the counts have 32 bits. */
static uint64_t body_size(const struct counts *counts, unsigned wide)
{
	return (uint64_t)counts->time * (wide + 1) + (uint64_t)counts->kind * 6 + counts->chars +
	       (uint64_t)counts->leap * (wide + 4) + counts->standard + counts->utc;
}

static bool read_times(struct zone *zone, const uint8_t *at, const struct counts *counts)
{
	const uint8_t *kinds = at + (size_t)counts->time * 8;
	const uint8_t *types = kinds + counts->time;

	for (unsigned i = 0; i < counts->kind; i++) {
		int32_t offset = (int32_t)big32(types + (size_t)i * 6);

		if (offset <= -OFFSET_MAX || offset >= OFFSET_MAX)
			return false;
		zone->offsets[i] = offset;
	}
	for (unsigned i = 0; i < counts->time; i++) {
		zone->times[i] = (int64_t)big64(at + (size_t)i * 8);
		zone->kinds[i] = kinds[i];
		if (kinds[i] >= counts->kind || (i && zone->times[i] <= zone->times[i - 1]))
			return false;
	}
	zone->count = counts->time;
	return true;
}

/* "\nRULE\n" to the end of the file. */
static bool read_footer(struct zone *zone, const uint8_t *at, size_t length)
{
	char text[128];

	if (length < 2 || length - 2 >= sizeof text || at[0] != '\n' || at[length - 1] != '\n')
		return false;
	memcpy(text, at + 1, length - 2);
	text[length - 2] = '\0';
	if (strlen(text) != length - 2 || strchr(text, '\n'))
		return false;
	return !text[0] || read_rule(zone, text);
}

/* What is wrong with it, NULL: nothing. */
static const char *parse(struct zone *zone, const uint8_t *bytes, size_t length)
{
	struct counts counts;
	uint64_t skip, size;

	if (length < HEADER || memcmp(bytes, "TZif", 4) != 0)
		return "it is no file of a time zone";
	if (bytes[4] < '2')
		return "its format is too old (TZif version 1)";
	counts = read_counts(bytes);
	skip = HEADER + body_size(&counts, 4); /* the same with 32 bits comes first */
	if (skip > length || length - skip < HEADER || memcmp(bytes + skip, "TZif", 4) != 0)
		return "it is cut off";
	bytes += skip;
	length -= (size_t)skip;
	counts = read_counts(bytes);
	size = HEADER + body_size(&counts, 8);
	if (counts.leap)
		return "it counts leap seconds, which this machine's clock does not";
	if (size > length)
		return "it is cut off";
	if (counts.kind == 0 || counts.kind > KINDS_MAX || counts.time > ZONE_TIMES_MAX)
		return "it has too much in it";
	zone->times = heap_zalloc_array(counts.time + 1, sizeof *zone->times);
	zone->kinds = heap_zalloc_array(counts.time + 1, sizeof *zone->kinds);
	if (!zone->times || !zone->kinds)
		return "out of memory";
	if (!read_times(zone, bytes + HEADER, &counts) ||
	    !read_footer(zone, bytes + size, length - (size_t)size))
		return "it is damaged";
	return NULL;
}

int zone_parse(const uint8_t *bytes, size_t length, struct zone **ret_zone, struct err *err)
{
	struct zone *zone = heap_zalloc(sizeof *zone);
	const char *why = zone ? parse(zone, bytes, length) : "out of memory";

	if (why) {
		zone_free(zone);
		return err_set(err, -EINVAL, "%s", why);
	}
	*ret_zone = zone;
	return 0;
}

void zone_free(struct zone *zone)
{
	if (!zone)
		return;
	heap_free(zone->times);
	heap_free(zone->kinds);
	heap_free(zone);
}

/* ---- by name ---- */

/* "Asia/Shanghai": it stays within the folder, and names nothing that is hidden. */
static bool name_is_good(const char *name)
{
	size_t length = strlen(name);

	if (length == 0 || length > ZONE_NAME_MAX || name[length - 1] == '/')
		return false;
	for (size_t i = 0; i < length; i++) {
		bool first = i == 0 || name[i - 1] == '/';

		if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._+-/",
			    name[i]) ||
		    (first && (name[i] == '/' || name[i] == '.' || name[i] == '-')))
			return false;
	}
	return true;
}

/* Bytes read, or -errno. */
static ssize_t read_file(const char *name, uint8_t *bytes, size_t room)
{
	char path[sizeof FOLDER + ZONE_NAME_MAX];
	ssize_t got = 0, more = 1;
	struct stat status;
	int fd;

	snprintf(path, sizeof path, FOLDER "%s", name);
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0)
		return -errno;
	if (fstat(fd, &status) < 0 || !S_ISREG(status.st_mode))
		more = got = -ENOENT;
	while (more > 0 && (size_t)got < room) {
		more = read(fd, bytes + got, room - (size_t)got);
		got = more < 0 ? -errno : got + more;
	}
	close(fd);
	return got;
}

int zone_load(const char *name, struct zone **ret_zone, struct err *err)
{
	struct err why = {0};
	uint8_t *bytes;
	ssize_t length;
	int result;

	if (!name_is_good(name))
		return err_set(err, -EINVAL,
			       "a time zone is named as Asia/Shanghai or Europe/Zurich, not %.80s",
			       name);
	bytes = heap_zalloc(ZONE_BYTES_MAX);
	if (!bytes)
		return err_set(err, -ENOMEM, "out of memory");
	length = read_file(name, bytes, ZONE_BYTES_MAX);
	if (length == -ENOENT || length == -ENOTDIR)
		result = err_set(err, -EINVAL, "this machine knows no time zone named %s", name);
	else if (length < 0)
		result = err_set(err, -EIO, "the time zone %s can not be read: %s", name,
				 strerror((int)-length));
	else if ((size_t)length == ZONE_BYTES_MAX)
		result = err_set(err, -EINVAL, "the file of time zone %s is too long", name);
	else if ((result = zone_parse(bytes, (size_t)length, ret_zone, &why)) < 0)
		err_set(err, result, "the time zone %s can not be used: %s", name, why.text);
	heap_free(bytes);
	return result;
}
