/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "granaryd/granaryd.h"

/* The signals are blocked in every thread and waited for in one of their own, which turns each
 * into a message: nothing runs in a signal handler. */
#define SIGNALS_MAX 3

static struct {
	pthread_mutex_t lock;
	struct loop *loop; /* lock; NULL: it is being taken down, nobody listens any more */
	void (*stop)(unsigned count);
	struct message messages[SIGNALS_MAX];
	unsigned delivered;
} signals = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void fill_set(sigset_t *set)
{
	sigemptyset(set);
	sigaddset(set, SIGTERM);
	sigaddset(set, SIGINT);
}

void signals_block(void)
{
	sigset_t set;

	fill_set(&set);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
}

static void deliver(struct message *message)
{
	(void)message;
	signals.stop(++signals.delivered);
}

static void *wait_for_signals(void *unused)
{
	sigset_t set;
	int number;

	(void)unused;
	fill_set(&set);
	for (unsigned i = 0; i < SIGNALS_MAX; i++) {
		if (sigwait(&set, &number) != 0)
			continue;
		pthread_mutex_lock(&signals.lock);
		if (signals.loop)
			loop_post(signals.loop, &signals.messages[i], deliver);
		pthread_mutex_unlock(&signals.lock);
	}
	/* Nobody listened to three: the control loop hangs. Pools replay their journals. */
	_exit(1);
}

int signals_start(struct loop *loop, void (*stop)(unsigned count), struct err *err)
{
	pthread_t thread;
	int result;

	signals.loop = loop;
	signals.stop = stop;
	result = pthread_create(&thread, NULL, wait_for_signals, NULL);
	if (result)
		return err_set(err, -result, "signal thread: %s", strerror(result));
	pthread_detach(thread);
	return 0;
}

void signals_stop(void)
{
	pthread_mutex_lock(&signals.lock);
	signals.loop = NULL;
	pthread_mutex_unlock(&signals.lock);
}
