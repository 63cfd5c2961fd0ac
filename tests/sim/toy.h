/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SIM_TOY_H
#define TESTS_SIM_TOY_H

#include "tests/sim/life.h"

/* Engines small enough to be right by inspection, or wrong in one known way. They prove that
 * the simulator passes what is right and fails what is not. */
enum toy_bug {
	TOY_RIGHT,
	TOY_FLUSH_LIES,      /* flush is acknowledged and not done */
	TOY_FUA_LIES,        /* FUA is an ordinary write */
	TOY_FLUSH_EARLY,     /* flush is answered by one already under way */
	TOY_READ_STALE,      /* now and then a read returns what was there a while ago */
	TOY_WRITE_ASTRAY,    /* now and then a write goes one sector further */
	TOY_FORGETS_DISCARD, /* discard is acknowledged and not done */
	TOY_HANGS,           /* one write is never answered */
	TOY_BUGS
};
const struct subject *toy_subject(enum toy_bug bug);

#endif
