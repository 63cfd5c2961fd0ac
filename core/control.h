/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_CONTROL_H
#define CORE_CONTROL_H

#include <jansson.h>

#include "core/err.h"
#include "core/loop.h"

/* The control socket: a UNIX stream socket on which each message is a 4-byte big-endian length
 * (1 .. CONTROL_MESSAGE_MAX) and that many bytes of JSON. Requests have the shape of the REST
 * API, so that the web front is a relay and the CLI a client of the same routes:
 *   -> {"method":"POST","path":"/api/v1/volumes","body":{...}}
 *   <- {"status":201,"body":{...}}
 *   <-
 * {"status":404,"body":{"type":"about:blank","title":"...","status":404,"detail":"...","code":"volume_not_found"}}
 * One request at a time per connection; the reply may come later from the same loop.
 * Peer credentials (SO_PEERCRED) are checked at accept. */
#define CONTROL_MESSAGE_MAX     (4u << 20)
#define CONTROL_CONNECTIONS_MAX 64
#define CONTROL_JSON_DEPTH_MAX  32
#define CONTROL_JSON_VALUES_MAX 262144

struct control_server;
struct control_request; /* one request being answered */

/* serve: answer with control_reply(), now or later. @message is borrowed until then. Root and the
 * process's own user are let in; with a @mode that lets others write, everybody is, and serve()
 * has to find out who asks. */
int control_server_open(struct loop *loop, const char *path, unsigned mode,
			void (*serve)(struct control_request *request, const json_t *message,
				      void *context),
			void *context, struct control_server **ret_server, struct err *err)
    __attribute__((warn_unused_result));
void control_server_close(struct control_server *server);

/* control_reply: send @reply (reference stolen) and end @request. Works, as a no-op that frees,
 * after the client has gone. */
void control_reply(struct control_request *request, json_t *reply);
unsigned control_request_uid(const struct control_request *request);

/* control_parse: the hardened parser both sides use: size, depth, duplicate keys, embedded NUL,
 * numbers beyond 64 bits are refused with a sentence. */
json_t *control_parse(const void *data, size_t length, struct err *err);

/* control_wipe_json: from here on all that jansson gives back is wiped: passwords and keys go through
 * it. Once, before there are threads. */
void control_wipe_json(void);

/* control_text: @bytes as a JSON string. JSON has text alone: in what is not UTF-8 each byte beyond
 * ASCII is shown as '?'. NULL: no memory. */
json_t *control_text(const char *bytes);

/* control_call: connect to @path, send @request, wait for the reply. Blocking; for the CLI.
 * @timeout_ms bounds each wait. *ret_reply is the caller's. */
int control_call(const char *path, const json_t *request, int timeout_ms, json_t **ret_reply,
		 struct err *err) __attribute__((warn_unused_result));

#endif
