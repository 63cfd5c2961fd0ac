// SPDX-License-Identifier: Apache-2.0
// What the API shows; the daemon's openapi.json is the full description.
export interface Scrub {
	pool: string; state: "never" | "running" | "paused" | "done" | "stopped"; started: string; ended: string;
	progress: number; rate_bytes: number; done_bytes: number; total_bytes: number; eta_seconds: number;
	errors: number; repaired: number; findings: number;
}
export interface Pool {
	name: string; uuid: string; state: "online" | "degraded" | "read-only" | "unavailable" | "waiting" | "full"; reason: string; devices: string[];
	size_bytes?: number; used_bytes?: number; free_bytes?: number; reserved_bytes?: number;
	mirror_size_bytes?: number; mirror_free_bytes?: number;
	provisioned_bytes?: number; overcommit?: number; volumes?: number; watermarks?: [number, number, number];
	full_in_hours?: number; watermark_reached?: number; checksum_errors?: number; metadata_repairs?: number; scrub?: Scrub; scrub_every?: string;
	metadata_size_bytes?: number; metadata_used_bytes?: number; device_details?: PoolDevice[]; features?: string[];
	undelete_hours?: number; bin_volumes?: number; bin_used_bytes?: number;
	gives_up_percent?: number; given_up?: number; given_up_last?: string; given_up_at?: number;
}
export interface PoolDevice {
	path: string; size_bytes: number; data_bytes: number; free_bytes: number;
	state: "active" | "evacuating" | "paused" | "stuck" | "empty" | "away" | "resilvering";
	moved_bytes?: number; left_bytes?: number; copied_bytes?: number; reason?: string;
}
export interface Volume {
	pool: string; name: string; uuid: string; size_bytes: number; used_bytes: number; thin: boolean; naa: string;
	serial: string; scsi_id: string; mapped: { target: string; lun: number }[]; checksum: string; reserve_bytes: number;
	quota_bytes: number; quota_used_bytes: number;
	iops_limit?: number; bandwidth_limit_bytes?: number; origin?: string; mirror?: boolean;
	backend: "native" | "rbd" | "passthrough"; state?: string; device?: string;
}
export interface Move {
	id: string; source: string; name: string; destination: string; state: "copying" | "paused" | "waiting" | "stuck" | "stopping" | "tidying";
	progress: number; left_bytes: number; rate_bytes: number; slowing: boolean; switched: boolean; reason: string;
}
export interface Deleted { pool: string; deleted: string; bin?: string; until?: number }
export interface Binned {
	pool: string; name: string; id: string; kind: "volume" | "share"; deleted: number; until: number; by: string; snapshots: number;
	reason: string; size_bytes?: number; used_bytes?: number;
}
export interface Snapshot {
	pool: string; volume: string; name: string; path: string; created: number; group: number; size_bytes: number;
	used_bytes: number; exclusive_bytes: number | null; clones: number; automatic: boolean; held: boolean; hold_until: number | null; expendable: boolean;
}
export interface Schedule {
	name: string; volumes: string[]; every: string; zone: string; keep: string; prefix: string; next: number | null; last: number | null;
	result: string; runs: number; missed: number; skipped: number; expendable: boolean;
}
export interface Extent { offset: number; length: number; mapped: boolean }
export interface Lun { lun: number; pool: string; volume: string; state: string; reason: string; hosts: string[]; write_cache?: boolean; type: string }
export interface Rule { rule: number; initiator: string; network: string; chap_user: string; mutual_user: string }
export interface Target { iqn: string; alias: string; state: string; reason: string; luns: Lun[]; rules: Rule[] }
export interface Session {
	id: number; initiator: string; type: string; target: string; peer: string; portal: string; seconds: number;
	commands: number; read_bytes: number; write_bytes: number; chap: boolean; header_digest: boolean;
	data_digest: boolean; initiator_alias?: string; max_connections: number; connections: Connection[];
}
export interface Connection { cid: number; peer: string; portal: string; seconds: number; header_digest: boolean; data_digest: boolean }
export interface Registration { key: string; initiator_port: string; target: string; port: number; holder: boolean; connected: boolean }
export interface Reservations { type: string; persistent: boolean; generation: number; reserve6: string; registrations: Registration[] }
export interface Host { name: string; initiators: string[] }
export interface Refused { at: number; target: string; address: string; reason: "no_rule" | "chap" | "no_target" | "too_many" | "nothing_shown" | "other"; count: number }
export interface Initiator { initiator: string; sessions: number; rules: string[]; refused?: Refused }
export interface Share {
	pool: string; name: string; state: string; reason: string; quota_bytes?: number; used_bytes?: number;
	files?: number; rules?: ShareRule[]; mirror?: boolean;
}
export interface ShareRule {
	client: string; read_only: boolean; insecure: boolean; squash: string; security: string; anon_uid: number; anon_gid: number;
}
export interface Directory { name: string; path: string; state: string; reason: string; versions: string[] }
export interface ShareAccess { client: string; path: string; allowed: boolean; rule: string; read_only: boolean; versions: string[]; reason: string }
export interface SmbShare { pool: string; name: string; guest: boolean; read_only: boolean; users: string[] }
export interface SmbUser { name: string; uid: number; gid: number }
export interface Smb { shares: SmbShare[]; users: SmbUser[]; service: { running: boolean; port: number; reason: string } }
export interface BackupState { staged: boolean; uploaded_bytes: number }
export interface BackupMade { id: string; size_bytes: number; piece_bytes: number; filename: string }
export interface BackupChange { what: string; name: string; change: "comes" | "goes" | "changes" }
export interface Disk {
	name: string; path: string; by_id: string; kind: string; model: string; serial: string; size_bytes: number;
	rotational: boolean; carries: string; pool: string; used_by: string; free: boolean;
	health?: string; health_detail?: string;
}
export interface DiskReport {
	name: string; status: string; detail: string; temperature_c?: number; power_on_hours?: number; wear_percent?: number; sectors?: number;
}
export interface DiskHealth { reported: number; stale: boolean; disks: DiskReport[] }
export interface Ups {
	host: string; port: number; ups: string; shutdown_at: string; status: string; reason: string; battery_seconds: number;
	state: "asking" | "online" | "on-battery" | "battery-low" | "unreachable" | "powering-off";
	charge_percent?: number; runtime_seconds?: number; load_percent?: number;
}
export interface Image { name: string; size_bytes: number; sha256: string; modified: number; uploading: boolean; received_bytes?: number }
export interface NfsClient {
	id: string; address: string; name: string; version: string; sessions: number; opens: number; locks: number; delegations: number;
	recalled: number; callable: boolean; silent_seconds: number;
}
export interface PathCheck { address: string; interface: string; mtu: number; carried: number; state: "carried" | "too_large" | "silent" | "no_way"; detail: string }
export interface NfsHost {
	address: string; reads: number; read_bytes: number; writes: number; write_bytes: number; commits: number; others: number;
	read_mean_ms: number; read_slowest_ms: number; write_mean_ms: number; write_slowest_ms: number;
}
export interface ShareUser { uid: number; used_bytes: number; limit_bytes: number; files: number; limit_files: number }
export interface Step { method: string; path: string; body?: unknown; text: string }
export interface Plan { dry_run: boolean; done: number; steps: Step[] }
export interface Link {
	name: string; kind: string; ipv4: string; ipv6: string; addresses: string[]; gateways: string[];
	parent?: string; vlan?: number; mode?: string; members?: string[]; mtu?: number;
}
export interface Appliance {
	settings: { name: string; timezone: string; time_servers: string[]; dns: string[]; links: Link[] }; trial: boolean; trial_seconds: number;
	changed_cards?: { port: string; was: string; is: string }[];
}
/** The appliance's release; "update" is the last one since it was started. */
export interface UpdateState {
	release?: string; slot?: string; next?: string; on_trial?: boolean; failed?: string; incomplete?: string; under_way: boolean;
	update?: { kind: "install" | "rollback"; state: string; version: string; slot: string; done_bytes: number; size_bytes: number; started: string; ended: string; eta_seconds: number; code: string; detail: string };
	bundle?: { name: string; size_bytes: number; received_bytes: number; complete: boolean };
}
export interface Finding { kind: string; time: string; volume: string; repaired: boolean; text: string }
export interface Endpoint { protocol: string; address: string; port: number; portal_group: number }
export interface Status {
	daemon: { version: string; state: string; io_engine: string; io_loops: number; uptime_seconds: number; state_dir: string; pid: number; directories_in?: string[] };
	endpoints: Endpoint[]; pools: Pool[]; targets: Target[]; sessions: Session[];
}
export interface Seed { state: "none" | "exporting" | "exported" | "checking" | "importing" | "imported" | "failed"; running: boolean; path: string; reason: string; epoch: number; done_bytes: number; total_bytes: number; file_bytes: number }
export interface Group {
	name: string; role: "none" | "primary" | "standby" | "handover" | "fenced"; state: string; peer: string; peer_uuid: string; reason: string;
	rpo_seconds: number; bytes_per_second: number; members: string[]; lag_seconds: number; lag_bytes?: number; lag_bytes_age_seconds?: number; sealed_epoch: number;
	promotable?: boolean; limit_bytes: number; points: string; points_trouble: string; alarms: string[];
	addresses: { address: string; interface: string; here: boolean }[]; addresses_trouble: string;
	seed_by: "wire" | "ship"; seed: Seed;
	witness: { node: string; state: "off" | "held" | "waiting" | "taken" | "taking" | "standby"; seconds: number; left_seconds: number; answers: boolean; standby_promises: boolean; standby_ready: boolean; reason: string; standby_reason: string; waiting: number };
	promoted?: { time_ms: number; epoch: number; as_of_ms: number; primary_epoch: number; lost_bytes: number };
	verify?: { state: "never" | "running" | "done"; begun: number; ended: number; done_bytes: number; total_bytes: number; mismatches: number; repaired: number };
}
export interface Point { epoch: number; time: number; in_use: boolean; snapshots: string[] }
export interface Provisioned { pool: string; target?: string; lun?: number; volume?: Volume; share?: string }
export interface Account { name: string; role: string; sessions: number; totp?: boolean }
export interface Token { name: string; role: string; created: number; expires: number; maker: string; token?: string }
export interface AuditEntry { id: number; at_ms: number; who: string; address: string; method: string; path: string; status: number; code: string }
export interface Job { id: string; kind: string; object: string; state: string; progress: number; started?: string; ended?: string; eta_seconds?: number; text?: string; device?: string; step?: string }
export interface Alert {
	id: number; rule: string; object: string; severity: "info" | "warning" | "critical"; state: "firing" | "acknowledged" | "silenced" | "cleared";
	value: number; detail: string; text: string; todo: string; text_zh: string; todo_zh: string; fired: number; cleared: number | null;
	clears: number | null; clears_below: number | null;
	acknowledged: number | null; acknowledged_by: string;
}
export interface AlertRule {
	rule: string; enabled: boolean; severity: string; after_seconds: number; clear_seconds: number; level?: number; unit?: string; text: string; text_zh: string;
}
export interface AlertSilence { id: number; rule: string; object: string; until: number; by: string; reason: string }
export interface AlertChannel {
	name: string; kind: string; preset: string; place: string; from: string; to: string[]; user: string; has_secret: boolean; tls: boolean;
	language: string; severity: string; enabled: boolean; audit: boolean; queued: number; failures: number; error: string; delivered: number; given_up: number;
	dropped: number; last_delivery: number | null;
}
export interface Performance { samples: number[][] }
export interface LatencyCounts { count: number; sum_ns: number; buckets: number[] }
export interface Latency { at_ms: number; bounds_ns: number[]; read: LatencyCounts; write: LatencyCounts }
export type SlowPart = "initiator" | "queue" | "engine" | "device" | "share";
export interface SlowCommand {
	number: number; at_ms: number; protocol: "iscsi" | "nfs"; initiator: string; target: string; lun: number; pool: string; volume: string;
	share: string; version: string; command: string; operation: string; lba: number; blocks: number; bytes: number; total_ms: number; waited_for: SlowPart; aborted: boolean;
	initiator_ms: number; queue_ms: number; engine_ms: number; device_ms: number; share_ms: number;
}
export interface LogLine { at: string; severity: "error" | "warning" | "notice" | "info" | "debug"; text: string }
export interface Log { lines: LogLine[] }
export interface Slow { limit_ms: number; seen: number; commands: SlowCommand[] }
