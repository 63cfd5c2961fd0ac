/* SPDX-License-Identifier: Apache-2.0 */
#include "core/backup.h"

#include <errno.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "core/heap.h"

#define MAGIC         "GRANARYB"
#define HEAD          44u
#define TAG           16u
#define SALT_AT       16u
#define SALT          16u
#define NONCE_AT      32u
#define COST_LEAST    10
#define COST_MOST     20
#define SCRYPT_MEMORY (1100ull << 20) /* of COST_MOST */

void backup_free(struct backup *backup)
{
	for (unsigned i = 0; i < backup->count; i++) {
		if (backup->parts[i].data)
			explicit_bzero(backup->parts[i].data, backup->parts[i].length);
		heap_free(backup->parts[i].data);
	}
	backup->count = 0;
}

/* --- the cipher ------------------------------------------------------------------------------ */

static bool run_cipher(bool seal, const uint8_t key[32], const uint8_t head[HEAD],
		       const uint8_t *from, size_t length, uint8_t *to, uint8_t tag[TAG])
{
	EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
	int done;
	bool good =
	    context &&
	    EVP_CipherInit_ex(context, EVP_aes_256_gcm(), NULL, key, head + NONCE_AT, seal) == 1 &&
	    EVP_CipherUpdate(context, NULL, &done, head, HEAD) == 1 &&
	    EVP_CipherUpdate(context, to, &done, from, (int)length) == 1 &&
	    (seal || EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_GCM_SET_TAG, TAG, tag) == 1) &&
	    EVP_CipherFinal_ex(context, to + done, &done) == 1 &&
	    (!seal || EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_GCM_GET_TAG, TAG, tag) == 1);

	EVP_CIPHER_CTX_free(context);
	return good;
}

static int derive(const uint8_t head[HEAD], const char *secret, uint8_t key[32], struct err *err)
{
	if (EVP_PBE_scrypt(secret, strlen(secret), head + SALT_AT, SALT, 1ull << head[9], 8, 1,
			   SCRYPT_MEMORY, key, 32) != 1)
		return err_set(err, -ENOMEM, "the passphrase's key could not be derived");
	return 0;
}

/* --- parts ----------------------------------------------------------------------------------- */

static void put_number(uint8_t *to, size_t number, unsigned bytes)
{
	while (bytes--) {
		to[bytes] = (uint8_t)number;
		number >>= 8;
	}
}

static size_t take_number(const uint8_t *from, unsigned bytes)
{
	size_t number = 0;

	while (bytes--)
		number = number << 8 | *from++;
	return number;
}

static size_t packed_length(const struct backup *backup)
{
	size_t length = 0;

	for (unsigned i = 0; i < backup->count; i++)
		length += 6 + strlen(backup->parts[i].name) + backup->parts[i].length;
	return length;
}

static void pack_into(const struct backup *backup, uint8_t *to)
{
	for (unsigned i = 0; i < backup->count; i++) {
		const struct backup_part *part = &backup->parts[i];
		size_t name = strlen(part->name);

		put_number(to, name, 2);
		memcpy(to + 2, part->name, name);
		to += 2 + name;
		put_number(to, part->length, 4);
		memcpy(to + 4, part->data, part->length);
		to += 4 + part->length;
	}
}

int backup_pack(const struct backup *backup, uint8_t **ret_plain, size_t *ret_length,
		struct err *err)
{
	size_t length = packed_length(backup);
	uint8_t *plain;

	if (length > BACKUP_MOST)
		return err_set(err, -EFBIG, "the configuration is too large for a backup");
	plain = heap_alloc(length + 1);
	if (!plain)
		return err_set(err, -ENOMEM, "out of memory");
	pack_into(backup, plain);
	*ret_plain = plain;
	*ret_length = length;
	return 0;
}

static int unpack_part(const uint8_t **at, const uint8_t *end, struct backup *backup,
		       struct err *err)
{
	struct backup_part *part = &backup->parts[backup->count];
	size_t left = (size_t)(end - *at), name = left >= 2 ? take_number(*at, 2) : 0, length;

	if (backup->count == BACKUP_PARTS || name == 0 || name >= BACKUP_NAME || left < 6 + name ||
	    memchr(*at + 2, '\0', name))
		return err_set(err, -EPROTO, "the backup's parts are not as they should be");
	length = take_number(*at + 2 + name, 4);
	if (length > left - 6 - name)
		return err_set(err, -EPROTO, "the backup's parts are not as they should be");
	memcpy(part->name, *at + 2, name);
	part->name[name] = '\0';
	part->length = length;
	part->data = heap_alloc(length + 1);
	if (!part->data)
		return err_set(err, -ENOMEM, "out of memory");
	memcpy(part->data, *at + 6 + name, length);
	backup->count++;
	*at += 6 + name + length;
	return 0;
}

/* --- both together --------------------------------------------------------------------------- */

int backup_seal(const struct backup *backup, const char *secret, uint8_t **ret_data,
		size_t *ret_length, struct err *err)
{
	size_t length = 0;
	uint8_t *plain = NULL, *data = NULL, key[32] = {0};
	int result = backup_pack(backup, &plain, &length, err);

	if (result == 0) {
		data = heap_zalloc(HEAD + length + TAG);
		if (!data)
			result = err_set(err, -ENOMEM, "out of memory");
	}
	if (result == 0) {
		memcpy(data, MAGIC, 8);
		data[8] = 1;
		data[9] = BACKUP_COST;
		if (RAND_bytes(data + SALT_AT, SALT + 12) != 1)
			result = err_set(err, -EIO, "no random numbers");
	}
	if (result == 0)
		result = derive(data, secret, key, err);
	if (result == 0) {
		if (!run_cipher(true, key, data, plain, length, data + HEAD, data + HEAD + length))
			result = err_set(err, -EIO, "the backup could not be encrypted");
	}
	if (plain)
		explicit_bzero(plain, length);
	explicit_bzero(key, sizeof key);
	heap_free(plain);
	if (result < 0) {
		heap_free(data);
		return result;
	}
	*ret_data = data;
	*ret_length = HEAD + length + TAG;
	return 0;
}

int backup_unpack(const uint8_t *plain, size_t length, struct backup *ret_backup, struct err *err)
{
	const uint8_t *at = plain, *end = plain + length;
	struct backup backup = {.count = 0};
	int result = 0;

	while (result == 0 && at < end)
		result = unpack_part(&at, end, &backup, err);
	if (result < 0)
		backup_free(&backup);
	else
		*ret_backup = backup;
	return result;
}

int backup_open(const uint8_t *data, size_t length, const char *secret, struct backup *ret_backup,
		struct err *err)
{
	uint8_t key[32], tag[TAG], *plain;
	size_t inside = length - HEAD - TAG;
	int result;

	if (length < HEAD + TAG || length > BACKUP_MOST || memcmp(data, MAGIC, 8) != 0)
		return err_set(err, -EPROTO, "this is no backup of Granary");
	if (data[8] != 1 || data[9] < COST_LEAST || data[9] > COST_MOST)
		return err_set(err, -EPROTO, "a backup of a format that is not known here");
	plain = heap_alloc(inside + 1);
	if (!plain)
		return err_set(err, -ENOMEM, "out of memory");
	memcpy(tag, data + length - TAG, TAG);
	result = derive(data, secret, key, err);
	if (result == 0 && !run_cipher(false, key, data, data + HEAD, inside, plain, tag))
		result =
		    err_set(err, -EBADMSG, "the passphrase is another one, or the file is damaged");
	if (result == 0)
		result = backup_unpack(plain, inside, ret_backup, err);
	explicit_bzero(plain, inside);
	explicit_bzero(key, sizeof key);
	heap_free(plain);
	return result;
}
