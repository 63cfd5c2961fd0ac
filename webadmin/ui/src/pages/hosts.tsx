// SPDX-License-Identifier: Apache-2.0
import { useState } from "preact/hooks";
import { call, can, part } from "../api";
import { time } from "../format";
import { useResource } from "../live";
import { act, Badge, Button, Card, Copy, DeleteDialog, Dialog, Empty, Field, FormDialog, Input, notice, Page, Select, Table, Waiting } from "../parts";
import { to } from "../route";
import { maybe, t } from "../text";
import type { Host, Initiator, Target } from "../types";
import { LatencyChart } from "./charts";
import { splitHosts } from "./newlun";

function Edit({ host, suggest, onClose }: { host?: Host; suggest?: string; onClose: () => void }) {
	const [name, setName] = useState(host?.name ?? "");
	const [text, setText] = useState((host?.initiators ?? (suggest ? [suggest] : [])).join("\n"));
	const wanted = splitHosts(text);
	return (
		<FormDialog title={host ? t("hosts.change", { name: host.name }) : t("hosts.create")} button={host ? t("action.save") : t("action.create")} ready={name !== ""} onClose={onClose} submit={async () => {
			if (!host) return call("POST", "/hosts", { name, initiators: wanted });
			return call("PATCH", `/hosts/${part(host.name)}`, { add: wanted.filter((one) => !host.initiators.includes(one)), remove: host.initiators.filter((one) => !wanted.includes(one)) });
		}}>
			{!host && <Input label={t("field.name")} value={name} onValue={setName} hint={t("hosts.nameHint")} autoFocus />}
			<Field label={t("hosts.initiators")} hint={t("hosts.perLine")}>{(id, note) => <textarea id={id} aria-describedby={note} rows={5} spellcheck={false} value={text} onInput={(event) => setText(event.currentTarget.value)} />}</Field>
		</FormDialog>
	);
}

function Latency({ name, onClose }: { name: string; onClose: () => void }) {
	return (
		<Dialog title={name} onClose={onClose}>
			<LatencyChart path={`/initiators/${part(name)}/latency`} />
			<div class="buttons"><a class="button" href={to("support")} onClick={onClose}>{t("nav.support")}</a><Button kind="main" onClick={onClose}>{t("action.close")}</Button></div>
		</Dialog>
	);
}

const DAY = 86400;

/** Came lately, was not let in, and nobody has decided about it since. */
export function waits(one: Initiator): boolean {
	const { refused } = one;
	if (!refused || one.sessions || refused.reason === "chap" || Date.now() / 1000 - refused.at > DAY) return false;
	return refused.target ? !one.rules.includes(refused.target) : one.rules.length === 0;
}

function Approve({ one, targets, onClose }: { one: Initiator; targets: Target[]; onClose: () => void }) {
	const asked = targets.some((target) => target.iqn === one.refused?.target) ? one.refused!.target : "";
	const [iqn, setIqn] = useState(asked || (targets[0]?.iqn ?? ""));
	return (
		<FormDialog title={t("approve.title", { name: one.initiator })} button={t("approve.allow")} ready={iqn !== ""} onClose={onClose} submit={async () => {
			await call("POST", `/targets/${part(iqn)}/rules`, { initiator: one.initiator });
			notice(t("approve.done", { name: one.initiator }));
		}}>
			<p class="prose">{t("approve.text", { address: one.refused?.address ?? "" })}</p>
			{targets.length ? <Select label={t("targets.target")} value={iqn} onValue={setIqn} options={targets.map((target) => [target.iqn, target.alias || target.iqn])} /> : <p class="none">{t("targets.none")}</p>}
		</FormDialog>
	);
}

/** New initiators, each with a button that lets it in. */
function Newcomers({ list }: { list: Initiator[] }) {
	const targets = useResource<Target[]>("/targets").data ?? [];
	const [open, setOpen] = useState<Initiator | null>(null);
	const known = (one: Initiator) => targets.find((target) => target.iqn === one.refused?.target);
	if (!list.length) return null;
	return (
		<Card flush title={t("approve.list")}>
			<Table caption={t("approve.list")} rows={list} id={(row) => row.initiator} columns={[
				{ key: "name", title: t("sessions.initiator"), text: (row) => row.initiator, show: (row) => <span class="name">{row.initiator}<small class="mono">{row.refused!.address}</small></span> },
				{ key: "why", title: t("approve.why"), show: (row) => <span class="name">{maybe(`refused.${row.refused!.reason}`)}{row.refused!.target && <small>{row.refused!.target}</small>}</span> },
				{ key: "at", title: t("audit.time"), text: (row) => row.refused!.at, show: (row) => time(row.refused!.at * 1000) },
				{ key: "does", title: "", show: (row) => can("provisioner") && (
					<div class="row-actions">
						{known(row) && row.refused!.reason === "no_rule" ? <Button kind="main" label={t("approve.allowNamed", { name: row.initiator })} onClick={() => act(t("approve.done", { name: row.initiator }), "POST", `/targets/${part(row.refused!.target)}/rules`, { initiator: row.initiator })}>{t("approve.allow")}</Button>
							: <Button label={t("approve.chooseNamed", { name: row.initiator })} onClick={() => setOpen(row)}>{t("approve.choose")}</Button>}
					</div>
				) },
			]} />
			{open && <Approve one={open} targets={targets} onClose={() => setOpen(null)} />}
		</Card>
	);
}

export function Hosts() {
	const { data, problem } = useResource<Host[]>("/hosts");
	const initiators = useResource<Initiator[]>("/initiators").data ?? [];
	const [open, setOpen] = useState<{ what: "edit"; host?: Host; suggest?: string } | { what: "delete"; host: Host } | { what: "latency"; name: string } | null>(null);
	const close = () => setOpen(null);
	const known = initiators.filter((one) => one.sessions || one.rules.length);
	const groupsOf = (name: string) => (data ?? []).filter((host) => host.initiators.includes(name)).map((host) => host.name);
	return (
		<Page title={t("nav.hosts")} lead={t("hosts.lead")} actions={<Button role="provisioner" icon="plus" onClick={() => setOpen({ what: "edit" })}>{t("hosts.create")}</Button>}>
			{!data ? <Waiting problem={problem} /> : (
				<>
					<Newcomers list={initiators.filter(waits)} />
					<Card flush title={t("hosts.groups")}>
						{data.length === 0 ? <p class="none">{t("hosts.none")}</p> : (
							<Table caption={t("hosts.groups")} rows={data} id={(row) => row.name} find={(row) => `${row.name} ${row.initiators.join(" ")}`} columns={[
								{ key: "name", title: t("field.name"), text: (row) => row.name, show: (row) => <strong>{row.name}</strong> },
								{ key: "initiators", title: t("hosts.initiators"), text: (row) => row.initiators.length, show: (row) => <span class="list name">{row.initiators.map((one) => <span key={one}>{one}</span>)}</span> },
								{ key: "does", title: "", show: (row) => can("provisioner") && <div class="row-actions"><Button kind="quiet" icon="edit" label={t("hosts.change", { name: row.name })} onClick={() => setOpen({ what: "edit", host: row })} /><Button kind="quiet" icon="trash" label={t("hosts.delete", { name: row.name })} onClick={() => setOpen({ what: "delete", host: row })} /></div> },
							]} />
						)}
					</Card>
					<Card flush title={t("hosts.seen")}>
						{known.length === 0 ? <Empty icon="hosts" title={t("hosts.noneSeen")} text={t("hosts.noneSeenText")} /> : (
							<Table caption={t("hosts.seen")} rows={known} id={(row) => row.initiator} find={(row) => row.initiator} columns={[
								{ key: "name", title: t("sessions.initiator"), text: (row) => row.initiator, show: (row) => <span class="name">{row.initiator} <Copy small text={row.initiator} /></span> },
								{ key: "state", title: t("field.state"), text: (row) => row.sessions, show: (row) => row.sessions ? <Badge tone="good">{t("hosts.sessions", { count: row.sessions })}</Badge> : <Badge tone="quiet">{t("hosts.away")}</Badge> },
								{ key: "latency", title: t("chart.latencyShort"), show: (row) => row.sessions ? <button type="button" class="link" aria-label={t("hosts.latencyOf", { name: row.initiator })} onClick={() => setOpen({ what: "latency", name: row.initiator })}>{t("hosts.show")}</button> : "–" },
								{ key: "rules", title: t("nav.targets"), show: (row) => <span class="list">{row.rules.map((iqn) => <a key={iqn} href={to("targets", iqn)}>{iqn.replace(/^.*:/, "")}</a>)}</span> },
								{ key: "groups", title: t("hosts.groups"), show: (row) => groupsOf(row.initiator).join(", ") || (can("provisioner") ? <button type="button" class="link" onClick={() => setOpen({ what: "edit", suggest: row.initiator })}>{t("hosts.group")}</button> : "–") },
							]} />
						)}
					</Card>
				</>
			)}
			{open?.what === "latency" && <Latency name={open.name} onClose={close} />}
			{open?.what === "edit" && <Edit host={open.host} suggest={open.suggest} onClose={close} />}
			{open?.what === "delete" && <DeleteDialog title={t("hosts.delete", { name: open.host.name })} name={open.host.name} button={t("action.delete")} onClose={close} text={<p>{t("hosts.deleteText")}</p>} submit={async () => { await call("DELETE", `/hosts/${part(open.host.name)}`); notice(t("hosts.deleted")); }} />}
		</Page>
	);
}
