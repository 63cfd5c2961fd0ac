/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "core/heap.h"
#include "core/size.h"
#include "granaryd/granaryd.h"
#include "volumes/pool.h"

/* The embedded default of `make run`, set up through the API's own routes, one after the other:
 * steps[i] is asked, its answer leads to steps[i + 1]. What is there already is as good as made;
 * any other failure is logged, the rest of the steps is left for the next start, and the daemon
 * serves what it has. A pool file that is there without the configuration knowing it is taken in,
 * never written over. */
#define DEMO_POOL_SIZE   (40ull << 30)
#define DEMO_VOLUME_SIZE (20ull << 30)
#define DEMO_POOL_LEAST  (1ull << 30)

static struct {
	struct webadmin *admin;
	const char *state_dir;
	void (*ready)(const char *naa);
	unsigned step;
} demo;

static json_t *import_body(void)
{
	return json_pack("{s:[o]}", "devices", json_sprintf("%s/tank.pool", demo.state_dir));
}

/* A sparse file, but no larger than what the disk could ever hold. */
static json_t *pool_body(void)
{
	struct statvfs info;
	uint64_t size = DEMO_POOL_SIZE;

	if (statvfs(demo.state_dir, &info) == 0) {
		uint64_t room = (uint64_t)info.f_bavail * info.f_frsize / 10 * 9;

		if (room < size)
			size = room & ~((1ull << 20) - 1);
	}
	if (size < DEMO_POOL_LEAST)
		log_warning("%s has little space: the demo pool will be full soon", demo.state_dir);
	return json_pack("{s:s,s:[{s:o,s:I}]}", "name", "tank", "devices", "path",
			 json_sprintf("%s/tank.pool", demo.state_dir), "size",
			 (json_int_t)(size < POOL_SIZE_MIN ? POOL_SIZE_MIN : size));
}

static json_t *volume_body(void)
{
	return json_pack("{s:s,s:s,s:I}", "pool", "tank", "name", "demo", "size",
			 (json_int_t)DEMO_VOLUME_SIZE);
}

static json_t *target_body(void)
{
	return json_pack("{s:s,s:s}", "iqn", DEMO_TARGET, "alias", "demo");
}

static json_t *lun_body(void)
{
	return json_pack("{s:s,s:s,s:i}", "pool", "tank", "volume", "demo", "lun", 0);
}

static json_t *loopback_body(void)
{
	return json_pack("{s:s}", "network", "127.0.0.0/8");
}

static json_t *loopback6_body(void)
{
	return json_pack("{s:s}", "network", "::1/128");
}

static json_t *share_body(void)
{
	return json_pack("{s:s,s:s}", "pool", "tank", "name", "files");
}

static json_t *share_rule_body(void)
{
	return json_pack("{s:s,s:b,s:s}", "client", "127.0.0.1", "insecure", 1, "squash", "none");
}

static const struct {
	const char *path, *what;
	json_t *(*body)(void);
} steps[] = {
    {"/api/v1/pools", "pool tank", pool_body},
    {"/api/v1/volumes", "volume tank/demo", volume_body},
    {"/api/v1/targets", "target " DEMO_TARGET, target_body},
    {"/api/v1/targets/" DEMO_TARGET "/luns", "LUN 0", lun_body},
    {"/api/v1/targets/" DEMO_TARGET "/rules", "rule for 127.0.0.0/8", loopback_body},
    {"/api/v1/targets/" DEMO_TARGET "/rules", "rule for ::1", loopback6_body},
    {"/api/v1/shares", "share tank/files", share_body},
    {"/api/v1/shares/tank/files/rules", "rule for 127.0.0.1", share_rule_body},
};

static void volume_shown(void *context, int status, const json_t *body)
{
	const char *naa = json_string_value(json_object_get(body, "naa"));

	(void)context;
	demo.ready(status == 200 && naa ? naa : "");
}

static void finish(void)
{
	webadmin_call(demo.admin, "GET", "/api/v1/volumes/tank/demo", NULL, volume_shown, NULL);
}

static void next_step(void);

static bool is_there(const char *code)
{
	static const char *const codes[] = {"pool_exists", "volume_exists", "target_exists",
					    "lun_exists", "volume_mapped"};

	for (unsigned i = 0; code && i < sizeof codes / sizeof *codes; i++) {
		if (strcmp(code, codes[i]) == 0)
			return true;
	}
	return false;
}

static void step_done(void *context, int status, const json_t *body)
{
	const char *detail = json_string_value(json_object_get(body, "detail"));

	(void)context;
	if (status >= 300 && !is_there(json_string_value(json_object_get(body, "code")))) {
		log_error("demo: %s: %s", steps[demo.step].what, detail ? detail : "failed");
		finish();
		return;
	}
	demo.step++;
	next_step();
}

static bool pool_file_exists(void)
{
	char *path = heap_printf("%s/tank.pool", demo.state_dir);
	bool there = path && access(path, F_OK) == 0;

	heap_free(path);
	return there;
}

static void next_step(void)
{
	struct err err = {0};

	if (demo.step == 0 && pool_file_exists()) {
		webadmin_call(demo.admin, "POST", "/api/v1/pools/import", import_body(), step_done,
			      NULL);
		return;
	}
	if (demo.step < sizeof steps / sizeof *steps) {
		webadmin_call(demo.admin, "POST", steps[demo.step].path, steps[demo.step].body(),
			      step_done, NULL);
		return;
	}
	if (webadmin_set_setting(demo.admin, "demo", "done", &err) < 0)
		log_error("demo: %s", err.text);
	finish();
}

/* A set-up that was cut off goes on behind the pool. */
static void pool_looked_up(void *context, int status, const json_t *body)
{
	(void)context;
	(void)body;
	demo.step = status == 200;
	next_step();
}

void demo_set_up(struct webadmin *admin, const char *state_dir, void (*ready)(const char *naa))
{
	char done[16];

	demo.admin = admin;
	demo.state_dir = state_dir;
	demo.ready = ready;
	webadmin_setting(admin, "demo", done, sizeof done);
	if (done[0])
		finish();
	else
		webadmin_call(admin, "GET", "/api/v1/pools/tank", NULL, pool_looked_up, NULL);
}
