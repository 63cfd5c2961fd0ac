// SPDX-License-Identifier: Apache-2.0
// Health, space, load and who is connected, in one glance.
import type { ComponentChildren } from "preact";
import { can } from "../api";
import { bytes, duration } from "../format";
import { Icon, type IconName } from "../icons";
import { useResource } from "../live";
import { Card, Copy, Empty, Page, StateBadge, Waiting } from "../parts";
import { to } from "../route";
import { t } from "../text";
import type { Group, Pool, Session, Share, Status, Volume } from "../types";
import { Charts } from "./charts";
import { portals } from "./connect";
import { PoolSpace, scrubText } from "./pools";

interface Alert { tone: "bad" | "warn"; text: string; what: string; href: string }

function replicaAlert(group: Group): Alert[] {
	const { name } = group, href = to("replication"), lag = duration(group.lag_seconds), rpo = duration(group.rpo_seconds);
	if (group.state === "unavailable") return [{ tone: "bad", text: t("alert.replicaAway", { name }), what: group.reason, href }];
	if (group.role === "fenced" || group.state === "split-brain") return [{ tone: "bad", text: t("alert.replicaSplit", { name }), what: t("alert.replicaSplitDo"), href }];
	if (group.state === "disconnected" || group.state === "not connected") return [{ tone: "warn", text: t("alert.replicaAway", { name }), what: t("alert.replicaAwayDo"), href }];
	return group.sealed_epoch > 0 && group.lag_seconds > 3 * group.rpo_seconds ? [{ tone: "warn", text: t("alert.replicaLate", { name, lag, rpo }), what: t("alert.replicaLateDo"), href }] : [];
}

/** What needs somebody: the worst first, each with what to do. */
function alertsOf(status: Status, shares: Share[], groups: Group[]): Alert[] {
	const alerts: Alert[] = groups.flatMap(replicaAlert);
	for (const share of shares) if (share.state !== "online") alerts.push({ tone: "bad", text: t("alert.shareDown", { name: share.name }), what: share.reason, href: to("shares", share.pool, share.name) });
	for (const pool of status.pools) {
		const href = to("pools", pool.name);
		if (pool.state === "waiting") alerts.push({ tone: "bad", text: t("alert.poolWaiting", { name: pool.name }), what: t("alert.poolWaitingDo"), href });
		else if (pool.state === "full") alerts.push({ tone: "bad", text: t("alert.poolFull", { name: pool.name }), what: t("alert.poolFullDo"), href });
		else if (pool.state === "unavailable") alerts.push({ tone: "bad", text: t("alert.poolDown", { name: pool.name }), what: pool.reason, href });
		else if (pool.state === "read-only") alerts.push({ tone: "bad", text: t("alert.poolReadOnly", { name: pool.name }), what: t("alert.poolReadOnlyDo"), href });
		if (pool.watermark_reached) alerts.push({ tone: pool.watermark_reached >= (pool.watermarks?.[2] ?? 95) ? "bad" : "warn", text: t("alert.full", { name: pool.name, mark: pool.watermark_reached }), what: t("alert.fullDo"), href });
		if (pool.scrub?.findings) alerts.push({ tone: "bad", text: t("alert.findings", { name: pool.name, count: pool.scrub.findings }), what: t("alert.findingsDo"), href });
		if (pool.metadata_size_bytes && (pool.metadata_used_bytes ?? 0) / pool.metadata_size_bytes > 0.85) alerts.push({ tone: "warn", text: t("alert.metadata", { name: pool.name }), what: t("alert.metadataDo"), href });
	}
	for (const target of status.targets) {
		if (target.state !== "online") alerts.push({ tone: "bad", text: t("alert.targetDown", { name: target.alias || target.iqn }), what: target.reason, href: to("targets", target.iqn) });
		for (const lun of target.luns) if (lun.state !== "online") alerts.push({ tone: "bad", text: t("alert.lunDown", { lun: lun.lun, name: target.alias || target.iqn }), what: lun.reason, href: to("targets", target.iqn) });
	}
	return alerts.sort((a, b) => a.tone.localeCompare(b.tone));
}

function Health({ alerts }: { alerts: Alert[] }) {
	if (!alerts.length) return <div class="health good"><Icon name="check" /><div><strong>{t("health.good")}</strong><p>{t("health.goodText")}</p></div></div>;
	return (
		<ul class="alerts" aria-label={t("health.alerts")}>
			{alerts.slice(0, 6).map((alert) => (
				<li key={alert.text} class={alert.tone}><Icon name="warning" /><div><a href={alert.href}>{alert.text}</a><p>{alert.what}</p></div></li>
			))}
			{alerts.length > 6 && <li class="warn"><div>{t("health.more", { count: alerts.length - 6 })}</div></li>}
		</ul>
	);
}

function Figure({ icon, href, value, label, note }: { icon: IconName; href: string; value: ComponentChildren; label: string; note?: string }) {
	return <a class="figure" href={href}><Icon name={icon} /><div><b>{value}</b><span>{label}</span>{note && <small>{note}</small>}</div></a>;
}

function Figures({ status, volumes = [], shares = [], ready }: { status: Status; volumes?: Volume[]; shares?: Share[]; ready: boolean }) {
	const disks = volumes.filter((one) => !shares.some((share) => share.pool === one.pool && share.name === one.name));
	const luns = status.targets.reduce((sum, target) => sum + target.luns.length, 0);
	const hosts = new Set(status.sessions.filter((session) => session.target).map((session) => session.initiator)).size;
	return (
		<div class="figures">
			<Figure icon="disk" href={to("volumes")} value={ready ? disks.length : "…"} label={t("nav.volumes")} note={bytes(disks.reduce((sum, one) => sum + one.used_bytes, 0))} />
			<Figure icon="target" href={to("targets")} value={luns} label="LUN" note={t("overview.onTargets", { count: status.targets.length })} />
			<Figure icon="share" href={to("shares")} value={ready ? shares.length : "…"} label={t("nav.shares")} note={bytes(shares.reduce((sum, one) => sum + (one.used_bytes ?? 0), 0))} />
			<Figure icon="session" href={to("sessions")} value={status.sessions.length} label={t("nav.sessions")} note={t("overview.fromHosts", { count: hosts })} />
		</div>
	);
}

function Connected({ sessions }: { sessions: Session[] }) {
	const shown = sessions.filter((session) => session.target).sort((a, b) => a.seconds - b.seconds).slice(0, 6);
	return (
		<Card title={t("overview.connected")} actions={sessions.length > 0 && <a href={to("sessions")}>{t("overview.all")}</a>}>
			{shown.length === 0 ? <p class="none">{t("sessions.noneText")}</p> : (
				<ul class="connected">
					{shown.map((session) => (
						<li key={session.id}><span class="lamp" aria-hidden="true" /><div><span class="name">{session.initiator}</span><small>{session.target.replace(/^.*:/, "")} · <span class="mono">{session.peer}</span></small></div><time>{duration(session.seconds)}</time></li>
					))}
				</ul>
			)}
		</Card>
	);
}

function PoolCard({ pool }: { pool: Pool }) {
	return (
		<Card title={<a href={to("pools", pool.name)}>{pool.name}</a>} actions={<StateBadge state={pool.state} />}>
			{pool.size_bytes ? <PoolSpace pool={pool} /> : <p class="none">{pool.reason}</p>}
			{pool.scrub && <p class="small quiet">{t("scrub.title")}: {scrubText(pool.scrub)}</p>}
		</Card>
	);
}

function Portals({ status }: { status: Status }) {
	const list = portals(status.endpoints);
	if (!list.length) return null;
	return <p class="portals">{t("overview.portals")} {list.map((one) => <span key={one.host + one.port} class="mono">{one.host}:{one.port} <Copy small text={`${one.host}:${one.port}`} /></span>)}</p>;
}

export function Overview() {
	const { data: status, problem } = useResource<Status>("/status");
	const volumes = useResource<Volume[]>("/volumes").data;
	const shares = useResource<Share[]>("/shares").data;
	const groups = useResource<Group[]>("/replica/groups").data;
	if (!status) return <Page title={t("nav.overview")}><Waiting problem={problem} /></Page>;
	return (
		<Page title={t("nav.overview")} lead={<Portals status={status} />}>
			<Health alerts={alertsOf(status, shares ?? [], groups ?? [])} />
			<Figures status={status} volumes={volumes} shares={shares} ready={!!volumes && !!shares} />
			<Charts />
			<div class="columns even">
				{status.pools.length === 0 ? (
					<Card><Empty icon="pool" title={t("pools.none")} text={t("pools.noneText")}>{can("admin") && <a class="button main" href={to("pools")}>{t("nav.pools")}</a>}</Empty></Card>
				) : <div class="stack">{status.pools.map((pool) => <PoolCard key={pool.uuid} pool={pool} />)}</div>}
				<Connected sessions={status.sessions} />
			</div>
		</Page>
	);
}

