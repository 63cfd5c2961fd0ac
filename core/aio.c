/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "core/clock.h"
#include "core/disk_file.h"
#include "core/world.h"

static int aio_loop_open(struct loop *loop, struct err *err)
{
	(void)loop;
	return err_set(err, -EOPNOTSUPP, "the aio engine is not there yet");
}

const struct world_ops world_aio = {.name = "aio", .loop_open = aio_loop_open};
