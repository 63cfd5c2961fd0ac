/* SPDX-License-Identifier: Apache-2.0 */
#include <blkid/blkid.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "appliance/files.h"
#include "appliance/seed.h"
#include "core/confine.h"
#include "core/control.h"
#include "core/heap.h"
#include "core/log.h"

/*~ granary-seed: what a machine is told at its first start (seed.h), once, before its network is
 * up.
 *
 * a volume with the right label -> mounted read-only, nosuid, nodev, noexec in a mount namespace of
 * this process -> its few small files read, unmounted -> parsed by a child that is nobody and can
 * do nothing but write its answer -> checked like an administrator's settings -> written where
 * granary-hostd, and the daemon, find it.
 *
 * All of it or nothing: what is wrong is said on the console and in the journal, and the machine
 * starts as one that was told nothing, so that it can be reached and set up by hand. Once there are
 * settings, or a seed was taken, none is looked for any more. */
#define MOUNT_POINT   "/run/granary-seed"
#define ANSWER_MAX    (512u << 10)
#define ANSWER_MS     10000
#define LOOKS         6
#define LOOK_NS       500000000
#define LOOKED_MAX    128
#define AMBIVALENT    (-2) /* of blkid_do_safeprobe(): more than one thing at a time */
#define SEARCH_S      60   /* much less than the unit's TimeoutStartSec= */
#define PORT_LOOKS    20
#define CPU_SECONDS   5
#define LABEL_NOCLOUD "cidata"
#define LABEL_OVF     "OVF ENV"

static const struct {
	const char *state, *run; /* folders */
} standard = {"/var/lib/granary", "/run/granary"};

struct options {
	const char *state, *run, *device, *check;
};

static void wait_a_moment(void)
{
	const struct timespec moment = {.tv_nsec = LOOK_NS};

	nanosleep(&moment, NULL);
}

/* --- the volume ------------------------------------------------------------------------------ */

struct volume {
	char path[300], type[16];
	bool is_ovf;
};

static bool is_seed(const char *label, const char *type, struct volume *volume)
{
	volume->is_ovf = strncasecmp(label, LABEL_OVF, sizeof LABEL_OVF - 1) == 0;
	return (volume->is_ovf || strcasecmp(label, LABEL_NOCLOUD) == 0) &&
	       (strcmp(type, "iso9660") == 0 || strcmp(type, "vfat") == 0);
}

/* LOOK_NONE: it can not be read (yet); a drive without a medium, say. */
enum look { LOOK_NONE, LOOK_OTHER, LOOK_SEED };

static enum look look_at(const char *path, struct volume *ret_volume)
{
	blkid_probe probe = blkid_new_probe_from_filename(path);
	const char *label = NULL, *type = NULL;
	struct volume volume = {.path = ""};
	enum look look = LOOK_OTHER;
	int result;

	if (!probe)
		return LOOK_NONE;
	blkid_probe_enable_superblocks(probe, 1);
	blkid_probe_set_superblocks_flags(probe, BLKID_SUBLKS_LABEL | BLKID_SUBLKS_TYPE);
	result = blkid_do_safeprobe(probe);
	if (result < 0 && result != AMBIVALENT)
		look = LOOK_NONE;
	else if (result == 0 && blkid_probe_lookup_value(probe, "LABEL", &label, NULL) == 0 &&
		 blkid_probe_lookup_value(probe, "TYPE", &type, NULL) == 0 &&
		 is_seed(label, type, &volume)) {
		snprintf(volume.path, sizeof volume.path, "%s", path);
		snprintf(volume.type, sizeof volume.type, "%s", type);
		*ret_volume = volume;
		look = LOOK_SEED;
	}
	blkid_free_probe(probe);
	return look;
}

/* Floppies are slow to say that they are not there; what is made of other devices is none. */
static bool may_be(const char *name)
{
	static const char *const others[] = {".", "loop", "ram", "fd", "zram", "dm-", "md", "nbd"};

	for (unsigned i = 0; i < sizeof others / sizeof *others; i++)
		if (strncmp(name, others[i], strlen(others[i])) == 0)
			return false;
	return true;
}

/* Devices that were read and are none, so that each is read once. */
struct looked {
	char name[LOOKED_MAX][32];
	unsigned count;
};

static bool is_new(const struct looked *looked, const char *name)
{
	for (unsigned i = 0; i < looked->count; i++)
		if (strcmp(looked->name[i], name) == 0)
			return false;
	return true;
}

/* A CD is looked at again: its drive answers before the medium turns. */
static void note(struct looked *looked, const char *name)
{
	size_t length = strlen(name);

	if (strncmp(name, "sr", 2) != 0 && looked->count < LOOKED_MAX &&
	    length < sizeof looked->name[0])
		memcpy(looked->name[looked->count++], name, length + 1);
}

static bool find_volume(struct looked *looked, struct volume *ret_volume)
{
	DIR *list = opendir("/sys/class/block");
	const struct dirent *entry;
	enum look look = LOOK_OTHER;

	while (list && look != LOOK_SEED && (entry = readdir(list)) != NULL) {
		char path[300];

		if (!may_be(entry->d_name) || !is_new(looked, entry->d_name))
			continue;
		snprintf(path, sizeof path, "/dev/%s", entry->d_name);
		look = look_at(path, ret_volume);
		if (look == LOOK_OTHER)
			note(looked, entry->d_name);
	}
	if (list)
		closedir(list);
	return look == LOOK_SEED;
}

static time_t seconds_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec;
}

/* Disks and CDs come up while the machine starts: LOOKS more once udev has nothing left to do. */
static bool wait_for_volume(const struct options *options, struct volume *ret_volume)
{
	static struct looked looked;
	const time_t begun = seconds_now();
	unsigned quiet = 0;

	if (options->device)
		return look_at(options->device, ret_volume) == LOOK_SEED;
	while (!find_volume(&looked, ret_volume)) {
		quiet = access("/run/udev/queue", F_OK) == 0 ? 0 : quiet + 1;
		if (quiet >= LOOKS || seconds_now() - begun >= SEARCH_S)
			return false;
		wait_a_moment();
	}
	return true;
}

/* --- its files ------------------------------------------------------------------------------- */

static int read_text(int folder, enum seed_file which, struct seed_texts *texts, struct err *err)
{
	int fd = openat(folder, seed_names[which], O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	struct stat info;
	ssize_t length;
	char *text;

	if (fd < 0)
		return errno == ENOENT
			   ? 0
			   : err_set(err, -errno, "%s: %s", seed_names[which], strerror(errno));
	if (fstat(fd, &info) < 0 || !S_ISREG(info.st_mode) || info.st_size > SEED_TEXT_MAX) {
		close(fd);
		return err_set(err, -EFBIG, "%s: a file of at most %u KiB is expected",
			       seed_names[which], SEED_TEXT_MAX >> 10);
	}
	text = heap_zalloc(SEED_TEXT_MAX + 1);
	length = text ? read(fd, text, SEED_TEXT_MAX) : -1;
	close(fd);
	if (length < 0) {
		heap_free(text);
		return err_set(err, -EIO, "%s can not be read", seed_names[which]);
	}
	texts->text[which] = text;
	texts->length[which] = (size_t)length;
	return 0;
}

static int read_folder(const char *path, struct seed_texts *texts, struct err *err)
{
	int folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), result = 0;

	if (folder < 0)
		return err_set(err, -errno, "%s: %s", path, strerror(errno));
	for (unsigned i = 0; result == 0 && i < SEED_FILES; i++)
		result = read_text(folder, (enum seed_file)i, texts, err);
	close(folder);
	return result;
}

static int read_volume(const struct volume *volume, struct seed_texts *texts, struct err *err)
{
	const unsigned long flags = MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC;
	int result;

	if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return err_set(err, -errno, "a mount namespace: %s", strerror(errno));
	if (mkdir(MOUNT_POINT, 0700) < 0 && errno != EEXIST)
		return err_set(err, -errno, "%s: %s", MOUNT_POINT, strerror(errno));
	if (mount(volume->path, MOUNT_POINT, volume->type, flags, NULL) < 0)
		return err_set(err, -errno, "%s can not be mounted: %s", volume->path,
			       strerror(errno));
	result = read_folder(MOUNT_POINT, texts, err);
	umount2(MOUNT_POINT, MNT_DETACH);
	rmdir(MOUNT_POINT);
	return result;
}

/* --- parsing, by a child --------------------------------------------------------------------- */

static int confine_child(struct err *err)
{
	static const char *const users[] = {"nobody", NULL};
	static const int allowed[] = {
	    SCMP_SYS(write),  SCMP_SYS(exit),           SCMP_SYS(exit_group), SCMP_SYS(mmap),
	    SCMP_SYS(munmap), SCMP_SYS(mremap),         SCMP_SYS(madvise),    SCMP_SYS(brk),
	    SCMP_SYS(futex),  SCMP_SYS(getrandom),      SCMP_SYS(getpid),     SCMP_SYS(gettid),
	    SCMP_SYS(tgkill), SCMP_SYS(rt_sigprocmask), SCMP_SYS(mprotect),   SCMP_SYS(close),
	};
	static const struct confine_calls filter = {.calls = allowed,
						    .count = sizeof allowed / sizeof *allowed};
	const struct rlimit seconds = {CPU_SECONDS, CPU_SECONDS};
	int result = setrlimit(RLIMIT_CPU, &seconds) < 0 ? -errno : confine_become(users, err);

	if (result == 0)
		result = confine_drop(err);
	return result == 0 ? confine_calls(&filter, err) : result;
}

static bool put_all(int fd, const char *text)
{
	size_t length = strlen(text);

	while (length) {
		ssize_t n = write(fd, text, length);

		if (n <= 0)
			return false;
		text += n;
		length -= (size_t)n;
	}
	return true;
}

_Noreturn static void parse_as_nobody(const struct seed_texts *texts, int out)
{
	struct err err = {0};
	json_t *seed = confine_child(&err) == 0 ? seed_parse(texts, &err) : NULL;
	json_t *answer =
	    seed ? json_pack("{s:o}", "seed", seed) : json_pack("{s:s}", "error", err.text);
	char *text = answer ? json_dumps(answer, JSON_COMPACT) : NULL;

	_exit(text && put_all(out, text) ? 0 : 1);
}

/* What the child says; bounded in length and time. NULL: it said nothing that is JSON. */
static json_t *hear(int in)
{
	char *text = heap_alloc(ANSWER_MAX);
	struct pollfd readable = {.fd = in, .events = POLLIN};
	size_t length = 0;
	ssize_t n = 1;
	json_t *answer;

	while (text && n > 0 && length < ANSWER_MAX && poll(&readable, 1, ANSWER_MS) > 0) {
		n = read(in, text + length, ANSWER_MAX - length);
		if (n > 0)
			length += (size_t)n;
	}
	answer = text && n == 0 ? control_parse(text, length, NULL) : NULL;
	heap_free(text);
	return answer;
}

/* A new reference; NULL with a sentence. */
static json_t *parse(const struct seed_texts *texts, struct err *err)
{
	int ends[2], status;
	json_t *answer, *seed;
	const char *why;
	pid_t child;

	json_object_seed(0); /* of hash tables: where it comes from is closed to the child */
	if (pipe2(ends, O_CLOEXEC) < 0 || (child = fork()) < 0) {
		err_set(err, -errno, "no process for the parser: %s", strerror(errno));
		return NULL;
	}
	if (child == 0) {
		close(ends[0]);
		parse_as_nobody(texts, ends[1]);
	}
	close(ends[1]);
	answer = hear(ends[0]);
	close(ends[0]);
	kill(child, SIGKILL);
	waitpid(child, &status, 0);
	why = json_string_value(json_object_get(answer, "error"));
	seed = json_incref(json_object_get(answer, "seed"));
	if (!seed)
		err_set(err, -EINVAL, "%s", why ? why : "the parser gave up");
	json_decref(answer);
	return seed;
}

/* --- this machine's ports -------------------------------------------------------------------- */

static bool read_line(const char *port, const char *name, char *line, size_t size)
{
	char path[128];
	FILE *file;
	bool good;

	snprintf(path, sizeof path, "/sys/class/net/%.20s/%.40s", port, name);
	file = fopen(path, "re");
	if (!file)
		return false;
	good = fgets(line, (int)size, file) != NULL;
	fclose(file);
	if (good)
		line[strcspn(line, "\n")] = '\0';
	return good;
}

struct found_port {
	struct seed_port port;
	unsigned long index;
};

static int by_index(const void *one, const void *other)
{
	unsigned long a = ((const struct found_port *)one)->index;
	unsigned long b = ((const struct found_port *)other)->index;

	return a < b ? -1 : a > b;
}

/* A port of wire that udev is done with: before that its name may change. */
static bool read_port(const char *name, struct found_port *ret_port)
{
	struct found_port port = {.index = 0};
	char line[64], path[64];

	if (strlen(name) >= LINK_NAME || !read_line(name, "type", line, sizeof line) ||
	    strcmp(line, "1") != 0)
		return false;
	snprintf(path, sizeof path, "/sys/class/net/%.20s/device", name);
	if (access(path, F_OK) < 0 || !read_line(name, "ifindex", line, sizeof line))
		return false;
	port.index = strtoul(line, NULL, 10);
	snprintf(path, sizeof path, "/run/udev/data/n%lu", port.index);
	if (access("/run/udev/data", F_OK) == 0 && access(path, F_OK) < 0)
		return false;
	if (read_line(name, "address", line, sizeof line))
		snprintf(port.port.mac, sizeof port.port.mac, "%.17s", line);
	snprintf(port.port.name, sizeof port.port.name, "%.15s", name);
	*ret_port = port;
	return true;
}

static unsigned find_ports(struct seed_port ports[SEED_PORTS])
{
	static struct found_port found[SEED_PORTS];
	DIR *list = opendir("/sys/class/net");
	const struct dirent *entry;
	unsigned count = 0;

	while (list && count < SEED_PORTS && (entry = readdir(list)) != NULL)
		count += read_port(entry->d_name, &found[count]);
	if (list)
		closedir(list);
	qsort(found, count, sizeof *found, by_index);
	for (unsigned i = 0; i < count; i++)
		ports[i] = found[i].port;
	return count;
}

/* Drivers are loaded while the machine starts. */
static int name_ports(json_t *settings, struct err *err)
{
	static struct seed_port ports[SEED_PORTS];
	int result = -ENODEV;

	if (json_array_size(json_object_get(settings, "links")) == 0)
		return 0;
	for (unsigned i = 0; result == -ENODEV && i < PORT_LOOKS; i++) {
		json_t *copy;

		if (i)
			wait_a_moment();
		copy = json_deep_copy(settings);
		result = copy ? seed_ports(copy, ports, find_ports(ports), err) : -ENOMEM;
		if (result == 0)
			json_object_update(settings, copy);
		json_decref(copy);
	}
	return result;
}

/* --- taking it ------------------------------------------------------------------------------- */

static int put_file(const struct options *options, const char *name, const char *text,
		    struct err *err)
{
	char path[300];

	snprintf(path, sizeof path, "%s/host/%s", options->state, name);
	return file_replace(path, text, strlen(text), 0600, err);
}

static int put_json(const struct options *options, const char *name, const json_t *value,
		    struct err *err)
{
	char *text = json_dumps(value, JSON_INDENT(1));
	int result =
	    text ? put_file(options, name, text, err) : err_set(err, -ENOMEM, "out of memory");

	free(text);
	return result;
}

/* The settings last, and the note that it was taken behind them: after a power cut before that all
 * of it is done again. */
static int take(const struct options *options, json_t *seed, struct err *err)
{
	json_t *wanted = json_object_get(seed, "settings");
	const json_t *pools = json_object_get(seed, "pools");
	const char *code = json_string_value(json_object_get(seed, "setup_code"));
	struct settings settings;
	char path[300];
	int result = name_ports(wanted, err);

	settings_default(&settings);
	if (result == 0)
		result = settings_parse(wanted, &settings, err);
	if (result == 0 && code)
		result = put_file(options, "setup-code", code, err);
	if (result == 0 && json_array_size(pools))
		result = put_json(options, "seed-pools.json", pools, err);
	snprintf(path, sizeof path, "%s/host/settings.json", options->state);
	if (result == 0 && json_object_size(wanted))
		result = settings_save(path, &settings, err);
	json_object_del(seed, "setup_code");
	return result == 0 ? put_json(options, "seed.json", seed, err) : result;
}

static bool is_told(const struct options *options)
{
	static const char *const names[] = {"seed.json", "settings.json"};
	char path[300];

	for (unsigned i = 0; i < 2; i++) {
		snprintf(path, sizeof path, "%s/host/%s", options->state, names[i]);
		if (access(path, F_OK) == 0)
			return true;
	}
	return false;
}

static int read_seed(const struct options *options, json_t **ret_seed, struct err *err)
{
	struct seed_texts texts = {.text = {NULL}};
	struct volume volume;
	int result;

	if (options->check) {
		result = read_folder(options->check, &texts, err);
	} else if (wait_for_volume(options, &volume)) {
		result = read_volume(&volume, &texts, err);
	} else {
		*ret_seed = NULL;
		return 0;
	}
	if (result == 0)
		*ret_seed = parse(&texts, err);
	if (result == 0 && !*ret_seed)
		result = -EINVAL;
	seed_texts_free(&texts);
	return result;
}

/* A name of the seed may stand in it: nothing that a terminal would obey. */
static void make_plain(struct err *err)
{
	for (char *at = err->text; *at; at++)
		if ((unsigned char)*at < 0x20 || *at == 0x7f)
			*at = '?';
}

/* Where the console looks. */
static void tell(const struct options *options, const struct err *why)
{
	json_t *said = json_pack("{s:s}", "error", why->text);
	char *text = said ? json_dumps(said, JSON_COMPACT) : NULL, path[300];
	struct err err = {0};

	log_error("granary-seed: nothing was taken: %s", why->text);
	snprintf(path, sizeof path, "%s/seed.json", options->run);
	if (mkdir(options->run, 0755) < 0 && errno != EEXIST)
		log_error("granary-seed: %s: %s", options->run, strerror(errno));
	else if (text && file_replace(path, text, strlen(text), 0644, &err) < 0)
		log_error("granary-seed: %s", err.text);
	free(text);
	json_decref(said);
}

static int apply(const struct options *options)
{
	json_t *seed = NULL;
	struct err err = {0};
	int result;

	if (is_told(options))
		return 0;
	result = read_seed(options, &seed, &err);
	if (result == 0 && seed)
		result = take(options, seed, &err);
	make_plain(&err);
	if (result < 0)
		tell(options, &err);
	else if (seed)
		log_notice("granary-seed: the machine was set up as its seed says");
	json_decref(seed);
	return result < 0;
}

/* --check: what would be taken, for who writes such files. */
static int check(const struct options *options)
{
	struct settings settings;
	json_t *seed = NULL, *settled;
	struct err err = {0};
	int result = read_seed(options, &seed, &err);
	static const struct seed_port any[] = {{"port", "00:00:00:00:00:00"}};

	settings_default(&settings);
	settled = json_deep_copy(json_object_get(seed, "settings"));
	/* Ports are the machine's; all else can be looked at here. */
	if (result == 0 && seed_ports(settled, any, 1, NULL) == 0)
		result = settings_parse(settled, &settings, &err);
	json_decref(settled);
	make_plain(&err);
	if (result < 0) {
		fprintf(stderr, "granary-seed: %s\n", err.text);
		json_decref(seed);
		return 1;
	}
	if (json_object_get(seed, "setup_code"))
		json_object_set_new(seed, "setup_code", json_string("(given)"));
	json_dumpf(seed, stdout, JSON_INDENT(2) | JSON_SORT_KEYS);
	printf("\n");
	json_decref(seed);
	return 0;
}

int main(int argc, char **argv)
{
	struct options options = {.state = standard.state, .run = standard.run};
	bool good = true;

	for (int i = 1; good && i < argc; i += 2) {
		const char **place = strcmp(argv[i], "--state") == 0    ? &options.state
				     : strcmp(argv[i], "--run") == 0    ? &options.run
				     : strcmp(argv[i], "--device") == 0 ? &options.device
				     : strcmp(argv[i], "--check") == 0  ? &options.check
									: NULL;

		good = place && i + 1 < argc;
		if (good)
			*place = argv[i + 1];
	}
	if (!good) {
		fprintf(stderr, "usage: granary-seed [--device DEVICE] [--state DIR] [--run DIR]\n"
				"       granary-seed --check FOLDER\n");
		return 2;
	}
	return options.check ? check(&options) : apply(&options);
}
