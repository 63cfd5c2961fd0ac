// SPDX-License-Identifier: Apache-2.0
import { useState } from "preact/hooks";
import { call, can, getTagged, part } from "../api";
import { bytes, parseSize, percent } from "../format";
import { Icon } from "../icons";
import { useResource } from "../live";
import { actAsked, Badge, Button, Card, Check, Dialog, Empty, Facts, FormDialog, Input, notice, Page, Copy, Select, SizeInput, SpaceBar, Table, Trouble, useAction, Waiting } from "../parts";
import { to } from "../route";
import { t } from "../text";
import type { Pool, Share, Volume } from "../types";
import { DeleteToBin } from "./bin";
import { LatencyChart } from "./charts";
import { Moves, MoveTo } from "./moves";
import { Copies, copiesOf, takesVolumes } from "./pools";

const pathOf = (volume: Volume) => `/volumes/${part(volume.pool)}/${part(volume.name)}`;
const shortTarget = (iqn: string) => iqn.replace(/^.*:/, "");

/** A size as a form holds it: a number and its unit; nothing is none. */
function sizeOf(count: number): [string, string] {
	const unit = count && count % 2 ** 40 === 0 ? "T" : count % 2 ** 30 === 0 ? "G" : "M";
	return [count ? String(count / 1024 ** "BKMGT".indexOf(unit)) : "", unit];
}

/** What is promised to a volume and what it may take, in a form; null: that is no size. */
function useSpace(reserve = 0, quota = 0) {
	const promised = useState(sizeOf(reserve)), most = useState(sizeOf(quota));
	const read = ([text, unit]: [string, string]) => (/^\s*0*\s*$/.test(text) ? 0 : parseSize(text, unit));
	return { promised, most, reserve: read(promised[0]), quota: read(most[0]) };
}

function Space({ space, taken }: { space: ReturnType<typeof useSpace>; taken?: string }) {
	const [[reserve, reserveUnit], setReserve] = space.promised, [[quota, quotaUnit], setQuota] = space.most;
	return (
		<>
			<SizeInput label={t("volumes.reserve")} field="reserve" value={reserve} unit={reserveUnit} onValue={(text) => setReserve([text, reserveUnit])} onUnit={(unit) => setReserve([reserve, unit])} problem={space.reserve === null ? t("size.bad") : null} hint={t("volumes.reserveHint")} />
			<SizeInput label={t("volumes.quota")} field="quota" value={quota} unit={quotaUnit} onValue={(text) => setQuota([text, quotaUnit])} onUnit={(unit) => setQuota([quota, unit])} problem={space.quota === null ? t("size.bad") : null} hint={taken ?? t("volumes.quotaHint")} />
		</>
	);
}
const spaceFields = ["reserve", "quota"];
const promises = (pool?: Pool) => !!pool?.features?.includes("reserves");

function Create({ pools, onClose }: { pools: Pool[]; onClose: () => void }) {
	const [pool, setPool] = useState(pools[0]?.name ?? "");
	const [name, setName] = useState("");
	const [size, setSize] = useState("100");
	const [unit, setUnit] = useState("G");
	const [checksum, setChecksum] = useState("standard");
	const [twice, setTwice] = useState(false);
	const space = useSpace();
	const home = pools.find((one) => one.name === pool);
	const wanted = parseSize(size, unit), spaced = promises(home), mirror = twice && !!home?.mirror_size_bytes;
	return (
		<FormDialog title={t("volumes.create")} button={t("action.create")} ready={name !== "" && wanted !== null && space.reserve !== null && space.quota !== null} fields={spaceFields} onClose={onClose} submit={async () => {
			await call("POST", "/volumes", { pool, name, size: wanted, checksum, ...(mirror && { mirror }), ...(spaced && space.reserve && { reserve: space.reserve }), ...(spaced && space.quota && { quota: space.quota }) });
			notice(t("volumes.created", { name }));
		}}>
			<Input label={t("field.name")} value={name} onValue={setName} autoFocus />
			<SizeInput label={t("field.size")} value={size} unit={unit} onValue={setSize} onUnit={setUnit} problem={wanted === null ? t("size.bad") : null} hint={t("newlun.thin")} />
			<Select label={t("field.pool")} value={pool} onValue={setPool} options={pools.map((one) => [one.name, one.name])} />
			<Copies pool={home} value={twice} onValue={setTwice} />
			<details>
				<summary>{t("volumes.more")}</summary>
				{spaced && <Space space={space} />}
				<Select label={t("volumes.checksum")} value={checksum} onValue={setChecksum} options={[["standard", t("checksum.standard")], ["strict", t("checksum.strict")], ["off", t("checksum.off")]]} hint={t("volumes.checksumHint")} />
			</details>
		</FormDialog>
	);
}

async function change(volume: Volume, body: unknown) {
	const { tag } = await getTagged<Volume>(pathOf(volume));
	await call("PATCH", pathOf(volume), body, { tag, step: true });
}

function Change({ volume, pool, onClose }: { volume: Volume; pool?: Pool; onClose: () => void }) {
	const [start, startUnit] = sizeOf(volume.size_bytes);
	const [size, setSize] = useState(start);
	const [unit, setUnit] = useState(startUnit);
	const space = useSpace(volume.reserve_bytes, volume.quota_bytes);
	const [name, setName] = useState(volume.name);
	const [shrink, setShrink] = useState(false);
	const [iops, setIops] = useState(String(volume.iops_limit || ""));
	const [rate, setRate] = useState(volume.bandwidth_limit_bytes ? String(volume.bandwidth_limit_bytes / 2 ** 20) : "");
	const bandwidth = rate === "" ? 0 : parseSize(rate, "M");
	const wanted = parseSize(size, unit);
	const smaller = wanted !== null && wanted < volume.size_bytes;
	return (
		<FormDialog title={t("volumes.change", { name: volume.name })} button={t("action.save")} fields={spaceFields} ready={wanted !== null && bandwidth !== null && space.reserve !== null && space.quota !== null && name !== "" && (!smaller || shrink)} onClose={onClose} submit={async () => {
			const limits: Record<string, unknown> = {};
			if ((parseInt(iops, 10) || 0) !== (volume.iops_limit ?? 0)) limits.iops = parseInt(iops, 10) || 0;
			if (bandwidth !== (volume.bandwidth_limit_bytes ?? 0)) limits.bandwidth = bandwidth;
			const shares = { ...(space.reserve !== volume.reserve_bytes && { reserve: space.reserve }), ...(space.quota !== volume.quota_bytes && { quota: space.quota }) };
			// One of the four at a time; the name last, for it is the address of the others. It
			// never has less than it reserves: that is changed before it shrinks, after it grows.
			if (Object.keys(limits).length) await change(volume, limits);
			if (smaller && Object.keys(shares).length) await change(volume, shares);
			if (wanted !== volume.size_bytes) await change(volume, smaller ? { size: wanted, shrink: true } : { size: wanted });
			if (!smaller && Object.keys(shares).length) await change(volume, shares);
			if (name !== volume.name) await change(volume, { name });
			notice(t("volumes.changed", { name }));
		}}>
			<Input label={t("field.name")} value={name} onValue={setName} />
			<SizeInput label={t("field.size")} value={size} unit={unit} onValue={setSize} onUnit={setUnit} problem={wanted === null ? t("size.bad") : null} hint={t("volumes.sizeHint")} />
			<div class="pair">
				<Input label={t("volumes.iops")} inputMode="numeric" value={iops} onValue={(text) => setIops(text.replace(/\D/g, ""))} hint={t("volumes.noLimit")} />
				<Input label={t("volumes.bandwidth")} value={rate} onValue={setRate} problem={bandwidth === null ? t("size.bad") : null} hint={t("volumes.noLimit")} />
			</div>
			{promises(pool) && <div class="pair"><Space space={space} taken={volume.quota_bytes > 0 ? t("volumes.quotaOf", { used: bytes(volume.quota_used_bytes), quota: bytes(volume.quota_bytes) }) : undefined} /></div>}
			{smaller && <div class="caution"><p>{t("volumes.shrinkText")}</p><Check label={t("volumes.shrink")} value={shrink} onValue={setShrink} /></div>}
		</FormDialog>
	);
}

function Delete({ volume, onClose }: { volume: Volume; onClose: () => void }) {
	if (volume.mapped.length) return (
		<Dialog title={t("volumes.inUse", { name: volume.name })} onClose={onClose}>
			<p class="prose">{t("volumes.inUseText")}</p>
			<ul class="plain">{volume.mapped.map((one) => <li key={one.target}><a href={to("targets", one.target)} onClick={onClose}>{shortTarget(one.target)}</a> · LUN {one.lun}</li>)}</ul>
			<div class="buttons"><Button kind="main" onClick={onClose}>{t("action.close")}</Button></div>
		</Dialog>
	);
	return (
		<DeleteToBin title={t("volumes.delete", { name: volume.name })} name={volume.name} pool={volume.pool} path={pathOf(volume)} onClose={onClose}
			text={t("volumes.deleteText", { used: bytes(volume.used_bytes) })} done={t("volumes.deleted", { name: volume.name })} />
	);
}

function Details({ volume, onClose }: { volume: Volume; onClose: () => void }) {
	const action = useAction();
	const rescan = async () => {
		const { size_bytes: size } = await call<Volume>("POST", `${pathOf(volume)}/rescan`, {});
		notice(size === volume.size_bytes ? t("volumes.sameSize", { name: volume.name }) : t("volumes.newSize", { name: volume.name, size: bytes(size) }));
	};
	return (
		<Dialog title={volume.name} onClose={onClose}>
			<Facts rows={[
				[t("field.pool"), volume.pool],
				[t("field.size"), bytes(volume.size_bytes)],
				!!volume.device && [t("devices.device"), <span class="mono name">{volume.device}</span>],
				[t("volumes.used"), `${bytes(volume.used_bytes)} (${percent(volume.used_bytes, volume.size_bytes)})`],
				!!volume.origin && [t("volumes.cloneOf"), <a href={to("snapshots", volume.pool, volume.origin.split("@")[0])}>{volume.origin}</a>],
				volume.reserve_bytes > 0 && [t("volumes.reserve"), bytes(volume.reserve_bytes)],
				volume.quota_bytes > 0 && [t("volumes.quota"), <div class="meter"><span>{t("volumes.quotaOf", { used: bytes(volume.quota_used_bytes), quota: bytes(volume.quota_bytes) })}</span><SpaceBar used={volume.quota_used_bytes} size={volume.quota_bytes} label={t("volumes.quotaUsed", { name: volume.name })} /></div>],
				volume.mirror !== undefined && [t("copies.title"), copiesOf(volume.mirror)],
				[t("volumes.checksum"), volume.checksum === "strict" ? t("checksum.strict") : volume.checksum === "off" ? t("checksum.off") : t("checksum.standard")],
				(volume.iops_limit ?? 0) > 0 && [t("volumes.iops"), String(volume.iops_limit)],
				(volume.bandwidth_limit_bytes ?? 0) > 0 && [t("volumes.bandwidth"), `${bytes(volume.bandwidth_limit_bytes ?? 0)}/s`],
				[t("volumes.serial"), <span class="mono name">{volume.serial}</span>],
				["NAA", <><span class="mono name">{volume.naa}</span><Copy small text={volume.naa} /></>],
				["UUID", <span class="mono name">{volume.uuid}</span>],
			]} />
			<LatencyChart path={`${pathOf(volume)}/latency`} />
			<Trouble problem={action.problem} />
			<div class="buttons">
				{volume.backend === "passthrough" && <Button kind="quiet" role="provisioner" busy={action.busy} onClick={() => action.run(rescan)}>{t("volumes.rescan")}</Button>}
				<Button kind="main" onClick={onClose}>{t("action.close")}</Button>
			</div>
		</Dialog>
	);
}

type Open = { what: "change" | "delete" | "details" | "move"; volume: Volume } | { what: "create" } | null;

export function Volumes() {
	const { data, problem } = useResource<Volume[]>("/volumes");
	const pools = (useResource<Pool[]>("/pools").data ?? []).filter(takesVolumes);
	const shares = useResource<Share[]>("/shares").data ?? [];
	const [open, setOpen] = useState<Open>(null);
	const close = () => setOpen(null);
	/** Pools that it can move to. */
	const awayTo = (volume: Volume) => volume.backend === "passthrough" ? [] : pools.filter((one) => one.name !== volume.pool);
	const shareOf = (volume: Volume) => shares.find((share) => share.pool === volume.pool && share.name === volume.name);
	return (
		<Page title={t("nav.volumes")} lead={t("volumes.lead")} actions={can("provisioner") && pools.length > 0 && <Button icon="plus" onClick={() => setOpen({ what: "create" })}>{t("volumes.create")}</Button>}>
			<Moves />
			{!data ? <Waiting problem={problem} /> : data.length === 0 ? (
				<Card><Empty icon="disk" title={t("volumes.none")} text={t("volumes.noneText")}>{can("provisioner") && <a class="button main" href={to("new")}>{t("nav.new")}</a>}</Empty></Card>
			) : (
				<Card flush>
					<Table caption={t("nav.volumes")} rows={data} id={(row) => row.uuid} find={(row) => `${row.name} ${row.pool} ${row.mapped.map((one) => one.target).join(" ")}`} columns={[
						{ key: "name", title: t("field.name"), text: (row) => row.name, show: (row) => <><button type="button" class="link name" onClick={() => setOpen({ what: "details", volume: row })}>{row.name}</button>{row.state === "standby" && <> <Badge tone="quiet">{t("volumes.standby")}</Badge></>}</> },
						{ key: "pool", title: t("field.pool"), text: (row) => row.pool, show: (row) => <a href={to("pools", row.pool)}>{row.pool}</a> },
						{ key: "size", title: t("field.size"), number: true, text: (row) => row.size_bytes, show: (row) => (shareOf(row) ? "–" : bytes(row.size_bytes)) },
						{ key: "used", title: t("volumes.used"), text: (row) => row.used_bytes, show: (row) => <div class="meter"><span>{bytes(row.used_bytes)}</span><SpaceBar used={row.used_bytes} size={shareOf(row)?.quota_bytes || row.size_bytes} label={t("volumes.usedOf", { name: row.name })} /></div> },
						{ key: "mapped", title: t("volumes.mapped"), text: (row) => row.mapped.length, show: (row) => row.mapped.length ? <span class="list">{row.mapped.map((one) => <a key={one.target + one.lun} href={to("targets", one.target)}>{shortTarget(one.target)}</a>)}</span> : shareOf(row) ? <a href={to("shares", row.pool, row.name)}>{t("volumes.share")}</a> : <Badge tone="quiet">{t("volumes.unmapped")}</Badge> },
						{ key: "does", title: "", show: (row) => can("provisioner") && !shareOf(row) && (
							<div class="row-actions">
								<a class="button quiet" href={to("snapshots", row.pool, row.name)} aria-label={t("snapshots.of", { name: row.name })} title={t("snapshots.of", { name: row.name })}><Icon name="snapshot" /></a>
								{row.state === "standby" && can("operator") && <Button kind="quiet" label={t("volumes.take", { name: row.name })} onClick={() => actAsked(t("volumes.take", { name: row.name }), t("volumes.taken", { name: row.name }), "POST", `${pathOf(row)}/take`, {}, t("volumes.takeText"))}>{t("volumes.takeIt")}</Button>}
								<Button kind="quiet" icon="edit" label={t("volumes.change", { name: row.name })} onClick={() => setOpen({ what: "change", volume: row })} />
								{can("operator") && awayTo(row).length > 0 && <Button kind="quiet" icon="move" label={t("moves.title", { name: row.name })} onClick={() => setOpen({ what: "move", volume: row })} />}
								<Button kind="quiet" icon="trash" label={t("volumes.delete", { name: row.name })} onClick={() => setOpen({ what: "delete", volume: row })} />
							</div>
						) },
					]} />
				</Card>
			)}
			{open?.what === "move" && <MoveTo volume={open.volume} pools={awayTo(open.volume)} onClose={close} />}
			{open?.what === "create" && <Create pools={pools} onClose={close} />}
			{open?.what === "change" && <Change volume={open.volume} pool={pools.find((one) => one.name === open.volume.pool)} onClose={close} />}
			{open?.what === "delete" && <Delete volume={open.volume} onClose={close} />}
			{open?.what === "details" && <Details volume={data?.find((one) => one.uuid === open.volume.uuid) ?? open.volume} onClose={close} />}
		</Page>
	);
}
