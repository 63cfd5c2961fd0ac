/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NFS_CALLOUT_H
#define NFS_CALLOUT_H

#include <sys/socket.h>

#include "core/list.h"
#include "core/loop.h"
#include "core/stream.h"
#include "nfs/export.h"

/* RPC calls of ours to a client's programs (lockd, statd, callbacks of NFSv4.0), over TCP: the port
 * from its portmapper, unless it is known, one call, its answer. Context: one loop, that calls and
 * is called back. */

#define CALLOUT_ARGUMENTS_MAX 2048u
#define CALLOUT_REPLY_MAX     1500u

struct callout {
	/* The caller's */
	struct loop *loop;
	struct nfs_address peer;  /* who is called; its port does not matter */
	struct nfs_address local; /* what it knows us as; family AF_UNSPEC: whatever fits */
	uint32_t program, version, procedure;
	uint16_t known_port;                      /* 0: the portmapper is asked */
	bool as_root;                             /* with AUTH_SYS, else with AUTH_NONE */
	void *context;                            /* the caller's */
	uint8_t arguments[CALLOUT_ARGUMENTS_MAX]; /* XDR */
	uint32_t length;
	/* @result: 0 with the results of an accepted reply, or -errno. The callout is the caller's
	 * again. */
	void (*done)(struct callout *callout, int result, const uint8_t *results, size_t length);
	/* private */
	uint16_t port; /* 0: the portmapper is asked first */
	int fd, result;
	struct stream *stream;
	struct stream_send send;
	struct timer timer;
	uint64_t deadline;
	uint32_t xid;
	uint8_t record[CALLOUT_ARGUMENTS_MAX + 128];
	uint8_t reply[CALLOUT_REPLY_MAX];
	size_t reply_length;
	bool answered, active;
};

void callout_start(struct callout *callout);
/* callout_cancel: done() is called soon, with -ECANCELED unless it was through. */
void callout_cancel(struct callout *callout);

#endif
