// SPDX-License-Identifier: Apache-2.0
// Shares over SMB: which, for whom, and the users that only SMB knows.
import { useState } from "preact/hooks";
import { call, can, part } from "../api";
import { useResource } from "../live";
import { Badge, Button, Card, Check, Empty, FormDialog, Input, notice, Page, Snippet, Table, Waiting } from "../parts";
import { to } from "../route";
import { t } from "../text";
import type { Share, Smb, SmbShare, SmbUser } from "../types";

const pathOf = (pool: string, name: string) => `/shares/${part(pool)}/${part(name)}/smb`;

/** Who may use a share over SMB. */
function Serve({ share, all, users, onClose }: { share?: SmbShare; all: Share[]; users: SmbUser[]; onClose: () => void }) {
	const [which, setWhich] = useState(share ? `${share.pool}/${share.name}` : all[0] ? `${all[0].pool}/${all[0].name}` : "");
	const [guest, setGuest] = useState(share?.guest ?? false);
	const [readOnly, setReadOnly] = useState(share?.read_only ?? false);
	const [may, setMay] = useState<string[]>(share?.users ?? []);
	const [pool, name] = which.split("/");
	return (
		<FormDialog title={share ? t("smb.change", { name: share.name }) : t("smb.serve")} button={t("action.save")} ready={which !== "" && (guest || may.length > 0)} onClose={onClose} submit={async () => {
			const answer = await call<{ warning: string }>("PUT", pathOf(pool, name), { guest, read_only: readOnly, users: may });
			notice(answer.warning ? `${t("smb.served", { name })} ${t("smb.warning")}` : t("smb.served", { name }), !!answer.warning);
		}}>
			{!share && (
				<div class="field">
					<label for="smb-share">{t("smb.share")}</label>
					<select id="smb-share" value={which} onChange={(event) => setWhich(event.currentTarget.value)}>
						{all.map((one) => <option key={one.pool + one.name} value={`${one.pool}/${one.name}`}>{one.pool}/{one.name}</option>)}
					</select>
				</div>
			)}
			<Check label={t("smb.guest")} value={guest} onValue={setGuest} />
			<div class="field">
				<span class="label" id="smb-users">{t("smb.users")}</span>
				<div class="disks" role="group" aria-labelledby="smb-users">
					{users.length === 0 ? <p class="hint">{t("smb.noUsers")}</p> : users.map((user) => <Check key={user.name} label={user.name} value={may.includes(user.name)} onValue={(on) => setMay(on ? [...may, user.name] : may.filter((one) => one !== user.name))} />)}
				</div>
			</div>
			<Check label={t("smb.readOnly")} value={readOnly} onValue={setReadOnly} />
		</FormDialog>
	);
}

function User({ user, onClose }: { user?: SmbUser; onClose: () => void }) {
	const [name, setName] = useState(user?.name ?? "");
	const [password, setPassword] = useState("");
	const [uid, setUid] = useState(user ? String(user.uid) : "");
	const [gid, setGid] = useState(user ? String(user.gid) : "");
	const digits = (text: string) => text.replace(/\D/g, "");
	return (
		<FormDialog title={user ? t("smb.password", { name: user.name }) : t("smb.newUser")} button={t("action.save")} ready={name !== "" && password.length >= 10} onClose={onClose} submit={async () => {
			const body: Record<string, unknown> = { password };
			if (uid) body.uid = parseInt(uid, 10);
			if (gid) body.gid = parseInt(gid, 10);
			await call("PUT", `/smb/users/${part(name)}`, body);
			notice(t("smb.userDone", { name }));
		}}>
			{!user && <Input label={t("field.name")} value={name} onValue={setName} autoFocus />}
			<Input label={t("access.newPassword")} type="password" autocomplete="new-password" value={password} onValue={setPassword} hint={t("setup.passwordHint")} />
			<div class="pair">
				<Input label="UID" inputMode="numeric" value={uid} onValue={(text) => setUid(digits(text))} hint={t("smb.uidHint")} />
				<Input label="GID" inputMode="numeric" value={gid} onValue={(text) => setGid(digits(text))} />
			</div>
		</FormDialog>
	);
}

type Open = { what: "serve"; share?: SmbShare } | { what: "user"; user?: SmbUser } | { what: "stop"; share: SmbShare } | { what: "forget"; user: SmbUser } | null;

export function SmbPage() {
	const { data, problem } = useResource<Smb>("/smb");
	const shares = useResource<Share[]>("/shares").data ?? [];
	const [open, setOpen] = useState<Open>(null);
	const close = () => setOpen(null);
	if (!data) return <Page title={t("nav.smb")}><Waiting problem={problem} /></Page>;
	const free = shares.filter((share) => !data.shares.some((one) => one.pool === share.pool && one.name === share.name));
	const users = (share: SmbShare) => [share.guest && t("smb.everybody"), ...share.users].filter(Boolean).join(", ");
	return (
		<Page title={t("nav.smb")} lead={<>{data.service.running ? <Badge tone="good">{t("smb.running", { port: data.service.port })}</Badge> : <Badge tone={data.shares.length ? "bad" : "quiet"}>{t("smb.notRunning")}</Badge>} <span lang="en">{data.service.reason}</span></>}
			actions={free.length > 0 && <Button role="provisioner" icon="plus" onClick={() => setOpen({ what: "serve" })}>{t("smb.serve")}</Button>}>
			{data.shares.length === 0 ? <Card><Empty icon="share" title={t("smb.none")} text={t("smb.noneText")} /></Card> : (
				<Card flush title={t("smb.shares")}>
					<Table caption={t("smb.shares")} rows={data.shares} id={(row) => `${row.pool}/${row.name}`} columns={[
						{ key: "name", title: t("field.name"), text: (row) => row.name, show: (row) => <a href={to("shares", row.pool, row.name)}>{row.pool}/{row.name}</a> },
						{ key: "address", title: t("smb.address"), show: (row) => <Snippet label={t("smb.address")} text={`\\\\${location.hostname}\\${row.name}`} /> },
						{ key: "users", title: t("smb.who"), show: (row) => users(row) || <Badge tone="warn">{t("smb.nobody")}</Badge> },
						{ key: "may", title: t("smb.may"), show: (row) => (row.read_only ? t("smb.reads") : t("smb.writes")) },
						{ key: "does", title: "", show: (row) => can("provisioner") && (
							<div class="row-actions">
								<Button kind="quiet" icon="edit" label={t("smb.change", { name: row.name })} onClick={() => setOpen({ what: "serve", share: row })} />
								<Button kind="quiet" icon="trash" label={t("smb.stop", { name: row.name })} onClick={() => setOpen({ what: "stop", share: row })} />
							</div>
						) },
					]} />
				</Card>
			)}
			<Card flush title={t("smb.users")} actions={<Button role="admin" icon="plus" onClick={() => setOpen({ what: "user" })}>{t("smb.newUser")}</Button>}>
				{data.users.length === 0 ? <p class="none">{t("smb.noUsers")}</p> : (
					<Table caption={t("smb.users")} rows={data.users} id={(row) => row.name} columns={[
						{ key: "name", title: t("field.name"), text: (row) => row.name, show: (row) => <span class="name">{row.name}</span> },
						{ key: "uid", title: "UID", number: true, text: (row) => row.uid, show: (row) => row.uid },
						{ key: "gid", title: "GID", number: true, text: (row) => row.gid, show: (row) => row.gid },
						{ key: "does", title: "", show: (row) => can("admin") && (
							<div class="row-actions">
								<Button kind="quiet" icon="lock" label={t("smb.password", { name: row.name })} onClick={() => setOpen({ what: "user", user: row })} />
								<Button kind="quiet" icon="trash" label={t("smb.forget", { name: row.name })} onClick={() => setOpen({ what: "forget", user: row })} />
							</div>
						) },
					]} />
				)}
			</Card>
			{open?.what === "serve" && <Serve share={open.share} all={free} users={data.users} onClose={close} />}
			{open?.what === "user" && <User user={open.user} onClose={close} />}
			{open?.what === "stop" && <FormDialog title={t("smb.stop", { name: open.share.name })} button={t("smb.stopButton")} kind="danger" onClose={close} submit={() => call("DELETE", pathOf(open.share.pool, open.share.name))}><p class="prose">{t("smb.stopText")}</p></FormDialog>}
			{open?.what === "forget" && <FormDialog title={t("smb.forget", { name: open.user.name })} button={t("action.delete")} kind="danger" onClose={close} submit={async () => { await call("DELETE", `/smb/users/${part(open.user.name)}`); notice(t("smb.forgotten", { name: open.user.name })); }}><p class="prose">{t("smb.forgetText")}</p></FormDialog>}
		</Page>
	);
}
