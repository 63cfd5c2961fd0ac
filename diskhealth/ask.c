/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "core/control.h"
#include "core/heap.h"
#include "diskhealth/diskhealth.h"

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* The program with its output in *ret_output; its pid, or -errno. */
static int start(const char *const *words, int *ret_output)
{
	static const char *const environment[] = {"LC_ALL=C", "PATH=/usr/sbin:/usr/bin", NULL};
	posix_spawn_file_actions_t actions;
	int ends[2], result;
	pid_t child;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
	posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
	result = posix_spawn(&child, words[0], &actions, NULL, (char *const *)words,
			     (char *const *)environment);
	posix_spawn_file_actions_destroy(&actions);
	close(ends[1]);
	if (result != 0) {
		close(ends[0]);
		return -result;
	}
	*ret_output = ends[0];
	return child;
}

/* How many bytes until the end; -ETIMEDOUT, -EFBIG. */
static ssize_t read_all(int fd, char *text, size_t room)
{
	int64_t limit = now_ms() + SMART_SECONDS * 1000;
	struct pollfd readable = {.fd = fd, .events = POLLIN};
	size_t length = 0;

	while (length < room) {
		int64_t left = limit - now_ms();
		int ready = left > 0 ? poll(&readable, 1, (int)left) : 0;
		ssize_t n;

		if (ready == 0)
			return -ETIMEDOUT;
		if (ready < 0) /* a signal; reading would wait for good */
			continue;
		n = read(fd, text + length, room - length);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : (ssize_t)length;
		length += (size_t)n;
	}
	return -EFBIG;
}

/* One that was killed may be held by its disk until that answers: it is left then, and its end is
 * taken when the next one is asked. */
static void wait_end(pid_t child, bool killed)
{
	const struct timespec moment = {.tv_nsec = 100000000};

	for (unsigned i = 0; i < 50 && waitpid(child, NULL, killed ? WNOHANG : 0) == 0; i++)
		nanosleep(&moment, NULL);
}

json_t *smart_ask(const char *program, const char *name, struct err *err)
{
	char path[SMART_NAME + 8];
	/* A disk that sleeps is not woken up for this. */
	const char *const words[] = {program,
				     "--json=c",
				     "--info",
				     "--health",
				     "--attributes",
				     "--log=selftest",
				     "--capabilities",
				     "--nocheck=standby",
				     path,
				     NULL};
	char *text = heap_alloc(SMART_OUTPUT_MAX);
	int output = -1, child;
	json_t *said = NULL;
	ssize_t length;

	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
	snprintf(path, sizeof path, "/dev/%s", name);
	child = text ? start(words, &output) : -ENOMEM;
	if (child < 0) {
		heap_free(text);
		err_set(err, child, "%s can not be started: %s", program, strerror(-child));
		return NULL;
	}
	length = read_all(output, text, SMART_OUTPUT_MAX);
	close(output);
	if (length < 0)
		kill(child, SIGKILL);
	wait_end(child, length < 0);
	if (length == -ETIMEDOUT)
		err_set(err, (int)length, "it did not answer within %d s", SMART_SECONDS);
	else if (length < 0)
		err_set(err, (int)length, "smartctl: %s", strerror((int)-length));
	else
		said = control_parse(text, (size_t)length, err);
	heap_free(text);
	return said;
}
