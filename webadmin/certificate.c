/* SPDX-License-Identifier: Apache-2.0 */
#include "webadmin/certificate.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

#include "core/heap.h"

#define CHAIN_MAX 8u

/* Keys with a pass phrase are refused: nobody is there to type it. */
static int no_phrase(char *buffer, int size, int writing, void *context)
{
	(void)buffer;
	(void)size;
	(void)writing;
	(void)context;
	return 0;
}

static X509 *read_first(const char *chain)
{
	BIO *pem = BIO_new_mem_buf(chain, -1);
	X509 *first = pem ? PEM_read_bio_X509(pem, NULL, no_phrase, NULL) : NULL;

	BIO_free(pem);
	ERR_clear_error();
	return first;
}

static EVP_PKEY *read_key(const char *key)
{
	BIO *pem = BIO_new_mem_buf(key, -1);
	EVP_PKEY *read = pem ? PEM_read_bio_PrivateKey(pem, NULL, no_phrase, NULL) : NULL;

	BIO_free(pem);
	ERR_clear_error();
	return read;
}

/* Certificates in @chain; 0 when one of them can not be read. */
static unsigned count_chain(const char *chain)
{
	BIO *pem = BIO_new_mem_buf(chain, -1);
	unsigned begun = 0, count = 0;
	X509 *one;

	for (const char *at = chain; (at = strstr(at, "-----BEGIN CERTIFICATE-----")); at++)
		begun++;
	while (pem && count <= CHAIN_MAX && (one = PEM_read_bio_X509(pem, NULL, no_phrase, NULL))) {
		X509_free(one);
		count++;
	}
	BIO_free(pem);
	ERR_clear_error();
	return count == begun ? count : 0;
}

static void fingerprint_of(const X509 *certificate, char text[FINGERPRINT_TEXT])
{
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned length = 0;

	text[0] = '\0';
	if (!X509_digest(certificate, EVP_sha256(), digest, &length) || length != 32)
		return;
	for (unsigned i = 0; i < length; i++)
		snprintf(text + 3 * (size_t)i, 4, "%02X%s", digest[i], i + 1 < length ? ":" : "");
}

int certificate_check(const char *chain, const char *key, int64_t wall_seconds,
		      char fingerprint[FINGERPRINT_TEXT], struct err *err)
{
	unsigned count = count_chain(chain);
	X509 *first = read_first(chain);
	EVP_PKEY *private_key = read_key(key);
	time_t now = (time_t)wall_seconds;
	int result = 0;

	if (!first || !count || count > CHAIN_MAX)
		result =
		    err_set(err, -EINVAL,
			    "the chain is not 1 to %u certificates in PEM, each whole", CHAIN_MAX);
	else if (!private_key)
		result =
		    err_set(err, -EINVAL, "the key is no private key in PEM without a pass phrase");
	else if (X509_check_private_key(first, private_key) != 1)
		result = err_set(err, -EINVAL, "the key is not that of the first certificate");
	else if (X509_cmp_time(X509_get0_notAfter(first), &now) <= 0)
		result = err_set(err, -EINVAL, "the certificate has expired");
	else if (EVP_PKEY_is_a(private_key, "RSA") && EVP_PKEY_get_bits(private_key) < 2048)
		result = err_set(err, -EINVAL, "an RSA key has 2048 bits or more");
	else
		fingerprint_of(first, fingerprint);
	ERR_clear_error();
	X509_free(first);
	EVP_PKEY_free(private_key);
	return result;
}

/* --- showing -------------------------------------------------------------------------------- */

/* UTF-8, or nothing at all. */
static json_t *name_text(const X509_NAME *name)
{
	BIO *out = BIO_new(BIO_s_mem());
	json_t *text = NULL;
	char *data;
	long length;

	if (out && X509_NAME_print_ex(out, name, 0, XN_FLAG_RFC2253 & ~ASN1_STRFLGS_ESC_MSB) >= 0) {
		length = BIO_get_mem_data(out, &data);
		text = json_stringn(data, (size_t)length);
	}
	BIO_free(out);
	return text ? text : json_string("");
}

static json_t *time_text(const ASN1_TIME *time)
{
	struct tm parts;
	char text[32] = "";

	if (ASN1_TIME_to_tm(time, &parts))
		strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
	return json_string(text);
}

static json_t *address_text(const ASN1_OCTET_STRING *address)
{
	int family = ASN1_STRING_length(address) == 4 ? AF_INET : AF_INET6;
	char text[INET6_ADDRSTRLEN];

	if (ASN1_STRING_length(address) != 4 && ASN1_STRING_length(address) != 16)
		return NULL;
	inet_ntop(family, ASN1_STRING_get0_data(address), text, sizeof text);
	return json_string(text);
}

static json_t *names_of(const X509 *certificate)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
	json_t *list = json_array();

	for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
		const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
		json_t *text = NULL;

		if (name->type == GEN_DNS)
			text = json_stringn((const char *)ASN1_STRING_get0_data(name->d.dNSName),
					    (size_t)ASN1_STRING_length(name->d.dNSName));
		else if (name->type == GEN_IPADD)
			text = address_text(name->d.iPAddress);
		if (text)
			json_array_append_new(list, text);
	}
	GENERAL_NAMES_free(names);
	return list;
}

json_t *certificate_show(const char *chain)
{
	X509 *first = read_first(chain);
	char fingerprint[FINGERPRINT_TEXT];
	json_t *object;

	if (!first)
		return NULL;
	fingerprint_of(first, fingerprint);
	object = json_pack(
	    "{s:s,s:o,s:o,s:o,s:o,s:o,s:b}", "fingerprint_sha256", fingerprint, "subject",
	    name_text(X509_get_subject_name(first)), "issuer",
	    name_text(X509_get_issuer_name(first)), "names", names_of(first), "not_before",
	    time_text(X509_get0_notBefore(first)), "not_after",
	    time_text(X509_get0_notAfter(first)), "self_signed",
	    X509_NAME_cmp(X509_get_subject_name(first), X509_get_issuer_name(first)) == 0);
	X509_free(first);
	ERR_clear_error();
	return object;
}

int64_t certificate_end(const char *chain)
{
	X509 *first = read_first(chain);
	struct tm parts;
	int64_t end = 0;

	if (first && ASN1_TIME_to_tm(X509_get0_notAfter(first), &parts))
		end = (int64_t)timegm(&parts);
	X509_free(first);
	return end;
}

void certificate_finish(struct certificate *certificate)
{
	if (certificate->key)
		explicit_bzero(certificate->key, strlen(certificate->key));
	heap_free(certificate->key);
	heap_free(certificate->chain);
	*certificate = (struct certificate){0};
}
