/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEBADMIN_ROUTE_H
#define WEBADMIN_ROUTE_H

#include <stdbool.h>
#include <stddef.h>

/* The one table of API routes: the control socket serves it, help and the API's description are
 * printed from it, the CLI's verbs are checked against it. */

struct api_request;

#define ROUTE_PARAMS_MAX   3
#define ROUTE_PARAM_LENGTH 256 /* bytes of one path parameter, with its end */
#define ROUTE_PATH_MAX     1024

enum role { ROLE_READER, ROLE_OPERATOR, ROLE_ADMIN };

enum route_flags {
	ROUTE_CHANGE = 1, /* changes something: one such request runs at a time, in order */
};

struct route {
	const char *method;
	const char *path; /* segments; "{name}" matches one segment and is a parameter */
	void (*handle)(struct api_request *request);
	enum role role; /* least role that may call it */
	unsigned flags;
	const char *summary;
};

struct route_match {
	const struct route *route;
	char param[ROUTE_PARAMS_MAX][ROUTE_PARAM_LENGTH]; /* percent-decoded, in path order */
	bool path_known; /* without route: the path exists, with other methods */
};

const struct route *route_table(unsigned *ret_count);
/* route_find: hostile input welcome; @path is one without a query. */
void route_find(const char *method, const char *path, struct route_match *ret_match);

#endif
