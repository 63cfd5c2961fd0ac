/* SPDX-License-Identifier: Apache-2.0 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "granaryd/granaryd.h"
#include "replication/replication.h"
#include "target/target.h"

/* One row per option: getopt's table and the help are made from it. */
enum {
	OPT_STATE = 256,
	OPT_BIND,
	OPT_PORT,
	OPT_NFS_PORT,
	OPT_MOUNT_PORT,
	OPT_REPL_PORT,
	OPT_ENGINE,
	OPT_LOOPS,
	OPT_DEMO,
	OPT_DIRECTORIES,
	OPT_GO_BACK,
	OPT_LEASE,
	OPT_LOG
};

static const struct {
	const char *name, *argument; /* NULL: takes none */
	int code;
	const char *help;
} table[] = {
    {"state", "DIR", OPT_STATE,
     "state directory (default $GRANARY_STATE or " DEFAULT_STATE_DIR ")"},
    {"bind", "ADDR[,GROUP]", OPT_BIND,
     "listen on this IPv4 or IPv6 address, in portal group GROUP (default 1); may be\n"
     "                      given again (default 0.0.0.0 and ::, with --demo 127.0.0.1)"},
    {"iscsi-port", "N", OPT_PORT, "iSCSI port (default 3260; 0 picks a free one)"},
    {"nfs-port", "N", OPT_NFS_PORT,
     "NFS port (default 2049, left out when it is taken; 0 picks a free one,\n"
     "                      and leaves the portmapper's port 111 alone)"},
    {"mount-port", "N", OPT_MOUNT_PORT,
     "port that MOUNT is announced on (default 0: the NFS port)"},
    {"nfs-lease", "SECONDS", OPT_LEASE,
     "lease of NFSv4 clients, and of a grace period; twice that while they reclaim (default 90)"},
    {"repl-port", "N", OPT_REPL_PORT,
     "port for replication (default $REPL_PORT or 7420, left out when it is taken;\n"
     "                      0 picks a free one)"},
    {"io-engine", "NAME", OPT_ENGINE, "auto, uring or aio (default auto)"},
    {"io-loops", "N", OPT_LOOPS, "threads for I/O (default one per core)"},
    {"demo", NULL, OPT_DEMO, "set up pool tank, volume tank/demo and a target open to this host"},
    {"directories-in", "DIR", OPT_DIRECTORIES,
     "directories in DIR may be exported (granary directory); may be given again, and\n"
     "                      without it none may; keeps CAP_DAC_READ_SEARCH"},
    {"go-back", NULL, OPT_GO_BACK,
     "from a configuration that a newer release migrated, go back to the copy that it\n"
     "                      made before; what was changed since is missing then"},
    {"log-level", "LEVEL", OPT_LOG, "error, warning, notice, info or debug (default info)"},
    {"schemas", NULL, 'S', "print the versions of the databases' schemas as JSON and exit"},
    {"version", NULL, 'V', "print the version and exit"},
    {"help", NULL, 'h', "print this help and exit"},
};
#define OPTION_COUNT (sizeof table / sizeof *table)

static void print_help(void)
{
	printf("granaryd: a storage server for virtual machines (thin volumes over iSCSI)\n\n"
	       "usage: granaryd [OPTION]...\n\n");
	for (unsigned i = 0; i < OPTION_COUNT; i++) {
		char left[32];

		snprintf(left, sizeof left, "--%s%s%s", table[i].name, table[i].argument ? " " : "",
			 table[i].argument ? table[i].argument : "");
		printf("  %-18s  %s\n", left, table[i].help);
	}
	printf(
	    "\nIt runs in the foreground, says READY on stdout when it serves, and stops cleanly\n"
	    "on SIGTERM or SIGINT (a second signal stops at once). See granary(1).\n");
}

/* For whoever builds the appliance: which databases a release migrates, how far, and which versions
 * can go on with them afterwards. */
static void print_schemas(void)
{
	unsigned config, config_from, reservations, replication, access, from[3];
	const struct config_migration *schema = webadmin_schema(&config);

	config_from = config_goes_back_to(schema, config);
	reservations = scsi_reservations_schema(&from[0]);
	replication = replication_schema(&from[1]);
	access = webadmin_access_schema(&from[2]);
	printf("{\"config\":%u,\"reservations\":%u,\"replication\":%u,\"access\":%u,"
	       "\"from\":{\"config\":%u,\"reservations\":%u,\"replication\":%u,\"access\":%u}}\n",
	       config, reservations, replication, access, config_from, from[0], from[1], from[2]);
}

static int usage(const char *format, const char *value)
{
	fprintf(stderr, "granaryd: ");
	fprintf(stderr, format, value);
	fprintf(stderr, " (granaryd --help shows the options)\n");
	return 2;
}

static bool read_number(const char *text, unsigned long least, unsigned long most,
			unsigned long *ret_number)
{
	char *end;
	unsigned long number;

	if (*text < '0' || *text > '9')
		return false;
	number = strtoul(text, &end, 10);
	if (*end || number < least || number > most)
		return false;
	*ret_number = number;
	return true;
}

static bool read_level(const char *text, enum log_level *ret_level)
{
	static const struct {
		const char *name;
		enum log_level level;
	} levels[] = {
	    {"error", LOG_LEVEL_ERROR},   {"warning", LOG_LEVEL_WARNING},
	    {"notice", LOG_LEVEL_NOTICE}, {"info", LOG_LEVEL_INFO},
	    {"debug", LOG_LEVEL_DEBUG},
	};

	for (unsigned i = 0; i < sizeof levels / sizeof *levels; i++) {
		if (strcmp(text, levels[i].name) == 0) {
			*ret_level = levels[i].level;
			return true;
		}
	}
	return false;
}

/* "ADDRESS" or "ADDRESS,GROUP"; argv is ours to cut. */
static int take_bind(const char *value, struct options *options)
{
	unsigned long group = 1;
	char *comma = strchr(value, ',');

	if (comma && !read_number(comma + 1, 1, ISCSI_GROUP_MAX, &group))
		return usage("--bind %s: a portal group is a number from 1 to 32", value);
	if (comma)
		*comma = '\0';
	options->group[options->bind_count] = (uint16_t)group;
	options->bind[options->bind_count++] = value;
	return -1;
}

/* One option with a value; -1, or the exit status. */
static int take(int code, const char *value, struct options *options)
{
	unsigned long number = 0;

	switch (code) {
	case OPT_STATE:
		if (!*value)
			return usage("--state needs a directory%s", "");
		options->state_dir = value;
		return -1;
	case OPT_BIND:
		if (options->bind_count == BIND_MAX)
			return usage("too many --bind (%s)", value);
		return take_bind(value, options);
	case OPT_PORT:
		if (!read_number(value, 0, 65535, &number))
			return usage("--iscsi-port %s is not a port", value);
		options->iscsi_port = (uint16_t)number;
		return -1;
	case OPT_NFS_PORT:
		if (!read_number(value, 0, 65535, &number))
			return usage("--nfs-port %s is not a port", value);
		options->nfs_port = (uint16_t)number;
		options->nfs_port_given = true;
		return -1;
	case OPT_MOUNT_PORT:
		if (!read_number(value, 0, 65535, &number))
			return usage("--mount-port %s is not a port", value);
		options->mount_port = (uint16_t)number;
		return -1;
	case OPT_REPL_PORT:
		if (!read_number(value, 0, 65535, &number))
			return usage("--repl-port %s is not a port", value);
		options->repl_port = (uint16_t)number;
		options->repl_port_given = true;
		return -1;
	case OPT_LEASE:
		if (!read_number(value, 1, 3600, &number))
			return usage("--nfs-lease %s is not a number from 1 to 3600", value);
		options->nfs_lease = (unsigned)number;
		return -1;
	case OPT_ENGINE:
		options->io_engine = value;
		if (strcmp(value, "auto") != 0 && strcmp(value, "uring") != 0 &&
		    strcmp(value, "aio") != 0)
			return usage("--io-engine %s is none of auto, uring, aio", value);
		return -1;
	case OPT_LOOPS:
		if (!read_number(value, 1, IO_LOOPS_MAX, &number))
			return usage("--io-loops %s is not a number from 1 to 64", value);
		options->io_loops = (unsigned)number;
		return -1;
	case OPT_DEMO:
		options->demo = true;
		return -1;
	case OPT_GO_BACK:
		options->go_back = true;
		return -1;
	case OPT_DIRECTORIES:
		if (*value != '/')
			return usage("--directories-in %s is no absolute path", value);
		if (options->directory_count == DIRECTORIES_IN_MAX)
			return usage("too many --directories-in (%s)", value);
		options->directories[options->directory_count++] = value;
		return -1;
	default:
		if (!read_level(value, &options->log_level))
			return usage("--log-level %s is no level", value);
		return -1;
	}
}

static void fill_defaults(struct options *options)
{
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	const char *repl_port = getenv("REPL_PORT");
	unsigned long number;

	if (!options->repl_port_given) {
		options->repl_port_given = repl_port && read_number(repl_port, 0, 65535, &number);
		options->repl_port = options->repl_port_given ? (uint16_t)number : REPL_PORT;
	}

	if (!options->state_dir || !*options->state_dir)
		options->state_dir = DEFAULT_STATE_DIR;
	if (!options->io_loops)
		options->io_loops = cores < 1              ? 1
				    : cores > IO_LOOPS_MAX ? IO_LOOPS_MAX
							   : (unsigned)cores;
}

int options_read(int argc, char **argv, struct options *ret_options)
{
	struct option longs[OPTION_COUNT + 1] = {0};
	int code, status;

	for (unsigned i = 0; i < OPTION_COUNT; i++)
		longs[i] = (struct option){table[i].name,
					   table[i].argument ? required_argument : no_argument,
					   NULL, table[i].code};
	*ret_options = (struct options){
	    .state_dir = getenv("GRANARY_STATE"),
	    .iscsi_port = ISCSI_PORT,
	    .nfs_port = NFS_PORT,
	    .io_engine = "auto",
	    .log_level = LOG_LEVEL_INFO,
	};
	opterr = 0;
	while ((code = getopt_long(argc, argv, ":", longs, NULL)) != -1) {
		if (code == 'h') {
			print_help();
			return 0;
		}
		if (code == 'V') {
			printf("granaryd %s\n", GRANARY_VERSION);
			return 0;
		}
		if (code == 'S') {
			print_schemas();
			return 0;
		}
		if (code == ':')
			return usage("%s needs a value", argv[optind - 1]);
		if (code == '?')
			return usage("unknown option %s", argv[optind - 1]);
		status = take(code, optarg, ret_options);
		if (status >= 0)
			return status;
	}
	if (optind < argc)
		return usage("unexpected argument %s", argv[optind]);
	fill_defaults(ret_options);
	return -1;
}
