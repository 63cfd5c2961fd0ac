/* SPDX-License-Identifier: Apache-2.0 */
/* host_object.c: what an object of the host is: its handle, its attributes, and those that are
 * held. */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/bytes.h"
#include "core/heap.h"
#include "shares/host.h"
#include "shares/siphash.h"

/* An object: 0 the handle's type, 1 the kernel's handle, then its hash. */
#define HANDLE_ROOM (VFS_OBJECT_MAX - HOST_MAC_BYTES - 1)

/* The kernel's struct file_handle, with room. */
union handle_box {
	struct file_handle handle;
	uint8_t bytes[sizeof(struct file_handle) + HANDLE_ROOM];
};

int host_errno(int error)
{
	static const int kept[] = {ENOENT,       EACCES, EPERM, ENOTDIR, EISDIR,
				   ENAMETOOLONG, EINVAL, ENXIO, ENODATA, ERANGE,
				   EOPNOTSUPP,   ENOMEM, ESTALE};

	for (unsigned i = 0; i < sizeof(kept) / sizeof(kept[0]); i++)
		if (kept[i] == error)
			return -error;
	return error == EMFILE || error == ENFILE ? -ENOMEM : -EIO;
}

/* ---- attributes */

static int64_t nanoseconds(const struct statx_timestamp *stamp)
{
	return stamp->tv_sec * 1000000000 + stamp->tv_nsec;
}

static enum vfs_type type_of(unsigned mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG:
		return VFS_REGULAR;
	case S_IFDIR:
		return VFS_DIRECTORY;
	case S_IFLNK:
		return VFS_SYMLINK;
	case S_IFBLK:
		return VFS_BLOCK_DEVICE;
	case S_IFCHR:
		return VFS_CHARACTER_DEVICE;
	case S_IFIFO:
		return VFS_FIFO;
	default:
		return VFS_SOCKET;
	}
}

/* The time of the last change, in steps of 4 us, for it to grow; below that what size and mtime
 * are, for changes of one tick of the kernel's clock to be told apart if they can be. */
uint64_t host_change(int64_t ctime, int64_t mtime, uint64_t size)
{
	uint64_t rest = (uint64_t)mtime ^ size * 0x9e3779b97f4a7c15ull;

	return ((uint64_t)ctime & ~0xfffull) | (rest * 0xd6e8feb86659fd93ull) >> 52;
}

static int look(int fd, struct statx *about, struct vfs_attr *attr)
{
	if (statx(fd, "", AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS | STATX_BTIME,
		  about) < 0)
		return host_errno(errno);
	*attr = (struct vfs_attr){
	    .type = type_of(about->stx_mode),
	    .mode = about->stx_mode & 07777,
	    .links = about->stx_nlink,
	    .uid = about->stx_uid,
	    .gid = about->stx_gid,
	    .rdev_major = about->stx_rdev_major,
	    .rdev_minor = about->stx_rdev_minor,
	    .fileid = about->stx_ino,
	    .size = about->stx_size,
	    .used = about->stx_blocks * 512,
	    .change = host_change(nanoseconds(&about->stx_ctime), nanoseconds(&about->stx_mtime),
				  about->stx_size),
	    .atime = nanoseconds(&about->stx_atime),
	    .mtime = nanoseconds(&about->stx_mtime),
	    .ctime = nanoseconds(&about->stx_ctime),
	    .btime = about->stx_mask & STATX_BTIME ? nanoseconds(&about->stx_btime) : 0,
	};
	return 0;
}

static bool is_here(const struct host_fs *fs, const struct statx *about)
{
	return about->stx_dev_major == fs->dev_major && about->stx_dev_minor == fs->dev_minor;
}

int host_refresh(struct host_node *node)
{
	struct statx about;

	return look(node->fd, &about, &node->attr);
}

/* ---- handles */

static void sign(const struct host_fs *fs, struct vfs_object *object, unsigned length)
{
	put64(object->bytes + length, siphash(fs->key, object->bytes, length));
	object->length = (uint8_t)(length + HOST_MAC_BYTES);
}

/* The rest is zeros: an object is compared as a whole by some. */
static int name_object(const struct host_fs *fs, int fd, struct vfs_object *object)
{
	union handle_box box = {.handle.handle_bytes = HANDLE_ROOM};
	int mount;

	if (name_to_handle_at(fd, "", &box.handle, &mount, AT_EMPTY_PATH) < 0)
		return errno == EOVERFLOW ? -EOPNOTSUPP : host_errno(errno);
	if (box.handle.handle_type < 0 || box.handle.handle_type > UINT8_MAX)
		return -EOPNOTSUPP;
	*object = (struct vfs_object){0};
	object->bytes[0] = (uint8_t)box.handle.handle_type;
	memcpy(object->bytes + 1, box.bytes + sizeof(struct file_handle), box.handle.handle_bytes);
	sign(fs, object, 1 + box.handle.handle_bytes);
	return 0;
}

static bool is_ours(const struct host_fs *fs, const struct vfs_object *object)
{
	unsigned length = object->length;

	if (length <= 1 + HOST_MAC_BYTES || length > VFS_OBJECT_MAX)
		return false;
	length -= HOST_MAC_BYTES;
	return get64(object->bytes + length) == siphash(fs->key, object->bytes, length);
}

static int open_object(const struct host_fs *fs, const struct vfs_object *object, int flags)
{
	union handle_box box = {0};
	int fd;

	box.handle.handle_type = object->bytes[0];
	box.handle.handle_bytes = object->length - HOST_MAC_BYTES - 1;
	memcpy(box.bytes + sizeof(struct file_handle), object->bytes + 1, box.handle.handle_bytes);
	fd = open_by_handle_at(fs->root_fd, &box.handle, flags | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? host_errno(errno) : fd;
}

int host_identify(struct host_fs *fs, struct host_node *node)
{
	struct statx about;
	int result = look(node->fd, &about, &node->attr);

	if (result == 0 && !is_here(fs, &about))
		result = -ENOENT;
	return result ? result : name_object(fs, node->fd, &node->object);
}

/* ---- names */

static int open_at(int directory, const char *name, uint64_t flags)
{
	struct open_how how = {.flags = flags | O_PATH | O_NOFOLLOW | O_CLOEXEC,
			       .resolve = RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS};
	long fd = syscall(SYS_openat2, directory, name, &how, sizeof(how));

	if (fd >= 0)
		return (int)fd;
	return errno == EXDEV ? -ENOENT : host_errno(errno);
}

/* Is this directory the root, or below it? It is asked of the kernel each time, for somebody may
 * have moved it. */
static int check_inside(const struct host_fs *fs, int fd)
{
	struct statx about;
	struct vfs_attr attr;
	uint64_t below = 0;
	int at = fd, result = -ESTALE;

	for (unsigned i = 0; i < HOST_DEPTH_MAX; i++) {
		int up;

		if (look(at, &about, &attr) < 0 || !is_here(fs, &about) || attr.fileid == below)
			break;
		if (attr.fileid == fs->vfs.root_fileid) {
			result = 0;
			break;
		}
		below = attr.fileid;
		up = open_at(at, "..", O_DIRECTORY);
		if (at != fd)
			close(at);
		at = up;
		if (at < 0)
			return at == -ENOMEM ? at : -ESTALE;
	}
	if (at != fd)
		close(at);
	return result;
}

static int identify_or_close(struct host_fs *fs, struct host_node *node)
{
	int result = host_identify(fs, node);

	if (result < 0)
		host_node_close(node);
	return result;
}

int host_child(struct host_fs *fs, const struct host_node *directory, const char *name,
	       struct host_node *ret_node)
{
	*ret_node = HOST_NODE_NONE;
	ret_node->fd = open_at(directory->fd, name, 0);
	return ret_node->fd < 0 ? ret_node->fd : identify_or_close(fs, ret_node);
}

int host_parent(struct host_fs *fs, const struct host_node *directory, struct host_node *ret_node)
{
	int result;

	*ret_node = HOST_NODE_NONE;
	ret_node->fd = open_at(directory->fd, "..", O_DIRECTORY);
	if (ret_node->fd < 0)
		return ret_node->fd;
	result = check_inside(fs, ret_node->fd);
	if (result < 0)
		host_node_close(ret_node);
	return result < 0 ? result : identify_or_close(fs, ret_node);
}

/* ---- descriptors */

void host_node_close(struct host_node *node)
{
	if (node->read_fd >= 0 && node->read_fd != node->fd)
		close(node->read_fd);
	if (node->fd >= 0)
		close(node->fd);
	node->fd = node->read_fd = -1;
}

/* Only regular files and directories: opening anything else may wait for ever, or do something. */
int host_readable(struct host_fs *fs, struct host_node *node)
{
	if (node->read_fd >= 0)
		return 0;
	if (node->attr.type == VFS_DIRECTORY) {
		node->read_fd = openat(node->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		return node->read_fd < 0 ? host_errno(errno) : 0;
	}
	if (node->attr.type != VFS_REGULAR)
		return -EINVAL;
	node->read_fd = open_object(fs, &node->object, O_RDONLY);
	return node->read_fd < 0 ? node->read_fd : 0;
}

/* ---- what is held */

/* Of every directory: they share the process's descriptors. */
static unsigned held_count; /* atomic */

static bool take_hold(unsigned most)
{
	if (__atomic_add_fetch(&held_count, 1, __ATOMIC_RELAXED) <= most)
		return true;
	__atomic_sub_fetch(&held_count, 1, __ATOMIC_RELAXED);
	return false;
}

static void give_hold(void)
{
	__atomic_sub_fetch(&held_count, 1, __ATOMIC_RELAXED);
}

static struct list *bucket_of(struct host_fs *fs, const struct vfs_object *object)
{
	return &fs->holds[object->bytes[object->length - 1] % HOST_HOLD_BUCKETS];
}

/* Under the lock. */
static struct host_hold *find_hold(struct host_fs *fs, const struct vfs_object *object)
{
	list_for_each (it, bucket_of(fs, object)) {
		struct host_hold *hold = list_entry(it, struct host_hold, link);

		if (vfs_object_equal(&hold->object, object))
			return hold;
	}
	return NULL;
}

/* A descriptor of it, -ENOENT: not held. */
static int dup_held(struct host_fs *fs, const struct vfs_object *object)
{
	struct host_hold *hold;
	int fd = -ENOENT;

	pthread_mutex_lock(&fs->hold_lock);
	hold = find_hold(fs, object);
	if (hold)
		fd = fcntl(hold->fd, F_DUPFD_CLOEXEC, 0);
	pthread_mutex_unlock(&fs->hold_lock);
	return fd == -1 ? host_errno(errno) : fd;
}

int host_find(struct host_fs *fs, const struct vfs_object *object, struct host_node *ret_node)
{
	struct statx about;
	bool held = true;
	int result;

	*ret_node = HOST_NODE_NONE;
	if (!is_ours(fs, object))
		return -ESTALE;
	ret_node->object = *object;
	ret_node->fd = dup_held(fs, object);
	if (ret_node->fd == -ENOENT) {
		held = false;
		ret_node->fd = open_object(fs, object, O_PATH);
	}
	if (ret_node->fd < 0)
		return ret_node->fd == -ENOENT ? -ESTALE : ret_node->fd;
	result = look(ret_node->fd, &about, &ret_node->attr);
	if (result == 0 && (!is_here(fs, &about) || (!held && ret_node->attr.links == 0)))
		result = -ESTALE;
	if (result == 0 && ret_node->attr.type == VFS_DIRECTORY)
		result = check_inside(fs, ret_node->fd);
	if (held && ret_node->attr.type == VFS_REGULAR)
		ret_node->read_fd = ret_node->fd;
	if (result < 0)
		host_node_close(ret_node);
	return result;
}

/* Under the lock. */
static int hold_new(struct host_fs *fs, const struct host_node *node, int fd)
{
	struct host_hold *hold;
	int result;

	if (!take_hold(fs->hold_max))
		return -ENOMEM;
	hold = heap_zalloc(sizeof(*hold));
	if (!hold) {
		give_hold();
		return -ENOMEM;
	}
	*hold = (struct host_hold){.object = node->object, .count = 1};
	hold->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (hold->fd < 0) {
		result = host_errno(errno);
		heap_free(hold);
		give_hold();
		return result;
	}
	list_push_back(bucket_of(fs, &hold->object), &hold->link);
	return 0;
}

int host_hold(struct host_fs *fs, struct host_node *node)
{
	bool regular = node->attr.type == VFS_REGULAR;
	struct host_hold *hold;
	int result = regular ? host_readable(fs, node) : 0;

	if (result < 0)
		return result;
	pthread_mutex_lock(&fs->hold_lock);
	hold = find_hold(fs, &node->object);
	if (hold)
		hold->count++;
	else
		result = hold_new(fs, node, regular ? node->read_fd : node->fd);
	pthread_mutex_unlock(&fs->hold_lock);
	return result;
}

static void drop(struct host_hold *hold)
{
	list_remove(&hold->link);
	give_hold();
	close(hold->fd);
	heap_free(hold);
}

int host_release(struct host_fs *fs, const struct vfs_object *object)
{
	struct host_hold *hold;

	if (!is_ours(fs, object))
		return -ESTALE;
	pthread_mutex_lock(&fs->hold_lock);
	hold = find_hold(fs, object);
	if (hold && --hold->count == 0)
		drop(hold);
	pthread_mutex_unlock(&fs->hold_lock);
	return hold ? 0 : -EINVAL;
}

void host_drop_holds(struct host_fs *fs)
{
	for (unsigned i = 0; i < HOST_HOLD_BUCKETS; i++)
		while (!list_empty(&fs->holds[i]))
			drop(list_entry(fs->holds[i].next, struct host_hold, link));
}
