/* SPDX-License-Identifier: Apache-2.0 */
/* Random operations on two files against a model in memory, for a mounted file system of any kind.
 * Linked statically.
 *
 *	file_torture alone FOLDER SEED SECONDS SIZE   two files of this program's own
 *	file_torture shared FOLDER SEED SECONDS SIZE  one file of several programs, on several
 *	                                              clients: each step under a lock of its own
 *
 * alone: what one program does and sees: read, write, append, mappings, O_DIRECT, truncate,
 * fallocate, holes, copies within and between the files, holes asked for, size, closing and
 * opening, the cache thrown away. What the file system refuses as not there (EOPNOTSUPP) is not
 * tried again, and told at the end. A difference prints the last operations and the two byte
 * strings. With FORGET_ALL in the environment, for a machine of one's own, the kernel's caches are
 * emptied now and then.
 *
 * shared: what a lock promises: who has it sees all that was written under it before. The file
 * says in its first block how long it is and what its bytes add up to. */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define FILES     2u
#define BLOCK     4096u
#define LOG_LINES 400u
#define CHUNK     65536u /* most of one operation, but for truncate and copies */

enum kind {
	READ,
	WRITE,
	APPEND,
	MAP_READ,
	MAP_WRITE,
	DIRECT_READ,
	DIRECT_WRITE,
	TRUNCATE,
	ALLOCATE,
	ALLOCATE_KEEP,
	PUNCH,
	ZERO,
	COPY,
	CLONE,
	HOLES,
	SIZE,
	SYNC,
	FORGET,
	REOPEN,
	WHOLE,
	KINDS,
};

static const char *const names[KINDS] = {
    "read",     "write",    "append", "mapread", "mapwrite", "directread", "directwrite",
    "truncate", "allocate", "keep",   "punch",   "zero",     "copy",       "clone",
    "holes",    "size",     "sync",   "forget",  "reopen",   "whole",
};

/* How often of a hundred and some. */
static const unsigned weights[KINDS] = {12, 18, 5, 7, 8, 4, 4, 7, 4, 2,
					7,  3,  6, 4, 4, 3, 3, 2, 4, 1};

struct file {
	char path[512];
	int fd;
	uint8_t *model; /* @most bytes, zeros behind @size */
	uint64_t size;
};

static struct file files[FILES];
static uint64_t most, state, seed, steps;
static uint64_t done[KINDS];
static bool gone[KINDS]; /* the file system has it not */
static uint8_t *bytes;   /* @most, aligned to a block */
static char log_lines[LOG_LINES][96];

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
	uint64_t first = steps < LOG_LINES ? 0 : steps - LOG_LINES + 1;
	va_list args;

	printf("seed %llu, the last operations:\n", (unsigned long long)seed);
	for (uint64_t i = first; i <= steps; i++)
		if (log_lines[i % LOG_LINES][0])
			printf("  %llu: %s\n", (unsigned long long)i, log_lines[i % LOG_LINES]);
	printf("file_torture: step %llu: ", (unsigned long long)steps);
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

static uint64_t below(uint64_t limit)
{
	uint64_t x = state += 0x9e3779b97f4a7c15ull;

	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
	return (x ^ (x >> 31)) % limit;
}

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* ---- the model ---- */
/* Whose the difference is, as far as another read past this machine's cache tells. */
static const char *of_server(const struct file *file, const uint8_t *found, uint64_t at,
			     uint64_t length)
{
	int fd = open(file->path, O_RDONLY | O_DIRECT | O_CLOEXEC);
	uint8_t *again = aligned_alloc(BLOCK, most + BLOCK);
	uint64_t start = at - at % BLOCK, count = 0;
	ssize_t more = 1;

	if (fd < 0 || !again)
		return "it can not be read past the cache";
	fsync(file->fd);
	while (count < at + length - start && more > 0) {
		more = pread(fd, again + count, most + BLOCK - count - count % BLOCK,
			     (off_t)(start + count));
		count += more > 0 ? (uint64_t)more : 0;
		if (more % BLOCK)
			break;
	}
	if (count < at + length - start)
		return "past the cache it is shorter";
	if (memcmp(again + (at - start), file->model + at, length) == 0)
		return "past the cache it is right";
	return memcmp(again + (at - start), found, length) == 0
		   ? "past the cache it is the same"
		   : "past the cache it is a third thing";
}

static void compare(const struct file *file, const uint8_t *found, uint64_t at, uint64_t length)
{
	uint64_t first = 0, last = length;

	if (memcmp(found, file->model + at, length) == 0)
		return;
	printf("%s\n", of_server(file, found, at, length));
	while (found[first] == file->model[at + first])
		first++;
	while (found[last - 1] == file->model[at + last - 1])
		last--;
	stop("%s of %llu bytes: %llu to %llu differ; %02x %02x %02x %02x, not %02x %02x %02x %02x",
	     file->path, (unsigned long long)file->size, (unsigned long long)(at + first),
	     (unsigned long long)(at + last), found[first], found[first + (first + 1 < last)],
	     found[last - 1 - (first + 1 < last)], found[last - 1], file->model[at + first],
	     file->model[at + first + (first + 1 < last)],
	     file->model[at + last - 1 - (first + 1 < last)], file->model[at + last - 1]);
}

static void resized(struct file *file, uint64_t size)
{
	if (size < file->size)
		memset(file->model + size, 0, file->size - size);
	file->size = size;
}

/* Where an operation is, often at the edges of blocks, pages and the file. */
static uint64_t some_place(const struct file *file, uint64_t limit)
{
	uint64_t at = below(limit);

	if (below(4) == 0 && file->size < limit)
		at = file->size - (file->size ? below(2) : 0);
	if (below(3) == 0)
		at -= at % BLOCK;
	return at < limit ? at : limit - 1;
}

static uint64_t some_length(uint64_t room)
{
	static const uint64_t usual[] = {1, 100, BLOCK, 3 * BLOCK, 20000, CHUNK};
	uint64_t limit = usual[below(sizeof(usual) / sizeof(usual[0]))];
	uint64_t length = 1 + below(limit);

	if (below(3) == 0 && length >= BLOCK)
		length -= length % BLOCK;
	return length < room ? length : room;
}

static void fresh(uint8_t *to, uint64_t length)
{
	uint8_t value = (uint8_t)(1 + below(255));

	for (uint64_t i = 0; i < length; i++)
		to[i] = (uint8_t)(value + i % 251 + i / 4096);
}

static void write_fully(const struct file *file, uint64_t at, const uint8_t *from, uint64_t length)
{
	while (length > 0) {
		ssize_t count = pwrite(file->fd, from, length, (off_t)at);

		need(count > 0, "pwrite");
		at += (uint64_t)count;
		from += count;
		length -= (uint64_t)count;
	}
}

/* Bytes there are of @length. */
static uint64_t read_fully(int fd, uint64_t at, uint8_t *to, uint64_t length)
{
	uint64_t all = 0;

	while (all < length) {
		ssize_t count = pread(fd, to + all, length - all, (off_t)(at + all));

		need(count >= 0, "pread");
		if (count == 0)
			break;
		all += (uint64_t)count;
	}
	return all;
}

static void check_read(const struct file *file, int fd, uint64_t at, uint64_t length)
{
	uint64_t there = at >= file->size ? 0 : file->size - at;
	uint64_t count = read_fully(fd, at, bytes, length);

	there = there < length ? there : length;
	if (count != there)
		stop("%s: %llu bytes read at %llu, not %llu", file->path, (unsigned long long)count,
		     (unsigned long long)at, (unsigned long long)there);
	compare(file, bytes, at, count);
}

static void put(struct file *file, uint64_t at, const uint8_t *from, uint64_t length)
{
	memcpy(file->model + at, from, length);
	if (file->size < at + length)
		file->size = at + length;
}

static void reopen(struct file *file)
{
	if (file->fd >= 0)
		need(close(file->fd) == 0, "close");
	file->fd = open(file->path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	need(file->fd >= 0, file->path);
}

/* ---- the operations ---- */
static void step_map(struct file *file, bool write)
{
	uint64_t at, length, start;
	uint8_t *map;

	if (file->size == 0)
		return;
	at = below(file->size);
	length = some_length(file->size - at);
	start = at - at % BLOCK;
	note("%s %s %llu+%llu", names[write ? MAP_WRITE : MAP_READ], file->path,
	     (unsigned long long)at, (unsigned long long)length);
	map = mmap(NULL, at + length - start, PROT_READ | (write ? PROT_WRITE : 0), MAP_SHARED,
		   file->fd, (off_t)start);
	need(map != MAP_FAILED, "mmap");
	if (write) {
		fresh(bytes, length);
		memcpy(map + (at - start), bytes, length);
		put(file, at, bytes, length);
		if (below(3) == 0)
			need(msync(map, at + length - start, MS_SYNC) == 0, "msync");
	} else {
		compare(file, map + (at - start), at, length);
	}
	if (file->size % BLOCK && at + length == file->size) /* behind the end are zeros */
		for (uint64_t i = file->size; i % BLOCK; i++)
			if (map[i - start] != 0)
				stop("%s: %02x in the map behind its end", file->path,
				     map[i - start]);
	need(munmap(map, at + length - start) == 0, "munmap");
}

static void step_direct(struct file *file, bool write)
{
	uint64_t at = below(most - CHUNK) / BLOCK * BLOCK,
		 length = (1 + below(CHUNK / BLOCK)) * BLOCK;
	int fd = open(file->path, O_RDWR | O_DIRECT | O_CLOEXEC);

	if (fd < 0 && errno == EINVAL) {
		gone[DIRECT_READ] = gone[DIRECT_WRITE] = true;
		return;
	}
	note("%s %s %llu+%llu", names[write ? DIRECT_WRITE : DIRECT_READ], file->path,
	     (unsigned long long)at, (unsigned long long)length);
	need(fd >= 0, "open with O_DIRECT");
	/* Nothing promises that what was written by a map is there before it is synced; Linux's
	 * NFS client does not look for it while a file is used with O_DIRECT (NFS_INO_ODIRECT). */
	need(fsync(file->fd) == 0, "fsync");
	if (write) {
		struct file direct = {.fd = fd};

		fresh(bytes, length);
		write_fully(&direct, at, bytes, length);
		put(file, at, bytes, length);
	} else if (at + length <= file->size) {
		check_read(file, fd, at, length);
	}
	need(close(fd) == 0, "close");
}

static void step_append(struct file *file)
{
	uint64_t length;
	int fd;

	if (file->size >= most)
		return;
	length = some_length(most - file->size);
	note("append %s +%llu at %llu", file->path, (unsigned long long)length,
	     (unsigned long long)file->size);
	fd = open(file->path, O_WRONLY | O_APPEND | O_CLOEXEC);
	need(fd >= 0, "open to append");
	fresh(bytes, length);
	need(write(fd, bytes, length) == (ssize_t)length, "append");
	put(file, file->size, bytes, length);
	need(close(fd) == 0, "close");
}

/* fallocate(2): whether it is there. */
static void step_range(struct file *file, enum kind kind)
{
	static const int modes[KINDS] = {
	    [ALLOCATE_KEEP] = FALLOC_FL_KEEP_SIZE,
	    [PUNCH] = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
	    [ZERO] = FALLOC_FL_ZERO_RANGE,
	};
	uint64_t at = some_place(file, most), length = some_length(most - at);

	note("%s %s %llu+%llu", names[kind], file->path, (unsigned long long)at,
	     (unsigned long long)length);
	if (fallocate(file->fd, modes[kind], (off_t)at, (off_t)length) != 0) {
		need(errno == EOPNOTSUPP, "fallocate");
		gone[kind] = true;
		return;
	}
	if (kind == PUNCH || kind == ZERO) {
		uint64_t end = at + length < file->size ? at + length : file->size;

		if (at < end)
			memset(file->model + at, 0, end - at);
	}
	if ((kind == ALLOCATE || kind == ZERO) && at + length > file->size)
		file->size = at + length;
}

static void step_copy(struct file *from, struct file *to)
{
	uint64_t at, length, target, all = 0;

	if (from->size == 0)
		return;
	at = some_place(from, from->size);
	target = some_place(to, most);
	length = below(4) == 0 ? most : some_length(most);
	length = length < from->size - at ? length : from->size - at;
	length = length < most - target ? length : most - target;
	if (from == to && target < at + length && at < target + length)
		return; /* they overlap: EINVAL */
	note("copy %s %llu+%llu to %s %llu", from->path, (unsigned long long)at,
	     (unsigned long long)length, to->path, (unsigned long long)target);
	/* Linux's NFS client writes out what is to be copied, but not what makes the source as long
	 * as it is; the server refuses a copy of bytes it has not (RFC 7862 15.2.3: INVAL). */
	if (from != to)
		need(fsync(from->fd) == 0, "fsync");
	while (all < length) {
		off64_t source = (off64_t)(at + all), sink = (off64_t)(target + all);
		ssize_t count = copy_file_range(from->fd, &source, to->fd, &sink, length - all, 0);

		if (count < 0 && all == 0 && (errno == EOPNOTSUPP || errno == EXDEV)) {
			gone[COPY] = true;
			return;
		}
		if (count <= 0)
			stop("copy_file_range: %zd after %llu of %llu: %s", count,
			     (unsigned long long)all, (unsigned long long)length, strerror(errno));
		all += (uint64_t)count;
	}
	memcpy(bytes, from->model + at, length);
	put(to, target, bytes, length);
}

static void step_clone(struct file *from, struct file *to)
{
	struct file_clone_range range = {.src_fd = from->fd};

	if (from->size < BLOCK)
		return;
	range.src_offset = below(from->size / BLOCK) * BLOCK;
	range.src_length = (1 + below((from->size - range.src_offset) / BLOCK)) * BLOCK;
	if (range.src_offset + range.src_length > from->size)
		return;
	range.dest_offset = below((most - range.src_length) / BLOCK + 1) * BLOCK;
	if (from == to && range.dest_offset < range.src_offset + range.src_length &&
	    range.src_offset < range.dest_offset + range.src_length)
		return;
	note("clone %s %llu+%llu to %s %llu", from->path, range.src_offset, range.src_length,
	     to->path, range.dest_offset);
	if (ioctl(to->fd, FICLONERANGE, &range) != 0) {
		need(errno == EOPNOTSUPP || errno == ENOTTY || errno == EINVAL, "FICLONERANGE");
		gone[CLONE] = true;
		return;
	}
	memcpy(bytes, from->model + range.src_offset, range.src_length);
	put(to, range.dest_offset, bytes, range.src_length);
}

/* Holes read as zeros and the last one is behind the end. */
static void step_holes(struct file *file)
{
	off_t at = 0;

	note("holes %s", file->path);
	while ((uint64_t)at < file->size) {
		off_t data = lseek(file->fd, at, SEEK_DATA);
		uint64_t end = data < 0 ? file->size : (uint64_t)data;

		need(data >= at || errno == ENXIO || errno == EINVAL, "SEEK_DATA");
		for (uint64_t i = (uint64_t)at; i < end; i++)
			if (file->model[i])
				stop("%s: a hole from %lld to %llu, data at %llu", file->path,
				     (long long)at, (unsigned long long)end, (unsigned long long)i);
		if (data < 0)
			break;
		at = lseek(file->fd, data, SEEK_HOLE);
		need(at > data && (uint64_t)at <= file->size, "SEEK_HOLE");
	}
	need(lseek(file->fd, (off_t)file->size, SEEK_DATA) < 0 && errno == ENXIO,
	     "SEEK_DATA at the end");
}

static void check_size(const struct file *file)
{
	struct stat seen, named;

	need(fstat(file->fd, &seen) == 0 && stat(file->path, &named) == 0, "stat");
	if ((uint64_t)seen.st_size != file->size || seen.st_size != named.st_size)
		stop("%s: %lld bytes, by name %lld, not %llu", file->path, (long long)seen.st_size,
		     (long long)named.st_size, (unsigned long long)file->size);
}

static void forget(struct file *file)
{
	bool all = below(8) == 0 && getenv("FORGET_ALL");
	int caches;

	need(fsync(file->fd) == 0, "fsync");
	need(posix_fadvise(file->fd, 0, 0, POSIX_FADV_DONTNEED) == 0, "posix_fadvise");
	if (!all)
		return;
	caches = open("/proc/sys/vm/drop_caches", O_WRONLY | O_CLOEXEC);
	need(caches >= 0 && write(caches, "3", 1) == 1 && close(caches) == 0, "drop_caches");
}

static void step_write(struct file *file)
{
	uint64_t at = some_place(file, most), length = some_length(most - at);

	note("write %s %llu+%llu", file->path, (unsigned long long)at, (unsigned long long)length);
	fresh(bytes, length);
	write_fully(file, at, bytes, length);
	put(file, at, bytes, length);
}

static void step_truncate(struct file *file)
{
	uint64_t size = below(8) == 0 ? 0 : some_place(file, most);

	note("truncate %s %llu, was %llu", file->path, (unsigned long long)size,
	     (unsigned long long)file->size);
	if (below(2))
		need(ftruncate(file->fd, (off_t)size) == 0, "ftruncate");
	else
		need(truncate(file->path, (off_t)size) == 0, "truncate");
	resized(file, size);
}

static void step(enum kind kind, struct file *file, struct file *other)
{
	uint64_t at = some_place(file, most), length = some_length(most - at);

	note("%s %s", names[kind], file->path);
	switch (kind) {
	case READ:
		note("read %s %llu+%llu", file->path, (unsigned long long)at,
		     (unsigned long long)length);
		check_read(file, file->fd, at, length);
		break;
	case WRITE:
		step_write(file);
		break;
	case APPEND:
		step_append(file);
		break;
	case MAP_READ:
	case MAP_WRITE:
		step_map(file, kind == MAP_WRITE);
		break;
	case DIRECT_READ:
	case DIRECT_WRITE:
		step_direct(file, kind == DIRECT_WRITE);
		break;
	case TRUNCATE:
		step_truncate(file);
		break;
	case ALLOCATE:
	case ALLOCATE_KEEP:
	case PUNCH:
	case ZERO:
		step_range(file, kind);
		break;
	case COPY:
		step_copy(file, other);
		break;
	case CLONE:
		step_clone(file, other);
		break;
	case HOLES:
		step_holes(file);
		break;
	case SIZE:
		check_size(file);
		break;
	case SYNC:
		need(fsync(file->fd) == 0, "fsync");
		break;
	case FORGET:
		forget(file);
		break;
	case REOPEN:
		reopen(file);
		break;
	case WHOLE:
	case KINDS:
		check_read(file, file->fd, 0, most);
		break;
	}
}

static enum kind some_kind(void)
{
	unsigned all = 0, chosen;

	for (unsigned i = 0; i < KINDS; i++)
		all += weights[i];
	chosen = (unsigned)below(all);
	for (unsigned i = 0; i < KINDS; i++) {
		if (chosen < weights[i])
			return (enum kind)i;
		chosen -= weights[i];
	}
	return WHOLE;
}

static void alone(const char *folder, double seconds)
{
	double end = now() + seconds, begun, longest = 0;

	for (unsigned i = 0; i < FILES; i++) {
		snprintf(files[i].path, sizeof(files[i].path), "%s/f%llu.%u", folder,
			 (unsigned long long)seed, i);
		unlink(files[i].path);
		files[i].fd = -1;
		files[i].model = calloc(1, most);
		need(files[i].model != NULL, "calloc");
		reopen(&files[i]);
	}
	for (; now() < end; steps++) {
		enum kind kind = some_kind();
		struct file *file = &files[below(FILES)];

		if (gone[kind])
			continue;
		begun = now();
		step(kind, file, &files[below(FILES)]);
		longest = now() - begun > longest ? now() - begun : longest;
		done[kind] += !gone[kind];
	}
	for (unsigned i = 0; i < FILES; i++) {
		forget(&files[i]);
		reopen(&files[i]);
		check_size(&files[i]);
		check_read(&files[i], files[i].fd, 0, most);
		need(close(files[i].fd) == 0, "close");
		need(unlink(files[i].path) == 0, "unlink");
	}
	printf("file_torture: %llu steps, one took %.1f s:", (unsigned long long)steps, longest);
	for (unsigned i = 0; i < KINDS; i++)
		printf(" %s=%llu", names[i], (unsigned long long)done[i]);
	printf("\n");
}

/* ---- one file of many ---- */
struct head {
	uint64_t turns, size, sum;
};

static uint64_t sum_of(const uint8_t *from, uint64_t length)
{
	uint64_t sum = 0xcbf29ce484222325ull;

	for (uint64_t i = 0; i < length; i++)
		sum = (sum ^ from[i]) * 0x100000001b3ull;
	return sum;
}

static void locked(int fd, short type)
{
	struct flock lock = {.l_type = type, .l_whence = SEEK_SET};

	while (fcntl(fd, F_SETLKW, &lock) != 0)
		need(errno == EINTR, "fcntl lock");
}

/* One turn: all is as the last one left it, then some of it is changed. */
static void turn(struct file *file)
{
	struct head head = {0};
	struct stat seen;

	note("turn");
	locked(file->fd, F_WRLCK);
	if (read_fully(file->fd, 0, (uint8_t *)&head, sizeof(head)) == 0)
		head = (struct head){.size = BLOCK, .sum = sum_of(NULL, 0)};
	need(fstat(file->fd, &seen) == 0, "fstat");
	if (head.turns && (uint64_t)seen.st_size != head.size)
		stop("after turn %llu it has %lld bytes, not %llu", (unsigned long long)head.turns,
		     (long long)seen.st_size, (unsigned long long)head.size);
	memset(file->model, 0, most);
	if (head.turns)
		need(read_fully(file->fd, BLOCK, file->model + BLOCK, head.size - BLOCK) ==
			 head.size - BLOCK,
		     "read of all");
	if (sum_of(file->model + BLOCK, head.size - BLOCK) != head.sum)
		stop("after turn %llu of others its %llu bytes are not what they wrote",
		     (unsigned long long)head.turns, (unsigned long long)head.size);
	file->size = head.size;
	for (uint64_t changes = 1 + below(4); changes > 0; changes--) {
		uint64_t at = BLOCK + below(most - BLOCK), length = some_length(most - at);

		if (below(6) == 0) {
			need(ftruncate(file->fd, (off_t)at) == 0, "ftruncate");
			resized(file, at);
			continue;
		}
		fresh(bytes, length);
		write_fully(file, at, bytes, length);
		put(file, at, bytes, length);
	}
	if (file->size < BLOCK)
		file->size = BLOCK;
	head = (struct head){.turns = head.turns + 1,
			     .size = file->size,
			     .sum = sum_of(file->model + BLOCK, file->size - BLOCK)};
	write_fully(file, 0, (const uint8_t *)&head, sizeof(head));
	locked(file->fd, F_UNLCK);
}

static void shared(const char *folder, double seconds)
{
	struct file *file = &files[0];
	double end = now() + seconds;

	snprintf(file->path, sizeof(file->path), "%s/shared", folder);
	file->fd = -1;
	file->model = calloc(1, most);
	need(file->model != NULL, "calloc");
	reopen(file);
	for (; now() < end; steps++) {
		turn(file);
		if (below(10) == 0)
			reopen(file);
		usleep((useconds_t)below(40000)); /* others want it too */
	}
	printf("file_torture: %llu turns\n", (unsigned long long)steps);
}

int main(int argc, char **argv)
{
	if (argc != 6) {
		fprintf(stderr, "usage: file_torture alone|shared FOLDER SEED SECONDS SIZE\n");
		return 2;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	state = seed = strtoull(argv[3], NULL, 10);
	most = strtoull(argv[5], NULL, 10) / BLOCK * BLOCK;
	bytes = aligned_alloc(BLOCK, most);
	need(most >= 2 * (uint64_t)CHUNK && bytes != NULL, "SIZE");
	if (strcmp(argv[1], "alone") == 0)
		alone(argv[2], strtod(argv[4], NULL));
	else
		shared(argv[2], strtod(argv[4], NULL));
	return 0;
}
