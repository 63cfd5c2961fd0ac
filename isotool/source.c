/* SPDX-License-Identifier: Apache-2.0 */
#include <curl/curl.h>
#include <errno.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "isotool/isotool.h"

#define CONNECT_SECONDS 30l
#define SLOW_SECONDS    60l /* so long less than one byte a second, and it is given up */
#define REDIRECTS       5l

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

static size_t take(char *data, size_t size, size_t count, void *context)
{
	return upload_put(context, data, size * count) < 0 ? 0 : size * count;
}

static int watch(void *context, curl_off_t total, curl_off_t now, curl_off_t up_total,
		 curl_off_t up_now)
{
	struct upload *upload = context;

	(void)now;
	(void)up_total;
	(void)up_now;
	upload->expected = total > 0 ? (uint64_t)total : 0;
	return upload_interrupted();
}

static void set_up(CURL *curl, const char *url, struct upload *upload)
{
	curl_easy_setopt(curl, CURLOPT_URL, url);
	curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
	/* Who asked for https is not sent on to anything less. */
	curl_easy_setopt(curl, CURLOPT_REDIR_PROTOCOLS_STR,
			 strncasecmp(url, "https:", 6) == 0 ? "https" : "http,https");
	curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 1l);
	curl_easy_setopt(curl, CURLOPT_MAXREDIRS, REDIRECTS);
	curl_easy_setopt(curl, CURLOPT_FAILONERROR, 1l);
	curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1l);
	curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, CONNECT_SECONDS);
	curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1l);
	curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, SLOW_SECONDS);
	curl_easy_setopt(curl, CURLOPT_MAXFILESIZE_LARGE, (curl_off_t)upload->size_max);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, upload);
	curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0l);
	curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, watch);
	curl_easy_setopt(curl, CURLOPT_XFERINFODATA, upload);
}

int source_copy_url(const char *url, struct upload *upload)
{
	CURL *curl = curl_global_init(CURL_GLOBAL_DEFAULT) == 0 ? curl_easy_init() : NULL;
	CURLcode code;
	long status = 0;

	if (!curl)
		return err_set(&upload->err, -ENOMEM, "out of memory");
	set_up(curl, url, upload);
	code = curl_easy_perform(curl);
	curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
	curl_easy_cleanup(curl);
	if (code == CURLE_OK && status == 200)
		return 0;
	if (code == CURLE_OK) /* an answer, and no image */
		return err_set(&upload->err, -EIO, "%s: the server answers %ld", url, status);
	if (upload->err.code) /* of ours: curl only says that writing failed */
		return upload->err.code;
	if (code == CURLE_ABORTED_BY_CALLBACK)
		return err_set(&upload->err, -EINTR, "interrupted");
	return err_set(&upload->err, -EIO, "%s: %s", url, curl_easy_strerror(code));
}
