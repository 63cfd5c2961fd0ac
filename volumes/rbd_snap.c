/* SPDX-License-Identifier: Apache-2.0 */
/* rbd_snap.c: snapshots and clones of images, as far as it blocks. Context: a worker of the pool.
 *
 * What a snapshot is beside its name in Ceph stands in its image's metadata, under
 * granary.snap.NAME; one without it is not ours. It is written before the snapshot is made, so that
 * none is ever without; text without a snapshot means nothing. Snapshots of several volumes are of
 * one group and exist from the moment the pool's identity object has the group's mark: until then
 * nobody shows them. */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/heap.h"
#include "core/log.h"
#include "volumes/rbd.h"

#define SNAP_KEY "granary.snap."
#define ROLLING_KEY                                                                                \
	"granary.rolling"           /* the snapshot that a rollback goes to, until it is there     \
				     */
#define PARENT_KEY "granary.parent" /* UUID of the snapshot that a clone stands on */
#define SNAP_TEXT  512
#define SNAPS_MAX  65536

static int failed(struct err *err, int result, const char *what)
{
	return err_set(err, result, "%s: %s", what,
		       result == -ETIMEDOUT ? "the cluster does not answer" : strerror(-result));
}

/* ---- what stands in the metadata ---- */
static void snap_key(const char *name, char ret_key[96])
{
	snprintf(ret_key, 96, SNAP_KEY "%.*s", SNAPSHOT_NAME_MAX, name);
}

static void group_key(uint64_t group, char ret_key[40])
{
	snprintf(ret_key, 40, "group.%016llx", (unsigned long long)group);
}

static int write_snap(rbd_image_t image, const char *name, const uint8_t uuid[16],
		      const struct rbd_snap *snap)
{
	char hex[33], key[96];
	json_t *object;
	char *text;
	int result;

	rbd_hex_of(uuid, hex);
	object = json_pack("{s:s,s:I,s:I,s:i,s:b,s:b,s:I}", "uuid", hex, "created",
			   (json_int_t)snap->created_ns, "group", (json_int_t)snap->group, "of",
			   (int)snap->of_count, "automatic", snap->automatic, "held", snap->held,
			   "until", (json_int_t)snap->hold_until_ns);
	text = object ? json_dumps(object, JSON_COMPACT) : NULL;
	snap_key(name, key);
	result = text ? ceph.rbd_metadata_set(image, key, text) : -ENOMEM;
	free(text);
	json_decref(object);
	return result;
}

/* -ENODATA: not one of ours. */
static int read_snap(rbd_image_t image, const char *name, uint8_t ret_uuid[16],
		     struct rbd_snap *ret_snap)
{
	char key[96], text[SNAP_TEXT];
	size_t length = sizeof text - 1;
	json_int_t created, group, until;
	int count, automatic, held, result;
	const char *hex;
	json_t *object;

	snap_key(name, key);
	result = ceph.rbd_metadata_get(image, key, text, &length);
	if (result < 0)
		return result == -ENOENT || result == -ERANGE ? -ENODATA : result;
	text[sizeof text - 1] = '\0';
	object = json_loads(text, 0, NULL);
	if (!object ||
	    json_unpack(object, "{s:s,s:I,s:I,s:i,s:b,s:b,s:I}", "uuid", &hex, "created", &created,
			"group", &group, "of", &count, "automatic", &automatic, "held", &held,
			"until", &until) < 0 ||
	    !rbd_parse_hex(hex, ret_uuid))
		result = -ENODATA;
	else
		*ret_snap = (struct rbd_snap){.created_ns = (uint64_t)created,
					      .group = (uint64_t)group,
					      .hold_until_ns = (uint64_t)until,
					      .of_count = (unsigned)count,
					      .automatic = automatic != 0,
					      .held = held != 0};
	json_decref(object);
	return result < 0 ? result : 0;
}

/* One of several is there when all are: 1, 0, or the error that keeps that from being known. */
static int is_whole(struct rbd_pool *pool, struct rbd_snap *snap)
{
	char key[40], text[8];
	int result;

	if (snap->of_count <= 1)
		return 1;
	group_key(snap->group, key);
	result = rbd_get_text(pool, key, text, sizeof text);
	if (result < 0 || !text[0])
		return result < 0 ? result : 0;
	snap->of_count = 1;
	return 1;
}

static struct rbd_volume *snapshot_new(struct rbd_volume *of, const rbd_snap_info_t *info,
				       const uint8_t uuid[16], const struct rbd_snap *snap)
{
	struct rbd_volume *snapshot = heap_zalloc(sizeof *snapshot);

	if (!snapshot)
		return NULL;
	snapshot->volume.ops = &rbd_volume_ops;
	snapshot->volume.pool = &of->pool->pool;
	snapshot->volume.size_bytes = info->size & ~(uint64_t)(VOLUME_SLOT - 1);
	snapshot->volume.thin = snapshot->volume.read_only = true;
	snapshot->volume.torn = true; /* as what it is of: INQUIRY says the same */
	snapshot->volume.refs = 1;
	list_init(&snapshot->volume.watchers);
	list_init(&snapshot->link);
	list_init(&snapshot->snapshots);
	snapshot->snap = *snap;
	snapshot->snap.id = info->id;
	snprintf(snapshot->snap.name, sizeof snapshot->snap.name, "%s", info->name);
	rbd_snapshot_name(snapshot, of->volume.name);
	volume_identity_make(uuid, &snapshot->volume.identity);
	snapshot->pool = of->pool;
	snapshot->of = of;
	snapshot->object_bytes = of->object_bytes;
	snapshot->used_stale = 1;
	return snapshot;
}

static int list_snaps(rbd_image_t image, rbd_snap_info_t **ret_snaps, int *ret_count)
{
	rbd_snap_info_t *snaps = NULL;
	int room = 64, result = -ERANGE;

	while (result == -ERANGE && room <= SNAPS_MAX) {
		heap_free(snaps);
		snaps = heap_zalloc_array((size_t)room + 1, sizeof *snaps);
		if (!snaps)
			return -ENOMEM;
		result = ceph.rbd_snap_list(image, snaps, &room);
	}
	*ret_snaps = snaps;
	*ret_count = result > 0 ? result : 0;
	if (result >= 0)
		return 0;
	heap_free(snaps);
	*ret_snaps = NULL;
	return result;
}

int rbd_snaps_read(struct rbd_volume *volume, struct list *found)
{
	rbd_snap_info_t *snaps = NULL;
	int count = 0, result = list_snaps(volume->image, &snaps, &count);

	for (int i = 0; i < count && result == 0; i++) {
		struct rbd_volume *snapshot = NULL;
		struct rbd_snap snap = {0};
		uint8_t uuid[16];
		int whole;

		if (strlen(snaps[i].name) > SNAPSHOT_NAME_MAX ||
		    volume_name_check(snaps[i].name, NULL) < 0)
			continue;
		result = read_snap(volume->image, snaps[i].name, uuid, &snap);
		whole = result == 0 ? is_whole(volume->pool, &snap) : 1;
		if (whole < 0) {
			result = whole;
			break;
		}
		if (whole == 0) {
			/* Who makes snapshots of it are we, and we make none now: cut off. */
			if (!volume_standby(&volume->volume))
				ceph.rbd_snap_remove(volume->image, snaps[i].name);
			continue;
		}
		if (result == -ENODATA) {
			result = 0;
			continue;
		}
		if (result == 0 && !(snapshot = snapshot_new(volume, &snaps[i], uuid, &snap)))
			result = -ENOMEM;
		if (snapshot)
			list_push_back(found, &snapshot->link);
	}
	if (count)
		ceph.rbd_snap_list_end(snaps);
	heap_free(snaps);
	return result;
}

int rbd_snap_open(struct rbd_volume *snapshot)
{
	rbd_image_t image;
	int result = ceph.rbd_open_read_only(snapshot->pool->ioctx, snapshot->of->volume.name,
					     &image, snapshot->snap.name);

	if (result == 0)
		__atomic_store_n(&snapshot->image, image, __ATOMIC_RELEASE);
	return result;
}

/* ---- making ---- */
static void drop_made(struct rbd_job *job, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		ceph.rbd_snap_remove(job->volumes[i]->image, job->names[i]);
}

static int make_one(struct rbd_volume *volume, const char *name, const struct rbd_snap *snap,
		    const uint8_t uuid[16])
{
	bool exists = false;
	int result = volume->image ? ceph.rbd_snap_exists(volume->image, name, &exists) : -ENXIO;

	if (result == 0 && exists)
		return -EEXIST;
	if (result == 0)
		result = write_snap(volume->image, name, uuid, snap);
	return result == 0 ? ceph.rbd_snap_create(volume->image, name) : result;
}

/* Everything that was accepted before is at the OSDs; what comes meanwhile waits. */
static void wait_quiet(struct rbd_job *job)
{
	const struct timespec moment = {.tv_nsec = 200000};

	for (unsigned i = 0; i < job->volume_count; i++) {
		while (!rbd_io_is_quiet(job->volumes[i]))
			nanosleep(&moment, NULL);
	}
}

/* Each says of itself that it is whole; then the group's mark is not needed any more. */
static void settle_group(struct rbd_job *job, const char *key)
{
	struct rbd_snap snap = job->snap;
	int result = 0;

	snap.of_count = 1;
	for (unsigned i = 0; i < job->volume_count && result == 0; i++)
		result = write_snap(job->volumes[i]->image, job->names[i], job->uuids[i], &snap);
	if (result == 0)
		rbd_set_text(job->pool, key, "");
}

int rbd_snaps_make(struct rbd_job *job)
{
	struct rbd_snap snap = job->snap;
	char key[40];
	int result = 0;
	unsigned done;

	for (unsigned i = 0; i < job->volume_count; i++)
		rbd_io_pause(job->volumes[i]);
	wait_quiet(job);
	for (done = 0; done < job->volume_count; done++) {
		uint8_t uuid[16];

		memcpy(uuid, job->uuids[done], sizeof uuid);
		result = make_one(job->volumes[done], job->names[done], &snap, uuid);
		if (result < 0)
			break;
	}
	group_key(snap.group, key);
	if (result == 0 && snap.of_count > 1)
		result = rbd_set_text(job->pool, key, "1");
	if (result < 0) {
		const struct rbd_volume *volume = job->volumes[done < job->volume_count ? done : 0];

		drop_made(job, done);
		result = result == -EEXIST ? result : rbd_errno(job->pool, result);
		return result == -EEXIST
			   ? err_set(&job->err, result, "image %s has a snapshot %s already",
				     volume->volume.name, job->names[done])
			   : failed(&job->err, result, volume->volume.name);
	}
	/* A rollback goes on with them; else guests have waited long enough. */
	for (unsigned i = 0; i < job->volume_count && !snap.automatic; i++)
		rbd_io_resume(job->volumes[i]);
	if (snap.of_count > 1)
		settle_group(job, key);
	for (unsigned i = 0; i < job->volume_count && result == 0; i++)
		result = rbd_snaps_read(job->volumes[i], &job->found);
	return result < 0 ? failed(&job->err, rbd_errno(job->pool, result), "snapshots") : 0;
}

/* ---- one snapshot ---- */
int rbd_snap_erase(struct rbd_job *job)
{
	struct rbd_volume *snapshot = job->volume, *of = snapshot->of;
	char key[96];
	int result = of->image ? 0 : -ENXIO;

	rbd_image_close(snapshot);
	if (result == 0)
		result = ceph.rbd_snap_unprotect(of->image, snapshot->snap.name);
	if (result == -EBUSY)
		return err_set(&job->err, -EBUSY, "snapshot %s has clones", snapshot->volume.name);
	if (result == 0 || result == -EINVAL) /* it was not protected */
		result = ceph.rbd_snap_remove(of->image, snapshot->snap.name);
	if (result < 0 && result != -ENOENT)
		return failed(&job->err, result == -EBUSY ? result : rbd_errno(job->pool, result),
			      snapshot->volume.name);
	snap_key(snapshot->snap.name, key);
	ceph.rbd_metadata_remove(of->image, key);
	return 0;
}

int rbd_snap_rename_work(struct rbd_job *job)
{
	struct rbd_volume *snapshot = job->volume, *of = snapshot->of;
	char key[96];
	int result = of->image ? write_snap(of->image, job->name, snapshot->volume.identity.uuid,
					    &snapshot->snap)
			       : -ENXIO;

	rbd_image_close(snapshot); /* by its old name */
	if (result == 0)
		result = ceph.rbd_snap_rename(of->image, snapshot->snap.name, job->name);
	snap_key(snapshot->snap.name, key);
	if (result == 0)
		ceph.rbd_metadata_remove(of->image, key);
	if (result == -EEXIST)
		return err_set(&job->err, result, "image %s has a snapshot %s already",
			       of->volume.name, job->name);
	return result < 0 ? failed(&job->err, rbd_errno(job->pool, result), snapshot->volume.name)
			  : 0;
}

int rbd_snap_hold_work(struct rbd_job *job)
{
	struct rbd_volume *snapshot = job->volume;
	int result = snapshot->of->image ? write_snap(snapshot->of->image, snapshot->snap.name,
						      snapshot->volume.identity.uuid, &job->snap)
					 : -ENXIO;

	return result < 0 ? failed(&job->err, rbd_errno(job->pool, result), snapshot->volume.name)
			  : 0;
}

/* ---- clones ---- */
static int clone_image(struct rbd_job *job, const char *draft)
{
	struct rbd_volume *snapshot = job->volume, *of = snapshot->of;
	rbd_image_options_t options;
	int result = ceph.rbd_snap_protect(of->image, snapshot->snap.name);

	if (result < 0 && result != -EBUSY) /* it is protected already */
		return result;
	ceph.rbd_image_options_create(&options);
	result = ceph.rbd_clone3(job->pool->ioctx, of->volume.name, snapshot->snap.name,
				 job->pool->ioctx, draft, options);
	ceph.rbd_image_options_destroy(options);
	return result;
}

static int note_parent(struct rbd_pool *pool, const char *name, const uint8_t uuid[16])
{
	char hex[33];
	rbd_image_t image;
	int result = ceph.rbd_open(pool->ioctx, name, &image, NULL);

	if (result < 0)
		return result;
	rbd_hex_of(uuid, hex);
	result = ceph.rbd_metadata_set(image, PARENT_KEY, hex);
	ceph.rbd_close(image);
	return result;
}

int rbd_snap_clone(struct rbd_job *job)
{
	const uint8_t *parent = job->volume->volume.identity.uuid;
	char draft[VOLUME_NAME_MAX + 16];
	int result = job->volume->of->image ? 0 : -ENXIO;

	snprintf(draft, sizeof draft, ".new.%s", job->name);
	if (result == 0)
		result = clone_image(job, draft);
	if (result == -EEXIST) {
		ceph.rbd_remove(job->pool->ioctx, draft);
		result = clone_image(job, draft);
	}
	if (result == 0)
		result = note_parent(job->pool, draft, parent);
	if (result < 0)
		return failed(&job->err, rbd_errno(job->pool, result), job->name);
	return rbd_image_finish(job, draft);
}

void rbd_clone_read(struct rbd_volume *volume)
{
	char text[40];
	size_t length = sizeof text;

	volume->is_clone = ceph.rbd_metadata_get(volume->image, PARENT_KEY, text, &length) >= 0 &&
			   rbd_parse_hex(text, volume->parent);
}

int rbd_clone_flatten(struct rbd_job *job)
{
	struct rbd_volume *volume = job->volume;
	int result = volume->image ? ceph.rbd_flatten(volume->image) : -ENXIO;

	if (result == 0)
		result = ceph.rbd_metadata_remove(volume->image, PARENT_KEY);
	return result < 0 && result != -ENOENT
		   ? failed(&job->err, rbd_errno(job->pool, result), volume->volume.name)
		   : 0;
}

/* ---- back ---- */
static int roll(struct rbd_volume *volume, const char *name)
{
	int result = ceph.rbd_snap_rollback(volume->image, name);

	return result == 0 ? ceph.rbd_metadata_remove(volume->image, ROLLING_KEY) : result;
}

static int get_size(struct rbd_job *job, struct rbd_volume *volume)
{
	return ceph.rbd_get_size(volume->image, &job->size);
}

/* From the key on the image is neither what it was nor what it is to be: when it does not get
 * there, nobody is served, and rbd_rollback_go_on() tries until it does. */
int rbd_snap_back(struct rbd_job *job)
{
	struct rbd_volume *volume = job->volumes[0], *to = job->volume;
	int result = rbd_snaps_make(job); /* of what it is now; waits for what is under way */

	if (result < 0)
		return result;
	result = ceph.rbd_metadata_set(volume->image, ROLLING_KEY, to->snap.name);
	if (result == 0)
		result = roll(volume, to->snap.name);
	if (result == 0)
		result = get_size(job, volume);
	if (result == 0)
		return 0;
	__atomic_store_n(&volume->volume.standby, true, __ATOMIC_RELEASE);
	__atomic_store_n(&volume->rolling, true, __ATOMIC_RELEASE);
	failed(&job->err, rbd_errno(job->pool, result), volume->volume.name);
	return err_set(&job->err, job->err.code, "%s; the way back is tried again until it is done",
		       job->err.text);
}

int rbd_snap_is_rolling(struct rbd_volume *volume)
{
	char name[SNAPSHOT_NAME_MAX + 1];
	size_t length = sizeof name;
	int result = ceph.rbd_metadata_get(volume->image, ROLLING_KEY, name, &length);

	return result >= 0 ? 1 : result == -ENOENT ? 0 : result;
}

int rbd_snap_finish_rollback(struct rbd_job *job)
{
	struct rbd_volume *volume = job->volume;
	char name[SNAPSHOT_NAME_MAX + 1];
	size_t length = sizeof name;
	int result = volume->image
			 ? ceph.rbd_metadata_get(volume->image, ROLLING_KEY, name, &length)
			 : -ENXIO;

	if (result >= 0) {
		result = roll(volume, name);
		if (result == -ENOENT) { /* nothing to go back to any more: it stays as it is */
			log_error("volume %s/%s: snapshot %s, to which it was on its way, is gone",
				  volume->pool->name, volume->volume.name, name);
			result = ceph.rbd_metadata_remove(volume->image, ROLLING_KEY);
		}
	}
	if (result >= 0 || result == -ENOENT)
		result = get_size(job, volume);
	return result;
}

/* ---- differences ---- */
struct walk {
	struct volume_diff *diff;
	bool full;
};

static int note_difference(uint64_t offset, size_t length, int exists, void *context)
{
	struct walk *walk = context;
	struct volume_diff *diff = walk->diff;
	struct volume_extent *last =
	    diff->extent_count ? &diff->extents[diff->extent_count - 1] : NULL;
	uint64_t start = offset & ~(uint64_t)(VOLUME_SLOT - 1);
	uint64_t end = (offset + length + VOLUME_SLOT - 1) & ~(uint64_t)(VOLUME_SLOT - 1);

	if (last && start < last->offset + last->length)
		start = last->offset + last->length;
	if (end <= start)
		return 0;
	if (last && last->mapped == (exists != 0) && last->offset + last->length == start) {
		last->length += end - start;
		return 0;
	}
	if (diff->extent_count == diff->extent_max) {
		walk->full = true;
		diff->offset = start;
		return -ECANCELED;
	}
	diff->extents[diff->extent_count++] =
	    (struct volume_extent){start, end - start, exists != 0};
	return 0;
}

int rbd_snap_differ(struct rbd_job *job)
{
	struct volume_diff *diff = &job->diff;
	struct rbd_volume *to = job->volume;
	struct walk walk = {diff, false};
	uint64_t size = volume_size(&to->volume);
	int result = to->of && !to->image ? rbd_snap_open(to) : 0;

	diff->extent_count = 0;
	if (result == 0 && !to->image)
		result = -ENXIO;
	if (result == 0 && diff->offset < size)
		result =
		    ceph.rbd_diff_iterate2(to->image, job->name[0] ? job->name : NULL, diff->offset,
					   size - diff->offset, 1, 0, note_difference, &walk);
	if (result < 0 && !(result == -ECANCELED && walk.full))
		return failed(&job->err, rbd_errno(job->pool, result), to->volume.name);
	if (!walk.full) {
		diff->offset = size;
		diff->finished = true;
	}
	return 0;
}
