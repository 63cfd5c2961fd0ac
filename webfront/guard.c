/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "core/heap.h"
#include "core/list.h"
#include "webfront/webfront.h"

/* --- names ---------------------------------------------------------------------------------- */

static const char *names[FRONT_HOSTS_MAX + 2];
static unsigned name_count;
static char own_name[256];

void front_hosts_set(const char *const *hosts, unsigned count)
{
	name_count = 0;
	names[name_count++] = "localhost";
	if (gethostname(own_name, sizeof own_name - 1) == 0 && own_name[0])
		names[name_count++] = own_name;
	for (unsigned i = 0; i < count && i < FRONT_HOSTS_MAX; i++)
		names[name_count++] = hosts[i];
}

/* "[::1]:8443" -> "::1", "host:8443" -> "host" */
static bool split_host(const char *host, char name[256])
{
	size_t length;

	if (host[0] == '[') {
		const char *end = strchr(host, ']');

		if (!end || (end[1] && end[1] != ':'))
			return false;
		length = (size_t)(end - host) - 1;
		host++;
	} else {
		length = strcspn(host, ":");
	}
	if (length == 0 || length >= 256)
		return false;
	memcpy(name, host, length);
	name[length] = '\0';
	return true;
}

/* An address can not be rebound to another machine, a name can: names have to be known. */
bool front_host_good(const char *host)
{
	unsigned char address[16];
	char name[256];

	if (!host || !split_host(host, name))
		return false;
	if (inet_pton(AF_INET, name, address) == 1 || inet_pton(AF_INET6, name, address) == 1)
		return true;
	for (unsigned i = 0; i < name_count; i++) {
		if (strcasecmp(names[i], name) == 0)
			return true;
	}
	return false;
}

bool front_origin_good(const char *host, const char *origin, const char *site)
{
	static const char scheme[] = "https://";

	if (site && strcmp(site, "same-origin") != 0 && strcmp(site, "none") != 0)
		return false;
	return !origin || (strncmp(origin, scheme, sizeof scheme - 1) == 0 && host &&
			   strcasecmp(origin + sizeof scheme - 1, host) == 0);
}

/* --- time ----------------------------------------------------------------------------------- */

struct front_watch {
	struct list link;
	int fd;
	uint64_t deadline; /* CLOCK_MONOTONIC, 0 = none */
};

static struct list watches;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* over watches and their members */

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Shuts down what is late; MHD then sees the end and closes. A watch is removed before its
 * descriptor is closed, so the number is still this connection's. */
static void *look_round(void *argument)
{
	const struct timespec pause = {.tv_nsec = 500 * 1000000};

	(void)argument;
	for (;;) {
		uint64_t now = now_ns();

		pthread_mutex_lock(&lock);
		list_for_each (it, &watches) {
			struct front_watch *watch = list_entry(it, struct front_watch, link);

			if (watch->deadline && watch->deadline < now) {
				shutdown(watch->fd, SHUT_RDWR);
				watch->deadline = 0;
			}
		}
		pthread_mutex_unlock(&lock);
		clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
	}
	return NULL;
}

int front_watch_start(struct err *err)
{
	pthread_t thread;
	int result;

	list_init(&watches);
	result = pthread_create(&thread, NULL, look_round, NULL);
	if (result)
		return err_set(err, -result, "thread: %s", strerror(result));
	pthread_detach(thread);
	return 0;
}

struct front_watch *front_watch_add(int fd)
{
	struct front_watch *watch = heap_zalloc(sizeof *watch);

	if (!watch)
		return NULL;
	watch->fd = fd;
	watch->deadline = now_ns() + FRONT_FIRST_NS;
	pthread_mutex_lock(&lock);
	list_push_back(&watches, &watch->link);
	pthread_mutex_unlock(&lock);
	return watch;
}

void front_watch_limit(struct front_watch *watch, uint64_t ns)
{
	if (!watch)
		return;
	pthread_mutex_lock(&lock);
	watch->deadline = ns ? now_ns() + ns : 0;
	pthread_mutex_unlock(&lock);
}

void front_watch_remove(struct front_watch *watch)
{
	if (!watch)
		return;
	pthread_mutex_lock(&lock);
	list_remove(&watch->link);
	pthread_mutex_unlock(&lock);
	heap_free(watch);
}
