/* SPDX-License-Identifier: Apache-2.0 */
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/heap.h"
#include "webadmin/admin.h"
#include "webadmin/api.h"

#define KEPT_NS (24 * 3600 * 1000000000ull)

struct replay {
	struct list link;
	char key[REPLAY_KEY_LENGTH + 1];
	char who[sizeof((struct identity *)0)->name];
	unsigned char digest[SHA256_DIGEST_LENGTH]; /* of what was asked */
	uint64_t at_ns;
	json_t *reply;
};

/* A number of one key is one caller's: another account's same key is another one. */
static struct replay *find(struct api_request *request)
{
	list_for_each (it, &request->admin->replays) {
		struct replay *replay = list_entry(it, struct replay, link);

		if (strcmp(replay->key, request->replay_key) == 0 &&
		    strcmp(replay->who, request->who.name) == 0)
			return replay;
	}
	return NULL;
}

static void forget(struct webadmin *admin, struct replay *replay)
{
	list_remove(&replay->link);
	admin->replay_count--;
	json_decref(replay->reply);
	heap_free(replay);
}

static void forget_old(struct webadmin *admin)
{
	uint64_t now = loop_now(admin->options.control);

	while (!list_empty(&admin->replays)) {
		struct replay *oldest = list_entry(admin->replays.next, struct replay, link);

		if (admin->replay_count < REPLAY_MAX && now - oldest->at_ns < KEPT_NS)
			return;
		forget(admin, oldest);
	}
}

static bool digest_of(struct api_request *request, unsigned char digest[SHA256_DIGEST_LENGTH])
{
	char *body = json_dumps(request->body, JSON_COMPACT | JSON_SORT_KEYS);
	char *text = body ? heap_printf("%s %s?%s\n%s", request->match.route->method, request->path,
					request->query, body)
			  : NULL;

	heap_wipe(body);
	if (!text)
		return false;
	SHA256((const unsigned char *)text, strlen(text), digest);
	heap_wipe(text);
	return true;
}

static bool key_good(const char *key)
{
	size_t length = strlen(key);

	for (size_t i = 0; i < length; i++) {
		if (key[i] < 0x21 || key[i] > 0x7e)
			return false;
	}
	return length >= 1 && length <= REPLAY_KEY_LENGTH;
}

bool replay_answer(struct api_request *request)
{
	unsigned char digest[SHA256_DIGEST_LENGTH];
	struct replay *replay;

	if (!key_good(request->replay_key)) {
		api_reply_error(request, 400, "bad_key",
				"an Idempotency-Key has 1 to %u printable characters",
				REPLAY_KEY_LENGTH);
		return true;
	}
	forget_old(request->admin);
	replay = find(request);
	if (!replay)
		return false;
	if (!digest_of(request, digest) || memcmp(digest, replay->digest, sizeof digest) != 0) {
		api_reply_error(request, 422, "key_reused",
				"this Idempotency-Key came with another request before");
		return true;
	}
	request->replay_key = NULL; /* not kept a second time */
	request->replied(request, json_copy(replay->reply));
	return true;
}

void replay_keep(struct api_request *request, json_t *reply)
{
	json_int_t status = json_integer_value(json_object_get(reply, "status"));
	struct replay *replay;

	/* What did not come about for want of something may come about the next time. */
	if (status >= 500 || status == 412 || status == 401 || status == 403 || !reply ||
	    !key_good(request->replay_key) || find(request))
		return;
	replay = heap_zalloc(sizeof *replay);
	if (!replay || !digest_of(request, replay->digest)) {
		heap_free(replay);
		return;
	}
	snprintf(replay->key, sizeof replay->key, "%s", request->replay_key);
	snprintf(replay->who, sizeof replay->who, "%s", request->who.name);
	replay->at_ns = loop_now(request->admin->options.control);
	/* A copy: who takes the reply adds what is for the moment alone, a certificate's key. */
	replay->reply = json_copy(reply);
	list_push_back(&request->admin->replays, &replay->link);
	request->admin->replay_count++;
}

void replay_finish(struct webadmin *admin)
{
	while (!list_empty(&admin->replays))
		forget(admin, list_entry(admin->replays.next, struct replay, link));
}
