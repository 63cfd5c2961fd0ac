// SPDX-License-Identifier: Apache-2.0
import { useState } from "preact/hooks";
import { call, can, part } from "../api";
import { bytes, number, parseSize } from "../format";
import { useResource } from "../live";
import { actAsked, Badge, Button, Card, Check, Empty, Facts, FormDialog, Input, Page, Select, SizeInput, Snippet, SpaceBar, StateBadge, Table, Trouble, useAction, Waiting } from "../parts";
import { go, to } from "../route";
import { t } from "../text";
import type { Directory as DirectoryType, Pool, Share as ShareType, ShareAccess, ShareRule } from "../types";
import { DeleteToBin } from "./bin";
import { LatencyChart } from "./charts";
import { Directories } from "./directories";
import { Images } from "./images";
import { NfsClients, NfsHosts, Users } from "./nfs";
import { NfsTls } from "./nfstls";
import { Copies, copiesOf, takesVolumes } from "./pools";

const pathOf = (pool: string, name: string) => `/shares/${part(pool)}/${part(name)}`;

function Create({ pools, onClose }: { pools: Pool[]; onClose: () => void }) {
	const [pool, setPool] = useState(pools[0]?.name ?? "");
	const [name, setName] = useState("");
	const [size, setSize] = useState("");
	const [unit, setUnit] = useState("G");
	const [client, setClient] = useState("");
	const [twice, setTwice] = useState(false);
	const home = pools.find((one) => one.name === pool);
	const quota = size === "" ? undefined : parseSize(size, unit);
	return (
		<FormDialog title={t("shares.create")} button={t("action.create")} ready={name !== "" && quota !== null} onClose={onClose} submit={async () => {
			await call("POST", "/shares", { pool, name, ...(quota && { quota }), ...(twice && home?.mirror_size_bytes && { mirror: true }) });
			if (client) await call("POST", `${pathOf(pool, name)}/rules`, { client });
			go("shares", pool, name);
		}}>
			<Input label={t("field.name")} value={name} onValue={setName} autoFocus />
			<SizeInput label={t("shares.quota")} value={size} unit={unit} onValue={setSize} onUnit={setUnit} hint={t("shares.quotaHint")} problem={quota === null ? t("size.bad") : null} />
			<Select label={t("field.pool")} value={pool} onValue={setPool} options={pools.map((one) => [one.name, one.name])} />
			<Copies pool={home} value={twice} onValue={setTwice} />
			<Input label={t("shares.client")} value={client} onValue={setClient} placeholder="10.0.0.0/24" hint={t("shares.clientHint")} />
		</FormDialog>
	);
}

export function Shares() {
	const { data, problem } = useResource<ShareType[]>("/shares");
	const pools = (useResource<Pool[]>("/pools").data ?? []).filter(takesVolumes);
	const [creating, setCreating] = useState(false);
	return (
		<Page title={t("nav.shares")} lead={t("shares.lead")} actions={pools.length > 0 && <Button role="provisioner" icon="plus" onClick={() => setCreating(true)}>{t("shares.create")}</Button>}>
			{!data ? <Waiting problem={problem} /> : data.length === 0 ? (
				<Card><Empty icon="share" title={t("shares.none")} text={t("shares.noneText")} /></Card>
			) : (
				<Card flush>
					<Table caption={t("nav.shares")} rows={data} id={(row) => `${row.pool}/${row.name}`} find={(row) => row.name} columns={[
						{ key: "name", title: t("field.name"), text: (row) => row.name, show: (row) => <a class="name" href={to("shares", row.pool, row.name)}>{row.name}</a> },
						{ key: "pool", title: t("field.pool"), text: (row) => row.pool, show: (row) => <a href={to("pools", row.pool)}>{row.pool}</a> },
						{ key: "state", title: t("field.state"), text: (row) => row.state, show: (row) => <StateBadge state={row.state} /> },
						{ key: "used", title: t("volumes.used"), number: true, text: (row) => row.used_bytes ?? 0, show: (row) => bytes(row.used_bytes ?? 0) },
						{ key: "quota", title: t("shares.quota"), number: true, text: (row) => row.quota_bytes ?? 0, show: (row) => row.quota_bytes ? bytes(row.quota_bytes) : "–" },
						{ key: "files", title: t("shares.files"), number: true, text: (row) => row.files ?? 0, show: (row) => number(row.files ?? 0) },
					]} />
				</Card>
			)}
			<Directories />
			{data && data.length > 0 && <><NfsClients /><NfsHosts /></>}
			<NfsTls />
			{creating && <Create pools={pools} onClose={() => setCreating(false)} />}
		</Page>
	);
}

// --- one ---------------------------------------------------------------------------------------

function Allow({ path, fixed, onClose }: { path: string; fixed?: boolean; onClose: () => void }) {
	const [client, setClient] = useState("");
	const [readOnly, setReadOnly] = useState(false);
	const [insecure, setInsecure] = useState(false);
	const [squash, setSquash] = useState("root");
	const [security, setSecurity] = useState("any");
	return (
		<FormDialog title={t("shares.allow")} button={t("shares.allow")} ready={client !== ""} onClose={onClose} submit={() => call("POST", `${path}/rules`, { client, read_only: fixed || readOnly, insecure, squash, security })}>
			<Input label={t("shares.client")} value={client} onValue={setClient} placeholder="10.0.0.0/24" hint={t("shares.clientRule")} autoFocus />
			<Select label={t("shares.squash")} value={squash} onValue={setSquash} options={[["root", t("squash.root")], ["none", t("squash.none")], ["all", t("squash.all")]]} hint={t("shares.squashHint")} />
			<Select label={t("shares.security")} value={security} onValue={setSecurity} options={[["any", t("security.any")], ["tls", t("security.tls")], ["mtls", t("security.mtls")]]} hint={t("shares.securityHint")} />
			{!fixed && <Check label={t("shares.readOnly")} value={readOnly} onValue={setReadOnly} />}
			<Check label={t("shares.insecure")} value={insecure} onValue={setInsecure} />
		</FormDialog>
	);
}

/** Of a share; or of a directory, which is the administrator's and always read-only. */
export function Rules({ path, fixed }: { path: string; fixed?: boolean }) {
	const { data, problem } = useResource<ShareRule[]>(`${path}/rules`);
	const [adding, setAdding] = useState(false);
	const role = fixed ? "admin" : "provisioner";
	const squash = (rule: ShareRule) => rule.squash === "all" ? t("squash.all") : rule.squash === "none" ? t("squash.none") : t("squash.root");
	return (
		<Card flush title={t("shares.rules")} actions={<Button role={role} icon="plus" onClick={() => setAdding(true)}>{t("shares.allow")}</Button>}>
			{!data ? <Waiting problem={problem} /> : data.length === 0 ? <p class="none">{t("shares.noRules")}</p> : (
				<Table caption={t("shares.rules")} rows={data} id={(row) => row.client} columns={[
					{ key: "client", title: t("shares.client"), show: (row) => <span class="mono name">{row.client}</span> },
					...(fixed ? [] : [{ key: "mode", title: t("shares.mode"), show: (row: ShareRule) => row.read_only ? <Badge tone="quiet">{t("shares.ro")}</Badge> : <Badge tone="good">{t("shares.rw")}</Badge> }]),
					{ key: "squash", title: t("shares.squash"), show: squash },
					{ key: "security", title: t("shares.security"), show: (row) => row.security === "mtls" ? t("security.mtls") : row.security === "tls" ? t("security.tls") : t("security.any") },
					{ key: "does", title: "", show: (row) => <Button kind="quiet" role={role} icon="trash" label={t("rules.remove", { name: row.client })} onClick={() => actAsked(t("rules.remove", { name: row.client }), t("rules.removed"), "DELETE", `${path}/rules`, { client: row.client })} /> },
				]} />
			)}
			{adding && <Allow path={path} fixed={fixed} onClose={() => setAdding(false)} />}
		</Card>
	);
}

/** Why may, or may not, a client use it? */
export function Explain({ path }: { path: string }) {
	const [client, setClient] = useState("");
	const [answer, setAnswer] = useState<ShareAccess | null>(null);
	const action = useAction();
	return (
		<Card title={t("shares.explain")}>
			<form class="inline" onSubmit={(event) => {
				event.preventDefault();
				setAnswer(null);
				void action.run(async () => setAnswer(await call("GET", `${path}/explain/${part(client.trim())}`)));
			}}>
				<Input label={t("shares.explainClient")} value={client} onValue={setClient} placeholder="10.0.0.7" />
				<Button submit busy={action.busy} disabled={!client.trim()}>{t("shares.explainGo")}</Button>
			</form>
			<Trouble problem={action.problem} />
			{answer && (
				<div class={`verdict ${answer.allowed ? "good" : "bad"}`} role="status">
					<strong>{answer.allowed ? (answer.read_only ? t("shares.mayRead") : t("shares.mayWrite")) : t("shares.mayNot")}</strong>
					<p lang="en">{answer.reason}</p>
				</div>
			)}
		</Card>
	);
}

function Quota({ share, path, onClose }: { share: ShareType; path: string; onClose: () => void }) {
	const [size, setSize] = useState(share.quota_bytes ? String(share.quota_bytes / 2 ** 30) : "");
	const [unit, setUnit] = useState("G");
	const quota = size === "" ? 0 : parseSize(size, unit);
	return (
		<FormDialog title={t("shares.quota")} button={t("action.save")} ready={quota !== null} onClose={onClose} submit={() => call("PATCH", path, { quota })}>
			<SizeInput label={t("shares.quota")} value={size} unit={unit} onValue={setSize} onUnit={setUnit} hint={t("shares.quotaHint")} problem={quota === null ? t("size.bad") : null} />
		</FormDialog>
	);
}

/** A directory of the machine. */
export function Directory({ name }: { name: string }) {
	const path = `/directories/${part(name)}`;
	const { data, problem } = useResource<DirectoryType>(path);
	const [removing, setRemoving] = useState(false);
	const back = { href: to("shares"), text: t("nav.shares") };
	if (!data) return <Page title={name} back={back}><Waiting problem={problem} /></Page>;
	const host = location.hostname;
	return (
		<Page title={name} back={back} lead={<><StateBadge state={data.state} /> <span class="mono">{data.path}</span> <span lang="en">{data.reason}</span></>} actions={<Button kind="danger" role="admin" onClick={() => setRemoving(true)}>{t("directories.remove")}</Button>}>
			<div class="columns">
				<div class="stack">
					<Rules path={path} fixed />
					<Card title={t("shares.mount")}>
						<Snippet label={t("shares.mount")} text={`mount -t nfs -o ro,vers=4.1 ${host}:/${name} /mnt/${name}`} />
						<p class="hint">XCP-ng</p>
						<Snippet label="XCP-ng" text={`xe sr-create name-label="${name}" type=iso shared=true content-type=iso \\\n  device-config:location=${host}:/${name}`} />
					</Card>
				</div>
				<div class="stack"><LatencyChart path={`${path}/latency`} /><Explain path={path} /></div>
			</div>
			{removing && <FormDialog title={t("directories.removeTitle", { name })} button={t("directories.remove")} kind="danger" onClose={() => setRemoving(false)} submit={async () => {
				await call("DELETE", path);
				go("shares");
			}}><p class="prose">{t("directories.removeText")}</p></FormDialog>}
		</Page>
	);
}

export function Share({ pool, name }: { pool: string; name: string }) {
	const path = pathOf(pool, name);
	const { data, problem } = useResource<ShareType>(path);
	const [open, setOpen] = useState<"quota" | "delete" | null>(null);
	const close = () => setOpen(null);
	const back = { href: to("shares"), text: t("nav.shares") };
	if (!data) return <Page title={name} back={back}><Waiting problem={problem} /></Page>;
	const host = location.hostname;
	return (
		<Page title={name} back={back} lead={<><StateBadge state={data.state} /> {data.reason}</>} actions={can("provisioner") && <>
			<a class="button plain" href={to("snapshots", pool, name)}>{t("snapshots.title")}</a>
			<Button onClick={() => setOpen("quota")}>{t("shares.quotaChange")}</Button>
			<Button kind="danger" onClick={() => setOpen("delete")}>{t("action.delete")}</Button>
		</>}>
			<div class="columns">
				<div class="stack">
					{data.state === "online" && <Images share={path} />}
					<Rules path={path} />
					<Card title={t("shares.mount")}>
						<Snippet label={t("shares.mount")} text={`mount -t nfs -o vers=4.1 ${host}:/${name} /mnt/${name}`} />
						<p class="hint">XCP-ng</p>
						<Snippet label="XCP-ng" text={`xe sr-create name-label="${name}" type=nfs shared=true content-type=user \\\n  device-config:server=${host} device-config:serverpath=/${name} device-config:nfsversion=4.1`} />
						<p class="hint">Proxmox VE</p>
						<Snippet label="Proxmox VE" text={`pvesm add nfs ${name} --server ${host} --export /${name} --options vers=4.1 --content images,iso,backup`} />
					</Card>
				</div>
				<div class="stack">
					<Card title={t("pools.space")}>
						<SpaceBar used={data.used_bytes ?? 0} size={data.quota_bytes || (data.used_bytes ?? 0) * 4 || 1} label={t("volumes.usedOf", { name })} />
						<Facts rows={[
							[t("volumes.used"), bytes(data.used_bytes ?? 0)],
							[t("shares.quota"), data.quota_bytes ? bytes(data.quota_bytes) : t("shares.noQuota")],
							[t("shares.files"), number(data.files ?? 0)],
							data.mirror !== undefined && [t("copies.title"), copiesOf(data.mirror)],
							[t("field.pool"), <a href={to("pools", pool)}>{pool}</a>],
						]} />
					</Card>
					{data.state === "online" && <LatencyChart path={`${path}/latency`} />}
					<Explain path={path} />
					{data.state === "online" && <Users path={path} />}
				</div>
			</div>
			{open === "quota" && <Quota share={data} path={path} onClose={close} />}
			{open === "delete" && <DeleteToBin title={t("shares.delete", { name })} name={name} pool={pool} path={path} onClose={close} text={t("shares.deleteText", { files: number(data.files ?? 0) })} done={t("shares.deleted", { name })} onDone={() => go("shares")} />}
		</Page>
	);
}
