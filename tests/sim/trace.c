/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/trace.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEADER 16u
#define VOLUME 24u
#define EVENT  24u

static uint64_t little(const uint8_t *from, unsigned bytes)
{
	uint64_t value = 0;

	while (bytes-- > 0)
		value = value << 8 | from[bytes];
	return value;
}

static uint8_t *read_file(const char *path, size_t *ret_size)
{
	FILE *file = fopen(path, "r");
	uint8_t *bytes = NULL;
	long size = -1;

	if (file && fseek(file, 0, SEEK_END) == 0)
		size = ftell(file);
	if (size > 0 && fseek(file, 0, SEEK_SET) == 0)
		bytes = malloc((size_t)size);
	if (bytes && fread(bytes, 1, (size_t)size, file) != (size_t)size) {
		free(bytes);
		bytes = NULL;
	}
	if (file)
		fclose(file);
	*ret_size = bytes ? (size_t)size : 0;
	return bytes;
}

static const char *read_volumes(struct trace *trace, size_t size)
{
	if (size < HEADER || memcmp(trace->bytes, TRACE_MAGIC, 8) != 0)
		return "not a trace";
	trace->volumes = (unsigned)little(trace->bytes + 8, 4);
	if (trace->volumes < 1 || trace->volumes > TRACE_VOLUMES ||
	    size < HEADER + (size_t)trace->volumes * VOLUME)
		return "a bad number of volumes";
	for (unsigned i = 0; i < trace->volumes; i++) {
		const uint8_t *row = trace->bytes + HEADER + (size_t)i * VOLUME;

		trace->size[i] = little(row, 8);
		memcpy(trace->name[i], row + 8, 16);
	}
	return NULL;
}

static const char *check_event(const struct trace *trace, const struct trace_event *event)
{
	bool changes = event->kind == TRACE_WRITE || event->kind == TRACE_DISCARD;

	if (!strchr("WDFAM", (int)event->kind))
		return "an event of no known kind";
	if (event->volume >= trace->volumes)
		return "an event of a volume that is not there";
	if (changes && (event->length == 0 || event->offset + event->length < event->offset ||
			event->offset + event->length > trace->size[event->volume]))
		return "a command beyond its volume";
	if (event->kind == TRACE_WRITE && (event->payload == 0 || event->length % event->payload))
		return "a write without its data";
	return NULL;
}

static const char *read_events(struct trace *trace, size_t size)
{
	size_t at = HEADER + (size_t)trace->volumes * VOLUME, room = 0;

	while (at < size) {
		const uint8_t *from = trace->bytes + at;
		struct trace_event *event;
		const char *wrong;

		if (trace->count == room) {
			struct trace_event *more;

			room = room ? room * 2 : 4096;
			more = realloc(trace->events, room * sizeof(*more));
			if (!more)
				return "no memory";
			trace->events = more;
		}
		if (size - at < EVENT || size - at - EVENT < little(from + 20, 4))
			return "cut off";
		event = &trace->events[trace->count++];
		*event = (struct trace_event){
		    .kind = (enum trace_kind)from[0],
		    .volume = from[1],
		    .flags = (unsigned)little(from + 2, 2),
		    .id = (uint32_t)little(from + 4, 4),
		    .offset = little(from + 8, 8),
		    .length = (uint32_t)little(from + 16, 4),
		    .payload = (uint32_t)little(from + 20, 4),
		    .data = from + EVENT,
		};
		wrong = check_event(trace, event);
		if (wrong)
			return wrong;
		if (event->id >= trace->ids)
			trace->ids = event->id + 1;
		at += EVENT + event->payload;
	}
	return trace->count ? NULL : "empty";
}

const char *trace_load(struct trace *trace, const char *path)
{
	const char *wrong;
	size_t size;

	*trace = (struct trace){.bytes = read_file(path, &size)};
	if (!trace->bytes)
		return "can not be read";
	wrong = read_volumes(trace, size);
	return wrong ? wrong : read_events(trace, size);
}

void trace_finish(struct trace *trace)
{
	free(trace->events);
	free(trace->bytes);
	*trace = (struct trace){0};
}
