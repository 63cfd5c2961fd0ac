/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/heap.h"
#include "core/log.h"
#include "core/piece.h"
#include "webadmin/admin.h"
#include "webadmin/image.h"

/* The way of an upload: begin, pieces, end. */

/* ---- begin: a new part, or the one there is ---- */

static json_t *show_upload(const struct image_work *work, const struct upload *upload)
{
	return json_pack("{s:s,s:I,s:I,s:i}", "name", work->name, "size_bytes",
			 (json_int_t)upload->size, "received_bytes", (json_int_t)upload->received,
			 "piece_bytes", (int)IMAGE_PIECE_MAX);
}

/* What is there of it as a number that tells files apart; false: no memory. */
static bool hash_so_far(const struct upload *upload, char text[HASH_TEXT])
{
	EVP_MD_CTX *copy = EVP_MD_CTX_new();
	uint8_t hash[HASH_BYTES];
	bool good = copy && EVP_MD_CTX_copy_ex(copy, upload->hash) == 1 &&
		    EVP_DigestFinal_ex(copy, hash, NULL) == 1;

	EVP_MD_CTX_free(copy);
	for (unsigned i = 0; good && i < HASH_BYTES; i++)
		snprintf(text + (size_t)2 * i, 3, "%02x", hash[i]);
	return good;
}

static void begun(struct image_work *work)
{
	json_t *body = show_upload(work, work->upload);

	if (!hash_so_far(work->upload, work->hash)) {
		json_decref(body);
		image_work_failed(work, -ENOMEM);
		return;
	}
	json_object_set_new(body, "received_sha256", json_string(work->hash));
	work->upload->resumed |= work->upload->received > 0;
	api_reply(image_work_end(work, false), 201, body);
}

static void no_room(struct image_work *work)
{
	api_reply_error(image_work_end(work, true), 503, "busy",
			"too many images are being uploaded; try again in a moment");
}

/* The first thing that is durable of a part: how large it is to be. */
static void part_marked(struct image_work *work, int result)
{
	if (result < 0)
		image_work_failed(work, result);
	else
		begun(work);
}

static void part_made(struct image_work *work, int result)
{
	if (result < 0) {
		image_work_failed(work, result);
		return;
	}
	work->object = work->call.result_object;
	work->upload->part = work->object;
	snprintf(work->progress, sizeof work->progress, "0 %" PRIu64, work->size);
	image_set_attribute(work, &work->object, IMAGE_PROGRESS, work->progress, part_marked);
}

static void make_part(struct image_work *work, int result)
{
	struct vfs_request call = {.op = VFS_CREATE,
				   .object = work->directory,
				   .name = work->part,
				   .name_length = (unsigned)strlen(work->part),
				   .type = VFS_REGULAR,
				   .create_how = VFS_CREATE_GUARDED,
				   .set = {.mask = VFS_SET_MODE, .mode = 0644}};

	if (result < 0 && result != -ENOENT)
		image_work_failed(work, result);
	else
		image_call(work, &call, part_made);
}

/* What is there already is hashed, piece by piece. */
static void hash_next(struct image_work *work);

static void hash_read(struct image_work *work, int result)
{
	if (result == 0 && work->call.count == 0)
		result = -EIO; /* shorter than it was made just now */
	if (result < 0) {
		image_work_failed(work, result);
		return;
	}
	EVP_DigestUpdate(work->upload->hash, work->buffer, work->call.count);
	work->offset += work->call.count;
	hash_next(work);
}

static void hash_next(struct image_work *work)
{
	struct upload *upload = work->upload;
	uint64_t left = upload->received - work->offset;
	struct vfs_request call = {.op = VFS_READ, .object = upload->part, .iov_count = 1};

	if (left == 0) {
		begun(work);
		return;
	}
	work->iov.iov_base = work->buffer;
	work->iov.iov_len = left < IMAGE_PIECE_MAX ? (size_t)left : IMAGE_PIECE_MAX;
	call.offset = work->offset;
	call.length = work->iov.iov_len;
	call.iov = &work->iov;
	image_call(work, &call, hash_read);
}

static void part_cut(struct image_work *work, int result)
{
	if (result < 0) {
		image_work_failed(work, result);
		return;
	}
	work->buffer = heap_zalloc(IMAGE_PIECE_MAX);
	if (!work->buffer) {
		no_room(work);
		return;
	}
	work->upload->part = work->object;
	work->upload->received = work->upload->kept = work->offset;
	work->offset = 0;
	hash_next(work);
}

/* "RECEIVED SIZE" of a part that is to become an image of that size. */
static bool read_progress(const char *text, uint64_t size, uint64_t *ret_received)
{
	char *end;
	uint64_t received = strtoull(text, &end, 10), whole;

	if (end == text || *end != ' ')
		return false;
	text = end + 1;
	whole = strtoull(text, &end, 10);
	if (end == text || *end || whole != size || received > size)
		return false;
	*ret_received = received;
	return true;
}

/* An old part: gone on with when it is of an image of the same size, else made anew. */
static void progress_read(struct image_work *work, int result)
{
	if (result == 0 && !work->anew && read_progress(work->progress, work->size, &work->offset))
		image_set_size(work, &work->object, work->offset, part_cut);
	else
		image_remove(work, work->part, make_part);
}

static void part_found(struct image_work *work, int result)
{
	if (result < 0) {
		make_part(work, result);
		return;
	}
	work->object = work->call.result_object;
	image_get_attribute(work, &work->object, IMAGE_PROGRESS, work->progress,
			    sizeof work->progress, progress_read);
}

static void name_looked_up(struct image_work *work, int result)
{
	if (result == 0)
		api_reply_error(image_work_end(work, true), 409, "image_exists",
				"%s is there already; delete it first", work->name);
	else if (result != -ENOENT)
		image_work_failed(work, result);
	else
		image_look_up(work, &work->directory, work->part, part_found);
}

static void begin_in(struct image_work *work)
{
	image_look_up(work, &work->directory, work->name, name_looked_up);
}

void api_image_begin(struct api_request *request)
{
	struct image_work *work;
	struct upload *upload;
	const char *name;
	json_int_t size;
	int anew = 0;

	if (!api_unpack(request, "{s:s,s:I,s?:b}", "name", &name, "size", &size, "anew", &anew))
		return;
	if (size < 1 || (uint64_t)size > IMAGE_SIZE_MAX) {
		api_reply_error(request, 400, "bad_size", "an image has 1 byte to %llu GiB",
				(unsigned long long)(IMAGE_SIZE_MAX >> 30));
		return;
	}
	if (!(work = image_work_new(request, name)))
		return;
	work->size = (uint64_t)size;
	work->anew = anew;
	upload = upload_find(request->admin, work->share, name);
	if (upload && upload->busy) {
		api_reply_error(image_work_end(work, false), 409, "busy",
				"a piece of this image is being written");
		return;
	}
	if (upload && upload->size == work->size && !anew) {
		upload->busy = true;
		work->upload = upload;
		upload_used(request->admin, upload);
		begun(work);
		return;
	}
	if (upload)
		upload_free(upload);
	work->upload =
	    upload_new(work); /* busy from here on: another begin of it would cut its part */
	if (work->upload)
		image_find_directory(work, begin_in);
	else
		no_room(work);
}

/* ---- a piece ---- */

static void put_done(struct image_work *work)
{
	json_t *body = show_upload(work, work->upload);

	api_reply(image_work_end(work, false), 200, body);
}

static void put_kept(struct image_work *work, int result)
{
	if (result < 0) {
		image_work_failed(work, result);
		return;
	}
	work->upload->kept = work->upload->received;
	put_done(work);
}

/* All that was received is durable: now this is. */
static void put_committed(struct image_work *work, int result)
{
	struct upload *upload = work->upload;

	if (result == 0 && vfs_verifier(work->vfs) != upload->verifier)
		result = -EIO;
	if (result < 0) {
		image_work_failed(work, result);
		return;
	}
	snprintf(work->progress, sizeof work->progress, "%" PRIu64 " %" PRIu64, upload->received,
		 upload->size);
	image_set_attribute(work, &upload->part, IMAGE_PROGRESS, work->progress, put_kept);
}

static void put_written(struct image_work *work, int result)
{
	struct upload *upload = work->upload;

	if (result < 0) {
		image_work_failed(work, result);
		return;
	}
	EVP_DigestUpdate(upload->hash, work->buffer, work->length);
	upload->received += work->length;
	if (upload->received - upload->kept < IMAGE_KEEP_BYTES)
		put_done(work);
	else
		image_commit(work, &upload->part, put_committed);
}

/* The piece's bytes into the work's buffer; false: it was answered. */
static bool take_piece(struct image_work *work, const char *text)
{
	size_t length = 0;
	int result = piece_decode(text, IMAGE_PIECE_MAX, &work->buffer, &length);

	work->length = (uint32_t)length;
	if (result == -ENOMEM)
		api_reply_error(image_work_end(work, false), 503, "no_memory", "out of memory");
	else if (result < 0)
		api_reply_error(image_work_end(work, false), 400, "bad_piece",
				"a piece has 1 byte to %u KiB (on the socket as base64)",
				IMAGE_PIECE_MAX >> 10);
	return result == 0;
}

static bool is_zero(const uint8_t *data, size_t length)
{
	return data[0] == 0 && memcmp(data, data + 1, length - 1) == 0;
}

/* The upload of a request that goes on with one; NULL: it was answered. */
static struct upload *take_upload(struct image_work *work)
{
	struct upload *upload = upload_find(work->request->admin, work->share, work->name);

	if (upload && !upload->busy) {
		upload->busy = true;
		work->upload = upload;
		upload_used(work->request->admin, upload);
		return upload;
	}
	if (upload)
		api_reply_error(image_work_end(work, false), 409, "busy",
				"a piece of this image is being written");
	else
		api_reply_error(image_work_end(work, false), 409, "upload_gone",
				"this upload is not under way; begin it again, it goes on where "
				"it was");
	return NULL;
}

static bool offset_good(struct image_work *work, const struct upload *upload)
{
	struct api_request *request = work->request;
	char text[24], *end;
	uint64_t offset;

	if (api_query(request, "offset", text, sizeof text) && text[0] >= '0' && text[0] <= '9') {
		offset = strtoull(text, &end, 10);
		if (!*end && offset == upload->received)
			return true;
	}
	api_reply_error(image_work_end(work, false), 409, "wrong_offset",
			"the next piece is the one at ?offset=%" PRIu64, upload->received);
	return false;
}

void api_image_put(struct api_request *request)
{
	struct vfs_request call = {.op = VFS_WRITE, .iov_count = 1, .stable = VFS_UNSTABLE};
	struct image_work *work;
	struct upload *upload;
	const char *text;

	if (!api_unpack(request, "{s:s}", "data", &text) ||
	    !(work = image_work_new(request, request->match.param[2])) ||
	    !(upload = take_upload(work)) || !offset_good(work, upload) || !take_piece(work, text))
		return;
	if (work->length > upload->size - upload->received) {
		api_reply_error(image_work_end(work, false), 400, "too_long",
				"this is more than the %" PRIu64 " bytes that were announced",
				upload->size);
		return;
	}
	if (is_zero(work->buffer, work->length)) { /* stays a hole */
		put_written(work, 0);
		return;
	}
	work->iov.iov_base = work->buffer;
	work->iov.iov_len = work->length;
	call.object = upload->part;
	call.offset = upload->received;
	call.length = work->length;
	call.iov = &work->iov;
	image_call(work, &call, put_written);
}

/* ---- the end: durable, checked, and then under its name ---- */

static void end_done(struct image_work *work, int result)
{
	json_t *body;

	if (result < 0) /* another name of it, hidden; the image is there */
		log_warning("%s: its part could not be removed: %s", work->name, strerror(-result));
	body = json_pack("{s:s,s:I,s:s,s:b}", "name", work->name, "size_bytes",
			 (json_int_t)work->upload->size, "sha256", work->hash, "checked",
			 work->wanted[0] != '\0');
	log_notice("image %s added to share %s/%s, SHA-256 %s", work->name,
		   work->request->match.param[0], work->request->match.param[1], work->hash);
	api_reply(image_work_end(work, true), 201, body);
}

static void end_linked(struct image_work *work, int result)
{
	if (result == -EEXIST) /* its hash is final: it has to be begun anew */
		api_reply_error(image_work_end(work, true), 409, "image_exists",
				"%s is there already; delete it first", work->name);
	else if (result < 0)
		image_work_failed(work, result);
	else
		image_remove(work, work->part, end_done);
}

static void end_unmarked(struct image_work *work, int result)
{
	struct vfs_request call = {.op = VFS_LINK,
				   .object = work->upload->part,
				   .object2 = work->directory,
				   .name2 = work->name,
				   .name2_length = (unsigned)strlen(work->name)};

	if (result < 0 && result != -ENODATA)
		image_work_failed(work, result);
	else
		image_call(work, &call, end_linked);
}

static void end_hashed(struct image_work *work, int result)
{
	struct vfs_request call = {.op = VFS_XATTR_REMOVE,
				   .object = work->upload->part,
				   .name = IMAGE_PROGRESS,
				   .name_length = sizeof IMAGE_PROGRESS - 1};

	if (result < 0)
		image_work_failed(work, result);
	else
		image_call(work, &call, end_unmarked);
}

static void end_refused(struct image_work *work, int result)
{
	(void)result; /* a part that stays is shown as an upload that is not done */
	api_reply_error(image_work_end(work, true), 422, "checksum_differs",
			"%s has SHA-256 %s, not the one that was given: it is not kept", work->name,
			work->hash);
}

static void end_committed(struct image_work *work, int result)
{
	struct upload *upload = work->upload;
	uint8_t hash[HASH_BYTES];

	if (result == 0 && (vfs_verifier(work->vfs) != upload->verifier ||
			    EVP_DigestFinal_ex(upload->hash, hash, NULL) != 1))
		result = -EIO;
	if (result < 0) {
		image_work_failed(work, result);
		return;
	}
	for (unsigned i = 0; i < HASH_BYTES; i++)
		snprintf(work->hash + (size_t)2 * i, 3, "%02x", hash[i]);
	if (work->wanted[0] && strcmp(work->wanted, work->hash) != 0)
		image_remove(work, work->part, end_refused);
	else
		image_set_attribute(work, &upload->part, IMAGE_HASH, work->hash, end_hashed);
}

static void end_sized(struct image_work *work, int result)
{
	if (result < 0)
		image_work_failed(work, result);
	else
		image_commit(work, &work->upload->part, end_committed);
}

/* Its end may be a hole. */
static void end_in(struct image_work *work)
{
	image_set_size(work, &work->upload->part, work->upload->size, end_sized);
}

/* False: it was answered. */
static bool take_hash(struct image_work *work, const char *text)
{
	if (text && strlen(text) != HASH_TEXT - 1) {
		api_reply_error(image_work_end(work, false), 400, "bad_checksum",
				"a SHA-256 has 64 hex digits");
		return false;
	}
	for (unsigned i = 0; text && text[i]; i++)
		work->wanted[i] = (char)tolower((unsigned char)text[i]);
	return true;
}

void api_image_end(struct api_request *request)
{
	struct image_work *work;
	struct upload *upload;
	const char *hash = NULL;

	if (!api_unpack(request, "{s?:s}", "sha256", &hash) ||
	    !(work = image_work_new(request, request->match.param[2])) || !take_hash(work, hash) ||
	    !(upload = take_upload(work)))
		return;
	if (upload->received < upload->size)
		api_reply_error(image_work_end(work, false), 409, "not_all_there",
				"%" PRIu64 " of %" PRIu64 " bytes are there", upload->received,
				upload->size);
	else if (upload->resumed && !hash)
		api_reply_error(image_work_end(work, false), 400, "checksum_needed",
				"this upload was gone on with: its end needs the sha256 of all of "
				"the file, so that two files do not become one");
	else
		image_find_directory(work, end_in);
}
