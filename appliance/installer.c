/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/reboot.h>
#include <termios.h>
#include <unistd.h>

#include <linux/fs.h>

#include "appliance/disks.h"
#include "appliance/payload.h"
#include "core/control.h"

/*~ granary-install: what the installer's medium starts instead of the appliance. It shows the
 * disks, asks which one becomes the system disk, wants its name typed once more, and writes the
 * appliance to it (payload.c). With granary.install=/dev/NAME on the kernel's command line nobody
 * is asked.
 *
 * granary-install [quiet]: "quiet" on a second terminal, which leaves an unattended installation
 * to the first */
#define MEDIUM   "/run/granary-medium/granary"
#define ARGUMENT "granary.install=/dev/"
#define LIST_MAX (256u << 10)

static struct {
	struct payload payload;
	struct host_disk disks[DISKS_MAX];
	unsigned disk_count;
	bool unattended;
} installer;

/* Nobody was asked: whoever waits for the end may do so at another line than this one. */
static void tell_console(const char *line)
{
	int fd = open("/dev/console", O_WRONLY | O_NOCTTY | O_CLOEXEC);

	if (fd < 0)
		return;
	dprintf(fd, "\r\n  %s\r\n", line);
	tcdrain(fd); /* the machine may go off at once */
	close(fd);
}

static int fail(const struct err *err)
{
	printf("\n  %s\n", err->text);
	if (installer.unattended)
		tell_console(err->text);
	return 1;
}

/* --- disks ----------------------------------------------------------------------------------- */

static const struct host_disk *find_disk(const char *name)
{
	for (unsigned i = 0; i < installer.disk_count; i++)
		if (strcmp(installer.disks[i].name, name) == 0)
			return &installer.disks[i];
	return NULL;
}

/* --- dialogue -------------------------------------------------------------------------------- */

static bool ask(const char *question, char *answer, size_t size)
{
	printf("%s", question);
	fflush(stdout);
	if (!fgets(answer, (int)size, stdin))
		return false;
	answer[strcspn(answer, "\n")] = '\0';
	return true;
}

static const struct host_disk *choose(void)
{
	char number[32], name[32], question[128];
	unsigned long chosen;

	installer.disk_count = disks_find(installer.disks, DISKS_MAX, installer.payload.size);
	printf("\n  Granary %s: installation\n\n", installer.payload.version);
	for (unsigned i = 0; i < installer.disk_count; i++)
		printf("  %u  %-10s %8.1f GB  %s %s\n", i + 1, installer.disks[i].name,
		       (double)installer.disks[i].size / 1e9, installer.disks[i].model,
		       installer.disks[i].serial);
	if (installer.disk_count == 0)
		printf("  There is no disk of %.1f GB or more.\n",
		       (double)installer.payload.size / 1e9);
	if (!ask("\n  Number of the system disk (Enter: look again): ", number, sizeof number))
		return NULL;
	chosen = strtoul(number, NULL, 10);
	if (chosen < 1 || chosen > installer.disk_count)
		return NULL;
	snprintf(question, sizeof question, "  Everything on %s is lost. Type its name to go on: ",
		 installer.disks[chosen - 1].name);
	if (!ask(question, name, sizeof name) ||
	    strcmp(name, installer.disks[chosen - 1].name) != 0) {
		printf("  Nothing is changed.\n");
		return NULL;
	}
	return &installer.disks[chosen - 1];
}

static void show_progress(unsigned percent)
{
	static unsigned shown = 101;

	if (percent == shown)
		return;
	shown = percent;
	printf("\r  %3u %%", percent);
	fflush(stdout);
}

static int install(const struct host_disk *disk, struct err *err)
{
	char path[64];
	int target, medium = open(MEDIUM, O_RDONLY | O_DIRECTORY | O_CLOEXEC), result;

	if (medium < 0)
		return err_set(err, -errno, "%s: %s", MEDIUM, strerror(errno));
	snprintf(path, sizeof path, "/dev/%s", disk->name);
	target = open(path, O_RDWR | O_EXCL | O_CLOEXEC);
	if (target < 0) {
		close(medium);
		return err_set(err, -errno, "%s: %s", path, strerror(errno));
	}
	printf("\n  Writing to %s, and reading it back:\n", disk->name);
	result = payload_write(&installer.payload, medium, target, show_progress, err);
	close(medium);
	close(target);
	return result;
}

/* The disk named on the kernel's command line, "" for none. */
static void unattended(char name[32])
{
	char line[4096] = "";
	FILE *file = fopen("/proc/cmdline", "re");
	const char *at;

	name[0] = '\0';
	if (file && !fgets(line, sizeof line, file))
		line[0] = '\0';
	if (file)
		fclose(file);
	at = strstr(line, ARGUMENT);
	if (at)
		snprintf(name, 32, "%.*s", (int)strcspn(at + sizeof ARGUMENT - 1, " \n"),
			 at + sizeof ARGUMENT - 1);
}

static int load_payload(struct err *err)
{
	json_t *object = json_load_file(MEDIUM "/payload.json", JSON_REJECT_DUPLICATES, NULL);
	int result = object ? payload_parse(object, &installer.payload, err)
			    : err_set(err, -ENOENT, "the medium has no payload.json");

	json_decref(object);
	return result;
}

static int done(bool at_once)
{
	char line[32];

	printf("\n  INSTALLED. %s\n", at_once ? "" : "Take the medium out; Enter restarts.");
	fflush(stdout);
	if (at_once)
		tell_console("INSTALLED.");
	if (!at_once && !ask("  ", line, sizeof line))
		return 0;
	sync();
	reboot(at_once ? RB_POWER_OFF : RB_AUTOBOOT);
	return 1;
}

int main(int argc, char **argv)
{
	bool quiet = argc == 2 && strcmp(argv[1], "quiet") == 0;
	const struct host_disk *disk;
	struct err err = {0};
	char name[32];

	if (load_payload(&err) < 0)
		return fail(&err);
	unattended(name);
	if (name[0] && quiet)
		return 0;
	installer.unattended = name[0] != '\0';
	do {
		disk = NULL;
		if (name[0]) {
			installer.disk_count =
			    disks_find(installer.disks, DISKS_MAX, installer.payload.size);
			disk = find_disk(name);
			if (!disk)
				return fail(
				    (err_set(&err, -ENODEV, "no disk %s for it", name), &err));
		} else {
			disk = choose();
		}
		if (disk && install(disk, &err) == 0)
			return done(name[0] != '\0');
		if (disk)
			fail(&err);
	} while (!name[0] && !feof(stdin));
	return 1;
}
