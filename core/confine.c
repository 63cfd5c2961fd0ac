/* SPDX-License-Identifier: Apache-2.0 */
#include "core/confine.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

int confine_become(const char *const *names, struct err *err)
{
	const struct passwd *user = NULL;
	const char *first = *names;

	if (geteuid() != 0)
		return 0;
	for (; *names && !user; names++)
		user = getpwnam(*names);
	if (!user || user->pw_uid == 0)
		return err_set(err, -ENOENT, "there is no user %s", first);
	if (setgroups(0, NULL) < 0 || setresgid(user->pw_gid, user->pw_gid, user->pw_gid) < 0 ||
	    setresuid(user->pw_uid, user->pw_uid, user->pw_uid) < 0)
		return err_set(err, -errno, "becoming user %s: %s", user->pw_name, strerror(errno));
	return 0;
}

int confine_drop(struct err *err)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct none[2] = {0};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return err_set(err, -errno, "no_new_privs: %s", strerror(errno));
	if (syscall(SYS_capset, &header, none) < 0)
		return err_set(err, -errno, "capset: %s", strerror(errno));
	return 0;
}
