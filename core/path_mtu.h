/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_PATH_MTU_H
#define CORE_PATH_MTU_H

#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/err.h"

/* Do packets as large as an interface's MTU arrive at an address, and come back? A switch or a host
 * in between that takes smaller ones drops them in silence: sessions log in, and hang with the
 * first large write. Asked with echo requests (RFC 792; RFC 4443, 4.1) of several sizes that may
 * not be fragmented; an answer is as large as its request. Context: one thread, which waits between
 * the calls as long as it likes; none of them blocks. */
#define PATH_MTU_SIZES 12u

struct path_mtu {
	int fd, family;
	bool raw; /* else a ping socket, whose kernel fills in the header */
	uint8_t cookie[8];
	char interface[IF_NAMESIZE];
	unsigned sizes[PATH_MTU_SIZES], count; /* of packets, bytes; the first is the MTU */
	unsigned carried;                      /* the largest that was answered; 0: none */
};

/* path_mtu_open: @address without a scope. -EINVAL: it is none; -EPERM; -ENETUNREACH and others of
 * connect(): no way there. path_mtu_send: one of each size that was not answered.
 * path_mtu_receive: takes the answers that are there; true: there is nothing more to learn. */
int path_mtu_open(struct path_mtu *path, const char *address, struct err *err)
    __attribute__((warn_unused_result));
void path_mtu_send(struct path_mtu *path);
bool path_mtu_receive(struct path_mtu *path);
void path_mtu_close(struct path_mtu *path);

#endif
