/* SPDX-License-Identifier: Apache-2.0 */
/* What is made of what smartctl says of disks: NVMe, ATA and SCSI ones that are well and that are
 * not, those that have nothing to tell, and answers that are none; and a program that hangs. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "diskhealth/diskhealth.h"

#define PASSED "\"smart_status\":{\"passed\":true}"
#define FAILED "\"smart_status\":{\"passed\":false}"

static void says(const char *said, const char *status, const char *words)
{
	json_t *from = json_loads(said, 0, NULL), *report;

	assert_non_null(from);
	report = smart_report("sda", from);
	assert_non_null(report);
	if (!strstr(json_string_value(json_object_get(report, "detail")), words))
		print_error("%s\n", json_string_value(json_object_get(report, "detail")));
	assert_string_equal(json_string_value(json_object_get(report, "status")), status);
	assert_string_equal(json_string_value(json_object_get(report, "name")), "sda");
	assert_non_null(strstr(json_string_value(json_object_get(report, "detail")), words));
	if (strcmp(status, "good") == 0)
		assert_string_equal(json_string_value(json_object_get(report, "detail")), "");
	json_decref(report);
	json_decref(from);
}

#define NVME(log) "{" PASSED ",\"nvme_smart_health_information_log\":{" log "}}"
#define ATA(rows) "{" PASSED ",\"ata_smart_attributes\":{\"table\":[" rows "]}}"

static void kinds(void **state)
{
	(void)state;
	says("{" PASSED "}", "good", "");
	says("{" FAILED "}", "failing", "about to fail");
	says(NVME("\"critical_warning\":0,\"percentage_used\":3,\"media_errors\":0"), "good", "");
	says(NVME("\"critical_warning\":1"), "failing", "spare");
	says(NVME("\"critical_warning\":2"), "warning", "hot");
	says(NVME("\"critical_warning\":12"), "failing", "unreliable; it has become read-only");
	says(NVME("\"percentage_used\":97"), "warning", "97 %");
	says(NVME("\"media_errors\":4"), "warning", "4 blocks");
	says(ATA("{\"id\":5,\"raw\":{\"value\":12}}"), "good", "");
	says(ATA("{\"id\":197,\"raw\":{\"value\":8}},{\"id\":198,\"raw\":{\"value\":2}}"),
	     "warning", "8 sectors wait to be written again; 2 sectors can not be read");
	says(ATA("{\"id\":10,\"name\":\"Spin_Retry\",\"when_failed\":\"now\"}"), "warning",
	     "Spin_Retry");
	says("{" PASSED ",\"ata_smart_data\":{\"self_test\":{\"status\":{\"passed\":false}}}}",
	     "warning", "self-test");
	says("{" PASSED ",\"scsi_percentage_used_endurance_indicator\":90}", "warning", "90 %");
	says("{" PASSED ",\"temperature\":{\"current\":70,\"drive_trip\":68}}", "warning", "70");
	says("{\"smartctl\":{\"messages\":[{\"string\":\"/dev/vda: Unable to detect device "
	     "type\"}]}}",
	     "unknown", "Unable to detect");
	says("{}", "unknown", "no health");
	says("{\"smart_status\":{\"passed\":\"yes\"},\"smartctl\":{\"messages\":7}}", "unknown",
	     "no health");
	says("{\"smart_status\":7,\"ata_smart_attributes\":[1,2]}", "unknown", "no health");
	says(ATA("1,null,{\"id\":\"x\",\"raw\":3}"), "good", "");
}

static void numbers(void **state)
{
	json_t *from = json_loads(
	    "{" PASSED ",\"model_name\":\"ACME 1\",\"serial_number\":\"S1\",\"temperature\":"
	    "{\"current\":31},\"power_on_time\":{\"hours\":77},\"ata_smart_attributes\":"
	    "{\"table\":[{\"id\":5,\"raw\":{\"value\":3}}]}}",
	    0, NULL);
	json_t *report = smart_report("sdb", from), *none = smart_report("sdc", NULL);
	json_t *expected = json_pack("{s:s,s:s,s:s,s:s,s:s,s:i,s:i,s:i}", "name", "sdb", "model",
				     "ACME 1", "serial", "S1", "status", "good", "detail", "",
				     "temperature_c", 31, "power_on_hours", 77, "sectors", 3);

	(void)state;
	assert_true(json_equal(report, expected));
	assert_string_equal(json_string_value(json_object_get(none, "status")), "unknown");
	json_decref(from);
	json_decref(report);
	json_decref(expected);
	json_decref(none);
}

static void programs(void **state)
{
	struct err err = {0};

	(void)state;
	assert_null(smart_ask("/nowhere/smartctl", "sda", &err));
	assert_non_null(strstr(err.text, "can not be started"));
	err = (struct err){0};
	assert_null(smart_ask("/bin/true", "sda", &err)); /* it says nothing */
	assert_true(err.text[0] != '\0');
	err = (struct err){0};
	assert_null(smart_ask("/bin/echo", "sda", &err)); /* no JSON */
	assert_true(err.text[0] != '\0');
}

static int options(const char *const *words, struct smart_options *ret)
{
	int count = 0;

	while (words[count])
		count++;
	return smart_options_read(count, (char **)words, ret);
}

static void command_line(void **state)
{
	static const char *const good[] = {"x", "--every", "30", "--disk", "sda", NULL};
	static const char *const path[] = {"x", "--disk", "../sda", NULL};
	static const char *const dash[] = {"x", "--disk", "--scan", NULL};
	static const char *const never[] = {"x", "--every", "0", NULL};
	static const char *const cut[] = {"x", "--every", NULL};
	struct smart_options read;

	(void)state;
	assert_int_equal(options(good, &read), -1);
	assert_int_equal(read.every, 30);
	assert_string_equal(read.disks[0], "sda");
	assert_int_equal(options(path, &read), 2);
	assert_int_equal(options(dash, &read), 2);
	assert_int_equal(options(never, &read), 2);
	assert_int_equal(options(cut, &read), 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(kinds),
	    cmocka_unit_test(numbers),
	    cmocka_unit_test(programs),
	    cmocka_unit_test(command_line),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
