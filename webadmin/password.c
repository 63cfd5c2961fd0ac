/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <openssl/evp.h>
#include <signal.h>
#include <string.h>

#include "webadmin/access.h"

/* scrypt (RFC 7914) takes a tenth of a second and 32 MiB, on purpose: one at a time, on a thread
 * of its own, so that the control loop goes on. */
#define SCRYPT_R      8
#define SCRYPT_P      1
#define SCRYPT_MEMORY (256u << 20)
#define COST_MAX      20

static void hashing_done(struct message *message);

static void *work(void *argument)
{
	struct hashing *hashing = argument;
	struct password *password = &hashing->password;

	hashing->good =
	    password->cost >= 10 && password->cost <= COST_MAX &&
	    EVP_PBE_scrypt(hashing->text, strlen(hashing->text), password->salt,
			   sizeof password->salt, 1ull << password->cost, SCRYPT_R, SCRYPT_P,
			   SCRYPT_MEMORY, password->hash, sizeof password->hash) == 1;
	explicit_bzero(hashing->text, sizeof hashing->text);
	loop_post(hashing->access->loop, &hashing->message, hashing_done);
	return NULL;
}

static bool start_worker(struct access *access, struct hashing *hashing)
{
	sigset_t all, before;
	int result;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	result = pthread_create(&access->worker, NULL, work, hashing);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	access->worker_runs = result == 0;
	return access->worker_runs;
}

static void start_next(struct access *access)
{
	while (!access->worker_runs && !list_empty(&access->hashings)) {
		struct hashing *hashing =
		    list_entry(list_pop_front(&access->hashings), struct hashing, link);

		if (start_worker(access, hashing))
			return;
		access->hashing_count--;
		hashing->done(hashing, false);
	}
}

static void hashing_done(struct message *message)
{
	struct hashing *hashing = container_of(message, struct hashing, message);
	struct access *access = hashing->access;

	if (access->worker_runs)
		pthread_join(access->worker, NULL);
	access->worker_runs = false;
	access->hashing_count--;
	hashing->done(hashing, hashing->good); /* @hashing is gone */
	start_next(access);
}

int password_hash(struct access *access, struct hashing *hashing)
{
	if (access->hashing_count >= HASHINGS_MAX)
		return -EBUSY;
	hashing->access = access;
	access->hashing_count++;
	list_push_back(&access->hashings, &hashing->link);
	start_next(access);
	return 0;
}

void access_quiet(struct access *access)
{
	if (access->worker_runs)
		pthread_join(access->worker, NULL);
	access->worker_runs = false;
	while (!list_empty(&access->hashings)) {
		struct hashing *hashing =
		    list_entry(list_pop_front(&access->hashings), struct hashing, link);

		access->hashing_count--;
		hashing->done(hashing, false);
	}
}
