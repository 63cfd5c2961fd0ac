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
#include "appliance/report.h"
#include "appliance/slot.h"
#include "appliance/source.h"
#include "core/config_copy.h"
#include "core/control.h"

/*~ granary-update: a release goes into the slot that does not run, is read back, and is started on
 * trial; when it has shown that it serves, it stays, otherwise the boot loader goes back by itself.
 *
 * Where it comes from: a file, a disk, or a URL (source.c). What it does is in report.h's files,
 * for the API; "asked" does what the API was asked for, by way of granary-hostd and
 * granary-update.service.
 *
 * install: head, manifest, signature -> is it newer -> each file to its place, hashed on the way,
 *   written through, read back from the medium, hashed again -> grubenv: that slot, on trial
 * good (at each start): wait until the daemon serves what is configured -> grubenv: good
 *
 * Until grubenv changes, in one sector, the running slot is what the machine starts. It says from
 * before the first byte on that the other one is half, so that no rollback goes to it. */
#define RELEASE    "/usr/share/granary/release.json"
#define PUBLIC_KEY "/usr/share/granary/update.pem"
#define SOCKET     "/var/lib/granary/control.sock"
/* There while a release is given up: the console says so, and the daemon makes an alert of it. */
#define GIVEN_UP "/var/lib/granary/release-given-up"
#define CONFIG   "/var/lib/granary/config.db"
#ifndef HEALTH_LIMIT     /* a test has no patience with a release that never serves */
#define HEALTH_LIMIT 240 /* seconds, in which the daemon neither serves nor is on its way to it */
#endif
#define HEALTH_MOST 1800 /* seconds in all: a large pool may replay for minutes */

extern char **environ;

struct install {
	struct medium medium; /* first: the context of its ops */
	bool allow_older, one_way, dry;
	bool touched; /* the slot is not what it was */
	struct bundle bundle;
	struct report report;
	uint64_t told; /* bytes, in the report that stands */
};
#define TELL_BYTES (1u << 20)

static int usage(void)
{
	fprintf(stderr,
		"usage: granary-update install BUNDLE [--allow-older] [--one-way]\n"
		"                      [--dry-run]\n"
		"       granary-update rollback [--dry-run]\n"
		"       granary-update status | good | asked\n"
		"\n"
		"install   write a signed update bundle (a file, a disk or an https URL) into the\n"
		"          other slot and start from it next time, on trial\n"
		"good      wait until this system serves, and keep it (done at each start)\n"
		"rollback  start from the other slot next time\n"
		"asked     what the API was asked for (granary-update.service)\n"
		"\n"
		"--dry-run checks, says what it would do, and does nothing\n");
	return 2;
}

static int fail(const struct err *err)
{
	fprintf(stderr, "granary-update: %s\n", err->text);
	return 1;
}

static bool stopped(void)
{
	return report_stopped(REPORT_FOLDER);
}

static int cancelled(struct err *err)
{
	return err_set(err, -ECANCELED, "the update was cancelled before anything was written");
}

static int cut_off(int code, struct err *err)
{
	if (code == -ECANCELED)
		return cancelled(err);
	if (code == -ENODATA)
		return err_set(err, code, "the bundle ends too early: it was cut off on its way");
	return err_set(err, code, "the bundle can not be read: %s", strerror(-code));
}

static int read_manifest(struct install *install, struct err *err)
{
	static uint8_t data[BUNDLE_HEAD + BUNDLE_MANIFEST_MAX + BUNDLE_SIGNATURE];
	uint32_t length;
	int result = medium_take(&install->medium, data, BUNDLE_HEAD);

	if (result < 0)
		return cut_off(result, err);
	result = bundle_head(data, &length, err);
	if (result < 0)
		return result;
	result = medium_take(&install->medium, data + BUNDLE_HEAD, length + BUNDLE_SIGNATURE);
	if (result < 0)
		return cut_off(result, err);
	result =
	    bundle_verify(PUBLIC_KEY, data, BUNDLE_HEAD + length, data + BUNDLE_HEAD + length, err);
	if (result < 0)
		return result;
	return bundle_parse((const char *)data + BUNDLE_HEAD, length, &install->bundle, err);
}

/* What this system itself is. @schemas: NULL, or which it knows. */
static int read_release(char version[32], uint64_t *ret_sequence, struct bundle_schemas *schemas,
			struct err *err)
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
	if (result == 0 && schemas)
		result = bundle_schemas(json_object_get(root, "schemas"), schemas, err);
	json_decref(root);
	return result;
}

static int check_newer(const struct install *install, struct err *err)
{
	char version[32];
	uint64_t sequence;
	int result = read_release(version, &sequence, NULL, err);

	if (result < 0 || install->allow_older || install->bundle.sequence >= sequence)
		return result;
	return err_set(err, -EPERM,
		       "the bundle is release %s, older than %s that runs here; an older one may "
		       "not know this one's data. --allow-older takes it all the same",
		       install->bundle.version, version);
}

/* A release on trial migrates at its first start what the boot loader can not take back. */
static int check_way_back(const struct install *install, struct err *err)
{
	struct bundle_schemas own;
	const char *lost;
	char version[32];
	uint64_t sequence;
	int result = read_release(version, &sequence, &own, err);

	if (result < 0 || install->one_way)
		return result;
	lost = bundle_no_way_back(&own, &install->bundle.schemas);
	if (!lost)
		return 0;
	return err_set(
	    err, -EXDEV,
	    "release %s brings a newer schema of %s.db, which %s can not read: after its "
	    "first start there is no way back, whether it comes up or not. --one-way takes "
	    "it all the same; make a backup of the configuration before",
	    install->bundle.version, lost, version);
}

/* That it can not be told is no reason to stop. */
static void tell(const struct report *report)
{
	struct err err = {0};

	if (report_tell(REPORT_FOLDER, report, &err) < 0)
		fprintf(stderr, "granary-update: %s\n", err.text);
}

static void tell_boot(const struct grubenv *env)
{
	struct err err = {0};
	char running, version[32];
	uint64_t sequence;

	if (slot_running(&running, &err) < 0 || read_release(version, &sequence, NULL, &err) < 0 ||
	    report_boot(REPORT_FOLDER, version, running, env, &err) < 0)
		fprintf(stderr, "granary-update: %s\n", err.text);
}

/* Between two blocks is where an update can be given up. */
static int go_on(struct err *err)
{
	return stopped() ? cancelled(err) : 0;
}

static void moved_on(struct install *install, size_t length)
{
	struct report *report = &install->report;

	report->done += length;
	if (report->done - install->told < TELL_BYTES)
		return;
	install->told = report->done;
	tell(report);
}

static int write_told(void *context, const void *data, size_t length, struct err *err)
{
	int result = go_on(err);

	if (result == 0)
		result = medium_ops.write(context, data, length, err);
	moved_on(context, length);
	return result;
}

static int read_back_told(void *context, void *data, size_t length, struct err *err)
{
	int result = go_on(err);

	if (result == 0)
		result = medium_ops.read_back(context, data, length, err);
	moved_on(context, length);
	return result;
}

static int begin_told(void *context, enum bundle_file file, uint64_t size, struct err *err)
{
	((struct install *)context)->touched = true;
	return medium_ops.begin(context, file, size, err);
}

static int write_env_told(void *context, const struct grubenv *env, struct err *err)
{
	const struct install *install = context;
	/* The last one is what cannot be taken back. */
	int result = env->slot == install->report.slot ? go_on(err) : 0;

	if (result == 0)
		result = medium_ops.write_env(context, env, err);
	if (result == 0)
		tell_boot(env);
	return result;
}

/* Half a release is none to go back to either; what became of it is said with why. */
static void give_up(const struct install *install, struct err *err)
{
	struct err mine = {0};
	char slot = install->medium.target;

	if (!install->touched)
		return;
	if (medium_forget(&install->medium, &mine) < 0)
		fprintf(stderr, "granary-update: slot %c: %s\n", slot, mine.text);
	if (err->code == -ECANCELED)
		err_set(err, -ECANCELED,
			"the update was cancelled; slot %c holds no release now, the next start "
			"is from the one that runs",
			slot);
}

static int write_slot(struct install *install, char running, struct err *err)
{
	struct install_ops ops = medium_ops;
	struct medium *medium = &install->medium;
	int closed, result = esp_open(true, &medium->esp, err);

	if (result < 0)
		return result;
	ops.begin = begin_told;
	ops.write = write_told;
	ops.read_back = read_back_told;
	ops.write_env = write_env_told;
	install->report.state = REPORT_WRITING;
	for (unsigned i = 0; i < BUNDLE_FILES; i++) /* each is written and read back */
		install->report.size += 2 * install->bundle.files[i].size;
	install->report.began = time(NULL);
	tell(&install->report);
	result = install_release(&ops, install, &install->bundle, running, err);
	if (result < 0)
		give_up(install, err);
	closed = esp_close(medium->esp, result < 0 ? NULL : err);
	return result < 0 ? result : closed;
}

static int with_bundle(struct install *install, struct err *err)
{
	struct report *report = &install->report;
	char running;
	int result = read_manifest(install, err);

	if (result == 0)
		result = check_newer(install, err);
	if (result == 0)
		result = check_way_back(install, err);
	if (result == 0)
		result = slot_running(&running, err);
	if (result < 0)
		return result;
	install->medium.target = report->slot = running == 'a' ? 'b' : 'a';
	memcpy(report->version, install->bundle.version, sizeof report->version);
	return install->dry ? 0 : write_slot(install, running, err);
}

/* How it ended, for who has asked. */
static void tell_end(struct report *report, bool dry, const struct err *err)
{
	report->state = err->code ? REPORT_FAILED : dry ? REPORT_WOULD : REPORT_DONE;
	report->ended = time(NULL);
	report->err = *err;
	if (err->code)
		snprintf(report->code, sizeof report->code, "%s", report_code(err->code));
	tell(report);
}

static int from_source(struct install *install, const char *name, struct err *err)
{
	struct source source;
	int result;

	install->report.state = REPORT_CHECKING;
	tell(&install->report);
	result = source_open(name, &source, err);
	if (result < 0)
		return result;
	install->medium.source = source.fd;
	result = with_bundle(install, err);
	source_close(&source, err);
	return result < 0 ? result : err->code;
}

/* @install: the options; the rest is 0. */
static int do_install(const char *name, bool asked, struct install install)
{
	const bool dry = install.dry;
	struct err err = {0};
	int lock;

	install.medium.stopped = stopped;
	install.report.started = time(NULL);
	/* Who comes second leaves the report to who was first. */
	if (report_lock(REPORT_FOLDER, &lock, &err) < 0)
		return fail(&err);
	if (!asked) /* granary-hostd has done it: it may have been stopped since */
		report_go(REPORT_FOLDER);
	from_source(&install, name, &err);
	tell_end(&install.report, dry, &err);
	close(lock);
	if (err.code)
		return fail(&err);
	printf(dry ? "release %s would go into slot %c\n"
		   : "release %s is in slot %c; restart to run it\n",
	       install.bundle.version, install.medium.target);
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

/* > 0: what it made of @env is to be written. */
typedef int env_change(struct grubenv *env, char running, struct err *err);

static int try_env(env_change *change, struct err *err)
{
	struct grubenv env;
	char running;
	int folder, closed, result = slot_running(&running, err);

	if (result == 0)
		result = esp_open(false, &folder, err);
	if (result < 0)
		return result;
	result = env_read(folder, &env, err);
	if (result == 0)
		result = change(&env, running, err);
	if (result > 0)
		result = env_write(folder, &env, err);
	if (result == 0)
		tell_boot(&env);
	closed = esp_close(folder, result < 0 ? NULL : err);
	return result < 0 ? result : closed;
}

static int change_env(env_change *change)
{
	struct err err = {0};

	return try_env(change, &err) < 0 ? fail(&err) : 0;
}

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

/* It is this release's configuration now: whatever comes, no start goes back from it by itself. */
static void confirm_config(void)
{
	struct err err = {0};

	if (config_copy_confirm(CONFIG, &err) < 0)
		fprintf(stderr, "granary-update: %s\n", err.text);
}

static int keep_release(void)
{
	int status = change_env(keep);

	if (status == 0)
		confirm_config();
	return status;
}

/* Of a confirmation that was cut off, or of a release before this one. Not before the daemon
 * serves: until then it may need the copy. */
static void confirm_late(void)
{
	for (int64_t begun = seconds_now(); config_copy_find(CONFIG, CONFIG_COPY, INT64_MAX) &&
					    seconds_now() - begun < HEALTH_MOST;
	     sleep(1)) {
		if (health() == HEALTH_GOOD)
			confirm_config();
	}
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
	if (!on_trial) {
		confirm_late();
		return 0;
	}
	/* By the clock: a daemon that hangs takes its time to say nothing. */
	for (; now - alive < HEALTH_LIMIT && now - begun < HEALTH_MOST; now = seconds_now()) {
		state = health();
		if (state == HEALTH_GOOD)
			return keep_release();
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

	if (env->half == other)
		return err_set(err, -ENOENT,
			       "slot %c holds no complete release to go back to: an update into it "
			       "was not finished. Install a release first",
			       other);
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

static int would_go_back(struct grubenv *env, char running, struct err *err)
{
	struct grubenv other = *env;
	int result = go_back(&other, running, err);

	return result < 0 ? result : 0;
}

static int do_rollback(bool dry)
{
	struct report report = {.rollback = true, .state = REPORT_CHECKING, .started = time(NULL)};
	struct err err = {0};
	char running;
	int lock;

	if (report_lock(REPORT_FOLDER, &lock, &err) < 0)
		return fail(&err);
	tell(&report);
	if (slot_running(&running, &err) == 0)
		report.slot = running == 'a' ? 'b' : 'a';
	if (report.slot)
		try_env(dry ? would_go_back : go_back, &err);
	tell_end(&report, dry, &err);
	close(lock);
	return err.code ? fail(&err) : 0;
}

/* What the API was asked for; hostd wrote it down. */
static int do_asked(void)
{
	json_t *ask = json_load_file(REPORT_FOLDER "/" REPORT_ASK, 0, NULL);
	const char *source = json_string_value(json_object_get(ask, "source"));
	bool dry = json_is_true(json_object_get(ask, "dry_run"));
	bool upload = json_is_true(json_object_get(ask, "upload")); /* @source is ours to remove */
	int status = 1;

	unlink(REPORT_FOLDER "/" REPORT_ASK); /* once */
	if (json_is_true(json_object_get(ask, "rollback")))
		status = do_rollback(dry);
	else if (source)
		status =
		    do_install(source, true,
			       (struct install){
				   .allow_older = json_is_true(json_object_get(ask, "allow_older")),
				   .one_way = json_is_true(json_object_get(ask, "one_way")),
				   .dry = dry,
			       });
	else
		fprintf(stderr, "granary-update: nothing was asked for\n");
	if (status == 0 && source && upload && !dry)
		unlink(source);
	json_decref(ask);
	return status;
}

static int show(struct grubenv *env, char running, struct err *err)
{
	char version[32];
	uint64_t sequence;
	int result = read_release(version, &sequence, NULL, err);

	if (result < 0)
		return result;
	printf("release  %s\nrunning  %c\nnext     %c%s\n", version, running, env->slot,
	       env->good ? "" : ", on trial");
	if (env->failed)
		printf("failed   %c (it did not come up; the boot loader went back)\n",
		       env->failed);
	if (env->half)
		printf("half     %c (no complete release: an update into it was not finished; "
		       "nothing goes back to it)\n",
		       env->half);
	return 0;
}

/* The options behind @argv[@from]; false: there is no such one. */
static bool read_options(char **argv, int from, struct install *install, bool *ret_dry)
{
	*ret_dry = false;
	for (; argv[from]; from++) {
		if (strcmp(argv[from], "--dry-run") == 0)
			*ret_dry = true;
		else if (install && strcmp(argv[from], "--allow-older") == 0)
			install->allow_older = true;
		else if (install && strcmp(argv[from], "--one-way") == 0)
			install->one_way = true;
		else
			return false;
	}
	return true;
}

int main(int argc, char **argv)
{
	struct install install = {0};
	bool dry;

	if (argc >= 3 && strcmp(argv[1], "install") == 0 &&
	    read_options(argv, 3, &install, &install.dry))
		return do_install(argv[2], false, install);
	if (argc >= 2 && strcmp(argv[1], "rollback") == 0 && read_options(argv, 2, NULL, &dry))
		return do_rollback(dry);
	if (argc != 2)
		return usage();
	if (strcmp(argv[1], "status") == 0)
		return change_env(show);
	if (strcmp(argv[1], "good") == 0)
		return do_good();
	if (strcmp(argv[1], "asked") == 0)
		return do_asked();
	return usage();
}
