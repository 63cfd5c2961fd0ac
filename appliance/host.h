/* SPDX-License-Identifier: Apache-2.0 */
#ifndef APPLIANCE_HOST_H
#define APPLIANCE_HOST_H

#include "appliance/cards.h"
#include "appliance/host_update.h"
#include "appliance/report.h"
#include "appliance/settings.h"
#include "core/loop.h"

/* The machine as the helper changes it. Every member is required; 0 or -errno with a sentence.
 * system.c is the real one. Blocking, for seconds at most. */
struct host_ops {
	/* files: what render() makes of @settings, and nothing else of ours. */
	int (*files)(const struct settings *settings, struct err *err);
	/* network: the files are what counts now; links that @before had and @now does not go. */
	int (*network)(const struct settings *before, const struct settings *now, struct err *err);
	/* zone: -EINVAL when there is no such time zone; changes nothing. */
	int (*zone)(const char *zone, struct err *err);
	int (*time)(const struct settings *settings, struct err *err);
	int (*name)(const char *name, struct err *err);
	int (*restart)(struct err *err);
	int (*power_off)(struct err *err);
	int (*update)(struct err *err); /* granary-update does what report.h's folder asks for */
	cards_look *card;
};

/* The helper's memory. Network settings are tried first: unless they are confirmed in time they go
 * back to what they were, for who made them may just have cut himself off. What is on disk is what
 * was confirmed, so a restart or a power cut goes back as well. Context: its loop. */
struct host {
	const struct host_ops *ops;
	const char *path;       /* of the settings' file; borrowed */
	struct settings now;    /* in force */
	struct settings before; /* to go back to while @trial runs */
	struct timer trial;
	uint64_t trial_ns;
	struct host_update update;
};
#define HOST_TRIAL_NS (60 * 1000000000ull)

/* host_open: read the settings (none yet: the defaults), put them into force. A file that can not
 * be read is set aside as PATH.bad, and said in @err with -EUCLEAN: the machine goes on with the
 * defaults. */
int host_open(struct host *host, struct loop *loop, const struct host_ops *ops, const char *path,
	      struct err *err);
void host_close(struct host *host);

/* host_answer: {"method", "path", "body"} -> {"status", "body"}; never NULL but without memory.
 * With "dry_run": true in the body a setting is checked and not made: the body of the answer is
 * {"before", "after"}, what is set and what would be.
 * The caller's uid is known to be root's: it is asked for by who let it in. */
json_t *host_answer(struct host *host, const json_t *message);

/* host_cards: cards_changed() of the network that lasts; they are noted when it is confirmed. */
json_t *host_cards(struct host *host);

extern const struct host_ops host_system;

/* system.c: the packet filter's file (firewall.h), and its unit started on it; the unit alone is
 * not there yet with @early. */
int host_firewall(const char *text, bool early, struct err *err);

#endif
