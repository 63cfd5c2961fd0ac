// SPDX-License-Identifier: Apache-2.0
// What was deleted and can be had back for a while.
import { useEffect, useState } from "preact/hooks";
import { call, can, part } from "../api";
import { bytes, duration, time } from "../format";
import { useResource } from "../live";
import { Badge, Button, Card, Check, DeleteDialog, Empty, Facts, FormDialog, Input, notice, Page, Table, Waiting } from "../parts";
import { to } from "../route";
import { t } from "../text";
import type { Binned, Deleted, Pool, Snapshot } from "../types";

const pathOf = (one: Binned) => `/bin/${part(one.pool)}/${one.id}`;
const MOST = 8760;

/** A volume or a share goes: into the bin, unless it is to go at once. */
export function DeleteToBin({ title, name, pool, path, text, done, onClose, onDone }: { title: string; name: string; pool: string; path: string; text: string; done: string; onClose: () => void; onDone?: () => void }) {
	const hours = useResource<Pool[]>("/pools").data?.find((one) => one.name === pool)?.undelete_hours ?? 0;
	const snapshots = useResource<Snapshot[]>(`/volumes/${part(pool)}/${part(name)}/snapshots`).data?.length ?? 0;
	const [now, setNow] = useState(false);
	const [all, setAll] = useState(false);
	const query = [hours > 0 && !now && "to_bin=1", all && "snapshots=1"].filter(Boolean).join("&");
	return (
		<DeleteDialog title={title} name={name} button={t("action.delete")} onClose={onClose}
			text={<>
				<p>{hours && !now ? t("bin.goes", { time: duration(hours * 3600) }) : text}</p>
				{snapshots > 0 && <Check label={t("bin.withSnapshots", { count: snapshots })} value={all} onValue={setAll} />}
				{hours > 0 && <Check label={t("bin.now")} value={now} onValue={setNow} />}
			</>}
			submit={async () => {
				const answer = await call<Deleted>("DELETE", path + (query && `?${query}`));
				notice(answer.until ? t("bin.gone", { name, until: time(answer.until * 1000) }) : done);
				onDone?.();
			}} />
	);
}

function Restore({ one, onClose }: { one: Binned; onClose: () => void }) {
	const [name, setName] = useState(one.name);
	return (
		<FormDialog title={t("bin.restore", { name: one.name })} button={t("bin.restoreButton")} ready={name !== ""} onClose={onClose} submit={async () => {
			await call("POST", `${pathOf(one)}/restore`, name === one.name ? {} : { name });
			notice(t("bin.restored", { name }));
		}}>
			<p class="prose">{one.kind === "share" ? t("bin.restoreShare") : t("bin.restoreVolume")}</p>
			<Input label={t("field.name")} value={name} onValue={setName} hint={t("bin.nameHint")} />
		</FormDialog>
	);
}

function Hours({ pool, onClose }: { pool: Pool; onClose: () => void }) {
	const [hours, setHours] = useState(String(pool.undelete_hours));
	const wanted = /^\d{1,4}$/.test(hours) ? parseInt(hours, 10) : -1;
	const bad = wanted < 0 || wanted > MOST;
	return (
		<FormDialog title={t("bin.set", { name: pool.name })} button={t("action.save")} ready={!bad} onClose={onClose} submit={() => call("PATCH", `/pools/${part(pool.name)}`, { undelete_hours: wanted })}>
			<Input label={t("bin.hours")} inputMode="numeric" value={hours} onValue={setHours} problem={bad ? t("bin.hoursBad", { most: MOST }) : null} hint={t("bin.hoursHint")} autoFocus />
		</FormDialog>
	);
}

/** So much time is left, as of now. */
function Left({ until }: { until: number }) {
	const [now, setNow] = useState(Date.now());
	useEffect(() => {
		const timer = setInterval(() => setNow(Date.now()), 1000);
		return () => clearInterval(timer);
	}, []);
	const left = until - now / 1000;
	return <span title={time(until * 1000)}>{left > 0 ? duration(left) : t("bin.due")}</span>;
}

function Settings({ pools, onSet, onEmpty }: { pools: Pool[]; onSet: (pool: Pool) => void; onEmpty: (pool: Pool) => void }) {
	return (
		<Card title={t("bin.kept")}>
			{pools.map((pool) => (
				<div key={pool.name} class="setting">
					<div>
						<strong><a href={to("pools", pool.name)}>{pool.name}</a></strong>
						<Facts rows={[
							[t("bin.keeps"), pool.undelete_hours ? duration(pool.undelete_hours * 3600) : t("bin.off")],
							[t("bin.holds"), t("bin.holdsText", { count: pool.bin_volumes ?? 0, used: bytes(pool.bin_used_bytes ?? 0) })],
						]} />
					</div>
					<div class="row-actions">
						<Button role="admin" onClick={() => onSet(pool)}>{t("bin.change")}</Button>
						{(pool.bin_volumes ?? 0) > 0 && <Button role="provisioner" kind="danger" onClick={() => onEmpty(pool)}>{t("bin.emptyButton")}</Button>}
					</div>
				</div>
			))}
		</Card>
	);
}

type Open = { what: "restore" | "delete"; one: Binned } | { what: "set" | "empty"; pool: Pool } | null;

export function Bin() {
	const { data, problem } = useResource<Binned[]>("/bin");
	const pools = (useResource<Pool[]>("/pools").data ?? []).filter((pool) => pool.undelete_hours !== undefined);
	const [open, setOpen] = useState<Open>(null);
	const close = () => setOpen(null);
	const rows = [...(data ?? [])].sort((a, b) => b.deleted - a.deleted);
	return (
		<Page title={t("nav.bin")} lead={t("bin.lead")}>
			{!data ? <Waiting problem={problem} /> : rows.length === 0 ? (
				<Card><Empty icon="trash" title={t("bin.none")} text={t("bin.noneText")} /></Card>
			) : (
				<Card flush>
					<Table caption={t("nav.bin")} rows={rows} id={(row) => row.id} find={(row) => `${row.name} ${row.pool} ${row.by}`} columns={[
						{ key: "name", title: t("field.name"), text: (row) => row.name, show: (row) => <span class="name">{row.name}<small>{row.kind === "share" ? t("bin.share") : t("bin.volume")}{row.snapshots > 0 && ` · ${t("bin.snapshots", { count: row.snapshots })}`}</small></span> },
						{ key: "pool", title: t("field.pool"), text: (row) => row.pool, show: (row) => <a href={to("pools", row.pool)}>{row.pool}</a> },
						{ key: "used", title: t("volumes.used"), number: true, text: (row) => row.used_bytes ?? 0, show: (row) => bytes(row.used_bytes ?? 0) },
						{ key: "deleted", title: t("bin.deleted"), text: (row) => row.deleted, show: (row) => <span class="name">{time(row.deleted * 1000)}<small>{row.by}</small></span> },
						{ key: "left", title: t("bin.left"), text: (row) => row.until, show: (row) => row.reason ? <><Badge tone="warn">{t("bin.stuck")}</Badge><small class="reason" lang="en">{row.reason}</small></> : <Left until={row.until} /> },
						{ key: "does", title: "", show: (row) => can("provisioner") && (
							<div class="row-actions">
								<Button label={t("bin.restore", { name: row.name })} onClick={() => setOpen({ what: "restore", one: row })}>{t("bin.restoreButton")}</Button>
								<Button kind="quiet" icon="trash" label={t("bin.delete", { name: row.name })} onClick={() => setOpen({ what: "delete", one: row })} />
							</div>
						) },
					]} />
				</Card>
			)}
			{pools.length > 0 && <Settings pools={pools} onSet={(pool) => setOpen({ what: "set", pool })} onEmpty={(pool) => setOpen({ what: "empty", pool })} />}
			{open?.what === "restore" && <Restore one={open.one} onClose={close} />}
			{open?.what === "set" && <Hours pool={open.pool} onClose={close} />}
			{open?.what === "delete" && <DeleteDialog title={t("bin.delete", { name: open.one.name })} name={open.one.name} button={t("bin.deleteButton")} onClose={close}
				text={<p>{t("bin.deleteText", { used: bytes(open.one.used_bytes ?? 0) })}</p>}
				submit={async () => { await call("DELETE", pathOf(open.one)); notice(t("bin.deletedDone", { name: open.one.name })); }} />}
			{open?.what === "empty" && <DeleteDialog title={t("bin.empty", { name: open.pool.name })} name={open.pool.name} button={t("bin.emptyButton")} onClose={close}
				text={<p>{t("bin.emptyText", { count: open.pool.bin_volumes ?? 0, used: bytes(open.pool.bin_used_bytes ?? 0) })}</p>}
				submit={async () => { await call("DELETE", `/bin/${part(open.pool.name)}`); notice(t("bin.emptied")); }} />}
		</Page>
	);
}
