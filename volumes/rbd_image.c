/* SPDX-License-Identifier: Apache-2.0 */
/* rbd_image.c: what librbd and librados offer blocking only. Context of everything here: a worker
 * of the pool. */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/heap.h"
#include "core/log.h"
#include "volumes/rbd.h"

#define UUID_KEY       "granary.uuid"
#define IMAGE_KEY      "granary.image" /* the id of the image that the metadata was made for */
#define UUID_DIGITS    32
#define IMAGES_MAX     65536u
#define COUNT_STEP     (256u << 10) /* objects looked at in one go */
#define OBJECTS_GOOD   (1u << 20)   /* larger volumes have larger objects, up to 32 MiB */
#define ORDER_LEAST    22
#define ORDER_MOST     25
#define ERASE_TRIES    25u /* 5 s: others look once a second */
#define ERASE_PAUSE_NS 200000000
#define FEATURES                                                                                   \
	(RBD_FEATURE_LAYERING | RBD_FEATURE_EXCLUSIVE_LOCK | RBD_FEATURE_OBJECT_MAP |              \
	 RBD_FEATURE_FAST_DIFF | RBD_FEATURE_DEEP_FLATTEN)

static int failed(struct err *err, int result, const char *what)
{
	return err_set(err, result, "%s: %s", what,
		       result == -ETIMEDOUT ? "the cluster does not answer" : strerror(-result));
}

/* ---- the cluster */

static int set_options(rados_t cluster, struct err *err)
{
	static const struct {
		const char *name, *value;
	} options[] = {
	    {"rbd_cache", "false"},
	    {"rbd_skip_partial_discard", "false"},
	    {"rbd_discard_granularity_bytes", "4096"}, /* VOLUME_SLOT */
	    {"client_mount_timeout", "5"},
	    {"rados_mon_op_timeout", "10"},
	    {"rados_osd_op_timeout", "0"},           /* an I/O waits; R2 */
	    {"rbd_blocklist_on_break_lock", "true"}, /* rbd_gate.c */
	    {"rbd_blocklist_expire_seconds", "0"},   /* others are refused by the monitor */
	    {"rbd_plugins", ""},                     /* no cache on a gateway's own disk; R3 */
	    {"rbd_persistent_cache_mode", "disabled"},
	    {"log_file", ""},
	    {"log_to_stderr", "false"},
	    {"err_to_stderr", "false"},
	    {"admin_socket", ""},
	};

	for (unsigned i = 0; i < sizeof options / sizeof *options; i++) {
		int result = ceph.rados_conf_set(cluster, options[i].name, options[i].value);

		if (result < 0)
			return err_set(err, result, "this librados does not take %s",
				       options[i].name);
	}
	return 0;
}

static int check_namespace(struct rbd_pool *pool, struct err *err)
{
	const struct rbd_address *address = &pool->address;
	bool exists = false;
	int result = ceph.rbd_namespace_exists(pool->ioctx, address->space, &exists);

	if (result < 0)
		return failed(err, result, address->ceph_pool);
	return exists ? 0
		      : err_set(err, -ENOENT, "Ceph pool %s has no namespace %s",
				address->ceph_pool, address->space);
}

static int connect_cluster(struct rbd_pool *pool, struct err *err)
{
	const struct rbd_address *address = &pool->address;
	char user[RBD_TEXT_MAX + 8];
	int result;

	snprintf(user, sizeof user, "client.%s", address->id);
	result = ceph.rados_create2(&pool->cluster, "ceph", user, 0);
	if (result < 0) {
		pool->cluster = NULL;
		return failed(err, result, "librados");
	}
	result = ceph.rados_conf_read_file(pool->cluster, address->conf);
	if (result < 0)
		return failed(err, result, address->conf);
	result = set_options(pool->cluster, err);
	if (result < 0)
		return result;
	result = ceph.rados_connect(pool->cluster);
	if (result < 0)
		return failed(err, result, "Ceph");
	result = ceph.rados_ioctx_create(pool->cluster, address->ceph_pool, &pool->ioctx);
	if (result < 0) {
		pool->ioctx = NULL;
		return result == -ENOENT
			   ? err_set(err, result, "Ceph has no pool named %s", address->ceph_pool)
			   : failed(err, result, address->ceph_pool);
	}
	result = address->space[0] ? check_namespace(pool, err) : 0;
	if (result < 0)
		return result;
	ceph.rados_ioctx_set_namespace(pool->ioctx, address->space);
	ceph.rados_set_pool_full_try(pool->ioctx); /* -ENOSPC instead of waiting for space */
	return 0;
}

void rbd_hex_of(const uint8_t uuid[16], char ret_text[33])
{
	for (unsigned i = 0; i < 16; i++)
		snprintf(ret_text + 2 * i, 3, "%02x", uuid[i]);
}

static bool parse_hex(const char *text, size_t length, uint8_t ret_uuid[16])
{
	if (length != UUID_DIGITS)
		return false;
	for (unsigned i = 0; i < 16; i++) {
		char pair[3] = {text[2 * i], text[2 * i + 1], '\0'};

		if (strspn(pair, "0123456789abcdef") != 2)
			return false;
		ret_uuid[i] = (uint8_t)strtoul(pair, NULL, 16);
	}
	return true;
}

bool rbd_parse_hex(const char *text, uint8_t ret_uuid[16])
{
	return parse_hex(text, strlen(text), ret_uuid);
}

/* Exclusive: of two gateways that create a pool in one place, one does. */
static int write_identity(struct rbd_pool *pool, struct err *err)
{
	char hex[UUID_DIGITS + 1];
	char *keys[] = {(char[]){"name"}, (char[]){"uuid"}}, *values[] = {pool->name, hex};
	size_t key_lengths[] = {4, 4}, value_lengths[] = {strlen(pool->name), UUID_DIGITS};
	rados_write_op_t op = ceph.rados_create_write_op();
	int result;

	if (!op)
		return err_set(err, -ENOMEM, "out of memory");
	rbd_hex_of(pool->uuid, hex);
	ceph.rados_write_op_create(op, LIBRADOS_CREATE_EXCLUSIVE, NULL);
	ceph.rados_write_op_omap_set2(op, (const char *const *)keys, (const char *const *)values,
				      key_lengths, value_lengths, 2);
	result = ceph.rados_write_op_operate(op, pool->ioctx, RBD_IDENTITY_OBJECT, NULL, 0);
	ceph.rados_release_write_op(op);
	if (result == -EEXIST)
		return err_set(err, result,
			       "Ceph pool %s holds a pool of Granary's already; import that one",
			       pool->address.ceph_pool);
	return result < 0 ? failed(err, result, pool->address.ceph_pool) : 0;
}

/* One text of the identity object; "" when there is none. */
int rbd_get_text(struct rbd_pool *pool, const char *key, char *ret_text, size_t size)
{
	const size_t key_length = strlen(key);
	rados_read_op_t op = ceph.rados_create_read_op();
	rados_omap_iter_t values = NULL;
	char *found_key, *value;
	size_t found_length, length;
	int result, inner = 0;

	ret_text[0] = '\0';
	if (!op)
		return -ENOMEM;
	ceph.rados_read_op_omap_get_vals_by_keys2(op, &key, 1, &key_length, &values, &inner);
	result = ceph.rados_read_op_operate(op, pool->ioctx, RBD_IDENTITY_OBJECT, 0);
	if (result >= 0 && inner >= 0 &&
	    ceph.rados_omap_get_next2(values, &found_key, &value, &found_length, &length) == 0 &&
	    found_key && length < size) {
		memcpy(ret_text, value, length);
		ret_text[length] = '\0';
	}
	if (values)
		ceph.rados_omap_get_end(values);
	ceph.rados_release_read_op(op);
	return result < 0 ? result : inner;
}

int rbd_set_text(struct rbd_pool *pool, const char *key, const char *text)
{
	const size_t key_length = strlen(key), length = strlen(text);
	rados_write_op_t op = ceph.rados_create_write_op();
	int result;

	if (!op)
		return -ENOMEM;
	if (length)
		ceph.rados_write_op_omap_set2(op, &key, &text, &key_length, &length, 1);
	else
		ceph.rados_write_op_omap_rm_keys2(op, &key, &key_length, 1);
	result = ceph.rados_write_op_operate(op, pool->ioctx, RBD_IDENTITY_OBJECT, NULL, 0);
	ceph.rados_release_write_op(op);
	return result;
}

/* Under it stands the address this gateway has in the cluster, for its next life. */
static void gateway_key(const struct rbd_pool *pool, char *ret_key, size_t size)
{
	snprintf(ret_key, size, "gateway.%s", pool->address.gateway);
}

static int read_former(struct rbd_pool *pool, struct err *err)
{
	char key[RBD_TEXT_MAX + 16];
	int result;

	if (!pool->address.gateway[0])
		return 0;
	gateway_key(pool, key, sizeof key);
	result = rbd_get_text(pool, key, pool->former, sizeof pool->former);
	return result < 0 ? failed(err, result, pool->address.ceph_pool) : 0;
}

/* After the former life's locks are broken, and before the first lock of this one. */
static int sign_in(struct rbd_pool *pool, struct err *err)
{
	char key[RBD_TEXT_MAX + 16], *self = NULL;
	int result;

	if (!pool->address.gateway[0])
		return 0;
	gateway_key(pool, key, sizeof key);
	result = ceph.rados_getaddrs(pool->cluster, &self);
	if (result == 0)
		result = rbd_set_text(pool, key, self);
	if (self)
		ceph.rados_buffer_free(self);
	return result < 0 ? failed(err, result, pool->address.ceph_pool) : 0;
}

static bool take_identity(struct rbd_pool *pool, rados_omap_iter_t values)
{
	bool has_name = false, has_uuid = false;
	size_t key_length, length;
	char *key, *value;

	while (ceph.rados_omap_get_next2(values, &key, &value, &key_length, &length) == 0 && key) {
		if (strcmp(key, "name") == 0 && length > 0 && length <= POOL_NAME_MAX) {
			memcpy(pool->name, value, length);
			pool->name[length] = '\0';
			has_name = volume_name_check(pool->name, NULL) == 0;
		} else if (strcmp(key, "uuid") == 0) {
			has_uuid = parse_hex(value, length, pool->uuid);
		}
	}
	return has_name && has_uuid;
}

static int read_identity(struct rbd_pool *pool, struct err *err)
{
	const char *keys[] = {"name", "uuid"};
	const size_t lengths[] = {4, 4};
	rados_read_op_t op = ceph.rados_create_read_op();
	rados_omap_iter_t values = NULL;
	int result, inner = 0;
	bool good;

	if (!op)
		return err_set(err, -ENOMEM, "out of memory");
	ceph.rados_read_op_omap_get_vals_by_keys2(op, keys, 2, lengths, &values, &inner);
	result = ceph.rados_read_op_operate(op, pool->ioctx, RBD_IDENTITY_OBJECT, 0);
	good = result >= 0 && inner >= 0 && take_identity(pool, values);
	if (values)
		ceph.rados_omap_get_end(values);
	ceph.rados_release_read_op(op);
	if (result < 0 && result != -ENOENT)
		return failed(err, result, pool->address.ceph_pool);
	if (!good)
		return err_set(err, -EPROTO, "Ceph pool %s holds no pool of Granary's",
			       pool->address.ceph_pool);
	return 0;
}

int rbd_connect(struct rbd_job *job)
{
	struct rbd_pool *pool = job->pool;
	int result = ceph_load(&job->err);

	if (result == 0)
		result = connect_cluster(pool, &job->err);
	if (result == 0)
		result =
		    job->create ? write_identity(pool, &job->err) : read_identity(pool, &job->err);
	if (result == 0)
		result = read_former(pool, &job->err);
	return result;
}

void rbd_disconnect(struct rbd_pool *pool)
{
	if (pool->ioctx)
		ceph.rados_ioctx_destroy(pool->ioctx);
	if (pool->cluster)
		ceph.rados_shutdown(pool->cluster);
	pool->ioctx = NULL;
	pool->cluster = NULL;
}

/* Space as the monitors count it: what this pool holds, and what would still fit. */
static void take_space(struct rbd_pool *pool, json_t *reply)
{
	size_t index;
	json_t *entry;

	json_array_foreach(json_object_get(reply, "pools"), index, entry)
	{
		const char *name = json_string_value(json_object_get(entry, "name"));
		json_t *stats = json_object_get(entry, "stats");
		json_int_t stored = json_integer_value(json_object_get(stats, "stored"));
		json_int_t left = json_integer_value(json_object_get(stats, "max_avail"));

		if (!name || strcmp(name, pool->address.ceph_pool) != 0 || stored < 0 || left < 0)
			continue;
		__atomic_store_n(&pool->used_bytes, (uint64_t)stored, __ATOMIC_RELAXED);
		__atomic_store_n(&pool->free_bytes, (uint64_t)left, __ATOMIC_RELAXED);
		__atomic_store_n(&pool->size_bytes, (uint64_t)(stored + left), __ATOMIC_RELAXED);
	}
}

int rbd_space(struct rbd_job *job)
{
	static const char *command = "{\"prefix\": \"df\", \"format\": \"json\"}";
	struct rbd_pool *pool = job->pool;
	size_t length = 0, status_length = 0;
	char *text = NULL, *status = NULL;
	json_t *reply;
	int result = ceph.rados_mon_command(pool->cluster, &command, 1, "", 0, &text, &length,
					    &status, &status_length);

	if (result == 0) {
		reply = json_loadb(text, length, 0, NULL);
		take_space(pool, reply);
		json_decref(reply);
	}
	ceph.rados_buffer_free(text);
	ceph.rados_buffer_free(status);
	return result;
}

/* ---- images */

static int read_uuid(rbd_image_t image, uint8_t ret_uuid[16])
{
	char text[UUID_DIGITS + 8];
	size_t length = sizeof text;
	int result = ceph.rbd_metadata_get(image, UUID_KEY, text, &length);

	if (result < 0)
		return result == -ERANGE || result == -ENOENT ? -ENODATA : result;
	return parse_hex(text, strnlen(text, sizeof text), ret_uuid) ? 0 : -ENODATA;
}

/* "rbd cp" takes the metadata along: two images that say they are one volume. The copy is no
 * volume. Images from before the key are what they say. */
static int check_original(rbd_image_t image, const char *name)
{
	char id[RBD_TEXT_MAX], text[RBD_TEXT_MAX];
	size_t length = sizeof text;
	int result = ceph.rbd_get_id(image, id, sizeof id);

	if (result < 0)
		return result;
	result = ceph.rbd_metadata_get(image, IMAGE_KEY, text, &length);
	if (result == -ENOENT)
		return 0;
	if (result < 0 && result != -ERANGE)
		return result;
	if (result >= 0 && strncmp(text, id, sizeof text) == 0)
		return 0;
	log_warning("image %s is a copy of a volume's image and is left alone; \"rbd image-meta "
		    "remove %s " IMAGE_KEY "\" makes it the volume, once the other one is gone",
		    name, name);
	return -ENODATA;
}

bool rbd_same_address(const char *known, const char *address)
{
	const char *at = address[0] ? strstr(known, address) : NULL;

	return at && strspn(at + strlen(address), "0123456789") == 0;
}

static void rescan(struct message *message);

/* On a thread of librbd's: the image's header changed. */
static void image_changed(void *context)
{
	struct rbd_volume *volume = context;

	if (!__atomic_exchange_n(&volume->changed_posted, 1, __ATOMIC_ACQ_REL))
		loop_post(volume->pool->home, &volume->changed, rescan);
}

static void size_known(struct rbd_job *job)
{
	struct rbd_volume *volume = job->volume;
	uint64_t size = job->size & ~(uint64_t)(VOLUME_SLOT - 1);

	volume->inside--;
	if (job->result == 0 && !volume->resizing && size != volume_size(&volume->volume)) {
		__atomic_store_n(&volume->volume.size_bytes, size, __ATOMIC_RELEASE);
		rbd_sum_sizes(job->pool);
		volume_notify(&volume->volume, VOLUME_RESIZED);
	}
	if (job->result == 0)
		rbd_snapshots_merge(volume, &job->found, true);
	else
		rbd_snapshots_forget(&job->found);
	rbd_job_end(job, job->result);
}

int rbd_image_size(struct rbd_job *job)
{
	int result;

	if (!job->volume->image)
		return -ENXIO;
	result = ceph.rbd_get_size(job->volume->image, &job->size);
	return result == 0 ? rbd_snaps_read(job->volume, &job->found) : result;
}

/* Home loop. Resized by another gateway, say. */
static void rescan(struct message *message)
{
	struct rbd_volume *volume = container_of(message, struct rbd_volume, changed);
	struct rbd_job *job;

	__atomic_store_n(&volume->changed_posted, 0, __ATOMIC_RELEASE);
	if (volume->gone || !volume->pool->is_open || volume->pool->closing)
		return;
	job = rbd_job_new(volume->pool, volume, NULL);
	if (!job)
		return;
	volume->inside++;
	rbd_job_run(job, rbd_image_size, size_known);
}

static struct rbd_volume *volume_new(struct rbd_pool *pool, const char *name, rbd_image_t image,
				     const uint8_t uuid[16], const rbd_image_info_t *info)
{
	struct rbd_volume *volume = heap_zalloc(sizeof *volume);

	if (!volume)
		return NULL;
	volume->volume.ops = &rbd_volume_ops;
	volume->volume.pool = &pool->pool;
	volume->volume.size_bytes = info->size & ~(uint64_t)(VOLUME_SLOT - 1);
	volume->volume.thin = true;
	volume->volume.torn = true; /* a write over an object's end is two */
	volume->volume.refs = 1;
	list_init(&volume->volume.watchers);
	list_init(&volume->link);
	list_init(&volume->snapshots);
	snprintf(volume->volume.name, sizeof volume->volume.name, "%s", name);
	volume_identity_make(uuid, &volume->volume.identity);
	volume->pool = pool;
	volume->image = image;
	volume->object_bytes = info->obj_size;
	volume->used_stale = 1;
	volume->volume.standby = true;
	volume->volume.shared = true;
	volume->shown_standby = true;
	return volume;
}

int rbd_image_open(struct rbd_pool *pool, const char *name, struct rbd_volume **ret_volume,
		   struct err *err)
{
	struct rbd_volume *volume = NULL;
	rbd_image_info_t info;
	rbd_image_t image;
	uint8_t uuid[16];
	int result = ceph.rbd_open(pool->ioctx, name, &image, NULL);

	if (result < 0)
		return failed(err, result, name);
	result = read_uuid(image, uuid);
	if (result == 0)
		result = check_original(image, name);
	if (result == 0)
		result = ceph.rbd_stat(image, &info, sizeof info);
	if (result == 0)
		volume = volume_new(pool, name, image, uuid, &info);
	if (result == 0 && !volume)
		result = -ENOMEM;
	if (result == 0)
		result = ceph.rbd_update_watch(image, &volume->watch, image_changed, volume);
	if (result < 0) {
		ceph.rbd_close(image);
		heap_free(volume);
		return failed(err, result, name);
	}
	rbd_clone_read(volume);
	result = rbd_snaps_read(volume, &volume->snapshots);
	if (result < 0) {
		rbd_snapshots_drop(volume);
		rbd_image_close(volume);
		heap_free(volume);
		return failed(err, result, name);
	}
	*ret_volume = volume;
	return 0;
}

void rbd_image_close(struct rbd_volume *volume)
{
	if (!volume->image)
		return;
	if (!volume->of)
		ceph.rbd_update_unwatch(volume->image, volume->watch);
	ceph.rbd_close(volume->image);
	volume->image = NULL;
}

/* All images, as a list to be freed by the caller. */
static int list_images(struct rbd_pool *pool, rbd_image_spec_t **ret_images, size_t *ret_count,
		       struct err *err)
{
	rbd_image_spec_t *images = NULL;
	size_t count = 64;
	int result = -ERANGE;

	while (result == -ERANGE && count <= IMAGES_MAX) {
		heap_free(images);
		images = heap_zalloc_array(count, sizeof *images);
		if (!images)
			return err_set(err, -ENOMEM, "out of memory");
		result = ceph.rbd_list2(pool->ioctx, images, &count);
	}
	if (result < 0) {
		heap_free(images);
		return failed(err, result, pool->address.ceph_pool);
	}
	*ret_images = images;
	*ret_count = count;
	return 0;
}

static bool is_known(const struct rbd_job *job, const char *name)
{
	for (unsigned i = 0; i < job->volume_count; i++)
		if (strcmp(job->volumes[i]->volume.name, name) == 0 && job->volumes[i]->image)
			return job->volumes[i]->listed = true;
	return false;
}

/* ---- images that are not ours */

static struct rbd_stranger *stranger_of(struct rbd_pool *pool, const char *id)
{
	list_for_each (it, &pool->strangers) {
		struct rbd_stranger *stranger = list_entry(it, struct rbd_stranger, link);

		if (strcmp(stranger->id, id) == 0)
			return stranger;
	}
	return NULL;
}

static struct rbd_stranger *stranger_new(struct rbd_pool *pool, const char *id)
{
	struct rbd_stranger *stranger = heap_zalloc(sizeof *stranger);

	if (stranger) {
		snprintf(stranger->id, sizeof stranger->id, "%s", id);
		list_push_back(&pool->strangers, &stranger->link);
	}
	return stranger;
}

/* Those whose images are gone. */
static void forget_unseen(struct rbd_pool *pool)
{
	list_for_each_safe (it, &pool->strangers) {
		struct rbd_stranger *stranger = list_entry(it, struct rbd_stranger, link);

		if (!stranger->seen) {
			list_remove(&stranger->link);
			heap_free(stranger);
		}
	}
}

static void none_seen(struct rbd_pool *pool)
{
	list_for_each (it, &pool->strangers)
		list_entry(it, struct rbd_stranger, link)->seen = false;
}

void rbd_image_forget_strangers(struct rbd_pool *pool)
{
	none_seen(pool);
	forget_unseen(pool);
}

/* One image that can not be opened is no reason to do without all the others; a cluster that does
 * not answer is. */
static int open_listed(struct rbd_job *job, const rbd_image_spec_t *image)
{
	struct rbd_stranger *stranger = stranger_of(job->pool, image->id);
	struct rbd_volume *volume;
	struct err err = {0};
	int result;

	if (stranger)
		stranger->seen = true;
	if (stranger && !stranger->unreadable)
		return 0;
	result = rbd_image_open(job->pool, image->name, &volume, &err);
	if (result == 0)
		list_push_back(&job->found, &volume->link);
	if (result == 0 || result == -ETIMEDOUT || result == -ESHUTDOWN) {
		job->err = result < 0 ? err : job->err;
		return result;
	}
	if (result != -ENOENT && result != -ENODATA && !stranger)
		log_warning("pool %s: image %s", job->pool->name, err.text);
	if (!stranger)
		stranger = stranger_new(job->pool, image->id);
	if (stranger) {
		stranger->seen = true;
		/* None of ours; else gone, or not quite there yet: it is looked at again. */
		stranger->unreadable = result != -ENODATA;
	}
	return 0;
}

int rbd_image_open_new(struct rbd_job *job)
{
	struct rbd_pool *pool = job->pool;
	rbd_image_spec_t *images = NULL;
	size_t count = 0;
	int result = list_images(pool, &images, &count, &job->err);

	none_seen(pool);
	for (unsigned i = 0; i < job->volume_count; i++)
		job->volumes[i]->listed = false;
	for (size_t i = 0; result == 0 && i < count; i++) {
		if (__atomic_load_n(&pool->hurry, __ATOMIC_RELAXED))
			result = -ECANCELED;
		else if (volume_name_check(images[i].name, NULL) == 0 &&
			 !is_known(job, images[i].name)) /* ours are named by us */
			result = open_listed(job, &images[i]);
	}
	if (result == 0)
		forget_unseen(pool);
	if (images)
		ceph.rbd_image_spec_list_cleanup(images, count);
	heap_free(images);
	return result;
}

int rbd_image_open_all(struct rbd_job *job)
{
	int result = rbd_image_open_new(job);

	list_for_each (it, &job->found)
		if (result == 0)
			rbd_gate_settle(list_entry(it, struct rbd_volume, link));
	if (result == 0)
		result = sign_in(job->pool, &job->err);
	if (result == 0)
		job->err.code = 0;
	return result;
}

/* What has its name now may be another volume: that one is found by a scan, and this one is gone.
 */
static int open_again(struct rbd_volume *volume)
{
	struct volume_identity identity = {0};
	uint8_t uuid[16];
	rbd_image_t image;
	int result = ceph.rbd_open(volume->pool->ioctx, volume->volume.name, &image, NULL);

	if (result < 0)
		return result == -ENOENT ? 0 : result; /* deleted meanwhile */
	result = read_uuid(image, uuid);
	if (result == 0)
		volume_identity_make(uuid, &identity);
	if (result == 0 && strcmp(identity.serial, volume->volume.identity.serial) != 0)
		result = -ENODATA;
	if (result == 0)
		result = ceph.rbd_update_watch(image, &volume->watch, image_changed, volume);
	if (result < 0)
		ceph.rbd_close(image);
	else
		volume->image = image;
	return result == -ENODATA ? 0 : result;
}

/* The handles of a life that the cluster has ended are good for closing only. */
static int connect_anew(struct rbd_job *job)
{
	struct rbd_pool *pool = job->pool;
	int result;

	for (unsigned i = 0; i < job->volume_count; i++)
		rbd_image_close(job->volumes[i]);
	rbd_disconnect(pool);
	job->create = false;
	result = rbd_connect(job);
	for (unsigned i = 0; result == 0 && i < job->volume_count; i++) {
		struct rbd_volume *volume = job->volumes[i];

		if (!volume->of) /* a snapshot is, when it is read the next time */
			result = open_again(volume);
	}
	return result == 0 ? sign_in(pool, &job->err) : result;
}

int rbd_rejoin(struct rbd_job *job)
{
	const struct timespec pause = {.tv_sec = 1};
	int result = connect_anew(job);

	while (result < 0 && !__atomic_load_n(&job->pool->hurry, __ATOMIC_RELAXED)) {
		nanosleep(&pause, NULL);
		result = connect_anew(job);
	}
	return result;
}

/* The time that removing an image or counting its objects takes goes with their number. */
static uint64_t order_for(uint64_t size)
{
	uint64_t order = ORDER_LEAST;

	while (order < ORDER_MOST && size >> order > OBJECTS_GOOD)
		order++;
	return order;
}

static int create_image(struct rbd_pool *pool, const char *name, uint64_t size)
{
	rbd_image_options_t options;
	int result;

	ceph.rbd_image_options_create(&options);
	result = ceph.rbd_image_options_set_uint64(options, RBD_IMAGE_OPTION_FEATURES, FEATURES);
	if (result == 0)
		result = ceph.rbd_image_options_set_uint64(options, RBD_IMAGE_OPTION_ORDER,
							   order_for(size));
	if (result == 0)
		result = ceph.rbd_create4(pool->ioctx, name, size, options);
	ceph.rbd_image_options_destroy(options);
	return result;
}

static int mark_image(struct rbd_pool *pool, const char *name, const uint8_t uuid[16], bool pinned)
{
	char hex[UUID_DIGITS + 1], id[RBD_TEXT_MAX];
	rbd_image_t image;
	int result = ceph.rbd_open(pool->ioctx, name, &image, NULL);

	if (result < 0)
		return result;
	rbd_hex_of(uuid, hex);
	result = ceph.rbd_get_id(image, id, sizeof id);
	if (result == 0)
		result = ceph.rbd_metadata_set(image, IMAGE_KEY, id);
	if (result == 0 && pinned)
		result = rbd_gate_set_pin(pool, image, VOLUME_PIN_HERE);
	if (result == 0)
		result = ceph.rbd_metadata_set(image, UUID_KEY, hex);
	ceph.rbd_close(image);
	return result;
}

/* Between a life in the cluster that has ended and the next. */
static int shut_out(struct rbd_job *job)
{
	return err_set(&job->err, -EAGAIN, "pool %s is joining the cluster again", job->pool->name);
}

/* An image gets its name when it is complete: what a crash leaves behind begins with a dot, is
 * nobody's volume, and goes when the name is wanted again. */
int rbd_image_make(struct rbd_job *job)
{
	struct rbd_pool *pool = job->pool;
	char draft[VOLUME_NAME_MAX + 16];
	int result;

	if (!pool->ioctx)
		return shut_out(job);
	snprintf(draft, sizeof draft, ".new.%s", job->name);
	result = create_image(pool, draft, job->size);
	if (result == -EEXIST) {
		ceph.rbd_remove(pool->ioctx, draft);
		result = create_image(pool, draft, job->size);
	}
	return result < 0 ? failed(&job->err, rbd_errno(pool, result), job->name)
			  : rbd_image_finish(job, draft);
}

int rbd_image_finish(struct rbd_job *job, const char *draft)
{
	struct rbd_pool *pool = job->pool;
	struct rbd_volume *volume;
	int result = mark_image(pool, draft, job->uuid, job->pinned);

	if (result == 0)
		result = ceph.rbd_rename(pool->ioctx, draft, job->name);
	if (result == -EEXIST) {
		ceph.rbd_remove(pool->ioctx, draft);
		return err_set(&job->err, -EEXIST, "Ceph pool %s has an image named %s already",
			       pool->address.ceph_pool, job->name);
	}
	if (result < 0)
		return failed(&job->err, rbd_errno(pool, result), job->name);
	result = rbd_image_open(pool, job->name, &volume, &job->err);
	if (result < 0)
		return result;
	if (job->pinned) /* it may have been here before, and have left its note */
		rbd_note_erase(volume);
	rbd_gate_settle(volume);
	list_push_back(&job->found, &volume->link);
	return 0;
}

/* An image that is open somewhere is not removed; other gateways see within a second or two that
 * they have to close it. */
static int remove_image(struct rbd_volume *volume, bool served)
{
	const struct timespec pause = {.tv_nsec = ERASE_PAUSE_NS};
	struct rbd_pool *pool = volume->pool;
	int result = ceph.rbd_remove(pool->ioctx, volume->volume.name);

	for (unsigned i = 0; i < ERASE_TRIES && served && result == -EBUSY &&
			     !__atomic_load_n(&pool->hurry, __ATOMIC_RELAXED);
	     i++) {
		nanosleep(&pause, NULL);
		result = ceph.rbd_remove(pool->ioctx, volume->volume.name);
	}
	return result;
}

int rbd_image_erase(struct rbd_job *job)
{
	struct rbd_volume *volume = job->volume;
	bool served = !volume_standby(&volume->volume);
	int result = 0;

	if (!job->pool->ioctx)
		return shut_out(job);
	if (served && job->pool->address.gateway[0])
		result = rbd_gate_erasing(volume, true);
	if (result < 0)
		return failed(&job->err, rbd_errno(job->pool, result), volume->volume.name);
	/* Nobody may come upon the image that is closed, whatever becomes of it. */
	__atomic_store_n(&volume->volume.standby, true, __ATOMIC_RELEASE);
	rbd_image_close(volume);
	result = remove_image(volume, served);
	if (served)
		rbd_gate_erasing(volume, false);
	if (result == 0 || result == -ENOENT) {
		rbd_note_erase(volume);
		return 0;
	}
	if (result == -EBUSY)
		err_set(&job->err, -EBUSY, "image %s is open elsewhere: %s", volume->volume.name,
			served ? "it is a LUN of another gateway, or somebody uses it "
				 "past the gateways"
			       : "another gateway serves the volume; delete it there");
	else if (result == -ENOTEMPTY)
		result = err_set(&job->err, -EBUSY, "image %s has snapshots", volume->volume.name);
	else
		failed(&job->err, result, volume->volume.name);
	/* Back as it was; when that fails too, it is standby until a restart. */
	if (ceph.rbd_open(job->pool->ioctx, volume->volume.name, &volume->image, NULL) < 0) {
		volume->image = NULL;
		return result;
	}
	ceph.rbd_update_watch(volume->image, &volume->watch, image_changed, volume);
	rbd_gate_settle(volume);
	return result;
}

struct first {
	uint64_t offset;
	bool found;
};

static int note_first(uint64_t offset, size_t length, int exists, void *context)
{
	struct first *first = context;

	(void)length;
	if (!exists)
		return 0;
	*first = (struct first){offset, true};
	return -ECANCELED;
}

/* What was accepted while the volume was larger is done before its end is looked at. */
static void wait_behind(struct rbd_volume *volume, uint64_t end)
{
	const struct timespec moment = {.tv_nsec = 1000000};

	while (!rbd_io_clear(volume, end))
		nanosleep(&moment, NULL);
	ceph.rbd_flush(volume->image);
}

/* librbd calls it while it cuts objects off, and does not ask whether there is one. */
static int no_progress(uint64_t done, uint64_t all, void *context)
{
	(void)done, (void)all, (void)context;
	return 0;
}

int rbd_image_resize(struct rbd_job *job)
{
	struct rbd_volume *volume = job->volume;
	struct first first = {0};
	uint64_t size;
	int result = volume->image ? ceph.rbd_get_size(volume->image, &size) : -ENXIO;

	if (result == 0 && job->size < size) {
		if (!job->shrink)
			return err_set(&job->err, -EINVAL,
				       "volume %s would become smaller, which has to be asked for",
				       volume->volume.name);
		wait_behind(volume, job->size);
		/* Whole objects behind the new end; the rest of the one it is in, too. */
		result = ceph.rbd_diff_iterate2(volume->image, NULL, job->size, size - job->size, 1,
						0, note_first, &first);
		if (first.found)
			return err_set(&job->err, -EBUSY,
				       "volume %s holds data behind its new end, at byte %llu: "
				       "discard it first",
				       volume->volume.name, (unsigned long long)first.offset);
	}
	if (result == 0)
		result = ceph.rbd_resize2(volume->image, job->size, job->shrink, no_progress, NULL);
	return result < 0 ? failed(&job->err, rbd_errno(job->pool, result), volume->volume.name)
			  : 0;
}

int rbd_image_rename(struct rbd_job *job)
{
	struct rbd_volume *volume = job->volume;
	int result;

	if (!job->pool->ioctx)
		return shut_out(job);
	result = ceph.rbd_rename(job->pool->ioctx, volume->volume.name, job->name);

	if (result == -EEXIST)
		return err_set(&job->err, result, "Ceph pool %s has an image named %s already",
			       job->pool->address.ceph_pool, job->name);
	return result < 0 ? failed(&job->err, result, volume->volume.name) : 0;
}

static int add_length(uint64_t offset, size_t length, int exists, void *context)
{
	(void)offset;
	if (exists)
		*(uint64_t *)context += length;
	return 0;
}

/* In steps, so that the pool can be closed meanwhile. */
int rbd_image_used(struct rbd_job *job)
{
	uint64_t size = volume_size(&job->volume->volume);
	uint64_t step = COUNT_STEP * job->volume->object_bytes;
	int result = job->volume->image ? 0 : -ENXIO;

	job->size = 0;
	for (uint64_t at = 0; result == 0 && at < size; at += step) {
		if (__atomic_load_n(&job->pool->hurry, __ATOMIC_RELAXED))
			return -ECANCELED;
		result = ceph.rbd_diff_iterate2(job->volume->image, NULL, at,
						size - at < step ? size - at : step, 0, 1,
						add_length, &job->size);
	}
	return result;
}

struct extents {
	struct volume_extent *list;
	unsigned count, max;
	uint64_t at, end;
};

static bool add_extent(struct extents *extents, uint64_t end, bool mapped)
{
	struct volume_extent *last = extents->count ? &extents->list[extents->count - 1] : NULL;

	if (end <= extents->at)
		return true;
	if (last && last->mapped == mapped) {
		last->length += end - extents->at;
	} else if (extents->count == extents->max) {
		return false;
	} else {
		extents->list[extents->count++] =
		    (struct volume_extent){extents->at, end - extents->at, mapped};
	}
	extents->at = end;
	return true;
}

static int note_extent(uint64_t offset, size_t length, int exists, void *context)
{
	struct extents *extents = context;
	uint64_t end = offset + length < extents->end ? offset + length : extents->end;

	if (!exists)
		return 0;
	if (offset > extents->at && !add_extent(extents, offset, false))
		return -ECANCELED;
	return add_extent(extents, end, true) ? 0 : -ECANCELED;
}

int rbd_image_extents(struct rbd_volume *volume, uint64_t offset, uint64_t length,
		      struct volume_extent *extents, unsigned max, unsigned *ret_count)
{
	struct extents found = {.list = extents, .max = max, .at = offset, .end = offset + length};
	int result =
	    ceph.rbd_diff_iterate2(volume->image, NULL, offset, length, 1, 1, note_extent, &found);

	if (result < 0 && result != -ECANCELED)
		return result;
	if (result == 0)
		add_extent(&found, found.end, false);
	*ret_count = found.count;
	return 0;
}
