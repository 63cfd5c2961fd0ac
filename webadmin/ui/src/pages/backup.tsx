// SPDX-License-Identifier: Apache-2.0
// Configuration, accounts and keys in one encrypted file; and back, after a look at what it changes.
import { useState } from "preact/hooks";
import { bytesFrom, call, can, saveFile, sendBytes } from "../api";
import { useResource } from "../live";
import { actAsked, Badge, Button, Card, Check, Dialog, FormDialog, Input, notice, Progress, Trouble, useAction } from "../parts";
import { maybe, t } from "../text";
import { Commands } from "../would";
import type { BackupChange, BackupMade, BackupState } from "../types";

const LEAST = 10, MOST = 256, PIECE = 2 ** 20;
const goodPhrase = (text: string) => text.length >= LEAST && new TextEncoder().encode(text).length <= MOST;

function Make({ onClose }: { onClose: () => void }) {
	const [phrase, setPhrase] = useState("");
	const [again, setAgain] = useState("");
	return (
		<FormDialog untried title={t("backup.make")} button={t("backup.makeButton")} ready={goodPhrase(phrase) && phrase === again} onClose={onClose} submit={async () => {
			const made = await call<BackupMade>("POST", "/backup", { passphrase: phrase });
			const pieces: Blob[] = [];
			for (let at = 0; at < made.size_bytes; at += pieces.at(-1)!.size) pieces.push(await bytesFrom(`/backup/${made.id}?offset=${at}`));
			saveFile(made.filename, new Blob(pieces));
			notice(t("backup.made"));
		}}>
			<p class="prose">{t("backup.makeText")} {t("backup.makeWould")}</p>
			<Input label={t("backup.phrase")} type="password" autocomplete="new-password" value={phrase} onValue={setPhrase} hint={t("backup.phraseHint")} autoFocus />
			<Input label={t("setup.again")} type="password" autocomplete="new-password" value={again} onValue={setAgain} problem={again && again !== phrase ? t("setup.differs") : null} />
		</FormDialog>
	);
}

const signs = { comes: "+", goes: "−", changes: "~" } as const;
const kinds = { comes: "new", goes: "gone", changes: "other" } as const;

function Changes({ changes }: { changes: BackupChange[] }) {
	if (!changes.length) return <p role="status"><Badge tone="good">{t("backup.same")}</Badge></p>;
	return (
		<ol class="diff" aria-label={t("backup.changes")}>
			{changes.map((one, at) => <li key={at} class={kinds[one.change]}><b aria-hidden="true">{signs[one.change]}</b> <span>{maybe(`backupwhat.${one.what}`) ?? one.what} <span class="mono">{one.name}</span> {maybe(`backupchange.${one.change}`)}</span></li>)}
		</ol>
	);
}

interface Looked { changes: BackupChange[] }

function Restore({ onClose }: { onClose: () => void }) {
	const [file, setFile] = useState<File | null>(null);
	const [phrase, setPhrase] = useState("");
	const [sent, setSent] = useState<number | null>(null);
	const [changes, setChanges] = useState<BackupChange[] | null>(null);
	const [sure, setSure] = useState(false);
	const action = useAction();
	const look = () => action.run(async () => {
		if (!file) return;
		setChanges(null);
		for (let at = 0; at < file.size; at += PIECE) {
			setSent(at / file.size);
			await sendBytes(`/backup/upload?offset=${at}`, new Uint8Array(await file.slice(at, at + PIECE).arrayBuffer()));
		}
		setSent(null);
		setChanges((await call<Looked>("POST", "/backup/restore?dry_run=1", { passphrase: phrase })).changes);
	});
	const stage = () => action.run(async () => {
		await call("POST", "/backup/restore", { passphrase: phrase });
		notice(t("backup.stagedDone"));
		onClose();
	});
	return (
		<Dialog title={t("backup.restore")} onClose={onClose} tone="danger">
			<p class="prose">{t("backup.restoreText")}</p>
			<div class="field">
				<label for="backup-file">{t("backup.file")}</label>
				<input id="backup-file" class="file" type="file" onChange={(event) => { setFile(event.currentTarget.files?.[0] ?? null); setChanges(null); }} />
			</div>
			<Input label={t("backup.phrase")} type="password" value={phrase} onValue={(text) => { setPhrase(text); setChanges(null); }} />
			{sent !== null && <Progress value={sent} label={t("backup.sending")} />}
			{changes && <Changes changes={changes} />}
			{changes && <Commands all={[{ method: "POST", path: "/backup/restore", body: { passphrase: "…" } }]} />}
			{changes && <Check label={t("backup.sure")} value={sure} onValue={setSure} />}
			<Trouble problem={action.problem} />
			<div class="buttons">
				<Button onClick={onClose}>{t("action.cancel")}</Button>
				{changes ? <Button kind="danger" busy={action.busy} disabled={!sure} onClick={stage}>{t("backup.restoreButton")}</Button>
					: <Button kind="main" busy={action.busy} disabled={!file || phrase.length < LEAST} onClick={look}>{t("configuration.look")}</Button>}
			</div>
		</Dialog>
	);
}

export function Backup() {
	const { data } = useResource<BackupState>(can("admin") ? "/backup" : null);
	const [open, setOpen] = useState<"make" | "restore" | null>(null);
	const close = () => setOpen(null);
	if (!can("admin")) return null;
	return (
		<Card title={t("backup.title")}>
			<p class="prose small">{t("backup.text")}</p>
			{data?.staged && (
				<div class="caution" role="alert">
					<p>{t("backup.staged")}</p>
					<div class="buttons start"><Button onClick={() => actAsked(t("backup.takeBack"), t("backup.takenBack"), "DELETE", "/backup")}>{t("backup.takeBack")}</Button></div>
				</div>
			)}
			<div class="buttons start">
				<Button onClick={() => setOpen("make")}>{t("backup.makeButton")} …</Button>
				<Button kind="danger" onClick={() => setOpen("restore")}>{t("backup.restoreButton")} …</Button>
			</div>
			{open === "make" && <Make onClose={close} />}
			{open === "restore" && <Restore onClose={close} />}
		</Card>
	);
}
