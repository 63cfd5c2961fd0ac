/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEBADMIN_PRESET_H
#define WEBADMIN_PRESET_H

#include "nfs/nfs.h"
#include "shares/vfs.h"

/* What a hypervisor wants to find in a share that it is given: owner and mode of the root, folders,
 * versions of NFS. Who may mount it is said with rules (share allow). */
struct share_preset {
	const char *name;
	uint32_t uid, gid, mode; /* of the root */
	unsigned versions;       /* of NFS */
	const char *folders[3];  /* one in the other; NULL ends them */
	const char *advice;      /* what to do next */
};
const struct share_preset *preset_find(const char *name); /* NULL: there is none */

/* preset_apply: make the root of a new share so; done(@result) once, later. The run is the caller's
 * until then. Context: a loop. */
struct preset_run {
	const struct share_preset *preset;
	struct vfs *vfs;
	void (*done)(struct preset_run *run, int result);
	/* private */
	struct vfs_request request;
	struct vfs_credentials root;
	unsigned folder;
};
void preset_apply(struct preset_run *run);

#endif
