/* SPDX-License-Identifier: Apache-2.0 */
/* share_mutation_test: would share_test notice? Each line of shares/order.h is left out in turn;
 * runs go on until one reports a violation. --only NAME, --seconds N (of one mutant). granary-test:
 * timeout=400 asan=never */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/sim/life.h"
#include "tests/sim/mutation.h"
#include "tests/sim/share_life.h"

#define NAMES_MAX 32

static char names[NAMES_MAX][64];
static unsigned name_count;

/* The table in the comment of order.h: " * name   file.c   what it keeps". */
static void read_table(void)
{
	FILE *file = fopen("shares/order.h", "r");
	char line[300], source[64];

	while (file && name_count < NAMES_MAX && fgets(line, sizeof(line), file))
		if (sscanf(line, " * %63[a-z0-9_] %63[a-z0-9_.]", names[name_count], source) == 2 &&
		    strstr(source, ".c"))
			name_count++;
	if (file)
		fclose(file);
}

/* True when the run with @seed and without the line @name is a violation. */
static bool caught(const char *name, uint64_t seed)
{
	pid_t child = fork();
	int status = 0, nowhere;

	if (child == 0) {
		struct share_run run = {.seed = seed,
					.operations = 1500,
					.ios_between = 20,
					.states_per_crash = 3,
					.states_max = 300};

		nowhere = open("/dev/null", O_WRONLY);
		dup2(nowhere, 1);
		dup2(nowhere, 2);
		alarm(60);
		mutation_disable(name);
		share_run(&run);
		_exit(0);
	}
	return waitpid(child, &status, 0) == child && status != 0;
}

int main(int argc, char **argv)
{
	const char *only = NULL;
	time_t seconds = 40;
	bool bad = false;

	for (int i = 1; i + 1 < argc; i += 2) {
		if (strcmp(argv[i], "--only") == 0)
			only = argv[i + 1];
		else if (strcmp(argv[i], "--seconds") == 0)
			seconds = strtol(argv[i + 1], NULL, 10);
	}
	read_table();
	for (unsigned i = 0; i < name_count; i++) {
		time_t limit = time(NULL) + seconds;
		uint64_t seed = 1;
		bool found = false;

		if (only && strcmp(only, names[i]) != 0)
			continue;
		while (!found && time(NULL) < limit)
			found = caught(names[i], seed++);
		printf("%s %u - without %s: %s with seed %llu\n", found ? "ok" : "not ok", i + 1,
		       names[i], found ? "caught" : "NOT caught up to",
		       (unsigned long long)seed - 1);
		fflush(stdout);
		bad |= !found;
	}
	printf("1..%u\n", only ? 1 : name_count);
	return bad || name_count == 0;
}
