/* SPDX-License-Identifier: Apache-2.0 */
/* rbd_note.c: a volume's note, which all gateways see (pool.h). It is the omap of the object
 * granary.note.SERIAL: its number and its bytes, changed in one operation that compares the number.
 * In granary.pool, which each gateway reads once a second, stand
 *   note.SERIAL  the number it has now, so that all hear of a change
 *   seen.SERIAL  the one that the gateway that serves the volume goes by; whoever changes the note
 *                without serving the volume waits for that */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/heap.h"
#include "volumes/rbd.h"

#define NUMBER_KEY "number"
#define DATA_KEY   "data"

static void object_of(const struct rbd_volume *volume, char *ret_name, size_t size)
{
	snprintf(ret_name, size, "granary.note.%s", volume->volume.identity.serial);
}

static void key_of(const struct rbd_volume *volume, const char *what, char *ret_key, size_t size)
{
	snprintf(ret_key, size, "%s.%s", what, volume->volume.identity.serial);
}

/* ---- the gate worker */

static int take_value(struct rbd_job *job, const char *key, const char *value, size_t length)
{
	char text[32] = "";

	if (strcmp(key, NUMBER_KEY) == 0 && length < sizeof text) {
		memcpy(text, value, length);
		job->note_number = strtoull(text, NULL, 10);
	} else if (strcmp(key, DATA_KEY) == 0 && length > 0 && length <= VOLUME_NOTE_MAX) {
		heap_free(job->note);
		job->note = heap_zalloc(length);
		if (!job->note)
			return -ENOMEM;
		memcpy(job->note, value, length);
		job->note_length = length;
	}
	return 0;
}

static int read_once(struct rbd_job *job)
{
	const char *keys[] = {NUMBER_KEY, DATA_KEY};
	const size_t lengths[] = {strlen(NUMBER_KEY), strlen(DATA_KEY)};
	rados_omap_iter_t values = NULL;
	rados_read_op_t op;
	char object[RBD_TEXT_MAX], *key, *value;
	size_t key_length, length;
	int result, inner = 0;

	heap_free(job->note);
	job->note = NULL;
	job->note_length = 0;
	job->note_number = 0;
	if (!job->pool->ioctx || !(op = ceph.rados_create_read_op()))
		return -EAGAIN;
	object_of(job->volume, object, sizeof object);
	ceph.rados_read_op_omap_get_vals_by_keys2(op, keys, 2, lengths, &values, &inner);
	result = ceph.rados_read_op_operate(op, job->pool->ioctx, object, 0);
	if (result == 0)
		result = inner;
	while (result == 0 &&
	       ceph.rados_omap_get_next2(values, &key, &value, &key_length, &length) == 0 && key)
		result = take_value(job, key, value, length);
	if (values)
		ceph.rados_omap_get_end(values);
	ceph.rados_release_read_op(op);
	return result == -ENOENT ? 0 : result;
}

static void number_text(uint64_t number, char ret_text[32])
{
	if (number)
		snprintf(ret_text, 32, "%llu", (unsigned long long)number);
	else
		ret_text[0] = '\0'; /* what a key that is not there is compared as */
}

static int announce(struct rbd_job *job)
{
	char key[RBD_TEXT_MAX], text[32];

	key_of(job->volume, "note", key, sizeof key);
	number_text(job->note_number, text);
	return rbd_set_text(job->pool, key, text);
}

/* Whoever wrote it may have ended before it was announced, and nobody else would hear of it. It may
 * change meanwhile, and what is announced never is older than what whoever reads it last finds. */
static int read_note(struct rbd_job *job)
{
	uint64_t *heard = &job->volume->note_heard;
	int result = read_once(job);

	while (result == 0 && job->note_number != __atomic_load_n(heard, __ATOMIC_ACQUIRE)) {
		uint64_t number = job->note_number;

		result = announce(job);
		if (result == 0)
			__atomic_store_n(heard, number, __ATOMIC_RELEASE);
		if (result == 0)
			result = read_once(job);
	}
	return result;
}

/* The first one needs the object. */
static int make_object(struct rbd_pool *pool, const char *object)
{
	rados_write_op_t op = ceph.rados_create_write_op();
	int result;

	if (!op)
		return -ENOMEM;
	ceph.rados_write_op_create(op, LIBRADOS_CREATE_IDEMPOTENT, NULL);
	result = ceph.rados_write_op_operate(op, pool->ioctx, object, NULL, 0);
	ceph.rados_release_write_op(op);
	return result;
}

static int compare_and_set(struct rbd_job *job, const char *object)
{
	char before[32], after[32];
	const char *keys[] = {NUMBER_KEY, DATA_KEY};
	const char *values[] = {after, (const char *)job->note};
	size_t key_lengths[] = {strlen(NUMBER_KEY), strlen(DATA_KEY)}, lengths[2];
	rados_write_op_t op = ceph.rados_create_write_op();
	int result;

	if (!op)
		return -ENOMEM;
	number_text(job->note_number, before);
	number_text(job->note_number + 1, after);
	lengths[0] = strlen(after);
	lengths[1] = job->note_length;
	ceph.rados_write_op_omap_cmp2(op, NUMBER_KEY, LIBRADOS_CMPXATTR_OP_EQ, before,
				      strlen(NUMBER_KEY), strlen(before), NULL);
	ceph.rados_write_op_omap_set2(op, keys, values, key_lengths, lengths, 2);
	result = ceph.rados_write_op_operate(op, job->pool->ioctx, object, NULL, 0);
	ceph.rados_release_write_op(op);
	return result == -ECANCELED ? -ESTALE : result;
}

static int write_note(struct rbd_job *job)
{
	char object[RBD_TEXT_MAX];
	int result;

	if (!job->pool->ioctx)
		return -EAGAIN;
	object_of(job->volume, object, sizeof object);
	result = job->note_number ? 0 : make_object(job->pool, object);
	if (result == 0)
		result = compare_and_set(job, object);
	if (result < 0)
		return result;
	job->note_number++;
	return announce(job);
}

static int write_seen(struct rbd_job *job)
{
	char key[RBD_TEXT_MAX], text[32];

	if (!job->pool->ioctx || volume_standby(&job->volume->volume))
		return -EAGAIN;
	key_of(job->volume, "seen", key, sizeof key);
	number_text(job->note_number, text);
	return rbd_set_text(job->pool, key, text);
}

void rbd_note_heard(struct rbd_volume *volume, const char *key, const char *value)
{
	uint64_t number = strtoull(value, NULL, 10);

	if (strncmp(key, "note.", 5) == 0 && strcmp(key + 5, volume->volume.identity.serial) == 0)
		__atomic_store_n(&volume->note_heard, number, __ATOMIC_RELEASE);
	if (strncmp(key, "seen.", 5) == 0 && strcmp(key + 5, volume->volume.identity.serial) == 0)
		__atomic_store_n(&volume->seen_heard, number, __ATOMIC_RELEASE);
}

void rbd_note_erase(struct rbd_volume *volume)
{
	char text[RBD_TEXT_MAX];

	object_of(volume, text, sizeof text);
	if (ceph.rados_remove(volume->pool->ioctx, text) == -ENOENT)
		return; /* there was none */
	key_of(volume, "note", text, sizeof text);
	rbd_set_text(volume->pool, text, "");
	key_of(volume, "seen", text, sizeof text);
	rbd_set_text(volume->pool, text, "");
}

/* ---- the home loop */

static void deliver(struct message *message)
{
	struct volume_note_call *call = container_of(message, struct volume_note_call, message);

	call->done(call, call->call.result);
}

static void answered(struct pool_call *base, int result)
{
	struct volume_note_call *call = container_of(base, struct volume_note_call, call);

	call->call.result = result;
	loop_post(call->loop, &call->message, deliver);
}

static void was_read(struct rbd_job *job)
{
	if (job->call && job->result == 0) {
		struct volume_note_call *call =
		    container_of(job->call, struct volume_note_call, call);

		call->number = job->note_number;
		call->data = job->note;
		call->length = job->note_length;
		job->note = NULL;
	}
	rbd_job_end(job, job->result);
}

static void was_written(struct rbd_job *job)
{
	if (job->call && job->result == 0)
		container_of(job->call, struct volume_note_call, call)->number = job->note_number;
	if (job->result == 0 && volume_standby(&job->volume->volume))
		job->waits_for_seen = true; /* the tick answers */
	else
		rbd_job_end(job, job->result);
}

static void was_seen(struct rbd_job *job)
{
	rbd_job_end(job, job->result);
}

void rbd_note_answer(struct rbd_pool *pool)
{
	list_for_each_safe (it, &pool->jobs) {
		struct rbd_job *job = list_entry(it, struct rbd_job, link);

		if (job->waits_for_seen &&
		    (!job->call || pool->closing || !volume_standby(&job->volume->volume) ||
		     __atomic_load_n(&job->volume->seen_heard, __ATOMIC_ACQUIRE) >=
			 job->note_number))
			rbd_job_end(job, 0);
	}
}

static int copy_of_note(struct rbd_job *job, const struct volume_note_call *call)
{
	if (call->length == 0 || call->length > VOLUME_NOTE_MAX)
		return -EINVAL;
	job->note = heap_zalloc(call->length);
	if (!job->note)
		return -ENOMEM;
	memcpy(job->note, call->data, call->length);
	job->note_length = call->length;
	return 0;
}

static void begin(struct message *message)
{
	struct volume_note_call *call = container_of(message, struct volume_note_call, message);
	struct rbd_volume *volume = (struct rbd_volume *)call->volume;
	struct rbd_job *job;
	int result = 0;

	call->call = (struct pool_call){.done = answered};
	job = rbd_job_new(volume->pool, volume, &call->call);
	if (!job)
		return;
	job->note_number = call->kind == VOLUME_NOTE_GET ? 0 : call->number;
	if (volume->gone || volume->pool->closing || volume->pool->rejoining)
		result = -EAGAIN;
	else if (call->kind == VOLUME_NOTE_SET)
		result = copy_of_note(job, call);
	if (result < 0)
		rbd_job_end(job, result);
	else if (call->kind == VOLUME_NOTE_GET)
		rbd_job_gate(job, read_note, was_read);
	else if (call->kind == VOLUME_NOTE_SET)
		rbd_job_gate(job, write_note, was_written);
	else
		rbd_job_gate(job, write_seen, was_seen);
}

void rbd_volume_note(struct volume *volume, struct volume_note_call *call)
{
	call->loop = loop_current();
	call->volume = volume;
	loop_post(((struct rbd_volume *)volume)->pool->home, &call->message, begin);
}
