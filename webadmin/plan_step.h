/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEBADMIN_PLAN_STEP_H
#define WEBADMIN_PLAN_STEP_H

#include <jansson.h>
#include <stdbool.h>

#include "core/err.h"

/* Inside the planning of a document (plan.h): what its topics have in common. */
struct plan {
	json_t *steps;
	const json_t *volumes; /* that are there */
	char where[64];        /* what is looked at: "volumes[3]" */
	struct err *err;
	bool failed;
};

/* A member that is a text, else "". */
const char *plan_text(const json_t *object, const char *name);
/* A member that is a list of objects, empty when it is not there; borrowed. */
const json_t *plan_list(struct plan *plan, const json_t *object, const char *name);
/* The object of @list whose texts @a and @b (NULL: only @a) are those of @like. */
json_t *plan_find(const json_t *list, const json_t *like, const char *a, const char *b);

/* plan_look_at: what a refusal is about from now on. plan_refuse: the first one counts. */
void plan_look_at(struct plan *plan, const char *list, size_t index);
void plan_refuse(struct plan *plan, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* One more step: @method of @pattern, in which each "%" is the next of @parts, encoded. Steals
 * @body (NULL: none). */
#define PARTS(...) ((const char *const[]){__VA_ARGS__, NULL})
void plan_step(struct plan *plan, const char *method, const char *pattern, const char *const *parts,
	       json_t *body, const char *format, ...) __attribute__((format(printf, 6, 7)));

/* plan_settings.c: what watches over the box (rules and channels of alerts, slow commands, the
 * UPS), and what is noted of objects, which are there by then. */
void plan_settings(struct plan *plan, const json_t *now, const json_t *wanted);

#endif
