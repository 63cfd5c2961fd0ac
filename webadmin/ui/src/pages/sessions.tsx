// SPDX-License-Identifier: Apache-2.0
import { useState } from "preact/hooks";
import { call, part } from "../api";
import { bytes, duration, number } from "../format";
import { useResource } from "../live";
import { Badge, Button, Card, Empty, FormDialog, notice, Page, Table, Waiting } from "../parts";
import { to } from "../route";
import { t } from "../text";
import type { Session } from "../types";

function Drop({ session, onClose }: { session: Session; onClose: () => void }) {
	return (
		<FormDialog title={t("sessions.dropTitle")} button={t("sessions.drop")} kind="danger" onClose={onClose} submit={async () => {
			await call("DELETE", `/sessions/${part(session.id)}`);
			notice(t("sessions.dropped"));
		}}>
			<p class="prose">{t("sessions.dropText")}</p>
			<p class="name">{session.initiator}</p>
		</FormDialog>
	);
}

export function SessionTable({ sessions }: { sessions: Session[] }) {
	const [dropping, setDropping] = useState<Session | null>(null);
	return (
		<>
			<Table caption={t("nav.sessions")} rows={sessions} id={(row) => row.id} find={(row) => `${row.initiator} ${row.target} ${row.connections.map((one) => one.peer).join(" ")}`} columns={[
				{ key: "initiator", title: t("sessions.initiator"), text: (row) => row.initiator, show: (row) => <span class="name">{row.initiator}{row.initiator_alias && <small>{row.initiator_alias}</small>}</span> },
				{ key: "target", title: t("sessions.target"), text: (row) => row.target, show: (row) => row.target ? <a class="name" href={to("targets", row.target)}>{row.target.replace(/^.*:/, "")}</a> : <Badge tone="quiet">{t("sessions.discovery")}</Badge> },
				{ key: "peer", title: t("sessions.peer"), text: (row) => row.peer, show: (row) => <span class="mono">{row.connections.map((one) => <span key={one.cid}>{one.peer}<br /></span>)}</span> },
				{ key: "seconds", title: t("sessions.since"), text: (row) => row.seconds, number: true, show: (row) => duration(row.seconds) },
				{ key: "read", title: t("sessions.read"), text: (row) => row.read_bytes, number: true, show: (row) => bytes(row.read_bytes) },
				{ key: "written", title: t("sessions.written"), text: (row) => row.write_bytes, number: true, show: (row) => bytes(row.write_bytes) },
				{ key: "commands", title: t("sessions.commands"), text: (row) => row.commands, number: true, show: (row) => number(row.commands) },
				{ key: "does", title: "", show: (row) => <Button kind="quiet" role="operator" onClick={() => setDropping(row)}>{t("sessions.drop")}</Button> },
			]} />
			{dropping && <Drop session={dropping} onClose={() => setDropping(null)} />}
		</>
	);
}

export function Sessions() {
	const { data, problem } = useResource<Session[]>("/sessions");
	return (
		<Page title={t("nav.sessions")} lead={t("sessions.lead")}>
			{!data ? <Waiting problem={problem} /> : data.length === 0 ? (
				<Card><Empty icon="session" title={t("sessions.none")} text={t("sessions.noneText")} /></Card>
			) : <Card flush><SessionTable sessions={data} /></Card>}
		</Page>
	);
}
