/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VOLUMES_RBD_API_H
#define VOLUMES_RBD_API_H

#include <rados/librados.h>
#include <rbd/librbd.h>

#include "core/err.h"

/* librbd and librados, loaded when the first RBD pool is opened: thirty libraries and 19 MiB that
 * a machine without such a pool never maps. The functions are members of ceph by their own
 * names: ceph.rbd_open(...). */
#define CEPH_FUNCTIONS(FUNCTION)                                                                   \
	FUNCTION(rados_create2)                                                                    \
	FUNCTION(rados_conf_read_file)                                                             \
	FUNCTION(rados_conf_set)                                                                   \
	FUNCTION(rados_getaddrs)                                                                   \
	FUNCTION(rados_connect)                                                                    \
	FUNCTION(rados_shutdown)                                                                   \
	FUNCTION(rados_ioctx_create)                                                               \
	FUNCTION(rados_ioctx_destroy)                                                              \
	FUNCTION(rados_ioctx_set_namespace)                                                        \
	FUNCTION(rados_set_pool_full_try)                                                          \
	FUNCTION(rados_mon_command)                                                                \
	FUNCTION(rados_buffer_free)                                                                \
	FUNCTION(rados_create_write_op)                                                            \
	FUNCTION(rados_release_write_op)                                                           \
	FUNCTION(rados_write_op_create)                                                            \
	FUNCTION(rados_write_op_omap_rm_keys2)                                                     \
	FUNCTION(rados_write_op_omap_cmp2)                                                         \
	FUNCTION(rados_write_op_omap_set2)                                                         \
	FUNCTION(rados_write_op_operate)                                                           \
	FUNCTION(rados_create_read_op)                                                             \
	FUNCTION(rados_release_read_op)                                                            \
	FUNCTION(rados_read_op_omap_get_vals_by_keys2)                                             \
	FUNCTION(rados_read_op_operate)                                                            \
	FUNCTION(rados_omap_get_next2)                                                             \
	FUNCTION(rados_omap_get_end)                                                               \
	FUNCTION(rados_remove)                                                                     \
	FUNCTION(rbd_image_options_create)                                                         \
	FUNCTION(rbd_image_options_destroy)                                                        \
	FUNCTION(rbd_image_options_set_uint64)                                                     \
	FUNCTION(rbd_namespace_exists)                                                             \
	FUNCTION(rbd_list2)                                                                        \
	FUNCTION(rbd_image_spec_list_cleanup)                                                      \
	FUNCTION(rbd_create4)                                                                      \
	FUNCTION(rbd_remove)                                                                       \
	FUNCTION(rbd_rename)                                                                       \
	FUNCTION(rbd_open)                                                                         \
	FUNCTION(rbd_close)                                                                        \
	FUNCTION(rbd_resize2)                                                                      \
	FUNCTION(rbd_stat)                                                                         \
	FUNCTION(rbd_get_size)                                                                     \
	FUNCTION(rbd_open_read_only)                                                               \
	FUNCTION(rbd_snap_list)                                                                    \
	FUNCTION(rbd_snap_list_end)                                                                \
	FUNCTION(rbd_snap_exists)                                                                  \
	FUNCTION(rbd_snap_create)                                                                  \
	FUNCTION(rbd_snap_remove)                                                                  \
	FUNCTION(rbd_snap_rename)                                                                  \
	FUNCTION(rbd_snap_protect)                                                                 \
	FUNCTION(rbd_snap_unprotect)                                                               \
	FUNCTION(rbd_snap_rollback)                                                                \
	FUNCTION(rbd_clone3)                                                                       \
	FUNCTION(rbd_flatten)                                                                      \
	FUNCTION(rbd_metadata_remove)                                                              \
	FUNCTION(rbd_get_id)                                                                       \
	FUNCTION(rbd_metadata_get)                                                                 \
	FUNCTION(rbd_metadata_set)                                                                 \
	FUNCTION(rbd_lock_get_owners)                                                              \
	FUNCTION(rbd_lock_get_owners_cleanup)                                                      \
	FUNCTION(rbd_watchers_list)                                                                \
	FUNCTION(rbd_watchers_list_cleanup)                                                        \
	FUNCTION(rbd_lock_break)                                                                   \
	FUNCTION(rbd_lock_acquire)                                                                 \
	FUNCTION(rbd_lock_release)                                                                 \
	FUNCTION(rbd_is_exclusive_lock_owner)                                                      \
	FUNCTION(rados_read_op_omap_get_vals2)                                                     \
	FUNCTION(rbd_diff_iterate2)                                                                \
	FUNCTION(rbd_update_watch)                                                                 \
	FUNCTION(rbd_update_unwatch)                                                               \
	FUNCTION(rbd_flush)                                                                        \
	FUNCTION(rbd_aio_create_completion)                                                        \
	FUNCTION(rbd_aio_get_return_value)                                                         \
	FUNCTION(rbd_aio_release)                                                                  \
	FUNCTION(rbd_aio_read)                                                                     \
	FUNCTION(rbd_aio_write)                                                                    \
	FUNCTION(rbd_aio_flush)                                                                    \
	FUNCTION(rbd_aio_write_zeroes)

#define CEPH_MEMBER(name) typeof(name)(*name);
struct ceph_functions {
	CEPH_FUNCTIONS(CEPH_MEMBER)
};
#undef CEPH_MEMBER
extern struct ceph_functions ceph;

/* ceph_load: once for the process; blocks for some tens of milliseconds. Context: any thread.
 * Errors: -ELIBACC, and @err names the library or function that is not there. */
int ceph_load(struct err *err) __attribute__((warn_unused_result));

#endif
