/* SPDX-License-Identifier: Apache-2.0 */
/* What smbd is given to read: who may use what, and that no name can say more than a name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "smbfront/smbfront.h"

static const struct smb_options options = {
    .state_dir = "/state", .run_dir = "/run/g", .bind = "127.0.0.1", .port = 4455};

static json_t *read_json(const char *text)
{
	json_t *value = json_loads(text, 0, NULL);

	assert_non_null(value);
	return value;
}

static char *configuration_of(const char *text)
{
	json_t *served = read_json(text);
	char *configuration = smb_render_configuration(&options, served);

	assert_non_null(configuration);
	json_decref(served);
	return configuration;
}

#define SHARE(name, more) "{\"pool\":\"tank\",\"name\":\"" name "\"," more "}"

static void shares_say_who_may(void **state)
{
	char *text = configuration_of("{\"shares\":[" SHARE(
	    "isos",
	    "\"guest\":true,\"read_only\":"
	    "true,\"users\":[]") "," SHARE("work", "\"guest\":false,\"read_only\":false,\"users\":["
						   "\"alice\",\"bob\"]") "],\"users\":[]}");
	char *work;

	(void)state;
	assert_non_null(strstr(text, "\nsmb ports = 4455\n"));
	assert_non_null(strstr(text, "\nbind interfaces only = yes\n"));
	assert_non_null(strstr(text, "\n[isos]\npath = /run/g/mnt/tank/isos\nread only = yes\n"
				     "guest ok = yes\n"));
	work = strstr(text, "\n[work]\n");
	assert_non_null(work);
	assert_non_null(strstr(work, "\nread only = no\nguest ok = no\nvalid users = alice bob\n"));
	free(text);
}

static void what_nobody_may_use_is_left_out(void **state)
{
	char *text = configuration_of(
	    "{\"shares\":[" SHARE("none", "\"guest\":false,\"users\":[]") "],\"users\":[]}");

	(void)state;
	assert_null(strstr(text, "[none]"));
	free(text);
}

static void names_are_only_names(void **state)
{
	static const char *const bad[] = {"a]\\nguest ok = yes\\n[b",
					  "%U",
					  "",
					  "a b",
					  "..",
					  "a/b",
					  "global",
					  "Globals",
					  "homes",
					  "PRINTERS"};
	char *text;

	(void)state;
	for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
		char json[300];

		snprintf(json, sizeof json,
			 "{\"shares\":[{\"pool\":\"tank\",\"name\":\"%s\",\"guest\":true}],"
			 "\"users\":[]}",
			 bad[i]);
		text = configuration_of(json);
		assert_null(strstr(text, "\n\n["));
		free(text);
	}
	text = configuration_of("{\"shares\":[" SHARE("work", "\"guest\":false,\"users\":"
							      "[\"a\\nguest ok = yes\"]") "]}");
	assert_null(strstr(text, "guest ok = yes"));
	assert_null(strstr(text, "[work]")); /* nobody that is left may use it */
	free(text);
}

static void users_have_lines(void **state)
{
	json_t *served = read_json("{\"users\":["
				   "{\"name\":\"alice\",\"uid\":70001,\"gid\":100,"
				   "\"hash\":\"8846F7EAEE8FB117AD06BDD830B7586C\"},"
				   "{\"name\":\"bob\",\"uid\":70002,\"gid\":70002,\"hash\":\"\"},"
				   "{\"name\":\"x:0:0\",\"uid\":5,\"gid\":5,\"hash\":\"\"},"
				   "{\"name\":\"zero\",\"uid\":0,\"gid\":0,\"hash\":\"\"}]}");
	char *passwords = smb_render_passwords(served), *users = smb_render_users(served);
	char *groups = smb_render_groups(served);

	(void)state;
	assert_string_equal(passwords, "alice:70001:XXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXX:"
				       "8846F7EAEE8FB117AD06BDD830B7586C:[UX         ]:"
				       "LCT-5F000000:\n");
	assert_non_null(strstr(users, "\nalice:x:70001:100::/:/bin/false\nbob:x:70002:70002:"));
	assert_null(strstr(users, "\nx:0:0"));
	assert_null(strstr(users, "zero"));
	assert_non_null(strstr(groups, "\nalice:x:100:\n"));
	free(passwords);
	free(users);
	free(groups);
	json_decref(served);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(shares_say_who_may),
	    cmocka_unit_test(what_nobody_may_use_is_left_out),
	    cmocka_unit_test(names_are_only_names),
	    cmocka_unit_test(users_have_lines),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
