/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEBADMIN_PROVE_H
#define WEBADMIN_PROVE_H

#include <jansson.h>

#include "volumes/prove_load.h"

/* What the proofs of a pool and of a device have in common. */
#define PROVE_SECONDS_DEFAULT 20u
#define PROVE_SECONDS_MAX     600u

/* A member of @object (NULL: nothing is done) for each phase. */
void prove_show_phases(const struct prove_load *load, json_t *object);

#endif
