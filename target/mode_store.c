/* SPDX-License-Identifier: Apache-2.0 */
/* mode_store.c: mode pages saved with SP (SPC-4 6.9). They stand in the reservations' database,
 * one row a volume, and in memory for a logical unit that comes up. */
#include <errno.h>
#include <string.h>

#include "core/config.h"
#include "core/heap.h"
#include "core/log.h"
#include "target/internal.h"

#define PAGES_BYTES (MODE_PAGE_COUNT * MODE_PAGE_MAX)

struct saved {
	struct list link;
	uint8_t uuid[16];
	uint8_t pages[MODE_PAGE_COUNT][MODE_PAGE_MAX];
};

static struct {
	pthread_mutex_t lock; /* of the list; after every other lock */
	struct list list;
} all = {.lock = PTHREAD_MUTEX_INITIALIZER, .list = {&all.list, &all.list}};

/* Lock held. */
static struct saved *find(const uint8_t uuid[16])
{
	list_for_each (it, &all.list) {
		struct saved *saved = list_entry(it, struct saved, link);

		if (memcmp(saved->uuid, uuid, 16) == 0)
			return saved;
	}
	return NULL;
}

static void drop(struct saved *saved)
{
	if (!saved)
		return;
	list_remove(&saved->link);
	heap_free(saved);
}

bool mode_store_get(const uint8_t uuid[16], uint8_t (*ret_pages)[MODE_PAGE_MAX])
{
	const struct saved *saved;

	pthread_mutex_lock(&all.lock);
	saved = find(uuid);
	if (saved)
		memcpy(ret_pages, saved->pages, PAGES_BYTES);
	else
		memset(ret_pages, 0, PAGES_BYTES);
	pthread_mutex_unlock(&all.lock);
	return saved != NULL;
}

static int write_row(struct config *config, const uint8_t uuid[16], uint8_t (*pages)[MODE_PAGE_MAX],
		     struct err *err)
{
	struct config_statement *statement;
	int result = config_prepare(config,
				    pages ? "insert or replace into mode(volume, pages)"
					    " values(?, ?)"
					  : "delete from mode where volume = ?",
				    &statement, err);

	if (result < 0)
		return result;
	config_bind_blob(statement, 1, uuid, 16);
	if (pages)
		config_bind_blob(statement, 2, pages, PAGES_BYTES);
	result = config_step(statement, err);
	config_finish(statement);
	return result < 0 ? result : 0;
}

static int store_row(const uint8_t uuid[16], uint8_t (*pages)[MODE_PAGE_MAX])
{
	struct config *config = pr_store_config();
	struct err err = {0};
	int result = config_begin(config, &err);

	if (result == 0)
		result = write_row(config, uuid, pages, &err);
	if (result == 0)
		result = config_commit(config, &err);
	if (result < 0) {
		config_abort(config);
		log_error("mode pages can not be saved: %s", err.text);
	}
	return result;
}

int mode_store_save(const uint8_t uuid[16], uint8_t (*pages)[MODE_PAGE_MAX])
{
	struct saved *fresh = NULL;
	int result;

	if (!pr_store_config())
		return pages ? -EROFS : 0;
	if (pages) {
		fresh = heap_zalloc(sizeof(*fresh));
		if (!fresh)
			return -ENOMEM;
		memcpy(fresh->uuid, uuid, 16);
		memcpy(fresh->pages, pages, PAGES_BYTES);
	}
	result = store_row(uuid, pages);
	if (result < 0) {
		heap_free(fresh);
		return result;
	}
	pthread_mutex_lock(&all.lock);
	drop(find(uuid));
	if (fresh)
		list_push_back(&all.list, &fresh->link);
	pthread_mutex_unlock(&all.lock);
	return 0;
}

/* A row that makes no sense is left out and logged. */
static void load_row(struct config_statement *statement)
{
	int uuid_length, pages_length;
	const void *uuid = config_blob(statement, 0, &uuid_length);
	const void *pages = config_blob(statement, 1, &pages_length);
	struct saved *saved = NULL;

	if (uuid_length == 16 && pages_length == PAGES_BYTES)
		saved = heap_zalloc(sizeof(*saved));
	if (!saved) {
		log_error("saved mode pages make no sense and are left out");
		return;
	}
	memcpy(saved->uuid, uuid, 16);
	memcpy(saved->pages, pages, PAGES_BYTES);
	list_push_back(&all.list, &saved->link);
}

int mode_store_load(struct config *config, struct err *err)
{
	struct config_statement *statement;
	int result = config_prepare(config, "select volume, pages from mode", &statement, err);

	if (result < 0)
		return result;
	while ((result = config_step(statement, err)) > 0)
		load_row(statement);
	config_finish(statement);
	return result;
}

void mode_store_drop(void)
{
	while (!list_empty(&all.list))
		drop(list_entry(all.list.next, struct saved, link));
}
