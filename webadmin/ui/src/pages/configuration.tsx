// SPDX-License-Identifier: Apache-2.0
// All that is configured as one document: kept as a file, and brought back after a look at what it
// would change.
import { useState } from "preact/hooks";
import { call, can, get, saveFile } from "../api";
import { number } from "../format";
import { Badge, Button, Card, Check, notice, Trouble, useAction } from "../parts";
import { t } from "../text";
import type { Plan, Step } from "../types";

const sign = (step: Step) => (step.method === "DELETE" ? "−" : step.method === "POST" ? "+" : "~");
const kind = (step: Step) => (step.method === "DELETE" ? "gone" : step.method === "POST" ? "new" : "other");

/** What would be done, as a list of what comes, goes and changes. */
export function Steps({ steps, label }: { steps: Step[]; label: string }) {
	return (
		<ol class="diff" aria-label={label}>
			{steps.map((step, at) => <li key={at} class={kind(step)}><b aria-hidden="true">{sign(step)}</b> <span lang="en">{step.text}</span></li>)}
		</ol>
	);
}

async function download() {
	const document = await get<object>("/configuration");
	saveFile(`granary-${location.hostname}-${new Date().toISOString().slice(0, 10)}.json`, new Blob([`${JSON.stringify(document, null, 2)}\n`], { type: "application/json" }));
}

export function Configuration() {
	const [document, setDocument] = useState<object | null>(null);
	const [name, setName] = useState("");
	const [wrong, setWrong] = useState(false);
	const [prune, setPrune] = useState(false);
	const [plan, setPlan] = useState<Plan | null>(null);
	const action = useAction(), keeping = useAction();
	if (!can("operator")) return null;
	async function take(file: File | undefined) {
		setPlan(null);
		action.clear();
		if (!file) return;
		setName(file.name);
		try {
			setDocument(JSON.parse(await file.text()));
			setWrong(false);
		} catch {
			setDocument(null);
			setWrong(true);
		}
	}
	const ask = (dry: boolean) => action.run(async () => {
		const done = await call<Plan>("PUT", `/configuration${dry ? "?dry_run=1" : ""}`, { document, prune });
		setPlan(dry ? done : null);
		if (!dry) notice(t("configuration.applied", { count: number(done.done) }));
	});
	return (
		<Card title={t("configuration.title")}>
			<p class="prose small">{t("configuration.text")}</p>
			<div class="buttons start"><Button busy={keeping.busy} onClick={() => keeping.run(download)}>{t("configuration.save")}</Button></div>
			<Trouble problem={keeping.problem} />
			{can("admin") && <>
				<div class="field">
					<label for="configuration-file">{t("configuration.file")}</label>
					<input id="configuration-file" class="file" type="file" accept=".json,application/json" onChange={(event) => take(event.currentTarget.files?.[0])} />
					{wrong && <p class="hint" role="alert">{t("configuration.noJson", { name })}</p>}
				</div>
				<Check label={t("configuration.prune")} value={prune} onValue={(value) => { setPrune(value); setPlan(null); }} />
				<Trouble problem={action.problem} />
				{plan && (plan.steps.length === 0 ? <p role="status"><Badge tone="good">{t("configuration.nothing")}</Badge></p> : <Steps steps={plan.steps} label={t("configuration.plan")} />)}
				<div class="buttons start">
					<Button busy={action.busy} disabled={!document} onClick={() => ask(true)}>{t("configuration.look")}</Button>
					{plan && plan.steps.length > 0 && <Button kind="main" busy={action.busy} onClick={() => ask(false)}>{t("configuration.apply", { count: plan.steps.length })}</Button>}
				</div>
			</>}
		</Card>
	);
}
