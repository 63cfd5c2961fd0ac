/* SPDX-License-Identifier: Apache-2.0 */
/* A whole server on one loop: the input is what a client sends after a good login (or, with an
 * odd first byte, instead of one). With bit 1 of the first byte it is a session of two connections,
 * and each piece of the input begins with a byte that says which one sends it (bit 7) and how long
 * it is. Memory volume behind it; every session must come to its end. */
#include <arpa/inet.h>
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/log.h"
#include "core/world.h"
#include "iscsi/internal.h"
#include "iscsi/iscsi.h"

#define TARGET "iqn.2026-11.org.granary:fuzz"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct loop *loop;
static struct iscsi_server *server;

static void must(bool good)
{
	if (!good)
		abort();
}

static void set_up(void)
{
	static const struct iscsi_rule open_rule = {.initiator = "any"};
	static struct iscsi_server_options options = {.io_loop_count = 1};
	struct iscsi_target *target;
	struct volume *volume;
	unsigned lun;

	log_set_level(LOG_LEVEL_ERROR);
	must(loop_create(&world_aio, &loop, NULL) == 0);
	options.control = loop;
	options.io_loops = &loop;
	must(iscsi_server_create(&options, &server, NULL) == 0);
	must(iscsi_target_create(server, TARGET, NULL, &target, NULL) == 0);
	must(memory_volume_create("fuzz", 1 << 20, &volume, NULL) == 0);
	must(scsi_target_map(iscsi_target_scsi(target), volume, 0, &lun, NULL) == 0);
	must(iscsi_target_set_rules(target, &open_rule, 1, NULL) == 0);
}

static void send_login(int fd, uint16_t tsih, uint16_t cid)
{
	static const char text[] = "InitiatorName=iqn.2026-11.org.granary:fuzzer\0"
				   "TargetName=" TARGET "\0InitialR2T=No\0MaxConnections=2\0";
	uint8_t pdu[PDU_BHS_LENGTH + 160] = {PDU_LOGIN | PDU_IMMEDIATE, 0x87};
	size_t length =
	    tsih ? strlen(text) + 1 + strlen(text + strlen(text) + 1) + 1 : sizeof(text) - 1;

	pdu_put24(pdu + PDU_AT_DATA_LENGTH, (uint32_t)length);
	pdu_put16(pdu + PDU_AT_TSIH, tsih);
	pdu_put16(pdu + PDU_AT_CID, cid);
	memcpy(pdu + PDU_BHS_LENGTH, text, length);
	length += pdu_padding((uint32_t)length);
	must(send(fd, pdu, PDU_BHS_LENGTH + length, MSG_NOSIGNAL) ==
	     (ssize_t)(PDU_BHS_LENGTH + length));
}

static void poll_a_while(const int *fds, unsigned rounds)
{
	char sink[4096];

	while (rounds-- > 0 && !list_empty(&server->conns)) {
		loop_poll(loop, 0);
		for (unsigned i = 0; i < 2; i++)
			while (fds[i] >= 0 && recv(fds[i], sink, sizeof(sink), MSG_DONTWAIT) > 0)
				;
	}
}

/* The client's end of one more connection; each test comes from an address of its own, or the limit
 * of failed logins would end the show. */
static int connected(uint32_t client)
{
	struct sockaddr_in peer = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(client)};
	int fds[2];

	must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds) == 0);
	server_accepted(server, 1, fds[0], (struct sockaddr *)&peer, sizeof(peer));
	return fds[1];
}

static int join(uint32_t client, const int *first)
{
	const struct list *session = server->sessions.next;
	int fds[2] = {first[0], -1};

	if (session == &server->sessions)
		return -1;
	fds[1] = connected(client);
	send_login(fds[1], list_entry(session, struct iscsi_session, all_link)->tsih, 1);
	poll_a_while(fds, 16);
	return fds[1];
}

static void send_pieces(const int *fds, const uint8_t *data, size_t size, bool several)
{
	for (size_t at = 0; at < size;) {
		size_t length = size - at;
		unsigned which = 0;
		ssize_t sent;

		if (several) {
			which = data[at] >> 7;
			length = (size_t)(data[at++] & 0x7f) + 1;
			length = length < size - at ? length : size - at;
		}
		if (fds[which] < 0)
			return;
		sent = send(fds[which], data + at, length, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (sent < 0)
			return;
		at += (size_t)sent;
		poll_a_while(fds, 8);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint32_t client;
	int fds[2] = {-1, -1};

	if (!server)
		set_up();
	if (size == 0 || size > 65536)
		return 0;
	fds[0] = connected(++client);
	if (!(data[0] & 1)) {
		send_login(fds[0], 0, 0);
		poll_a_while(fds, 16);
		if (data[0] & 2)
			fds[1] = join(client, fds);
	}
	send_pieces(fds, data + 1, size - 1, data[0] & 2);
	poll_a_while(fds, 8);
	for (unsigned i = 0; i < 2; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	for (unsigned rounds = 0; !list_empty(&server->conns); rounds++) {
		must(rounds < 100000); /* a session that never ends */
		loop_poll(loop, 1000000);
	}
	loop_poll(loop, 0);
	return 0;
}
