/* SPDX-License-Identifier: Apache-2.0 */
#ifndef REPLICATION_SEED_FILE_H
#define REPLICATION_SEED_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/loop.h"

/* Files of a fiber: each call on a thread of its own, for a disk that is carried about may be slow
 * and the loop has others to serve. Context of all of it: a fiber of the loop. Results: 0, or what
 * is said, or -errno. */

enum seed_file_mode {
	SEED_FILE_READ,
	SEED_FILE_NEW,  /* for writing; -EEXIST */
	SEED_FILE_AGAIN /* for reading and writing, as it is */
};

/* seed_file_open: a file descriptor. seed_file_close: -1 is fine. */
int seed_file_open(struct loop *loop, const char *path, enum seed_file_mode mode)
    __attribute__((warn_unused_result));
void seed_file_close(int fd);
/* seed_file_read: bytes, fewer than @length at the end of the file only. */
int64_t seed_file_read(struct loop *loop, int fd, void *data, size_t length, uint64_t offset)
    __attribute__((warn_unused_result));
int seed_file_write(struct loop *loop, int fd, const void *data, size_t length, uint64_t offset)
    __attribute__((warn_unused_result));
/* seed_file_cut: it ends at @length. */
int seed_file_cut(struct loop *loop, int fd, uint64_t length) __attribute__((warn_unused_result));
/* seed_file_finish: what is in it lasts, and from then on it is called @name, also after a power
 * loss; -EEXIST: something else is. */
int seed_file_finish(struct loop *loop, int fd, const char *part, const char *name)
    __attribute__((warn_unused_result));
/* What is at @path. */
enum seed_file_kind { SEED_NOTHING, SEED_FILE, SEED_DIRECTORY, SEED_OTHER };
int seed_file_kind(struct loop *loop, const char *path) __attribute__((warn_unused_result));

#endif
