/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/heap.h"
#include "webfront/webfront.h"

/* Server-sent events: GET /api/v1/events of the daemon, again and again with the id of the last
 * event, each time as long as the daemon lets one wait. The browser's cookie goes along every
 * time, so a stream ends with its session. A stream holds the thread of its connection; there are
 * FRONT_STREAMS_MAX of them, and FRONT_STREAMS_PER_ADDRESS for one address. */

#define STREAM_TEXT 32768u
#define WAIT_PATH   "/api/v1/events?wait=20&after=%" PRIu64

struct front_stream {
	json_t *message; /* what is asked; its path changes */
	char address[64];
	uint64_t last;
	bool begun;
	char text[STREAM_TEXT];
	size_t length, sent;
};

static struct {
	char address[64];
} streams[FRONT_STREAMS_MAX];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* over streams */

static bool take_place(const char *address)
{
	unsigned free_place = FRONT_STREAMS_MAX, own = 0;

	pthread_mutex_lock(&lock);
	for (unsigned i = 0; i < FRONT_STREAMS_MAX; i++) {
		if (!streams[i].address[0])
			free_place = i;
		own += strcmp(streams[i].address, address) == 0;
	}
	if (free_place < FRONT_STREAMS_MAX && own < FRONT_STREAMS_PER_ADDRESS)
		snprintf(streams[free_place].address, sizeof streams->address, "%s", address);
	else
		free_place = FRONT_STREAMS_MAX;
	pthread_mutex_unlock(&lock);
	return free_place < FRONT_STREAMS_MAX;
}

static void leave_place(const char *address)
{
	pthread_mutex_lock(&lock);
	for (unsigned i = 0; i < FRONT_STREAMS_MAX; i++) {
		if (strcmp(streams[i].address, address) == 0) {
			streams[i].address[0] = '\0';
			break;
		}
	}
	pthread_mutex_unlock(&lock);
}

struct front_stream *front_stream_open(json_t *message, const char *last_id)
{
	const char *address = json_string_value(json_object_get(message, "address"));
	struct front_stream *stream;

	if (!address || !*address)
		address = "?";
	if (!take_place(address))
		return NULL;
	stream = heap_zalloc(sizeof *stream);
	if (!stream) {
		leave_place(address);
		return NULL;
	}
	snprintf(stream->address, sizeof stream->address, "%s", address);
	stream->message = json_incref(message);
	if (last_id && *last_id && strspn(last_id, "0123456789") == strlen(last_id)) {
		stream->last = strtoull(last_id, NULL, 10);
		stream->begun = true;
	}
	return stream;
}

void front_stream_close(void *context)
{
	struct front_stream *stream = context;

	leave_place(stream->address);
	json_decref(stream->message);
	heap_free(stream);
}

/* False: there is no room for it. */
static bool add_text(struct front_stream *stream, const char *kind, uint64_t id, const char *data)
{
	size_t room = sizeof stream->text - stream->length;
	int length = snprintf(stream->text + stream->length, room,
			      "event: %s\nid: %" PRIu64 "\ndata: %s\n\n", kind, id, data);

	if (length < 0 || (size_t)length >= room)
		return false;
	stream->length += (size_t)length;
	return true;
}

static uint64_t number_of(const json_t *object, const char *name)
{
	return (uint64_t)json_integer_value(json_object_get(object, name));
}

/* What came becomes text; JSON without line ends is one data line. What there is no room for is
 * asked for again. */
static void write_events(struct front_stream *stream, const json_t *body)
{
	const json_t *events = json_object_get(body, "events"), *event;
	size_t index;

	stream->last = number_of(body, "last");
	if (json_is_true(json_object_get(body, "lost")))
		add_text(stream, "lost", stream->last, "{}");
	json_array_foreach((json_t *)events, index, event)
	{
		const char *kind = json_string_value(json_object_get(event, "kind"));
		char *data = json_dumps(event, JSON_COMPACT);
		bool fits = !kind || !data || add_text(stream, kind, number_of(event, "id"), data);

		free(data);
		if (!fits) {
			stream->last = number_of(event, "id") - 1;
			break;
		}
	}
	if (!stream->length) /* a comment: the connection is alive */
		stream->length = (size_t)snprintf(stream->text, sizeof stream->text, ":\n\n");
}

/* The daemon's answer into text; its status, 503 when there is none. */
static int ask(struct front_stream *stream)
{
	struct err err = {0};
	json_t *reply;
	char path[96];
	int status = 503;

	if (stream->begun)
		snprintf(path, sizeof path, WAIT_PATH, stream->last);
	else
		snprintf(path, sizeof path, "/api/v1/events");
	json_object_set_new(stream->message, "path", json_string(path));
	reply = front_relay_waiting(stream->message, &err);
	stream->begun = true;
	stream->length = stream->sent = 0;
	if (reply) {
		status = (int)json_integer_value(json_object_get(reply, "status"));
		if (status == 200)
			write_events(stream, json_object_get(reply, "body"));
	}
	json_decref(reply);
	return status;
}

int front_stream_begin(struct front_stream *stream)
{
	bool asked = stream->begun; /* from an id on: the answer could wait, so only look */
	uint64_t last = stream->last;
	int status;

	stream->begun = false;
	status = ask(stream);
	if (asked)
		stream->last = last;
	stream->length = (size_t)snprintf(stream->text, sizeof stream->text, "retry: 2000\n\n");
	return status;
}

ssize_t front_stream_read(void *context, uint64_t position, char *buffer, size_t size)
{
	struct front_stream *stream = context;
	size_t part;

	(void)position;
	if (stream->sent == stream->length && ask(stream) != 200)
		return FRONT_STREAM_END;
	part = stream->length - stream->sent;
	if (part > size)
		part = size;
	memcpy(buffer, stream->text + stream->sent, part);
	stream->sent += part;
	return (ssize_t)part;
}
