/* SPDX-License-Identifier: Apache-2.0 */
#ifndef APPLIANCE_FILES_H
#define APPLIANCE_FILES_H

#include <stddef.h>

#include "core/err.h"

/* file_replace: @path holds @data or, when the power goes, what it held; durable at 0. The folder
 * is made when it is not there (its parent is). Blocking. */
int file_replace(const char *path, const char *data, size_t length, unsigned mode, struct err *err)
    __attribute__((warn_unused_result));

#endif
