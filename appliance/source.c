/* SPDX-License-Identifier: Apache-2.0 */
#include "appliance/source.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/confine.h"
#include "core/fetch.h"

#define OUT 3 /* of the child: the pipe; nothing of the parent's is open besides */

static int pass_on(void *context, const void *data, size_t length)
{
	const char *at = data;

	(void)context;
	while (length) {
		ssize_t n = write(OUT, at, length);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		at += n;
		length -= (size_t)n;
	}
	return 0;
}

static bool never(void *context, uint64_t total)
{
	(void)context;
	(void)total;
	return false;
}

static int fetch(const char *url, struct err *told)
{
	static const char *const users[] = {"nobody", NULL};
	const struct fetch what = {.url = url,
				   .size_max = SOURCE_MOST,
				   .https_only = true,
				   .take = pass_on,
				   .watch = never};
	int result = confine_become(users, told);

	if (result == 0)
		result = confine_drop(told);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	return result < 0 ? result : fetch_url(&what, told);
}

static void child(const char *url, int out, struct err *told)
{
	signal(SIGPIPE, SIG_IGN);
	if (dup2(out, OUT) < 0 || (out != OUT && close(out) < 0) ||
	    close_range(OUT + 1, ~0u, 0) < 0)
		_exit(1);
	_exit(fetch(url, told) < 0);
}

static int start(const char *url, struct source *source, struct err *err)
{
	int ends[2];

	source->told = mmap(NULL, sizeof *source->told, PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (source->told == MAP_FAILED)
		return err_set(err, -ENOMEM, "out of memory");
	if (pipe2(ends, O_CLOEXEC) == 0) {
		fflush(NULL);
		source->child = fork();
		if (source->child == 0)
			child(url, ends[1], source->told);
		close(ends[1]);
		source->fd = ends[0];
		if (source->child > 0)
			return 0;
		close(source->fd);
	}
	munmap(source->told, sizeof *source->told);
	return err_set(err, -ENOMEM, "a process to fetch the bundle: %s", strerror(errno));
}

int source_open(const char *name, struct source *ret_source, struct err *err)
{
	*ret_source = (struct source){.fd = -1};
	if (strncasecmp(name, "https://", 8) == 0)
		return start(name, ret_source, err);
	if (strstr(name, "://"))
		return err_set(err, -EINVAL, "%s: a bundle is fetched by https alone", name);
	ret_source->fd = open(name, O_RDONLY | O_CLOEXEC);
	return ret_source->fd < 0 ? err_set(err, -errno, "%s: %s", name, strerror(errno)) : 0;
}

void source_close(struct source *source, struct err *err)
{
	/* Its end of the pipe is closed: it is done, or about to be. */
	bool ended = err->code == -ENODATA;

	if (source->fd >= 0)
		close(source->fd);
	source->fd = -1;
	if (!source->child)
		return;
	if (!ended)
		kill(source->child, SIGKILL);
	waitpid(source->child, NULL, 0);
	source->child = 0;
	source->told->text[sizeof source->told->text - 1] = '\0';
	if (ended && source->told->code)
		err_set(err, -ENETUNREACH, "%s", source->told->text);
	munmap(source->told, sizeof *source->told);
	source->told = NULL;
}
