/* SPDX-License-Identifier: Apache-2.0 */
/* The load on an NFS server: every connection has its calls, a call that was answered is sent
 * anew. What can leave leaves in one send, what is there comes in one receive; an answer is
 * looked at only as far as its status, its counts and its length go. */
#include "bench/nfs_load.h"

#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "bench/nfs_client.h"

#define WAIT_MS     100
#define IOVS        128u
#define IN_ROOM     (1u << 20)
#define HEAD_ROOM   320u /* of a reply, looked at */
#define MARK_LAST   0x80000000u
#define RANDOM_MOST (64u << 10) /* larger blocks go in order */

enum phase { WARMING, MEASURING, DRAINING };

struct load;

/* What a call does; its number is its slot, and the low bits of its xid. */
struct call {
	uint8_t head[NFS_CALL_ROOM];
	uint32_t head_length, data_length, sequence, xid;
	uint64_t started;
	bool busy;
};

struct line {
	struct load *load;
	struct nfs_client client;
	struct call *calls;
	unsigned busy, made; /* made: names of CREATE */
	struct call **ready; /* answered: to be sent anew */
	unsigned ready_count;
	bool blocked;
	struct iovec iov[IOVS];
	unsigned iov_first, iov_count;

	/* coming in: a record's first bytes, and how much of it is still to come */
	uint8_t *in;
	uint8_t mark[4], head[HEAD_ROOM];
	unsigned mark_have, head_have;
	uint32_t left;
	uint64_t length;
	bool last;
};

struct operation {
	const char *name;
	/* Encodes the arguments of a call of version 3; of version 4: the operations behind PUTFH.
	 */
	uint32_t procedure3, operations4;
	void (*three)(struct line *line, struct call *call, struct xdr *out);
	void (*four)(struct line *line, struct call *call, struct xdr *out);
	/* The answer behind its status (3), behind PUTFH's result (4); NULL: the status is all. */
	bool (*check3)(const struct line *line, struct xdr *in);
	bool (*check4)(const struct line *line, struct xdr *in);
	bool reads, writes;
};

struct load {
	const struct options *options;
	const struct operation *operation;
	struct line *lines;
	unsigned open;
	int epoll;
	enum phase phase;
	uint64_t now, phase_start, last_answer;
	uint64_t random, position, blocks;
	uint8_t *data;
	struct result result;
	uint64_t client_cpu_start;
	struct process_usage server_start;
};

static uint64_t clock_of(clockid_t which)
{
	struct timespec now;

	clock_gettime(which, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* ---- the operations */

static uint64_t next_offset(struct load *load)
{
	uint64_t block = load->options->block_bytes;

	if (block > RANDOM_MOST)
		return load->position++ % load->blocks * block;
	load->random ^= load->random << 13;
	load->random ^= load->random >> 7;
	load->random ^= load->random << 17;
	return load->random % load->blocks * block;
}

static void getattr3(struct line *line, struct call *call, struct xdr *out)
{
	(void)call;
	put_opaque(out, line->client.file.bytes, line->client.file.length);
}

static void getattr4(struct line *line, struct call *call, struct xdr *out)
{
	(void)call;
	nfs4_putfh(out, &line->client.file);
	nfs4_put_getattr(out);
}

static void lookup3(struct line *line, struct call *call, struct xdr *out)
{
	char name[NFS_NAME_ROOM];

	(void)call;
	nfs_name(line->made++, name);
	put_opaque(out, line->client.folder.bytes, line->client.folder.length);
	put_string(out, name);
}

static void lookup4(struct line *line, struct call *call, struct xdr *out)
{
	char name[NFS_NAME_ROOM];

	(void)call;
	nfs_name(line->made++, name);
	nfs4_putfh(out, &line->client.folder);
	put_u32(out, NFS4_LOOKUP);
	put_string(out, name);
	put_u32(out, NFS4_GETFH);
	nfs4_put_getattr(out);
}

static void create3(struct line *line, struct call *call, struct xdr *out)
{
	char name[NFS_NAME_ROOM];

	(void)call;
	snprintf(name, sizeof(name), "new-%u", line->made++);
	put_opaque(out, line->client.own.bytes, line->client.own.length);
	put_string(out, name);
	put_u32(out, 0);
	nfs3_put_sattr(out, 0644);
}

static void create4(struct line *line, struct call *call, struct xdr *out)
{
	char name[NFS_NAME_ROOM], owner[NFS_NAME_ROOM];

	snprintf(name, sizeof(name), "new-%u", line->made++);
	snprintf(owner, sizeof(owner), "slot-%zd", call - line->calls);
	nfs4_putfh(out, &line->client.own);
	nfs4_put_open(out, line->client.client_id, owner, name);
	put_u32(out, NFS4_GETFH);
	nfs4_put_getattr(out);
	nfs4_put_close(out);
}

static void read3(struct line *line, struct call *call, struct xdr *out)
{
	getattr3(line, call, out);
	put_u64(out, next_offset(line->load));
	put_u32(out, (uint32_t)line->load->options->block_bytes);
}

static void read4(struct line *line, struct call *call, struct xdr *out)
{
	(void)call;
	nfs4_putfh(out, &line->client.file);
	put_u32(out, NFS4_READ);
	put_fixed(out, line->client.stateid, NFS_STATEID);
	put_u64(out, next_offset(line->load));
	put_u32(out, (uint32_t)line->load->options->block_bytes);
}

static uint32_t stability(const struct line *line)
{
	return line->load->operation->name[5] == '-' ? 2 : 0; /* "write-sync" */
}

static void write3(struct line *line, struct call *call, struct xdr *out)
{
	uint32_t block = (uint32_t)line->load->options->block_bytes;

	read3(line, call, out);
	put_u32(out, stability(line));
	put_u32(out, block);
	call->data_length = block;
}

static void write4(struct line *line, struct call *call, struct xdr *out)
{
	uint32_t block = (uint32_t)line->load->options->block_bytes;

	nfs4_putfh(out, &line->client.file);
	put_u32(out, NFS4_WRITE);
	put_fixed(out, line->client.stateid, NFS_STATEID);
	put_u64(out, next_offset(line->load));
	put_u32(out, stability(line));
	put_u32(out, block);
	call->data_length = block;
}

static bool all_read(const struct line *line, struct xdr *in)
{
	uint32_t block = (uint32_t)line->load->options->block_bytes;

	return get_u32(in) == block && !in->bad && line->length > block;
}

static bool all_written(const struct line *line, struct xdr *in)
{
	uint32_t count = get_u32(in), committed = get_u32(in);

	return count == line->load->options->block_bytes && committed >= stability(line) &&
	       !in->bad;
}

static bool read_checked3(const struct line *line, struct xdr *in)
{
	nfs3_skip_attr(in);
	return all_read(line, in);
}

static bool written3(const struct line *line, struct xdr *in)
{
	nfs3_skip_wcc(in);
	return all_written(line, in);
}

static bool read_checked4(const struct line *line, struct xdr *in)
{
	nfs4_result(in, NFS4_READ);
	get_u32(in); /* eof */
	return all_read(line, in);
}

static bool written4(const struct line *line, struct xdr *in)
{
	nfs4_result(in, NFS4_WRITE);
	return all_written(line, in);
}

static const struct operation operations[] = {
    {.name = "null"},
    {"getattr", NFS3_GETATTR, 2, getattr3, getattr4, NULL, NULL, false, false},
    {"lookup", NFS3_LOOKUP, 4, lookup3, lookup4, NULL, NULL, false, false},
    {"create", NFS3_CREATE, 5, create3, create4, NULL, NULL, false, false},
    {"read", NFS3_READ, 2, read3, read4, read_checked3, read_checked4, true, false},
    {"write", NFS3_WRITE, 2, write3, write4, written3, written4, false, true},
    {"write-sync", NFS3_WRITE, 2, write3, write4, written3, written4, false, true},
};

static const struct operation *find_operation(const char *name)
{
	for (unsigned i = 0; i < sizeof(operations) / sizeof(operations[0]); i++)
		if (strcmp(operations[i].name, name) == 0)
			return &operations[i];
	return NULL;
}

/* ---- calls out */

static void encode(struct line *line, struct call *call)
{
	const struct operation *operation = line->load->operation;
	uint32_t version = (uint32_t)line->load->options->nfs_version;
	uint32_t slot = (uint32_t)(call - line->calls);
	struct xdr out = {call->head, call->head + sizeof(call->head), false};

	call->xid += 1u << 16;
	call->data_length = 0;
	nfs_call(&out, call->xid | slot, RPC_NFS, version,
		 !operation->three ? 0
		 : version == 3    ? operation->procedure3
				   : 1);
	if (version == 3 && operation->three) {
		operation->three(line, call, &out);
	} else if (operation->four) {
		nfs4_compound(&out, operation->operations4 + 1);
		nfs4_put_sequence(&out, line->client.session, ++call->sequence, slot,
				  (uint32_t)line->load->options->depth - 1);
		operation->four(line, call, &out);
	}
	nfs_call_end(call->head, &out, call->data_length);
	call->head_length = (uint32_t)(out.at - call->head);
}

static void queue_ready(struct line *line)
{
	if (line->iov_first == line->iov_count)
		line->iov_first = line->iov_count = 0;
	while (line->ready_count > 0 && line->iov_count + 2 <= IOVS &&
	       line->load->phase != DRAINING) {
		struct call *call = line->ready[--line->ready_count];

		encode(line, call);
		call->busy = true;
		call->started = line->load->now;
		line->busy++;
		line->iov[line->iov_count++] = (struct iovec){call->head, call->head_length};
		if (call->data_length)
			line->iov[line->iov_count++] =
			    (struct iovec){line->load->data, call->data_length};
	}
}

static void sent(struct line *line, size_t bytes)
{
	while (bytes > 0) {
		struct iovec *iov = &line->iov[line->iov_first];
		size_t part = bytes < iov->iov_len ? bytes : iov->iov_len;

		iov->iov_base = (uint8_t *)iov->iov_base + part;
		iov->iov_len -= part;
		bytes -= part;
		if (iov->iov_len == 0)
			line->iov_first++;
	}
}

static int send_ready(struct line *line, struct err *err)
{
	line->blocked = false;
	for (;;) {
		struct msghdr message = {0};
		ssize_t n;

		queue_ready(line);
		if (line->iov_first == line->iov_count)
			return 0;
		message.msg_iov = line->iov + line->iov_first;
		message.msg_iovlen = line->iov_count - line->iov_first;
		n = sendmsg(line->client.fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && errno == EAGAIN) {
			line->blocked = true;
			return 0;
		}
		if (n < 0)
			return err_set(err, -errno, "send: %s", strerror(errno));
		sent(line, (size_t)n);
	}
}

/* ---- answers in */

/* False: it is not what was asked for, in @err. */
static bool check(struct line *line, struct err *err)
{
	const struct operation *operation = line->load->operation;
	struct xdr in = {line->head, line->head + line->head_have, false};
	bool three = line->load->options->nfs_version == 3, good = true;
	uint32_t status, reply, denied, refused;

	get_u32(&in);
	reply = get_u32(&in);
	denied = get_u32(&in);
	get_u64(&in); /* verifier: none */
	refused = get_u32(&in);
	if (reply != 1 || denied || refused) {
		err_set(err, -EPROTO, "a call was refused");
		return false;
	}
	if (!operation->three)
		return true;
	status = get_u32(&in);
	if (status != 0 || in.bad) {
		err_set(err, -EPROTO, "%s: status %u", operation->name, status);
		return false;
	}
	if (three && operation->check3) {
		good = operation->check3(line, &in);
	} else if (!three && operation->check4) {
		get_skip(&in, (get_u32(&in) + 3u) & ~3u);
		get_u32(&in);
		nfs4_skip_sequence(&in);
		nfs4_result(&in, NFS4_PUTFH);
		good = operation->check4(line, &in);
	}
	if (!good)
		err_set(err, -EPROTO, "%s: the answer is not what was asked for", operation->name);
	return good;
}

static int answered(struct line *line, struct err *err)
{
	struct load *load = line->load;
	struct xdr in = {line->head, line->head + line->head_have, false};
	uint32_t xid = get_u32(&in), slot = xid & 0xffff;
	struct call *call;

	if (in.bad || slot >= load->options->depth)
		return err_set(err, -EPROTO, "a reply to a call that was not made");
	call = &line->calls[slot];
	if (!call->busy || (call->xid | slot) != xid)
		return err_set(err, -EPROTO, "a reply to another call");
	if (!check(line, err))
		return err->code;
	call->busy = false;
	line->busy--;
	line->ready[line->ready_count++] = call;
	if (load->phase == MEASURING) {
		load->result.ios++;
		histogram_add(&load->result.latency, load->now - call->started);
	}
	return 0;
}

/* One byte of a fragment's mark. */
static size_t take_mark(struct line *line, const uint8_t *data)
{
	uint32_t mark;

	line->mark[line->mark_have++] = *data;
	if (line->mark_have < sizeof(line->mark))
		return 1;
	memcpy(&mark, line->mark, sizeof(mark));
	mark = be32toh(mark);
	line->last = mark & MARK_LAST;
	line->left = mark & ~MARK_LAST;
	line->mark_have = 0;
	return 1;
}

/* Bytes of a record: the first are kept, the others only counted. */
static size_t take_body(struct line *line, const uint8_t *data, size_t length)
{
	size_t part = length < line->left ? length : line->left, keep = HEAD_ROOM - line->head_have;

	if (keep > part)
		keep = part;
	memcpy(line->head + line->head_have, data, keep);
	line->head_have += (unsigned)keep;
	line->left -= (uint32_t)part;
	line->length += part;
	return part;
}

static int take(struct line *line, const uint8_t *data, size_t length, struct err *err)
{
	int r = 0;

	while (r == 0 && length > 0) {
		size_t used =
		    line->left > 0 ? take_body(line, data, length) : take_mark(line, data);

		data += used;
		length -= used;
		if (line->left > 0 || !line->last || line->length == 0)
			continue;
		r = answered(line, err);
		line->head_have = 0;
		line->length = 0;
		line->last = false;
	}
	return r;
}

static int receive(struct line *line, struct err *err)
{
	ssize_t n = recv(line->client.fd, line->in, IN_ROOM, MSG_DONTWAIT);

	if (n < 0 && errno == EAGAIN)
		return 0;
	if (n <= 0)
		return err_set(err, n < 0 ? -errno : -ECONNRESET, "receive: %s",
			       n < 0 ? strerror(errno) : "the server closed");
	line->load->last_answer = line->load->now;
	return take(line, line->in, (size_t)n, err);
}

/* ---- set-up */

static int watch(struct line *line, int operation, struct err *err)
{
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = line};

	if (line->blocked)
		event.events |= EPOLLOUT;
	if (epoll_ctl(line->load->epoll, operation, line->client.fd, &event) < 0)
		return err_set(err, -errno, "epoll: %s", strerror(errno));
	return 0;
}

static int open_one(struct load *load, struct err *err)
{
	struct line *line = &load->lines[load->open];
	uint64_t depth = load->options->depth;
	int r = nfs_client_open(load->options, load->open, &line->client, err);

	if (r < 0)
		return r;
	load->open++;
	line->load = load;
	line->calls = calloc(depth, sizeof(*line->calls));
	line->ready = calloc(depth, sizeof(struct call *));
	line->in = malloc(IN_ROOM);
	if (!line->calls || !line->ready || !line->in)
		return err_set(err, -ENOMEM, "no memory");
	for (uint64_t i = 0; i < depth; i++)
		line->ready[line->ready_count++] = &line->calls[depth - 1 - i];
	line->calls[0].sequence = line->client.sequence;
	return watch(line, EPOLL_CTL_ADD, err);
}

static int open_all(struct load *load, struct err *err)
{
	const struct options *options = load->options;
	int r = 0;

	load->blocks = options->span_bytes / options->block_bytes;
	load->random = options->seed * UINT64_C(0x9e3779b97f4a7c15) | 1;
	load->epoll = epoll_create1(EPOLL_CLOEXEC);
	load->lines = calloc(options->connections, sizeof(*load->lines));
	load->data = malloc(options->block_bytes);
	if (load->epoll < 0 || !load->lines || !load->data)
		return err_set(err, -ENOMEM, "no memory for %ju connections",
			       (uintmax_t)options->connections);
	memset(load->data, 0x5a, options->block_bytes);
	while (r == 0 && load->open < options->connections)
		r = open_one(load, err);
	return r;
}

static void close_all(struct load *load)
{
	for (unsigned i = 0; i < load->open; i++) {
		nfs_client_close(&load->lines[i].client);
		free(load->lines[i].calls);
		free(load->lines[i].ready);
		free(load->lines[i].in);
	}
	if (load->epoll >= 0)
		close(load->epoll);
	free(load->lines);
	free(load->data);
}

/* ---- phases */

static int usage(const struct load *load, struct process_usage *ret_usage, struct err *err)
{
	if (load->options->server_pid == 0)
		return 0;
	return process_usage((pid_t)load->options->server_pid, ret_usage, err);
}

static int start_measuring(struct load *load, struct err *err)
{
	load->phase = MEASURING;
	load->phase_start = load->now;
	load->client_cpu_start = clock_of(CLOCK_PROCESS_CPUTIME_ID);
	return usage(load, &load->server_start, err);
}

static int stop_measuring(struct load *load, struct err *err)
{
	struct process_usage *used = &load->result.server;
	int r = usage(load, used, err);

	load->phase = DRAINING;
	load->result.elapsed_ns = load->now - load->phase_start;
	load->result.client_cpu_ns = clock_of(CLOCK_PROCESS_CPUTIME_ID) - load->client_cpu_start;
	used->cpu_ns -= load->server_start.cpu_ns;
	used->switches -= load->server_start.switches;
	return r;
}

static int turn_phase(struct load *load, struct err *err)
{
	const struct options *options = load->options;
	uint64_t passed = load->now - load->phase_start;

	if (load->now - load->last_answer > options->limit_ns)
		return err_set(err, -ETIMEDOUT, "calls are out and no answer comes");
	if (load->phase == WARMING && passed >= options->warmup_ns)
		return start_measuring(load, err);
	if (load->phase == MEASURING &&
	    (options->count ? load->result.ios >= options->count : passed >= options->run_ns))
		return stop_measuring(load, err);
	return 0;
}

static unsigned in_flight(const struct load *load)
{
	unsigned count = 0;

	for (unsigned i = 0; i < load->open; i++)
		count += load->lines[i].busy;
	return count;
}

static int exchange(struct line *line, uint32_t events, struct err *err)
{
	bool was_blocked = line->blocked;
	int r = events & (EPOLLIN | EPOLLHUP | EPOLLERR) ? receive(line, err) : 0;

	if (r == 0)
		r = send_ready(line, err);
	return r == 0 && line->blocked != was_blocked ? watch(line, EPOLL_CTL_MOD, err) : r;
}

static int run(struct load *load, struct err *err)
{
	int r;

	load->now = load->phase_start = load->last_answer = clock_of(CLOCK_MONOTONIC);
	r = turn_phase(load, err);
	for (unsigned i = 0; r == 0 && i < load->open; i++)
		r = exchange(&load->lines[i], 0, err);
	while (r == 0 && (load->phase != DRAINING || in_flight(load) > 0)) {
		struct epoll_event events[OPTIONS_CONNECTIONS_MAX];
		int count = epoll_wait(load->epoll, events, OPTIONS_CONNECTIONS_MAX, WAIT_MS);

		load->now = clock_of(CLOCK_MONOTONIC);
		for (int i = 0; r == 0 && i < count; i++)
			r = exchange(events[i].data.ptr, events[i].events, err);
		if (r == 0)
			r = turn_phase(load, err);
	}
	return r;
}

int nfs_load(const struct options *options, struct result *ret_result, struct err *err)
{
	struct load load = {.options = options, .epoll = -1};
	int r;

	if (strcmp(options->nfs, "prepare") == 0)
		return nfs_client_prepare(options, err);
	load.operation = find_operation(options->nfs);
	if (!load.operation)
		return err_set(err, -EINVAL,
			       "%s is no operation: prepare, null, getattr, lookup, "
			       "create, read, write, write-sync",
			       options->nfs);
	r = open_all(&load, err);
	if (r == 0)
		r = run(&load, err);
	close_all(&load);
	if (r == 0)
		*ret_result = load.result;
	return r;
}
