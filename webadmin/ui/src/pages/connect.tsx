// SPDX-License-Identifier: Apache-2.0
// After a LUN is made: what to type on the hosts, and which of them have come.
import { useState } from "preact/hooks";
import { part } from "../api";
import { bytes } from "../format";
import { useResource } from "../live";
import { Badge, Card, Copy, Empty, Facts, Page, Snippet, Waiting } from "../parts";
import { to } from "../route";
import { t } from "../text";
import type { Endpoint, Rule, Session, Status, Target, Volume } from "../types";
import { covers } from "./network";
import { guides, type Place } from "./snippets";

const KEPT = "granary.guide";

/** Where hosts reach us: the portals, and this page's own name for one that listens everywhere. */
export function portals(endpoints: Endpoint[]): { host: string; port: number }[] {
	const own = location.hostname.replace(/^\[|\]$/g, "");
	const list = endpoints.filter((one) => one.protocol === "iscsi").map((one) => ({
		host: ["0.0.0.0", "::", "*", ""].includes(one.address) ? own : one.address, port: one.port,
	}));
	return list.filter((one, at) => list.findIndex((other) => other.host === one.host && other.port === one.port) === at);
}

const matches = (rule: Rule, session: Session) =>
	(rule.initiator === "any" || rule.initiator === session.initiator) &&
	(rule.network === "any" || covers(rule.network, session.peer));

function Arrivals({ target, sessions }: { target: Target; sessions: Session[] }) {
	const rows = target.rules.map((rule) => ({ rule, here: sessions.filter((session) => matches(rule, session)) }));
	const come = rows.filter((row) => row.here.length).length;
	return (
		<Card title={t("connect.hosts")} actions={<Badge tone={come === rows.length && come ? "good" : "busy"}>{t("connect.count", { come, all: rows.length })}</Badge>}>
			<ul class="arrivals" aria-live="polite">
				{rows.map(({ rule, here }) => (
					<li key={rule.rule} class={here.length ? "come" : "wait"}>
						<span class="lamp" aria-hidden="true" />
						<div>
							<span class="name">{rule.initiator !== "any" ? rule.initiator : rule.network !== "any" ? rule.network : t("rules.anyone")}</span>
							<small>{here.length ? t("connect.come", { peer: here.map((session) => session.peer).join(", ") }) : t("connect.waiting")}</small>
						</div>
					</li>
				))}
				{rows.length === 0 && <li class="wait"><div>{t("connect.noRules")}</div></li>}
			</ul>
		</Card>
	);
}

function Guides({ place }: { place: Place }) {
	const all = guides(place);
	const [id, setId] = useState(localStorage.getItem(KEPT) ?? all[0].id);
	const guide = all.find((one) => one.id === id) ?? all[0];
	function choose(next: string) {
		localStorage.setItem(KEPT, next);
		setId(next);
	}
	function onKey(event: KeyboardEvent) {
		const step = event.key === "ArrowRight" ? 1 : event.key === "ArrowLeft" ? -1 : 0;
		if (!step) return;
		const at = (all.indexOf(guide) + step + all.length) % all.length;
		choose(all[at].id);
		document.getElementById(`tab-${all[at].id}`)?.focus();
	}
	return (
		<Card title={t("connect.how")}>
			<div class="tabs" role="tablist" aria-label={t("connect.how")} onKeyDown={onKey}>
				{all.map((one) => <button type="button" key={one.id} id={`tab-${one.id}`} role="tab" aria-selected={one === guide} aria-controls="guide" tabIndex={one === guide ? 0 : -1} onClick={() => choose(one.id)}>{one.title}</button>)}
			</div>
			<div id="guide" role="tabpanel" aria-labelledby={`tab-${guide.id}`}>
				{guide.steps.map((step, at) => (
					<div key={step.key} class="step">
						<p>{guide.steps.length > 1 && <b>{at + 1}</b>} {t(step.key)}</p>
						<Snippet text={step.text} label={t(step.key)} />
					</div>
				))}
			</div>
		</Card>
	);
}

function Known({ place, places, volume }: { place: Place; places: { host: string; port: number }[]; volume: Volume }) {
	return (
		<Card title={t("connect.facts")}>
			<Facts rows={[
				[t("connect.portal"), <>{places.map((one) => <span key={`${one.host}:${one.port}`} class="mono">{one.host}:{one.port}</span>)}</>],
				[t("connect.iqn"), <><span class="name mono">{place.iqn}</span><Copy small text={place.iqn} /></>],
				["LUN", <span class="mono">{place.lun}</span>],
				[t("connect.scsiId"), <><span class="name mono">{place.scsiId}</span><Copy small text={place.scsiId} /></>],
				[t("connect.volume"), <a href={to("volumes")}>{volume.pool}/{volume.name}</a>],
				[t("connect.size"), bytes(volume.size_bytes)],
			]} />
		</Card>
	);
}

export function Connect({ iqn }: { iqn: string }) {
	const target = useResource<Target>(`/targets/${part(iqn)}`);
	const status = useResource<Status>("/status").data;
	const lun = target.data?.luns[0];
	const volume = useResource<Volume>(lun ? `/volumes/${part(lun.pool)}/${part(lun.volume)}` : null).data;
	const back = { href: to("targets", iqn), text: t("connect.back") };
	if (!target.data || !status) return <Page title={t("nav.connect")} back={back}><Waiting problem={target.problem} /></Page>;
	const places = portals(status.endpoints);
	if (!lun || !volume || !places.length) return <Page title={t("nav.connect")} back={back}><Card><Empty icon="disk" title={t("connect.noLun")} text={t("connect.noLunText")} /></Card></Page>;
	const place: Place = { name: lun.volume, ...places[0], iqn, lun: lun.lun, scsiId: volume.scsi_id, naa: volume.naa, serial: volume.serial };
	return (
		<Page title={t("connect.title", { name: lun.volume })} lead={t("connect.lead")} back={back}>
			<div class="columns">
				<Guides place={place} />
				<div class="stack">
					<Arrivals target={target.data} sessions={status.sessions.filter((session) => session.target === iqn)} />
					<Known place={place} places={places} volume={volume} />
				</div>
			</div>
		</Page>
	);
}
