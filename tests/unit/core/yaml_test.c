/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/yaml.h"

/* Documents of people: what a scalar is, what is refused and where, and what is written comes back.
 */

static bool is_text(const char *member)
{
	return strcmp(member, "name") == 0 || strcmp(member, "versions") == 0;
}

static const struct yaml_rules core = {
    .core = true, .depth_max = 16, .values_max = 1000, .is_text = is_text};
static const struct yaml_rules old = {.depth_max = 16, .values_max = 1000};

static json_t *read_by(const struct yaml_rules *rules, const char *text, json_t *lines)
{
	struct err err = {0};
	json_t *value = yaml_read(text, strlen(text), rules, lines, &err);

	if (!value)
		fail_msg("\"%s\": %s", text, err.text);
	return value;
}

/* @text read is the JSON @wanted. */
static void means(const struct yaml_rules *rules, const char *text, const char *wanted)
{
	json_t *value = read_by(rules, text, NULL);
	json_t *other = json_loads(wanted, JSON_DECODE_ANY, NULL);

	assert_non_null(other);
	if (!json_equal(value, other))
		fail_msg("\"%s\" is %s, not %s", text, json_dumps(value, JSON_ENCODE_ANY), wanted);
	json_decref(value);
	json_decref(other);
}

static void refused(const char *text, size_t length, const char *says)
{
	struct err err = {0};
	json_t *value = yaml_read(text, length, &core, NULL, &err);

	if (value)
		fail_msg("\"%s\" was taken", text);
	assert_true(err.code < 0);
	if (strncmp(err.text, says, strlen(says)) != 0)
		fail_msg("\"%s\": \"%s\", not \"%s\"", text, err.text, says);
}

#define REFUSED(text, says) refused(text, sizeof(text) - 1, says)

static void scalars_are_those_of_1_2(void **state)
{
	(void)state;
	means(&core, "[no, yes, on, off, y, n, No, NO]",
	      "[\"no\",\"yes\",\"on\",\"off\",\"y\",\"n\",\"No\",\"NO\"]");
	means(&core, "[true, True, TRUE, false, False, FALSE, tRue]",
	      "[true,true,true,false,false,false,\"tRue\"]");
	means(&core, "[~, null, Null, NULL, nULL, '', \"\"]",
	      "[null,null,null,null,\"nULL\",\"\",\"\"]");
	means(&core, "[0, 12, -3, +4, 012, 0o14, 0x1F, 1_000, 12:30:45, 0b11]",
	      "[0,12,-3,4,12,12,31,\"1_000\",\"12:30:45\",\"0b11\"]");
	means(&core, "[1.5, .5, 1., 1e3, -2.5E-1, 1.2.3, e3, ., 4.1]",
	      "[1.5,0.5,1.0,1000.0,-0.25,\"1.2.3\",\"e3\",\".\",4.1]");
	means(&core, "[2026-11-22, 10G, 10.0.0.0/24, iqn.2026-11.org:vm, 0x, 0o8]",
	      "[\"2026-11-22\",\"10G\",\"10.0.0.0/24\",\"iqn.2026-11.org:vm\",\"0x\",\"0o8\"]");
	means(&core, "['12', \"no\", 'true']", "[\"12\",\"no\",\"true\"]");
	means(&core, "9223372036854775807", "9223372036854775807");
	REFUSED("a: 9223372036854775808", "line 1, column 4: a: this number is too large");
	REFUSED("a: 0xffffffffffffffffff", "line 1, column 4: a: this number is too large");
	REFUSED("a: 1e999", "line 1, column 4: a: this number is too large");
	REFUSED("a: .inf", "line 1, column 4: a: infinity");
	REFUSED("a: .nan", "line 1, column 4: a: infinity");
}

/* "no" and 0123 are names that people give. */
static void a_text_is_one_where_it_is_wanted(void **state)
{
	(void)state;
	means(&core, "name: no\nother: 12", "{\"name\":\"no\",\"other\":12}");
	means(&core, "name: 0123", "{\"name\":\"0123\"}");
	means(&core, "name: true", "{\"name\":\"true\"}");
	means(&core, "versions: [3, 4.1, '4.2']", "{\"versions\":[\"3\",\"4.1\",\"4.2\"]}");
	means(&core, "versions: [{other: 3}]", "{\"versions\":[{\"other\":3}]}");
	means(&core, "name: {other: 1.5}\nlast: 4.1", "{\"name\":{\"other\":1.5},\"last\":4.1}");
	REFUSED("a:\n- name: x\n- name:\n", "line 3, column 8: a[1].name: a text is wanted");
	REFUSED("name: null", "line 1, column 7: name: a text is wanted");
	REFUSED("name: ~", "line 1, column 7: name: a text is wanted");
}

static void those_of_cloud_init_are_as_before(void **state)
{
	(void)state;
	means(&old, "[no, yes, on, off, 012, 12, 1.5, name]",
	      "[false,true,true,false,\"012\",12,\"1.5\",\"name\"]");
	means(&old, "name: no", "{\"name\":false}");
}

static void what_is_refused(void **state)
{
	(void)state;
	REFUSED("a: 1\nb: 2\na: 3\n", "line 3, column 1: a: a member that is there twice");
	REFUSED("l:\n- x: 1\n  x: 1\n", "line 3, column 3: l[0].x: a member that is there twice");
	REFUSED("a: &x 1", "line 1, column 4: a: anchors and tags");
	REFUSED("a: &x [1]", "line 1, column 4: a: anchors and tags");
	REFUSED("a: &x {b: 1}", "line 1, column 4: a: anchors and tags");
	REFUSED("a: *x", "line 1, column 4: a: aliases");
	REFUSED("a: !!str 1", "line 1, column 4: a: anchors and tags");
	REFUSED("&k a: 1", "line 1, column 1: a member's name");
	REFUSED("? [a]\n: 1", "line 1, column 3: a member's name");
	REFUSED("a: 1\n---\nb: 2\n", "line 2, column 1: there is more than one document");
	REFUSED("{}\n---\nb: 2\n", "line 2, column 1: there is more than one document");
	REFUSED("---\n---\nb: 2\n", "line 2, column 1: there is more than one document");
	REFUSED("a:\n\t- b\n", "line 2, column 1: a: no value begins");
	REFUSED("a: 1\n\tb: 2\n", "line 2, column 1: ");
	REFUSED("a: [1, 2\nb: 3\n", "line 2, column");
	REFUSED("a: b: c\n", "line 1, column 5: ");
	REFUSED("a: \xff\n", "line 1, column");
	REFUSED("a: \x01\n", "line 1, column");
	REFUSED("a\0b: 1\n", "line 1, column");
	REFUSED("a: \"x\\0y\"\n", "line 1, column 4: a: a text with a zero byte");
	REFUSED("\xff\xfe"
		"a\0:\0 \0"
		"1\0",
		"line 1, column 1: this is no UTF-8");
	/* a bomb that would be 10^9 values */
	REFUSED("a: &a [x,x]\nb: &b [*a,*a]\nc: [*b,*b]\n", "line 1, column 4: a: anchors");
}

static void what_is_too_much_is_refused(void **state)
{
	char text[8192] = "";
	size_t length = 0;

	(void)state;
	for (unsigned i = 0; i < 200; i++)
		text[length++] = '[';
	refused(text, length,
		"line 1, column 17: [0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0]: "
		"this goes too deep");
	length = 0;
	for (unsigned i = 0; i < 1200; i++)
		length += (size_t)snprintf(text + length, sizeof text - length, "- a\n");
	refused(text, length, "line 1000, column 3: [999]: this goes too deep, or is too much");
	/* one long path: what of it fits */
	length = (size_t)snprintf(text, sizeof text, "%0*d: {a: {b: &x 1}}", 1000, 0);
	refused(text, length, "line 1, column");
}

static void where_things_are(void **state)
{
	json_t *lines = json_object();
	json_t *value = read_by(&core,
				"\xef\xbb\xbf# a mark, and a comment\nversion: 1\nvolumes:\n"
				"- name: a\n  size: 1G\n-\n  name: b\n",
				lines);

	(void)state;
	assert_int_equal(json_integer_value(json_object_get(value, "version")), 1);
	assert_int_equal(json_integer_value(json_object_get(lines, "version")), 2);
	assert_int_equal(json_integer_value(json_object_get(lines, "volumes[0].size")), 5);
	assert_int_equal(json_integer_value(json_object_get(lines, "volumes[1].name")), 7);
	json_decref(value);
	json_decref(lines);
	means(&core, "", "{}");
	means(&core, "# nothing\n", "{}");
	means(&core, "---\n...\n", "{}");
	means(&core, "{\"a\": [1, \"no\", null]}", "{\"a\":[1,\"no\",null]}");
}

static char *written(const json_t *value)
{
	char *text = NULL;
	size_t length = 0;
	FILE *file = open_memstream(&text, &length);

	assert_int_equal(yaml_write(value, file), 0);
	fclose(file);
	return text;
}

static void what_is_written_comes_back(void **state)
{
	json_t *value =
	    json_pack("{s:i,s:[s,s,s,s,s,s,s,s,s,s,s,s],s:[],s:{},s:b,s:n,s:f,s:{s:s}}", "version",
		      1, "texts", "no", "Yes", "12", "0x1f", "1e3", "", "~", "a: b", " a\tb\n",
		      "- x", "\xe5\xad\x98\xe5\x82\xa8", "iqn.2026-11.org.granary:vm", "list",
		      "object", "truth", 1, "nothing", "real", 1.5, "null", "name", "#c");
	char *text = written(value);
	json_t *back = read_by(&core, text, NULL);

	(void)state;
	if (!json_equal(value, back))
		fail_msg("%s", text);
	json_decref(back);
	/* also by who reads as 1.1 says, but for numbers that are not decimal */
	back = read_by(&old, text, NULL);
	assert_true(json_equal(json_object_get(value, "texts"), json_object_get(back, "texts")));
	assert_non_null(strstr(text, "- \"no\"\n"));
	assert_non_null(strstr(text, "- \"Yes\"\n"));
	assert_non_null(strstr(text, "- iqn.2026-11.org.granary:vm\n"));
	assert_non_null(strstr(text, "\"null\":\n"));
	json_decref(back);
	json_decref(value);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(scalars_are_those_of_1_2),
	    cmocka_unit_test(a_text_is_one_where_it_is_wanted),
	    cmocka_unit_test(those_of_cloud_init_are_as_before),
	    cmocka_unit_test(what_is_refused),
	    cmocka_unit_test(what_is_too_much_is_refused),
	    cmocka_unit_test(where_things_are),
	    cmocka_unit_test(what_is_written_comes_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
