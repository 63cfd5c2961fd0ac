// SPDX-License-Identifier: Apache-2.0
// A LUN in one form: name, size, pool, who may connect.
import { useState } from "preact/hooks";
import { call } from "../api";
import { bytes, parseSize } from "../format";
import { useResource } from "../live";
import { Button, Card, Empty, Field, Input, Page, Select, SizeInput, Snippet, Trouble, useAction, Waiting } from "../parts";
import { go, to } from "../route";
import { t } from "../text";
import type { Host, Initiator, Pool, Provisioned } from "../types";

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

function Form({ pools }: { pools: Pool[] }) {
	const best = [...pools].sort((a, b) => (b.free_bytes ?? 0) - (a.free_bytes ?? 0))[0];
	const [name, setName] = useState("");
	const [size, setSize] = useState("100");
	const [unit, setUnit] = useState("G");
	const [pool, setPool] = useState(best.name);
	const [hosts, setHosts] = useState("");
	const action = useAction();
	const chosen = splitHosts(hosts);
	const wanted = parseSize(size, unit);
	const home = pools.find((one) => one.name === pool) ?? best;
	const badName = name !== "" && !/^[A-Za-z0-9][A-Za-z0-9._-]*$/.test(name);
	const over = wanted !== null && wanted > (home.free_bytes ?? 0);
	const ready = name !== "" && !badName && wanted !== null && chosen.length > 0;
	return (
		<form class="lun-form" onSubmit={(event) => {
			event.preventDefault();
			if (!ready) return;
			void action.run(async () => {
				const made = await call<Provisioned>("POST", "/provision", { purpose: "vm-disks", name, size: wanted, pool, hosts: chosen });
				go("connect", made.target);
			});
		}}>
			<Input label={t("newlun.name")} hint={t("newlun.nameHint")} problem={badName ? t("newlun.badName") : null} value={name} onValue={setName} autoFocus name="name" />
			<div class="pair">
				<SizeInput label={t("newlun.size")} value={size} unit={unit} onValue={setSize} onUnit={setUnit} problem={wanted === null ? t("size.bad") : null} hint={over ? t("newlun.over") : t("newlun.thin")} />
				<Select label={t("newlun.pool")} value={pool} onValue={setPool} options={pools.map((one) => [one.name, one.name])} hint={t("newlun.free", { free: bytes(home.free_bytes ?? 0), size: bytes(home.size_bytes ?? 0) })} />
			</div>
			<Field label={t("newlun.hosts")} hint={t("newlun.hostsHint")}>
				{(id, note) => <textarea id={id} name="hosts" aria-describedby={note} rows={3} spellcheck={false} placeholder={"iqn.1994-05.com.redhat:…\n10.0.0.0/24"} value={hosts} onInput={(event) => setHosts(event.currentTarget.value)} />}
			</Field>
			<Known chosen={chosen} onChange={(list) => setHosts(list.join("\n"))} />
			<Trouble problem={action.problem} />
			<details>
				<summary>{t("newlun.command")}</summary>
				<Snippet label="granary" text={`granary provision ${name || "NAME"} ${size}${unit} ${chosen.join(" ") || "HOST..."} --pool ${pool}`} />
				<Snippet label="curl" text={`curl -H "Authorization: Bearer $TOKEN" -H "Content-Type: application/json" \\\n  ${location.origin}/api/v1/provision \\\n  -d '${JSON.stringify({ purpose: "vm-disks", name: name || "NAME", size: `${size}${unit}`, pool, hosts: chosen })}'`} />
			</details>
			<div class="buttons start">
				<Button kind="main" submit busy={action.busy} disabled={!ready}>{t("newlun.go")}</Button>
				<p class="hint">{t("newlun.what")}</p>
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
	const usable = data?.filter((pool) => pool.state === "online") ?? [];
	return (
		<Page title={t("nav.new")} lead={t("newlun.lead")}>
			{!data ? <Waiting problem={problem} /> : usable.length === 0 ? (
				<Card><Empty icon="pool" title={t("newlun.noPool")} text={t("newlun.noPoolText")}><a class="button main" href={to("pools")}>{t("nav.pools")}</a></Empty></Card>
			) : (
				<div class="columns"><Card><Form pools={usable} /></Card><WhereNames /></div>
			)}
		</Page>
	);
}
