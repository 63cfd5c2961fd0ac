/* SPDX-License-Identifier: Apache-2.0 */
/* What several verbs are given: names of objects in a pool, secrets and documents in files. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "core/heap.h"

int command_split(const char *text, const char *what, struct object_name *ret_name)
{
	const char *slash = strchr(text, '/');
	size_t length = slash ? (size_t)(slash - text) : 0;

	if (length == 0 || length >= sizeof ret_name->pool || !slash[1] || strchr(slash + 1, '/'))
		return command_fail("a %s is named POOL/NAME, not %s", what, text);
	memcpy(ret_name->pool, text, length);
	ret_name->pool[length] = '\0';
	ret_name->name = slash + 1;
	return 0;
}

int command_lun(const struct command *command, struct lun_name *ret_name)
{
	const char *iqn = command->position[0], *slash = strrchr(iqn, '/');
	size_t length = command->count > 1 ? strlen(iqn) : slash ? (size_t)(slash - iqn) : 0;

	if (length == 0 || length >= sizeof ret_name->iqn)
		return command_fail("a LUN is IQN NUMBER or IQN/NUMBER, not %s", iqn);
	memcpy(ret_name->iqn, iqn, length);
	ret_name->iqn[length] = '\0';
	ret_name->lun = command->count > 1 ? command->position[1] : slash + 1;
	return 0;
}

int command_secret(const char *path, const char *what, size_t least, size_t most,
		   char text[COMMAND_SECRET_MAX + 1])
{
	char read_bytes[COMMAND_SECRET_MAX + 3]; /* with a line end */
	size_t length = 0;
	ssize_t got;
	int fd = open(path, O_RDONLY | O_CLOEXEC), error;

	if (fd < 0)
		return command_fail("%s: %s", path, strerror(errno));
	while ((got = read(fd, read_bytes + length, sizeof read_bytes - length)) > 0)
		length += (size_t)got;
	error = errno;
	close(fd);
	if (got < 0)
		return command_fail("%s: %s", path, strerror(error));
	if (length && read_bytes[length - 1] == '\n')
		length--;
	if (length && read_bytes[length - 1] == '\r')
		length--;
	if (length >= least && length <= most && !memchr(read_bytes, '\0', length)) {
		memcpy(text, read_bytes, length);
		text[length] = '\0';
		explicit_bzero(read_bytes, sizeof read_bytes);
		return 0;
	}
	explicit_bzero(read_bytes, sizeof read_bytes);
	return command_fail("%s: a %s has %zu to %zu bytes of text", path, what, least, most);
}

char *command_read_text(const char *path, size_t most, size_t *ret_length)
{
	FILE *file = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");
	char *text = file ? heap_zalloc(most + 1) : NULL;

	if (!file)
		command_fail("%s: %s", path, strerror(errno));
	else if (!text)
		command_fail("%s: out of memory", path);
	else if ((*ret_length = fread(text, 1, most + 1, file)) > most)
		command_fail("%s: a document has %zu MiB at most", path, most >> 20);
	else if (ferror(file))
		command_fail("%s: it can not be read", path);
	else
		goto close;
	heap_free(text);
	text = NULL;
close:
	if (file && file != stdin)
		fclose(file);
	return text;
}
