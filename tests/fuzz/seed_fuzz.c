/* SPDX-License-Identifier: Apache-2.0 */
/* What a machine is told at its first start, by a volume that anybody may have made: the first byte
 * says which file it is. What is taken goes on to the machine's settings. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "appliance/seed.h"
#include "core/heap.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct seed_port ports[] = {{"ens3", "52:54:00:00:00:01"},
						 {"ens4", "52:54:00:00:00:02"}};
	struct seed_texts texts = {.text = {NULL}};
	struct settings settings;
	struct err err = {0};
	json_t *seed;
	unsigned file;

	if (size == 0 || size > SEED_TEXT_MAX)
		return 0;
	file = data[0] % SEED_FILES;
	texts.text[file] = heap_zalloc(size);
	if (!texts.text[file])
		return 0;
	memcpy(texts.text[file], data + 1, size - 1);
	texts.length[file] = size - 1;
	seed = seed_parse(&texts, &err);
	assert(seed || (err.code < 0 && err.text[0]));
	settings_default(&settings);
	if (seed && seed_ports(json_object_get(seed, "settings"), ports, 2, &err) == 0 &&
	    settings_parse(json_object_get(seed, "settings"), &settings, &err) == 0)
		assert(settings.name[0] && settings.link_count <= LINKS_MAX);
	json_decref(seed);
	seed_texts_free(&texts);
	return 0;
}
