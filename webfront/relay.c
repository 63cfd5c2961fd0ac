/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "core/control.h"
#include "webfront/webfront.h"

/* The daemon takes CONTROL_CONNECTIONS_MAX connections; the rest waits here for its turn. */
static sem_t turns;

void front_relay_start(void)
{
	sem_init(&turns, 0, FRONT_CALLS_MAX);
}

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* over what follows */
static char known[96];                                   /* fingerprint of the certificate in use */
static struct front_certificate newer;                   /* key NULL: none */

void front_relay_certificate(const char *fingerprint)
{
	pthread_mutex_lock(&lock);
	snprintf(known, sizeof known, "%s", fingerprint);
	pthread_mutex_unlock(&lock);
}

bool front_relay_newer(struct front_certificate *ret_certificate)
{
	bool there;

	pthread_mutex_lock(&lock);
	there = newer.key != NULL;
	if (there)
		*ret_certificate = newer;
	newer = (struct front_certificate){0};
	pthread_mutex_unlock(&lock);
	return there;
}

static void take_newer(const json_t *tls)
{
	const char *chain = json_string_value(json_object_get(tls, "chain"));
	const char *key = json_string_value(json_object_get(tls, "key"));
	struct front_certificate read;

	if (!chain || !key || !front_certificate_of(chain, key, &read))
		return;
	pthread_mutex_lock(&lock);
	front_certificate_free(&newer);
	newer = read;
	snprintf(known, sizeof known, "%s", read.fingerprint); /* once is enough */
	pthread_mutex_unlock(&lock);
}

json_t *front_relay_waiting(json_t *message, struct err *err)
{
	json_t *reply = NULL;

	pthread_mutex_lock(&lock);
	json_object_set_new(message, "certificate", json_string(known));
	pthread_mutex_unlock(&lock);
	if (control_call(FRONT_SOCKET, message, FRONT_ANSWER_MS, &reply, err) < 0)
		return NULL;
	take_newer(json_object_get(reply, "tls"));
	json_object_del(reply, "tls");
	return reply;
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
