/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <microhttpd.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "core/control.h"
#include "core/heap.h"
#include "core/log.h"
#include "webfront/webfront.h"

/*~ A request's way: libmicrohttpd reads and bounds it (a thread per connection, so that a slow
 * answer of the daemon holds up nobody else); raw_target() keeps the path as it was sent; begin()
 * looks at method, Host and Origin before a byte of the body is taken; the body is gathered up to
 * FRONT_BODY_MAX; finish() shows a file of the application, or asks the daemon. */

#define TARGET_MAX 2048 /* path and query */

struct exchange {
	char *target; /* as sent; NULL: too long or no memory */
	bool begun;
	char *body;
	size_t length, room; /* of the body: what is there, what there is room for */
};

static struct MHD_Daemon *server;
static struct front_certificate in_use;

/* --- replies -------------------------------------------------------------------------------- */

static const char *const always[][2] = {
    {"Content-Security-Policy",
     "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
     "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"},
    {"X-Content-Type-Options", "nosniff"},
    {"X-Frame-Options", "DENY"},
    {"Referrer-Policy", "no-referrer"},
    {"Cross-Origin-Opener-Policy", "same-origin"},
    {"Cross-Origin-Resource-Policy", "same-origin"},
    {"Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()"},
};

/* Steals @response. */
static enum MHD_Result answer(struct MHD_Connection *connection, unsigned status,
			      struct MHD_Response *response)
{
	enum MHD_Result result;

	if (!response)
		return MHD_NO;
	for (unsigned i = 0; i < sizeof always / sizeof *always; i++)
		MHD_add_response_header(response, always[i][0], always[i][1]);
	result = MHD_queue_response(connection, status, response);
	MHD_destroy_response(response);
	return result;
}

static enum MHD_Result answer_problem(struct MHD_Connection *connection, unsigned status,
				      const char *code, const char *detail)
{
	json_t *body =
	    json_pack("{s:s,s:s,s:i,s:s,s:s}", "type", "about:blank", "title", "Request not served",
		      "status", (int)status, "detail", detail, "code", code);
	char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
	struct MHD_Response *response =
	    text ? MHD_create_response_from_buffer(strlen(text), text, MHD_RESPMEM_MUST_FREE)
		 : NULL;

	json_decref(body);
	if (response) {
		MHD_add_response_header(response, "Content-Type", "application/problem+json");
		MHD_add_response_header(response, "Cache-Control", "no-store");
	}
	return answer(connection, status, response);
}

static enum MHD_Result answer_asset(struct MHD_Connection *connection,
				    const struct front_asset *asset)
{
	struct MHD_Response *response = MHD_create_response_from_buffer(
	    asset->size, (void *)asset->data, MHD_RESPMEM_PERSISTENT);

	if (response) {
		MHD_add_response_header(response, "Content-Type", asset->type);
		MHD_add_response_header(response, "Content-Encoding", "gzip");
		MHD_add_response_header(response, "Cache-Control",
					asset->immutable ? "public, max-age=31536000, immutable"
							 : "no-cache");
	}
	return answer(connection, MHD_HTTP_OK, response);
}

static void add_header(struct MHD_Response *response, const char *name, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static void add_header(struct MHD_Response *response, const char *name, const char *format, ...)
{
	char value[1024];
	va_list values;
	int length;

	va_start(values, format);
	length = vsnprintf(value, sizeof value, format, values);
	va_end(values);
	if (length >= 0 && (size_t)length < sizeof value)
		MHD_add_response_header(response, name, value);
}

static void encode(const char *text, char *to, size_t size)
{
	size_t at = 0;

	for (; *text && at + 4 < size; text++) {
		if (isalnum((unsigned char)*text) || strchr("-._~", *text))
			to[at++] = *text;
		else
			at += (size_t)snprintf(to + at, size - at, "%%%02X", (unsigned char)*text);
	}
	to[at] = '\0';
}

/* Where the next page is: the same path and limit with the cursor. */
static void add_link(struct MHD_Response *response, struct MHD_Connection *connection,
		     const char *target, const char *cursor)
{
	const char *limit = MHD_lookup_connection_value(connection, MHD_GET_ARGUMENT_KIND, "limit");
	char encoded[800];

	if (limit && strspn(limit, "0123456789") != strlen(limit))
		limit = NULL;
	encode(cursor, encoded, sizeof encoded);
	add_header(response, "Link", "<%.*s?cursor=%s%s%.8s>; rel=\"next\"",
		   (int)strcspn(target, "?"), target, encoded, limit ? "&limit=" : "",
		   limit ? limit : "");
}

/* A session: begun (43 characters), or ended (""). */
static void add_cookie(struct MHD_Response *response, const char *session)
{
	if (*session)
		add_header(response, "Set-Cookie",
			   FRONT_COOKIE "=%.64s; Path=/; Secure; HttpOnly; SameSite=Strict",
			   session);
	else
		add_header(response, "Set-Cookie",
			   FRONT_COOKIE "=; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=0");
}

static const char *text_of(const json_t *reply, const char *name)
{
	return json_string_value(json_object_get(reply, name));
}

/* A file comes as base64. Returns its bytes (free() them) and how many, NULL when it is none. */
static char *decode_file(const char *text, size_t *ret_length)
{
	size_t length = strlen(text), padding = 0;
	char *bytes = length && length % 4 == 0 ? malloc(length / 4 * 3 + 1) : NULL;

	if (!bytes ||
	    EVP_DecodeBlock((unsigned char *)bytes, (const unsigned char *)text, (int)length) < 0) {
		free(bytes);
		return NULL;
	}
	while (padding < 2 && text[length - 1 - padding] == '=')
		padding++;
	*ret_length = length / 4 * 3 - padding;
	return bytes;
}

/* The body's bytes as they go out (free() them). */
static char *body_of(const json_t *reply, bool yaml, size_t *ret_length)
{
	const json_t *body = json_object_get(reply, "body");
	char *text;

	if (yaml)
		return front_document_write(body, ret_length);
	if (text_of(reply, "encoding") && json_is_string(body))
		return decode_file(json_string_value(body), ret_length);
	text = text_of(reply, "type") && json_is_string(body)
		   ? strdup(json_string_value(body))
		   : json_dumps(body, JSON_COMPACT | JSON_ENCODE_ANY);
	*ret_length = text ? strlen(text) : 0;
	return text;
}

/* What stands beside the daemon's body becomes headers. */
static void add_members(struct MHD_Response *response, struct MHD_Connection *connection,
			const char *target, const json_t *reply)
{
	const json_t *after = json_object_get(reply, "retry_after");

	if (text_of(reply, "etag"))
		add_header(response, "ETag", "%s", text_of(reply, "etag"));
	if (text_of(reply, "filename"))
		add_header(response, "Content-Disposition", "attachment; filename=\"%s\"",
			   text_of(reply, "filename"));
	if (text_of(reply, "next"))
		add_link(response, connection, target, text_of(reply, "next"));
	if (text_of(reply, "session"))
		add_cookie(response, text_of(reply, "session"));
	if (json_is_integer(after))
		add_header(response, "Retry-After", "%lld", (long long)json_integer_value(after));
	add_header(response, "Cache-Control", "no-store");
}

static const char *header(struct MHD_Connection *connection, const char *name)
{
	return MHD_lookup_connection_value(connection, MHD_HEADER_KIND, name);
}

static enum MHD_Result answer_reply(struct MHD_Connection *connection, const char *target,
				    const json_t *reply)
{
	int status = (int)json_integer_value(json_object_get(reply, "status"));
	bool yaml = status == 200 && front_is_document(target) &&
		    json_object_get(json_object_get(reply, "body"), "version") &&
		    front_wants_yaml(header(connection, "Accept"));
	const char *type = yaml ? "application/yaml" : text_of(reply, "type");
	size_t length = 0;
	char *text = body_of(reply, yaml, &length);
	struct MHD_Response *response;

	if (!text || status < 200 || status > 599) {
		free(text);
		return answer_problem(connection, MHD_HTTP_BAD_GATEWAY, "bad_answer",
				      "granaryd gave no answer we know");
	}
	response = MHD_create_response_from_buffer(length, text, MHD_RESPMEM_MUST_FREE);
	if (!response)
		return MHD_NO;
	if (!type)
		type = status < 400 ? "application/json" : "application/problem+json";
	MHD_add_response_header(response, "Content-Type", type);
	add_members(response, connection, target, reply);
	return answer(connection, (unsigned)status, response);
}

/* --- to the daemon -------------------------------------------------------------------------- */

static void address_of(struct MHD_Connection *connection, char text[64])
{
	const union MHD_ConnectionInfo *info =
	    MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
	const struct sockaddr *address = info ? info->client_addr : NULL;

	text[0] = '\0';
	if (!address)
		return;
	if (address->sa_family == AF_INET)
		inet_ntop(AF_INET, &((const struct sockaddr_in *)address)->sin_addr, text, 64);
	else if (address->sa_family == AF_INET6)
		inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)address)->sin6_addr, text, 64);
	if (strncmp(text, "::ffff:", 7) == 0) /* IPv4 on a socket for both */
		memmove(text, text + 7, strlen(text + 7) + 1);
}

/* What @connection has asked for; its texts are the connection's. */
static void request_of(struct MHD_Connection *connection, const char *method,
		       const struct exchange *exchange, struct front_request *ret_request)
{
	*ret_request = (struct front_request){
	    .method = method,
	    .target = exchange->target,
	    .host = header(connection, "Host"),
	    .origin = header(connection, "Origin"),
	    .site = header(connection, "Sec-Fetch-Site"),
	    .content_length = header(connection, "Content-Length"),
	    .type = header(connection, "Content-Type"),
	    .authorization = header(connection, "Authorization"),
	    .if_match = header(connection, "If-Match"),
	    .replay_key = header(connection, "Idempotency-Key"),
	    .session = MHD_lookup_connection_value(connection, MHD_COOKIE_KIND, FRONT_COOKIE),
	    .csrf = header(connection, "X-CSRF-Token"),
	    .body = exchange->body,
	    .length = exchange->length,
	};
	address_of(connection, ret_request->address);
}

/* Whose session it is, the daemon says with the first answer; then the stream begins. */
static enum MHD_Result answer_stream(struct MHD_Connection *connection,
				     const struct exchange *exchange)
{
	struct front_refusal refusal;
	struct front_request request;
	json_t *message;
	struct front_stream *stream;
	int status;

	request_of(connection, "GET", exchange, &request);
	request.length = 0;
	message = front_message(&request, &refusal);
	stream = message ? front_stream_open(message, header(connection, "Last-Event-ID")) : NULL;
	struct MHD_Response *response;
	status = stream ? front_stream_begin(stream) : 503;
	json_decref(message);
	if (status != 200) {
		if (stream)
			front_stream_close(stream);
		return stream && status == 401
			   ? answer_problem(connection, MHD_HTTP_UNAUTHORIZED, "not_signed_in",
					    "sign in first")
			   : answer_problem(connection, MHD_HTTP_SERVICE_UNAVAILABLE,
					    "too_many_streams", "no more event streams just now");
	}
	response = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 4096, front_stream_read,
						     stream, front_stream_close);
	if (!response) {
		front_stream_close(stream);
		return MHD_NO;
	}
	MHD_add_response_header(response, "Content-Type", "text/event-stream");
	MHD_add_response_header(response, "Cache-Control", "no-store");
	return answer(connection, MHD_HTTP_OK, response);
}

static bool wants_stream(struct MHD_Connection *connection, const char *method, const char *target)
{
	const char *accept = header(connection, "Accept");

	return strcmp(method, "GET") == 0 && strcmp(target, "/api/v1/events") == 0 && accept &&
	       strstr(accept, "text/event-stream");
}

static enum MHD_Result ask_daemon(struct MHD_Connection *connection, const char *method,
				  const struct exchange *exchange)
{
	struct front_refusal refusal;
	struct front_request request;
	json_t *message, *reply;
	enum MHD_Result result;
	struct err err = {0};

	request_of(connection, method, exchange, &request);
	message = front_message(&request, &refusal);
	if (!message)
		return answer_problem(connection, refusal.status, refusal.code, refusal.detail);
	reply = front_relay(message, &err);
	json_decref(message);
	if (!reply)
		return answer_problem(connection, MHD_HTTP_SERVICE_UNAVAILABLE, "no_daemon",
				      err.text);
	result = answer_reply(connection, exchange->target, reply);
	json_decref(reply);
	return result;
}

/* --- a request ------------------------------------------------------------------------------ */

static struct front_watch *watch_of(struct MHD_Connection *connection)
{
	const union MHD_ConnectionInfo *info =
	    MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

	return info ? info->socket_context : NULL;
}

/* Headers are there, the body is not. MHD_YES without an answer goes on. */
static enum MHD_Result begin(struct MHD_Connection *connection, const char *method,
			     struct exchange *exchange)
{
	struct front_request request;
	struct front_refusal refusal;

	exchange->begun = true;
	front_watch_limit(watch_of(connection), FRONT_BODY_NS);
	request_of(connection, method, exchange, &request);
	if (front_head_good(&request, &refusal))
		return MHD_YES;
	return answer_problem(connection, refusal.status, refusal.code, refusal.detail);
}

/* realloc() would leave what it moves where it was. */
static bool body_grow(struct exchange *exchange, size_t needed)
{
	size_t room = exchange->room ? exchange->room : 4096;
	char *grown;

	while (room < needed)
		room *= 2;
	grown = heap_alloc(room);
	if (!grown)
		return false;
	if (exchange->length)
		memcpy(grown, exchange->body, exchange->length);
	heap_wipe(exchange->body);
	exchange->body = grown;
	exchange->room = room;
	return true;
}

/* Chunked bodies come without a length; what is too much is only counted, then refused. */
static void take_body(struct exchange *exchange, const char *data, size_t length)
{
	size_t needed = exchange->length + length;

	if (exchange->length > FRONT_BODY_MAX)
		return;
	if (needed > FRONT_BODY_MAX || (needed > exchange->room && !body_grow(exchange, needed))) {
		exchange->length = FRONT_BODY_MAX + 1;
		return;
	}
	memcpy(exchange->body + exchange->length, data, length);
	exchange->length = needed;
}

static enum MHD_Result finish(struct MHD_Connection *connection, const char *method,
			      struct exchange *exchange)
{
	const char *target = exchange->target;
	const struct front_asset *asset;

	front_watch_limit(watch_of(connection), 0);
	if (exchange->length > FRONT_BODY_MAX)
		return answer_problem(connection, MHD_HTTP_CONTENT_TOO_LARGE, "body_too_large",
				      "the body is larger than 1 MiB");
	if (wants_stream(connection, method, target))
		return answer_stream(connection, exchange);
	if (strncmp(target, "/api/", 5) == 0 || strncmp(target, "/metrics", 8) == 0)
		return ask_daemon(connection, method, exchange);
	if (!front_reads_only(method))
		return answer_problem(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "method_not_allowed",
				      "files are read only");
	asset = front_asset_find(target);
	if (asset)
		return answer_asset(connection, asset);
	return answer_problem(connection, MHD_HTTP_NOT_FOUND, "not_found", "there is no such file");
}

static enum MHD_Result handle(void *context, struct MHD_Connection *connection, const char *url,
			      const char *method, const char *version, const char *data,
			      size_t *data_size, void **request)
{
	struct exchange *exchange = *request;

	(void)context;
	(void)url;
	(void)version;
	if (!exchange)
		return MHD_NO;
	if (!exchange->begun)
		return begin(connection, method, exchange);
	if (*data_size) {
		take_body(exchange, data, *data_size);
		*data_size = 0;
		return MHD_YES;
	}
	return finish(connection, method, exchange);
}

static void *raw_target(void *context, const char *uri, struct MHD_Connection *connection)
{
	struct exchange *exchange = heap_zalloc(sizeof *exchange);

	(void)context;
	(void)connection;
	if (exchange && strlen(uri) <= TARGET_MAX)
		exchange->target = heap_strdup(uri);
	return exchange;
}

static void completed(void *context, struct MHD_Connection *connection, void **request,
		      enum MHD_RequestTerminationCode why)
{
	struct exchange *exchange = *request;

	(void)context;
	(void)why;
	front_watch_limit(watch_of(connection), FRONT_IDLE_NS);
	if (exchange) {
		heap_wipe(exchange->body);
		heap_free(exchange->target);
		heap_free(exchange);
	}
	*request = NULL;
}

static void connection_changed(void *context, struct MHD_Connection *connection,
			       void **socket_context, enum MHD_ConnectionNotificationCode code)
{
	const union MHD_ConnectionInfo *info;

	(void)context;
	if (code == MHD_CONNECTION_NOTIFY_CLOSED) {
		front_watch_remove(*socket_context);
		*socket_context = NULL;
		return;
	}
	info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
	*socket_context = info ? front_watch_add(info->connect_fd) : NULL;
	if (info && !*socket_context)
		shutdown(info->connect_fd, SHUT_RDWR);
}

static void told(void *context, const char *format, va_list values)
{
	char line[400];

	(void)context;
	vsnprintf(line, sizeof line, format, values);
	line[strcspn(line, "\n")] = '\0';
	log_debug("http: %s", line);
}

/* Percent signs stay: the daemon decodes a path's parts itself, once. */
static size_t keep(void *context, struct MHD_Connection *connection, char *text)
{
	(void)context;
	(void)connection;
	return strlen(text);
}

static struct MHD_Daemon *begin_serving(int listener, const struct front_certificate *certificate)
{
	unsigned flags = MHD_USE_THREAD_PER_CONNECTION | MHD_USE_INTERNAL_POLLING_THREAD |
			 MHD_USE_POLL | MHD_USE_TLS | MHD_USE_ITC | MHD_USE_ERROR_LOG;

	return MHD_start_daemon(
	    flags, 0, NULL, NULL, handle, NULL, MHD_OPTION_EXTERNAL_LOGGER, told, NULL,
	    MHD_OPTION_LISTEN_SOCKET, listener, MHD_OPTION_HTTPS_MEM_KEY, certificate->key,
	    MHD_OPTION_HTTPS_MEM_CERT, certificate->chain, MHD_OPTION_HTTPS_PRIORITIES,
	    "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2", MHD_OPTION_CONNECTION_LIMIT,
	    FRONT_CONNECTIONS, MHD_OPTION_PER_IP_CONNECTION_LIMIT, FRONT_PER_ADDRESS,
	    MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)FRONT_HEADERS_MAX,
	    MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)(FRONT_BODY_NS / 1000000000u),
	    MHD_OPTION_THREAD_STACK_SIZE, (size_t)512 << 10, MHD_OPTION_STRICT_FOR_CLIENT, 1,
	    MHD_OPTION_UNESCAPE_CALLBACK, keep, NULL, MHD_OPTION_URI_LOG_CALLBACK, raw_target, NULL,
	    MHD_OPTION_NOTIFY_COMPLETED, completed, NULL, MHD_OPTION_NOTIFY_CONNECTION,
	    connection_changed, NULL, MHD_OPTION_END);
}

static void use(struct front_certificate *certificate)
{
	front_certificate_free(&in_use);
	in_use = *certificate;
	*certificate = (struct front_certificate){0};
	front_relay_certificate(in_use.fingerprint);
}

int front_serve(int listener, struct front_certificate *certificate, struct err *err)
{
	front_relay_start();
	server = begin_serving(listener, certificate);
	if (!server)
		return err_set(err, -EIO, "HTTPS can not be served (is cert.pem the key's?)");
	use(certificate);
	return 0;
}

/* What is under way has a moment to end; event streams come back by themselves. */
static void *stop_old(void *old)
{
	const struct timespec pause = {.tv_sec = 2};

	nanosleep(&pause, NULL);
	MHD_stop_daemon(old);
	return NULL;
}

void front_renew(struct front_certificate *certificate)
{
	struct MHD_Daemon *old = server;
	int listener = (int)MHD_quiesce_daemon(old);
	pthread_t thread;

	if (listener < 0) {
		front_certificate_free(certificate);
		return;
	}
	server = begin_serving(listener, certificate);
	if (server) {
		log_notice("certificate SHA-256 %s", certificate->fingerprint);
		use(certificate);
	} else {
		log_error("the new certificate can not be served; the old one stays");
		front_certificate_free(certificate);
		server = begin_serving(listener, &in_use);
	}
	if (pthread_create(&thread, NULL, stop_old, old) == 0)
		pthread_detach(thread);
	else
		MHD_stop_daemon(old);
}

void front_stop(void)
{
	if (server)
		MHD_stop_daemon(server);
	server = NULL;
	front_certificate_free(&in_use);
}
