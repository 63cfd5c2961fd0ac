// SPDX-License-Identifier: Apache-2.0
// Who uses shares: clients of NFSv4 with what they hold, and what the files of each user take.
import { useState } from "preact/hooks";
import { call, can, part } from "../api";
import { bytes, duration, number, parseSize } from "../format";
import { useResource } from "../live";
import { Badge, Button, Card, Dialog, FormDialog, Input, notice, SizeInput, Table, Waiting } from "../parts";
import { t } from "../text";
import type { NfsClient, NfsHost, ShareUser } from "../types";
import { LatencyChart } from "./charts";

function Release({ client, onClose }: { client: NfsClient; onClose: () => void }) {
	return (
		<FormDialog title={t("nfs.releaseTitle", { name: client.name })} button={t("nfs.release")} kind="danger" onClose={onClose} submit={async () => {
			await call("DELETE", `/nfs-clients/${part(client.id)}`);
			notice(t("nfs.released"));
		}}>
			<p class="prose">{t("nfs.releaseText", { opens: number(client.opens), locks: number(client.locks) })}</p>
		</FormDialog>
	);
}

export function NfsClients() {
	const { data, problem } = useResource<NfsClient[]>("/nfs-clients");
	const [open, setOpen] = useState<NfsClient | null>(null);
	return (
		<Card flush title={t("nfs.clients")}>
			{!data ? <Waiting problem={problem} /> : data.length === 0 ? <p class="none">{t("nfs.none")}</p> : (
				<Table caption={t("nfs.clients")} rows={data} id={(row) => row.id} find={(row) => `${row.name} ${row.address}`} columns={[
					{ key: "name", title: t("shares.client"), text: (row) => row.name, show: (row) => <span class="name">{row.name}<small class="mono">{row.address} · NFS {row.version}</small></span> },
					{ key: "opens", title: t("nfs.opens"), number: true, text: (row) => row.opens, show: (row) => number(row.opens) },
					{ key: "locks", title: t("nfs.locks"), number: true, text: (row) => row.locks, show: (row) => number(row.locks) },
					{ key: "delegations", title: t("nfs.delegations"), number: true, text: (row) => row.delegations, show: (row) => <>{number(row.delegations)}{row.recalled > 0 && <> <Badge tone="warn">{t("nfs.recalled", { count: row.recalled })}</Badge></>}</> },
					{ key: "silent", title: t("nfs.heard"), number: true, text: (row) => row.silent_seconds, show: (row) => t("nfs.ago", { time: duration(row.silent_seconds) }) },
					{ key: "does", title: "", show: (row) => <Button kind="quiet" role="operator" label={t("nfs.releaseTitle", { name: row.name })} onClick={() => setOpen(row)}>{t("nfs.release")}</Button> },
				]} />
			)}
			{open && <Release client={open} onClose={() => setOpen(null)} />}
		</Card>
	);
}

function HostLatency({ address, onClose }: { address: string; onClose: () => void }) {
	return (
		<Dialog title={address} onClose={onClose}>
			<LatencyChart path={`/nfs-hosts/${part(address)}/latency`} />
			<div class="buttons"><Button kind="main" onClick={onClose}>{t("action.close")}</Button></div>
		</Dialog>
	);
}

/** What each host has done over NFS, of whatever version. */
export function NfsHosts() {
	const { data, problem } = useResource<NfsHost[]>("/nfs-hosts", true);
	const [open, setOpen] = useState<string | null>(null);
	const done = (count: number, sum: number) => count ? <>{bytes(sum)} <small>{t("nfs.times", { count: number(count) })}</small></> : "–";
	return (
		<Card flush title={t("nfs.hosts")}>
			{!data ? <Waiting problem={problem} /> : data.length === 0 ? <p class="none">{t("nfs.none")}</p> : (
				<Table caption={t("nfs.hosts")} rows={data} id={(row) => row.address} find={(row) => row.address} columns={[
					{ key: "address", title: t("nfs.host"), text: (row) => row.address, show: (row) => <span class="mono name">{row.address}</span> },
					{ key: "read", title: t("chart.read"), number: true, text: (row) => row.read_bytes, show: (row) => done(row.reads, row.read_bytes) },
					{ key: "write", title: t("chart.write"), number: true, text: (row) => row.write_bytes, show: (row) => done(row.writes, row.write_bytes) },
					{ key: "others", title: t("nfs.others"), number: true, text: (row) => row.others + row.commits, show: (row) => number(row.others + row.commits) },
					{ key: "latency", title: t("chart.latencyShort"), show: (row) => <button type="button" class="link" aria-label={t("hosts.latencyOf", { name: row.address })} onClick={() => setOpen(row.address)}>{t("hosts.show")}</button> },
				]} />
			)}
			{open && <HostLatency address={open} onClose={() => setOpen(null)} />}
		</Card>
	);
}

function Limit({ path, user, onClose }: { path: string; user?: ShareUser; onClose: () => void }) {
	const [uid, setUid] = useState(user ? String(user.uid) : "");
	const [size, setSize] = useState(user?.limit_bytes ? String(user.limit_bytes / 2 ** 30) : "");
	const [unit, setUnit] = useState("G");
	const [files, setFiles] = useState(user?.limit_files ? String(user.limit_files) : "");
	const digits = (text: string) => text.replace(/\D/g, "");
	const limit = size === "" ? 0 : parseSize(size, unit);
	return (
		<FormDialog title={t("users.limit")} button={t("action.save")} ready={uid !== "" && limit !== null} onClose={onClose} submit={() => call("PUT", `${path}/users/${part(uid)}`, { limit, files: parseInt(files, 10) || 0 })}>
			<p class="prose">{t("users.limitText")}</p>
			{!user && <Input label="UID" inputMode="numeric" value={uid} onValue={(text) => setUid(digits(text))} autoFocus />}
			<SizeInput label={t("users.space")} value={size} unit={unit} onValue={setSize} onUnit={setUnit} hint={t("volumes.noLimit")} problem={limit === null ? t("size.bad") : null} />
			<Input label={t("shares.files")} inputMode="numeric" value={files} onValue={(text) => setFiles(digits(text))} hint={t("volumes.noLimit")} />
		</FormDialog>
	);
}

export function Users({ path }: { path: string }) {
	const { data, problem } = useResource<ShareUser[]>(`${path}/users`, true);
	const [open, setOpen] = useState<ShareUser | "new" | null>(null);
	return (
		<Card flush title={t("users.title")} actions={<Button role="provisioner" icon="plus" onClick={() => setOpen("new")}>{t("users.limit")}</Button>}>
			{!data ? <Waiting problem={problem} /> : data.length === 0 ? <p class="none">{t("users.none")}</p> : (
				<Table caption={t("users.title")} rows={data} id={(row) => row.uid} columns={[
					{ key: "uid", title: "UID", text: (row) => row.uid, show: (row) => <strong>{row.uid}</strong> },
					{ key: "used", title: t("volumes.used"), number: true, text: (row) => row.used_bytes, show: (row) => row.limit_bytes ? `${bytes(row.used_bytes)} / ${bytes(row.limit_bytes)}` : bytes(row.used_bytes) },
					{ key: "files", title: t("shares.files"), number: true, text: (row) => row.files, show: (row) => row.limit_files ? `${number(row.files)} / ${number(row.limit_files)}` : number(row.files) },
					{ key: "does", title: "", show: (row) => can("provisioner") && <Button kind="quiet" icon="edit" label={t("users.limitOf", { uid: row.uid })} onClick={() => setOpen(row)} /> },
				]} />
			)}
			{open && <Limit path={path} user={open === "new" ? undefined : open} onClose={() => setOpen(null)} />}
		</Card>
	);
}
