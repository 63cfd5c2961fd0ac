/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fusemount/fusemount.h"

#define DEFAULT_STATE_DIR "/var/lib/granary"

static const char help[] =
    "granary-mount: a share of Granary, or a snapshot of one, in a directory of this machine\n\n"
    "usage: granary-mount [OPTION]... POOL/NAME[@SNAPSHOT] DIR\n\n"
    "  --state DIR         granaryd's state directory (default $GRANARY_STATE or\n"
    "                      " DEFAULT_STATE_DIR ")\n"
    "  --ro                nothing can be changed (a snapshot is always so)\n"
    "  --foreground        stay until it is unmounted\n"
    "  --help              print this help and exit\n\n"
    "It needs root. umount(8), \"granary share unmount\" and granaryd's end end it.\n";

static int usage(const char *text)
{
	fprintf(stderr, "granary-mount: %s (granary-mount --help shows the options)\n", text);
	return 2;
}

static int read_all(int argc, char **argv, struct mount_options *options)
{
	static const struct option longs[] = {
	    {"state", required_argument, NULL, 's'},
	    {"ro", no_argument, NULL, 'r'},
	    {"foreground", no_argument, NULL, 'f'},
	    {"help", no_argument, NULL, 'h'},
	    {0},
	};
	int code;

	while ((code = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		if (code == 's')
			options->state_dir = optarg;
		else if (code == 'r')
			options->hello.read_only = true;
		else if (code == 'f')
			options->foreground = true;
		else if (code == 'h')
			return fputs(help, stdout), 0;
		else
			return 2; /* getopt_long() has said why */
	}
	return -1;
}

int mount_options_read(int argc, char **argv, struct mount_options *ret_options)
{
	uint32_t read_only;
	int status;

	*ret_options = (struct mount_options){.state_dir = getenv("GRANARY_STATE")};
	status = read_all(argc, argv, ret_options);
	if (status >= 0)
		return status;
	read_only = ret_options->hello.read_only;
	if (argc - optind != 2 || !mount_hello_init(&ret_options->hello, argv[optind]))
		return usage("say POOL/NAME[@SNAPSHOT] and DIR");
	if (!ret_options->state_dir || !*ret_options->state_dir)
		ret_options->state_dir = DEFAULT_STATE_DIR;
	ret_options->hello.read_only = read_only || *ret_options->hello.snapshot;
	ret_options->dir = argv[optind + 1];
	return -1;
}
