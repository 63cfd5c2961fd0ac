/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_HEAP_H
#define CORE_HEAP_H

#include <stddef.h>

/* Allocation for everything that is not I/O buffers (see buf.h). NULL when memory is short:
 * the caller answers -ENOMEM; nothing here aborts. Nothing on the I/O path calls these per
 * request. Tests make the Nth allocation fail with heap_fail_after(). Context: any. */

void *heap_alloc(size_t size) __attribute__((malloc, warn_unused_result));
void *heap_zalloc(size_t size) __attribute__((malloc, warn_unused_result)); /* zeroed */
void *heap_zalloc_array(size_t count, size_t size) __attribute__((malloc, warn_unused_result));
void *heap_aligned(size_t alignment, size_t size) __attribute__((warn_unused_result)); /* zeroed */
/* heap_scratch: likewise, but with whatever is there: of a buffer that is filled before it is
 * read. */
void *heap_scratch(size_t alignment, size_t size) __attribute__((warn_unused_result));
void *heap_resize(void *memory, size_t size) __attribute__((warn_unused_result));
char *heap_strdup(const char *text) __attribute__((warn_unused_result));
char *heap_printf(const char *format, ...)
    __attribute__((format(printf, 1, 2), warn_unused_result));
void heap_free(void *memory); /* NULL is fine */
/* heap_wipe: heap_free() of what may hold a secret: nothing of it is left. Of what malloc() gave to
 * others too. */
void heap_wipe(void *memory);

/* heap_fail_after: let @count allocations succeed, then fail every one until
 * heap_fail_after(-1). Tests only; not thread-safe by intent. */
void heap_fail_after(long count);

#endif
