/* SPDX-License-Identifier: Apache-2.0 */
#include "webadmin/api.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/heap.h"
#include "core/size.h"
#include "webadmin/admin.h"
#include "webadmin/metadata.h"

static const struct {
	int status;
	const char *title;
} titles[] = {
    {400, "Bad request"},       {401, "Not signed in"},       {403, "Forbidden"},
    {404, "Not found"},         {405, "Method not allowed"},  {409, "Conflict"},
    {412, "Changed meanwhile"}, {422, "Not processable"},     {429, "Too many requests"},
    {500, "Server error"},      {503, "Service unavailable"}, {504, "No answer in time"},
    {507, "Out of space"},
};

/* errno -> HTTP status and the code when the handler has no better one. */
static const struct {
	int error;
	int status;
	const char *code;
} failures[] = {
    {-EINVAL, 400, "invalid"},
    {-ENOENT, 404, "not_found"},
    {-EEXIST, 409, "exists"},
    {-EADDRINUSE, 409, "exists"},
    {-EBUSY, 409, "busy"},
    {-EALREADY, 409, "busy"},
    {-ENXIO, 409, "unavailable"},
    {-ENODATA, 409, "not_sealed"},
    {-ENOTCONN, 409, "not_connected"},
    {-EXDEV, 400, "invalid"},
    {-EROFS, 409, "read_only"},
    {-EACCES, 403, "permission_denied"},
    {-EPERM, 403, "permission_denied"},
    {-EPROTO, 422, "unsupported_format"},
    {-EUCLEAN, 422, "damaged"},
    {-EISDIR, 400, "invalid"},
    {-ENOTDIR, 400, "invalid"},
    {-ERANGE, 400, "invalid"},
    {-ENOSPC, 507, "no_space"},
    {-EDQUOT, 507, "no_space"},
    {-ENOMEM, 503, "no_memory"},
    {-EAGAIN, 503, "busy"},
    {-EOPNOTSUPP, 409, "not_supported"},
    {-ETIMEDOUT, 504, "timed_out"},
};

static const char *title_of(int status)
{
	for (unsigned i = 0; i < sizeof titles / sizeof *titles; i++) {
		if (titles[i].status == status)
			return titles[i].title;
	}
	return "Error";
}

/* Who has not signed in fills the log with nothing but tries at a password or a code: those are
 * slowed down, all else that is refused to nobody is free and would push the history out. */
static bool is_noise(const struct api_request *request, int status)
{
	return status == 429 ||
	       (request->who.role == ROLE_NOBODY &&
		(request->match.route->role > ROLE_NOBODY || (status != 401 && status != 403)));
}

/* Who guesses a password may do it by dry runs. */
static bool is_guess(const char *code)
{
	return code && strcmp(code, "bad_login") == 0;
}

/* What changed something, or tried to, is written down. */
static void audit(struct api_request *request, const json_t *reply, int status)
{
	const struct route *route = request->match.route;
	const char *code =
	    json_string_value(json_object_get(json_object_get(reply, "body"), "code"));

	if (route && route->flags & (ROUTE_CHANGE | ROUTE_AUDIT) && !is_noise(request, status) &&
	    (!api_is_dry(request) || is_guess(code)))
		audit_add(request->admin->access, &request->who, route->method, request->path,
			  status, status >= 400 ? code : NULL);
}

static void send_reply(struct api_request *request, int status, json_t *body)
{
	const struct route *route = request->match.route;
	json_t *reply = body ? json_pack("{s:i,s:o}", "status", status, "body", body) : NULL;

	if (reply && request->extra)
		json_object_update(reply, request->extra);
	if (!reply)
		reply = json_pack("{s:i,s:{s:s,s:s,s:i,s:s,s:s}}", "status", 500, "body", "type",
				  "about:blank", "title", "Server error", "status", 500, "detail",
				  "out of memory", "code", "no_memory");
	audit(request, reply, status);
	if (status < 300 && route && strcmp(route->method, "DELETE") == 0 && !api_is_dry(request) &&
	    !strstr(request->query, "to_bin=1"))
		metadata_gone(request->admin, request->path);
	if (status < 300 && route && route->flags & ROUTE_CHANGE &&
	    !(route->flags & ROUTE_SECRET) && !api_is_dry(request))
		watch_tell(request->admin->watch, "change", route->method, request->path);
	if (request->replay_key && request->admin->change == request && !api_is_dry(request) &&
	    !(route->flags & ROUTE_SECRET))
		replay_keep(request, reply);
	webadmin_reply(request, reply);
}

/* Is there a route that changes what @path shows? Then its tag is of use. */
static bool is_changeable(const char *path)
{
	unsigned count;
	const struct route *routes = route_table(&count);

	for (unsigned i = 0; i < count; i++) {
		if (routes[i].flags & ROUTE_CHANGE && strcmp(routes[i].path, path) == 0)
			return true;
	}
	return false;
}

/* Page, tag and type of what a GET shows; false = an error has been sent instead. */
static bool dress(struct api_request *request, json_t *body)
{
	const struct route *route = request->match.route;
	char tag[17];

	if (route->flags & ROUTE_PAGED && json_is_array(body) && !request->paged &&
	    !api_page(request, body))
		return false;
	metadata_dress(request->admin, request->path, body);
	if (is_changeable(route->path) && api_tag(body, tag))
		api_extra(request, "etag", json_sprintf("\"%s\"", tag));
	return true;
}

void api_reply(struct api_request *request, int status, json_t *body)
{
	const struct route *route = request->match.route;

	if (status == 200 && body && route && strcmp(route->method, "GET") == 0 &&
	    !dress(request, body))
		return;
	send_reply(request, status, body);
}

static void reply_problem(struct api_request *request, int status, const char *code,
			  const char *detail)
{
	/* The sentence may quote bytes from outside that are not UTF-8: jansson refuses those. */
	json_t *text = json_string(detail), *body;

	if (!text)
		text = json_string("the request can not be served; its text is not UTF-8");
	body = json_pack("{s:s,s:s,s:i,s:o,s:s}", "type", "about:blank", "title", title_of(status),
			 "status", status, "detail", text, "code", code);
	if (body && request->about)
		json_object_set_new(body, "field", json_string(request->about));
	api_reply(request, status, body);
}

void api_reply_error(struct api_request *request, int status, const char *code, const char *format,
		     ...)
{
	char detail[600];
	va_list values;

	va_start(values, format);
	vsnprintf(detail, sizeof detail, format, values);
	va_end(values);
	reply_problem(request, status, code, detail);
}

void api_reply_failure(struct api_request *request, const char *code)
{
	int status = 500;
	const char *common = "failed";

	for (unsigned i = 0; i < sizeof failures / sizeof *failures; i++) {
		if (failures[i].error == request->err.code) {
			status = failures[i].status;
			common = failures[i].code;
		}
	}
	reply_problem(request, status, code ? code : common,
		      request->err.text[0] ? request->err.text : "the request failed");
}

bool api_step_good(struct api_request *request, int result, const char *exists_code)
{
	if (result == 0)
		return true;
	request->err = request->call.err;
	request->err.code = result;
	request->about = request->call.about;
	api_reply_failure(request, result == -EEXIST ? exists_code : NULL);
	return false;
}

void api_extra(struct api_request *request, const char *name, json_t *value)
{
	if (!request->extra)
		request->extra = json_object();
	json_object_set_new(request->extra, name, value);
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool decode_value(const char *from, size_t length, char *to, size_t size)
{
	size_t out = 0;

	for (size_t i = 0; i < length; i++) {
		int c = from[i] == '+' ? ' ' : (unsigned char)from[i];

		if (c == '%') {
			int high = i + 1 < length ? hex_digit(from[i + 1]) : -1;
			int low = i + 2 < length ? hex_digit(from[i + 2]) : -1;

			if (high < 0 || low < 0)
				return false;
			c = high * 16 + low;
			i += 2;
		}
		if (c < 0x20 || c == 0x7f || out + 1 >= size)
			return false;
		to[out++] = (char)c;
	}
	to[out] = '\0';
	return true;
}

/* The parameter @name as it was sent, "" when no value stands behind it; NULL: it is not there. */
static const char *find_parameter(const struct api_request *request, const char *name,
				  size_t *ret_length)
{
	size_t length = strlen(name);

	for (const char *at = request->query; *at;) {
		size_t part = strcspn(at, "&");
		bool named = part >= length && strncmp(at, name, length) == 0;

		if (named && part == length) {
			*ret_length = 0;
			return at + length;
		}
		if (named && at[length] == '=') {
			*ret_length = part - length - 1;
			return at + length + 1;
		}
		at += part + (at[part] == '&');
	}
	return NULL;
}

bool api_query(const struct api_request *request, const char *name, char *value, size_t size)
{
	size_t length;
	const char *sent = find_parameter(request, name, &length);

	return sent && decode_value(sent, length, value, size);
}

bool api_is_dry(const struct api_request *request)
{
	size_t length;
	const char *sent = find_parameter(request, "dry_run", &length);

	return sent && !(length == 1 && *sent == '0');
}

void api_reply_dry(struct api_request *request, json_t *what, json_t *before, json_t *after)
{
	const char *name;
	json_t *value;
	void *next;

	json_object_foreach_safe(before, next, name, value)
	{
		if (!json_equal(value, json_object_get(after, name)))
			continue;
		json_object_del(after, name);
		json_object_del(before, name);
	}
	api_reply(request, 200,
		  json_pack("{s:b,s:o,s:o,s:o}", "dry_run", 1, "what", what, "before", before,
			    "after", after));
}

int api_commit(struct api_request *request)
{
	return api_is_dry(request) ? 0
				   : config_commit(request->admin->options.config, &request->err);
}

struct pool_call *api_pool_call(struct api_request *request,
				void (*done)(struct pool_call *call, int result))
{
	request->call = (struct pool_call){.done = done, .dry = api_is_dry(request)};
	return &request->call;
}

bool api_unpack(struct api_request *request, const char *format, ...)
{
	json_error_t error;
	va_list values;
	int result;

	va_start(values, format);
	result = json_vunpack_ex(request->body, &error, JSON_STRICT, format, values);
	va_end(values);
	if (result < 0)
		api_reply_error(request, 400, "bad_request", "request body: %s", error.text);
	return result == 0;
}

bool api_is_none(const json_t *value)
{
	const char *text = json_string_value(value);

	return text ? strcmp(text, "none") == 0 || strcmp(text, "0") == 0
		    : json_is_integer(value) && json_integer_value(value) == 0;
}

bool api_size(struct api_request *request, const json_t *value, uint64_t *ret_bytes)
{
	struct err err = {0};

	if (json_is_integer(value) && json_integer_value(value) > 0) {
		*ret_bytes = (uint64_t)json_integer_value(value);
		return true;
	}
	if (json_is_string(value) && size_parse(json_string_value(value), ret_bytes, &err) == 0)
		return true;
	api_reply_error(request, 400, "bad_size", "%s",
			err.code ? err.text : "a size is a positive number of bytes or \"20G\"");
	return false;
}
