/* SPDX-License-Identifier: Apache-2.0 */
#include "webadmin/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/heap.h"

#define KEY_LENGTH   32
#define NONCE        12
#define TAG          16
#define VERSION      1
#define IMPOSSIBLE   32
#define SEALED_LEAST (1 + NONCE + TAG)

static struct {
	bool open;
	uint8_t bytes[KEY_LENGTH];
} key;

/* ---- the key's file */

static int read_key(int fd, const char *path, struct err *err)
{
	struct stat info;

	if (fstat(fd, &info) < 0 || !S_ISREG(info.st_mode) || info.st_size != KEY_LENGTH)
		return err_set(err, -EINVAL, "%s is not a key of %d bytes", path, KEY_LENGTH);
	if ((info.st_mode & 0077) && fchmod(fd, 0600) < 0)
		return err_set(err, -errno, "%s: can not make it private: %s", path,
			       strerror(errno));
	if (read(fd, key.bytes, KEY_LENGTH) != KEY_LENGTH)
		return err_set(err, -EIO, "%s can not be read", path);
	return 0;
}

static int sync_folder(const char *folder)
{
	int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int result = fd < 0 || fsync(fd) < 0 ? -errno : 0;

	if (fd >= 0)
		close(fd);
	return result;
}

/* Whole under its name or not there. */
static int make_key(const char *folder, const char *path, struct err *err)
{
	char *part = heap_printf("%s.part", path);
	int result = 0, fd = -1;

	if (!part)
		return err_set(err, -ENOMEM, "out of memory");
	if (RAND_bytes(key.bytes, KEY_LENGTH) != 1)
		result = -EIO;
	else if ((fd = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600)) < 0)
		result = -errno;
	else if (write(fd, key.bytes, KEY_LENGTH) != KEY_LENGTH)
		result = -EIO;
	else if (fsync(fd) < 0 || rename(part, path) < 0)
		result = -errno;
	if (fd >= 0)
		close(fd);
	if (result == 0)
		result = sync_folder(folder);
	heap_free(part);
	return result < 0 ? err_set(err, result, "%s: %s", path, strerror(-result)) : 0;
}

int secret_open(const char *state_dir, struct err *err)
{
	char *path = heap_printf("%s/secret.key", state_dir);
	int fd, result;

	if (!path)
		return err_set(err, -ENOMEM, "out of memory");
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd >= 0)
		result = read_key(fd, path, err);
	else if (errno == ENOENT)
		result = make_key(state_dir, path, err);
	else
		result = err_set(err, -errno, "%s: %s", path, strerror(errno));
	if (fd >= 0)
		close(fd);
	key.open = result == 0;
	heap_free(path);
	return result;
}

void secret_close(void)
{
	explicit_bzero(&key, sizeof key);
}

/* ---- AES-256-GCM (NIST SP 800-38D); what it is for is authenticated beside it */

static bool bind_use(EVP_CIPHER_CTX *context, const char *owner, const char *kind)
{
	int done;

	return EVP_CipherUpdate(context, NULL, &done, (const uint8_t *)owner,
				(int)strlen(owner) + 1) == 1 &&
	       EVP_CipherUpdate(context, NULL, &done, (const uint8_t *)kind, (int)strlen(kind)) ==
		   1;
}

static bool run(EVP_CIPHER_CTX *context, bool seal, const uint8_t *nonce, const char *owner,
		const char *kind, const uint8_t *from, unsigned length, uint8_t *to, uint8_t *tag)
{
	int done;

	return EVP_CipherInit_ex(context, EVP_aes_256_gcm(), NULL, key.bytes, nonce, seal) == 1 &&
	       bind_use(context, owner, kind) &&
	       EVP_CipherUpdate(context, to, &done, from, (int)length) == 1 &&
	       (seal || EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_GCM_SET_TAG, TAG, tag) == 1) &&
	       EVP_CipherFinal_ex(context, to + done, &done) == 1 &&
	       (!seal || EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_GCM_GET_TAG, TAG, tag) == 1);
}

static bool cipher(bool seal, const uint8_t *nonce, const char *owner, const char *kind,
		   const uint8_t *from, unsigned length, uint8_t *to, uint8_t *tag)
{
	EVP_CIPHER_CTX *context = key.open ? EVP_CIPHER_CTX_new() : NULL;
	bool good = context && run(context, seal, nonce, owner, kind, from, length, to, tag);

	EVP_CIPHER_CTX_free(context);
	return good;
}

int secret_seal(const uint8_t *plain, unsigned length, const char *owner, const char *kind,
		uint8_t ret_sealed[SECRET_SEALED])
{
	uint8_t *nonce = ret_sealed + 1, *text = nonce + NONCE;

	if (length == 0)
		return 0;
	ret_sealed[0] = VERSION;
	if (length > SECRET_MAX || RAND_bytes(nonce, NONCE) != 1 ||
	    !cipher(true, nonce, owner, kind, plain, length, text, text + length))
		return -EIO;
	return (int)(SEALED_LEAST + length);
}

bool secret_unseal(const uint8_t *sealed, unsigned length, const char *owner, const char *kind,
		   uint8_t ret_plain[SECRET_MAX + 1], unsigned *ret_length)
{
	uint8_t plain[SECRET_MAX + 1], tag[TAG];
	unsigned text;
	bool good;

	*ret_length = 0;
	if (length == 0)
		return true;
	if (length <= SEALED_LEAST || length > SECRET_SEALED || sealed[0] != VERSION)
		return false;
	text = length - SEALED_LEAST;
	memcpy(tag, sealed + 1 + NONCE + text, TAG);
	good = cipher(false, sealed + 1, owner, kind, sealed + 1 + NONCE, text, plain, tag);
	if (good) {
		memcpy(ret_plain, plain, text);
		*ret_length = text;
	}
	explicit_bzero(plain, sizeof plain);
	return good;
}

int secret_seal_bytes(const uint8_t *plain, size_t length, const char *owner, const char *kind,
		      uint8_t **ret_sealed, size_t *ret_length)
{
	uint8_t *sealed = length < INT32_MAX ? heap_alloc(SEALED_LEAST + length) : NULL, *text;

	if (!sealed)
		return -ENOMEM;
	text = sealed + 1 + NONCE;
	sealed[0] = VERSION;
	if (RAND_bytes(sealed + 1, NONCE) != 1 ||
	    !cipher(true, sealed + 1, owner, kind, plain, (unsigned)length, text, text + length)) {
		heap_wipe(sealed);
		return -EIO;
	}
	*ret_sealed = sealed;
	*ret_length = SEALED_LEAST + length;
	return 0;
}

int secret_unseal_bytes(const uint8_t *sealed, size_t length, const char *owner, const char *kind,
			uint8_t **ret_plain, size_t *ret_length)
{
	uint8_t *plain, tag[TAG];
	size_t text;

	if (length < SEALED_LEAST || length > INT32_MAX || sealed[0] != VERSION)
		return -EIO;
	text = length - SEALED_LEAST;
	plain = heap_alloc(text + 1);
	if (!plain)
		return -ENOMEM;
	memcpy(tag, sealed + 1 + NONCE + text, TAG);
	if (!cipher(false, sealed + 1, owner, kind, sealed + 1 + NONCE, (unsigned)text, plain,
		    tag)) {
		heap_wipe(plain);
		return -EIO;
	}
	*ret_plain = plain;
	*ret_length = text;
	return 0;
}

void secret_impossible(uint8_t ret_plain[SECRET_MAX + 1], unsigned *ret_length)
{
	*ret_length = RAND_bytes(ret_plain, IMPOSSIBLE) == 1 ? IMPOSSIBLE : 0;
}
