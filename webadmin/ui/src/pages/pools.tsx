// SPDX-License-Identifier: Apache-2.0
import { useState } from "preact/hooks";
import { call, can, part } from "../api";
import { bytes, duration, number, parseSize, percent, time } from "../format";
import { useResource } from "../live";
import { act, actAsked, Badge, Button, Card, Check, DeleteDialog, Empty, Facts, Field, FormDialog, Input, notice, Page, Progress, Select, SizeInput, SpaceBar, StateBadge, Table, Waiting } from "../parts";
import { go, to } from "../route";
import { maybe, t } from "../text";
import type { Disk, Finding, Pool as PoolType, Scrub, Share, Volume } from "../types";
import { Degraded, Devices } from "./devices";
import { Prove, Proven, type Proof } from "./prove";

/** Does it take new volumes? One that goes on with a device away does. */
export const takesVolumes = (pool: PoolType) => pool.state === "online" || pool.state === "degraded";

const pathOf = (name: string) => `/pools/${part(name)}`;

/** Whether what is made in it is to have two copies; nothing where there are not the devices for it. */
export function Copies({ pool, value, onValue }: { pool?: PoolType; value: boolean; onValue: (value: boolean) => void }) {
	if (!pool?.mirror_size_bytes) return null;
	return <Check label={t("copies.ask", { free: bytes(pool.mirror_free_bytes ?? 0) })} value={value} onValue={onValue} />;
}

export const copiesOf = (mirror: boolean) => t(mirror ? "copies.two" : "copies.one");

/** When it is full if it goes on like this; nothing while that is not known. */
export function Forecast({ pool }: { pool: PoolType }) {
	const hours = pool.full_in_hours;
	if (hours === undefined) return null;
	const time = hours > 366 * 24 ? t("time.years") : hours > 72 ? t("time.longDays", { days: Math.round(hours / 24) }) : duration(hours * 3600);
	return <p class="small quiet">{t("pools.fullIn", { time })}</p>;
}

/** How full a pool is, with its watermarks and what is promised. */
export function PoolSpace({ pool }: { pool: PoolType }) {
	const size = pool.size_bytes ?? 0, used = pool.used_bytes ?? 0;
	const volumes = (useResource<Volume[]>("/volumes").data ?? []).filter((one) => one.pool === pool.name);
	const shares = (useResource<Share[]>("/shares").data ?? []).filter((one) => one.pool === pool.name);
	// A share's volume is as large as can be; what is promised to it is its quota.
	const promised = volumes.filter((one) => !shares.some((share) => share.name === one.name)).reduce((sum, one) => sum + one.size_bytes, 0) + shares.reduce((sum, one) => sum + (one.quota_bytes ?? 0), 0);
	return (
		<div class="pool-space">
			<div class="line"><strong>{bytes(used)}</strong> <span>{t("pools.of", { size: bytes(size), percent: percent(used, size) })}</span></div>
			<SpaceBar used={used} size={size} marks={pool.watermarks} label={t("volumes.usedOf", { name: pool.name })} />
			<div class="line small"><span>{t("pools.promised", { size: bytes(promised), times: number(size ? promised / size : 0, 2) })}</span><span>{t("pools.freeNow", { free: bytes(pool.free_bytes ?? 0) })}</span></div>
		</div>
	);
}

/** The machine's disks: free ones to be ticked, the others with what keeps them. */
function Disks({ chosen, force, onChange }: { chosen: string[]; force: boolean; onChange: (paths: string[]) => void }) {
	const { data } = useResource<Disk[]>("/disks");
	const disks = (data ?? []).filter((disk) => disk.size_bytes > 0 && (disk.free || disk.carries || disk.used_by)).sort((a, b) => Number(b.free) - Number(a.free));
	if (!data || disks.length === 0) return <p class="hint">{t("disks.none")}</p>;
	const pathOfDisk = (disk: Disk) => disk.by_id || disk.path;
	return (
		<div class="disks">
			{disks.map((disk) => {
				const path = pathOfDisk(disk), usable = disk.free || (force && !disk.used_by);
				return (
					<label key={disk.path} class={usable ? "disk" : "disk taken"}>
						<input type="checkbox" disabled={!usable} checked={chosen.includes(path)} onChange={(event) => onChange(event.currentTarget.checked ? [...chosen, path] : chosen.filter((one) => one !== path))} />
						<span><b>{disk.name}</b> {bytes(disk.size_bytes)}<small>{[disk.model, disk.serial].filter(Boolean).join(" · ")}</small><small>{disk.used_by ? t("disks.used", { by: disk.used_by }) : disk.carries ? t("disks.carries", { what: disk.carries }) : t("disks.free")}</small></span>
					</label>
				);
			})}
		</div>
	);
}

function Create({ onClose }: { onClose: () => void }) {
	const [name, setName] = useState("");
	const [disks, setDisks] = useState<string[]>([]);
	const [devices, setDevices] = useState("");
	const [size, setSize] = useState("");
	const [unit, setUnit] = useState("G");
	const [force, setForce] = useState(false);
	const files = devices.split(/\s+/).filter(Boolean);
	const wanted = size === "" ? undefined : parseSize(size, unit);
	return (
		<FormDialog title={t("pools.create")} button={t("action.create")} ready={name !== "" && disks.length + files.length > 0 && wanted !== null} onClose={onClose} submit={async () => {
			await call("POST", "/pools", { name, devices: [...disks, ...files.map((path) => (wanted ? { path, size: wanted } : path))], force });
			notice(t("pools.created", { name }));
		}}>
			<Input label={t("field.name")} value={name} onValue={setName} autoFocus />
			<fieldset><legend>{t("disks.title")}</legend><Disks chosen={disks} force={force} onChange={setDisks} /></fieldset>
			<details>
				<summary>{t("pools.files")}</summary>
				<Field label={t("pools.devices")} hint={t("pools.devicesHint")}>{(id, note) => <textarea id={id} aria-describedby={note} rows={2} spellcheck={false} placeholder="/var/lib/granary/tank.pool" value={devices} onInput={(event) => setDevices(event.currentTarget.value)} />}</Field>
				<SizeInput label={t("pools.fileSize")} value={size} unit={unit} onValue={setSize} onUnit={setUnit} hint={t("pools.fileSizeHint")} problem={wanted === null ? t("size.bad") : null} />
			</details>
			<div class="caution"><Check label={t("pools.force")} value={force} onValue={setForce} /></div>
		</FormDialog>
	);
}

function Import({ onClose }: { onClose: () => void }) {
	const [devices, setDevices] = useState("");
	const paths = devices.split(/\s+/).filter(Boolean);
	return (
		<FormDialog title={t("pools.import")} button={t("pools.import")} ready={paths.length > 0} onClose={onClose} submit={() => call("POST", "/pools/import", { devices: paths })}>
			<Field label={t("pools.devices")} hint={t("pools.importHint")}>{(id, note) => <textarea id={id} aria-describedby={note} rows={3} spellcheck={false} value={devices} onInput={(event) => setDevices(event.currentTarget.value)} />}</Field>
		</FormDialog>
	);
}

export function Pools() {
	const { data, problem } = useResource<PoolType[]>("/pools");
	const [open, setOpen] = useState<"create" | "import" | null>(null);
	return (
		<Page title={t("nav.pools")} lead={t("pools.lead")} actions={can("admin") && <>
			<Button onClick={() => setOpen("import")}>{t("pools.import")}</Button>
			<Button icon="plus" onClick={() => setOpen("create")}>{t("pools.create")}</Button>
		</>}>
			{!data ? <Waiting problem={problem} /> : data.length === 0 ? (
				<Card><Empty icon="pool" title={t("pools.none")} text={t("pools.noneText")}><Button role="admin" kind="main" onClick={() => setOpen("create")}>{t("pools.create")}</Button></Empty></Card>
			) : (
				<div class="grid">
					{data.map((pool) => (
						<Card key={pool.uuid} title={<a href={to("pools", pool.name)}>{pool.name}</a>} actions={<StateBadge state={pool.state} />}>
							{pool.size_bytes ? <PoolSpace pool={pool} /> : <p class="none">{pool.reason}</p>}
							<p class="small quiet">{t("pools.summary", { devices: pool.devices.length, volumes: pool.volumes ?? 0 })}{pool.scrub && <> · {scrubText(pool.scrub)}</>}</p>
						</Card>
					))}
				</div>
			)}
			{open === "create" && <Create onClose={() => setOpen(null)} />}
			{open === "import" && <Import onClose={() => setOpen(null)} />}
		</Page>
	);
}

// --- one ---------------------------------------------------------------------------------------

export function scrubText(scrub: Scrub): string {
	if (scrub.state === "running") return t("scrub.running", { percent: percent(scrub.progress, 1), left: duration(scrub.eta_seconds) });
	if (scrub.state === "paused") return t("scrub.paused", { percent: percent(scrub.progress, 1) });
	if (scrub.state === "never") return t("scrub.never");
	return scrub.findings ? t("scrub.findings", { count: scrub.findings }) : scrub.state === "stopped" ? t("scrub.stopped") : t("scrub.clean");
}

const rules = ["weekly", "monthly", "none"];

/** When a pool is scrubbed by itself. */
function ScrubRule({ pool, onClose }: { pool: PoolType; onClose: () => void }) {
	const now = pool.scrub_every ?? "monthly";
	const [rule, setRule] = useState(rules.includes(now) ? now : "");
	const [other, setOther] = useState(rules.includes(now) ? "" : now);
	const wanted = rule || other.trim();
	return (
		<FormDialog title={t("scrub.rule")} button={t("action.save")} ready={wanted !== "" && wanted !== now} onClose={onClose} submit={() => call("PATCH", pathOf(pool.name), { scrub_every: wanted })}>
			<Select label={t("scrub.itself")} value={rule} onValue={setRule} options={[...rules.map((one): [string, string] => [one, ruleText(one)]), ["", t("scrub.other")]]} />
			{rule === "" && <Input label={t("schedules.cron")} value={other} onValue={setOther} placeholder="30 2 * * 6" hint={t("schedules.cronHint")} />}
		</FormDialog>
	);
}

const ruleText = (rule: string) => ({ weekly: t("scrub.weekly"), monthly: t("scrub.monthly"), none: t("scrub.notItself") })[rule] ?? rule;

function ScrubCard({ pool }: { pool: PoolType }) {
	const scrub = pool.scrub!;
	const path = `${pathOf(pool.name)}/scrub`;
	const ask = (action: string, done: string) => act(done, "POST", path, { action });
	const running = scrub.state === "running", paused = scrub.state === "paused";
	const [open, setOpen] = useState(false);
	return (
		<Card title={t("scrub.title")} actions={<Badge tone={running ? "busy" : scrub.findings ? "bad" : scrub.state === "done" ? "good" : "quiet"}>{scrubText(scrub)}</Badge>}>
			<p class="prose small">{t("scrub.text")}</p>
			{(running || paused) && <Progress value={scrub.progress} label={t("scrub.title")} />}
			<Facts rows={[
				[t("scrub.started"), time(scrub.started)],
				[t("scrub.ended"), time(scrub.ended)],
				[t("scrub.read"), `${bytes(scrub.done_bytes)} / ${bytes(scrub.total_bytes)}`],
				[t("scrub.rate"), `${bytes(scrub.rate_bytes)}/s`],
				[t("scrub.errors"), t("scrub.errorsOf", { errors: scrub.errors, repaired: scrub.repaired })],
				!!pool.scrub_every && [t("scrub.itself"), ruleText(pool.scrub_every)],
			]} />
			{can("operator") && (
				<div class="buttons start">
					{!running && !paused && <Button kind="main" onClick={() => ask("start", t("scrub.begun"))}>{t("scrub.start")}</Button>}
					{running && <Button onClick={() => ask("pause", t("scrub.pausedNow"))}>{t("scrub.pause")}</Button>}
					{paused && <Button kind="main" onClick={() => ask("resume", t("scrub.begun"))}>{t("scrub.resume")}</Button>}
					{(running || paused) && <Button onClick={() => ask("stop", t("scrub.stoppedNow"))}>{t("scrub.stop")}</Button>}
					{can("admin") && <Button onClick={() => setOpen(true)}>{t("scrub.rule")}</Button>}
				</div>
			)}
			{open && <ScrubRule pool={pool} onClose={() => setOpen(false)} />}
		</Card>
	);
}

function Findings({ name }: { name: string }) {
	const { data, problem } = useResource<Finding[]>(`${pathOf(name)}/findings`);
	return (
		<Card flush title={t("findings.title")} actions={data && data.length > 0 && <Button role="operator" kind="quiet" onClick={() => actAsked(t("findings.clear"), t("findings.cleared"), "DELETE", `${pathOf(name)}/findings`)}>{t("findings.clear")}</Button>}>
			{!data ? <Waiting problem={problem} /> : data.length === 0 ? <p class="none">{t("findings.none")}</p> : (
				<Table caption={t("findings.title")} rows={data} id={(row) => `${row.time}${row.text}`} columns={[
					{ key: "time", title: t("audit.time"), text: (row) => row.time, show: (row) => time(row.time) },
					{ key: "kind", title: t("findings.kind"), show: (row) => <Badge tone={row.repaired ? "warn" : "bad"}>{maybe(`finding.${row.kind}`) ?? row.kind}</Badge> },
					{ key: "volume", title: t("field.volume"), show: (row) => row.volume || "–" },
					{ key: "text", title: t("findings.text"), show: (row) => <span lang="en">{row.text}</span> },
				]} />
			)}
		</Card>
	);
}

function Marks({ pool, onClose }: { pool: PoolType; onClose: () => void }) {
	const [text, setText] = useState((pool.watermarks ?? [80, 90, 95]).join(", "));
	const parts = text.split(/[\s,，]+/).filter(Boolean).map(Number);
	const good = parts.length === 3 && parts.every((one, at) => one >= 1 && one <= 99 && (at === 0 || one > parts[at - 1]));
	return (
		<FormDialog title={t("pools.marks")} button={t("action.save")} ready={good} onClose={onClose} submit={() => call("PATCH", pathOf(pool.name), { watermarks: parts.join(",") })}>
			<Input label={t("pools.marks")} value={text} onValue={setText} hint={t("pools.marksHint")} problem={good ? null : t("pools.marksBad")} autoFocus />
		</FormDialog>
	);
}

export function Pool({ name }: { name: string }) {
	const { data, problem } = useResource<PoolType>(pathOf(name));
	const [open, setOpen] = useState<"marks" | "prove" | "export" | "delete" | null>(null);
	const [proof, setProof] = useState<Proof | null>(null);
	const close = () => setOpen(null);
	const back = { href: to("pools"), text: t("nav.pools") };
	if (!data) return <Page title={name} back={back}><Waiting problem={problem} /></Page>;
	return (
		<Page title={name} back={back} lead={<><StateBadge state={data.state} /> {data.reason}</>} actions={<>
			{takesVolumes(data) && <Button role="operator" onClick={() => setOpen("prove")}>{t("prove.button")}</Button>}
			{can("admin") && <>
				<Button onClick={() => setOpen("marks")}>{t("pools.marks")}</Button>
				<Button onClick={() => setOpen("export")}>{t("pools.export")}</Button>
				<Button kind="danger" onClick={() => setOpen("delete")}>{t("action.delete")}</Button>
			</>}
		</>}>
			<Degraded pool={data} />
			<div class="columns even">
				<Card title={t("pools.space")}>
					{data.size_bytes ? <PoolSpace pool={data} /> : <p class="none">{data.reason}</p>}
					<Forecast pool={data} />
					<Facts rows={[
						[t("pools.marks"), (data.watermarks ?? []).map((one) => `${one} %`).join(" · ")],
						[t("pools.metadata"), `${bytes(data.metadata_used_bytes ?? 0)} / ${bytes(data.metadata_size_bytes ?? 0)}`],
						[t("pools.reserved"), bytes(data.reserved_bytes ?? 0)],
						!!data.mirror_size_bytes && [t("copies.room"), t("newlun.free", { free: bytes(data.mirror_free_bytes ?? 0), size: bytes(data.mirror_size_bytes) })],
						data.gives_up_percent !== undefined && [t("pools.givesUp"), `${data.gives_up_percent} %${data.given_up ? ` · ${t("pools.givenUp", { count: data.given_up, name: data.given_up_last ?? "" })}` : ""}`],
						[t("pools.errors"), number(data.checksum_errors ?? 0)],
						!data.device_details && [t("pools.devices"), <span class="list mono name">{data.devices.map((one) => <span key={one}>{one}</span>)}</span>],
						["UUID", <span class="mono name">{data.uuid}</span>],
					]} />
				</Card>
				{data.scrub && <ScrubCard pool={data} />}
			</div>
			{data.device_details && <Devices pool={data} />}
			{data.scrub && <Findings name={name} />}
			{open === "marks" && <Marks pool={data} onClose={close} />}
			{open === "prove" && <Prove pool={name} onClose={close} onProof={setProof} />}
			{proof && open !== "prove" && <Proven proof={proof} onClose={() => setProof(null)} />}
			{open === "export" && <DeleteDialog title={t("pools.exportTitle", { name })} name={name} button={t("pools.export")} onClose={close} text={<p>{t("pools.exportText")}</p>} submit={async () => { await call("POST", `${pathOf(name)}/export`, {}); notice(t("pools.exported", { name })); go("pools"); }} />}
			{open === "delete" && <DeleteDialog title={t("pools.delete", { name })} name={name} button={t("action.delete")} onClose={close} text={<p>{t("pools.deleteText")}</p>} submit={async () => { await call("DELETE", pathOf(name)); notice(t("pools.deleted", { name })); go("pools"); }} />}
		</Page>
	);
}
