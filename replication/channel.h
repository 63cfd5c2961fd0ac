/* SPDX-License-Identifier: Apache-2.0 */
#ifndef REPLICATION_CHANNEL_H
#define REPLICATION_CHANNEL_H

#include <sys/uio.h>

#include "core/err.h"
#include "core/fiber.h"
#include "core/loop.h"
#include "replication/wire.h"

/* A link: bytes both ways, in order, to a peer that has proved who it is. TLS over a stream in
 * the daemon (tls.h), a faulty pipe in the simulator. All on one loop. */
struct link;
struct link_ops {
	/* Copies and queues; a link that broke swallows them and tells ended(). */
	void (*send)(struct link *link, const struct iovec *iov, unsigned count);
	size_t (*pending)(const struct link *link);    /* bytes queued, not yet taken */
	void (*pause)(struct link *link, bool paused); /* received() stops, or goes on */
	/* No handler runs after this, not later in this round either; frees the link. */
	void (*close)(struct link *link);
};
struct link_handlers {
	void (*received)(struct link *link, const void *data, size_t length);
	void (*ended)(struct link *link, int error, const char *why);
	void (*drained)(struct link *link); /* pending() has become small */
};
struct link {
	const struct link_ops *ops;
	const struct link_handlers *handlers;
	void *context;
};

#define CHANNEL_PENDING_MAX (1u << 20)           /* bytes sent ahead of the network */
#define CHANNEL_PING_NS     (2 * 1000000000ull)  /* after so much silence of ours */
#define CHANNEL_DEAD_NS     (12 * 1000000000ull) /* after so much of the peer's */

/* A channel: messages over a link, for one fiber. Whatever goes wrong breaks it, once, with a
 * reason; everything that waits returns then. */
struct channel {
	struct link *link;
	struct loop *loop;
	struct fiber *fiber; /* its user; woken on every event */
	struct timer silence, pace;
	uint64_t received_ns, sent_ns; /* last time */
	uint64_t sequence_in, sequence_out;
	uint64_t bytes_in, bytes_out;  /* of frames */
	uint64_t limit_bytes, free_ns; /* bandwidth: bytes a second (0: any); when it is free */
	uint8_t *buffer;
	size_t start, end;
	bool paused;
	bool ended; /* by the link: what came before that can still be received */
	int broken; /* 0, or -errno with why */
	char why[200];
	/* what our pings say, and the peer's said */
	uint64_t ping_epoch, ping_wall_ns;
	uint64_t peer_epoch, peer_wall_ns;
};

/* channel_open: takes over @link. -ENOMEM: the link is closed. Context: the link's loop.
 * channel_close: closes the link. Safe on one that was never opened (zeroed). */
int channel_open(struct channel *channel, struct loop *loop, struct link *link)
    __attribute__((warn_unused_result));
void channel_close(struct channel *channel);

/* channel_limit: at most @bytes a second from now on; 0: as many as go. */
void channel_limit(struct channel *channel, uint64_t bytes);

/* channel_break: it is over; @why for people. The first reason counts. */
void channel_break(struct channel *channel, int error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void channel_wake(struct channel *channel);

/* Inside the channel's fiber. channel_wait: until something may have happened.
 * channel_receive: the next message but pings; data is borrowed until the next call. 0 or
 * -errno. channel_poll: the same without waiting: 1 for a message, 0 for none.
 * channel_send: 0 or -errno; waits while the network is behind. */
void channel_wait(struct channel *channel);
int channel_receive(struct channel *channel, struct wire_message *ret_message);
int channel_poll(struct channel *channel, struct wire_message *ret_message);
int channel_send(struct channel *channel, struct wire_message *message);
/* channel_tell: sent at once, without waiting; false: not now, for the network is behind. Context:
 * any on the loop. */
bool channel_tell(struct channel *channel, struct wire_message *message);
/* channel_refuse: tell the peer why, and break. Returns -EPROTO. */
int channel_refuse(struct channel *channel, enum wire_refusal refusal,
		   const struct wire_lineage *lineage, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

#endif
