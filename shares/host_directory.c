/* SPDX-License-Identifier: Apache-2.0 */
/* host_directory.c: opening a directory of this machine, and the threads that run its requests. */
#include "shares/host_directory.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "core/heap.h"
#include "shares/host.h"
#include "shares/siphash.h"

/* ---- requests: to the threads, and back */

static void lane_arrived(struct message *message)
{
	struct host_lane *lane = container_of(message, struct host_lane, message);
	struct list batch, *link;

	list_init(&batch);
	pthread_mutex_lock(&lane->fs->queue_lock);
	list_splice_back(&batch, &lane->done);
	lane->posted = false;
	pthread_mutex_unlock(&lane->fs->queue_lock);
	while ((link = list_pop_front(&batch))) {
		struct vfs_request *request = list_entry(link, struct vfs_request, link);

		list_init(&request->link);
		vfs_finish(request, request->result);
	}
}

/* Under the lock. */
static void send_back(struct host_lane *lane, struct vfs_request *request)
{
	list_push_back(&lane->done, &request->link);
	if (!lane->posted)
		loop_post(lane->loop, &lane->message, lane_arrived);
	lane->posted = true;
}

/* Under the lock. */
static struct host_lane *find_lane(struct host_fs *fs, struct loop *loop)
{
	struct host_lane *lane = fs->lanes;

	while (lane && lane->loop != loop)
		lane = lane->next;
	if (lane || !(lane = heap_zalloc(sizeof(*lane))))
		return lane;
	lane->fs = fs;
	lane->loop = loop;
	list_init(&lane->done);
	lane->next = fs->lanes;
	fs->lanes = lane;
	return lane;
}

static void submit(struct vfs *vfs, struct vfs_request *request)
{
	struct host_fs *fs = container_of(vfs, struct host_fs, vfs);
	struct host_lane *lane;

	pthread_mutex_lock(&fs->queue_lock);
	lane = find_lane(fs, request->loop);
	request->backend = lane;
	if (lane) {
		list_push_back(&fs->queue, &request->link);
		pthread_cond_signal(&fs->more);
	}
	pthread_mutex_unlock(&fs->queue_lock);
	if (!lane)
		vfs_finish(request, -ENOMEM);
}

/* Only what no thread has begun: a system call that hangs can not be taken back. */
static void cancel(struct vfs *vfs, struct vfs_request *request)
{
	struct host_fs *fs = container_of(vfs, struct host_fs, vfs);
	struct host_lane *lane;

	pthread_mutex_lock(&fs->queue_lock);
	lane = request->backend;
	request->backend = NULL;
	if (lane) {
		list_remove(&request->link);
		request->result = -ECANCELED;
		send_back(lane, request);
	}
	pthread_mutex_unlock(&fs->queue_lock);
}

static void *work(void *context)
{
	struct host_fs *fs = context;
	struct list *link;

	pthread_mutex_lock(&fs->queue_lock);
	for (;;) {
		struct vfs_request *request;
		struct host_lane *lane;

		while (!(link = list_pop_front(&fs->queue)) && !fs->stopping)
			pthread_cond_wait(&fs->more, &fs->queue_lock);
		if (!link)
			break;
		request = list_entry(link, struct vfs_request, link);
		list_init(&request->link);
		lane = request->backend;
		request->backend = NULL;
		pthread_mutex_unlock(&fs->queue_lock);
		request->result = host_run(fs, request);
		pthread_mutex_lock(&fs->queue_lock);
		send_back(lane, request);
	}
	pthread_mutex_unlock(&fs->queue_lock);
	return NULL;
}

/* ---- life */

static int start_threads(struct host_fs *fs)
{
	sigset_t all, before;
	int result = 0;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	while (result == 0 && fs->thread_count < HOST_THREADS) {
		result = -pthread_create(&fs->threads[fs->thread_count], NULL, work, fs);
		if (result == 0)
			pthread_setname_np(fs->threads[fs->thread_count++], "host-dir");
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return fs->thread_count ? 0 : result;
}

static void release(struct vfs *vfs)
{
	struct host_fs *fs = container_of(vfs, struct host_fs, vfs);
	struct host_lane *lane;

	pthread_mutex_lock(&fs->queue_lock);
	fs->stopping = true;
	pthread_cond_broadcast(&fs->more);
	pthread_mutex_unlock(&fs->queue_lock);
	for (unsigned i = 0; i < fs->thread_count; i++)
		pthread_join(fs->threads[i], NULL);
	while ((lane = fs->lanes)) {
		fs->lanes = lane->next;
		heap_free(lane);
	}
	host_drop_holds(fs);
	close(fs->root_fd);
	pthread_mutex_destroy(&fs->queue_lock);
	pthread_mutex_destroy(&fs->hold_lock);
	pthread_cond_destroy(&fs->more);
	heap_free(fs);
}

static const struct vfs_ops host_ops = {
    .name = "directory",
    .submit = submit,
    .cancel = cancel,
    .release = release,
};

/* What of @path is behind the allowed directory @base ("" when they are the same), or NULL. */
static const char *rest_of(const char *path, const char *base)
{
	size_t length = strlen(base);

	while (length > 0 && base[length - 1] == '/')
		length--;
	if (base[0] != '/' || strncmp(path, base, length) != 0 ||
	    (path[length] && path[length] != '/'))
		return NULL;
	path += length;
	return path + strspn(path, "/");
}

/* The allowed directory may be a symbolic link, for its administrator named it; nothing behind it
 * is followed, and nothing leads out of it. */
static int open_below(const char *base, const char *rest)
{
	struct open_how how = {.flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC,
			       .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS};
	int base_fd = open(base, O_PATH | O_DIRECTORY | O_CLOEXEC), error;
	long fd;

	if (base_fd < 0)
		return -errno;
	fd = syscall(SYS_openat2, base_fd, *rest ? rest : ".", &how, sizeof(how));
	error = errno;
	close(base_fd);
	return fd < 0 ? -error : (int)fd;
}

int host_directory_check_path(const char *path, struct err *err)
{
	if (path[0] != '/' || strlen(path) > HOST_PATH_MAX)
		return err_set(err, -EINVAL, "\"%.200s\" is no absolute path", path);
	for (const char *at = path; *at;) {
		size_t length = strcspn(++at, "/");

		if (length == 0 || (length == 1 && at[0] == '.') ||
		    (length == 2 && at[0] == '.' && at[1] == '.'))
			return err_set(err, -EINVAL,
				       path[1]
					   ? "\"%.200s\" is not written plainly: no \".\", "
					     "\"..\", or \"/\" at the end"
					   : "\"%.200s\" is the whole machine, which is not served",
				       path);
		at += length;
	}
	return 0;
}

static int open_allowed(const struct host_directory_options *options, struct err *err)
{
	int result = -EACCES;

	if (host_directory_check_path(options->path, err) < 0)
		return -EINVAL;
	for (unsigned i = 0; i < options->allowed_count && result < 0; i++) {
		const char *rest = rest_of(options->path, options->allowed[i]);

		if (rest)
			result = open_below(options->allowed[i], rest);
		if (rest && result < 0)
			return err_set(err, result == -EACCES ? -EPERM : result,
				       "%s can not be opened: %s", options->path,
				       result == -ELOOP   ? "it has a symbolic link in it"
				       : result == -EXDEV ? "it leads out of what may be served"
							  : strerror(-result));
	}
	if (result < 0)
		err_set(err, result, "%s is not in a directory that may be served", options->path);
	return result;
}

static int open_root(const struct host_directory_options *options, struct err *err)
{
	int fd = open_allowed(options, err), result;

	if (fd < 0)
		return fd;
	result = host_check_guarded(fd, options, err);
	if (result < 0)
		close(fd);
	return result < 0 ? result : fd;
}

/* ---- who it is */

/* Objects are good for this directory of this file system alone. */
static int make_key(struct host_fs *fs, const uint8_t *secret, struct err *err)
{
	struct {
		uint64_t half;
		fsid_t id;
		uint8_t root[VFS_OBJECT_MAX];
	} seed = {0};
	struct host_node root = {.fd = fs->root_fd, .read_fd = -1};
	struct statfs about;
	int result;

	if (fstatfs(fs->root_fd, &about) < 0)
		return err_set(err, -errno, "statfs: %s", strerror(errno));
	result = host_identify(fs, &root); /* with a key of zeros: its hash changes nothing */
	if (result < 0)
		return err_set(err, result,
			       "its file system has no file handles that could be used: %s",
			       strerror(-result));
	seed.id = fs->id = about.f_fsid;
	memcpy(seed.root, root.object.bytes, root.object.length);
	for (unsigned i = 0; i < 2; i++) {
		uint64_t half;

		seed.half = i;
		half = siphash(secret, &seed, sizeof(seed));
		memcpy(fs->key + 8 * i, &half, 8);
	}
	return 0;
}

static int know_root(struct host_fs *fs, const uint8_t *secret, struct err *err)
{
	struct statx about;
	struct host_node root = {.fd = fs->root_fd, .read_fd = -1}, found;
	int result;

	if (statx(fs->root_fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &about) < 0)
		return err_set(err, -errno, "statx: %s", strerror(errno));
	fs->dev_major = about.stx_dev_major;
	fs->dev_minor = about.stx_dev_minor;
	result = make_key(fs, secret, err);
	if (result < 0)
		return result;
	result = host_identify(fs, &root);
	if (result == 0) {
		fs->vfs.root = root.object;
		fs->vfs.root_fileid = root.attr.fileid;
		result = host_find(fs, &root.object, &found);
	}
	if (result < 0)
		return err_set(err, result, "it can not be opened by its handle: %s",
			       result == -EPERM ? "CAP_DAC_READ_SEARCH is missing"
						: strerror(-result));
	host_node_close(&found);
	return 0;
}

static unsigned most_holds(void)
{
	struct rlimit files;

	if (getrlimit(RLIMIT_NOFILE, &files) < 0 || files.rlim_cur / 4 > HOST_HOLDS_MAX)
		return HOST_HOLDS_MAX;
	return (unsigned)(files.rlim_cur / 4);
}

static void init(struct host_fs *fs, const struct host_directory_options *options)
{
	long links = fpathconf(fs->root_fd, _PC_LINK_MAX);

	pthread_mutex_init(&fs->queue_lock, NULL);
	pthread_mutex_init(&fs->hold_lock, NULL);
	pthread_cond_init(&fs->more, NULL);
	list_init(&fs->queue);
	for (unsigned i = 0; i < HOST_HOLD_BUCKETS; i++)
		list_init(&fs->holds[i]);
	fs->hold_max = most_holds();
	fs->vfs = (struct vfs){.ops = &host_ops,
			       .file_max = INT64_MAX,
			       .link_max = links > 0 && links <= INT32_MAX ? (uint32_t)links : 1,
			       .can = VFS_CAN_LINK | VFS_CAN_SYMLINK | VFS_CAN_SEEK,
			       .read_only = true,
			       .others_change = true,
			       .verifier = 1, /* nothing is ever written */
			       .refs = 1};
	memcpy(fs->vfs.uuid, options->uuid, sizeof(fs->vfs.uuid));
	memcpy(fs->vfs.secret, options->secret, sizeof(fs->vfs.secret));
}

int host_directory_open(const struct host_directory_options *options, struct vfs **ret_vfs,
			struct err *err)
{
	struct host_fs *fs;
	int result = open_root(options, err);

	if (result < 0)
		return result;
	fs = heap_zalloc(sizeof(*fs));
	if (!fs) {
		close(result);
		return err_set(err, -ENOMEM, "no memory for a directory");
	}
	fs->root_fd = result;
	init(fs, options);
	result = know_root(fs, options->secret, err);
	if (result == 0 && (result = start_threads(fs)) < 0)
		err_set(err, result, "no threads for a directory: %s", strerror(-result));
	if (result < 0)
		release(&fs->vfs);
	else
		*ret_vfs = &fs->vfs;
	return result;
}

int host_directory_look(const struct vfs *vfs, const struct host_directory_options *options,
			struct err *err)
{
	const struct host_fs *fs = container_of(vfs, struct host_fs, vfs);
	struct host_place served, there;
	struct statfs about;
	int fd = open_root(options, err), result = 0;

	if (fd < 0)
		return fd;
	if (!host_place_of(fs->root_fd, &served) || !host_place_of(fd, &there) ||
	    fstatfs(fd, &about) < 0)
		result = err_set(err, -errno, "%s: %s", options->path, strerror(errno));
	else if (!host_same_place(&served, &there) ||
		 memcmp(&about.f_fsid, &fs->id, sizeof(fs->id)))
		result = err_set(err, -ENOTUNIQ, "%s is another directory by now", options->path);
	close(fd);
	return result;
}
