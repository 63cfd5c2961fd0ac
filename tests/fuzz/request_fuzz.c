/* SPDX-License-Identifier: Apache-2.0 */
/* A request as it came over HTTP: what the web front makes of it, and what the daemon does with
 * that before a handler sees it. The lines of the input are method, target, Host, Origin,
 * Sec-Fetch-Site, Content-Length, Content-Type, Authorization, If-Match, Idempotency-Key, session
 * and CSRF token, "-" for what is not there; behind an empty line is the body. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "core/control.h"
#include "webadmin/api.h"
#include "webadmin/route.h"
#include "webfront/webfront.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void daemon_side(const json_t *message)
{
	struct api_request request = {0};
	const char *path = json_string_value(json_object_get(message, "path"));
	const char *query = strchr(path, '?');
	static const char *const names[] = {"dry_run", "limit", "cursor", "now", "offset"};
	char plain[4096], value[64];
	size_t length = query ? (size_t)(query - path) : strlen(path);

	if (length >= sizeof plain)
		return;
	memcpy(plain, path, length);
	plain[length] = '\0';
	route_find(json_string_value(json_object_get(message, "method")), plain, &request.match);
	request.query = query ? query + 1 : "";
	for (unsigned i = 0; i < sizeof names / sizeof *names; i++) {
		if (!api_query(&request, names[i], value, sizeof value))
			continue;
		assert(strlen(value) < sizeof value);
		for (const char *at = value; *at; at++)
			assert((unsigned char)*at >= 0x20 && *at != 0x7f);
	}
	(void)api_is_dry(&request);
}

/* It is the daemon's form, whatever came: texts, an object or none as the body, nothing else. */
static void check(const struct front_request *request, const json_t *message)
{
	const char *name, *authorization = request->authorization;
	const json_t *value;

	json_object_foreach((json_t *)message, name, value)
	    assert(strcmp(name, "body") == 0 ? json_is_object(value) : json_is_string(value));
	assert(strcmp(json_string_value(json_object_get(message, "path")), request->target) == 0);
	assert(!json_object_get(message, "body") == !request->length);
	assert(!json_object_get(message, "token") ==
	       !(authorization && strncasecmp(authorization, "Bearer ", 7) == 0));
	assert(strcmp(json_string_value(json_object_get(message, "address")), request->address) ==
	       0);
}

static void try_request(const struct front_request *request)
{
	struct front_refusal refusal = {0};
	bool good = front_head_good(request, &refusal);
	json_t *message;

	if (!good) {
		assert(refusal.status >= 400 && refusal.status < 500 && refusal.code);
		return;
	}
	/* A page of another site changes nothing, and an unknown name reads nothing. */
	assert(front_host_good(request->host));
	assert(front_reads_only(request->method) ||
	       front_origin_good(request->host, request->origin, request->site));
	message = front_message(request, &refusal);
	if (!message) {
		assert(refusal.status >= 400 && refusal.code && refusal.detail[0]);
		return;
	}
	check(request, message);
	daemon_side(message);
	json_decref(message);
}

/* The next line, ended in place; NULL for "-" and behind the last one. */
static const char *take_line(char **at)
{
	char *line = *at, *end = line ? strchr(line, '\n') : NULL;

	*at = end ? end + 1 : NULL;
	if (end)
		*end = '\0';
	return line && strcmp(line, "-") != 0 ? line : NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const hosts[] = {"granary.example"};
	struct front_request request = {.address = "192.0.2.1"};
	char *text = malloc(size + 1), *at = text;
	const char **const fields[] = {
	    &request.method,   &request.target,         &request.host,    &request.origin,
	    &request.site,     &request.content_length, &request.type,    &request.authorization,
	    &request.if_match, &request.replay_key,     &request.session, &request.csrf};

	if (!text)
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	front_hosts_set(hosts, 1);
	for (unsigned i = 0; i < sizeof fields / sizeof *fields; i++)
		*fields[i] = take_line(&at);
	take_line(&at);
	request.body = at;
	request.length = at ? size - (size_t)(at - text) : 0;
	if (request.method)
		try_request(&request);
	free(text);
	return 0;
}
