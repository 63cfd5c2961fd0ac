/* SPDX-License-Identifier: Apache-2.0 */
#include "nfs/names.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/heap.h"
#include "core/log.h"

#define LABEL_MAX 63u

struct name {
	struct list link;
	char text[NFS_CLIENT_TEXT_MAX + 1];
	bool wanted;
	uint64_t good_ns; /* of the last answer with addresses */
	struct nfs_name now;
};

struct lookup {
	char text[NFS_CLIENT_TEXT_MAX + 1];
	int error;
	unsigned count;
	struct nfs_network addresses[NFS_NAME_ADDRESSES];
};

/* A round. It belongs to its thread until it is posted; one without names is nobody's, and is
 * freed by who has it. */
struct job {
	struct message message;
	struct loop *loop;
	struct nfs_names *names;
	int (*resolve)(const char *name, struct nfs_network *addresses, unsigned *ret_count);
	unsigned count;
	struct lookup lookups[];
};

struct nfs_names {
	struct nfs_names_options options;
	struct list list;
	unsigned count;
	struct timer timer;
	struct job *job;
	bool again; /* a round has to follow the one under way */
	bool owed;  /* changed() was not called yet */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* names of all jobs */

/* ---- what a name is */

static bool label_valid(const char *text, size_t length)
{
	if (length == 0 || length > LABEL_MAX || text[0] == '-' || text[length - 1] == '-')
		return false;
	for (size_t i = 0; i < length; i++) {
		char byte = text[i];

		if (!((byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
		      (byte >= '0' && byte <= '9') || byte == '-'))
			return false;
	}
	return true;
}

bool nfs_name_valid(const char *text)
{
	size_t length = strlen(text);
	const char *label = text;

	if (length == 0 || length > NFS_CLIENT_TEXT_MAX)
		return false;
	for (;;) {
		size_t part = strcspn(label, ".");

		if (!label_valid(label, part))
			return false;
		if (!label[part])
			break;
		label += part + 1;
	}
	/* The last label of a name is not a number: 10.0.0 and 1.2.3.4 are (bad) addresses. */
	return label[strspn(label, "0123456789")] != '\0';
}

/* ---- the resolver's thread */

static bool address_of(const struct addrinfo *found, struct nfs_network *ret_network)
{
	struct nfs_address address;

	if (!nfs_address_from(found->ai_addr, &address))
		return false;
	*ret_network = (struct nfs_network){.family = address.family,
					    .bits = address.family == AF_INET6 ? 128 : 32};
	memcpy(ret_network->address, address.bytes, sizeof(address.bytes));
	return true;
}

static int compare(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct nfs_network));
}

static int ask_system(const char *name, struct nfs_network *addresses, unsigned *ret_count)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;
	int error = getaddrinfo(name, NULL, &hints, &found);

	*ret_count = 0;
	if (error)
		return error;
	for (const struct addrinfo *at = found; at && *ret_count < NFS_NAME_ADDRESSES;
	     at = at->ai_next)
		if (address_of(at, &addresses[*ret_count]))
			(*ret_count)++;
	freeaddrinfo(found);
	return 0;
}

static void job_done(struct message *message);

static void *job_run(void *argument)
{
	struct job *job = argument;
	bool wanted = true;

	for (unsigned i = 0; wanted && i < job->count; i++) {
		struct lookup *lookup = &job->lookups[i];

		lookup->error = job->resolve(lookup->text, lookup->addresses, &lookup->count);
		qsort(lookup->addresses, lookup->count, sizeof(lookup->addresses[0]), compare);
		pthread_mutex_lock(&lock);
		wanted = job->names != NULL;
		pthread_mutex_unlock(&lock);
	}
	pthread_mutex_lock(&lock);
	wanted = job->names != NULL;
	if (wanted)
		loop_post(job->loop, &job->message, job_done);
	pthread_mutex_unlock(&lock);
	if (!wanted)
		heap_free(job);
	return NULL;
}

/* ---- rounds */

static struct job *job_make(struct nfs_names *names)
{
	struct job *job = heap_zalloc(sizeof(*job) + names->count * sizeof(job->lookups[0]));

	if (!job)
		return NULL;
	job->loop = names->options.control;
	job->names = names;
	job->resolve = names->options.resolve;
	list_for_each (it, &names->list)
		snprintf(job->lookups[job->count++].text, sizeof(job->lookups[0].text), "%s",
			 list_entry(it, struct name, link)->text);
	return job;
}

static void begin(struct nfs_names *names)
{
	pthread_t thread;

	names->again = names->job != NULL;
	if (names->job || names->count == 0)
		return;
	timer_start(&names->timer, names->options.refresh_ns);
	names->job = job_make(names);
	if (names->job && pthread_create(&thread, NULL, job_run, names->job) == 0) {
		pthread_detach(thread);
		return;
	}
	log_warning("NFS: names of hosts can not be looked up: no %s",
		    names->job ? "thread" : "memory");
	heap_free(names->job);
	names->job = NULL;
}

static void refresh(struct timer *timer)
{
	begin(container_of(timer, struct nfs_names, timer));
}

static struct name *find(const struct nfs_names *names, const char *text)
{
	list_for_each (it, &names->list) {
		struct name *name = list_entry(it, struct name, link);

		if (strcmp(name->text, text) == 0)
			return name;
	}
	return NULL;
}

/* There is an answer, and it says that the name is nobody's. */
static bool is_final(int error)
{
	return error != EAI_AGAIN && error != EAI_SYSTEM && error != EAI_MEMORY;
}

/* True: it has other addresses now. */
static bool take(struct name *name, const struct lookup *lookup, uint64_t now, uint64_t keep_ns)
{
	struct nfs_name before = name->now;
	struct nfs_name *is = &name->now;

	is->answered = true;
	is->trouble[0] = '\0';
	if (lookup->error == 0 && lookup->count > 0) {
		is->count = lookup->count;
		memcpy(is->addresses, lookup->addresses, sizeof(is->addresses));
		name->good_ns = now;
	} else {
		if (lookup->error == 0 || is_final(lookup->error) || now - name->good_ns >= keep_ns)
			is->count = 0;
		snprintf(is->trouble, sizeof(is->trouble), "%s",
			 lookup->error ? gai_strerror(lookup->error) : "it has no address");
	}
	if (strcmp(before.trouble, is->trouble) != 0 && is->trouble[0])
		log_warning("NFS: host %s does not resolve: %s%s", name->text, is->trouble,
			    is->count ? "; its last addresses are used" : "");
	return before.answered != is->answered || before.count != is->count ||
	       memcmp(before.addresses, is->addresses, is->count * sizeof(is->addresses[0])) != 0;
}

static void job_done(struct message *message)
{
	struct job *job = container_of(message, struct job, message);
	struct nfs_names *names = job->names;

	for (unsigned i = 0; names && i < job->count; i++) {
		struct name *name = find(names, job->lookups[i].text);

		if (name &&
		    take(name, &job->lookups[i], loop_now(job->loop), names->options.keep_ns))
			names->owed = true;
	}
	heap_free(job);
	if (!names)
		return;
	names->job = NULL;
	if (names->owed)
		names->owed = !names->options.changed(names->options.context);
	if (names->again)
		begin(names);
}

/* ---- which names */

static void drop_unwanted(struct nfs_names *names)
{
	for (struct list *it = names->list.next, *next; it != &names->list; it = next) {
		struct name *name = list_entry(it, struct name, link);

		next = it->next;
		if (name->wanted)
			continue;
		list_remove(&name->link);
		heap_free(name);
		names->count--;
	}
}

static int want_one(struct nfs_names *names, const char *text, struct err *err)
{
	struct name *name;

	if (!nfs_name_valid(text))
		return 0;
	name = find(names, text);
	if (!name) {
		if (names->count >= 2 * NFS_NAMES_MAX)
			return err_set(err, -ENOSPC, "more than %u names of hosts", NFS_NAMES_MAX);
		name = heap_zalloc(sizeof(*name));
		if (!name)
			return err_set(err, -ENOMEM, "no memory for exports");
		snprintf(name->text, sizeof(name->text), "%s", text);
		list_push_back(&names->list, &name->link);
		names->count++;
	}
	name->wanted = true;
	return 0;
}

int nfs_names_want(struct nfs_names *names, const struct nfs_share *shares, unsigned count,
		   struct err *err)
{
	int result = 0;
	unsigned wanted = 0;

	list_for_each (it, &names->list)
		list_entry(it, struct name, link)->wanted = false;
	for (unsigned i = 0; result == 0 && i < count; i++)
		for (unsigned j = 0; result == 0 && j < shares[i].rule_count; j++)
			result = want_one(names, shares[i].rules[j].client, err);
	list_for_each (it, &names->list)
		wanted += list_entry(it, struct name, link)->wanted;
	if (result == 0 && wanted > NFS_NAMES_MAX)
		result = err_set(err, -ENOSPC, "more than %u names of hosts", NFS_NAMES_MAX);
	return result; /* the next rules in force drop what was too much */
}

void nfs_names_settle(struct nfs_names *names)
{
	drop_unwanted(names);
	begin(names);
}

const struct nfs_name *nfs_names_find(const struct nfs_names *names, const char *text)
{
	const struct name *name = names ? find(names, text) : NULL;

	return name ? &name->now : NULL;
}

bool nfs_names_busy(const struct nfs_names *names)
{
	return names->job != NULL;
}

/* ---- life */

int nfs_names_create(const struct nfs_names_options *options, struct nfs_names **ret_names)
{
	struct nfs_names *names = heap_zalloc(sizeof(*names));

	if (!names)
		return -ENOMEM;
	names->options = *options;
	if (!names->options.resolve)
		names->options.resolve = ask_system;
	if (!names->options.refresh_ns)
		names->options.refresh_ns = NFS_NAME_REFRESH_NS;
	if (!names->options.keep_ns)
		names->options.keep_ns = NFS_NAME_KEEP_NS;
	list_init(&names->list);
	timer_init(&names->timer, options->control, refresh);
	*ret_names = names;
	return 0;
}

void nfs_names_destroy(struct nfs_names *names)
{
	if (!names)
		return;
	timer_stop(&names->timer);
	pthread_mutex_lock(&lock);
	if (names->job)
		names->job->names = NULL;
	pthread_mutex_unlock(&lock);
	list_for_each (it, &names->list)
		list_entry(it, struct name, link)->wanted = false;
	drop_unwanted(names);
	heap_free(names);
}
