/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "core/control.h"
#include "core/heap.h"
#include "core/log.h"
#include "smbfront/smbfront.h"

/*~ granary-smb: every half second it tells the daemon how it goes and hears what is to be served
 * (POST /smb/serve). When that has changed: mount what is new -> write smbd's files -> start smbd
 * or have it read them again -> unmount what is no longer served. Without the daemon nothing is
 * served; when it comes back, all is again. SIGTERM and SIGINT end smbd, then the mounts. */
#define ROUND_NS      500000000l
#define ANSWER_MS     10000
#define MOUNT_MS      30000
#define STOP_SECONDS  8
#define AGAIN_SECONDS 5 /* between two starts of what ends by itself, two tries at what fails */

struct smb_mount {
	char pool[128], name[128];
	char path[SMB_PATH_MAX];
	pid_t pid; /* 0: the row is free */
	bool wanted;
};

static struct smb {
	struct smb_options options;
	char *program;  /* granary-mount */
	json_t *served; /* what was carried out, NULL: nothing */
	struct smb_mount mounts[SMB_SHARES_MAX];
	pid_t smbd;
	time_t not_before; /* monotonic seconds: of the next start of smbd */
	time_t again;      /* likewise: of the next try at what is incomplete */
	bool listening, incomplete;
	char reason[SMB_REASON_MAX];
} smb;

static time_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec;
}

static void say_reason(const char *text)
{
	if (*text && strcmp(smb.reason, text) != 0)
		log_warning("%s", text);
	snprintf(smb.reason, sizeof smb.reason, "%s", text);
}

/* ---- files ---- */
static int make_dir(const char *path, mode_t mode)
{
	return mkdir(path, mode) < 0 && errno != EEXIST ? -errno : 0;
}

static int make_dirs(struct err *err)
{
	static const struct {
		const char *name;
		mode_t mode;
	} dirs[] = {{"", 0755},
		    {"/mnt", 0755},
		    {"/private", 0700},
		    {"/private/cache", 0755},
		    {"/private/lock", 0755},
		    {"/private/pid", 0755},
		    {"/private/ncalrpc", 0755}};
	char path[SMB_PATH_MAX];
	int result;

	for (unsigned i = 0; i < sizeof dirs / sizeof *dirs; i++) {
		snprintf(path, sizeof path, "%s%s", smb.options.run_dir, dirs[i].name);
		result = make_dir(path, dirs[i].mode);
		if (result < 0)
			return err_set(err, result, "%s: %s", path, strerror(-result));
	}
	snprintf(path, sizeof path, "%s/smb", smb.options.state_dir);
	result = make_dir(path, 0700);
	return result < 0 ? err_set(err, result, "%s: %s", path, strerror(-result)) : 0;
}

/* Whole under its name. @text is stolen. */
static int put_file(const char *name, mode_t mode, char *text, struct err *err)
{
	char path[SMB_PATH_MAX], fresh[SMB_PATH_MAX + 4];
	size_t length = text ? strlen(text) : 0;
	int fd, result = text ? 0 : -ENOMEM;

	snprintf(path, sizeof path, "%s/%s", smb.options.run_dir, name);
	snprintf(fresh, sizeof fresh, "%s.new", path);
	fd = result < 0 ? -1
			: open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, mode);
	if (result == 0 && fd < 0)
		result = -errno;
	if (result == 0 && (fchmod(fd, mode) < 0 || write(fd, text, length) != (ssize_t)length ||
			    rename(fresh, path) < 0))
		result = errno ? -errno : -EIO;
	if (fd >= 0)
		close(fd);
	if (text)
		explicit_bzero(text, length);
	free(text);
	return result < 0 ? err_set(err, result, "%s: %s", path, strerror(-result)) : 0;
}

static int put_files(const json_t *served, struct err *err)
{
	int result = put_file("passwd", 0644, smb_render_users(served), err);

	if (result == 0)
		result = put_file("group", 0644, smb_render_groups(served), err);
	if (result == 0)
		result = put_file("private/smbpasswd", 0600, smb_render_passwords(served), err);
	if (result == 0)
		result = put_file("private/smb.conf", 0600,
				  smb_render_configuration(&smb.options, served), err);
	return result;
}

/* ---- mounts ---- */
static bool is_mounted(int output)
{
	struct pollfd waits = {.fd = output, .events = POLLIN};
	char word[7] = "";

	return poll(&waits, 1, MOUNT_MS) == 1 && read(output, word, sizeof word) == 7 &&
	       memcmp(word, "MOUNTED", 7) == 0;
}

static struct smb_mount *find_mount(const char *path)
{
	for (unsigned i = 0; i < SMB_SHARES_MAX; i++)
		if (smb.mounts[i].pid && strcmp(smb.mounts[i].path, path) == 0)
			return &smb.mounts[i];
	return NULL;
}

static struct smb_mount *free_mount(void)
{
	for (unsigned i = 0; i < SMB_SHARES_MAX; i++)
		if (!smb.mounts[i].pid)
			return &smb.mounts[i];
	return NULL;
}

static int make_mount_dir(char *path)
{
	char *slash = strrchr(path, '/');
	int result;

	*slash = '\0';
	result = make_dir(path, 0755);
	*slash = '/';
	return result < 0 ? result : make_dir(path, 0755);
}

static bool start_mount(struct smb_mount *mount, const char *what)
{
	const char *words[] = {smb.program, "--state", smb.options.state_dir, "--foreground",
			       "--",        what,      mount->path,           NULL};
	struct err err = {0};
	int output = -1;
	bool mounted;

	/* What an earlier one left behind. */
	umount2(mount->path, MNT_DETACH | UMOUNT_NOFOLLOW);
	if (make_mount_dir(mount->path) < 0)
		return false;
	mount->pid = child_start(words, NULL, &output, &err);
	if (mount->pid <= 0) {
		mount->pid = 0;
		return false;
	}
	mounted = is_mounted(output);
	close(output);
	if (mounted)
		return true;
	child_stop(mount->pid, STOP_SECONDS);
	mount->pid = 0;
	return false;
}

static void want_mount(const json_t *share)
{
	const char *pool = json_string_value(json_object_get(share, "pool"));
	const char *name = json_string_value(json_object_get(share, "name"));
	char path[SMB_PATH_MAX], text[SMB_REASON_MAX], what[300];
	struct smb_mount *mount;

	smb_mount_path(&smb.options, share, path);
	mount = *path ? find_mount(path) : NULL;
	if (mount)
		mount->wanted = true;
	if (mount || !*path)
		return;
	mount = free_mount();
	if (mount) {
		snprintf(mount->path, sizeof mount->path, "%s", path);
		snprintf(what, sizeof what, "%s/%s", pool, name);
		mount->wanted = start_mount(mount, what);
	}
	if (!mount || !mount->wanted) {
		snprintf(text, sizeof text, "share %.80s/%.80s can not be mounted", pool, name);
		say_reason(text);
		smb.incomplete = true;
	}
}

static void drop_mounts(bool all)
{
	for (unsigned i = 0; i < SMB_SHARES_MAX; i++) {
		struct smb_mount *mount = &smb.mounts[i];

		if (!mount->pid || (mount->wanted && !all))
			continue;
		child_stop(mount->pid, STOP_SECONDS);
		mount->pid = 0;
		rmdir(mount->path);
	}
}

/* ---- smbd ---- */
static void start_smbd(void)
{
	static const char preload[] = "LD_PRELOAD=" SMB_USERS_NSS;
	char configuration[SMB_PATH_MAX], users[SMB_PATH_MAX], groups[SMB_PATH_MAX];
	const char *words[] = {SMB_DAEMON,     "--foreground", "--no-process-group",
			       "--configfile", configuration,  NULL};
	const char *environment[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", preload, users, groups,
				     NULL};
	struct err err = {0};

	if (now() < smb.not_before)
		return;
	smb.not_before = now() + AGAIN_SECONDS;
	if (access(SMB_DAEMON, X_OK) < 0) {
		say_reason("Samba is not installed (Debian's packages samba and libnss-wrapper)");
		return;
	}
	snprintf(configuration, sizeof configuration, "%s/private/smb.conf", smb.options.run_dir);
	snprintf(users, sizeof users, "NSS_WRAPPER_PASSWD=%s/passwd", smb.options.run_dir);
	snprintf(groups, sizeof groups, "NSS_WRAPPER_GROUP=%s/group", smb.options.run_dir);
	smb.smbd = child_start(words, environment, NULL, &err);
	if (smb.smbd < 0) {
		smb.smbd = 0;
		say_reason(err.text);
	}
}

static void stop_smbd(void)
{
	child_stop(smb.smbd, STOP_SECONDS);
	smb.smbd = 0;
	smb.listening = false;
	smb.not_before = 0;
}

/* Does it take connections? */
static bool answers(void)
{
	const char *host = smb.options.bind ? smb.options.bind : "127.0.0.1";
	struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons(smb.options.port)};
	struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons(smb.options.port)};
	bool is_four = inet_pton(AF_INET, host, &four.sin_addr) == 1, good;
	int fd;

	if (!is_four)
		inet_pton(AF_INET6, host, &six.sin6_addr);
	fd = socket(is_four ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return false;
	good = connect(fd, is_four ? (struct sockaddr *)&four : (struct sockaddr *)&six,
		       is_four ? sizeof four : sizeof six) == 0;
	close(fd);
	return good;
}

static void look_at_smbd(void)
{
	if (!smb.smbd || smb.listening)
		return;
	smb.listening = answers();
	if (smb.listening) {
		log_notice("serving SMB on port %u", smb.options.port);
		if (!smb.incomplete)
			say_reason("");
	}
}

/* ---- what is to be served ---- */
static void carry_out(json_t *served)
{
	const json_t *share;
	struct err err = {0};
	size_t index;

	smb.incomplete = false;
	for (unsigned i = 0; i < SMB_SHARES_MAX; i++)
		smb.mounts[i].wanted = false;
	json_array_foreach(json_object_get(served, "shares"), index, share)
	{
		want_mount(share);
	}
	if (put_files(served, &err) < 0) {
		say_reason(err.text);
		smb.incomplete = true;
	}
	if (json_array_size(json_object_get(served, "shares")) == 0) {
		stop_smbd();
		say_reason("no share is served over SMB");
	} else if (smb.smbd) {
		kill(smb.smbd, SIGHUP);
		if (!smb.incomplete)
			say_reason("");
	} else {
		smb.not_before = 0;
	}
	drop_mounts(false);
	json_decref(smb.served);
	smb.served = json_incref(served);
	if (smb.incomplete)
		smb.again = now() + AGAIN_SECONDS;
}

static void stop_all(void)
{
	stop_smbd();
	drop_mounts(true);
	json_decref(smb.served);
	smb.served = NULL;
}

/* Children that have ended; what is wanted is started again. */
static void reap(void)
{
	char text[SMB_REASON_MAX];
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (pid == smb.smbd) {
			snprintf(text, sizeof text, "smbd ended; see %.100s/private/log",
				 smb.options.run_dir);
			say_reason(text);
			smb.smbd = 0;
			smb.listening = false;
		}
		for (unsigned i = 0; i < SMB_SHARES_MAX; i++) {
			if (smb.mounts[i].pid != pid)
				continue;
			smb.mounts[i].pid = 0;
			smb.incomplete = true;
		}
	}
}

static json_t *ask(void)
{
	char path[SMB_PATH_MAX];
	json_t *message, *reply = NULL, *body = NULL;

	snprintf(path, sizeof path, "%s/control.sock", smb.options.state_dir);
	message =
	    json_pack("{s:s,s:s,s:{s:i,s:s}}", "method", "POST", "path", "/api/v1/smb/serve",
		      "body", "port", smb.listening ? smb.options.port : 0, "reason", smb.reason);
	if (message && control_call(path, message, ANSWER_MS, &reply, NULL) == 0 &&
	    json_integer_value(json_object_get(reply, "status")) == 200)
		body = json_incref(json_object_get(reply, "body"));
	json_decref(reply);
	json_decref(message);
	return body;
}

static void one_round(void)
{
	json_t *served = ask();

	reap();
	if (!served) {
		if (smb.served)
			log_notice("granaryd has gone: nothing is served over SMB");
		stop_all();
		return;
	}
	if (!smb.served || !json_equal(smb.served, served) ||
	    (smb.incomplete && now() >= smb.again))
		carry_out(served);
	if (!smb.smbd && json_array_size(json_object_get(served, "shares")))
		start_smbd();
	look_at_smbd();
	json_decref(served);
}

/* ---- start ---- */
/* Beside this program. */
static char *find_program(const char *name)
{
	char self[PATH_MAX];
	ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
	char *path;

	if (length <= 0)
		return NULL;
	self[length] = '\0';
	*strrchr(self, '/') = '\0';
	path = heap_printf("%s/%s", self, name);
	if (path && access(path, X_OK) == 0)
		return path;
	heap_free(path);
	return NULL;
}

static int start(struct err *err)
{
	if (geteuid() != 0)
		return err_set(err, -EPERM, "only root can mount and run Samba");
	smb.program = find_program("granary-mount");
	if (!smb.program)
		return err_set(err, -ENOENT, "the program granary-mount is not installed");
	return make_dirs(err);
}

int main(int argc, char **argv)
{
	const struct timespec moment = {.tv_nsec = ROUND_NS};
	struct err err = {0};
	sigset_t signals;
	int status = smb_options_read(argc, argv, &smb.options);

	if (status >= 0)
		return status;
	umask(0022);
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	if (start(&err) < 0) {
		fprintf(stderr, "granary-smb: %s\n", err.text);
		return 1;
	}
	do {
		one_round();
	} while (sigtimedwait(&signals, NULL, &moment) < 0);
	stop_all();
	heap_free(smb.program);
	return 0;
}
