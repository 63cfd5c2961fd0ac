// SPDX-License-Identifier: Apache-2.0
// The devices of a pool: what is wrong with one and what to do about it, and how one is added,
// emptied and taken out.
import { useRef, useState } from "preact/hooks";
import { call, can, part } from "../api";
import { bytes, duration, percent } from "../format";
import { useResource } from "../live";
import { Icon } from "../icons";
import { act, Badge, Button, Card, Check, FormDialog, Input, notice, Progress, Snippet, Table, type Tone } from "../parts";
import { maybe, t } from "../text";
import type { Disk, Pool, PoolDevice } from "../types";
import { quoted } from "./cli";

const tones: Record<PoolDevice["state"], Tone> = { active: "good", evacuating: "busy", paused: "warn", stuck: "bad", empty: "quiet", away: "bad", resilvering: "busy" };
const word = (text: string) => (/^[\w./:@=+-]+$/.test(text) ? text : quoted(text));
const done = (device: PoolDevice) => {
	const moved = device.moved_bytes ?? 0, all = moved + (device.left_bytes ?? 0);
	return all ? moved / all : 1;
};

/** How long it takes from here on, by what has been done since the page has looked; null: not known yet. */
function useLeft(device: PoolDevice): number | null {
	const first = useRef<{ path: string; at: number; left: number } | null>(null);
	const left = device.left_bytes ?? 0, now = Date.now();
	if (!first.current || first.current.path !== device.path || left > first.current.left) first.current = { path: device.path, at: now, left };
	const gone = first.current.left - left, seconds = (now - first.current.at) / 1000;
	return gone > 0 && seconds >= 2 ? (left / gone) * seconds : null;
}

/** The machine's disks that a pool may take; @one: of which one is chosen. */
function Disks({ chosen, force, one, onChange }: { chosen: string[]; force: boolean; one?: boolean; onChange: (paths: string[]) => void }) {
	const disks = (useResource<Disk[]>("/disks").data ?? []).filter((disk) => disk.size_bytes > 0 && !disk.used_by);
	return (
		<fieldset>
			<legend>{t("disks.title")}</legend>
			{disks.length === 0 ? <p class="hint">{t("disks.none")}</p> : (
				<div class="disks">
					{disks.map((disk) => {
						const path = disk.by_id || disk.path, usable = disk.free || force;
						return (
							<label key={disk.path} class={usable ? "disk" : "disk taken"}>
								<input type={one ? "radio" : "checkbox"} name="disk" disabled={!usable} checked={chosen.includes(path)} onChange={(event) => onChange(one ? [path] : event.currentTarget.checked ? [...chosen, path] : chosen.filter((other) => other !== path))} />
								<span><b>{disk.name}</b> {bytes(disk.size_bytes)}<small>{[disk.model, disk.serial].filter(Boolean).join(" · ")}</small><small>{disk.carries ? t("disks.carries", { what: disk.carries }) : t("disks.free")}</small></span>
							</label>
						);
					})}
				</div>
			)}
		</fieldset>
	);
}

// --- what is wrong -----------------------------------------------------------------------------

function TakeBack({ pool, device, onClose }: { pool: Pool; device: PoolDevice; onClose: () => void }) {
	const [path, setPath] = useState("");
	return (
		<FormDialog title={t("devices.online")} button={t("devices.online")} onClose={onClose} submit={async () => {
			await call("POST", `/pools/${part(pool.name)}/online`, path.trim() ? { device: path.trim() } : {});
			notice(t("devices.onlineBegun"));
		}}>
			<p class="prose">{t("devices.onlineText")}</p>
			<Input label={t("devices.elsewhere")} value={path} onValue={setPath} placeholder={device.path} hint={t("devices.elsewhereHint")} />
		</FormDialog>
	);
}

/** Another takes its place; what has a second copy is copied to it. */
function Replace({ pool, device, onClose }: { pool: Pool; device: PoolDevice; onClose: () => void }) {
	const [chosen, setChosen] = useState<string[]>([]);
	const [file, setFile] = useState("");
	const [force, setForce] = useState(false);
	const path = file.trim() || chosen[0];
	return (
		<FormDialog title={t("devices.replaceTitle", { path: device.path })} button={t("devices.replace")} kind="danger" ready={!!path} onClose={onClose} submit={async () => {
			await call("POST", `/pools/${part(pool.name)}/replace`, { device: device.path, devices: [path], force });
			notice(t("devices.replaceBegun"));
		}}>
			<p class="prose">{t("devices.replaceText", { size: bytes(device.size_bytes) })}</p>
			<Disks one chosen={file.trim() ? [] : chosen} force={force} onChange={(paths) => { setChosen(paths); setFile(""); }} />
			<Input label={t("pools.files")} value={file} onValue={setFile} placeholder="/dev/disk/by-id/…" />
			<div class="caution"><Check label={t("devices.replaceForce")} value={force} onValue={setForce} /></div>
		</FormDialog>
	);
}

function Away({ pool, device }: { pool: Pool; device: PoolDevice }) {
	const [open, setOpen] = useState<"back" | "replace" | null>(null);
	const close = () => setOpen(null);
	return (
		<Card title={t("devices.away", { path: device.path })} actions={<Badge tone="bad">{t("state.degraded")}</Badge>}>
			<p class="prose">{t("devices.awayText")}</p>
			{device.reason && <p class="small quiet" lang="en">{device.reason}</p>}
			<ol class="steps">
				<li>{t("devices.stepLook")}</li>
				<li>{t("devices.stepBack")}<Snippet label={t("devices.online")} text={`granary pool online ${word(pool.name)} --wait`} /></li>
				<li>{t("devices.stepReplace")}<Snippet label={t("devices.replace")} text={`granary pool replace ${word(pool.name)} ${word(device.path)} NEW --wait`} /></li>
			</ol>
			<div class="buttons start">
				<Button role="admin" kind="main" onClick={() => setOpen("back")}>{t("devices.online")}</Button>
				<Button role="admin" onClick={() => setOpen("replace")}>{t("devices.replace")}</Button>
			</div>
			{open === "back" && <TakeBack pool={pool} device={device} onClose={close} />}
			{open === "replace" && <Replace pool={pool} device={device} onClose={close} />}
		</Card>
	);
}

function Resilver({ device }: { device: PoolDevice }) {
	const left = useLeft(device), share = done(device);
	return (
		<Card title={t("devices.resilver", { path: device.path })} actions={<Badge tone="busy">{percent(share, 1)}</Badge>}>
			<p class="prose">{t("devices.resilverText")}</p>
			<Progress value={share} label={t("devices.resilver", { path: device.path })} />
			<p class="small quiet">{t("devices.madeGood", { done: bytes(device.moved_bytes ?? 0), left: bytes(device.left_bytes ?? 0) })} {left === null ? t("devices.etaUnknown") : t("devices.eta", { time: duration(left) })}</p>
			{device.reason && <p class="small quiet" lang="en">{device.reason}</p>}
		</Card>
	);
}

/** What a pool that does not go on whole needs from a person; nothing while all is well. */
export function Degraded({ pool }: { pool: Pool }) {
	const devices = pool.device_details ?? [];
	return (
		<>
			{devices.filter((one) => one.state === "away").map((one) => <Away key={one.path} pool={pool} device={one} />)}
			{devices.filter((one) => one.state === "resilvering").map((one) => <Resilver key={one.path} device={one} />)}
		</>
	);
}

// --- all of them -------------------------------------------------------------------------------

function Add({ pool, onClose }: { pool: Pool; onClose: () => void }) {
	const [chosen, setChosen] = useState<string[]>([]);
	const [files, setFiles] = useState("");
	const [force, setForce] = useState(false);
	const paths = [...chosen, ...files.split(/\s+/).filter(Boolean)];
	return (
		<FormDialog title={t("devices.add")} button={t("devices.add")} ready={paths.length > 0} onClose={onClose} submit={async () => {
			await call("POST", `/pools/${part(pool.name)}/devices`, { devices: paths, force });
			notice(t("devices.added"));
		}}>
			<p class="prose">{t("devices.addText")}</p>
			<Disks chosen={chosen} force={force} onChange={setChosen} />
			<Input label={t("pools.files")} value={files} onValue={setFiles} placeholder="/dev/disk/by-id/…" />
			<div class="caution"><Check label={t("pools.force")} value={force} onValue={setForce} /></div>
		</FormDialog>
	);
}

function Grow({ pool, onClose }: { pool: Pool; onClose: () => void }) {
	return (
		<FormDialog title={t("devices.grow")} button={t("devices.grow")} onClose={onClose} submit={async () => {
			await call("POST", `/pools/${part(pool.name)}/grow`, {});
			notice(t("devices.grown"));
		}}>
			<p class="prose">{t("devices.growText")}</p>
		</FormDialog>
	);
}

function Evacuate({ pool, device, onClose }: { pool: Pool; device: PoolDevice; onClose: () => void }) {
	return (
		<FormDialog title={t("devices.evacuateTitle", { path: device.path })} button={t("devices.evacuate")} onClose={onClose} submit={() => call("POST", `/pools/${part(pool.name)}/evacuate`, { device: device.path })}>
			<p class="prose">{t("devices.evacuateText", { data: bytes(device.data_bytes) })}</p>
		</FormDialog>
	);
}

function SendAway({ pool, device, onClose }: { pool: Pool; device: PoolDevice; onClose: () => void }) {
	return (
		<FormDialog title={t("devices.offlineTitle", { path: device.path })} button={t("devices.offline")} kind="danger" onClose={onClose} submit={() => call("POST", `/pools/${part(pool.name)}/offline`, { device: device.path })}>
			<p class="prose">{t("devices.offlineText")}</p>
		</FormDialog>
	);
}

function Remove({ pool, device, onClose }: { pool: Pool; device: PoolDevice; onClose: () => void }) {
	return (
		<FormDialog title={t("devices.removeTitle", { path: device.path })} button={t("devices.remove")} kind="danger" onClose={onClose} submit={async () => {
			await call("POST", `/pools/${part(pool.name)}/remove`, { device: device.path });
			notice(t("devices.removed"));
		}}>
			<p class="prose">{t("devices.removeText")}</p>
		</FormDialog>
	);
}

function State({ device }: { device: PoolDevice }) {
	const moves = device.state === "evacuating" || device.state === "paused" || device.state === "resilvering" || device.state === "stuck";
	return (
		<div class="meter">
			<span><Badge tone={tones[device.state]}>{maybe(`device.${device.state}`) ?? device.state}</Badge>{moves && ` ${percent(done(device), 1)}`}</span>
			{moves && <Progress value={done(device)} label={t("jobs.progress")} />}
			{device.reason && <small class="reason" lang="en">{device.reason}</small>}
		</div>
	);
}

function Acts({ pool, device, onOpen }: { pool: Pool; device: PoolDevice; onOpen: (what: "evacuate" | "remove" | "offline", device: PoolDevice) => void }) {
	const ask = (action: string, text: string) => act(text, "POST", `/pools/${part(pool.name)}/evacuate`, { device: device.path, action });
	if (!can("admin") || (pool.device_details?.length ?? 0) < 2) return null;
	return (
		<div class="row-actions">
			{device.state === "active" && !!pool.mirror_size_bytes && <Button kind="quiet" label={t("devices.offlineTitle", { path: device.path })} onClick={() => onOpen("offline", device)}>{t("devices.offline")}</Button>}
			{device.state === "active" && <Button kind="quiet" label={t("devices.evacuateTitle", { path: device.path })} onClick={() => onOpen("evacuate", device)}>{t("devices.evacuate")}</Button>}
			{device.state === "evacuating" && <Button kind="quiet" onClick={() => ask("pause", t("devices.paused"))}>{t("scrub.pause")}</Button>}
			{(device.state === "paused" || device.state === "stuck") && <Button kind="quiet" onClick={() => ask("resume", t("devices.resumed"))}>{t("scrub.resume")}</Button>}
			{["evacuating", "paused", "stuck", "empty"].includes(device.state) && <Button kind="quiet" onClick={() => ask("stop", t("devices.stopped"))}>{t("devices.keep")}</Button>}
			{device.state === "empty" && <Button kind="quiet" label={t("devices.removeTitle", { path: device.path })} onClick={() => onOpen("remove", device)}>{t("devices.remove")}</Button>}
		</div>
	);
}

export function Devices({ pool }: { pool: Pool }) {
	const [open, setOpen] = useState<{ what: "add" | "grow" } | { what: "evacuate" | "remove" | "offline"; device: PoolDevice } | null>(null);
	const close = () => setOpen(null);
	return (
		<Card flush title={t("pools.devices")} actions={can("admin") && <div class="buttons">
			<Button onClick={() => setOpen({ what: "grow" })}>{t("devices.grow")}</Button>
			<Button onClick={() => setOpen({ what: "add" })}><Icon name="plus" /> {t("devices.add")}</Button>
		</div>}>
			<Table caption={t("pools.devices")} rows={pool.device_details ?? []} id={(row) => row.path} columns={[
				{ key: "path", title: t("devices.device"), text: (row) => row.path, show: (row) => <span class="mono name">{row.path}</span> },
				{ key: "size", title: t("field.size"), number: true, text: (row) => row.size_bytes, show: (row) => bytes(row.size_bytes) },
				{ key: "data", title: t("devices.data"), number: true, text: (row) => row.data_bytes, show: (row) => bytes(row.data_bytes) },
				{ key: "state", title: t("field.state"), text: (row) => row.state, show: (row) => <State device={row} /> },
				{ key: "does", title: "", show: (row) => <Acts pool={pool} device={row} onOpen={(what, device) => setOpen({ what, device })} /> },
			]} />
			{open?.what === "add" && <Add pool={pool} onClose={close} />}
			{open?.what === "grow" && <Grow pool={pool} onClose={close} />}
			{open?.what === "evacuate" && <Evacuate pool={pool} device={open.device} onClose={close} />}
			{open?.what === "offline" && <SendAway pool={pool} device={open.device} onClose={close} />}
			{open?.what === "remove" && <Remove pool={pool} device={open.device} onClose={close} />}
		</Card>
	);
}
