/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "volumes/volume.h"

/* What all back ends share: validation, references, watchers, names and identities. */

/* The request's private fields double as the message: nothing is allocated for a refusal. */
static void refuse_run(struct message *message)
{
	struct volume_request *request =
	    container_of((struct list *)(void *)message, struct volume_request, link);
	int result = (int)(intptr_t)request->backend;

	list_init(&request->link);
	request->backend = NULL;
	request->done(request, result);
}
_Static_assert(sizeof(struct list) >= sizeof(struct message), "a message fits in the link");

static void refuse(struct volume_request *request, int result)
{
	request->backend = (void *)(intptr_t)result;
	loop_post(request->loop, (struct message *)(void *)&request->link, refuse_run);
}

static uint64_t iov_total(const struct volume_request *request)
{
	uint64_t total = 0;

	for (unsigned i = 0; i < request->iov_count; i++) {
		const struct iovec *iov = &request->iov[i];

		if (iov->iov_len % VOLUME_BLOCK || (uintptr_t)iov->iov_base % VOLUME_BLOCK)
			return UINT64_MAX;
		total += iov->iov_len;
	}
	return total;
}

static int validate(const struct volume *volume, const struct volume_request *request)
{
	uint64_t size = volume_size(volume);

	if (request->op == VOLUME_FLUSH)
		return 0;
	if (request->offset % VOLUME_BLOCK || request->length % VOLUME_BLOCK ||
	    request->offset > size || request->length > size - request->offset)
		return -EINVAL;
	switch (request->op) {
	case VOLUME_WRITE:
		if (volume->read_only)
			return -EROFS;
		/* fall through */
	case VOLUME_READ:
		if (request->length > VOLUME_TRANSFER_MAX || iov_total(request) != request->length)
			return -EINVAL;
		return 0;
	case VOLUME_DISCARD:
		return volume->read_only ? -EROFS : 0;
	case VOLUME_EXTENTS:
		return request->extent_max ? 0 : -EINVAL;
	default:
		return -EINVAL;
	}
}

void volume_submit(struct volume *volume, struct volume_request *request)
{
	int result = validate(volume, request);

	request->volume = volume;
	request->loop = loop_current();
	request->error_offset = 0;
	request->extent_count = 0;
	list_init(&request->link);
	if (result < 0)
		refuse(request, result);
	else
		volume->ops->submit(volume, request);
}

void volume_cancel(struct volume_request *request)
{
	struct volume *volume = request->volume;

	if (volume->ops->cancel)
		volume->ops->cancel(volume, request);
}

uint64_t volume_size(const struct volume *volume)
{
	return __atomic_load_n(&volume->size_bytes, __ATOMIC_ACQUIRE);
}

struct volume *volume_ref(struct volume *volume)
{
	__atomic_add_fetch(&volume->refs, 1, __ATOMIC_RELAXED);
	return volume;
}

void volume_unref(struct volume *volume)
{
	if (volume && __atomic_sub_fetch(&volume->refs, 1, __ATOMIC_ACQ_REL) == 0)
		volume->ops->release(volume);
}

void volume_watch(struct volume *volume, struct volume_watcher *watcher)
{
	list_push_back(&volume->watchers, &watcher->link);
}

void volume_unwatch(struct volume_watcher *watcher)
{
	list_remove(&watcher->link);
}

void volume_notify(struct volume *volume, enum volume_change change)
{
	list_for_each_safe (it, &volume->watchers) {
		struct volume_watcher *watcher = list_entry(it, struct volume_watcher, link);

		watcher->changed(watcher, volume, change);
	}
}

static bool name_character(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       c == '.' || c == '_' || c == '-';
}

int volume_name_check(const char *name, struct err *err)
{
	size_t length = strnlen(name, VOLUME_NAME_MAX + 1);

	if (length == 0 || length > VOLUME_NAME_MAX)
		return err_set(err, -EINVAL, "a volume name has 1 to %d characters",
			       VOLUME_NAME_MAX);
	if (name[0] == '.' || name[0] == '-')
		return err_set(err, -EINVAL, "a volume name does not start with '%c'", name[0]);
	for (size_t i = 0; i < length; i++)
		if (!name_character(name[i]))
			return err_set(err, -EINVAL,
				       "a volume name has only letters, digits, '.', '_' and '-'");
	return 0;
}

/* SPC-4 7.8.6.6.6, NAA IEEE Registered Extended: nibble 6, IEEE company id (24 bits; 02 67 72,
 * a locally administered one, "gr"), a vendor specific identifier and its extension: 100 bits,
 * here from the volume's UUID. */
void volume_identity_make(const uint8_t random_uuid[16], struct volume_identity *ret_identity)
{
	static const uint8_t prefix[] = {0x60, 0x26, 0x77, 0x20};
	struct volume_identity identity = {0};

	memcpy(identity.uuid, random_uuid, 16);
	identity.uuid[6] = (uint8_t)(0x40 | (identity.uuid[6] & 0x0f)); /* RFC 9562, version 4 */
	identity.uuid[8] = (uint8_t)(0x80 | (identity.uuid[8] & 0x3f));
	memcpy(identity.naa, prefix, sizeof(prefix));
	identity.naa[3] = (uint8_t)(prefix[3] | (identity.uuid[15] & 0x0f));
	memcpy(identity.naa + 4, identity.uuid, 6);
	memcpy(identity.naa + 10, identity.uuid + 9, 6);
	for (unsigned i = 0; i < 16; i++)
		snprintf(identity.serial + 2 * i, 3, "%02x", identity.uuid[i]);
	*ret_identity = identity;
}
