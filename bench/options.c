/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/options.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "core/size.h"

static const char *const patterns[] = {
    [PATTERN_RANDREAD] = "randread", [PATTERN_RANDWRITE] = "randwrite", [PATTERN_RANDRW] = "randrw",
    [PATTERN_READ] = "read",         [PATTERN_WRITE] = "write",
};
#define PATTERN_COUNT (sizeof(patterns) / sizeof(patterns[0]))

const char *pattern_name(enum pattern pattern)
{
	return patterns[pattern];
}

bool pattern_random(enum pattern pattern)
{
	return pattern <= PATTERN_RANDRW;
}

enum kind { FLAG, TEXT, NUMBER, SIZE, TIME, PATTERN };

struct row {
	const char *name, *argument, *help;
	enum kind kind;
	size_t offset;
	uint64_t max;
};

#define NFS_SPAN_UNIT (1u << 20)

#define AT(member) offsetof(struct options, member)
static const struct row rows[] = {
    {"--host", "ADDRESS", "server (127.0.0.1)", TEXT, AT(host), 0},
    {"--port", "N", "its port (3260)", TEXT, AT(port), 0},
    {"--target", "IQN", "target to log in to", TEXT, AT(target), 0},
    {"--initiator", "IQN", "our name", TEXT, AT(initiator), 0},
    {"--lun", "N", "0..255", NUMBER, AT(lun), 255},
    {"--pattern", "P", "randread, randwrite, randrw, read, write", PATTERN, AT(pattern), 0},
    {"--block", "SIZE", "bytes of one I/O (4K)", SIZE, AT(block_bytes), OPTIONS_BLOCK_MAX},
    {"--depth", "N", "I/Os in flight on each connection (1)", NUMBER, AT(depth), OPTIONS_DEPTH_MAX},
    {"--connections", "N", "sessions (1)", NUMBER, AT(connections), OPTIONS_CONNECTIONS_MAX},
    {"--offset", "SIZE", "where on the LUN the span starts (0)", SIZE, AT(offset_bytes),
     UINT64_MAX},
    {"--span", "SIZE", "how much of the LUN is used (the rest of it)", SIZE, AT(span_bytes),
     UINT64_MAX},
    {"--warmup", "TIME", "run this long before measuring (0)", TIME, AT(warmup_ns), 0},
    {"--time", "TIME", "measure this long (5s)", TIME, AT(run_ns), 0},
    {"--count", "N", "measure this many I/Os instead", NUMBER, AT(count), UINT64_MAX},
    {"--once", NULL, "visit each block of the span once, then stop", FLAG, AT(once), 0},
    {"--limit", "TIME", "give up when nothing comes back for so long (10s)", TIME, AT(limit_ns), 0},
    {"--seed", "N", "of the random order (1)", NUMBER, AT(seed), UINT64_MAX},
    {"--verify", NULL, "write blocks that prove themselves, check what is read", FLAG, AT(verify),
     0},
    {"--fua", NULL, "writes are durable before they are answered", FLAG, AT(fua), 0},
    {"--header-digest", NULL, "ask for CRC32C header digests", FLAG, AT(header_digest), 0},
    {"--data-digest", NULL, "ask for CRC32C data digests", FLAG, AT(data_digest), 0},
    {"--initial-r2t", NULL, "wait for an R2T before data that is not immediate", FLAG,
     AT(initial_r2t), 0},
    {"--server-pid", "PID", "report this process's CPU and context switches", NUMBER,
     AT(server_pid), 0x7fffffff},
    {"--serve-floor", "FILE",
     "be the least server there can be, on --port: what the sockets alone cost", TEXT,
     AT(floor_file), 0},
    {"--engine", "FILE", "no network: load a volume of a new pool in FILE", TEXT, AT(engine_file),
     0},
    {"--raw", NULL, "with --engine: the file itself, through the same disk seam", FLAG, AT(raw), 0},
    {"--snapshots", "TIME", "with --engine: one this often while measured, four are kept", TIME,
     AT(snapshot_ns), 0},
    {"--io-engine", "NAME", "with --engine: auto, uring, aio", TEXT, AT(io_engine), 0},
    {"--nfs", "WHAT",
     "load an NFS server: null, getattr, lookup, create, read, write, write-sync; first: prepare",
     TEXT, AT(nfs), 0},
    {"--nfs-version", "N", "with --nfs: 3, or 4 for 4.1 (3)", NUMBER, AT(nfs_version), 4},
    {"--mount-port", "N", "with --nfs: the port of MOUNT (that of --port)", TEXT, AT(mount_port),
     0},
    {"--path", "PATH", "with --nfs: the export (/files)", TEXT, AT(path), 0},
};
#define ROW_COUNT (sizeof(rows) / sizeof(rows[0]))

static void print_help(void)
{
	printf("granary-load --target IQN [OPTION]...\n"
	       "granary-load --nfs WHAT [OPTION]...\n"
	       "Load an iSCSI LUN, or an NFS server, and print what came of it as JSON.\n\n");
	for (size_t i = 0; i < ROW_COUNT; i++)
		printf("  %-15s %-8s %s\n", rows[i].name,
		       rows[i].argument != NULL ? rows[i].argument : "", rows[i].help);
	printf("\nExample: granary-load --target iqn.2026-11.org.granary:demo --pattern randread "
	       "--depth 32 --time 5s\n");
}

static int parse_pattern(const char *text, enum pattern *ret_pattern, struct err *err)
{
	for (size_t i = 0; i < PATTERN_COUNT; i++)
		if (strcmp(patterns[i], text) == 0) {
			*ret_pattern = (enum pattern)i;
			return 0;
		}
	return err_set(err, -EINVAL, "%s is no pattern", text);
}

/* A plain number is a size without a unit. */
static int parse_number(const struct row *row, const char *text, uint64_t *ret_value,
			struct err *err)
{
	uint64_t value;

	if (row->kind == NUMBER && text[strspn(text, "0123456789")] != '\0')
		return err_set(err, -EINVAL, "%s is not a number", text);
	int r = size_parse(text, &value, err);
	if (r < 0)
		return r;
	if (value > row->max)
		return err_set(err, -EINVAL, "%s is more than %ju", text, (uintmax_t)row->max);
	*ret_value = value;
	return 0;
}

static int parse_value(const struct row *row, const char *text, struct options *options,
		       struct err *err)
{
	void *at = (char *)options + row->offset;
	int r = 0;

	if (row->kind == TEXT)
		*(const char **)at = text;
	else if (row->kind == PATTERN)
		r = parse_pattern(text, at, err);
	else if (row->kind == TIME)
		r = duration_parse(text, at, err);
	else
		r = parse_number(row, text, at, err);
	if (r < 0)
		err_wrap(err, "%s", row->name);
	return r;
}

static const struct row *find_row(const char *name)
{
	for (size_t i = 0; i < ROW_COUNT; i++)
		if (strcmp(rows[i].name, name) == 0)
			return &rows[i];
	return NULL;
}

static int check_nfs(const struct options *options, struct err *err)
{
	if (options->nfs_version < 3)
		return err_set(err, -EINVAL, "--nfs-version is 3 or 4");
	if (options->span_bytes == 0 || options->span_bytes % NFS_SPAN_UNIT != 0)
		return err_set(err, -EINVAL, "--span of --nfs is a multiple of 1M");
	return 0;
}

static int check(const struct options *options, struct err *err)
{
	if (options->nfs && check_nfs(options, err) < 0)
		return err->code;
	if (!options->nfs && !options->floor_file && !options->engine_file && !options->target)
		return err_set(err, -EINVAL, "--target is needed");
	if (options->block_bytes == 0 || options->block_bytes % 512 != 0)
		return err_set(err, -EINVAL, "--block is not a multiple of 512");
	if (options->depth == 0 || options->connections == 0)
		return err_set(err, -EINVAL, "--depth and --connections start at 1");
	if (options->offset_bytes % options->block_bytes != 0)
		return err_set(err, -EINVAL, "--offset is not a multiple of --block");
	if (options->limit_ns == 0)
		return err_set(err, -EINVAL, "--limit is more than 0");
	return 0;
}

int options_parse(int argc, char **argv, struct options *ret_options, struct err *err)
{
	struct options options = {
	    .io_engine = "auto",
	    .host = "127.0.0.1",
	    .port = "3260",
	    .initiator = "iqn.2026-11.org.granary:load",
	    .block_bytes = 4096,
	    .depth = 1,
	    .connections = 1,
	    .run_ns = UINT64_C(5000000000),
	    .limit_ns = UINT64_C(10000000000),
	    .seed = 1,
	    .path = "/files",
	    .nfs_version = 3,
	};

	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--help") == 0)
			return print_help(), 1;
		const struct row *row = find_row(argv[i]);
		if (row == NULL)
			return err_set(err, -EINVAL, "%s is no option; see --help", argv[i]);
		if (row->kind == FLAG) {
			*(bool *)((char *)&options + row->offset) = true;
			continue;
		}
		if (++i == argc)
			return err_set(err, -EINVAL, "%s wants %s", row->name, row->argument);
		int r = parse_value(row, argv[i], &options, err);
		if (r < 0)
			return r;
	}
	if (!options.mount_port)
		options.mount_port = options.port;
	int r = check(&options, err);
	if (r == 0)
		*ret_options = options;
	return r;
}
