/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/fetch.h"
#include "isotool/isotool.h"

int source_copy_file(int fd, struct upload *upload)
{
	static uint8_t bytes[MOUNT_DATA_MAX];
	struct stat status;
	ssize_t got;
	int result = 0;

	if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode))
		upload->expected = (uint64_t)status.st_size;
	while (result == 0 && (got = read(fd, bytes, sizeof bytes)) != 0) {
		if (got < 0 && errno == EINTR)
			got = 0;
		if (got < 0)
			return err_set(&upload->err, -errno, "reading: %s", strerror(errno));
		result = upload_put(upload, bytes, (size_t)got);
	}
	return result;
}

static int take(void *context, const void *data, size_t length)
{
	return upload_put(context, data, length);
}

static bool watch(void *context, uint64_t total)
{
	struct upload *upload = context;

	upload->expected = total;
	return upload_interrupted();
}

int source_copy_url(const char *url, struct upload *upload)
{
	const struct fetch fetch = {.url = url,
				    .size_max = upload->size_max,
				    .take = take,
				    .watch = watch,
				    .context = upload};

	return fetch_url(&fetch, &upload->err);
}
