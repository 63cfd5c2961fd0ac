/* SPDX-License-Identifier: Apache-2.0 */
#include "appliance/payload.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/heap.h"

#define BLOCK  (1u << 20)
#define SECTOR 512u

/* --- reading the list ------------------------------------------------------------------------ */

static int bad(struct err *err, const char *what)
{
	return err_set(err, -EPROTO, "the medium's payload.json is damaged: %s", what);
}

static int parse_piece(const json_t *pair, struct payload *payload, struct err *err)
{
	json_int_t offset = json_integer_value(json_array_get(pair, 0));
	json_int_t length = json_integer_value(json_array_get(pair, 1));

	if (json_array_size(pair) != 2 || offset < 0 || length <= 0 || offset % SECTOR ||
	    length % SECTOR || (uint64_t)offset > payload->size ||
	    (uint64_t)length > payload->size - (uint64_t)offset)
		return bad(err, "a piece");
	if (payload->piece_count == PAYLOAD_PIECES)
		return bad(err, "too many pieces");
	payload->pieces[payload->piece_count++] =
	    (struct payload_piece){.offset = (uint64_t)offset, .length = (uint64_t)length};
	return 0;
}

static int parse_file(const json_t *object, struct payload *payload, struct err *err)
{
	struct payload_file *file = &payload->files[payload->file_count];
	const char *name = json_string_value(json_object_get(object, "name"));
	const char *digest = json_string_value(json_object_get(object, "sha256"));
	const json_t *pieces = json_object_get(object, "pieces");
	size_t length = 0, index;
	json_t *pair;

	if (!name || !*name || strlen(name) >= sizeof file->name || strchr(name, '/'))
		return bad(err, "a file's name");
	if (!digest ||
	    !OPENSSL_hexstr2buf_ex(file->sha256, sizeof file->sha256, &length, digest, '\0') ||
	    length != sizeof file->sha256)
		return bad(err, "a digest");
	snprintf(file->name, sizeof file->name, "%s", name);
	file->first = payload->piece_count;
	json_array_foreach((json_t *)pieces, index, pair)
	{
		if (parse_piece(pair, payload, err) < 0)
			return -EPROTO;
	}
	file->count = payload->piece_count - file->first;
	payload->file_count++;
	return file->count ? 0 : bad(err, "a file without pieces");
}

int payload_parse(const json_t *object, struct payload *ret_payload, struct err *err)
{
	const json_t *files = json_object_get(object, "files");
	const char *version = json_string_value(json_object_get(object, "version"));
	json_int_t size = json_integer_value(json_object_get(object, "size"));
	struct payload payload = {.size = (uint64_t)size};
	size_t index;
	json_t *file;

	if (json_integer_value(json_object_get(object, "format")) != 1)
		return bad(err, "another format");
	if (!version || strlen(version) >= sizeof payload.version || size < BLOCK)
		return bad(err, "version or size");
	if (json_array_size(files) == 0 || json_array_size(files) > PAYLOAD_FILES)
		return bad(err, "its files");
	snprintf(payload.version, sizeof payload.version, "%s", version);
	json_array_foreach((json_t *)files, index, file)
	{
		if (parse_file(file, &payload, err) < 0)
			return -EPROTO;
	}
	*ret_payload = payload;
	return 0;
}

/* --- writing --------------------------------------------------------------------------------- */

struct writer {
	const struct payload *payload;
	int medium, disk;
	uint8_t *block, *first; /* first: the disk's first block, kept for the end */
	bool have_first;
	uint64_t done, all; /* bytes, once written and once read */
	void (*progress)(unsigned percent);
};

static int move_all(int fd, void *data, size_t length, off_t offset, bool out)
{
	uint8_t *at = data;

	while (length) {
		ssize_t n = out ? pwrite(fd, at, length, offset) : pread(fd, at, length, offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -ENODATA;
		at += n;
		offset += n;
		length -= (size_t)n;
	}
	return 0;
}

/* A part of a piece from the medium to its place; the very first waits. */
static int place(struct writer *writer, uint64_t offset, size_t length)
{
	if (offset == 0) {
		memcpy(writer->first, writer->block, length);
		memset(writer->block, 0, length);
		writer->have_first = true;
	}
	return move_all(writer->disk, writer->block, length, (off_t)offset, true);
}

static int take_back(struct writer *writer, uint64_t offset, size_t length)
{
	return move_all(writer->disk, writer->block, length, (off_t)offset, false);
}

static int pass_piece(struct writer *writer, int source, const struct payload_piece *piece,
		      off_t *at, EVP_MD_CTX *hash)
{
	for (uint64_t done = 0; done < piece->length;) {
		uint64_t left = piece->length - done;
		size_t now = left < BLOCK ? (size_t)left : BLOCK;
		int result;

		if (source >= 0) {
			result = move_all(source, writer->block, now, *at, false);
			if (result == 0)
				EVP_DigestUpdate(hash, writer->block, now);
			if (result == 0)
				result = place(writer, piece->offset + done, now);
		} else {
			result = take_back(writer, piece->offset + done, now);
			EVP_DigestUpdate(hash, writer->block, now);
		}
		if (result < 0)
			return result;
		*at += (off_t)now;
		done += now;
		writer->done += now;
		if (writer->all)
			writer->progress((unsigned)(writer->done * 100 / writer->all));
	}
	return 0;
}

/* @source: from the medium to the disk; -1: back from the disk. */
static int pass_file(struct writer *writer, const struct payload_file *file, int source,
		     struct err *err)
{
	EVP_MD_CTX *hash = EVP_MD_CTX_new();
	uint8_t digest[EVP_MAX_MD_SIZE];
	off_t at = 0;
	int result = hash && EVP_DigestInit_ex(hash, EVP_sha256(), NULL) ? 0 : -ENOMEM;

	for (unsigned i = 0; result == 0 && i < file->count; i++)
		result = pass_piece(writer, source, &writer->payload->pieces[file->first + i], &at,
				    hash);
	if (result == 0)
		EVP_DigestFinal_ex(hash, digest, NULL);
	EVP_MD_CTX_free(hash);
	if (result < 0)
		return err_set(err, result, "%s: %s", file->name, strerror(-result));
	if (memcmp(digest, file->sha256, sizeof file->sha256) == 0)
		return 0;
	if (source >= 0)
		return err_set(err, -EBADMSG, "the medium is damaged: %s", file->name);
	return err_set(err, -EIO, "the disk does not give back what was written to it");
}

static int copy_file(struct writer *writer, const struct payload_file *file, struct err *err)
{
	int source = openat(writer->medium, file->name, O_RDONLY | O_CLOEXEC);
	int result;

	if (source < 0)
		return err_set(err, -errno, "%s: %s", file->name, strerror(errno));
	result = pass_file(writer, file, source, err);
	close(source);
	return result;
}

/* Before it is read: the medium, not memory. */
static int settle(struct writer *writer, struct err *err)
{
	if (fsync(writer->disk) < 0)
		return err_set(err, -errno, "the disk: %s", strerror(errno));
	posix_fadvise(writer->disk, 0, 0, POSIX_FADV_DONTNEED);
	return 0;
}

static int write_all(struct writer *writer, struct err *err)
{
	const struct payload *payload = writer->payload;
	int result = 0;

	for (unsigned i = 0; result == 0 && i < payload->file_count; i++)
		result = copy_file(writer, &payload->files[i], err);
	if (result == 0)
		result = settle(writer, err);
	/* Everything else is there: now the disk may be started from. */
	if (result == 0 && writer->have_first) {
		result = move_all(writer->disk, writer->first, BLOCK, 0, true);
		if (result < 0)
			err_set(err, result, "the disk: %s", strerror(-result));
	}
	if (result == 0)
		result = settle(writer, err);
	for (unsigned i = 0; result == 0 && i < payload->file_count; i++)
		result = pass_file(writer, &payload->files[i], -1, err);
	return result;
}

int payload_write(const struct payload *payload, int medium, int disk,
		  void (*progress)(unsigned percent), struct err *err)
{
	struct writer writer = {
	    .payload = payload, .medium = medium, .disk = disk, .progress = progress};
	int result = -ENOMEM;

	for (unsigned i = 0; i < payload->piece_count; i++)
		writer.all += 2 * payload->pieces[i].length;
	writer.block = heap_alloc(BLOCK);
	writer.first = heap_zalloc(BLOCK);
	if (writer.block && writer.first)
		result = write_all(&writer, err);
	else
		err_set(err, result, "out of memory");
	heap_free(writer.block);
	heap_free(writer.first);
	return result;
}
