// SPDX-License-Identifier: Apache-2.0
import { can } from "../api";
import { duration, time } from "../format";
import { useResource } from "../live";
import { act, Badge, Button, Card, Empty, Page, Progress, Table, Waiting, type Tone } from "../parts";
import { to } from "../route";
import { maybe, t } from "../text";
import type { Job } from "../types";

const tones: Record<string, Tone> = { running: "busy", paused: "warn", done: "good", stopped: "quiet", failed: "bad", copying: "busy", waiting: "warn", stuck: "bad", stopping: "quiet", tidying: "good" };

const isUpdate = (row: Job) => row.kind === "update" || row.kind === "rollback";

function What({ row }: { row: Job }) {
	if (isUpdate(row)) return <>{row.object || t("update.title")}{row.state === "running" && row.step && ` · ${maybe(`updatestate.${row.step}`) ?? row.step}`}{(row.state === "failed" || row.state === "stopped") && row.text && <> · <span lang="en">{row.text}</span></>}</>;
	return <>{row.kind === "move" ? row.object : <a href={to("pools", row.object)}>{row.object}</a>}{row.device && ` · ${row.device}`}</>;
}

export function JobTable({ jobs }: { jobs: Job[] }) {
	return (
		<Table caption={t("nav.jobs")} rows={jobs} id={(row) => row.id} columns={[
			{ key: "kind", title: t("jobs.job"), show: (row) => <span class="name">{maybe(`job.${row.kind}`) ?? row.kind}<small><What row={row} /></small></span> },
			{ key: "state", title: t("field.state"), show: (row) => <Badge tone={tones[row.state] ?? "quiet"}>{maybe(`jobstate.${row.state}`) ?? row.state}</Badge> },
			{ key: "progress", title: t("jobs.progress"), show: (row) => <div class="meter"><span>{Math.floor(row.progress * 100)} %</span><Progress value={row.progress} label={t("jobs.progress")} /></div> },
			{ key: "left", title: t("jobs.left"), number: true, show: (row) => row.state === "running" && row.eta_seconds !== undefined ? duration(row.eta_seconds) : "–" },
			{ key: "started", title: t("scrub.started"), show: (row) => time(row.started ?? "") },
			{ key: "ended", title: t("scrub.ended"), show: (row) => row.state === "running" ? "–" : time(row.ended ?? "") },
			...(can("admin") && jobs.some((row) => row.kind === "update" && row.state === "running") ? [{ key: "acts", title: "", show: (row: Job) => row.kind === "update" && row.state === "running" ? <Button kind="quiet" onClick={() => act(t("update.cancelled"), "DELETE", "/appliance/update")}>{t("update.cancel")}</Button> : "" }] : []),
		]} />
	);
}

export function Jobs() {
	const { data, problem } = useResource<Job[]>("/jobs");
	return (
		<Page title={t("nav.jobs")} lead={t("jobs.lead")}>
			{!data ? <Waiting problem={problem} /> : data.length === 0 ? (
				<Card><Empty icon="jobs" title={t("jobs.none")} text={t("jobs.noneText")} /></Card>
			) : <Card flush><JobTable jobs={data} /></Card>}
		</Page>
	);
}
