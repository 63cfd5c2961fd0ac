// SPDX-License-Identifier: Apache-2.0
// Accounts of people, tokens of programs.
import { useState } from "preact/hooks";
import { call, me, part } from "../api";
import { day } from "../format";
import { useResource } from "../live";
import { Badge, Button, Card, DeleteDialog, Dialog, FormDialog, Input, notice, Page, Select, Snippet, Table, Waiting } from "../parts";
import { maybe, t } from "../text";
import type { Account, Token } from "../types";

const roles = (): [string, string][] => ["viewer", "provisioner", "operator", "admin", "replication"].map((role) => [role, maybe(`role.${role}`) ?? role]);
const roleHint = (role: string) => maybe(`roleHint.${role}`) ?? "";

function CreateAccount({ onClose }: { onClose: () => void }) {
	const [name, setName] = useState("");
	const [role, setRole] = useState("provisioner");
	const [password, setPassword] = useState("");
	return (
		<FormDialog title={t("access.create")} button={t("action.create")} ready={name !== "" && password.length >= 10} onClose={onClose} submit={() => call("POST", "/accounts", { name, role, password })}>
			<Input label={t("entry.name")} value={name} onValue={setName} autoFocus />
			<Select label={t("access.role")} value={role} onValue={setRole} options={roles()} hint={roleHint(role)} />
			<Input label={t("entry.password")} type="password" autocomplete="new-password" value={password} onValue={setPassword} hint={t("setup.passwordHint")} />
		</FormDialog>
	);
}

function ChangeAccount({ account, onClose }: { account: Account; onClose: () => void }) {
	const [role, setRole] = useState(account.role);
	const [password, setPassword] = useState("");
	return (
		<FormDialog title={t("access.change", { name: account.name })} button={t("action.save")} ready={password === "" || password.length >= 10} onClose={onClose} submit={async () => {
			const body: Record<string, unknown> = {};
			if (role !== account.role) body.role = role;
			if (password) body.password = password;
			if (Object.keys(body).length) await call("PATCH", `/accounts/${part(account.name)}`, body);
		}}>
			<Select label={t("access.role")} value={role} onValue={setRole} options={roles()} hint={roleHint(role)} />
			<Input label={t("access.newPassword")} type="password" autocomplete="new-password" value={password} onValue={setPassword} hint={t("access.keep")} />
			<p class="hint">{t("access.ends")}</p>
		</FormDialog>
	);
}

function CreateToken({ onClose, onMade }: { onClose: () => void; onMade: (token: Token) => void }) {
	const [name, setName] = useState("");
	const [role, setRole] = useState("provisioner");
	const [days, setDays] = useState("90");
	return (
		<FormDialog title={t("tokens.create")} button={t("action.create")} ready={name !== "" && parseInt(days, 10) > 0} onClose={onClose} submit={async () => onMade(await call<Token>("POST", "/tokens", { name, role, days: parseInt(days, 10) }))}>
			<Input label={t("field.name")} value={name} onValue={setName} hint={t("tokens.nameHint")} autoFocus />
			<Select label={t("access.role")} value={role} onValue={setRole} options={roles()} hint={roleHint(role)} />
			<Input label={t("tokens.days")} inputMode="numeric" value={days} onValue={(text) => setDays(text.replace(/\D/g, ""))} />
		</FormDialog>
	);
}

function Once({ token, onClose }: { token: Token; onClose: () => void }) {
	return (
		<Dialog title={t("tokens.made", { name: token.name })} onClose={onClose}>
			<p class="prose">{t("tokens.once")}</p>
			<Snippet text={token.token ?? ""} label={t("tokens.secret")} />
			<p class="hint">{t("tokens.use")}</p>
			<Snippet text={`curl -H "Authorization: Bearer ${token.token}" \\\n  ${location.origin}/api/v1/volumes`} label="curl" />
			<div class="buttons"><Button kind="main" onClick={onClose}>{t("tokens.kept")}</Button></div>
		</Dialog>
	);
}

type Open = { what: "account" | "token" } | { what: "change" | "drop"; account: Account; reset?: boolean } | { what: "made" | "revoke"; token: Token } | null;

export function Access() {
	const accounts = useResource<Account[]>("/accounts");
	const tokens = useResource<Token[]>("/tokens");
	const [open, setOpen] = useState<Open>(null);
	const close = () => setOpen(null);
	const late = (token: Token) => token.expires * 1000 < Date.now();
	return (
		<Page title={t("nav.access")} lead={t("access.lead")}>
			<Card flush title={t("access.accounts")} actions={<Button icon="plus" onClick={() => setOpen({ what: "account" })}>{t("access.create")}</Button>}>
				{!accounts.data ? <Waiting problem={accounts.problem} /> : (
					<Table caption={t("access.accounts")} rows={accounts.data} id={(row) => row.name} columns={[
						{ key: "name", title: t("entry.name"), text: (row) => row.name, show: (row) => <strong>{row.name}{row.name === me.value?.name && <small> {t("access.you")}</small>}</strong> },
						{ key: "role", title: t("access.role"), text: (row) => row.role, show: (row) => maybe(`role.${row.role}`) ?? row.role },
						{ key: "totp", title: t("totp.short"), show: (row) => row.totp ? <Badge tone="good">{t("totp.on")}</Badge> : <Badge tone="quiet">{t("totp.off")}</Badge> },
						{ key: "sessions", title: t("access.signedIn"), number: true, show: (row) => row.sessions },
						{ key: "does", title: "", show: (row) => <div class="row-actions"><Button kind="quiet" icon="edit" label={t("access.change", { name: row.name })} onClick={() => setOpen({ what: "change", account: row })} /><Button kind="quiet" icon="trash" label={t("access.delete", { name: row.name })} onClick={() => setOpen({ what: "drop", account: row })} /></div> },
					]} />
				)}
			</Card>
			<Card flush title={t("tokens.title")} actions={<Button icon="key" onClick={() => setOpen({ what: "token" })}>{t("tokens.create")}</Button>}>
				{!tokens.data ? <Waiting problem={tokens.problem} /> : tokens.data.length === 0 ? <p class="none">{t("tokens.none")}</p> : (
					<Table caption={t("tokens.title")} rows={tokens.data} id={(row) => row.name} find={(row) => row.name} columns={[
						{ key: "name", title: t("field.name"), text: (row) => row.name, show: (row) => <strong>{row.name}</strong> },
						{ key: "role", title: t("access.role"), text: (row) => row.role, show: (row) => maybe(`role.${row.role}`) ?? row.role },
						{ key: "maker", title: t("tokens.maker"), show: (row) => row.maker },
						{ key: "created", title: t("tokens.created"), text: (row) => row.created, show: (row) => day(row.created * 1000) },
						{ key: "expires", title: t("tokens.expires"), text: (row) => row.expires, show: (row) => late(row) ? <Badge tone="bad">{t("tokens.expired")}</Badge> : day(row.expires * 1000) },
						{ key: "does", title: "", show: (row) => <Button kind="quiet" icon="trash" label={t("tokens.revoke", { name: row.name })} onClick={() => setOpen({ what: "revoke", token: row })} /> },
					]} />
				)}
			</Card>
			{open?.what === "account" && <CreateAccount onClose={close} />}
			{open?.what === "change" && <ChangeAccount account={open.account} onClose={close} />}
			{open?.what === "drop" && <DeleteDialog title={t("access.delete", { name: open.account.name })} name={open.account.name} button={t("action.delete")} onClose={close} text={<p>{t("access.deleteText")}</p>} submit={async () => { await call("DELETE", `/accounts/${part(open.account.name)}`); notice(t("access.deleted")); }} />}
			{open?.what === "token" && <CreateToken onClose={() => setOpen((now) => (now?.what === "token" ? null : now))} onMade={(token) => setOpen({ what: "made", token })} />}
			{open?.what === "made" && <Once token={open.token} onClose={close} />}
			{open?.what === "revoke" && (
				<FormDialog title={t("tokens.revoke", { name: open.token.name })} button={t("tokens.revokeGo")} kind="danger" onClose={close} submit={() => call("DELETE", `/tokens/${part(open.token.name)}`)}>
					<p class="prose">{t("tokens.revokeText")}</p>
				</FormDialog>
			)}
		</Page>
	);
}
