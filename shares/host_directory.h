/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SHARES_HOST_DIRECTORY_H
#define SHARES_HOST_DIRECTORY_H

#include "shares/vfs.h"

/* A directory of this machine behind vfs.h, read-only: what is there already (a folder of images, a
 * disk to copy from). Whatever would change something is -EROFS; other programs may change it.
 *
 * What clients get is inside the directory and on its file system: symbolic links are read and
 * never followed; where something is mounted, and at a subvolume, there is nothing. An object
 * is the kernel's file handle (with its generation) and a hash of it under a key of this directory:
 * one that was made up, or given out for another directory, is -ESTALE. So is a directory that has
 * been moved out of it. A file that was is still read by who had its handle, as one that was open
 * would be; nobody finds it anew.
 *
 * vfs_attr.change is made of ctime, mtime and size, for the kernel keeps what it has better to
 * itself: two changes within one tick of its clock (4 ms at most; finer from Linux 6.13 on) that
 * leave the size alone are not told apart, and a file whose ctime goes back (the clock was set)
 * has a change attribute that does. Cookies of READDIR are the file system's own positions: as
 * stable as it keeps them, which ext4, XFS and btrfs do; tmpfs from Linux 6.6 on.
 *
 * Reading changes atime as the file system's mount options say. Rights are the mode's, or a POSIX
 * ACL's where there is one. NFSv4 ACLs and extended attributes are not offered. Needs
 * CAP_DAC_READ_SEARCH. Never served, whatever is allowed: the root of the machine, what is in
 * /proc, /sys, /dev, /run, /etc, /boot or /root or has one of them in it, and the same of what is
 * @guarded; it is looked for by what it is, so a bind mount is no way round. */
struct host_directory_options {
	/* Directories that what is served has to be in, absolute; none: nothing may be. */
	const char *const *allowed;
	unsigned allowed_count;
	/* Files and directories with secrets; those that are not there do not matter. */
	const char *const *guarded;
	unsigned guarded_count;
	/* Absolute, as it is: no "." or "..", nothing twice, without symbolic links behind the
	 * allowed one. */
	const char *path;
	const uint8_t *uuid; /* 16 bytes each, as in struct vfs */
	const uint8_t *secret;
};

/* host_directory_open: -EACCES: not allowed; -EOPNOTSUPP: its file system has no handles that fit;
 * -EPERM: no privilege to open by handle; -EINVAL: no such path. Context: any thread; it blocks. */
int host_directory_open(const struct host_directory_options *options, struct vfs **ret_vfs,
			struct err *err) __attribute__((warn_unused_result, nonnull));
/* host_directory_check_path: is it one that could be served at all, by its text? -EINVAL with a
 * sentence. Context: any; it does not block. */
int host_directory_check_path(const char *path, struct err *err)
    __attribute__((warn_unused_result, nonnull));
/* host_directory_look: does the path of @options still lead to what @vfs serves, and may that still
 * be? -ENOTUNIQ: it leads elsewhere by now, to something else that is mounted there, or made; else
 * as host_directory_open(). Context: any thread; it blocks. */
int host_directory_look(const struct vfs *vfs, const struct host_directory_options *options,
			struct err *err) __attribute__((warn_unused_result, nonnull));

#endif
