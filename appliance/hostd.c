/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <seccomp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "appliance/disks.h"
#include "appliance/files.h"
#include "appliance/firewall.h"
#include "appliance/host.h"
#include "core/confine.h"
#include "core/control.h"
#include "core/log.h"
#include "core/world.h"

/*~ granary-hostd: the one process that may change the machine itself: network, time, name, restart.
 * It takes typed requests on a UNIX socket from root (granaryd passes on what its API was asked,
 * the console asks by itself), starts no program, and can not: what it wants done it says to
 * systemd's own services over the system bus.
 *
 * granary-hostd --early (before the network is up, at each start): the settings that last are
 *   written out as run-time configuration of networkd and chrony; name and time zone are set
 * granary-hostd: serves; settings.h says what there is, host.c what becomes of it */
#define SETTINGS "/var/lib/granary/host/settings.json"
#define FOLDER   "/run/granary"
#define CARDS    FOLDER "/cards.json" /* for the console: those that have changed */
#define SOCKET   FOLDER "/host.sock"

#define STATE      "/var/lib/granary"
#define DAEMON     STATE "/control.sock"
#define POOL_MADE  STATE "/host/pool-made"
#define SEED_POOLS STATE "/host/seed-pools.json"
#define SEED_TRIES 6
#define OTHER_DISK (1ull << 30)
#define MAKE_MS    60000
#define WATCH_NS   (10 * 1000000000ull)
#define ASK_MS     2000

static struct {
	struct loop *loop;
	struct host host;
	struct timer watch;
	char firewall[FIREWALL_TEXT]; /* the one in force */
} helper;

static int fail(const struct err *err)
{
	log_error("granary-hostd: %s", err->text);
	return 1;
}

static void serve(struct control_request *request, const json_t *message, void *context)
{
	(void)context;
	control_reply(request, host_answer(&helper.host, message));
}

static json_t *ask_status(void)
{
	json_t *request = json_pack("{s:s,s:s}", "method", "GET", "path", "/api/v1/status");
	json_t *reply = NULL, *body = NULL;

	if (request && control_call(DAEMON, request, ASK_MS, &reply, NULL) == 0)
		body = json_incref(json_object_get(reply, "body"));
	json_decref(reply);
	json_decref(request);
	return body;
}

/* A machine with one disk: a pool is made on it, once, so that it can be used at once. */
static bool wants_pool(const json_t *status)
{
	static struct host_disk disks[2];
	const char *state =
	    json_string_value(json_object_get(json_object_get(status, "daemon"), "state"));

	if (!state || strcmp(state, "running") != 0 || access(POOL_MADE, F_OK) == 0)
		return false;
	return json_array_size(json_object_get(status, "pools")) > 0 ||
	       disks_find(disks, 2, OTHER_DISK) < 2;
}

/* False: it has to be tried again. */
static bool make_pool(void)
{
	struct statvfs room;
	json_t *request, *reply = NULL;
	struct err err = {0};
	json_int_t size;
	int status = 0;

	if (statvfs(STATE, &room) < 0)
		return false;
	size = (json_int_t)((uint64_t)room.f_bavail * room.f_frsize / 10 * 8 >> 30 << 30);
	if (size == 0)
		return true;
	request = json_pack("{s:s,s:s,s:{s:s,s:[{s:s,s:I}]}}", "method", "POST", "path",
			    "/api/v1/pools", "body", "name", "local", "devices", "path",
			    STATE "/local.pool", "size", size);
	if (!request || control_call(DAEMON, request, MAKE_MS, &reply, &err) < 0)
		log_warning("granary-hostd: pool local: %s", err.text);
	else
		status = (int)json_integer_value(json_object_get(reply, "status"));
	if (status)
		log_notice("granary-hostd: pool local of %lld GiB on the system disk: answer %d",
			   (long long)(size >> 30), status);
	json_decref(reply);
	json_decref(request);
	return status == 201;
}

/* Pools that the machine was told to make at its first start; each is tried SEED_TRIES times. */
static bool make_seed_pool(const json_t *pool)
{
	/* Of what read the seed only these two are taken: "force" is not for a seed to say. */
	json_t *request = json_pack("{s:s,s:s,s:{s:O,s:O}}", "method", "POST", "path",
				    "/api/v1/pools", "body", "name", json_object_get(pool, "name"),
				    "devices", json_object_get(pool, "devices"));
	const char *name = json_string_value(json_object_get(pool, "name")), *detail = NULL;
	json_t *reply = NULL;
	struct err err = {0};
	const char *code = NULL;
	int status = 0;

	if (request && control_call(DAEMON, request, MAKE_MS, &reply, &err) == 0) {
		const json_t *body = json_object_get(reply, "body");

		status = (int)json_integer_value(json_object_get(reply, "status"));
		detail = json_string_value(json_object_get(body, "detail"));
		code = json_string_value(json_object_get(body, "code"));
	}
	if (status == 201)
		log_notice("granary-hostd: pool %s is made, as the machine was told", name);
	else
		log_warning("granary-hostd: pool %s, as the machine was told: %s", name,
			    detail ? detail : err.text);
	json_decref(request);
	/* One of that name is there: it was made before the power went. */
	status = code && strcmp(code, "pool_exists") == 0 ? 201 : status;
	json_decref(reply);
	return status == 201;
}

static bool seed_pools_wait(const json_t *status)
{
	static unsigned tries;
	const char *state =
	    json_string_value(json_object_get(json_object_get(status, "daemon"), "state"));
	json_t *pools = access(SEED_POOLS, F_OK) == 0 ? json_load_file(SEED_POOLS, 0, NULL) : NULL;
	bool good = true;
	size_t index;
	json_t *pool;

	if (!pools)
		return false;
	if (!state || strcmp(state, "running") != 0) {
		json_decref(pools);
		return true;
	}
	json_array_foreach(pools, index, pool) good &= make_seed_pool(pool);
	json_decref(pools);
	if (!good && ++tries < SEED_TRIES)
		return true;
	if (!good)
		log_error("granary-hostd: not all pools could be made; it is left at that");
	unlink(SEED_POOLS);
	return false;
}

static void embed_pool(const json_t *status)
{
	struct err err = {0};

	if (!wants_pool(status))
		return;
	if (json_array_size(json_object_get(status, "pools")) == 0 && !make_pool())
		return;
	/* Once: who deletes it does not want it back. */
	if (file_replace(POOL_MADE, "", 0, 0600, &err) < 0)
		log_warning("granary-hostd: %s", err.text);
}

/* For who stands at the console: the network may not lead to anybody by now. */
static void tell_cards(void)
{
	json_t *changed = host_cards(&helper.host);
	char *text = json_array_size(changed) ? json_dumps(changed, JSON_COMPACT) : NULL;
	struct err err = {0};

	if (!text)
		unlink(CARDS);
	else if (file_replace(CARDS, text, strlen(text), 0600, &err) < 0)
		log_warning("granary-hostd: %s", err.text);
	free(text); /* jansson's */
	json_decref(changed);
}

/* The packet filter follows what the daemon listens on. */
static void look(struct timer *timer)
{
	json_t *status = ask_status();
	char text[FIREWALL_TEXT];
	struct firewall firewall;
	struct err err = {0};

	if (status) {
		if (!seed_pools_wait(status))
			embed_pool(status);
		firewall_of(status, &firewall);
		firewall_text(&firewall, text);
		if (strcmp(text, helper.firewall) != 0) {
			if (host_firewall(text, false, &err) == 0)
				memcpy(helper.firewall, text, sizeof text);
			else
				log_warning("granary-hostd: %s", err.text);
		}
	}
	json_decref(status);
	tell_cards();
	timer_start(timer, WATCH_NS);
}

static int early_firewall(struct err *err)
{
	char text[FIREWALL_TEXT];
	struct firewall firewall;

	firewall_of(NULL, &firewall);
	firewall_text(&firewall, text);
	return host_firewall(text, true, err);
}

/* A hole in here has to stay one: no program is started, nothing mounted, nobody traced. */
static int confine(struct err *err)
{
	static const int refused[] = {
	    SCMP_SYS(execve),  SCMP_SYS(execveat),    SCMP_SYS(mount),        SCMP_SYS(umount2),
	    SCMP_SYS(ptrace),  SCMP_SYS(chroot),      SCMP_SYS(setuid),       SCMP_SYS(bpf),
	    SCMP_SYS(reboot),  SCMP_SYS(init_module), SCMP_SYS(finit_module), SCMP_SYS(kexec_load),
	    SCMP_SYS(unshare), SCMP_SYS(setns)};
	static const struct confine_calls filter = {
	    .calls = refused, .count = sizeof refused / sizeof *refused, .refused = true};

	return confine_calls(&filter, err);
}

static int early(void)
{
	struct settings settings;
	struct err err = {0};
	char zone[128];
	int result;

	settings_default(&settings);
	result = settings_load(SETTINGS, &settings, &err);
	if (result < 0 && result != -ENOENT) {
		fail(&err); /* and on with the defaults: somebody has to be able to reach it */
		settings_default(&settings);
	}
	if (sethostname(settings.name, strlen(settings.name)) < 0)
		log_warning("granary-hostd: name %s: %s", settings.name, strerror(errno));
	if (file_replace("/etc/hostname", settings.name, strlen(settings.name), 0644, &err) < 0)
		log_warning("granary-hostd: %s", err.text);
	snprintf(zone, sizeof zone, "/usr/share/zoneinfo/%s", settings.zone);
	unlink("/etc/localtime");
	if (symlink(zone, "/etc/localtime") < 0)
		log_warning("granary-hostd: time zone: %s", strerror(errno));
	if (early_firewall(&err) < 0 || host_system.files(&settings, &err) < 0)
		return fail(&err);
	return 0;
}

static int open_all(struct control_server **ret_server, struct err *err)
{
	int result = loop_create(&world_aio, &helper.loop, err);

	if (result < 0)
		return result;
	if (host_open(&helper.host, helper.loop, &host_system, SETTINGS, err) < 0)
		log_error("granary-hostd: %s; the defaults are in force", err->text);
	if (mkdir(FOLDER, 0755) < 0 && errno != EEXIST)
		return err_set(err, -errno, "%s: %s", FOLDER, strerror(errno));
	result = control_server_open(helper.loop, SOCKET, 0600, serve, NULL, ret_server, err);
	return result < 0 ? result : confine(err);
}

int main(int argc, char **argv)
{
	struct control_server *server;
	struct err err = {0};

	if (argc == 2 && strcmp(argv[1], "--early") == 0)
		return early();
	if (argc != 1) {
		fprintf(stderr, "usage: granary-hostd [--early]\n");
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	if (open_all(&server, &err) < 0)
		return fail(&err);
	/* What an instance before this one had on trial is not confirmed any more. */
	if (host_system.files(&helper.host.now, &err) < 0 ||
	    host_system.network(&helper.host.now, &helper.host.now, &err) < 0)
		log_warning("granary-hostd: %s", err.text);
	timer_init(&helper.watch, helper.loop, look);
	timer_start(&helper.watch, WATCH_NS);
	loop_run(helper.loop); /* until it is killed: it holds nothing that has to be put away */
	return 0;
}
