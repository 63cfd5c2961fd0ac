/* SPDX-License-Identifier: Apache-2.0 */
/* Connect and log in. One PDU at a time, blocking: nothing here is measured. */
#include "bench/session.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench/wire.h"
#include "core/crc32c.h"

#define TEXT_MAX 8192u /* what a login answer may be long (RFC 7143 13.12 default) */

struct pdu {
	uint8_t header[WIRE_HEADER];
	uint32_t length;
	uint8_t data[TEXT_MAX + 1]; /* a zero behind it */
};

static int send_all(int fd, const void *data, size_t length, struct err *err)
{
	while (length > 0) {
		ssize_t n = send(fd, data, length, MSG_NOSIGNAL);
		if (n < 0)
			return err_set(err, -errno, "sending: %s", strerror(errno));
		data = (const char *)data + n;
		length -= (size_t)n;
	}
	return 0;
}

static int receive_all(int fd, void *data, size_t length, struct err *err)
{
	while (length > 0) {
		ssize_t n = recv(fd, data, length, 0);
		if (n == 0)
			return err_set(err, -ECONNRESET, "the server closed the connection");
		if (n < 0 && errno == EAGAIN)
			return err_set(err, -ETIMEDOUT, "the server does not answer");
		if (n < 0)
			return err_set(err, -errno, "receiving: %s", strerror(errno));
		data = (char *)data + n;
		length -= (size_t)n;
	}
	return 0;
}

/* Header, its digest, data, padding, its digest; the lengths are in @pdu. */
static int send_pdu(const struct session *session, struct pdu *pdu, struct err *err)
{
	uint8_t wire[WIRE_HEADER + WIRE_DIGEST + TEXT_MAX + 4 + WIRE_DIGEST] = {0};
	uint32_t at = WIRE_HEADER, padded = wire_padded(pdu->length);

	wire_put24(pdu->header + 5, pdu->length);
	memcpy(wire, pdu->header, WIRE_HEADER);
	if (session->header_digest) {
		wire_put_digest(wire + at, crc32c(0, wire, WIRE_HEADER));
		at += WIRE_DIGEST;
	}
	memcpy(wire + at, pdu->data, pdu->length);
	at += padded;
	if (session->data_digest && padded > 0) {
		wire_put_digest(wire + at, crc32c(0, wire + at - padded, padded));
		at += WIRE_DIGEST;
	}
	return send_all(session->fd, wire, at, err);
}

static int receive_pdu(const struct session *session, struct pdu *pdu, struct err *err)
{
	uint8_t digest[WIRE_DIGEST];
	int r = receive_all(session->fd, pdu->header, WIRE_HEADER, err);

	if (r == 0 && session->header_digest)
		r = receive_all(session->fd, digest, WIRE_DIGEST, err);
	if (r < 0)
		return r;
	pdu->length = wire_get24(pdu->header + 5);
	uint32_t padded = wire_padded(pdu->length);
	if (pdu->header[4] != 0 || padded > TEXT_MAX)
		return err_set(err, -EPROTO, "an answer of %u bytes during start-up", pdu->length);
	r = receive_all(session->fd, pdu->data, padded, err);
	pdu->data[pdu->length] = '\0';
	if (r == 0 && session->data_digest && padded > 0)
		r = receive_all(session->fd, digest, WIRE_DIGEST, err);
	return r;
}

/* Every answer moves the windows (RFC 7143 4.2.2). */
static void note_numbers(struct session *session, const uint8_t *header)
{
	session->exp_statsn = wire_get32(header + 24) + 1;
	session->max_cmdsn = wire_get32(header + 32);
}

__attribute__((format(printf, 2, 3))) static void add_key(struct pdu *pdu, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	int n =
	    vsnprintf((char *)pdu->data + pdu->length, TEXT_MAX - pdu->length, format, arguments);
	va_end(arguments);
	if (n > 0 && (uint32_t)n < TEXT_MAX - pdu->length)
		pdu->length += (uint32_t)n + 1;
}

static void add_keys(struct pdu *pdu, const struct options *options)
{
	add_key(pdu, "InitiatorName=%s", options->initiator);
	add_key(pdu, "TargetName=%s", options->target);
	add_key(pdu, "SessionType=Normal");
	add_key(pdu, "HeaderDigest=%s", options->header_digest ? "CRC32C" : "None");
	add_key(pdu, "DataDigest=%s", options->data_digest ? "CRC32C" : "None");
	add_key(pdu, "InitialR2T=%s", options->initial_r2t ? "Yes" : "No");
	add_key(pdu, "ImmediateData=Yes");
	add_key(pdu, "MaxRecvDataSegmentLength=%u", WIRE_SEGMENT_MAX);
	add_key(pdu, "FirstBurstLength=262144");
	add_key(pdu, "MaxBurstLength=1048576");
	add_key(pdu, "MaxOutstandingR2T=1");
	add_key(pdu, "MaxConnections=1");
	add_key(pdu, "ErrorRecoveryLevel=0");
	add_key(pdu, "DefaultTime2Wait=0");
	add_key(pdu, "DefaultTime2Retain=0");
	add_key(pdu, "DataPDUInOrder=Yes");
	add_key(pdu, "DataSequenceInOrder=Yes");
}

/* Security negotiation is skipped: straight from operational (1) to full feature phase (3). */
static void build_login(struct pdu *pdu, const struct session *session, unsigned index,
			const struct options *options)
{
	memset(pdu->header, 0, WIRE_HEADER);
	pdu->length = 0;
	pdu->header[0] = WIRE_LOGIN | WIRE_IMMEDIATE;
	pdu->header[1] = 0x80 | 1 << 2 | 3;
	pdu->header[8] = 0x80; /* ISID of the random type */
	wire_put24(pdu->header + 9, (uint32_t)getpid());
	wire_put16(pdu->header + 12, index);
	wire_put32(pdu->header + 24, session->cmdsn);
	add_keys(pdu, options);
}

static void set_number(const char *value, uint32_t *number)
{
	unsigned long n = strtoul(value, NULL, 10);
	if (n >= 512 && n <= 0xffffff)
		*number = (uint32_t)n;
}

static void take_key(struct session *session, const char *key, const char *value)
{
	if (strcmp(key, "HeaderDigest") == 0)
		session->header_digest = strcmp(value, "CRC32C") == 0;
	else if (strcmp(key, "DataDigest") == 0)
		session->data_digest = strcmp(value, "CRC32C") == 0;
	else if (strcmp(key, "InitialR2T") == 0)
		session->initial_r2t = strcmp(value, "Yes") == 0;
	else if (strcmp(key, "ImmediateData") == 0)
		session->immediate_data = strcmp(value, "Yes") == 0;
	else if (strcmp(key, "MaxRecvDataSegmentLength") == 0)
		set_number(value, &session->segment_max);
	else if (strcmp(key, "FirstBurstLength") == 0)
		set_number(value, &session->first_burst);
	else if (strcmp(key, "MaxBurstLength") == 0)
		set_number(value, &session->max_burst);
}

static void take_keys(struct session *session, struct pdu *pdu)
{
	char *at = (char *)pdu->data, *end = at + pdu->length;

	while (at < end) {
		char *next = at + strlen(at) + 1, *value = strchr(at, '=');
		if (value != NULL) {
			*value = '\0';
			take_key(session, at, value + 1);
		}
		at = next;
	}
}

/* What holds when a key is not answered (RFC 7143 13). */
static void set_defaults(struct session *session)
{
	session->initial_r2t = true;
	session->immediate_data = true;
	session->segment_max = 8192;
	session->first_burst = 65536;
	session->max_burst = 262144;
}

/* The server may take several answers to come to full feature phase; ours are empty then. */
static int login(struct session *session, const struct options *options, unsigned index,
		 struct err *err)
{
	struct pdu pdu;
	struct session agreed = *session; /* digests start after the login */

	set_defaults(&agreed);
	build_login(&pdu, session, index, options);
	for (unsigned round = 0; round < 8; round++) {
		int r = send_pdu(session, &pdu, err);
		if (r == 0)
			r = receive_pdu(session, &pdu, err);
		if (r < 0)
			return r;
		if ((pdu.header[0] & WIRE_OPCODE_MASK) != WIRE_LOGIN_RESPONSE)
			return err_set(err, -EPROTO, "opcode %02x instead of a login response",
				       pdu.header[0]);
		if (pdu.header[36] != 0)
			return err_set(err, -EACCES, "login refused with status %02x%02x",
				       pdu.header[36], pdu.header[37]);
		take_keys(&agreed, &pdu);
		note_numbers(&agreed, pdu.header);
		if ((pdu.header[1] & 0x83) == 0x83) {
			agreed.cmdsn = wire_get32(pdu.header + 28);
			*session = agreed;
			return 0;
		}
		build_login(&pdu, session, index, options);
		wire_put32(pdu.header + 28, agreed.exp_statsn);
		pdu.length = 0;
	}
	return err_set(err, -EPROTO, "the login does not come to an end");
}

void session_build_command(uint8_t header[48], struct session *session, uint64_t lun, uint32_t tag)
{
	memset(header, 0, WIRE_HEADER);
	header[0] = WIRE_COMMAND;
	header[1] = WIRE_FINAL | WIRE_SIMPLE;
	header[9] = (uint8_t)lun;
	wire_put32(header + 16, tag);
	wire_put32(header + 24, session->cmdsn++);
	wire_put32(header + 28, session->exp_statsn);
}

/* One command that brings at most @length bytes, taken from the first Data-In. Returns the SCSI
 * status, or -errno. */
static int command(struct session *session, const struct options *options, const uint8_t cdb[16],
		   uint8_t *data, uint32_t length, struct err *err)
{
	struct pdu pdu = {0};

	session_build_command(pdu.header, session, options->lun, 1);
	pdu.header[1] |= length > 0 ? WIRE_READ : 0;
	wire_put32(pdu.header + 20, length);
	memcpy(pdu.header + 32, cdb, 16);
	int r = send_pdu(session, &pdu, err);
	while (r == 0) {
		r = receive_pdu(session, &pdu, err);
		if (r < 0)
			break;
		uint8_t opcode = pdu.header[0] & WIRE_OPCODE_MASK;
		if (opcode == WIRE_DATA_IN && pdu.length <= length)
			memcpy(data, pdu.data, pdu.length);
		if (opcode == WIRE_RESPONSE ||
		    (opcode == WIRE_DATA_IN && pdu.header[1] & WIRE_STATUS)) {
			note_numbers(session, pdu.header);
			return pdu.header[3];
		}
		if (opcode != WIRE_DATA_IN && opcode != WIRE_NOP_IN)
			r = err_set(err, -EPROTO, "opcode %02x during start-up", opcode);
	}
	return r;
}

/* Unit attentions of the new session come first; each is told once. */
static int wait_ready(struct session *session, const struct options *options, struct err *err)
{
	static const uint8_t test_unit_ready[16];

	for (unsigned i = 0; i < 16; i++) {
		int status = command(session, options, test_unit_ready, NULL, 0, err);
		if (status <= 0)
			return status;
	}
	return err_set(err, -EIO, "LUN %ju is not ready", (uintmax_t)options->lun);
}

static int read_capacity(struct session *session, const struct options *options, struct err *err)
{
	static const uint8_t cdb[16] = {0x9e, 0x10, [13] = 32};
	uint8_t data[32] = {0};
	int status = command(session, options, cdb, data, sizeof(data), err);

	if (status < 0)
		return status;
	session->block_bytes = wire_get32(data + 8);
	session->blocks = wire_get64(data) + 1;
	if (status != 0 || (session->block_bytes != 512 && session->block_bytes != 4096))
		return err_set(err, -EIO, "READ CAPACITY(16): status %02x, blocks of %u bytes",
			       status, session->block_bytes);
	return 0;
}

/* Both directions are bounded by the limit, and a small answer is not held back. */
static int set_socket(int fd, const struct options *options)
{
	int one = 1;
	struct timeval limit = {.tv_sec = (time_t)(options->limit_ns / 1000000000),
				.tv_usec = (suseconds_t)(options->limit_ns % 1000000000 / 1000)};

	if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) < 0)
		return -errno;
	return 0;
}

static int dial(const struct options *options, int *ret_fd, struct err *err)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV},
			*addresses;
	int r = getaddrinfo(options->host, options->port, &hints, &addresses);

	if (r != 0)
		return err_set(err, -EINVAL, "%s port %s: %s", options->host, options->port,
			       gai_strerror(r));
	int fd = socket(addresses->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	r = fd < 0 ? -errno : set_socket(fd, options);
	if (r == 0 && connect(fd, addresses->ai_addr, addresses->ai_addrlen) < 0)
		r = -errno;
	freeaddrinfo(addresses);
	if (r == 0) {
		*ret_fd = fd;
		return 0;
	}
	if (fd >= 0)
		close(fd);
	return err_set(err, r, "%s port %s: %s", options->host, options->port, strerror(-r));
}

int session_open(const struct options *options, unsigned index, struct session *ret_session,
		 struct err *err)
{
	struct session session = {.cmdsn = 1};
	int r = dial(options, &session.fd, err);

	if (r < 0)
		return r;
	r = login(&session, options, index, err);
	if (r == 0)
		r = wait_ready(&session, options, err);
	if (r == 0)
		r = read_capacity(&session, options, err);
	if (r == 0)
		*ret_session = session;
	else
		close(session.fd);
	return r;
}

void session_close(struct session *session)
{
	struct pdu pdu = {0};

	pdu.header[0] = WIRE_LOGOUT | WIRE_IMMEDIATE;
	pdu.header[1] = WIRE_FINAL;
	wire_put32(pdu.header + 24, session->cmdsn);
	wire_put32(pdu.header + 28, session->exp_statsn);
	int r = send_pdu(session, &pdu, NULL);
	while (r == 0 && (pdu.header[0] & WIRE_OPCODE_MASK) != WIRE_LOGOUT_RESPONSE)
		r = receive_pdu(session, &pdu, NULL);
	close(session->fd);
	session->fd = -1;
}
