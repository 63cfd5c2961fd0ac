/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NFS_INTERNAL_H
#define NFS_INTERNAL_H

#include <sys/socket.h>

#include "core/buf.h"
#include "core/list.h"
#include "core/stream.h"
#include "nfs/export.h"
#include "nfs/grace.h"
#include "nfs/handle.h"
#include "nfs/lock.h"
#include "nfs/nfs.h"
#include "nfs/rpc.h"
#include "nfs/slow.h"
#include "nfs/stats.h"
#include "nfs/tls.h"

/*~ Inside nfs/. The way of a request:
 *
 *   secure.c  (of a connection in TLS: what it carries -> bytes)
 *   conn.c    bytes -> record -> struct nfs_call (bulk data of a WRITE in an aligned buffer)
 *   call.c    RPC header, program table, duplicate requests -> procedure
 *   mount.c, portmap.c, nfs3*.c, nfs4*.c   arguments -> vfs_submit() -> results
 *   call.c    reply -> conn.c -> stream_send()
 *
 * What changes something passes change.c on its way to vfs_submit(): who has it delegated is told
 * first.
 *
 * A call lives on its connection's loop. What loops share: the export table (immutable), and the
 * duplicate request cache, the state of NFSv4, that of NLM, the grace periods and the locks (a
 * mutex each, taken in this order, held for memory work only). */

struct nfs_conn;
struct nfs_call;
struct nfs_drc;
struct nfs_drc_entry;
struct nfs4_server;
struct nlm;
struct nfs4_session;
struct nfs4_client;
struct nfs4_owner;
struct nfs4_copy;
struct nfs_secure;
struct nfs_client_stats;

#define NFS_TRANSFER_MAX    (1u << 20)
#define NFS_RECORD_MAX      (NFS_TRANSFER_MAX + (64u << 10)) /* bytes of a call */
#define NFS_FRAGMENTS_MAX   1024u                            /* of a record */
#define NFS_CONNECTIONS_MAX 1024u
#define NFS_CALLS_MAX       128u        /* of a connection at a time */
#define NFS_CONN_BYTES_MAX  (8u << 20)  /* records and read data of a connection */
#define NFS_IO_BYTES_MAX    (96u << 20) /* the same of a loop */
#define NFS_FREE_CALLS      256u        /* kept for the next requests, a loop */
#define NFS_LISTENERS_MAX   64u
#define NFS_CALL_SMALL      1280u /* a record up to this long needs no buffer */
#define NFS_REPLY_SMALL     1024u
#define NFS_FIRST_CALL_NS   (30ull * 1000000000)  /* from connecting to the first whole call */
#define NFS_HANDSHAKE_NS    (10ull * 1000000000)  /* from STARTTLS to the end of TLS's handshake */
#define NFS_RECORD_NS       (60ull * 1000000000)  /* from a call's first byte to its last */
#define NFS_SEND_NS         (60ull * 1000000000)  /* without the peer taking a byte */
#define NFS_IDLE_NS         (900ull * 1000000000) /* without a call */

/* ---- server.c */

struct nfs_io {
	struct nfs_server *server;
	struct loop *loop;
	struct list conns;
	struct list free_calls;
	unsigned free_count;
	uint64_t bytes; /* in flight */
	unsigned paused;
	bool waiting; /* for buffers */
	struct buf_waiter waiter;
	struct nfs_conn *waits;  /* whose record it is for; NULL: it is gone */
	struct nfs_table *table; /* the loop's reference */
	uint64_t generation;     /* the table's, for other threads; atomic */
	unsigned load;           /* control loop */
	struct nfs_loop_stats *stats;
};

struct nfs_listener {
	struct nfs_server *server;
	struct listener *listener;
	struct nfs_datagrams *datagrams; /* NULL: the port is somebody else's there */
	unsigned roles;
	uint16_t port;
	char address[64];
};

struct nfs_server {
	struct nfs_server_options options;
	struct nfs_io *loops;
	struct nfs_listener *listeners[NFS_LISTENERS_MAX];
	unsigned listener_count;
	uint16_t nfs_port, mount_port, portmap_port; /* written before anything is served */
	uint16_t nfs_datagram_port, mount_datagram_port, portmap_datagram_port; /* likewise */
	unsigned datagrams_open; /* sockets that are not closed yet; control loop */
	struct list conns;       /* control loop */
	unsigned conn_count;
	uint64_t generation;     /* of tables */
	struct nfs_table *table; /* the control loop's reference */
	bool stopping;
	void (*stopped)(void *context);
	void *stopped_context;
	struct deferred finish;
	uint64_t boot_ns; /* wall clock of the start */
	struct nfs_drc *drc;
	struct nfs4_server *nfs4;
	struct nfs_mounts *mounts;
	struct lock_table *locks;
	struct nlm *nlm;
	struct nfs_grace *grace;
	struct nfs_names *names;
	struct nfs_tls *tls; /* of the tables to come; control loop */
	struct nfs_stats *stats;
};

/* ---- conn.c */

enum nfs_conn_state { NFS_CONN_OPEN, NFS_CONN_DRAINING, NFS_CONN_CLOSING };

struct nfs_conn {
	struct list link, all_link; /* the loop's, the control loop's */
	struct nfs_server *server;
	struct nfs_io *io;
	struct stream *stream;
	int fd;
	struct sockaddr_storage peer, local;
	struct nfs_address address;
	char peer_text[64];
	enum nfs_conn_state state;
	bool stream_closed, paused, finished;
	struct timer timer;
	uint64_t opened_ns, heard_ns, record_ns, sent_ns; /* record_ns 0: between records */
	bool heard_call, refusal_said;
	struct list calls;
	unsigned call_count;
	uint64_t bytes;
	struct list back_calls;          /* calls of ours to the client */
	bool back_bound;                 /* a session may use it for them */
	bool fore_bound;                 /* a session's requests have come over it */
	uint64_t back_client;            /* who has answered one */
	struct nfs_datagram *datagram;   /* no stream: one call that came over UDP */
	struct nfs_secure *secure;       /* NULL: not in TLS */
	uint64_t shaking_ns;             /* since when; 0: not */
	const struct nfs_peer *peer_tls; /* NULL: not in TLS, or the handshake goes on */

	/* receiving */
	struct buf *spare; /* what was waited for, until its record takes it */
	struct nfs_call *rx;
	bool rx_fragment, rx_last;
	unsigned rx_fragments;
	struct iovec rx_iov[4];
	unsigned rx_at, rx_count;
	size_t rx_left;
	uint8_t rx_padding[4];
	struct stream_receive rx_into;

	struct nfs_tally tally; /* written on the loop only, read on the control loop */

	/* control loop */
	struct nfs_client_stats *client_stats; /* NULL: not counted */
	struct list client_link;
	struct message attach_message, drop_message, message;
	bool drop_posted, gone;
};

void nfs_conn_attach(struct message *message); /* I/O loop */
void nfs_conn_drop(struct message *message);
void nfs_conn_free(struct message *message);
void nfs_conn_fail(struct nfs_conn *conn, const char *why);
/* The same, but what is queued for the peer goes out before; @why NULL: it closed. */
void nfs_conn_refuse(struct nfs_conn *conn, const char *why);
void nfs_conn_send(struct nfs_conn *conn, struct nfs_call *call);
/* A record of ours, made ready for the wire by whatever the connection asks for. */
void nfs_conn_push(struct nfs_conn *conn, struct stream_send *send);
/* For secure.c, which has the bytes of the stream. nfs_conn_take: how many of @data were taken.
 * nfs_conn_room: where the next ones of the record go; NULL: its length is not known yet.
 * nfs_conn_filled: they are there. */
size_t nfs_conn_take(struct nfs_conn *conn, const uint8_t *data, size_t length);
void *nfs_conn_room(struct nfs_conn *conn, size_t *ret_room);
void nfs_conn_filled(struct nfs_conn *conn, size_t length);
/* The call is through, answered or not. */
void nfs_conn_call_end(struct nfs_conn *conn, struct nfs_call *call);
/* Count @bytes more of buffers for @call; they come off with its end. */
void nfs_conn_charge(struct nfs_conn *conn, struct nfs_call *call, size_t bytes);
void nfs_server_accepted(struct nfs_server *server, int fd, const struct sockaddr *peer,
			 socklen_t peer_length);
void nfs_server_conn_gone(struct nfs_conn *conn);
void nfs_conn_name(struct nfs_conn *conn); /* peer_text, by its address */

/* ---- secure.c: TLS under a connection
 *
 * nfs_secure_create: -ENOMEM. nfs_secure_charge: bytes that @send becomes. nfs_secure_finish: the
 * last thing to say, before the stream is drained. nfs_secure_resume: conn->paused is over. */
int nfs_secure_create(struct nfs_conn *conn, struct nfs_tls *tls, struct nfs_secure **ret_secure);
void nfs_secure_free(struct nfs_secure *secure); /* NULL is fine; no send is under way */
size_t nfs_secure_received(struct nfs_secure *secure, const void *data, size_t length);
void nfs_secure_send(struct nfs_secure *secure, struct stream_send *send);
size_t nfs_secure_charge(const struct stream_send *send);
void nfs_secure_finish(struct nfs_secure *secure);
void nfs_secure_resume(struct nfs_secure *secure);

/* ---- datagram.c */

struct nfs_datagrams;
/* nfs_datagrams_open: a socket of its own for UDP on @address:@port. nfs_datagrams_close: it takes
 * no more; nfs_server_datagrams_gone() when the calls that run have ended. Context: control loop.
 */
int nfs_datagrams_open(struct nfs_server *server, const char *address, uint16_t port,
		       struct nfs_datagrams **ret_datagrams);
void nfs_datagrams_close(struct nfs_datagrams *datagrams); /* NULL is fine */
void nfs_server_datagrams_gone(struct nfs_server *server);
/* A socket that nobody reads: for tests, which put datagrams there themselves, at any rate. */
struct nfs_datagrams *nfs_datagrams_on(struct nfs_server *server, int fd, int family);
bool nfs_datagrams_busy(const struct nfs_datagrams *datagrams);
bool nfs_datagram_put(struct nfs_datagrams *datagrams, const void *data, size_t length,
		      const struct sockaddr_in *peer);
/* For conn.c: instead of sending, and when the call is freed. */
void nfs_datagram_reply(struct nfs_conn *conn, struct nfs_call *call);
void nfs_datagram_end(struct nfs_conn *conn);

/* ---- call.c */

enum nfs_procedure_flags {
	NFS_CACHE_REPLY = 1, /* not idempotent: a duplicate gets the first one's reply */
	NFS_DATAGRAM = 2,    /* also over UDP; the NULL of each program that is there */
};

struct nfs_procedure {
	const char *name;
	void (*run)(struct nfs_call *call);
	unsigned flags;
};

struct nfs_program {
	uint32_t number, version;
	const struct nfs_procedure *procedures; /* without run: not there */
	unsigned count;
	const char *name;
	enum nfs_port_role role; /* which port the portmapper tells */
};
const struct nfs_program *const *nfs_program_table(unsigned *ret_count);
extern const struct nfs_program nfs_mount1, nfs_mount3, nfs_portmap2, nfs_rpcbind3, nfs_rpcbind4,
    nfs_nfs3, nfs_nfs4, nfs_nlm4, nfs_nsm1, nfs_rquota1, nfs_rquota2;

/* What a COMPOUND of NFSv4 keeps from one operation to the next (nfs4.h). */
struct nfs4_place {
	bool set, pseudo;
	const struct nfs_export *export;
	struct vfs_object object;
	uint32_t state_seqid;
	uint8_t state_other[12]; /* current stateid */
};
struct nfs4_compound {
	uint32_t count, index, operation;
	size_t status_at, count_at, operation_at, body_at;
	uint32_t minor;
	bool keep_body; /* a failure with results */
	bool changed;   /* v4.0: something that must not be done twice was done */
	struct nfs4_place current, saved;
	struct nfs4_session *session; /* its slot is ours */
	struct nfs4_client *client;   /* the session's; v4.0: of the operation's state */
	struct nfs4_owner *owner;     /* v4.0: whose turn it is; pinned */
	uint64_t asker; /* v4.0: the client that the operation is by; 0: it does not say */
	uint32_t owner_seqid;
	uint32_t slot;
	uint32_t reply_max, cached_max; /* bytes of the reply; cached_max: if it is to be kept */
	uint64_t numbers[4];            /* the operation's own */
	uint32_t wanted[4];
	const uint8_t *bytes;
	uint32_t want;        /* OPEN: OPEN4_SHARE_ACCESS_WANT_... */
	uint32_t claim_seqid; /* the delegation that an OPEN goes by */
	uint8_t claim_other[12];
	bool gave_way;  /* who was in the operation's way is gone, but not from the disk yet */
	unsigned waits; /* how often it was looked whether that is so */
	struct vfs_attr attr;
};

/* What a request is about to change: marked, so that it is not delegated meanwhile (change.c). */
struct nfs_change {
	unsigned count, looking; /* marks; which name is looked up */
	uint32_t marks[2];
	struct vfs *vfs;
	void (*done)(struct nfs_call *call, int result);
};

struct nfs_call {
	struct list link;
	struct nfs_conn *conn;
	struct rpc_header rpc;
	struct xdr_in in;
	struct xdr_out out;
	struct nfs_drc_entry *cached;
	struct nfs_table *table;         /* a reference */
	const struct nfs_export *export; /* of the handle decoded last */
	const struct nfs_rule *rule;
	struct vfs_credentials credentials;
	uint32_t groups[RPC_GROUPS_MAX];
	struct vfs_request vfs;
	void (*done)(struct nfs_call *call, int result);        /* of vfs */
	void (*record_done)(struct nfs_call *call, int status); /* nfs4_record() */
	uint64_t argument[4];                                   /* the procedure's own */
	struct vfs_attr saved_attr;
	struct vfs_object saved_object;
	struct iovec iov;
	struct nfs4_compound compound;
	struct nfs4_copy *copy; /* whose this is, not a connection's; NULL */
	struct nfs_change change;
	struct timer timer;
	void (*again)(struct nfs_call *call); /* of timer */
	uint64_t begun_ns;                    /* the procedure, or the operation of a COMPOUND */
	uint32_t moved;                       /* bytes it has read or written */
	struct nfs_slow_notes slow;
	struct handle handle;

	/* memory */
	uint8_t *record;
	size_t record_length, record_room, payload_at;
	uint32_t payload_length;
	struct buf *record_buf, *payload, *reply_buf, *data, *scratch, *acl;
	void *record_heap;
	size_t charged;
	/* reply: data's bytes go between those before data_at and those behind */
	size_t data_at;
	uint32_t data_length;
	uint8_t padding[4];
	struct stream_send send;
	uint8_t small_record[NFS_CALL_SMALL];
	uint8_t small_reply[NFS_REPLY_SMALL];
};

static inline uint64_t nfs_call_now(const struct nfs_call *call)
{
	return loop_now(call->conn->io->loop);
}

struct nfs_call *nfs_call_create(struct nfs_conn *conn);
void nfs_call_free(struct nfs_io *io, struct nfs_call *call);
/* Room for a record of @length bytes, keeping what is there. False: no memory now. */
bool nfs_call_reserve(struct nfs_call *call, size_t length);
/* The record is complete. */
void nfs_call_start(struct nfs_call *call);
/* Results have been encoded behind the accepted header: send them. */
void nfs_call_reply(struct nfs_call *call);
/* True: the same call was asked before, and this one is through. Nothing has been put to call->out
 * but the record mark. False: the reply will be kept, unless nfs_call_forget(). */
bool nfs_call_is_duplicate(struct nfs_call *call);
void nfs_call_forget(struct nfs_call *call);
/* Any other end. nfs_call_drop: without an answer. */
void nfs_call_garbage(struct nfs_call *call);
void nfs_call_too_weak(struct nfs_call *call); /* AUTH_TOOWEAK */
void nfs_call_drop(struct nfs_call *call);
/* nfs_call_vfs: submit call->vfs to @vfs; @done runs when it is through. */
void nfs_call_vfs(struct nfs_call *call, struct vfs *vfs,
		  void (*done)(struct nfs_call *call, int result));
/* The same on the server's own behalf. */
void nfs_call_vfs_as(struct nfs_call *call, struct vfs *vfs,
		     const struct vfs_credentials *credentials,
		     void (*done)(struct nfs_call *call, int result));
/* Bytes of the reply so far, from the RPC header on. */
size_t nfs_call_reply_length(const struct nfs_call *call);
/* Bytes of a READ, sent as they are: xdr_put_opaque() without the copy. */
void nfs_call_put_data(struct nfs_call *call, struct buf *data, uint32_t length);
/* Scratch memory until the end of the call, at most BUF_MAX; NULL: short of buffers. */
void *nfs_call_scratch(struct nfs_call *call, size_t size);
/* The same for the operation's ACL alone: scratch memory may be taken for something else meanwhile.
 */
void *nfs_call_acl(struct nfs_call *call, size_t size);

/* Which export @handle is of, may this client use it with @version, as whom: fills
 * call->export, rule and credentials. 0; -ESTALE: forged or gone; -ECANCELED: come again: it is
 * away for now, or who may use it is still being looked up; -EACCES, -EPERM; -ENOKEY: not over such
 * a connection (nfs_call_too_weak()). */
int nfs_call_handle(struct nfs_call *call, const void *handle, uint32_t length, unsigned version,
		    struct nfs_handle_content *ret_content);
int nfs_call_enter(struct nfs_call *call, const struct nfs_export *export, unsigned version);
void nfs_call_make_handle(struct nfs_call *call, const struct vfs_object *object,
			  struct handle *ret_handle);

/* ---- change.c: what is delegated to a client of NFSv4 is recalled before somebody else changes it
 *
 * nfs_change_begin: call->vfs is about to go to @vfs. True: let it go. False: done() is called,
 * with -EINPROGRESS while a delegation is being recalled, or as if it had been submitted.
 * nfs_change_end: it is through; or nothing had begun. */
bool nfs_change_begin(struct nfs_call *call, struct vfs *vfs,
		      void (*done)(struct nfs_call *call, int result));
void nfs_change_end(struct nfs_call *call);

/* ---- drc.c: the duplicate request cache */

enum nfs_drc_found { NFS_DRC_NEW, NFS_DRC_RUNNING, NFS_DRC_ANSWERED };
int nfs_drc_create(struct nfs_drc **ret_drc);
void nfs_drc_destroy(struct nfs_drc *drc);
/* nfs_drc_look: NEW: *ret_entry (NULL: no room) is for nfs_drc_answer() or nfs_drc_forget();
 * ANSWERED: the reply has been put to @out. Any thread. */
enum nfs_drc_found nfs_drc_look(struct nfs_drc *drc, const struct nfs_call *call,
				struct xdr_out *out, struct nfs_drc_entry **ret_entry);
void nfs_drc_answer(struct nfs_drc *drc, struct nfs_drc_entry *entry, const void *reply,
		    size_t length);
void nfs_drc_forget(struct nfs_drc *drc, struct nfs_drc_entry *entry);

/* ---- mount.c: who has mounted what, for DUMP only */
int nfs_mounts_create(struct nfs_mounts **ret_mounts);
void nfs_mounts_destroy(struct nfs_mounts *mounts);

/* ---- nlm.c: locks of NFSv3 */
int nlm_create(struct nfs_server *server, struct nlm **ret_nlm);
void nlm_destroy(struct nlm *nlm); /* stopped, or never used; NULL is fine */
/* No calls to clients any more, no locks; then stopped() on the control loop. Context: control
 * loop. */
void nlm_stop(struct nlm *nlm, void (*stopped)(struct nfs_server *server));
/* Forget what is locked on shares that @table has not; @table is in force. Their hosts are told to
 * reclaim when the share comes back. */
void nlm_forget_shares(struct nlm *nlm, const struct nfs_table *table);
/* A record of a host of NFSv3 came with a share: it is told to reclaim. Other records: nothing.
 * Context: the first I/O loop. */
void nlm_host_found(struct nfs_server *server, const char *record);

/* ---- nfs4_client.c */
int nfs4_server_create(struct nfs_server *server, unsigned lease_seconds,
		       struct nfs4_server **ret_nfs4);
void nfs4_server_destroy(struct nfs4_server *nfs4);
/* ---- nfs4_back.c
 * nfs4_back_answer: a record that is a reply. nfs4_back_conn_gone: no call will be answered on it.
 * Context: the connection's loop. nfs4_back_stop: no calls any more; then stopped() on the control
 * loop, where it is called. */
void nfs4_back_answer(struct nfs_conn *conn, const uint8_t *record, size_t length);
void nfs4_back_conn_gone(struct nfs_conn *conn);
void nfs4_back_stop(struct nfs4_server *nfs4, void (*stopped)(struct nfs_server *server));

/* Is the client with this record here, and through with reclaiming? */
bool nfs4_record_is_alive(struct nfs_server *server, const char *record);

#endif
