// SPDX-License-Identifier: Apache-2.0
// A new release for the appliance, in a real browser: from a file and from a URL, tried out first,
// refused when it is forged. Started by tests/integration/browser_update_test.py with what it needs in
// GRANARY_BROWSER; prints one line of JSON per point.
import { ask, box, carryOut, everyLook, given, open, page, picture, plain, point, press, signIn, until, walked } from "./page.mjs";

const UPDATE = "/appliance/update", FILE = "Update bundle to upload", WOULD = "What will change?";

async function give(name) {
	await page.getByLabel(FILE).setInputFiles(`${given.bundles}/${name}`);
	await page.getByRole("button", { name: `Install ${name}` }).waitFor();
}

async function forged() {
	await open("settings");
	await page.getByText("1.0.0, from slot a").waitFor();
	point((await ask(UPDATE)).next === "a", "the page says which release runs, and from where");
	await give("forged");
	point((await ask(UPDATE)).bundle.complete, "a bundle is uploaded by choosing it");
	await page.getByRole("button", { name: "Install forged" }).click();
	await press(box.getByRole("button", { name: WOULD }), box.getByText("The bundle is not signed for this system"));
	point(!(await ask(UPDATE)).under_way, "a forged one is no use: that is said when it is tried out");
	await press(box.getByRole("button", { name: "Install", exact: true }), box.getByText("The bundle is not signed for this system"));
	await picture("forged");
	await box.getByRole("button", { name: "Cancel" }).click();
	await page.getByRole("button", { name: "Delete what was uploaded" }).click();
	await until(UPDATE, (state) => !state.bundle);
	point((await ask(UPDATE)).next === "a", "it is refused, and can be deleted");
}

async function byUrl() {
	await page.getByRole("button", { name: "Install from a URL" }).click();
	await box.getByLabel("URL").fill("http://127.0.0.1/bundle");
	point(await box.getByRole("button", { name: "Install", exact: true }).isDisabled(), "a URL without https is none");
	await box.getByLabel("URL").fill(`${given.releases}/older`);
	await press(box.getByRole("button", { name: WOULD }), box.getByText("older than the release that runs"));
	await box.getByLabel("URL").fill(`${given.releases}/good`);
	await press(box.getByRole("button", { name: WOULD }), box.locator(".would").getByText("2.0.0"));
	const said = await box.locator(".would").innerText(), state = await ask(UPDATE);
	point(said.includes("1.0.0") && state.next === "a" && !state.under_way, "what would be different is shown, and nothing is", [said, state]);
	await picture("would");
	await box.getByRole("button", { name: "Cancel" }).click();
}

/** Closed and come back to, seen on the page of jobs, given up there. */
async function cancelled() {
	await page.getByRole("button", { name: "Install from a URL" }).click();
	await box.getByLabel("URL").fill(`${given.releases}/slow`);
	await carryOut(box.getByRole("button", { name: "Install", exact: true }));
	await page.getByRole("progressbar", { name: "Progress of the update" }).waitFor();
	await page.getByText("To go:").waitFor();
	await picture("writes");
	await open("jobs");
	const row = page.getByRole("row", { name: /New release/ });
	await row.getByText("running").waitFor();
	const [job] = (await ask("/jobs")).filter((one) => one.id === "update");
	point(job.progress > 0.2 && (await row.innerText()).includes(`${Math.floor(job.progress * 100)} %`), "an update is among the jobs, with how far it is", [job, await row.innerText()]);
	await everyLook("update-job", "main h1", "取消更新");
	await plain();
	await row.getByRole("button", { name: "Cancel the update" }).click();
	await row.getByText("stopped").waitFor();
	await row.getByText("slot b holds no release now").waitFor();
	const state = await ask(UPDATE);
	point(state.next === "a" && state.update.code === "update_cancelled", "it is cancelled there, and the row says what became of the slot", state);
	await open("settings");
	await page.getByText("The update was cancelled", { exact: false }).first().waitFor();
	await page.getByText("Slot b holds no complete release").waitFor();
	point(state.incomplete === "b" && await page.getByRole("button", { name: "Go back to slot b" }).count() === 0, "what is half is nothing to go back to, and no button does", state);
	await picture("cancelled");
}

async function install() {
	await give("good");
	await everyLook("release", "main h1", "系统版本");
	await plain();
	await page.getByRole("button", { name: "Install good" }).click();
	await carryOut(box.getByRole("button", { name: "Install", exact: true }));
	await page.getByText("Release 2.0.0 is in slot b. Restart to run it.").waitFor();
	const state = await ask(UPDATE);
	point(state.next === "b" && state.on_trial && state.update.state === "done" && !state.bundle, "a good one is in the other slot, and the next start takes it", state);
	await everyLook("installed", "main h1", "试运行");
	await plain();
	await press(page.getByRole("button", { name: "Restart now" }), box.getByText("No iSCSI session and no NFSv4 client is connected."));
	point((await ask(UPDATE)).on_trial, "Restart now asks first");
	await picture("restart");
	await box.getByRole("button", { name: "Cancel" }).click();
}

await walked(async () => {
	await signIn();
	await forged();
	await byUrl();
	await cancelled();
	await install();
});
