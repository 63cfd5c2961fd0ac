// SPDX-License-Identifier: Apache-2.0
// What every page has to keep, looked for inside the page; each returns what is wrong, in words.

/** Wider than the window? Names the widest culprit. */
export function scrollsSideways() {
	const root = document.scrollingElement;
	if (root.scrollWidth <= innerWidth) return [];
	const wide = [...document.querySelectorAll("body *")].filter((one) => one.getBoundingClientRect().right > innerWidth + 1 && !one.closest("pre"));
	return [`${root.scrollWidth} > ${innerWidth}: ${wide.slice(0, 3).map((one) => `${one.tagName.toLowerCase()}.${one.className}`).join(", ")}`];
}

/** Names, headings, language: what a screen reader lives on. */
export function lacksNames() {
	const wrong = [];
	const visible = (one) => one.getClientRects().length > 0;
	const named = (one) => (one.getAttribute("aria-label") ?? "").trim() || (one.getAttribute("aria-labelledby") ?? "").split(/\s+/).some((id) => id && document.getElementById(id)) ||
		[...(one.labels ?? [])].some((label) => label.textContent.trim()) || (["BUTTON", "A"].includes(one.tagName) && one.textContent.trim());
	for (const one of document.querySelectorAll("input, select, textarea, button, a[href], [role=meter], [role=progressbar], [role=img], dialog, table, nav"))
		if (visible(one) && !named(one) && !(one.tagName === "TABLE" && one.caption)) wrong.push(`no name: ${one.outerHTML.slice(0, 100)}`);
	for (const one of document.querySelectorAll("[aria-describedby], [aria-controls]"))
		for (const id of `${one.getAttribute("aria-describedby") ?? ""} ${one.getAttribute("aria-controls") ?? ""}`.split(/\s+/))
			if (id && visible(one) && !document.getElementById(id)) wrong.push(`nothing has the id ${id}`);
	const ids = [...document.querySelectorAll("[id]")].map((one) => one.id);
	for (const id of new Set(ids.filter((id, at) => ids.indexOf(id) !== at))) wrong.push(`the id ${id} is there twice`);
	if (document.querySelectorAll("h1").length !== 1) wrong.push(`${document.querySelectorAll("h1").length} h1`);
	if (document.querySelectorAll("main").length !== 1) wrong.push(`${document.querySelectorAll("main").length} main`);
	if (!document.documentElement.lang) wrong.push("no language");
	for (const image of document.querySelectorAll("svg")) if (image.getAttribute("aria-hidden") !== "true" && !image.getAttribute("role")) wrong.push("a drawing without a role");
	return wrong;
}

/** Text against what is behind it: 4.5 to 1, 3 to 1 when it is large (WCAG 2.2, 1.4.3). */
export function lacksContrast() {
	const parse = (text) => {
		const numbers = (text.match(/[\d.]+(?:e-?\d+)?/g) ?? []).map(Number);
		if (text.startsWith("color(")) return [numbers[0] * 255, numbers[1] * 255, numbers[2] * 255, numbers[3] ?? 1];
		return [numbers[0], numbers[1], numbers[2], numbers[3] ?? 1];
	};
	const over = (top, under) => [0, 1, 2].map((at) => top[at] * top[3] + under[at] * (1 - top[3])).concat(1);
	const light = (colour) => {
		const [r, g, b] = colour.slice(0, 3).map((one) => (one / 255 <= 0.04045 ? one / 255 / 12.92 : ((one / 255 + 0.055) / 1.055) ** 2.4));
		return 0.2126 * r + 0.7152 * g + 0.0722 * b;
	};
	const behind = (one) => {
		const layers = [];
		for (let at = one; at; at = at.parentElement) {
			const colour = parse(getComputedStyle(at).backgroundColor);
			if (colour[3] > 0) layers.push(colour);
			if (colour[3] === 1 || at.tagName === "DIALOG") break;
		}
		return layers.reverse().reduce((under, top) => over(top, under), [255, 255, 255, 1]);
	};
	const wrong = new Set();
	const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
	while (walker.nextNode()) {
		const one = walker.currentNode.parentElement;
		if (!walker.currentNode.textContent.trim() || !one.getClientRects().length || one.closest(".unseen, .skip, noscript, :disabled")) continue;
		const style = getComputedStyle(one), back = behind(one), front = over(parse(style.color), back);
		const a = light(front), b = light(back), ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
		const size = parseFloat(style.fontSize), least = size >= 24 || (size >= 18.66 && parseInt(style.fontWeight, 10) >= 700) ? 3 : 4.5;
		if (ratio < least) wrong.add(`${ratio.toFixed(2)} for "${walker.currentNode.textContent.trim().slice(0, 30)}" (${one.tagName.toLowerCase()}.${one.className})`);
	}
	return [...wrong];
}
