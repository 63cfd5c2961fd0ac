/* SPDX-License-Identifier: Apache-2.0 */
/* Random operations on names, for a mounted file system of any kind. Linked statically.
 *
 *	tree_torture own FOLDER SEED SECONDS PROCESSES       each in a tree of its own, FOLDER/tN
 *	tree_torture together FOLDER SEED SECONDS PROCESSES  all in FOLDER, of a few names
 *	tree_torture check FOLDER                            the tree holds together; prints a
 *digest
 *
 * own: each process knows what has to be there: after each operation it looks at some of it, at the
 * end at all. Each operation's error is the one that POSIX names for what is there. A difference
 * prints the last operations.
 *
 * together: nobody knows; an operation works or fails as one can that others were faster than.
 *
 * check: what a directory lists is there, once, and is what it says; an inode has as many names as
 * it counts, and a directory as many subdirectories. The digest is the same for any client. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#define ENTRIES   300u
#define NAMES     40u /* different ones */
#define LOG_LINES 200u
#define BYTES     30000u
#define PATH_SIZE 4096u
#define DEPTH     6u
#define FOUND_MAX 20000u

enum kind { FOLDER, FILE_, LINK, FIFO };

/* What names are of; a directory has one name. */
struct object {
	enum kind kind;
	unsigned links; /* names; 0: free */
	unsigned mode, uid, gid;
	uint64_t version, written, size; /* bytes of @version up to @written, then zeros */
	uint64_t mtime;                  /* 0: not known */
	uint64_t target;                 /* of a symbolic link */
	uint64_t xattr[3];               /* values; 0: not there */
	ino_t number;
};

struct entry {
	bool used;
	unsigned folder, object; /* of objects */
	unsigned name;
};

static struct object objects[ENTRIES + 1]; /* 0: the root */
static struct entry entries[ENTRIES];
static char root[512];
static char log_lines[LOG_LINES][160];
static uint64_t state, seed, steps, counter;
static bool had_xattr, no_xattr, no_exchange, no_replace;
static uint8_t buffer[BYTES], wanted[BYTES];

/* ---- telling ---- */
static void __attribute__((format(printf, 1, 2))) note(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(log_lines[steps % LOG_LINES], sizeof(log_lines[0]), format, args);
	va_end(args);
}

static void __attribute__((noreturn, format(printf, 1, 2))) stop(const char *format, ...)
{
	uint64_t first = steps < 60 ? 0 : steps - 59;
	va_list args;

	printf("seed %llu, the last operations in %s:\n", (unsigned long long)seed, root);
	for (uint64_t i = first; i <= steps; i++)
		if (log_lines[i % LOG_LINES][0])
			printf("  %llu: %s\n", (unsigned long long)i, log_lines[i % LOG_LINES]);
	printf("tree_torture: %s: step %llu: ", root, (unsigned long long)steps);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	printf("\n");
	exit(1);
}

static void need(bool good, const char *what)
{
	if (!good)
		stop("%s: %s", what, strerror(errno));
}

static unsigned below(unsigned limit)
{
	uint64_t x = state += 0x9e3779b97f4a7c15ull;

	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
	return (unsigned)((x ^ (x >> 31)) % limit);
}

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* The error of a call was @expected (0: none), or @other. */
static void came(int result, int expected, int other, const char *what)
{
	int error = result < 0 ? errno : 0;

	if (error != expected && (other == 0 || error != other))
		stop("%s: %s, not %s", what, strerror(error), strerror(expected));
}

/* ---- names ---- */
static void name_of(unsigned number, char to[256])
{
	if (number % 10 == 7) { /* the longest there is */
		memset(to, 'l', 254);
		to[254] = (char)('0' + number / 10);
		to[255] = 0;
	} else if (number % 10 == 3) {
		snprintf(to, 256, "\xc3\xa9 t\xc3\xa9\n%u", number);
	} else {
		snprintf(to, 256, "n%u", number);
	}
}

static unsigned depth_of(unsigned folder)
{
	unsigned depth = 0;

	while (folder != 0) {
		for (unsigned i = 0; i < ENTRIES; i++)
			if (entries[i].used && entries[i].object == folder) {
				folder = entries[i].folder;
				break;
			}
		depth++;
	}
	return depth;
}

static void path_of(unsigned folder, char *to)
{
	char name[256];

	if (folder == 0) {
		strcpy(to, root);
		return;
	}
	for (unsigned i = 0; i < ENTRIES; i++)
		if (entries[i].used && entries[i].object == folder) {
			path_of(entries[i].folder, to);
			name_of(entries[i].name, name);
			strcat(strcat(to, "/"), name);
			return;
		}
	stop("the model is wrong: a folder without a name");
}

static const char *path(unsigned folder, unsigned name, char *to)
{
	char last[256];

	path_of(folder, to);
	name_of(name, last);
	return strcat(strcat(to, "/"), last);
}

static struct entry *look_up(unsigned folder, unsigned name)
{
	for (unsigned i = 0; i < ENTRIES; i++)
		if (entries[i].used && entries[i].folder == folder && entries[i].name == name)
			return &entries[i];
	return NULL;
}

static bool is_inside(unsigned folder, unsigned other)
{
	while (folder != other && folder != 0)
		for (unsigned i = 0; i < ENTRIES; i++)
			if (entries[i].used && entries[i].object == folder) {
				folder = entries[i].folder;
				break;
			}
	return folder == other;
}

static unsigned names_in(unsigned folder, bool folders_only)
{
	unsigned count = 0;

	for (unsigned i = 0; i < ENTRIES; i++)
		count += entries[i].used && entries[i].folder == folder &&
			 (!folders_only || objects[entries[i].object].kind == FOLDER);
	return count;
}

static struct entry *any_entry(void)
{
	for (unsigned tries = 0; tries < 50; tries++) {
		struct entry *entry = &entries[below(ENTRIES)];

		if (entry->used)
			return entry;
	}
	return NULL;
}

static struct entry *any_of(enum kind kind)
{
	for (unsigned tries = 0; tries < 100; tries++) {
		struct entry *entry = any_entry();

		if (entry && objects[entry->object].kind == kind)
			return entry;
	}
	return NULL;
}

static unsigned any_folder(void)
{
	struct entry *entry = below(3) ? any_of(FOLDER) : NULL;

	return entry ? entry->object : 0;
}

static bool enter(unsigned folder, unsigned name, unsigned object)
{
	for (unsigned i = 0; i < ENTRIES; i++)
		if (!entries[i].used) {
			entries[i] = (struct entry){true, folder, object, name};
			objects[object].links++;
			return true;
		}
	return false;
}

static void leave(struct entry *entry)
{
	objects[entry->object].links--;
	entry->used = false;
}

static bool full(void)
{
	unsigned count = 0;

	for (unsigned i = 0; i < ENTRIES; i++)
		count += entries[i].used;
	return count + 2 >= ENTRIES;
}

/* ---- looking ---- */
static void fill(const struct object *object, uint8_t *to)
{
	memset(to, 0, BYTES);
	for (uint64_t i = 0; i < object->written; i++)
		to[i] = (uint8_t)(object->version * 31 + i + i / 4096);
}

static void check_bytes(const struct object *object, const char *at)
{
	int fd = open(at, O_RDONLY | O_CLOEXEC);
	uint64_t all = 0;
	ssize_t count;

	need(fd >= 0, "open to read");
	while ((count = read(fd, buffer + all, BYTES - all)) > 0)
		all += (uint64_t)count;
	need(count == 0 || all == BYTES, "read");
	close(fd);
	if (all != object->size)
		stop("%s: %llu bytes, not %llu", at, (unsigned long long)all,
		     (unsigned long long)object->size);
	fill(object, wanted);
	if (memcmp(buffer, wanted, all) != 0)
		stop("%s: other bytes", at);
}

static void check_xattrs(const struct object *object, const char *at)
{
	char list[1024], name[32], value[32], found[64];
	ssize_t length, size;
	unsigned there = 0, listed = 0;

	if (no_xattr || (object->kind != FILE_ && object->kind != FOLDER))
		return;
	for (unsigned i = 0; i < 3; i++) {
		snprintf(name, sizeof(name), "user.x%u", i);
		snprintf(value, sizeof(value), "v%llu", (unsigned long long)object->xattr[i]);
		size = lgetxattr(at, name, found, sizeof(found));
		if (size < 0 && errno == EOPNOTSUPP && !had_xattr) {
			no_xattr = true;
			return;
		}
		if (object->xattr[i] == 0 && (size >= 0 || errno != ENODATA))
			stop("%s: %s is there: %zd %s", at, name, size, strerror(errno));
		if (object->xattr[i] &&
		    (size != (ssize_t)strlen(value) || memcmp(found, value, (size_t)size) != 0))
			stop("%s: %s is %.*s, not %s (%s)", at, name, (int)(size > 0 ? size : 0),
			     found, value, strerror(errno));
		there += object->xattr[i] != 0;
	}
	length = llistxattr(at, list, sizeof(list));
	need(length >= 0, "llistxattr");
	for (const char *i = list; i < list + length; i += strlen(i) + 1)
		listed += strncmp(i, "user.x", 6) == 0;
	if (listed != there)
		stop("%s: %u attributes are listed, not %u", at, listed, there);
}

static void check_object(struct object *object, const char *at)
{
	static const mode_t types[] = {S_IFDIR, S_IFREG, S_IFLNK, S_IFIFO};
	unsigned links = object->links;
	char target[64];
	struct stat seen;

	need(lstat(at, &seen) == 0, at);
	if (object->kind == FOLDER)
		links = 2 + names_in((unsigned)(object - objects), true);
	if ((seen.st_mode & S_IFMT) != types[object->kind] || seen.st_nlink != links ||
	    (object->kind != LINK && (seen.st_mode & 07777) != object->mode) ||
	    seen.st_uid != object->uid || seen.st_gid != object->gid)
		stop("%s: mode %o, %u links, owner %u:%u, not %o, %u, %u:%u", at, seen.st_mode,
		     (unsigned)seen.st_nlink, seen.st_uid, seen.st_gid, object->mode, links,
		     object->uid, object->gid);
	if (object->number && seen.st_ino != object->number)
		stop("%s: inode %llu, not %llu", at, (unsigned long long)seen.st_ino,
		     (unsigned long long)object->number);
	object->number = seen.st_ino;
	if (object->mtime &&
	    (uint64_t)seen.st_mtim.tv_sec * 1000000000 + (uint64_t)seen.st_mtim.tv_nsec !=
		object->mtime)
		stop("%s: changed at %lld.%09ld, not %llu", at, (long long)seen.st_mtim.tv_sec,
		     seen.st_mtim.tv_nsec, (unsigned long long)object->mtime);
	if (object->kind == FILE_ && (uint64_t)seen.st_size != object->size)
		stop("%s: %lld bytes, not %llu", at, (long long)seen.st_size,
		     (unsigned long long)object->size);
	if (object->kind == LINK) {
		ssize_t length = readlink(at, target, sizeof(target) - 1);

		need(length >= 0, "readlink");
		target[length] = 0;
		if (strtoull(target + 1, NULL, 10) != object->target || target[0] != 't')
			stop("%s: leads to %s, not t%llu", at, target,
			     (unsigned long long)object->target);
	}
}

static void check_folder(unsigned folder)
{
	static const unsigned char types[] = {DT_DIR, DT_REG, DT_LNK, DT_FIFO};
	char at[PATH_SIZE], name[256];
	bool listed[NAMES] = {false};
	struct dirent *found;
	DIR *dir;

	path_of(folder, at);
	dir = opendir(at);
	need(dir != NULL, "opendir");
	while (errno = 0, (found = readdir(dir)) != NULL) {
		const struct entry *entry = NULL;
		unsigned number = 0;

		if (strcmp(found->d_name, ".") == 0 || strcmp(found->d_name, "..") == 0)
			continue;
		for (; number < NAMES; number++) {
			name_of(number, name);
			if (strcmp(found->d_name, name) == 0)
				break;
		}
		entry = number < NAMES ? look_up(folder, number) : NULL;
		if (!entry)
			stop("%s lists %s, which is not there", at, found->d_name);
		if (listed[number])
			stop("%s lists %s twice", at, found->d_name);
		listed[number] = true;
		if (found->d_type != DT_UNKNOWN &&
		    found->d_type != types[objects[entry->object].kind])
			stop("%s lists %s as %u", at, found->d_name, found->d_type);
		if (objects[entry->object].number && objects[entry->object].number != found->d_ino)
			stop("%s lists %s with inode %llu, not %llu", at, found->d_name,
			     (unsigned long long)found->d_ino,
			     (unsigned long long)objects[entry->object].number);
	}
	need(errno == 0, "readdir");
	closedir(dir);
	for (unsigned i = 0; i < NAMES; i++)
		if (!listed[i] && look_up(folder, i)) {
			name_of(i, name);
			stop("%s does not list %s", at, name);
		}
}

static void check_all(void)
{
	char at[PATH_SIZE];

	check_folder(0);
	for (unsigned i = 0; i < ENTRIES; i++) {
		struct object *object = &objects[entries[i].object];

		if (!entries[i].used)
			continue;
		check_object(object, path(entries[i].folder, entries[i].name, at));
		check_xattrs(object, at);
		if (object->kind == FOLDER)
			check_folder(entries[i].object);
		if (object->kind == FILE_)
			check_bytes(object, at);
	}
}

/* ---- changing ---- */
static void step_make(void)
{
	unsigned folder = any_folder(), name = below(NAMES), number = 1;
	enum kind kind = (enum kind)(below(8) < 4 ? FILE_ : below(4));
	struct entry *there = look_up(folder, name);
	static const char *const verbs[] = {"mkdir", "create", "symlink", "mkfifo"};
	struct object made = {.kind = kind, .mode = kind == FOLDER ? 0755 : 0644};
	char at[PATH_SIZE], target[64];
	int result;

	if (full() || (kind == FOLDER && depth_of(folder) >= DEPTH))
		return;
	path(folder, name, at);
	note("%s %s", verbs[kind], at);
	if (kind == FOLDER) {
		result = mkdir(at, 0755);
	} else if (kind == FILE_) {
		result = open(at, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);
		if (result >= 0)
			close(result);
	} else if (kind == LINK) {
		made.target = ++counter;
		snprintf(target, sizeof(target), "t%llu", (unsigned long long)made.target);
		result = symlink(target, at);
	} else {
		result = mkfifo(at, 0644);
	}
	came(result, there ? EEXIST : 0, 0, verbs[kind]);
	if (there)
		return;
	while (objects[number].links)
		number++;
	objects[number] = made;
	enter(folder, name, number);
}

static void step_link(void)
{
	unsigned folder = any_folder(), name = below(NAMES);
	struct entry *from = any_entry(), *there = look_up(folder, name);
	char at[PATH_SIZE], to[PATH_SIZE];

	if (!from || full())
		return;
	path(from->folder, from->name, at);
	path(folder, name, to);
	note("link %s %s", at, to);
	if (objects[from->object].kind == FOLDER) {
		came(link(at, to), EPERM, there ? EEXIST : 0, "link of a directory");
		return;
	}
	came(link(at, to), there ? EEXIST : 0, 0, "link");
	if (!there)
		enter(folder, name, from->object);
}

static void step_remove(void)
{
	struct entry *entry = any_entry();
	bool folder = below(2);
	char at[PATH_SIZE];

	if (!entry)
		return;
	path(entry->folder, entry->name, at);
	note("%s %s", folder ? "rmdir" : "unlink", at);
	if (folder && objects[entry->object].kind != FOLDER) {
		came(rmdir(at), ENOTDIR, 0, "rmdir");
	} else if (folder && names_in(entry->object, false)) {
		came(rmdir(at), ENOTEMPTY, EEXIST, "rmdir");
	} else if (folder) {
		came(rmdir(at), 0, 0, "rmdir");
		leave(entry);
	} else if (objects[entry->object].kind == FOLDER) {
		came(unlink(at), EISDIR, EPERM, "unlink");
	} else {
		came(unlink(at), 0, 0, "unlink");
		leave(entry);
	}
}

/* What rename has to say of @from over @to, which is there. */
static int over(const struct entry *from, const struct entry *to)
{
	bool folder = objects[from->object].kind == FOLDER;

	if (folder && objects[to->object].kind != FOLDER)
		return ENOTDIR;
	if (!folder && objects[to->object].kind == FOLDER)
		return EISDIR;
	return folder && names_in(to->object, false) ? ENOTEMPTY : 0;
}

static void step_rename(void)
{
	unsigned folder = any_folder(), name = below(NAMES);
	struct entry *from = any_entry(), *to = NULL;
	char at[PATH_SIZE], target[PATH_SIZE];
	int expected = 0, other = 0;

	if (!from)
		return;
	if (below(2) && (to = any_entry()) != NULL) {
		folder = to->folder;
		name = to->name;
	}
	to = look_up(folder, name);
	path(from->folder, from->name, at);
	path(folder, name, target);
	note("rename %s %s", at, target);
	if (objects[from->object].kind == FOLDER && is_inside(folder, from->object) &&
	    from->object != 0) {
		came(rename(at, target), to == from ? 0 : EINVAL, 0, "rename into itself");
		return;
	}
	if (objects[from->object].kind == FOLDER && depth_of(folder) + 3 >= DEPTH)
		return;
	if (to && to->object == from->object) {
		came(rename(at, target), 0, 0, "rename over the same");
		return;
	}
	if (to && objects[to->object].kind == FOLDER && is_inside(from->folder, to->object)) {
		expected = ENOTEMPTY;
		other = objects[from->object].kind == FOLDER ? EEXIST : EISDIR;
	} else if (to) {
		expected = over(from, to);
		other = expected == ENOTEMPTY ? EEXIST : 0;
	}
	came(rename(at, target), expected, other, "rename");
	if (expected)
		return;
	if (to)
		leave(to);
	from->folder = folder;
	from->name = name;
}

static void step_exchange(void)
{
	struct entry *one = any_entry(), *two = any_entry();
	bool exchange = below(2);
	char at[PATH_SIZE], target[PATH_SIZE];
	int result;

	if (!one || !two || one == two || (exchange ? no_exchange : no_replace))
		return;
	path(one->folder, one->name, at);
	path(two->folder, two->name, target);
	note("%s %s %s", exchange ? "exchange" : "rename, not over,", at, target);
	if (is_inside(one->folder, two->object) || is_inside(two->folder, one->object))
		return;
	result = renameat2(AT_FDCWD, at, AT_FDCWD, target,
			   exchange ? RENAME_EXCHANGE : RENAME_NOREPLACE);
	if (result < 0 && errno == EINVAL) {
		*(exchange ? &no_exchange : &no_replace) = true;
		return;
	}
	came(result, exchange ? 0 : EEXIST, 0, "renameat2");
	if (exchange) {
		unsigned object = one->object;

		one->object = two->object;
		two->object = object;
	}
}

static void step_attributes(void)
{
	struct entry *entry = any_entry();
	struct timespec times[2];
	struct object *object;
	char at[PATH_SIZE];

	if (!entry)
		return;
	object = &objects[entry->object];
	path(entry->folder, entry->name, at);
	if (below(3) == 0 && object->kind != LINK) {
		object->mode = object->kind == FOLDER ? 0700 | below(0100) | below(2) * 01000
						      : below(07777 + 1);
		note("chmod %o %s", object->mode, at);
		came(chmod(at, object->mode), 0, 0, "chmod");
	} else if (below(2)) {
		object->uid = below(3) * 1000;
		object->gid = below(3) * 100;
		note("chown %u:%u %s", object->uid, object->gid, at);
		came(lchown(at, object->uid, object->gid), 0, 0, "lchown");
		/* POSIX lets a file system take these away for root or not: set them anew. */
		if (object->kind != LINK)
			came(chmod(at, object->mode), 0, 0, "chmod");
	} else {
		object->mtime = 1000000000000000000ull + below(1u << 30) * 1000000007ull;
		times[0] = times[1] = (struct timespec){
		    .tv_sec = (time_t)(object->mtime / 1000000000),
		    .tv_nsec = (long)(object->mtime % 1000000000),
		};
		note("utimes %s", at);
		came(utimensat(AT_FDCWD, at, times, AT_SYMLINK_NOFOLLOW), 0, 0, "utimensat");
		if (object->kind == FOLDER)
			object->mtime = 0;
	}
}

static void step_write(void)
{
	struct entry *entry = any_of(FILE_);
	struct object *object;
	char at[PATH_SIZE];
	int fd;

	if (!entry)
		return;
	object = &objects[entry->object];
	path(entry->folder, entry->name, at);
	object->mtime = 0;
	if (below(3) == 0) {
		object->size = below(BYTES);
		object->written = object->written < object->size ? object->written : object->size;
		note("truncate %s %llu", at, (unsigned long long)object->size);
		came(truncate(at, (off_t)object->size), 0, 0, "truncate");
		return;
	}
	object->version = ++counter;
	object->size = object->written = below(below(4) ? 2000 : BYTES);
	note("write %s %llu", at, (unsigned long long)object->size);
	fill(object, buffer);
	fd = open(at, O_WRONLY | O_TRUNC | O_CLOEXEC);
	need(fd >= 0, "open to write");
	need(write(fd, buffer, object->size) == (ssize_t)object->size, "write");
	if (below(3) == 0)
		need(fsync(fd) == 0, "fsync");
	need(close(fd) == 0, "close");
	/* A write by root leaves set-user-ID or takes it away, as the file system likes. */
	came(chmod(at, object->mode), 0, 0, "chmod");
}

static void step_xattr(void)
{
	struct entry *entry = any_of(below(2) ? FILE_ : FOLDER);
	unsigned which = below(3);
	char at[PATH_SIZE], name[32], value[32];
	struct object *object;

	if (!entry || no_xattr)
		return;
	object = &objects[entry->object];
	path(entry->folder, entry->name, at);
	snprintf(name, sizeof(name), "user.x%u", which);
	if (below(3) == 0) {
		note("removexattr %s %s", at, name);
		came(lremovexattr(at, name), object->xattr[which] ? 0 : ENODATA,
		     object->xattr[which] ? 0 : EOPNOTSUPP, "removexattr");
		object->xattr[which] = 0;
		return;
	}
	snprintf(value, sizeof(value), "v%llu", (unsigned long long)++counter);
	note("setxattr %s %s %s", at, name, value);
	if (lsetxattr(at, name, value, strlen(value), 0) != 0) {
		need(errno == EOPNOTSUPP && !had_xattr, "setxattr");
		no_xattr = true;
		return;
	}
	had_xattr = true;
	object->xattr[which] = counter;
}

static void step_look(void)
{
	struct entry *entry = any_entry();
	char at[PATH_SIZE];

	note("look");
	if (!entry)
		return;
	check_object(&objects[entry->object], path(entry->folder, entry->name, at));
	check_xattrs(&objects[entry->object], at);
	if (objects[entry->object].kind == FOLDER)
		check_folder(entry->object);
	if (objects[entry->object].kind == FILE_)
		check_bytes(&objects[entry->object], at);
}

static void forget_all(void)
{
	int caches = getenv("FORGET_ALL") ? open("/proc/sys/vm/drop_caches", O_WRONLY) : -1;

	sync();
	if (caches >= 0) {
		need(write(caches, "3", 1) == 1, "drop_caches");
		close(caches);
	}
}

static void own(double seconds)
{
	static void (*const verbs[])(void) = {
	    step_make,       step_make,  step_make,  step_make,   step_link,   step_remove,
	    step_remove,     step_write, step_write, step_rename, step_rename, step_exchange,
	    step_attributes, step_xattr, step_look,  step_look,   step_look,
	};
	double end = now() + seconds;

	umask(0);
	need(mkdir(root, 0755) == 0, root);
	objects[0] = (struct object){.kind = FOLDER, .links = 1, .mode = 0755};
	for (; now() < end; steps++) {
		verbs[below(sizeof(verbs) / sizeof(verbs[0]))]();
		if (below(2000) == 0)
			check_all();
	}
	note("at the end");
	check_all();
	forget_all();
	check_all();
	printf("tree_torture: %s: %llu steps%s%s%s\n", root, (unsigned long long)steps,
	       no_xattr ? ", no extended attributes" : "", no_exchange ? ", no exchange" : "",
	       no_replace ? ", no RENAME_NOREPLACE" : "");
}

/* ---- without knowing ---- */
static void some_path(char to[PATH_SIZE], unsigned depth)
{
	strcpy(to, root);
	for (unsigned i = 0; i < depth; i++)
		sprintf(to + strlen(to), "/d%u", below(3));
	sprintf(to + strlen(to), "/%c%u", below(2) ? 'd' : 'f', below(3));
}

/* What others who were faster make of a call. ETXTBSY is how Linux's NFS client refuses to remove
 * or replace what it is just removing. */
static void may(int result, const char *what)
{
	static const int errors[] = {ENOENT, EEXIST, ENOTDIR, EISDIR, ENOTEMPTY, EPERM,
				     EINVAL, ESTALE, ELOOP,   ENXIO,  EBUSY,     ETXTBSY};

	if (result >= 0)
		return;
	for (unsigned i = 0; i < sizeof(errors) / sizeof(errors[0]); i++)
		if (errno == errors[i])
			return;
	stop("%s: %s", what, strerror(errno));
}

static void list(const char *at)
{
	DIR *dir = opendir(at);

	may(dir ? 0 : -1, "opendir");
	if (!dir)
		return;
	for (unsigned i = 0; readdir(dir) != NULL; i++)
		if (i > 1000)
			stop("%s: a list without an end", at);
	closedir(dir);
}

static void open_and_write(const char *at)
{
	int fd = open(at, O_RDWR | O_CREAT | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC, 0644);
	ssize_t count;

	may(fd, "open");
	if (fd < 0)
		return;
	count = pwrite(fd, wanted, below(9000), below(9000));
	may(count < 0 ? -1 : 0, "write");
	count = pread(fd, buffer, 9000, below(9000));
	may(count < 0 ? -1 : 0, "read");
	if (below(2))
		may(ftruncate(fd, below(9000)), "ftruncate");
	may(close(fd), "close");
}

static void step_together(void)
{
	char at[PATH_SIZE], to[PATH_SIZE];
	unsigned depth = below(3);
	struct stat seen;

	some_path(at, depth);
	some_path(to, depth); /* so that no directory gets deeper */
	note("%s, %s", at, to);
	switch (below(11)) {
	case 0:
	case 1:
		may(mkdir(at, 0755), "mkdir");
		break;
	case 2:
	case 3:
		open_and_write(at);
		break;
	case 4:
		may(symlink("f0", at), "symlink");
		break;
	case 5:
		may(link(at, to), "link");
		break;
	case 6:
		may(unlink(at), "unlink");
		break;
	case 7:
		may(rmdir(at), "rmdir");
		break;
	case 8:
		may(rename(at, to), "rename");
		break;
	case 9:
		may(lstat(at, &seen), "lstat");
		may(chmod(at, 0755), "chmod");
		break;
	default:
		list(at);
		break;
	}
}

static void together(double seconds)
{
	double end = now() + seconds;

	for (; now() < end; steps++)
		step_together();
	printf("tree_torture: %llu steps together\n", (unsigned long long)steps);
}

/* ---- a tree as it is ---- */
struct found {
	ino_t number;
	unsigned links, names;
};

static struct found found[FOUND_MAX];
static unsigned found_count, all_names;

static int by_name(const struct dirent **one, const struct dirent **two)
{
	return strcmp((*one)->d_name, (*two)->d_name);
}

static uint64_t add(uint64_t sum, const void *from, size_t length)
{
	for (size_t i = 0; i < length; i++)
		sum = (sum ^ ((const uint8_t *)from)[i]) * 0x100000001b3ull;
	return sum;
}

static uint64_t add_bytes(uint64_t sum, const char *at)
{
	int fd = open(at, O_RDONLY | O_CLOEXEC);
	ssize_t count;

	need(fd >= 0, at);
	while ((count = read(fd, buffer, sizeof(buffer))) > 0)
		sum = add(sum, buffer, (size_t)count);
	need(count == 0 && close(fd) == 0, "read");
	return sum;
}

static void count_name(const struct stat *seen)
{
	for (unsigned i = 0; i < found_count; i++)
		if (found[i].number == seen->st_ino) {
			found[i].names++;
			return;
		}
	if (found_count == FOUND_MAX)
		stop("more than %u inodes", FOUND_MAX);
	found[found_count++] = (struct found){seen->st_ino, (unsigned)seen->st_nlink, 1};
}

static uint64_t walk(const char *at, uint64_t sum)
{
	struct dirent **names;
	int count = scandir(at, &names, NULL, by_name);
	unsigned folders = 0;
	struct stat seen;

	need(count >= 2, at);
	for (int i = 0; i < count; i++) {
		const char *name = names[i]->d_name;
		char *below_it, target[256];
		uint64_t values[5];

		if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
			continue;
		if (i > 0 && strcmp(name, names[i - 1]->d_name) == 0)
			stop("%s lists %s twice", at, name);
		need(asprintf(&below_it, "%s/%s", at, name) > 0, "asprintf");
		need(lstat(below_it, &seen) == 0, below_it);
		if (seen.st_ino != names[i]->d_ino)
			stop("%s lists %s as another inode", at, name);
		if (names[i]->d_type != DT_UNKNOWN &&
		    (mode_t)DTTOIF(names[i]->d_type) != (seen.st_mode & S_IFMT))
			stop("%s lists %s as another type", at, name);
		all_names++;
		sum = add(sum, name, strlen(name) + 1);
		values[0] = seen.st_mode;
		values[1] = S_ISDIR(seen.st_mode) ? 0 : seen.st_nlink;
		values[2] = S_ISREG(seen.st_mode) ? (uint64_t)seen.st_size : 0;
		values[3] = ((uint64_t)seen.st_uid << 32) + seen.st_gid;
		values[4] =
		    (uint64_t)seen.st_mtim.tv_sec * 1000000000 + (uint64_t)seen.st_mtim.tv_nsec;
		sum = add(sum, values, sizeof(values));
		if (S_ISDIR(seen.st_mode)) {
			folders++;
			sum = walk(below_it, sum);
		} else {
			count_name(&seen);
		}
		if (S_ISREG(seen.st_mode))
			sum = add_bytes(sum, below_it);
		if (S_ISLNK(seen.st_mode)) {
			ssize_t length = readlink(below_it, target, sizeof(target));

			need(length > 0, "readlink");
			sum = add(sum, target, (size_t)length);
		}
		free(below_it);
	}
	for (int i = 0; i < count; i++)
		free(names[i]);
	free(names);
	need(lstat(at, &seen) == 0, at);
	if (seen.st_nlink != folders + 2)
		stop("%s has %u links and %u directories in it", at, (unsigned)seen.st_nlink,
		     folders);
	return sum;
}

static void check(const char *folder)
{
	uint64_t sum = walk(folder, 0xcbf29ce484222325ull);

	for (unsigned i = 0; i < found_count; i++)
		if (found[i].links != found[i].names)
			stop("inode %llu says it has %u names, and has %u",
			     (unsigned long long)found[i].number, found[i].links, found[i].names);
	printf("tree_torture: %u names, digest %016llx\n", all_names, (unsigned long long)sum);
}

int main(int argc, char **argv)
{
	unsigned processes;
	bool apart;
	int status, bad = 0;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc == 3 && strcmp(argv[1], "check") == 0) {
		check(argv[2]);
		return 0;
	}
	if (argc != 6) {
		fprintf(stderr, "usage: tree_torture own|together FOLDER SEED SECONDS PROCESSES\n"
				"       tree_torture check FOLDER\n");
		return 2;
	}
	apart = strcmp(argv[1], "own") == 0;
	processes = (unsigned)strtoul(argv[5], NULL, 10);
	for (unsigned i = 0; i < processes; i++) {
		if (fork() != 0)
			continue;
		state = seed = strtoull(argv[3], NULL, 10) * 100 + i;
		snprintf(root, sizeof(root), apart ? "%s/t%llu" : "%s", argv[2],
			 (unsigned long long)seed);
		if (apart)
			own(strtod(argv[4], NULL));
		else
			together(strtod(argv[4], NULL));
		exit(0);
	}
	while (wait(&status) > 0)
		bad |= status;
	return bad != 0;
}
