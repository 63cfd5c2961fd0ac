/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "core/confine.h"
#include "isotool/isotool.h"

/*~ granary-iso: connect to the daemon and open the file, as who calls -> become nobody -> do it.
 * SIGINT and SIGTERM end an upload with nothing left behind. */
static volatile sig_atomic_t interrupted;

bool upload_interrupted(void)
{
	return interrupted != 0;
}

static void interrupt(int signal)
{
	(void)signal;
	interrupted = 1;
}

static void tell_added(const struct iso_options *options, const struct upload *upload,
		       const char *sha256)
{
	json_t *said;

	if (options->json) {
		said = json_pack("{s:s,s:I,s:s,s:b}", "name", upload->name, "size",
				 (json_int_t)upload->size, "sha256", sha256, "checked",
				 *options->sha256 != '\0');
		json_dumpf(said, stdout, JSON_INDENT(2));
		printf("\n");
		json_decref(said);
	} else {
		printf("%s added to %s/%s: %llu bytes, SHA-256 %s%s\n", upload->name,
		       options->hello.pool, options->hello.share, (unsigned long long)upload->size,
		       sha256, *options->sha256 ? ", as it has to be" : "");
	}
}

static int add(const struct iso_options *options, struct remote *remote, int file, struct err *err)
{
	static struct upload upload; /* with its chunk */
	char sha256[ISO_HASH_TEXT] = "";
	int result = library_find(remote, &upload.directory);

	upload.remote = remote;
	upload.size_max = options->size_max;
	upload.quiet = options->quiet || !isatty(STDERR_FILENO);
	snprintf(upload.name, sizeof upload.name, "%s", options->name);
	if (result == 0)
		result = upload_begin(&upload);
	if (result == 0)
		result = file >= 0 ? source_copy_file(file, &upload)
				   : source_copy_url(options->source, &upload);
	if (result == 0)
		result = upload_end(&upload, options->sha256, sha256);
	if (!upload.quiet && upload.size)
		fprintf(stderr, "\n");
	upload_drop(&upload);
	if (result == 0)
		tell_added(options, &upload, sha256);
	*err = upload.err;
	return result;
}

static int take_away(const struct iso_options *options, struct remote *remote, struct err *err)
{
	struct vfs_object directory;
	int result = library_find(remote, &directory);

	if (result == 0)
		result = remote_remove(remote, &directory, options->name);
	if (result < 0)
		return err_set(err, result, "%s: %s", options->name, strerror(-result));
	if (!options->json)
		printf("%s removed\n", options->name);
	return 0;
}

#define CALL_SECONDS 300 /* for one call at the daemon: COMMIT of much may take long */

static int run(const struct iso_options *options, struct remote *remote, int file, struct err *err)
{
	static const char *const users[] = {"nobody", NULL};
	const struct timeval limit = {.tv_sec = CALL_SECONDS};
	struct vfs_object directory;
	int result = confine_become(users, err);

	if (result == 0)
		result = confine_drop(err);
	if (result < 0)
		return result;
	setsockopt(remote->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
	if (options->verb == ISO_ADD)
		return add(options, remote, file, err);
	if (options->verb == ISO_REMOVE)
		return take_away(options, remote, err);
	result = library_find(remote, &directory);
	return result < 0 ? result : library_list(remote, &directory, options->json, err);
}

static int open_source(const struct iso_options *options, struct err *err)
{
	int fd;

	if (options->verb != ISO_ADD || iso_is_url(options->source))
		return -1;
	fd = open(options->source, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		err_set(err, -errno, "%s: %s", options->source, strerror(errno));
	return fd;
}

int main(int argc, char **argv)
{
	static struct remote remote; /* with its buffer */
	struct sigaction action = {.sa_handler = interrupt};
	struct iso_options options;
	struct err err = {0};
	int file, status = iso_options_read(argc, argv, &options);

	if (status >= 0)
		return status;
	signal(SIGPIPE, SIG_IGN);
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	snprintf(options.hello.where, sizeof options.hello.where, "granary-iso");
	options.hello.read_only = options.verb == ISO_LIST;
	file = open_source(&options, &err);
	if (err.code == 0 &&
	    mount_dial(options.state_dir, &options.hello, &remote.welcome, &remote.fd, &err) == 0)
		run(&options, &remote, file, &err);
	if (err.code == 0)
		return 0;
	fprintf(stderr, "granary-iso: %s\n", err.text);
	return 1;
}
