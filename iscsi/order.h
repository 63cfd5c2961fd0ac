/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ISCSI_ORDER_H
#define ISCSI_ORDER_H

#include <stdbool.h>
#include <stdint.h>

#include "core/list.h"
#include "iscsi/pdu.h"

/* The order of a session's requests (RFC 7143 4.2.2.1): CmdSN counts over all connections of the
 * session, on which requests overtake each other, so what is ahead of a gap waits here. Pure code,
 * no I/O; the session's loop. */

#define ORDER_WINDOW 128u /* commands outstanding per session */

/* A request that may have to wait; embedded by its owner. */
struct order_entry {
	struct list link; /* order->held, in order of CmdSN */
	uint32_t cmdsn;
	bool immediate; /* it has no number of its own: it waits for those before @cmdsn */
};

struct order {
	struct pdu_window window;
	struct list held;
	/* Numbers ahead of the gap that nobody will come with, one bit each: refused, or aborted
	 * before their turn. */
	uint64_t plugged[ORDER_WINDOW / 64];
};

void order_init(struct order *order, uint32_t first);
/* order_arrived: a request is here as a whole.
 *   ORDER_RUN    it is its turn; it has its number (but an immediate one, which needs none)
 *   ORDER_HELD   it waits; order_next() gives it back
 *   ORDER_TWICE  there is one with this number already, or there shall be none: ignore it */
enum order_verdict { ORDER_RUN, ORDER_HELD, ORDER_TWICE };
enum order_verdict order_arrived(struct order *order, struct order_entry *entry);
/* order_next: one that waited and whose turn it is, out of the list; NULL: none. */
struct order_entry *order_next(struct order *order);
/* order_plug: number @cmdsn is used up, whether its turn has come or not, and runs nothing: its
 * place in the window is free again. Outside of the window, or while one with this number waits:
 * nothing. Afterwards order_next(). */
void order_plug(struct order *order, uint32_t cmdsn);
/* Out of the list; its number is still to come (or to be plugged). Harmless when it is in none. */
void order_forget(struct order_entry *entry);
/* Does something wait for a number that has not come? */
bool order_gap(const struct order *order);

#endif
