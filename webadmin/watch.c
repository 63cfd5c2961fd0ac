/* SPDX-License-Identifier: Apache-2.0 */
#include "webadmin/watch.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/heap.h"
#include "webadmin/admin.h"
#include "webadmin/api.h"
#include "webadmin/history.h"

#define LOOK_NS (1000 * 1000000ull)

struct event {
	uint64_t id, at_ms;
	const char *kind;
	char method[8], path[200];
};

enum counter { READ_BYTES, WRITE_BYTES, READS, WRITES, COUNTERS };

struct sample {
	uint64_t at_ms, rate[COUNTERS]; /* a second */
};

struct waiter { /* a request's state */
	struct list link;
	struct timer timer;
	struct api_request *request;
	uint64_t after;
};

struct watch {
	struct webadmin *admin;
	struct timer timer;
	struct event events[EVENTS_MAX]; /* id modulo EVENTS_MAX */
	uint64_t first, last;            /* ids kept: first <= id <= last; none: first > last */
	struct list waiters;
	unsigned waiter_count;
	bool quiet, listing;
	uint64_t sessions, pools; /* digests of what was seen last */
	struct sample samples[SAMPLES_MAX];
	uint64_t sampled; /* how many ever */
	uint64_t total[COUNTERS], looked_ns;
};

/* --- events --------------------------------------------------------------------------------- */

static json_t *show_event(const struct event *event)
{
	return json_pack("{s:I,s:I,s:s,s:s,s:s}", "id", (json_int_t)event->id, "at_ms",
			 (json_int_t)event->at_ms, "kind", event->kind, "method", event->method,
			 "path", event->path);
}

static json_t *show_events(const struct watch *watch, uint64_t after)
{
	json_t *list = json_array();
	bool lost = after + 1 < watch->first || after > watch->last;

	for (uint64_t id = lost ? watch->first : after + 1; id <= watch->last; id++)
		json_array_append_new(list, show_event(&watch->events[id % EVENTS_MAX]));
	return json_pack("{s:I,s:b,s:o}", "last", (json_int_t)watch->last, "lost", lost, "events",
			 list);
}

static void answer(struct watch *watch, struct waiter *waiter)
{
	struct api_request *request = waiter->request;

	timer_stop(&waiter->timer);
	list_remove(&waiter->link);
	watch->waiter_count--;
	api_reply(request, 200, show_events(watch, waiter->after));
}

static void waited_enough(struct timer *timer)
{
	struct waiter *waiter = container_of(timer, struct waiter, timer);

	answer(waiter->request->admin->watch, waiter);
}

static void answer_all(struct watch *watch)
{
	while (!list_empty(&watch->waiters))
		answer(watch, list_entry(watch->waiters.next, struct waiter, link));
}

void watch_tell(struct watch *watch, const char *kind, const char *method, const char *path)
{
	struct event *event = &watch->events[++watch->last % EVENTS_MAX];

	event->id = watch->last;
	event->at_ms = loop_wall(watch->admin->options.control) / 1000000u;
	event->kind = kind;
	snprintf(event->method, sizeof event->method, "%s", method);
	snprintf(event->path, sizeof event->path, "%s", path);
	if (watch->last - watch->first >= EVENTS_MAX)
		watch->first = watch->last - EVENTS_MAX + 1;
	answer_all(watch);
}

/* A decimal parameter; false = a 400 has been sent. */
static bool read_number(struct api_request *request, const char *name, uint64_t *ret_number,
			bool *ret_given)
{
	char text[24], *end;

	*ret_given = api_query(request, name, text, sizeof text);
	if (!*ret_given)
		return true;
	*ret_number = strtoull(text, &end, 10);
	if (*text >= '0' && *text <= '9' && !*end)
		return true;
	api_reply_error(request, 400, "bad_query", "%s is a number", name);
	return false;
}

void api_event_list(struct api_request *request)
{
	struct watch *watch = request->admin->watch;
	uint64_t after = watch->last, wait = 0;
	bool asked, waits;
	struct waiter *waiter;

	if (!read_number(request, "after", &after, &asked) ||
	    !read_number(request, "wait", &wait, &waits))
		return;
	if (wait > EVENT_WAIT_SECONDS)
		wait = EVENT_WAIT_SECONDS;
	if (after != watch->last || wait == 0 || watch->quiet ||
	    watch->waiter_count >= EVENT_WAITERS_MAX) {
		api_reply(request, 200, show_events(watch, after));
		return;
	}
	waiter = heap_zalloc(sizeof *waiter);
	if (!waiter) {
		api_reply_error(request, 503, "no_memory", "out of memory");
		return;
	}
	request->state = waiter;
	waiter->request = request;
	waiter->after = after;
	timer_init(&waiter->timer, request->admin->options.control, waited_enough);
	timer_start(&waiter->timer, wait * 1000000000u);
	list_push_back(&watch->waiters, &waiter->link);
	watch->waiter_count++;
}

/* --- the look round ------------------------------------------------------------------------- */

/* FNV-1a, 64 bits. */
static void digest(uint64_t *sum, const void *data, size_t length)
{
	const uint8_t *bytes = data;

	for (size_t i = 0; i < length; i++)
		*sum = (*sum ^ bytes[i]) * 0x100000001b3u;
}

static void look_at_pools(struct watch *watch)
{
	uint64_t sum = 0xcbf29ce484222325u;

	list_for_each (it, &watch->admin->model.pools) {
		struct model_pool *pool = list_entry(it, struct model_pool, link);
		struct pool_scrub_info scrub;
		struct pool_info info;

		digest(&sum, pool->name, strlen(pool->name) + 1);
		if (!pool->pool)
			continue;
		pool_get_info(pool->pool, &info);
		pool_get_scrub(pool->pool, &scrub);
		digest(&sum, &info.read_only, sizeof info.read_only);
		digest(&sum, &info.watermark_level, sizeof info.watermark_level);
		digest(&sum, &info.checksum_errors, sizeof info.checksum_errors);
		digest(&sum, &info.data_repairs, sizeof info.data_repairs);
		digest(&sum, &scrub.state, sizeof scrub.state);
		digest(&sum, &scrub.findings, sizeof scrub.findings);
	}
	if (sum != watch->pools && watch->pools)
		watch_tell(watch, "pools", "", "");
	watch->pools = sum;
}

static void count_target(const struct model_target *target, uint64_t total[COUNTERS])
{
	struct scsi_lun_info info;
	int lun = -1;

	while (target->live && scsi_target_next_lun(iscsi_target_scsi(target->live), lun, &info)) {
		lun = (int)info.lun;
		total[READ_BYTES] += info.read_bytes;
		total[WRITE_BYTES] += info.write_bytes;
		total[READS] += info.read_ops;
		total[WRITES] += info.write_ops;
	}
}

static void count_host(void *context, const char *address, const struct nfs_tally *tally)
{
	uint64_t *total = context;

	(void)address;
	total[READ_BYTES] += tally->read_bytes;
	total[WRITE_BYTES] += tally->write_bytes;
	total[READS] += latency_total(&tally->latency[NFS_CLASS_READ]);
	total[WRITES] += latency_total(&tally->latency[NFS_CLASS_WRITE]);
}

/* Counters of a LUN or a client that went away are missing from the sum: that second counts as 0.
 */
static void sample_load(struct watch *watch)
{
	struct loop *loop = watch->admin->options.control;
	struct sample *sample = &watch->samples[watch->sampled % SAMPLES_MAX];
	uint64_t total[COUNTERS] = {0}, now = loop_now(loop), passed = now - watch->looked_ns;

	list_for_each (it, &watch->admin->model.targets)
		count_target(list_entry(it, struct model_target, link), total);
	if (watch->admin->options.nfs)
		nfs_client_tallies(watch->admin->options.nfs, NULL, count_host, total);
	if (watch->looked_ns && passed) {
		sample->at_ms = loop_wall(loop) / 1000000u;
		for (unsigned i = 0; i < COUNTERS; i++)
			sample->rate[i] = total[i] > watch->total[i]
					      ? (uint64_t)((double)(total[i] - watch->total[i]) *
							   1e9 / (double)passed)
					      : 0;
		watch->sampled++;
		history_second(watch->admin->history, sample->rate);
	}
	memcpy(watch->total, total, sizeof total);
	watch->looked_ns = now;
}

static void digest_session(uint64_t *sum, const struct iscsi_session_info *session)
{
	digest(sum, &session->id, sizeof session->id);
	for (unsigned i = 0; i < session->connection_count; i++)
		digest(sum, session->connections[i].peer, strlen(session->connections[i].peer));
}

static void sessions_listed(void *context, const struct iscsi_session_info *sessions,
			    unsigned count)
{
	struct watch *watch = context;
	uint64_t sum = 0xcbf29ce484222325u;

	watch->listing = false;
	for (unsigned i = 0; i < count; i++)
		digest_session(&sum, &sessions[i]);
	if (sum != watch->sessions && watch->sessions)
		watch_tell(watch, "sessions", "", "");
	watch->sessions = sum;
}

static void look_round(struct timer *timer)
{
	struct watch *watch = container_of(timer, struct watch, timer);

	if (watch->quiet)
		return;
	timer_start(timer, LOOK_NS);
	if (watch->admin->phase)
		return;
	sample_load(watch);
	look_at_pools(watch);
	if (watch->listing)
		return;
	watch->listing = true;
	iscsi_session_list(watch->admin->options.iscsi, sessions_listed, watch);
}

/* --- samples -------------------------------------------------------------------------------- */

void api_performance_show(struct api_request *request)
{
	const struct watch *watch = request->admin->watch;
	uint64_t first = watch->sampled > SAMPLES_MAX ? watch->sampled - SAMPLES_MAX : 0, after = 0;
	json_t *list;
	bool given;

	if (!read_number(request, "after", &after, &given))
		return;
	list = json_array();
	for (uint64_t i = first; i < watch->sampled; i++) {
		const struct sample *sample = &watch->samples[i % SAMPLES_MAX];
		const uint64_t *rate = sample->rate;

		if (sample->at_ms > after)
			json_array_append_new(
			    list,
			    json_pack("[I,I,I,I,I]", (json_int_t)sample->at_ms,
				      (json_int_t)rate[READ_BYTES], (json_int_t)rate[WRITE_BYTES],
				      (json_int_t)rate[READS], (json_int_t)rate[WRITES]));
	}
	api_reply(request, 200,
		  json_pack("{s:i,s:[sssss],s:o}", "interval_seconds", 1, "columns", "at_ms",
			    "read_bytes_per_second", "write_bytes_per_second", "reads_per_second",
			    "writes_per_second", "samples", list));
}

/* --- life ----------------------------------------------------------------------------------- */

int watch_open(struct webadmin *admin, struct watch **ret_watch, struct err *err)
{
	struct watch *watch = heap_zalloc(sizeof *watch);

	if (!watch)
		return err_set(err, -ENOMEM, "out of memory");
	watch->admin = admin;
	watch->last = loop_wall(admin->options.control) / 1000000u;
	watch->first = watch->last + 1;
	list_init(&watch->waiters);
	timer_init(&watch->timer, admin->options.control, look_round);
	timer_start(&watch->timer, LOOK_NS);
	*ret_watch = watch;
	return 0;
}

void watch_quiet(struct watch *watch)
{
	watch->quiet = true;
	timer_stop(&watch->timer);
	answer_all(watch);
}

void watch_close(struct watch *watch)
{
	if (!watch)
		return;
	timer_stop(&watch->timer);
	heap_free(watch);
}
