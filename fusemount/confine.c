/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <seccomp.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>

#include "core/confine.h"
#include "fusemount/fusemount.h"

/* What passing on needs: the two descriptors that are open, memory, and to read /proc/PID/status of
 * who asks, for its groups. Everything else answers EPERM. */
static const int allowed[] = {
    SCMP_SYS(read),          SCMP_SYS(readv),
    SCMP_SYS(write),         SCMP_SYS(writev),
    SCMP_SYS(recvfrom),      SCMP_SYS(sendmsg),
    SCMP_SYS(poll),          SCMP_SYS(ppoll),
    SCMP_SYS(close),         SCMP_SYS(open),
    SCMP_SYS(openat),        SCMP_SYS(fstat),
    SCMP_SYS(newfstatat),    SCMP_SYS(lseek),
    SCMP_SYS(mmap),          SCMP_SYS(munmap),
    SCMP_SYS(mremap),        SCMP_SYS(mprotect),
    SCMP_SYS(madvise),       SCMP_SYS(brk),
    SCMP_SYS(futex),         SCMP_SYS(exit),
    SCMP_SYS(exit_group),    SCMP_SYS(gettid),
    SCMP_SYS(getpid),        SCMP_SYS(sched_yield),
    SCMP_SYS(rt_sigaction),  SCMP_SYS(rt_sigprocmask),
    SCMP_SYS(rt_sigreturn),  SCMP_SYS(sigaltstack),
    SCMP_SYS(tgkill),        SCMP_SYS(restart_syscall),
    SCMP_SYS(clock_gettime), SCMP_SYS(getrandom),
};

int mount_confine(struct err *err)
{
	static const char *const users[] = {"nobody", NULL};
	static const struct confine_calls filter = {.calls = allowed,
						    .count = sizeof allowed / sizeof *allowed};
	int result = confine_become(users, err);

	/* Without its keeper nobody would unmount. Set here: a change of user takes it back. */
	if (result == 0 && prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
		result = err_set(err, -errno, "prctl: %s", strerror(errno));
	if (result == 0)
		result = confine_drop(err);
	return result == 0 ? confine_calls(&filter, err) : result;
}
