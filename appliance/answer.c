/* SPDX-License-Identifier: Apache-2.0 */
#include "appliance/answer.h"

#include <stdarg.h>
#include <stdio.h>

#include "core/control.h"

static const char *title_of(int status)
{
	static const struct {
		int status;
		const char *title;
	} titles[] = {{400, "Bad Request"},
		      {404, "Not Found"},
		      {409, "Conflict"},
		      {422, "Unprocessable Content"},
		      {500, "Internal Server Error"},
		      {507, "Insufficient Storage"}};

	for (unsigned i = 0; i < sizeof titles / sizeof *titles; i++) {
		if (titles[i].status == status)
			return titles[i].title;
	}
	return "Error";
}

json_t *answer(int status, json_t *body)
{
	return json_pack("{s:i,s:o}", "status", status, "body", body);
}

json_t *answer_problem(int status, const char *code, const char *format, ...)
{
	char detail[500];
	va_list values;

	va_start(values, format);
	vsnprintf(detail, sizeof detail, format, values);
	va_end(values);
	return answer(status, json_pack("{s:s,s:s,s:i,s:o,s:s}", "type", "about:blank", "title",
					title_of(status), "status", status, "detail",
					control_text(detail), "code", code));
}
