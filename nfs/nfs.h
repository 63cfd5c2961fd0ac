/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NFS_NFS_H
#define NFS_NFS_H

#include <stdbool.h>
#include <stdint.h>

#include "core/err.h"
#include "core/latency.h"
#include "core/loop.h"
#include "shares/vfs.h"

/* The NFS server: ONC RPC over TCP with the programs NFS (3, 4.0, 4.1, 4.2), MOUNT (1, 3), NLM (4)
 * and NSM (1) for the locks of NFSv3, and portmapper (2, 3, 4). Connections are accepted on one
 * loop and each is served by one of the I/O loops for its whole life. Every program answers on
 * every port that is listened on. Configuration calls: control loop; they take effect for the next
 * request of every client. */

struct nfs_server;

#define NFS_PORT            2049u
#define NFS_PORTMAP_PORT    111u
#define NFS_LEASE_SECONDS   90u
#define NFS_IDENTITY        16u
#define NFS_SHARES_MAX      1024u
#define NFS_RULES_MAX       64u /* of a share */
#define NFS_PATH_MAX        255u
#define NFS_CLIENT_TEXT_MAX 253u /* the longest name of a host */
#define NFS_NAME_ADDRESSES  16u

struct nfs_server_options {
	struct loop *control;
	struct loop *const *io_loops;
	unsigned io_loop_count;
	unsigned connections_max; /* 0 = 1024 */
	/* Who this is, over restarts: what clients claim again they claim from the same server
	 * (RFC 8881 2.10.4, 2.10.5). All zeros: another one with every start. */
	uint8_t identity[NFS_IDENTITY];
	unsigned lease_seconds; /* of NFSv4's state, and of the grace period; 0 = 90 */
};
int nfs_server_create(const struct nfs_server_options *options, struct nfs_server **ret_server,
		      struct err *err) __attribute__((warn_unused_result));
/* nfs_listen: all programs on @address:@port (0 picks one), and where the same port is free for UDP
 * those of datagram.c there too. The portmapper names the first port that was listened on for NFS,
 * and @mount for MOUNT when it was opened with it. */
enum nfs_port_role { NFS_PORT_NFS = 1, NFS_PORT_MOUNT = 2, NFS_PORT_PORTMAP = 4 };
int nfs_listen(struct nfs_server *server, const char *address, uint16_t port, unsigned roles,
	       uint16_t *ret_port, struct err *err) __attribute__((warn_unused_result));
/* nfs_unlisten: close every port again; connections stay. */
void nfs_unlisten(struct nfs_server *server);
/* nfs_server_stop: stop accepting, let requests that run end, close all, export nothing; then
 * stopped(): no vfs is referenced any more. */
void nfs_server_stop(struct nfs_server *server, void (*stopped)(void *context), void *context);
void nfs_server_destroy(struct nfs_server *server); /* stopped first; NULL is fine */

/* Who may use a share, and as whom. */
enum nfs_squash { NFS_ROOT_SQUASH, NFS_ALL_SQUASH, NFS_NO_ROOT_SQUASH };
/* What a connection has to be (RFC 9289): anything, in TLS, in TLS with a certificate of the
 * client's that was checked. */
enum nfs_security { NFS_SECURITY_ANY, NFS_SECURITY_TLS, NFS_SECURITY_MTLS };
#define NFS_CERTIFICATE "cert:" /* in front of the client of a rule: a name in a certificate */
struct nfs_rule {
	char client[NFS_CLIENT_TEXT_MAX + 1]; /* address, CIDR, name of a host, "*", "cert:NAME" */
	bool read_only;
	bool insecure; /* ports above 1023 too */
	enum nfs_squash squash;
	enum nfs_security security; /* of cert:NAME: MTLS, whatever it says */
	uint32_t anon_uid, anon_gid;
};
#define NFS_ANON_ID 65534u
/* nfs_rule_check: is @rule->client understood? -EINVAL with text. */
int nfs_rule_check(const struct nfs_rule *rule, struct err *err);

enum nfs_versions {
	NFS_VERSION_3 = 1,
	NFS_VERSION_4_0 = 2,
	NFS_VERSION_4_1 = 4,
	NFS_VERSION_4_2 = 8,
	NFS_VERSIONS_ALL = 15
};
struct nfs_share {
	const char *path; /* "/NAME", one component */
	struct vfs *vfs;  /* NULL: another node serves it now, and it may come (back) to this one */
	const struct nfs_rule *rules;
	unsigned rule_count;
	unsigned versions; /* enum nfs_versions */
	uint64_t away_id;  /* without a vfs: handle_volume() of the one to come; 0: not known */
};

/* nfs_shares_set: the shares that are exported from now on, in one step; everything is copied,
 * each vfs is referenced. While one of them is away (no vfs), a handle of a share that is not here
 * is not stale: its client is told to come again (NFS3ERR_JUKEBOX, NFS4ERR_DELAY); where away_id
 * says whose handles those are, only they are not. gone(@context)
 * (NULL: nobody asks) runs on the control loop when the last request that uses what was exported
 * before has ended: then its references are given back. On failure what was exported stays
 * exported, and gone() is not called. */
int nfs_shares_set(struct nfs_server *server, const struct nfs_share *shares, unsigned count,
		   void (*gone)(void *context), void *context, struct err *err)
    __attribute__((warn_unused_result));
/* nfs_shares_in_force: what was set last is what every I/O loop goes by; until then, which is as
 * long as a loop needs to hear of it, a connection that is there may be served by what was before.
 * Context: control loop. */
bool nfs_shares_in_force(const struct nfs_server *server);

/* A client of NFSv4 that is known, and what it has. */
#define NFS_CLIENTS_MAX 2048u
struct nfs_client_info {
	uint64_t id, silent_ns; /* since it was heard of */
	char address[48];       /* it came from; name: as it calls itself, printable */
	char name[128];
	unsigned minor; /* 0: v4.0; 1: v4.1 and later */
	unsigned sessions, opens, locks, delegations;
	unsigned recalled; /* delegations that have been called back, and not returned */
	bool callable;
};
/* nfs_clients: at most @room; returns how many. Context: control loop. */
unsigned nfs_clients(struct nfs_server *server, struct nfs_client_info *infos, unsigned room);
/* nfs_client_release: takes all a client has open, locked and delegated from it: others may have
 * it. It has to make itself known anew. -ENOENT; -EBUSY: a request of its is at work right now.
 * Context: control loop. */
int nfs_client_release(struct nfs_server *server, uint64_t id) __attribute__((warn_unused_result));

/* ---- stats.c: what clients ask for, and how long it takes: from the last byte of a request, or
 * from the end of the operation before it in a COMPOUND, to its result, as the loops' clocks have
 * it. For shares and clients what only says whom the rest is about (PUTFH, SEQUENCE and the like)
 * does not count; READs and WRITEs that failed do, with the bytes that were moved. */
enum nfs_class {
	NFS_CLASS_READ, /* READ_PLUS too */
	NFS_CLASS_WRITE,
	NFS_CLASS_COMMIT,
	NFS_CLASS_OTHER,
	NFS_CLASSES
};
struct nfs_tally {
	struct latency latency[NFS_CLASSES];
	uint64_t read_bytes, write_bytes;
};
typedef void (*nfs_tally_fn)(void *context, const char *name, const struct nfs_tally *tally);
/* nfs_share_tally: of the share exported as @path, on top of *sum, since it is exported; false:
 * there is none. nfs_share_tallies: each of them, by its path. nfs_client_tallies: clients by their
 * addresses; of @address alone if not NULL; those that have been away longest are forgotten first.
 * nfs_operation_tallies: what has been asked for at least once; errors count those of clients that
 * look for what is not there, too. Context: control loop; each() may not change what is exported.
 */
#define NFS_STATS_CLIENTS_MAX 1024u
bool nfs_share_tally(const struct nfs_server *server, const char *path, struct nfs_tally *sum);
void nfs_share_tallies(const struct nfs_server *server, nfs_tally_fn each, void *context);
void nfs_client_tallies(const struct nfs_server *server, const char *address, nfs_tally_fn each,
			void *context);
struct nfs_operation_info {
	const char *version, *name; /* static; "3", "4.0", "4.1", "4.2" */
	struct latency latency;
	uint64_t errors;
};
void nfs_operation_tallies(const struct nfs_server *server,
			   void (*each)(void *context, const struct nfs_operation_info *info),
			   void *context);

/* ---- slow.c: the last NFS_SLOW_MAX requests of NFS that took longer than the limit
 * (core/latency.h), from the last byte to the answer. nfs_slow_list: the newest first, NFS_SLOW_MAX
 * at most; returns how many. Context: any. */
#define NFS_SLOW_MAX 256u
struct nfs_slow {
	uint64_t number;             /* latency_slow_number() */
	uint64_t wall_ns;            /* when it ended */
	char client[46];             /* address */
	char path[NFS_PATH_MAX + 1]; /* of the export it was about last; "": of none */
	const char *version;         /* static; "3", "4.0", "4.1", "4.2" */
	const char *operation;       /* static: the procedure, or the operation that took longest */
	char command[192];           /* the procedure, or the first operations of the COMPOUND */
	uint64_t bytes;              /* read or written */
	uint64_t total_ns, share_ns; /* share_ns: in the share, its journal and its devices */
};
unsigned nfs_slow_list(struct nfs_slow *slow, unsigned max);

/* nfs_share_door: share handle_volume() @volume may be changed past this server from now on, by a
 * local mount (@opens), or by one less of them. Nothing of it is delegated meanwhile, and what is
 * is called back. Context: control loop. */
void nfs_share_door(struct nfs_server *server, uint64_t volume, bool opens);
/* nfs_share_changed: something in @vfs has become something else past this server (a rollback, a
 * file brought back): what clients have delegated of it is called back, and not delegated again for
 * a while. NULL @server is fine. Context: control loop. */
void nfs_share_changed(struct nfs_server *server, const struct vfs *vfs);

/* nfs_tls_set: RPC-with-TLS (RFC 9289) from now on with @chain and @key, PEM, for connections to
 * come; clients' certificates are checked with @clients, of CAs or of clients, "": none is asked
 * for. -EINVAL with text. Context: control loop. */
int nfs_tls_set(struct nfs_server *server, const char *chain, const char *key, const char *clients,
		struct err *err) __attribute__((warn_unused_result));

/* nfs_tls_make: a key (P-256) and a certificate signed with it for nfs_tls_set(), for @names
 * (comma-separated, as OpenSSL's subjectAltName has them), as one PEM text. Context: any. */
int nfs_tls_make(const char *names, char **ret_pem, struct err *err)
    __attribute__((warn_unused_result));

/* nfs_explain: which rule of @rules decides about @client (an address, or cert:NAME), and why. A
 * certificate's name is the closest, then the longest prefix wins; the name of a host counts as
 * each of its addresses, "*" is the shortest. *ret_index: the
 * rule, or -1 when none matches. @server (NULL: names match nobody) knows the addresses. 0, or
 * -EINVAL for an address that is none. Context: control loop. */
int nfs_explain(const struct nfs_server *server, const struct nfs_rule *rules, unsigned count,
		const char *client, int *ret_index, struct err *err)
    __attribute__((warn_unused_result));

/* nfs_host: what the @client of a rule resolves to, if it is a name of a host: false if not.
 * @server may be NULL. Context: control loop. */
struct nfs_host {
	bool answered; /* by the resolver, at least once */
	unsigned count;
	char addresses[NFS_NAME_ADDRESSES][46];
	char trouble[128]; /* why there is no address, or no new one; "" */
};
bool nfs_host(const struct nfs_server *server, const char *client, struct nfs_host *ret_host);

/* Port of a role, 0: not open. nfs_datagram_port: over UDP. */
uint16_t nfs_port(const struct nfs_server *server, enum nfs_port_role role);
uint16_t nfs_datagram_port(const struct nfs_server *server, enum nfs_port_role role);

#endif
