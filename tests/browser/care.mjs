// SPDX-License-Identifier: Apache-2.0
// Looking after a box in a real browser: a library of images filled by dropping files, an initiator
// that is let in, a device of a pool that goes away and comes back, a UPS, the configuration kept and
// brought back. Started by tests/integration/browser_care_test.py with what it needs in
// GRANARY_BROWSER; prints one line of JSON per point.
import { execFile, spawn } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { readFileSync, truncateSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { promisify } from "node:util";
import { ask, box, carryOut, change, everyLook, given, LONG, open, page, picture, point, press, signIn, until, walked } from "./page.mjs";

const run = promisify(execFile);

// --- images ------------------------------------------------------------------------------------

const sha = (data) => createHash("sha256").update(data).digest("hex");
const small = Buffer.concat([randomBytes(100000), Buffer.alloc(300000), randomBytes(55)]), large = Buffer.concat([randomBytes(1 << 20), randomBytes(1 << 20), Buffer.alloc(1 << 20), randomBytes(12345)]);

async function library() {
	await open("new", "textarea");
	await page.getByRole("button", { name: "Library of ISO images" }).click();
	await page.getByLabel("Name").fill("isos");
	await page.getByLabel("At most").fill("1");
	await page.getByLabel("Who may mount it").fill("127.0.0.1");
	await page.getByRole("button", { name: "Show what would be made" }).click();
	await page.getByText("Share tank/isos, 1 GiB at most").waitFor();
	point(await page.getByText("NFS export /isos, to read").count() === 1 && (await ask("/shares")).length === 0, "what would be made is shown, and nothing is made");
	await picture("plan");
	await page.getByRole("button", { name: "Create library" }).click();
	await page.getByText("Drop images here").waitFor();
	point((await ask("/shares/tank/isos/rules"))[0].client === "127.0.0.1", "a library of images in one form and one click");
}

/** Dropped onto the page, as from a file manager. */
async function drop(name, data) {
	const held = await page.evaluateHandle(([text, file]) => {
		const transfer = new DataTransfer(), bytes = Uint8Array.from(atob(text), (one) => one.charCodeAt(0));
		transfer.items.add(new File([bytes], file));
		return transfer;
	}, [data.toString("base64"), name]);
	await page.dispatchEvent(".drop", "drop", { dataTransfer: held });
}

/** What NFS clients do is on the share's page and in the list of shares. */
async function readers() {
	await page.getByRole("img", { name: /Latency, 99 of 100: read/ }).waitFor();
	await open("shares");
	const row = page.getByRole("row", { name: /127\.0\.0\.1/ }).filter({ hasText: "requests" });
	await row.waitFor();
	point(/3(\.\d+)? MiB/.test(await row.innerText()), "what a host has read is told", await row.innerText());
	await everyLook("nfs-hosts", "table", "各主机的 NFS 流量");
	await page.getByRole("button", { name: "Show the latency of 127.0.0.1" }).click();
	await box.getByRole("img", { name: /Latency, 99 of 100: read/ }).waitFor();
	await picture("nfs-latency");
	await box.getByRole("button", { name: "Close" }).last().click();
	await dialogs();
}

/** What a client has is taken from it, a user is limited: what would be different is shown first. */
async function dialogs() {
	const would = box.getByRole("button", { name: "What will change?" });
	await open("shares");
	const [client] = await ask("/nfs-clients");
	await page.getByRole("button", { name: `Release what ${client.name} holds` }).click();
	await press(would, box.locator(".would").getByText(`NFS client ${client.id}`));
	point((await ask("/nfs-clients")).some((one) => one.id === client.id), "what a client of NFS would lose is shown, and it has it still", await box.locator(".would").innerText());
	await picture("nfs-release");
	await carryOut(box.getByRole("button", { name: "Release", exact: true }));
	await page.getByText("Released", { exact: true }).waitFor();
	point(!(await ask("/nfs-clients")).some((one) => one.id === client.id), "and then it is gone");
	await open("shares/tank/isos", ".drop");
	await page.getByRole("button", { name: "Limit a user" }).click();
	await box.getByLabel("UID").fill("1000");
	await box.getByLabel("Space").fill("2");
	await press(would, box.locator(".would").getByText("user 1000 of share tank/isos"));
	const said = await box.locator(".would").innerText();
	point(said.includes("2 GiB") && said.includes("space at most") && (await ask("/shares/tank/isos/users")).length === 0, "a user's limit is tried out first", said);
	await picture("nfs-limit");
	await carryOut(box.getByRole("button", { name: "Save" }));
	await page.getByRole("button", { name: "Change the limits of user 1000" }).waitFor();
	point((await ask("/shares/tank/isos/users")).some((one) => one.uid === 1000 && one.limit_bytes === 2 * 2 ** 30), "and then set");
}

async function images() {
	let pieces = 0;
	await page.route("**/images/large.iso?*", (route) => (++pieces === 3 ? route.abort() : route.continue()));
	await page.getByLabel("Images to upload").setInputFiles({ name: "small.iso", mimeType: "application/octet-stream", buffer: small });
	// There is the beginning of another file of this name and size.
	const other = Buffer.alloc(large.length, 7);
	await change("POST", "/shares/tank/isos/images", { name: "large.iso", size: large.length });
	await change("PUT", "/shares/tank/isos/images/large.iso?offset=0", { data: other.subarray(0, 1 << 19).toString("base64") });
	await drop("large.iso", large);
	for (const data of [small, large]) await page.getByText(sha(data), { exact: true }).waitFor();
	await page.unroute("**/images/large.iso?*");
	const list = await ask("/shares/tank/isos/images");
	const right = [["small.iso", small], ["large.iso", large]].every(([name, data]) => list.some((one) => one.name === name && one.size_bytes === data.length && one.sha256 === sha(data)));
	point(right && list.length === 2 && pieces >= 5, "one file chosen and one dropped, whose connection broke in between: both are there, with their checksums", [list, pieces]);
	if (given.nfs) {
		const { stdout } = await run("nfs-cat", [`nfs://127.0.0.1/isos/large.iso?version=4&nfsport=${given.nfs}`], { encoding: "buffer", maxBuffer: 1 << 26, timeout: LONG });
		point(stdout.equals(large), "and an NFS client reads it", stdout.length);
		await readers();
	}
	await everyLook("library", ".drop", "镜像");
	await page.getByRole("button", { name: "Delete image small.iso" }).click();
	await box.getByLabel("Type small.iso to go on").fill("small.iso");
	await carryOut(box.getByRole("button", { name: "Delete", exact: true }));
	await page.getByRole("button", { name: "Delete image small.iso" }).waitFor({ state: "detached" });
	point((await ask("/shares/tank/isos/images")).length === 1, "one is deleted");
}

// --- a new initiator ---------------------------------------------------------------------------

const image = (iqn, host) => `driver=iscsi,transport=tcp,portal=127.0.0.1:${given.iscsi},target=${iqn},lun=0,initiator-name=${host}`;
const io = (iqn, host, command) => run("qemu-io", ["-c", command, "--image-opts", image(iqn, host)], { timeout: LONG }).then(() => true, () => false);

async function newcomer() {
	const stranger = "iqn.2026-11.test:stranger";
	const { target } = await change("POST", "/provision", { purpose: "vm-disks", name: "shared", size: "64M", hosts: ["iqn.2026-11.test:known"] });
	point(!(await io(target, stranger, "read 0 4k")), "an initiator without a rule is not let in");
	await open("");
	await page.getByRole("link", { name: "New initiators wait to be let in: 1" }).click();
	await page.getByText(stranger).first().waitFor();
	point(await page.getByText("no rule lets it in").count() === 1, "it waits on the page of hosts, with what happened");
	await everyLook("newcomer", "tbody td", "等待接入");
	await press(page.getByRole("button", { name: `Let it in: ${stranger}` }), page.getByText(`${stranger} may log in now`));
	point(await io(target, stranger, "write -P 3 0 4k"), "one click, and it is");
	await page.getByText("New initiators that wait").first().waitFor({ state: "detached" }); // heading and caption
	point(true, "and it waits no more");
}

// --- a device that goes away -------------------------------------------------------------------

let helper;
const writer = "iqn.2026-11.test:writer";

async function mirrored() {
	await change("POST", "/pools", { name: "twin", devices: [{ path: `${given.folder}/a.pool`, size: "256M" }] });
	await change("POST", "/pools/twin/devices", { devices: [given.device.path] });
	await open("new", "textarea");
	await page.getByLabel("Name").fill("both");
	await page.getByLabel("Pool").locator("option", { hasText: "twin" }).waitFor({ state: "attached" });
	await page.getByLabel("Pool").selectOption("tank");
	point(await page.getByText("Two copies").count() === 0, "a pool of one device offers no second copy");
	await page.getByLabel("Pool").selectOption("twin");
	await page.getByLabel("Size").fill("64");
	await page.getByLabel("Unit").selectOption("M");
	await page.getByLabel("Who may connect").fill(writer);
	await page.getByLabel("Two copies, on two disks").check();
	await page.getByRole("button", { name: "Show what would be made" }).click();
	await page.locator(".diff").getByText("Two copies, on two disks").waitFor();
	point((await page.locator("main").textContent()).includes("--pool twin --mirror") && !(await ask("/volumes")).some((one) => one.name === "both"), "two copies are in the plan and the command, and nothing is made");
	await picture("copies");
	await page.getByRole("button", { name: "Create LUN" }).click();
	// The plan names the target already; the page goes on to the next one by itself.
	await page.getByRole("heading", { name: "both is ready" }).waitFor();
	point((await ask("/volumes/twin/both")).mirror === true, "a LUN with two copies in one form");
	return "iqn.2026-11.org.granary:both";
}

async function away() {
	const host = writer, iqn = await mirrored(), title = `Device ${given.device.path} is away`;
	await io(iqn, host, "write -P 1 0 16M");
	await open("pools/twin", "tbody tr");
	await page.locator("tbody tr", { hasText: given.device.path }).getByText("in use").waitFor();
	point(true, "a pool's devices are listed");
	process.kill(given.device.pid, "SIGKILL");
	await run("umount", ["-l", given.device.path]).catch(() => {});
	point(await io(iqn, host, "write -P 2 0 16M"), "a device goes away under a mirrored volume, which goes on");
	await page.getByText(title).first().waitFor();
	const text = await page.locator("main").innerText();
	point(text.includes("granary pool online twin") && text.includes("granary pool replace twin") && text.includes("one copy"), "its pool says which device, what that means, and what to do", text);
	await everyLook("degraded", ".steps", "离线");
	await open("new", "textarea");
	await page.getByLabel("Pool").locator("option", { hasText: "twin" }).waitFor({ state: "attached" });
	point(true, "it takes new volumes meanwhile");
	helper = spawn("qemu-storage-daemon", ["--blockdev", `file,node-name=n,filename=${given.device.image}`, "--export", `fuse,id=e,node-name=n,mountpoint=${given.device.path},writable=on,growable=off`], { stdio: "ignore" });
	for (const limit = Date.now() + LONG; !readFileSync("/proc/mounts", "utf8").includes(` ${given.device.path} fuse`);) {
		if (Date.now() > limit) throw new Error("the device does not come back");
		await new Promise((resolve) => setTimeout(resolve, 100));
	}
	await open("pools/twin", ".steps");
	await page.getByRole("button", { name: "Take it back" }).click();
	await carryOut(box.getByRole("button", { name: "Take it back" }));
	await page.getByText(title).first().waitFor({ state: "detached" });
	await page.locator(".lead .badge", { hasText: "online" }).waitFor();
	const pool = await ask("/pools/twin");
	point(pool.state === "online" && pool.device_details.every((one) => one.state === "active"), "it is taken back and made good", pool.device_details);
}

/** Another takes the place of one that is dead. */
async function replaced() {
	const title = `Device ${given.device.path} is away`, fresh = `${given.folder}/fresh.pool`;
	writeFileSync(fresh, "");
	truncateSync(fresh, 300 << 20);
	helper.kill("SIGKILL");
	await run("umount", ["-l", given.device.path]).catch(() => {});
	point(await io("iqn.2026-11.org.granary:both", writer, "write -P 4 0 16M"), "the device fails again");
	await open("pools/twin", ".steps");
	await page.getByRole("button", { name: "Replace it" }).click();
	await box.getByLabel("Files or other paths").fill(fresh);
	await picture("replace");
	await carryOut(box.getByRole("button", { name: "Replace it" }));
	await page.getByText(title).first().waitFor({ state: "detached" });
	await page.locator(".lead .badge", { hasText: "online" }).waitFor();
	const pool = await ask("/pools/twin");
	point(pool.devices.includes(fresh) && pool.device_details.every((one) => one.state === "active") && await io("iqn.2026-11.org.granary:both", writer, "read -P 4 0 16M"), "a new one takes its place, from the page alone", pool.device_details);
	await page.getByRole("button", { name: `Take offline: ${fresh}` }).click();
	await carryOut(box.getByRole("button", { name: "Take offline" }));
	await page.getByText(`Device ${fresh} is away`).first().waitFor();
	await page.getByRole("button", { name: "Take it back" }).click();
	await carryOut(box.getByRole("button", { name: "Take it back" }));
	await page.locator(".lead .badge", { hasText: "online" }).waitFor();
	point((await ask("/pools/twin")).device_details.every((one) => one.state === "active"), "one that is whole is sent away, and had back");
	truncateSync(fresh, 400 << 20);
	await page.getByRole("button", { name: "Grow" }).click();
	await carryOut(box.getByRole("button", { name: "Grow" }));
	await page.getByText("The pool has the new space").waitFor();
	point((await ask("/pools/twin")).size_bytes > pool.size_bytes + (90 << 20), "and the pool takes what it has grown by");
}

/** While it is made good: what the daemon says of that, at a speed that can be looked at. */
async function resilvering() {
	let left = 900;
	await page.route("**/api/v1/pools/tank", async (route) => {
		const answer = await route.fetch(), pool = await answer.json();
		left = Math.max(100, left - 100);
		pool.state = "degraded";
		pool.device_details = [pool.device_details[0], { path: "/dev/disk/by-id/second", size_bytes: 1 << 30, data_bytes: 1 << 29, free_bytes: 1 << 29, state: "resilvering", moved_bytes: (1000 - left) << 20, left_bytes: left << 20, copied_bytes: 0, reason: "" }];
		await route.fulfill({ response: answer, json: pool });
	});
	await open("pools/tank", "[role=progressbar]");
	await page.getByText(/^\d.* made good, .* to go\. About/).waitFor();
	point(await page.getByText("Device /dev/disk/by-id/second is being made good").count() > 0, "a device that is made good tells how far it is, and how long it takes");
	await picture("resilver");
	await page.unroute("**/api/v1/pools/tank");
}

// --- the UPS -----------------------------------------------------------------------------------

async function power() {
	const vars = { "ups.status": "OB DISCHRG", "battery.charge": "81", "battery.runtime": "1200", "ups.load": "17" };
	const server = createServer((socket) => {
		socket.on("error", () => {});
		socket.on("data", (data) => {
			for (const line of data.toString().split("\n").filter(Boolean)) {
				const words = line.split(" ");
				if (words[0] === "GET") socket.write(words[3] in vars ? `VAR ${words[2]} ${words[3]} "${vars[words[3]]}"\n` : "ERR VAR-NOT-SUPPORTED\n");
				else socket.end();
			}
		});
	});
	await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
	try {
		await open("hardware");
		await page.getByText("No UPS is watched").first().waitFor();
		await page.getByRole("button", { name: "Watch a UPS" }).click();
		await box.getByLabel("NUT server").fill("127.0.0.1");
		await box.getByLabel("The UPS's name there").fill("su700");
		await box.getByLabel("Port").fill(String(server.address().port));
		await box.getByLabel("Power off").selectOption("after");
		await box.getByLabel("Seconds on battery").fill("86400");
		await press(box.getByRole("button", { name: "Save" }), page.getByText("The UPS is watched"));
		await page.getByText("on battery", { exact: true }).waitFor();
		const text = await page.locator("main").innerText();
		point(/81 %/.test(text) && /unless the power comes back/.test(text) && text.includes("20 min"), "a UPS on battery tells its charge and when this machine ends", text);
		await everyLook("hardware", "[role=meter]", "电池供电");
		vars["ups.status"] = "OL CHRG";
		await page.getByText("on mains").waitFor();
		await page.getByRole("button", { name: "Watch it no more" }).click();
		await box.locator(".would").getByText("What will be gone").waitFor();
		await carryOut(box.getByRole("button", { name: "Go on" }));
		await page.getByRole("button", { name: "Watch a UPS" }).waitFor();
		point(true, "the power comes back; it is watched no more");
	} finally {
		server.close();
	}
}

// --- the configuration -------------------------------------------------------------------------

async function configuration() {
	await open("settings");
	const [file] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: "Download the configuration" }).click()]);
	const document = JSON.parse(readFileSync(await file.path(), "utf8"));
	point(document.version === 1 && document.volumes.some((one) => one.name === "shared"), "the configuration is kept as a file", document);
	document.volumes.push({ pool: "tank", name: "from-file", size_bytes: 1 << 26, checksum: "standard" });
	const path = `${given.folder}/configuration.json`;
	writeFileSync(path, JSON.stringify(document));
	await page.getByLabel("Bring back from a file").setInputFiles(path);
	const look = page.getByRole("button", { name: "Show what would change" }), carry = page.getByRole("button", { name: "Carry out 1 changes" });
	const steps = page.getByRole("list", { name: "What would change" }).getByRole("listitem");
	await press(look, steps);
	const told = await steps.allInnerTexts();
	point(told.length === 1 && told[0].includes("from-file") && !(await ask("/volumes")).some((one) => one.name === "from-file"), "what a file would change is shown first", told);
	await everyLook("settings", "#configuration-file", "配置");
	await page.getByLabel("Bring back from a file").setInputFiles(path);
	await press(look, carry);
	await press(carry, page.getByText("Done: 1 changes"));
	await until("/volumes", (all) => all.some((one) => one.name === "from-file")); // the message may be that of the one before
	point(true, "and carried out");
	await open("settings");
	const [text] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: "Download as YAML" }).click()]);
	const yaml = readFileSync(await text.path(), "utf8"), spelled = `${given.folder}/configuration.yaml`;
	point(yaml.startsWith("version: 1\n") && yaml.includes("name: from-file"), "it is kept as YAML too", yaml);
	writeFileSync(spelled, yaml.replace("name: from-file", "name: from-yaml"));
	await page.getByLabel("Bring back from a file").setInputFiles(spelled);
	await press(look, steps);
	const second = await steps.allInnerTexts();
	point(second.length === 1 && second[0].includes("from-yaml"), "and read from it", second);
	// Somebody else changes something between the look and the click.
	await change("POST", "/hosts", { name: "meanwhile", initiators: ["iqn.2026-11.org.example:meanwhile"] });
	await press(carry, page.getByText("Somebody else has changed it meanwhile"));
	point(!(await ask("/volumes")).some((one) => one.name === "from-yaml"), "what was changed meanwhile is not written over");
	await picture("stale");
	await press(look, carry);
	await press(carry, page.getByText("Done: 1 changes"));
	await until("/volumes", (all) => all.some((one) => one.name === "from-yaml")); // the message may be that of the one before
	point(true, "after another look it is carried out");
	writeFileSync(`${given.folder}/broken.yaml`, "volumes: [\n");
	await page.getByLabel("Bring back from a file").setInputFiles(`${given.folder}/broken.yaml`);
	await press(look, page.getByText("The document is no YAML that can be read"));
	await open("support");
	const [bundle] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: "Download" }).click()]);
	const head = readFileSync(await bundle.path()).subarray(0, 2);
	point(head[0] === 0x1f && head[1] === 0x8b, "a support bundle comes with a click", bundle.suggestedFilename());
	const log = page.getByRole("table", { name: "Log" }), said = log.getByRole("row", { name: /volume tank\/from-yaml created/ });
	await said.waitFor();
	point(/Notice/.test(await said.innerText()), "the daemon's log is on the page", await said.innerText());
	await page.getByLabel("At least").selectOption("error");
	await said.waitFor({ state: "detached" });
	point(true, "and without what is less severe than is asked for");
	await page.getByLabel("At least").selectOption("info");
	await said.waitFor();
	await everyLook("log", "table", "日志");
}

/** Commands of SCSI and requests of NFS in one list, here as if there had been one of each. */
async function slowOnes() {
	const empty = { target: "", lun: 0, volume: "", share: "", version: "", lba: 0, blocks: 0, bytes: 0, aborted: false, initiator_ms: 0, queue_ms: 0, engine_ms: 0, device_ms: 0, share_ms: 0 };
	const commands = [
		{ ...empty, number: 2, at_ms: Date.now(), protocol: "nfs", initiator: "192.0.2.7", pool: "tank", share: "isos", version: "4.1", command: "SEQUENCE PUTFH READ", operation: "READ", bytes: 65536, total_ms: 4000, queue_ms: 1000, share_ms: 3000, waited_for: "share" },
		{ ...empty, number: 1, at_ms: Date.now(), protocol: "iscsi", initiator: "iqn.2026-11.org.example:a", target: "iqn.2026-11.org.example:t", pool: "tank", volume: "disk", command: "WRITE(10)", operation: "WRITE(10)", blocks: 8, total_ms: 600, device_ms: 600, waited_for: "device" },
	];
	await page.route("**/api/v1/slow", (one) => one.fulfill({ json: { limit_ms: 500, seen: 2, commands } }));
	await open("support");
	const slow = page.getByRole("table", { name: "Slow commands and NFS requests" }), row = slow.getByRole("row", { name: /192\.0\.2\.7/ });
	await row.waitFor();
	const text = await row.innerText(), other = await slow.getByRole("row", { name: /org\.example:a/ }).innerText();
	point(/tank\/isos/.test(text) && /NFSv4\.1 READ/.test(text) && /4(\.0)? s/.test(text) && /Share/.test(text) && await row.getByTitle("SEQUENCE PUTFH READ, 64 KiB read or written").count() === 1
		&& await row.getByRole("link", { name: "tank/isos" }).getAttribute("href") === "#/shares/tank/isos", "a slow request of NFS is listed with its client, its share and what it waited for", text);
	point(/tank\/disk/.test(other) && /WRITE\(10\)/.test(other) && /Devices/.test(other), "beside a slow command", other);
	point(await page.getByText("Mostly: Share").count() === 1 && await page.getByText("Most of it belongs to the share tank/isos.").count() === 1 && await page.getByText("Most of it belongs to the host 192.0.2.7.").count() === 1, "and what most of it was is said of both");
	await everyLook("slow", "table", "慢命令与慢 NFS 请求");
	await page.unroute("**/api/v1/slow");
}

await walked(async () => {
	await signIn();
	await library();
	await images();
	await newcomer();
	if (given.device) {
		await away();
		await replaced();
	}
	await resilvering();
	await power();
	await configuration();
	await slowOnes();
}, () => helper?.kill());
