// SPDX-License-Identifier: Apache-2.0
// The web admin of a box with long lists, in a real browser: how soon it can be used is told, that
// no page holds more rows than are near the screen, and that the last of a list is reached, is
// looked at. Started by tests/integration/long_lists_test.py.
import { barriers, given, LONG, note, page, point, signIn, walked } from "./page.mjs";

/** What the page's process has computed so far, in ms: it is the same on a machine that has much else
 *  to do. */
async function computed(devtools) {
	const { metrics } = await devtools.send("Performance.getMetrics");
	return metrics.find((one) => one.name === "ProcessTime").value * 1000;
}

/** From an empty window to a page whose figures are all there and that answers. */
async function firstView(devtools) {
	await page.goto("about:blank");
	const before = await computed(devtools);
	await page.goto(`${given.url}/#/`);
	await page.waitForFunction(() => document.querySelectorAll(".figure b").length === 4 && ![...document.querySelectorAll(".figure b")].some((one) => one.textContent === "…"));
	const taken = await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => setTimeout(() => done(Math.round(performance.now()))))));
	const after = await computed(devtools), figures = await page.locator(".figure b").allInnerTexts();
	return { taken, busy: Math.round(after < before ? after : after - before), figures };
}

/** How soon it is there is told; what is judged is what the page computes for it, of which the best of
 *  some tries counts. */
async function firstViews() {
	const devtools = await page.context().newCDPSession(page), views = [];
	await devtools.send("Performance.enable");
	for (let tries = 0; tries < 8 && !(Math.min(...views.map((one) => one.busy)) < 1000); tries++) views.push(await firstView(devtools));
	const busy = views.map((one) => one.busy), { figures } = views.at(-1);
	note(`first view: all figures after ${views.map((one) => one.taken).join(", ")} ms, of which the page computed ${busy.join(", ")} ms`);
	point(Math.min(...busy) < 1000, "the first view takes less than a second of computing", busy);
	point(figures.join().replace(/[^\d,]/g, "").startsWith(`${given.volumes},`), "the first view counts all volumes", figures);
}

/** Down to the end by the wheel, while every frame is timed. */
async function scrollDown() {
	return page.evaluate(() => new Promise((done) => {
		const gaps = [];
		let last = performance.now(), steps = 0;
		function frame(now) {
			gaps.push(now - last);
			last = now;
			const root = document.scrollingElement;
			if (++steps < 60) scrollTo(0, (root.scrollHeight - innerHeight) * (steps / 60));
			else return done({ worst: Math.round(Math.max(...gaps.slice(1))), rows: document.querySelectorAll("tbody tr").length });
			requestAnimationFrame(frame);
		}
		requestAnimationFrame(frame);
	}));
}

async function list(path, first, last, what) {
	const started = Date.now();
	await page.goto(`${given.url}/#/${path}`);
	await page.locator("tbody td", { hasText: first }).first().waitFor();
	const shown = Date.now() - started;
	const rows = await page.evaluate(() => document.querySelectorAll("tbody tr").length);
	const scrolled = await scrollDown();
	await page.waitForFunction((text) => {
		scrollTo(0, document.scrollingElement.scrollHeight);
		return [...document.querySelectorAll("tbody td")].some((one) => one.textContent.includes(text));
	}, last, { polling: 200, timeout: LONG });
	note(`${what}: shown after ${shown} ms; scrolled to the end, the longest frame ${scrolled.worst} ms`);
	point(rows <= 110 && scrolled.rows <= 110, `${what}: no more rows than near the screen, and the last is reached`, [rows, scrolled]);
	const serious = await barriers();
	point(serious.length === 0, `${what}: nothing in a screen reader's way`, serious);
	await page.evaluate(() => scrollTo(0, 0));
	await page.locator("tbody td", { hasText: first }).first().waitFor();
}

await walked(async () => {
	await signIn();
	await firstViews();
	await list("volumes", "v0000", `v${String(given.volumes - 1).padStart(4, "0")}`, `${given.volumes} volumes`);
	await list("snapshots/tank/v0000", `s${String(given.snapshots - 1).padStart(5, "0")}`, "s00000", `${given.snapshots} snapshots`);
	await list("sessions", "host-", "host-", `${given.sessions} sessions`);
});
