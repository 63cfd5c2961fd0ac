/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "replication/lease.h"
#include "replication/lineage.h"

/* What a witness answers; how nodes use it is the simulator's (tests/sim/replica_lease.c). */

#define LENGTH 1000u

static struct lease_book book;
static uint64_t now;
static unsigned saves;
static int save_result;
static struct lease_record saved;

static int save(struct lease_book *self, const struct lease_record *record)
{
	(void)self;
	if (save_result)
		return save_result;
	saves++;
	saved = *record;
	return 0;
}

static uint64_t clock_now(struct lease_book *self)
{
	(void)self;
	return now;
}

static void open_book(void)
{
	lease_book_init(&book);
	book.save = save;
	book.clock = clock_now;
}

static int set_up(void **state)
{
	(void)state;
	now = 5000;
	saves = 0;
	save_result = 0;
	open_book();
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	lease_book_finish(&book);
	return 0;
}

/* @chain: lineages, a letter each, the oldest first. */
static struct wire_message ask(enum lease_ask kind, char node, const char *chain, uint64_t length)
{
	struct wire_message asked = {
	    .type = WIRE_LEASE_ASK, .kind = (uint8_t)kind, .length = length, .epoch = 7};
	struct wire_message answer = {.kind = LEASE_NONE, .length = 1};

	memset(asked.node, node, 16);
	memset(asked.group, 'g', 16);
	for (; *chain; chain++) {
		uint8_t uuid[16];

		memset(uuid, *chain, 16);
		lineage_fork(&asked.lineage, uuid, 1);
	}
	book.server.judge(&book.server, &asked, &answer);
	return answer;
}

static void assert_says(enum lease_ask kind, char node, const char *chain,
			enum lease_verdict verdict)
{
	assert_int_equal(ask(kind, node, chain, LENGTH).kind, verdict);
}

static void test_one_has_it_until_its_time_is_over(void **state)
{
	struct wire_message answer;

	(void)state;
	assert_says(LEASE_LOOK, 'p', "a", LEASE_NONE);
	assert_says(LEASE_TAKE, 's', "ab", LEASE_NONE);
	assert_int_equal(saves, 0);
	assert_says(LEASE_RENEW, 'p', "a", LEASE_GRANTED);
	assert_int_equal(saves, 1);
	now += LENGTH / 2;
	assert_says(LEASE_RENEW, 'p', "a", LEASE_GRANTED);
	assert_int_equal(saves, 1); /* nothing that has to last has changed */
	now += LENGTH - 1;
	answer = ask(LEASE_LOOK, 's', "a", LENGTH);
	assert_true(answer.kind == LEASE_HELD && answer.length == 1 && answer.node[3] == 'p');
	assert_says(LEASE_TAKE, 's', "ab", LEASE_HELD);
	now++;
	assert_says(LEASE_LOOK, 's', "a", LEASE_FREE);
	answer = ask(LEASE_TAKE, 's', "ab", LENGTH);
	assert_true(answer.kind == LEASE_GRANTED && answer.epoch == 7 && answer.length == LENGTH);
	assert_true(saves == 2 && saved.holder[0] == 's' && saved.head[0] == 'b');
}

static void test_who_lost_it_does_not_get_it_back(void **state)
{
	(void)state;
	assert_says(LEASE_RENEW, 'p', "a", LEASE_GRANTED);
	now += LENGTH;
	assert_says(LEASE_TAKE, 's', "ab", LEASE_GRANTED);
	now += 10 * LENGTH;
	assert_says(LEASE_RENEW, 'p', "a", LEASE_FORKED);
	assert_says(LEASE_RETIRE, 'p', "a", LEASE_FORKED);
	assert_says(LEASE_TAKE, 'p', "ac", LEASE_FORKED);
	assert_says(LEASE_TAKE, 's', "ab", LEASE_GRANTED); /* asked once more */
	assert_says(LEASE_RENEW, 's', "ab", LEASE_GRANTED);
	now += LENGTH;
	assert_says(LEASE_TAKE, 'p', "abd", LEASE_GRANTED); /* as the other one's standby */
}

static void test_given_back_it_is_another_s_at_once(void **state)
{
	(void)state;
	assert_says(LEASE_RENEW, 'p', "a", LEASE_GRANTED);
	assert_says(LEASE_RENEW, 's', "ab", LEASE_HELD);
	assert_says(LEASE_RELEASE, 's', "ab", LEASE_NONE); /* it is not his to give */
	assert_says(LEASE_RENEW, 's', "ab", LEASE_HELD);
	assert_says(LEASE_RELEASE, 'p', "a", LEASE_GRANTED);
	assert_says(LEASE_RENEW, 's', "ab", LEASE_GRANTED);
	assert_says(LEASE_RENEW, 'p', "a", LEASE_FORKED);
}

static void test_given_up_nobody_takes_it(void **state)
{
	(void)state;
	assert_says(LEASE_RENEW, 'p', "a", LEASE_GRANTED);
	assert_says(LEASE_RETIRE, 'p', "a", LEASE_GRANTED);
	assert_true(saved.retired);
	now += 10 * LENGTH;
	assert_says(LEASE_TAKE, 's', "ab", LEASE_NONE);
	assert_says(LEASE_LOOK, 's', "a", LEASE_NONE);
	lease_book_finish(&book);
	open_book();
	assert_int_equal(lease_book_load(&book, &saved), 0);
	now += 10 * LENGTH;
	assert_says(LEASE_TAKE, 's', "ab", LEASE_NONE);
	assert_says(LEASE_RENEW, 'x', "z", LEASE_FORKED);
	assert_says(LEASE_RENEW, 'p', "a", LEASE_GRANTED); /* it is wanted again */
	now += LENGTH;
	assert_says(LEASE_TAKE, 's', "ab", LEASE_GRANTED);
}

static void test_a_start_waits_as_long_as_any_may_last(void **state)
{
	(void)state;
	assert_says(LEASE_RENEW, 'p', "a", LEASE_GRANTED);
	assert_int_equal(ask(LEASE_RENEW, 'p', "a", 3 * LENGTH).kind, LEASE_GRANTED);
	now += LENGTH;
	/* Shorter from now on: what was granted lasts longer than that. */
	assert_says(LEASE_RENEW, 'p', "a", LEASE_GRANTED);
	assert_int_equal(saved.lease_ns, 3 * LENGTH);
	lease_book_finish(&book);
	open_book();
	assert_int_equal(lease_book_load(&book, &saved), 0);
	now += 3 * LENGTH - 1;
	assert_says(LEASE_TAKE, 's', "ab", LEASE_HELD);
	now++;
	assert_says(LEASE_TAKE, 's', "ab", LEASE_GRANTED);
}

static void test_what_can_not_be_saved_is_not_granted(void **state)
{
	(void)state;
	save_result = -EIO;
	assert_says(LEASE_RENEW, 'p', "a", LEASE_BUSY);
	assert_true(book.count == 0);
	save_result = 0;
	assert_says(LEASE_RENEW, 'p', "a", LEASE_GRANTED);
	now += LENGTH;
	save_result = -EIO;
	assert_says(LEASE_TAKE, 's', "ab", LEASE_BUSY);
	assert_says(LEASE_RENEW, 'p', "a", LEASE_GRANTED);
	assert_says(LEASE_TAKE, 's', "ab", LEASE_HELD);
}

/* Whoever asks for a hundred years does not get them: who grants would wait as long, also after a
 * start. */
static void test_none_is_longer_than_leases_are(void **state)
{
	struct wire_message answer;

	(void)state;
	answer = ask(LEASE_RENEW, 'p', "a", 3000000000ull * 1000000000ull);
	assert_true(answer.kind == LEASE_GRANTED && answer.length == LEASE_NS_MAX);
	assert_true(saved.lease_ns == LEASE_NS_MAX);
	now += LEASE_NS_MAX;
	assert_says(LEASE_TAKE, 's', "ab", LEASE_GRANTED);
}

static void test_there_is_an_end_to_the_book(void **state)
{
	struct wire_message asked = {
	    .type = WIRE_LEASE_ASK, .kind = LEASE_RENEW, .length = LENGTH, .lineage = {.count = 1}};

	(void)state;
	for (unsigned i = 0; i <= LEASE_RECORDS_MAX; i++) {
		struct wire_message answer = {.kind = LEASE_NONE};

		asked.group[0] = (uint8_t)i;
		asked.group[1] = (uint8_t)(i >> 8);
		book.server.judge(&book.server, &asked, &answer);
		assert_int_equal(answer.kind, i < LEASE_RECORDS_MAX ? LEASE_GRANTED : LEASE_BUSY);
	}
	assert_int_equal(book.count, LEASE_RECORDS_MAX);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
	    TEST(test_one_has_it_until_its_time_is_over),
	    TEST(test_who_lost_it_does_not_get_it_back),
	    TEST(test_given_back_it_is_another_s_at_once),
	    TEST(test_given_up_nobody_takes_it),
	    TEST(test_a_start_waits_as_long_as_any_may_last),
	    TEST(test_what_can_not_be_saved_is_not_granted),
	    TEST(test_none_is_longer_than_leases_are),
	    TEST(test_there_is_an_end_to_the_book),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
