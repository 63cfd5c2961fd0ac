/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SIM_REPLICA_LIFE_H
#define TESTS_SIM_REPLICA_LIFE_H

#include <stdbool.h>
#include <stdint.h>

#include "replication/group.h"
#include "tests/sim/replica_link.h"
#include "tests/sim/replica_volume.h"
#include "tests/sim/rng.h"
#include "tests/sim/sim_world.h"

/* Two nodes with a replication group between them, clients that write to its primary, and an
 * oracle for what a promoted image may be. */

#define LIFE_MEMBERS 3u
#define LIFE_WRITERS 6u
#define LIFE_WRITES  4096u
#define LIFE_ERAS    16u

struct replica_life;

/* How large the world is. */
struct replica_shape {
	uint64_t member_size, staging_size, write_max; /* bytes */
	uint64_t period_ns;                            /* of an epoch */
	unsigned writers;                              /* at most LIFE_WRITERS */
	unsigned pace; /* a writer begins in one of so many rounds; 0: at once */
};
extern const struct replica_shape replica_deep, replica_quick;

/* One life of a node, from power on to power loss; what outlives it is in struct node. */
struct boot {
	struct group group;
	struct node *node;
	struct channel channel;
	bool session; /* a fiber runs */
	bool dead;
	unsigned calls;   /* of the administrator's, under way; conversations */
	uint64_t left_ns; /* who has the members open is leaving since then; 0: he is not */
};

struct node {
	struct replica_life *life;
	unsigned index;
	struct boot *boot; /* NULL: off */
	struct replica_volume *members[LIFE_MEMBERS], *staging;
	struct replica_power power;
	/* what save() has made durable */
	enum group_role role;
	struct wire_lineage lineage;
	uint64_t clean; /* the epoch with which it stopped in order; 0: it did not */
	bool accept_any, defined;
	bool used; /* its members are older than its group */
	bool full; /* the image can not be kept */
	unsigned protocol;
	bool armed;         /* durable */
	struct lease lease; /* of it: what is durable */
	/* Which of its members are the group's, a bit each: durable, as it is now. */
	unsigned saved_set, set;
	uint64_t seed_epoch; /* durable: of its last export */
	/* Who is let in, as a number that grows with each change: durable. Of a standby: what it
	 * was told; 0: it does not know. */
	uint64_t access, told_access;
	char definition[200];
};

/* A write of a client. Its sectors carry its number; what is zero was discarded or never
 * written. */
struct written {
	uint32_t era; /* of the primary that took it */
	uint16_t member;
	bool zeros;
	uint64_t first, count;     /* sectors of all members in a row */
	uint64_t submitted, acked; /* the oracle's clock; acked 0: not */
	uint64_t acked_ns;
};

struct writer {
	struct replica_life *life;
	struct volume_request request;
	struct iovec iov;
	uint8_t *data;
	uint32_t number; /* of what is under way; 0: idle */
	bool flush;
};

/* What a life with leases has besides (replica_lease.c). */
struct replica_watch {
	bool leases;
	uint64_t length_ns;
	void (*round)(struct replica_life *life);
	void (*crashing)(struct replica_life *life, struct boot *boot);
	void (*acked)(struct replica_life *life, const struct volume *volume);
	uint64_t (*clock)(const struct replica_life *life, unsigned node);
};

struct replica_life {
	const struct replica_shape *shape;
	struct sim *sim;
	struct loop *loop;
	struct rng rng;
	struct node nodes[2];
	unsigned primary; /* as far as its clients know */
	struct replica_pipe *pipe;
	struct replica_pipe_faults faults;
	bool connected; /* sessions may begin */
	bool ship;      /* the first image comes on a disk */
	uint64_t log_bytes;
	uint8_t group;       /* the group's UUID is made of it */
	uint64_t leave_ns;   /* so long takes who has the members open to let go of them */
	uint64_t protect_ns; /* while clients write; 0: they are never held */
	enum pack_kind compression;
	unsigned zeros_one_in; /* of the changes are discards */
	bool noisy;            /* some of what is written does not get smaller */
	uint64_t packed;       /* bytes that compression has saved */
	struct recorder *retired;
	struct writer writers[LIFE_WRITERS];
	bool writing;
	unsigned writer_node;
	/* Numbers up to `forgotten` tell of what was there before replica_life_forget(). */
	struct written *writes; /* LIFE_WRITES */
	uint32_t write_count, write_limit, forgotten;
	uint64_t clock;
	/* An era is a primary's time between two of its crashes or takings over: the image it began
	 * with, sector by sector, and what was written in it. */
	uint32_t era;
	uint32_t *begun[LIFE_ERAS];
	uint32_t floor_era; /* what was acknowledged as sealed: writes acked before floor_ns */
	uint64_t floor_ns, left_floor_ns[LIFE_MEMBERS]; /* .. as it was when a member left */
	struct replica_watch watch;                     /* all zeros: no leases */
	/* What the standby knew of what it lacked when it was promoted by hand; how often that was
	 * looked at, and something was lost. */
	struct {
		bool known;
		uint64_t bytes, wall_ns;
		unsigned long checks, losses;
	} lag;
	char complaint[400];
};

struct replica_life *replica_life_create(struct sim *sim, uint64_t seed,
					 const struct replica_shape *shape);
void replica_life_destroy(struct replica_life *life);

/* replica_life_run: @steps rounds, sessions begun and ended as they come. */
void replica_life_run(struct replica_life *life, unsigned steps);
bool replica_life_until(struct replica_life *life, bool (*reached)(struct replica_life *life),
			unsigned steps);
/* replica_life_round: one of them. */
void replica_life_round(struct replica_life *life);
void replica_life_complain(struct replica_life *life, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* node_boot: power on. node_crash: power off, at once; node->power is the other way to it, at an
 * I/O, seen at the end of the round. */
void node_boot(struct node *node);
void node_crash(struct node *node);
void replica_life_cut(struct replica_life *life);
/* replica_life_disconnect: @node's session is over. */
void replica_life_disconnect(struct replica_life *life, unsigned node);
/* node_stop: @node's session ends, it remembers whether the standby lacked something, and its power
 * goes. Nobody may be writing. */
void node_stop(struct node *node);
/* The primary's members have @size from now on; the standby's follow. */
void replica_life_grow(struct replica_life *life, unsigned primary, uint64_t size);
/* The last member joins the group, or leaves it, while it runs. */
void replica_life_join(struct replica_life *life, unsigned primary, bool in);
/* The group is deleted on both nodes while clients write, and another one made of the same
 * volumes, the standby's as they are. */
void replica_life_regroup(struct replica_life *life, unsigned primary);
/* replica_life_call: in a fiber on @node's group, to its end: promote, demote. */
int replica_life_promote(struct replica_life *life, unsigned node);
int replica_life_demote(struct replica_life *life, unsigned node);
/* How many of three are done: two at once, and one after them. */
unsigned replica_life_promote_thrice(struct replica_life *life, unsigned node);
unsigned replica_life_demote_thrice(struct replica_life *life, unsigned node);
/* A demotion of a primary that fails: it is saved as the one it was. */
void replica_life_demote_fails(struct replica_life *life, unsigned node);
/* group_failback of who was primary; a slot of a member made another than it was. */
int replica_life_failback(struct replica_life *life, unsigned node);
void replica_life_spoil(struct replica_life *life, unsigned node);
/* As the daemon does it, within @limit_ns: the session goes on. */
int replica_life_switchover(struct replica_life *life, unsigned node, uint64_t limit_ns);
/* The image of @node is what a promotion may give (the first call after one; a new era begins). */
void replica_life_check_promoted(struct replica_life *life, unsigned node);
/* Both nodes hold the same bytes. */
bool replica_life_same(struct replica_life *life);
/* replica_life_forget: nothing is under way and both sides are the same: the primary @node's image
 * is what the life begins with. */
void replica_life_forget(struct replica_life *life, unsigned node);
/* Clients write to the primary @node, or stop and wait for the last answer. */
void replica_life_write(struct replica_life *life, unsigned node);
void replica_life_quiet(struct replica_life *life);

#endif
