/* SPDX-License-Identifier: Apache-2.0 */
/* Reservations as bytes and back; bytes that are none are refused. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/heap.h"
#include "target/internal.h"

static void add(struct pr_state *state, const char *port, uint16_t group, uint64_t key, bool holder)
{
	struct pr_identity identity = {.relative_port = group};
	struct pr_registration *entry;

	snprintf(identity.initiator_port, sizeof(identity.initiator_port), "%s", port);
	snprintf(identity.target, sizeof(identity.target), "iqn.2026-11.org.example:t");
	entry = pr_state_add(state, &identity, key);
	assert_non_null(entry);
	entry->holder = holder;
}

static void make(struct pr_state *state)
{
	*state = (struct pr_state){
	    .generation = 77, .type = PR_WRITE_EXCLUSIVE_REGISTRANTS, .aptpl = true};
	add(state, "iqn.2026-11.org.example:a,i,0x800000000001", 1, 0xC1D5000000000001, true);
	add(state, "iqn.2026-11.org.example:b,i,0x800000000002", 2, 7, false);
	add(state, "iqn.2026-11.org.example:gone,i,0x1", 1, 9, false);
	state->list[2].removed = true;
}

static void test_there_and_back(void **unused)
{
	struct pr_state state, read = {0};
	uint8_t *data = NULL;
	size_t length = 0;

	(void)unused;
	make(&state);
	assert_int_equal(pr_note_encode(&state, &data, &length), 0);
	assert_int_equal(pr_note_decode(data, length, &read), 0);
	assert_true(read.generation == 77 && read.type == PR_WRITE_EXCLUSIVE_REGISTRANTS &&
		    read.aptpl && read.count == 2);
	for (unsigned i = 0; i < 2; i++) {
		assert_true(pr_identity_equal(&read.list[i].identity, &state.list[i].identity));
		assert_true(read.list[i].key == state.list[i].key &&
			    read.list[i].holder == state.list[i].holder && !read.list[i].removed);
	}
	pr_state_finish(&read);
	pr_state_finish(&state);
	heap_free(data);
}

static void test_what_is_cut_off(void **unused)
{
	struct pr_state state, read = {0};
	uint8_t *data = NULL;
	size_t length = 0;

	(void)unused;
	make(&state);
	assert_int_equal(pr_note_encode(&state, &data, &length), 0);
	for (size_t cut = 0; cut < length; cut++)
		assert_int_equal(pr_note_decode(data, cut, &read), -EPROTO);
	pr_state_finish(&state);
	heap_free(data);
}

static void test_what_makes_no_sense(void **unused)
{
	static const struct {
		unsigned at;
		uint8_t byte;
	} wrong[] = {{0, 'X'}, {4, 2},  {5, 2},       {5, 200},
		     {6, 2},   {12, 1}, {16 + 10, 2}, {16 + 12, 9}};
	struct pr_state state, read = {0};
	uint8_t *data = NULL;
	size_t length = 0;

	(void)unused;
	make(&state);
	assert_int_equal(pr_note_encode(&state, &data, &length), 0);
	for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		uint8_t kept = data[wrong[i].at];

		data[wrong[i].at] = wrong[i].byte;
		assert_int_equal(pr_note_decode(data, length, &read), -EPROTO);
		data[wrong[i].at] = kept;
	}
	memset(data + 16, 0, 8); /* a key of 0 */
	assert_int_equal(pr_note_decode(data, length, &read), -EPROTO);
	pr_state_finish(&state);
	heap_free(data);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_there_and_back),
	    cmocka_unit_test(test_what_is_cut_off),
	    cmocka_unit_test(test_what_makes_no_sense),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
