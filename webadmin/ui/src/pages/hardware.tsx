// SPDX-License-Identifier: Apache-2.0
// What the machine is made of: its disks with what they say of themselves, and its UPS.
import { useState } from "preact/hooks";
import { call, can } from "../api";
import { bytes, duration, number, time } from "../format";
import { useResource } from "../live";
import { actAsked, Badge, Button, Card, Empty, Facts, FormDialog, Input, notice, Page, Select, SpaceBar, Table, Waiting, type Tone } from "../parts";
import { to } from "../route";
import { maybe, t } from "../text";
import type { Disk, DiskHealth, DiskReport, Pool, Ups } from "../types";

// --- disks -------------------------------------------------------------------------------------

const tones: Record<string, Tone> = { good: "good", warning: "warn", failing: "bad" };

function Numbers({ report }: { report?: DiskReport }) {
	const list = [
		report?.temperature_c !== undefined && `${number(report.temperature_c)} °C`,
		report?.power_on_hours !== undefined && t("hardware.on", { time: duration(report.power_on_hours * 3600) }),
		report?.wear_percent !== undefined && t("hardware.worn", { percent: number(report.wear_percent) }),
		!!report?.sectors && t("hardware.sectors", { count: number(report.sectors) }),
	].filter(Boolean);
	return <span class="list small">{list.length ? list.map((one) => <span key={String(one)}>{one}</span>) : "–"}</span>;
}

function Health({ disk }: { disk: Disk }) {
	if (!disk.health) return <>–</>;
	return <><Badge tone={tones[disk.health] ?? "quiet"}>{maybe(`diskhealth.${disk.health}`) ?? disk.health}</Badge>{disk.health_detail && <small class="reason" lang="en">{disk.health_detail}</small>}</>;
}

function Use({ disk, pools }: { disk: Disk; pools: Pool[] }) {
	const pool = pools.find((one) => one.name === disk.pool);
	if (pool) return <a href={to("pools", pool.name)}>{pool.name}</a>;
	return <>{disk.used_by ? t("disks.used", { by: disk.used_by }) : disk.carries ? t("disks.carries", { what: disk.carries }) : t("disks.free")}</>;
}

function Disks() {
	const { data, problem } = useResource<Disk[]>("/disks");
	const reports = useResource<DiskHealth>("/disks/health", true).data;
	const pools = useResource<Pool[]>("/pools").data ?? [];
	const reportOf = (disk: Disk) => reports?.disks.find((one) => one.name === disk.name);
	const disks = (data ?? []).filter((disk) => disk.size_bytes > 0 && disk.kind !== "partition" && disk.kind !== "ram");
	return (
		<Card flush title={t("disks.title")} actions={reports && <span class="small quiet">{reports.reported ? t(reports.stale ? "hardware.stale" : "hardware.asked", { time: time(reports.reported * 1000) }) : t("hardware.notAsked")}</span>}>
			{!data ? <Waiting problem={problem} /> : disks.length === 0 ? <p class="none">{t("hardware.noDisks")}</p> : (
				<Table caption={t("disks.title")} rows={disks} id={(row) => row.path} find={(row) => `${row.name} ${row.model} ${row.serial} ${row.used_by}`} columns={[
					{ key: "name", title: t("field.name"), text: (row) => row.name, show: (row) => <span class="name"><strong>{row.name}</strong><small>{[row.model, row.serial].filter(Boolean).join(" · ")}</small></span> },
					{ key: "size", title: t("field.size"), number: true, text: (row) => row.size_bytes, show: (row) => bytes(row.size_bytes) },
					{ key: "use", title: t("hardware.use"), text: (row) => row.pool || row.used_by || row.carries, show: (row) => <Use disk={row} pools={pools} /> },
					{ key: "health", title: t("hardware.health"), text: (row) => row.health ?? "", show: (row) => <Health disk={row} /> },
					{ key: "numbers", title: t("hardware.numbers"), show: (row) => <Numbers report={reportOf(row)} /> },
				]} />
			)}
		</Card>
	);
}

// --- the UPS -----------------------------------------------------------------------------------

const upsTones: Record<Ups["state"], Tone> = { asking: "quiet", online: "good", "on-battery": "warn", "battery-low": "bad", unreachable: "bad", "powering-off": "bad" };

function SetUps({ ups, onClose }: { ups?: Ups; onClose: () => void }) {
	const [host, setHost] = useState(ups?.host ?? "");
	const [name, setName] = useState(ups?.ups ?? "ups");
	const [port, setPort] = useState(String(ups?.port ?? 3493));
	const [when, setWhen] = useState(!ups || ups.shutdown_at === "low" ? "low" : "after");
	const [seconds, setSeconds] = useState(ups && ups.shutdown_at !== "low" ? ups.shutdown_at : "300");
	const digits = (text: string) => text.replace(/\D/g, "");
	return (
		<FormDialog title={t("ups.set")} button={t("action.save")} ready={host.trim() !== "" && name.trim() !== "" && port !== "" && (when === "low" || parseInt(seconds, 10) > 0)} onClose={onClose} submit={async () => {
			await call("PUT", "/ups", { host: host.trim(), ups: name.trim(), port: parseInt(port, 10), shutdown_at: when === "low" ? "low" : seconds });
			notice(t("ups.isSet"));
		}}>
			<p class="prose">{t("ups.setText")}</p>
			<Input label={t("ups.host")} value={host} onValue={setHost} placeholder="10.0.0.5" autoFocus />
			<div class="pair">
				<Input label={t("ups.name")} value={name} onValue={setName} />
				<Input label={t("ups.port")} inputMode="numeric" value={port} onValue={(text) => setPort(digits(text))} />
			</div>
			<Select label={t("ups.when")} value={when} onValue={setWhen} options={[["low", t("ups.whenLow")], ["after", t("ups.whenAfter")]]} />
			{when === "after" && <Input label={t("ups.seconds")} inputMode="numeric" value={seconds} onValue={(text) => setSeconds(digits(text))} />}
		</FormDialog>
	);
}

function end(ups: Ups): string {
	if (ups.shutdown_at === "low") return t("ups.atLow");
	const limit = parseInt(ups.shutdown_at, 10);
	const away = ups.battery_seconds > 0 || ups.state === "on-battery" || ups.state === "battery-low"; /* it may have gone this second */
	return away ? t("ups.inTime", { time: duration(Math.max(0, limit - ups.battery_seconds)) }) : t("ups.atTime", { time: duration(limit) });
}

function UpsFacts({ ups }: { ups: Ups }) {
	return (
		<>
			{ups.state === "unreachable" && <p class="small" lang="en">{ups.reason}</p>}
			{ups.charge_percent !== undefined && <SpaceBar used={ups.charge_percent} size={100} label={t("ups.charge")} />}
			<Facts rows={[
				ups.charge_percent !== undefined && [t("ups.charge"), `${number(ups.charge_percent)} %`],
				ups.runtime_seconds !== undefined && [t("ups.runtime"), duration(ups.runtime_seconds)],
				ups.load_percent !== undefined && [t("ups.load"), `${number(ups.load_percent)} %`],
				ups.battery_seconds > 0 && [t("ups.battery"), duration(ups.battery_seconds)],
				[t("ups.off"), end(ups)],
				[t("ups.server"), <span class="mono name">{ups.ups}@{ups.host}:{ups.port}</span>],
			]} />
		</>
	);
}

function UpsCard() {
	const { data, problem } = useResource<Ups>("/ups");
	const [open, setOpen] = useState(false);
	const none = problem?.code === "no_ups", ups = none ? undefined : data;
	return (
		<Card title={t("ups.title")} actions={ups && <Badge tone={upsTones[ups.state] ?? "quiet"}>{maybe(`upsstate.${ups.state}`) ?? ups.state}</Badge>}>
			{none ? <Empty icon="bolt" title={t("ups.none")} text={t("ups.noneText")} /> : !ups ? <Waiting problem={problem} /> : <UpsFacts ups={ups} />}
			{can("admin") && <div class="buttons start">
				<Button onClick={() => setOpen(true)}>{ups ? t("ups.change") : t("ups.set")}</Button>
				{ups && <Button kind="quiet" onClick={() => actAsked(t("ups.clear"), t("ups.cleared"), "DELETE", "/ups")}>{t("ups.clear")}</Button>}
			</div>}
			{open && <SetUps ups={ups} onClose={() => setOpen(false)} />}
		</Card>
	);
}

export function Hardware() {
	return (
		<Page title={t("nav.hardware")} lead={t("hardware.lead")}>
			<Disks />
			<UpsCard />
		</Page>
	);
}
