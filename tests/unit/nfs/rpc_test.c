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

#include "nfs/rpc.h"

static void put_header(struct xdr_out *out, uint32_t version, uint32_t procedure, uint32_t groups)
{
	uint8_t body[256];
	struct xdr_out sys;

	xdr_out_init(&sys, body, sizeof(body));
	xdr_put_u32(&sys, 0);
	xdr_put_string(&sys, "host");
	xdr_put_u32(&sys, 1000);
	xdr_put_u32(&sys, 100);
	xdr_put_u32(&sys, groups);
	for (uint32_t i = 0; i < groups; i++)
		xdr_put_u32(&sys, i);
	xdr_put_u32(out, 0x1234);
	xdr_put_u32(out, RPC_CALL);
	xdr_put_u32(out, RPC_VERSION);
	xdr_put_u32(out, RPC_NFS);
	xdr_put_u32(out, version);
	xdr_put_u32(out, procedure);
	xdr_put_u32(out, RPC_AUTH_SYS);
	xdr_put_opaque(out, body, (uint32_t)xdr_length(&sys));
	xdr_put_u32(out, RPC_AUTH_NONE);
	xdr_put_u32(out, 0);
}

static void headers(void **state)
{
	uint8_t memory[512];
	struct rpc_header header;
	struct xdr_out out;
	struct xdr_in in;
	size_t length;

	(void)state;
	xdr_out_init(&out, memory, sizeof(memory));
	put_header(&out, 3, 1, 16);
	length = xdr_length(&out);
	xdr_in_init(&in, memory, length);
	assert_int_equal(rpc_header_decode(&in, &header), 0);
	assert_int_equal(header.xid, 0x1234);
	assert_int_equal(header.auth, RPC_AUTH_OK);
	assert_int_equal(header.uid, 1000);
	assert_int_equal(header.gid, 100);
	assert_int_equal(header.group_count, 16);
	assert_int_equal(header.groups[15], 15);
	assert_string_equal(header.machine, "host");
	assert_int_equal(xdr_left(&in), 0);
	for (size_t cut = 0; cut < length; cut++) {
		xdr_in_init(&in, memory, cut);
		assert_int_equal(rpc_header_decode(&in, &header), -EBADMSG);
	}
	xdr_out_init(&out, memory, sizeof(memory));
	put_header(&out, 3, 1, 17);
	xdr_in_init(&in, memory, xdr_length(&out));
	assert_int_equal(rpc_header_decode(&in, &header), 0);
	assert_int_equal(header.auth, RPC_AUTH_BADCRED);
	assert_int_equal(header.group_count, 0);
	memory[7] = RPC_REPLY;
	xdr_in_init(&in, memory, xdr_length(&out));
	assert_int_equal(rpc_header_decode(&in, &header), -EBADMSG);
}

/* AUTH_TLS with a body of @body bytes and a verifier of @flavor and @verifier bytes. */
static enum rpc_auth_stat asked_for_tls(uint32_t body, uint32_t flavor, uint32_t verifier)
{
	static const uint8_t zeros[8];
	uint8_t memory[128];
	struct rpc_header header;
	struct xdr_out out;
	struct xdr_in in;

	xdr_out_init(&out, memory, sizeof(memory));
	xdr_put_u32(&out, 1);
	xdr_put_u32(&out, RPC_CALL);
	xdr_put_u32(&out, RPC_VERSION);
	xdr_put_u32(&out, RPC_NFS);
	xdr_put_u32(&out, 4);
	xdr_put_u32(&out, 0);
	xdr_put_u32(&out, RPC_AUTH_TLS);
	xdr_put_opaque(&out, zeros, body);
	xdr_put_u32(&out, flavor);
	xdr_put_opaque(&out, zeros, verifier);
	xdr_in_init(&in, memory, xdr_length(&out));
	assert_int_equal(rpc_header_decode(&in, &header), 0);
	assert_int_equal(header.flavor, RPC_AUTH_TLS);
	assert_int_equal(header.uid, RPC_NOBODY);
	return header.auth;
}

/* RFC 9289 4.1 */
static void tls(void **state)
{
	static const uint8_t wanted[] = {0,   0,   0,   9,   0,   0,   0, 1, 0, 0,   0,
					 0,   0,   0,   0,   0,   0,   0, 0, 8, 'S', 'T',
					 'A', 'R', 'T', 'T', 'L', 'S', 0, 0, 0, 0};
	uint8_t memory[64];
	struct xdr_out out;

	(void)state;
	assert_int_equal(asked_for_tls(0, RPC_AUTH_NONE, 0), RPC_AUTH_OK);
	assert_int_equal(asked_for_tls(4, RPC_AUTH_NONE, 0), RPC_AUTH_BADCRED);
	assert_int_equal(asked_for_tls(0, RPC_AUTH_SYS, 0), RPC_AUTH_BADVERF);
	assert_int_equal(asked_for_tls(0, RPC_AUTH_NONE, 8), RPC_AUTH_BADVERF);
	xdr_out_init(&out, memory, sizeof(memory));
	rpc_put_starttls(&out, 9);
	assert_int_equal(xdr_length(&out), sizeof(wanted));
	assert_memory_equal(memory, wanted, sizeof(wanted));
}

static void payload_of_version_3(void **state)
{
	uint8_t memory[512];
	struct xdr_out out;
	size_t offset, head;
	uint32_t length;

	(void)state;
	xdr_out_init(&out, memory, sizeof(memory));
	put_header(&out, 3, 7, 2);
	xdr_put_opaque(&out, "0123456789012345678901234567", 28);
	xdr_put_u64(&out, 4096);
	xdr_put_u32(&out, 65537);
	xdr_put_u32(&out, 2);
	xdr_put_u32(&out, 65537);
	head = xdr_length(&out);
	assert_true(rpc_find_payload(memory, head, head + 65540, &offset, &length));
	assert_int_equal(offset, head);
	assert_int_equal(length, 65537);
	/* the record is too short for it, by its padding alone */
	assert_false(rpc_find_payload(memory, head, head + 65539, &offset, &length));
	assert_false(rpc_find_payload(memory, head - 1, head + 65540, &offset, &length));
	memory[23] = 6; /* a READ */
	assert_false(rpc_find_payload(memory, head, head + 65540, &offset, &length));
}

static void put_compound(struct xdr_out *out, bool sequence)
{
	put_header(out, 4, 1, 0);
	xdr_put_string(out, "tag");
	xdr_put_u32(out, 1);
	xdr_put_u32(out, sequence ? 4 : 3);
	if (sequence) {
		xdr_put_u32(out, 53);
		xdr_put_fixed(out, "0123456789abcdef0123456789abcdef", 32);
	}
	xdr_put_u32(out, 22);
	xdr_put_opaque(out, "handle", 6);
	xdr_put_u32(out, 38);
	xdr_put_fixed(out, "0123456789abcdef", 16);
	xdr_put_u64(out, 0);
	xdr_put_u32(out, 2);
	xdr_put_u32(out, 32768);
}

static void payload_of_version_4(void **state)
{
	uint8_t memory[512];
	struct xdr_out out;
	size_t offset;
	uint32_t length;

	(void)state;
	for (unsigned sequence = 0; sequence < 2; sequence++) {
		xdr_out_init(&out, memory, sizeof(memory));
		put_compound(&out, sequence);
		assert_true(rpc_find_payload(memory, xdr_length(&out),
					     xdr_length(&out) + 32768 + 40, &offset, &length));
		assert_int_equal(offset, xdr_length(&out));
		assert_int_equal(length, 32768);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(headers),
	    cmocka_unit_test(tls),
	    cmocka_unit_test(payload_of_version_3),
	    cmocka_unit_test(payload_of_version_4),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
