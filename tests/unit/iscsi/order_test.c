/* SPDX-License-Identifier: Apache-2.0 */
/* The order of a session's requests, as they come over several connections. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */
#include <string.h>

#include "iscsi/order.h"

#define FIRST 0xfffffff0u /* so that numbers wrap */

static struct order order;
static struct order_entry entries[512];

static enum order_verdict arrive(unsigned index, uint32_t cmdsn)
{
	entries[index] = (struct order_entry){.cmdsn = cmdsn};
	list_init(&entries[index].link);
	return order_arrived(&order, &entries[index]);
}

static enum order_verdict arrive_immediate(unsigned index, uint32_t cmdsn)
{
	entries[index] = (struct order_entry){.cmdsn = cmdsn, .immediate = true};
	list_init(&entries[index].link);
	return order_arrived(&order, &entries[index]);
}

static void overtaken(void **state)
{
	(void)state;
	order_init(&order, FIRST);
	assert_int_equal(arrive(1, FIRST + 1), ORDER_HELD);
	assert_int_equal(arrive(3, FIRST + 3), ORDER_HELD);
	assert_null(order_next(&order));
	assert_true(order_gap(&order));
	assert_int_equal(arrive(0, FIRST), ORDER_RUN);
	assert_ptr_equal(order_next(&order), &entries[1]);
	assert_null(order_next(&order)); /* 2 is missing */
	assert_int_equal(order.window.expected, FIRST + 2);
	assert_int_equal(arrive(2, FIRST + 2), ORDER_RUN);
	assert_ptr_equal(order_next(&order), &entries[3]);
	assert_false(order_gap(&order));
	assert_int_equal(order.window.expected, FIRST + 4);
}

static void same_number(void **state)
{
	(void)state;
	order_init(&order, FIRST);
	assert_int_equal(arrive(1, FIRST + 1), ORDER_HELD);
	assert_int_equal(arrive(2, FIRST + 1), ORDER_TWICE);
	assert_int_equal(arrive(3, FIRST + ORDER_WINDOW), ORDER_TWICE); /* outside */
	assert_int_equal(arrive(0, FIRST), ORDER_RUN);
	assert_int_equal(arrive(4, FIRST), ORDER_TWICE);
	assert_ptr_equal(order_next(&order), &entries[1]);
	assert_null(order_next(&order));
}

static void plugs(void **state)
{
	uint32_t maximum;

	(void)state;
	order_init(&order, FIRST);
	maximum = order.window.maximum;
	assert_int_equal(arrive(2, FIRST + 2), ORDER_HELD);
	order_plug(&order, FIRST + 1);
	order_plug(&order, FIRST + 2); /* it waits: it will run */
	assert_null(order_next(&order));
	assert_int_equal(order.window.maximum, maximum);
	assert_int_equal(arrive(1, FIRST + 1), ORDER_TWICE); /* too late */
	order_plug(&order, FIRST);
	assert_int_equal(order.window.expected, FIRST + 2);
	assert_int_equal(order.window.maximum, maximum + 2);
	assert_ptr_equal(order_next(&order), &entries[2]);
	assert_int_equal(order.window.maximum, maximum + 2); /* the caller's, when it is done */
	order_plug(&order, FIRST + 1);                       /* behind us */
	order_plug(&order, FIRST + 0x10000);
	assert_int_equal(order.window.expected, FIRST + 3);
}

/* A plug is one number, not one of every window. */
static void plug_once(void **state)
{
	(void)state;
	order_init(&order, 5);
	order_plug(&order, 6);
	assert_int_equal(arrive(0, 5), ORDER_RUN);
	order.window.maximum++;
	assert_null(order_next(&order));
	assert_int_equal(order.window.expected, 7);
	for (uint32_t cmdsn = 7; cmdsn < 7 + 3 * ORDER_WINDOW; cmdsn++) {
		assert_int_equal(arrive(0, cmdsn), ORDER_RUN);
		order.window.maximum++;
		assert_null(order_next(&order));
		assert_int_equal(order.window.expected, cmdsn + 1);
	}
}

static void forgotten(void **state)
{
	(void)state;
	order_init(&order, FIRST);
	assert_int_equal(arrive(1, FIRST + 1), ORDER_HELD);
	order_forget(&entries[1]);
	assert_false(order_gap(&order));
	assert_int_equal(arrive(0, FIRST), ORDER_RUN);
	assert_null(order_next(&order));
	assert_int_equal(arrive(2, FIRST + 1), ORDER_RUN); /* sent again */
	order_forget(&entries[2]);                         /* harmless */
}

static void immediate_ones(void **state)
{
	(void)state;
	order_init(&order, FIRST);
	assert_int_equal(arrive_immediate(10, FIRST), ORDER_RUN);
	assert_int_equal(arrive_immediate(11, FIRST - 1), ORDER_RUN);
	assert_int_equal(arrive_immediate(12, FIRST + ORDER_WINDOW + 1), ORDER_RUN); /* nonsense */
	assert_int_equal(arrive(2, FIRST + 2), ORDER_HELD);
	assert_int_equal(arrive_immediate(13, FIRST + 2), ORDER_HELD);
	assert_int_equal(arrive_immediate(14, FIRST + 2), ORDER_HELD);
	assert_int_equal(arrive_immediate(15, FIRST + 1), ORDER_HELD);
	assert_int_equal(arrive(16, FIRST + 2), ORDER_TWICE);
	assert_int_equal(arrive(0, FIRST), ORDER_RUN);
	assert_ptr_equal(order_next(&order), &entries[15]);
	assert_null(order_next(&order));
	assert_int_equal(arrive(1, FIRST + 1), ORDER_RUN);
	assert_ptr_equal(order_next(&order), &entries[13]);
	assert_ptr_equal(order_next(&order), &entries[14]);
	assert_int_equal(order.window.expected, FIRST + 2);
	assert_ptr_equal(order_next(&order), &entries[2]);
	assert_null(order_next(&order));
}

/* Any order of arrival within the window, some numbers refused or aborted instead: what runs runs
 * in order, and the window gets every place back. */
static void any_order(void **state)
{
	uint32_t seed = 1;

	(void)state;
	for (unsigned round = 0; round < 500; round++) {
		uint32_t numbers[ORDER_WINDOW], last = FIRST - 1;
		unsigned ran = 0, plugged = 0;

		order_init(&order, FIRST);
		for (unsigned i = 0; i < ORDER_WINDOW; i++) {
			unsigned other;

			seed = seed * 1664525u + 1013904223u;
			other = (seed >> 8) % (i + 1);
			numbers[i] = numbers[other];
			numbers[other] = FIRST + i;
		}
		for (unsigned i = 0; i < ORDER_WINDOW; i++) {
			struct order_entry *next;

			seed = seed * 1664525u + 1013904223u;
			if (seed >> 28 == 0) {
				order_plug(&order, numbers[i]);
				plugged++;
			} else if (arrive(i, numbers[i]) == ORDER_RUN) {
				assert_true(pdu_sn_before(last, numbers[i]));
				last = numbers[i];
				order.window.maximum++;
				ran++;
			}
			while ((next = order_next(&order))) {
				assert_true(pdu_sn_before(last, next->cmdsn));
				last = next->cmdsn;
				order.window.maximum++;
				ran++;
			}
		}
		assert_int_equal(ran + plugged, ORDER_WINDOW);
		assert_int_equal(order.window.expected, FIRST + ORDER_WINDOW);
		assert_int_equal(order.window.maximum, FIRST + 2 * ORDER_WINDOW - 1);
		assert_false(order_gap(&order));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(overtaken), cmocka_unit_test(same_number),
	    cmocka_unit_test(plugs),     cmocka_unit_test(plug_once),
	    cmocka_unit_test(forgotten), cmocka_unit_test(immediate_ones),
	    cmocka_unit_test(any_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
