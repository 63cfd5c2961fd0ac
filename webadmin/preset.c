/* SPDX-License-Identifier: Apache-2.0 */
#include "webadmin/preset.h"

#include <string.h>

#include "core/list.h"

static const struct share_preset presets[] = {
    {"iso", 0, 0, 0755, NFS_VERSIONS_ALL, {NULL}, "fill it with: granary share iso add"},
    {"xenserver",
     0,
     0,
     0755,
     NFS_VERSIONS_ALL,
     {NULL},
     "hosts need root: granary share allow ... --no-root-squash"},
    {"ovirt",
     36, /* vdsm */
     36, /* kvm */
     0755,
     NFS_VERSIONS_ALL,
     {NULL},
     "let the hosts in with: granary share allow"},
    {"proxmox",
     0,
     0,
     0755,
     NFS_VERSIONS_ALL,
     {"template", "iso"},
     "hosts need root: granary share allow ... --no-root-squash"},
    {"esxi",
     0,
     0,
     0755,
     NFS_VERSION_3, /* or 4.1, never both: their locks do not see each other */
     {NULL},
     "hosts need root: granary share allow ... --no-root-squash"},
};

const struct share_preset *preset_find(const char *name)
{
	for (unsigned i = 0; i < sizeof presets / sizeof *presets; i++)
		if (strcmp(presets[i].name, name) == 0)
			return &presets[i];
	return NULL;
}

static void next_folder(struct preset_run *run, const struct vfs_object *parent);

static void end(struct preset_run *run, int result)
{
	vfs_unref(run->vfs);
	run->done(run, result);
}

static void folder_made(struct vfs_request *request, int result)
{
	struct preset_run *run = container_of(request, struct preset_run, request);
	struct vfs_object made = request->result_object;

	if (result < 0)
		end(run, result);
	else
		next_folder(run, &made);
}

static void next_folder(struct preset_run *run, const struct vfs_object *parent)
{
	const char *name = run->preset->folders[run->folder++];

	if (!name) {
		end(run, 0);
		return;
	}
	run->request = (struct vfs_request){
	    .op = VFS_CREATE,
	    .credentials = &run->root,
	    .object = *parent,
	    .name = name,
	    .name_length = (unsigned)strlen(name),
	    .type = VFS_DIRECTORY,
	    .create_how = VFS_CREATE_GUARDED,
	    .set = {.mask = VFS_SET_MODE, .mode = 0755},
	    .done = folder_made,
	};
	vfs_submit(run->vfs, &run->request);
}

static void root_set(struct vfs_request *request, int result)
{
	struct preset_run *run = container_of(request, struct preset_run, request);

	if (result < 0)
		end(run, result);
	else
		next_folder(run, &run->vfs->root);
}

void preset_apply(struct preset_run *run)
{
	const struct share_preset *preset = run->preset;

	vfs_ref(run->vfs); /* between its requests, too */
	run->folder = 0;
	run->root = (struct vfs_credentials){0};
	run->request = (struct vfs_request){
	    .op = VFS_SETATTR,
	    .credentials = &run->root,
	    .object = run->vfs->root,
	    .set = {.mask = VFS_SET_UID | VFS_SET_GID | VFS_SET_MODE,
		    .uid = preset->uid,
		    .gid = preset->gid,
		    .mode = preset->mode},
	    .done = root_set,
	};
	vfs_submit(run->vfs, &run->request);
}
