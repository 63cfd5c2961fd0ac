// SPDX-License-Identifier: Apache-2.0
// What people read: one table per language, the same keys in each (build.mjs checks it). A table is a
// file of its own: only that of the language of now has to be here before the first view.
import { signal } from "@preact/signals";
import type { en } from "./en";

export type Key = keyof typeof en;
export type Language = "en" | "zh";
type Table = Record<Key, string>;

const tables: Partial<Record<Language, Table>> = {};
const load: Record<Language, () => Promise<Table>> = {
	en: async () => (await import("./en")).en,
	zh: async () => (await import("./zh")).zh,
};

function first(): Language {
	const kept = localStorage.getItem("granary.language");
	if (kept === "en" || kept === "zh") return kept;
	return navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en";
}

export const language = signal<Language>(first());
let wanted = language.value;

const fetched = async (one: Language) => { tables[one] ??= await load[one](); };

/** The texts of the first view are there; those of the other language come after it. */
export async function textsAreHere() {
	await fetched(language.value);
	setTimeout(() => { for (const other of ["en", "zh"] as const) void fetched(other).catch(() => {}); }, 1000);
}

export async function setLanguage(to: Language) {
	wanted = to;
	localStorage.setItem("granary.language", to);
	try {
		await fetched(to);
	} catch {
		location.reload(); // of another release than this page: that has another name for it
	}
	if (wanted === to && tables[to]) language.value = to;
}

const table = () => tables[language.value]!;

/** The text @key in the language of now, with {name} replaced by values.name. */
export function t(key: Key, values?: Record<string, string | number>): string {
	const text = table()[key];
	return values ? text.replace(/\{(\w+)\}/g, (all, name) => (name in values ? String(values[name]) : all)) : text;
}

/** Does a sentence of the daemon's say no more than the English text of @key? */
export function saysTheSame(key: string, sentence: string): boolean {
	return (tables.en as Record<string, string> | undefined)?.[key]?.toLowerCase() === sentence.toLowerCase();
}

/** The text of a key that the daemon named; undefined when there is none. */
export function maybe(key: string): string | undefined {
	return (table() as Record<string, string>)[key];
}
