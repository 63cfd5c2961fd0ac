/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VOLUMES_BACKEND_H
#define VOLUMES_BACKEND_H

#include "volumes/pool.h"

/* What a kind of pool has to offer behind pool.h. The table of kinds is in backend.c. All
 * members are Required and run on the control loop, except where pool.h says otherwise. */
struct pool_ops {
	const char *name; /* "native" */
	bool own_blocks;  /* it keeps blocks, their checksums and copies itself */
	bool dry;         /* it knows pool_call.dry, and is not called with it otherwise */
	void (*create)(const struct world_ops *world, struct loop *loop,
		       const struct pool_create_options *options, struct pool_call *call);
	void (*open)(const struct world_ops *world, struct loop *loop, const char *const *paths,
		     unsigned path_count, bool rewind, struct pool_call *call);
	void (*close)(struct pool *pool, struct pool_call *call);
	void (*volume_create)(struct pool *pool, const struct volume_spec *spec,
			      struct pool_call *call);
	void (*volume_delete)(struct volume *volume, struct pool_call *call);
	void (*volume_resize)(struct volume *volume, uint64_t size_bytes, struct pool_call *call);
	/* Optional: NULL = volumes can not get smaller. */
	void (*volume_shrink)(struct volume *volume, uint64_t size_bytes, struct pool_call *call);
	/* Optional, both: NULL = nothing is promised and there are no quotas. */
	void (*volume_set_space)(struct volume *volume, const struct volume_space *space,
				 struct pool_call *call);
	uint64_t (*quota_used)(struct volume *volume);
	/* Optional: NULL = sizes change by volume_resize only. */
	void (*volume_rescan)(struct volume *volume, struct pool_call *call);
	void (*volume_rename)(struct volume *volume, const char *name, struct pool_call *call);
	struct volume *(*find_volume)(struct pool *pool, const char *name);
	struct volume *(*volume_next)(struct pool *pool, struct volume *previous);
	void (*get_info)(struct pool *pool, struct pool_info *ret_info);
	const char *(*pool_name)(const struct pool *pool);
	const char *(*device_path)(const struct pool *pool, unsigned index);
	uint64_t (*volume_used_bytes)(struct volume *volume);
	void (*check)(struct pool *pool, bool data, struct pool_check_report *report,
		      struct pool_call *call);
	void (*checkpoint)(struct pool *pool, struct pool_call *call);
	/* Optional, all or none: NULL = its devices are not ours to change. */
	void (*add)(struct pool *pool, const struct pool_device *devices, unsigned count,
		    bool force, bool label, struct pool_call *call);
	void (*grow)(struct pool *pool, struct pool_call *call);
	void (*evacuate)(struct pool *pool, const char *path, enum pool_evacuate_action action,
			 struct pool_call *call);
	void (*remove)(struct pool *pool, const char *path, struct pool_call *call);
	/* Optional, all or none: NULL = it does not go on without a device. */
	void (*open_degraded)(const struct world_ops *world, struct loop *loop,
			      const char *const *paths, unsigned path_count,
			      struct pool_call *call);
	void (*online)(struct pool *pool, const char *path, struct pool_call *call);
	void (*offline)(struct pool *pool, const char *path, struct pool_call *call);
	void (*replace)(struct pool *pool, const char *old, const struct pool_device *device,
			bool force, bool label, struct pool_call *call);
	bool (*device_info)(struct pool *pool, unsigned index, struct pool_device_info *ret_info);
	/* Optional: NULL = there is nothing to check in devices of such pools. */
	void (*check_devices)(const struct world_ops *world, struct loop *loop,
			      const char *const *paths, unsigned path_count, bool data,
			      struct pool_check_report *report, struct pool_call *call);
	/* Optional, each: NULL = this kind can not do it. snapshot_next, snapshot_get_info and
	 * snapshot_of go with snapshot_create. */
	void (*snapshot_create)(struct pool *pool, const struct snapshot_spec *specs,
				unsigned count, struct pool_call *call);
	struct volume *(*snapshot_next)(struct volume *volume, struct volume *previous);
	bool (*snapshot_get_info)(struct volume *volume, struct snapshot_info *ret_info);
	struct volume *(*snapshot_of)(struct volume *volume);
	void (*snapshot_delete)(struct volume *snapshot, struct pool_call *call);
	void (*snapshot_rename)(struct volume *snapshot, const char *name, struct pool_call *call);
	void (*snapshot_hold)(struct volume *snapshot, uint64_t until_ns, struct pool_call *call);
	void (*snapshot_release)(struct volume *snapshot, struct pool_call *call);
	void (*snapshot_approve)(struct volume *snapshot, bool expendable, struct pool_call *call);
	void (*snapshot_measure)(struct volume *snapshot, struct pool_call *call);
	void (*snapshot_measure_all)(struct volume *volume, uint64_t limit_ns,
				     struct pool_call *call);
	void (*volume_clone)(struct volume *snapshot, const char *name, struct pool_call *call);
	void (*volume_promote)(struct volume *clone, struct pool_call *call);
	void (*volume_rollback)(struct volume *volume, struct volume *snapshot, const char *keep,
				struct pool_call *call);
	void (*volume_diff)(struct volume_diff *diff, struct pool_call *call);
	/* Optional: NULL = a volume is served by this daemon only. */
	void (*volume_take)(struct volume *volume, struct pool_call *call);
	/* Optional: likewise. */
	void (*volume_pin)(struct volume *volume, enum volume_pin pin, struct pool_call *call);
	/* Required where volumes are shared. Context: any loop. */
	void (*volume_note)(struct volume *volume, struct volume_note_call *call);
	/* Optional: NULL = a pool keeps the name it was made with. */
	void (*rename)(struct pool *pool, const char *name, struct pool_call *call);
	/* Optional: NULL = no watermarks. */
	void (*set_watermarks)(struct pool *pool, const uint8_t percent[WATERMARKS],
			       struct pool_call *call);
	/* Optional, all four or none: NULL = there is nothing to scrub. */
	int (*scrub)(struct pool *pool, enum pool_scrub_action action, uint64_t rate, bool dry,
		     struct err *err);
	void (*scrub_info)(struct pool *pool, struct pool_scrub_info *ret_info);
	bool (*finding)(struct pool *pool, unsigned index, struct pool_finding *ret_finding);
	void (*findings_clear)(struct pool *pool);
};

/* The common head of every kind's pool. */
struct pool {
	const struct pool_ops *ops;
};

extern const struct pool_ops native_pool_ops, passthrough_pool_ops, rbd_pool_ops;

/* pool_answer: hand @call back with @result, from its loop, never inside this call. */
void pool_answer(struct pool_call *call, int result);

/* pool_refuse: -EOPNOTSUPP, "a KIND pool @what"; NULL: the pool of a memory volume. */
void pool_refuse(const struct pool *pool, struct pool_call *call, const char *what);

/* backend_find: a kind by name, NULL when there is none. */
const struct pool_ops *backend_find(const char *name);

#endif
