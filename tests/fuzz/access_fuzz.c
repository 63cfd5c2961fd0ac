/* SPDX-License-Identifier: Apache-2.0 */
/* Who is let in and what is reserved, as the primary of a replication group says it: cut in two
 * parts, put together, read. Whatever is refused is refused with a reason. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "replication/access.h"
#include "webadmin/replica_access.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct wire_message message = {.type = WIRE_ACCESS, .fresh = true, .data = data};
	struct access_heard heard = {0};
	struct err err = {0};
	json_t *access;

	if (size > WIRE_TEXT_MAX)
		return 0;
	message.data_length = size / 2;
	if (access_add(&heard, &message) < 0)
		abort();
	message.data = data + size / 2;
	message.data_length = size - size / 2;
	message.fresh = false;
	if (access_add(&heard, &message) < 0 || !heard.whole || heard.length != size ||
	    (size && memcmp(heard.data, data, size) != 0))
		abort();
	access = json_loadb((const char *)heard.data, heard.length, 0, NULL);
	if (access && access_check(NULL, access, &err) < 0 && !err.text[0])
		abort();
	json_decref(access);
	access_clear(&heard);
	return 0;
}
