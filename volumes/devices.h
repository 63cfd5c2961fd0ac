/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VOLUMES_DEVICES_H
#define VOLUMES_DEVICES_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "core/err.h"
#include "core/list.h"
#include "core/loop.h"

/* The block devices of this machine: what they are, what they carry and who uses them, from
 * sysfs, the mount table and libblkid. Reads every device; nothing is written.
 * This is the one place in volumes/ that looks at the machine past the world (core/world.h): it
 * serves administration only, no I/O path and nothing that the simulator runs. */

#define DEVICES_MAX 1024

enum device_kind {
	DEVICE_DISK,
	DEVICE_PART,
	DEVICE_LOOP,
	DEVICE_LVM,
	DEVICE_CRYPT,
	DEVICE_MULTIPATH,
	DEVICE_MAPPED, /* another kind of device-mapper device */
	DEVICE_RAID,   /* md */
	DEVICE_ROM,
	DEVICE_RAM,
	DEVICE_FILE /* a regular file that was asked for by name */
};

struct device_info {
	char name[64];   /* the kernel's: "sda1", "dm-0" */
	char path[256];  /* "/dev/sda1", "/dev/mapper/vg-lv"; what was asked for */
	char by_id[256]; /* "/dev/disk/by-id/...", "" when there is none */
	char parent[64]; /* of a partition: the disk's name */
	char model[128]; /* of a loop device: its file */
	char serial[128], wwid[128];
	enum device_kind kind;
	dev_t number;  /* 0: a file */
	uint64_t size; /* bytes */
	bool rotational, read_only;
	/* What is on it, "" for nothing that is known: "an ext4 file system (label root)", "a GPT
	 * partition table", "Granary pool tank (device 1 of 2)". */
	char carries[256];
	char pool[64];     /* of a Granary label: the pool's name */
	char used_by[256]; /* "" or why nobody else may have it: "mounted on /", "LVM volume vg-lv"
			    */
	bool free;         /* nothing on it, nobody uses it, large enough for a pool */
};

const char *device_kind_name(enum device_kind kind);

struct device_call {
	/* result 0, or -errno with err.text. devices[] is heap memory of the receiver. */
	void (*done)(struct device_call *call, int result);
	struct err err;
	struct device_info *devices;
	unsigned count;
	/* private */
	struct message message;
	int result;
};

/* devices_list: every block device of the machine that has a size, in order of names.
 * devices_look: these @paths only (absolute; files too), in their order; -ENOENT and the like
 * name the first that can not be looked at.
 * Context: the control loop, which goes on: a thread reads, because a broken disk may keep it for
 * minutes. -EBUSY while too many such threads wait already. done() never runs inside the call. */
void devices_list(struct loop *loop, struct device_call *call);
void devices_look(struct loop *loop, const char *const *paths, unsigned count,
		  struct device_call *call);
/* devices_stop: hand back what is under way with -ECANCELED; threads that hang in a disk are left
 * to themselves. Context: the loop of the calls. */
void devices_stop(struct loop *loop);

/* device_usable: 0 when @info may become part of a pool (or be exported as it is); -EBUSY or
 * -EEXIST with a sentence that says what is on it. @force: what it carries may go; what somebody
 * uses may not. Context: any. */
int device_usable(const struct device_info *info, bool force, struct err *err)
    __attribute__((warn_unused_result));

#endif
