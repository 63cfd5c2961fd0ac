// SPDX-License-Identifier: Apache-2.0
import { useState } from "preact/hooks";
import { call, can, onlyReplication } from "../api";
import { duration } from "../format";
import { useResource } from "../live";
import { actAsked, Button, Card, Facts, FormDialog, Input, notice, Page, Select, Waiting } from "../parts";
import { look, type Look } from "../look";
import { language, setLanguage, t } from "../text";
import type { Status } from "../types";
import { Backup } from "./backup";
import { Certificate } from "./certificate";
import { Configuration } from "./configuration";
import { Isns } from "./isns";
import { Machine } from "./machine";
import { NetworkCheck } from "./netcheck";
import { Totp } from "./totp";

function Password({ onClose }: { onClose: () => void }) {
	const [old, setOld] = useState("");
	const [password, setPassword] = useState("");
	const [again, setAgain] = useState("");
	return (
		<FormDialog title={t("settings.password")} button={t("action.save")} ready={old !== "" && password.length >= 10 && password === again} onClose={onClose} submit={async () => {
			await call("POST", "/me/password", { old, new: password });
			notice(t("settings.passwordDone"));
		}}>
			<Input label={t("settings.old")} type="password" autocomplete="current-password" value={old} onValue={setOld} autoFocus />
			<Input label={t("access.newPassword")} type="password" autocomplete="new-password" value={password} onValue={setPassword} hint={t("setup.passwordHint")} />
			<Input label={t("setup.again")} type="password" autocomplete="new-password" value={again} onValue={setAgain} problem={again && again !== password ? t("setup.differs") : null} />
		</FormDialog>
	);
}

function Mine() {
	const [changing, setChanging] = useState(false);
	return (
		<Card title={t("settings.mine")}>
			<div class="pair">
				<Select label={t("settings.language")} value={language.value} onValue={(value) => setLanguage(value as "en" | "zh")} options={[["en", "English"], ["zh", "简体中文"]]} />
				<Select label={t("settings.look")} value={look.value} onValue={(value) => { look.value = value as Look; }} options={[["auto", t("look.auto")], ["light", t("look.light")], ["dark", t("look.dark")]]} />
			</div>
			<div class="setting"><div><strong>{t("entry.password")}</strong><p class="hint">{t("settings.passwordHint")}</p></div><Button icon="lock" onClick={() => setChanging(true)}>{t("settings.password")}</Button></div>
			<Totp />
			{changing && <Password onClose={() => setChanging(false)} />}
		</Card>
	);
}

function Discovery() {
	const { data } = useResource<{ chap_user: string; mutual_user: string }>("/discovery");
	const [open, setOpen] = useState(false);
	const [user, setUser] = useState("");
	const [secret, setSecret] = useState("");
	return (
		<Card title={t("discovery.title")}>
			<p class="prose small">{t("discovery.text")}</p>
			<div class="setting">
				<strong>{data?.chap_user ? t("discovery.on", { user: data.chap_user }) : t("discovery.off")}</strong>
				{can("admin") && <div class="row-actions">
					{data?.chap_user && <Button onClick={() => actAsked(t("discovery.clear"), t("discovery.cleared"), "DELETE", "/discovery")}>{t("discovery.clear")}</Button>}
					<Button onClick={() => setOpen(true)}>{t("discovery.set")}</Button>
				</div>}
			</div>
			{open && (
				<FormDialog title={t("discovery.set")} button={t("action.save")} ready={user !== "" && secret.length >= 12} onClose={() => setOpen(false)} submit={() => call("PUT", "/discovery", { chap_user: user, chap_secret: secret })}>
					<Input label={t("rules.chapUser")} value={user} onValue={setUser} autoFocus />
					<Input label={t("rules.chapSecret")} type="password" autocomplete="new-password" value={secret} onValue={setSecret} hint={t("rules.secretHint")} />
				</FormDialog>
			)}
		</Card>
	);
}

function About() {
	const { data, problem } = useResource<Status>("/status");
	if (!data) return <Card title={t("settings.about")}><Waiting problem={problem} /></Card>;
	return (
		<Card title={t("settings.about")}>
			<Facts rows={[
				[t("settings.version"), `Granary ${data.daemon.version}`],
				[t("settings.uptime"), duration(data.daemon.uptime_seconds)],
				[t("settings.engine"), t("settings.engineText", { engine: data.daemon.io_engine, loops: data.daemon.io_loops })],
				[t("settings.portals"), <span class="list mono">{data.endpoints.map((one) => <span key={one.address + one.port}>{one.protocol} {one.address}:{one.port}</span>)}</span>],
				[t("settings.state"), <span class="mono name">{data.daemon.state_dir}</span>],
				["API", <span class="list"><a href="/api/v1/openapi.json">OpenAPI 3.1</a><a href="/metrics">Prometheus</a></span>],
			]} />
		</Card>
	);
}

export function Settings() {
	if (onlyReplication()) return <Page title={t("nav.settings")}><Mine /></Page>;
	return (
		<Page title={t("nav.settings")}>
			<div class="columns even">
				<div class="stack"><Mine /><Discovery /><Isns /><Configuration /><Backup /></div>
				<div class="stack"><Machine />{can("operator") && <NetworkCheck />}<Certificate /><About /></div>
			</div>
		</Page>
	);
}
