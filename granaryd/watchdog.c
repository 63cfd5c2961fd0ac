/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "core/loop.h"
#include "granaryd/granaryd.h"

/* The service manager's watchdog (sd_notify(3), WatchdogSec=): it hears from us as long as every
 * I/O loop turns, and starts the daemon again when it does not. Each loop is sent a message and has
 * to give it back, so a loop that waits for something it should not wait for is noticed; a back end
 * that hangs is not a reason, for loops do not wait for back ends.
 *
 * The control loop is not asked. It may wait for the disk of the state directory, and guests' disks
 * are better off with a daemon that can not be administered than with none. */
#define PERIODS 4 /* in the time that is given */

struct pulse {
	struct message message;
	struct loop *loop;
	bool back; /* atomic */
};

static struct {
	pthread_mutex_t lock;
	pthread_cond_t stop;
	pthread_t thread;
	bool running, stopping; /* lock */
	int fd;
	struct sockaddr_un address;
	socklen_t address_length;
	uint64_t period_ns;
	struct pulse pulses[IO_LOOPS_MAX];
	unsigned count;
	bool complained;
} dog = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void come_back(struct message *message)
{
	__atomic_store_n(&container_of(message, struct pulse, message)->back, true,
			 __ATOMIC_RELEASE);
}

/* True: all loops have turned since the last time. */
static bool all_back(void)
{
	bool all = true;

	for (unsigned i = 0; i < dog.count; i++) {
		struct pulse *pulse = &dog.pulses[i];

		if (__atomic_load_n(&pulse->back, __ATOMIC_ACQUIRE))
			continue;
		all = false;
		if (!dog.complained)
			log_error("the I/O loop io%u does not turn", i);
	}
	if (all && dog.complained)
		log_notice("all I/O loops turn again");
	dog.complained = !all;
	return all;
}

static void look(void)
{
	static const char word[] = "WATCHDOG=1";

	/* What can not be sent is missed by the manager, which is all that could be said of it. */
	if (all_back())
		(void)sendto(dog.fd, word, sizeof word - 1, MSG_NOSIGNAL,
			     (struct sockaddr *)&dog.address, dog.address_length);
	for (unsigned i = 0; i < dog.count; i++) {
		struct pulse *pulse = &dog.pulses[i];

		if (__atomic_exchange_n(&pulse->back, false, __ATOMIC_ACQ_REL))
			loop_post(pulse->loop, &pulse->message, come_back);
	}
}

static void *watch(void *unused)
{
	struct timespec next;

	(void)unused;
	clock_gettime(CLOCK_MONOTONIC, &next);
	pthread_mutex_lock(&dog.lock);
	while (!dog.stopping) {
		pthread_mutex_unlock(&dog.lock);
		look();
		pthread_mutex_lock(&dog.lock);
		next.tv_sec += (time_t)((next.tv_nsec + dog.period_ns) / 1000000000u);
		next.tv_nsec = (long)((next.tv_nsec + dog.period_ns) % 1000000000u);
		while (!dog.stopping &&
		       pthread_cond_timedwait(&dog.stop, &dog.lock, &next) != ETIMEDOUT)
			;
	}
	pthread_mutex_unlock(&dog.lock);
	return NULL;
}

/* A path, or @ and a name that is none of a file. */
static bool take_address(const char *path)
{
	size_t length = strlen(path);

	if ((path[0] != '/' && path[0] != '@') || length >= sizeof dog.address.sun_path)
		return false;
	dog.address.sun_family = AF_UNIX;
	memcpy(dog.address.sun_path, path, length);
	if (path[0] == '@')
		dog.address.sun_path[0] = '\0';
	dog.address_length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length);
	return true;
}

/* Is anybody to be told, and how often? */
static bool asked(void)
{
	const char *path = getenv("NOTIFY_SOCKET"), *time = getenv("WATCHDOG_USEC"),
		   *pid = getenv("WATCHDOG_PID");
	uint64_t limit_us = time ? strtoull(time, NULL, 10) : 0;
	bool ours = path && limit_us && (!pid || strtoll(pid, NULL, 10) == getpid());

	if (ours && (limit_us > UINT64_MAX / 1000 || !take_address(path))) {
		log_warning("the service manager's watchdog is not understood: %s, %s us", path,
			    time);
		ours = false;
	}
	dog.period_ns = limit_us * 1000 / PERIODS;
	unsetenv("NOTIFY_SOCKET"); /* nobody else's, as of programs that are started */
	unsetenv("WATCHDOG_USEC");
	unsetenv("WATCHDOG_PID");
	return ours;
}

int watchdog_start(struct loop *const *loops, unsigned count, struct err *err)
{
	pthread_condattr_t attributes;
	int result;

	if (!asked())
		return 0;
	for (dog.count = 0; dog.count < count; dog.count++)
		dog.pulses[dog.count] = (struct pulse){.loop = loops[dog.count], .back = true};
	dog.fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (dog.fd < 0)
		return err_set(err, -errno, "watchdog: %s", strerror(errno));
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&dog.stop, &attributes);
	pthread_condattr_destroy(&attributes);
	result = pthread_create(&dog.thread, NULL, watch, NULL);
	if (result) {
		close(dog.fd);
		return err_set(err, -result, "watchdog thread: %s", strerror(result));
	}
	pthread_setname_np(dog.thread, "watchdog");
	dog.running = true;
	return 0;
}

void watchdog_stop(void)
{
	if (!dog.running)
		return;
	pthread_mutex_lock(&dog.lock);
	dog.stopping = true;
	pthread_cond_signal(&dog.stop);
	pthread_mutex_unlock(&dog.lock);
	pthread_join(dog.thread, NULL);
	pthread_cond_destroy(&dog.stop);
	close(dog.fd);
	dog.running = false;
}
