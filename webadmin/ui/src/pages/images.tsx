// SPDX-License-Identifier: Apache-2.0
// The images in a share: what is there, and more by dropping files onto the page.
import { useState } from "preact/hooks";
import { call, can, part } from "../api";
import { bytes, duration, percent, time } from "../format";
import { Icon } from "../icons";
import { useResource } from "../live";
import { Badge, Button, Card, Copy, DeleteDialog, notice, Progress, Table, Trouble, Waiting } from "../parts";
import { t } from "../text";
import type { Image } from "../types";
import { forget, sendFile, sending, tryAgain, type Sending } from "../upload";

export function Drop({ path, at, text, label }: { path: string; at?: string; text: string; label: string }) {
	const [over, setOver] = useState(false);
	const take = (list: FileList | null | undefined) => { for (const file of [...list ?? []].slice(0, at ? 1 : undefined)) sendFile(path, file, at); };
	return (
		<label class={over ? "drop over" : "drop"} onDragOver={(event) => { event.preventDefault(); setOver(true); }} onDragLeave={() => setOver(false)} onDrop={(event) => { event.preventDefault(); setOver(false); take(event.dataTransfer?.files); }}>
			<Icon name="upload" />
			<span><strong>{text}</strong> <span class="link">{t("images.choose")}</span></span>
			<input type="file" multiple={!at} class="unseen" aria-label={label} onChange={(event) => { take(event.currentTarget.files); event.currentTarget.value = ""; }} />
		</label>
	);
}

function rest(one: Sending): string {
	const seconds = (Date.now() - one.began) / 1000, rate = one.sent / Math.max(seconds, 0.1);
	return seconds > 2 && one.sent ? t("images.left", { rate: bytes(rate), time: duration((one.size - one.sent) / rate) }) : "";
}

export function Way({ one }: { one: Sending }) {
	const share = one.size ? one.sent / one.size : 1;
	return (
		<li>
			<div class="line"><span class="name"><strong>{one.name}</strong></span>
				<span class="row-actions">
					{one.state === "failed" && <Button kind="quiet" onClick={() => tryAgain(one.id)}>{t("images.goOn")}</Button>}
					<Button kind="quiet" icon="close" label={one.state === "done" || one.state === "failed" ? t("images.hide", { name: one.name }) : t("images.stop", { name: one.name })} onClick={() => forget(one.id)} />
				</span>
			</div>
			{one.state !== "done" && <Progress value={share} label={t("images.progress", { name: one.name })} />}
			<p class="small quiet" role="status">
				{one.state === "sending" && <>{percent(one.sent, one.size)} · {bytes(one.sent)} / {bytes(one.size)} {rest(one)}</>}
				{one.state === "checking" && t("images.checking")}
				{one.state === "done" && <><Badge tone="good">{t("images.checked")}</Badge> <span class="mono name">{one.sha256}</span></>}
			</p>
			{one.state === "failed" && <Trouble problem={one.problem} />}
		</li>
	);
}

function List({ path, images }: { path: string; images: Image[] }) {
	const [gone, setGone] = useState<Image | null>(null);
	return (
		<>
			<Table caption={t("images.title")} rows={images} id={(row) => `${row.name}${row.uploading}`} find={(row) => row.name} columns={[
				{ key: "name", title: t("field.name"), text: (row) => row.name, show: (row) => <span class="name"><strong>{row.name}</strong>{row.sha256 && <small class="mono">SHA-256 {row.sha256.slice(0, 16)}… <Copy small text={row.sha256} /></small>}</span> },
				{ key: "size", title: t("field.size"), number: true, text: (row) => row.size_bytes, show: (row) => bytes(row.size_bytes) },
				{ key: "modified", title: t("images.added"), text: (row) => row.modified, show: (row) => row.uploading ? <Badge tone="warn">{t("images.partly", { done: bytes(row.received_bytes ?? 0) })}</Badge> : time(row.modified * 1000) },
				{ key: "does", title: "", show: (row) => <Button kind="quiet" role="provisioner" icon="trash" label={t("images.delete", { name: row.name })} onClick={() => setGone(row)} /> },
			]} />
			{gone && <DeleteDialog title={t("images.delete", { name: gone.name })} name={gone.name} button={t("action.delete")} onClose={() => setGone(null)} text={<p>{gone.uploading ? t("images.deletePart") : t("images.deleteText")}</p>} submit={async () => { await call("DELETE", `${path}/${part(gone.name)}`); notice(t("images.deleted", { name: gone.name })); }} />}
		</>
	);
}

export function Images({ share }: { share: string }) {
	const path = `${share}/images`;
	const { data, problem } = useResource<Image[]>(path);
	const under = sending.value.filter((one) => one.path === path);
	// One that is on its way from here is not told twice.
	const shown = (data ?? []).filter((one) => !one.uploading || !under.some((other) => other.name === one.name && other.state !== "done"));
	return (
		<Card flush title={t("images.title")}>
			{can("provisioner") && <div class="drop-box"><Drop path={path} text={t("images.drop")} label={t("images.files")} />
				{under.length > 0 && <ul class="ways" aria-label={t("images.ways")}>{under.map((one) => <Way key={one.id} one={one} />)}</ul>}
			</div>}
			{!data ? <Waiting problem={problem} /> : shown.length === 0 ? <p class="none">{t("images.none")}</p> : <List path={path} images={shown} />}
		</Card>
	);
}
