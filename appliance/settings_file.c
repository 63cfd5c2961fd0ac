/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "appliance/files.h"
#include "appliance/settings.h"
#include "core/control.h"
#include "core/heap.h"

#define FILE_MOST (256u << 10)

static int read_file(const char *path, char *data, size_t *ret_length, struct err *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t length = fd < 0 ? -1 : read(fd, data, FILE_MOST);
	int code = -errno;

	if (fd >= 0)
		close(fd);
	if (length < 0)
		return err_set(err, code, "%s: %s", path, strerror(-code));
	*ret_length = (size_t)length;
	return 0;
}

int settings_load(const char *path, struct settings *settings, struct err *err)
{
	char *data = heap_alloc(FILE_MOST);
	size_t length = 0;
	json_t *object = NULL;
	int result =
	    data ? read_file(path, data, &length, err) : err_set(err, -ENOMEM, "out of memory");

	if (result == 0) {
		object = control_parse(data, length, err);
		result = object ? settings_parse(object, settings, err) : -EINVAL;
		if (result < 0)
			err_wrap(err, "%s", path);
	}
	json_decref(object);
	heap_free(data);
	return result;
}

int settings_save(const char *path, const struct settings *settings, struct err *err)
{
	json_t *object = settings_show(settings);
	char *text = object ? json_dumps(object, JSON_INDENT(1) | JSON_SORT_KEYS) : NULL;
	int result = text ? file_replace(path, text, strlen(text), 0600, err)
			  : err_set(err, -ENOMEM, "out of memory");

	free(text); /* jansson's */
	json_decref(object);
	return result;
}
