/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/nfs_client.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "bench/payload.h"

#define REPLY_ROOM ((1u << 20) + (64u << 10))
#define FILL_BLOCK (256u << 10)
#define TRANSFER   ((1u << 20) + (16u << 10)) /* of a session's requests and replies */
#define MARK_LAST  0x80000000u

/* One call at a time: @out is filled behind the header, @in stands at the results. */
struct question {
	uint8_t call[NFS_CALL_ROOM];
	uint8_t *reply;
	struct xdr out, in;
};

/* ---- the socket */

static int connect_to(const struct options *options, const char *port, struct err *err)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;
	struct timeval limit = {.tv_sec = (time_t)(options->limit_ns / 1000000000),
				.tv_usec = (suseconds_t)(options->limit_ns % 1000000000 / 1000)};
	int one = 1, r = getaddrinfo(options->host, port, &hints, &found), fd;

	if (r != 0)
		return err_set(err, -EINVAL, "%s: %s", options->host, gai_strerror(r));
	fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	r = fd < 0 || connect(fd, found->ai_addr, found->ai_addrlen) < 0 ? -errno : 0;
	freeaddrinfo(found);
	if (r < 0) {
		if (fd >= 0)
			close(fd);
		return err_set(err, r, "%s:%s: %s", options->host, port, strerror(-r));
	}
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	return fd;
}

static int send_all(int fd, const uint8_t *data, size_t length, struct err *err)
{
	while (length > 0) {
		ssize_t n = send(fd, data, length, MSG_NOSIGNAL);

		if (n < 0)
			return err_set(err, -errno, "send: %s", strerror(errno));
		data += n;
		length -= (size_t)n;
	}
	return 0;
}

static int receive_all(int fd, uint8_t *data, size_t length, struct err *err)
{
	while (length > 0) {
		ssize_t n = recv(fd, data, length, MSG_WAITALL);

		if (n <= 0)
			return err_set(err, n < 0 ? -errno : -ECONNRESET, "receive: %s",
				       n < 0 ? strerror(errno) : "the server closed");
		data += n;
		length -= (size_t)n;
	}
	return 0;
}

/* A record in however many fragments. */
static int receive_record(int fd, struct question *question, struct err *err)
{
	size_t length = 0;
	uint32_t mark = 0;

	while (!(mark & MARK_LAST)) {
		uint8_t word[4];
		int r = receive_all(fd, word, 4, err);

		if (r < 0)
			return r;
		mark = (uint32_t)word[0] << 24 | (uint32_t)word[1] << 16 | (uint32_t)word[2] << 8 |
		       word[3];
		if ((mark & ~MARK_LAST) > REPLY_ROOM - length)
			return err_set(err, -EPROTO, "a reply is too long");
		r = receive_all(fd, question->reply + length, mark & ~MARK_LAST, err);
		if (r < 0)
			return r;
		length += mark & ~MARK_LAST;
	}
	question->in = (struct xdr){question->reply, question->reply + length, false};
	return 0;
}

/* ---- calls that wait for their answer */

static void begin(struct nfs_client *client, struct question *question, uint32_t program,
		  uint32_t procedure)
{
	question->out =
	    (struct xdr){question->call, question->call + sizeof(question->call), false};
	nfs_call(&question->out, ++client->xid, program,
		 program == RPC_MOUNT ? 3 : (uint32_t)client->options->nfs_version, procedure);
}

/* 0 with the results at @question->in, behind the RPC header. */
static int ask(int fd, struct question *question, const void *data, uint32_t length,
	       struct err *err)
{
	int r;

	if (question->out.bad)
		return err_set(err, -ENAMETOOLONG, "a call is too long");
	nfs_call_end(question->call, &question->out, length);
	r = send_all(fd, question->call, (size_t)(question->out.at - question->call), err);
	if (r == 0 && length)
		r = send_all(fd, data, length, err);
	if (r == 0)
		r = receive_record(fd, question, err);
	if (r < 0)
		return r;
	get_skip(&question->in, 8); /* xid, REPLY */
	if (get_u32(&question->in) != 0 || get_u64(&question->in) != 0 ||
	    get_u32(&question->in) != 0 || question->in.bad)
		return err_set(err, -EPROTO, "the call was refused");
	return 0;
}

static int status_of(struct question *question, const char *what, struct err *err)
{
	uint32_t status = get_u32(&question->in);

	if (question->in.bad)
		return err_set(err, -EPROTO, "%s: the reply is cut off", what);
	return status ? err_set(err, -EPROTO, "%s: status %u", what, status) : 0;
}

/* ---- version 3 */

static int mount3(struct nfs_client *client, struct question *question, struct nfs_handle *ret_root,
		  struct err *err)
{
	int fd = connect_to(client->options, client->options->mount_port, err), r;

	if (fd < 0)
		return fd;
	begin(client, question, RPC_MOUNT, 1);
	put_string(&question->out, client->options->path);
	r = ask(fd, question, NULL, 0, err);
	close(fd);
	if (r == 0)
		r = status_of(question, "MNT", err);
	if (r == 0)
		get_handle(&question->in, ret_root);
	return r == 0 && question->in.bad ? err_set(err, -EPROTO, "MNT: no handle") : r;
}

/* LOOKUP of @name, or CREATE, MKDIR (UNCHECKED): its handle. */
static int name3(struct nfs_client *client, struct question *question, uint32_t procedure,
		 const struct nfs_handle *folder, const char *name, struct nfs_handle *ret_handle,
		 struct err *err)
{
	int r;

	begin(client, question, RPC_NFS, procedure);
	put_opaque(&question->out, folder->bytes, folder->length);
	put_string(&question->out, name);
	if (procedure == NFS3_CREATE)
		put_u32(&question->out, 0);
	if (procedure != NFS3_LOOKUP)
		nfs3_put_sattr(&question->out, procedure == NFS3_MKDIR ? 0755 : 0644);
	r = ask(client->fd, question, NULL, 0, err);
	if (r == 0)
		r = status_of(question, name, err);
	if (r < 0)
		return r;
	if (procedure != NFS3_LOOKUP && get_u32(&question->in) != 1)
		return err_set(err, -EPROTO, "%s: no handle", name);
	get_handle(&question->in, ret_handle);
	return question->in.bad ? err_set(err, -EPROTO, "%s: no handle", name) : 0;
}

/* ---- version 4.1 */

static void sequence4(struct nfs_client *client, struct question *question, uint32_t more)
{
	begin(client, question, RPC_NFS, 1);
	nfs4_compound(&question->out, more + 1);
	nfs4_put_sequence(&question->out, client->session, ++client->sequence, 0,
			  client->slots - 1);
}

/* Sends a COMPOUND; its results start at @question->in, SEQUENCE's left out. */
static int ask4(struct nfs_client *client, struct question *question, const char *what,
		struct err *err)
{
	int r = ask(client->fd, question, NULL, 0, err);

	if (r == 0)
		r = status_of(question, what, err);
	if (r < 0)
		return r;
	get_skip(&question->in, (get_u32(&question->in) + 3u) & ~3u); /* tag */
	get_u32(&question->in);
	if (client->slots)
		nfs4_skip_sequence(&question->in);
	return 0;
}

static int exchange_id(struct nfs_client *client, struct question *question, uint32_t *ret_sequence,
		       struct err *err)
{
	int r;

	begin(client, question, RPC_NFS, 1);
	nfs4_compound(&question->out, 1);
	put_u32(&question->out, NFS4_EXCHANGE_ID);
	put_u64(&question->out, (uint64_t)getpid());
	put_string(&question->out, client->owner);
	put_u32(&question->out, 0); /* flags */
	put_u32(&question->out, 0); /* no state protection */
	put_u32(&question->out, 0); /* no implementation id */
	r = ask4(client, question, "EXCHANGE_ID", err);
	if (r < 0)
		return r;
	nfs4_result(&question->in, NFS4_EXCHANGE_ID);
	client->client_id = get_u64(&question->in);
	*ret_sequence = get_u32(&question->in);
	return 0;
}

static void put_channel(struct xdr *out, uint32_t bytes, uint32_t cached, uint32_t operations,
			uint32_t slots)
{
	put_u32(out, 0);
	put_u32(out, bytes);
	put_u32(out, bytes);
	put_u32(out, cached);
	put_u32(out, operations);
	put_u32(out, slots);
	put_u32(out, 0); /* no RDMA */
}

static int create_session(struct nfs_client *client, struct question *question, uint32_t sequence,
			  struct err *err)
{
	const uint8_t *session;
	int r;

	begin(client, question, RPC_NFS, 1);
	nfs4_compound(&question->out, 1);
	put_u32(&question->out, NFS4_CREATE_SESSION);
	put_u64(&question->out, client->client_id);
	put_u32(&question->out, sequence);
	put_u32(&question->out, 0);
	put_channel(&question->out, TRANSFER, 4096, 16, (uint32_t)client->options->depth);
	put_channel(&question->out, 4096, 0, 2, 1);
	put_u32(&question->out, 0x40000000);
	put_u32(&question->out, 1);
	put_u32(&question->out, 0); /* calls back with AUTH_NONE */
	r = ask4(client, question, "CREATE_SESSION", err);
	if (r < 0)
		return r;
	nfs4_result(&question->in, NFS4_CREATE_SESSION);
	session = get_fixed(&question->in, NFS_SESSION);
	if (session)
		memcpy(client->session, session, NFS_SESSION);
	get_skip(&question->in, 8 + 5 * 4); /* to the slots of the fore channel */
	client->slots = get_u32(&question->in);
	if (question->in.bad || client->slots < client->options->depth)
		return err_set(err, -EPROTO, "the session has %u slots, less than --depth",
			       client->slots);
	return 0;
}

static int start_session(struct nfs_client *client, struct question *question, struct err *err)
{
	uint32_t sequence;
	int r = exchange_id(client, question, &sequence, err);

	if (r == 0)
		r = create_session(client, question, sequence, err);
	if (r < 0)
		return r;
	sequence4(client, question, 1);
	put_u32(&question->out, NFS4_RECLAIM_COMPLETE);
	put_u32(&question->out, 0);
	return ask4(client, question, "RECLAIM_COMPLETE", err);
}

static int handle4(struct question *question, struct nfs_handle *ret_handle, struct err *err)
{
	nfs4_result(&question->in, NFS4_GETFH);
	get_handle(&question->in, ret_handle);
	return question->in.bad ? err_set(err, -EPROTO, "no handle in the reply") : 0;
}

static int root4(struct nfs_client *client, struct question *question, struct nfs_handle *ret_root,
		 struct err *err)
{
	const char *name = client->options->path;
	int r;

	sequence4(client, question, 3);
	put_u32(&question->out, NFS4_PUTROOTFH);
	put_u32(&question->out, NFS4_LOOKUP);
	put_string(&question->out, name + (*name == '/'));
	put_u32(&question->out, NFS4_GETFH);
	r = ask4(client, question, client->options->path, err);
	if (r < 0)
		return r;
	nfs4_result(&question->in, NFS4_PUTROOTFH);
	nfs4_result(&question->in, NFS4_LOOKUP);
	return handle4(question, ret_root, err);
}

static int lookup4(struct nfs_client *client, struct question *question,
		   const struct nfs_handle *folder, const char *name, struct nfs_handle *ret_handle,
		   struct err *err)
{
	int r;

	sequence4(client, question, 3);
	nfs4_putfh(&question->out, folder);
	put_u32(&question->out, NFS4_LOOKUP);
	put_string(&question->out, name);
	put_u32(&question->out, NFS4_GETFH);
	r = ask4(client, question, name, err);
	if (r < 0)
		return r;
	nfs4_result(&question->in, NFS4_PUTFH);
	nfs4_result(&question->in, NFS4_LOOKUP);
	return handle4(question, ret_handle, err);
}

static int mkdir4(struct nfs_client *client, struct question *question,
		  const struct nfs_handle *folder, const char *name, struct err *err)
{
	sequence4(client, question, 2);
	nfs4_putfh(&question->out, folder);
	nfs4_put_mkdir(&question->out, name);
	return ask4(client, question, name, err);
}

static int open4(struct nfs_client *client, struct question *question, struct err *err)
{
	const uint8_t *stateid;
	int r;

	sequence4(client, question, 2);
	nfs4_putfh(&question->out, &client->folder);
	nfs4_put_open(&question->out, client->client_id, client->owner, "data");
	r = ask4(client, question, "OPEN", err);
	if (r < 0)
		return r;
	nfs4_result(&question->in, NFS4_PUTFH);
	nfs4_result(&question->in, NFS4_OPEN);
	stateid = get_fixed(&question->in, NFS_STATEID);
	if (!stateid)
		return err_set(err, -EPROTO, "OPEN: no stateid");
	memcpy(client->stateid, stateid, NFS_STATEID);
	return 0;
}

/* ---- the folder of the load */

void nfs_name(unsigned number, char ret_name[NFS_NAME_ROOM])
{
	snprintf(ret_name, NFS_NAME_ROOM, "name-%03u", number % NFS_NAMES);
}

static int own_folder(struct nfs_client *client, struct question *question, unsigned number,
		      struct err *err)
{
	struct timespec now;
	char name[NFS_NAME_ROOM * 2];
	int r;

	clock_gettime(CLOCK_REALTIME, &now);
	snprintf(name, sizeof(name), "own-%jx-%lx-%u", (intmax_t)now.tv_sec, now.tv_nsec, number);
	if (client->options->nfs_version == 3)
		return name3(client, question, NFS3_MKDIR, &client->folder, name, &client->own,
			     err);
	r = mkdir4(client, question, &client->folder, name, err);
	return r < 0 ? r : lookup4(client, question, &client->folder, name, &client->own, err);
}

static int look_around(struct nfs_client *client, struct question *question, struct err *err)
{
	struct nfs_handle root;
	int r;

	if (client->options->nfs_version == 3) {
		r = mount3(client, question, &root, err);
		if (r == 0)
			r = name3(client, question, NFS3_LOOKUP, &root, "load", &client->folder,
				  err);
		return r < 0 ? r
			     : name3(client, question, NFS3_LOOKUP, &client->folder, "data",
				     &client->file, err);
	}
	r = start_session(client, question, err);
	if (r == 0)
		r = root4(client, question, &root, err);
	if (r == 0)
		r = lookup4(client, question, &root, "load", &client->folder, err);
	if (r == 0)
		r = lookup4(client, question, &client->folder, "data", &client->file, err);
	return r < 0 ? r : open4(client, question, err);
}

static int set_up(const struct options *options, unsigned number, struct nfs_client *client,
		  struct err *err)
{
	*client = (struct nfs_client){.options = options};
	snprintf(client->owner, sizeof(client->owner), "granary-load-%d-%u", getpid(), number);
	client->fd = connect_to(options, options->port, err);
	return client->fd < 0 ? client->fd : 0;
}

int nfs_client_open(const struct options *options, unsigned number, struct nfs_client *ret_client,
		    struct err *err)
{
	struct question question = {.reply = malloc(REPLY_ROOM)};
	int r = question.reply ? set_up(options, number, ret_client, err)
			       : err_set(err, -ENOMEM, "no memory");

	if (r < 0) {
		free(question.reply);
		return r;
	}
	r = look_around(ret_client, &question, err);
	if (r == 0)
		r = own_folder(ret_client, &question, number, err);
	free(question.reply);
	if (r < 0)
		nfs_client_close(ret_client);
	return r;
}

void nfs_client_close(struct nfs_client *client)
{
	close(client->fd);
}

/* ---- preparing: by version 3, which both servers speak */

static int write3(struct nfs_client *client, struct question *question, uint64_t offset,
		  const uint8_t *data, struct err *err)
{
	int r;

	begin(client, question, RPC_NFS, NFS3_WRITE);
	put_opaque(&question->out, client->file.bytes, client->file.length);
	put_u64(&question->out, offset);
	put_u32(&question->out, FILL_BLOCK);
	put_u32(&question->out, 2);
	put_u32(&question->out, FILL_BLOCK);
	r = ask(client->fd, question, data, FILL_BLOCK, err);
	if (r == 0)
		r = status_of(question, "WRITE", err);
	if (r < 0)
		return r;
	nfs3_skip_wcc(&question->in);
	return get_u32(&question->in) == FILL_BLOCK
		   ? 0
		   : err_set(err, -EPROTO, "WRITE took less than it was given");
}

static int read3(struct nfs_client *client, struct question *question, uint64_t offset,
		 uint64_t generation, struct err *err)
{
	const uint8_t *data;
	int r;

	begin(client, question, RPC_NFS, NFS3_READ);
	put_opaque(&question->out, client->file.bytes, client->file.length);
	put_u64(&question->out, offset);
	put_u32(&question->out, FILL_BLOCK);
	r = ask(client->fd, question, NULL, 0, err);
	if (r == 0)
		r = status_of(question, "READ", err);
	if (r < 0)
		return r;
	nfs3_skip_attr(&question->in);
	get_u64(&question->in); /* count, eof */
	if (get_u32(&question->in) != FILL_BLOCK)
		return err_set(err, -EPROTO, "READ brought less than it was asked for");
	data = get_fixed(&question->in, FILL_BLOCK);
	if (!data)
		return err_set(err, -EPROTO, "READ: the reply is cut off");
	if (payload_check(data, FILL_BLOCK, offset / PAYLOAD_BLOCK, generation, err) != PAYLOAD_OK)
		return err->code ? err->code : err_set(err, -EILSEQ, "what was written is gone");
	return 0;
}

static int fill(struct nfs_client *client, struct question *question, struct err *err)
{
	uint64_t span = client->options->span_bytes, generation = (uint64_t)getpid();
	uint8_t *data = malloc(FILL_BLOCK);
	int r = data ? 0 : err_set(err, -ENOMEM, "no memory");

	for (uint64_t at = 0; r == 0 && at < span; at += FILL_BLOCK) {
		payload_fill(data, FILL_BLOCK, at / PAYLOAD_BLOCK, generation);
		r = write3(client, question, at, data, err);
	}
	for (uint64_t at = 0; r == 0 && at < span; at += FILL_BLOCK)
		r = read3(client, question, at, generation, err);
	free(data);
	return r;
}

static int make(struct nfs_client *client, struct question *question, struct err *err)
{
	struct nfs_handle root, ignored;
	char name[NFS_NAME_ROOM];
	int r = mount3(client, question, &root, err);

	if (r == 0)
		r = name3(client, question, NFS3_MKDIR, &root, "load", &client->folder, err);
	if (r == 0)
		r = name3(client, question, NFS3_CREATE, &client->folder, "data", &client->file,
			  err);
	for (unsigned i = 0; r == 0 && i < NFS_NAMES; i++) {
		nfs_name(i, name);
		r = name3(client, question, NFS3_CREATE, &client->folder, name, &ignored, err);
	}
	return r;
}

int nfs_client_prepare(const struct options *options, struct err *err)
{
	struct options three = *options;
	struct question question = {.reply = malloc(REPLY_ROOM)};
	struct nfs_client client;
	int r = question.reply ? 0 : err_set(err, -ENOMEM, "no memory");

	three.nfs_version = 3;
	if (r == 0)
		r = set_up(&three, 0, &client, err);
	if (r == 0) {
		r = make(&client, &question, err);
		if (r == 0)
			r = fill(&client, &question, err);
		nfs_client_close(&client);
	}
	free(question.reply);
	return r;
}
