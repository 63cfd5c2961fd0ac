/* SPDX-License-Identifier: Apache-2.0 */
#include "core/world.h"

#include <errno.h>
#include <string.h>

/* Opening a loop asks the kernel for everything that world uses. */
static int probe(const struct world_ops *world, struct err *err)
{
	struct loop *loop;
	int r = loop_create(world, &loop, err);

	if (r == 0)
		loop_destroy(loop);
	return r;
}

int world_select(const char *name, const struct world_ops **ret_world, struct err *err)
{
	bool automatic = strcmp(name, "auto") == 0;
	int r;

	if (!automatic && strcmp(name, "uring") != 0 && strcmp(name, "aio") != 0)
		return err_set(err, -EINVAL, "I/O engine \"%s\" is unknown: auto, uring or aio",
			       name);
	if (strcmp(name, "aio") != 0) {
		r = probe(&world_uring, automatic ? NULL : err);
		if (r == 0) {
			*ret_world = &world_uring;
			return 0;
		}
		if (!automatic)
			return r;
	}
	r = probe(&world_aio, err);
	if (r == 0)
		*ret_world = &world_aio;
	return r;
}
