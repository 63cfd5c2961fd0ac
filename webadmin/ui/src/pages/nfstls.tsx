// SPDX-License-Identifier: Apache-2.0
// NFS over TLS (RFC 9289): the certificate that is shown to clients, and whose of theirs are believed.
import { useState } from "preact/hooks";
import { call } from "../api";
import { time } from "../format";
import { useResource } from "../live";
import { actAsked, Badge, Button, Card, Copy, Facts, FormDialog, notice, Select, Trouble } from "../parts";
import { t } from "../text";
import { Commands } from "../would";
import { PemField, type Shown } from "./certificate";

const PATH = "/nfs-tls", DAY = 86400000, SOON = 30;

/** Until when it is good, and how long that still is. */
function Until({ one }: { one: Shown }) {
	const days = Math.floor((new Date(one.not_after).getTime() - Date.now()) / DAY);
	return <span class="list"><span>{time(one.not_after)}</span><Badge tone={days < 0 ? "bad" : days < SOON ? "warn" : "good"}>{days < 0 ? t("nfstls.expired") : t("nfstls.daysLeft", { days })}</Badge></span>;
}

function Replace({ onClose }: { onClose: () => void }) {
	const [from, setFrom] = useState("given");
	const [chain, setChain] = useState("");
	const [key, setKey] = useState("");
	const given = from === "given";
	return (
		<FormDialog untried title={t("nfstls.replace")} button={t("certificate.replace")} ready={!given || (chain.includes("BEGIN CERTIFICATE") && key.includes("PRIVATE KEY"))} onClose={onClose} submit={async () => {
			await call("PUT", PATH, given ? { chain, key } : { renew: true });
			notice(t("certificate.replaced"));
		}}>
			<Select label={t("nfstls.from")} value={from} onValue={setFrom} options={[["given", t("nfstls.fromGiven")], ["renew", t("nfstls.fromRenew")]]} />
			<p class="prose">{t(given ? "nfstls.givenText" : "nfstls.renewText")}</p>
			{given && <>
				<PemField label={t("certificate.chain")} value={chain} onValue={setChain} />
				<PemField label={t("certificate.key")} value={key} onValue={setKey} />
			</>}
			<Commands all={[{ method: "PUT", path: PATH, body: given ? { chain: "…", key: "…" } : { renew: true } }]} />
		</FormDialog>
	);
}

function Clients({ count, onClose }: { count: number; onClose: () => void }) {
	const [clients, setClients] = useState("");
	return (
		<FormDialog untried title={t("nfstls.believe")} button={t("action.save")} ready={clients.includes("BEGIN CERTIFICATE")} onClose={onClose} submit={async () => {
			await call("PUT", PATH, { clients });
			notice(t("nfstls.believed"));
		}}>
			<p class="prose">{t("nfstls.believeText")}{count > 0 && ` ${t("nfstls.believeReplaces", { count })}`}</p>
			<PemField label={t("nfstls.authorities")} value={clients} onValue={setClients} />
			<Commands all={[{ method: "PUT", path: PATH, body: { clients: "…" } }]} />
		</FormDialog>
	);
}

function Certificates({ data, onOpen }: { data: { certificate: Shown; clients: Shown[] }; onOpen: (what: "clients") => void }) {
	const { certificate, clients } = data;
	return (
		<>
			<Facts rows={[
				[t("certificate.fingerprint"), <><span class="mono name fingerprint">{certificate.fingerprint_sha256}</span><Copy small text={certificate.fingerprint_sha256} /></>],
				[t("certificate.names"), certificate.names.join(", ") || certificate.subject],
				[t("certificate.issuer"), certificate.self_signed ? t("certificate.self") : certificate.issuer],
				[t("certificate.until"), <Until one={certificate} />],
			]} />
			<div class="setting">
				<div><strong>{t("nfstls.clients")}</strong><p class="hint">{t(clients.length ? "nfstls.clientsText" : "nfstls.clientsNone")}</p></div>
				<div class="buttons start">
					{clients.length > 0 && <Button role="admin" onClick={() => actAsked(t("nfstls.forget"), t("nfstls.forgotten"), "PUT", PATH, { clients: "" }, t("nfstls.forgetText"))}>{t("nfstls.forget")}</Button>}
					<Button role="admin" onClick={() => onOpen("clients")}>{t("nfstls.believe")}</Button>
				</div>
			</div>
			{clients.length > 0 && <ul class="connected">{clients.map((one) => <li key={one.fingerprint_sha256}><div class="name"><span>{one.subject}</span><small class="mono">{one.fingerprint_sha256}</small><Until one={one} /></div></li>)}</ul>}
		</>
	);
}

/** Nothing where the daemon serves no NFS. */
export function NfsTls() {
	const { data, problem } = useResource<{ certificate: Shown; clients: Shown[] }>(PATH);
	const [open, setOpen] = useState<"replace" | "clients" | null>(null);
	const close = () => setOpen(null);
	if (!data && problem?.code !== "no_certificate") return null;
	return (
		<Card title={t("nfstls.title")} actions={<Button role="admin" icon="shield" onClick={() => setOpen("replace")}>{t("certificate.replace")}</Button>}>
			<p class="prose small">{t("nfstls.text")}</p>
			{data && problem?.code !== "no_certificate" ? <Certificates data={data} onOpen={setOpen} /> : <Trouble problem={problem} />}
			{open === "replace" && <Replace onClose={close} />}
			{open === "clients" && <Clients count={data?.clients.length ?? 0} onClose={close} />}
		</Card>
	);
}
