/* SPDX-License-Identifier: Apache-2.0 */
#include "nfs/tls.h"

#include <ctype.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <string.h>

#include "core/heap.h"
#include "nfs/nfs.h"

#define CHAIN_MAX       8u          /* certificates that lead to the client's CA */
#define PEER_CERT_MAX   (32l << 10) /* bytes of the client's certificate and those behind it */
#define RECORD_OVERHEAD 22u         /* header, type and tag (RFC 8446 5.2) */
#define YEARS           10

struct nfs_tls {
	uint32_t refs; /* atomic */
	SSL_CTX *context;
};

struct nfs_tls_end {
	SSL *ssl;
	struct nfs_tls *tls;
	const struct nfs_tls_end_ops *ops;
	void *context;
	const uint8_t *data;
	size_t length;
	const char *why; /* a refusal that OpenSSL has no words for */
};

/* ---- what goes between OpenSSL and the owner */

static int bio_read(BIO *bio, char *data, size_t room, size_t *ret_length)
{
	struct nfs_tls_end *end = BIO_get_data(bio);
	size_t length = end->length < room ? end->length : room;

	BIO_clear_retry_flags(bio);
	*ret_length = length;
	if (length == 0) {
		BIO_set_retry_read(bio);
		return 0;
	}
	memcpy(data, end->data, length);
	end->data += length;
	end->length -= length;
	return 1;
}

static int bio_write(BIO *bio, const char *data, size_t length, size_t *ret_length)
{
	struct nfs_tls_end *end = BIO_get_data(bio);
	uint8_t *room = end->ops->room(end->context, length);

	BIO_clear_retry_flags(bio);
	if (!room)
		return 0;
	memcpy(room, data, length);
	*ret_length = length;
	return 1;
}

static long bio_control(BIO *bio, int command, long number, void *pointer)
{
	(void)bio, (void)number, (void)pointer;
	return command == BIO_CTRL_FLUSH;
}

static BIO_METHOD *method;
static pthread_once_t method_once = PTHREAD_ONCE_INIT;

static void make_method(void)
{
	BIO_METHOD *made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "granary nfs");

	if (made && BIO_meth_set_read_ex(made, bio_read) &&
	    BIO_meth_set_write_ex(made, bio_write) && BIO_meth_set_ctrl(made, bio_control))
		method = made;
}

/* ---- the context */

static int no_phrase(char *buffer, int size, int writing, void *context)
{
	(void)buffer, (void)size, (void)writing, (void)context;
	return 0;
}

static int choose_alpn(SSL *ssl, const unsigned char **ret_chosen, unsigned char *ret_length,
		       const unsigned char *offered, unsigned length, void *context)
{
	static const unsigned char ours[] = "\x06" NFS_TLS_ALPN;
	struct nfs_tls_end *end = SSL_get_app_data(ssl);

	(void)context;
	if (SSL_select_next_proto((unsigned char **)(uintptr_t)ret_chosen, ret_length, ours,
				  sizeof(ours) - 1, offered, length) == OPENSSL_NPN_NEGOTIATED)
		return SSL_TLSEXT_ERR_OK;
	end->why = "the client does not speak RPC over TLS (ALPN without \"" NFS_TLS_ALPN "\")";
	return SSL_TLSEXT_ERR_ALERT_FATAL;
}

/* One that offers nothing is not asked by choose_alpn() (RFC 9289 wants it to). */
static int look_at_hello(SSL *ssl, int *alert, void *context)
{
	struct nfs_tls_end *end = SSL_get_app_data(ssl);
	const unsigned char *data;
	size_t length;

	(void)context;
	if (SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_application_layer_protocol_negotiation,
				      &data, &length))
		return SSL_CLIENT_HELLO_SUCCESS;
	end->why = "the client does not say that it speaks RPC over TLS (no ALPN)";
	*alert = SSL_AD_NO_APPLICATION_PROTOCOL;
	return SSL_CLIENT_HELLO_ERROR;
}

static int load_key(SSL_CTX *context, const char *chain, const char *key, struct err *err)
{
	BIO *one = BIO_new_mem_buf(chain, -1), *two = BIO_new_mem_buf(key, -1);
	X509 *first = one ? PEM_read_bio_X509(one, NULL, no_phrase, NULL) : NULL, *next;
	EVP_PKEY *private_key = two ? PEM_read_bio_PrivateKey(two, NULL, no_phrase, NULL) : NULL;
	bool good = first && private_key && SSL_CTX_use_certificate(context, first) == 1 &&
		    SSL_CTX_use_PrivateKey(context, private_key) == 1;

	for (unsigned i = 0;
	     good && i < CHAIN_MAX && (next = PEM_read_bio_X509(one, NULL, no_phrase, NULL)); i++)
		if (SSL_CTX_add0_chain_cert(context, next) != 1) {
			X509_free(next);
			good = false;
		}
	X509_free(first);
	EVP_PKEY_free(private_key);
	BIO_free(one);
	BIO_free(two);
	ERR_clear_error();
	return good ? 0
		    : err_set(err, -EINVAL,
			      "the server's key does not fit its certificate, or one "
			      "of them is damaged");
}

/* A client's own certificate among them is as good as that of a CA: it is pinned. */
static int load_clients(SSL_CTX *context, const char *clients, struct err *err)
{
	X509_STORE *store = SSL_CTX_get_cert_store(context);
	BIO *pem = BIO_new_mem_buf(clients, -1);
	unsigned count = 0, begun = 0;
	X509 *one;

	for (const char *at = clients; (at = strstr(at, "-----BEGIN CERTIFICATE-----")); at++)
		begun++;
	while (pem && count <= NFS_TLS_PEERS_MAX &&
	       (one = PEM_read_bio_X509(pem, NULL, no_phrase, NULL))) {
		if (X509_STORE_add_cert(store, one) == 1)
			SSL_CTX_add_client_CA(context, one);
		X509_free(one);
		count++;
	}
	BIO_free(pem);
	ERR_clear_error();
	if (count == 0 || count != begun || count > NFS_TLS_PEERS_MAX)
		return err_set(err, -EINVAL,
			       "that by which clients are checked is not 1 to %u certificates in "
			       "PEM, each whole",
			       NFS_TLS_PEERS_MAX);
	X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN);
	SSL_CTX_set_verify_depth(context, (int)CHAIN_MAX);
	SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
	return 0;
}

static int fill(SSL_CTX *context, const char *chain, const char *key, const char *clients,
		struct err *err)
{
	int result;

	SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_num_tickets(context, 0);
	SSL_CTX_set_max_cert_list(context, PEER_CERT_MAX);
	SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_options(context, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION);
	SSL_CTX_set_alpn_select_cb(context, choose_alpn, NULL);
	SSL_CTX_set_client_hello_cb(context, look_at_hello, NULL);
	if (SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) != 1)
		return err_set(err, -EINVAL, "TLS 1.3 is not there");
	result = load_key(context, chain, key, err);
	return result == 0 && *clients ? load_clients(context, clients, err) : result;
}

int nfs_tls_create(const char *chain, const char *key, const char *clients,
		   struct nfs_tls **ret_tls, struct err *err)
{
	struct nfs_tls *tls = heap_zalloc(sizeof(*tls));
	int result = -ENOMEM;

	pthread_once(&method_once, make_method);
	if (tls && method)
		tls->context = SSL_CTX_new(TLS_server_method());
	if (tls && tls->context)
		result = fill(tls->context, chain, key, clients, err);
	else
		err_set(err, result, "no memory for TLS");
	if (result < 0) {
		if (tls)
			SSL_CTX_free(tls->context);
		heap_free(tls);
		return result;
	}
	tls->refs = 1;
	*ret_tls = tls;
	return 0;
}

struct nfs_tls *nfs_tls_ref(struct nfs_tls *tls)
{
	if (tls)
		__atomic_fetch_add(&tls->refs, 1, __ATOMIC_RELAXED);
	return tls;
}

void nfs_tls_unref(struct nfs_tls *tls)
{
	if (!tls || __atomic_fetch_sub(&tls->refs, 1, __ATOMIC_ACQ_REL) != 1)
		return;
	SSL_CTX_free(tls->context);
	heap_free(tls);
}

/* ---- names of a client */

/* What can stand in a rule and in a log, and nothing else. */
static void add_name(struct nfs_peer *peer, const ASN1_STRING *name)
{
	const unsigned char *data = ASN1_STRING_get0_data(name);
	int length = ASN1_STRING_length(name);
	char *to = peer->names[peer->name_count];

	if (length <= 0 || length > (int)NFS_TLS_NAME_MAX || peer->name_count == NFS_TLS_NAMES_MAX)
		return;
	for (int i = 0; i < length; i++) {
		if (data[i] <= ' ' || data[i] > '~')
			return;
		to[i] = (char)tolower(data[i]);
	}
	to[length] = '\0';
	peer->name_count++;
}

static void add_names(struct nfs_peer *peer, X509 *certificate)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
	X509_NAME *subject = X509_get_subject_name(certificate);
	int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
	bool any = false;

	for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
		const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);

		if (name->type != GEN_DNS)
			continue;
		any = true;
		add_name(peer, name->d.dNSName);
	}
	GENERAL_NAMES_free(names);
	if (!any && at >= 0)
		add_name(peer, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
}

static void look_at_peer(struct nfs_tls_end *end, struct nfs_peer *peer)
{
	X509 *certificate = SSL_get0_peer_certificate(end->ssl);
	unsigned char digest[EVP_MAX_MD_SIZE];

	memset(peer, 0, sizeof(*peer));
	if (!certificate || SSL_get_verify_result(end->ssl) != X509_V_OK ||
	    SSL_CTX_get_verify_mode(end->tls->context) == SSL_VERIFY_NONE)
		return;
	peer->proved = true;
	add_names(peer, certificate);
	if (peer->name_count && EVP_Digest(peer->names[0], strlen(peer->names[0]), digest, NULL,
					   EVP_sha256(), NULL) == 1)
		memcpy(peer->id, digest, sizeof(peer->id));
}

/* ---- a connection */

int nfs_tls_end_create(struct nfs_tls *tls, const struct nfs_tls_end_ops *ops, void *context,
		       struct nfs_tls_end **ret_end)
{
	struct nfs_tls_end *end = heap_zalloc(sizeof(*end));
	BIO *bio = BIO_new(method);

	if (end)
		end->ssl = SSL_new(tls->context);
	if (!end || !bio || !end->ssl) {
		BIO_free(bio);
		nfs_tls_end_free(end);
		ERR_clear_error();
		return -ENOMEM;
	}
	end->tls = nfs_tls_ref(tls);
	end->ops = ops;
	end->context = context;
	BIO_set_data(bio, end);
	BIO_set_init(bio, 1);
	SSL_set_bio(end->ssl, bio, bio);
	SSL_set_app_data(end->ssl, end);
	SSL_set_accept_state(end->ssl);
	*ret_end = end;
	return 0;
}

void nfs_tls_end_free(struct nfs_tls_end *end)
{
	if (!end)
		return;
	SSL_free(end->ssl);
	nfs_tls_unref(end->tls);
	heap_free(end);
}

void nfs_tls_end_feed(struct nfs_tls_end *end, const void *data, size_t length)
{
	end->data = data;
	end->length = length;
}

size_t nfs_tls_end_left(const struct nfs_tls_end *end)
{
	return end->length;
}

/* -EAGAIN, or -EPROTO with a text. */
static int failure(struct nfs_tls_end *end, int result, struct err *err)
{
	int why = SSL_get_error(end->ssl, result);
	long verdict = SSL_get_verify_result(end->ssl);
	unsigned long code;
	const char *text;

	if (why == SSL_ERROR_WANT_READ)
		return -EAGAIN;
	code = ERR_peek_error();
	text = code ? ERR_reason_error_string(code) : NULL;
	ERR_clear_error();
	if (verdict != X509_V_OK)
		return err_set(err, -EPROTO, "the client's certificate is not good: %s",
			       X509_verify_cert_error_string(verdict));
	return err_set(err, -EPROTO, "TLS: %s", end->why ? end->why : text ? text : "it broke");
}

int nfs_tls_end_shake(struct nfs_tls_end *end, struct nfs_peer *ret_peer, struct err *err)
{
	int result;

	ERR_clear_error();
	result = SSL_do_handshake(end->ssl);
	if (result != 1)
		return failure(end, result, err);
	look_at_peer(end, ret_peer);
	return 0;
}

int64_t nfs_tls_end_read(struct nfs_tls_end *end, void *data, size_t room, struct err *err)
{
	size_t length = 0;
	int result;

	ERR_clear_error();
	result = SSL_read_ex(end->ssl, data, room, &length);
	if (result == 1)
		return (int64_t)length;
	if (SSL_get_error(end->ssl, result) == SSL_ERROR_ZERO_RETURN)
		return 0;
	return failure(end, result, err);
}

int nfs_tls_end_write(struct nfs_tls_end *end, const void *data, size_t length)
{
	size_t written;

	ERR_clear_error();
	if (length == 0 || SSL_write_ex(end->ssl, data, length, &written) == 1)
		return 0;
	ERR_clear_error();
	return -EPROTO;
}

void nfs_tls_end_finish(struct nfs_tls_end *end)
{
	ERR_clear_error();
	if (SSL_is_init_finished(end->ssl))
		SSL_shutdown(end->ssl);
	ERR_clear_error();
}

size_t nfs_tls_sealed(size_t length)
{
	return length + (length / NFS_TLS_RECORD + 1) * RECORD_OVERHEAD;
}

/* ---- a certificate of our own */

static bool add_extension(X509 *certificate, int which, const char *value)
{
	X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, which, value);
	bool good = extension && X509_add_ext(certificate, extension, -1) == 1;

	X509_EXTENSION_free(extension);
	return good;
}

static bool certificate_fill(X509 *certificate, EVP_PKEY *key, const char *names)
{
	X509_NAME *name = X509_get_subject_name(certificate);
	BIGNUM *serial = BN_new();
	bool good = serial && BN_rand(serial, 127, BN_RAND_TOP_ANY, BN_RAND_BOTTOM_ANY) == 1 &&
		    BN_to_ASN1_INTEGER(serial, X509_get_serialNumber(certificate));

	BN_free(serial);
	return good && X509_set_version(certificate, 2) == 1 &&
	       X509_gmtime_adj(X509_getm_notBefore(certificate), -86400) &&
	       X509_time_adj_ex(X509_getm_notAfter(certificate), 365 * YEARS, 0, NULL) &&
	       X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
					  (const unsigned char *)"granary NFS", -1, -1, 0) == 1 &&
	       X509_set_issuer_name(certificate, name) == 1 &&
	       X509_set_pubkey(certificate, key) == 1 &&
	       add_extension(certificate, NID_basic_constraints, "critical,CA:FALSE") &&
	       add_extension(certificate, NID_key_usage, "critical,digitalSignature") &&
	       add_extension(certificate, NID_ext_key_usage, "serverAuth") &&
	       add_extension(certificate, NID_subject_alt_name, names) &&
	       X509_sign(certificate, key, EVP_sha256()) > 0;
}

int nfs_tls_make(const char *names, char **ret_pem, struct err *err)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *certificate = X509_new();
	BIO *out = BIO_new(BIO_s_mem());
	char *data, *text = NULL;
	long length;

	if (key && certificate && out && certificate_fill(certificate, key, names) &&
	    PEM_write_bio_PrivateKey(out, key, NULL, NULL, 0, NULL, NULL) == 1 &&
	    PEM_write_bio_X509(out, certificate) == 1) {
		length = BIO_get_mem_data(out, &data);
		text = heap_printf("%.*s", (int)length, data);
	}
	EVP_PKEY_free(key);
	X509_free(certificate);
	BIO_free(out);
	ERR_clear_error();
	if (!text)
		return err_set(err, -ENOMEM, "no key for TLS could be made");
	*ret_pem = text;
	return 0;
}
