/* SPDX-License-Identifier: Apache-2.0 */
#include "webadmin/api.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/heap.h"
#include "core/size.h"

static const struct {
	int status;
	const char *title;
} titles[] = {
    {400, "Bad request"},  {403, "Forbidden"},
    {404, "Not found"},    {405, "Method not allowed"},
    {409, "Conflict"},     {422, "Not processable"},
    {500, "Server error"}, {503, "Service unavailable"},
    {507, "Out of space"},
};

/* errno -> HTTP status and the code when the handler has no better one. */
static const struct {
	int error;
	int status;
	const char *code;
} failures[] = {
    {-EINVAL, 400, "invalid"},          {-ENOENT, 404, "not_found"},
    {-EEXIST, 409, "exists"},           {-EBUSY, 409, "busy"},
    {-EALREADY, 409, "busy"},           {-ENXIO, 409, "unavailable"},
    {-EROFS, 409, "read_only"},         {-EACCES, 403, "permission_denied"},
    {-EPERM, 403, "permission_denied"}, {-EPROTO, 422, "unsupported_format"},
    {-EUCLEAN, 422, "damaged"},         {-EISDIR, 400, "invalid"},
    {-ENOTDIR, 400, "invalid"},         {-ERANGE, 400, "invalid"},
    {-ENOSPC, 507, "no_space"},         {-EDQUOT, 507, "no_space"},
    {-ENOMEM, 503, "no_memory"},        {-EAGAIN, 503, "busy"},
};

static const char *title_of(int status)
{
	for (unsigned i = 0; i < sizeof titles / sizeof *titles; i++) {
		if (titles[i].status == status)
			return titles[i].title;
	}
	return "Error";
}

void api_reply(struct api_request *request, int status, json_t *body)
{
	json_t *reply = body ? json_pack("{s:i,s:o}", "status", status, "body", body) : NULL;

	if (!reply)
		reply = json_pack("{s:i,s:{s:s,s:s,s:i,s:s,s:s}}", "status", 500, "body", "type",
				  "about:blank", "title", "Server error", "status", 500, "detail",
				  "out of memory", "code", "no_memory");
	request->replied(request, reply);
}

static void reply_problem(struct api_request *request, int status, const char *code,
			  const char *detail)
{
	/* The sentence may quote bytes from outside that are not UTF-8: jansson refuses those. */
	json_t *text = json_string(detail);

	if (!text)
		text = json_string("the request can not be served; its text is not UTF-8");
	api_reply(request, status,
		  json_pack("{s:s,s:s,s:i,s:o,s:s}", "type", "about:blank", "title",
			    title_of(status), "status", status, "detail", text, "code", code));
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
