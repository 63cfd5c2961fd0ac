/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_CONFIG_COPY_H
#define CORE_CONFIG_COPY_H

#include <stdint.h>

#include "core/err.h"

/* What lies beside a configuration store at PATH, named by schema version:
 *
 *   PATH.vN        as it was before a newer release migrated it; config_open_or_back() takes it
 *   PATH.vN.kept   the same, once the newer release was confirmed: for people alone
 *   PATH.newer-vN  the newer one that had to give way to a copy (.old behind it: the one before)
 *
 * Of each kind the CONFIG_COPIES highest are kept. */
#define CONFIG_COPIES 3u

enum config_copy { CONFIG_COPY, CONFIG_COPY_KEPT, CONFIG_COPY_NEWER };

/* config_copy_find: the highest version of that kind, @most at most; 0: there is none. */
int64_t config_copy_find(const char *path, enum config_copy kind, int64_t most);
/* The caller heap_free()s it; NULL: out of memory. */
char *config_copy_name(const char *path, enum config_copy kind, int64_t version);
/* As far as it can be done. */
void config_copy_prune(const char *path, enum config_copy kind);
/* config_copy_confirm: the release that migrated serves; nothing goes back by itself any more. */
int config_copy_confirm(const char *path, struct err *err);
/* config_copy_forget: all of them go, what was left of making one as well. */
int config_copy_forget(const char *path, struct err *err);
/* config_copy_sync: names in the folder of @path are durable. */
int config_copy_sync(const char *path, struct err *err);

#endif
