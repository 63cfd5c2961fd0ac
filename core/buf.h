/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_BUF_H
#define CORE_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The one kind of I/O buffer: contiguous, 4 KiB aligned, from a per-loop pool of power-of-two
 * classes 4 KiB .. 1 MiB. Not zeroed. A buffer goes back to the pool of the loop it came from,
 * on that loop. The pool keeps to its budget (docs/LIMITS.md): over it buf_get() is NULL and
 * the caller waits with buf_wait() or answers busy. */
struct buf_pool;

/* What a buffer is for. Who waits for one may hold buffers of earlier stages only, and be waited
 * for by their holders; what it got it gives back without waiting for one of its own stage or an
 * earlier one. Each stage has BUF_MAX bytes beside the budget that nobody but the one who waits
 * longest in it can have. So the last stage gets on whatever the earlier ones hold, with it the
 * one before, and everybody who waits has a turn, large buffers behind small ones too. */
enum buf_stage {
	BUF_FOR_INPUT,   /* what comes in or is asked for; nothing is held */
	BUF_FOR_COMMAND, /* a command that runs, and may have its data, and others behind it */
	BUF_FOR_FILE,    /* a round of a file's blocks, which are locked */
	BUF_FOR_BATCH,   /* all pieces of an atomic write */
	BUF_FOR_PIECE,   /* one piece of a volume's request */
	BUF_STAGES,
};

struct buf_owner;
struct buf {
	void *data;
	size_t size;          /* class size, bytes */
	uint32_t refs;        /* on one loop only: not atomic */
	uint16_t class_index; /* private */
	uint16_t share;       /* private: 0 of the budget, else of a stage's own */
	struct buf_pool *pool;
	struct buf_owner *owner; /* private: who it counts for; may be NULL */
	struct buf *next;        /* private, and the holder's while held */
};

#define BUF_MAX (1u << 20)

int buf_pool_create(size_t budget_bytes, struct buf_pool **ret_pool);
void buf_pool_destroy(struct buf_pool *pool);            /* every buffer must be back */
struct buf *buf_get(struct buf_pool *pool, size_t size); /* size <= BUF_MAX; refs = 1 */
/* buf_get_for: likewise, for @owner (an address that is only compared; NULL: nobody): NULL also
 * when
 * @owner would have more than it leaves to all others, or has somebody waiting. So one whose
 * buffers never come back has half of the budget in the end, two of them a third each, and there
 * is always something left. For who holds nothing yet; what is needed to go on is nobody's. */
struct buf *buf_get_for(struct buf_pool *pool, const void *owner, size_t size);
struct buf *buf_ref(struct buf *buf);
void buf_unref(struct buf *buf);                   /* NULL is fine */
size_t buf_pool_used(const struct buf_pool *pool); /* bytes handed out, the stages' own too */
void buf_pool_set_budget(struct buf_pool *pool, size_t budget_bytes);
/* buf_pool_set_loop: waiters are called from @loop's deferred work. Before the first waits. */
struct loop;
void buf_pool_set_loop(struct buf_pool *pool, struct loop *loop);

/* buf_wait: after buf_get() or buf_get_for() found none: call @ready once, on this loop, with a
 * buffer of @size, which is the caller's. In a stage those who wait are served in the order of
 * their coming, but smaller ones meanwhile with what is too small for those before them, and
 * others' past those whose owner has its part.
 * buf_wait_cancel: @ready will not be called. True: it would have been. */
struct buf_waiter {
	struct buf_waiter *next; /* private */
	size_t size;
	const void *owner;
	enum buf_stage stage;
	void (*ready)(struct buf_waiter *waiter, struct buf *buf);
};
void buf_wait(struct buf_pool *pool, struct buf_waiter *waiter);
bool buf_wait_cancel(struct buf_pool *pool, struct buf_waiter *waiter);

#endif
