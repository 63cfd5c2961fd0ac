// SPDX-License-Identifier: Apache-2.0
// Why is it slow? What the last slow commands waited for, all together and one by one.
import { useState } from "preact/hooks";
import { call, can, download } from "../api";
import { bytes, clock, number, time } from "../format";
import { useResource } from "../live";
import { Badge, Button, Card, Empty, FormDialog, Input, notice, Page, Select, Table, Trouble, useAction, Waiting } from "../parts";
import { to } from "../route";
import { t } from "../text";
import type { Log, LogLine, Slow, SlowCommand, SlowPart } from "../types";

const parts: SlowPart[] = ["device", "engine", "share", "queue", "initiator"];
const names = (): Record<SlowPart, string> => ({ device: t("slow.device"), engine: t("slow.engine"), share: t("slow.share"), queue: t("slow.queue"), initiator: t("slow.initiator") });
const advice = (): Record<SlowPart, string> => ({ device: t("slow.deviceText"), engine: t("slow.engineText"), share: t("slow.shareText"), queue: t("slow.queueText"), initiator: t("slow.initiatorText") });
const timeOf = (one: SlowCommand, part: SlowPart) => ({ device: one.device_ms, engine: one.engine_ms, share: one.share_ms, queue: one.queue_ms, initiator: one.initiator_ms })[part];
/** Where it went: a volume, or a share; of neither, the LUN or nothing. */
const place = (one: SlowCommand) => (one.protocol === "nfs" ? [one.pool, one.share].filter(Boolean).join("/") : one.pool ? `${one.pool}/${one.volume}` : `LUN ${one.lun}`);
const placeLink = (one: SlowCommand) => (one.protocol === "nfs" ? (one.share ? to("shares", ...[one.pool, one.share].filter(Boolean)) : null) : one.pool ? to("targets", one.target) : null);
/** SCSI's name of the command; over NFS the version and the operation that took longest. */
const what = (one: SlowCommand) => (one.protocol === "nfs" ? `NFSv${one.version} ${one.operation}` : one.command);
const shortTime = (ms: number) => (ms < 1000 ? `${number(ms, ms < 10 ? 1 : 0)} ms` : `${number(ms / 1000, 1)} s`);

/** The name that most of the waiting belongs to, when it is more than half of it. */
function chief(list: SlowCommand[], nameOf: (one: SlowCommand) => string): string | null {
	const sums = new Map<string, number>();
	let all = 0;
	for (const one of list) {
		sums.set(nameOf(one), (sums.get(nameOf(one)) ?? 0) + one.total_ms);
		all += one.total_ms;
	}
	const most = [...sums].sort((a, b) => b[1] - a[1])[0];
	return most && most[1] > all / 2 ? most[0] : null;
}

function Verdict({ list }: { list: SlowCommand[] }) {
	const sums = parts.map((part) => ({ part, sum: list.reduce((sum, one) => sum + timeOf(one, part), 0) })).sort((a, b) => b.sum - a.sum);
	const all = sums.reduce((sum, one) => sum + one.sum, 0) || 1, first = sums[0].part;
	const volume = chief(list, (one) => (one.volume ? place(one) : "")), share = chief(list, (one) => (one.share ? place(one) : "")), host = chief(list, (one) => one.initiator);
	return (
		<Card title={t("slow.verdict", { what: names()[first] })}>
			<p class="prose">{advice()[first]}</p>
			<ul class="shares">
				{sums.map(({ part, sum }) => (
					<li key={part}><span>{names()[part]}</span><div class="space" role="meter" aria-label={names()[part]} aria-valuemin={0} aria-valuemax={100} aria-valuenow={Math.round((sum / all) * 100)}><b style={{ width: `${(sum / all) * 100}%` }} /></div><b>{number((sum / all) * 100)} %</b></li>
				))}
			</ul>
			{volume && <p class="small quiet">{t("slow.mostVolume", { name: volume })}</p>}
			{share && <p class="small quiet">{t("slow.mostShare", { name: share })}</p>}
			{host && <p class="small quiet">{t("slow.mostHost", { name: host })}</p>}
		</Card>
	);
}

function Limit({ now, onClose }: { now: number; onClose: () => void }) {
	const [limit, setLimit] = useState(now ? `${now}ms` : "none");
	return (
		<FormDialog title={t("slow.limit")} button={t("action.save")} ready={limit.trim() !== ""} onClose={onClose} submit={async () => {
			await call("PATCH", "/slow", { limit: limit.trim() });
			notice(t("slow.limitSet"));
		}}>
			<Input label={t("slow.limitLabel")} value={limit} onValue={setLimit} hint={t("slow.limitHint")} autoFocus />
		</FormDialog>
	);
}

function List({ list }: { list: SlowCommand[] }) {
	return (
		<Card flush title={t("slow.list")}>
			<Table caption={t("slow.list")} rows={list} id={(row) => row.number} find={(row) => `${row.initiator} ${place(row)} ${what(row)}`} columns={[
				{ key: "at", title: t("audit.time"), text: (row) => row.at_ms, show: (row) => clock(row.at_ms) },
				{ key: "initiator", title: t("slow.host"), text: (row) => row.initiator, show: (row) => <span class="name">{row.initiator}</span> },
				{ key: "volume", title: t("slow.volume"), text: place, show: (row) => placeLink(row) ? <a href={placeLink(row)!}>{place(row)}</a> : place(row) },
				{ key: "command", title: t("slow.command"), text: what, show: (row) => <><span title={row.protocol === "nfs" ? `${row.command}, ${t("slow.bytes", { size: bytes(row.bytes) })}` : undefined}>{what(row)}</span>{row.aborted && <> <Badge tone="bad">{t("slow.aborted")}</Badge></>}</> },
				{ key: "total", title: t("slow.total"), number: true, text: (row) => row.total_ms, show: (row) => shortTime(row.total_ms) },
				{ key: "waited", title: t("slow.waitedFor"), text: (row) => names()[row.waited_for], show: (row) => <span title={parts.map((part) => `${names()[part]}: ${shortTime(timeOf(row, part))}`).join(", ")}>{names()[row.waited_for]} <small>{shortTime(timeOf(row, row.waited_for))}</small></span> },
			]} />
		</Card>
	);
}

/** Everything that is needed to find a fault, as one file. */
function Bundle() {
	const action = useAction();
	if (!can("admin")) return null;
	return (
		<Card title={t("bundle.title")}>
			<p class="prose small">{t("bundle.text")}</p>
			<Trouble problem={action.problem} />
			<div class="buttons start"><Button busy={action.busy} onClick={() => action.run(() => download("/support/bundle", "granary-support.tar.gz"))}>{t("bundle.save")}</Button></div>
		</Card>
	);
}

/** The daemon's own log, the newest line first. */
function Logs() {
	const [least, setLeast] = useState("info");
	const { data, problem } = useResource<Log>(can("admin") ? `/logs?lines=500&severity=${least}` : null);
	const severities: Record<LogLine["severity"], string> = { error: t("logs.error"), warning: t("logs.warning"), notice: t("logs.notice"), info: t("logs.info"), debug: t("logs.debug") };
	if (!can("admin")) return null;
	const lines = data && data.lines.map((line, number) => ({ ...line, number })).reverse();
	return (
		<Card title={t("logs.title")}>
			<p class="prose small">{t("logs.text")}</p>
			<Select label={t("logs.least")} value={least} onValue={setLeast} options={(["error", "warning", "notice", "info"] as const).map((one) => [one, severities[one]])} />
			{!lines ? <Waiting problem={problem} /> : lines.length === 0 ? <Empty icon="check" title={t("logs.none")} text={t("logs.noneText")} /> : (
				<Table caption={t("logs.title")} rows={lines} id={(row) => row.number} find={(row) => `${row.severity} ${row.text}`} columns={[
					{ key: "at", title: t("audit.time"), text: (row) => row.number, show: (row) => time(row.at) },
					{ key: "severity", title: t("logs.severity"), text: (row) => severities[row.severity], show: (row) => <Badge tone={row.severity === "error" ? "bad" : row.severity === "warning" ? "warn" : "quiet"}>{severities[row.severity]}</Badge> },
					{ key: "text", title: t("logs.line"), text: (row) => row.text, show: (row) => <span class="name">{row.text}</span> },
				]} />
			)}
		</Card>
	);
}

export function Support() {
	const { data, problem } = useResource<Slow>("/slow");
	const [setting, setSetting] = useState(false);
	return (
		<Page title={t("slow.title")} lead={data && (data.limit_ms ? t("slow.lead", { limit: shortTime(data.limit_ms), count: number(data.seen) }) : t("slow.off"))} actions={can("operator") && data && <Button onClick={() => setSetting(true)}>{t("slow.limit")}</Button>}>
			{!data ? <Waiting problem={problem} /> : data.commands.length === 0 ? (
				<Card><Empty icon="check" title={t("slow.none")} text={t("slow.noneText")} /></Card>
			) : <><Verdict list={data.commands} /><List list={data.commands} /></>}
			<Bundle />
			<Logs />
			{setting && data && <Limit now={data.limit_ms} onClose={() => setSetting(false)} />}
		</Page>
	);
}
