// SPDX-License-Identifier: Apache-2.0
// Health, space, load and who is connected, in one glance.
import type { ComponentChildren } from "preact";
import { can } from "../api";
import { bytes, duration } from "../format";
import { Icon, type IconName } from "../icons";
import { useResource } from "../live";
import { Card, Copy, Empty, Page, StateBadge, Waiting } from "../parts";
import { to } from "../route";
import { maybe, t } from "../text";
import type { Alert, Group, Initiator, Pool, Session, Share, Status, Volume } from "../types";
import { alertPlace, alertText, alertTodo, alertTone, byWeight } from "./alerts";
import { Charts } from "./charts";
import { portals } from "./connect";
import { waits } from "./hosts";
import { Forecast, PoolSpace, scrubText } from "./pools";

function Health({ alerts }: { alerts: Alert[] }) {
	const open = alerts.filter((one) => one.state === "firing").sort(byWeight), quiet = alerts.length - open.length;
	if (!open.length) return (
		<div class="health good"><Icon name="check" /><div><strong>{t("health.good")}</strong><p>{quiet ? <a href={to("alerts")}>{t("health.quiet", { count: quiet })}</a> : t("health.goodText")}</p></div></div>
	);
	return (
		<ul class="alerts" aria-label={t("health.alerts")}>
			{open.slice(0, 6).map((alert) => (
				<li key={alert.id} class={alertTone(alert)}><Icon name="warning" /><div><a href={alertPlace(alert)}>{alertText(alert)}</a><p>{alertTodo(alert)}</p></div></li>
			))}
			<li class="plain-row"><a href={to("alerts")}>{open.length > 6 ? t("health.more", { count: open.length - 6 }) : t("overview.alerts")}</a></li>
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

/** Groups of volumes that go to another machine, and how far behind it is. */
function Replicated() {
	const groups = useResource<Group[]>("/replica/groups").data ?? [];
	if (!groups.length) return null;
	return (
		<Card title={t("nav.replication")} actions={<a href={to("replication")}>{t("overview.all")}</a>}>
			<ul class="connected">
				{groups.slice(0, 6).map((group) => (
					<li key={group.name}><div><span class="name">{group.name}</span><small>{maybe(`replicarole.${group.role}`) ?? group.role} · {maybe(`replicastate.${group.state.replace(/ /g, "-")}`) ?? group.state}</small></div><span>{group.lag_seconds >= 0 ? t("overview.lag", { time: duration(group.lag_seconds) }) : "–"}</span></li>
				))}
			</ul>
		</Card>
	);
}

function Newcomers() {
	const count = (useResource<Initiator[]>("/initiators").data ?? []).filter(waits).length;
	if (!count) return null;
	return <p class="newcomers"><Icon name="hosts" /> <a href={to("hosts")}>{t("overview.newcomers", { count })}</a></p>;
}

function PoolCard({ pool }: { pool: Pool }) {
	return (
		<Card title={<a href={to("pools", pool.name)}>{pool.name}</a>} actions={<StateBadge state={pool.state} />}>
			{pool.size_bytes ? <PoolSpace pool={pool} /> : <p class="none">{pool.reason}</p>}
			<Forecast pool={pool} />
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
	const alerts = useResource<Alert[]>("/alerts").data;
	if (!status) return <Page title={t("nav.overview")}><Waiting problem={problem} /></Page>;
	return (
		<Page title={t("nav.overview")} lead={<Portals status={status} />}>
			{alerts && <Health alerts={alerts} />}
			<Newcomers />
			<Figures status={status} volumes={volumes} shares={shares} ready={!!volumes && !!shares} />
			<Charts />
			<div class="columns even">
				{status.pools.length === 0 ? (
					<Card><Empty icon="pool" title={t("pools.none")} text={t("pools.noneText")}>{can("admin") && <a class="button main" href={to("pools")}>{t("nav.pools")}</a>}</Empty></Card>
				) : <div class="stack">{status.pools.map((pool) => <PoolCard key={pool.uuid} pool={pool} />)}</div>}
				<div class="stack"><Connected sessions={status.sessions} /><Replicated /></div>
			</div>
		</Page>
	);
}

