/* SPDX-License-Identifier: Apache-2.0 */
/* A whole NFS server on one loop: the input is what a client sends, records and all; behind a first
 * byte of 255 it is one datagram (UDP), behind another one of 240 and more that, with a good
 * header; behind a first byte that is even it becomes one well-formed record with a good header, so
 * that the arguments of every procedure are reached: program, version, procedure, then arguments in
 * which the byte pair FF 01 stands for the root's handle and FF 02 for SEQUENCE of a session that
 * is there. AUTH_TLS is answered, and TLS spoken behind it. Every connection must come to its end.
 */
#include <assert.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/heap.h"
#include "core/log.h"
#include "core/world.h"
#include "nfs/nfs4.h"

#define CALL_MAX      65536u
#define DATAGRAM_FROM 240u /* first bytes from here on: one datagram */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct loop *loop;
static struct nfs_server *server;
static struct vfs *vfs;
static struct handle root;
static uint8_t session[16];
static struct nfs_datagrams *datagrams;
static int replies; /* to datagrams: they are read here */
static struct sockaddr_in asker;

static void must(bool good)
{
	if (!good)
		abort();
}

static int udp_socket(void)
{
	struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);

	must(fd >= 0 && bind(fd, (const struct sockaddr *)&any, sizeof(any)) == 0);
	return fd;
}

static void set_up(void)
{
	static const struct nfs_rule rule = {
	    .client = "*", .insecure = true, .squash = NFS_NO_ROOT_SQUASH};
	static const uint8_t uuid[16] = {1};
	struct nfs_server_options options = {.io_loops = &loop, .io_loop_count = 1};
	struct nfs_share share = {"/f", NULL, &rule, 1, NFS_VERSIONS_ALL, 0};
	struct handle_parts parts = {0};
	socklen_t length = sizeof(asker);

	char *pem;

	log_set_level(LOG_LEVEL_ERROR);
	must(loop_create(&world_aio, &loop, NULL) == 0);
	options.control = loop;
	must(nfs_server_create(&options, &server, NULL) == 0);
	must(memory_fs_create(uuid, &vfs, NULL) == 0);
	memory_fs_limit(vfs, 8 << 20, 0);
	share.vfs = vfs;
	must(nfs_shares_set(server, &share, 1, NULL, NULL, NULL) == 0);
	must(nfs_tls_make("DNS:localhost", &pem, NULL) == 0);
	must(nfs_tls_set(server, pem, pem, strstr(pem, "-----BEGIN CERT"), NULL) == 0);
	heap_free(pem);
	loop_poll(loop, 0);
	parts.volume = handle_volume(vfs);
	parts.object = vfs->root;
	handle_encode(vfs, &parts, &root);
	replies = udp_socket();
	must(getsockname(replies, (struct sockaddr *)&asker, &length) == 0);
	datagrams = nfs_datagrams_on(server, udp_socket(), AF_INET);
	must(datagrams != NULL);
}

/* A session of NFSv4.1, a new one for each input. */
static void make_session(void)
{
	static struct nfs4_exchange exchange = {
	    .owner = (const uint8_t *)"fuzz", .owner_length = 4, .minor = 1};
	static uint32_t sequence;
	static struct nfs_io io;
	static struct nfs_conn conn;
	static struct nfs_call call;
	const struct nfs4_channel all = {UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX,
					 UINT32_MAX};
	struct nfs4_session_args args = {.fore = all, .back = all};

	io.loop = loop;
	conn.server = server;
	conn.io = &io;
	call.conn = &conn;
	exchange.principal = nfs4_principal_of(&call);
	if (!sequence)
		must(nfs4_exchange_id(server->nfs4, &exchange, loop_now(loop)) == NFS4_OK);
	else
		nfs4_destroy_session(&call, session);
	args.client = exchange.id;
	args.sequence = ++sequence;
	if (nfs4_create_session(&call, &args) == NFS4_OK)
		memcpy(session, args.session, sizeof(session));
	else
		sequence = 0;
}

static void put_sequence(struct xdr_out *out)
{
	xdr_put_u32(out, 53);
	xdr_put_fixed(out, session, sizeof(session));
	xdr_put_u32(out, 1);
	xdr_put_u64(out, 0);
	xdr_put_u32(out, 0);
}

static void poll_a_while(int fd, unsigned rounds)
{
	char sink[4096];

	while (rounds-- > 0 && !list_empty(&server->conns)) {
		loop_poll(loop, 0);
		while (recv(fd, sink, sizeof(sink), MSG_DONTWAIT) > 0)
			;
	}
}

static void send_all(int fd, const uint8_t *data, size_t size)
{
	for (size_t at = 0; at < size;) {
		ssize_t sent = send(fd, data + at, size - at, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (sent < 0)
			break;
		at += (size_t)sent;
		poll_a_while(fd, 8);
	}
}

static void put_arguments(struct xdr_out *out, const uint8_t *data, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		uint8_t *room;

		if (data[i] == 0xff && i + 1 < size && data[i + 1] == 1) {
			xdr_put_opaque(out, root.bytes, root.length);
			i++;
			continue;
		}
		if (data[i] == 0xff && i + 1 < size && data[i + 1] == 2) {
			put_sequence(out);
			i++;
			continue;
		}
		room = xdr_put_room(out, 1);
		if (room)
			*room = data[i];
	}
}

/* First bytes from here on are calls of RQUOTA. */
#define RQUOTA_FROM 240u

/* Bytes of a record, with its mark; 0: none. */
static size_t make_call(uint8_t *record, size_t room, const uint8_t *data, size_t size)
{
	static const uint32_t programs[] = {RPC_NFS, RPC_MOUNT, RPC_PORTMAP, RPC_NLM};
	static uint32_t xid;
	struct xdr_out out;

	if (size < 3)
		return 0;
	xdr_out_init(&out, record, room);
	xdr_put_u32(&out, 0);
	xdr_put_u32(&out, ++xid);
	xdr_put_u32(&out, RPC_CALL);
	xdr_put_u32(&out, RPC_VERSION);
	xdr_put_u32(&out, data[0] >= RQUOTA_FROM ? RPC_RQUOTA : programs[data[0] % 4]);
	xdr_put_u32(&out, data[1]);
	xdr_put_u32(&out, data[2]);
	xdr_put_u32(&out, RPC_AUTH_SYS);
	xdr_put_opaque(&out, "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20);
	xdr_put_u64(&out, 0);
	put_arguments(&out, data + 3, size - 3);
	xdr_patch_u32(&out, 0, RPC_MARK_LAST | (uint32_t)(xdr_length(&out) - 4));
	return out.full ? 0 : xdr_length(&out);
}

static void send_call(int fd, const uint8_t *data, size_t size)
{
	static uint8_t record[2 * CALL_MAX];
	size_t length = make_call(record, sizeof(record), data, size);

	if (length)
		send_all(fd, record, length);
}

/* Every one is done with at once or soon, and its reply is not long. */
static void send_datagram(const uint8_t *data, size_t size, bool whole)
{
	static uint8_t record[2 * CALL_MAX];
	size_t length = whole ? 0 : make_call(record, sizeof(record), data, size);
	char sink[8192];
	ssize_t got;

	if (!whole && length > RPC_MARK_LENGTH)
		nfs_datagram_put(datagrams, record + RPC_MARK_LENGTH, length - RPC_MARK_LENGTH,
				 &asker);
	else if (whole)
		nfs_datagram_put(datagrams, data, size, &asker);
	for (unsigned rounds = 0; nfs_datagrams_busy(datagrams); rounds++) {
		must(rounds < 100000);
		loop_poll(loop, 1000000);
	}
	got = recv(replies, sink, sizeof(sink), MSG_DONTWAIT);
	must(got <= (ssize_t)(2 * (whole ? size : length)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct sockaddr_in peer = {.sin_family = AF_INET};
	int fds[2];

	if (!server)
		set_up();
	if (size == 0 || size > CALL_MAX)
		return 0;
	if (data[0] >= DATAGRAM_FROM) {
		send_datagram(data + 1, size - 1, data[0] == 255);
		return 0;
	}
	make_session();
	must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds) == 0);
	nfs_server_accepted(server, fds[0], (struct sockaddr *)&peer, sizeof(peer));
	if (data[0] & 1)
		send_all(fds[1], data + 1, size - 1);
	else
		send_call(fds[1], data + 1, size - 1);
	poll_a_while(fds[1], 16);
	close(fds[1]);
	for (unsigned rounds = 0; !list_empty(&server->conns); rounds++) {
		must(rounds < 100000); /* a connection that never ends */
		loop_poll(loop, 1000000);
	}
	loop_poll(loop, 0);
	return 0;
}
