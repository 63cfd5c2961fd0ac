/* SPDX-License-Identifier: Apache-2.0 */
#ifndef APPLIANCE_INSTALL_H
#define APPLIANCE_INSTALL_H

#include <stddef.h>
#include <stdint.h>

#include "appliance/bundle.h"
#include "appliance/grubenv.h"

/* What installing a release reads and writes. All members are required and block; 0 or -errno with
 * a sentence. granary-update gives disks (medium.c), its test a machine that loses its power. */
struct install_ops {
	/* The next @length bytes of the bundle's files. -ENODATA: it ends before. */
	int (*read_bundle)(void *context, void *data, size_t length, struct err *err);
	/* begin: the place of @file in the other slot, @size bytes from its start on, is written
	 * by write() and, after sync(), read again by read_back() from the medium itself.
	 * end: done with it; also after an error. */
	int (*begin)(void *context, enum bundle_file file, uint64_t size, struct err *err);
	int (*write)(void *context, const void *data, size_t length, struct err *err);
	int (*sync)(void *context, struct err *err);
	int (*read_back)(void *context, void *data, size_t length, struct err *err);
	int (*end)(void *context, struct err *err);
	/* The boot loader's environment block; durable when write_env() returns 0. */
	int (*read_env)(void *context, struct grubenv *ret_env, struct err *err);
	int (*write_env)(void *context, const struct grubenv *env, struct err *err);
};

/* How often a release on trial is started before the boot loader goes back. */
#define INSTALL_TRIES 3

/* install_release: @bundle's files into the slot that is not @running, and the boot loader told to
 * start it on trial. Whenever the power goes, the boot loader finds a whole release:
 *   1 env: @running, good       the slot to be written is no way out any more; and half: it is not
 *                               to be started either until 3, whoever asks for it
 *   2 each file, durable, read back, its digest the bundle's
 *   3 env: the other slot, on trial
 * Errors: -EBADMSG the bundle is damaged, -EIO the disk does not give back what was written,
 * others of @ops; the running slot is then what starts. */
int install_release(const struct install_ops *ops, void *context, const struct bundle *bundle,
		    char running, struct err *err) __attribute__((warn_unused_result));

#endif
