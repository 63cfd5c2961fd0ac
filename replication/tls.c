/* SPDX-License-Identifier: Apache-2.0 */
#include "replication/tls.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/heap.h"
#include "core/stream.h"

#define HANDSHAKE_NS (10 * 1000000000ull)
#define DRAINED      (CHANNEL_PENDING_MAX / 2)
#define READ_SIZE    (16u << 10)
#define RECORD_SIZE  (16u << 10) /* of TLS (RFC 8446 5.1) */
#define PUSH_SIZE    (64u << 10) /* no more than that waits for the end of the round */
#define YEARS        30
#define EXPORTER     "EXPORTER-granary-replication"

struct tls_identity {
	SSL_CTX *context;
	uint8_t fingerprint[TLS_FINGERPRINT];
	struct list links; /* until their streams are closed */
};

/* ---- identities ---- */
static char *bio_text(BIO *bio)
{
	char *data;
	long length = BIO_get_mem_data(bio, &data);

	return length > 0 ? heap_printf("%.*s", (int)length, data) : NULL;
}

static bool certificate_fill(X509 *certificate, EVP_PKEY *key)
{
	X509_NAME *name = X509_get_subject_name(certificate);

	return X509_set_version(certificate, 2) == 1 &&
	       ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1) == 1 &&
	       X509_gmtime_adj(X509_getm_notBefore(certificate), -86400) &&
	       X509_time_adj_ex(X509_getm_notAfter(certificate), 365 * YEARS, 0, NULL) &&
	       X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
					  (const unsigned char *)"granary", -1, -1, 0) == 1 &&
	       X509_set_issuer_name(certificate, name) == 1 &&
	       X509_set_pubkey(certificate, key) == 1 &&
	       X509_sign(certificate, key, EVP_sha256()) > 0;
}

int tls_identity_make(char **ret_key, char **ret_certificate, struct err *err)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *certificate = X509_new();
	BIO *one = BIO_new(BIO_s_mem()), *two = BIO_new(BIO_s_mem());
	char *key_text = NULL, *certificate_text = NULL;

	if (key && certificate && one && two && certificate_fill(certificate, key) &&
	    PEM_write_bio_PrivateKey(one, key, NULL, NULL, 0, NULL, NULL) == 1 &&
	    PEM_write_bio_X509(two, certificate) == 1) {
		key_text = bio_text(one);
		certificate_text = bio_text(two);
	}
	EVP_PKEY_free(key);
	X509_free(certificate);
	BIO_free(one);
	BIO_free(two);
	if (!key_text || !certificate_text) {
		heap_free(key_text);
		heap_free(certificate_text);
		return err_set(err, -ENOMEM, "no key could be made");
	}
	*ret_key = key_text;
	*ret_certificate = certificate_text;
	return 0;
}

/* Any certificate will do here: the owner of the link compares its fingerprint. */
static int accept_any(int preverified, X509_STORE_CTX *store)
{
	(void)preverified, (void)store;
	return 1;
}

static bool context_fill(SSL_CTX *context, EVP_PKEY *key, X509 *certificate)
{
	SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, accept_any);
	SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_num_tickets(context, 0);
	return SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) == 1 &&
	       SSL_CTX_use_certificate(context, certificate) == 1 &&
	       SSL_CTX_use_PrivateKey(context, key) == 1;
}

static bool fingerprint_of(const X509 *certificate, uint8_t fingerprint[TLS_FINGERPRINT])
{
	unsigned length = 0;

	return certificate && X509_digest(certificate, EVP_sha256(), fingerprint, &length) == 1 &&
	       length == TLS_FINGERPRINT;
}

int tls_identity_load(const char *key_text, const char *certificate_text,
		      struct tls_identity **ret_identity, struct err *err)
{
	struct tls_identity *identity = heap_zalloc(sizeof *identity);
	BIO *one = BIO_new_mem_buf(key_text, -1), *two = BIO_new_mem_buf(certificate_text, -1);
	EVP_PKEY *key = one ? PEM_read_bio_PrivateKey(one, NULL, NULL, NULL) : NULL;
	X509 *certificate = two ? PEM_read_bio_X509(two, NULL, NULL, NULL) : NULL;
	bool good = false;

	if (identity)
		list_init(&identity->links);
	if (identity && key && certificate) {
		identity->context = SSL_CTX_new(TLS_method());
		good = identity->context && context_fill(identity->context, key, certificate) &&
		       fingerprint_of(certificate, identity->fingerprint);
	}
	EVP_PKEY_free(key);
	X509_free(certificate);
	BIO_free(one);
	BIO_free(two);
	if (!good) {
		tls_identity_free(identity);
		return err_set(err, -EINVAL, "this node's key or certificate is damaged");
	}
	*ret_identity = identity;
	return 0;
}

void tls_identity_free(struct tls_identity *identity)
{
	if (!identity)
		return;
	SSL_CTX_free(identity->context);
	heap_free(identity);
}

void tls_identity_become(struct tls_identity *identity, struct tls_identity *from)
{
	SSL_CTX *before = identity->context; /* links that are there have references to it */

	identity->context = from->context;
	memcpy(identity->fingerprint, from->fingerprint, TLS_FINGERPRINT);
	from->context = before;
	tls_identity_free(from);
}

const uint8_t *tls_identity_fingerprint(const struct tls_identity *identity)
{
	return identity->fingerprint;
}

/* ---- links ---- */
struct tls_link {
	struct link link;
	struct list of_identity;
	struct loop *loop;
	struct stream *stream;
	SSL *ssl;
	BIO *in, *out; /* the SSL's */
	size_t pending;
	bool shaken, paused, closed, hung_up;
	struct timer limit;
	struct deferred pump, push;
	uint8_t joined[RECORD_SIZE]; /* small pieces, for one record */
	void (*ready)(void *context, struct link *link, const struct tls_peer *peer,
		      const char *why);
	void *context;
};

struct out {
	struct stream_send send;
	struct tls_link *owner;
	size_t length;
	uint8_t data[];
};

static void sent(struct stream_send *send, int result)
{
	struct out *out = container_of(send, struct out, send);
	struct tls_link *link = out->owner;
	bool was_full = link->pending > DRAINED;

	link->pending -= out->length;
	heap_free(out);
	if (result == 0 && was_full && link->pending <= DRAINED && !link->closed &&
	    link->link.handlers)
		link->link.handlers->drained(&link->link);
}

static void give_up(struct tls_link *link, int error, const char *why);

/* What OpenSSL has to say goes out. */
static void push_out(struct tls_link *link)
{
	size_t length = BIO_ctrl_pending(link->out);
	struct out *out;

	if (length == 0 || link->closed)
		return;
	out = heap_alloc(sizeof *out + length);
	if (!out) {
		give_up(link, -ENOMEM, "out of memory");
		return;
	}
	memset(&out->send, 0, sizeof out->send);
	out->owner = link;
	out->length = length;
	BIO_read(link->out, out->data, (int)length);
	out->send.iov[0] = (struct iovec){out->data, length};
	out->send.done = sent;
	link->pending += length;
	stream_send(link->stream, &out->send);
}

static void push_later(struct deferred *deferred)
{
	push_out(container_of(deferred, struct tls_link, push));
}

static void close_stream(struct tls_link *link, bool send_rest)
{
	if (send_rest)
		push_out(link);
	link->closed = true;
	timer_stop(&link->limit);
	deferred_cancel(&link->pump);
	deferred_cancel(&link->push);
	if (send_rest)
		stream_drain(link->stream, 1000000000ull);
	else
		stream_close(link->stream);
}

/* Before the handshake is over ready() hears of it, later the link's owner, who closes. */
static void give_up(struct tls_link *link, int error, const char *why)
{
	if (link->closed)
		return;
	if (!link->shaken) {
		close_stream(link, false);
		link->ready(link->context, NULL, NULL, why);
	} else if (link->link.handlers) {
		link->link.handlers->ended(&link->link, error, why);
	}
}

static const char *ssl_why(void)
{
	static char text[160];
	unsigned long code = ERR_peek_last_error();

	if (!code)
		return "the connection was closed";
	ERR_error_string_n(code, text, sizeof text);
	ERR_clear_error();
	return text;
}

static bool handshake(struct tls_link *link)
{
	struct tls_peer peer;
	X509 *certificate;
	int result;

	ERR_clear_error();
	result = SSL_do_handshake(link->ssl);
	push_out(link);
	if (result != 1) {
		int why = SSL_get_error(link->ssl, result);

		if (why != SSL_ERROR_WANT_READ && why != SSL_ERROR_WANT_WRITE)
			give_up(link, -EPROTO, ssl_why());
		return false;
	}
	certificate = SSL_get0_peer_certificate(link->ssl);
	if (!fingerprint_of(certificate, peer.fingerprint) ||
	    SSL_export_keying_material(link->ssl, peer.exporter, sizeof peer.exporter, EXPORTER,
				       strlen(EXPORTER), NULL, 0, 0) != 1) {
		give_up(link, -EPROTO, "no certificate");
		return false;
	}
	timer_stop(&link->limit);
	link->shaken = true;
	link->ready(link->context, &link->link, &peer, NULL);
	return !link->closed;
}

static void read_all(struct tls_link *link)
{
	uint8_t data[READ_SIZE];

	while (!link->closed && !link->paused && link->link.handlers) {
		int length, why;

		ERR_clear_error();
		length = SSL_read(link->ssl, data, sizeof data);
		if (length > 0) {
			link->link.handlers->received(&link->link, data, (size_t)length);
			continue;
		}
		why = SSL_get_error(link->ssl, length);
		if (why != SSL_ERROR_WANT_READ && why != SSL_ERROR_WANT_WRITE)
			give_up(link, -ECONNRESET, ssl_why());
		break;
	}
	push_out(link);
}

static void pump(struct deferred *deferred)
{
	struct tls_link *link = container_of(deferred, struct tls_link, pump);

	if (!link->closed && (link->shaken || handshake(link)))
		read_all(link);
}

static size_t stream_received(struct stream *stream, const void *data, size_t length)
{
	struct tls_link *link = stream_context(stream);

	if (BIO_write(link->in, data, (int)length) != (int)length)
		give_up(link, -ENOMEM, "out of memory");
	else
		pump(&link->pump);
	return length;
}

static void stream_ended(struct stream *stream, int error)
{
	struct tls_link *link = stream_context(stream);

	give_up(link, error ? error : -ECONNRESET,
		error ? strerror(-error) : "the peer closed the connection");
}

static void stream_closed(struct stream *stream)
{
	struct tls_link *link = stream_context(stream);

	list_remove(&link->of_identity);
	SSL_free(link->ssl);
	heap_free(link);
}

static const struct stream_handlers stream_handlers = {stream_received, stream_ended,
						       stream_closed};

static void encrypt(struct tls_link *link, const void *data, size_t length)
{
	if (length == 0 || link->closed)
		return;
	ERR_clear_error();
	if (SSL_write(link->ssl, data, (int)length) <= 0)
		give_up(link, -EPROTO, ssl_why());
}

/* A frame's head and what comes of its data with it are one record; the frames of a round are one
 * piece for the stream, or few. */
static void link_send(struct link *base, const struct iovec *iov, unsigned count)
{
	struct tls_link *link = container_of(base, struct tls_link, link);
	size_t used = 0;

	for (unsigned i = 0; i < count; i++) {
		const uint8_t *data = iov[i].iov_base;
		size_t left = iov[i].iov_len, part = RECORD_SIZE - used;

		part = left < part ? left : part;
		memcpy(link->joined + used, data, part);
		used += part;
		if (used < RECORD_SIZE)
			continue;
		encrypt(link, link->joined, used);
		encrypt(link, data + part, left - part);
		used = 0;
	}
	encrypt(link, link->joined, used);
	if (BIO_ctrl_pending(link->out) >= PUSH_SIZE)
		push_out(link);
	else if (!link->closed)
		loop_defer(link->loop, &link->push);
}

static size_t link_pending(const struct link *base)
{
	const struct tls_link *link = container_of(base, const struct tls_link, link);

	return link->pending + BIO_ctrl_pending(link->out);
}

static void link_pause(struct link *base, bool paused)
{
	struct tls_link *link = container_of(base, struct tls_link, link);

	if (link->paused == paused || link->closed)
		return;
	link->paused = paused;
	if (paused) {
		stream_pause(link->stream);
	} else {
		stream_resume(link->stream);
		loop_defer(link->loop, &link->pump);
	}
}

static void link_close(struct link *base)
{
	struct tls_link *link = container_of(base, struct tls_link, link);

	link->link.handlers = NULL;
	if (!link->closed)
		close_stream(link, true);
}

bool tls_identity_hang_up(struct tls_identity *identity)
{
	list_for_each (it, &identity->links) {
		struct tls_link *link = list_entry(it, struct tls_link, of_identity);

		if (!link->hung_up) {
			link->hung_up = true;
			give_up(link, -ECANCELED, "stopping");
		}
	}
	return list_empty(&identity->links);
}

static const struct link_ops link_ops = {link_send, link_pending, link_pause, link_close};

static void too_slow(struct timer *timer)
{
	give_up(container_of(timer, struct tls_link, limit), -ETIMEDOUT,
		"the peer did not finish the handshake");
}

int tls_link_start(struct tls_identity *identity, struct loop *loop, int fd, bool server,
		   void (*ready)(void *context, struct link *link, const struct tls_peer *peer,
				 const char *why),
		   void *context, struct err *err)
{
	struct tls_link *link = heap_zalloc(sizeof *link);
	int result = -ENOMEM;

	if (link)
		link->ssl = SSL_new(identity->context);
	if (link && link->ssl) {
		link->in = BIO_new(BIO_s_mem());
		link->out = BIO_new(BIO_s_mem());
		SSL_set_bio(link->ssl, link->in, link->out);
		result = link->in && link->out
			     ? stream_attach(loop, fd, &stream_handlers, link, &link->stream, err)
			     : -ENOMEM;
	}
	if (result < 0) {
		if (link)
			SSL_free(link->ssl);
		heap_free(link);
		close(fd);
		return err_set(err, result, "a connection could not be set up");
	}
	link->link.ops = &link_ops;
	list_push_back(&identity->links, &link->of_identity);
	link->loop = loop;
	link->ready = ready;
	link->context = context;
	if (server)
		SSL_set_accept_state(link->ssl);
	else
		SSL_set_connect_state(link->ssl);
	timer_init(&link->limit, loop, too_slow);
	timer_start(&link->limit, HANDSHAKE_NS);
	deferred_init(&link->pump, pump);
	deferred_init(&link->push, push_later);
	loop_defer(loop, &link->pump);
	return 0;
}
