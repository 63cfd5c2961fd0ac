/* SPDX-License-Identifier: Apache-2.0 */
/* One leg of the kill -9 soak: verify what the last leg left on a LUN, then write to it until the
 * server dies (or the time is up), keeping in a state file what the LUN may hold afterwards.
 *
 *   soak_load iscsi://HOST:PORT/IQN/LUN STATE-FILE SEED SECONDS
 *
 * Exit 0: the verification passed (and the load ended with the server or the time); 1: data that
 * was acknowledged as durable is lost, or data that was never written came back; 2: set-up.
 *
 * Every sector written carries {lba, sequence, check}. For each sector the state file has the
 * sequence that is durable (FUA, or a SYNCHRONIZE CACHE submitted after its status) and every
 * later one that was submitted: after a crash exactly these may be read. No two commands in
 * flight touch the same sector, so the order of sequences is the order of the data. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <iscsi/iscsi.h>
#include <iscsi/scsi-lowlevel.h>

#define SECTORS     16384u /* 8 MiB at the front of the LUN */
#define SECTOR      512u
#define LATER_MAX   24u
#define DEPTH       16u
#define SPAN_MAX    128u
#define ZERO        (1ull << 63) /* flag in a sequence: the sector was unmapped, reads as zeros */
#define INITIATOR   "iqn.2026-11.org.granary:soak"
#define VERIFY_SPAN 256u

struct sector {
	uint64_t durable;
	uint64_t later[LATER_MAX];
	uint32_t count;
	uint32_t busy;
};

struct state {
	uint64_t sequence;
	uint64_t acknowledged, made_durable; /* commands, for the report */
	struct sector sector[SECTORS];
};

enum kind { WRITE, WRITE_FUA, UNMAP, FLUSH };

struct command {
	enum kind kind;
	bool in_flight, acknowledged;
	uint64_t sequence, flush_mark;
	uint32_t lba, count;
	uint8_t data[SPAN_MAX * SECTOR];
};

/* Acknowledged and not yet durable: becomes so with a flush that was submitted later. */
struct pending {
	uint64_t sequence, mark;
	uint32_t lba, count;
};

static struct state *state;
static struct iscsi_context *iscsi;
static int lun;
static struct command commands[DEPTH];
static struct pending *pending;
static size_t pending_count, pending_room;
static uint64_t mark; /* counts acknowledgements */
static bool dead;
static unsigned seed;

static uint64_t check_of(uint64_t lba, uint64_t sequence)
{
	return (lba + 1) * 0x9e3779b97f4a7c15ull ^ sequence * 0xc2b2ae3d27d4eb4full;
}

static void fill(uint8_t *data, uint64_t lba, uint64_t sequence)
{
	uint64_t *words = (uint64_t *)(void *)data;

	for (unsigned i = 0; i < SECTOR / 8; i += 4) {
		words[i] = lba;
		words[i + 1] = sequence;
		words[i + 2] = check_of(lba, sequence);
		words[i + 3] = i;
	}
}

/* The sequence in a sector: ZERO for all zeros, UINT64_MAX when it is torn or foreign. */
static uint64_t sequence_in(const uint8_t *data, uint64_t lba)
{
	static const uint8_t zeros[SECTOR];
	uint8_t wanted[SECTOR] __attribute__((aligned(8)));
	uint64_t sequence;

	if (memcmp(data, zeros, SECTOR) == 0)
		return ZERO;
	memcpy(&sequence, data + 8, 8);
	fill(wanted, lba, sequence);
	return memcmp(data, wanted, SECTOR) == 0 ? sequence : UINT64_MAX;
}

static bool same(uint64_t stored, uint64_t seen)
{
	return seen == ZERO ? (stored & ZERO) != 0 : stored == seen;
}

static bool allowed(const struct sector *sector, uint64_t seen)
{
	if (same(sector->durable, seen))
		return true;
	for (uint32_t i = 0; i < sector->count; i++)
		if (same(sector->later[i], seen))
			return true;
	return false;
}

static void make_durable(uint32_t lba, uint32_t count, uint64_t sequence)
{
	for (uint32_t at = lba; at < lba + count; at++) {
		struct sector *sector = &state->sector[at];
		uint32_t kept = 0;

		if ((sector->durable & ~ZERO) > (sequence & ~ZERO))
			continue;
		sector->durable = sequence;
		for (uint32_t i = 0; i < sector->count; i++)
			if ((sector->later[i] & ~ZERO) > (sequence & ~ZERO))
				sector->later[kept++] = sector->later[i];
		sector->count = kept;
	}
	state->made_durable++;
}

static void flushed(uint64_t up_to)
{
	size_t kept = 0;

	for (size_t i = 0; i < pending_count; i++) {
		if (pending[i].mark <= up_to)
			make_durable(pending[i].lba, pending[i].count, pending[i].sequence);
		else
			pending[kept++] = pending[i];
	}
	pending_count = kept;
}

static void remember(const struct command *command)
{
	if (pending_count == pending_room) {
		pending_room = pending_room ? 2 * pending_room : 1024;
		pending = realloc(pending, pending_room * sizeof(*pending));
		if (!pending)
			exit(2);
	}
	pending[pending_count++] =
	    (struct pending){command->sequence, mark, command->lba, command->count};
}

static void finished(struct iscsi_context *context, int status, void *task, void *private_data)
{
	struct command *command = private_data;

	(void)context;
	if (task)
		scsi_free_scsi_task(task);
	command->in_flight = false;
	if (command->kind != FLUSH)
		for (uint32_t i = 0; i < command->count; i++)
			state->sector[command->lba + i].busy = 0;
	if (status != SCSI_STATUS_GOOD) {
		dead = true; /* the rest goes the same way; what was submitted stays possible */
		return;
	}
	state->acknowledged++;
	mark++;
	if (command->kind == FLUSH)
		flushed(command->flush_mark);
	else if (command->kind == WRITE_FUA)
		make_durable(command->lba, command->count, command->sequence);
	else
		remember(command);
}

static bool pick(struct command *command)
{
	command->count = rand_r(&seed) % 4 ? 1 + (uint32_t)rand_r(&seed) % 8
					   : 1 + (uint32_t)rand_r(&seed) % SPAN_MAX;
	command->lba = (uint32_t)rand_r(&seed) % (SECTORS - command->count);
	if (rand_r(&seed) % 2) { /* whole 4 KiB slots */
		command->lba &= ~7u;
		command->count = (command->count + 7) & ~7u;
	}
	if (command->lba + command->count > SECTORS || command->count > SPAN_MAX)
		return false;
	for (uint32_t i = 0; i < command->count; i++) {
		const struct sector *sector = &state->sector[command->lba + i];

		if (sector->busy || sector->count == LATER_MAX)
			return false;
	}
	return true;
}

static void submit(struct command *command)
{
	unsigned dice = (unsigned)rand_r(&seed) % 100;
	struct scsi_task *task;

	command->kind = dice < 55 ? WRITE : dice < 75 ? WRITE_FUA : dice < 88 ? UNMAP : FLUSH;
	if (command->kind != FLUSH && !pick(command))
		command->kind = FLUSH;
	command->flush_mark = mark;
	if (command->kind != FLUSH) {
		command->sequence = ++state->sequence | (command->kind == UNMAP ? ZERO : 0);
		for (uint32_t i = 0; i < command->count; i++) {
			struct sector *sector = &state->sector[command->lba + i];

			sector->busy = 1;
			sector->later[sector->count++] = command->sequence;
			fill(command->data + i * SECTOR, command->lba + i, command->sequence);
		}
	}
	if (command->kind == FLUSH) {
		task = iscsi_synchronizecache10_task(iscsi, lun, 0, 0, 0, 0, finished, command);
	} else if (command->kind == UNMAP) {
		struct unmap_list list = {.lba = command->lba, .num = command->count};

		task = iscsi_unmap_task(iscsi, lun, 0, 0, &list, 1, finished, command);
	} else {
		task = iscsi_write10_task(iscsi, lun, command->lba, command->data,
					  command->count * SECTOR, SECTOR, 0, 0,
					  command->kind == WRITE_FUA, 0, 0, finished, command);
	}
	command->in_flight = task != NULL;
	dead = dead || !task;
}

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void load(double seconds)
{
	double end = now() + seconds;

	while (!dead && now() < end) {
		struct pollfd poll_fd;

		for (unsigned i = 0; i < DEPTH && !dead; i++)
			if (!commands[i].in_flight)
				submit(&commands[i]);
		poll_fd.fd = iscsi_get_fd(iscsi);
		poll_fd.events = (short)iscsi_which_events(iscsi);
		if (poll(&poll_fd, 1, 100) < 0 || iscsi_service(iscsi, poll_fd.revents) < 0)
			dead = true;
	}
}

/* Who hears BUSY comes again, as initiators do: what the dead one held may not be taken over yet.
 */
static struct scsi_task *read_span(uint32_t lba)
{
	struct scsi_task *task = NULL;

	for (unsigned tries = 0; tries < 200; tries++) {
		task =
		    iscsi_read10_sync(iscsi, lun, lba, VERIFY_SPAN * SECTOR, SECTOR, 0, 0, 0, 0, 0);
		if (!task || task->status != SCSI_STATUS_BUSY || tries == 199)
			break;
		scsi_free_scsi_task(task);
		poll(NULL, 0, 100);
	}
	return task;
}

/* Read every sector and hold it against what it may be; on success what was seen, made durable
 * by a flush, is the new beginning. */
static int verify(void)
{
	static uint64_t seen[SECTORS];
	unsigned wrong = 0;

	for (uint32_t lba = 0; lba < SECTORS; lba += VERIFY_SPAN) {
		struct scsi_task *task = read_span(lba);

		if (!task || task->status != SCSI_STATUS_GOOD ||
		    task->datain.size != (int)(VERIFY_SPAN * SECTOR)) {
			fprintf(stderr, "soak_load: read of LBA %u failed: %s\n", lba,
				iscsi_get_error(iscsi));
			return 1;
		}
		for (uint32_t i = 0; i < VERIFY_SPAN; i++) {
			const struct sector *sector = &state->sector[lba + i];

			seen[lba + i] = sequence_in(task->datain.data + i * SECTOR, lba + i);
			if (allowed(sector, seen[lba + i]))
				continue;
			if (wrong++ < 10)
				fprintf(stderr,
					"soak_load: LBA %u holds %" PRIx64 ", durable is %" PRIx64
					" and %u later ones\n",
					lba + i, seen[lba + i], sector->durable, sector->count);
		}
		scsi_free_scsi_task(task);
	}
	if (wrong)
		return 1;
	scsi_free_scsi_task(iscsi_synchronizecache10_sync(iscsi, lun, 0, 0, 0, 0));
	for (uint32_t lba = 0; lba < SECTORS; lba++)
		state->sector[lba] = (struct sector){
		    .durable = seen[lba] == ZERO ? ZERO | state->sequence : seen[lba]};
	return 0;
}

static struct state *open_state(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	struct state *memory;
	off_t size;

	if (fd < 0)
		return NULL;
	size = lseek(fd, 0, SEEK_END);
	if (size != (off_t)sizeof(*memory) && ftruncate(fd, sizeof(*memory)) < 0)
		return NULL;
	memory = mmap(NULL, sizeof(*memory), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (memory == MAP_FAILED)
		return NULL;
	for (unsigned i = 0; size == 0 && i < SECTORS; i++)
		memory->sector[i].durable = ZERO;
	return memory;
}

static bool connect_to(const char *text)
{
	struct iscsi_url *url;
	bool good;

	iscsi = iscsi_create_context(INITIATOR);
	url = iscsi ? iscsi_parse_full_url(iscsi, text) : NULL;
	if (!url)
		return false;
	iscsi_set_targetname(iscsi, url->target);
	iscsi_set_session_type(iscsi, ISCSI_SESSION_NORMAL);
	iscsi_set_noautoreconnect(iscsi, 1);
	iscsi_set_timeout(iscsi, 20);
	lun = url->lun;
	good = iscsi_full_connect_sync(iscsi, url->portal, lun) == 0;
	iscsi_destroy_url(url);
	return good;
}

int main(int argc, char **argv)
{
	uint64_t before;
	int rc;

	if (argc != 5) {
		fprintf(stderr, "usage: soak_load URL STATE-FILE SEED SECONDS\n");
		return 2;
	}
	signal(SIGPIPE, SIG_IGN); /* the server dies while we write: that is what this is for */
	state = open_state(argv[2]);
	seed = (unsigned)strtoul(argv[3], NULL, 10);
	if (!state || !connect_to(argv[1])) {
		fprintf(stderr, "soak_load: %s\n",
			state ? iscsi_get_error(iscsi) : strerror(errno));
		return 2;
	}
	rc = verify();
	if (rc == 0) {
		printf("verified\n");
		fflush(stdout);
		before = state->acknowledged;
		load(strtod(argv[4], NULL));
		printf("%" PRIu64 " commands acknowledged in this leg, %" PRIu64
		       " made durable in all\n",
		       state->acknowledged - before, state->made_durable);
	}
	munmap(state, sizeof(*state));
	return rc;
}
