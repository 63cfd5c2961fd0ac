/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_EXPORTS_H
#define CLI_EXPORTS_H

#include <jansson.h>

#include "core/err.h"

/* exports_parse: the text of an exports(5) file as a list of {"name", "rules"}: the share that a
 * path stands for (its last component, as which it is mounted: /NAME) and its rules as the API has
 * them; "path" is set where the file says a longer one. Lines of one path are one entry. NULL, and
 * @err with the line and what is wrong with it: what can not be kept as it is meant is refused,
 * never left out. Pure. */
#define EXPORTS_LENGTH_MAX (1u << 20) /* bytes of a file */
json_t *exports_parse(const char *text, struct err *err);

#endif
