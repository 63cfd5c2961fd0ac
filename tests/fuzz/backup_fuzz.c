/* SPDX-License-Identifier: Apache-2.0 */
/* A backup of the configuration: its parts, as they are inside; and a whole file, whose key costs
 * little here. What is read is written the same again. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "core/backup.h"
#include "core/heap.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define COST_AT 9u
#define CHEAP   10u

static void try_parts(const uint8_t *data, size_t size)
{
	struct backup backup = {.count = 0};
	struct err err = {0};
	uint8_t *again = NULL;
	size_t length = 0;

	if (backup_unpack(data, size, &backup, &err) < 0) {
		assert(err.code < 0 && err.text[0] && backup.count == 0);
		return;
	}
	assert(backup.count <= BACKUP_PARTS);
	for (unsigned i = 0; i < backup.count; i++)
		assert(backup.parts[i].name[0] && strlen(backup.parts[i].name) < BACKUP_NAME &&
		       backup.parts[i].data);
	if (backup_pack(&backup, &again, &length, &err) < 0)
		abort();
	assert(length == size && memcmp(again, data, size) == 0);
	heap_free(again);
	backup_free(&backup);
}

static void try_file(const uint8_t *data, size_t size)
{
	struct backup backup = {.count = 0};
	struct err err = {0};
	uint8_t *copy = malloc(size);

	if (!copy)
		return;
	memcpy(copy, data, size);
	if (copy[COST_AT] > CHEAP)
		copy[COST_AT] = CHEAP;
	if (backup_open(copy, size, "correct horse", &backup, &err) < 0)
		assert(err.code < 0 && err.text[0] && backup.count == 0);
	backup_free(&backup);
	free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	try_parts(data, size);
	if (size > COST_AT)
		try_file(data, size);
	return 0;
}
