/* SPDX-License-Identifier: Apache-2.0 */
#ifndef APPLIANCE_CARDS_H
#define APPLIANCE_CARDS_H

#include <jansson.h>

#include "appliance/settings.h"

/* Settings go by the names of ports, which come from where a card sits. Which card that was is
 * noted down when a network is set, so that somebody is told when it is another one: cards that
 * were put elsewhere, a virtual machine's that were added in another order. */
#define CARD_TEXT 18 /* "52:54:00:12:34:56" */

/* The hardware address of @port's card; "" when there is no such port. */
typedef void cards_look(const char *port, char card[CARD_TEXT]);

/* cards_note: @settings' ports and their cards, into @path; durable at 0. */
int cards_note(const char *path, const struct settings *settings, cards_look *look, struct err *err)
    __attribute__((warn_unused_result));

/* cards_changed: [{"port", "was", "is"}] of those that are noted in @path and are of @settings
 * still, and have another card now ("is" "": none). NULL: nothing is noted, or out of memory. */
json_t *cards_changed(const char *path, const struct settings *settings, cards_look *look);

#endif
