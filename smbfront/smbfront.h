/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SMBFRONT_SMBFRONT_H
#define SMBFRONT_SMBFRONT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "core/err.h"

/* granary-smb: shares over SMB, by Debian's Samba. It asks the daemon what is to be served, mounts
 * those shares (granary-mount), writes a configuration of its own and runs one smbd with it. What
 * the machine itself has of Samba is not touched. */

#define SMB_PORT        445
#define SMB_SHARES_MAX  64u
#define SMB_RUN_DIR     "/run/granary-smb"
#define SMB_DAEMON      "/usr/sbin/smbd"
#define SMB_REASON_MAX  200u
#define SMB_PATH_MAX    600u
#define SMB_USERS_NSS   "libnss_wrapper.so" /* Samba's users are Granary's, not the machine's */
#define SMB_GUEST       "nobody"
#define SMB_GUEST_ID    65534u
#define SMB_GUEST_GROUP "nogroup"

struct smb_options {
	const char *state_dir, *run_dir;
	const char *bind; /* NULL: everywhere */
	uint16_t port;
};
/* options.c: -1 to go on, else the exit status. */
int smb_options_read(int argc, char **argv, struct smb_options *ret_options);

/* render.c: files for smbd, as texts (heap; NULL: no memory). @served: the daemon's answer. A share
 * that nobody may use, and whatever has bytes that the daemon lets into no name, is left out. */
char *smb_render_configuration(const struct smb_options *options, const json_t *served);
char *smb_render_passwords(const json_t *served); /* smbpasswd(5) */
char *smb_render_users(const json_t *served);     /* passwd(5) */
char *smb_render_groups(const json_t *served);    /* group(5) */
/* Where a share is mounted, "" when its name is none. */
void smb_mount_path(const struct smb_options *options, const json_t *share,
		    char path[SMB_PATH_MAX]);

/* child.c: programs that end with this one. @words end with NULL, @environment too. *ret_output
 * (NULL: not wanted): what it prints. */
pid_t child_start(const char *const *words, const char *const *environment, int *ret_output,
		  struct err *err);
/* SIGTERM, and after @seconds SIGKILL; returns when it has ended. */
void child_stop(pid_t pid, unsigned seconds);

#endif
