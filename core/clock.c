/* SPDX-License-Identifier: Apache-2.0 */
#include "core/clock.h"

#include <sys/random.h>
#include <time.h>

static uint64_t read_clock(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

uint64_t clock_monotonic(struct loop *loop)
{
	(void)loop;
	return read_clock(CLOCK_MONOTONIC);
}

uint64_t clock_wall(struct loop *loop)
{
	(void)loop;
	return read_clock(CLOCK_REALTIME);
}

/* Up to 256 bytes a call are never cut short by a signal (random(7)). */
void clock_random(struct loop *loop, void *buffer, size_t length)
{
	char *to = buffer;

	(void)loop;
	while (length > 0) {
		ssize_t n = getrandom(to, length < 256 ? length : 256, 0);

		if (n <= 0)
			continue;
		to += n;
		length -= (size_t)n;
	}
}
