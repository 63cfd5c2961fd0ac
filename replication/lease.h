/* SPDX-License-Identifier: Apache-2.0 */
#ifndef REPLICATION_LEASE_H
#define REPLICATION_LEASE_H

#include "core/list.h"
#include "core/loop.h"
#include "replication/channel.h"

/* Leases: who of a group's two nodes may answer guests, where the standby promotes itself.
 *
 * A third node, the witness, has one record of each group that asked for it: who holds its lease,
 * and the lineage of the image that this one serves. The lease is for a time; the holder asks for
 * it again long before its end. Beside it the standby promises its primary, for as long a time, not
 * to take the lease: a primary serves while it has either, so that neither the witness nor the
 * standby is missed when it alone is away.
 *
 * L1 The primary counts its time from before it asked, and a tenth less of it; the witness and the
 *    standby count theirs from when they were asked. The clocks are monotonic, of each node its
 * own; their rates may differ by 5 % of real time each. L2 The primary tells guests nothing once
 * its time is over (R6 of recorder.h). L3 What the witness grants is durable before it is told: the
 * holder and the lineage. After a start it holds every lease to be granted at that moment. L4 The
 * lease is another's only after its time is over, or its holder has given it back; and only of an
 * image that descends from the one that was served last. So whoever lost it does not get it again
 * without having become a standby of the other one first. L5 A standby takes the lease only after
 * what it has promised is over; from before it asks, until it knows that it did not get it, it
 * promises nothing. After a start everything may have been promised. That it is taking the lease,
 * and as which lineage, is durable before it asks. L6 A request counts in the conversation it was
 * sent in, and that is over, for the witness, when a newer one of the same node begins; it begins
 * with a LOOK, and nothing else is asked before that was answered. So no request comes late.
 *
 * Context of everything here: one loop, the node's. */

#define LEASE_NS          (15 * 1000000000ull)
#define LEASE_NS_MIN      (5 * 1000000000ull)
#define LEASE_NS_MAX      (300 * 1000000000ull)
#define LEASE_RECORDS_MAX 256u

enum lease_ask {
	LEASE_LOOK = 1, /* changes nothing: would it be free for me? */
	LEASE_RENEW,    /* by a primary: it serves, or is about to */
	LEASE_TAKE,     /* by a standby: it is about to be promoted, as the last of @lineage */
	LEASE_RELEASE,  /* by who was primary: it does not serve any more */
	LEASE_RETIRE,   /* by a primary: it is going to serve without a lease */
	LEASE_ASKS
};
enum lease_verdict {
	LEASE_GRANTED = 1,
	LEASE_FREE,   /* LOOK */
	LEASE_HELD,   /* another has it, for the time that is told */
	LEASE_FORKED, /* the image that was served last is none that yours descends from */
	LEASE_NONE,   /* there is no such lease */
	LEASE_BUSY,   /* not now: it could not be saved; the standby is taking the lease */
	LEASE_VERDICTS
};

/* How far the standby was, as the primary said last. */
struct lease_word {
	uint64_t epoch, wall_ns, bytes; /* sealed there, as of; changed since */
};

/* Who answers; and L6. */
struct lease_server {
	struct list talks;
	void (*judge)(struct lease_server *server, const struct wire_message *ask,
		      struct wire_message *answer);
};
/* lease_answer_run: a conversation that the peer began with @first. Context: its fiber. */
void lease_server_init(struct lease_server *server,
		       void (*judge)(struct lease_server *server, const struct wire_message *ask,
				     struct wire_message *answer));
void lease_answer_run(struct lease_server *server, struct channel *channel,
		      const struct wire_message *first);
/* lease_server_end: all of them end, soon. */
void lease_server_end(struct lease_server *server, const char *why);

/* ---- the witness ---- */
struct lease_record {
	struct list link;
	uint8_t group[16], holder[16], head[16];
	uint64_t lease_ns; /* no lease of it is longer */
	bool retired;      /* nobody has it, or gets it by taking */
	/* not durable */
	uint64_t until_ns; /* of the book's clock */
	struct lease_word word;
};
struct lease_book {
	struct lease_server server;
	struct list records;
	unsigned count;
	/* Required. Make @record durable; 0 or -errno. */
	int (*save)(struct lease_book *book, const struct lease_record *record);
	uint64_t (*clock)(struct lease_book *book);
	void *context;
};
void lease_book_init(struct lease_book *book);
void lease_book_finish(struct lease_book *book);
/* lease_book_load: what was saved before a start. 0 or -ENOMEM. */
int lease_book_load(struct lease_book *book, const struct lease_record *saved)
    __attribute__((warn_unused_result));

/* ---- a group's node ---- */
enum lease_other { LEASE_WITNESS, LEASE_PEER, LEASE_OTHERS };
/* Of a group (group.h). */
struct lease {
	struct lease_server server; /* promises */
	bool on;                    /* asked for, durably: of the definition */
	uint64_t length_ns;
	uint64_t until_ns;    /* primary: serves until then */
	uint64_t promised_ns; /* takes nothing before */
	bool taking;          /* durable: L5, as lineage @fork */
	uint8_t fork[16];
	/* Durable. Promoted by hand, and has not had the lease since: what it promised as standby
	 * may be in force. */
	bool waits;
	bool release;         /* it is to be given back */
	bool retire, retired; /* it is to be given up for good; it was */
	bool wanted;          /* an administrator wants to know whether the witness answers */
	bool barred;          /* not to be taken now: paused, something else is being done */
	bool forked;          /* the witness says that another image is served */
	bool peer_ready;      /* the standby could ask the witness */
	struct channel *talk[LEASE_OTHERS];
	bool answered[LEASE_OTHERS]; /* in the present conversation */
	char reason[LEASE_OTHERS][160];
	/* The last time that this node promoted itself; 0: it did not. */
	uint64_t took_wall_ns, took_epoch, took_as_of_ns;
	struct lease_word took_word;
};

struct group;
/* lease_init: with the group. lease_start: after a start, when the group's settings are known.
 * lease_follow: the recorder has what is so now; often. lease_role: the role has changed.
 * lease_wake: something has to be asked, or not any more. */
void lease_init(struct group *group);
void lease_start(struct group *group);
void lease_follow(struct group *group);
void lease_role(struct group *group);
void lease_wake(struct group *group);
/* lease_asks: is there anything to ask @other for: is a conversation wanted? */
bool lease_asks(const struct group *group, enum lease_other other);
/* lease_ask_run: a conversation with @other on an open channel, to its end. Context: its fiber, in
 * which the group is promoted when the lease was taken. */
void lease_ask_run(struct group *group, enum lease_other other, struct channel *channel);
/* lease_holds: may this primary answer guests now? True without a lease. */
bool lease_holds(const struct group *group);

#endif
