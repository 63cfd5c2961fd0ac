/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <jansson.h>
#include <stddef.h>
#include <string.h>

#include "core/control.h"
#include "isotool/isotool.h"

#define LIST_ROOM (64u << 10)

int library_find(struct remote *remote, struct vfs_object *ret_directory)
{
	struct vfs_object outer, inner;

	*ret_directory = remote->welcome.root;
	if (remote_look_up(remote, ret_directory, "template", &outer) < 0 ||
	    remote_look_up(remote, &outer, "iso", &inner) < 0 ||
	    remote->reply.attr.type != VFS_DIRECTORY)
		return 0;
	*ret_directory = inner;
	return 0;
}

static json_t *show_image(struct remote *remote, const struct vfs_dirent *found)
{
	struct mount_call call = {
	    .op = VFS_XATTR_GET, .object = found->object, .data_room = ISO_HASH_TEXT};
	const char *hash = "";

	if (remote_call(remote, &call, "sha256", NULL, NULL) == 0 &&
	    remote->reply.data_length == 2 * (size_t)ISO_HASH)
		hash = (const char *)remote->data;
	return json_pack("{s:o,s:I,s:I,s:s}", "name", control_text(found->name), "size",
			 (json_int_t)found->attr.size, "modified",
			 (json_int_t)(found->attr.mtime / 1000000000), "sha256", hash);
}

/* The images of one reply; the cookie to go on with. */
static uint64_t take_page(struct remote *remote, const uint8_t *page, size_t length, json_t *list)
{
	uint64_t cookie = 0;

	for (size_t at = 0; at + offsetof(struct vfs_dirent, name) < length;) {
		const struct vfs_dirent *found = (const void *)(page + at);

		if (found->next < offsetof(struct vfs_dirent, name) || found->next > length - at)
			break;
		if (found->attr.type == VFS_REGULAR && found->name[0] != '.')
			json_array_append_new(list, show_image(remote, found));
		cookie = found->cookie;
		at += found->next;
	}
	return cookie;
}

static int collect(struct remote *remote, const struct vfs_object *directory, json_t *list)
{
	static _Alignas(8) uint8_t page[LIST_ROOM];
	struct mount_call call = {
	    .op = VFS_READDIR,
	    .flags = VFS_WANT_ATTR,
	    .object = *directory,
	    .data_room = LIST_ROOM,
	};
	bool eof = false;

	while (!eof) {
		int result = remote_call(remote, &call, NULL, NULL, NULL);
		size_t length = remote->reply.data_length;

		if (result < 0)
			return result;
		if (length > sizeof page)
			return -EPROTO;
		memcpy(page, remote->data, length); /* the next calls use it */
		eof = remote->reply.eof || length == 0;
		call.cookie = take_page(remote, page, length, list);
	}
	return 0;
}

int library_list(struct remote *remote, const struct vfs_object *directory, bool json,
		 struct err *err)
{
	json_t *list = json_array(), *image;
	int result = collect(remote, directory, list);
	size_t index;

	if (result < 0) {
		json_decref(list);
		return err_set(err, result, "listing: %s", strerror(-result));
	}
	if (json) {
		json_dumpf(list, stdout, JSON_INDENT(2));
		printf("\n");
	}
	json_array_foreach(list, index, image)
	{
		if (!json)
			printf("%10.1f MiB  %-64s  %s\n",
			       (double)json_integer_value(json_object_get(image, "size")) / 1048576,
			       json_string_value(json_object_get(image, "sha256")),
			       json_string_value(json_object_get(image, "name")));
	}
	json_decref(list);
	return 0;
}
