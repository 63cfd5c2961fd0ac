/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_YAML_H
#define CORE_YAML_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "core/err.h"

/* YAML as far as documents of people use it, read as JSON and written from it. One document;
 * members with plain names, none twice; no anchors, aliases or tags, so that a small text stays a
 * small value; bounded in depth and number. Who calls it links libyaml. Context: any. */
struct yaml_rules {
	/* What a scalar without quotes is. core: by the core schema of YAML 1.2 (no and 012 are
	 * a text and twelve). Else as files of cloud-init have it: yes, no, on and off are truth
	 * values, and numbers are decimal ones without a leading zero. */
	bool core;
	unsigned depth_max, values_max;
	/* Optional, with core: a scalar in this member, or in its list, is a text, whatever it
	 * looks like; only one that is null is refused. */
	bool (*is_text)(const char *member);
};

/* yaml_read: the value, new; an empty document is an empty object. NULL with a sentence that begins
 * with line and column, and where known says the path, as "volumes[3].name".
 * @lines: NULL, or an object that gets the line of each path. */
json_t *yaml_read(const char *text, size_t length, const struct yaml_rules *rules, json_t *lines,
		  struct err *err);

/* yaml_write: texts are quoted where a reader of YAML 1.1 or 1.2 could take them for another thing.
 * -EIO, -ENOMEM. */
int yaml_write(const json_t *value, FILE *file) __attribute__((warn_unused_result));

#endif
