// SPDX-License-Identifier: Apache-2.0
// A person's way through the web admin in a real browser, against the real daemons. Started by
// tests/integration/browser_test.py with what it needs in GRANARY_BROWSER; prints one line of JSON
// per point.
import { execFile, spawn } from "node:child_process";
import { createHmac } from "node:crypto";
import { createServer } from "node:http";
import { promisify } from "node:util";
import { lacksNames } from "./checks.mjs";
import { ask, barriers, box, carryOut, change, faults, given, LONG, newPage, note, open, page, picture, point, press, signIn, until, V1, walked, wear } from "./page.mjs";

const PASSWORD = given.password;
const HOST = "iqn.2026-11.test:host-a", OTHER = "iqn.2026-11.test:host-b";

async function firstStart() {
	const started = Date.now();
	await page.goto(given.url);
	await page.getByLabel("Set-up code").waitFor();
	point(true, "the first start asks for the set-up code");
	note(`that page is there after ${Date.now() - started} ms`);
	const password = page.getByLabel("Password", { exact: true }), again = page.getByLabel("Password, once more");
	await password.fill(PASSWORD);
	await again.fill(PASSWORD);
	await page.getByLabel("Set-up code").fill("0000-0000-0000");
	await page.getByRole("button", { name: "Create account" }).click();
	await page.getByRole("alert").waitFor();
	point(await page.getByRole("alert").getByText("This is not the set-up code").count() || await page.getByText("granary setup code").count() > 1, "a wrong code is refused, and it says what to do");
	await page.getByLabel("Set-up code").fill(given.code);
	await page.getByRole("button", { name: "Create account" }).click();
	await page.waitForSelector(".figures");
	point(true, "the code makes the first account and signs in");
}

async function signInAgain(ready) {
	await page.getByRole("button", { name: "Sign out" }).click();
	await page.getByLabel("User name").fill("admin");
	await page.getByLabel("Password").fill("not the pass phrase");
	await page.getByRole("button", { name: "Sign in" }).click();
	await page.getByText("The name or the password is wrong", { exact: true }).waitFor();
	point(true, "a wrong password is refused");
	await page.getByLabel("Password").fill(PASSWORD);
	await page.keyboard.press("Enter");
	if (ready) await open("volumes", ready);
	else await page.waitForSelector(".figures");
	point(true, "the right one signs in, by the keyboard");
}

/** Four fields and one click, for two hosts; returns the target's name. */
async function newLun() {
	await open("new", "textarea");
	await page.getByLabel("Name").fill("vm-cluster");
	await page.getByLabel("Size").fill("1");
	await page.getByLabel("Pool").selectOption("tank");
	await page.getByLabel("Who may connect").fill(`${HOST}\n${OTHER}`);
	await page.getByRole("button", { name: "Create LUN" }).click();
	await page.waitForSelector(".arrivals li.wait");
	await page.getByText("0 of 2 connected").waitFor();
	point(true, "a LUN for two hosts in four fields and one click, waiting for them");
	const snippet = page.locator(".snippet").first();
	await snippet.filter({ hasText: /SCSIid=3/ }).waitFor();
	const text = await snippet.innerText();
	const iqn = /targetIQN=(\S+)/.exec(text)?.[1] ?? "";
	point(iqn === "iqn.2026-11.org.granary:vm-cluster" && text.includes(`device-config:port=${given.iscsi}`) && /SCSIid=3[0-9a-f]{32}/.test(text), "the snippet for XCP-ng names target, port and SCSI id", text);
	const wrong = [];
	for (const title of ["Proxmox VE", "VMware ESXi", "Hyper-V", "oVirt", "KVM / libvirt", "Linux"]) {
		await page.getByRole("tab", { name: title }).click();
		const guide = await page.locator("#guide").innerText();
		if (!guide.includes(title === "VMware ESXi" ? `:${given.iscsi}` : iqn)) wrong.push(title);
	}
	point(wrong.length === 0, "and so do those for the six others", wrong);
	await picture("connect");
	return iqn;
}

/** Before anything is written to it. */
async function firstSnapshot() {
	await open("volumes", "tbody tr");
	await page.getByRole("link", { name: "Snapshots of vm-cluster" }).click();
	await page.getByText("No snapshot yet").waitFor();
	await page.getByRole("button", { name: "New snapshot" }).click();
	await page.getByLabel("Name").fill("first");
	await page.getByRole("button", { name: "Create", exact: true }).click();
	await page.getByRole("heading", { name: "first", exact: true }).waitFor();
	await page.getByText("What depends on it").waitFor();
	point(true, "a snapshot is made and picked");
}

/** What the snapshot of before the host's writes is good for. */
async function timeTravel() {
	const picked = (name) => page.getByRole("heading", { name, exact: true }).waitFor();
	await open("snapshots/tank/vm-cluster", ".timeline");
	await page.getByRole("button", { name: "What changed" }).click();
	const told = await box.getByText(/ changed, /).innerText();
	point(told.includes("4 MiB changed,") && await box.locator(".strip i.on").count() > 0, "what was written since is told", told);
	await picture("compare");
	await box.getByRole("button", { name: "Close" }).click();
	await change("POST", "/volumes", { pool: "tank", name: "beside", size: "1M" });
	await page.getByRole("button", { name: "New snapshot" }).click();
	await box.getByLabel("Name").fill("second");
	await box.getByRole("checkbox", { name: /beside/ }).check();
	await box.getByLabel("May be given up in a pool that is 97 % full").check();
	await box.getByRole("button", { name: "Create", exact: true }).click();
	await picked("second");
	await page.locator(".badges .badge", { hasText: "may be given up" }).waitFor();
	await picture("expendable");
	await page.getByRole("button", { name: "Do not give it up" }).click();
	await page.getByRole("button", { name: "Allow giving it up" }).waitFor();
	await page.getByRole("slider").focus();
	await page.keyboard.press("ArrowLeft");
	await picked("first");
	const beside = await ask("/volumes/tank/beside/snapshots");
	point(beside.length === 1 && beside[0].name === "second", "the timeline is walked by the keyboard; a second volume was kept at the same instant", beside);
	await page.getByRole("button", { name: "Clone", exact: true }).click();
	await box.getByLabel("Name").fill("from-first");
	await box.getByRole("button", { name: "Clone", exact: true }).click();
	await page.getByRole("link", { name: "Clone from-first" }).waitFor();
	await page.getByRole("button", { name: "Show to hosts" }).click();
	await box.getByRole("button", { name: "Show to hosts" }).click();
	await page.getByRole("link", { name: "LUN 1 of vm-cluster" }).waitFor();
	await page.getByRole("button", { name: "Hold", exact: true }).click();
	await box.getByRole("button", { name: "Hold", exact: true }).click();
	await page.locator(".badges .badge", { hasText: "held" }).waitFor();
	await picture("snapshots");
	await page.getByRole("button", { name: "Delete snapshot first" }).click();
	const kept = page.getByRole("dialog", { name: "first can not be deleted" }).getByRole("link");
	await kept.nth(1).waitFor();
	point(await kept.count() === 2, "cloned, shown and held; what depends on it keeps it from being deleted");
	await box.getByRole("button", { name: "Close" }).click();
	await page.getByRole("button", { name: "Release" }).click();
	await page.locator(".badges .badge", { hasText: "held" }).waitFor({ state: "detached" });
	await page.getByRole("button", { name: "Roll back" }).click();
	await box.getByLabel("Name of that snapshot").fill("before");
	await box.getByLabel("Type vm-cluster to go on").fill("vm-cluster");
	await picture("rollback");
	await carryOut(box.getByRole("button", { name: "Roll back" }));
	await picked("before");
	const since = await ask("/volumes/tank/vm-cluster/snapshots/first/diff");
	point(since.extents.length === 0, "rolled back, nothing has changed since, and what was is kept", since);
	await page.getByRole("button", { name: "second", exact: true }).click();
	await page.getByRole("button", { name: "Delete snapshot second" }).click();
	await box.getByLabel("Type second to go on").fill("second");
	await carryOut(box.getByRole("button", { name: "Delete", exact: true }));
	await page.getByRole("button", { name: "second", exact: true }).waitFor({ state: "detached" });
	await page.getByRole("button", { name: "New schedule" }).click();
	await box.getByLabel("Name").fill("nightly");
	await box.getByLabel("When").selectOption("daily");
	await box.getByLabel("Keep").fill("daily=7");
	await box.getByLabel("May be given up in a pool that is 97 % full").check();
	await box.getByRole("button", { name: "Create", exact: true }).click();
	await page.getByRole("button", { name: "Run nightly now" }).click();
	const made = page.getByRole("button", { name: /^auto/ });
	await made.waitFor();
	await made.click();
	await page.locator(".badges .badge", { hasText: "may be given up" }).waitFor();
	point(true, "what may be given up is said and taken back, of a snapshot and by a schedule");
	await picture("schedules");
	await page.getByRole("button", { name: "New schedule" }).click();
	await box.getByLabel("Name").fill("weekly");
	await box.getByLabel("When").selectOption("weekly");
	const prefix = await box.getByLabel("Snapshot prefix").inputValue();
	await box.getByRole("button", { name: "Create", exact: true }).click();
	await page.getByRole("button", { name: "Run weekly now" }).waitFor();
	point(prefix === "auto2", "a volume's second schedule is given a prefix of its own", prefix);
	await page.getByRole("button", { name: "Change schedule weekly" }).click();
	point(await box.getByRole("button", { name: "Save", exact: true }).isDisabled(), "a schedule that is not changed is not saved");
	await box.getByLabel("When").selectOption("");
	await box.getByLabel("At other times").fill("30 2 * * 1");
	await box.getByLabel("Time zone").fill("Asia/Shanghai");
	await box.getByRole("button", { name: "Save", exact: true }).click();
	await page.getByRole("cell", { name: "Asia/Shanghai" }).waitFor();
	const weekly = await ask("/snapshot-schedules/weekly");
	point(weekly.zone === "Asia/Shanghai" && weekly.every === "30 2 * * 1" && weekly.prefix === "auto2" && weekly.keep !== "", "a schedule is changed in place, and has a time zone of its own", weekly);
	await page.getByRole("button", { name: "Delete schedule weekly" }).click();
	await box.getByRole("button", { name: "Delete", exact: true }).click();
	await page.getByRole("button", { name: "Run weekly now" }).waitFor({ state: "detached" });
	await page.getByRole("button", { name: "Delete schedule nightly" }).click();
	await box.getByRole("button", { name: "Delete", exact: true }).click();
	await page.getByText("Snapshots are made by hand only").waitFor();
	point(await made.count() === 1, "a schedule is made, run and deleted; its snapshot stays");
	await page.goto(`${given.url}/#/targets/${encodeURIComponent("iqn.2026-11.org.granary:vm-cluster")}`);
	await page.getByRole("button", { name: "Take LUN 1 away" }).click();
	await carryOut(box.getByRole("button", { name: "Take away" }));
	await open("snapshots/tank/from-first", "main .lead a");
	await page.getByRole("button", { name: "Promote" }).click();
	await carryOut(box.getByRole("button", { name: "Promote" }));
	await picked("first");
	await page.getByRole("link", { name: "Clone vm-cluster" }).waitFor();
	point(true, "a promoted clone has the snapshot, and the volume stands on it");
}

/** A real initiator (libiscsi in QEMU) that writes, reads and stays. */
function initiator(iqn, name = HOST) {
	const image = `driver=iscsi,transport=tcp,portal=127.0.0.1:${given.iscsi},target=${iqn},lun=0,initiator-name=${name}`;
	const child = spawn("qemu-io", ["--image-opts", image], { stdio: ["pipe", "ignore", "ignore"] });
	child.stdin.write(name === HOST ? "write -P 7 0 4M\nread -P 7 0 4M\n" : "read 0 4k\n");
	return child;
}

async function arrival(iqn) {
	await open(`connect/${encodeURIComponent(iqn)}`, ".arrivals li.wait");
	const hosts = [initiator(iqn)];
	try {
		await page.waitForSelector(".arrivals li.come");
		point(true, "the page sees the host log in, by itself");
		point(await page.locator(".arrivals li.wait").innerText().then((text) => text.includes(OTHER)) && await page.getByText("1 of 2 connected").count() === 1, "and waits for the other one", await page.locator(".arrivals").innerText());
		hosts.push(initiator(iqn, OTHER));
		await page.getByText("2 of 2 connected").waitFor();
		point(await page.locator(".arrivals li.come").count() === 2 && await page.locator(".arrivals li.wait").count() === 0, "which comes too: the list is green", await page.locator(".arrivals").innerText());
		await open("sessions", "tbody tr");
		await page.locator("tbody tr", { hasText: HOST }).filter({ hasText: "4 MiB" }).first().waitFor();
		point(true, "the sessions page shows it with what it wrote");
		await open("");
		await page.locator(".connected li", { hasText: HOST }).first().waitFor();
		point(true, "and so does the overview");
		await page.locator(".uplot canvas").first().waitFor();
		await picture("overview");
		await everyPage();
	} finally {
		for (const host of hosts) {
			host.stdin.end("quit\n");
			host.kill();
		}
	}
	await open(`connect/${encodeURIComponent(iqn)}`, ".arrivals li.wait");
	await page.getByText("0 of 2 connected").waitFor();
	point(true, "and that they have gone");
}

const paths = ["", "new", "commands", "volumes", "snapshots/tank/vm-cluster", "targets", "hosts", "sessions", "shares", "smb", "pools", "pools/tank", "bin", "hardware", "replication", "alerts", "jobs", "support", "access", "audit", "settings"];

const looks = [
	{ language: "en", look: "light", width: 1280 }, { language: "zh", look: "dark", width: 1280 },
	{ language: "zh", look: "light", width: 360 }, { language: "en", look: "dark", width: 360 },
];

/** The page on show, with something on it that everyPage() does not see. */
async function everyLook() {
	const wrong = [];
	await page.evaluate(() => document.querySelector("main").append(document.createElement("button")));
	point((await barriers()).some((one) => one.includes("button-name")), "axe sees a button without a name");
	for (const one of looks) {
		await wear(one);
		await page.waitForSelector(".alerts li");
		wrong.push(...[...await faults(), ...await barriers()].map((text) => `${one.language}, ${one.look}, ${one.width}: ${text}`));
		if (one.language === "zh" && !(await page.locator(".alerts li").first().innerText()).includes("存储池 tank 空间渐满")) wrong.push("the alert is not Chinese");
		await picture(`alerts-${one.width}-${one.language}-${one.look}`);
	}
	await wear(looks[0]);
	await page.waitForSelector(".alerts li");
	point(wrong.length === 0, "a firing alert in both languages, light and dark, desk and phone: fits, named, contrast, no barrier", wrong.join("\n"));
}

/** Every page: both languages, phone and desk, light and dark. */
async function everyPage() {
	const all = [...paths, `targets/${encodeURIComponent("iqn.2026-11.org.granary:vm-cluster")}`, `connect/${encodeURIComponent("iqn.2026-11.org.granary:vm-cluster")}`];
	for (const { language, look, width } of looks) {
		const wrong = [];
		await wear({ language, look, width });
		for (const path of all) {
			await open(path);
			wrong.push(...[...await faults(), ...language === "en" && look === "light" ? await barriers() : []].map((one) => `${path || "overview"}: ${one}`));
			if (language === "zh" && !/[\u4e00-\u9fff]/.test(await page.locator("h1").innerText()) && !/^(tank|vm-cluster)/.test(await page.locator("h1").innerText())) wrong.push(`${path}: the heading is not Chinese`);
			await picture(`${width}-${language}-${look}-${path.replace(/\W+/g, "-") || "overview"}`);
		}
		point(wrong.length === 0, `${all.length} pages, ${language}, ${look}, ${width} px: fits, named, contrast${language === "en" && look === "light" ? ", axe finds no barrier" : ""}`, wrong.slice(0, 12).join("\n"));
	}
	await wear(looks[0]);
}

async function keyboard() {
	await open("volumes", "tbody tr");
	await page.evaluate(() => document.activeElement?.blur());
	await page.keyboard.press("Tab");
	point(await page.evaluate(() => document.activeElement.classList.contains("skip")), "the first stop of the keyboard skips the menu");
	await page.keyboard.press("Enter");
	point(await page.evaluate(() => document.activeElement.id === "content"), "and leads to the content");
	await page.getByRole("button", { name: "New volume" }).focus();
	await page.keyboard.press("Enter");
	await page.waitForSelector("dialog[open]");
	point(await page.evaluate(() => document.activeElement.closest("dialog") !== null), "a dialog takes the focus");
	await page.keyboard.press("Escape");
	await page.waitForSelector("dialog", { state: "detached" });
	point(await page.evaluate(() => document.activeElement.textContent.includes("New volume")), "Escape closes it and gives the focus back");
}

async function volume() {
	await open("volumes");
	await page.getByRole("button", { name: "New volume" }).click();
	await page.getByLabel("Name").fill("scratch");
	await page.getByLabel("Size").fill("2");
	await page.getByRole("button", { name: "Create", exact: true }).click();
	await page.getByRole("button", { name: "scratch", exact: true }).waitFor();
	await page.getByRole("button", { name: "Change scratch" }).click();
	await page.getByLabel("Size").fill("3");
	await page.getByLabel("Name").fill("paper");
	await page.getByLabel("Operations a second at most").fill("500");
	await page.getByRole("button", { name: "Save" }).click();
	await page.getByRole("button", { name: "paper", exact: true }).waitFor();
	const changed = await ask("/volumes/tank/paper");
	point(changed.size_bytes === 3 * 2 ** 30 && changed.iops_limit === 500, "a volume is made; its size, its limits and its name change together", changed);
	await open("commands", ".command");
	const commands = await page.locator(".command pre").allInnerTexts();
	const patch = commands.find((one) => one.includes('{"name":"paper"}')) ?? "";
	point(patch.startsWith(`curl -X PATCH '${given.url}${V1}/volumes/tank/scratch'`) && !commands.some((one) => one.includes(PASSWORD)), "and each request is there as a command, without secrets", commands);
	await picture("commands");
	await open("volumes", "tbody tr");
	await page.getByRole("button", { name: "Delete paper" }).click();
	const go = page.getByRole("button", { name: "Delete", exact: true });
	point(await go.isDisabled(), "deleting it wants its name");
	await page.getByLabel("Type paper to go on").fill("paper");
	await carryOut(go);
	await page.getByRole("button", { name: "paper", exact: true }).waitFor({ state: "detached" });
	point(true, "and takes it away");
}

/** A LUN of a volume that is there, and data on it. */
async function writeTo(volume, name, megabytes) {
	const iqn = `iqn.2026-11.org.granary:${name}`;
	await change("POST", "/targets", { iqn });
	await change("POST", `/targets/${iqn}/luns`, { pool: "tank", volume });
	await change("POST", `/targets/${iqn}/rules`, { initiator: HOST });
	await promisify(execFile)("qemu-io", ["-c", `write -P 7 0 ${megabytes}M`, "--image-opts", `driver=iscsi,transport=tcp,portal=127.0.0.1:${given.iscsi},target=${iqn},lun=0,initiator-name=${HOST}`], { timeout: 30000 });
}

/** What is promised to a volume, and what it may take. */
async function space() {
	const field = (name) => box.locator(".field", { has: page.getByLabel(name, { exact: true }) });
	const fill = async (name, megabytes) => {
		await box.getByLabel(name, { exact: true }).fill(megabytes);
		if (megabytes) await field(name).getByLabel("Unit").selectOption("M");
	};
	await open("volumes", "tbody tr");
	await page.getByRole("button", { name: "New volume" }).click();
	await box.getByLabel("Name").fill("roomy");
	await box.getByLabel("Size").fill("1");
	await box.getByText("More", { exact: true }).click();
	await fill("Reserved", "2048");
	await fill("Quota with snapshots", "32");
	await box.getByRole("button", { name: "Create", exact: true }).click();
	await field("Reserved").getByText("can reserve 1073741824 bytes at most").waitFor();
	const found = [...await faults(), ...await barriers()];
	point(await box.getByRole("alert").count() === 1 && await box.getByLabel("Reserved").getAttribute("aria-invalid") === "true" && found.length === 0, "what the daemon refuses is said at the field that it is about", found);
	await picture("space");
	await fill("Reserved", "16");
	point(await box.getByRole("alert").count() === 0, "and no more when that is changed");
	await box.getByRole("button", { name: "Create", exact: true }).click();
	await page.getByRole("button", { name: "roomy", exact: true }).waitFor();
	await writeTo("roomy", "roomy", 4);
	await page.getByRole("button", { name: "roomy", exact: true }).click();
	await box.getByText("4 MiB of 32 MiB taken").waitFor();
	const meter = await box.getByRole("meter", { name: "Taken of the quota of roomy" }).getAttribute("aria-valuenow");
	point(meter === "13" && await box.getByText("16 MiB", { exact: true }).count() === 1, "a volume shows what is taken of its quota, and what is reserved", meter);
	await box.getByRole("button", { name: "Close" }).click();
	await page.getByRole("button", { name: "Change roomy" }).click();
	await fill("Quota with snapshots", "8");
	await box.getByRole("button", { name: "Save" }).click();
	await field("Quota with snapshots").getByText("less than what it reserves").waitFor();
	await fill("Reserved", "");
	await press(box.getByRole("button", { name: "Save" }), page.getByText("roomy changed"));
	const { quota_bytes, reserve_bytes } = await ask("/volumes/tank/roomy");
	await open("commands", ".command");
	const commands = (await page.locator(".command pre").allInnerTexts()).join("\n");
	const wanted = [`granary volume create tank/roomy ${2 ** 30} --checksum standard --reserve ${2 ** 24} --quota ${2 ** 25}`, `granary volume set tank/roomy --reserve 0 --quota ${2 ** 23}`];
	point(quota_bytes === 2 ** 23 && reserve_bytes === 0 && wanted.every((one) => commands.includes(one)), "both are changed together, and are there as commands", [quota_bytes, reserve_bytes, commands]);
}

/** RFC 6238 with what node has. */
function codeOf(secret, step) {
	const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
	const bits = [...secret].map((one) => digits.indexOf(one).toString(2).padStart(5, "0")).join("");
	const key = Buffer.from(bits.match(/.{8}/g).map((one) => parseInt(one, 2)));
	const counter = Buffer.alloc(8);
	counter.writeBigUInt64BE(BigInt(step));
	const digest = createHmac("sha1", key).update(counter).digest(), at = digest[19] & 15;
	return String((digest.readUInt32BE(at) & 0x7fffffff) % 1000000).padStart(6, "0");
}

/** Two-step sign-in on, asked for at the door, and off again; a token that is shown once. */
async function account() {
	await open("settings");
	const key = page.getByLabel("Key", { exact: true });
	await press(page.getByRole("button", { name: "Turn on" }), key);
	const secret = (await key.innerText()).replace(/\s/g, "");
	const now = Math.floor(Date.now() / 30000);
	await page.getByLabel("Code from the application").fill(codeOf(secret, now));
	await page.getByRole("dialog").getByRole("button", { name: "Turn on" }).click();
	const codes = await page.getByLabel("Recovery codes", { exact: true }).last().innerText();
	point(codes.trim().split("\n").length === 10, "two-step sign-in is turned on and shows ten recovery codes once", codes);
	await page.getByRole("button", { name: "I have kept it" }).click();
	await page.getByRole("button", { name: "Sign out" }).click();
	await page.getByLabel("User name").fill("admin");
	await page.getByLabel("Password").fill(PASSWORD);
	await page.getByRole("button", { name: "Sign in" }).click();
	await page.getByLabel("Code from your phone").fill(codes.trim().split("\n")[0]);
	await page.getByRole("button", { name: "Sign in" }).click();
	await page.waitForSelector(".figures");
	point(true, "the door asks for a code and takes a recovery code");
	await open("access", "tbody tr");
	await page.getByRole("button", { name: "New token" }).click();
	await page.getByLabel("Name").fill("robot");
	await press(page.getByRole("button", { name: "Create", exact: true }), page.getByLabel("The token"));
	const token = (await page.getByLabel("The token").innerText()).trim();
	await page.getByRole("button", { name: "I have kept it" }).click();
	const answer = await page.request.get(`${given.url}${V1}/me`, { headers: { Authorization: `Bearer ${token}`, Cookie: "" } });
	point((await answer.json()).name === "token:robot" && !(await page.content()).includes(token), "a token is shown once, and works", token.slice(0, 4));
	await open("settings");
	await page.getByRole("button", { name: "Turn off" }).click();
	await carryOut(box.getByRole("button", { name: "Turn off" }));
	await page.getByRole("button", { name: "Turn on" }).waitFor();
	point(true, "and two-step sign-in is off again");
}

/** Nothing of group twice is behind, to the daemon and on its card: what was there before is no answer. */
async function inStep(card) {
	await until("/replica/groups/twice", (group) => group.state === "streaming" && group.sealed_epoch && !group.lag_bytes);
	await card.getByText("in step", { exact: true }).waitFor();
}

/** What the dialog on show says that it will change. */
async function wouldSay() {
	const said = box.locator(".would dl");
	await press(box.getByRole("button", { name: "What will change?" }), said);
	return (await said.innerText()).replace(/\s+/g, " ").trim();
}

/** Members, addresses, settings and a comparison, while the group runs. */
async function groupCare(card) {
	const save = box.getByRole("button", { name: "Save", exact: true });
	await change("POST", "/volumes", { pool: "tank", name: "second-half", size: "8M" });
	await card.getByRole("button", { name: "Volumes …" }).click();
	await box.getByLabel("tank/second-half").check();
	const will = await wouldSay();
	point(will.includes("tank/mirrored → then: tank/mirrored, tank/second-half") && (await ask("/replica/groups/twice")).members.length === 1, "what another volume changes of it is shown before it is done", will);
	await carryOut(save);
	await card.getByText("tank/second-half", { exact: true }).waitFor();
	await inStep(card); // the session was ended for it: one that is asked for something meanwhile refuses
	await card.getByRole("button", { name: "Settings …" }).click();
	await box.getByLabel("At most this much behind").fill("2s");
	await carryOut(save);
	await press(card.getByRole("button", { name: "Verify" }), page.getByText("Both machines are being compared"));
	await card.getByText(/^the same, /).waitFor();
	const group = await ask("/replica/groups/twice");
	point(group.members.length === 2 && group.rpo_seconds === 2 && group.points === "4", "a volume is added, settings are changed and both sides compared while it runs", group);
	// The address itself needs rights that this daemon may not have: what is asked for is looked at.
	const asked = [];
	await page.route("**/replica/groups/twice", (route) => {
		if (route.request().method() !== "PATCH") return route.continue();
		asked.push(route.request().postDataJSON());
		return route.fulfill({ json: {} });
	});
	await card.getByRole("button", { name: "Service addresses …" }).click();
	await box.getByLabel("New address").fill("192.0.2.10/24");
	await box.getByLabel("Network interface").fill("eth1");
	await picture("addresses");
	await carryOut(box.getByRole("button", { name: "Add", exact: true }));
	await page.unroute("**/replica/groups/twice");
	point(JSON.stringify(asked) === '[{"add_address":"192.0.2.10/24","interface":"eth1"}]', "a service address is asked for", asked);
	await open("commands", ".command");
	const commands = (await page.locator(".command pre").allInnerTexts()).join("\n");
	const wanted = ["granary replica group add twice tank/second-half", "granary replica verify twice", "granary replica group address add twice 192.0.2.10/24 --interface eth1"];
	point(wanted.every((one) => commands.includes(one)), "each is there as a command of granary too", commands);
	await open("replication");
}

/** On the standby: a point is presented to a host as clones, and it all goes again. */
async function tryFailover(card) {
	const first = box.getByRole("button", { name: "Try it" }).first();
	await card.getByRole("button", { name: "Points …" }).click();
	await first.waitFor();
	point(true, "the standby keeps points");
	await picture("points");
	await first.click();
	await box.getByLabel("Hosts that may connect to the clones").fill(HOST);
	const found = [...await barriers(), ...await page.evaluate(lacksNames)];
	point(found.length === 0, "nothing stands in a screen reader's way there", found);
	await carryOut(box.getByRole("button", { name: "Try it" }));
	await card.getByText("A failover is being tried").waitFor();
	const target = await ask("/targets/iqn.2026-11.org.granary%3Atest-twice");
	point(target.luns.length === 2 && target.rules[0].initiator === HOST, "a point is presented to a host as clones of both volumes", target);
	await picture("failover-test");
	await card.getByRole("button", { name: "End the test" }).click();
	await box.getByLabel("Type twice to go on").fill("twice");
	// The clones go after the target: not before the page knows that one to be gone.
	const shown = [], clone = /\/api\/v1\/volumes\/[^?]*$/;
	await page.route(clone, async (route) => {
		if (route.request().method() !== "DELETE") return route.continue();
		await card.getByText("A failover is being tried").waitFor({ state: "detached" });
		shown.push(await box.count());
		return route.continue();
	});
	await carryOut(box.getByRole("button", { name: "End the test" }));
	await page.unroute(clone);
	point(shown.join() === "1,1", "its dialog is there until all is gone", shown);
	const left = (await ask("/volumes")).filter((one) => /@point-/.test(one.origin));
	return point(left.length === 0, "and the test is over: target and clones are gone", left);
}

/** An account that may replicate: what it is offered, and that it does it. Returns its page. */
async function clusterAccount(cardOf) {
	const theirs = await newPage(), dialog = theirs.getByRole("dialog"), card = cardOf(theirs), phrase = "a pass phrase of its own";
	const refused = [];
	theirs.on("response", (one) => { if (one.status() === 403 && one.request().method() === "GET") refused.push(one.url()); });
	await change("POST", "/accounts", { name: "cluster", role: "replication", password: phrase });
	await signIn(theirs, "cluster", phrase, "main h1");
	for (const name of ["New group", "Switch over"]) await theirs.getByRole("button", { name }).waitFor();
	const buttons = await theirs.locator("main").getByRole("button").allInnerTexts();
	point(["New group", "Switch over", "Pause", "Verify", "Settings …", "Points …"].every((one) => buttons.includes(one)) && !buttons.some((one) => /Witness|Pair|Try/.test(one)), "an account of replication is offered what it may do, and no more", buttons);
	const resume = card.getByRole("button", { name: "Resume" });
	await press(card.getByRole("button", { name: "Pause" }), resume, theirs, phrase);
	await press(resume, card.getByText("in step", { exact: true }), theirs, phrase);
	await card.getByRole("button", { name: "Settings …" }).click();
	await dialog.getByLabel("Points that the standby keeps").fill("3");
	await carryOut(dialog.getByRole("button", { name: "Save" }), theirs, phrase);
	point((await ask("/replica/groups/twice")).points === "3", "it pauses, resumes and changes a group");
	await card.getByRole("button", { name: "Volumes …" }).click();
	await dialog.getByLabel("tank/roomy").waitFor();
	point(await dialog.getByLabel("tank/second-half").isChecked() && !(await dialog.getByLabel("tank/roomy").isChecked()), "it sees the volumes that a group may have");
	await picture("replication-members", theirs);
	await dialog.getByRole("button", { name: "Cancel" }).click();
	for (const path of ["jobs", "commands", "settings", "replication"]) await open(path, "main h1", theirs);
	await theirs.goto(`${given.url}/#/volumes`);
	await theirs.getByText("There is no such page").waitFor();
	point(refused.length === 0, "its pages ask for nothing that it may not see", refused);
	return { theirs, dialog, card, phrase };
}

/** It takes over. */
async function clusterTakesOver({ theirs, dialog, card, phrase }) {
	await theirs.goto(`${given.url}/#/replication`);
	await card.getByRole("button", { name: "Take over", exact: true }).click();
	await dialog.getByLabel("Type twice to go on").fill("twice");
	await carryOut(dialog.getByRole("button", { name: "Take over", exact: true }), theirs, phrase);
	await card.getByText("primary", { exact: true }).waitFor();
	await theirs.context().close();
}

/** A second machine: paired, a volume goes there, sides are changed and changed back. */
async function replicate() {
	const cardOf = (whose) => whose.locator(".card", { has: whose.getByRole("heading", { name: "twice", exact: true }) }), card = cardOf(page);
	const shows = (text) => card.getByText(text, { exact: true }).waitFor();
	await change("POST", "/volumes", { pool: "tank", name: "mirrored", size: "8M" });
	await open("replication");
	await page.getByRole("button", { name: "Pair", exact: true }).click();
	await box.getByLabel("Address of the other machine").fill(given.peer.address);
	await box.getByLabel("Its pairing code").fill(given.peer.code);
	await carryOut(box.getByRole("button", { name: "Pair", exact: true }));
	await page.locator(".connected li").waitFor();
	await page.getByRole("button", { name: "New group" }).click();
	await box.getByLabel("Name").fill("twice");
	await box.getByLabel("tank/mirrored").check();
	await box.getByLabel("At most this much behind").fill("1s");
	await box.getByLabel("Points that the standby keeps").fill("4");
	await carryOut(box.getByRole("button", { name: "Create", exact: true }));
	await inStep(card);
	await shows("primary");
	point(true, "two machines are paired and a volume goes to the other one");
	await picture("replication");
	await groupCare(card);
	await press(card.getByRole("button", { name: "Pause" }), card.getByText("paused", { exact: true }));
	await press(card.getByRole("button", { name: "Resume" }), card.getByText("in step", { exact: true }));
	const cluster = await clusterAccount(cardOf);
	await inStep(card);
	await card.getByRole("button", { name: "Switch over", exact: true }).click();
	const will = await wouldSay();
	point(/primary.*standby/.test(will) && (await ask("/replica/groups/twice")).role === "primary", "what changing sides changes is shown before it is done", will);
	await box.getByLabel("Type twice to go on").fill("twice");
	await carryOut(box.getByRole("button", { name: "Switch over", exact: true }));
	await shows("standby");
	point(true, "paused, resumed, and switched over");
	await tryFailover(card);
	await clusterTakesOver(cluster);
	await shows("primary");
	const group = await ask("/replica/groups/twice");
	point(group.role === "primary" && group.lineage.length >= 2, "and taken over again, by an account of replication", group);
}

/** Somebody else's change shows without a reload, by what the daemon tells: nothing is asked for by
 *  the clock meanwhile. */
async function live() {
	const theirs = await newPage();
	await theirs.addInitScript(() => { window.setInterval = () => 0; });
	await signIn(theirs);
	await open("volumes", "tbody tr", theirs);
	await theirs.getByText("Looking for changes every few seconds").waitFor({ state: "detached" });
	await change("POST", "/volumes", { pool: "tank", name: "elsewhere", size: "1M" });
	await theirs.getByText("elsewhere").first().waitFor();
	point(true, "somebody else's change shows by itself");
	await theirs.context().close();
}

/** The daemon was away for a moment: an answer that is no stream ends the browser's own tries. */
async function listensAgain() {
	const polling = page.getByText("Looking for changes every few seconds");
	await open("volumes", "tbody tr");
	await page.route("**/api/v1/events", (route) => route.fulfill({ status: 503, body: "" }));
	await page.reload();
	await polling.waitFor({ state: "attached" });
	await page.unroute("**/api/v1/events");
	await polling.waitFor({ state: "detached" });
	point(true, "the stream of events is opened again after the daemon was away");
}

/** A server that takes messages, for a channel of alerts. */
async function listener() {
	const got = [];
	const server = createServer((request, response) => {
		let text = "";
		request.on("data", (part) => { text += part; });
		request.on("end", () => { got.push(JSON.parse(text)); response.end("ok"); });
	});
	await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
	const comes = async (count) => {
		for (const limit = Date.now() + LONG; got.length < count && Date.now() < limit;) await new Promise((resolve) => setTimeout(resolve, 100));
	};
	return { got, comes, server, url: `http://127.0.0.1:${server.address().port}/hook` };
}

/** Enough data that the pool's first watermark can be put below and above it. */
async function useSpace() {
	const { target } = await change("POST", "/provision", { purpose: "vm-disks", name: "filler", size: "64M", hosts: [HOST] });
	const image = `driver=iscsi,transport=tcp,portal=127.0.0.1:${given.iscsi},target=${target},lun=0,initiator-name=${HOST}`;
	await promisify(execFile)("qemu-io", ["-c", "write -P 7 0 48M", "--image-opts", image], { timeout: 30000 });
}

/** Something is wrong, is told, is acknowledged, and is well again. */
async function alerts() {
	const hook = await listener(), what = page.locator(".alerts li", { hasText: "Pool tank fills up" });
	try {
		await open("alerts");
		await page.getByText("Everything is well").waitFor();
		await page.getByRole("button", { name: "New channel" }).first().click();
		await box.getByLabel("Name", { exact: true }).fill("ops");
		await box.getByLabel("Kind").selectOption("generic");
		await box.getByLabel("Address").fill(hook.url);
		await picture("channel");
		await carryOut(box.getByRole("button", { name: "Create", exact: true }));
		await press(page.getByRole("button", { name: "Test channel ops" }), page.getByText("ops has taken a test message"));
		point(hook.got.length === 1 && hook.got[0].event === "test" && !(await page.content()).includes("/hook"), "a channel is made and tried; its path is not shown again", hook.got);
		await page.getByRole("button", { name: "Change channel ops" }).click();
		await box.getByLabel("Alerts are sent there").uncheck();
		await picture("channel-change");
		await carryOut(box.getByRole("button", { name: "Save", exact: true }));
		const channel = page.getByRole("row", { name: /ops/ });
		await channel.getByText("off", { exact: true }).waitFor();
		await page.getByRole("button", { name: "Change channel ops" }).click();
		await box.getByLabel("Alerts are sent there").check();
		await carryOut(box.getByRole("button", { name: "Save", exact: true }));
		await channel.getByText("off", { exact: true }).waitFor({ state: "detached" });
		await press(page.getByRole("button", { name: "Test channel ops" }), page.getByText("ops has taken a test message"));
		await hook.comes(2);
		point(hook.got.length === 2, "it is changed, and sends to where it did", hook.got);
		await useSpace();
		await change("PATCH", "/alert-rules/pool-filling", { clear: "1s" });
		await open("", ".health.good");
		await change("PATCH", "/pools/tank", { watermarks: "1,98,99" });
		await what.waitFor();
		point(await what.getByText("fstrim").count() === 1, "an alert shows on the overview by itself, and says what to do");
		await what.getByRole("link").click();
		await page.getByRole("heading", { name: "tank", exact: true }).first().waitFor();
		await open("alerts", ".alerts li");
		await everyLook();
		await what.getByRole("button", { name: "Silence" }).click();
		await picture("silence");
		await box.getByRole("button", { name: "Cancel" }).click();
		await what.getByRole("button", { name: "Acknowledge" }).click();
		await what.getByText("acknowledged by admin").waitFor();
		point(await what.getByRole("button").count() === 0, "it is acknowledged");
		await picture("alerts");
		await change("PATCH", "/pools/tank", { watermarks: "97,98,99" });
		await page.getByText("Everything is well").waitFor();
		await page.locator("tbody tr", { hasText: "Pool tank fills up" }).waitFor();
		await hook.comes(4);
		const told = hook.got.slice(2).map((one) => one.event).join();
		point(told === "alert.fired,alert.cleared", "it clears by itself; both were told, once", told);
		await page.getByRole("button", { name: "Delete channel ops" }).click();
		await box.getByLabel("Type ops to go on").fill("ops");
		await carryOut(box.getByRole("button", { name: "Delete", exact: true }));
		await page.getByText("Nobody is told").waitFor();
		point(true, "and the channel is deleted");
	} finally {
		hook.server.close();
	}
	await manyAlerts();
}

/** The worst first, and no more than fit. */
async function manyAlerts() {
	const one = (id, severity) => ({ id, rule: "share-unavailable", object: "tank/iso", severity, state: "firing", value: 0, detail: "", text: `${severity} ${id}`, todo: "do", text_zh: "x", todo_zh: "y", fired: 1, cleared: null, acknowledged: null, acknowledged_by: "" });
	await page.route("**/api/v1/alerts", (route) => route.fulfill({ json: [...[1, 2, 3, 4, 5, 6, 7].map((id) => one(id, "warning")), one(8, "critical")] }));
	await open("", ".alerts li");
	const lines = await page.locator(".alerts li").allInnerTexts();
	point(lines.length === 7 && lines[0].startsWith("critical 8") && lines[6].includes("2 more"), "the worst of many come first on the overview", lines);
	await page.unroute("**/api/v1/alerts");
	// Each line leads to where something can be done about it.
	const places = { "pool-full": ["tank", "#/pools/tank"], "release-given-up": ["b", "#/settings"], "disk-failing": ["sda", "#/hardware"], "ups-on-battery": ["ups", "#/hardware"], "directory-unavailable": ["isos", "#/shares/isos"], "replica-lag": ["vms", "#/replication"] };
	await page.route("**/api/v1/alerts", (route) => route.fulfill({ json: Object.entries(places).map(([rule, [object]], at) => ({ ...one(at + 1, "warning"), rule, object, text: rule })) }));
	await page.locator(".alerts li a", { hasText: "release-given-up" }).waitFor(); // the page was there before
	const lead = {};
	for (const link of await page.locator(".alerts li:not(.plain-row) a").all()) lead[await link.innerText()] = await link.getAttribute("href");
	point(Object.entries(places).every(([rule, [, place]]) => lead[rule] === place), "a line of an alert leads to where something can be done about it", lead);
	await page.route("**/api/v1/alerts", (route) => route.fulfill({ json: [{ ...one(1, "critical"), state: "acknowledged" }, { ...one(2, "warning"), state: "silenced" }] }));
	await open("", ".health.good");
	const quiet = page.locator(".health.good a");
	point((await quiet.innerText()).includes("2") && await quiet.getAttribute("href") === "#/alerts", "what is acknowledged or silenced is counted in one line, and not shown as news", await quiet.innerText());
	await page.unroute("**/api/v1/alerts");
}

/** A list of 10,000: the page holds what fits and finds the rest. */
async function tenThousand() {
	const one = (at) => ({ pool: "tank", volume: "vm-cluster", name: `s${at}`, path: "", created: 1700000000 + at * 600, group: at + 1, size_bytes: 1 << 30, used_bytes: 4096 * at, exclusive_bytes: null, clones: 0, automatic: false, held: false, hold_until: null });
	const pages = /\/vm-cluster\/snapshots\?/;
	await page.route(pages, (route) => {
		const from = parseInt(new URL(route.request().url()).searchParams.get("cursor") ?? "0", 10), next = from + 1000;
		const headers = next < 10000 ? { Link: `</api/v1/volumes/tank/vm-cluster/snapshots?cursor=${next}&limit=1000>; rel="next"` } : {};
		return route.fulfill({ headers, json: Array.from({ length: 1000 }, (_, at) => one(from + at)) });
	});
	const started = Date.now();
	await open("snapshots/tank/vm-cluster", ".timeline");
	await page.getByRole("button", { name: "s9999", exact: true }).waitFor();
	note(`10,000 snapshots are there after ${Date.now() - started} ms`);
	await page.getByRole("slider").focus();
	await page.keyboard.press("Home");
	await page.getByRole("heading", { name: "s0", exact: true }).waitFor();
	await page.getByLabel("Find …").first().fill("s4321");
	await page.getByRole("button", { name: "s4321", exact: true }).click();
	await page.getByRole("heading", { name: "s4321", exact: true }).waitFor();
	const size = await page.evaluate(() => [document.querySelectorAll("tbody tr").length, document.querySelectorAll(".timeline i").length, document.querySelectorAll("*").length]);
	await page.getByLabel("Find …").first().fill("");
	const rows = await page.evaluate(() => document.querySelectorAll("tbody tr").length);
	point(size[0] === 1 && rows >= 100 && rows <= 110 && size[1] <= 402 && size[2] < 3000, "10,000 snapshots: walked, found, and no more on the page than fits", [size, rows]);
	await page.unroute(pages);
}

/** Signing out and in: what the session before had loaded is thrown away later, and nothing else. */
async function outAndIn() {
	await page.addInitScript(() => {
		const real = window.setTimeout;
		window.later = [];
		window.setTimeout = (run, after, ...more) => after === 30000 ? window.later.push(run) : real(run, after, ...more);
	});
	await page.reload();
	await open("volumes", "tbody tr");
	await signInAgain("tbody tr");
	const thrown = await page.evaluate(() => window.later.splice(0).map((run) => run()).length);
	await change("POST", "/volumes", { pool: "tank", name: "later", size: "1M" });
	await page.getByText("later").first().waitFor();
	point(thrown > 0, "after signing out and in a page goes on being kept fresh");
}

await walked(async () => {
	await firstStart();
	const iqn = await newLun();
	await firstSnapshot();
	await arrival(iqn);
	await timeTravel();
	await volume();
	await keyboard();
	await space();
	await alerts();
	await tenThousand();
	await replicate();
	await live();
	await listensAgain();
	await account();
	await outAndIn();
});
