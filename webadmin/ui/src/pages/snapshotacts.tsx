// SPDX-License-Identifier: Apache-2.0
// What can be done with a snapshot, a dialog each.
import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { call, get, part } from "../api";
import { bytes, number, time } from "../format";
import { useResource } from "../live";
import { Button, Check, DeleteDialog, Dialog, Field, FormDialog, Input, notice, Select, Trouble, useAction } from "../parts";
import { to } from "../route";
import { t } from "../text";
import type { Extent, Pool, Snapshot, Target, Volume } from "../types";
import type { Dependents } from "./snapshots";

interface Props { snapshot: Snapshot; onClose: () => void }

const volumeOf = (snapshot: Snapshot) => `/volumes/${part(snapshot.pool)}/${part(snapshot.volume)}`;
const pathOf = (snapshot: Snapshot) => `${volumeOf(snapshot)}/snapshots/${part(snapshot.name)}`;

/** "2026-11-21-1405": of now, by the clock on the wall. */
function stamp(): string {
	const now = new Date(), two = (value: number) => String(value).padStart(2, "0");
	return `${now.getFullYear()}-${two(now.getMonth() + 1)}-${two(now.getDate())}-${two(now.getHours())}${two(now.getMinutes())}`;
}

/** Volumes to tick. */
export function Others({ volumes, chosen, onChange }: { volumes: Volume[]; chosen: string[]; onChange: (names: string[]) => void }) {
	return (
		<Field label={t("snapshots.together")} hint={t("snapshots.togetherHint")}>
			{(id, note) => (
				<div class="disks" id={id} role="group" aria-label={t("snapshots.together")} aria-describedby={note}>
					{volumes.map((one) => <label key={one.uuid} class="disk"><input type="checkbox" checked={chosen.includes(one.name)} onChange={(event) => onChange(event.currentTarget.checked ? [...chosen, one.name] : chosen.filter((other) => other !== one.name))} /><span><b>{one.name}</b> {bytes(one.size_bytes)}</span></label>)}
				</div>
			)}
		</Field>
	);
}

/** Whether snapshots may be given up when the pool is at its end; nothing where a pool has no such. */
export function Expendable({ pool, value, onValue }: { pool: string; value: boolean; onValue: (value: boolean) => void }) {
	const found = (useResource<Pool[]>("/pools").data ?? []).find((one) => one.name === pool);
	if (!found?.features?.includes("expendables")) return null;
	return <Check label={t("snapshots.expendableAllow", { percent: found.gives_up_percent ?? 0 })} value={value} onValue={onValue} />;
}

export function Create({ pool, name, volumes, onClose, onMade }: { pool: string; name: string; volumes: Volume[]; onClose: () => void; onMade: (name: string) => void }) {
	const [wanted, setWanted] = useState(stamp());
	const [others, setOthers] = useState<string[]>([]);
	const [expendable, setExpendable] = useState(false);
	return (
		<FormDialog title={t("snapshots.create")} button={t("action.create")} ready={wanted !== ""} onClose={onClose} submit={async () => {
			await call("POST", "/snapshots", { snapshots: [name, ...others].map((one) => `${pool}/${one}@${wanted}`), ...(expendable && { expendable }) });
			notice(t("snapshots.made", { name: wanted }));
			onMade(wanted);
		}}>
			<Input label={t("field.name")} value={wanted} onValue={setWanted} autoFocus />
			{volumes.length > 0 && <Others volumes={volumes} chosen={others} onChange={setOthers} />}
			<Expendable pool={pool} value={expendable} onValue={setExpendable} />
		</FormDialog>
	);
}

export function Clone({ snapshot, onClose }: Props) {
	const [name, setName] = useState(`${snapshot.volume}-${snapshot.name}`);
	return (
		<FormDialog title={t("snapshots.cloneTitle", { name: snapshot.name })} button={t("snapshots.clone")} ready={name !== ""} onClose={onClose} submit={async () => {
			await call("POST", `${pathOf(snapshot)}/clone`, { name });
			notice(t("volumes.created", { name }));
		}}>
			<p class="prose">{t("snapshots.cloneText")}</p>
			<Input label={t("field.name")} value={name} onValue={setName} autoFocus />
		</FormDialog>
	);
}

export function Promote({ volume, onClose }: { volume: Volume; onClose: () => void }) {
	return (
		<FormDialog title={t("snapshots.promoteTitle", { name: volume.name })} button={t("snapshots.promote")} onClose={onClose} submit={async () => {
			await call("POST", `/volumes/${part(volume.pool)}/${part(volume.name)}/promote`, {});
			notice(t("volumes.changed", { name: volume.name }));
		}}>
			<p class="prose">{t("snapshots.promoteText", { origin: volume.origin ?? "" })}</p>
		</FormDialog>
	);
}

export function Present({ snapshot, targets, onClose }: Props & { targets: Target[] }) {
	const [iqn, setIqn] = useState(targets[0]?.iqn ?? "");
	return (
		<FormDialog title={t("snapshots.presentTitle", { name: snapshot.name })} button={t("snapshots.present")} ready={iqn !== ""} onClose={onClose} submit={async () => {
			const made = await call<{ lun: number }>("POST", `/targets/${part(iqn)}/luns`, { pool: snapshot.pool, volume: `${snapshot.volume}@${snapshot.name}` });
			notice(t("snapshots.presented", { lun: made.lun, target: iqn }));
		}}>
			<p class="prose">{t("snapshots.presentText")}</p>
			{targets.length ? <Select label={t("targets.target")} value={iqn} onValue={setIqn} options={targets.map((one) => [one.iqn, one.alias || one.iqn])} /> : <p class="none">{t("targets.none")}</p>}
		</FormDialog>
	);
}

export function Hold({ snapshot, onClose }: Props) {
	const [until, setUntil] = useState("");
	const at = until === "" ? 0 : Math.floor(new Date(until).getTime() / 1000);
	return (
		<FormDialog title={t("snapshots.holdTitle", { name: snapshot.name })} button={t("snapshots.hold")} ready={!isNaN(at)} onClose={onClose} submit={async () => {
			await call("PATCH", pathOf(snapshot), at ? { hold_until: at } : { held: true });
			notice(t("snapshots.heldNow", { name: snapshot.name }));
		}}>
			<p class="prose">{t("snapshots.holdText")}</p>
			<Field label={t("snapshots.until")} hint={t("snapshots.untilHint")}>
				{(id, note) => <input id={id} type="datetime-local" aria-describedby={note} value={until} onInput={(event) => setUntil(event.currentTarget.value)} />}
			</Field>
		</FormDialog>
	);
}

export function Rename({ snapshot, onClose, onDone }: Props & { onDone: (name: string) => void }) {
	const [name, setName] = useState(snapshot.name);
	return (
		<FormDialog title={t("snapshots.rename", { name: snapshot.name })} button={t("action.save")} ready={name !== "" && name !== snapshot.name} onClose={onClose} submit={async () => {
			await call("PATCH", pathOf(snapshot), { name });
			onDone(name);
		}}>
			<Input label={t("field.name")} value={name} onValue={setName} autoFocus />
		</FormDialog>
	);
}

export function RollBack({ snapshot, volume, onClose, onKept }: Props & { volume?: Volume; onKept: (name: string) => void }) {
	const [keep, setKeep] = useState(true);
	const [kept, setKept] = useState(`before-${stamp()}`);
	const [typed, setTyped] = useState("");
	return (
		<FormDialog title={t("snapshots.rollbackTitle", { volume: snapshot.volume, name: snapshot.name })} button={t("snapshots.rollback")} kind="danger" ready={typed.trim() === snapshot.volume && (!keep || kept !== "")} onClose={onClose} submit={async () => {
			await call("POST", `${volumeOf(snapshot)}/rollback`, keep ? { snapshot: snapshot.name, keep: kept } : { snapshot: snapshot.name });
			notice(t("snapshots.rolledBack", { volume: snapshot.volume, time: time(snapshot.created * 1000) }));
			if (keep) onKept(kept);
		}}>
			<div class="prose">
				<p>{t("snapshots.rollbackText", { time: time(snapshot.created * 1000) })}</p>
				{volume && volume.mapped.length > 0 && <><p>{t("snapshots.rollbackLuns")}</p><ul class="plain">{volume.mapped.map((one) => <li key={one.target + one.lun}><a href={to("targets", one.target)} onClick={onClose}>{one.target}</a> · LUN {one.lun}</li>)}</ul></>}
			</div>
			<Check label={t("snapshots.keep")} value={keep} onValue={setKeep} />
			{keep && <Input label={t("snapshots.keepName")} value={kept} onValue={setKept} />}
			<Input label={t("delete.type", { name: snapshot.volume })} value={typed} onValue={setTyped} />
		</FormDialog>
	);
}

/** What deleting it gives back is measured when somebody is about to; while it is, it is in use. */
export function Delete({ snapshot, dependents, shown, onClose }: Props & { dependents: Dependents; shown: ComponentChildren }) {
	const [space, setSpace] = useState<number | null>(snapshot.exclusive_bytes);
	const measured = useRef<Promise<void> | null>(null);
	useEffect(() => { measured.current = get<Snapshot>(pathOf(snapshot)).then((one) => setSpace(one.exclusive_bytes), () => {}); }, [snapshot.name]);
	if (snapshot.held || snapshot.clones || dependents.clones.length || dependents.luns.length) return (
		<Dialog title={t("snapshots.inUse", { name: snapshot.name })} onClose={onClose}>
			<p class="prose">{snapshot.held ? t("snapshots.inUseHeld") : t("snapshots.inUseText")}</p>
			{(dependents.clones.length > 0 || dependents.luns.length > 0) && <p onClick={onClose}>{shown}</p>}
			<div class="buttons"><Button kind="main" onClick={onClose}>{t("action.close")}</Button></div>
		</Dialog>
	);
	return (
		<DeleteDialog title={t("snapshots.delete", { name: snapshot.name })} name={snapshot.name} button={t("action.delete")} onClose={onClose}
			text={<p>{t("snapshots.deleteText")} {space !== null && t("snapshots.deleteSpace", { space: bytes(space) })}</p>}
			submit={async () => { await measured.current; await call("DELETE", pathOf(snapshot)); notice(t("snapshots.deleted", { name: snapshot.name })); }} />
	);
}

// --- differences -------------------------------------------------------------------------------

const CELLS = 120, PAGES = 40;

interface Difference { changed: number; discarded: number; places: number; cells: boolean[]; whole: boolean }

/** Page by page, as the daemon cuts it; a very large one is told as at least that much. */
async function difference(snapshot: Snapshot, later: string): Promise<Difference> {
	const sum: Difference = { changed: 0, discarded: 0, places: 0, cells: Array(CELLS).fill(false), whole: true };
	let next: number | null = 0;
	for (let page = 0; next !== null && page < PAGES; page++) {
		const query: string = `?offset=${next}${later ? `&to=${part(later)}` : ""}`;
		const answer: { extents: Extent[]; next: number | null } = await get(`${pathOf(snapshot)}/diff${query}`);
		for (const one of answer.extents) {
			if (one.mapped) sum.changed += one.length;
			else sum.discarded += one.length;
			const last = Math.floor(((one.offset + one.length - 1) / snapshot.size_bytes) * CELLS);
			for (let cell = Math.floor((one.offset / snapshot.size_bytes) * CELLS); cell <= last && cell < CELLS; cell++) sum.cells[cell] = true;
		}
		sum.places += answer.extents.length;
		next = answer.next;
	}
	sum.whole = next === null;
	return sum;
}

export function Compare({ snapshot, later, onClose }: Props & { later: Snapshot[] }) {
	const [to, setTo] = useState("");
	const [found, setFound] = useState<Difference | null>(null);
	const action = useAction();
	const compare = (other: string) => { setTo(other); setFound(null); void action.run(async () => setFound(await difference(snapshot, other))); };
	useEffect(() => compare(""), []);
	return (
		<Dialog title={t("snapshots.compareTitle", { name: snapshot.name })} onClose={onClose}>
			<Select label={t("snapshots.upTo")} value={to} onValue={compare} options={[["", t("snapshots.now")], ...later.slice(-200).map((one): [string, string] => [one.name, `${one.name} (${time(one.created * 1000)})`])]} />
			<Trouble problem={action.problem} />
			<div role="status" class="difference">
				{action.busy && <span class="spinner" />}
				{found && <>
					<p>{found.places === 0 ? t("snapshots.same") : t(found.whole ? "snapshots.changedBy" : "snapshots.changedAtLeast", { changed: bytes(found.changed), discarded: bytes(found.discarded), places: number(found.places) })}</p>
					<div class="strip" role="img" aria-label={t("snapshots.where")}>{found.cells.map((one, at) => <i key={at} class={one ? "on" : undefined} />)}</div>
					<div class="line small"><span>0</span><span>{bytes(snapshot.size_bytes)}</span></div>
				</>}
			</div>
			<div class="buttons"><Button kind="main" onClick={onClose}>{t("action.close")}</Button></div>
		</Dialog>
	);
}
