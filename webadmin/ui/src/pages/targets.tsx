// SPDX-License-Identifier: Apache-2.0
import { useState } from "preact/hooks";
import { call, can, part } from "../api";
import { useResource } from "../live";
import { actAsked, Badge, Button, Card, Copy, DeleteDialog, Dialog, Empty, Facts, FormDialog, Input, notice, Page, Select, StateBadge, Table, Waiting } from "../parts";
import { go, to } from "../route";
import { t } from "../text";
import type { Host, Lun, Reservations, Rule, Session, Status, Target as TargetType, Volume } from "../types";
import { SessionTable } from "./sessions";

const pathOf = (iqn: string) => `/targets/${part(iqn)}`;

// --- all of them -------------------------------------------------------------------------------

function Create({ onClose }: { onClose: () => void }) {
	const [iqn, setIqn] = useState("iqn.2026-11.org.granary:");
	const [alias, setAlias] = useState("");
	return (
		<FormDialog title={t("targets.create")} button={t("action.create")} ready={iqn.length > 10} onClose={onClose} submit={async () => {
			await call("POST", "/targets", alias ? { iqn, alias } : { iqn });
			go("targets", iqn);
		}}>
			<Input label="IQN" value={iqn} onValue={setIqn} hint={t("targets.iqnHint")} autoFocus />
			<Input label={t("targets.alias")} value={alias} onValue={setAlias} hint={t("targets.aliasHint")} />
		</FormDialog>
	);
}

export function Targets() {
	const { data, problem } = useResource<Status>("/status");
	const [creating, setCreating] = useState(false);
	const sessions = (iqn: string) => data?.sessions.filter((session) => session.target === iqn).length ?? 0;
	return (
		<Page title={t("nav.targets")} lead={t("targets.lead")} actions={<Button role="provisioner" icon="plus" onClick={() => setCreating(true)}>{t("targets.create")}</Button>}>
			{!data ? <Waiting problem={problem} /> : data.targets.length === 0 ? (
				<Card><Empty icon="target" title={t("targets.none")} text={t("targets.noneText")}>{can("provisioner") && <a class="button main" href={to("new")}>{t("nav.new")}</a>}</Empty></Card>
			) : (
				<Card flush>
					<Table caption={t("nav.targets")} rows={data.targets} id={(row) => row.iqn} find={(row) => `${row.iqn} ${row.alias}`} columns={[
						{ key: "iqn", title: t("targets.target"), text: (row) => row.alias || row.iqn, show: (row) => <a class="name" href={to("targets", row.iqn)}>{row.alias || row.iqn.replace(/^.*:/, "")}<small>{row.iqn}</small></a> },
						{ key: "state", title: t("field.state"), text: (row) => row.state, show: (row) => <StateBadge state={row.state} /> },
						{ key: "luns", title: "LUN", number: true, text: (row) => row.luns.length, show: (row) => row.luns.length },
						{ key: "rules", title: t("targets.rules"), number: true, text: (row) => row.rules.length, show: (row) => row.rules.length || <Badge tone="warn">{t("targets.nobody")}</Badge> },
						{ key: "sessions", title: t("nav.sessions"), number: true, text: (row) => sessions(row.iqn), show: (row) => sessions(row.iqn) ? <Badge tone="good">{sessions(row.iqn)}</Badge> : 0 },
					]} />
				</Card>
			)}
			{creating && <Create onClose={() => setCreating(false)} />}
		</Page>
	);
}

// --- one ---------------------------------------------------------------------------------------

function Map({ iqn, onClose }: { iqn: string; onClose: () => void }) {
	const { data } = useResource<Volume[]>("/volumes");
	const [chosen, setChosen] = useState("");
	const [lun, setLun] = useState("");
	if (!data) return null;
	const options = data.map((one) => [`${one.pool}/${one.name}`, `${one.pool}/${one.name}${one.mapped.length ? ` (${t("targets.mapped")})` : ""}`] as [string, string]);
	const key = chosen || options[0]?.[0] || "";
	return (
		<FormDialog title={t("targets.map")} button={t("targets.map")} ready={key !== ""} onClose={onClose} submit={async () => {
			const [pool, volume] = key.split("/");
			await call("POST", `${pathOf(iqn)}/luns`, lun === "" ? { pool, volume } : { pool, volume, lun: parseInt(lun, 10) });
		}}>
			<Select label={t("field.volume")} value={key} onValue={setChosen} options={options} />
			<Input label={t("targets.lunNumber")} value={lun} onValue={(text) => setLun(text.replace(/\D/g, ""))} inputMode="numeric" hint={t("targets.lunHint")} />
		</FormDialog>
	);
}

function Mask({ iqn, lun, onClose }: { iqn: string; lun: Lun; onClose: () => void }) {
	const groups = useResource<Host[]>("/hosts").data ?? [];
	const [chosen, setChosen] = useState(lun.hosts);
	return (
		<FormDialog title={t("targets.mask", { lun: lun.lun })} button={t("action.save")} onClose={onClose} submit={() => call("PUT", `${pathOf(iqn)}/luns/${lun.lun}/hosts`, { hosts: chosen })}>
			<p class="prose">{groups.length ? t("targets.maskText") : t("targets.maskNone")}</p>
			<div class="chips" role="group" aria-label={t("nav.hosts")}>
				{groups.map((group) => <button type="button" key={group.name} class="chip" aria-pressed={chosen.includes(group.name)} onClick={() => setChosen(chosen.includes(group.name) ? chosen.filter((one) => one !== group.name) : [...chosen, group.name])}>{group.name}</button>)}
			</div>
		</FormDialog>
	);
}

/** Who is registered with a LUN, and who holds it: why a cluster's node is kept out. */
function Reserved({ iqn, lun, onClose }: { iqn: string; lun: Lun; onClose: () => void }) {
	const path = `${pathOf(iqn)}/luns/${lun.lun}/reservations`;
	const { data, problem } = useResource<Reservations>(path);
	const empty = data && data.registrations.length === 0 && !data.reserve6;
	return (
		<Dialog title={t("reserve.title", { lun: lun.lun })} onClose={onClose}>
			{!data ? <Waiting problem={problem} /> : empty ? <p class="none">{t("reserve.none")}</p> : <>
				<Facts rows={[
					[t("reserve.type"), <span lang="en">{data.type}</span>],
					[t("reserve.persistent"), data.persistent ? t("reserve.yes") : t("reserve.no")],
					!!data.reserve6 && ["RESERVE(6)", <span class="mono name">{data.reserve6}</span>],
				]} />
				<ul class="connected">
					{data.registrations.map((one) => <li key={one.initiator_port + one.port}><div><span class="name">{one.initiator_port}</span><small class="mono">{one.key}</small></div>{one.holder && <Badge tone="warn">{t("reserve.holder")}</Badge>}{!one.connected && <Badge tone="quiet">{t("hosts.away")}</Badge>}</li>)}
				</ul>
			</>}
			<div class="buttons">
				{!empty && <Button role="operator" kind="danger" onClick={async () => { if (await actAsked(t("reserve.clear"), t("reserve.cleared"), "DELETE", path)) onClose(); }}>{t("reserve.clear")}</Button>}
				<Button kind="main" onClick={onClose}>{t("action.close")}</Button>
			</div>
		</Dialog>
	);
}

/** Which way each host comes, and which way it does not: a path that one host lacks is the one it
 *  would need when another fails. */
function Paths({ sessions }: { sessions: Session[] }) {
	const ways = [...new Set(sessions.map((one) => one.portal))].sort();
	const hosts = [...new Set(sessions.map((one) => one.initiator))].sort();
	if (ways.length < 2) return null;
	const has = (host: string, way: string) => sessions.some((one) => one.initiator === host && one.portal === way);
	const lacking = (host: string) => ways.filter((way) => !has(host, way));
	return (
		<Card flush title={t("paths.title")}>
			<Table caption={t("paths.title")} rows={hosts} id={(row) => row} columns={[
				{ key: "host", title: t("sessions.initiator"), text: (row) => row, show: (row) => <span class="name">{row}</span> },
				{ key: "count", title: t("paths.count"), text: (row) => ways.length - lacking(row).length, show: (row) => <Badge tone={lacking(row).length ? "warn" : "good"}>{t("paths.of", { count: ways.length - lacking(row).length, all: ways.length })}</Badge> },
				{ key: "lacks", title: t("paths.lacks"), show: (row) => <span class="list mono">{lacking(row).map((way) => <span key={way}>{way}</span>)}{!lacking(row).length && "–"}</span> },
			]} />
		</Card>
	);
}

function Luns({ target }: { target: TargetType }) {
	const [open, setOpen] = useState<{ what: "map" } | { what: "mask" | "unmap" | "reserved"; lun: Lun } | null>(null);
	const close = () => setOpen(null);
	return (
		<Card flush title="LUN" actions={<Button role="provisioner" icon="plus" onClick={() => setOpen({ what: "map" })}>{t("targets.map")}</Button>}>
			{target.luns.length === 0 ? <p class="none">{t("targets.noLuns")}</p> : (
				<Table caption="LUN" rows={target.luns} id={(row) => row.lun} columns={[
					{ key: "lun", title: "LUN", show: (row) => <strong>{row.lun}</strong> },
					{ key: "volume", title: t("field.volume"), show: (row) => <span class="name">{row.volume}<small>{row.pool}</small></span> },
					{ key: "state", title: t("field.state"), show: (row) => <><StateBadge state={row.state} />{row.reason && <small class="reason">{row.reason}</small>}</> },
					{ key: "cache", title: t("targets.cache"), show: (row) => row.write_cache === undefined ? "–" : row.type === "cdrom" ? t("targets.cacheCdrom") : row.write_cache ? t("targets.cacheOn") : t("targets.cacheOff") },
					{ key: "hosts", title: t("targets.shownTo"), show: (row) => row.hosts.length ? row.hosts.join(", ") : t("targets.everybody") },
					{ key: "does", title: "", show: (row) => can("provisioner") && (
						<div class="row-actions">
							<Button kind="quiet" icon="lock" label={t("reserve.title", { lun: row.lun })} onClick={() => setOpen({ what: "reserved", lun: row })} />
							<Button kind="quiet" icon="hosts" label={t("targets.mask", { lun: row.lun })} onClick={() => setOpen({ what: "mask", lun: row })} />
							<Button kind="quiet" icon="trash" label={t("targets.unmap", { lun: row.lun })} onClick={() => setOpen({ what: "unmap", lun: row })} />
						</div>
					) },
				]} />
			)}
			{open?.what === "map" && <Map iqn={target.iqn} onClose={close} />}
			{open?.what === "reserved" && <Reserved iqn={target.iqn} lun={open.lun} onClose={close} />}
			{open?.what === "mask" && <Mask iqn={target.iqn} lun={open.lun} onClose={close} />}
			{open?.what === "unmap" && (
				<FormDialog title={t("targets.unmap", { lun: open.lun.lun })} button={t("targets.unmapGo")} kind="danger" onClose={close} submit={async () => {
					await call("DELETE", `${pathOf(target.iqn)}/luns/${open.lun.lun}`);
					notice(t("targets.unmapped", { name: open.lun.volume }));
				}}>
					<p class="prose">{t("targets.unmapText", { name: open.lun.volume })}</p>
				</FormDialog>
			)}
		</Card>
	);
}

function Allow({ iqn, onClose }: { iqn: string; onClose: () => void }) {
	const known = (useResource<{ initiator: string }[]>("/initiators").data ?? []).map((one) => one.initiator);
	const [initiator, setInitiator] = useState("");
	const [network, setNetwork] = useState("");
	const [user, setUser] = useState("");
	const [secret, setSecret] = useState("");
	return (
		<FormDialog title={t("rules.add")} button={t("rules.add")} ready={(initiator !== "" || network !== "") && (user === "" || secret.length >= 12)} onClose={onClose} submit={() => {
			const body: Record<string, string> = {};
			if (initiator) body.initiator = initiator;
			if (network) body.network = network;
			if (user) Object.assign(body, { chap_user: user, chap_secret: secret });
			return call("POST", `${pathOf(iqn)}/rules`, body);
		}}>
			<Input label={t("rules.initiator")} value={initiator} onValue={setInitiator} list="known-initiators" placeholder="iqn.1994-05.com.redhat:…" autoFocus />
			<datalist id="known-initiators">{known.map((name) => <option key={name} value={name} />)}</datalist>
			<Input label={t("rules.network")} value={network} onValue={setNetwork} placeholder="10.0.0.0/24" hint={t("rules.both")} />
			<Input label={t("rules.chapUser")} value={user} onValue={setUser} hint={t("rules.chapHint")} />
			{user && <Input label={t("rules.chapSecret")} type="password" autocomplete="new-password" value={secret} onValue={setSecret} hint={t("rules.secretHint")} />}
		</FormDialog>
	);
}

function Rules({ target }: { target: TargetType }) {
	const [adding, setAdding] = useState(false);
	const who = (rule: Rule) => [rule.initiator, rule.network].filter((text) => text !== "any").join(" · ") || t("rules.anyone");
	return (
		<Card flush title={t("targets.rules")} actions={<Button role="provisioner" icon="plus" onClick={() => setAdding(true)}>{t("rules.add")}</Button>}>
			{target.rules.length === 0 ? <p class="none">{t("rules.none")}</p> : (
				<Table caption={t("targets.rules")} rows={target.rules} id={(row) => row.rule} columns={[
					{ key: "who", title: t("rules.who"), show: (row) => <span class="name">{who(row)}</span> },
					{ key: "chap", title: "CHAP", show: (row) => row.chap_user ? <Badge tone="good">{row.mutual_user ? t("rules.mutual", { user: row.chap_user }) : row.chap_user}</Badge> : <Badge tone="quiet">{t("rules.noChap")}</Badge> },
					{ key: "does", title: "", show: (row) => <Button kind="quiet" role="provisioner" icon="trash" label={t("rules.remove", { name: who(row) })} onClick={() => actAsked(t("rules.remove", { name: who(row) }), t("rules.removed"), "DELETE", `${pathOf(target.iqn)}/rules`, { rule: row.rule })} /> },
				]} />
			)}
			{adding && <Allow iqn={target.iqn} onClose={() => setAdding(false)} />}
		</Card>
	);
}

export function Target({ iqn }: { iqn: string }) {
	const { data, problem } = useResource<TargetType>(pathOf(iqn));
	const sessions = (useResource<Session[]>("/sessions").data ?? []).filter((session) => session.target === iqn);
	const [deleting, setDeleting] = useState(false);
	const back = { href: to("targets"), text: t("nav.targets") };
	const title = data?.alias || iqn.replace(/^.*:/, "");
	if (!data) return <Page title={title} back={back}><Waiting problem={problem} /></Page>;
	return (
		<Page title={title} back={back} lead={<span class="mono name">{iqn} <Copy small text={iqn} /></span>} actions={<>
			<a class="button plain" href={to("connect", iqn)}>{t("targets.connect")}</a>
			<Button role="provisioner" kind="danger" onClick={() => setDeleting(true)}>{t("action.delete")}</Button>
		</>}>
			{data.state !== "online" && <div class="trouble"><div><strong>{t("targets.down")}</strong><p>{data.reason}</p></div></div>}
			<Luns target={data} />
			<Rules target={data} />
			<Paths sessions={sessions} />
			<Card flush title={t("nav.sessions")}>
				{sessions.length === 0 ? <p class="none">{t("sessions.none")}</p> : <SessionTable sessions={sessions} />}
			</Card>
			{deleting && <DeleteDialog title={t("targets.delete")} name={title} button={t("action.delete")} onClose={() => setDeleting(false)} text={<p>{t("targets.deleteText", { sessions: sessions.length })}</p>} submit={async () => { await call("DELETE", pathOf(iqn)); notice(t("targets.deleted", { name: title })); go("targets"); }} />}
		</Page>
	);
}
