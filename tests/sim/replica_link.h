/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SIM_REPLICA_LINK_H
#define TESTS_SIM_REPLICA_LINK_H

#include "replication/channel.h"
#include "tests/sim/rng.h"

/* Two ends of a connection between simulated nodes: bytes take their time, in pieces of any size;
 * the connection is cut at any byte, and what it carries is flipped, doubled, swapped or lost
 * when that is asked for (TLS would notice; the messages' own checks have to as well). */
struct replica_pipe;

struct replica_pipe_faults {
	uint64_t cut_after;     /* bytes of both directions; UINT64_MAX: never */
	unsigned damage_one_in; /* of pieces; 0: none */
};
struct replica_pipe *replica_pipe_create(struct loop *loop, struct rng *rng,
					 const struct replica_pipe_faults *faults,
					 struct link *ret_ends[2]);
void replica_pipe_cut(struct replica_pipe *pipe);
/* Both ends are closed: nothing refers to it. */
bool replica_pipe_over(const struct replica_pipe *pipe);
void replica_pipe_destroy(struct replica_pipe *pipe);

#endif
