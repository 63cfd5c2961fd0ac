/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_CONFINE_H
#define CORE_CONFINE_H

#include <stdbool.h>

#include "core/err.h"

/* How a process gives up what it does not need, before it touches what comes from outside. In this
 * order: what needs rights is open -> confine_become -> confine_drop -> confine_calls. None of it
 * can be taken back. Context: start-up, before there are other threads. */

/* confine_become: the first user of @names (NULL ends it) that the machine has, for good, in no
 * other groups. Who is not root stays who he is. -ENOENT: none of them is there, or only as root.
 */
int confine_become(const char *const *names, struct err *err) __attribute__((warn_unused_result));

/* confine_drop: no capability stays, and no program that is started could bring one back. */
int confine_drop(struct err *err) __attribute__((warn_unused_result));

/* What confine_calls lets through. */
struct confine_calls {
	const int *calls; /* SCMP_SYS(..) of libseccomp */
	unsigned count;
	bool refused;      /* @calls are what is refused; all else is let through */
	int socket_family; /* 0: as @calls says; else socket(2) too, of this family alone */
};

/* confine_calls (confine_calls.c; who calls it links libseccomp): every other call answers EPERM.
 * Holds for threads that are started later too. */
int confine_calls(const struct confine_calls *filter, struct err *err)
    __attribute__((warn_unused_result));

#endif
