/* SPDX-License-Identifier: Apache-2.0 */
/*~ target.c: where to start reading. A SCSI target is a name and a LUN map; the transport makes
 * nexuses to it and sends tasks through them:
 *
 *   scsi_task_begin() [task.c] -> row of the table [opcode.c] -> decode
 *   scsi_task_execute()        -> handler [block.c verify.c provision.c, inquiry.c mode.c spc.c]
 *                              -> volume_submit() -> task_finish() -> done()
 *
 * internal.h draws who owns what and says which lock or loop guards it. This file keeps targets
 * and their LUN maps; lu.c the logical units behind them; nexus.c the sessions' view of a map.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/heap.h"
#include "target/internal.h"

int scsi_target_create(const char *name, struct scsi_target **ret_target, struct err *err)
{
	struct scsi_target *target;

	if (name[0] == '\0' || strlen(name) > SCSI_NAME_MAX)
		return err_set(err, -EINVAL, "a target name has 1 to %d bytes", SCSI_NAME_MAX);
	target = heap_zalloc(sizeof(*target));
	if (!target)
		return err_set(err, -ENOMEM, "no memory for a target");
	snprintf(target->name, sizeof(target->name), "%s", name);
	list_init(&target->mappings);
	list_init(&target->nexuses);
	*ret_target = target;
	return 0;
}

/* ---- masks */

static void names_free(struct scsi_names *names)
{
	if (names)
		heap_free(names->names);
	heap_free(names);
}

static int names_copy(const struct scsi_names *from, struct scsi_names **ret_to)
{
	struct scsi_names *to = NULL;

	if (from) {
		to = heap_zalloc(sizeof(*to));
		if (to)
			to->names =
			    heap_zalloc_array(from->count ? from->count : 1, sizeof(*to->names));
		if (!to || !to->names) {
			names_free(to);
			return -ENOMEM;
		}
		to->count = from->count;
		if (from->count)
			memcpy(to->names, from->names, from->count * sizeof(*to->names));
	}
	*ret_to = to;
	return 0;
}

/* The device's name is the port's up to the comma. */
bool mapping_visible(const struct scsi_lun_mapping *mapping, const struct scsi_nexus *nexus)
{
	size_t length = strcspn(nexus->initiator_port, ",");

	if (nexus->only)
		return nexus->only == mapping;
	if (!mapping->names)
		return true;
	for (unsigned i = 0; i < mapping->names->count; i++) {
		const char *name = mapping->names->names[i];

		if (strlen(name) == length && strncmp(name, nexus->initiator_port, length) == 0)
			return true;
	}
	return false;
}

static void mapping_free(struct scsi_lun_mapping *mapping)
{
	list_remove(&mapping->lu_link);
	lu_put(mapping->lu);
	names_free(mapping->names);
	latency_mapping_goes(mapping);
	heap_free(mapping);
}

int scsi_target_destroy(struct scsi_target *target, struct err *err)
{
	struct list *link;

	if (!target)
		return 0;
	topology_lock();
	if (!list_empty(&target->nexuses)) {
		topology_unlock();
		return err_set(err, -EBUSY, "target %s is in use", target->name);
	}
	while ((link = list_pop_front(&target->mappings)))
		mapping_free(list_entry(link, struct scsi_lun_mapping, target_link));
	topology_unlock();
	heap_free(target);
	return 0;
}

void scsi_target_set_events(struct scsi_target *target, bool on)
{
	__atomic_store_n(&target->events, on, __ATOMIC_RELAXED);
}

/* Where a mapping of @lun belongs in the ordered list; @lun -1 becomes the lowest free number. */
static struct list *find_place(struct scsi_target *target, int *lun, bool *ret_taken)
{
	struct list *place = &target->mappings;
	unsigned next = 0;

	*ret_taken = false;
	list_for_each (it, &target->mappings) {
		unsigned have = list_entry(it, struct scsi_lun_mapping, target_link)->lun;

		if (*lun < 0 ? have > next : have > (unsigned)*lun)
			break;
		if (*lun >= 0 && have == (unsigned)*lun)
			*ret_taken = true;
		next = have + 1;
		place = it;
	}
	if (*lun < 0)
		*lun = (int)next;
	return place;
}

/* Every nexus gets an I_T_L nexus for the new mapping, or none does. */
static int attach_everywhere(struct scsi_target *target, struct scsi_lun_mapping *mapping)
{
	uint32_t attentions = 1u << ATTENTION_POWER_ON | 1u << ATTENTION_LUNS_CHANGED;

	list_for_each (it, &target->nexuses) {
		struct scsi_nexus *nexus = list_entry(it, struct scsi_nexus, target_link);

		if (!mapping_visible(mapping, nexus))
			continue;
		if (nexus_attach(nexus, mapping, attentions))
			return -ENOMEM;
	}
	return 0;
}

/* To those who see @mapping. */
static void announce_lun_change(struct scsi_target *target, const struct scsi_lun_mapping *mapping)
{
	list_for_each (it, &target->nexuses) {
		struct scsi_nexus *nexus = list_entry(it, struct scsi_nexus, target_link);

		if (mapping_visible(mapping, nexus))
			attention_set_everywhere(nexus, ATTENTION_LUNS_CHANGED);
	}
}

/* Runs on the control loop when nobody uses the mapping any more. */
static void unmapped(struct message *message)
{
	struct scsi_lun_mapping *mapping = container_of(message, struct scsi_lun_mapping, message);
	void (*done)(void *context) = mapping->done;
	void *context = mapping->context;

	topology_lock();
	if (mapping->lu->refs == 1 &&
	    sanitize_stop(mapping->lu, mapping->control, &mapping->message, unmapped)) {
		topology_unlock();
		return;
	}
	mapping_free(mapping);
	topology_unlock();
	if (done)
		done(context);
}

void mapping_settle(struct scsi_lun_mapping *mapping)
{
	if (mapping->removed && list_empty(&mapping->itls))
		loop_post(mapping->control, &mapping->message, unmapped);
}

/* Topology lock held; @mapping is out of the target's list or never was in it. */
static void remove_mapping(struct scsi_lun_mapping *mapping)
{
	bool any = !list_empty(&mapping->itls);

	mapping->control = loop_current();
	mapping->removed = true;
	list_for_each (it, &mapping->itls)
		nexus_detach(list_entry(it, struct scsi_itl, mapping_link));
	if (!any)
		mapping_settle(mapping);
}

/* One volume is one logical unit everywhere, and that is of one kind. */
static bool other_kind(const struct volume *volume, bool cdrom)
{
	const struct scsi_lu *lu = lu_of(volume->identity.uuid);

	return lu && lu->cdrom != cdrom;
}

/* May it be mapped so? *ret_place is where, for the number that *lun becomes. */
static int check_locked(struct scsi_target *target, struct volume *volume, int *lun,
			const struct scsi_lun_mode *mode, struct list **ret_place, struct err *err)
{
	bool taken;

	*ret_place = find_place(target, lun, &taken);
	if (taken)
		return err_set(err, -EEXIST, "LUN %d of %s is taken", *lun, target->name);
	if (target->lun_count >= SCSI_LUNS_PER_TARGET)
		return err_set(err, -ENOSPC, "%s has %d LUNs, which is the limit", target->name,
			       SCSI_LUNS_PER_TARGET);
	if (other_kind(volume, mode->cdrom))
		return err_set(err, -EBUSY, "the volume is a %s elsewhere; it can not be both",
			       mode->cdrom ? "disk" : "CD-ROM");
	return 0;
}

static int map_locked(struct scsi_target *target, struct volume *volume, int lun,
		      const struct scsi_names *names, const struct scsi_lun_mode *mode,
		      unsigned *ret_lun, struct err *err)
{
	struct scsi_lun_mapping *mapping;
	struct list *place;
	int result = check_locked(target, volume, &lun, mode, &place, err);

	if (result < 0)
		return result;
	mapping = heap_zalloc(sizeof(*mapping));
	if (!mapping)
		return err_set(err, -ENOMEM, "no memory for a LUN");
	if (names_copy(names, &mapping->names) == 0)
		mapping->lu = lu_get(volume, mode->cdrom);
	if (!mapping->lu) {
		names_free(mapping->names);
		heap_free(mapping);
		return err_set(err, -ENOMEM, "no memory for a logical unit");
	}
	mapping->target = target;
	mapping->lun = (unsigned)lun;
	mapping->read_only = mode->read_only || mode->cdrom;
	list_init(&mapping->itls);
	list_init(&mapping->target_link);
	list_push_back(&mapping->lu->mappings, &mapping->lu_link);
	if (attach_everywhere(target, mapping)) {
		remove_mapping(mapping);
		return err_set(err, -ENOMEM, "no memory for a LUN");
	}
	list_insert_after(place, &mapping->target_link);
	target->lun_count++;
	announce_lun_change(target, mapping);
	*ret_lun = mapping->lun;
	return 0;
}

int scsi_target_map(struct scsi_target *target, struct volume *volume, int lun, unsigned *ret_lun,
		    struct err *err)
{
	return scsi_target_map_for(target, volume, lun, NULL, ret_lun, err);
}

int scsi_target_map_for(struct scsi_target *target, struct volume *volume, int lun,
			const struct scsi_names *names, unsigned *ret_lun, struct err *err)
{
	return scsi_target_map_as(target, volume, lun, names, &(struct scsi_lun_mode){0}, ret_lun,
				  err);
}

int scsi_target_map_as(struct scsi_target *target, struct volume *volume, int lun,
		       const struct scsi_names *names, const struct scsi_lun_mode *mode,
		       unsigned *ret_lun, struct err *err)
{
	int error;

	if (lun > SCSI_LUN_MAX || lun < -1)
		return err_set(err, -EINVAL, "a LUN is a number from 0 to %d", SCSI_LUN_MAX);
	topology_lock();
	error = map_locked(target, volume, lun, names, mode, ret_lun, err);
	topology_unlock();
	return error;
}

int scsi_target_map_check(struct scsi_target *target, struct volume *volume, unsigned lun,
			  const struct scsi_lun_mode *mode, struct err *err)
{
	int number = (int)lun, error;
	struct list *place;

	topology_lock();
	error = check_locked(target, volume, &number, mode, &place, err);
	topology_unlock();
	return error;
}

struct scsi_lun_mapping *target_find_mapping(struct scsi_target *target, unsigned lun)
{
	list_for_each (it, &target->mappings) {
		struct scsi_lun_mapping *mapping =
		    list_entry(it, struct scsi_lun_mapping, target_link);

		if (mapping->lun == lun)
			return mapping;
	}
	return NULL;
}

int scsi_target_set_read_only(struct scsi_target *target, unsigned lun, bool read_only,
			      struct err *err)
{
	struct scsi_lun_mapping *mapping;
	bool cdrom;

	topology_lock();
	mapping = target_find_mapping(target, lun);
	cdrom = mapping && mapping->lu->cdrom;
	if (mapping && !cdrom && mapping->read_only != read_only) {
		__atomic_store_n(&mapping->read_only, read_only, __ATOMIC_RELAXED);
		list_for_each (it, &mapping->itls)
			attention_set(list_entry(it, struct scsi_itl, mapping_link),
				      ATTENTION_MODE_CHANGED);
	}
	topology_unlock();
	if (!mapping)
		return err_set(err, -ENOENT, "%s has no LUN %u", target->name, lun);
	return cdrom && !read_only
		   ? err_set(err, -EINVAL, "LUN %u of %s is a CD-ROM, which is never written", lun,
			     target->name)
		   : 0;
}

/* One nexus after a mask has changed. */
static int apply_mask(struct scsi_nexus *nexus, struct scsi_lun_mapping *mapping)
{
	struct scsi_itl *itl = nexus_itl(nexus, mapping);
	bool visible = mapping_visible(mapping, nexus);

	if (visible == (itl != NULL))
		return 0;
	if (itl)
		nexus_detach(itl);
	else if (nexus_attach(nexus, mapping, 1u << ATTENTION_POWER_ON))
		return -ENOMEM;
	attention_set_everywhere(nexus, ATTENTION_LUNS_CHANGED);
	return 0;
}

static int mask_locked(struct scsi_target *target, struct scsi_lun_mapping *mapping,
		       struct scsi_names *names)
{
	struct scsi_names *old = mapping->names;
	int result = 0;

	mapping->names = names;
	list_for_each (it, &target->nexuses) {
		struct scsi_nexus *nexus = list_entry(it, struct scsi_nexus, target_link);

		if (apply_mask(nexus, mapping))
			result = -ENOMEM; /* it sees the LUN after its next login */
	}
	names_free(old);
	return result;
}

int scsi_target_mask(struct scsi_target *target, unsigned lun, const struct scsi_names *names,
		     struct err *err)
{
	struct scsi_lun_mapping *mapping;
	struct scsi_names *copy;
	int result = -ENOENT;

	if (names_copy(names, &copy))
		return err_set(err, -ENOMEM, "no memory for a mask");
	topology_lock();
	mapping = target_find_mapping(target, lun);
	if (mapping)
		result = mask_locked(target, mapping, copy);
	topology_unlock();
	if (!mapping)
		names_free(copy);
	if (result == -ENOENT)
		return err_set(err, result, "%s has no LUN %u", target->name, lun);
	return result < 0 ? err_set(err, result, "no memory for a LUN of a session") : 0;
}

int scsi_target_unmap(struct scsi_target *target, unsigned lun, void (*done)(void *context),
		      void *context, struct err *err)
{
	struct scsi_lun_mapping *mapping;

	topology_lock();
	mapping = target_find_mapping(target, lun);
	if (!mapping) {
		topology_unlock();
		return err_set(err, -ENOENT, "%s has no LUN %u", target->name, lun);
	}
	list_remove(&mapping->target_link);
	target->lun_count--;
	mapping->done = done;
	mapping->context = context;
	announce_lun_change(target, mapping);
	remove_mapping(mapping);
	topology_unlock();
	return 0;
}

static void add_counters(const struct scsi_counters *from, struct scsi_counters *sum)
{
	sum->read_ops += __atomic_load_n(&from->read_ops, __ATOMIC_RELAXED);
	sum->read_bytes += __atomic_load_n(&from->read_bytes, __ATOMIC_RELAXED);
	sum->write_ops += __atomic_load_n(&from->write_ops, __ATOMIC_RELAXED);
	sum->write_bytes += __atomic_load_n(&from->write_bytes, __ATOMIC_RELAXED);
	sum->errors += __atomic_load_n(&from->errors, __ATOMIC_RELAXED);
}

void target_sum_counters(struct scsi_lun_mapping *mapping, struct scsi_counters *sum)
{
	add_counters(&mapping->retired, sum);
	list_for_each (it, &mapping->itls)
		add_counters(&list_entry(it, struct scsi_itl, mapping_link)->counters, sum);
}

static void describe(struct scsi_lun_mapping *mapping, struct scsi_lun_info *ret_info)
{
	struct scsi_lu *lu = mapping->lu;
	struct scsi_counters sum = {0};
	unsigned tasks = 0;

	target_sum_counters(mapping, &sum);
	list_for_each (it, &mapping->itls)
		tasks += __atomic_load_n(&list_entry(it, struct scsi_itl, mapping_link)->task_count,
					 __ATOMIC_RELAXED);
	*ret_info = (struct scsi_lun_info){
	    .lun = mapping->lun,
	    .volume = lu->volume,
	    .mode = {.read_only = mapping->read_only, .cdrom = lu->cdrom},
	    .read_ops = sum.read_ops,
	    .read_bytes = sum.read_bytes,
	    .write_ops = sum.write_ops,
	    .write_bytes = sum.write_bytes,
	    .errors = sum.errors,
	    .write_cache = !lu->cdrom && __atomic_load_n(&lu->write_cache, __ATOMIC_RELAXED),
	    .tasks = __atomic_load_n(&lu->sanitize, __ATOMIC_ACQUIRE) == SANITIZE_RUNS ? 0 : tasks,
	};
	pthread_mutex_lock(&lu->lock);
	if (lu->pr.count)
		snprintf(mapping->reservation, sizeof(mapping->reservation), "%s, %u registered",
			 pr_type_name(lu->pr.type), lu->pr.count);
	else
		snprintf(mapping->reservation, sizeof(mapping->reservation), "%s",
			 lu->holder ? lu->reservation : "none");
	pthread_mutex_unlock(&lu->lock);
	ret_info->reservation = mapping->reservation;
}

bool scsi_target_next_lun(struct scsi_target *target, int previous, struct scsi_lun_info *ret_info)
{
	bool found = false;

	topology_lock();
	list_for_each (it, &target->mappings) {
		struct scsi_lun_mapping *mapping =
		    list_entry(it, struct scsi_lun_mapping, target_link);

		if ((int)mapping->lun > previous) {
			describe(mapping, ret_info);
			found = true;
			break;
		}
	}
	topology_unlock();
	return found;
}
