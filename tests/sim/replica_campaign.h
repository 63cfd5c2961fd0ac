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

#endif
