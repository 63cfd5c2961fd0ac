/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/heap.h"
#include "core/log.h"
#include "granaryd/granaryd.h"

/* Every missing part of @dir, private to us. @dir is changed and put back. */
static int make_directories(char *dir)
{
	for (char *slash = dir + 1;; slash++) {
		char kept = *slash;

		if (kept != '/' && kept != '\0')
			continue;
		*slash = '\0';
		if (mkdir(dir, 0700) < 0 && errno != EEXIST)
			return -errno;
		*slash = kept;
		if (kept == '\0')
			return 0;
	}
}

/* The lock is an OFD lock: it goes with the process, however that ends. The file says who. */
static int take_lock(struct state *state, struct err *err)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	char *path = heap_printf("%s/granaryd.lock", state->dir);
	char text[32] = "";
	int result = 0;

	if (!path)
		return err_set(err, -ENOMEM, "out of memory");
	state->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (state->lock_fd < 0) {
		result = err_set(err, -errno, "%s: %s", path, strerror(errno));
	} else if (fcntl(state->lock_fd, F_OFD_SETLK, &lock) < 0) {
		ssize_t length = pread(state->lock_fd, text, sizeof text - 1, 0);

		text[length > 0 ? length : 0] = '\0';
		text[strcspn(text, "\n")] = '\0';
		result =
		    err_set(err, -EBUSY, "state directory %s is in use by granaryd with pid %s",
			    state->dir, text[0] ? text : "unknown");
	} else {
		int length = snprintf(text, sizeof text, "%d\n", (int)getpid());

		/* For people only: a full file system is no reason not to serve. */
		if (pwrite(state->lock_fd, text, (size_t)length, 0) != length ||
		    ftruncate(state->lock_fd, length) < 0)
			log_debug("%s: %s", path, strerror(errno));
	}
	heap_free(path);
	return result;
}

/* For the web front, which has a user of its own: it stands in this directory when it drops its
 * rights, so it needs no way through ours. Where the directory is that user's already, as on the
 * appliance, it is left as it is: its mode is not ours to set. */
static int make_front_directory(const struct state *state, struct err *err)
{
	char *path = heap_printf("%s/web", state->dir);
	struct stat there;
	int result = 0;

	if (!path)
		return err_set(err, -ENOMEM, "out of memory");
	if ((mkdir(path, 0711) < 0 && errno != EEXIST) || stat(path, &there) < 0 ||
	    (there.st_uid == geteuid() && (there.st_mode & 07777) != 0711 && chmod(path, 0711) < 0))
		result = err_set(err, -errno, "%s: %s", path, strerror(errno));
	heap_free(path);
	return result;
}

int state_open(const char *dir, struct state *ret_state, struct err *err)
{
	struct state state = {.lock_fd = -1};
	char *copy = heap_strdup(dir);
	int result;

	if (!copy)
		return err_set(err, -ENOMEM, "out of memory");
	result = make_directories(copy);
	if (result < 0)
		err_set(err, result, "state directory %s: %s", dir, strerror(-result));
	heap_free(copy);
	if (result < 0)
		return result;
	state.dir = realpath(dir, NULL);
	if (!state.dir)
		return err_set(err, -errno, "state directory %s: %s", dir, strerror(errno));
	state.config_path = heap_printf("%s/config.db", state.dir);
	state.reservations_path = heap_printf("%s/reservations.db", state.dir);
	state.control_path = heap_printf("%s/control.sock", state.dir);
	state.front_path = heap_printf("%s/web/web.sock", state.dir);
	state.mount_path = heap_printf("%s/mount.sock", state.dir);
	if (!state.config_path || !state.reservations_path || !state.control_path ||
	    !state.front_path || !state.mount_path)
		result = err_set(err, -ENOMEM, "out of memory");
	else if (strlen(state.control_path) >= sizeof((struct sockaddr_un *)0)->sun_path)
		result = err_set(err, -ENAMETOOLONG,
				 "state directory %s: the path is too long for a control socket",
				 state.dir);
	else
		result = take_lock(&state, err);
	if (result == 0)
		result = make_front_directory(&state, err);
	if (result < 0) {
		state_close(&state);
		return result;
	}
	*ret_state = state;
	return 0;
}

void state_note_failure(const struct state *state, const char *why)
{
	char *path = state->lock_fd >= 0 ? heap_printf("%s/failure", state->dir) : NULL;
	int fd = -1;

	if (path && why)
		fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	else if (path)
		unlink(path);
	if (fd >= 0 && dprintf(fd, "%s\n", why) < 0)
		unlink(path);
	if (fd >= 0)
		close(fd);
	heap_free(path);
}

void state_close(struct state *state)
{
	if (state->lock_fd >= 0)
		close(state->lock_fd);
	heap_free(state->config_path);
	heap_free(state->reservations_path);
	heap_free(state->control_path);
	heap_free(state->front_path);
	heap_free(state->mount_path);
	free(state->dir);
	*state = (struct state){.lock_fd = -1};
}
