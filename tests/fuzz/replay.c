/* SPDX-License-Identifier: Apache-2.0 */
/* The fuzz targets without libFuzzer, for "make test": each input of the corpus, and then what
 * becomes of them by cuts, flips, numbers at their limits and splices, for some seconds of CPU: the
 * same each time, further on a faster machine. What finds new ways is "make fuzz". */
#include <dirent.h>
#include <fcntl.h>
#include <sanitizer/common_interface_defs.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tests/sim/rng.h"

#define INPUTS    8192u
#define INPUT_MAX (64u << 10)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
	uint8_t *data;
	size_t size;
};

static struct input inputs[INPUTS];
static unsigned input_count;
static const char *found_path;
/* What the target is given is a block of its own size, so that the sanitizer sees a byte too far.
 */
static uint8_t *current;
static size_t current_size;

/* Keeps the input that ends us, for "build/fuzz/NAME_fuzz FILE". In a signal's context, too. */
static void keep_input(void)
{
	int fd = open(found_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	if (fd >= 0 && write(fd, current, current_size) == (ssize_t)current_size) {
		(void)!write(STDOUT_FILENO, "# the input is kept: ", 21);
		(void)!write(STDOUT_FILENO, found_path, strlen(found_path));
		(void)!write(STDOUT_FILENO, "\n", 1);
	}
}

static void ended(int number)
{
	keep_input();
	signal(number, SIG_DFL);
	raise(number);
}

static void try_input(const uint8_t *data, size_t size)
{
	current = malloc(size ? size : 1);
	if (!current)
		abort();
	memcpy(current, data, size);
	current_size = size;
	LLVMFuzzerTestOneInput(current, size);
	free(current);
	current = NULL;
	current_size = 0;
}

static bool read_input(const char *path)
{
	FILE *file = fopen(path, "rb");
	struct input *input = &inputs[input_count];

	if (!file)
		return false;
	input->data = malloc(INPUT_MAX);
	input->size = input->data ? fread(input->data, 1, INPUT_MAX, file) : 0;
	fclose(file);
	input_count += input->data != NULL;
	return input->data != NULL;
}

static bool read_corpus(const char *folder)
{
	DIR *dir = opendir(folder);
	const struct dirent *entry;
	bool good = dir != NULL;

	while (good && input_count < INPUTS && (entry = readdir(dir))) {
		char path[4096];

		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
		good = read_input(path);
	}
	if (dir)
		closedir(dir);
	return good;
}

static void put_number(struct rng *rng, uint8_t *data, size_t size)
{
	static const uint64_t limits[] = {0,          1,         0x7f,       0x80,       0xff,
					  0x7fff,     0x8000,    0xffff,     0x7fffffff, 0x80000000,
					  0xffffffff, INT64_MAX, 1ull << 63, UINT64_MAX};
	uint64_t number = limits[rng_below(rng, sizeof limits / sizeof limits[0])];
	size_t width = (size_t)1 << rng_below(rng, 4);
	bool big = rng_one_in(rng, 2);

	if (width > size)
		return;
	data += rng_below(rng, size - width + 1);
	for (size_t i = 0; i < width; i++)
		data[i] = (uint8_t)(number >> 8 * (big ? width - 1 - i : i));
}

/* One change of @data; its new size. */
static size_t change(struct rng *rng, uint8_t *data, size_t size)
{
	const struct input *other = &inputs[rng_below(rng, input_count)];
	size_t at = size ? rng_below(rng, size) : 0, from, count;

	switch (rng_below(rng, 6)) {
	case 0:
		return at;
	case 1:
		if (size)
			data[at] ^= (uint8_t)(1u << rng_below(rng, 8));
		return size;
	case 2:
		if (size)
			data[at] = (uint8_t)rng_below(rng, 256);
		return size;
	case 3:
		put_number(rng, data, size);
		return size;
	case 4: /* a piece of another goes over it, or behind it */
		from = other->size ? rng_below(rng, other->size) : 0;
		count = rng_below(rng, other->size - from + 1);
		count = count < INPUT_MAX - at ? count : INPUT_MAX - at;
		memcpy(data + at, other->data + from, count);
		return at + count > size ? at + count : size;
	default: /* a piece is doubled, or lost */
		count = rng_below(rng, size - at + 1);
		if (rng_one_in(rng, 2) && size + count <= INPUT_MAX) {
			memmove(data + at + count, data + at, size - at);
			return size + count;
		}
		memmove(data + at, data + at + count, size - at - count);
		return size - count;
	}
}

static double cpu_seconds(void)
{
	struct timespec used;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
	return (double)used.tv_sec + (double)used.tv_nsec / 1e9;
}

static unsigned long mutate(uint64_t seed, double seconds)
{
	static uint8_t data[INPUT_MAX];
	double limit = cpu_seconds() + seconds;
	unsigned long tried = 0;
	struct rng rng = {.state = seed};

	for (; cpu_seconds() < limit; tried++) {
		const struct input *input = &inputs[rng_below(&rng, input_count)];
		size_t size = input->size;

		memcpy(data, input->data, size);
		for (uint64_t n = 1 + rng_below(&rng, 4); n; n--)
			size = change(&rng, data, size);
		try_input(data, size);
	}
	return tried;
}

int main(int argc, char **argv)
{
	uint64_t seed = argc == 5 ? strtoull(argv[4], NULL, 0) : 1;
	unsigned long tried;

	if (argc < 4 || argc > 5) {
		fprintf(stderr, "usage: NAME_replay CORPUS SECONDS FILE-FOR-A-FINDING [SEED]\n");
		return 2;
	}
	found_path = argv[3];
	__sanitizer_set_death_callback(keep_input);
	signal(SIGABRT, ended);
	if (!read_corpus(argv[1]) || !input_count) {
		fprintf(stderr, "%s: no corpus\n", argv[1]);
		return 1;
	}
	for (unsigned i = 0; i < input_count; i++)
		try_input(inputs[i].data, inputs[i].size);
	printf("ok 1 - %u inputs of the corpus\n# seed %llu\n", input_count,
	       (unsigned long long)seed);
	fflush(stdout);
	tried = mutate(seed, strtod(argv[2], NULL));
	printf("%sok 2 - %lu inputs made of them\n1..2\n", tried ? "" : "not ", tried);
	for (unsigned i = 0; i < input_count; i++)
		free(inputs[i].data);
	return !tried;
}
