/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of the load generator a wrong figure could come from. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "bench/histogram.h"
#include "bench/payload.h"
#include "bench/picker.h"

static void quantiles_are_near(void **state)
{
	(void)state;
	struct histogram histogram = {0};

	for (uint64_t ns = 1; ns <= 100000; ns++)
		histogram_add(&histogram, ns);
	assert_int_equal(histogram.count, 100000);
	assert_int_equal(histogram.max, 100000);
	assert_in_range(histogram_quantile(&histogram, 0.5), 50000, 51600);
	assert_in_range(histogram_quantile(&histogram, 0.99), 99000, 100000);
	assert_int_equal(histogram_quantile(&histogram, 1.0), 100000);
}

static void quantiles_of_extremes(void **state)
{
	(void)state;
	struct histogram histogram = {0};

	assert_int_equal(histogram_quantile(&histogram, 0.99), 0);
	histogram_add(&histogram, 0);
	assert_int_equal(histogram_quantile(&histogram, 0.5), 0);
	histogram_add(&histogram, UINT64_MAX);
	assert_int_equal(histogram.max, UINT64_MAX);
	assert_true(histogram_quantile(&histogram, 1.0) >= UINT64_C(1) << 60);
}

static void payload_proves_itself(void **state)
{
	(void)state;
	uint8_t data[4096];
	struct err err = {0};

	payload_fill(data, sizeof(data), 800, 7);
	assert_int_equal(payload_check(data, sizeof(data), 800, 7, &err), PAYLOAD_OK);
	assert_int_equal(payload_check(data, sizeof(data), 800, PAYLOAD_ANY, &err), PAYLOAD_OK);
	memset(data, 0, sizeof(data));
	assert_int_equal(payload_check(data, sizeof(data), 800, 7, &err), PAYLOAD_UNWRITTEN);
}

static void payload_betrays_every_damage(void **state)
{
	(void)state;
	uint8_t data[1024];
	struct err err = {0};

	payload_fill(data, sizeof(data), 10, 3);
	assert_int_equal(payload_check(data, sizeof(data), 11, 3, &err), PAYLOAD_BAD);
	assert_int_equal(payload_check(data, sizeof(data), 10, 4, &err), PAYLOAD_BAD);
	for (size_t i = 0; i < sizeof(data); i += 61) {
		data[i] ^= 0x10;
		assert_int_equal(payload_check(data, sizeof(data), 10, 3, &err), PAYLOAD_BAD);
		data[i] ^= 0x10;
	}
	memset(data + 512, 0, 512); /* half of it never arrived */
	assert_int_equal(payload_check(data, sizeof(data), 10, 3, &err), PAYLOAD_BAD);
}

/* Each block once, for sizes that are and are not a power of two. */
static void once_is_once(void **state)
{
	(void)state;
	static const uint64_t sizes[] = {1, 2, 3, 1000, 1024, 4097};
	struct options options = {.pattern = PATTERN_RANDWRITE, .once = true, .seed = 5};

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct picker picker;
		uint8_t *seen = calloc(1, sizes[i]);
		uint64_t block, count = 0;
		bool write;

		picker_init(&picker, &options, sizes[i]);
		while (picker_next(&picker, &block, &write)) {
			assert_true(write);
			assert_in_range(block, 0, sizes[i] - 1);
			assert_int_equal(seen[block]++, 0);
			count++;
		}
		assert_int_equal(count, sizes[i]);
		free(seen);
	}
}

static void random_covers_the_span(void **state)
{
	(void)state;
	struct options options = {.pattern = PATTERN_RANDRW, .seed = 1};
	struct picker picker;
	unsigned hits[16] = {0}, writes = 0;

	picker_init(&picker, &options, 16);
	for (unsigned i = 0; i < 16000; i++) {
		uint64_t block;
		bool write;
		assert_true(picker_next(&picker, &block, &write));
		assert_in_range(block, 0, 15);
		hits[block]++;
		writes += write;
	}
	for (unsigned i = 0; i < 16; i++)
		assert_in_range(hits[i], 800, 1200);
	assert_in_range(writes, 7500, 8500);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(quantiles_are_near),    cmocka_unit_test(quantiles_of_extremes),
	    cmocka_unit_test(payload_proves_itself), cmocka_unit_test(payload_betrays_every_damage),
	    cmocka_unit_test(once_is_once),          cmocka_unit_test(random_covers_the_span),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
