/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/heap.h"
#include "core/log.h"
#include "replication/access.h"
#include "replication/group.h"
#include "replication/lineage.h"
#include "replication/order.h"
#include "volumes/volume_io.h"

/*~ The primary's side of a session: say hello, find out what the standby holds, then epoch after
 * epoch.
 *
 * Two ways to make the next sealed image, and the standby cannot tell them apart:
 *  - delta: the log of one complete epoch;
 *  - sync: everything that is marked, read from the volumes while guests go on, and then the logs
 *    of all epochs up to the one that was open when the marks had run out. What a guest changes
 *    meanwhile is in the log or marked again, so the end of it is one moment of the primary.
 *
 * Of a run of marked chunks, the standby is asked for the hashes of what its sealed image has
 * there; only slots that differ travel (E5, E8). */

#define TAKE_MAX      ((uint64_t)2 << 30)  /* one leaf of marks */
#define RUN_MAX       ((uint64_t)16 << 20) /* bytes hashed in one question */
#define VERIFY_MAX    ((uint64_t)4 << 20)  /* compared at a time */
#define READ_MAX      ((uint64_t)1 << 20)
#define EXTENTS_MAX   64u
#define QUIET_NS      (5 * 1000000ull)
#define LEAVE_POLL_NS (5 * 1000000ull)
#define SWITCH_NS     (30 * 1000000000ull)

struct sender {
	struct group *group;
	struct channel *channel;
	struct digest digest;
	uint64_t records;
	uint64_t peer_epoch; /* sealed there when the session began */
	bool fresh;          /* nothing was ever written there */
	/* of the run under way: is it compared by hashes, are zeros left out */
	bool compare, skip_zeros;
	struct timer clock; /* closes epochs */
	bool streaming;
	bool asked;      /* the standby wants to be handed the image */
	uint8_t *data;   /* READ_MAX */
	uint8_t *hashes; /* of RUN_MAX */
	char *defined;   /* the definition as it was sent last */
	struct access_told access;
	struct lag_told lag;
	uint8_t *own; /* of one read */
	struct packer packer;
	bool touched[READ_MAX / VOLUME_SLOT];
};

static int fail(struct sender *sender, int error, const char *what)
{
	channel_break(sender->channel, error, "%s: %s", what, strerror(-error));
	return sender->channel->broken;
}

static int unexpected(struct sender *sender, const struct wire_message *message)
{
	channel_break(sender->channel, -EPROTO, "%s out of place", wire_type_name(message->type));
	return sender->channel->broken;
}

/* The peer is primary. If it took over from us, we know now. */
static void learn_from_refusal(struct sender *sender, const struct wire_message *message)
{
	struct group *group = sender->group;
	uint64_t fork;

	if (message->kind == WIRE_REFUSED_ROLE &&
	    lineage_left(&group->lineage, &message->lineage, &fork)) {
		struct err err = {0};

		if (group->role == GROUP_HANDOVER) {
			if (group_demote(group, &err) < 0) /* the next session tries again */
				log_warning("group %s: %s", group->name, err.text);
		} else if (group->role == GROUP_PRIMARY) {
			group->role = GROUP_FENCED;
			group_set_role(group, GROUP_FENCED);
			if (group->host->save(group) < 0) /* the next session finds out again */
				err_set(&err, -EIO, "not saved");
		}
	}
	channel_break(sender->channel, -EPROTO, "the peer refuses: %.*s", (int)message->data_length,
		      (const char *)message->data);
	snprintf(group->reason, sizeof group->reason, "the peer refuses: %.*s",
		 (int)message->data_length, (const char *)message->data);
}

/* The next message, which has to be a @type; the standby may ask for the image at any time. */
static int expect(struct sender *sender, enum wire_type type, struct wire_message *message)
{
	int result;

	do {
		result = channel_receive(sender->channel, message);
		if (result < 0)
			return result;
		sender->asked |= message->type == WIRE_SWITCH;
	} while (message->type == WIRE_SWITCH);
	if (message->type == WIRE_REFUSE) {
		learn_from_refusal(sender, message);
		return sender->channel->broken;
	}
	return message->type == type ? 0 : unexpected(sender, message);
}

/* The standby has nothing to say now but that it gives up, or wants the image. */
static int no_message(struct sender *sender)
{
	struct wire_message message;
	int result = channel_poll(sender->channel, &message);

	if (result <= 0)
		return result;
	if (message.type == WIRE_SWITCH) {
		sender->asked = true;
		return 0;
	}
	if (message.type == WIRE_REFUSE)
		learn_from_refusal(sender, &message);
	return message.type == WIRE_REFUSE ? sender->channel->broken : unexpected(sender, &message);
}

/* The group's definition, when it is not the one that was sent last. */
static int tell_definition(struct sender *sender, struct wire_message *ready)
{
	struct group *group = sender->group;
	const char *text = group->host->definition(group);
	struct wire_message message = {.type = WIRE_DEFINE, .data = (const uint8_t *)text};
	int result;

	if (sender->defined && strcmp(sender->defined, text) == 0)
		return 0;
	heap_free(sender->defined);
	sender->defined = heap_strdup(text);
	message.data_length = strlen(text);
	result = channel_send(sender->channel, &message);
	return result < 0 ? result : expect(sender, WIRE_READY, ready);
}

/* Who is let in and what is reserved, when it is not what was told last. */
static int tell_access(struct sender *sender)
{
	struct wire_message ready;
	uint8_t *data;
	size_t length;
	int result;

	if (!access_look(&sender->access, sender->group, &data, &length))
		return 0;
	result = access_send(sender->channel, data, length);
	heap_wipe(data);
	return result < 0 ? result : expect(sender, WIRE_READY, &ready);
}

/* What the standby has to know of the group besides its members' bytes. */
static int tell(struct sender *sender)
{
	struct wire_message ready;
	int result = tell_definition(sender, &ready);

	return result < 0 ? result : tell_access(sender);
}

/* ---- records ---- */
static int send_plain(struct sender *sender, const struct pack_record *record)
{
	struct wire_message message = pack_message(record);

	return channel_send(sender->channel, &message);
}

/* One by one, as if there were no packer. */
static int send_unpacked(struct sender *sender)
{
	struct packer *packer = &sender->packer;
	struct pack_record record;
	size_t at = 0;
	int result = 0;

	while (result == 0 && pack_next(packer->raw, packer->used, &at, &record) == 1)
		result = send_plain(sender, &record);
	return result;
}

/* What the packer has goes out: before anything else does that comes after a record. */
static int flush_records(struct sender *sender)
{
	struct packer *packer = &sender->packer;
	struct wire_message message = {
	    .type = WIRE_PACKED, .kind = (uint8_t)packer->kind, .length = packer->used};
	int result;

	if (packer->used == 0)
		return 0;
	message.data_length = packer_squeeze(packer);
	if (message.data_length == 0) {
		result = send_unpacked(sender);
	} else {
		message.data = packer->packed;
		result = channel_send(sender->channel, &message);
		sender->group->saved_bytes +=
		    packer->plain - WIRE_PACKED_HEAD - message.data_length;
	}
	packer_clear(packer);
	return result;
}

static int send_record(struct sender *sender, unsigned member, uint64_t offset, uint64_t length,
		       const uint8_t *data)
{
	struct pack_record record = {member, offset, length,
				     data && !all_zero(data, length) ? data : NULL};
	int result = 0;

	digest_add(&sender->digest, member, offset, length, record.data);
	sender->records++;
	if (sender->packer.kind == PACK_OFF)
		return send_plain(sender, &record);
	if (packer_add(&sender->packer, &record))
		return 0;
	result = flush_records(sender);
	return result < 0 || packer_add(&sender->packer, &record) ? result : -EMSGSIZE;
}

/* As it is asked for now, between epochs. Without memory for it nothing is packed. */
static void choose_packer(struct sender *sender)
{
	struct group *group = sender->group;
	enum pack_kind kind = group->spoken < WIRE_VERSION_PACKED ? PACK_OFF : group->compression;

	if (sender->packer.kind == kind)
		return;
	packer_close(&sender->packer);
	if (packer_open(&sender->packer, kind) < 0)
		log_warning("group %s: no memory to compress with", group->name);
}

static int begin(struct sender *sender, enum wire_begin kind)
{
	struct wire_message message = {.type = WIRE_BEGIN, .kind = (uint8_t)kind};
	int result = tell(sender); /* a member may have grown */

	if (result < 0)
		return result;
	digest_begin(&sender->digest);
	sender->records = 0;
	choose_packer(sender);
	return channel_send(sender->channel, &message);
}

static int send_log(struct sender *sender, uint64_t number)
{
	const struct recorder_epoch *epoch = recorder_epoch(sender->group->recorder, number);
	struct recorder_cursor cursor = {0};
	const struct record *record;
	int result = 0;

	while (result == 0 && epoch && (record = recorder_next(epoch, &cursor))) {
		if (record->member != RECORD_NOBODY)
			result = send_record(sender, record->member, record->offset, record->length,
					     record->zeros ? NULL : record->data);
	}
	return result;
}

/* The standby has @epoch, durably: what was kept for it may go. */
static void acknowledged(struct sender *sender, uint64_t epoch)
{
	struct group *group = sender->group;

	for (unsigned i = 0; i < group->member_max; i++) {
		if (group->members[i].volume)
			marks_clear_all(&group->members[i].sent);
	}
	recorder_drop(group->recorder, epoch);
	group->acked = epoch;
	group->sealing = 0;
}

static int seal(struct sender *sender, uint64_t number, uint64_t wall_ns)
{
	struct group *group = sender->group;
	struct wire_message message = {
	    .type = WIRE_SEAL, .epoch = number, .wall_ns = wall_ns, .records = sender->records};
	int result;

	digest_end(&sender->digest, message.digest);
	group->sealing = number;
	if (!ORDER(ack_before_drop))
		acknowledged(sender, number);
	result = flush_records(sender);
	if (result == 0)
		result = channel_send(sender->channel, &message);
	if (result == 0)
		result = expect(sender, WIRE_ACK, &message);
	if (result < 0)
		return result;
	if (message.epoch != number)
		return unexpected(sender, &message);
	acknowledged(sender, number);
	group->acked_wall_ns = wall_ns;
	group_protect(group);
	lag_tell(&sender->lag, group, sender->channel);
	sender->peer_epoch = number;
	return 0;
}

/* ---- sync ---- */
/* The slots of @data (at @offset of the member) that differ from what the standby has. */
static int send_differing(struct sender *sender, unsigned member, uint64_t offset, uint64_t length,
			  const uint8_t *hashes)
{
	const uint8_t *data = sender->data, *own = sender->own;
	uint64_t slots = length / VOLUME_SLOT, first = 0;
	int result = 0;

	if (hashes)
		digest_slots(data, length, sender->own);
	while (result == 0 && first < slots) {
		uint64_t end = first;
		bool zero;

		if (hashes &&
		    memcmp(hashes + first * WIRE_HASH, own + first * WIRE_HASH, WIRE_HASH) == 0) {
			first++;
			continue;
		}
		zero = all_zero(data + first * VOLUME_SLOT, VOLUME_SLOT);
		while (end < slots && (end - first) * VOLUME_SLOT < WIRE_DATA_MAX &&
		       all_zero(data + end * VOLUME_SLOT, VOLUME_SLOT) == zero &&
		       !(hashes &&
			 memcmp(hashes + end * WIRE_HASH, own + end * WIRE_HASH, WIRE_HASH) == 0))
			end++;
		if (!zero || !sender->skip_zeros)
			result =
			    send_record(sender, member, offset + first * VOLUME_SLOT,
					(end - first) * VOLUME_SLOT, data + first * VOLUME_SLOT);
		first = end;
	}
	return result;
}

static int send_mapped(struct sender *sender, unsigned member, uint64_t offset, uint64_t length,
		       const uint8_t *hashes)
{
	struct volume *volume = sender->group->members[member].volume;
	int result = 0;

	for (uint64_t at = 0; at < length && result == 0; at += READ_MAX) {
		uint64_t part = length - at < READ_MAX ? length - at : READ_MAX;

		result = volume_io(volume, VOLUME_READ, 0, offset + at, sender->data, part);
		if (result < 0)
			return fail(sender, result, "a member can not be read");
		result = send_differing(sender, member, offset + at, part,
					hashes ? hashes + at / VOLUME_SLOT * WIRE_HASH : NULL);
	}
	return result;
}

static int ask_hashes(struct sender *sender, unsigned member, uint64_t offset, uint64_t length)
{
	struct wire_message message = {
	    .type = WIRE_HASH_ASK, .member = (uint16_t)member, .offset = offset, .length = length};
	int result = flush_records(sender);

	if (result == 0)
		result = channel_send(sender->channel, &message);
	if (result == 0)
		result = expect(sender, WIRE_HASHES, &message);
	if (result < 0)
		return result;
	if (message.member != member || message.offset != offset ||
	    message.data_length != length / VOLUME_SLOT * WIRE_HASH)
		return unexpected(sender, &message);
	memcpy(sender->hashes, message.data, message.data_length);
	return 0;
}

static int send_compared(struct sender *sender, unsigned member, uint64_t offset, uint64_t length)
{
	int result = 0;

	for (uint64_t at = 0; at < length && result == 0; at += RUN_MAX) {
		uint64_t part = length - at < RUN_MAX ? length - at : RUN_MAX;

		result = ask_hashes(sender, member, offset + at, part);
		if (result == 0)
			result = send_mapped(sender, member, offset + at, part, sender->hashes);
	}
	return result;
}

/* One extent of a run; holes go whole. */
static int send_extent(struct sender *sender, unsigned member, const struct volume_extent *extent)
{
	if (!extent->mapped)
		return sender->skip_zeros
			   ? 0
			   : send_record(sender, member, extent->offset, extent->length, NULL);
	if (!sender->compare)
		return send_mapped(sender, member, extent->offset, extent->length, NULL);
	return send_compared(sender, member, extent->offset, extent->length);
}

static int send_run(struct sender *sender, unsigned member, uint64_t offset, uint64_t length)
{
	struct volume *volume = sender->group->members[member].volume;
	uint64_t end = offset + length;
	int result = 0;

	/* Where nothing is sent, nothing else tells that the channel is gone. */
	while (result == 0 && !sender->channel->broken && offset < end) {
		struct volume_extent extents[EXTENTS_MAX];
		struct volume_io io;

		volume_io_prepare(&io, VOLUME_EXTENTS, 0, offset, NULL, end - offset);
		io.request.extents = extents;
		io.request.extent_max = EXTENTS_MAX;
		volume_submit(volume, &io.request);
		result = volume_io_wait(&io);
		if (result < 0 || io.request.extent_count == 0)
			return fail(sender, result ? result : -EIO, "a member's map");
		for (unsigned i = 0; i < io.request.extent_count && result == 0; i++) {
			result = send_extent(sender, member, &extents[i]);
			offset = extents[i].offset + extents[i].length;
		}
	}
	return result < 0 ? result : sender->channel->broken;
}

static int sync_member(struct sender *sender, unsigned member)
{
	struct group *group = sender->group;
	struct marks *sent = &group->members[member].sent;
	uint64_t at = 0, length = 0;
	int result = 0;

	while (result == 0 && !sender->channel->broken &&
	       recorder_take(group->recorder, member, at, TAKE_MAX, &at, &length)) {
		uint64_t size = volume_size(group->members[member].volume);

		if (at >= size)
			break; /* it has become smaller */
		length = length < size - at ? length : size - at;
		/* What this sync has carried there already is not what the hashes are of. */
		bool carried = marks_any(sent, at, length);

		sender->compare = !sender->fresh && !carried;
		sender->skip_zeros = sender->fresh && !carried;
		if (at + length > sent->size && marks_grow(sent, at + length) < 0)
			return fail(sender, -ENOMEM, "out of memory");
		marks_set(sent, at, length);
		result = send_run(sender, member, at, length);
		if (!ORDER(sync_takes_before_it_reads)) {
			uint64_t offset, taken;

			(void)recorder_take(group->recorder, member, at, length, &offset, &taken);
		}
		at += length;
	}
	return result < 0 ? result : sender->channel->broken;
}

static int sync_marks(struct sender *sender)
{
	int result = 0;

	for (unsigned i = 0; i < sender->group->member_max && result == 0; i++) {
		if (sender->group->members[i].volume)
			result = sync_member(sender, i);
	}
	return result;
}

static uint64_t marked_bytes(struct group *group)
{
	struct recorder_lag lag;

	recorder_lag(group->recorder, &lag);
	return lag.marked_bytes;
}

/* Close the open epoch and wait until it is complete. */
static int close_now(struct sender *sender, uint64_t *ret_epoch)
{
	struct recorder *recorder = sender->group->recorder;

	while (!sender->channel->broken && !(*ret_epoch = recorder_close(recorder)))
		channel_wait(sender->channel);
	while (!sender->channel->broken && !recorder_complete(recorder, *ret_epoch))
		channel_wait(sender->channel);
	return sender->channel->broken;
}

/* All marks are sent, and what has changed since they were is in the log; its last epoch. */
static int sync_until_logged(struct sender *sender, uint64_t *ret_epoch)
{
	struct group *group = sender->group;
	struct recorder *recorder = group->recorder;
	bool logging = false;
	int result = 0;

	while (result == 0) {
		if (logging && recorder_spoiled(recorder, UINT64_MAX - 1)) {
			recorder_fall_back(recorder);
			logging = false;
		}
		if (!logging && marked_bytes(group) <= group->log_bytes / 4) {
			recorder_log_again(recorder);
			logging = true;
		}
		result = sync_marks(sender);
		if (result < 0 || !logging || marked_bytes(group) > 0)
			continue;
		result = close_now(sender, ret_epoch);
		if (result == 0 && !recorder_spoiled(recorder, *ret_epoch))
			return 0;
	}
	return result;
}

static int sync(struct sender *sender)
{
	struct group *group = sender->group;
	uint64_t epoch = 0, wall_ns;
	int result;

	group->phase = sender->peer_epoch ? "catching up" : "seeding";
	sender->streaming = false;
	recorder_fall_back(group->recorder);
	recorder_skip(group->recorder, group->seed_epoch);
	result = begin(sender, sender->peer_epoch ? WIRE_BEGIN_SYNC : WIRE_BEGIN_SEED);
	if (result == 0)
		result = sync_until_logged(sender, &epoch);
	if (result < 0)
		return result;
	wall_ns = recorder_epoch(group->recorder, epoch)->closed_wall_ns;
	for (uint64_t i = recorder_oldest_epoch(group->recorder); i <= epoch && result == 0; i++)
		result = send_log(sender, i);
	if (result == 0)
		result = seal(sender, epoch, wall_ns);
	if (result == 0) /* mismatches are found between syncs, and marked */
		group->verify.repaired = group->verify.mismatches;
	sender->fresh = false;
	return result;
}

/* ---- delta ---- */
static int send_epoch(struct sender *sender, uint64_t number)
{
	uint64_t wall_ns = recorder_epoch(sender->group->recorder, number)->closed_wall_ns;
	int result;

	if (recorder_epoch(sender->group->recorder, number)->records == 0) {
		recorder_drop(sender->group->recorder, number);
		return 0;
	}
	result = begin(sender, WIRE_BEGIN_DELTA);
	if (result == 0)
		result = send_log(sender, number);
	return result < 0 ? result : seal(sender, number, wall_ns);
}

/* What the pings say: nothing is behind at this time. */
static void tell_idle(struct sender *sender)
{
	struct group *group = sender->group;
	uint64_t now = loop_wall(group->loop); /* first: what comes after the look is newer */

	if (!recorder_idle(group->recorder))
		return;
	sender->channel->ping_epoch = group->acked;
	sender->channel->ping_wall_ns = group->acked_wall_ns = now;
	group_protect(group);
}

/* A standby that is too slow: guests do not wait for ever. */
static void look_at_switch(struct group *group)
{
	if (!group->switching || group->role != GROUP_PRIMARY ||
	    loop_now(group->loop) < group->switch_until_ns)
		return;
	group->switching = false;
	recorder_set_mode(group->recorder, RECORDER_RECORDS);
	group_stay(group);
}

static void close_epoch(struct timer *timer)
{
	struct sender *sender = container_of(timer, struct sender, clock);

	look_at_switch(sender->group);

	if (sender->streaming) {
		recorder_close_used(sender->group->recorder);
		tell_idle(sender);
	}
	lag_tell(&sender->lag, sender->group, sender->channel);
	timer_start(timer, sender->group->period_ns);
	channel_wake(sender->channel);
}

static void close_when_large(struct group *group)
{
	struct recorder_lag lag;

	recorder_lag(group->recorder, &lag);
	if (lag.open_bytes >= group->epoch_bytes)
		recorder_close_used(group->recorder);
}

/* ---- handing over ---- */
/* Who has something open on the members (a share) ends it in order, so that the image that is
 * handed over is whole; after that guests' requests are held. */
static void hold_guests(struct group *group)
{
	if (!group->leaving)
		group_leave(group);
	/* What they end with is sealed meanwhile: it may wait for that (R5). */
	if (group->host->settled && !group->host->settled(group))
		fiber_sleep(LEAVE_POLL_NS);
	else
		recorder_set_mode(group->recorder, RECORDER_HOLDS);
}

/* Everything is sealed there and guests wait: the peer's turn. */
static int hand_over(struct sender *sender)
{
	struct group *group = sender->group;
	struct wire_message message = {.type = WIRE_SWITCH, .epoch = group->acked};
	struct err err = {0};
	int result = ORDER(hand_over_flush) ? group_flush(group) : 0;

	/* It was called off meanwhile: guests write. */
	if (result == 0 && recorder_mode(group->recorder) != RECORDER_HOLDS)
		return 0;
	if (result == 0) {
		group->role = GROUP_HANDOVER;
		result = group->host->save(group);
	}
	if (result < 0) {
		group->switching = false;
		group_set_role(group, GROUP_PRIMARY);
		return fail(sender, result, "handing over");
	}
	group_set_role(group, GROUP_HANDOVER);
	result = channel_send(sender->channel, &message);
	if (result == 0)
		result = expect(sender, WIRE_SWITCHED, &message);
	if (result < 0)
		return result;
	result = group_hand_over(group, group->acked, &message.lineage, &err);
	group->switching = false;
	channel_break(sender->channel, result < 0 ? result : -ESHUTDOWN, "%s",
		      result < 0 ? err.text : "handed over");
	return sender->channel->broken;
}

/* ---- verify ---- */
/* A change explains it, or hides what it does not reach of the slot. Twice in doubt, or one too
 * many, it is sent again. */
static void doubt(struct sender *sender, unsigned member, uint64_t offset, bool again)
{
	struct group_verify *verify = &sender->group->verify;

	if (again || verify->doubt_count == VERIFY_DOUBTS)
		recorder_mark(sender->group->recorder, member, offset, VOLUME_SLOT);
	else
		verify->doubts[verify->doubt_count++] = (struct group_doubt){offset, member};
}

/* Runs of slots that differ and were not touched since the sealed epoch: no change explains them.
 * The standby's hashes came first, then the read; whatever has happened since is known by now. */
static void judge(struct sender *sender, unsigned member, uint64_t offset, unsigned slots,
		  const uint8_t *hashes, bool again)
{
	struct group *group = sender->group;

	recorder_touched(group->recorder, member, offset, slots, sender->touched);
	for (unsigned i = 0; i < slots; i++) {
		uint64_t at = offset + (uint64_t)i * VOLUME_SLOT;

		if (memcmp(hashes + (size_t)i * WIRE_HASH, sender->own + (size_t)i * WIRE_HASH,
			   WIRE_HASH) == 0)
			continue;
		if (sender->touched[i]) {
			doubt(sender, member, at, again);
			continue;
		}
		if (group->verify.mismatches++ == 0)
			log_warning(
			    "group %s: volume %s differs on the standby at %llu; it is sent "
			    "again",
			    group->name, group->members[member].volume->name,
			    (unsigned long long)at);
		recorder_mark(group->recorder, member, at, VOLUME_SLOT);
	}
}

static int compare(struct sender *sender, unsigned member, uint64_t offset, uint64_t length,
		   bool again)
{
	struct volume *volume = sender->group->members[member].volume;
	int result = ask_hashes(sender, member, offset, length);

	for (uint64_t at = 0; at < length && result == 0; at += READ_MAX) {
		uint64_t part = length - at < READ_MAX ? length - at : READ_MAX;
		const uint8_t *hashes = sender->hashes + at / VOLUME_SLOT * WIRE_HASH;

		result = volume_io(volume, VOLUME_READ, 0, offset + at, sender->data, part);
		if (result < 0)
			return fail(sender, result, "a member can not be read");
		digest_slots(sender->data, part, sender->own);
		if (memcmp(hashes, sender->own, part / VOLUME_SLOT * WIRE_HASH) != 0)
			judge(sender, member, offset + at, (unsigned)(part / VOLUME_SLOT), hashes,
			      again);
	}
	return result;
}

/* The last part: one slot more of those that were in doubt. */
static int verify_doubts(struct sender *sender)
{
	struct group_verify *verify = &sender->group->verify;
	const struct group_doubt *next;
	const struct volume *volume;
	int result = 0;

	if (verify->doubt_count == 0) {
		verify->running = false;
		verify->ended_wall_ns = loop_wall(sender->group->loop);
		heap_free(verify->doubts);
		verify->doubts = NULL;
		return 0;
	}
	next = &verify->doubts[verify->doubt_count - 1];
	volume = sender->group->members[next->member].volume; /* it may have left meanwhile */
	if (volume && next->offset + VOLUME_SLOT <= volume_size(volume))
		result = compare(sender, next->member, next->offset, VOLUME_SLOT, true);
	if (result == 0)
		verify->doubt_count--;
	return result;
}

/* One range more. */
static int verify(struct sender *sender)
{
	struct group_verify *verify = &sender->group->verify;
	struct volume *volume = verify->member < WIRE_MEMBERS_MAX
				    ? sender->group->members[verify->member].volume
				    : NULL;
	uint64_t size = volume ? volume_size(volume) : 0, length;
	int result;

	if (verify->member == sender->group->member_max)
		return verify_doubts(sender);
	if (verify->offset >= size) {
		verify->offset = 0;
		verify->member++;
		return 0;
	}
	length = size - verify->offset < VERIFY_MAX ? size - verify->offset : VERIFY_MAX;
	result = compare(sender, verify->member, verify->offset, length, false);
	if (result == 0) {
		verify->offset += length;
		verify->done_bytes += length;
	}
	return result;
}

static int stream(struct sender *sender)
{
	struct group *group = sender->group;
	struct recorder *recorder = group->recorder;
	int result = 0;

	group->phase = "streaming";
	sender->streaming = true;
	while (result == 0 && !sender->channel->broken) {
		uint64_t oldest = recorder_oldest_epoch(recorder);
		enum recorder_step step;
		bool held;

		close_when_large(group);
		if (sender->asked) {
			sender->asked = false;
			group->switching = true;
			group->switch_until_ns = loop_now(group->loop) + SWITCH_NS;
		}
		if (group->switching && recorder_mode(recorder) == RECORDER_RECORDS)
			hold_guests(group);
		held = group->switching && recorder_mode(recorder) != RECORDER_RECORDS;
		step = recorder_next_step(recorder, oldest);
		if (step == RECORDER_SYNC)
			return 0;
		if (step == RECORDER_SEND) {
			result = send_epoch(sender, oldest);
			continue;
		}
		if (held && recorder_idle(recorder)) {
			/* Nothing of it changes any more. */
			result = ORDER(access_before_hand_over) ? tell_access(sender) : 0;
			if (result == 0 && !sender->access.pending)
				return hand_over(sender);
			fiber_sleep(LEAVE_POLL_NS);
			continue;
		}
		/* Guests wait: the open epoch does not, for its time. */
		if (held && recorder_busy(recorder))
			recorder_close(recorder);
		else if (held)
			recorder_close_used(recorder);
		if (recorder_next_step(recorder, oldest) == RECORDER_WAIT &&
		    (held || !(group->switching || group->verify.running)))
			channel_wait(sender->channel);
		result = no_message(sender);
		if (result == 0)
			result = tell(sender);
		if (result == 0 && group->verify.running && !group->switching)
			result = verify(sender);
	}
	return result < 0 ? result : sender->channel->broken;
}

/* ---- hello ---- */
/* What the session before this one carried and was not acknowledged. */
static void mark_again(struct sender *sender)
{
	struct group *group = sender->group;

	for (unsigned i = 0; i < group->member_max; i++) {
		struct marks *sent = &group->members[i].sent;
		uint64_t at = 0, length;

		if (!group->members[i].volume)
			continue;
		while (ORDER(cut_sync_is_marked_again) &&
		       marks_next(sent, at, UINT64_MAX, &at, &length)) {
			recorder_mark(group->recorder, i, at, length);
			at += length;
		}
		marks_clear_all(sent);
	}
}

/* What the standby holds decides what it lacks. */
static void settle(struct sender *sender, const struct wire_message *welcome)
{
	struct group *group = sender->group;
	const uint8_t *head = lineage_head(&welcome->lineage);
	uint64_t fork = 0;
	bool ours =
	    head &&
	    (memcmp(head, lineage_head(&group->lineage), 16) == 0 ||
	     (lineage_left(&welcome->lineage, &group->lineage, &fork) && fork == group->acked));

	sender->peer_epoch = welcome->epoch;
	if (ours && welcome->epoch && welcome->epoch == group->sealing) {
		acknowledged(sender, welcome->epoch);
		/* What was found was sent in it at the latest; the answer was lost. */
		group->verify.repaired = group->verify.mismatches;
	} else if (ours && welcome->epoch && welcome->epoch == group->acked) {
		mark_again(sender);
	} else if (ours && welcome->epoch && group->host->mark_since &&
		   group->host->mark_since(group, welcome->epoch) == 0) {
		group->acked = 0;
	} else {
		mark_again(sender);
		recorder_mark_all(group->recorder);
		group->acked = 0;
	}
	group->sealing = 0;
	recorder_skip(group->recorder, welcome->epoch);
}

static int say_hello(struct sender *sender)
{
	struct group *group = sender->group;
	struct wire_message message = {.type = WIRE_HELLO,
				       .version = WIRE_VERSION_OLDEST,
				       .epoch = group->acked,
				       .lineage = group->lineage};
	struct wire_message welcome;
	int result;

	memcpy(message.node, group->node, 16);
	memcpy(message.group, group->uuid, 16);
	result = channel_send(sender->channel, &message);
	if (result == 0)
		result = expect(sender, WIRE_WELCOME, &welcome);
	if (result < 0)
		return result;
	group->spoken = welcome.version < group->protocol ? welcome.version : group->protocol;
	if (group->spoken < WIRE_VERSION_OLDEST)
		return unexpected(sender, &welcome);
	result = tell_definition(sender, &message);
	if (result < 0)
		return result;
	sender->fresh = message.fresh;
	result = tell_access(sender);
	if (result < 0)
		return result;
	if (group->role == GROUP_HANDOVER) { /* it did not take over: it is ours as before */
		group->role = GROUP_PRIMARY;
		group->switching = false;
		if (group->host->save(group) < 0)
			return fail(sender, -EIO, "the role could not be saved");
		group_set_role(group, GROUP_PRIMARY);
	}
	settle(sender, &welcome);
	sender->lag.on = true;
	return 0;
}

static int sender_open(struct sender *sender)
{
	sender->data = heap_scratch(4096, READ_MAX);
	sender->own = heap_alloc(READ_MAX / VOLUME_SLOT * WIRE_HASH);
	sender->hashes = heap_alloc(RUN_MAX / VOLUME_SLOT * WIRE_HASH);
	if (!sender->data || !sender->own || !sender->hashes)
		return fail(sender, -ENOMEM, "out of memory");
	/* Changes that were under way before the taps were set. */
	while (!sender->channel->broken && !recorder_quiet(sender->group->recorder))
		fiber_sleep(QUIET_NS);
	return sender->channel->broken;
}

/* The standby gets its first image on a disk. It ends the session for that. */
static int await_seed(struct sender *sender)
{
	int result = 0;

	sender->group->phase = "waiting for its seed";
	while (result == 0 && !sender->channel->broken && sender->group->ship) {
		channel_wait(sender->channel);
		result = no_message(sender);
		if (result == 0)
			result = tell(sender);
	}
	return result < 0 ? result : sender->channel->broken;
}

static void session(struct sender *sender)
{
	struct group *group = sender->group;
	int result = sender_open(sender);

	if (result == 0)
		result = say_hello(sender);
	if (result == 0) /* of the session before */
		group->reason[0] = '\0';
	if (result == 0 && !sender->peer_epoch)
		result = await_seed(sender);
	while (result == 0 && !sender->channel->broken) {
		if (recorder_next_step(group->recorder, recorder_oldest_epoch(group->recorder)) ==
		    RECORDER_SYNC)
			result = sync(sender);
		if (result == 0)
			result = stream(sender);
	}
}

/* A connection that ended while something was being sent may have brought the reason before. */
static void last_words(struct sender *sender)
{
	struct wire_message message;

	while (channel_poll(sender->channel, &message) == 1) {
		if (message.type == WIRE_REFUSE)
			learn_from_refusal(sender, &message);
	}
}

void sender_run(struct group *group, struct channel *channel)
{
	struct sender sender = {.group = group, .channel = channel};

	group->channel = channel;
	group->phase = "greeting";
	channel->limit_bytes = group->limit_bytes;
	timer_init(&sender.clock, group->loop, close_epoch);
	timer_start(&sender.clock, group->period_ns);
	session(&sender);
	timer_stop(&sender.clock);
	snprintf(group->reason, sizeof group->reason, "%s", channel->why);
	last_words(&sender);
	group->phase = "not connected";
	if (recorder_mode(group->recorder) == RECORDER_HOLDS)
		recorder_set_mode(group->recorder, RECORDER_RECORDS);
	group->switching = false;
	group_stay(group);
	group->sent_bytes += channel->bytes_out;
	group->channel = NULL;
	group->spoken = 0;
	packer_close(&sender.packer);
	digest_finish(&sender.digest);
	heap_free(sender.data);
	heap_free(sender.own);
	heap_free(sender.hashes);
	heap_free(sender.defined);
}
