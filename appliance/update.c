/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "appliance/medium.h"
#include "appliance/slot.h"
#include "core/control.h"

/*~ granary-update: a release goes into the slot that does not run, is read back, and is started on
 * trial; when it has shown that it serves, it stays, otherwise the boot loader goes back by itself.
 *
 * install: head, manifest, signature -> is it newer -> each file to its place, hashed on the way,
 *   written through, read back from the medium, hashed again -> grubenv: that slot, on trial
 * good (at each start): wait until the daemon serves what is configured -> grubenv: good
 *
 * Until grubenv changes, in one sector, the running slot is what the machine starts. */
#define RELEASE    "/usr/share/granary/release.json"
#define PUBLIC_KEY "/usr/share/granary/update.pem"
#define SOCKET     "/var/lib/granary/control.sock"
/* There while a release is given up: the console says so, and the daemon makes an alert of it. */
#define GIVEN_UP     "/var/lib/granary/release-given-up"
#define HEALTH_LIMIT 240  /* seconds, in which the daemon neither serves nor is on its way to it */
#define HEALTH_MOST  1800 /* seconds in all: a large pool may replay for minutes */

extern char **environ;

struct install {
	bool allow_older;
	struct medium medium;
	struct bundle bundle;
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
	int result = medium_read(install->medium.source, data, BUNDLE_HEAD);

	if (result < 0)
		return cut_off(result, err);
	result = bundle_head(data, &length, err);
	if (result < 0)
		return result;
	result = medium_read(install->medium.source, data + BUNDLE_HEAD, length + BUNDLE_SIGNATURE);
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

static int with_bundle(struct install *install, struct err *err)
{
	struct medium *medium = &install->medium;
	char running;
	int result = read_manifest(install, err), closed;

	if (result == 0)
		result = check_newer(install, err);
	if (result == 0)
		result = slot_running(&running, err);
	if (result == 0)
		result = esp_open(true, &medium->esp, err);
	if (result < 0)
		return result;
	medium->target = running == 'a' ? 'b' : 'a';
	result = install_release(&medium_ops, medium, &install->bundle, running, err);
	closed = esp_close(medium->esp, result < 0 ? NULL : err);
	return result < 0 ? result : closed;
}

static int do_install(const char *path, bool allow_older)
{
	struct install install = {.allow_older = allow_older};
	struct err err = {0};
	int result;

	install.medium.source = open(path, O_RDONLY | O_CLOEXEC);
	if (install.medium.source < 0) {
		fprintf(stderr, "granary-update: %s: %s\n", path, strerror(errno));
		return 1;
	}
	result = with_bundle(&install, &err);
	close(install.medium.source);
	if (result < 0)
		return fail(&err);
	printf("release %s is in slot %c; restart to run it\n", install.bundle.version,
	       install.medium.target);
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

enum health { HEALTH_BAD, HEALTH_STARTING, HEALTH_GOOD };

static enum health health(void)
{
	json_t *request = json_pack("{s:s,s:s}", "method", "GET", "path", "/api/v1/status");
	json_t *reply = NULL;
	const json_t *body;
	const char *state;
	enum health health = HEALTH_BAD;

	if (request && control_call(SOCKET, request, 5000, &reply, NULL) == 0) {
		body = json_object_get(reply, "body");
		state =
		    json_string_value(json_object_get(json_object_get(body, "daemon"), "state"));
		if (all_online(json_object_get(body, "pools")) &&
		    all_online(json_object_get(body, "targets")))
			health = HEALTH_GOOD;
		else if (state && strcmp(state, "starting") == 0)
			health = HEALTH_STARTING;
	}
	json_decref(reply);
	json_decref(request);
	return health;
}

static int change_env(int (*change)(struct grubenv *env, char running, struct err *err))
{
	struct grubenv env;
	struct err err = {0};
	char running;
	int folder, result = slot_running(&running, &err);

	if (result == 0)
		result = esp_open(false, &folder, &err);
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
static char given_up; /* 0: none */

static int look(struct grubenv *env, char running, struct err *err)
{
	(void)err;
	on_trial = env->slot == running && !env->good;
	given_up = env->failed != running ? env->failed : 0;
	return 0;
}

static void tell_given_up(void)
{
	int fd;

	if (!given_up) {
		unlink(GIVEN_UP);
		return;
	}
	fd = open(GIVEN_UP, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		fprintf(stderr, "granary-update: %s: %s\n", GIVEN_UP, strerror(errno));
	else
		close(fd);
	fprintf(stderr, "granary-update: the release in slot %c did not come up and was given up\n",
		given_up);
}

/* The boot loader counts the starts of a release on trial, and goes back at the third time. */
static int start_again(void)
{
	static const char *const words[] = {"/usr/bin/systemctl", "--force", "reboot", NULL};
	pid_t child;

	fprintf(stderr, "granary-update: this release is on trial; restarting\n");
	if (posix_spawn(&child, words[0], NULL, NULL, (char *const *)words, environ) == 0)
		waitpid(child, NULL, 0);
	return 1;
}

static int64_t seconds_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec;
}

/* A release that has proved itself is not judged again: a disk that is missing today is for the
 * administrator, not for the boot loader. Nor is one of which nothing is known because the boot
 * partition can not be read: that would restart for ever. */
static int do_good(void)
{
	int64_t begun = seconds_now(), alive = begun, now = begun;
	enum health state;

	if (change_env(look) != 0) {
		fprintf(stderr, "granary-update: whether this release is on trial is not known; it "
				"stays as it is\n");
		return 0;
	}
	tell_given_up();
	if (!on_trial)
		return 0;
	/* By the clock: a daemon that hangs takes its time to say nothing. */
	for (; now - alive < HEALTH_LIMIT && now - begun < HEALTH_MOST; now = seconds_now()) {
		state = health();
		if (state == HEALTH_GOOD)
			return change_env(keep);
		if (state == HEALTH_STARTING) /* it opens its pools, and says so */
			alive = now;
		sleep(1);
	}
	fprintf(stderr,
		"granary-update: the daemon does not serve what is configured, after %d s\n",
		(int)(now - begun));
	return start_again();
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
	*env = (struct grubenv){.slot = other, .tries = INSTALL_TRIES};
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
