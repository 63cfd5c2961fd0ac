/* SPDX-License-Identifier: Apache-2.0 */
/* trace_replay: a recorded guest (trace.h) once more, on the engine over simulated disks, with the
 * power going at chosen moments. What the recovered volumes hold is written out as images, for
 * whoever knows what has to be in them (tests/integration/guest_trace_test.py).
 *
 *	trace_replay TRACE FOLDER [--seed S] [--points N] [--states N] [--lose] [--end]
 *		[--without LINE | --no-flush | --late-writes]
 *
 * A crash point is an event behind the mark "start": a mark, where the guest has just been promised
 * something, a flush under way, when most is not durable yet, or any. At each, N states: what was
 * not flushed is lost, kept or torn (with --lose: all of it is lost, and all points are marks). One
 * in four recoveries loses the power, too. --end replays all of it,
 * without a crash, and checks the pool. For each state one line
 *	state POINT event E marks M lost L depth D replayed R
 * and FOLDER/NAME.img for each volume; then one line is waited for, and no line is the end.
 * --without leaves out an ordering line of volumes/order.h, --no-flush answers flushes and forgets
 * them, --late-writes acknowledges some writes long before it does them: what the images are held
 * against has to notice each. */
#include <assert.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/log.h"
#include "tests/sim/mutation.h"
#include "tests/sim/rng.h"
#include "tests/sim/sim_world.h"
#include "tests/sim/trace.h"
#include "volumes/pool.h"
#include "volumes/volume.h"

#define STEPS_MAX   4000000u
#define DEVICE_SIZE (384ull << 20)
#define CHUNK       VOLUME_TRANSFER_MAX
#define LATE        24u /* events a late write is late */
#define POINTS_MAX  4096u
#define DEPTH_MAX   3u

struct options {
	const char *trace, *folder, *without;
	uint64_t seed;
	unsigned points, states;
	bool lose, end, no_flush, late_writes;
};

/* One traced command, as requests of at most VOLUME_TRANSFER_MAX. */
struct command {
	struct replay *replay;
	const struct trace_event *event;
	struct message message;
	unsigned left; /* requests that are not done */
	bool late, done;
	uint8_t *data;
	struct part {
		struct volume_request request;
		struct command *command;
		struct iovec iov;
	} part[];
};

struct replay {
	struct options options;
	struct trace trace;
	struct rng rng;
	struct sim *sim;
	struct loop *loops[3]; /* 0: the control loop */
	struct pool *pool;
	struct volume *volumes[TRACE_VOLUMES];
	struct command **commands; /* by id */
	size_t late[LATE];         /* events that are done later, 0: none */
	bool *touched[TRACE_VOLUMES];
	unsigned devices, checksum;
	bool mirror;
	unsigned marks, point, volume; /* volume: of the call or read under way */
	size_t event;
	/* one call of the pool, or one read, at a time */
	struct pool_call call;
	struct message message;
	void (*start)(struct replay *replay);
	bool done;
	int result;
	struct volume_request read;
	struct iovec read_iov;
	struct pool_check_report report;
};

static const char *const paths[] = {"/sim/pv0", "/sim/pv1"};

static void __attribute__((format(printf, 2, 3), noreturn))
fail(const struct replay *replay, const char *format, ...)
{
	va_list args;

	printf("damage: ");
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	printf(" (seed %" PRIu64 ", event %zu, point %u)\n", replay->options.seed, replay->event,
	       replay->point);
	fflush(stdout);
	_exit(1);
}

/* ---- calls ---- */
static void call_done(struct pool_call *call, int result)
{
	struct replay *replay = container_of(call, struct replay, call);

	replay->result = result;
	replay->done = true;
}

static void call_run(struct message *message)
{
	struct replay *replay = container_of(message, struct replay, message);

	replay->start(replay);
}

static void call(struct replay *replay, void (*start)(struct replay *replay))
{
	replay->call = (struct pool_call){.done = call_done};
	replay->done = false;
	replay->start = start;
	loop_post(replay->loops[0], &replay->message, call_run);
}

static void call_wait(struct replay *replay, const char *what)
{
	if (!sim_until(replay->sim, &replay->done, STEPS_MAX))
		fail(replay, "%s never ended", what);
	if (replay->result != 0)
		fail(replay, "%s: %s (%s)", what, replay->call.err.text, strerror(-replay->result));
}

static void start_create(struct replay *replay)
{
	static struct pool_device devices[2];
	static struct pool_create_options options = {
	    .name = "traced", .devices = devices, .journal_bytes = 4 << 20};

	for (unsigned i = 0; i < replay->devices; i++)
		devices[i] = (struct pool_device){paths[i], DEVICE_SIZE};
	options.device_count = replay->devices;
	pool_create(&world_sim, replay->loops[0], &options, &replay->call);
}

static void start_open(struct replay *replay)
{
	pool_open(&world_sim, replay->loops[0], paths, replay->devices, &replay->call);
}

static void start_volume(struct replay *replay)
{
	struct volume_spec spec = {.name = replay->trace.name[replay->volume],
				   .size_bytes = replay->trace.size[replay->volume],
				   .checksum = (enum volume_checksum)replay->checksum,
				   .mirror = replay->mirror};

	volume_create(replay->pool, &spec, &replay->call);
}

static void start_checkpoint(struct replay *replay)
{
	pool_checkpoint(replay->pool, &replay->call);
}

static void finding(struct pool_check_report *report, const char *sentence)
{
	(void)report;
	printf("# pool_check: %s\n", sentence);
}

static void start_check(struct replay *replay)
{
	replay->report = (struct pool_check_report){.finding = finding};
	pool_check(replay->pool, replay->options.end, &replay->report, &replay->call);
}

/* ---- a world ---- */
static void world_enter(struct replay *replay, struct sim *sim)
{
	replay->sim = sim;
	sim_enter(sim);
	for (unsigned i = 0; i < 3; i++)
		replay->loops[i] = sim_loop(sim);
}

/* What the volumes are on: drawn, as the simulator's other runs have it. */
static void world_make(struct replay *replay)
{
	world_enter(replay, sim_create(rng_next(&replay->rng)));
	replay->checksum = (unsigned)rng_below(&replay->rng, 3);
	replay->devices = (unsigned)rng_range(&replay->rng, 1, 2);
	replay->mirror = replay->devices == 2 && replay->checksum != VOLUME_CHECKSUM_OFF &&
			 rng_one_in(&replay->rng, 2);
	for (unsigned i = 0; i < replay->devices; i++)
		sim_disk_create(replay->sim, paths[i], DEVICE_SIZE);
	call(replay, start_create);
	call_wait(replay, "pool_create");
	replay->pool = replay->call.pool;
	for (unsigned i = 0; i < replay->trace.volumes; i++) {
		replay->volume = i;
		call(replay, start_volume);
		call_wait(replay, "volume_create");
		replay->volumes[i] = replay->call.volume;
	}
	printf("world devices %u mirror %d checksum %u\n", replay->devices, replay->mirror,
	       replay->checksum);
}

/* ---- commands ---- */
static void part_done(struct volume_request *request, int result)
{
	struct part *part = container_of(request, struct part, request);
	struct command *command = part->command;

	if (result != 0)
		fail(command->replay, "command %u of event %c: %s", command->event->id,
		     (int)command->event->kind, strerror(-result));
	if (--command->left == 0)
		command->done = true;
}

static void command_submit(struct message *message)
{
	struct command *command = container_of(message, struct command, message);
	unsigned parts = command->left;

	for (unsigned i = 0; i < parts; i++)
		volume_submit(command->replay->volumes[command->event->volume],
			      &command->part[i].request);
}

static void command_lay_out(struct command *command)
{
	const struct trace_event *event = command->event;
	bool write = event->kind == TRACE_WRITE;
	uint64_t length = event->kind == TRACE_FLUSH ? 0 : event->length, at = 0;

	if (write) {
		command->data = aligned_alloc(4096, (length + 4095) / 4096 * 4096);
		assert(command->data);
		for (uint64_t i = 0; i < length; i += event->payload)
			memcpy(command->data + i, event->data, event->payload);
	}
	for (unsigned i = 0; i < command->left; i++) {
		struct part *part = &command->part[i];
		uint64_t some = write && length - at > CHUNK ? CHUNK : length - at;

		part->command = command;
		part->iov = (struct iovec){write ? command->data + at : NULL, (size_t)some};
		part->request = (struct volume_request){
		    .op = write                        ? VOLUME_WRITE
			  : event->kind == TRACE_FLUSH ? VOLUME_FLUSH
						       : VOLUME_DISCARD,
		    .flags = event->flags & TRACE_FUA && !command->replay->options.no_flush
				 ? VOLUME_FUA
				 : 0,
		    .offset = event->kind == TRACE_FLUSH ? 0 : event->offset + at,
		    .length = some,
		    .iov = &part->iov,
		    .iov_count = write,
		    .done = part_done,
		};
		at += some;
	}
}

static struct command *command_make(struct replay *replay, const struct trace_event *event)
{
	unsigned parts = event->kind == TRACE_WRITE ? (event->length + CHUNK - 1) / CHUNK : 1;
	struct command *command = calloc(1, sizeof(*command) + parts * sizeof(struct part));

	assert(command);
	command->replay = replay;
	command->event = event;
	command->left = parts;
	command_lay_out(command);
	for (uint64_t at = event->offset / CHUNK;
	     event->kind == TRACE_WRITE && at * CHUNK < event->offset + event->length; at++)
		replay->touched[event->volume][at] = true;
	return command;
}

static void command_free(struct command *command)
{
	if (command)
		free(command->data);
	free(command);
}

static void command_start(struct replay *replay, struct command *command)
{
	/* One session's commands come from one loop; two volumes may have different ones. */
	loop_post(replay->loops[1 + command->event->volume % 2], &command->message, command_submit);
}

static void command_wait(struct replay *replay, struct command *command)
{
	if (!sim_until(replay->sim, &command->done, STEPS_MAX))
		fail(replay, "command %u of event %c never ended", command->event->id,
		     (int)command->event->kind);
}

/* A command is sent on; what a broken cache would do is done here. */
static void event_command(struct replay *replay, const struct trace_event *event)
{
	struct command *command = command_make(replay, event);

	replay->commands[event->id] = command;
	if (replay->options.no_flush && event->kind == TRACE_FLUSH) {
		command->done = true;
	} else if (replay->options.late_writes && event->kind == TRACE_WRITE &&
		   rng_one_in(&replay->rng, 3) && !replay->late[replay->event % LATE]) {
		command->late = true;
		replay->late[replay->event % LATE] = replay->event;
	} else {
		command_start(replay, command);
	}
}

static void event_ack(struct replay *replay, const struct trace_event *event)
{
	struct command *command = replay->commands[event->id];

	if (!command)
		fail(replay, "an acknowledgement of nothing");
	if (command->late)
		return;
	command_wait(replay, command);
	command_free(command);
	replay->commands[event->id] = NULL;
}

static void late_write(struct replay *replay)
{
	size_t *slot = &replay->late[replay->event % LATE];
	struct command *command;

	if (!*slot || *slot == replay->event)
		return;
	command = replay->commands[replay->trace.events[*slot].id];
	*slot = 0;
	command_start(replay, command);
	command_wait(replay, command);
}

static void event_play(struct replay *replay, const struct trace_event *event)
{
	late_write(replay);
	switch (event->kind) {
	case TRACE_WRITE:
	case TRACE_DISCARD:
	case TRACE_FLUSH:
		event_command(replay, event);
		break;
	case TRACE_ACK:
		event_ack(replay, event);
		break;
	case TRACE_MARK:
		replay->marks++;
		break;
	}
	/* The guest thinks; now and then for long. */
	for (uint64_t i = rng_below(&replay->rng, rng_one_in(&replay->rng, 60) ? 400 : 4); i; i--)
		sim_step(replay->sim);
}

/* ---- what is there ---- */
static void read_done(struct volume_request *request, int result)
{
	struct replay *replay = container_of(request, struct replay, read);

	replay->result = result;
	replay->done = true;
}

static void read_run(struct message *message)
{
	struct replay *replay = container_of(message, struct replay, message);

	volume_submit(replay->volumes[replay->volume], &replay->read);
}

static void read_chunk(struct replay *replay, unsigned volume, uint64_t offset, uint8_t *data,
		       uint64_t length)
{
	replay->volume = volume;
	replay->read_iov = (struct iovec){data, (size_t)length};
	replay->read = (struct volume_request){
	    .op = VOLUME_READ,
	    .offset = offset,
	    .length = length,
	    .iov = &replay->read_iov,
	    .iov_count = 1,
	    .done = read_done,
	};
	replay->done = false;
	loop_post(replay->loops[1], &replay->message, read_run);
	if (!sim_until(replay->sim, &replay->done, STEPS_MAX))
		fail(replay, "a read never ended");
	if (replay->result != 0)
		fail(replay, "volume %s, byte %" PRIu64 ": %s", replay->trace.name[volume], offset,
		     strerror(-replay->result));
}

static bool all_zero(const uint8_t *data, size_t length)
{
	return data[0] == 0 && memcmp(data, data + 1, length - 1) == 0;
}

/* Sparse where it is zero. Chunks that no write has touched are looked at now and then. */
static void image_write(struct replay *replay, unsigned volume, uint8_t *data)
{
	uint64_t size = replay->trace.size[volume];
	char path[512];
	int file;

	snprintf(path, sizeof(path), "%s/%s.img", replay->options.folder,
		 replay->trace.name[volume]);
	file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (file < 0 || ftruncate(file, (off_t)size) != 0)
		fail(replay, "%s: can not be written", path);
	for (uint64_t at = 0; at < size; at += CHUNK) {
		uint64_t length = size - at < CHUNK ? size - at : CHUNK;

		if (!replay->touched[volume][at / CHUNK] && !rng_one_in(&replay->rng, 16))
			continue;
		read_chunk(replay, volume, at, data, length);
		if (!replay->touched[volume][at / CHUNK] && !all_zero(data, length))
			fail(replay, "volume %s, byte %" PRIu64 ": not zero, never written",
			     replay->trace.name[volume], at);
		for (uint64_t i = 0; i < length; i += VOLUME_SLOT) {
			if (!all_zero(data + i, VOLUME_SLOT) &&
			    pwrite(file, data + i, VOLUME_SLOT, (off_t)(at + i)) != VOLUME_SLOT)
				fail(replay, "%s: can not be written", path);
		}
	}
	close(file);
}

static void images_write(struct replay *replay)
{
	uint8_t *data = aligned_alloc(4096, CHUNK);

	assert(data);
	for (unsigned i = 0; i < replay->trace.volumes; i++)
		image_write(replay, i, data);
	free(data);
}

static void structures_check(struct replay *replay)
{
	call(replay, start_checkpoint);
	call_wait(replay, "pool_checkpoint");
	call(replay, start_check);
	call_wait(replay, "pool_check");
	if (replay->report.errors > 0 || replay->report.leaked_slots > 0)
		fail(replay, "pool_check: %" PRIu64 " errors, %" PRIu64 " slots leaked",
		     replay->report.errors, replay->report.leaked_slots);
	if (sim_complaint(replay->sim))
		fail(replay, "%s", sim_complaint(replay->sim));
}

/* ---- crashes ---- */
static unsigned plan_draw(const struct replay *replay, struct rng *rng, uint8_t *fates,
			  unsigned count)
{
	unsigned kind = replay->options.lose ? 0 : (unsigned)rng_below(rng, 6);
	unsigned odds = (unsigned)(const unsigned[]){10, 50, 90}[rng_below(rng, 3)], lost = 0;
	unsigned pick = count ? (unsigned)rng_below(rng, count + 1) : 0;
	bool torn = !replay->options.lose && rng_one_in(rng, 3);

	for (unsigned i = 0; i < count; i++) {
		bool keep = rng_below(rng, 100) < odds;

		if (kind == 0)
			keep = false;
		else if (kind == 1)
			keep = i < pick;
		else if (kind == 2)
			keep = i != pick;
		fates[i] = keep ? SIM_KEEP : SIM_DROP;
		if (keep && torn && rng_one_in(rng, 4))
			fates[i] = SIM_TEAR;
		lost += fates[i] != SIM_KEEP;
	}
	return lost;
}

static unsigned power_loss(struct replay *replay, struct rng *rng)
{
	unsigned count = sim_outstanding(replay->sim), lost;
	uint8_t *fates = malloc(count + 1);
	struct sim_plan plan = {.fates = fates, .count = count, .seed = rng_next(rng)};

	assert(fates);
	lost = plan_draw(replay, rng, fates, count);
	world_enter(replay, sim_crash(replay->sim, &plan));
	free(fates);
	return lost;
}

/* Until the pool is open: true; false when the power went once more. */
static bool recover(struct replay *replay, uint64_t ios)
{
	uint64_t steps = 0;

	call(replay, start_open);
	while (!replay->done) {
		if (!sim_step(replay->sim) || ++steps > STEPS_MAX)
			fail(replay, "pool_open never ended");
		if (sim_io_count(replay->sim) >= ios)
			return false;
	}
	call_wait(replay, "pool_open");
	return true;
}

static void volumes_find(struct replay *replay)
{
	replay->pool = replay->call.pool;
	for (unsigned i = 0; i < replay->trace.volumes; i++) {
		replay->volumes[i] = pool_find_volume(replay->pool, replay->trace.name[i]);
		if (!replay->volumes[i])
			fail(replay, "volume %s is lost", replay->trace.name[i]);
	}
}

/* In a process of its own. */
static void __attribute__((noreturn)) crash_state(struct replay *replay, uint64_t seed)
{
	struct rng rng = {seed};
	unsigned lost = power_loss(replay, &rng), depth = 1;
	struct pool_info info;

	while (!recover(replay, depth < DEPTH_MAX && rng_one_in(&rng, 4) ? rng_range(&rng, 1, 60)
									 : UINT64_MAX)) {
		lost += power_loss(replay, &rng);
		depth++;
	}
	volumes_find(replay);
	pool_get_info(replay->pool, &info);
	if (info.read_only)
		fail(replay, "read-only after recovery: %s", info.read_only_reason);
	replay->rng.state = rng_next(&rng);
	images_write(replay);
	structures_check(replay);
	printf("state %u event %zu marks %u lost %u depth %u replayed %" PRIu64 "\n", replay->point,
	       replay->event, replay->marks, lost, depth, info.replayed_records);
	fflush(stdout);
	_exit(0);
}

/* Whoever looks at the images says when they may go. */
static void answer_wait(void)
{
	char answer[16];

	fflush(stdout);
	if (!fgets(answer, sizeof(answer), stdin))
		_exit(0);
}

static void crash_here(struct replay *replay)
{
	for (uint64_t i = rng_below(&replay->rng, 16); i; i--)
		sim_step(replay->sim);
	for (unsigned i = 0; i < replay->options.states; i++) {
		uint64_t seed = rng_next(&replay->rng);
		int status = 0;
		pid_t child;

		fflush(stdout);
		child = fork();
		if (child == 0)
			crash_state(replay, seed);
		if (child < 0 || waitpid(child, &status, 0) != child)
			fail(replay, "no process for a crash state");
		if (status != 0 && !WIFEXITED(status))
			printf("damage: signal %d (seed %" PRIu64 ", event %zu, point %u)\n",
			       WTERMSIG(status), replay->options.seed, replay->event,
			       replay->point);
		answer_wait();
	}
	replay->point++;
}

/* ---- all of it ---- */
static bool is_mark(const struct trace_event *event, const char *text)
{
	return event->kind == TRACE_MARK && event->payload == strlen(text) &&
	       memcmp(event->data, text, event->payload) == 0;
}

static int compare(const void *one, const void *other)
{
	const size_t *a = one, *b = other;

	return *a < *b ? -1 : *a > *b;
}

static unsigned points_draw(struct replay *replay, size_t *points)
{
	const struct trace *trace = &replay->trace;
	unsigned count = replay->options.points;
	size_t start = 0, drawn = 0;

	for (size_t i = 0; i < trace->count && !start; i++)
		start = is_mark(&trace->events[i], "start") ? i : 0;
	if (!start || start + 1 >= trace->count)
		fail(replay, "the trace has no start");
	for (uint64_t tries = 0; drawn < count && tries < 100000; tries++) {
		size_t at = rng_range(&replay->rng, start + 1, trace->count - 1);
		unsigned wanted = replay->options.lose ? 0 : drawn % 3;

		if (wanted == 2 ||
		    trace->events[at].kind == (wanted == 0 ? TRACE_MARK : TRACE_FLUSH))
			points[drawn++] = at;
	}
	qsort(points, drawn, sizeof(*points), compare);
	return (unsigned)drawn;
}

static void play(struct replay *replay)
{
	static size_t points[POINTS_MAX];
	unsigned count = replay->options.points ? points_draw(replay, points) : 0;

	for (size_t i = 0; i < replay->trace.count; i++) {
		replay->event = i;
		event_play(replay, &replay->trace.events[i]);
		while (replay->point < count && points[replay->point] == i)
			crash_here(replay);
		if (count && replay->point == count && !replay->options.end)
			return;
	}
	if (!replay->options.end)
		return;
	for (uint32_t id = 0; id < replay->trace.ids; id++) {
		if (replay->commands[id])
			command_wait(replay, replay->commands[id]);
		command_free(replay->commands[id]);
	}
	images_write(replay);
	structures_check(replay);
	printf("end marks %u events %zu ios %" PRIu64 "\n", replay->marks, replay->trace.count,
	       sim_io_count(replay->sim));
	answer_wait();
}

static bool options_read(struct options *options, int argc, char **argv)
{
	*options = (struct options){.seed = 1, .states = 1};
	for (int i = 1; i < argc; i++) {
		const char *next = i + 1 < argc ? argv[i + 1] : "";

		if (strcmp(argv[i], "--lose") == 0)
			options->lose = true;
		else if (strcmp(argv[i], "--end") == 0)
			options->end = true;
		else if (strcmp(argv[i], "--no-flush") == 0)
			options->no_flush = true;
		else if (strcmp(argv[i], "--late-writes") == 0)
			options->late_writes = true;
		else if (strcmp(argv[i], "--seed") == 0)
			options->seed = strtoull(argv[++i] ? next : "", NULL, 0);
		else if (strcmp(argv[i], "--points") == 0)
			options->points = (unsigned)strtoul(argv[++i] ? next : "", NULL, 0);
		else if (strcmp(argv[i], "--states") == 0)
			options->states = (unsigned)strtoul(argv[++i] ? next : "", NULL, 0);
		else if (strcmp(argv[i], "--without") == 0)
			options->without = argv[++i] ? next : "";
		else if (!options->trace)
			options->trace = argv[i];
		else
			options->folder = argv[i];
	}
	return options->folder && options->points <= POINTS_MAX;
}

int main(int argc, char **argv)
{
	static struct replay replay;
	const char *wrong;

	if (!options_read(&replay.options, argc, argv)) {
		fprintf(stderr, "usage: trace_replay TRACE FOLDER [options]: see its source\n");
		return 2;
	}
	log_set_level(LOG_LEVEL_ERROR);
	wrong = trace_load(&replay.trace, replay.options.trace);
	if (wrong)
		fail(&replay, "%s: %s", replay.options.trace, wrong);
	replay.rng.state = replay.options.seed;
	replay.commands = calloc(replay.trace.ids + 1, sizeof(*replay.commands));
	assert(replay.commands);
	for (unsigned i = 0; i < replay.trace.volumes; i++) {
		replay.touched[i] = calloc(replay.trace.size[i] / CHUNK + 1, sizeof(bool));
		assert(replay.touched[i]);
	}
	if (replay.options.without && !mutation_disable(replay.options.without))
		fail(&replay, "this is no mutation build");
	world_make(&replay);
	play(&replay);
	if (replay.options.without)
		printf("asked %lu\n", mutation_hits());
	fflush(stdout);
	_exit(0);
}
