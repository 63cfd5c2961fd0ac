/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

#include "appliance/bundle.h"
#include "appliance/grubenv.h"

#define DIGEST "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define FILES                                                                                      \
	"[{\"name\":\"vmlinuz\",\"size\":1,\"sha256\":\"" DIGEST "\"},"                            \
	"{\"name\":\"initrd\",\"size\":2,\"sha256\":\"" DIGEST "\"},"                              \
	"{\"name\":\"root\",\"size\":3,\"sha256\":\"" DIGEST "\"}]"

static void grubenv_comes_back(void **state)
{
	static const struct grubenv envs[] = {
	    {.slot = 'a', .good = true},
	    {.slot = 'b', .tries = 3},
	    {.slot = 'a', .good = true, .failed = 'b'},
	    {.slot = 'b', .good = true, .failed = 'a', .half = 'a'},
	};
	char block[GRUBENV_SIZE];

	(void)state;
	for (unsigned i = 0; i < sizeof envs / sizeof *envs; i++) {
		struct grubenv seen;

		grubenv_format(&envs[i], block);
		assert_int_equal(grubenv_parse(block, &seen, NULL), 0);
		assert_int_equal(seen.slot, envs[i].slot);
		assert_int_equal(seen.good, envs[i].good);
		assert_int_equal(seen.tries, envs[i].tries);
		assert_int_equal(seen.failed, envs[i].failed);
		assert_int_equal(seen.half, envs[i].half);
	}
}

/* As GRUB 2.06 leaves it: values in any order, empty ones, lines of its own. */
static void grubenv_from_grub(void **state)
{
	static const char text[] = "# GRUB Environment Block\nfoo=bar\nfailed=\ntries=2\nslot=b\n"
				   "good=0\n";
	char block[GRUBENV_SIZE];
	struct grubenv env;

	(void)state;
	memset(block, '#', sizeof block);
	memcpy(block, text, sizeof text - 1);
	assert_int_equal(grubenv_parse(block, &env, NULL), 0);
	assert_int_equal(env.slot, 'b');
	assert_int_equal(env.failed, 0);
	assert_int_equal(env.tries, 2);
	assert_false(env.good);
}

static void grubenv_refuses(void **state)
{
	char block[GRUBENV_SIZE];
	struct grubenv env;
	struct err err = {0};

	(void)state;
	memset(block, 0, sizeof block);
	assert_int_equal(grubenv_parse(block, &env, &err), -EUCLEAN);
	memset(block, '#', sizeof block);
	memcpy(block, "# GRUB Environment Block\nslot=c\n", 32);
	assert_int_equal(grubenv_parse(block, &env, &err), -EUCLEAN);
	memset(block + 25, 'x', sizeof block - 25); /* a line without an end */
	assert_int_equal(grubenv_parse(block, &env, &err), -EUCLEAN);
}

static int parse(const char *manifest, struct bundle *bundle)
{
	struct err err = {0};
	int result = bundle_parse(manifest, strlen(manifest), bundle, &err);

	assert_int_equal(result == 0, err.text[0] == '\0');
	return result;
}

static void bundle_manifest(void **state)
{
	struct bundle bundle;

	(void)state;
	assert_int_equal(
	    parse("{\"format\":1,\"version\":\"0.2.0\",\"sequence\":17,\"files\":" FILES "}",
		  &bundle),
	    0);
	assert_string_equal(bundle.version, "0.2.0");
	assert_int_equal(bundle.sequence, 17);
	assert_int_equal(bundle.files[BUNDLE_ROOT].size, 3);
	assert_int_equal(bundle.files[BUNDLE_INITRD].sha256[1], 0x11);
}

static void bundle_schemas_are_compared(void **state)
{
	static const struct bundle_schemas own = {.version = {7, 3, 6, 4}},
					   unsaid = {.version = {0}};
	struct bundle bundle;

	(void)state;
#define WITH(schemas)                                                                              \
	"{\"format\":1,\"version\":\"1\",\"sequence\":1,\"schemas\":" schemas ",\"files\":" FILES  \
	"}"
	/* The configuration has a copy to go back to, and one that is not named stays as it is. */
	assert_int_equal(parse(WITH("{\"config\":9,\"reservations\":3,\"other\":5}"), &bundle), 0);
	assert_int_equal(bundle.schemas.version[SCHEMA_CONFIG], 9);
	assert_int_equal(bundle.schemas.version[SCHEMA_REPLICATION], 0);
	assert_null(bundle_no_way_back(&own, &bundle.schemas));
	assert_int_equal(parse(WITH("{\"config\":7,\"access\":4,\"replication\":7}"), &bundle), 0);
	assert_string_equal(bundle_no_way_back(&own, &bundle.schemas), "replication");
	assert_null(bundle_no_way_back(&unsaid, &bundle.schemas));
	assert_int_equal(parse(WITH("{\"access\":5}"), &bundle), 0);
	assert_string_equal(bundle_no_way_back(&own, &bundle.schemas), "access");
	/* A newer one that says what of it is in use is gone on with. */
	assert_int_equal(parse(WITH("{\"access\":5,\"from\":{\"access\":4}}"), &bundle), 0);
	assert_null(bundle_no_way_back(&own, &bundle.schemas));
	assert_int_equal(parse(WITH("{\"access\":6,\"from\":{\"access\":5}}"), &bundle), 0);
	assert_string_equal(bundle_no_way_back(&own, &bundle.schemas), "access");
	assert_int_equal(parse(WITH("{\"access\":5,\"from\":{\"access\":6}}"), &bundle), -EPROTO);
	assert_int_equal(parse(WITH("{\"access\":5,\"from\":{\"access\":0}}"), &bundle), -EPROTO);
	assert_int_equal(parse(WITH("{\"access\":0}"), &bundle), -EPROTO);
	assert_int_equal(parse(WITH("{\"access\":\"5\"}"), &bundle), -EPROTO);
	assert_int_equal(parse(WITH("{\"access\":4294967301}"), &bundle), -EPROTO);
}

static void bundle_refuses(void **state)
{
	static const char *const bad[] = {
	    "",
	    "[]",
	    "{\"format\":2,\"version\":\"1\",\"sequence\":17,\"files\":" FILES "}",
	    "{\"format\":1,\"version\":\"\",\"sequence\":17,\"files\":" FILES "}",
	    "{\"format\":1,\"version\":\"1\",\"sequence\":-1,\"files\":" FILES "}",
	    "{\"format\":1,\"version\":\"1\",\"sequence\":1,\"files\":[]}",
	    "{\"format\":1,\"version\":\"1\",\"sequence\":1,\"files\":[1,2,3]}",
	    "{\"format\":1,\"version\":\"0123456789012345678901234567890123456789\","
	    "\"sequence\":1,\"files\":" FILES "}",
	    "{\"format\":1,\"version\":\"1\",\"sequence\":1,\"files\":[{\"name\":\"vmlinuz\","
	    "\"size\":99999999999999,\"sha256\":\"" DIGEST "\"},1,2]}",
	    "{\"format\":1,\"version\":\"1\",\"sequence\":1,\"files\":[{\"name\":\"vmlinuz\","
	    "\"size\":9,\"sha256\":\"xx\"},1,2]}",
	};
	struct bundle bundle;

	(void)state;
	for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++)
		assert_int_equal(parse(bad[i], &bundle), -EPROTO);
}

static void bundle_heads(void **state)
{
	uint8_t head[BUNDLE_HEAD] = "GRANARYU\0\0\1\0";
	uint32_t length;

	(void)state;
	assert_int_equal(bundle_head(head, &length, NULL), 0);
	assert_int_equal(length, 256);
	head[10] = 0;
	assert_int_equal(bundle_head(head, &length, NULL), -EPROTO);
	head[8] = 0xff;
	assert_int_equal(bundle_head(head, &length, NULL), -EPROTO);
	memcpy(head, "GRANARYX\0\0\1\0", BUNDLE_HEAD);
	assert_int_equal(bundle_head(head, &length, NULL), -EPROTO);
}

static EVP_PKEY *make_key(const char *path)
{
	EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	FILE *file = fopen(path, "we");

	assert_non_null(key);
	assert_non_null(file);
	assert_int_equal(PEM_write_PUBKEY(file, key), 1);
	fclose(file);
	return key;
}

static void signatures(void **state)
{
	char path[] = "/tmp/granary-key-XXXXXX", other[] = "/tmp/granary-key-XXXXXX";
	uint8_t data[64] = "what is signed", signature[BUNDLE_SIGNATURE];
	size_t length = sizeof signature;
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	EVP_PKEY *key, *stranger;

	(void)state;
	close(mkstemp(path));
	close(mkstemp(other));
	key = make_key(path);
	stranger = make_key(other);
	assert_int_equal(EVP_DigestSignInit(context, NULL, NULL, NULL, key), 1);
	assert_int_equal(EVP_DigestSign(context, signature, &length, data, sizeof data), 1);
	assert_int_equal(bundle_verify(path, data, sizeof data, signature, NULL), 0);
	assert_int_equal(bundle_verify(other, data, sizeof data, signature, NULL), -EKEYREJECTED);
	data[3] ^= 1;
	assert_int_equal(bundle_verify(path, data, sizeof data, signature, NULL), -EKEYREJECTED);
	assert_int_equal(truncate(path, 0), 0);
	assert_int_equal(bundle_verify(path, data, sizeof data, signature, NULL), -ENOKEY);
	EVP_MD_CTX_free(context);
	EVP_PKEY_free(key);
	EVP_PKEY_free(stranger);
	unlink(path);
	unlink(other);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(grubenv_comes_back),
	    cmocka_unit_test(grubenv_from_grub),
	    cmocka_unit_test(grubenv_refuses),
	    cmocka_unit_test(bundle_manifest),
	    cmocka_unit_test(bundle_schemas_are_compared),
	    cmocka_unit_test(bundle_refuses),
	    cmocka_unit_test(bundle_heads),
	    cmocka_unit_test(signatures),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
