// SPDX-License-Identifier: Apache-2.0
// Volumes on their way to other pools, while hosts use them.
import { useEffect, useRef, useState } from "preact/hooks";
import { call, can, get, part } from "../api";
import { bytes, parseSize, percent } from "../format";
import { useResource } from "../live";
import { act, actAsked, Badge, Button, Card, Check, FormDialog, Input, notice, Progress, Select, type Tone } from "../parts";
import { maybe, t } from "../text";
import type { Move, Pool, Snapshot, Volume } from "../types";
import { Commands } from "../would";

const pathOf = (pool: string, name: string) => `/volumes/${part(pool)}/${part(name)}`;
const tones: Record<Move["state"], Tone> = { copying: "busy", paused: "warn", waiting: "warn", stuck: "bad", stopping: "quiet", tidying: "good" };

/** A rate in MiB a second as a form has it; 0: none, null: that is no rate. */
const rateOf = (text: string) => /^\s*0*\s*$/.test(text) ? 0 : parseSize(text, "M");

function Rate({ value, onValue }: { value: string; onValue: (text: string) => void }) {
	return <Input label={t("moves.rate")} inputMode="numeric" value={value} onValue={onValue} hint={t("moves.rateHint")} problem={rateOf(value) === null ? t("size.bad") : null} />;
}

/** @pools: where it can go. */
export function MoveTo({ volume, pools, onClose }: { volume: Volume; pools: Pool[]; onClose: () => void }) {
	const snapshots = useResource<Snapshot[]>(`${pathOf(volume.pool, volume.name)}/snapshots`).data?.length ?? 0;
	const [pool, setPool] = useState(pools[0]?.name ?? "");
	const [rate, setRate] = useState("");
	const [without, setWithout] = useState(false);
	const home = pools.find((one) => one.name === pool), most = rateOf(rate);
	const path = `${pathOf(volume.pool, volume.name)}/move`, body = { pool, ...(most && { rate: most }), ...(without && { without_snapshots: true }) };
	return (
		<FormDialog untried title={t("moves.title", { name: volume.name })} button={t("moves.start")} ready={pool !== "" && most !== null && (snapshots === 0 || without)} onClose={onClose} submit={async () => {
			await call("POST", path, body);
			notice(t("moves.begun", { name: volume.name, pool }));
		}}>
			<p class="prose">{t("moves.text")}</p>
			<Select label={t("moves.to")} value={pool} onValue={setPool} options={pools.map((one) => [one.name, one.name])} hint={home && t("moves.room", { free: bytes(home.free_bytes ?? 0), used: bytes(volume.used_bytes) })} />
			<Rate value={rate} onValue={setRate} />
			{snapshots > 0 && <div class="caution"><p>{t("moves.snapshotsText")}</p><Check label={t("moves.withoutSnapshots", { count: snapshots })} value={without} onValue={setWithout} /></div>}
			<Commands all={[{ method: "POST", path, body }]} />
		</FormDialog>
	);
}

function Faster({ move, onClose }: { move: Move; onClose: () => void }) {
	const [rate, setRate] = useState(move.rate_bytes ? String(move.rate_bytes / 2 ** 20) : "");
	const most = rateOf(rate);
	return (
		<FormDialog untried title={t("moves.rateTitle", { name: move.name })} button={t("action.save")} ready={most !== null} onClose={onClose} submit={() => call("POST", `${pathOf(move.source, move.name)}/move`, { action: "rate", rate: most })}>
			<Rate value={rate} onValue={setRate} />
		</FormDialog>
	);
}

function Acts({ move, onRate }: { move: Move; onRate: () => void }) {
	const path = `${pathOf(move.source, move.name)}/move`, { name } = move;
	if (!can("operator") || move.state === "stopping" || move.switched) return null;
	return (
		<div class="buttons start">
			{move.state === "copying" && <Button onClick={() => act(t("moves.paused", { name }), "POST", path, { action: "pause" })}>{t("scrub.pause")}</Button>}
			{["paused", "stuck", "waiting"].includes(move.state) && <Button onClick={() => act(t("moves.resumed", { name }), "POST", path, { action: "resume" })}>{t("scrub.resume")}</Button>}
			<Button onClick={onRate}>{t("moves.rateChange")}</Button>
			<Button onClick={() => actAsked(t("moves.stopTitle", { name }), t("moves.stopped", { name }), "POST", path, { action: "stop" }, t("moves.stopText", { source: move.source, destination: move.destination }))}>{t("moves.stop")}</Button>
		</div>
	);
}

function One({ move, onRate }: { move: Move; onRate: () => void }) {
	return (
		<li>
			<div class="move">
				<span class="name"><strong>{move.name}</strong> {move.source} → {move.destination} <Badge tone={tones[move.state] ?? "quiet"}>{maybe(`jobstate.${move.state}`) ?? move.state}</Badge></span>
				<Progress value={move.progress} label={t("moves.progress", { name: move.name })} />
				<small>{percent(move.progress, 1)}{!move.switched && ` · ${t("moves.left", { left: bytes(move.left_bytes) })} · ${move.rate_bytes ? t("moves.atMost", { rate: bytes(move.rate_bytes) }) : t("moves.noLimit")}`}{move.slowing && ` · ${t("moves.slowing")}`}</small>
				{move.reason && <small class="reason" lang="en">{move.reason}</small>}
				<Acts move={move} onRate={onRate} />
			</div>
		</li>
	);
}

/** Those that are under way; what became of one that is no more is said. */
export function Moves() {
	const moves = useResource<Move[]>("/moves").data;
	const before = useRef<Move[]>([]);
	const [slower, setSlower] = useState<Move | null>(null);
	useEffect(() => {
		if (!moves) return;
		for (const one of before.current) if (!moves.some((now) => now.id === one.id)) {
			// It has that name there when it has arrived; one that was given up has not.
			get(pathOf(one.destination, one.name)).then(() => notice(t("moves.done", { name: one.name, pool: one.destination })), () => {});
		}
		before.current = moves;
	}, [moves]);
	if (!moves?.length) return null;
	return (
		<Card title={t("moves.list")}>
			<ul class="connected">{moves.map((one) => <One key={one.id} move={one} onRate={() => setSlower(one)} />)}</ul>
			{slower && <Faster move={slower} onClose={() => setSlower(null)} />}
		</Card>
	);
}
