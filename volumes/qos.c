/* SPDX-License-Identifier: Apache-2.0 */
/* qos.c: limits of a volume. A bucket fills at the limit's rate and holds what may be done at once
 * after a quiet time; a request is let through while there is anything in it and takes its whole
 * cost, so that one larger than the bucket runs a debt instead of waiting for ever. Requests wait
 * in a queue of their loop, in order, and one timer per loop wakes them.
 *
 * The lock is taken only for volumes that have a limit. It is held for arithmetic. */
#include <errno.h>
#include <string.h>

#include "core/heap.h"
#include "volumes/lanes.h"
#include "volumes/qos.h"

#define BURST_MS     1000u /* unless said */
#define BURST_MS_MAX 60000u
#define WAIT_MIN_NS  50000ull /* a timer for less costs more than it evens out */
#define NS_PER_S     1e9

struct lane {
	struct qos *qos;
	struct loop *loop;
	struct list waiting; /* struct volume_request, link */
	struct timer timer;
};

struct qos {
	pthread_mutex_t lock; /* all but the lanes' contents, which are their loops' */
	struct volume_limits limits;
	bool limited; /* atomic: any limit at all */
	struct bucket ops, bytes;
	uint64_t refilled_ns;
	uint64_t delayed, delayed_ns; /* atomic */
	struct lanes lanes;
};

void bucket_refill(struct bucket *bucket, double seconds)
{
	bucket->tokens += seconds * bucket->rate;
	if (bucket->tokens > bucket->room)
		bucket->tokens = bucket->room;
}

uint64_t bucket_wait_ns(const struct bucket *bucket)
{
	double missing = -bucket->tokens;

	if (bucket->rate <= 0 || missing < 0)
		return 0;
	return (uint64_t)((missing + 1) / bucket->rate * NS_PER_S) + 1;
}

static struct lane *lane_add(struct qos *qos, struct loop *loop);

/* The lane of the running loop. */
static struct lane *lane_of(struct qos *qos, struct loop *loop)
{
	struct lane *lane = lanes_find(&qos->lanes, loop);

	return lane ? lane : lane_add(qos, loop);
}

static uint64_t cost_bytes(const struct volume_request *request)
{
	return request->op == VOLUME_DISCARD ? 0 : request->length;
}

/* 0: taken; else how long until it may be tried again. */
static uint64_t take(struct qos *qos, struct volume_request *request)
{
	uint64_t now = loop_now(request->loop), wait, other;

	pthread_mutex_lock(&qos->lock);
	if (now > qos->refilled_ns) {
		double seconds = (double)(now - qos->refilled_ns) / NS_PER_S;

		bucket_refill(&qos->ops, seconds);
		bucket_refill(&qos->bytes, seconds);
		qos->refilled_ns = now;
	}
	wait = bucket_wait_ns(&qos->ops);
	other = bucket_wait_ns(&qos->bytes);
	if (other > wait)
		wait = other;
	if (wait == 0) {
		if (qos->ops.rate > 0)
			qos->ops.tokens -= 1;
		if (qos->bytes.rate > 0)
			qos->bytes.tokens -= (double)cost_bytes(request);
	}
	pthread_mutex_unlock(&qos->lock);
	return wait;
}

static void wait_more(struct lane *lane, uint64_t wait)
{
	timer_start(&lane->timer, wait < WAIT_MIN_NS ? WAIT_MIN_NS : wait);
}

static void go_on(struct lane *lane, struct volume_request *request)
{
	uint64_t before = request->waited_ns; /* elsewhere: at a volume that it moved from */

	list_remove(&request->link);
	request->gate = NULL;
	volume_waited(request);
	__atomic_fetch_add(&lane->qos->delayed_ns, request->waited_ns - before, __ATOMIC_RELAXED);
	volume_go(request);
}

static void wake(struct timer *timer)
{
	struct lane *lane = container_of(timer, struct lane, timer);

	while (!list_empty(&lane->waiting)) {
		struct volume_request *request =
		    list_entry(lane->waiting.next, struct volume_request, link);
		uint64_t wait = __atomic_load_n(&lane->qos->limited, __ATOMIC_ACQUIRE)
				    ? take(lane->qos, request)
				    : 0;

		if (wait) {
			/* Look again soon: the limit may be changed meanwhile. */
			wait_more(lane, wait < 100000000u ? wait : 100000000u);
			return;
		}
		go_on(lane, request);
	}
}

static struct lane *lane_add(struct qos *qos, struct loop *loop)
{
	struct lane *lane = heap_zalloc(sizeof *lane);

	if (!lane)
		return NULL;
	lane->qos = qos;
	lane->loop = loop;
	list_init(&lane->waiting);
	timer_init(&lane->timer, loop, wake);
	if (lanes_add(&qos->lanes, loop, lane))
		return lane;
	heap_free(lane);
	return NULL;
}

bool qos_admit(struct qos *qos, struct volume_request *request)
{
	struct lane *lane;
	uint64_t wait = 0;

	if (!__atomic_load_n(&qos->limited, __ATOMIC_ACQUIRE) || request->op == VOLUME_FLUSH ||
	    request->op == VOLUME_EXTENTS)
		return true;
	lane = lane_of(qos, request->loop);
	if (!lane)
		return true; /* short of memory, a limit is the smaller worry */
	if (list_empty(&lane->waiting)) {
		wait = take(qos, request);
		if (wait == 0)
			return true;
		wait_more(lane, wait < 100000000u ? wait : 100000000u);
	}
	request->gate = lane;
	request->gate_ns = loop_now(request->loop);
	list_push_back(&lane->waiting, &request->link);
	__atomic_fetch_add(&qos->delayed, 1, __ATOMIC_RELAXED);
	return false;
}

/* The last one takes the timer along: the volume may go at once now, and its lanes with it. */
bool qos_cancel(struct volume_request *request)
{
	struct lane *lane = request->gate;

	if (!lane)
		return false;
	list_remove(&request->link);
	request->gate = NULL;
	if (list_empty(&lane->waiting))
		timer_stop(&lane->timer);
	return true;
}

void qos_free(struct qos *qos)
{
	if (!qos)
		return;
	for (unsigned i = 0; i < qos->lanes.count; i++)
		heap_free(qos->lanes.entry[i].lane);
	lanes_finish(&qos->lanes);
	pthread_mutex_destroy(&qos->lock);
	heap_free(qos);
}

/* ---- volume.h ---- */
static void set_bucket(struct bucket *bucket, uint64_t rate, unsigned burst_ms)
{
	bucket->rate = (double)rate;
	bucket->room = (double)rate * burst_ms / 1000;
	if (bucket->room < 1)
		bucket->room = 1;
	if (bucket->tokens > bucket->room || rate == 0)
		bucket->tokens = bucket->room;
}

static struct qos *qos_new(struct volume *volume)
{
	struct qos *qos = heap_zalloc(sizeof *qos);

	if (!qos)
		return NULL;
	pthread_mutex_init(&qos->lock, NULL);
	lanes_init(&qos->lanes);
	__atomic_store_n(&volume->qos, qos, __ATOMIC_RELEASE);
	return qos;
}

int volume_check_limits(struct volume_limits *limits, struct err *err)
{
	unsigned burst = limits->burst_ms ? limits->burst_ms : BURST_MS;

	if (burst > BURST_MS_MAX)
		return err_set(err, -EINVAL, "a burst is %u s at most", BURST_MS_MAX / 1000);
	if (limits->bandwidth && limits->bandwidth < 4096)
		return err_set(err, -EINVAL, "a bandwidth is 4 KiB a second at least");
	limits->burst_ms = limits->iops || limits->bandwidth ? burst : 0;
	return 0;
}

int volume_set_limits(struct volume *volume, const struct volume_limits *limits, struct err *err)
{
	struct qos *qos = volume->qos;
	struct volume_limits kept = *limits;
	bool any = limits->iops || limits->bandwidth;
	int result = volume_check_limits(&kept, err);

	if (result < 0)
		return result;
	if (!qos && !any)
		return 0;
	if (!qos)
		qos = qos_new(volume);
	if (!qos)
		return err_set(err, -ENOMEM, "out of memory");
	pthread_mutex_lock(&qos->lock);
	qos->limits = kept;
	set_bucket(&qos->ops, kept.iops, kept.burst_ms);
	set_bucket(&qos->bytes, kept.bandwidth, kept.burst_ms);
	pthread_mutex_unlock(&qos->lock);
	__atomic_store_n(&qos->limited, any, __ATOMIC_RELEASE);
	return 0;
}

void volume_get_limits(const struct volume *volume, struct volume_limits *ret_limits)
{
	struct qos *qos = __atomic_load_n(&volume->qos, __ATOMIC_ACQUIRE);

	*ret_limits = (struct volume_limits){0};
	if (!qos)
		return;
	pthread_mutex_lock(&qos->lock);
	*ret_limits = qos->limits;
	pthread_mutex_unlock(&qos->lock);
	ret_limits->delayed = __atomic_load_n(&qos->delayed, __ATOMIC_RELAXED);
	ret_limits->delayed_ns = __atomic_load_n(&qos->delayed_ns, __ATOMIC_RELAXED);
}
