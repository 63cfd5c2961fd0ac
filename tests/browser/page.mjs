// SPDX-License-Identifier: Apache-2.0
// A browser with one page on it, and what every walk does there: say a point, open a page, look at it
// in every look, change something past it. What a script needs is in GRANARY_BROWSER (tests/guest/
// browser.py); each point is one line of JSON.
import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { basename } from "node:path";
import { lacksContrast, lacksNames, scrollsSideways } from "./checks.mjs";

export const given = JSON.parse(process.env.GRANARY_BROWSER);
/** How long a step may take on a machine that has much else to do. */
export const V1 = "/api/v1", LONG = 120000;
const require = createRequire(given.modules);
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const script = basename(process.argv[1], ".mjs");

export function point(good, text, detail) {
	console.log(JSON.stringify({ good: !!good, text, detail: good ? "" : typeof detail === "string" ? detail : JSON.stringify(detail) ?? "" }));
	return good;
}
export const note = (text) => console.log(JSON.stringify({ text }));

const browser = await chromium.launch({ executablePath: given.chromium, args: process.getuid() === 0 ? ["--no-sandbox"] : [] });
const complaints = [];

/** A page with cookies of its own: somebody else at another desk. */
export async function newPage() {
	const context = await browser.newContext({ ignoreHTTPSErrors: true, viewport: { width: 1280, height: 860 }, locale: "en-GB" });
	context.setDefaultTimeout(LONG);
	await context.addInitScript(() => {
		addEventListener("securitypolicyviolation", (event) => console.error(`CSP: ${event.violatedDirective} ${event.blockedURI}`));
		// Before the page's own: what looks at it later sees what the page has made of it.
		window.shownPath = location.hash;
		addEventListener("hashchange", () => { window.shownPath = location.hash; });
	});
	const made = await context.newPage();
	// An answer of 4xx that a step provokes is also a line of the console; it is the step's point.
	made.on("console", (message) => { if (message.type() === "error" && !message.text().startsWith("Failed to load resource")) complaints.push(message.text()); });
	made.on("pageerror", (error) => complaints.push(error.message));
	return made;
}

export const page = await newPage();
export const box = page.getByRole("dialog");

/** @path on show, not the page before it: with @ready, and all that it waits for. */
export async function open(path, ready = "main h1", whose = page) {
	const url = `${given.url}/#/${path}`;
	await whose.goto(url);
	await whose.waitForFunction((hash) => window.shownPath === hash, new URL(url).hash);
	await whose.waitForSelector(ready);
	await whose.waitForFunction(() => !document.querySelector(".waiting"));
}

export async function picture(name, whose = page) {
	if (!given.pictures) return;
	mkdirSync(given.pictures, { recursive: true });
	await whose.screenshot({ path: `${given.pictures}/${script}-${name}.png`, fullPage: true });
}

/** A change past the pages. */
export async function change(method, path, data) {
	const me = await (await page.request.get(`${given.url}${V1}/me`)).json();
	const send = (how, where, body) => page.request.fetch(`${given.url}${V1}${where}`, { method: how, data: body, headers: { "X-CSRF-Token": me.csrf } });
	let answer = await send(method, path, data);
	if (!answer.ok() && (await answer.text()).includes('"confirm_first"')) {
		await send("POST", "/me/confirm", { password: given.password });
		answer = await send(method, path, data);
	}
	if (!answer.ok()) throw new Error(`${method} ${path}: ${await answer.text()}`);
	return answer.json();
}
export const ask = async (path) => (await page.request.get(`${given.url}${V1}${path}`)).json();

export async function signIn(whose = page, name = given.user, password = given.password, ready = ".figures") {
	await whose.goto(given.url);
	await whose.getByLabel("User name").fill(name);
	await whose.getByLabel("Password").fill(password);
	await whose.keyboard.press("Enter");
	await whose.waitForSelector(ready);
}

/** Presses @button and waits for @after, which nothing but what it does brings; the password is given
 *  once more when it is asked for. @after is waited for from before the click: a notice goes again. */
export async function press(button, after, whose = page, password = given.password) {
	const again = whose.getByRole("dialog", { name: "Is it you?" }), first = after.first();
	await Promise.all([again.or(after).first().waitFor(), button.click()]);
	if (!(await again.count())) return;
	await again.getByLabel("Password").fill(password);
	await Promise.all([first.waitFor(), again.getByRole("button", { name: "Go on" }).click()]);
}

/** Until no dialog is open, or one that asks for the password, or one that says what is wrong. */
async function dialogsSettle(whose, times) {
	const found = await whose.waitForFunction((before) => {
		const all = [...document.querySelectorAll("dialog")], wrong = all.map((one) => one.querySelector("[role=alert]")?.innerText).find(Boolean);
		const asks = all.some((one) => one.querySelector("h2")?.innerText === "Is it you?");
		return wrong ? { wrong } : asks ? !before && { asks } : !all.length && { over: true };
	}, times);
	return found.jsonValue();
}

/** Presses @button of the dialog on show, whose work is done when it is closed; the password is given
 *  once more when it is asked for. What the dialog says is wrong ends the walk. */
export async function carryOut(button, whose = page, password = given.password) {
	await button.click();
	let now = await dialogsSettle(whose, 0);
	if (now.asks) {
		const again = whose.getByRole("dialog", { name: "Is it you?" });
		await again.getByLabel("Password").fill(password);
		await again.getByRole("button", { name: "Go on" }).click();
		now = await dialogsSettle(whose, 1);
	}
	if (now.wrong) throw new Error(`refused: ${now.wrong.replaceAll("\n", " ")}`);
}

/** Until the daemon's answer at @path is as @wanted says; returns it. */
export async function until(path, wanted) {
	const limit = Date.now() + LONG;
	let answer = await ask(path);
	while (!wanted(answer)) {
		if (Date.now() > limit) throw new Error(`${path} stays as it is: ${JSON.stringify(answer)}`);
		await new Promise((resolve) => setTimeout(resolve, 100));
		answer = await ask(path);
	}
	return answer;
}

/** The page on show in another language, light or dark, at another width. */
export async function wear({ language, look, width }) {
	await page.setViewportSize({ width, height: 860 });
	await page.evaluate(([one, two]) => { localStorage.setItem("granary.language", one); localStorage.setItem("granary.look", two); }, [language, look]);
	await page.reload();
}

/** English, on a desk: as the buttons are named in the walks. */
export async function plain(ready = "main h1") {
	await wear({ language: "en", look: "light", width: 1280 });
	await page.waitForSelector(ready);
}

/** What axe-core calls serious or critical on the page on show (WCAG 2.2 A and AA, and its own). */
export async function barriers() {
	await page.evaluate(axe);
	const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
	return violations.filter((one) => ["serious", "critical"].includes(one.impact)).map((one) => `axe ${one.id}: ${one.nodes.slice(0, 2).map((node) => node.html.slice(0, 120)).join(" | ")}`);
}

/** What is wrong with the page on show, in words. */
export async function faults() {
	const wrong = [];
	for (const check of [scrollsSideways, lacksNames, lacksContrast]) wrong.push(...await page.evaluate(check));
	return wrong;
}

const looks = [
	{ language: "zh", look: "dark", width: 1280 }, { language: "zh", look: "light", width: 360 },
	{ language: "en", look: "dark", width: 360 }, { language: "en", look: "light", width: 1280 },
];

/** The page on show in both languages, light and dark, desk and phone. */
export async function everyLook(name, ready, chinese) {
	const wrong = [];
	for (const one of looks) {
		await wear(one);
		await page.waitForSelector(ready);
		await page.waitForFunction(() => !document.querySelector(".waiting"));
		wrong.push(...[...await faults(), ...await barriers()].map((text) => `${one.language}, ${one.look}, ${one.width}: ${text}`));
		if (one.language === "zh" && !(await page.locator("main").innerText()).includes(chinese)) wrong.push(`${chinese} is not there`);
		await picture(`${name}-${one.width}-${one.language}-${one.look}`);
	}
	point(wrong.length === 0, `${name} in both languages, light and dark, desk and phone: fits, named, contrast, no barrier`, wrong.slice(0, 10).join("\n"));
}

/** The whole walk: what stops it is a point, with a picture, and so is a complaint of the page's. */
export async function walked(steps, last = () => {}) {
	try {
		await steps();
		point(complaints.length === 0, "no script error, no violation of the content security policy", complaints.slice(0, 8).join("\n"));
	} catch (error) {
		await page.screenshot({ path: given.failure }).catch(() => {});
		point(false, `stopped: ${error.message.split("\n")[0]}`, `${error.stack}\n${page.url()}\n${complaints.join("\n")}\npicture: ${given.failure}`);
	} finally {
		last();
		await browser.close();
	}
}
