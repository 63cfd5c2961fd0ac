/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SHARES_VFS_H
#define SHARES_VFS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "core/err.h"
#include "core/list.h"
#include "core/loop.h"

/* A file system: the seam between what serves files (nfs/, the local mount) and what holds them
 * (the share on a thin volume, a host directory, memory). Nothing above knows extents, nothing
 * below knows NFS.
 *
 * One kind of request, in the style of volumes/volume.h: the caller allocates it, vfs_submit()
 * takes it, done() hands it back on the loop that submitted it, never inside vfs_submit(). Every
 * operation is atomic as seen by others and, where it changes metadata, after a crash; what it
 * reports about before and after is of the same operation.
 *
 * Times are nanoseconds since 1970, offsets and lengths are bytes. */

struct vfs;

#define VFS_OBJECT_MAX   32u /* bytes of an object's identity */
#define VFS_NAME_MAX     255u
#define VFS_SYMLINK_MAX  4095u
#define VFS_TRANSFER_MAX (1u << 20) /* bytes of one READ or WRITE */
#define VFS_XATTR_MAX    (64u << 10)
#define VFS_ACES_MAX     128u
#define VFS_MODE_ACES    6u            /* what a mode makes, at most; a change of mode adds them */
#define VFS_GROUPS_MAX   64u           /* looked at; more are ignored */
#define VFS_FILE_MAX     (16ull << 40) /* bytes of a file, unless the vfs says less */
#define VFS_BLOCK        4096u         /* holes, allocation and clones are exact in this unit */
#define VFS_COOKIE_START 0u            /* READDIR from the beginning */
#define VFS_ROOT_UID     0u

/* What an object is to its vfs: stable for its whole life, never given to another object (a
 * generation is part of it). Two are the same object if and only if their bytes are. */
struct vfs_object {
	uint8_t length;
	uint8_t bytes[VFS_OBJECT_MAX];
};

enum vfs_type {
	VFS_NONE,
	VFS_REGULAR,
	VFS_DIRECTORY,
	VFS_SYMLINK,
	VFS_BLOCK_DEVICE,
	VFS_CHARACTER_DEVICE,
	VFS_FIFO,
	VFS_SOCKET,
};

/* Attributes. type VFS_NONE: not known (a failed request, a directory entry without them). */
struct vfs_attr {
	enum vfs_type type;
	uint32_t mode; /* 07777 */
	uint32_t links, uid, gid;
	uint32_t rdev_major, rdev_minor;
	uint32_t generation;
	uint64_t fileid;
	uint64_t size;
	uint64_t used;   /* bytes of space: st_blocks * 512 */
	uint64_t change; /* grows with every change of contents or attributes, except atime */
	int64_t atime, mtime, ctime, btime;
	bool has_acl; /* more than the mode says (ACL_GET) */
};

/* What SETATTR and CREATE set. */
enum vfs_set_mask {
	VFS_SET_MODE = 1,
	VFS_SET_UID = 2,
	VFS_SET_GID = 4,
	VFS_SET_SIZE = 8,
	VFS_SET_ATIME = 16, /* to .atime */
	VFS_SET_MTIME = 32,
	VFS_SET_ATIME_NOW = 64, /* to the server's time */
	VFS_SET_MTIME_NOW = 128,
	VFS_SET_ACL = 256, /* to aces, ace_count of the request, as ACL_SET; after the mode */
};
struct vfs_set {
	unsigned mask;
	uint32_t mode, uid, gid;
	uint64_t size;
	int64_t atime, mtime;
};

/* Who asks. Owned by the caller until done(). After squashing: uid 0 is the superuser. */
struct vfs_credentials {
	uint32_t uid, gid;
	const uint32_t *groups; /* may hold gid or not */
	unsigned group_count;
};

/* Rights, as NFSv3 ACCESS and NFSv4 ACE masks name them (RFC 8881 6.2.1.3.1). */
enum vfs_right {
	VFS_READ_DATA = 0x1,   /* directory: list */
	VFS_WRITE_DATA = 0x2,  /* directory: add a file */
	VFS_APPEND_DATA = 0x4, /* directory: add a directory */
	VFS_READ_NAMED = 0x8,
	VFS_WRITE_NAMED = 0x10,
	VFS_EXECUTE = 0x20, /* directory: look up */
	VFS_DELETE_CHILD = 0x40,
	VFS_READ_ATTRIBUTES = 0x80,
	VFS_WRITE_ATTRIBUTES = 0x100,
	VFS_DELETE = 0x10000,
	VFS_READ_ACL = 0x20000,
	VFS_WRITE_ACL = 0x40000,
	VFS_WRITE_OWNER = 0x80000,
	VFS_SYNCHRONIZE = 0x100000,
	VFS_RIGHTS_ALL = 0x1f01ff,
};

enum vfs_ace_type { VFS_ACE_ALLOW, VFS_ACE_DENY };
enum vfs_ace_who { VFS_WHO_OWNER, VFS_WHO_GROUP, VFS_WHO_EVERYONE, VFS_WHO_UID, VFS_WHO_GID };
enum vfs_ace_flags { /* RFC 8881 6.2.1.4 */
		     VFS_ACE_FILE_INHERIT = 0x1,
		     VFS_ACE_DIRECTORY_INHERIT = 0x2,
		     VFS_ACE_NO_PROPAGATE = 0x4,
		     VFS_ACE_INHERIT_ONLY = 0x8,
};
struct vfs_ace {
	enum vfs_ace_type type;
	enum vfs_ace_who who;
	uint32_t id; /* WHO_UID, WHO_GID */
	uint32_t flags, mask;
};

/* How stable a WRITE is at done(), and how stable it turned out (RFC 1813 3.3.7, RFC 8881 18.32).
 * Metadata operations are always as FILE_SYNC. */
enum vfs_stable { VFS_UNSTABLE, VFS_DATA_SYNC, VFS_FILE_SYNC };

enum vfs_op {
	/* -> after[0]. No right is needed. */
	VFS_GETATTR,
	/* set, guard -> before[0], after[0]. With VFS_GUARD_CTIME: -EAGAIN unless ctime is guard.
	 * All of it or nothing. A new size zeroes and frees what is behind it. */
	VFS_SETATTR,
	/* object = directory, name ("." and ".." too; the root's ".." is the root)
	 * -> result_object, result_attr; after[0] = the directory's. */
	VFS_LOOKUP,
	/* object = directory -> result_object = its parent, result_attr; the root's is -ENOENT. */
	VFS_LOOKUP_PARENT,
	/* rights = wanted -> rights = those of them that are granted; after[0]. No error for a
	 * right that is refused. */
	VFS_ACCESS,
	/* -> data, data_length (no NUL; data_room VFS_SYMLINK_MAX is always enough); after[0].
	 * -EINVAL: no symlink. */
	VFS_READLINK,
	/* offset, length, iov -> count, eof (true also when the read ends exactly at the end of
	 * the file), after[0]. Past the end: 0 bytes and eof. */
	VFS_READ,
	/* offset, length, iov, stable -> count (= length), stable (at least what was asked),
	 * before[0], after[0]. Clears set-id bits unless the superuser writes. */
	VFS_WRITE,
	/* offset, length (0: to the end) -> before[0], after[0]. Every WRITE of the object that
	 * was done() before is durable; see vfs_verifier(). */
	VFS_COMMIT,
	/* object = directory, name, type, set, how, and for each type: data (symlink's target),
	 * rdev -> result_object, result_attr, created; before[0], after[0] = the directory's. */
	VFS_CREATE,
	/* object = directory, name, remove_kind -> result_object, result_attr (what was removed,
	 * after it; links 0: it is gone, or goes with the last holder); before[0], after[0]. */
	VFS_REMOVE,
	/* object, name -> object2, name2. result_object (length 0: none), result_attr = what was
	 * replaced; before/after[0] = source directory, [1] = target directory (both filled when
	 * they are the same). moved_object = what moved. Atomic: at no time is name2 missing.
	 * Both names the same object: success, nothing changes. */
	VFS_RENAME,
	/* object, object2 = directory, name2 -> after[0] = the object's; before/after[1] = the
	 * directory's. */
	VFS_LINK,
	/* object = directory, cookie, VFS_WANT_ATTR, data -> data filled with struct vfs_dirent,
	 * data_length, entry_count, eof; after[0]. Cookies are stable: an entry that is not
	 * touched meanwhile is seen exactly once, whatever happens to others. "." and ".." are not
	 * listed; cookies 0, 1 and 2 are never an entry's, none is over INT64_MAX. data is at a
	 * multiple of 8. -ERANGE: data has not room for one entry. Fewer entries than there is
	 * room for, without eof, are possible. */
	VFS_READDIR,
	/* -> fsstat; after[0]. */
	VFS_FSSTAT,
	/* offset, seek -> offset, eof (SEEK_HOLE found only the end of the file). -ENXIO: offset
	 * at or past the end, or no data behind it. */
	VFS_SEEK,
	/* offset, length -> before[0], after[0]. ALLOCATE: space is set aside, contents do not
	 * change, the size grows if the range ends behind it; -> offset: up to where it is done,
	 * also after failures. Less than the range's end: it took long enough, ask again from
	 * there; the size grows with the end. What there is no room for is not begun. DEALLOCATE:
	 * reads as zeros, whole blocks return their space, the size stays. */
	VFS_ALLOCATE,
	VFS_DEALLOCATE,
	/* object, offset -> object2, offset2, length (0: to the end): object2 shares the source's
	 * blocks; either changes without the other afterwards. Offsets multiples of VFS_BLOCK,
	 * length too or up to the source's end: then zeros fill the last block of the range
	 * (RFC 7862 15.13.3). object2 uses the space in full, as st_blocks and quotas see it.
	 * before/after[1] = object2's, after[0] = object's. -EOPNOTSUPP where the vfs cannot. */
	VFS_CLONE,
	/* name = attribute, without name space -> data, data_length; after[0]. data_room 0: only
	 * the length. -ERANGE: too small, -ENODATA: none of that name. */
	VFS_XATTR_GET,
	/* name, data, data_length, how -> before[0], after[0]. */
	VFS_XATTR_SET,
	/* name -> before[0], after[0]. */
	VFS_XATTR_REMOVE,
	/* cookie -> data filled with names, each with its NUL, data_length, cookie (where to go
	 * on), eof; after[0]. data_room 0: data_length is what all need. */
	VFS_XATTR_LIST,
	/* aces, ace_room (VFS_ACES_MAX + VFS_MODE_ACES is always enough) -> ace_count (made from
	 * the mode when there is no ACL), after[0]. */
	VFS_ACL_GET,
	/* aces, ace_count (0: back to the mode) -> before[0], after[0]; the mode follows
	 * (RFC 8881 6.3.2). */
	VFS_ACL_SET,
	/* object -> after[0]. HOLD: the object lives on when its last name goes, until as many
	 * RELEASEs. Not kept over a restart: then it is gone. */
	VFS_HOLD,
	VFS_RELEASE,
	VFS_OP_COUNT,
};

enum vfs_request_flags {
	/* Rights were checked when the file was opened (NFSv4 stateid): READ, WRITE, SETATTR of
	 * size only, SEEK, ALLOCATE, DEALLOCATE, CLONE do not check again. */
	VFS_OPENED = 1,
	/* The owner may read and write whatever the mode says, as NFSv3 servers have to grant
	 * (RFC 1813 4.4). */
	VFS_OWNER_OVERRIDE = 2,
	VFS_GUARD_CTIME = 4,
	VFS_WANT_ATTR = 8,    /* READDIR: attributes and object with each entry */
	VFS_HOLD_RESULT = 16, /* LOOKUP, CREATE: result_object comes with one HOLD */
	VFS_NO_REPLACE = 32,  /* RENAME: -EEXIST when name2 is there */
	VFS_SNAPSHOTS = 64,   /* `.snapshot` is there even where clients do not see it */
};

enum vfs_create_how {
	VFS_CREATE_UNCHECKED, /* one that is there is taken (created = false); only size 0 of set
			       * is applied to it. Regular files only. */
	VFS_CREATE_GUARDED,   /* -EEXIST if it is there */
	/* -EEXIST if it is there and was not created with this verifier; then created = true
	 * again. The verifier is durable; set is applied at creation (EXCLUSIVE4_1; empty for
	 * NFSv3 and EXCLUSIVE4). Regular files only. */
	VFS_CREATE_EXCLUSIVE,
};

enum vfs_xattr_how { VFS_XATTR_EITHER, VFS_XATTR_CREATE, VFS_XATTR_REPLACE };
enum vfs_remove_kind { VFS_REMOVE_ANY, VFS_REMOVE_FILE, VFS_REMOVE_DIRECTORY };
enum vfs_seek { VFS_SEEK_DATA, VFS_SEEK_HOLE };

struct vfs_fsstat {
	uint64_t total_bytes, free_bytes, available_bytes;
	uint64_t total_files, free_files, available_files;
	/* Of who asks, by the uid of its credentials, where users are counted: available_... are no
	 * more than what is left. A limit of 0 is none. */
	bool user_counted;
	uint64_t user_limit_bytes, user_used_bytes, user_limit_files, user_files;
};

/* One entry of READDIR, packed one behind the other, each at a multiple of 8. */
struct vfs_dirent {
	uint32_t next; /* bytes to the next one; the last one's too */
	uint16_t name_length;
	uint8_t type; /* enum vfs_type */
	uint64_t cookie, fileid;
	struct vfs_object object; /* VFS_WANT_ATTR */
	struct vfs_attr attr;     /* VFS_WANT_ATTR; type VFS_NONE otherwise */
	char name[];              /* with a NUL that is not counted */
};

/* Caller-allocated, handed back by done() on the loop that submitted it; never freed or changed
 * before. Pointers stay the caller's and must stay good until then. Zero what is not used.
 *
 * A request keeps its vfs from vfs_submit() to done(), not in done(): who uses the vfs there has a
 * reference of its own, and may let go of it there.
 *
 * Results: 0, or
 *   -ESTALE the object is gone        -ENOENT no such name            -EEXIST
 *   -EACCES refused by mode or ACL    -EPERM only owner or superuser  -EROFS
 *   -ENOTDIR -EISDIR -ENOTEMPTY       -ENAMETOOLONG                   -EINVAL (also: wrong type,
 *   name empty or with '/' or NUL, "." or ".." where they are not allowed)
 *   -EFBIG past the largest file      -ENOSPC pool or volume full     -EDQUOT share's quota,
 * owner's limit -EMLINK -ENXIO -ENODATA -ERANGE -E2BIG (xattr or ACL too large) -EAGAIN (guard)
 *   -EIO (medium error) -EILSEQ (checksum mismatch) -EOPNOTSUPP -ENOMEM -ECANCELED
 * After a failure nothing has changed, but WRITE, ALLOCATE, DEALLOCATE and a CLONE of thousands of
 * extents may have been done in part. before and after are filled after failures too where they are
 * known (type VFS_NONE: not), as NFSv3's wcc_data wants. */
struct vfs_request {
	enum vfs_op op;
	unsigned flags;
	const struct vfs_credentials *credentials;
	struct vfs_object object, object2;
	const char *name, *name2; /* counted, not terminated */
	unsigned name_length, name2_length;
	uint64_t offset, offset2, length;
	const struct iovec *iov; /* READ, WRITE: total = length. Any alignment; without a copy
				  * when offset, length and memory are multiples of 4096 */
	unsigned iov_count;
	void *data; /* READDIR, READLINK, CREATE (target), XATTR_* */
	uint32_t data_room, data_length;
	struct vfs_set set;
	int64_t guard;
	uint64_t cookie;
	uint64_t verifier; /* CREATE EXCLUSIVE */
	struct vfs_ace *aces;
	uint32_t ace_room, ace_count;
	uint32_t rights;
	uint32_t rdev_major, rdev_minor;
	enum vfs_type type;
	enum vfs_create_how create_how;
	enum vfs_xattr_how xattr_how;
	enum vfs_remove_kind remove_kind;
	enum vfs_seek seek;
	enum vfs_stable stable;
	void (*done)(struct vfs_request *request, int result);

	/* results */
	struct vfs_attr before[2], after[2];
	struct vfs_object result_object, moved_object;
	struct vfs_attr result_attr;
	struct vfs_fsstat fsstat;
	uint32_t count, entry_count;
	bool eof, created;

	/* private to the back end, from vfs_submit() to done() */
	struct vfs *vfs;
	struct loop *loop;
	struct list link;
	struct deferred deferred;
	int result;
	void *backend;
};

struct vfs_ops {
	const char *name; /* "share", "directory", "memory" */
	/* Required. On the submitting loop; see vfs_submit(). */
	void (*submit)(struct vfs *vfs, struct vfs_request *request);
	/* Optional; NULL = requests can not be cancelled early. */
	void (*cancel)(struct vfs *vfs, struct vfs_request *request);
	/* Required. Last reference gone; no request is in flight. Any thread. */
	void (*release)(struct vfs *vfs);
};

/* What the vfs can do, for FSINFO, PATHCONF and the NFSv4 attributes. */
enum vfs_can {
	VFS_CAN_LINK = 1,
	VFS_CAN_SYMLINK = 2,
	VFS_CAN_XATTR = 4,
	VFS_CAN_ACL = 8,
	VFS_CAN_CLONE = 16,
	VFS_CAN_ALLOCATE = 32, /* what ALLOCATE set aside can not run out */
	VFS_CAN_SEEK = 64,     /* exact */
};

/* The common head. Public fields are read-only outside shares/ and do not change. */
struct vfs {
	const struct vfs_ops *ops;
	uint8_t uuid[16];   /* the same wherever it is served from: file handles, fsid */
	uint8_t secret[16]; /* what handles are signed with (handle.h); as durable as the objects */
	struct vfs_object root;
	uint64_t root_fileid;
	uint64_t file_max;
	uint32_t link_max;
	unsigned can;       /* enum vfs_can */
	bool read_only;     /* changes are -EROFS */
	bool others_change; /* programs beside us, unheard of: nobody may rely on what was read */
	uint64_t verifier;  /* see vfs_verifier() */
	uint32_t refs;      /* atomic */
};

/* vfs_submit: validates what every back end would have to (op, names, lengths, type of CREATE:
 * the errors above, through done()), fills the private fields and starts the request.
 * Context: any I/O loop. */
void vfs_submit(struct vfs *vfs, struct vfs_request *request);
/* vfs_cancel: if @request still waits for something, finish it with -ECANCELED soon; otherwise
 * nothing. done() is called exactly once either way. */
void vfs_cancel(struct vfs_request *request);
/* vfs_finish: for back ends: hand @request back with @result, from the loop's deferred work.
 * Context: the loop that submitted it. */
void vfs_finish(struct vfs_request *request, int result);

/* vfs_changes: does @op change anything, so that a read-only vfs refuses it? */
bool vfs_changes(enum vfs_op op);

/* vfs_mode_aces: what ACL_GET gives of an object without an ACL; how many, VFS_MODE_ACES at most.
 */
unsigned vfs_mode_aces(const struct vfs_attr *attr, struct vfs_ace *ret_aces);

/* vfs_clone_check: for back ends: may a source of @size bytes be cloned as @request says?
 * *ret_length: bytes of it, 0: nothing is to be done. -EINVAL, -EFBIG. */
int vfs_clone_check(const struct vfs_request *request, uint64_t size, uint64_t *ret_length);

/* The write verifier (RFC 1813 3.3.21): another one after every start of the vfs at which
 * UNSTABLE data may have been lost; also after a failed write-back. Any thread. */
uint64_t vfs_verifier(const struct vfs *vfs);
struct vfs *vfs_ref(struct vfs *vfs); /* any thread */
void vfs_unref(struct vfs *vfs);      /* NULL is fine */

static inline bool vfs_object_equal(const struct vfs_object *a, const struct vfs_object *b)
{
	return a->length == b->length && __builtin_memcmp(a->bytes, b->bytes, a->length) == 0;
}

/* memory_fs_create: a file system in RAM with the whole contract, for tests. Everything is
 * stable at once. @uuid: 16 bytes. Time comes from the submitting loop's wall clock.
 * Context: any thread. */
int memory_fs_create(const uint8_t *uuid, struct vfs **ret_vfs, struct err *err)
    __attribute__((warn_unused_result, nonnull(1, 2)));
/* Bound of its contents, bytes of data (-ENOSPC beyond it; default 1 GiB) and of the share's
 * quota (-EDQUOT; 0: none). Context: before anything is submitted. */
void memory_fs_limit(struct vfs *vfs, uint64_t bytes, uint64_t quota);

#endif
