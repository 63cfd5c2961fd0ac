/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/heap.h"
#include "webfront/webfront.h"

/* A key (ECDSA P-256) and a certificate signed with itself, for the machine's name and addresses
 * of the day it was made. People compare the fingerprint once, then their browser remembers. An
 * administrator's own key.pem and cert.pem in the same place are taken as they are. */
#define VALID_DAYS 3650
#define PEM_MAX    (256 << 10)

static int read_file(const char *name, char **ret_text, struct err *err)
{
	int fd = open(name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW), result = 0;
	char *text;
	ssize_t length;

	if (fd < 0)
		return err_set(err, -errno, "%s: %s", name, strerror(errno));
	text = heap_zalloc(PEM_MAX + 1);
	length = text ? read(fd, text, PEM_MAX) : -1;
	if (length <= 0) {
		result = err_set(err, -EIO, "%s can not be read", name);
		heap_free(text);
	} else {
		*ret_text = text;
	}
	close(fd);
	return result;
}

/* Beside it, then renamed: a crash leaves no half a file. */
static int write_file(const char *name, BIO *from, mode_t mode, struct err *err)
{
	char other[64], *data;
	long length = BIO_get_mem_data(from, &data);
	int fd, result = 0;

	snprintf(other, sizeof other, "%s.new", name);
	unlink(other);
	fd = open(other, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
	if (fd < 0)
		return err_set(err, -errno, "%s: %s", other, strerror(errno));
	if (write(fd, data, (size_t)length) != length || fsync(fd) < 0)
		result = err_set(err, -errno, "%s: %s", other, strerror(errno));
	close(fd);
	if (result == 0 && rename(other, name) < 0)
		result = err_set(err, -errno, "%s: %s", name, strerror(errno));
	return result;
}

static void add_name(char *list, size_t size, const char *kind, const char *name)
{
	size_t length = strlen(list);

	if (length + strlen(name) + 8 < size)
		snprintf(list + length, size - length, "%s%s:%s", length ? "," : "", kind, name);
}

static void list_names(const struct front_options *options, char *list, size_t size)
{
	struct ifaddrs *all = NULL;
	char name[256] = "";

	list[0] = '\0';
	add_name(list, size, "DNS", "localhost");
	if (gethostname(name, sizeof name - 1) == 0 && name[0])
		add_name(list, size, "DNS", name);
	for (unsigned i = 0; i < options->host_count; i++)
		add_name(list, size, "DNS", options->hosts[i]);
	if (getifaddrs(&all) < 0)
		return;
	for (const struct ifaddrs *one = all; one; one = one->ifa_next) {
		char text[INET6_ADDRSTRLEN];
		const void *address;

		if (!one->ifa_addr || !(one->ifa_flags & IFF_UP))
			continue;
		if (one->ifa_addr->sa_family == AF_INET)
			address = &((const struct sockaddr_in *)one->ifa_addr)->sin_addr;
		else if (one->ifa_addr->sa_family == AF_INET6)
			address = &((const struct sockaddr_in6 *)one->ifa_addr)->sin6_addr;
		else
			continue;
		if (inet_ntop(one->ifa_addr->sa_family, address, text, sizeof text))
			add_name(list, size, "IP", text);
	}
	freeifaddrs(all);
}

static bool add_extension(X509 *certificate, int nid, const char *value)
{
	X509V3_CTX context;
	X509_EXTENSION *extension;
	bool good;

	X509V3_set_ctx_nodb(&context);
	X509V3_set_ctx(&context, certificate, certificate, NULL, NULL, 0);
	extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
	good = extension && X509_add_ext(certificate, extension, -1);
	X509_EXTENSION_free(extension);
	return good;
}

static bool fill(X509 *certificate, EVP_PKEY *key, const char *names)
{
	unsigned char serial[16];
	X509_NAME *subject = X509_get_subject_name(certificate);
	BIGNUM *number;
	bool good;

	if (RAND_bytes(serial, sizeof serial) != 1)
		return false;
	serial[0] &= 0x7f;
	number = BN_bin2bn(serial, sizeof serial, NULL);
	good = number && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate));
	BN_free(number);
	return good && X509_set_version(certificate, X509_VERSION_3) &&
	       X509_gmtime_adj(X509_getm_notBefore(certificate), -3600) &&
	       X509_time_adj_ex(X509_getm_notAfter(certificate), VALID_DAYS, 0, NULL) &&
	       X509_set_pubkey(certificate, key) &&
	       X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8,
					  (const unsigned char *)"Granary", -1, -1, 0) &&
	       X509_set_issuer_name(certificate, subject) &&
	       add_extension(certificate, NID_basic_constraints, "critical,CA:FALSE") &&
	       add_extension(certificate, NID_key_usage, "critical,digitalSignature") &&
	       add_extension(certificate, NID_ext_key_usage, "serverAuth") &&
	       add_extension(certificate, NID_subject_alt_name, names) &&
	       X509_sign(certificate, key, EVP_sha256());
}

static int make(const struct front_options *options, struct err *err)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *certificate = X509_new();
	BIO *key_pem = BIO_new(BIO_s_mem()), *chain = BIO_new(BIO_s_mem());
	char names[4096];
	int result = 0;

	list_names(options, names, sizeof names);
	if (!key || !certificate || !key_pem || !chain || !fill(certificate, key, names) ||
	    !PEM_write_bio_PrivateKey(key_pem, key, NULL, NULL, 0, NULL, NULL) ||
	    !PEM_write_bio_X509(chain, certificate))
		result = err_set(err, -EIO, "a certificate could not be made");
	if (result == 0)
		result = write_file("key.pem", key_pem, 0600, err);
	if (result == 0)
		result = write_file("cert.pem", chain, 0644, err);
	BIO_free(key_pem);
	BIO_free(chain);
	X509_free(certificate);
	EVP_PKEY_free(key);
	return result;
}

static bool read_fingerprint(struct front_certificate *certificate)
{
	BIO *pem = BIO_new_mem_buf(certificate->chain, -1);
	X509 *first = pem ? PEM_read_bio_X509(pem, NULL, NULL, NULL) : NULL;
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned length = 0;
	bool good = first && X509_digest(first, EVP_sha256(), digest, &length) && length == 32;

	for (unsigned i = 0; good && i < length; i++)
		snprintf(certificate->fingerprint + 3 * (size_t)i, 4, "%02X%s", digest[i],
			 i + 1 < length ? ":" : "");
	X509_free(first);
	BIO_free(pem);
	return good;
}

void front_certificate_free(struct front_certificate *certificate)
{
	if (certificate->key)
		explicit_bzero(certificate->key, strlen(certificate->key));
	heap_free(certificate->key);
	heap_free(certificate->chain);
	*certificate = (struct front_certificate){0};
}

bool front_certificate_of(const char *chain, const char *key,
			  struct front_certificate *ret_certificate)
{
	struct front_certificate certificate = {.chain = heap_strdup(chain),
						.key = heap_strdup(key)};

	if (certificate.chain && certificate.key && read_fingerprint(&certificate)) {
		*ret_certificate = certificate;
		return true;
	}
	front_certificate_free(&certificate);
	return false;
}

/* Is key.pem that of cert.pem? */
static bool is_pair(void)
{
	BIO *chain = BIO_new_file("cert.pem", "r"), *pem = BIO_new_file("key.pem", "r");
	X509 *first = chain ? PEM_read_bio_X509(chain, NULL, NULL, NULL) : NULL;
	EVP_PKEY *key = pem ? PEM_read_bio_PrivateKey(pem, NULL, NULL, (void *)"") : NULL;
	bool good = first && key && X509_check_private_key(first, key) == 1;

	X509_free(first);
	EVP_PKEY_free(key);
	BIO_free(chain);
	BIO_free(pem);
	return good;
}

int front_certificate_load(const struct front_options *options,
			   struct front_certificate *ret_certificate, struct err *err)
{
	struct front_certificate certificate = {0};
	int result = 0;

	if (access("key.pem", F_OK) < 0 || access("cert.pem", F_OK) < 0) {
		result = make(options, err);
		certificate.made = true;
	} else if (!is_pair() && access("cert.pem.new", F_OK) == 0) {
		/* The machine stopped between the two renames of a replacement. */
		rename("cert.pem.new", "cert.pem");
	}
	if (result == 0)
		result = read_file("key.pem", &certificate.key, err);
	if (result == 0)
		result = read_file("cert.pem", &certificate.chain, err);
	if (result == 0 && !read_fingerprint(&certificate))
		result = err_set(err, -EBADMSG, "cert.pem holds no certificate");
	if (result == 0)
		*ret_certificate = certificate;
	return result;
}
