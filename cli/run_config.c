/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/cli.h"
#include "core/backup.h"
#include "core/heap.h"

/* These work on the state directory itself: a restore has to be possible where no daemon starts. */

/* 0, or the exit status. */
static int read_secret(struct command *command, char secret[COMMAND_SECRET_MAX + 1])
{
	const char *path = command_option(command, "passphrase-file");

	return path ? command_secret(path, "passphrase", 10, BACKUP_SECRET, secret)
		    : command_fail("--passphrase-file is missing");
}

static int write_file(const char *path, const uint8_t *data, size_t length)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	bool good;

	if (fd < 0)
		return command_fail("%s: %s", path, strerror(errno));
	errno = ENOSPC;
	good = write(fd, data, length) == (ssize_t)length && fsync(fd) == 0;
	close(fd);
	if (good)
		return 0;
	unlink(path);
	return command_fail("%s: %s", path, strerror(errno));
}

int run_config_backup(struct command *command)
{
	char secret[COMMAND_SECRET_MAX + 1];
	struct backup backup = {.count = 0};
	struct err err = {0};
	uint8_t *data = NULL;
	size_t length = 0;
	int status = read_secret(command, secret);

	if (status)
		return status;
	if (backup_collect(command->state, &backup, &err) < 0 ||
	    backup_seal(&backup, secret, &data, &length, &err) < 0)
		status = command_fail("%s", err.text);
	else
		status = write_file(command->position[0], data, length);
	backup_free(&backup);
	heap_free(data);
	explicit_bzero(secret, sizeof secret);
	return status;
}

static int read_backup(const char *path, const char *secret, struct backup *backup)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), status = 0;
	struct err err = {0};
	struct stat info;
	uint8_t *data;

	if (fd < 0)
		return command_fail("%s: %s", path, strerror(errno));
	if (fstat(fd, &info) < 0 || info.st_size > (off_t)BACKUP_MOST) {
		close(fd);
		return command_fail("%s: this is no backup of Granary", path);
	}
	data = heap_alloc((size_t)info.st_size + 1);
	if (!data || read(fd, data, (size_t)info.st_size) != info.st_size)
		status = command_fail("%s: can not be read", path);
	else if (backup_open(data, (size_t)info.st_size, secret, backup, &err) < 0)
		status = command_fail("%s: %s", path, err.text);
	heap_free(data);
	close(fd);
	return status;
}

int run_config_restore(struct command *command)
{
	char secret[COMMAND_SECRET_MAX + 1];
	struct backup backup = {.count = 0};
	struct err err = {0};
	int status = command_confirm(command, "Replace the configuration that is here?");

	if (status >= 0)
		return status;
	status = read_secret(command, secret);
	if (status == 0)
		status = read_backup(command->position[0], secret, &backup);
	if (status == 0 && backup_put(command->state, &backup, &err) < 0)
		status = command_fail("%s", err.text);
	backup_free(&backup);
	explicit_bzero(secret, sizeof secret);
	return status;
}

int run_config_reset(struct command *command)
{
	struct err err = {0};
	int status =
	    command_confirm(command, "Forget accounts, targets, shares and settings? Pools stay.");

	if (status >= 0)
		return status;
	return backup_reset(command->state, &err) < 0 ? command_fail("%s", err.text) : 0;
}
