/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/heap.h"
#include "core/log.h"
#include "replication/access.h"
#include "replication/node.h"

/* What goes with a group besides its volumes and their exports: rules with their secrets, and
 * persistent reservations. The standby keeps it sealed, beside the group's row. */

static const struct replication_host *host_of(const struct seat *seat)
{
	return &seat->replication->options.host;
}

int seat_access(struct group *group, uint8_t **ret_data, size_t *ret_length)
{
	struct seat *seat = group->host_context;
	const struct replication_host *host = host_of(seat);
	uint8_t uuids[WIRE_MEMBERS_MAX][16];
	unsigned count = seat_member_uuids(seat, uuids);
	json_t *access = NULL;
	char *text;
	int result;

	if (seat->exports_due) /* what is here is not all of it yet */
		return -EBUSY;
	result = host->access(host->context, (const uint8_t(*)[16])uuids, count, &access);

	if (result < 0)
		return result;
	text = json_dumps(access, JSON_COMPACT);
	json_decref(access);
	if (!text)
		return -ENOMEM;
	if (strlen(text) > ACCESS_MAX) {
		if (!seat->access_large)
			log_error("group %s: its rules and reservations are more than a standby "
				  "takes: they do not go there, and the group is not handed over",
				  group->name);
		seat->access_large = true;
		heap_wipe(text);
		return -EFBIG;
	}
	seat->access_large = false;
	*ret_data = (uint8_t *)text;
	*ret_length = strlen(text);
	return 0;
}

static int store(struct seat *seat, const uint8_t *sealed, size_t length, struct err *err)
{
	struct config_statement *statement;
	char uuid[33];
	int result = config_prepare(seat->replication->config,
				    "update grp set access = ? where uuid = ?", &statement, err);

	if (result < 0)
		return result;
	uuid_text(seat->group.uuid, uuid);
	config_bind_blob(statement, 1, sealed, (int)length);
	config_bind_text(statement, 2, uuid);
	result = config_step(statement, err);
	config_finish(statement);
	return result < 0 ? result : 0;
}

/* -EPROTO: it is not what a primary says. */
static int check(struct seat *seat, const uint8_t *data, size_t length, struct err *err)
{
	const struct replication_host *host = host_of(seat);
	json_t *access = json_loadb((const char *)data, length, 0, NULL);
	int result = access ? host->access_check(host->context, access, err)
			    : err_set(err, -EPROTO, "who is let in, as it was told, is no JSON");

	json_decref(access);
	return result;
}

int seat_keep_access(struct group *group, const uint8_t *data, size_t length, struct err *err)
{
	struct seat *seat = group->host_context;
	const struct replication_host *host = host_of(seat);
	uint8_t *sealed = NULL;
	size_t sealed_length = 0;
	char uuid[33];
	int result = data ? check(seat, data, length, err) : 0;

	if (!data && !seat->access)
		return 0;
	uuid_text(group->uuid, uuid);
	if (result == 0 && data) {
		result = host->seal(host->context, uuid, data, length, &sealed, &sealed_length);
		if (result < 0)
			err_set(err, result, "who is let in can not be sealed");
	}
	if (result == 0)
		result = store(seat, sealed, sealed_length, err);
	if (result < 0) {
		heap_free(sealed);
		return result;
	}
	seat_access_drop(seat);
	seat->access = sealed;
	seat->access_length = sealed_length;
	return 0;
}

json_t *seat_access_open(const struct seat *seat)
{
	const struct replication_host *host = host_of(seat);
	json_t *access = NULL;
	uint8_t *data = NULL;
	size_t length = 0;
	char uuid[33];

	if (!seat->access)
		return NULL;
	uuid_text(seat->group.uuid, uuid);
	if (host->unseal(host->context, uuid, seat->access, seat->access_length, &data, &length) ==
	    0)
		access = json_loadb((const char *)data, length, 0, NULL);
	heap_wipe(data);
	if (!access)
		log_error("group %s: its rules with CHAP and its reservations can not be opened "
			  "with secret.key",
			  seat->group.name);
	return access;
}

void seat_access_drop(struct seat *seat)
{
	heap_free(seat->access);
	seat->access = NULL;
	seat->access_length = 0;
}

struct reserving {
	struct fiber *fiber;
	bool over;
	int result;
};

static void reserved(void *waiting, int result)
{
	struct reserving *reserving = waiting;

	reserving->result = result;
	reserving->over = true;
	if (reserving->fiber)
		fiber_wake(reserving->fiber);
}

static int reserve(struct seat *seat, const json_t *access)
{
	const struct replication_host *host = host_of(seat);
	struct reserving reserving = {0};
	uint8_t uuids[WIRE_MEMBERS_MAX][16];
	unsigned count = seat_member_uuids(seat, uuids);

	host->reserve(host->context, access, (const uint8_t(*)[16])uuids, count, reserved,
		      &reserving);
	reserving.fiber = fiber_current();
	while (!reserving.over)
		fiber_wait();
	return reserving.result;
}

/* Guests are let in right behind this: what shuts some of them out has to be in force. Where it can
 * not be, a planned promotion is none; an unplanned one has nothing better to wait for. */
int seat_guard(struct group *group, bool planned, struct err *err)
{
	struct seat *seat = group->host_context;
	json_t *access = seat_access_open(seat);
	int result = seat->access && !access ? -EIO : 0;

	if (access)
		result = reserve(seat, access);
	json_decref(access);
	if (result == 0)
		return 0;
	if (planned)
		return err_set(err, result,
			       "group %s: its reservations can not be put in force: %s",
			       group->name, strerror(-result));
	log_error("group %s is promoted without its reservations: %s", group->name,
		  strerror(-result));
	return 0;
}
