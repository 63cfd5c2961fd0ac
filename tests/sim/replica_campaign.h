/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SIM_REPLICA_CAMPAIGN_H
#define TESTS_SIM_REPLICA_CAMPAIGN_H

#include <stdbool.h>
#include <stdint.h>

/* replica_run: the life of two nodes that @seed draws. False with @complaint: something that must
 * not be was seen. */
bool replica_run(uint64_t seed, char complaint[400]);
/* replica_saved_bytes: what compression has kept off the link, in all runs so far. */
uint64_t replica_saved_bytes(void);
/* replica_lag_looks: how often what a promotion by hand lost was held against what its node knew of
 * it, and how often it lost something. */
unsigned long replica_lag_looks(unsigned long *ret_losses);

/* replica_short_run: a life of a millisecond: one fault at one place, both of them by @seed, so
 * that the seeds of a kind of fault in a row are its places in a row (each byte of the link, each
 * I/O of a node, each frame). The same answers; *ret_kind is which kind. */
#define REPLICA_SHORT_KINDS 21u
bool replica_short_run(uint64_t seed, unsigned *ret_kind, bool *ret_met, char complaint[400]);
const char *replica_short_kind(unsigned kind);
/* replica_cycles: so many failovers and failbacks of one group, the images compared after each. */
bool replica_cycles(uint64_t seed, unsigned cycles, char complaint[400]);

#endif
