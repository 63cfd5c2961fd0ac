/* SPDX-License-Identifier: Apache-2.0 */
#include "webadmin/webadmin.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "core/heap.h"
#include "webadmin/admin.h"
#include "webadmin/alert.h"
#include "webadmin/alert_channel.h"
#include "webadmin/api.h"
#include "webadmin/backup.h"
#include "webadmin/directory.h"
#include "webadmin/history.h"
#include "webadmin/host.h"
#include "webadmin/image.h"
#include "webadmin/metadata.h"
#include "webadmin/move.h"
#include "webadmin/nfs_tls.h"
#include "webadmin/replica.h"
#include "webadmin/schedule.h"
#include "webadmin/secret.h"
#include "webadmin/ups.h"

#define IN_FORCE_LOOK_NS  200000ull      /* an I/O loop hears of exports within its round */
#define IN_FORCE_LIMIT_NS 10000000000ull /* one that does not is no reason to be silent */

/*~ A request's way: the control socket (or webadmin_call()) brings {method, path, body}; route.c
 * finds the row of the table; a row that changes something waits here until the change before it
 * has answered, so that a handler may keep a configuration transaction open over asynchronous
 * steps; the handler (api_TOPIC.c) works on the model (model.h), the store (store.c) and the live
 * objects, and answers through api.c.
 * Reading order: route.c, this file, model.h, api_target.c (the simplest change), start.c. */

const struct config_migration *webadmin_schema(unsigned *ret_count)
{
	return store_schema(ret_count);
}

const char *webadmin_settled(void)
{
	return "select count(*) from volume_move";
}

int webadmin_went_back(struct config *config, int64_t copied, struct err *err)
{
	time_t seconds = (time_t)copied;
	struct tm utc;
	char text[32] = "";

	if (gmtime_r(&seconds, &utc))
		strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &utc);
	return config_run(config, err,
			  "insert into setting(name, value) values(?, ?)"
			  " on conflict(name) do update set value = excluded.value",
			  "ss", WEBADMIN_COPIED, text);
}

int webadmin_create(const struct webadmin_options *options, struct webadmin **ret_admin,
		    struct err *err)
{
	struct webadmin *admin = heap_zalloc(sizeof *admin);
	int result;

	if (!admin)
		return err_set(err, -ENOMEM, "out of memory");
	admin->options = *options;
	admin->started_wall_ns = loop_wall(options->control);
	list_init(&admin->changes);
	list_init(&admin->relay.waiting);
	list_init(&admin->looks.waiting);
	list_init(&admin->replays);
	list_init(&admin->schedules);
	list_init(&admin->retired_moves);
	list_init(&admin->uploads);
	model_init(&admin->model);
	admin->turn = heap_zalloc(sizeof *admin->turn);
	if (!admin->turn) {
		webadmin_destroy(admin);
		return err_set(err, -ENOMEM, "out of memory");
	}
	result = watch_open(admin, &admin->watch, err);
	if (result == 0)
		result = secret_open(options->state_dir, err);
	if (result == 0)
		result = access_open(options->control, options->state_dir, &admin->access, err);
	if (result == 0)
		result = store_load(options->config, &admin->model, err);
	if (result == 0)
		result = host_load(options->config, &admin->model, err);
	if (result == 0)
		result = directories_load(options->config, &admin->model, err);
	if (result == 0)
		result = discovery_load(options->config, &admin->model, options->iscsi, err);
	if (result == 0)
		isns_load(admin);
	if (result == 0)
		result = metadata_load(admin, err);
	if (result == 0)
		result = schedules_load(admin, err);
	if (result == 0 && admin->model.plain_secrets)
		result = store_seal_secrets(options->config, &admin->model, err);
	if (result == 0)
		result = ups_open(admin, err);
	if (result == 0)
		result = alert_watch_create(admin, err);
	if (result == 0)
		result = alert_channels_create(admin, err);
	if (result == 0)
		result = replica_create(admin, err);
	if (result == 0)
		nfs_tls_open(admin);
	if (result == 0) {
		slow_load(admin);
		admin->history = history_open(admin);
	}
	if (result < 0) {
		webadmin_destroy(admin);
		return result;
	}
	*ret_admin = admin;
	return 0;
}

void webadmin_destroy(struct webadmin *admin)
{
	if (!admin)
		return;
	watch_close(admin->watch);
	history_close(admin->history);
	alert_channels_destroy(admin);
	alert_watch_destroy(admin);
	certificate_finish(&admin->certificate);
	health_finish(admin);
	backups_free(admin);
	ups_close(admin);
	moves_free(admin);
	heap_free(admin->turn);
	images_finish(admin);
	model_finish(&admin->model);
	replay_finish(admin);
	schedules_free(admin);
	replication_destroy(admin->replication);
	access_close(admin->access);
	secret_close();
	metadata_free(admin);
	heap_free(admin);
}

static void request_free(struct api_request *request)
{
	volume_unref(request->volume);
	heap_free(request->state);
	json_decref(request->body);
	json_decref(request->extra);
	heap_free(request);
}

static void tag_looked_up(void *context, int status, const json_t *body)
{
	struct api_request *request = context;
	char tag[17], wanted[24];

	snprintf(wanted, sizeof wanted, "\"%s\"", status == 200 && api_tag(body, tag) ? tag : "-");
	/* What is not there: the handler's own answer says it best. */
	if (status == 200 && strcmp(request->if_match, "*") != 0 &&
	    strcmp(request->if_match, wanted) != 0)
		api_reply_error(request, 412, "stale",
				"it has been changed since; look at it again");
	else
		request->match.route->handle(request);
}

/* True: 409 has been sent. Whoever does not find the volume is told so by the handler. */
static bool is_on_the_move(struct api_request *request)
{
	const char *code = NULL;
	struct volume *volume = model_find_volume(request->model, request->match.param[0],
						  request->match.param[1], &code, &request->err);

	code = volume ? move_blocks(request->model, volume, &request->err) : NULL;
	volume_unref(volume);
	if (code)
		api_reply_failure(request, code);
	else
		request->err = (struct err){0};
	return code != NULL;
}

/* The change's turn has come: nothing else changes until it has answered. */
static void change_run(struct api_request *request)
{
	struct webadmin *admin = request->admin;

	if (admin->phase)
		api_reply_error(request, 503, "not_ready", "granaryd is %s", admin->phase);
	else if (request->replay_key && !api_is_dry(request) && replay_answer(request))
		return;
	else if (request->match.route->flags & ROUTE_STILL && is_on_the_move(request))
		return;
	else if (request->if_match)
		webadmin_call(admin, "GET", request->path, NULL, tag_looked_up, request);
	else
		request->match.route->handle(request);
}

static void next_change(struct webadmin *admin)
{
	struct list *link;

	while (!admin->change && (link = list_pop_front(&admin->changes))) {
		struct api_request *request = list_entry(link, struct api_request, link);

		admin->change = request;
		change_run(request);
	}
}

static void turn_ended(struct webadmin *admin)
{
	next_change(admin);
	if (!admin->change && admin->idle) {
		void (*idle)(struct webadmin * admin) = admin->idle;

		admin->idle = NULL;
		idle(admin);
	}
}

static void reply_in_force(struct timer *timer)
{
	struct webadmin *admin = container_of(timer, struct webadmin, in_force);
	json_t *reply = admin->held;

	if (!nfs_shares_in_force(admin->options.nfs) &&
	    loop_now(admin->options.control) < admin->in_force_limit_ns) {
		timer_start(timer, IN_FORCE_LOOK_NS);
		return;
	}
	admin->held = NULL;
	admin->change->replied(admin->change, reply);
}

void webadmin_reply(struct api_request *request, json_t *reply)
{
	struct webadmin *admin = request->admin;

	if (admin->change != request || !admin->options.nfs ||
	    nfs_shares_in_force(admin->options.nfs)) {
		request->replied(request, reply);
		return;
	}
	admin->held = reply;
	admin->in_force_limit_ns = loop_now(admin->options.control) + IN_FORCE_LIMIT_NS;
	timer_init(&admin->in_force, admin->options.control, reply_in_force);
	timer_start(&admin->in_force, IN_FORCE_LOOK_NS);
}

/* Called with the answer of every request, by webadmin_reply(). */
static void request_end(struct api_request *request)
{
	struct webadmin *admin = request->admin;
	bool was_change = admin->change == request;

	if (was_change) {
		config_abort(admin->options.config); /* harmless when it was committed */
		admin->change = NULL;
	}
	request_free(request);
	if (was_change)
		turn_ended(admin);
}

bool webadmin_turn_take(struct webadmin *admin)
{
	if (admin->change)
		return false;
	admin->change = admin->turn;
	return true;
}

void webadmin_turn_give(struct webadmin *admin)
{
	config_abort(admin->options.config);
	admin->change = NULL;
	turn_ended(admin);
}

/* The path and what stands behind its "?"; false when it is too long. */
static bool split_path(struct api_request *request, const char *path)
{
	size_t length = strcspn(path, "?");

	if (length >= sizeof request->path || strlen(path + length) > API_QUERY_MAX)
		return false;
	memcpy(request->path, path, length);
	request->path[length] = '\0';
	request->query = path[length] ? path + length + 1 : "";
	return true;
}

/* What every request has to pass; false = an error has been sent. */
static bool request_good(struct api_request *request, const char *method)
{
	const struct route *route = request->match.route;
	const char *phase = request->admin->phase;

	if (!route && request->match.path_known)
		api_reply_error(request, 405, "method_not_allowed", "%.20s is not for this path",
				method);
	else if (!route)
		api_reply_error(request, 404, "route_not_found", "there is no such path");
	else if (!role_may(request->who.role, route) && request->who.role == ROLE_NOBODY)
		api_reply_error(request, 401, "not_signed_in", "sign in first");
	else if (!role_may(request->who.role, route))
		api_reply_error(request, 403, "role_too_low", "this needs the role %s",
				role_name(route->role));
	else if (route->flags & ROUTE_CONFIRM && request->who.session &&
		 !access_is_confirmed(request->admin->access, request->who.session))
		api_reply_error(request, 403, "confirm_first",
				"give the password again first (POST /api/v1/me/confirm)");
	else if (!(route->flags & ROUTE_DRY) && strcmp(route->method, "GET") != 0 &&
		 api_is_dry(request)) /* never carried out by mistake */
		api_reply_error(request, 422, "no_dry_run", "this request has no dry run");
	else if (phase && strcmp(route->method, "GET") != 0)
		api_reply_error(request, 503, "not_ready", "granaryd is %s", phase);
	else
		return api_body_check(request);
	return false;
}

static void request_dispatch(struct api_request *request, const char *method, const char *path)
{
	struct webadmin *admin = request->admin;

	list_init(&request->link);
	request->model = &admin->model;
	request->query = "";
	if (split_path(request, path))
		route_find(method, request->path, &request->match);
	if (!request_good(request, method))
		return;
	if (request->match.route->flags & ROUTE_CHANGE) {
		list_push_back(&admin->changes, &request->link);
		next_change(admin);
	} else {
		request->match.route->handle(request);
	}
}

static struct api_request *request_new(struct webadmin *admin, json_t *body,
				       void (*replied)(struct api_request *request, json_t *reply),
				       void *context)
{
	struct api_request *request = heap_zalloc(sizeof *request);

	if (!request || !body) {
		heap_free(request);
		json_decref(body);
		return NULL;
	}
	request->admin = admin;
	request->body = body;
	request->replied = replied;
	request->context = context;
	return request;
}

static void replied_to_socket(struct api_request *request, json_t *reply)
{
	struct control_request *control = request->context;
	const struct certificate *newer = &request->admin->certificate;

	if (request->front_certificate && newer->chain &&
	    strcmp(request->front_certificate, newer->fingerprint) != 0)
		json_object_set_new(
		    reply, "tls", json_pack("{s:s,s:s}", "chain", newer->chain, "key", newer->key));
	request_end(request);
	control_reply(control, reply);
}

static json_t *refusal(int status, const char *code, const char *detail)
{
	return json_pack("{s:i,s:{s:s,s:s,s:i,s:s,s:s}}", "status", status, "body", "type",
			 "about:blank", "title", "Bad request", "status", status, "detail", detail,
			 "code", code);
}

struct wire {
	const char *method, *path, *if_match, *replay_key;
	const char *session, *csrf, *token, *address, *certificate; /* of the web front */
	json_t *body;
};

static bool read_message(const json_t *message, struct wire *wire, bool front)
{
	int result;

	*wire = (struct wire){0};
	if (front)
		result = json_unpack(
		    (json_t *)message, "{s:s,s:s,s?:o,s?:s,s?:s,s?:s,s?:s,s?:s,s?:s,s:s!}",
		    "method", &wire->method, "path", &wire->path, "body", &wire->body, "if_match",
		    &wire->if_match, "idempotency_key", &wire->replay_key, "session",
		    &wire->session, "csrf", &wire->csrf, "token", &wire->token, "certificate",
		    &wire->certificate, "address", &wire->address);
	else
		result =
		    json_unpack((json_t *)message, "{s:s,s:s,s?:o,s?:s,s?:s!}", "method",
				&wire->method, "path", &wire->path, "body", &wire->body, "if_match",
				&wire->if_match, "idempotency_key", &wire->replay_key);
	return result == 0 &&
	       (!wire->body || json_is_object(wire->body) || json_is_null(wire->body));
}

static void serve(struct control_request *control, const json_t *message, struct webadmin *admin,
		  bool front)
{
	struct api_request *request;
	struct wire wire;

	if (!read_message(message, &wire, front)) {
		control_reply(
		    control, refusal(400, "bad_message",
				     "a request is {\"method\", \"path\", and a \"body\" object}"));
		return;
	}
	/* The handlers keep texts of the body; the message may go before they end. */
	request =
	    request_new(admin, json_is_object(wire.body) ? json_incref(wire.body) : json_object(),
			replied_to_socket, control);
	if (!request) {
		control_reply(control, refusal(503, "no_memory", "out of memory"));
		return;
	}
	request->if_match = wire.if_match;
	request->replay_key = wire.replay_key;
	request->front_certificate = wire.certificate;
	if (front) {
		snprintf(request->who.address, sizeof request->who.address, "%s", wire.address);
		if (!access_identify(admin->access, request, wire.session, wire.csrf, wire.token,
				     strcmp(wire.method, "GET") != 0))
			return;
	} else {
		/* Root and the daemon's own user: the socket lets in nobody else. */
		request->who.role = ROLE_ADMIN;
		request->local = true;
		snprintf(request->who.name, sizeof request->who.name, "local:%u",
			 control_request_uid(control));
	}
	request_dispatch(request, wire.method, wire.path);
}

void webadmin_serve(struct control_request *control, const json_t *message, void *context)
{
	serve(control, message, context, false);
}

void webadmin_serve_front(struct control_request *control, const json_t *message, void *context)
{
	serve(control, message, context, true);
}

const char *webadmin_setup_code(struct webadmin *admin)
{
	return admin->access->setup_code[0] ? admin->access->setup_code : NULL;
}

struct inner_call {
	void (*done)(void *context, int status, const json_t *body);
	void *context;
};

static void replied_inside(struct api_request *request, json_t *reply)
{
	struct inner_call *call = request->context;
	json_t *status = json_object_get(reply, "status");

	request_end(request);
	call->done(call->context, status ? (int)json_integer_value(status) : 500,
		   json_object_get(reply, "body"));
	json_decref(reply);
	heap_free(call);
}

void webadmin_call(struct webadmin *admin, const char *method, const char *path, json_t *body,
		   void (*done)(void *context, int status, const json_t *body), void *context)
{
	struct inner_call *call = heap_zalloc(sizeof *call);
	struct api_request *request =
	    request_new(admin, body ? body : json_object(), replied_inside, call);

	if (!call || !request) {
		if (request)
			request_free(request);
		heap_free(call);
		done(context, 503, NULL);
		return;
	}
	*call = (struct inner_call){done, context};
	request->who.role = ROLE_ADMIN;
	request->local = true;
	snprintf(request->who.name, sizeof request->who.name, "granaryd");
	request_dispatch(request, method, path);
}

void webadmin_setting(struct webadmin *admin, const char *name, char *value, size_t size)
{
	struct config_statement *statement;

	value[0] = '\0';
	if (config_prepare(admin->options.config, "select value from setting where name = ?",
			   &statement, NULL) < 0)
		return;
	config_bind_text(statement, 1, name);
	if (config_step(statement, NULL) > 0)
		snprintf(value, size, "%s", config_text(statement, 0));
	config_finish(statement);
}

int webadmin_set_setting(struct webadmin *admin, const char *name, const char *value,
			 struct err *err)
{
	return config_run(admin->options.config, err,
			  "insert into setting(name, value) values(?, ?)"
			  " on conflict(name) do update set value = excluded.value",
			  "ss", name, value);
}
