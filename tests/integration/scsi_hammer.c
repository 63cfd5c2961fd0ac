/* SPDX-License-Identifier: Apache-2.0 */
/* Every operation code, well made and not, from two initiators with four sessions each, all at
 * once: task management races completions, sessions log out or just go. Nothing is compared (the
 * model test does that); what has to hold is that each task management function is answered within
 * five seconds, that every session that ends can be made anew, and that the server lives.
 *
 *   scsi_hammer HOST:PORT IQN LUNS SECONDS SEED   prints what it did; exit 1 when something hung */
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <iscsi/iscsi.h>
#include <iscsi/scsi-lowlevel.h>

#include "tests/integration/hammer.h"

#define INITIATORS 2u
#define SESSIONS   4u
#define DEPTH      12u
#define DATA_MAX   65536u
#define TMF_LIMIT  6.0 /* seconds: the promised five, and the way there and back */

struct session {
	pthread_t thread;
	unsigned number;
	uint64_t random_state;
	struct iscsi_context *iscsi;
	struct scsi_task *last;
	unsigned pending;
	bool lost, asks;
	double asked;
	struct iscsi_data data;
	uint64_t commands, good, functions, logins, hung, refused;
};

static const char *portal, *iqn;
static unsigned luns;
static double until;
static _Atomic bool succeeded[256]; /* operation codes */
/* A persistent reservation's list: key and new key; noise behind it. */
static unsigned char lists[4][DATA_MAX];

static uint32_t rnd(struct session *session, uint32_t below)
{
	return hammer_chance(&session->random_state, below);
}

static bool login(struct session *session)
{
	char name[64];

	snprintf(name, sizeof(name), "iqn.2026-11.org.granary:hammer%u",
		 session->number % INITIATORS);
	session->iscsi = iscsi_create_context(name);
	if (!session->iscsi)
		return false;
	iscsi_set_targetname(session->iscsi, iqn);
	iscsi_set_session_type(session->iscsi, ISCSI_SESSION_NORMAL);
	iscsi_set_isid_random(session->iscsi, session->number, session->number);
	iscsi_set_noautoreconnect(session->iscsi, 1);
	iscsi_set_timeout(session->iscsi, 20);
	session->lost = session->asks = false;
	session->pending = 0;
	if (iscsi_connect_sync(session->iscsi, portal) == 0 &&
	    iscsi_login_sync(session->iscsi) == 0) {
		session->logins++;
		return true;
	}
	iscsi_destroy_context(session->iscsi);
	session->iscsi = NULL;
	return false;
}

static void ended(struct iscsi_context *iscsi, int status, void *data, void *context)
{
	struct session *session = context;

	(void)iscsi;
	session->pending--;
	session->good += status == SCSI_STATUS_GOOD;
	if (status == SCSI_STATUS_GOOD)
		succeeded[((struct scsi_task *)data)->cdb[0]] = true;
	if (session->last == data)
		session->last = NULL;
	scsi_free_scsi_task(data);
}

static void answered(struct iscsi_context *iscsi, int status, void *data, void *context)
{
	struct session *session = context;

	(void)iscsi;
	(void)status;
	(void)data;
	if (hammer_now() - session->asked > TMF_LIMIT)
		session->hung++;
	session->asks = false;
}

static const uint8_t opcodes[] = {
    0x00, 0x03, 0x08, 0x0a, 0x12, 0x15, 0x16, 0x17, 0x1a, 0x1b, 0x25, 0x28, 0x28, 0x2a, 0x2a, 0x2e,
    0x2f, 0x34, 0x35, 0x41, 0x42, 0x48, 0x4d, 0x55, 0x5a, 0x5e, 0x5f, 0x5f, 0x83, 0x84, 0x88, 0x89,
    0x8a, 0x8b, 0x8e, 0x8f, 0x90, 0x91, 0x93, 0x9c, 0x9e, 0xa0, 0xa3, 0xa4, 0xa8, 0xaa, 0xae, 0xaf};

/* Of so many commands some of each operation code have to have done something, or it is not what
 * is hammered; SANITIZE comes too seldom for that. */
#define ENOUGH 100000u

static bool all_succeeded(uint64_t commands)
{
	bool all = true;

	for (unsigned i = 0; i < sizeof(opcodes) && commands >= ENOUGH; i++) {
		if (succeeded[opcodes[i]] || opcodes[i] == 0x48)
			continue;
		printf("operation code %02x never succeeded\n", opcodes[i]);
		all = false;
	}
	return all;
}

static void send_one(struct session *session)
{
	unsigned char cdb[16];
	unsigned length = hammer_cdb(&session->random_state, opcodes, sizeof(opcodes), cdb);
	uint32_t bytes = rnd(session, 40) ? 512 * (1 + rnd(session, 32)) : rnd(session, DATA_MAX);
	bool out = hammer_moves_out(cdb[0]);
	struct scsi_task *task;

	if (cdb[0] == 0x5f)
		bytes = 24;
	task =
	    scsi_create_task((int)length, cdb, out ? SCSI_XFER_WRITE : SCSI_XFER_READ, (int)bytes);
	if (!task)
		return;
	session->data = (struct iscsi_data){bytes, lists[rnd(session, 4)]};
	session->commands++;
	if (iscsi_scsi_command_async(session->iscsi, (int)rnd(session, luns), task, ended,
				     out ? &session->data : NULL, session) != 0) {
		scsi_free_scsi_task(task);
		session->lost = true;
		return;
	}
	session->pending++;
	session->last = task;
}

static void ask(struct session *session)
{
	enum iscsi_task_mgmt_funcs function = 1 + rnd(session, 8);
	uint32_t tag = session->last ? session->last->itt : 0xffffffff;
	uint32_t number = session->last ? session->last->cmdsn : 0;

	/* A reset of all there is, seldom: it ends everybody's work. */
	if (function >= ISCSI_TM_LUN_RESET && rnd(session, 10))
		function = ISCSI_TM_ABORT_TASK;
	session->asked = hammer_now();
	session->asks = iscsi_task_mgmt_async(session->iscsi, (int)rnd(session, luns), function,
					      tag, number, answered, session) == 0;
	session->functions += session->asks;
}

static void serve(struct session *session)
{
	struct pollfd descriptor = {.fd = iscsi_get_fd(session->iscsi),
				    .events = (short)iscsi_which_events(session->iscsi)};

	if (poll(&descriptor, 1, 10) < 0 || iscsi_service(session->iscsi, descriptor.revents) < 0)
		session->lost = true;
	if (session->asks && hammer_now() - session->asked > TMF_LIMIT) {
		session->hung++;
		session->lost = true;
	}
}

static void leave(struct session *session)
{
	if (!session->lost && rnd(session, 2))
		iscsi_logout_sync(session->iscsi);
	iscsi_destroy_context(session->iscsi); /* ends what is pending */
	session->iscsi = NULL;
	session->last = NULL;
}

static void *run(void *context)
{
	struct session *session = context;
	unsigned failures = 0;

	while (hammer_now() < until) {
		double end = hammer_now() + 0.05 + rnd(session, 3000) / 1000.0;

		if (!login(session)) {
			struct timespec wait = {.tv_nsec = 20000000};

			session->refused++;
			if (++failures > 500) {
				session->hung++;
				break;
			}
			nanosleep(&wait, NULL);
			continue;
		}
		failures = 0;
		while (!session->lost && hammer_now() < end && hammer_now() < until) {
			if (session->pending < DEPTH)
				send_one(session);
			if (!session->asks && rnd(session, 100) == 0)
				ask(session);
			serve(session);
		}
		leave(session);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	static struct session sessions[INITIATORS * SESSIONS];
	uint64_t commands = 0, good = 0, functions = 0, logins = 0, hung = 0, refused = 0;

	if (argc != 6) {
		fprintf(stderr, "scsi_hammer HOST:PORT IQN LUNS SECONDS SEED\n");
		return 2;
	}
	portal = argv[1];
	iqn = argv[2];
	luns = (unsigned)strtoul(argv[3], NULL, 10);
	until = hammer_now() + strtod(argv[4], NULL);
	for (unsigned i = 0; i < 4; i++) {
		for (unsigned at = 16; at < DATA_MAX; at++)
			lists[i][at] = (unsigned char)(i < 2 ? 0 : at * 31 + i);
		lists[i][7] = i & 1;
		lists[i][15] = i < 2 ? 1 : 2;
	}
	for (unsigned i = 0; i < INITIATORS * SESSIONS; i++) {
		sessions[i].number = i;
		sessions[i].random_state = hammer_seed(argv[5], i);
		if (pthread_create(&sessions[i].thread, NULL, run, &sessions[i]) != 0)
			return 2;
	}
	for (unsigned i = 0; i < INITIATORS * SESSIONS; i++) {
		pthread_join(sessions[i].thread, NULL);
		commands += sessions[i].commands;
		good += sessions[i].good;
		functions += sessions[i].functions;
		logins += sessions[i].logins;
		hung += sessions[i].hung;
		refused += sessions[i].refused;
	}
	printf("%" PRIu64 " commands, %" PRIu64 " good, %" PRIu64
	       " task management functions, %" PRIu64 " logins, %" PRIu64 " not at once, %" PRIu64
	       " hung\n",
	       commands, good, functions, logins, refused, hung);
	return hung || !good || !logins || !all_succeeded(commands) ? 1 : 0;
}
