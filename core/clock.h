/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_CLOCK_H
#define CORE_CLOCK_H

#include <stddef.h>
#include <stdint.h>

#include "core/loop.h"

/* The clocks and random bytes of the real worlds. Private to core/. */
uint64_t clock_monotonic(struct loop *loop);
uint64_t clock_wall(struct loop *loop);
void clock_random(struct loop *loop, void *buffer, size_t length);

#endif
