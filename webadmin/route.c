/* SPDX-License-Identifier: Apache-2.0 */
#include "webadmin/route.h"

#include <string.h>

#include "webadmin/api.h"
#include "webadmin/metadata.h"

/* A row without a body or an answer leaves those members out. */
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"

#define BODY(...)                                                                                  \
	(const struct route_field[])                                                               \
	{                                                                                          \
		__VA_ARGS__,                                                                       \
		{                                                                                  \
			NULL, 0, false, NULL                                                       \
		}                                                                                  \
	}

/* Where a pool of a Ceph cluster is. */
#define PLACE_FIELDS                                                                               \
	{"backend", FIELD_TEXT, false, "native (the default) or rbd"},                             \
	    {"conf", FIELD_TEXT, false, "rbd: the cluster's ceph.conf (/etc/ceph/ceph.conf)"},     \
	    {"ceph_pool", FIELD_TEXT, false, "rbd: Ceph's pool"},                                  \
	    {"ceph_id", FIELD_TEXT, false, "rbd: who to be there, without client. (admin)"},       \
	{                                                                                          \
		"ceph_namespace", FIELD_TEXT, false, "rbd: a namespace of Ceph's pool"             \
	}

/* Where alerts go. */
#define CHANNEL_FIELDS                                                                             \
	{"url", FIELD_TEXT, false,                                                                 \
	 "smtp(s)://HOST:PORT, http(s)://.., udp://, tcp:// or tls://HOST:PORT"},                  \
	    {"preset", FIELD_TEXT, false,                                                          \
	     "of a webhook: generic, dingtalk, wecom, feishu or slack"},                           \
	    {"from", FIELD_TEXT, false, "e-mail: the sender's address"},                           \
	    {"to", FIELD_TEXTS, false, "e-mail: addresses"},                                       \
	    {"user", FIELD_TEXT, false, "e-mail: to sign in with"},                                \
	    {"secret", FIELD_TEXT, false, "its password, or what a webhook is signed with"},       \
	    {"ca", FIELD_TEXT, false, "certificates to trust, in PEM; empty: the system's"},       \
	    {"tls", FIELD_SWITCH, false, "e-mail: false: without TLS, and without a password"},    \
	    {"audit", FIELD_SWITCH, false,                                                         \
	     "syslog: every entry of the audit log is sent too, nothing is left out"},             \
	    {"language", FIELD_TEXT, false, "en or zh-CN"},                                        \
	    {"severity", FIELD_TEXT, false, "the least: info, warning (default) or critical"},     \
	{                                                                                          \
		"enabled", FIELD_SWITCH, false, "false: nothing is sent"                           \
	}

static const struct route table[] = {
#define V1 "/api/v1"
    {"GET", V1 "/status", api_status_show, ROLE_VIEWER, ROUTE_REPLICA,
     "The daemon, its endpoints, pools, targets and sessions", NULL, "Status"},
    {"GET", V1 "/routes", api_routes_list, ROLE_VIEWER, ROUTE_REPLICA, "This table", NULL,
     "[Route]"},
    {"GET", V1 "/openapi.json", api_openapi_show, ROLE_NOBODY, 0,
     "This API as an OpenAPI 3.1 document"},
    {"PUT", V1 "/metadata", api_metadata_set, ROLE_PROVISIONER, ROUTE_CHANGE | ROUTE_DRY_DIFF,
     "Note something of any object that a GET shows, which has it as \"metadata\" from then on",
     BODY({"object", FIELD_TEXT, true, "its path: /api/v1/volumes/tank/vm1"},
	  {"metadata", FIELD_OBJECT, true,
	   "texts by name, instead of those before; {} for none; 32 at most, of 1024 bytes"})},
    {"GET", V1 "/events", api_event_list, ROLE_VIEWER, ROUTE_REPLICA,
     "What happened after ?after=ID; ?wait=SECONDS waits for it; as a stream with Accept: "
     "text/event-stream",
     NULL, "Events"},
    {"GET", V1 "/performance", api_performance_show, ROLE_VIEWER, 0,
     "The load of the last minutes, a sample a second, those after ?after=MS", NULL, "Performance"},
    {"GET", V1 "/history", api_history_show, ROLE_VIEWER, 0,
     "The load and the latency of the last ?hours=1 to 9600 (24), 600 samples or so at most", NULL,
     "Performance"},
    {"GET", V1 "/slow", api_slow_show, ROLE_VIEWER, 0,
     "The last commands and NFS requests that took longer than a limit, and what they waited for",
     NULL, "Slow"},
    {"PATCH", V1 "/slow", api_slow_change, ROLE_OPERATOR, ROUTE_CHANGE | ROUTE_DRY_DIFF,
     "From how long on a command or an NFS request counts as slow",
     BODY({"limit", FIELD_TEXT, true, "1ms to 1h, or none: 500ms unless it was set"})},
    {"GET", V1 "/jobs", api_job_list, ROLE_VIEWER, ROUTE_REPLICA, "Long work and how far it is",
     NULL, "[Job]"},
    {"GET", "/metrics", api_metrics_show, ROLE_VIEWER, ROUTE_TEXT,
     "Counters and gauges in Prometheus' text format"},

    {"GET", V1 "/setup", api_setup_show, ROLE_NOBODY, 0,
     "Is the first account still to be made, and am I signed in?"},
    {"POST", V1 "/setup", api_set_up, ROLE_NOBODY, ROUTE_CHANGE | ROUTE_SECRET,
     "Make the first account with the set-up code, and sign in",
     BODY({"code", FIELD_TEXT, true, "the code that the first start printed"},
	  {"name", FIELD_TEXT, true, "name of the account"},
	  {"password", FIELD_TEXT, true, "10 to 256 bytes"}),
     "Me"},
    {"POST", V1 "/login", api_login, ROLE_NOBODY, ROUTE_AUDIT | ROUTE_SECRET, "Sign in",
     BODY({"name", FIELD_TEXT, true, "name of the account"},
	  {"password", FIELD_TEXT, true, "its password"},
	  {"code", FIELD_TEXT, false, "of two-step sign-in, or a recovery code"}),
     "Me"},
    {"POST", V1 "/logout", api_logout, ROLE_VIEWER, ROUTE_AUDIT | ROUTE_REPLICA, "Sign out"},
    {"GET", V1 "/me", api_me_show, ROLE_VIEWER, ROUTE_REPLICA, "Who am I?", NULL, "Me"},
    {"POST", V1 "/me/password", api_me_password, ROLE_VIEWER,
     ROUTE_CHANGE | ROUTE_SECRET | ROUTE_REPLICA | ROUTE_DRY_DIFF,
     "Change one's own password; one's other sessions end",
     BODY({"old", FIELD_TEXT, true, "the password so far"},
	  {"new", FIELD_TEXT, true, "10 to 256 bytes"}),
     "Account"},
    {"POST", V1 "/me/confirm", api_me_confirm, ROLE_VIEWER,
     ROUTE_AUDIT | ROUTE_SECRET | ROUTE_REPLICA,
     "Give the password again; what can not be undone asks for it",
     BODY({"password", FIELD_TEXT, true, "the account's"}), "Me"},
    {"POST", V1 "/me/totp", api_totp_offer, ROLE_VIEWER,
     ROUTE_CHANGE | ROUTE_SECRET | ROUTE_CONFIRM | ROUTE_REPLICA,
     "A new key for two-step sign-in (RFC 6238); nothing changes yet"},
    {"POST", V1 "/me/totp/confirm", api_totp_confirm, ROLE_VIEWER,
     ROUTE_CHANGE | ROUTE_SECRET | ROUTE_REPLICA | ROUTE_DRY_DIFF,
     "Turn two-step sign-in on with a code of that key; shows the recovery codes",
     BODY({"code", FIELD_TEXT, true, "6 digits"})},
    {"DELETE", V1 "/me/totp", api_totp_delete, ROLE_VIEWER,
     ROUTE_CHANGE | ROUTE_CONFIRM | ROUTE_REPLICA | ROUTE_DRY_DIFF, "Turn two-step sign-in off"},
    {"GET", V1 "/accounts", api_account_list, ROLE_ADMIN, ROUTE_PAGED, "All accounts", NULL,
     "[Account]"},
    {"POST", V1 "/accounts", api_account_create, ROLE_ADMIN,
     ROUTE_CHANGE | ROUTE_SECRET | ROUTE_CONFIRM | ROUTE_DRY_DIFF, "Make an account",
     BODY({"name", FIELD_TEXT, true, "its name"},
	  {"role", FIELD_TEXT, true, "viewer, provisioner, operator, admin or replication"},
	  {"password", FIELD_TEXT, true, "10 to 256 bytes"}),
     "Account"},
    {"PATCH", V1 "/accounts/{name}", api_account_change, ROLE_ADMIN,
     ROUTE_CHANGE | ROUTE_SECRET | ROUTE_CONFIRM | ROUTE_DRY_DIFF,
     "Change an account's role or password; its sessions end",
     BODY({"role", FIELD_TEXT, false, "new role"}, {"password", FIELD_TEXT, false, "new password"},
	  {"totp", FIELD_SWITCH, false, "false: turn two-step sign-in off"}),
     "Account"},
    {"DELETE", V1 "/accounts/{name}", api_account_delete, ROLE_ADMIN,
     ROUTE_CHANGE | ROUTE_CONFIRM | ROUTE_DRY_DIFF, "Delete an account; its sessions end"},
    {"GET", V1 "/tokens", api_token_list, ROLE_ADMIN, ROUTE_PAGED, "All API tokens", NULL,
     "[Token]"},
    {"POST", V1 "/tokens", api_token_create, ROLE_ADMIN,
     ROUTE_CHANGE | ROUTE_SECRET | ROUTE_CONFIRM | ROUTE_DRY_DIFF,
     "Make an API token; it is shown this once",
     BODY({"name", FIELD_TEXT, true, "its name"},
	  {"role", FIELD_TEXT, true, "viewer, provisioner, operator, admin or replication"},
	  {"days", FIELD_NUMBER, false, "days until it expires (default 90)"}),
     "Token"},
    {"DELETE", V1 "/tokens/{name}", api_token_delete, ROLE_ADMIN, ROUTE_CHANGE | ROUTE_DRY_DIFF,
     "Delete an API token"},
    {"GET", V1 "/configuration", api_configuration_show, ROLE_OPERATOR, ROUTE_DOCUMENT,
     "All that is configured as one document, without secrets; YAML for who accepts "
     "application/yaml",
     NULL, "Configuration"},
    {"PUT", V1 "/configuration", api_configuration_apply, ROLE_ADMIN,
     ROUTE_AUDIT | ROUTE_CONFIRM | ROUTE_DRY | ROUTE_DOCUMENT,
     "Make what a document names so; what it does not name stays, data is never deleted",
     BODY({"document", FIELD_OBJECT, true, "as GET shows it"},
	  {"prune", FIELD_SWITCH, false,
	   "targets, host groups, exports of directories and schedules that it does not name go"}),
     "Plan"},
    {"GET", V1 "/backup", api_backup_show, ROLE_ADMIN, 0,
     "Is a backup uploaded, or staged: in place with the next start of the daemon?", NULL,
     "Backup"},
    {"POST", V1 "/backup", api_backup_make, ROLE_ADMIN, ROUTE_AUDIT | ROUTE_SECRET | ROUTE_CONFIRM,
     "Make a backup of configuration, accounts and keys, encrypted; kept for ten minutes",
     BODY(
	 {"passphrase", FIELD_TEXT, true, "10 to 256 bytes; without it the file is worth nothing"}),
     "BackupMade"},
    {"GET", V1 "/backup/{id}", api_backup_piece, ROLE_ADMIN, ROUTE_FILE,
     "A piece of a backup that was made, 1 MiB at most, from byte ?offset= on"},
    {"PUT", V1 "/backup/upload", api_backup_upload, ROLE_ADMIN, ROUTE_BYTES,
     "The next piece of a backup, 1 MiB at most, at ?offset= bytes; 0 begins anew",
     BODY({"data", FIELD_TEXT, true, "base64"}), "Backup"},
    {"POST", V1 "/backup/restore", api_backup_restore, ROLE_ADMIN,
     ROUTE_AUDIT | ROUTE_SECRET | ROUTE_CONFIRM | ROUTE_DRY,
     "Stage the backup that was uploaded: the next start of the daemon puts it in place; pools are "
     "not touched",
     BODY({"passphrase", FIELD_TEXT, true, "that it was made with"}), "BackupChanges"},
    {"DELETE", V1 "/backup", api_backup_cancel, ROLE_ADMIN, ROUTE_AUDIT | ROUTE_DRY_DIFF,
     "Take back a backup that was uploaded or staged, or forget one that was damaged", NULL,
     "Backup"},
    {"GET", V1 "/certificate", api_certificate_show, ROLE_VIEWER, 0,
     "The certificate of the web front", NULL, "Certificate"},
    {"PUT", V1 "/certificate", api_certificate_set, ROLE_ADMIN,
     ROUTE_CHANGE | ROUTE_SECRET | ROUTE_CONFIRM | ROUTE_DRY_DIFF,
     "Replace the web front's certificate; new connections use it at once",
     BODY({"chain", FIELD_TEXT, true, "the certificate, then its intermediates, in PEM"},
	  {"key", FIELD_TEXT, true, "its private key in PEM, without a pass phrase"}),
     "Certificate"},
    {"GET", V1 "/audit", api_audit_list, ROLE_OPERATOR, 0,
     "The audit log: newest first, or from ?after=ID on", NULL, "[AuditEntry]"},
    {"GET", V1 "/audit/check", api_audit_check, ROLE_OPERATOR, 0,
     "Does the audit log's chain of hashes hold?", NULL, "AuditCheck"},

    {"GET", V1 "/logs", api_log_list, ROLE_ADMIN, 0,
     "The last lines of the daemon's log, the oldest first: ?lines=1 to 1000 (200), ?severity= the "
     "least (debug)",
     NULL, "Log"},
    {"GET", V1 "/support/bundle", api_support_bundle, ROLE_ADMIN, ROUTE_FILE | ROUTE_AUDIT,
     "What is needed to find a fault, without secrets, as a gzip'ed tar"},

    {"POST", V1 "/network/check", api_network_check, ROLE_OPERATOR, 0,
     "Do packets as large as the MTU arrive at hosts, and come back? Echo requests, two seconds",
     BODY({"addresses", FIELD_TEXTS, false,
	   "IP addresses, 32 at most; without it all that have a session"}),
     "[PathCheck]"},

    {"GET", V1 "/appliance", api_appliance, ROLE_OPERATOR, 0,
     "The appliance's own settings: network, time, name; is a network on trial?", NULL,
     "Appliance"},
    {"PUT", V1 "/appliance/network", api_appliance, ROLE_ADMIN, ROUTE_CHANGE | ROUTE_DRY_DIFF,
     "Try a network; unless it is confirmed within a minute it goes back",
     BODY({"links", FIELD_OBJECTS, true, "ports, VLANs and bonds; a port without one asks DHCP"},
	  {"dns", FIELD_TEXTS, false, "name servers"}),
     "Appliance"},
    {"POST", V1 "/appliance/network/confirm", api_appliance, ROLE_ADMIN,
     ROUTE_CHANGE | ROUTE_DRY_DIFF, "The network on trial works: keep it", NULL, "Appliance"},
    {"POST", V1 "/appliance/network/revert", api_appliance, ROLE_ADMIN,
     ROUTE_CHANGE | ROUTE_DRY_DIFF, "Back to the network before the one on trial", NULL,
     "Appliance"},
    {"PUT", V1 "/appliance/time", api_appliance, ROLE_ADMIN, ROUTE_CHANGE | ROUTE_DRY_DIFF,
     "Where the time comes from",
     BODY({"time_servers", FIELD_TEXTS, false, "names or addresses; none: Debian's pool"},
	  {"timezone", FIELD_TEXT, false, "Europe/Zurich"}),
     "Appliance"},
    {"PUT", V1 "/appliance/name", api_appliance, ROLE_ADMIN, ROUTE_CHANGE | ROUTE_DRY_DIFF,
     "Name the machine", BODY({"name", FIELD_TEXT, true, "letters, digits and -"}), "Appliance"},
    {"POST", V1 "/appliance/restart", api_appliance, ROLE_ADMIN, ROUTE_CHANGE | ROUTE_CONFIRM,
     "Restart the machine"},
    {"POST", V1 "/appliance/poweroff", api_appliance, ROLE_ADMIN, ROUTE_CHANGE | ROUTE_CONFIRM,
     "Power the machine off"},

    {"GET", V1 "/appliance/update", api_appliance, ROLE_OPERATOR, 0,
     "Which release runs from which slot, which starts next, and how far an update is", NULL,
     "Update"},
    {"POST", V1 "/appliance/update", api_update, ROLE_ADMIN,
     ROUTE_AUDIT | ROUTE_CONFIRM | ROUTE_DRY_DIFF,
     "Write a signed bundle into the slot that does not run, read it back, and start from it next "
     "time, on trial; the bundle that was uploaded, or what a URL gives",
     BODY({"url", FIELD_TEXT, false, "https; without it the bundle that was uploaded"},
	  {"allow_older", FIELD_SWITCH, false,
	   "take an older release; it may not know this one's data"},
	  {"one_way", FIELD_SWITCH, false,
	   "take a release after whose first start this one can not run again"}),
     "Update"},
    {"DELETE", V1 "/appliance/update", api_update_cancel, ROLE_ADMIN, ROUTE_AUDIT,
     "Give up the install that is under way: its slot holds no release then, the one that runs is "
     "what starts next",
     NULL, "Update"},
    {"POST", V1 "/appliance/update/rollback", api_update, ROLE_ADMIN,
     ROUTE_AUDIT | ROUTE_CONFIRM | ROUTE_DRY_DIFF, "Start from the other slot next time", NULL,
     "Update"},
    {"POST", V1 "/appliance/update/bundle", api_appliance, ROLE_ADMIN, ROUTE_AUDIT,
     "Begin the upload of a bundle, or go on with one of that name and size; it takes the place "
     "of another",
     BODY({"name", FIELD_TEXT, true, "of the file"},
	  {"size", FIELD_NUMBER, true, "bytes, 4 GiB at most"},
	  {"anew", FIELD_SWITCH, false, "what is there is of another file, and goes"}),
     "Upload"},
    {"PUT", V1 "/appliance/update/bundle", api_update_piece, ROLE_ADMIN, ROUTE_BYTES,
     "The next piece of an upload, 1 MiB at most, at ?offset= bytes: as many as were received",
     BODY({"data", FIELD_TEXT, true, "base64"}), "Upload"},
    {"POST", V1 "/appliance/update/bundle/done", api_appliance, ROLE_ADMIN, ROUTE_AUDIT,
     "All pieces are there; what is in them is looked at by the update",
     BODY({"sha256", FIELD_TEXT, false,
	   "what it has to be, or it is not kept; needed when it was gone on with"}),
     "Bundle"},
    {"DELETE", V1 "/appliance/update/bundle", api_appliance, ROLE_ADMIN, ROUTE_AUDIT,
     "Delete the bundle that was uploaded, or what is there of one"},

    {"POST", V1 "/provision", api_provision, ROLE_PROVISIONER, ROUTE_CHANGE | ROUTE_DRY,
     "A volume, a target of its own, LUN 0 and a rule per host; or a share for images that its "
     "hosts may mount, to read; all or nothing",
     BODY({"purpose", FIELD_TEXT, true, "what for: vm-disks or iso-library"},
	  {"name", FIELD_TEXT, true, "name of the volume; the target is named after it"},
	  {"size", FIELD_SIZE, true, "size of the volume; of a library what its images may take"},
	  {"hosts", FIELD_TEXTS, true,
	   "who may log in: initiator names, addresses or networks; who may mount"},
	  {"mirror", FIELD_SWITCH, false, "two copies, on two devices of the pool"},
	  {"pool", FIELD_TEXT, false, "pool; without it the one with the most free space"}),
     "Provisioned"},

    {"GET", V1 "/disks", api_disk_list, ROLE_VIEWER, 0,
     "Block devices of the machine: what is on them, who uses them, which are free", NULL,
     "[Disk]"},
    {"GET", V1 "/disks/health", api_health_show, ROLE_VIEWER, 0,
     "How the disks say they are (SMART), as it was reported last", NULL, "DiskHealth"},
    {"POST", V1 "/disks/health", api_health_report, ROLE_ADMIN, 0,
     "For granary-smart, on the control socket alone: how the disks are",
     BODY({"disks", FIELD_OBJECTS, true, "name, status, detail and numbers of each"})},

    {"GET", V1 "/ups", api_ups_show, ROLE_VIEWER, 0, "The UPS, and how it is", NULL, "Ups"},
    {"PUT", V1 "/ups", api_ups_set, ROLE_ADMIN, ROUTE_CHANGE | ROUTE_CONFIRM | ROUTE_DRY_DIFF,
     "Watch a UPS, which a server of Network UPS Tools tells of; power off when it is at its end",
     BODY(
	 {"host", FIELD_TEXT, true, "name or address of the server"},
	 {"ups", FIELD_TEXT, true, "the UPS's name there"},
	 {"port", FIELD_NUMBER, false, "default 3493"},
	 {"shutdown_at", FIELD_TEXT, false, "low (default), or after how many seconds on battery"}),
     "Ups"},
    {"DELETE", V1 "/ups", api_ups_clear, ROLE_ADMIN, ROUTE_CHANGE | ROUTE_DRY_DIFF, "Watch no UPS"},

    {"GET", V1 "/pools", api_pool_list, ROLE_VIEWER, ROUTE_REPLICA, "All pools with their space",
     NULL, "[Pool]"},
    {"POST", V1 "/pools", api_pool_create, ROLE_ADMIN,
     ROUTE_CHANGE | ROUTE_CONFIRM | ROUTE_DRY_DIFF, "Create a pool on devices or files",
     BODY({"name", FIELD_TEXT, true, "name of the pool"},
	  {"devices", FIELD_DEVICES, false, "devices or files; a file with a size is created"},
	  PLACE_FIELDS, {"force", FIELD_SWITCH, false, "write over another pool or file system"}),
     "Pool"},
    {"POST", V1 "/pools/import", api_pool_import, ROLE_ADMIN, ROUTE_CHANGE | ROUTE_DRY_DIFF,
     "Take in a pool that already is on devices or files",
     BODY({"devices", FIELD_DEVICES, false, "its devices or files"}, PLACE_FIELDS,
	  {"name", FIELD_TEXT, false, "another name that it has from now on"},
	  {"rewind", FIELD_SWITCH, false, "take the older root of a pool that lost its newest"},
	  {"degraded", FIELD_SWITCH, false, "do without one missing device of mirrored volumes"}),
     "Pool"},
    {"GET", V1 "/pools/{pool}", api_pool_show, ROLE_VIEWER, ROUTE_REPLICA, "One pool", NULL,
     "Pool"},
    {"DELETE", V1 "/pools/{pool}", api_pool_delete, ROLE_ADMIN,
     ROUTE_CHANGE | ROUTE_CONFIRM | ROUTE_DRY, "Close and forget a pool without volumes"},
    {"PATCH", V1 "/pools/{pool}", api_pool_change, ROLE_ADMIN, ROUTE_CHANGE | ROUTE_DRY_DIFF,
     "Set a pool's watermarks, how long it keeps what was deleted, or when it is scrubbed",
     BODY({"watermarks", FIELD_TEXT, false, "three percents: 80,90,95"},
	  {"scrub_every", FIELD_TEXT, false,
	   "as of a schedule: weekly, monthly, \"30 2 * * 6\", 720h; none"},
	  {"undelete_hours", FIELD_NUMBER, false,
	   "volumes and shares stay in its bin for so long, 8760 at most; 0: none goes there"}),
     "Pool"},
    {"POST", V1 "/pools/{pool}/devices", api_pool_add, ROLE_ADMIN,
     ROUTE_CHANGE | ROUTE_CONFIRM | ROUTE_DRY_DIFF, "Add devices or files to a pool in use",
     BODY({"devices", FIELD_DEVICES, true, "devices or files; a file with a size is created"},
	  {"force", FIELD_SWITCH, false, "write over another pool or file system"}),
     "Pool"},
    {"POST", V1 "/pools/{pool}/remove", api_pool_remove, ROLE_ADMIN,
     ROUTE_CHANGE | ROUTE_CONFIRM | ROUTE_DRY_DIFF, "Take an evacuated device out of a pool",
     BODY({"device", FIELD_TEXT, true, "its path"}), "Pool"},
    {"POST", V1 "/pools/{pool}/evacuate", api_pool_evacuate, ROLE_ADMIN,
     ROUTE_CHANGE | ROUTE_DRY_DIFF, "Move what is on a device to the others, in the background",
     BODY({"device", FIELD_TEXT, true, "its path"},
	  {"action", FIELD_TEXT, false, "start, pause, resume or stop"}),
     "Pool"},
    {"POST", V1 "/pools/{pool}/online", api_pool_online, ROLE_ADMIN, ROUTE_CHANGE | ROUTE_DRY_DIFF,
     "Take back the device that a pool goes on without, and make it good in the background",
     BODY({"device", FIELD_TEXT, false, "its path, if it is not where it was"}), "Pool"},
    {"POST", V1 "/pools/{pool}/offline", api_pool_offline, ROLE_ADMIN,
     ROUTE_CHANGE | ROUTE_CONFIRM | ROUTE_DRY_DIFF,
     "Go on without a device that is whole, to take it out or put another in its place; mirrored "
     "volumes have one copy until then",
     BODY({"device", FIELD_TEXT, true, "its path"}), "Pool"},
    {"POST", V1 "/pools/{pool}/replace", api_pool_replace, ROLE_ADMIN,
     ROUTE_CHANGE | ROUTE_CONFIRM | ROUTE_DRY_DIFF,
     "Put another device in the place of the one that a pool goes on without, which is dead",
     BODY({"device", FIELD_TEXT, true, "the dead one's path; \"missing\": not known"},
	  {"devices", FIELD_DEVICES, true, "one device or file; a file with a size is created"},
	  {"force", FIELD_SWITCH, false, "write over another pool or file system"}),
     "Pool"},
    {"POST", V1 "/pools/{pool}/grow", api_pool_grow, ROLE_ADMIN, ROUTE_CHANGE | ROUTE_DRY_DIFF,
     "Use what a pool's devices or files have grown by", NULL, "Pool"},
    {"POST", V1 "/pools/{pool}/check", api_pool_check, ROLE_OPERATOR, ROUTE_CHANGE,
     "Walk a pool's structures and compare them",
     BODY({"data", FIELD_SWITCH, false, "verify every block's checksum too"})},
    {"POST", V1 "/pools/{pool}/prove", api_pool_prove, ROLE_OPERATOR, ROUTE_CHANGE | ROUTE_DRY_DIFF,
     "Write, flush and verify a volume of its own: does the storage keep its promises?",
     BODY({"seconds", FIELD_NUMBER, false, "1 to 600 (20); other changes wait meanwhile"})},
    {"POST", V1 "/disks/prove", api_disk_prove, ROLE_ADMIN,
     ROUTE_CHANGE | ROUTE_CONFIRM | ROUTE_DRY_DIFF,
     "Write over the first GiB of a device or file that is nobody's: is it fit for a pool?",
     BODY({"path", FIELD_TEXT, true, "of the device or file"},
	  {"size", FIELD_SIZE, false, "of a file that is made for it, and removed"},
	  {"seconds", FIELD_NUMBER, false, "1 to 600 (20); other changes wait meanwhile"},
	  {"force", FIELD_SWITCH, false, "write over whatever is on it"})},
    {"POST", V1 "/pools/check", api_pool_check_devices, ROLE_OPERATOR, ROUTE_CHANGE,
     "Check devices or files of a pool that is not in use; changes nothing",
     BODY({"devices", FIELD_DEVICES, true, "its devices or files"},
	  {"data", FIELD_SWITCH, false, "verify every block's checksum too"})},
    {"POST", V1 "/pools/{pool}/export", api_pool_export, ROLE_ADMIN,
     ROUTE_CHANGE | ROUTE_CONFIRM | ROUTE_DRY,
     "Close a pool and forget it; its devices hold it all"},
    {"GET", V1 "/pools/{pool}/scrub", api_scrub_show, ROLE_VIEWER, 0,
     "How far a pool's scrub is, and what it found"},
    {"POST", V1 "/pools/{pool}/scrub", api_scrub_change, ROLE_OPERATOR,
     ROUTE_CHANGE | ROUTE_DRY_DIFF, "Start, pause, resume or stop the scrub of a pool",
     BODY({"action", FIELD_TEXT, false, "start, pause, resume or stop"},
	  {"rate", FIELD_SIZE, false, "bytes a second at most"})},
    {"GET", V1 "/pools/{pool}/usage", api_pool_usage, ROLE_VIEWER, 0,
     "How full a pool has been, a row an hour, and when it will be full like this", NULL,
     "PoolUsage"},
    {"GET", V1 "/pools/{pool}/findings", api_finding_list, ROLE_VIEWER, 0,
     "Damage that reads and scrubs have met"},
    {"DELETE", V1 "/pools/{pool}/findings", api_finding_clear, ROLE_OPERATOR,
     ROUTE_CHANGE | ROUTE_DRY_DIFF, "Forget the findings"},

    {"GET", V1 "/volumes", api_volume_list, ROLE_VIEWER, ROUTE_PAGED | ROUTE_REPLICA, "All volumes",
     NULL, "[Volume]"},
    {"POST", V1 "/volumes", api_volume_create, ROLE_PROVISIONER, ROUTE_CHANGE | ROUTE_DRY_DIFF,
     "Create a thin volume, or make a device of the machine one",
     BODY({"pool", FIELD_TEXT, true, "name of the pool"},
	  {"name", FIELD_TEXT, true, "name of the volume"},
	  {"size", FIELD_SIZE, false, "1 MiB to 64 TiB; not for a device"},
	  {"checksum", FIELD_TEXT, false, "off, standard or strict"},
	  {"mirror", FIELD_SWITCH, false, "two copies, on two devices of the pool"},
	  {"reserve", FIELD_SIZE, false, "space that is the volume's own"},
	  {"quota", FIELD_SIZE, false, "what it may take with its snapshots"},
	  {"device", FIELD_TEXT, false, "a block device or file as it is; pool is passthrough"},
	  {"read_only", FIELD_SWITCH, false, "of a device"},
	  {"naa", FIELD_TEXT, false, "identity of a device: NAA name, 16 or 32 hex digits"},
	  {"serial", FIELD_TEXT, false, "likewise: serial number, 32 characters at most"},
	  {"vendor", FIELD_TEXT, false, "likewise: T10 vendor identification, 8"},
	  {"product", FIELD_TEXT, false, "likewise: product identification, 16"},
	  {"t10", FIELD_TEXT, false, "likewise: the T10 designator behind the vendor, 64"}),
     "Volume"},
    {"GET", V1 "/volumes/{pool}/{volume}", api_volume_show, ROLE_VIEWER, ROUTE_REPLICA,
     "One volume", NULL, "Volume"},
    {"PATCH", V1 "/volumes/{pool}/{volume}", api_volume_change, ROLE_PROVISIONER,
     ROUTE_CHANGE | ROUTE_STILL | ROUTE_DRY_DIFF,
     "Resize or rename a volume, limit it, or change its share of the pool; one at a time",
     BODY({"name", FIELD_TEXT, false, "new name"}, {"size", FIELD_SIZE, false, "new size"},
	  {"shrink", FIELD_SWITCH, false, "the new size may be smaller"},
	  {"iops", FIELD_NUMBER, false, "operations a second at most; 0: no limit"},
	  {"bandwidth", FIELD_SIZE, false, "bytes a second at most; 0: no limit"},
	  {"burst", FIELD_TEXT, false, "time whose worth may be used at once: 500ms, 10s"},
	  {"reserve", FIELD_SIZE, false, "space that is the volume's own; 0: none"},
	  {"quota", FIELD_SIZE, false, "what it may take with its snapshots; 0: no quota"}),
     "Volume"},
    {"POST", V1 "/volumes/{pool}/{volume}/take", api_volume_take, ROLE_OPERATOR,
     ROUTE_CHANGE | ROUTE_STILL, "Serve a volume here that another gateway serves now", NULL,
     "Volume"},
    {"POST", V1 "/volumes/{pool}/{volume}/move", api_volume_move, ROLE_OPERATOR, ROUTE_CHANGE,
     "Move a volume to another pool while it is used, in the background",
     BODY({"pool", FIELD_TEXT, false, "where to; to start with"},
	  {"action", FIELD_TEXT, false, "start, pause, resume, rate or stop"},
	  {"rate", FIELD_SIZE, false, "bytes a second at most; none: as fast as it goes"},
	  {"without_snapshots", FIELD_SWITCH, false, "its snapshots are deleted at the end"}),
     "Move"},
    {"GET", V1 "/moves", api_move_list, ROLE_VIEWER, 0, "Volumes on their way to other pools", NULL,
     "[Move]"},
    {"POST", V1 "/volumes/{pool}/{volume}/rescan", api_volume_rescan, ROLE_PROVISIONER,
     ROUTE_CHANGE, "Look how large the device behind a volume is now", NULL, "Volume"},
    {"DELETE", V1 "/volumes/{pool}/{volume}", api_volume_delete, ROLE_PROVISIONER,
     ROUTE_CHANGE | ROUTE_CONFIRM | ROUTE_STILL | ROUTE_DRY,
     "Delete a volume for good, or with ?to_bin=1 into its pool's bin for undelete_hours; "
     "?snapshots=1: its snapshots go with it",
     NULL, "Deleted"},
    {"GET", V1 "/bin", api_bin_list, ROLE_VIEWER, ROUTE_PAGED,
     "Volumes and shares that were deleted and can be had back", NULL, "[Binned]"},
    {"POST", V1 "/bin/{pool}/{id}/restore", api_bin_restore, ROLE_PROVISIONER,
     ROUTE_CHANGE | ROUTE_DRY_DIFF,
     "Bring back what was deleted, by its id, or the last one of a name: with its identity, data "
     "and snapshots, a share with its rules",
     BODY({"name", FIELD_TEXT, false, "another name, if its own is another one's meanwhile"})},
    {"POST", V1 "/bin/{pool}/{id}/give-up", api_bin_give_up, ROLE_ADMIN,
     ROUTE_CHANGE | ROUTE_CONFIRM,
     "Delete it for good if its time is over, or its pool at its end; the daemon does it itself",
     NULL, "Deleted"},
    {"DELETE", V1 "/bin/{pool}/{id}", api_bin_delete, ROLE_PROVISIONER,
     ROUTE_CHANGE | ROUTE_CONFIRM | ROUTE_DRY, "Delete for good what is in the bin"},
    {"DELETE", V1 "/bin/{pool}", api_bin_empty, ROLE_PROVISIONER,
     ROUTE_CHANGE | ROUTE_CONFIRM | ROUTE_DRY, "Delete for good all that is in a pool's bin"},
    {"POST", V1 "/volumes/{pool}/{volume}/rollback", api_volume_rollback, ROLE_OPERATOR,
     ROUTE_CHANGE | ROUTE_CONFIRM | ROUTE_STILL | ROUTE_DRY_DIFF,
     "Make a volume what it was at a snapshot; what it is now is kept as another",
     BODY({"snapshot", FIELD_TEXT, true, "name of the snapshot"},
	  {"keep", FIELD_TEXT, false, "name for a snapshot of what it is now"}),
     "Volume"},
    {"POST", V1 "/volumes/{pool}/{volume}/promote", api_volume_promote, ROLE_PROVISIONER,
     ROUTE_CHANGE | ROUTE_STILL | ROUTE_DRY_DIFF,
     "Have a clone take over the snapshots it stands on", NULL, "Volume"},
    {"POST", V1 "/snapshots", api_snapshot_create, ROLE_PROVISIONER, ROUTE_CHANGE | ROUTE_DRY_DIFF,
     "Make snapshots, all of them of the same instant",
     BODY({"snapshots", FIELD_TEXTS, true, "POOL/VOLUME@SNAPSHOT each, in one pool"},
	  {"expendable", FIELD_SWITCH, false,
	   "they may be given up when the pool is at its end; default no"})},
    {"GET", V1 "/volumes/{pool}/{volume}/snapshots", api_snapshot_list, ROLE_VIEWER, ROUTE_PAGED,
     "A volume's snapshots, the oldest first; with ?measure=SECONDS what each holds alone is "
     "looked for that long"},
    {"GET", V1 "/volumes/{pool}/{volume}/snapshots/{snapshot}", api_snapshot_show, ROLE_VIEWER, 0,
     "One snapshot, and what deleting it would give back"},
    {"PATCH", V1 "/volumes/{pool}/{volume}/snapshots/{snapshot}", api_snapshot_change,
     ROLE_PROVISIONER, ROUTE_CHANGE | ROUTE_STILL | ROUTE_DRY_DIFF,
     "Rename a snapshot, keep it from being deleted, or say whether it may be given up",
     BODY({"name", FIELD_TEXT, false, "new name"},
	  {"held", FIELD_SWITCH, false, "hold it until it is released"},
	  {"hold_until", FIELD_NUMBER, false, "hold it until then, seconds since 1970"},
	  {"expendable", FIELD_SWITCH, false, "it may be given up when the pool is at its end"})},
    {"DELETE", V1 "/volumes/{pool}/{volume}/snapshots/{snapshot}", api_snapshot_delete,
     ROLE_PROVISIONER, ROUTE_CHANGE | ROUTE_CONFIRM | ROUTE_DRY_DIFF, "Delete a snapshot"},
    {"POST", V1 "/volumes/{pool}/{volume}/snapshots/{snapshot}/give-up", api_snapshot_give_up,
     ROLE_ADMIN, ROUTE_CHANGE | ROUTE_CONFIRM,
     "Delete a snapshot that may be given up, if its pool is at its end; the daemon does it "
     "itself"},
    {"POST", V1 "/volumes/{pool}/{volume}/snapshots/{snapshot}/clone", api_snapshot_clone,
     ROLE_PROVISIONER, ROUTE_CHANGE | ROUTE_STILL | ROUTE_DRY_DIFF,
     "Make a writable volume of a snapshot",
     BODY({"name", FIELD_TEXT, true, "name of the new volume"}), "Volume"},
    {"GET", V1 "/volumes/{pool}/{volume}/snapshots/{snapshot}/diff", api_snapshot_diff, ROLE_VIEWER,
     0, "What has changed since a snapshot: up to ?to=SNAPSHOT, or now"},
    {"GET", V1 "/volumes/{pool}/{volume}/latency", api_volume_latency, ROLE_VIEWER, 0,
     "How long reads and writes of its LUNs took, since they were mapped", NULL, "Latency"},
    {"GET", V1 "/snapshot-schedules", api_schedule_list, ROLE_VIEWER, ROUTE_PAGED,
     "Schedules of snapshots, and what came of their last runs", NULL, "[SnapshotSchedule]"},
    {"POST", V1 "/snapshot-schedules", api_schedule_create, ROLE_PROVISIONER,
     ROUTE_CHANGE | ROUTE_DRY_DIFF, "Have snapshots made at certain times, and old ones deleted",
     BODY({"name", FIELD_TEXT, true, "of the schedule"},
	  {"volumes", FIELD_TEXTS, true, "POOL/NAME each, of one pool: snapshots of one instant"},
	  {"every", FIELD_TEXT, true,
	   "15m, hourly, daily, weekly, monthly, or five fields as cron has them, in local time"},
	  {"keep", FIELD_TEXT, false, "last=4,hourly=24,daily=7,weekly=4,monthly=12; or all"},
	  {"prefix", FIELD_TEXT, false, "of the snapshots' names; default auto"},
	  {"expendable", FIELD_SWITCH, false,
	   "its snapshots may be given up when the pool is at its end; default no"},
	  {"zone", FIELD_TEXT, false,
	   "Asia/Shanghai: whose time; empty: the machine's, the default"}),
     "SnapshotSchedule"},
    {"GET", V1 "/snapshot-schedules/{schedule}", api_schedule_show, ROLE_VIEWER, 0,
     "One schedule of snapshots", NULL, "SnapshotSchedule"},
    {"PATCH", V1 "/snapshot-schedules/{schedule}", api_schedule_change, ROLE_PROVISIONER,
     ROUTE_CHANGE | ROUTE_DRY_DIFF,
     "Change a schedule; what is not named stays, and so do the snapshots it has made",
     BODY({"volumes", FIELD_TEXTS, false, "POOL/NAME each, of one pool: all there are to be"},
	  {"every", FIELD_TEXT, false, "as when it is made"},
	  {"keep", FIELD_TEXT, false, "last=4,hourly=24,daily=7,weekly=4,monthly=12; or all"},
	  {"prefix", FIELD_TEXT, false,
	   "of the snapshots' names; those with another one are no longer deleted by it"},
	  {"expendable", FIELD_SWITCH, false,
	   "snapshots made from now on may be given up when the pool is at its end"},
	  {"zone", FIELD_TEXT, false, "Asia/Shanghai: whose time; empty: the machine's"}),
     "SnapshotSchedule"},
    {"DELETE", V1 "/snapshot-schedules/{schedule}", api_schedule_delete, ROLE_PROVISIONER,
     ROUTE_CHANGE | ROUTE_DRY_DIFF, "Delete a schedule; its snapshots stay"},
    {"POST", V1 "/snapshot-schedules/{schedule}/run", api_schedule_run, ROLE_PROVISIONER,
     ROUTE_CHANGE, "Make the snapshots of a schedule now, and delete what is kept no longer", NULL,
     "SnapshotSchedule"},

    {"GET", V1 "/alerts", api_alert_list, ROLE_VIEWER, ROUTE_PAGED,
     "What is wrong; with ?all=1 also what has cleared", NULL, "[Alert]"},
    {"GET", V1 "/alerts/{id}", api_alert_show, ROLE_VIEWER, 0, "One alert", NULL, "Alert"},
    {"POST", V1 "/alerts/{id}/ack", api_alert_ack, ROLE_OPERATOR, ROUTE_CHANGE,
     "Somebody sees to it: it says no more until it has cleared", NULL, "Alert"},
    {"GET", V1 "/alert-rules", api_alert_rule_list, ROLE_VIEWER, 0, "What is watched", NULL,
     "[AlertRule]"},
    {"PATCH", V1 "/alert-rules/{rule}", api_alert_rule_change, ROLE_OPERATOR,
     ROUTE_CHANGE | ROUTE_DRY_DIFF, "Change when a rule fires, how severe it is, or turn it off",
     BODY({"enabled", FIELD_SWITCH, false, "false: it fires no more"},
	  {"severity", FIELD_TEXT, false, "info, warning or critical"},
	  {"after", FIELD_TEXT, false, "how long it has to be so: 0s, 30s, 5m"},
	  {"clear", FIELD_TEXT, false, "how long it has to be well again"},
	  {"level", FIELD_NUMBER, false, "of what is measured, for rules that have one"}),
     "AlertRule"},
    {"GET", V1 "/alert-silences", api_silence_list, ROLE_VIEWER, ROUTE_PAGED,
     "What is not told for a while", NULL, "[AlertSilence]"},
    {"POST", V1 "/alert-silences", api_silence_create, ROLE_OPERATOR, ROUTE_CHANGE | ROUTE_DRY_DIFF,
     "Have alerts of a rule, an object, or both, told to nobody for a while",
     BODY({"for", FIELD_TEXT, true, "how long: 30m, 2h, 7d"},
	  {"rule", FIELD_TEXT, false, "without it every rule"},
	  {"object", FIELD_TEXT, false, "without it every object"},
	  {"reason", FIELD_TEXT, false, "for people"}),
     "AlertSilence"},
    {"DELETE", V1 "/alert-silences/{id}", api_silence_delete, ROLE_OPERATOR,
     ROUTE_CHANGE | ROUTE_DRY_DIFF, "End a silence"},
    {"GET", V1 "/alert-channels", api_channel_list, ROLE_OPERATOR, ROUTE_PAGED,
     "Where alerts are sent, without secrets", NULL, "[AlertChannel]"},
    {"POST", V1 "/alert-channels", api_channel_create, ROLE_ADMIN,
     ROUTE_CHANGE | ROUTE_SECRET | ROUTE_CONFIRM | ROUTE_DRY_DIFF, "Have alerts sent somewhere",
     BODY({"name", FIELD_TEXT, true, "of the channel"},
	  {"kind", FIELD_TEXT, true, "email, webhook, syslog or snmp"}, CHANNEL_FIELDS),
     "AlertChannel"},
    {"GET", V1 "/alert-channels/{channel}", api_channel_show, ROLE_OPERATOR, 0,
     "One channel, without secrets", NULL, "AlertChannel"},
    {"PATCH", V1 "/alert-channels/{channel}", api_channel_change, ROLE_ADMIN,
     ROUTE_CHANGE | ROUTE_SECRET | ROUTE_CONFIRM | ROUTE_DRY_DIFF,
     "Change a channel; what is not named stays", BODY(CHANNEL_FIELDS), "AlertChannel"},
    {"DELETE", V1 "/alert-channels/{channel}", api_channel_delete, ROLE_ADMIN,
     ROUTE_CHANGE | ROUTE_CONFIRM | ROUTE_DRY_DIFF, "Send nothing there any more"},
    {"POST", V1 "/alert-channels/{channel}/test", api_channel_test, ROLE_OPERATOR, ROUTE_AUDIT,
     "Send a test message now, and wait for what comes of it"},

    {"GET", V1 "/shares", api_share_list, ROLE_VIEWER, ROUTE_PAGED, "All shares", NULL, "[Share]"},
    {"POST", V1 "/shares", api_share_create, ROLE_PROVISIONER, ROUTE_CHANGE | ROUTE_DRY_DIFF,
     "Create a share: a file system on a thin volume of its own",
     BODY({"pool", FIELD_TEXT, true, "name of the pool"},
	  {"name", FIELD_TEXT, true, "name of the share and of its volume"},
	  {"quota", FIELD_SIZE, false, "what its files may take; without it what the pool has"},
	  {"versions", FIELD_TEXTS, false, "of NFS: 3, 4.0, 4.1, 4.2; without it all"},
	  {"mirror", FIELD_SWITCH, false, "two copies, on two devices of the pool"},
	  {"preset", FIELD_TEXT, false,
	   "root and folders as iso, xenserver, ovirt, proxmox or esxi "
	   "want them"}),
     "Share"},
    {"POST", V1 "/shares/import", api_share_import, ROLE_PROVISIONER, ROUTE_CHANGE,
     "Take in a share that came with an imported pool",
     BODY({"pool", FIELD_TEXT, true, "name of the pool"},
	  {"name", FIELD_TEXT, true, "name of the volume that holds it"}),
     "Share"},
    {"GET", V1 "/shares/{pool}/{share}", api_share_show, ROLE_VIEWER, 0, "One share", NULL,
     "Share"},
    {"PATCH", V1 "/shares/{pool}/{share}", api_share_change, ROLE_PROVISIONER,
     ROUTE_CHANGE | ROUTE_DRY_DIFF,
     "Change a share's quota, the versions of NFS it is served with, how clients see snapshots",
     BODY({"quota", FIELD_SIZE, false, "0: none"},
	  {"versions", FIELD_TEXTS, false, "3, 4.0, 4.1, 4.2"},
	  {"snapshots", FIELD_TEXT, false, "/.snapshot: hidden (in no listing), visible, none"}),
     "Share"},
    {"DELETE", V1 "/shares/{pool}/{share}", api_share_delete, ROLE_PROVISIONER,
     ROUTE_CHANGE | ROUTE_CONFIRM | ROUTE_DRY,
     "Delete a share with all its files for good, or with ?to_bin=1 into its pool's bin for "
     "undelete_hours; ?snapshots=1: its snapshots go with it",
     NULL, "Deleted"},
    {"POST", V1 "/shares/{pool}/{share}/check", api_share_check, ROLE_OPERATOR, ROUTE_CHANGE,
     "Walk a share's structures and compare them"},
    {"POST", V1 "/shares/{pool}/{share}/restore", api_share_restore, ROLE_PROVISIONER, ROUTE_AUDIT,
     "Bring one file back as it was in a snapshot",
     BODY({"snapshot", FIELD_TEXT, true, "its name, without the share's"},
	  {"path", FIELD_TEXT, true, "of the file, from the root of the share"},
	  {"to", FIELD_TEXT, false, "where nothing is yet; without it, the file's own place"})},
    {"GET", V1 "/shares/{pool}/{share}/users", api_share_users, ROLE_VIEWER, ROUTE_PAGED,
     "What the files of each user take, and may take; nobody before the first limit", NULL,
     "[ShareUser]"},
    {"PUT", V1 "/shares/{pool}/{share}/users/{uid}", api_share_user_limit, ROLE_PROVISIONER,
     ROUTE_CHANGE | ROUTE_DRY_DIFF,
     "Limit what the files of a user take; the first limit of a share has all files counted",
     BODY({"limit", FIELD_SIZE, false, "of their space; 0: none"},
	  {"files", FIELD_NUMBER, false, "of their number; 0: none"}),
     "ShareUser"},
    {"GET", V1 "/shares/{pool}/{share}/rules", api_share_rules, ROLE_VIEWER, 0,
     "Who may use a share over NFS", NULL, "[ShareRule]"},
    {"POST", V1 "/shares/{pool}/{share}/rules", api_share_allow, ROLE_PROVISIONER,
     ROUTE_CHANGE | ROUTE_DRY_DIFF, "Let a client use a share over NFS, exported as /NAME",
     BODY({"client", FIELD_TEXT, true,
	   "address, CIDR, name of a host, * or cert:NAME (who has a certificate with that name, "
	   "from "
	   "wherever); an earlier rule for it is replaced"},
	  {"read_only", FIELD_SWITCH, false, "no changes"},
	  {"insecure", FIELD_SWITCH, false, "from any port, not only below 1024"},
	  {"squash", FIELD_TEXT, false, "root (default), all or none: who becomes anonymous"},
	  {"security", FIELD_TEXT, false,
	   "any (default), tls: only over TLS (RFC 9289), mtls: and with a certificate"},
	  {"anon_uid", FIELD_NUMBER, false, "default 65534"},
	  {"anon_gid", FIELD_NUMBER, false, "default 65534"}),
     "[ShareRule]"},
    {"DELETE", V1 "/shares/{pool}/{share}/rules", api_share_deny, ROLE_PROVISIONER,
     ROUTE_CHANGE | ROUTE_DRY_DIFF,
     "Take a client's rule away; with the last one the share is not exported",
     BODY({"client", FIELD_TEXT, true, "as the rule has it"}), "[ShareRule]"},
    {"GET", V1 "/shares/{pool}/{share}/latency", api_share_latency, ROLE_VIEWER, 0,
     "How long NFS requests about it took, since it is exported", NULL, "NfsLatency"},
    {"GET", V1 "/shares/{pool}/{share}/explain/{client}", api_share_explain, ROLE_VIEWER, 0,
     "Which rule decides about a client, and why", NULL, "ShareAccess"},
    {"GET", V1 "/shares/{pool}/{share}/images", api_image_list, ROLE_VIEWER, 0,
     "Images for installing guests, and those whose upload is not done", NULL, "[Image]"},
    {"POST", V1 "/shares/{pool}/{share}/images", api_image_begin, ROLE_PROVISIONER, ROUTE_AUDIT,
     "Begin the upload of an image, or go on with one of that name and size",
     BODY({"name", FIELD_TEXT, true, "of the file"},
	  {"size", FIELD_NUMBER, true, "bytes, 64 GiB at most"},
	  {"anew", FIELD_SWITCH, false, "what is there is of another file, and goes"}),
     "Upload"},
    {"PUT", V1 "/shares/{pool}/{share}/images/{image}", api_image_put, ROLE_PROVISIONER,
     ROUTE_BYTES,
     "The next piece of an upload, 1 MiB at most, at ?offset= bytes: as many as were received",
     BODY({"data", FIELD_TEXT, true, "base64"}), "Upload"},
    {"POST", V1 "/shares/{pool}/{share}/images/{image}/done", api_image_end, ROLE_PROVISIONER,
     ROUTE_AUDIT, "All pieces are there: check it and give it its name",
     BODY({"sha256", FIELD_TEXT, false,
	   "what it has to be, or it is not kept; needed when it was gone on with"}),
     "Image"},
    {"DELETE", V1 "/shares/{pool}/{share}/images/{image}", api_image_delete, ROLE_PROVISIONER,
     ROUTE_AUDIT | ROUTE_CONFIRM | ROUTE_DRY_DIFF, "Delete an image, or what is there of one"},

    {"GET", V1 "/directories", api_directory_list, ROLE_VIEWER, ROUTE_PAGED,
     "Directories of this machine that are exported, read-only", NULL, "[Directory]"},
    {"POST", V1 "/directories", api_directory_create, ROLE_ADMIN,
     ROUTE_CHANGE | ROUTE_DRY_DIFF | ROUTE_CONFIRM,
     "Export a directory of this machine as /NAME, read-only, once a rule lets somebody use it; it "
     "has to be in one of those that granaryd was started with (--directories-in)",
     BODY({"name", FIELD_TEXT, true, "it is exported as /NAME; no share's"},
	  {"path", FIELD_TEXT, true, "absolute, without symbolic links"},
	  {"versions", FIELD_TEXTS, false, "of NFS: 3, 4.0, 4.1, 4.2; without it all"}),
     "Directory"},
    {"GET", V1 "/directories/{directory}", api_directory_show, ROLE_VIEWER, 0, "One directory",
     NULL, "Directory"},
    {"PATCH", V1 "/directories/{directory}", api_directory_change, ROLE_ADMIN,
     ROUTE_CHANGE | ROUTE_DRY_DIFF, "Change the versions of NFS that a directory is served with",
     BODY({"versions", FIELD_TEXTS, true, "3, 4.0, 4.1, 4.2"}), "Directory"},
    {"DELETE", V1 "/directories/{directory}", api_directory_delete, ROLE_ADMIN,
     ROUTE_CHANGE | ROUTE_DRY_DIFF, "Export a directory no longer; nothing in it is touched"},
    {"GET", V1 "/directories/{directory}/rules", api_directory_rules, ROLE_VIEWER, 0,
     "Who may read a directory over NFS", NULL, "[ShareRule]"},
    {"POST", V1 "/directories/{directory}/rules", api_directory_allow, ROLE_ADMIN,
     ROUTE_CHANGE | ROUTE_DRY_DIFF, "Let a client read a directory over NFS, exported as /NAME",
     BODY({"client", FIELD_TEXT, true,
	   "address, CIDR, name of a host, * or cert:NAME, as with shares; an earlier rule for it "
	   "is replaced"},
	  {"read_only", FIELD_SWITCH, false, "it always is"},
	  {"insecure", FIELD_SWITCH, false, "from any port, not only below 1024"},
	  {"squash", FIELD_TEXT, false,
	   "root (default), all or none: who becomes anonymous; with none, root reads every file"},
	  {"security", FIELD_TEXT, false,
	   "any (default), tls: only over TLS (RFC 9289), mtls: and with a certificate"},
	  {"anon_uid", FIELD_NUMBER, false, "default 65534"},
	  {"anon_gid", FIELD_NUMBER, false, "default 65534"}),
     "[ShareRule]"},
    {"DELETE", V1 "/directories/{directory}/rules", api_directory_deny, ROLE_ADMIN,
     ROUTE_CHANGE | ROUTE_DRY_DIFF,
     "Take a client's rule away; with the last one the directory is not exported",
     BODY({"client", FIELD_TEXT, true, "as the rule has it"}), "[ShareRule]"},
    {"GET", V1 "/directories/{directory}/latency", api_directory_latency, ROLE_VIEWER, 0,
     "How long NFS requests about it took, since it is exported", NULL, "NfsLatency"},
    {"GET", V1 "/directories/{directory}/explain/{client}", api_directory_explain, ROLE_VIEWER, 0,
     "Which rule decides about a client, and why", NULL, "ShareAccess"},

    {"GET", V1 "/nfs-clients", api_nfs_client_list, ROLE_VIEWER, ROUTE_PAGED,
     "Clients of NFSv4, and what they have open, locked and delegated", NULL, "[NfsClient]"},
    {"DELETE", V1 "/nfs-clients/{id}", api_nfs_client_release, ROLE_OPERATOR,
     ROUTE_CHANGE | ROUTE_DRY_DIFF,
     "Take all that a client of NFSv4 has open, locked and delegated from it"},
    {"GET", V1 "/nfs-hosts", api_nfs_host_list, ROLE_VIEWER, ROUTE_PAGED,
     "What hosts have read and written over NFS of any version, since they first came, and how "
     "long it took; those that have been away longest are not kept",
     NULL, "[NfsHost]"},
    {"GET", V1 "/nfs-hosts/{address}/latency", api_nfs_host_latency, ROLE_VIEWER, 0,
     "How long the NFS requests of a host took, since it first came", NULL, "NfsLatency"},
    {"GET", V1 "/nfs-operations", api_nfs_operation_list, ROLE_VIEWER, 0,
     "Operations of NFS that were asked for, and how long they took, since the daemon started",
     NULL, "[NfsOperation]"},
    {"GET", V1 "/nfs-tls", api_nfs_tls_show, ROLE_VIEWER, 0,
     "The certificate that NFS over TLS shows, and by what clients' are checked", NULL, "NfsTls"},
    {"PUT", V1 "/nfs-tls", api_nfs_tls_set, ROLE_ADMIN, ROUTE_CHANGE | ROUTE_SECRET | ROUTE_CONFIRM,
     "Replace the certificate of NFS over TLS, or whose are believed; new connections use it at "
     "once",
     BODY(
	 {"chain", FIELD_TEXT, false, "the certificate, then its intermediates, in PEM"},
	 {"key", FIELD_TEXT, false, "its private key in PEM, without a pass phrase"},
	 {"renew", FIELD_SWITCH, false, "a new pair for this machine's name and addresses instead"},
	 {"clients", FIELD_TEXT, false,
	  "of CAs, or of clients themselves, in PEM, 64 at most; empty: nobody's is believed"}),
     "NfsTls"},
    {"PUT", V1 "/shares/{pool}/{share}/smb", api_share_smb_set, ROLE_PROVISIONER,
     ROUTE_CHANGE | ROUTE_DRY_DIFF,
     "Serve a share over SMB too, as \\\\HOST\\NAME; what was set before is replaced",
     BODY({"guest", FIELD_SWITCH, false, "everybody may use it"},
	  {"read_only", FIELD_SWITCH, false, "no changes"},
	  {"users", FIELD_TEXTS, false, "SMB users that may use it"})},
    {"DELETE", V1 "/shares/{pool}/{share}/smb", api_share_smb_clear, ROLE_PROVISIONER,
     ROUTE_CHANGE | ROUTE_DRY_DIFF, "Serve a share over SMB no longer"},
    {"GET", V1 "/smb", api_smb_show, ROLE_VIEWER, 0,
     "Shares that are served over SMB, its users, and whether it is served"},
    {"PUT", V1 "/smb/users/{user}", api_smb_user_set, ROLE_ADMIN,
     ROUTE_CHANGE | ROUTE_SECRET | ROUTE_DRY_DIFF,
     "Make an SMB user, or give one a new password, which is never shown",
     BODY({"password", FIELD_TEXT, true, "10 bytes at least"},
	  {"uid", FIELD_NUMBER, false, "whose files are the user's; default from 70001 on"},
	  {"gid", FIELD_NUMBER, false, "default the uid"})},
    {"DELETE", V1 "/smb/users/{user}", api_smb_user_delete, ROLE_ADMIN,
     ROUTE_CHANGE | ROUTE_DRY_DIFF, "Delete an SMB user"},
    {"POST", V1 "/smb/serve", api_smb_serve, ROLE_ADMIN, ROUTE_SECRET,
     "For granary-smb, on the control socket alone: what it has to serve",
     BODY({"port", FIELD_NUMBER, false, "where it serves, 0: nowhere"},
	  {"reason", FIELD_TEXT, false, "why not"})},

    {"GET", V1 "/targets", api_target_list, ROLE_VIEWER, ROUTE_PAGED, "All targets", NULL,
     "[Target]"},
    {"POST", V1 "/targets", api_target_create, ROLE_PROVISIONER, ROUTE_CHANGE | ROUTE_DRY_DIFF,
     "Create a target",
     BODY({"iqn", FIELD_TEXT, true, "its name"}, {"alias", FIELD_TEXT, false, "a name for people"}),
     "Target"},
    {"GET", V1 "/targets/{iqn}", api_target_show, ROLE_VIEWER, 0,
     "One target with its LUNs and rules", NULL, "Target"},
    {"PATCH", V1 "/targets/{iqn}", api_target_change, ROLE_OPERATOR, ROUTE_CHANGE | ROUTE_DRY_DIFF,
     "Send logins to another portal, limit sessions, or tell idle ones of changes",
     BODY({"redirect", FIELD_TEXT, false, "HOST:PORT or [IPv6]:PORT; empty: serve them here"},
	  {"async_events", FIELD_SWITCH, false,
	   "tell sessions of new LUNs and sizes by asynchronous message"},
	  {"max_sessions", FIELD_NUMBER, false, "sessions at most; 0: no limit of its own"},
	  {"max_sessions_per_initiator", FIELD_NUMBER, false,
	   "sessions of one initiator name at most; 0: no limit"}),
     "Target"},
    {"DELETE", V1 "/targets/{iqn}", api_target_delete, ROLE_PROVISIONER, ROUTE_CHANGE | ROUTE_DRY,
     "Drop a target's sessions and delete it; volumes stay"},
    {"GET", V1 "/targets/{iqn}/rules", api_rule_list, ROLE_VIEWER, 0, "Who may log in to a target",
     NULL, "[Rule]"},
    {"POST", V1 "/targets/{iqn}/rules", api_rule_add, ROLE_PROVISIONER,
     ROUTE_CHANGE | ROUTE_DRY_DIFF,
     "Let initiators log in; the same initiator and network again replaces the rule",
     BODY({"initiator", FIELD_TEXT, false, "initiator name, or any"},
	  {"network", FIELD_TEXT, false, "network in CIDR form, or any"},
	  {"chap_user", FIELD_TEXT, false, "ask for CHAP with this user name"},
	  {"chap_secret", FIELD_TEXT, false, "12 to 255 bytes"},
	  {"mutual_user", FIELD_TEXT, false, "answer mutual CHAP with this user name"},
	  {"mutual_secret", FIELD_TEXT, false, "12 to 255 bytes, another one"}),
     "Target"},
    {"DELETE", V1 "/targets/{iqn}/rules", api_rule_remove, ROLE_PROVISIONER,
     ROUTE_CHANGE | ROUTE_DRY_DIFF, "Take a rule away",
     BODY({"all", FIELD_SWITCH, false, "all rules"},
	  {"rule", FIELD_NUMBER, false, "the rule with this id"},
	  {"initiator", FIELD_TEXT, false, "the rule for this initiator"},
	  {"network", FIELD_TEXT, false, "the rule for this network"}),
     "Target"},
    {"GET", V1 "/targets/{iqn}/groups", api_group_list, ROLE_VIEWER, 0,
     "A target's portal groups and their access states", NULL, "[PortalGroup]"},
    {"PATCH", V1 "/targets/{iqn}/groups/{group}", api_group_set, ROLE_OPERATOR,
     ROUTE_CHANGE | ROUTE_DRY_DIFF,
     "Change the access state of a portal group; hosts with multipath move their I/O",
     BODY({"access", FIELD_TEXT, false, "optimized, non-optimized, standby or unavailable"},
	  {"preferred", FIELD_SWITCH, false, "the path that hosts should take"})},
    {"GET", V1 "/targets/{iqn}/luns", api_lun_list, ROLE_VIEWER, 0, "A target's LUNs", NULL,
     "[Lun]"},
    {"POST", V1 "/targets/{iqn}/luns", api_lun_map, ROLE_PROVISIONER, ROUTE_CHANGE | ROUTE_DRY_DIFF,
     "Show a volume as a LUN",
     BODY({"pool", FIELD_TEXT, true, "name of the pool"},
	  {"volume", FIELD_TEXT, true, "name of the volume"},
	  {"lun", FIELD_NUMBER, false, "number; without it the lowest free one"},
	  {"read_only", FIELD_SWITCH, false, "refuse writes"},
	  {"type", FIELD_TEXT, false, "disk (default) or cdrom, for the image of a disc"},
	  {"hosts", FIELD_TEXTS, false, "host groups that see it; without them everybody"})},
    {"PATCH", V1 "/targets/{iqn}/luns/{lun}", api_lun_set, ROLE_PROVISIONER,
     ROUTE_CHANGE | ROUTE_DRY_DIFF, "Change a LUN while it is in use",
     BODY({"read_only", FIELD_SWITCH, false, "refuse writes"},
	  {"write_cache", FIELD_SWITCH, false,
	   "of the volume, whatever LUNs it is; without it every write is durable at once"})},
    {"DELETE", V1 "/targets/{iqn}/luns/{lun}", api_lun_unmap, ROLE_PROVISIONER,
     ROUTE_CHANGE | ROUTE_DRY_DIFF, "Take a LUN away; the volume stays"},
    {"PUT", V1 "/targets/{iqn}/luns/{lun}/hosts", api_lun_mask, ROLE_PROVISIONER,
     ROUTE_CHANGE | ROUTE_DRY_DIFF, "Show a LUN to these host groups only",
     BODY({"hosts", FIELD_TEXTS, true, "names of host groups; none: everybody"})},
    {"GET", V1 "/targets/{iqn}/luns/{lun}/reservations", api_reservation_show, ROLE_VIEWER, 0,
     "Who is registered with a LUN, and what is reserved", NULL, "Reservations"},
    {"DELETE", V1 "/targets/{iqn}/luns/{lun}/reservations", api_reservation_clear, ROLE_OPERATOR,
     ROUTE_CHANGE | ROUTE_DRY_DIFF, "Take all reservations and registrations of a LUN away"},
    {"POST", V1 "/targets/{iqn}/luns/{lun}/check", api_lun_check, ROLE_OPERATOR, ROUTE_CHANGE,
     "Try out on a LUN what a kind of host asks of it; nothing on it changes",
     BODY({"profile", FIELD_TEXT, true, "esxi, xenserver, windows, ovirt, proxmox or kvm"}),
     "LunCheck"},

    {"POST", V1 "/replica/code", api_replica_code, ROLE_ADMIN, ROUTE_CHANGE | ROUTE_SECRET,
     "A code with which another node can be paired with this one, once, within ten minutes"},
    {"POST", V1 "/replica/peers", api_replica_pair, ROLE_ADMIN, ROUTE_CHANGE | ROUTE_SECRET,
     "Pair with the node that shows a code",
     BODY({"address", FIELD_TEXT, true, "HOST or HOST:PORT (7420)"},
	  {"code", FIELD_TEXT, true, "the code that it shows"})},
    {"GET", V1 "/replica/key", api_replica_key, ROLE_VIEWER, ROUTE_REPLICA,
     "The certificate that paired nodes know this one by, and who has not confirmed the next"},
    {"POST", V1 "/replica/key", api_replica_rekey, ROLE_ADMIN, ROUTE_CHANGE,
     "A new key pair for this node; it is shown when every paired node has said that it takes it"},
    {"DELETE", V1 "/replica/key/next", api_replica_rekey_cancel, ROLE_ADMIN, ROUTE_CHANGE,
     "Forget a new key pair that not every paired node knows yet"},
    {"GET", V1 "/replica/peers", api_replica_peers, ROLE_VIEWER, ROUTE_REPLICA, "Paired nodes"},
    {"PATCH", V1 "/replica/peers/{peer}", api_replica_peer_set, ROLE_ADMIN,
     ROUTE_CHANGE | ROUTE_DRY_DIFF,
     "Where a paired node is from now on; its certificate stays the one that was pinned",
     BODY({"address", FIELD_TEXT, true, "HOST or HOST:PORT (the port that it has)"})},
    {"DELETE", V1 "/replica/peers/{peer}", api_replica_unpair, ROLE_ADMIN,
     ROUTE_CHANGE | ROUTE_DRY_DIFF, "Forget a paired node that no group is replicated with"},
    {"GET", V1 "/replica/groups", api_replica_list, ROLE_VIEWER, ROUTE_REPLICA,
     "Replication groups"},
    {"POST", V1 "/replica/groups", api_replica_create, ROLE_ADMIN,
     ROUTE_CHANGE | ROUTE_REPLICA | ROUTE_DRY_DIFF,
     "Replicate volumes to a paired node, as one consistent group",
     BODY({"name", FIELD_TEXT, true, "name of the group"},
	  {"members", FIELD_TEXTS, true, "volumes, each POOL/NAME"},
	  {"peer", FIELD_TEXT, true, "the paired node: its name, address or UUID"},
	  {"rpo", FIELD_TEXT, false, "how old the standby's image may be: 1s to 1d (5s)"},
	  {"limit", FIELD_SIZE, false, "bytes a second at most"},
	  {"compression", FIELD_TEXT, false, "of the link: lz4, zstd or off (off)"},
	  {"limit_at", FIELD_TEXT, false,
	   "other limits at some times, local time: mon-fri 08:00-18:00 20M; sat,sun 22:00-06:00 "
	   "none"},
	  {"protect", FIELD_SWITCH, false,
	   "true: guests' writes wait when the standby's image gets older than the RPO (false)"},
	  {"points", FIELD_TEXT, false,
	   "which sealed epochs the standby keeps: 10, or last=10,hourly=24 (0)"},
	  {"seed", FIELD_TEXT, false,
	   "how the first image gets there: wire, or ship: on a disk (wire)"})},
    {"GET", V1 "/replica/groups/{group}", api_replica_show, ROLE_VIEWER, ROUTE_REPLICA,
     "One group: role, state, lag, sealed epoch, lineage"},
    {"POST", V1 "/replica/groups/{group}", api_replica_act, ROLE_ADMIN,
     ROUTE_CHANGE | ROUTE_CONFIRM | ROUTE_REPLICA | ROUTE_DRY_DIFF,
     "Promote, demote, switch over, pause, resume or delete a group",
     BODY({"action", FIELD_TEXT, true,
	   "promote, demote, switchover, failback, verify, pause, resume or delete"})},
    {"PATCH", V1 "/replica/groups/{group}", api_replica_change, ROLE_ADMIN,
     ROUTE_CHANGE | ROUTE_REPLICA | ROUTE_DRY_DIFF, "Change a group, on its primary",
     BODY({"rpo", FIELD_TEXT, false, "how old the standby's image may be: 1s to 1d"},
	  {"limit", FIELD_SIZE, false, "bytes a second at most; 0: as many as go"},
	  {"compression", FIELD_TEXT, false, "of the link: lz4, zstd or off"},
	  {"limit_at", FIELD_TEXT, false,
	   "other limits at some times, local time: mon-fri 08:00-18:00 20M; ...; none"},
	  {"protect", FIELD_SWITCH, false,
	   "true: guests' writes wait when the standby's image gets older than the RPO"},
	  {"points", FIELD_TEXT, false,
	   "which sealed epochs the standby keeps: 10, or last=10,hourly=24; 0: none"},
	  {"seed", FIELD_TEXT, false, "how the first image gets there: wire or ship"},
	  {"add", FIELD_TEXTS, false, "volumes that become members, each POOL/NAME"},
	  {"remove", FIELD_TEXTS, false, "members that are none any more; the volumes stay"},
	  {"add_address", FIELD_TEXT, false,
	   "ADDR/PREFIX: a service address, that is where the group is served"},
	  {"interface", FIELD_TEXT, false,
	   "for it, on both nodes (the one that has an address of its network)"},
	  {"remove_address", FIELD_TEXT, false, "a service address that is the group's no more"})},
    {"POST", V1 "/replica/groups/{group}/witness", api_replica_witness, ROLE_ADMIN,
     ROUTE_CHANGE | ROUTE_CONFIRM | ROUTE_DRY_DIFF,
     "Name the third machine that grants the group's lease: the standby promotes itself when it "
     "has it; on the primary",
     BODY(
	 {"node", FIELD_TEXT, true, "a paired node, not the group's other one; empty: none"},
	 {"lease", FIELD_TEXT, false, "how long one lasts: 5s to 5m (15s)"},
	 {"force", FIELD_SWITCH, false,
	  "none: also when the witness does not agree; the standby must not be promoted (false)"})},
    {"GET", V1 "/replica/leases", api_replica_leases, ROLE_VIEWER, 0,
     "The leases that this node grants as a witness"},
    {"POST", V1 "/replica/groups/{group}/seed", api_replica_seed_export, ROLE_ADMIN,
     ROUTE_CHANGE | ROUTE_DRY_DIFF,
     "Begin to write a group's image to a file that is carried to its standby, or go on with it; "
     "the group's seed says how far it is",
     BODY({"path", FIELD_TEXT, true,
	   "of a file that there is not, or a directory, on the primary"})},
    {"DELETE", V1 "/replica/groups/{group}/seed", api_replica_seed_cancel, ROLE_ADMIN,
     ROUTE_CHANGE | ROUTE_DRY_DIFF, "Stop what is under way with a group's seed"},
    {"POST", V1 "/replica/seeds", api_replica_seed_import, ROLE_ADMIN,
     ROUTE_CHANGE | ROUTE_DRY_DIFF,
     "Begin to take a group's image from such a file; the group's seed says how far it is",
     BODY({"path", FIELD_TEXT, true, "of the file, on the standby"})},
    {"GET", V1 "/replica/groups/{group}/points", api_replica_points, ROLE_VIEWER, ROUTE_REPLICA,
     "The sealed epochs that this node keeps of a group, the newest first"},
    {"POST", V1 "/replica/groups/{group}/points/{epoch}/clones", api_replica_clone,
     ROLE_PROVISIONER, ROUTE_CHANGE | ROUTE_DRY_DIFF,
     "Writable volumes that begin as a group's members were at an epoch that is kept; the group "
     "goes on",
     BODY({"names", FIELD_TEXTS, false,
	   "a name for each, NAME or POOL/NAME, as the point lists them (MEMBER-EPOCH)"})},

    {"GET", V1 "/discovery", api_discovery_show, ROLE_VIEWER, 0,
     "Who may ask which targets there are"},
    {"PUT", V1 "/discovery", api_discovery_set, ROLE_ADMIN, ROUTE_CHANGE | ROUTE_DRY_DIFF,
     "Ask for CHAP in discovery sessions",
     BODY({"chap_user", FIELD_TEXT, true, "user"}, {"chap_secret", FIELD_TEXT, true, "secret"},
	  {"mutual_user", FIELD_TEXT, false, "our user for mutual CHAP"},
	  {"mutual_secret", FIELD_TEXT, false, "our secret"})},
    {"DELETE", V1 "/discovery", api_discovery_clear, ROLE_ADMIN, ROUTE_CHANGE | ROUTE_DRY_DIFF,
     "Ask for nothing in discovery sessions"},
    {"GET", V1 "/isns", api_isns_show, ROLE_VIEWER, 0,
     "The iSNS server that targets are registered with, and what it knows", NULL, "Isns"},
    {"PUT", V1 "/isns", api_isns_set, ROLE_ADMIN, ROUTE_CHANGE | ROUTE_DRY_DIFF,
     "Register targets, portals and portal groups with an iSNS server (RFC 4171)",
     BODY({"server", FIELD_TEXT, true, "ADDR, ADDR:PORT (3205) or [IPv6]:PORT"},
	  {"esi_port", FIELD_NUMBER, false,
	   "where the server may ask whether we are there; 0: nowhere"}),
     "Isns"},
    {"DELETE", V1 "/isns", api_isns_remove, ROLE_ADMIN, ROUTE_CHANGE | ROUTE_DRY_DIFF,
     "Take the registration back", NULL, "Isns"},
    {"GET", V1 "/hosts", api_host_list, ROLE_VIEWER, ROUTE_PAGED, "Host groups", NULL, "[Host]"},
    {"POST", V1 "/hosts", api_host_create, ROLE_PROVISIONER, ROUTE_CHANGE | ROUTE_DRY_DIFF,
     "Name a group of initiators",
     BODY({"name", FIELD_TEXT, true, "letters, digits, - _ ."},
	  {"initiators", FIELD_TEXTS, false, "names of initiators"})},
    {"GET", V1 "/hosts/{host}", api_host_show, ROLE_VIEWER, 0, "One host group", NULL, "Host"},
    {"PATCH", V1 "/hosts/{host}", api_host_change, ROLE_PROVISIONER, ROUTE_CHANGE | ROUTE_DRY_DIFF,
     "Add initiators to a host group, or take some out",
     BODY({"add", FIELD_TEXTS, false, "names of initiators"},
	  {"remove", FIELD_TEXTS, false, "names of initiators"})},
    {"DELETE", V1 "/hosts/{host}", api_host_delete, ROLE_PROVISIONER, ROUTE_CHANGE | ROUTE_DRY_DIFF,
     "Forget a host group that no LUN names"},
    {"GET", V1 "/initiators", api_initiator_list, ROLE_VIEWER, ROUTE_PAGED,
     "Initiators named in rules, logged in, or not let in lately", NULL, "[Initiator]"},
    {"GET", V1 "/initiators/{initiator}/latency", api_initiator_latency, ROLE_VIEWER, 0,
     "How long an initiator's reads and writes took, since the daemon started", NULL, "Latency"},
    {"GET", V1 "/sessions", api_session_list, ROLE_VIEWER, ROUTE_PAGED, "Live sessions", NULL,
     "[Session]"},
    {"DELETE", V1 "/sessions/{id}", api_session_drop, ROLE_OPERATOR, ROUTE_CHANGE | ROUTE_DRY_DIFF,
     "Drop a session (the initiator may come back)"},
#undef V1
};

static const char *const roles[] = {
    [ROLE_NOBODY] = "nobody",     [ROLE_REPLICATION] = "replication",
    [ROLE_VIEWER] = "viewer",     [ROLE_PROVISIONER] = "provisioner",
    [ROLE_OPERATOR] = "operator", [ROLE_ADMIN] = "admin",
};

const char *role_name(enum role role)
{
	return roles[role];
}

bool role_parse(const char *name, enum role *ret_role)
{
	for (unsigned i = ROLE_REPLICATION; i < sizeof roles / sizeof *roles; i++) {
		if (strcmp(roles[i], name) == 0) {
			*ret_role = i;
			return true;
		}
	}
	return false;
}

bool role_may(enum role role, const struct route *route)
{
	return role >= route->role || (role == ROLE_REPLICATION && route->flags & ROUTE_REPLICA);
}

static bool is_below(const struct route *route, const char *path)
{
	return strncmp(route->path, path, strlen(path)) == 0;
}

static bool ends_in(const char *path, const char *end)
{
	size_t length = strlen(path), wanted = strlen(end);

	return length >= wanted && strcmp(path + length - wanted, end) == 0;
}

const char *route_no_dry(const struct route *route)
{
	if (strcmp(route->method, "GET") == 0 || route->flags & ROUTE_DRY)
		return NULL;
	if (route->flags & ROUTE_BYTES)
		return "a piece of a file; nothing counts before the last";
	if (is_below(route, "/api/v1/me/totp"))
		return "a key is offered, and nothing is different before a code of it was given";
	if (is_below(route, "/api/v1/me") || is_below(route, "/api/v1/log") ||
	    is_below(route, "/api/v1/setup"))
		return "it signs in or out, or says who asks";
	if (is_below(route, "/api/v1/appliance/update"))
		return "nothing starts from a bundle before it is installed";
	if (is_below(route, "/api/v1/appliance"))
		return "the machine goes down, and with it all that it serves; nothing is "
		       "configured";
	if (strcmp(route->method, "POST") == 0 && ends_in(route->path, "/check"))
		return "a check changes nothing itself";
	if (strstr(route->path, "/give-up") || is_below(route, "/api/v1/smb/serve") ||
	    is_below(route, "/api/v1/disks/health"))
		return "a program of Granary's own does it";
	if (is_below(route, "/api/v1/replica/key"))
		return "each paired node says for itself whether it takes the new key";
	if (is_below(route, "/api/v1/replica/code"))
		return "a code is of use for ten minutes and once; one that is not given out is "
		       "none";
	if (strcmp(route->method, "POST") == 0 && is_below(route, "/api/v1/replica/peers"))
		return "only the other node knows whether the code is right, and using it uses it "
		       "up";
	if (is_below(route, "/api/v1/replica"))
		return "two nodes decide it together, at that moment";
	if (!(route->flags & ROUTE_CHANGE))
		return "it configures nothing, or can be stopped and taken back";
	return "it changes what the path and the body name and nothing else; what can not be is "
	       "refused before anything changes";
}

const struct route *route_table(unsigned *ret_count)
{
	*ret_count = sizeof table / sizeof *table;
	return table;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* One percent-decoded segment; false for a bad escape, a control character, "/" or too long. */
static bool decode_segment(const char *from, size_t length, char *to)
{
	size_t out = 0;

	for (size_t i = 0; i < length; i++) {
		int c = (unsigned char)from[i];

		if (c == '%') {
			int high = i + 1 < length ? hex_digit(from[i + 1]) : -1;
			int low = i + 2 < length ? hex_digit(from[i + 2]) : -1;

			if (high < 0 || low < 0)
				return false;
			c = high * 16 + low;
			i += 2;
		}
		if (c < 0x20 || c == 0x7f || c == '/' || out + 1 >= ROUTE_PARAM_LENGTH)
			return false;
		to[out++] = (char)c;
	}
	to[out] = '\0';
	return out > 0;
}

static bool match_path(const char *pattern, const char *path, struct route_match *match)
{
	unsigned params = 0;

	while (*pattern == '/' && *path == '/') {
		size_t want = strcspn(++pattern, "/"), have = strcspn(++path, "/");

		if (*pattern == '{') {
			if (params == ROUTE_PARAMS_MAX ||
			    !decode_segment(path, have, match->param[params++]))
				return false;
		} else if (want != have || memcmp(pattern, path, want) != 0) {
			return false;
		}
		pattern += want;
		path += have;
	}
	return *pattern == '\0' && *path == '\0';
}

void route_find(const char *method, const char *path, struct route_match *ret_match)
{
	ret_match->route = NULL;
	ret_match->path_known = false;
	if (strlen(path) > ROUTE_PATH_MAX)
		return;
	for (unsigned i = 0; i < sizeof table / sizeof *table; i++) {
		if (!match_path(table[i].path, path, ret_match))
			continue;
		ret_match->path_known = true;
		if (strcmp(table[i].method, method) == 0) {
			ret_match->route = &table[i];
			return;
		}
	}
}
