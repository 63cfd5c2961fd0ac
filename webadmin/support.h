/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEBADMIN_SUPPORT_H
#define WEBADMIN_SUPPORT_H

struct webadmin;

/* Inside webadmin/: a support bundle (support/support.h) that is being made; one at a time. */
struct gather;

/* gather_stop: the daemon stops: what is being gathered is given up, its request is answered.
 * A thread that writes is waited for, seconds; its message is still to be delivered by the loop. */
void gather_stop(struct webadmin *admin);

#endif
