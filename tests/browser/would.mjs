// SPDX-License-Identifier: Apache-2.0
// What an action will change, shown before it is done, in a real browser: changes, what is made, what
// goes, what is refused, what has no dry run. Started by tests/integration/browser_would_test.py with
// what it needs in GRANARY_BROWSER; prints one line of JSON per point.
import { ask, barriers, box, change, faults, given, open, page, picture, plain, point, press, signIn, walked, wear } from "./page.mjs";

const IQN = "iqn.2026-11.org.granary:would";
const would = box.locator(".would");
const look = () => box.getByRole("button", { name: "What will change?", exact: true });
const rows = () => would.locator("dl > div").evaluateAll((all) => Object.fromEntries(all.map((one) => [one.querySelector("dt").textContent, [...one.querySelectorAll("del, ins")].map((part) => part.textContent).join(" -> ") || one.querySelector("dd").textContent])));

/** All that an action could have changed. */
const state = async () => JSON.stringify([await ask("/configuration"), (await ask("/volumes")).map((one) => [one.name, one.size_bytes, one.iops_limit]), (await ask("/audit")).filter((one) => !/confirm|login/.test(one.path)).length]);

async function close() {
	await box.waitFor();
	await page.keyboard.press("Escape");
	await box.waitFor({ state: "detached" });
}

/** The dialog on show as it is on a phone and in Chinese: it fits, has names and contrast. */
async function looks(name, open, title) {
	const wrong = [];
	for (const one of [{ language: "zh", look: "dark", width: 360 }, { language: "en", look: "light", width: 360 }]) {
		await wear(one);
		await open();
		await box.locator(".buttons > button").first().click();
		await would.locator("dl").waitFor();
		// It is scrolled to; until it is on the screen.
		await page.waitForFunction(() => { const at = document.querySelector(".would").getBoundingClientRect(); return at.top >= 0 && at.top < innerHeight && at.bottom <= innerHeight; });
		wrong.push(...[...await faults(), ...await barriers()].map((text) => `${one.language}: ${text}`));
		if (one.language === "zh" && !(await would.innerText()).includes(title)) wrong.push(`no ${title}: ${await would.innerText()}`);
		await picture(`${name}-${one.width}-${one.language}-${one.look}`);
		await close();
	}
	point(wrong.length === 0, `${name}: on a phone, dark and light, in both languages: fits, named, contrast, no barrier`, wrong.join("\n"));
	await plain();
}

async function volume() {
	await change("POST", "/volumes", { pool: "tank", name: "vm", size: "64M" });
	const before = await state();
	const change_ = async () => {
		await page.locator("tbody tr").first().waitFor();
		await page.locator(".row-actions button").first().click();
		await box.locator("input").nth(1).fill("96");
	};
	await open("volumes", "tbody tr");
	await page.getByRole("button", { name: "Change vm", exact: true }).click();
	await box.getByLabel("Size").fill("96");
	await box.getByLabel("Operations a second at most").fill("500");
	point(await would.getAttribute("role") === "status" && await would.innerText() === "", "a dialog has a place for it that is read out, empty at first");
	// By keyboard: it is the first of the buttons.
	await look().focus();
	await page.keyboard.press("Enter");
	await would.getByText("What will change").first().waitFor();
	const said = await rows();
	point(said.size === "64 MiB -> 96 MiB" && said["operations a second"] === "0 -> 500", "a change says what is and what will be, of each of its requests", said);
	point(await would.locator("ins").first().evaluate((one) => one.previousElementSibling.textContent.trim()) === "then:", "a screen reader hears which is which", await would.innerHTML());
	await would.getByText("The same as a command").click();
	const commands = await would.locator("pre").allInnerTexts();
	point(commands.length === 2 && commands[0].includes("granary volume resize tank/vm") && commands[1].includes(`curl -X PATCH '${given.url}/api/v1/volumes/tank/vm'`) && !commands[1].includes("dry_run"), "with the same as commands", commands);
	const found = [...await faults(), ...await barriers()];
	point(found.length === 0, "without a barrier", found.join("\n"));
	await picture("volume");
	await box.getByLabel("Size").fill("128");
	point(await would.innerText() === "", "what was said goes when something else is entered", await would.innerText());
	await close();
	point(before === await state(), "nothing has changed", [before, await state()]);
	await open("commands");
	point(await page.locator(".command pre").count() === 0, "nor is it there as a command that was given");
	await open("volumes", "tbody tr");
	await looks("volume", change_, "将会改变");
	await open("volumes", "tbody tr");
	await page.getByRole("button", { name: "Change vm", exact: true }).click();
	await box.getByLabel("Size").fill("96");
	await look().click();
	await would.locator("dl").waitFor();
	await press(box.getByRole("button", { name: "Save" }), page.getByText("vm changed"));
	point((await ask("/volumes/tank/vm")).size_bytes === 96 * 2 ** 20, "and then it is done as it was said", await ask("/volumes/tank/vm"));
}

async function refused() {
	await page.getByRole("button", { name: "Change vm", exact: true }).click();
	await box.getByLabel("Reserved", { exact: true }).fill("4096");
	await look().click();
	const field = box.locator(".field", { has: page.getByLabel("Reserved", { exact: true }) });
	await field.getByRole("alert").waitFor();
	point(await would.innerText() === "" && await box.getByLabel("Reserved", { exact: true }).getAttribute("aria-invalid") === "true", "what the change would be refused is said at its field", await box.innerText());
	await picture("refused");
	await close();
	await page.getByRole("button", { name: "Change vm", exact: true }).click();
	await look().click();
	await would.getByText("Nothing will be different.").waitFor();
	point(true, "what changes nothing says so");
	await close();
}

async function made() {
	await page.getByRole("button", { name: "New volume" }).click();
	await box.getByLabel("Name").fill("new");
	await box.getByLabel("Size").fill("1");
	await look().click();
	await would.getByText("What will be made").waitFor();
	const said = await rows();
	point(said.name === "new" && said.size === "1 GiB" && !(await ask("/volumes")).some((one) => one.name === "new"), "what is made says what of it there will be, and is not made", said);
	await close();
}

/** What goes says what there is of it, before its name has been typed. */
async function gone() {
	await change("POST", "/targets", { iqn: IQN });
	await change("POST", `/targets/${IQN}/luns`, { pool: "tank", volume: "vm" });
	const before = await state();
	await open(`targets/${IQN}`, "tbody tr");
	await page.getByRole("button", { name: "Take LUN 0 away", exact: true }).click();
	await look().click();
	await would.getByText("What will be gone").waitFor();
	const said = await rows();
	point(said.volume === "vm" && said.LUN === "0" && before === await state(), "a LUN that is to go is shown, and stays", said);
	await picture("lun");
	await close();
	await page.getByRole("button", { name: "Delete", exact: true }).click();
	await look().click();
	await would.locator("dl").waitFor();
	const target = await rows();
	point(target.goes === IQN && /vm/.test(target.LUNs) && await box.getByRole("button", { name: "Delete", exact: true }).isDisabled() && before === await state(), "what a target takes along is shown before its name is typed", target);
	await picture("target");
	await close();
	await change("DELETE", `/targets/${IQN}`);
}

async function share() {
	await change("POST", "/shares", { pool: "tank", name: "files" });
	await open("shares/tank/files");
	await page.getByRole("button", { name: /quota/i }).first().click();
	await box.getByLabel("Quota").first().fill("5");
	await look().click();
	await would.getByText("What will change").first().waitFor();
	const said = await rows();
	await would.getByText("The same as a command").click();
	const command = await would.locator("pre").first().innerText();
	point(command === "granary share quota tank/files 5368709120", "with its command", command);
	point(said.quota === "0 B -> 5 GiB" && (await ask("/shares/tank/files")).quota_bytes === 0, "a share's quota", said);
	await close();
	await open("volumes", "tbody tr");
	await page.getByRole("button", { name: "Delete vm", exact: true }).click();
	await press(look(), would.locator("dl"));
	const deleted = await rows();
	point(deleted.goes === "vm" && deleted["for good"] === "no" && (await ask("/volumes/tank/vm")).name === "vm", "what depends on a volume that is deleted", deleted);
	await picture("delete");
	await close();
}

/** What has no dry run offers none. */
async function none() {
	await open("settings");
	await page.getByRole("button", { name: "Back up …" }).click();
	await box.waitFor();
	point(await box.getByRole("button", { name: "What will change?" }).count() === 0, "what can not be tried out does not offer it");
	await close();
}

await walked(async () => {
	await signIn();
	await volume();
	await refused();
	await made();
	await gone();
	await share();
	await none();
});
