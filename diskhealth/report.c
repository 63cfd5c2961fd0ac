/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "diskhealth/diskhealth.h"

#define WEAR_WARNING 90

/* Bits of an NVMe disk's critical warning (NVM Express base specification, log page 02h, byte 0).
 */
static const struct {
	unsigned bit;
	bool failing;
	const char *text;
} nvme_warnings[] = {
    {0, true, "its spare blocks are used up"},
    {1, false, "it is too hot or too cold"},
    {2, true, "it has become unreliable"},
    {3, true, "it has become read-only"},
    {4, true, "its memory is backed up no longer"},
    {5, true, "its persistent memory is read-only or unreliable"},
};

/* Attributes of ATA disks that count sectors (as vendors agree on them). */
static const struct {
	json_int_t id;
	const char *text;
} ata_sectors[] = {
    {197, "sectors wait to be written again"},
    {198, "sectors can not be read"},
};

struct report {
	json_t *object;
	bool failing, warning;
	char detail[300];
};

static void add_detail(struct report *report, bool failing, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static void add_detail(struct report *report, bool failing, const char *format, ...)
{
	size_t length = strlen(report->detail);
	va_list values;

	report->failing |= failing;
	report->warning |= !failing;
	if (length && length + 3 < sizeof report->detail)
		length +=
		    (size_t)snprintf(report->detail + length, sizeof report->detail - length, "; ");
	va_start(values, format);
	vsnprintf(report->detail + length, sizeof report->detail - length, format, values);
	va_end(values);
}

/* A member below others; NULL when one of them is not there. */
static const json_t *below(const json_t *object, const char *one, const char *other)
{
	return json_object_get(json_object_get(object, one), other);
}

static void put_number(struct report *report, const char *name, const json_t *value)
{
	if (json_is_integer(value))
		json_object_set(report->object, name, (json_t *)value);
}

/* --- kinds of disks -------------------------------------------------------------------------- */

static void look_at_nvme(struct report *report, const json_t *log)
{
	json_int_t warning = json_integer_value(json_object_get(log, "critical_warning"));
	const json_t *wear = json_object_get(log, "percentage_used");

	for (unsigned i = 0; i < sizeof nvme_warnings / sizeof *nvme_warnings; i++)
		if (warning >> nvme_warnings[i].bit & 1)
			add_detail(report, nvme_warnings[i].failing, "%s", nvme_warnings[i].text);
	put_number(report, "wear_percent", wear);
	if (json_integer_value(wear) >= WEAR_WARNING)
		add_detail(report, false, "%lld %% of its life are used",
			   (long long)json_integer_value(wear));
	if (json_integer_value(json_object_get(log, "media_errors")) > 0)
		add_detail(report, false, "%lld blocks could not be read",
			   (long long)json_integer_value(json_object_get(log, "media_errors")));
}

static void look_at_attribute(struct report *report, const json_t *attribute)
{
	json_int_t id = json_integer_value(json_object_get(attribute, "id"));
	json_int_t raw = json_integer_value(below(attribute, "raw", "value"));
	const char *name = json_string_value(json_object_get(attribute, "name"));
	const char *failed = json_string_value(json_object_get(attribute, "when_failed"));

	if (id == 5)
		put_number(report, "sectors", below(attribute, "raw", "value"));
	for (unsigned i = 0; i < sizeof ata_sectors / sizeof *ata_sectors; i++)
		if (id == ata_sectors[i].id && raw > 0)
			add_detail(report, false, "%lld %s", (long long)raw, ata_sectors[i].text);
	if (failed && strcmp(failed, "now") == 0)
		add_detail(report, false, "attribute %lld (%.40s) is past its threshold",
			   (long long)id, name ? name : "");
}

static void look_at_ata(struct report *report, const json_t *said)
{
	const json_t *table = below(said, "ata_smart_attributes", "table");
	const json_t *test = below(json_object_get(said, "ata_smart_data"), "self_test", "status");
	size_t index;
	json_t *attribute;

	json_array_foreach((json_t *)table, index, attribute) look_at_attribute(report, attribute);
	if (json_is_false(json_object_get(test, "passed")))
		add_detail(report, false, "its last self-test failed");
}

static void look_at_scsi(struct report *report, const json_t *said)
{
	const json_t *wear = json_object_get(said, "scsi_percentage_used_endurance_indicator");

	put_number(report, "sectors", json_object_get(said, "scsi_grown_defect_list"));
	put_number(report, "wear_percent", wear);
	if (json_integer_value(wear) >= WEAR_WARNING)
		add_detail(report, false, "%lld %% of its life are used",
			   (long long)json_integer_value(wear));
}

/* --- all of them ----------------------------------------------------------------------------- */

static void look_at_heat(struct report *report, const json_t *said)
{
	const json_t *now = below(said, "temperature", "current");
	const json_t *limit = below(said, "temperature", "drive_trip");

	put_number(report, "temperature_c", now);
	if (json_is_integer(now) && json_is_integer(limit) && json_integer_value(limit) > 0 &&
	    json_integer_value(now) >= json_integer_value(limit))
		add_detail(report, false, "it is too hot: %lld degrees, %lld are its limit",
			   (long long)json_integer_value(now),
			   (long long)json_integer_value(limit));
}

/* The first message of the program's own, for a disk that it could not ask. */
static const char *message_of(const json_t *said)
{
	const json_t *messages = below(said, "smartctl", "messages");
	const char *text =
	    json_string_value(json_object_get(json_array_get(messages, 0), "string"));

	return text ? text : "it has no health of its own to tell";
}

static void put_text(struct report *report, const char *name, const json_t *value)
{
	const char *text = json_string_value(value);
	char cut[SMART_NAME];
	json_t *string;

	snprintf(cut, sizeof cut, "%.63s", text ? text : "");
	string = json_string(cut); /* NULL when a character was cut in two */
	json_object_set_new(report->object, name, string ? string : json_string("?"));
}

static void finish(struct report *report, const char *status)
{
	json_t *detail;

	json_object_set_new(report->object, "status", json_string(status));
	detail = json_string(report->detail); /* NULL when a character was cut in two */
	json_object_set_new(report->object, "detail", detail ? detail : json_string("?"));
}

json_t *smart_report(const char *name, const json_t *said)
{
	struct report report = {.object = json_pack("{s:s}", "name", name)};
	const json_t *passed = below(said, "smart_status", "passed");

	if (!report.object)
		return NULL;
	put_text(&report, "model", json_object_get(said, "model_name"));
	put_text(&report, "serial", json_object_get(said, "serial_number"));
	if (!json_is_boolean(passed)) {
		snprintf(report.detail, sizeof report.detail, "%.250s",
			 said ? message_of(said) : "smartctl gave no answer that is known");
		finish(&report, "unknown");
		return report.object;
	}
	if (json_is_false(passed))
		add_detail(&report, true, "it says itself that it is about to fail");
	look_at_nvme(&report, json_object_get(said, "nvme_smart_health_information_log"));
	look_at_ata(&report, said);
	look_at_scsi(&report, said);
	look_at_heat(&report, said);
	put_number(&report, "power_on_hours", below(said, "power_on_time", "hours"));
	finish(&report, report.failing ? "failing" : report.warning ? "warning" : "good");
	return report.object;
}
