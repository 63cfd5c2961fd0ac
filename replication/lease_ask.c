/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/log.h"
#include "replication/group.h"
#include "replication/lineage.h"
#include "replication/order.h"

/*~ A group's node: the primary that has to have a lease, the standby that promises not to take it
 * and takes it when nobody has it (lease.h). */

static uint64_t clock_of(const struct group *group)
{
	return group->host->clock ? group->host->clock(group) : loop_clock(group->loop);
}

/* ---- promises ---- */
static bool promises(const struct group *group)
{
	const struct lease *lease = &group->lease;

	return lease->on && group->role == GROUP_STANDBY && !group->changing &&
	       !(lease->taking && ORDER(lease_no_promise_while_taking));
}

static void judge(struct lease_server *server, const struct wire_message *ask,
		  struct wire_message *answer)
{
	struct group *group = container_of(server, struct group, lease.server);
	struct lease *lease = &group->lease;
	uint64_t until = clock_of(group) + lease->length_ns;

	answer->length = lease->length_ns;
	answer->fresh = lease->answered[LEASE_WITNESS];
	answer->kind = (uint8_t)(group->role == GROUP_PRIMARY ? LEASE_FORKED : LEASE_BUSY);
	if (!promises(group))
		return;
	answer->kind = LEASE_FREE;
	if (ask->kind != LEASE_RENEW)
		return;
	answer->kind = LEASE_GRANTED;
	if (until > lease->promised_ns)
		lease->promised_ns = until;
}

void lease_init(struct group *group)
{
	group->lease.length_ns = LEASE_NS;
	lease_server_init(&group->lease.server, judge);
}

void lease_start(struct group *group)
{
	struct lease *lease = &group->lease;

	if (!lease->on || (group->role == GROUP_PRIMARY && !lease->waits))
		return;
	if (ORDER(lease_promises_outlast_a_start))
		lease->promised_ns = clock_of(group) + lease->length_ns;
}

/* ---- what is so ---- */
bool lease_holds(const struct group *group)
{
	const struct lease *lease = &group->lease;

	return !lease->on || (group->role == GROUP_PRIMARY && clock_of(group) < lease->until_ns);
}

void lease_follow(struct group *group)
{
	const struct lease *lease = &group->lease;

	if (group->recorder)
		recorder_lease(group->recorder, lease->on && !group->starting,
			       group->role == GROUP_PRIMARY ? lease->until_ns : 0, group->stopping);
}

void lease_role(struct group *group)
{
	struct lease *lease = &group->lease;

	if (group->role != GROUP_PRIMARY && lease->until_ns)
		lease->release = lease->on;
	if (group->role == GROUP_PRIMARY)
		lease->release = false;
	lease->until_ns = 0;
	lease->forked = false;
	lease_wake(group);
}

void lease_wake(struct group *group)
{
	for (unsigned i = 0; i < LEASE_OTHERS; i++) {
		if (group->lease.talk[i])
			channel_wake(group->lease.talk[i]);
	}
}

/* ---- asking ---- */
struct asker {
	struct group *group;
	struct channel *channel;
	struct timer timer;
	enum lease_other other;
	enum lease_ask last; /* what was asked last; 0: nothing */
	uint64_t next_ns;    /* the same again, of loop_now() */
};

/* Is there an image here that may be promoted without an administrator? */
static bool may_take(const struct group *group)
{
	const struct lease *lease = &group->lease;

	return lease->on && group->role == GROUP_STANDBY && !group->accept_any &&
	       !group->changing && !lease->barred && group->staging_good && group->staging.sealed &&
	       !group->staging.seeding;
}

static bool promise_over(const struct group *group)
{
	return clock_of(group) >= group->lease.promised_ns || !ORDER(lease_waits_for_the_promise);
}

/* What there is to ask for; 0: nothing. */
static enum lease_ask wanted(const struct group *group, enum lease_other other)
{
	const struct lease *lease = &group->lease;
	bool primary = group->role == GROUP_PRIMARY;

	if (other == LEASE_PEER)
		return primary && lease->on ? LEASE_RENEW : 0;
	if (primary && lease->retire)
		return LEASE_RETIRE;
	if (primary && lease->on && !lease->retired)
		return promise_over(group) ? LEASE_RENEW : 0;
	if (lease->release)
		return LEASE_RELEASE;
	if (may_take(group))
		return lease->taking && promise_over(group) ? LEASE_TAKE : LEASE_LOOK;
	return 0;
}

bool lease_asks(const struct group *group, enum lease_other other)
{
	const struct lease *lease = &group->lease;

	if (other == LEASE_PEER)
		return wanted(group, other) != 0;
	/* A standby keeps the conversation up: whether it could take the lease is worth knowing. */
	return lease->on || lease->wanted || lease->retire || lease->release;
}

static void fill(const struct asker *asker, enum lease_ask kind, struct wire_message *ask)
{
	const struct group *group = asker->group;
	const struct lease *lease = &group->lease;

	*ask = (struct wire_message){.type = WIRE_LEASE_ASK,
				     .kind = (uint8_t)kind,
				     .length = lease->length_ns,
				     .epoch = group->acked,
				     .lineage = group->lineage};
	memcpy(ask->node, group->node, 16);
	memcpy(ask->group, group->uuid, 16);
	if (group->role == GROUP_PRIMARY && group->recorder) {
		ask->wall_ns = group->acked_wall_ns;
		ask->records = lag_bytes(group);
	} else if (group->role == GROUP_STANDBY && group->staging_good) {
		ask->lineage = group->staging.lineage;
		if (lease->taking)
			lineage_fork(&ask->lineage, lease->fork, group->staging.sealed);
	}
}

/* L5: what is going to be asked for is durable before it is. */
static void begin_to_take(struct group *group)
{
	struct lease *lease = &group->lease;

	loop_random(group->loop, lease->fork, sizeof lease->fork);
	lease->taking = true;
	if (ORDER(lease_taking_is_saved) && group->host->save(group) < 0)
		lease->taking = false;
}

static void not_taken(struct group *group)
{
	struct lease *lease = &group->lease;

	lease->taking = false;
	if (group->host->save(group) < 0)
		lease->taking = true; /* found out again */
}

static void take_over(struct group *group, const struct wire_message *answer)
{
	struct lease *lease = &group->lease;
	uint64_t epoch, as_of;
	struct err err = {0};
	int result;

	result = group->host->take_over(group, &err);
	if (result < 0) {
		snprintf(lease->reason[LEASE_WITNESS], sizeof lease->reason[0],
			 "it has the lease and can not be promoted: %.110s", err.text);
		return;
	}
	epoch = group->staging.sealed;
	as_of = group->staging.sealed_wall_ns;
	lease->took_wall_ns = loop_wall(group->loop);
	lease->took_epoch = epoch;
	lease->took_as_of_ns = as_of;
	lease->took_word = (struct lease_word){answer->epoch, answer->wall_ns, answer->records};
	if (answer->epoch == epoch && answer->records == 0)
		log_warning("group %s: this node has promoted itself as of epoch %llu; its primary "
			    "said last that nothing was newer",
			    group->name, (unsigned long long)epoch);
	else
		log_warning("group %s: this node has promoted itself as of epoch %llu; its primary "
			    "said last that %llu bytes were newer than epoch %llu: they are lost "
			    "here",
			    group->name, (unsigned long long)epoch,
			    (unsigned long long)answer->records, (unsigned long long)answer->epoch);
}

/* Is the lease ours, as what we are about to become? */
static bool is_ours(const struct group *group, const struct wire_message *answer)
{
	const uint8_t *head = lineage_head(&answer->lineage);

	return head && memcmp(head, group->lease.fork, 16) == 0 &&
	       memcmp(answer->node, group->node, 16) == 0;
}

static void looked(struct group *group, const struct wire_message *answer)
{
	struct lease *lease = &group->lease;

	if (group->role != GROUP_STANDBY)
		return;
	if (lease->taking && !is_ours(group, answer) && answer->kind != LEASE_FREE)
		not_taken(group);
	else if (!lease->taking && may_take(group) && promise_over(group) &&
		 answer->kind == LEASE_FREE)
		begin_to_take(group);
}

/* L1. */
static void renewed(struct asker *asker, const struct wire_message *answer, uint64_t asked_ns)
{
	struct group *group = asker->group;
	struct lease *lease = &group->lease;
	uint64_t length = answer->length < lease->length_ns ? answer->length : lease->length_ns;
	uint64_t until = asked_ns + length - length / 10;

	if (!ORDER(lease_counts_from_the_asking))
		until = clock_of(group) + length;
	if (group->role != GROUP_PRIMARY || !lease->on)
		return;
	if (until > lease->until_ns)
		lease->until_ns = until;
	if (asker->other == LEASE_PEER) {
		lease->peer_ready = answer->fresh;
	} else {
		lease->forked = false;
		if (lease->waits) {
			lease->waits = false;
			(void)group->host->save(group); /* else the next start waits once more */
		}
	}
	lease_follow(group);
}

static void say_verdict(struct asker *asker, enum lease_ask kind, const struct wire_message *answer)
{
	static const char *const texts[LEASE_VERDICTS] = {
	    [LEASE_HELD] = "the other node has the lease",
	    [LEASE_FORKED] = "the other node has been promoted",
	    [LEASE_NONE] = "it knows of no lease",
	    [LEASE_BUSY] = "it can not grant it now",
	};
	struct lease *lease = &asker->group->lease;
	bool known = answer->kind < LEASE_VERDICTS && texts[answer->kind];
	/* That its primary has it is as it should be. */
	bool told = known && kind != LEASE_LOOK;

	snprintf(lease->reason[asker->other], sizeof lease->reason[0], "%s",
		 told ? texts[answer->kind] : "");
	if (asker->other == LEASE_WITNESS && kind == LEASE_RENEW)
		lease->forked = answer->kind == LEASE_FORKED;
}

static void answered(struct asker *asker, enum lease_ask kind, const struct wire_message *answer,
		     uint64_t asked_ns)
{
	struct group *group = asker->group;
	struct lease *lease = &group->lease;
	bool granted = answer->kind == LEASE_GRANTED;

	lease->answered[asker->other] = true;
	say_verdict(asker, kind, answer);
	if (kind == LEASE_LOOK && asker->other == LEASE_WITNESS)
		looked(group, answer);
	else if (kind == LEASE_RENEW && granted)
		renewed(asker, answer, asked_ns);
	else if (kind == LEASE_TAKE && granted && lease->taking)
		take_over(group, answer);
	else if (kind == LEASE_TAKE && lease->taking && !is_ours(group, answer))
		not_taken(group);
	else if (kind == LEASE_RELEASE)
		lease->release = false;
	else if (kind == LEASE_RETIRE && granted)
		lease->retired = true;
	if (kind == LEASE_RETIRE)
		lease->retire = false;
}

static void timed(struct timer *timer)
{
	channel_wake(container_of(timer, struct asker, timer)->channel);
}

/* An answer comes soon, or this conversation is no good. */
static int await_answer(struct asker *asker, struct wire_message *answer)
{
	uint64_t limit = loop_now(asker->group->loop) + asker->group->lease.length_ns / 4;
	int result;

	while ((result = channel_poll(asker->channel, answer)) == 0) {
		uint64_t now = loop_now(asker->group->loop);

		if (now >= limit) {
			channel_break(asker->channel, -ETIMEDOUT, "no answer in time");
			break;
		}
		timer_start(&asker->timer, limit - now);
		channel_wait(asker->channel);
	}
	timer_stop(&asker->timer);
	if (asker->channel->broken && result != 1)
		return asker->channel->broken;
	if (answer->type == WIRE_REFUSE)
		channel_break(asker->channel, -EPROTO, "%.*s", (int)answer->data_length,
			      (const char *)answer->data);
	else if (answer->type != WIRE_LEASE)
		channel_break(asker->channel, -EPROTO, "a message out of place");
	return asker->channel->broken;
}

/* Who gives it back, as after a switchover, does so at once. */
static uint64_t pause_after(const struct group *group, const struct wire_message *answer)
{
	bool soon = group->role == GROUP_PRIMARY && answer->kind != LEASE_GRANTED;

	return group->lease.length_ns / (soon ? 50 : 5);
}

static int ask_one(struct asker *asker, enum lease_ask kind)
{
	struct wire_message ask, answer;
	uint64_t asked_ns = clock_of(asker->group);
	int result;

	fill(asker, kind, &ask);
	result = channel_send(asker->channel, &ask);
	if (result == 0)
		result = await_answer(asker, &answer);
	if (result < 0)
		return result;
	asker->last = kind;
	asker->next_ns = loop_now(asker->group->loop) + pause_after(asker->group, &answer);
	answered(asker, kind, &answer, asked_ns);
	return 0;
}

/* The same is asked again after a while, something else at once. */
static enum lease_ask next_ask(const struct asker *asker)
{
	enum lease_ask kind = wanted(asker->group, asker->other);

	if (!asker->last)
		return LEASE_LOOK; /* L6 */
	if (kind == asker->last && loop_now(asker->group->loop) < asker->next_ns)
		return 0;
	return kind;
}

/* Nobody has something to say before we ask. */
static int idle(struct asker *asker)
{
	uint64_t now = loop_now(asker->group->loop);
	struct wire_message message;
	int result;

	timer_start(&asker->timer, asker->next_ns > now ? asker->next_ns - now
							: asker->group->lease.length_ns / 5);
	channel_wait(asker->channel);
	timer_stop(&asker->timer);
	result = channel_poll(asker->channel, &message);
	if (result == 1)
		channel_break(asker->channel, -EPROTO, "a message out of place");
	return asker->channel->broken;
}

void lease_ask_run(struct group *group, enum lease_other other, struct channel *channel)
{
	struct asker asker = {.group = group, .channel = channel, .other = other};
	struct lease *lease = &group->lease;
	int result = 0;

	lease->talk[other] = channel;
	timer_init(&asker.timer, group->loop, timed);
	while (result == 0 && lease_asks(group, other)) {
		enum lease_ask kind = next_ask(&asker);

		result = kind ? ask_one(&asker, kind) : idle(&asker);
	}
	/* A version that knows no leases takes the question for no message, and hangs up. */
	if (result < 0 && !lease->answered[other] && channel->ended)
		snprintf(lease->reason[other], sizeof lease->reason[0],
			 "it ended the connection without an answer: it may be of a version that "
			 "knows no leases");
	else if (result < 0)
		snprintf(lease->reason[other], sizeof lease->reason[0], "%.150s", channel->why);
	lease->answered[other] = false;
	if (other == LEASE_PEER)
		lease->peer_ready = false;
	lease->talk[other] = NULL;
	channel_break(channel, -ECANCELED, "nothing more to ask");
}
