/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_DOCUMENT_H
#define CORE_DOCUMENT_H

#include "core/yaml.h"

/* The document of the whole configuration (GET /api/v1/configuration) as YAML: the command line and
 * the web front read it by the same rules, so that one text is one document. Who uses them links
 * libyaml. */
extern const struct yaml_rules document_rules;

#endif
