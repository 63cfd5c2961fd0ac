/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "replication/order.h"
#include "replication/recorder_log.h"

/* R6: what a guest may be told is so only while the lease lasts. It is looked at when a request is
 * done, right before its guest hears of it: a change that was let in before the end may take any
 * time. */

bool recorder_lease_over(struct recorder *recorder, struct loop *loop)
{
	uint64_t until = __atomic_load_n(&recorder->lease_until_ns, __ATOMIC_ACQUIRE);

	if (!__atomic_load_n(&recorder->leased, __ATOMIC_ACQUIRE))
		return false;
	return (recorder->options.clock ? recorder->options.clock(recorder->options.context, loop)
					: loop_clock(loop)) >= until;
}

static int refusal_of(const struct volume_request *request)
{
	return request->op == VOLUME_READ ? -EAGAIN : -EROFS;
}

/* Lock held. May the guest not be told of @request, which is done? */
bool recorder_keep(struct member *member, struct volume_request *request)
{
	struct recorder *recorder = member->recorder;
	bool refuse = recorder->mode == RECORDER_REFUSES || recorder->lease_refuses;

	if (member->gone || recorder->retired || !recorder_lease_over(recorder, request->loop) ||
	    !ORDER(lease_over_nothing_is_told))
		return false;
	request->tap_ticket = (uint64_t)(int64_t)(refuse ? refusal_of(request) : 0);
	request->tap_state = TAP_KEPT;
	list_push_back(&recorder->kept, &request->tap_link);
	if (refuse) {
		list_remove(&request->tap_link);
		recorder_post(request, TAP_ENDED);
	}
	return true;
}

/* The time between the post and this may have been the lease's last. */
void recorder_end_kept(struct volume_request *request)
{
	struct member *member = container_of(request->tap, struct member, tap);
	int result = (int)(int64_t)request->tap_ticket;
	bool kept;

	pthread_mutex_lock(&member->recorder->lock);
	kept = result == 0 && recorder_keep(member, request);
	pthread_mutex_unlock(&member->recorder->lock);
	if (!kept)
		volume_end(request, result);
}

/* Lock held. What is kept is told, or refused, as things are now. */
void recorder_kept_let_go(struct recorder *recorder)
{
	bool refuse = recorder->mode == RECORDER_REFUSES || recorder->lease_refuses;
	struct list *link;

	if (!refuse && !recorder->retired && recorder_lease_over(recorder, recorder->options.loop))
		return;
	while ((link = list_pop_front(&recorder->kept))) {
		struct volume_request *request = list_entry(link, struct volume_request, tap_link);

		if (refuse && !recorder->retired)
			request->tap_ticket = (uint64_t)(int64_t)refusal_of(request);
		recorder_post(request, TAP_ENDED);
	}
}

void recorder_lease(struct recorder *recorder, bool on, uint64_t until_ns, bool refuse)
{
	pthread_mutex_lock(&recorder->lock);
	__atomic_store_n(&recorder->lease_until_ns, until_ns, __ATOMIC_RELEASE);
	__atomic_store_n(&recorder->leased, on, __ATOMIC_RELEASE);
	recorder->lease_refuses = refuse;
	if (recorder->mode != RECORDER_HOLDS && !list_empty(&recorder->held))
		recorder_held_let_go(recorder);
	recorder_kept_let_go(recorder);
	pthread_mutex_unlock(&recorder->lock);
}

/* What R6 does. */
void recorder_look_at_parked(struct recorder *recorder, struct recorder_lag *lag)
{
	lag->unleased = recorder_lease_over(recorder, recorder->options.loop);
	if (!lag->unleased)
		return;
	list_for_each (it, &recorder->held)
		lag->parked++;
	list_for_each (it, &recorder->kept)
		lag->parked++;
}
