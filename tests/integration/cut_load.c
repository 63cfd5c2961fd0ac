/* SPDX-License-Identifier: Apache-2.0 */
/* Numbered records over several LUNs and a file, one after the other: record n+1 is sent when
 * record n is acknowledged, to the next of them. Whatever is a prefix-closed cut of that holds
 * records 1 to m, and nothing of m+1 and later, for some m. With URL (nfs://..., of libnfs) the
 * file behind it is one more, written with FILE_SYNC.
 *
 *   cut_load write HOST:PORT IQN LUNS FIRST LOG [URL]
 *                                                 until the server goes away; LOG gets a line per
 *                                                 record: number, time of the acknowledgement
 *   cut_load follow HOST:PORT IQN LUNS FIRST LOG  the same, and logs in again there for 2 min when
 *                                                 the connection is lost, as an initiator does
 *   cut_load verify HOST:PORT IQN LUNS [URL]      prints m; exit 1 when there is none
 *   cut_load abort HOST:PORT IQN LUNS             a write that is held up is aborted (ABORT TASK):
 *                                                 prints the seconds until that is answered */
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <iscsi/iscsi.h>
#include <iscsi/scsi-lowlevel.h>
#include <nfsc/libnfs.h>

#define RECORD  8u    /* sectors */
#define PLACES  1024u /* records of a LUN, then it begins again at the front */
#define SECTOR  512u
#define LUN_MAX 8u

static struct iscsi_context *iscsi;
static struct nfs_context *nfs;
static struct nfsfh *file; /* NULL: LUNs alone */

/* Seconds for an answer; who follows a target does not wait long for one that may be gone. */
static int patience = 100;

static bool login(const char *portal, const char *iqn)
{
	iscsi = iscsi_create_context("iqn.2026-11.org.granary:cut");
	if (!iscsi)
		return false;
	iscsi_set_targetname(iscsi, iqn);
	iscsi_set_session_type(iscsi, ISCSI_SESSION_NORMAL);
	iscsi_set_header_digest(iscsi, ISCSI_HEADER_DIGEST_NONE);
	iscsi_set_noautoreconnect(iscsi, 1);
	iscsi_set_timeout(iscsi, patience);
	if (iscsi_connect_sync(iscsi, portal) != 0 || iscsi_login_sync(iscsi) != 0) {
		fprintf(stderr, "login: %s\n", iscsi_get_error(iscsi));
		return false;
	}
	return true;
}

static bool good(struct scsi_task *task)
{
	bool is = task && task->status == SCSI_STATUS_GOOD;

	if (task)
		scsi_free_scsi_task(task);
	return is;
}

/* The unit attention of a new session is taken before it counts. */
static bool wake(unsigned luns)
{
	for (unsigned lun = 0; lun < luns; lun++) {
		unsigned tries = 10;

		while (tries-- > 0 && !good(iscsi_testunitready_sync(iscsi, (int)lun)))
			;
		if (tries + 1 == 0)
			return false;
	}
	return true;
}

/* The file, which is as long as all its records from the beginning on. */
static bool mount_file(const char *text)
{
	struct nfs_url *url;
	bool good;

	nfs = nfs_init_context();
	url = nfs ? nfs_parse_url_full(nfs, text) : NULL;
	if (!url)
		return false;
	nfs_set_autoreconnect(nfs, 0);
	nfs_set_timeout(nfs, patience * 1000);
	good = nfs_mount(nfs, url->server, url->path) == 0 &&
	       nfs_open2(nfs, url->file, O_RDWR | O_CREAT | O_SYNC, 0644, &file) == 0 &&
	       nfs_ftruncate(nfs, file, (uint64_t)PLACES * RECORD * SECTOR) == 0;
	if (!good)
		fprintf(stderr, "%s: %s\n", text, nfs_get_error(nfs));
	nfs_destroy_url(url);
	return good;
}

static void unmount_file(void)
{
	if (nfs)
		nfs_destroy_context(nfs);
}

static uint32_t place_of(uint64_t number, unsigned members)
{
	return (uint32_t)((number - 1) / members % PLACES * RECORD);
}

static unsigned members_of(unsigned luns)
{
	return luns + (file != NULL);
}

#define AGAIN_NS 50000000L
#define AGAINS   2400u

/* Whatever was not acknowledged is sent again. */
static bool log_in_again(const char *portal, const char *iqn, unsigned luns)
{
	for (unsigned i = 0; i < AGAINS; i++) {
		struct timespec pause = {.tv_nsec = AGAIN_NS};

		if (iscsi)
			iscsi_destroy_context(iscsi);
		iscsi = NULL;
		nanosleep(&pause, NULL);
		if (login(portal, iqn) && wake(luns))
			return true;
	}
	return false;
}

static bool write_record(unsigned luns, uint64_t n, uint8_t data[RECORD * SECTOR])
{
	unsigned members = members_of(luns), at = (unsigned)((n - 1) % members);
	uint32_t place = place_of(n, members);

	if (at == luns)
		return nfs_pwrite(nfs, file, (uint64_t)place * SECTOR, RECORD * SECTOR, data) ==
		       (int)(RECORD * SECTOR);
	return good(iscsi_write10_sync(iscsi, (int)at, place, data, RECORD * SECTOR, SECTOR, 0, 0,
				       0, 0, 0));
}

/* @again: "HOST:PORT" and IQN to go on at, or NULL. */
static int write_records(unsigned luns, uint64_t first, const char *path, char **again)
{
	static uint8_t data[RECORD * SECTOR];
	FILE *log = fopen(path, "a");

	if (!log)
		return 2;
	for (uint64_t n = first;; n++) {
		struct timespec now;

		for (unsigned i = 0; i < sizeof data; i += sizeof n)
			memcpy(data + i, &n, sizeof n);
		while (!write_record(luns, n, data)) {
			if (!again || !log_in_again(again[0], again[1], luns))
				return fclose(log) == 0 && !again ? 0 : 2;
		}
		clock_gettime(CLOCK_REALTIME, &now);
		fprintf(log, "%" PRIu64 " %lld.%09ld\n", n, (long long)now.tv_sec, now.tv_nsec);
		fflush(log);
	}
}

static bool same_numbers(const uint8_t *data, uint64_t *ret_number)
{
	for (unsigned i = 0; i < RECORD * SECTOR; i += 8)
		if (memcmp(data, data + i, 8) != 0)
			return false;
	memcpy(ret_number, data, 8);
	return true;
}

static bool read_file_record(uint32_t place, uint64_t *ret_number)
{
	uint8_t data[RECORD * SECTOR];

	return nfs_pread(nfs, file, (uint64_t)place * RECORD * SECTOR, sizeof data, data) ==
		   (int)sizeof data &&
	       same_numbers(data, ret_number);
}

static bool read_record(unsigned lun, uint32_t place, uint64_t *ret_number)
{
	struct scsi_task *task = iscsi_read10_sync(iscsi, (int)lun, place * RECORD, RECORD * SECTOR,
						   SECTOR, 0, 0, 0, 0, 0);
	bool whole = task && task->status == SCSI_STATUS_GOOD &&
		     task->datain.size == (int)(RECORD * SECTOR) &&
		     same_numbers(task->datain.data, ret_number);

	if (task)
		scsi_free_scsi_task(task);
	return whole;
}

static int verify(unsigned luns)
{
	static uint64_t seen[LUN_MAX + 1][PLACES];
	unsigned members = members_of(luns);
	uint64_t newest = 0;

	for (unsigned at = 0; at < members; at++) {
		for (uint32_t i = 0; i < PLACES; i++) {
			if (!(at == luns ? read_file_record(i, &seen[at][i])
					 : read_record(at, i, &seen[at][i]))) {
				printf("%s %u record %u: torn or unreadable\n",
				       at == luns ? "file" : "LUN", at, i);
				return 1;
			}
			newest = seen[at][i] > newest ? seen[at][i] : newest;
		}
	}
	/* The last one at each place among 1 .. newest. */
	for (uint64_t n = newest; n > 0 && n + (uint64_t)members * PLACES > newest; n--) {
		uint64_t is = seen[(n - 1) % members][place_of(n, members) / RECORD];

		if (is != n) {
			printf("record %" PRIu64 " is there and record %" PRIu64
			       " is not (but %" PRIu64 ")\n",
			       newest, n, is);
			return 1;
		}
	}
	printf("%" PRIu64 "\n", newest);
	return 0;
}

static bool written;
static struct scsi_task *aborted; /* ours to free, when nothing refers to it any more */

static void write_over(struct iscsi_context *context, int status, void *data, void *of)
{
	(void)context, (void)status, (void)data, (void)of;
	written = true;
}

static double seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* Behind the places of records. */
static int abort_write(void)
{
	static uint8_t data[RECORD * SECTOR];
	double begun = seconds();
	struct scsi_task *task = iscsi_write10_task(iscsi, 0, PLACES * RECORD, data, sizeof data,
						    SECTOR, 0, 0, 0, 0, 0, write_over, NULL);

	if (!task)
		return 2;
	while (!written && seconds() - begun < 0.5) { /* it is on its way, and stays there */
		struct pollfd fd = {.fd = iscsi_get_fd(iscsi),
				    .events = (short)iscsi_which_events(iscsi)};

		if (poll(&fd, 1, 100) >= 0 && iscsi_service(iscsi, fd.revents) < 0)
			return 2;
	}
	if (written)
		return 1;
	begun = seconds();
	aborted = task;
	if (iscsi_task_mgmt_abort_task_sync(iscsi, task) != 0) {
		fprintf(stderr, "abort: %s\n", iscsi_get_error(iscsi));
		return 2;
	}
	printf("%.3f\n", seconds() - begun);
	return 0;
}

int main(int argc, char **argv)
{
	unsigned luns = argc > 4 ? (unsigned)strtoul(argv[4], NULL, 10) : 0;
	int status = 2;

	if (argc > 1 && strcmp(argv[1], "follow") == 0)
		patience = 10;
	if (luns == 0 || luns > LUN_MAX || !login(argv[2], argv[3]) || !wake(luns))
		return 2;
	if (strncmp(argv[argc - 1], "nfs://", 6) == 0 && !mount_file(argv[--argc]))
		return 2;
	if (strcmp(argv[1], "write") == 0 && argc == 7)
		status = write_records(luns, strtoull(argv[5], NULL, 10), argv[6], NULL);
	else if (strcmp(argv[1], "follow") == 0 && argc == 7)
		status = write_records(luns, strtoull(argv[5], NULL, 10), argv[6], argv + 2);
	else if (strcmp(argv[1], "verify") == 0)
		status = verify(luns);
	else if (strcmp(argv[1], "abort") == 0)
		status = abort_write();
	iscsi_destroy_context(iscsi);
	unmount_file();
	if (aborted)
		scsi_free_scsi_task(aborted);
	return status;
}
