/* SPDX-License-Identifier: Apache-2.0 */
#include "appliance/slot.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define ESP_DEVICE "/dev/disk/by-label/GRANARY"
#define ESP_MOUNT  "/run/granary-esp"
#define LOCK       "/run/granary-update.lock"
#ifndef ESP_TYPE /* a test on a kernel without vfat has another */
#define ESP_TYPE    "vfat"
#define ESP_OPTIONS "umask=0077"
#endif
#define KEY "root=PARTLABEL=root-"

extern char **environ;

int slot_running(char *ret_slot, struct err *err)
{
	char line[4096] = "";
	FILE *file = fopen("/proc/cmdline", "re");
	const char *at;

	if (file) {
		if (!fgets(line, sizeof line, file))
			line[0] = '\0';
		fclose(file);
	}
	at = strstr(line, KEY);
	if (!at || (at[sizeof KEY - 1] != 'a' && at[sizeof KEY - 1] != 'b'))
		return err_set(err, -ENODEV,
			       "this system was not started from an appliance's slot; on a plain "
			       "Debian, updates come as packages");
	*ret_slot = at[sizeof KEY - 1];
	return 0;
}

void slot_root_path(char slot, char path[64])
{
	snprintf(path, 64, "/dev/disk/by-partlabel/root-%c", slot);
}

static int lock = -1;

/* One at a time, for the environment block is read and written; and in a mount namespace of our
 * own, so that nothing stays mounted however this process ends. */
static int stand_alone(struct err *err)
{
	static bool alone;

	lock = open(LOCK, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (lock < 0 || flock(lock, LOCK_EX) < 0)
		return err_set(err, -errno, "%s: %s", LOCK, strerror(errno));
	if (!alone &&
	    (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0))
		return err_set(err, -errno, "a mount namespace: %s", strerror(errno));
	alone = true;
	return 0;
}

/* After a power cut in an update a file of the other slot may have more clusters than its size
 * says, fewer, or ones that are free: the kernel stops writing to the file system when it comes
 * upon that. What the running slot has was not being written. It is asked for nothing: whatever
 * fsck says, mounting and writing tell whether it can be used. It has no terminal, for it would set
 * one up as it wants it, and an update in a shell's background would be stopped for that. */
static void mend(void)
{
	static const char *const words[] = {"/usr/sbin/fsck.vfat", "-a", ESP_DEVICE, NULL};
	posix_spawn_file_actions_t actions;
	pid_t child;
	int result;

	if (posix_spawn_file_actions_init(&actions) != 0)
		return;
	result = posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	if (result == 0)
		result = posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null",
							  O_WRONLY, 0);
	if (result == 0 &&
	    posix_spawn(&child, words[0], &actions, NULL, (char *const *)words, environ) == 0)
		waitpid(child, NULL, 0);
	posix_spawn_file_actions_destroy(&actions);
}

/* What fsck has found without a name takes space that updates need. */
static void sweep(void)
{
	for (unsigned i = 0; i < 100; i++) {
		char path[sizeof ESP_MOUNT + 16];

		snprintf(path, sizeof path, ESP_MOUNT "/FSCK%04u.REC", i);
		if (unlink(path) < 0 && errno != ENOENT)
			return;
	}
}

int esp_open(bool for_files, int *ret_folder, struct err *err)
{
	int folder, result = stand_alone(err);

	if (result < 0)
		return result;
	if (for_files)
		mend();
	if (mkdir(ESP_MOUNT, 0700) < 0 && errno != EEXIST)
		return err_set(err, -errno, "%s: %s", ESP_MOUNT, strerror(errno));
	if (mount(ESP_DEVICE, ESP_MOUNT, ESP_TYPE, MS_NODEV | MS_NOEXEC | MS_NOSUID, ESP_OPTIONS) <
	    0)
		return err_set(err, -errno, "%s can not be mounted: %s", ESP_DEVICE,
			       strerror(errno));
	if (for_files)
		sweep();
	folder = open(ESP_MOUNT "/granary", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (folder < 0) {
		int code = -errno;

		umount(ESP_MOUNT);
		return err_set(err, code, "the boot partition has no folder granary");
	}
	*ret_folder = folder;
	return 0;
}

int esp_close(int folder, struct err *err)
{
	int result = syncfs(folder) < 0 ? -errno : 0;

	close(folder);
	if (umount(ESP_MOUNT) < 0 && result == 0)
		result = -errno;
	close(lock);
	return result < 0 ? err_set(err, result, "the boot partition: %s", strerror(-result)) : 0;
}

int env_read(int folder, struct grubenv *ret_env, struct err *err)
{
	char block[GRUBENV_SIZE];
	int fd = openat(folder, "grubenv", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, block, sizeof block);
	int code = -errno;

	if (fd >= 0)
		close(fd);
	if (n < 0)
		return err_set(err, code, "grubenv: %s", strerror(-code));
	if (n != GRUBENV_SIZE)
		return err_set(err, -EUCLEAN, "grubenv is too short");
	return grubenv_parse(block, ret_env, err);
}

/* In place: GRUB knows the file by its blocks. All that changes lies in the first sector. */
int env_write(int folder, const struct grubenv *env, struct err *err)
{
	char block[GRUBENV_SIZE];
	int fd = openat(folder, "grubenv", O_WRONLY | O_CLOEXEC);
	int result = 0;

	if (fd < 0)
		return err_set(err, -errno, "grubenv: %s", strerror(errno));
	grubenv_format(env, block);
	if (pwrite(fd, block, sizeof block, 0) != (ssize_t)sizeof block || fsync(fd) < 0)
		result = err_set(err, errno ? -errno : -EIO, "grubenv can not be written: %s",
				 strerror(errno));
	close(fd);
	return result;
}
