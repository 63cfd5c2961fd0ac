/* SPDX-License-Identifier: Apache-2.0 */
/* A run: open the connections, warm up, measure, drain. One thread does it all; with one
 * connection it simply blocks in recv(), with several it waits in epoll. */
#include "bench/drive.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "bench/connection.h"
#include "bench/payload.h"
#include "bench/picker.h"

#define WAIT_MS 100 /* how often the clock is looked at when nothing comes */

enum phase { WARMING, MEASURING, DRAINING };

struct drive {
	const struct options *options;
	struct connection *connections;
	struct connection_driver driver;
	unsigned open; /* connections */
	int epoll;
	enum phase phase;
	uint64_t now, phase_start, last_answer;

	struct picker picker;
	uint64_t first_block; /* of the span, in I/Os from LUN block 0 */
	bool held, exhausted; /* a picked block waits for the I/O that is on it */
	uint64_t held_block;
	bool held_write;

	/* verify: by block of the span; the last acknowledged write of ours, and an I/O on it */
	uint64_t *generations;
	bool *busy;
	uint64_t generation;

	struct result result;
	uint64_t client_cpu_start;
	struct process_usage server_start;
};

static uint64_t clock_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static uint64_t own_cpu_ns(void)
{
	struct timespec used;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
	return (uint64_t)used.tv_sec * 1000000000 + (uint64_t)used.tv_nsec;
}

/* --- what the connections ask --- */

static uint64_t task_lba(const struct drive *drive, const struct task *task)
{
	return task->block * (drive->options->block_bytes / PAYLOAD_BLOCK);
}

/* While verifying, one I/O at a time is on a block: then what a read must bring is certain. */
static bool claim(struct drive *drive, struct task *task, uint64_t block)
{
	if (drive->busy[block]) {
		drive->held = true;
		drive->held_block = block;
		drive->held_write = task->write;
		return false;
	}
	drive->busy[block] = true;
	task->generation = drive->generations[block];
	if (task->write) {
		task->generation = ++drive->generation;
		payload_fill(task->data, drive->options->block_bytes, task_lba(drive, task),
			     task->generation);
	}
	return true;
}

static bool next(void *context, struct task *task)
{
	struct drive *drive = context;
	uint64_t block = drive->held_block;

	if (drive->phase == DRAINING || drive->exhausted)
		return false;
	if (drive->held) {
		drive->held = false;
		task->write = drive->held_write;
	} else if (!picker_next(&drive->picker, &block, &task->write)) {
		drive->exhausted = true;
		return false;
	}
	task->block = drive->first_block + block;
	task->started = drive->now;
	return drive->busy == NULL || claim(drive, task, block);
}

static int verify_read(struct drive *drive, const struct task *task, uint64_t known,
		       struct err *err)
{
	enum payload_state state =
	    payload_check(task->data, drive->options->block_bytes, task_lba(drive, task),
			  known != 0 ? known : PAYLOAD_ANY, err);

	if (state == PAYLOAD_BAD)
		return err->code;
	if (state == PAYLOAD_UNWRITTEN && known != 0)
		return err_set(err, -EILSEQ, "block %ju reads as zeros, write %ju was lost",
			       (uintmax_t)task_lba(drive, task), (uintmax_t)known);
	drive->result.verified += state == PAYLOAD_OK;
	drive->result.unwritten += state == PAYLOAD_UNWRITTEN;
	return 0;
}

static int release(struct drive *drive, const struct task *task, struct err *err)
{
	uint64_t block = task->block - drive->first_block;

	drive->busy[block] = false;
	if (!task->write)
		return verify_read(drive, task, drive->generations[block], err);
	drive->generations[block] = task->generation;
	return 0;
}

static void arrived(void *context)
{
	struct drive *drive = context;

	drive->now = drive->last_answer = clock_ns();
}

static int completed(void *context, struct task *task, struct err *err)
{
	struct drive *drive = context;

	if (drive->phase == MEASURING) {
		drive->result.ios++;
		histogram_add(&drive->result.latency, drive->now - task->started);
	}
	return drive->busy != NULL ? release(drive, task, err) : 0;
}

/* --- set-up --- */

static int choose_span(struct drive *drive, const struct session *session, struct err *err)
{
	const struct options *options = drive->options;
	uint64_t size = session->blocks * session->block_bytes;

	if (options->block_bytes % session->block_bytes != 0)
		return err_set(err, -EINVAL, "the LUN has blocks of %u bytes",
			       session->block_bytes);
	if (options->offset_bytes >= size ||
	    (options->span_bytes != 0 && options->span_bytes > size - options->offset_bytes))
		return err_set(err, -EINVAL, "the span ends behind the LUN, which has %ju bytes",
			       (uintmax_t)size);
	uint64_t span =
	    options->span_bytes != 0 ? options->span_bytes : size - options->offset_bytes;
	uint64_t blocks = span / options->block_bytes;
	if (blocks == 0)
		return err_set(err, -EINVAL, "the span is smaller than one I/O");
	drive->first_block = options->offset_bytes / options->block_bytes;
	picker_init(&drive->picker, options, blocks);
	if (!options->verify)
		return 0;
	drive->busy = calloc(blocks, sizeof(*drive->busy));
	drive->generations = calloc(blocks, sizeof(*drive->generations));
	if (drive->busy == NULL || drive->generations == NULL)
		return err_set(err, -ENOMEM, "no memory to verify %ju blocks", (uintmax_t)blocks);
	return 0;
}

static int watch(struct drive *drive, struct connection *connection, int operation, struct err *err)
{
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};

	if (connection->blocked)
		event.events |= EPOLLOUT;
	if (epoll_ctl(drive->epoll, operation, connection->session.fd, &event) < 0)
		return err_set(err, -errno, "epoll: %s", strerror(errno));
	return 0;
}

static int open_one(struct drive *drive, struct err *err)
{
	struct connection *connection = &drive->connections[drive->open];
	struct session session;
	struct timeval wait = {.tv_usec = WAIT_MS * 1000};
	int r = session_open(drive->options, drive->open, &session, err);

	if (r < 0)
		return r;
	r = connection_open(connection, &session, &drive->driver, err);
	drive->open++;
	if (r == 0 && drive->open == 1)
		r = choose_span(drive, &session, err);
	if (r == 0 && setsockopt(session.fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait)) < 0)
		r = err_set(err, -errno, "a socket can not be set: %s", strerror(errno));
	return r < 0 ? r : watch(drive, connection, EPOLL_CTL_ADD, err);
}

static int open_all(struct drive *drive, struct err *err)
{
	const struct options *options = drive->options;
	int r = 0;

	drive->driver = (struct connection_driver){
	    .next = next,
	    .arrived = arrived,
	    .completed = completed,
	    .context = drive,
	    .keep_data = options->verify,
	    .fua = options->fua,
	    .io_bytes = (uint32_t)options->block_bytes,
	    .lun = options->lun,
	    .depth = (unsigned)options->depth,
	};
	drive->connections = calloc(options->connections, sizeof(*drive->connections));
	drive->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (drive->connections == NULL || drive->epoll < 0)
		return err_set(err, -ENOMEM, "no memory for %ju connections",
			       (uintmax_t)options->connections);
	while (r == 0 && drive->open < options->connections)
		r = open_one(drive, err);
	return r;
}

static void close_all(struct drive *drive)
{
	for (unsigned i = 0; i < drive->open; i++)
		connection_close(&drive->connections[i]);
	if (drive->epoll >= 0)
		close(drive->epoll);
	free(drive->connections);
	free(drive->busy);
	free(drive->generations);
}

/* --- phases --- */

static int server_usage(const struct drive *drive, struct process_usage *ret_usage, struct err *err)
{
	if (drive->options->server_pid == 0)
		return 0;
	return process_usage((pid_t)drive->options->server_pid, ret_usage, err);
}

static int start_measuring(struct drive *drive, struct err *err)
{
	drive->phase = MEASURING;
	drive->phase_start = drive->now;
	drive->client_cpu_start = own_cpu_ns();
	return server_usage(drive, &drive->server_start, err);
}

static int stop_measuring(struct drive *drive, struct err *err)
{
	struct process_usage *usage = &drive->result.server;
	int r = server_usage(drive, usage, err);

	drive->phase = DRAINING;
	drive->result.elapsed_ns = drive->now - drive->phase_start;
	drive->result.client_cpu_ns = own_cpu_ns() - drive->client_cpu_start;
	usage->cpu_ns -= drive->server_start.cpu_ns;
	usage->switches -= drive->server_start.switches;
	return r;
}

static unsigned in_flight(const struct drive *drive)
{
	unsigned count = 0;

	for (unsigned i = 0; i < drive->open; i++)
		count += connection_in_flight(&drive->connections[i]);
	return count;
}

static bool measured_enough(const struct drive *drive)
{
	if (drive->exhausted)
		return in_flight(drive) == 0;
	if (drive->options->once)
		return false;
	if (drive->options->count != 0)
		return drive->result.ios >= drive->options->count;
	return drive->now - drive->phase_start >= drive->options->run_ns;
}

static int turn_phase(struct drive *drive, struct err *err)
{
	if (drive->now - drive->last_answer > drive->options->limit_ns)
		return err_set(err, -ETIMEDOUT, "%u I/Os are in flight and none comes back",
			       in_flight(drive));
	if (drive->phase == WARMING && drive->now - drive->phase_start >= drive->options->warmup_ns)
		return start_measuring(drive, err);
	if (drive->phase == MEASURING && measured_enough(drive))
		return stop_measuring(drive, err);
	return 0;
}

/* --- the loop --- */

static int exchange(struct drive *drive, struct connection *connection, int flags, struct err *err)
{
	bool was_blocked = connection->blocked;
	int r = connection_receive(connection, flags, err);

	if (r == -EAGAIN)
		drive->now = clock_ns();
	else if (r < 0)
		return r;
	r = connection_send(connection, err);
	if (r == 0 && connection->blocked != was_blocked)
		r = watch(drive, connection, EPOLL_CTL_MOD, err);
	return r;
}

static int wait_many(struct drive *drive, struct err *err)
{
	struct epoll_event events[OPTIONS_CONNECTIONS_MAX];
	int count = epoll_wait(drive->epoll, events, OPTIONS_CONNECTIONS_MAX, WAIT_MS), r = 0;

	drive->now = clock_ns();
	for (int i = 0; r == 0 && i < count; i++)
		r = exchange(drive, events[i].data.ptr, MSG_DONTWAIT, err);
	return r;
}

static int run(struct drive *drive, struct err *err)
{
	int r = 0;

	drive->now = drive->phase_start = drive->last_answer = clock_ns();
	r = turn_phase(drive, err);
	for (unsigned i = 0; r == 0 && i < drive->open; i++) {
		r = connection_send(&drive->connections[i], err);
		if (r == 0)
			r = watch(drive, &drive->connections[i], EPOLL_CTL_MOD, err);
	}
	while (r == 0 && (drive->phase != DRAINING || in_flight(drive) > 0)) {
		if (drive->open == 1 && !drive->connections[0].blocked)
			r = exchange(drive, &drive->connections[0], 0, err);
		else
			r = wait_many(drive, err);
		if (r == 0)
			r = turn_phase(drive, err);
	}
	return r;
}

int drive(const struct options *options, struct result *ret_result, struct err *err)
{
	struct drive drive = {.options = options, .epoll = -1};
	int r = open_all(&drive, err);

	if (r == 0)
		r = run(&drive, err);
	close_all(&drive);
	if (r == 0)
		*ret_result = drive.result;
	return r;
}
