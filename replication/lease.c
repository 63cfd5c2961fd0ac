/* SPDX-License-Identifier: Apache-2.0 */
#include "replication/lease.h"

#include <errno.h>
#include <string.h>

#include "core/heap.h"
#include "replication/lineage.h"
#include "replication/order.h"

/*~ Who is asked for leases: the conversation (L6), and the witness's book (L3, L4). The other side
 * is lease_ask.c. */

/* ---- conversations ---- */
struct talk {
	struct list link;
	uint8_t group[16], node[16];
	struct channel *channel;
};

void lease_server_init(struct lease_server *server,
		       void (*judge)(struct lease_server *server, const struct wire_message *ask,
				     struct wire_message *answer))
{
	list_init(&server->talks);
	server->judge = judge;
}

/* What the older one brings from now on is not read any more. */
static void end_older(struct lease_server *server, const struct wire_message *first)
{
	list_for_each_safe (it, &server->talks) {
		struct talk *talk = list_entry(it, struct talk, link);

		if (memcmp(talk->group, first->group, 16) != 0 ||
		    memcmp(talk->node, first->node, 16) != 0 || !ORDER(lease_older_talk_ends))
			continue;
		list_remove(&talk->link);
		channel_break(talk->channel, -ECANCELED, "there is a newer conversation");
	}
}

static bool belongs(const struct talk *talk, const struct wire_message *ask)
{
	return ask->type == WIRE_LEASE_ASK && memcmp(ask->group, talk->group, 16) == 0 &&
	       memcmp(ask->node, talk->node, 16) == 0;
}

void lease_answer_run(struct lease_server *server, struct channel *channel,
		      const struct wire_message *first)
{
	struct wire_message ask = *first, answer;
	struct talk talk = {.channel = channel};
	int result = 0;

	memcpy(talk.group, first->group, 16);
	memcpy(talk.node, first->node, 16);
	if (first->kind != LEASE_LOOK) {
		channel_refuse(channel, WIRE_REFUSED_STATE, NULL, "look first");
		return;
	}
	end_older(server, first);
	list_push_back(&server->talks, &talk.link);
	while (result == 0 && !channel->broken && belongs(&talk, &ask)) {
		answer = (struct wire_message){
		    .type = WIRE_LEASE, .kind = LEASE_NONE, .length = LEASE_NS_MIN};
		server->judge(server, &ask, &answer);
		result = channel_send(channel, &answer);
		if (result == 0)
			result = channel_receive(channel, &ask);
	}
	list_remove(&talk.link);
	channel_break(channel, -EPROTO, "a message out of place");
}

void lease_server_end(struct lease_server *server, const char *why)
{
	list_for_each (it, &server->talks)
		channel_break(list_entry(it, struct talk, link)->channel, -ECANCELED, "%s", why);
}

/* ---- the book ---- */
static void judge(struct lease_server *server, const struct wire_message *ask,
		  struct wire_message *answer);

void lease_book_init(struct lease_book *book)
{
	lease_server_init(&book->server, judge);
	list_init(&book->records);
}

void lease_book_finish(struct lease_book *book)
{
	struct list *link;

	while ((link = list_pop_front(&book->records)))
		heap_free(list_entry(link, struct lease_record, link));
	book->count = 0;
}

int lease_book_load(struct lease_book *book, const struct lease_record *saved)
{
	struct lease_record *record = heap_alloc(sizeof *record);

	if (!record)
		return -ENOMEM;
	*record = *saved;
	record->until_ns =
	    ORDER(lease_witness_waits_after_start) ? book->clock(book) + record->lease_ns : 0;
	list_push_back(&book->records, &record->link);
	book->count++;
	return 0;
}

static struct lease_record *find(struct lease_book *book, const uint8_t group[16])
{
	list_for_each (it, &book->records) {
		struct lease_record *record = list_entry(it, struct lease_record, link);

		if (memcmp(record->group, group, 16) == 0)
			return record;
	}
	return NULL;
}

static bool descends(const struct wire_lineage *lineage, const uint8_t head[16])
{
	for (unsigned i = 0; i < lineage->count; i++) {
		if (memcmp(lineage->link[i].uuid, head, 16) == 0)
			return true;
	}
	return false;
}

/* May @ask's sender have the lease, as things are? */
static enum lease_verdict verdict_of(const struct lease_record *record,
				     const struct wire_message *ask, uint64_t now)
{
	bool primary = ask->kind == LEASE_RENEW || ask->kind == LEASE_RETIRE;

	if (!record || (record->retired && !primary))
		return primary && ask->lineage.count ? LEASE_GRANTED : LEASE_NONE;
	if (!descends(&ask->lineage, record->head) && ORDER(lease_descends_from_the_last))
		return LEASE_FORKED;
	if (memcmp(record->holder, ask->node, 16) != 0 && !record->retired &&
	    now < record->until_ns && ORDER(lease_of_another_runs_out))
		return LEASE_HELD;
	return LEASE_GRANTED;
}

/* What @record is when @ask is granted, for @length. */
static struct lease_record granted(const struct lease_record *record,
				   const struct wire_message *ask, uint64_t length, uint64_t now)
{
	struct lease_record next = record ? *record : (struct lease_record){0};
	uint64_t until = now + length;

	memcpy(next.group, ask->group, 16);
	if (ask->kind == LEASE_RELEASE) {
		next.until_ns = 0;
		return next;
	}
	memcpy(next.holder, ask->node, 16);
	memcpy(next.head, lineage_head(&ask->lineage), 16);
	next.retired = ask->kind == LEASE_RETIRE;
	/* A shorter one counts once it covers what is left of the longer. */
	if (length > next.lease_ns || until >= next.until_ns)
		next.lease_ns = length;
	next.until_ns = until > next.until_ns ? until : next.until_ns;
	if (ask->kind == LEASE_RENEW)
		next.word = (struct lease_word){ask->epoch, ask->wall_ns, ask->records};
	return next;
}

static bool same_saved(const struct lease_record *a, const struct lease_record *b)
{
	return memcmp(a->holder, b->holder, 16) == 0 && memcmp(a->head, b->head, 16) == 0 &&
	       a->lease_ns == b->lease_ns && a->retired == b->retired;
}

/* Durable, then so. */
static int become(struct lease_book *book, struct lease_record *record,
		  const struct lease_record *next)
{
	struct lease_record *fresh = NULL;
	int result = 0;

	if (!record) {
		fresh = book->count < LEASE_RECORDS_MAX ? heap_alloc(sizeof *fresh) : NULL;
		if (!fresh)
			return -ENOSPC;
	}
	if ((fresh || !same_saved(record, next)) && ORDER(lease_is_saved_before_told))
		result = book->save(book, next);
	if (result < 0) {
		heap_free(fresh);
		return result;
	}
	*(fresh ? fresh : record) = *next; /* its place on the list too */
	if (fresh) {
		list_push_back(&book->records, &fresh->link);
		book->count++;
	}
	return 0;
}

static void tell(const struct lease_record *record, uint64_t now, struct wire_message *answer)
{
	if (!record)
		return;
	memcpy(answer->node, record->holder, 16);
	lineage_start(&answer->lineage, record->head);
	answer->epoch = record->word.epoch;
	answer->wall_ns = record->word.wall_ns;
	answer->records = record->word.bytes;
	answer->length = record->until_ns > now ? record->until_ns - now : 1;
}

static void judge(struct lease_server *server, const struct wire_message *ask,
		  struct wire_message *answer)
{
	struct lease_book *book = container_of(server, struct lease_book, server);
	struct lease_record *record = find(book, ask->group), next;
	uint64_t length = ask->length < LEASE_NS_MAX ? ask->length : LEASE_NS_MAX;
	uint64_t now = book->clock(book);
	enum lease_verdict verdict = verdict_of(record, ask, now);

	if (ask->kind == LEASE_RELEASE) /* it may be another's already */
		verdict = record && memcmp(record->holder, ask->node, 16) == 0 ? LEASE_GRANTED
									       : LEASE_NONE;
	tell(record, now, answer);
	answer->kind = (uint8_t)verdict;
	if (ask->kind == LEASE_LOOK) {
		answer->kind = (uint8_t)(verdict == LEASE_GRANTED ? LEASE_FREE : verdict);
		return;
	}
	if (verdict != LEASE_GRANTED)
		return;
	next = granted(record, ask, length, now);
	if (become(book, record, &next) < 0)
		answer->kind = LEASE_BUSY;
	else
		answer->length = length;
	if (answer->kind == LEASE_GRANTED && ask->kind != LEASE_RELEASE) {
		memcpy(answer->node, next.holder, 16);
		lineage_start(&answer->lineage, next.head);
	}
}
