/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <seccomp.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "fusemount/fusemount.h"

static int become_nobody(struct err *err)
{
	const struct passwd *user = getpwnam("nobody");

	if (!user || user->pw_uid == 0)
		return err_set(err, -ENOENT, "there is no user nobody");
	if (setgroups(0, NULL) < 0 || setresgid(user->pw_gid, user->pw_gid, user->pw_gid) < 0 ||
	    setresuid(user->pw_uid, user->pw_uid, user->pw_uid) < 0)
		return err_set(err, -errno, "becoming user nobody: %s", strerror(errno));
	return 0;
}

static int drop_capabilities(struct err *err)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct none[2] = {0};

	if (syscall(SYS_capset, &header, none) < 0)
		return err_set(err, -errno, "capset: %s", strerror(errno));
	return 0;
}

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

static int filter_calls(struct err *err)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	int result = filter ? 0 : -ENOMEM;

	for (unsigned i = 0; result == 0 && i < sizeof allowed / sizeof *allowed; i++)
		result = seccomp_rule_add(filter, SCMP_ACT_ALLOW, allowed[i], 0);
	if (result == 0)
		result = seccomp_load(filter);
	seccomp_release(filter);
	return result < 0 ? err_set(err, result, "seccomp: %s", strerror(-result)) : 0;
}

int mount_confine(struct err *err)
{
	int result = become_nobody(err);

	/* Without its keeper nobody would unmount. Set here: a change of user takes it back. */
	if (result == 0 && prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
		result = err_set(err, -errno, "prctl: %s", strerror(errno));
	if (result == 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		result = err_set(err, -errno, "no_new_privs: %s", strerror(errno));
	if (result == 0)
		result = drop_capabilities(err);
	return result == 0 ? filter_calls(err) : result;
}
