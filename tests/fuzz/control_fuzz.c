/* SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/control.h"
#include "core/size.h"
#include "webadmin/route.h"

/* What the control socket does with a stranger's bytes before a handler sees them: the message's
 * JSON, the route of its path, the sizes in its body. */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length);

static void try_texts(json_t *body)
{
	const char *key;
	json_t *value;

	json_object_foreach(body, key, value)
	{
		uint64_t bytes;
		struct err err = {0};

		if (json_is_string(value) &&
		    size_parse(json_string_value(value), &bytes, &err) < 0 && !err.text[0])
			abort(); /* refused without a reason */
	}
}

static void try_route(const char *method, const char *path)
{
	struct route_match match;

	route_find(method, path, &match);
	if (match.route && !match.path_known)
		abort();
	/* What was matched never leaves its segment. */
	if (match.route && strchr(match.route->path, '{') &&
	    (match.param[0][0] == '\0' || strchr(match.param[0], '/')))
		abort();
}

static void try_message(const uint8_t *data, size_t length)
{
	struct err err = {0};
	json_t *message = control_parse(data, length, &err), *body = NULL;
	const char *method, *path;

	if (!message && !err.code)
		abort(); /* refused without a reason */
	if (message && json_unpack(message, "{s:s,s:s,s?:o!}", "method", &method, "path", &path,
				   "body", &body) == 0) {
		try_route(method, path);
		if (json_is_object(body))
			try_texts(body);
	}
	json_decref(message);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length)
{
	char *text = malloc(length + 1);

	if (!text)
		return 0;
	memcpy(text, data, length);
	text[length] = '\0';
	try_message(data, length);
	try_route("GET", text);
	free(text);
	return 0;
}
