// SPDX-License-Identifier: Apache-2.0
// The appliance's own settings: its name, network, time, and turning it off. Elsewhere they are made
// with the system's own tools, and nothing of this is shown.
import { useState } from "preact/hooks";
import { call, can } from "../api";
import { number } from "../format";
import { useResource } from "../live";
import { act, Badge, Button, Card, DeleteDialog, Facts, Field, FormDialog, Input, notice, Select, Table } from "../parts";
import { maybe, t } from "../text";
import type { Appliance, BackupState, Group, Link, NfsClient, Session, UpdateState } from "../types";
import { Update } from "./update";

const words = (text: string) => text.split(/[\s,;]+/).filter(Boolean);

function Names({ settings, onClose }: { settings: Appliance["settings"]; onClose: () => void }) {
	const [name, setName] = useState(settings.name);
	const [zone, setZone] = useState(settings.timezone);
	const [servers, setServers] = useState(settings.time_servers.join(" "));
	return (
		<FormDialog title={t("machine.change")} button={t("action.save")} ready={name !== ""} onClose={onClose} submit={async () => {
			const times = zone !== settings.timezone || words(servers).join(" ") !== settings.time_servers.join(" ");
			if (name !== settings.name) await call("PUT", "/appliance/name", { name }, { step: times });
			if (times) await call("PUT", "/appliance/time", { ...(zone && { timezone: zone }), time_servers: words(servers) });
			notice(t("machine.changed"));
		}}>
			<Input label={t("machine.name")} value={name} onValue={setName} autoFocus />
			<Input label={t("machine.zone")} value={zone} onValue={setZone} placeholder="Asia/Shanghai" />
			<Input label={t("machine.servers")} value={servers} onValue={setServers} placeholder="ntp.example.com 10.0.0.1" hint={t("machine.serversHint")} />
		</FormDialog>
	);
}

const fresh: Link = { name: "", kind: "ethernet", ipv4: "dhcp", ipv6: "auto", addresses: [], gateways: [] };

/** One port, VLAN or bond; the whole network is tried then. */
function EditLink({ settings, link, onClose }: { settings: Appliance["settings"]; link: Link | null; onClose: () => void }) {
	const [one, setOne] = useState<Link>(link ?? fresh);
	const [addresses, setAddresses] = useState(one.addresses.join("\n"));
	const [gateways, setGateways] = useState(one.gateways.join(" "));
	const [members, setMembers] = useState((one.members ?? []).join(" "));
	const [mtu, setMtu] = useState(one.mtu ? String(one.mtu) : "");
	const [dns, setDns] = useState(settings.dns.join(" "));
	const set = (to: Partial<Link>) => setOne({ ...one, ...to });
	const others = settings.links.filter((other) => other.name !== link?.name);
	return (
		<FormDialog title={link ? t("machine.link", { name: link.name }) : t("machine.newLink")} button={t("machine.try")} ready={one.name !== ""} onClose={onClose} submit={async () => {
			const body: Record<string, unknown> = { name: one.name, kind: one.kind, ipv4: one.ipv4, ipv6: one.ipv6, addresses: words(addresses), gateways: words(gateways) };
			if (mtu) body.mtu = parseInt(mtu, 10);
			if (one.kind === "vlan") Object.assign(body, { parent: one.parent, vlan: one.vlan });
			if (one.kind === "bond") Object.assign(body, { mode: one.mode ?? "active-backup", members: words(members) });
			await call("PUT", "/appliance/network", { links: [...others, body], dns: words(dns) });
		}}>
			<p class="prose">{t("machine.tryText")}</p>
			<div class="pair">
				<Input label={t("machine.linkName")} value={one.name} onValue={(name) => set({ name })} placeholder="enp1s0" />
				<Select label={t("alerts.kind")} value={one.kind} onValue={(kind) => set({ kind })} options={["ethernet", "vlan", "bond"].map((kind): [string, string] => [kind, maybe(`link.${kind}`) ?? kind])} />
			</div>
			{one.kind === "vlan" && <div class="pair"><Input label={t("machine.parent")} value={one.parent ?? ""} onValue={(parent) => set({ parent })} /><Input label={t("machine.vlan")} inputMode="numeric" value={String(one.vlan ?? "")} onValue={(text) => set({ vlan: parseInt(text.replace(/\D/g, ""), 10) || undefined })} /></div>}
			{one.kind === "bond" && <div class="pair"><Input label={t("machine.members")} value={members} onValue={setMembers} placeholder="enp1s0 enp2s0" /><Select label={t("machine.mode")} value={one.mode ?? "active-backup"} onValue={(mode) => set({ mode })} options={[["active-backup", t("machine.backup")], ["lacp", "LACP (802.3ad)"]]} /></div>}
			<div class="pair">
				<Select label="IPv4" value={one.ipv4} onValue={(ipv4) => set({ ipv4 })} options={["dhcp", "static", "off"].map((way): [string, string] => [way, maybe(`link.${way}`) ?? way])} />
				<Select label="IPv6" value={one.ipv6} onValue={(ipv6) => set({ ipv6 })} options={["auto", "static", "off"].map((way): [string, string] => [way, maybe(`link.${way}`) ?? way])} />
			</div>
			<Field label={t("machine.addresses")} hint={t("machine.addressesHint")}>{(id, note) => <textarea id={id} aria-describedby={note} rows={2} spellcheck={false} placeholder="10.0.0.5/24" value={addresses} onInput={(event) => setAddresses(event.currentTarget.value)} />}</Field>
			<div class="pair">
				<Input label={t("machine.gateways")} value={gateways} onValue={setGateways} placeholder="10.0.0.1" />
				<Input label="MTU" inputMode="numeric" value={mtu} onValue={(text) => setMtu(text.replace(/\D/g, ""))} placeholder="1500" />
			</div>
			<Input label={t("machine.dns")} value={dns} onValue={setDns} placeholder="10.0.0.1" />
		</FormDialog>
	);
}

/** It goes back by itself unless somebody who has got through says that it works. */
function Trial({ seconds }: { seconds: number }) {
	return (
		<div class="caution" role="alert">
			<p>{t("machine.trial", { seconds })}</p>
			<div class="buttons start">
				<Button kind="main" onClick={() => act(t("machine.kept"), "POST", "/appliance/network/confirm")}>{t("machine.keep")}</Button>
				<Button onClick={() => act(t("machine.back"), "POST", "/appliance/network/revert")}>{t("machine.goBack")}</Button>
			</div>
		</div>
	);
}

/** What goes with the machine: it can not be tried out, so it is said. */
function Depends() {
	const sessions = useResource<Session[]>("/sessions").data ?? [], clients = useResource<NfsClient[]>("/nfs-clients").data ?? [];
	const primary = (useResource<Group[]>("/replica/groups").data ?? []).filter((one) => one.role === "primary").map((one) => one.name);
	const staged = useResource<BackupState>("/backup").data?.staged, release = useResource<UpdateState>("/appliance/update").data;
	const of = (names: string[]) => [...new Set(names)].slice(0, 8).join(", ");
	return (
		<ul class="plain">
			{sessions.length > 0 && <li>{t("machine.offSessions", { count: number(sessions.length), hosts: of(sessions.map((one) => one.initiator)) })}</li>}
			{clients.length > 0 && <li>{t("machine.offClients", { count: number(clients.length), hosts: of(clients.map((one) => one.address)) })}</li>}
			{!sessions.length && !clients.length && <li>{t("machine.offNobody")}</li>}
			{primary.length > 0 && <li>{t("machine.offGroups", { groups: of(primary) })}</li>}
			{staged && <li>{t("machine.offStaged")}</li>}
			{release?.next && release.next !== release.slot && <li>{t("machine.offRelease", { slot: release.next })}</li>}
		</ul>
	);
}

type Open = "names" | "restart" | "poweroff" | { link: Link | null } | null;

export function Machine() {
	const { data, problem } = useResource<Appliance>(can("operator") ? "/appliance" : null);
	const [open, setOpen] = useState<Open>(null);
	const close = () => setOpen(null);
	if (!data || problem?.code === "no_appliance") return null;
	const settings = data.settings, off = open === "restart" || open === "poweroff" ? open : null;
	return (
		<>
			<Card title={t("machine.title")} actions={can("admin") && <Button onClick={() => setOpen("names")}>{t("machine.change")}</Button>}>
				{data.trial && <Trial seconds={data.trial_seconds} />}
				{!!data.changed_cards?.length && <div class="caution" role="alert"><p>{t("machine.cards", { ports: data.changed_cards.map((one) => `${one.port} (${one.was} → ${one.is || "–"})`).join(", ") })}</p></div>}
				<Facts rows={[
					[t("machine.name"), settings.name],
					[t("machine.zone"), settings.timezone],
					[t("machine.servers"), settings.time_servers.join(", ") || t("machine.debian")],
					[t("machine.dns"), settings.dns.join(", ") || "–"],
				]} />
				{settings.links.length > 0 && <Table caption={t("machine.network")} rows={settings.links} id={(row) => row.name} columns={[
					{ key: "name", title: t("machine.linkName"), show: (row) => <span class="name"><strong>{row.name}</strong><small>{maybe(`link.${row.kind}`) ?? row.kind}{row.vlan ? ` ${row.parent}.${row.vlan}` : ""}{row.members ? ` ${row.members.join(" + ")}` : ""}</small></span> },
					{ key: "addresses", title: t("machine.addresses"), show: (row) => <span class="list mono">{row.addresses.map((one) => <span key={one}>{one}</span>)}{row.ipv4 === "dhcp" && <Badge tone="quiet">DHCP</Badge>}</span> },
					{ key: "does", title: "", show: (row) => <Button kind="quiet" role="admin" icon="edit" label={t("machine.link", { name: row.name })} onClick={() => setOpen({ link: row })} /> },
				]} />}
				{can("admin") && <div class="buttons start">
					<Button onClick={() => setOpen({ link: null })}>{t("machine.newLink")}</Button>
					<Button kind="danger" onClick={() => setOpen("restart")}>{t("machine.restart")}</Button>
					<Button kind="danger" onClick={() => setOpen("poweroff")}>{t("machine.poweroff")}</Button>
				</div>}
				{open === "names" && <Names settings={settings} onClose={close} />}
				{open && typeof open === "object" && <EditLink settings={settings} link={open.link} onClose={close} />}
				{off && <DeleteDialog untried title={off === "restart" ? t("machine.restart") : t("machine.poweroff")} name={settings.name} button={off === "restart" ? t("machine.restart") : t("machine.poweroff")} onClose={close} text={<><p>{t(off === "restart" ? "machine.restartText" : "machine.offText")}</p><Depends /></>} submit={() => call("POST", `/appliance/${off}`, {})} />}
			</Card>
			<Update restart={() => setOpen("restart")} />
		</>
	);
}
