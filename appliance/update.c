/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <linux/fs.h>

#include "appliance/bundle.h"
#include "appliance/slot.h"
#include "core/control.h"
#include "core/heap.h"

/*~ granary-update: a release goes into the slot that does not run, is read back, and is started on
 * trial; when it has shown that it serves, it stays, otherwise the boot loader goes back by itself.
 *
 * install: head, manifest, signature -> is it newer -> each file to its place, hashed on the way,
 *   written through, read back from the medium, hashed again -> grubenv: that slot, on trial
 * good (at each start): wait until the daemon serves what is configured -> grubenv: good
 *
 * Until grubenv changes, in one sector, the running slot is what the machine starts. */
#define RELEASE      "/usr/share/granary/release.json"
#define PUBLIC_KEY   "/usr/share/granary/update.pem"
#define SOCKET       "/var/lib/granary/control.sock"
#define TRIES        3
#define BLOCK        (1u << 20)
#define HEALTH_LIMIT 240 /* seconds */

struct install {
	const char *path; /* of the bundle */
	bool allow_older;
	int source;
	int esp; /* folder granary/ of the ESP, or -1 */
	char running, target;
	struct bundle bundle;
	uint8_t *block;
};

static int usage(void)
{
	fprintf(
	    stderr,
	    "usage: granary-update install BUNDLE [--allow-older]\n"
	    "       granary-update status | good | rollback\n"
	    "\n"
	    "install   write a signed update bundle (a file or a disk) into the other slot and\n"
	    "          start from it next time, on trial\n"
	    "good      wait until this system serves, and keep it (done at each start)\n"
	    "rollback  start from the other slot next time\n");
	return 2;
}

static int fail(const struct err *err)
{
	fprintf(stderr, "granary-update: %s\n", err->text);
	return 1;
}

static int read_all(int fd, void *data, size_t length)
{
	uint8_t *at = data;

	while (length) {
		ssize_t n = read(fd, at, length);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -ENODATA;
		at += n;
		length -= (size_t)n;
	}
	return 0;
}

static int cut_off(int code, struct err *err)
{
	if (code == -ENODATA)
		return err_set(err, code, "the bundle ends too early: it was cut off on its way");
	return err_set(err, code, "the bundle can not be read: %s", strerror(-code));
}

static int read_manifest(struct install *install, struct err *err)
{
	static uint8_t data[BUNDLE_HEAD + BUNDLE_MANIFEST_MAX + BUNDLE_SIGNATURE];
	uint32_t length;
	int result = read_all(install->source, data, BUNDLE_HEAD);

	if (result < 0)
		return cut_off(result, err);
	result = bundle_head(data, &length, err);
	if (result < 0)
		return result;
	result = read_all(install->source, data + BUNDLE_HEAD, length + BUNDLE_SIGNATURE);
	if (result < 0)
		return cut_off(result, err);
	result =
	    bundle_verify(PUBLIC_KEY, data, BUNDLE_HEAD + length, data + BUNDLE_HEAD + length, err);
	if (result < 0)
		return result;
	return bundle_parse((const char *)data + BUNDLE_HEAD, length, &install->bundle, err);
}

/* What this system itself is. */
static int read_release(char version[32], uint64_t *ret_sequence, struct err *err)
{
	json_t *root = json_load_file(RELEASE, 0, NULL);
	const char *name = json_string_value(json_object_get(root, "version"));
	json_int_t sequence = json_integer_value(json_object_get(root, "sequence"));
	int result = 0;

	if (!name || sequence <= 0)
		result = err_set(err, -EUCLEAN, "%s does not say which release this is", RELEASE);
	else
		snprintf(version, 32, "%s", name);
	*ret_sequence = (uint64_t)sequence;
	json_decref(root);
	return result;
}

static int check_newer(const struct install *install, struct err *err)
{
	char version[32];
	uint64_t sequence;
	int result = read_release(version, &sequence, err);

	if (result < 0 || install->allow_older || install->bundle.sequence >= sequence)
		return result;
	return err_set(err, -EPERM,
		       "the bundle is release %s, older than %s that runs here; an older one may "
		       "not know this one's data. --allow-older takes it all the same",
		       install->bundle.version, version);
}

/* @size bytes from @from to @to (-1: nowhere), their digest. */
static int copy(struct install *install, int from, int to, uint64_t size, uint8_t digest[32],
		struct err *err)
{
	EVP_MD_CTX *hash = EVP_MD_CTX_new();
	int result = hash && EVP_DigestInit_ex(hash, EVP_sha256(), NULL) ? 0 : -ENOMEM;

	while (result == 0 && size) {
		size_t now = size < BLOCK ? (size_t)size : BLOCK;

		result = read_all(from, install->block, now);
		if (result < 0) {
			cut_off(result, err);
			break;
		}
		EVP_DigestUpdate(hash, install->block, now);
		if (to >= 0 && write(to, install->block, now) != (ssize_t)now)
			result = err_set(err, errno ? -errno : -EIO, "can not be written: %s",
					 strerror(errno));
		size -= now;
	}
	if (result == 0)
		EVP_DigestFinal_ex(hash, digest, NULL);
	EVP_MD_CTX_free(hash);
	return result;
}

static int write_and_read_back(struct install *install, enum bundle_file file, int fd,
			       struct err *err)
{
	const uint8_t *wanted = install->bundle.files[file].sha256;
	uint64_t size = install->bundle.files[file].size;
	uint8_t digest[32];
	int result = copy(install, install->source, fd, size, digest, err);

	if (result < 0)
		return result;
	if (memcmp(digest, wanted, sizeof digest) != 0)
		return err_set(err, -EBADMSG, "the bundle is damaged: %s has another digest",
			       bundle_file_name(file));
	/* What comes back has to come from the medium, not from memory. */
	if (fsync(fd) < 0 || posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) != 0 ||
	    lseek(fd, 0, SEEK_SET) < 0)
		return err_set(err, errno ? -errno : -EIO, "%s is not durable: %s",
			       bundle_file_name(file), strerror(errno));
	result = copy(install, fd, -1, size, digest, err);
	if (result < 0)
		return result;
	if (memcmp(digest, wanted, sizeof digest) != 0)
		return err_set(err, -EIO, "the disk does not give back what was written to it (%s)",
			       bundle_file_name(file));
	return 0;
}

static int open_boot_file(const struct install *install, enum bundle_file file, struct err *err)
{
	char name[32];
	int fd;

	snprintf(name, sizeof name, "%c", install->target);
	if (mkdirat(install->esp, name, 0700) < 0 && errno != EEXIST)
		return err_set(err, -errno, "the boot partition: %s", strerror(errno));
	snprintf(name, sizeof name, "%c/%s", install->target, bundle_file_name(file));
	/* Both kernels of a slot would not fit: the old one goes first. */
	unlinkat(install->esp, name, 0);
	fd = openat(install->esp, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	return fd >= 0 ? fd : err_set(err, -errno, "the boot partition: %s", strerror(errno));
}

static int open_root(const struct install *install, struct err *err)
{
	uint64_t room = 0;
	char path[64];
	int fd;

	slot_root_path(install->target, path);
	fd = open(path, O_RDWR | O_EXCL | O_CLOEXEC);
	if (fd < 0)
		return err_set(err, -errno, "%s: %s", path, strerror(errno));
	if (ioctl(fd, BLKGETSIZE64, &room) == 0 && room >= install->bundle.files[BUNDLE_ROOT].size)
		return fd;
	close(fd);
	return err_set(err, -ENOSPC, "the release is larger than its slot %s (%" PRIu64 " bytes)",
		       path, room);
}

static int install_file(struct install *install, enum bundle_file file, struct err *err)
{
	int fd = file == BUNDLE_ROOT ? open_root(install, err) : open_boot_file(install, file, err);
	int result;

	if (fd < 0)
		return fd;
	printf("%s: %" PRIu64 " bytes\n", bundle_file_name(file), install->bundle.files[file].size);
	fflush(stdout);
	result = write_and_read_back(install, file, fd, err);
	if (close(fd) < 0 && result == 0)
		result = err_set(err, -errno, "%s: %s", bundle_file_name(file), strerror(errno));
	return result;
}

static int install_all(struct install *install, struct err *err)
{
	struct grubenv env;
	int result = env_read(install->esp, &env, err);

	/* A slot that is being written is not to be fallen back to. */
	if (result == 0) {
		env = (struct grubenv){.slot = install->running, .good = true};
		result = env_write(install->esp, &env, err);
	}
	for (unsigned file = 0; result == 0 && file < BUNDLE_FILES; file++)
		result = install_file(install, file, err);
	if (result < 0)
		return result;
	env = (struct grubenv){.slot = install->target, .tries = TRIES};
	return env_write(install->esp, &env, err);
}

static int with_bundle(struct install *install, struct err *err)
{
	int result = read_manifest(install, err), closed;

	if (result == 0)
		result = check_newer(install, err);
	if (result == 0)
		result = slot_running(&install->running, err);
	if (result == 0)
		result = esp_open(&install->esp, err);
	if (result < 0)
		return result;
	install->target = install->running == 'a' ? 'b' : 'a';
	result = install_all(install, err);
	closed = esp_close(install->esp, result < 0 ? NULL : err);
	return result < 0 ? result : closed;
}

static int do_install(const char *path, bool allow_older)
{
	struct install install = {.path = path, .allow_older = allow_older, .esp = -1};
	struct err err = {0};
	int result;

	install.source = open(path, O_RDONLY | O_CLOEXEC);
	install.block = heap_alloc(BLOCK);
	if (install.source < 0 || !install.block) {
		fprintf(stderr, "granary-update: %s: %s\n", path, strerror(errno));
		heap_free(install.block);
		return 1;
	}
	result = with_bundle(&install, &err);
	heap_free(install.block);
	close(install.source);
	if (result < 0)
		return fail(&err);
	printf("release %s is in slot %c; restart to run it\n", install.bundle.version,
	       install.target);
	return 0;
}

/* Every pool and target that is configured is there. */
static bool all_online(const json_t *list)
{
	size_t index;
	json_t *entry;

	json_array_foreach(list, index, entry)
	{
		const char *state = json_string_value(json_object_get(entry, "state"));

		if (!state || strcmp(state, "unavailable") == 0)
			return false;
	}
	return json_is_array(list);
}

static bool serves(void)
{
	json_t *request = json_pack("{s:s,s:s}", "method", "GET", "path", "/api/v1/status");
	json_t *reply = NULL;
	const json_t *body;
	bool good = false;

	if (request && control_call(SOCKET, request, 5000, &reply, NULL) == 0) {
		body = json_object_get(reply, "body");
		good = all_online(json_object_get(body, "pools")) &&
		       all_online(json_object_get(body, "targets"));
	}
	json_decref(reply);
	json_decref(request);
	return good;
}

static int change_env(int (*change)(struct grubenv *env, char running, struct err *err))
{
	struct grubenv env;
	struct err err = {0};
	char running;
	int folder, result = slot_running(&running, &err);

	if (result == 0)
		result = esp_open(&folder, &err);
	if (result < 0)
		return fail(&err);
	result = env_read(folder, &env, &err);
	if (result == 0)
		result = change(&env, running, &err);
	if (result > 0)
		result = env_write(folder, &env, &err);
	if (esp_close(folder, result < 0 ? NULL : &err) < 0)
		result = -EIO;
	return result < 0 ? fail(&err) : 0;
}

/* > 0: write it. */
static int keep(struct grubenv *env, char running, struct err *err)
{
	(void)err;
	if (env->slot != running)
		return 0; /* it is about the next start */
	env->good = true;
	env->tries = 0;
	env->failed = 0;
	return 1;
}

static bool on_trial;

static int look(struct grubenv *env, char running, struct err *err)
{
	(void)err;
	on_trial = env->slot == running && !env->good;
	return 0;
}

/* A release that has proved itself is not judged again: a disk that is missing today is for the
 * administrator, not for the boot loader. */
static int do_good(void)
{
	if (change_env(look) != 0)
		return 1;
	if (!on_trial)
		return 0;
	for (unsigned second = 0; second < HEALTH_LIMIT; second++) {
		if (serves())
			return change_env(keep);
		sleep(1);
	}
	fprintf(stderr,
		"granary-update: the daemon does not serve what is configured, after %d s\n",
		HEALTH_LIMIT);
	return 1;
}

static int go_back(struct grubenv *env, char running, struct err *err)
{
	char other = running == 'a' ? 'b' : 'a', name[32];
	struct stat info;
	int folder;

	snprintf(name, sizeof name, "/run/granary-esp/granary/%c", other);
	folder = open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (folder < 0 || fstatat(folder, "vmlinuz", &info, 0) < 0 ||
	    fstatat(folder, "initrd", &info, 0) < 0) {
		if (folder >= 0)
			close(folder);
		return err_set(err, -ENOENT, "slot %c holds no release to go back to", other);
	}
	close(folder);
	*env = (struct grubenv){.slot = other, .tries = TRIES};
	return 1;
}

static int show(struct grubenv *env, char running, struct err *err)
{
	char version[32];
	uint64_t sequence;
	int result = read_release(version, &sequence, err);

	if (result < 0)
		return result;
	printf("release  %s\nrunning  %c\nnext     %c%s\n", version, running, env->slot,
	       env->good ? "" : ", on trial");
	if (env->failed)
		printf("failed   %c (it did not come up; the boot loader went back)\n",
		       env->failed);
	return 0;
}

int main(int argc, char **argv)
{
	bool older = argc == 4 && strcmp(argv[3], "--allow-older") == 0;

	if (argc >= 3 && strcmp(argv[1], "install") == 0 && (argc == 3 || older))
		return do_install(argv[2], older);
	if (argc != 2)
		return usage();
	if (strcmp(argv[1], "status") == 0)
		return change_env(show);
	if (strcmp(argv[1], "good") == 0)
		return do_good();
	if (strcmp(argv[1], "rollback") == 0)
		return change_env(go_back);
	return usage();
}
