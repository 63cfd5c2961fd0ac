/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SIM_REPLICA_LINK_H
#define TESTS_SIM_REPLICA_LINK_H

#include "replication/channel.h"
#include "tests/sim/rng.h"

/* Two ends of a connection between simulated nodes: bytes take their time, in pieces of any size;
 * the connection is cut at any byte, and what it carries is flipped, doubled, swapped or lost
 * when that is asked for (TLS would notice; the messages' own checks have to as well). */
struct replica_pipe;

/* What becomes of one frame. */
enum replica_frame_fault {
	REPLICA_FRAME_FLIPPED, /* one bit of it */
	REPLICA_FRAME_TWICE,
	REPLICA_FRAME_LATE, /* behind the next one of its direction */
	REPLICA_FRAME_LOST,
	REPLICA_FRAME_FAULTS
};

struct replica_pipe_faults {
	uint64_t cut_after;     /* bytes of both directions; UINT64_MAX: never */
	unsigned damage_one_in; /* of pieces; 0: none */
	unsigned frame;         /* of both directions, from 1; 0: none */
	enum replica_frame_fault frame_fault;
	unsigned *fired; /* counts what was met of cut_after and frame; or NULL */
};
struct replica_pipe *replica_pipe_create(struct loop *loop, struct rng *rng,
					 const struct replica_pipe_faults *faults,
					 struct link *ret_ends[2]);
void replica_pipe_cut(struct replica_pipe *pipe);
/* replica_pipe_cut_after: so many bytes from now, of both directions. */
void replica_pipe_cut_after(struct replica_pipe *pipe, uint64_t bytes);
/* Both ends are closed: nothing refers to it. */
bool replica_pipe_over(const struct replica_pipe *pipe);
void replica_pipe_destroy(struct replica_pipe *pipe);

#endif
