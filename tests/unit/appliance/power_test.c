/* SPDX-License-Identifier: Apache-2.0 */
/* The power goes at each step of an update, over a disk that keeps of what was not synced any
 * sectors it likes: whatever the boot loader may then start is a whole release. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/evp.h>

#include "appliance/install.h"

#define SECTOR   512u
#define LARGEST  (2u << 20)
#define PLACES   (BUNDLE_FILES + 1) /* the environment block comes last */
#define ENV      BUNDLE_FILES
#define SEEDS    3
#define POWER_ON (~0u)

static const unsigned sizes[BUNDLE_FILES] = {3 * SECTOR, (1u << 20) + SECTOR, LARGEST};

/* One place of the disk: what lies on the medium, what the system believes to lie there. */
struct place {
	uint8_t durable[LARGEST], seen[LARGEST];
};

static struct machine {
	struct place place[PLACES];
	uint8_t old[BUNDLE_FILES][LARGEST], new[BUNDLE_FILES][LARGEST];
	struct bundle bundle;
	unsigned steps, last_step; /* done; the one at which the power goes */
	unsigned file, at, read;   /* being installed; offsets in it and in the bundle's */
	unsigned seed;
	bool lies; /* a disk whose flush does nothing */
} machine;

static unsigned size_of(unsigned place)
{
	return place == ENV ? GRUBENV_SIZE : sizes[place];
}

static bool still_on(void)
{
	return machine.steps++ < machine.last_step;
}

static int power_lost(void)
{
	return still_on() ? 0 : -ENODEV;
}

static int read_bundle(void *context, void *data, size_t length, struct err *err)
{
	(void)context;
	(void)err;
	memcpy(data, machine.new[machine.file] + machine.read, length);
	machine.read += (unsigned)length;
	return 0;
}

static int begin(void *context, enum bundle_file file, uint64_t size, struct err *err)
{
	(void)context;
	(void)err;
	assert_int_equal(size, sizes[file]);
	machine.file = file;
	machine.at = machine.read = 0;
	return power_lost();
}

static int write_part(void *context, const void *data, size_t length, struct err *err)
{
	(void)context;
	(void)err;
	if (machine.steps < machine.last_step || length > SECTOR) /* half of the last one too */
		memcpy(machine.place[machine.file].seen + machine.at, data,
		       machine.steps < machine.last_step ? length : length / 2);
	machine.at += (unsigned)length;
	return power_lost();
}

static void make_durable(unsigned place)
{
	if (!machine.lies)
		memcpy(machine.place[place].durable, machine.place[place].seen, size_of(place));
}

static int sync_part(void *context, struct err *err)
{
	(void)context;
	(void)err;
	machine.at = 0;
	if (!still_on())
		return -ENODEV;
	make_durable(machine.file);
	return 0;
}

static int read_back(void *context, void *data, size_t length, struct err *err)
{
	(void)context;
	(void)err;
	memcpy(data, machine.place[machine.file].seen + machine.at, length);
	machine.at += (unsigned)length;
	return 0;
}

static int end(void *context, struct err *err)
{
	(void)context;
	(void)err;
	return power_lost();
}

static int read_env(void *context, struct grubenv *ret_env, struct err *err)
{
	(void)context;
	return grubenv_parse((const char *)machine.place[ENV].seen, ret_env, err);
}

static int write_env(void *context, const struct grubenv *env, struct err *err)
{
	char block[GRUBENV_SIZE];

	(void)context;
	(void)err;
	grubenv_format(env, block);
	memcpy(machine.place[ENV].seen, block, sizeof block);
	if (!still_on())
		return -ENODEV; /* written, or not: the dice say so */
	make_durable(ENV);
	return power_lost();
}

static const struct install_ops simulated = {
    .read_bundle = read_bundle,
    .begin = begin,
    .write = write_part,
    .sync = sync_part,
    .read_back = read_back,
    .end = end,
    .read_env = read_env,
    .write_env = write_env,
};

static void set_env(const struct grubenv *env)
{
	char block[GRUBENV_SIZE];

	grubenv_format(env, block);
	memcpy(machine.place[ENV].durable, block, sizeof block);
}

/* Of what was not synced, some sectors reached the medium. */
static void lose_power(void)
{
	for (unsigned place = 0; place < PLACES; place++) {
		struct place *at = &machine.place[place];
		/* None, all, or any of them. */
		unsigned chance = (unsigned)rand_r(&machine.seed) % 3;

		for (unsigned from = 0; from < size_of(place); from += SECTOR)
			if (chance == 1 || (chance == 2 && rand_r(&machine.seed) & 1))
				memcpy(at->durable + from, at->seen + from, SECTOR);
		memcpy(at->seen, at->durable, size_of(place));
	}
}

static bool whole(uint8_t release[BUNDLE_FILES][LARGEST])
{
	for (unsigned file = 0; file < BUNDLE_FILES; file++)
		if (memcmp(machine.place[file].durable, release[file], sizes[file]) != 0)
			return false;
	return true;
}

/* Slot a is never written here; slot b counts where the boot loader may go to it. */
static bool boots(void)
{
	struct grubenv env;

	if (grubenv_parse((const char *)machine.place[ENV].durable, &env, NULL) < 0)
		return false;
	/* Nobody is to go to it by hand either; and it is not named before it is another's turn. */
	if (env.half != 'b' && !whole(machine.new) && !whole(machine.old))
		return false;
	if (env.half && (env.half == env.slot || !env.good))
		return false;
	if (env.slot == 'a' && env.good)
		return true;
	return whole(machine.new) || (env.slot == 'a' && whole(machine.old));
}

static int update(unsigned last_step, const struct grubenv *before)
{
	for (unsigned file = 0; file < BUNDLE_FILES; file++)
		memcpy(machine.place[file].durable, machine.old[file], sizes[file]);
	set_env(before);
	for (unsigned place = 0; place < PLACES; place++)
		memcpy(machine.place[place].seen, machine.place[place].durable, size_of(place));
	machine.steps = 0;
	machine.last_step = last_step;
	return install_release(&simulated, NULL, &machine.bundle, 'a', NULL);
}

static int make_releases(void **state)
{
	unsigned seed = 7;

	(void)state;
	for (unsigned file = 0; file < BUNDLE_FILES; file++) {
		for (unsigned i = 0; i < sizes[file]; i++) {
			machine.old[file][i] = (uint8_t)rand_r(&seed);
			machine.new[file][i] = (uint8_t)rand_r(&seed);
		}
		machine.bundle.files[file].size = sizes[file];
		EVP_Digest(machine.new[file], sizes[file], machine.bundle.files[file].sha256, NULL,
			   EVP_sha256(), NULL);
	}
	machine.lies = false;
	return 0;
}

static const struct grubenv befores[] = {
    {.slot = 'a', .good = true},
    {.slot = 'a', .tries = 2}, /* itself still on trial, b the way out */
    {.slot = 'a', .good = true, .failed = 'b'},
    {.slot = 'a', .good = true, .half = 'b'}, /* one was cut off before */
};

static unsigned failures(void)
{
	unsigned bad = 0, steps;

	assert_int_equal(update(POWER_ON, &befores[0]), 0);
	steps = machine.steps;
	assert_true(steps > 15);
	for (unsigned which = 0; which < sizeof befores / sizeof *befores; which++) {
		for (unsigned i = 0; i < steps * SEEDS; i++) {
			assert_int_equal(update(i / SEEDS, &befores[which]), -ENODEV);
			machine.seed = i + 1000 * which;
			lose_power();
			bad += !boots();
		}
	}
	return bad;
}

static void always_boots(void **state)
{
	struct grubenv env;

	(void)state;
	assert_int_equal(failures(), 0);
	/* And the next attempt is as good as the first. */
	machine.steps = 0;
	machine.last_step = POWER_ON;
	assert_int_equal(install_release(&simulated, NULL, &machine.bundle, 'a', NULL), 0);
	assert_int_equal(read_env(NULL, &env, NULL), 0);
	assert_int_equal(env.slot, 'b');
	assert_int_equal(env.tries, INSTALL_TRIES);
	assert_false(env.good);
	assert_int_equal(env.half, 0);
	assert_true(whole(machine.new));
}

/* The simulation finds what it looks for. */
static void a_lying_disk_is_noticed(void **state)
{
	(void)state;
	machine.lies = true;
	assert_true(failures() > 0);
}

static void another_digest(void **state)
{
	struct grubenv env;

	(void)state;
	machine.bundle.files[BUNDLE_ROOT].sha256[5] ^= 1;
	assert_int_equal(update(POWER_ON, &befores[1]), -EBADMSG);
	assert_int_equal(read_env(NULL, &env, NULL), 0);
	assert_int_equal(env.slot, 'a');
	assert_true(env.good);
	assert_int_equal(env.half, 'b');
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(always_boots, make_releases),
	    cmocka_unit_test_setup(a_lying_disk_is_noticed, make_releases),
	    cmocka_unit_test_setup(another_digest, make_releases),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
