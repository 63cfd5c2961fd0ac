/* SPDX-License-Identifier: Apache-2.0 */
/* tls_certificates FOLDER: keys and certificates for tests of NFS over TLS, as PEM files with both:
 *
 *   server.pem    what the server makes for itself
 *   ca.pem        signs the next four
 *   laptop.pem    of laptop.example and Second.Example (dNSName); its CN is desk.example
 *   desk.pem      CN desk.example, no other name
 *   odd.pem       names that are none: with a blank, and none at all
 *   old.pem       laptop.example, and has expired
 *   pinned.pem    pinned.example, signed by itself
 *   stranger.pem  laptop.example, signed by another CA */
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/heap.h"
#include "nfs/nfs.h"

struct pair {
	EVP_PKEY *key;
	X509 *certificate;
};

static const char *folder;

static void must(bool good, const char *what)
{
	if (good)
		return;
	fprintf(stderr, "tls_certificates: %s\n", what);
	exit(1);
}

static FILE *create(const char *name)
{
	char path[600];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	file = fopen(path, "we");
	must(file, path);
	return file;
}

static void extend(X509 *certificate, int which, const char *value)
{
	X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, which, value);

	must(extension && X509_add_ext(certificate, extension, -1) == 1, value);
	X509_EXTENSION_free(extension);
}

/* @by NULL: by itself. */
static struct pair make(const char *file, const char *common, const char *names, long days,
			const struct pair *by)
{
	static long serial;
	struct pair made = {EVP_EC_gen("P-256"), X509_new()};
	X509_NAME *subject = X509_get_subject_name(made.certificate);
	bool ca = strncmp(file, "ca", 2) == 0;
	FILE *out = create(file);

	X509_set_version(made.certificate, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(made.certificate), ++serial);
	X509_gmtime_adj(X509_getm_notBefore(made.certificate), -30L * 86400);
	X509_gmtime_adj(X509_getm_notAfter(made.certificate), days * 86400);
	X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const unsigned char *)common, -1,
				   -1, 0);
	X509_set_issuer_name(made.certificate,
			     by ? X509_get_subject_name(by->certificate) : subject);
	X509_set_pubkey(made.certificate, made.key);
	extend(made.certificate, NID_basic_constraints, ca ? "critical,CA:TRUE" : "CA:FALSE");
	if (names)
		extend(made.certificate, NID_subject_alt_name, names);
	must(X509_sign(made.certificate, by ? by->key : made.key, EVP_sha256()) > 0, file);
	must(PEM_write_PrivateKey(out, made.key, NULL, NULL, 0, NULL, NULL) == 1 &&
		 PEM_write_X509(out, made.certificate) == 1 && fclose(out) == 0,
	     file);
	return made;
}

static void drop(struct pair pair)
{
	EVP_PKEY_free(pair.key);
	X509_free(pair.certificate);
}

int main(int argc, char **argv)
{
	struct pair ca, other;
	struct err err = {0};
	char *pem;
	FILE *file;

	if (argc != 2)
		return 2;
	folder = argv[1];
	must(nfs_tls_make("DNS:localhost,IP:127.0.0.1", &pem, &err) == 0, err.text);
	file = create("server.pem");
	must(fputs(pem, file) >= 0 && fclose(file) == 0, "server.pem");
	heap_free(pem);
	ca = make("ca.pem", "test CA", NULL, 100, NULL);
	other = make("ca-other.pem", "another CA", NULL, 100, NULL);
	drop(make("laptop.pem", "desk.example", "DNS:laptop.example,DNS:Second.Example", 50, &ca));
	drop(make("desk.pem", "desk.example", NULL, 50, &ca));
	drop(make("odd.pem", "desk example", "email:desk@example", 50, &ca));
	drop(make("old.pem", "old", "DNS:laptop.example", -2, &ca));
	drop(make("pinned.pem", "pinned", "DNS:pinned.example", 50, NULL));
	drop(make("stranger.pem", "stranger", "DNS:laptop.example", 50, &other));
	drop(ca);
	drop(other);
	return 0;
}
