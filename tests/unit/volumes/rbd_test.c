/* SPDX-License-Identifier: Apache-2.0 */
/* RBD pools on a Ceph cluster that is made up here: librbd and librados as far as they are called,
 * each of which can be made to wait or to fail at a moment of the test's choosing. What a real
 * cluster does when is in tests/integration/rbd_*; this is about what it only does sometimes.
 *
 * granary-test: timeout=300 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/world.h"
#include "volumes/rbd.h"

#define ADDRESS "rbd:/nowhere/ceph.conf?pool=p&gateway=me"
#define IMAGES  8
#define KEYS    32
#define MIB     (1ull << 20)
#define LIMIT_S 90
#define SELF    "127.0.0.1:0/1"
#define OTHER   "192.0.2.9:0/7"

/* ---- the cluster ---- */

struct fake_image {
	char name[128], id[16], uuid[40], made_for[16];
	uint64_t size;
	unsigned handles, opens; /* now; ever */
	int open_error;
	bool exists, locked_by_other, data_at_end;
	struct fake_handle *owner;
};

struct fake_handle {
	struct fake_image *image;
	rbd_update_callback_t changed;
	void *context;
};

struct fake_completion {
	void *context;
	rbd_callback_t done;
	struct fake_image *wrote;
};

struct fake_read {
	char keys[KEYS][64], values[KEYS][64];
	unsigned count, at;
};

/* A place where whoever comes by waits until the test lets him on. */
struct gate {
	bool shut, reached;
};

static struct {
	pthread_mutex_t lock;
	pthread_cond_t change;
	struct fake_image images[IMAGES];
	char keys[KEYS][64], values[KEYS][64];
	unsigned alive_writes, nulls, page;
	int connect_result, omap_result, remove_result, aio_result;
	unsigned looks, owners_ms; /* how long who has a lock takes to find out */
	bool other_watches;
	struct gate open, close;
	char open_gated[128]; /* the gate is before the opening of this image only */
	bool hold_writes;
	struct fake_completion *held;
} fake = {.lock = PTHREAD_MUTEX_INITIALIZER, .change = PTHREAD_COND_INITIALIZER};

static void pass(struct gate *gate)
{
	pthread_mutex_lock(&fake.lock);
	while (gate->shut) {
		gate->reached = true;
		pthread_cond_wait(&fake.change, &fake.lock);
	}
	pthread_mutex_unlock(&fake.lock);
}

static void set_gate(struct gate *gate, bool shut)
{
	pthread_mutex_lock(&fake.lock);
	gate->shut = shut;
	gate->reached = false;
	pthread_cond_broadcast(&fake.change);
	pthread_mutex_unlock(&fake.lock);
}

static bool at_gate(struct gate *gate)
{
	bool reached;

	pthread_mutex_lock(&fake.lock);
	reached = gate->reached;
	pthread_mutex_unlock(&fake.lock);
	return reached;
}

static struct fake_image *image_of(const char *name)
{
	for (unsigned i = 0; i < IMAGES; i++)
		if (fake.images[i].exists && strcmp(fake.images[i].name, name) == 0)
			return &fake.images[i];
	return NULL;
}

/* @uuid: NULL for somebody else's image. */
static struct fake_image *add_image(const char *name, uint64_t size, const char *uuid)
{
	static unsigned ids;

	for (unsigned i = 0; i < IMAGES; i++) {
		struct fake_image *image = &fake.images[i];

		if (image->exists)
			continue;
		*image = (struct fake_image){.size = size, .exists = true};
		snprintf(image->name, sizeof image->name, "%s", name);
		snprintf(image->id, sizeof image->id, "%u", ++ids);
		snprintf(image->uuid, sizeof image->uuid, "%s", uuid ? uuid : "");
		return image;
	}
	return NULL;
}

static char *value_of(const char *key, bool make)
{
	unsigned unused = KEYS;

	for (unsigned i = 0; i < KEYS; i++) {
		if (strcmp(fake.keys[i], key) == 0)
			return fake.values[i];
		if (!fake.keys[i][0] && unused == KEYS)
			unused = i;
	}
	if (!make || unused == KEYS)
		return NULL;
	snprintf(fake.keys[unused], sizeof fake.keys[unused], "%s", key);
	return fake.values[unused];
}

static bool has_key(const char *key)
{
	bool has;

	pthread_mutex_lock(&fake.lock);
	has = value_of(key, false) != NULL;
	pthread_mutex_unlock(&fake.lock);
	return has;
}

/* ---- librados ---- */

static int fake_create2(rados_t *cluster, const char *const name, const char *const user,
			uint64_t flags)
{
	(void)name, (void)user, (void)flags;
	*cluster = &fake;
	return 0;
}

static int fake_conf_read_file(rados_t cluster, const char *path)
{
	(void)cluster, (void)path;
	return 0;
}

static int fake_conf_set(rados_t cluster, const char *option, const char *value)
{
	(void)cluster, (void)option, (void)value;
	return 0;
}

static int fake_getaddrs(rados_t cluster, char **addresses)
{
	(void)cluster;
	*addresses = strdup(SELF);
	return 0;
}

static int fake_connect(rados_t cluster)
{
	(void)cluster;
	return __atomic_load_n(&fake.connect_result, __ATOMIC_RELAXED);
}

static void fake_shutdown(rados_t cluster)
{
	(void)cluster;
}

static int fake_ioctx_create(rados_t cluster, const char *pool, rados_ioctx_t *ioctx)
{
	(void)cluster, (void)pool;
	*ioctx = &fake.images;
	return 0;
}

static void fake_ioctx_destroy(rados_ioctx_t ioctx)
{
	(void)ioctx;
}

static void fake_set_namespace(rados_ioctx_t ioctx, const char *space)
{
	(void)ioctx, (void)space;
}

static void fake_set_full_try(rados_ioctx_t ioctx)
{
	(void)ioctx;
}

static int fake_mon_command(rados_t cluster, const char **command, size_t count, const char *input,
			    size_t input_length, char **output, size_t *output_length,
			    char **status, size_t *status_length)
{
	(void)cluster, (void)command, (void)count, (void)input, (void)input_length, (void)output;
	(void)output_length, (void)status, (void)status_length;
	return -ENOENT;
}

static void fake_buffer_free(char *buffer)
{
	free(buffer);
}

static rados_write_op_t fake_create_write_op(void)
{
	return &fake;
}

static void fake_release_write_op(rados_write_op_t op)
{
	(void)op;
}

static void fake_rm_keys2(rados_write_op_t op, char const *const *keys, const size_t *lengths,
			  size_t count)
{
	(void)op, (void)lengths;
	pthread_mutex_lock(&fake.lock);
	for (unsigned i = 0; i < KEYS; i++)
		if (count == 1 && strcmp(fake.keys[i], keys[0]) == 0)
			fake.keys[i][0] = '\0';
	pthread_mutex_unlock(&fake.lock);
}

static void fake_set2(rados_write_op_t op, char const *const *keys, char const *const *values,
		      const size_t *key_lengths, const size_t *lengths, size_t count)
{
	(void)op, (void)key_lengths;
	pthread_mutex_lock(&fake.lock);
	for (size_t i = 0; i < count; i++) {
		char *value = value_of(keys[i], true);

		if (value)
			snprintf(value, 64, "%.*s", (int)lengths[i], values[i]);
		if (strcmp(keys[i], "alive.me") == 0)
			__atomic_add_fetch(&fake.alive_writes, 1, __ATOMIC_RELAXED);
	}
	pthread_mutex_unlock(&fake.lock);
}

/* What librados does with a pool that is none. */
static int used(rados_ioctx_t ioctx)
{
	if (!ioctx)
		__atomic_fetch_add(&fake.nulls, 1, __ATOMIC_RELAXED);
	return ioctx ? __atomic_load_n(&fake.omap_result, __ATOMIC_RELAXED) : -EBADF;
}

static int fake_write_operate(rados_write_op_t op, rados_ioctx_t ioctx, const char *object,
			      time_t *time, int flags)
{
	(void)op, (void)object, (void)time, (void)flags;
	return used(ioctx);
}

static rados_read_op_t fake_create_read_op(void)
{
	return &fake;
}

static void fake_release_read_op(rados_read_op_t op)
{
	(void)op;
}

static void copy_key(struct fake_read *read, unsigned which)
{
	memcpy(read->keys[read->count], fake.keys[which], sizeof fake.keys[which]);
	memcpy(read->values[read->count], fake.values[which], sizeof fake.values[which]);
	read->count++;
}

static void fake_by_keys2(rados_read_op_t op, char const *const *keys, size_t count,
			  const size_t *lengths, rados_omap_iter_t *values, int *result)
{
	struct fake_read *read = calloc(1, sizeof *read);

	(void)op, (void)lengths;
	*values = read;
	*result = 0;
	pthread_mutex_lock(&fake.lock);
	for (unsigned i = 0; i < KEYS; i++)
		for (size_t j = 0; j < count; j++)
			if (fake.keys[i][0] && strcmp(fake.keys[i], keys[j]) == 0)
				copy_key(read, i);
	pthread_mutex_unlock(&fake.lock);
}

/* fake.page at a time, in the order of the keys, as the cluster does it. */
static void fake_vals2(rados_read_op_t op, const char *after, const char *prefix, uint64_t most,
		       rados_omap_iter_t *values, unsigned char *more, int *result)
{
	struct fake_read *read = calloc(1, sizeof *read);
	char last[64];

	(void)op, (void)prefix, (void)most;
	*values = read;
	*result = 0;
	*more = 0;
	if (!after[0])
		__atomic_fetch_add(&fake.looks, 1, __ATOMIC_RELAXED);
	snprintf(last, sizeof last, "%s", after);
	pthread_mutex_lock(&fake.lock);
	for (;;) {
		unsigned next = KEYS;

		for (unsigned i = 0; i < KEYS; i++)
			if (fake.keys[i][0] && strcmp(fake.keys[i], last) > 0 &&
			    (next == KEYS || strcmp(fake.keys[i], fake.keys[next]) < 0))
				next = i;
		if (next == KEYS)
			break;
		if (read->count == fake.page) {
			*more = 1;
			break;
		}
		copy_key(read, next);
		snprintf(last, sizeof last, "%s", fake.keys[next]);
	}
	pthread_mutex_unlock(&fake.lock);
}

static int fake_read_operate(rados_read_op_t op, rados_ioctx_t ioctx, const char *object, int flags)
{
	(void)op, (void)object, (void)flags;
	return used(ioctx);
}

static int fake_get_next2(rados_omap_iter_t values, char **key, char **value, size_t *key_length,
			  size_t *length)
{
	struct fake_read *read = values;

	*key = NULL;
	if (read->at == read->count)
		return 0;
	*key = read->keys[read->at];
	*value = read->values[read->at++];
	*key_length = strlen(*key);
	*length = strlen(*value);
	return 0;
}

static void fake_get_end(rados_omap_iter_t values)
{
	free(values);
}

/* ---- librbd ---- */

static void fake_options_create(rbd_image_options_t *options)
{
	*options = &fake;
}

static void fake_options_destroy(rbd_image_options_t options)
{
	(void)options;
}

static int fake_options_set(rbd_image_options_t options, int name, uint64_t value)
{
	(void)options, (void)name, (void)value;
	return 0;
}

static int fake_list2(rados_ioctx_t ioctx, rbd_image_spec_t *images, size_t *count)
{
	size_t found = 0;

	if (used(ioctx) == -EBADF)
		return -EBADF;
	pthread_mutex_lock(&fake.lock);
	for (unsigned i = 0; i < IMAGES && found < *count; i++) {
		if (!fake.images[i].exists)
			continue;
		images[found].name = strdup(fake.images[i].name);
		images[found++].id = strdup(fake.images[i].id);
	}
	pthread_mutex_unlock(&fake.lock);
	*count = found;
	return 0;
}

static void fake_list_cleanup(rbd_image_spec_t *images, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		free(images[i].name);
		free(images[i].id);
	}
}

static int fake_rbd_create4(rados_ioctx_t ioctx, const char *name, uint64_t size,
			    rbd_image_options_t options)
{
	int result = 0;

	(void)options;
	if (used(ioctx) == -EBADF)
		return -EBADF;
	pthread_mutex_lock(&fake.lock);
	if (image_of(name))
		result = -EEXIST;
	else if (!add_image(name, size, NULL))
		result = -ENOSPC;
	pthread_mutex_unlock(&fake.lock);
	return result;
}

static int fake_rbd_remove(rados_ioctx_t ioctx, const char *name)
{
	struct fake_image *image;
	int result;

	(void)used(ioctx);
	pthread_mutex_lock(&fake.lock);
	image = image_of(name);
	result = fake.remove_result ? fake.remove_result : image ? 0 : -ENOENT;
	if (result == 0)
		image->exists = false;
	pthread_mutex_unlock(&fake.lock);
	return result;
}

static int fake_rbd_rename(rados_ioctx_t ioctx, const char *from, const char *to)
{
	struct fake_image *image;

	(void)used(ioctx);
	pthread_mutex_lock(&fake.lock);
	image = image_of(to) ? NULL : image_of(from);
	if (image)
		snprintf(image->name, sizeof image->name, "%s", to);
	pthread_mutex_unlock(&fake.lock);
	return image ? 0 : -EEXIST;
}

static int fake_rbd_open(rados_ioctx_t ioctx, const char *name, rbd_image_t *ret_image,
			 const char *snapshot)
{
	struct fake_handle *handle = calloc(1, sizeof *handle);
	struct fake_image *image;
	bool gated;
	int result;

	(void)snapshot;
	pthread_mutex_lock(&fake.lock);
	image = image_of(name);
	result = used(ioctx) == -EBADF ? -EBADF : image ? image->open_error : -ENOENT;
	if (image)
		__atomic_add_fetch(&image->opens, 1, __ATOMIC_RELAXED);
	if (result == 0)
		__atomic_add_fetch(&image->handles, 1, __ATOMIC_RELAXED);
	gated = strcmp(fake.open_gated, name) == 0;
	if (gated)
		fake.open_gated[0] = '\0';
	pthread_mutex_unlock(&fake.lock);
	if (gated)
		pass(&fake.open);
	if (result < 0) {
		free(handle);
		return result;
	}
	handle->image = image;
	*ret_image = handle;
	return 0;
}

static int fake_rbd_close(rbd_image_t image)
{
	struct fake_handle *handle = image;

	pass(&fake.close);
	pthread_mutex_lock(&fake.lock);
	__atomic_sub_fetch(&handle->image->handles, 1, __ATOMIC_RELAXED);
	if (handle->image->owner == handle)
		handle->image->owner = NULL;
	pthread_mutex_unlock(&fake.lock);
	free(handle);
	return 0;
}

static int fake_resize2(rbd_image_t image, uint64_t size, bool shrink,
			librbd_progress_fn_t progress, void *context)
{
	struct fake_handle *handle = image;

	(void)shrink;
	pthread_mutex_lock(&fake.lock);
	handle->image->size = size;
	pthread_mutex_unlock(&fake.lock);
	return progress(1, 1, context); /* as librbd does, which does not look whether it is NULL */
}

static int fake_get_size(rbd_image_t image, uint64_t *size)
{
	struct fake_handle *handle = image;

	pthread_mutex_lock(&fake.lock);
	*size = handle->image->size;
	pthread_mutex_unlock(&fake.lock);
	return 0;
}

static int fake_stat(rbd_image_t image, rbd_image_info_t *info, size_t size)
{
	memset(info, 0, size);
	info->obj_size = 4 * MIB;
	return fake_get_size(image, &info->size);
}

/* No volume has a note. */
static int fake_remove_object(rados_ioctx_t ioctx, const char *object)
{
	(void)ioctx, (void)object;
	return -ENOENT;
}

static int fake_metadata_get(rbd_image_t image, const char *key, char *value, size_t *length)
{
	struct fake_handle *handle = image;

	const char *text = strcmp(key, "granary.uuid") == 0    ? handle->image->uuid
			   : strcmp(key, "granary.image") == 0 ? handle->image->made_for
							       : "";

	if (!text[0])
		return -ENOENT;
	snprintf(value, *length, "%s", text);
	return 0;
}

/* Images without snapshots. */
static int fake_snap_list(rbd_image_t image, rbd_snap_info_t *snaps, int *room)
{
	(void)image, (void)snaps, (void)room;
	return 0;
}

static int fake_get_id(rbd_image_t image, char *id, size_t size)
{
	struct fake_handle *handle = image;

	snprintf(id, size, "%s", handle->image->id);
	return 0;
}

static int fake_metadata_set(rbd_image_t image, const char *key, const char *value)
{
	struct fake_handle *handle = image;

	if (strcmp(key, "granary.uuid") == 0)
		snprintf(handle->image->uuid, sizeof handle->image->uuid, "%s", value);
	else
		snprintf(handle->image->made_for, sizeof handle->image->made_for, "%s", value);
	return 0;
}

static int fake_get_owners(rbd_image_t image, rbd_lock_mode_t *mode, char **owners, size_t *count)
{
	const struct timespec pause = {
	    .tv_nsec = __atomic_load_n(&fake.owners_ms, __ATOMIC_RELAXED) * 1000000l};
	struct fake_handle *handle = image;
	int result = 0;

	nanosleep(&pause, NULL);
	*mode = RBD_LOCK_MODE_EXCLUSIVE;
	pthread_mutex_lock(&fake.lock);
	if (handle->image->locked_by_other)
		*owners = strdup(OTHER);
	else if (handle->image->owner)
		*owners = strdup(SELF);
	else
		result = -ENOENT;
	pthread_mutex_unlock(&fake.lock);
	*count = 1;
	return result;
}

static void fake_owners_cleanup(char **owners, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(owners[i]);
}

static int fake_watchers(rbd_image_t image, rbd_image_watcher_t *watchers, size_t *count)
{
	(void)image;
	watchers[0].addr = strdup(fake.other_watches ? OTHER : SELF);
	*count = 1;
	return 0;
}

static void fake_watchers_cleanup(rbd_image_watcher_t *watchers, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(watchers[i].addr);
}

static int fake_lock_break(rbd_image_t image, rbd_lock_mode_t mode, const char *owner)
{
	struct fake_handle *handle = image;

	(void)mode, (void)owner;
	pthread_mutex_lock(&fake.lock);
	handle->image->locked_by_other = false;
	pthread_mutex_unlock(&fake.lock);
	return 0;
}

static int fake_acquire(rbd_image_t image, rbd_lock_mode_t mode)
{
	struct fake_handle *handle = image;
	int result = -EBUSY;

	(void)mode;
	pthread_mutex_lock(&fake.lock);
	if (!handle->image->locked_by_other && !handle->image->owner) {
		handle->image->owner = handle;
		result = 0;
	}
	pthread_mutex_unlock(&fake.lock);
	return result;
}

static int fake_release(rbd_image_t image)
{
	struct fake_handle *handle = image;

	pthread_mutex_lock(&fake.lock);
	handle->image->owner = NULL;
	pthread_mutex_unlock(&fake.lock);
	return 0;
}

static int fake_is_owner(rbd_image_t image, int *is_owner)
{
	struct fake_handle *handle = image;

	pthread_mutex_lock(&fake.lock);
	*is_owner = handle->image->owner == handle;
	pthread_mutex_unlock(&fake.lock);
	return 0;
}

static int fake_diff(rbd_image_t image, const char *from, uint64_t offset, uint64_t length,
		     uint8_t parent, uint8_t whole, int (*found)(uint64_t, size_t, int, void *),
		     void *context)
{
	struct fake_handle *handle = image;
	bool data;

	(void)from, (void)parent, (void)whole;
	pthread_mutex_lock(&fake.lock);
	data = handle->image->data_at_end && offset + length == handle->image->size;
	pthread_mutex_unlock(&fake.lock);
	return data ? found(offset + length - 4096, 4096, 1, context) : 0;
}

static int fake_watch(rbd_image_t image, uint64_t *watch, rbd_update_callback_t changed,
		      void *context)
{
	struct fake_handle *handle = image;

	handle->changed = changed;
	handle->context = context;
	*watch = 1;
	return 0;
}

static int fake_unwatch(rbd_image_t image, uint64_t watch)
{
	(void)image, (void)watch;
	return 0;
}

static int fake_flush(rbd_image_t image)
{
	(void)image;
	return 0;
}

static int fake_completion(void *context, rbd_callback_t done, rbd_completion_t *ret_completion)
{
	struct fake_completion *completion = calloc(1, sizeof *completion);

	completion->context = context;
	completion->done = done;
	*ret_completion = completion;
	return 0;
}

static ssize_t fake_return_value(rbd_completion_t completion)
{
	(void)completion;
	return fake.aio_result;
}

static void fake_completion_release(rbd_completion_t completion)
{
	free(completion);
}

static int complete(rbd_completion_t which)
{
	struct fake_completion *completion = which;

	completion->done(completion, completion->context);
	return 0;
}

static int fake_aio_read(rbd_image_t image, uint64_t offset, size_t length, char *data,
			 rbd_completion_t completion)
{
	(void)image, (void)offset;
	memset(data, 0, length);
	return complete(completion);
}

static int fake_aio_write(rbd_image_t image, uint64_t offset, size_t length, const char *data,
			  rbd_completion_t which)
{
	struct fake_completion *completion = which;
	struct fake_handle *handle = image;

	(void)offset, (void)length, (void)data;
	if (!fake.hold_writes)
		return complete(completion);
	completion->wrote = handle->image;
	fake.held = completion;
	return 0;
}

static void finish_held_write(void)
{
	struct fake_completion *completion = fake.held;

	fake.held = NULL;
	pthread_mutex_lock(&fake.lock);
	completion->wrote->data_at_end = true;
	pthread_mutex_unlock(&fake.lock);
	complete(completion);
}

static int fake_aio_flush(rbd_image_t image, rbd_completion_t completion)
{
	(void)image;
	return complete(completion);
}

static int fake_write_zeroes(rbd_image_t image, uint64_t offset, size_t length,
			     rbd_completion_t completion, int zero_flags, int flags)
{
	(void)image, (void)offset, (void)length, (void)zero_flags, (void)flags;
	return complete(completion);
}

/* In the place of rbd_api.c's. */
struct ceph_functions ceph = {
    .rados_create2 = fake_create2,
    .rados_conf_read_file = fake_conf_read_file,
    .rados_conf_set = fake_conf_set,
    .rados_getaddrs = fake_getaddrs,
    .rados_connect = fake_connect,
    .rados_shutdown = fake_shutdown,
    .rados_ioctx_create = fake_ioctx_create,
    .rados_ioctx_destroy = fake_ioctx_destroy,
    .rados_ioctx_set_namespace = fake_set_namespace,
    .rados_set_pool_full_try = fake_set_full_try,
    .rados_mon_command = fake_mon_command,
    .rados_buffer_free = fake_buffer_free,
    .rados_create_write_op = fake_create_write_op,
    .rados_release_write_op = fake_release_write_op,
    .rados_write_op_omap_rm_keys2 = fake_rm_keys2,
    .rados_write_op_omap_set2 = fake_set2,
    .rados_write_op_operate = fake_write_operate,
    .rados_create_read_op = fake_create_read_op,
    .rados_release_read_op = fake_release_read_op,
    .rados_read_op_omap_get_vals_by_keys2 = fake_by_keys2,
    .rados_read_op_omap_get_vals2 = fake_vals2,
    .rados_read_op_operate = fake_read_operate,
    .rados_omap_get_next2 = fake_get_next2,
    .rados_omap_get_end = fake_get_end,
    .rbd_image_options_create = fake_options_create,
    .rbd_image_options_destroy = fake_options_destroy,
    .rbd_image_options_set_uint64 = fake_options_set,
    .rbd_list2 = fake_list2,
    .rbd_image_spec_list_cleanup = fake_list_cleanup,
    .rbd_create4 = fake_rbd_create4,
    .rbd_remove = fake_rbd_remove,
    .rbd_rename = fake_rbd_rename,
    .rbd_open = fake_rbd_open,
    .rbd_close = fake_rbd_close,
    .rbd_resize2 = fake_resize2,
    .rbd_stat = fake_stat,
    .rbd_get_size = fake_get_size,
    .rbd_get_id = fake_get_id,
    .rbd_snap_list = fake_snap_list,
    .rados_remove = fake_remove_object,
    .rbd_metadata_get = fake_metadata_get,
    .rbd_metadata_set = fake_metadata_set,
    .rbd_lock_get_owners = fake_get_owners,
    .rbd_lock_get_owners_cleanup = fake_owners_cleanup,
    .rbd_watchers_list = fake_watchers,
    .rbd_watchers_list_cleanup = fake_watchers_cleanup,
    .rbd_lock_break = fake_lock_break,
    .rbd_lock_acquire = fake_acquire,
    .rbd_lock_release = fake_release,
    .rbd_is_exclusive_lock_owner = fake_is_owner,
    .rbd_diff_iterate2 = fake_diff,
    .rbd_update_watch = fake_watch,
    .rbd_update_unwatch = fake_unwatch,
    .rbd_flush = fake_flush,
    .rbd_aio_create_completion = fake_completion,
    .rbd_aio_get_return_value = fake_return_value,
    .rbd_aio_release = fake_completion_release,
    .rbd_aio_read = fake_aio_read,
    .rbd_aio_write = fake_aio_write,
    .rbd_aio_flush = fake_aio_flush,
    .rbd_aio_write_zeroes = fake_write_zeroes,
};

int ceph_load(struct err *err)
{
	(void)err;
	return 0;
}

/* ---- the pool under test ---- */

static struct loop *loop;
static struct rbd_pool *pool;

struct asked {
	struct pool_call call;
	bool done;
	int result;
};

static void answered(struct pool_call *call, int result)
{
	struct asked *asked = container_of(call, struct asked, call);

	asked->done = true;
	asked->result = result;
}

static void ask(struct asked *asked)
{
	*asked = (struct asked){.call = {.done = answered}};
}

static uint64_t seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec;
}

/* Rounds of the loop until @what; false when it does not come. */
#define UNTIL(what)                                                                                \
	do {                                                                                       \
		uint64_t limit_ = seconds() + LIMIT_S;                                             \
		while (!(what) && seconds() < limit_)                                              \
			loop_poll(loop, 5000000);                                                  \
		assert_true(what);                                                                 \
	} while (0)

static void rounds(unsigned milliseconds)
{
	for (unsigned i = 0; i < milliseconds; i += 5) {
		const struct timespec pause = {.tv_nsec = 5000000};

		loop_poll(loop, 0);
		nanosleep(&pause, NULL);
	}
}

static void open_pool(void)
{
	const char *path = ADDRESS;
	struct asked asked;

	ask(&asked);
	pool_open(&world_aio, loop, &path, 1, &asked.call);
	UNTIL(asked.done);
	assert_int_equal(asked.result, 0);
	pool = (struct rbd_pool *)asked.call.pool;
}

static void close_pool(void)
{
	struct asked asked;

	ask(&asked);
	pool_close(&pool->pool, &asked.call);
	UNTIL(asked.done);
	assert_int_equal(asked.result, 0);
	pool = NULL;
}

static unsigned count_volumes(void)
{
	struct volume *volume = NULL;
	unsigned count = 0;

	while ((volume = pool_volume_next(&pool->pool, volume)))
		count++;
	return count;
}

/* The next tick looks for volumes of others, too. */
static void scan_soon(void)
{
	pool->ticks = RBD_SCAN_TICKS - 1;
}

#define UUID "0123456789abcdef0123456789abcde"

static int setup(void **state)
{
	(void)state;
	memset(fake.images, 0, sizeof fake.images);
	memset(fake.keys, 0, sizeof fake.keys);
	fake.alive_writes = fake.nulls = 0;
	fake.page = KEYS;
	fake.connect_result = fake.omap_result = fake.remove_result = fake.aio_result = 0;
	fake.looks = fake.owners_ms = 0;
	fake.other_watches = false;
	fake.open_gated[0] = '\0';
	fake.hold_writes = false;
	snprintf(value_of("name", true), 64, "far");
	snprintf(value_of("uuid", true), 64, UUID "0");
	add_image("v", 64 * MIB, UUID "1");
	return loop_create(&world_aio, &loop, NULL);
}

static int teardown(void **state)
{
	(void)state;
	loop_destroy(loop);
	return 0;
}

/* ---- the tests ---- */

static void addresses(void **state)
{
	char path[128] = "rbd:/c?pool=p&gateway=";
	struct rbd_address address;
	size_t length = strlen(path);

	(void)state;
	memset(path + length, 'g', RBD_GATEWAY_MAX - 1);
	assert_int_equal(rbd_address_parse(path, &address, NULL), 0);
	assert_int_equal(strlen(address.gateway), RBD_GATEWAY_MAX - 1);
	path[length + RBD_GATEWAY_MAX - 1] = 'g';
	assert_int_equal(rbd_address_parse(path, &address, NULL), -EINVAL);
}

/* A close that takes longer than calls may is answered when it is over: what it is about is in use
 * until then. */
static void a_long_close(void **state)
{
	struct asked asked;

	(void)state;
	open_pool();
	set_gate(&fake.close, true);
	ask(&asked);
	pool_close(&pool->pool, &asked.call);
	UNTIL(at_gate(&fake.close));
	pool->closing->limit_ns = 0;
	rounds(1500); /* one tick at least */
	assert_false(asked.done);
	set_gate(&fake.close, false);
	UNTIL(asked.done);
	assert_int_equal(asked.result, 0);
}

/* librbd says something about an image that is being closed. */
static void a_change_while_it_closes(void **state)
{
	struct rbd_volume *volume;
	struct asked asked;

	(void)state;
	open_pool();
	volume = rbd_volume_of(pool, "v");
	set_gate(&fake.close, true);
	ask(&asked);
	pool_close(&pool->pool, &asked.call);
	UNTIL(at_gate(&fake.close));
	((struct fake_handle *)volume->image)->changed(volume);
	rounds(50);
	assert_ptr_equal(pool->jobs.next, &pool->closing->link);
	assert_ptr_equal(pool->jobs.prev, &pool->closing->link);
	set_gate(&fake.close, false);
	UNTIL(asked.done);
}

/* Shut out while the cluster is away; a close that is refused ends the attempt to join again, which
 * has to be made once more before the cluster is asked for anything. */
static void joining_again_fails(void **state)
{
	struct volume *volume;
	struct asked asked;

	(void)state;
	open_pool();
	volume = pool_find_volume(&pool->pool, "v");
	__atomic_store_n(&fake.connect_result, -ETIMEDOUT, __ATOMIC_RELAXED);
	__atomic_store_n(&fake.omap_result, -ESHUTDOWN, __ATOMIC_RELAXED);
	UNTIL(pool->rejoining);
	__atomic_store_n(&fake.omap_result, 0, __ATOMIC_RELAXED);
	ask(&asked);
	volume_take(volume, &asked.call);
	UNTIL(asked.done);
	assert_int_equal(asked.result, -EAGAIN);
	rounds(1500); /* until it is tried */
	ask(&asked);
	pool_close(&pool->pool, &asked.call);
	UNTIL(asked.done);
	assert_int_equal(asked.result, -EBUSY);
	rounds(2500);
	assert_int_equal(fake.nulls, 0);
	__atomic_store_n(&fake.connect_result, 0, __ATOMIC_RELAXED);
	UNTIL(!pool->rejoining && !volume_standby(volume));
	volume_unref(volume);
	close_pool();
}

/* Opening images of others takes its time, and is done once; meanwhile this gateway says that it
 * lives. One that can not be opened is no reason to do without the pool. */
static void images_of_others(void **state)
{
	struct fake_image *foreign, *broken = add_image("broken", MIB, NULL);
	unsigned alive, opens;

	(void)state;
	broken->open_error = -EIO;
	open_pool();
	assert_int_equal(count_volumes(), 1);
	pthread_mutex_lock(&fake.lock);
	foreign = add_image("foreign", MIB, NULL);
	snprintf(fake.open_gated, sizeof fake.open_gated, "foreign");
	pthread_mutex_unlock(&fake.lock);
	set_gate(&fake.open, true);
	scan_soon();
	UNTIL(at_gate(&fake.open));
	alive = __atomic_load_n(&fake.alive_writes, __ATOMIC_RELAXED);
	UNTIL(__atomic_load_n(&fake.alive_writes, __ATOMIC_RELAXED) >= alive + 2);
	set_gate(&fake.open, false);
	UNTIL(!pool->scanning);
	opens = __atomic_load_n(&broken->opens, __ATOMIC_RELAXED);
	scan_soon();
	UNTIL(__atomic_load_n(&broken->opens, __ATOMIC_RELAXED) > opens);
	UNTIL(!pool->scanning);
	assert_int_equal(__atomic_load_n(&foreign->opens, __ATOMIC_RELAXED), 1);
	assert_int_equal(count_volumes(), 1);
	close_pool();
}

/* A scan comes upon a new image before its making has been heard of. */
static void made_and_found(void **state)
{
	struct volume_spec spec = {.name = "n", .size_bytes = 64 * MIB};
	struct asked asked;

	(void)state;
	open_pool();
	pthread_mutex_lock(&fake.lock);
	snprintf(fake.open_gated, sizeof fake.open_gated, "n");
	pthread_mutex_unlock(&fake.lock);
	set_gate(&fake.open, true);
	ask(&asked);
	volume_create(&pool->pool, &spec, &asked.call);
	UNTIL(at_gate(&fake.open));
	scan_soon();
	UNTIL(rbd_volume_of(pool, "n"));
	set_gate(&fake.open, false);
	UNTIL(asked.done);
	assert_int_equal(asked.result, 0);
	assert_int_equal(count_volumes(), 2);
	assert_int_equal(pool->volume_count, 2);
	assert_string_equal(asked.call.volume->name, "n");
	UNTIL(__atomic_load_n(&image_of("n")->handles, __ATOMIC_RELAXED) == 1);
	volume_unref(asked.call.volume);
	close_pool();
}

/* Another gateway renames a volume: it is the same one. */
static void renamed_elsewhere(void **state)
{
	(void)state;
	open_pool();
	fake_rbd_rename(&fake, "v", "w");
	scan_soon();
	UNTIL(rbd_volume_of(pool, "w"));
	assert_int_equal(count_volumes(), 1);
	assert_null(rbd_volume_of(pool, "v"));
	UNTIL(__atomic_load_n(&image_of("w")->handles, __ATOMIC_RELAXED) == 1);
	close_pool();
}

/* "rbd cp" of a volume's image, metadata and all: nobody's volume, and the volume keeps its name.
 */
static void copied(void **state)
{
	struct fake_image *copy, *image;
	struct asked asked;
	unsigned opens;

	(void)state;
	open_pool();
	ask(&asked);
	volume_create(&pool->pool, &(struct volume_spec){.name = "n", .size_bytes = 64 * MIB},
		      &asked.call);
	UNTIL(asked.done);
	assert_int_equal(asked.result, 0);
	image = image_of("n");
	assert_string_equal(image->made_for, image->id);
	pthread_mutex_lock(&fake.lock);
	copy = add_image("a-copy", image->size, image->uuid);
	snprintf(copy->made_for, sizeof copy->made_for, "%s", image->id);
	pthread_mutex_unlock(&fake.lock);
	scan_soon();
	UNTIL(__atomic_load_n(&copy->opens, __ATOMIC_RELAXED));
	opens = __atomic_load_n(&copy->opens, __ATOMIC_RELAXED);
	scan_soon();
	UNTIL(!pool->scanning);
	assert_non_null(rbd_volume_of(pool, "n"));
	assert_null(rbd_volume_of(pool, "a-copy"));
	assert_int_equal(__atomic_load_n(&copy->opens, __ATOMIC_RELAXED), opens);
	volume_unref(asked.call.volume);
	close_pool();
}

/* ---- requests ---- */

struct written {
	struct volume_request request;
	struct iovec iov;
	bool done;
	int result;
};

static struct written first, second;
static struct volume *target;
static uint8_t data[4096] __attribute__((aligned(4096)));

static void write_done(struct volume_request *request, int result)
{
	struct written *written = container_of(request, struct written, request);

	written->done = true;
	written->result = result;
}

static void submit(struct written *written)
{
	*written = (struct written){.iov = {data, sizeof data}};
	written->request = (struct volume_request){.op = VOLUME_WRITE,
						   .offset = 64 * MIB - sizeof data,
						   .length = sizeof data,
						   .iov = &written->iov,
						   .iov_count = 1,
						   .done = write_done};
	volume_submit(target, &written->request);
}

static void (*step)(void);
static bool step_done;

static void run_step(struct deferred *deferred)
{
	(void)deferred;
	step();
	step_done = true;
}

static void on_loop(void (*what)(void))
{
	struct deferred deferred;

	step = what;
	step_done = false;
	deferred_init(&deferred, run_step);
	loop_defer(loop, &deferred);
	while (!step_done)
		loop_poll(loop, 0);
}

static struct asked tried;

static void try_out(void)
{
	struct volume_spec spec = {.name = "n", .size_bytes = 64 * MIB};

	volume_create(&pool->pool, &spec, &tried.call);
}

/* Nothing here knows dry runs: it is refused, and not carried out. */
static void no_dry_run(void **state)
{
	(void)state;
	open_pool();
	ask(&tried);
	tried.call.dry = true;
	on_loop(try_out);
	UNTIL(tried.done);
	assert_int_equal(tried.result, -EOPNOTSUPP);
	assert_int_equal(count_volumes(), 1);
	close_pool();
}

static void submit_first(void)
{
	submit(&first);
}

static void submit_second(void)
{
	submit(&second);
}

/* What was written behind the new end while that was moved is not lost: the volume stays as large
 * as it is, or the write is refused. */
static void shrunk_under_a_write(void **state)
{
	struct asked asked;

	(void)state;
	open_pool();
	target = pool_find_volume(&pool->pool, "v");
	fake.hold_writes = true;
	on_loop(submit_first);
	ask(&asked);
	volume_shrink(target, 32 * MIB, &asked.call);
	on_loop(submit_second);
	UNTIL(second.done);
	assert_int_equal(second.result, -EINVAL);
	rounds(200);
	assert_false(asked.done);
	finish_held_write();
	UNTIL(asked.done);
	assert_int_equal(asked.result, -EBUSY);
	assert_true(first.done);
	assert_int_equal(first.result, 0);
	assert_true(first.request.device_to_ns > first.request.device_from_ns);
	assert_true(first.request.device_from_ns > 0); /* the cluster had it, not the engine */
	assert_int_equal(volume_size(target), 64 * MIB);
	assert_int_equal(image_of("v")->size, 64 * MIB);
	image_of("v")->data_at_end = false;
	ask(&asked);
	volume_shrink(target, 32 * MIB, &asked.call);
	UNTIL(asked.done);
	assert_int_equal(asked.result, 0);
	assert_int_equal(volume_size(target), 32 * MIB);
	volume_unref(target);
	close_pool();
}

/* An image that could neither be deleted nor opened again answers, and is not used. */
static void not_deleted(void **state)
{
	struct asked asked;

	(void)state;
	open_pool();
	fake.remove_result = -EBUSY;
	image_of("v")->open_error = -EIO;
	target = pool_find_volume(&pool->pool, "v");
	ask(&asked);
	volume_delete(target, &asked.call);
	UNTIL(asked.done);
	assert_int_equal(asked.result, -EBUSY);
	volume_unref(target); /* the caller's still */
	target = pool_find_volume(&pool->pool, "v");
	assert_non_null(target);
	on_loop(submit_first);
	UNTIL(first.done);
	assert_int_equal(first.result, -EREMOTE);
	volume_unref(target);
	close_pool();
}

/* The reference goes with the volume, and stays when somebody else has one. */
static void deleted(void **state)
{
	struct asked asked;

	(void)state;
	open_pool();
	target = pool_find_volume(&pool->pool, "v");
	ask(&asked);
	volume_delete(volume_ref(target), &asked.call);
	UNTIL(asked.done);
	assert_int_equal(asked.result, -EBUSY);
	volume_unref(target);
	ask(&asked);
	volume_delete(target, &asked.call);
	UNTIL(asked.done);
	assert_int_equal(asked.result, 0);
	assert_null(rbd_volume_of(pool, "v"));
	close_pool();
}

/* Taken over: who wants a volume is told among however many keys, and forgotten when he has it. */
static void taken(void **state)
{
	struct fake_image *image = image_of("v");
	struct rbd_volume *volume;
	struct asked asked;
	char key[64];

	(void)state;
	image->locked_by_other = true;
	fake.page = 2;
	open_pool();
	volume = rbd_volume_of(pool, "v");
	assert_true(volume_standby(&volume->volume));
	snprintf(key, sizeof key, "want.%s", volume->volume.identity.serial);
	ask(&asked);
	volume_take(&volume->volume, &asked.call);
	UNTIL(has_key(key));
	pthread_mutex_lock(&fake.lock);
	image->locked_by_other = false;
	pthread_mutex_unlock(&fake.lock);
	UNTIL(asked.done);
	assert_int_equal(asked.result, 0);
	assert_false(volume_standby(&volume->volume));
	assert_false(has_key(key));
	close_pool();
}

static enum volume_change heard[8];
static unsigned heard_count;

static void hear(struct volume_watcher *watcher, struct volume *volume, enum volume_change change)
{
	(void)watcher, (void)volume;
	if (heard_count < sizeof heard / sizeof *heard)
		heard[heard_count++] = change;
}

/* Another gateway, which lives, asks for the volume, or does so no more. */
static void want(const char *key, bool wanted)
{
	static unsigned alive;

	pthread_mutex_lock(&fake.lock);
	snprintf(value_of("alive.other", true), sizeof fake.values[0], "%u", ++alive);
	for (unsigned i = 0; i < KEYS && !wanted; i++)
		if (strcmp(fake.keys[i], key) == 0)
			fake.keys[i][0] = '\0';
	if (wanted)
		snprintf(value_of(key, true), sizeof fake.values[0], "other");
	pthread_mutex_unlock(&fake.lock);
}

/* Who keeps a volume is asked before another gateway gets it, and told when that wants it no more.
 */
static void kept(void **state)
{
	struct volume_watcher watcher = {.changed = hear};
	struct rbd_volume *volume;
	char key[64];

	(void)state;
	open_pool();
	volume = rbd_volume_of(pool, "v");
	volume_ref(&volume->volume);
	heard_count = 0;
	volume_watch(&volume->volume, &watcher);
	volume_keep(&volume->volume);
	snprintf(key, sizeof key, "want.%s", volume->volume.identity.serial);
	want(key, true);
	UNTIL(heard_count == 1);
	assert_int_equal(heard[0], VOLUME_WANTED);
	assert_false(volume_standby(&volume->volume));
	want(key, false);
	UNTIL(heard_count == 2);
	assert_int_equal(heard[1], VOLUME_ACCESS);
	assert_false(volume_standby(&volume->volume));
	want(key, true);
	UNTIL(heard_count == 3);
	assert_int_equal(heard[2], VOLUME_WANTED);
	want(key, true);
	volume_unkeep(&volume->volume);
	UNTIL(heard_count == 4);
	assert_int_equal(heard[3], VOLUME_ACCESS);
	assert_true(volume_standby(&volume->volume));
	volume_unwatch(&watcher);
	volume_unref(&volume->volume);
	close_pool();
}

/* Between two looks: guests wait no longer for a volume that is taken than its owner needs. */
static void taken_between_looks(void **state)
{
	struct fake_image *image = image_of("v");
	struct rbd_volume *volume;
	struct asked asked;

	(void)state;
	image->locked_by_other = true;
	open_pool();
	volume = rbd_volume_of(pool, "v");
	UNTIL(!pool->gating);
	pool->gating = true; /* none is begun */
	ask(&asked);
	volume_take(&volume->volume, &asked.call);
	UNTIL(pool->taking);
	rounds(300);
	assert_false(asked.done);
	assert_true(volume_standby(&volume->volume));
	pthread_mutex_lock(&fake.lock);
	image->locked_by_other = false;
	pthread_mutex_unlock(&fake.lock);
	UNTIL(asked.done);
	assert_int_equal(asked.result, 0);
	assert_false(volume_standby(&volume->volume));
	assert_true(image->owner != NULL);
	pool->gating = false;
	UNTIL(!pool->taking); /* nobody waits any more */
	close_pool();
}

/* Another gateway, which lives, is about to erase the image. */
static void erase_elsewhere(const char *key, bool lives)
{
	static unsigned alive;

	pthread_mutex_lock(&fake.lock);
	if (lives)
		snprintf(value_of("alive.other", true), sizeof fake.values[0], "e%u", ++alive);
	snprintf(value_of(key, true), sizeof fake.values[0], "other");
	pthread_mutex_unlock(&fake.lock);
}

/* gone.UUID: the image is closed here, so that it can be erased there; when it was not, it is found
 * again. */
static void erased_elsewhere(void **state)
{
	struct fake_image *image = image_of("v");
	char key[64];

	(void)state;
	image->locked_by_other = true;
	open_pool();
	snprintf(key, sizeof key, "gone.%s", rbd_volume_of(pool, "v")->volume.identity.serial);
	erase_elsewhere(key, true);
	UNTIL(!rbd_volume_of(pool, "v"));
	UNTIL(__atomic_load_n(&image->handles, __ATOMIC_RELAXED) == 0 &&
	      pool->volume_count == 0); /* scans still come upon it */
	want(key, false);
	scan_soon();
	UNTIL(rbd_volume_of(pool, "v"));
	UNTIL(count_volumes() == 1 && __atomic_load_n(&image->handles, __ATOMIC_RELAXED) == 1);
	close_pool();
}

/* Who has it in use here is told, and keeps it; nobody takes it meanwhile. */
static void erased_elsewhere_in_use(void **state)
{
	struct volume_watcher watcher = {.changed = hear};
	struct fake_image *image = image_of("v");
	struct rbd_volume *volume;
	unsigned looks;
	char key[64];

	(void)state;
	image->locked_by_other = true;
	open_pool();
	volume = rbd_volume_of(pool, "v");
	volume_ref(&volume->volume);
	heard_count = 0;
	volume_watch(&volume->volume, &watcher);
	snprintf(key, sizeof key, "gone.%s", volume->volume.identity.serial);
	erase_elsewhere(key, true);
	UNTIL(heard_count > 0);
	assert_int_equal(heard[0], VOLUME_LEAVING);
	pthread_mutex_lock(&fake.lock);
	image->locked_by_other = false; /* closed by who erases it */
	pthread_mutex_unlock(&fake.lock);
	erase_elsewhere(key, true);
	looks = __atomic_load_n(&fake.looks, __ATOMIC_RELAXED);
	UNTIL(__atomic_load_n(&fake.looks, __ATOMIC_RELAXED) >= looks + 3);
	assert_ptr_equal(rbd_volume_of(pool, "v"), volume);
	assert_null(image->owner);
	assert_int_equal(__atomic_load_n(&image->handles, __ATOMIC_RELAXED), 1);
	want(key, false); /* it has changed its mind */
	UNTIL(!volume_standby(&volume->volume));
	volume_unwatch(&watcher);
	volume_unref(&volume->volume);
	close_pool();
}

/* The key of an earlier life of this gateway: taken back. That of a dead one: of no account. */
static void erased_by_nobody(void **state)
{
	struct rbd_volume *volume;
	char key[64];

	(void)state;
	open_pool();
	volume = rbd_volume_of(pool, "v");
	snprintf(key, sizeof key, "gone.%s", volume->volume.identity.serial);
	pthread_mutex_lock(&fake.lock);
	snprintf(value_of(key, true), sizeof fake.values[0], "me");
	pthread_mutex_unlock(&fake.lock);
	UNTIL(!has_key(key));
	assert_false(volume_standby(&volume->volume));
	volume_ref(&volume->volume);
	erase_elsewhere(key, false); /* nobody has ever said that it lives */
	UNTIL(volume_standby(&volume->volume));
	UNTIL(!volume_standby(&volume->volume));
	assert_ptr_equal(rbd_volume_of(pool, "v"), volume);
	volume_unref(&volume->volume);
	close_pool();
}

/* Erased past the gateways, or by one that has died since: two scans do not find it, and it is no
 * volume any more. Not so when it is served here. */
static void unlisted(void **state)
{
	struct fake_image *mine = image_of("v"), *other = add_image("w", MIB, UUID "2");
	struct rbd_volume *volume;

	(void)state;
	other->locked_by_other = true;
	open_pool();
	assert_int_equal(count_volumes(), 2);
	pthread_mutex_lock(&fake.lock);
	mine->exists = other->exists = false;
	pthread_mutex_unlock(&fake.lock);
	scan_soon();
	UNTIL(rbd_volume_of(pool, "w")->unlisted == 1);
	UNTIL(!pool->scanning);
	assert_non_null(rbd_volume_of(pool, "w"));
	scan_soon();
	UNTIL(!rbd_volume_of(pool, "w"));
	UNTIL(__atomic_load_n(&other->handles, __ATOMIC_RELAXED) == 0);
	volume = rbd_volume_of(pool, "v");
	assert_non_null(volume);
	assert_true(volume->unlisted >= 2);
	assert_false(volume_standby(&volume->volume));
	pthread_mutex_lock(&fake.lock);
	mine->exists = true; /* a list that had left it out */
	pthread_mutex_unlock(&fake.lock);
	scan_soon();
	UNTIL(volume->unlisted == 0);
	close_pool();
}

/* A lock of nobody's whom the gateways know: broken when its owner has not watched the image for
 * long, and not before. */
static void stray_lock(void **state)
{
	struct fake_image *image = image_of("v");
	struct rbd_volume *volume;
	unsigned looks;

	(void)state;
	image->locked_by_other = true;
	fake.other_watches = true;
	open_pool();
	volume = rbd_volume_of(pool, "v");
	__atomic_store_n(&volume->stray_looks, RBD_STRAY_LOOKS, __ATOMIC_RELAXED);
	looks = __atomic_load_n(&fake.looks, __ATOMIC_RELAXED);
	UNTIL(__atomic_load_n(&fake.looks, __ATOMIC_RELAXED) >= looks + 2);
	UNTIL(__atomic_load_n(&volume->stray_looks, __ATOMIC_RELAXED) == 0);
	assert_true(image->locked_by_other);
	fake.other_watches = false;
	__atomic_store_n(&volume->stray_looks, RBD_STRAY_LOOKS - 2, __ATOMIC_RELAXED);
	UNTIL(!volume_standby(&volume->volume));
	assert_false(image->locked_by_other);
	close_pool();
}

/* Looks that take long because there is much to look at: meanwhile this gateway says that it lives,
 * and one that is dead is found out all the same. */
static void long_looks(void **state)
{
	struct fake_image *images[4] = {image_of("v")};

	(void)state;
	for (unsigned i = 1; i < 4; i++)
		images[i] = add_image((char[]){(char)('v' + i), '\0'}, MIB, UUID "1");
	for (unsigned i = 0; i < 4; i++)
		images[i]->locked_by_other = true;
	for (unsigned i = 1; i < 4; i++)
		images[i]->uuid[31] = (char)('1' + i);
	snprintf(value_of("gateway.other", true), sizeof fake.values[0], "%s", OTHER);
	snprintf(value_of("alive.other", true), sizeof fake.values[0], "1");
	fake.other_watches = true;
	open_pool();
	__atomic_store_n(&fake.owners_ms, 660, __ATOMIC_RELAXED);
	UNTIL(__atomic_load_n(&fake.alive_writes, __ATOMIC_RELAXED) >=
	      __atomic_load_n(&fake.looks, __ATOMIC_RELAXED) + 3);
	UNTIL(!volume_standby(&rbd_volume_of(pool, "v")->volume));
	__atomic_store_n(&fake.owners_ms, 0, __ATOMIC_RELAXED);
	close_pool();
}

/* Shut out while a request is under way: another gateway has the volume, and whoever asked goes
 * there. A medium error would be the end of it. */
static void shut_out_under_a_write(void **state)
{
	(void)state;
	open_pool();
	target = pool_find_volume(&pool->pool, "v");
	for (unsigned i = 0; i < 2; i++) {
		fake.aio_result = i ? -EROFS : -ESHUTDOWN;
		on_loop(submit_first);
		UNTIL(first.done);
		assert_int_equal(first.result, -EREMOTE);
	}
	fake.aio_result = -EDQUOT;
	on_loop(submit_first);
	UNTIL(first.done);
	assert_int_equal(first.result, -ENOSPC);
	volume_unref(target);
	close_pool();
}

/* While this gateway was shut out another deleted the volume and made one of the same name. */
static void another_of_the_name(void **state)
{
	struct fake_image *image = image_of("v");
	struct volume *volume;

	(void)state;
	open_pool();
	volume = pool_find_volume(&pool->pool, "v");
	__atomic_store_n(&fake.omap_result, -ESHUTDOWN, __ATOMIC_RELAXED);
	UNTIL(pool->rejoining);
	pthread_mutex_lock(&fake.lock);
	image->uuid[31] = '7';
	pthread_mutex_unlock(&fake.lock);
	__atomic_store_n(&fake.omap_result, 0, __ATOMIC_RELAXED);
	UNTIL(!pool->rejoining);
	assert_true(volume_standby(volume));
	assert_int_equal(__atomic_load_n(&image->handles, __ATOMIC_RELAXED), 0);
	volume_unref(volume);
	for (unsigned i = 0; i < 4; i++) {
		scan_soon();
		UNTIL(pool->scanning);
		UNTIL(!pool->scanning);
	}
	UNTIL(rbd_volume_of(pool, "v") && !volume_standby(&rbd_volume_of(pool, "v")->volume));
	assert_int_equal(rbd_volume_of(pool, "v")->volume.identity.uuid[15] & 15, 7);
	assert_int_equal(count_volumes(), 1);
	close_pool();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(addresses),
	    cmocka_unit_test_setup_teardown(a_long_close, setup, teardown),
	    cmocka_unit_test_setup_teardown(a_change_while_it_closes, setup, teardown),
	    cmocka_unit_test_setup_teardown(joining_again_fails, setup, teardown),
	    cmocka_unit_test_setup_teardown(images_of_others, setup, teardown),
	    cmocka_unit_test_setup_teardown(made_and_found, setup, teardown),
	    cmocka_unit_test_setup_teardown(no_dry_run, setup, teardown),
	    cmocka_unit_test_setup_teardown(renamed_elsewhere, setup, teardown),
	    cmocka_unit_test_setup_teardown(copied, setup, teardown),
	    cmocka_unit_test_setup_teardown(shrunk_under_a_write, setup, teardown),
	    cmocka_unit_test_setup_teardown(not_deleted, setup, teardown),
	    cmocka_unit_test_setup_teardown(deleted, setup, teardown),
	    cmocka_unit_test_setup_teardown(taken, setup, teardown),
	    cmocka_unit_test_setup_teardown(kept, setup, teardown),
	    cmocka_unit_test_setup_teardown(taken_between_looks, setup, teardown),
	    cmocka_unit_test_setup_teardown(erased_elsewhere, setup, teardown),
	    cmocka_unit_test_setup_teardown(erased_elsewhere_in_use, setup, teardown),
	    cmocka_unit_test_setup_teardown(erased_by_nobody, setup, teardown),
	    cmocka_unit_test_setup_teardown(unlisted, setup, teardown),
	    cmocka_unit_test_setup_teardown(stray_lock, setup, teardown),
	    cmocka_unit_test_setup_teardown(long_looks, setup, teardown),
	    cmocka_unit_test_setup_teardown(shut_out_under_a_write, setup, teardown),
	    cmocka_unit_test_setup_teardown(another_of_the_name, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
