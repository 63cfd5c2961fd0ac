/* SPDX-License-Identifier: Apache-2.0 */
#include "appliance/install.h"

#include <errno.h>
#include <openssl/evp.h>
#include <string.h>

#include "core/heap.h"

#define BLOCK (1u << 20)

struct install {
	const struct install_ops *ops;
	void *context;
	const struct bundle *bundle;
	uint8_t *block;
};

/* From the bundle to the slot, or with @back from the slot; the digest of what went by. */
static int pass(struct install *install, uint64_t size, bool back, uint8_t digest[32],
		struct err *err)
{
	EVP_MD_CTX *hash = EVP_MD_CTX_new();
	int result = 0;

	if (!hash || !EVP_DigestInit_ex(hash, EVP_sha256(), NULL))
		result = err_set(err, -ENOMEM, "out of memory");
	while (result == 0 && size) {
		size_t now = size < BLOCK ? (size_t)size : BLOCK;

		result =
		    back ? install->ops->read_back(install->context, install->block, now, err)
			 : install->ops->read_bundle(install->context, install->block, now, err);
		if (result == 0)
			EVP_DigestUpdate(hash, install->block, now);
		if (result == 0 && !back)
			result = install->ops->write(install->context, install->block, now, err);
		size -= now;
	}
	if (result == 0)
		EVP_DigestFinal_ex(hash, digest, NULL);
	EVP_MD_CTX_free(hash);
	return result;
}

static int write_file(struct install *install, enum bundle_file file, struct err *err)
{
	const uint8_t *wanted = install->bundle->files[file].sha256;
	uint64_t size = install->bundle->files[file].size;
	uint8_t digest[32];
	int result = pass(install, size, false, digest, err);

	if (result < 0)
		return result;
	if (memcmp(digest, wanted, sizeof digest) != 0)
		return err_set(err, -EBADMSG, "the bundle is damaged: %s has another digest",
			       bundle_file_name(file));
	result = install->ops->sync(install->context, err);
	if (result == 0)
		result = pass(install, size, true, digest, err);
	if (result == 0 && memcmp(digest, wanted, sizeof digest) != 0)
		result = err_set(err, -EIO, "the disk does not give back what was written to it");
	return result;
}

static int install_file(struct install *install, enum bundle_file file, struct err *err)
{
	int result =
	    install->ops->begin(install->context, file, install->bundle->files[file].size, err);
	int ended;

	if (result < 0)
		return result;
	result = write_file(install, file, err);
	ended = install->ops->end(install->context, result < 0 ? NULL : err);
	return result < 0 ? result : ended;
}

static int install_all(struct install *install, char running, struct err *err)
{
	const char other = running == 'a' ? 'b' : 'a';
	struct grubenv env;
	int result = install->ops->read_env(install->context, &env, err);

	if (result < 0)
		return result;
	env = (struct grubenv){.slot = running, .good = true, .half = other};
	result = install->ops->write_env(install->context, &env, err);
	for (unsigned file = 0; result == 0 && file < BUNDLE_FILES; file++) {
		result = install_file(install, file, err);
		if (result < 0)
			err_wrap(err, "%s", bundle_file_name(file));
	}
	if (result < 0)
		return result;
	env = (struct grubenv){.slot = other, .tries = INSTALL_TRIES};
	return install->ops->write_env(install->context, &env, err);
}

int install_release(const struct install_ops *ops, void *context, const struct bundle *bundle,
		    char running, struct err *err)
{
	struct install install = {.ops = ops, .context = context, .bundle = bundle};
	int result;

	install.block = heap_alloc(BLOCK);
	if (!install.block)
		return err_set(err, -ENOMEM, "out of memory");
	result = install_all(&install, running, err);
	heap_free(install.block);
	return result;
}
