// SPDX-License-Identifier: Apache-2.0
// What is kept, in a real browser: volumes and shares that were deleted, a backup of the configuration;
// shares over SMB; directories of the machine; an account that may do no more than replicate. Started by
// tests/integration/browser_kept_test.py with what it needs in GRANARY_BROWSER; prints one line of
// JSON per point.
import { readFileSync, writeFileSync } from "node:fs";
import { ask, box, carryOut, change, everyLook, given, newPage, note, open, page, picture, plain, point, press, signIn, V1, walked } from "./page.mjs";

// --- what was deleted --------------------------------------------------------------------------

async function remove(title, name, after, also) {
	await page.getByRole("button", { name: title, exact: true }).click();
	await box.getByLabel(`Type ${name} to go on`).fill(name);
	if (also) await also();
	await press(box.getByRole("button", { name: "Delete", exact: true }), after);
}

async function bin() {
	for (const name of ["db", "scratch"]) await change("POST", "/volumes", { pool: "tank", name, size: "64M" });
	await change("POST", "/snapshots", { snapshots: ["tank/db@monday"] });
	await change("POST", "/shares", { pool: "tank", name: "files" });
	await change("POST", "/shares/tank/files/rules", { client: "127.0.0.1" });
	const before = await ask("/volumes/tank/db");
	await open("volumes", "tbody tr");
	await remove("Delete db", "db", page.getByText(/db deleted; it can be had back until/), async () => {
		await box.getByText("For 3 d 0 h it can be had back").waitFor();
		await box.getByLabel("Delete its snapshots with it (1)").check();
		await picture("delete");
	});
	await remove("Delete scratch", "scratch", page.getByText("Volume scratch deleted"), async () => {
		await box.getByLabel("Delete at once, for good").check();
		await box.getByText("are gone for good").waitFor();
	});
	await open("shares/tank/files");
	await remove("Delete", "files", page.getByText(/files deleted; it can be had back until/));
	const kept = await ask("/bin");
	await open("commands");
	const shown = await page.locator("main").innerText();
	point(shown.includes("granary volume delete tank/db --to-bin --with-snapshots --yes") && shown.includes("granary volume delete tank/scratch --yes") && shown.includes("granary share delete tank/files --to-bin --yes"), "each is there as a command", shown);
	point((await ask("/volumes")).length === 0 && (await ask("/shares")).length === 0 && kept.map((one) => one.name).sort().join() === "db,files", "what is deleted is in the bin, but for what is to go at once", kept);
	await page.getByRole("link", { name: "Recently deleted" }).click();
	await page.getByRole("row", { name: /db/ }).getByText(/2 d 23 h/).waitFor();
	point(await page.getByText("snapshots: 1").count() === 1 && await page.getByText("2 deleted, ").count() === 1, "with the time that is left, and what a pool holds of it", await page.locator("main").innerText());
	await everyLook("bin", "tbody tr", "回收站");
	await plain();
	await page.getByRole("button", { name: "Restore db", exact: true }).click();
	await box.getByLabel("Name").fill("db-again");
	await press(box.getByRole("button", { name: "Restore", exact: true }), page.getByText("db-again is back"));
	await page.getByRole("button", { name: "Restore files", exact: true }).click();
	await box.getByRole("button", { name: "Restore", exact: true }).click();
	await page.getByText("Nothing was deleted lately").waitFor();
	const now = await ask("/volumes/tank/db-again");
	point(now.uuid === before.uuid && now.naa === before.naa && (await ask("/volumes/tank/db-again/snapshots")).length === 1 && (await ask("/shares/tank/files")).state === "online" && (await ask("/shares/tank/files/rules")).length === 1, "both come back as they were", now);
	await page.getByRole("button", { name: "Change", exact: true }).click();
	await box.getByLabel("Hours").fill("9999");
	point(await box.getByText("A number from 0 to 8760").count() === 1, "a time that is too long is no time");
	await box.getByLabel("Hours").fill("5");
	await box.getByRole("button", { name: "Save" }).click();
	await page.getByText("5 h 0 min").first().waitFor();
	point((await ask("/pools/tank")).undelete_hours === 5, "how long it is kept is set");
	await change("DELETE", "/volumes/tank/db-again?to_bin=1&snapshots=1");
	await page.getByRole("button", { name: "Empty", exact: true }).click();
	await box.getByLabel("Type tank to go on").fill("tank");
	await carryOut(box.getByRole("button", { name: "Empty", exact: true }));
	await page.getByText("Nothing was deleted lately").waitFor();
	point((await ask("/bin")).length === 0, "and the bin is emptied");
}

// --- a backup ----------------------------------------------------------------------------------

const PHRASE = "correct horse battery";

async function backup() {
	await open("settings");
	await page.getByRole("button", { name: "Back up …" }).click();
	await box.getByLabel("Passphrase").fill(PHRASE);
	await box.getByLabel("Once more").fill(PHRASE);
	const [file] = await Promise.all([page.waitForEvent("download"), carryOut(box.getByRole("button", { name: "Back up", exact: true }))]);
	const data = readFileSync(await file.path());
	point(data.subarray(0, 8).toString() === "GRANARYB" && !data.includes("tank") && /^granary-\d+-\d+\.backup$/.test(file.suggestedFilename()), "a backup comes as a file that tells nothing", [data.length, file.suggestedFilename()]);
	await change("POST", "/hosts", { name: "later", initiators: [] });
	const path = `${given.folder}/kept.backup`;
	writeFileSync(path, data);
	await page.getByRole("button", { name: "Restore …" }).click();
	await box.getByLabel("Backup file").setInputFiles(path);
	const changes = box.getByRole("list", { name: "What it would change" }), look = box.getByRole("button", { name: "Show what would change" });
	await box.getByLabel("Passphrase").fill("another passphrase");
	await press(look, box.getByText("The passphrase is another one"));
	await box.getByLabel("Passphrase").fill(PHRASE);
	await press(look, changes);
	await picture("restore");
	const told = await changes.innerText();
	point(/Host group later goes/.test(told.replace(/\s+/g, " ")) && (await ask("/hosts")).length === 1 && !(await ask("/backup")).staged, "what it would change is shown first, and nothing changes", told);
	await box.getByLabel("Replace configuration, accounts and keys by these").check();
	await press(box.getByRole("button", { name: "Restore", exact: true }), page.getByText("A backup is ready"));
	point((await ask("/backup")).staged, "then it is ready for the next start");
	await everyLook("backup", ".caution", "备份已就绪");
	await plain();
	await page.getByRole("button", { name: "Take it back" }).click();
	await box.locator(".would").getByText("What will change").waitFor();
	point((await ask("/backup")).staged, "what taking it back changes is shown first");
	await carryOut(box.getByRole("button", { name: "Go on" }));
	await page.getByText("A backup is ready").waitFor({ state: "detached" });
	point(!(await ask("/backup")).staged, "and taken back");
}

// --- shares over SMB ---------------------------------------------------------------------------

async function smb() {
	await open("smb");
	await page.getByRole("button", { name: "New user" }).click();
	await box.getByLabel("Name").fill("alice");
	await box.getByLabel("New password").fill("a long password");
	await press(box.getByRole("button", { name: "Save" }), page.getByText("SMB user alice can sign in"));
	await page.getByRole("button", { name: "Serve a share" }).click();
	await box.getByLabel("alice").check();
	await box.getByLabel("Read only").check();
	await press(box.getByRole("button", { name: "Save" }), page.getByText("Share files is served over SMB"));
	const served = await ask("/smb");
	point(served.shares.length === 1 && served.shares[0].users.join() === "alice" && served.shares[0].read_only && served.users[0].uid >= 70001, "a share is served over SMB to a user that was made here", served);
	await page.getByRole("cell", { name: "reads", exact: true }).waitFor();
	await everyLook("smb", "tbody tr", "只读");
	await plain();
	await page.getByRole("button", { name: "SMB of share files" }).click();
	await box.getByLabel("Everybody may use it, without a password").check();
	await box.getByLabel("Read only").uncheck();
	await press(box.getByRole("button", { name: "Save" }), page.getByText("Clients of NFS can write to it too"));
	point((await ask("/smb")).shares[0].guest, "what is set is changed, with a warning where NFS writes too");
	await page.getByRole("button", { name: "Serve files over SMB no longer" }).click();
	await carryOut(box.getByRole("button", { name: "Stop serving" }));
	await page.getByText("No share is served over SMB").waitFor();
	await page.getByRole("button", { name: "Delete SMB user alice" }).click();
	await carryOut(box.getByRole("button", { name: "Delete", exact: true }));
	await page.getByText("There are no SMB users yet").waitFor();
	point((await ask("/smb")).users.length === 0 && (await ask("/shares")).length === 1, "it is served no longer, and the share stays");
}

// --- directories of the machine ---------------------------------------------------------------

async function directories() {
	if (!given.served) return note("only root opens by handle");
	await open("shares");
	await page.getByRole("button", { name: "Export a directory" }).click();
	await box.getByLabel("Path").fill("/etc");
	await box.getByLabel("Name").fill("isos");
	const exports = box.getByRole("button", { name: "Export a directory" });
	await press(exports, box.getByText("This directory can not be exported"));
	await box.getByLabel("Path").fill(given.served);
	await press(exports, page.getByText("Nobody may use it yet."));
	await page.getByRole("button", { name: "Allow a client" }).click();
	await box.getByLabel("Client").fill("10.0.0.0/24");
	point(await box.getByLabel("Read only").count() === 0, "it is read-only, and nobody is asked whether");
	await box.getByRole("button", { name: "Allow a client" }).click();
	await page.getByRole("cell", { name: "10.0.0.0/24", exact: true }).waitFor();
	await picture("directory");
	const made = await ask("/directories/isos"), rules = await ask("/directories/isos/rules");
	point(made.path === given.served && made.state === "online" && rules.length === 1 && rules[0].read_only, "a directory is exported to a client", [made, rules]);
	await open("commands");
	const shown = await page.locator("main").innerText();
	point(shown.includes(`granary directory add ${given.served} isos`) && shown.includes("granary directory allow isos --client 10.0.0.0/24"), "with its commands", shown);
	await open("shares/isos");
	await everyLook("directory", "tbody tr", "停止导出");
	await plain();
	await open("shares");
	await page.getByRole("cell", { name: given.served }).waitFor();
	await picture("directories");
	await page.getByRole("link", { name: "isos", exact: true }).click();
	await page.getByRole("button", { name: "Stop exporting it" }).click();
	await carryOut(box.getByRole("button", { name: "Stop exporting it" }));
	await page.getByText("No directory of this machine is exported.").waitFor();
	point((await ask("/directories")).length === 0, "and no longer");
}

// --- an account of replication -----------------------------------------------------------------

async function replication() {
	await open("access");
	await page.getByRole("button", { name: "New account" }).click();
	await box.getByLabel("Name").fill("cluster");
	await box.getByLabel("Role").selectOption("replication");
	await box.getByLabel(/assword/).fill("a pass phrase of its own");
	await picture("role");
	await carryOut(box.getByRole("button", { name: "Create" }));
	await page.getByRole("cell", { name: "Replication", exact: true }).waitFor();
	const theirs = await newPage();
	await signIn(theirs, "cluster", "a pass phrase of its own", "main h1");
	await theirs.getByRole("heading", { name: "Replication" }).first().waitFor();
	const links = await theirs.getByRole("navigation").getByRole("link").allInnerTexts();
	const seen = (await theirs.request.get(`${given.url}${V1}/targets`)).status(), groups = (await theirs.request.get(`${given.url}${V1}/replica/groups`)).status();
	await picture("replication", theirs);
	point(links.map((one) => one.trim()).join() === "Replication,Jobs,Commands,Settings" && seen === 403 && groups === 200, "an account of replication sees that, and nothing else", [links, seen, groups]);
	await theirs.context().close();
}

await walked(async () => {
	await signIn();
	await bin();
	await backup();
	await smb();
	await directories();
	await replication();
});
