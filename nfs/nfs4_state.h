/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NFS_NFS4_STATE_H
#define NFS_NFS4_STATE_H

#include <pthread.h>

#include "nfs/nfs4.h"

/* What nfs4_client.c, nfs4_state.c, nfs4_locks.c, nfs4_turn.c, nfs4_back.c and nfs4_deleg.c share:
 * clients, their sessions and how they are called back, their owners, what those have open and
 * locked, what is delegated to a client. Minor versions 0, 1 and 2 use the same; sessions are for 1
 * and 2, sequence numbers of owners for 0.
 *
 *   client -> owners (open, lock) -> states (open, lock); a lock state hangs on its open state too
 *          -> delegations
 *
 * All of it is under nfs4->lock, which is taken before the mutexes of the grace periods and of the
 * lock table. What is in use by an operation that waits is pinned: a session with a running slot,
 * an owner with pins. */

#define NFS4_CLIENTS_MAX     2048u
#define NFS4_SESSIONS_MAX    1024u
#define NFS4_STATES_MAX      32768u
#define NFS4_IDLE_OWNERS_MAX 32u   /* of a v4.0 client, kept for their sequence numbers alone */
#define NFS4_REPLAY_MAX      256u  /* bytes of a v4.0 operation's results kept for a retry */
#define NFS4_EXPIRED_MAX     1024u /* stateids of v4.0 remembered as taken away */
#define NFS4_LOST_MAX        64u   /* clients of v4.0 remembered as having lost all */
#define NFS4_COPIES_MAX      256u  /* known: that run, and whose end is not heard of yet */
#define NFS4_BACK_SLOTS      4u    /* of a session's back channel: calls at a time */
#define NFS4_BACK_CONNS      8u    /* connections of a session that may carry them */
#define NFS4_FORE_CONNS      16u   /* connections its requests come over that are known */
#define NFS4_BACK_CALLS      4u    /* to a client of v4.0 at a time */
#define NFS4_BACK_CALLS_MAX  512u  /* to all clients at a time */
#define NFS4_BACK_NS         (10ull * 1000000000) /* for an answer */

/* Can a client be called? Asked: it is being tried out. */
enum nfs4_path { NFS4_PATH_NONE, NFS4_PATH_ASKED, NFS4_PATH_UP, NFS4_PATH_DOWN };

/* Where a client of v4.0 is called (cb_client4); peer.family AF_UNSPEC: nowhere. */
struct nfs4_target {
	struct nfs_address peer, local;
	uint32_t program, ident;
};

struct nfs4_client {
	struct list link;
	uint64_t id, renewed_ns, recorded; /* recorded: a share it is known to have a record on */
	struct nfs4_principal principal;
	uint8_t verifier[8];
	uint8_t confirm[8], was_confirm[8]; /* of SETCLIENTID; the last one that was confirmed */
	bool confirmed, complete;           /* RECLAIM_COMPLETE was said */
	uint32_t minor;                     /* 0, or 1 for all that have sessions */
	uint32_t next_sequence;             /* of CREATE_SESSION */
	uint8_t last_session[16];
	bool last_bound; /* its connection was to carry calls to the client, and does */
	struct list owners;
	struct nfs_address peer;   /* who made it known */
	unsigned sessions, states; /* states: delegations too */
	enum nfs4_path path;
	unsigned calling;  /* v4.0: calls to it that have not ended */
	uint64_t asked_ns; /* the last one of them that was a probe */
	struct nfs4_target target,
	    next; /* v4.0; next: as SETCLIENTID said, until it is confirmed */
	struct list delegations;
	unsigned revoked; /* of them, which it has not acknowledged */
	char record[NFS_RECORD_NAME];
	uint32_t owner_length;
	uint8_t owner[NFS4_OWNER_MAX];
};

struct nfs4_owner {
	struct list link;
	struct nfs4_client *client;
	bool is_lock;
	struct list states;
	struct lock_owner locks; /* is_lock */
	unsigned pins;
	/* v4.0: RFC 7530 9.1.7 */
	bool confirmed, heard;
	uint32_t seqid;
	bool replay, replay_placed;
	int replay_status;
	uint32_t replay_op, replay_length;
	uint8_t replay_body[NFS4_REPLAY_MAX];
	struct vfs_object replay_object;
	uint32_t length;
	uint8_t bytes[];
};

struct nfs4_state {
	struct list link; /* the owner's */
	struct nfs4_owner *owner;
	struct lock_key key;
	struct vfs *vfs;
	uint32_t index, number, sequence;
	bool closed;             /* v4.0: kept for a retry of CLOSE */
	struct lock_share share; /* an open: access and deny */
	uint32_t modes;          /* an open: which accesses it was opened with, 1 << (access - 1) */
	uint32_t uid;            /* an open: whose rights were looked at */
	struct list locks;       /* an open: lock states from it */
	struct list open_link;   /* a lock: in its open's list */
	struct nfs4_state *open; /* a lock */
};

struct nfs4_slot {
	uint32_t sequence;
	bool running, kept;
	uint32_t length;
	uint8_t *reply; /* NFS4_CACHED_MAX */
};

/* The way from us to the client (RFC 8881 2.10.3.1). A connection is good when the client has
 * answered over it; a slot's sequence is that of the last call that was answered. */
struct nfs4_back {
	struct nfs4_back_how how;
	bool fits; /* the channel has room for our calls, however they are made */
	uint32_t slot_count;
	bool wanted; /* it had a connection once: the client is told when it has none */
	struct {
		struct nfs_conn *conn;
		bool good;
	} conns[NFS4_BACK_CONNS];
	struct {
		uint32_t sequence;
		bool busy;
	} slots[NFS4_BACK_SLOTS];
};

struct nfs4_session {
	struct nfs4_client *client;
	uint32_t index, minor; /* minor: it was made with; so are calls to the client */
	uint64_t number;
	struct nfs4_channel fore;
	struct nfs4_back back;
	struct nfs_conn *carriers[NFS4_FORE_CONNS]; /* open ones its requests have come over */
	bool more_carriers;                         /* than there is room for */
	struct nfs_address peer;                    /* who made it */
	bool doomed; /* goes with the slot of the request that destroyed it */
	struct nfs4_slot slots[NFS4_SLOTS];
	uint8_t replies[NFS4_SLOTS][NFS4_CACHED_MAX];
};

/* What a stateid named that was taken from its client. */
struct nfs4_expired {
	uint32_t index, number; /* number 0: none */
};

struct nfs4_server {
	struct nfs_server *server;
	pthread_mutex_t lock; /* all below; memory work only */
	uint32_t boot;        /* of this life: part of client ids and stateids */
	uint64_t lease_ns;
	uint64_t next_number;
	struct list clients;
	unsigned client_count;
	struct nfs4_session *sessions[NFS4_SESSIONS_MAX];
	struct nfs4_state *states[NFS4_STATES_MAX];
	unsigned state_hint, free_hint; /* behind the highest used; nothing free below */
	struct nfs_table *table;        /* the newest; the control loop holds it */
	struct nfs4_expired expired[NFS4_EXPIRED_MAX]; /* a ring */
	unsigned expired_next;
	uint64_t lost[NFS4_LOST_MAX]; /* a ring: ids of v4.0 clients whose leases ran out */
	unsigned lost_next;
	struct nfs4_delegations *delegations;
	/* nfs4_offload.c */
	struct nfs4_copy *copies[NFS4_COPIES_MAX];
	unsigned copy_count, copies_busy;
	bool copies_end;
	void (*copies_stopped)(struct nfs_server *server);
	struct message copies_message;
	/* nfs4_back.c */
	unsigned back_calls; /* that have not ended */
	uint32_t back_xid;
	struct list callouts; /* first I/O loop: those of v4.0 */
	enum { NFS4_BACK_RUNS, NFS4_BACK_STOPPING, NFS4_BACK_CANCELLED, NFS4_BACK_OVER } back_end;
	void (*back_stopped)(struct nfs_server *server);
	struct message back_stop_message, back_stopped_message;
};

static inline struct nfs4_server *nfs4_server_of(const struct nfs_call *call)
{
	return call->conn->server->nfs4;
}

/* Under the lock. */
struct nfs4_client *nfs4_client_by_id(struct nfs4_server *nfs4, uint64_t id);
/* nfs4_drop_client: with all it has. False: something of its is in use right now. */
bool nfs4_drop_client(struct nfs4_server *nfs4, struct nfs4_client *client);
/* nfs4_gives_way: client @id is in somebody's way. True: its lease had run out, and it is gone
 * with all it had (courtesy ends). */
bool nfs4_gives_way(struct nfs4_server *nfs4, uint64_t id, uint64_t now);
/* nfs4_take_all: a client goes with all it had, on disk too. False: as nfs4_drop_client(). */
bool nfs4_take_all(struct nfs4_server *nfs4, struct nfs4_client *client);
/* nfs4_note_expired: v4.0: its stateids will be NFS4ERR_EXPIRED when all is dropped. */
void nfs4_note_expired(struct nfs4_server *nfs4, const struct nfs4_client *client);
void nfs4_drop_states(struct nfs4_server *nfs4, struct nfs4_client *client);
bool nfs4_client_in_use(const struct nfs4_client *client);
void nfs4_drop_owner(struct nfs4_server *nfs4, struct nfs4_owner *owner);
struct nfs4_owner *nfs4_owner_get(struct nfs4_client *client, bool is_lock, const void *bytes,
				  uint32_t length, bool make);
/* nfs4_expire: v4.0: this stateid was taken from its client. */
void nfs4_expire(struct nfs4_server *nfs4, uint32_t index, uint32_t number);
bool nfs4_is_expired(const struct nfs4_server *nfs4, uint32_t index, uint32_t number);
void nfs4_session_id(const struct nfs4_session *session, uint8_t id[16]);
struct nfs4_session *nfs4_session_by_id(struct nfs4_server *nfs4, const uint8_t id[16]);
/* nfs4_session_leave: @conn is gone. */
void nfs4_session_leave(struct nfs4_session *session, const struct nfs_conn *conn);
static inline struct lock_table *nfs4_locks_of(const struct nfs4_server *nfs4)
{
	return nfs4->server->locks;
}
/* nfs4_owner_make: found, or made. nfs4_owner_tidy: one of v4.1 that has nothing goes. */
struct nfs4_owner *nfs4_owner_make(struct nfs4_server *nfs4, struct nfs4_client *client,
				   bool is_lock, const void *bytes, uint32_t length);
void nfs4_owner_tidy(struct nfs4_owner *owner);
/* nfs4_state_of: the owner's on an object (NULL: none). nfs4_state_free: what it holds has gone.
 * nfs4_drop_lock: a lock state goes with what it holds. */
struct nfs4_state *nfs4_state_new(struct nfs_call *call, struct nfs4_owner *owner,
				  const struct vfs_object *object);
struct nfs4_state *nfs4_state_of(const struct nfs4_owner *owner, uint64_t volume,
				 const struct vfs_object *object);
void nfs4_state_free(struct nfs4_server *nfs4, struct nfs4_state *state);
void nfs4_drop_lock(struct nfs4_server *nfs4, struct nfs4_state *state);
/* A state has changed: its stateid is the next one, and is given out. */
void nfs4_state_step(struct nfs4_state *state);
void nfs4_state_fill(const struct nfs4_server *nfs4, const struct nfs4_state *state,
		     struct nfs4_stateid *stateid);
/* nfs4_in_the_way: client @client is: @refused, or NFS4ERR_DELAY while what it had is taken away.
 */
int nfs4_in_the_way(struct nfs_call *call, uint64_t client, int refused);
/* nfs4_find_here: nfs4_find_state(), and of the current file. */
int nfs4_find_here(struct nfs_call *call, const struct nfs4_stateid *stateid, bool is_lock,
		   struct nfs4_state **ret_state);
/* The call's client and owner, with any version's errors. */
int nfs4_find_state(struct nfs_call *call, const struct nfs4_stateid *stateid,
		    struct nfs4_state **ret_state);

#endif
