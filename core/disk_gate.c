/* SPDX-License-Identifier: Apache-2.0 */
#include "core/disk_gate.h"

#include <dirent.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#define PLACES_UNKNOWN 64u /* of a file system that tells no device: FUSE, NFS, btrfs */
#define PIECE_MAX      (1u << 20)
#define LAYERS_MAX     8u /* devices made of devices made of .. */

/* scratch[] of a request holds the message and the function while it waits. */
#define SCRATCH_START 8
_Static_assert(sizeof(struct message) <= (SCRATCH_START - 1) * sizeof(uint64_t),
	       "scratch[0] is the engines', scratch[9] file_disk's");

/* ---- how many */

static bool read_line(const char *path, char line[32])
{
	FILE *file = fopen(path, "re");
	bool got = file && fgets(line, 32, file);

	if (file)
		fclose(file);
	return got;
}

static uint64_t queue_number(dev_t device, const char *name)
{
	static const char *const forms[] = {"/sys/dev/block/%u:%u/queue/%s",
					    "/sys/dev/block/%u:%u/../queue/%s"};
	char path[128], line[32];

	for (unsigned i = 0; i < 2; i++) {
		snprintf(path, sizeof path, forms[i], major(device), minor(device), name);
		if (read_line(path, line))
			return strtoull(line, NULL, 10);
	}
	return 0;
}

static void narrow(struct disk_gate *gate, dev_t device)
{
	uint64_t places = queue_number(device, "nr_requests");
	uint64_t bytes = queue_number(device, "max_sectors_kb") * 1024;
	uint64_t segments = queue_number(device, "max_segments") * 4096;

	if (places && (!gate->depth || places < gate->depth))
		gate->depth = (unsigned)(places < UINT16_MAX ? places : UINT16_MAX);
	if (bytes && bytes < gate->piece)
		gate->piece = bytes;
	if (segments && segments < gate->piece)
		gate->piece = segments;
}

/* What the narrowest of the devices it is made of lets through. */
static void look_at(struct disk_gate *gate, dev_t device, unsigned layer)
{
	char path[64];
	struct dirent *entry;
	DIR *slaves;

	narrow(gate, device);
	snprintf(path, sizeof path, "/sys/dev/block/%u:%u/slaves", major(device), minor(device));
	slaves = layer < LAYERS_MAX ? opendir(path) : NULL;
	while (slaves && (entry = readdir(slaves))) {
		char name[sizeof path + sizeof entry->d_name + 8], line[32], *minor_part;

		snprintf(name, sizeof name, "%s/%s/dev", path, entry->d_name);
		if (entry->d_name[0] != '.' && read_line(name, line) &&
		    (minor_part = strchr(line, ':')))
			look_at(gate,
				makedev((unsigned)strtoul(line, NULL, 10),
					(unsigned)strtoul(minor_part + 1, NULL, 10)),
				layer + 1);
	}
	if (slaves)
		closedir(slaves);
}

/* A quarter is left to whoever else uses the device, and to what the kernel makes of a request. */
void disk_gate_init(struct disk_gate *gate, dev_t device)
{
	*gate = (struct disk_gate){.piece = PIECE_MAX};
	look_at(gate, device, 0);
	if (!gate->depth)
		gate->depth = PLACES_UNKNOWN;
	gate->depth = gate->depth < 4 ? 1 : gate->depth / 4 * 3;
	pthread_mutex_init(&gate->lock, NULL);
	list_init(&gate->waiting);
}

void disk_gate_destroy(struct disk_gate *gate)
{
	if (gate->depth)
		pthread_mutex_destroy(&gate->lock);
}

/* ---- one request */

static unsigned places_of(const struct disk_gate *gate, const struct disk_request *request)
{
	if (request->op != DISK_READ && request->op != DISK_WRITE)
		return 1;
	return (unsigned)((request->length + gate->piece - 1) / gate->piece);
}

/* One that takes more than there are goes alone. */
static bool take(struct disk_gate *gate, unsigned places)
{
	unsigned used = __atomic_load_n(&gate->used, __ATOMIC_SEQ_CST);

	do {
		if (used && used + places > gate->depth)
			return false;
	} while (!__atomic_compare_exchange_n(&gate->used, &used, used + places, true,
					      __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST));
	return true;
}

static struct message *message_of(struct disk_request *request)
{
	return (struct message *)(void *)&request->scratch[1];
}

bool disk_gate_enter(struct disk_gate *gate, struct disk_request *request, disk_gate_start *start)
{
	unsigned places = places_of(gate, request);
	bool goes;

	if (__atomic_load_n(&gate->waits, __ATOMIC_RELAXED) == 0 && take(gate, places))
		return true;
	/* Who leaves looks at waits after he has given up his places, so one of both notices. */
	pthread_mutex_lock(&gate->lock);
	__atomic_fetch_add(&gate->waits, 1, __ATOMIC_SEQ_CST);
	goes = list_empty(&gate->waiting) && take(gate, places);
	if (goes) {
		__atomic_fetch_sub(&gate->waits, 1, __ATOMIC_SEQ_CST);
	} else {
		request->scratch[SCRATCH_START] = (uint64_t)(uintptr_t)start;
		list_push_back(&gate->waiting, &request->link);
	}
	pthread_mutex_unlock(&gate->lock);
	return goes;
}

static void go(struct message *message)
{
	struct disk_request *request =
	    (struct disk_request *)(void *)((char *)message -
					    offsetof(struct disk_request, scratch[1]));

	((disk_gate_start *)(uintptr_t)request->scratch[SCRATCH_START])(request);
}

void disk_gate_leave(struct disk_gate *gate, const struct disk_request *request)
{
	__atomic_fetch_sub(&gate->used, places_of(gate, request), __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&gate->waits, __ATOMIC_SEQ_CST) == 0)
		return;
	pthread_mutex_lock(&gate->lock);
	while (!list_empty(&gate->waiting)) {
		struct disk_request *next =
		    list_entry(gate->waiting.next, struct disk_request, link);

		if (!take(gate, places_of(gate, next)))
			break;
		list_remove(&next->link);
		__atomic_fetch_sub(&gate->waits, 1, __ATOMIC_SEQ_CST);
		loop_post(next->loop, message_of(next), go);
	}
	pthread_mutex_unlock(&gate->lock);
}
