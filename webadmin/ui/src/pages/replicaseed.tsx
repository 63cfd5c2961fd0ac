// SPDX-License-Identifier: Apache-2.0
// The first image of a group, carried to its standby on a disk.
import { useState } from "preact/hooks";
import { call, part } from "../api";
import { bytes, percent } from "../format";
import { actAsked, Badge, Button, FormDialog, Input, notice, Progress, Select, type Tone } from "../parts";
import { t } from "../text";
import type { Group, Seed } from "../types";

const pathOf = (group: Group) => `/replica/groups/${part(group.name)}/seed`;

/** The standby has no image yet, and none goes over the link. */
export const waitsForSeed = (group: Group) => group.role === "primary" && group.state === "waiting for its seed";

/** How the first image gets there. */
export function SeedBy({ value, onValue }: { value: string; onValue: (value: string) => void }) {
	return <Select label={t("seed.by")} value={value} onValue={onValue} options={[["wire", t("seed.wire")], ["ship", t("seed.ship")]]} hint={t("seed.byHint")} />;
}

export function Export({ group, onClose }: { group: Group; onClose: () => void }) {
	const [path, setPath] = useState("");
	return (
		<FormDialog title={t("seed.exportTitle", { name: group.name })} button={t("seed.write")} ready={path.trim().startsWith("/")} onClose={onClose} submit={async () => {
			await call("POST", pathOf(group), { path: path.trim() });
			notice(t("seed.begun"));
		}}>
			<p class="prose">{t("seed.exportText")}</p>
			<Input label={t("seed.path")} value={path} onValue={setPath} placeholder="/mnt/disk" hint={t("seed.pathHint")} autoFocus />
		</FormDialog>
	);
}

/** On the standby: the file says of which group it is. */
export function Import({ onClose }: { onClose: () => void }) {
	const [path, setPath] = useState("");
	return (
		<FormDialog title={t("seed.import")} button={t("seed.take")} ready={path.trim().startsWith("/")} onClose={onClose} submit={async () => {
			await call("POST", "/replica/seeds", { path: path.trim() });
			notice(t("seed.begun"));
		}}>
			<p class="prose">{t("seed.importText")}</p>
			<Input label={t("seed.file")} value={path} onValue={setPath} placeholder="/mnt/disk/vms-1.seed" hint={t("seed.fileHint")} autoFocus />
		</FormDialog>
	);
}

function said({ state }: Seed): [Tone, string] {
	if (state === "failed") return ["bad", t("seed.failed")];
	if (state === "exporting") return ["busy", t("seed.exporting")];
	if (state === "exported") return ["good", t("seed.exported")];
	if (state === "checking") return ["busy", t("seed.checking")];
	return state === "importing" ? ["busy", t("seed.importing")] : ["good", t("seed.imported")];
}

/** How far it is; nothing where there was none. */
export function SeedNow({ group, acts }: { group: Group; acts: boolean }) {
	const { seed } = group;
	if (seed.state === "none") return null;
	const [tone, text] = said(seed), share = seed.total_bytes ? Math.min(1, seed.done_bytes / seed.total_bytes) : 0;
	return (
		<div class="setting">
			<div class="meter">
				<span><strong>{t("seed.title")}</strong> <Badge tone={tone}>{text}</Badge></span>
				<small class="mono name">{seed.path}</small>
				{seed.running && <Progress value={share} label={t("seed.title")} />}
				{seed.total_bytes > 0 && <small>{seed.running ? `${percent(share, 1)} · ` : ""}{t("seed.done", { done: bytes(seed.done_bytes), total: bytes(seed.total_bytes) })}</small>}
				{seed.reason && <small lang="en">{seed.reason}</small>}
				{seed.state === "exported" && <small>{t("seed.next")}</small>}
			</div>
			{acts && seed.running && <Button onClick={() => actAsked(t("seed.stop"), t("seed.stopped"), "DELETE", pathOf(group), undefined, t("seed.stopText"))}>{t("seed.stop")}</Button>}
		</div>
	);
}
