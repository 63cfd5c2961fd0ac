/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NFS_NFS3_H
#define NFS_NFS3_H

#include "nfs/internal.h"

/* NFS version 3 (RFC 1813), inside. */

enum nfs3_status {
	NFS3_OK = 0,
	NFS3ERR_PERM = 1,
	NFS3ERR_NOENT = 2,
	NFS3ERR_IO = 5,
	NFS3ERR_NXIO = 6,
	NFS3ERR_ACCES = 13,
	NFS3ERR_EXIST = 17,
	NFS3ERR_XDEV = 18,
	NFS3ERR_NOTDIR = 20,
	NFS3ERR_ISDIR = 21,
	NFS3ERR_INVAL = 22,
	NFS3ERR_FBIG = 27,
	NFS3ERR_NOSPC = 28,
	NFS3ERR_ROFS = 30,
	NFS3ERR_MLINK = 31,
	NFS3ERR_NAMETOOLONG = 63,
	NFS3ERR_NOTEMPTY = 66,
	NFS3ERR_DQUOT = 69,
	NFS3ERR_STALE = 70,
	NFS3ERR_BADHANDLE = 10001,
	NFS3ERR_NOT_SYNC = 10002,
	NFS3ERR_BAD_COOKIE = 10003,
	NFS3ERR_NOTSUPP = 10004,
	NFS3ERR_TOOSMALL = 10005,
	NFS3ERR_SERVERFAULT = 10006,
	NFS3ERR_BADTYPE = 10007,
	NFS3ERR_JUKEBOX = 10008
};

#define NFS3_HANDLE_MAX 64u
#define NFS3_PATH_MAX   4096u
#define NFS3_NAME_ROOM  4096u /* names up to this are decoded, to be refused as too long */

enum nfs3_procedure {
	NFS3_NULL,
	NFS3_GETATTR,
	NFS3_SETATTR,
	NFS3_LOOKUP,
	NFS3_ACCESS,
	NFS3_READLINK,
	NFS3_READ,
	NFS3_WRITE,
	NFS3_CREATE,
	NFS3_MKDIR,
	NFS3_SYMLINK,
	NFS3_MKNOD,
	NFS3_REMOVE,
	NFS3_RMDIR,
	NFS3_RENAME,
	NFS3_LINK,
	NFS3_READDIR,
	NFS3_READDIRPLUS,
	NFS3_FSSTAT,
	NFS3_FSINFO,
	NFS3_PATHCONF,
	NFS3_COMMIT
};

/* A handle as it stands in the arguments. */
struct nfs3_handle {
	const uint8_t *bytes;
	uint32_t length;
};
struct nfs3_handle nfs3_get_handle(struct xdr_in *in);
void nfs3_get_name(struct xdr_in *in, const char **ret_name, unsigned *ret_length);
void nfs3_get_set(struct xdr_in *in, struct vfs_set *ret_set);

enum nfs3_status nfs3_status_of(int result);
void nfs3_put_attr(struct nfs_call *call, const struct vfs_attr *attr);
void nfs3_put_optional_attr(struct nfs_call *call, const struct vfs_attr *attr);
void nfs3_put_optional_handle(struct nfs_call *call, const struct vfs_object *object);
/* What stands behind the status in every result of this procedure: post_op_attr and wcc_data of
 * the objects it is about, as far as they are known. */
void nfs3_put_about(struct nfs_call *call);
/* Answer with the status of @result alone, and what is known about the objects. */
void nfs3_fail(struct nfs_call *call, int result);
/* The usual end: @result < 0 fails; true: go on behind status 0. */
bool nfs3_good(struct nfs_call *call, int result);
/* The usual beginning, when all arguments are decoded: the object of @handle to @ret_object.
 * False: the call has been answered. @changes: refused on a read-only export. */
bool nfs3_enter(struct nfs_call *call, struct nfs3_handle handle, bool changes,
		struct vfs_object *ret_object);

/* nfs3_dir.c */
void nfs3_readdir(struct nfs_call *call);
void nfs3_readdirplus(struct nfs_call *call);

#endif
