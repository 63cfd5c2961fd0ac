/* SPDX-License-Identifier: Apache-2.0 */
#include "core/heap.h"

#include <malloc.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static atomic_long allocations_left = -1; /* -1: no limit */

void heap_fail_after(long count)
{
	atomic_store(&allocations_left, count);
}

static bool allocation_allowed(void)
{
	long left = atomic_load_explicit(&allocations_left, memory_order_relaxed);

	if (left < 0)
		return true;
	if (left == 0)
		return false;
	atomic_store(&allocations_left, left - 1);
	return true;
}

void *heap_alloc(size_t size)
{
	return allocation_allowed() ? malloc(size ? size : 1) : NULL;
}

void *heap_zalloc(size_t size)
{
	return heap_zalloc_array(1, size ? size : 1);
}

void *heap_zalloc_array(size_t count, size_t size)
{
	size_t total;

	if (!allocation_allowed() || __builtin_mul_overflow(count, size, &total))
		return NULL;
	return calloc(1, total ? total : 1);
}

void *heap_scratch(size_t alignment, size_t size)
{
	void *memory = NULL;

	if (!allocation_allowed() || posix_memalign(&memory, alignment, size ? size : 1) != 0)
		return NULL;
	return memory;
}

void *heap_aligned(size_t alignment, size_t size)
{
	void *memory = heap_scratch(alignment, size);

	if (memory)
		memset(memory, 0, size);
	return memory;
}

void *heap_resize(void *memory, size_t size)
{
	return allocation_allowed() ? realloc(memory, size ? size : 1) : NULL;
}

char *heap_strdup(const char *text)
{
	size_t size = strlen(text) + 1;
	char *copy = heap_alloc(size);

	if (copy)
		memcpy(copy, text, size);
	return copy;
}

char *heap_printf(const char *format, ...)
{
	va_list args;
	char *text;
	int length;

	va_start(args, format);
	length = vsnprintf(NULL, 0, format, args);
	va_end(args);
	if (length < 0)
		return NULL;
	text = heap_alloc((size_t)length + 1);
	if (!text)
		return NULL;
	va_start(args, format);
	vsnprintf(text, (size_t)length + 1, format, args);
	va_end(args);
	return text;
}

void heap_free(void *memory)
{
	free(memory);
}

void heap_wipe(void *memory)
{
	if (memory)
		explicit_bzero(memory, malloc_usable_size(memory));
	free(memory);
}
