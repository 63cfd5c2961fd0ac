/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/heap.h"
#include "webadmin/admin.h"
#include "webadmin/api.h"

/* The machine's own settings belong to the appliance's helper, which alone has the rights for
 * them: a request that its role allows is passed on as it is. The helper may take seconds, so the
 * call is made on a thread, one at a time; who comes meanwhile waits for its turn. */
#define HELPER      "/run/granary/host.sock"
#define ANSWER_MS   30000
#define LOOK_MS     100
#define LOOKS_MS    2000 /* who only looks is told without it rather than late */
#define WAITING_MAX 32u

struct relay {
	struct message message;
	struct list link;
	struct api_request *request;
	struct relay_thread *thread;
	unsigned follow_ms, answer_ms;
	bool looks; /* can do without the answer */
	void (*answered)(struct api_request *request, const json_t *reply);
	json_t *asked, *reply;
};

/* Its bundle is still being looked at; of one that is to end, it has not. */
static bool is_to_follow(const struct relay *relay)
{
	const json_t *body = json_object_get(relay->reply, "body");
	const char *method = json_string_value(json_object_get(relay->asked, "method"));
	const char *state =
	    json_string_value(json_object_get(json_object_get(body, "update"), "state"));

	if (method && strcmp(method, "DELETE") == 0)
		return json_is_true(json_object_get(body, "under_way"));
	return state && (strcmp(state, "starting") == 0 || strcmp(state, "checking") == 0);
}

static void follow(struct relay *relay)
{
	const struct timespec moment = {.tv_nsec = LOOK_MS * 1000000l};
	json_t *look = json_pack("{s:s,s:s}", "method", "GET", "path", "/api/v1/appliance/update");

	for (unsigned waited = 0; look && waited < relay->follow_ms && is_to_follow(relay) &&
				  !atomic_load(&relay->thread->stop);
	     waited += LOOK_MS) {
		json_t *now = NULL;

		nanosleep(&moment, NULL);
		if (control_call(HELPER, look, ANSWER_MS, &now, NULL) < 0)
			break;
		json_decref(relay->reply);
		relay->reply = now;
	}
	json_decref(look);
}

static void done(struct message *message);

static void *call_helper(void *argument)
{
	struct relay *relay = argument;

	if (control_call(HELPER, relay->asked, relay->answer_ms, &relay->reply, NULL) < 0)
		relay->reply = NULL;
	if (relay->follow_ms && json_integer_value(json_object_get(relay->reply, "status")) == 202)
		follow(relay);
	loop_post(relay->thread->loop, &relay->message, done);
	return NULL;
}

static bool there_is_one(struct api_request *request)
{
	if (access(HELPER, F_OK) == 0)
		return true;
	api_reply_error(request, 404, "no_appliance",
			"this is not the appliance: its settings are made with the system's own "
			"tools");
	return false;
}

void relay_answer(struct api_request *request, const json_t *reply)
{
	json_t *body = json_object_get(reply, "body");
	int status = (int)json_integer_value(json_object_get(reply, "status"));
	const char *detail = json_string_value(json_object_get(body, "detail"));
	const char *code = json_string_value(json_object_get(body, "code"));

	if (!body)
		api_reply_error(request, 503, "no_helper", "the host helper does not answer");
	else if (status >= 400)
		api_reply_error(request, status, code ? code : "host_failed", "%s",
				detail ? detail : "");
	else
		api_reply(request, status, json_incref(body));
}

static void join(struct relay_thread *thread)
{
	if (thread->runs)
		pthread_join(thread->thread, NULL);
	thread->runs = false;
}

static bool start(struct relay_thread *thread, struct relay *relay)
{
	sigset_t all, before;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	thread->runs = pthread_create(&thread->thread, NULL, call_helper, relay) == 0;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return thread->runs;
}

static struct relay *take_waiting(struct relay_thread *thread)
{
	struct relay *relay;

	if (list_empty(&thread->waiting))
		return NULL;
	relay = list_entry(thread->waiting.next, struct relay, link);
	list_remove(&relay->link);
	thread->waiting_count--;
	return relay;
}

/* @relay goes with its request. */
static void refuse(struct relay *relay, const char *code, const char *why)
{
	json_decref(relay->asked);
	if (relay->looks)
		relay->answered(relay->request, NULL);
	else
		api_reply_error(relay->request, 503, code, "%s", why);
}

static void start_next(struct relay_thread *thread)
{
	struct relay *relay;

	while (!thread->runs && (relay = take_waiting(thread)) != NULL) {
		if (!start(thread, relay))
			refuse(relay, "no_memory", "out of memory");
	}
}

static void done(struct message *message)
{
	struct relay *relay = container_of(message, struct relay, message);
	struct relay_thread *thread = relay->thread;
	json_t *reply = relay->reply;

	join(thread);
	json_decref(relay->asked);
	relay->answered(relay->request, reply); /* @relay is gone */
	json_decref(reply);
	start_next(thread);
}

void relay_stop(struct relay_thread *thread)
{
	struct relay *relay;

	atomic_store(&thread->stop, true);
	while ((relay = take_waiting(thread)) != NULL)
		refuse(relay, "not_ready", "granaryd is stopping");
	join(thread);
}

/* @relay as it is to be, its message stolen. */
static void line_up(const struct relay *wanted)
{
	struct api_request *request = wanted->request;
	struct relay_thread *thread = wanted->thread;
	struct relay *relay = wanted->asked ? heap_zalloc(sizeof *relay) : NULL;

	if (!relay) {
		json_decref(wanted->asked);
		api_reply_error(request, 503, "no_memory", "out of memory");
		return;
	}
	request->state = relay;
	thread->loop = request->admin->options.control;
	*relay = *wanted;
	if (thread->waiting_count >= WAITING_MAX) {
		refuse(relay, "busy", "the host helper is at work, come again");
		return;
	}
	list_push_back(&thread->waiting, &relay->link);
	thread->waiting_count++;
	start_next(thread);
}

void relay_send(struct api_request *request, json_t *message, unsigned follow_ms,
		void (*answered)(struct api_request *request, const json_t *reply))
{
	const struct relay relay = {.request = request,
				    .thread = &request->admin->relay,
				    .follow_ms = follow_ms,
				    .answer_ms = ANSWER_MS,
				    .answered = answered,
				    .asked = message};

	if (there_is_one(request))
		line_up(&relay);
	else
		json_decref(message);
}

void relay_look(struct api_request *request, const char *path,
		void (*answered)(struct api_request *request, const json_t *reply))
{
	const struct relay relay = {.request = request,
				    .thread = &request->admin->looks,
				    .answer_ms = LOOKS_MS,
				    .looks = true,
				    .answered = answered,
				    .asked = json_pack("{s:s,s:s}", "method", "GET", "path", path)};

	if (access(HELPER, F_OK) == 0) {
		line_up(&relay);
		return;
	}
	json_decref(relay.asked);
	answered(request, NULL);
}

static void tried(struct api_request *request, const json_t *reply)
{
	json_t *body = json_object_get(reply, "body");
	json_t *before = json_object_get(body, "before"), *after = json_object_get(body, "after");

	if (before && after)
		api_reply_dry(request, json_string("machine"), json_incref(before),
			      json_incref(after));
	else
		relay_answer(request, reply);
}

void api_appliance(struct api_request *request)
{
	bool dry = api_is_dry(request);
	json_t *body = dry ? json_copy(request->body) : json_incref(request->body);

	if (dry)
		json_object_set_new(body, "dry_run", json_true());
	relay_send(request,
		   json_pack("{s:s,s:s,s:o}", "method", request->match.route->method, "path",
			     request->path, "body", body),
		   0, dry ? tried : relay_answer);
}
