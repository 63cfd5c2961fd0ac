/* SPDX-License-Identifier: Apache-2.0 */
/* nfs3_dir.c: READDIR and READDIRPLUS (RFC 1813 3.3.16, 3.3.17).
 *
 * Cookie 1 is ".", 2 is ".."; the others are the file system's own and never change, so the
 * verifier is one and the same for ever: a cookie of another server is told apart by it. */
#include <errno.h>
#include <string.h>

#include "nfs/nfs3.h"

#define COOKIE_DOT     1u
#define COOKIE_DOT_DOT 2u
#define REPLY_MAX      (128u << 10)
#define ROOM_MIN       4096u
#define ROOM_MAX       (256u << 10)

/* call->argument */
enum { COOKIE, MOST, NAMES_MOST };

static uint64_t verifier_of(const struct nfs_call *call)
{
	return call->export->id ^ 0x6772616e61727931u;
}

static bool is_plus(const struct nfs_call *call)
{
	return call->rpc.procedure == NFS3_READDIRPLUS;
}

struct listing {
	struct nfs_call *call;
	size_t start; /* of the reply's entries */
	size_t names; /* bytes of names, cookies and ids so far */
	unsigned count;
	bool full;
};

struct one {
	const char *name;
	uint32_t length;
	uint64_t fileid, cookie;
	const struct vfs_attr *attr;
	const struct vfs_object *object;
};

/* Takes the entry back when the reply would be longer than the client takes. */
static void put_entry(struct listing *listing, const struct one *one)
{
	struct nfs_call *call = listing->call;
	struct xdr_out *out = &call->out;
	size_t before = xdr_length(out);

	if (listing->full)
		return;
	xdr_put_bool(out, true);
	xdr_put_u64(out, one->fileid);
	xdr_put_opaque(out, one->name, one->length);
	xdr_put_u64(out, one->cookie);
	listing->names += xdr_length(out) - before;
	if (is_plus(call)) {
		nfs3_put_optional_attr(call, one->attr);
		nfs3_put_optional_handle(call, one->object);
	}
	if (out->full || xdr_length(out) - listing->start + 8 > call->argument[MOST] ||
	    (listing->count && listing->names > call->argument[NAMES_MOST])) {
		xdr_truncate(out, before);
		listing->full = true;
		return;
	}
	listing->count++;
}

static void put_dots(struct listing *listing)
{
	struct nfs_call *call = listing->call;
	const struct vfs_attr *own = &call->vfs.after[0];
	bool root = call->saved_attr.type == VFS_NONE;
	struct one dot = {".", 1, own->fileid, COOKIE_DOT, own, &call->vfs.object};
	struct one dot_dot = dot;

	dot_dot.name = "..";
	dot_dot.length = 2;
	dot_dot.cookie = COOKIE_DOT_DOT;
	if (!root) {
		dot_dot.fileid = call->saved_attr.fileid;
		dot_dot.attr = &call->saved_attr;
		dot_dot.object = &call->saved_object;
	}
	if (call->argument[COOKIE] < COOKIE_DOT)
		put_entry(listing, &dot);
	if (call->argument[COOKIE] < COOKIE_DOT_DOT)
		put_entry(listing, &dot_dot);
}

static void put_entries(struct listing *listing)
{
	const struct vfs_request *vfs = &listing->call->vfs;
	const uint8_t *at = vfs->data;

	for (uint32_t i = 0; i < vfs->entry_count && !listing->full; i++) {
		const struct vfs_dirent *dirent = (const struct vfs_dirent *)at;
		struct one one = {dirent->name,   dirent->name_length, dirent->fileid,
				  dirent->cookie, &dirent->attr,       &dirent->object};

		put_entry(listing, &one);
		at += dirent->next;
	}
}

static void listed(struct nfs_call *call, int result)
{
	struct listing listing = {.call = call};
	size_t begin = xdr_length(&call->out);

	if (!nfs3_good(call, result))
		return;
	nfs3_put_about(call);
	xdr_put_u64(&call->out, verifier_of(call));
	listing.start = begin;
	put_dots(&listing);
	put_entries(&listing);
	if (listing.full && listing.count == 0) {
		xdr_truncate(&call->out, begin);
		nfs3_fail(call, -ERANGE);
		return;
	}
	xdr_put_bool(&call->out, false);
	xdr_put_bool(&call->out, call->vfs.eof && !listing.full);
	nfs_call_reply(call);
}

static void list(struct nfs_call *call)
{
	uint64_t room = call->argument[MOST] * 2;
	uint64_t cookie = call->argument[COOKIE];

	room = room < ROOM_MIN ? ROOM_MIN : room > ROOM_MAX ? ROOM_MAX : room;
	call->vfs.data = nfs_call_scratch(call, room);
	call->vfs.data_room = (uint32_t)room;
	if (!call->vfs.data) {
		nfs3_fail(call, -ENOBUFS);
		return;
	}
	call->vfs.op = VFS_READDIR;
	call->vfs.cookie = cookie <= COOKIE_DOT_DOT ? VFS_COOKIE_START : cookie;
	call->vfs.flags = is_plus(call) ? VFS_WANT_ATTR : 0;
	nfs_call_vfs(call, call->export->vfs, listed);
}

static void parent_found(struct nfs_call *call, int result)
{
	if (result == 0) {
		call->saved_attr = call->vfs.result_attr;
		call->saved_object = call->vfs.result_object;
	}
	list(call);
}

static void start(struct nfs_call *call, struct nfs3_handle handle, uint64_t verifier)
{
	if (!nfs3_enter(call, handle, false, &call->vfs.object))
		return;
	if (call->argument[MOST] > REPLY_MAX)
		call->argument[MOST] = REPLY_MAX;
	if (call->argument[COOKIE] && verifier != verifier_of(call)) {
		nfs3_fail(call, -EBADE);
		return;
	}
	if (call->argument[COOKIE] >= COOKIE_DOT_DOT) {
		list(call);
		return;
	}
	call->vfs.op = VFS_LOOKUP_PARENT;
	nfs_call_vfs(call, call->export->vfs, parent_found);
}

void nfs3_readdir(struct nfs_call *call)
{
	struct nfs3_handle handle = nfs3_get_handle(&call->in);
	uint64_t verifier;

	call->argument[COOKIE] = xdr_get_u64(&call->in);
	verifier = xdr_get_u64(&call->in);
	call->argument[MOST] = xdr_get_u32(&call->in);
	call->argument[NAMES_MOST] = UINT32_MAX;
	start(call, handle, verifier);
}

void nfs3_readdirplus(struct nfs_call *call)
{
	struct nfs3_handle handle = nfs3_get_handle(&call->in);
	uint64_t verifier;

	call->argument[COOKIE] = xdr_get_u64(&call->in);
	verifier = xdr_get_u64(&call->in);
	call->argument[NAMES_MOST] = xdr_get_u32(&call->in);
	call->argument[MOST] = xdr_get_u32(&call->in);
	start(call, handle, verifier);
}
