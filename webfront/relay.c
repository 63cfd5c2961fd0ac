/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <semaphore.h>
#include <time.h>

#include "core/control.h"
#include "webfront/webfront.h"

/* The daemon takes CONTROL_CONNECTIONS_MAX connections; the rest waits here for its turn. */
static sem_t turns;

void front_relay_start(void)
{
	sem_init(&turns, 0, FRONT_CALLS_MAX);
}

json_t *front_relay_waiting(json_t *message, struct err *err)
{
	json_t *reply = NULL;

	return control_call(FRONT_SOCKET, message, FRONT_ANSWER_MS, &reply, err) < 0 ? NULL : reply;
}

json_t *front_relay(json_t *message, struct err *err)
{
	struct timespec limit;
	json_t *reply;
	int result;

	clock_gettime(CLOCK_REALTIME, &limit);
	limit.tv_sec += FRONT_ANSWER_MS / 1000;
	while ((result = sem_timedwait(&turns, &limit)) < 0 && errno == EINTR)
		;
	if (result < 0) {
		err_set(err, -ETIMEDOUT, "granaryd is busy");
		return NULL;
	}
	reply = front_relay_waiting(message, err);
	sem_post(&turns);
	return reply;
}
