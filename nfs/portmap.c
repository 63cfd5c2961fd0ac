/* SPDX-License-Identifier: Apache-2.0 */
/* portmap.c: portmapper version 2 and rpcbind versions 3 and 4 (RFC 1833), telling where this
 * server's own programs are. Nothing can be registered or called through it. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "nfs/internal.h"

#define PROTOCOL_TCP 6u
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

	xdr_get_u32(&call->in); /* version */
	protocol = xdr_get_u32(&call->in);
	xdr_get_u32(&call->in); /* port */
	if (call->in.bad) {
		nfs_call_garbage(call);
		return;
	}
	xdr_put_u32(&call->out, program && protocol == PROTOCOL_TCP ? port_of(call, program) : 0);
	nfs_call_reply(call);
}

static void dump2(struct nfs_call *call)
{
	unsigned count;
	const struct nfs_program *const *programs = nfs_program_table(&count);

	for (unsigned i = 0; i < count; i++) {
		if (!port_of(call, programs[i]))
			continue;
		xdr_put_bool(&call->out, true);
		xdr_put_u32(&call->out, programs[i]->number);
		xdr_put_u32(&call->out, programs[i]->version);
		xdr_put_u32(&call->out, PROTOCOL_TCP);
		xdr_put_u32(&call->out, port_of(call, programs[i]));
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

static bool netid_fits(const struct nfs_call *call, const char *netid, uint32_t length)
{
	bool six = call->conn->address.family == AF_INET6;

	return (length == 3 && memcmp(netid, "tcp", 3) == 0 && !six) ||
	       (length == 4 && memcmp(netid, "tcp6", 4) == 0 && six);
}

static void get_address(struct nfs_call *call)
{
	uint32_t number = xdr_get_u32(&call->in), length, ignored;
	const struct nfs_program *program = find(number);
	const char *netid;
	char text[UADDR_MAX] = "";

	xdr_get_u32(&call->in); /* version */
	netid = (const char *)xdr_get_opaque(&call->in, TEXT_MAX, &length);
	xdr_get_opaque(&call->in, TEXT_MAX, &ignored);
	xdr_get_opaque(&call->in, TEXT_MAX, &ignored);
	if (call->in.bad) {
		nfs_call_garbage(call);
		return;
	}
	if (program && port_of(call, program) && netid_fits(call, netid, length))
		universal_address(call, port_of(call, program), text);
	xdr_put_string(&call->out, text);
	nfs_call_reply(call);
}

static void dump3(struct nfs_call *call)
{
	bool six = call->conn->address.family == AF_INET6;
	unsigned count;
	const struct nfs_program *const *programs = nfs_program_table(&count);
	char text[UADDR_MAX];

	for (unsigned i = 0; i < count; i++) {
		if (!port_of(call, programs[i]))
			continue;
		universal_address(call, port_of(call, programs[i]), text);
		xdr_put_bool(&call->out, true);
		xdr_put_u32(&call->out, programs[i]->number);
		xdr_put_u32(&call->out, programs[i]->version);
		xdr_put_string(&call->out, six ? "tcp6" : "tcp");
		xdr_put_string(&call->out, text);
		xdr_put_string(&call->out, "granary");
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
    {"NULL", null, 0},        {"SET", answer_false, 0}, {"UNSET", answer_false, 0},
    {"GETPORT", get_port, 0}, {"DUMP", dump2, 0},
};
static const struct nfs_procedure procedures4[] = {
    {"NULL", null, 0},          {"SET", answer_false, 0},
    {"UNSET", answer_false, 0}, {"GETADDR", get_address, 0},
    {"DUMP", dump3, 0},         {"CALLIT", NULL, 0},
    {"GETTIME", get_time, 0},   {"UADDR2TADDR", NULL, 0},
    {"TADDR2UADDR", NULL, 0},   {"GETVERSADDR", get_address, 0},
};

const struct nfs_program nfs_portmap2 = {
    RPC_PORTMAP,      2, procedures2, sizeof(procedures2) / sizeof(procedures2[0]), "portmapper",
    NFS_PORT_PORTMAP,
};
const struct nfs_program nfs_rpcbind3 = {RPC_PORTMAP,     3, procedures4, 9, "portmapper",
					 NFS_PORT_PORTMAP};
const struct nfs_program nfs_rpcbind4 = {RPC_PORTMAP,     4, procedures4, 10, "portmapper",
					 NFS_PORT_PORTMAP};
