/* SPDX-License-Identifier: Apache-2.0 */
/* sanitize_store.c: sanitize operations that run or have failed (SBC-4 4.11: a power loss ends
 * neither). They stand in the reservations' database, one row a volume, and in memory for a
 * logical unit that comes up. */
#include <errno.h>
#include <string.h>

#include "core/config.h"
#include "core/heap.h"
#include "core/log.h"
#include "target/internal.h"

struct kept {
	struct list link;
	uint8_t uuid[16];
	struct sanitize_order order;
};

static struct {
	pthread_mutex_t lock; /* of the list; after every other lock */
	struct list list;
} all = {.lock = PTHREAD_MUTEX_INITIALIZER, .list = {&all.list, &all.list}};

/* Lock held. */
static struct kept *find(const uint8_t uuid[16])
{
	list_for_each (it, &all.list) {
		struct kept *kept = list_entry(it, struct kept, link);

		if (memcmp(kept->uuid, uuid, 16) == 0)
			return kept;
	}
	return NULL;
}

static void drop(struct kept *kept)
{
	if (!kept)
		return;
	list_remove(&kept->link);
	heap_free(kept);
}

bool sanitize_store_get(const uint8_t uuid[16], struct sanitize_order *ret_order)
{
	const struct kept *kept;

	pthread_mutex_lock(&all.lock);
	kept = find(uuid);
	if (kept)
		*ret_order = kept->order;
	pthread_mutex_unlock(&all.lock);
	return kept != NULL;
}

static int write_row(struct config *config, const uint8_t uuid[16],
		     const struct sanitize_order *order, struct err *err)
{
	struct config_statement *statement;
	int result = config_prepare(config,
				    order ? "insert or replace into sanitize(volume, failed,"
					    " restricted, erase, invert, passes, pattern)"
					    " values(?, ?, ?, ?, ?, ?, ?)"
					  : "delete from sanitize where volume = ?",
				    &statement, err);

	if (result < 0)
		return result;
	config_bind_blob(statement, 1, uuid, 16);
	if (order) {
		config_bind_number(statement, 2, order->failed);
		config_bind_number(statement, 3, order->restricted);
		config_bind_number(statement, 4, order->erase);
		config_bind_number(statement, 5, order->invert);
		config_bind_number(statement, 6, order->passes);
		config_bind_blob(statement, 7, order->pattern, order->length);
	}
	result = config_step(statement, err);
	config_finish(statement);
	return result < 0 ? result : 0;
}

static int store_row(const uint8_t uuid[16], const struct sanitize_order *order)
{
	struct config *config = pr_store_config();
	struct err err = {0};
	int result = config_begin(config, &err);

	if (result == 0)
		result = write_row(config, uuid, order, &err);
	if (result == 0)
		result = config_commit(config, &err);
	if (result < 0) {
		config_abort(config);
		log_error("a sanitize operation can not be stored: %s", err.text);
	}
	return result;
}

int sanitize_store_save(const uint8_t uuid[16], const struct sanitize_order *order)
{
	struct kept *fresh = NULL;
	int result;

	if (!pr_store_config())
		return 0;
	if (order) {
		fresh = heap_zalloc(sizeof(*fresh));
		if (!fresh)
			return -ENOMEM;
		memcpy(fresh->uuid, uuid, 16);
		fresh->order = *order;
	}
	result = store_row(uuid, order);
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

struct interruption {
	struct message message;
	uint8_t uuid[16];
};

static void store_interruption(struct message *message)
{
	struct interruption *mine = container_of(message, struct interruption, message);
	struct sanitize_order order;

	if (pr_store_config() && sanitize_store_get(mine->uuid, &order))
		store_row(mine->uuid, &order);
	heap_free(mine);
}

void scsi_sanitize_interrupted(const uint8_t uuid[16])
{
	struct interruption *mine;
	struct kept *kept;
	bool was_due;

	pthread_mutex_lock(&all.lock);
	kept = find(uuid);
	was_due = kept && !kept->order.failed;
	if (was_due)
		kept->order.failed = true;
	pthread_mutex_unlock(&all.lock);
	mine = was_due ? heap_zalloc(sizeof(*mine)) : NULL;
	if (!mine)
		return;
	log_warning(
	    "a sanitize operation that was not at its end is given up: its volume was away");
	memcpy(mine->uuid, uuid, 16);
	pr_store_post(&mine->message, store_interruption);
}

/* One that makes no sense is kept as an operation that has failed: what it was to remove may still
 * be there. */
static void load_row(struct config_statement *statement)
{
	int uuid_length, length;
	const void *uuid = config_blob(statement, 0, &uuid_length);
	const void *pattern = config_blob(statement, 6, &length);
	int64_t passes = config_number(statement, 5);
	struct kept *kept = uuid_length == 16 ? heap_zalloc(sizeof(*kept)) : NULL;

	if (!kept) {
		log_error("a stored sanitize operation makes no sense and is left out");
		return;
	}
	memcpy(kept->uuid, uuid, 16);
	kept->order = (struct sanitize_order){
	    .failed = config_number(statement, 1) != 0,
	    .restricted = config_number(statement, 2) != 0,
	    .erase = config_number(statement, 3) != 0,
	    .invert = config_number(statement, 4) != 0,
	};
	if (passes < 1 || passes > 31 || length < 1 || length > (int)SANITIZE_PATTERN_MAX) {
		log_error("a stored sanitize operation makes no sense: it counts as failed");
		kept->order.failed = true;
	} else {
		kept->order.passes = (uint8_t)passes;
		kept->order.length = (uint16_t)length;
		memcpy(kept->order.pattern, pattern, (size_t)length);
	}
	list_push_back(&all.list, &kept->link);
}

int sanitize_store_load(struct config *config, struct err *err)
{
	struct config_statement *statement;
	int result = config_prepare(config,
				    "select volume, failed, restricted, erase, invert, passes,"
				    " pattern from sanitize",
				    &statement, err);

	if (result < 0)
		return result;
	while ((result = config_step(statement, err)) > 0)
		load_row(statement);
	config_finish(statement);
	return result;
}

void sanitize_store_drop(void)
{
	while (!list_empty(&all.list))
		drop(list_entry(all.list.next, struct kept, link));
}
