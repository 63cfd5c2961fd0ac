/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "shares/handle.h"
#include "shares/siphash.h"

static struct vfs vfs = {.uuid = {1, 2, 3, 4, 5, 6, 7, 8, 9}, .secret = {42, 1}};

static void round_trip(void **state)
{
	struct handle_parts parts = {.flags = 5,
				     .export = 777,
				     .snapshot = 0x12345678,
				     .object = {.length = VFS_OBJECT_MAX}};
	struct handle_parts back;
	struct handle handle;

	(void)state;
	parts.volume = handle_volume(&vfs);
	memset(parts.object.bytes, 0x5a, VFS_OBJECT_MAX);
	handle_encode(&vfs, &parts, &handle);
	assert_int_equal(handle.length, HANDLE_MAX);
	assert_int_equal(handle_check(&vfs, handle.bytes, handle.length), 0);
	assert_int_equal(handle_peek(handle.bytes, handle.length, &back), 0);
	assert_int_equal(back.flags, 5);
	assert_int_equal(back.export, 777);
	assert_int_equal(back.snapshot, 0x12345678);
	assert_true(vfs_object_equal(&back.object, &parts.object));
	parts.object.length = 12;
	handle_encode(&vfs, &parts, &handle);
	assert_int_equal(handle.length, 36);
	assert_int_equal(handle_check(&vfs, handle.bytes, handle.length), 0);
}

static void forged(void **state)
{
	struct handle_parts parts = {.object = {.length = 12}};
	struct vfs other = vfs;
	struct handle handle;
	uint8_t zeros[80] = {0};

	(void)state;
	parts.volume = handle_volume(&vfs);
	handle_encode(&vfs, &parts, &handle);
	for (unsigned bit = 0; bit < handle.length * 8u; bit++) {
		handle.bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
		assert_int_equal(handle_check(&vfs, handle.bytes, handle.length), -ESTALE);
		handle.bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	for (unsigned length = 0; length < sizeof(zeros); length++) {
		assert_int_equal(handle_check(&vfs, zeros, length), -ESTALE);
		if (length < handle.length)
			assert_int_equal(handle_check(&vfs, handle.bytes, length), -ESTALE);
	}
	other.secret[3]++;
	assert_int_equal(handle_check(&other, handle.bytes, handle.length), -ESTALE);
	other = vfs;
	other.uuid[0]++;
	assert_int_equal(handle_check(&other, handle.bytes, handle.length), -ESTALE);
}

/* The vectors of the SipHash paper, appendix A, and its reference code: key 00..0f, data 00, 01...
 */
static void siphash_vectors(void **state)
{
	uint8_t key[16], data[16];

	(void)state;
	for (unsigned i = 0; i < 16; i++)
		key[i] = data[i] = (uint8_t)i;
	assert_true(siphash(key, data, 15) == 0xa129ca6149be45e5ull);
	assert_true(siphash(key, data, 0) == 0x726fdb47dd0e0e31ull);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(round_trip), cmocka_unit_test(forged),
					   cmocka_unit_test(siphash_vectors)};

	return cmocka_run_group_tests_name("shares/handle", tests, NULL, NULL);
}
