/* SPDX-License-Identifier: Apache-2.0 */
/* turns.c: fair shares of a pool between its volumes, per loop and so without a lock. As long as
 * one volume alone uses a loop nothing is held back. When two have done so within TURNS_MEET_NS,
 * the back end gets at most TURNS_REQUESTS and TURNS_BYTES from this loop at a time; the rest waits
 * by volume, and whoever waits gets TURNS_QUANTUM bytes a round (deficit round robin): what a
 * volume does not use of its turn while it still waits is its own in the next one. */
#include <errno.h>

#include "core/heap.h"
#include "volumes/lanes.h"
#include "volumes/qos.h"

#define COST_MIN 4096u /* of one request, bytes: a small one is work too */

struct queue {
	struct list link; /* of the lane, in the order of turns; or free */
	struct volume *volume;
	struct list waiting; /* struct volume_request, link */
	uint64_t deficit;
};

struct turns_lane {
	struct turns *turns;
	struct loop *loop;
	unsigned requests; /* at the back end */
	uint64_t bytes;
	const struct volume *last;
	uint64_t met_ns;    /* when two volumes were last seen */
	struct list queues; /* with something waiting */
	struct list spare;
};

struct turns {
	struct lanes lanes;
};

struct turns *turns_new(void)
{
	struct turns *turns = heap_zalloc(sizeof *turns);

	if (turns)
		lanes_init(&turns->lanes);
	return turns;
}

static void free_queues(struct list *list)
{
	struct list *link;

	while ((link = list_pop_front(list)))
		heap_free(list_entry(link, struct queue, link));
}

void turns_free(struct turns *turns)
{
	if (!turns)
		return;
	for (unsigned i = 0; i < turns->lanes.count; i++) {
		struct turns_lane *lane = turns->lanes.entry[i].lane;

		free_queues(&lane->queues);
		free_queues(&lane->spare);
		heap_free(lane);
	}
	lanes_finish(&turns->lanes);
	heap_free(turns);
}

static struct turns_lane *lane_add(struct turns *turns, struct loop *loop)
{
	struct turns_lane *lane = heap_zalloc(sizeof *lane);

	if (!lane)
		return NULL;
	lane->turns = turns;
	lane->loop = loop;
	list_init(&lane->queues);
	list_init(&lane->spare);
	if (lanes_add(&turns->lanes, loop, lane))
		return lane;
	heap_free(lane);
	return NULL;
}

static struct turns_lane *lane_of(struct turns *turns, struct loop *loop)
{
	struct turns_lane *lane = lanes_find(&turns->lanes, loop);

	return lane ? lane : lane_add(turns, loop);
}

/* A discard is work for the map, however long. */
static uint64_t cost_of(const struct volume_request *request)
{
	return request->op == VOLUME_DISCARD || request->length < COST_MIN ? COST_MIN
									   : request->length;
}

static void dispatch(struct turns_lane *lane);

static void turn_done(struct volume_request *request, int result)
{
	struct turns_lane *lane = request->turn;

	request->done = request->turn_done;
	request->turn = NULL;
	lane->requests--;
	lane->bytes -= cost_of(request);
	if (!list_empty(&lane->queues))
		dispatch(lane);
	request->done(request, result);
}

static void send(struct turns_lane *lane, struct volume_request *request)
{
	request->turn = lane;
	request->turn_done = request->done;
	request->done = turn_done;
	lane->requests++;
	lane->bytes += cost_of(request);
	request->volume->ops->submit(request->volume, request);
}

static bool full(const struct turns_lane *lane)
{
	return lane->requests >= TURNS_REQUESTS || lane->bytes >= TURNS_BYTES;
}

static void turn_over(struct turns_lane *lane, struct queue *queue)
{
	list_remove(&queue->link);
	if (list_empty(&queue->waiting))
		list_push_front(&lane->spare, &queue->link);
	else
		list_push_back(&lane->queues, &queue->link);
}

static void dispatch(struct turns_lane *lane)
{
	while (!list_empty(&lane->queues) && !full(lane)) {
		struct queue *queue = list_entry(lane->queues.next, struct queue, link);
		struct volume_request *request =
		    list_entry(queue->waiting.next, struct volume_request, link);

		if (list_empty(&queue->waiting)) { /* cancelled */
			turn_over(lane, queue);
			continue;
		}
		if (queue->deficit < cost_of(request)) {
			queue->deficit += TURNS_QUANTUM;
			turn_over(lane, queue);
			continue;
		}
		queue->deficit -= cost_of(request);
		list_remove(&request->link);
		request->queued = false;
		volume_waited(request);
		if (list_empty(&queue->waiting))
			turn_over(lane, queue);
		send(lane, request);
	}
}

static struct queue *queue_of(struct turns_lane *lane, struct volume *volume)
{
	struct list *link;
	struct queue *queue;

	list_for_each (it, &lane->queues)
		if (list_entry(it, struct queue, link)->volume == volume)
			return list_entry(it, struct queue, link);
	link = list_pop_front(&lane->spare);
	queue = link ? list_entry(link, struct queue, link) : heap_zalloc(sizeof *queue);
	if (!queue)
		return NULL;
	queue->volume = volume;
	queue->deficit = TURNS_QUANTUM; /* who comes anew begins with a turn */
	list_init(&queue->waiting);
	list_push_back(&lane->queues, &queue->link);
	return queue;
}

/* Do several volumes use this loop? */
static bool volumes_meet(struct turns_lane *lane, const struct volume *volume)
{
	uint64_t now = loop_now(lane->loop);

	if (lane->last != volume) {
		if (lane->last)
			lane->met_ns = now + 1;
		lane->last = volume;
	}
	return lane->met_ns && now < lane->met_ns + TURNS_MEET_NS;
}

void turns_submit(struct turns *turns, struct volume_request *request)
{
	struct volume *volume = request->volume;
	struct turns_lane *lane = NULL;
	struct queue *queue;

	if (turns && request->op != VOLUME_FLUSH && request->op != VOLUME_EXTENTS)
		lane = lane_of(turns, request->loop);
	if (!lane) {
		volume->ops->submit(volume, request);
		return;
	}
	if (list_empty(&lane->queues) && (!volumes_meet(lane, volume) || !full(lane))) {
		send(lane, request);
		return;
	}
	volumes_meet(lane, volume);
	queue = queue_of(lane, volume);
	if (!queue) {
		send(lane, request);
		return;
	}
	request->queued = true;
	request->gate_ns = loop_now(lane->loop);
	list_push_back(&queue->waiting, &request->link);
	dispatch(lane);
}

/* An empty queue goes with its next turn. */
bool turns_cancel(struct volume_request *request)
{
	if (!request->queued)
		return false;
	list_remove(&request->link);
	request->queued = false;
	return true;
}
