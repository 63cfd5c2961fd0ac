// SPDX-License-Identifier: Apache-2.0
// What is done seldom, in a real browser: the certificates of NFS over TLS, proof of a
// pool's storage, a volume that moves to another pool, a device that has grown, a volume taken from
// another gateway, an iSNS server, a first image on a disk. Started by
// tests/integration/browser_seldom_test.py with what it needs in GRANARY_BROWSER; prints one line of
// JSON per point.
import { readFileSync, statSync, truncateSync } from "node:fs";
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

// --- what a pool's storage promises --------------------------------------------------------------

async function scrubRule() {
	await open("pools/tank");
	await page.getByRole("button", { name: "When by itself" }).click();
	await box.getByLabel("By itself").selectOption("");
	await box.getByLabel("At other times").fill("30 2 * * 6");
	await picture("scrub-rule");
	const found = [...await faults(), ...await barriers()];
	await carryOut(box.getByRole("button", { name: "Save" }));
	await page.locator("main").getByText("30 2 * * 6").waitFor();
	point((await ask("/pools/tank")).scrub_every === "30 2 * * 6" && found.length === 0, "a pool is scrubbed by itself when it is said", found.join("\n"));
	await page.getByRole("button", { name: "When by itself" }).click();
	await box.getByLabel("By itself").selectOption("weekly");
	await carryOut(box.getByRole("button", { name: "Save" }));
	await page.locator("main").getByText("Each week").waitFor();
	point((await ask("/pools/tank")).scrub_every === "weekly", "or each week");
}

async function proof() {
	await open("pools/tank");
	await page.getByRole("button", { name: "Prove the storage", exact: true }).click();
	await box.getByLabel("Seconds of writing").fill("601");
	point(await box.getByText("A number from 1 to 600").count() === 1 && await box.getByRole("button", { name: "Begin" }).isDisabled(), "a proof is no longer than it can be");
	await box.getByLabel("Seconds of writing").fill("1");
	await press(box.getByRole("button", { name: "What will change?" }), box.locator(".would").getByText("proof of pool tank"));
	await box.getByText("The same as a command").click();
	point((await box.locator(".would").innerText()).includes("granary pool prove tank --seconds 1"), "it is tried out first, with its command", await box.locator(".would").innerText());
	await Promise.all([box.getByText("It is written for").waitFor(), box.getByRole("progressbar").waitFor(), box.getByRole("button", { name: "Begin" }).click()]);
	point(true, "it says how long it goes on");
	await page.getByRole("dialog", { name: "Proof of pool tank" }).waitFor();
	const said = await box.innerText();
	point(/keeps its promises|suspiciously fast/.test(said) && /, of which 0 are not as they were written/.test(said) && /\d [KMG]iB\/s/.test(said) && /A flush takes/.test(said), "and then what was found, in words", said);
	const found = [...await faults(), ...await barriers()];
	point(found.length === 0, "without a barrier", found.join("\n"));
	await picture("proof");
	await page.keyboard.press("Escape");
	await box.waitFor({ state: "detached" });
	await page.route("**/pools/tank/prove", (one) => one.fulfill({ json: { pool: "tank", verdict: "bad", reason: "7 of 1000 blocks are not what was written", verified_blocks: 1000, mismatches: 7, errors: 0, checksum_errors: 0,
		...Object.fromEntries(["sequential_write", "random_write", "write_and_flush", "forced_write", "verify"].map((name) => [name, { operations_per_second: 1234, bytes_per_second: 5e6, p50_us: 10, p99_us: 12345, flush_p50_us: 900, flush_p99_us: 2100 }])) } }));
	await looks("proof", async (language) => {
		await page.getByRole("button", { name: language === "zh" ? "验证存储" : "Prove the storage", exact: true }).click();
		await box.getByRole("button", { name: language === "zh" ? "开始" : "Begin" }).click();
		await box.locator(".verdict.bad").waitFor();
	}, "其中 7 个与写入不符");
	await page.unroute("**/pools/tank/prove");
	await page.keyboard.press("Escape");
}

// --- volumes ----------------------------------------------------------------------------------------

async function move() {
	await change("POST", "/snapshots", { snapshots: ["tank/vm@monday"] });
	await open("volumes", "tbody tr");
	point(await page.getByRole("button", { name: "Move raw to another pool" }).count() === 0, "a device as it is does not move");
	const begin = async (rate) => {
		await page.getByRole("button", { name: "Move vm to another pool", exact: true }).click();
		await box.getByText("Snapshots do not go along").waitFor();
		await box.getByLabel("At most, MiB a second").fill(rate);
	};
	await begin("0.0625");
	point(await box.getByLabel("Move to").inputValue() === "far" && await box.getByRole("button", { name: "Move", exact: true }).isDisabled(), "its snapshots do not go along: that has to be said");
	await box.getByLabel("Delete its snapshots at the end (1)").check();
	await box.getByText("The same as a command").click();
	const [cli, curl] = await box.locator("pre").allInnerTexts();
	point(cli === "granary volume move tank/vm far --rate 65536 --without-snapshots" && curl.includes(`curl -X POST '${given.url}/api/v1/volumes/tank/vm/move'`), "what has no dry run says what it is as a command", [cli, curl]);
	await picture("move");
	await carryOut(box.getByRole("button", { name: "Move", exact: true }));
	const list = card("On the way to other pools");
	await list.getByText("copying").waitFor();
	point(/vm tank → far/.test(await list.innerText()) && /64 KiB\/s at most/.test(await list.innerText()) && await list.getByRole("progressbar", { name: "Move of vm" }).count() === 1, "what moves is listed, with how far it is", await list.innerText());
	await list.getByRole("button", { name: "Pause" }).click();
	await list.getByText("paused").waitFor();
	await list.getByRole("button", { name: "Give it up" }).click();
	await box.getByText("The volume stays in tank").waitFor();
	await carryOut(box.getByRole("button", { name: "Go on" }));
	await until("/moves", (all) => all.length === 0);
	const said = await commands();
	point(["granary volume move tank/vm far --rate 65536 --without-snapshots", "granary volume move tank/vm --pause", "granary volume move tank/vm --stop"].every((one) => said.includes(one)), "each of its steps is there as a command", said);
	await open("volumes", "tbody tr");
	point((await ask("/volumes/tank/vm")).name === "vm" && (await ask("/volumes/tank/vm/snapshots")).length === 1, "given up, it stays where it is");
	await begin("0.0625");
	await box.getByLabel("Delete its snapshots at the end (1)").check();
	await carryOut(box.getByRole("button", { name: "Move", exact: true }));
	await list.getByText("copying").waitFor();
	await looks("moves", () => page.getByRole("progressbar").first().waitFor(), "迁移中的卷");
	await list.getByRole("button", { name: "Change the rate" }).click();
	await box.getByLabel("At most, MiB a second").fill("");
	await Promise.all([page.getByText("vm is in far now").waitFor(), carryOut(box.getByRole("button", { name: "Save" }))]);
	point((await ask("/volumes/far/vm")).mapped.length === 1, "and then it is at the other place, with its LUN");
}

async function devices() {
	await page.getByRole("button", { name: "raw", exact: true }).click();
	truncateSync(`${given.folder}/raw.img`, 32 << 20);
	await press(box.getByRole("button", { name: "Look at its size again" }), page.getByText("raw is 32 MiB large now"));
	await box.getByText("32 MiB", { exact: true }).waitFor();
	point((await ask("/volumes/passthrough/raw")).size_bytes === 32 << 20, "a device that has grown is looked at again");
	await picture("rescan");
	await page.keyboard.press("Escape");
	// As a pool of a Ceph cluster has it.
	const all = await ask("/volumes");
	let taken = 0;
	await page.route("**/api/v1/volumes?*", (one) => one.fulfill({ json: all.map((row) => row.name === "vm" && !taken ? { ...row, backend: "rbd", state: "standby" } : row) }));
	await page.route("**/volumes/far/vm/take*", (one) => one.request().url().includes("dry_run") ? one.fulfill({ status: 422, json: { code: "no_dry_run" } }) : one.fulfill({ json: { ...all[0], step: ++taken } }));
	await open("pools");
	await open("volumes", "tbody tr");
	await page.getByText("standby", { exact: true }).waitFor();
	await page.getByRole("button", { name: "Serve vm here" }).click();
	await box.getByText("lets it go").waitFor();
	await picture("take");
	await press(box.getByRole("button", { name: "Go on" }), page.getByText("vm is served here now"));
	await page.getByText("standby", { exact: true }).waitFor({ state: "detached" });
	point(taken === 1, "a volume that another gateway serves is taken, after it was asked for");
	await page.unroute("**/api/v1/volumes?*");
}

// --- iSNS -------------------------------------------------------------------------------------------

async function isns() {
	await open("settings");
	const here = card("iSNS");
	await here.getByText("The targets are registered with no server").waitFor();
	await here.getByRole("button", { name: "Set the server" }).click();
	await box.getByLabel("Address of the server").fill("127.0.0.1:1");
	await box.getByLabel("Port for inquiries").fill("65536");
	point(await box.getByText("A port is at most 65535").count() === 1 && await box.getByRole("button", { name: "Save" }).isDisabled(), "a port that is none is told");
	await box.getByLabel("Port for inquiries").fill("3206");
	await press(box.getByRole("button", { name: "What will change?" }), box.locator(".would").getByText("127.0.0.1:1"));
	await box.getByText("The same as a command").click();
	const said = await box.locator(".would").innerText();
	point(said.includes("granary isns set 127.0.0.1:1 --esi-port 3206") && (await ask("/isns")).server === "", "it is tried out first, with its command", said);
	await carryOut(box.getByRole("button", { name: "Save" }));
	await here.getByText("The server is 127.0.0.1:1").waitFor();
	await until("/isns", (one) => one.state === "failing");
	await looks("isns", () => page.getByText("127.0.0.1:1").first().waitFor(), "服务器没有应答");
	const now = await ask("/isns");
	point(now.esi_port === 3206 && (await here.innerText()).includes(now.reason) && (await here.innerText()).includes(now.entity), "a server that is not there is told of, with its reason", await here.innerText());
	await here.getByRole("button", { name: "Register with none" }).click();
	await box.locator(".would").getByText("127.0.0.1:1").waitFor();
	await carryOut(box.getByRole("button", { name: "Go on" }));
	await here.getByText("The targets are registered with no server").waitFor();
	point((await ask("/isns")).server === "", "and is taken back, after it was shown what changes");
}

// --- a first image on a disk ------------------------------------------------------------------------

async function seed() {
	await change("POST", "/volumes", { pool: "tank", name: "db", size: "8M" });
	await change("POST", "/replica/peers", { address: given.peer.address, code: given.peer.code });
	await open("replication");
	await page.getByRole("button", { name: "New group" }).click();
	await box.getByLabel("Name").fill("carried");
	await box.getByLabel("tank/db").check();
	await box.getByLabel("The first image").selectOption("ship");
	await carryOut(box.getByRole("button", { name: "Create" }));
	await until("/replica/groups/carried", (one) => one.state === "waiting for its seed");
	await page.getByRole("button", { name: "Write the first image …" }).click();
	await box.getByLabel("Directory or file").fill(`${given.folder}/nowhere/it.seed`);
	await press(box.getByRole("button", { name: "Write", exact: true }), box.getByText("No such file"));
	await box.getByLabel("Directory or file").fill(`${given.folder}/it.seed`);
	await press(box.getByRole("button", { name: "What will change?" }), box.locator(".would").getByText("exporting"));
	await box.getByText("The same as a command").click();
	point((await box.locator(".would").innerText()).includes(`granary replica seed export carried ${given.folder}/it.seed`), "an export is tried out first, with its command", await box.locator(".would").innerText());
	await carryOut(box.getByRole("button", { name: "Write", exact: true }));
	await until("/replica/groups/carried", (one) => one.seed.state === "exported");
	await page.reload();
	await page.getByText("Carry this file to the standby").waitFor();
	const { seed: now } = await ask("/replica/groups/carried");
	point(now.state === "exported" && now.path === `${given.folder}/it.seed` && statSync(now.path).size > 0, "the first image is written to a file, and the group says so", now);
	await page.route("**/replica/groups", async (one) => {
		const groups = await (await one.fetch()).json();
		await one.fulfill({ json: [{ ...groups[0], seed: { ...now, state: "exporting", running: true, done_bytes: 3e6, total_bytes: 8e6 } }, { ...groups[0], name: "other", role: "standby" }] });
	});
	await looks("seed", () => page.getByRole("progressbar").waitFor(), "正在写出");
	await page.getByRole("button", { name: "Stop it" }).click();
	await box.getByText("no seed is under way").waitFor();
	point(await box.getByText("stays as FILE.part").count() === 1, "stopping it is asked for first");
	await page.keyboard.press("Escape");
	await page.getByRole("button", { name: "Take in a first image" }).click();
	await box.getByLabel("File", { exact: true }).fill(now.path);
	await press(box.getByRole("button", { name: "Take it in" }), box.getByRole("alert"));
	point(/carried is primary here/.test(await box.innerText()), "a primary takes none", await box.innerText());
	await picture("seed-import");
	await page.unroute("**/replica/groups");
	await page.keyboard.press("Escape");
}

await walked(async () => {
	await signIn();
	await certificates();
	await move();
	await devices();
	await scrubRule();
	await proof();
	await isns();
	await seed();
	await plain();
});
