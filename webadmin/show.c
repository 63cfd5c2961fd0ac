/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <time.h>

#include "volumes/passthrough.h"
#include "webadmin/bin.h"
#include "webadmin/model.h"

/* What the API shows of each thing. Secrets never leave: a rule shows that there is one. */

static const char *hex(const uint8_t *bytes, size_t length, char *text)
{
	for (size_t i = 0; i < length; i++)
		snprintf(text + 2 * i, 3, "%02x", bytes[i]);
	return text;
}

static const char *uuid_text(const uint8_t uuid[16], char text[37])
{
	char digits[33];

	hex(uuid, 16, digits);
	snprintf(text, 37, "%.8s-%.4s-%.4s-%.4s-%.12s", digits, digits + 8, digits + 12,
		 digits + 16, digits + 20);
	return text;
}

static void set_number(json_t *object, const char *key, uint64_t number)
{
	json_object_set_new(object, key, json_integer((json_int_t)number));
}

static json_t *show_devices(const struct model_pool *pool)
{
	json_t *devices = json_array();

	for (unsigned i = 0; i < pool->path_count; i++)
		json_array_append_new(devices, json_string(pool->paths[i]));
	return devices;
}

static const char *const device_states[] = {[DEVICE_ACTIVE] = "active",
					    [DEVICE_EVACUATING] = "evacuating",
					    [DEVICE_PAUSED] = "paused",
					    [DEVICE_STUCK] = "stuck",
					    [DEVICE_EMPTY] = "empty",
					    [DEVICE_AWAY] = "away",
					    [DEVICE_RESILVERING] = "resilvering"};

/* What is known of each of them while the pool is open. */
static json_t *show_device_details(struct pool *pool)
{
	json_t *devices = json_array();
	struct pool_device_info info;

	for (unsigned i = 0; pool_device_info(pool, i, &info); i++) {
		json_t *device = json_pack("{s:s}", "path", info.path);

		if (!device)
			continue;
		set_number(device, "size_bytes", info.size_bytes);
		set_number(device, "data_bytes", info.data_bytes);
		set_number(device, "free_bytes", info.free_bytes);
		json_object_set_new(device, "state", json_string(device_states[info.state]));
		json_object_set_new(device, "vital", json_boolean(info.vital));
		json_object_set_new(device, "share_percent", json_real(info.share * 100));
		if (info.small_write_ns)
			json_object_set_new(device, "small_write_us",
					    json_real((double)info.small_write_ns / 1000));
		if (info.large_write_ns)
			json_object_set_new(device, "large_write_us",
					    json_real((double)info.large_write_ns / 1000));
		if (info.state == DEVICE_ACTIVE && info.vital)
			json_object_set_new(
			    device, "reason",
			    json_sprintf("the pool does not go on without it: %s", info.reason));
		if (info.state != DEVICE_ACTIVE) {
			set_number(device, "moved_bytes", info.moved_bytes);
			set_number(device, "left_bytes", info.left_bytes);
			set_number(device, "copied_bytes", info.copied_bytes);
			json_object_set_new(device, "reason", json_string(info.reason));
		}
		json_array_append_new(devices, device);
	}
	return devices;
}

json_t *show_evacuation(struct pool *pool)
{
	struct pool_device_info info;
	json_t *job;

	for (unsigned i = 0; pool_device_info(pool, i, &info); i++) {
		uint64_t all = info.moved_bytes + info.left_bytes;

		const char *kind = info.state == DEVICE_RESILVERING ? "resilver" : "evacuate";

		if (info.state == DEVICE_ACTIVE || info.state == DEVICE_AWAY)
			continue;
		job = json_pack(
		    "{s:o,s:s,s:s,s:s,s:f,s:s}", "id", json_sprintf("%s-%s", kind, pool_name(pool)),
		    "kind", kind, "object", pool_name(pool), "state",
		    info.state == DEVICE_EVACUATING || info.state == DEVICE_RESILVERING ? "running"
		    : info.state == DEVICE_EMPTY                                        ? "done"
		    : info.state == DEVICE_STUCK                                        ? "stopped"
											: "paused",
		    "progress", all ? (double)info.moved_bytes / (double)all : 1.0, "device",
		    info.path);
		return job;
	}
	return NULL;
}

/* One line for tables, "" where nothing goes on. */
static json_t *device_summary(struct pool *pool)
{
	struct pool_device_info info;

	for (unsigned i = 0; pool_device_info(pool, i, &info); i++) {
		uint64_t all = info.moved_bytes + info.left_bytes;

		if (info.state == DEVICE_AWAY)
			return json_sprintf("%s is away", info.path);
		if (info.state != DEVICE_ACTIVE)
			return json_sprintf("%s of %s, %u %%", device_states[info.state], info.path,
					    (unsigned)(all ? info.moved_bytes * 100 / all : 100));
	}
	return json_string("");
}

static void show_space(json_t *object, const struct pool_info *info)
{
	double provisioned = (double)info->provisioned_bytes;

	set_number(object, "size_bytes", info->size_bytes);
	set_number(object, "used_bytes", info->used_bytes);
	set_number(object, "free_bytes", info->free_bytes);
	set_number(object, "reserved_bytes", info->reserved_bytes);
	if (info->mirror_size_bytes) {
		set_number(object, "mirror_size_bytes", info->mirror_size_bytes);
		set_number(object, "mirror_free_bytes", info->mirror_free_bytes);
	}
	json_object_set_new(
	    object, "watermarks",
	    json_pack("[i,i,i]", info->watermark[0], info->watermark[1], info->watermark[2]));
	set_number(object, "watermark_reached",
		   info->watermark_level ? info->watermark[info->watermark_level - 1] : 0);
	set_number(object, "provisioned_bytes", info->provisioned_bytes);
	json_object_set_new(
	    object, "overcommit",
	    json_real(info->size_bytes ? provisioned / (double)info->size_bytes : 0));
	set_number(object, "volumes", info->volume_count);
	set_number(object, "metadata_size_bytes", info->metadata_size_bytes);
	set_number(object, "metadata_used_bytes", info->metadata_used_bytes);
	set_number(object, "generation", info->generation);
	set_number(object, "checksum_errors", info->checksum_errors);
	set_number(object, "data_repairs", info->data_repairs);
	set_number(object, "metadata_repairs", info->metadata_repairs);
	set_number(object, "hot_resummed", info->hot_resummed);
	set_number(object, "replayed_records", info->replayed_records);
}

/* RFC 3339 in UTC, "" for never. */
static const char *time_text(uint64_t wall_ns, char text[32])
{
	time_t seconds = (time_t)(wall_ns / 1000000000u);
	struct tm parts;

	text[0] = '\0';
	if (wall_ns && gmtime_r(&seconds, &parts))
		strftime(text, 32, "%Y-%m-%dT%H:%M:%SZ", &parts);
	return text;
}

json_t *show_scrub(struct pool *pool)
{
	static const char *const states[] = {[SCRUB_NEVER] = "never",
					     [SCRUB_RUNNING] = "running",
					     [SCRUB_PAUSED] = "paused",
					     [SCRUB_DONE] = "done",
					     [SCRUB_STOPPED] = "stopped"};
	struct pool_scrub_info info;
	char started[32], ended[32];
	json_t *object;

	pool_get_scrub(pool, &info);
	object = json_pack("{s:s,s:s,s:s,s:s,s:f}", "pool", pool_name(pool), "state",
			   states[info.state], "started", time_text(info.started_ns, started),
			   "ended", time_text(info.ended_ns, ended), "progress",
			   info.state == SCRUB_DONE ? 1.0
			   : info.total_bytes ? (double)info.done_bytes / (double)info.total_bytes
					      : 0.0);
	if (!object)
		return NULL;
	set_number(object, "rate_bytes", info.rate_bytes);
	set_number(object, "done_bytes", info.done_bytes);
	set_number(object, "total_bytes", info.total_bytes);
	set_number(object, "eta_seconds", info.eta_seconds);
	set_number(object, "nodes", info.nodes);
	set_number(object, "slots", info.slots);
	set_number(object, "errors", info.errors);
	set_number(object, "repaired", info.repaired);
	set_number(object, "findings", info.findings);
	set_number(object, "findings_left_out", info.findings_dropped);
	return object;
}

/* One phrase for a table: "running, 40 %, 12 s to go". */
static json_t *scrub_summary(struct pool *pool)
{
	struct pool_scrub_info info;
	unsigned percent;

	pool_get_scrub(pool, &info);
	percent = info.total_bytes ? (unsigned)(info.done_bytes * 100 / info.total_bytes) : 0;
	if (info.state == SCRUB_RUNNING)
		return json_sprintf("running, %u %%, %llu s to go", percent,
				    (unsigned long long)info.eta_seconds);
	if (info.state == SCRUB_PAUSED)
		return json_sprintf("paused, %u %%", percent);
	if (info.findings)
		return json_sprintf("%llu findings", (unsigned long long)info.findings);
	return json_string(info.state == SCRUB_DONE ? "clean" : "never finished");
}

json_t *show_findings(struct pool *pool)
{
	static const char *const kinds[] = {[FINDING_DATA] = "checksum",
					    [FINDING_MEDIUM] = "medium",
					    [FINDING_NODE_REPAIRED] = "metadata-repaired",
					    [FINDING_NODE_LOST] = "metadata-lost",
					    [FINDING_LABEL] = "superblock-repaired",
					    [FINDING_DATA_REPAIRED] = "data-repaired"};
	json_t *findings = json_array();
	struct pool_finding finding;

	for (unsigned i = 0; pool_finding(pool, i, &finding); i++) {
		char time[32];
		json_t *object =
		    json_pack("{s:s,s:s,s:s,s:b,s:s}", "kind", kinds[finding.kind], "time",
			      time_text(finding.time_ns, time), "volume", finding.volume,
			      "repaired", finding.repaired, "text", finding.text);

		if (object && finding.length) {
			set_number(object, "offset_bytes", finding.offset);
			set_number(object, "length_bytes", finding.length);
			set_number(object, "lba", finding.offset / VOLUME_BLOCK);
		}
		json_array_append_new(findings, object);
	}
	return findings;
}

/* What can be asked of it, of what not every kind of pool can do. */
static json_t *show_features(const struct pool *pool)
{
	static const char *const words[POOL_FEATURES] = {
	    [POOL_CHECKSUMS] = "checksums",     [POOL_MIRRORS] = "mirrors",
	    [POOL_RESERVES] = "reserves",       [POOL_CHECKS] = "checks",
	    [POOL_SCRUBS] = "scrubs",           [POOL_DEVICES] = "devices",
	    [POOL_WATERMARKS] = "watermarks",   [POOL_SNAPSHOTS] = "snapshots",
	    [POOL_EXPENDABLES] = "expendables", [POOL_GATEWAYS] = "gateways",
	};
	json_t *features = json_array();

	for (unsigned i = 0; i < POOL_FEATURES; i++)
		if (pool_can(pool, (enum pool_feature)i))
			json_array_append_new(features, json_string(words[i]));
	return features;
}

/* Of snapshots that may be given up. */
static void show_expiry(json_t *object, const struct expiry *expiry, const struct pool_info *info)
{
	set_number(object, "gives_up_percent", pool_spend_percent(info));
	set_number(object, "given_up", expiry->given_up);
	json_object_set_new(object, "given_up_last", json_string(expiry->name));
	if (expiry->at)
		set_number(object, "given_up_at", (uint64_t)expiry->at);
}

json_t *show_pool(const struct model_pool *pool)
{
	struct pool_info info = {0};
	const char *state = "unavailable", *reason = pool->reason;
	char uuid[37];
	json_t *object;

	if (pool->pool) {
		pool_get_info(pool->pool, &info);
		state = info.read_only                      ? "read-only"
			: info.waiting                      ? "waiting"
			: info.full                         ? "full"
			: info.degraded || info.resilvering ? "degraded"
							    : "online";
		reason = info.read_only     ? info.read_only_reason
			 : info.waiting     ? "its cluster does not answer; requests wait"
			 : info.degraded    ? "a device is away: mirrored volumes have one copy"
			 : info.resilvering ? "a device that was away is being made good"
			 : pool->expiry.recent
			     ? "snapshots were given up: it is, or was, at its end"
			     : "";
	} else if (pool->path_count && pool_is_remote(pool->paths[0])) {
		state = "waiting";
	}
	object = json_pack("{s:s,s:s,s:s,s:s,s:s,s:o}", "name", pool->name, "uuid",
			   uuid_text(pool->uuid, uuid), "state", state, "reason", reason, "backend",
			   model_pool_kind(pool), "devices", show_devices(pool));
	if (object && pool->pool) {
		info.volume_count -= bin_count(pool);
		show_space(object, &info);
		if (pool->full_hours >= 0)
			set_number(object, "full_in_hours", (uint64_t)pool->full_hours);
		if (pool_can(pool->pool, POOL_EXPENDABLES))
			show_expiry(object, &pool->expiry, &info);
		if (object && bin_offered(pool))
			bin_show_pool(object, pool);
		json_object_set_new(object, "device_details", show_device_details(pool->pool));
		json_object_set_new(object, "evacuation", device_summary(pool->pool));
		json_object_set_new(object, "features", show_features(pool->pool));
		if (pool_can(pool->pool, POOL_MIRRORS))
			set_number(object, "journal_copies", info.journal_copies);
	}
	if (object && pool->pool && pool_can(pool->pool, POOL_SCRUBS)) {
		json_object_set_new(object, "scrub", show_scrub(pool->pool));
		json_object_set_new(object, "scrub_summary", scrub_summary(pool->pool));
		if (pool->scrub_plan.every[0])
			json_object_set_new(object, "scrub_every",
					    json_string(pool->scrub_plan.every));
	}
	return object;
}

json_t *show_pools(struct model *model)
{
	json_t *pools = json_array();

	list_for_each (it, &model->pools)
		json_array_append_new(pools, show_pool(list_entry(it, struct model_pool, link)));
	return pools;
}

static json_t *show_mappings(struct model *model, struct volume *volume)
{
	json_t *mappings = json_array();
	struct model_target *target;
	struct model_lun *lun = NULL;

	while ((lun = model_lun_of_volume(model, volume->identity.uuid, lun, &target)))
		json_array_append_new(
		    mappings, json_pack("{s:s,s:i}", "target", target->iqn, "lun", (int)lun->lun));
	return mappings;
}

const char *show_checksum(enum volume_checksum checksum)
{
	static const char *const words[] = {[VOLUME_CHECKSUM_STANDARD] = "standard",
					    [VOLUME_CHECKSUM_OFF] = "off",
					    [VOLUME_CHECKSUM_STRICT] = "strict"};

	return words[checksum];
}

void show_volume_limits(json_t *object, const struct volume_limits *limits)
{
	set_number(object, "iops_limit", limits->iops);
	set_number(object, "bandwidth_limit_bytes", limits->bandwidth);
	set_number(object, "burst_ms", limits->burst_ms);
}

static void show_limits(json_t *object, const struct volume *volume)
{
	struct volume_limits limits;

	volume_get_limits(volume, &limits);
	show_volume_limits(object, &limits);
	set_number(object, "delayed", limits.delayed);
	set_number(object, "delayed_ms", limits.delayed_ns / 1000000);
}

/* What is not of our own making. */
static void show_device(json_t *object, const struct volume *volume)
{
	const struct volume_identity *id = &volume->identity;
	struct passthrough_info info;

	json_object_set_new(object, "backend", json_string(volume->ops->name));
	if (!passthrough_get_info(volume, &info))
		return;
	json_object_set_new(object, "device", json_string(info.path));
	json_object_set_new(object, "state",
			    json_string(info.available ? "online" : "unavailable"));
	json_object_set_new(object, "reason", json_string(info.reason));
	json_object_set_new(object, "read_only", json_boolean(volume->read_only));
	json_object_set_new(object, "vendor", json_string(id->vendor));
	json_object_set_new(object, "product", json_string(id->product));
	json_object_set_new(object, "t10", json_string(id->t10));
}

/* A clone stands on a snapshot, "VOLUME@SNAPSHOT"; "" for all others. */
static void show_origin(json_t *object, struct volume *volume)
{
	struct volume *origin = volume->pool ? snapshot_of(volume) : NULL;

	json_object_set_new(object, "origin", json_string(origin ? origin->name : ""));
	volume_unref(origin);
}

/* @mapped: its LUNs, stolen. */
static json_t *show_with(struct volume *volume, json_t *mapped)
{
	char naa[33], uuid[37];
	json_t *object;

	hex(volume->identity.naa, volume_naa_length(&volume->identity), naa);
	object = json_pack("{s:s,s:s,s:I,s:I,s:b,s:s,s:s,s:s,s:o}", "pool",
			   volume->pool ? pool_name(volume->pool) : "", "name", volume->name,
			   "size_bytes", (json_int_t)volume_size(volume), "used_bytes",
			   (json_int_t)volume_used_bytes(volume), "thin", volume->thin, "uuid",
			   uuid_text(volume->identity.uuid, uuid), "naa", naa, "serial",
			   volume->identity.serial, "mapped", mapped);
	if (object) {
		json_object_set_new(object, "checksum",
				    json_string(show_checksum(volume->checksum)));
		json_object_set_new(object, "mirror", json_boolean(volume->mirror));
		set_number(object, "reserve_bytes", volume->reserve_bytes);
		set_number(object, "quota_bytes", volume->quota_bytes);
		set_number(object, "quota_used_bytes", volume_quota_used(volume));
		json_object_set_new(object, "state",
				    json_string(volume_standby(volume) ? "standby" : "online"));
		show_device(object, volume);
		show_limits(object, volume);
		show_origin(object, volume);
	}
	/* What udev, multipath and the SR of a XenServer call it: type 3 and the NAA digits. */
	if (object)
		json_object_set_new(object, "scsi_id", json_sprintf("3%s", naa));
	return object;
}

/* The LUNs of all volumes by their UUIDs' digits: with a thousand of each, looking for every
 * volume's own through all targets would take too long. */
json_t *show_all_mappings(struct model *model)
{
	json_t *all = json_object();

	list_for_each (it, &model->targets) {
		struct model_target *target = list_entry(it, struct model_target, link);

		list_for_each (other, &target->luns) {
			struct model_lun *lun = list_entry(other, struct model_lun, link);
			char uuid[33];
			json_t *list;

			hex(lun->volume, 16, uuid);
			list = json_object_get(all, uuid);
			if (!list) {
				list = json_array();
				json_object_set_new(all, uuid, list);
			}
			json_array_append_new(list, json_pack("{s:s,s:i}", "target", target->iqn,
							      "lun", (int)lun->lun));
		}
	}
	return all;
}

json_t *show_volume_mapped(struct volume *volume, const json_t *all)
{
	char uuid[33];
	json_t *mapped;

	hex(volume->identity.uuid, 16, uuid);
	mapped = json_object_get(all, uuid);
	return show_with(volume, mapped ? json_incref(mapped) : json_array());
}

json_t *show_volume(struct model *model, struct volume *volume)
{
	return show_with(volume, show_mappings(model, volume));
}

/* What only the live LUN knows. */
static void show_live(json_t *object, const struct model_target *target,
		      const struct model_lun *lun)
{
	struct scsi_lun_info info;

	if (lun->mapped && target->live &&
	    scsi_target_next_lun(iscsi_target_scsi(target->live), (int)lun->lun - 1, &info) &&
	    info.lun == lun->lun)
		json_object_set_new(object, "write_cache", json_boolean(info.write_cache));
}

json_t *show_lun_name(const struct model_target *target, const struct model_lun *lun)
{
	return json_sprintf("LUN %u of target %s", lun->lun, target->iqn);
}

json_t *show_lun(const struct model_target *target, const struct model_lun *lun)
{
	json_t *hosts = json_array(), *object;

	for (unsigned i = 0; i < lun->host_count; i++)
		json_array_append_new(hosts, json_string(lun->hosts[i]));
	object = json_pack(
	    "{s:i,s:s,s:s,s:s,s:b,s:s,s:s,s:o}", "lun", (int)lun->lun, "pool", lun->pool, "volume",
	    lun->volume_name, "type", lun->mode.cdrom ? "cdrom" : "disk", "read_only",
	    lun->mode.read_only || lun->mode.cdrom, "state", lun->mapped ? "online" : "unavailable",
	    "reason", lun->reason, "hosts", hosts);
	if (object)
		show_live(object, target, lun);
	return object;
}

json_t *show_luns(const struct model_target *target)
{
	json_t *luns = json_array();

	list_for_each (it, &target->luns)
		json_array_append_new(luns,
				      show_lun(target, list_entry(it, struct model_lun, link)));
	return luns;
}

json_t *show_rules(const struct model_target *target)
{
	json_t *rules = json_array();

	for (unsigned i = 0; i < target->rule_count; i++) {
		const struct iscsi_rule *rule = &target->rules[i].rule;

		json_array_append_new(
		    rules,
		    json_pack("{s:I,s:s,s:s,s:s,s:s}", "rule", (json_int_t)target->rules[i].id,
			      "initiator", rule->initiator[0] ? rule->initiator : "any", "network",
			      rule->network[0] ? rule->network : "any", "chap_user",
			      rule->chap_user, "mutual_user", rule->mutual_user));
	}
	return rules;
}

json_t *show_target(const struct model_target *target)
{
	return json_pack("{s:s,s:s,s:s,s:b,s:I,s:I,s:s,s:s,s:o,s:o}", "iqn", target->iqn, "alias",
			 target->alias, "redirect", target->redirect, "async_events",
			 target->async_events, "max_sessions", (json_int_t)target->limits.target,
			 "max_sessions_per_initiator", (json_int_t)target->limits.initiator,
			 "state", target->live ? "online" : "unavailable", "reason", target->reason,
			 "luns", show_luns(target), "rules", show_rules(target));
}

json_t *show_targets(struct model *model)
{
	json_t *targets = json_array();

	list_for_each (it, &model->targets)
		json_array_append_new(targets,
				      show_target(list_entry(it, struct model_target, link)));
	return targets;
}

static json_t *show_connection(const struct iscsi_connection_info *connection)
{
	json_t *object =
	    json_pack("{s:i,s:s,s:s,s:b,s:b}", "cid", (int)connection->cid, "peer",
		      connection->peer, "portal", connection->portal, "header_digest",
		      (int)connection->header_digest, "data_digest", (int)connection->data_digest);

	if (object)
		set_number(object, "seconds", connection->seconds);
	return object;
}

json_t *show_session(const struct iscsi_session_info *session)
{
	json_t *connections = json_array();
	char isid[13];
	json_t *object = json_pack(
	    "{s:I,s:s,s:s,s:s,s:s,s:s,s:s,s:i}", "id", (json_int_t)session->id, "initiator",
	    session->initiator, "type", session->target[0] ? "normal" : "discovery", "target",
	    session->target, "peer", session->peer, "portal", session->portal, "isid",
	    hex(session->isid, 6, isid), "tsih", (int)session->tsih);

	if (!object || !connections) {
		json_decref(object);
		json_decref(connections);
		return NULL;
	}
	for (unsigned i = 0; i < session->connection_count; i++)
		json_array_append_new(connections, show_connection(&session->connections[i]));
	json_object_set_new(object, "connections", connections);
	set_number(object, "max_connections", session->max_connections);
	json_object_set_new(object, "header_digest", json_boolean(session->header_digest));
	json_object_set_new(object, "data_digest", json_boolean(session->data_digest));
	json_object_set_new(object, "chap", json_boolean(session->chap));
	/* The alias is free text of the initiator's: shown only when it is UTF-8. */
	json_object_set_new(object, "initiator_alias", json_string(session->initiator_alias));
	set_number(object, "seconds", session->seconds);
	set_number(object, "commands", session->commands);
	set_number(object, "read_bytes", session->read_bytes);
	set_number(object, "write_bytes", session->write_bytes);
	return object;
}
