/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEBFRONT_WEBFRONT_H
#define WEBFRONT_WEBFRONT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "core/err.h"

/* granary-web: HTTPS in front of the daemon's socket. It knows no accounts and decides nothing:
 * each request goes on with its cookie or token, and the daemon says yes or no. */

#define FRONT_VERSION     "0.1.0"
#define FRONT_PORT        8443
#define FRONT_CONNECTIONS 256u
#define FRONT_PER_ADDRESS 64u
#define FRONT_BODY_MAX    (1u << 20)
#define FRONT_HEADERS_MAX 32768u /* all of a request's headers, bytes */
#define FRONT_CALLS_MAX   32     /* requests at the daemon at one time */
#define FRONT_STREAMS_MAX                                                                          \
	24 /* event streams; with the calls less than the daemon's connections                     \
	    */
#define FRONT_STREAMS_PER_ADDRESS 12
#define FRONT_HOSTS_MAX           16
#define FRONT_FIRST_NS            (15 * 1000000000ull) /* accept to the end of the headers */
#define FRONT_BODY_NS             (60 * 1000000000ull) /* headers to the end of the body */
#define FRONT_IDLE_NS             (60 * 1000000000ull) /* between requests, the next headers included */
#define FRONT_ANSWER_MS           (660 * 1000) /* for the daemon: a proof takes up to 600 s */
#define FRONT_COOKIE              "__Host-granary"
#define FRONT_SOCKET              "web.sock" /* in the directory it stands in */

struct front_options {
	const char *state_dir, *bind;
	const char *hosts[FRONT_HOSTS_MAX];
	unsigned host_count;
	uint16_t port;
};

/* options.c: -1 to go on, else the exit status. */
int front_options_read(int argc, char **argv, struct front_options *ret_options);

/* certificate.c: key.pem and cert.pem of the directory it stands in, made when they are not
 * there. */
struct front_certificate {
	char *key, *chain;    /* PEM; heap */
	char fingerprint[96]; /* SHA-256, hex with colons */
	bool made;            /* just now */
};
/* The one in use, kept so that a newer one that does not work can be taken back. */
void front_certificate_free(struct front_certificate *certificate);
/* Of PEM texts; false when there is no certificate in them. */
bool front_certificate_of(const char *chain, const char *key,
			  struct front_certificate *ret_certificate);
int front_certificate_load(const struct front_options *options,
			   struct front_certificate *ret_certificate, struct err *err)
    __attribute__((warn_unused_result));

/* confine.c: as root to the user granary-web (or nobody), no capabilities, no new privileges; then
 * a seccomp filter under which it can open no file and execute nothing. */
int front_confine(struct err *err) __attribute__((warn_unused_result));

/* guard.c: is this the name of ours, and did the request come from a page of ours? */
void front_hosts_set(const char *const *hosts, unsigned count);
bool front_host_good(const char *host);
/* @origin and @site (Sec-Fetch-Site) may be NULL. */
bool front_origin_good(const char *host, const char *origin, const char *site);

/* request.c: a request as it came, NULL for what was not there, and what it becomes. */
struct front_request {
	const char *method, *target; /* path and query as sent; NULL: too long */
	const char *host, *origin, *site, *content_length, *type;
	const char *authorization, *if_match, *replay_key, *session, *csrf;
	const char *body;
	size_t length; /* of the body */
	char address[64];
};
struct front_refusal {
	unsigned status;
	const char *code;
	char detail[500];
};
/* document.c: the document of the configuration, which may be YAML here. front_is_document: is it
 * what
 * @target names? front_is_yaml: of a body's type; front_wants_yaml: of Accept. front_document_read:
 * the request's body for the daemon; front_document_write: as text, free() it. NULL: @err says why;
 * no memory. */
bool front_is_document(const char *target);
bool front_is_yaml(const char *type);
bool front_wants_yaml(const char *accept);
json_t *front_document_read(const struct front_request *request, struct err *err);
char *front_document_write(const json_t *document, size_t *ret_length);

bool front_reads_only(const char *method);
/* front_head_good: without the body. front_message: for the daemon, the caller's; NULL: refused. */
bool front_head_good(const struct front_request *request, struct front_refusal *refusal);
json_t *front_message(const struct front_request *request, struct front_refusal *refusal);

/* Time limits of connections: MHD's own is about idle ones only. */
struct front_watch;
int front_watch_start(struct err *err) __attribute__((warn_unused_result));
struct front_watch *front_watch_add(int fd); /* NULL: no memory; then it is closed at once */
void front_watch_limit(struct front_watch *watch, uint64_t ns); /* from now; 0 = none */
void front_watch_remove(struct front_watch *watch);

/* relay.c: one request to the daemon; the reply is the caller's. Any thread, after
 * front_relay_start(). */
void front_relay_start(void);
json_t *front_relay(json_t *message, struct err *err);

/* The same without a turn of its own, for who has one already (a stream). */
json_t *front_relay_waiting(json_t *message, struct err *err);

/* The daemon has a newer certificate than @fingerprint: it comes with the next reply, and
 * front_relay_newer() gives it away once. Any thread. */
void front_relay_certificate(const char *fingerprint);
bool front_relay_newer(struct front_certificate *ret_certificate);

/* stream.c: server-sent events. front_stream_open: @message is what make_message() made for this
 * client (a reference is taken), @last_id its Last-Event-ID or NULL; NULL: there are too many.
 * front_stream_begin: the daemon's status for this client; 200 goes on. */
#define FRONT_STREAM_END ((ssize_t)-1) /* MHD_CONTENT_READER_END_OF_STREAM */
struct front_stream;
struct front_stream *front_stream_open(json_t *message, const char *last_id);
int front_stream_begin(struct front_stream *stream);
ssize_t front_stream_read(void *stream, uint64_t position, char *buffer, size_t size);
void front_stream_close(void *stream);

/* assets.c: the browser application; NULL: there is no such file. */
struct front_asset {
	const char *path, *type;
	const unsigned char *data; /* gzip */
	size_t size;
	bool immutable; /* its name changes with its contents */
};
const struct front_asset *front_asset_find(const char *path);

/* serve.c: @listener is a bound, listening socket; @certificate is taken over on success. */
int front_serve(int listener, struct front_certificate *certificate, struct err *err)
    __attribute__((warn_unused_result));
/* front_renew: serve new connections with @certificate (taken over); those that are open go on
 * for a moment. */
void front_renew(struct front_certificate *certificate);
void front_stop(void);

#endif
