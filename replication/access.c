/* SPDX-License-Identifier: Apache-2.0 */
#include "replication/access.h"

#include <errno.h>
#include <openssl/evp.h>
#include <string.h>

#include "core/heap.h"
#include "replication/group.h"

bool access_is_new(struct access_told *told, const uint8_t *data, size_t length)
{
	uint8_t digest[WIRE_DIGEST];

	if (EVP_Digest(data, length, digest, NULL, EVP_sha256(), NULL) != 1)
		return true;
	if (told->any && memcmp(told->digest, digest, sizeof digest) == 0)
		return false;
	told->any = true;
	memcpy(told->digest, digest, sizeof digest);
	return true;
}

bool access_look(struct access_told *told, struct group *group, uint8_t **ret_data,
		 size_t *ret_length)
{
	uint8_t *data = NULL;
	size_t length = 0;
	int result = -EBUSY;

	told->pending = false;
	/* One that is older would keep secrets as they are. */
	if (group->spoken < WIRE_VERSION_ACCESS || !group->host->access)
		return false;
	for (unsigned i = 0; i < ACCESS_LOOKS && result == -EBUSY; i++) {
		if (i > 0)
			fiber_sleep(ACCESS_LOOK_NS);
		result = group->host->access(group, &data, &length);
	}
	if (result < 0) { /* again the next time; nothing is handed over before */
		told->pending = true;
		return false;
	}
	if (!access_is_new(told, data, length)) {
		heap_wipe(data);
		return false;
	}
	*ret_data = data;
	*ret_length = length;
	return true;
}

int access_send(struct channel *channel, const uint8_t *data, size_t length)
{
	int result;

	do {
		size_t part = length < WIRE_TEXT_MAX ? length : WIRE_TEXT_MAX;
		struct wire_message message = {
		    .type = WIRE_ACCESS, .fresh = part < length, .data = data, .data_length = part};

		result = channel_send(channel, &message);
		data += part;
		length -= part;
	} while (result == 0 && length > 0);
	return result;
}

int access_add(struct access_heard *heard, const struct wire_message *message)
{
	size_t length;
	uint8_t *grown;

	if (heard->whole)
		access_clear(heard);
	length = heard->length + message->data_length;
	if (length > ACCESS_MAX)
		return -EFBIG;
	/* Not resized in place: what is left behind is wiped. */
	grown = heap_alloc(length ? length : 1);
	if (!grown)
		return -ENOMEM;
	if (heard->length)
		memcpy(grown, heard->data, heard->length);
	if (message->data_length)
		memcpy(grown + heard->length, message->data, message->data_length);
	heap_wipe(heard->data);
	heard->data = grown;
	heard->length = length;
	heard->whole = !message->fresh;
	return 0;
}

void access_clear(struct access_heard *heard)
{
	heap_wipe(heard->data);
	heard->data = NULL;
	heard->length = 0;
	heard->whole = false;
}
