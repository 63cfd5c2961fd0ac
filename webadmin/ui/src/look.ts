// SPDX-License-Identifier: Apache-2.0
// Light, dark, or what the system prefers.
import { effect, signal } from "@preact/signals";

export type Look = "auto" | "light" | "dark";

const kept = localStorage.getItem("granary.look");
export const look = signal<Look>(kept === "light" || kept === "dark" ? kept : "auto");

const dark = matchMedia("(prefers-color-scheme: dark)");
/** Counts changes of the colours, for what is drawn with them. */
export const repaint = signal(0);

effect(() => {
	localStorage.setItem("granary.look", look.value);
	document.documentElement.dataset.look = look.value;
	repaint.value = repaint.peek() + 1;
});
dark.addEventListener("change", () => { repaint.value++; });
