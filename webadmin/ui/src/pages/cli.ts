// SPDX-License-Identifier: Apache-2.0
// The command of granary(8) that asks for the same change as a request of the API.
/** A request that changes something. */
interface Request { method: string; path: string; body?: unknown }

/** For a shell: within single quotes nothing but the quote itself means anything. */
export const quoted = (text: string) => `'${text.replace(/'/g, "'\\''")}'`;

type Value = string | number | boolean | string[] | undefined | null;
type Body = Record<string, Value>;
const word = (value: Value) => (/^[\w.:/@,=+-]+$/.test(String(value)) ? String(value) : quoted(String(value)));
const words = (value: Value) => (Array.isArray(value) ? value : []).map(word).join(" ");
/** " --name value" for what is there; a true one is a switch. */
const option = (name: string, value: Value) => (value === undefined || value === null || value === "" || value === false ? "" : value === true ? ` --${name}` : ` --${name} ${word(value)}`);
/** Devices and files; of one that is to be made its size. */
const devices = (value: unknown) => (Array.isArray(value) ? (value as (string | { path: string; size: string })[]) : []).map((one) => word(typeof one === "string" ? one : `${one.path}:${one.size}`)).join(" ");
const doing = (body: Body) => (body.action && body.action !== "start" ? ` --${body.action}` : "");
const secretFile = (name: string, value: Value) => (value === undefined ? "" : ` --${name} FILE`);

function patchGroup(group: string, body: Body): string {
	if (body.add || body.remove) return ["add", "remove"].filter((how) => body[how]).map((how) => `replica group ${how} ${group} ${words(body[how])}`).join(" && granary ");
	if (body.add_address) return `replica group address add ${group} ${word(body.add_address)}${option("interface", body.interface)}`;
	if (body.remove_address) return `replica group address remove ${group} ${word(body.remove_address)}`;
	return `replica group set ${group}${option("rpo", body.rpo)}${option("limit", body.limit)}${option("points", body.points)}${option("seed", body.seed)}`;
}

function patchShare(path: string, body: Body): string {
	const set = [["versions", Array.isArray(body.versions) ? body.versions.join(",") : undefined], ["snapshots", body.snapshots]] as const;
	return [set.some(([, value]) => value) && `share set ${path}${set.map(([name, value]) => option(name, value)).join("")}`, body.quota !== undefined && `share quota ${path} ${word(body.quota)}`].filter(Boolean).join(" && granary ");
}

function patchVolume(path: string, body: Body): string {
	if (body.name) return `volume rename ${path} ${word(body.name)}`;
	if (body.size) return `volume resize ${path} ${word(body.size)}${option("shrink", body.shrink)}`;
	return `volume set ${path}${option("iops", body.iops)}${option("bandwidth", body.bandwidth)}${option("burst", body.burst)}${option("reserve", body.reserve)}${option("quota", body.quota)}`;
}

function patchSnapshot(path: string, body: Body): string {
	if (body.name) return `snapshot rename ${path} ${word(body.name)}`;
	if (typeof body.expendable === "boolean") return `snapshot set ${path} --${body.expendable ? "expendable" : "needed"}`;
	if (body.held === false) return `snapshot release ${path}`;
	return `snapshot hold ${path}${option("until", body.hold_until)}`;
}

/** What a DELETE of a volume or a share may have behind it. */
const Q = "(?:\\?(to_bin=1)?&?(snapshots=1)?)?";
const gone = (keep: string, all: string) => `${keep ? " --to-bin" : ""}${all ? " --with-snapshots" : ""}`;

const V = "/volumes/([^/]+)/([^/?]+)", S = `${V}/snapshots/([^/]+)`, G = "/replica/groups/([^/]+)", I = "/targets/([^/]+)";

/** Each: the request, and the command; the parts of the path are ready for a shell. */
const rows: [string, (body: Body, ...parts: string[]) => string][] = [
	["POST /provision", (b) => `provision ${word(b.name)} ${word(b.size)} ${words(b.hosts)}${option("pool", b.pool)}`],
	[`POST ${V}/move`, (b, pool, name) => `volume move ${pool}/${name}${b.pool ? ` ${word(b.pool)}` : ""}${b.action && b.action !== "rate" ? ` --${b.action}` : ""}${option("rate", b.rate)}${option("without-snapshots", b.without_snapshots)}`],
	["POST /volumes", (b) => `volume create ${word(b.pool)}/${word(b.name)} ${word(b.size)}${option("checksum", b.checksum)}${option("reserve", b.reserve)}${option("quota", b.quota)}`],
	[`PATCH ${V}`, (b, pool, name) => patchVolume(`${pool}/${name}`, b)],
	[`DELETE ${V}${Q}`, (_, pool, name, keep, all) => `volume delete ${pool}/${name}${gone(keep, all)} --yes`],
	[`POST ${V}/(take|rescan)`, (_, pool, name, what) => `volume ${what} ${pool}/${name}`],
	[`POST ${V}/promote`, (_, pool, name) => `volume promote ${pool}/${name}`],
	[`POST ${V}/rollback`, (b, pool, name) => `volume rollback ${pool}/${name}@${word(b.snapshot)}${option("keep", b.keep)} --yes`],
	["POST /snapshots", (b) => `snapshot create ${words(b.snapshots)}${option("expendable", b.expendable)}`],
	[`PATCH ${S}`, (b, pool, name, snapshot) => patchSnapshot(`${pool}/${name}@${snapshot}`, b)],
	[`DELETE ${S}`, (_, pool, name, snapshot) => `snapshot delete ${pool}/${name}@${snapshot} --yes`],
	[`POST ${S}/clone`, (b, pool, name, snapshot) => `volume clone ${pool}/${name}@${snapshot} ${pool}/${word(b.name)}`],
	["PUT /appliance/name", (b) => `appliance name ${word(b.name)}`],
	["PUT /appliance/time", (b) => `appliance time ${words(b.time_servers)}${option("timezone", b.timezone)}`],
	["PUT /appliance/network", () => "appliance network FILE"],
	["POST /appliance/network/(confirm|revert)", (_, what) => `appliance ${what}`],
	["POST /appliance/(restart|poweroff)", (_, what) => `appliance ${what} --yes`],
	["DELETE /appliance/update", () => "appliance cancel"],
	["POST /network/check", (b) => `network check ${words(b.addresses)}`],
	["POST /appliance/update", (b) => `appliance update${b.url ? ` ${word(b.url)}` : ""}${option("allow-older", b.allow_older)} --yes`],
	["POST /appliance/update/rollback", () => "appliance rollback --yes"],
	["POST /targets", (b) => `target create ${word(b.iqn)}${option("alias", b.alias)}`],
	[`DELETE ${I}`, (_, iqn) => `target delete ${iqn} --yes`],
	[`POST ${I}/rules`, (b, iqn) => `target allow ${iqn}${option("initiator", b.initiator)}${option("network", b.network)}${option("chap-user", b.chap_user)}${secretFile("chap-secret-file", b.chap_secret)}${option("mutual-user", b.mutual_user)}${secretFile("mutual-secret-file", b.mutual_secret)}`],
	[`DELETE ${I}/rules`, (b, iqn) => `target deny ${iqn}${option("rule", b.rule)}${option("initiator", b.initiator)}${option("network", b.network)}${option("all", b.all)}`],
	[`POST ${I}/luns`, (b, iqn) => `lun map ${iqn} ${word(b.pool)}/${word(b.volume)}${option("lun", b.lun)}${option("ro", b.read_only)}${option("cdrom", b.type === "cdrom")}`],
	[`DELETE ${I}/luns/([^/]+)`, (_, iqn, lun) => `lun unmap ${iqn} ${lun} --yes`],
	["DELETE /sessions/([^/]+)", (_, id) => `session drop ${id}`],
	["POST /hosts", (b) => `host create ${word(b.name)} ${words(b.initiators)}`],
	["PATCH /hosts/([^/]+)", (b, name) => [["add", b.add], ["remove", b.remove]].filter(([, list]) => words(list)).map(([verb, list]) => `host ${verb} ${name} ${words(list)}`).join(" && granary ")],
	["DELETE /hosts/([^/]+)", (_, name) => `host delete ${name}`],
	["POST /shares", (b) => `share create ${word(b.pool)}/${word(b.name)}${option("quota", b.quota)}`],
	[`DELETE /shares/([^/]+)/([^/?]+)${Q}`, (_, pool, name, keep, all) => `share delete ${pool}/${name}${gone(keep, all)} --yes`],
	["PUT /shares/([^/]+)/([^/]+)/smb", (b, pool, name) => `share smb enable ${pool}/${name}${option("guest", b.guest)}${option("user", Array.isArray(b.users) ? b.users.join(",") : "")}${option("ro", b.read_only)}`],
	["DELETE /shares/([^/]+)/([^/]+)/smb", (_, pool, name) => `share smb disable ${pool}/${name}`],
	["PUT /smb/users/([^/]+)", (b, user) => `share smb user ${user} --password-file FILE${option("uid", b.uid)}${option("gid", b.gid)}`],
	["DELETE /smb/users/([^/]+)", (_, user) => `share smb forget ${user}`],
	["POST /bin/([^/]+)/([^/]+)/restore", (b, pool, id) => `bin restore ${pool}/${id}${option("as", b.name)}`],
	["DELETE /bin/([^/]+)/([^/]+)", (_, pool, id) => `bin delete ${pool}/${id} --yes`],
	["DELETE /bin/([^/]+)", (_, pool) => `bin empty ${pool} --yes`],
	["POST /shares/([^/]+)/([^/]+)/rules", (b, pool, name) => `share allow ${pool}/${name} --client ${word(b.client)}${option("ro", b.read_only)}${option("insecure", b.insecure)}${b.squash === "none" ? " --no-root-squash" : b.squash === "all" ? " --all-squash" : ""}${option("sec", b.security === "any" ? "" : b.security)}`],
	["DELETE /shares/([^/]+)/([^/]+)/rules", (b, pool, name) => `share deny ${pool}/${name}${option("client", b.client)}`],
	["POST /directories", (b) => `directory add ${word(b.path)} ${word(b.name)}`],
	["DELETE /directories/([^/]+)", (_, name) => `directory remove ${name} --yes`],
	["POST /directories/([^/]+)/rules", (b, name) => `directory allow ${name} --client ${word(b.client)}${option("insecure", b.insecure)}${b.squash === "none" ? " --no-root-squash" : b.squash === "all" ? " --all-squash" : ""}${option("sec", b.security === "any" ? "" : b.security)}`],
	["DELETE /directories/([^/]+)/rules", (b, name) => `directory deny ${name}${option("client", b.client)}`],
	["POST /pools", (b) => `pool create ${word(b.name)} ${devices(b.devices)}${option("force", b.force)}`],
	["POST /pools/import", (b) => `pool import ${devices(b.devices)}`],
	["POST /pools/([^/]+)/devices", (b, name) => `pool add ${name} ${devices(b.devices)}${option("force", b.force)}`],
	["POST /pools/([^/]+)/remove", (b, name) => `pool remove ${name} ${word(b.device)}`],
	["POST /pools/([^/]+)/evacuate", (b, name) => `pool evacuate ${name} ${word(b.device)}${doing(b)}`],
	["POST /pools/([^/]+)/online", (b, name) => `pool online ${name}${b.device ? ` ${word(b.device)}` : ""}`],
	["POST /pools/([^/]+)/replace", (b, name) => `pool replace ${name} ${word(b.device)} ${devices(b.devices)}${option("force", b.force)}`],
	["POST /pools/([^/]+)/(grow|prove)", (b, name, what) => `pool ${what} ${name}${option("seconds", b.seconds)}`],
	["POST /pools/([^/]+)/check", (b, name) => `pool check ${name}${option("data", b.data)}`],
	["POST /pools/([^/]+)/scrub", (b, name) => `pool scrub ${name}${doing(b)}${option("rate", b.rate)}`],
	["DELETE /pools/([^/]+)/findings", (_, name) => `pool findings ${name} --clear`],
	["DELETE /nfs-clients/([^/]+)", (_, id) => `share release ${id}`],
	["PUT /shares/([^/]+)/([^/]+)/users/([^/]+)", (b, pool, name, uid) => `share limit ${pool}/${name} ${uid}${option("size", b.limit)}${option("files", b.files)}`],
	["DELETE /shares/([^/]+)/([^/]+)/images/([^/]+)", (_, pool, name, image) => `share iso remove ${pool}/${name} ${image}`],
	["POST /snapshot-schedules/([^/]+)/run", (_, name) => `snapshot schedule run ${name}`],
	["POST /alerts/([^/]+)/ack", (_, id) => `alert ack ${id}`],
	["DELETE /alert-silences/([^/]+)", (_, id) => `alert silence --end ${id}`],
	["POST /alert-channels/([^/]+)/test", (_, name) => `alert channel test ${name}`],
	["POST /alert-channels", (b) => `alert channel create ${word(b.name)} ${word(b.kind)}${b.url ? " --url-file FILE" : ""}${option("preset", b.preset)}${option("from", b.from)}${option("to", Array.isArray(b.to) ? b.to.join(",") : b.to)}${option("user", b.user)}${secretFile("secret-file", b.secret)}${option("no-tls", b.tls === false)}${option("audit", b.audit && "yes")}${option("language", b.language)}${option("severity", b.severity)}`],
	["POST /pools/([^/]+)/export", (_, name) => `pool export ${name} --yes`],
	["DELETE /pools/([^/]+)", (_, name) => `pool delete ${name} --yes`],
	["POST /replica/code", () => "replica code"],
	["POST /replica/peers", (b) => `replica pair ${word(b.address)} CODE`],
	["PATCH /replica/peers/([^/]+)", (b, peer) => `replica peer set ${peer}${option("address", b.address)}`],
	["DELETE /replica/peers/([^/]+)", (_, peer) => `replica unpair ${peer}`],
	["POST /replica/groups", (b) => `replica group create ${word(b.name)} ${words(b.members)}${option("peer", b.peer)}${option("rpo", b.rpo)}${option("points", b.points)}${option("seed", b.seed)}`],
	[`POST ${G}/seed`, (b, group) => `replica seed export ${group} ${word(b.path)}`],
	[`DELETE ${G}/seed`, (_, group) => `replica seed cancel ${group}`],
	["POST /replica/seeds", (b) => `replica seed import ${word(b.path)}`],
	[`PATCH ${G}`, (b, group) => patchGroup(group, b)],
	[`POST ${G}`, (b, group) => (b.action === "delete" ? `replica group delete ${group} --yes` : `replica ${word(b.action)} ${group}${["promote", "demote", "failback"].includes(String(b.action)) ? " --yes" : ""}`)],
	[`POST ${G}/witness`, (b, group) => (b.node ? `replica group witness ${group} ${word(b.node)}${option("lease", b.lease)}` : `replica group witness ${group} off${b.force ? " --force --yes" : ""}`)],
	["PATCH /shares/([^/]+)/([^/]+)", (b, pool, name) => patchShare(`${pool}/${name}`, b)],
	["PATCH /pools/([^/]+)", (b, name) => `pool set ${name}${option("watermarks", b.watermarks)}${option("undelete-hours", b.undelete_hours)}`],
	[`PUT ${I}/luns/([^/]+)/hosts`, (b, iqn, lun) => `lun mask ${iqn} ${lun} ${words(b.hosts)}`.trim()],
	[`DELETE ${I}/luns/([^/]+)/reservations`, (_, iqn, lun) => `lun release ${iqn} ${lun} --yes`],
	["POST /snapshot-schedules", (b) => `snapshot schedule create ${word(b.name)} ${words(b.volumes)}${option("every", b.every)}${option("keep", b.keep)}${option("prefix", b.prefix)}${option("zone", b.zone)}${option("expendable", b.expendable)}`],
	["PATCH /snapshot-schedules/([^/]+)", (b, name) => `snapshot schedule set ${name}${b.volumes ? ` ${words(b.volumes)}` : ""}${option("every", b.every)}${option("keep", b.keep)}${option("prefix", b.prefix)}${b.zone === "" ? ' --zone ""' : option("zone", b.zone)}${b.expendable === undefined ? "" : b.expendable ? " --expendable" : " --needed"}`],
	["DELETE /snapshot-schedules/([^/]+)", (_, name) => `snapshot schedule delete ${name}`],
	["PATCH /alert-rules/([^/]+)", (b, rule) => `alert rule set ${rule}${option("severity", b.severity)}${option("after", b.after)}${option("clear-after", b.clear)}${option("level", b.level)}${b.enabled === undefined ? "" : b.enabled ? " --on" : " --off"}`],
	["POST /alert-silences", (b) => `alert silence ${b.rule ? word(b.rule) : "all"}${b.object ? ` ${word(b.object)}` : ""}${option("for", b.for)}${option("reason", b.reason)}`],
	["DELETE /alert-channels/([^/]+)", (_, name) => `alert channel delete ${name} --yes`],
	["POST /accounts", (b) => `account create ${word(b.name)}${option("role", b.role)} --password-file FILE`],
	["PATCH /accounts/([^/]+)", (b, name) => (b.totp === undefined ? `account change ${name}${option("role", b.role)}${secretFile("password-file", b.password)}` : "")],
	["DELETE /accounts/([^/]+)", (_, name) => `account delete ${name} --yes`],
	["POST /tokens", (b) => `token create ${word(b.name)}${option("role", b.role)}${option("days", b.days)}`],
	["DELETE /tokens/([^/]+)", (_, name) => `token delete ${name}`],
	["PUT /discovery", (b) => `discovery require${option("chap-user", b.chap_user)}${secretFile("chap-secret-file", b.chap_secret)}${option("mutual-user", b.mutual_user)}${secretFile("mutual-secret-file", b.mutual_secret)}`],
	["DELETE /discovery", () => "discovery open"],
	["PUT /isns", (b) => `isns set ${word(b.server)}${option("esi-port", b.esi_port)}`],
	["DELETE /isns", () => "isns remove"],
	["PUT /nfs-tls", (b) => `share tls set${secretFile("chain-file", b.chain)}${secretFile("key-file", b.key)}${option("renew", b.renew)}${b.clients === "" ? " --no-clients" : secretFile("clients-file", b.clients)}`],
	["PATCH /slow", (b) => `slow set ${word(b.limit)}`],
	["PUT /ups", (b) => `ups set ${word(b.host)}${b.port ? `:${b.port}` : ""} ${word(b.ups)}${option("shutdown-at", b.shutdown_at)}`],
	["DELETE /ups", () => "ups clear"],
	[`POST ${G}/points/([^/]+)/clones`, (b, group, epoch) => `replica point clone ${group} ${epoch} ${words(b.names)}`],
];

/** "granary ..." for what was done; null: it has no command of its own, or not for all of it. */
export function cliOf(one: Request): string | null {
	for (const [pattern, command] of rows) {
		const found = new RegExp(`^${pattern}$`).exec(`${one.method} ${one.path}`);
		const words = found && command((one.body ?? {}) as Body, ...found.slice(1).map((text) => (text ? word(decodeURIComponent(text)) : "")));
		if (words) return `granary ${words}`.trim();
	}
	return null;
}

/** The same for curl(1), with a token in the surroundings. */
export function curlOf(one: Request): string {
	const lines = [`curl -X ${one.method} ${quoted(`${location.origin}/api/v1${one.path}`)}`, `-H "Authorization: Bearer $GRANARY_TOKEN"`];
	if (one.body !== undefined) lines.push("-H 'Content-Type: application/json'", `-d ${quoted(JSON.stringify(one.body))}`);
	return lines.join(" \\\n  ");
}
