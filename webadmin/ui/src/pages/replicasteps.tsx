// SPDX-License-Identifier: Apache-2.0
// What can be done with a replication group while it runs: its members, how it is kept, where it is
// served, and trying out an image that was kept.
import { useState } from "preact/hooks";
import { call, can, get, getWhole, onlyReplication, part } from "../api";
import { bytes, duration, number, parseSize, time } from "../format";
import { useResource } from "../live";
import { actAsked, Badge, Button, DeleteDialog, Dialog, Field, FormDialog, Input, notice, Table, Waiting } from "../parts";
import { to } from "../route";
import { t } from "../text";
import type { Group, Point, Target, Volume } from "../types";
import { splitHosts } from "./newlun";
import { SeedBy } from "./replicaseed";

interface Props { group: Group; onClose: () => void }

export const pathOf = (group: Group) => `/replica/groups/${part(group.name)}`;
const testTarget = (group: Group) => `iqn.2026-11.org.granary:test-${group.name.toLowerCase()}`;

/** Volumes to tick, each POOL/NAME. */
export function Boxes({ chosen, kept = [], onChange }: { chosen: string[]; kept?: string[]; onChange: (paths: string[]) => void }) {
	const volumes = useResource<Volume[]>("/volumes").data ?? [];
	const known = volumes.map((one) => ({ path: `${one.pool}/${one.name}`, size: bytes(one.size_bytes) }));
	const rows = [...kept.filter((path) => !known.some((one) => one.path === path)).map((path) => ({ path, size: "" })), ...known];
	return (
		<Field label={t("replica.members")} hint={t("replica.membersHint")}>
			{(id, note) => (
				<div class="disks" id={id} role="group" aria-label={t("replica.members")} aria-describedby={note}>
					{rows.map(({ path, size }) => (
						<label key={path} class="disk"><input type="checkbox" checked={chosen.includes(path)} onChange={(event) => onChange(event.currentTarget.checked ? [...chosen, path] : chosen.filter((other) => other !== path))} /><span><b>{path}</b> {size}</span></label>
					))}
				</div>
			)}
		</Field>
	);
}

export function Members({ group, onClose }: Props) {
	const [chosen, setChosen] = useState(group.members);
	const add = chosen.filter((one) => !group.members.includes(one)), remove = group.members.filter((one) => !chosen.includes(one));
	return (
		<FormDialog title={t("replica.changeMembers", { name: group.name })} button={t("action.save")} ready={chosen.length > 0 && add.length + remove.length > 0} onClose={onClose} submit={async () => {
			await call("PATCH", pathOf(group), { ...(add.length && { add }), ...(remove.length && { remove }) });
			notice(t("replica.changed", { name: group.name }));
		}}>
			<p class="prose">{t("replica.membersText")}</p>
			<Boxes chosen={chosen} kept={group.members} onChange={setChosen} />
		</FormDialog>
	);
}

export function Settings({ group, onClose }: Props) {
	const [rpo, setRpo] = useState(`${group.rpo_seconds}s`);
	const [limit, setLimit] = useState(group.limit_bytes ? String(group.limit_bytes / 2 ** 20) : "");
	const [points, setPoints] = useState(group.points);
	const [seed, setSeed] = useState<string>(group.seed_by);
	const wanted = limit.trim() === "" ? 0 : parseSize(limit, "M");
	const changes = { ...(rpo.trim() !== `${group.rpo_seconds}s` && { rpo: rpo.trim() }), ...(wanted !== group.limit_bytes && { limit: wanted }), ...(points.trim() !== group.points && { points: points.trim() || "0" }), ...(seed !== group.seed_by && { seed }) };
	return (
		<FormDialog title={t("replica.change", { name: group.name })} button={t("action.save")} ready={wanted !== null && rpo !== "" && Object.keys(changes).length > 0} onClose={onClose} submit={async () => {
			await call("PATCH", pathOf(group), changes);
			notice(t("replica.changed", { name: group.name }));
		}}>
			<Input label={t("replica.rpo")} value={rpo} onValue={setRpo} hint={t("replica.rpoHint")} autoFocus />
			<Input label={t("replica.limit")} value={limit} onValue={setLimit} problem={wanted === null ? t("size.bad") : null} hint={t("replica.limitHint")} />
			<Input label={t("replica.pointsKept")} value={points} onValue={setPoints} hint={t("replica.pointsHint")} />
			<SeedBy value={seed} onValue={setSeed} />
		</FormDialog>
	);
}

export function Addresses({ group, onClose }: Props) {
	const [address, setAddress] = useState("");
	const [port, setPort] = useState("");
	return (
		<FormDialog title={t("replica.addressesOf", { name: group.name })} button={t("replica.addAddress")} ready={/.\/\d+$/.test(address.trim())} onClose={onClose} submit={async () => {
			await call("PATCH", pathOf(group), { add_address: address.trim(), ...(port.trim() && { interface: port.trim() }) });
			notice(t("replica.changed", { name: group.name }));
		}}>
			<p class="prose">{t("replica.addressesText")}</p>
			{group.addresses.length > 0 && (
				<ul class="connected">
					{group.addresses.map((one) => (
						<li key={one.address}><div><span class="mono">{one.address}</span><small>{one.interface}</small></div>{one.here && <Badge tone="good">{t("replica.addressHere")}</Badge>}<Button kind="quiet" icon="trash" label={t("replica.removeAddress", { address: one.address })} onClick={async () => { if (await actAsked(t("replica.removeAddress", { address: one.address }), t("replica.changed", { name: group.name }), "PATCH", pathOf(group), { remove_address: one.address })) onClose(); }} /></li>
					))}
				</ul>
			)}
			<Input label={t("replica.newAddress")} value={address} onValue={setAddress} placeholder="192.0.2.10/24" hint={t("replica.newAddressHint")} autoFocus />
			<Input label={t("replica.interface")} value={port} onValue={setPort} hint={t("replica.interfaceHint")} />
		</FormDialog>
	);
}

// --- points ------------------------------------------------------------------------------------

const memberOf = (snapshot: string) => snapshot.split("@")[0];

/** Clones of all members as they were, and, for those who are to try them, LUNs. */
function Try({ group, point, onClose }: Props & { point: Point }) {
	const [names, setNames] = useState(point.snapshots.map((one) => `${memberOf(one)}-${point.epoch}`));
	const [hosts, setHosts] = useState("");
	const [iqn, setIqn] = useState(testTarget(group));
	const chosen = splitHosts(hosts);
	async function show(volumes: { volume: string }[]) {
		await call("POST", "/targets", { iqn: iqn.trim(), alias: t("replica.testAlias", { name: group.name }) });
		for (const initiator of chosen) await call("POST", `/targets/${part(iqn.trim())}/rules`, { initiator });
		for (const { volume } of volumes) await call("POST", `/targets/${part(iqn.trim())}/luns`, { pool: volume.split("/")[0], volume: volume.split("/")[1] });
	}
	return (
		<FormDialog untried={chosen.length > 0} title={t("replica.tryTitle", { time: time(point.time * 1000) })} button={t("replica.try")} ready={names.every(Boolean) && (!chosen.length || iqn.trim() !== "")} onClose={onClose} submit={async () => {
			const made = await call<{ volume: string }[]>("POST", `${pathOf(group)}/points/${point.epoch}/clones`, { names });
			if (chosen.length) await show(made);
			notice(t("replica.tried", { count: made.length }));
		}}>
			<p class="prose">{t("replica.tryText")}{chosen.length > 0 && <> {t("replica.tryUntried")}</>}</p>
			{point.snapshots.map((one, at) => <Input key={one} label={t("replica.cloneOf", { name: memberOf(one) })} value={names[at]} onValue={(name) => setNames(names.map((old, other) => (other === at ? name.trim() : old)))} />)}
			<Field label={t("replica.tryHosts")} hint={t("replica.tryHostsHint")}>{(id, note) => <textarea id={id} aria-describedby={note} rows={3} spellcheck={false} value={hosts} onInput={(event) => setHosts(event.currentTarget.value)} />}</Field>
			{chosen.length > 0 && <Input label="IQN" value={iqn} onValue={setIqn} />}
		</FormDialog>
	);
}

/** @onTry: what is tried opens in place of this. */
function PointList({ group, points, onClose, onTry }: Props & { points: Point[]; onTry: (point: Point) => void }) {
	return (
		<Dialog title={t("replica.pointsOf", { name: group.name })} onClose={onClose}>
			<p class="prose">{points.length ? t("replica.pointsText") : t("replica.noPoints")}</p>
			{points.length > 0 && (
				<Table caption={t("replica.points")} rows={points} id={(row) => row.epoch} columns={[
					{ key: "time", title: t("snapshots.created"), text: (row) => row.time, show: (row) => time(row.time * 1000) },
					{ key: "epoch", title: t("replica.epoch"), number: true, text: (row) => row.epoch, show: (row) => row.epoch },
					{ key: "use", title: t("field.state"), show: (row) => row.in_use ? <Badge tone="busy">{t("replica.pointUsed")}</Badge> : "–" },
					{ key: "does", title: "", show: (row) => can("provisioner") && <Button onClick={() => onTry(row)}>{t("replica.try")}</Button> },
				]} />
			)}
			<div class="buttons"><Button onClick={onClose}>{t("action.close")}</Button></div>
		</Dialog>
	);
}

/** The points a node keeps; @newest: the last one is tried at once. */
export function Points({ group, newest, onClose }: Props & { newest?: boolean }) {
	const { data, problem } = useResource<Point[]>(`${pathOf(group)}/points`);
	const [tried, setTried] = useState<Point | null>(null);
	const point = tried ?? (newest ? data?.[0] : null);
	if (!data) return <Dialog title={t("replica.pointsOf", { name: group.name })} onClose={onClose}><Waiting problem={problem} /></Dialog>;
	if (point) return <Try key={point.epoch} group={group} point={point} onClose={onClose} />;
	return <PointList group={group} points={data} onClose={onClose} onTry={setTried} />;
}

// --- a failover that is tried ------------------------------------------------------------------

/** Of a target's LUNs the volumes that began as a point of this group. */
const clonesOf = (group: Group, target: Target, volumes: Volume[]) => volumes.filter((one) => target.luns.some((lun) => lun.pool === one.pool && lun.volume === one.name) && /@point-/.test(one.origin ?? "") && group.members.includes(`${one.pool}/${(one.origin ?? "").split("@")[0]}`));

/** Its target goes, and its clones: those that there are when it is done, not when it was shown. */
function EndTest({ group, target, onClose }: Props & { target: Target }) {
	const own = clonesOf(group, target, useResource<Volume[]>("/volumes").data ?? []);
	return (
		<DeleteDialog title={t("replica.endTest")} name={group.name} button={t("replica.endTest")} onClose={onClose} submit={async () => {
			const path = `/targets/${part(target.iqn)}`;
			const clones = clonesOf(group, await get<Target>(path), await getWhole<Volume[]>("/volumes"));
			await call("DELETE", path);
			for (const one of clones) await call("DELETE", `/volumes/${part(one.pool)}/${part(one.name)}`);
			notice(t("replica.testEnded"));
		}} text={<><p>{t("replica.endTestText")}</p><ul class="plain mono">{own.map((one) => <li key={one.uuid}>{one.pool}/{one.name}</li>)}</ul></>} />
	);
}

export function UnderTest({ group }: { group: Group }) {
	const target = (useResource<Target[]>(onlyReplication() ? null : "/targets").data ?? []).find((one) => one.iqn === testTarget(group));
	// Its dialog stays until all is done: the target goes first.
	const [ending, setEnding] = useState<Target | null>(null);
	return (
		<>
			{target && (
				<div class="setting">
					<div><strong>{t("replica.testing")}</strong><p class="hint"><a href={to("targets", target.iqn)}>{target.iqn}</a> · {number(target.luns.length)} LUN</p></div>
					{can("provisioner") && <Button onClick={() => setEnding(target)}>{t("replica.endTest")}</Button>}
				</div>
			)}
			{ending && <EndTest group={group} target={ending} onClose={() => setEnding(null)} />}
		</>
	);
}

/** What a comparison of both sides has found. */
export function verifyText(group: Group): string {
	const verify = group.verify;
	if (!verify || verify.state === "never") return t("replica.verifyNever");
	if (verify.state === "running") return t("replica.verifyRuns", { percent: number(verify.total_bytes ? (verify.done_bytes / verify.total_bytes) * 100 : 0) });
	const ago = duration(Math.max(0, Date.now() / 1000 - verify.ended));
	return verify.mismatches ? t("replica.verifyFound", { ago, count: number(verify.mismatches), repaired: number(verify.repaired) }) : t("replica.verifyClean", { ago });
}
