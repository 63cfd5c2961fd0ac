/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <zlib.h>

#include "support/internal.h"

/* POSIX.1-1988 ustar: for each file a header of 512 bytes and its contents, padded to 512; two
 * blocks of zeroes end it. All in one gzip member (RFC 1952). */
#define BLOCK  512u
#define FOLDER "granary-support/"
#define GZIP   (MAX_WBITS + 16) /* zlib: with gzip's header and trailer */

struct ustar {
	char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], checksum[8], type, link[100],
	    magic[6], version[2], uname[32], gname[32], major[8], minor[8], prefix[155], pad[12];
};
_Static_assert(sizeof(struct ustar) == BLOCK, "a tar header is one block");
_Static_assert(SUPPORT_NAME + sizeof FOLDER <= 155, "a name fits");

static void fill_header(struct ustar *header, const char *name, size_t size, int64_t now)
{
	unsigned sum = 0;

	memset(header, 0, sizeof *header);
	/* The folder is the prefix, which is joined with a slash of its own. */
	snprintf(header->name, sizeof header->name, "%s", name);
	memcpy(header->prefix, FOLDER, sizeof FOLDER - 2);
	snprintf(header->mode, sizeof header->mode, "%07o", 0600u);
	snprintf(header->uid, sizeof header->uid, "%07o", 0u);
	snprintf(header->gid, sizeof header->gid, "%07o", 0u);
	snprintf(header->size, sizeof header->size, "%011llo", (unsigned long long)size);
	snprintf(header->mtime, sizeof header->mtime, "%011llo",
		 (unsigned long long)now & 077777777777ull);
	header->type = '0';
	memcpy(header->magic, "ustar", 6);
	memcpy(header->version, "00", 2);
	/* The sum is taken with its own field as blanks. */
	memset(header->checksum, ' ', sizeof header->checksum);
	for (size_t i = 0; i < sizeof *header; i++)
		sum += ((const unsigned char *)header)[i];
	snprintf(header->checksum, sizeof header->checksum, "%06o", sum & 0777777u);
}

/* False: there is no room for what it makes. */
static bool put(z_stream *stream, const void *bytes, size_t length, int flush)
{
	stream->next_in = (Bytef *)bytes;
	stream->avail_in = (uInt)length;
	do {
		int result = deflate(stream, flush);

		if (result == Z_STREAM_END)
			return true;
		if (result != Z_OK && result != Z_BUF_ERROR)
			return false;
		if (stream->avail_out == 0)
			return false;
	} while (stream->avail_in || flush == Z_FINISH);
	return true;
}

static bool put_file(z_stream *stream, const struct support_file *file, int64_t now)
{
	static const char zeroes[BLOCK];
	size_t length = file->length - file->from;
	struct ustar header;

	fill_header(&header, file->name, length, now);
	return put(stream, &header, sizeof header, Z_NO_FLUSH) &&
	       put(stream, file->text + file->from, length, Z_NO_FLUSH) &&
	       put(stream, zeroes, (BLOCK - length % BLOCK) % BLOCK, Z_NO_FLUSH);
}

int64_t tar_write(const struct support_file *files, unsigned count, int64_t now, uint8_t *data,
		  size_t room)
{
	static const char end[2 * BLOCK];
	z_stream stream = {.next_out = data, .avail_out = (uInt)room};
	bool fits = true;

	if (deflateInit2(&stream, 6, Z_DEFLATED, GZIP, 8, Z_DEFAULT_STRATEGY) != Z_OK)
		return -ENOMEM;
	for (unsigned i = 0; fits && i < count; i++)
		fits = put_file(&stream, &files[i], now);
	fits = fits && put(&stream, end, sizeof end, Z_FINISH);
	deflateEnd(&stream);
	return fits ? (int64_t)stream.total_out : 0;
}
