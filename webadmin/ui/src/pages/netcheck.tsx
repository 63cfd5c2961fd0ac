// SPDX-License-Identifier: Apache-2.0
// Do packets as large as the MTU arrive at the hosts? Asked of those that are here, or of others.
import { useState } from "preact/hooks";
import { call } from "../api";
import { bytes } from "../format";
import { useResource } from "../live";
import { Badge, Button, Card, Field, Table, Trouble, useAction, type Tone } from "../parts";
import { t } from "../text";
import type { NfsClient, PathCheck, Session } from "../types";
import { Commands } from "../would";

const MOST = 32, PATH = "/network/check";
const words = (text: string) => text.split(/[\s,;]+/).filter(Boolean);
/** "10.0.0.7:51234", "[2001:db8::7]:51234" -> the address alone. */
const hostOf = (peer: string) => /^\[(.*)\]/.exec(peer)?.[1] ?? (peer.split(":").length === 2 ? peer.split(":")[0] : peer);
const tones: Record<PathCheck["state"], Tone> = { carried: "good", too_large: "bad", silent: "warn", no_way: "bad" };

function advice(row: PathCheck): string {
	if (row.state === "no_way") return t("netcheck.noWayText", { detail: row.detail });
	return t(row.state === "carried" ? "netcheck.carriedText" : row.state === "silent" ? "netcheck.silentText" : "netcheck.tooLargeText", { mtu: row.mtu, carried: row.carried, interface: row.interface });
}

const stateText = (row: PathCheck) => t(row.state === "carried" ? "netcheck.carried" : row.state === "silent" ? "netcheck.silent" : row.state === "no_way" ? "netcheck.noWay" : "netcheck.tooLarge");

export function NetworkCheck() {
	const sessions = useResource<Session[]>("/sessions").data ?? [], clients = useResource<NfsClient[]>("/nfs-clients").data ?? [];
	const [text, setText] = useState<string | null>(null);
	const [found, setFound] = useState<PathCheck[] | null>(null);
	const action = useAction();
	const known = [...new Set([...sessions.flatMap((one) => one.connections.map((way) => way.peer)), ...clients.map((one) => one.address)].map(hostOf))].slice(0, MOST);
	const value = text ?? known.join("\n"), addresses = [...new Set(words(value))];
	const check = () => action.run(async () => {
		setFound(null);
		setFound(await call<PathCheck[]>("POST", PATH, { addresses }));
	}, true);
	return (
		<Card title={t("netcheck.title")}>
			<p class="prose small">{t("netcheck.text")}</p>
			<Field label={t("netcheck.hosts")} hint={t("netcheck.hostsHint")} problem={addresses.length > MOST ? t("netcheck.tooMany", { count: MOST }) : null}>
				{(id, note, wrong) => <textarea id={id} aria-describedby={note} aria-invalid={wrong} rows={3} spellcheck={false} placeholder="10.0.0.7" value={value} onInput={(event) => { setText(event.currentTarget.value); setFound(null); }} />}
			</Field>
			<Trouble problem={action.problem} />
			<div class="buttons start"><Button busy={action.busy} disabled={!addresses.length || addresses.length > MOST} onClick={check}>{t("netcheck.check")}</Button></div>
			<div role="status">{found && <>
				<Table caption={t("netcheck.title")} rows={found} id={(row) => row.address} columns={[
					{ key: "host", title: t("nfs.host"), text: (row) => row.address, show: (row) => <span class="name mono">{row.address}<small>{row.interface}</small></span> },
					{ key: "size", title: t("netcheck.tried"), number: true, text: (row) => row.mtu, show: (row) => row.mtu ? bytes(row.mtu) : "–" },
					{ key: "state", title: t("netcheck.result"), text: (row) => row.state, show: (row) => <Badge tone={tones[row.state]}>{stateText(row)}</Badge> },
					{ key: "advice", title: t("netcheck.advice"), show: (row) => <span class="prose small">{advice(row)}</span> },
				]} />
				<Commands all={[{ method: "POST", path: PATH, body: { addresses } }]} />
			</>}</div>
		</Card>
	);
}
