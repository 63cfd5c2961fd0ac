/* SPDX-License-Identifier: Apache-2.0 */
#include "volumes/rbd_api.h"

#include <dlfcn.h>
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stddef.h>
#include <string.h>

struct ceph_functions ceph;

static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct err failure;

#define CEPH_ROW(name) {#name, offsetof(struct ceph_functions, name)},
static const struct {
	const char *name;
	size_t offset;
} rows[] = {CEPH_FUNCTIONS(CEPH_ROW)};
#undef CEPH_ROW

/* librbd has a buffer of its own for each transfer. Large ones go back to the system when they are
 * freed: left to itself, malloc keeps ever larger ones, on the heap of each of librbd's threads. */
#define LARGE_BYTES (512 << 10)
#define KEPT_BYTES  (4 << 20) /* free at a heap's end */

static void give_memory_back(void)
{
	mallopt(M_MMAP_THRESHOLD, LARGE_BYTES);
	mallopt(M_TRIM_THRESHOLD, KEPT_BYTES);
}

/* librbd's names come first; what it does not have is librados's. Neither is ever unloaded: their
 * threads may be running. */
static void load(void)
{
	void *rbd = dlopen("librbd.so.1", RTLD_NOW | RTLD_LOCAL);
	void *rados = rbd ? dlopen("librados.so.2", RTLD_NOW | RTLD_LOCAL) : NULL;

	if (!rbd || !rados) {
		err_set(&failure, -ELIBACC, "RBD pools need librbd1 and librados2: %s", dlerror());
		return;
	}
	for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++) {
		void *symbol = dlsym(rbd, rows[i].name);

		if (!symbol)
			symbol = dlsym(rados, rows[i].name);
		if (!symbol) {
			err_set(&failure, -ELIBACC, "this librbd is too old: it has no %s",
				rows[i].name);
			return;
		}
		memcpy((char *)&ceph + rows[i].offset, &symbol, sizeof symbol);
	}
	give_memory_back();
}

int ceph_load(struct err *err)
{
	pthread_once(&once, load);
	return failure.code ? err_set(err, failure.code, "%s", failure.text) : 0;
}
