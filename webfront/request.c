/* SPDX-License-Identifier: Apache-2.0 */
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/control.h"
#include "core/heap.h"
#include "webfront/webfront.h"

/* From HTTP to the daemon's message; without libmicrohttpd, so that it can be tried on anything. */

static bool refuse(struct front_refusal *refusal, unsigned status, const char *code,
		   const char *detail)
{
	refusal->status = status;
	refusal->code = code;
	snprintf(refusal->detail, sizeof refusal->detail, "%s", detail);
	return false;
}

static bool method_known(const char *method)
{
	static const char *const methods[] = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"};

	for (unsigned i = 0; i < sizeof methods / sizeof *methods; i++) {
		if (strcmp(methods[i], method) == 0)
			return true;
	}
	return false;
}

bool front_reads_only(const char *method)
{
	return strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0;
}

bool front_head_good(const struct front_request *request, struct front_refusal *refusal)
{
	if (!method_known(request->method))
		return refuse(refusal, 405, "method_not_allowed",
			      "the methods are GET, HEAD, POST, PUT, PATCH, DELETE");
	if (!request->target)
		return refuse(refusal, 414, "path_too_long", "the path is too long");
	if (!front_host_good(request->host))
		return refuse(refusal, 421, "bad_host",
			      "this is not the name of this machine (granary-web --host)");
	if (!front_reads_only(request->method) &&
	    !front_origin_good(request->host, request->origin, request->site))
		return refuse(refusal, 403, "bad_origin", "the request comes from another site");
	if (request->content_length && strtoull(request->content_length, NULL, 10) > FRONT_BODY_MAX)
		return refuse(refusal, 413, "body_too_large", "the body is larger than 1 MiB");
	return true;
}

static bool is_type(const char *kind, const char *wanted)
{
	size_t length = strlen(wanted);

	return kind && strncasecmp(kind, wanted, length) == 0 &&
	       (!kind[length] || kind[length] == ';' || kind[length] == ' ');
}

/* A piece of a file: bytes, which go on as base64. NULL: no memory. */
static json_t *bytes_body(const struct front_request *request)
{
	char *text = heap_zalloc((request->length + 2) / 3 * 4 + 1);
	json_t *body = NULL;

	if (text) {
		EVP_EncodeBlock((unsigned char *)text, (const unsigned char *)request->body,
				(int)request->length);
		body = json_pack("{s:s}", "data", text);
	}
	heap_wipe(text);
	return body;
}

/* False: refused. *ret_body NULL: there is none. */
static bool read_body(const struct front_request *request, json_t **ret_body,
		      struct front_refusal *refusal)
{
	struct err err = {0};

	*ret_body = NULL;
	if (!request->length)
		return true;
	if (strcmp(request->method, "PUT") == 0 &&
	    is_type(request->type, "application/octet-stream")) {
		*ret_body = bytes_body(request);
		return *ret_body || refuse(refusal, 503, "no_memory", "out of memory");
	}
	if (front_is_document(request->target) && front_is_yaml(request->type)) {
		*ret_body = front_document_read(request, &err);
		return *ret_body ||
		       refuse(refusal, 400, "bad_yaml", err.code ? err.text : "out of memory");
	}
	if (!is_type(request->type, "application/json"))
		return refuse(refusal, 415, "bad_type", "the body has to be application/json");
	*ret_body = control_parse(request->body, request->length, &err);
	if (json_is_object(*ret_body))
		return true;
	json_decref(*ret_body);
	*ret_body = NULL;
	return refuse(refusal, 400, "bad_json", err.code ? err.text : "the body is no JSON object");
}

json_t *front_message(const struct front_request *request, struct front_refusal *refusal)
{
	const char *authorization = request->authorization, *token = NULL;
	json_t *body, *message;

	if (!read_body(request, &body, refusal))
		return NULL;
	/* RFC 9110 11.1: the scheme is whatever its case. */
	if (authorization && strncasecmp(authorization, "Bearer ", 7) == 0)
		token = authorization + 7;
	/* Texts that are not UTF-8 make it NULL; the body goes with it. */
	message = json_pack("{s:s,s:s,s:o*,s:s*,s:s*,s:s*,s:s*,s:s*,s:s}", "method",
			    strcmp(request->method, "HEAD") == 0 ? "GET" : request->method, "path",
			    request->target, "body", body, "if_match", request->if_match,
			    "idempotency_key", request->replay_key, "session", request->session,
			    "csrf", request->csrf, "token", token, "address", request->address);
	if (!message)
		refuse(refusal, 400, "bad_message", "the request holds text that is not UTF-8");
	return message;
}
