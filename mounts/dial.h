/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MOUNTS_DIAL_H
#define MOUNTS_DIAL_H

#include "core/err.h"
#include "mounts/wire.h"

/* The other end of the daemon's socket, for programs of ours that run on this machine. */

/* mount_hello_init: @hello for the share POOL/NAME[@SNAPSHOT] of @what. False: it is no such name.
 */
bool mount_hello_init(struct mount_hello *hello, const char *what);
/* mount_dial: connect to the daemon of @state_dir, say @hello, hear whether it is granted. The
 * socket, blocking, is the caller's. */
int mount_dial(const char *state_dir, const struct mount_hello *hello,
	       struct mount_welcome *ret_welcome, int *ret_fd, struct err *err)
    __attribute__((warn_unused_result));

#endif
