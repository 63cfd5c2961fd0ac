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

#include "core/heap.h"
#include "nfs/lock.h"

/* The model: for each byte of a small file, what every owner has of it. The last byte stands for
 * everything up to the end. */
#define BYTES  24u
#define OWNERS 4u
#define FILES  3u

enum { NOTHING, SHARED, EXCLUSIVE };

struct model {
	uint8_t has[FILES][OWNERS][BYTES];
};

static uint64_t seed;

static unsigned pick(unsigned bound)
{
	seed = seed * 6364136223846793005u + 1442695040888963407u;
	return (unsigned)(seed >> 33) % bound;
}

static uint64_t real_last(unsigned last)
{
	return last == BYTES - 1 ? LOCK_TO_END : last;
}

static struct lock_key key_of(unsigned file)
{
	return (struct lock_key){.volume = 7, .object = {.length = 2, .bytes = {(uint8_t)file, 9}}};
}

static bool model_allows(const struct model *model, unsigned file, unsigned owner, unsigned first,
			 unsigned last, int kind)
{
	for (unsigned other = 0; other < OWNERS; other++)
		for (unsigned at = first; at <= last && other != owner; at++) {
			int has = model->has[file][other][at];

			if (has == EXCLUSIVE || (has == SHARED && kind == EXCLUSIVE))
				return false;
		}
	return true;
}

/* Every byte of the table is as the model says: asked through a stranger's eyes. */
static void compare(struct lock_table *table, const struct model *model, unsigned file)
{
	struct lock_key key = key_of(file);
	struct lock_owner stranger;
	struct lock_conflict conflict;

	lock_owner_init(&stranger, 99, 0, "stranger", 8);
	for (unsigned at = 0; at < BYTES; at++) {
		struct lock_range byte = {at, at, false};
		int strongest = NOTHING;

		for (unsigned owner = 0; owner < OWNERS; owner++)
			if (model->has[file][owner][at] > strongest)
				strongest = model->has[file][owner][at];
		assert_int_equal(lock_test(table, &key, &stranger, &byte, &conflict),
				 strongest == EXCLUSIVE ? -EAGAIN : 0);
		byte.exclusive = true;
		assert_int_equal(lock_test(table, &key, &stranger, &byte, &conflict),
				 strongest != NOTHING ? -EAGAIN : 0);
		if (strongest != NOTHING) {
			assert_in_range(at, conflict.range.first, conflict.range.last);
			assert_int_equal(model->has[file][conflict.process][at],
					 conflict.range.exclusive ? EXCLUSIVE : SHARED);
		}
	}
}

/* Locks there must be: runs of one kind. */
static unsigned runs(const struct model *model)
{
	unsigned count = 0;

	for (unsigned file = 0; file < FILES; file++)
		for (unsigned owner = 0; owner < OWNERS; owner++)
			for (unsigned at = 0; at < BYTES; at++) {
				int has = model->has[file][owner][at];

				count += has && (at == 0 || model->has[file][owner][at - 1] != has);
			}
	return count;
}

static void against_model(void **state)
{
	struct lock_owner owners[OWNERS];
	struct lock_table *table;
	struct model model = {0};
	static const uint8_t names[OWNERS] = {'a', 'b', 'c', 'd'};

	(void)state;
	seed = 20261121;
	assert_int_equal(lock_table_create(&table), 0);
	for (unsigned i = 0; i < OWNERS; i++)
		lock_owner_init(&owners[i], 1 + i / 2, (int32_t)i, &names[i], 1);
	for (unsigned step = 0; step < 200000; step++) {
		unsigned file = pick(FILES), owner = pick(OWNERS), first = pick(BYTES);
		unsigned last = first + pick(BYTES - first), what = pick(20);
		struct lock_key key = key_of(file);
		int kind = pick(2) ? EXCLUSIVE : SHARED;
		struct lock_range range = {first, real_last(last), kind == EXCLUSIVE};

		if (what < 11) {
			bool may = model_allows(&model, file, owner, first, last, kind);
			struct lock_conflict conflict;

			assert_int_equal(lock_set(table, &key, &owners[owner], &range, &conflict),
					 may ? 0 : -EAGAIN);
			if (may)
				memset(&model.has[file][owner][first], kind, last - first + 1);
			else
				assert_int_not_equal(conflict.process, owner);
		} else if (what < 19) {
			assert_int_equal(
			    lock_clear(table, &key, &owners[owner], range.first, range.last), 0);
			memset(&model.has[file][owner][first], NOTHING, last - first + 1);
		} else {
			lock_owner_drop(table, &owners[owner], pick(4) ? &key : NULL);
			for (unsigned f = 0; f < FILES; f++)
				if (!lock_owner_holds(table, &owners[owner],
						      &(struct lock_key){7, key_of(f).object}))
					memset(model.has[f][owner], NOTHING, BYTES);
			memset(model.has[file][owner], NOTHING, BYTES);
		}
		assert_int_equal(lock_count(table), runs(&model));
		if (step % 16 == 0)
			compare(table, &model, file);
	}
	for (unsigned i = 0; i < OWNERS; i++)
		lock_owner_drop(table, &owners[i], NULL);
	assert_int_equal(lock_count(table), 0);
	lock_table_destroy(table);
}

static void reservations(void **state)
{
	struct lock_share mine = {.client = 1}, other = {.client = 2};
	struct lock_key key = key_of(0), elsewhere = key_of(1);
	struct lock_table *table;
	uint64_t who = 0;

	(void)state;
	assert_int_equal(lock_table_create(&table), 0);
	assert_int_equal(lock_share_set(table, &key, &mine, 1, 2, &who), 0);
	assert_int_equal(lock_share_set(table, &key, &other, 2, 0, &who), -EAGAIN);
	assert_int_equal(who, 1);
	assert_int_equal(lock_share_set(table, &key, &other, 1, 1, &who), -EAGAIN);
	assert_int_equal(lock_share_set(table, &elsewhere, &other, 3, 3, &who), 0);
	assert_int_equal(lock_share_test(table, &key, NULL, 2, 0, &who), -EAGAIN);
	assert_int_equal(lock_share_test(table, &key, &mine, 2, 0, &who), 0);
	assert_int_equal(lock_share_set(table, &key, &mine, 3, 0, &who), 0); /* changed */
	assert_int_equal(lock_share_test(table, &key, NULL, 2, 0, &who), 0);
	assert_int_equal(lock_share_test(table, &key, NULL, 1, 2, &who), -EAGAIN);
	lock_share_drop(table, &mine);
	lock_share_drop(table, &mine);
	assert_int_equal(lock_share_test(table, &key, NULL, 3, 3, &who), 0);
	lock_share_drop(table, &other);
	lock_table_destroy(table);
}

static unsigned grants[3];

static void granted(struct lock_waiter *waiter)
{
	grants[waiter->owner->process]++;
}

/* In the order they came; two readers at once; one that gave up gets nothing. */
static void waiting(void **state)
{
	struct lock_owner holder, owners[3];
	struct lock_waiter waiters[3];
	struct lock_key key = key_of(0);
	struct lock_range all = {0, LOCK_TO_END, true};
	struct lock_conflict conflict;
	struct lock_table *table;

	(void)state;
	assert_int_equal(lock_table_create(&table), 0);
	lock_owner_init(&holder, 1, 9, "h", 1);
	assert_int_equal(lock_set(table, &key, &holder, &all, &conflict), 0);
	for (int i = 0; i < 3; i++) {
		lock_owner_init(&owners[i], 1, i, "w", 1);
		waiters[i] = (struct lock_waiter){
		    .owner = &owners[i], .range = {0, 9, i == 2}, .granted = granted};
		assert_int_equal(lock_wait(table, &key, &waiters[i], &conflict), -EAGAIN);
		assert_int_equal(conflict.process, 9);
	}
	assert_int_equal(lock_clear(table, &key, &holder, 0, 4), 0);
	assert_int_equal(grants[0] + grants[1] + grants[2], 0);
	assert_int_equal(lock_clear(table, &key, &holder, 5, LOCK_TO_END), 0);
	assert_int_equal(grants[0], 1);
	assert_int_equal(grants[1], 1);
	assert_int_equal(grants[2], 0);
	assert_false(lock_wait_cancel(table, &waiters[0]));
	lock_owner_drop(table, &owners[0], NULL);
	assert_int_equal(grants[2], 0);
	assert_true(lock_wait_cancel(table, &waiters[2]));
	lock_owner_drop(table, &owners[1], &key);
	assert_int_equal(grants[2], 0);
	assert_int_equal(lock_count(table), 0);
	lock_table_destroy(table);
}

/* No memory, and the bound: refused, and nothing has changed. */
static void no_room(void **state)
{
	struct lock_owner owner;
	struct lock_key key = key_of(0);
	struct lock_range all = {0, LOCK_TO_END, true}, middle = {10, 19, false};
	struct lock_table *table;

	(void)state;
	assert_int_equal(lock_table_create(&table), 0);
	lock_owner_init(&owner, 1, 0, "o", 1);
	assert_int_equal(lock_set(table, &key, &owner, &all, NULL), 0);
	for (long n = 0; n < 2; n++) {
		heap_fail_after(n);
		assert_int_equal(lock_set(table, &key, &owner, &middle, NULL), -ENOLCK);
		heap_fail_after(-1);
		assert_int_equal(lock_count(table), 1);
	}
	heap_fail_after(0);
	assert_int_equal(lock_clear(table, &key, &owner, 10, 19), -ENOLCK);
	assert_int_equal(lock_clear(table, &key, &owner, 10, LOCK_TO_END), 0);
	heap_fail_after(-1);
	for (uint64_t at = 10; lock_count(table) < LOCK_RANGES_MAX; at += 2) {
		struct lock_range one = {at + 2, at + 2, true};
		struct lock_key other = key_of((unsigned)(at >> 1) % 250);

		assert_int_equal(lock_set(table, &other, &owner, &one, NULL), 0);
	}
	assert_int_equal(
	    lock_set(table, &key, &owner, &(struct lock_range){1u << 30, 1u << 30, 1}, NULL),
	    -ENOLCK);
	lock_owner_drop(table, &owner, NULL);
	assert_int_equal(lock_count(table), 0);
	lock_table_destroy(table);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(against_model),
	    cmocka_unit_test(reservations),
	    cmocka_unit_test(waiting),
	    cmocka_unit_test(no_room),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
