/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/process.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Whole small file as a string; -errno. */
static int read_text(const char *path, char *text, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	ssize_t n = read(fd, text, size - 1);
	int r = n < 0 ? -errno : 0;
	close(fd);
	text[n > 0 ? n : 0] = '\0';
	return r;
}

/* /proc/PID/stat holds threads that have ended too. The name (field 2) may contain anything, so
 * counting starts behind its closing parenthesis, at field 3; utime and stime are 14 and 15. */
static int read_cpu(pid_t pid, uint64_t *ret_ns)
{
	char path[64], text[1024];

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	int r = read_text(path, text, sizeof(text));
	if (r < 0)
		return r;
	const char *at = strrchr(text, ')');
	for (unsigned field = 3; at != NULL && field <= 14; field++)
		at = strchr(at + 1, ' ');
	if (at == NULL)
		return -EPROTO;
	char *end;
	uint64_t user = strtoull(at, &end, 10), system = strtoull(end, &end, 10);
	*ret_ns = (user + system) * (UINT64_C(1000000000) / (uint64_t)sysconf(_SC_CLK_TCK));
	return 0;
}

static uint64_t value_after(const char *text, const char *key)
{
	const char *at = strstr(text, key);
	return at != NULL ? strtoull(at + strlen(key), NULL, 10) : 0;
}

static uint64_t thread_switches(pid_t pid, const char *thread)
{
	char path[300], text[4096];

	snprintf(path, sizeof(path), "/proc/%d/task/%s/status", pid, thread);
	if (read_text(path, text, sizeof(text)) < 0)
		return 0; /* it has just ended */
	return value_after(text, "\nvoluntary_ctxt_switches:") +
	       value_after(text, "\nnonvoluntary_ctxt_switches:");
}

static int read_switches(pid_t pid, uint64_t *ret_switches)
{
	char path[64];
	const struct dirent *entry;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	DIR *threads = opendir(path);
	if (threads == NULL)
		return -errno;
	*ret_switches = 0;
	while ((entry = readdir(threads)) != NULL)
		if (entry->d_name[0] != '.')
			*ret_switches += thread_switches(pid, entry->d_name);
	closedir(threads);
	return 0;
}

int process_usage(pid_t pid, struct process_usage *ret_usage, struct err *err)
{
	struct process_usage usage;
	int r = read_cpu(pid, &usage.cpu_ns);

	if (r == 0)
		r = read_switches(pid, &usage.switches);
	if (r < 0)
		return err_set(err, r, "process %d can not be read: %s", pid, strerror(-r));
	*ret_usage = usage;
	return 0;
}
