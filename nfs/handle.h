/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NFS_HANDLE_H
#define NFS_HANDLE_H

#include "shares/handle.h"

/* What a file handle stands for: an object of a share (shares/handle.h), or the root above all
 * shares that NFSv4 clients start from, which is nobody's and holds nothing secret. */

enum nfs_handle_kind { NFS_HANDLE_OBJECT, NFS_HANDLE_PSEUDO_ROOT };

struct nfs_handle_content {
	enum nfs_handle_kind kind;
	struct vfs_object object;
};

#define NFS_PSEUDO_ROOT_HANDLE "\x80granary root"
#define NFS_PSEUDO_ROOT_LENGTH 13u

#endif
