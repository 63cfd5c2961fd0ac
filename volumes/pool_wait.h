/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VOLUMES_POOL_WAIT_H
#define VOLUMES_POOL_WAIT_H

#include "core/fiber.h"
#include "volumes/pool.h"

/* A call of a pool from a fiber: initialize with POOL_WAIT, make the call with its .call, wait. */
struct pool_wait {
	struct pool_call call;
	struct fiber *fiber;
	int result;
	bool over;
};

static inline void pool_wait_answered(struct pool_call *call, int result)
{
	struct pool_wait *wait = container_of(call, struct pool_wait, call);

	wait->result = result;
	wait->over = true;
	fiber_wake(wait->fiber);
}

#define POOL_WAIT                                                                                  \
	{                                                                                          \
		.call = {.done = pool_wait_answered}, .fiber = fiber_current()                     \
	}

/* pool_wait: its result, with @err when it failed. Context: the same fiber. */
static inline int pool_wait(struct pool_wait *wait, struct err *err)
{
	while (!wait->over)
		fiber_wait();
	if (wait->result < 0)
		*err = wait->call.err;
	return wait->result;
}

#endif
