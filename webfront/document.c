/* SPDX-License-Identifier: Apache-2.0 */
#include "core/document.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "webfront/webfront.h"

/* The configuration as YAML over HTTPS. Here and not in the daemon: a text of somebody's is parsed
 * by the process that has no rights, and the daemon gets the JSON it would have got anyway. */
#define PATH "/api/v1/configuration"

static const char *const types[] = {"application/yaml", "application/x-yaml", "text/yaml"};

bool front_is_document(const char *target)
{
	size_t length = sizeof PATH - 1;

	return target && strncmp(target, PATH, length) == 0 &&
	       (!target[length] || target[length] == '?');
}

static bool ends_here(char c)
{
	return !c || strchr(";, \t", c);
}

bool front_is_yaml(const char *type)
{
	for (unsigned i = 0; type && i < sizeof types / sizeof *types; i++) {
		size_t length = strlen(types[i]);

		if (strncasecmp(type, types[i], length) == 0 && ends_here(type[length]))
			return true;
	}
	return false;
}

bool front_wants_yaml(const char *accept)
{
	/* Who names it is given it; no weights: a browser does not name it. */
	for (; accept; accept = strchr(accept, ',')) {
		accept += strspn(accept, ", \t");
		if (front_is_yaml(accept))
			return true;
	}
	return false;
}

/* ?prune=1 stands in for the member beside the document. */
static bool wants_prune(const char *target)
{
	for (const char *at = strchr(target, '?'); at; at = strchr(at, '&')) {
		at++;
		if (strncmp(at, "prune", 5) == 0 &&
		    (!at[5] || at[5] == '&' || strncmp(at + 5, "=1", 2) == 0 ||
		     strncmp(at + 5, "=true", 5) == 0))
			return true;
	}
	return false;
}

json_t *front_document_read(const struct front_request *request, struct err *err)
{
	json_t *document = yaml_read(request->body, request->length, &document_rules, NULL, err);

	if (json_is_object(document) && json_object_size(document) > 0)
		return json_pack("{s:o,s:b}", "document", document, "prune",
				 wants_prune(request->target));
	if (document)
		err_set(err, -EINVAL, "line 1: this is no document: it has no members");
	json_decref(document);
	return NULL;
}

char *front_document_write(const json_t *document, size_t *ret_length)
{
	char *text = NULL;
	FILE *file = open_memstream(&text, ret_length);
	int result;

	if (!file)
		return NULL;
	result = yaml_write(document, file);
	if (fclose(file) == 0 && result == 0)
		return text;
	free(text);
	return NULL;
}
