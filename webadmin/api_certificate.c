/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/heap.h"
#include "core/log.h"
#include "webadmin/admin.h"
#include "webadmin/api.h"

/* The web front's certificate. A pair is written beside the old one, synced, then renamed, key
 * first: a front that starts between the two renames finds the new chain beside it and finishes. */

#define PEM_MAX (256u << 10)

static char *path_of(const struct webadmin *admin, const char *name)
{
	return heap_printf("%s/web/%s", admin->options.state_dir, name);
}

/* The whole file as a text; NULL when it is not there. */
static char *read_text(const struct webadmin *admin, const char *name)
{
	char *path = path_of(admin, name), *text = NULL;
	/* The folder is the front's: a FIFO there must not hold up the daemon. */
	int fd = path ? open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK) : -1;
	ssize_t length = 0;

	if (fd >= 0 && (text = heap_zalloc(PEM_MAX + 1)))
		length = read(fd, text, PEM_MAX);
	if (length <= 0) {
		heap_free(text);
		text = NULL;
	}
	if (fd >= 0)
		close(fd);
	heap_free(path);
	return text;
}

#define READ_AGAIN_NS (60 * 1000000000ull)

int64_t certificate_expires(struct webadmin *admin)
{
	uint64_t now = loop_now(admin->options.control);
	char *chain;

	if (admin->expires_read_ns && now - admin->expires_read_ns < READ_AGAIN_NS)
		return admin->expires;
	admin->expires_read_ns = now;
	chain = read_text(admin, "cert.pem");
	admin->expires = chain ? certificate_end(chain) : 0;
	heap_free(chain);
	return admin->expires;
}

void api_certificate_show(struct api_request *request)
{
	char *chain = read_text(request->admin, "cert.pem");
	json_t *shown = chain ? certificate_show(chain) : NULL;

	heap_free(chain);
	if (shown)
		api_reply(request, 200, shown);
	else
		api_reply_error(
		    request, 404, "no_certificate",
		    "there is no certificate yet; granary-web makes one when it starts");
}

/* @name.new, whole and on the disk; its owner is that of the folder, who has to read it. */
static int write_beside(const char *folder, const char *name, const char *text, mode_t mode,
			struct err *err)
{
	char *path = heap_printf("%s/%s.new", folder, name);
	size_t length = strlen(text);
	struct stat owner;
	int fd, result = 0;

	if (!path)
		return err_set(err, -ENOMEM, "out of memory");
	unlink(path);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
	if (fd < 0 || write(fd, text, length) != (ssize_t)length || stat(folder, &owner) < 0 ||
	    (geteuid() == 0 && fchown(fd, owner.st_uid, owner.st_gid) < 0) || fsync(fd) < 0)
		result = err_set(err, errno ? -errno : -EIO, "%s: %s", path, strerror(errno));
	if (fd >= 0)
		close(fd);
	heap_free(path);
	return result;
}

static int rename_new(const char *folder, const char *name, struct err *err)
{
	char *from = heap_printf("%s/%s.new", folder, name),
	     *to = heap_printf("%s/%s", folder, name);
	int result = from && to && rename(from, to) == 0 ? 0 : -EIO;

	if (result < 0)
		err_set(err, result, "%s could not be put in its place", name);
	heap_free(from);
	heap_free(to);
	return result;
}

static int store_pair(struct api_request *request, const char *chain, const char *key)
{
	char *folder = heap_printf("%s/web", request->admin->options.state_dir);
	struct err *err = &request->err;
	int result = folder ? 0 : err_set(err, -ENOMEM, "out of memory"), fd;

	if (result == 0)
		result = write_beside(folder, "key.pem", key, 0600, err);
	if (result == 0)
		result = write_beside(folder, "cert.pem", chain, 0644, err);
	if (result == 0)
		result = rename_new(folder, "key.pem", err);
	if (result == 0)
		result = rename_new(folder, "cert.pem", err);
	fd = result == 0 ? open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	if (fd >= 0) {
		fsync(fd);
		close(fd);
	}
	heap_free(folder);
	return result;
}

void api_certificate_set(struct api_request *request)
{
	struct certificate *live = &request->admin->certificate, fresh = {0};
	int64_t now = (int64_t)(loop_wall(request->admin->options.control) / 1000000000u);
	const char *chain, *key;

	if (!api_unpack(request, "{s:s,s:s}", "chain", &chain, "key", &key))
		return;
	if (strlen(chain) > PEM_MAX || strlen(key) > PEM_MAX ||
	    certificate_check(chain, key, now, fresh.fingerprint, &request->err) < 0) {
		api_reply_error(request, 400, "bad_certificate", "%s",
				request->err.text[0] ? request->err.text : "it is too large");
		return;
	}
	if (api_is_dry(request)) {
		char *old = read_text(request->admin, "cert.pem");
		json_t *before = old ? certificate_show(old) : NULL;

		heap_free(old);
		api_reply_dry(request, json_string("certificate"), before ? before : json_object(),
			      certificate_show(chain));
		return;
	}
	fresh.chain = heap_strdup(chain);
	fresh.key = heap_strdup(key);
	if (!fresh.chain || !fresh.key || store_pair(request, chain, key) < 0) {
		certificate_finish(&fresh);
		api_reply_failure(request, NULL);
		return;
	}
	certificate_finish(live);
	*live = fresh;
	log_notice("the certificate of the web front is now %s", live->fingerprint);
	api_reply(request, 200, certificate_show(chain));
}
