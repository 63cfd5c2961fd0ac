// SPDX-License-Identifier: Apache-2.0
// What is done seldom, in a real browser: the certificates of NFS over TLS. Started by
// tests/integration/browser_seldom_test.py with what it needs in GRANARY_BROWSER; prints one line of
// JSON per point.
import { readFileSync } from "node:fs";
import { ask, barriers, box, carryOut, change, faults, given, open, page, picture, plain, point, press, signIn, until, walked, wear } from "./page.mjs";

const card = (title) => page.locator(".card", { has: page.getByRole("heading", { name: title, exact: true }) });
const commands = async () => {
	await open("commands");
	return page.locator("main").innerText();
};

/** The page or dialog on show, on a phone in Chinese in the dark, and in English on a desk: @bring brings it there. */
async function looks(name, bring, chinese) {
	const wrong = [];
	for (const one of [{ language: "zh", look: "dark", width: 360 }, { language: "en", look: "light", width: 1280 }]) {
		await wear(one);
		await bring(one.language);
		wrong.push(...[...await faults(), ...await barriers()].map((text) => `${one.language}: ${text}`));
		if (one.language === "zh" && !(await page.locator("body").innerText()).includes(chinese)) wrong.push(`no ${chinese}`);
		await picture(`${name}-${one.width}-${one.language}`);
	}
	point(wrong.length === 0, `${name}: dark on a phone in Chinese, light on a desk in English: fits, named, contrast, no barrier`, wrong.slice(0, 10).join("\n"));
}

// --- NFS over TLS ------------------------------------------------------------------------------

async function certificates() {
	const pem = readFileSync(`${given.folder}/server.pem`, "utf8"), at = pem.indexOf("-----BEGIN CERTIFICATE");
	const parts = { chain: pem.slice(at), key: pem.slice(0, at) };
	const first = (await ask("/nfs-tls")).certificate.fingerprint_sha256;
	await open("shares");
	const tls = card("NFS over TLS");
	await tls.getByText(first).waitFor();
	point(await tls.getByText(/^\d+ days left$/).count() === 1 && await tls.getByText("None is trusted").count() === 1, "the certificate of NFS over TLS is shown, with how long it is good", await tls.innerText());
	await tls.getByRole("button", { name: "Replace" }).click();
	await box.getByLabel("Certificate, with its intermediates (PEM)", { exact: true }).fill(parts.chain);
	point(await box.getByRole("button", { name: "Replace" }).isDisabled(), "a certificate without its key is none");
	await box.getByLabel("Private key (PEM, without a pass phrase): from a file").setInputFiles({ name: "server.key", mimeType: "text/plain", buffer: Buffer.from(parts.key) });
	await carryOut(box.getByRole("button", { name: "Replace" }));
	const second = (await until("/nfs-tls", (one) => one.certificate.fingerprint_sha256 !== first)).certificate.fingerprint_sha256;
	await tls.getByText(second).waitFor();
	await tls.getByRole("button", { name: "Set trusted certificates" }).click();
	const authority = readFileSync(`${given.folder}/ca.pem`, "utf8"), from = authority.indexOf("-----BEGIN CERTIFICATE");
	await box.getByLabel("Authorities, or clients' own certificates (PEM)", { exact: true }).fill("-----BEGIN CERTIFICATE-----\nno\n-----END CERTIFICATE-----\n");
	await press(box.getByRole("button", { name: "Save" }), box.getByText("The certificate can not be used"));
	await box.getByLabel("Authorities, or clients' own certificates (PEM)", { exact: true }).fill(authority.slice(from));
	await carryOut(box.getByRole("button", { name: "Save" }));
	await tls.getByRole("button", { name: "Trust none" }).waitFor();
	point((await ask("/nfs-tls")).clients.length === 1 && await tls.getByRole("listitem").count() === 1, "whose certificates are trusted is set", await tls.innerText());
	await tls.getByRole("button", { name: "Replace" }).click();
	await box.getByLabel("Where the certificate comes from").selectOption("renew");
	await carryOut(box.getByRole("button", { name: "Replace" }));
	await until("/nfs-tls", (one) => one.certificate.fingerprint_sha256 !== second);
	await tls.getByRole("button", { name: "Trust none" }).click();
	await box.getByText("can not connect any more").waitFor();
	await carryOut(box.getByRole("button", { name: "Go on" }));
	await tls.getByText("None is trusted").waitFor();
	point((await ask("/nfs-tls")).clients.length === 0, "and taken back, after it was asked for");
	await change("PUT", "/nfs-tls", { clients: authority.slice(from) });
	const said = await commands();
	const wanted = ["granary share tls set --chain-file FILE --key-file FILE", "granary share tls set --clients-file FILE", "granary share tls set --renew", "granary share tls set --no-clients"];
	point(wanted.every((one) => said.includes(one)) && !said.includes("PRIVATE KEY"), "each is there as a command, without the key", said);
	await open("shares");
	await looks("nfs-tls", () => page.locator("ul.connected").waitFor(), "受信任");
	await looks("nfs-tls-dialog", async (language) => {
		await page.getByRole("button", { name: language === "zh" ? "替换" : "Replace", exact: true }).click();
		await box.waitFor();
	}, "私钥不会再次显示");
	await page.keyboard.press("Escape");
}

await walked(async () => {
	await signIn();
	await certificates();
	await plain();
});
