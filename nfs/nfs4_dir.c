/* SPDX-License-Identifier: Apache-2.0 */
/* nfs4_dir.c: READDIR (RFC 8881 18.23). Of the root above, the exports this client may use are
 * listed, in the table's order behind cookie 2. */
#include <errno.h>
#include <string.h>

#include "nfs/nfs4.h"

#define REPLY_MAX    (128u << 10)
#define ROOM_MIN     4096u
#define ROOM_MAX     (256u << 10)
#define FIRST_COOKIE 3u
#define EMPTY_LENGTH 16u /* bytes of a listing without entries */

/* compound.numbers */
enum { COOKIE, MOST, NAMES_MOST };

struct listing {
	struct nfs_call *call;
	struct nfs4_bitmap wanted;
	size_t start, names;
	unsigned count;
	bool full;
};

static uint64_t verifier_of(const struct nfs_call *call)
{
	bool pseudo = call->compound.current.pseudo;

	return (pseudo ? call->table->generation : call->export->id) ^ 0x6772616e61727934u;
}

static void begin(struct listing *listing, struct nfs_call *call)
{
	*listing = (struct listing){.call = call, .start = xdr_length(&call->out)};
	memcpy(listing->wanted.words, call->compound.wanted, sizeof(listing->wanted.words));
	xdr_put_u64(&call->out, verifier_of(call));
}

static void put_entry(struct listing *listing, uint64_t cookie, const char *name, uint32_t length,
		      const struct nfs_export *export, const struct vfs_object *object,
		      const struct vfs_attr *attr)
{
	struct nfs_call *call = listing->call;
	size_t before = xdr_length(&call->out);

	if (listing->full)
		return;
	xdr_put_bool(&call->out, true);
	xdr_put_u64(&call->out, cookie);
	xdr_put_opaque(&call->out, name, length);
	listing->names += 8 + 4 + length;
	nfs4_put_attrs(call, &listing->wanted, export, object, attr, NULL);
	if (call->out.full ||
	    xdr_length(&call->out) - listing->start + 8 > call->compound.numbers[MOST] ||
	    (listing->count && call->compound.numbers[NAMES_MOST] &&
	     listing->names > call->compound.numbers[NAMES_MOST])) {
		xdr_truncate(&call->out, before);
		listing->full = true;
		return;
	}
	listing->count++;
}

static int end(struct listing *listing, bool eof)
{
	if (listing->full && listing->count == 0)
		return NFS4ERR_TOOSMALL;
	xdr_put_bool(&listing->call->out, false);
	xdr_put_bool(&listing->call->out, eof && !listing->full);
	return NFS4_OK;
}

static int list_exports(struct nfs_call *call)
{
	uint64_t from = call->compound.numbers[COOKIE];
	struct listing listing;
	struct vfs_attr attr;

	begin(&listing, call);
	nfs4_root_attr(call, &attr);
	for (unsigned i = 0; i < call->table->count; i++) {
		const struct nfs_export *export = &call->table->exports[i];

		if (i + FIRST_COOKIE <= from ||
		    nfs_call_enter(call, export, nfs4_version(call)) < 0)
			continue;
		attr.fileid = export->vfs->root_fileid;
		put_entry(&listing, i + FIRST_COOKIE, export->path + 1,
			  (uint32_t)strlen(export->path + 1), export, &export->vfs->root, &attr);
	}
	return end(&listing, true);
}

static void listed(struct nfs_call *call, int result)
{
	const struct vfs_request *vfs = &call->vfs;
	const uint8_t *at = vfs->data;
	struct listing listing;

	if (result < 0) {
		nfs4_done(call, nfs4_status_of(result));
		return;
	}
	begin(&listing, call);
	for (uint32_t i = 0; i < vfs->entry_count && !listing.full; i++) {
		const struct vfs_dirent *dirent = (const struct vfs_dirent *)at;

		if (dirent->attr.type != VFS_NONE)
			put_entry(&listing, dirent->cookie, dirent->name, dirent->name_length,
				  call->export, &dirent->object, &dirent->attr);
		at += dirent->next;
	}
	nfs4_done(call, end(&listing, vfs->eof));
}

static int list_directory(struct nfs_call *call)
{
	uint64_t room = call->compound.numbers[MOST] * 2;

	room = room < ROOM_MIN ? ROOM_MIN : room > ROOM_MAX ? ROOM_MAX : room;
	call->vfs.data = nfs_call_scratch(call, room);
	call->vfs.data_room = (uint32_t)room;
	if (!call->vfs.data)
		return NFS4ERR_DELAY;
	call->vfs.cookie =
	    call->compound.numbers[COOKIE] ? call->compound.numbers[COOKIE] : VFS_COOKIE_START;
	call->vfs.flags = VFS_WANT_ATTR;
	return nfs4_submit(call, VFS_READDIR, listed);
}

int nfs4_op_readdir(struct nfs_call *call)
{
	uint64_t *numbers = call->compound.numbers, verifier;
	struct nfs4_bitmap wanted;
	int status;

	numbers[COOKIE] = xdr_get_u64(&call->in);
	verifier = xdr_get_u64(&call->in);
	numbers[NAMES_MOST] = xdr_get_u32(&call->in);
	numbers[MOST] = xdr_get_u32(&call->in);
	nfs4_get_bitmap(&call->in, &wanted);
	status = call->in.bad ? NFS4ERR_BADXDR : nfs4_need_object(call, false);
	if (status == NFS4_OK && nfs4_bitmap_unreadable(&wanted))
		status = NFS4ERR_INVAL;
	if (status != NFS4_OK)
		return status;
	if (numbers[MOST] < EMPTY_LENGTH)
		return NFS4ERR_TOOSMALL;
	if (numbers[COOKIE] == 1 || numbers[COOKIE] == 2 || numbers[COOKIE] > INT64_MAX)
		return NFS4ERR_BAD_COOKIE;
	if (numbers[COOKIE] && verifier != verifier_of(call))
		return NFS4ERR_NOT_SAME;
	if (numbers[MOST] > REPLY_MAX)
		numbers[MOST] = REPLY_MAX;
	memcpy(call->compound.wanted, wanted.words, sizeof(wanted.words));
	return call->compound.current.pseudo ? list_exports(call) : list_directory(call);
}
