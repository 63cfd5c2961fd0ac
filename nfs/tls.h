/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NFS_TLS_H
#define NFS_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"

/* RPC-with-TLS (RFC 9289): what the server shows, and whom it believes. TLS 1.3 alone, without
 * tickets, so nothing of a session is taken up again and no data comes before the handshake. */

#define NFS_TLS_ALPN      "sunrpc"
#define NFS_TLS_NAMES_MAX 8u   /* of a client's certificate that count */
#define NFS_TLS_NAME_MAX  253u /* bytes of one; longer ones do not count */
#define NFS_TLS_PEERS_MAX 64u  /* certificates that clients' are checked with */

/* Immutable once made, shared by all loops. */
struct nfs_tls;

/* nfs_tls_create: @clients, PEM: of CAs, or of clients themselves; "": no client is asked for a
 * certificate. -EINVAL with text. nfs_tls_unref: NULL is fine. Context: any. */
int nfs_tls_create(const char *chain, const char *key, const char *clients,
		   struct nfs_tls **ret_tls, struct err *err) __attribute__((warn_unused_result));
struct nfs_tls *nfs_tls_ref(struct nfs_tls *tls); /* NULL is fine */
void nfs_tls_unref(struct nfs_tls *tls);

/* Who is at the other end of a connection in TLS. */
struct nfs_peer {
	bool proved; /* by a certificate that was checked; without it there are no names */
	unsigned name_count;
	uint8_t id[16]; /* of the first name */
	/* subjectAltName's of type dNSName, or without one the common name; printable, lower case
	 */
	char names[NFS_TLS_NAMES_MAX][NFS_TLS_NAME_MAX + 1];
};

/* One end of a connection, without a socket: bytes that came are given to it, what it has to say
 * is put where the owner says. */
struct nfs_tls_end;
struct nfs_tls_end_ops {
	/* Room for @length bytes that go to the peer, behind those of before; NULL: no memory, the
	 * connection is lost. */
	uint8_t *(*room)(void *context, size_t length);
};
int nfs_tls_end_create(struct nfs_tls *tls, const struct nfs_tls_end_ops *ops, void *context,
		       struct nfs_tls_end **ret_end) __attribute__((warn_unused_result));
void nfs_tls_end_free(struct nfs_tls_end *end); /* NULL is fine */

/* nfs_tls_end_feed: @data came; it is borrowed until the next call. nfs_tls_end_left: how much of
 * it has not been looked at. */
void nfs_tls_end_feed(struct nfs_tls_end *end, const void *data, size_t length);
size_t nfs_tls_end_left(const struct nfs_tls_end *end);
/* nfs_tls_end_shake: 0: done; -EAGAIN: more has to come; -EPROTO with what is wrong. */
int nfs_tls_end_shake(struct nfs_tls_end *end, struct nfs_peer *ret_peer, struct err *err);
/* nfs_tls_end_read: bytes, at most @room; 0: the peer says that this is all; -EAGAIN, -EPROTO. */
int64_t nfs_tls_end_read(struct nfs_tls_end *end, void *data, size_t room, struct err *err);
/* nfs_tls_end_write: 0, -EPROTO. nfs_tls_end_finish: say that this is all. */
int nfs_tls_end_write(struct nfs_tls_end *end, const void *data, size_t length);
void nfs_tls_end_finish(struct nfs_tls_end *end);
/* Bytes on the wire for @length, at most. */
size_t nfs_tls_sealed(size_t length);
#define NFS_TLS_RECORD (16u << 10) /* bytes of one record (RFC 8446 5.1) */

#endif
