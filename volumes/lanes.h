/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VOLUMES_LANES_H
#define VOLUMES_LANES_H

#include <pthread.h>
#include <stdbool.h>

#include "core/loop.h"

/* Inside volumes/: what is kept per loop. Only a loop's own thread adds its lane, and lanes are
 * only added, so that finding one takes no lock. */

#define LANES_MAX 64u

struct lanes {
	pthread_mutex_t lock; /* adding */
	unsigned count;       /* atomic */
	struct {
		const struct loop *loop;
		void *lane;
	} entry[LANES_MAX];
};

static inline void lanes_init(struct lanes *lanes)
{
	pthread_mutex_init(&lanes->lock, NULL);
	lanes->count = 0;
}

static inline void lanes_finish(struct lanes *lanes)
{
	pthread_mutex_destroy(&lanes->lock);
}

/* The lane of @loop, NULL: none yet. Context: @loop's thread. */
static inline void *lanes_find(const struct lanes *lanes, const struct loop *loop)
{
	unsigned count = __atomic_load_n(&lanes->count, __ATOMIC_ACQUIRE);

	for (unsigned i = 0; i < count; i++)
		if (lanes->entry[i].loop == loop)
			return lanes->entry[i].lane;
	return NULL;
}

/* False: there are as many as there may be. Context: @loop's thread. */
static inline bool lanes_add(struct lanes *lanes, const struct loop *loop, void *lane)
{
	bool room;

	pthread_mutex_lock(&lanes->lock);
	room = lanes->count < LANES_MAX;
	if (room) {
		lanes->entry[lanes->count].loop = loop;
		lanes->entry[lanes->count].lane = lane;
		__atomic_store_n(&lanes->count, lanes->count + 1, __ATOMIC_RELEASE);
	}
	pthread_mutex_unlock(&lanes->lock);
	return room;
}

#endif
