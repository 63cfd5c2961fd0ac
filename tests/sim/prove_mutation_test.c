/* SPDX-License-Identifier: Apache-2.0 */
/* prove_mutation_test: does the proof of a device (volumes/prove_device.h) notice a pool that loses
 * what was durable? As it is the engine passes; without a line on which durability hangs
 * (volumes/order.h) the same proof finds crashes that lost something.
 * The device is memory, so that it is states that take the time, and a try that finds nothing, or
 * comes to too few of them, is followed by one with twice the time.
 * granary-test: timeout=400 asan=never */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/world.h"
#include "tests/sim/mutation.h"
#include "volumes/prove_device.h"

static const char *const lines[] = {"cycle_flush_devices", "checkpoint_flush_before_superblock",
				    "cycle_commit_before_flush"};

#define SECONDS_MAX 64u

static char path[64];
static int proved;

static void done(struct device_proof *proof, int result)
{
	proved = result;
	loop_stop(proof->home);
}

/* 0: nothing was lost, 1: something was, 2: no proof. */
static int prove(const char *without, unsigned seconds)
{
	struct device_proof *proof = calloc(1, sizeof *proof);
	const struct world_ops *world;
	struct loop *loop;
	struct err err;

	if (without)
		mutation_disable(without);
	if (!proof || world_select("auto", &world, &err) < 0 || loop_create(world, &loop, &err) < 0)
		return 2;
	proof->path = path;
	proof->budget_ns = seconds * 1000000000ull;
	proof->force = true;
	proof->done = done;
	device_proof_start(world, loop, proof);
	loop_run(loop);
	loop_destroy(loop);
	if (proved < 0 || proof->load.errors || proof->load.mismatches || proof->crashes.states < 3)
		return 2;
	return proof->crashes.failed ? 1 : 0;
}

static int prove_once(const char *without, unsigned seconds)
{
	pid_t child = fork();
	int status = 0, nowhere;

	if (child == 0) {
		nowhere = open("/dev/null", O_WRONLY);
		dup2(nowhere, 2);
		alarm(seconds + 60);
		_exit(prove(without, seconds));
	}
	if (waitpid(child, &status, 0) != child || !WIFEXITED(status))
		return 3; /* what was lost can bring the engine down, too */
	return WEXITSTATUS(status);
}

/* Of an engine that lacks a line, until something was lost. */
static int prove_apart(const char *without)
{
	int result = 2;

	for (unsigned seconds = 2; seconds <= SECONDS_MAX; seconds *= 2) {
		result = prove_once(without, seconds);
		if (result == 1 || (!without && result != 2))
			break;
	}
	return result;
}

int main(void)
{
	int file = memfd_create("granary-proof", 0), result;
	unsigned count = sizeof lines / sizeof lines[0];
	bool bad = false;

	if (file < 0 || ftruncate(file, 80 << 20) < 0)
		return 1;
	snprintf(path, sizeof path, "/proc/self/fd/%d", file);
	printf("1..%u\n", count + 1);
	result = prove_apart(NULL);
	printf("%sok 1 - the engine as it is loses nothing (%d)\n", result ? "not " : "", result);
	bad |= result != 0;
	for (unsigned i = 0; i < count; i++) {
		result = prove_apart(lines[i]);
		printf("%sok %u - without %s it does (%d)\n", result == 1 ? "" : "not ", i + 2,
		       lines[i], result);
		bad |= result != 1;
	}
	return bad;
}
