/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/heap.h"
#include "replication/access.h"
#include "replication/group.h"
#include "replication/lineage.h"
#include "replication/order.h"
#include "volumes/volume_io.h"

/*~ The standby's side of a session. An epoch's records go to the staging log as they come; its
 * SEAL is checked against them, made durable and acknowledged, and only then do they go to the
 * members (E3). A session that breaks anywhere leaves the last sealed epoch as it was. Only while
 * there is no sealed image at all, records go straight to the members: seeding. */

#define HASH_READ ((uint64_t)1 << 20)

struct receiver {
	struct group *group;
	struct channel *channel;
	struct wire_lineage lineage; /* the primary's */
	struct digest digest;
	bool open;  /* between BEGIN and SEAL */
	bool asked; /* for the image */
	bool seed;
	uint8_t *data;   /* HASH_READ */
	uint8_t *hashes; /* of one HASH_ASK */
	struct unpacker unpacker;
	struct access_heard access;
};

static int fail(struct receiver *receiver, int error, const char *what)
{
	struct channel *channel = receiver->channel;

	if (error == -ENOSPC)
		return channel_refuse(channel, WIRE_REFUSED_SPACE, NULL, "the standby is full: %s",
				      what);
	channel_break(channel, error, "%s: %s", what, strerror(-error));
	return channel->broken;
}

static int bad(struct receiver *receiver, const char *what)
{
	return channel_refuse(receiver->channel, WIRE_REFUSED_STATE, NULL, "%s", what);
}

/* ---- an epoch ---- */
static int begin(struct receiver *receiver, const struct wire_message *message)
{
	struct staging *staging = &receiver->group->staging;
	int result = 0;

	receiver->seed = message->kind == WIRE_BEGIN_SEED;
	if (receiver->seed && staging->sealed != 0)
		return bad(receiver, "there is an image here: no seed is wanted");
	if (!receiver->seed && staging->sealed == 0)
		return bad(receiver, "there is no image here: a seed is wanted");
	staging_begin(staging);
	digest_begin(&receiver->digest);
	receiver->open = true;
	if (receiver->seed && !staging->seeding)
		result = staging_seed_begin(staging);
	return result < 0 ? fail(receiver, result, "the staging log") : 0;
}

static struct volume *member_of(struct receiver *receiver, const struct wire_message *message)
{
	struct volume *volume = receiver->group->members[message->member].volume;
	uint64_t size = volume ? volume_size(volume) : 0;

	return volume && message->offset <= size && message->length <= size - message->offset
		   ? volume
		   : NULL;
}

static int record_in(struct receiver *receiver, const struct wire_message *message)
{
	struct volume *volume = member_of(receiver, message);
	const void *data = message->type == WIRE_WRITE ? message->data : NULL;
	/* Onto what is no image yet, of the group or of a member that joins it. */
	bool direct = receiver->seed || !staging_has(&receiver->group->staging, message->member) ||
		      !ORDER(apply_waits_for_seal);
	int result;

	if (!receiver->open)
		return bad(receiver, "a record outside of an epoch");
	if (!volume)
		return bad(receiver, "a record for no member, or beyond its end");
	digest_add(&receiver->digest, message->member, message->offset, message->length, data);
	if (data && direct)
		memcpy(receiver->data, data, message->length);
	if (!direct)
		result = staging_add(&receiver->group->staging, message->member, message->offset,
				     message->length, data);
	else
		result = volume_io(volume, data ? VOLUME_WRITE : VOLUME_DISCARD, 0, message->offset,
				   data ? receiver->data : NULL, message->length);
	return result < 0 ? fail(receiver, result, "writing an epoch") : 0;
}

static int packed_in(struct receiver *receiver, const struct wire_message *message)
{
	struct pack_record record;
	size_t at = 0;
	int result;

	if (receiver->group->protocol < WIRE_VERSION_PACKED)
		return bad(receiver, "a message out of place");
	if (!receiver->open)
		return bad(receiver, "a record outside of an epoch");
	result = unpack(&receiver->unpacker, message);
	if (result == -ENOMEM)
		return fail(receiver, result, "unpacking");
	while (result == 0 &&
	       (result = pack_next(receiver->unpacker.raw, message->length, &at, &record)) == 1) {
		struct wire_message one = {.type = record.data ? WIRE_WRITE : WIRE_ZERO,
					   .member = (uint16_t)record.member,
					   .offset = record.offset,
					   .length = record.length,
					   .data = record.data};

		result = record_in(receiver, &one);
		if (result < 0)
			return result;
	}
	return result < 0 ? bad(receiver, "what is packed are no records") : 0;
}

/* ---- who is let in and what is reserved ---- */
static int access_in(struct receiver *receiver, const struct wire_message *message)
{
	struct group *group = receiver->group;
	struct wire_message ready = {.type = WIRE_READY};
	struct err err = {0};
	int result;

	if (group->protocol < WIRE_VERSION_ACCESS || !group->host->keep_access)
		return bad(receiver, "a message out of place");
	if (receiver->open)
		return bad(receiver, "who is let in is told between epochs");
	result = access_add(&receiver->access, message);
	if (result == -EFBIG)
		return bad(receiver, "who is let in is more than can be");
	if (result < 0)
		return fail(receiver, result, "who is let in");
	if (!receiver->access.whole)
		return 0;
	result =
	    group->host->keep_access(group, receiver->access.data, receiver->access.length, &err);
	access_clear(&receiver->access);
	if (result < 0)
		return bad(receiver, err.text);
	receiver->access.ever = true;
	return channel_send(receiver->channel, &ready);
}

/* A primary that does not tell it may have let in others since it was told last. */
static int access_is_known(struct receiver *receiver)
{
	struct group *group = receiver->group;
	struct err err = {0};

	if (receiver->access.ever || !group->host->keep_access)
		return 0;
	receiver->access.ever = true;
	return group->host->keep_access(group, NULL, 0, &err) < 0 ? bad(receiver, err.text) : 0;
}

/* Durable, then told, then applied. */
static int make_sealed(struct receiver *receiver, const struct wire_message *message)
{
	struct group *group = receiver->group;
	struct staging *staging = &group->staging;
	int result;

	if (receiver->seed)
		result =
		    staging_seed_end(staging, message->epoch, message->wall_ns, &receiver->lineage);
	else
		result =
		    staging_seal(staging, message->epoch, message->wall_ns, &receiver->lineage);
	if (result < 0)
		return fail(receiver, result, "sealing an epoch");
	if (group->accept_any) {
		group->accept_any = false;
		if (group->host->save(group) < 0)
			return fail(receiver, -EIO, "the group's state");
	}
	return 0;
}

static void image_sealed(struct group *group)
{
	if (group->host->sealed && group->staging.sealed && !group->staging.seeding)
		group->host->sealed(group);
}

static int seal(struct receiver *receiver, const struct wire_message *message)
{
	struct wire_message ack = {.type = WIRE_ACK, .epoch = message->epoch};
	struct staging *staging = &receiver->group->staging;
	uint8_t digest[WIRE_DIGEST];
	int result;

	if (!receiver->open)
		return bad(receiver, "a seal outside of an epoch");
	if (message->epoch <= staging->sealed)
		return bad(receiver, "an epoch that is not newer than the sealed one");
	digest_end(&receiver->digest, digest);
	if (memcmp(digest, message->digest, sizeof digest) != 0 ||
	    message->records != receiver->digest.records)
		return bad(receiver, "the epoch is not what its digest says");
	receiver->open = false;
	result = access_is_known(receiver);
	if (result == 0)
		result = make_sealed(receiver, message);
	if (result == 0)
		result = channel_send(receiver->channel, &ack);
	if (result < 0)
		return result;
	result = staging_apply(staging);
	if (result < 0)
		return fail(receiver, result, "applying an epoch");
	image_sealed(receiver->group);
	return 0;
}

/* ---- questions ---- */
static int hash_range(struct receiver *receiver, struct volume *volume, uint64_t offset,
		      uint64_t length)
{
	int result = 0;

	for (uint64_t at = 0; at < length && result == 0; at += HASH_READ) {
		uint64_t part = length - at < HASH_READ ? length - at : HASH_READ;

		result = volume_io(volume, VOLUME_READ, 0, offset + at, receiver->data, part);
		if (result == 0)
			digest_slots(receiver->data, part,
				     receiver->hashes + at / VOLUME_SLOT * WIRE_HASH);
	}
	return result;
}

static int answer_hashes(struct receiver *receiver, const struct wire_message *message)
{
	struct wire_message answer = {
	    .type = WIRE_HASHES, .member = message->member, .offset = message->offset};
	struct volume *volume = member_of(receiver, message);
	uint64_t slots = message->length / VOLUME_SLOT;
	int result;

	if (!volume || message->offset % VOLUME_SLOT || message->length % VOLUME_SLOT)
		return bad(receiver, "a question about no member, or beyond its end");
	result = hash_range(receiver, volume, message->offset, message->length);
	/* What can not be read here differs from everything: it is sent and written again. */
	if (result == -EIO || result == -EILSEQ)
		memset(receiver->hashes, 0, slots * WIRE_HASH);
	else if (result < 0)
		return fail(receiver, result, "reading a member");
	answer.data = receiver->hashes;
	answer.data_length = slots * WIRE_HASH;
	return channel_send(receiver->channel, &answer);
}

static int take_over(struct receiver *receiver, const struct wire_message *message)
{
	struct wire_message answer = {.type = WIRE_SWITCHED};
	struct group *group = receiver->group;
	struct err err = {0};

	if (message->epoch != group->staging.sealed || receiver->open)
		return bad(receiver, "handing over another epoch than the sealed one");
	if (group_promote(group, true, &err) < 0)
		return bad(receiver, err.text);
	answer.lineage = group->lineage;
	return channel_send(receiver->channel, &answer);
}

static int open_image(struct receiver *receiver);

static int be_defined(struct receiver *receiver, const struct wire_message *message)
{
	struct group *group = receiver->group;
	struct wire_message ready = {.type = WIRE_READY};
	struct err err = {0};
	int result;

	if (message->type != WIRE_DEFINE || receiver->open)
		return bad(receiver, "a definition is wanted, between epochs");
	result =
	    group->host->define(group, (const char *)message->data, message->data_length, &err);
	if (result < 0)
		return channel_refuse(receiver->channel,
				      result == -ENOSPC ? WIRE_REFUSED_SPACE : WIRE_REFUSED_GROUP,
				      NULL, "%s", err.text);
	if (!group->staging_good)
		result = open_image(receiver);
	if (result < 0)
		return result;
	ready.fresh = !group->used && group->staging.sealed == 0 && !group->staging.seeding;
	return channel_send(receiver->channel, &ready);
}

static int lag_in(struct receiver *receiver, const struct wire_message *message)
{
	struct group *group = receiver->group;

	if (group->protocol < WIRE_VERSION_LAG)
		return bad(receiver, "a message out of place");
	lag_hear(&group->heard, message);
	return 0;
}

static int handle(struct receiver *receiver, const struct wire_message *message)
{
	if (receiver->group->role != GROUP_STANDBY)
		return channel_refuse(receiver->channel, WIRE_REFUSED_ROLE,
				      &receiver->group->lineage, "this node is the primary now");
	switch (message->type) {
	case WIRE_DEFINE:
		return be_defined(receiver, message);
	case WIRE_ACCESS:
		return access_in(receiver, message);
	case WIRE_BEGIN:
		return begin(receiver, message);
	case WIRE_WRITE:
	case WIRE_ZERO:
		return record_in(receiver, message);
	case WIRE_PACKED:
		return packed_in(receiver, message);
	case WIRE_SEAL:
		return seal(receiver, message);
	case WIRE_HASH_ASK:
		return answer_hashes(receiver, message);
	case WIRE_LAG:
		return lag_in(receiver, message);
	case WIRE_SWITCH:
		return take_over(receiver, message);
	case WIRE_REFUSE:
		channel_break(receiver->channel, -EPROTO, "the peer gives up: %.*s",
			      (int)message->data_length, (const char *)message->data);
		return receiver->channel->broken;
	default:
		return bad(receiver, "a message out of place");
	}
}

/* Once this image is a sealed one of the primary's, it can be handed over. */
static int ask_for_image(struct receiver *receiver)
{
	const struct group *group = receiver->group;
	struct wire_message message = {.type = WIRE_SWITCH, .epoch = group->staging.sealed};

	if (!group->wanted) { /* whoever wants it later asks anew */
		receiver->asked = false;
		return 0;
	}
	if (receiver->asked || receiver->open || group->accept_any || group->staging.sealed == 0)
		return 0;
	receiver->asked = true;
	return channel_send(receiver->channel, &message);
}

static int next_message(struct receiver *receiver, struct wire_message *message)
{
	int result;

	while ((result = channel_poll(receiver->channel, message)) == 0) {
		if (receiver->group->role == GROUP_STANDBY)
			lag_hear_pings(&receiver->group->heard, receiver->channel);
		result = ask_for_image(receiver);
		if (result < 0)
			return result;
		channel_wait(receiver->channel);
	}
	return result < 0 ? result : 0;
}

/* ---- hello ---- */
static int check_lineage(struct receiver *receiver)
{
	struct group *group = receiver->group;
	const struct staging *staging = &group->staging;
	enum lineage_relation relation;

	if (staging->sealed == 0 || group->accept_any)
		return 0;
	relation = lineage_compare(&staging->lineage, staging->sealed, &receiver->lineage, 0);
	if (relation == LINEAGE_SAME || relation == LINEAGE_OURS_OLDER)
		return 0;
	return channel_refuse(receiver->channel, WIRE_REFUSED_LINEAGE, &staging->lineage,
			      "the image here does not descend to yours; demote it first");
}

static int check_hello(struct receiver *receiver, const struct wire_message *hello)
{
	struct group *group = receiver->group;

	if (hello->version > group->protocol || hello->version == 0)
		return channel_refuse(receiver->channel, WIRE_REFUSED_VERSION, NULL,
				      "protocol %u is not spoken here", hello->version);
	if (group->changing)
		return bad(receiver, "the group's role is changing here");
	if (hello->lineage.count == 0)
		return bad(receiver, "a primary without a lineage");
	if (group->role != GROUP_STANDBY && group->role != GROUP_NONE)
		return channel_refuse(receiver->channel, WIRE_REFUSED_ROLE, &group->lineage,
				      "this node is %s", group_role_name(group->role));
	receiver->lineage = hello->lineage;
	return 0;
}

static int open_image(struct receiver *receiver)
{
	struct group *group = receiver->group;
	struct err err = {0};
	int result = group_open_staging(group, &err);

	if (result == 0)
		result = staging_apply(&group->staging);
	if (result < 0) {
		channel_refuse(receiver->channel, WIRE_REFUSED_STATE, NULL, "%s",
			       err.text[0] ? err.text : "the sealed epoch can not be applied");
		return receiver->channel->broken;
	}
	image_sealed(group);
	return check_lineage(receiver);
}

static int welcome(struct receiver *receiver)
{
	struct group *group = receiver->group;
	struct wire_message message = {.type = WIRE_WELCOME,
				       .version = (uint16_t)group->protocol,
				       .kind = (uint8_t)group->role};

	memcpy(message.node, group->node, 16);
	if (group->staging_good) {
		message.epoch = group->staging.sealed;
		message.lineage = group->staging.lineage;
	}
	return channel_send(receiver->channel, &message);
}

static void session(struct receiver *receiver, const struct wire_message *hello)
{
	struct group *group = receiver->group;
	struct wire_message message;
	int result = check_hello(receiver, hello);

	receiver->data = heap_scratch(4096, HASH_READ);
	receiver->hashes = heap_alloc((size_t)WIRE_HASH_SLOTS * WIRE_HASH);
	if (result == 0 && (!receiver->data || !receiver->hashes))
		result = fail(receiver, -ENOMEM, "out of memory");
	/* Whoever is refused leaves the log alone: something else may be at it. */
	if (result == 0 && group->staging_good)
		staging_close(&group->staging);
	if (result == 0)
		group->staging_good = false;
	if (result == 0 && group->staging_volume)
		result = open_image(receiver);
	if (result == 0)
		result = welcome(receiver);
	if (result == 0)
		result = channel_receive(receiver->channel, &message);
	if (result == 0)
		result = be_defined(receiver, &message);
	if (result == 0) /* of the session before */
		group->reason[0] = '\0';
	group->phase = "receiving";
	while (result == 0) {
		result = next_message(receiver, &message);
		if (result == 0)
			result = handle(receiver, &message);
	}
}

void receiver_run(struct group *group, struct channel *channel, const struct wire_message *hello)
{
	struct receiver receiver = {.group = group, .channel = channel};

	group->channel = channel;
	group->phase = "greeting";
	session(&receiver, hello);
	snprintf(group->reason, sizeof group->reason, "%s", channel->why);
	group->phase = "not connected";
	group->sent_bytes += channel->bytes_out;
	group->channel = NULL;
	digest_finish(&receiver.digest);
	unpacker_close(&receiver.unpacker);
	access_clear(&receiver.access);
	heap_free(receiver.data);
	heap_free(receiver.hashes);
}
