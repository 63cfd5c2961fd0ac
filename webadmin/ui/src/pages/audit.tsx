// SPDX-License-Identifier: Apache-2.0
import { useState } from "preact/hooks";
import { get, saveFile } from "../api";
import { number, time } from "../format";
import { useResource } from "../live";
import { Badge, Button, Card, Page, Table, Trouble, useAction, Waiting } from "../parts";
import { maybe, t } from "../text";
import type { AuditEntry } from "../types";

interface Verdict { whole: boolean; entries: number; broken_at: number; newest_hash: string; lost: number }

/** All of it, from the first entry on, a line of JSON each: what a program or an auditor keeps. */
async function exportAll() {
	const lines: string[] = [];
	for (let after = 0; ;) {
		const page = await get<AuditEntry[]>(`/audit?after=${after}&limit=1000`);
		if (!page.length) break;
		for (const one of page) lines.push(JSON.stringify(one));
		after = page[page.length - 1].id;
	}
	saveFile(`granary-audit-${new Date().toISOString().slice(0, 10)}.jsonl`, new Blob([lines.join("\n") + "\n"], { type: "application/jsonl" }));
}

export function Audit() {
	const { data, problem } = useResource<AuditEntry[]>("/audit?limit=500");
	const [verdict, setVerdict] = useState<Verdict | null>(null);
	const action = useAction();
	return (
		<Page title={t("nav.audit")} lead={t("audit.lead")} actions={<><Button busy={action.busy} onClick={() => action.run(exportAll)}>{t("audit.export")}</Button><Button icon="shield" busy={action.busy} onClick={() => action.run(async () => setVerdict(await get<Verdict>("/audit/check")))}>{t("audit.check")}</Button></>}>
			<Trouble problem={action.problem} />
			{verdict && (
				<div class={`verdict ${verdict.whole ? "good" : "bad"}`} role="status">
					<strong>{verdict.whole ? t("audit.whole", { count: number(verdict.entries) }) : t("audit.broken", { id: verdict.broken_at })}</strong>
					<p class="mono name">{verdict.newest_hash}</p>
				</div>
			)}
			{!data ? <Waiting problem={problem} /> : (
				<Card flush>
					<Table caption={t("nav.audit")} rows={data} id={(row) => row.id} find={(row) => `${row.who} ${row.address} ${row.method} ${row.path} ${row.code ?? ""}`} columns={[
						{ key: "time", title: t("audit.time"), text: (row) => row.at_ms, show: (row) => time(row.at_ms) },
						{ key: "who", title: t("audit.who"), text: (row) => row.who, show: (row) => <span class="name">{row.who || t("audit.nobody")}<small class="mono">{row.address || t("audit.local")}</small></span> },
						{ key: "what", title: t("audit.what"), text: (row) => row.path, show: (row) => <span class="mono name"><b>{row.method}</b> {row.path.replace("/api/v1", "")}</span> },
						{ key: "status", title: t("audit.outcome"), text: (row) => row.status, show: (row) => <Badge tone={row.status < 300 ? "good" : "bad"}>{row.status < 300 ? t("audit.done") : maybe(`code.${row.code}`) ?? row.code}</Badge> },
					]} />
				</Card>
			)}
		</Page>
	);
}
