/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ISCSI_ISCSI_H
#define ISCSI_ISCSI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "core/err.h"
#include "core/loop.h"
#include "target/target.h"

/* The iSCSI server (RFC 7143, RFC 7144): portals, logins, sessions. Connections are accepted on
 * one loop and served by one of the I/O loops, the same for all of a session: everything of a
 * session runs on that loop. Configuration calls: control loop; they take effect for logins
 * that come later and, where it says so, for running sessions. */

struct iscsi_server;
struct iscsi_target;

struct iscsi_server_options {
	struct loop *control;         /* accepts, and hears configuration changes */
	struct loop *const *io_loops; /* where connections live */
	unsigned io_loop_count;
	uint64_t login_limit_ns;  /* 0 = 15 s: a login that is not through by then is dropped */
	unsigned connections_max; /* 0 = 1024 */
};
int iscsi_server_create(const struct iscsi_server_options *options,
			struct iscsi_server **ret_server, struct err *err)
    __attribute__((warn_unused_result));
/* iscsi_server_stop: stop accepting, send asynchronous message "target requests logout" /
 * "will drop all connections" (RFC 7143 11.9.1), wait at most @grace_ns for tasks, close all;
 * then stopped(). */
void iscsi_server_stop(struct iscsi_server *server, uint64_t grace_ns,
		       void (*stopped)(void *context), void *context);
void iscsi_server_destroy(struct iscsi_server *server); /* stopped first */

/* A portal: address and port in portal group @group (1 to ISCSI_GROUP_MAX). IPv4 or IPv6. @port 0
 * picks one. Every target is reached through every portal; a portal group is a target port of it
 * (SPC-4 relative port identifier and target port group: the same number). */
#define ISCSI_GROUP_MAX 32
int iscsi_portal_open(struct iscsi_server *server, const char *address, uint16_t port,
		      uint16_t group, uint16_t *ret_port, struct err *err)
    __attribute__((warn_unused_result));
struct iscsi_portal_info {
	const char *address; /* borrowed */
	uint16_t port, group;
};
bool iscsi_portal_next(struct iscsi_server *server, unsigned index,
		       struct iscsi_portal_info *ret_info);

/* iscsi_name_check: iqn., eui. or naa. names as RFC 7143 4.2.7 / RFC 3722 has them (lower case). */
int iscsi_name_check(const char *name, struct err *err);

/* A target: without a rule nobody may log in (deny by default). */
int iscsi_target_create(struct iscsi_server *server, const char *iqn, const char *alias,
			struct iscsi_target **ret_target, struct err *err)
    __attribute__((warn_unused_result));
/* Drops its sessions, then frees; destroyed() on the control loop. */
void iscsi_target_destroy(struct iscsi_target *target, void (*destroyed)(void *context),
			  void *context);
struct iscsi_target *iscsi_target_find(struct iscsi_server *server, const char *iqn);
struct scsi_target *iscsi_target_scsi(struct iscsi_target *target);
const char *iscsi_target_name(const struct iscsi_target *target);
struct iscsi_target *iscsi_target_next(struct iscsi_server *server, struct iscsi_target *previous);

/* iscsi_target_redirect: who logs in from now on is sent to @address (RFC 7143 13.8; status 0101h,
 * moved temporarily), a portal of this server or of another; "" ends it. It is told only to those
 * whom a rule lets in, before they prove who they are; who comes in through @address itself is
 * served. Running sessions stay. Context: control loop. Errors: -EINVAL.
 * iscsi_redirect_check: HOST, IPv4 or [IPv6], with :PORT or without (3260), as it will be told. */
#define ISCSI_REDIRECT_MAX 127 /* bytes */
int iscsi_target_redirect(struct iscsi_target *target, const char *address, struct err *err)
    __attribute__((warn_unused_result));
int iscsi_redirect_check(const char *address, char ret_address[ISCSI_REDIRECT_MAX + 1],
			 struct err *err) __attribute__((warn_unused_result));

/* iscsi_target_limit_sessions: how many sessions there may be at the target, and of one initiator
 * name at it; 0: no limit of its own. A login that would be one too many is refused (status 0302h,
 * out of resources) once it has proved who it is. Counted are sessions, over all portal groups;
 * connections that join one are not, nor is discovery. The same initiator port again takes the
 * place of its session and is let in in any case. Sessions that are there stay.
 * Context: control loop. */
#define ISCSI_SESSION_LIMIT_MAX 65535u
struct iscsi_session_limits {
	unsigned target, initiator;
};
void iscsi_target_limit_sessions(struct iscsi_target *target,
				 const struct iscsi_session_limits *limits);

/* Who may log in. A login is let in by the first rule that matches its initiator name and its
 * address; a rule with a CHAP user then demands that secret. Secrets: 12..255 bytes. A mutual
 * secret must differ from the other (RFC 7143 9.2.1). */
struct iscsi_rule {
	char initiator[SCSI_NAME_MAX + 1]; /* "" or "any" = any */
	char network[64];                  /* CIDR, "" = any */
	char chap_user[256];               /* "" = no CHAP */
	uint8_t chap_secret[256];
	unsigned chap_secret_length;
	char mutual_user[256]; /* "" = initiator may not ask for mutual */
	uint8_t mutual_secret[256];
	unsigned mutual_secret_length;
};
/* iscsi_target_set_rules: replace all rules in one step; @rules is copied. Running sessions that
 * no rule lets in any more are dropped. */
int iscsi_target_set_rules(struct iscsi_target *target, const struct iscsi_rule *rules,
			   unsigned count, struct err *err) __attribute__((warn_unused_result));
int iscsi_rule_check(const struct iscsi_rule *rule, struct err *err);
/* Discovery sessions: CHAP for SendTargets; NULL = none asked. A discovery shows only the
 * targets that a rule would let the asker into. */
int iscsi_server_set_discovery_rule(struct iscsi_server *server, const struct iscsi_rule *rule,
				    struct err *err) __attribute__((warn_unused_result));
/* Which CHAP algorithms are offered (RFC 7143 12.1.4, IANA): default all. */
enum iscsi_chap {
	ISCSI_CHAP_MD5 = 1,
	ISCSI_CHAP_SHA1 = 2,
	ISCSI_CHAP_SHA256 = 4,
	ISCSI_CHAP_SHA3_256 = 8
};
void iscsi_server_set_chap(struct iscsi_server *server, unsigned algorithms);

/* iSNS (RFC 4171): the server @address, to which targets, portals and portal groups are made known
 * from now on, whenever they change. Nothing waits for it, whatever it does; a wildcard portal is
 * registered with the address that the server sees us at. @entity is what it knows us by: the same
 * every time, or it takes us for two. iscsi_isns_set replaces what is set, iscsi_isns_remove takes
 * the registration back, in the background. What is registered stays when the server stops: a
 * daemon that starts again changes nothing; else it ends with its period. Context: control loop.
 * iscsi_isns_parse: ADDR, ADDR:PORT (3205) or [IPv6]:PORT; -EINVAL. */
#define ISCSI_ISNS_ENTITY_MAX 63
struct iscsi_isns_options {
	char address[64];
	uint16_t port;
	uint16_t esi_port; /* where the server may ask whether we are there; 0: nowhere */
	char entity[ISCSI_ISNS_ENTITY_MAX + 1];
};
int iscsi_isns_parse(const char *text, struct iscsi_isns_options *options, struct err *err)
    __attribute__((warn_unused_result));
int iscsi_isns_set(struct iscsi_server *server, const struct iscsi_isns_options *options,
		   struct err *err) __attribute__((warn_unused_result));
void iscsi_isns_remove(struct iscsi_server *server);
struct iscsi_isns_info {
	struct iscsi_isns_options options;
	const char *state;         /* registered, registering, failing, nothing to register */
	const char *reason;        /* of failing; borrowed */
	unsigned targets, portals; /* that the server knows */
	unsigned period;           /* seconds without a word after which it forgets us */
	uint64_t contact_ns;       /* since 1970: its last answer; 0: none */
	uint64_t esi_answered;
};
/* false: none is set. */
bool iscsi_isns_show(struct iscsi_server *server, struct iscsi_isns_info *ret_info);

/* Sessions, live. The snapshot is gathered over the loops; listed() runs on the control loop
 * with an array that is freed after it returns. */
#define ISCSI_SESSION_CONNECTIONS_MAX 8u /* what MaxConnections is negotiated to, at most */
struct iscsi_connection_info {
	char peer[64], portal[64]; /* "address:port" */
	uint16_t cid;              /* the initiator's number for it */
	bool header_digest, data_digest;
	uint64_t seconds; /* since its login */
};
struct iscsi_session_info {
	uint64_t id;                                                  /* unique since start */
	char initiator[SCSI_NAME_MAX + 1], target[SCSI_NAME_MAX + 1]; /* target "" = discovery */
	char initiator_alias[SCSI_NAME_MAX + 1];
	char peer[64], portal[64]; /* of the oldest connection, as the digests are */
	uint8_t isid[6];
	uint16_t tsih;
	bool header_digest, data_digest, chap;
	uint64_t seconds; /* since login */
	uint64_t commands, read_bytes, write_bytes;
	unsigned max_connections, connection_count;
	struct iscsi_connection_info connections[ISCSI_SESSION_CONNECTIONS_MAX];
};
void iscsi_session_list(struct iscsi_server *server,
			void (*listed)(void *context, const struct iscsi_session_info *sessions,
				       unsigned count),
			void *context);
/* Initiators that came lately and were not let in, or were shown no target: the last
 * ISCSI_REFUSALS_MAX, in no order. False: there is no @index. An entry with a count of 0 is empty.
 * Any thread. */
#define ISCSI_REFUSALS_MAX 64u
enum iscsi_refusal_reason {
	ISCSI_REFUSED_RULE,   /* no rule lets it in */
	ISCSI_REFUSED_CHAP,   /* it could not prove who it is */
	ISCSI_REFUSED_ABSENT, /* there is no such target */
	ISCSI_REFUSED_FULL,   /* one session too many, for the target or for the initiator */
	ISCSI_REFUSED_OTHER,
	ISCSI_SHOWN_NOTHING /* discovery: no target would let it in */
};
struct iscsi_refusal {
	char initiator[SCSI_NAME_MAX + 1], target[SCSI_NAME_MAX + 1]; /* target "": discovery */
	char peer[64];                                                /* "address:port" */
	enum iscsi_refusal_reason reason;
	uint64_t at_ns, count; /* since 1970, the last time; how often since it is kept */
};
bool iscsi_refusal_get(struct iscsi_server *server, unsigned index,
		       struct iscsi_refusal *ret_refusal);
/* Drop one session with all its connections; -ENOENT if there is none. */
int iscsi_session_drop(struct iscsi_server *server, uint64_t id, struct err *err);

#endif
