/* SPDX-License-Identifier: Apache-2.0 */
/* change.c: every change that a client asks for, of any version and operation, on its way to the
 * file system. Where files are delegated it first finds out which ones the change is about. What is
 * removed or renamed by name is looked up for that, if anything is delegated; it is not marked
 * against being delegated in between, as nothing that its reader has kept becomes wrong. What a
 * CREATE makes empty is looked up, and marked, always. */
#include <errno.h>
#include <string.h>

#include "nfs/nfs4_deleg.h"

enum { OBJECT = 1, OBJECT2 = 2, NAME = 4, NAME2 = 8 };

/* Whose contents or attributes an operation changes; directories are not delegated. */
static const uint8_t changed[VFS_OP_COUNT] = {
    [VFS_SETATTR] = OBJECT,   [VFS_WRITE] = OBJECT,        [VFS_CREATE] = NAME,
    [VFS_REMOVE] = NAME,      [VFS_RENAME] = NAME,         [VFS_LINK] = OBJECT,
    [VFS_ALLOCATE] = OBJECT,  [VFS_DEALLOCATE] = OBJECT,   [VFS_CLONE] = OBJECT2,
    [VFS_XATTR_SET] = OBJECT, [VFS_XATTR_REMOVE] = OBJECT, [VFS_ACL_SET] = OBJECT,
};

static struct nfs4_server *server_of(const struct nfs_call *call)
{
	return call->conn->server->nfs4;
}

/* Marks the object. False: another client has it delegated. */
static bool claim(struct nfs_call *call, const struct vfs_object *object)
{
	struct lock_key key = {.volume = call->export->id, .object = *object};
	uint32_t *mark = &call->change.marks[call->change.count++];

	return nfs4_change_mark(server_of(call), &key, mark) ||
	       !nfs4_delegated(call->conn->server, &key, nfs4_asker(call), nfs_call_now(call));
}

void nfs_change_end(struct nfs_call *call)
{
	if (call->change.looking)
		return;
	while (call->change.count)
		nfs4_change_unmark(server_of(call), call->change.marks[--call->change.count]);
}

/* ---- by name */

static void looked_up(struct nfs_call *call, int result);

static void look_up(struct nfs_call *call, unsigned which)
{
	const struct vfs_request *wanted = (const struct vfs_request *)call->scratch->data;

	memset(&call->vfs, 0, sizeof(call->vfs));
	call->vfs.op = VFS_LOOKUP;
	call->vfs.object = which == NAME ? wanted->object : wanted->object2;
	call->vfs.name = which == NAME ? wanted->name : wanted->name2;
	call->vfs.name_length = which == NAME ? wanted->name_length : wanted->name2_length;
	call->change.looking = which;
	nfs_call_vfs_as(call, call->change.vfs, &call->credentials, looked_up);
}

/* A name that is not there, or must not be seen: the operation itself will say so. */
static void looked_up(struct nfs_call *call, int result)
{
	const struct vfs_request *wanted = (const struct vfs_request *)call->scratch->data;
	bool free = result < 0 || claim(call, &call->vfs.result_object);

	if (free && wanted->op == VFS_RENAME && call->change.looking == NAME) {
		look_up(call, NAME2);
		return;
	}
	call->change.looking = 0;
	call->vfs = *wanted;
	if (free) {
		nfs_call_vfs_as(call, call->change.vfs, &call->credentials, call->change.done);
		return;
	}
	nfs_change_end(call);
	call->change.done(call, -EINPROGRESS);
}

static bool begin_by_name(struct nfs_call *call, struct vfs *vfs,
			  void (*done)(struct nfs_call *call, int result))
{
	struct vfs_request *wanted;

	if (call->vfs.op != VFS_CREATE && !nfs4_any_delegation(server_of(call)))
		return true;
	wanted = nfs_call_scratch(call, sizeof(*wanted));
	if (!wanted) {
		done(call, -ENOBUFS);
		return false;
	}
	*wanted = call->vfs;
	call->change.vfs = vfs;
	call->change.done = done;
	look_up(call, NAME);
	return false;
}

bool nfs_change_begin(struct nfs_call *call, struct vfs *vfs,
		      void (*done)(struct nfs_call *call, int result))
{
	const struct vfs_request *request = &call->vfs;
	unsigned what = changed[request->op];

	/* A file that is there already is made empty, or left alone. */
	if (request->op == VFS_CREATE &&
	    (request->create_how != VFS_CREATE_UNCHECKED || !(request->set.mask & VFS_SET_SIZE)))
		return true;
	if (what == 0 || !call->export)
		return true;
	if (what == NAME)
		return begin_by_name(call, vfs, done);
	if (claim(call, what == OBJECT ? &request->object : &request->object2))
		return true;
	nfs_change_end(call);
	done(call, -EINPROGRESS);
	return false;
}
