/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VOLUMES_QOS_H
#define VOLUMES_QOS_H

#include <pthread.h>

#include "volumes/volume.h"

/* Inside volumes/: what stands between volume_submit() and a back end. Two gates, in the order of a
 * request's way:
 *
 * limits  per volume, set by the administrator: a bucket of operations and one of bytes. The gate
 * of a volume that was never limited is one load and a branch. turns   per pool and loop: while
 * requests of several volumes meet on a loop, at most so many are at the back end at a time and the
 * volumes take turns (deficit round robin), so that a deep queue of one delays another by a round,
 * not by the whole queue.
 *
 * A request that waits at a gate can be cancelled. FLUSH and EXTENTS wait at neither: a flush
 * covers what was completed before it, so there is nothing it would have to wait for. */

/* ---- the arithmetic of limits, without time or loops of its own ---- */
struct bucket {
	double rate;   /* tokens a second, 0: no limit */
	double room;   /* most it holds */
	double tokens; /* below zero: a debt that has to be paid off first */
};
/* bucket_refill: @seconds have passed. bucket_wait_ns: until it is above zero; 0: now. */
void bucket_refill(struct bucket *bucket, double seconds);
uint64_t bucket_wait_ns(const struct bucket *bucket);

struct qos;
/* qos_admit: true: @request goes on; false: it waits, and volume_go() is called for it later, on
 * its loop. qos_cancel: true when it waited; it will not go on. */
bool qos_admit(struct qos *qos, struct volume_request *request);
bool qos_cancel(struct volume_request *request);
void qos_free(struct qos *qos); /* nothing waits; NULL is fine */

/* volume.c: a request that passed the limits. */
void volume_go(struct volume_request *request);
/* volume.c: what waited since gate_ns does no more. On its loop. */
void volume_waited(struct volume_request *request);

/* ---- turns ---- */
#define TURNS_REQUESTS 32u        /* at the back end at a time, when volumes meet */
#define TURNS_BYTES    (4u << 20) /* likewise; one request more than that is fine */
#define TURNS_QUANTUM  65536u     /* bytes of one turn */
#define TURNS_MEET_NS  1000000000ull

struct turns;
/* turns_submit: to the back end, now or when its turn comes. turns_cancel: true when it waited. */
void turns_submit(struct turns *turns, struct volume_request *request);
bool turns_cancel(struct volume_request *request);
struct turns *turns_new(void); /* NULL when memory is short: then nobody takes turns */
void turns_free(struct turns *turns);

#endif
