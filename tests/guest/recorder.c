/* SPDX-License-Identifier: Apache-2.0 */
/* The one program of the QEMU guest (tests/integration/guest_boot_test.py), linked statically.
 *
 * As /init of the initramfs it loads the modules it finds, mounts the root file system from the
 * LUN and starts itself again from there. As /sbin/init on that root disk it writes records to
 * the raw end of the disk, one after another, O_DIRECT and fsync, and prints "ack N" on the
 * console when record N is durable as far as the guest was told. Every 16th number also goes to
 * the end of a file, so that the file system has something to lose.
 *
 * Record N is the 4 KiB at RECORDS_OFFSET + N * 4096: magic, N, and a body that is a function of
 * N, all summed with FNV-1a. The test checks them from outside. */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define DISK           "/dev/vda"
#define RECORDS_OFFSET (64ull << 20)
#define RECORD_SIZE    4096
#define RECORD_COUNT   16384
#define RECORD_MAGIC   0x4452434552415247ull
#define PAUSE_NS       4000000

struct record {
	uint64_t magic, number, body[RECORD_SIZE / 8 - 3], sum;
};

/* In load order: each needs those before it. */
static const char *const modules[] = {
    "/virtio_ring.ko",           "/virtio.ko",     "/virtio_pci_modern_dev.ko",
    "/virtio_pci_legacy_dev.ko", "/virtio_pci.ko", "/virtio_blk.ko",
};

/* Nothing to return to: say what happened and switch the machine off. */
static void __attribute__((noreturn)) stop(const char *what)
{
	printf("guest: %s: %s\n", what, strerror(errno));
	fflush(stdout);
	sync();
	reboot(RB_POWER_OFF);
	_exit(1);
}

static void load_modules(void)
{
	for (size_t i = 0; i < sizeof(modules) / sizeof(modules[0]); i++) {
		int fd = open(modules[i], O_RDONLY | O_CLOEXEC);

		if (fd < 0)
			continue; /* built into this kernel */
		if (syscall(SYS_finit_module, fd, "", 0) != 0 && errno != EEXIST)
			stop(modules[i]);
		close(fd);
	}
}

static void pause_ns(long ns)
{
	struct timespec time = {.tv_nsec = ns};

	nanosleep(&time, NULL);
}

/* From the initramfs into the root disk. */
static void boot(void)
{
	int tries = 0;

	mkdir("/dev", 0755);
	mkdir("/root", 0755);
	mount("dev", "/dev", "devtmpfs", 0, NULL);
	load_modules();
	while (mount(DISK, "/root", "ext4", 0, NULL) != 0) {
		if (++tries > 200)
			stop("mount root");
		pause_ns(50000000);
	}
	if (mount("dev", "/root/dev", "devtmpfs", 0, NULL) != 0 || chdir("/root") != 0 ||
	    mount(".", "/", NULL, MS_MOVE, NULL) != 0 || chroot(".") != 0)
		stop("switch root");
	execl("/sbin/init", "init", (char *)NULL);
	stop("/sbin/init");
}

static void fill(struct record *record, uint64_t number)
{
	uint64_t sum = 0xcbf29ce484222325ull, word = number * 0x9e3779b97f4a7c15ull + 1;
	const unsigned char *bytes = (const unsigned char *)record;

	record->magic = RECORD_MAGIC;
	record->number = number;
	for (size_t i = 0; i < sizeof(record->body) / 8; i++) {
		word ^= word << 13;
		word ^= word >> 7;
		word ^= word << 17;
		record->body[i] = word;
	}
	for (size_t i = 0; i < offsetof(struct record, sum); i++)
		sum = (sum ^ bytes[i]) * 0x100000001b3ull;
	record->sum = sum;
}

static void append_to_log(int log, uint64_t number)
{
	char line[32];
	int length = snprintf(line, sizeof(line), "%" PRIu64 "\n", number);

	if (write(log, line, (size_t)length) != length || fsync(log) != 0)
		stop("log in the file system");
}

static void write_records(void)
{
	static struct record record __attribute__((aligned(RECORD_SIZE)));
	int disk = open(DISK, O_RDWR | O_DIRECT | O_CLOEXEC);
	int log = open("/log", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);

	if (disk < 0 || log < 0)
		stop("open");
	printf("guest: root disk mounted, writing\n");
	for (uint64_t number = 0; number < RECORD_COUNT; number++) {
		off_t at = (off_t)(RECORDS_OFFSET + number * RECORD_SIZE);

		fill(&record, number);
		if (pwrite(disk, &record, sizeof(record), at) != sizeof(record) || fsync(disk) != 0)
			stop("record");
		if (number % 16 == 0)
			append_to_log(log, number);
		printf("ack %" PRIu64 "\n", number);
		pause_ns(PAUSE_NS);
	}
	printf("guest: all records written\n");
}

int main(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (access("/init", F_OK) == 0)
		boot();
	write_records();
	errno = 0;
	stop("done");
}
