// SPDX-License-Identifier: Apache-2.0
// Where the application stands: the part of the address behind "#", cut at its slashes.
import { signal } from "@preact/signals";

const read = () => location.hash.replace(/^#\/?/, "").split("?")[0].split("/").map((text) => {
	try {
		return decodeURIComponent(text);
	} catch {
		return text;
	}
});

export const route = signal<string[]>(read());

addEventListener("hashchange", () => {
	route.value = read();
	scrollTo(0, 0);
});

export const to = (...parts: (string | number)[]) => `#/${parts.map((text) => encodeURIComponent(text)).join("/")}`;

export function go(...parts: (string | number)[]) {
	location.hash = to(...parts);
}
