/* SPDX-License-Identifier: Apache-2.0 */
#include "webadmin/passthrough.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/heap.h"
#include "core/log.h"

bool model_pool_is_passthrough(const struct model_pool *pool)
{
	return pool->path_count == 0 && strcmp(pool->name, PASSTHROUGH_POOL) == 0;
}

/* ---- the store ---- */
static void copy_text(struct config_statement *statement, int column, char *text, size_t size)
{
	snprintf(text, size, "%s", config_text(statement, column));
}

static int read_row(struct config_statement *statement, struct passthrough_spec *spec)
{
	struct volume_identity *id = &spec->identity;
	int uuid_length, naa_length;
	const void *uuid = config_blob(statement, 0, &uuid_length);
	const void *naa = config_blob(statement, 5, &naa_length);

	*spec = (struct passthrough_spec){.name = config_text(statement, 1),
					  .path = config_text(statement, 2),
					  .known_size = (uint64_t)config_number(statement, 3),
					  .read_only = config_number(statement, 4) != 0};
	if (uuid_length != 16 || naa_length != 16)
		return -EINVAL;
	memcpy(id->uuid, uuid, 16);
	memcpy(id->naa, naa, 16);
	copy_text(statement, 6, id->serial, sizeof id->serial);
	copy_text(statement, 7, id->vendor, sizeof id->vendor);
	copy_text(statement, 8, id->product, sizeof id->product);
	copy_text(statement, 9, id->t10, sizeof id->t10);
	return 0;
}

static int add_row(struct config *config, const struct passthrough_spec *spec, uint64_t size,
		   struct err *err)
{
	const struct volume_identity *id = &spec->identity;
	struct config_statement *statement;
	int result = config_prepare(
	    config,
	    "insert into passthrough(volume, name, path, size, read_only, naa, serial, vendor,"
	    " product, t10) values(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
	    &statement, err);

	if (result < 0)
		return result;
	config_bind_blob(statement, 1, id->uuid, 16);
	config_bind_text(statement, 2, spec->name);
	config_bind_text(statement, 3, spec->path);
	config_bind_number(statement, 4, (int64_t)size);
	config_bind_number(statement, 5, spec->read_only);
	config_bind_blob(statement, 6, id->naa, 16);
	config_bind_text(statement, 7, id->serial);
	config_bind_text(statement, 8, id->vendor);
	config_bind_text(statement, 9, id->product);
	config_bind_text(statement, 10, id->t10);
	result = config_step(statement, err);
	config_finish(statement);
	return result < 0 ? result : 0;
}

/* @sql's one row, whose uuid is its last parameter. */
static int change_row(struct config *config, const char *sql, const char *text, uint64_t number,
		      const uint8_t uuid[16], struct err *err)
{
	struct config_statement *statement;
	int result = config_prepare(config, sql, &statement, err), column = 1;

	if (result < 0)
		return result;
	if (text)
		config_bind_text(statement, column++, text);
	else if (number)
		config_bind_number(statement, column++, (int64_t)number);
	config_bind_blob(statement, column, uuid, 16);
	result = config_step(statement, err);
	config_finish(statement);
	return result < 0 ? result : 0;
}

int store_remove_device(struct config *config, const uint8_t uuid[16], struct err *err)
{
	int result = config_begin(config, err);

	if (result == 0)
		result = change_row(config, "delete from passthrough where volume = ?", NULL, 0,
				    uuid, err);
	return result == 0 ? config_commit(config, err) : result;
}

int store_rename_device(struct config *config, const uint8_t uuid[16], const char *name,
			struct err *err)
{
	return change_row(config, "update passthrough set name = ? where volume = ?", name, 0, uuid,
			  err);
}

int store_size_device(struct config *config, const uint8_t uuid[16], uint64_t size, struct err *err)
{
	return change_row(config, "update passthrough set size = ? where volume = ?", NULL, size,
			  uuid, err);
}

static int add_pool_row(struct config *config, const struct model_pool *pool, struct err *err)
{
	return change_row(config,
			  "insert or ignore into pool(name, backend, uuid)"
			  " values(?, 'passthrough', ?)",
			  pool->name, 0, pool->uuid, err);
}

/* ---- at the start ---- */
static int attach(struct pool *pool, struct passthrough_spec *spec, bool last)
{
	struct volume *volume = pool_find_volume(pool, spec->name);
	uint64_t known = spec->known_size;
	struct err err = {0};
	int result;

	if (volume) {
		volume_unref(volume);
		return 0;
	}
	spec->known_size = 0;
	result = passthrough_attach(pool, spec, &volume, &err);
	if (result == -EBUSY && !last)
		return result;
	spec->known_size = known;
	if (result < 0)
		result = passthrough_attach(pool, spec, &volume, &err);
	if (result < 0)
		log_error("volume %s/%s: %s", PASSTHROUGH_POOL, spec->name, err.text);
	else
		volume_unref(volume);
	return 0;
}

int passthrough_start(struct webadmin *admin, struct model_pool *pool, bool last)
{
	struct config_statement *statement;
	struct passthrough_spec spec;
	int result = 0, busy = 0;
	struct err err = {0};

	if (!pool->pool)
		result = passthrough_create(admin->options.world, admin->options.control,
					    pool->name, pool->uuid, &pool->pool, &err);
	if (result == 0)
		result = config_prepare(admin->options.config,
					"select volume, name, path, size, read_only, naa, serial,"
					" vendor, product, t10 from passthrough order by name",
					&statement, &err);
	if (result < 0) {
		snprintf(pool->reason, sizeof pool->reason, "%s", err.text);
		return result;
	}
	while (config_step(statement, &err) > 0)
		if (read_row(statement, &spec) == 0 && attach(pool->pool, &spec, last) < 0)
			busy = -EBUSY;
	config_finish(statement);
	pool->reason[0] = '\0';
	return busy;
}

/* ---- a new one ---- */
struct attaching {
	struct passthrough_spec spec;
	char name[VOLUME_NAME_MAX + 1];
	char path[4096];
};

static bool refuse(struct api_request *request, const char *code, const char *sentence)
{
	api_reply_error(request, 400, code, "%s", sentence);
	return false;
}

/* SPC-4 4.3.1: ASCII, no leading space. */
static bool read_text(struct api_request *request, const char *member, char *text, size_t size)
{
	const char *given = json_string_value(json_object_get(request->body, member));

	if (!given)
		return true;
	for (const char *at = given; *at; at++)
		if (*at < 0x20 || *at > 0x7e)
			return refuse(request, "bad_identity",
				      "an identity is made of printable ASCII characters");
	if (!given[0] || given[0] == ' ' || strlen(given) >= size) {
		api_reply_error(request, 400, "bad_identity",
				"%s has 1 to %zu characters, the first of them no space", member,
				size - 1);
		return false;
	}
	snprintf(text, size, "%s", given);
	return true;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* "naa.6001405..." or its digits alone: 32 of NAA 6, 16 of NAA 2, 3 and 5 (SPC-4 7.8.6.6). */
static bool read_naa(struct api_request *request, uint8_t naa[16])
{
	static const char sentence[] =
	    "an NAA name has 32 hex digits and begins with 6, or 16 and begins with 2, 3 or 5";
	const char *given = json_string_value(json_object_get(request->body, "naa"));
	uint8_t bytes[16] = {0};
	size_t length;

	if (!given)
		return true;
	if (strncmp(given, "naa.", 4) == 0)
		given += 4;
	length = strlen(given);
	if (length != strspn(given, "0123456789abcdefABCDEF") ||
	    !(length == 32 ? given[0] == '6' : length == 16 && strchr("235", given[0])))
		return refuse(request, "bad_identity", sentence);
	for (size_t i = 0; i < length; i++)
		bytes[i / 2] = (uint8_t)(bytes[i / 2] << 4 | hex_digit(given[i]));
	memcpy(naa, bytes, 16);
	return true;
}

/* Initiators take two LUNs of one name for two paths to the same data. */
static bool naa_is_new(struct api_request *request, const uint8_t naa[16])
{
	list_for_each (it, &request->model->pools) {
		struct pool *pool = list_entry(it, struct model_pool, link)->pool;
		struct volume *volume = NULL;

		while (pool && (volume = pool_volume_next(pool, volume))) {
			if (memcmp(volume->identity.naa, naa, 16) != 0)
				continue;
			api_reply_error(request, 409, "identity_taken",
					"volume %s/%s has this NAA name already", pool_name(pool),
					volume->name);
			volume_unref(volume);
			return false;
		}
	}
	return true;
}

static bool read_identity(struct api_request *request, struct volume_identity *id)
{
	uint8_t random[16];

	loop_random(request->admin->options.control, random, sizeof random);
	volume_identity_make(random, id);
	return read_naa(request, id->naa) &&
	       read_text(request, "serial", id->serial, sizeof id->serial) &&
	       read_text(request, "vendor", id->vendor, sizeof id->vendor) &&
	       read_text(request, "product", id->product, sizeof id->product) &&
	       read_text(request, "t10", id->t10, sizeof id->t10) && naa_is_new(request, id->naa);
}

/* The pool, made with the first of its volumes: row and object; the caller commits. The row of one
 * that is there is written too: it may have been made by a request whose commit failed. */
static struct model_pool *pool_for(struct api_request *request, bool *ret_fresh)
{
	struct webadmin *admin = request->admin;
	struct model_pool *pool = model_pool_find(request->model, PASSTHROUGH_POOL);

	*ret_fresh = false;
	if (pool && model_pool_is_passthrough(pool))
		return add_pool_row(admin->options.config, pool, &request->err) == 0 ? pool : NULL;
	if (pool) {
		err_set(&request->err, -EEXIST,
			"there is a pool named %s that is of another kind; volumes on devices need "
			"that name",
			PASSTHROUGH_POOL);
		return NULL;
	}
	pool = model_pool_add(request->model, PASSTHROUGH_POOL);
	if (!pool) {
		err_set(&request->err, -ENOMEM, "out of memory");
		return NULL;
	}
	loop_random(admin->options.control, pool->uuid, sizeof pool->uuid);
	*ret_fresh = true;
	if (add_pool_row(admin->options.config, pool, &request->err) == 0 &&
	    passthrough_create(admin->options.world, admin->options.control, pool->name, pool->uuid,
			       &pool->pool, &request->err) == 0)
		return pool;
	model_pool_remove(pool);
	return NULL;
}

struct closing {
	struct pool_call call;
	struct model_pool *pool;
};

static void closed(struct pool_call *call, int result)
{
	(void)result;
	heap_free(container_of(call, struct closing, call));
}

static void let_go(struct model_pool *pool)
{
	struct closing *closing = heap_zalloc(sizeof *closing);

	if (closing) { /* else it stays, empty, until the next start */
		closing->call.done = closed;
		pool_close(pool->pool, &closing->call);
		model_pool_remove(pool);
	}
}

static void detached(struct pool_call *call, int result)
{
	struct api_request *request = api_request_of(call);

	if (result == 0) /* the reference went with it */
		request->volume = NULL;
	else
		log_error("a volume that could not be recorded: %s", call->err.text);
	api_reply_failure(request, NULL);
}

static void reply_dry(struct api_request *request, uint64_t size)
{
	const struct attaching *attaching = request->state;

	api_reply_dry(request, json_sprintf("volume " PASSTHROUGH_POOL "/%s", attaching->name),
		      json_object(),
		      json_pack("{s:s,s:s,s:s,s:I,s:b}", "pool", PASSTHROUGH_POOL, "name",
				attaching->name, "device", attaching->path, "size_bytes",
				(json_int_t)size, "read_only", attaching->spec.read_only));
}

static void device_is_good(struct api_request *request)
{
	struct config *config = request->admin->options.config;
	struct attaching *attaching = request->state;
	struct model_pool *pool = NULL;
	bool fresh = false, dry = api_is_dry(request);
	uint64_t size;
	int result = config_begin(config, &request->err);

	if (result == 0)
		pool = pool_for(request, &fresh);
	if (result == 0 && !pool)
		result = request->err.code;
	if (result == 0 && dry)
		result = passthrough_try(pool->pool, &attaching->spec, &size, &request->err);
	else if (result == 0)
		result = passthrough_attach(pool->pool, &attaching->spec, &request->volume,
					    &request->err);
	if ((result < 0 || dry) && fresh && pool)
		let_go(pool);
	if (result < 0) {
		api_reply_failure(request, result == -EEXIST ? "volume_exists" : NULL);
		return;
	}
	if (dry) {
		reply_dry(request, size);
		return;
	}
	result = add_row(config, &attaching->spec, volume_size(request->volume), &request->err);
	if (result == 0)
		result = config_commit(config, &request->err);
	if (result < 0) {
		request->call = (struct pool_call){.done = detached};
		volume_delete(request->volume, &request->call);
		return;
	}
	log_notice("volume %s/%s is %s", pool->name, attaching->spec.name, attaching->spec.path);
	api_reply(request, 201, show_volume(request->model, request->volume));
}

void passthrough_volume_create(struct api_request *request)
{
	const json_t *body = request->body;
	const char *path = json_string_value(json_object_get(body, "device"));
	const char *name = json_string_value(json_object_get(body, "name"));
	const char *pool = json_string_value(json_object_get(body, "pool"));
	struct attaching *attaching = heap_zalloc(sizeof *attaching);

	request->state = attaching;
	if (!attaching)
		api_reply_error(request, 503, "no_memory", "out of memory");
	else if (strcmp(pool, PASSTHROUGH_POOL) != 0)
		refuse(request, "bad_request",
		       "a volume that is a device is in the pool named " PASSTHROUGH_POOL);
	else if (json_object_get(body, "size") || json_object_get(body, "reserve") ||
		 json_object_get(body, "checksum") || json_object_get(body, "mirror"))
		refuse(
		    request, "not_supported",
		    "a device has its own size, and neither reservation nor checksums nor a second "
		    "copy");
	else if (path[0] != '/' || strlen(path) >= sizeof attaching->path)
		refuse(request, "bad_request", "a device has an absolute path");
	else if (volume_name_check(name, &request->err) < 0)
		api_reply_failure(request, "bad_name");
	else if (read_identity(request, &attaching->spec.identity)) {
		snprintf(attaching->name, sizeof attaching->name, "%s", name);
		snprintf(attaching->path, sizeof attaching->path, "%s", path);
		attaching->spec.name = attaching->name;
		attaching->spec.path = attaching->path;
		attaching->spec.read_only = json_is_true(json_object_get(body, "read_only"));
		path = attaching->path;
		api_devices_check(request, &path, 1, true, device_is_good);
	}
}
