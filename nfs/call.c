/* SPDX-License-Identifier: Apache-2.0 */
/* call.c: one RPC: who asks, what for, and the way of the answer back. */
#include <errno.h>
#include <string.h>

#include "core/heap.h"
#include "core/log.h"
#include "nfs/internal.h"
#include "nfs/nfs4.h"

/* Every program answers on every port. */
static const struct nfs_program *const programs[] = {
    &nfs_nfs3,     &nfs_nfs4, &nfs_mount3, &nfs_mount1,  &nfs_portmap2, &nfs_rpcbind3,
    &nfs_rpcbind4, &nfs_nlm4, &nfs_nsm1,   &nfs_rquota1, &nfs_rquota2,
};
#define PROGRAM_COUNT (sizeof(programs) / sizeof(programs[0]))

const struct nfs_program *const *nfs_program_table(unsigned *ret_count)
{
	*ret_count = PROGRAM_COUNT;
	return programs;
}

/* ---- memory */

static bool grow_reply(struct xdr_out *out, size_t need)
{
	struct nfs_call *call = container_of(out, struct nfs_call, out);
	size_t length = xdr_length(out), want = (length + need) * 2;
	struct buf *bigger;

	if (length + need > BUF_MAX)
		return false;
	bigger = buf_get(loop_buffers(call->conn->io->loop), want < BUF_MAX ? want : BUF_MAX);
	if (!bigger)
		return false;
	memcpy(bigger->data, out->base, length);
	out->base = bigger->data;
	out->at = out->base + length;
	out->end = out->base + bigger->size;
	buf_unref(call->reply_buf);
	call->reply_buf = bigger;
	nfs_conn_charge(call->conn, call, bigger->size);
	return true;
}

struct nfs_call *nfs_call_create(struct nfs_conn *conn)
{
	struct nfs_io *io = conn->io;
	struct list *free_one = list_pop_front(&io->free_calls);
	struct nfs_call *call;

	if (free_one) {
		call = list_entry(free_one, struct nfs_call, link);
		io->free_count--;
		memset(call, 0, offsetof(struct nfs_call, small_record));
	} else {
		call = heap_zalloc(sizeof(*call));
		if (!call)
			return NULL;
	}
	call->conn = conn;
	list_init(&call->link);
	call->record = call->small_record;
	call->record_room = sizeof(call->small_record);
	xdr_out_init(&call->out, call->small_reply, sizeof(call->small_reply));
	call->out.grow = grow_reply;
	return call;
}

void nfs_call_free(struct nfs_io *io, struct nfs_call *call)
{
	nfs_call_forget(call);
	nfs4_slot_release(call);
	nfs_table_unref(call->table);
	buf_unref(call->record_buf);
	buf_unref(call->payload);
	buf_unref(call->reply_buf);
	buf_unref(call->data);
	buf_unref(call->scratch);
	buf_unref(call->acl);
	heap_free(call->record_heap);
	call->conn->bytes -= call->charged;
	io->bytes -= call->charged;
	if (io->free_count >= NFS_FREE_CALLS) {
		heap_free(call);
		return;
	}
	list_push_front(&io->free_calls, &call->link);
	io->free_count++;
}

static struct buf *record_buf(struct nfs_conn *conn, size_t size)
{
	struct buf *spare = conn->spare;

	if (!spare || spare->size < size)
		return buf_get(loop_buffers(conn->io->loop), size);
	conn->spare = NULL;
	return spare;
}

/* A record that grows has a buffer already, so it is not to wait for a larger one. */
bool nfs_call_reserve(struct nfs_call *call, size_t length)
{
	struct buf *buf = NULL;
	void *heap = NULL;
	size_t want = call->record_length ? length * 2 : length;

	if (length <= call->record_room)
		return true;
	if (length <= BUF_MAX)
		buf = record_buf(call->conn, want < BUF_MAX ? want : BUF_MAX);
	if (!buf && (length > BUF_MAX || call->record_length))
		heap = heap_alloc(NFS_RECORD_MAX);
	if (!buf && !heap)
		return false;
	memcpy(buf ? buf->data : heap, call->record, call->record_length);
	buf_unref(call->record_buf);
	heap_free(call->record_heap);
	call->record_buf = buf;
	call->record_heap = heap;
	call->record = buf ? buf->data : heap;
	call->record_room = buf ? buf->size : NFS_RECORD_MAX;
	return true;
}

static void *take(struct nfs_call *call, struct buf **buf, size_t size)
{
	buf_unref(*buf);
	*buf = size <= BUF_MAX ? buf_get(loop_buffers(call->conn->io->loop), size) : NULL;
	if (!*buf)
		return NULL;
	nfs_conn_charge(call->conn, call, (*buf)->size);
	return (*buf)->data;
}

void *nfs_call_scratch(struct nfs_call *call, size_t size)
{
	return take(call, &call->scratch, size);
}

void *nfs_call_acl(struct nfs_call *call, size_t size)
{
	return take(call, &call->acl, size);
}

/* ---- answers */

size_t nfs_call_reply_length(const struct nfs_call *call)
{
	size_t length = xdr_length(&call->out) - RPC_MARK_LENGTH;

	return call->data ? length + call->data_length + xdr_padding(call->data_length) : length;
}

static void send_reply(struct nfs_call *call)
{
	struct xdr_out *out = &call->out;
	size_t length = xdr_length(out), first = call->data ? call->data_at : length;
	uint32_t padding = call->data ? xdr_padding(call->data_length) : 0;

	xdr_patch_u32(out, 0, RPC_MARK_LAST | (uint32_t)nfs_call_reply_length(call));
	call->send.iov[0] = (struct iovec){out->base, first};
	if (call->data) {
		call->send.iov[1] = (struct iovec){call->data->data, call->data_length};
		call->send.iov[2] = (struct iovec){call->padding, padding};
		call->send.iov[3] = (struct iovec){out->base + first, length - first};
	}
	nfs_conn_send(call->conn, call);
}

static void restart_reply(struct nfs_call *call)
{
	buf_unref(call->data);
	call->data = NULL;
	call->data_at = 0;
	xdr_truncate(&call->out, RPC_MARK_LENGTH);
}

/* Procedures of NFSv3 have their status in front of all else; NULL has none. */
static bool is_error(const struct nfs_call *call)
{
	struct xdr_in results;

	if (call->out.full)
		return true;
	xdr_in_init(&results, call->out.base, xdr_length(&call->out));
	xdr_get_fixed(&results, RPC_MARK_LENGTH + RPC_REPLY_LENGTH);
	return xdr_get_u32(&results) != 0;
}

static bool is_nfs3(const struct nfs_call *call)
{
	return call->rpc.program == nfs_nfs3.number && call->rpc.version == nfs_nfs3.version;
}

void nfs_call_reply(struct nfs_call *call)
{
	if (is_nfs3(call))
		nfs_stats_end(call, NFS_STATS_3, call->rpc.procedure, call->export, is_error(call));
	nfs_slow_ends(call);
	if (call->out.full) {
		restart_reply(call);
		rpc_put_accepted(&call->out, call->rpc.xid, RPC_SYSTEM_ERR);
	} else if (call->cached) {
		nfs_drc_answer(call->conn->server->drc, call->cached,
			       call->out.base + RPC_MARK_LENGTH,
			       xdr_length(&call->out) - RPC_MARK_LENGTH);
		call->cached = NULL;
	}
	send_reply(call);
}

void nfs_call_garbage(struct nfs_call *call)
{
	restart_reply(call);
	rpc_put_accepted(&call->out, call->rpc.xid, RPC_GARBAGE_ARGS);
	send_reply(call);
}

void nfs_call_too_weak(struct nfs_call *call)
{
	nfs_call_forget(call);
	restart_reply(call);
	rpc_put_auth_error(&call->out, call->rpc.xid, RPC_AUTH_TOOWEAK);
	send_reply(call);
}

void nfs_call_drop(struct nfs_call *call)
{
	nfs_conn_call_end(call->conn, call);
}

void nfs_call_put_data(struct nfs_call *call, struct buf *data, uint32_t length)
{
	call->moved += length;
	xdr_put_u32(&call->out, length);
	if (call->data) { /* one is sent in place, more are copied */
		xdr_put_fixed(&call->out, data->data, length);
		buf_unref(data);
		return;
	}
	call->data = data;
	call->data_length = length;
	call->data_at = xdr_length(&call->out);
}

/* ---- the file system */

static void vfs_done(struct vfs_request *request, int result)
{
	struct nfs_call *call = container_of(request, struct nfs_call, vfs);

	call->slow.share_ns += nfs_call_now(call) - call->slow.submitted_ns;
	nfs_change_end(call);
	call->done(call, result);
}

void nfs_call_vfs_as(struct nfs_call *call, struct vfs *vfs,
		     const struct vfs_credentials *credentials,
		     void (*done)(struct nfs_call *call, int result))
{
	call->vfs.credentials = credentials;
	call->vfs.done = vfs_done;
	call->done = done;
	call->slow.submitted_ns = nfs_call_now(call);
	vfs_submit(vfs, &call->vfs);
}

void nfs_call_vfs(struct nfs_call *call, struct vfs *vfs,
		  void (*done)(struct nfs_call *call, int result))
{
	if (nfs_change_begin(call, vfs, done))
		nfs_call_vfs_as(call, vfs, &call->credentials, done);
}

/* ---- who asks */

static uint32_t squash_group(const struct nfs_rule *rule, uint32_t gid)
{
	return rule->squash == NFS_ROOT_SQUASH && gid == 0 ? rule->anon_gid : gid;
}

static void take_identity(struct nfs_call *call, const struct nfs_rule *rule)
{
	const struct rpc_header *rpc = &call->rpc;
	bool nobody = rpc->flavor == RPC_AUTH_NONE || rule->squash == NFS_ALL_SQUASH;

	call->credentials.groups = call->groups;
	if (nobody || (rule->squash == NFS_ROOT_SQUASH && rpc->uid == 0)) {
		call->credentials.uid = rule->anon_uid;
		call->credentials.gid = rule->anon_gid;
		call->credentials.group_count = 0;
		return;
	}
	call->credentials.uid = rpc->uid;
	call->credentials.gid = squash_group(rule, rpc->gid);
	call->credentials.group_count = rpc->group_count;
	for (uint32_t i = 0; i < rpc->group_count; i++)
		call->groups[i] = squash_group(rule, rpc->groups[i]);
}

/* Once a connection: it asks with each of its calls. */
static void say_too_weak(struct nfs_conn *conn, const struct nfs_export *export,
			 const struct nfs_rule *rule)
{
	if (conn->refusal_said)
		return;
	conn->refusal_said = true;
	log_notice("NFS client %s: refused on %s: the rule for %s is for connections in TLS%s",
		   conn->peer_text, export->path, rule->client,
		   rule->security == NFS_SECURITY_MTLS ? " with a certificate that was checked"
						       : "");
}

static bool is_too_weak(const struct nfs_conn *conn, const struct nfs_rule *rule)
{
	if (rule->security == NFS_SECURITY_ANY)
		return false;
	return !conn->peer_tls || (rule->security == NFS_SECURITY_MTLS && !conn->peer_tls->proved);
}

int nfs_call_enter(struct nfs_call *call, const struct nfs_export *export, unsigned version)
{
	const struct nfs_rule *rule;
	bool whole;

	if (!(export->versions & version))
		return -EACCES;
	rule = nfs_export_rule(export, &call->conn->address, call->conn->peer_tls, &whole);
	if (export->unsettled && !whole)
		return -ECANCELED; /* it may be the host that is being looked up */
	if (!rule)
		return -EACCES;
	if (is_too_weak(call->conn, rule)) {
		say_too_weak(call->conn, export, rule);
		return -ENOKEY;
	}
	if (!rule->insecure && call->conn->address.port >= 1024)
		return -EPERM;
	call->export = export;
	call->rule = rule;
	take_identity(call, rule);
	return 0;
}

int nfs_call_handle(struct nfs_call *call, const void *handle, uint32_t length, unsigned version,
		    struct nfs_handle_content *ret_content)
{
	const struct nfs_export *export;
	struct handle_parts parts;

	ret_content->kind = NFS_HANDLE_OBJECT;
	if (length == 0)
		return -EBADF;
	if (length == NFS_PSEUDO_ROOT_LENGTH &&
	    memcmp(handle, NFS_PSEUDO_ROOT_HANDLE, length) == 0) {
		ret_content->kind = NFS_HANDLE_PSEUDO_ROOT;
		return 0;
	}
	if (((const uint8_t *)handle)[0] != HANDLE_VERSION || length > HANDLE_MAX)
		return -EBADF; /* none of ours, of any time */
	if (handle_peek(handle, length, &parts) < 0)
		return -ESTALE;
	export = nfs_table_by_id(call->table, parts.volume);
	if (!export && nfs_table_is_away(call->table, parts.volume))
		return -ECANCELED; /* come again */
	if (!export || parts.flags || parts.snapshot ||
	    handle_check(export->vfs, handle, length) < 0)
		return -ESTALE;
	ret_content->object = parts.object;
	return nfs_call_enter(call, export, version);
}

void nfs_call_make_handle(struct nfs_call *call, const struct vfs_object *object,
			  struct handle *ret_handle)
{
	struct handle_parts parts = {.volume = call->export->id, .object = *object};

	handle_encode(call->export->vfs, &parts, ret_handle);
}

/* ---- dispatch */

static const struct nfs_program *find_program(struct nfs_call *call)
{
	uint32_t low = UINT32_MAX, high = 0;

	for (unsigned i = 0; i < PROGRAM_COUNT; i++) {
		if (programs[i]->number != call->rpc.program)
			continue;
		if (programs[i]->version == call->rpc.version)
			return programs[i];
		low = programs[i]->version < low ? programs[i]->version : low;
		high = programs[i]->version > high ? programs[i]->version : high;
	}
	if (high)
		rpc_put_program_mismatch(&call->out, call->rpc.xid, low, high);
	else
		rpc_put_accepted(&call->out, call->rpc.xid, RPC_PROG_UNAVAIL);
	return NULL;
}

static const struct nfs_procedure *find_procedure(struct nfs_call *call)
{
	const struct nfs_program *program;
	const struct rpc_header *rpc = &call->rpc;

	if (rpc->rpc_version != RPC_VERSION) {
		rpc_put_version_mismatch(&call->out, rpc->xid);
		return NULL;
	}
	if (rpc->auth != RPC_AUTH_OK) {
		rpc_put_auth_error(&call->out, rpc->xid, rpc->auth);
		return NULL;
	}
	program = find_program(call);
	if (program && call->conn->datagram && !(program->procedures[0].flags & NFS_DATAGRAM)) {
		rpc_put_accepted(&call->out, rpc->xid, RPC_PROG_UNAVAIL);
		return NULL;
	}
	if (!program)
		return NULL;
	if (rpc->procedure >= program->count || !program->procedures[rpc->procedure].run ||
	    (call->conn->datagram && !(program->procedures[rpc->procedure].flags & NFS_DATAGRAM))) {
		rpc_put_accepted(&call->out, rpc->xid, RPC_PROC_UNAVAIL);
		return NULL;
	}
	return &program->procedures[rpc->procedure];
}

void nfs_call_forget(struct nfs_call *call)
{
	if (call->cached)
		nfs_drc_forget(call->conn->server->drc, call->cached);
	call->cached = NULL;
}

bool nfs_call_is_duplicate(struct nfs_call *call)
{
	switch (nfs_drc_look(call->conn->server->drc, call, &call->out, &call->cached)) {
	case NFS_DRC_RUNNING:
		nfs_call_drop(call); /* the first one will answer */
		return true;
	case NFS_DRC_ANSWERED:
		send_reply(call);
		return true;
	default:
		return false;
	}
}

/* What a client answers when we have called it. */
static bool is_reply(const struct nfs_call *call)
{
	struct xdr_in in;

	if (!call->conn->back_bound || call->payload)
		return false;
	xdr_in_init(&in, call->record, call->record_length);
	xdr_get_u32(&in);
	return xdr_get_u32(&in) == RPC_REPLY;
}

/* From here on the connection is TLS's, whatever comes behind the call. It is for one on which
 * nothing else is under way: an answer to that would be neither before nor behind. */
static void start_tls(struct nfs_call *call)
{
	struct nfs_conn *conn = call->conn;
	struct nfs_tls *tls = conn->io->table->tls;
	struct nfs_secure *secure;

	if (call->rpc.procedure != 0 || !tls || conn->datagram || conn->secure ||
	    conn->call_count != 1 || conn->back_bound) {
		rpc_put_auth_error(&call->out, call->rpc.xid, RPC_AUTH_BADCRED);
		send_reply(call);
		return;
	}
	if (nfs_secure_create(conn, tls, &secure) < 0) {
		rpc_put_accepted(&call->out, call->rpc.xid, RPC_SYSTEM_ERR);
		send_reply(call);
		return;
	}
	rpc_put_starttls(&call->out, call->rpc.xid);
	send_reply(call);
	conn->secure = secure;
	conn->shaking_ns = loop_now(conn->io->loop);
}

void nfs_call_start(struct nfs_call *call)
{
	struct nfs_conn *conn = call->conn;
	const struct nfs_procedure *procedure;

	if (is_reply(call)) {
		nfs4_back_answer(conn, call->record, call->record_length);
		nfs_call_drop(call);
		return;
	}
	call->begun_ns = call->slow.arrived_ns = nfs_call_now(call);
	xdr_in_init(&call->in, call->record, call->record_length);
	if (call->payload)
		xdr_in_set_payload(&call->in, call->payload_at, call->payload->data,
				   call->payload_length);
	if (rpc_header_decode(&call->in, &call->rpc) < 0) {
		nfs_conn_fail(conn, "what came is no RPC call");
		nfs_call_drop(call);
		return;
	}
	xdr_put_room(&call->out, RPC_MARK_LENGTH);
	procedure = find_procedure(call);
	if (!procedure) {
		send_reply(call);
		return;
	}
	if (call->rpc.flavor == RPC_AUTH_TLS) {
		start_tls(call);
		return;
	}
	if ((procedure->flags & NFS_CACHE_REPLY) && nfs_call_is_duplicate(call))
		return;
	call->table = nfs_table_ref(conn->io->table);
	rpc_put_accepted(&call->out, call->rpc.xid, RPC_SUCCESS);
	procedure->run(call);
}
