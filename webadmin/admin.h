/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEBADMIN_ADMIN_H
#define WEBADMIN_ADMIN_H

#include "webadmin/model.h"
#include "webadmin/webadmin.h"

/* Inside webadmin/: the administration itself. */
struct webadmin {
	struct webadmin_options options;
	struct model model;
	struct list changes;        /* ROUTE_CHANGE requests that wait for their turn */
	struct api_request *change; /* the one that runs */
	uint64_t started_wall_ns;

	/* start.c: bringing up and taking down */
	unsigned pending, failures;
	void (*started)(void *context);
	void (*stopped)(void *context, unsigned failures);
	void *phase_context;
	const char *phase;                    /* NULL: running */
	void (*idle)(struct webadmin *admin); /* once, when no change runs any more */
};

/* start.c: serve the LUNs of a pool that has come back. */
void webadmin_start_luns(struct webadmin *admin, const char *pool);

#endif
