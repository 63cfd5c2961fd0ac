/* SPDX-License-Identifier: Apache-2.0 */
#include "iscsi/order.h"

#include <string.h>

void order_init(struct order *order, uint32_t first)
{
	pdu_window_init(&order->window, first, ORDER_WINDOW);
	list_init(&order->held);
	memset(order->plugged, 0, sizeof(order->plugged));
}

static uint64_t *word_of(struct order *order, uint32_t cmdsn)
{
	return &order->plugged[cmdsn / 64 % (ORDER_WINDOW / 64)];
}

static uint64_t bit_of(uint32_t cmdsn)
{
	return 1ull << cmdsn % 64;
}

static struct order_entry *entry_of(struct list *link)
{
	return list_entry(link, struct order_entry, link);
}

static bool comes_before(const struct order_entry *a, const struct order_entry *b)
{
	if (a->cmdsn != b->cmdsn)
		return pdu_sn_before(a->cmdsn, b->cmdsn);
	return a->immediate && !b->immediate;
}

static enum order_verdict hold(struct order *order, struct order_entry *entry)
{
	struct list *at = order->held.prev;

	while (at != &order->held && comes_before(entry, entry_of(at)))
		at = at->prev;
	if (at != &order->held && !entry->immediate && !entry_of(at)->immediate &&
	    entry_of(at)->cmdsn == entry->cmdsn)
		return ORDER_TWICE;
	list_insert_after(at, &entry->link);
	return ORDER_HELD;
}

enum order_verdict order_arrived(struct order *order, struct order_entry *entry)
{
	struct pdu_window *window = &order->window;

	if (entry->immediate) {
		bool early = pdu_sn_before(window->expected, entry->cmdsn) &&
			     !pdu_sn_before(window->maximum + 1, entry->cmdsn);

		return early ? hold(order, entry) : ORDER_RUN;
	}
	switch (pdu_window_place(window, entry->cmdsn)) {
	case PDU_WINDOW_NEXT:
		window->expected++;
		return ORDER_RUN;
	case PDU_WINDOW_AHEAD:
		if (*word_of(order, entry->cmdsn) & bit_of(entry->cmdsn))
			return ORDER_TWICE;
		return hold(order, entry);
	case PDU_WINDOW_OUTSIDE:
		break;
	}
	return ORDER_TWICE;
}

static void skip_plugged(struct order *order)
{
	struct pdu_window *window = &order->window;

	while (*word_of(order, window->expected) & bit_of(window->expected)) {
		*word_of(order, window->expected) &= ~bit_of(window->expected);
		window->expected++;
		window->maximum++;
	}
}

struct order_entry *order_next(struct order *order)
{
	struct order_entry *entry;

	skip_plugged(order);
	if (list_empty(&order->held))
		return NULL;
	entry = entry_of(order->held.next);
	if (pdu_sn_before(order->window.expected, entry->cmdsn))
		return NULL;
	list_remove(&entry->link);
	if (!entry->immediate)
		order->window.expected++;
	return entry;
}

static bool is_held(const struct order *order, uint32_t cmdsn)
{
	list_for_each (it, &order->held)
		if (entry_of(it)->cmdsn == cmdsn && !entry_of(it)->immediate)
			return true;
	return false;
}

void order_plug(struct order *order, uint32_t cmdsn)
{
	if (pdu_window_place(&order->window, cmdsn) == PDU_WINDOW_OUTSIDE || is_held(order, cmdsn))
		return;
	*word_of(order, cmdsn) |= bit_of(cmdsn);
	skip_plugged(order);
}

void order_forget(struct order_entry *entry)
{
	list_remove(&entry->link);
}

bool order_gap(const struct order *order)
{
	return !list_empty(&order->held);
}
