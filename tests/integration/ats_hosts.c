/* SPDX-License-Identifier: Apache-2.0 */
/* What the hosts of a cluster file system do with their heartbeat block, over the wire: 64 of them,
 * each with an iSCSI session of its own, send COMPARE AND WRITE for one block at once, round after
 * round. Exactly one hears GOOD and its name is there; all others hear MISCOMPARE at byte 0. Some
 * are lost in the middle of it (connection reset, request on its way, whole or half): what they
 * asked for has happened or has not, and they log in again. When the server goes away all are lost.
 *
 *   ats_hosts HOST PORT IQN LUN ROUNDS EVERY   in each EVERYth round hosts are lost
 *
 * Prints "round N" now and then, and what happened at the end; exit 1 at the first wrong round. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "iscsi/pdu.h"

#define HOSTS      64u
#define BLOCK      512u
#define REGION     37u  /* the block */
#define LOSE_MOST  4u   /* hosts at a time */
#define PATIENCE   60   /* seconds for one answer, and for the server to come back */
#define SAY_EVERY  100u /* rounds */
#define NOBODY     (-1)
#define SENSE_AT   2u /* in a response's data segment, behind its length */
#define MISCOMPARE 0x0eu

enum answer { WON, MISSED, LOST, WRONG };

struct host {
	int fd; /* -1: no session */
	uint32_t itt, cmdsn, expstatsn;
	bool may_have_won; /* lost with its request on the way */
};

static struct host hosts[HOSTS];
static struct sockaddr_in server;
static const char *target;
static uint8_t lun;
static uint8_t block[BLOCK]; /* what is there between rounds */
static uint64_t random_state = 0x9e3779b97f4a7c15ull;
static uint64_t wins, misses, losses, outages, lost_winners;

static uint32_t rnd(uint32_t below)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (uint32_t)(random_state >> 11) % below;
}

/* ---- one connection */

static bool send_all(struct host *host, const uint8_t *data, size_t length)
{
	while (length) {
		ssize_t sent = send(host->fd, data, length, MSG_NOSIGNAL);

		if (sent <= 0)
			return false;
		data += sent;
		length -= (size_t)sent;
	}
	return true;
}

static bool receive_all(struct host *host, uint8_t *data, size_t length)
{
	while (length) {
		ssize_t came = recv(host->fd, data, length, 0);

		if (came <= 0)
			return false;
		data += came;
		length -= (size_t)came;
	}
	return true;
}

/* Gone without a word: what the kernel has not delivered yet is thrown away. */
static void lose(struct host *host)
{
	struct linger at_once = {.l_onoff = 1};

	if (host->fd < 0)
		return;
	setsockopt(host->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
	close(host->fd);
	host->fd = -1;
}

#define DATA_MAX 8192u
struct pdu {
	uint8_t bhs[PDU_BHS_LENGTH];
	uint8_t data[DATA_MAX];
	uint32_t length;
};

static bool answer_ping(struct host *host, const struct pdu *ping)
{
	uint8_t bhs[PDU_BHS_LENGTH] = {PDU_NOP_OUT | PDU_IMMEDIATE, PDU_FINAL};

	memcpy(bhs + PDU_AT_LUN, ping->bhs + PDU_AT_LUN, 8);
	pdu_put32(bhs + PDU_AT_ITT, PDU_TAG_NONE);
	memcpy(bhs + PDU_AT_TTT, ping->bhs + PDU_AT_TTT, 4);
	pdu_put32(bhs + PDU_AT_CMDSN, host->cmdsn);
	pdu_put32(bhs + PDU_AT_EXPSTATSN, host->expstatsn);
	return send_all(host, bhs, sizeof bhs);
}

/* The next PDU that answers something; false: the connection is no more. */
static bool receive(struct host *host, struct pdu *pdu)
{
	for (;;) {
		if (!receive_all(host, pdu->bhs, sizeof pdu->bhs))
			return false;
		pdu->length = pdu_data_length(pdu->bhs);
		if (pdu->length > DATA_MAX - 3 || pdu_ahs_length(pdu->bhs) ||
		    !receive_all(host, pdu->data, pdu->length + pdu_padding(pdu->length)))
			return false;
		if (pdu_opcode(pdu->bhs) == PDU_ASYNC)
			return false; /* it says good-bye */
		if (pdu_opcode(pdu->bhs) == PDU_NOP_IN &&
		    pdu_get32(pdu->bhs + PDU_AT_ITT) == PDU_TAG_NONE) {
			if (!answer_ping(host, pdu))
				return false;
			continue;
		}
		host->expstatsn = pdu_get32(pdu->bhs + PDU_AT_STATSN) + 1;
		return true;
	}
}

static bool dial(struct host *host)
{
	struct timeval patience = {.tv_sec = PATIENCE};
	int on = 1;

	host->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (host->fd < 0)
		return false;
	setsockopt(host->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
	setsockopt(host->fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
	setsockopt(host->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	return connect(host->fd, (struct sockaddr *)&server, sizeof server) == 0;
}

/* One request straight to the full feature phase. */
static bool login(struct host *host)
{
	uint8_t raw[PDU_BHS_LENGTH + 512] = {PDU_LOGIN | PDU_IMMEDIATE, 0x87};
	unsigned number = (unsigned)(host - hosts);
	struct pdu answer;
	int length;

	host->cmdsn = 1;
	host->expstatsn = 0;
	if (!dial(host))
		return false;
	raw[PDU_AT_ISID] = 0x80;
	raw[PDU_AT_ISID + 5] = (uint8_t)number;
	pdu_put32(raw + PDU_AT_CMDSN, host->cmdsn);
	length = snprintf((char *)raw + PDU_BHS_LENGTH, 400,
			  "InitiatorName=iqn.2026-11.org.granary:ats%u%cSessionType=Normal%c"
			  "TargetName=%s%cImmediateData=Yes%cInitialR2T=Yes",
			  number, 0, 0, target, 0, 0) +
		 1;
	pdu_put24(raw + PDU_AT_DATA_LENGTH, (uint32_t)length);
	return send_all(host, raw, PDU_BHS_LENGTH + (((uint32_t)length + 3) & ~3u)) &&
	       receive(host, &answer) && pdu_opcode(answer.bhs) == PDU_LOGIN_RESPONSE &&
	       pdu_get16(answer.bhs + PDU_AT_STATUS_CLASS) == 0 &&
	       (answer.bhs[PDU_AT_FLAGS] & 0x83) == 0x83;
}

static bool send_command(struct host *host, const uint8_t cdb[16], uint8_t flags,
			 const uint8_t *out, uint32_t length, uint32_t expected)
{
	uint8_t raw[PDU_BHS_LENGTH + 2 * BLOCK] = {PDU_SCSI_COMMAND,
						   (uint8_t)(PDU_FINAL | flags | 1)};

	raw[PDU_AT_LUN + 1] = lun;
	pdu_put24(raw + PDU_AT_DATA_LENGTH, length);
	pdu_put32(raw + PDU_AT_ITT, ++host->itt);
	pdu_put32(raw + PDU_AT_EDTL, expected);
	pdu_put32(raw + PDU_AT_CMDSN, host->cmdsn++);
	pdu_put32(raw + PDU_AT_EXPSTATSN, host->expstatsn);
	memcpy(raw + PDU_AT_CDB, cdb, 16);
	if (length)
		memcpy(raw + PDU_BHS_LENGTH, out, length);
	return send_all(host, raw, PDU_BHS_LENGTH + length);
}

/* The answer of a command that is not a COMPARE AND WRITE; -1: the connection is no more. */
static int finish(struct host *host, uint8_t *in, uint32_t room)
{
	struct pdu pdu;

	while (receive(host, &pdu)) {
		bool data = pdu_opcode(pdu.bhs) == PDU_DATA_IN;

		if (!data && pdu_opcode(pdu.bhs) != PDU_SCSI_RESPONSE)
			return -1;
		if (data && in && pdu.length <= room)
			memcpy(in, pdu.data, pdu.length);
		if (!data || (pdu.bhs[PDU_AT_FLAGS] & PDU_DATA_IN_STATUS))
			return pdu.bhs[3];
	}
	return -1;
}

/* Until nothing is to be said of a new session. */
static bool wake(struct host *host)
{
	static const uint8_t test_unit_ready[16];

	for (unsigned i = 0; i < 16; i++) {
		int status = -1;

		if (send_command(host, test_unit_ready, 0, NULL, 0, 0))
			status = finish(host, NULL, 0);
		if (status <= 0)
			return status == 0;
	}
	return false;
}

/* Again and again while the server is away. */
static bool enter(struct host *host)
{
	struct timespec pause = {.tv_nsec = 20000000};
	time_t limit = time(NULL) + PATIENCE;

	while (time(NULL) < limit) {
		lose(host);
		if (login(host) && wake(host))
			return true;
		nanosleep(&pause, NULL);
	}
	fprintf(stderr, "host %u can not log in again\n", (unsigned)(host - hosts));
	return false;
}

/* ---- a round */

static void name(uint8_t *data, uint32_t number, uint32_t round)
{
	memset(data, (int)(number + 1), BLOCK);
	data[0] = (uint8_t)~block[0]; /* who comes too late differs in the first byte */
	memcpy(data + 4, &round, sizeof round);
	memcpy(data + 8, &number, sizeof number);
}

static bool try(struct host *host, uint32_t round)
{
	static const uint8_t cdb[16] = {0x89, [9] = REGION, [13] = 1};
	uint8_t data[2 * BLOCK];

	memcpy(data, block, BLOCK);
	name(data + BLOCK, (uint32_t)(host - hosts), round);
	return send_command(host, cdb, PDU_WRITE, data, sizeof data, sizeof data);
}

/* A request that is cut off: the target must not act on half of it. */
static void try_half(struct host *host)
{
	uint8_t raw[PDU_BHS_LENGTH + BLOCK] = {PDU_SCSI_COMMAND, PDU_FINAL | PDU_WRITE | 1};

	raw[PDU_AT_LUN + 1] = lun;
	raw[PDU_AT_CDB] = 0x89;
	raw[PDU_AT_CDB + 9] = REGION;
	raw[PDU_AT_CDB + 13] = 1;
	pdu_put24(raw + PDU_AT_DATA_LENGTH, 2 * BLOCK);
	pdu_put32(raw + PDU_AT_ITT, ++host->itt);
	pdu_put32(raw + PDU_AT_EDTL, 2 * BLOCK);
	pdu_put32(raw + PDU_AT_CMDSN, host->cmdsn);
	pdu_put32(raw + PDU_AT_EXPSTATSN, host->expstatsn);
	memcpy(raw + PDU_BHS_LENGTH, block, BLOCK);
	send_all(host, raw, sizeof raw);
	lose(host);
}

static enum answer hear(struct host *host)
{
	struct pdu pdu;
	const uint8_t *sense = pdu.data + SENSE_AT;

	if (host->fd < 0 || !receive(host, &pdu))
		return LOST;
	if (pdu_opcode(pdu.bhs) != PDU_SCSI_RESPONSE ||
	    pdu_get32(pdu.bhs + PDU_AT_ITT) != host->itt)
		return WRONG;
	if (pdu.bhs[3] == 0)
		return WON;
	if (pdu.bhs[3] == 2 && pdu.length >= SENSE_AT + 18 && (sense[2] & 15) == MISCOMPARE &&
	    sense[12] == 0x1d && pdu_get32(sense + 3) == 0)
		return MISSED;
	fprintf(stderr, "status %02x, sense %02x/%02x/%02x\n", pdu.bhs[3], sense[2], sense[12],
		sense[13]);
	return WRONG;
}

/* What a lost host has written may be there and not be durable yet: what is read here is. */
static bool read_region(struct host *host, uint8_t *ret_data)
{
	static const uint8_t read[16] = {0x88, [9] = REGION, [13] = 1};
	static const uint8_t synchronize_cache[16] = {0x35};

	for (unsigned i = 0; i < 100; i++) {
		if (host->fd >= 0 && send_command(host, read, PDU_READ, NULL, 0, BLOCK) &&
		    finish(host, ret_data, BLOCK) == 0 &&
		    send_command(host, synchronize_cache, 0, NULL, 0, 0) &&
		    finish(host, NULL, 0) == 0)
			return true;
		if (!enter(host))
			break;
	}
	return false;
}

static bool wrong(uint32_t round, const char *what)
{
	fprintf(stderr, "wrong in round %u: %s\n", round, what);
	return false;
}

/* Some go after they have sent, some in the middle of it. */
static void lose_some(uint32_t round, bool lost[HOSTS])
{
	for (unsigned count = 1 + rnd(LOSE_MOST); count; count--) {
		struct host *host = &hosts[rnd(HOSTS)];

		if (lost[host - hosts])
			continue;
		lost[host - hosts] = true;
		host->may_have_won = false;
		if (rnd(4) == 0) {
			try_half(host);
		} else if (host->fd >= 0) {
			host->may_have_won = true;
			try(host, round);
			lose(host);
		}
	}
}

static void ask_all(uint32_t round, bool lossy)
{
	bool gone[HOSTS] = {false};
	unsigned first = rnd(HOSTS);

	if (lossy && rnd(2))
		lose_some(round, gone);
	for (unsigned i = 0; i < HOSTS; i++) {
		struct host *host = &hosts[(first + i) % HOSTS];

		if (gone[host - hosts])
			continue;
		host->may_have_won = true;
		if (!try(host, round))
			lose(host);
	}
	for (unsigned count = lossy ? 1 + rnd(LOSE_MOST) : 0; count; count--)
		lose(&hosts[rnd(HOSTS)]);
}

/* Who was told GOOD; NOBODY; -2: something that must not be. */
static int hear_all(uint32_t round, unsigned *ret_lost)
{
	int winner = NOBODY;

	*ret_lost = 0;
	for (unsigned i = 0; i < HOSTS; i++) {
		enum answer answer = hear(&hosts[i]);

		if (answer == WRONG || (answer == WON && winner != NOBODY)) {
			wrong(round, answer == WRONG ? "not an answer" : "two have won");
			return -2;
		}
		if (answer == WON)
			winner = (int)i;
		if (answer == LOST)
			lose(&hosts[i]);
		else
			hosts[i].may_have_won = false;
		wins += answer == WON;
		misses += answer == MISSED;
		*ret_lost += answer == LOST;
	}
	losses += *ret_lost;
	return winner;
}

/* With hosts lost nobody may have been told: then the block says who it was. */
static bool judge_by_block(uint32_t round, int winner, unsigned lost)
{
	uint8_t there[BLOCK], wanted[BLOCK];
	uint32_t number, stamp;

	if (!read_region(&hosts[round % HOSTS], there))
		return wrong(round, "the block can not be read");
	if (winner == NOBODY && memcmp(there, block, BLOCK) == 0) {
		if (lost < HOSTS)
			return wrong(round, "nobody has won, and not all were lost");
		return true;
	}
	memcpy(&number, there + 8, sizeof number);
	if (number >= HOSTS || (winner != NOBODY && (uint32_t)winner != number) ||
	    (winner == NOBODY && !hosts[number].may_have_won))
		return wrong(round, "another one's name is there");
	name(wanted, number, round);
	if (memcmp(there, wanted, BLOCK) != 0) {
		memcpy(&stamp, there + 4, sizeof stamp);
		fprintf(stderr, "the name of host %u from round %u\n", number, stamp);
		return wrong(round, "what is there is not of this round");
	}
	lost_winners += winner == NOBODY;
	memcpy(block, there, BLOCK);
	return true;
}

/* Without a loss the next round says whether the name is there: all of them compare with it. */
static bool judge(uint32_t round, int winner, unsigned lost)
{
	uint8_t mine[BLOCK];

	if (lost || round % SAY_EVERY == 0)
		return judge_by_block(round, winner, lost);
	if (winner == NOBODY)
		return wrong(round, "nobody has won");
	name(mine, (uint32_t)winner, round);
	memcpy(block, mine, BLOCK);
	return true;
}

static bool play(uint32_t round, bool lossy)
{
	unsigned lost;
	int winner;

	ask_all(round, lossy);
	winner = hear_all(round, &lost);
	outages += lost && !lossy;
	if (winner < NOBODY || !judge(round, winner, lost))
		return false;
	for (unsigned i = 0; i < HOSTS; i++)
		if (hosts[i].fd < 0 && !enter(&hosts[i]))
			return false;
	return true;
}

static bool begin(void)
{
	for (unsigned i = 0; i < HOSTS; i++)
		hosts[i].fd = -1;
	for (unsigned i = 0; i < HOSTS; i++)
		if (!enter(&hosts[i]))
			return false;
	return read_region(&hosts[0], block);
}

int main(int argc, char **argv)
{
	uint32_t rounds, every, round;

	if (argc != 7 || inet_pton(AF_INET, argv[1], &server.sin_addr) != 1) {
		fprintf(stderr, "ats_hosts HOST PORT IQN LUN ROUNDS EVERY\n");
		return 2;
	}
	server.sin_family = AF_INET;
	server.sin_port = htons((uint16_t)strtoul(argv[2], NULL, 10));
	target = argv[3];
	lun = (uint8_t)strtoul(argv[4], NULL, 10);
	rounds = (uint32_t)strtoul(argv[5], NULL, 10);
	every = (uint32_t)strtoul(argv[6], NULL, 10);
	if (!begin())
		return 1;
	for (round = 1; round <= rounds; round++) {
		if (!play(round, every && round % every == 0))
			return 1;
		if (round % SAY_EVERY == 0) {
			printf("round %u\n", round);
			fflush(stdout);
		}
	}
	printf("%llu rounds: %llu won, %llu missed, %llu lost (%llu winners among them), "
	       "%llu outages\n",
	       (unsigned long long)rounds, (unsigned long long)wins, (unsigned long long)misses,
	       (unsigned long long)losses, (unsigned long long)lost_winners,
	       (unsigned long long)outages);
	return 0;
}
