/* SPDX-License-Identifier: Apache-2.0 */
#include "webadmin/ups.h"

#include <ctype.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "core/heap.h"
#include "core/log.h"
#include "webadmin/admin.h"
#include "webadmin/alert.h"

#define HELPER     "/run/granary/host.sock"
#define ANSWER_MS  30000
#define OBJECT_MAX (UPS_HOST_TEXT + UPS_NAME_TEXT + 2)

/* Something for a thread of its own; left to itself when the daemon stops first. */
struct job {
	pthread_mutex_t lock; /* over @owner */
	struct ups *owner;    /* NULL: nobody waits for it any more */
	bool power_off;       /* else: ask */
	struct ups_settings settings;
	struct ups_reading reading;
	int result;
	struct err err;
	struct message message;
};

struct ups {
	struct webadmin *admin;
	struct ups_settings settings;
	struct ups_reading reading;
	struct ups_watch watch;
	struct timer timer;
	struct job *job; /* under way */
	bool started, asked, powering_off, complained;
};

/* --- judging --------------------------------------------------------------------------------- */

static bool on_battery_too_long(const struct ups_watch *watch, const struct ups_settings *settings,
				int64_t now)
{
	return settings->seconds && watch->battery_since &&
	       now - watch->battery_since >= settings->seconds;
}

/* A calibration drains the battery on purpose; what is bypassed is fed by the mains. */
static bool has_power(const char *status)
{
	return ups_has(status, "OL") || ups_has(status, "CAL") ||
	       (ups_has(status, "BYPASS") && !ups_has(status, "OB"));
}

enum ups_verdict ups_judge(struct ups_watch *watch, const struct ups_settings *settings,
			   const struct ups_reading *reading, int64_t now)
{
	if (!reading->reached) {
		if (!watch->silent_since)
			watch->silent_since = now;
		if (!watch->battery_since)
			return UPS_SILENT;
		return now - watch->silent_since >= UPS_SILENT_S ||
			       on_battery_too_long(watch, settings, now)
			   ? UPS_POWER_OFF
			   : UPS_ON_BATTERY;
	}
	watch->silent_since = 0;
	if (ups_has(reading->status, "FSD")) /* whoever the UPS belongs to shuts all down */
		return UPS_POWER_OFF;
	if (has_power(reading->status)) {
		watch->battery_since = 0;
		return UPS_FINE;
	}
	if (!ups_has(reading->status, "OB")) /* its driver starts: nothing new is known */
		return watch->battery_since ? UPS_ON_BATTERY : UPS_FINE;
	if (!watch->battery_since)
		watch->battery_since = now;
	return ups_has(reading->status, "LB") || on_battery_too_long(watch, settings, now)
		   ? UPS_POWER_OFF
		   : UPS_ON_BATTERY;
}

/* --- threads --------------------------------------------------------------------------------- */

static void job_done(struct message *message);

static int power_off(struct err *err)
{
	json_t *request =
	    json_pack("{s:s,s:s}", "method", "POST", "path", "/api/v1/appliance/poweroff");
	json_t *reply = NULL;
	int result = request ? control_call(HELPER, request, ANSWER_MS, &reply, err) : -ENOMEM;
	json_int_t status = json_integer_value(json_object_get(reply, "status"));

	if (result == 0 && (status < 200 || status > 299))
		result = err_set(err, -EIO, "the helper answers %d", (int)status);
	json_decref(reply);
	json_decref(request);
	return result;
}

static void *run_job(void *argument)
{
	struct job *job = argument;
	bool wanted;

	if (job->power_off)
		job->result = power_off(&job->err);
	else
		ups_ask(&job->settings, &job->reading);
	pthread_mutex_lock(&job->lock);
	wanted = job->owner != NULL;
	if (wanted)
		loop_post(job->owner->timer.loop, &job->message, job_done);
	pthread_mutex_unlock(&job->lock);
	if (!wanted)
		heap_free(job);
	return NULL;
}

static bool start_thread(struct job *job)
{
	sigset_t all, before;
	pthread_t thread;
	bool good;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	good = pthread_create(&thread, NULL, run_job, job) == 0;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (good)
		pthread_detach(thread);
	return good;
}

static void start_job(struct ups *ups, bool off)
{
	struct job *job = heap_zalloc(sizeof *job);

	if (job) {
		pthread_mutex_init(&job->lock, NULL);
		job->owner = ups;
		job->power_off = off;
		job->settings = ups->settings;
	}
	if (job && start_thread(job)) {
		ups->job = job;
		return;
	}
	heap_free(job);
	timer_start(&ups->timer, UPS_EVERY_NS);
}

/* The job under way is nobody's any more. */
static void leave_job(struct ups *ups)
{
	struct job *job = ups->job;

	if (!job)
		return;
	pthread_mutex_lock(&job->lock);
	job->owner = NULL; /* its message frees it, or the thread itself */
	pthread_mutex_unlock(&job->lock);
	ups->job = NULL;
}

static void ask_again(struct timer *timer)
{
	struct ups *ups = container_of(timer, struct ups, timer);

	start_job(ups, ups->powering_off);
}

static void take_reading(struct ups *ups, const struct ups_reading *reading)
{
	int64_t now = (int64_t)(loop_now(ups->timer.loop) / 1000000000u) + 1;
	bool was_on_battery = ups->watch.battery_since != 0;
	enum ups_verdict verdict = ups_judge(&ups->watch, &ups->settings, reading, now);

	ups->reading = *reading;
	ups->asked = true;
	if (verdict == UPS_ON_BATTERY && !was_on_battery)
		log_warning("UPS %s: on battery", ups->settings.name);
	if (verdict == UPS_FINE && was_on_battery)
		log_notice("UPS %s: power is back", ups->settings.name);
	if (verdict != UPS_POWER_OFF)
		return;
	ups->powering_off = true;
	log_error("UPS %s: the machine is powered off (%s)", ups->settings.name,
		  reading->reached ? reading->status : reading->error);
}

static void job_done(struct message *message)
{
	struct job *job = container_of(message, struct job, message);
	struct ups *ups = job->owner; /* the thread is through: nobody else writes it */
	bool was_off = job->power_off;

	if (ups) {
		ups->job = NULL;
		if (was_off && job->result < 0 && !ups->complained)
			log_error("UPS %s: the machine can not be powered off: %s",
				  ups->settings.name, job->err.text);
		if (was_off)
			ups->complained = true;
		else
			take_reading(ups, &job->reading);
		if (ups->powering_off && !was_off)
			start_job(ups, true);
		else
			timer_start(&ups->timer, UPS_EVERY_NS);
	}
	pthread_mutex_lock(&job->lock); /* the thread has let it go */
	pthread_mutex_unlock(&job->lock);
	heap_free(job);
}

/* --- settings -------------------------------------------------------------------------------- */

static bool plain(const char *text, const char *others)
{
	for (; *text; text++)
		if (!isalnum((unsigned char)*text) && !strchr(others, *text))
			return false;
	return true;
}

int ups_check(const struct ups_settings *settings, struct err *err)
{
	if (!settings->host[0] || !plain(settings->host, "-.:"))
		return err_set(err, -EINVAL, "the server's name or address is none");
	if (!settings->name[0] || !plain(settings->name, "-._"))
		return err_set(err, -EINVAL, "the name of a UPS has letters, digits and -._");
	if (!settings->port)
		return err_set(err, -EINVAL, "a port is a number from 1 to 65535");
	if (settings->seconds > UPS_SECONDS_MAX)
		return err_set(err, -EINVAL, "at most %u seconds", UPS_SECONDS_MAX);
	return 0;
}

static void load(struct ups *ups)
{
	struct ups_settings settings = {.port = UPS_PORT};
	const char *host = "", *name = "";
	int port = 0, seconds = 0;
	char text[512];
	json_t *stored;

	webadmin_setting(ups->admin, "ups", text, sizeof text);
	stored = json_loads(text, 0, NULL);
	if (json_unpack(stored, "{s:s,s:i,s:s,s:i}", "host", &host, "port", &port, "name", &name,
			"seconds", &seconds) == 0) {
		settings.port = (uint16_t)port;
		settings.seconds = (unsigned)seconds;
		snprintf(settings.host, sizeof settings.host, "%s", host);
		snprintf(settings.name, sizeof settings.name, "%s", name);
		if (ups_check(&settings, NULL) == 0)
			ups->settings = settings;
	}
	json_decref(stored);
}

/* "" for none. */
static void write_settings(const struct ups_settings *settings, char text[512])
{
	text[0] = '\0';
	if (settings->host[0]) /* nothing of it needs an escape */
		snprintf(text, 512, "{\"host\":\"%s\",\"port\":%u,\"name\":\"%s\",\"seconds\":%u}",
			 settings->host, settings->port, settings->name, settings->seconds);
}

int ups_set(struct webadmin *admin, const struct ups_settings *settings, struct err *err)
{
	struct config *config = admin->options.config;
	struct ups *ups = admin->ups;
	char text[512];
	int result = config_begin(config, err);

	write_settings(settings, text);
	if (result == 0)
		result = webadmin_set_setting(admin, "ups", text, err);
	if (result < 0) {
		config_abort(config);
		return result;
	}
	result = config_commit(config, err);
	if (result < 0)
		return result;
	leave_job(ups);
	timer_stop(&ups->timer);
	ups->settings = *settings;
	ups->watch = (struct ups_watch){0};
	ups->reading = (struct ups_reading){.charge = -1, .load = -1, .runtime = -1};
	ups->asked = false;
	ups->powering_off = ups->complained = false; /* that was about the other one */
	if (ups->started)
		ups_start(admin);
	return 0;
}

/* --- life ------------------------------------------------------------------------------------ */

int ups_open(struct webadmin *admin, struct err *err)
{
	struct ups *ups = heap_zalloc(sizeof *ups);

	if (!ups)
		return err_set(err, -ENOMEM, "out of memory");
	ups->admin = admin;
	timer_init(&ups->timer, admin->options.control, ask_again);
	admin->ups = ups;
	load(ups);
	return 0;
}

void ups_start(struct webadmin *admin)
{
	struct ups *ups = admin->ups;

	ups->started = true;
	if (ups->settings.host[0] && !ups->job)
		start_job(ups, ups->powering_off);
}

void ups_stop(struct webadmin *admin)
{
	leave_job(admin->ups);
	timer_stop(&admin->ups->timer);
	admin->ups->started = false;
}

void ups_close(struct webadmin *admin)
{
	if (!admin->ups)
		return;
	ups_stop(admin);
	heap_free(admin->ups);
	admin->ups = NULL;
}

/* --- looking --------------------------------------------------------------------------------- */

bool ups_show(struct webadmin *admin, struct ups_shown *ret_shown)
{
	const struct ups *ups = admin->ups;
	int64_t now = (int64_t)(loop_now(ups->timer.loop) / 1000000000u) + 1;

	if (!ups->settings.host[0])
		return false;
	*ret_shown = (struct ups_shown){.settings = ups->settings,
					.reading = ups->reading,
					.asked = ups->asked,
					.powering_off = ups->powering_off};
	if (ups->watch.battery_since)
		ret_shown->battery_seconds = now - ups->watch.battery_since;
	return true;
}

void ups_look(struct webadmin *admin, struct alerts *alerts, const unsigned rules[UPS_RULES])
{
	const struct ups *ups = admin->ups;
	const struct ups_reading *reading = &ups->reading;
	char object[OBJECT_MAX];

	if (!ups->settings.host[0])
		return;
	snprintf(object, sizeof object, "%s@%s", ups->settings.name, ups->settings.host);
	for (unsigned i = 0; !ups->asked && i < UPS_RULES; i++)
		alerts_unknown(alerts, rules[i], object);
	if (!ups->asked)
		return;
	if (ups->powering_off)
		alerts_observe(alerts, rules[UPS_RULE_LOW], object, true, reading->charge, "");
	if (!reading->reached) {
		alerts_observe(alerts, rules[UPS_RULE_SILENT], object, true, 0, reading->error);
		alerts_unknown(alerts, rules[UPS_RULE_BATTERY], object);
		alerts_unknown(alerts, rules[UPS_RULE_REPLACE], object);
		return;
	}
	if (ups_has(reading->status, "OB"))
		alerts_observe(alerts, rules[UPS_RULE_BATTERY], object, true, reading->charge, "");
	if (ups_has(reading->status, "LB") && !ups->powering_off)
		alerts_observe(alerts, rules[UPS_RULE_LOW], object, true, reading->charge, "");
	if (ups_has(reading->status, "RB"))
		alerts_observe(alerts, rules[UPS_RULE_REPLACE], object, true, 0, "");
}
