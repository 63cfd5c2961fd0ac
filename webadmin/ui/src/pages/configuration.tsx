// SPDX-License-Identifier: Apache-2.0
// All that is configured as one document: kept as a file, and brought back after a look at what it
// would change.
import { useState } from "preact/hooks";
import { bytesFrom, call, can, get, problemOf, saveFile } from "../api";
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

const PATH = "/configuration", YAML = "application/yaml";
const fileName = (ending: string) => `granary-${location.hostname}-${new Date().toISOString().slice(0, 10)}.${ending}`;

async function download() {
	const document = await get<object>(PATH);
	saveFile(fileName("json"), new Blob([`${JSON.stringify(document, null, 2)}\n`], { type: "application/json" }));
}
const downloadYaml = async () => saveFile(fileName("yaml"), await bytesFrom(PATH, YAML));

export function Configuration() {
	const [document, setDocument] = useState<object | string | null>(null); // a text: YAML
	const [tag, setTag] = useState("");
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
		const text = await file.text();
		try {
			setDocument(/\.ya?ml$/i.test(file.name) ? text : JSON.parse(text));
			setWrong(false);
		} catch {
			setDocument(null);
			setWrong(true);
		}
	}
	const ask = (dry: boolean) => action.run(async () => {
		const query = [dry && "dry_run=1", typeof document === "string" && prune && "prune=1"].filter(Boolean).join("&");
		const path = `${PATH}${query && `?${query}`}`, text = typeof document === "string";
		const more = dry ? { seen: setTag } : { tag }; // what was looked at is what is carried out
		let done: Plan;
		try {
			done = await call<Plan>("PUT", path, text ? document : { document, prune }, { ...more, ...(text && { type: YAML }) });
		} catch (error) {
			if (problemOf(error).code === "stale") setPlan(null);
			throw error;
		}
		setPlan(dry ? done : null);
		if (!dry) notice(t("configuration.applied", { count: number(done.done) }));
	});
	return (
		<Card title={t("configuration.title")}>
			<p class="prose small">{t("configuration.text")}</p>
			<div class="buttons start"><Button busy={keeping.busy} onClick={() => keeping.run(download)}>{t("configuration.save")}</Button><Button busy={keeping.busy} onClick={() => keeping.run(downloadYaml)}>{t("configuration.saveYaml")}</Button></div>
			<Trouble problem={keeping.problem} />
			{can("admin") && <>
				<div class="field">
					<label for="configuration-file">{t("configuration.file")}</label>
					<input id="configuration-file" class="file" type="file" accept=".json,.yaml,.yml,application/json,application/yaml" onClick={(event) => { event.currentTarget.value = ""; /* edited, it may be chosen again */ }} onChange={(event) => take(event.currentTarget.files?.[0])} />
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
