// SPDX-License-Identifier: Apache-2.0
import { language, t } from "./text";

const locale = () => (language.value === "zh" ? "zh-CN" : "en");
const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

/** 1536 -> "1.5 KiB": at most three digits. */
export function bytes(count: number): string {
	let unit = 0;
	while (count >= 1000 && unit < units.length - 1) {
		count /= 1024;
		unit++;
	}
	return `${number(count, count < 10 && unit ? 2 : count < 100 && unit ? 1 : 0)} ${units[unit]}`;
}

export function number(count: number, digits = 0): string {
	return new Intl.NumberFormat(locale(), { maximumFractionDigits: digits }).format(count);
}

export function percent(part: number, whole: number): string {
	const share = whole > 0 ? (part / whole) * 100 : 0;
	return `${number(share, share > 0 && share < 10 ? 1 : 0)} %`;
}

/** "20G", "1.5 TiB", "500" (GiB) -> bytes; null when it is no size. */
export function parseSize(text: string, unit: string): number | null {
	const match = /^\s*(\d+(?:[.,]\d+)?)\s*(?:([kmgtp])(?:i?b)?)?\s*$/i.exec(text);
	if (!match) return null;
	const power = "BKMGTP".indexOf((match[2] ?? unit).toUpperCase());
	const size = parseFloat(match[1].replace(",", ".")) * 1024 ** power;
	return size > 0 && Number.isSafeInteger(Math.round(size)) ? Math.round(size) : null;
}

export function duration(seconds: number): string {
	const days = Math.floor(seconds / 86400), hours = Math.floor((seconds % 86400) / 3600);
	const minutes = Math.floor((seconds % 3600) / 60);
	if (days) return t("time.days", { days, hours });
	if (hours) return t("time.hours", { hours, minutes });
	if (minutes) return t("time.minutes", { minutes, seconds: Math.floor(seconds % 60) });
	return t("time.seconds", { seconds: Math.floor(seconds) });
}

export function time(at: string | number): string {
	const date = new Date(typeof at === "number" ? at : at);
	return isNaN(date.getTime()) || !at ? "–" :
		new Intl.DateTimeFormat(locale(), { dateStyle: "medium", timeStyle: "medium" }).format(date);
}

export function clock(at: number): string {
	return new Intl.DateTimeFormat(locale(), { timeStyle: "medium" }).format(new Date(at));
}

export function day(at: number): string {
	return new Intl.DateTimeFormat(locale(), { dateStyle: "medium" }).format(new Date(at));
}
