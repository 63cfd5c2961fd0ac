/* SPDX-License-Identifier: Apache-2.0 */
#ifndef APPLIANCE_RENDER_H
#define APPLIANCE_RENDER_H

#include "appliance/settings.h"

/* Configuration files of the host's services from @settings. All of them lie in a run-time folder
 * and are written anew at each start: the settings are what lasts.
 *   systemd/network/10-granary-NAME.netdev, .network   systemd.netdev(5), systemd.network(5)
 *   granary/time.sources                               chrony.conf(5), "sourcedir"
 * write() gets each file's path below that folder; an error of it ends the call and is returned. */
int render(const struct settings *settings,
	   int (*write)(void *context, const char *path, const char *text, struct err *err),
	   void *context, struct err *err) __attribute__((warn_unused_result));

/* What all files of the network begin with, and the folder they are in. */
#define RENDER_NETWORK "systemd/network"
#define RENDER_PREFIX  "10-granary-"

#endif
