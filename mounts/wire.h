/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MOUNTS_WIRE_H
#define MOUNTS_WIRE_H

#include <stddef.h>
#include <stdint.h>

#include "shares/vfs.h"

/* How a mount's process and the daemon talk: over a UNIX stream socket, in the machine's own byte
 * order and layout, between two programs of one build on one machine.
 *
 *   -> hello                          <- welcome (and the end, when it refuses)
 *   -> call, groups, names, data      <- reply, data; in any order, by slot
 *                                     <- reply of slot MOUNT_LEAVE: unmount, the daemon stops
 *
 * A slot has one call in flight. The daemon believes nothing: whatever does not fit ends the
 * connection (mount_call_check). */

#define MOUNT_MAGIC      0x6d676e72u
#define MOUNT_VERSION    1u
#define MOUNT_SLOTS      32u
#define MOUNT_LEAVE      UINT32_MAX
#define MOUNT_HOLDS_MAX  65536u /* objects held open by one mount */
#define MOUNT_DATA_MAX   VFS_TRANSFER_MAX
#define MOUNT_NAME_MAX   127u
#define MOUNT_REASON_MAX 255u
#define MOUNT_PATH_MAX   1023u
#define MOUNT_SOCKET     "mount.sock" /* of the state directory */

struct mount_hello {
	uint32_t magic, version;
	uint32_t call_size, reply_size; /* another build's are refused */
	uint32_t read_only;
	char pool[MOUNT_NAME_MAX + 1], share[MOUNT_NAME_MAX + 1];
	char snapshot[VFS_NAME_MAX + 1]; /* "": the share as it is */
	char where[MOUNT_PATH_MAX + 1];  /* for people */
};

struct mount_welcome {
	uint32_t magic;
	int32_t result; /* 0 or -errno with a reason */
	char reason[MOUNT_REASON_MAX + 1];
	struct vfs_object root;
	struct vfs_attr attr;
	uint64_t verifier;
	uint32_t read_only;
};

struct mount_call {
	uint32_t slot;
	uint16_t op;    /* enum vfs_op */
	uint16_t flags; /* of MOUNT_FLAGS */
	uint32_t uid, gid;
	uint32_t group_count, name_length, name2_length, data_length; /* what follows, in order */
	uint32_t data_room;
	uint32_t hold; /* RELEASE: what the reply to HOLD said */
	uint64_t offset, offset2, length, cookie;
	uint32_t rights, rdev_major, rdev_minor;
	uint8_t type, create_how, xattr_how, remove_kind, seek, stable;
	struct vfs_object object, object2;
	struct vfs_set set;
};
#define MOUNT_FLAGS (VFS_OPENED | VFS_WANT_ATTR | VFS_HOLD_RESULT | VFS_NO_REPLACE)

struct mount_reply {
	uint32_t slot;
	int32_t result;
	uint32_t data_length; /* what follows */
	uint32_t hold;        /* HOLD, VFS_HOLD_RESULT */
	uint32_t count, rights;
	uint64_t offset, verifier;
	uint8_t eof, created, stable;
	struct vfs_object object; /* result_object */
	struct vfs_attr attr;     /* result_attr; for operations on one object, after[0] */
	struct vfs_fsstat fsstat;
};

/* What stands between a call and its data, bytes. */
static inline size_t mount_call_tail(const struct mount_call *call)
{
	return (size_t)call->group_count * sizeof(uint32_t) + call->name_length +
	       call->name2_length;
}
#define MOUNT_TAIL_MAX (VFS_GROUPS_MAX * sizeof(uint32_t) + 2 * VFS_NAME_MAX)

/* mount_call_check: may @call go to a file system? False: it is malformed, and what follows it can
 * not be told. What a file system refuses by itself (a name with '/', a type that is none) passes.
 * Pure. */
bool mount_call_check(const struct mount_call *call);
/* mount_hello_check: NULL, or a sentence. Texts of a good one end within their fields. Pure. */
const char *mount_hello_check(const struct mount_hello *hello);
/* mount_call_fill: what the wire carries, into a request; pointers are the caller's to set. */
void mount_call_fill(const struct mount_call *call, struct vfs_request *request);

#endif
