/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "smbfront/smbfront.h"

#define DEFAULT_STATE_DIR "/var/lib/granary"

static const char help[] =
    "granary-smb: shares of Granary over SMB, by Debian's Samba\n\n"
    "usage: granary-smb [OPTION]...\n\n"
    "  --state DIR         granaryd's state directory (default $GRANARY_STATE or\n"
    "                      " DEFAULT_STATE_DIR ")\n"
    "  --bind ADDR         serve on this address only (default all)\n"
    "  --port N            port (default 445)\n"
    "  --run DIR           where shares are mounted and smbd's files are\n"
    "                      (default " SMB_RUN_DIR ")\n"
    "  --help              print this help and exit\n\n"
    "It needs root and runs in the foreground. See granary(1), share smb.\n";

static int usage(const char *text)
{
	fprintf(stderr, "granary-smb: %s (granary-smb --help shows the options)\n", text);
	return 2;
}

static bool read_port(const char *text, uint16_t *ret_port)
{
	char *end;
	unsigned long port = strtoul(text, &end, 10);

	if (*text < '0' || *text > '9' || *end || port == 0 || port > 65535)
		return false;
	*ret_port = (uint16_t)port;
	return true;
}

static bool is_address(const char *text)
{
	uint8_t bytes[16];

	return inet_pton(AF_INET, text, bytes) == 1 || inet_pton(AF_INET6, text, bytes) == 1;
}

/* smb.conf(5) gives some bytes a meaning. */
static bool is_plain_path(const char *path)
{
	for (const char *at = path; *at; at++)
		if ((unsigned char)*at < ' ' || strchr("%\"\\;#", *at))
			return false;
	return path[0] == '/' && strlen(path) < SMB_PATH_MAX / 2;
}

static int take(int code, char *value, struct smb_options *options)
{
	switch (code) {
	case 's':
		options->state_dir = value;
		return -1;
	case 'r':
		options->run_dir = value;
		return -1;
	case 'b':
		options->bind = value;
		return is_address(value) ? -1 : usage("--bind takes an address");
	case 'p':
		return read_port(value, &options->port) ? -1 : usage("--port takes a port");
	case 'h':
		return fputs(help, stdout), 0;
	default:
		return 2; /* getopt_long() has said why */
	}
}

int smb_options_read(int argc, char **argv, struct smb_options *ret_options)
{
	static const struct option longs[] = {
	    {"state", required_argument, NULL, 's'}, {"run", required_argument, NULL, 'r'},
	    {"bind", required_argument, NULL, 'b'},  {"port", required_argument, NULL, 'p'},
	    {"help", no_argument, NULL, 'h'},        {0},
	};
	int code, status = -1;

	*ret_options = (struct smb_options){
	    .state_dir = getenv("GRANARY_STATE"), .run_dir = SMB_RUN_DIR, .port = SMB_PORT};
	while (status < 0 && (code = getopt_long(argc, argv, "", longs, NULL)) != -1)
		status = take(code, optarg, ret_options);
	if (status >= 0)
		return status;
	if (optind < argc)
		return usage("it takes no arguments");
	if (!ret_options->state_dir || !*ret_options->state_dir)
		ret_options->state_dir = DEFAULT_STATE_DIR;
	if (!is_plain_path(ret_options->run_dir) || !is_plain_path(ret_options->state_dir))
		return usage("--state and --run are absolute paths without %, quotes, ; and #");
	return -1;
}
