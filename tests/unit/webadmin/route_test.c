/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "webadmin/route.h"

static void rows_are_whole_and_unique(void **state)
{
	unsigned count;
	const struct route *routes = route_table(&count);

	(void)state;
	assert_true(count > 20);
	for (unsigned i = 0; i < count; i++) {
		assert_non_null(routes[i].handle);
		if (strcmp(routes[i].path, "/metrics") != 0)
			assert_int_equal(strncmp(routes[i].path, "/api/v1/", 8), 0);
		assert_true(strlen(routes[i].summary) > 5);
		/* Reading changes nothing and takes no body; changes are not for viewers, but for
		 * their own account. */
		if (strcmp(routes[i].method, "GET") == 0) {
			assert_int_equal(routes[i].flags & ROUTE_CHANGE, 0);
			assert_null(routes[i].body);
		} else if (strstr(routes[i].path, "/me/") || strstr(routes[i].path, "/log")) {
			assert_true(routes[i].role <= ROLE_VIEWER); /* one's own account */
		} else if (strcmp(routes[i].path, "/api/v1/setup") != 0) {
			assert_true(routes[i].role > ROLE_VIEWER);
		}
		/* A change shows what it would do, or says why it can not. */
		if (strcmp(routes[i].method, "GET") != 0)
			assert_int_equal(route_no_dry(&routes[i]) == NULL,
					 (routes[i].flags & ROUTE_DRY) != 0);
		else
			assert_null(route_no_dry(&routes[i]));
		for (unsigned j = 0; j < i; j++)
			assert_false(strcmp(routes[i].method, routes[j].method) == 0 &&
				     strcmp(routes[i].path, routes[j].path) == 0);
	}
}

/* Every row is found by its own path, parameters filled in, and gets them back. */
static void rows_find_themselves(void **state)
{
	unsigned count;
	const struct route *routes = route_table(&count);

	(void)state;
	for (unsigned i = 0; i < count; i++) {
		char path[256] = "";
		const char *at = routes[i].path;
		struct route_match match;

		while (*at) {
			size_t length = strlen(path);

			if (*at == '{') {
				snprintf(path + length, sizeof path - length, "some%%2Dvalue:1.x");
				at = strchr(at, '}') + 1;
			} else {
				snprintf(path + length, sizeof path - length, "%c", *at++);
			}
		}
		route_find(routes[i].method, path, &match);
		assert_ptr_equal(match.route, &routes[i]);
		if (strchr(routes[i].path, '{'))
			assert_string_equal(match.param[0], "some-value:1.x");
		route_find("BREW", path, &match);
		assert_null(match.route);
		assert_true(match.path_known);
	}
}

static void wrong_paths_find_nothing(void **state)
{
	static const char *const paths[] = {
	    "",
	    "/",
	    "/api",
	    "api/v1/pools",
	    "/api/v1/pools/",
	    "/api/v1//pools",
	    "/api/v1/pools/a/b",
	    "/api/v2/pools",
	    "/API/v1/pools",
	    "/api/v1/pools?x=1",
	    "/api/v1/pools/%",
	    "/api/v1/pools/%4",
	    "/api/v1/pools/%zz",
	    "/api/v1/pools/%00",
	    "/api/v1/pools/a%0ab",
	    "/api/v1/pools/%2e%2e%2fetc",
	    "/api/v1/volumes/tank",
	    "/api/v1/volumes//x",
	    "/api/v1/targets/iqn/luns/1/2",
	};

	(void)state;
	for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
		struct route_match match;

		route_find("GET", paths[i], &match);
		if (match.route)
			fail_msg("%s is %s", paths[i], match.route->path);
	}
}

static void long_parts_are_refused(void **state)
{
	char path[4096] = "/api/v1/pools/";
	size_t start = strlen(path);
	struct route_match match;

	(void)state;
	memset(path + start, 'a', ROUTE_PARAM_LENGTH - 1);
	path[start + ROUTE_PARAM_LENGTH - 1] = '\0';
	route_find("GET", path, &match);
	assert_non_null(match.route);
	assert_int_equal(strlen(match.param[0]), ROUTE_PARAM_LENGTH - 1);
	path[start + ROUTE_PARAM_LENGTH - 1] = 'a';
	path[start + ROUTE_PARAM_LENGTH] = '\0';
	route_find("GET", path, &match);
	assert_null(match.route);
	memset(path, '/', sizeof path - 1);
	path[sizeof path - 1] = '\0';
	route_find("GET", path, &match);
	assert_null(match.route);
}

static void encoding_is_decoded_once(void **state)
{
	struct route_match match;

	(void)state;
	route_find("GET", "/api/v1/targets/iqn.2026-11.org%3Agranary%253A", &match);
	assert_non_null(match.route);
	assert_string_equal(match.param[0], "iqn.2026-11.org:granary%3A");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(rows_are_whole_and_unique), cmocka_unit_test(rows_find_themselves),
	    cmocka_unit_test(wrong_paths_find_nothing),  cmocka_unit_test(long_parts_are_refused),
	    cmocka_unit_test(encoding_is_decoded_once),
	};

	return cmocka_run_group_tests_name("webadmin/route", tests, NULL, NULL);
}
