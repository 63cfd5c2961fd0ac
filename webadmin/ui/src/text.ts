// SPDX-License-Identifier: Apache-2.0
// What people read: one table per language, the same keys in each (build.mjs checks it).
import { signal } from "@preact/signals";
import { en } from "./en";
import { zh } from "./zh";

export type Key = keyof typeof en;
export type Language = "en" | "zh";

const tables: Record<Language, Record<Key, string>> = { en, zh };

function first(): Language {
	const kept = localStorage.getItem("granary.language");
	if (kept === "en" || kept === "zh") return kept;
	return navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en";
}

export const language = signal<Language>(first());

export function setLanguage(to: Language) {
	localStorage.setItem("granary.language", to);
	language.value = to;
}

/** The text @key in the language of now, with {name} replaced by values.name. */
export function t(key: Key, values?: Record<string, string | number>): string {
	const text = tables[language.value][key];
	return values ? text.replace(/\{(\w+)\}/g, (all, name) => (name in values ? String(values[name]) : all)) : text;
}

/** Does a sentence of the daemon's say no more than the English text of @key? */
export function saysTheSame(key: string, sentence: string): boolean {
	return (en as Record<string, string>)[key]?.toLowerCase() === sentence.toLowerCase();
}

/** The text of a key that the daemon named; undefined when there is none. */
export function maybe(key: string): string | undefined {
	return (tables[language.value] as Record<string, string>)[key];
}
