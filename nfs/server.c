/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/heap.h"
#include "core/log.h"
#include "nfs/internal.h"
#include "nfs/names.h"
#include "nfs/nfs4.h"
#include "nfs/nfs4_offload.h"

static void tell_stopped(void *context)
{
	struct nfs_server *server = context;
	void (*stopped)(void *) = server->stopped;

	server->stopped = NULL;
	if (stopped)
		stopped(server->stopped_context);
}

/* Nor are calls to clients on their way: give the shares back. */
static void give_shares_back(struct nfs_server *server)
{
	struct err err = {0};

	if (nfs_shares_set(server, NULL, 0, tell_stopped, server, &err) == 0)
		return;
	log_error("NFS: %s", err.text);
	tell_stopped(server);
}

static void stop_locks(struct nfs_server *server)
{
	nlm_stop(server->nlm, give_shares_back);
}

static void stop_back(struct nfs_server *server)
{
	nfs4_back_stop(server->nfs4, stop_locks);
}

/* No connection is left. */
static void finish_stop(struct deferred *deferred)
{
	struct nfs_server *server = container_of(deferred, struct nfs_server, finish);

	nfs4_copies_stop(server->nfs4, stop_back);
}

static bool renew_table(void *context);

static int create_parts(struct nfs_server *server)
{
	unsigned count = server->options.io_loop_count;
	struct nfs_names_options names = {
	    .control = server->options.control, .changed = renew_table, .context = server};

	server->loops = heap_zalloc_array(count, sizeof(*server->loops));
	if (!server->loops || nfs_drc_create(&server->drc) < 0 ||
	    nfs_mounts_create(&server->mounts) < 0 || lock_table_create(&server->locks) < 0 ||
	    nfs_grace_create(server, server->options.lease_seconds, &server->grace) < 0 ||
	    nlm_create(server, &server->nlm) < 0 ||
	    nfs4_server_create(server, server->options.lease_seconds, &server->nfs4) < 0 ||
	    nfs_names_create(&names, &server->names) < 0 || nfs_stats_create(&server->stats) < 0 ||
	    nfs_table_create(NULL, 0, ++server->generation, NULL, &server->table, NULL) < 0)
		return -ENOMEM;
	for (unsigned i = 0; i < count; i++) {
		struct nfs_io *io = &server->loops[i];

		io->loop = server->options.io_loops[i];
		io->server = server;
		io->table = nfs_table_ref(server->table);
		io->generation = server->table->generation;
		list_init(&io->conns);
		list_init(&io->free_calls);
		io->stats = nfs_stats_of_loop();
		if (!io->stats)
			return -ENOMEM;
	}
	return 0;
}

int nfs_server_create(const struct nfs_server_options *options, struct nfs_server **ret_server,
		      struct err *err)
{
	struct nfs_server *server = heap_zalloc(sizeof(*server));

	if (!server)
		return err_set(err, -ENOMEM, "no memory for the NFS server");
	server->options = *options;
	if (!server->options.connections_max)
		server->options.connections_max = NFS_CONNECTIONS_MAX;
	if (!server->options.lease_seconds)
		server->options.lease_seconds = NFS_LEASE_SECONDS;
	list_init(&server->conns);
	deferred_init(&server->finish, finish_stop);
	server->boot_ns = loop_wall(options->control);
	if (memcmp(server->options.identity, (const uint8_t[NFS_IDENTITY]){0}, NFS_IDENTITY) == 0)
		memcpy(server->options.identity, &server->boot_ns, sizeof(server->boot_ns));
	if (create_parts(server) < 0) {
		nfs_server_destroy(server);
		return err_set(err, -ENOMEM, "no memory for the NFS server");
	}
	*ret_server = server;
	return 0;
}

void nfs_unlisten(struct nfs_server *server)
{
	for (unsigned i = 0; i < server->listener_count; i++) {
		listener_close(server->listeners[i]->listener);
		nfs_datagrams_close(server->listeners[i]->datagrams);
		heap_free(server->listeners[i]);
	}
	server->listener_count = 0;
	server->nfs_port = server->mount_port = server->portmap_port = 0;
	server->nfs_datagram_port = server->mount_datagram_port = 0;
	server->portmap_datagram_port = 0;
}

void nfs_server_destroy(struct nfs_server *server)
{
	if (!server)
		return;
	assert(list_empty(&server->conns));
	deferred_cancel(&server->finish);
	nfs_unlisten(server);
	for (unsigned i = 0; server->loops && i < server->options.io_loop_count; i++) {
		struct nfs_io *io = &server->loops[i];

		nfs_table_unref(io->table);
		for (struct list *it;
		     io->free_calls.next && (it = list_pop_front(&io->free_calls));)
			heap_free(list_entry(it, struct nfs_call, link));
		heap_free(io->stats);
	}
	nfs_table_unref(server->table);
	heap_free(server->loops);
	nfs4_server_destroy(server->nfs4);
	nlm_destroy(server->nlm);
	nfs_grace_destroy(server->grace);
	lock_table_destroy(server->locks);
	nfs_drc_destroy(server->drc);
	nfs_mounts_destroy(server->mounts);
	nfs_names_destroy(server->names);
	nfs_stats_destroy(server->stats);
	nfs_tls_unref(server->tls);
	heap_free(server);
}

/* ---- connections */

static struct nfs_io *least_loaded(struct nfs_server *server)
{
	struct nfs_io *best = &server->loops[0];

	for (unsigned i = 1; i < server->options.io_loop_count; i++)
		if (server->loops[i].load < best->load)
			best = &server->loops[i];
	return best;
}

/* A peer that is gone without a word is found out. */
static void keep_alive(int fd)
{
	int one = 1, idle = 60, interval = 10, count = 6;

	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof(interval));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof(count));
}

void nfs_conn_name(struct nfs_conn *conn)
{
	char plain[INET6_ADDRSTRLEN] = "local";

	if (conn->address.family == AF_INET || conn->address.family == AF_INET6)
		inet_ntop(conn->address.family, conn->address.bytes, plain, sizeof(plain));
	snprintf(conn->peer_text, sizeof(conn->peer_text), "%s:%u", plain, conn->address.port);
}

static struct nfs_conn *conn_new(struct nfs_server *server, int fd, const struct sockaddr *peer,
				 socklen_t peer_length)
{
	struct nfs_conn *conn = heap_zalloc(sizeof(*conn));
	socklen_t length = sizeof(conn->local);

	if (!conn)
		return NULL;
	conn->server = server;
	conn->fd = fd;
	memcpy(&conn->peer, peer,
	       peer_length < sizeof(conn->peer) ? peer_length : sizeof(conn->peer));
	nfs_address_from((struct sockaddr *)&conn->peer, &conn->address);
	if (getsockname(fd, (struct sockaddr *)&conn->local, &length) < 0)
		conn->local.ss_family = AF_UNSPEC;
	nfs_conn_name(conn);
	list_init(&conn->link);
	keep_alive(fd);
	return conn;
}

void nfs_server_accepted(struct nfs_server *server, int fd, const struct sockaddr *peer,
			 socklen_t peer_length)
{
	struct nfs_conn *conn;

	if (server->stopping || server->conn_count >= server->options.connections_max ||
	    !(conn = conn_new(server, fd, peer, peer_length))) {
		close(fd);
		return;
	}
	conn->io = least_loaded(server);
	conn->io->load++;
	server->conn_count++;
	list_push_back(&server->conns, &conn->all_link);
	nfs_stats_conn_comes(conn);
	loop_post(conn->io->loop, &conn->attach_message, nfs_conn_attach);
}

static void finish_when_quiet(struct nfs_server *server)
{
	if (server->stopping && list_empty(&server->conns) && !server->datagrams_open)
		loop_defer(server->options.control, &server->finish);
}

void nfs_server_datagrams_gone(struct nfs_server *server)
{
	server->datagrams_open--;
	finish_when_quiet(server);
}

static void gone(struct message *message)
{
	struct nfs_conn *conn = container_of(message, struct nfs_conn, message);
	struct nfs_server *server = conn->server;

	conn->gone = true;
	list_remove(&conn->all_link);
	nfs_stats_conn_goes(conn);
	server->conn_count--;
	conn->io->load--;
	/* A drop may be on its way to the loop: the memory goes behind it. */
	loop_post(conn->io->loop, &conn->message, nfs_conn_free);
	finish_when_quiet(server);
}

void nfs_server_conn_gone(struct nfs_conn *conn)
{
	loop_post(conn->server->options.control, &conn->message, gone);
}

void nfs_server_stop(struct nfs_server *server, void (*stopped)(void *context), void *context)
{
	server->stopping = true;
	server->stopped = stopped;
	server->stopped_context = context;
	nfs_unlisten(server);
	list_for_each (it, &server->conns) {
		struct nfs_conn *conn = list_entry(it, struct nfs_conn, all_link);

		if (!conn->drop_posted)
			loop_post(conn->io->loop, &conn->drop_message, nfs_conn_drop);
		conn->drop_posted = true;
	}
	finish_when_quiet(server);
}

/* ---- listening */

static void accepted(struct listener *listener, int fd, const struct sockaddr *peer,
		     socklen_t peer_length)
{
	struct nfs_listener *own = listener_context(listener);

	nfs_server_accepted(own->server, fd, peer, peer_length);
}

static const struct listener_handlers listener_handlers = {.accepted = accepted};

static void note_port(uint16_t *port, unsigned roles, enum nfs_port_role role, uint16_t value)
{
	if ((roles & role) && *port == 0)
		*port = value;
}

/* Without it everything is there over TCP all the same. */
static void listen_for_datagrams(struct nfs_listener *own)
{
	struct nfs_server *server = own->server;
	int result = nfs_datagrams_open(server, own->address, own->port, &own->datagrams);

	if (result < 0) {
		log_notice("NFS: nothing over UDP on %s port %u: %s", own->address, own->port,
			   strerror(-result));
		return;
	}
	note_port(&server->nfs_datagram_port, own->roles, NFS_PORT_NFS, own->port);
	note_port(&server->mount_datagram_port, own->roles, NFS_PORT_MOUNT, own->port);
	note_port(&server->portmap_datagram_port, own->roles, NFS_PORT_PORTMAP, own->port);
}

int nfs_listen(struct nfs_server *server, const char *address, uint16_t port, unsigned roles,
	       uint16_t *ret_port, struct err *err)
{
	struct nfs_listener *own;
	int result;

	if (server->listener_count == NFS_LISTENERS_MAX)
		return err_set(err, -ENOSPC, "more than %u NFS addresses", NFS_LISTENERS_MAX);
	own = heap_zalloc(sizeof(*own));
	if (!own)
		return err_set(err, -ENOMEM, "no memory for a listener");
	own->server = server;
	own->roles = roles;
	snprintf(own->address, sizeof(own->address), "%s", address);
	result = listener_open(server->options.control, address, port, &listener_handlers, own,
			       &own->listener, err);
	if (result < 0) {
		heap_free(own);
		return result;
	}
	own->port = listener_port(own->listener);
	server->listeners[server->listener_count++] = own;
	note_port(&server->nfs_port, roles, NFS_PORT_NFS, own->port);
	note_port(&server->mount_port, roles, NFS_PORT_MOUNT, own->port);
	note_port(&server->portmap_port, roles, NFS_PORT_PORTMAP, own->port);
	listen_for_datagrams(own);
	if (ret_port)
		*ret_port = own->port;
	return 0;
}

uint16_t nfs_port(const struct nfs_server *server, enum nfs_port_role role)
{
	if (role == NFS_PORT_MOUNT && server->mount_port)
		return server->mount_port;
	return role == NFS_PORT_PORTMAP ? server->portmap_port : server->nfs_port;
}

uint16_t nfs_datagram_port(const struct nfs_server *server, enum nfs_port_role role)
{
	if (role == NFS_PORT_MOUNT && server->mount_port)
		return server->mount_datagram_port;
	return role == NFS_PORT_PORTMAP ? server->portmap_datagram_port : server->nfs_datagram_port;
}

/* ---- exports */

struct swap {
	struct message message;
	struct nfs_io *io;
	struct nfs_table *table;
};

static void swap_table(struct message *message)
{
	struct swap *swap = container_of(message, struct swap, message);
	struct nfs_table *old = swap->io->table;

	swap->io->table = swap->table;
	__atomic_store_n(&swap->io->generation, swap->table->generation, __ATOMIC_RELEASE);
	nfs_table_unref(old);
	heap_free(swap);
}

/* One message for each loop; false: no memory. */
static struct swap **swaps_create(struct nfs_server *server)
{
	unsigned loops = server->options.io_loop_count, made = 0;
	struct swap **swaps = heap_zalloc_array(loops, sizeof(struct swap *));

	while (swaps && made < loops && (swaps[made] = heap_zalloc(sizeof(*swaps[made]))))
		made++;
	if (swaps && made == loops)
		return swaps;
	while (made > 0)
		heap_free(swaps[--made]);
	heap_free(swaps);
	return NULL;
}

/* @table is in force from here on; @swaps and the reference are used up. */
static void table_install(struct nfs_server *server, struct swap **swaps, struct nfs_table *table)
{
	struct nfs_table *old = server->table;

	table->tls = nfs_tls_ref(server->tls);
	nfs_stats_follow(server, table);
	for (unsigned i = 0; i < server->options.io_loop_count; i++) {
		swaps[i]->io = &server->loops[i];
		swaps[i]->table = nfs_table_ref(table);
		loop_post(server->loops[i].loop, &swaps[i]->message, swap_table);
	}
	heap_free(swaps);
	nfs4_forget_shares(server->nfs4, table);
	nlm_forget_shares(server->nlm, table);
	nfs_grace_set_table(server->grace, table);
	old->next = nfs_table_ref(table);
	server->table = table;
	nfs_table_unref(old);
}

bool nfs_shares_in_force(const struct nfs_server *server)
{
	for (unsigned i = 0; i < server->options.io_loop_count; i++) {
		if (__atomic_load_n(&server->loops[i].generation, __ATOMIC_ACQUIRE) !=
		    server->table->generation)
			return false;
	}
	return true;
}

int nfs_shares_set(struct nfs_server *server, const struct nfs_share *shares, unsigned count,
		   void (*gone)(void *context), void *context, struct err *err)
{
	struct swap **swaps;
	struct nfs_table *table = NULL;
	int result = nfs_names_want(server->names, shares, count, err);

	if (result == 0)
		result = nfs_table_create(shares, count, ++server->generation, server->names,
					  &table, err);
	if (result < 0)
		return result;
	swaps = swaps_create(server);
	if (!swaps) {
		nfs_table_unref(table);
		return err_set(err, -ENOMEM, "no memory for exports");
	}
	server->table->control = server->options.control;
	server->table->gone_context = context;
	server->table->gone = gone;
	table_install(server, swaps, table);
	nfs_names_settle(server->names);
	return 0;
}

/* A host of a rule has other addresses. */
static bool renew_table(void *context)
{
	struct nfs_server *server = context;
	struct nfs_table *table = NULL;
	struct swap **swaps;
	struct err err = {0};

	if (server->stopping)
		return true;
	if (nfs_table_renew(server->table, ++server->generation, server->names, &table, &err) < 0) {
		log_error("NFS: new addresses of hosts are not in force: %s", err.text);
		return false;
	}
	swaps = swaps_create(server);
	if (!swaps) {
		nfs_table_unref(table);
		log_error("NFS: new addresses of hosts are not in force: no memory");
		return false;
	}
	table_install(server, swaps, table);
	return true;
}

int nfs_tls_set(struct nfs_server *server, const char *chain, const char *key, const char *clients,
		struct err *err)
{
	struct nfs_tls *fresh, *before = server->tls;
	int result = nfs_tls_create(chain, key, clients, &fresh, err);

	if (result < 0)
		return result;
	server->tls = fresh;
	if (!renew_table(server)) {
		server->tls = before;
		nfs_tls_unref(fresh);
		return err_set(err, -ENOMEM, "no memory for exports");
	}
	nfs_tls_unref(before);
	return 0;
}

int nfs_explain(const struct nfs_server *server, const struct nfs_rule *rules, unsigned count,
		const char *client, int *ret_index, struct err *err)
{
	return nfs_rules_explain(server ? server->names : NULL, rules, count, client, ret_index,
				 err);
}

bool nfs_host(const struct nfs_server *server, const char *client, struct nfs_host *ret_host)
{
	return nfs_host_show(server ? server->names : NULL, client, ret_host);
}
