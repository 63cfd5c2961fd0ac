/* SPDX-License-Identifier: Apache-2.0 */
#include "webadmin/image.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/heap.h"
#include "webadmin/admin.h"
#include "webadmin/share.h"

/* ---- uploads ---- */

void upload_free(struct upload *upload)
{
	list_remove(&upload->link);
	EVP_MD_CTX_free(upload->hash);
	heap_free(upload);
}

void images_finish(struct webadmin *admin)
{
	while (!list_empty(&admin->uploads))
		upload_free(list_entry(admin->uploads.next, struct upload, link));
}

struct upload *upload_find(struct webadmin *admin, const uint8_t share[16], const char *name)
{
	list_for_each (it, &admin->uploads) {
		struct upload *upload = list_entry(it, struct upload, link);

		if (memcmp(upload->share, share, 16) == 0 && strcmp(upload->name, name) == 0)
			return upload;
	}
	return NULL;
}

void upload_used(struct webadmin *admin, struct upload *upload)
{
	list_remove(&upload->link);
	list_push_front(&admin->uploads, &upload->link);
}

/* The one that was not used longest makes room. False: all of them are in use. */
static bool make_room(struct webadmin *admin)
{
	struct upload *oldest = NULL;
	unsigned count = 0;

	list_for_each (it, &admin->uploads) {
		struct upload *upload = list_entry(it, struct upload, link);

		count++;
		if (!upload->busy)
			oldest = upload;
	}
	if (count < IMAGE_UPLOADS_MAX)
		return true;
	if (oldest)
		upload_free(oldest);
	return oldest != NULL;
}

struct upload *upload_new(struct image_work *work)
{
	struct webadmin *admin = work->request->admin;
	struct upload *upload = make_room(admin) ? heap_zalloc(sizeof *upload) : NULL;

	if (!upload)
		return NULL;
	upload->hash = EVP_MD_CTX_new();
	list_push_front(&admin->uploads, &upload->link);
	if (!upload->hash || EVP_DigestInit_ex(upload->hash, EVP_sha256(), NULL) != 1) {
		upload_free(upload);
		return NULL;
	}
	memcpy(upload->share, work->share, 16);
	snprintf(upload->name, sizeof upload->name, "%s", work->name);
	upload->size = work->size;
	upload->verifier = vfs_verifier(work->vfs);
	upload->busy = true;
	return upload;
}

/* ---- a request's work ---- */

/* What the work holds goes; the request can be answered then. @drop: the upload's memory too, for
 * what is in the share is not sure any more. */
struct api_request *image_work_end(struct image_work *work, bool drop)
{
	if (work->upload && drop)
		upload_free(work->upload);
	else if (work->upload)
		work->upload->busy = false;
	work->upload = NULL;
	heap_free(work->buffer);
	work->buffer = NULL;
	json_decref(work->list);
	work->list = NULL;
	vfs_unref(work->vfs);
	work->vfs = NULL;
	return work->request;
}

void image_work_failed(struct image_work *work, int result)
{
	struct api_request *request = image_work_end(work, true);
	bool gone = result == -ESTALE;

	if (gone)
		result = -ENOENT;
	err_set(&request->err, result, "%s", strerror(-result));
	api_reply_failure(request, gone ? "upload_gone" : NULL);
}

static void called(struct vfs_request *call, int result)
{
	struct image_work *work = container_of(call, struct image_work, call);

	work->next(work, result);
}

/* One step in the share, as root; next() with what came of it. */
void image_call(struct image_work *work, const struct vfs_request *call, image_next next)
{
	work->call = *call;
	work->call.credentials = &work->root;
	work->call.done = called;
	work->next = next;
	vfs_submit(work->vfs, &work->call);
}

void image_look_up(struct image_work *work, const struct vfs_object *directory, const char *name,
		   image_next next)
{
	struct vfs_request call = {.op = VFS_LOOKUP,
				   .object = *directory,
				   .name = name,
				   .name_length = (unsigned)strlen(name)};

	image_call(work, &call, next);
}

void image_get_attribute(struct image_work *work, const struct vfs_object *object, const char *name,
			 char *text, size_t room, image_next next)
{
	struct vfs_request call = {.op = VFS_XATTR_GET,
				   .object = *object,
				   .name = name,
				   .name_length = (unsigned)strlen(name),
				   .data = text,
				   .data_room = (uint32_t)room - 1};

	memset(text, 0, room);
	image_call(work, &call, next);
}

void image_set_attribute(struct image_work *work, const struct vfs_object *object, const char *name,
			 char *text, image_next next)
{
	struct vfs_request call = {.op = VFS_XATTR_SET,
				   .object = *object,
				   .name = name,
				   .name_length = (unsigned)strlen(name),
				   .data = text,
				   .data_length = (uint32_t)strlen(text)};

	image_call(work, &call, next);
}

void image_set_size(struct image_work *work, const struct vfs_object *object, uint64_t size,
		    image_next next)
{
	struct vfs_request call = {
	    .op = VFS_SETATTR, .object = *object, .set = {.mask = VFS_SET_SIZE, .size = size}};

	image_call(work, &call, next);
}

void image_commit(struct image_work *work, const struct vfs_object *object, image_next next)
{
	struct vfs_request call = {.op = VFS_COMMIT, .object = *object};

	image_call(work, &call, next);
}

void image_remove(struct image_work *work, const char *name, image_next next)
{
	struct vfs_request call = {.op = VFS_REMOVE,
				   .object = work->directory,
				   .name = name,
				   .name_length = (unsigned)strlen(name),
				   .remove_kind = VFS_REMOVE_FILE};

	image_call(work, &call, next);
}

/* As granary-iso wants them. */
static bool name_good(const char *name)
{
	size_t length = strlen(name);

	if (length == 0 || length > IMAGE_NAME_MAX || name[0] == '.')
		return false;
	for (size_t i = 0; i < length; i++)
		if (name[i] == '/' || iscntrl((unsigned char)name[i]))
			return false;
	return true;
}

/* NULL: it was answered. */
struct image_work *image_work_new(struct api_request *request, const char *name)
{
	struct model_share *share =
	    model_share_find(request->model, request->match.param[0], request->match.param[1]);
	struct image_work *work;

	if (!share) {
		api_reply_error(request, 404, "share_not_found", "no share named %s/%s",
				request->match.param[0], request->match.param[1]);
		return NULL;
	}
	if (!share->vfs || share->away || share->deleting) {
		api_reply_error(request, 409, "share_unavailable",
				"share %s/%s is not available: %s", share->pool, share->name,
				share->reason);
		return NULL;
	}
	if (name && !name_good(name)) {
		api_reply_error(request, 400, "bad_name",
				"an image's name has 1 to %u bytes, no '/', no '.' in front",
				IMAGE_NAME_MAX);
		return NULL;
	}
	work = request->state = heap_zalloc(sizeof *work);
	if (!work) {
		api_reply_error(request, 503, "no_memory", "out of memory");
		return NULL;
	}
	work->request = request;
	work->vfs = vfs_ref(share->vfs);
	work->directory = work->vfs->root;
	memcpy(work->share, share->volume, 16);
	snprintf(work->name, sizeof work->name, "%s", name ? name : "");
	snprintf(work->part, sizeof work->part, ".%s.part", work->name);
	return work;
}

/* ---- where images are: template/iso where there is one (Proxmox VE's), else the root ---- */

static void inner_found(struct image_work *work, int result)
{
	if (result == 0 && work->call.result_attr.type == VFS_DIRECTORY)
		work->directory = work->call.result_object;
	work->found(work);
}

static void outer_found(struct image_work *work, int result)
{
	struct vfs_object outer = work->call.result_object;

	if (result < 0)
		work->found(work);
	else
		image_look_up(work, &outer, "iso", inner_found);
}

void image_find_directory(struct image_work *work, void (*found)(struct image_work *work))
{
	work->found = found;
	image_look_up(work, &work->vfs->root, "template", outer_found);
}
