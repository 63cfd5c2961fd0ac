/* SPDX-License-Identifier: Apache-2.0 */
/* portmap.c: portmapper version 2 and rpcbind versions 3 and 4 (RFC 1833), telling where this
 * server's own programs are. Nothing can be registered or called through it. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "nfs/internal.h"

#define PROTOCOL_TCP 6u
#define PROTOCOL_UDP 17u
#define TEXT_MAX     256u
#define UADDR_MAX    80u

static void null(struct nfs_call *call)
{
	nfs_call_reply(call);
}

static uint16_t port_of(const struct nfs_call *call, const struct nfs_program *program)
{
	return nfs_port(call->conn->server, program->role);
}

/* 0: not over UDP. */
static uint16_t datagram_port_of(const struct nfs_call *call, const struct nfs_program *program)
{
	return program->procedures[0].flags & NFS_DATAGRAM
		   ? nfs_datagram_port(call->conn->server, program->role)
		   : 0;
}

/* The program's port; a version that is not there does not matter, as with rpcbind. */
static const struct nfs_program *find(uint32_t number)
{
	unsigned count;
	const struct nfs_program *const *programs = nfs_program_table(&count);

	for (unsigned i = 0; i < count; i++)
		if (programs[i]->number == number)
			return programs[i];
	return NULL;
}

static void answer_false(struct nfs_call *call)
{
	xdr_put_bool(&call->out, false);
	nfs_call_reply(call);
}

static void get_port(struct nfs_call *call)
{
	uint32_t number = xdr_get_u32(&call->in), protocol;
	const struct nfs_program *program = find(number);
	uint16_t port = 0;

	xdr_get_u32(&call->in); /* version */
	protocol = xdr_get_u32(&call->in);
	xdr_get_u32(&call->in); /* port */
	if (call->in.bad) {
		nfs_call_garbage(call);
		return;
	}
	if (program && protocol == PROTOCOL_TCP)
		port = port_of(call, program);
	else if (program && protocol == PROTOCOL_UDP)
		port = datagram_port_of(call, program);
	xdr_put_u32(&call->out, port);
	nfs_call_reply(call);
}

static void put_mapping(struct nfs_call *call, const struct nfs_program *program, uint32_t protocol,
			uint16_t port)
{
	if (!port)
		return;
	xdr_put_bool(&call->out, true);
	xdr_put_u32(&call->out, program->number);
	xdr_put_u32(&call->out, program->version);
	xdr_put_u32(&call->out, protocol);
	xdr_put_u32(&call->out, port);
}

static void dump2(struct nfs_call *call)
{
	unsigned count;
	const struct nfs_program *const *programs = nfs_program_table(&count);

	for (unsigned i = 0; i < count; i++) {
		put_mapping(call, programs[i], PROTOCOL_TCP, port_of(call, programs[i]));
		put_mapping(call, programs[i], PROTOCOL_UDP, datagram_port_of(call, programs[i]));
	}
	xdr_put_bool(&call->out, false);
	nfs_call_reply(call);
}

/* Universal address (RFC 5665): of the address the asker came in on. */
static void universal_address(const struct nfs_call *call, uint16_t port, char text[UADDR_MAX])
{
	struct nfs_address local;
	char plain[INET6_ADDRSTRLEN] = "0.0.0.0";

	if (nfs_address_from((const struct sockaddr *)&call->conn->local, &local))
		inet_ntop(local.family, local.bytes, plain, sizeof(plain));
	snprintf(text, UADDR_MAX, "%s.%u.%u", plain, port >> 8, port & 0xff);
}

/* The port for what is asked for, in the asker's family of addresses; 0: not there. */
static uint16_t port_by_netid(const struct nfs_call *call, const struct nfs_program *program,
			      const char *netid, uint32_t length)
{
	bool six = call->conn->address.family == AF_INET6;

	if (length != (six ? 4 : 3) || (six && netid[3] != '6'))
		return 0;
	if (memcmp(netid, "tcp", 3) == 0)
		return port_of(call, program);
	return memcmp(netid, "udp", 3) == 0 ? datagram_port_of(call, program) : 0;
}

static void get_address(struct nfs_call *call)
{
	uint32_t number = xdr_get_u32(&call->in), length, ignored;
	const struct nfs_program *program = find(number);
	const char *netid;
	char text[UADDR_MAX] = "";
	uint16_t port;

	xdr_get_u32(&call->in); /* version */
	netid = (const char *)xdr_get_opaque(&call->in, TEXT_MAX, &length);
	xdr_get_opaque(&call->in, TEXT_MAX, &ignored);
	xdr_get_opaque(&call->in, TEXT_MAX, &ignored);
	if (call->in.bad) {
		nfs_call_garbage(call);
		return;
	}
	port = program ? port_by_netid(call, program, netid, length) : 0;
	if (port)
		universal_address(call, port, text);
	xdr_put_string(&call->out, text);
	nfs_call_reply(call);
}

static void put_address(struct nfs_call *call, const struct nfs_program *program, const char *netid,
			uint16_t port)
{
	char text[UADDR_MAX];

	if (!port)
		return;
	universal_address(call, port, text);
	xdr_put_bool(&call->out, true);
	xdr_put_u32(&call->out, program->number);
	xdr_put_u32(&call->out, program->version);
	xdr_put_string(&call->out, netid);
	xdr_put_string(&call->out, text);
	xdr_put_string(&call->out, "granary");
}

static void dump3(struct nfs_call *call)
{
	bool six = call->conn->address.family == AF_INET6;
	unsigned count;
	const struct nfs_program *const *programs = nfs_program_table(&count);

	for (unsigned i = 0; i < count; i++) {
		put_address(call, programs[i], six ? "tcp6" : "tcp", port_of(call, programs[i]));
		put_address(call, programs[i], six ? "udp6" : "udp",
			    datagram_port_of(call, programs[i]));
	}
	xdr_put_bool(&call->out, false);
	nfs_call_reply(call);
}

static void get_time(struct nfs_call *call)
{
	uint64_t now = loop_wall(call->conn->io->loop) / 1000000000u;

	xdr_put_u32(&call->out, (uint32_t)now);
	nfs_call_reply(call);
}

static const struct nfs_procedure procedures2[] = {
    {"NULL", null, NFS_DATAGRAM},
    {"SET", answer_false, NFS_DATAGRAM},
    {"UNSET", answer_false, NFS_DATAGRAM},
    {"GETPORT", get_port, NFS_DATAGRAM},
    {"DUMP", dump2, 0},
};
static const struct nfs_procedure procedures4[] = {
    {"NULL", null, NFS_DATAGRAM},
    {"SET", answer_false, NFS_DATAGRAM},
    {"UNSET", answer_false, NFS_DATAGRAM},
    {"GETADDR", get_address, NFS_DATAGRAM},
    {"DUMP", dump3, 0},
    {"CALLIT", NULL, 0},
    {"GETTIME", get_time, NFS_DATAGRAM},
    {"UADDR2TADDR", NULL, 0},
    {"TADDR2UADDR", NULL, 0},
    {"GETVERSADDR", get_address, NFS_DATAGRAM},
};

const struct nfs_program nfs_portmap2 = {
    RPC_PORTMAP,      2, procedures2, sizeof(procedures2) / sizeof(procedures2[0]), "portmapper",
    NFS_PORT_PORTMAP,
};
const struct nfs_program nfs_rpcbind3 = {RPC_PORTMAP,     3, procedures4, 9, "portmapper",
					 NFS_PORT_PORTMAP};
const struct nfs_program nfs_rpcbind4 = {RPC_PORTMAP,     4, procedures4, 10, "portmapper",
					 NFS_PORT_PORTMAP};
