/* SPDX-License-Identifier: Apache-2.0 */
/* alua.c: asymmetric logical unit access (SPC-4 5.15): the portal groups of a target as target
 * port groups of one port each, with one access state for all its logical units. States change
 * by SET TARGET PORT GROUPS (explicit) and by the administrator (implicit). */
#include <errno.h>

#include "target/internal.h"
#include "target/wire.h"

#define REPORT_DESCRIPTOR 12u
#define SET_DESCRIPTOR    4u
#define SET_LIST_MAX      (4 + SET_DESCRIPTOR * SCSI_PORTS_MAX)
#define EXTENDED          1

static const char *const names[] = {"optimized", "non-optimized", "standby", "unavailable"};
#define STATE_COUNT (sizeof(names) / sizeof(names[0]))

const char *scsi_access_name(enum scsi_access access)
{
	return names[access];
}

/* ---- groups; topology lock */

struct scsi_port *alua_port(struct scsi_target *target, uint16_t group)
{
	for (unsigned i = 0; i < target->port_count; i++)
		if (target->ports[i].group == group)
			return &target->ports[i];
	return NULL;
}

struct scsi_port *alua_add_port(struct scsi_target *target, uint16_t group)
{
	struct scsi_port *port = alua_port(target, group);

	if (port)
		return port;
	if (target->port_count == SCSI_PORTS_MAX)
		return NULL;
	port = &target->ports[target->port_count++];
	*port = (struct scsi_port){.group = group};
	return port;
}

static void tell(struct scsi_target *target, const struct scsi_nexus *except)
{
	list_for_each (it, &target->nexuses) {
		struct scsi_nexus *nexus = list_entry(it, struct scsi_nexus, target_link);

		if (nexus != except)
			attention_set_everywhere(nexus, ATTENTION_ACCESS_CHANGED);
	}
}

static bool change(struct scsi_port *port, enum scsi_access access, uint8_t cause)
{
	if (port->access == access)
		return false;
	port->cause = cause;
	__atomic_store_n(&port->access, (uint8_t)access, __ATOMIC_RELEASE);
	return true;
}

int scsi_target_set_access(struct scsi_target *target, uint16_t group, enum scsi_access access,
			   bool preferred, struct err *err)
{
	struct scsi_port *port;

	topology_lock();
	port = alua_add_port(target, group);
	if (port) {
		bool changed = change(port, access, ALUA_IMPLICIT) || port->preferred != preferred;

		port->preferred = preferred;
		if (changed)
			tell(target, NULL);
	}
	topology_unlock();
	return port ? 0
		    : err_set(err, -ENOSPC, "target %s has %d portal groups, which is the limit",
			      target->name, SCSI_PORTS_MAX);
}

int scsi_target_add_group(struct scsi_target *target, uint16_t group, struct err *err)
{
	struct scsi_port *port;

	topology_lock();
	port = alua_add_port(target, group);
	if (port)
		port->open = true;
	topology_unlock();
	return port ? 0
		    : err_set(err, -ENOSPC, "target %s has %d portal groups, which is the limit",
			      target->name, SCSI_PORTS_MAX);
}

bool scsi_target_next_group(struct scsi_target *target, int previous,
			    struct scsi_group_info *ret_info)
{
	const struct scsi_port *next = NULL;

	topology_lock();
	for (unsigned i = 0; i < target->port_count; i++) {
		const struct scsi_port *port = &target->ports[i];

		if (port->open && port->group > previous && (!next || port->group < next->group))
			next = port;
	}
	if (next)
		*ret_info = (struct scsi_group_info){
		    .group = next->group,
		    .access = (enum scsi_access)next->access,
		    .preferred = next->preferred,
		};
	topology_unlock();
	return next != NULL;
}

/* ---- the check of every command (SPC-4 5.15.2.4) */

bool alua_allows(struct scsi_task *task, const struct scsi_opcode *row)
{
	uint8_t access = __atomic_load_n(&task->nexus->port->access, __ATOMIC_ACQUIRE);
	unsigned flags = row ? row->flags : 0;

	if (task->itl && access < SCSI_STANDBY && volume_standby(task->itl->lu->volume))
		access =
		    SCSI_STANDBY; /* the unit is another gateway's, whatever the port's state */

	if (access < SCSI_STANDBY || flags & OPCODE_ANY_ACCESS)
		return true;
	if (access == SCSI_STANDBY)
		return flags & OPCODE_STANDBY_OK ||
		       sense_set(task, SENSE_NOT_READY, ASC_PORT_STANDBY);
	return sense_set(task, SENSE_NOT_READY, ASC_PORT_UNAVAILABLE);
}

/* ---- REPORT TARGET PORT GROUPS (SPC-4 6.37) */

static void put_group(uint8_t *p, const struct scsi_port *port, bool standby)
{
	uint8_t access = standby && port->access < SCSI_STANDBY ? SCSI_STANDBY : port->access;

	p[0] = (uint8_t)((port->preferred ? 0x80 : 0) | access);
	p[1] = 0x08 | 0x04 | 0x02 | 0x01; /* U_SUP S_SUP AN_SUP AO_SUP */
	put_be16(p + 2, port->group);
	p[5] = port->cause;
	p[7] = 1;
	put_be16(p + 10, port->group);
}

void alua_report(struct scsi_task *task)
{
	struct scsi_target *target = task->nexus->target;
	uint8_t *data = task->buffer->data;
	unsigned format = task->cdb[1] >> 5;
	uint32_t length = format == EXTENDED ? 8 : 4;
	bool standby = task->itl && volume_standby(task->itl->lu->volume);

	if (format > EXTENDED) {
		sense_set_cdb_field(task, 1, 7);
		task_finish(task);
		return;
	}
	if (format == EXTENDED)
		data[4] = EXTENDED << 4; /* implicit transitions take no time */
	topology_lock();
	for (unsigned i = 0; i < target->port_count; i++) {
		if (!target->ports[i].open)
			continue;
		put_group(data + length, &target->ports[i], standby);
		length += REPORT_DESCRIPTOR;
	}
	topology_unlock();
	put_be32(data, length - 4);
	task_reply(task, length);
}

/* ---- SET TARGET PORT GROUPS (SPC-4 6.45): all of the list or nothing */

bool alua_decode_set(struct scsi_task *task)
{
	uint32_t length = get_be32(task->cdb + 6);

	if (length && (length < 4 || length > SET_LIST_MAX || length % SET_DESCRIPTOR))
		return sense_set(task, SENSE_ILLEGAL_REQUEST, ASC_PARAMETER_LIST_LENGTH);
	task->data_out_wanted = length;
	task->direction = length ? SCSI_DATA_OUT : SCSI_NO_DATA;
	return true;
}

/* One pass over the list: look, or do. Topology lock held. */
static bool set_pass(struct scsi_task *task, bool apply, bool *ret_changed)
{
	for (uint32_t at = 4; at < task->data_out_wanted; at += SET_DESCRIPTOR) {
		uint8_t raw[SET_DESCRIPTOR];
		struct scsi_port *port;

		task_copy_out(task, at, raw, sizeof(raw));
		port = alua_port(task->nexus->target, get_be16(raw + 2));
		if ((raw[0] & 0xf) >= STATE_COUNT)
			return sense_set_list_field(task, at, 3);
		if (!port)
			return sense_set_list_field(task, at + 2, -1);
		if (apply && change(port, (enum scsi_access)(raw[0] & 0xf), ALUA_EXPLICIT))
			*ret_changed = true;
	}
	return true;
}

void alua_set(struct scsi_task *task)
{
	bool changed = false;

	if (task->data_out_length < task->data_out_wanted) {
		task_fail(task, SENSE_ILLEGAL_REQUEST, ASC_PARAMETER_LIST_LENGTH);
		return;
	}
	topology_lock();
	if (set_pass(task, false, &changed) && set_pass(task, true, &changed) && changed)
		tell(task->nexus->target, task->nexus);
	topology_unlock();
	task_finish(task);
}
