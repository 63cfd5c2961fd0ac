/* SPDX-License-Identifier: Apache-2.0 */
/* latency.c: how long commands take. What is counted on the way of a command is its loop's own: a
 * subtraction, a count of leading zeros and two additions without a lock; the clock is the one the
 * loop has read at its wake-up anyway. */
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "core/heap.h"
#include "core/loop.h"
#include "target/internal.h"

static void add(const struct scsi_latencies *from, struct scsi_latencies *sum)
{
	latency_add(&from->read, &sum->read);
	latency_add(&from->write, &sum->write);
}

/* Made with the first READ or WRITE: most I_T_L nexuses of a large box never see one. NULL: no
 * memory. */
static struct scsi_latencies *latency_of(struct scsi_itl *itl)
{
	if (!itl->latency)
		__atomic_store_n(&itl->latency, heap_zalloc(sizeof(*itl->latency)),
				 __ATOMIC_RELEASE);
	return itl->latency;
}

static void measure(const struct scsi_task *task, uint64_t ns)
{
	struct scsi_latencies *own, *all = &task->nexus->latency;
	bool write = (task->opcode->flags & (OPCODE_WRITES | OPCODE_SANITIZES)) == OPCODE_WRITES;
	unsigned bucket = latency_bucket(ns);

	if (!write && (task->direction != SCSI_DATA_IN || task->opcode->reply_size))
		return;
	own = latency_of(task->itl);
	latency_count(write ? &all->write : &all->read, bucket, ns);
	if (own)
		latency_count(write ? &own->write : &own->read, bucket, ns);
}

/* ---- slow commands */
static struct {
	pthread_mutex_t lock; /* over what follows; taken for slow commands only */
	uint64_t count;
	struct scsi_slow ring[SCSI_SLOW_MAX];
} slow = {.lock = PTHREAD_MUTEX_INITIALIZER};

static uint64_t less(uint64_t from, uint64_t what)
{
	return from > what ? from - what : 0;
}

/* What it waited for; the parts make up the whole. */
static void divide(const struct scsi_task *task, struct scsi_slow *entry)
{
	uint64_t initiator = less(task->executed_ns, task->begun_ns);
	uint64_t inside = less(task->volume_ns, task->waited_ns);
	uint64_t device = task->device_ns < inside ? task->device_ns : inside;

	entry->part_ns[SCSI_SLOW_INITIATOR] = initiator;
	entry->part_ns[SCSI_SLOW_DEVICE] = device;
	entry->part_ns[SCSI_SLOW_ENGINE] = inside - device;
	entry->part_ns[SCSI_SLOW_QUEUE] = less(entry->total_ns, initiator + inside);
}

/* The name in "IQN,i,0xISID". */
static void copy_initiator(const char *port, char name[SCSI_NAME_MAX + 1])
{
	const char *end = strstr(port, ",i,0x");

	snprintf(name, SCSI_NAME_MAX + 1, "%.*s", end ? (int)(end - port) : SCSI_NAME_MAX, port);
}

static void keep(const struct scsi_task *task, uint64_t ns)
{
	struct scsi_slow *entry;
	uint64_t wall_ns = loop_wall(task->nexus->loop);

	pthread_mutex_lock(&slow.lock);
	entry = &slow.ring[slow.count++ % SCSI_SLOW_MAX];
	*entry = (struct scsi_slow){
	    .number = latency_slow_number(),
	    .wall_ns = wall_ns,
	    .lun = task->itl->mapping->lun,
	    .command = task->opcode->name,
	    .lba = task->lba,
	    .blocks = task->blocks,
	    .total_ns = ns,
	    .aborted = task->aborted,
	};
	copy_initiator(task->nexus->initiator_port, entry->initiator);
	snprintf(entry->target, sizeof(entry->target), "%s", task->nexus->target->name);
	divide(task, entry);
	pthread_mutex_unlock(&slow.lock);
}

unsigned scsi_slow_list(struct scsi_slow *list, unsigned max)
{
	unsigned count = 0;

	pthread_mutex_lock(&slow.lock);
	while (count < max && count < SCSI_SLOW_MAX && count < slow.count) {
		list[count] = slow.ring[(slow.count - 1 - count) % SCSI_SLOW_MAX];
		count++;
	}
	pthread_mutex_unlock(&slow.lock);
	return count;
}

void latency_task_ends(struct scsi_task *task)
{
	uint64_t ns = less(loop_now(task->nexus->loop), task->begun_ns),
		 limit = latency_slow_limit();

	measure(task, ns);
	if (limit && ns > limit)
		keep(task, ns);
}

/* ---- who comes and goes. Topology lock held. */
static struct list clients = {&clients, &clients};
static unsigned client_count;

void latency_itl_goes(struct scsi_itl *itl)
{
	struct scsi_lun_mapping *mapping = itl->mapping;

	if (itl->latency && mapping->retired_latency) {
		add(itl->latency, mapping->retired_latency);
		heap_free(itl->latency);
	} else if (itl->latency) {
		mapping->retired_latency = itl->latency;
	}
	itl->latency = NULL;
}

void latency_mapping_goes(struct scsi_lun_mapping *mapping)
{
	heap_free(mapping->retired_latency);
}

static struct scsi_client *find_client(const char *name)
{
	list_for_each (it, &clients) {
		struct scsi_client *client = list_entry(it, struct scsi_client, link);

		if (strcmp(client->name, name) == 0)
			return client;
	}
	return NULL;
}

/* Room for one more: who has been away longest is forgotten. */
static bool make_room(void)
{
	if (client_count < SCSI_CLIENTS_MAX)
		return true;
	list_for_each (it, &clients) {
		struct scsi_client *client = list_entry(it, struct scsi_client, link);

		if (!list_empty(&client->nexuses))
			continue;
		list_remove(&client->link);
		heap_free(client);
		client_count--;
		return true;
	}
	return false;
}

static struct scsi_client *new_client(const char *name)
{
	struct scsi_client *client = make_room() ? heap_zalloc(sizeof(*client)) : NULL;

	if (!client)
		return NULL;
	snprintf(client->name, sizeof(client->name), "%s", name);
	list_init(&client->nexuses);
	list_init(&client->link);
	client_count++;
	return client;
}

void latency_nexus_comes(struct scsi_nexus *nexus)
{
	char name[SCSI_NAME_MAX + 1];

	copy_initiator(nexus->initiator_port, name);
	nexus->client = find_client(name);
	if (!nexus->client)
		nexus->client = new_client(name);
	if (!nexus->client)
		return;
	list_push_back(&nexus->client->nexuses, &nexus->client_link);
	list_remove(&nexus->client->link);
	list_push_back(&clients, &nexus->client->link);
}

void latency_nexus_goes(struct scsi_nexus *nexus)
{
	if (!nexus->client)
		return;
	add(&nexus->latency, &nexus->client->retired);
	list_remove(&nexus->client_link);
	list_remove(&nexus->client->link);
	list_push_back(&clients, &nexus->client->link);
	nexus->client = NULL;
}

/* ---- who asks */
bool scsi_target_latency(struct scsi_target *target, unsigned lun, struct scsi_latencies *sum)
{
	struct scsi_lun_mapping *mapping;

	topology_lock();
	mapping = target_find_mapping(target, lun);
	if (mapping && mapping->retired_latency)
		add(mapping->retired_latency, sum);
	if (mapping) {
		list_for_each (it, &mapping->itls) {
			struct scsi_itl *itl = list_entry(it, struct scsi_itl, mapping_link);
			const struct scsi_latencies *latency =
			    __atomic_load_n(&itl->latency, __ATOMIC_ACQUIRE);

			if (latency)
				add(latency, sum);
		}
	}
	topology_unlock();
	return mapping != NULL;
}

void scsi_client_latency(const char *name,
			 void (*each)(void *context, const char *name,
				      const struct scsi_latencies *latencies),
			 void *context)
{
	topology_lock();
	list_for_each (it, &clients) {
		struct scsi_client *client = list_entry(it, struct scsi_client, link);
		struct scsi_latencies sum = client->retired;

		if (name && strcmp(client->name, name) != 0)
			continue;
		list_for_each (other, &client->nexuses)
			add(&list_entry(other, struct scsi_nexus, client_link)->latency, &sum);
		each(context, client->name, &sum);
	}
	topology_unlock();
}
