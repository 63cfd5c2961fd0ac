// SPDX-License-Identifier: Apache-2.0
// Which release the appliance runs, and a new one: from a file or a URL, into the slot that does not run.
import { useState } from "preact/hooks";
import { call, can, Problem } from "../api";
import { bytes, duration } from "../format";
import { useResource } from "../live";
import { act, Badge, Button, Card, Check, Facts, FormDialog, Input, notice, Progress, Trouble } from "../parts";
import { maybe, t } from "../text";
import type { UpdateState } from "../types";
import { sending } from "../upload";
import { Drop, Way } from "./images";

const PATH = "/appliance/update", BUNDLE = `${PATH}/bundle`;

/** @name: of the bundle that was uploaded; else a URL is asked for. */
function Install({ name, onClose }: { name?: string; onClose: () => void }) {
	const [url, setUrl] = useState("");
	const [older, setOlder] = useState(false);
	return (
		<FormDialog title={name ? t("update.install", { name }) : t("update.fromUrl")} button={t("update.start")} ready={!!name || /^https:\/\/./i.test(url)} onClose={onClose} submit={async () => {
			await call("POST", PATH, { ...(!name && { url }), ...(older && { allow_older: true }) });
			notice(t("update.begun"));
		}}>
			<p class="prose">{t("update.text")}</p>
			{!name && <Input label="URL" value={url} onValue={setUrl} placeholder="https://" hint={t("update.urlHint")} autoFocus />}
			<Check label={t("update.older")} value={older} onValue={setOlder} />
		</FormDialog>
	);
}

function Back({ slot, onClose }: { slot: string; onClose: () => void }) {
	return (
		<FormDialog title={t("update.back", { slot })} button={t("update.back", { slot })} onClose={onClose} submit={async () => {
			await call("POST", `${PATH}/rollback`, {});
			notice(t("update.goesBack"));
		}}>
			<p class="prose">{t("update.backText")}</p>
		</FormDialog>
	);
}

function Last({ state: { under_way, update } }: { state: UpdateState }) {
	if (!update || update.state === "would") return null;
	const what = maybe(`updatestate.${update.state}`) ?? update.state;
	return (
		<div role="status">
			{under_way && <Progress value={update.size_bytes ? update.done_bytes / update.size_bytes : 0} label={t("update.progress")} />}
			{under_way && <p class="small quiet">{what}{update.size_bytes > 0 && ` · ${bytes(update.done_bytes)} / ${bytes(update.size_bytes)}`}{update.state === "writing" && update.done_bytes > 0 && ` · ${t("jobs.left")}: ${duration(update.eta_seconds)}`}</p>}
			{under_way && update.kind === "install" && can("admin") && <div class="buttons start"><Button onClick={() => act(t("update.cancelled"), "DELETE", PATH)}>{t("update.cancel")}</Button></div>}
			{!under_way && update.state === "failed" && <Trouble problem={new Problem(422, update.code, update.detail)} />}
			{!under_way && update.state === "done" && update.kind === "install" && <p><Badge tone="good">{what}</Badge> {t("update.done", { version: update.version, slot: update.slot })}</p>}
		</div>
	);
}

type Open = "bundle" | "url" | "back" | null;

/** @restart: asks whether the machine is to restart. */
export function Update({ restart }: { restart: () => void }) {
	const { data } = useResource<UpdateState>(PATH);
	const [open, setOpen] = useState<Open>(null);
	const close = () => setOpen(null), under = sending.value.filter((one) => one.path === BUNDLE && one.state !== "done");
	if (!data) return null;
	const { bundle } = data, free = can("admin") && !data.under_way, other = data.slot === "a" ? "b" : "a";
	return (
		<Card title={t("update.title")}>
			{data.failed && <div class="caution" role="alert"><p>{t("update.givenUp", { slot: data.failed })}</p></div>}
			{data.incomplete && !data.under_way && <div class="caution" role="alert"><p>{t("update.incomplete", { slot: data.incomplete })}</p></div>}
			<Facts rows={[
				[t("update.runs"), data.release ? t("update.slot", { release: data.release, slot: data.slot ?? "" }) : "–"],
				[t("update.next"), <>{data.next ?? "–"} {data.on_trial && <Badge tone="warn">{t("update.trial")}</Badge>}</>],
				bundle && [t("update.bundle"), <>{bundle.name} {!bundle.complete && <Badge tone="warn">{t("images.partly", { done: bytes(bundle.received_bytes) })}</Badge>}</>],
			]} />
			<Last state={data} />
			{free && <Drop path={BUNDLE} at={BUNDLE} text={t("update.drop")} label={t("update.file")} />}
			{under.length > 0 && <ul class="ways" aria-label={t("images.ways")}>{under.map((one) => <Way key={one.id} one={one} />)}</ul>}
			{free && <div class="buttons start">
				{bundle?.complete && <Button kind="main" onClick={() => setOpen("bundle")}>{t("update.install", { name: bundle.name })}</Button>}
				{bundle && under.length === 0 && <Button onClick={() => act(t("update.dropped"), "DELETE", BUNDLE)}>{t("update.drop1")}</Button>}
				<Button onClick={() => setOpen("url")}>{t("update.fromUrl")}</Button>
				{data.next === data.slot ? data.incomplete !== other && <Button onClick={() => setOpen("back")}>{t("update.back", { slot: other })}</Button>
					: <Button kind="danger" onClick={restart}>{t("update.restart")}</Button>}
			</div>}
			{open === "bundle" && bundle && <Install name={bundle.name} onClose={close} />}
			{open === "url" && <Install onClose={close} />}
			{open === "back" && <Back slot={other} onClose={close} />}
		</Card>
	);
}
