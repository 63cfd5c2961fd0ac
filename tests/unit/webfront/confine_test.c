/* SPDX-License-Identifier: Apache-2.0 */
/* What granary-web can still do when it serves: no device, no file, no program, no network but the
 * daemon's socket and the connections that it is given. Tried in a child, before and after. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "webfront/webfront.h"

static bool opens(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC);

	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

static bool makes(int family, int type)
{
	int fd = socket(family, type | SOCK_CLOEXEC, 0);

	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

/* execve() that fails for the want of a program has been let through. */
static bool executes(void)
{
	char name[] = "nothing";
	char *const words[] = {name, NULL};

	execve("/nowhere/at/all", words, words);
	return errno == ENOENT;
}

static bool opens_device(void)
{
	return opens("/dev/null", O_RDWR);
}

static bool opens_file(void)
{
	return opens("/etc/passwd", O_RDONLY);
}

static bool calls_out(void)
{
	return makes(AF_INET, SOCK_STREAM);
}

static bool looks_at_others(void)
{
	return ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0;
}

static bool asks_daemon(void)
{
	return makes(AF_UNIX, SOCK_STREAM);
}

static bool removes(void)
{
	return unlink("/nowhere/at/all") == 0 || errno == ENOENT;
}

static const struct {
	const char *what;
	bool (*possible)(void);
	bool confined; /* after that too */
} tries[] = {
    {"open a device", opens_device, false},
    {"open a file", opens_file, false},
    {"remove a file", removes, false},
    {"execute a program", executes, false},
    {"connect to the network", calls_out, false},
    {"trace a process", looks_at_others, false},
    {"connect to the daemon", asks_daemon, true},
};
#define TRIES  (sizeof tries / sizeof *tries)
#define NOT_ME 0x80u

/* Which of them are possible, as bits; NOT_ME: it could not be confined. */
static unsigned tried(bool confine)
{
	pid_t child = fork();
	int status;

	assert_true(child >= 0);
	if (child == 0) {
		struct err err = {0};
		unsigned possible = confine && front_confine(&err) < 0 ? NOT_ME : 0;

		for (unsigned i = 0; i < TRIES; i++)
			possible |= (unsigned)tries[i].possible() << i;
		_exit((int)possible);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status)); /* what is refused fails, and ends nothing */
	return (unsigned)WEXITSTATUS(status);
}

static void everything_is_possible_before(void **state)
{
	(void)state;
	assert_int_equal(tried(false), (1u << TRIES) - 1);
}

static void little_is_after(void **state)
{
	unsigned possible = tried(true);

	(void)state;
	assert_false(possible & NOT_ME);
	for (unsigned i = 0; i < TRIES; i++)
		if ((possible >> i & 1) != tries[i].confined)
			fail_msg("%s: %s", tries[i].what,
				 tries[i].confined ? "refused" : "possible");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(everything_is_possible_before),
	    cmocka_unit_test(little_is_after),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
