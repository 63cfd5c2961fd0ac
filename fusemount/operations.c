/* SPDX-License-Identifier: Apache-2.0 */
/* operations.c: what the kernel asks, as calls of the file system table (shares/vfs.h), and back.
 *
 * The kernel looks at modes before it asks (default_permissions); the share looks at modes and ACLs
 * with the ids of whoever asks. Both have to agree. */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include "core/heap.h"
#include "fusemount/fusemount.h"

#define SECOND_NS         1000000000ll
#define KNOWN_SECONDS     1.0    /* others change the share too, over NFS */
#define IMMUTABLE_SECONDS 3600.0 /* a snapshot's contents do not change */
#define NODEV_MODE        0      /* a type that can not be told */
#define KERNEL_EXEC       0x20   /* the kernel's FMODE_EXEC in open flags */

static const char user_space[] = "user.";
#define USER_LENGTH (sizeof user_space - 1)

/* ---- attributes ---- */
static mode_t type_bits(enum vfs_type type)
{
	static const mode_t bits[] = {
	    [VFS_NONE] = NODEV_MODE, [VFS_REGULAR] = S_IFREG,      [VFS_DIRECTORY] = S_IFDIR,
	    [VFS_SYMLINK] = S_IFLNK, [VFS_BLOCK_DEVICE] = S_IFBLK, [VFS_CHARACTER_DEVICE] = S_IFCHR,
	    [VFS_FIFO] = S_IFIFO,    [VFS_SOCKET] = S_IFSOCK,
	};

	return (unsigned)type < sizeof bits / sizeof *bits ? bits[type] : NODEV_MODE;
}

static enum vfs_type type_of(mode_t mode)
{
	for (enum vfs_type type = VFS_REGULAR; type <= VFS_SOCKET; type++) {
		if (type_bits(type) == (mode & S_IFMT))
			return type;
	}
	return VFS_REGULAR; /* mknod(2) of type 0 */
}

static struct timespec time_of(int64_t ns)
{
	int64_t seconds = ns / SECOND_NS, rest = ns % SECOND_NS;

	if (rest < 0) {
		seconds--;
		rest += SECOND_NS;
	}
	return (struct timespec){.tv_sec = seconds, .tv_nsec = rest};
}

static int64_t time_from(const struct timespec *time)
{
	int64_t ns;

	if (__builtin_mul_overflow((int64_t)time->tv_sec, (int64_t)SECOND_NS, &ns) ||
	    __builtin_add_overflow(ns, (int64_t)time->tv_nsec, &ns))
		return time->tv_sec < 0 ? INT64_MIN : INT64_MAX;
	return ns;
}

static struct stat stat_of(const struct vfs_attr *attr)
{
	return (struct stat){
	    .st_ino = attr->fileid,
	    .st_mode = type_bits(attr->type) | (attr->mode & 07777),
	    .st_nlink = attr->links,
	    .st_uid = attr->uid,
	    .st_gid = attr->gid,
	    .st_rdev = makedev(attr->rdev_major, attr->rdev_minor),
	    .st_size = (off_t)attr->size,
	    .st_blksize = VFS_BLOCK,
	    .st_blocks = (blkcnt_t)((attr->used + 511) / 512),
	    .st_atim = time_of(attr->atime),
	    .st_mtim = time_of(attr->mtime),
	    .st_ctim = time_of(attr->ctime),
	};
}

static double known_for(const struct server *server)
{
	return server->immutable ? IMMUTABLE_SECONDS : KNOWN_SECONDS;
}

/* What an object is answered with; false: no memory, and that was answered. */
static bool entry_of(struct slot *slot, const struct vfs_object *object,
		     const struct vfs_attr *attr, struct fuse_entry_param *ret_entry)
{
	struct node *node = node_look_up(object);

	if (!node) {
		fuse_reply_err(slot->request, ENOMEM);
		return false;
	}
	*ret_entry = (struct fuse_entry_param){
	    .ino = node_number(node),
	    .attr = stat_of(attr),
	    .attr_timeout = known_for(slot->server),
	    .entry_timeout = known_for(slot->server),
	};
	return true;
}

static void reply_entry(struct slot *slot, const struct vfs_object *object,
			const struct vfs_attr *attr)
{
	struct fuse_entry_param entry;

	if (!entry_of(slot, object, attr, &entry))
		return;
	/* Who asked may have been killed meanwhile: then the kernel does not know of it. */
	if (fuse_reply_entry(slot->request, &entry) < 0)
		node_forget(node_of(entry.ino), 1);
}

static void answered_done(struct slot *slot, const struct mount_reply *reply, char *data)
{
	(void)data;
	fuse_reply_err(slot->request, -reply->result);
}

static void answered_entry(struct slot *slot, const struct mount_reply *reply, char *data)
{
	(void)data;
	if (reply->result < 0)
		fuse_reply_err(slot->request, -reply->result);
	else
		reply_entry(slot, &reply->object, &reply->attr);
}

static void answered_attr(struct slot *slot, const struct mount_reply *reply, char *data)
{
	struct stat attr;

	(void)data;
	if (reply->result < 0) {
		fuse_reply_err(slot->request, -reply->result);
		return;
	}
	attr = stat_of(&reply->attr);
	fuse_reply_attr(slot->request, &attr, known_for(slot->server));
}

/* ---- the session ---- */
static void begin(void *userdata, struct fuse_conn_info *connection)
{
	const unsigned unwanted = FUSE_CAP_ATOMIC_O_TRUNC | FUSE_CAP_SPLICE_READ |
				  FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE |
				  FUSE_CAP_WRITEBACK_CACHE;

	(void)userdata;
	connection->want &= ~unwanted;
	connection->max_write = MOUNT_DATA_MAX;
	connection->max_background = MOUNT_SLOTS;
	connection->congestion_threshold = MOUNT_SLOTS * 3 / 4;
	connection->time_gran = 1;
}

/* ---- names ---- */
static void op_lookup(fuse_req_t request, fuse_ino_t parent, const char *name)
{
	struct slot *slot = server_call(request, VFS_LOOKUP, node_of(parent), answered_entry);

	server_name(slot, name);
	server_send(slot);
}

static void op_forget(fuse_req_t request, fuse_ino_t number, uint64_t lookups)
{
	node_forget(node_of(number), lookups);
	fuse_reply_none(request);
}

static void op_forget_multi(fuse_req_t request, size_t count, struct fuse_forget_data *forgets)
{
	for (size_t i = 0; i < count; i++)
		node_forget(node_of(forgets[i].ino), forgets[i].nlookup);
	fuse_reply_none(request);
}

static void op_getattr(fuse_req_t request, fuse_ino_t number, struct fuse_file_info *info)
{
	(void)info;
	server_send(server_call(request, VFS_GETATTR, node_of(number), answered_attr));
}

static void op_setattr(fuse_req_t request, fuse_ino_t number, struct stat *attr, int to_set,
		       struct fuse_file_info *info)
{
	static const struct {
		int from;
		unsigned to;
	} bits[] = {
	    {FUSE_SET_ATTR_MODE, VFS_SET_MODE},
	    {FUSE_SET_ATTR_UID, VFS_SET_UID},
	    {FUSE_SET_ATTR_GID, VFS_SET_GID},
	    {FUSE_SET_ATTR_SIZE, VFS_SET_SIZE},
	};
	struct slot *slot = server_call(request, VFS_SETATTR, node_of(number), answered_attr);
	struct vfs_set *set = &slot->call.set;

	for (unsigned i = 0; i < sizeof bits / sizeof *bits; i++)
		set->mask |= to_set & bits[i].from ? bits[i].to : 0;
	if (to_set & FUSE_SET_ATTR_ATIME_NOW)
		set->mask |= VFS_SET_ATIME_NOW;
	else if (to_set & FUSE_SET_ATTR_ATIME)
		set->mask |= VFS_SET_ATIME;
	if (to_set & FUSE_SET_ATTR_MTIME_NOW)
		set->mask |= VFS_SET_MTIME_NOW;
	else if (to_set & FUSE_SET_ATTR_MTIME)
		set->mask |= VFS_SET_MTIME;
	set->mode = attr->st_mode & 07777;
	set->uid = attr->st_uid;
	set->gid = attr->st_gid;
	set->size = (uint64_t)attr->st_size;
	set->atime = time_from(&attr->st_atim);
	set->mtime = time_from(&attr->st_mtim);
	if (info && set->mask == VFS_SET_SIZE)
		slot->call.flags = VFS_OPENED;
	server_send(slot);
}

static void answered_link_text(struct slot *slot, const struct mount_reply *reply, char *data)
{
	if (reply->result < 0)
		fuse_reply_err(slot->request, -reply->result);
	else
		fuse_reply_readlink(slot->request, data); /* ended by the server */
}

static void op_readlink(fuse_req_t request, fuse_ino_t number)
{
	struct slot *slot = server_call(request, VFS_READLINK, node_of(number), answered_link_text);

	slot->call.data_room = VFS_SYMLINK_MAX;
	server_send(slot);
}

static struct slot *make(fuse_req_t request, fuse_ino_t parent, const char *name, mode_t mode)
{
	struct slot *slot = server_call(request, VFS_CREATE, node_of(parent), answered_entry);

	server_name(slot, name);
	slot->call.create_how = VFS_CREATE_GUARDED;
	slot->call.type = (uint8_t)type_of(mode);
	slot->call.set.mask = VFS_SET_MODE;
	slot->call.set.mode = mode & 07777;
	return slot;
}

static void op_mknod(fuse_req_t request, fuse_ino_t parent, const char *name, mode_t mode,
		     dev_t device)
{
	struct slot *slot = make(request, parent, name, mode);

	slot->call.rdev_major = major(device);
	slot->call.rdev_minor = minor(device);
	server_send(slot);
}

static void op_mkdir(fuse_req_t request, fuse_ino_t parent, const char *name, mode_t mode)
{
	server_send(make(request, parent, name, (mode & 07777) | S_IFDIR));
}

static void op_symlink(fuse_req_t request, const char *target, fuse_ino_t parent, const char *name)
{
	struct slot *slot = make(request, parent, name, S_IFLNK | 0777);
	size_t length = strlen(target);

	if (length > VFS_SYMLINK_MAX) {
		fuse_reply_err(request, ENAMETOOLONG);
		return;
	}
	slot->data = target;
	slot->call.data_length = (uint32_t)length;
	server_send(slot);
}

static void drop(fuse_req_t request, fuse_ino_t parent, const char *name, enum vfs_remove_kind kind)
{
	struct slot *slot = server_call(request, VFS_REMOVE, node_of(parent), answered_done);

	server_name(slot, name);
	slot->call.remove_kind = (uint8_t)kind;
	server_send(slot);
}

static void op_unlink(fuse_req_t request, fuse_ino_t parent, const char *name)
{
	drop(request, parent, name, VFS_REMOVE_FILE);
}

static void op_rmdir(fuse_req_t request, fuse_ino_t parent, const char *name)
{
	drop(request, parent, name, VFS_REMOVE_DIRECTORY);
}

static void set_target(struct slot *slot, fuse_ino_t parent, const char *name)
{
	slot->call.object2 = node_of(parent)->object;
	slot->name2 = name;
	slot->call.name2_length = (uint32_t)strlen(name);
}

static void op_rename(fuse_req_t request, fuse_ino_t parent, const char *name,
		      fuse_ino_t new_parent, const char *new_name, unsigned flags)
{
	struct slot *slot = server_call(request, VFS_RENAME, node_of(parent), answered_done);

	if (flags & ~(unsigned)RENAME_NOREPLACE) {
		fuse_reply_err(request, EINVAL);
		return;
	}
	server_name(slot, name);
	set_target(slot, new_parent, new_name);
	slot->call.flags = flags ? VFS_NO_REPLACE : 0;
	server_send(slot);
}

static void answered_link(struct slot *slot, const struct mount_reply *reply, char *data)
{
	(void)data;
	if (reply->result < 0)
		fuse_reply_err(slot->request, -reply->result);
	else
		reply_entry(slot, &slot->call.object, &reply->attr);
}

static void op_link(fuse_req_t request, fuse_ino_t number, fuse_ino_t new_parent,
		    const char *new_name)
{
	struct slot *slot = server_call(request, VFS_LINK, node_of(number), answered_link);

	set_target(slot, new_parent, new_name);
	server_send(slot);
}

/* ---- open files ---- */
static struct open_file *file_of(const struct fuse_file_info *info)
{
	return (struct open_file *)(uintptr_t)info->fh;
}

static void answered_nobody(struct slot *slot, const struct mount_reply *reply, char *data)
{
	(void)slot;
	(void)reply;
	(void)data;
}

/* What is held and nobody has open. */
static void let_go(struct slot *slot)
{
	uint32_t hold = slot->file->hold;

	heap_free(slot->file);
	slot->file = NULL;
	server_again(slot, VFS_RELEASE, answered_nobody);
	slot->call.hold = hold;
	server_send(slot);
}

static void reply_open(struct slot *slot)
{
	slot->file_info.fh = (uintptr_t)slot->file;
	slot->file_info.keep_cache = slot->server->immutable;
	if (fuse_reply_open(slot->request, &slot->file_info) < 0)
		let_go(slot);
}

static void answered_access(struct slot *slot, const struct mount_reply *reply, char *data)
{
	(void)data;
	if (reply->result == 0 && (reply->rights & slot->size) == slot->size) {
		reply_open(slot);
		return;
	}
	fuse_reply_err(slot->request, reply->result < 0 ? -reply->result : EACCES);
	let_go(slot);
}

static uint32_t rights_for(int flags)
{
	if (flags & KERNEL_EXEC)
		return VFS_EXECUTE;
	if ((flags & O_ACCMODE) == O_RDONLY)
		return VFS_READ_DATA;
	if ((flags & O_ACCMODE) == O_WRONLY)
		return VFS_WRITE_DATA;
	return VFS_READ_DATA | VFS_WRITE_DATA;
}

static void answered_hold(struct slot *slot, const struct mount_reply *reply, char *data)
{
	(void)data;
	if (reply->result < 0) {
		fuse_reply_err(slot->request, -reply->result);
		heap_free(slot->file);
		return;
	}
	*slot->file = (struct open_file){reply->hold, reply->verifier};
	if (slot->call.uid == VFS_ROOT_UID) {
		reply_open(slot);
		return;
	}
	slot->size = rights_for(slot->file_info.flags);
	server_again(slot, VFS_ACCESS, answered_access);
	slot->call.rights = (uint32_t)slot->size;
	server_send(slot);
}

/* A slot with a file that is being opened; NULL: it was answered. */
static struct slot *with_file(struct slot *slot, const struct fuse_file_info *info)
{
	slot->file_info = *info;
	slot->file = heap_zalloc(sizeof *slot->file);
	if (slot->file)
		return slot;
	fuse_reply_err(slot->request, ENOMEM);
	return NULL;
}

static void op_open(fuse_req_t request, fuse_ino_t number, struct fuse_file_info *info)
{
	struct slot *slot =
	    with_file(server_call(request, VFS_HOLD, node_of(number), answered_hold), info);

	if (slot)
		server_send(slot);
}

static void answered_create(struct slot *slot, const struct mount_reply *reply, char *data)
{
	struct fuse_entry_param entry;

	(void)data;
	if (reply->result < 0) {
		/* Somebody was faster: the kernel looks again, and opens what is there. */
		bool look_again = reply->result == -EEXIST && !(slot->file_info.flags & O_EXCL);

		fuse_reply_err(slot->request, look_again ? ESTALE : -reply->result);
		heap_free(slot->file);
		return;
	}
	*slot->file = (struct open_file){reply->hold, reply->verifier};
	if (!entry_of(slot, &reply->object, &reply->attr, &entry)) {
		let_go(slot);
		return;
	}
	slot->file_info.fh = (uintptr_t)slot->file;
	if (fuse_reply_create(slot->request, &entry, &slot->file_info) < 0) {
		node_forget(node_of(entry.ino), 1);
		let_go(slot);
	}
}

static void op_create(fuse_req_t request, fuse_ino_t parent, const char *name, mode_t mode,
		      struct fuse_file_info *info)
{
	struct slot *slot = with_file(make(request, parent, name, (mode & 07777) | S_IFREG), info);

	if (!slot)
		return;
	slot->answered = answered_create;
	slot->call.flags = VFS_HOLD_RESULT;
	server_send(slot);
}

static void op_release(fuse_req_t request, fuse_ino_t number, struct fuse_file_info *info)
{
	struct slot *slot = server_call(request, VFS_RELEASE, node_of(number), answered_done);
	struct open_file *file = file_of(info);

	slot->call.hold = file->hold;
	heap_free(file);
	server_send(slot);
}

/* ---- contents ---- */
static void answered_read(struct slot *slot, const struct mount_reply *reply, char *data)
{
	if (reply->result < 0)
		fuse_reply_err(slot->request, -reply->result);
	else
		fuse_reply_buf(slot->request, data, reply->data_length);
}

static void op_read(fuse_req_t request, fuse_ino_t number, size_t size, off_t offset,
		    struct fuse_file_info *info)
{
	struct slot *slot = server_call(request, VFS_READ, node_of(number), answered_read);

	(void)info;
	slot->call.flags = VFS_OPENED;
	slot->call.offset = (uint64_t)offset;
	slot->call.length = size < MOUNT_DATA_MAX ? size : MOUNT_DATA_MAX;
	server_send(slot);
}

static void answered_write(struct slot *slot, const struct mount_reply *reply, char *data)
{
	(void)data;
	if (reply->result < 0)
		fuse_reply_err(slot->request, -reply->result);
	else
		fuse_reply_write(slot->request, reply->count);
}

static void op_write(fuse_req_t request, fuse_ino_t number, const char *data, size_t size,
		     off_t offset, struct fuse_file_info *info)
{
	struct slot *slot = server_call(request, VFS_WRITE, node_of(number), answered_write);

	(void)info;
	if (size > MOUNT_DATA_MAX)
		size = MOUNT_DATA_MAX;
	slot->call.flags = VFS_OPENED;
	slot->call.stable = VFS_UNSTABLE; /* O_SYNC: the kernel sends FSYNC behind it */
	slot->call.offset = (uint64_t)offset;
	slot->call.length = size;
	slot->call.data_length = (uint32_t)size;
	slot->data = data;
	server_send(slot);
}

/* Good only if nothing that was written since the last time can have been lost. */
static void answered_fsync(struct slot *slot, const struct mount_reply *reply, char *data)
{
	struct open_file *file = slot->file;
	int result = reply->result;

	(void)data;
	if (result == 0 && file && file->verifier != reply->verifier)
		result = -EIO;
	if (file)
		file->verifier = reply->verifier;
	fuse_reply_err(slot->request, -result);
}

static void op_fsync(fuse_req_t request, fuse_ino_t number, int data_only,
		     struct fuse_file_info *info)
{
	struct slot *slot = server_call(request, VFS_COMMIT, node_of(number), answered_fsync);

	(void)data_only;
	slot->file = file_of(info);
	server_send(slot);
}

/* Every change of a directory is durable when it is answered. */
static void op_fsyncdir(fuse_req_t request, fuse_ino_t number, int data_only,
			struct fuse_file_info *info)
{
	(void)number;
	(void)data_only;
	(void)info;
	fuse_reply_err(request, 0);
}

/* A large range takes several calls. */
static void answered_allocate(struct slot *slot, const struct mount_reply *reply, char *data)
{
	uint64_t end = slot->call.offset + slot->call.length;

	(void)data;
	if (reply->result == 0 && reply->offset < end && fuse_req_interrupted(slot->request)) {
		fuse_reply_err(slot->request, EINTR);
		return;
	}
	if (reply->result < 0 || reply->offset >= end) {
		fuse_reply_err(slot->request, -reply->result);
		return;
	}
	server_again(slot, VFS_ALLOCATE, answered_allocate);
	slot->call.flags = VFS_OPENED;
	slot->call.offset = reply->offset;
	slot->call.length = end - reply->offset;
	server_send(slot);
}

static void op_fallocate(fuse_req_t request, fuse_ino_t number, int mode, off_t offset,
			 off_t length, struct fuse_file_info *info)
{
	bool punch = mode == (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE);
	struct slot *slot = server_call(request, punch ? VFS_DEALLOCATE : VFS_ALLOCATE,
					node_of(number), punch ? answered_done : answered_allocate);

	(void)info;
	if (mode != 0 && !punch) {
		fuse_reply_err(request, EOPNOTSUPP);
		return;
	}
	slot->call.flags = VFS_OPENED;
	slot->call.offset = (uint64_t)offset;
	slot->call.length = (uint64_t)length;
	server_send(slot);
}

static void answered_lseek(struct slot *slot, const struct mount_reply *reply, char *data)
{
	(void)data;
	if (reply->result < 0)
		fuse_reply_err(slot->request, -reply->result);
	else
		fuse_reply_lseek(slot->request, (off_t)reply->offset);
}

static void op_lseek(fuse_req_t request, fuse_ino_t number, off_t offset, int whence,
		     struct fuse_file_info *info)
{
	struct slot *slot = server_call(request, VFS_SEEK, node_of(number), answered_lseek);

	(void)info;
	if (offset < 0 || (whence != SEEK_DATA && whence != SEEK_HOLE)) {
		fuse_reply_err(request, offset < 0 ? ENXIO : EINVAL);
		return;
	}
	slot->call.flags = VFS_OPENED;
	slot->call.offset = (uint64_t)offset;
	slot->call.seek = whence == SEEK_DATA ? VFS_SEEK_DATA : VFS_SEEK_HOLE;
	server_send(slot);
}

static void answered_clone(struct slot *slot, const struct mount_reply *reply, char *data)
{
	(void)data;
	if (reply->result < 0) /* EINVAL: less is there; the kernel copies by itself */
		fuse_reply_err(slot->request,
			       reply->result == -EINVAL ? EOPNOTSUPP : -reply->result);
	else
		fuse_reply_write(slot->request, slot->size);
}

/* Whole blocks are shared; of the rest the kernel makes a copy. */
static void op_copy(fuse_req_t request, fuse_ino_t from, off_t from_offset,
		    struct fuse_file_info *from_info, fuse_ino_t to, off_t to_offset,
		    struct fuse_file_info *to_info, size_t length, int flags)
{
	struct slot *slot = server_call(request, VFS_CLONE, node_of(from), answered_clone);

	(void)from_info;
	(void)to_info;
	slot->size = length < (1u << 30) ? length - length % VFS_BLOCK : 1u << 30;
	if (flags || from_offset % VFS_BLOCK || to_offset % VFS_BLOCK || slot->size == 0) {
		fuse_reply_err(request, EOPNOTSUPP);
		return;
	}
	slot->call.flags = VFS_OPENED;
	slot->call.object2 = node_of(to)->object;
	slot->call.offset = (uint64_t)from_offset;
	slot->call.offset2 = (uint64_t)to_offset;
	slot->call.length = slot->size;
	server_send(slot);
}

/* ---- directories ---- */
static void answered_opendir(struct slot *slot, const struct mount_reply *reply, char *data)
{
	(void)data;
	if (reply->result < 0)
		fuse_reply_err(slot->request, -reply->result);
	else if (!(reply->rights & VFS_READ_DATA))
		fuse_reply_err(slot->request, EACCES);
	else
		fuse_reply_open(slot->request, &slot->file_info);
}

static void op_opendir(fuse_req_t request, fuse_ino_t number, struct fuse_file_info *info)
{
	struct slot *slot = server_call(request, VFS_ACCESS, node_of(number), answered_opendir);

	slot->file_info = *info;
	slot->call.rights = VFS_READ_DATA;
	server_send(slot);
}

/* The reply to READDIR as it grows. */
struct listing {
	struct slot *slot;
	char *at;
	size_t fill;
};

/* False: it is full. */
static bool add_name(struct listing *listing, const char *name, const struct stat *attr,
		     const struct fuse_entry_param *entry, off_t next)
{
	struct slot *slot = listing->slot;
	char *at = listing->at + listing->fill;
	size_t room = slot->size - listing->fill, took;

	took = slot->plus ? fuse_add_direntry_plus(slot->request, at, room, name, entry, next)
			  : fuse_add_direntry(slot->request, at, room, name, attr, next);
	if (took > room)
		return false;
	listing->fill += took;
	return true;
}

static bool add_entry(struct listing *listing, const struct vfs_dirent *found)
{
	struct slot *slot = listing->slot;
	struct fuse_entry_param entry = {0};
	struct stat attr = {.st_ino = found->fileid, .st_mode = type_bits(found->type)};
	struct node *node = NULL;

	entry.attr = attr;
	if (slot->plus && found->attr.type != VFS_NONE) {
		node = node_look_up(&found->object);
		entry = (struct fuse_entry_param){
		    .ino = node ? node_number(node) : 0,
		    .attr = stat_of(&found->attr),
		    .attr_timeout = known_for(slot->server),
		    .entry_timeout = known_for(slot->server),
		};
	}
	if (add_name(listing, found->name, &attr, &entry, (off_t)found->cookie))
		return true;
	if (node)
		node_forget(node, 1);
	return false;
}

static bool add_dots(struct listing *listing, uint64_t fileid)
{
	struct slot *slot = listing->slot;
	struct fuse_entry_param entry = {0};
	struct stat attr = {.st_ino = fileid, .st_mode = S_IFDIR};

	entry.attr = attr;
	return (slot->offset > 0 || add_name(listing, ".", &attr, &entry, 1)) &&
	       (slot->offset > 1 || add_name(listing, "..", &attr, &entry, 2));
}

static void add_all(struct listing *listing, const char *data, size_t length)
{
	size_t at = 0;

	while (at + offsetof(struct vfs_dirent, name) < length) {
		const struct vfs_dirent *found = (const void *)(data + at);

		if (found->next < offsetof(struct vfs_dirent, name) + found->name_length + 1 ||
		    found->next > length - at || !add_entry(listing, found))
			return;
		at += found->next;
	}
}

static void answered_list(struct slot *slot, const struct mount_reply *reply, char *data)
{
	struct listing listing = {.slot = slot};

	if (reply->result < 0) {
		fuse_reply_err(slot->request, -reply->result);
		return;
	}
	listing.at = heap_alloc(slot->size);
	if (!listing.at) {
		fuse_reply_err(slot->request, ENOMEM);
		return;
	}
	if (add_dots(&listing, reply->attr.fileid))
		add_all(&listing, data, reply->data_length);
	fuse_reply_buf(slot->request, listing.at, listing.fill);
	heap_free(listing.at);
}

#define LIST_MAX (64u << 10)

static void list(fuse_req_t request, fuse_ino_t number, size_t size, off_t offset, bool plus)
{
	struct slot *slot = server_call(request, VFS_READDIR, node_of(number), answered_list);
	size_t room = size * (plus ? 2 : 6); /* our entries are longer than the kernel's */

	slot->plus = plus;
	slot->size = size < LIST_MAX ? size : LIST_MAX;
	slot->offset = (uint64_t)offset;
	slot->call.flags = plus ? VFS_WANT_ATTR : 0;
	slot->call.data_room = room < LIST_MAX ? (uint32_t)room : LIST_MAX;
	slot->call.cookie = offset > 2 ? (uint64_t)offset : VFS_COOKIE_START;
	server_send(slot);
}

static void op_readdir(fuse_req_t request, fuse_ino_t number, size_t size, off_t offset,
		       struct fuse_file_info *info)
{
	(void)info;
	list(request, number, size, offset, false);
}

static void op_readdirplus(fuse_req_t request, fuse_ino_t number, size_t size, off_t offset,
			   struct fuse_file_info *info)
{
	(void)info;
	list(request, number, size, offset, true);
}

/* ---- the whole ---- */
static void answered_statfs(struct slot *slot, const struct mount_reply *reply, char *data)
{
	const struct vfs_fsstat *from = &reply->fsstat;
	struct statvfs stat = {
	    .f_bsize = VFS_BLOCK,
	    .f_frsize = VFS_BLOCK,
	    .f_blocks = from->total_bytes / VFS_BLOCK,
	    .f_bfree = from->free_bytes / VFS_BLOCK,
	    .f_bavail = from->available_bytes / VFS_BLOCK,
	    .f_files = from->total_files,
	    .f_ffree = from->free_files,
	    .f_favail = from->available_files,
	    .f_namemax = VFS_NAME_MAX,
	};

	(void)data;
	if (reply->result < 0)
		fuse_reply_err(slot->request, -reply->result);
	else
		fuse_reply_statfs(slot->request, &stat);
}

static void op_statfs(fuse_req_t request, fuse_ino_t number)
{
	server_send(server_call(request, VFS_FSSTAT, node_of(number), answered_statfs));
}

/* ---- extended attributes: those of users; the share has no other name space ---- */
static bool is_users(const char *name)
{
	return strncmp(name, user_space, USER_LENGTH) == 0 && name[USER_LENGTH];
}

static void answered_xattr(struct slot *slot, const struct mount_reply *reply, char *data)
{
	if (reply->result < 0)
		fuse_reply_err(slot->request, -reply->result);
	else if (slot->size == 0)
		fuse_reply_xattr(slot->request, reply->count);
	else
		fuse_reply_buf(slot->request, data, reply->data_length);
}

static void op_getxattr(fuse_req_t request, fuse_ino_t number, const char *name, size_t size)
{
	struct slot *slot;

	if (!is_users(name)) { /* security.capability, with every write */
		fuse_reply_err(request, ENODATA);
		return;
	}
	slot = server_call(request, VFS_XATTR_GET, node_of(number), answered_xattr);
	server_name(slot, name + USER_LENGTH);
	slot->size = size;
	slot->call.data_room = size < VFS_XATTR_MAX ? (uint32_t)size : VFS_XATTR_MAX;
	server_send(slot);
}

static void op_setxattr(fuse_req_t request, fuse_ino_t number, const char *name, const char *value,
			size_t size, int flags)
{
	struct slot *slot;

	if (!is_users(name) || size > VFS_XATTR_MAX) {
		fuse_reply_err(request, is_users(name) ? E2BIG : EOPNOTSUPP);
		return;
	}
	slot = server_call(request, VFS_XATTR_SET, node_of(number), answered_done);
	server_name(slot, name + USER_LENGTH);
	slot->call.xattr_how = flags & XATTR_CREATE    ? VFS_XATTR_CREATE
			       : flags & XATTR_REPLACE ? VFS_XATTR_REPLACE
						       : VFS_XATTR_EITHER;
	slot->data = value;
	slot->call.data_length = (uint32_t)size;
	server_send(slot);
}

static void op_removexattr(fuse_req_t request, fuse_ino_t number, const char *name)
{
	struct slot *slot;

	if (!is_users(name)) {
		fuse_reply_err(request, EOPNOTSUPP);
		return;
	}
	slot = server_call(request, VFS_XATTR_REMOVE, node_of(number), answered_done);
	server_name(slot, name + USER_LENGTH);
	server_send(slot);
}

static void reply_names(struct slot *slot)
{
	if (slot->size == 0)
		fuse_reply_xattr(slot->request, slot->gathered_length);
	else if (slot->gathered_length > slot->size)
		fuse_reply_err(slot->request, ERANGE);
	else
		fuse_reply_buf(slot->request, slot->gathered, slot->gathered_length);
}

/* Each name with its name space; false: they are too many for the kernel. */
static bool gather(struct slot *slot, const char *data, size_t length)
{
	for (size_t at = 0; at < length;) {
		size_t name = strnlen(data + at, length - at);

		if (name == length - at ||
		    slot->gathered_length + USER_LENGTH + name + 1 > XATTR_LIST_MAX)
			return false;
		memcpy(slot->gathered + slot->gathered_length, user_space, USER_LENGTH);
		slot->gathered_length += USER_LENGTH;
		memcpy(slot->gathered + slot->gathered_length, data + at, name + 1);
		slot->gathered_length += name + 1;
		at += name + 1;
	}
	return true;
}

static void answered_names(struct slot *slot, const struct mount_reply *reply, char *data)
{
	bool good = reply->result == 0 && gather(slot, data, reply->data_length);

	if (good && !reply->eof && reply->data_length > 0) {
		server_again(slot, VFS_XATTR_LIST, answered_names);
		slot->call.data_room = VFS_XATTR_MAX;
		slot->call.cookie = reply->offset;
		server_send(slot);
		return;
	}
	if (good)
		reply_names(slot);
	else
		fuse_reply_err(slot->request, reply->result < 0 ? -reply->result : E2BIG);
	heap_free(slot->gathered);
	slot->gathered = NULL;
}

static void op_listxattr(fuse_req_t request, fuse_ino_t number, size_t size)
{
	struct slot *slot = server_call(request, VFS_XATTR_LIST, node_of(number), answered_names);

	slot->gathered = heap_alloc(XATTR_LIST_MAX);
	if (!slot->gathered) {
		fuse_reply_err(request, ENOMEM);
		return;
	}
	slot->size = size;
	slot->call.data_room = VFS_XATTR_MAX;
	server_send(slot);
}

const struct fuse_lowlevel_ops mount_operations = {
    .init = begin,
    .lookup = op_lookup,
    .forget = op_forget,
    .forget_multi = op_forget_multi,
    .getattr = op_getattr,
    .setattr = op_setattr,
    .readlink = op_readlink,
    .mknod = op_mknod,
    .mkdir = op_mkdir,
    .symlink = op_symlink,
    .unlink = op_unlink,
    .rmdir = op_rmdir,
    .rename = op_rename,
    .link = op_link,
    .open = op_open,
    .create = op_create,
    .release = op_release,
    .read = op_read,
    .write = op_write,
    .fsync = op_fsync,
    .fsyncdir = op_fsyncdir,
    .fallocate = op_fallocate,
    .lseek = op_lseek,
    .copy_file_range = op_copy,
    .opendir = op_opendir,
    .readdir = op_readdir,
    .readdirplus = op_readdirplus,
    .statfs = op_statfs,
    .getxattr = op_getxattr,
    .setxattr = op_setxattr,
    .removexattr = op_removexattr,
    .listxattr = op_listxattr,
};
