/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEBADMIN_HEALTH_H
#define WEBADMIN_HEALTH_H

#include <jansson.h>

struct alerts;
struct webadmin;

/* Inside webadmin/: how the machine's disks say they are, as granary-smart reported last. In
 * memory: after a start nothing is known until it reports again. */
#define HEALTH_DISKS_MAX 1024u
#define HEALTH_STALE_NS  (3 * 3600 * 1000000000ull) /* an older report tells nothing any more */

struct disk_health {
	json_t *disks; /* reports by the kernel's names; NULL: none yet */
	uint64_t heard_ns;
	int64_t heard; /* seconds since 1970 */
};

/* The report of disk @name, borrowed; NULL: there is none, or it is stale. */
const json_t *health_of(struct webadmin *admin, const char *name);
/* Those that fail, or warn. */
void health_look(struct webadmin *admin, struct alerts *alerts, unsigned failing, unsigned warning);
void health_finish(struct webadmin *admin);

#endif
