// SPDX-License-Identifier: Apache-2.0
// The second factor: codes of an application on a phone (RFC 6238).
import { useState } from "preact/hooks";
import { call, identify, me } from "../api";
import { Badge, Button, Dialog, FormDialog, Input, notice, Snippet } from "../parts";
import { t } from "../text";

interface Offer { secret: string; uri: string }

function TurnOn({ offer, onClose, onDone }: { offer: Offer; onClose: () => void; onDone: (codes: string[]) => void }) {
	const [code, setCode] = useState("");
	return (
		<FormDialog title={t("totp.turnOn")} button={t("totp.turnOn")} ready={/^\d{6}$/.test(code)} onClose={onClose} submit={async () => onDone((await call<{ recovery_codes: string[] }>("POST", "/me/totp/confirm", { code })).recovery_codes)}>
			<p class="prose">{t("totp.scan")}</p>
			<Snippet text={offer.secret.replace(/(.{4})(?=.)/g, "$1 ")} label={t("totp.secret")} />
			<p class="hint"><a href={offer.uri}>{t("totp.open")}</a></p>
			<Input label={t("totp.code")} inputMode="numeric" autocomplete="one-time-code" value={code} onValue={(text) => setCode(text.replace(/\D/g, "").slice(0, 6))} autoFocus />
		</FormDialog>
	);
}

function TurnOff({ onClose }: { onClose: () => void }) {
	return (
		<FormDialog title={t("totp.turnOff")} button={t("totp.turnOff")} kind="danger" onClose={onClose} submit={async () => {
			await call("DELETE", "/me/totp");
			await identify();
			notice(t("totp.isOff"));
		}}>
			<p class="prose">{t("totp.offText")}</p>
		</FormDialog>
	);
}

export function Totp() {
	const [offer, setOffer] = useState<Offer | null>(null);
	const [codes, setCodes] = useState<string[] | null>(null);
	const [leaving, setLeaving] = useState(false);
	const on = me.value?.totp;
	async function begin() {
		try {
			setOffer(await call<Offer>("POST", "/me/totp", {}));
		} catch (error) {
			notice(String((error as Error).message), true);
		}
	}
	return (
		<div class="setting">
			<div><strong>{t("totp.title")}</strong> <Badge tone={on ? "good" : "quiet"}>{on ? t("totp.on") : t("totp.off")}</Badge><p class="hint">{t("totp.text")}</p></div>
			{on ? <Button onClick={() => setLeaving(true)}>{t("totp.turnOff")}</Button> : <Button icon="shield" onClick={begin}>{t("totp.turnOn")}</Button>}
			{offer && <TurnOn offer={offer} onClose={() => setOffer(null)} onDone={setCodes} />}
			{leaving && <TurnOff onClose={() => setLeaving(false)} />}
			{codes && (
				<Dialog title={t("totp.codes")} onClose={() => { setCodes(null); void identify(); }}>
					<p class="prose">{t("totp.codesText")}</p>
					<Snippet text={codes.join("\n")} label={t("totp.codes")} />
					<div class="buttons"><Button kind="main" onClick={() => { setCodes(null); void identify(); }}>{t("tokens.kept")}</Button></div>
				</Dialog>
			)}
		</div>
	);
}
