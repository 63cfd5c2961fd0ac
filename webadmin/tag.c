/* SPDX-License-Identifier: Apache-2.0 */
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/heap.h"
#include "webadmin/api.h"

/* What moves without anybody changing the object: no part of its tag. */
static const char *const moving[] = {
    "used_bytes",    "free_bytes",       "metadata_used_bytes",
    "generation",    "checksum_errors",  "metadata_repairs",
    "hot_resummed",  "replayed_records", "sessions",
    "seconds",       "commands",         "read_bytes",
    "write_bytes",   "uptime_seconds",   "delayed",
    "delayed_ms",    "queued",           "failures",
    "error",         "delivered",        "given_up",
    "dropped",       "last_delivery",    "data_repairs",
    "full_in_hours",
};

static bool is_moving(const char *key)
{
	for (unsigned i = 0; i < sizeof moving / sizeof *moving; i++) {
		if (strcmp(moving[i], key) == 0)
			return true;
	}
	return false;
}

/* A copy of an object without what moves; other values are shared. */
static json_t *still_part(json_t *value)
{
	json_t *copy, *member;
	const char *key;

	if (!json_is_object(value))
		return json_incref(value);
	copy = json_object();
	json_object_foreach(value, key, member)
	{
		if (copy && !is_moving(key))
			json_object_set(copy, key, member);
	}
	return copy;
}

static json_t *still_body(const json_t *body)
{
	json_t *copy, *item;
	size_t index;

	if (!json_is_array(body))
		return still_part((json_t *)body);
	copy = json_array();
	json_array_foreach((json_t *)body, index, item)
	    json_array_append_new(copy, still_part(item));
	return copy;
}

bool api_tag(const json_t *body, char tag[17])
{
	unsigned char digest[SHA256_DIGEST_LENGTH];
	json_t *still = still_body(body);
	char *text =
	    still ? json_dumps(still, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY) : NULL;

	json_decref(still);
	if (!text)
		return false;
	SHA256((const unsigned char *)text, strlen(text), digest);
	free(text);
	for (unsigned i = 0; i < 8; i++)
		snprintf(tag + 2 * i, 3, "%02x", digest[i]);
	return true;
}

/* The key a list is paged by: what names the item, the same for its life. */
#define KEY_MAX API_CURSOR_MAX

static void key_of(const json_t *item, char key[KEY_MAX])
{
	const json_t *id = json_object_get(item, "id");
	const char *pool = json_string_value(json_object_get(item, "pool"));
	const char *name = NULL;
	static const char *const names[] = {"iqn", "initiator", "name"};

	if (!id && !json_object_get(item, "name"))
		id = json_object_get(item, "uid"); /* of a share's user */
	if (json_is_integer(id)) {
		snprintf(key, KEY_MAX, "%020llu", (unsigned long long)json_integer_value(id));
		return;
	}
	if (json_is_string(id)) {
		snprintf(key, KEY_MAX, "%s", json_string_value(id));
		return;
	}
	for (unsigned i = 0; !name && i < sizeof names / sizeof *names; i++)
		name = json_string_value(json_object_get(item, names[i]));
	snprintf(key, KEY_MAX, "%s/%s", pool ? pool : "", name ? name : "");
}

struct keyed {
	char key[KEY_MAX];
	json_t *item;
};

static int compare_keyed(const void *a, const void *b)
{
	return strcmp(((const struct keyed *)a)->key, ((const struct keyed *)b)->key);
}

static void fill_page(struct api_request *request, json_t *body, struct keyed *items, size_t count,
		      const char *after, size_t limit)
{
	size_t first = 0;

	json_array_clear(body); /* items hold references of their own */
	while (first < count && strcmp(items[first].key, after) <= 0)
		first++;
	for (size_t i = first; i < count && i < first + limit; i++)
		json_array_append(body, items[i].item);
	if (first + limit < count)
		api_extra(request, "next", json_string(items[first + limit - 1].key));
	for (size_t i = 0; i < count; i++)
		json_decref(items[i].item);
}

bool api_page_asked(struct api_request *request, struct api_page *ret_page)
{
	char text[16] = "", *end = text;
	bool limited = api_query(request, "limit", text, sizeof text);
	unsigned long limit = limited ? strtoul(text, &end, 10) : API_PAGE_MAX;

	ret_page->after[0] = '\0';
	ret_page->asked =
	    api_query(request, "cursor", ret_page->after, sizeof ret_page->after) || limited;
	ret_page->limit = ret_page->asked ? limit : SIZE_MAX;
	if (!*end && limit >= 1 && limit <= API_PAGE_MAX && text[0] != '-')
		return true;
	api_reply_error(request, 400, "bad_query", "limit is a number from 1 to %u", API_PAGE_MAX);
	return false;
}

void api_page_more(struct api_request *request, const char *cursor)
{
	request->paged = true;
	if (cursor)
		api_extra(request, "next", json_string(cursor));
}

bool api_page(struct api_request *request, json_t *body)
{
	size_t count = json_array_size(body);
	struct api_page page;
	struct keyed *items;

	if (!api_page_asked(request, &page)) {
		json_decref(body);
		return false;
	}
	if (!page.asked)
		return true;
	items = heap_zalloc_array(count ? count : 1, sizeof *items);
	if (!items) {
		json_decref(body);
		api_reply_error(request, 503, "no_memory", "out of memory");
		return false;
	}
	for (size_t i = 0; i < count; i++) {
		items[i].item = json_incref(json_array_get(body, i));
		key_of(items[i].item, items[i].key);
	}
	qsort(items, count, sizeof *items, compare_keyed);
	fill_page(request, body, items, count, page.after, page.limit);
	heap_free(items);
	return true;
}
