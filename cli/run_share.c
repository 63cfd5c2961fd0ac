/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/exports.h"
#include "core/heap.h"
#include "core/size.h"

static const struct column share_columns[] = {
    {"POOL", "pool", TEXT},         {"NAME", "name", TEXT},       {"STATE", "state", TEXT},
    {"QUOTA", "quota_bytes", SIZE}, {"USED", "used_bytes", SIZE}, {"FILES", "files", NUMBER},
};

json_t *command_versions(const char *text)
{
	json_t *list = text ? json_array() : NULL;

	while (text && list) {
		size_t length = strcspn(text, ",");

		json_array_append_new(list, json_stringn(text, length));
		text = text[length] ? text + length + 1 : NULL;
	}
	return list;
}

int run_share_set(struct command *command)
{
	const char *versions = command_option(command, "versions");
	const char *snapshots = command_option(command, "snapshots");
	struct object_name name;
	json_t *reply;
	int status = command_split(command->position[0], "share", &name);

	if (!status && !versions && !snapshots)
		status = command_fail("nothing to set: give --versions or --snapshots");
	if (!status)
		status = command_call(command, "PATCH",
				      json_pack("{s:o*,s:s*}", "versions",
						command_versions(versions), "snapshots", snapshots),
				      &reply, "/api/v1/shares/%s/%s", name.pool, name.name);
	if (status)
		return status;
	if (!versions)
		return say(command, reply, "snapshots of share %s: %s now", command->position[0],
			   snapshots);
	return say(command, reply, "share %s is served with NFS %s now", command->position[0],
		   versions);
}

int run_share_restore(struct command *command)
{
	const char *path = command->position[2], *to = command_option(command, "to");
	struct object_name name;
	json_t *reply;
	int status = command_split(command->position[0], "share", &name);

	if (!status)
		status = command_call(command, "POST",
				      json_pack("{s:s,s:s,s:s*}", "snapshot", command->position[1],
						"path", path, "to", to),
				      &reply, "/api/v1/shares/%s/%s/restore", name.pool, name.name);
	return status ? status
		      : say(command, reply, "%s is as it was in snapshot %s", to ? to : path,
			    command->position[1]);
}

int run_share_create(struct command *command)
{
	const char *quota = command_option(command, "quota");
	struct object_name name;
	struct err err = {0};
	const char *advice;
	uint64_t bytes;
	json_t *reply, *body, *versions;
	int status = command_split(command->position[0], "share", &name);

	if (status)
		return status;
	if (quota && size_parse(quota, &bytes, &err) < 0)
		return command_fail("%s", err.text);
	versions = command_versions(command_option(command, "versions"));
	body = json_pack("{s:s,s:s,s:s*,s:o*,s:s*}", "pool", name.pool, "name", name.name, "quota",
			 quota, "versions", versions, "preset", command_option(command, "preset"));
	if (command_option(command, "mirror"))
		json_object_set_new(body, "mirror", json_true());
	status = command_call(command, "POST", body, &reply, "/api/v1/shares");
	if (status)
		return status;
	advice = json_string_value(json_object_get(reply, "advice"));
	if (!advice)
		return say(command, reply, "share %s created", command->position[0]);
	return say(command, reply, "share %s created; %s", command->position[0], advice);
}

/* ---- import: a share of a pool, or the shares of an exports(5) file ---- */

/* The share @name of the configuration; of @pool, if that is not NULL. 1: more than one. */
static int find_share(const json_t *shares, const char *name, const char *pool, json_t **ret_share)
{
	unsigned count = 0;
	size_t index;
	json_t *share;

	*ret_share = NULL;
	json_array_foreach((json_t *)shares, index, share)
	{
		const char *own = json_string_value(json_object_get(share, "name"));
		const char *in = json_string_value(json_object_get(share, "pool"));

		if (strcmp(own, name) != 0 || (pool && strcmp(in, pool) != 0))
			continue;
		*ret_share = share;
		count++;
	}
	return count > 1;
}

/* What the document says of an entry's share: it keeps its quota; one that is not there is made. */
static int put_entry(struct command *command, const json_t *shares, json_t *entry, json_t *wanted)
{
	const char *name = json_string_value(json_object_get(entry, "name"));
	const char *path = json_string_value(json_object_get(entry, "path"));
	const char *pool = command_option(command, "pool");
	json_t *share;

	if (find_share(shares, name, pool, &share))
		return command_fail("more than one pool has a share %s: give --pool", name);
	if (!share && !pool)
		return command_fail("there is no share %s: give --pool to have it made there",
				    name);
	if (share)
		pool = json_string_value(json_object_get(share, "pool"));
	json_array_append_new(wanted,
			      json_pack("{s:s,s:s,s:O,s:O*}", "pool", pool, "name", name, "rules",
					json_object_get(entry, "rules"), "quota_bytes",
					json_object_get(share, "quota_bytes")));
	if (path && !command->json)
		printf("%s is share %s/%s, which clients mount as /%s\n", path, pool, name, name);
	return EXIT_GOOD;
}

static int import_exports(struct command *command)
{
	size_t length, index;
	char *text = command_read_text(command->position[0], EXPORTS_LENGTH_MAX, &length);
	json_t *entries, *entry, *now = NULL, *wanted, *reply;
	struct err err = {0};
	int status;

	if (!text)
		return EXIT_FAILED;
	entries = strlen(text) == length ? exports_parse(text, &err) : NULL;
	if (!entries && !err.code)
		err_set(&err, -EINVAL, "it is no text");
	heap_free(text);
	if (!entries)
		return command_fail("%s: %s", command->position[0], err.text);
	wanted = json_array();
	status = command_call(command, "GET", NULL, &now, "/api/v1/configuration");
	json_array_foreach(entries, index, entry)
	{
		if (!status)
			status = put_entry(command, json_object_get(now, "shares"), entry, wanted);
	}
	json_decref(entries);
	json_decref(now);
	if (status) {
		json_decref(wanted);
		return status;
	}
	status = command_call(
	    command, "PUT", json_pack("{s:{s:i,s:o}}", "document", "version", 1, "shares", wanted),
	    &reply, "/api/v1/configuration");
	return status ? status : print_steps(command, reply);
}

int run_share_import(struct command *command)
{
	const char *what = command->position[0];
	struct object_name name;
	json_t *reply;
	int status;

	if (what[0] == '/' || what[0] == '.')
		return import_exports(command);
	if (command_option(command, "pool") || command_option(command, "dry-run"))
		return command_fail("--pool and --dry-run are for a FILE, whose path begins with / "
				    "or ./");
	status = command_split(what, "share", &name);
	if (!status)
		status = command_call(command, "POST",
				      json_pack("{s:s,s:s}", "pool", name.pool, "name", name.name),
				      &reply, "/api/v1/shares/import");
	return status ? status : say(command, reply, "share %s imported", what);
}

int run_share_list(struct command *command)
{
	json_t *reply;
	int status = command_call(command, "GET", NULL, &reply, "/api/v1/shares");

	return status ? status
		      : table_print(command, reply, share_columns,
				    sizeof share_columns / sizeof *share_columns);
}

int run_share_show(struct command *command)
{
	struct object_name name;
	json_t *reply;
	int status = command_split(command->position[0], "share", &name);

	if (!status)
		status = command_call(command, "GET", NULL, &reply, "/api/v1/shares/%s/%s",
				      name.pool, name.name);
	return status ? status
		      : table_print(command, reply, share_columns,
				    sizeof share_columns / sizeof *share_columns);
}

int run_share_quota(struct command *command)
{
	struct object_name name;
	struct err err = {0};
	uint64_t bytes;
	json_t *reply;
	int status = command_split(command->position[0], "share", &name);

	if (!status && size_parse(command->position[1], &bytes, &err) < 0)
		status = command_fail("%s", err.text);
	if (!status)
		status = command_call(command, "PATCH",
				      json_pack("{s:s}", "quota", command->position[1]), &reply,
				      "/api/v1/shares/%s/%s", name.pool, name.name);
	return status ? status
		      : say(command, reply, "share %s has a quota of %s now", command->position[0],
			    command->position[1]);
}

/* A number, or 0 with a usage error told. */
static int read_number(const char *option, const char *text, json_int_t *ret_number)
{
	char *end;

	*ret_number = strtoll(text, &end, 10);
	if (*text < '0' || *text > '9' || *end)
		return command_fail("%s %s is no number", option, text);
	return 0;
}

int run_share_limit(struct command *command)
{
	const char *size = command_option(command, "size"),
		   *files = command_option(command, "files");
	struct object_name name;
	struct err err = {0};
	json_int_t number = 0, uid;
	uint64_t bytes;
	json_t *body, *reply;
	int status = command_split(command->position[0], "share", &name);

	if (!status)
		status = read_number("UID", command->position[1], &uid);
	if (!status && !size && !files)
		status = command_fail("say what is limited: --size, --files, or both");
	if (!status && size && size_parse(size, &bytes, &err) < 0)
		status = command_fail("%s", err.text);
	if (!status && files)
		status = read_number("--files", files, &number);
	if (status)
		return status;
	body = json_object();
	if (size)
		json_object_set_new(body, "limit", json_string(size));
	if (files)
		json_object_set_new(body, "files", json_integer(number));
	status = command_call(command, "PUT", body, &reply, "/api/v1/shares/%s/%s/users/%s",
			      name.pool, name.name, command->position[1]);
	return status ? status
		      : say(command, reply, "user %s has new limits on share %s",
			    command->position[1], command->position[0]);
}

static const struct column user_columns[] = {
    {"UID", "uid", NUMBER},     {"USED", "used_bytes", SIZE},     {"LIMIT", "limit_bytes", SIZE},
    {"FILES", "files", NUMBER}, {"LIMIT", "limit_files", NUMBER},
};

int run_share_users(struct command *command)
{
	struct object_name name;
	json_t *reply;
	int status = command_split(command->position[0], "share", &name);

	if (!status)
		status = command_call(command, "GET", NULL, &reply, "/api/v1/shares/%s/%s/users",
				      name.pool, name.name);
	return status ? status
		      : table_print(command, reply, user_columns,
				    sizeof user_columns / sizeof *user_columns);
}

int run_share_check(struct command *command)
{
	struct object_name name;
	json_t *reply, *finding;
	size_t index;
	bool clean;
	int status = command_split(command->position[0], "share", &name);

	if (!status)
		status = command_call(command, "POST", NULL, &reply, "/api/v1/shares/%s/%s/check",
				      name.pool, name.name);
	if (status)
		return status;
	clean = json_is_true(json_object_get(reply, "clean"));
	if (!command->json) {
		json_array_foreach(json_object_get(reply, "findings"), index, finding)
		{
			printf("%s\n", json_string_value(finding));
		}
	}
	say(command, reply, "share %s: %s", command->position[0],
	    clean ? "no errors" : "errors were found");
	return clean ? EXIT_GOOD : EXIT_FAILED;
}

int run_share_delete(struct command *command)
{
	return command_delete(command, "share", "shares");
}

int run_share_clients(struct command *command)
{
	static const struct column columns[] = {
	    {"ID", "id", TEXT},
	    {"ADDRESS", "address", TEXT},
	    {"VERSION", "version", TEXT},
	    {"OPENS", "opens", NUMBER},
	    {"LOCKS", "locks", NUMBER},
	    {"DELEGATIONS", "delegations", NUMBER},
	    {"RECALLED", "recalled", NUMBER},
	    {"SILENT", "silent_seconds", DURATION},
	    {"NAME", "name", TEXT},
	};
	json_t *reply;
	int status = command_call(command, "GET", NULL, &reply, "/api/v1/nfs-clients");

	return status ? status
		      : table_print(command, reply, columns, sizeof columns / sizeof columns[0]);
}

int run_share_hosts(struct command *command)
{
	static const struct column columns[] = {
	    {"ADDRESS", "address", TEXT},          {"READS", "reads", NUMBER},
	    {"READ", "read_bytes", SIZE},          {"MEAN ms", "read_mean_ms", RATIO},
	    {"99% ms", "read_slowest_ms", RATIO},  {"WRITES", "writes", NUMBER},
	    {"WRITTEN", "write_bytes", SIZE},      {"MEAN ms", "write_mean_ms", RATIO},
	    {"99% ms", "write_slowest_ms", RATIO}, {"COMMITS", "commits", NUMBER},
	    {"OTHERS", "others", NUMBER},
	};
	json_t *reply;
	int status = command_call(command, "GET", NULL, &reply, "/api/v1/nfs-hosts");

	return status ? status
		      : table_print(command, reply, columns, sizeof columns / sizeof columns[0]);
}

int run_share_operations(struct command *command)
{
	static const struct column columns[] = {
	    {"VERSION", "version", TEXT},  {"OPERATION", "operation", TEXT},
	    {"COUNT", "count", NUMBER},    {"ERRORS", "errors", NUMBER},
	    {"MEAN ms", "mean_ms", RATIO}, {"99% ms", "slowest_ms", RATIO},
	};
	json_t *reply;
	int status = command_call(command, "GET", NULL, &reply, "/api/v1/nfs-operations");

	return status ? status
		      : table_print(command, reply, columns, sizeof columns / sizeof columns[0]);
}

int run_share_release(struct command *command)
{
	json_t *reply;
	int status = command_call(command, "DELETE", NULL, &reply, "/api/v1/nfs-clients/%s",
				  command->position[0]);

	return status ? status
		      : say(command, reply, "what NFS client %s had is released",
			    command->position[0]);
}

/* ---- NFS over TLS */

#define PEM_MAX (256u << 10)

/* The contents of the file that @option names, as @member of @body. */
static int add_pem(struct command *command, json_t *body, const char *option, const char *member)
{
	const char *path = command_option(command, option);
	char *text;
	ssize_t length;
	int fd, status = 0;

	if (!path)
		return 0;
	text = heap_zalloc(PEM_MAX + 2); /* a byte too many is for the daemon to refuse */
	fd = text ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	length = fd < 0 ? -1 : read(fd, text, PEM_MAX + 1);
	if (length < 0)
		status = command_fail("%s: %s", path, strerror(errno));
	else if (json_object_set_new(body, member, json_string(text)) < 0)
		status = command_fail("%s: it is no PEM text", path);
	if (fd >= 0)
		close(fd);
	if (text)
		explicit_bzero(text, PEM_MAX + 2);
	heap_free(text);
	return status;
}

static int show_tls(struct command *command, json_t *reply)
{
	static const struct column columns[] = {
	    {"SUBJECT", "subject", TEXT},
	    {"NAMES", "names", JOINED},
	    {"ISSUER", "issuer", TEXT},
	    {"NOT AFTER", "not_after", TEXT},
	    {"FINGERPRINT", "fingerprint_sha256", TEXT},
	};
	const json_t *clients = json_object_get(reply, "clients");
	json_t *own;

	if (command->json)
		return table_print(command, reply, columns, sizeof columns / sizeof *columns);
	own = json_pack("[O]", json_object_get(reply, "certificate"));
	printf("The server shows:\n");
	table_rows(own, columns, sizeof columns / sizeof *columns);
	json_decref(own);
	if (json_array_size(clients) > 0) {
		printf("\nClients are believed by:\n");
		table_rows(clients, columns, sizeof columns / sizeof *columns);
	} else {
		printf("\nNo certificate of a client is believed (--clients-file).\n");
	}
	json_decref(reply);
	return EXIT_GOOD;
}

int run_share_tls_show(struct command *command)
{
	json_t *reply;
	int status = command_call(command, "GET", NULL, &reply, "/api/v1/nfs-tls");

	return status ? status : show_tls(command, reply);
}

int run_share_tls_set(struct command *command)
{
	json_t *body = json_object(), *reply;
	int status = add_pem(command, body, "chain-file", "chain");

	if (!status)
		status = add_pem(command, body, "key-file", "key");
	if (!status)
		status = add_pem(command, body, "clients-file", "clients");
	if (!status && command_option(command, "no-clients"))
		json_object_set_new(body, "clients", json_string(""));
	if (!status && command_option(command, "renew"))
		json_object_set_new(body, "renew", json_true());
	if (!status && json_object_size(body) == 0) {
		fprintf(stderr, "granary: say what: --chain-file and --key-file, --renew, "
				"--clients-file or --no-clients\n");
		status = EXIT_USAGE;
	}
	if (status) {
		json_decref(body);
		return status;
	}
	status = command_call(command, "PUT", body, &reply, "/api/v1/nfs-tls");
	return status ? status : show_tls(command, reply);
}
