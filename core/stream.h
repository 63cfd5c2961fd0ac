/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_STREAM_H
#define CORE_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "core/err.h"
#include "core/list.h"
#include "core/loop.h"

/* Connected byte streams (TCP, UNIX) on a loop. All calls and callbacks on the stream's loop.
 *
 * Receiving has two modes:
 *  - by default bytes arrive in the world's own buffers (multishot receive into a provided
 *    buffer ring where the kernel has it) and are handed to received();
 *  - stream_receive_into() directs the next @length bytes of the stream into the caller's
 *    buffers (the payload of a large write lands where it will be written from). Bytes that
 *    were already here are copied, the rest is received in place when that pays.
 * stream_pause() stops received() and reading from the socket (back-pressure) until
 * stream_resume(); a receive_into that is under way, or started meanwhile, goes on.
 * No handler runs inside a call of this header.
 *
 * Sending: stream_send() queues; everything queued in a round leaves in as few system calls
 * as possible at the end of the round. */

struct stream;

struct stream_handlers {
	/* Bytes have come. Returns how many were consumed (0..length); the rest is kept and
	 * shown again, in front of newer bytes, when more comes or after stream_resume() or a
	 * stream_receive_into() completes. The handler may call stream_close(), after which
	 * the return value is ignored. Not called while a receive_into is under way. */
	size_t (*received)(struct stream *stream, const void *data, size_t length);
	/* The peer closed (error 0), or the connection failed (-errno). Called once, at most;
	 * not called after stream_close(). The owner then calls stream_close(). */
	void (*ended)(struct stream *stream, int error);
	/* stream_close() has finished: no buffer given to this stream is in use any more, all
	 * sends were handed back (-ECANCELED). The stream is freed after this returns. */
	void (*closed)(struct stream *stream);
};

struct stream_send {
	struct iovec iov[4];                                /* unused entries have iov_len 0 */
	void (*done)(struct stream_send *send, int result); /* 0, or -errno: not all was sent */
	struct list link;                                   /* private */
	size_t sent;                                        /* private */
};

struct stream_receive {
	struct iovec *iov; /* changed as bytes come in */
	unsigned iov_count;
	size_t length; /* bytes wanted: at most the iov's total */
	void (*done)(struct stream_receive *receive, int result); /* 0: all here; or -errno */
};

/* The read buffer bound: received() is shown at most this many unconsumed bytes; a handler that
 * needs a longer unit must use stream_receive_into(). */
#define STREAM_UNCONSUMED_MAX (64u << 10)

/* stream_attach: take over connected socket @fd on @loop. @context is for the owner.
 * On failure the fd stays the caller's. */
int stream_attach(struct loop *loop, int fd, const struct stream_handlers *handlers, void *context,
		  struct stream **ret_stream, struct err *err) __attribute__((warn_unused_result));
void *stream_context(const struct stream *stream);
struct loop *stream_loop(const struct stream *stream);
int stream_fd(const struct stream *stream); /* for getsockname, SO_PEERCRED; not for I/O */
void stream_send(struct stream *stream, struct stream_send *send);
void stream_receive_into(struct stream *stream, struct stream_receive *receive);
void stream_pause(struct stream *stream);
void stream_resume(struct stream *stream);
size_t stream_send_pending(const struct stream *stream); /* bytes queued, not yet taken */
/* stream_close: immediately; what is queued is dropped. stream_drain: send what is queued
 * (at most @limit_ns), then close. Both end in closed(). Idempotent. */
void stream_close(struct stream *stream);
void stream_drain(struct stream *stream, uint64_t limit_ns);

/* Listeners: accepted() gets each connection's fd (CLOEXEC, non-blocking) on the listener's
 * loop and owns it; to serve it elsewhere, post it to another loop and attach there. */
struct listener;
struct listener_handlers {
	void (*accepted)(struct listener *listener, int fd, const struct sockaddr *peer,
			 socklen_t peer_length);
};
/* listener_open: bind and listen. @address is "127.0.0.1", "::", ...; IPV6_V6ONLY is set.
 * Port 0 = any free one. Errors: -EADDRINUSE, -EADDRNOTAVAIL, -EACCES with text. */
int listener_open(struct loop *loop, const char *address, uint16_t port,
		  const struct listener_handlers *handlers, void *context,
		  struct listener **ret_listener, struct err *err)
    __attribute__((warn_unused_result));
/* The same on a UNIX path (an old socket file nobody answers on is replaced), mode @mode. */
int listener_open_unix(struct loop *loop, const char *path, unsigned mode,
		       const struct listener_handlers *handlers, void *context,
		       struct listener **ret_listener, struct err *err)
    __attribute__((warn_unused_result));
void *listener_context(const struct listener *listener);
uint16_t listener_port(const struct listener *listener); /* the one really bound */
/* Context: the loop. Accepting stops at once. */
void listener_close(struct listener *listener);

#endif
