/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SHARES_MEMORY_H
#define SHARES_MEMORY_H

#include <pthread.h>

#include "shares/rules.h"
#include "shares/vfs.h"

/* The memory file system, inside. One mutex; an operation takes effect within vfs_submit(). Kept
 * plain on purpose: it is the model that the share is compared with (tests/sim). */

#define MEMORY_BUCKETS 65536u

struct memory_page {
	uint64_t block;
	uint8_t *data; /* NULL: set aside, not written: a hole that takes space */
};

struct memory_blob {
	struct list link;
	uint64_t cookie;
	char *name;
	unsigned name_length;
	uint8_t *data;
	uint32_t length;
};

struct memory_node {
	struct list link; /* hash by fileid */
	struct vfs_attr attr;
	uint64_t verifier;
	uint32_t holds;
	struct memory_node *parent; /* directory; the root's is itself */
	struct list names;          /* directory: struct memory_name by cookie */
	uint64_t next_cookie;
	char *target; /* symlink */
	struct memory_page *pages;
	size_t page_count, page_room;
	struct list xattrs;
	struct vfs_ace *aces;
	unsigned ace_count;
};

struct memory_name {
	struct list link, hash;
	struct memory_node *directory, *node;
	uint64_t cookie;
	unsigned length;
	char name[];
};

struct memory_fs {
	struct vfs vfs;
	pthread_mutex_t lock; /* all below */
	uint64_t next_fileid, next_cookie, nodes;
	uint64_t used, limit, quota; /* bytes of pages */
	struct memory_node *root;
	struct list by_fileid[MEMORY_BUCKETS];
	struct list by_name[MEMORY_BUCKETS];
};

static inline struct rules_object memory_rules(const struct memory_node *node)
{
	return (struct rules_object){
	    .attr = &node->attr, .aces = node->aces, .ace_count = node->ace_count};
}

/* memory_file.c: contents. Sizes and times are the caller's, but for truncate's size. */
int memory_read(struct memory_fs *fs, struct memory_node *node, struct vfs_request *request);
int memory_write(struct memory_fs *fs, struct memory_node *node, struct vfs_request *request);
void memory_truncate(struct memory_fs *fs, struct memory_node *node, uint64_t size);
int memory_allocate(struct memory_fs *fs, struct memory_node *node, uint64_t offset, uint64_t end);
void memory_deallocate(struct memory_fs *fs, struct memory_node *node, uint64_t offset,
		       uint64_t end);
int memory_clone(struct memory_fs *fs, struct memory_node *from, struct memory_node *to,
		 uint64_t offset, uint64_t offset2, uint64_t length);
int memory_seek(struct memory_node *node, struct vfs_request *request);

/* memory_xattr.c: extended attributes and ACLs. */
int memory_xattr(struct memory_fs *fs, struct memory_node *node, struct vfs_request *request,
		 int64_t now);
int memory_acl(struct memory_node *node, struct vfs_request *request, int64_t now);
int memory_acl_inherit(struct memory_node *node, const struct memory_node *directory);
int memory_acl_chmod(struct memory_node *node);
int memory_acl_set(struct memory_node *node, const struct vfs_request *request);
void memory_xattr_free(struct memory_node *node);

#endif
