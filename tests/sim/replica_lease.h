/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SIM_REPLICA_LEASE_H
#define TESTS_SIM_REPLICA_LEASE_H

#include <stdbool.h>
#include <stdint.h>

/* What the lives have seen, to tell that they were no idle ones. */
struct replica_lease_tally {
	uint64_t taken;    /* promotions without an administrator */
	uint64_t promised; /* times that the primary went on by the standby's promise alone */
	uint64_t waited;   /* requests that waited for a lease */
	uint64_t handed;   /* planned switchovers */
	uint64_t late;     /* leases given back whose word came late */
};

/* replica_lease_run: two nodes and a witness, clocks that do not agree, links cut between any two
 * of the three, conversations that stall, each of them without power for a while, as @seed draws
 * it. At no moment may both nodes answer guests, and nobody answers as of an image that another has
 * gone on from; in the end there is one who serves. False with @complaint. */
bool replica_lease_run(uint64_t seed, struct replica_lease_tally *tally, char complaint[400]);

#endif
