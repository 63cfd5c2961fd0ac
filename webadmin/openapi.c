/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "webadmin/admin.h"
#include "webadmin/api.h"

/* GET /api/v1/openapi.json: the route table as an OpenAPI 3.1 document. What replies hold is in
 * the table below; a reply may have more members than it tells. */

#define FIELDS_MAX 40

struct object {
	const char *name, *summary;
	struct route_field fields[FIELDS_MAX];
};

#pragma GCC diagnostic ignored "-Wmissing-field-initializers"

static const struct object objects[] = {
    {"Disk",
     "A block device of the machine",
     {{"name", FIELD_TEXT, true, "the kernel's name"},
      {"path", FIELD_TEXT, true},
      {"by_id", FIELD_TEXT, true, "a path that stays when disks change places, or empty"},
      {"kind", FIELD_TEXT, true,
       "disk, partition, loop, lvm, crypt, multipath, dm, raid, rom or ram"},
      {"parent", FIELD_TEXT, true, "of a partition: its disk"},
      {"model", FIELD_TEXT, true},
      {"serial", FIELD_TEXT, true},
      {"wwid", FIELD_TEXT, true},
      {"size_bytes", FIELD_NUMBER, true},
      {"rotational", FIELD_SWITCH, true},
      {"read_only", FIELD_SWITCH, true},
      {"carries", FIELD_TEXT, true, "what is on it, or empty"},
      {"pool", FIELD_TEXT, true, "the Granary pool it is labelled for, or empty"},
      {"used_by", FIELD_TEXT, true, "who uses it, or empty"},
      {"free", FIELD_SWITCH, true, "a pool can take it without force"},
      {"health", FIELD_TEXT, true, "good, warning, failing or unknown; empty: it was not asked"},
      {"health_detail", FIELD_TEXT, true, "why it is not good"}}},
    {"Ups",
     "An uninterruptible power supply",
     {{"host", FIELD_TEXT, true, "of the NUT server"},
      {"port", FIELD_NUMBER, true},
      {"ups", FIELD_TEXT, true, "its name there"},
      {"shutdown_at", FIELD_TEXT, true, "low, or seconds on battery"},
      {"state", FIELD_TEXT, true,
       "asking, online, on-battery, battery-low, unreachable or powering-off"},
      {"status", FIELD_TEXT, true, "in NUT's words: OL, OB, LB, ..."},
      {"reason", FIELD_TEXT, true, "why it is unreachable"},
      {"battery_seconds", FIELD_NUMBER, true, "on battery so far, 0: not"},
      {"charge_percent", FIELD_NUMBER, false},
      {"runtime_seconds", FIELD_NUMBER, false},
      {"load_percent", FIELD_NUMBER, false}}},
    {"DiskHealth",
     "How the disks say they are",
     {{"reported", FIELD_NUMBER, true, "seconds since 1970; 0: not yet"},
      {"stale", FIELD_SWITCH, true, "hours ago, or never: it tells nothing any more"},
      {"disks", FIELD_OBJECTS, true,
       "name, model, serial, status, detail; as far as it is told temperature_c, power_on_hours, "
       "wear_percent, sectors"}}},
    {"Pool",
     "Devices whose space volumes share",
     {{"name", FIELD_TEXT, true},
      {"uuid", FIELD_TEXT, true},
      {"state", FIELD_TEXT, true, "online, degraded, waiting, full, read-only or unavailable"},
      {"reason", FIELD_TEXT, true, "why it is not online"},
      {"backend", FIELD_TEXT, true, "native, rbd or passthrough"},
      {"features", FIELD_TEXTS, false,
       "what can be asked of it: checksums, mirrors, reserves, checks, scrubs, devices, "
       "watermarks, snapshots, expendables, gateways"},
      {"devices", FIELD_TEXTS, true},
      {"device_details", FIELD_OBJECTS, false,
       "path, size_bytes, data_bytes, free_bytes, state, vital (mirrored volumes do not go on "
       "without it), share_percent (of new data, by free space and speed); measured lately, or not "
       "there: small_write_us, large_write_us (16 KiB and less; 64 KiB of larger ones)"},
      {"evacuation", FIELD_TEXT, false, "what goes on with a device, or empty"},
      {"journal_copies", FIELD_NUMBER, false,
       "complete ones, on devices that are there: 1, or 2 with mirrored volumes"},
      {"size_bytes", FIELD_NUMBER, false},
      {"used_bytes", FIELD_NUMBER, false},
      {"free_bytes", FIELD_NUMBER, false},
      {"provisioned_bytes", FIELD_NUMBER, false},
      {"reserved_bytes", FIELD_NUMBER, false, "promised to volumes and not used yet, each copy"},
      {"mirror_size_bytes", FIELD_NUMBER, false, "what mirrored volumes can have, once"},
      {"mirror_free_bytes", FIELD_NUMBER, false,
       "what they can still be given, beside what is promised"},
      {"overcommit", FIELD_REAL, false, "provisioned / size"},
      {"volumes", FIELD_NUMBER, false},
      {"full_in_hours", FIELD_NUMBER, false, "if it goes on as in the last two weeks"},
      {"gives_up_percent", FIELD_NUMBER, false,
       "of use, from which snapshots are given up that may be"},
      {"given_up", FIELD_NUMBER, false, "snapshots, since the daemon's start"},
      {"given_up_last", FIELD_TEXT, false, "VOLUME@SNAPSHOT, or empty"},
      {"given_up_at", FIELD_NUMBER, false, "when that was, seconds since 1970"},
      {"undelete_hours", FIELD_NUMBER, false, "what is deleted stays in the bin for so long"},
      {"scrub_every", FIELD_TEXT, false, "when it is scrubbed by itself, or none"},
      {"bin_volumes", FIELD_NUMBER, false, "in the bin"},
      {"bin_used_bytes", FIELD_NUMBER, false, "of the used ones: in the bin"},
      {"checksum_errors", FIELD_NUMBER, false},
      {"data_repairs", FIELD_NUMBER, false, "slots mended from a mirrored volume's other copy"}}},
    {"PoolUsage",
     "How full a pool has been",
     {{"columns", FIELD_TEXTS, true, "what the numbers of a row are; at: seconds since 1970"},
      {"samples", FIELD_LISTS, true, "oldest first"},
      {"full_in_hours", FIELD_NUMBER, false, "from now, by the last two weeks"}}},
    {"Volume",
     "A thin volume",
     {{"pool", FIELD_TEXT, true},
      {"name", FIELD_TEXT, true},
      {"uuid", FIELD_TEXT, true},
      {"size_bytes", FIELD_NUMBER, true},
      {"used_bytes", FIELD_NUMBER, true},
      {"thin", FIELD_SWITCH, true},
      {"reserve_bytes", FIELD_NUMBER, true, "promised to it"},
      {"quota_bytes", FIELD_NUMBER, true, "what it may take with its snapshots; 0: no quota"},
      {"quota_used_bytes", FIELD_NUMBER, true, "what of its quota is taken; 0 without one"},
      {"mirror", FIELD_SWITCH, false, "two copies, on two devices"},
      {"naa", FIELD_TEXT, true, "NAA-6 identifier, 32 hex digits"},
      {"serial", FIELD_TEXT, true},
      {"scsi_id", FIELD_TEXT, true, "what udev and multipath call it"},
      {"backend", FIELD_TEXT, true, "native, rbd, or passthrough: a device of the machine"},
      {"iops_limit", FIELD_NUMBER, true, "operations a second at most; 0: no limit"},
      {"bandwidth_limit_bytes", FIELD_NUMBER, true, "a second; 0: no limit"},
      {"burst_ms", FIELD_NUMBER, true, "worth of the limits that may be used at once"},
      {"delayed", FIELD_NUMBER, true, "requests that had to wait for a limit"},
      {"delayed_ms", FIELD_NUMBER, true, "how long, together"},
      {"device", FIELD_TEXT, false, "of a passthrough volume: its path"},
      {"state", FIELD_TEXT, false,
       "likewise: online or unavailable; of an rbd volume: online or standby"},
      {"reason", FIELD_TEXT, false, "likewise: why it is not online"},
      {"origin", FIELD_TEXT, true, "of a clone: VOLUME@SNAPSHOT that it stands on"},
      {"mapped", FIELD_OBJECTS, true, "its LUNs"}}},
    {"Backup",
     "A backup of the configuration on its way in",
     {{"staged", FIELD_SWITCH, false, "the next start of the daemon puts it in place"},
      {"damaged", FIELD_SWITCH, false,
       "one that was staged was damaged at the start: nothing was restored; DELETE forgets it"},
      {"uploaded_bytes", FIELD_NUMBER, true, "where the next piece goes"}}},
    {"BackupMade",
     "A backup of the configuration, for ten minutes",
     {{"id", FIELD_TEXT, true},
      {"size_bytes", FIELD_NUMBER, true},
      {"piece_bytes", FIELD_NUMBER, true, "of a piece at most"},
      {"filename", FIELD_TEXT, true, "to keep it by"}}},
    {"BackupChanges",
     "What a backup changes",
     {{"dry_run", FIELD_SWITCH, true},
      {"staged", FIELD_SWITCH, true, "the next start of the daemon puts it in place"},
      {"changes", FIELD_OBJECTS, true,
       "what (pool, target, account, file ..), name, change (comes, goes or changes); 1000 at "
       "most"}}},
    {"Deleted",
     "What a DELETE has done",
     {{"pool", FIELD_TEXT, true},
      {"deleted", FIELD_TEXT, true, "its name"},
      {"bin", FIELD_TEXT, false, "its id in the bin; without it, it is gone for good"},
      {"dry_run", FIELD_SWITCH, false, "nothing was done; for_good: whether it would be for good"},
      {"until", FIELD_NUMBER, false, "so long it can be had back, seconds since 1970"}}},
    {"Binned",
     "A volume or a share that was deleted and can be had back",
     {{"pool", FIELD_TEXT, true},
      {"name", FIELD_TEXT, true, "that it had, and gets again"},
      {"id", FIELD_TEXT, true, "its UUID, 32 hex digits"},
      {"kind", FIELD_TEXT, true, "volume or share"},
      {"deleted", FIELD_NUMBER, true, "seconds since 1970"},
      {"until", FIELD_NUMBER, true,
       "then it is deleted for good; sooner when the pool is at its end"},
      {"by", FIELD_TEXT, true, "who deleted it"},
      {"snapshots", FIELD_NUMBER, true, "that went with it"},
      {"reason", FIELD_TEXT, true, "why it could not be deleted for good, or empty"},
      {"size_bytes", FIELD_NUMBER, false},
      {"used_bytes", FIELD_NUMBER, false}}},
    {"Move",
     "A volume on its way to another pool",
     {{"object", FIELD_TEXT, true, "POOL/NAME that it comes from"},
      {"source", FIELD_TEXT, true},
      {"name", FIELD_TEXT, true},
      {"destination", FIELD_TEXT, true, "pool that it goes to"},
      {"state", FIELD_TEXT, true, "copying, paused, waiting, stuck, stopping or tidying"},
      {"progress", FIELD_REAL, true, "0 to 1"},
      {"left_bytes", FIELD_NUMBER, true, "to be copied, as far as is known"},
      {"written_bytes", FIELD_NUMBER, true, "to the new place, since the daemon's start"},
      {"rate_bytes", FIELD_NUMBER, true, "a second at most; 0: as fast as it goes"},
      {"slowing", FIELD_SWITCH, true, "guests write faster than is copied and are slowed down"},
      {"switched", FIELD_SWITCH, true,
       "guests are at the new place; what is left of the old one "
       "goes"},
      {"reason", FIELD_TEXT, true, "what is in the way, or empty"}}},
    {"SnapshotSchedule",
     "When snapshots of volumes are made, and how many are kept",
     {{"name", FIELD_TEXT, true},
      {"volumes", FIELD_TEXTS, true, "POOL/NAME each; their snapshots are of one instant"},
      {"every", FIELD_TEXT, true},
      {"keep", FIELD_TEXT, true, "last=, hourly=, daily=, weekly=, monthly=; or all"},
      {"prefix", FIELD_TEXT, true, "of the snapshots' names"},
      {"zone", FIELD_TEXT, true, "whose time it goes by; empty: the machine's"},
      {"expendable", FIELD_SWITCH, true, "they may be given up when the pool is at its end"},
      {"next", FIELD_NUMBER, false, "run, seconds since 1970"},
      {"last", FIELD_NUMBER, false, "run, seconds since 1970"},
      {"result", FIELD_TEXT, true, "of the last run"},
      {"runs", FIELD_NUMBER, true, "that made snapshots"},
      {"missed", FIELD_NUMBER, true, "that were due while the daemon was down"},
      {"skipped", FIELD_NUMBER, true, "that could not be carried out"}}},
    {"Alert",
     "Something that is wrong, or was",
     {{"id", FIELD_NUMBER, true},
      {"rule", FIELD_TEXT, true, "which rule found it"},
      {"object", FIELD_TEXT, true, "name of what it is about"},
      {"severity", FIELD_TEXT, true, "info, warning or critical"},
      {"state", FIELD_TEXT, true, "firing, acknowledged, silenced or cleared"},
      {"value", FIELD_NUMBER, true, "what was measured, 0 where nothing is"},
      {"detail", FIELD_TEXT, true},
      {"text", FIELD_TEXT, true, "what it is"},
      {"todo", FIELD_TEXT, true, "what to do"},
      {"text_zh", FIELD_TEXT, true, "the same in Simplified Chinese"},
      {"todo_zh", FIELD_TEXT, true},
      {"fired", FIELD_NUMBER, true, "seconds since 1970"},
      {"clears", FIELD_NUMBER, false,
       "when it clears, if it stays as well as it is, seconds since 1970; null: it is not over"},
      {"clears_below", FIELD_NUMBER, false,
       "percent: it is better, and over below that; null: not so"},
      {"acknowledged_by", FIELD_TEXT, true}}},
    {"AlertRule",
     "What is watched, and when it fires",
     {{"rule", FIELD_TEXT, true},
      {"enabled", FIELD_SWITCH, true},
      {"severity", FIELD_TEXT, true},
      {"after_seconds", FIELD_NUMBER, true, "how long it has to be so"},
      {"clear_seconds", FIELD_NUMBER, true, "how long it has to be well again"},
      {"level", FIELD_NUMBER, false, "what is too much"},
      {"unit", FIELD_TEXT, false, "of the level"},
      {"text", FIELD_TEXT, true},
      {"text_zh", FIELD_TEXT, true}}},
    {"AlertSilence",
     "What is not told for a while",
     {{"id", FIELD_NUMBER, true},
      {"rule", FIELD_TEXT, true, "empty: every rule"},
      {"object", FIELD_TEXT, true, "empty: every object"},
      {"until", FIELD_NUMBER, true, "seconds since 1970"},
      {"by", FIELD_TEXT, true},
      {"reason", FIELD_TEXT, true}}},
    {"AlertChannel",
     "Where alerts are sent",
     {{"name", FIELD_TEXT, true},
      {"kind", FIELD_TEXT, true, "email, webhook, syslog or snmp"},
      {"preset", FIELD_TEXT, true, "of a webhook, else empty"},
      {"place", FIELD_TEXT, true, "its URL as far as it is no secret"},
      {"from", FIELD_TEXT, true},
      {"to", FIELD_TEXTS, true},
      {"user", FIELD_TEXT, true},
      {"has_secret", FIELD_SWITCH, true},
      {"has_ca", FIELD_SWITCH, true},
      {"tls", FIELD_SWITCH, true},
      {"language", FIELD_TEXT, true, "en or zh-CN"},
      {"severity", FIELD_TEXT, true, "the least that is sent"},
      {"enabled", FIELD_SWITCH, true},
      {"audit", FIELD_SWITCH, true, "of syslog: the audit log is sent too"},
      {"queued", FIELD_NUMBER, true, "messages that wait"},
      {"failures", FIELD_NUMBER, true, "tries in a row"},
      {"error", FIELD_TEXT, true, "of the last try"},
      {"delivered", FIELD_NUMBER, true},
      {"given_up", FIELD_NUMBER, true},
      {"dropped", FIELD_NUMBER, true, "there was no room in the queue"}}},
    {"Share",
     "A file system on a thin volume",
     {{"pool", FIELD_TEXT, true},
      {"name", FIELD_TEXT, true},
      {"state", FIELD_TEXT, true, "online, read-only or unavailable"},
      {"reason", FIELD_TEXT, true},
      {"versions", FIELD_TEXTS, true, "of NFS that it is served with"},
      {"snapshots", FIELD_TEXT, true, "/.snapshot is hidden, visible or none"},
      {"mirror", FIELD_SWITCH, false, "two copies, on two devices"},
      {"quota_bytes", FIELD_NUMBER, false, "0: none"},
      {"used_bytes", FIELD_NUMBER, false},
      {"files", FIELD_NUMBER, false},
      {"advice", FIELD_TEXT, false, "of a preset: what to do next"}}},
    {"Directory",
     "A directory of this machine that is exported, read-only",
     {{"name", FIELD_TEXT, true, "it is exported as /NAME"},
      {"path", FIELD_TEXT, true},
      {"state", FIELD_TEXT, true, "online or unavailable"},
      {"reason", FIELD_TEXT, true, "why it is not, or that its disk does not answer"},
      {"versions", FIELD_TEXTS, true, "of NFS that it is served with"}}},
    {"Image",
     "An image for installing guests",
     {{"name", FIELD_TEXT, true},
      {"size_bytes", FIELD_NUMBER, true},
      {"sha256", FIELD_TEXT, true, "empty: it did not come by an upload"},
      {"modified", FIELD_NUMBER, false, "seconds since 1970"},
      {"uploading", FIELD_SWITCH, false, "not all of it is there"},
      {"received_bytes", FIELD_NUMBER, false, "of one that is not"},
      {"checked", FIELD_SWITCH, false, "its checksum was given, and is right"}}},
    {"Upload",
     "An image on its way",
     {{"name", FIELD_TEXT, true},
      {"size_bytes", FIELD_NUMBER, true},
      {"received_bytes", FIELD_NUMBER, true, "where the next piece goes"},
      {"received_sha256", FIELD_TEXT, false,
       "of its beginning: the SHA-256 of what is there; another one than the file's that is sent "
       "says that it is of another file"},
      {"piece_bytes", FIELD_NUMBER, true, "of a piece at most"}}},
    {"Target",
     "An iSCSI target",
     {{"iqn", FIELD_TEXT, true},
      {"alias", FIELD_TEXT, true},
      {"redirect", FIELD_TEXT, true, "where logins are sent, or empty"},
      {"async_events", FIELD_SWITCH, true, "idle sessions hear of changes by message"},
      {"max_sessions", FIELD_NUMBER, true, "0: no limit of its own"},
      {"max_sessions_per_initiator", FIELD_NUMBER, true, "of one initiator name; 0: no limit"},
      {"state", FIELD_TEXT, true, "online or unavailable"},
      {"reason", FIELD_TEXT, true},
      {"luns", FIELD_OBJECTS, true},
      {"rules", FIELD_OBJECTS, true}}},
    {"Lun",
     "A volume as a target shows it",
     {{"lun", FIELD_NUMBER, true},
      {"pool", FIELD_TEXT, true},
      {"volume", FIELD_TEXT, true},
      {"type", FIELD_TEXT, true, "disk or cdrom"},
      {"read_only", FIELD_SWITCH, true},
      {"write_cache", FIELD_SWITCH, false, "while it is served"},
      {"state", FIELD_TEXT, true, "online or unavailable"},
      {"reason", FIELD_TEXT, true}}},
    {"Isns",
     "Registration with an iSNS server",
     {{"server", FIELD_TEXT, true, "ADDR:PORT, or empty"},
      {"state", FIELD_TEXT, true, "none, registering, registered, failing or nothing to register"},
      {"reason", FIELD_TEXT, true, "why it fails"},
      {"entity", FIELD_TEXT, true, "what the server knows this one by"},
      {"targets", FIELD_NUMBER, true, "that the server knows"},
      {"portals", FIELD_NUMBER, true, "that the server knows"},
      {"period_seconds", FIELD_NUMBER, true, "after which it forgets who says nothing"},
      {"contact", FIELD_NUMBER, true, "its last answer, seconds since 1970; 0: none"},
      {"esi_port", FIELD_NUMBER, true, "where it may ask whether we are there; 0: nowhere"},
      {"esi_answered", FIELD_NUMBER, true, "times it has asked"}}},
    {"Host",
     "A named group of initiators",
     {{"name", FIELD_TEXT, true}, {"initiators", FIELD_TEXTS, true}}},
    {"PortalGroup",
     "A path to a target",
     {{"group", FIELD_NUMBER, true, "portal group tag"},
      {"access", FIELD_TEXT, true, "optimized, non-optimized, standby or unavailable"},
      {"preferred", FIELD_SWITCH, true}}},
    {"Reservations",
     "Registrations and reservation of a LUN",
     {{"type", FIELD_TEXT, true, "none, write exclusive, exclusive access ..."},
      {"persistent", FIELD_SWITCH, true, "survives power loss"},
      {"generation", FIELD_NUMBER, true},
      {"reserve6", FIELD_TEXT, true, "initiator port that holds RESERVE(6)"},
      {"registrations", FIELD_OBJECTS, true}}},
    {"LunCheck",
     "What a kind of host asks of a LUN, and what came",
     {{"profile", FIELD_TEXT, true},
      {"fits", FIELD_SWITCH, true, "nothing is missing that the host can not do without"},
      {"checks", FIELD_OBJECTS, true, "name, verdict (good, less or bad), text, purpose"}}},
    {"ShareRule",
     "Who may use a share over NFS",
     {{"client", FIELD_TEXT, true,
       "address, CIDR, host or *; the longest prefix decides; cert:NAME before all"},
      {"read_only", FIELD_SWITCH, true},
      {"insecure", FIELD_SWITCH, true},
      {"squash", FIELD_TEXT, true, "root, all or none"},
      {"security", FIELD_TEXT, true, "any, tls or mtls: what a connection has to be"},
      {"anon_uid", FIELD_NUMBER, true},
      {"anon_gid", FIELD_NUMBER, true},
      {"addresses", FIELD_TEXTS, false, "of a host: what its name resolves to"},
      {"trouble", FIELD_TEXT, false, "of a host: why it has none, or no newer ones"}}},
    {"ShareUser",
     "What a user's files take of a share, and may take",
     {{"uid", FIELD_NUMBER, true},
      {"used_bytes", FIELD_NUMBER, true},
      {"limit_bytes", FIELD_NUMBER, true, "0: none"},
      {"files", FIELD_NUMBER, true, "of every type"},
      {"limit_files", FIELD_NUMBER, true, "0: none"}}},
    {"ShareAccess",
     "What a client may do",
     {{"client", FIELD_TEXT, true},
      {"path", FIELD_TEXT, true, "what to mount"},
      {"allowed", FIELD_SWITCH, true},
      {"rule", FIELD_TEXT, true, "the client of the rule that decides"},
      {"read_only", FIELD_SWITCH, true},
      {"insecure", FIELD_SWITCH, true},
      {"security", FIELD_TEXT, true, "any, tls or mtls: what a connection has to be"},
      {"versions", FIELD_TEXTS, true, "of the protocol"},
      {"reason", FIELD_TEXT, true}}},
    {"Rule",
     "Who may log in",
     {{"rule", FIELD_NUMBER, true, "its id"},
      {"initiator", FIELD_TEXT, true},
      {"network", FIELD_TEXT, true},
      {"chap_user", FIELD_TEXT, true},
      {"mutual_user", FIELD_TEXT, true}}},
    {"Initiator",
     "An initiator that a rule names, that is logged in, or that was not let in lately",
     {{"initiator", FIELD_TEXT, true},
      {"sessions", FIELD_NUMBER, true},
      {"rules", FIELD_TEXTS, true, "targets whose rules name it"},
      {"refused", FIELD_OBJECT, false,
       "the last time: at (seconds since 1970), target (empty: discovery), address, count, reason "
       "(no_rule, chap, no_target, too_many, nothing_shown or other)"}}},
    {"NfsClient",
     "A client of NFSv4 that is known",
     {{"id", FIELD_TEXT, true},
      {"address", FIELD_TEXT, true, "where it came from"},
      {"name", FIELD_TEXT, true, "as it calls itself"},
      {"version", FIELD_TEXT, true, "4.0, or 4.1 for all that have sessions"},
      {"sessions", FIELD_NUMBER, true},
      {"opens", FIELD_NUMBER, true},
      {"locks", FIELD_NUMBER, true, "files it has locks on, by owner"},
      {"delegations", FIELD_NUMBER, true},
      {"recalled", FIELD_NUMBER, true, "delegations called back and not returned yet"},
      {"callable", FIELD_SWITCH, true, "it has answered a call"},
      {"silent_seconds", FIELD_NUMBER, true, "since it was heard of"}}},
    {"Session",
     "A live iSCSI session",
     {{"id", FIELD_NUMBER, true},
      {"initiator", FIELD_TEXT, true},
      {"target", FIELD_TEXT, true, "empty for a discovery session"},
      {"type", FIELD_TEXT, true},
      {"peer", FIELD_TEXT, true, "of the oldest connection"},
      {"portal", FIELD_TEXT, true, "likewise"},
      {"seconds", FIELD_NUMBER, true},
      {"commands", FIELD_NUMBER, true},
      {"read_bytes", FIELD_NUMBER, true},
      {"write_bytes", FIELD_NUMBER, true},
      {"max_connections", FIELD_NUMBER, true, "what was negotiated"},
      {"connections", FIELD_OBJECTS, true,
       "the oldest first: cid (the initiator's number), peer, portal, header_digest, data_digest, "
       "seconds"}}},
    {"Provisioned",
     "What a client needs to use what was made",
     {{"purpose", FIELD_TEXT, true},
      {"pool", FIELD_TEXT, true},
      {"target", FIELD_TEXT, false, "of disks: name of the target"},
      {"lun", FIELD_NUMBER, false},
      {"share", FIELD_TEXT, false, "of a library: name of the share"},
      {"path", FIELD_TEXT, false, "of a library: what is mounted"},
      {"hosts", FIELD_TEXTS, true},
      {"portals", FIELD_OBJECTS, true},
      {"volume", FIELD_OBJECT, false, "of disks"}}},
    {"Route",
     "A row of the route table",
     {{"method", FIELD_TEXT, true},
      {"path", FIELD_TEXT, true},
      {"role", FIELD_TEXT, true, "the least that may call it"},
      {"replication", FIELD_SWITCH, true, "so may the role replication"},
      {"summary", FIELD_TEXT, true}}},
    {"Status",
     "The daemon and all it serves",
     {{"daemon", FIELD_OBJECT, true,
       "pid, version, state, directories_in (where directories may be exported from) .."},
      {"endpoints", FIELD_OBJECTS, true},
      {"pools", FIELD_OBJECTS, true},
      {"targets", FIELD_OBJECTS, true},
      {"sessions", FIELD_OBJECTS, true}}},
    {"Events",
     "What happened lately",
     {{"last", FIELD_NUMBER, true, "id to ask from the next time"},
      {"lost", FIELD_SWITCH, true, "there were events that are not kept any more"},
      {"events", FIELD_OBJECTS, true,
       "id, at_ms, kind (change, sessions, pools, alerts), method, path"}}},
    {"Performance",
     "The load: all LUNs, and all of NFS, together",
     {{"interval_seconds", FIELD_NUMBER, true},
      {"columns", FIELD_TEXTS, true, "what the numbers of a sample are"},
      {"samples", FIELD_LISTS, true, "oldest first"}}},
    {"Latency",
     "How long reads and writes took",
     {{"at_ms", FIELD_NUMBER, true},
      {"bounds_ns", FIELD_NUMBERS, true, "of the buckets, ascending; the last bucket has none"},
      {"read", FIELD_OBJECT, true,
       "count, sum_ns, buckets: how many took no longer than its bound"},
      {"write", FIELD_OBJECT, true, "likewise"}}},
    {"NfsLatency",
     "How long requests of NFS took; those of SMB and of local mounts are not in it",
     {{"at_ms", FIELD_NUMBER, true},
      {"bounds_ns", FIELD_NUMBERS, true, "of the buckets, ascending; the last bucket has none"},
      {"read", FIELD_OBJECT, true,
       "count, sum_ns, buckets: how many took no longer than its bound"},
      {"write", FIELD_OBJECT, true, "likewise"},
      {"commit", FIELD_OBJECT, true, "likewise"},
      {"other", FIELD_OBJECT, true, "likewise: names, attributes, locks and the rest"},
      {"read_bytes", FIELD_NUMBER, true},
      {"write_bytes", FIELD_NUMBER, true}}},
    {"NfsHost",
     "What a host has read and written over NFS",
     {{"address", FIELD_TEXT, true},
      {"reads", FIELD_NUMBER, true},
      {"read_bytes", FIELD_NUMBER, true},
      {"writes", FIELD_NUMBER, true},
      {"write_bytes", FIELD_NUMBER, true},
      {"commits", FIELD_NUMBER, true},
      {"others", FIELD_NUMBER, true},
      {"read_mean_ms", FIELD_REAL, true},
      {"read_slowest_ms", FIELD_REAL, true, "99 of 100 took no longer"},
      {"write_mean_ms", FIELD_REAL, true},
      {"write_slowest_ms", FIELD_REAL, true, "likewise"}}},
    {"NfsOperation",
     "An operation of NFS",
     {{"version", FIELD_TEXT, true, "3, 4.0, 4.1 or 4.2"},
      {"operation", FIELD_TEXT, true},
      {"count", FIELD_NUMBER, true},
      {"errors", FIELD_NUMBER, true, "those of clients that look for what is not there, too"},
      {"mean_ms", FIELD_REAL, true},
      {"slowest_ms", FIELD_REAL, true, "99 of 100 took no longer"}}},
    {"Slow",
     "Slow commands over iSCSI and requests over NFS",
     {{"limit_ms", FIELD_REAL, true, "0: none are kept"},
      {"seen", FIELD_NUMBER, true, "since the daemon started; the last 256 are kept"},
      {"commands", FIELD_OBJECTS, true,
       "the newest first; protocol: iscsi (target, lun, lba, blocks) or nfs (share, bytes, and "
       "version, command: the procedure or what the COMPOUND did, operation: which of them took "
       "longest); initiator: its name, or the NFS client's address; waited_for: initiator, queue, "
       "engine, device or share, each of which has its _ms"}}},
    {"Log",
     "Lines of the daemon's log",
     {{"lines", FIELD_OBJECTS, true,
       "the oldest first: at (RFC 3339), severity (error, warning, notice, info or debug), text"}}},
    {"Job",
     "Long work",
     {{"id", FIELD_TEXT, true},
      {"kind", FIELD_TEXT, true, "scrub, evacuate, resilver, move, update or rollback"},
      {"object", FIELD_TEXT, true, "name of what it works on"},
      {"state", FIELD_TEXT, true, "running, paused, done, stopped or failed"},
      {"progress", FIELD_REAL, true, "0 to 1"},
      {"started", FIELD_TEXT, true, "RFC 3339, empty for never"},
      {"ended", FIELD_TEXT, true},
      {"eta_seconds", FIELD_NUMBER, true},
      {"step", FIELD_TEXT, false, "of an update: starting, checking or writing"},
      {"text", FIELD_TEXT, false, "how it is, or why it failed"}}},
    {"Me",
     "Who is signed in",
     {{"name", FIELD_TEXT, true},
      {"role", FIELD_TEXT, true},
      {"csrf", FIELD_TEXT, true, "for the X-CSRF-Token header of changes"},
      {"totp", FIELD_SWITCH, true, "signs in with a code besides the password"}}},
    {"Account",
     "Somebody who may sign in",
     {{"name", FIELD_TEXT, true},
      {"role", FIELD_TEXT, true},
      {"sessions", FIELD_NUMBER, true},
      {"totp", FIELD_SWITCH, true}}},
    {"Token",
     "An API token",
     {{"name", FIELD_TEXT, true},
      {"role", FIELD_TEXT, true},
      {"created", FIELD_NUMBER, true, "seconds since 1970"},
      {"expires", FIELD_NUMBER, true, "seconds since 1970"},
      {"maker", FIELD_TEXT, true},
      {"token", FIELD_TEXT, false, "the secret, when it has just been made"}}},
    {"Certificate",
     "The certificate of the web front",
     {{"fingerprint_sha256", FIELD_TEXT, true, "hex with colons"},
      {"subject", FIELD_TEXT, true},
      {"issuer", FIELD_TEXT, true},
      {"names", FIELD_TEXTS, true, "names and addresses it is for"},
      {"not_before", FIELD_TEXT, true},
      {"not_after", FIELD_TEXT, true},
      {"self_signed", FIELD_SWITCH, true}}},
    {"NfsTls",
     "NFS over TLS (RFC 9289)",
     {{"certificate", FIELD_OBJECT, true, "a Certificate: what the server shows"},
      {"clients", FIELD_OBJECTS, true, "Certificates that clients' are checked with"}}},
    {"Configuration",
     "All that is configured, without secrets",
     {{"version", FIELD_NUMBER, true, "1"},
      {"note", FIELD_TEXT, false, "says that secrets are not in it; not looked at"},
      {"pools", FIELD_OBJECTS, false,
       "name, watermarks; they have to be there, or have devices to be made of"},
      {"hosts", FIELD_OBJECTS, false, "name, initiators"},
      {"volumes", FIELD_OBJECTS, false,
       "pool, name, size_bytes, checksum, mirror, reserve_bytes, quota_bytes, limits"},
      {"shares", FIELD_OBJECTS, false, "pool, name, quota_bytes, rules"},
      {"directories", FIELD_OBJECTS, false, "name, path, versions, rules"},
      {"targets", FIELD_OBJECTS, false,
       "iqn, alias, redirect, async_events, max_sessions, max_sessions_per_initiator, luns, rules"},
      {"schedules", FIELD_OBJECTS, false, "name, volumes, every, keep, prefix, zone, expendable"},
      {"isns", FIELD_OBJECT, false, "server, esi_port; an empty server: none"}}},
    {"Plan",
     "Steps from what is to what is wanted",
     {{"dry_run", FIELD_SWITCH, true},
      {"done", FIELD_NUMBER, true, "how many were carried out"},
      {"steps", FIELD_OBJECTS, true, "method, path, body, text"}}},
    {"DryRun",
     "What a change would make different; nothing was changed",
     {{"dry_run", FIELD_SWITCH, true},
      {"what", FIELD_TEXT, true, "what would be made or changed: volume tank/db"},
      {"before", FIELD_OBJECT, true, "members as they are; none for what would be made"},
      {"after", FIELD_OBJECT, true, "the same as they would be"}}},
    {"AuditEntry",
     "One change or sign-in",
     {{"id", FIELD_NUMBER, true},
      {"at_ms", FIELD_NUMBER, true, "milliseconds since 1970"},
      {"who", FIELD_TEXT, true},
      {"address", FIELD_TEXT, true},
      {"method", FIELD_TEXT, true},
      {"path", FIELD_TEXT, true},
      {"status", FIELD_NUMBER, true},
      {"code", FIELD_TEXT, true},
      {"hash", FIELD_TEXT, true}}},
    {"AuditCheck",
     "What the walk over the audit log found",
     {{"whole", FIELD_SWITCH, true},
      {"entries", FIELD_NUMBER, true},
      {"broken_at", FIELD_NUMBER, true, "id of the first entry that does not fit, 0 = none"},
      {"newest_hash", FIELD_TEXT, true},
      {"lost", FIELD_NUMBER, true, "entries that could not be written"}}},
    {"PathCheck",
     "How large the packets are that a host gets",
     {{"address", FIELD_TEXT, true},
      {"interface", FIELD_TEXT, true, "the way there begins at"},
      {"mtu", FIELD_NUMBER, true, "its, bytes"},
      {"carried", FIELD_NUMBER, true, "the largest packet that was answered, bytes; 0 = none"},
      {"state", FIELD_TEXT, true, "carried, too_large, silent or no_way"},
      {"detail", FIELD_TEXT, true}}},
    {"Appliance",
     "The machine's own settings",
     {{"settings", FIELD_OBJECT, true, "name, timezone, time_servers, dns, links"},
      {"trial", FIELD_SWITCH, true, "a network waits to be confirmed"},
      {"trial_seconds", FIELD_NUMBER, true, "until it goes back"},
      {"changed_cards", FIELD_OBJECTS, false,
       "ports that have another card than when the network was set: port, was, is"}}},
    {"Update",
     "What the appliance starts from, and its last update since it was started",
     {{"release", FIELD_TEXT, false, "that runs"},
      {"slot", FIELD_TEXT, false, "it runs from: a or b"},
      {"next", FIELD_TEXT, false, "the slot that the next start takes"},
      {"on_trial", FIELD_SWITCH, false, "that one has not shown yet that it serves"},
      {"failed", FIELD_TEXT, false, "the slot that was given up, or empty"},
      {"incomplete", FIELD_TEXT, false,
       "the slot that an update is writing, or did not finish: nothing to go back to; or empty"},
      {"under_way", FIELD_SWITCH, true},
      {"update", FIELD_OBJECT, false,
       "kind (install, rollback), state (starting, checking, writing, done, would, failed), "
       "version, slot, done_bytes of size_bytes, started, ended, eta_seconds; of one that failed "
       "code and detail"},
      {"bundle", FIELD_OBJECT, false, "uploaded: name, size_bytes, received_bytes, complete"}}},
    {"Bundle",
     "An update bundle that was uploaded",
     {{"name", FIELD_TEXT, true},
      {"size_bytes", FIELD_NUMBER, true},
      {"sha256", FIELD_TEXT, true},
      {"checked", FIELD_SWITCH, true, "its checksum was given, and is right"}}},
    {"Problem",
     "RFC 9457: why a request was not carried out",
     {{"type", FIELD_TEXT, true},
      {"title", FIELD_TEXT, true},
      {"status", FIELD_NUMBER, true},
      {"detail", FIELD_TEXT, true, "a sentence for people"},
      {"code", FIELD_TEXT, true, "stable, for programs"},
      {"field", FIELD_TEXT, false, "the member of the body that it is about"}}},
};

static json_t *field_schema(const struct route_field *field)
{
	json_t *schema = NULL;

	switch (field->type) {
	case FIELD_TEXT:
		schema = json_pack("{s:s}", "type", "string");
		break;
	case FIELD_NUMBER:
		schema = json_pack("{s:s,s:i}", "type", "integer", "minimum", 0);
		break;
	case FIELD_SIZE:
		schema = json_pack("{s:[ss]}", "type", "integer", "string");
		break;
	case FIELD_SWITCH:
		schema = json_pack("{s:s}", "type", "boolean");
		break;
	case FIELD_REAL:
		schema = json_pack("{s:s}", "type", "number");
		break;
	case FIELD_TEXTS:
		schema = json_pack("{s:s,s:{s:s}}", "type", "array", "items", "type", "string");
		break;
	case FIELD_DEVICES:
		schema = json_pack("{s:s,s:{s:[ss]}}", "type", "array", "items", "type", "string",
				   "object");
		break;
	case FIELD_OBJECTS:
		schema = json_pack("{s:s,s:{s:s}}", "type", "array", "items", "type", "object");
		break;
	case FIELD_NUMBERS:
		schema = json_pack("{s:s,s:{s:s}}", "type", "array", "items", "type", "integer");
		break;
	case FIELD_LISTS:
		schema = json_pack("{s:s,s:{s:s}}", "type", "array", "items", "type", "array");
		break;
	case FIELD_OBJECT:
		schema = json_pack("{s:s}", "type", "object");
		break;
	}
	if (schema && field->summary)
		json_object_set_new(schema, "description", json_string(field->summary));
	return schema;
}

static json_t *fields_schema(const struct route_field *fields, bool open)
{
	json_t *properties = json_object(), *required = json_array();

	for (; fields->name; fields++) {
		json_object_set_new(properties, fields->name, field_schema(fields));
		if (fields->required)
			json_array_append_new(required, json_string(fields->name));
	}
	return json_pack("{s:s,s:o,s:o,s:b}", "type", "object", "properties", properties,
			 "required", required, "additionalProperties", open);
}

static json_t *schema_reference(const char *answer)
{
	size_t length = strlen(answer);

	if (answer[0] != '[')
		return json_pack("{s:o}", "$ref", json_sprintf("#/components/schemas/%s", answer));
	return json_pack("{s:s,s:{s:o}}", "type", "array", "items", "$ref",
			 json_sprintf("#/components/schemas/%.*s", (int)length - 2, answer + 1));
}

static json_t *problem_reply(const char *description)
{
	return json_pack("{s:s,s:{s:{s:o}}}", "description", description, "content",
			 "application/problem+json", "schema", schema_reference("Problem"));
}

static json_t *good_reply(const struct route *route)
{
	json_t *schema = route->answer ? schema_reference(route->answer) : json_object();
	json_t *reply, *content;

	reply = json_pack("{s:s,s:{s:{s:o}}}", "description", route->summary, "content",
			  route->flags & ROUTE_TEXT   ? "text/plain"
			  : route->flags & ROUTE_FILE ? "application/gzip"
						      : "application/json",
			  "schema", schema);
	content = json_object_get(reply, "content");
	if (route->flags & ROUTE_DOCUMENT && strcmp(route->method, "GET") == 0)
		json_object_set_new(content, "application/yaml",
				    json_pack("{s:o}", "schema", schema_reference(route->answer)));
	return reply;
}

static json_t *parameter(const char *name, const char *in, bool required, const char *summary)
{
	json_t *object = json_pack("{s:s,s:s,s:b,s:{s:s}}", "name", name, "in", in, "required",
				   required, "schema", "type", "string");

	if (object && summary)
		json_object_set_new(object, "description", json_string(summary));
	return object;
}

/* Over HTTPS: JSON, or the bytes themselves. */
static json_t *request_body(const struct route *route)
{
	json_t *schema = route->flags & ROUTE_BYTES
			     ? json_pack("{s:s,s:s}", "type", "string", "format", "binary")
			     : fields_schema(route->body, false);
	json_t *body;

	body =
	    json_pack("{s:b,s:{s:{s:o}}}", "required", 1, "content",
		      route->flags & ROUTE_BYTES ? "application/octet-stream" : "application/json",
		      "schema", schema);
	if (route->flags & ROUTE_DOCUMENT) /* the document itself; prune is in the query */
		json_object_set_new(
		    json_object_get(body, "content"), "application/yaml",
		    json_pack("{s:o}", "schema", schema_reference("Configuration")));
	return body;
}

static bool is_diff(const struct route *route)
{
	return (route->flags & ROUTE_DRY_DIFF) == ROUTE_DRY_DIFF;
}

static json_t *parameters(const struct route *route)
{
	json_t *list = json_array();
	const char *at = route->path;

	while ((at = strchr(at, '{'))) {
		size_t length = strcspn(++at, "}");
		char name[32];

		snprintf(name, sizeof name, "%.*s", (int)length, at);
		json_array_append_new(list, parameter(name, "path", true, NULL));
	}
	if (route->flags & ROUTE_DOCUMENT && strcmp(route->method, "PUT") == 0) {
		json_array_append_new(list, parameter("If-Match", "header", false,
						      "the ETag that a GET or a dry run showed"));
		json_array_append_new(list, parameter("prune", "query", false,
						      "1: as the member; for a body of YAML"));
	}
	if (route->flags & ROUTE_CHANGE) {
		json_array_append_new(list, parameter("If-Match", "header", false,
						      "the ETag that a GET of this path showed"));
		json_array_append_new(list, parameter("Idempotency-Key", "header", false,
						      "the same key again gets the first answer"));
	}
	if (route->flags & ROUTE_BYTES)
		json_array_append_new(
		    list, parameter("offset", "query", true, "of the first byte, from the start"));
	if (is_diff(route))
		json_array_append_new(
		    list, parameter("dry_run", "query", false,
				    "1: change nothing; the answer is a DryRun, what would be "
				    "different, or the refusal that the change would get"));
	else if (route->flags & ROUTE_DRY)
		json_array_append_new(
		    list, parameter("dry_run", "query", false, "1: only show what would be done"));
	if (route->flags & ROUTE_PAGED) {
		json_array_append_new(
		    list, parameter("limit", "query", false, "items on a page, 1 to 1000"));
		json_array_append_new(list, parameter("cursor", "query", false,
						      "of the Link header of the page before"));
	}
	return list;
}

/* "POST /api/v1/pools/{pool}/check" becomes "postPoolsPoolCheck". */
static json_t *operation_id(const struct route *route)
{
	char id[160];
	size_t out = 0;
	bool upper = false;
	const char *path = route->path;

	for (const char *at = route->method; *at; at++)
		id[out++] = (char)tolower((unsigned char)*at);
	if (strncmp(path, "/api/v1", 7) == 0)
		path += 7;
	for (; *path && out + 1 < sizeof id; path++) {
		if (!isalnum((unsigned char)*path)) {
			upper = true;
			continue;
		}
		id[out++] = (char)(upper ? toupper((unsigned char)*path) : *path);
		upper = false;
	}
	id[out] = '\0';
	return json_string(id);
}

static json_t *operation(const struct route *route)
{
	bool made = strcmp(route->method, "POST") == 0;
	json_t *object =
	    json_pack("{s:o,s:s,s:s,s:o,s:{s:o,s:o}}", "operationId", operation_id(route),
		      "summary", route->summary, "x-role", role_name(route->role), "parameters",
		      parameters(route), "responses", made ? "2XX" : "200", good_reply(route),
		      "default", problem_reply("Why it was not carried out"));

	if (object && route->body)
		json_object_set_new(object, "requestBody", request_body(route));
	if (object)
		json_object_set_new(object, "x-replication",
				    json_boolean(role_may(ROLE_REPLICATION, route)));
	if (object && is_diff(route))
		json_object_set_new(object, "x-dry-run", schema_reference("DryRun"));
	if (object && route_no_dry(route))
		json_object_set_new(object, "x-no-dry-run", json_string(route_no_dry(route)));
	if (object && route->role == ROLE_NOBODY)
		json_object_set_new(object, "security", json_array());
	return object;
}

static json_t *paths(void)
{
	unsigned count;
	const struct route *routes = route_table(&count);
	json_t *all = json_object();

	for (unsigned i = 0; i < count; i++) {
		json_t *path = json_object_get(all, routes[i].path);
		char method[16] = "";

		for (unsigned j = 0; routes[i].method[j] && j + 1 < sizeof method; j++)
			method[j] = (char)tolower((unsigned char)routes[i].method[j]);
		if (!path) {
			json_object_set_new(all, routes[i].path, json_object());
			path = json_object_get(all, routes[i].path);
		}
		json_object_set_new(path, method, operation(&routes[i]));
	}
	return all;
}

static json_t *schemas(void)
{
	json_t *all = json_object();

	for (unsigned i = 0; i < sizeof objects / sizeof *objects; i++) {
		json_t *schema = fields_schema(objects[i].fields, true);

		if (schema)
			json_object_set_new(schema, "description", json_string(objects[i].summary));
		json_object_set_new(all, objects[i].name, schema);
	}
	return all;
}

void api_openapi_show(struct api_request *request)
{
	json_t *schemes =
	    json_pack("{s:{s:s,s:s},s:{s:s,s:s,s:s}}", "token", "type", "http", "scheme", "bearer",
		      "cookie", "type", "apiKey", "in", "cookie", "name", "__Host-granary");

	api_reply(request, 200,
		  json_pack("{s:s,s:{s:s,s:s,s:s},s:o,s:{s:o,s:o},s:[{s:[]},{s:[]}]}", "openapi",
			    "3.1.0", "info", "title", "Granary", "version",
			    request->admin->options.version, "description",
			    "Storage for virtual machines: thin volumes over iSCSI.", "paths",
			    paths(), "components", "schemas", schemas(), "securitySchemes", schemes,
			    "security", "token", "cookie"));
}
