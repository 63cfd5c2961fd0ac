/* SPDX-License-Identifier: Apache-2.0 */
/* volume.c: the half of volume.h that is the same for every back end: who may be asked what,
 * reference counts, watchers, names and identities. */
#include "volumes/volume.h"
#include "volumes/qos.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

/* The back end may finish a request any time after submit() returns; a request refused here has
 * no back end, so it is finished from the loop's deferred work. */
static void refused(struct deferred *deferred)
{
	struct volume_request *request = container_of(deferred, struct volume_request, deferred);

	request->done(request, request->result);
}

void volume_waited(struct volume_request *request)
{
	if (request->gate_ns)
		request->waited_ns += loop_now(request->loop) - request->gate_ns;
	request->gate_ns = 0;
}

void volume_refuse(struct volume_request *request, int result)
{
	volume_waited(request);
	request->result = result;
	deferred_init(&request->deferred, refused);
	loop_defer(request->loop, &request->deferred);
}

static bool iov_matches(const struct volume_request *request)
{
	uint64_t total = 0;

	for (unsigned i = 0; i < request->iov_count; i++) {
		const struct iovec *iov = &request->iov[i];

		if (iov->iov_len % VOLUME_BLOCK || (uintptr_t)iov->iov_base % VOLUME_BLOCK)
			return false;
		total += iov->iov_len;
	}
	return total == request->length;
}

static bool range_is_inside(const struct volume *volume, const struct volume_request *request)
{
	uint64_t size = volume_size(volume);

	return request->offset % VOLUME_BLOCK == 0 && request->length % VOLUME_BLOCK == 0 &&
	       request->offset <= size && request->length <= size - request->offset;
}

static int check(const struct volume *volume, const struct volume_request *request)
{
	switch (request->op) {
	case VOLUME_READ:
	case VOLUME_WRITE:
		if (!range_is_inside(volume, request) || !iov_matches(request) ||
		    request->length > VOLUME_TRANSFER_MAX)
			return -EINVAL;
		break;
	case VOLUME_FLUSH:
		return 0;
	case VOLUME_DISCARD:
		if (!range_is_inside(volume, request))
			return -EINVAL;
		break;
	case VOLUME_EXTENTS:
		if (!range_is_inside(volume, request) || request->extent_max == 0)
			return -EINVAL;
		return 0;
	default:
		return -EINVAL;
	}
	if (request->flags & VOLUME_IN_PLACE && !volume->ops->erasable)
		return -EOPNOTSUPP;
	if (request->flags & VOLUME_IN_PLACE && __atomic_load_n(&volume->tap, __ATOMIC_ACQUIRE))
		return -EBUSY;
	if (request->flags & VOLUME_ATOMIC && volume->torn && request->length > VOLUME_BLOCK)
		return -EOPNOTSUPP;
	return request->op != VOLUME_READ && volume->read_only &&
		       !(request->flags & VOLUME_UNTAPPED)
		   ? -EROFS
		   : 0;
}

/* Taps. A change in flight is either its tap's or counted, so that whoever sets a tap can wait
 * for what it did not see. The count and the tap are each one sequentially consistent word: a
 * submitter that found no tap has counted itself before whoever set the tap looks. */
static void untapped_done(struct volume_request *request, int result)
{
	struct volume *volume = request->volume;

	request->done = request->tapped_done;
	__atomic_fetch_sub(&volume->untapped, 1, __ATOMIC_SEQ_CST);
	request->done(request, result);
}

void volume_end(struct volume_request *request, int result)
{
	request->done = request->tapped_done;
	request->tap = NULL;
	request->done(request, result);
}

static void tapped_done(struct volume_request *request, int result)
{
	if (request->tap->ops->completed(request->tap, request, result))
		volume_end(request, result);
}

/* True: the request goes to the back end now. */
static bool go_by_tap(struct volume *volume, struct volume_request *request)
{
	struct volume_tap *tap;
	bool change = request->op == VOLUME_WRITE || request->op == VOLUME_DISCARD, pass;

	if (change)
		__atomic_fetch_add(&volume->untapped, 1, __ATOMIC_SEQ_CST);
	tap = __atomic_load_n(&volume->tap, __ATOMIC_SEQ_CST);
	if (!tap && !change)
		return true;
	request->tapped_done = request->done;
	request->done = tap ? tapped_done : untapped_done;
	request->tap = tap;
	list_init(&request->tap_link);
	if (!tap)
		return true;
	request->gate_ns = loop_now(request->loop);
	pass = tap->ops->admit(tap, request);
	if (pass) /* else it may be on its way already, with a wait of its own */
		request->gate_ns = 0;
	/* The tap may have been taken off meanwhile; it has counted the change itself then. */
	if (change)
		__atomic_fetch_sub(&volume->untapped, 1, __ATOMIC_SEQ_CST);
	return pass;
}

void volume_tap_set(struct volume *volume, struct volume_tap *tap)
{
	__atomic_store_n(&volume->tap, tap, __ATOMIC_SEQ_CST);
}

void volume_tap_left(struct volume *volume, int changes)
{
	__atomic_fetch_add(&volume->untapped, (uint32_t)changes, __ATOMIC_SEQ_CST);
}

bool volume_tap_quiet(const struct volume *volume)
{
	return __atomic_load_n(&volume->untapped, __ATOMIC_SEQ_CST) == 0;
}

void volume_pass(struct volume_request *request)
{
	volume_waited(request);
	turns_submit(request->volume->turns, request);
}

static void go(struct volume *volume, struct volume_request *request)
{
	if (go_by_tap(volume, request))
		turns_submit(volume->turns, request);
}

void volume_submit(struct volume *volume, struct volume_request *request)
{
	int result;

	request->volume = volume;
	request->loop = loop_current();
	assert(request->loop);
	list_init(&request->link);
	request->backend = NULL;
	request->error_offset = request->offset;
	request->extent_count = 0;
	request->waited_ns = request->device_from_ns = request->device_to_ns = 0;
	request->tap = NULL;
	request->gate = NULL;
	request->gate_ns = 0;
	request->queued = false;
	result = check(volume, request);
	if (result)
		volume_refuse(request, result);
	else if (request->length == 0 && request->op != VOLUME_FLUSH)
		volume_refuse(request, 0); /* nothing to do is done */
	else if (request->flags & VOLUME_UNTAPPED)
		volume->ops->submit(volume, request);
	else if (!__atomic_load_n(&volume->qos, __ATOMIC_ACQUIRE) ||
		 qos_admit(volume->qos, request))
		go(volume, request);
}

void volume_go(struct volume_request *request)
{
	int result = check(request->volume, request); /* it may have changed meanwhile */

	if (result)
		volume_refuse(request, result);
	else
		go(request->volume, request);
}

void volume_cancel(struct volume_request *request)
{
	if (qos_cancel(request)) {
		volume_refuse(request, -ECANCELED);
		return;
	}
	if (request->tap && request->tap->ops->cancel(request->tap, request))
		return;
	if (turns_cancel(request))
		volume_refuse(request, -ECANCELED);
	else if (request->volume->ops->cancel)
		request->volume->ops->cancel(request->volume, request);
}

uint64_t volume_size(const struct volume *volume)
{
	return __atomic_load_n(&volume->size_bytes, __ATOMIC_ACQUIRE);
}

struct volume *volume_ref(struct volume *volume)
{
	__atomic_fetch_add(&volume->refs, 1, __ATOMIC_RELAXED);
	return volume;
}

void volume_unref(struct volume *volume)
{
	uint32_t before;

	if (!volume)
		return;
	before = __atomic_fetch_sub(&volume->refs, 1, __ATOMIC_ACQ_REL);
	assert(before > 0);
	if (before == 1)
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

static bool name_byte_is_fine(char byte)
{
	return (byte >= 'A' && byte <= 'Z') || (byte >= 'a' && byte <= 'z') ||
	       (byte >= '0' && byte <= '9') || byte == '.' || byte == '_' || byte == '-';
}

int volume_name_check(const char *name, struct err *err)
{
	size_t length = strnlen(name, VOLUME_NAME_MAX + 1);

	if (length == 0)
		return err_set(err, -EINVAL, "a volume name must not be empty");
	if (length > VOLUME_NAME_MAX)
		return err_set(err, -EINVAL, "a volume name has at most %d characters",
			       VOLUME_NAME_MAX);
	if (name[0] == '.' || name[0] == '-')
		return err_set(err, -EINVAL, "a volume name must not start with '%c'", name[0]);
	for (size_t i = 0; i < length; i++)
		if (!name_byte_is_fine(name[i]))
			return err_set(err, -EINVAL,
				       "a volume name is made of letters, digits, '.', '_' and "
				       "'-' only");
	return 0;
}

/* The company identifier in NAA names. Its second-lowest bit of the first byte says "locally
 * administered", so that it can not be mistaken for a registered vendor's. */
static const uint8_t company[3] = {0x02, 0x47, 0x52};

void volume_identity_make(const uint8_t random_uuid[16], struct volume_identity *ret_identity)
{
	struct volume_identity *id = ret_identity;

	memcpy(id->uuid, random_uuid, 16);
	id->uuid[6] = (id->uuid[6] & 0x0f) | 0x40; /* RFC 4122 4.4: version 4 */
	id->uuid[8] = (id->uuid[8] & 0x3f) | 0x80;
	memcpy(id->naa, id->uuid, 16);
	id->naa[0] = 0x60 | company[0] >> 4;
	id->naa[1] = (uint8_t)(company[0] << 4 | company[1] >> 4);
	id->naa[2] = (uint8_t)(company[1] << 4 | company[2] >> 4);
	id->naa[3] = (uint8_t)(company[2] << 4 | (id->uuid[3] & 0x0f));
	for (unsigned i = 0; i < 16; i++)
		snprintf(id->serial + 2 * i, 3, "%02x", id->uuid[i]);
}

unsigned volume_naa_length(const struct volume_identity *identity)
{
	return identity->naa[0] >> 4 == 6 ? 16 : 8;
}
