// SPDX-License-Identifier: Apache-2.0
// A LUN in one form: name, size, pool, who may connect.
import { useEffect, useState } from "preact/hooks";
import { call } from "../api";
import { bytes, parseSize } from "../format";
import { useResource } from "../live";
import { Button, Card, Empty, Field, Input, Page, Select, SizeInput, Snippet, Trouble, useAction, Waiting } from "../parts";
import { go, to } from "../route";
import { t } from "../text";
import type { Host, Initiator, Pool, Provisioned } from "../types";
import { Copies, takesVolumes } from "./pools";

export const splitHosts = (text: string) => [...new Set(text.split(/[\s,;，；]+/).filter(Boolean))];

/** Initiators that are known, and host groups, to be ticked. */
function Known({ chosen, onChange }: { chosen: string[]; onChange: (hosts: string[]) => void }) {
	const initiators = useResource<Initiator[]>("/initiators").data ?? [];
	const groups = (useResource<Host[]>("/hosts").data ?? []).filter((group) => group.initiators.length > 0);
	if (!initiators.length && !groups.length) return null;
	const toggle = (names: string[]) => onChange(names.every((name) => chosen.includes(name)) ? chosen.filter((name) => !names.includes(name)) : [...new Set([...chosen, ...names])]);
	return (
		<div class="chips" role="group" aria-label={t("newlun.known")}>
			{groups.map((group) => <button type="button" key={`g${group.name}`} class="chip group" aria-pressed={group.initiators.every((name) => chosen.includes(name))} onClick={() => toggle(group.initiators)}>{group.name}</button>)}
			{initiators.slice(0, 12).map((one) => <button type="button" key={one.initiator} class="chip" aria-pressed={chosen.includes(one.initiator)} onClick={() => toggle([one.initiator])}>{one.initiator}</button>)}
		</div>
	);
}

export type Purpose = "vm-disks" | "iso-library";

interface Dry { pool: string; target?: string; share?: string; path?: string; hosts: string[]; volume?: { name: string; size_bytes: number; mirror: boolean }; mirror?: boolean; quota_bytes?: number }

/** What one press would make, in words; nothing is made yet. */
function Would({ plan }: { plan: Dry }) {
	const lines = plan.volume ? [
		t("newlun.planVolume", { name: `${plan.pool}/${plan.volume.name}`, size: bytes(plan.volume.size_bytes) }),
		t("newlun.planTarget", { name: plan.target ?? "" }), t("newlun.planLun"),
	] : [
		t("newlun.planShare", { name: `${plan.pool}/${plan.share}`, size: bytes(plan.quota_bytes ?? 0) }), t("newlun.planExport", { path: plan.path ?? "" }),
	];
	if (plan.mirror || plan.volume?.mirror) lines.push(t("copies.two"));
	return (
		<ol class="diff" aria-label={t("newlun.plan")}>
			{[...lines, ...plan.hosts.map((name) => t("newlun.planHost", { name }))].map((line) => <li key={line} class="new"><b aria-hidden="true">+</b> {line}</li>)}
		</ol>
	);
}

function Form({ pools, purpose }: { pools: Pool[]; purpose: Purpose }) {
	const best = [...pools].sort((a, b) => (b.free_bytes ?? 0) - (a.free_bytes ?? 0))[0];
	const [name, setName] = useState("");
	const [size, setSize] = useState("100");
	const [unit, setUnit] = useState("G");
	const [pool, setPool] = useState(best.name);
	const [hosts, setHosts] = useState("");
	const [twice, setTwice] = useState(false);
	const [plan, setPlan] = useState<Dry | null>(null);
	const action = useAction();
	const library = purpose === "iso-library";
	const chosen = splitHosts(hosts);
	const wanted = parseSize(size, unit);
	const home = pools.find((one) => one.name === pool) ?? best;
	const badName = name !== "" && !/^[A-Za-z0-9][A-Za-z0-9._-]*$/.test(name);
	const mirror = twice && !!home.mirror_size_bytes, free = (mirror ? home.mirror_free_bytes : home.free_bytes) ?? 0;
	const over = wanted !== null && wanted > free;
	const ready = name !== "" && !badName && wanted !== null && chosen.length > 0;
	const body = { purpose, name, size: wanted, pool, hosts: chosen, ...(mirror && { mirror }) };
	useEffect(() => setPlan(null), [purpose, name, size, unit, pool, hosts, twice]);
	return (
		<form class="lun-form" onSubmit={(event) => {
			event.preventDefault();
			if (!ready) return;
			void action.run(async () => {
				const made = await call<Provisioned>("POST", "/provision", body);
				if (made.share) go("shares", made.pool, made.share);
				else go("connect", made.target ?? "");
			});
		}}>
			<Input label={t("newlun.name")} hint={t("newlun.nameHint")} problem={badName ? t("newlun.badName") : null} value={name} onValue={setName} autoFocus name="name" />
			<div class="pair">
				<SizeInput label={library ? t("newlun.quota") : t("newlun.size")} value={size} unit={unit} onValue={setSize} onUnit={setUnit} problem={wanted === null ? t("size.bad") : null} hint={over ? t("newlun.over") : t("newlun.thin")} />
				<Select label={t("newlun.pool")} value={pool} onValue={setPool} options={pools.map((one) => [one.name, one.name])} hint={t("newlun.free", { free: bytes(home.free_bytes ?? 0), size: bytes(home.size_bytes ?? 0) })} />
			</div>
			<Copies pool={home} value={twice} onValue={setTwice} />
			<Field label={library ? t("newlun.clients") : t("newlun.hosts")} hint={library ? t("newlun.clientsHint") : t("newlun.hostsHint")}>
				{(id, note) => <textarea id={id} name="hosts" aria-describedby={note} rows={3} spellcheck={false} placeholder={library ? "10.0.0.0/24" : "iqn.1994-05.com.redhat:…\n10.0.0.0/24"} value={hosts} onInput={(event) => setHosts(event.currentTarget.value)} />}
			</Field>
			{!library && <Known chosen={chosen} onChange={(list) => setHosts(list.join("\n"))} />}
			<Trouble problem={action.problem} />
			{plan && <Would plan={plan} />}
			<details>
				<summary>{t("newlun.command")}</summary>
				<Snippet label="granary" text={`granary provision ${name || "NAME"} ${size}${unit} ${chosen.join(" ") || "HOST..."} --pool ${pool}${mirror ? " --mirror" : ""}${library ? " --purpose iso-library" : ""}`} />
				<Snippet label="curl" text={`curl -H "Authorization: Bearer $TOKEN" -H "Content-Type: application/json" \\\n  ${location.origin}/api/v1/provision \\\n  -d '${JSON.stringify({ purpose, name: name || "NAME", size: `${size}${unit}`, pool, hosts: chosen, ...(mirror && { mirror }) })}'`} />
			</details>
			<div class="buttons start">
				<Button kind="main" submit busy={action.busy} disabled={!ready}>{library ? t("newlun.goLibrary") : t("newlun.go")}</Button>
				<Button disabled={!ready || action.busy} onClick={() => action.run(async () => setPlan(await call<Dry>("POST", "/provision?dry_run=1", body)))}>{t("newlun.dry")}</Button>
				<p class="hint">{library ? t("newlun.whatLibrary") : t("newlun.what")}</p>
			</div>
		</form>
	);
}

/** How a host tells its initiator's name. */
function WhereNames() {
	const rows: [string, string][] = [
		["XCP-ng / XenServer", "xe host-list params=uuid,name-label,iscsi_iqn"],
		["Linux / Proxmox / oVirt / KVM", "cat /etc/iscsi/initiatorname.iscsi"],
		["VMware ESXi", "esxcli iscsi adapter get -A vmhba64 | grep Name"],
		["Windows / Hyper-V", "(Get-InitiatorPort -ConnectionType iSCSI).NodeAddress"],
	];
	return (
		<Card title={t("newlun.where")}>
			<dl class="commands">{rows.map(([where, how]) => <div key={where}><dt>{where}</dt><dd><code>{how}</code></dd></div>)}</dl>
			<p class="hint">{t("newlun.whereNetwork")}</p>
		</Card>
	);
}

export function NewLun() {
	const { data, problem } = useResource<Pool[]>("/pools");
	const [purpose, setPurpose] = useState<Purpose>("vm-disks");
	const usable = data?.filter(takesVolumes) ?? [];
	return (
		<Page title={t("nav.new")} lead={t("newlun.lead")}>
			{!data ? <Waiting problem={problem} /> : usable.length === 0 ? (
				<Card><Empty icon="pool" title={t("newlun.noPool")} text={t("newlun.noPoolText")}><a class="button main" href={to("pools")}>{t("nav.pools")}</a></Empty></Card>
			) : (
				<>
					<div class="chips" role="group" aria-label={t("newlun.purpose")}>
						<button type="button" class="chip" aria-pressed={purpose === "vm-disks"} onClick={() => setPurpose("vm-disks")}>{t("newlun.disks")}</button>
						<button type="button" class="chip" aria-pressed={purpose === "iso-library"} onClick={() => setPurpose("iso-library")}>{t("newlun.library")}</button>
					</div>
					<div class="columns"><Card><Form pools={usable} purpose={purpose} /></Card>{purpose === "vm-disks" && <WhereNames />}</div>
				</>
			)}
		</Page>
	);
}
