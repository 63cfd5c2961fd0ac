/* SPDX-License-Identifier: Apache-2.0 */
/* restore.c: one file out of `.snapshot`, back into the share: it is copied into a new file beside
 * the target (holes stay holes), which takes the name when it is whole and durable. A crash leaves
 * the target as it was, and at most a file whose name begins with RESTORE_PREFIX. Runs on the home
 * loop, through requests like everybody else's. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/heap.h"
#include "core/log.h"
#include "shares/internal.h"

#define RESTORE_PREFIX ".granary-restore-"
#define PART           VFS_TRANSFER_MAX

struct restore {
	struct share_call *call;
	struct share *share;
	bool cleaning; /* goes on although the share is to be closed */
	struct fiber *fiber;
	int result;
	bool done;
	struct vfs_request request;
	struct vfs_object source, folder, made; /* folder: where the target is */
	struct vfs_attr attr;                   /* the source's */
	char temporary[48];
	const char *name; /* the target's, in its folder */
	uint8_t *buffer;  /* PART */
};

static const struct vfs_credentials superuser = {0};

/* ---- requests ---- */
static void asked(struct vfs_request *request, int result)
{
	struct restore *restore = container_of(request, struct restore, request);

	restore->result = result;
	restore->done = true;
	fiber_wake(restore->fiber);
}

/* restore->request as it is filled; its results are there afterwards. */
static int ask(struct restore *restore)
{
	struct vfs_request *request = &restore->request;

	if (restore->share->restores_end && !restore->cleaning)
		return -ECANCELED;
	request->credentials = &superuser;
	request->flags |= VFS_SNAPSHOTS;
	request->done = asked;
	restore->done = false;
	vfs_submit(&restore->share->vfs, request);
	while (!restore->done)
		fiber_wait();
	return restore->result;
}

static struct vfs_request *fresh(struct restore *restore, enum vfs_op op,
				 const struct vfs_object *object)
{
	restore->request = (struct vfs_request){.op = op, .object = *object};
	return &restore->request;
}

static struct vfs_request *named(struct restore *restore, enum vfs_op op,
				 const struct vfs_object *object, const char *name, size_t length)
{
	struct vfs_request *request = fresh(restore, op, object);

	request->name = name;
	request->name_length = (unsigned)length;
	return request;
}

/* ---- paths ---- */
static int step_into(struct restore *restore, struct vfs_object *object, const char *name,
		     size_t length)
{
	int result = -EINVAL;

	if (length <= VFS_NAME_MAX &&
	    !(name[0] == '.' && (length == 1 || (length == 2 && name[1] == '.'))))
		result = (named(restore, VFS_LOOKUP, object, name, length), ask(restore));
	if (result == 0)
		*object = restore->request.result_object;
	return result;
}

/* From *object along the first @length bytes of @path. */
static int walk(struct restore *restore, struct vfs_object *object, const char *path, size_t length)
{
	int result = 0;

	for (size_t at = 0; at < length && result == 0;) {
		size_t end = at;

		while (end < length && path[end] != '/')
			end++;
		if (end > at)
			result = step_into(restore, object, path + at, end - at);
		at = end + 1;
	}
	return result;
}

static int find_source(struct restore *restore)
{
	const struct share_call *call = restore->call;
	int result;

	restore->source = restore->share->vfs.root;
	result = walk(restore, &restore->source, ".snapshot", 9);
	if (result == 0)
		result = step_into(restore, &restore->source, call->snapshot_name,
				   strlen(call->snapshot_name));
	if (result == 0)
		result = walk(restore, &restore->source, call->path, strlen(call->path));
	if (result == 0)
		result = (fresh(restore, VFS_GETATTR, &restore->source), ask(restore));
	if (result)
		return err_set(&restore->call->err, result, "%s is not in snapshot %s", call->path,
			       call->snapshot_name);
	restore->attr = restore->request.after[0];
	if (restore->attr.type != VFS_REGULAR && restore->attr.type != VFS_SYMLINK)
		return err_set(&restore->call->err, -EINVAL,
			       "%s is no file: files and symbolic links are restored, one by one",
			       call->path);
	return 0;
}

static int find_target(struct restore *restore)
{
	const struct share_call *call = restore->call;
	const char *path = call->to ? call->to : call->path, *slash = strrchr(path, '/');
	int result;

	restore->name = slash ? slash + 1 : path;
	restore->folder = restore->share->vfs.root;
	result = restore->name[0]
		     ? walk(restore, &restore->folder, path, (size_t)(restore->name - path))
		     : -EINVAL;
	return result
		   ? err_set(&restore->call->err, result,
			     "the folder of %s is not there; give another place with \"to\"", path)
		   : 0;
}

/* ---- contents ---- */
static int make(struct restore *restore)
{
	struct vfs_request *request;
	uint8_t random[8];
	uint32_t length = 0;
	int result = 0;

	loop_random(restore->share->home, random, sizeof(random));
	snprintf(restore->temporary, sizeof(restore->temporary),
		 RESTORE_PREFIX "%02x%02x%02x%02x"
				"%02x%02x%02x%02x",
		 random[0], random[1], random[2], random[3], random[4], random[5], random[6],
		 random[7]);
	if (restore->attr.type == VFS_SYMLINK) {
		request = fresh(restore, VFS_READLINK, &restore->source);
		request->data = restore->buffer;
		request->data_room = VFS_SYMLINK_MAX;
		result = ask(restore);
		length = request->data_length;
	}
	if (result)
		return result;
	request = named(restore, VFS_CREATE, &restore->folder, restore->temporary,
			strlen(restore->temporary));
	request->type = restore->attr.type;
	request->create_how = VFS_CREATE_GUARDED;
	request->data = restore->buffer;
	request->data_length = length;
	request->set = (struct vfs_set){.mask = VFS_SET_MODE, .mode = 0600};
	result = ask(restore);
	restore->made = request->result_object;
	return result;
}

static int seek(struct restore *restore, enum vfs_seek what, uint64_t *offset)
{
	struct vfs_request *request = fresh(restore, VFS_SEEK, &restore->source);
	int result;

	request->offset = *offset;
	request->seek = what;
	result = ask(restore);
	*offset = request->offset;
	return result;
}

static int copy_part(struct restore *restore, uint64_t offset, uint64_t length)
{
	struct iovec iov = {restore->buffer, length};
	struct vfs_request *request = fresh(restore, VFS_READ, &restore->source);
	int result;

	request->offset = offset;
	request->length = length;
	request->iov = &iov;
	request->iov_count = 1;
	result = ask(restore);
	if (result == 0 && request->count != length)
		result = -EIO;
	if (result)
		return result;
	request = fresh(restore, VFS_WRITE, &restore->made);
	request->offset = offset;
	request->length = length;
	request->iov = &iov;
	request->iov_count = 1;
	restore->call->restored_bytes += length;
	return ask(restore);
}

/* What is data; parts end at multiples of their size, so that they are whole blocks. */
static int copy(struct restore *restore)
{
	uint64_t at = 0;
	int result = 0;

	while (at < restore->attr.size && result == 0) {
		uint64_t end;

		result = seek(restore, VFS_SEEK_DATA, &at);
		end = at;
		if (result == 0)
			result = seek(restore, VFS_SEEK_HOLE, &end);
		while (at < end && result == 0) {
			uint64_t length = PART - at % PART;

			if (length > end - at)
				length = end - at;
			result = copy_part(restore, at, length);
			at += length;
		}
	}
	return result == -ENXIO ? 0 : result; /* a hole up to the end */
}

static int copy_xattr(struct restore *restore, const char *name)
{
	struct vfs_request *request =
	    named(restore, VFS_XATTR_GET, &restore->source, name, strlen(name));
	uint32_t length;
	int result;

	request->data = restore->buffer + PART / 2;
	request->data_room = VFS_XATTR_MAX;
	result = ask(restore);
	length = request->data_length;
	if (result)
		return result;
	request = named(restore, VFS_XATTR_SET, &restore->made, name, strlen(name));
	request->data = restore->buffer + PART / 2;
	request->data_length = length;
	return ask(restore);
}

/* Names are in the first half of the buffer, a value in the second. */
static int copy_xattrs(struct restore *restore)
{
	uint64_t cookie = VFS_COOKIE_START;
	bool eof = false;

	while (!eof) {
		struct vfs_request *request = fresh(restore, VFS_XATTR_LIST, &restore->source);
		uint32_t length;
		int result;

		request->cookie = cookie;
		request->data = restore->buffer;
		request->data_room = PART / 2;
		result = ask(restore);
		cookie = request->cookie;
		eof = request->eof;
		length = request->data_length;
		for (uint32_t at = 0; at < length && result == 0;
		     at += (uint32_t)strlen((char *)restore->buffer + at) + 1)
			result = copy_xattr(restore, (char *)restore->buffer + at);
		if (result)
			return result;
	}
	return 0;
}

static int copy_acl(struct restore *restore)
{
	struct vfs_ace aces[VFS_ACES_MAX + RULES_MODE_ACES];
	struct vfs_request *request;
	uint32_t count;
	int result;

	if (!restore->attr.has_acl)
		return 0;
	request = fresh(restore, VFS_ACL_GET, &restore->source);
	request->aces = aces;
	request->ace_room = VFS_ACES_MAX + RULES_MODE_ACES;
	result = ask(restore);
	count = request->ace_count;
	if (result)
		return result;
	request = fresh(restore, VFS_ACL_SET, &restore->made);
	request->aces = aces;
	request->ace_count = count;
	return ask(restore);
}

static int copy_attr(struct restore *restore)
{
	const struct vfs_attr *attr = &restore->attr;
	struct vfs_request *request = fresh(restore, VFS_SETATTR, &restore->made);

	request->set =
	    (struct vfs_set){.mask = VFS_SET_UID | VFS_SET_GID | VFS_SET_ATIME | VFS_SET_MTIME,
			     .uid = attr->uid,
			     .gid = attr->gid,
			     .atime = attr->atime,
			     .mtime = attr->mtime};
	if (attr->type == VFS_REGULAR) {
		request->set.mask |= VFS_SET_MODE;
		request->set.mode = attr->mode;
	}
	return ask(restore);
}

static int fill(struct restore *restore)
{
	uint64_t verifier = vfs_verifier(&restore->share->vfs);
	struct vfs_request *request;
	int result = 0;

	if (restore->attr.type == VFS_REGULAR) {
		request = fresh(restore, VFS_SETATTR, &restore->made);
		request->set = (struct vfs_set){.mask = VFS_SET_SIZE, .size = restore->attr.size};
		result = ask(restore);
		if (result == 0)
			result = copy(restore);
		if (result == 0)
			result = copy_xattrs(restore);
	}
	if (result == 0)
		result = copy_attr(restore);
	if (result == 0)
		result = copy_acl(restore);
	if (result == 0 && restore->attr.type == VFS_REGULAR)
		result = (fresh(restore, VFS_COMMIT, &restore->made), ask(restore));
	if (result == 0 && verifier != vfs_verifier(&restore->share->vfs))
		result = -EAGAIN; /* opened anew meanwhile: what was not durable is gone */
	return result;
}

static int take_name(struct restore *restore)
{
	struct vfs_request *request = named(restore, VFS_RENAME, &restore->folder,
					    restore->temporary, strlen(restore->temporary));

	request->object2 = restore->folder;
	request->name2 = restore->name;
	request->name2_length = (unsigned)strlen(restore->name);
	request->flags = restore->call->to ? VFS_NO_REPLACE : 0;
	return ask(restore);
}

static int run(struct restore *restore)
{
	struct err *err = &restore->call->err;
	int result = find_source(restore);

	if (result == 0)
		result = find_target(restore);
	if (result)
		return result;
	result = make(restore);
	if (result)
		return err_set(err, result, "no file can be made beside %s", restore->name);
	result = fill(restore);
	if (result == 0)
		result = take_name(restore);
	if (result == 0)
		return 0;
	restore->cleaning = true;
	if ((named(restore, VFS_REMOVE, &restore->folder, restore->temporary,
		   strlen(restore->temporary)),
	     ask(restore)) < 0)
		log_warning("share on volume %s: %s is left", restore->share->volume->name,
			    restore->temporary);
	return err_set(err, result,
		       result == -EEXIST ? "%s is there already" : "%s can not be restored",
		       restore->name);
}

static void restore_main(void *context)
{
	struct share_call *call = context;
	struct restore *restore = heap_zalloc(sizeof(*restore));
	struct share *share = call->share;
	int result = -ENOMEM;

	if (restore)
		restore->buffer = heap_aligned(BLOCK_SIZE, PART);
	if (restore && restore->buffer) {
		restore->call = call;
		restore->share = share;
		restore->fiber = fiber_current();
		result = run(restore);
	} else {
		err_set(&call->err, result, "no memory to restore a file");
	}
	if (restore)
		heap_free(restore->buffer);
	heap_free(restore);
	share->restores--;
	call->done(call, result);
}

void share_restore(struct vfs *vfs, const char *snapshot, const char *path, const char *to,
		   struct share_call *call)
{
	struct share *share = container_of(vfs, struct share, vfs);

	call->share = share;
	call->snapshot_name = snapshot;
	call->path = path;
	call->to = to;
	call->restored_bytes = 0;
	if (share->restores_end) { /* nobody waits for it any more */
		call->done(call, err_set(&call->err, -ECANCELED, "the share is being closed"));
		return;
	}
	if (share->restores >= RESTORES_MAX) {
		call->done(call, err_set(&call->err, -EBUSY, "%u files are being restored already",
					 RESTORES_MAX));
		return;
	}
	share->restores++;
	if (fiber_start(share->home, restore_main, call) == 0)
		return;
	share->restores--;
	call->done(call, err_set(&call->err, -ENOMEM, "no memory for a fiber"));
}

void restores_end(struct share *share)
{
	share->restores_end = true;
	while (share->restores)
		fiber_sleep(1000000);
}
