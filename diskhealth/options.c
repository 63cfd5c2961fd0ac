/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "diskhealth/diskhealth.h"

#define EVERY 600 /* seconds */

static int usage(FILE *to, int status)
{
	fprintf(to,
		"usage: granary-smart [--state DIR] [--every SECONDS | --once] [--disk NAME]...\n"
		"                     [--smartctl PROGRAM]\n\n"
		"Asks the machine's disks how they are, and tells granaryd.\n");
	return status;
}

static bool read_seconds(const char *text, unsigned *seconds)
{
	char *end;
	unsigned long value = strtoul(text, &end, 10);

	if (!isdigit((unsigned char)*text) || *end || value < 1 || value > 86400)
		return false;
	*seconds = (unsigned)value;
	return true;
}

/* A name of /dev, and nothing that leads elsewhere or is an option. */
static bool is_name(const char *text)
{
	return isalnum((unsigned char)*text) && strlen(text) < SMART_NAME && !strchr(text, '/');
}

static bool take(struct smart_options *options, const char *option, const char *value)
{
	if (strcmp(option, "--state") == 0)
		options->state_dir = value;
	else if (strcmp(option, "--smartctl") == 0)
		options->program = value;
	else if (strcmp(option, "--every") == 0)
		return read_seconds(value, &options->every);
	else if (strcmp(option, "--disk") == 0 && is_name(value) &&
		 options->disk_count < SMART_DISKS_MAX)
		options->disks[options->disk_count++] = value;
	else
		return false;
	return true;
}

int smart_options_read(int argc, char **argv, struct smart_options *ret_options)
{
	*ret_options = (struct smart_options){
	    .state_dir = "/var/lib/granary", .program = SMART_PROGRAM, .every = EVERY};
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--help") == 0)
			return usage(stdout, 0);
		if (strcmp(argv[i], "--once") == 0)
			ret_options->every = 0;
		else if (i + 1 == argc || !take(ret_options, argv[i], argv[i + 1]))
			return usage(stderr, 2);
		else
			i++;
	}
	return -1;
}
