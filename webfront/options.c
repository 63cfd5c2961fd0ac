/* SPDX-License-Identifier: Apache-2.0 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "webfront/webfront.h"

static const struct option longs[] = {
    {"state", required_argument, NULL, 's'},
    {"bind", required_argument, NULL, 'b'},
    {"port", required_argument, NULL, 'p'},
    {"host", required_argument, NULL, 'n'},
    {"version", no_argument, NULL, 'V'},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

static void print_help(void)
{
	printf("granary-web: the Granary API over HTTPS, in front of granaryd\n\n"
	       "usage: granary-web [OPTION]...\n\n"
	       "  --state DIR   the daemon's state directory (default $GRANARY_STATE or\n"
	       "                /var/lib/granary); keeps key and certificate in DIR/web\n"
	       "  --bind ADDR   listen on this address (default all)\n"
	       "  --port N      port (default $WEB_PORT or 8443; 0 picks a free one)\n"
	       "  --host NAME   a further name it is called by; may be given again\n"
	       "  --version     print the version and exit\n"
	       "  --help        print this help and exit\n\n"
	       "Without --host it answers to its addresses, localhost and the machine's name.\n");
}

static int usage(const char *format, const char *value)
{
	fprintf(stderr, "granary-web: ");
	fprintf(stderr, format, value);
	fprintf(stderr, " (granary-web --help shows the options)\n");
	return 2;
}

static bool read_port(const char *text, uint16_t *ret_port)
{
	char *end;
	unsigned long port;

	if (*text < '0' || *text > '9')
		return false;
	port = strtoul(text, &end, 10);
	if (*end || port > 65535)
		return false;
	*ret_port = (uint16_t)port;
	return true;
}

static int take(int code, const char *value, struct front_options *options)
{
	switch (code) {
	case 's':
		options->state_dir = value;
		return -1;
	case 'b':
		options->bind = value;
		return -1;
	case 'p':
		return read_port(value, &options->port) ? -1 : usage("%s is not a port", value);
	case 'n':
		if (options->host_count == FRONT_HOSTS_MAX)
			return usage("too many --host (%s)", value);
		options->hosts[options->host_count++] = value;
		return -1;
	case 'V':
		printf("granary-web %s\n", FRONT_VERSION);
		return 0;
	case 'h':
		print_help();
		return 0;
	default:
		return usage("unknown option or a value is missing%s", "");
	}
}

int front_options_read(int argc, char **argv, struct front_options *ret_options)
{
	const char *state = getenv("GRANARY_STATE"), *port = getenv("WEB_PORT");
	int code;

	*ret_options = (struct front_options){
	    .state_dir = state && *state ? state : "/var/lib/granary",
	    .port = FRONT_PORT,
	};
	if (port && *port && !read_port(port, &ret_options->port))
		return usage("WEB_PORT=%s is not a port", port);
	opterr = 0;
	while ((code = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		int status = take(code, optarg, ret_options);

		if (status >= 0)
			return status;
	}
	return optind < argc ? usage("unexpected argument %s", argv[optind]) : -1;
}
