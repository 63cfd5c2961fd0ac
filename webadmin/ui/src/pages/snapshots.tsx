// SPDX-License-Identifier: Apache-2.0
// The snapshots of one volume as points in time: the one that is picked tells what it holds and what
// depends on it, and is cloned, shown, compared, held, gone back to or deleted.
import { useState } from "preact/hooks";
import { can, part } from "../api";
import { bytes, day, number, time } from "../format";
import { useResource } from "../live";
import { act, Badge, Button, Card, Empty, Facts, Page, Table, Waiting } from "../parts";
import { to } from "../route";
import { t } from "../text";
import type { Pool, Share, Snapshot, Target, Volume } from "../types";
import { Schedules } from "./schedules";
import { Clone, Compare, Create, Delete, Hold, Present, Promote, Rename, RollBack } from "./snapshotacts";

type Step = "clone" | "present" | "compare" | "hold" | "rename" | "rollback" | "delete";

/** Volumes that stand on a snapshot, and the LUNs it is shown as. */
export interface Dependents { clones: Volume[]; luns: { target: Target; lun: number }[] }

function dependentsOf(snapshot: Snapshot, volumes: Volume[], targets: Target[]): Dependents {
	const name = `${snapshot.volume}@${snapshot.name}`;
	return {
		clones: volumes.filter((one) => one.pool === snapshot.pool && one.origin === name),
		luns: targets.flatMap((target) => target.luns.filter((lun) => lun.pool === snapshot.pool && lun.volume === name).map((lun) => ({ target, lun: lun.lun }))),
	};
}

const PLACES = 400;

/** From the oldest to now; a click takes the nearest, the arrows the next. */
function Timeline({ list, picked, onPick }: { list: Snapshot[]; picked: number; onPick: (index: number) => void }) {
	const first = list[0].created, span = Math.max(60, Date.now() / 1000 - first);
	const place = (one: Snapshot) => Math.min(1, Math.max(0, (one.created - first) / span));
	const shown = new Map(list.map((one) => [Math.round(place(one) * PLACES), one]));
	const move = (index: number) => onPick(Math.min(list.length - 1, Math.max(0, index)));
	function nearest(event: PointerEvent) {
		const box = (event.currentTarget as HTMLElement).getBoundingClientRect(), at = (event.clientX - box.left) / box.width;
		move(list.reduce((best, one, index) => (Math.abs(place(one) - at) < Math.abs(place(list[best]) - at) ? index : best), 0));
	}
	function key(event: KeyboardEvent) {
		const steps: Record<string, number> = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -10, PageUp: 10, Home: -list.length, End: list.length };
		if (!(event.key in steps)) return;
		event.preventDefault();
		move(picked + steps[event.key]);
	}
	return (
		<div class="timeline-box">
			<div class="timeline" role="slider" tabIndex={0} aria-label={t("snapshots.timeline")} aria-valuemin={1} aria-valuemax={list.length} aria-valuenow={picked + 1} aria-valuetext={`${list[picked].name}, ${time(list[picked].created * 1000)}`} onKeyDown={key} onPointerDown={nearest} onPointerMove={(event) => { if (event.buttons) nearest(event); }}>
				<b />
				{[...shown.values()].map((one) => <i key={one.name} class={one.held ? "held" : undefined} style={{ left: `${place(one) * 100}%` }} />)}
				<i class="here" style={{ left: `${place(list[picked]) * 100}%` }} />
			</div>
			<div class="line small"><span>{day(first * 1000)}</span><span>{t("snapshots.now")}</span></div>
		</div>
	);
}

function DependentList({ of }: { of: Dependents }) {
	if (!of.clones.length && !of.luns.length) return <>{t("snapshots.nothing")}</>;
	return (
		<span class="list">
			{of.clones.map((one) => <a key={one.uuid} href={to("snapshots", one.pool, one.name)}>{t("snapshots.cloneNamed", { name: one.name })}</a>)}
			{of.luns.map((one) => <a key={one.target.iqn + one.lun} href={to("targets", one.target.iqn)}>{t("snapshots.lunOf", { lun: one.lun, target: one.target.alias || one.target.iqn })}</a>)}
		</span>
	);
}

function heldText(snapshot: Snapshot): string {
	if (snapshot.hold_until) return t("snapshots.heldUntil", { time: time(snapshot.hold_until * 1000) });
	return snapshot.held ? t("snapshots.heldOpen") : t("snapshots.notHeld");
}

function Picked({ snapshot, dependents, onStep }: { snapshot: Snapshot; dependents: Dependents; onStep: (step: Step) => void }) {
	const path = `/volumes/${part(snapshot.pool)}/${part(snapshot.volume)}/snapshots/${part(snapshot.name)}`;
	const offers = (useResource<Pool[]>("/pools").data ?? []).find((one) => one.name === snapshot.pool)?.features?.includes("expendables");
	return (
		<Card title={snapshot.name} actions={<span class="badges">{snapshot.expendable && <Badge tone="quiet">{t("snapshots.expendable")}</Badge>}{snapshot.held && <Badge tone="warn">{t("snapshots.held")}</Badge>}{snapshot.automatic && <Badge tone="quiet">{t("snapshots.automatic")}</Badge>}</span>}>
			<Facts rows={[
				[t("snapshots.created"), time(snapshot.created * 1000)],
				[t("field.size"), bytes(snapshot.size_bytes)],
				[t("snapshots.used"), bytes(snapshot.used_bytes)],
				snapshot.exclusive_bytes !== null && [t("snapshots.exclusive"), bytes(snapshot.exclusive_bytes)],
				[t("snapshots.hold"), heldText(snapshot)],
				[t("snapshots.inFull"), snapshot.expendable ? t("snapshots.expendable") : t("snapshots.inFullKept")],
				[t("snapshots.dependents"), <DependentList of={dependents} />],
			]} />
			<div class="buttons start">
				<Button onClick={() => onStep("compare")}>{t("snapshots.compare")}</Button>
				{can("provisioner") && <>
					<Button kind="main" onClick={() => onStep("clone")}>{t("snapshots.clone")}</Button>
					<Button onClick={() => onStep("present")}>{t("snapshots.present")}</Button>
					{snapshot.held && !snapshot.hold_until ? <Button onClick={() => act(t("snapshots.released"), "PATCH", path, { held: false })}>{t("snapshots.release")}</Button> : <Button onClick={() => onStep("hold")}>{t("snapshots.hold")}</Button>}
					{(snapshot.expendable || offers) && <Button onClick={() => act(snapshot.expendable ? t("snapshots.expendableNo") : t("snapshots.expendableYes"), "PATCH", path, { expendable: !snapshot.expendable })}>{snapshot.expendable ? t("snapshots.expendableEnd") : t("snapshots.expendableBegin")}</Button>}
					<Button kind="quiet" icon="edit" label={t("snapshots.rename", { name: snapshot.name })} onClick={() => onStep("rename")} />
					{can("operator") && <Button kind="danger" onClick={() => onStep("rollback")}>{t("snapshots.rollback")}</Button>}
					<Button kind="quiet" icon="trash" label={t("snapshots.delete", { name: snapshot.name })} onClick={() => onStep("delete")} />
				</>}
			</div>
		</Card>
	);
}

function List({ list, picked, onPick }: { list: Snapshot[]; picked: string; onPick: (name: string) => void }) {
	return (
		<Card flush>
			<Table caption={t("snapshots.title")} rows={[...list].reverse()} id={(row) => row.name} find={(row) => row.name} columns={[
				{ key: "name", title: t("field.name"), text: (row) => row.name, show: (row) => <button type="button" class="link name" aria-pressed={row.name === picked} onClick={() => onPick(row.name)}>{row.name}</button> },
				{ key: "created", title: t("snapshots.created"), text: (row) => row.created, show: (row) => time(row.created * 1000) },
				{ key: "used", title: t("snapshots.used"), number: true, text: (row) => row.used_bytes, show: (row) => bytes(row.used_bytes) },
				{ key: "clones", title: t("snapshots.clones"), number: true, text: (row) => row.clones, show: (row) => row.clones ? number(row.clones) : "–" },
				{ key: "held", title: t("snapshots.hold"), show: (row) => row.held ? <Badge tone="warn">{t("snapshots.held")}</Badge> : "–" },
			]} />
		</Card>
	);
}

export function Snapshots({ pool, name }: { pool: string; name: string }) {
	const path = `/volumes/${part(pool)}/${part(name)}`;
	const { data: list, problem } = useResource<Snapshot[]>(`${path}/snapshots`, true);
	const volumes = useResource<Volume[]>("/volumes").data ?? [];
	const targets = useResource<Target[]>("/targets").data ?? [];
	const shares = useResource<Share[]>("/shares").data ?? [];
	const [wanted, setWanted] = useState("");
	const [step, setStep] = useState<Step | "create" | "promote" | null>(null);
	const volume = volumes.find((one) => one.pool === pool && one.name === name);
	const isShare = shares.some((one) => one.pool === pool && one.name === name);
	const found = list ? list.findIndex((one) => one.name === wanted) : -1;
	const picked = list ? (found < 0 ? list.length - 1 : found) : 0;
	const snapshot = list?.[picked];
	const close = () => setStep(null);
	const others = volumes.filter((one) => one.pool === pool && one.name !== name);
	const dependents = snapshot ? dependentsOf(snapshot, volumes, targets) : { clones: [], luns: [] };
	return (
		<Page title={t("snapshots.of", { name })} back={isShare ? { href: to("shares", pool, name), text: name } : { href: to("volumes"), text: t("nav.volumes") }}
			lead={volume?.origin ? <>{t("snapshots.isClone")} <a href={to("snapshots", pool, volume.origin.split("@")[0])}>{volume.origin}</a>. {can("provisioner") && <button type="button" class="link" onClick={() => setStep("promote")}>{t("snapshots.promote")}</button>}</> : t("snapshots.lead")}
			actions={<Button role="provisioner" icon="plus" onClick={() => setStep("create")}>{t("snapshots.create")}</Button>}>
			{!list ? <Waiting problem={problem} /> : !snapshot ? (
				<Card><Empty icon="snapshot" title={t("snapshots.none")} text={t("snapshots.noneText")} /></Card>
			) : <>
				<Card><Timeline list={list} picked={picked} onPick={(index) => setWanted(list[index].name)} /></Card>
				<div class="stack">
					<Picked snapshot={snapshot} dependents={dependents} onStep={setStep} />
					<List list={list} picked={snapshot.name} onPick={setWanted} />
				</div>
			</>}
			<Schedules pool={pool} name={name} others={others} />
			{step === "create" && <Create pool={pool} name={name} volumes={others} onClose={close} onMade={setWanted} />}
			{step === "promote" && volume && <Promote volume={volume} onClose={close} />}
			{snapshot && step === "clone" && <Clone snapshot={snapshot} onClose={close} />}
			{snapshot && step === "present" && <Present snapshot={snapshot} targets={targets} onClose={close} />}
			{snapshot && list && step === "compare" && <Compare snapshot={snapshot} later={list.slice(picked + 1)} onClose={close} />}
			{snapshot && step === "hold" && <Hold snapshot={snapshot} onClose={close} />}
			{snapshot && step === "rename" && <Rename snapshot={snapshot} onClose={close} onDone={setWanted} />}
			{snapshot && step === "rollback" && <RollBack snapshot={snapshot} volume={volume} onClose={close} onKept={setWanted} />}
			{snapshot && step === "delete" && <Delete snapshot={snapshot} dependents={dependents} shown={<DependentList of={dependents} />} onClose={close} />}
		</Page>
	);
}
