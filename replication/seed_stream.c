/* SPDX-License-Identifier: Apache-2.0 */
#include "replication/seed_stream.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "core/heap.h"

/* What is in a seed: no message that came later. */
#define SEED_VERSION WIRE_VERSION_PACKED

static size_t step_of(const struct seed_bytes *bytes)
{
	return bytes->step ? bytes->step : SEED_STEP;
}

void seed_finish(struct seed *seed)
{
	heap_free(seed->definition);
	seed->definition = NULL;
	digest_finish(&seed->digest);
}

/* ---- reading ---- */
struct reader {
	struct seed_bytes *bytes;
	struct seed_reading *reading;
	struct seed *seed;
	uint8_t *buffer;
	size_t start, end;
	size_t last;   /* length of the frame that was taken last */
	uint64_t from; /* where in the stream the buffer's end is */
	bool over;     /* there is no more behind it */
	struct unpacker unpacker;
};

static int damaged(struct err *err, int error)
{
	return err_set(err, error, "%s",
		       error == -ENODATA ? "the seed ends too early: it is not whole"
		       : error == -EPROTONOSUPPORT
			   ? "the seed is of a later version than this node knows"
		       : error == -EPROTO ? "that is no seed"
					  : "the seed is damaged");
}

static int more(struct reader *reader, struct err *err)
{
	int64_t length;

	memmove(reader->buffer, reader->buffer + reader->start, reader->end - reader->start);
	reader->end -= reader->start;
	reader->start = 0;
	length = reader->bytes->read(reader->bytes, reader->buffer + reader->end,
				     step_of(reader->bytes), reader->from);
	if (length < 0)
		return err_set(err, (int)length, "the seed can not be read: %s",
			       strerror((int)-length));
	reader->end += (size_t)length;
	reader->from += (uint64_t)length;
	reader->over = (size_t)length < step_of(reader->bytes);
	return 0;
}

/* The next frame, borrowed until the next call; 0: there is none, the stream ends here. */
static int next(struct reader *reader, struct wire_message *message, struct err *err)
{
	struct seed *seed = reader->seed;
	int64_t length;
	int result;

	/* What was in the frame before has been found good. */
	seed->at += reader->last;
	seed->frames += reader->last > 0;
	reader->last = 0;
	if (reader->reading->stop && reader->reading->stop(reader->reading))
		return err_set(err, -ECANCELED, "cancelled");
	while ((length = wire_decode(reader->buffer + reader->start, reader->end - reader->start,
				     message)) == 0) {
		if (reader->over)
			return reader->start == reader->end ? 0 : damaged(err, -ENODATA);
		result = more(reader, err);
		if (result < 0)
			return result;
	}
	if (length < 0) /* what begins as no frame is nothing of ours at all */
		return damaged(err, length == -EPROTONOSUPPORT ? (int)length
				    : seed->frames == 0        ? -EPROTO
							       : -EBADMSG);
	if (message->sequence != seed->frames)
		return damaged(err, -EBADMSG);
	reader->start += (size_t)length;
	reader->last = (size_t)length;
	if (reader->reading->progress)
		*reader->reading->progress = seed->at;
	return 1;
}

static int expect(struct reader *reader, enum wire_type type, struct wire_message *message,
		  struct err *err)
{
	int result = next(reader, message, err);

	if (result < 0)
		return result;
	if (result == 0)
		return damaged(err, -ENODATA);
	return message->type == type ? 0
				     : damaged(err, reader->seed->frames == 0 ? -EPROTO : -EBADMSG);
}

static int take_members(struct seed *seed, struct err *err)
{
	json_t *definition = json_loads(seed->definition, 0, NULL), *member;
	size_t at;

	json_array_foreach(json_object_get(definition, "members"), at, member)
	{
		json_int_t index = json_integer_value(json_object_get(member, "index"));
		json_int_t size = json_integer_value(json_object_get(member, "size"));

		if (index >= 0 && index < WIRE_MEMBERS_MAX && size > 0)
			seed->size[index] = (uint64_t)size;
	}
	json_decref(definition);
	for (unsigned i = 0; i < WIRE_MEMBERS_MAX; i++) {
		if (seed->size[i])
			return 0;
	}
	return damaged(err, -EBADMSG);
}

static int read_head(struct reader *reader, struct err *err)
{
	struct seed *seed = reader->seed;
	struct wire_message message;
	int result = expect(reader, WIRE_HELLO, &message, err);

	if (result < 0)
		return result;
	if (message.version > SEED_VERSION)
		return damaged(err, -EPROTONOSUPPORT);
	if (message.epoch == 0 || message.lineage.count == 0)
		return damaged(err, -EPROTO);
	memcpy(seed->node, message.node, 16);
	memcpy(seed->group, message.group, 16);
	seed->epoch = message.epoch;
	seed->lineage = message.lineage;
	result = expect(reader, WIRE_DEFINE, &message, err);
	if (result < 0)
		return result;
	seed->definition =
	    heap_printf("%.*s", (int)message.data_length, (const char *)message.data);
	if (!seed->definition)
		return err_set(err, -ENOMEM, "out of memory");
	result = take_members(seed, err);
	if (result == 0)
		result = expect(reader, WIRE_BEGIN, &message, err);
	if (result == 0 && message.kind != WIRE_BEGIN_SEED)
		result = damaged(err, -EBADMSG);
	return result;
}

/* Each later than the one before it, and within its member. */
static int read_record(struct reader *reader, const struct pack_record *record, struct err *err)
{
	struct seed *seed = reader->seed;
	uint64_t size = record->member < WIRE_MEMBERS_MAX ? seed->size[record->member] : 0;

	if (record->offset > size || record->length > size - record->offset ||
	    record->member < seed->member ||
	    (record->member == seed->member && record->offset < seed->end))
		return damaged(err, -EBADMSG);
	digest_add(&seed->digest, record->member, record->offset, record->length, record->data);
	seed->records++;
	seed->data_bytes += record->data ? record->length : 0;
	seed->member = record->member;
	seed->end = record->offset + record->length;
	return reader->reading->record ? reader->reading->record(reader->reading, record, err) : 0;
}

static int read_packed(struct reader *reader, const struct wire_message *message, struct err *err)
{
	struct pack_record record;
	size_t at = 0;
	int result = unpack(&reader->unpacker, message);

	if (result == -ENOMEM)
		return err_set(err, result, "out of memory");
	while (result == 0 &&
	       (result = pack_next(reader->unpacker.raw, message->length, &at, &record)) == 1) {
		result = read_record(reader, &record, err);
		if (result < 0)
			return result;
	}
	return result < 0 ? damaged(err, -EBADMSG) : 0;
}

static int read_seal(struct reader *reader, const struct wire_message *message, struct err *err)
{
	struct seed *seed = reader->seed;
	uint8_t digest[WIRE_DIGEST];
	struct wire_message behind;
	int result;

	if (!seed->digest.state)
		return err_set(err, -ENOMEM, "out of memory");
	digest_end(&seed->digest, digest);
	digest_finish(&seed->digest);
	if (message->epoch != seed->epoch || message->records != seed->records ||
	    memcmp(digest, message->digest, sizeof digest) != 0)
		return damaged(err, -EBADMSG);
	seed->wall_ns = message->wall_ns;
	result = next(reader, &behind, err);
	if (result < 0 && result != -ENODATA && result != -EBADMSG)
		return result;
	if (result != 0)
		return err_set(err, -EBADMSG, "there is something behind the end of the seed");
	seed->sealed = true;
	return 0;
}

static int read_rest(struct reader *reader, struct err *err)
{
	struct wire_message message;
	int result;

	digest_begin(&reader->seed->digest);
	while ((result = next(reader, &message, err)) == 1) {
		struct pack_record record = {message.member, message.offset, message.length, NULL};

		switch (message.type) {
		case WIRE_WRITE:
			record.data = message.data;
			/* fallthrough */
		case WIRE_ZERO:
			result = read_record(reader, &record, err);
			break;
		case WIRE_PACKED:
			result = read_packed(reader, &message, err);
			break;
		case WIRE_SEAL:
			return read_seal(reader, &message, err);
		default:
			result = damaged(err, -EBADMSG);
		}
		if (result < 0)
			return result;
	}
	return result < 0 ? result : damaged(err, -ENODATA);
}

static int go_through(struct seed_bytes *bytes, struct seed_reading *reading, bool all,
		      struct seed *seed, struct err *err)
{
	struct reader reader = {.bytes = bytes, .reading = reading, .seed = seed};
	int result;

	*seed = (struct seed){0};
	reader.buffer = heap_alloc(WIRE_FRAME_MAX + step_of(bytes));
	if (!reader.buffer)
		return err_set(err, -ENOMEM, "out of memory");
	result = read_head(&reader, err);
	if (result == 0 && all)
		result = read_rest(&reader, err);
	unpacker_close(&reader.unpacker);
	heap_free(reader.buffer);
	return result;
}

int seed_read(struct seed_bytes *bytes, struct seed_reading *reading, struct seed *seed,
	      struct err *err)
{
	return go_through(bytes, reading, true, seed, err);
}

int seed_peek(struct seed_bytes *bytes, struct seed *seed, struct err *err)
{
	struct seed_reading reading = {0};

	return go_through(bytes, &reading, false, seed, err);
}

/* ---- writing ---- */
int seed_writer_open(struct seed_writer *writer, struct seed_bytes *bytes, struct seed *seed,
		     enum pack_kind kind)
{
	*writer = (struct seed_writer){.bytes = bytes, .seed = seed, .at = seed->at};
	writer->out = heap_alloc(step_of(bytes) + WIRE_FRAME_MAX);
	if (writer->out && packer_open(&writer->packer, kind) == 0)
		return 0;
	seed_writer_close(writer);
	return -ENOMEM;
}

void seed_writer_close(struct seed_writer *writer)
{
	packer_close(&writer->packer);
	heap_free(writer->out);
	writer->out = NULL;
}

static int flush_out(struct seed_writer *writer)
{
	int result = writer->used ? writer->bytes->write(writer->bytes, writer->out, writer->used,
							 writer->at)
				  : 0;

	if (result == 0) {
		writer->at += writer->used;
		writer->used = 0;
	}
	return result;
}

static int put(struct seed_writer *writer, struct wire_message *message)
{
	uint8_t head[WIRE_HEAD_MAX];
	size_t length;

	message->sequence = writer->seed->frames++;
	length = wire_encode(message, head);
	memcpy(writer->out + writer->used, head, length);
	if (message->data_length)
		memcpy(writer->out + writer->used + length, message->data, message->data_length);
	writer->used += length + message->data_length;
	writer->seed->at += length + message->data_length;
	return writer->used >= step_of(writer->bytes) ? flush_out(writer) : 0;
}

int seed_begin(struct seed_writer *writer)
{
	struct seed *seed = writer->seed;
	struct wire_message hello = {.type = WIRE_HELLO,
				     .version = SEED_VERSION,
				     .epoch = seed->epoch,
				     .lineage = seed->lineage};
	struct wire_message define = {.type = WIRE_DEFINE,
				      .data = (const uint8_t *)seed->definition,
				      .data_length = strlen(seed->definition)};
	struct wire_message begin = {.type = WIRE_BEGIN, .kind = WIRE_BEGIN_SEED};
	int result;

	if (define.data_length > WIRE_TEXT_MAX)
		return -EMSGSIZE;
	memcpy(hello.node, seed->node, 16);
	memcpy(hello.group, seed->group, 16);
	digest_begin(&seed->digest);
	result = put(writer, &hello);
	if (result == 0)
		result = put(writer, &define);
	return result < 0 ? result : put(writer, &begin);
}

static int put_plain(struct seed_writer *writer, const struct pack_record *record)
{
	struct wire_message message = pack_message(record);

	return put(writer, &message);
}

static int put_packed(struct seed_writer *writer)
{
	struct packer *packer = &writer->packer;
	struct wire_message message = {
	    .type = WIRE_PACKED, .kind = (uint8_t)packer->kind, .length = packer->used};
	struct pack_record record;
	size_t at = 0;
	int result = 0;

	if (packer->used == 0)
		return 0;
	message.data_length = packer_squeeze(packer);
	message.data = packer->packed;
	if (message.data_length)
		result = put(writer, &message);
	else
		while (result == 0 && pack_next(packer->raw, packer->used, &at, &record) == 1)
			result = put_plain(writer, &record);
	packer_clear(packer);
	return result;
}

int seed_record(struct seed_writer *writer, const struct pack_record *record)
{
	struct seed *seed = writer->seed;
	int result;

	digest_add(&seed->digest, record->member, record->offset, record->length, record->data);
	seed->records++;
	seed->data_bytes += record->data ? record->length : 0;
	seed->member = record->member;
	seed->end = record->offset + record->length;
	if (writer->packer.kind == PACK_OFF)
		return put_plain(writer, record);
	if (packer_add(&writer->packer, record))
		return 0;
	result = put_packed(writer);
	return result < 0 || packer_add(&writer->packer, record) ? result : -EMSGSIZE;
}

int seed_seal(struct seed_writer *writer)
{
	struct seed *seed = writer->seed;
	struct wire_message message = {.type = WIRE_SEAL,
				       .epoch = seed->epoch,
				       .wall_ns = seed->wall_ns,
				       .records = seed->records};
	int result = put_packed(writer);

	if (!seed->digest.state)
		return -ENOMEM;
	digest_end(&seed->digest, message.digest);
	if (result == 0)
		result = put(writer, &message);
	if (result == 0)
		result = flush_out(writer);
	seed->sealed = result == 0;
	return result;
}
