/* SPDX-License-Identifier: Apache-2.0 */
/* Which requests of NFS are kept as slow, and what is told of them. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */
#include <string.h>
#include <sys/socket.h>

#include "nfs/internal.h"
#include "nfs/slow.h"

#define MS 1000000ull

static uint64_t now;
static struct nfs_io io;
static struct nfs_conn conn = {.io = &io, .address = {AF_INET, {10, 1, 2, 3}, 700}};
static struct nfs_export export = {.path = "/vms"};
static struct nfs_slow list[NFS_SLOW_MAX + 1];

uint64_t loop_now(const struct loop *loop)
{
	(void)loop;
	return now;
}

uint64_t loop_wall(struct loop *loop)
{
	(void)loop;
	return 7777 + now;
}

const char *nfs_stats_version(unsigned version)
{
	return version == NFS_STATS_3 ? "3" : "4.x";
}

const char *nfs_stats_name(unsigned version, unsigned operation)
{
	static const char *const names[] = {"ZERO", "ONE", "TWO", "A_LONG_ONE"};

	(void)version;
	return operation < 4 ? names[operation] : NULL;
}

static struct nfs_call call_of(uint32_t version)
{
	struct nfs_call call = {.conn = &conn, .rpc = {.program = RPC_NFS, .version = version}};

	call.slow.arrived_ns = now;
	call.export = &export;
	call.compound.count = version == 4;
	return call;
}

static void one(void **state)
{
	struct nfs_call call;

	(void)state;
	latency_set_slow_limit(20 * MS);
	call = call_of(3);
	now += 30 * MS;
	call.slow.share_ns = 12 * MS;
	nfs_slow_operation(&call, 2, 30 * MS, 4096);
	nfs_slow_ends(&call);
	assert_int_equal(nfs_slow_list(list, 1), 1);
	assert_string_equal(list[0].client, "10.1.2.3");
	assert_string_equal(list[0].path, "/vms");
	assert_string_equal(list[0].version, "3");
	assert_string_equal(list[0].operation, "TWO");
	assert_string_equal(list[0].command, "TWO");
	assert_int_equal(list[0].bytes, 4096);
	assert_int_equal(list[0].total_ns, 30 * MS);
	assert_int_equal(list[0].share_ns, 12 * MS);
	assert_int_equal(list[0].wall_ns, 7777 + now);
}

/* The limit itself is not slow, without a limit nothing is, nor is another program. */
static void not_slow(void **state)
{
	struct nfs_call call;
	uint64_t before;

	(void)state;
	latency_set_slow_limit(20 * MS);
	nfs_slow_list(list, 1);
	before = list[0].number;
	call = call_of(3);
	now += 20 * MS;
	nfs_slow_ends(&call);
	now += 1;
	latency_set_slow_limit(0);
	nfs_slow_ends(&call);
	latency_set_slow_limit(20 * MS);
	call.rpc.program = RPC_MOUNT;
	nfs_slow_ends(&call);
	nfs_slow_list(list, 1);
	assert_int_equal(list[0].number, before);
	call.rpc.program = RPC_NFS;
	nfs_slow_ends(&call);
	nfs_slow_list(list, 1);
	assert_int_equal(list[0].number, before + 1);
}

static const struct nfs_slow *compound_of(unsigned count, unsigned long_at, unsigned operation)
{
	struct nfs_call call = call_of(4);

	latency_set_slow_limit(20 * MS);
	for (unsigned i = 0; i < count; i++)
		nfs_slow_operation(&call, i == long_at ? operation : 1,
				   i == long_at ? 25 * MS : 1 * MS, 100);
	now += 30 * MS;
	call.export = NULL;
	call.slow.share_ns = 40 * MS; /* of more requests at once: no more than there was */
	nfs_slow_ends(&call);
	assert_int_equal(nfs_slow_list(list, 1), 1);
	assert_string_equal(list[0].path, "");
	assert_int_equal(list[0].share_ns, 30 * MS);
	return &list[0];
}

static void compounds(void **state)
{
	const struct nfs_slow *slow;

	(void)state;
	slow = compound_of(3, 1, 2);
	assert_string_equal(slow->command, "ONE TWO ONE");
	assert_string_equal(slow->operation, "TWO");
	assert_int_equal(slow->bytes, 300);
	assert_string_equal(compound_of(2, 1, 10044)->command, "ONE ILLEGAL");
	assert_string_equal(compound_of(2, 1, 256 + 2)->command, "ONE ILLEGAL");
	slow = compound_of(NFS_SLOW_OPERATIONS, 0, 1);
	assert_int_equal(strlen(slow->command), NFS_SLOW_OPERATIONS * 4 - 1);
	slow = compound_of(NFS_SLOW_OPERATIONS + 3, NFS_SLOW_OPERATIONS + 1, 3);
	assert_string_equal(slow->command + NFS_SLOW_OPERATIONS * 4 - 1, " ... (19)");
	assert_string_equal(slow->operation,
			    "A_LONG_ONE"); /* named, though it is not in the text */
	slow = compound_of(0, 0, 0);       /* one that did not begin */
	assert_string_equal(slow->command, slow->operation);
}

/* Names too long for the text end where it ends. */
static void long_text(void **state)
{
	struct nfs_call call = call_of(4);

	(void)state;
	latency_set_slow_limit(20 * MS);
	for (unsigned i = 0; i < 40; i++)
		nfs_slow_operation(&call, 3, MS, 0);
	now += 30 * MS;
	nfs_slow_ends(&call);
	nfs_slow_list(list, 1);
	assert_true(strlen(list[0].command) < sizeof(list[0].command));
	assert_int_equal(strncmp(list[0].command, "A_LONG_ONE A_LONG_ONE", 21), 0);
}

static void the_last_ones(void **state)
{
	uint64_t number;

	(void)state;
	latency_set_slow_limit(20 * MS);
	nfs_slow_list(list, 1);
	number = list[0].number;
	for (unsigned i = 0; i < NFS_SLOW_MAX + 4; i++) {
		struct nfs_call call = call_of(3);

		now += 30 * MS;
		nfs_slow_ends(&call);
	}
	assert_int_equal(latency_slow_number(), number + NFS_SLOW_MAX + 5); /* a command of SCSI */
	assert_int_equal(nfs_slow_list(list, NFS_SLOW_MAX + 1), NFS_SLOW_MAX);
	assert_int_equal(list[0].number, number + NFS_SLOW_MAX + 4);
	assert_int_equal(list[NFS_SLOW_MAX - 1].number, number + 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(one),           cmocka_unit_test(not_slow),
	    cmocka_unit_test(compounds),     cmocka_unit_test(long_text),
	    cmocka_unit_test(the_last_ones),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
