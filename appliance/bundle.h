/* SPDX-License-Identifier: Apache-2.0 */
#ifndef APPLIANCE_BUNDLE_H
#define APPLIANCE_BUNDLE_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"

/* An update bundle: a signed manifest and the files it names, one behind the other.
 *
 *   0   8  "GRANARYU"
 *   8   4  length of the manifest, big-endian, 1 .. BUNDLE_MANIFEST_MAX
 *   12  n  the manifest: {"format":1,"version":"0.2.0","sequence":1795000000,
 *          "schemas":{"config":26,"reservations":3,"replication":6,"access":3,"from":{..}},
 *          "files":[{"name":"vmlinuz","size":N,"sha256":"hex"}, initrd, root]}
 *   ..  64 Ed25519 signature (RFC 8032) over the 12 + n bytes before it
 *   ..     the files' bytes in the manifest's order
 *
 * Nothing of a bundle is believed before the signature is verified; no byte of a file counts
 * before its digest is. The sequence grows with every release (anti-rollback). */
#define BUNDLE_MAGIC        "GRANARYU"
#define BUNDLE_HEAD         12u
#define BUNDLE_SIGNATURE    64u
#define BUNDLE_MANIFEST_MAX 16384u

/* In this order in every bundle. */
enum bundle_file { BUNDLE_KERNEL, BUNDLE_INITRD, BUNDLE_ROOT, BUNDLE_FILES };

/* Versions of the databases' schemas that a release knows, and migrates to at its first start. */
enum bundle_schema {
	SCHEMA_CONFIG,
	SCHEMA_RESERVATIONS,
	SCHEMA_REPLICATION,
	SCHEMA_ACCESS,
	SCHEMAS
};
struct bundle_schemas {
	unsigned version[SCHEMAS]; /* 0: not said, as by releases before these were */
	unsigned from[SCHEMAS]; /* whose programs can go on afterwards; the same: no others can */
};

struct bundle {
	char version[32];
	uint64_t sequence;
	struct bundle_schemas schemas;
	struct {
		uint64_t size; /* bytes */
		uint8_t sha256[32];
	} files[BUNDLE_FILES];
};

/* bundle_head: length of the manifest from the first BUNDLE_HEAD bytes. -EPROTO: no bundle. */
int bundle_head(const uint8_t head[BUNDLE_HEAD], uint32_t *ret_length, struct err *err);
/* bundle_verify: check the signature over @signed_length bytes at @data with the PEM public key
 * in the file @key_path. -EKEYREJECTED; -ENOKEY: no key, this system takes no updates. */
int bundle_verify(const char *key_path, const uint8_t *data, size_t signed_length,
		  const uint8_t signature[BUNDLE_SIGNATURE], struct err *err);
/* bundle_parse: read the manifest (@length bytes of JSON). -EPROTO with a sentence. */
int bundle_parse(const char *manifest, size_t length, struct bundle *ret_bundle, struct err *err);
/* bundle_schemas: of the object "schemas" of a manifest or of release.json; NULL: nothing is said.
 * -EPROTO. */
int bundle_schemas(const json_t *root, struct bundle_schemas *ret_schemas, struct err *err);
/* bundle_no_way_back: the database whose schema in @next a release that knows @own can not read,
 * and whose contents do not go back; NULL: there is none, or it is not said. */
const char *bundle_no_way_back(const struct bundle_schemas *own, const struct bundle_schemas *next);

const char *bundle_file_name(enum bundle_file file);

#endif
