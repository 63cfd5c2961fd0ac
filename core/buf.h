/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_BUF_H
#define CORE_BUF_H

#include <stddef.h>
#include <stdint.h>

/* The one kind of I/O buffer: contiguous, 4 KiB aligned, from a per-loop pool of power-of-two
 * classes 4 KiB .. 1 MiB. Not zeroed. A buffer goes back to the pool of the loop it came from,
 * on that loop. The pool keeps to its budget (docs/LIMITS.md): over it buf_get() is NULL and
 * the caller waits with buf_wait() or answers busy. */
struct buf_pool;
struct buf {
	void *data;
	size_t size;          /* class size, bytes */
	uint32_t refs;        /* on one loop only: not atomic */
	uint32_t class_index; /* private */
	struct buf_pool *pool;
	struct buf *next; /* private, and the holder's while held */
};

#define BUF_MAX (1u << 20)

int buf_pool_create(size_t budget_bytes, struct buf_pool **ret_pool);
void buf_pool_destroy(struct buf_pool *pool);            /* every buffer must be back */
struct buf *buf_get(struct buf_pool *pool, size_t size); /* size <= BUF_MAX; refs = 1 */
struct buf *buf_ref(struct buf *buf);
void buf_unref(struct buf *buf);                   /* NULL is fine */
size_t buf_pool_used(const struct buf_pool *pool); /* bytes handed out */
void buf_pool_set_budget(struct buf_pool *pool, size_t budget_bytes);
/* buf_pool_set_loop: wake waiters from @loop's deferred work; without a loop they are called
 * inside buf_unref(). */
struct loop;
void buf_pool_set_loop(struct buf_pool *pool, struct loop *loop);

/* buf_wait: call @ready once, on this loop, when buffers have come back. */
struct buf_waiter {
	struct buf_waiter *next;
	void (*ready)(struct buf_waiter *waiter);
};
void buf_wait(struct buf_pool *pool, struct buf_waiter *waiter);

#endif
