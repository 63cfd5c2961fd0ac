/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fusemount/fusemount.h"

/*~ granary-mount: ask the daemon -> clean what an earlier mount left -> [background] -> mount(2) ->
 * fork the server, which drops everything and serves (server.c) -> wait -> unmount.
 *
 * The keeper unmounts when it is told to (SIGTERM, SIGINT), when the daemon asks for it, and when
 * the server has ended, whatever the reason: the daemon's death, its own, or umount(8), after which
 * there is nothing left to do. Unmounting first tries to be clean: what programs have mapped is
 * written while the server still serves. A mount that is in use is taken out of the tree, and its
 * programs get errors. The longest it may take is bounded: then the connection is aborted. */
#define UNMOUNT_SECONDS 4 /* less than the daemon waits */
#define START_MS        30000

static struct keeper {
	struct mount_options options;
	pid_t server;
	int id;   /* of the mount, mount_id() */
	int news; /* what the server says */
	int signals;
	int ready; /* told when it is mounted or why not; -1: nobody waits */
} keeper = {.news = -1, .signals = -1, .ready = -1};

/* ---- mount ---- */
/* A mount whose server is gone: statfs() is never answered from memory. */
static void clean_old(const char *dir)
{
	struct statfs status;

	if (statfs(dir, &status) < 0 && errno == ENOTCONN)
		umount2(dir, MNT_DETACH | UMOUNT_NOFOLLOW);
}

static int find_dir(struct mount_options *options, struct err *err)
{
	const char *given = options->dir;
	struct stat status;

	clean_old(given);
	options->dir = realpath(given, NULL);
	if (!options->dir || stat(options->dir, &status) < 0)
		return err_set(err, -errno, "%s: %s", given, strerror(errno));
	if (!S_ISDIR(status.st_mode))
		return err_set(err, -ENOTDIR, "%s is no directory", given);
	if (strlen(options->dir) > MOUNT_PATH_MAX)
		return err_set(err, -ENAMETOOLONG, "%s: the path is too long", given);
	snprintf(options->hello.where, sizeof options->hello.where, "%.1023s", options->dir);
	return 0;
}

/* The kernel's number of what is mounted on @dir now, -1: not known. Asks the kernel alone, also
 * where a mount does not answer. */
static int mount_id(const char *dir)
{
	static const char key[] = "mnt_id:";
	char path[40], line[80];
	int fd = open(dir, O_PATH | O_NOFOLLOW | O_CLOEXEC), id = -1;
	FILE *list;

	if (fd < 0)
		return -1;
	snprintf(path, sizeof path, "/proc/self/fdinfo/%d", fd);
	list = fopen(path, "re");
	while (list && fgets(line, sizeof line, list))
		if (strncmp(line, key, strlen(key)) == 0)
			id = (int)strtol(line + strlen(key), NULL, 10);
	if (list)
		fclose(list);
	close(fd);
	return id;
}

/* *ret_fd: what the kernel will ask through. */
static int mount_it(int *ret_fd, struct err *err)
{
	const struct mount_options *options = &keeper.options;
	unsigned long flags = MS_NOSUID | MS_NODEV | (options->hello.read_only ? MS_RDONLY : 0);
	char source[MOUNT_NAME_MAX * 2 + VFS_NAME_MAX + 4], details[128];
	int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0)
		return err_set(err, -errno, "/dev/fuse: %s", strerror(errno));
	snprintf(source, sizeof source, "%s/%s%s%s", options->hello.pool, options->hello.share,
		 *options->hello.snapshot ? "@" : "", options->hello.snapshot);
	snprintf(details, sizeof details,
		 "fd=%d,rootmode=40000,user_id=0,group_id=0,default_permissions,allow_other,"
		 "max_read=%u",
		 fd, MOUNT_DATA_MAX);
	if (mount(source, options->dir, "fuse.granary", flags, details) < 0) {
		err_set(err, -errno, "mounting on %s: %s%s", options->dir, strerror(errno),
			errno == EPERM ? " (it needs root)" : "");
		close(fd);
		return err->code;
	}
	keeper.id = mount_id(options->dir);
	*ret_fd = fd;
	return 0;
}

/* ---- unmount ---- */
/* It may have been taken out of the tree (unmount --lazy), and another be in its place: that one is
 * not ours to unmount. */
static int unmount_ours(int flags)
{
	if (mount_id(keeper.options.dir) != keeper.id)
		return errno = EINVAL, -1;
	return umount2(keeper.options.dir, flags);
}

/* A process that lives as long as unmounting takes. If that is too long the daemon does not answer:
 * what waits for it fails then. */
static pid_t start_limit(void)
{
	pid_t pid = fork();

	if (pid != 0)
		return pid;
	sleep(UNMOUNT_SECONDS);
	unmount_ours(MNT_FORCE | MNT_DETACH);
	kill(keeper.server, SIGKILL);
	_exit(0);
}

static void stop_limit(pid_t pid)
{
	if (pid <= 0)
		return;
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static void unmount_it(void)
{
	pid_t limit = start_limit();
	int fd;

	if (unmount_ours(UMOUNT_NOFOLLOW) < 0) {
		if (errno == EBUSY) {
			fd = open(keeper.options.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
			if (fd >= 0) {
				syncfs(fd);
				close(fd);
			}
			unmount_ours(MNT_DETACH | UMOUNT_NOFOLLOW);
		}
		kill(keeper.server, SIGKILL); /* also when it is not in the tree any more */
	}
	stop_limit(limit);
}

/* ---- what is said ---- */
/* In the background nobody reads it. */
static void be_quiet(void)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	for (int i = 0; null >= 0 && i < 3; i++)
		dup2(null, i);
	if (null > 2)
		close(null);
}

/* It is mounted (@why empty), or why not. Said once, to whoever waits for it. */
static void tell_ready(const char *why)
{
	if (keeper.ready < 0) {
		if (*why)
			fprintf(stderr, "granary-mount: %s\n", why);
		return;
	}
	if (write(keeper.ready, why, strlen(why) + 1) < 0)
		return;
	close(keeper.ready);
	keeper.ready = -1;
	be_quiet();
}

/* ---- the server ---- */
static void serve(const struct mount_welcome *welcome, int fuse, int socket, int news)
{
	struct err err = {0};
	sigset_t none;
	int result;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGINT, SIG_IGN); /* the keeper decides */
	signal(SIGTERM, SIG_IGN);
	if (!keeper.options.foreground)
		be_quiet();
	result = server_run(&keeper.options, welcome, fuse, socket, news, &err);
	if (result < 0)
		dprintf(news, "%c%s", NEWS_FAILED, err.text);
	_exit(result < 0);
}

static int start_server(const struct mount_welcome *welcome, int fuse, int socket, struct err *err)
{
	int news[2];

	if (pipe2(news, O_CLOEXEC) < 0)
		return err_set(err, -errno, "pipe: %s", strerror(errno));
	keeper.server = fork();
	if (keeper.server == 0) {
		close(news[0]);
		serve(welcome, fuse, socket, news[1]);
	}
	close(news[1]);
	keeper.news = news[0];
	if (keeper.server < 0)
		return err_set(err, -errno, "fork: %s", strerror(errno));
	return 0;
}

/* ---- waiting ---- */
static void mounted(void)
{
	if (!keeper.options.foreground) {
		tell_ready("");
		return;
	}
	printf("MOUNTED %s\n", keeper.options.dir);
	fflush(stdout);
}

static void failed(void)
{
	char why[MOUNT_REASON_MAX + 1];
	ssize_t got = read(keeper.news, why, sizeof why - 1);

	why[got > 0 ? got : 0] = '\0';
	tell_ready(why);
}

/* False: the server has ended. */
static bool hear(bool *unmounting)
{
	char news;

	if (read(keeper.news, &news, 1) != 1)
		return false;
	if (news == NEWS_READY)
		mounted();
	if (news == NEWS_FAILED)
		failed();
	if (news == NEWS_LEAVE && !*unmounting) {
		*unmounting = true;
		unmount_it();
	}
	return true;
}

static void wait_for_end(void)
{
	struct pollfd descriptors[] = {{.fd = keeper.news, .events = POLLIN},
				       {.fd = keeper.signals, .events = POLLIN}};
	struct signalfd_siginfo what;
	bool unmounting = false;

	for (;;) {
		if (poll(descriptors, 2, -1) < 0)
			continue;
		if (descriptors[0].revents && !hear(&unmounting))
			return;
		/* Read also when nothing comes of it: poll() would not wait any more. */
		if (descriptors[1].revents &&
		    read(keeper.signals, &what, sizeof what) == (ssize_t)sizeof what &&
		    !unmounting) {
			unmounting = true;
			unmount_it();
		}
	}
}

static int keep(const struct mount_welcome *welcome, int socket)
{
	struct err err = {0};
	sigset_t signals;
	int fuse = -1, status = 0, result;

	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGHUP);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	keeper.signals = signalfd(-1, &signals, SFD_CLOEXEC);
	result = mount_it(&fuse, &err);
	if (result == 0) {
		result = start_server(welcome, fuse, socket, &err);
		close(fuse); /* the server's alone: with it the mount ends */
	}
	close(socket);
	if (result < 0) {
		if (fuse >= 0)
			clean_old(keeper.options.dir); /* mounted, and nobody serves it */
		tell_ready(err.text);
		return 1;
	}
	wait_for_end();
	waitpid(keeper.server, &status, 0);
	keeper.server = 0;
	/* Gone already after umount(8): then there is nothing of ours to detach. */
	clean_old(keeper.options.dir);
	if (keeper.ready >= 0)
		tell_ready("the mount's process ended at once");
	return WIFEXITED(status) ? WEXITSTATUS(status) : 0;
}

/* The keeper goes on alone; this waits until it is mounted. */
static int background(const struct mount_welcome *welcome, int socket)
{
	char why[MOUNT_REASON_MAX + 1] = "";
	struct pollfd waits = {.events = POLLIN};
	int ready[2];
	ssize_t got;
	pid_t pid;

	if (pipe2(ready, O_CLOEXEC) < 0 || (pid = fork()) < 0) {
		fprintf(stderr, "granary-mount: %s\n", strerror(errno));
		return 1;
	}
	if (pid == 0) {
		close(ready[0]);
		keeper.ready = ready[1];
		setsid();
		if (chdir("/") < 0)
			_exit(1);
		_exit(keep(welcome, socket));
	}
	close(ready[1]);
	waits.fd = ready[0];
	got = poll(&waits, 1, START_MS) == 1 ? read(ready[0], why, sizeof why - 1) : -1;
	if (got == 1 && !*why)
		return 0;
	if (got <= 0)
		kill(pid, SIGTERM);
	fprintf(stderr, "granary-mount: %s\n", got > 0 ? why : "it does not get ready");
	return 1;
}

int main(int argc, char **argv)
{
	struct mount_welcome welcome;
	struct err err = {0};
	int socket, status = mount_options_read(argc, argv, &keeper.options);

	if (status >= 0)
		return status;
	signal(SIGPIPE, SIG_IGN);
	if (geteuid() != 0) {
		fprintf(stderr, "granary-mount: only root can mount\n");
		return 1;
	}
	if (find_dir(&keeper.options, &err) < 0 ||
	    mount_dial(keeper.options.state_dir, &keeper.options.hello, &welcome, &socket, &err) <
		0) {
		fprintf(stderr, "granary-mount: %s\n", err.text);
		return 1;
	}
	status = keeper.options.foreground ? keep(&welcome, socket) : background(&welcome, socket);
	free(keeper.options.dir);
	return status;
}
