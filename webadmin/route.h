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

/* In order of rights: each may do what those before it may, but for replication, which may do what
 * is ROUTE_REPLICA and no more. */
enum role {
	ROLE_NOBODY,      /* who has not signed in */
	ROLE_REPLICATION, /* looks at replication groups and moves them: for a cluster manager */
	ROLE_VIEWER,      /* sees everything but secrets */
	ROLE_PROVISIONER, /* makes and shares volumes */
	ROLE_OPERATOR,    /* keeps the box running */
	ROLE_ADMIN
};
const char *role_name(enum role role);
bool role_parse(const char *name, enum role *ret_role);
struct route;
bool role_may(enum role role, const struct route *route);
/* Why a change has no ?dry_run=1; NULL: it has one, or is no change. */
const char *route_no_dry(const struct route *route);

enum route_flags {
	ROUTE_CHANGE = 1,     /* changes something: one such request runs at a time, in order */
	ROUTE_TEXT = 2,       /* the reply is text, not JSON */
	ROUTE_AUDIT = 8,      /* no change, but it goes to the audit log like one */
	ROUTE_SECRET = 16,    /* body or reply hold secrets: answers are not kept for replays */
	ROUTE_CONFIRM = 32,   /* a session has to give its password again within 5 minutes before */
	ROUTE_DRY = 64,       /* ?dry_run=1 shows what would be done */
	ROUTE_STILL = 128,    /* refused while the volume is on its way to another pool */
	ROUTE_FILE = 256,     /* the reply is a file: base64 on the socket, bytes over HTTPS */
	ROUTE_BYTES = 512,    /* the body is bytes: over HTTPS as they are, else base64 in "data" */
	ROUTE_PAGED = 4,      /* a list that takes ?limit= and ?cursor= */
	ROUTE_REPLICA = 1024, /* also for the role replication */
	ROUTE_DOCUMENT = 4096, /* over HTTPS YAML too; its handler compares If-Match */
	/* As ROUTE_DRY, and what would be different is a DryRun: api_reply_dry() */
	ROUTE_DRY_DIFF = 2048 | ROUTE_DRY,
};

/* The body of a request, and what is said of a reply: one row per member. */
enum field_type {
	FIELD_TEXT = 1,
	FIELD_NUMBER, /* integer >= 0 */
	FIELD_SIZE,   /* bytes, or a text such as "20G" */
	FIELD_SWITCH,
	FIELD_REAL,
	FIELD_TEXTS,   /* array of texts */
	FIELD_DEVICES, /* array of paths or {"path", "size"} */
	FIELD_OBJECTS, /* array of objects */
	FIELD_NUMBERS, /* array of integers; replies only */
	FIELD_LISTS,   /* array of arrays of numbers; replies only */
	FIELD_OBJECT
};

struct route_field {
	const char *name; /* NULL ends the list */
	enum field_type type;
	bool required;
	const char *summary;
};

struct route {
	const char *method;
	const char *path; /* segments; "{name}" matches one segment and is a parameter */
	void (*handle)(struct api_request *request);
	enum role role; /* least role that may call it */
	unsigned flags;
	const char *summary;
	const struct route_field *body; /* NULL: takes none; any other member is refused */
	const char *answer; /* the reply's schema (openapi.c), "Volume" or "[Volume]"; NULL: free */
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
