/* SPDX-License-Identifier: Apache-2.0 */
#include "appliance/bundle.h"

#include <errno.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <string.h>

#include "core/control.h"

#define FILE_SIZE_MAX (4ull << 30)
#define SCHEMA_MOST   999999

static const char *const names[BUNDLE_FILES] = {"vmlinuz", "initrd", "root"};

const char *bundle_file_name(enum bundle_file file)
{
	return names[file];
}

int bundle_head(const uint8_t head[BUNDLE_HEAD], uint32_t *ret_length, struct err *err)
{
	uint32_t length =
	    (uint32_t)head[8] << 24 | (uint32_t)head[9] << 16 | (uint32_t)head[10] << 8 | head[11];

	if (memcmp(head, BUNDLE_MAGIC, 8) != 0)
		return err_set(err, -EPROTO, "this is no update bundle");
	if (length == 0 || length > BUNDLE_MANIFEST_MAX)
		return err_set(err, -EPROTO, "the bundle's manifest would be %u bytes long",
			       length);
	*ret_length = length;
	return 0;
}

static EVP_PKEY *read_key(const char *path, struct err *err)
{
	FILE *file = fopen(path, "re");
	EVP_PKEY *key = file ? PEM_read_PUBKEY(file, NULL, NULL, NULL) : NULL;

	if (!key)
		err_set(err, -ENOKEY,
			"%s holds no public key: this system was built without one and takes no "
			"updates",
			path);
	if (file)
		fclose(file);
	return key;
}

int bundle_verify(const char *key_path, const uint8_t *data, size_t signed_length,
		  const uint8_t signature[BUNDLE_SIGNATURE], struct err *err)
{
	EVP_PKEY *key = read_key(key_path, err);
	EVP_MD_CTX *context;
	int good;

	if (!key)
		return -ENOKEY;
	context = EVP_MD_CTX_new();
	good = context && EVP_PKEY_id(key) == EVP_PKEY_ED25519 &&
	       EVP_DigestVerifyInit(context, NULL, NULL, NULL, key) == 1 &&
	       EVP_DigestVerify(context, signature, BUNDLE_SIGNATURE, data, signed_length) == 1;
	EVP_MD_CTX_free(context);
	EVP_PKEY_free(key);
	if (!good)
		return err_set(err, -EKEYREJECTED,
			       "the bundle's signature is not by this system's update key: it was "
			       "damaged on its way, or comes from somebody else");
	return 0;
}

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool parse_digest(const char *text, uint8_t digest[32])
{
	if (!text || strlen(text) != 64)
		return false;
	for (unsigned i = 0; i < 32; i++) {
		int high = hex_value(text[2 * i]), low = hex_value(text[2 * i + 1]);

		if (high < 0 || low < 0)
			return false;
		digest[i] = (uint8_t)(high << 4 | low);
	}
	return true;
}

static int parse_file(const json_t *file, enum bundle_file which, struct bundle *bundle,
		      struct err *err)
{
	const char *name = json_string_value(json_object_get(file, "name"));
	const json_t *size = json_object_get(file, "size");

	if (!name || strcmp(name, names[which]) != 0)
		return err_set(err, -EPROTO, "the bundle's file %u is not %s", (unsigned)which + 1,
			       names[which]);
	if (!json_is_integer(size) || json_integer_value(size) <= 0 ||
	    (uint64_t)json_integer_value(size) > FILE_SIZE_MAX)
		return err_set(err, -EPROTO, "the bundle's file %s has no sensible size", name);
	bundle->files[which].size = (uint64_t)json_integer_value(size);
	if (!parse_digest(json_string_value(json_object_get(file, "sha256")),
			  bundle->files[which].sha256))
		return err_set(err, -EPROTO, "the bundle's file %s has no SHA-256 digest", name);
	return 0;
}

static int parse_head(const json_t *root, struct bundle *bundle, struct err *err)
{
	const char *version = json_string_value(json_object_get(root, "version"));
	json_int_t format = json_integer_value(json_object_get(root, "format"));
	json_int_t sequence = json_integer_value(json_object_get(root, "sequence"));

	if (format != 1)
		return err_set(err, -EPROTO,
			       "the bundle's format is %lld, this system knows 1: update to a "
			       "release in between first",
			       (long long)format);
	if (!version || !version[0] || strlen(version) >= sizeof bundle->version || sequence <= 0)
		return err_set(err, -EPROTO, "the bundle does not say which release it is");
	snprintf(bundle->version, sizeof bundle->version, "%s", version);
	bundle->sequence = (uint64_t)sequence;
	return 0;
}

static const char *const schema_names[SCHEMAS] = {"config", "reservations", "replication",
						  "access"};

int bundle_schemas(const json_t *root, struct bundle_schemas *ret_schemas, struct err *err)
{
	struct bundle_schemas schemas = {.version = {0}};

	for (unsigned i = 0; root && i < SCHEMAS; i++) {
		const json_t *version = json_object_get(root, schema_names[i]);
		json_int_t number = json_integer_value(version);

		if (version && (number < 1 || number > SCHEMA_MOST))
			return err_set(err, -EPROTO, "the schema of %s has no sensible version",
				       schema_names[i]);
		schemas.version[i] = schemas.from[i] = (unsigned)number;
		version = json_object_get(json_object_get(root, "from"), schema_names[i]);
		if (version &&
		    (json_integer_value(version) < 1 || json_integer_value(version) > number))
			return err_set(err, -EPROTO, "the schema of %s goes back to no version",
				       schema_names[i]);
		if (version)
			schemas.from[i] = (unsigned)json_integer_value(version);
	}
	*ret_schemas = schemas;
	return 0;
}

/* Of the configuration, the release before has a copy from before (granaryd --go-back). */
const char *bundle_no_way_back(const struct bundle_schemas *own, const struct bundle_schemas *next)
{
	for (unsigned i = SCHEMA_CONFIG + 1; i < SCHEMAS; i++)
		if (own->version[i] && next->from[i] > own->version[i])
			return schema_names[i];
	return NULL;
}

int bundle_parse(const char *manifest, size_t length, struct bundle *ret_bundle, struct err *err)
{
	json_t *root = control_parse(manifest, length, err);
	const json_t *files = json_object_get(root, "files");
	struct bundle bundle = {0};
	int result;

	if (!root)
		return err_set(err, -EPROTO, "the bundle's manifest is no JSON");
	result = parse_head(root, &bundle, err);
	if (result == 0)
		result = bundle_schemas(json_object_get(root, "schemas"), &bundle.schemas, err);
	if (result == 0 && json_array_size(files) != BUNDLE_FILES)
		result = err_set(err, -EPROTO, "the bundle does not have exactly %d files",
				 (int)BUNDLE_FILES);
	for (unsigned i = 0; result == 0 && i < BUNDLE_FILES; i++)
		result = parse_file(json_array_get(files, i), i, &bundle, err);
	json_decref(root);
	if (result == 0)
		*ret_bundle = bundle;
	return result;
}
