/* SPDX-License-Identifier: Apache-2.0 */
#ifndef REPLICATION_TLS_H
#define REPLICATION_TLS_H

#include "core/err.h"
#include "core/loop.h"
#include "replication/channel.h"

/* A link in TLS 1.3 over a TCP connection. Both sides show a certificate they made themselves;
 * who may speak is decided by its SHA-256 (pinned when the nodes were paired), never by who
 * signed it or by what it says. */

#define TLS_FINGERPRINT 32u
#define TLS_EXPORTER    32u /* bytes both ends of one connection know, and nobody else */

struct tls_identity; /* key, certificate and what OpenSSL makes of them */

/* tls_identity_make: a new key (P-256) and certificate as PEM texts, the caller's to heap_free().
 * tls_identity_load: ready for use. Context: any. */
int tls_identity_make(char **ret_key, char **ret_certificate, struct err *err)
    __attribute__((warn_unused_result));
int tls_identity_load(const char *key, const char *certificate, struct tls_identity **ret_identity,
		      struct err *err) __attribute__((warn_unused_result));
/* tls_identity_become: @identity has the key and certificate of @from, which is freed and has no
 * links; its own links stay as they are. */
void tls_identity_become(struct tls_identity *identity, struct tls_identity *from);
void tls_identity_free(struct tls_identity *identity);
const uint8_t *tls_identity_fingerprint(const struct tls_identity *identity);

struct tls_peer {
	uint8_t fingerprint[TLS_FINGERPRINT];
	uint8_t exporter[TLS_EXPORTER]; /* RFC 8446 7.5 */
};
/* tls_link_start: shake hands over connected socket @fd; @server: the peer speaks first. Then
 * ready(), once: with the link, which has no handlers yet and belongs to the callee, or with NULL
 * and @why. The fd is taken over. Context: @loop; never inside this call. */
int tls_link_start(struct tls_identity *identity, struct loop *loop, int fd, bool server,
		   void (*ready)(void *context, struct link *link, const struct tls_peer *peer,
				 const char *why),
		   void *context, struct err *err) __attribute__((warn_unused_result));
/* tls_identity_hang_up: links that are there still, hands shaken or not, end as if their peers had
 * gone. True: none is left, nor what one of them held; else call it again in a moment. */
bool tls_identity_hang_up(struct tls_identity *identity);

/* tls_dial: connect to @host (an address, or a name) and @port on a thread of its own; then
 * done() on @loop with the fd, or -errno. tls_dial_cancel: done() comes soon. */
struct tls_dial;
int tls_dial(struct loop *loop, const char *host, uint16_t port,
	     void (*done)(void *context, int fd), void *context, struct tls_dial **ret_dial,
	     struct err *err) __attribute__((warn_unused_result));
void tls_dial_cancel(struct tls_dial *dial);

#endif
