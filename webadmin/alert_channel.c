/* SPDX-License-Identifier: Apache-2.0 */
#include "webadmin/alert_channel.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/heap.h"
#include "core/log.h"
#include "webadmin/admin.h"

/* The channels of a daemon: their queues, the thread that sends, what came of it. Rows and rules of
 * what a channel may be are in alert_channel_store.c. */

static const unsigned waits_s[CHANNEL_TRIES] = {2, 10, 30, 120, 600, 1800, 3600, 3600, 3600, 3600};

struct delivery {
	struct list link;
	struct alert_channel_message message;
	unsigned tries;
};

struct channel {
	struct list link; /* by name */
	struct channels *all;
	struct alert_channel_settings settings;
	uint64_t number; /* of no other channel of this life */
	struct list queue;
	unsigned queued, failures;
	bool sending;  /* the first of the queue is with the thread, or entries of the audit log */
	bool auditing; /* it is the latter */
	struct timer retry;
	uint64_t delivered, given_up, dropped;
	int64_t last;
	char error[sizeof((struct err *)NULL)->text];
	int64_t audit_last; /* that it has of the audit log; 0: not looked up yet */
};

/* What the thread has. */
struct job {
	struct list link;
	struct alert_channel_settings settings;
	struct alert_channel_message message;
	uint64_t number;    /* of its channel */
	int64_t audit_last; /* of entries of the audit log: the last of them */
	void (*tested)(void *context, int result, const struct err *err);
	void *context;
	int result;
	struct err err;
};

struct channels {
	struct webadmin *admin;
	struct list list;
	unsigned count;
	uint64_t last_number;
	pthread_t thread;
	bool runs;
	pthread_mutex_t lock;
	pthread_cond_t more;
	struct list waiting, finished; /* jobs; lock */
	bool stopping;                 /* atomic */
	bool posted;                   /* lock */
	struct message message;
};

/* ---- the thread ---- */
static void take_finished(struct message *message);

static struct job *next_job(struct channels *channels)
{
	struct list *link;

	pthread_mutex_lock(&channels->lock);
	while (list_empty(&channels->waiting) &&
	       !__atomic_load_n(&channels->stopping, __ATOMIC_RELAXED))
		pthread_cond_wait(&channels->more, &channels->lock);
	link = __atomic_load_n(&channels->stopping, __ATOMIC_RELAXED)
		   ? NULL
		   : list_pop_front(&channels->waiting);
	pthread_mutex_unlock(&channels->lock);
	return link ? list_entry(link, struct job, link) : NULL;
}

static void hand_back(struct channels *channels, struct job *job)
{
	bool post;

	pthread_mutex_lock(&channels->lock);
	list_push_back(&channels->finished, &job->link);
	post = !channels->posted;
	channels->posted = true;
	pthread_mutex_unlock(&channels->lock);
	if (post)
		loop_post(channels->admin->options.control, &channels->message, take_finished);
}

static void *send_all_day(void *argument)
{
	struct channels *channels = argument;
	struct job *job;

	while ((job = next_job(channels))) {
		job->result = alert_channel_send(&job->settings, &job->message, &channels->stopping,
						 &job->err);
		hand_back(channels, job);
	}
	return NULL;
}

/* It takes no signals: those are the main thread's. */
static bool start_thread(struct channels *channels)
{
	sigset_t all, before;

	if (channels->runs)
		return true;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	channels->runs = pthread_create(&channels->thread, NULL, send_all_day, channels) == 0;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return channels->runs;
}

/* ---- a job's life, on the control loop ---- */
static void job_free(struct job *job)
{
	alert_channel_settings_wipe(&job->settings);
	heap_free(job->message.audit);
	heap_free(job);
}

static struct job *job_new(struct channels *channels, const struct channel *channel,
			   const struct alert_channel_message *message)
{
	struct job *job = heap_zalloc(sizeof *job);

	if (!job)
		return NULL;
	job->settings = channel->settings;
	job->settings.ca = channel->settings.ca ? heap_strdup(channel->settings.ca) : NULL;
	if (!job->settings.ca != !channel->settings.ca) {
		job_free(job);
		return NULL;
	}
	job->message = *message;
	job->message.wall = (int64_t)(loop_wall(channels->admin->options.control) / 1000000000u);
	job->number = channel->number;
	return job;
}

static bool job_start(struct channels *channels, struct job *job)
{
	if (channels->stopping || !start_thread(channels))
		return false;
	pthread_mutex_lock(&channels->lock);
	list_push_back(&channels->waiting, &job->link);
	pthread_cond_signal(&channels->more);
	pthread_mutex_unlock(&channels->lock);
	return true;
}

static void name_host(struct alert_channel_message *message);

/* Alerts come first; this when none waits. */
static void send_audit(struct channel *channel)
{
	struct alert_channel_message message = {.event = CHANNEL_AUDIT};
	struct webadmin *admin = channel->all->admin;
	int64_t last = channel->audit_last;
	struct job *job;
	char *lines;

	name_host(&message);
	lines = audit_untold(admin->access, channel->settings.name, message.host, &last);
	if (!lines) {
		channel->audit_last = last;
		return;
	}
	job = job_new(channel->all, channel, &message);
	if (!job) {
		heap_free(lines);
		return;
	}
	job->message.audit = lines;
	job->audit_last = last;
	if (job_start(channel->all, job))
		channel->sending = channel->auditing = true;
	else
		job_free(job);
}

static void send_next(struct channel *channel)
{
	struct delivery *first;
	struct job *job;

	if (channel->sending || timer_active(&channel->retry) || channel->all->stopping ||
	    !channel->settings.enabled)
		return;
	if (list_empty(&channel->queue)) {
		if (channel->settings.audit)
			send_audit(channel);
		return;
	}
	first = list_entry(channel->queue.next, struct delivery, link);
	job = job_new(channel->all, channel, &first->message);
	if (!job || !job_start(channel->all, job)) {
		if (job)
			job_free(job);
		timer_start(&channel->retry, 10 * 1000000000ull);
		return;
	}
	channel->sending = true;
}

static void try_again(struct timer *timer)
{
	send_next(container_of(timer, struct channel, retry));
}

static bool queued_anywhere(struct channels *channels, int64_t id, enum alert_channel_event event)
{
	list_for_each (it, &channels->list) {
		list_for_each (other, &list_entry(it, struct channel, link)->queue) {
			const struct alert_channel_message *message =
			    &list_entry(other, struct delivery, link)->message;

			if (message->alert.id == id && message->event == event)
				return true;
		}
	}
	return false;
}

/* It has left the queue, one way or the other. */
static void settled(struct channels *channels, struct delivery *delivery)
{
	int64_t id = delivery->message.alert.id;
	enum alert_channel_event event = delivery->message.event;

	heap_free(delivery);
	if (!queued_anywhere(channels, id, event))
		alert_delivered(channels->admin, id, event);
}

static struct delivery *leave_queue(struct channel *channel)
{
	struct list *first = list_pop_front(&channel->queue);

	channel->queued--;
	return list_entry(first, struct delivery, link);
}

static void failed(struct channel *channel, const struct job *job)
{
	struct delivery *first = list_entry(channel->queue.next, struct delivery, link);

	channel->failures++;
	snprintf(channel->error, sizeof channel->error, "%s", job->err.text);
	if (channel->failures == 1)
		log_warning("alert channel %s: %s", channel->settings.name, channel->error);
	timer_start(&channel->retry, waits_s[first->tries] * 1000000000ull);
	if (++first->tries < CHANNEL_TRIES)
		return;
	log_error("alert channel %s: a message is given up: %s", channel->settings.name,
		  channel->error);
	channel->given_up++;
	settled(channel->all, leave_queue(channel));
}

static void succeeded(struct channel *channel, const struct job *job)
{
	if (channel->failures)
		log_notice("alert channel %s works again", channel->settings.name);
	channel->failures = 0;
	channel->error[0] = '\0';
	channel->delivered++;
	channel->last = job->message.wall;
}

#define AUDIT_TRIES 3u /* from then on it is tried again after the third of waits_s */

/* Nothing of the audit log is given up. */
static void audit_ended(struct channel *channel, const struct job *job)
{
	unsigned tries = channel->failures < AUDIT_TRIES ? channel->failures : AUDIT_TRIES - 1;

	channel->sending = channel->auditing = false;
	if (job->result == 0) {
		succeeded(channel, job);
		channel->audit_last = job->audit_last;
		audit_told(channel->all->admin->access, channel->settings.name, job->audit_last);
		return;
	}
	channel->failures++;
	snprintf(channel->error, sizeof channel->error, "%s", job->err.text);
	if (channel->failures == 1)
		log_warning("alert channel %s: %s", channel->settings.name, channel->error);
	if (!channel->all->stopping)
		timer_start(&channel->retry, waits_s[tries] * 1000000000ull);
}

static struct channel *by_number(struct channels *channels, uint64_t number)
{
	list_for_each (it, &channels->list) {
		struct channel *channel = list_entry(it, struct channel, link);

		if (channel->number == number)
			return channel;
	}
	return NULL;
}

static void job_done(struct channels *channels, struct job *job)
{
	struct channel *channel = by_number(channels, job->number);

	if (job->tested) {
		if (channel && job->result == 0) {
			succeeded(channel, job);
			timer_stop(&channel->retry); /* what waits goes out now */
		}
		job->tested(job->context, job->result, &job->err);
	} else if (channel && job->message.audit) {
		audit_ended(channel, job);
	} else if (channel) {
		channel->sending = false;
		if (job->result == 0)
			succeeded(channel, job);
		if (job->result == 0 || !channel->settings.enabled)
			settled(channels, leave_queue(channel));
		else if (!channels->stopping)
			failed(channel, job);
	}
	if (channel)
		send_next(channel);
	job_free(job);
}

static void take_finished(struct message *message)
{
	struct channels *channels = container_of(message, struct channels, message);
	struct list finished, *link;

	list_init(&finished);
	pthread_mutex_lock(&channels->lock);
	list_splice_back(&finished, &channels->finished);
	channels->posted = false;
	pthread_mutex_unlock(&channels->lock);
	while ((link = list_pop_front(&finished)))
		job_done(channels, list_entry(link, struct job, link));
}

/* ---- telling ---- */
static bool wants(const struct channel *channel, const struct alert *alert)
{
	unsigned count;
	const char *code = alert_rules(&count)[alert->rule].code;

	return channel->settings.enabled && alert->severity >= channel->settings.least &&
	       !(strcmp(code, "channel-failing") == 0 &&
		 strcmp(alert->object, channel->settings.name) == 0);
}

/* The oldest that is not with the thread goes. */
static void make_room(struct channel *channel)
{
	struct list *oldest = channel->queue.next;

	if (channel->queued < CHANNEL_QUEUE_MAX)
		return;
	if (channel->sending && !channel->auditing)
		oldest = oldest->next;
	list_remove(oldest);
	channel->queued--;
	channel->dropped++;
	settled(channel->all, list_entry(oldest, struct delivery, link));
}

static bool queue(struct channel *channel, const struct alert_channel_message *message)
{
	struct delivery *delivery = heap_zalloc(sizeof *delivery);

	if (!delivery)
		return false;
	delivery->message = *message;
	list_init(&delivery->message.alert.link);
	make_room(channel);
	list_push_back(&channel->queue, &delivery->link);
	channel->queued++;
	send_next(channel);
	return true;
}

static void name_host(struct alert_channel_message *message)
{
	if (gethostname(message->host, sizeof message->host - 1) < 0)
		snprintf(message->host, sizeof message->host, "granary");
	for (char *at = message->host; *at; at++)
		if ((unsigned char)*at <= 0x20 || (unsigned char)*at >= 0x7f)
			*at = '-';
}

unsigned alert_channels_tell(struct webadmin *admin, const struct alert *alert,
			     enum alert_channel_event event)
{
	struct alert_channel_message message = {.event = event, .alert = *alert};
	unsigned count = 0;

	name_host(&message);
	list_for_each (it, &admin->channels->list) {
		struct channel *channel = list_entry(it, struct channel, link);

		if (wants(channel, alert))
			count += queue(channel, &message);
	}
	return count;
}

void alert_channels_audit(struct webadmin *admin)
{
	list_for_each (it, &admin->channels->list) {
		struct channel *channel = list_entry(it, struct channel, link);

		if (channel->settings.audit)
			send_next(channel);
	}
}

int alert_channel_test(struct webadmin *admin, const char *name,
		       void (*done)(void *context, int result, const struct err *err),
		       void *context)
{
	struct alert_channel_message message = {.event = CHANNEL_TEST};
	struct channel *channel = NULL;
	struct job *job;

	list_for_each (it, &admin->channels->list)
		if (strcmp(list_entry(it, struct channel, link)->settings.name, name) == 0)
			channel = list_entry(it, struct channel, link);
	if (!channel)
		return -ENOENT;
	name_host(&message);
	job = job_new(admin->channels, channel, &message);
	if (!job)
		return -ENOMEM;
	job->tested = done;
	job->context = context;
	if (job_start(admin->channels, job))
		return 0;
	job_free(job);
	return -EAGAIN;
}

/* ---- showing ---- */
static void inform(const struct channel *channel, struct alert_channel_info *ret_info)
{
	*ret_info = (struct alert_channel_info){.settings = &channel->settings,
						.queued = channel->queued,
						.failures = channel->failures,
						.delivered = channel->delivered,
						.given_up = channel->given_up,
						.dropped = channel->dropped,
						.last = channel->last,
						.error = channel->error};
}

bool alert_channel_info(struct webadmin *admin, unsigned index, struct alert_channel_info *ret_info)
{
	list_for_each (it, &admin->channels->list) {
		if (index-- == 0) {
			inform(list_entry(it, struct channel, link), ret_info);
			return true;
		}
	}
	return false;
}

bool alert_channel_find(struct webadmin *admin, const char *name,
			struct alert_channel_info *ret_info)
{
	for (unsigned i = 0; alert_channel_info(admin, i, ret_info); i++)
		if (strcmp(ret_info->settings->name, name) == 0)
			return true;
	return false;
}

void alert_channels_each_failing(struct webadmin *admin,
				 void (*each)(void *context, const char *name, unsigned failures,
					      const char *why),
				 void *context)
{
	list_for_each (it, &admin->channels->list) {
		const struct channel *channel = list_entry(it, struct channel, link);

		if (channel->failures)
			each(context, channel->settings.name, channel->failures, channel->error);
	}
}

/* ---- making and taking away ---- */
static void channel_free(struct channel *channel)
{
	struct list *link;

	timer_stop(&channel->retry);
	while ((link = list_pop_front(&channel->queue)))
		heap_free(list_entry(link, struct delivery, link));
	alert_channel_settings_wipe(&channel->settings);
	heap_free(channel);
}

static void insert(struct channels *channels, struct channel *channel)
{
	struct list *before = channels->list.prev;

	while (before != &channels->list &&
	       strcmp(list_entry(before, struct channel, link)->settings.name,
		      channel->settings.name) > 0)
		before = before->prev;
	list_insert_after(before, &channel->link);
	channels->count++;
}

/* Takes what @settings owns. */
static int add(struct channels *channels, struct alert_channel_settings *settings)
{
	struct channel *channel = heap_zalloc(sizeof *channel);

	if (!channel) {
		alert_channel_settings_wipe(settings);
		return -ENOMEM;
	}
	channel->all = channels;
	channel->settings = *settings;
	channel->number = ++channels->last_number;
	list_init(&channel->queue);
	timer_init(&channel->retry, channels->admin->options.control, try_again);
	insert(channels, channel);
	return 0;
}

static struct channel *by_name(struct channels *channels, const char *name)
{
	list_for_each (it, &channels->list) {
		struct channel *channel = list_entry(it, struct channel, link);

		if (strcmp(channel->settings.name, name) == 0)
			return channel;
	}
	return NULL;
}

/* It has been turned off: what is not with the thread is not sent any more. */
static void drop_queued(struct channel *channel)
{
	while (channel->queued > (channel->sending && !channel->auditing ? 1u : 0u)) {
		struct list *newest = channel->queue.prev;

		list_remove(newest);
		channel->queued--;
		settled(channel->all, list_entry(newest, struct delivery, link));
	}
}

int alert_channel_put(struct webadmin *admin, struct alert_channel_settings *settings, bool dry,
		      struct err *err)
{
	struct config *config = admin->options.config;
	struct channel *channel = by_name(admin->channels, settings->name);
	int result = config_begin(config, err);

	if (result == 0)
		result = alert_channel_store(config, settings, err);
	if (result == 0 && !dry)
		result = config_commit(config, err);
	if (result < 0 || dry) {
		config_abort(config);
		alert_channel_settings_wipe(settings);
		return result;
	}
	if (!channel) {
		if (add(admin->channels, settings) < 0)
			return err_set(err, -ENOMEM, "out of memory");
		send_next(by_name(admin->channels, settings->name)); /* of the audit log */
		return 0;
	}
	alert_channel_settings_wipe(&channel->settings);
	channel->settings = *settings;
	channel->failures = 0;
	channel->error[0] = '\0';
	timer_stop(&channel->retry);
	if (!channel->settings.enabled)
		drop_queued(channel);
	send_next(channel);
	return 0;
}

int alert_channel_remove(struct webadmin *admin, const char *name, struct err *err)
{
	struct config *config = admin->options.config;
	struct channel *channel = by_name(admin->channels, name);
	int result;

	if (!channel)
		return err_set(err, -ENOENT, "there is no alert channel %s", name);
	result = config_begin(config, err);
	if (result == 0)
		result =
		    config_run(config, err, "delete from alert_channel where name = ?", "s", name);
	if (result == 0)
		result = config_commit(config, err);
	if (result < 0)
		return result;
	audit_forget(admin->access, name);
	list_remove(&channel->link);
	admin->channels->count--;
	while (!list_empty(&channel->queue))
		settled(admin->channels, leave_queue(channel));
	channel_free(channel);
	return 0;
}

/* ---- life ---- */
static int loaded(void *context, struct alert_channel_settings *settings)
{
	return add(context, settings);
}

int alert_channels_create(struct webadmin *admin, struct err *err)
{
	struct channels *channels = heap_zalloc(sizeof *channels);

	if (!channels)
		return err_set(err, -ENOMEM, "out of memory");
	admin->channels = channels;
	channels->admin = admin;
	list_init(&channels->list);
	list_init(&channels->waiting);
	list_init(&channels->finished);
	pthread_mutex_init(&channels->lock, NULL);
	pthread_cond_init(&channels->more, NULL);
	return alert_channels_load(admin->options.config, loaded, channels, err);
}

void alert_channels_stop(struct webadmin *admin)
{
	struct channels *channels = admin->channels;
	struct list *link;

	pthread_mutex_lock(&channels->lock);
	__atomic_store_n(&channels->stopping, true, __ATOMIC_RELAXED);
	pthread_cond_signal(&channels->more);
	pthread_mutex_unlock(&channels->lock);
	if (channels->runs)
		pthread_join(channels->thread, NULL);
	channels->runs = false;
	list_for_each (it, &channels->list)
		timer_stop(&list_entry(it, struct channel, link)->retry);
	while ((link = list_pop_front(&channels->waiting))) {
		struct job *job = list_entry(link, struct job, link);

		job->result = err_set(&job->err, -ECANCELED, "the daemon stops");
		job_done(channels, job);
	}
	/* The thread is gone; what it has done is taken here, a message under way finds nothing. */
	take_finished(&channels->message);
}

void alert_channels_destroy(struct webadmin *admin)
{
	struct channels *channels = admin->channels;
	struct list *link;

	if (!channels)
		return;
	while ((link = list_pop_front(&channels->list)))
		channel_free(list_entry(link, struct channel, link));
	pthread_cond_destroy(&channels->more);
	pthread_mutex_destroy(&channels->lock);
	heap_free(channels);
	admin->channels = NULL;
}
