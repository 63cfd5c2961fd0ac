/* SPDX-License-Identifier: Apache-2.0 */
/* A document of granary apply, which somebody else may have written: refused with a sentence, or a
 * value that is the same again after it has been written. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/yaml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool is_text(const char *member)
{
	return strcmp(member, "name") == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct yaml_rules rules = {
	    .core = true, .depth_max = 16, .values_max = 4096, .is_text = is_text};
	static const struct yaml_rules again = {.core = true, .depth_max = 16, .values_max = 4096};
	json_t *lines = json_object(), *value, *back;
	struct err err = {0};
	size_t length = 0;
	char *text = NULL;
	FILE *file;

	value = yaml_read((const char *)data, size, &rules, lines, &err);
	json_decref(lines);
	if (!value) {
		assert(err.code < 0 && err.text[0]);
		return 0;
	}
	file = open_memstream(&text, &length);
	assert(file && yaml_write(value, file) == 0);
	fclose(file);
	back = yaml_read(text, length, &again, NULL, &err);
	assert(back && json_equal(value, back));
	json_decref(back);
	json_decref(value);
	free(text);
	return 0;
}
