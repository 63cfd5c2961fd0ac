/* SPDX-License-Identifier: Apache-2.0 */
#include "core/control.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/heap.h"
#include "core/log.h"
#include "core/stream.h"

/* A connection is in one of these states, and its stream is paused in the last two:
 *
 *   READING --whole message--> SERVING --control_reply--> SENDING --sent--> READING
 *      any --stream ended, limit passed, malformed, server closed--> closing, freed in closed()
 *
 * A request outlives its connection (then control_reply only frees it), and the server outlives
 * control_server_close() until its last connection is gone. */
#define MESSAGE_LIMIT_NS (10 * 1000000000ull)  /* from a message's first byte to its last */
#define IDLE_LIMIT_NS    (300 * 1000000000ull) /* between messages */
#define SEND_LIMIT_NS    (30 * 1000000000ull)  /* for the client to take a reply */
#define FIRST_ROOM       4096u

enum state { READING, SERVING, SENDING };

struct control_server {
	struct loop *loop;
	struct listener *listener;
	char *path;
	void (*serve)(struct control_request *request, const json_t *message, void *context);
	void *context;
	struct list connections;
	unsigned connection_count;
	bool closed, for_all;
};

struct connection {
	struct list link;
	struct control_server *server;
	struct stream *stream;
	struct timer timer;
	enum state state;
	bool closing;
	uid_t uid;
	uint8_t header[4];
	size_t header_fill;
	char *message; /* grows as bytes come, so that a length that lies costs nothing */
	size_t length, fill, room;
	struct control_request *request; /* while SERVING */
	struct stream_send send;
	uint32_t reply_header;
	char *reply; /* while SENDING */
};

struct control_request {
	struct connection *connection; /* NULL: the client has gone */
	json_t *message;
	uid_t uid;
};

static void server_free(struct control_server *server)
{
	heap_free(server->path);
	heap_free(server);
}

static void connection_close(struct connection *connection)
{
	if (connection->closing)
		return;
	connection->closing = true;
	timer_stop(&connection->timer);
	stream_close(connection->stream);
}

static void connection_closed(struct stream *stream)
{
	struct connection *connection = stream_context(stream);
	struct control_server *server = connection->server;

	timer_stop(&connection->timer);
	if (connection->request)
		connection->request->connection = NULL;
	list_remove(&connection->link);
	heap_wipe(connection->message);
	heap_wipe(connection->reply);
	heap_free(connection);
	server->connection_count--;
	if (server->closed && server->connection_count == 0)
		server_free(server);
}

static void connection_ended(struct stream *stream, int error)
{
	(void)error;
	connection_close(stream_context(stream));
}

static void connection_timeout(struct timer *timer)
{
	connection_close(container_of(timer, struct connection, timer));
}

static void reply_sent(struct stream_send *send, int result)
{
	struct connection *connection = container_of(send, struct connection, send);

	heap_wipe(connection->reply);
	connection->reply = NULL;
	if (connection->closing)
		return;
	if (result < 0) {
		connection_close(connection);
		return;
	}
	connection->state = READING;
	timer_start(&connection->timer, IDLE_LIMIT_NS);
	stream_resume(connection->stream);
}

static json_t *problem(int status, const char *code, const char *detail)
{
	return json_pack("{s:i,s:{s:s,s:s,s:i,s:s,s:s}}", "status", status, "body", "type",
			 "about:blank", "title", "Request not served", "status", status, "detail",
			 detail, "code", code);
}

static void send_reply(struct connection *connection, json_t *reply)
{
	char *text = reply ? json_dumps(reply, JSON_COMPACT) : NULL;
	size_t length = text ? strlen(text) : 0;

	json_decref(reply);
	if (length > CONTROL_MESSAGE_MAX) {
		heap_wipe(text);
		reply = problem(500, "reply_too_large",
				"the reply is larger than a message may be; a list comes "
				"in pages with ?limit=");
		text = reply ? json_dumps(reply, JSON_COMPACT) : NULL;
		length = text ? strlen(text) : 0;
		json_decref(reply);
	}
	if (!text) { /* no memory: the client sees the connection end, not a lie */
		connection_close(connection);
		return;
	}
	connection->state = SENDING;
	connection->reply = text;
	connection->reply_header = htonl((uint32_t)length);
	connection->send = (struct stream_send){
	    .iov = {{&connection->reply_header, sizeof connection->reply_header}, {text, length}},
	    .done = reply_sent,
	};
	timer_start(&connection->timer, SEND_LIMIT_NS);
	stream_send(connection->stream, &connection->send);
}

void control_reply(struct control_request *request, json_t *reply)
{
	struct connection *connection = request->connection;

	json_decref(request->message);
	heap_free(request);
	if (!connection) {
		json_decref(reply);
		return;
	}
	connection->request = NULL;
	if (connection->closing)
		json_decref(reply);
	else
		send_reply(connection, reply);
}

unsigned control_request_uid(const struct control_request *request)
{
	return request->uid;
}

/* A message is complete: answer it, at once when it is not one. */
static void connection_serve(struct connection *connection)
{
	struct control_server *server = connection->server;
	struct control_request *request = heap_zalloc(sizeof *request);
	struct err err = {0};
	json_t *message = control_parse(connection->message, connection->length, &err);

	heap_wipe(connection->message);
	connection->message = NULL;
	connection->header_fill = connection->length = connection->fill = connection->room = 0;
	timer_stop(&connection->timer);
	stream_pause(connection->stream);
	connection->state = SERVING;
	if (!request || !message) {
		heap_free(request);
		json_decref(message);
		send_reply(connection, problem(400, "bad_message", err.code ? err.text : "memory"));
		return;
	}
	*request = (struct control_request){connection, message, connection->uid};
	connection->request = request;
	server->serve(request, message, server->context);
}

/* Room for @more bytes of the message, doubling. */
static bool message_grow(struct connection *connection, size_t more)
{
	size_t wanted = connection->room ? connection->room : FIRST_ROOM;
	char *grown;

	if (connection->fill + more <= connection->room)
		return true;
	while (wanted < connection->fill + more)
		wanted *= 2;
	grown = heap_alloc(wanted); /* realloc() would leave what it moves where it was */
	if (!grown)
		return false;
	if (connection->fill)
		memcpy(grown, connection->message, connection->fill);
	heap_wipe(connection->message);
	connection->message = grown;
	connection->room = wanted;
	return true;
}

/* Header, then body. Returns the bytes taken; SIZE_MAX when the connection is to end. */
static size_t message_take(struct connection *connection, const uint8_t *data, size_t length)
{
	size_t taken = 0, part;

	while (taken < length && connection->header_fill < sizeof connection->header)
		connection->header[connection->header_fill++] = data[taken++];
	if (connection->header_fill < sizeof connection->header)
		return taken;
	if (connection->length == 0) {
		connection->length = (size_t)connection->header[0] << 24 |
				     (size_t)connection->header[1] << 16 |
				     (size_t)connection->header[2] << 8 | connection->header[3];
		if (connection->length == 0 || connection->length > CONTROL_MESSAGE_MAX)
			return SIZE_MAX;
	}
	part = connection->length - connection->fill;
	if (part > length - taken)
		part = length - taken;
	if (!message_grow(connection, part))
		return SIZE_MAX;
	if (part)
		memcpy(connection->message + connection->fill, data + taken, part);
	connection->fill += part;
	return taken + part;
}

static size_t connection_received(struct stream *stream, const void *data, size_t length)
{
	struct connection *connection = stream_context(stream);
	size_t taken;

	if (connection->closing || connection->state != READING)
		return 0;
	if (connection->header_fill == 0)
		timer_start(&connection->timer, MESSAGE_LIMIT_NS);
	taken = message_take(connection, data, length);
	/* It lies in the engine's own memory, which holds it until something as long comes. */
	explicit_bzero((void *)(uintptr_t)data, taken == SIZE_MAX ? length : taken);
	if (taken == SIZE_MAX) {
		connection_close(connection);
		return 0;
	}
	if (connection->length && connection->fill == connection->length)
		connection_serve(connection);
	return taken;
}

static const struct stream_handlers connection_handlers = {
    .received = connection_received,
    .ended = connection_ended,
    .closed = connection_closed,
};

/* Only root and the daemon's own user talk to it, whatever the socket's mode became. */
static bool peer_allowed(int fd, uid_t *ret_uid)
{
	struct ucred peer;
	socklen_t length = sizeof peer;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) < 0)
		return false;
	*ret_uid = peer.uid;
	return peer.uid == 0 || peer.uid == geteuid();
}

static void connection_accepted(struct listener *listener, int fd, const struct sockaddr *peer,
				socklen_t peer_length)
{
	struct control_server *server = listener_context(listener);
	struct connection *connection;
	uid_t uid = (uid_t)-1;

	(void)peer;
	(void)peer_length;
	if (server->closed || server->connection_count >= CONTROL_CONNECTIONS_MAX ||
	    (!peer_allowed(fd, &uid) && !server->for_all) ||
	    !(connection = heap_zalloc(sizeof *connection))) {
		close(fd);
		return;
	}
	connection->server = server;
	connection->uid = uid;
	timer_init(&connection->timer, server->loop, connection_timeout);
	if (stream_attach(server->loop, fd, &connection_handlers, connection, &connection->stream,
			  NULL) < 0) {
		heap_free(connection);
		close(fd);
		return;
	}
	list_push_back(&server->connections, &connection->link);
	server->connection_count++;
	timer_start(&connection->timer, IDLE_LIMIT_NS);
}

static const struct listener_handlers control_listener = {.accepted = connection_accepted};

int control_server_open(struct loop *loop, const char *path, unsigned mode,
			void (*serve)(struct control_request *request, const json_t *message,
				      void *context),
			void *context, struct control_server **ret_server, struct err *err)
{
	struct control_server *server = heap_zalloc(sizeof *server);
	int result;

	if (!server || !(server->path = heap_strdup(path))) {
		heap_free(server);
		return err_set(err, -ENOMEM, "out of memory");
	}
	server->loop = loop;
	server->for_all = mode & S_IWOTH;
	server->serve = serve;
	server->context = context;
	list_init(&server->connections);
	result =
	    listener_open_unix(loop, path, mode, &control_listener, server, &server->listener, err);
	if (result < 0) {
		server_free(server);
		return result;
	}
	*ret_server = server;
	return 0;
}

void control_server_close(struct control_server *server)
{
	if (!server || server->closed)
		return;
	listener_close(server->listener);
	unlink(server->path);
	server->closed = true;
	server->connection_count++; /* keeps the server while its connections go */
	list_for_each_safe (it, &server->connections)
		connection_close(list_entry(it, struct connection, link));
	if (--server->connection_count == 0)
		server_free(server);
}
