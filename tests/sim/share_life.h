/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SIM_SHARE_LIFE_H
#define TESTS_SIM_SHARE_LIFE_H

#include <stdbool.h>
#include <stdint.h>

/* A share on the native engine in a simulated world, compared with the memory file system: random
 * operations go to both and must answer alike; at crash points the power goes, and the recovered
 * share must be a state between the last durable one and now.
 *
 *   names, attributes, xattrs, links: those after some operation k, all of it (a prefix)
 *   contents, sector by sector: those after some operation since they were last made durable */
struct share_run {
	uint64_t seed;
	unsigned operations;
	unsigned ios_between; /* crashes, on average; 0: none */
	unsigned states_per_crash;
	uint64_t states_max;
	/* out */
	uint64_t states, crashes, done, failed_alike, deep_states;
};

/* A violation prints what is wrong and ends the process. */
void share_run(struct share_run *run);

/* Many runs, each in a process of its own, and what they came to. */
struct share_campaign {
	uint64_t runs, failed;
	struct share_run sum;
};
void share_campaign_run(struct share_campaign *campaign, const struct share_run *options);
void share_campaign_show(unsigned point, const struct share_campaign *campaign, const char *what);

#endif
