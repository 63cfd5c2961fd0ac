/* SPDX-License-Identifier: Apache-2.0 */
#include "replication/group.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/heap.h"
#include "replication/lineage.h"
#include "replication/order.h"
#include "volumes/volume_io.h"

#define PERIOD_NS   (1000000000ull)
#define EPOCH_BYTES (64ull << 20)
#define LOG_BYTES   (128ull << 20)

const char *group_role_name(enum group_role role)
{
	static const char *const names[GROUP_ROLES] = {"none", "primary", "standby", "handover",
						       "fenced"};

	return role < GROUP_ROLES ? names[role] : "?";
}

void group_init(struct group *group, struct loop *loop, const struct group_host *host)
{
	*group = (struct group){.loop = loop,
				.host = host,
				.period_ns = PERIOD_NS,
				.epoch_bytes = EPOCH_BYTES,
				.log_bytes = LOG_BYTES,
				.protocol = WIRE_VERSION,
				.phase = "idle"};
	lease_init(group);
}

void group_finish(struct group *group)
{
	recorder_destroy(group->recorder);
	group->recorder = NULL;
	heap_free(group->verify.doubts);
	group->verify.doubts = NULL;
	group->verify.running = false;
	if (group->staging_good)
		staging_close(&group->staging);
	group->staging_good = false;
	for (unsigned i = 0; i < WIRE_MEMBERS_MAX; i++) {
		if (group->members[i].volume)
			marks_finish(&group->members[i].sent);
		volume_unref(group->members[i].volume);
		group->members[i].volume = group->views[i] = NULL;
	}
	volume_unref(group->staging_volume);
	group->staging_volume = NULL;
	group->member_max = 0;
}

void group_retire(struct group *group, struct recorder **retired)
{
	recorder_retire(group->recorder, retired);
	group->recorder = NULL;
	group_finish(group);
}

void group_set_member(struct group *group, unsigned index, struct volume *volume)
{
	group->members[index].volume = volume_ref(volume);
	group->views[index] = volume;
	if (index >= group->member_max)
		group->member_max = index + 1;
	if (group->staging_good)
		group->staging.member_max = group->member_max;
}

static enum recorder_mode mode_of(enum group_role role)
{
	return role == GROUP_PRIMARY ? RECORDER_RECORDS : RECORDER_REFUSES;
}

static void woken(void *context)
{
	struct group *group = context;

	if (group->channel)
		channel_wake(group->channel);
}

static uint64_t guests_clock(void *context, struct loop *loop)
{
	const struct group *group = context;

	return group->host->clock ? group->host->clock(group) : loop_clock(loop);
}

static int add_member(struct group *group, unsigned index, bool marked)
{
	struct group_member *member = &group->members[index];
	int result;

	if (!member->volume)
		return 0;
	result = marks_init(&member->sent, volume_size(member->volume));
	return result < 0 ? result : recorder_add(group->recorder, index, member->volume, marked);
}

static int not_taken(struct group *group, int result, struct err *err)
{
	return err_set(err, result, "group %s: %s", group->name,
		       result == -EBUSY ? "a member is in another group" : "out of memory");
}

void group_drop_member(struct group *group, unsigned index)
{
	struct group_member *member = &group->members[index];

	if (!member->volume)
		return;
	if (group->recorder)
		recorder_remove(group->recorder, index);
	marks_finish(&member->sent);
	volume_unref(member->volume);
	member->volume = group->views[index] = NULL;
	member->size = 0;
}

int group_add_member(struct group *group, unsigned index, bool marked, struct err *err)
{
	int result = add_member(group, index, marked);

	if (result == 0)
		return 0;
	group_drop_member(group, index);
	return not_taken(group, result, err);
}

int group_start(struct group *group, bool marked, struct err *err)
{
	struct recorder_options options = {.loop = group->loop,
					   .budget_bytes = group->log_bytes,
					   .first_epoch = group->acked + 1,
					   .wake = woken,
					   .clock = guests_clock,
					   .context = group};
	int result = recorder_create(&options, &group->recorder);

	if (result == 0)
		recorder_set_mode(group->recorder, mode_of(group->role));
	for (unsigned i = 0; i < group->member_max && result == 0; i++)
		result = add_member(group, i, marked);
	if (result < 0)
		return not_taken(group, result, err);
	group_protect(group);
	return 0;
}

/* ---- protection ---- */
static bool protects(const struct group *group)
{
	return group->protect_ns && group->role == GROUP_PRIMARY;
}

/* Kept in mind before it counts; should that fail, it is tried again. */
static void arm(struct group *group, bool armed)
{
	if (group->armed == armed)
		return;
	group->armed = armed;
	if (group->host->save(group) < 0)
		group->armed = !armed; /* at the next look again */
}

void group_protect(struct group *group)
{
	/* First: what comes after the look is newer. */
	uint64_t now = loop_wall(group->loop), until = RECORDER_FREE;
	bool passes = group->starting || group->stopping;

	if (!group->recorder)
		return;
	lease_follow(group);
	if (group->role == GROUP_PRIMARY && group_level(group))
		group->acked_wall_ns = now;
	if (protects(group)) {
		until = group->acked ? group->acked_wall_ns + group->protect_ns : 1; /* long ago */
		if (until >= now)
			arm(group, true);
	} else if (group->role != GROUP_HANDOVER && !group->changing) { /* a demotion saves once */
		arm(group, false);
	}
	recorder_protect(group->recorder, group->armed && !passes ? until : RECORDER_FREE);
}

static void serving_changed(struct group *group)
{
	if (group->host->serving_changed)
		group->host->serving_changed(group);
}

void group_set_role(struct group *group, enum group_role role)
{
	group->heard = (struct lag_heard){0};
	group->role = role;
	group->leaving = false;
	lease_role(group);
	if (group->recorder)
		recorder_set_mode(group->recorder, mode_of(role));
	group_protect(group);
	if (group->host->role_changed)
		group->host->role_changed(group);
	serving_changed(group);
}

bool group_serves(const struct group *group)
{
	return group->role == GROUP_PRIMARY && !group->leaving;
}

void group_leave(struct group *group)
{
	group->leaving = true;
	serving_changed(group);
}

void group_stay(struct group *group)
{
	if (!group->leaving)
		return;
	group->leaving = false;
	serving_changed(group);
}

int group_open_staging(struct group *group, struct err *err)
{
	int result;

	if (group->staging_good)
		staging_close(&group->staging);
	group->staging_good = false;
	if (!group->staging_volume)
		return err_set(err, -ENXIO, "group %s has no staging log", group->name);
	result = staging_open(&group->staging, group->staging_volume, group->uuid, group->views,
			      group->member_max, err);
	group->staging_good = result == 0;
	return result;
}

static void fork_lineage(struct group *group, uint64_t epoch)
{
	uint8_t uuid[16];

	loop_random(group->loop, uuid, sizeof uuid);
	/* As the witness knows it already. */
	if (group->lease.taking)
		memcpy(uuid, group->lease.fork, sizeof uuid);
	lineage_fork(&group->lineage, uuid, epoch);
}

bool group_has_member(const struct group *group, unsigned index, bool promoted)
{
	return index < group->member_max && group->members[index].volume &&
	       (!promoted || staging_has(&group->staging, index));
}

/* What the sealed image has not got is no part of what is promoted. */
static void leave_out(struct group *group)
{
	for (unsigned i = 0; i < group->member_max; i++) {
		if (!group->members[i].volume || group_has_member(group, i, true))
			continue;
		if (group->host->left_out)
			group->host->left_out(group, i);
		group_drop_member(group, i);
	}
}

/* The peer's image is the same but for what a member has here beyond the end that it had there:
 * it has been larger before. */
static void mark_tails(struct group *group)
{
	for (unsigned i = 0; i < group->member_max; i++) {
		const struct group_member *member = &group->members[i];
		uint64_t size = member->volume ? volume_size(member->volume) : 0;

		if (member->size && member->size < size)
			recorder_mark(group->recorder, i, member->size, size - member->size);
	}
}

static int has_image(const struct group *group, struct err *err)
{
	return group->staging.sealed && !group->staging.seeding
		   ? 0
		   : err_set(err, -ENODATA, "group %s has no sealed image here yet", group->name);
}

int group_may_promote(const struct group *group, struct err *err)
{
	return group->staging_good
		   ? has_image(group, err)
		   : err_set(err, -ENXIO, "group %s has no staging log", group->name);
}

static int promote(struct group *group, bool planned, struct err *err)
{
	struct wire_lineage before = group->lineage;
	struct lease lease = group->lease;
	int result = group_open_staging(group, err);

	if (result < 0)
		return result;
	result = has_image(group, err);
	if (result < 0)
		return result;
	result = staging_apply(&group->staging);
	if (result < 0)
		return err_set(err, result, "group %s: the sealed epoch could not be applied: %s",
			       group->name, strerror(-result));
	result = group->host->guard ? group->host->guard(group, planned, err) : 0;
	if (result < 0)
		return result;
	leave_out(group);
	group->lineage = group->staging.lineage;
	fork_lineage(group, group->staging.sealed);
	group->acked = planned ? group->staging.sealed : 0;
	group->sealing = 0;
	group->accept_any = false;
	group->armed = false; /* there is no standby that was as new, yet */
	group->role = GROUP_PRIMARY;
	/* By hand, with a promise that may be in force: the lease has to wait for its end. */
	group->lease.waits = !planned && lease.on && !lease.taking;
	group->lease.taking = false;
	if (planned) /* who it was given to does not serve any more */
		group->lease.promised_ns = 0;
	result = group->host->save(group);
	if (result < 0) {
		group->role = GROUP_STANDBY;
		group->lineage = before;
		group->lease.taking = lease.taking;
		group->lease.waits = lease.waits;
		group->lease.promised_ns = lease.promised_ns;
		return err_set(err, result, "group %s: its role could not be saved", group->name);
	}
	recorder_forget(group->recorder);
	if (planned)
		recorder_log_again(group->recorder);
	else
		recorder_mark_all(group->recorder);
	if (planned)
		mark_tails(group);
	recorder_skip(group->recorder, group->staging.sealed);
	group_set_role(group, GROUP_PRIMARY);
	return 0;
}

/* One at a time, and from the role that the caller may have looked at a while ago: whoever asks for
 * a promotion waits for the end of a session first, and another may end with one. Two at a time
 * would redo the sealed epoch into the same members while guests write. */
static int may_change(const struct group *group, unsigned roles, struct err *err)
{
	if (group->changing)
		return err_set(err, -EBUSY, "group %s: its role is changing", group->name);
	if (group->role == GROUP_PRIMARY && group->switching)
		return err_set(err, -EBUSY, "group %s is being handed over", group->name);
	return roles >> group->role & 1 ? 0
					: err_set(err, -EINVAL, "group %s is %s here", group->name,
						  group_role_name(group->role));
}

int group_promote(struct group *group, bool planned, struct err *err)
{
	int result = may_change(group, 1u << GROUP_STANDBY, err);

	if (result < 0)
		return result;
	group->changing = true;
	result = promote(group, planned, err);
	group->changing = false;
	return result;
}

void group_drain(struct group *group)
{
	while (recorder_busy(group->recorder))
		fiber_sleep(1000000);
}

int group_flush(struct group *group)
{
	int result = 0;

	for (unsigned i = 0; i < group->member_max && result == 0; i++) {
		if (group->members[i].volume)
			result = volume_io(group->members[i].volume, VOLUME_FLUSH, 0, 0, NULL, 0);
	}
	return result;
}

bool group_level(const struct group *group)
{
	/* What a sync took off the marks is not there before its seal is acknowledged. */
	for (unsigned i = 0; i < group->member_max; i++) {
		if (group->members[i].volume && group->members[i].sent.count)
			return false;
	}
	return group->acked && !group->sealing && recorder_idle(group->recorder);
}

uint64_t group_stop(struct group *group)
{
	if (group->role != GROUP_PRIMARY || !group_level(group) || group_flush(group) < 0)
		return 0;
	return group->acked;
}

/* The image as it is, under a lineage that only this node knows: it is nobody's ancestor, so no
 * primary takes it for what it once sent. */
static int keep_as_own(struct group *group, struct err *err)
{
	struct wire_lineage own = group->lineage;
	uint64_t epoch = recorder_open_epoch(group->recorder);
	uint8_t uuid[16];
	int result = group_open_staging(group, err);

	if (result < 0)
		return result;
	if (epoch <= group->staging.sealed)
		epoch = group->staging.sealed + 1;
	loop_random(group->loop, uuid, sizeof uuid);
	lineage_fork(&own, uuid, epoch);
	result = staging_restart(&group->staging, epoch, loop_wall(group->loop), &own);
	return result < 0 ? err_set(err, result, "group %s: its staging log: %s", group->name,
				    strerror(-result))
			  : 0;
}

int group_demote(struct group *group, struct err *err)
{
	enum group_role before = group->role;
	bool armed = group->armed;
	int result =
	    may_change(group, 1u << GROUP_PRIMARY | 1u << GROUP_HANDOVER | 1u << GROUP_FENCED, err);

	if (result < 0)
		return result;
	group->changing = true;
	group_set_role(group, GROUP_FENCED); /* nothing changes any more */
	group_drain(group);
	/* What a primary compares with by hashes is not sent again: it has to last. */
	result = ORDER(demote_flush) ? group_flush(group) : 0;
	if (result < 0)
		err_set(err, result, "group %s: its members can not be flushed", group->name);
	if (result == 0 && group->host->keep)
		result = group->host->keep(group, err);
	if (result == 0)
		result = keep_as_own(group, err);
	if (result == 0) {
		group->role = GROUP_STANDBY;
		group->accept_any = true;
		group->armed = false;
		result = group->host->save(group);
	}
	if (result < 0)
		group->armed = armed;
	group_set_role(group, result == 0 ? GROUP_STANDBY : before);
	group->changing = false;
	return result;
}

int group_hand_over(struct group *group, uint64_t epoch, const struct wire_lineage *lineage,
		    struct err *err)
{
	int result = group_open_staging(group, err);

	if (result == 0)
		result = staging_restart(&group->staging, epoch, loop_wall(group->loop), lineage);
	if (result < 0)
		return result;
	group->role = GROUP_STANDBY;
	group->accept_any = false;
	result = group->host->save(group);
	group_set_role(group, GROUP_STANDBY);
	return result;
}

/* Nobody took over in time: guests go on, unless the peer has been asked already. */
static void take_back(struct group *group)
{
	if (group->role != GROUP_PRIMARY || !group->switching)
		return;
	group->switching = false;
	recorder_set_mode(group->recorder, RECORDER_RECORDS);
	group_stay(group);
}

int group_may_ask(const struct group *group, struct err *err)
{
	return group->channel && group->acked
		   ? 0
		   : err_set(err, -ENOTCONN, "the standby is not connected, or not seeded");
}

int group_switchover(struct group *group, uint64_t limit_ns, struct err *err)
{
	uint64_t limit = loop_now(group->loop) + limit_ns;
	int result = may_change(group, 1u << GROUP_PRIMARY, err);

	if (result == 0)
		result = group_may_ask(group, err);
	if (result < 0)
		return result;
	group->switching = true;
	group->switch_until_ns = limit;
	channel_wake(group->channel);
	while (group->role != GROUP_STANDBY && group->switching && loop_now(group->loop) < limit)
		fiber_sleep(5000000);
	if (group->role == GROUP_STANDBY)
		return 0;
	take_back(group);
	return err_set(err, -ETIMEDOUT, "the group was not handed over%s: %s",
		       group->role == GROUP_PRIMARY ? "" : ", and the standby may have it yet",
		       group->reason[0] ? group->reason : "the standby is too slow");
}

int group_failback(struct group *group, uint64_t limit_ns, struct err *err)
{
	uint64_t limit = loop_now(group->loop) + limit_ns;
	int result = group->role == GROUP_STANDBY ? 0 : group_demote(group, err);

	if (result < 0)
		return result;
	group->wanted = true;
	while (group->role == GROUP_STANDBY && !group->stopping && loop_now(group->loop) < limit) {
		if (group->channel)
			channel_wake(group->channel);
		fiber_sleep(20000000);
	}
	group->wanted = false;
	woken(group); /* the receiver sees it, and asks again the next time */
	if (group->role == GROUP_PRIMARY)
		return 0;
	return err_set(err, -ETIMEDOUT,
		       "group %s is the standby now and is catching up; ask again when it has: %s",
		       group->name, group->channel ? "what differs is being sent" : group->reason);
}

int group_verify(struct group *group, struct err *err)
{
	int result = group_may_ask(group, err);

	if (result < 0 || group->verify.running)
		return result;
	group->verify =
	    (struct group_verify){.running = true, .begun_wall_ns = loop_wall(group->loop)};
	group->verify.doubts = heap_zalloc_array(VERIFY_DOUBTS, sizeof *group->verify.doubts);
	if (!group->verify.doubts) {
		group->verify.running = false;
		return err_set(err, -ENOMEM, "out of memory");
	}
	channel_wake(group->channel);
	return 0;
}
