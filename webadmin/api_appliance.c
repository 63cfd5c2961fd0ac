/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "core/heap.h"
#include "webadmin/admin.h"
#include "webadmin/api.h"

/* The machine's own settings belong to the appliance's helper, which alone has the rights for
 * them: a request that its role allows is passed on as it is. The helper may take seconds, so the
 * call is made on a thread, one at a time; who comes meanwhile is told to come again. */
#define HELPER    "/run/granary/host.sock"
#define ANSWER_MS 30000

struct relay {
	struct message message;
	struct api_request *request;
	struct relay_thread *thread;
	json_t *asked, *reply;
	struct err err;
};

static void *call_helper(void *argument)
{
	struct relay *relay = argument;

	if (control_call(HELPER, relay->asked, ANSWER_MS, &relay->reply, &relay->err) < 0)
		relay->reply = NULL;
	loop_post(relay->thread->loop, &relay->message, relay->thread->done);
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

static void answer(struct api_request *request, const json_t *reply)
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

static void done(struct message *message)
{
	struct relay *relay = container_of(message, struct relay, message);
	struct api_request *request = relay->request;
	json_t *reply = relay->reply;

	relay_quiet(relay->thread);
	json_decref(relay->asked);
	answer(request, reply); /* @relay is gone */
	json_decref(reply);
}

void relay_quiet(struct relay_thread *thread)
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

void api_appliance(struct api_request *request)
{
	struct relay_thread *thread = &request->admin->relay;
	struct relay *relay;

	if (!there_is_one(request))
		return;
	if (thread->runs) {
		api_reply_error(request, 503, "busy", "the host helper is at work, come again");
		return;
	}
	relay = heap_zalloc(sizeof *relay);
	if (!relay) {
		api_reply_error(request, 503, "no_memory", "out of memory");
		return;
	}
	request->state = relay;
	thread->loop = request->admin->options.control;
	thread->done = done;
	relay->thread = thread;
	relay->request = request;
	relay->asked = json_pack("{s:s,s:s,s:O}", "method", request->match.route->method, "path",
				 request->path, "body", request->body);
	if (relay->asked && start(thread, relay))
		return;
	json_decref(relay->asked);
	api_reply_error(request, 503, "no_memory", "out of memory");
}
