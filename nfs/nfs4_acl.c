/* SPDX-License-Identifier: Apache-2.0 */
/* nfs4_acl.c: ACLs on the wire (RFC 8881 6.2.1, RFC 7530 6.2.1): entries that allow and deny. Names
 * are the special ones of owner, group and everyone, or decimal ids. */
#include <stdio.h>
#include <string.h>

#include "nfs/nfs4.h"

#define ACES_ROOM  (VFS_ACES_MAX + VFS_MODE_ACES)
#define TYPE_ALARM 3u

enum {
	FLAGS_STORED = VFS_ACE_FILE_INHERIT | VFS_ACE_DIRECTORY_INHERIT | VFS_ACE_NO_PROPAGATE |
		       VFS_ACE_INHERIT_ONLY,
	FLAGS_OF_AUDIT = 0x30, /* of other types; say nothing here */
	FLAG_GROUP = 0x40,
};

static const char *const special[] = {
    [VFS_WHO_OWNER] = "OWNER@", [VFS_WHO_GROUP] = "GROUP@", [VFS_WHO_EVERYONE] = "EVERYONE@"};
#define SPECIALS 3u

static void put_ace(struct xdr_out *out, const struct vfs_ace *ace)
{
	char id[16];

	xdr_put_u32(out, ace->type == VFS_ACE_ALLOW ? 0 : 1);
	xdr_put_u32(out, ace->flags | (ace->who == VFS_WHO_GID ? FLAG_GROUP : 0));
	xdr_put_u32(out, ace->mask);
	snprintf(id, sizeof(id), "%u", ace->id);
	xdr_put_string(out, ace->who < SPECIALS ? special[ace->who] : id);
}

void nfs4_put_acl(struct xdr_out *out, const struct vfs_ace *aces, unsigned count)
{
	xdr_put_u32(out, count);
	for (unsigned i = 0; i < count; i++)
		put_ace(out, &aces[i]);
}

/* What is left of names with an @ at their end is no user, but nothing we know (RFC 8881 6.2.1.5).
 */
static int get_who(const uint8_t *name, uint32_t length, uint32_t flags, struct vfs_ace *ace)
{
	for (unsigned i = 0; i < SPECIALS; i++)
		if (length == strlen(special[i]) && memcmp(name, special[i], length) == 0) {
			ace->who = (enum vfs_ace_who)i;
			return NFS4_OK;
		}
	if (length && name[length - 1] == '@')
		return NFS4ERR_ATTRNOTSUPP;
	ace->who = flags & FLAG_GROUP ? VFS_WHO_GID : VFS_WHO_UID;
	return nfs4_get_id(name, length, &ace->id) ? NFS4_OK : NFS4ERR_BADOWNER;
}

/* What can not be kept is refused, not left out: the rest would mean something else. */
static int get_ace(struct xdr_in *in, struct vfs_ace *ace)
{
	uint32_t type = xdr_get_u32(in), flags = xdr_get_u32(in), length;
	uint32_t mask = xdr_get_u32(in);
	const uint8_t *name = xdr_get_opaque(in, 1024, &length);

	if (in->bad || type > TYPE_ALARM)
		return NFS4ERR_BADXDR;
	if (type > 1 || mask & ~(uint32_t)VFS_RIGHTS_ALL ||
	    flags & ~(uint32_t)(FLAGS_STORED | FLAGS_OF_AUDIT | FLAG_GROUP))
		return NFS4ERR_ATTRNOTSUPP;
	*ace = (struct vfs_ace){.type = type ? VFS_ACE_DENY : VFS_ACE_ALLOW,
				.flags = flags & FLAGS_STORED,
				.mask = mask};
	return get_who(name, length, flags, ace);
}

int nfs4_get_acl(struct nfs_call *call, struct xdr_in *in, struct vfs_request *ret_request)
{
	uint32_t count = xdr_get_u32(in);
	struct vfs_ace *aces;
	int status = NFS4_OK;

	if (in->bad || count > xdr_left(in) / 16)
		return NFS4ERR_BADXDR;
	if (count > VFS_ACES_MAX)
		return NFS4ERR_FBIG;
	aces = nfs_call_acl(call, ACES_ROOM * sizeof(*aces));
	if (!aces)
		return NFS4ERR_DELAY;
	for (uint32_t i = 0; i < count && status == NFS4_OK; i++)
		status = get_ace(in, &aces[i]);
	ret_request->set.mask |= VFS_SET_ACL;
	ret_request->aces = aces;
	ret_request->ace_count = count;
	return status;
}

int nfs4_submit_acl(struct nfs_call *call, void (*done)(struct nfs_call *call, int result))
{
	call->vfs.aces = nfs_call_acl(call, ACES_ROOM * sizeof(*call->vfs.aces));
	call->vfs.ace_room = ACES_ROOM;
	return call->vfs.aces ? nfs4_submit(call, VFS_ACL_GET, done) : NFS4ERR_DELAY;
}
