// SPDX-License-Identifier: Apache-2.0
import { useState } from "preact/hooks";
import { call, can } from "../api";
import { time } from "../format";
import { useResource } from "../live";
import { Button, Card, Copy, Facts, Field, FormDialog, notice, Waiting } from "../parts";
import { t } from "../text";

export interface Shown { fingerprint_sha256: string; subject: string; issuer: string; names: string[]; not_before: string; not_after: string; self_signed: boolean }

export function PemField({ label, value, onValue }: { label: string; value: string; onValue: (text: string) => void }) {
	return (
		<Field label={label}>
			{(id) => <>
				<textarea id={id} rows={4} class="mono" spellcheck={false} placeholder="-----BEGIN …" value={value} onInput={(event) => onValue(event.currentTarget.value)} />
				<input type="file" class="file" aria-label={`${label}: ${t("certificate.file")}`} accept=".pem,.crt,.key,.cer" onChange={async (event) => { const file = event.currentTarget.files?.[0]; if (file && file.size < 1 << 18) onValue(await file.text()); }} />
			</>}
		</Field>
	);
}

function Replace({ onClose }: { onClose: () => void }) {
	const [chain, setChain] = useState("");
	const [key, setKey] = useState("");
	return (
		<FormDialog title={t("certificate.replace")} button={t("certificate.replace")} ready={chain.includes("BEGIN CERTIFICATE") && key.includes("PRIVATE KEY")} onClose={onClose} submit={async () => {
			await call("PUT", "/certificate", { chain, key });
			notice(t("certificate.replaced"));
		}}>
			<p class="prose">{t("certificate.text")}</p>
			<PemField label={t("certificate.chain")} value={chain} onValue={setChain} />
			<PemField label={t("certificate.key")} value={key} onValue={setKey} />
		</FormDialog>
	);
}

export function Certificate() {
	const { data, problem } = useResource<Shown>("/certificate");
	const [open, setOpen] = useState(false);
	return (
		<Card title={t("certificate.title")} actions={can("admin") && <Button icon="shield" onClick={() => setOpen(true)}>{t("certificate.replace")}</Button>}>
			{!data ? <Waiting problem={problem} /> : (
				<Facts rows={[
					[t("certificate.fingerprint"), <><span class="mono name fingerprint">{data.fingerprint_sha256}</span><Copy small text={data.fingerprint_sha256} /></>],
					[t("certificate.names"), data.names.join(", ") || data.subject],
					[t("certificate.issuer"), data.self_signed ? t("certificate.self") : data.issuer],
					[t("certificate.until"), time(data.not_after)],
				]} />
			)}
			{open && <Replace onClose={() => setOpen(false)} />}
		</Card>
	);
}
