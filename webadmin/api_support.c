/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>

#include "core/heap.h"
#include "core/log.h"
#include "support/support.h"
#include "webadmin/admin.h"
#include "webadmin/alert_channel.h"
#include "webadmin/api.h"
#include "webadmin/support.h"

/* A support bundle of the running daemon: everything that the API shows (the route table says what
 * there is, so what is added to it later is in the bundle too), this process's log, then, on a
 * thread, the machine and the journal. What does not answer in time is left out and named: a
 * broken disk is no reason to get no bundle. */

#define PATHS_MAX 384u
#define STEP_NS   (20 * 1000000000ull)
#define POOL_HOLE "{pool}"

/* One call of a route; outlives the bundle when its answer is late. */
struct step {
	struct gather *owner; /* NULL: nobody waits for it any more */
};

struct gather {
	struct api_request *request;
	struct support *support;
	char *paths[PATHS_MAX]; /* heap */
	unsigned count, next;
	struct step *step; /* under way */
	struct timer limit;
	struct message message;
	bool writes, joined;
	pthread_t thread;
	uint8_t *data;
	size_t length;
	int result;
	struct err err;
};

/* --- what there is --------------------------------------------------------------------------- */

static bool is_wanted(const struct route *route)
{
	static const char *const passed_over[] = {
	    "/api/v1/openapi.json", "/api/v1/routes",         "/api/v1/setup",
	    "/api/v1/me",           "/api/v1/support/bundle", "/api/v1/logs"}; /* whole, beside */

	if (strcmp(route->method, "GET") != 0 || route->flags & ROUTE_SECRET)
		return false;
	for (unsigned i = 0; i < sizeof passed_over / sizeof *passed_over; i++)
		if (strcmp(route->path, passed_over[i]) == 0)
			return false;
	return true;
}

static void want(struct gather *gather, char *path)
{
	if (path && gather->count < PATHS_MAX)
		gather->paths[gather->count++] = path;
	else
		heap_free(path);
}

/* A route about a pool, for each of them. */
static void want_of_pools(struct gather *gather, const char *path)
{
	const char *hole = strstr(path, POOL_HOLE), *rest = hole + sizeof POOL_HOLE - 1;

	if (strchr(rest, '{'))
		return; /* about something in it, of which there may be thousands */
	list_for_each (it, &gather->request->model->pools) {
		const struct model_pool *pool = list_entry(it, struct model_pool, link);

		want(gather, heap_printf("%.*s%s%s", (int)(hole - path), path, pool->name, rest));
	}
}

static void want_all(struct gather *gather)
{
	unsigned count;
	const struct route *routes = route_table(&count);

	for (unsigned i = 0; i < count; i++) {
		if (!is_wanted(&routes[i]))
			continue;
		if (!strchr(routes[i].path, '{'))
			want(gather, heap_strdup(routes[i].path));
		else if (strstr(routes[i].path, "/" POOL_HOLE))
			want_of_pools(gather, routes[i].path);
	}
}

/* --- what must not be in it ------------------------------------------------------------------ */

static void name_text(struct support *support, const char *secret)
{
	support_secret(support, secret, strlen(secret));
}

static void name_rule(struct support *support, const struct iscsi_rule *rule)
{
	support_secret(support, rule->chap_secret, rule->chap_secret_length);
	support_secret(support, rule->mutual_secret, rule->mutual_secret_length);
}

/* Secrets that this process knows: should one stand in a log or in a name, it is taken out. */
static void name_secrets(struct gather *gather)
{
	struct webadmin *admin = gather->request->admin;
	struct alert_channel_info channel;

	if (webadmin_setup_code(admin))
		name_text(gather->support, webadmin_setup_code(admin));
	name_rule(gather->support, &admin->model.discovery);
	list_for_each (it, &admin->model.targets) {
		const struct model_target *target = list_entry(it, struct model_target, link);

		for (unsigned i = 0; i < target->rule_count; i++)
			name_rule(gather->support, &target->rules[i].rule);
	}
	for (unsigned i = 0; alert_channel_info(admin, i, &channel); i++) {
		const char *host = strstr(channel.settings->url, "://");

		name_text(gather->support, channel.settings->secret);
		/* Of a webhook the path is one; the host alone is not. */
		host = host ? strchr(host + 3, '/') : NULL;
		if (host && strlen(host) > 8)
			name_text(gather->support, host + 1);
	}
}

/* --- facts of this process ------------------------------------------------------------------- */

static void add_versions(struct gather *gather)
{
	const struct webadmin_options *options = &gather->request->admin->options;
	struct utsname machine = {0};
	json_t *versions;

	uname(&machine);
	versions = json_pack("{s:s,s:s,s:i,s:s,s:s,s:s,s:s,s:s,s:s}", "granaryd", options->version,
			     "io_engine", options->world->name, "io_loops", (int)options->io_loops,
			     "kernel", machine.release, "machine", machine.machine, "sqlite",
			     sqlite3_libversion(), "openssl", OpenSSL_version(OPENSSL_VERSION),
			     "jansson", JANSSON_VERSION, "host", machine.nodename);
	support_add_json(gather->support, "versions.json", versions);
	json_decref(versions);
}

static void add_own_log(struct gather *gather)
{
	char *text = heap_alloc(LOG_KEPT + 1);

	if (text)
		support_add(gather->support, "logs/granaryd.txt", SUPPORT_LOG, text,
			    log_tail(text, LOG_KEPT + 1));
	heap_free(text);
}

/* --- the end --------------------------------------------------------------------------------- */

static void gather_free(struct gather *gather)
{
	timer_stop(&gather->limit);
	if (gather->step)
		gather->step->owner = NULL;
	for (unsigned i = 0; i < gather->count; i++)
		heap_free(gather->paths[i]);
	support_free(gather->support);
	heap_free(gather->data);
	heap_free(gather);
}

static void reply(struct gather *gather)
{
	struct api_request *request = gather->request;
	char *text = heap_alloc(gather->length / 3 * 4 + 8);
	time_t now = (time_t)(loop_wall(request->admin->options.control) / 1000000000u);
	struct tm parts;
	char stamp[32] = "";

	if (!text) {
		api_reply_error(request, 503, "no_memory", "out of memory");
		return;
	}
	EVP_EncodeBlock((unsigned char *)text, gather->data, (int)gather->length);
	if (gmtime_r(&now, &parts))
		strftime(stamp, sizeof stamp, "-%Y%m%d-%H%M%S", &parts);
	api_extra(request, "type", json_string("application/gzip"));
	api_extra(request, "encoding", json_string("base64"));
	api_extra(request, "filename", json_sprintf("granary-support%s.tar.gz", stamp));
	api_reply(request, 200, json_string(text));
	heap_free(text);
}

static void written(struct message *message)
{
	struct gather *gather = container_of(message, struct gather, message);
	struct api_request *request = gather->request;

	if (!gather->joined)
		pthread_join(gather->thread, NULL);
	request->admin->gather = NULL;
	if (gather->result == 0) {
		reply(gather);
	} else {
		request->err = gather->err;
		api_reply_failure(request, NULL);
	}
	gather_free(gather);
}

static void *write_bundle(void *argument)
{
	struct gather *gather = argument;

	support_add_machine(gather->support);
	support_add_journal(gather->support, NULL);
	gather->result =
	    support_finish(gather->support, &gather->data, &gather->length, &gather->err);
	loop_post(gather->limit.loop, &gather->message, written);
	return NULL;
}

static void give_up(struct gather *gather, int status, const char *code, const char *why)
{
	struct api_request *request = gather->request;

	request->admin->gather = NULL;
	gather_free(gather);
	api_reply_error(request, status, code, "%s", why);
}

static void start_writing(struct gather *gather)
{
	sigset_t all, before;
	int result;

	add_versions(gather);
	add_own_log(gather);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	gather->writes = true;
	result = pthread_create(&gather->thread, NULL, write_bundle, gather);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (result != 0)
		give_up(gather, 503, "no_memory", "out of memory");
}

/* --- one call after the other ---------------------------------------------------------------- */

static void next_call(struct message *message);

static void go_on(struct gather *gather)
{
	timer_stop(&gather->limit);
	gather->step = NULL;
	gather->next++;
	loop_post(gather->limit.loop, &gather->message, next_call);
}

static void add_answer(struct gather *gather, int status, const json_t *body)
{
	const char *path = gather->paths[gather->next];
	const char *name = strncmp(path, "/api/v1/", 8) == 0 ? path + 8 : path + 1;
	char *file = heap_printf("api/%s.%s", name, json_is_string(body) ? "txt" : "json");

	if (!file || status == 404) /* there is no such thing here: no appliance, say */
		;
	else if (json_is_string(body))
		support_add(gather->support, file, SUPPORT_FACT, json_string_value(body),
			    json_string_length(body));
	else if (body)
		support_add_json(gather->support, file, body);
	heap_free(file);
}

static void answered(void *context, int status, const json_t *body)
{
	struct step *step = context;
	struct gather *gather = step->owner;

	heap_free(step);
	if (!gather)
		return;
	add_answer(gather, status, body);
	go_on(gather);
}

static void too_late(struct timer *timer)
{
	struct gather *gather = container_of(timer, struct gather, limit);
	json_t *said = json_pack("{s:s,s:i}", "not_answered", gather->paths[gather->next],
				 "seconds", (int)(STEP_NS / 1000000000ull));

	gather->step->owner = NULL;
	add_answer(gather, 504, said);
	json_decref(said);
	go_on(gather);
}

static void next_call(struct message *message)
{
	struct gather *gather = container_of(message, struct gather, message);
	struct step *step;

	if (!gather->request) { /* the daemon stops */
		gather_free(gather);
		return;
	}
	if (gather->next == gather->count) {
		start_writing(gather);
		return;
	}
	step = heap_zalloc(sizeof *step);
	if (!step) {
		give_up(gather, 503, "no_memory", "out of memory");
		return;
	}
	step->owner = gather;
	gather->step = step;
	timer_start(&gather->limit, STEP_NS);
	webadmin_call(gather->request->admin, "GET", gather->paths[gather->next], NULL, answered,
		      step);
}

void gather_stop(struct webadmin *admin)
{
	struct gather *gather = admin->gather;
	struct api_request *request = gather ? gather->request : NULL;

	if (!gather)
		return;
	if (gather->writes) {
		pthread_join(gather->thread, NULL);
		gather->joined = true;
		return;
	}
	admin->gather = NULL;
	if (gather->step) { /* nothing of it is in the loop's mailbox */
		gather_free(gather);
	} else {
		gather->request = NULL;
	}
	api_reply_error(request, 503, "not_ready", "granaryd is stopping");
}

void api_support_bundle(struct api_request *request)
{
	struct gather *gather;

	if (request->admin->gather) {
		api_reply_error(request, 409, "busy", "another bundle is being made");
		return;
	}
	gather = heap_zalloc(sizeof *gather);
	if (!gather || support_create(&gather->support, &request->err) < 0) {
		heap_free(gather);
		api_reply_error(request, 503, "no_memory", "out of memory");
		return;
	}
	gather->request = request;
	timer_init(&gather->limit, request->admin->options.control, too_late);
	request->admin->gather = gather;
	name_secrets(gather);
	want_all(gather);
	loop_post(gather->limit.loop, &gather->message, next_call);
}
