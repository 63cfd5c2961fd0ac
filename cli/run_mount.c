/* SPDX-License-Identifier: Apache-2.0 */
/* What programs of their own do: share mount, which the daemon has no right to; share iso, which
 * talks to the web. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "cli/cli.h"
#include "core/heap.h"

/* granary-mount beside this program, or in the sbin beside its bin. */
static char *find_program(const char *name)
{
	static const char *const places[] = {"", "../sbin/"};
	char self[PATH_MAX];
	ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
	char *slash;

	if (length <= 0)
		return NULL;
	self[length] = '\0';
	slash = strrchr(self, '/');
	*slash = '\0';
	for (unsigned i = 0; i < sizeof places / sizeof *places; i++) {
		char *path = heap_printf("%s/%s%s", self, places[i], name);

		if (path && access(path, X_OK) == 0)
			return path;
		heap_free(path);
	}
	return NULL;
}

#define WORDS_MAX 20

/* Become @name with these @words, which begin at the second and end with NULL. */
static int become(const char *name, const char *words[WORDS_MAX])
{
	char *program = find_program(name);

	if (!program)
		return command_fail("the program %s is not installed", name);
	words[0] = program;
	execv(program, (char *const *)words);
	return command_fail("%s: %s", program, strerror(errno));
}

int run_share_mount(struct command *command)
{
	const char *words[WORDS_MAX] = {NULL, "--state", command->state};
	unsigned count = 3;

	if (command_option(command, "ro"))
		words[count++] = "--ro";
	words[count++] = "--";
	words[count++] = command->position[0];
	words[count++] = command->position[1];
	return become("granary-mount", words);
}

/* The verb of granary-iso is the last word of ours. */
int run_share_iso(struct command *command)
{
	static const char *const options[] = {"name", "sha256", "max-size"};
	static const char *const given[] = {"--name", "--sha256", "--max-size"};
	const char *words[WORDS_MAX] = {NULL, "--state", command->state};
	unsigned count = 3;

	for (unsigned i = 0; i < sizeof options / sizeof *options; i++) {
		const char *value =
		    command->verb->options[0].name ? command_option(command, options[i]) : NULL;

		if (!value)
			continue;
		words[count++] = given[i];
		words[count++] = value;
	}
	if (command->json)
		words[count++] = "--json";
	words[count++] = "--";
	words[count++] = strrchr(command->verb->verb, ' ') + 1;
	for (unsigned i = 0; i < command->count; i++)
		words[count++] = command->position[i];
	return become("granary-iso", words);
}

/* A path as /proc/self/mountinfo has it: \040 for a space, and so on. Changed in place. */
static void unescape(char *text)
{
	char *to = text;

	for (; *text; text++) {
		if (text[0] == '\\' && text[1] >= '0' && text[1] <= '3' && text[2] && text[3]) {
			*to++ =
			    (char)((text[1] - '0') << 6 | (text[2] - '0') << 3 | (text[3] - '0'));
			text += 3;
		} else {
			*to++ = *text;
		}
	}
	*to = '\0';
}

/* Is one of ours mounted on @dir? Asked of the kernel's list: a mount whose process is gone answers
 * nothing itself. */
static bool is_ours(const char *dir)
{
	FILE *list = fopen("/proc/self/mountinfo", "re");
	char *line = NULL, where[PATH_MAX];
	size_t room = 0;
	bool found = false;

	while (list && getline(&line, &room, list) > 0) {
		if (sscanf(line, "%*s %*s %*s %*s %4095s", where) != 1)
			continue;
		unescape(where);
		if (strcmp(where, dir) == 0)
			found = strstr(line, " - fuse.granary ") != NULL;
	}
	free(line);
	if (list)
		fclose(list);
	return found;
}

/* An absolute path, also when nobody answers there. */
static int find_dir(const char *given, char dir[PATH_MAX])
{
	char parent[PATH_MAX], real[PATH_MAX];
	size_t length;
	char *slash;

	if (realpath(given, dir))
		return 0;
	if (errno != ENOTCONN)
		return command_fail("%s: %s", given, strerror(errno));
	snprintf(parent, sizeof parent, "%s%s", given[0] == '/' ? "" : "./", given);
	length = strlen(parent);
	while (length > 1 && parent[length - 1] == '/')
		parent[--length] = '\0';
	slash = strrchr(parent, '/');
	if (slash == parent)
		return snprintf(dir, PATH_MAX, "%s", parent), 0;
	*slash = '\0';
	if (!realpath(parent, real))
		return command_fail("%s: %s", given, strerror(errno));
	length = strlen(real);
	if (length + strlen(slash + 1) + 2 > PATH_MAX)
		return command_fail("%s: %s", given, strerror(ENAMETOOLONG));
	memcpy(dir, real, length);
	dir[length] = '/';
	memcpy(dir + length + 1, slash + 1, strlen(slash + 1) + 1);
	return 0;
}

int run_share_unmount(struct command *command)
{
	const char *given = command->position[0];
	bool lazy = command_option(command, "lazy") != NULL;
	char dir[PATH_MAX];
	int status = find_dir(given, dir);

	if (status)
		return status;
	if (!is_ours(dir))
		return command_fail("no share is mounted on %s", given);
	if (umount2(dir, UMOUNT_NOFOLLOW | (lazy ? MNT_DETACH : 0)) == 0)
		return say(command, json_pack("{s:s}", "unmounted", dir), "%s is unmounted", given);
	if (errno == EBUSY)
		return command_fail("%s is in use; --lazy takes it out of the way, and it ends "
				    "with its last user",
				    given);
	return command_fail("%s: %s%s", given, strerror(errno),
			    errno == EPERM ? " (it needs root)" : "");
}
