/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "smbfront/smbfront.h"

/* After fork(): nothing but what a signal handler may do. posix_spawn(3) can not say that a child
 * is to end with its parent. */
static void become(const char *const *words, const char *const *environment, int output,
		   pid_t parent)
{
	static const char *const nothing[] = {NULL};
	sigset_t none;
	int null = open("/dev/null", O_RDWR);

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (prctl(PR_SET_PDEATHSIG, SIGTERM, 0, 0, 0) < 0 || getppid() != parent)
		_exit(127);
	setpgid(0, 0); /* smbd ends its whole group */
	dup2(null, STDIN_FILENO);
	dup2(output >= 0 ? output : null, STDOUT_FILENO);
	execve(words[0], (char *const *)words,
	       (char *const *)(environment ? environment : nothing));
	_exit(127);
}

pid_t child_start(const char *const *words, const char *const *environment, int *ret_output,
		  struct err *err)
{
	int output[2] = {-1, -1};
	pid_t parent = getpid(), pid;

	if (ret_output && pipe2(output, O_CLOEXEC) < 0)
		return err_set(err, -errno, "pipe: %s", strerror(errno));
	pid = fork();
	if (pid == 0)
		become(words, environment, output[1], parent);
	if (pid < 0)
		err_set(err, -errno, "fork: %s", strerror(errno));
	if (output[1] >= 0)
		close(output[1]);
	if (ret_output && pid > 0)
		*ret_output = output[0];
	else if (output[0] >= 0)
		close(output[0]);
	return pid < 0 ? err->code : pid;
}

void child_stop(pid_t pid, unsigned seconds)
{
	const struct timespec moment = {.tv_nsec = 20 * 1000000};

	if (pid <= 0)
		return;
	kill(pid, SIGTERM);
	for (unsigned i = 0; i < seconds * 50; i++) {
		if (waitpid(pid, NULL, WNOHANG) != 0)
			return;
		nanosleep(&moment, NULL);
	}
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}
