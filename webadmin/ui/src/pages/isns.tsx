// SPDX-License-Identifier: Apache-2.0
// Targets and portals are registered with an iSNS server (RFC 4171), by which initiators find them.
import { useState } from "preact/hooks";
import { call } from "../api";
import { duration, number, time } from "../format";
import { useResource } from "../live";
import { actAsked, Badge, Button, Card, Facts, FormDialog, Input, notice, type Tone } from "../parts";
import { t } from "../text";

interface Registered {
	server: string; state: "none" | "registering" | "registered" | "failing" | "nothing to register"; reason: string; entity: string;
	targets: number; portals: number; period_seconds: number; contact: number; esi_port: number; esi_answered: number;
}

const PATH = "/isns";

function StateOf({ state }: { state: Registered["state"] }) {
	const [tone, text]: [Tone, string] = state === "registered" ? ["good", t("isns.registered")] : state === "failing" ? ["bad", t("isns.failing")] : state === "registering" ? ["busy", t("isns.registering")] : ["quiet", t("isns.nothing")];
	return <Badge tone={tone}>{text}</Badge>;
}

function Set({ now, onClose }: { now: Registered; onClose: () => void }) {
	const [server, setServer] = useState(now.server);
	const [port, setPort] = useState(now.esi_port ? String(now.esi_port) : "");
	const esi = port === "" ? 0 : parseInt(port, 10), good = esi <= 65535;
	return (
		<FormDialog title={t("isns.set")} button={t("action.save")} ready={server.trim() !== "" && good} onClose={onClose} submit={async () => {
			await call("PUT", PATH, { server: server.trim(), ...((esi > 0 || now.esi_port > 0) && { esi_port: esi }) });
			notice(t("isns.done"));
		}}>
			<p class="prose">{t("isns.setText")}</p>
			<Input label={t("isns.server")} value={server} onValue={setServer} placeholder="10.0.0.5" hint={t("isns.serverHint")} autoFocus />
			<Input label={t("isns.esi")} inputMode="numeric" value={port} onValue={(text) => setPort(text.replace(/\D/g, ""))} hint={t("isns.esiHint")} problem={good ? null : t("isns.portBad")} />
		</FormDialog>
	);
}

export function Isns() {
	const { data } = useResource<Registered>(PATH);
	const [open, setOpen] = useState(false);
	const on = !!data?.server;
	return (
		<Card title={t("isns.title")} actions={on && <StateOf state={data.state} />}>
			<p class="prose small">{t("isns.text")}</p>
			{on && <>
				<Facts rows={[
					[t("isns.knows"), t("isns.knowsOf", { targets: number(data.targets), portals: number(data.portals) })],
					[t("isns.entity"), <span class="mono name">{data.entity}</span>],
					[t("isns.contact"), data.contact ? time(data.contact * 1000) : t("isns.never")],
					data.period_seconds > 0 && [t("isns.period"), duration(data.period_seconds)],
					data.esi_port > 0 && [t("isns.esi"), t("isns.esiOf", { port: data.esi_port, count: number(data.esi_answered) })],
				]} />
				{data.reason && <p class="hint" lang="en">{data.reason}</p>}
			</>}
			<div class="setting">
				<strong class="name">{on ? t("isns.on", { server: data.server }) : t("isns.off")}</strong>
				<div class="buttons start">
					{on && <Button role="admin" onClick={() => actAsked(t("isns.remove"), t("isns.removed"), "DELETE", PATH, undefined, t("isns.removeText"))}>{t("isns.remove")}</Button>}
					{data && <Button role="admin" onClick={() => setOpen(true)}>{t("isns.set")}</Button>}
				</div>
			</div>
			{open && data && <Set now={data} onClose={() => setOpen(false)} />}
		</Card>
	);
}
