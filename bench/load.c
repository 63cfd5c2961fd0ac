/* SPDX-License-Identifier: Apache-2.0 */
/* granary-load: load an iSCSI LUN and say what it took. Start reading at drive.c; session.c logs
 * in, connection.c is the wire, floor.c the least server there can be. Loading an NFS server:
 * nfs_load.c; nfs_client.c mounts, nfs_wire.c is the wire. */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "bench/drive.h"
#include "bench/engine.h"
#include "bench/floor.h"
#include "bench/nfs_load.h"
#include "bench/options.h"

static double per(double value, uint64_t count)
{
	return count > 0 ? value / (double)count : 0;
}

static double quantile_us(const struct result *result, double fraction)
{
	return (double)histogram_quantile(&result->latency, fraction) / 1000;
}

static void add(json_t *object, const char *key, json_t *value)
{
	if (json_object_set_new(object, key, value) < 0)
		json_decref(value);
}

static void add_what(json_t *object, const struct options *options)
{
	if (options->nfs != NULL) {
		add(object, "operation", json_string(options->nfs));
		add(object, "version", json_integer((json_int_t)options->nfs_version));
	} else {
		add(object, "pattern", json_string(pattern_name(options->pattern)));
	}
	add(object, "block", json_integer((json_int_t)options->block_bytes));
	add(object, "depth", json_integer((json_int_t)options->depth));
	add(object, "connections", json_integer((json_int_t)options->connections));
}

static void add_result(json_t *object, const struct options *options, const struct result *result)
{
	double seconds = (double)result->elapsed_ns / 1e9;
	double iops = seconds > 0 ? (double)result->ios / seconds : 0;

	add(object, "ios", json_integer((json_int_t)result->ios));
	add(object, "seconds", json_real(seconds));
	add(object, "iops", json_real(iops));
	add(object, "mb_s", json_real(iops * (double)options->block_bytes / 1e6));
	add(object, "mean_us", json_real(per((double)result->latency.sum / 1000, result->ios)));
	add(object, "p50_us", json_real(quantile_us(result, 0.5)));
	add(object, "p99_us", json_real(quantile_us(result, 0.99)));
	add(object, "p999_us", json_real(quantile_us(result, 0.999)));
	add(object, "max_us", json_real((double)result->latency.max / 1000));
	add(object, "client_cpu_us",
	    json_real(per((double)result->client_cpu_ns / 1000, result->ios)));
}

static void add_server(json_t *object, const struct result *result)
{
	add(object, "server_cpu_us",
	    json_real(per((double)result->server.cpu_ns / 1000, result->ios)));
	add(object, "server_switches",
	    json_real(per((double)result->server.switches, result->ios)));
}

static int print(const struct options *options, const struct result *result)
{
	json_t *object = json_object();

	add_what(object, options);
	add_result(object, options, result);
	if (options->server_pid != 0)
		add_server(object, result);
	if (options->snapshot_ns != 0)
		add(object, "snapshots", json_integer((json_int_t)result->snapshots));
	if (options->verify) {
		add(object, "verified", json_integer((json_int_t)result->verified));
		add(object, "unwritten", json_integer((json_int_t)result->unwritten));
	}
	int r = json_dumpf(object, stdout, JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(6));
	json_decref(object);
	putchar('\n');
	return r;
}

static int load(const struct options *options, struct result *result, struct err *err)
{
	if (options->nfs != NULL)
		return nfs_load(options, result, err);
	return options->engine_file != NULL ? engine(options, result, err)
					    : drive(options, result, err);
}

int main(int argc, char **argv)
{
	struct options options;
	struct result *result = calloc(1, sizeof(*result));
	struct err err = {0};
	int r = options_parse(argc, argv, &options, &err);

	if (r != 0) {
		if (r < 0)
			fprintf(stderr, "granary-load: %s\n", err.text);
		free(result);
		return r < 0 ? 2 : 0;
	}
	if (options.floor_file != NULL)
		r = floor_serve(&options, &err);
	else if (result == NULL)
		r = err_set(&err, -ENOMEM, "no memory");
	else if ((r = load(&options, result, &err)) == 0)
		r = print(&options, result);
	free(result);
	if (r < 0)
		fprintf(stderr, "granary-load: %s\n", err.text);
	return r < 0 ? 1 : 0;
}
