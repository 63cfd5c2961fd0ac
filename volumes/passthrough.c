/* SPDX-License-Identifier: Apache-2.0 */
#include "volumes/passthrough.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/heap.h"
#include "core/log.h"
#include "core/world.h"
#include "volumes/backend.h"
#include "volumes/lanes.h"
#include "volumes/qos.h"

/* A request becomes one request to the disk, on the loop that brought it; a discard that the device
 * can not carry out becomes writes of zeros, because a volume promises zeros. Each loop has a
 * lane of free request blocks, so that nothing is shared or allocated per request.
 *
 * The disk of a volume is NULL until it could be opened, then stays the same until the volume goes;
 * loops read it with acquire. */

#define SLAB_COUNT 32
#define ZERO_BYTES 65536u
#define ZERO_PARTS (VOLUME_TRANSFER_MAX / ZERO_BYTES)
#define CLOSE_NS   1000000ull

struct lane {
	struct loop *loop;
	struct list free;  /* struct pass */
	struct list slabs; /* what they are cut from */
};

struct passthrough {
	struct pool pool;
	const struct world_ops *world;
	struct loop *home;
	char name[POOL_NAME_MAX + 1];
	uint8_t uuid[16];
	struct list volumes; /* by name; control loop */
	struct lanes lanes;
	uint64_t requests; /* in flight; atomic */
	struct timer closing;
	struct pool_call *close_call;
};

struct device {
	struct volume volume;
	struct list link;
	struct passthrough *owner;
	struct disk *disk; /* NULL: not there */
	char *path;
	char reason[sizeof((struct err *)0)->text];
};

/* One request under way. */
struct pass {
	struct disk_request disk;
	struct list link;
	struct lane *lane;
	struct device *device;
	struct volume_request *request;
	uint64_t zeroed; /* of a discard that is written */
	bool writing_zeros;
	struct iovec zeros[ZERO_PARTS];
};

static uint8_t zero_bytes[ZERO_BYTES] __attribute__((aligned(4096)));

static struct passthrough *passthrough_of(const struct pool *pool)
{
	return container_of((struct pool *)pool, struct passthrough, pool);
}

static struct device *device_of(const struct volume *volume)
{
	return container_of((struct volume *)volume, struct device, volume);
}

/* ---- lanes ---- */
static struct lane *lane_add(struct passthrough *pool, struct loop *loop)
{
	struct lane *lane = heap_zalloc(sizeof *lane);

	if (!lane)
		return NULL;
	lane->loop = loop;
	list_init(&lane->free);
	list_init(&lane->slabs);
	if (lanes_add(&pool->lanes, loop, lane))
		return lane;
	heap_free(lane);
	return NULL;
}

static struct lane *lane_of(struct passthrough *pool, struct loop *loop)
{
	struct lane *lane = lanes_find(&pool->lanes, loop);

	return lane ? lane : lane_add(pool, loop);
}

struct slab {
	struct list link;
	struct pass pass[SLAB_COUNT];
};

static struct pass *pass_take(struct lane *lane)
{
	struct list *link = list_pop_front(&lane->free);
	struct slab *slab;

	if (link)
		return list_entry(link, struct pass, link);
	slab = heap_zalloc(sizeof *slab);
	if (!slab)
		return NULL;
	list_push_back(&lane->slabs, &slab->link);
	for (unsigned i = 1; i < SLAB_COUNT; i++)
		list_push_back(&lane->free, &slab->pass[i].link);
	return &slab->pass[0];
}

/* ---- requests ---- */
static void finish(struct pass *pass, int result)
{
	struct volume_request *request = pass->request;
	struct passthrough *pool = pass->device->owner;

	request->device_to_ns = loop_now(pass->lane->loop);
	list_push_front(&pass->lane->free, &pass->link);
	__atomic_sub_fetch(&pool->requests, 1, __ATOMIC_RELEASE);
	if (result < 0 && result != -ENOSPC && result != -EINVAL)
		result = -EIO;
	request->done(request, result);
}

static void step(struct pass *pass, enum disk_op op, unsigned flags)
{
	pass->disk.op = op;
	pass->disk.flags = flags;
	if (!pass->request->device_from_ns)
		pass->request->device_from_ns = loop_now(pass->lane->loop);
	disk_submit(pass->lane->loop, pass->device->disk, &pass->disk);
}

static void write_zeros(struct pass *pass)
{
	uint64_t left = pass->request->length - pass->zeroed, part;
	unsigned count = 0;

	pass->disk.offset = pass->request->offset + pass->zeroed;
	pass->disk.length = 0;
	for (; left && count < ZERO_PARTS; left -= part) {
		part = left < ZERO_BYTES ? left : ZERO_BYTES;
		pass->zeros[count++] = (struct iovec){zero_bytes, part};
		pass->disk.length += part;
	}
	pass->disk.iov = pass->zeros;
	pass->disk.iov_count = count;
	pass->writing_zeros = true;
	step(pass, DISK_WRITE, 0);
}

static void disk_done(struct disk_request *disk, int result)
{
	struct pass *pass = container_of(disk, struct pass, disk);
	struct volume_request *request = pass->request;

	if (request->op != VOLUME_DISCARD || disk->op == DISK_FLUSH) {
		finish(pass, result);
		return;
	}
	if (result == 0 && pass->writing_zeros)
		pass->zeroed += disk->length;
	if (result == -EOPNOTSUPP && !pass->writing_zeros)
		write_zeros(pass);
	else if (result == 0 && pass->writing_zeros && pass->zeroed < request->length)
		write_zeros(pass);
	else if (result == 0 && request->flags & VOLUME_FUA)
		step(pass, DISK_FLUSH, 0);
	else
		finish(pass, result);
}

static void start(struct pass *pass)
{
	static const enum disk_op ops[] = {[VOLUME_READ] = DISK_READ,
					   [VOLUME_WRITE] = DISK_WRITE,
					   [VOLUME_FLUSH] = DISK_FLUSH,
					   [VOLUME_DISCARD] = DISK_DISCARD};
	const struct volume_request *request = pass->request;
	unsigned flags = 0;

	if (request->op == VOLUME_WRITE && request->flags & VOLUME_FUA)
		flags = DISK_FUA;
	if (request->op == VOLUME_DISCARD)
		flags = DISK_ZERO;
	pass->disk.offset = request->offset;
	pass->disk.length = request->length;
	pass->disk.iov = request->iov;
	pass->disk.iov_count = request->iov_count;
	step(pass, ops[request->op], flags);
}

/* The device knows nothing of holes. */
static void tell_extents(struct volume_request *request)
{
	request->extents[0] = (struct volume_extent){request->offset, request->length, true};
	request->extent_count = 1;
	volume_refuse(request, 0);
}

static void submit(struct volume *volume, struct volume_request *request)
{
	struct device *device = device_of(volume);
	struct lane *lane;
	struct pass *pass;

	if (request->op == VOLUME_EXTENTS) {
		tell_extents(request);
		return;
	}
	lane = __atomic_load_n(&device->disk, __ATOMIC_ACQUIRE)
		   ? lane_of(device->owner, request->loop)
		   : NULL;
	pass = lane ? pass_take(lane) : NULL;
	if (!pass) {
		volume_refuse(request, -EIO);
		return;
	}
	__atomic_add_fetch(&device->owner->requests, 1, __ATOMIC_RELAXED);
	pass->lane = lane;
	pass->device = device;
	pass->request = request;
	pass->zeroed = 0;
	pass->writing_zeros = false;
	pass->disk.done = disk_done;
	start(pass);
}

static void release(struct volume *volume)
{
	(void)volume; /* the pool keeps it */
}

static const struct volume_ops device_volume_ops = {
    .name = "passthrough",
    .submit = submit,
    .release = release,
};

/* ---- attaching and letting go ---- */
static struct device *find(struct passthrough *pool, const char *name)
{
	list_for_each (it, &pool->volumes)
		if (strcmp(list_entry(it, struct device, link)->volume.name, name) == 0)
			return list_entry(it, struct device, link);
	return NULL;
}

static void insert(struct passthrough *pool, struct device *device)
{
	struct list *before = &pool->volumes;

	list_remove(&device->link);
	list_for_each (it, &pool->volumes)
		if (strcmp(list_entry(it, struct device, link)->volume.name, device->volume.name) <
		    0)
			before = it;
	list_insert_after(before, &device->link);
}

static void device_free(struct device *device)
{
	list_remove(&device->link);
	disk_close(device->disk);
	qos_free(device->volume.qos);
	heap_free(device->path);
	heap_free(device);
}

static uint64_t size_of(const struct disk *disk)
{
	return disk->exact_size ? disk->exact_size : disk->size;
}

static int open_device(struct device *device, struct err *err)
{
	unsigned flags = DISK_EXCLUSIVE | (device->volume.read_only ? DISK_READ_ONLY : 0);
	struct disk *disk;
	int result = disk_open(device->owner->world, device->path, flags, 0, &disk, err);

	if (result == 0 && disk->logical_block > VOLUME_BLOCK)
		result = err_set(err, -EOPNOTSUPP,
				 "%s has blocks of %u bytes; passthrough serves devices with "
				 "blocks of 512",
				 device->path, disk->logical_block);
	else if (result == 0 && size_of(disk) < VOLUME_SLOT)
		result = err_set(err, -EINVAL, "%s is empty", device->path);
	else if (result == 0 && size_of(disk) > VOLUME_SIZE_MAX)
		result = err_set(err, -EFBIG, "%s has more than 64 TiB", device->path);
	else if (result < 0)
		return result;
	if (result < 0) {
		disk_close(disk);
		return result;
	}
	device->volume.thin = disk->discards;
	__atomic_store_n(&device->volume.size_bytes, size_of(disk), __ATOMIC_RELEASE);
	__atomic_store_n(&device->disk, disk, __ATOMIC_RELEASE);
	return 0;
}

static struct device *device_new(struct passthrough *pool, const struct passthrough_spec *spec)
{
	struct device *device = heap_zalloc(sizeof *device);

	if (!device)
		return NULL;
	list_init(&device->link);
	list_init(&device->volume.watchers);
	device->owner = pool;
	device->path = heap_strdup(spec->path);
	device->volume.ops = &device_volume_ops;
	device->volume.pool = &pool->pool;
	device->volume.identity = spec->identity;
	device->volume.read_only = spec->read_only;
	device->volume.checksum = VOLUME_CHECKSUM_OFF;
	device->volume.torn = true;
	device->volume.size_bytes = spec->known_size;
	snprintf(device->volume.name, sizeof device->volume.name, "%s", spec->name);
	if (device->path)
		return device;
	device_free(device);
	return NULL;
}

static int device_make(struct passthrough *pool, const struct passthrough_spec *spec,
		       struct device **ret_device, struct err *err)
{
	struct device *device;
	struct err why = {0};
	int result = volume_name_check(spec->name, err);

	if (result < 0)
		return result;
	if (find(pool, spec->name))
		return err_set(err, -EEXIST, "there is a volume named %s already", spec->name);
	device = device_new(pool, spec);
	if (!device)
		return err_set(err, -ENOMEM, "out of memory");
	result = open_device(device, &why);
	if (result < 0 && !spec->known_size) {
		device_free(device);
		return err_set(err, result, "%s", why.text);
	}
	if (result < 0) {
		memcpy(device->reason, why.text, sizeof device->reason);
		log_error("volume %s/%s can not be served: %s", pool->name, spec->name, why.text);
	}
	*ret_device = device;
	return 0;
}

int passthrough_try(struct pool *base, const struct passthrough_spec *spec, uint64_t *ret_size,
		    struct err *err)
{
	struct device *device;
	int result = device_make(passthrough_of(base), spec, &device, err);

	if (result < 0)
		return result;
	*ret_size = volume_size(&device->volume);
	device_free(device);
	return 0;
}

int passthrough_attach(struct pool *base, const struct passthrough_spec *spec,
		       struct volume **ret_volume, struct err *err)
{
	struct passthrough *pool = passthrough_of(base);
	struct device *device;
	int result = device_make(pool, spec, &device, err);

	if (result < 0)
		return result;
	insert(pool, device);
	*ret_volume = volume_ref(&device->volume);
	return 0;
}

bool passthrough_get_info(const struct volume *volume, struct passthrough_info *ret_info)
{
	const struct device *device = device_of(volume);

	if (volume->ops != &device_volume_ops)
		return false;
	*ret_info = (struct passthrough_info){device->path, device->disk != NULL, device->reason};
	return true;
}

/* ---- the pool ---- */
static void answer(struct pool_call *call, int result)
{
	call->loop = loop_current();
	pool_answer(call, result);
}

static void call_begin(struct pool_call *call)
{
	call->loop = loop_current();
	call->err.code = 0;
	call->err.text[0] = '\0';
}

static void pool_free(struct passthrough *pool)
{
	while (!list_empty(&pool->volumes))
		device_free(list_entry(pool->volumes.next, struct device, link));
	for (unsigned i = 0; i < pool->lanes.count; i++) {
		struct lane *lane = pool->lanes.entry[i].lane;
		struct list *link;

		while ((link = list_pop_front(&lane->slabs)))
			heap_free(list_entry(link, struct slab, link));
		heap_free(lane);
	}
	lanes_finish(&pool->lanes);
	heap_free(pool);
}

static void close_when_quiet(struct timer *timer)
{
	struct passthrough *pool = container_of(timer, struct passthrough, closing);
	struct pool_call *call = pool->close_call;

	if (__atomic_load_n(&pool->requests, __ATOMIC_ACQUIRE)) {
		timer_start(timer, CLOSE_NS);
		return;
	}
	pool_free(pool);
	pool_answer(call, 0);
}

static void pass_close(struct pool *base, struct pool_call *call)
{
	struct passthrough *pool = passthrough_of(base);

	call_begin(call);
	list_for_each (it, &pool->volumes) {
		struct volume *volume = &list_entry(it, struct device, link)->volume;

		if (__atomic_load_n(&volume->refs, __ATOMIC_ACQUIRE)) {
			pool_answer(call,
				    err_set(&call->err, -EBUSY, "volume %s of pool %s is in use",
					    volume->name, pool->name));
			return;
		}
	}
	pool->close_call = call;
	timer_init(&pool->closing, pool->home, close_when_quiet);
	timer_start(&pool->closing, 0);
}

static void pass_create(const struct world_ops *world, struct loop *loop,
			const struct pool_create_options *options, struct pool_call *call)
{
	(void)world;
	(void)options;
	call->loop = loop;
	pool_answer(call,
		    err_set(&call->err, -EOPNOTSUPP, "a passthrough pool is not made on devices"));
}

static void pass_open(const struct world_ops *world, struct loop *loop, const char *const *paths,
		      unsigned path_count, bool rewind, struct pool_call *call)
{
	(void)paths;
	(void)path_count;
	(void)rewind;
	pass_create(world, loop, NULL, call);
}

static void pass_volume_create(struct pool *pool, const struct volume_spec *spec,
			       struct pool_call *call)
{
	(void)spec;
	pool_refuse(pool, call, "makes no space; a volume there is a device (--device)");
}

static void pass_volume_delete(struct volume *volume, struct pool_call *call)
{
	struct device *device = device_of(volume);

	call_begin(call);
	if (__atomic_load_n(&volume->refs, __ATOMIC_ACQUIRE) != 1) {
		pool_answer(call, err_set(&call->err, -EBUSY, "volume %s is in use", volume->name));
		return;
	}
	device_free(device); /* requests hold references from above */
	pool_answer(call, 0);
}

static void pass_volume_resize(struct volume *volume, uint64_t size_bytes, struct pool_call *call)
{
	(void)size_bytes;
	pool_refuse(volume->pool, call,
		    "shows devices as they are: resize the device, then rescan the volume");
}

static void pass_volume_rename(struct volume *volume, const char *name, struct pool_call *call)
{
	struct device *device = device_of(volume), *other = find(device->owner, name);
	int result;

	call_begin(call);
	result = volume_name_check(name, &call->err);
	if (result == 0 && other && other != device)
		result = err_set(&call->err, -EEXIST, "there is a volume named %s already", name);
	if (result == 0) {
		snprintf(volume->name, sizeof volume->name, "%s", name);
		insert(device->owner, device);
		volume_notify(volume, VOLUME_RENAMED);
	}
	pool_answer(call, result);
}

static int rescan(struct device *device, struct err *err)
{
	uint64_t before = volume_size(&device->volume), now;
	int result = device->disk ? disk_rescan(device->disk) : open_device(device, err);

	if (result < 0 && device->disk)
		return err_set(err, result, "%s: %s", device->path, strerror(-result));
	if (result < 0) {
		memcpy(device->reason, err->text, sizeof device->reason);
		return result;
	}
	now = size_of(device->disk);
	if (now > VOLUME_SIZE_MAX)
		return err_set(err, -EFBIG, "%s has more than 64 TiB", device->path);
	__atomic_store_n(&device->volume.size_bytes, now, __ATOMIC_RELEASE);
	if (now != before)
		volume_notify(&device->volume, VOLUME_RESIZED);
	return 0;
}

static void pass_volume_rescan(struct volume *volume, struct pool_call *call)
{
	call_begin(call);
	pool_answer(call, rescan(device_of(volume), &call->err));
}

static struct volume *pass_find_volume(struct pool *pool, const char *name)
{
	struct device *device = find(passthrough_of(pool), name);

	return device ? volume_ref(&device->volume) : NULL;
}

static struct volume *pass_volume_next(struct pool *base, struct volume *previous)
{
	struct passthrough *pool = passthrough_of(base);
	struct list *next = previous ? device_of(previous)->link.next : pool->volumes.next;

	volume_unref(previous);
	return next == &pool->volumes ? NULL
				      : volume_ref(&list_entry(next, struct device, link)->volume);
}

static void pass_get_info(struct pool *base, struct pool_info *ret_info)
{
	struct passthrough *pool = passthrough_of(base);
	struct pool_info info = {0};

	memcpy(info.name, pool->name, sizeof info.name);
	memcpy(info.uuid, pool->uuid, sizeof info.uuid);
	list_for_each (it, &pool->volumes) {
		info.volume_count++;
		info.size_bytes += volume_size(&list_entry(it, struct device, link)->volume);
	}
	info.used_bytes = info.provisioned_bytes = info.size_bytes;
	info.kind = base->ops->name;
	*ret_info = info;
}

static const char *pass_name(const struct pool *pool)
{
	return passthrough_of(pool)->name;
}

static const char *pass_device_path(const struct pool *pool, unsigned index)
{
	(void)pool;
	(void)index;
	return NULL;
}

static uint64_t pass_used_bytes(struct volume *volume)
{
	return volume_size(volume);
}

static void pass_check(struct pool *pool, bool data, struct pool_check_report *report,
		       struct pool_call *call)
{
	(void)data;
	(void)report;
	pool_refuse(pool, call, "knows nothing of what is on its devices; it can not be checked");
}

static void pass_checkpoint(struct pool *pool, struct pool_call *call)
{
	(void)pool;
	answer(call, 0);
}

const struct pool_ops passthrough_pool_ops = {
    .name = "passthrough",
    .create = pass_create,
    .open = pass_open,
    .close = pass_close,
    .volume_create = pass_volume_create,
    .volume_delete = pass_volume_delete,
    .volume_resize = pass_volume_resize,
    .volume_rescan = pass_volume_rescan,
    .volume_rename = pass_volume_rename,
    .find_volume = pass_find_volume,
    .volume_next = pass_volume_next,
    .get_info = pass_get_info,
    .pool_name = pass_name,
    .device_path = pass_device_path,
    .volume_used_bytes = pass_used_bytes,
    .check = pass_check,
    .checkpoint = pass_checkpoint,
};

int passthrough_create(const struct world_ops *world, struct loop *loop, const char *name,
		       const uint8_t uuid[16], struct pool **ret_pool, struct err *err)
{
	struct passthrough *pool = heap_zalloc(sizeof *pool);

	if (!pool)
		return err_set(err, -ENOMEM, "out of memory");
	pool->pool.ops = &passthrough_pool_ops;
	pool->world = world;
	pool->home = loop;
	snprintf(pool->name, sizeof pool->name, "%s", name);
	memcpy(pool->uuid, uuid, sizeof pool->uuid);
	list_init(&pool->volumes);
	lanes_init(&pool->lanes);
	*ret_pool = &pool->pool;
	return 0;
}
