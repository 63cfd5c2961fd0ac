/* SPDX-License-Identifier: Apache-2.0 */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/control.h"
#include "core/heap.h"
#include "core/log.h"
#include "diskhealth/diskhealth.h"

/*~ granary-smart: one round after the other: ask each disk, in turn, and tell the daemon of all of
 * them in one report. It keeps nothing: the daemon remembers the last report and says how old it
 * is. */
#define ANSWER_MS 10000
#define SOON      20 /* seconds, when the daemon could not be told */

static volatile sig_atomic_t ended;

static void end(int signal)
{
	(void)signal;
	ended = 1;
}

static json_t *ask_disk(const struct smart_options *options, const char *name)
{
	struct err err = {0};
	json_t *said = smart_ask(options->program, name, &err);
	json_t *report = smart_report(name, said);

	if (report && !said && err.text[0]) {
		json_t *why = json_string(err.text);

		json_object_set_new(report, "detail", why ? why : json_string("?"));
	}
	json_decref(said);
	return report;
}

static json_t *ask_all(const struct smart_options *options)
{
	static char names[SMART_DISKS_MAX][SMART_NAME];
	unsigned count = options->disk_count;
	json_t *list = json_array();

	if (!count)
		count = smart_find_disks(names, SMART_DISKS_MAX);
	for (unsigned i = 0; !ended && i < count; i++)
		json_array_append_new(
		    list, ask_disk(options, options->disk_count ? options->disks[i] : names[i]));
	return list;
}

/* False: the daemon was not there, or would not hear it. */
static bool tell(const struct smart_options *options, json_t *disks)
{
	char *socket = heap_printf("%s/control.sock", options->state_dir);
	json_t *request = json_pack("{s:s,s:s,s:{s:o}}", "method", "POST", "path",
				    "/api/v1/disks/health", "body", "disks", disks);
	json_t *reply = NULL;
	struct err err = {0};
	json_int_t status = 0;

	if (socket && request && control_call(socket, request, ANSWER_MS, &reply, &err) == 0)
		status = json_integer_value(json_object_get(reply, "status"));
	if (status != 200)
		log_warning("granary-smart: granaryd could not be told: %s",
			    err.text[0] ? err.text : "it says no");
	json_decref(reply);
	json_decref(request);
	heap_free(socket);
	return status == 200;
}

static void wait_seconds(unsigned seconds)
{
	const struct timespec second = {.tv_sec = 1};

	for (unsigned i = 0; !ended && i < seconds; i++)
		nanosleep(&second, NULL);
}

int main(int argc, char **argv)
{
	struct sigaction action = {.sa_handler = end};
	struct smart_options options;
	int status = smart_options_read(argc, argv, &options);
	bool told;

	if (status >= 0)
		return status;
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);
	signal(SIGPIPE, SIG_IGN);
	do {
		told = tell(&options, ask_all(&options));
		if (options.every)
			wait_seconds(told || options.every < SOON ? options.every : SOON);
	} while (!ended && options.every);
	return options.every || told ? 0 : 1;
}
