/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_VOLUMES_BENCH_WORN_H
#define TESTS_UNIT_VOLUMES_BENCH_WORN_H

#include "tests/unit/volumes/bench_pool.h"

/* Devices with sectors that can not be read: those at scratches.offset of scratches.path. */
static const struct world_ops *sound;
static struct world_ops worn;
static struct {
	const char *path;
	uint64_t offset[4];
	unsigned count;
} scratches;

struct failing {
	struct message message;
	struct disk_request *request;
};

static inline void fail_now(struct message *message)
{
	struct failing *failing = container_of(message, struct failing, message);
	struct disk_request *request = failing->request;

	heap_free(failing);
	request->done(request, -EIO);
}

static inline void worn_submit(struct loop *loop, struct disk *disk, struct disk_request *request)
{
	struct failing *failing;

	for (unsigned i = 0; i < scratches.count; i++) {
		if (request->op != DISK_READ || strcmp(disk->path, scratches.path) != 0 ||
		    request->offset >= scratches.offset[i] + 4096 ||
		    request->offset + request->length <= scratches.offset[i])
			continue;
		failing = heap_zalloc(sizeof(*failing));
		assert_non_null(failing);
		failing->request = request;
		loop_post(loop, &failing->message, fail_now);
		return;
	}
	sound->disk_submit(loop, disk, request);
}

static inline int worn_open(const char *path, unsigned flags, uint64_t size, struct disk **ret_disk,
			    struct err *err)
{
	int result = sound->disk_open(path, flags, size, ret_disk, err);

	if (result == 0)
		(*ret_disk)->world = &worn;
	return result;
}

static inline void worn_setup(struct bench *bench)
{
	bench_setup(bench);
	loop_destroy(bench->loop);
	memset(&scratches, 0, sizeof(scratches));
	sound = bench->world;
	worn = *sound;
	worn.disk_open = worn_open;
	worn.disk_submit = worn_submit;
	bench->world = &worn;
	assert_int_equal(loop_create(bench->world, &bench->loop, &bench->err), 0);
}

#endif
