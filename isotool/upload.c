/* SPDX-License-Identifier: Apache-2.0 */
/* upload.c: nothing is seen of an image before all of it is durable and its checksum is right: it
 * is written as .NAME.part, one link gives it its name, and then the part goes. The link is made of
 * the object: another upload of that name may have put a part of its own in the place of this one.
 */
#include <errno.h>
#include <openssl/evp.h>
#include <string.h>
#include <unistd.h>

#include "isotool/isotool.h"

#define HASH_ATTRIBUTE "sha256"

int upload_begin(struct upload *upload)
{
	struct mount_call call = {
	    .op = VFS_CREATE,
	    .flags = VFS_HOLD_RESULT,
	    .object = upload->directory,
	    .type = VFS_REGULAR,
	    .create_how = VFS_CREATE_GUARDED,
	    .set = {.mask = VFS_SET_MODE, .mode = 0644},
	};
	struct remote *remote = upload->remote;
	struct vfs_object there;
	int result;

	snprintf(upload->part, sizeof upload->part, ".%s.part", upload->name);
	if (remote_look_up(remote, &upload->directory, upload->name, &there) == 0)
		return err_set(&upload->err, -EEXIST, "%s is there already; remove it first",
			       upload->name);
	remote_remove(remote, &upload->directory, upload->part); /* of one that was cut off */
	result = remote_call(remote, &call, upload->part, NULL, NULL);
	if (result < 0)
		return err_set(&upload->err, result, "%s: %s", upload->name, strerror(-result));
	upload->file = remote->reply.object;
	upload->hold = remote->reply.hold;
	upload->verifier = remote->reply.verifier;
	upload->begun = true;
	upload->hash = EVP_MD_CTX_new();
	if (!upload->hash || EVP_DigestInit_ex(upload->hash, EVP_sha256(), NULL) != 1)
		return err_set(&upload->err, -ENOMEM, "out of memory");
	return 0;
}

static bool is_zero(const uint8_t *data, size_t length)
{
	return data[0] == 0 && memcmp(data, data + 1, length - 1) == 0;
}

static void show_progress(const struct upload *upload)
{
	if (upload->quiet)
		return;
	if (upload->expected)
		fprintf(stderr, "\r%s: %llu of %llu MiB", upload->name,
			(unsigned long long)upload->size >> 20,
			(unsigned long long)upload->expected >> 20);
	else
		fprintf(stderr, "\r%s: %llu MiB", upload->name,
			(unsigned long long)upload->size >> 20);
}

/* What is gathered; runs of zeros stay holes. */
static int flush(struct upload *upload)
{
	struct mount_call call = {
	    .op = VFS_WRITE,
	    .flags = VFS_OPENED,
	    .object = upload->file,
	    .offset = upload->size,
	    .length = upload->fill,
	    .data_length = (uint32_t)upload->fill,
	};
	int result = 0;

	if (upload->fill == 0)
		return 0;
	EVP_DigestUpdate(upload->hash, upload->chunk, upload->fill);
	if (!is_zero(upload->chunk, upload->fill))
		result = remote_call(upload->remote, &call, NULL, NULL, upload->chunk);
	if (result < 0)
		return err_set(&upload->err, result, "writing %s: %s", upload->name,
			       strerror(-result));
	upload->size += upload->fill;
	upload->fill = 0;
	show_progress(upload);
	return 0;
}

int upload_put(struct upload *upload, const void *data, size_t length)
{
	const uint8_t *at = data;

	if (upload_interrupted())
		return err_set(&upload->err, -EINTR, "interrupted");
	if (upload->size + upload->fill + length > upload->size_max)
		return err_set(&upload->err, -EFBIG, "%s is larger than %llu bytes (--max-size)",
			       upload->name, (unsigned long long)upload->size_max);
	while (length) {
		size_t room = sizeof upload->chunk - upload->fill;
		size_t part = length < room ? length : room;
		int result;

		memcpy(upload->chunk + upload->fill, at, part);
		upload->fill += part;
		at += part;
		length -= part;
		result = upload->fill == sizeof upload->chunk ? flush(upload) : 0;
		if (result < 0)
			return result;
	}
	return 0;
}

/* The size (the end may be a hole), then all of it durable, as one write verifier says. */
static int make_durable(struct upload *upload)
{
	struct mount_call size = {
	    .op = VFS_SETATTR,
	    .flags = VFS_OPENED,
	    .object = upload->file,
	    .set = {.mask = VFS_SET_SIZE, .size = upload->size},
	};
	struct mount_call commit = {.op = VFS_COMMIT, .object = upload->file};
	int result = remote_call(upload->remote, &size, NULL, NULL, NULL);

	if (result == 0)
		result = remote_call(upload->remote, &commit, NULL, NULL, NULL);
	if (result == 0 && upload->remote->reply.verifier != upload->verifier)
		result = -EIO;
	return result < 0 ? err_set(&upload->err, result, "writing %s: %s", upload->name,
				    strerror(-result))
			  : 0;
}

static int take_name(struct upload *upload, const char *sha256)
{
	struct mount_call attribute = {
	    .op = VFS_XATTR_SET,
	    .object = upload->file,
	    .data_length = (uint32_t)strlen(sha256),
	};
	struct mount_call link = {
	    .op = VFS_LINK,
	    .object = upload->file,
	    .object2 = upload->directory,
	};
	int result = remote_call(upload->remote, &attribute, HASH_ATTRIBUTE, NULL, sha256);

	if (result == 0)
		result = remote_call(upload->remote, &link, NULL, upload->name, NULL);
	if (result == -ENOENT)
		return err_set(&upload->err, result,
			       "%s: another one of that name was begun meanwhile", upload->name);
	return result < 0 ? err_set(&upload->err, result, "%s: %s", upload->name, strerror(-result))
			  : 0;
}

int upload_end(struct upload *upload, const char *sha256, char ret_sha256[ISO_HASH_TEXT])
{
	uint8_t hash[ISO_HASH];
	int result = flush(upload);

	if (result == 0)
		result = make_durable(upload);
	if (result < 0)
		return result;
	if (EVP_DigestFinal_ex(upload->hash, hash, NULL) != 1)
		return err_set(&upload->err, -EIO, "SHA-256 failed");
	for (unsigned i = 0; i < ISO_HASH; i++)
		snprintf(ret_sha256 + (size_t)2 * i, 3, "%02x", hash[i]);
	if (*sha256 && strcmp(sha256, ret_sha256) != 0)
		return err_set(&upload->err, -EBADMSG,
			       "%s has SHA-256 %s, not the one that was given: it is not kept",
			       upload->name, ret_sha256);
	return take_name(upload, ret_sha256);
}

/* Another upload may have begun anew under that name: its part is not ours to remove. */
static bool part_is_ours(const struct upload *upload)
{
	struct vfs_object there;

	return remote_look_up(upload->remote, &upload->directory, upload->part, &there) == 0 &&
	       there.length == upload->file.length &&
	       memcmp(there.bytes, upload->file.bytes, there.length) == 0;
}

void upload_drop(struct upload *upload)
{
	if (upload->begun && part_is_ours(upload))
		remote_remove(upload->remote, &upload->directory, upload->part);
	upload->begun = false;
	EVP_MD_CTX_free(upload->hash);
	upload->hash = NULL;
}
