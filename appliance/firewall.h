/* SPDX-License-Identifier: Apache-2.0 */
#ifndef APPLIANCE_FIREWALL_H
#define APPLIANCE_FIREWALL_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

/* The packet filter follows what listens: nftables rules from the daemon's list of endpoints.
 * Storage connections pass before connection tracking, which would cost them; everything else
 * that comes in has to answer to something this machine asked, or is dropped. Context: any. */
#define FIREWALL_PORTS 64
#define FIREWALL_TEXT  4096

struct firewall {
	unsigned count;
	uint16_t ports[FIREWALL_PORTS]; /* TCP, ascending, each once */
};

/* firewall_of: the ports of @status (GET /api/v1/status) and those that are the appliance's own;
 * NULL: what it listens on unless it was told otherwise. */
void firewall_of(const json_t *status, struct firewall *ret_firewall);
/* firewall_text: a file for nft(8), which replaces the rules of the one before in one step.
 * @text: FIREWALL_TEXT bytes. */
void firewall_text(const struct firewall *firewall, char *text);

#endif
