/* SPDX-License-Identifier: Apache-2.0 */
#ifndef APPLIANCE_ANSWER_H
#define APPLIANCE_ANSWER_H

#include <jansson.h>

#include "core/err.h"

/* The helper's answers: {"status", "body"}; a problem has the shape of RFC 9457. */
json_t *answer(int status, json_t *body); /* steals @body */
json_t *answer_problem(int status, const char *code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
