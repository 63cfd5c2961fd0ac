/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/sim_world.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/heap.h"
#include "tests/sim/sim_image.h"

/* A guided tour: the scheduler (sim_step, sim_poll) picks whose turn it is and which finished
 * I/O is delivered; the device (device_*) keeps two views of each disk, what a read sees (live)
 * and what survives for sure (durable), and between them the log of volatile writes; sim_crash()
 * makes a new world out of durable plus any part of the log. */

#define SIM_LOOPS_MAX   16
#define SIM_DISKS_MAX   8
#define SIM_FAULTS_MAX  64
#define SIM_NESTING_MAX 16
#define SIM_LOG_MAX     (48u << 20) /* bytes of volatile writes: beyond, the oldest are destaged */
#define SLOW_NS         3000000000ull
#define SIM_WALL_START  1795392000000000000ull

struct sim_loop {
	struct sim *sim;
	struct loop *loop;
	uint64_t deadline; /* of its nearest timer, as told by the last poll */
	bool awake;
};

/* A volatile write or discard. In the log from submission until durable. */
struct volatile_write {
	struct list link;
	uint64_t offset, length;
	uint64_t submitted, completed; /* event numbers; completed 0 = in flight */
	bool fua;
	uint8_t *data; /* NULL: zeros (a discard) */
	uint8_t *gone; /* per sector: never to be applied, or NULL */
};

struct device {
	struct sim *sim;
	char path[256];
	uint64_t size;
	bool volatile_cache, exclusive;
	bool pulled;
	unsigned opened, pulls;         /* a handle from before a pull is dead */
	unsigned slowness;              /* times as slow as others */
	struct sim_image durable, live; /* live is an overlay of durable */
	struct list log;                /* volatile_write, in submission order */
	uint64_t log_bytes;
};

struct sim_disk {
	struct disk disk;
	struct device *device;
	bool exclusive;
	unsigned pulls;
};

/* One request on its way. */
struct flight {
	struct list link;
	struct disk_request *request;
	struct device *device;
	struct volatile_write *write; /* write and discard */
	uint64_t due, submitted;      /* virtual ns; event number */
	uint64_t flip;
	enum sim_fault fault;
};

struct fault {
	uint64_t index;
	enum sim_fault kind;
};

struct sim {
	struct rng rng;
	uint64_t now, events, io_count, fua_count;
	unsigned slow_fua; /* one in so many FUA writes takes seconds */
	unsigned slow_writes;
	struct sim_loop *loops[SIM_LOOPS_MAX];
	unsigned loop_count, idle_rounds, next_loop;
	struct device *devices[SIM_DISKS_MAX];
	unsigned device_count;
	struct list flights; /* in no order that matters */
	unsigned in_flight;
	struct fault faults[SIM_FAULTS_MAX];
	unsigned fault_count;
	bool fault_fired;
	enum disk_op fault_op;
	uint64_t fail_from[DISK_DISCARD + 1]; /* UINT64_MAX = never */
	const char *complaint;
};

static struct sim *nesting[SIM_NESTING_MAX];
static unsigned nesting_depth;

static struct sim *sim_current(void)
{
	assert(nesting_depth > 0);
	return nesting[nesting_depth - 1];
}

void sim_enter(struct sim *sim)
{
	assert(nesting_depth < SIM_NESTING_MAX);
	nesting[nesting_depth++] = sim;
}

void sim_leave(struct sim *sim)
{
	assert(sim_current() == sim);
	nesting_depth--;
}

static void complain(struct sim *sim, const char *sentence)
{
	if (!sim->complaint)
		sim->complaint = sentence;
}

const char *sim_complaint(const struct sim *sim)
{
	return sim->complaint;
}

/* The volatile log */

static void write_free(struct device *device, struct volatile_write *write)
{
	if (!write)
		return;
	list_remove(&write->link);
	if (write->data)
		device->log_bytes -= write->length;
	free(write->data);
	free(write->gone);
	free(write);
}

static void write_lose_sector(struct volatile_write *write, uint64_t sector)
{
	if (!write->gone)
		write->gone = calloc(write->length / SIM_SECTOR, 1);
	assert(write->gone);
	write->gone[sector] = 1;
}

/* Apply the sectors of @write that are still its own and, with @torn, were written in time. */
static void write_apply(const struct volatile_write *write, struct sim_image *image,
			const uint8_t *torn)
{
	uint64_t sectors = write->length / SIM_SECTOR, from = 0;

	while (from < sectors) {
		uint64_t to = from;

		while (to < sectors && !(write->gone && write->gone[to]) && !(torn && torn[to]))
			to++;
		if (to > from && write->data)
			sim_image_write(image, write->offset + from * SIM_SECTOR,
					write->data + from * SIM_SECTOR, (to - from) * SIM_SECTOR);
		else if (to > from)
			sim_image_zero(image, write->offset + from * SIM_SECTOR,
				       (to - from) * SIM_SECTOR);
		from = to + 1;
	}
}

/* @winner is durable: what older completed writes had under it is history. */
static void log_supersede(struct device *device, const struct volatile_write *winner)
{
	list_for_each (it, &device->log) {
		struct volatile_write *write = list_entry(it, struct volatile_write, link);
		uint64_t low, high;

		if (write == winner || !write->completed || write->completed > winner->completed)
			continue;
		low = write->offset > winner->offset ? write->offset : winner->offset;
		high = write->offset + write->length;
		if (high > winner->offset + winner->length)
			high = winner->offset + winner->length;
		for (uint64_t at = low; at < high; at += SIM_SECTOR)
			write_lose_sector(write, (at - write->offset) / SIM_SECTOR);
	}
}

static void write_harden(struct device *device, struct volatile_write *write)
{
	write_apply(write, &device->durable, NULL);
	log_supersede(device, write);
	write_free(device, write);
}

/* The completed write that became complete first, submitted or completed before @before. */
static struct volatile_write *log_oldest(struct device *device, uint64_t before)
{
	struct volatile_write *oldest = NULL;

	list_for_each (it, &device->log) {
		struct volatile_write *write = list_entry(it, struct volatile_write, link);

		if (write->completed && write->completed < before &&
		    (!oldest || write->completed < oldest->completed))
			oldest = write;
	}
	return oldest;
}

struct ready {
	struct volatile_write *write;
};

static int ready_order(const void *a, const void *b)
{
	const struct ready *x = a, *y = b;

	return x->write->completed < y->write->completed ? -1 : 1;
}

/* What was complete before event @before is durable now, in the order it completed. */
static void log_flush(struct device *device, uint64_t before)
{
	struct ready *ready;
	unsigned count = 0;

	list_for_each (it, &device->log)
		count++;
	ready = calloc(count + 1, sizeof(*ready));
	assert(ready);
	count = 0;
	list_for_each (it, &device->log) {
		struct volatile_write *write = list_entry(it, struct volatile_write, link);

		if (write->completed && write->completed < before)
			ready[count++].write = write;
	}
	qsort(ready, count, sizeof(*ready), ready_order);
	for (unsigned i = 0; i < count; i++) {
		write_apply(ready[i].write, &device->durable, NULL);
		write_free(device, ready[i].write);
	}
	free(ready);
}

/* A real cache destages when it is full. */
static void log_bound(struct device *device)
{
	while (device->log_bytes > SIM_LOG_MAX) {
		struct volatile_write *oldest = log_oldest(device, UINT64_MAX);

		if (!oldest)
			return;
		write_harden(device, oldest);
	}
}

static struct volatile_write *log_add(struct device *device, const struct disk_request *request)
{
	struct volatile_write *write = calloc(1, sizeof(*write));
	uint8_t *to;

	assert(write);
	write->offset = request->offset;
	write->length = request->length;
	write->fua = request->flags & DISK_FUA;
	write->submitted = ++device->sim->events;
	list_push_back(&device->log, &write->link);
	if (request->op == DISK_DISCARD)
		return write;
	write->data = to = malloc(request->length);
	assert(to);
	for (unsigned i = 0; i < request->iov_count; i++) {
		memcpy(to, request->iov[i].iov_base, request->iov[i].iov_len);
		to += request->iov[i].iov_len;
	}
	device->log_bytes += request->length;
	return write;
}

/* Devices */

static struct device *device_find(struct sim *sim, const char *path)
{
	for (unsigned i = 0; i < sim->device_count; i++) {
		if (strcmp(sim->devices[i]->path, path) == 0)
			return sim->devices[i];
	}
	return NULL;
}

static struct device *device_add(struct sim *sim, const char *path, uint64_t size,
				 const struct sim_image *below)
{
	struct device *device = calloc(1, sizeof(*device));

	assert(device && sim->device_count < SIM_DISKS_MAX);
	device->sim = sim;
	snprintf(device->path, sizeof(device->path), "%s", path);
	device->size = size;
	device->volatile_cache = true;
	device->slowness = 1;
	sim_image_init(&device->durable, below);
	sim_image_init(&device->live, &device->durable);
	list_init(&device->log);
	sim->devices[sim->device_count++] = device;
	return device;
}

static void device_free(struct device *device)
{
	assert(device->opened == 0);
	list_for_each_safe (it, &device->log)
		write_free(device, list_entry(it, struct volatile_write, link));
	sim_image_finish(&device->live);
	sim_image_finish(&device->durable);
	free(device);
}

void sim_disk_create(struct sim *sim, const char *path, uint64_t size)
{
	assert(!device_find(sim, path));
	device_add(sim, path, size, NULL);
}

void sim_disk_set_cache(struct sim *sim, const char *path, bool volatile_cache)
{
	struct device *device = device_find(sim, path);

	assert(device && device->opened == 0);
	device->volatile_cache = volatile_cache;
}

void sim_disk_set_slowness(struct sim *sim, const char *path, unsigned times)
{
	struct device *device = device_find(sim, path);

	assert(device && times);
	device->slowness = times;
}

void sim_disk_rot(struct sim *sim, const char *path, uint64_t offset)
{
	struct device *device = device_find(sim, path);
	uint8_t durable, live;

	assert(device);
	sim_image_read(&device->live, offset, &live, 1);
	sim_image_read(&device->durable, offset, &durable, 1);
	live ^= 0x10;
	durable ^= 0x10;
	sim_image_write(&device->live, offset, &live, 1);
	sim_image_write(&device->durable, offset, &durable, 1);
}

uint64_t sim_disk_size(struct sim *sim, const char *path)
{
	const struct device *device = device_find(sim, path);

	assert(device);
	return device->size;
}

void sim_disk_peek(struct sim *sim, const char *path, uint64_t offset, void *data, size_t length)
{
	struct device *device = device_find(sim, path);

	assert(device);
	sim_image_read(&device->live, offset, data, length);
}

/* Faults */

static const char *const fault_names[SIM_FAULT_COUNT] = {
    [SIM_FAULT_NONE] = "none",   [SIM_FAULT_EIO] = "eio",     [SIM_FAULT_ENOSPC] = "enospc",
    [SIM_FAULT_SHORT] = "short", [SIM_FAULT_HANG] = "hang",   [SIM_FAULT_MISDIRECT] = "misdirect",
    [SIM_FAULT_LOST] = "lost",   [SIM_FAULT_STALE] = "stale", [SIM_FAULT_FLIP] = "flip",
};

const char *sim_fault_name(enum sim_fault fault)
{
	return fault_names[fault];
}

/* What was completed and not flushed was in its cache, and is gone, or made it to the medium. */
void sim_disk_pull(struct sim *sim, const char *path)
{
	struct device *device = device_find(sim, path);

	assert(device && !device->pulled);
	device->pulled = true;
	device->pulls++;
	list_for_each (it, &sim->flights) {
		struct flight *flight = list_entry(it, struct flight, link);

		if (flight->device == device)
			flight->fault = SIM_FAULT_EIO;
	}
	if (rng_one_in(&sim->rng, 2)) {
		log_flush(device, sim->events);
		return;
	}
	list_for_each_safe (it, &device->log) {
		struct volatile_write *write = list_entry(it, struct volatile_write, link);

		if (write->completed)
			write_free(device, write);
	}
	sim_image_finish(&device->live);
	sim_image_init(&device->live, &device->durable);
}

void sim_disk_plug(struct sim *sim, const char *path)
{
	struct device *device = device_find(sim, path);

	assert(device && device->pulled);
	device->pulled = false;
}

bool sim_disk_renew(struct sim *sim, const char *path)
{
	struct device *device = device_find(sim, path);

	assert(device && device->pulled);
	if (!list_empty(&device->log))
		return false;
	sim_image_finish(&device->live);
	sim_image_finish(&device->durable);
	sim_image_init(&device->durable, NULL);
	sim_image_init(&device->live, &device->durable);
	return true;
}

void sim_fault_at(struct sim *sim, uint64_t io_index, enum sim_fault fault)
{
	assert(sim->fault_count < SIM_FAULTS_MAX);
	sim->faults[sim->fault_count++] = (struct fault){io_index, fault};
}

void sim_fault_from(struct sim *sim, uint64_t io_index, enum disk_op op)
{
	sim->fail_from[op] = io_index;
}

static enum sim_fault fault_of(struct sim *sim, uint64_t index, enum disk_op op)
{
	for (unsigned i = 0; i < sim->fault_count; i++) {
		if (sim->faults[i].index != index)
			continue;
		sim->fault_fired = true;
		sim->fault_op = op;
		return sim->faults[i].kind;
	}
	return index >= sim->fail_from[op] ? SIM_FAULT_EIO : SIM_FAULT_NONE;
}

bool sim_fault_fired(const struct sim *sim, enum disk_op *ret_op)
{
	*ret_op = sim->fault_op;
	return sim->fault_fired;
}

void sim_release_hung(struct sim *sim)
{
	list_for_each (it, &sim->flights) {
		struct flight *flight = list_entry(it, struct flight, link);

		if (flight->due == UINT64_MAX)
			flight->due = sim->now + 1;
	}
}

/* Finishing a request */

static void read_finish(struct flight *flight)
{
	const struct disk_request *request = flight->request;
	const struct sim_image *image =
	    flight->fault == SIM_FAULT_STALE ? &flight->device->durable : &flight->device->live;
	uint64_t at = request->offset;

	if (flight->fault == SIM_FAULT_MISDIRECT)
		at = (at + (4 + flight->flip % 64) * SIM_PAGE) % flight->device->size & ~511ull;
	for (unsigned i = 0; i < request->iov_count; i++) {
		if (at + request->iov[i].iov_len > flight->device->size)
			at = 0; /* only a misdirected read gets here */
		sim_image_read(image, at, request->iov[i].iov_base, request->iov[i].iov_len);
		at += request->iov[i].iov_len;
	}
	if (flight->fault == SIM_FAULT_FLIP)
		((uint8_t *)request->iov[0].iov_base)[flight->flip % request->iov[0].iov_len] ^= 4;
}

/* The buffers must be the caller's promise kept: unchanged since submission. */
static void write_check_buffers(struct flight *flight)
{
	const uint8_t *data = flight->write->data;

	for (unsigned i = 0; i < flight->request->iov_count; i++) {
		const struct iovec *piece = &flight->request->iov[i];

		if (memcmp(data, piece->iov_base, piece->iov_len) != 0)
			complain(flight->device->sim, "a write's buffer changed while in flight");
		data += piece->iov_len;
	}
}

/* Bend the logged write as the fault wants it. */
static void write_spoil(struct flight *flight)
{
	struct volatile_write *write = flight->write;
	uint64_t sectors = write->length / SIM_SECTOR;

	if (flight->fault == SIM_FAULT_FLIP && write->data)
		write->data[flight->flip % write->length] ^= 4;
	else if (flight->fault == SIM_FAULT_MISDIRECT)
		write->offset = (write->offset + (4 + flight->flip % 64) * SIM_PAGE) %
				    (flight->device->size - write->length + SIM_SECTOR) &
				~511ull;
	else if (flight->fault == SIM_FAULT_SHORT)
		for (uint64_t i = flight->flip % sectors; i < sectors; i++)
			write_lose_sector(write, i);
}

static void write_finish(struct flight *flight)
{
	struct device *device = flight->device;
	struct volatile_write *write = flight->write;

	if (write->data)
		write_check_buffers(flight);
	if (flight->fault == SIM_FAULT_EIO || flight->fault == SIM_FAULT_ENOSPC ||
	    flight->fault == SIM_FAULT_LOST) {
		write_free(device, write);
		return;
	}
	write_spoil(flight);
	write_apply(write, &device->live, NULL);
	write->completed = ++device->sim->events;
	if (!device->volatile_cache || (flight->request->flags & DISK_FUA))
		write_harden(device, write);
	else
		log_bound(device);
}

static int flight_result(const struct flight *flight)
{
	if (flight->fault == SIM_FAULT_EIO || flight->fault == SIM_FAULT_SHORT)
		return -EIO;
	if (flight->fault ==
	    SIM_FAULT_ENOSPC) /* as core/disk_file.c has it: a read wants no space */
		return flight->request->op == DISK_READ ? -EIO : -ENOSPC;
	return 0;
}

static void flight_finish(struct flight *flight)
{
	struct disk_request *request = flight->request;
	struct device *device = flight->device;
	int result = flight_result(flight);

	list_remove(&flight->link);
	device->sim->in_flight--;
	device->sim->fua_count += (request->flags & DISK_FUA) != 0;
	if (flight->write)
		write_finish(flight);
	else if (request->op == DISK_READ && result == 0)
		read_finish(flight);
	else if (request->op == DISK_FLUSH && result == 0 && flight->fault != SIM_FAULT_LOST)
		log_flush(device, flight->submitted);
	free(flight);
	request->done(request, result);
}

/* Submitting one */

static uint64_t latency(struct sim *sim, enum disk_op op)
{
	uint64_t ns = op == DISK_FLUSH ? rng_range(&sim->rng, 100000, 2000000)
				       : rng_range(&sim->rng, 10000, 300000);

	return rng_one_in(&sim->rng, 48) ? ns * 30 : ns;
}

static int request_check(struct sim *sim, const struct device *device,
			 const struct disk_request *request)
{
	uint64_t total = 0;

	if (request->op == DISK_FLUSH)
		return 0;
	if (request->offset > device->size || request->length > device->size - request->offset)
		return -EINVAL;
	if ((request->offset | request->length) % SIM_SECTOR || request->length == 0) {
		complain(sim, "a disk request is not a multiple of the logical block");
		return -EINVAL;
	}
	for (unsigned i = 0; i < request->iov_count && request->op != DISK_DISCARD; i++) {
		if ((uintptr_t)request->iov[i].iov_base % SIM_SECTOR)
			complain(sim, "a disk buffer is not aligned");
		total += request->iov[i].iov_len;
	}
	if (request->op == DISK_DISCARD && request->flags & DISK_ZERO)
		return -EOPNOTSUPP;
	if (request->op != DISK_DISCARD && total != request->length) {
		complain(sim, "a disk request's length is not its buffers'");
		return -EINVAL;
	}
	return 0;
}

/* A discarded page turns to zeros or keeps its bytes, as it likes, but stays with it. */
static void discard_choose(struct sim *sim, struct volatile_write *write)
{
	for (uint64_t at = 0; at < write->length; at += SIM_SECTOR) {
		if (rng_mix(sim->rng.state ^ (write->offset + at) / SIM_PAGE) & 1)
			write_lose_sector(write, at / SIM_SECTOR);
	}
}

static void sim_disk_submit(struct loop *loop, struct disk *disk, struct disk_request *request)
{
	struct device *device = container_of(disk, struct sim_disk, disk)->device;
	struct sim *sim = device->sim;
	struct flight *flight = calloc(1, sizeof(*flight));

	assert(flight && ((struct sim_loop *)loop_engine(loop))->sim == sim);
	request->loop = loop;
	request->disk = disk;
	flight->request = request;
	flight->device = device;
	flight->flip = rng_next(&sim->rng);
	flight->fault = fault_of(sim, sim->io_count++, request->op);
	flight->submitted = ++sim->events;
	flight->due = sim->now + latency(sim, request->op) * device->slowness;
	if ((request->flags & DISK_FUA && sim->slow_fua && rng_one_in(&sim->rng, sim->slow_fua)) ||
	    (request->op == DISK_WRITE && sim->slow_writes &&
	     rng_one_in(&sim->rng, sim->slow_writes)))
		flight->due += SLOW_NS;
	if (request_check(sim, device, request) != 0 ||
	    container_of(disk, struct sim_disk, disk)->pulls != device->pulls)
		flight->fault = SIM_FAULT_EIO;
	else if (request->op == DISK_WRITE || request->op == DISK_DISCARD)
		flight->write = log_add(device, request);
	if (request->op == DISK_DISCARD && flight->write)
		discard_choose(sim, flight->write);
	if (flight->fault == SIM_FAULT_HANG)
		flight->due = UINT64_MAX;
	list_push_back(&sim->flights, &flight->link);
	sim->in_flight++;
}

static int sim_disk_open(const char *path, unsigned flags, uint64_t size, struct disk **ret_disk,
			 struct err *err)
{
	struct sim *sim = sim_current();
	struct device *device = device_find(sim, path);
	struct sim_disk *disk;

	if (device && device->pulled)
		return err_set(err, -ENOENT, "%s: no such device", path);
	if (!device && !(flags & DISK_CREATE))
		return err_set(err, -ENOENT, "%s: no such file", path);
	if (device && device->exclusive && (flags & DISK_EXCLUSIVE))
		return err_set(err, -EBUSY, "%s is in use", path);
	if (!device)
		device = device_add(sim, path, size & ~4095ull, NULL);
	disk = heap_zalloc(sizeof(*disk));
	if (!disk)
		return err_set(err, -ENOMEM, "out of memory");
	disk->device = device;
	disk->pulls = device->pulls;
	disk->exclusive = flags & DISK_EXCLUSIVE;
	device->exclusive |= disk->exclusive;
	device->opened++;
	disk->disk = (struct disk){
	    .world = &world_sim,
	    .path = device->path,
	    .size = device->size,
	    .logical_block = SIM_SECTOR,
	    .memory_alignment = SIM_SECTOR,
	    .volatile_cache = device->volatile_cache,
	    .discards = true,
	};
	*ret_disk = &disk->disk;
	return 0;
}

static void sim_disk_close(struct disk *disk)
{
	struct sim_disk *closing = container_of(disk, struct sim_disk, disk);

	list_for_each (it, &closing->device->sim->flights)
		assert(list_entry(it, struct flight, link)->request->disk != disk);
	if (closing->exclusive)
		closing->device->exclusive = false;
	closing->device->opened--;
	heap_free(closing);
}

/* The scheduler */

static int sim_loop_open(struct loop *loop, struct err *err)
{
	struct sim *sim = sim_current();
	struct sim_loop *entry;

	if (sim->loop_count == SIM_LOOPS_MAX)
		return err_set(err, -ENOSPC, "more loops than the simulator has room for");
	entry = calloc(1, sizeof(*entry));
	assert(entry);
	*entry = (struct sim_loop){.sim = sim, .loop = loop, .deadline = UINT64_MAX, .awake = true};
	sim->loops[sim->loop_count++] = entry;
	loop_set_engine(loop, entry);
	return 0;
}

static void sim_loop_close(struct loop *loop)
{
	struct sim_loop *entry = loop_engine(loop);
	struct sim *sim = entry->sim;

	for (unsigned i = 0; i < sim->loop_count; i++) {
		if (sim->loops[i] == entry) {
			sim->loops[i] = sim->loops[--sim->loop_count];
			break;
		}
	}
	free(entry);
}

/* A finished request of @loop, any of them: the @pick-th. */
static struct flight *flight_due(struct sim *sim, const struct loop *loop, uint64_t *pick)
{
	list_for_each (it, &sim->flights) {
		struct flight *flight = list_entry(it, struct flight, link);

		if (flight->request->loop == loop && flight->due <= sim->now && (*pick)-- == 0)
			return flight;
	}
	return NULL;
}

static unsigned flights_due(struct sim *sim, const struct loop *loop)
{
	unsigned count = 0;

	list_for_each (it, &sim->flights) {
		const struct flight *flight = list_entry(it, struct flight, link);

		count += flight->request->loop == loop && flight->due <= sim->now;
	}
	return count;
}

/* Time stands still in here; sim_step() moves it. */
static bool sim_poll(struct loop *loop, uint64_t wait_ns)
{
	struct sim_loop *entry = loop_engine(loop);
	struct sim *sim = entry->sim;
	unsigned due = flights_due(sim, loop);
	bool any = due > 0 || entry->awake;

	entry->deadline = wait_ns > UINT64_MAX - sim->now ? UINT64_MAX : sim->now + wait_ns;
	entry->awake = false;
	loop_tick(loop);
	if (due > 1 && rng_one_in(&sim->rng, 2))
		due = 1; /* the others come in later rounds, others' rounds between them */
	while (due > 0) {
		uint64_t pick = rng_below(&sim->rng, due--);
		struct flight *flight = flight_due(sim, loop, &pick);

		assert(flight);
		flight_finish(flight);
	}
	return any;
}

static void sim_wake(struct loop *loop)
{
	((struct sim_loop *)loop_engine(loop))->awake = true;
}

static uint64_t sim_monotonic(struct loop *loop)
{
	return ((struct sim_loop *)loop_engine(loop))->sim->now;
}

static uint64_t sim_wall(struct loop *loop)
{
	return SIM_WALL_START + sim_monotonic(loop);
}

static void sim_random(struct loop *loop, void *buffer, size_t length)
{
	struct sim *sim = ((struct sim_loop *)loop_engine(loop))->sim;

	for (uint8_t *to = buffer; length > 0; length--)
		*to++ = (uint8_t)rng_next(&sim->rng);
}

struct loop *sim_loop(struct sim *sim)
{
	struct loop *loop;
	struct err err;

	assert(sim_current() == sim);
	if (loop_create(&world_sim, &loop, &err) != 0) {
		fprintf(stderr, "loop_create: %s\n", err.text);
		abort();
	}
	return loop;
}

static bool time_advance(struct sim *sim)
{
	uint64_t next = UINT64_MAX;

	list_for_each (it, &sim->flights) {
		const struct flight *flight = list_entry(it, struct flight, link);

		next = flight->due < next ? flight->due : next;
	}
	for (unsigned i = 0; i < sim->loop_count; i++) {
		if (sim->loops[i]->awake)
			return true;
		next = sim->loops[i]->deadline < next ? sim->loops[i]->deadline : next;
	}
	if (next == UINT64_MAX)
		return false;
	/* A loop with a due timer may still ask to be polled once more: never stand still. */
	sim->now = next > sim->now ? next : sim->now + 1;
	return true;
}

/* The seed may have passed a loop over that had a message waiting. */
static bool poll_all(struct sim *sim)
{
	bool any = false;

	for (unsigned i = 0; i < sim->loop_count; i++)
		any |= loop_poll(sim->loops[i]->loop, UINT64_MAX);
	return any;
}

bool sim_step(struct sim *sim)
{
	struct sim_loop *entry;

	if (sim->loop_count == 0)
		return false;
	if (rng_one_in(&sim->rng, 3))
		sim->next_loop = (unsigned)rng_below(&sim->rng, sim->loop_count);
	entry = sim->loops[sim->next_loop++ % sim->loop_count];
	sim->now += rng_below(&sim->rng, 2000); /* a round takes time: loops may spin */
	if (loop_poll(entry->loop, UINT64_MAX) || entry->awake)
		sim->idle_rounds = 0;
	else
		sim->idle_rounds++;
	if (sim->idle_rounds < sim->loop_count * 2)
		return true;
	sim->idle_rounds = 0;
	return time_advance(sim) || poll_all(sim);
}

bool sim_until(struct sim *sim, const bool *flag, uint64_t max_steps)
{
	while (!*flag && max_steps-- > 0) {
		if (!sim_step(sim))
			break;
	}
	return *flag;
}

uint64_t sim_now(const struct sim *sim)
{
	return sim->now;
}

uint64_t sim_io_count(const struct sim *sim)
{
	return sim->io_count;
}

uint64_t sim_fua_count(const struct sim *sim)
{
	return sim->fua_count;
}

void sim_set_slow_fua(struct sim *sim, unsigned one_in)
{
	sim->slow_fua = one_in;
}

void sim_set_slow_writes(struct sim *sim, unsigned one_in)
{
	sim->slow_writes = one_in;
}

unsigned sim_in_flight(const struct sim *sim)
{
	return sim->in_flight;
}

struct rng *sim_rng(struct sim *sim)
{
	return &sim->rng;
}

struct sim *sim_create(uint64_t seed)
{
	struct sim *sim = calloc(1, sizeof(*sim));

	assert(sim);
	sim->rng.state = seed;
	sim->now = 1000000000;
	for (unsigned i = 0; i <= DISK_DISCARD; i++)
		sim->fail_from[i] = UINT64_MAX;
	list_init(&sim->flights);
	return sim;
}

void sim_destroy(struct sim *sim)
{
	assert(sim->loop_count == 0 && sim->in_flight == 0);
	for (unsigned i = 0; i < sim->device_count; i++)
		device_free(sim->devices[i]);
	free(sim);
}

/* Crashes */

unsigned sim_outstanding(const struct sim *sim)
{
	unsigned count = 0;

	for (unsigned i = 0; i < sim->device_count; i++) {
		list_for_each (it, &sim->devices[i]->log)
			count++;
	}
	return count;
}

struct survivor {
	const struct volatile_write *write;
	uint64_t moment; /* when it reached the medium, as an event number */
	enum sim_fate fate;
};

static int survivor_order(const void *a, const void *b)
{
	const struct survivor *x = a, *y = b;

	if (x->moment != y->moment)
		return x->moment < y->moment ? -1 : 1;
	return x->write->submitted < y->write->submitted ? -1 : 1;
}

static uint8_t *tear(struct rng *rng, const struct volatile_write *write)
{
	uint64_t sectors = write->length / SIM_SECTOR, cut = rng_below(rng, sectors + 1);
	uint8_t *torn = calloc(sectors, 1);
	unsigned how = (unsigned)rng_below(rng, 3);

	assert(torn);
	for (uint64_t i = 0; i < sectors; i++)
		torn[i] = how == 0 ? i >= cut : how == 1 ? i < cut : rng_one_in(rng, 2);
	return torn;
}

/* What the process before has written, in the cache of its successor's device. */
static void write_inherit(const struct volatile_write *write, struct device *after,
			  const uint8_t *torn)
{
	struct volatile_write *copy = calloc(1, sizeof(*copy));

	assert(copy);
	copy->offset = write->offset;
	copy->length = write->length;
	copy->submitted = ++after->sim->events;
	if (write->data) {
		uint8_t *data = malloc(write->length);

		assert(data);
		memcpy(data, write->data, write->length);
		copy->data = data;
		after->log_bytes += write->length;
	}
	for (uint64_t i = 0; i < write->length / SIM_SECTOR; i++)
		if ((write->gone && write->gone[i]) || (torn && torn[i]))
			write_lose_sector(copy, i);
	list_push_back(&after->log, &copy->link);
	write_apply(copy, &after->live, NULL);
	copy->completed = ++after->sim->events;
	if (!after->volatile_cache || write->fua)
		write_harden(after, copy);
}

/* Completed writes reached the medium in their order; one in flight at any moment since. */
static void device_survive(struct device *device, struct device *after, struct rng *rng,
			   const uint8_t *fates, unsigned count, bool killed)
{
	struct survivor *survivors = calloc(count + 1, sizeof(*survivors));
	unsigned i = 0;

	assert(survivors);
	list_for_each (it, &device->log) {
		const struct volatile_write *write = list_entry(it, struct volatile_write, link);
		uint64_t moment = write->completed;

		if (!moment)
			moment = rng_range(rng, write->submitted, device->sim->events);
		survivors[i] = (struct survivor){write, moment, fates[i]};
		if (killed && write->completed)
			survivors[i].fate = SIM_KEEP;
		i++;
	}
	qsort(survivors, count, sizeof(*survivors), survivor_order);
	for (i = 0; i < count; i++) {
		const struct volatile_write *write = survivors[i].write;
		uint8_t *torn = survivors[i].fate == SIM_TEAR ? tear(rng, write) : NULL;

		if (survivors[i].fate != SIM_DROP && killed)
			write_inherit(write, after, torn);
		else if (survivors[i].fate != SIM_DROP)
			write_apply(write, &after->durable, torn);
		free(torn);
	}
	free(survivors);
}

struct sim *sim_crash(struct sim *sim, const struct sim_plan *plan)
{
	struct sim *after = sim_create(plan->seed);
	struct rng rng = {plan->seed ^ 0x63726173};
	const uint8_t *fates = plan->fates;

	assert(plan->count == sim_outstanding(sim));
	after->now = sim->now + 1000000000;
	after->slow_fua = sim->slow_fua;
	after->slow_writes = sim->slow_writes;
	for (unsigned i = 0; i < sim->device_count; i++) {
		struct device *device = sim->devices[i], *copy;
		unsigned count = 0;

		list_for_each (it, &device->log)
			count++;
		copy = device_add(after, device->path, device->size, &device->durable);
		copy->volatile_cache = device->volatile_cache;
		copy->slowness = device->slowness;
		device_survive(device, copy, &rng, fates, count, plan->killed);
		fates += count;
	}
	return after;
}

static int sim_no_stream(struct loop *loop, int fd, const struct stream_handlers *handlers,
			 void *context, struct stream **ret_stream, struct err *err)
{
	(void)loop, (void)fd, (void)handlers, (void)context, (void)ret_stream;
	return err_set(err, -ENOTSUP, "the simulator has no network yet");
}

const struct world_ops world_sim = {
    .name = "sim",
    .loop_open = sim_loop_open,
    .loop_close = sim_loop_close,
    .poll = sim_poll,
    .wake = sim_wake,
    .monotonic = sim_monotonic,
    .wall = sim_wall,
    .random = sim_random,
    .disk_open = sim_disk_open,
    .disk_close = sim_disk_close,
    .disk_submit = sim_disk_submit,
    .stream_attach = sim_no_stream,
};
