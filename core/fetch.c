/* SPDX-License-Identifier: Apache-2.0 */
#include "core/fetch.h"

#include <curl/curl.h>
#include <errno.h>
#include <strings.h>

#define CONNECT_SECONDS 30l
#define SLOW_SECONDS    60l /* so long less than one byte a second, and it is given up */

struct run {
	const struct fetch *fetch;
	int taken; /* what take() has said */
};

static size_t take(char *data, size_t size, size_t count, void *context)
{
	struct run *run = context;

	run->taken = run->fetch->take(run->fetch->context, data, size * count);
	return run->taken < 0 ? 0 : size * count;
}

static int watch(void *context, curl_off_t total, curl_off_t now, curl_off_t up_total,
		 curl_off_t up_now)
{
	const struct run *run = context;

	(void)now;
	(void)up_total;
	(void)up_now;
	return run->fetch->watch(run->fetch->context, total > 0 ? (uint64_t)total : 0);
}

static void set_up(CURL *curl, struct run *run)
{
	const struct fetch *fetch = run->fetch;
	bool secure = fetch->https_only || strncasecmp(fetch->url, "https:", 6) == 0;

	curl_easy_setopt(curl, CURLOPT_URL, fetch->url);
	curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, fetch->https_only ? "https" : "http,https");
	/* Who asked for https is not sent on to anything less. */
	curl_easy_setopt(curl, CURLOPT_REDIR_PROTOCOLS_STR, secure ? "https" : "http,https");
	curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 1l);
	curl_easy_setopt(curl, CURLOPT_MAXREDIRS, FETCH_REDIRECTS);
	curl_easy_setopt(curl, CURLOPT_FAILONERROR, 1l);
	curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1l);
	curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, CONNECT_SECONDS);
	curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1l);
	curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, SLOW_SECONDS);
	curl_easy_setopt(curl, CURLOPT_MAXFILESIZE_LARGE, (curl_off_t)fetch->size_max);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, run);
	curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0l);
	curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, watch);
	curl_easy_setopt(curl, CURLOPT_XFERINFODATA, run);
}

int fetch_url(const struct fetch *fetch, struct err *err)
{
	CURL *curl = curl_global_init(CURL_GLOBAL_DEFAULT) == 0 ? curl_easy_init() : NULL;
	struct run run = {.fetch = fetch};
	CURLcode code;
	long status = 0;

	if (!curl)
		return err_set(err, -ENOMEM, "out of memory");
	set_up(curl, &run);
	code = curl_easy_perform(curl);
	curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
	curl_easy_cleanup(curl);
	if (code == CURLE_OK && status == 200)
		return 0;
	if (code == CURLE_OK) /* an answer, and nothing in it */
		return err_set(err, -EIO, "%s: the server answers %ld", fetch->url, status);
	if (run.taken < 0) /* curl only says that writing failed */
		return run.taken;
	if (code == CURLE_ABORTED_BY_CALLBACK)
		return err_set(err, -EINTR, "interrupted");
	return err_set(err, -EIO, "%s: %s", fetch->url, curl_easy_strerror(code));
}
