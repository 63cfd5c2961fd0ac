/* SPDX-License-Identifier: Apache-2.0 */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */
#include <errno.h>
#include <string.h>

#include "core/crc32c.h"
#include "iscsi/pdu.h"

static void lengths(void **state)
{
	uint8_t bhs[PDU_BHS_LENGTH] = {0};

	(void)state;
	assert_int_equal(pdu_header_length(bhs, false), 48);
	bhs[PDU_AT_AHS_LENGTH] = 255;
	assert_int_equal(pdu_header_length(bhs, true), 48 + 1020 + 4);
	pdu_put24(bhs + PDU_AT_DATA_LENGTH, 0xfffffd);
	assert_int_equal(pdu_data_length(bhs), 0xfffffd);
	assert_int_equal(pdu_padding(0xfffffd), 3);
	assert_int_equal(pdu_padding(4), 0);
	assert_int_equal(pdu_padding(0), 0);
}

static void digests(void **state)
{
	uint8_t header[PDU_BHS_LENGTH + 4 + PDU_DIGEST_LENGTH] = {PDU_SCSI_COMMAND};
	uint8_t zeros[32] = {0}, digest[4];
	struct iovec iov = {zeros, 32};

	(void)state;
	header[PDU_AT_AHS_LENGTH] = 1;
	pdu_put_digest(header + 52, crc32c(0, header, 52));
	assert_true(pdu_header_digest_ok(header));
	header[50] ^= 1; /* the AHS is covered too */
	assert_false(pdu_header_digest_ok(header));
	/* RFC 7143 appendix: 32 bytes of zeros give aa 36 91 8a on the wire */
	pdu_put_digest(digest, pdu_data_digest(&iov, 1, 32));
	assert_memory_equal(digest, "\xaa\x36\x91\x8a", 4);
	/* padding is covered: 29 bytes and 3 of padding are the same 32 zeros */
	iov.iov_len = 29;
	pdu_put_digest(digest, pdu_data_digest(&iov, 1, 29));
	assert_memory_equal(digest, "\xaa\x36\x91\x8a", 4);
}

static void additional_headers(void **state)
{
	uint8_t ahs[] = {0, 5, 1, 0, 'a', 'b', 'c', 'd', 0, 1, 2, 0};
	struct pdu_ahs one;
	size_t at = 0;

	(void)state;
	assert_int_equal(pdu_ahs_next(ahs, sizeof(ahs), &at, &one), 1);
	assert_int_equal(one.type, PDU_AHS_EXTENDED_CDB);
	assert_int_equal(one.length, 4);
	assert_memory_equal(one.data, "abcd", 4);
	assert_int_equal(pdu_ahs_next(ahs, sizeof(ahs), &at, &one), 1);
	assert_int_equal(one.type, PDU_AHS_BIDIRECTIONAL_READ);
	assert_int_equal(one.length, 0);
	assert_int_equal(pdu_ahs_next(ahs, sizeof(ahs), &at, &one), 0);
}

static void additional_headers_that_lie(void **state)
{
	uint8_t ahs[8] = {0};
	struct pdu_ahs one;

	(void)state;
	for (unsigned length = 0; length <= 0xffff; length++) {
		size_t at = 0;
		int result;

		pdu_put16(ahs, (uint16_t)length);
		result = pdu_ahs_next(ahs, sizeof(ahs), &at, &one);
		assert_int_equal(result, length >= 1 && length <= 5 ? 1 : -EINVAL);
		assert_true(at <= sizeof(ahs));
	}
}

static void window(void **state)
{
	struct pdu_window window;

	(void)state;
	pdu_window_init(&window, 0xfffffff0, 128);
	assert_int_equal(window.maximum, 0xfffffff0u + 127);
	assert_int_equal(pdu_window_place(&window, 0xfffffff0), PDU_WINDOW_NEXT);
	assert_int_equal(pdu_window_place(&window, 0xffffffef), PDU_WINDOW_OUTSIDE);
	assert_int_equal(pdu_window_place(&window, 0), PDU_WINDOW_AHEAD); /* over the wrap */
	assert_int_equal(pdu_window_place(&window, 0x6f), PDU_WINDOW_AHEAD);
	assert_int_equal(pdu_window_place(&window, 0x70), PDU_WINDOW_OUTSIDE);
	assert_int_equal(pdu_window_place(&window, 0x80000000), PDU_WINDOW_OUTSIDE);
}

static void window_closed(void **state)
{
	struct pdu_window window;

	(void)state;
	pdu_window_init(&window, 7, 1);
	window.expected++; /* one runs, none may come */
	assert_int_equal(pdu_window_place(&window, 8), PDU_WINDOW_OUTSIDE);
	window.maximum++;
	assert_int_equal(pdu_window_place(&window, 8), PDU_WINDOW_NEXT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(lengths),
	    cmocka_unit_test(digests),
	    cmocka_unit_test(additional_headers),
	    cmocka_unit_test(additional_headers_that_lie),
	    cmocka_unit_test(window),
	    cmocka_unit_test(window_closed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
