/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/control.h"
#include "core/heap.h"
#include "core/log.h"
#include "webadmin/admin.h"
#include "webadmin/image.h"

#define LIST_ROOM (64u << 10)

/* ---- the list ---- */

/* ".NAME.part" -> NAME; false: it is no part. */
static bool part_name(const char *file, char name[VFS_NAME_MAX + 1])
{
	size_t length = strlen(file);

	if (length < 7 || length > VFS_NAME_MAX || file[0] != '.' ||
	    strcmp(file + length - 5, ".part") != 0)
		return false;
	snprintf(name, VFS_NAME_MAX + 1, "%.*s", (int)length - 6, file + 1);
	return true;
}

/* An upload that is not done: how far it is, as far as that is known in memory. */
static json_t *show_part(struct image_work *work, const struct vfs_dirent *found, const char *name)
{
	const struct upload *upload = upload_find(work->request->admin, work->share, name);

	return json_pack("{s:o,s:I,s:I,s:s,s:b,s:I}", "name", control_text(name), "size_bytes",
			 (json_int_t)(upload ? upload->size : found->attr.size), "modified",
			 (json_int_t)(found->attr.mtime / 1000000000), "sha256", "", "uploading", 1,
			 "received_bytes",
			 (json_int_t)(upload ? upload->received : found->attr.size));
}

/* One whose hash was asked for; none has an empty one. */
static void list_add(struct image_work *work, int result)
{
	const struct vfs_dirent *entry = work->entry;

	if (result < 0 || strlen(work->hash) != HASH_TEXT - 1)
		work->hash[0] = '\0';
	json_array_append_new(work->list,
			      json_pack("{s:o,s:I,s:I,s:s,s:b}", "name", control_text(entry->name),
					"size_bytes", (json_int_t)entry->attr.size, "modified",
					(json_int_t)(entry->attr.mtime / 1000000000), "sha256",
					work->hash, "uploading", 0));
}

static void list_read(struct image_work *work);
static void list_hashed(struct image_work *work, int result);

static void list_end(struct image_work *work)
{
	json_t *list = json_incref(work->list);

	api_reply(image_work_end(work, false), 200, list);
}

/* The next entries of the page, up to one whose hash has to be asked for. */
static void list_step(struct image_work *work)
{
	char name[VFS_NAME_MAX + 1];

	while (work->at < work->end && json_array_size(work->list) < IMAGE_LIST_MAX) {
		const struct vfs_dirent *entry = (const void *)(work->buffer + work->at);

		work->at += entry->next;
		work->offset = entry->cookie;
		work->entry = entry;
		if (entry->attr.type != VFS_REGULAR)
			continue;
		if (part_name(entry->name, name)) {
			json_array_append_new(work->list, show_part(work, entry, name));
		} else if (entry->name[0] != '.') {
			image_get_attribute(work, &entry->object, IMAGE_HASH, work->hash,
					    sizeof work->hash, list_hashed);
			return;
		}
	}
	if (work->eof || work->at < work->end)
		list_end(work);
	else
		list_read(work);
}

static void list_hashed(struct image_work *work, int result)
{
	list_add(work, result);
	list_step(work);
}

static void list_page(struct image_work *work, int result)
{
	if (result < 0) {
		image_work_failed(work, result);
		return;
	}
	work->at = 0;
	work->end = work->call.data_length;
	work->eof = work->call.eof || work->end == 0;
	list_step(work);
}

static void list_read(struct image_work *work)
{
	struct vfs_request call = {.op = VFS_READDIR,
				   .flags = VFS_WANT_ATTR,
				   .object = work->directory,
				   .cookie = work->offset,
				   .data = work->buffer,
				   .data_room = LIST_ROOM};

	image_call(work, &call, list_page);
}

static void list_in(struct image_work *work)
{
	work->buffer = heap_zalloc(LIST_ROOM);
	work->list = json_array();
	if (work->buffer && work->list)
		list_read(work);
	else
		image_work_failed(work, -ENOMEM);
}

void api_image_list(struct api_request *request)
{
	struct image_work *work = image_work_new(request, NULL);

	if (work)
		image_find_directory(work, list_in);
}

/* ---- deleting: the image, or what is there of one ---- */

static void delete_end(struct image_work *work, int result)
{
	struct api_request *request;
	char name[IMAGE_NAME_MAX + 1];

	if (result == -ENOENT) {
		api_reply_error(image_work_end(work, true), 404, "image_not_found",
				"there is no image %s", work->name);
		return;
	}
	if (result < 0) {
		image_work_failed(work, result);
		return;
	}
	if (work->request->admin->options.nfs)
		nfs_share_changed(work->request->admin->options.nfs, work->vfs);
	snprintf(name, sizeof name, "%s", work->name);
	request = image_work_end(work, true);
	log_notice("image %s deleted from share %s/%s", name, request->match.param[0],
		   request->match.param[1]);
	api_reply(request, 200, json_pack("{s:s}", "deleted", name));
}

static void delete_named(struct image_work *work, int result)
{
	if (result == -ENOENT)
		image_remove(work, work->part, delete_end);
	else
		delete_end(work, result);
}

static void delete_in(struct image_work *work)
{
	image_remove(work, work->name, delete_named);
}

/* A dry run: the same is looked up, and stays. */
static void dry_found(struct image_work *work, int result)
{
	const struct vfs_attr *attr = &work->call.result_attr;
	struct vfs_dirent found = {.attr = *attr};
	struct api_request *request;
	json_t *before;

	if (result == 0 && attr->type == VFS_DIRECTORY)
		result = -EISDIR;
	if (result < 0) {
		delete_end(work, result);
		return;
	}
	if (work->at) { /* it is what there is of one */
		before = show_part(work, &found, work->name);
	} else {
		before = json_pack("{s:o,s:I,s:I,s:b}", "name", control_text(work->name),
				   "size_bytes", (json_int_t)attr->size, "modified",
				   (json_int_t)(attr->mtime / 1000000000), "uploading", 0);
	}
	request = image_work_end(work, false);
	api_reply_dry(
	    request,
	    json_sprintf("image of share %s/%s", request->match.param[0], request->match.param[1]),
	    before, json_object());
}

static void dry_named(struct image_work *work, int result)
{
	work->at = result == -ENOENT;
	if (work->at)
		image_look_up(work, &work->directory, work->part, dry_found);
	else
		dry_found(work, result);
}

static void dry_in(struct image_work *work)
{
	image_look_up(work, &work->directory, work->name, dry_named);
}

void api_image_delete(struct api_request *request)
{
	struct image_work *work = image_work_new(request, request->match.param[2]);
	struct upload *upload;

	if (!work)
		return;
	upload = upload_find(request->admin, work->share, work->name);
	if (upload && upload->busy) {
		api_reply_error(image_work_end(work, false), 409, "busy",
				"a piece of this image is being written");
		return;
	}
	if (api_is_dry(request)) {
		image_find_directory(work, dry_in);
		return;
	}
	if (upload) { /* goes with the work */
		upload->busy = true;
		work->upload = upload;
	}
	image_find_directory(work, delete_in);
}
