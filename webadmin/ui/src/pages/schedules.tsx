// SPDX-License-Identifier: Apache-2.0
// When snapshots of a volume are made by themselves, and how many of them are kept.
import { useState } from "preact/hooks";
import { call, part } from "../api";
import { time } from "../format";
import { useResource } from "../live";
import { act, Button, Card, FormDialog, Input, notice, Select, Table } from "../parts";
import { maybe, t } from "../text";
import type { Schedule, Volume } from "../types";
import { Expendable, Others } from "./snapshotacts";

const everies = ["15m", "hourly", "daily", "weekly", "monthly"];
const pathOf = (schedule: Schedule) => `/snapshot-schedules/${part(schedule.name)}`;

/** When, and by whose clock. */
function Times({ every, onEvery, cron, onCron, zone, onZone }: { every: string; onEvery: (value: string) => void; cron: string; onCron: (value: string) => void; zone: string; onZone: (value: string) => void }) {
	return (
		<>
			<Select label={t("schedules.every")} value={every} onValue={onEvery} options={[...everies.map((one): [string, string] => [one, maybe(`every.${one}`) ?? one]), ["", t("schedules.cron")]]} />
			{every === "" && <Input label={t("schedules.cron")} value={cron} onValue={onCron} placeholder="30 2 * * 1-5" hint={t("schedules.cronHint")} />}
			<Input label={t("schedules.zone")} value={zone} onValue={onZone} placeholder="Asia/Shanghai" hint={t("schedules.zoneHint")} />
		</>
	);
}

/** @free: a prefix that no schedule of this volume has; empty: the usual one is free. */
function Create({ pool, name, others, free, onClose }: { pool: string; name: string; others: Volume[]; free: string; onClose: () => void }) {
	const [wanted, setWanted] = useState("");
	const [every, setEvery] = useState("hourly");
	const [cron, setCron] = useState("");
	const [keep, setKeep] = useState("hourly=24,daily=7,weekly=4");
	const [prefix, setPrefix] = useState(free);
	const [zone, setZone] = useState("");
	const [more, setMore] = useState<string[]>([]);
	const [expendable, setExpendable] = useState(false);
	return (
		<FormDialog title={t("schedules.create")} button={t("action.create")} ready={wanted !== "" && (every !== "" || cron !== "")} onClose={onClose} submit={async () => {
			await call("POST", "/snapshot-schedules", { name: wanted, volumes: [name, ...more].map((one) => `${pool}/${one}`), every: every || cron.trim(), keep: keep.trim() || "all", ...(prefix.trim() && { prefix: prefix.trim() }), ...(zone.trim() && { zone: zone.trim() }), ...(expendable && { expendable }) });
			notice(t("schedules.made", { name: wanted }));
		}}>
			<Input label={t("field.name")} value={wanted} onValue={setWanted} autoFocus />
			<Times every={every} onEvery={setEvery} cron={cron} onCron={setCron} zone={zone} onZone={setZone} />
			<Input label={t("schedules.keep")} value={keep} onValue={setKeep} hint={t("schedules.keepHint")} />
			<Input label={t("schedules.prefix")} value={prefix} onValue={setPrefix} placeholder="auto" hint={t("schedules.prefixHint")} />
			{others.length > 0 && <Others volumes={others} chosen={more} onChange={setMore} />}
			<Expendable pool={pool} value={expendable} onValue={setExpendable} />
		</FormDialog>
	);
}

/** What of it differs is sent, and no more: the same form as of a new one, but its volumes stay. */
function Change({ pool, schedule, onClose }: { pool: string; schedule: Schedule; onClose: () => void }) {
	const [every, setEvery] = useState(everies.includes(schedule.every) ? schedule.every : "");
	const [cron, setCron] = useState(everies.includes(schedule.every) ? "" : schedule.every);
	const [keep, setKeep] = useState(schedule.keep);
	const [prefix, setPrefix] = useState(schedule.prefix);
	const [zone, setZone] = useState(schedule.zone);
	const [expendable, setExpendable] = useState(schedule.expendable);
	const wanted = { every: every || cron.trim(), keep: keep.trim() || "all", prefix: prefix.trim() || "auto", zone: zone.trim(), expendable };
	const differs = Object.fromEntries(Object.entries(wanted).filter(([name, value]) => value !== schedule[name as keyof typeof wanted]));
	return (
		<FormDialog title={t("schedules.change", { name: schedule.name })} button={t("action.save")} ready={wanted.every !== "" && Object.keys(differs).length > 0} onClose={onClose} submit={async () => {
			await call("PATCH", pathOf(schedule), differs);
			notice(t("schedules.changed", { name: schedule.name }));
		}}>
			<Times every={every} onEvery={setEvery} cron={cron} onCron={setCron} zone={zone} onZone={setZone} />
			<Input label={t("schedules.keep")} value={keep} onValue={setKeep} hint={t("schedules.keepHint")} />
			<Input label={t("schedules.prefix")} value={prefix} onValue={setPrefix} placeholder="auto" hint={t("schedules.prefixChange")} />
			<Expendable pool={pool} value={expendable} onValue={setExpendable} />
		</FormDialog>
	);
}

function Delete({ schedule, onClose }: { schedule: Schedule; onClose: () => void }) {
	return (
		<FormDialog title={t("schedules.delete", { name: schedule.name })} button={t("action.delete")} kind="danger" onClose={onClose} submit={() => call("DELETE", pathOf(schedule))}>
			<p class="prose">{t("schedules.deleteText")}</p>
		</FormDialog>
	);
}

/** Two schedules of a volume with one prefix would delete each other's snapshots. */
function freePrefix(list: Schedule[]): string {
	const taken = (prefix: string) => list.some((one) => one.prefix === prefix);
	let count = 2;
	while (taken(`auto${count}`)) count++;
	return taken("auto") ? `auto${count}` : "";
}

export function Schedules({ pool, name, others }: { pool: string; name: string; others: Volume[] }) {
	const all = useResource<Schedule[]>("/snapshot-schedules").data ?? [];
	const list = all.filter((one) => one.volumes.includes(`${pool}/${name}`));
	const [open, setOpen] = useState<["change" | "delete", Schedule] | "create" | null>(null);
	const close = () => setOpen(null);
	return (
		<Card flush title={t("schedules.title")} actions={<Button role="provisioner" icon="plus" onClick={() => setOpen("create")}>{t("schedules.create")}</Button>}>
			{list.length === 0 ? <p class="none">{t("schedules.none")}</p> : (
				<Table caption={t("schedules.title")} rows={list} id={(row) => row.name} columns={[
					{ key: "name", title: t("field.name"), show: (row) => <span class="name">{row.name} <small class="mono">{row.prefix}-…</small></span> },
					{ key: "every", title: t("schedules.every"), show: (row) => <span class="name">{maybe(`every.${row.every}`) ?? <span class="mono">{row.every}</span>}{row.zone !== "" && <> <small>{row.zone}</small></>}</span> },
					{ key: "keep", title: t("schedules.keep"), show: (row) => <span class="name"><span class="mono">{row.keep}</span>{row.expendable && <> <small>{t("snapshots.expendable")}</small></>}</span> },
					{ key: "next", title: t("schedules.next"), show: (row) => (row.next ? time(row.next * 1000) : "–") },
					{ key: "last", title: t("schedules.last"), show: (row) => <>{row.last ? time(row.last * 1000) : "–"}{row.result !== "" && <small class="reason" lang="en">{row.result}</small>}</> },
					{ key: "does", title: "", show: (row) => (
						<div class="row-actions">
							<Button kind="quiet" role="provisioner" icon="snapshot" label={t("schedules.run", { name: row.name })} onClick={() => act(t("schedules.ran"), "POST", `${pathOf(row)}/run`)} />
							<Button kind="quiet" role="provisioner" icon="edit" label={t("schedules.change", { name: row.name })} onClick={() => setOpen(["change", row])} />
							<Button kind="quiet" role="provisioner" icon="trash" label={t("schedules.delete", { name: row.name })} onClick={() => setOpen(["delete", row])} />
						</div>
					) },
				]} />
			)}
			{open === "create" && <Create pool={pool} name={name} others={others} free={freePrefix(list)} onClose={close} />}
			{open && open !== "create" && (open[0] === "change" ? <Change pool={pool} schedule={open[1]} onClose={close} /> : <Delete schedule={open[1]} onClose={close} />)}
		</Card>
	);
}
